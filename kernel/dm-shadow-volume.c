// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a table does to its volume, in two halves.
 *
 * When it is loaded (constructor) the volume may be in use. Whatever can be known is decided then,
 * and refused with a sentence; all memory, threads and clients that the table needs are made, and
 * pages of new capacity are formatted beyond the volume's end.
 *
 * When it is resumed nothing is mapped. The same is decided again from what is true by then, and
 * carried out: metadata I/O, which may fail and then has changed nothing, then everything else in
 * one go under v->view. A resume that fails leaves the volume as it was, and a table like the old
 * one takes it up again. Phases change by messages, under v->admin, with one superblock write each.
 *
 * Context: process.
 */
#include <linux/bitmap.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>

#include "dm-shadow-trace.h"
#include "dm-shadow.h"

#define NO_TAIL U32_MAX

static u32 blocks_of(const struct shadow_superblock *sb)
{
	return shadow_nr_blocks(sb->tracked_sectors, sb->block_sectors);
}

/* Room for the volume as it is on disk, and as it will be. @sb: NULL if the metadata is blank. */
static struct shadow_extent extent_of(const struct shadow_superblock *sb,
				      const struct shadow_superblock *next)
{
	struct shadow_extent e = { .blocks = blocks_of(next), .tiers = next->slot_end };
	int i;

	for (i = 0; i < SHADOW_NR_TIERS; i++)
		e.slots[i] = shadow_nr_slots(next, SHADOW_LEG_TIER1 + i);
	if (!sb)
		return e;
	e.blocks = max(e.blocks, blocks_of(sb));
	e.tiers |= sb->slot_end != 0;
	for (i = 0; i < SHADOW_NR_TIERS; i++)
		e.slots[i] = max(e.slots[i], shadow_nr_slots(sb, SHADOW_LEG_TIER1 + i));
	return e;
}

/* --- when a table is loaded ------------------------------------------------- */

/* The superblock, if the device is not blank. */
static int peek(struct shadow_metadata *m, void *bulk, struct shadow_superblock *sb, bool *blank,
		const char **error)
{
	int r = shadow_metadata_peek(m, bulk, sb, blank);

	if (!r || (r == -ENODATA && *blank))
		return 0;
	*error = r == -ENODATA ? "Metadata is neither valid nor blank: run shadow_check" :
				 "Metadata device cannot be read";
	return -EINVAL;
}

/* New capacity's pages, and those of a first tier, while the volume is in use. */
static int format_ahead(struct shadow_volume *v, struct shadow_target *s,
			const struct shadow_superblock *sb, const struct shadow_superblock *next,
			const char **error)
{
	u32 pages = shadow_nr_pages(blocks_of(next)), slots = 0, first_slot = 0;
	int r;

	/* what an aborted modification has left is still in use */
	if (v->nr_tracked != blocks_of(sb))
		return 0;
	if (next->slot_end) {
		slots = shadow_nr_slot_pages(blocks_of(next));
		first_slot = sb->slot_end ? v->meta.nr_slot_pages : 0;
	}
	*error = "The metadata of the new blocks cannot be written";
	r = shadow_metadata_format(v, s->bulk, sb->uuid, sb->epoch, SHADOW_HOLE, 0,
				   v->meta.nr_pages, pages) ?:
	    shadow_slot_pages_format(v, s->bulk, sb->uuid, next->slot_end, first_slot, slots);
	if (r)
		return r;
	s->ahead_seq = v->size_seq;
	s->ahead_pages = pages;
	s->ahead_slot_pages = slots;
	s->ahead_slot_end = next->slot_end;
	return 0;
}

