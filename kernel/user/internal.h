/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of kernel/user share.
 *
 *   sched.c   fibers, steps, points, the clock
 *   memory.c  kmalloc to mempools: poison, quarantine, shortage, leaks
 *   lock.c    spin locks to semaphores, their order; RCU
 *   wait.c    wait queues, completions
 *   work.c    threads, work queues
 *   disk.c    devices: caches, faults, power cuts
 *   bio.c     requests to them
 *   dmio.c    dm-io, dm-kcopyd
 *   dm.c      mapped devices: tables, suspend, resume, messages
 *   dm_map.c  the way of a bio through a target
 */
#ifndef USER_INTERNAL_H
#define USER_INTERNAL_H

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/dm-io.h>
#include <linux/module.h>

#include "sim.h"

/* --- sched.c --- */
#define SIM_HELD 12
struct task_struct {
	void *sp, *stack;
	void (*fn)(void *arg);
	void *arg;
	const char *name;
	u32 id;
	bool used, atomic_ctx;
	u32 slow;		/* is let go once in so many times; 0: always */
	u32 stalled;		/* likewise, until it is let go */
	bool stop, woken, waiting, interruptible, timed_out;
	int spins, irqs_off;		/* spin locks held; interrupts are off */
	int rcu;			/* depth of read sections */
	const void *chan;		/* asleep until sim_wake(chan) */
	const char *at;			/* what that is, for reports */
	wait_queue_head_t *wq;		/* registered there */
	s64 due;			/* of a sleep with an end; 0: none */
	struct sim_lock *held[SIM_HELD];
	u32 nr_held;
	struct bio_list *bio_list;	/* submit_bio_noacct() under way: current->bio_list */
	unsigned int noio;
	struct work_struct *work;	/* being done */
};
#define SIM_FIBERS 256
extern struct task_struct *sim_cur;	/* NULL: the host */
/* The step is one without faults and other CPUs. */
extern bool sim_plain;
u32 sim_new_id(void);
u32 sim_new_slowness(u32 odds);
/* The next fiber from *@i on, or NULL. */
struct task_struct *sim_next_fiber(u32 *i);
/* As sim_block(), with a name for reports. */
void sim_block_at(const void *chan, const char *at);
void sim_fibers_reset(void);
void sim_wake_queue(const wait_queue_head_t *w);
/* Works that are due: the earliest, or 0; work.c. */
s64 sim_work_due(void);
void sim_work_fire(s64 now);
void sim_work_reset(void);
/* Memory is freed: no timer of a work may run in it. */
void sim_work_freed(const void *data, size_t size);

/* --- memory.c --- */
void sim_memory_reset(void);
void sim_module_variables_save(void);
void sim_module_variables_restore(void);
bool sim_memory_fails(gfp_t gfp);
bool sim_is_poison(u32 magic);

/* --- lock.c --- */
void sim_locks_reset(void);

/* --- disk.c --- */
#define SIM_OP_CELLS 64
struct sim_op {
	bool used, started, begun, over;
	u32 slow;		/* as a fiber's */
	bool doomed;		/* its device lost power before it could look at it */
	enum sim_op_kind kind;
	bool fua, preflush, is_zeroes;
	u32 id;
	struct sim_disk *d;
	u32 first, n;		/* cells; sectors of a device of bytes */
	u32 *cells;		/* NULL for a write: zeroes */
	u8 *bytes;
	u64 todo;		/* bit per cell */
	u64 upto;		/* flush: the device's sequence when it began */
	void **writes;		/* of bytes: in the cache, not landed */
	u32 nr_writes;
	blk_status_t status;
	void (*end)(struct sim_op *op);	/* NULL: somebody waits */
	void *who;
};
#define SIM_OPS 512
struct sim_op *sim_new_op(struct sim_disk *d, enum sim_op_kind kind);
void sim_begin_op(struct sim_op *op);
void sim_free_op(struct sim_op *op);
/* Waits, frees, and gives the status. */
blk_status_t sim_wait_op(struct sim_op *op);
void sim_op_step(struct sim_op *op);
bool sim_op_ready(const struct sim_op *op);
struct sim_op *sim_op_at(u32 i);	/* in order of use; NULL beyond the last */
u32 sim_nr_ops(void);
struct sim_op *sim_op_find(u32 id);
void sim_disks_reset(void);
void sim_disks_power_cut(enum sim_cut how);
struct block_device *sim_disk_bdev(const char *name);
bool sim_disk_is_bytes(const struct sim_disk *d);
const char *sim_disk_name(const struct sim_disk *d);
u32 sim_disk_size(const struct sim_disk *d);	/* cells or sectors */

/* --- bio.c --- */
/* Cells read, written (NULL: zeroes) or discarded, in requests that the device takes. */
blk_status_t sim_do_cells(struct sim_disk *d, enum sim_op_kind kind, sector_t sector,
			  sector_t count, u32 *cells, bool zeroes);
blk_status_t sim_do_flush(struct sim_disk *d);

/* --- dm.c, dm_map.c --- */
struct dm_table {
	struct mapped_device *md;
	struct dm_target ti;
	struct dm_dev *devices[8];
	u32 uses[8], nr_devices;
};

struct mapped_device {
	char name[32], uuid[DM_UUID_LEN];
	struct block_device bdev;
	struct gendisk disk;
	struct dm_table *map;		/* live */
	struct dm_table *inactive;	/* under hash_lock */
	bool block_io, suspended, post_suspending, noflush, freeing;
	u32 holders;
	struct mutex suspend_lock, type_lock;
	struct srcu_struct io_barrier;
	spinlock_t deferred_lock;
	struct bio_list deferred;
	struct workqueue_struct *wq;
	struct work_struct work;
	atomic_t in_flight;
	wait_queue_head_t wait;
};
void sim_dm_submit_bio(struct bio *bio);
void sim_dm_deferred_work(struct work_struct *w);
void sim_dm_reset(void);

#endif /* USER_INTERNAL_H */
