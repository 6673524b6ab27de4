// SPDX-License-Identifier: GPL-2.0-only
/*
 * States of a modification that is over: after "commit" and "abort" they still tell of it. In the
 * steady phase every state but "hole" means the same, so the volume runs on with them, and they are
 * tidied up beside its I/O. The next modification must not find any: the constructor of its table
 * waits for the work, and its resume does what is left.
 *
 * As long as v->untidy is set the counters already count what the states will be; see
 * shadow_counted().
 *
 * Context: process, may sleep. The phase is steady and does not change meanwhile: it does so only
 * at a resume, and shadow_tidy_stop() was called before.
 */
#include "dm-shadow.h"

#define CHUNK 4096u

/* What the state byte is to be; false: it is busy, and will say something else soon. */
static bool tidy_block(struct shadow_volume *v, u32 b, const struct shadow_ctx *ctx)
{
	struct shadow_step step;
	u8 state;

	do {
		state = READ_ONCE(v->map[b]);
		if (shadow_home(state) == SHADOW_HOLE || shadow_home(state) == SHADOW_FILLING)
			return true;
		if (state & SHADOW_BUSY)
			return shadow_home(state) == SHADOW_ORIGIN;
		step = shadow_transition(state, SHADOW_EV_STEADY, ctx);
		if (!step.legal)
			return true;
	} while (step.next != state && cmpxchg(&v->map[b], state, step.next) != state);
	return true;
}

static void tidy(struct shadow_volume *v, bool may_stop)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, 0);
	u32 b = v->tidy_next;

	while (b < v->nr_tracked) {
		if (may_stop && READ_ONCE(v->tidy_stop))
			break;
		if (!tidy_block(v, b, &ctx)) {
			schedule_timeout_uninterruptible(1);
			continue;
		}
		if (!(++b % CHUNK))
			cond_resched();
	}
	v->tidy_next = b;
	if (b >= v->nr_tracked)
		WRITE_ONCE(v->untidy, false);
}

void shadow_tidy_work(struct work_struct *work)
{
	tidy(container_of(work, struct shadow_volume, tidy_work), true);
}

/* The volume runs: what there is to tidy is done beside it. */
void shadow_tidy_start(struct shadow_volume *v)
{
	WRITE_ONCE(v->tidy_stop, false);
	/* a queue of its own would wait for nothing; v->wq's rescuer has more urgent work */
	if (READ_ONCE(v->untidy))
		queue_work(system_unbound_wq, &v->tidy_work);
}

/* Before a suspend ends, and before the volume does. It goes on where it stopped. */
void shadow_tidy_stop(struct shadow_volume *v)
{
	WRITE_ONCE(v->tidy_stop, true);
	cancel_work_sync(&v->tidy_work);
}

/* Until it is done, or was stopped. */
void shadow_tidy_wait(struct shadow_volume *v)
{
	if (READ_ONCE(v->untidy))
		flush_work(&v->tidy_work);
}

/* For a resume, which is alone. */
void shadow_tidy_now(struct shadow_volume *v)
{
	if (v->untidy)
		tidy(v, false);
}

#define ONES 0x0101010101010101ull

/** shadow_count_holes() - blocks of a range that are holes. Nobody changes them meanwhile. */
u32 shadow_count_holes(struct shadow_volume *v, u32 first, u32 end)
{
	u32 b = first, n = 0;

	for (; b < end && b % 8; b++)
		n += shadow_home(v->map[b]) == SHADOW_HOLE;
	for (; end - b >= 8; b += 8) {
		/* three bits of each byte are its home: one of them differs, or it is a hole */
		u64 x = (*(const u64 *)(v->map + b) & (7 * ONES)) ^ (SHADOW_HOLE * ONES);

		x |= x >> 1;
		x |= x >> 2;
		n += 8 - hweight64(x & ONES);
		if (!(b % (1u << 20)))
			cond_resched();
	}
	for (; b < end; b++)
		n += shadow_home(v->map[b]) == SHADOW_HOLE;
	return n;
}
