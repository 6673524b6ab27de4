// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests: bios, their pools, their way to a device and back.
 *
 * As in the block layer: what is submitted from within a submission waits in current->bio_list
 * until the outer one has returned, lower devices first; a bio ends in an interrupt, its position
 * used up; an error is stored and never cleared; a lower layer may split a bio, which uses
 * __bi_remaining.
 */
#include "internal.h"

static const struct { int error; blk_status_t status; } statuses[] = {
	{ 0, BLK_STS_OK }, { -EOPNOTSUPP, BLK_STS_NOTSUPP }, { -ETIMEDOUT, BLK_STS_TIMEOUT },
	{ -ENOSPC, BLK_STS_NOSPC }, { -ENOLINK, BLK_STS_TRANSPORT }, { -EREMOTEIO, BLK_STS_TARGET },
	{ -ENODATA, BLK_STS_MEDIUM }, { -ENOMEM, BLK_STS_RESOURCE }, { -EAGAIN, BLK_STS_AGAIN },
	{ -EIO, BLK_STS_IOERR },
};

blk_status_t errno_to_blk_status(int error)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == error)
			return statuses[i].status;
	return BLK_STS_IOERR;
}

int blk_status_to_errno(blk_status_t status)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].error;
	return -EIO;
}

/* --- life ---------------------------------------------------------------------------------- */

static void check(const struct bio *bio, const char *what)
{
	if (bio->magic != SIM_BIO_MAGIC)
		sim_die(sim_is_poison(bio->magic) ? "%s of a bio that was freed" :
			"%s of what is no bio", what);
}

void bio_init(struct bio *bio, struct block_device *bdev, void *table, unsigned short vecs,
	      blk_opf_t opf)
{
	memset(bio, 0, sizeof(*bio));
	bio->magic = SIM_BIO_MAGIC;
	bio->bi_bdev = bdev;
	bio->bi_opf = opf;
	bio->__bi_remaining.counter = 1;
}

void bio_uninit(struct bio *bio)
{
}

void bio_reset(struct bio *bio, struct block_device *bdev, blk_opf_t opf)
{
	struct bio old = *bio;

	check(bio, "bio_reset()");
	bio_init(bio, bdev, NULL, 0, opf);
	bio->cells = old.cells;
	bio->owns_cells = old.owns_cells;
	bio->pooled = old.pooled;
	bio->pool = old.pool;
}

int bioset_init(struct bio_set *bs, unsigned int size, unsigned int front, int flags)
{
	might_sleep();
	if (front)
		sim_die("bioset_init() with front pad: not in kernel/user/bio.c yet");
	return mempool_init_kmalloc_pool(&bs->pool, (int)size, sizeof(struct bio));
}

void bioset_exit(struct bio_set *bs)
{
	mempool_exit(&bs->pool);
}

struct bio *bio_alloc_bioset(struct block_device *bdev, unsigned short vecs, blk_opf_t opf,
			     gfp_t gfp, struct bio_set *bs)
{
	struct bio *bio;

	if (bs) {
		bio = mempool_alloc(&bs->pool, gfp);
	} else {
		/* the block layer's own pool is large */
		bio = sim_kmalloc(sizeof(*bio), gfp & __GFP_DIRECT_RECLAIM ?
				  gfp | __GFP_NOFAIL : gfp, "a bio");
	}
	if (!bio)
		return NULL;
	bio_init(bio, bdev, NULL, vecs, opf);
	bio->pooled = true;
	bio->pool = bs;
	return bio;
}

struct bio *bio_alloc(struct block_device *bdev, unsigned short vecs, blk_opf_t opf, gfp_t gfp)
{
	struct bio *bio = bio_alloc_bioset(bdev, vecs, opf, gfp, NULL);

	if (!bio || !vecs)
		return bio;
	bio->cells = sim_kmalloc(SIM_OP_CELLS * sizeof(u32), GFP_NOWAIT | __GFP_NOFAIL | __GFP_ZERO,
				 "a bio's data");
	bio->owns_cells = true;
	return bio;
}

struct bio *bio_alloc_clone(struct block_device *bdev, struct bio *src, gfp_t gfp,
			    struct bio_set *bs)
{
	struct bio *bio;

	check(src, "bio_alloc_clone()");
	bio = bio_alloc_bioset(bdev, 0, src->bi_opf, gfp, bs);
	if (!bio)
		return NULL;
	bio->bi_ioprio = src->bi_ioprio;
	bio->bi_iter = src->bi_iter;
	bio->cells = src->cells;
	return bio;
}

