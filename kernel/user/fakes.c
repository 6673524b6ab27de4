// SPDX-License-Identifier: GPL-2.0-only
/* See fakes.h. */
#include "internal.h"

#include "fakes.h"

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(a);
static DEFINE_MUTEX(b);
static DECLARE_WAIT_QUEUE_HEAD(queue);
int fake_flag, fake_woken;

void fake_reset(void)
{
	spin_lock_init(&spin);
	sim_lock_init(&a.l, "a");
	sim_lock_init(&b.l, "b");
	fake_flag = 0;
	fake_woken = 0;
}

void fake_sleep_with_spin_lock(void *unused)
{
	spin_lock(&spin);
	mutex_lock(&a);
	mutex_unlock(&a);
	spin_unlock(&spin);
}

void fake_sleep_in_interrupt(void *unused)
{
	kfree(kmalloc(8, GFP_KERNEL));
}

void fake_order_ab(void *unused)
{
	mutex_lock(&a);
	mutex_lock(&b);
	mutex_unlock(&b);
	mutex_unlock(&a);
}

void fake_order_ba(void *unused)
{
	mutex_lock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_unlock(&b);
}

void fake_lock_twice(void *unused)
{
	mutex_lock(&a);
	mutex_lock(&a);
}

void fake_lock_of_freed(void *unused)
{
	struct mutex *m = kmalloc(sizeof(*m), GFP_KERNEL);

	mutex_init(m);
	kfree(m);
	mutex_lock(m);
}

void fake_lock_kept(void *unused)
{
	mutex_lock(&a);
}

void fake_free_twice(void *unused)
{
	void *p = kmalloc(100, GFP_KERNEL);

	kfree(p);
	kfree(p);
}

void fake_write_after_free(void *unused)
{
	char *p = kmalloc(100, GFP_KERNEL);
	void *others[40];
	unsigned int round, i;

	kfree(p);
	p[7] = 1;
	/* it is noticed when the memory is used again */
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(others); i++)
			others[i] = kmalloc(100, GFP_KERNEL);
		for (i = 0; i < ARRAY_SIZE(others); i++)
			kfree(others[i]);
	}
}

static void ended(struct bio *bio)
{
}

void fake_end_twice(void *unused)
{
	struct bio *bio = bio_alloc(NULL, 0, REQ_OP_READ, GFP_NOIO);

	bio->bi_end_io = ended;
	bio_endio(bio);
	bio_endio(bio);
}

void fake_waiter(void *unused)
{
	wait_event(queue, READ_ONCE(fake_flag));
	fake_woken++;
}

void fake_set_and_wake(void *unused)
{
	WRITE_ONCE(fake_flag, 1);
	wake_up(&queue);
}

void fake_set_only(void *unused)
{
	WRITE_ONCE(fake_flag, 1);
}

void fake_pool(void *result)
{
	int *out = result;
	mempool_t pool = { 0 };
	void *x, *y;

	mempool_init_kmalloc_pool(&pool, 2, 64);
	machine.dry = 1;	/* only what is kept in reserve */
	x = mempool_alloc(&pool, GFP_NOIO);
	y = mempool_alloc(&pool, GFP_NOIO);
	out[0] = x && y;
	out[1] = !mempool_alloc(&pool, GFP_NOWAIT);
	mempool_free(x, &pool);
	x = mempool_alloc(&pool, GFP_NOIO);
	out[2] = !!x;
	machine.dry = 0;
	mempool_free(x, &pool);
	mempool_free(y, &pool);
	mempool_exit(&pool);
}

static int running, most;

static void one_work(struct work_struct *w)
{
	most = max(most, ++running);
	cond_resched();
	sim_yield();
	running--;
}

void fake_work_once(void *result)
{
	struct workqueue_struct *wq = alloc_workqueue("test", WQ_UNBOUND, 0);
	struct work_struct w;
	int i;

	INIT_WORK(&w, one_work);
	running = 0;
	most = 0;
	for (i = 0; i < 20; i++) {
		queue_work(wq, &w);
		sim_yield();
	}
	flush_work(&w);
	destroy_workqueue(wq);
	*(int *)result = most;
}

void fake_ordered(void *result)
{
	struct workqueue_struct *wq = alloc_ordered_workqueue("test", 0);
	struct work_struct w[4];
	unsigned int i;

	running = 0;
	most = 0;
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		INIT_WORK(&w[i], one_work);
		queue_work(wq, &w[i]);
	}
	destroy_workqueue(wq);
	*(int *)result = most;
}

static s64 begun, took;

static void late_work(struct work_struct *w)
{
	took = machine.now - begun;
}

void fake_delay(void *result)
{
	struct delayed_work d;

	INIT_DELAYED_WORK(&d, late_work);
	begun = machine.now;
	took = 0;
	queue_delayed_work(system_wq, &d, 5 * HZ);
	while (!READ_ONCE(took))
		msleep(100);
	*(s64 *)result = took;
}

static struct srcu_struct srcu;
static int read_over;

static void reader(void *unused)
{
	int i = srcu_read_lock(&srcu);

	sim_yield();
	sim_yield();
	WRITE_ONCE(read_over, 1);
	srcu_read_unlock(&srcu, i);
}

void fake_rcu(void *result)
{
	init_srcu_struct(&srcu);
	read_over = 0;
	sim_spawn("a reader", reader, NULL, false);
	while (!srcu.readers[0] && !read_over)
		sim_yield();
	synchronize_srcu(&srcu);
	*(int *)result = read_over;
	cleanup_srcu_struct(&srcu);
}
