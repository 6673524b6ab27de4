// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata device: committing changes. dm-shadow-load.c reads and formats it.
 *
 * Every state page has two places; a commit writes the one that does not hold the newest valid
 * copy, so a torn write leaves the copy of the commit before. The superblock alternates
 * likewise. Layout and order: docs/on-disk-format.md.
 *
 * Context: process. shadow_commit() may be called from any worker; commits are serialised. A
 * write error ends in read-only mode.
 */
#include <linux/crc32c.h>
#include <linux/dm-ioctl.h>
#include <linux/vmalloc.h>

#include "dm-shadow-trace.h"
#include "dm-shadow.h"

#define BATCH_PAGES 16u
#define COMMIT_DELAY HZ

u32 shadow_crc32c(u32 seed, const void *data, size_t len)
{
	return crc32c(seed, data, len);
}

static void *batch_page(struct shadow_volume *v, unsigned int i)
{
	return v->meta.buffers + i * SHADOW_PAGE_SIZE;
}

/* Reads or writes, and waits. @buf: of vmalloc() */
int shadow_meta_io(struct shadow_metadata *m, blk_opf_t opf, sector_t sector, void *buf,
		   unsigned int sectors)
{
	struct dm_io_region where = {
		.bdev = m->bdev, .sector = sector, .count = sectors,
	};
	struct dm_io_request req = {
		.bi_opf = opf | REQ_SYNC | REQ_META,
		.mem.type = DM_IO_VMA,
		.mem.ptr.vma = buf,
		.client = m->io,
	};

	return dm_io(&req, 1, &where, NULL, IOPRIO_DEFAULT);
}

/* --- several pages at once ------------------------------------------------ */

struct page_batch {
	atomic_t pending;
	atomic_t failed;
	struct completion done;
};

static void page_written(unsigned long error, void *context)
{
	struct page_batch *b = context;

	if (error)
		atomic_inc(&b->failed);
	if (atomic_dec_and_test(&b->pending))
		complete(&b->done);
}

static void page_write(struct shadow_volume *v, struct page_batch *b, unsigned int slot,
		       sector_t sector, blk_opf_t flags)
{
	struct dm_io_region where = {
		.bdev = v->meta.bdev,
		.sector = sector,
		.count = SHADOW_PAGE_SECTORS,
	};
	struct dm_io_request req = {
		.bi_opf = REQ_OP_WRITE | REQ_SYNC | REQ_META | flags,
		.mem.type = DM_IO_VMA,
		.mem.ptr.vma = batch_page(v, slot),
		.notify.fn = page_written,
		.notify.context = b,
		.client = v->meta.io,
	};

	atomic_inc(&b->pending);
	if (dm_io(&req, 1, &where, NULL, IOPRIO_DEFAULT))
		page_written(1, b);
}

static void page_batch_init(struct page_batch *b)
{
	atomic_set(&b->pending, 1);
	atomic_set(&b->failed, 0);
	init_completion(&b->done);
}

static int page_batch_wait(struct page_batch *b)
{
	if (!atomic_dec_and_test(&b->pending))
		wait_for_completion_io(&b->done);
	return atomic_read(&b->failed) ? -EIO : 0;
}

/* --- commit --------------------------------------------------------------- */

void shadow_mark_page_dirty(struct shadow_volume *v, u32 block)
{
	u32 page = block / SHADOW_BLOCKS_PER_PAGE;

	if (!test_bit(page, v->meta.dirty))
		set_bit(page, v->meta.dirty);
}

void shadow_mark_slot_page_dirty(struct shadow_volume *v, u32 block)
{
	u32 page = block / SHADOW_WORDS_PER_PAGE;

	if (!test_bit(page, v->meta.slot_dirty))
		set_bit(page, v->meta.slot_dirty);
}

/* State pages, or slot pages: what a commit has to know of either. */
struct page_set {
	unsigned long *dirty, *newest;	/* bit per page */
	u32 nr;
	bool slots;
};

static struct page_set state_pages(struct shadow_volume *v)
{
	return (struct page_set){ v->meta.dirty, v->meta.newest, v->meta.nr_pages, false };
}

