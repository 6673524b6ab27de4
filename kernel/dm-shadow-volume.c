// SPDX-License-Identifier: GPL-2.0-only
/*
 * The volume: what the tables of one device share.
 *
 * A table is only parsed when it is loaded. Its first resume finds the volume by its metadata
 * device, or reads it from there, decides what the table means for it (run, grow, shrink, attach
 * a target) and carries that out while nothing is mapped. Phases change by messages, under
 * v->admin, with one superblock write each.
 *
 * Context: process.
 */
#include <linux/bitmap.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>

#include "dm-shadow.h"

#define NO_TAIL U32_MAX

static DEFINE_MUTEX(registry_lock);
static LIST_HEAD(registry);

/* --- memory --------------------------------------------------------------- */

/* A suspended volume must not wait for its own I/O to get memory. */
void *shadow_resize_array(struct shadow_volume *v, void *old, size_t old_size, size_t size)
{
	void *p;

	if (size == old_size)
		return old;
	p = kvzalloc(size, GFP_NOIO);
	if (!p)
		return NULL;
	if (old)
		memcpy(p, old, min(old_size, size));
	kvfree(old);
	v->mem += size - old_size;
	return p;
}

/*
 * Room for the states of @sectors; new blocks are holes, blocks beyond are forgotten. Nothing
 * is mapped now, and reclaim must not wait for this device.
 */
static int resize(struct shadow_volume *v, sector_t sectors)
{
	u32 old_blocks = v->nr_tracked, old_regions = v->nr_regions, old_pages = v->meta.nr_pages;
	u32 blocks = shadow_nr_blocks(sectors, 1u << v->shift);
	u32 regions = DIV_ROUND_UP(blocks, 1u << SHADOW_REGION_SHIFT);
	u32 pages = shadow_nr_pages(blocks);
	unsigned int noio = memalloc_noio_save();
	struct { unsigned long **bits; u32 old, new; } maps[] = {
		{ &v->intent, old_regions, regions },
		{ &v->intent_disk, old_regions, regions },
		{ &v->intent_recent, old_regions, regions },
		{ &v->meta.dirty, old_pages, pages },
		{ &v->meta.newest, old_pages, pages },
	};
	u8 *map = shadow_resize_array(v, v->map, old_blocks, blocks);
	int i, r = map ? 0 : -ENOMEM;

	if (map)
		v->map = map;
	for (i = 0; i < ARRAY_SIZE(maps) && !r; i++) {
		unsigned long *p = shadow_resize_array(v, *maps[i].bits,
						       shadow_bits_size(maps[i].old),
						       shadow_bits_size(maps[i].new));

		if (p)
			*maps[i].bits = p;
		else
			r = -ENOMEM;
	}
	memalloc_noio_restore(noio);
	if (r) {
		v->mode = SHADOW_MODE_FAIL;	/* half done: nothing may be written from this */
		return r;
	}
	if (blocks > old_blocks)
		memset(v->map + old_blocks, SHADOW_HOLE, blocks - old_blocks);
	v->nr_tracked = blocks;
	v->nr_regions = regions;
	v->meta.nr_pages = pages;
	return v->words ? shadow_tier_resize(v, old_blocks) : 0;
}

static struct shadow_volume *find_volume(dev_t meta)
{
	struct shadow_volume *v;

	list_for_each_entry(v, &registry, list)
		if (v->meta.bdev->bd_dev == meta)
			return v;
	return NULL;
}

/**
 * shadow_volume_check() - would this table be taken now? For the constructor.
 *
 * A table that is refused at resume leaves the device suspended, so what can be known is said
 * when it is loaded. What is read here is not kept: the resume decides again.
 */
