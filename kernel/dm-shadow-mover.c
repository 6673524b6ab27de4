// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mover: copies blocks from leg to leg with dm-kcopyd, in the order user space asked for.
 *
 * A thread of its own takes ranges from a queue, claims runs of neighbouring blocks
 * (ORIGIN -> COPYING, TARGET -> REMIRRORING), drains the epoch once for a batch of runs, and
 * hands them to kcopyd. The callback turns each block that nobody wrote meanwhile into
 * MIRRORED; the others come back to the thread, which forgets the mark, drains and copies
 * again. The last of MOVER_TRIES holds the block's writes for the time of one copy.
 *
 * A block in COPYING or REMIRRORING always belongs to one job (->mine: a neighbour in the same run
 * that is mirrored already may be claimed anew before the job has ended), and a job to the thread
 * or to kcopyd. Pausing stops new claims only; suspending waits until nothing is in flight.
 *
 * Jobs come from a pool with a reserve. A job that has to go on does so with itself: it never needs
 * another one, however its blocks are scattered. Only a claim takes a job, and it does not wait for
 * one: the thread starts what it has, and comes back when a job has ended. So short of all memory
 * the mover becomes slow, and goes on.
 *
 * Failure: a failed joined copy is taken apart to find the block, a failed block goes back to
 * where it was and is reported. A copy that a leg's lost cache has made void is made again. The
 * thread never waits for anything but copies, drains, commits of fills and its own clock.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>

#include "dm-shadow.h"

/* In user space it is less at times, so that blocks are held more often. */
#ifndef MOVER_TRIES
#define MOVER_TRIES 3
#endif
#define MAX_RUN_SECTORS 2048u		/* 1 MiB: neighbours are joined up to here */
#define MAX_BATCH 8			/* runs that share a drain */
#define MAX_LOOK 4096			/* blocks, before looking up from the queue */
/* In user space it is used up more often. */
#ifndef MOVER_JOBS
#define MOVER_JOBS 16
#endif
#define DEFAULT_INFLIGHT (2048u << 1)	/* sectors; two runs: see docs/performance.md */

void shadow_note_error(struct shadow_volume *v, const char *what, u8 leg, u32 block)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	snprintf(v->last_error, sizeof(v->last_error), "%s:%s:%u", what, shadow_leg_name(leg),
		 block);
	spin_unlock_irqrestore(&v->lock, flags);
	DMERR_LIMIT("%s: %s of the %s failed, block %u", v->name, what, shadow_leg_name(leg),
		    block);
}

/* The next block of the run, which was claimed for it. */
static void add_block(struct shadow_job *job)
{
	BUILD_BUG_ON(MAX_RUN_SECTORS / SHADOW_MIN_BLOCK_SECTORS > 32);
	job->mine |= 1u << job->count++;
}

static void forget_block(struct shadow_job *job, u32 block)
{
	job->mine &= ~(1u << (block - job->first));
}

static u8 other_leg(u8 leg)
{
	return leg == SHADOW_LEG_ORIGIN ? SHADOW_LEG_TARGET : SHADOW_LEG_ORIGIN;
}

static void put_job(struct shadow_mover *m, struct shadow_job *job)
{
	mempool_free(job, &m->jobs);
	WRITE_ONCE(m->starved, false);	/* pairs with get_job() */
}

/* --- the end of a copy: kcopyd's thread ----------------------------------- */

/*
 * Blocks of the job that nobody wrote become mirrored; the job has no part in them any more. The
 * others stay its own, to be copied again: also those that a leg may have lost with its cache while
 * they were copied. If the leg they were copied to failed meanwhile all are what they were. If it
 * is the other one that failed the commit finds out, and drops it again.
 */