static int prepare(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti,
		   const char *uuid, const char **error)
{
	struct shadow_superblock sb, next;
	bool loaded = shadow_copy_sb(v, &sb);
	struct shadow_extent extent;
	bool blank = false;
	int decision, r;

	if (loaded && READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		*error = "Volume is not in rw mode: remove it and create it again";
		return -EROFS;
	}
	if (!loaded) {
		r = peek(&v->meta, s->bulk, &sb, &blank, error);
		if (r)
			return r;
	}
	decision = shadow_decide(blank ? NULL : &sb, s, uuid, ti->len, &next, error);
	if (decision < 0)
		return decision;
	r = shadow_check_sizes(s, &next, error) ?:
	    loaded ? shadow_tier_check(v, &next, error) : 0;
	if (r)
		return r;
	s->logical_block = next.logical_block;
	extent = extent_of(blank ? NULL : &sb, &next);
	*error = "Out of memory";
	r = shadow_reserve(v, &s->reserve, &extent);
	if (r || !loaded)
		return r;
	return format_ahead(v, s, &sb, &next, error);
}

/* What is certainly no use is refused before anything is made for it. */
static int look_first(struct shadow_target *s, struct dm_target *ti, const char *uuid,
		      const char **error)
{
	struct shadow_metadata m = { .bdev = s->meta->bdev, .io = dm_io_client_create() };
	struct shadow_superblock sb, next;
	bool blank;
	int r;

	*error = "Out of memory";
	if (IS_ERR(m.io))
		return PTR_ERR(m.io);
	r = peek(&m, s->bulk, &sb, &blank, error);
	dm_io_client_destroy(m.io);
	if (r)
		return r;
	r = shadow_decide(blank ? NULL : &sb, s, uuid, ti->len, &next, error);
	return r < 0 ? r : shadow_check_sizes(s, &next, error);
}

static void free_leftovers(struct shadow_target *s)
{
	shadow_reserve_free(&s->reserve);
	vfree(s->bulk);
	s->bulk = NULL;
}

static void leftovers_work(struct work_struct *work)
{
	free_leftovers(container_of(work, struct shadow_target, leftovers));
}

/**
 * shadow_volume_prepare() - find or make the table's volume, and all that its resume will need.
 *
 * For the constructor. On an error the volume is as before; the caller calls shadow_volume_put().
 */
int shadow_volume_prepare(struct shadow_target *s, struct dm_target *ti, const char **error)
{
	struct mapped_device *md = dm_table_get_md(ti->table);
	dev_t meta = s->meta->bdev->bd_dev;
	char uuid[SHADOW_ID_MAX + 1];
	struct shadow_volume *v;
	unsigned int noio;
	int r;

	INIT_WORK(&s->leftovers, leftovers_work);
	r = shadow_volume_uuid(ti, uuid, sizeof(uuid), error);
	if (r)
		return r;
	s->bulk = vmalloc(SHADOW_BULK_PAGES * SHADOW_PAGE_SIZE);
	if (!s->bulk) {
		*error = "Out of memory";
		return -ENOMEM;
	}
	v = shadow_registry_get(meta, md, error);
	if (!v) {
		r = look_first(s, ti, uuid, error);
		if (r)
			return r;
		*error = "Out of memory";
		v = shadow_volume_new(meta, s->meta->bdev, md);
		if (!IS_ERR(v))
			v = shadow_registry_add(v, error);
	}
	if (IS_ERR(v))
		return PTR_ERR(v);
	s->v = v;
	if (s->given[SHADOW_LEG_TARGET])
		shadow_tidy_wait(v);
	if (s->given[SHADOW_LEG_TIER1] || s->given[SHADOW_LEG_TIER2]) {
		*error = "Out of memory";
		mutex_lock(&v->parts);
		r = shadow_tier_parts(v);
		mutex_unlock(&v->parts);
		if (r)
			return r;
	}
	if (mutex_lock_killable(&v->layout)) {
		*error = "Killed while another table of the volume was being carried out";
		return -EINTR;
	}
	/* a resume waits for the lock: what it will let go on must not be waited for meanwhile */
	noio = memalloc_noio_save();
	r = prepare(v, s, ti, uuid, error);
	memalloc_noio_restore(noio);
	mutex_unlock(&v->layout);
	return r;
}

/* --- a resume: how many holes there are ------------------------------------- */

/*
 * Without a look at each block: what comes or goes at the end is looked at, and only if it may be
 * anything but holes. The phase is steady.
 */
