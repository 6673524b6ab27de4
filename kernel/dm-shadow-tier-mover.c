// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tier mover: copies blocks from home to slots (promote), from slots home (write back), and
 * ends shadows (demote), in the order user space asked for.
 *
 * A thread of its own works in rounds of up to SHADOW_TIER_BATCH blocks: claim them, copy all of
 * them with dm-kcopyd and wait, settle, end those that shall end. A block that was written while
 * it was copied is copied again; the third time its writes are held if it is written back, and it
 * is given up if it is promoted. A block that reads wait for (dm-shadow-fetch.c) has a round of
 * its own, in a worker, beside the thread's and each other. Every claim belongs to a round, so
 * between rounds no word is PROMOTING, CLEANING or HOLDING, and nothing is in flight.
 *
 * A block is in one round that promotes at a time: until the round is over nobody else promotes it,
 * even if a discard has ended what the round made. So a word that is PROMOTING is the round's own.
 *
 * A round is in the tiers' epoch while it copies: to whoever drains it is a write, but not to
 * other rounds. So in there it must not drain, commit, or wait for anybody but kcopyd and a flush.
 *
 * Failure: a failed copy leaves the shadow as it was (a promotion: none) and is reported.
 */
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>

#include "dm-shadow.h"

#define MAX_TRIES 3

enum copy_state {
	COPY_CLAIMED,	/* word is PROMOTING, CLEANING or HOLDING */
	COPY_STARTED,
	COPY_OVER,	/* settled, or there was nothing to copy */
	COPY_FAILED,	/* on the way to being given up */
};

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

/* Takes the block into the round if there is something to do. False: the tier is full. */
static bool claim(struct shadow_volume *v, u8 leg, struct shadow_tier_copy *c)
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
	c->state = mine ? COPY_CLAIMED : COPY_OVER;
	return !full;
}

/* Blocks of a round: as many as may be in flight. */
static unsigned int round_limit(struct shadow_volume *v)
{
	u64 n = READ_ONCE(v->tmover.inflight_limit) >> v->shift;

	if (READ_ONCE(v->tmover.rate))
		n = min_t(u64, n, 4);	/* keeps the rate smooth */
	return clamp_t(u64, n, 1, SHADOW_TIER_BATCH);
}

