// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of a bio through device mapper: as drivers/md/dm.c of 6.1.
 *
 * One dm_io for each pass of a bio; the rest of a bio that a target took a part of is submitted
 * again, and may meet another table. A preflush goes first, alone: one empty clone per flush bio.
 * The first of them is the clone embedded in the dm_io, which keeps operation, flags and SECTOR
 * of the bio; the others have sector 0. When they have ended the data follow, from a worker.
 */
#include "internal.h"

struct dm_io {
	struct mapped_device *md;
	struct bio *orig;
	struct bvec_iter iter;		/* of the bio at the beginning */
	atomic_t count;
	blk_status_t status;
};

/* In front of it the target's data lie. */
struct dm_target_io {
	u32 magic;
	unsigned int nr;
	unsigned int *len;		/* NULL: not to be shortened */
	struct dm_io *io;
	struct dm_target *ti;
	bool mapping;
	struct bio clone;
};

#define TIO_MAGIC 0xd310d310u

static struct dm_target_io *tio_of(const struct bio *bio)
{
	struct dm_target_io *t = container_of((struct bio *)bio, struct dm_target_io, clone);

	if (t->magic != TIO_MAGIC)
		sim_die("a bio that is no clone of device mapper's, or was freed, is taken for one");
	return t;
}

void *dm_per_bio_data(struct bio *bio, size_t size)
{
	struct dm_target_io *t = tio_of(bio);

	if (size > t->ti->per_io_data_size)
		sim_die("dm_per_bio_data(): more than per_io_data_size");
	return (char *)t - t->ti->per_io_data_size;
}

struct bio *dm_bio_from_per_bio_data(void *data, size_t size)
{
	/* the layout does not tell the rounding: all targets here use one size */
	struct dm_target_io *t = (struct dm_target_io *)((char *)data + round_up(size, 16ul));

	if (t->magic != TIO_MAGIC)
		sim_die("dm_bio_from_per_bio_data() of a bio that was freed");
	return &t->clone;
}

unsigned int dm_bio_get_target_bio_nr(const struct bio *bio)
{
	return tio_of(bio)->nr;
}

void dm_accept_partial_bio(struct bio *bio, unsigned int sectors)
{
	struct dm_target_io *t = tio_of(bio);
	unsigned int have = bio_sectors(bio);

	BUG_ON(!t->len);
	if (!t->mapping)
		sim_die("dm_accept_partial_bio() outside map");
	BUG_ON(have > *t->len);
	BUG_ON(sectors > have);
	*t->len -= have - sectors;
	bio->bi_iter.bi_size = sectors << SECTOR_SHIFT;
}

int dm_set_target_max_io_len(struct dm_target *ti, sector_t len)
{
	ti->max_io_len = (u32)len;
	return 0;
}

/* --- the end ------------------------------------------------------------------------------- */

/*
 * dm queues the work after the lock. A worker that was queued before may have ended the bio by then,
 * and with its last user the device may go: some instructions that are not ours to judge.
 */
static void queue_io(struct mapped_device *md, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&md->deferred_lock, flags);
	bio_list_add(&md->deferred, bio);
	queue_work(md->wq, &md->work);
	spin_unlock_irqrestore(&md->deferred_lock, flags);
}

static void io_dec_pending(struct dm_io *io, blk_status_t status)
{
	struct mapped_device *md = io->md;
	struct bio *bio = io->orig;

	if (status && !(io->status == BLK_STS_DM_REQUEUE && md->noflush))
		io->status = status;
	if (!atomic_dec_and_test(&io->count))
		return;
	status = io->status;
	if (status == BLK_STS_DM_REQUEUE && md->noflush) {
		bio->bi_iter = io->iter;
		queue_io(md, bio);
		bio = NULL;
	} else if (status == BLK_STS_DM_REQUEUE) {
		status = BLK_STS_IOERR;
	}
	sim_kfree(io);
	/* before its end: who has seen that may remove the device */
	if (atomic_dec_and_test(&md->in_flight))
		wake_up(&md->wait);
	if (!bio)
		return;
	if ((bio->bi_opf & REQ_PREFLUSH) && bio->bi_iter.bi_size && !status) {
		/* preflush done for flush with data, reissue without REQ_PREFLUSH */
		bio->bi_opf &= ~REQ_PREFLUSH;
		queue_io(md, bio);
		return;
	}
	if (status)
		bio->bi_status = status;
	bio_endio(bio);
}

