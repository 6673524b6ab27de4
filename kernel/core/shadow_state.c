// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of a block's life: shadow_state.h says what each function promises.
 *
 * Pure: no calls, no memory, no locks. Whatever is not written down as legal here is refused,
 * and the module goes into fail mode rather than guess.
 */
#include "shadow_state.h"

static const char *const home_names[SHADOW_NR_HOMES] = {
	"origin", "copying", "mirrored", "retiring", "target", "remirroring", "hole", "filling",
};

static const char *const phase_names[SHADOW_NR_PHASES] = { "steady", "migrating", "grace" };

static const char *const policy_names[SHADOW_NR_POLICIES] = {
	"target", "origin", "balance", "mirror",
};

const char *shadow_home_name(enum shadow_home home)
{
	return (unsigned int)home < SHADOW_NR_HOMES ? home_names[home] : "?";
}

const char *shadow_phase_name(enum shadow_phase phase)
{
	return (unsigned int)phase < SHADOW_NR_PHASES ? phase_names[phase] : "?";
}

const char *shadow_policy_name(enum shadow_policy policy)
{
	return (unsigned int)policy < SHADOW_NR_POLICIES ? policy_names[policy] : "?";
}

/*
 * In the steady phase one leg holds everything, whatever the bytes still say: after "commit"
 * and "abort" they are only tidied up when the next table is resumed.
 */
u8 shadow_copies(u8 state, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);

	if (home == SHADOW_HOLE || home == SHADOW_FILLING)
		return 0;
	if (ctx->phase == SHADOW_STEADY)
		return (u8)(1u << ctx->steady_leg);

	switch (home) {
	case SHADOW_ORIGIN:
	case SHADOW_COPYING:
		return SHADOW_MASK_ORIGIN;
	case SHADOW_MIRRORED:
	case SHADOW_RETIRING:
		return SHADOW_MASK_BOTH;
	default:
		return SHADOW_MASK_TARGET;
	}
}

/* The home a hole gets when it is filled; SHADOW_HOLE if no leg has a place for it. */
static enum shadow_home fill_home(const struct shadow_ctx *ctx)
{
	if (ctx->phase == SHADOW_STEADY) {
		if (ctx->steady_leg == SHADOW_LEG_TARGET)
			return SHADOW_TARGET;
		return ctx->tail ? SHADOW_HOLE : SHADOW_ORIGIN;
	}
	if (ctx->missing & SHADOW_MASK_TARGET)
		return ctx->tail ? SHADOW_HOLE : SHADOW_ORIGIN;
	if (ctx->tail || (ctx->missing & SHADOW_MASK_ORIGIN))
		return SHADOW_TARGET;
	return SHADOW_MIRRORED;
}

static bool being_copied(enum shadow_home home)
{
	return home == SHADOW_COPYING || home == SHADOW_REMIRRORING;
}

static struct shadow_route to(u8 kind, u8 legs, u8 fallback)
{
	struct shadow_route r = { kind, legs, fallback };

	return r;
}

static struct shadow_route route_read(u8 copies, const struct shadow_ctx *ctx)
{
	if (copies != SHADOW_MASK_BOTH)
		return to(SHADOW_ROUTE_LEG, copies, 0);

	switch (ctx->policy) {
	case SHADOW_READ_ORIGIN:
		return to(SHADOW_ROUTE_LEG, SHADOW_MASK_ORIGIN, SHADOW_MASK_TARGET);
	case SHADOW_READ_BALANCE:
		return to(SHADOW_ROUTE_BALANCE, SHADOW_MASK_BOTH, SHADOW_MASK_BOTH);
	case SHADOW_READ_MIRROR:
		return to(SHADOW_ROUTE_RACE, SHADOW_MASK_BOTH, 0);
	default:
		return to(SHADOW_ROUTE_LEG, SHADOW_MASK_TARGET, SHADOW_MASK_ORIGIN);
	}
}

