// SPDX-License-Identifier: GPL-2.0-only
/*
 * The path of every bio: shadow_map() and shadow_end_io().
 *
 * In the steady phase a bio costs one look at a state byte and one at a table of 256 answers
 * that shadow_route() gave in advance: no lock, no allocation. Everything else takes
 * map_slow(), which may allocate from mempools, and what has to wait for metadata or for
 * another bio is put on a list for the workers of dm-shadow-slow.c.
 *
 * Context: map in the submitter's, end_io in any, shadow_route_again() in a worker's.
 */
#include "dm-shadow.h"

/* Fills the table of answers for what may be decided from the state byte alone. */
void shadow_build_lut(struct shadow_volume *v)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, 0);
	unsigned int i;

	/* The answers wanted here do not depend on it: a tail block is never on one leg alone. */
	ctx.tail = false;

	for (i = 0; i < 256; i++) {
		struct shadow_route r = shadow_route(i, SHADOW_OP_READ, &ctx);
		struct shadow_route w = shadow_route(i, SHADOW_OP_WRITE, &ctx);
		bool usable = v->mode != SHADOW_MODE_FAIL;
		u8 leg = SHADOW_LUT_SLOW;

		if (usable && r.kind == SHADOW_ROUTE_LEG && !r.fallback && (i & SHADOW_READ))
			leg = __ffs(r.legs);
		WRITE_ONCE(v->lut[0][i], leg);

		leg = SHADOW_LUT_SLOW;
		/* with two legs every write has to enter the epoch */
		if (usable && ctx.phase == SHADOW_STEADY && w.kind == SHADOW_ROUTE_LEG &&
		    (i & SHADOW_WROTE))
			leg = __ffs(w.legs);
		WRITE_ONCE(v->lut[1][i], leg);
	}
}

static struct block_device *leg_bdev(struct shadow_volume *v, u8 leg)
{
	return READ_ONCE(v->legs[leg]);
}

static void send_to(struct shadow_volume *v, struct bio *bio, u8 leg)
{
	struct shadow_io *io = shadow_io(bio);

	io->leg = leg;
	bio_set_dev(bio, leg_bdev(v, leg));
}

/* Ends a bio we own (map returned SUBMITTED, or end_io INCOMPLETE). */
void shadow_finish_bio(struct bio *bio, blk_status_t status)
{
	shadow_unwatch(bio);
	bio->bi_status = status;
	bio_endio(bio);
}

/* --- mirrored writes ------------------------------------------------------ */

/*
 * All parts of a mirrored write have ended. True: *status is final. False: the bio has been
 * handed to the worker, which marks the failed copy stale before the write is acknowledged.
 */
static bool mirrored_write_over(struct bio *bio, blk_status_t *status)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_volume *v = io->v;
	blk_status_t o = io->parts[SHADOW_LEG_ORIGIN].status;
	blk_status_t t = io->parts[SHADOW_LEG_TARGET].status;

	u8 epoch = io->epoch;

	if (unlikely(!o != !t)) {
		/* Listed, counted, then it leaves: who drained sees every failure until then. */
		atomic_inc(&v->failing);
		shadow_defer(v, &v->failed, bio);
		shadow_epoch_leave(&v->epoch, epoch);
		return false;
	}
	shadow_epoch_leave(&v->epoch, epoch);
	*status = o;
	return true;
}

static void mirrored_clone_end(struct bio *clone)
{
	struct bio *bio = clone->bi_private;
	struct shadow_io *io = shadow_io(bio);
	blk_status_t status = clone->bi_status;

	io->parts[SHADOW_LEG_ORIGIN].status = status;
	bio_put(clone);
	if (atomic_dec_and_test(&io->pending) && mirrored_write_over(bio, &status))
		shadow_finish_bio(bio, status);
}

