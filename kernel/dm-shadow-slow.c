// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a bio cannot do at once.
 *
 * Three workers of the volume's workqueue (WQ_MEM_RECLAIM) take bios from lists, a whole list at
 * a time, so that many share one metadata commit:
 *
 *   slow_work     holes to be filled before their first write, failed reads, writes and flushes,
 *                 first writes to clean shadows, bios that waited for a busy block
 *   discard_work  discards of whole blocks: a leg may take seconds for them
 *   intent_work   mirrored writes that wait for their region's write-intent bit
 *
 * They wait for device I/O, copies in flight and commits; nothing they wait for waits for them, and
 * they do not wait for each other: with little memory one rescuer does the work of all.
 */
#include "dm-shadow.h"

#define SWEEP_INTERVAL (5 * HZ)
/*
 * Of so many sweeps one looks at write-intent bits. A first write to a region waits for a commit
 * with its flushes, and a database comes back to a page after seconds; what was written since the
 * last two of these sweeps is copied again after an unclean stop. (In user space each does, to be
 * judged more.)
 */
#ifndef SWEEPS_OF_INTENT
#define SWEEPS_OF_INTENT 6
#endif

/* From when it is listed the bio may end, and with the last one the volume. */
void shadow_defer(struct shadow_volume *v, struct bio_list *list, struct bio *bio)
{
	unsigned long flags;

	shadow_hold(bio);
	rcu_read_lock(); /* pairs with synchronize_rcu() in volume_free() */
	spin_lock_irqsave(&v->lock, flags);
	bio_list_add(list, bio);
	spin_unlock_irqrestore(&v->lock, flags);
	queue_work(v->wq, list == &v->intents ? &v->intent_work :
			  list == &v->discards ? &v->discard_work : &v->slow_work);
	rcu_read_unlock();
}

/* After the busy bit of any block was cleared. */
void shadow_release_parked(struct shadow_volume *v)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	bio_list_merge(&v->reroute, &v->parked);
	bio_list_init(&v->parked);
	spin_unlock_irqrestore(&v->lock, flags);
	queue_work(v->wq, &v->slow_work);
}

/*
 * From here until the gate is opened no write is mapped, and those mapped before are over: their
 * failures are on v->failed. With one leg there is no copy to lose, and no gate.
 */
void shadow_gate_close(struct shadow_volume *v)
{
	atomic_inc(&v->gate);
	shadow_drain(v);	/* begins with a barrier */
}

/* After the commit. If that failed the gate stays closed: writes fail in read-only mode. */
void shadow_gate_open(struct shadow_volume *v, unsigned int times)
{
	smp_mb__before_atomic(); /* what was changed, then open: pairs with map_write() */
	atomic_sub(times, &v->gate);
	shadow_release_parked(v);
}

static bool take(struct shadow_volume *v, struct bio_list *from, struct bio_list *to)
{
	unsigned long flags;

	bio_list_init(to);
	spin_lock_irqsave(&v->lock, flags);
	bio_list_merge(to, from);
	bio_list_init(from);
	spin_unlock_irqrestore(&v->lock, flags);
	return !bio_list_empty(to);
}

static void do_reroute(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios)))
		shadow_route_again(v, bio);
}

/* --- discards ------------------------------------------------------------- */

#define DISCARD_CHUNK 65536u	/* blocks: busy until their commit, and others wait for that */

static void discard_run(struct shadow_volume *v, u32 first, u32 count)
{
	sector_t start = shadow_block_start(v, first);
	sector_t nr = shadow_run_sectors(v, first, count);
	u8 leg;
	int r;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		struct block_device *bdev = v->legs[leg];

		if (!bdev || !bdev_max_discard_sectors(bdev) || start + nr > bdev_nr_sectors(bdev))
			continue;
		if (leg == SHADOW_LEG_ORIGIN && first + count > v->tail)
			continue;
		/* Only a hint to the leg: what it answers changes nothing for these blocks. */
		r = blkdev_issue_discard(bdev, start, nr, GFP_NOIO);
		shadow_answered(v, leg, REQ_OP_DISCARD, errno_to_blk_status(r));
	}
}

