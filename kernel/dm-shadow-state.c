// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states of a volume's blocks, its modes and its events: what everybody changes, and how.
 *
 * A state changes by compare and swap with what the core says; dirty bits follow. Its new home is
 * counted before and its old one after, so no home is ever said to have fewer blocks than it has.
 * Modes only get worse, under commit_lock; the flag in the superblock that goes with them may fail
 * to be written, and is tried once.
 *
 * Context: shadow_apply() and shadow_raise_event(): any; the rest: process, may sleep.
 */
#include "dm-shadow.h"

#define CREATE_TRACE_POINTS
#include "dm-shadow-trace.h"

/* One more block of this home, or (@n -1) one less. @counts: what it counts as. */
static void count_home(struct shadow_volume *v, u32 block, enum shadow_home home,
		       enum shadow_home counts, int n)
{
	if (home != SHADOW_HOLE && block >= READ_ONCE(v->tail))
		atomic_long_add(n, &v->tail_data);
	atomic_long_add(n, &v->homes[counts]);
}

/*
 * The state changes, unless it is another one by now. A page is dirty before a home is counted
 * out: who finds it gone finds the page dirty, too.
 */
static bool change_state(struct shadow_volume *v, u32 block, u8 from, u8 to, bool dirties)
{
	enum shadow_home old = shadow_home(from), new = shadow_home(to);
	enum shadow_home out = shadow_counted_as(v, old), in = shadow_counted_as(v, new);
	bool done;

	if (old == new)
		return cmpxchg(&v->map[block], from, to) == from;
	count_home(v, block, new, in, 1);
	done = cmpxchg(&v->map[block], from, to) == from;
	smp_mb(); /* counted in, then out: pairs with shadow_counts() */
	if (done && dirties)
		shadow_mark_page_dirty(v, block);
	if (done)
		trace_shadow_home(v->name, block, old, new);
	smp_mb__before_atomic(); /* pairs with the one in phase_begin() */
	count_home(v, block, done ? old : new, done ? out : in, -1);
	return done;
}

/**
 * __shadow_apply() - an event happens to a block, and legs fail in the same instant.
 * @lost: legs that took no part, as if they were missing for this one event
 * @step: if not NULL, what shadow_transition() said
 *
 * Return: false if the event is not legal in the block's state, which then is unchanged.
 */
bool __shadow_apply(struct shadow_volume *v, u32 block, enum shadow_event event, u8 lost,
		    struct shadow_step *step)
{
	struct shadow_ctx ctx;
	struct shadow_step s;
	bool dirties;
	u8 state;

	do {
		ctx = shadow_get_ctx(v, block);
		ctx.missing |= lost;
		state = READ_ONCE(v->map[block]);
		s = shadow_transition(state, event, &ctx);
		if (step)
			*step = s;
		if (!s.legal)
			return false;
		dirties = shadow_disk_home(state, &ctx) != shadow_disk_home(s.next, &ctx);
	} while (!change_state(v, block, state, s.next, dirties));
	return true;
}

bool shadow_apply(struct shadow_volume *v, u32 block, enum shadow_event event,
		  struct shadow_step *step)
{
	return __shadow_apply(v, block, event, 0, step);
}

/*
 * For who made the block busy and so is alone with it: if the event is not legal the rules are
 * broken, and nothing about the volume is certain any longer.
 */
void shadow_apply_own(struct shadow_volume *v, u32 block, enum shadow_event event)
{
	if (likely(shadow_apply(v, block, event, NULL)))
		return;
	if (READ_ONCE(v->mode) != SHADOW_MODE_FAIL)
		DMCRIT("%s: event %d is not legal for block %u in state %#x", v->name, event, block,
		       READ_ONCE(v->map[block]));
	mutex_lock(&v->commit_lock);
	shadow_set_mode(v, SHADOW_MODE_FAIL, "an invariant is broken");
	mutex_unlock(&v->commit_lock);
}

void shadow_set_ctx(struct shadow_volume *v, union shadow_ctx_word w)
{
	WRITE_ONCE(v->ctx_word, w.word);
	shadow_build_lut(v);
}

/* Is some block valid on this leg and nowhere else? */
bool shadow_only_on(struct shadow_volume *v, u8 leg)
{
	bool target = leg == SHADOW_LEG_TARGET;
	atomic_long_t *idle = &v->homes[target ? SHADOW_TARGET : SHADOW_ORIGIN];
	atomic_long_t *copied = &v->homes[target ? SHADOW_REMIRRORING : SHADOW_COPYING];

	if (atomic_long_read(idle))
		return true;
	smp_rmb(); /* a block that goes from one to the other is counted there first */
	if (atomic_long_read(copied))
		return true;
	smp_rmb(); /* and back */
	return atomic_long_read(idle);
}

/* Is there any block that is on both legs? */
bool shadow_has_mirrored(struct shadow_volume *v)
{
	return atomic_long_read(&v->homes[SHADOW_MIRRORED]) ||
	       atomic_long_read(&v->homes[SHADOW_RETIRING]);
}

/* Does any block count on this leg? A block that moves is seen in one place or the other. */
bool shadow_counts(struct shadow_volume *v, u8 leg)
{
	bool only = shadow_only_on(v, leg);

	smp_rmb(); /* pairs with __shadow_apply(): the new place is counted first */
	return only || shadow_has_mirrored(v);
}

/* Blocks beyond the old end that hold data. */
u32 shadow_tail_data(struct shadow_volume *v)
{
	return atomic_long_read(&v->tail_data);
}