static void count_fewer(struct shadow_volume *v, u32 nr)
{
	u32 holes;

	if (nr >= v->nr_counted)
		return;
	/* an aborted growth: nobody may have data there */
	holes = nr == v->tail && !atomic_long_read(&v->tail_data) ?
		v->nr_counted - nr : shadow_count_holes(v, nr, v->nr_counted);
	atomic_long_sub(holes, &v->homes[SHADOW_HOLE]);
	atomic_long_sub(v->nr_counted - nr - holes, &v->homes[SHADOW_ORIGIN]);
	v->nr_counted = nr;
}

/* @old: blocks that had states before; those from there on are new, and holes. */
static void count_more(struct shadow_volume *v, u32 nr, u32 old)
{
	u32 known = min(nr, max(old, v->nr_counted)), holes;

	if (nr <= v->nr_counted)
		return;
	holes = shadow_count_holes(v, v->nr_counted, known) + (nr - known);
	atomic_long_add(holes, &v->homes[SHADOW_HOLE]);
	atomic_long_add(nr - v->nr_counted - holes, &v->homes[SHADOW_ORIGIN]);
	v->nr_counted = nr;
}

/* A modification is over: all that is no hole counts as the origin's. */
static void count_steady(struct shadow_volume *v)
{
	long holes = atomic_long_read(&v->homes[SHADOW_HOLE]) +
		     atomic_long_read(&v->homes[SHADOW_FILLING]);
	int i;

	for (i = 0; i < SHADOW_NR_HOMES; i++)
		atomic_long_set(&v->homes[i], 0);
	atomic_long_set(&v->homes[SHADOW_HOLE], holes);
	atomic_long_set(&v->homes[SHADOW_ORIGIN], v->nr_counted - holes);
}

/* After a load, every block. */
static void count_all(struct shadow_volume *v, u32 nr)
{
	unsigned long n[SHADOW_NR_HOMES] = { 0 };
	u32 b;
	int i;

	v->nr_counted = nr;
	if (v->sb.phase == SHADOW_STEADY) {
		atomic_long_set(&v->homes[SHADOW_HOLE], shadow_count_holes(v, 0, nr));
		count_steady(v);
		return;
	}
	for (b = 0; b < nr; b++) {
		n[shadow_home(v->map[b])]++;
		if (!(b % (1u << 20)))
			cond_resched();
	}
	for (i = 0; i < SHADOW_NR_HOMES; i++)
		atomic_long_set(&v->homes[i], n[i]);
	if (v->tail < nr)
		atomic_long_set(&v->tail_data, nr - v->tail - shadow_count_holes(v, v->tail, nr));
}

/* --- a resume: the volume takes its new shape -------------------------------- */

/* States are kept of @blocks. What lies beyond is forgotten: it says "hole", no bit is set. */
static void set_size(struct shadow_volume *v, u32 blocks)
{
	u32 old = v->nr_tracked, regions = DIV_ROUND_UP(blocks, 1u << SHADOW_REGION_SHIFT);
	u32 pages = shadow_nr_pages(blocks);

	if (blocks < old) {
		memset(v->map + blocks, SHADOW_HOLE, old - blocks);
		bitmap_clear(v->intent, regions, v->nr_regions - regions);
		bitmap_clear(v->intent_disk, regions, v->nr_regions - regions);
		bitmap_clear(v->intent_recent, regions, v->nr_regions - regions);
		bitmap_clear(v->doubt, regions * 8, (v->nr_regions - regions) * 8);
		bitmap_clear(v->meta.dirty, pages, v->meta.nr_pages - pages);
		bitmap_clear(v->meta.newest, pages, v->meta.nr_pages - pages);
	}
	if (v->words) {
		u32 slot_pages = shadow_nr_slot_pages(blocks);

		if (blocks < old)
			memset(v->words + blocks, 0, (old - blocks) * 4ul);
		if (slot_pages < v->meta.nr_slot_pages) {
			u32 n = v->meta.nr_slot_pages - slot_pages;

			bitmap_clear(v->meta.slot_dirty, slot_pages, n);
			bitmap_clear(v->meta.slot_newest, slot_pages, n);
		}
		v->meta.nr_slot_pages = slot_pages;
	}
	v->nr_tracked = blocks;
	v->nr_regions = regions;
	v->meta.nr_pages = pages;
}

