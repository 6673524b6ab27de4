// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rounds: blocks that are copied together, from home to slots (promote) or from slots home (write
 * back); shadows of a round that shall end (demote) do so.
 *
 * Claim them, copy all of them and wait, settle, end those that shall end. A block that was
 * written while it was copied is copied again; the third time its writes are held if it is written
 * back, and it is given up if it is promoted. The tier mover's thread has one round at a time, and
 * a block that reads wait for (dm-shadow-fetch.c) has one of its own, in a worker. Every claim is
 * a round's, so between rounds no word is PROMOTING, CLEANING or HOLDING, and nothing is in flight.
 *
 * A block is in one round that promotes at a time: until the round is over nobody else promotes it,
 * even if a discard has ended what the round made. So a word that is PROMOTING is the round's own.
 *
 * A round is in the tiers' epoch while it copies: to whoever drains it is a write, but not to
 * other rounds. So in there it must not drain, commit, or wait for anybody but kcopyd and a flush.
 *
 * Failure: a failed copy leaves the shadow as it was (a promotion: none) and is reported.
 *
 * Context: process, may sleep, under memalloc_noio.
 */
#include <linux/vmalloc.h>

#include "dm-shadow-trace.h"
#include "dm-shadow.h"

#define MAX_TRIES 3

/* --- claiming ---------------------------------------------------------------- */

static bool in_round(struct shadow_volume *v, u32 block)
{
	unsigned int i;

	for (i = 0; i < SHADOW_TIER_BATCH; i++)
		if (v->tmover.copies[i].live && v->tmover.copies[i].block == block)
			return true;
	return false;
}

/* False: another round has the block. */
static bool enter_round(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	bool fetch = c->round != &v->tmover.round, mine;
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	mine = fetch ? !in_round(v, c->block) : !shadow_fetch_has(v, c->block);
	c->live = mine;
	spin_unlock_irqrestore(&v->lock, flags);
	return mine;
}

static void leave_round(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	c->live = false;
	spin_unlock_irqrestore(&v->lock, flags);
}

static u32 take_slot(struct shadow_volume *v, u8 leg)
{
	unsigned long flags;
	u32 slot;

	spin_lock_irqsave(&v->lock, flags);
	slot = shadow_slot_take(&shadow_tier_of(v, leg)->slots);
	spin_unlock_irqrestore(&v->lock, flags);
	return slot;
}

static void free_slot(struct shadow_volume *v, u32 word)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	shadow_slot_free(&shadow_tier_of(v, shadow_word_leg(word))->slots, shadow_slot(word));
	spin_unlock_irqrestore(&v->lock, flags);
}

static bool may_promote(struct shadow_volume *v, u32 block)
{
	u8 state = READ_ONCE(v->map[block]);

	return !(state & SHADOW_BUSY) && shadow_home(state) < SHADOW_HOLE;
}

/* Nobody else turns a zero word into something. False: no shadow now, or no slot (*@full). */
static bool claim_promote(struct shadow_volume *v, u8 leg, u32 block, bool *full)
{
	u32 slot, word;

	if (!((shadow_get_tier_ctx(v).tiers & ~READ_ONCE(v->tier_failed)) & (1u << leg)) ||
	    READ_ONCE(v->words[block]) || !may_promote(v, block))
		return false;
	slot = take_slot(v, leg);
	if (slot == SHADOW_NO_SLOT) {
		*full = true;
		return false;
	}
	word = shadow_word(leg, slot, SHADOW_PROMOTING);
	if (cmpxchg(&v->words[block], 0, word)) {
		free_slot(v, word);
		return false;
	}
	trace_shadow_word(v->name, block, 0, word);
	shadow_set_shadow(v, block, true);
	return true;
}

/* Not recorded, not read and not written: gone at once. */
static void unpromote(struct shadow_volume *v, u32 block)
{
	u32 word = READ_ONCE(v->words[block]);

	shadow_set_shadow(v, block, false);
	if (!WARN_ON(!shadow_tier_apply(v, block, SHADOW_TEV_PROMOTE_FAILED, NULL)))
		free_slot(v, word);
}

