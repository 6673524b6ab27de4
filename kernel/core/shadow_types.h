/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types for the pure core, which is compiled into the module and into user space.
 *
 * The core calls nothing of the kernel and allocates nothing; whoever includes it owns all
 * memory and all locking. In user space the fixed-width names come from <stdint.h>.
 */
#ifndef SHADOW_TYPES_H
#define SHADOW_TYPES_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "user_types.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Legs by index; also the bit numbers of a leg mask. Tiers have their place. */
enum shadow_leg {
	SHADOW_LEG_ORIGIN = 0,
	SHADOW_LEG_TARGET = 1,
	SHADOW_LEG_TIER1 = 2,
	SHADOW_LEG_TIER2 = 3,
	SHADOW_NR_LEGS = 4,
};

#define SHADOW_NR_HOME_LEGS 2	/* origin and target: legs that can be a home */
#define SHADOW_LEG_NONE 0xff

#define SHADOW_MASK_ORIGIN 0x1u	/* 1 << SHADOW_LEG_ORIGIN */
#define SHADOW_MASK_TARGET 0x2u	/* 1 << SHADOW_LEG_TARGET */
#define SHADOW_MASK_BOTH 0x3u

#define SHADOW_MIN_BLOCK_SECTORS 128u	/* 64 KiB */
#define SHADOW_MAX_BLOCK_SECTORS 32768u	/* 16 MiB */
#define SHADOW_ID_MAX 63		/* characters of a leg or volume identity */

#ifdef __cplusplus
}
#endif

#endif /* SHADOW_TYPES_H */
