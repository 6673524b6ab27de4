// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-volatile: a disk with a volatile write cache, whose power can be cut. For tests only.
 *
 *	0 SECTORS volatile DEVICE CACHE_SECTORS
 *
 * Acknowledged writes lie in memory until a flush writes them to DEVICE, the medium. Discards and
 * zeroes do the same. A FUA write goes to the medium at once and takes nothing else with it.
 * Beyond CACHE_SECTORS the whole cache goes to the medium unasked, as a drive may do at any time.
 *
 * The message "off" cuts the power of this device, "off all" that of every device of this module
 * at one instant. From then on every request fails. Requests in flight fail too, after they have
 * been done or not. "on SEED some|none|all" brings the device back, and says what is left of the
 * cache: for each sector the medium's content or any of the versions that were not durable yet,
 * whatever happened to other sectors. In mode "some" SEED decides it. Most writes are kept or lost
 * whole, a quarter of them are torn between logical blocks. "all" is a machine that stopped while
 * its drives went on: nothing is lost, and what was volatile still is.
 *
 * Reads of what is not cached go to the medium directly. All else is done by one worker, which
 * picks at random among the requests that wait. Only the worker changes the cache; while the power
 * is off and the worker is idle, messages do.
 *
 * Status: the power, what was received, and what became of pieces of pages at the last cut.
 */
#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define DM_MSG_PREFIX "volatile"
#define PAGE_SECTORS_ALL	((u8)((1 << PAGE_SECTORS) - 1))
/* Older versions of a page than these are merged: no cut brings one of them back */
#define MAX_VERSIONS	16
/* The worker picks one of so many */
#define CHOICE		8
#define ALWAYS		(GFP_NOIO | __GFP_NOFAIL)

/**
 * struct version - what one write left in one page
 * @list:	In cached_page.versions, oldest first.
 * @write:	Number of the write: its pieces in other pages have the same one.
 * @mask:	Sectors of the page that it wrote.
 * @page:	The data. The kernel's zero page only if @mask has all sectors.
 */
struct version {
	struct list_head list;
	u64 write;
	u8 mask;
	struct page *page;
};

struct cached_page {
	struct list_head versions;
	unsigned int nr_versions;
};

/* One device. */
struct volatile_disk {
	struct list_head list;
	struct dm_dev *dev;
	struct dm_target *ti;
	struct workqueue_struct *wq;
	struct work_struct work;
	struct mutex admin;	/* of messages */

	spinlock_t lock;	/* of what waits, and of switching off */
	struct bio_list pending;
	unsigned int nr_pending;
	bool off;

	struct xarray pages;	/* struct cached_page by number; changed as said above, map looks */
	unsigned long nr_cached;
	unsigned long max_cached;
	unsigned int unit;	/* sectors of a logical block, which is never torn */
	u64 writes;

	u64 nr_writes, nr_fuas, nr_flushes, nr_discards, nr_zeroes;
	u64 kept, lost, torn;
};

static DEFINE_MUTEX(disks_lock);
static LIST_HEAD(disks);
/* "off all" is under way: what every device looks at before it takes a request */
static bool mains_off;

