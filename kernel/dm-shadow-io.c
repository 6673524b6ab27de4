// SPDX-License-Identifier: GPL-2.0-only
/*
 * The path of every bio: shadow_map() and shadow_end_io().
 *
 * In the steady phase a bio costs one look at a state byte and one at a table of 256 answers
 * that shadow_route() gave in advance: no lock, no allocation. What a shadow serves alone costs a
 * look at its word and the epoch. Everything else takes map_slow(), which may allocate from
 * mempools, and what has to wait for metadata or for another bio is put on a list for the workers
 * of dm-shadow-slow.c.
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
		/* bit SHADOW_SHADOW: the word decides */
		bool usable = v->mode != SHADOW_MODE_FAIL && !(i & SHADOW_SHADOW);
		u8 slow = i & SHADOW_SHADOW ? SHADOW_LUT_WORD : SHADOW_LUT_SLOW;
		u8 leg = slow;

		/* reads that may fetch are counted */
		if (usable && r.kind == SHADOW_ROUTE_LEG && !r.fallback && (i & SHADOW_READ) &&
		    !READ_ONCE(v->fetch_leg))
			leg = __ffs(r.legs);
		WRITE_ONCE(v->lut[i][0], leg);

		leg = slow;
		/* with two legs, or tiers, every write has to enter the epoch */
		if (usable && ctx.phase == SHADOW_STEADY && !v->words &&
		    w.kind == SHADOW_ROUTE_LEG && (i & SHADOW_WROTE))
			leg = __ffs(w.legs);
		WRITE_ONCE(v->lut[i][1], leg);
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

/* From the block's place on the volume to its slot. */
static inline void to_slot(struct shadow_volume *v, struct bio *bio, u32 word)
{
	bio->bi_iter.bi_sector = shadow_slot_start(v, word) |
				 (bio->bi_iter.bi_sector & v->mask);
}

/* Ends a bio we own (map returned SUBMITTED, or end_io INCOMPLETE). */
void shadow_finish_bio(struct bio *bio, blk_status_t status)
{
	shadow_unwatch(bio);
	bio->bi_status = status;
	bio_endio(bio);
}

/*
 * In the epoch, before the write looks at its block. A fetch that has claimed it, and then finds
 * none under way, need not drain: who comes later sees the claim, and marks it.
 */
static inline void shadow_fetch_write(struct shadow_volume *v, struct shadow_io *io)
{
	io->counted = READ_ONCE(v->counting) != SHADOW_COUNT_NONE;
	if (unlikely(io->counted))
		shadow_fetch_count(v, io);
}

/* When its device I/O has ended, and v->failing is raised if it has half failed. */
static inline void shadow_fetch_write_over(struct shadow_volume *v, struct shadow_io *io)
{
	if (unlikely(io->counted))
		shadow_fetch_uncount(v, io);
}

/* --- writes to several legs ------------------------------------------------ */

/*
 * All parts of a mirrored write have ended. True: *status is final. False: the bio has been
 * handed to the worker, which gives copies up before the write is acknowledged, or fails: also if
 * all of them failed, because they may differ now.
 */
static bool mirrored_write_over(struct bio *bio, blk_status_t *status)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_volume *v = io->v;
	u8 epoch = io->epoch, failed = 0;
	unsigned int left;

	for (left = io->sent; left; left &= left - 1) {
		u8 leg = __ffs(left);

		if (likely(!io->parts[leg].status))
			continue;
		failed |= 1u << leg;
		shadow_answered(v, leg, bio_op(bio), io->parts[leg].status);
	}
	if (unlikely(failed)) {
		/*
		 * Listed, counted, then it leaves: who drained sees every failure until then. The
		 * worker may have ended the bio by then, and nothing else keeps the volume.
		 */
		rcu_read_lock(); /* pairs with synchronize_rcu() in volume_free() */
		atomic_inc(&v->failing);
		shadow_fetch_write_over(v, io);
		shadow_defer(v, &v->failed, bio);
		shadow_epoch_leave(&v->epoch, epoch);
		rcu_read_unlock();
		return false;
	}
	shadow_fetch_write_over(v, io);
	shadow_epoch_leave(&v->epoch, epoch);
	*status = BLK_STS_OK;
	return true;
}