int shadow_volume_check(struct shadow_target *s, struct dm_target *ti, const char **error)
{
	struct shadow_superblock sb, next;
	char uuid[SHADOW_ID_MAX + 1];
	struct shadow_volume *v;
	bool blank = false;
	int r;

	r = shadow_volume_uuid(ti, uuid, sizeof(uuid), error);
	if (r)
		return r;
	mutex_lock(&registry_lock);
	v = find_volume(s->meta->bdev->bd_dev);
	if (v) {
		mutex_lock(&v->commit_lock);
		sb = v->sb;
		mutex_unlock(&v->commit_lock);
		r = v->md == dm_table_get_md(ti->table) ? 0 : -EBUSY;
	}
	mutex_unlock(&registry_lock);
	if (r) {
		*error = "Metadata device is in use by another volume";
		return -EINVAL;
	}
	if (!v) {
		r = shadow_metadata_peek(s->meta->bdev, &sb, &blank);
		if (r == -ENODATA && !blank) {
			*error = "Metadata is neither valid nor blank: run shadow_check";
			return -EINVAL;
		}
		if (r && r != -ENODATA) {
			*error = "Metadata device cannot be read";
			return -EINVAL;
		}
	}
	r = shadow_decide(blank ? NULL : &sb, s, uuid, ti->len, &next, error);
	return r < 0 ? r : shadow_check_sizes(s, &next, error);
}

/* --- carrying it out ------------------------------------------------------ */

static void take_legs(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti)
{
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		v->legs[leg] = s->legs[leg] ? s->legs[leg]->bdev : NULL;
	v->meta.bdev = s->meta->bdev;
	v->len = ti->len;
	v->nr_blocks = shadow_nr_blocks(ti->len, 1u << v->shift);
}

/* The context that belongs to a superblock and a table. */
static void take_phase(struct shadow_volume *v, const struct shadow_superblock *sb,
		       const struct shadow_target *s)
{
	union shadow_ctx_word w = { .word = 0 };
	u8 leg;

	w.phase = sb->phase;
	w.policy = s->policy;
	w.steady_leg = SHADOW_LEG_ORIGIN;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (sb->phase != SHADOW_STEADY && !s->legs[leg])
			w.missing |= 1u << leg;
	v->tail = sb->phase != SHADOW_STEADY && sb->nr_sectors > sb->old_sectors ?
		  (u32)(sb->old_sectors >> v->shift) : NO_TAIL;
	shadow_set_ctx(v, w);
}

/* After "commit" or "abort" the bytes still tell of the modification: tidy up. */
static void tidy_states(struct shadow_volume *v)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, 0);
	u8 tidy[256];
	unsigned int i;
	u32 b;

	/* part of the pause of a table swap: one look-up a block */
	for (i = 0; i < 256; i++)
		tidy[i] = shadow_transition(i, SHADOW_EV_STEADY, &ctx).next;
	for (b = 0; b < v->nr_tracked; b++)
		v->map[b] = tidy[v->map[b]];
	bitmap_zero(v->meta.dirty, v->meta.nr_pages);
	if (v->words)
		return;	/* shadows rely on the bits that the last sweep could not clear */
	bitmap_zero(v->intent, v->nr_regions);
	bitmap_zero(v->intent_disk, v->nr_regions);
	bitmap_zero(v->intent_recent, v->nr_regions);
}

/* The last block was short and becomes longer: what the device holds there is not ours. */
static int zero_shadow(struct shadow_volume *v, u32 block, sector_t first, sector_t end)
{
	struct block_device *tier = v->legs[shadow_word_leg(v->words[block])];
	sector_t start = shadow_slot_start(v, v->words[block]) +
			 (first - shadow_block_start(v, block));

	return tier ? blkdev_issue_zeroout(tier, start, end - first, GFP_NOIO, 0) ?:
		      blkdev_issue_flush(tier) : -ENODEV;
}