/**
 * shadow_tier_claim() - take a block into a round if there is something to copy: c->state.
 * @leg: tier, for a promotion
 *
 * Return: false if the tier is full.
 */
bool shadow_tier_claim(struct shadow_volume *v, u8 leg, struct shadow_tier_copy *c)
{
	bool full = false, mine;

	if (c->type != SHADOW_MSG_PROMOTE) {
		mine = shadow_tier_apply(v, c->block, SHADOW_TEV_CLEAN_START, NULL);
	} else {
		mine = enter_round(v, c);
		if (mine && !claim_promote(v, leg, c->block, &full)) {
			leave_round(v, c);
			mine = false;
		}
	}
	c->state = mine ? SHADOW_COPY_CLAIMED : SHADOW_COPY_OVER;
	return !full;
}

/* --- copying: in the epoch ------------------------------------------------------- */

static void copy_done(int read_err, unsigned long write_err, void *context)
{
	struct shadow_tier_copy *c = context;
	struct shadow_batch *batch = &c->round->batch;

	c->read_err = read_err;
	c->write_err = write_err;
	if (atomic_dec_and_test(&batch->pending))
		complete(&batch->done);
}

static void slot_region(struct shadow_volume *v, u32 block, u32 word, struct dm_io_region *r)
{
	r->bdev = v->legs[shadow_word_leg(word)];
	r->sector = shadow_slot_start(v, word);
	r->count = shadow_run_sectors(v, block, 1);
}

static void home_region(struct shadow_volume *v, u32 block, u8 leg, struct dm_io_region *r)
{
	r->bdev = v->legs[leg];
	r->sector = shadow_block_start(v, block);
	r->count = shadow_run_sectors(v, block, 1);
}

/*
 * A fetch's copy, by its worker: kcopyd sends from one thread, which would wait for room in home's
 * queue once for each of them, behind the burst. False: no memory.
 */
static bool copy_now(struct shadow_volume *v, struct shadow_tier_copy *c,
		     struct dm_io_region *from, struct dm_io_region *to)
{
	struct dm_io_request req = {
		.bi_opf = REQ_OP_READ | REQ_SYNC,
		.mem.type = DM_IO_VMA,
		.client = v->meta.io,
	};
	void *buf = __vmalloc(from->count << SECTOR_SHIFT,
			      GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);

	if (!buf)
		return false;
	req.mem.ptr.vma = buf;
	c->read_err = dm_io(&req, 1, from, NULL, IOPRIO_DEFAULT);
	req.bi_opf = REQ_OP_WRITE | REQ_SYNC;
	if (!c->read_err)
		c->write_err = !!dm_io(&req, 1, to, NULL, IOPRIO_DEFAULT);
	vfree(buf);
	return true;
}

static bool start_promote(struct shadow_volume *v, struct shadow_tier_copy *c, u32 word)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, c->block);
	u8 copies = shadow_copies(READ_ONCE(v->map[c->block]), &ctx) & ~ctx.missing;
	struct dm_io_region from, to;

	c->legs = copies & SHADOW_MASK_TARGET ?: copies;
	if (!copies || (READ_ONCE(v->tier_failed) & (1u << shadow_word_leg(word))))
		return false;
	home_region(v, c->block, __ffs(c->legs), &from);
	slot_region(v, c->block, word, &to);
	if (!from.bdev || !to.bdev)
		return false;
	if (c->round != &v->tmover.round)
		return copy_now(v, c, &from, &to);
	atomic_inc(&c->round->batch.pending);
	dm_kcopyd_copy(v->tier_kc, &from, 1, &to, 0, copy_done, c);
	return true;
}

/* To home it is a write like any other, but for the access bit. */
static u8 write_home(struct shadow_volume *v, u32 block)
{
	struct shadow_route r;
	struct shadow_ctx ctx;
	u8 state, next;

	do {
		ctx = shadow_get_ctx(v, block);
		state = READ_ONCE(v->map[block]);
		r = shadow_route(state, SHADOW_OP_WRITE, &ctx);
		if (r.kind != SHADOW_ROUTE_LEG && r.kind != SHADOW_ROUTE_MARK &&
		    r.kind != SHADOW_ROUTE_BOTH)
			return 0;
		next = shadow_transition(state, SHADOW_EV_WRITE, &ctx).next;
	} while (next != state && cmpxchg(&v->map[block], state, next) != state);
	return r.legs;
}

