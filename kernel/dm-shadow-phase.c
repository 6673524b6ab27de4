// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages that change the volume's phase, or which leg is a block's home: cutover, rollback,
 * commit, abort, retire.
 *
 * Each phase change is one superblock write. Around it v->commit_lock keeps the pages still and
 * v->phase_lock keeps away whoever might declare a copy lost at the same moment.
 *
 * Context: process, the caller holds v->admin and the volume is not suspended.
 */
#include "dm-shadow-trace.h"
#include "dm-shadow.h"

static long homes(struct shadow_volume *v, enum shadow_home home)
{
	return atomic_long_read(&v->homes[home]);
}

static long only_on_origin(struct shadow_volume *v)
{
	return homes(v, SHADOW_ORIGIN) + homes(v, SHADOW_COPYING);
}

static long only_on_target(struct shadow_volume *v)
{
	return homes(v, SHADOW_TARGET) + homes(v, SHADOW_RETIRING) +
	       homes(v, SHADOW_REMIRRORING);
}

static int no(const char **error, const char *why)
{
	*error = why;
	return -EBUSY;
}

/*
 * Shuts out commits and lost copies, with all states durable and @may content. A state that
 * changes while we look leaves its page dirty before it changes what @may counts.
 */
static int phase_begin(struct shadow_volume *v,
		       int (*may)(struct shadow_volume *v, const char **error),
		       const char **error)
{
	int r;

	mutex_lock(&v->commit_lock);
	for (;;) {
		r = __shadow_commit(v);
		if (r) {
			*error = "the metadata cannot be written";
			break;
		}
		down_write(&v->phase_lock);
		r = may(v, error);
		smp_mb(); /* counters, then dirty bits: pairs with shadow_apply() */
		if (!r && !atomic_read(&v->suspect) &&
		    bitmap_empty(v->meta.dirty, v->meta.nr_pages))
			return 0;
		up_write(&v->phase_lock);
		if (r)
			break;
	}
	mutex_unlock(&v->commit_lock);
	return r;
}

static void phase_end(struct shadow_volume *v)
{
	up_write(&v->phase_lock);
	mutex_unlock(&v->commit_lock);
	shadow_raise_event(v);
}

static int set_phase(struct shadow_volume *v, const struct shadow_superblock *sb, u8 steady_leg,
		     const char **error)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };
	int r = shadow_metadata_write_sb(v, sb);

	if (r) {
		shadow_set_mode(v, SHADOW_MODE_RO, "the superblock could not be written");
		*error = "the superblock could not be written";
		return r;
	}
	trace_shadow_phase(v->name, w.phase, sb->phase);
	w.phase = sb->phase;
	w.steady_leg = steady_leg;
	WRITE_ONCE(v->ctx_word, w.word);
	shadow_build_lut(v);
	return 0;
}

static int may_drop_origin(struct shadow_volume *v, const char **error)
{
	return only_on_origin(v) ?
	       no(error, "blocks live on the origin only: copy them first") : 0;
}

/* A discarded block has its shadow until "no shadow" is durable, too. The caller holds v->admin. */
static bool tail_has_shadows(struct shadow_volume *v)
{
	if (!shadow_tier_used(v, SHADOW_LEG_TIER1) && !shadow_tier_used(v, SHADOW_LEG_TIER2))
		return false;
	return shadow_next_shadow(v, min(v->tail, v->nr_blocks), v->nr_blocks) < v->nr_blocks;
}

static int may_drop_target(struct shadow_volume *v, const char **error)
{
	if (shadow_tail_data(v) || tail_has_shadows(v))
		return no(error, "blocks beyond the old end hold data: discard them first");
	return only_on_target(v) ?
	       no(error, "blocks live on the target only: remirror them first") : 0;
}

/* Target becomes the authority for every block. */
int shadow_cutover(struct shadow_volume *v, const char **error)
{
	struct shadow_superblock sb;
	int r;

	if (shadow_phase(v) != SHADOW_MIGRATING)
		return no(error, "there is nothing to cut over: the phase is not migrating");
	r = phase_begin(v, may_drop_origin, error);
	if (r)
		return r;
	sb = v->sb;
	sb.phase = SHADOW_GRACE;
	r = set_phase(v, &sb, SHADOW_LEG_ORIGIN, error);
	phase_end(v);
	return r;
}