/* The bio itself goes to the target, a clone of it to the origin. */
static int map_mirrored_write(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	struct bio *clone;

	shadow_watch(bio, SHADOW_IO_MIRRORED);
	atomic_set(&io->pending, 2);
	clone = bio_alloc_clone(leg_bdev(v, SHADOW_LEG_ORIGIN), bio, GFP_NOIO, &v->bs);
	clone->bi_opf &= ~REQ_POLLED;
	clone->bi_private = bio;
	clone->bi_end_io = mirrored_clone_end;
	send_to(v, bio, SHADOW_LEG_TARGET);
	atomic64_inc(&v->mirrored_writes);
	submit_bio_noacct(clone);
	return DM_MAPIO_REMAPPED;
}

/* --- read policy "mirror": both legs, the first good answer wins ---------- */

#define RACE_MAX_SECTORS 2048u

struct shadow_race {
	struct shadow_volume *v;
	struct bio *bio;
	struct bio *legs[SHADOW_NR_HOME_LEGS];
	atomic_t refs;
	atomic_t won;		/* the first to set it answers */
};

static void race_free_bio(struct bio *b)
{
	if (!b)
		return;
	bio_free_pages(b);
	bio_put(b);
}

static void race_end(struct bio *b)
{
	struct shadow_race *race = b->bi_private;
	struct shadow_volume *v = race->v;
	struct bio *bio = race->bio;
	bool last;

	if (!b->bi_status && !atomic_xchg(&race->won, 1)) {
		struct bvec_iter from = { .bi_size = bio->bi_iter.bi_size };
		struct bvec_iter to = bio->bi_iter;

		bio_copy_data_iter(bio, &to, b, &from);
		shadow_finish_bio(bio, BLK_STS_OK);
	}
	last = atomic_dec_and_test(&race->refs);
	if (!last)
		return;
	if (!atomic_read(&race->won))
		shadow_finish_bio(bio, BLK_STS_IOERR);
	race_free_bio(race->legs[0]);
	race_free_bio(race->legs[1]);
	kfree(race);
	if (atomic_dec_and_test(&v->strays))
		wake_up(&v->stray_wait);
}

static struct bio *race_bio(struct shadow_volume *v, u8 leg, struct bio *bio)
{
	unsigned int bytes = bio->bi_iter.bi_size;
	unsigned int nr = DIV_ROUND_UP(bytes, PAGE_SIZE);
	struct bio *b = bio_alloc(leg_bdev(v, leg), nr, bio->bi_opf & ~REQ_POLLED,
				  GFP_NOWAIT | __GFP_NOWARN);

	if (!b)
		return NULL;
	b->bi_iter.bi_sector = bio->bi_iter.bi_sector;
	while (bytes) {
		unsigned int n = min_t(unsigned int, bytes, PAGE_SIZE);
		struct page *page = alloc_page(GFP_NOWAIT | __GFP_NOWARN);

		if (!page || !bio_add_page(b, page, n, 0)) {
			if (page)
				__free_page(page);
			race_free_bio(b);
			return NULL;
		}
		bytes -= n;
	}
	return b;
}

/*
 * The loser may still be reading when the winner has answered, so neither may read into the
 * caller's pages. Without memory for that the read goes to one leg like any other.
 */
static bool map_race(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_race *race;
	u8 leg;

	if (bio_sectors(bio) > RACE_MAX_SECTORS)
		return false;
	race = kzalloc(sizeof(*race), GFP_NOWAIT | __GFP_NOWARN);
	if (!race)
		return false;
	race->v = v;
	race->bio = bio;
	atomic_set(&race->refs, SHADOW_NR_HOME_LEGS);
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		struct bio *b = race_bio(v, leg, bio);

		if (!b) {
			race_free_bio(race->legs[0]);
			kfree(race);
			return false;
		}
		b->bi_private = race;
		b->bi_end_io = race_end;
		race->legs[leg] = b;
	}
	atomic_inc(&v->strays);
	/* After the last submit the race may be gone. */
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		submit_bio_noacct(race->legs[leg]);
	return true;
}

/* --- one bio inside one block --------------------------------------------- */

