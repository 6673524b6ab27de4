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
