// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata device: superblock and pages read when a volume begins, pages formatted for blocks
 * that are new. Layout: docs/on-disk-format.md.
 *
 * Both copies of a page lie beside each other, and so do pages: each I/O is of many. The buffer is
 * the caller's, who has it from before anything was suspended.
 *
 * Context: process. An error changes nothing.
 */

#include "dm-shadow.h"

#define BULK (SHADOW_BULK_PAGES / 2)	/* pages, with both copies */

static void *bulk_page(void *bulk, unsigned int i)
{
	return bulk + i * SHADOW_PAGE_SIZE;
}

/* --- the superblock ------------------------------------------------------- */

/**
 * shadow_metadata_peek() - the newest valid superblock of a device.
 * @blank: set if both places are zero
 *
 * Return: 0, -ENODATA if there is none that is valid, or an I/O error.
 */
int shadow_metadata_peek(struct shadow_metadata *m, void *bulk, struct shadow_superblock *sb,
			 bool *blank)
{
	struct shadow_superblock one;
	bool found = false;
	int i, r;

	*blank = true;
	r = shadow_meta_io(m, REQ_OP_READ, 0, bulk, SHADOW_NR_SUPERBLOCKS * SHADOW_PAGE_SECTORS);
	for (i = 0; i < SHADOW_NR_SUPERBLOCKS && !r; i++) {
		enum shadow_format_error e = shadow_sb_decode(bulk_page(bulk, i), &one);

		if (e != SHADOW_FORMAT_BLANK)
			*blank = false;
		if (e == SHADOW_FORMAT_OK && (!found || one.generation > sb->generation)) {
			*sb = one;
			found = true;
		}
	}
	return r ?: found ? 0 : -ENODATA;
}

/** shadow_metadata_peek_at() - likewise, of a device that no volume has yet. */
int shadow_metadata_peek_at(struct block_device *bdev, void *bulk, struct shadow_superblock *sb,
			    bool *blank)
{
	struct shadow_metadata m = { .bdev = bdev, .io = dm_io_client_create() };
	int r;

	if (IS_ERR(m.io))
		return PTR_ERR(m.io);
	r = shadow_metadata_peek(&m, bulk, sb, blank);
	dm_io_client_destroy(m.io);
	return r;
}

/* --- pages ---------------------------------------------------------------- */

struct page_kind {
	bool slots;
	unsigned long *dirty, *newest;
};

/*
 * Picks the newer valid copy of a page: 0, 1, or an error. After a clean stop both have to be
 * valid.
 */
static int page_pick(struct shadow_volume *v, const struct page_kind *kind, u32 page,
		     void *copies[2], struct shadow_page_header *header)
{
	const char *what = kind->slots ? "slot" : "metadata";
	u64 tag = shadow_uuid_tag(v->sb.uuid);
	struct shadow_page_header h[2];
	enum shadow_format_error e[2];
	int i, pick;

	for (i = 0; i < 2; i++)
		e[i] = kind->slots ? shadow_slot_page_decode(copies[i], tag, page, &h[i]) :
				     shadow_page_decode(copies[i], tag, page, &h[i]);

	if (e[0] && e[1]) {
		DMERR("%s: both copies of %s page %u are damaged (%s; %s): run shadow_check",
		      v->name, what, page, shadow_format_strerror(e[0]),
		      shadow_format_strerror(e[1]));
		return -EILSEQ;
	}
	if ((e[0] || e[1]) && (v->sb.flags & SHADOW_SB_CLEAN)) {
		DMERR("%s: %s page %u is damaged (%s) after a clean stop: run shadow_check",
		      v->name, what, page, shadow_format_strerror(e[0] ? e[0] : e[1]));
		return -EILSEQ;
	}
	pick = e[0] ? 1 : e[1] ? 0 : h[1].generation > h[0].generation;
	if (h[pick].epoch > v->sb.epoch) {
		DMERR("%s: %s page %u is newer than the superblock: run shadow_check", v->name,
		      what, page);
		return -EILSEQ;
	}
	if (e[0] || e[1]) {
		DMWARN_LIMIT("%s: %s page %u has one torn copy; the other one is used", v->name,
			     what, page);
		set_bit(page, kind->dirty);
	}
	if (pick)
		set_bit(page, kind->newest);
	else
		clear_bit(page, kind->newest);
	v->meta.page_generation = max(v->meta.page_generation, h[pick].generation);
	*header = h[pick];
	return pick;
}

/* What a byte of a page means; [block is in the grown tail][its region was being written] */
struct home_table {
	u8 next[2][2][SHADOW_NR_HOMES];
};