static void take_legs(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti)
{
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		v->legs[leg] = s->legs[leg] ? s->legs[leg]->bdev : NULL;
	v->meta.bdev = s->meta->bdev;
	v->len = ti->len;
	v->nr_blocks = shadow_nr_blocks(ti->len, 1u << v->shift);
	v->owner = s;
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
	if (v->tail == NO_TAIL)
		atomic_long_set(&v->tail_data, 0);
	shadow_set_ctx(v, w);
}

/* After "commit" or "abort" the bytes still tell of the modification; see dm-shadow-tidy.c. */
static void after_a_modification(struct shadow_volume *v)
{
	v->tidy_due = false;
	v->tidy_next = 0;
	WRITE_ONCE(v->untidy, true);
	count_steady(v);
	if (v->words)
		return;	/* shadows rely on the bits that the last sweep could not clear */
	bitmap_zero(v->intent, v->nr_regions);
	bitmap_zero(v->intent_disk, v->nr_regions);
	bitmap_zero(v->intent_recent, v->nr_regions);
}

/* --- a resume: metadata I/O -------------------------------------------------- */

/* The last block was short and becomes longer: what the device holds there is not ours. */
static int zero_shadow(struct shadow_volume *v, const struct shadow_target *s, u32 block,
		       sector_t first, sector_t end)
{
	const struct dm_dev *tier = s->legs[shadow_word_leg(v->words[block])];
	sector_t start = shadow_slot_start(v, v->words[block]) +
			 (first - shadow_block_start(v, block));

	return tier ? blkdev_issue_zeroout(tier->bdev, start, end - first, GFP_NOIO, 0) ?:
		      blkdev_issue_flush(tier->bdev) : -ENODEV;
}

static int zero_short_end(struct shadow_volume *v, const struct shadow_target *s, sector_t old,
			  sector_t len)
{
	sector_t end = min_t(sector_t, round_up(old, (sector_t)1 << v->shift), len);
	struct block_device *origin = s->legs[SHADOW_LEG_ORIGIN]->bdev;
	u32 block = old >> v->shift;

	if (old == end || shadow_home(v->map[block]) == SHADOW_HOLE)
		return 0;
	if (v->words) {
		int r;

		mutex_lock(&v->drop_lock);	/* the slot stays the block's meanwhile */
		r = v->words[block] ? zero_shadow(v, s, block, old, end) : 0;
		mutex_unlock(&v->drop_lock);
		if (r)
			return r;
	}
	return blkdev_issue_zeroout(origin, old, end - old, GFP_NOIO, 0) ?:
	       blkdev_issue_flush(origin);
}

/* Pages that the volume gets, unless they were formatted when the table was loaded. */
static int new_pages(struct shadow_volume *v, const struct shadow_target *s,
		     const struct shadow_superblock *next)
{
	bool ahead = s->ahead_pages && s->ahead_seq == v->size_seq;
	u32 pages = shadow_nr_pages(blocks_of(next)), old = v->nr_tracked;
	u32 slots = shadow_nr_slot_pages(blocks_of(next));
	u32 first_slot = v->sb.slot_end ? v->meta.nr_slot_pages : 0;
	int r = 0;

	if (next->slot_end && !(ahead && s->ahead_slot_end == next->slot_end &&
				s->ahead_slot_pages >= slots))
		r = shadow_slot_pages_format(v, s->bulk, v->sb.uuid, next->slot_end, first_slot,
					     slots);
	if (!r && !(ahead && s->ahead_pages >= pages))
		r = shadow_metadata_format(v, s->bulk, v->sb.uuid, v->sb.epoch, SHADOW_HOLE, 0,
					   v->meta.nr_pages, pages);
	if (r || blocks_of(next) <= old || !(old % SHADOW_BLOCKS_PER_PAGE))
		return r;
	/* a page that was cut by a shrink may still tell of blocks beyond the old end */
	shadow_mark_page_dirty(v, old - 1);
	return shadow_commit(v);
}

