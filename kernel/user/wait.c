// SPDX-License-Identifier: GPL-2.0-only
/*
 * Wait queues and completions.
 *
 * A waiter registers, looks at its condition, and sleeps unless it was woken since: as
 * prepare_to_wait() and schedule() do. Nothing else makes it look again.
 */
#include "internal.h"

static void check(const wait_queue_head_t *w)
{
	if (w->magic != SIM_WAIT_MAGIC)
		sim_die(sim_is_poison(w->magic) ? "a wait queue of freed memory is used" :
			"a wait queue is used that was never initialised");
}

void sim_wait_begin(wait_queue_head_t *w)
{
	check(w);
	sim_cur->wq = w;
	sim_cur->woken = false;
	sim_point();
}

bool sim_wait_sleep(s64 ns, bool interruptible)
{
	struct task_struct *t = sim_cur;

	sim_might_sleep("schedule");
	sim_point();
	t->timed_out = false;
	check(t->wq);
	if (!t->woken) {
		t->due = ns ? machine.now + max(ns, (s64)1) : 0;
		t->waiting = true;
		t->interruptible = interruptible;
		sim_block_at(t, t->wq->name);
		t->waiting = false;
		t->due = 0;
	}
	return t->timed_out;
}

void sim_wait_end(void)
{
	sim_cur->wq = NULL;
	sim_point();
}

void wake_up_locked(wait_queue_head_t *w)
{
	struct task_struct *t;
	u32 i = 0;

	check(w);
	while ((t = sim_next_fiber(&i))) {
		if (t->wq != w)
			continue;
		t->woken = true;
		if (t->waiting)
			t->chan = NULL;
	}
}

void wake_up(wait_queue_head_t *w)
{
	unsigned long flags;

	check(w);
	spin_lock_irqsave(&w->lock, flags);
	wake_up_locked(w);
	spin_unlock_irqrestore(&w->lock, flags);
}

bool waitqueue_active(wait_queue_head_t *w)
{
	struct task_struct *t;
	u32 i = 0;

	check(w);
	sim_point();
	while ((t = sim_next_fiber(&i)))
		if (t->wq == w)
			return true;
	return false;
}

/*
 * Wakes every sleeper once: one that then goes on, with nothing else having happened, had a
 * condition that held. For a run that has come to rest: it is over afterwards.
 */
const char *sim_lost_wakeup(void)
{
	static char name[120];
	struct task_struct *t;
	u32 i;

	for (i = 0; (t = sim_next_fiber(&i));) {
		wait_queue_head_t *w = t->wq;
		u32 id = t->id, steps;

		if (!t->waiting || !w)
			continue;
		snprintf(name, sizeof(name), "%s at %s", t->name, w->name);
		t->chan = NULL;
		t->woken = true;
		for (steps = 0; steps < 8 && !machine.failed && t->used && t->id == id && !t->chan;
		     steps++) {
			sim_begin_step(1u << 25, steps + 1, true);
			sim_go(id);
		}
		if (!t->used || t->id != id || !t->waiting || t->wq != w)
			return name;
	}
	return NULL;
}

void init_completion(struct completion *c)
{
	c->magic = SIM_WAIT_MAGIC;
	c->done = 0;
}

static void check_completion(const struct completion *c)
{
	if (c->magic != SIM_WAIT_MAGIC)
		sim_die("a completion is used that was never initialised, or is gone");
}

void complete(struct completion *c)
{
	sim_point();
	check_completion(c);
	if (c->done < U32_MAX / 2)
		c->done++;
	sim_wake(c);
}

void complete_all(struct completion *c)
{
	sim_point();
	check_completion(c);
	c->done = U32_MAX / 2;
	sim_wake(c);
}

void wait_for_completion(struct completion *c)
{
	sim_might_sleep("wait_for_completion");
	sim_point();
	check_completion(c);
	while (!c->done)
		sim_block_at(c, "a completion");
	if (c->done < U32_MAX / 2)
		c->done--;
}

bool completion_done(struct completion *c)
{
	sim_point();
	return c->done;
}