static void make_home_table(struct shadow_volume *v, bool current_epoch, struct home_table *t)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, 0);
	int tail, dirty, home;

	for (tail = 0; tail < 2; tail++)
		for (dirty = 0; dirty < 2; dirty++)
			for (home = 0; home < SHADOW_NR_HOMES; home++) {
				ctx.tail = tail;
				t->next[tail][dirty][home] =
					shadow_from_disk(home, &ctx, current_epoch, dirty);
			}
}

#define ONES 0x0101010101010101ull

/* True: some state differs from what is on disk. Most are holes or on the origin, and stay it. */
static bool take_homes(u8 *to, const u8 *homes, u32 n, const u8 *next)
{
	bool plain = next[SHADOW_ORIGIN] == SHADOW_ORIGIN && next[SHADOW_HOLE] == SHADOW_HOLE;
	bool all = plain && next[SHADOW_MIRRORED] == SHADOW_MIRRORED &&
		   next[SHADOW_TARGET] == SHADOW_TARGET;
	bool changed = false;
	u32 i = 0;

	for (; n - i >= 8; i += 8) {
		u64 x;

		memcpy(&x, homes + i, sizeof(x));
		/* the two bits of a home are equal in 0, the origin, and in 6, a hole */
		if (!all && (!plain || ((x ^ (x >> 1)) & (2 * ONES))))
			break;
		memcpy(to + i, &x, sizeof(x));
	}
	for (; i < n; i++) {
		to[i] = next[homes[i]];
		changed |= to[i] != homes[i];
	}
	return changed;
}

/* Takes the states of one page over. */
static void page_apply(struct shadow_volume *v, u32 page, const void *buf,
		       const struct shadow_page_header *header, const struct home_table tables[2])
{
	const struct home_table *t = &tables[header->epoch == v->sb.epoch];
	bool clean = v->sb.flags & SHADOW_SB_CLEAN;
	const u8 *homes = shadow_page_homes_const(buf);
	const u8 *intent = shadow_page_intent_const(buf);
	u32 first = page * SHADOW_BLOCKS_PER_PAGE;
	u32 n = min(SHADOW_BLOCKS_PER_PAGE, v->nr_tracked - first);
	bool changed = false;
	u32 i, end;

	/* a region at a time: all of it is dirty or none, and nearly always in the tail or not */
	for (i = 0; i < n; i = end) {
		u32 region = i >> SHADOW_REGION_SHIFT;
		bool dirty = !clean && (intent[region / 8] >> (region % 8) & 1);

		end = min(n, (region + 1) << SHADOW_REGION_SHIFT);
		if (v->tail > first + i && v->tail < first + end)
			end = v->tail - first;
		changed |= take_homes(v->map + first + i, homes + i, end - i,
				      t->next[first + i >= v->tail][dirty]);
	}
	if (changed)
		shadow_mark_page_dirty(v, first);
	for (i = 0; i < SHADOW_REGIONS_PER_PAGE; i++) {
		u32 region = (first >> SHADOW_REGION_SHIFT) + i;

		if (!(intent[i / 8] >> (i % 8) & 1))
			continue;
		shadow_mark_page_dirty(v, first);	/* to clear the bits */
		/* for the shadows, which are read next; see shadow_tier_load() */
		if (!clean && region < v->nr_regions)
			set_bit(region, v->intent_recent);
	}
}

/**
 * shadow_metadata_load() - read the states of all blocks.
 *
 * Caller: has set v->sb, nr_tracked, ctx and the arrays; nothing else runs.
 */
int shadow_metadata_load(struct shadow_volume *v, void *bulk)
{
	struct page_kind kind = { false, v->meta.dirty, v->meta.newest };
	struct shadow_page_header header;
	struct home_table tables[2];
	u32 page = 0;
	int r;

	make_home_table(v, false, &tables[0]);
	make_home_table(v, true, &tables[1]);
	while (page < v->meta.nr_pages) {
		u32 n = min(BULK, v->meta.nr_pages - page);
		u32 i;

		r = shadow_meta_io(&v->meta, REQ_OP_READ, shadow_page_sector(page, 0), bulk,
				   n * 2 * SHADOW_PAGE_SECTORS);
		for (i = 0; i < n && r >= 0; i++) {
			void *copies[2] = { bulk_page(bulk, 2 * i), bulk_page(bulk, 2 * i + 1) };

			r = page_pick(v, &kind, page + i, copies, &header);
			if (r >= 0)
				page_apply(v, page + i, copies[r], &header, tables);
		}
		if (r < 0)
			return r;
		page += n;
		cond_resched();
	}
	return 0;
}

static int slot_page_take(struct shadow_volume *v, u32 page, const void *buf,
			  int (*take)(struct shadow_volume *v, u32 block, u32 word))
{
	u32 i;

	for (i = 0; i < SHADOW_WORDS_PER_PAGE; i++) {
		u32 word = shadow_slot_page_word(buf, i);
		int wrong = word ? take(v, page * SHADOW_WORDS_PER_PAGE + i, word) : 0;

		if (wrong)
			return wrong;
	}
	return 0;
}