/* Takes blocks off the queue; clean shadows to be demoted need no copy. */
static unsigned int claim_some(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;
	unsigned int n = 0, limit = round_limit(v), looked = 0;

	/* before the queue shrinks: who sees both at zero knows that all is done */
	WRITE_ONCE(m->inflight, 1ull << v->shift);
	smp_wmb(); /* pairs with the one in status_tiers() */
	while (n < limit && looked < 4096) {
		struct shadow_request *q = shadow_queue_head(v, &m->queue);
		u32 b, end;

		if (!q || READ_ONCE(m->stopping) || READ_ONCE(m->suspended))
			break;
		end = min_t(u32, q->end, v->nr_blocks);
		for (b = q->next; b < end && n < limit && looked < 4096; b++, looked++) {
			m->copies[n].round = &m->round;
			m->copies[n].block = b;
			m->copies[n].type = q->type;
			if (!claim(v, q->tier, &m->copies[n])) {
				b = end;	/* full: the rest would not fit either */
				break;
			}
			if (m->copies[n].state == COPY_CLAIMED ||
			    (q->type == SHADOW_MSG_DEMOTE &&
			     shadow_life(READ_ONCE(v->words[b])) == SHADOW_CLEAN))
				n++;
		}
		shadow_queue_advance(v, &m->queue, q, b, b >= end);
	}
	if (!n)
		WRITE_ONCE(m->inflight, 0);
	return n;
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
	void *buf = __vmalloc(from->count << SECTOR_SHIFT, GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);

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
		if (copies[i].state == COPY_STARTED && copies[i].type == SHADOW_MSG_PROMOTE &&
		    !copies[i].read_err && !copies[i].write_err)
			mask |= copies[i].legs;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		if (!(mask & (1u << leg)) || !blkdev_issue_flush(v->legs[leg]))
			continue;
		for (i = 0; i < round->n; i++)
			if (copies[i].state == COPY_STARTED &&
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
	if (promote && failed) {
		up_read(&v->phase_lock);
		c->state = COPY_FAILED;
		return false;
	}
	legal = shadow_tier_apply(v, c->block, promote ? SHADOW_TEV_PROMOTE_DONE :
							 SHADOW_TEV_CLEAN_DONE, &step);
	/* a failed tier keeps nothing that home has, too: the sweep does not flush it */
	if (legal && failed && !(step.actions & SHADOW_ACT_COPY_AGAIN) &&
	    shadow_tier_apply(v, c->block, SHADOW_TEV_LOST, NULL))
		shadow_tier_end_drops(v);
	up_read(&v->phase_lock);
	if (legal && (step.actions & SHADOW_ACT_COPY_AGAIN)) {
		c->state = COPY_CLAIMED;
		return true;
	}
	c->state = COPY_OVER;	/* not legal: the block was discarded */
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
	*blocked = atomic_read(&v->gate) || atomic_read(&v->failing);
	for (i = 0; i < round->n && !*blocked; i++) {
		struct shadow_tier_copy *c = &round->copies[i];
		u32 word = READ_ONCE(v->words[c->block]);
		bool started;

		if (c->state != COPY_CLAIMED)
			continue;
		if (c->type == SHADOW_MSG_PROMOTE)
			started = start_promote(v, c, word);
		else
			started = (shadow_life(word) == SHADOW_CLEANING ||
				   shadow_life(word) == SHADOW_HOLDING) &&
				  start_writeback(v, c, word);
		c->state = started ? COPY_STARTED : COPY_FAILED;
	}
	if (!atomic_dec_and_test(&round->batch.pending))
		wait_for_completion_io(&round->batch.done);
	flush_sources(v, round);
	for (i = 0; i < round->n; i++) {
		struct shadow_tier_copy *c = &round->copies[i];

		if (c->state != COPY_STARTED)
			continue;
		if (c->read_err || c->write_err)
			c->state = COPY_FAILED;
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
		shadow_note_tier_failure(v, c->read_err ? "read" : "write", tier, c->block);
	} else {
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
	c->state = COPY_OVER;
}

/* Before a copy is made again: forget the mark, or hold the writes; then drain. */
static void prepare_again(struct shadow_volume *v, struct shadow_tier_round *round, bool last)
{
	unsigned int i;

	for (i = 0; i < round->n; i++) {
		struct shadow_tier_copy *c = &round->copies[i];
		enum shadow_tier_event event = SHADOW_TEV_PROMOTE_RETRY;

		if (c->state != COPY_CLAIMED)
			continue;
		if (c->type != SHADOW_MSG_PROMOTE)
			event = last ? SHADOW_TEV_CLEAN_HOLD : SHADOW_TEV_CLEAN_RETRY;
		if (!shadow_tier_apply(v, c->block, event, NULL))
			c->state = COPY_OVER;	/* discarded */
	}
}

/* Shadows of the round that shall end. */
static void drop_some(struct shadow_volume *v, struct shadow_tier_round *round)
{
	struct shadow_blocks blocks = { .list = v->drop_blocks };
	unsigned int i;

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

/* One round; its claims are all over when it returns. */
static void do_round(struct shadow_volume *v, struct shadow_tier_round *round)
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
						    !atomic_read(&v->failing)), HZ / 10);
		} while (blocked && may_go_on(v));
	}
	for (c = round->copies; c < end; c++)
		if (c->state != COPY_OVER)
			give_up(v, c);
	shadow_release_parked(v);
	drop_some(v, round);
	for (c = round->copies; c < end; c++)
		leave_round(v, c);
	shadow_commit_soon(v);
}

/* What user space asked for. */
static void asked_round(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;
	unsigned int n = claim_some(v);

	if (!n)
		return;
	m->round.copies = m->copies;
	m->round.n = n;
	shadow_charge_rate(&m->next_start, READ_ONCE(m->rate), (sector_t)n << v->shift);
	WRITE_ONCE(m->inflight, (u64)n << v->shift);
	do_round(v, &m->round);
	WRITE_ONCE(m->inflight, 0);
}

/** shadow_tier_fetch() - promote the block of a fetch, if that can be. */
void shadow_tier_fetch(struct shadow_fetch *f)
{
	struct shadow_volume *v = f->v;

	if (READ_ONCE(v->mode) != SHADOW_MODE_RW)
		return;
	claim(v, f->leg, &f->copy);
	if (f->copy.state == COPY_CLAIMED)
		do_round(v, &f->round);
}

/* --- the thread ------------------------------------------------------------------------ */

static bool may_claim(struct shadow_tier_mover *m)
{
	return !READ_ONCE(m->suspended) && !READ_ONCE(m->stopping) && !list_empty(&m->queue.list);
}

static bool has_work(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;

	return (may_claim(m) && READ_ONCE(v->mode) == SHADOW_MODE_RW) ||
	       (m->was_busy && list_empty(&m->queue.list)) || kthread_should_stop();
}