/* splitmix64: a choice depends on the seed and on what is chosen about, not on any order. */
static u64 dice(u64 seed, u64 about)
{
	u64 x = seed * 0x9e3779b97f4a7c15ULL + about;

	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static u8 mask_of(unsigned int first, unsigned int count)
{
	return (u8)(((1u << count) - 1) << first);
}

/* A range of sectors within one page. */
struct piece {
	pgoff_t index;
	unsigned int first, count;
};

static struct piece piece_at(sector_t sector, sector_t end)
{
	struct piece p = { .index = sector >> PAGE_SECTORS_SHIFT,
			   .first = sector & (PAGE_SECTORS - 1) };

	p.count = min_t(sector_t, PAGE_SECTORS - p.first, end - sector);
	return p;
}

/* ---- versions ---- */

static void free_version(struct cached_page *c, struct version *v)
{
	list_del(&v->list);
	c->nr_versions--;
	if (v->page != ZERO_PAGE(0))
		__free_page(v->page);
	kfree(v);
}

static void drop_page(struct volatile_disk *d, pgoff_t index, struct cached_page *c)
{
	struct version *v, *next;

	list_for_each_entry_safe(v, next, &c->versions, list)
		free_version(c, v);
	xa_erase(&d->pages, index);
	d->nr_cached--;
	kfree(c);
}

/* What @newer does not have is taken from @older, which is freed. */
static void merge(struct cached_page *c, struct version *older, struct version *newer)
{
	u8 missing = older->mask & ~newer->mask;
	unsigned int i;

	for (i = 0; i < PAGE_SECTORS; i++) {
		if (missing & (1u << i))
			memcpy(page_address(newer->page) + (i << SECTOR_SHIFT),
			       page_address(older->page) + (i << SECTOR_SHIFT), SECTOR_SIZE);
	}
	newer->mask |= missing;
	free_version(c, older);
}

static struct version *add_version(struct volatile_disk *d, struct piece p, u64 write, bool zeroes)
{
	struct cached_page *c = xa_load(&d->pages, p.index);
	struct version *v = kmalloc(sizeof(*v), ALWAYS);

	v->write = write;
	v->mask = mask_of(p.first, p.count);
	if (zeroes && v->mask == PAGE_SECTORS_ALL)
		v->page = ZERO_PAGE(0);
	else
		v->page = alloc_page(ALWAYS | __GFP_ZERO);
	if (!c) {
		c = kzalloc(sizeof(*c), ALWAYS);
		INIT_LIST_HEAD(&c->versions);
		xa_store(&d->pages, p.index, c, ALWAYS);
		d->nr_cached++;
	}
	list_add_tail(&v->list, &c->versions);
	if (++c->nr_versions > MAX_VERSIONS) {
		struct version *oldest = list_first_entry(&c->versions, struct version, list);

		merge(c, oldest, list_next_entry(oldest, list));
	}
	return v;
}

/* ---- the medium ---- */

/* Adds a run of sectors to the chain of writes that ends with @bio. */
static struct bio *add_run(struct volatile_disk *d, struct bio *bio, pgoff_t index,
			   struct page *page, unsigned int first, unsigned int count)
{
	sector_t sector = ((sector_t)index << PAGE_SECTORS_SHIFT) + first;

	if (bio && bio_end_sector(bio) == sector &&
	    bio_add_page(bio, page, count << SECTOR_SHIFT, first << SECTOR_SHIFT))
		return bio;
	bio = blk_next_bio(bio, d->dev->bdev, 32, REQ_OP_WRITE, GFP_NOIO);
	bio->bi_iter.bi_sector = sector;
	__bio_add_page(bio, page, count << SECTOR_SHIFT, first << SECTOR_SHIFT);
	return bio;
}

/*
 * Writes all that is cached to the medium and empties the cache. A page leaves the cache only after
 * the medium has it: a read that does not find it in the cache finds it there.
 */
static int destage(struct volatile_disk *d)
{
	struct cached_page *c;
	struct bio *bio = NULL;
	unsigned long index;
	int r = 0;

	xa_for_each(&d->pages, index, c) {
		struct version *newest;
		unsigned int i, first;

		if (list_empty(&c->versions))
			continue;
		while (!list_is_singular(&c->versions)) {
			newest = list_last_entry(&c->versions, struct version, list);
			merge(c, list_prev_entry(newest, list), newest);
		}
		newest = list_first_entry(&c->versions, struct version, list);
		for (i = 0; i < PAGE_SECTORS; i++) {
			first = i;
			while (i < PAGE_SECTORS && newest->mask & (1u << i))
				i++;
			if (i > first)
				bio = add_run(d, bio, index, newest->page, first, i - first);
		}
	}
	if (bio) {
		r = submit_bio_wait(bio);
		bio_put(bio);
	}
	xa_for_each(&d->pages, index, c)
		drop_page(d, index, c);
	if (!r)
		r = blkdev_issue_flush(d->dev->bdev);
	if (r)
		DMERR("the medium failed: %d; what was cached is lost", r);
	return r;
}

/* What the cut leaves of one version. */
static u8 left_of(struct volatile_disk *d, u64 seed, pgoff_t index, const struct version *v)
{
	u64 likely = 10 + dice(seed, ~0ULL) % 3 * 40;
	u64 throw = dice(seed, v->write);
	u8 left = 0;
	unsigned int i;

	if (throw & 3)
		return (throw >> 8) % 100 < likely ? v->mask : 0;
	for (i = 0; i < PAGE_SECTORS; i++) {
		u64 block = (((u64)index << PAGE_SECTORS_SHIFT) + i) / d->unit;

		if (dice(throw, block) & 1)
			left |= 1u << i;
	}
	return left & v->mask;
}

/* After a cut: decides what is left of the cache, which then is on the medium. */
static int settle(struct volatile_disk *d, u64 seed)
{
	struct cached_page *c;
	struct version *v, *next;
	unsigned long index;

	xa_for_each(&d->pages, index, c) {
		list_for_each_entry_safe(v, next, &c->versions, list) {
			u8 left = left_of(d, seed, index, v);

			if (left == v->mask)
				d->kept++;
			else if (left)
				d->torn++;
			else
				d->lost++;
			v->mask = left;
			/* Not the shared zero page: merging writes to what lacks sectors */
			if (!left)
				free_version(c, v);
			else if (v->page == ZERO_PAGE(0) && left != PAGE_SECTORS_ALL)
				v->page = alloc_page(ALWAYS | __GFP_ZERO);
		}
	}
	return destage(d);
}

static void lose_all(struct volatile_disk *d)
{
	struct cached_page *c;
	unsigned long index;

	xa_for_each(&d->pages, index, c) {
		d->lost += c->nr_versions;
		drop_page(d, index, c);
	}
}

/* ---- requests ---- */

static void copy(struct bio *bio, struct bvec_iter *iter, void *data, unsigned int bytes,
		 bool to_bio)
{
	while (bytes) {
		struct bio_vec bv = bio_iter_iovec(bio, *iter);
		unsigned int n = min(bytes, bv.bv_len);
		void *at = bvec_kmap_local(&bv);

		if (to_bio)
			memcpy(at, data, n);
		else
			memcpy(data, at, n);
		kunmap_local(at);
		bio_advance_iter(bio, iter, n);
		data += n;
		bytes -= n;
	}
}

/* Caches what @bio writes, as one write. */
static void cache_bio(struct volatile_disk *d, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	struct bvec_iter iter = bio->bi_iter;
	bool zeroes = bio_op(bio) != REQ_OP_WRITE;

	for (d->writes++; sector < end;) {
		struct piece p = piece_at(sector, end);
		struct version *v = add_version(d, p, d->writes, zeroes);

		if (!zeroes)
			copy(bio, &iter, page_address(v->page) + (p.first << SECTOR_SHIFT),
			     p.count << SECTOR_SHIFT, false);
		sector += p.count;
	}
}

/* The medium has these sectors now: no version of them may come after. */
static void uncache_bio(struct volatile_disk *d, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio);

	while (sector < end) {
		struct piece p = piece_at(sector, end);
		struct cached_page *c = xa_load(&d->pages, p.index);
		struct version *v, *next;

		sector += p.count;
		if (!c)
			continue;
		list_for_each_entry_safe(v, next, &c->versions, list) {
			if (v->page == ZERO_PAGE(0))
				v->page = alloc_page(ALWAYS | __GFP_ZERO);
			v->mask &= ~mask_of(p.first, p.count);
			if (!v->mask)
				free_version(c, v);
		}
		if (list_empty(&c->versions))
			drop_page(d, p.index, c);
	}
}

