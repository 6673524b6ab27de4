// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads and work queues.
 *
 * A work runs on a worker of its own, but never twice at a time; on an ordered queue one after the
 * other. If there is no memory for workers (machine.rescuer) a queue with WQ_MEM_RECLAIM does all its
 * works one after the other, and one without it may never do them: here it does them likewise.
 */
#include <stdarg.h>

#include "internal.h"

struct workqueue_struct {
	char name[32];
	unsigned int flags;
	u32 busy;		/* works pending or running */
	bool alone;		/* the one worker is busy */
	bool dying;
};
static struct workqueue_struct system_queue;
static struct delayed_work *armed;

/* --- threads ------------------------------------------------------------------------------- */

struct thread_start {
	int (*fn)(void *data);
	void *data;
	char name[32];
	int result;
};

static void thread_main(void *arg)
{
	struct thread_start *s = arg;

	s->result = s->fn(s->data);
	/* kthread_stop() collects it */
	sim_wake(&sim_cur->stop);
	while (!sim_cur->stop)
		sim_block(&sim_cur->stop);
}

struct task_struct *sim_kthread_run(int (*fn)(void *data), void *data, const char *format, ...)
{
	struct thread_start *s;
	va_list args;

	might_sleep();
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return ERR_PTR(-ENOMEM);
	s->fn = fn;
	s->data = data;
	va_start(args, format);
	vsnprintf(s->name, sizeof(s->name), format, args);
	va_end(args);
	return sim_spawn(s->name, thread_main, s, false);
}

bool kthread_should_stop(void)
{
	sim_point();
	return sim_cur->stop;
}

int kthread_stop(struct task_struct *t)
{
	struct thread_start *s = t->arg;
	u32 id = t->id;		/* another fiber may have its place when we look again */
	int r;

	sim_might_sleep("kthread_stop");
	sim_point();
	if (!t->used || t->fn != thread_main)
		sim_die("kthread_stop() of a thread that is gone");
	t->stop = true;
	t->woken = true;
	if (t->waiting || t->chan == &t->stop)
		t->chan = NULL;
	while (t->used && t->id == id)
		sim_block_at(t, "kthread_stop");
	r = s->result;
	kfree(s);
	return r;
}

/* --- queues -------------------------------------------------------------------------------- */

struct workqueue_struct *alloc_workqueue(const char *format, unsigned int flags, int max, ...)
{
	struct workqueue_struct *wq;
	va_list args;

	might_sleep();
	wq = kzalloc(sizeof(*wq), GFP_KERNEL);
	if (!wq)
		return NULL;
	wq->flags = flags;
	va_start(args, max);
	vsnprintf(wq->name, sizeof(wq->name), format, args);
	va_end(args);
	return wq;
}

struct workqueue_struct *sim_system_wq(void)
{
	return &system_queue;
}

void flush_workqueue(struct workqueue_struct *wq)
{
	sim_might_sleep("flush_workqueue");
	sim_point();
	while (wq->busy)
		sim_block_at(wq, "flush_workqueue");
}

void destroy_workqueue(struct workqueue_struct *wq)
{
	struct delayed_work *d;

	flush_workqueue(wq);
	for (d = armed; d; d = d->next_armed)
		if (d->wq == wq)
			sim_fail("a work queue is destroyed, and a timer of one of its works runs");
	wq->dying = true;
	kfree(wq);
}

static void check(const struct work_struct *w)
{
	if (w->magic != SIM_WORK_MAGIC)
		sim_die(sim_is_poison(w->magic) ? "a work of freed memory is used" :
			"a work is used that was never initialised");
}

static bool one_worker(const struct workqueue_struct *wq)
{
	return machine.rescuer || (wq->flags & SIM_WQ_ORDERED);
}

static void work_main(void *arg)
{
	struct work_struct *w = arg;
	struct workqueue_struct *wq;
	bool alone;

	if (!w)
		return;
	check(w);
	wq = w->wq;
	alone = one_worker(wq);
	/* taken_back() clears the argument of a worker that has not begun */
	while (sim_cur->arg && (w->running || (alone && wq->alone)))
		sim_block_at(w->running ? (void *)w : (void *)&wq->alone, wq->name);
	if (!sim_cur->arg)
		return;
	wq->alone |= alone;
	w->pending = false;
	w->running = true;
	sim_cur->work = w;
	w->func(w);
	if (sim_cur->nr_held)
		sim_fail("a work ends with %s held", sim_cur->held[0]->name);
	/* the work may have freed what it lies in: only its address counts from here on */
	if (!sim_is_poison(w->magic))
		w->running = false;
	if (alone)
		wq->alone = false;
	sim_wake(&wq->alone);
	sim_wake(w);
	wq->busy--;
	sim_wake(wq);
}