static struct shadow_route route_write(u8 state, u8 copies, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);

	if (ctx->phase != SHADOW_STEADY && being_copied(home) && !(state & SHADOW_WRITTEN))
		return to(SHADOW_ROUTE_MARK, copies, 0);
	if (copies == SHADOW_MASK_BOTH)
		return to(SHADOW_ROUTE_BOTH, SHADOW_MASK_BOTH, 0);
	return to(SHADOW_ROUTE_LEG, copies, 0);
}

struct shadow_route shadow_route(u8 state, enum shadow_op op, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);
	u8 copies = shadow_copies(state, ctx);

	if (op == SHADOW_OP_DISCARD && being_copied(home))	/* held or not */
		return to(SHADOW_ROUTE_PUNCH, 0, 0);

	/* A block in transition can still be read: its copies are what they were. */
	if ((state & SHADOW_BUSY) && op != SHADOW_OP_READ)
		return to(SHADOW_ROUTE_WAIT, 0, 0);

	if (home == SHADOW_HOLE || home == SHADOW_FILLING) {
		if (op == SHADOW_OP_READ)
			return to(SHADOW_ROUTE_ZERO, 0, 0);
		if (op == SHADOW_OP_DISCARD)
			return to(SHADOW_ROUTE_NOTHING, 0, 0);
		if (fill_home(ctx) == SHADOW_HOLE)
			return to(SHADOW_ROUTE_NO_SPACE, 0, 0);
		return to(home == SHADOW_HOLE ? SHADOW_ROUTE_FILL : SHADOW_ROUTE_WAIT, 0, 0);
	}

	if (op == SHADOW_OP_DISCARD)
		return to(SHADOW_ROUTE_PUNCH, 0, 0);

	copies &= (u8)~ctx->missing;
	if (!copies)
		return to(SHADOW_ROUTE_NO_COPY, 0, 0);

	return op == SHADOW_OP_READ ? route_read(copies, ctx) : route_write(state, copies, ctx);
}

static struct shadow_step refuse(u8 state)
{
	struct shadow_step s = { state, 0, false };

	return s;
}

/* Same flags, another home. */
static struct shadow_step go(u8 state, enum shadow_home home, u8 actions)
{
	struct shadow_step s = { (u8)((state & ~SHADOW_HOME_MASK) | home), actions, true };

	return s;
}

static struct shadow_step go_unmarked(u8 state, enum shadow_home home, u8 actions)
{
	return go((u8)(state & ~SHADOW_WRITTEN), home, actions);
}

static struct shadow_step on_copy_start(u8 state, bool back, const struct shadow_ctx *ctx)
{
	enum shadow_home from = back ? SHADOW_TARGET : SHADOW_ORIGIN;

	if (ctx->phase == SHADOW_STEADY || ctx->missing || ctx->tail ||
	    (state & SHADOW_BUSY) || shadow_home(state) != from)
		return refuse(state);
	return go_unmarked(state, back ? SHADOW_REMIRRORING : SHADOW_COPYING, SHADOW_ACT_DRAIN);
}

static struct shadow_step on_copy_end(u8 state, enum shadow_event event)
{
	enum shadow_home home = shadow_home(state);
	u8 release = state & SHADOW_BUSY ? SHADOW_ACT_RELEASE : 0;
	u8 idle = (u8)(state & ~SHADOW_BUSY);

	if (!being_copied(home))
		return refuse(state);
	if (event == SHADOW_EV_COPY_RETRY)
		return go_unmarked(state, home, SHADOW_ACT_DRAIN);
	if (event == SHADOW_EV_UNHOLD)
		return state & SHADOW_BUSY ? go(idle, home, release) : refuse(state);
	if (event == SHADOW_EV_COPY_FAILED)
		return go_unmarked(idle, home == SHADOW_COPYING ? SHADOW_ORIGIN : SHADOW_TARGET,
				   release);
	if (state & SHADOW_WRITTEN)
		return go(state, home, SHADOW_ACT_COPY_AGAIN);
	return go(idle, SHADOW_MIRRORED, release);
}