/* Overlays @bio with what is cached. Returns how many sectors were. */
static sector_t overlay(struct volatile_disk *d, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio), found = 0;
	struct bvec_iter iter = bio->bi_iter;

	while (sector < end) {
		struct piece p = piece_at(sector, end);
		struct cached_page *c = xa_load(&d->pages, p.index);
		unsigned int i;

		for (i = p.first; i < p.first + p.count; i++) {
			struct version *v, *at = NULL;

			if (c) {
				list_for_each_entry_reverse(v, &c->versions, list) {
					if (v->mask & (1u << i)) {
						at = v;
						break;
					}
				}
			}
			if (at) {
				copy(bio, &iter, page_address(at->page) + (i << SECTOR_SHIFT),
				     SECTOR_SIZE, true);
				found++;
			} else {
				bio_advance_iter(bio, &iter, SECTOR_SIZE);
			}
		}
		sector += p.count;
	}
	return found;
}

static int pass_down(struct volatile_disk *d, struct bio *bio)
{
	struct bio *clone = bio_alloc_clone(d->dev->bdev, bio, GFP_NOIO, &fs_bio_set);
	int r = submit_bio_wait(clone);

	bio_put(clone);
	return r;
}

static int serve(struct volatile_disk *d, struct bio *bio)
{
	int r = 0;

	/* An empty bio has no position, whatever its sector says */
	if (bio->bi_opf & REQ_PREFLUSH) {
		d->nr_flushes++;
		return destage(d);
	}
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		if (overlay(d, bio) < bio_sectors(bio)) {
			r = pass_down(d, bio);
			overlay(d, bio);
		}
		return r;
	case REQ_OP_WRITE:
		if (bio->bi_opf & REQ_FUA) {
			d->nr_fuas++;
			r = pass_down(d, bio);
			if (!r)
				uncache_bio(d, bio);
			return r;
		}
		d->nr_writes++;
		break;
	case REQ_OP_DISCARD:
		d->nr_discards++;
		break;
	case REQ_OP_WRITE_ZEROES:
		d->nr_zeroes++;
		break;
	default:
		return -EOPNOTSUPP;
	}
	cache_bio(d, bio);
	return d->nr_cached > d->max_cached ? destage(d) : 0;
}

