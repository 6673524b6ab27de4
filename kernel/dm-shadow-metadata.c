// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata device: reading it at the first resume, committing changes, formatting.
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

static int sync_io(struct shadow_volume *v, blk_opf_t opf, sector_t sector, void *buf,
		   unsigned int sectors)
{
	struct dm_io_region where = {
		.bdev = v->meta.bdev, .sector = sector, .count = sectors,
	};
	struct dm_io_request req = {
		.bi_opf = opf | REQ_SYNC | REQ_META,
		.mem.type = DM_IO_VMA,
		.mem.ptr.vma = buf,
		.client = v->meta.io,
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
	queue_delayed_work(v->wq, &v->commit_work, COMMIT_DELAY);
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
		up_write(&v->phase_lock);
		if (only)
			return -EIO;
		shadow_drop_leg(v, leg);
		r = -EAGAIN;
	}
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
	return n;
failed:
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
	if (bitmap_empty(states.dirty, states.nr) &&
	    (!slots.nr || bitmap_empty(slots.dirty, slots.nr)))
		return 0;
	r = mark_unclean(v);
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
	if (v->meta.dropped)
		shadow_gate_open(v, v->meta.dropped);
	v->meta.dropped = 0;
	return r;
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
	r = sync_io(v, REQ_OP_WRITE | REQ_FUA | REQ_PREFLUSH,
		    (next.generation & 1) * SHADOW_PAGE_SECTORS, batch_page(v, 0),
		    SHADOW_PAGE_SECTORS);
	if (!r) {
		v->sb = next;
		v->sb_behind = false;
	}
	return r;
}

/* --- load ----------------------------------------------------------------- */

/**
 * shadow_metadata_peek() - the newest valid superblock of a device, read on its own.
 * @blank: set if both places are zero
 *
 * Return: 0, -ENODATA if there is none that is valid, or an I/O error.
 */
int shadow_metadata_peek(struct block_device *bdev, struct shadow_superblock *sb, bool *blank)
{
	struct shadow_superblock one;
	struct shadow_volume *v;
	bool found = false;
	int i, r = -ENOMEM;

	*blank = true;
	v = kzalloc(sizeof(*v), GFP_KERNEL);
	if (!v)
		return r;
	v->meta.bdev = bdev;
	v->meta.buffers = vmalloc(SHADOW_NR_SUPERBLOCKS * SHADOW_PAGE_SIZE);
	v->meta.io = dm_io_client_create();
	if (!v->meta.buffers || IS_ERR(v->meta.io))
		goto out;
	r = sync_io(v, REQ_OP_READ, 0, v->meta.buffers,
		    SHADOW_NR_SUPERBLOCKS * SHADOW_PAGE_SECTORS);
	for (i = 0; i < SHADOW_NR_SUPERBLOCKS && !r; i++) {
		enum shadow_format_error e = shadow_sb_decode(batch_page(v, i), &one);

		if (e != SHADOW_FORMAT_BLANK)
			*blank = false;
		if (e == SHADOW_FORMAT_OK && (!found || one.generation > sb->generation)) {
			*sb = one;
			found = true;
		}
	}
	if (!r && !found)
		r = -ENODATA;
out:
	if (!IS_ERR_OR_NULL(v->meta.io))
		dm_io_client_destroy(v->meta.io);
	vfree(v->meta.buffers);
	kfree(v);
	return r;
}

