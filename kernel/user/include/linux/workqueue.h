/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads and works. Short of memory one rescuer does the works of a queue, one after the other. */
#ifndef USER_LINUX_WORKQUEUE_H
#define USER_LINUX_WORKQUEUE_H

#include <linux/wait.h>

struct task_struct *sim_kthread_run(int (*fn)(void *data), void *data, const char *format, ...)
	__printf(3, 4);
#define kthread_run sim_kthread_run
bool kthread_should_stop(void);
int kthread_stop(struct task_struct *t);
#define kthread_freezable_should_stop(p) kthread_should_stop()
#define set_freezable() ((void)0)
#define try_to_freeze() false
#define freezing(t) ((void)(t), false)
extern struct task_struct *sim_current(void);
#define current sim_current()
#define set_user_nice(t, n) ((void)(t), (void)(n))

struct work_struct;
struct workqueue_struct;
typedef void (*work_func_t)(struct work_struct *work);
struct work_struct {
	u32 magic;
	work_func_t func;
	struct workqueue_struct *wq;	/* where it is pending */
	bool pending, running;
	struct work_struct *next;
};
struct delayed_work {
	struct work_struct work;
	struct workqueue_struct *wq;
	bool armed;
	s64 due;
	struct delayed_work *next_armed;
};
#define SIM_WORK_MAGIC 0x3031da7au
#define INIT_WORK(w, f) do {						\
	memset((w), 0, sizeof(struct work_struct));			\
	(w)->magic = SIM_WORK_MAGIC;					\
	(w)->func = (f);						\
} while (0)
#define INIT_DELAYED_WORK(w, f) do {					\
	memset((w), 0, sizeof(struct delayed_work));			\
	(w)->work.magic = SIM_WORK_MAGIC;				\
	(w)->work.func = (f);						\
} while (0)
#define INIT_WORK_ONSTACK INIT_WORK
#define destroy_work_on_stack(w) ((void)(w))
#define to_delayed_work(w) container_of(w, struct delayed_work, work)
#define WQ_UNBOUND (1 << 1)
#define WQ_FREEZABLE (1 << 2)
#define WQ_MEM_RECLAIM (1 << 3)
#define WQ_HIGHPRI (1 << 4)
#define WQ_CPU_INTENSIVE (1 << 5)
#define WQ_SYSFS (1 << 6)

struct workqueue_struct *alloc_workqueue(const char *format, unsigned int flags, int max, ...)
	__printf(1, 4);
#define alloc_ordered_workqueue(f, flags, ...) \
	alloc_workqueue(f, (flags) | WQ_UNBOUND | SIM_WQ_ORDERED, 1, ##__VA_ARGS__)
#define SIM_WQ_ORDERED (1 << 30)
void destroy_workqueue(struct workqueue_struct *wq);
void flush_workqueue(struct workqueue_struct *wq);
#define drain_workqueue flush_workqueue
extern struct workqueue_struct *sim_system_wq(void);
#define system_wq sim_system_wq()
#define system_unbound_wq sim_system_wq()
#define system_long_wq sim_system_wq()
#define system_freezable_wq sim_system_wq()
bool queue_work(struct workqueue_struct *wq, struct work_struct *w);
bool queue_delayed_work(struct workqueue_struct *wq, struct delayed_work *d, unsigned long delay);
bool mod_delayed_work(struct workqueue_struct *wq, struct delayed_work *d, unsigned long delay);
#define schedule_work(w) queue_work(system_wq, w)
#define schedule_delayed_work(w, d) queue_delayed_work(system_wq, w, d)
bool flush_work(struct work_struct *w);
bool flush_delayed_work(struct delayed_work *d);
bool cancel_work_sync(struct work_struct *w);
bool cancel_delayed_work(struct delayed_work *d);
bool cancel_delayed_work_sync(struct delayed_work *d);
bool work_pending(struct work_struct *w);
#define delayed_work_pending(d) work_pending(&(d)->work)
#define current_is_workqueue_rescuer() false

#endif /* USER_LINUX_WORKQUEUE_H */
