/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Accesses that other CPUs may observe. There is one order for all of them (no reordering by the
 * processor or the compiler is simulated), but before each one any other CPU may come in.
 */
#ifndef USER_LINUX_ATOMIC_H
#define USER_LINUX_ATOMIC_H

#include <linux/kernel.h>

#define READ_ONCE(x) ({ sim_point(); *(const volatile __typeof__(x) *)&(x); })
#define WRITE_ONCE(x, v) do { sim_point(); *(volatile __typeof__(x) *)&(x) = (v); } while (0)
#define data_race(x) (x)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define smp_mb() sim_point()
#define smp_rmb() sim_point()
#define smp_wmb() sim_point()
#define smp_mb__before_atomic() sim_point()
#define smp_mb__after_atomic() sim_point()
#define smp_mb__after_spinlock() sim_point()
#define smp_load_acquire(p) READ_ONCE(*(p))
#define smp_store_release(p, v) WRITE_ONCE(*(p), v)
#define smp_store_mb(x, v) do { WRITE_ONCE(x, v); smp_mb(); } while (0)
#define cpu_relax() sim_point()

#define cmpxchg(p, o, n) ({					\
	sim_point();						\
	__typeof__(*(p)) _cmp_old = (o), _cmp_now = *(p);	\
	if (_cmp_now == _cmp_old)				\
		*(p) = (n);					\
	_cmp_now; })
#define cmpxchg_relaxed cmpxchg
#define cmpxchg_acquire cmpxchg
#define cmpxchg_release cmpxchg
#define try_cmpxchg(p, o, n) ({					\
	__typeof__(*(p)) _try_old = *(o), _try_now = cmpxchg(p, _try_old, n);	\
	*(o) = _try_now;					\
	_try_now == _try_old; })
#define xchg(p, v) ({						\
	sim_point();						\
	__typeof__(*(p)) _xchg_old = *(p);			\
	*(p) = (v);						\
	_xchg_old; })

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { long counter; } atomic_long_t;
#define ATOMIC_INIT(v) { (v) }
#define ATOMIC64_INIT(v) { (v) }

#define ATOMIC_OPS(p, T, C)								\
static inline C p##_read(const T *a) { sim_point(); return a->counter; }		\
static inline C p##_read_acquire(const T *a) { return p##_read(a); }			\
static inline void p##_set(T *a, C v) { sim_point(); a->counter = v; }			\
static inline void p##_set_release(T *a, C v) { p##_set(a, v); }			\
static inline void p##_add(C v, T *a) { sim_point(); a->counter += v; }			\
static inline void p##_sub(C v, T *a) { sim_point(); a->counter -= v; }			\
static inline void p##_inc(T *a) { p##_add(1, a); }					\
static inline void p##_dec(T *a) { p##_sub(1, a); }					\
static inline void p##_or(C v, T *a) { sim_point(); a->counter |= v; }			\
static inline void p##_and(C v, T *a) { sim_point(); a->counter &= v; }			\
static inline void p##_andnot(C v, T *a) { sim_point(); a->counter &= ~v; }		\
static inline C p##_add_return(C v, T *a) { sim_point(); return a->counter += v; }	\
static inline C p##_sub_return(C v, T *a) { sim_point(); return a->counter -= v; }	\
static inline C p##_inc_return(T *a) { return p##_add_return(1, a); }			\
static inline C p##_dec_return(T *a) { return p##_sub_return(1, a); }			\
static inline bool p##_dec_and_test(T *a) { return !p##_sub_return(1, a); }		\
static inline bool p##_inc_and_test(T *a) { return !p##_add_return(1, a); }		\
static inline bool p##_sub_and_test(C v, T *a) { return !p##_sub_return(v, a); }	\
static inline C p##_fetch_add(C v, T *a) { return p##_add_return(v, a) - v; }		\
static inline C p##_fetch_sub(C v, T *a) { return p##_sub_return(v, a) + v; }		\
static inline C p##_fetch_inc(T *a) { return p##_fetch_add(1, a); }			\
static inline C p##_fetch_dec(T *a) { return p##_fetch_sub(1, a); }			\
static inline C p##_fetch_or(C v, T *a)							\
{ C o; sim_point(); o = a->counter; a->counter |= v; return o; }			\
static inline C p##_fetch_and(C v, T *a)						\
{ C o; sim_point(); o = a->counter; a->counter &= v; return o; }			\
static inline C p##_fetch_andnot(C v, T *a)						\
{ C o; sim_point(); o = a->counter; a->counter &= ~v; return o; }			\
static inline C p##_xchg(T *a, C v)							\
{ C o; sim_point(); o = a->counter; a->counter = v; return o; }				\
static inline C p##_cmpxchg(T *a, C o, C n)						\
{ C c; sim_point(); c = a->counter; if (c == o) a->counter = n; return c; }		\
static inline bool p##_try_cmpxchg(T *a, C *o, C n)					\
{ C c = p##_cmpxchg(a, *o, n); bool same = c == *o; *o = c; return same; }		\
static inline bool p##_add_unless(T *a, C v, C u)					\
{ sim_point(); if (a->counter == u) return false; a->counter += v; return true; }	\
static inline bool p##_inc_not_zero(T *a) { return p##_add_unless(a, 1, 0); }
ATOMIC_OPS(atomic, atomic_t, int)
ATOMIC_OPS(atomic64, atomic64_t, s64)
ATOMIC_OPS(atomic_long, atomic_long_t, long)

/* <linux/refcount.h>: saturation is a report here */
typedef struct { atomic_t refs; } refcount_t;
#define REFCOUNT_INIT(n) { ATOMIC_INIT(n) }

static inline void refcount_set(refcount_t *r, int n)
{
	atomic_set(&r->refs, n);
}

static inline unsigned int refcount_read(const refcount_t *r)
{
	return (unsigned int)atomic_read(&r->refs);
}

static inline void refcount_inc(refcount_t *r)
{
	if (atomic_inc_return(&r->refs) <= 1)
		sim_fail("refcount_inc() of something that was released");
}

static inline bool refcount_inc_not_zero(refcount_t *r)
{
	return atomic_inc_not_zero(&r->refs);
}

static inline bool refcount_dec_and_test(refcount_t *r)
{
	int n = atomic_dec_return(&r->refs);

	if (n < 0)
		sim_fail("refcount_dec_and_test() below zero");
	return !n;
}

/* <linux/kref.h> */
struct kref { refcount_t refcount; };

static inline void kref_init(struct kref *k)
{
	refcount_set(&k->refcount, 1);
}

static inline void kref_get(struct kref *k)
{
	refcount_inc(&k->refcount);
}

static inline bool kref_get_unless_zero(struct kref *k)
{
	return refcount_inc_not_zero(&k->refcount);
}

static inline int kref_put(struct kref *k, void (*release)(struct kref *k))
{
	if (!refcount_dec_and_test(&k->refcount))
		return 0;
	release(k);
	return 1;
}

#endif /* USER_LINUX_ATOMIC_H */
