// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks, and the rules that lockdep holds against them: classes are taken in one order; a spin lock
 * that an interrupt takes is taken with interrupts off everywhere; who is in an interrupt, or has
 * a spin lock, does not sleep; a lock is released by who took it, and lives as long as it is used.
 *
 * A class is all locks that were initialised by the same expression. What one run has seen of
 * their order is forgotten at the next, so that every report follows from its seed.
 */
#include "internal.h"

#define NR_CLASSES 64

static struct {
	const char *name;
	bool in_irq, with_irqs_on;
	u64 before;	/* classes that were taken with this one held */
} classes[NR_CLASSES];
static u32 nr_classes;
static int rcu_readers[2], rcu_index;

void sim_locks_reset(void)
{
	memset(classes, 0, sizeof(classes));
	nr_classes = 0;
	rcu_readers[0] = 0;
	rcu_readers[1] = 0;
}

void sim_lock_init(struct sim_lock *l, const char *name)
{
	memset(l, 0, sizeof(*l));
	l->magic = SIM_LOCK_MAGIC;
	l->name = name;
}

static u32 class_of(const struct sim_lock *l)
{
	u32 i;

	if (l->magic != SIM_LOCK_MAGIC)
		sim_die(sim_is_poison(l->magic) ? "a lock of freed memory is used (%s)" :
			"a lock is used that was never initialised (%s)",
			sim_cur ? sim_cur->name : "");
	for (i = 0; i < nr_classes; i++)
		if (classes[i].name == l->name || !strcmp(classes[i].name, l->name))
			return i;
	if (nr_classes == NR_CLASSES)
		sim_die("more than %d classes of locks: raise NR_CLASSES in lock.c", NR_CLASSES);
	classes[nr_classes].name = l->name;
	return nr_classes++;
}

static bool leads_to(u32 from, u32 to, u64 *seen)
{
	u32 i;

	if (classes[from].before >> to & 1)
		return true;
	*seen |= 1ull << from;
	for (i = 0; i < nr_classes; i++)
		if ((classes[from].before >> i & 1) && !(*seen >> i & 1) && leads_to(i, to, seen))
			return true;
	return false;
}

/* Before waiting, so that an order that could block is seen when it does not. */
static void check_order(const struct sim_lock *l, u32 class, bool nested_read)
{
	u32 i;

	for (i = 0; sim_cur && i < sim_cur->nr_held; i++) {
		const struct sim_lock *h = sim_cur->held[i];
		u32 held = class_of(h);
		u64 seen = 0;

		if (h == l && !nested_read) {
			sim_die("%s takes %s, which it has", sim_cur->name, l->name);
		} else if (held == class) {
			continue;	/* another instance: of another device */
		} else if (classes[held].before >> class & 1) {
			continue;
		} else if (leads_to(class, held, &seen)) {
			sim_fail("lock order: %s takes %s with %s held; it was the other way round before",
				 sim_cur->name, l->name, h->name);
			return;
		}
		classes[held].before |= 1ull << class;
	}
}

static void note_held(struct sim_lock *l)
{
	if (!sim_cur)
		return;
	if (sim_cur->nr_held == SIM_HELD)
		sim_die("%s holds more than %d locks", sim_cur->name, SIM_HELD);
	sim_cur->held[sim_cur->nr_held++] = l;
}

static void note_released(struct sim_lock *l)
{
	u32 i;

	if (l->magic != SIM_LOCK_MAGIC)
		sim_die("a lock of freed memory is released");
	if (!sim_cur)
		return;
	for (i = sim_cur->nr_held; i--;)
		if (sim_cur->held[i] == l) {
			memmove(&sim_cur->held[i], &sim_cur->held[i + 1],
				(--sim_cur->nr_held - i) * sizeof(l));
			return;
		}
	sim_die("%s releases %s, which it does not have", sim_cur->name, l->name);
}

bool sim_lock_held(const struct sim_lock *l)
{
	u32 i;

	for (i = 0; sim_cur && i < sim_cur->nr_held; i++)
		if (sim_cur->held[i] == l)
			return true;
	return !sim_cur;
}

static void wait_for(struct sim_lock *l, const void *chan)
{
	sim_block_at(chan, l->name);
	class_of(l);	/* it must be there still */
}

/* --- spin locks ---------------------------------------------------------------------------- */

static void check_irqs(const struct sim_lock *l, u32 class)
{
	if (!sim_cur)
		return;
	if (sim_cur->atomic_ctx)
		classes[class].in_irq = true;
	else if (!sim_cur->irqs_off)
		classes[class].with_irqs_on = true;
	if (classes[class].in_irq && classes[class].with_irqs_on)
		sim_fail("%s is taken by interrupts, and with interrupts on (%s)", l->name,
			 sim_cur->name);
}

void sim_spin_lock(struct sim_lock *l, bool irqs_off)
{
	u32 class = class_of(l);

	sim_point();
	if (sim_cur && irqs_off)
		sim_cur->irqs_off++;
	check_irqs(l, class);
	check_order(l, class, false);
	while (l->owner)
		wait_for(l, l);
	l->owner = sim_cur;
	if (sim_cur)
		sim_cur->spins++;
	note_held(l);
}

bool sim_spin_trylock(struct sim_lock *l)
{
	class_of(l);
	sim_point();
	if (l->owner)
		return false;
	l->owner = sim_cur;
	if (sim_cur)
		sim_cur->spins++;
	note_held(l);
	return true;
}

