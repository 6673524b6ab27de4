// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-io and dm-kcopyd.
 *
 * dm-io: without a notification it waits; with one, that is called in an interrupt. kcopyd: one
 * worker of the client starts the I/O of its jobs and calls their notifications, one at a time: one
 * that waits for another job waits for ever. A job is cut into pieces of 512 KiB, some at once; if
 * a piece fails no more are begun. What could not be read is not written.
 */
#include "internal.h"

/* --- dm-io --------------------------------------------------------------------------------- */

#define MIN_IOS 16

struct dm_io_client *dm_io_client_create(void)
{
	struct dm_io_client *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return ERR_PTR(-ENOMEM);
	if (mempool_init_kmalloc_pool(&c->pool, MIN_IOS, 64)) {
		kfree(c);
		return ERR_PTR(-ENOMEM);
	}
	return c;
}

void dm_io_client_destroy(struct dm_io_client *c)
{
	mempool_exit(&c->pool);
	kfree(c);
}

struct dm_io_state {
	struct dm_io_client *client;
	unsigned int pending, nr;
	unsigned long errors;
	io_notify_fn fn;
	void *context;
	struct completion *done;
	unsigned long *result;
};

static void notify_interrupt(void *arg)
{
	struct dm_io_state s = *(struct dm_io_state *)arg;

	mempool_free(arg, &s.client->pool);
	s.fn(s.errors, s.context);
}

static void io_part_done(struct dm_io_state *s)
{
	if (--s->pending)
		return;
	if (!s->done) {
		sim_spawn("an interrupt", notify_interrupt, s, true);
		return;
	}
	*s->result = s->errors;
	s->done->done++;	/* not complete(): no fiber is here */
	sim_wake(s->done);
}

struct region_part {
	struct dm_io_state *state;
	unsigned int region;
};

static void region_over(struct sim_op *op)
{
	struct region_part *p = op->who;
	struct dm_io_state *s = p->state;

	if (op->status)
		s->errors |= 1ul << p->region;
	sim_free_op(op);
	sim_kfree(p);
	io_part_done(s);
}

static void start_region(struct dm_io_state *s, const struct dm_io_request *r, unsigned int region,
			 const struct dm_io_region *where)
{
	struct sim_disk *d = where->bdev->disk;
	bool write = op_is_write(r->bi_opf & REQ_OP_MASK);
	u32 unit = sim_disk_is_bytes(d) ? 1 : SIM_CELL_SECTORS;
	u32 at = (u32)(where->sector / unit), n = (u32)(where->count / unit), done = 0;

	if (where->sector % unit || where->count % unit)
		sim_die("dm_io() of a part of a cell");
	if (!n) {
		struct region_part *p = sim_kmalloc(sizeof(*p), __GFP_NOFAIL, "dm_io");
		struct sim_op *op = sim_new_op(d, SIM_FLUSH);

		*p = (struct region_part){ s, region };
		op->who = p;
		op->end = region_over;
		s->pending++;
		sim_begin_op(op);
		return;
	}
	while (done < n) {
		struct region_part *p = sim_kmalloc(sizeof(*p), __GFP_NOFAIL, "dm_io");
		struct sim_op *op;

		if (sim_disk_is_bytes(d)) {
			op = sim_new_op(d, write ? SIM_META_WRITE : SIM_META_READ);
			op->n = min(n - done, 256u);
			op->bytes = (u8 *)r->mem.ptr.addr + (size_t)done * SECTOR_SIZE;
			op->preflush = r->bi_opf & REQ_PREFLUSH;
		} else {
			op = sim_new_op(d, write ? SIM_WRITE : SIM_READ);
			op->n = min(n - done, (u32)SIM_OP_CELLS);
			op->cells = (u32 *)r->mem.ptr.addr + done;
			if (r->bi_opf & REQ_PREFLUSH)
				sim_die("dm_io(): a preflush with data to a leg is not here yet");
		}
		op->fua = r->bi_opf & REQ_FUA;
		op->first = at + done;
		done += op->n;
		*p = (struct region_part){ s, region };
		op->who = p;
		op->end = region_over;
		s->pending++;
		sim_begin_op(op);
	}
}

int dm_io(struct dm_io_request *r, unsigned int n, struct dm_io_region *where,
	  unsigned long *errors, ...)
{
	DECLARE_COMPLETION_ONSTACK(done);
	unsigned long result = 0;
	struct dm_io_state *s;
	unsigned int i;

	sim_might_sleep("dm_io");
	if (r->mem.type != DM_IO_VMA && r->mem.type != DM_IO_KMEM)
		sim_die("dm_io() with pages or a bio: kernel/user/dmio.c knows addresses only");
	for (i = 0; i < n; i++)
		if (!where[i].bdev || !where[i].bdev->disk)
			sim_die("dm_io() to a device that is not there");
	s = mempool_alloc(&r->client->pool, GFP_NOIO);
	memset(s, 0, sizeof(*s));
	s->client = r->client;
	s->nr = n;
	s->fn = r->notify.fn;
	s->context = r->notify.context;
	s->done = r->notify.fn ? NULL : &done;
	s->result = &result;
	s->pending = 1;
	for (i = 0; i < n; i++)
		start_region(s, r, i, &where[i]);
	io_part_done(s);
	if (r->notify.fn)
		return 0;
	wait_for_completion(&done);
	mempool_free(s, &r->client->pool);
	if (errors)
		*errors = result;
	return result ? -EIO : 0;
}

/* --- dm-kcopyd ----------------------------------------------------------------------------- */

#define MIN_JOBS 8
#define PIECE_CELLS ((512u << 10) / SIM_CELL)
#define SPLIT_COUNT 8

