// SPDX-License-Identifier: GPL-2.0-only
/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) for user space, where the kernel's
 * lib/crc32c is not. Same seed and no final inversion, as crc32c() there.
 */
#include "shadow_format.h"

static u32 table[256];

static void __attribute__((constructor)) make_table(void)
{
	u32 i, bit, c;

	for (i = 0; i < 256; i++) {
		for (c = i, bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
		table[i] = c;
	}
}

#if defined(__x86_64__)
static __attribute__((target("sse4.2"))) u32 by_instruction(u32 seed, const u8 *p, size_t len)
{
	u64 word, crc = seed;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		crc = __builtin_ia32_crc32di(crc, word);
	}
	seed = (u32)crc;
	while (len--)
		seed = __builtin_ia32_crc32qi(seed, *p++);
	return seed;
}
#endif

u32 shadow_crc32c(u32 seed, const void *data, size_t len)
{
	const u8 *p = data;

#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return by_instruction(seed, p, len);
#endif
	while (len--)
		seed = table[(u8)(seed ^ *p++)] ^ seed >> 8;
	return seed;
}