static void settle(struct shadow_job *job)
{
	struct shadow_volume *v = job->v;
	enum shadow_event event = SHADOW_EV_COPY_DONE;
	struct shadow_step step;
	bool doubted;
	u32 left;

	down_read(&v->phase_lock);
	doubted = shadow_doubted_since(v, job->doubted);
	if (v->home_failed & (1u << other_leg(job->from)))
		event = SHADOW_EV_COPY_FAILED;
	else if (doubted)
		event = SHADOW_EV_UNHOLD;	/* not legal, and no matter, for what is not held */
	atomic_or(SHADOW_MASK_BOTH, &v->unflushed);
	smp_mb__after_atomic(); /* before the states change: see the commit rule in dm-shadow.h */
	for (left = job->sent; left; left &= left - 1) {
		u32 b = job->first + __ffs(left);
		bool legal = shadow_apply(v, b, event, &step);

		if (event == SHADOW_EV_UNHOLD)
			continue;
		if (!legal || event == SHADOW_EV_COPY_FAILED) {
			forget_block(job, b);	/* or it became a hole meanwhile */
		} else if (!(step.actions & SHADOW_ACT_COPY_AGAIN)) {
			forget_block(job, b);
			shadow_doubt(v, b, SHADOW_MASK_BOTH);	/* what was read, too */
			atomic64_inc(&v->copied);
		}
	}
	up_read(&v->phase_lock);
	shadow_commit_soon(v);
}

/* The one block that was sent failed for good: it is what it was before. */
static void give_up(struct shadow_job *job, bool read_failed)
{
	struct shadow_volume *v = job->v;
	u32 block = job->first + __ffs(job->sent);

	shadow_note_error(v, read_failed ? "read" : "write",
			  read_failed ? job->from : other_leg(job->from), block);
	atomic64_inc(&v->copy_errors);
	shadow_apply(v, block, SHADOW_EV_COPY_FAILED, NULL);
	forget_block(job, block);
	shadow_raise_event(v);
}

/* All pieces of the job are over. */
static void copy_over(struct shadow_job *job)
{
	struct shadow_volume *v = job->v;
	struct shadow_mover *m = &v->mover;
	struct completion *done = job->done;
	bool one = !(job->sent & (job->sent - 1));
	bool again = false;
	unsigned long flags;

	if (job->read_failed)
		shadow_suspect(v, job->from, false);
	if (job->write_failed)
		shadow_suspect(v, other_leg(job->from), true);
	if (!job->read_failed && !job->write_failed)
		settle(job);
	else if (one)
		give_up(job, job->read_failed);
	else
		job->single = true;

	spin_lock_irqsave(&v->lock, flags);
	m->inflight -= job->sectors;
	list_del(&job->list);
	if (!done && job->mine) {
		list_add_tail(&job->list, &m->again);
		again = true;
	}
	spin_unlock_irqrestore(&v->lock, flags);

	if (done)
		complete(done);
	else if (!again)
		put_job(m, job);
	wake_up(&m->idle);
	wake_up(&m->wake);
}

static void piece_done(int read_err, unsigned long write_err, void *context)
{
	struct shadow_job *job = context;

	if (read_err)
		WRITE_ONCE(job->read_failed, true);
	else if (write_err)
		WRITE_ONCE(job->write_failed, true);
	if (atomic_dec_and_test(&job->pending))
		copy_over(job);
}

/* --- starting copies: the thread ------------------------------------------ */

/*
 * A job is on the running list from before its blocks are claimed, or looked at again: whoever
 * turns a block that is being copied into a hole waits for all jobs listed then, and so for any
 * copy that could still land on it.
 */
static void list_job(struct shadow_volume *v, struct shadow_job *job)
{
	struct shadow_mover *m = &v->mover;
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	job->seq = m->next_seq++;
	list_add_tail(&job->list, &m->running);
	spin_unlock_irqrestore(&v->lock, flags);
}

static void unlist_job(struct shadow_volume *v, struct shadow_job *job)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	list_del(&job->list);
	spin_unlock_irqrestore(&v->lock, flags);
	wake_up(&v->mover.idle);
}