static struct page_set slot_pages(struct shadow_volume *v)
{
	return (struct page_set){ v->meta.slot_dirty, v->meta.slot_newest,
				  v->words && v->sb.slot_end ? v->meta.nr_slot_pages : 0,
				  true };
}

static sector_t page_sector(struct shadow_volume *v, const struct page_set *set, u32 page,
			    u32 copy)
{
	return set->slots ? shadow_slot_page_sector(v->sb.slot_end, page, copy) :
			    shadow_page_sector(page, copy);
}

void shadow_commit_soon(struct shadow_volume *v)
{
	queue_delayed_work(system_freezable_wq, &v->commit_work, COMMIT_DELAY);
}

/* What the page is to say, from the states as they are now. */
static void page_picture(struct shadow_volume *v, u32 page, void *buf)
{
	struct shadow_page_header header = {
		.generation = ++v->meta.page_generation,
		.tag = shadow_uuid_tag(v->sb.uuid),
		.number = page,
		.epoch = v->sb.epoch,
	};
	u32 first = page * SHADOW_BLOCKS_PER_PAGE;
	u32 first_region = first >> SHADOW_REGION_SHIFT;
	struct shadow_ctx ctx = shadow_get_ctx(v, 0);	/* phases change under commit_lock */
	u8 *homes = shadow_page_homes(buf);
	u8 *intent = shadow_page_intent(buf);
	u32 i;

	memset(buf, 0, SHADOW_PAGE_SIZE);
	for (i = 0; i < SHADOW_REGIONS_PER_PAGE && first_region + i < v->nr_regions; i++)
		if (test_bit(first_region + i, v->intent_disk))
			intent[i / 8] |= 1u << (i % 8);
	for (i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++) {
		if (first + i >= v->nr_tracked) {
			/* what may become capacity one day is born a hole */
			memset(homes + i, SHADOW_HOLE, SHADOW_BLOCKS_PER_PAGE - i);
			break;
		}
		homes[i] = shadow_disk_home(READ_ONCE(v->map[first + i]), &ctx);
	}
	shadow_page_seal(buf, &header);
}

static void slot_page_picture(struct shadow_volume *v, u32 page, void *buf)
{
	struct shadow_page_header header = {
		.generation = ++v->meta.page_generation,
		.tag = shadow_uuid_tag(v->sb.uuid),
		.number = page,
	};
	u32 first = page * SHADOW_WORDS_PER_PAGE;
	u32 i;

	memset(buf, 0, SHADOW_PAGE_SIZE);
	for (i = 0; i < SHADOW_WORDS_PER_PAGE && first + i < v->nr_tracked; i++)
		shadow_slot_page_set(buf, i,
				     shadow_tier_disk(READ_ONCE(v->words[first + i])));
	shadow_slot_page_seal(buf, &header);
}

/*
 * The picture was taken before: whatever it calls current is on the legs, if only in their
 * caches. A leg that cannot flush loses its copies (-EAGAIN: the caller takes a new picture),
 * unless it is the only one that has some of them (-EIO: nothing may be said about those). A tier
 * loses its clean shadows; its dirty ones were flushed before they were called so.
 */
static int flush_legs(struct shadow_volume *v)
{
	unsigned int mask = atomic_xchg(&v->unflushed, 0);
	unsigned int sole = atomic_fetch_andnot(mask, &v->sole);
	bool only;
	u8 leg;
	int r = 0;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++) {
		if (!(mask & (1u << leg)) || !v->legs[leg])
			continue;
		if (!blkdev_issue_flush(v->legs[leg]))
			continue;
		if (leg >= SHADOW_LEG_TIER1) {
			shadow_tier_flush_failed(v, leg);
			r = -EAGAIN;
			continue;
		}
		DMERR_LIMIT("%s: flush of the %s failed", v->name, shadow_leg_name(leg));
		shadow_gate_close(v);
		v->meta.dropped++;
		/* who said "unflushed" before we asked is through with its states and sole */
		down_write(&v->phase_lock);
		only = (sole | atomic_read(&v->sole)) & (1u << leg);
		/* what it alone held may have been copied since */
		if (shadow_phase(v) != SHADOW_STEADY)
			only &= shadow_only_on(v, leg);
		up_write(&v->phase_lock);
		/* read-only: what there are two of is not read from there, if only in memory */
		shadow_home_flush_failed(v, leg);
		if (only)
			return -EIO;
		r = -EAGAIN;
	}
	/* a flush does not know what was lost before it */
	if (shadow_take_doubts(v))
		r = -EAGAIN;
	return r;
}