/* The power went while @bio was in flight: the cut may find it done, in part or not at all. */
static int interrupt(struct volatile_disk *d, struct bio *bio)
{
	if (op_is_write(bio_op(bio)) && !(bio->bi_opf & REQ_PREFLUSH))
		cache_bio(d, bio);
	return -EIO;
}

static bool is_off(struct volatile_disk *d)
{
	return READ_ONCE(mains_off) || READ_ONCE(d->off);
}

static struct bio *take(struct volatile_disk *d)
{
	struct bio *bio;
	unsigned int skip;

	spin_lock_irq(&d->lock);
	if (d->nr_pending > 1) {
		for (skip = get_random_u8() % min(d->nr_pending, CHOICE); skip; skip--)
			bio_list_add(&d->pending, bio_list_pop(&d->pending));
	}
	bio = bio_list_pop(&d->pending);
	if (bio)
		d->nr_pending--;
	spin_unlock_irq(&d->lock);
	return bio;
}

static void do_work(struct work_struct *work)
{
	struct volatile_disk *d = container_of(work, struct volatile_disk, work);
	struct bio *bio;

	while ((bio = take(d))) {
		int r = is_off(d) ? interrupt(d, bio) : serve(d, bio);

		bio->bi_status = errno_to_blk_status(r);
		bio_endio(bio);
		cond_resched();
	}
}

/* ---- the target ---- */

static int volatile_map(struct dm_target *ti, struct bio *bio)
{
	struct volatile_disk *d = ti->private;
	unsigned long flags;
	bool off;

	if (bio_op(bio) == REQ_OP_READ) {
		unsigned long index = bio->bi_iter.bi_sector >> PAGE_SECTORS_SHIFT;
		unsigned long last = (bio_end_sector(bio) - 1) >> PAGE_SECTORS_SHIFT;

		if (!xa_find(&d->pages, &index, last, XA_PRESENT)) {
			bio_set_dev(bio, d->dev->bdev);
			return is_off(d) ? DM_MAPIO_KILL : DM_MAPIO_REMAPPED;
		}
	}
	spin_lock_irqsave(&d->lock, flags);
	off = is_off(d);
	if (!off) {
		bio_list_add(&d->pending, bio);
		d->nr_pending++;
	}
	spin_unlock_irqrestore(&d->lock, flags);
	if (off)
		return DM_MAPIO_KILL;
	queue_work(d->wq, &d->work);
	return DM_MAPIO_SUBMITTED;
}

/* From its return on no request is taken, and all that were taken have ended. */
static void switch_off(struct volatile_disk *d)
{
	spin_lock_irq(&d->lock);
	d->off = true;
	spin_unlock_irq(&d->lock);
	flush_work(&d->work);
}

static int power_off(struct volatile_disk *only)
{
	struct volatile_disk *d;

	if (only) {
		switch_off(only);
		return 0;
	}
	mutex_lock(&disks_lock);
	WRITE_ONCE(mains_off, true);
	list_for_each_entry(d, &disks, list)
		switch_off(d);
	WRITE_ONCE(mains_off, false);
	mutex_unlock(&disks_lock);
	return 0;
}

static int power_on(struct volatile_disk *d, const char *text, const char *mode)
{
	u64 seed;
	int r;

	if (!d->off || kstrtou64(text, 10, &seed))
		return -EINVAL;
	d->kept = 0;
	d->lost = 0;
	d->torn = 0;
	if (!strcmp(mode, "some")) {
		r = settle(d, seed);
	} else if (!strcmp(mode, "none")) {
		lose_all(d);
		r = 0;
	} else if (!strcmp(mode, "all")) {
		r = 0;
	} else {
		return -EINVAL;
	}
	DMINFO("%s: power is back, seed %llu, %s: %llu pieces kept, %llu torn, %llu lost",
	       dm_table_device_name(d->ti->table), seed, mode, d->kept, d->torn, d->lost);
	if (!r)
		WRITE_ONCE(d->off, false);
	return r;
}