static int zero_short_end(struct shadow_volume *v, sector_t old, sector_t len)
{
	sector_t end = min_t(sector_t, round_up(old, (sector_t)1 << v->shift), len);
	u32 block = old >> v->shift;

	if (old == end || shadow_home(v->map[block]) == SHADOW_HOLE)
		return 0;
	if (v->words) {
		int r;

		mutex_lock(&v->drop_lock);	/* the slot stays the block's meanwhile */
		r = v->words[block] ? zero_shadow(v, block, old, end) : 0;
		mutex_unlock(&v->drop_lock);
		if (r)
			return r;
	}
	return blkdev_issue_zeroout(v->legs[SHADOW_LEG_ORIGIN], old, end - old, GFP_NOIO, 0) ?:
	       blkdev_issue_flush(v->legs[SHADOW_LEG_ORIGIN]);
}

/* Room in memory and on disk for a longer volume; the tail is holes. */
static int extend(struct shadow_volume *v, sector_t sectors)
{
	u32 old = v->nr_tracked, old_pages = v->meta.nr_pages;
	u32 old_slot_pages = v->meta.nr_slot_pages;
	int r = resize(v, sectors);

	if (r || v->nr_tracked == old)
		return r;
	if (v->words && v->sb.slot_end && old_slot_pages < v->meta.nr_slot_pages)
		r = shadow_slot_pages_format(v, v->sb.slot_end, old_slot_pages,
					     v->meta.nr_slot_pages);
	if (r)
		return r;
	r = shadow_metadata_format_pages(v, old_pages, v->meta.nr_pages);
	if (r || !(old % SHADOW_BLOCKS_PER_PAGE))
		return r;
	/* a page that was cut by a shrink may still tell of blocks beyond the old end */
	shadow_mark_page_dirty(v, old);
	return shadow_commit(v);
}

static int carry_out(struct shadow_volume *v, struct shadow_target *s, int decision,
		     const struct shadow_superblock *next)
{
	sector_t old = v->sb.nr_sectors;
	int r = 0;

	switch (decision) {
	case SHADOW_FORMAT:
		r = resize(v, next->tracked_sectors);
		if (r)
			return r;
		if (!s->fresh)
			memset(v->map, SHADOW_ORIGIN, v->nr_tracked);
		strscpy(v->sb.uuid, next->uuid, sizeof(v->sb.uuid));
		v->sb.epoch = next->epoch;
		r = shadow_metadata_format_pages(v, 0, v->meta.nr_pages);
		break;
	case SHADOW_GROW:
		r = zero_short_end(v, old, next->nr_sectors) ?: extend(v, next->nr_sectors);
		break;
	case SHADOW_ATTACH:
		/*
		 * What a shrink hides comes back with "abort". No flush from now on asks for it,
		 * and one that is acknowledged without the origin promises it all the same.
		 */
		if (next->nr_sectors < old)
			r = blkdev_issue_flush(v->legs[SHADOW_LEG_ORIGIN]);
		r = r ?: extend(v, next->tracked_sectors);
		break;
	default:
		r = resize(v, next->tracked_sectors);	/* forgets what is beyond the end */
		break;
	}
	if (!r && (decision != SHADOW_RUN || v->sb_behind ||
		   memcmp(&v->sb, next, sizeof(*next))))
		r = shadow_metadata_write_sb(v, next);
	return r;
}

