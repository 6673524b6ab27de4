/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Locks. Each has a class, named after the expression that initialised it: the order in which
 * classes are taken is watched (kernel/user/lock.c), as is sleeping with a spin lock held, and a
 * lock that is taken in an interrupt and elsewhere with interrupts on.
 */
#ifndef USER_LINUX_SPINLOCK_H
#define USER_LINUX_SPINLOCK_H

#include <linux/atomic.h>

struct task_struct;

#define SIM_LOCK_MAGIC 0x10cc10ccu
struct sim_lock {
	u32 magic;		/* freed and uninitialised memory has another */
	u16 class;
	u16 readers;
	u16 waiting_writers;
	const char *name;
	struct task_struct *owner;
};

void sim_lock_init(struct sim_lock *l, const char *name);
void sim_spin_lock(struct sim_lock *l, bool irqs_off);
bool sim_spin_trylock(struct sim_lock *l);
void sim_spin_unlock(struct sim_lock *l, bool irqs_on);
bool sim_lock_held(const struct sim_lock *l);
#define SIM_LOCK_INIT(n) { .magic = SIM_LOCK_MAGIC, .name = #n }

typedef struct { struct sim_lock l; } spinlock_t;
typedef spinlock_t raw_spinlock_t;
#define DEFINE_SPINLOCK(n) spinlock_t n = { SIM_LOCK_INIT(n) }
#define spin_lock_init(p) sim_lock_init(&(p)->l, #p)
#define spin_lock(p) sim_spin_lock(&(p)->l, false)
#define spin_trylock(p) sim_spin_trylock(&(p)->l)
#define spin_unlock(p) sim_spin_unlock(&(p)->l, false)
#define spin_lock_irq(p) sim_spin_lock(&(p)->l, true)
#define spin_unlock_irq(p) sim_spin_unlock(&(p)->l, true)
#define spin_lock_bh spin_lock_irq
#define spin_unlock_bh spin_unlock_irq
#define spin_lock_irqsave(p, f) do { (f) = 0; sim_spin_lock(&(p)->l, true); } while (0)
#define spin_unlock_irqrestore(p, f) do { (void)(f); sim_spin_unlock(&(p)->l, true); } while (0)

struct mutex { struct sim_lock l; };
#define DEFINE_MUTEX(n) struct mutex n = { SIM_LOCK_INIT(n) }
#define mutex_init(p) sim_lock_init(&(p)->l, #p)
#define mutex_destroy(p) ((void)(p))
#define mutex_lock_nested(p, n) mutex_lock(p)
#define mutex_lock_io(p) mutex_lock(p)
#define mutex_lock_killable(p) (mutex_lock(p), 0)
#define mutex_lock_interruptible(p) (mutex_lock(p), 0)
void mutex_lock(struct mutex *m);
int mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_is_locked(struct mutex *m);

struct rw_semaphore { struct sim_lock l; };
#define DECLARE_RWSEM(n) struct rw_semaphore n = { SIM_LOCK_INIT(n) }
#define init_rwsem(p) sim_lock_init(&(p)->l, #p)
void down_read(struct rw_semaphore *s);
int down_read_trylock(struct rw_semaphore *s);
void up_read(struct rw_semaphore *s);
void down_write(struct rw_semaphore *s);
int down_write_trylock(struct rw_semaphore *s);
void up_write(struct rw_semaphore *s);
void downgrade_write(struct rw_semaphore *s);

#define lockdep_is_held(p) sim_lock_held(&(p)->l)
#define lockdep_assert_held(p) do {				\
	if (!sim_lock_held(&(p)->l))				\
		sim_fail("%s: %s is not held", __func__, #p);	\
} while (0)
#define lockdep_assert_held_write lockdep_assert_held
#define lockdep_assert_held_read lockdep_assert_held
#define lockdep_assert_not_held(p) do {				\
	if (sim_lock_held(&(p)->l))				\
		sim_fail("%s: %s is held", __func__, #p);	\
} while (0)

/* Who reads under RCU runs on; who waits for readers waits for those that have begun. */
void rcu_read_lock(void);
void rcu_read_unlock(void);
void synchronize_rcu(void);
#define synchronize_rcu_expedited synchronize_rcu
#define rcu_assign_pointer(p, v) smp_store_release(&(p), v)
#define rcu_dereference(p) READ_ONCE(p)
#define rcu_dereference_protected(p, c) (p)
#define rcu_access_pointer(p) READ_ONCE(p)

struct srcu_struct { u32 magic; int readers[2]; int index; };
int init_srcu_struct(struct srcu_struct *s);
void cleanup_srcu_struct(struct srcu_struct *s);
int srcu_read_lock(struct srcu_struct *s);
void srcu_read_unlock(struct srcu_struct *s, int index);
void synchronize_srcu(struct srcu_struct *s);

#endif /* USER_LINUX_SPINLOCK_H */