/* All I/O of a table but the load. If it fails the volume is as before. */
static int write_metadata(struct shadow_volume *v, const struct shadow_target *s, int decision,
			  const struct shadow_superblock *next)
{
	sector_t old = v->sb.nr_sectors;
	int r = 0;

	switch (decision) {
	case SHADOW_FORMAT:
		r = shadow_metadata_format(v, s->bulk, next->uuid, next->epoch,
					   s->fresh ? SHADOW_HOLE : SHADOW_ORIGIN,
					   blocks_of(next), 0, shadow_nr_pages(blocks_of(next)));
		v->meta.page_generation = 1;
		break;
	case SHADOW_GROW:
		r = zero_short_end(v, s, old, next->nr_sectors) ?: new_pages(v, s, next);
		break;
	case SHADOW_ATTACH:
		/*
		 * What a shrink hides comes back with "abort". No flush from now on asks for it,
		 * and one that is acknowledged without the origin promises it all the same.
		 */
		if (next->nr_sectors < old)
			r = blkdev_issue_flush(s->legs[SHADOW_LEG_ORIGIN]->bdev);
		r = r ?: new_pages(v, s, next);
		break;
	default:
		r = new_pages(v, s, next);	/* of a first tier */
		break;
	}
	if (!r && (decision != SHADOW_RUN || v->sb_behind ||
		   memcmp(&v->sb, next, sizeof(*next))))
		r = shadow_metadata_write_sb(v, next);
	return r;
}

/* --- a resume ----------------------------------------------------------------- */

/* The volume as its metadata device has it. Nobody else looks at it before v->loaded is set. */
static int load(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti,
		const struct shadow_superblock *sb, struct shadow_superblock *next,
		const char **error)
{
	int r;

	take_legs(v, s, ti);
	shadow_set_sb(v, sb);
	take_phase(v, sb, s);
	/*
	 * After a reset without a power cut the device's cache may hold pages whose writes never
	 * ended: they are relied on from now on, so they have to be durable.
	 */
	*error = "The metadata cannot be read: run shadow_check";
	r = shadow_metadata_load(v, s->bulk) ?: blkdev_issue_flush(v->meta.bdev);
	if (r)
		return r;
	if (sb->flags & SHADOW_SB_NEEDS_CHECK) {
		DMWARN("%s: there was metadata trouble; all pages have been checked now",
		       v->name);
		next->flags &= ~SHADOW_SB_NEEDS_CHECK;
	}
	r = shadow_tier_load(v, s, error);
	bitmap_zero(v->intent_recent, v->nr_regions);
	return r;
}

/* A load that failed, to be begun anew. */
static void unload(struct shadow_volume *v)
{
	int i;

	set_size(v, 0);
	spin_lock(&v->sb_lock);
	memset(&v->sb, 0, sizeof(v->sb));
	spin_unlock(&v->sb_lock);
	memset(v->legs, 0, sizeof(v->legs));
	v->owner = NULL;
	for (i = 0; i < SHADOW_NR_TIERS; i++) {
		struct shadow_slots *slots = &v->tier[i].slots;

		if (slots->bits)
			memset(slots->bits, 0, shadow_slots_bytes(slots->nr));
		if (slots->full)
			memset(slots->full, 0, shadow_slots_full_bytes(slots->nr));
		slots->nr = 0;
		slots->used = 0;
		slots->hint = 0;
		atomic_set(&v->tier[i].dirty, 0);
	}
}