static int configure(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti,
		     const char *uuid, const char **error)
{
	struct shadow_superblock sb, next;
	bool blank = false;
	int decision, r;
	u8 leg;

	/* its states are not the durable ones: nothing may be written from them */
	if (v->loaded && v->mode != SHADOW_MODE_RW) {
		*error = "the volume is not in rw mode: remove it and create it again";
		return -EROFS;
	}
	if (v->loaded) {
		sb = v->sb;
	} else {
		r = shadow_metadata_peek(s->meta->bdev, &sb, &blank);
		if (r && !(r == -ENODATA && blank)) {
			*error = "the metadata cannot be read: run shadow_check";
			return r;
		}
	}
	decision = shadow_decide(blank ? NULL : &sb, s, uuid, ti->len, &next, error);
	if (decision < 0)
		return decision;
	r = shadow_check_sizes(s, &next, error);
	if (r)
		return r;
	shadow_record_name(v, &next);

	v->shift = __ffs(s->block_sectors);
	take_legs(v, s, ti);
	if (v->loaded) {
		if (shadow_phase(v) == SHADOW_STEADY) {
			tidy_states(v);
			/* what a shrink left behind is forgotten: a grow makes it holes */
			r = resize(v, sb.tracked_sectors);
		}
	} else if (!blank) {
		v->sb = sb;
		take_phase(v, &sb, s);
		/*
		 * After a reset without a power cut the device's cache may hold pages whose writes
		 * never ended: they are relied on from now on, so they have to be durable.
		 */
		r = resize(v, sb.tracked_sectors) ?: shadow_metadata_load(v, 0) ?:
		    blkdev_issue_flush(v->meta.bdev);
		if (sb.flags & SHADOW_SB_NEEDS_CHECK) {
			DMWARN("%s: there was metadata trouble; all pages have been checked now",
			       v->name);
			next.flags &= ~SHADOW_SB_NEEDS_CHECK;
		}
	}
	r = r ?: shadow_tier_configure(v, s, &next, !v->loaded && !blank, error);
	bitmap_zero(v->intent_recent, v->nr_regions);
	if (r)
		return r;
	*error = "the metadata, or the end of the origin, could not be read or written";
	r = carry_out(v, s, decision, &next);
	if (r)
		return r;
	take_phase(v, &v->sb, s);
	shadow_count_homes(v);
	v->loaded = true;
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (v->sb.phase != SHADOW_STEADY && !v->legs[leg])
			shadow_drop_leg(v, leg);
	return shadow_tier_settle(v, s) ?: shadow_commit(v);
}

/* --- lifetime ------------------------------------------------------------- */

static void volume_free(struct shadow_volume *v)
{
	shadow_mover_exit(v);
	shadow_tier_exit(v);
	if (v->wq)
		destroy_workqueue(v->wq);
	if (!IS_ERR_OR_NULL(v->kc))
		dm_kcopyd_client_destroy(v->kc);
	shadow_metadata_exit(v);
	bioset_exit(&v->bs);
	bioset_exit(&v->tier_bs);
	shadow_epoch_exit(&v->epoch);
	shadow_epoch_exit(&v->tier_epoch);
	kvfree(v->map);
	kvfree(v->intent);
	kvfree(v->intent_disk);
	kvfree(v->intent_recent);
	kvfree(v->meta.dirty);
	kvfree(v->meta.newest);
	kfree(v);
}

static struct shadow_volume *volume_create(struct shadow_target *s, struct dm_target *ti)
{
	struct mapped_device *md = dm_table_get_md(ti->table);
	unsigned int noio = memalloc_noio_save();
	struct shadow_volume *v = kzalloc(sizeof(*v), GFP_KERNEL);
	int r = -ENOMEM;