static u32 discard_first(struct shadow_volume *v, struct bio *bio)
{
	return shadow_io(bio)->iter.bi_sector >> v->shift;
}

static u32 discard_end(struct shadow_volume *v, struct bio *bio)
{
	struct bvec_iter *it = &shadow_io(bio)->iter;
	sector_t end = it->bi_sector + (it->bi_size >> SECTOR_SHIFT);

	return shadow_nr_blocks(end, 1u << v->shift);
}

/*
 * Ours are the blocks that are HOLE and busy: only a discard makes that state, and discards are
 * done here only, one batch after the other.
 */
static bool punched(struct shadow_volume *v, u32 block)
{
	u8 state = READ_ONCE(v->map[block]);

	return (state & SHADOW_BUSY) && shadow_home(state) == SHADOW_HOLE;
}

/* The shadows of the holes of one bio end: -EIO if that could not be made durable. */
static int discard_shadows(struct shadow_volume *v, u32 first, u32 end)
{
	struct shadow_blocks blocks = { .first = first, .n = end - first };
	bool any = false;
	u32 b;

	for (b = first; b < end; b++) {
		u8 state = READ_ONCE(v->map[b]);

		if ((state & SHADOW_SHADOW) && punched(v, b))
			any |= shadow_tier_apply(v, b, SHADOW_TEV_DISCARD, NULL);
	}
	return any ? shadow_finish_drops(v, &blocks) : 0;
}

/* Steps 5 and 6 of do_discards() for one bio. */
static void discard_release(struct shadow_volume *v, u32 block, u32 end, bool durable)
{
	while (block < end) {
		u32 first = block;

		while (block < end && punched(v, block))
			block++;
		if (durable && block > first)
			discard_run(v, first, block - first);
		for (; first < block; first++)
			shadow_apply_own(v, first, SHADOW_EV_RELEASE);
		if (block < end)
			block++;
	}
}

/* The block's only copy is on a leg that is missing. */
static bool out_of_reach(struct shadow_volume *v, u32 block)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	u8 copies = shadow_copies(READ_ONCE(v->map[block]), &ctx);

	return copies && !(copies & ~ctx.missing);
}

/*
 * 1. make the blocks busy holes, 2. wait for writes and copies that were under way, 3. make the
 * holes durable, 4. end their shadows, 5. discard on the legs, 6. release. A block that a fill
 * keeps busy holds zeroes, and is passed over.
 */
static void do_discards(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list mine = *bios;
	bool drain = false, copying = false;
	struct shadow_step step;
	struct bio *bio;
	int given_up = 0, r = 0;
	u32 b, end;

	if (READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		while ((bio = bio_list_pop(bios)))
			shadow_finish_bio(bio, BLK_STS_IOERR);
		return;
	}
	/* until the holes are durable no leg goes without a flush because it holds nothing */
	atomic_inc(&v->punching);
	smp_mb__after_atomic(); /* pairs with map_flush() */
	bio_list_for_each(bio, &mine) {
		end = discard_end(v, bio);
		for (b = discard_first(v, bio); b < end; b++) {
			if (out_of_reach(v, b)) {
				given_up++;
				atomic_inc(&v->given_up);
				smp_mb__after_atomic(); /* pairs with map_flush() */
			}
			if (!shadow_apply(v, b, SHADOW_EV_DISCARD, &step))
				continue;
			drain |= step.actions & SHADOW_ACT_DRAIN;
			copying |= step.actions & SHADOW_ACT_WAIT_COPY;
			r = 1;
		}
		cond_resched();
	}
	if (copying)
		shadow_mover_wait_running(v);
	if (drain || v->words)
		shadow_drain(v);
	if (r)
		r = shadow_commit(v);
	if (v->words) {
		mutex_lock(&v->drop_lock);
		bio_list_for_each(bio, &mine)
			r = r ?: discard_shadows(v, discard_first(v, bio), discard_end(v, bio));
		mutex_unlock(&v->drop_lock);
	}
	if (!r) {
		atomic_sub(given_up, &v->given_up);
		atomic_dec(&v->punching);
	}
	while ((bio = bio_list_pop(bios))) {
		discard_release(v, discard_first(v, bio), discard_end(v, bio), !r);
		shadow_finish_bio(bio, r ? BLK_STS_IOERR : BLK_STS_OK);
	}
	shadow_release_parked(v);
}