/**
 * shadow_slot_pages_load() - read the words of all blocks.
 * @take: is given each that is not zero
 *
 * Caller: as above, and the states are loaded.
 */
int shadow_slot_pages_load(struct shadow_volume *v, void *bulk,
			   int (*take)(struct shadow_volume *v, u32 block, u32 word))
{
	struct page_kind kind = { true, v->meta.slot_dirty, v->meta.slot_newest };
	struct shadow_page_header header;
	u32 page = 0;
	int r;

	while (page < v->meta.nr_slot_pages) {
		u32 n = min(BULK, v->meta.nr_slot_pages - page);
		u32 i;

		/* page numbers fall as sectors rise: one read covers pages page + n - 1 .. page */
		r = shadow_meta_io(&v->meta, REQ_OP_READ,
				   shadow_slot_page_sector(v->sb.slot_end, page + n - 1, 0), bulk,
				   n * 2 * SHADOW_PAGE_SECTORS);
		for (i = 0; i < n && !r; i++) {
			u32 at = 2 * (n - 1 - i);
			void *copies[2] = { bulk_page(bulk, at), bulk_page(bulk, at + 1) };

			r = page_pick(v, &kind, page + i, copies, &header);
			if (r >= 0)
				r = slot_page_take(v, page + i, copies[r], take);
		}
		if (r)
			return r;
		page += n;
		cond_resched();
	}
	return 0;
}

/* --- formatting ------------------------------------------------------------ */

/**
 * shadow_metadata_format() - write both copies of new pages.
 * @home: of blocks below @blocks; those beyond are holes
 *
 * Their generation is 1: whatever is committed later is newer. Durable when it returns 0. The
 * pages are nobody's yet: the volume ends before them, or has no superblock.
 */
int shadow_metadata_format(struct shadow_volume *v, void *bulk, const char *uuid, u32 epoch,
			   u8 home, u64 blocks, u32 first_page, u32 end_page)
{
	u32 page = first_page;
	int r;

	while (page < end_page) {
		u32 n = min(BULK, end_page - page);
		u32 i;

		for (i = 0; i < n; i++) {
			struct shadow_page_header header = {
				.generation = 1,
				.tag = shadow_uuid_tag(uuid),
				.number = page + i,
				.epoch = epoch,
			};
			u64 first = (u64)(page + i) * SHADOW_BLOCKS_PER_PAGE;
			u32 data = first < blocks ?
				   min_t(u64, blocks - first, SHADOW_BLOCKS_PER_PAGE) : 0;
			void *buf = bulk_page(bulk, 2 * i);

			memset(buf, 0, SHADOW_PAGE_SIZE);
			memset(shadow_page_homes(buf), home, data);
			memset(shadow_page_homes(buf) + data, SHADOW_HOLE,
			       SHADOW_BLOCKS_PER_PAGE - data);
			shadow_page_seal(buf, &header);
			memcpy(bulk_page(bulk, 2 * i + 1), buf, SHADOW_PAGE_SIZE);
		}
		r = shadow_meta_io(&v->meta, REQ_OP_WRITE, shadow_page_sector(page, 0), bulk,
				   n * 2 * SHADOW_PAGE_SECTORS);
		if (r)
			return r;
		page += n;
		cond_resched();
	}
	return first_page < end_page ? blkdev_issue_flush(v->meta.bdev) : 0;
}

/**
 * shadow_slot_pages_format() - write both copies of slot pages without any shadow.
 * @slot_end: as the superblock will say
 *
 * Like shadow_metadata_format().
 */
int shadow_slot_pages_format(struct shadow_volume *v, void *bulk, const char *uuid, u64 slot_end,
			     u32 first_page, u32 end_page)
{
	u32 page = first_page;
	int r;

	while (page < end_page) {
		u32 n = min(BULK, end_page - page);
		u32 i;

		for (i = 0; i < 2 * n; i++) {
			struct shadow_page_header header = {
				.generation = 1,
				.tag = shadow_uuid_tag(uuid),
				.number = page + n - 1 - i / 2,
			};

			memset(bulk_page(bulk, i), 0, SHADOW_PAGE_SIZE);
			shadow_slot_page_seal(bulk_page(bulk, i), &header);
		}
		r = shadow_meta_io(&v->meta, REQ_OP_WRITE,
				   shadow_slot_page_sector(slot_end, page + n - 1, 0), bulk,
				   n * 2 * SHADOW_PAGE_SECTORS);
		if (r)
			return r;
		page += n;
		cond_resched();
	}
	return first_page < end_page ? blkdev_issue_flush(v->meta.bdev) : 0;
}
