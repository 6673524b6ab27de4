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

/* --- zeroes ------------------------------------------------------------------ */

static void zeroed(int read_err, unsigned long write_err, void *context)
{
	struct shadow_part *part = context;

	part->status = read_err || write_err ? BLK_STS_IOERR : BLK_STS_OK;
	batch_end_one(part->io->batch);
}

static bool takes_zeroes(struct shadow_volume *v, u8 leg)
{
	return !(READ_ONCE(v->no_zeroes) & (1u << leg));
}

/*
 * Zeroes over a run of blocks of one leg, in the part's batch. @written: as data, and at once, for
 * a device that says it does REQ_OP_WRITE_ZEROES and does not, which nobody knows before it was
 * tried.
 */
static void zero_run(struct shadow_volume *v, u8 leg, u32 first, u32 count, bool written,
		     struct shadow_part *part)
{
	struct dm_io_region dest = {
		.bdev = v->legs[leg],
		.sector = shadow_block_start(v, first),
		.count = shadow_run_sectors(v, first, count),
	};
	int r;

	part->status = BLK_STS_OK;
	atomic_inc(&part->io->batch->pending);
	if (!written) {
		dm_kcopyd_zero(v->kc, 1, &dest, 0, zeroed, part);
		return;
	}
	r = blkdev_issue_zeroout(dest.bdev, dest.sector, dest.count, GFP_NOIO,
				 BLKDEV_ZERO_NOUNMAP);
	zeroed(0, r ? 1 : 0, part);
}

/* It took data after it had rejected zeroes. */
static void remember_no_zeroes(struct shadow_volume *v, u8 leg)
{
	if (takes_zeroes(v, leg))
		DMWARN("%s: the %s rejects zeroes: they are written as data from now on", v->name,
		       shadow_leg_name(leg));
	WRITE_ONCE(v->no_zeroes, v->no_zeroes | 1u << leg);
}

/* Waits. False: the leg has failed. */
static bool zero_leg(struct shadow_volume *v, u8 leg, u32 first, u32 count)
{
	bool written = !takes_zeroes(v, leg);
	struct shadow_batch batch;
	struct shadow_io io = { .batch = &batch };
	struct shadow_part part = { .io = &io };

	for (;;) {
		batch_init(&batch);
		zero_run(v, leg, first, count, written, &part);
		batch_wait(&batch);
		if (!part.status || written)
			break;
		written = true;
	}
	if (!part.status && written)
		remember_no_zeroes(v, leg);
	return !part.status;
}

/* --- before the first write ---------------------------------------------------- */

static void fill_start(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_ctx ctx = shadow_get_ctx(v, io->block);
	struct shadow_step done;
	u8 leg;

	/* where it will live says what has to be zeroed */
	ctx.missing |= shadow_avoided(v, io->block);
	done = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	io->filling = done.legal ? shadow_copies(done.next, &ctx) : 0;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		io->parts[leg].io = io;
		io->parts[leg].status = BLK_STS_OK;
		if (!(io->filling & (1u << leg)))
			continue;
		zero_run(v, leg, io->block, 1, !takes_zeroes(v, leg), &io->parts[leg]);
	}
}

/* Legs that failed get zeroes as data before they are believed to have failed. */
static void fill_again(struct shadow_volume *v, struct bio_list *claimed, u8 took)
{
	struct shadow_batch batch;
	struct bio *bio;
	u8 leg;

	batch_init(&batch);
	bio_list_for_each(bio, claimed) {
		struct shadow_io *io = shadow_io(bio);

		io->batch = &batch;
		io->tried = 0;
		for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
			if (!(took & (1u << leg)) || !io->parts[leg].status)
				continue;
			io->tried |= 1u << leg;
			zero_run(v, leg, io->block, 1, true, &io->parts[leg]);
		}
	}
	batch_wait(&batch);
	bio_list_for_each(bio, claimed) {
		struct shadow_io *io = shadow_io(bio);

		for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
			if ((io->tried & (1u << leg)) && !io->parts[leg].status)
				remember_no_zeroes(v, leg);
		io->tried = 0;
	}
}

enum fill_result {
	FILLED,
	FILL_FAILED,	/* no leg took the zeroes */
	FILL_LOST,	/* a leg may have lost them with its cache */
};

/*
 * The zeroes are on the legs: from hole to home, still busy. @doubted: v->doubted before they were
 * sent.
 */
static enum fill_result fill_to_home(struct shadow_volume *v, struct shadow_io *io, u32 doubted)
{
	struct shadow_step done;
	struct shadow_ctx ctx;
	u8 failed = 0, lost, copies;
	bool filled;
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (io->parts[leg].status) {
			failed |= 1u << leg;
			shadow_suspect(v, leg, true);
		}