static int fail_bio(struct bio *bio, blk_status_t status)
{
	shadow_finish_bio(bio, status);
	return DM_MAPIO_SUBMITTED;
}

/* Waits for the block to become idle and the gate to open. False: they are already. */
static bool park(struct shadow_volume *v, struct bio *bio, u32 block)
{
	unsigned long flags;
	bool busy;

	spin_lock_irqsave(&v->lock, flags);
	busy = (READ_ONCE(v->map[block]) & SHADOW_BUSY) || atomic_read(&v->gate);
	if (busy)
		bio_list_add(&v->parked, bio);
	spin_unlock_irqrestore(&v->lock, flags);
	return busy;
}

static int map_read(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	struct shadow_route r;
	u8 state;

	do {
		state = READ_ONCE(v->map[block]);
	} while (!(state & SHADOW_READ) &&
		 cmpxchg(&v->map[block], state, state | SHADOW_READ) != state);

	r = shadow_route(state, SHADOW_OP_READ, &ctx);
	io->iter = bio->bi_iter;
	io->tried = 0;

	switch (r.kind) {
	case SHADOW_ROUTE_RACE:
		if (map_race(v, bio))
			return DM_MAPIO_SUBMITTED;
		r.legs = SHADOW_MASK_TARGET;
		break;
	case SHADOW_ROUTE_BALANCE:
		r.legs = 1u << (READ_ONCE(v->toggle) & 1);
		WRITE_ONCE(v->toggle, v->toggle + 1);
		break;
	case SHADOW_ROUTE_LEG:
		break;
	case SHADOW_ROUTE_ZERO:
		zero_fill_bio(bio);
		return fail_bio(bio, BLK_STS_OK);
	default:
		return fail_bio(bio, BLK_STS_IOERR);
	}
	/* Another copy may appear while it is under way: let end_io look for one. */
	if (ctx.phase != SHADOW_STEADY)
		shadow_watch(bio, SHADOW_IO_READ);
	send_to(v, bio, __ffs(r.legs));
	return DM_MAPIO_REMAPPED;
}