void shadow_event_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(work, struct shadow_volume, event_work);
	struct dm_target *ti = READ_ONCE(v->ti);

	if (ti)
		dm_table_event(ti->table);
}

void shadow_raise_event(struct shadow_volume *v)
{
	queue_work(v->wq, &v->event_work);
}

/* Caller: holds commit_lock, or is alone. Modes only get worse. */
void shadow_set_mode(struct shadow_volume *v, enum shadow_mode mode, const char *why)
{
	struct shadow_superblock sb = v->sb;

	if (mode <= v->mode)
		return;
	DMERR("%s: %s: the volume is in %s mode now", v->name, why,
	      mode == SHADOW_MODE_RO ? "read-only" : "fail");
	trace_shadow_mode(v->name, v->mode, mode);
	WRITE_ONCE(v->mode, mode);
	if (mode == SHADOW_MODE_FAIL)
		WRITE_ONCE(v->tier_word, 0);
	shadow_build_lut(v);
	shadow_mover_set_paused(v, true);
	sb.flags |= SHADOW_SB_NEEDS_CHECK;
	if (shadow_metadata_write_sb(v, &sb))
		DMERR("%s: could not write the needs-check flag either", v->name);
	shadow_raise_event(v);
}

/**
 * shadow_drop_home() - one of a block's two homes holds it no longer.
 * @leg: which; the other one is the only one from then on
 *
 * False: the block had only one. @step may be NULL.
 */
bool shadow_drop_home(struct shadow_volume *v, u32 block, u8 leg, struct shadow_step *step)
{
	struct shadow_step none;
	bool legal;

	down_read(&v->phase_lock);
	atomic_or(SHADOW_MASK_BOTH & ~(1u << leg), &v->sole);
	smp_mb__after_atomic(); /* before the state changes, like v->unflushed */
	legal = shadow_apply(v, block, leg == SHADOW_LEG_ORIGIN ? SHADOW_EV_ORIGIN_LOST :
								  SHADOW_EV_TARGET_LOST,
			     step ? step : &none);
	up_read(&v->phase_lock);
	return legal;
}

#define ONES 0x0101010101010101ull

/*
 * The first block from @b on, below @end, that is marked: @marks looks at eight state bytes at a
 * time, most of which are of no interest.
 */
static u32 next_block(struct shadow_volume *v, u32 b, u32 end, u64 (*marks)(u64 states))
{
	while (b < end) {
		if (!(b % 8) && end - b >= 8 && !marks(READ_ONCE(*(u64 *)(v->map + b)))) {
			b += 8;
			if (!(b % (1u << 20)))
				cond_resched();
			continue;
		}
		if (marks(READ_ONCE(v->map[b])) & 0xff)
			return b;
		b++;
	}
	return end;
}

static u64 mirrored_marks(u64 states)
{
	BUILD_BUG_ON(SHADOW_MIRRORED != 2 || SHADOW_RETIRING != 3 || SHADOW_HOME_MASK != 7);
	return (states >> 1) & ~(states >> 2) & ONES;
}

static u64 shadow_marks(u64 states)
{
	return states & (SHADOW_SHADOW * ONES);
}

/** shadow_next_shadow() - the first block of a range that may have a shadow; @end: none. */
u32 shadow_next_shadow(struct shadow_volume *v, u32 b, u32 end)
{
	return next_block(v, b, end, shadow_marks);
}

/*
 * The leg's copies are not to be trusted: every block that has another one gives this one up, and
 * no new one is made there. So there is mostly nothing to look for when it fails again: only
 * copies from there, to save what is left, are mirrored until it does.
 */
void shadow_drop_leg(struct shadow_volume *v, u8 leg)
{
	enum shadow_event event = leg == SHADOW_LEG_ORIGIN ? SHADOW_EV_ORIGIN_LOST :
							     SHADOW_EV_TARGET_LOST;
	struct shadow_step step;
	unsigned long n = 0;
	u32 b;

	down_write(&v->phase_lock);
	if ((v->home_failed & (1u << leg)) && !shadow_has_mirrored(v)) {
		up_write(&v->phase_lock);
		return;
	}
	shadow_mover_set_paused(v, true);
	WRITE_ONCE(v->home_failed, v->home_failed | 1u << leg);
	WRITE_ONCE(v->no_flush, v->no_flush & ~(1u << leg));	/* until this is durable */
	v->drops++;
	trace_shadow_leg_failed(v->name, leg);
	atomic_or(SHADOW_MASK_BOTH & ~(1u << leg), &v->sole);
	smp_mb__after_atomic(); /* before the states change, like v->unflushed */
	for (b = next_block(v, 0, v->nr_blocks, mirrored_marks); b < v->nr_blocks;
	     b = next_block(v, b + 1, v->nr_blocks, mirrored_marks)) {
		if (shadow_apply(v, b, event, &step))
			n++;
		if (!(n % 4096))
			cond_resched();
	}
	up_write(&v->phase_lock);
	atomic64_add(n, &v->stale);
	DMERR_LIMIT("%s: the %s failed; %lu mirrored blocks live on the other leg only now",
		    v->name, leg == SHADOW_LEG_ORIGIN ? "origin" : "target", n);
	shadow_raise_event(v);
}

/* What a home leg's cache held may be gone: its copies, and what clean shadows over it rely on. */
void shadow_home_flush_failed(struct shadow_volume *v, u8 leg)
{
	atomic_or(1u << leg, &v->suspect);	/* in read-only mode, too: no more flushes */
	shadow_drop_leg(v, leg);
}