/*
 * One to claim blocks with; NULL: there is none now, and the reserve is used up. So some job is
 * under way, or the thread has it, and its end says that it is worth another look.
 */
static struct shadow_job *get_job(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	struct shadow_job *job = mempool_alloc(&m->jobs, GFP_NOWAIT | __GFP_NOWARN);

	if (unlikely(!job)) {
		WRITE_ONCE(m->starved, true);
		smp_mb(); /* starved, then the pool: pairs with the lock in mempool_free() */
		job = mempool_alloc(&m->jobs, GFP_NOWAIT | __GFP_NOWARN);
		if (!job)
			return NULL;
		WRITE_ONCE(m->starved, false);
	}
	memset(job, 0, sizeof(*job));
	job->v = v;
	return job;
}

/* Takes neighbours off the low end of a mask. Returns how many, *@first telling which. */
static u32 next_piece(u32 *mask, u32 *first)
{
	u32 n;

	*first = __ffs(*mask);
	n = __ffs(~(unsigned long)(*mask >> *first));
	*mask &= ~(u32)(((1ull << n) - 1) << *first);
	return n;
}

static void start_piece(struct shadow_job *job, u32 first, u32 n)
{
	struct shadow_volume *v = job->v;
	struct dm_io_region from = {
		.bdev = v->legs[job->from],
		.sector = shadow_block_start(v, job->first + first),
		.count = shadow_run_sectors(v, job->first + first, n),
	};
	struct dm_io_region to = from;

	to.bdev = v->legs[other_leg(job->from)];
	atomic_inc(&job->pending);
	dm_kcopyd_copy(v->kc, &from, 1, &to, 0, piece_done, job);
}

/* @blocks: mask of those of its own that it copies now */
static void start_job(struct shadow_volume *v, struct shadow_job *job, u32 blocks)
{
	u32 left, first, n;
	unsigned long flags;

	job->sent = blocks;
	job->sectors = 0;
	for (left = blocks; left;) {
		n = next_piece(&left, &first);
		job->sectors += shadow_run_sectors(v, job->first + first, n);
	}
	spin_lock_irqsave(&v->lock, flags);
	v->mover.inflight += job->sectors;
	spin_unlock_irqrestore(&v->lock, flags);
	job->doubted = READ_ONCE(v->doubted);
	job->read_failed = false;
	job->write_failed = false;
	atomic_set(&job->pending, 1);
	for (left = blocks; left;) {
		n = next_piece(&left, &first);
		start_piece(job, first, n);
	}
	if (atomic_dec_and_test(&job->pending))
		copy_over(job);
}

/*
 * A write of before their claim has failed, and it is not decided yet which copy it gives up: the
 * jobs come back when it is. No discard waits for them meanwhile, because the worker that decides
 * may be the one that waits.
 */
static void put_off(struct shadow_volume *v, struct shadow_job **jobs, unsigned int n)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&v->lock, flags);
	for (i = 0; i < n; i++)
		list_move_tail(&jobs[i]->list, &v->mover.again);
	spin_unlock_irqrestore(&v->lock, flags);
	wake_up(&v->mover.idle);
}

/* After the drain. */
static void start_jobs(struct shadow_volume *v, struct shadow_job **jobs, unsigned int n)
{
	unsigned int i;

	if (unlikely(atomic_read(&v->failing))) {
		put_off(v, jobs, n);
		return;
	}
	for (i = 0; i < n; i++) {
		struct shadow_job *job = jobs[i];

		start_job(v, job, job->single ? job->mine & -job->mine : job->mine);
	}
}

/*
 * A block of the job, which is listed, is copied while no write is under way or comes in. A discard
 * may take the hold over: it waits for the job, which finds a hole. Writes are let in again by the
 * end of the copy. False: the job was put off.
 */