void sim_spin_unlock(struct sim_lock *l, bool irqs_on)
{
	note_released(l);
	l->owner = NULL;
	if (sim_cur) {
		sim_cur->spins--;
		if (irqs_on)
			sim_cur->irqs_off--;
	}
	sim_wake(l);
	sim_point();
}

/* --- mutexes ------------------------------------------------------------------------------- */

void mutex_lock(struct mutex *m)
{
	u32 class = class_of(&m->l);

	sim_might_sleep("mutex_lock");
	sim_point();
	check_order(&m->l, class, false);
	while (m->l.owner)
		wait_for(&m->l, m);
	m->l.owner = sim_cur;
	note_held(&m->l);
}

int mutex_trylock(struct mutex *m)
{
	class_of(&m->l);
	sim_point();
	if (m->l.owner)
		return 0;
	m->l.owner = sim_cur;
	note_held(&m->l);
	return 1;
}

void mutex_unlock(struct mutex *m)
{
	note_released(&m->l);
	m->l.owner = NULL;
	sim_wake(m);
	sim_point();
}

bool mutex_is_locked(struct mutex *m)
{
	sim_point();
	return m->l.owner;
}

/* --- semaphores: a writer that waits keeps new readers out --------------------------------- */

void down_read(struct rw_semaphore *s)
{
	u32 class = class_of(&s->l);

	sim_might_sleep("down_read");
	sim_point();
	check_order(&s->l, class, false);
	while (s->l.owner || s->l.waiting_writers)
		wait_for(&s->l, s);
	s->l.readers++;
	note_held(&s->l);
}

int down_read_trylock(struct rw_semaphore *s)
{
	class_of(&s->l);
	sim_point();
	if (s->l.owner || s->l.waiting_writers)
		return 0;
	s->l.readers++;
	note_held(&s->l);
	return 1;
}

void up_read(struct rw_semaphore *s)
{
	note_released(&s->l);
	s->l.readers--;
	sim_wake(s);
	sim_point();
}

void down_write(struct rw_semaphore *s)
{
	u32 class = class_of(&s->l);

	sim_might_sleep("down_write");
	sim_point();
	check_order(&s->l, class, false);
	s->l.waiting_writers++;
	while (s->l.owner || s->l.readers)
		wait_for(&s->l, s);
	s->l.waiting_writers--;
	s->l.owner = sim_cur;
	note_held(&s->l);
}

int down_write_trylock(struct rw_semaphore *s)
{
	class_of(&s->l);
	sim_point();
	if (s->l.owner || s->l.readers)
		return 0;
	s->l.owner = sim_cur;
	note_held(&s->l);
	return 1;
}

void up_write(struct rw_semaphore *s)
{
	note_released(&s->l);
	s->l.owner = NULL;
	sim_wake(s);
	sim_point();
}

void downgrade_write(struct rw_semaphore *s)
{
	s->l.owner = NULL;
	s->l.readers++;
	sim_wake(s);
	sim_point();
}

/* --- RCU: two counts of readers, as an epoch ----------------------------------------------- */

static int srcu_enter(int *readers, int *index)
{
	int i;

	sim_point();
	i = *index;
	readers[i]++;
	sim_point();
	return i;
}

static void srcu_leave(int *readers, int i)
{
	sim_point();
	if (--readers[i] < 0)
		sim_fail("a read section of RCU ends twice");
	sim_wake(readers);
}

static void srcu_wait(int *readers, int *index)
{
	int old = *index;

	sim_might_sleep("synchronize_rcu");
	sim_point();
	/* readers that came into the other count before an earlier wait has turned the index */
	while (readers[old ^ 1])
		sim_block_at(readers, "synchronize_rcu");
	*index = old ^ 1;
	sim_point();
	while (readers[old])
		sim_block_at(readers, "synchronize_rcu");
}

void rcu_read_lock(void)
{
	if (sim_cur && !sim_cur->rcu++)
		sim_cur->rcu |= srcu_enter(rcu_readers, &rcu_index) << 16;
}

void rcu_read_unlock(void)
{
	if (!sim_cur)
		return;
	if ((--sim_cur->rcu & 0xffff) == 0) {
		srcu_leave(rcu_readers, sim_cur->rcu >> 16);
		sim_cur->rcu = 0;
	}
}

void synchronize_rcu(void)
{
	srcu_wait(rcu_readers, &rcu_index);
}

#define SRCU_MAGIC 0x54c054c0u

int init_srcu_struct(struct srcu_struct *s)
{
	memset(s, 0, sizeof(*s));
	s->magic = SRCU_MAGIC;
	return 0;
}

void cleanup_srcu_struct(struct srcu_struct *s)
{
	if (s->readers[0] || s->readers[1])
		sim_fail("cleanup_srcu_struct() with readers");
	s->magic = 0;
}

static void check_srcu(const struct srcu_struct *s)
{
	if (s->magic != SRCU_MAGIC)
		sim_die("SRCU of memory that was freed or never initialised");
}

int srcu_read_lock(struct srcu_struct *s)
{
	check_srcu(s);
	return srcu_enter(s->readers, &s->index);
}

void srcu_read_unlock(struct srcu_struct *s, int index)
{
	check_srcu(s);
	srcu_leave(s->readers, index);
}

void synchronize_srcu(struct srcu_struct *s)
{
	check_srcu(s);
	srcu_wait(s->readers, &s->index);
}
