// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tier mover: promotes, writes back and demotes in the order user space asked for.
 *
 * A thread of its own takes up to SHADOW_TIER_BATCH blocks off the queue and copies them in a round
 * (dm-shadow-tier-round.c). Suspend and stop wait for it, and for rounds of fetches.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>

#include "dm-shadow.h"

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
			if (!shadow_tier_claim(v, q->tier, &m->copies[n])) {
				b = end;	/* full: the rest would not fit either */
				break;
			}
			if (m->copies[n].state == SHADOW_COPY_CLAIMED ||
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
	shadow_tier_do_round(v, &m->round);
	WRITE_ONCE(m->inflight, 0);
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
					   kthread_should_stop() || freezing(current), wait);
	return false;
}

static int tier_thread(void *data)
{
	struct shadow_volume *v = data;
	struct shadow_tier_mover *m = &v->tmover;

	memalloc_noio_save();
	set_freezable();
	while (!kthread_should_stop()) {
		WRITE_ONCE(m->parked, true);
		wake_up(&m->idle);
		try_to_freeze();
		wait_event_freezable(m->wake, has_work(v));
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

	m->thread = kthread_run(tier_thread, v, "shadow-t/%s", v->name);
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
