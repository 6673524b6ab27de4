/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a block: its state byte, the events that change it and where its I/O goes.
 *
 * Two pure functions hold all the rules. shadow_transition() says what an event does to a
 * state and what has to happen around it (drain, durable commit, another copy);
 * shadow_route() says which legs an I/O goes to. The module runs them under its own
 * ordering rules (compare-and-swap on the state byte, see kernel/dm-shadow.h); tests and
 * the simulator run the same code.
 */
#ifndef SHADOW_STATE_H
#define SHADOW_STATE_H

#include "shadow_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where a block's data is: bits 0-2 of the state byte. The names are the map message's. */
enum shadow_home {
	SHADOW_ORIGIN = 0,	/* on the origin only */
	SHADOW_COPYING = 1,	/* on the origin; a copy to the target is being made */
	SHADOW_MIRRORED = 2,	/* current on both legs */
	SHADOW_RETIRING = 3,	/* mirrored; "target" as soon as the metadata says so */
	SHADOW_TARGET = 4,	/* on the target only */
	SHADOW_REMIRRORING = 5,	/* on the target; a copy to the origin is being made */
	SHADOW_HOLE = 6,	/* on no leg, reads as zeroes */
	SHADOW_FILLING = 7,	/* a hole that is being zero-filled; always busy */
	SHADOW_NR_HOMES = 8,
};

#define SHADOW_HOME_MASK 0x07u
#define SHADOW_WRITTEN 0x08u	/* written while being copied: the copy is stale */
#define SHADOW_BUSY 0x10u	/* in transition: writes and discards wait */
#define SHADOW_READ 0x20u	/* read since the access map was last asked for */
#define SHADOW_WROTE 0x40u	/* written since then */
#define SHADOW_SHADOW 0x80u	/* may have a shadow on a tier: its word decides (shadow_tier.h) */

static inline enum shadow_home shadow_home(u8 state)
{
	return (enum shadow_home)(state & SHADOW_HOME_MASK);
}

/* Phase of the volume: which leg is the authority after an unclean stop. On-disk values. */
enum shadow_phase {
	SHADOW_STEADY = 0,	/* one leg holds everything */
	SHADOW_MIGRATING = 1,	/* origin is the authority */
	SHADOW_GRACE = 2,	/* target is the authority */
	SHADOW_NR_PHASES = 3,
};

enum shadow_policy {
	SHADOW_READ_TARGET = 0,
	SHADOW_READ_ORIGIN = 1,
	SHADOW_READ_BALANCE = 2,	/* alternate */
	SHADOW_READ_MIRROR = 3,		/* both; the first good answer wins */
	SHADOW_NR_POLICIES = 4,
};

/* What route and transition need to know of the volume besides the block's state. */
struct shadow_ctx {
	u8 phase;	/* enum shadow_phase */
	u8 policy;	/* enum shadow_policy */
	u8 steady_leg;	/* in SHADOW_STEADY: the leg that holds everything */
	u8 missing;	/* mask of legs that are not there */
	bool tail;	/* block lies beyond the old end: no place on the origin */
};

enum shadow_op {
	SHADOW_OP_READ = 0,
	SHADOW_OP_WRITE = 1,
	SHADOW_OP_DISCARD = 2,	/* of the whole block */
	SHADOW_NR_OPS = 3,
};

enum shadow_route_kind {
	SHADOW_ROUTE_LEG,	/* to the one leg in .legs */
	SHADOW_ROUTE_BOTH,	/* write to all .legs, acknowledged when all are done */
	SHADOW_ROUTE_RACE,	/* read both legs; the first good answer wins */
	SHADOW_ROUTE_BALANCE,	/* read either leg; the caller alternates */
	SHADOW_ROUTE_MARK,	/* set SHADOW_WRITTEN, then to the one leg in .legs */
	SHADOW_ROUTE_ZERO,	/* answer with zeroes */
	SHADOW_ROUTE_FILL,	/* fill the hole first, then route again */
	SHADOW_ROUTE_WAIT,	/* wait until the block is not busy, then route again */
	SHADOW_ROUTE_PUNCH,	/* discard: becomes a hole, through SHADOW_EV_DISCARD */
	SHADOW_ROUTE_NOTHING,	/* nothing to do: success */
	SHADOW_ROUTE_NO_COPY,	/* no current copy on a leg that is there: I/O error */
	SHADOW_ROUTE_NO_SPACE,	/* no leg has a place for this block */
	SHADOW_ROUTE_DIRTY,	/* make the shadow dirty first, then route again (shadow_tier.h) */
	SHADOW_NR_ROUTES,
};