/* Takes the states of one page over. */
static void page_apply(struct shadow_volume *v, u32 page, const void *buf,
		       const struct shadow_page_header *header)
{
	bool clean = v->sb.flags & SHADOW_SB_CLEAN;
	bool current_epoch = header->epoch == v->sb.epoch;
	const u8 *homes = shadow_page_homes_const(buf);
	const u8 *intent = shadow_page_intent_const(buf);
	u32 first = page * SHADOW_BLOCKS_PER_PAGE;
	u32 i;

	for (i = 0; i < SHADOW_BLOCKS_PER_PAGE && first + i < v->nr_tracked; i++) {
		struct shadow_ctx ctx = shadow_get_ctx(v, first + i);
		u32 region = i >> SHADOW_REGION_SHIFT;
		bool dirty = !clean && (intent[region / 8] >> (region % 8) & 1);
		enum shadow_home home = shadow_from_disk(homes[i], &ctx, current_epoch, dirty);

		v->map[first + i] = home;
		if (home != (enum shadow_home)homes[i])
			shadow_mark_page_dirty(v, first + i);
	}
	for (i = 0; i < SHADOW_REGIONS_PER_PAGE; i++) {
		u32 region = (first >> SHADOW_REGION_SHIFT) + i;

		if (!(intent[i / 8] >> (i % 8) & 1))
			continue;
		shadow_mark_page_dirty(v, first);	/* to clear the bits */
		/* for the shadows, which are read next; see shadow_tier_configure() */
		if (!clean && region < v->nr_regions)
			set_bit(region, v->intent_recent);
	}
}

/*
 * Picks the newer valid copy of a page: 0, 1, or an error. After a clean stop both have to be
 * valid.
 */
static int page_pick(struct shadow_volume *v, const struct page_set *set, u32 page,
		     void *copies[2], struct shadow_page_header *header)
{
	const char *kind = set->slots ? "slot" : "metadata";
	u64 tag = shadow_uuid_tag(v->sb.uuid);
	struct shadow_page_header h[2];
	enum shadow_format_error e[2];
	int i, pick;

	for (i = 0; i < 2; i++)
		e[i] = set->slots ? shadow_slot_page_decode(copies[i], tag, page, &h[i]) :
				    shadow_page_decode(copies[i], tag, page, &h[i]);

	if (e[0] && e[1]) {
		DMERR("%s: both copies of %s page %u are damaged (%s; %s): run shadow_check",
		      v->name, kind, page, shadow_format_strerror(e[0]),
		      shadow_format_strerror(e[1]));
		return -EILSEQ;
	}
	if ((e[0] || e[1]) && (v->sb.flags & SHADOW_SB_CLEAN)) {
		DMERR("%s: %s page %u is damaged (%s) after a clean stop: run shadow_check",
		      v->name, kind, page, shadow_format_strerror(e[0] ? e[0] : e[1]));
		return -EILSEQ;
	}
	pick = e[0] ? 1 : e[1] ? 0 : h[1].generation > h[0].generation;
	if (h[pick].epoch > v->sb.epoch) {
		DMERR("%s: %s page %u is newer than the superblock: run shadow_check", v->name,
		      kind, page);
		return -EILSEQ;
	}
	if (e[0] || e[1]) {
		DMWARN("%s: %s page %u has one torn copy; the other one is used", v->name, kind,
		       page);
		set_bit(page, set->dirty);
	}
	if (pick)
		set_bit(page, set->newest);
	else
		clear_bit(page, set->newest);
	v->meta.page_generation = max(v->meta.page_generation, h[pick].generation);
	*header = h[pick];
	return pick;
}

/**
 * shadow_metadata_load() - read the states of all blocks from @first_block's page on.
 *
 * Caller: has set v->sb, nr_tracked, ctx and the maps; nothing else runs.
 */
int shadow_metadata_load(struct shadow_volume *v, u32 first_block)
{
	u32 page = first_block / SHADOW_BLOCKS_PER_PAGE;
	struct page_set set = state_pages(v);
	struct shadow_page_header header;
	int r;

	while (page < set.nr) {
		u32 n = min(BATCH_PAGES / 2, set.nr - page);
		u32 i;

		r = sync_io(v, REQ_OP_READ, shadow_page_sector(page, 0), v->meta.buffers,
			    n * 2 * SHADOW_PAGE_SECTORS);
		for (i = 0; i < n && r >= 0; i++) {
			void *copies[2] = { batch_page(v, 2 * i), batch_page(v, 2 * i + 1) };

			r = page_pick(v, &set, page + i, copies, &header);
			if (r >= 0)
				page_apply(v, page + i, copies[r], &header);
		}
		if (r < 0)
			return r;
		page += n;
	}
	return 0;
}

