// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fetching: a block that several reads want at the same time is promoted there and then, and they
 * wait for it.
 *
 * Reads of one block come together: a burst that home alone has to serve queues there, mostly for
 * blocks nobody could have known of. While user space allows it (message "fetch") a read that
 * finds another one of its block under way at home has the block copied, at once and by itself, and
 * waits with those that come after it. When the copy is over they are routed again: to the
 * shadow, or home if there is none. Who comes alone goes home as ever, so reads that have nothing
 * in common cost nothing more. User space bounds it by the slots it leaves free on that tier.
 *
 * A fetch is live from when it is asked for until nobody waits for it; each live one has a worker
 * that ends it, whatever the mode. Suspend and stop refuse new ones first, then wait for those that
 * are there. What has waited asks for nothing again, so a tier that fails or is full costs a read
 * one round.
 *
 * Context: shadow_fetch_wait() the submitter's or a worker's; the rest a worker of v->fetch_wq.
 */
#include <linux/hash.h>
#include <linux/sched/mm.h>

#include "dm-shadow.h"

static struct shadow_traffic *traffic_of(struct shadow_volume *v, u32 block)
{
	return &v->traffic[hash_32(block, SHADOW_TRAFFIC_BITS)];
}

static struct shadow_fetch *fetch_of(struct shadow_volume *v, u32 block)
{
	unsigned int i;

	if (!v->nr_fetches)
		return NULL;
	for (i = 0; i < SHADOW_FETCHES; i++)
		if (v->fetches[i].live && v->fetches[i].copy.block == block)
			return &v->fetches[i];
	return NULL;
}

/** shadow_fetch_has() - is this block being fetched? Caller: holds v->lock. */
bool shadow_fetch_has(struct shadow_volume *v, u32 block)
{
	return fetch_of(v, block);
}

/* A read as long as half a block is part of a scan: it needs no company. */
static bool may_ask(struct shadow_volume *v, struct bio *bio, u8 leg)
{
	const struct shadow_slots *slots = &shadow_tier_of(v, leg)->slots;

	return !shadow_io(bio)->waited && v->nr_fetches < SHADOW_FETCHES &&
	       slots->used + v->nr_fetches < slots->nr &&
	       !READ_ONCE(v->words[shadow_io(bio)->block]) &&
	       !(READ_ONCE(v->tier_failed) & (1u << leg)) &&
	       bio_sectors(bio) * 2 < 1u << v->shift;
}

static struct shadow_fetch *ask(struct shadow_volume *v, u32 block, u8 leg)
{
	struct shadow_fetch *f = v->fetches;

	while (f->live)
		f++;
	f->live = true;
	f->leg = leg;
	f->copy.block = block;
	v->nr_fetches++;
	return f;
}

/* False: the read shall go home. */
static bool wait_for_copy(struct shadow_volume *v, struct bio *bio, u8 leg)
{
	struct shadow_tier_mover *m = &v->tmover;
	u32 block = shadow_io(bio)->block;
	struct shadow_fetch *f = NULL;
	unsigned long flags;
	bool asks = false;

	spin_lock_irqsave(&v->lock, flags);
	if (!READ_ONCE(m->suspended) && !READ_ONCE(m->stopping) &&
	    READ_ONCE(v->mode) == SHADOW_MODE_RW) {
		f = fetch_of(v, block);
		asks = !f && may_ask(v, bio, leg);
	}
	if (asks)
		f = ask(v, block, leg);
	if (f) {
		shadow_hold(bio);
		shadow_io(bio)->waited = true;
		atomic_dec(&traffic_of(v, block)->reads);
		bio_list_add(&f->waiting, bio);
	}
	spin_unlock_irqrestore(&v->lock, flags);
	if (asks)
		queue_work(v->fetch_wq, &f->work);
	return f;
}

/**
 * shadow_fetch_wait() - a read is about to go home.
 *
 * True: it waits for a copy of its block instead. False: it is counted until
 * shadow_fetch_read_over().
 */
bool shadow_fetch_wait(struct shadow_volume *v, struct bio *bio)
{
	u8 leg = READ_ONCE(v->fetch_leg);
	struct shadow_io *io = shadow_io(bio);
	bool company;

	if (!leg)
		return false;
	company = atomic_inc_return(&traffic_of(v, io->block)->reads) > 1;
	if ((company || READ_ONCE(v->words[io->block])) && wait_for_copy(v, bio, leg))
		return true;	/* it may be over already */
	io->counted = true;
	return false;
}

