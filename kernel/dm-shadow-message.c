// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages to a volume (dmsetup message): which function does what is asked, and what is answered.
 *
 * docs/dm-shadow.rst is what users may rely on. shadow_parse_message() has checked the words. One
 * message at a time, and none while a table is carried out: v->admin.
 *
 * Failure: an error code, one line in the kernel's log with what to do, nothing changed.
 *
 * Context: process, may sleep.
 */
#include <linux/sched/mm.h>

#include "dm-shadow.h"

#define ANSWER_ROOM 64		/* one run and the last word fit in here */

static const char *access_name(u8 bits)
{
	switch (bits) {
	case SHADOW_READ:
		return "r";
	case SHADOW_WROTE:
		return "w";
	default:
		return "rw";
	}
}

#define ACCESS_BITS (SHADOW_READ | SHADOW_WROTE)

/* Takes (clears) the access bits of a block, if they are still @what. */
static bool harvest(struct shadow_volume *v, u32 block, u8 what)
{
	u8 state;

	do {
		state = READ_ONCE(v->map[block]);
		if ((state & ACCESS_BITS) != what)
			return false;
	} while (what && cmpxchg(&v->map[block], state, state & ~ACCESS_BITS) != state);
	return true;
}

static struct shadow_range asked_range(struct shadow_volume *v, const struct shadow_message *msg,
				       char **argv)
{
	struct shadow_range range = { .first = 0, .count = v->nr_blocks };

	if (msg->nr_ranges)
		shadow_parse_range(argv[msg->first_range], v->nr_blocks, &range);
	return range;
}

static u8 home_of(struct shadow_volume *v, u64 block)
{
	return shadow_counted_as(v, shadow_home(READ_ONCE(v->map[block])));
}

/* Runs of equal states, or of equally accessed blocks. */
static void answer_runs(struct shadow_volume *v, const struct shadow_message *msg, char **argv,
			char *result, unsigned int maxlen)
{
	struct shadow_range range = asked_range(v, msg, argv);
	bool map = msg->type == SHADOW_MSG_MAP;
	u64 b, end = range.first + range.count;
	ssize_t sz = 0;

	for (b = range.first; b < end;) {
		u64 first = b;
		u8 what;

		if (maxlen < ANSWER_ROOM || sz > maxlen - ANSWER_ROOM) {
			DMEMIT("next=%llu", b);
			return;
		}
		if (map) {
			what = home_of(v, b);
			while (++b < end && home_of(v, b) == what)
				;
			DMEMIT("%llu+%llu:%s ", first, b - first, shadow_home_name(what));
		} else {
			what = READ_ONCE(v->map[b]) & ACCESS_BITS;
			if (!harvest(v, b, what))
				continue;	/* accessed just now */
			while (++b < end && harvest(v, b, what))
				;
			if (what)
				DMEMIT("%llu+%llu:%s ", first, b - first, access_name(what));
		}
		cond_resched();
	}
	DMEMIT("end");
}

/* What the message "tiers" says of a block: 0, or tier and life without slot and marks. */
static u32 shadow_of(struct shadow_volume *v, u64 block)
{
	u32 word = v->words ? READ_ONCE(v->words[block]) : 0;

	return word ? shadow_word(shadow_word_leg(word), 0, shadow_life(word)) : 0;
}

static void answer_tiers(struct shadow_volume *v, const struct shadow_message *msg, char **argv,
			 char *result, unsigned int maxlen)
{
	struct shadow_range range = asked_range(v, msg, argv);
	u64 b, end = range.first + range.count;
	ssize_t sz = 0;

	for (b = range.first; b < end;) {
		u32 what = shadow_of(v, b);
		u64 first = b;

		if (maxlen < ANSWER_ROOM || sz > maxlen - ANSWER_ROOM) {
			DMEMIT("next=%llu", b);
			return;
		}
		while (++b < end && shadow_of(v, b) == what)
			;
		if (what)
			DMEMIT("%llu+%llu:%s-%s ", first, b - first,
			       shadow_leg_name(shadow_word_leg(what)),
			       shadow_life_name(shadow_life(what)));
		cond_resched();
	}
	DMEMIT("end");
}

static bool allowed_suspended(u8 type)
{
	switch (type) {
	case SHADOW_MSG_LIMIT_RATE:
	case SHADOW_MSG_LIMIT_INFLIGHT:
	case SHADOW_MSG_PAUSE:
	case SHADOW_MSG_RESUME:
	case SHADOW_MSG_LIMIT_TIER_RATE:
	case SHADOW_MSG_LIMIT_TIER_INFLIGHT:
	case SHADOW_MSG_MAP:
	case SHADOW_MSG_TIERS:
	case SHADOW_MSG_READ:
		return true;
	default:
		return false;
	}
}

static int queue_message(struct shadow_volume *v, const struct shadow_message *msg, char **argv,
			 const char **error)
{
	u8 phase = shadow_phase(v);

	if (READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		*error = "the volume is not in rw mode";
		return -EROFS;
	}
	if (msg->type != SHADOW_MSG_FILL && phase == SHADOW_STEADY) {
		*error = "no modification is under way";
		return -EBUSY;
	}
	if (msg->type != SHADOW_MSG_FILL &&
	    (!v->legs[SHADOW_LEG_ORIGIN] || !v->legs[SHADOW_LEG_TARGET])) {
		*error = "a leg is missing: there is nothing to copy from or to";
		return -ENODEV;
	}
	return shadow_mover_queue(v, msg->type, msg->nr_ranges, argv + msg->first_range, error);
}