static struct shadow_step on_write(u8 state, const struct shadow_ctx *ctx)
{
	struct shadow_route r = shadow_route(state, SHADOW_OP_WRITE, ctx);

	switch (r.kind) {
	case SHADOW_ROUTE_MARK:
		state |= SHADOW_WRITTEN;
		break;
	case SHADOW_ROUTE_LEG:
	case SHADOW_ROUTE_BOTH:
		break;
	default:
		return refuse(state);
	}
	return go(state, shadow_home(state), 0);
}

static struct shadow_step on_lost(u8 state, bool origin, const struct shadow_ctx *ctx)
{
	u8 copies = shadow_copies(state, ctx);
	u8 lost = origin ? SHADOW_MASK_ORIGIN : SHADOW_MASK_TARGET;

	if (ctx->phase == SHADOW_STEADY)
		return refuse(state);
	/*
	 * No copy there to lose. One may be on its way: it stays so, because a second claim
	 * must not begin before the first copy's I/O has ended.
	 */
	if (!(copies & lost))
		return go(state, shadow_home(state), 0);
	if (copies == lost)
		return refuse(state);	/* the only copy: the error goes up */
	return go(state, origin ? SHADOW_TARGET : SHADOW_ORIGIN, SHADOW_ACT_COMMIT);
}

static struct shadow_step on_discard(u8 state, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);
	u8 actions = SHADOW_ACT_COMMIT;

	/* A hold becomes the discard's: the copy it was for ends without an effect. */
	if (home == SHADOW_HOLE || home == SHADOW_FILLING ||
	    ((state & SHADOW_BUSY) && !being_copied(home)))
		return refuse(state);
	/*
	 * Writes mapped before must not land, on one leg only, after the zero-fill of the
	 * next write; an older copy must not land after it at all.
	 */
	if (ctx->phase != SHADOW_STEADY)
		actions |= SHADOW_ACT_DRAIN;
	if (being_copied(home))
		actions |= SHADOW_ACT_WAIT_COPY;
	return go_unmarked((u8)(state | SHADOW_BUSY), SHADOW_HOLE, actions);
}

static struct shadow_step on_crash(u8 state, const struct shadow_ctx *ctx)
{
	if (shadow_home(state) != SHADOW_MIRRORED)
		return go(state, shadow_home(state), 0);
	return go(state, ctx->phase == SHADOW_GRACE ? SHADOW_TARGET : SHADOW_ORIGIN, 0);
}

static struct shadow_step on_steady(u8 state, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);

	if (ctx->phase != SHADOW_STEADY || (state & SHADOW_BUSY))
		return refuse(state);
	if (home == SHADOW_FILLING)	/* cannot be: a fill is always busy. No data, anyway */
		home = SHADOW_HOLE;
	return go_unmarked(state, home == SHADOW_HOLE ? SHADOW_HOLE : SHADOW_ORIGIN, 0);
}

