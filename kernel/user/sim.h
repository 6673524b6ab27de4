/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libshadow_module for its hosts (the simulator, tests): the module's own sources over fibers,
 * devices with volatile caches, and device mapper's core. C and C++; no header of the kernel.
 *
 * One thread of the host calls all of this. A run is a list of steps; each lets one fiber or one
 * device request go on, or is an action of the host, and has a seed of its own. Ids do not depend
 * on other steps, so a run can be replayed with steps left out.
 *
 * Failures: the first one is kept in machine.what and ends the run; sim_reset() begins another.
 */
#ifndef USER_SIM_H
#define USER_SIM_H

#ifdef __cplusplus
#include <cstddef>
extern "C" {
#else
#include <stdbool.h>
#include <stddef.h>
#endif
#ifndef USER_LINUX_KERNEL_H
#include "kernel/core/user_types.h"
#endif

/* --- the run ------------------------------------------------------------------------------- */

enum sim_op_kind {
	SIM_READ, SIM_WRITE, SIM_FLUSH, SIM_DISCARD, SIM_META_READ, SIM_META_WRITE, SIM_NR_OPS,
};

struct sim_machine {
	bool failed;
	char what[400];		/* went wrong first */
	/* What the host decides about a run, after sim_reset(): */
	bool calm;		/* no faults from now on */
	bool rescuer;		/* no memory for workers: one does all works of a queue */
	u32 preempt;		/* another CPU comes in once in so many points; 0: never */
	u32 lazy;		/* one in so many fibers and requests is slow; 0: none */
	u32 patience;		/* how slow at most: is let go once in so many times */
	u32 stall;		/* one in so many times that another CPU comes in it stays long; 0: none */
	u32 fault;		/* one in so many requests fails; 0: none */
	u32 fault_kinds;	/* bit per enum sim_op_kind: which of them may */
	bool full;		/* writes that fail do so for want of space */
	bool medium;		/* reads that fail have met a bad sector */
	u32 dry;		/* one in so many allocations fails; 0: none */
	bool split;		/* lower layers split requests */
	u32 hurry;		/* time goes on once in so many steps of others; 0: when all wait */
	bool only_time;		/* what was picked last: nothing else could go on */
	/* Figures: */
	u64 steps, points, copies, events, faults, device_ops;
	long allocated;		/* pieces of memory the module and dm's core have now */
	long long now;		/* virtual time, ns since boot */
	/* A line of the log, or about what devices do; NULL: nobody listens. */
	void (*note)(const char *line);
};
extern struct sim_machine machine;

/* Forgets everything: fibers, memory, devices' contents. The machine is off. */
void sim_reset(void);
/* Loads the module. */
int sim_boot(void);
/* The machine stops; caches lose what @how says. Only contents of devices are left. */
enum sim_cut {
	SIM_KEEP_ALL,	/* the devices kept their power: all is seen, and still in their caches */
	SIM_LOSE_ALL,	/* nothing that was in a cache survives */
	SIM_MIX,	/* any subset */
	SIM_PREFIX,	/* metadata: the older writes, the last of them torn; data: as SIM_MIX */
};
void sim_power_cut(enum sim_cut how);

void sim_begin_step(u32 index, u64 seed, bool plain);
#define SIM_NO_STEP 0xfffffffeu
/* Something that can go on, or SIM_NO_STEP; @random is the caller's choice. */
u32 sim_pick_ready(u64 (*random)(void *), void *arg);
/* False: there is no such fiber or request, or it waits. */
bool sim_go(u32 id);
/*
 * Runs to rest with choices of a seed, at most @steps; false: it failed or does not come to rest.
 * Time goes on for 60 timers at most.
 */
bool sim_run(u64 seed, u32 steps);
/* Nothing can go on but time. */
bool sim_at_rest(void);
/* Names of the fibers that there are, for reports. */
const char *sim_who_waits(void);
/* Of the fibers that sleep, one whose condition holds, so that it was never woken; or NULL. */
const char *sim_lost_wakeup(void);
/* Where memory was taken that nobody has freed; NULL: all was. */
const char *sim_leak(void);

/* Dice of the step. */
u64 sim_random(void);
u32 sim_below(u32 n);
bool sim_one_in(u32 n);
#ifdef __cplusplus
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif

/* Runs @fn(@arg) on a fiber of its own, from a later step on. @atomic: as in an interrupt. */
struct task_struct *sim_spawn(const char *name, void (*fn)(void *arg), void *arg, bool atomic);
/* In a fiber: anything else may happen now. */
void sim_yield(void);
/* In a fiber: until sim_wake() of the same address. */
void sim_block(const void *chan);
void sim_wake(const void *chan);

/* --- devices ------------------------------------------------------------------------------- */

struct sim_disk;
enum { SIM_CELL_SIZE = 16384 };
/*
 * A leg of so many cells. @content: what a cell holds that was never written.
 * A device of sectors with real bytes, for metadata; reads as zeroes.
 */
struct sim_disk *sim_disk_create(const char *name, u32 cells, u32 (*content)(void *who, u32 cell),
				 void *who);
struct sim_disk *sim_disk_create_bytes(const char *name, u32 sectors);
/* Every cell is as never written; all of that is durable. */
void sim_disk_clear(struct sim_disk *d);
void sim_disk_set_dead(struct sim_disk *d, bool dead);
bool sim_disk_dead(const struct sim_disk *d);
/* A device that answers no request until it is let go on. */
void sim_disk_set_hung(struct sim_disk *d, bool hung);
/* One of the requests that are under way to these cells takes very long. False: there is none. */
bool sim_disk_stick(struct sim_disk *d, u32 first, u32 n);
/*
 * A leg loses power for a while: what is under way there fails, and what lies in its cache is lost as
 * at a power cut. It is dead until it is back. What it gets meanwhile fails, whenever it looks.
 */
void sim_disk_blip(struct sim_disk *d, enum sim_cut how);
void sim_disk_back(struct sim_disk *d);
/* It has answered a write or a flush with an error since. */
bool sim_disk_told(const struct sim_disk *d);
void sim_disk_set_logical_block(struct sim_disk *d, u32 bytes);
/* Operations a device may not know: it says so in its limits, or only when it gets one. */
enum sim_takes { SIM_YES, SIM_NO, SIM_REJECTS };
void sim_disk_set_zeroes(struct sim_disk *d, enum sim_takes takes);
void sim_disk_set_discards(struct sim_disk *d, enum sim_takes takes);
u32 sim_disk_cell(const struct sim_disk *d, u32 cell);
/* What a reader finds now: bytes of the caches included. */
void sim_disk_read(const struct sim_disk *d, u32 sector, u32 n, void *to);
bool sim_disk_all_durable(const struct sim_disk *d);
/* One bit of the medium turns. */
void sim_disk_flip(struct sim_disk *d, u32 bit);
/* Flushes that have ended well since the last sim_reset(). */
u64 sim_disk_flushes(const struct sim_disk *d);

/* --- device mapper's ioctls; each in a fiber ----------------------------------------------- */

struct mapped_device;
/* @uuid as dmsetup gives it. */
struct mapped_device *sim_dm_create(const char *name, const char *uuid);
/* Loads a table of one target; the text behind its length and type. @why: room of 200, or NULL. */
int sim_dm_load(struct mapped_device *md, u64 sectors, const char *params, char *why);
/* Forgets the inactive table. */
void sim_dm_clear(struct mapped_device *md);
int sim_dm_suspend(struct mapped_device *md, bool noflush);
/* With an inactive table: swaps it in (suspending first if need be), then resumes. */
int sim_dm_resume(struct mapped_device *md);
/* As dmsetup wipe_table: what waits fails, the tables are gone. */
void sim_dm_wipe(struct mapped_device *md);
int sim_dm_remove(struct mapped_device *md);
/* Any fiber, at any moment: below 0 an error, 1 if there is an answer. */
int sim_dm_message(struct mapped_device *md, const char *text, char *answer, u32 room);
/* @type as dm's STATUSTYPE_; @inactive: of the table that was loaded. False: there is none. */
bool sim_dm_status(struct mapped_device *md, int type, bool inactive, char *answer, u32 room);
bool sim_dm_suspended(struct mapped_device *md);
u32 sim_dm_in_flight(struct mapped_device *md);
/* Status flags of a bio's end, as the block layer's. */
enum { SIM_OK = 0, SIM_NOTSUPP = 1, SIM_NOSPC = 3, SIM_TARGET = 5, SIM_IOERR = 10 };

/* A request to a mapped device. */
enum sim_io_op { SIM_IO_READ = 0, SIM_IO_WRITE = 1, SIM_IO_DISCARD = 3, SIM_IO_ZEROES = 9 };
struct sim_io {
	struct mapped_device *md;
	enum sim_io_op op;
	bool fua, preflush;	/* preflush and no cells: a flush alone */
	u32 first, cells;	/* a flush alone may have any first */
	u32 *data;		/* a number per cell, read or written */
	void (*done)(struct sim_io *io);	/* in any context */
	void *who;
	u8 status;
	void *bio;		/* the library's */
};
/* In a fiber of the submitter. */
void sim_dm_submit(struct sim_io *io);

#ifdef __cplusplus
}
#endif
#endif /* USER_SIM_H */
