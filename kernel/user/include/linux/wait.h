/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting. Only a wake-up makes a waiter look at its condition again: one that is forgotten is
 * seen, because the run comes to rest with the waiter asleep.
 */
#ifndef USER_LINUX_WAIT_H
#define USER_LINUX_WAIT_H

#include <linux/spinlock.h>

typedef struct { u32 magic; const char *name; spinlock_t lock; } wait_queue_head_t;
#define SIM_WAIT_MAGIC 0x3a173a17u
#define __WAIT_QUEUE_HEAD_INITIALIZER(n) { SIM_WAIT_MAGIC, #n, { SIM_LOCK_INIT(n) } }
#define DECLARE_WAIT_QUEUE_HEAD(n) wait_queue_head_t n = __WAIT_QUEUE_HEAD_INITIALIZER(n)
#define init_waitqueue_head(w) do {					\
	(w)->magic = SIM_WAIT_MAGIC;					\
	(w)->name = #w;							\
	spin_lock_init(&(w)->lock);					\
} while (0)

/* Registers the caller; what is woken from now on makes sim_wait_sleep() return at once. */
void sim_wait_begin(wait_queue_head_t *w);
/* Asleep until woken. @ns: 0, or for so long; true: the time is over. */
bool sim_wait_sleep(s64 ns, bool interruptible);
void sim_wait_end(void);
void wake_up(wait_queue_head_t *w);
/* Caller: holds w->lock. */
void wake_up_locked(wait_queue_head_t *w);
#define wake_up_all wake_up
#define wake_up_interruptible wake_up
#define wake_up_interruptible_all wake_up
#define wq_has_sleeper waitqueue_active
bool waitqueue_active(wait_queue_head_t *w);

/* True: the condition holds. False: the time was over first. */
#define __sim_wait(w, cond, ns, intr) ({			\
	bool _over = false, _true;				\
	sim_might_sleep("wait_event");				\
	for (;;) {						\
		sim_wait_begin(&(w));				\
		_true = !!(cond);				\
		if (_true || _over)				\
			break;					\
		_over = sim_wait_sleep(ns, intr);		\
	}							\
	sim_wait_end();						\
	_true; })
#define wait_event(w, cond) ((void)__sim_wait(w, cond, 0, false))
#define wait_event_idle wait_event
#define io_wait_event wait_event
#define wait_event_killable(w, cond) ({ wait_event(w, cond); 0; })
#define wait_event_interruptible(w, cond) ({ __sim_wait(w, cond, 0, true); 0; })
#define wait_event_freezable wait_event_interruptible
#define wait_event_timeout(w, cond, t) \
	(__sim_wait(w, cond, (s64)(t) * NSEC_PER_MSEC, false) ? 1l : 0l)
#define wait_event_idle_timeout wait_event_timeout
#define wait_event_interruptible_timeout(w, cond, t) \
	(__sim_wait(w, cond, (s64)(t) * NSEC_PER_MSEC, true) ? 1l : 0l)
#define wait_event_freezable_timeout wait_event_interruptible_timeout
#define wait_event_interruptible_hrtimeout(w, cond, t) \
	(__sim_wait(w, cond, (s64)(t), true) ? 0 : -ETIME)
#define wait_event_hrtimeout(w, cond, t) \
	(__sim_wait(w, cond, (s64)(t), false) ? 0 : -ETIME)

struct completion { u32 magic; unsigned int done; };
#define COMPLETION_INITIALIZER_ONSTACK(n) { SIM_WAIT_MAGIC, 0 }
#define DECLARE_COMPLETION_ONSTACK(n) struct completion n = COMPLETION_INITIALIZER_ONSTACK(n)
void init_completion(struct completion *c);
#define reinit_completion init_completion
void complete(struct completion *c);
void complete_all(struct completion *c);
void wait_for_completion(struct completion *c);
#define wait_for_completion_io wait_for_completion
bool completion_done(struct completion *c);

/* <linux/ktime.h>: the clock is the simulator's */
ktime_t ktime_get(void);
#define ktime_get_ns() ((u64)ktime_get())
#define ktime_get_coarse ktime_get
#define ktime_sub(a, b) ((a) - (b))
#define ktime_add(a, b) ((a) + (b))
#define ktime_sub_ms(a, ms) ((a) - (s64)(ms) * NSEC_PER_MSEC)
#define ktime_add_ms(a, ms) ((a) + (s64)(ms) * NSEC_PER_MSEC)
#define ktime_add_ns(a, ns) ((a) + (s64)(ns))
#define ktime_add_us(a, us) ((a) + (s64)(us) * NSEC_PER_USEC)
#define ktime_before(a, b) ((a) < (b))
#define ktime_after(a, b) ((a) > (b))
#define ktime_to_ns(a) (a)
#define ktime_to_us(a) ((a) / NSEC_PER_USEC)
#define ktime_to_ms(a) ((a) / NSEC_PER_MSEC)
#define ktime_us_delta(a, b) (((a) - (b)) / NSEC_PER_USEC)
#define ktime_ms_delta(a, b) (((a) - (b)) / NSEC_PER_MSEC)
#define ns_to_ktime(n) ((ktime_t)(n))
#define ms_to_ktime(n) ((ktime_t)(n) * NSEC_PER_MSEC)
#define jiffies ((unsigned long)(ktime_get() / NSEC_PER_MSEC))
#define get_jiffies_64() ((u64)jiffies)
#define msecs_to_jiffies(m) ((unsigned long)(m))
#define jiffies_to_msecs(j) ((unsigned int)(j))
#define time_after(a, b) ((long)((b) - (a)) < 0)
#define time_before(a, b) time_after(b, a)
#define time_after_eq(a, b) ((long)((a) - (b)) >= 0)
#define time_before_eq(a, b) time_after_eq(b, a)
void sim_sleep(s64 ns);
#define msleep(ms) sim_sleep((s64)(ms) * NSEC_PER_MSEC)
#define usleep_range(a, b) sim_sleep((s64)(a) * NSEC_PER_USEC)
#define schedule_timeout_uninterruptible(j) ({ sim_sleep((s64)(j) * NSEC_PER_MSEC); 0l; })
#define schedule_timeout_idle schedule_timeout_uninterruptible

#endif /* USER_LINUX_WAIT_H */
