// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tiers that a table gives or takes away: what speaks against it, slot pages read at a load, and
 * shadows of tiers that are missing.
 *
 * Context: process. shadow_tier_check() may run beside I/O (constructor); the rest at a resume,
 * while nothing is mapped and both movers are parked.
 */
#include "dm-shadow.h"

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

static void set_slots(struct shadow_volume *v, const struct shadow_superblock *sb)
{
	u8 leg;

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		shadow_tier_of(v, leg)->slots.nr = shadow_nr_slots(sb, leg);
}

static bool no_shadows(struct shadow_volume *v)
{
	return !shadow_tier_used(v, SHADOW_LEG_TIER1) && !shadow_tier_used(v, SHADOW_LEG_TIER2);
}

static bool shadows_beyond(struct shadow_volume *v, u64 sectors)
{
	u32 b = shadow_nr_blocks(sectors, v->sb.block_sectors);

	if (!v->words || no_shadows(v))
		return false;
	return shadow_next_shadow(v, b, v->nr_tracked) < v->nr_tracked;
}

/* Is a slot in use that a smaller tier has no longer? */
static bool slots_beyond(struct shadow_volume *v, u8 leg, u32 nr)
{
	return shadow_tier_used(v, leg) &&
	       shadow_slot_used_from(&shadow_tier_of(v, leg)->slots, nr);
}

/**
 * shadow_tier_check() - do shadows speak against what the table makes of the volume?
 * @next: the superblock that would follow
 *
 * Asked when the table is loaded, and again at its resume. Caller: holds v->layout; the volume is
 * loaded.
 */
int shadow_tier_check(struct shadow_volume *v, const struct shadow_superblock *next,
		      const char **error)
{
	u8 leg;

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
		if (!next->legs[leg].present && shadow_tier_used(v, leg)) {
			*error = "A tier that is left out has shadows: demote or forget them";
			return -EBUSY;
		}
		if (next->legs[leg].present &&
		    slots_beyond(v, leg, shadow_nr_slots(next, leg))) {
			*error = "A tier is smaller than it was, and has shadows in what is gone";
			return -ENOSPC;
		}
	}
	if (next->nr_sectors < v->sb.nr_sectors && shadows_beyond(v, next->nr_sectors)) {
		*error = "Blocks beyond the new end have shadows: demote them";
		return -EBUSY;
	}
	return 0;
}

/**
 * shadow_tier_load() - the words, after the states were read.
 *
 * v->sb is what the device says; v->nr_tracked and the arrays are there.
 */
int shadow_tier_load(struct shadow_volume *v, const struct shadow_target *s,
		     const char **error)
{
	int r;

	if (!v->sb.slot_end)
		return 0;
	set_tier_word(v, s);
	set_slots(v, &v->sb);
	*error = "The slot pages cannot be read: run shadow_check";
	r = shadow_slot_pages_load(v, s->bulk, take_word);
	return r ?: blkdev_issue_flush(v->meta.bdev);
}

/** shadow_tier_take() - the table's tiers become the volume's. Caller: holds v->view. */
void shadow_tier_take(struct shadow_volume *v, const struct shadow_target *s,
		      const struct shadow_superblock *next)
{
	set_tier_word(v, s);
	v->tier_failed = 0;
	v->home_failed = 0;
	v->tier_hurt = 0;
	v->no_flush = 0;
	if (v->words)
		set_slots(v, next);
}

/**
 * shadow_tier_settle() - after the table was carried out: shadows that a tier cannot keep end.
 *
 * Clean ones of missing tiers, that is. Also where the last tier went.
 */
int shadow_tier_settle(struct shadow_volume *v, struct shadow_target *s)
{
	struct shadow_blocks all = { .first = 0, .n = v->nr_tracked };
	bool lost = false;
	int r = 0;
	u8 leg;

	if (!v->words)
		return 0;
	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		if (!s->legs[leg] && shadow_tier_used(v, leg)) {
			shadow_tier_lose(v, leg, SHADOW_TEV_LOST);
			lost = true;
		}
	if (lost) {
		mutex_lock(&v->drop_lock);
		r = shadow_finish_drops(v, &all);
		mutex_unlock(&v->drop_lock);
	}
	if (r || v->sb.slot_end)
		return r;
	/* a tier may have failed a flush of this resume: the worker looks at its words */
	flush_work(&v->slow_work);
	/* the thread stays, and looks at what it was asked for as soon as the device runs */
	shadow_queue_clear(v, &v->tmover.queue);
	atomic_set(&v->drop_all, 0);
	down_write(&v->view);
	shadow_arrays_drop_tiers(v, &s->reserve);
	v->meta.nr_slot_pages = 0;
	v->fetch_leg = 0;
	v->counting = SHADOW_COUNT_NONE;
	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		shadow_tier_of(v, leg)->slots = (struct shadow_slots){ 0 };
	shadow_build_lut(v);
	up_write(&v->view);
	return 0;
}