/* In ro and fail mode nothing can be changed, but a table that asks for nothing may go on. */
static int attach_as_it_is(struct shadow_volume *v, struct shadow_target *s,
			   struct dm_target *ti, int decision,
			   const struct shadow_superblock *next, const char **error)
{
	bool same = decision == SHADOW_RUN && v->sb.slot_end == next->slot_end;
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		same &= v->legs[leg] == (s->legs[leg] ? s->legs[leg]->bdev : NULL) &&
			v->sb.legs[leg].present == next->legs[leg].present;
	if (!same) {
		*error = "the volume is not in rw mode: remove it and create it again";
		return -EROFS;
	}
	down_write(&v->view);
	take_legs(v, s, ti);
	up_write(&v->view);
	return 0;
}

/* Everything that is no I/O. */
static void take_shape(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti,
		       int decision, const struct shadow_superblock *next)
{
	bool was_loaded = v->loaded;
	u32 old = v->nr_tracked;

	if (decision == SHADOW_ATTACH)
		trace_shadow_phase(v->name, SHADOW_STEADY, v->sb.phase);
	if (was_loaded && v->nr_blocks > shadow_nr_blocks(ti->len, 1u << v->shift)) {
		/* requests were checked against the end that there was */
		shadow_queue_clear(v, &v->mover.queue);
		shadow_queue_clear(v, &v->tmover.queue);
	}
	down_write(&v->view);
	if (was_loaded && blocks_of(next) < v->nr_counted)
		count_fewer(v, blocks_of(next));
	set_size(v, blocks_of(next));
	if (decision == SHADOW_FORMAT && !s->fresh)
		memset(v->map, SHADOW_ORIGIN, v->nr_tracked);
	take_legs(v, s, ti);
	if (was_loaded && (v->sb.phase == SHADOW_STEADY || decision == SHADOW_ATTACH)) {
		count_fewer(v, v->nr_blocks);
		count_more(v, v->nr_blocks, old);
	}
	take_phase(v, &v->sb, s);
	shadow_tier_take(v, s, next);
	if (!was_loaded)
		count_all(v, v->nr_blocks);
	spin_lock(&v->sb_lock);
	v->loaded = true;
	spin_unlock(&v->sb_lock);
	v->size_seq++;
	up_write(&v->view);
}

/* Copies may lie on a leg that the volume had and the table has no device for. */
static bool something_missing(const struct shadow_superblock *sb, const struct shadow_target *s)
{
	u8 leg;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		if (sb->legs[leg].present && !s->legs[leg])
			return true;
	return false;
}

static int configure(struct shadow_volume *v, struct shadow_target *s, struct dm_target *ti,
		     const char *uuid, const char **error)
{
	bool blank = false, was_loaded = v->loaded;
	struct shadow_superblock sb, next;
	struct shadow_extent extent;
	int decision, r;
	u8 leg;

	if (was_loaded) {
		sb = v->sb;
	} else {
		r = peek(&v->meta, s->bulk, &sb, &blank, error);
		if (r)
			return r;
	}
	decision = shadow_decide(blank ? NULL : &sb, s, uuid, ti->len, &next, error);
	if (decision < 0)
		return decision;
	if (was_loaded && v->mode != SHADOW_MODE_RW)
		return attach_as_it_is(v, s, ti, decision, &next, error);
	r = shadow_check_sizes(s, &next, error);
	if (r)
		return r;
	shadow_record_name(v, &next);
	extent = extent_of(blank ? NULL : &sb, &next);
	if (!shadow_reserve_fits(v, &s->reserve, &extent)) {
		*error = "the volume has changed since the table was loaded: load it again";
		return -ESTALE;
	}
	down_write(&v->view);
	shadow_reserve_take(v, &s->reserve, &extent);
	v->shift = __ffs(s->block_sectors);
	v->mask = s->block_sectors - 1;
	if (was_loaded && sb.phase == SHADOW_STEADY) {
		if (v->tidy_due)
			after_a_modification(v);
		/* what a shrink, or an aborted growth, left is forgotten: a grow makes holes */
		count_fewer(v, blocks_of(&sb));
	}
	if (!was_loaded || sb.phase == SHADOW_STEADY)
		set_size(v, blank ? 0 : blocks_of(&sb));
	else if (v->words)
		v->meta.nr_slot_pages = shadow_nr_slot_pages(v->nr_tracked);
	up_write(&v->view);

	if (!was_loaded && !blank) {
		r = load(v, s, ti, &sb, &next, error);
		if (r)
			goto bad;
	}
	if (!blank) {
		r = shadow_tier_check(v, &next, error);
		if (r)
			goto bad;
	}
	if (decision == SHADOW_ATTACH)
		shadow_tidy_now(v);
	*error = "the metadata, or the end of the origin, could not be read or written";
	r = write_metadata(v, s, decision, &next);
	if (r)
		goto bad;
	take_shape(v, s, ti, decision, &next);
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (v->sb.phase != SHADOW_STEADY && !v->legs[leg])
			shadow_drop_leg(v, leg);
	/*
	 * The table is the volume's by now: if this fails it goes on in read-only mode. The metadata
	 * may still call copies current that are on what is missing, and they would be believed when
	 * it is back: so nothing is written that they do not get.
	 */
	r = shadow_tier_settle(v, s) ?: shadow_commit(v);
	if (r && !blank && something_missing(&sb, s))
		shadow_gate_close(v);
	return 0;
bad:
	if (!was_loaded)
		unload(v);
	return r;
}