static int volatile_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			    unsigned int max)
{
	struct volatile_disk *d = ti->private;
	int r = -EINVAL;

	mutex_lock(&d->admin);
	if (argc == 1 && !strcmp(argv[0], "off"))
		r = power_off(d);
	else if (argc == 2 && !strcmp(argv[0], "off") && !strcmp(argv[1], "all"))
		r = power_off(NULL);
	else if (argc == 3 && !strcmp(argv[0], "on"))
		r = power_on(d, argv[1], argv[2]);
	mutex_unlock(&d->admin);
	return r;
}

static void volatile_status(struct dm_target *ti, status_type_t type, unsigned int flags,
			    char *result, unsigned int maxlen)
{
	struct volatile_disk *d = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		DMEMIT("%s writes=%llu fuas=%llu flushes=%llu discards=%llu zeroes=%llu cached=%lu",
		       is_off(d) ? "off" : "on", d->nr_writes, d->nr_fuas, d->nr_flushes,
		       d->nr_discards, d->nr_zeroes, d->nr_cached);
		DMEMIT(" kept=%llu torn=%llu lost=%llu", d->kept, d->torn, d->lost);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %lu", d->dev->name, d->max_cached << PAGE_SECTORS_SHIFT);
		break;
	case STATUSTYPE_IMA:
		*result = '\0';
		break;
	}
}

static int volatile_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct volatile_disk *d;
	unsigned long sectors;
	int r;

	if (argc != 2 || kstrtoul(argv[1], 10, &sectors) || ti->begin) {
		ti->error = "Wanted: 0 <sectors> volatile <device> <cache sectors>";
		return -EINVAL;
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return -ENOMEM;
	d->ti = ti;
	d->max_cached = sectors >> PAGE_SECTORS_SHIFT;
	spin_lock_init(&d->lock);
	mutex_init(&d->admin);
	bio_list_init(&d->pending);
	xa_init(&d->pages);
	INIT_WORK(&d->work, do_work);
	d->wq = alloc_ordered_workqueue("dm-volatile", WQ_MEM_RECLAIM);
	if (!d->wq) {
		kfree(d);
		return -ENOMEM;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &d->dev);
	if (r) {
		ti->error = "No such device";
		destroy_workqueue(d->wq);
		kfree(d);
		return r;
	}
	d->unit = bdev_logical_block_size(d->dev->bdev) >> SECTOR_SHIFT;
	ti->private = d;
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->flush_supported = true;
	ti->discards_supported = true;
	mutex_lock(&disks_lock);
	list_add(&d->list, &disks);
	mutex_unlock(&disks_lock);
	return 0;
}

static void volatile_dtr(struct dm_target *ti)
{
	struct volatile_disk *d = ti->private;

	mutex_lock(&disks_lock);
	list_del(&d->list);
	mutex_unlock(&disks_lock);
	destroy_workqueue(d->wq);
	if (d->off)
		lose_all(d);
	else
		destage(d);
	xa_destroy(&d->pages);
	dm_put_device(ti, d->dev);
	kfree(d);
}

/* dm core offers write zeroes only where the medium has them; here the cache does them. */
static void volatile_resume(struct dm_target *ti)
{
	struct request_queue *q = dm_disk(dm_table_get_md(ti->table))->queue;

	q->limits.max_write_zeroes_sectors = 1u << 12;
}

static void volatile_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct volatile_disk *d = ti->private;

	limits->discard_granularity = d->unit << SECTOR_SHIFT;
	limits->discard_alignment = 0;
	/* 6.1 looks at the first, later kernels derive the first from the second */
	limits->max_discard_sectors = 1u << 12;
	limits->max_hw_discard_sectors = 1u << 12;
}

static int volatile_iterate(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct volatile_disk *d = ti->private;

	return fn(ti, d->dev, 0, ti->len, data);
}

static struct target_type volatile_target = {
	.name = "volatile",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = volatile_ctr,
	.dtr = volatile_dtr,
	.map = volatile_map,
	.resume = volatile_resume,
	.message = volatile_message,
	.status = volatile_status,
	.iterate_devices = volatile_iterate,
	.io_hints = volatile_io_hints,
};

static int __init volatile_init(void)
{
	return dm_register_target(&volatile_target);
}

static void __exit volatile_exit(void)
{
	dm_unregister_target(&volatile_target);
}

module_init(volatile_init);
module_exit(volatile_exit);

MODULE_DESCRIPTION(DM_NAME " target with a volatile write cache, for tests");
MODULE_AUTHOR("The dm-shadow developers");
MODULE_LICENSE("GPL");