static bool start_writeback(struct shadow_volume *v, struct shadow_tier_copy *c, u32 word)
{
	struct dm_io_region from, to[SHADOW_NR_HOME_LEGS];
	unsigned int n = 0;
	u8 leg;

	slot_region(v, c->block, word, &from);
	if (!from.bdev)
		return false;
	c->legs = write_home(v, c->block);
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (c->legs & (1u << leg))
			home_region(v, c->block, leg, &to[n++]);
	if (!n)
		return false;
	atomic_inc(&c->round->batch.pending);
	dm_kcopyd_copy(v->tier_kc, &from, n, to, 0, copy_done, c);
	return true;
}

/*
 * What a promotion has read may have been in home's cache only. "Clean" says that both are the
 * same, also after a power cut: so home is flushed before any of the copies counts. (The other leg
 * of a mirrored block has its write-intent bit.) A leg that cannot flush has failed the read.
 */
static void flush_sources(struct shadow_volume *v, struct shadow_tier_round *round)
{
	struct shadow_tier_copy *copies = round->copies;
	unsigned int i;
	u8 mask = 0, leg;

	for (i = 0; i < round->n; i++)
		if (copies[i].state == SHADOW_COPY_STARTED &&
		    copies[i].type == SHADOW_MSG_PROMOTE && !copies[i].read_err &&
		    !copies[i].write_err)
			mask |= copies[i].legs;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		if (!(mask & (1u << leg)) || !blkdev_issue_flush(v->legs[leg]))
			continue;
		for (i = 0; i < round->n; i++)
			if (copies[i].state == SHADOW_COPY_STARTED &&
			    copies[i].type == SHADOW_MSG_PROMOTE &&
			    (copies[i].legs & (1u << leg)))
				copies[i].read_err = -EIO;
	}
}

/*
 * The leg that alone is home of a block now, or 0. It may have become so since the copy was mapped:
 * a block that is being retired may be on the target alone on disk already.
 */
static u8 only_home(struct shadow_volume *v, u32 block)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	u8 state = READ_ONCE(v->map[block]);
	u8 homes = shadow_copies(state, &ctx);

	if (shadow_home(state) == SHADOW_RETIRING)
		return SHADOW_MASK_TARGET;
	return hweight8(homes) == 1 ? homes : 0;
}

/* Makes a good copy count. True: it has to be made again. */
static bool settle(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	bool promote = c->type == SHADOW_MSG_PROMOTE;
	u32 word = READ_ONCE(v->words[c->block]);
	struct shadow_tier_step step = { 0 };
	bool legal, failed;

	down_read(&v->phase_lock);
	failed = READ_ONCE(v->tier_failed) & (1u << shadow_word_leg(word));
	if (promote) {
		atomic_or(1u << shadow_word_leg(word), &v->unflushed);
	} else {
		/* the shadow's newest data may be in its tier's cache only */
		atomic_or(c->legs | 1u << shadow_word_leg(word), &v->unflushed);
		smp_mb__after_atomic(); /* a block that is retired after this is flushed first */
		atomic_or(only_home(v, c->block) | (hweight8(c->legs) == 1 ? c->legs : 0),
			  &v->sole);
	}
	smp_mb__after_atomic(); /* before the word changes: see the commit rule in dm-shadow.h */
	/* the home it read may have come back without its cache meanwhile */
	if (promote && (failed || atomic_read(&v->suspect))) {
		up_read(&v->phase_lock);
		c->state = SHADOW_COPY_FAILED;
		return false;
	}
	legal = shadow_tier_apply(v, c->block, promote ? SHADOW_TEV_PROMOTE_DONE :
							 SHADOW_TEV_CLEAN_DONE, &step);
	if (legal && !(step.actions & SHADOW_ACT_COPY_AGAIN))
		shadow_doubt(v, c->block, (promote ? 0 : c->legs) | 1u << shadow_word_leg(word));
	/* a failed tier keeps nothing that home has, too: the sweep does not flush it */
	if (legal && failed && !(step.actions & SHADOW_ACT_COPY_AGAIN) &&
	    shadow_tier_apply(v, c->block, SHADOW_TEV_LOST, NULL))
		shadow_tier_end_drop(v, c->block);
	up_read(&v->phase_lock);
	if (legal && (step.actions & SHADOW_ACT_COPY_AGAIN)) {
		c->state = SHADOW_COPY_CLAIMED;
		return true;
	}
	c->state = SHADOW_COPY_OVER;	/* not legal: the block was discarded */
	if (legal)
		atomic64_inc(!promote ? &v->written_back :
			     c->round == &v->tmover.round ? &v->promoted : &v->fetched);
	return false;
}

