/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's names for types, macros and errors, in user space.
 *
 * A symbol of the kernel that the module uses and the library lacks is an "implicit declaration"
 * when kernel/user is built. Add it to the header it has in the kernel: as an inline function
 * here if it only computes; with a prototype here and a body in kernel/user/<subject>.c if it
 * waits, allocates or does I/O. See kernel/user/README.md.
 */
#ifndef USER_LINUX_KERNEL_H
#define USER_LINUX_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;
typedef u16 __le16;
typedef u32 __le32;
typedef u64 __le64;
typedef u64 sector_t;
typedef u8 blk_status_t;
typedef u32 blk_opf_t;
typedef s64 ktime_t;
typedef unsigned int gfp_t;
typedef unsigned int fmode_t;
typedef unsigned int blk_mode_t;

#define U8_MAX UINT8_MAX
#define U16_MAX UINT16_MAX
#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX
#define __force
#define __percpu
#define __rcu
#define __init
#define __exit
#define __user
#define __must_check
#define __maybe_unused __attribute__((unused))
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define noinline __attribute__((noinline))
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __cold __attribute__((cold))
#ifndef fallthrough
#define fallthrough __attribute__((__fallthrough__))
#endif
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, t, m) ((t *)((char *)(p) - offsetof(t, m)))
#define struct_size(p, m, n) (sizeof(*(p)) + (size_t)(n) * sizeof((p)->m[0]))
#define BUILD_BUG_ON(c) ((void)sizeof(char[1 - 2 * !!(c)]))
#define static_assert_size(t, n) _Static_assert(sizeof(t) == (n), #t)
#define IS_ENABLED(x) 0
#define BITS_PER_LONG 64
#define BITS_PER_BYTE 8
#define BIT(n) (1ul << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK(h, l) (((~0ul) << (l)) & (~0ul >> (BITS_PER_LONG - 1 - (h))))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define DIV_ROUND_UP_ULL(n, d) DIV_ROUND_UP((u64)(n), (d))
#define BITS_TO_LONGS(n) DIV_ROUND_UP(n, BITS_PER_LONG)
#define round_up(x, y) ((((x) - 1) | ((__typeof__(x))((y) - 1))) + 1)
#define round_down(x, y) ((x) & ~((__typeof__(x))((y) - 1)))
#define roundup(x, y) (DIV_ROUND_UP(x, y) * (y))
#define ALIGN(x, y) round_up(x, y)
#define is_power_of_2(n) ((n) && !((n) & ((n) - 1)))
#define min(a, b) ({				\
	__typeof__(a) _min_a = (a);		\
	__typeof__(b) _min_b = (b);		\
	_min_a < _min_b ? _min_a : _min_b; })
#define max(a, b) ({				\
	__typeof__(a) _max_a = (a);		\
	__typeof__(b) _max_b = (b);		\
	_max_a > _max_b ? _max_a : _max_b; })
#define min_t(t, a, b) min((t)(a), (t)(b))
#define max_t(t, a, b) max((t)(a), (t)(b))
#define min3(a, b, c) min(min(a, b), c)
#define max3(a, b, c) max(max(a, b), c)
#define clamp(v, l, h) min(max(v, l), h)
#define clamp_t(t, v, l, h) min_t(t, max_t(t, v, l), h)
#define swap(a, b) do { __typeof__(a) _swap = (a); (a) = (b); (b) = _swap; } while (0)
#define lower_32_bits(n) ((u32)((n) & 0xffffffff))
#define upper_32_bits(n) ((u32)((u64)(n) >> 32))

#define MAX_ERRNO 4095
#define ERR_PTR(e) ((void *)(long)(e))
#define PTR_ERR(p) ((long)(p))
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-MAX_ERRNO)
#define IS_ERR_OR_NULL(p) (!(p) || IS_ERR(p))
#define PTR_ERR_OR_ZERO(p) (IS_ERR(p) ? (int)PTR_ERR(p) : 0)
#define ERR_CAST(p) ((void *)(p))

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define SECTOR_SHIFT 9
#define SECTOR_SIZE 512
#define SZ_4K (4u << 10)
#define SZ_64K (64u << 10)
#define SZ_512K (512u << 10)
#define SZ_1M (1u << 20)
#define HZ 1000
#define NSEC_PER_USEC 1000L
#define NSEC_PER_MSEC 1000000L
#define NSEC_PER_SEC 1000000000L
#define USEC_PER_SEC 1000000L
#define MSEC_PER_SEC 1000L