	if (!v)
		goto out;
	v->mem = sizeof(*v);
	v->md = md;
	v->meta.bdev = s->meta->bdev;
	v->tail = NO_TAIL;
	strscpy(v->name, dm_device_name(md), sizeof(v->name));
	mutex_init(&v->admin);
	mutex_init(&v->drop_lock);
	init_waitqueue_head(&v->tmover.wake);
	init_waitqueue_head(&v->tmover.idle);
	shadow_queue_init(&v->tmover.queue);
	v->tmover.inflight_limit = SHADOW_TIER_INFLIGHT;
	v->tmover.suspended = true;	/* until the first resume */
	init_rwsem(&v->phase_lock);
	INIT_LIST_HEAD(&v->list);
	INIT_WORK(&v->event_work, shadow_event_work);
	shadow_slow_init(v);
	r = shadow_epoch_init(&v->epoch);
	if (!r)
		r = shadow_epoch_init(&v->tier_epoch);
	if (!r)
		r = bioset_init(&v->bs, BIO_POOL_SIZE, 0, 0);
	if (!r)
		r = bioset_init(&v->tier_bs, BIO_POOL_SIZE, 0, 0);
	if (!r)
		r = shadow_metadata_init(v);
	if (!r) {
		v->wq = alloc_workqueue("dm-shadow", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
		r = v->wq ? 0 : -ENOMEM;
	}
	if (!r) {
		v->kc = dm_kcopyd_client_create(NULL);
		r = PTR_ERR_OR_ZERO(v->kc);
		v->mem += SZ_512K;	/* kcopyd's reserve of pages */
	}
	if (!r)
		r = shadow_mover_init(v);
	if (r) {
		volume_free(v);
		v = NULL;
	}
out:
	memalloc_noio_restore(noio);
	return v ?: ERR_PTR(r);
}

/**
 * shadow_volume_attach() - a table is about to go live (preresume).
 *
 * Nothing is mapped. On an error the device stays suspended and the metadata is as before.
 */
int shadow_volume_attach(struct shadow_target *s, struct dm_target *ti)
{
	const char *error = "out of memory";
	char uuid[SHADOW_ID_MAX + 1];
	struct shadow_volume *v;
	int r;

	if (s->v)
		return 0;	/* resumed again: nothing has changed */

	r = shadow_volume_uuid(ti, uuid, sizeof(uuid), &error);
	if (r)
		goto refused;
	mutex_lock(&registry_lock);
	v = find_volume(s->meta->bdev->bd_dev);
	if (v && v->md != dm_table_get_md(ti->table)) {
		mutex_unlock(&registry_lock);
		error = "the metadata device is in use by another volume";
		r = -EBUSY;
		goto refused;
	}
	if (!v) {
		v = volume_create(s, ti);
		if (IS_ERR(v)) {
			mutex_unlock(&registry_lock);
			r = PTR_ERR(v);
			goto refused;
		}
		list_add(&v->list, &registry);
	}
	v->refs++;
	s->v = v;
	mutex_unlock(&registry_lock);

	mutex_lock(&v->admin);
	r = configure(v, s, ti, uuid, &error);
	mutex_unlock(&v->admin);
	if (!r)
		return 0;
	shadow_volume_put(s);
refused:
	DMERR("%s: table refused: %s", dm_device_name(dm_table_get_md(ti->table)), error);
	return r;
}

/* Suspended, nothing in flight: everything that is still to be written is written. */
void shadow_volume_quiesce(struct shadow_volume *v)
{
	cancel_delayed_work_sync(&v->sweep_work);
	flush_work(&v->slow_work);
	flush_work(&v->intent_work);
	wait_event(v->stray_wait, !atomic_read(&v->strays));
	if (shadow_phase(v) != SHADOW_STEADY || v->words)
		shadow_intent_sweep_now(v);
	cancel_delayed_work_sync(&v->commit_work);
	shadow_commit(v);
	/* a tier that failed a flush just now: its shadows end before the words may move */
	flush_work(&v->slow_work);
	WRITE_ONCE(v->ti, NULL);
	flush_work(&v->event_work);
}

static void stop_in_order(struct shadow_volume *v)
{
	struct shadow_superblock sb = v->sb;

	if (!v->loaded || v->mode != SHADOW_MODE_RW ||
	    ((sb.flags & SHADOW_SB_CLEAN) && !v->sb_behind) || shadow_commit(v))
		return;
	if ((sb.phase != SHADOW_STEADY || v->words) &&
	    !bitmap_empty(v->intent_disk, v->nr_regions))
		return;
	sb.flags |= SHADOW_SB_CLEAN;
	if (shadow_metadata_write_sb(v, &sb))
		DMWARN("%s: could not write the clean flag", v->name);
}

/* A table goes away; the volume with the last one. */
void shadow_volume_put(struct shadow_target *s)
{
	struct shadow_volume *v = s->v;

	if (!v)
		return;
	s->v = NULL;
	mutex_lock(&registry_lock);
	if (!--v->refs) {
		list_del(&v->list);
		stop_in_order(v);
		volume_free(v);
	}
	mutex_unlock(&registry_lock);
}