void shadow_fetch_read_over(struct shadow_volume *v, struct shadow_io *io)
{
	io->counted = false;
	atomic_dec(&traffic_of(v, io->block)->reads);
}

/* Of shadow_fetch_write(). */
void shadow_fetch_count(struct shadow_volume *v, struct shadow_io *io)
{
	atomic_inc(&traffic_of(v, io->block)->writes);
	smp_mb__after_atomic(); /* count, then byte and word: pairs with fetch_quiet */
}

/* Of shadow_fetch_write_over(). */
void shadow_fetch_uncount(struct shadow_volume *v, struct shadow_io *io)
{
	io->counted = false;
	smp_mb__before_atomic(); /* the write, then this: pairs with shadow_fetch_quiet() */
	atomic_dec(&traffic_of(v, io->block)->writes);
}

/** shadow_fetch_quiet() - are all writes of a claimed block over that do not know of the claim? */
bool shadow_fetch_quiet(struct shadow_volume *v, u32 block)
{
	bool quiet;

	smp_mb(); /* the claim, then this: pairs with the one of shadow_fetch_write() */
	quiet = READ_ONCE(v->counting) == SHADOW_COUNT_ALL &&
		!atomic_read(&traffic_of(v, block)->writes);
	smp_mb(); /* this, then the copy and v->failing */
	return quiet;
}

static void fetch_work(struct work_struct *work)
{
	struct shadow_fetch *f = container_of(work, struct shadow_fetch, work);
	unsigned int noio = memalloc_noio_save();
	struct bio_list waiting = BIO_EMPTY_LIST;
	struct shadow_volume *v = f->v;
	unsigned long flags;
	struct bio *bio;

	if (READ_ONCE(v->mode) == SHADOW_MODE_RW) {
		shadow_tier_claim(v, f->leg, &f->copy);
		if (f->copy.state == SHADOW_COPY_CLAIMED)
			shadow_tier_do_round(v, &f->round);
	}
	spin_lock_irqsave(&v->lock, flags);
	bio_list_merge(&waiting, &f->waiting);
	bio_list_init(&f->waiting);
	f->live = false;
	v->nr_fetches--;
	spin_unlock_irqrestore(&v->lock, flags);
	wake_up(&v->tmover.idle);
	while ((bio = bio_list_pop(&waiting)))
		shadow_route_again(v, bio);
	memalloc_noio_restore(noio);
}

/** shadow_fetch_set() - reads may fetch to this tier; 0: to none. Caller: holds v->admin. */
void shadow_fetch_set(struct shadow_volume *v, u8 leg)
{
	if (!leg) {
		/* a fetch that is still under way drains from here on */
		WRITE_ONCE(v->counting, SHADOW_COUNT_NONE);
	} else if (v->counting == SHADOW_COUNT_NONE) {
		WRITE_ONCE(v->counting, SHADOW_COUNT_BEGUN);
		shadow_drain_epoch(&v->epoch);
		WRITE_ONCE(v->counting, SHADOW_COUNT_ALL);
	}
	mutex_lock(&v->commit_lock);	/* the table of answers has one writer at a time */
	WRITE_ONCE(v->fetch_leg, leg);
	shadow_build_lut(v);
	mutex_unlock(&v->commit_lock);
}

int shadow_fetch_init(struct shadow_volume *v)
{
	unsigned int i;

	v->fetch_wq = alloc_workqueue("dm-shadow-fetch/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
				      v->name);
	v->traffic = kvcalloc(1u << SHADOW_TRAFFIC_BITS, sizeof(*v->traffic), GFP_KERNEL);
	if (v->traffic)
		v->fixed_mem += sizeof(*v->traffic) << SHADOW_TRAFFIC_BITS;
	if (!v->fetch_wq || !v->traffic) {
		shadow_fetch_exit(v);
		return -ENOMEM;
	}
	for (i = 0; i < SHADOW_FETCHES; i++) {
		struct shadow_fetch *f = &v->fetches[i];

		f->v = v;
		INIT_WORK(&f->work, fetch_work);
		bio_list_init(&f->waiting);
		f->round.copies = &f->copy;
		f->round.n = 1;
		f->copy.round = &f->round;
		f->copy.type = SHADOW_MSG_PROMOTE;
	}
	return 0;
}

void shadow_fetch_exit(struct shadow_volume *v)
{
	if (v->fetch_wq)
		destroy_workqueue(v->fetch_wq);
	v->fetch_wq = NULL;
	kvfree(v->traffic);
	v->traffic = NULL;
	v->fetch_leg = 0;
	v->counting = SHADOW_COUNT_NONE;
}