/* --- failures ------------------------------------------------------------- */

static void read_elsewhere(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	struct shadow_ctx ctx = shadow_get_ctx(v, io->block);
	u8 state = READ_ONCE(v->map[io->block]);
	u32 word = shadow_word_of(v, io->block, state);
	u8 copies = shadow_copies(state, &ctx);

	bio->bi_iter = io->iter;
	bio->bi_status = BLK_STS_OK;
	/* a lower layer that split the bio has used the count up */
	atomic_set(&bio->__bi_remaining, 1);
	if (word) {
		/* which copies are current has to be seen in the epoch: as at the first time */
		if (io->tried & SHADOW_MASK_TIERS)
			shadow_tier_read_failed(v, io->block, io->leg);
		atomic64_inc(&v->failovers);
		shadow_route_again(v, bio);
		return;
	}
	copies &= ~(io->tried | ctx.missing);
	if (!copies) {
		DMERR_LIMIT("%s: read of block %u failed and there is no other current copy",
			    v->name, io->block);
		shadow_finish_bio(bio, BLK_STS_IOERR);
		return;
	}
	atomic64_inc(&v->failovers);
	io->leg = __ffs(copies);
	shadow_watch(bio, SHADOW_IO_READ);
	bio_set_dev(bio, v->legs[io->leg]);
	submit_bio_noacct(bio);
}

static u8 failed_legs(const struct shadow_io *io)
{
	u8 leg, failed = 0;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		if ((io->sent & (1u << leg)) && io->parts[leg].status)
			failed |= 1u << leg;
	return failed;
}

/* One of two homes failed: its copy is given up. False: it was the only one. */
static bool home_survives(struct shadow_volume *v, struct shadow_io *io, bool origin)
{
	struct shadow_step step;
	bool legal = shadow_drop_home(v, io->block,
				      origin ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET, &step);

	if (legal && (step.actions & SHADOW_ACT_COMMIT))
		atomic64_inc(&v->stale);
	return legal;
}

/*
 * True: a home leg holds the write, and what failed is marked (commit before acknowledging). A
 * shadow is given up whenever it, or all of home, failed: they may differ now. So may two homes
 * that failed both: what one of them holds is the block's content from here on, and it is the one
 * that an unclean stop would choose.
 */
static bool write_survives(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	u8 failed = failed_legs(io), home = io->sent & SHADOW_MASK_BOTH;
	bool ok = home & ~failed;

	if (ok && (home & failed))
		ok = home_survives(v, io, failed & SHADOW_MASK_ORIGIN);
	else if (!ok && home == SHADOW_MASK_BOTH)
		home_survives(v, io, shadow_phase(v) == SHADOW_GRACE);
	if ((io->sent & SHADOW_MASK_TIERS) && (!ok || (failed & SHADOW_MASK_TIERS))) {
		u8 leg = __ffs(io->sent & SHADOW_MASK_TIERS);

		if (failed & SHADOW_MASK_TIERS)
			set_bit(leg, &v->tier_hurt); /* the shadow is old, and nothing revives it */
		if ((failed & SHADOW_MASK_TIERS) &&
		    !shadow_unsupported(bio_op(bio), io->parts[leg].status))
			shadow_note_tier_failure(v, "write", leg, io->block);
		if (shadow_tier_apply(v, io->block, SHADOW_TEV_LOST, NULL))
			shadow_tier_end_drop(v, io->block);
	}
	return ok;
}

/*
 * A home leg that does not do REQ_OP_WRITE_ZEROES has not failed: it gets zeroes in writing, while
 * the gate is closed. (A clean shadow is not worth that.)
 */