static void mirrored_clone_end(struct bio *clone)
{
	struct shadow_part *part = clone->bi_private;
	struct shadow_io *io = part->io;
	struct bio *bio = dm_bio_from_per_bio_data(io, sizeof(*io));
	blk_status_t status = clone->bi_status;

	part->status = status;
	bio_put(clone);
	if (atomic_dec_and_test(&io->pending) && mirrored_write_over(bio, &status))
		shadow_finish_bio(bio, status);
}

/* The bio itself goes to the target, or else the origin, clones of it to the other legs. */
static int map_mirrored_write(struct shadow_volume *v, struct bio *bio, u8 legs, u32 word)
{
	u8 own = legs & SHADOW_MASK_TARGET ? SHADOW_LEG_TARGET : SHADOW_LEG_ORIGIN;
	struct shadow_io *io = shadow_io(bio);
	struct bio *clones = NULL;
	unsigned int others;

	shadow_watch(bio, SHADOW_IO_MIRRORED);
	io->sent = legs;
	io->parts[own].status = BLK_STS_OK;
	atomic_set(&io->pending, hweight8(legs));
	for (others = legs & ~(1u << own); others; others &= others - 1) {
		u8 leg = __ffs(others);
		struct bio *clone;

		/* a pool for each, so that two that have one of two each do not wait for ever */
		clone = bio_alloc_clone(leg_bdev(v, leg), bio, GFP_NOIO,
					leg >= SHADOW_LEG_TIER1 ? &v->tier_bs : &v->bs);
		clone->bi_opf &= ~REQ_POLLED;
		io->parts[leg].io = io;
		clone->bi_private = &io->parts[leg];
		clone->bi_end_io = mirrored_clone_end;
		if (leg >= SHADOW_LEG_TIER1) {
			to_slot(v, clone, word);
			this_cpu_inc(v->hits->writes[leg - SHADOW_LEG_TIER1]);
		}
		clone->bi_next = clones;
		clones = clone;
	}
	send_to(v, bio, own);
	if ((legs & SHADOW_MASK_BOTH) == SHADOW_MASK_BOTH)
		shadow_epoch_count_mirrored(&v->epoch);
	while (clones) {
		struct bio *next = clones->bi_next;

		clones->bi_next = NULL;
		submit_bio_noacct(clones);
		clones = next;
	}
	return DM_MAPIO_REMAPPED;
}

/* --- one bio inside one block --------------------------------------------- */

static int fail_bio(struct bio *bio, blk_status_t status)
{
	shadow_finish_bio(bio, status);
	return DM_MAPIO_SUBMITTED;
}

/* The write is over, or is not sent as it was mapped. */
static noinline void leave_write(struct shadow_volume *v, struct shadow_io *io)
{
	shadow_fetch_write_over(v, io);
	shadow_epoch_leave(&v->epoch, io->epoch);
}

/*
 * Waits for the block to become idle and the gate to open. False: they are already, or the gate
 * will not open, because there are no commits any more: who ends them says so before it releases
 * what is parked, so the mode is looked at under the lock, too.
 */
static bool park(struct shadow_volume *v, struct bio *bio, u32 block)
{
	unsigned long flags;
	bool busy;
	u8 state;

	spin_lock_irqsave(&v->lock, flags);
	state = READ_ONCE(v->map[block]);
	busy = (state & SHADOW_BUSY) ||
	       (atomic_read(&v->gate) && READ_ONCE(v->mode) == SHADOW_MODE_RW) ||
	       shadow_word_in(shadow_word_of(v, block, state), SHADOW_LIVES_WAIT);
	if (busy) {
		shadow_hold(bio);
		bio_list_add(&v->parked, bio);
	}
	spin_unlock_irqrestore(&v->lock, flags);
	return busy;
}