static int map_both(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = shadow_io(bio);
	u32 region = block >> SHADOW_REGION_SHIFT;

	if (unlikely(!test_bit(region, v->intent))) {
		shadow_epoch_leave(&v->epoch, io->epoch);
		shadow_defer(v, &v->intents, bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (!test_bit(region, v->intent_recent))
		set_bit(region, v->intent_recent);
	return map_mirrored_write(v, bio);
}

/*
 * The epoch is entered before the state is read: from the moment a mover has changed the state
 * and drained, no write is under way that was routed by the old one.
 */
static int map_write(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_route r;
	struct shadow_ctx ctx;
	u8 state, next;

	io->iter = bio->bi_iter;
again:
	io->epoch = shadow_epoch_enter(&v->epoch);
	ctx = shadow_get_ctx(v, block);
	state = READ_ONCE(v->map[block]);
	r = shadow_route(state, SHADOW_OP_WRITE, &ctx);
	/* entered, then looked at: pairs with shadow_gate_close() */
	if (unlikely(atomic_read(&v->gate)))
		r.kind = SHADOW_ROUTE_WAIT;

	switch (r.kind) {
	case SHADOW_ROUTE_LEG:
	case SHADOW_ROUTE_MARK:
	case SHADOW_ROUTE_BOTH:
		next = shadow_transition(state, SHADOW_EV_WRITE, &ctx).next | SHADOW_WROTE;
		if (next != state && cmpxchg(&v->map[block], state, next) != state) {
			shadow_epoch_leave(&v->epoch, io->epoch);
			goto again;
		}
		if (r.kind == SHADOW_ROUTE_BOTH)
			return map_both(v, bio, block);
		shadow_watch(bio, SHADOW_IO_COUNTED);
		send_to(v, bio, __ffs(r.legs));
		return DM_MAPIO_REMAPPED;
	default:
		break;
	}

	shadow_epoch_leave(&v->epoch, io->epoch);
	switch (r.kind) {
	case SHADOW_ROUTE_FILL:
		/* also zeroes: after a commit that failed the hole may be there in memory alone */
		if (READ_ONCE(v->mode) != SHADOW_MODE_RW)
			return fail_bio(bio, BLK_STS_IOERR);
		if (bio_op(bio) == REQ_OP_WRITE_ZEROES)
			return fail_bio(bio, BLK_STS_OK);
		shadow_defer(v, &v->fills, bio);
		return DM_MAPIO_SUBMITTED;
	case SHADOW_ROUTE_WAIT:
		/* the gate opens after a commit, and there will be none */
		if (READ_ONCE(v->mode) != SHADOW_MODE_RW && atomic_read(&v->gate))
			return fail_bio(bio, BLK_STS_IOERR);
		if (!park(v, bio, block))
			goto again;
		return DM_MAPIO_SUBMITTED;
	case SHADOW_ROUTE_NO_SPACE:
		return fail_bio(bio, BLK_STS_NOSPC);
	default:
		return fail_bio(bio, BLK_STS_IOERR);
	}
}

static int map_one(struct shadow_volume *v, struct bio *bio)
{
	u32 block = shadow_io(bio)->block;

	return op_is_write(bio_op(bio)) ? map_write(v, bio, block) : map_read(v, bio, block);
}

/* For bios that waited on one of our lists. */
void shadow_route_again(struct shadow_volume *v, struct bio *bio)
{
	if (READ_ONCE(v->mode) == SHADOW_MODE_FAIL)
		shadow_finish_bio(bio, BLK_STS_IOERR);
	else if (map_one(v, bio) == DM_MAPIO_REMAPPED)
		submit_bio_noacct(bio);
}

/* --- what the fast path did not take -------------------------------------- */

/*
 * One empty flush comes per leg: a leg that holds nothing needs none. A missing leg cannot say that
 * what only it holds is durable, and what its cache held may be gone. A discard of such a block
 * counts once it is durable.
 */
static int map_flush(struct shadow_volume *v, struct bio *bio)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };
	unsigned int leg = dm_bio_get_target_bio_nr(bio);
	bool idle = w.phase == SHADOW_STEADY ? leg != w.steady_leg : (w.missing >> leg) & 1;

	if (leg >= SHADOW_NR_HOME_LEGS)
		return fail_bio(bio, BLK_STS_OK);
	if (w.phase != SHADOW_STEADY && ((w.missing >> leg) & 1)) {
		bool only = shadow_only_on(v, leg);

		smp_rmb(); /* pairs with do_discards(): given up before the counters change */
		if (only || atomic_read(&v->given_up))
			return fail_bio(bio, BLK_STS_IOERR);
	}
	if (idle || !leg_bdev(v, leg))
		return fail_bio(bio, BLK_STS_OK);
	if (w.phase != SHADOW_STEADY)
		shadow_watch(bio, SHADOW_IO_FLUSH);
	send_to(v, bio, leg);
	return DM_MAPIO_REMAPPED;
}

/*
 * Whole blocks become holes, in the worker. A piece of a block is passed on while one leg holds
 * everything; with two legs it is left alone, because the copies might differ afterwards.
 */
static int map_discard(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	sector_t start = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	sector_t size = (sector_t)1 << v->shift;
	sector_t first = round_up(start, size);
	sector_t last = end == v->len ? end : round_down(end, size);
	u8 leg;

	if (first < last && start == first) {
		dm_accept_partial_bio(bio, min_t(sector_t, last - first, bio_sectors(bio)));
		io->iter = bio->bi_iter;
		shadow_defer(v, &v->discards, bio);
		return DM_MAPIO_SUBMITTED;
	}
	/* up to the next block, or to the end */
	dm_accept_partial_bio(bio, min_t(sector_t, round_down(start, size) + size, end) - start);
	io->block = start >> v->shift;
	leg = v->lut[1][READ_ONCE(v->map[io->block]) | SHADOW_WROTE];
	if (leg == SHADOW_LUT_SLOW || !bdev_max_discard_sectors(leg_bdev(v, leg)))
		return fail_bio(bio, BLK_STS_OK);
	send_to(v, bio, leg);
	return DM_MAPIO_REMAPPED;
}