static void free_tio(struct dm_target_io *t)
{
	sim_kfree((char *)t - t->ti->per_io_data_size);
}

static void clone_endio(struct bio *bio)
{
	struct dm_target_io *t = tio_of(bio);
	struct dm_io *io = t->io;
	blk_status_t status = bio->bi_status;

	if (t->ti->type->end_io) {
		/* the target may own it afterwards, and end it again */
		bio->ended = false;
		bio->sent = false;
		switch (t->ti->type->end_io(t->ti, bio, &status)) {
		case DM_ENDIO_INCOMPLETE:
			return;
		case DM_ENDIO_REQUEUE:
			status = BLK_STS_DM_REQUEUE;
			break;
		case DM_ENDIO_DONE:
			break;
		default:
			sim_die("end_io gave what is no DM_ENDIO_");
		}
	}
	free_tio(t);
	io_dec_pending(io, status);
}

/* --- the way there ------------------------------------------------------------------------- */

static struct dm_target_io *alloc_tio(struct dm_io *io, struct dm_target *ti, unsigned int nr,
				      unsigned int *len)
{
	size_t front = ti->per_io_data_size;
	struct dm_target_io *t;
	char *p;

	p = sim_kmalloc(front + sizeof(*t), __GFP_NOFAIL, "a clone");
	t = (struct dm_target_io *)(p + front);
	memset(t, 0, sizeof(*t));
	t->magic = TIO_MAGIC;
	t->nr = nr;
	t->len = len;
	t->io = io;
	t->ti = ti;
	bio_init(&t->clone, &io->md->bdev, NULL, 0, io->orig->bi_opf);
	t->clone.bi_ioprio = io->orig->bi_ioprio;
	t->clone.bi_iter = io->orig->bi_iter;
	t->clone.cells = io->orig->cells;
	t->clone.bi_end_io = clone_endio;
	if (len)
		t->clone.bi_iter.bi_size = *len << SECTOR_SHIFT;
	return t;
}

static void map_bio(struct dm_target_io *t)
{
	struct dm_io *io = t->io;
	int r;

	t->mapping = true;
	r = t->ti->type->map(t->ti, &t->clone);
	switch (r) {
	case DM_MAPIO_SUBMITTED:
		return;
	case DM_MAPIO_REMAPPED:
		t->mapping = false;
		dm_submit_bio_remap(&t->clone, NULL);
		return;
	case DM_MAPIO_KILL:
	case DM_MAPIO_REQUEUE:
		free_tio(t);
		io_dec_pending(io, r == DM_MAPIO_KILL ? BLK_STS_IOERR : BLK_STS_DM_REQUEUE);
		return;
	default:
		sim_die("map gave what is no DM_MAPIO_");
	}
}

void dm_submit_bio_remap(struct bio *clone, struct bio *tgt_clone)
{
	struct bio *bio = tgt_clone ?: clone;

	if (bio->bi_bdev == &tio_of(clone)->io->md->bdev)
		sim_die("map did not send the bio anywhere");
	submit_bio_noacct(bio);
}

/* Several: all exist before the first is mapped. */
static void send_empty_flush(struct dm_io *io, struct dm_target *ti)
{
	struct dm_target_io *tios[8];
	unsigned int i, n = ti->num_flush_bios;

	BUG_ON(n > ARRAY_SIZE(tios));
	atomic_add((int)n, &io->count);
	for (i = 0; i < n; i++) {
		tios[i] = alloc_tio(io, ti, i, NULL);
		tios[i]->clone.bi_iter.bi_size = 0;
		tios[i]->clone.cells = NULL;
		if (i) {
			tios[i]->clone.bi_iter.bi_sector = 0;
			tios[i]->clone.bi_opf = REQ_OP_WRITE | REQ_PREFLUSH | REQ_SYNC;
		}
	}
	for (i = 0; i < n; i++)
		map_bio(tios[i]);
}