static bool copy_held(struct shadow_volume *v, struct shadow_job *job, u32 block)
{
	DECLARE_COMPLETION_ONSTACK(done);

	if (!shadow_apply(v, block, SHADOW_EV_HOLD, NULL)) {
		forget_block(job, block);
		unlist_job(v, job);
		return true;
	}
	shadow_apply(v, block, SHADOW_EV_COPY_RETRY, NULL);
	shadow_drain(v);
	if (unlikely(atomic_read(&v->failing))) {
		shadow_apply(v, block, SHADOW_EV_UNHOLD, NULL);
		put_off(v, &job, 1);
		shadow_release_parked(v);
		return false;
	}
	job->done = &done;
	start_job(v, job, 1u << (block - job->first));
	wait_for_completion_io(&done);
	job->done = NULL;
	shadow_release_parked(v);
	return true;
}

/* The last try of what is left of a job: one block after the other. */
static void copy_all_held(struct shadow_volume *v, struct shadow_job *job)
{
	u32 left = job->mine;

	for (; left; left &= left - 1) {
		atomic64_inc(&v->recopied);
		list_job(v, job);
		if (!copy_held(v, job, job->first + __ffs(left)))
			return;
	}
	if (!job->mine) {
		put_job(&v->mover, job);
		return;
	}
	/* a leg may have lost some: all of that is to be copied again */
	list_job(v, job);
	put_off(v, &job, 1);
}

/* Copies again what is left of a job: of its blocks those that are still being copied. */
static void copy_again(struct shadow_volume *v, struct shadow_job *job)
{
	u32 left;

	if (job->tries < MOVER_TRIES)
		job->tries++;
	if (job->tries >= MOVER_TRIES) {
		copy_all_held(v, job);
		return;
	}
	list_job(v, job);
	for (left = job->mine; left; left &= left - 1) {
		u32 b = job->first + __ffs(left);

		if (shadow_apply(v, b, SHADOW_EV_COPY_RETRY, NULL))
			atomic64_inc(&v->recopied);
		else
			forget_block(job, b);
	}
	if (!job->mine) {
		unlist_job(v, job);
		put_job(&v->mover, job);
		return;
	}
	shadow_drain(v);
	start_jobs(v, &job, 1);
}

/*
 * Claims the next run of the request at the head of the queue, at most @max sectors. Returns
 * the job, or NULL with *@more telling whether another look makes sense.
 */
static struct shadow_job *claim(struct shadow_volume *v, sector_t max, bool *more)
{
	struct shadow_request *q;
	struct shadow_job *job;
	enum shadow_event event;
	u32 b, end, looked;
	u8 from;

	*more = false;
	q = shadow_queue_head(v, &v->mover.queue);
	if (!q || q->type == SHADOW_MSG_FILL)
		return NULL;
	b = q->next;
	end = min_t(u32, q->end, v->nr_blocks);
	from = q->type == SHADOW_MSG_COPY ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET;
	event = from == SHADOW_LEG_ORIGIN ? SHADOW_EV_COPY_START : SHADOW_EV_REMIRROR_START;

	job = get_job(v);
	if (!job)
		return NULL;
	job->from = from;
	job->first = b;
	list_job(v, job);
	for (looked = 0; b < end && looked < MAX_LOOK; b++, looked++) {
		if (job->count && shadow_run_sectors(v, job->first, job->count + 1) > max)
			break;
		if (shadow_block_start(v, b) < v->len &&
		    __shadow_apply(v, b, event, v->home_failed & (1u << other_leg(from)), NULL)) {
			if (!job->count)
				job->first = b;
			add_block(job);
		} else if (job->count) {
			break;
		}
	}
	if (!job->count) {
		unlist_job(v, job);
		put_job(&v->mover, job);
		job = NULL;
	}
	*more = shadow_queue_advance(v, &v->mover.queue, q, b, b >= end);
	return job;
}