struct shadow_route {
	u8 kind;	/* enum shadow_route_kind */
	u8 legs;	/* mask of the legs it goes to first */
	u8 fallback;	/* mask of other current copies a failed read may try */
};

/**
 * shadow_route() - where an I/O inside one block goes.
 * @state: the block's state byte
 * @op: what is asked
 * @ctx: the volume
 *
 * Never answers with a leg whose copy may be stale or that is missing.
 */
struct shadow_route shadow_route(u8 state, enum shadow_op op, const struct shadow_ctx *ctx);

enum shadow_event {
	SHADOW_EV_COPY_START,	/* mover claims the block (origin -> target) */
	SHADOW_EV_REMIRROR_START,	/* mover claims the block (target -> origin) */
	SHADOW_EV_COPY_RETRY,	/* mover copies again: forget the mark, then drain */
	SHADOW_EV_COPY_DONE,	/* a copy whose source was stable has finished; ends a hold */
	SHADOW_EV_COPY_FAILED,	/* given up; ends a hold */
	SHADOW_EV_WRITE,	/* a write is mapped */
	SHADOW_EV_HOLD,		/* writes shall wait (last try of a copy) */
	SHADOW_EV_UNHOLD,	/* they need not: it is put off */
	SHADOW_EV_RELEASE,	/* of a fill or a discard: writes need not wait any longer */
	SHADOW_EV_RETIRE_START,
	SHADOW_EV_RETIRE_DONE,	/* the metadata says target, durably */
	SHADOW_EV_RETIRE_FAILED,
	SHADOW_EV_FILL_START,
	SHADOW_EV_FILL_DONE,	/* all legs the block will live on hold zeroes */
	SHADOW_EV_FILL_FAILED,
	SHADOW_EV_DISCARD,	/* whole block; stays busy until the legs were discarded */
	SHADOW_EV_ORIGIN_LOST,	/* the origin's copy must not be used any longer */
	SHADOW_EV_TARGET_LOST,	/* likewise the target's */
	SHADOW_EV_CRASH,	/* unclean stop, region had writes in flight (on disk states) */
	SHADOW_EV_STEADY,	/* modification over: everything lives on the steady leg */
	SHADOW_NR_EVENTS,
};

/* What must happen because of a transition. */
#define SHADOW_ACT_DRAIN 0x01u		/* wait for writes already mapped before going on */
#define SHADOW_ACT_COMMIT 0x02u		/* durable before the event's cause is acknowledged */
#define SHADOW_ACT_COPY_AGAIN 0x04u	/* the copy is stale: copy again */
#define SHADOW_ACT_WAIT_COPY 0x08u	/* a copy may be in flight: wait for it before release */
#define SHADOW_ACT_RELEASE 0x10u	/* let waiting I/O be routed again */

struct shadow_step {
	u8 next;	/* state byte afterwards; equal to before if not legal */
	u8 actions;	/* mask of SHADOW_ACT_* */
	bool legal;	/* false: the event cannot happen in this state, nothing changed */
};

/**
 * shadow_transition() - what an event does to a block.
 * @state: the block's state byte
 * @event: what happened
 * @ctx: the volume
 *
 * Access bits are kept. Total: every state and event has an answer.
 */
struct shadow_step shadow_transition(u8 state, enum shadow_event event,
				     const struct shadow_ctx *ctx);

/**
 * shadow_disk_home() - the home a state stands for in the metadata.
 * @state: the block's state byte
 * @ctx: the volume
 *
 * One of ORIGIN, MIRRORED, TARGET, HOLE. A commit must flush the legs between reading the
 * states and writing the pages (see docs/on-disk-format.md, "Order").
 */
enum shadow_home shadow_disk_home(u8 state, const struct shadow_ctx *ctx);

/**
 * shadow_from_disk() - the home a block starts with.
 * @home: what the page says
 * @ctx: the volume, with the phase of the superblock
 * @current_epoch: the page was written in this modification
 * @region_dirty: unclean stop and the block's write-intent bit is set
 */
enum shadow_home shadow_from_disk(enum shadow_home home, const struct shadow_ctx *ctx,
				  bool current_epoch, bool region_dirty);

/** shadow_copies() - mask of the legs whose copy of the block is current. */
u8 shadow_copies(u8 state, const struct shadow_ctx *ctx);

const char *shadow_home_name(enum shadow_home home);
const char *shadow_phase_name(enum shadow_phase phase);
const char *shadow_policy_name(enum shadow_policy policy);

#ifdef __cplusplus
}
#endif

#endif /* SHADOW_STATE_H */
