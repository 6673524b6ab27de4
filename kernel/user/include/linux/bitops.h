/* SPDX-License-Identifier: GPL-2.0-only */
/* Bits, and maps of them. The __ forms are for callers who are alone. */
#ifndef USER_LINUX_BITOPS_H
#define USER_LINUX_BITOPS_H

#include <linux/atomic.h>

#define BIT_WORD(n) ((n) / BITS_PER_LONG)
#define BIT_MASK(n) (1ul << ((n) % BITS_PER_LONG))

static inline void __set_bit(unsigned long n, unsigned long *p)
{
	p[BIT_WORD(n)] |= BIT_MASK(n);
}

static inline void __clear_bit(unsigned long n, unsigned long *p)
{
	p[BIT_WORD(n)] &= ~BIT_MASK(n);
}

static inline void __change_bit(unsigned long n, unsigned long *p)
{
	p[BIT_WORD(n)] ^= BIT_MASK(n);
}

static inline void set_bit(unsigned long n, unsigned long *p)
{
	sim_point();
	__set_bit(n, p);
}

static inline void clear_bit(unsigned long n, unsigned long *p)
{
	sim_point();
	__clear_bit(n, p);
}

static inline void change_bit(unsigned long n, unsigned long *p)
{
	sim_point();
	__change_bit(n, p);
}

static inline bool test_bit(unsigned long n, const unsigned long *p)
{
	sim_point();
	return p[BIT_WORD(n)] & BIT_MASK(n);
}

static inline bool test_and_set_bit(unsigned long n, unsigned long *p)
{
	bool was = test_bit(n, p);

	__set_bit(n, p);
	return was;
}

static inline bool test_and_clear_bit(unsigned long n, unsigned long *p)
{
	bool was = test_bit(n, p);

	__clear_bit(n, p);
	return was;
}

#define __test_and_set_bit test_and_set_bit
#define __test_and_clear_bit test_and_clear_bit
#define clear_bit_unlock clear_bit

/* The first bit from @n on that is set (@invert: that is not), or @nr. */
static inline unsigned long find_from(const unsigned long *p, unsigned long nr, unsigned long n,
				      unsigned long invert)
{
	sim_point();
	while (n < nr) {
		unsigned long w = (p[BIT_WORD(n)] ^ invert) >> (n % BITS_PER_LONG);

		if (w) {
			n += (unsigned long)__builtin_ctzl(w);
			return n < nr ? n : nr;
		}
		n = round_down(n, 64ul) + 64;
	}
	return nr;
}

static inline unsigned long find_next_bit(const unsigned long *p, unsigned long nr, unsigned long n)
{
	return find_from(p, nr, n, 0);
}

static inline unsigned long find_next_zero_bit(const unsigned long *p, unsigned long nr,
					       unsigned long n)
{
	return find_from(p, nr, n, ~0ul);
}

#define find_first_bit(p, nr) find_next_bit(p, nr, 0)
#define find_first_zero_bit(p, nr) find_next_zero_bit(p, nr, 0)
#define for_each_set_bit(b, p, nr)				\
	for ((b) = find_next_bit(p, nr, 0); (b) < (nr); (b) = find_next_bit(p, nr, (b) + 1))
#define for_each_set_bit_from(b, p, nr)				\
	for ((b) = find_next_bit(p, nr, b); (b) < (nr); (b) = find_next_bit(p, nr, (b) + 1))

static inline void bitmap_zero(unsigned long *p, unsigned int nr)
{
	memset(p, 0, BITS_TO_LONGS(nr) * sizeof(long));
}

static inline void bitmap_copy(unsigned long *to, const unsigned long *from, unsigned int nr)
{
	memcpy(to, from, BITS_TO_LONGS(nr) * sizeof(long));
}

static inline void bitmap_set(unsigned long *p, unsigned int first, unsigned int n)
{
	while (n--)
		__set_bit(first++, p);
}

static inline void bitmap_clear(unsigned long *p, unsigned int first, unsigned int n)
{
	while (n--)
		__clear_bit(first++, p);
}

static inline bool bitmap_empty(const unsigned long *p, unsigned int nr)
{
	return find_next_bit(p, nr, 0) >= nr;
}

static inline bool bitmap_full(const unsigned long *p, unsigned int nr)
{
	return find_next_zero_bit(p, nr, 0) >= nr;
}

static inline unsigned int bitmap_weight(const unsigned long *p, unsigned int nr)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr / BITS_PER_LONG; i++)
		n += (unsigned int)__builtin_popcountl(p[i]);
	if (nr % BITS_PER_LONG)
		n += (unsigned int)__builtin_popcountl(p[i] & (BIT_MASK(nr) - 1));
	return n;
}

static inline unsigned int hweight8(u8 v)
{
	return (unsigned int)__builtin_popcount(v);
}

static inline unsigned int hweight64(u64 v)
{
	return (unsigned int)__builtin_popcountll(v);
}

static inline unsigned int hweight32(u32 v)
{
	return (unsigned int)__builtin_popcount(v);
}

static inline unsigned int hweight_long(unsigned long v)
{
	return (unsigned int)__builtin_popcountl(v);
}

static inline unsigned long __ffs(unsigned long v)
{
	return (unsigned long)__builtin_ctzl(v);
}

static inline int fls(unsigned int v)
{
	return v ? 32 - __builtin_clz(v) : 0;
}

static inline u32 hash_32(u32 v, unsigned int bits)
{
	return (v * 0x61C88647u) >> (32 - bits);
}

static inline u32 hash_64(u64 v, unsigned int bits)
{
	return (u32)((v * 0x61C8864680B583EBull) >> (64 - bits));
}

#endif /* USER_LINUX_BITOPS_H */