void bio_put(struct bio *bio)
{
	check(bio, "bio_put()");
	if (bio->sent && !bio->ended)
		sim_fail("bio_put() of a bio that is under way");
	if (!bio->pooled)
		sim_die("bio_put() of a bio that lies in something else");
	if (bio->owns_cells)
		sim_kfree(bio->cells);
	if (bio->pool)
		mempool_free(bio, &bio->pool->pool);
	else
		sim_kfree(bio);
}

bool bio_has_data(struct bio *bio)
{
	return bio->bi_iter.bi_size && bio_op(bio) != REQ_OP_DISCARD &&
	       bio_op(bio) != REQ_OP_WRITE_ZEROES;
}

/* --- data ---------------------------------------------------------------------------------- */

static u32 *cells_of(struct bio *bio, const struct bvec_iter *it)
{
	if (it->bi_size % SIM_CELL || it->bi_bvec_done % SIM_CELL)
		sim_die("a request of %u bytes: the library's sectors are of %u", it->bi_size,
			SIM_CELL);
	return bio->cells ? bio->cells + it->bi_bvec_done / SIM_CELL : NULL;
}

void bio_advance(struct bio *bio, unsigned int bytes)
{
	bio->bi_iter.bi_sector += bytes >> SECTOR_SHIFT;
	bio->bi_iter.bi_size -= bytes;
	bio->bi_iter.bi_bvec_done += bytes;
}

void sim_zero_iter(struct bio *bio, struct bvec_iter start)
{
	u32 *cells = cells_of(bio, &start);

	check(bio, "zero_fill_bio()");
	if (cells)
		memset(cells, 0, start.bi_size / SIM_CELL * sizeof(u32));
}

void zero_fill_bio(struct bio *bio)
{
	sim_zero_iter(bio, bio->bi_iter);
}

void bio_copy_data_iter(struct bio *to, struct bvec_iter *ti, struct bio *from,
			struct bvec_iter *fi)
{
	u32 bytes = min(ti->bi_size, fi->bi_size);

	check(to, "bio_copy_data()");
	check(from, "bio_copy_data()");
	memcpy(cells_of(to, ti), cells_of(from, fi), bytes / SIM_CELL * sizeof(u32));
	ti->bi_bvec_done += bytes;
	ti->bi_size -= bytes;
	fi->bi_bvec_done += bytes;
	fi->bi_size -= bytes;
}

void bio_copy_data(struct bio *to, struct bio *from)
{
	struct bvec_iter ti = to->bi_iter, fi = from->bi_iter;

	bio_copy_data_iter(to, &ti, from, &fi);
}

struct page *alloc_page(gfp_t gfp)
{
	return sim_kmalloc(64, gfp, "a page");	/* data lie in the bio */
}

void __free_page(struct page *p)
{
	sim_kfree(p);
}

int bio_add_page(struct bio *bio, struct page *p, unsigned int len, unsigned int off)
{
	check(bio, "bio_add_page()");
	bio->bi_iter.bi_size += len;
	if (bio->bi_iter.bi_size > SIM_OP_CELLS * SIM_CELL)
		sim_die("a bio of more than %d cells", SIM_OP_CELLS);
	/* the pages are in a list behind the bio, for bio_free_pages() */
	*(void **)p = bio->pages;
	bio->pages = p;
	return (int)len;
}

void bio_free_pages(struct bio *bio)
{
	void *p = bio->pages;

	while (p) {
		void *next = *(void **)p;

		sim_kfree(p);
		p = next;
	}
}

/* --- the end ------------------------------------------------------------------------------- */

void bio_inc_remaining(struct bio *bio)
{
	check(bio, "bio_inc_remaining()");
	bio_set_flag(bio, BIO_CHAIN);
	bio->__bi_remaining.counter++;
}

static void chain_end(struct bio *bio)
{
	struct bio *parent = bio->bi_private;

	if (bio->bi_status && !parent->bi_status)
		parent->bi_status = bio->bi_status;
	bio_put(bio);
	bio_endio(parent);
}

void bio_chain(struct bio *bio, struct bio *parent)
{
	bio->bi_private = parent;
	bio->bi_end_io = chain_end;
	bio_inc_remaining(parent);
}