/* The origin becomes the authority again. */
int shadow_rollback(struct shadow_volume *v, const char **error)
{
	struct shadow_superblock sb;
	int r;

	if (shadow_phase(v) != SHADOW_GRACE)
		return no(error, "there is nothing to roll back: the phase is not grace");
	r = phase_begin(v, may_drop_target, error);
	if (r)
		return r;
	sb = v->sb;
	sb.phase = SHADOW_MIGRATING;
	r = set_phase(v, &sb, SHADOW_LEG_ORIGIN, error);
	phase_end(v);
	return r;
}

/**
 * shadow_finish() - the modification is over.
 * @keep: the leg the volume lives on from now on; the other one is not used any longer
 *
 * Writes on their way to both legs may still end on the dropped one: the next table is live
 * only when they have.
 */
int shadow_finish(struct shadow_volume *v, u8 keep, const char **error)
{
	struct shadow_superblock sb;
	int r;

	if (shadow_phase(v) == SHADOW_STEADY)
		return no(error, "no modification is under way");
	if (keep == SHADOW_LEG_TARGET && shadow_phase(v) != SHADOW_GRACE)
		return no(error, "cut over first");
	if (!v->legs[keep])
		return no(error, "the leg to be kept is missing");
	shadow_mover_stop_copies(v);
	r = phase_begin(v, keep == SHADOW_LEG_TARGET ? may_drop_origin : may_drop_target, error);
	if (r)
		return r;
	sb = v->sb;
	sb.phase = SHADOW_STEADY;
	if (keep == SHADOW_LEG_TARGET)
		sb.legs[SHADOW_LEG_ORIGIN] = sb.legs[SHADOW_LEG_TARGET];
	else
		sb.nr_sectors = sb.old_sectors;
	memset(&sb.legs[SHADOW_LEG_TARGET], 0, sizeof(sb.legs[0]));
	sb.old_sectors = sb.nr_sectors;
	sb.tracked_sectors = sb.nr_sectors;
	r = set_phase(v, &sb, keep, error);
	if (!r)
		v->tidy_due = true;
	phase_end(v);
	return r;
}

/* Blocks that are retired in one commit: others want to commit, or to change a state, too. */
#define RETIRE_CHUNK 65536u

/* How far a message's ranges have been looked at. */
struct retire_place {
	unsigned int range;
	u64 done;		/* blocks of it */
};

/* An event for the next RETIRE_CHUNK blocks of the ranges. Returns where it stopped. */
static struct retire_place retire_some(struct shadow_volume *v, unsigned int nr, char **ranges,
				       struct retire_place at, enum shadow_event event)
{
	u32 n = 0;

	for (; at.range < nr; at.range++, at.done = 0) {
		struct shadow_range range;

		shadow_parse_range(ranges[at.range], v->nr_blocks, &range);
		for (; at.done < range.count; at.done++) {
			if (n++ == RETIRE_CHUNK)
				return at;
			shadow_apply(v, range.first + at.done, event, NULL);
		}
		cond_resched();
	}
	return at;
}

/**
 * shadow_retire() - mirrored blocks of the ranges give their origin's copy up, durably.
 *
 * Some at a time; if the metadata cannot be written those before stay retired.
 */
int shadow_retire(struct shadow_volume *v, unsigned int nr, char **ranges, const char **error)
{
	struct retire_place at = { 0 }, next;
	int r = 0;

	if (shadow_phase(v) == SHADOW_STEADY)
		return no(error, "no modification is under way");
	for (; at.range < nr && !r; at = next) {
		down_read(&v->phase_lock);
		atomic_or(SHADOW_MASK_TARGET, &v->unflushed);
		smp_mb__after_atomic(); /* before the states: see the commit rule in dm-shadow.h */
		retire_some(v, nr, ranges, at, SHADOW_EV_RETIRE_START);
		up_read(&v->phase_lock);
		r = shadow_commit(v);
		next = retire_some(v, nr, ranges, at,
				   r ? SHADOW_EV_RETIRE_FAILED : SHADOW_EV_RETIRE_DONE);
	}
	if (r)
		*error = "the metadata cannot be written";
	return r;
}

void shadow_set_policy(struct shadow_volume *v, u8 policy)
{
	union shadow_ctx_word w;

	mutex_lock(&v->commit_lock);	/* the word has one writer at a time */
	w.word = READ_ONCE(v->ctx_word);
	w.policy = policy;
	WRITE_ONCE(v->ctx_word, w.word);
	shadow_build_lut(v);
	v->sb.policy = policy;
	v->sb_behind = true;
	mutex_unlock(&v->commit_lock);
}