struct shadow_step shadow_transition(u8 state, enum shadow_event event,
				     const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);
	u8 idle = (u8)(state & ~SHADOW_BUSY);

	switch (event) {
	case SHADOW_EV_COPY_START:
		return on_copy_start(state, false, ctx);
	case SHADOW_EV_REMIRROR_START:
		return on_copy_start(state, true, ctx);
	case SHADOW_EV_COPY_RETRY:
	case SHADOW_EV_COPY_DONE:
	case SHADOW_EV_COPY_FAILED:
	case SHADOW_EV_UNHOLD:
		return on_copy_end(state, event);
	case SHADOW_EV_WRITE:
		return on_write(state, ctx);
	case SHADOW_EV_HOLD:
		if ((state & SHADOW_BUSY) || !being_copied(home))
			return refuse(state);
		return go((u8)(state | SHADOW_BUSY), home, SHADOW_ACT_DRAIN);
	case SHADOW_EV_RELEASE:
		if (!(state & SHADOW_BUSY) || home == SHADOW_FILLING || being_copied(home))
			return refuse(state);
		return go(idle, home, SHADOW_ACT_RELEASE);
	case SHADOW_EV_RETIRE_START:
		if ((state & SHADOW_BUSY) || home != SHADOW_MIRRORED ||
		    ctx->phase == SHADOW_STEADY || (ctx->missing & SHADOW_MASK_TARGET))
			return refuse(state);
		return go(state, SHADOW_RETIRING, SHADOW_ACT_COMMIT);
	case SHADOW_EV_RETIRE_DONE:
	case SHADOW_EV_RETIRE_FAILED:
		if (home != SHADOW_RETIRING)
			return refuse(state);
		return go(state, event == SHADOW_EV_RETIRE_DONE ? SHADOW_TARGET : SHADOW_MIRRORED,
			  0);
	case SHADOW_EV_FILL_START:
		if ((state & SHADOW_BUSY) || home != SHADOW_HOLE ||
		    fill_home(ctx) == SHADOW_HOLE)
			return refuse(state);
		return go((u8)(state | SHADOW_BUSY), SHADOW_FILLING, 0);
	case SHADOW_EV_FILL_DONE:
		if (home != SHADOW_FILLING || fill_home(ctx) == SHADOW_HOLE)
			return refuse(state);
		/* stays busy: writes wait until the metadata knows the block is no hole */
		return go(state, fill_home(ctx), SHADOW_ACT_COMMIT);
	case SHADOW_EV_FILL_FAILED:
		/* what FILL_START and FILL_DONE make, nothing that holds data of a user */
		if (!(state & SHADOW_BUSY) ||
		    (home != SHADOW_FILLING && home != SHADOW_ORIGIN &&
		     home != SHADOW_MIRRORED && home != SHADOW_TARGET))
			return refuse(state);
		return go(idle, SHADOW_HOLE, SHADOW_ACT_RELEASE);
	case SHADOW_EV_DISCARD:
		return on_discard(state, ctx);
	case SHADOW_EV_ORIGIN_LOST:
		return on_lost(state, true, ctx);
	case SHADOW_EV_TARGET_LOST:
		return on_lost(state, false, ctx);
	case SHADOW_EV_CRASH:
		return on_crash(state, ctx);
	case SHADOW_EV_STEADY:
		return on_steady(state, ctx);
	default:
		return refuse(state);
	}
}

enum shadow_home shadow_disk_home(u8 state, const struct shadow_ctx *ctx)
{
	enum shadow_home home = shadow_home(state);

	/* Until its fill is complete a block shows what was on the device before: a hole. */
	if (home == SHADOW_HOLE || home == SHADOW_FILLING)
		return SHADOW_HOLE;
	if (ctx->phase == SHADOW_STEADY)
		return SHADOW_ORIGIN;

	switch (home) {
	case SHADOW_MIRRORED:
		return SHADOW_MIRRORED;
	case SHADOW_RETIRING:
	case SHADOW_TARGET:
	case SHADOW_REMIRRORING:
		return SHADOW_TARGET;
	default:
		return SHADOW_ORIGIN;
	}
}

enum shadow_home shadow_from_disk(enum shadow_home home, const struct shadow_ctx *ctx,
				  bool current_epoch, bool region_dirty)
{
	if (home == SHADOW_HOLE)
		return SHADOW_HOLE;
	/* Home bytes of an earlier modification mean only: not a hole. */
	if (ctx->phase == SHADOW_STEADY || !current_epoch)
		return SHADOW_ORIGIN;
	if (region_dirty)
		return shadow_home(shadow_transition((u8)home, SHADOW_EV_CRASH, ctx).next);
	return home;
}
