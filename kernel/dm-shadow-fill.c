// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holes become data: before their first write (a list of bios from the slow worker), or because
 * user space asked for it (the mover).
 *
 * Either way: claim the blocks, zero them where they will live, make "no hole" durable, release.
 * The commit flushes the zeroes first, so that until it is over a crash leaves a hole, and never
 * what was on the device before.
 *
 * Context: process; waits for device I/O and commits.
 */
#include <linux/bitops.h>

#include "dm-shadow.h"

/* Writes zeroes over a run of blocks of one leg; @fn is called when it is done. */
static void zero_run(struct shadow_volume *v, u8 leg, u32 first, u32 count,
		     dm_kcopyd_notify_fn fn, void *context)
{
	struct dm_io_region dest = {
		.bdev = v->legs[leg],
		.sector = shadow_block_start(v, first),
		.count = shadow_run_sectors(v, first, count),
	};

	dm_kcopyd_zero(v->kc, 1, &dest, 0, fn, context);
}

static void batch_init(struct shadow_batch *b)
{
	atomic_set(&b->pending, 1);
	init_completion(&b->done);
}

static void batch_end_one(struct shadow_batch *b)
{
	if (atomic_dec_and_test(&b->pending))
		complete(&b->done);
}

static void batch_wait(struct shadow_batch *b)
{
	batch_end_one(b);
	wait_for_completion_io(&b->done);
}

static void fill_zeroed(int read_err, unsigned long write_err, void *context)
{
	struct shadow_part *part = context;

	part->status = read_err || write_err ? BLK_STS_IOERR : BLK_STS_OK;
	batch_end_one(part->io->batch);
}

static void fill_start(struct shadow_volume *v, struct bio *bio, struct shadow_batch *batch)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_ctx ctx = shadow_get_ctx(v, io->block);
	struct shadow_step done;
	u8 leg;

	/* where it will live says what has to be zeroed */
	done = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	io->filling = done.legal ? shadow_copies(done.next, &ctx) : 0;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		io->parts[leg].io = io;
		io->parts[leg].status = BLK_STS_OK;
		if (!(io->filling & (1u << leg)))
			continue;
		atomic_inc(&batch->pending);
		zero_run(v, leg, io->block, 1, fill_zeroed, &io->parts[leg]);
	}
}

/* The zeroes are on the legs: from hole to home, still busy. False: no leg took them. */
static bool fill_to_home(struct shadow_volume *v, struct shadow_io *io)
{
	struct shadow_step done;
	struct shadow_ctx ctx;
	u8 failed = 0, copies;
	bool filled;
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (io->parts[leg].status)
			failed |= 1u << leg;

	/*
	 * The phase may have changed since the fill began, and with it where the block lives. One
	 * step, not two: a leg that failed must not be read in between.
	 */
	down_read(&v->phase_lock);
	atomic_or(io->filling, &v->unflushed);
	ctx = shadow_get_ctx(v, io->block);
	ctx.missing |= failed;
	done = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	copies = done.legal ? shadow_copies(done.next, &ctx) : 0;
	if (hweight8(copies) == 1)
		atomic_or(copies, &v->sole);
	smp_mb__after_atomic(); /* before the state changes: see the commit rule in dm-shadow.h */
	filled = copies && !(copies & (failed | ~io->filling)) &&
		 __shadow_apply(v, io->block, SHADOW_EV_FILL_DONE, failed, NULL);
	if (filled && failed)
		atomic64_inc(&v->stale);
	up_read(&v->phase_lock);
	return filled;
}

/*
 * 1. claim the blocks, 2. zero them where they will live, 3. make "no hole" durable (the commit
 * flushes the zeroes first), 4. let the writes go. Until 3 a crash leaves a hole.
 */
void shadow_do_fills(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list claimed = BIO_EMPTY_LIST, filled = BIO_EMPTY_LIST;
	struct shadow_batch batch;
	struct bio *bio;
	int r;

	batch_init(&batch);
	while ((bio = bio_list_pop(bios))) {
		if (!shadow_apply(v, shadow_io(bio)->block, SHADOW_EV_FILL_START, NULL)) {
			shadow_route_again(v, bio);	/* somebody else fills or has filled it */
			continue;
		}
		shadow_io(bio)->batch = &batch;
		bio_list_add(&claimed, bio);
		fill_start(v, bio, &batch);
	}
	batch_wait(&batch);

	while ((bio = bio_list_pop(&claimed))) {
		if (fill_to_home(v, shadow_io(bio))) {
			bio_list_add(&filled, bio);
			continue;
		}
		shadow_apply_own(v, shadow_io(bio)->block, SHADOW_EV_FILL_FAILED);
		shadow_finish_bio(bio, BLK_STS_IOERR);
	}
	r = bio_list_empty(&filled) ? 0 : shadow_commit(v);
	while ((bio = bio_list_pop(&filled))) {
		u32 block = shadow_io(bio)->block;

		if (r) {
			shadow_apply_own(v, block, SHADOW_EV_FILL_FAILED);
			shadow_finish_bio(bio, BLK_STS_IOERR);
			continue;
		}
		atomic64_inc(&v->filled);
		shadow_apply_own(v, block, SHADOW_EV_RELEASE);
		shadow_route_again(v, bio);
	}
	shadow_release_parked(v);
}

/* --- on request ------------------------------------------------------------- */

struct fill_wait {
	struct completion done;
	bool failed;
};

static void fill_run_zeroed(int read_err, unsigned long write_err, void *context)
{
	struct fill_wait *w = context;

	w->failed = read_err || write_err;
	complete(&w->done);
}

/* Holes of [first, first + count) that we made busy become data. */
bool shadow_fill_run(struct shadow_volume *v, u32 first, u32 count)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, first);
	struct shadow_step to = shadow_transition(SHADOW_FILLING | SHADOW_BUSY,
						  SHADOW_EV_FILL_DONE, &ctx);
	u8 legs = to.legal ? shadow_copies(to.next, &ctx) : 0;
	bool ok = legs;
	u32 b;
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS && ok; leg++) {
		struct fill_wait w = { .failed = false };

		if (!(legs & (1u << leg)))
			continue;
		init_completion(&w.done);
		zero_run(v, leg, first, count, fill_run_zeroed, &w);
		wait_for_completion_io(&w.done);
		if (w.failed) {
			shadow_note_error(v, "write", leg, first);
			atomic64_inc(&v->copy_errors);
			ok = false;
		}
	}
	down_read(&v->phase_lock);
	atomic_or(legs, &v->unflushed);
	if (hweight8(legs) == 1)
		atomic_or(legs, &v->sole);
	smp_mb__after_atomic(); /* before the states change: see the commit rule in dm-shadow.h */
	for (b = first; b < first + count && ok; b++)
		ok = shadow_apply(v, b, SHADOW_EV_FILL_DONE, NULL);
	up_read(&v->phase_lock);
	ok = ok && !shadow_commit(v);
	for (b = first; b < first + count; b++)
		shadow_apply_own(v, b, ok ? SHADOW_EV_RELEASE : SHADOW_EV_FILL_FAILED);
	if (ok)
		atomic64_add(count, &v->filled);
	shadow_release_parked(v);
	return ok;
}