static void write_zeroes_again(struct shadow_volume *v, struct bio *bio)
{
	struct shadow_io *io = shadow_io(bio);
	int r;
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++) {
		blk_status_t *status = &io->parts[leg].status;

		if (!(io->sent & (1u << leg)) || !shadow_unsupported(bio_op(bio), *status) ||
		    !v->legs[leg])
			continue;
		r = blkdev_issue_zeroout(v->legs[leg], io->iter.bi_sector,
					 io->iter.bi_size >> SECTOR_SHIFT, GFP_NOIO,
					 BLKDEV_ZERO_NOUNMAP);
		*status = errno_to_blk_status(r);
		shadow_answered(v, leg, REQ_OP_WRITE_ZEROES, *status);
	}
}

/* What a write is told that has failed: the words of a home leg, if one has failed. */
static blk_status_t failed_status(const struct shadow_io *io)
{
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if ((io->sent & (1u << leg)) && io->parts[leg].status)
			return io->parts[leg].status;
	return BLK_STS_IOERR;
}

/*
 * A leg that cannot flush holds no durable copy. If every block has one elsewhere the leg's
 * copies are dropped and the flush has succeeded on what is left. The modification may have ended
 * since the flush was sent: then one leg holds everything.
 */
static bool flush_survives(struct shadow_volume *v, struct bio *bio)
{
	u8 leg = shadow_io(bio)->leg;
	union shadow_ctx_word w;

	if (leg >= SHADOW_LEG_TIER1) {
		shadow_tier_flush_failed(v, leg);
		return !atomic_read(&shadow_tier_of(v, leg)->dirty);
	}
	shadow_home_flush_failed(v, leg);
	w.word = READ_ONCE(v->ctx_word);
	if (w.phase == SHADOW_STEADY)
		return leg != w.steady_leg;
	return !shadow_only_on(v, leg);
}

static bool is_read(struct bio *bio)
{
	u8 kind = shadow_io(bio)->kind;

	return kind == SHADOW_IO_READ || kind == SHADOW_IO_TIER_READ;
}

/*
 * 1. nothing is written meanwhile, and every failure so far is in hand, 2. the failed copies are
 * given up, 3. durably, 4. the writes that another copy holds are acknowledged, and the others
 * told.
 */
static void do_failed_writes(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list saved = BIO_EMPTY_LIST, lost = BIO_EMPTY_LIST, more;
	u8 leg_failed = 0;
	int decided = 0, r;
	struct bio *bio;
	u32 drops;

	shadow_gate_close(v);
	if (take(v, &v->failed, &more))
		bio_list_merge(bios, &more);
	while ((bio = bio_list_pop(bios))) {
		bool ok;

		if (is_read(bio)) {
			read_elsewhere(v, bio);
			continue;
		}
		if (shadow_io(bio)->kind == SHADOW_IO_FLUSH && !bio->bi_status) {
			ok = true;	/* it waited for what a leg may have lost */
		} else if (shadow_io(bio)->kind == SHADOW_IO_FLUSH) {
			leg_failed |= 1u << shadow_io(bio)->leg;
			ok = flush_survives(v, bio);
			bio->bi_status = BLK_STS_IOERR;
		} else {
			write_zeroes_again(v, bio);
			ok = write_survives(v, bio);
			bio->bi_status = failed_status(shadow_io(bio));
			decided++;
		}
		bio_list_add(ok ? &saved : &lost, bio);
	}
	down_read(&v->phase_lock);
	drops = v->drops;
	up_read(&v->phase_lock);
	r = shadow_commit(v);
	if (!r && leg_failed) {
		down_write(&v->phase_lock);
		if (v->drops == drops)	/* all durable */
			WRITE_ONCE(v->no_flush, v->no_flush | (leg_failed & v->home_failed));
		up_write(&v->phase_lock);
	}
	if (decided && !atomic_sub_return(decided, &v->failing))
		wake_up(&v->mover.wake);
	while ((bio = bio_list_pop(&saved)))
		shadow_finish_bio(bio, r ? BLK_STS_IOERR : BLK_STS_OK);
	while ((bio = bio_list_pop(&lost)))
		shadow_finish_bio(bio, bio->bi_status);
	if (r)
		shadow_release_parked(v);
	else
		shadow_gate_open(v, 1);
}

