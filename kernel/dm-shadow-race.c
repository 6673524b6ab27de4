// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read policy "mirror": a read goes to both legs, the first good answer wins.
 *
 * The answer is copied out of pages of our own. Without memory for them the read goes to one leg
 * like any other; the last answer frees everything and is counted as a stray, for which a suspend
 * waits.
 *
 * Context: shadow_map_race() in the submitter's, race_end() in any.
 */
#include "dm-shadow.h"

#define RACE_MAX_SECTORS 2048u

/* What is copied at once, in the context of an interrupt. */
#define RACE_COPY_NOW (2 * PAGE_SIZE)

struct shadow_race {
	struct shadow_volume *v;
	struct bio *bio;
	struct bio *legs[SHADOW_NR_HOME_LEGS];
	struct bio *winner;
	struct work_struct work;	/* copies a long answer */
	atomic_t refs;		/* legs, and the copying */
	atomic_t won;		/* the first to set it answers */
	u32 block;
};

static void race_free_bio(struct bio *b)
{
	if (!b)
		return;
	bio_free_pages(b);
	bio_put(b);
}

/*
 * The last one frees the race. After the count of strays is 0 and the lock is free the volume may
 * be gone: see shadow_race_wait().
 */
static void race_put(struct shadow_race *race)
{
	struct shadow_volume *v = race->v;
	unsigned long flags;

	if (!atomic_dec_and_test(&race->refs))
		return;
	if (!atomic_read(&race->won))
		shadow_finish_bio(race->bio, BLK_STS_IOERR);
	race_free_bio(race->legs[0]);
	race_free_bio(race->legs[1]);
	kfree(race);
	spin_lock_irqsave(&v->stray_wait.lock, flags);
	if (atomic_dec_and_test(&v->strays))
		wake_up_locked(&v->stray_wait);
	spin_unlock_irqrestore(&v->stray_wait.lock, flags);
}

/** shadow_race_wait() - until all answers have come. No race begins meanwhile. */
void shadow_race_wait(struct shadow_volume *v)
{
	wait_event(v->stray_wait, !atomic_read(&v->strays));
	/* who counted the last one down holds the lock until he is through with the volume */
	spin_lock_irq(&v->stray_wait.lock);
	spin_unlock_irq(&v->stray_wait.lock);
}

static void race_answer(struct shadow_race *race)
{
	struct bio *bio = race->bio;
	struct bvec_iter from = { .bi_size = bio->bi_iter.bi_size };
	struct bvec_iter to = bio->bi_iter;

	bio_copy_data_iter(bio, &to, race->winner, &from);
	shadow_finish_bio(bio, BLK_STS_OK);
}

static void race_work(struct work_struct *work)
{
	struct shadow_race *race = container_of(work, struct shadow_race, work);

	race_answer(race);
	race_put(race);
}

static void race_end(struct bio *b)
{
	struct shadow_race *race = b->bi_private;
	struct shadow_volume *v = race->v;

	if (b->bi_status) {
		u8 leg = b == race->legs[SHADOW_LEG_TARGET] ? SHADOW_LEG_TARGET : SHADOW_LEG_ORIGIN;

		shadow_answered(v, leg, REQ_OP_READ, b->bi_status);
		atomic64_inc(&v->failovers);
		shadow_note_error(v, "read", leg, race->block);
		shadow_raise_event(v);
	} else if (!atomic_xchg(&race->won, 1)) {
		race->winner = b;
		if (race->bio->bi_iter.bi_size > RACE_COPY_NOW) {
			queue_work(v->wq, &race->work);	/* has our reference now */
			return;
		}
		race_answer(race);
	}
	race_put(race);
}

static struct bio *race_bio(struct shadow_volume *v, u8 leg, struct bio *bio)
{
	unsigned int bytes = bio->bi_iter.bi_size;
	unsigned int nr = DIV_ROUND_UP(bytes, PAGE_SIZE);
	struct bio *b = bio_alloc(READ_ONCE(v->legs[leg]), nr, bio->bi_opf & ~REQ_POLLED,
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
bool shadow_map_race(struct shadow_volume *v, struct bio *bio)
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
	race->block = shadow_io(bio)->block;
	INIT_WORK(&race->work, race_work);
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