/* All claimed blocks once. Returns true if some have to be copied again. */
static bool copy_round(struct shadow_volume *v, struct shadow_tier_round *round, bool *blocked)
{
	unsigned int i;
	bool again = false;
	u8 epoch;

	atomic_set(&round->batch.pending, 1);
	init_completion(&round->batch.done);
	epoch = shadow_epoch_enter(&v->tier_epoch);
	/*
	 * Entered, then looked at: pairs with shadow_gate_close(). While a failed write is not
	 * decided about a copy could be of the one that failed.
	 */
	*blocked = atomic_read(&v->gate) || atomic_read(&v->failing) || atomic_read(&v->suspect);
	for (i = 0; i < round->n && !*blocked; i++) {
		struct shadow_tier_copy *c = &round->copies[i];
		u32 word = READ_ONCE(v->words[c->block]);
		bool started;

		if (c->state != SHADOW_COPY_CLAIMED)
			continue;
		if (c->type == SHADOW_MSG_PROMOTE)
			started = start_promote(v, c, word);
		else
			started = (shadow_life(word) == SHADOW_CLEANING ||
				   shadow_life(word) == SHADOW_HOLDING) &&
				  start_writeback(v, c, word);
		c->state = started ? SHADOW_COPY_STARTED : SHADOW_COPY_FAILED;
	}
	if (!atomic_dec_and_test(&round->batch.pending))
		wait_for_completion_io(&round->batch.done);
	flush_sources(v, round);
	for (i = 0; i < round->n; i++) {
		struct shadow_tier_copy *c = &round->copies[i];

		if (c->state != SHADOW_COPY_STARTED)
			continue;
		if (c->read_err || c->write_err)
			c->state = SHADOW_COPY_FAILED;
		else
			again |= settle(v, c);
	}
	shadow_epoch_leave(&v->tier_epoch, epoch);
	return again;
}

/* --- after the epoch --------------------------------------------------------------- */

/* A home leg failed a write-back that the other took: only that one is current. */
static void lose_home(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	/* the first leg written */
	u8 leg = c->write_err & 1 ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET;

	if (c->legs != SHADOW_MASK_BOTH || c->write_err == 3)
		return;
	if (shadow_drop_home(v, c->block, leg, NULL))
		atomic64_inc(&v->stale);
	shadow_commit(v);
}

static void report(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	u8 tier = shadow_word_leg(READ_ONCE(v->words[c->block]));
	bool promote = c->type == SHADOW_MSG_PROMOTE;
	u8 home = promote || (c->write_err & 1) ? __ffs(c->legs) : SHADOW_LEG_TARGET;

	if (promote ? c->write_err : c->read_err) {
		shadow_suspect(v, tier, promote);
		shadow_note_tier_failure(v, c->read_err ? "read" : "write", tier, c->block);
	} else {
		shadow_suspect(v, home, !promote);
		shadow_note_error(v, promote ? "read" : "write", home, c->block);
		atomic64_inc(&v->copy_errors);
		shadow_raise_event(v);
	}
}