static int queue_tier_message(struct shadow_volume *v, const struct shadow_message *msg,
			      char **argv, const char **error)
{
	if (READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		*error = "the volume is not in rw mode";
		return -EROFS;
	}
	if (!v->words) {
		*error = "the volume has no tiers";
		return -EBUSY;
	}
	if (msg->type == SHADOW_MSG_PROMOTE && !v->legs[msg->tier]) {
		*error = "this tier is not there";
		return -ENODEV;
	}
	if (msg->type == SHADOW_MSG_PROMOTE && (READ_ONCE(v->tier_failed) & (1u << msg->tier))) {
		*error = "this tier has failed: replace or forget it, then load a table";
		return -ENODEV;
	}
	return shadow_tier_mover_queue(v, msg, argv + msg->first_range, error);
}

static int set_tier_mode(struct shadow_volume *v, const struct shadow_message *msg,
			 const char **error)
{
	if (!v->words || !v->sb.legs[msg->tier].present) {
		*error = "the volume has no such tier";
		return -EINVAL;
	}
	shadow_tier_set_mode(v, msg->tier, msg->flag);
	return 0;
}

static int set_fetch(struct shadow_volume *v, const struct shadow_message *msg,
		     const char **error)
{
	if (msg->tier && (!v->words || !v->sb.legs[msg->tier].present)) {
		*error = "the volume has no such tier";
		return -EINVAL;
	}
	shadow_fetch_set(v, msg->tier);
	return 0;
}

static int do_message(struct shadow_volume *v, const struct shadow_message *msg, char **argv,
		      char *result, unsigned int maxlen, const char **error)
{
	switch (msg->type) {
	case SHADOW_MSG_COPY:
	case SHADOW_MSG_REMIRROR:
	case SHADOW_MSG_FILL:
		return queue_message(v, msg, argv, error);
	case SHADOW_MSG_CLEAR:
		shadow_mover_stop_copies(v);
		return 0;
	case SHADOW_MSG_RETIRE:
		return shadow_retire(v, msg->nr_ranges, argv + msg->first_range, error);
	case SHADOW_MSG_LIMIT_RATE:
	case SHADOW_MSG_LIMIT_INFLIGHT:
		shadow_mover_limit(v, msg->type, msg->value);
		return 0;
	case SHADOW_MSG_PAUSE:
	case SHADOW_MSG_RESUME:
		shadow_mover_set_paused(v, msg->type == SHADOW_MSG_PAUSE);
		return 0;
	case SHADOW_MSG_READ:
		shadow_set_policy(v, msg->value);
		return 0;
	case SHADOW_MSG_CUTOVER:
		return shadow_cutover(v, error);
	case SHADOW_MSG_ROLLBACK:
		return shadow_rollback(v, error);
	case SHADOW_MSG_COMMIT:
		return shadow_finish(v, SHADOW_LEG_TARGET, error);
	case SHADOW_MSG_ABORT:
		return shadow_finish(v, SHADOW_LEG_ORIGIN, error);
	case SHADOW_MSG_PROMOTE:
	case SHADOW_MSG_DEMOTE:
	case SHADOW_MSG_WRITEBACK:
		return queue_tier_message(v, msg, argv, error);
	case SHADOW_MSG_CLEAR_TIERS:
		shadow_tier_mover_stop(v);
		return 0;
	case SHADOW_MSG_LIMIT_TIER_RATE:
	case SHADOW_MSG_LIMIT_TIER_INFLIGHT:
		shadow_tier_mover_limit(v, msg->type, msg->value);
		return 0;
	case SHADOW_MSG_MODE:
		return set_tier_mode(v, msg, error);
	case SHADOW_MSG_FETCH:
		return set_fetch(v, msg, error);
	case SHADOW_MSG_FORGET:
		return shadow_tier_forget(v, msg->tier, msg->flag, error);
	case SHADOW_MSG_TIERS:
		answer_tiers(v, msg, argv, result, maxlen);
		return 1;
	case SHADOW_MSG_SYNC:
		*error = "the metadata cannot be written";
		return shadow_commit(v);
	case SHADOW_MSG_MAP:
	case SHADOW_MSG_ACCESS:
		answer_runs(v, msg, argv, result, maxlen);
		return 1;	/* there is an answer */
	default:
		*error = "not known here";
		return -EINVAL;
	}
}

/** shadow_message() - the message method. Return: below 0 an error, 1 if @result is an answer. */
int shadow_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
		   unsigned int maxlen)
{
	struct shadow_target *s = ti->private;
	struct shadow_volume *v = s->v;
	const char *error = "failed";
	struct shadow_message msg;
	unsigned int noio;
	int r;

	/*
	 * Under dm's SRCU lock: a suspend that begins meanwhile holds new I/O back and then waits
	 * for us, so reclaim must not wait for that I/O.
	 */
	noio = memalloc_noio_save();
	if (mutex_lock_killable(&v->admin)) {
		memalloc_noio_restore(noio);
		return -EINTR;
	}
	r = shadow_parse_message(argc, argv, v->nr_blocks, &msg, &error);
	if (!s->attached) {
		error = "the volume is not active yet: resume it first";
		r = -EBUSY;
	}
	if (!r && dm_suspended(ti) && !allowed_suspended(msg.type)) {
		error = "the volume is suspended: resume it first";
		r = -EBUSY;
	}
	if (!r)
		r = do_message(v, &msg, argv, result, maxlen, &error);
	mutex_unlock(&v->admin);
	memalloc_noio_restore(noio);
	if (r < 0)
		DMERR("%s: message \"%s\" refused: %s", v->name, argc ? argv[0] : "", error);
	return r;
}