void bio_endio(struct bio *bio)
{
	check(bio, "bio_endio()");
	if (bio->ended)
		sim_die("a bio is ended twice");
	if (bio_flagged(bio, BIO_CHAIN)) {
		if (bio->__bi_remaining.counter <= 0)
			sim_die("bio_endio(): BUG_ON(__bi_remaining <= 0)");
		if (--bio->__bi_remaining.counter)
			return;
		bio_clear_flag(bio, BIO_CHAIN);
	}
	bio->ended = true;
	if (bio->bi_end_io)
		bio->bi_end_io(bio);
}

void bio_io_error(struct bio *bio)
{
	bio->bi_status = BLK_STS_IOERR;
	bio_endio(bio);
}

/* --- to a device --------------------------------------------------------------------------- */

struct part {
	struct bio *bio;
	blk_status_t status;
	bool last;
};

static void part_interrupt(void *arg)
{
	struct part p = *(struct part *)arg;

	sim_kfree(arg);
	check(p.bio, "the end");
	if (p.status && !p.bio->bi_status)
		p.bio->bi_status = p.status;
	if (p.last && sim_below(2))	/* a request of the block layer uses the position up */
		bio_advance(p.bio, p.bio->bi_iter.bi_size);
	bio_endio(p.bio);
}

static void part_over(struct sim_op *op)
{
	struct part *p = op->who;

	p->status = op->status;
	sim_free_op(op);
	sim_spawn("an interrupt", part_interrupt, p, true);
}

static struct sim_op *new_part(struct bio *bio, enum sim_op_kind kind, u32 skip, u32 n, bool last)
{
	struct sim_op *op = sim_new_op(bio->bi_bdev->disk, kind);
	struct part *p = sim_kmalloc(sizeof(*p), GFP_NOWAIT | __GFP_NOFAIL, "the end of a bio");
	u32 *cells = cells_of(bio, &bio->bi_iter);

	*p = (struct part){ .bio = bio, .last = last };
	if (bio->bi_iter.bi_sector % SIM_CELL_SECTORS)
		sim_die("a request at sector %llu, inside a cell", bio->bi_iter.bi_sector);
	op->first = (u32)(bio->bi_iter.bi_sector / SIM_CELL_SECTORS) + skip;
	op->n = n;
	op->cells = cells && n ? cells + skip : NULL;
	op->fua = bio->bi_opf & REQ_FUA;
	op->is_zeroes = bio_op(bio) == REQ_OP_WRITE_ZEROES;
	op->who = p;
	op->end = part_over;
	return op;
}

static void to_disk(struct bio *bio)
{
	u32 n = bio_sectors(bio) / SIM_CELL_SECTORS, first = 0;
	enum sim_op_kind kind = SIM_WRITE;

	if (sim_disk_is_bytes(bio->bi_bdev->disk))
		sim_die("a bio to a device of bytes: kernel/user/bio.c takes dm_io() only");
	if (bio->bi_opf & REQ_PREFLUSH && n)
		sim_die("a preflush with data: kernel/user/bio.c does not know that yet");
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		kind = SIM_READ;
		break;
	case REQ_OP_DISCARD:
		kind = SIM_DISCARD;
		break;
	default:
		break;
	}
	if (!n) {	/* an empty bio has no position */
		struct sim_op *op;

		if (!(bio->bi_opf & REQ_PREFLUSH) && bio_op(bio) != REQ_OP_FLUSH)
			sim_fail("an empty bio that is no flush is sent to a leg");
		op = new_part(bio, SIM_FLUSH, 0, 0, true);
		op->first = 0;
		sim_begin_op(op);
		return;
	}
	if (machine.split && n > 1 && !sim_below(4)) {
		first = 1 + sim_below(n - 1);
		if (bio->__bi_remaining.counter != 1)
			sim_fail("a bio is sent again without its __bi_remaining");
		bio_inc_remaining(bio);
		sim_begin_op(new_part(bio, kind, 0, first, false));
	}
	sim_begin_op(new_part(bio, kind, first, n - first, !first));
}

static void submit_one(struct bio *bio)
{
	if (bio->bi_bdev->disk)
		to_disk(bio);
	else
		sim_dm_submit_bio(bio);
}

