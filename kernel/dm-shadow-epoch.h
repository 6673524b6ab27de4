/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The epoch: tells when all writes that were mapped before a moment are over, without a
 * counter per block and without a shared cache line on the write path.
 *
 * Two pairs of per-CPU counters, entered and left; a write counts in the pair that is current
 * when it is mapped and leaves that same pair, on whatever CPU it ends. A drain waits until the
 * other pair is empty, makes it the current one, and waits for the pair that was. Both waits are
 * needed: a mapper may read the index, be preempted, and enter the pair that is not current any
 * longer; it then reads its state byte after the flip that preceded the drain, but a later
 * drain must still see it.
 *
 * The left counters are summed before the entered ones, so that a write that comes in between
 * can make the sums unequal but never equal by mistake.
 */
#ifndef DM_SHADOW_EPOCH_H
#define DM_SHADOW_EPOCH_H

#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/wait.h>

struct shadow_epoch_counts {
	unsigned long entered[2];
	unsigned long left[2];
	unsigned long mirrored;		/* writes to two homes */
	unsigned int toggle;		/* read policy balance */
};

struct shadow_epoch {
	struct shadow_epoch_counts __percpu *counts;
	int index;
	int waiting;			/* somebody drains: leavers wake him */
	unsigned int begun;		/* drains */
	wait_queue_head_t wait;
	struct mutex lock;		/* one drain at a time */
};

/* What else is counted where an epoch is entered, on the same cache line. */
static inline void shadow_epoch_count_mirrored(struct shadow_epoch *e)
{
	this_cpu_inc(e->counts->mirrored);
}

static inline unsigned long shadow_epoch_mirrored(struct shadow_epoch *e)
{
	unsigned long n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += READ_ONCE(per_cpu_ptr(e->counts, cpu)->mirrored);
	return n;
}

static inline int shadow_epoch_init(struct shadow_epoch *e)
{
	e->counts = alloc_percpu(struct shadow_epoch_counts);
	init_waitqueue_head(&e->wait);
	mutex_init(&e->lock);
	return e->counts ? 0 : -ENOMEM;
}

static inline void shadow_epoch_exit(struct shadow_epoch *e)
{
	free_percpu(e->counts);
}

/* Before the state byte is read. Returns what to give to shadow_epoch_leave(). */
static inline u8 shadow_epoch_enter(struct shadow_epoch *e)
{
	int i = READ_ONCE(e->index);

	this_cpu_inc(e->counts->entered[i]);
	smp_mb(); /* pairs with the one in shadow_drain_epoch(): enter, then read the state */
	return i;
}

/* When the device I/O of the write has ended; any context. */
static inline void shadow_epoch_leave(struct shadow_epoch *e, u8 i)
{
	smp_mb(); /* the write's effects before its leaving; pairs with epoch_empty() */
	this_cpu_inc(e->counts->left[i]);
	smp_mb(); /* leave, then look for a waiter; pairs with the one in shadow_drain_epoch() */
	if (unlikely(READ_ONCE(e->waiting)))
		wake_up(&e->wait);
}

static inline bool shadow_epoch_empty(struct shadow_epoch *e, int i)
{
	unsigned long left = 0, entered = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		left += READ_ONCE(per_cpu_ptr(e->counts, cpu)->left[i]);
	smp_mb(); /* left before entered; pairs with both of the above */
	for_each_possible_cpu(cpu)
		entered += READ_ONCE(per_cpu_ptr(e->counts, cpu)->entered[i]);
	return left == entered;
}

/*
 * Waits until every write that had entered before the call has left. May sleep. Many at once take
 * two drains: one that has begun after the call is as good as its own.
 */
static inline void shadow_drain_epoch(struct shadow_epoch *e)
{
	unsigned int begun;
	int old;

	smp_mb(); /* the caller's state change before the number of a drain that comes after it */
	begun = READ_ONCE(e->begun);
	mutex_lock(&e->lock);
	if ((int)(e->begun - begun) > 0) {	/* under the lock: it is over, too */
		mutex_unlock(&e->lock);
		return;
	}
	WRITE_ONCE(e->begun, e->begun + 1);
	WRITE_ONCE(e->waiting, 1);
	smp_mb(); /* the caller's state change and "waiting" before the sums */
	old = e->index;
	wait_event(e->wait, shadow_epoch_empty(e, old ^ 1));
	WRITE_ONCE(e->index, old ^ 1);
	smp_mb(); /* flip before the sums: pairs with shadow_epoch_enter() */
	wait_event(e->wait, shadow_epoch_empty(e, old));
	WRITE_ONCE(e->waiting, 0);
	mutex_unlock(&e->lock);
}

#endif /* DM_SHADOW_EPOCH_H */