/*
 * One batch: returns the number of pages taken (0: nothing was dirty) or an error. -EAGAIN, of slot
 * pages: a home leg was dropped. What they say relies on that, so state pages go first.
 */
static int commit_batch(struct shadow_volume *v, const struct page_set *set, u32 *from)
{
	u32 pages[BATCH_PAGES];
	unsigned int n = 0, i, homes = v->meta.dropped;
	bool dropped = false;
	struct page_batch b;
	u32 page;
	int r;

	for (page = find_next_bit(set->dirty, set->nr, *from);
	     page < set->nr && n < BATCH_PAGES;
	     page = find_next_bit(set->dirty, set->nr, page + 1)) {
		clear_bit(page, set->dirty);
		pages[n++] = page;
	}
	if (!n)
		return 0;
	smp_mb__after_atomic(); /* clear the dirty bit, then read the states: shadow_apply() */
retry:
	for (i = 0; i < n; i++)
		(set->slots ? slot_page_picture : page_picture)(v, pages[i], batch_page(v, i));
	smp_mb(); /* picture, then v->unflushed */
	r = flush_legs(v);
	if (r == -EAGAIN && !(set->slots && homes != v->meta.dropped)) {
		dropped = true;	/* which made other pages dirty, too */
		goto retry;
	}
	if (r)
		goto failed;

	page_batch_init(&b);
	for (i = 0; i < n; i++)
		page_write(v, &b, i, page_sector(v, set, pages[i],
						 !test_bit(pages[i], set->newest)),
			   n == 1 ? REQ_FUA : 0);
	r = page_batch_wait(&b);
	if (!r && n > 1)
		r = blkdev_issue_flush(v->meta.bdev);
	if (r)
		goto failed;
	for (i = 0; i < n; i++)
		change_bit(pages[i], set->newest);
	*from = dropped ? 0 : pages[n - 1] + 1;
	trace_shadow_commit(v->name, n, 0);
	return n;
failed:
	trace_shadow_commit(v->name, n, r);
	for (i = 0; i < n; i++)
		set_bit(pages[i], set->dirty);
	return r;
}

/* The first commit after a clean start takes the clean flag away. */
static int mark_unclean(struct shadow_volume *v)
{
	struct shadow_superblock sb = v->sb;

	if (!(sb.flags & SHADOW_SB_CLEAN))
		return 0;
	sb.flags &= ~SHADOW_SB_CLEAN;
	return shadow_metadata_write_sb(v, &sb);
}

static int commit_pages(struct shadow_volume *v, const struct page_set *set)
{
	u32 from = 0;
	int r;

	do {
		r = commit_batch(v, set, &from);
	} while (r > 0);
	return r;
}

/* What legs lost is durable: writes may rely on that. */
static void commit_over(struct shadow_volume *v)
{
	atomic_andnot(SHADOW_SUSPECT_TAKEN, &v->suspect);
	if (v->meta.dropped)
		shadow_gate_open(v, v->meta.dropped);
	v->meta.dropped = 0;
	if (v->words)
		wake_up(&v->tmover.wake);
}

/*
 * shadow_commit() for who holds commit_lock. Slot pages first: what a load found has to be taken
 * back in this order (the end of a shadow that relied on a write-intent bit, then the bit). A
 * discard, which needs the other order, commits twice. After a home leg was dropped state pages go
 * first: "clean" and "none" are true only if its copies do not count.
 */