static void give_up(struct shadow_volume *v, struct shadow_tier_copy *c)
{
	if (c->read_err || c->write_err) {
		report(v, c);
		if (c->type != SHADOW_MSG_PROMOTE && !c->read_err)
			lose_home(v, c);
	}
	if (c->type == SHADOW_MSG_PROMOTE)
		unpromote(v, c->block);
	else
		shadow_tier_apply(v, c->block, SHADOW_TEV_CLEAN_FAILED, NULL);
	c->state = SHADOW_COPY_OVER;
}

/* Before a copy is made again: forget the mark, or hold the writes; then drain. */
static void prepare_again(struct shadow_volume *v, struct shadow_tier_round *round, bool last)
{
	unsigned int i;

	for (i = 0; i < round->n; i++) {
		struct shadow_tier_copy *c = &round->copies[i];
		enum shadow_tier_event event = SHADOW_TEV_PROMOTE_RETRY;

		if (c->state != SHADOW_COPY_CLAIMED)
			continue;
		if (c->type != SHADOW_MSG_PROMOTE)
			event = last ? SHADOW_TEV_CLEAN_HOLD : SHADOW_TEV_CLEAN_RETRY;
		if (!shadow_tier_apply(v, c->block, event, NULL))
			c->state = SHADOW_COPY_OVER;	/* discarded */
	}
}

static bool demotes(const struct shadow_tier_round *round)
{
	unsigned int i;

	for (i = 0; i < round->n; i++)
		if (round->copies[i].type == SHADOW_MSG_DEMOTE)
			return true;
	return false;
}

/*
 * Shadows of the round that shall end. A round without them does not ask for the lock: whoever has
 * it may be waiting for a commit, and reads may be waiting for this round.
 */
static void drop_some(struct shadow_volume *v, struct shadow_tier_round *round)
{
	struct shadow_blocks blocks = { .list = v->drop_blocks };
	unsigned int i;

	if (!demotes(round))
		return;
	mutex_lock(&v->drop_lock);
	for (i = 0; i < round->n; i++) {
		struct shadow_tier_copy *c = &round->copies[i];

		if (c->type == SHADOW_MSG_DEMOTE &&
		    shadow_tier_apply(v, c->block, SHADOW_TEV_DROP, NULL))
			v->drop_blocks[blocks.n++] = c->block;
	}
	if (blocks.n)
		shadow_finish_drops(v, &blocks);
	mutex_unlock(&v->drop_lock);
}

static bool may_go_on(struct shadow_volume *v)
{
	return READ_ONCE(v->mode) == SHADOW_MODE_RW && !READ_ONCE(v->tmover.stopping) &&
	       !READ_ONCE(v->tmover.suspended);
}

/* Reads wait for a fetch: it waits for writes of its block alone, and mostly there are none. */
static bool may_skip_drain(struct shadow_volume *v, struct shadow_tier_round *round)
{
	return round != &v->tmover.round && shadow_fetch_quiet(v, round->copies->block);
}

/** shadow_tier_do_round() - copy; all claims are over when it returns. */
void shadow_tier_do_round(struct shadow_volume *v, struct shadow_tier_round *round)
{
	struct shadow_tier_copy *c, *end = round->copies + round->n;
	bool again = true;
	unsigned int tries;

	for (c = round->copies; c < end; c++) {
		c->read_err = 0;
		c->write_err = 0;
		c->legs = 0;
	}
	for (tries = 0; tries < MAX_TRIES && again; tries++) {
		bool blocked;

		if (tries)
			prepare_again(v, round, tries + 1 == MAX_TRIES);
		if (!may_skip_drain(v, round))
			shadow_drain_epoch(&v->epoch);
		do {
			again = copy_round(v, round, &blocked);
			if (blocked)
				wait_event_timeout(v->tmover.wake, !may_go_on(v) ||
						   (!atomic_read(&v->gate) &&
						    !atomic_read(&v->failing) &&
						    !atomic_read(&v->suspect)), HZ / 10);
		} while (blocked && may_go_on(v));
	}
	for (c = round->copies; c < end; c++)
		if (c->state != SHADOW_COPY_OVER)
			give_up(v, c);
	shadow_release_parked(v);
	drop_some(v, round);
	for (c = round->copies; c < end; c++)
		leave_round(v, c);
	shadow_commit_soon(v);
}