static void do_failed(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list writes = BIO_EMPTY_LIST;
	struct bio *bio;

	while ((bio = bio_list_pop(bios))) {
		if (is_read(bio))
			read_elsewhere(v, bio);
		else
			bio_list_add(&writes, bio);
	}
	if (!bio_list_empty(&writes))
		do_failed_writes(v, &writes);
	shadow_raise_event(v);
}

static void slow_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(work, struct shadow_volume, slow_work);
	struct bio_list bios;

	if (take(v, &v->failed, &bios))
		do_failed(v, &bios);
	if (atomic_read(&v->suspect))
		shadow_commit(v);
	if (take(v, &v->reroute, &bios))
		do_reroute(v, &bios);
	if (take(v, &v->fills, &bios))
		shadow_do_fills(v, &bios);
	if (take(v, &v->dirties, &bios))
		shadow_do_dirties(v, &bios);
	if (atomic_xchg(&v->drop_all, 0))
		shadow_finish_all_drops(v);
	else if (READ_ONCE(v->nr_dropping))
		shadow_finish_some_drops(v);
}

static void discard_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(work, struct shadow_volume, discard_work);
	struct bio_list bios, some;
	struct bio *bio;
	u32 n;

	take(v, &v->discards, &bios);
	while ((bio = bio_list_pop(&bios))) {
		bio_list_init(&some);
		for (n = 0;; bio = bio_list_pop(&bios)) {
			n += discard_end(v, bio) - discard_first(v, bio);
			bio_list_add(&some, bio);
			if (n >= DISCARD_CHUNK || bio_list_empty(&bios))
				break;
		}
		do_discards(v, &some);
	}
}

/* --- write intent --------------------------------------------------------- */

static bool was_written(struct shadow_volume *v, u32 region)
{
	u32 b = region << SHADOW_REGION_SHIFT;
	u32 end = min(b + (1u << SHADOW_REGION_SHIFT), v->nr_blocks);

	while (b < end && !(READ_ONCE(v->map[b]) & SHADOW_WROTE))
		b++;
	return b < end;
}

/**
 * shadow_intent_ahead() - blocks are about to become mirrored.
 *
 * Where they were written lately the next write will need the region's bit: it gets it now, while
 * they are copied. More than there is room for is left to those writes.
 */
void shadow_intent_ahead(struct shadow_volume *v, u32 first, u32 count)
{
	u32 region = first >> SHADOW_REGION_SHIFT;
	unsigned long flags;
	bool any = false;

	for (; region <= (first + count - 1) >> SHADOW_REGION_SHIFT; region++) {
		if (test_bit(region, v->intent) || !was_written(v, region))
			continue;
		spin_lock_irqsave(&v->lock, flags);
		if (v->nr_ahead < SHADOW_AHEAD)
			v->ahead[v->nr_ahead++] = region;
		spin_unlock_irqrestore(&v->lock, flags);
		any = true;
	}
	if (any)
		queue_work(v->wq, &v->intent_work);
}

/* Mask of those whose bit is to be set, if the commit succeeds. *@first: not set before. */
static u32 ahead_begin(struct shadow_volume *v, const u32 *ahead, unsigned int n, u32 *first)
{
	u32 mask = 0;
	unsigned int i;

	BUILD_BUG_ON(SHADOW_AHEAD > 32);
	*first = 0;
	for (i = 0; i < n; i++) {
		if (test_bit(ahead[i], v->intent))
			continue;
		mask |= 1u << i;
		if (!test_and_set_bit(ahead[i], v->intent_disk))
			*first |= 1u << i;
		shadow_mark_page_dirty(v, ahead[i] << SHADOW_REGION_SHIFT);
	}
	return mask;
}

static void ahead_end(struct shadow_volume *v, const u32 *ahead, u32 mask, u32 first, bool durable)
{
	for (; mask; mask &= mask - 1) {
		u32 bit = mask & -mask, region = ahead[__ffs(mask)];

		if (durable) {
			set_bit(region, v->intent_recent);
			set_bit(region, v->intent);
		} else if (first & bit) {
			clear_bit(region, v->intent_disk);
		}
	}
}