/* Waits for the rate limit, or for something more urgent. False: look again. */
static bool rate_allows(struct shadow_tier_mover *m)
{
	ktime_t wait;

	if (!READ_ONCE(m->rate))
		return true;
	wait = ktime_sub(m->next_start, ktime_get());
	if (wait <= 0)
		return true;
	wait_event_interruptible_hrtimeout(m->wake, !may_claim(m) || !READ_ONCE(m->rate) ||
					   kthread_should_stop(), wait);
	return false;
}

static int tier_thread(void *data)
{
	struct shadow_volume *v = data;
	struct shadow_tier_mover *m = &v->tmover;

	memalloc_noio_save();
	while (!kthread_should_stop()) {
		WRITE_ONCE(m->parked, true);
		wake_up(&m->idle);
		wait_event_interruptible(m->wake, has_work(v));
		WRITE_ONCE(m->parked, false);
		smp_mb(); /* parked, then look at the flags: pairs with wait_parked() */

		if (m->was_busy && list_empty(&m->queue.list)) {
			m->was_busy = false;
			shadow_raise_event(v);
			continue;
		}
		if (!may_claim(m) || READ_ONCE(v->mode) != SHADOW_MODE_RW || !rate_allows(m))
			continue;
		asked_round(v);
		cond_resched();
	}
	return 0;
}

/* --- for the others ---------------------------------------------------------------------- */

/* Fetches refuse to begin under v->lock: who has looked at the flags before is counted after. */
static bool fetches_over(struct shadow_volume *v)
{
	unsigned long flags;
	bool over;

	spin_lock_irqsave(&v->lock, flags);
	over = !v->nr_fetches;
	spin_unlock_irqrestore(&v->lock, flags);
	return over;
}

static void wait_parked(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;

	smp_mb(); /* the flags, then parked: pairs with tier_thread() */
	wake_up(&m->wake);
	wait_event(m->idle, !m->thread || READ_ONCE(m->parked));
	wait_event(m->idle, fetches_over(v));
}

void shadow_tier_mover_suspend(struct shadow_volume *v)
{
	WRITE_ONCE(v->tmover.suspended, true);
	wait_parked(v);
}

void shadow_tier_mover_resume(struct shadow_volume *v)
{
	WRITE_ONCE(v->tmover.suspended, false);
	wake_up(&v->tmover.wake);
}

static void tier_mover_clear(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;

	shadow_queue_clear(v, &m->queue);
	wake_up(&m->wake);
}

/* Forgets the queue and waits until nothing is in flight. Later requests run again. */
void shadow_tier_mover_stop(struct shadow_volume *v)
{
	WRITE_ONCE(v->tmover.stopping, true);
	wait_parked(v);
	tier_mover_clear(v);
	WRITE_ONCE(v->tmover.stopping, false);
	wake_up(&v->tmover.wake);
}

void shadow_tier_mover_limit(struct shadow_volume *v, u8 type, u64 value)
{
	struct shadow_tier_mover *m = &v->tmover;

	if (type == SHADOW_MSG_LIMIT_TIER_RATE) {
		WRITE_ONCE(m->rate, value);
		m->next_start = ktime_get();
	} else {
		WRITE_ONCE(m->inflight_limit, max_t(u64, value * 2, 1u << v->shift));
	}
	wake_up(&m->wake);
}

/** shadow_tier_mover_queue() - append the ranges of a message, all or none. */
int shadow_tier_mover_queue(struct shadow_volume *v, const struct shadow_message *msg,
			    char **ranges, const char **error)
{
	struct shadow_request like = { .type = msg->type, .tier = msg->tier };
	struct shadow_tier_mover *m = &v->tmover;
	int r = shadow_queue_append(v, &m->queue, &like, msg->nr_ranges, ranges, error);

	if (!r)
		WRITE_ONCE(m->was_busy, true);
	wake_up(&m->wake);
	return r;
}

/* Before the first tier there is no thread. */
int shadow_tier_mover_init(struct shadow_volume *v)
{
	struct shadow_tier_mover *m = &v->tmover;
	int r;

	m->thread = kthread_run(tier_thread, v, "dm-shadow-tier");
	r = PTR_ERR_OR_ZERO(m->thread);
	if (r)
		m->thread = NULL;
	return r;
}

void shadow_tier_mover_exit(struct shadow_volume *v)
{
	if (v->tmover.thread)
		kthread_stop(v->tmover.thread);
	v->tmover.thread = NULL;
	tier_mover_clear(v);
}