/* --- filling holes on request ------------------------------------------------ */

/* True if the queue's head is a fill, of which one run was done. */
static bool do_fill_request(struct shadow_volume *v)
{
	struct shadow_request *q = shadow_queue_head(v, &v->mover.queue);
	bool failed = false;
	u32 first, b, end;

	if (!q || q->type != SHADOW_MSG_FILL)
		return false;
	b = q->next;
	end = min_t(u32, q->end, v->nr_blocks);
	while (b < end && shadow_home(READ_ONCE(v->map[b])) != SHADOW_HOLE)
		if (!(++b % (1u << 16)))
			cond_resched();
	first = b;
	if (first < v->tail)	/* a run lives on the same legs from end to end */
		end = min(end, v->tail);
	while (b < end && (b == first || shadow_run_sectors(v, first, b + 1 - first) <=
			   MAX_RUN_SECTORS) &&
	       shadow_apply(v, b, SHADOW_EV_FILL_START, NULL))
		b++;
	if (b > first)
		failed = !shadow_fill_run(v, first, b - first);
	else if (b < end)
		b++;	/* busy: somebody else is at it */
	shadow_queue_advance(v, &v->mover.queue, q, b,
			     b >= min(q->end, v->nr_blocks) || failed);
	if (failed)
		shadow_raise_event(v);
	return true;
}

/* --- the thread ----------------------------------------------------------- */

static bool may_claim(struct shadow_mover *m)
{
	return !READ_ONCE(m->paused) && !READ_ONCE(m->suspended) && !READ_ONCE(m->stopping) &&
	       !list_empty(&m->queue.list);
}

static bool has_again(struct shadow_mover *m)
{
	return !list_empty(&m->again);
}

/* A job moves from list to list under the lock. */
static bool idle(struct shadow_volume *v)
{
	unsigned long flags;
	bool r;

	spin_lock_irqsave(&v->lock, flags);
	r = list_empty(&v->mover.running) && list_empty(&v->mover.again);
	spin_unlock_irqrestore(&v->lock, flags);
	return r;
}

/* Sectors a job may have, so that the in-flight limit is used by several. */
static sector_t run_limit(struct shadow_volume *v)
{
	sector_t limit = READ_ONCE(v->mover.inflight_limit) / 2;

	return clamp_t(sector_t, limit, 1u << v->shift, max(MAX_RUN_SECTORS, 1u << v->shift));
}

static bool has_room(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	u64 inflight = READ_ONCE(m->inflight);

	return !inflight || inflight + run_limit(v) <= READ_ONCE(m->inflight_limit);
}

/* Waits for the rate limit, or for something more urgent. False: look again. */
static bool rate_allows(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	ktime_t wait;

	if (!READ_ONCE(m->rate))
		return true;
	wait = ktime_sub(m->next_start, ktime_get());
	if (wait <= 0)
		return true;
	wait_event_interruptible_hrtimeout(m->wake, !may_claim(m) || has_again(m) ||
					   !READ_ONCE(m->rate) || kthread_should_stop() ||
					   freezing(current), wait);
	return false;
}

/* Claims as many runs as may start now, drains once, starts them. */
static void start_some(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	sector_t max = run_limit(v), room, taken = 0;
	struct shadow_job *runs[MAX_BATCH];
	unsigned int n = 0;
	bool more = true;

	room = READ_ONCE(m->inflight_limit);
	room = room > READ_ONCE(m->inflight) ? room - READ_ONCE(m->inflight) : 0;
	while (more && n < MAX_BATCH && may_claim(m) && (!taken || taken + max <= room)) {
		struct shadow_job *job = claim(v, max, &more);

		if (!job)
			continue;
		runs[n++] = job;
		shadow_intent_ahead(v, job->first, job->count);
		taken += shadow_run_sectors(v, job->first, job->count);
		if (READ_ONCE(m->rate))
			break;		/* one at a time keeps the rate smooth */
	}
	if (!n)
		return;
	shadow_charge_rate(&m->next_start, READ_ONCE(m->rate), taken);
	shadow_drain(v);
	start_jobs(v, runs, n);
}