int __shadow_commit(struct shadow_volume *v)
{
	struct page_set states = state_pages(v), slots = slot_pages(v);
	bool slots_last;
	int r;

	if (v->mode != SHADOW_MODE_RW)
		return -EROFS;
	slots_last = shadow_take_doubts(v);
	if (bitmap_empty(states.dirty, states.nr) &&
	    (!slots.nr || bitmap_empty(slots.dirty, slots.nr))) {
		commit_over(v);
		return 0;
	}
	r = mark_unclean(v);
	if (!r && slots_last)
		r = commit_pages(v, &states);
	do {
		r = r ?: commit_pages(v, &slots);
		slots_last = r == -EAGAIN;
		if (!r || slots_last)
			r = commit_pages(v, &states);
	} while (!r && slots_last);
	if (r) {
		shadow_set_mode(v, SHADOW_MODE_RO, "the metadata could not be committed");
		shadow_release_parked(v);	/* to fail */
		return r;
	}
	atomic64_inc(&v->commits);
	commit_over(v);
	return 0;
}

/**
 * shadow_commit() - make every state change so far durable.
 *
 * Return: 0; -EROFS in read-only mode; or the error that put the volume there.
 */
int shadow_commit(struct shadow_volume *v)
{
	int r;

	mutex_lock(&v->commit_lock);
	r = __shadow_commit(v);
	mutex_unlock(&v->commit_lock);
	return r;
}

/* The device's name, for who puts the volume together from its metadata. */
void shadow_record_name(struct shadow_volume *v, struct shadow_superblock *sb)
{
	char name[DM_NAME_LEN] = "";

	/* fails once the device is on its way out: the name it had is kept */
	if (dm_copy_name_and_uuid(v->md, name, NULL))
		return;
	memset(sb->name, 0, sizeof(sb->name));
	strscpy(sb->name, name, sizeof(sb->name));
}

void shadow_set_sb(struct shadow_volume *v, const struct shadow_superblock *sb)
{
	spin_lock(&v->sb_lock);
	v->sb = *sb;
	spin_unlock(&v->sb_lock);
}

/* For who does not hold commit_lock, and must not wait for it. False: nothing was loaded yet. */
bool shadow_copy_sb(struct shadow_volume *v, struct shadow_superblock *sb)
{
	bool loaded;

	spin_lock(&v->sb_lock);
	*sb = v->sb;
	loaded = v->loaded;
	spin_unlock(&v->sb_lock);
	return loaded;
}

/**
 * shadow_metadata_write_sb() - write a superblock and make it the volume's.
 * @sb: what it is to say; its generation is set here, and the name the device has by now
 *
 * Caller: holds commit_lock, or is alone (resume, suspended).
 */
int shadow_metadata_write_sb(struct shadow_volume *v, const struct shadow_superblock *sb)
{
	struct shadow_superblock next = *sb;
	int r;

	next.generation = v->sb.generation + 1;
	shadow_record_name(v, &next);
	shadow_sb_encode(&next, batch_page(v, 0));
	r = shadow_meta_io(&v->meta, REQ_OP_WRITE | REQ_FUA | REQ_PREFLUSH,
			   (next.generation & 1) * SHADOW_PAGE_SECTORS, batch_page(v, 0),
			   SHADOW_PAGE_SECTORS);
	if (!r) {
		shadow_set_sb(v, &next);
		v->sb_behind = false;
	}
	return r;
}

int shadow_metadata_init(struct shadow_volume *v)
{
	int r;

	spin_lock_init(&v->sb_lock);
	mutex_init(&v->commit_lock);
	v->meta.buffers = vmalloc(BATCH_PAGES * SHADOW_PAGE_SIZE);
	if (!v->meta.buffers)
		return -ENOMEM;
	v->fixed_mem += BATCH_PAGES * SHADOW_PAGE_SIZE;
	v->meta.io = dm_io_client_create();
	if (IS_ERR(v->meta.io)) {
		r = PTR_ERR(v->meta.io);
		v->meta.io = NULL;
		return r;
	}
	return 0;
}

void shadow_metadata_exit(struct shadow_volume *v)
{
	if (v->meta.io)
		dm_io_client_destroy(v->meta.io);
	vfree(v->meta.buffers);
}