	/*
	 * The phase may have changed since the fill began, and with it where the block lives. One
	 * step, not two: a leg that failed must not be read in between.
	 */
	down_read(&v->phase_lock);
	atomic_or(io->filling, &v->unflushed);
	lost = shadow_doubted_since(v, doubted);
	failed |= lost | shadow_avoided(v, io->block);
	ctx = shadow_get_ctx(v, io->block);
	ctx.missing |= failed;
	done = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	copies = done.legal ? shadow_copies(done.next, &ctx) : 0;
	if (hweight8(copies) == 1)
		atomic_or(copies, &v->sole);
	smp_mb__after_atomic(); /* before the state changes: see the commit rule in dm-shadow.h */
	filled = copies && !(copies & (failed | ~io->filling)) &&
		 __shadow_apply(v, io->block, SHADOW_EV_FILL_DONE, failed, NULL);
	if (filled)
		shadow_doubt(v, io->block, copies);
	if (filled && failed)
		atomic64_inc(&v->stale);
	up_read(&v->phase_lock);
	return filled ? FILLED : lost ? FILL_LOST : FILL_FAILED;
}

/* Before the commit flushed them, on each leg that the block lives on: it is ours, and busy. */
static bool zeroes_lost(struct shadow_volume *v, u32 block, u32 doubted)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	u8 copies = shadow_copies(READ_ONCE(v->map[block]), &ctx);

	return !(copies & ~shadow_doubted_since(v, doubted));
}

/* It is a hole again: the write begins anew, or is over. */
static void fill_undo(struct shadow_volume *v, struct bio *bio, bool again)
{
	shadow_apply_own(v, shadow_io(bio)->block, SHADOW_EV_FILL_FAILED);
	if (again)
		shadow_route_again(v, bio);
	else
		shadow_finish_bio(bio, BLK_STS_IOERR);
}

/*
 * 1. claim the blocks, 2. zero them where they will live, 3. make "no hole" durable (the commit
 * flushes the zeroes first), 4. let the writes go. Until 3 a crash leaves a hole.
 */
void shadow_do_fills(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list claimed = BIO_EMPTY_LIST, filled = BIO_EMPTY_LIST;
	u32 doubted = READ_ONCE(v->doubted);
	u8 took = ~READ_ONCE(v->no_zeroes);
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
		fill_start(v, bio);
	}
	batch_wait(&batch);
	fill_again(v, &claimed, took);

	while ((bio = bio_list_pop(&claimed))) {
		enum fill_result result = fill_to_home(v, shadow_io(bio), doubted);

		if (result == FILLED)
			bio_list_add(&filled, bio);
		else
			fill_undo(v, bio, result == FILL_LOST);
	}
	r = bio_list_empty(&filled) ? 0 : shadow_commit(v);
	while ((bio = bio_list_pop(&filled))) {
		if (r || zeroes_lost(v, shadow_io(bio)->block, doubted)) {
			fill_undo(v, bio, !r);
			continue;
		}
		atomic64_inc(&v->filled);
		shadow_apply_own(v, shadow_io(bio)->block, SHADOW_EV_RELEASE);
		shadow_route_again(v, bio);
	}
	shadow_release_parked(v);
}

/* --- on request ------------------------------------------------------------- */

/* Holes of [first, first + count) that we made busy become data. */
bool shadow_fill_run(struct shadow_volume *v, u32 first, u32 count)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, first);
	u32 doubted = READ_ONCE(v->doubted);
	struct shadow_step to;
	u8 legs, copies, avoided, leg;
	bool ok;
	u32 b;

	ctx.missing |= shadow_avoided(v, first);
	to = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	legs = to.legal ? shadow_copies(to.next, &ctx) : 0;
	ok = legs;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS && ok; leg++) {
		if ((legs & (1u << leg)) && !zero_leg(v, leg, first, count)) {
			shadow_suspect(v, leg, true);
			shadow_note_error(v, "write", leg, first);
			atomic64_inc(&v->copy_errors);
			ok = false;
		}
	}
	/*
	 * As in fill_to_home(): legs may have failed since, one or both, and where the blocks live
	 * now must have been zeroed.
	 */
	down_read(&v->phase_lock);
	avoided = shadow_avoided(v, first) | shadow_doubted_since(v, doubted);
	ctx = shadow_get_ctx(v, first);
	ctx.missing |= avoided;
	to = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
	copies = to.legal ? shadow_copies(to.next, &ctx) : 0;
	ok = ok && copies && !(copies & ~legs);
	atomic_or(copies, &v->unflushed);
	if (hweight8(copies) == 1)
		atomic_or(copies, &v->sole);
	smp_mb__after_atomic(); /* before the states change: see the commit rule in dm-shadow.h */
	for (b = first; b < first + count && ok; b++) {
		ok = __shadow_apply(v, b, SHADOW_EV_FILL_DONE, avoided, NULL);
		shadow_doubt(v, b, copies);
	}
	up_read(&v->phase_lock);
	ok = ok && !shadow_commit(v) && !zeroes_lost(v, first, doubted);
	for (b = first; b < first + count; b++)
		shadow_apply_own(v, b, ok ? SHADOW_EV_RELEASE : SHADOW_EV_FILL_FAILED);
	if (ok)
		atomic64_add(count, &v->filled);
	shadow_release_parked(v);
	return ok;
}