/* The whole bio goes to one leg, whatever the blocks it touches. */
static u8 common_leg(struct shadow_volume *v, struct bio *bio)
{
	u32 block = bio->bi_iter.bi_sector >> v->shift;
	u32 last = (bio_end_sector(bio) - 1) >> v->shift;
	const u8 *lut = v->lut[op_is_write(bio_op(bio))];
	u8 leg = lut[READ_ONCE(v->map[block])];

	while (leg != SHADOW_LUT_SLOW && block < last)
		if (lut[READ_ONCE(v->map[++block])] != leg)
			return SHADOW_LUT_SLOW;
	return leg;
}

static noinline int map_slow(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	sector_t start = bio->bi_iter.bi_sector;
	u32 room;
	u8 leg;

	io->v = v;
	shadow_unwatch(bio);
	io->block = start >> v->shift;

	if (unlikely(READ_ONCE(v->mode) == SHADOW_MODE_FAIL))
		return DM_MAPIO_KILL;
	if (!bio_sectors(bio))
		return map_flush(v, bio);

	switch (bio_op(bio)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
	case REQ_OP_WRITE_ZEROES:
		break;
	case REQ_OP_DISCARD:
		return map_discard(v, bio);
	default:
		return DM_MAPIO_KILL;
	}

	room = (1u << v->shift) - (start & ((1u << v->shift) - 1));
	if (bio_sectors(bio) > room) {
		leg = common_leg(v, bio);
		if (leg != SHADOW_LUT_SLOW) {
			send_to(v, bio, leg);
			return DM_MAPIO_REMAPPED;
		}
		dm_accept_partial_bio(bio, room);
	}
	return map_one(v, bio);
}

int shadow_map(struct dm_target *ti, struct bio *bio)
{
	struct shadow_volume *v = ((struct shadow_target *)ti->private)->v;
	sector_t sector = bio->bi_iter.bi_sector;
	unsigned int op = bio->bi_opf & REQ_OP_MASK;
	sector_t block = sector >> v->shift;

	BUILD_BUG_ON(REQ_OP_READ != 0 || REQ_OP_WRITE != 1);
	/* an empty flush, too, has its "end" in another block than its start */
	if (likely(op <= REQ_OP_WRITE &&
		   (sector + bio_sectors(bio) - 1) >> v->shift == block)) {
		u8 leg = v->lut[op][READ_ONCE(v->map[block])];

		if (likely(leg != SHADOW_LUT_SLOW)) {
			bio_set_dev(bio, v->legs[leg]);
			return DM_MAPIO_REMAPPED;
		}
	}
	return map_slow(v, bio);
}

int shadow_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct shadow_io *io = bio->bi_private;
	struct shadow_volume *v;

	if (likely(!io))
		return DM_ENDIO_DONE;

	v = io->v;
	switch (io->kind) {
	case SHADOW_IO_COUNTED:
		shadow_epoch_leave(&v->epoch, io->epoch);
		return DM_ENDIO_DONE;
	case SHADOW_IO_MIRRORED:
		io->parts[SHADOW_LEG_TARGET].status = *error;
		if (!atomic_dec_and_test(&io->pending))
			return DM_ENDIO_INCOMPLETE;
		return mirrored_write_over(bio, error) ? DM_ENDIO_DONE : DM_ENDIO_INCOMPLETE;
	case SHADOW_IO_READ:
	case SHADOW_IO_FLUSH:
		if (likely(!*error))
			return DM_ENDIO_DONE;
		if (io->kind == SHADOW_IO_READ)
			io->tried |= 1u << io->leg;
		shadow_defer(v, &v->failed, bio);
		return DM_ENDIO_INCOMPLETE;
	default:
		return DM_ENDIO_DONE;
	}
}
