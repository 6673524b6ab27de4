// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tiers that a table gives or takes away: room for words and slots, slot pages formatted, read and
 * extended, shadows of tiers that are missing.
 *
 * Context: process, at a resume, while nothing is mapped and both movers are parked. On an error
 * the device stays suspended, and what is on disk is as before.
 */
#include <linux/bitmap.h>
#include <linux/sched/mm.h>

#include "dm-shadow.h"

/* Room for the words of v->nr_tracked blocks, of which @old_blocks had some. */
int shadow_tier_resize(struct shadow_volume *v, u32 old_blocks)
{
	u32 old_pages = shadow_nr_slot_pages(old_blocks);
	u32 pages = shadow_nr_slot_pages(v->nr_tracked);
	size_t old_bits = shadow_bits_size(old_pages), bits = shadow_bits_size(pages);
	struct { void **p; size_t old, new; } arrays[] = {
		{ (void **)&v->words, old_blocks * 4ul, v->nr_tracked * 4ul },
		{ (void **)&v->meta.slot_dirty, old_bits, bits },
		{ (void **)&v->meta.slot_newest, old_bits, bits },
	};
	unsigned int noio = memalloc_noio_save();
	int i, r = 0;

	for (i = 0; i < ARRAY_SIZE(arrays) && !r; i++) {
		void *p;

		if (*arrays[i].p && arrays[i].old == arrays[i].new)
			continue;
		p = shadow_resize_array(v, *arrays[i].p, *arrays[i].p ? arrays[i].old : 0,
					arrays[i].new);
		if (p)
			*arrays[i].p = p;
		else
			r = -ENOMEM;
	}
	memalloc_noio_restore(noio);
	if (r)
		v->mode = SHADOW_MODE_FAIL;	/* half done: nothing may be written from this */
	else
		v->meta.nr_slot_pages = pages;
	return r;
}

/* What only volumes with tiers need, but for the words. */
static int make_parts(struct shadow_volume *v)
{
	unsigned int noio = memalloc_noio_save();
	int r = 0;

	if (!v->drop_words) {
		v->drop_words = kcalloc(SHADOW_DROP_CHUNK, sizeof(u32), GFP_NOIO);
		v->drop_blocks = kcalloc(SHADOW_TIER_BATCH, sizeof(u32), GFP_NOIO);
		v->hits = alloc_percpu(struct shadow_tier_hits);
		if (!v->drop_words || !v->drop_blocks || !v->hits)
			r = -ENOMEM;
	}
	if (!r && !v->traffic)
		r = shadow_fetch_init(v);
	if (!r && !v->tier_kc) {
		struct dm_kcopyd_client *kc = dm_kcopyd_client_create(NULL);

		r = PTR_ERR_OR_ZERO(kc);
		if (!r) {
			v->tier_kc = kc;
			v->mem += SZ_512K;	/* kcopyd's reserve of pages */
		}
	}
	if (!r && !v->tmover.thread)
		r = shadow_tier_mover_init(v);
	memalloc_noio_restore(noio);
	return r;
}

/* The slots of a tier, for its size; those in use stay. */
static int size_tier(struct shadow_volume *v, u8 leg, u64 sectors, const char **error)
{
	struct shadow_slots *s = &shadow_tier_of(v, leg)->slots;
	u32 nr = min_t(u64, sectors >> v->shift, SHADOW_MAX_SLOTS), slot;
	u64 *bits;

	if (nr == s->nr)
		return 0;
	for (slot = nr; slot < s->nr; slot++)
		if (s->bits[slot / 64] >> (slot % 64) & 1) {
			*error = "a tier is smaller than it was, and has shadows in what is gone";
			return -ENOSPC;
		}
	bits = shadow_resize_array(v, s->bits, shadow_slots_bytes(s->nr), shadow_slots_bytes(nr));
	if (!bits)
		return -ENOMEM;
	s->bits = bits;
	s->nr = nr;
	return 0;
}

/* --- load ---------------------------------------------------------------------- */

/* One word of a slot page. */
static int take_word(struct shadow_volume *v, u32 block, u32 word)
{
	u8 leg = shadow_word_leg(word);
	bool region_dirty;
	u32 now;

	if (block >= v->nr_tracked || !v->sb.legs[leg].present ||
	    shadow_slot(word) >= shadow_tier_of(v, leg)->slots.nr) {
		DMERR("%s: the shadow of block %u is out of range: run shadow_check", v->name,
		      block);
		return -EILSEQ;
	}
	region_dirty = test_bit(block >> SHADOW_REGION_SHIFT, v->intent_recent);
	now = shadow_tier_from_disk(word, shadow_home(v->map[block]),
				    shadow_get_tier_ctx(v).tiers, region_dirty);
	if (!now) {
		shadow_mark_slot_page_dirty(v, block);
		return 0;
	}
	if (!shadow_slot_claim(&shadow_tier_of(v, leg)->slots, shadow_slot(word))) {
		DMERR("%s: block %u shares its slot with another: run shadow_check", v->name,
		      block);
		return -EILSEQ;
	}
	v->words[block] = now;
	v->map[block] |= SHADOW_SHADOW;
	if (shadow_word_in(now, SHADOW_LIVES_NEWER))
		atomic_inc(&shadow_tier_of(v, leg)->dirty);
	return 0;
}