struct dm_kcopyd_client {
	mempool_t jobs;
	u32 nr_jobs;
	bool busy;		/* the worker */
};

struct kcopyd_job {
	struct dm_kcopyd_client *c;
	struct dm_io_region from, to[DM_KCOPYD_MAX_REGIONS];
	unsigned int n, flags;
	bool zero;
	dm_kcopyd_notify_fn fn;
	void *context;
	int read_err;
	unsigned long write_err;
	u32 next, end, running;	/* cells not begun yet; pieces under way */
};

struct dm_kcopyd_client *dm_kcopyd_client_create(struct dm_kcopyd_throttle *throttle)
{
	struct dm_kcopyd_client *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return ERR_PTR(-ENOMEM);
	if (mempool_init_kmalloc_pool(&c->jobs, MIN_JOBS, sizeof(struct kcopyd_job))) {
		kfree(c);
		return ERR_PTR(-ENOMEM);
	}
	return c;
}

void dm_kcopyd_client_flush(struct dm_kcopyd_client *c)
{
	sim_might_sleep("dm_kcopyd_client_flush");
	while (c->nr_jobs)
		sim_block_at(&c->nr_jobs, "kcopyd jobs");
}

void dm_kcopyd_client_destroy(struct dm_kcopyd_client *c)
{
	dm_kcopyd_client_flush(c);
	while (c->busy)
		sim_block_at(&c->busy, "kcopyd worker");
	mempool_exit(&c->jobs);
	kfree(c);
}

static void worker_enter(struct dm_kcopyd_client *c)
{
	sim_point();
	while (c->busy)
		sim_block_at(&c->busy, "kcopyd worker");
	c->busy = true;
}

static void worker_leave(struct dm_kcopyd_client *c)
{
	c->busy = false;
	sim_wake(&c->busy);
	sim_point();
}

static void piece(struct kcopyd_job *job, u32 first, u32 n)
{
	struct dm_kcopyd_client *c = job->c;
	u32 cells[PIECE_CELLS] = { 0 };
	struct sim_op *ops[DM_KCOPYD_MAX_REGIONS];
	unsigned int i;

	if (!job->zero) {
		struct sim_op *op = sim_new_op(job->from.bdev->disk, SIM_READ);

		op->first = (u32)(job->from.sector / SIM_CELL_SECTORS) + first;
		op->n = n;
		op->cells = cells;
		sim_begin_op(op);
		worker_leave(c);
		if (sim_wait_op(op)) {
			job->read_err = 1;
			worker_enter(c);
			return;
		}
		worker_enter(c);
	}
	for (i = 0; i < job->n; i++) {
		ops[i] = sim_new_op(job->to[i].bdev->disk, SIM_WRITE);
		ops[i]->first = (u32)(job->to[i].sector / SIM_CELL_SECTORS) + first;
		ops[i]->n = n;
		ops[i]->cells = cells;
		sim_begin_op(ops[i]);
	}
	worker_leave(c);
	for (i = 0; i < job->n; i++)
		if (sim_wait_op(ops[i]))
			job->write_err |= 1ul << i;
	worker_enter(c);
}

static void piece_main(void *arg)
{
	struct kcopyd_job *job = arg;
	struct dm_kcopyd_client *c = job->c;

	worker_enter(c);
	while (job->next < job->end && !job->read_err && !job->write_err) {
		u32 first = job->next, n = min(job->end - first, PIECE_CELLS);

		job->next += n;
		piece(job, first, n);
	}
	if (!--job->running) {
		dm_kcopyd_notify_fn fn = job->fn;
		void *context = job->context;
		int read_err = job->read_err;
		unsigned long write_err = job->write_err;

		mempool_free(job, &c->jobs);
		fn(read_err, write_err, context);
		/* nr_jobs is what a destroyer waits for: after the notification */
		if (!--c->nr_jobs)
			sim_wake(&c->nr_jobs);
	}
	worker_leave(c);
}

void dm_kcopyd_copy(struct dm_kcopyd_client *c, struct dm_io_region *from, unsigned int n,
		    struct dm_io_region *to, unsigned int flags, dm_kcopyd_notify_fn fn,
		    void *context)
{
	struct kcopyd_job *job;
	unsigned int i;
	u32 pieces;

	sim_might_sleep("dm_kcopyd_copy");
	job = mempool_alloc(&c->jobs, GFP_NOIO);
	memset(job, 0, sizeof(*job));
	job->c = c;
	if (from)
		job->from = *from;
	job->zero = !from;
	for (i = 0; i < n; i++) {
		job->to[i] = to[i];
		if (!to[i].bdev || (from && !from->bdev))
			sim_die("dm_kcopyd_copy() with a device that is not there");
		if (to[i].sector % SIM_CELL_SECTORS || to[i].count % SIM_CELL_SECTORS)
			sim_die("dm_kcopyd_copy() of a part of a cell");
	}
	job->n = n;
	job->flags = flags;
	job->fn = fn;
	job->context = context;
	job->end = (u32)(to[0].count / SIM_CELL_SECTORS);
	pieces = min(DIV_ROUND_UP(job->end, PIECE_CELLS), (u32)SPLIT_COUNT);
	if (!job->end)
		sim_die("dm_kcopyd_copy() of nothing");
	job->running = pieces;
	c->nr_jobs++;
	machine.copies++;
	while (pieces--)
		sim_spawn("kcopyd", piece_main, job, false);
	sim_point();
}

void dm_kcopyd_zero(struct dm_kcopyd_client *c, unsigned int n, struct dm_io_region *to,
		    unsigned int flags, dm_kcopyd_notify_fn fn, void *context)
{
	dm_kcopyd_copy(c, NULL, n, to, flags, fn, context);
}