/**
 * shadow_volume_attach() - a table is about to go live (preresume).
 *
 * Nothing is mapped. On an error the device stays suspended, and the volume is as before.
 */
int shadow_volume_attach(struct shadow_target *s, struct dm_target *ti)
{
	const char *error = "out of memory";
	char uuid[SHADOW_ID_MAX + 1];
	struct shadow_volume *v = s->v;
	unsigned int noio;
	int r;

	if (s->attached)
		return 0;	/* resumed again: nothing has changed */
	WRITE_ONCE(s->resuming, true);
	/* a suspended volume must not wait for its own I/O to get memory */
	noio = memalloc_noio_save();
	r = shadow_volume_uuid(ti, uuid, sizeof(uuid), &error);
	if (!r) {
		mutex_lock(&v->admin);
		mutex_lock(&v->layout);
		shadow_tidy_stop(v);
		r = configure(v, s, ti, uuid, &error);
		if (!r)
			smp_store_release(&s->attached, true); /* after all of it */
		mutex_unlock(&v->layout);
		mutex_unlock(&v->admin);
	}
	memalloc_noio_restore(noio);
	if (r)
		DMERR("%s: table refused: %s", v->name, error);
	return r;
}

/* --- its end -------------------------------------------------------------------- */

/* Suspended, nothing in flight: everything that is still to be written is written. */
void shadow_volume_quiesce(struct shadow_volume *v)
{
	shadow_tidy_stop(v);
	cancel_delayed_work_sync(&v->sweep_work);
	flush_work(&v->discard_work);
	flush_work(&v->slow_work);
	flush_work(&v->intent_work);
	shadow_race_wait(v);
	if (shadow_phase(v) != SHADOW_STEADY || v->words)
		shadow_intent_sweep_now(v);
	cancel_delayed_work_sync(&v->commit_work);
	shadow_commit(v);
	/* a tier that failed a flush just now: its shadows end before the words may move */
	flush_work(&v->slow_work);
	WRITE_ONCE(v->ti, NULL);
	flush_work(&v->event_work);
}

/* The table whose devices the volume has is going: whatever is to be written is written now. */
static void stop_in_order(struct shadow_volume *v)
{
	struct shadow_superblock sb = v->sb;

	if (!v->loaded || v->mode != SHADOW_MODE_RW ||
	    ((sb.flags & SHADOW_SB_CLEAN) && !v->sb_behind) || shadow_commit(v))
		return;
	sb = v->sb;
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

	cancel_work_sync(&s->leftovers);
	free_leftovers(s);
	if (!v)
		return;
	s->v = NULL;
	mutex_lock(&v->admin);
	if (v->owner == s) {
		/* another table may take the volume up; these devices it has to bring itself */
		stop_in_order(v);
		memset(v->legs, 0, sizeof(v->legs));
		v->owner = NULL;
	}
	mutex_unlock(&v->admin);
	shadow_registry_put(v);
}