static void set_tier_word(struct shadow_volume *v, const struct shadow_target *s)
{
	union shadow_tier_word w = { .word = 0 };
	u8 leg;

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		if (s->legs[leg])
			w.ctx.tiers |= 1u << leg;
	w.ctx.writeback = s->writeback;
	WRITE_ONCE(v->tier_word, w.word);
}

static bool shadows_beyond(struct shadow_volume *v, u64 sectors)
{
	u32 b = shadow_nr_blocks(sectors, 1u << v->shift);

	for (; v->words && b < v->nr_tracked; b++)
		if (v->words[b])
			return true;
	return false;
}

/**
 * shadow_tier_configure() - what the table says of tiers, before anything else of it is done.
 * @next: the superblock that will follow
 * @load: the states have just been read: the words are read now
 *
 * v->sb is the superblock as it is; v->len, v->legs and v->shift are the table's.
 */
int shadow_tier_configure(struct shadow_volume *v, struct shadow_target *s,
			  const struct shadow_superblock *next, bool load, const char **error)
{
	bool had = v->sb.slot_end, wants = next->slot_end;
	u8 leg;
	int r;

	set_tier_word(v, s);
	v->tier_failed = v->home_failed = v->no_flush = 0;
	if (!had && !wants)
		return 0;
	*error = "out of memory";
	r = make_parts(v);
	if (!r && !v->words)
		r = shadow_tier_resize(v, 0);
	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS && !r; leg++) {
		const struct shadow_leg_record *record =
			next->legs[leg].present ? &next->legs[leg] : &v->sb.legs[leg];

		r = record->present ? size_tier(v, leg, record->sectors, error) : 0;
	}
	if (!r && load && had) {
		*error = "the slot pages cannot be read: run shadow_check";
		r = shadow_slot_pages_load(v, take_word) ?: blkdev_issue_flush(v->meta.bdev);
	}
	if (r)
		return r;
	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		if (v->sb.legs[leg].present && !next->legs[leg].present &&
		    shadow_tier_used(v, leg)) {
			*error = "a tier that is left out has shadows: demote or forget them";
			return -EBUSY;
		}
	if (next->nr_sectors < v->sb.nr_sectors && shadows_beyond(v, next->nr_sectors)) {
		*error = "blocks beyond the new end have shadows: demote them";
		return -EBUSY;
	}
	if (!had) {
		*error = "the slot pages cannot be written";
		r = shadow_slot_pages_format(v, next->slot_end, 0, v->meta.nr_slot_pages);
	}
	return r;
}

/**
 * shadow_tier_settle() - after the table was carried out: shadows that a tier cannot keep end.
 *
 * Clean ones of missing tiers, that is. Also where the last tier went.
 */
int shadow_tier_settle(struct shadow_volume *v, struct shadow_target *s)
{
	struct shadow_blocks all = { .first = 0, .n = v->nr_tracked };
	int r = 0;
	u8 leg;

	if (!v->words)
		return 0;
	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		if (!s->legs[leg])
			shadow_tier_lose(v, leg, SHADOW_TEV_LOST);
	mutex_lock(&v->drop_lock);
	r = shadow_finish_drops(v, &all);
	mutex_unlock(&v->drop_lock);
	if (!r && !v->sb.slot_end) {
		shadow_tier_exit(v);
		shadow_build_lut(v);
	}
	return r;
}

/* No tiers, or no volume, any longer. */
void shadow_tier_exit(struct shadow_volume *v)
{
	u32 pages = v->meta.nr_slot_pages;
	int i;

	shadow_tier_mover_exit(v);
	shadow_fetch_exit(v);
	if (v->tier_kc) {
		dm_kcopyd_client_destroy(v->tier_kc);
		v->mem -= SZ_512K;
	}
	v->tier_kc = NULL;
	for (i = 0; i < SHADOW_NR_TIERS; i++) {
		v->mem -= v->tier[i].slots.bits ? shadow_slots_bytes(v->tier[i].slots.nr) : 0;
		kvfree(v->tier[i].slots.bits);
		memset(&v->tier[i].slots, 0, sizeof(v->tier[i].slots));
	}
	if (v->words)
		v->mem -= v->nr_tracked * 4ul + 2 * shadow_bits_size(pages);
	kvfree(v->words);
	kvfree(v->meta.slot_dirty);
	kvfree(v->meta.slot_newest);
	kfree(v->drop_words);
	kfree(v->drop_blocks);
	free_percpu(v->hits);
	v->words = NULL;
	v->meta.slot_dirty = NULL;
	v->meta.slot_newest = NULL;
	v->meta.nr_slot_pages = 0;
	v->drop_words = NULL;
	v->drop_blocks = NULL;
	v->hits = NULL;
}