static bool is_abnormal(const struct bio *bio)
{
	return bio_op(bio) == REQ_OP_DISCARD || bio_op(bio) == REQ_OP_WRITE_ZEROES ||
	       bio_op(bio) == REQ_OP_SECURE_ERASE;
}

/* One pass: the first part of the bio, as much of it as the target takes. */
static void split_and_process(struct mapped_device *md, struct dm_table *map, struct bio *bio)
{
	struct dm_target *ti = &map->ti;
	struct dm_io *io = sim_kmalloc(sizeof(*io), __GFP_NOFAIL | __GFP_ZERO, "a dm_io");
	unsigned int len = bio_sectors(bio), all = len;
	blk_status_t error = BLK_STS_OK;

	io->md = md;
	io->orig = bio;
	io->iter = bio->bi_iter;
	atomic_set(&io->count, 1);
	atomic_inc(&md->in_flight);
	if (bio->bi_opf & REQ_PREFLUSH) {
		send_empty_flush(io, ti);
		io_dec_pending(io, BLK_STS_OK);
		return;
	}
	if (!len || bio_end_sector(bio) > ti->len) {
		error = BLK_STS_IOERR;
	} else if (is_abnormal(bio) && !(bio_op(bio) == REQ_OP_DISCARD ? ti->num_discard_bios :
					 bio_op(bio) == REQ_OP_WRITE_ZEROES ?
					 ti->num_write_zeroes_bios : ti->num_secure_erase_bios)) {
		error = BLK_STS_NOTSUPP;
	} else {
		if (ti->max_io_len)
			len = min(len, (unsigned int)(ti->max_io_len -
						      bio->bi_iter.bi_sector % ti->max_io_len));
		atomic_inc(&io->count);
		map_bio(alloc_tio(io, ti, 0, &len));
	}
	if (!error && len < all) {
		/* the rest is handled after what was submitted, as a bio of its own */
		bio_advance(bio, len << SECTOR_SHIFT);
		bio_inc_remaining(bio);
		submit_bio_noacct(bio);
	}
	io_dec_pending(io, error);
}

/* A bio for the mapped device, in its submitter's context. */
void sim_dm_submit_bio(struct bio *bio)
{
	struct mapped_device *md = container_of(bio->bi_bdev, struct mapped_device, bdev);
	int index = srcu_read_lock(&md->io_barrier);
	struct dm_table *map = READ_ONCE(md->map);

	if (!map)
		bio_io_error(bio);
	else if (READ_ONCE(md->block_io))
		queue_io(md, bio);
	else
		split_and_process(md, map, bio);
	srcu_read_unlock(&md->io_barrier, index);
}

void sim_dm_deferred_work(struct work_struct *w)
{
	struct mapped_device *md = container_of(w, struct mapped_device, work);

	while (!READ_ONCE(md->block_io)) {
		unsigned long flags;
		struct bio *bio;

		spin_lock_irqsave(&md->deferred_lock, flags);
		bio = bio_list_pop(&md->deferred);
		spin_unlock_irqrestore(&md->deferred_lock, flags);
		if (!bio)
			break;
		submit_bio_noacct(bio);
		cond_resched();
	}
}

/* --- from the host ------------------------------------------------------------------------- */

static void host_end(struct bio *bio)
{
	struct sim_io *io = bio->bi_private;

	io->status = bio->bi_status;
	io->bio = NULL;
	bio_put(bio);
	io->done(io);
}

void sim_dm_submit(struct sim_io *io)
{
	blk_opf_t opf = (blk_opf_t)io->op;
	struct bio *bio;

	if (io->fua)
		opf |= REQ_FUA;
	if (io->preflush)
		opf |= REQ_OP_WRITE | REQ_PREFLUSH | REQ_SYNC;
	bio = bio_alloc_bioset(&io->md->bdev, 0, opf, GFP_NOIO | __GFP_NOFAIL, NULL);
	bio->bi_iter.bi_sector = (sector_t)io->first * SIM_CELL_SECTORS;
	bio->bi_iter.bi_size = io->cells * SIM_CELL;
	bio->cells = io->data;
	bio->bi_end_io = host_end;
	bio->bi_private = io;
	io->bio = bio;
	submit_bio_noacct(bio);
}
