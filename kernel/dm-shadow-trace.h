/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: what changes about a volume, and when. They are where the change is made, so each is
 * seen once, and a volume that runs as it is has none: nothing on the path of a bio passes one
 * unless it changes where a block lives.
 *
 *   echo 1 > /sys/kernel/tracing/events/dm_shadow/enable
 *
 * A volume is named as in the kernel log, by its major and minor number.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dm_shadow

#if !defined(DM_SHADOW_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DM_SHADOW_TRACE_H

#include <linux/tracepoint.h>

#include "core/shadow_state.h"
#include "core/shadow_tier.h"

TRACE_DEFINE_ENUM(SHADOW_ORIGIN);
TRACE_DEFINE_ENUM(SHADOW_COPYING);
TRACE_DEFINE_ENUM(SHADOW_MIRRORED);
TRACE_DEFINE_ENUM(SHADOW_RETIRING);
TRACE_DEFINE_ENUM(SHADOW_TARGET);
TRACE_DEFINE_ENUM(SHADOW_REMIRRORING);
TRACE_DEFINE_ENUM(SHADOW_HOLE);
TRACE_DEFINE_ENUM(SHADOW_FILLING);

#define shadow_show_home(home) __print_symbolic(home,			\
	{ SHADOW_ORIGIN, "origin" },					\
	{ SHADOW_COPYING, "copying" },					\
	{ SHADOW_MIRRORED, "mirrored" },				\
	{ SHADOW_RETIRING, "retiring" },				\
	{ SHADOW_TARGET, "target" },					\
	{ SHADOW_REMIRRORING, "remirroring" },				\
	{ SHADOW_HOLE, "hole" },					\
	{ SHADOW_FILLING, "filling" })

TRACE_DEFINE_ENUM(SHADOW_NONE);
TRACE_DEFINE_ENUM(SHADOW_PROMOTING);
TRACE_DEFINE_ENUM(SHADOW_CLEAN);
TRACE_DEFINE_ENUM(SHADOW_DIRTYING);
TRACE_DEFINE_ENUM(SHADOW_DIRTY);
TRACE_DEFINE_ENUM(SHADOW_CLEANING);
TRACE_DEFINE_ENUM(SHADOW_HOLDING);
TRACE_DEFINE_ENUM(SHADOW_DROPPING);

#define shadow_show_life(life) __print_symbolic(life,			\
	{ SHADOW_NONE, "none" },					\
	{ SHADOW_PROMOTING, "promoting" },				\
	{ SHADOW_CLEAN, "clean" },					\
	{ SHADOW_DIRTYING, "dirtying" },				\
	{ SHADOW_DIRTY, "dirty" },					\
	{ SHADOW_CLEANING, "cleaning" },				\
	{ SHADOW_HOLDING, "holding" },					\
	{ SHADOW_DROPPING, "dropping" })

TRACE_DEFINE_ENUM(SHADOW_STEADY);
TRACE_DEFINE_ENUM(SHADOW_MIGRATING);
TRACE_DEFINE_ENUM(SHADOW_GRACE);

#define shadow_show_phase(phase) __print_symbolic(phase,		\
	{ SHADOW_STEADY, "steady" },					\
	{ SHADOW_MIGRATING, "migrating" },				\
	{ SHADOW_GRACE, "grace" })

#define shadow_show_leg(leg) __print_symbolic(leg,			\
	{ 0, "origin" }, { 1, "target" }, { 2, "tier1" }, { 3, "tier2" })

#define shadow_show_mode(mode) __print_symbolic(mode,			\
	{ 0, "rw" }, { 1, "ro" }, { 2, "fail" })

/* A block lives elsewhere from now on. */
TRACE_EVENT(shadow_home,
	TP_PROTO(const char *volume, u32 block, u8 from, u8 to),
	TP_ARGS(volume, block, from, to),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(u32, block)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->block = block;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s block %u: %s -> %s", __entry->volume, __entry->block,
		  shadow_show_home(__entry->from), shadow_show_home(__entry->to))
);

/* The life of a block's shadow has changed. Its slot is that of the word before, if there was one. */
TRACE_EVENT(shadow_word,
	TP_PROTO(const char *volume, u32 block, u32 from, u32 to),
	TP_ARGS(volume, block, from, to),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(u32, block)
		__field(u32, slot)
		__field(u8, leg)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->block = block;
		__entry->slot = shadow_slot(from ? from : to);
		__entry->leg = shadow_word_leg(from ? from : to);
		__entry->from = shadow_life(from);
		__entry->to = shadow_life(to);
	),
	TP_printk("%s block %u: %s -> %s, slot %u of %s", __entry->volume, __entry->block,
		  shadow_show_life(__entry->from), shadow_show_life(__entry->to), __entry->slot,
		  shadow_show_leg(__entry->leg))
);

/* "cutover", "rollback", "commit", "abort", or a table with a first target; durable. */
TRACE_EVENT(shadow_phase,
	TP_PROTO(const char *volume, u8 from, u8 to),
	TP_ARGS(volume, from, to),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s %s -> %s", __entry->volume, shadow_show_phase(__entry->from),
		  shadow_show_phase(__entry->to))
);

/* The volume takes no changes, or no I/O, any more. */
TRACE_EVENT(shadow_mode,
	TP_PROTO(const char *volume, u8 from, u8 to),
	TP_ARGS(volume, from, to),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s %s -> %s", __entry->volume, shadow_show_mode(__entry->from),
		  shadow_show_mode(__entry->to))
);

/* A leg has failed: what it holds is given up where there is another copy. */
TRACE_EVENT(shadow_leg_failed,
	TP_PROTO(const char *volume, u8 leg),
	TP_ARGS(volume, leg),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(u8, leg)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->leg = leg;
	),
	TP_printk("%s %s", __entry->volume, shadow_show_leg(__entry->leg))
);

/* Pages of one batch of a commit were written, and are durable; or @error says why they are not. */
TRACE_EVENT(shadow_commit,
	TP_PROTO(const char *volume, unsigned int pages, int error),
	TP_ARGS(volume, pages, error),
	TP_STRUCT__entry(
		__array(char, volume, 16)
		__field(unsigned int, pages)
		__field(int, error)
	),
	TP_fast_assign(
		strscpy(__entry->volume, volume, sizeof(__entry->volume));
		__entry->pages = pages;
		__entry->error = error;
	),
	TP_printk("%s pages %u error %d", __entry->volume, __entry->pages, __entry->error)
);

#endif /* DM_SHADOW_TRACE_H */

/* Outside of the guard: the macros above are read again. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE dm-shadow-trace
#include <trace/define_trace.h>
