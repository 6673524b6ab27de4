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

u32 shadow_crc32c(u32 seed, const void *data, size_t len)
{
	const u8 *p = data;

	while (len--)
		seed = table[(u8)(seed ^ *p++)] ^ seed >> 8;
	return seed;
}