/* Where another CPU, an interrupt or a device may come in; kernel/user/sched.c. */
void sim_point(void);
/* Reports a function that sleeps where the caller must not. */
void sim_might_sleep(const char *what);
/* Ends the run: the report is the first one's. */
void sim_fail(const char *format, ...) __printf(1, 2);
/* As sim_fail(); does not return. */
void sim_die(const char *format, ...) __printf(1, 2) __attribute__((noreturn));
/* A line of the kernel's log. */
void sim_log(const char *format, ...) __printf(1, 2);
u32 sim_below(u32 n);
/* The module's MOVER_TRIES here: another number each time it is asked for. */
#define SIM_SOME_TRIES (1 + sim_below(3))

#define might_sleep() sim_might_sleep(__func__)
#define cond_resched() ({ sim_might_sleep("cond_resched"); sim_point(); 0; })
#define WARN_ON(c) ({				\
	bool _warn = !!(c);			\
	if (_warn)				\
		sim_fail("WARN_ON(%s)", #c);	\
	_warn; })
#define WARN_ON_ONCE(c) WARN_ON(c)
#define WARN(c, ...) ({				\
	bool _warn = !!(c);			\
	if (_warn)				\
		sim_fail(__VA_ARGS__);		\
	_warn; })
#define WARN_ONCE WARN
#define BUG_ON(c) do { if (c) sim_die("BUG_ON(%s)", #c); } while (0)
#define BUG() sim_die("BUG()")

#define printk(...) sim_log(__VA_ARGS__)
#define pr_info sim_log
#define pr_warn sim_log
#define pr_err sim_log
#define scnprintf snprintf_limited
static inline __printf(3, 4) int snprintf_limited(char *buf, size_t n, const char *f, ...)
{
	__builtin_va_list a;
	int r;

	__builtin_va_start(a, f);
	r = vsnprintf(buf, n, f, a);
	__builtin_va_end(a);
	return n && r >= (int)n ? (int)n - 1 : r;
}

static inline u64 div64_u64(u64 a, u64 b)
{
	return a / b;
}

static inline u64 div_u64(u64 a, u32 b)
{
	return a / b;
}

static inline u64 mul_u64_u32_div(u64 a, u32 b, u32 c)
{
	return (u64)((unsigned __int128)a * b / c);
}

#define sector_div(s, b) ({ u32 _rem = (u32)((s) % (b)); (s) /= (b); _rem; })

static inline ssize_t strscpy(char *to, const char *from, size_t size)
{
	size_t n = strnlen(from, size);

	if (!size)
		return -E2BIG;
	if (n == size) {
		memcpy(to, from, size - 1);
		to[size - 1] = 0;
		return -E2BIG;
	}
	memcpy(to, from, n + 1);
	return (ssize_t)n;
}

static inline void *memchr_inv(const void *p, int c, size_t n)
{
	const u8 *b = p;

	for (; n--; b++)
		if (*b != (u8)c)
			return (void *)b;
	return NULL;
}

static inline bool mem_is_zero(const void *p, size_t n)
{
	return !memchr_inv(p, 0, n);
}

static inline int kstrtou32(const char *s, unsigned int base, u32 *res)
{
	char *end;
	unsigned long v = strtoul(s, &end, (int)base);

	if (end == s || *end || v > U32_MAX)
		return -EINVAL;
	*res = (u32)v;
	return 0;
}

/* lib/crc32c */
u32 crc32c(u32 seed, const void *data, size_t len);

/* <linux/log2.h> */
static inline int ilog2(u64 n)
{
	return 63 - __builtin_clzll(n);
}

#endif /* USER_LINUX_KERNEL_H */