/**
 * shadow_slot_pages_load() - read the words of all blocks.
 * @take: is given each that is not zero
 *
 * Caller: as above, and the states are loaded.
 */
int shadow_slot_pages_load(struct shadow_volume *v,
			   int (*take)(struct shadow_volume *v, u32 block, u32 word))
{
	struct page_set set = slot_pages(v);
	struct shadow_page_header header;
	u32 page, i;
	int r;

	for (page = 0; page < set.nr; page++) {
		void *copies[2] = { batch_page(v, 0), batch_page(v, 1) };

		r = sync_io(v, REQ_OP_READ, page_sector(v, &set, page, 0), v->meta.buffers,
			    2 * SHADOW_PAGE_SECTORS);
		if (r >= 0)
			r = page_pick(v, &set, page, copies, &header);
		if (r < 0)
			return r;
		for (i = 0; i < SHADOW_WORDS_PER_PAGE; i++) {
			u32 word = shadow_slot_page_word(copies[r], i);
			int wrong = word ? take(v, page * SHADOW_WORDS_PER_PAGE + i, word) : 0;

			if (wrong)
				return wrong;
		}
		cond_resched();
	}
	return 0;
}

/**
 * shadow_slot_pages_format() - write both copies of slot pages without any shadow.
 * @slot_end: as the superblock will say
 *
 * Durable when it returns 0. Caller: alone (resume).
 */
int shadow_slot_pages_format(struct shadow_volume *v, u64 slot_end, u32 first_page, u32 end_page)
{
	u32 page = first_page;
	int r;

	while (page < end_page) {
		u32 n = min(BATCH_PAGES / 2, end_page - page);
		u32 i;

		/* page numbers fall as sectors rise: one write covers pages page + n - 1 .. page */
		for (i = 0; i < 2 * n; i++) {
			struct shadow_page_header header = {
				.generation = ++v->meta.page_generation,
				.tag = shadow_uuid_tag(v->sb.uuid),
				.number = page + n - 1 - i / 2,
			};

			memset(batch_page(v, i), 0, SHADOW_PAGE_SIZE);
			shadow_slot_page_seal(batch_page(v, i), &header);
		}
		r = sync_io(v, REQ_OP_WRITE, shadow_slot_page_sector(slot_end, page + n - 1, 0),
			    v->meta.buffers, n * 2 * SHADOW_PAGE_SECTORS);
		if (r)
			return r;
		page += n;
	}
	bitmap_set(v->meta.slot_newest, first_page, end_page - first_page);
	bitmap_clear(v->meta.slot_dirty, first_page, end_page - first_page);
	return blkdev_issue_flush(v->meta.bdev);
}

/**
 * shadow_metadata_format_pages() - write both copies of new pages from the map.
 *
 * Durable when it returns 0. Caller: alone (resume).
 */
int shadow_metadata_format_pages(struct shadow_volume *v, u32 first_page, u32 end_page)
{
	u32 page, copy;
	int r;

	for (page = first_page; page < end_page; page++) {
		for (copy = 0; copy < 2; copy++) {
			page_picture(v, page, batch_page(v, copy));
			r = sync_io(v, REQ_OP_WRITE, shadow_page_sector(page, copy),
				    batch_page(v, copy), SHADOW_PAGE_SECTORS);
			if (r)
				return r;
		}
		set_bit(page, v->meta.newest);
		clear_bit(page, v->meta.dirty);
	}
	return blkdev_issue_flush(v->meta.bdev);
}

int shadow_metadata_init(struct shadow_volume *v)
{
	int r;

	mutex_init(&v->commit_lock);
	v->meta.buffers = vmalloc(BATCH_PAGES * SHADOW_PAGE_SIZE);
	if (!v->meta.buffers)
		return -ENOMEM;
	v->mem += BATCH_PAGES * SHADOW_PAGE_SIZE;
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