/* A pending work is taken back: its worker will find nothing to do. */
static bool take_back(struct work_struct *w)
{
	struct task_struct *t;
	u32 i = 0;

	if (!w->pending)
		return false;
	while ((t = sim_next_fiber(&i)))
		if (t->fn == work_main && t->arg == w && !t->work) {
			t->arg = NULL;
			t->chan = NULL;
			w->pending = false;
			w->wq->busy--;
			sim_wake(w->wq);
			return true;
		}
	return false;
}

static bool enqueue(struct workqueue_struct *wq, struct work_struct *w)
{
	if (w->pending)
		return false;
	w->pending = true;
	w->wq = wq;
	wq->busy++;
	sim_spawn("worker", work_main, w, false);
	return true;
}

bool queue_work(struct workqueue_struct *wq, struct work_struct *w)
{
	sim_point();
	check(w);
	if (sim_is_poison(wq->flags) || wq->dying)
		sim_die("queue_work() on a work queue that was destroyed");
	return enqueue(wq, w);
}

bool work_pending(struct work_struct *w)
{
	sim_point();
	check(w);
	return w->pending;
}

bool flush_work(struct work_struct *w)
{
	bool was;

	sim_might_sleep("flush_work");
	sim_point();
	check(w);
	if (sim_cur->work == w)
		sim_die("a work waits for its own end");
	was = w->pending || w->running;
	while (w->pending || w->running)
		sim_block_at(w, "flush_work");
	return was;
}

bool cancel_work_sync(struct work_struct *w)
{
	bool was;

	sim_point();
	check(w);
	was = take_back(w);
	while (w->pending || w->running)
		sim_block_at(w, "flush_work");
	return was;
}

/* --- delayed ------------------------------------------------------------------------------- */

static void disarm(struct delayed_work *d)
{
	struct delayed_work **p = &armed;

	while (*p && *p != d)
		p = &(*p)->next_armed;
	if (*p)
		*p = d->next_armed;
	d->armed = false;
}

bool queue_delayed_work(struct workqueue_struct *wq, struct delayed_work *d, unsigned long delay)
{
	sim_point();
	check(&d->work);
	if (d->armed || d->work.pending)
		return false;
	if (!delay)
		return queue_work(wq, &d->work);
	d->armed = true;
	d->wq = wq;
	d->due = machine.now + (s64)delay * NSEC_PER_MSEC;
	d->next_armed = armed;
	armed = d;
	return true;
}

bool mod_delayed_work(struct workqueue_struct *wq, struct delayed_work *d, unsigned long delay)
{
	bool was;

	sim_point();
	check(&d->work);
	was = d->armed;
	if (was)
		disarm(d);
	return queue_delayed_work(wq, d, delay) ? was : true;
}

bool flush_delayed_work(struct delayed_work *d)
{
	sim_point();
	check(&d->work);
	if (d->armed) {
		disarm(d);
		enqueue(d->wq, &d->work);
	}
	return flush_work(&d->work);
}

bool cancel_delayed_work(struct delayed_work *d)
{
	bool was;

	sim_point();
	check(&d->work);
	was = d->armed;
	if (was)
		disarm(d);
	return was;
}

bool cancel_delayed_work_sync(struct delayed_work *d)
{
	bool was = cancel_delayed_work(d);

	was |= cancel_work_sync(&d->work);
	/* it cannot be queued again while it is cancelled */
	if (d->armed)
		disarm(d);
	return was;
}

s64 sim_work_due(void)
{
	struct delayed_work *d;
	s64 due = 0;

	for (d = armed; d; d = d->next_armed) {
		check(&d->work);
		if (!due || d->due < due)
			due = d->due;
	}
	return due;
}

void sim_work_fire(s64 now)
{
	struct delayed_work *d, *next;

	for (d = armed; d; d = next) {
		next = d->next_armed;
		if (d->due > now)
			continue;
		disarm(d);
		enqueue(d->wq, &d->work);
	}
}

void sim_work_freed(const void *data, size_t size)
{
	const struct delayed_work *d;

	for (d = armed; d; d = d->next_armed)
		if ((const char *)d >= (const char *)data && (const char *)d < (const char *)data + size)
			sim_die("a work is freed while its timer runs");
}

void sim_work_reset(void)
{
	armed = NULL;
	memset(&system_queue, 0, sizeof(system_queue));
}