/* Sets the access bit, and gives the state byte. */
static u8 note_read(struct shadow_volume *v, u32 block)
{
	u8 state;

	do {
		state = READ_ONCE(v->map[block]);
	} while (!(state & SHADOW_READ) &&
		 cmpxchg(&v->map[block], state, state | SHADOW_READ) != state);
	return state;
}

/*
 * The shadow serves it. In the epoch from before byte and word are read, so that the slot is not
 * given to another block meanwhile.
 */
static __always_inline void send_to_shadow(struct shadow_volume *v, struct bio *bio,
					   struct shadow_io *io, enum shadow_io_kind kind,
					   u32 word)
{
	u8 leg = shadow_word_leg(word);

	/* shadow_watch() and send_to(), without looking the per-bio data up again */
	io->kind = kind;
	io->leg = leg;
	bio->bi_private = io;
	if (kind == SHADOW_IO_TIER_READ)
		this_cpu_inc(v->hits->reads[leg - SHADOW_LEG_TIER1]);
	else
		this_cpu_inc(v->hits->writes[leg - SHADOW_LEG_TIER1]);
	to_slot(v, bio, word);
	bio_set_dev(bio, leg_bdev(v, leg));
}

/*
 * Until it is decided what a leg has lost the other one is read. No race: each would be a suspicion.
 */
static struct shadow_route avoid_suspects(struct shadow_volume *v, struct shadow_route r)
{
	unsigned int suspect = atomic_read(&v->suspect);
	u8 legs = (r.legs | r.fallback) & SHADOW_MASK_BOTH;
	u8 left = legs & ~(suspect | suspect >> SHADOW_SUSPECT_READ_SHIFT);

	if (r.kind != SHADOW_ROUTE_RACE && r.kind != SHADOW_ROUTE_BALANCE &&
	    r.kind != SHADOW_ROUTE_LEG)
		return r;
	if (hweight8(legs) == 2)
		r = (struct shadow_route){ SHADOW_ROUTE_LEG,
					   left ? left & -left : SHADOW_MASK_TARGET, 0 };
	return r;
}