static void intent_set(struct shadow_volume *v, struct bio_list *bios, const u32 *ahead,
		       unsigned int n)
{
	u32 region, mask, first;
	struct bio *bio;
	int r;

	bio_list_for_each(bio, bios) {
		region = shadow_io(bio)->block >> SHADOW_REGION_SHIFT;
		shadow_io(bio)->first = false;
		if (test_bit(region, v->intent))
			continue;
		/* a sweep may be under way that has not cleared it there yet */
		shadow_io(bio)->first = !test_and_set_bit(region, v->intent_disk);
		shadow_mark_page_dirty(v, shadow_io(bio)->block);
	}
	mask = ahead_begin(v, ahead, n, &first);
	r = shadow_commit(v);
	ahead_end(v, ahead, mask, first, !r);
	while ((bio = bio_list_pop(bios))) {
		region = shadow_io(bio)->block >> SHADOW_REGION_SHIFT;
		if (r) {
			if (shadow_io(bio)->first)
				clear_bit(region, v->intent_disk); /* nothing may rely on it */
			shadow_finish_bio(bio, BLK_STS_IOERR);
			continue;
		}
		set_bit(region, v->intent_recent);
		set_bit(region, v->intent);
		shadow_route_again(v, bio);
	}
}

static void intent_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(work, struct shadow_volume, intent_work);
	u32 ahead[SHADOW_AHEAD];
	struct bio_list bios;
	unsigned long flags;
	unsigned int n;

	mutex_lock(&v->intent_lock);
	spin_lock_irqsave(&v->lock, flags);
	n = v->nr_ahead;
	memcpy(ahead, v->ahead, n * sizeof(u32));
	v->nr_ahead = 0;
	spin_unlock_irqrestore(&v->lock, flags);
	if (take(v, &v->intents, &bios) || n)
		intent_set(v, &bios, ahead, n);
	mutex_unlock(&v->intent_lock);
}

/* A failure that is not decided about yet, or not durably. */
static bool in_doubt(struct shadow_volume *v)
{
	return atomic_read(&v->failing) || atomic_read(&v->suspect);
}

/* No new write relies on the bits of regions not written lately. Returns how many there are. */
static u32 sweep_begin(struct shadow_volume *v, bool all)
{
	u32 region, nr = 0;

	for_each_set_bit(region, v->intent, v->nr_regions) {
		if (!all && test_and_clear_bit(region, v->intent_recent))
			continue;
		clear_bit(region, v->intent);
		nr++;
	}
	return nr;
}

/*
 * Writes that relied on the bits are over, and all legs hold them durably but for homes that are
 * missing or failed: *@unreached, in a volume with tiers.
 */
static int sweep_flush(struct shadow_volume *v, u8 *unreached)
{
	u8 leg, failed, homes;
	int r;

	shadow_drain(v);
	/* Under the lock: who is in it has ended its shadows, and dirtied their pages. */
	down_read(&v->phase_lock);
	failed = v->tier_failed;
	homes = v->home_failed;
	if (!shadow_has_mirrored(v))
		failed |= homes;	/* nothing relies on them but shadows: below */
	up_read(&v->phase_lock);
	/*
	 * What failed was counted before it left: until its loss is durable nothing is clean. Not a
	 * wait: with little memory one rescuer does the work of all workers.
	 */
	r = in_doubt(v) ? -EAGAIN : 0;
	*unreached = v->words ? (homes | shadow_get_ctx(v, 0).missing) & SHADOW_MASK_BOTH : 0;
	/* shadows that ended because of those writes have no word left when the bits go */
	if (!r && v->words)
		r = shadow_commit(v);
	for (leg = 0; leg < SHADOW_NR_LEGS && !r; leg++) {
		if (!v->legs[leg] || (failed & (1u << leg)))
			continue;
		r = blkdev_issue_flush(v->legs[leg]);
		if (r && leg >= SHADOW_LEG_TIER1)
			shadow_tier_flush_failed(v, leg);
		else if (r)
			shadow_suspect(v, leg, true);
	}
	/* what a leg lost before it flushed the rest */
	return !r && in_doubt(v) ? -EAGAIN : r;
}

/*
 * Copies on a home that could not be flushed were given up where there is another home. But a clean
 * shadow of a block that lives there alone relies on the bit of its region.
 */
