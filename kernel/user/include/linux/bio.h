/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block devices and requests (kernel/user/bio.c, disk.c).
 *
 * The data of a volume are cells of SIM_CELL bytes, each one number: a cell is written as a whole
 * or not at all, as a sector is. The bytes of a metadata device are real.
 */
#ifndef USER_LINUX_BIO_H
#define USER_LINUX_BIO_H

#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#define SIM_CELL 16384u
#define SIM_CELL_SECTORS (SIM_CELL >> SECTOR_SHIFT)

#define BLK_STS_OK ((blk_status_t)0)
#define BLK_STS_NOTSUPP ((blk_status_t)1)
#define BLK_STS_TIMEOUT ((blk_status_t)2)
#define BLK_STS_NOSPC ((blk_status_t)3)
#define BLK_STS_TRANSPORT ((blk_status_t)4)
#define BLK_STS_TARGET ((blk_status_t)5)
#define BLK_STS_MEDIUM ((blk_status_t)7)
#define BLK_STS_RESOURCE ((blk_status_t)9)
#define BLK_STS_IOERR ((blk_status_t)10)
#define BLK_STS_DM_REQUEUE ((blk_status_t)11)
#define BLK_STS_AGAIN ((blk_status_t)12)
blk_status_t errno_to_blk_status(int error);
int blk_status_to_errno(blk_status_t status);

enum req_op {
	REQ_OP_READ = 0,
	REQ_OP_WRITE = 1,
	REQ_OP_FLUSH = 2,
	REQ_OP_DISCARD = 3,
	REQ_OP_SECURE_ERASE = 5,
	REQ_OP_WRITE_ZEROES = 9,
};
#define REQ_OP_BITS 8
#define REQ_OP_MASK 0xffu
#define REQ_SYNC (1u << 11)
#define REQ_META (1u << 12)
#define REQ_PRIO (1u << 13)
#define REQ_NOMERGE (1u << 14)
#define REQ_IDLE (1u << 15)
#define REQ_FUA (1u << 17)
#define REQ_PREFLUSH (1u << 18)
#define REQ_RAHEAD (1u << 19)
#define REQ_BACKGROUND (1u << 20)
#define REQ_NOWAIT (1u << 21)
#define REQ_POLLED (1u << 22)
#define REQ_NOUNMAP (1u << 27)
#define IOPRIO_DEFAULT 0
#define IOPRIO_PRIO_VALUE(c, l) (((c) << 13) | (l))
#define IOPRIO_CLASS_IDLE 3

struct sim_disk;
struct gendisk { int unused; };
struct block_device {
	dev_t bd_dev;
	struct sim_disk *disk;
	struct gendisk *bd_disk;
};

struct bvec_iter {
	sector_t bi_sector;
	unsigned int bi_size;
	unsigned int bi_idx;
	unsigned int bi_bvec_done;
};

#define SIM_BIO_MAGIC 0xb10b10b1u
struct bio_set;
struct bio {
	u32 magic;
	struct bio *bi_next;
	struct block_device *bi_bdev;
	blk_opf_t bi_opf;
	unsigned short bi_flags;
	unsigned short bi_ioprio;
	blk_status_t bi_status;
	atomic_t __bi_remaining;
	struct bvec_iter bi_iter;
	void (*bi_end_io)(struct bio *bio);
	void *bi_private;
	unsigned short bi_vcnt;
	/* the simulator's: */
	u32 *cells;		/* number bi_bvec_done / SIM_CELL is the first of bi_iter */
	bool owns_cells, pooled, ended, sent;
	struct bio_set *pool;
	void *pages;
};
typedef void (bio_end_io_t)(struct bio *bio);
#define BIO_CHAIN 5

struct bio_set { mempool_t pool; };
#define BIO_POOL_SIZE 2
#define BIOSET_NEED_BVECS 1
#define BIOSET_NEED_RESCUER 2
#define BIOSET_PERCPU_CACHE 4
#define BIO_MAX_VECS 256
int bioset_init(struct bio_set *bs, unsigned int size, unsigned int front, int flags);
void bioset_exit(struct bio_set *bs);

#define bio_op(b) ((enum req_op)((b)->bi_opf & REQ_OP_MASK))
#define op_is_write(op) ((op) & 1)
#define op_is_flush(opf) (!!((opf) & (REQ_FUA | REQ_PREFLUSH)))
#define op_is_discard(opf) (((opf) & REQ_OP_MASK) == REQ_OP_DISCARD)
#define bio_sectors(b) ((b)->bi_iter.bi_size >> SECTOR_SHIFT)
#define bio_end_sector(b) ((b)->bi_iter.bi_sector + bio_sectors(b))
#define bio_data_dir(b) (op_is_write(bio_op(b)) ? 1 : 0)
#define READ 0
#define WRITE 1
bool bio_has_data(struct bio *bio);
#define bio_set_dev(b, d) ((b)->bi_bdev = (d))
#define bio_clone_blkg_association(to, from) ((void)(to), (void)(from))
#define bio_associate_blkg(b) ((void)(b))
#define bio_set_flag(b, f) ((b)->bi_flags |= 1u << (f))
#define bio_clear_flag(b, f) ((b)->bi_flags &= ~(1u << (f)))
#define bio_flagged(b, f) (!!((b)->bi_flags & (1u << (f))))
#define bio_segments(b) (bio_sectors(b) / (PAGE_SIZE >> SECTOR_SHIFT))