static struct shadow_job *next_again(struct shadow_volume *v)
{
	struct shadow_job *job;
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	job = list_first_entry_or_null(&v->mover.again, struct shadow_job, list);
	if (job)
		list_del(&job->list);
	spin_unlock_irqrestore(&v->lock, flags);
	return job;
}

static bool has_work(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;

	if (!atomic_read(&v->failing) &&
	    (has_again(m) || (may_claim(m) && has_room(v) && !READ_ONCE(m->starved))))
		return true;
	return (m->was_busy && idle(v) && list_empty(&m->queue.list)) || kthread_should_stop();
}

static void set_parked(struct shadow_mover *m, bool parked)
{
	WRITE_ONCE(m->parked, parked);
	if (parked)
		wake_up(&m->idle);
}

static int mover_thread(void *data)
{
	struct shadow_volume *v = data;
	struct shadow_mover *m = &v->mover;
	struct shadow_job *job;

	memalloc_noio_save();
	set_freezable();
	while (!kthread_should_stop()) {
		set_parked(m, true);
		try_to_freeze();
		wait_event_freezable(m->wake, has_work(v));
		set_parked(m, false);
		smp_mb(); /* parked, then look at the flags: pairs with wait_parked() */

		job = atomic_read(&v->failing) ? NULL : next_again(v);
		if (job) {
			copy_again(v, job);
			continue;
		}
		if (m->was_busy && idle(v) && list_empty(&m->queue.list)) {
			m->was_busy = false;
			shadow_raise_event(v);
			continue;
		}
		if (atomic_read(&v->failing) || !may_claim(m) || !has_room(v) ||
		    READ_ONCE(m->starved))
			continue;
		m->was_busy = true;
		if (!rate_allows(v))
			continue;
		if (!do_fill_request(v))
			start_some(v);
		cond_resched();
	}
	return 0;
}

/* --- for the others ------------------------------------------------------- */

/*
 * Nothing is in flight and the thread has no job in its hands: what it takes off a list it takes
 * under the lock, after it has said that it is not parked. So all of it is one look.
 */
static bool at_rest(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	unsigned long flags;
	bool r;

	spin_lock_irqsave(&v->lock, flags);
	r = READ_ONCE(m->parked) && list_empty(&m->running) && list_empty(&m->again);
	spin_unlock_irqrestore(&v->lock, flags);
	return r;
}

/* Until the thread has seen the flags and nothing is in flight. */
static void wait_parked(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;

	smp_mb(); /* the flags, then parked: pairs with mover_thread() */
	wake_up(&m->wake);
	wait_event(m->idle, at_rest(v));
}

void shadow_mover_suspend(struct shadow_volume *v)
{
	WRITE_ONCE(v->mover.suspended, true);
	wait_parked(v);
}

void shadow_mover_resume(struct shadow_volume *v)
{
	WRITE_ONCE(v->mover.suspended, false);
	wake_up(&v->mover.wake);
}

static void mover_clear(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;

	shadow_queue_clear(v, &m->queue);
	wake_up(&m->wake);
}

/*
 * Forgets the queue and waits until nothing is in flight. Later requests run again. A flag of its
 * own, because a suspend may come at any time, and must stay.
 */
void shadow_mover_stop_copies(struct shadow_volume *v)
{
	WRITE_ONCE(v->mover.stopping, true);
	wait_parked(v);
	mover_clear(v);
	WRITE_ONCE(v->mover.stopping, false);
	wake_up(&v->mover.wake);
}

/* Blocks that are holes now belong to no job, and may be filled and claimed by another. */
static void forget_holes(struct shadow_volume *v, struct shadow_job *job)
{
	u32 b;

	for (b = job->first; b < job->first + job->count; b++)
		if (shadow_home(READ_ONCE(v->map[b])) == SHADOW_HOLE)
			forget_block(job, b);
}