static bool relied_on(struct shadow_volume *v, u32 region, u8 unreached)
{
	u32 b = region << SHADOW_REGION_SHIFT;
	u32 end = min(b + (1u << SHADOW_REGION_SHIFT), v->nr_tracked);

	for (; unreached && b < end; b++) {
		struct shadow_ctx ctx = shadow_get_ctx(v, b);
		u8 state = READ_ONCE(v->map[b]);

		if (shadow_word_of(v, b, state) && !(shadow_copies(state, &ctx) & ~unreached))
			return true;
	}
	return false;
}

/* The pages may say so, some time; if not @clean, next time. What is relied on again stays. */
static void sweep_end(struct shadow_volume *v, bool clean, u8 unreached)
{
	u32 region;

	for_each_set_bit(region, v->intent_disk, v->nr_regions) {
		if (test_bit(region, v->intent))
			continue;
		if (!clean || relied_on(v, region, unreached)) {
			set_bit(region, v->intent);	/* still so on disk */
			continue;
		}
		clear_bit(region, v->intent_disk);
		shadow_mark_page_dirty(v, region << SHADOW_REGION_SHIFT);
	}
	shadow_commit_soon(v);
}

/*
 * Clears the bits of regions not written for a while: 1. no new write may rely on the bit,
 * 2. those under way are over, 3. both legs hold them durably, 4. the pages may say so, some
 * time. First writes to other regions, or to these, get their bits meanwhile. @all: whether
 * written lately or not.
 */
static void intent_sweep(struct shadow_volume *v, bool all)
{
	bool doubts = false;
	u8 unreached = 0;
	u32 nr = 0;
	int r;

	mutex_lock(&v->intent_lock);
	/* in another mode nothing can be cleared on disk any more */
	if (READ_ONCE(v->mode) == SHADOW_MODE_RW) {
		if (all || !(++v->sweeps % SWEEPS_OF_INTENT))
			nr = sweep_begin(v, all);
		doubts = shadow_doubts_turn(v);
	}
	mutex_unlock(&v->intent_lock);
	if (!nr && !doubts)
		return;
	r = sweep_flush(v, &unreached);
	mutex_lock(&v->intent_lock);
	if (doubts && !r && !unreached)
		shadow_doubts_over(v);
	sweep_end(v, !r && READ_ONCE(v->mode) == SHADOW_MODE_RW, unreached);
	mutex_unlock(&v->intent_lock);
}

/* With nothing in flight (suspended): all bits go. */
void shadow_intent_sweep_now(struct shadow_volume *v)
{
	intent_sweep(v, true);
}

/*
 * Nobody waits for a sweep, or for a commit some time later: they are frozen with user space, so
 * that nothing is written behind the back of a hibernation image.
 */
void shadow_sweep_soon(struct shadow_volume *v, unsigned long delay)
{
	queue_delayed_work(system_freezable_wq, &v->sweep_work, delay);
}

static void sweep_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(to_delayed_work(work), struct shadow_volume,
					       sweep_work);

	intent_sweep(v, false);
	shadow_sweep_soon(v, SWEEP_INTERVAL);
}

static void commit_work(struct work_struct *work)
{
	struct shadow_volume *v = container_of(to_delayed_work(work), struct shadow_volume,
					       commit_work);

	shadow_commit(v);
}

void shadow_slow_init(struct shadow_volume *v)
{
	spin_lock_init(&v->lock);
	bio_list_init(&v->parked);
	bio_list_init(&v->reroute);
	bio_list_init(&v->fills);
	bio_list_init(&v->discards);
	bio_list_init(&v->failed);
	bio_list_init(&v->intents);
	bio_list_init(&v->dirties);
	mutex_init(&v->intent_lock);
	init_waitqueue_head(&v->stray_wait);
	INIT_WORK(&v->slow_work, slow_work);
	INIT_WORK(&v->discard_work, discard_work);
	INIT_WORK(&v->intent_work, intent_work);
	INIT_DELAYED_WORK(&v->commit_work, commit_work);
	INIT_DELAYED_WORK(&v->sweep_work, sweep_work);
}
