/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's names for fixed-width types, for the core in user space only.
 */
#ifndef SHADOW_USER_TYPES_H
#define SHADOW_USER_TYPES_H

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#ifndef __cplusplus
#define fallthrough __attribute__((__fallthrough__))
#endif

#endif /* SHADOW_USER_TYPES_H */