/*
 * The caller has made holes of blocks that were being copied: until no copy can land on them, and
 * no job thinks them its own. Waits for all jobs that are in flight now.
 */
void shadow_mover_wait_running(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	struct shadow_job *job;
	unsigned long flags;
	u64 before;
	bool over, gone;

	spin_lock_irqsave(&v->lock, flags);
	before = m->next_seq;
	spin_unlock_irqrestore(&v->lock, flags);
	do {
		u64 oldest = U64_MAX;

		spin_lock_irqsave(&v->lock, flags);
		job = list_first_entry_or_null(&m->running, struct shadow_job, list);
		if (job)
			oldest = job->seq;
		over = oldest >= before;
		spin_unlock_irqrestore(&v->lock, flags);
		if (!over)
			wait_event(m->idle, ({
				spin_lock_irqsave(&v->lock, flags);
				job = list_first_entry_or_null(&m->running, struct shadow_job,
							       list);
				gone = !job || job->seq > oldest;
				spin_unlock_irqrestore(&v->lock, flags);
				gone;
			}));
	} while (!over);

	spin_lock_irqsave(&v->lock, flags);
	list_for_each_entry(job, &m->again, list)
		forget_holes(v, job);
	spin_unlock_irqrestore(&v->lock, flags);
}

void shadow_mover_set_paused(struct shadow_volume *v, bool paused)
{
	WRITE_ONCE(v->mover.paused, paused);
	wake_up(&v->mover.wake);
}

void shadow_mover_limit(struct shadow_volume *v, u8 type, u64 value)
{
	struct shadow_mover *m = &v->mover;

	if (type == SHADOW_MSG_LIMIT_RATE) {
		WRITE_ONCE(m->rate, value);
		m->next_start = ktime_get();
	} else {
		WRITE_ONCE(m->inflight_limit, max_t(u64, value * 2, 1u << v->shift));
	}
	wake_up(&m->wake);
}

/** shadow_mover_queue() - append ranges, all or none. */
int shadow_mover_queue(struct shadow_volume *v, u8 type, unsigned int nr, char **ranges,
		       const char **error)
{
	struct shadow_request like = { .type = type };
	struct shadow_mover *m = &v->mover;
	int r = shadow_queue_append(v, &m->queue, &like, nr, ranges, error);

	if (!r)
		WRITE_ONCE(m->was_busy, true);
	wake_up(&m->wake);
	return r;
}

int shadow_mover_init(struct shadow_volume *v)
{
	struct shadow_mover *m = &v->mover;
	int r;

	init_waitqueue_head(&m->wake);
	init_waitqueue_head(&m->idle);
	shadow_queue_init(&m->queue);
	INIT_LIST_HEAD(&m->running);
	INIT_LIST_HEAD(&m->again);
	m->inflight_limit = DEFAULT_INFLIGHT;
	m->suspended = true;		/* until the first resume */
	r = mempool_init_kmalloc_pool(&m->jobs, MOVER_JOBS, sizeof(struct shadow_job));
	if (r)
		return r;
	m->thread = kthread_run(mover_thread, v, "shadow-m/%s", v->name);
	if (IS_ERR(m->thread)) {
		r = PTR_ERR(m->thread);
		m->thread = NULL;
	}
	return r;
}

void shadow_mover_stop_thread(struct shadow_volume *v)
{
	if (v->mover.thread)
		kthread_stop(v->mover.thread);
	v->mover.thread = NULL;
}

/* The thread is stopped, and the kcopyd client is gone: it may have called back until then. */
void shadow_mover_exit(struct shadow_volume *v)
{
	if (v->mover.queue.list.next)
		mover_clear(v);
	mempool_exit(&v->mover.jobs);
}