void bio_init(struct bio *bio, struct block_device *bdev, void *table, unsigned short vecs,
	      blk_opf_t opf);
void bio_uninit(struct bio *bio);
void bio_reset(struct bio *bio, struct block_device *bdev, blk_opf_t opf);
struct bio *bio_alloc(struct block_device *bdev, unsigned short vecs, blk_opf_t opf, gfp_t gfp);
struct bio *bio_alloc_bioset(struct block_device *bdev, unsigned short vecs, blk_opf_t opf,
			     gfp_t gfp, struct bio_set *bs);
struct bio *bio_alloc_clone(struct block_device *bdev, struct bio *src, gfp_t gfp,
			    struct bio_set *bs);
void bio_put(struct bio *bio);
void bio_advance(struct bio *bio, unsigned int bytes);
void bio_inc_remaining(struct bio *bio);
void bio_chain(struct bio *bio, struct bio *parent);
void bio_endio(struct bio *bio);
void bio_io_error(struct bio *bio);
void submit_bio_noacct(struct bio *bio);
void submit_bio(struct bio *bio);
int submit_bio_wait(struct bio *bio);
void zero_fill_bio(struct bio *bio);
#define zero_fill_bio_iter(b, i) sim_zero_iter(b, i)
void sim_zero_iter(struct bio *bio, struct bvec_iter start);
void bio_copy_data_iter(struct bio *to, struct bvec_iter *ti, struct bio *from,
			struct bvec_iter *fi);
void bio_copy_data(struct bio *to, struct bio *from);

struct page;
struct page *alloc_page(gfp_t gfp);
void __free_page(struct page *p);
#define put_page __free_page
int bio_add_page(struct bio *bio, struct page *p, unsigned int len, unsigned int off);
#define __bio_add_page bio_add_page
void bio_free_pages(struct bio *bio);

struct bio_list { struct bio *head, *tail; };
#define BIO_EMPTY_LIST { NULL, NULL }
#define bio_list_for_each(b, l) for (b = (l)->head; b; b = b->bi_next)

static inline void bio_list_init(struct bio_list *l)
{
	l->head = NULL;
	l->tail = NULL;
}

static inline bool bio_list_empty(const struct bio_list *l)
{
	return !l->head;
}

static inline unsigned int bio_list_size(const struct bio_list *l)
{
	unsigned int n = 0;
	struct bio *b;

	bio_list_for_each(b, l)
		n++;
	return n;
}

static inline void bio_list_add(struct bio_list *l, struct bio *b)
{
	b->bi_next = NULL;
	if (l->tail)
		l->tail->bi_next = b;
	else
		l->head = b;
	l->tail = b;
}

static inline void bio_list_add_head(struct bio_list *l, struct bio *b)
{
	b->bi_next = l->head;
	l->head = b;
	if (!l->tail)
		l->tail = b;
}

static inline void bio_list_merge(struct bio_list *l, struct bio_list *m)
{
	if (!m->head)
		return;
	if (l->tail)
		l->tail->bi_next = m->head;
	else
		l->head = m->head;
	l->tail = m->tail;
}

static inline void bio_list_merge_init(struct bio_list *l, struct bio_list *m)
{
	bio_list_merge(l, m);
	bio_list_init(m);
}

static inline struct bio *bio_list_peek(struct bio_list *l)
{
	return l->head;
}

static inline struct bio *bio_list_pop(struct bio_list *l)
{
	struct bio *b = l->head;

	if (b) {
		l->head = b->bi_next;
		if (!l->head)
			l->tail = NULL;
		b->bi_next = NULL;
	}
	return b;
}

static inline struct bio *bio_list_get(struct bio_list *l)
{
	struct bio *b = l->head;

	bio_list_init(l);
	return b;
}

/* <linux/blkdev.h> */
sector_t bdev_nr_sectors(struct block_device *bdev);
unsigned int bdev_logical_block_size(struct block_device *bdev);
#define bdev_physical_block_size bdev_logical_block_size
unsigned int bdev_max_discard_sectors(struct block_device *bdev);
unsigned int bdev_write_zeroes_sectors(struct block_device *bdev);
#define bdev_discard_granularity(b) SIM_CELL
#define bdev_is_zoned(b) ((void)(b), false)
#define bdev_write_cache(b) ((void)(b), true)
#define bdev_fua(b) ((void)(b), true)
#define bdev_nonrot(b) ((void)(b), true)
#define BLKDEV_ZERO_NOUNMAP 1
#define BLKDEV_ZERO_NOFALLBACK 2
int blkdev_issue_flush(struct block_device *bdev);
int blkdev_issue_discard(struct block_device *bdev, sector_t s, sector_t n, gfp_t gfp);
int blkdev_issue_zeroout(struct block_device *bdev, sector_t s, sector_t n, gfp_t gfp,
			 unsigned int flags);
struct blk_plug { int unused; };
#define blk_start_plug(p) ((void)(p))
#define blk_finish_plug(p) ((void)(p))

#endif /* USER_LINUX_BIO_H */