static int map_read(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	struct shadow_tier_ctx tctx = shadow_get_tier_ctx(v);
	struct shadow_route r;
	u8 state;

	io->iter = bio->bi_iter;
	state = note_read(v, block);
	if (state & SHADOW_SHADOW) {
		u32 word;

		io->epoch = shadow_epoch_enter(&v->epoch);
		state = READ_ONCE(v->map[block]);
		word = shadow_word_of(v, block, state);
		r = shadow_tier_route(state, word, SHADOW_OP_READ, &ctx, &tctx).r;
		if (r.kind == SHADOW_ROUTE_LEG && (r.legs & SHADOW_MASK_TIERS & ~io->tried)) {
			send_to_shadow(v, bio, io, SHADOW_IO_TIER_READ, word);
			return DM_MAPIO_REMAPPED;
		}
		shadow_epoch_leave(&v->epoch, io->epoch);
	} else {
		r = shadow_route(state, SHADOW_OP_READ, &ctx);
	}
	/* sent again after a leg failed it: the others that are current */
	if (unlikely(io->tried)) {
		u8 left = (r.legs | r.fallback) & ~io->tried;

		if (left)
			r = (struct shadow_route){ SHADOW_ROUTE_LEG, left & -left, 0 };
		else if (r.kind != SHADOW_ROUTE_ZERO)
			r.kind = SHADOW_ROUTE_NO_COPY;
	}
	if (unlikely(atomic_read(&v->suspect)))
		r = avoid_suspects(v, r);
	io->counted = false;
	if (v->words && (r.kind == SHADOW_ROUTE_LEG || r.kind == SHADOW_ROUTE_BALANCE) &&
	    !io->tried && shadow_fetch_wait(v, bio))
		return DM_MAPIO_SUBMITTED;

	switch (r.kind) {
	case SHADOW_ROUTE_RACE:
		if (shadow_map_race(v, bio))
			return DM_MAPIO_SUBMITTED;
		r.legs = SHADOW_MASK_TARGET;
		break;
	case SHADOW_ROUTE_BALANCE:
		r.legs = 1u << (this_cpu_inc_return(v->epoch.counts->toggle) & 1);
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
	if (ctx.phase != SHADOW_STEADY || v->words)
		shadow_watch(bio, SHADOW_IO_READ);
	send_to(v, bio, __ffs(r.legs));
	return DM_MAPIO_REMAPPED;
}

static int map_several(struct shadow_volume *v, struct bio *bio, u32 block, u8 legs, u32 word)
{
	struct shadow_io *io = shadow_io(bio);
	u32 region = block >> SHADOW_REGION_SHIFT;

	if (unlikely(!test_bit(region, v->intent))) {
		leave_write(v, io);
		shadow_defer(v, &v->intents, bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (!test_bit(region, v->intent_recent))
		set_bit(region, v->intent_recent);
	return map_mirrored_write(v, bio, legs, word);
}

static int map_one_leg(struct shadow_volume *v, struct bio *bio, u8 legs, u32 word)
{
	u8 leg = __ffs(legs);

	if (leg >= SHADOW_LEG_TIER1) {
		send_to_shadow(v, bio, shadow_io(bio), SHADOW_IO_TIER_WRITE, word);
	} else {
		shadow_watch(bio, SHADOW_IO_COUNTED);
		send_to(v, bio, leg);
	}
	return DM_MAPIO_REMAPPED;
}

/*
 * The epoch is entered before the state is read: from the moment a mover has changed the state
 * and drained, no write is under way that was routed by the old one.
 */
static int map_write(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_tier_ctx tctx = shadow_get_tier_ctx(v);
	struct shadow_io *io = shadow_io(bio);
	struct shadow_tier_route t;
	struct shadow_route r;
	struct shadow_ctx ctx;
	u8 state, next;
	bool gated;
	u32 word;

	io->iter = bio->bi_iter;
again:
	io->epoch = shadow_epoch_enter(&v->epoch);
	shadow_fetch_write(v, io);
	/*
	 * Entered, then looked at: pairs with shadow_gate_close(). Looked at before byte and word:
	 * those of before a gate that has opened meanwhile may name a shadow that was given up.
	 */
	gated = atomic_read(&v->gate);
	smp_rmb(); /* pairs with shadow_gate_open() */
	ctx = shadow_get_ctx(v, block);
	state = READ_ONCE(v->map[block]);
	word = shadow_word_of(v, block, state);
	t = shadow_tier_route(state, word, SHADOW_OP_WRITE, &ctx, &tctx);
	r = t.r;
	if (unlikely(gated))
		r.kind = SHADOW_ROUTE_WAIT;

	switch (r.kind) {
	case SHADOW_ROUTE_LEG:
	case SHADOW_ROUTE_MARK:
	case SHADOW_ROUTE_BOTH:
		if (t.mark && cmpxchg(&v->words[block], word, word | SHADOW_WORD_WRITTEN) != word) {
			leave_write(v, io);
			goto again;
		}
		/* what the shadow takes alone does not touch home: no mark there */
		next = r.legs & SHADOW_MASK_BOTH ?
		       shadow_transition(state, SHADOW_EV_WRITE, &ctx).next : state;
		next |= SHADOW_WROTE;
		if (next != state && cmpxchg(&v->map[block], state, next) != state) {
			leave_write(v, io);
			goto again;
		}
		if (r.kind == SHADOW_ROUTE_BOTH)
			return map_several(v, bio, block, r.legs, word);
		return map_one_leg(v, bio, r.legs, word);
	default:
		break;
	}

	leave_write(v, io);
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
	case SHADOW_ROUTE_DIRTY:
		/* "dirty" could not be made durable */
		if (READ_ONCE(v->mode) != SHADOW_MODE_RW)
			return fail_bio(bio, BLK_STS_IOERR);
		shadow_defer(v, &v->dirties, bio);
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

/* --- what the fast path did not take -------------------------------------- */

/*
 * A tier is flushed while it has shadows, dirty or not: one that was dirty may have become clean
 * after home was flushed, and until that is committed the tier's copy counts.
 */
static int map_tier_flush(struct shadow_volume *v, struct bio *bio, u8 leg)
{
	if (leg >= SHADOW_NR_LEGS || !v->words)
		return fail_bio(bio, BLK_STS_OK);
	if (!leg_bdev(v, leg))
		return fail_bio(bio, atomic_read(&shadow_tier_of(v, leg)->dirty) ?
				     BLK_STS_IOERR : BLK_STS_OK);
	if (!READ_ONCE(shadow_tier_of(v, leg)->slots.used))
		return fail_bio(bio, BLK_STS_OK);
	shadow_watch(bio, SHADOW_IO_FLUSH);
	send_to(v, bio, leg);
	return DM_MAPIO_REMAPPED;
}

/*
 * An empty flush has no position: the one that comes before data is a clone that kept the sector of
 * the data. Nothing here looks at it, and the leg does not get to see it.
 *
 * One comes per leg: a leg that holds nothing needs none. A missing leg cannot say that what only
 * it holds is durable, and what its cache held may be gone. A discard of such a block counts once
 * it is durable. One that has failed gets none as long as nothing counts that it holds.
 */
static int map_flush(struct shadow_volume *v, struct bio *bio)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };
	unsigned int leg = dm_bio_get_target_bio_nr(bio);
	bool missing = (w.missing >> leg) & 1;
	bool idle = w.phase == SHADOW_STEADY ? leg != w.steady_leg : missing;

	bio->bi_iter.bi_sector = 0;
	/* until what a leg may have lost is given up, durably: see dm-shadow-doubt.c */
	if (unlikely(atomic_read(&v->suspect))) {
		if (READ_ONCE(v->mode) != SHADOW_MODE_RW)
			return fail_bio(bio, BLK_STS_IOERR);
		shadow_defer(v, &v->reroute, bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (leg >= SHADOW_NR_HOME_LEGS)
		return map_tier_flush(v, bio, leg);
	if (w.phase != SHADOW_STEADY && missing) {
		bool only = shadow_only_on(v, leg);

		smp_rmb(); /* pairs with do_discards(): given up before the counters change */
		if (only || atomic_read(&v->given_up))
			return fail_bio(bio, BLK_STS_IOERR);
	} else if (w.phase != SHADOW_STEADY && unlikely(READ_ONCE(v->no_flush))) {
		idle = !shadow_counts(v, leg);
		smp_rmb(); /* pairs with do_discards(), and with shadow_drop_leg() */
		idle &= !atomic_read(&v->punching) && ((READ_ONCE(v->no_flush) >> leg) & 1);
	}
	if (idle || !leg_bdev(v, leg))
		return fail_bio(bio, BLK_STS_OK);
	if (w.phase != SHADOW_STEADY || v->words)
		shadow_watch(bio, SHADOW_IO_FLUSH);
	send_to(v, bio, leg);
	return DM_MAPIO_REMAPPED;
}

/* For bios that waited on one of our lists. */
void shadow_route_again(struct shadow_volume *v, struct bio *bio)
{
	int r;

	if (READ_ONCE(v->mode) == SHADOW_MODE_FAIL) {
		shadow_finish_bio(bio, BLK_STS_IOERR);
		return;
	}
	r = bio_sectors(bio) ? map_one(v, bio) : map_flush(v, bio);
	if (r == DM_MAPIO_REMAPPED)
		submit_bio_noacct(bio);
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
	leg = v->lut[READ_ONCE(v->map[io->block]) | SHADOW_WROTE][1];
	if (leg >= SHADOW_LUT_WORD || !bdev_max_discard_sectors(leg_bdev(v, leg)))
		return fail_bio(bio, BLK_STS_OK);
	send_to(v, bio, leg);
	return DM_MAPIO_REMAPPED;
}

/* The whole bio goes to one leg, whatever the blocks it touches. */
static u8 common_leg(struct shadow_volume *v, struct bio *bio)
{
	u32 block = bio->bi_iter.bi_sector >> v->shift;
	u32 last = (bio_end_sector(bio) - 1) >> v->shift;
	bool write = op_is_write(bio_op(bio));
	u8 leg = v->lut[READ_ONCE(v->map[block])][write];

	while (leg < SHADOW_LUT_WORD && block < last)
		if (v->lut[READ_ONCE(v->map[++block])][write] != leg)
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
	io->tried = 0;
	io->waited = false;
	shadow_unwatch(bio);

	if (unlikely(READ_ONCE(v->mode) == SHADOW_MODE_FAIL))
		return DM_MAPIO_KILL;
	if (!bio_sectors(bio))
		return bio->bi_opf & REQ_PREFLUSH ? map_flush(v, bio) : fail_bio(bio, BLK_STS_OK);
	io->block = start >> v->shift;

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
		if (leg < SHADOW_LUT_WORD) {
			send_to(v, bio, leg);
			return DM_MAPIO_REMAPPED;
		}
		dm_accept_partial_bio(bio, room);
	}
	return map_one(v, bio);
}

/*
 * A read that the shadow serves, or a write that it takes alone, when nothing has to change first:
 * what map_one() would do with it, in fewer steps. Out of line, like map_slow(): what they need of
 * the stack must not cost the others. In fail mode there are no tiers.
 */
static __always_inline struct shadow_io *enter_shadowed(struct shadow_volume *v, struct bio *bio,
							u32 block)
{
	struct shadow_io *io = shadow_io(bio);

	io->v = v;
	io->block = block;
	io->iter = bio->bi_iter;
	io->tried = 0;
	io->counted = false;
	io->epoch = shadow_epoch_enter(&v->epoch);
	return io;
}

static noinline int map_shadowed_read(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = enter_shadowed(v, bio, block);
	u8 state = READ_ONCE(v->map[block]);
	u32 word = shadow_word_of(v, block, state);

	if (likely((state & SHADOW_READ) &&
		   shadow_word_serves(state, word, shadow_get_tier_ctx(v).tiers))) {
		send_to_shadow(v, bio, io, SHADOW_IO_TIER_READ, word);
		return DM_MAPIO_REMAPPED;
	}
	shadow_epoch_leave(&v->epoch, io->epoch);
	return map_slow(v, bio);
}

static noinline int map_shadowed_write(struct shadow_volume *v, struct bio *bio, u32 block)
{
	struct shadow_io *io = enter_shadowed(v, bio, block);
	bool gated = atomic_read(&v->gate);
	u8 state;
	u32 word;

	smp_rmb(); /* as in map_write() */
	state = READ_ONCE(v->map[block]);
	word = shadow_word_of(v, block, state);
	if (likely((state & (SHADOW_WROTE | SHADOW_BUSY)) == SHADOW_WROTE &&
		   shadow_life(word) == SHADOW_DIRTY && !gated &&
		   shadow_word_serves(state, word, shadow_get_tier_ctx(v).tiers))) {
		send_to_shadow(v, bio, io, SHADOW_IO_TIER_WRITE, word);
		return DM_MAPIO_REMAPPED;
	}
	shadow_epoch_leave(&v->epoch, io->epoch);
	return map_slow(v, bio);
}

int shadow_map(struct dm_target *ti, struct bio *bio)
{
	struct shadow_volume *v = ((struct shadow_target *)ti->private)->v;
	sector_t sector = bio->bi_iter.bi_sector;
	unsigned long op = bio->bi_opf & REQ_OP_MASK;
	sector_t block = sector >> v->shift;
	/*
	 * An empty bio has no position, whatever its sector is: with 32 bits for its length less
	 * one it never ends in the block it begins in, and map_slow() asks what it is.
	 */
	unsigned int to_last = bio_sectors(bio) - 1;

	BUILD_BUG_ON(REQ_OP_READ != 0 || REQ_OP_WRITE != 1);
	BUILD_BUG_ON(SHADOW_MAX_BLOCK_SECTORS > U32_MAX / 2);
	if (likely(op <= REQ_OP_WRITE && (sector + to_last) >> v->shift == block)) {
		u8 leg = v->lut[READ_ONCE(v->map[block])][op];

		if (likely(leg < SHADOW_LUT_WORD)) {
			bio_set_dev(bio, v->legs[leg]);
			return DM_MAPIO_REMAPPED;
		}
		if (leg == SHADOW_LUT_WORD)
			return op == REQ_OP_READ ? map_shadowed_read(v, bio, block) :
						   map_shadowed_write(v, bio, block);
	}
	return map_slow(v, bio);
}

static noinline int end_watched(struct shadow_io *io, struct bio *bio, blk_status_t *error)
{
	struct shadow_volume *v = io->v;

	switch (io->kind) {
	case SHADOW_IO_TIER_READ:	/* has failed: see shadow_end_io() */
		shadow_answered(v, io->leg, bio_op(bio), *error);
		shadow_epoch_leave(&v->epoch, io->epoch);
		io->tried |= 1u << io->leg;
		shadow_defer(v, &v->failed, bio);
		return DM_ENDIO_INCOMPLETE;
	case SHADOW_IO_TIER_WRITE:	/* likewise */
		shadow_answered(v, io->leg, bio_op(bio), *error);
		leave_write(v, io);
		/* who asks for zeroes writes them if that is the answer */
		if (!shadow_unsupported(bio_op(bio), *error)) {
			atomic64_inc(&v->tier_failures);
			shadow_raise_event(v);
		}
		return DM_ENDIO_DONE;
	case SHADOW_IO_COUNTED:
		if (unlikely(*error))
			shadow_answered(v, io->leg, bio_op(bio), *error);
		leave_write(v, io);
		return DM_ENDIO_DONE;
	case SHADOW_IO_MIRRORED:
		io->parts[io->leg].status = *error;
		if (!atomic_dec_and_test(&io->pending))
			return DM_ENDIO_INCOMPLETE;
		return mirrored_write_over(bio, error) ? DM_ENDIO_DONE : DM_ENDIO_INCOMPLETE;
	case SHADOW_IO_READ:
		if (io->counted)
			shadow_fetch_read_over(v, io);
		fallthrough;
	case SHADOW_IO_FLUSH:
		/* a flush is not over before the loss that it may not know of is durable */
		if (likely(!*error) &&
		    (io->kind == SHADOW_IO_READ || likely(!atomic_read(&v->suspect))))
			return DM_ENDIO_DONE;
		if (io->kind == SHADOW_IO_READ) {
			io->tried |= 1u << io->leg;
			shadow_answered(v, io->leg, bio_op(bio), *error);
		} else if (*error && io->leg < SHADOW_NR_HOME_LEGS &&
			   shadow_phase(v) == SHADOW_STEADY) {
			/* there is no other home: it is told so, and shadows are kept */
			shadow_suspect(v, io->leg, true);
			return DM_ENDIO_DONE;
		} else if (!*error && READ_ONCE(v->mode) != SHADOW_MODE_RW) {
			*error = BLK_STS_IOERR;
			return DM_ENDIO_DONE;
		}
		shadow_defer(v, &v->failed, bio);
		return DM_ENDIO_INCOMPLETE;
	default:
		return DM_ENDIO_DONE;
	}
}

int shadow_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct shadow_io *io = bio->bi_private;

	if (likely(!io))
		return DM_ENDIO_DONE;
	/* what shadows are for, if all is well: the stack that the rest needs must not cost it */
	if (likely(!*error)) {
		if (likely(io->kind == SHADOW_IO_TIER_READ)) {
			shadow_epoch_leave(&io->v->epoch, io->epoch);
			return DM_ENDIO_DONE;
		}
		if (likely(io->kind == SHADOW_IO_TIER_WRITE)) {
			leave_write(io->v, io);
			return DM_ENDIO_DONE;
		}
	}
	return end_watched(io, bio, error);
}