void submit_bio_noacct(struct bio *bio)
{
	struct bio_list lists[2], lower, same;

	sim_might_sleep("submit_bio_noacct");
	sim_point();
	check(bio, "submit_bio_noacct()");
	if (!bio->bi_bdev)
		sim_die("a bio was sent to a leg that is not there");
	if (sim_is_poison(bio->bi_bdev->bd_dev))
		sim_die("a bio was sent to a device that is closed");
	bio->sent = true;
	bio->ended = false;
	if (!sim_cur) {
		submit_one(bio);
		return;
	}
	if (sim_cur->bio_list) {
		bio_list_add(&sim_cur->bio_list[0], bio);
		return;
	}
	bio_list_init(&lists[0]);
	sim_cur->bio_list = lists;
	do {
		struct block_device *here = bio->bi_bdev;

		lists[1] = lists[0];
		bio_list_init(&lists[0]);
		submit_one(bio);
		bio_list_init(&lower);
		bio_list_init(&same);
		while ((bio = bio_list_pop(&lists[0])))
			bio_list_add(bio->bi_bdev == here ? &same : &lower, bio);
		bio_list_merge(&lists[0], &lower);
		bio_list_merge(&lists[0], &same);
		bio_list_merge(&lists[0], &lists[1]);
	} while ((bio = bio_list_pop(&lists[0])));
	sim_cur->bio_list = NULL;
}

void submit_bio(struct bio *bio)
{
	submit_bio_noacct(bio);
}

static void wait_end(struct bio *bio)
{
	complete(bio->bi_private);
}

int submit_bio_wait(struct bio *bio)
{
	DECLARE_COMPLETION_ONSTACK(done);

	bio->bi_private = &done;
	bio->bi_end_io = wait_end;
	submit_bio(bio);
	wait_for_completion(&done);
	return blk_status_to_errno(bio->bi_status);
}

/* --- <linux/blkdev.h> ---------------------------------------------------------------------- */

blk_status_t sim_do_cells(struct sim_disk *d, enum sim_op_kind kind, sector_t sector,
			  sector_t count, u32 *cells, bool zeroes)
{
	u32 first = (u32)(sector / SIM_CELL_SECTORS), n = (u32)(count / SIM_CELL_SECTORS);
	blk_status_t status = BLK_STS_OK;

	if (sector % SIM_CELL_SECTORS || count % SIM_CELL_SECTORS)
		sim_die("I/O of a part of a cell of %s", sim_disk_name(d));
	while (n && !status) {
		struct sim_op *op = sim_new_op(d, kind);

		op->first = first;
		op->n = min(n, (u32)SIM_OP_CELLS);
		op->cells = cells;
		op->is_zeroes = zeroes;
		first += op->n;
		n -= op->n;
		if (cells)
			cells += op->n;
		sim_begin_op(op);
		status = sim_wait_op(op);
	}
	return status;
}

blk_status_t sim_do_flush(struct sim_disk *d)
{
	struct sim_op *op = sim_new_op(d, SIM_FLUSH);

	sim_begin_op(op);
	return sim_wait_op(op);
}

static void check_bdev(struct block_device *b)
{
	if (!b)
		sim_die("I/O to a device that is not there");
}

int blkdev_issue_flush(struct block_device *b)
{
	sim_might_sleep("blkdev_issue_flush");
	sim_point();
	check_bdev(b);
	return blk_status_to_errno(sim_do_flush(b->disk));
}

int blkdev_issue_discard(struct block_device *b, sector_t s, sector_t n, gfp_t gfp)
{
	sim_might_sleep("blkdev_issue_discard");
	sim_point();
	check_bdev(b);
	if (!bdev_max_discard_sectors(b))
		return -EOPNOTSUPP;
	return blk_status_to_errno(sim_do_cells(b->disk, SIM_DISCARD, s, n, NULL, false));
}

/* Falls back to writing zeroes, as the kernel's does. */
int blkdev_issue_zeroout(struct block_device *b, sector_t s, sector_t n, gfp_t gfp,
			 unsigned int flags)
{
	blk_status_t status = BLK_STS_NOTSUPP;

	sim_might_sleep("blkdev_issue_zeroout");
	sim_point();
	check_bdev(b);
	if (bdev_write_zeroes_sectors(b))
		status = sim_do_cells(b->disk, SIM_WRITE, s, n, NULL, true);
	if (status && !(flags & BLKDEV_ZERO_NOFALLBACK))
		status = sim_do_cells(b->disk, SIM_WRITE, s, n, NULL, false);
	return blk_status_to_errno(status);
}
