/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-shadow: what the parts of the module share.
 *
 *   dm-shadow-target.c    constructor, suspend and resume hooks, status
 *   dm-shadow-message.c   messages
 *   dm-shadow-table.c     what a table means for a volume
 *   dm-shadow-registry.c  which volumes there are; how one begins and ends
 *   dm-shadow-volume.c    what a table does to its volume: reserved when it is loaded, carried out
 *                         when it is resumed
 *   dm-shadow-array.c     memory for an entry a block, and how it grows
 *   dm-shadow-tidy.c      states of a modification that is over
 *   dm-shadow-state.c     the states of its blocks, its modes, its events
 *   dm-shadow-phase.c     cut-over, rollback, commit, abort, retire
 *   dm-shadow-io.c        map and end_io: the path of every bio
 *   dm-shadow-race.c      read policy "mirror"
 *   dm-shadow-slow.c      what a bio cannot do at once: discards, failures, write intent
 *   dm-shadow-fill.c      holes become data
 *   dm-shadow-queue.c     what the movers were asked for
 *   dm-shadow-mover.c     copies blocks with dm-kcopyd
 *   dm-shadow-tier.c      shadows: their words, slots, ends and failures
 *   dm-shadow-tier-mover.c  copies blocks to and from tiers, as asked for
 *   dm-shadow-tier-round.c  blocks that are copied to or from tiers together
 *   dm-shadow-fetch.c     reads that wait for a copy of their block
 *   dm-shadow-doubt.c     what a leg may have lost with its cache
 *   dm-shadow-trace.h     tracepoints of all that changes
 *   dm-shadow-tier-table.c  tiers that a table gives or takes away; slot pages read at a load
 *   dm-shadow-metadata.c  commits to the metadata device
 *   dm-shadow-load.c      reads and formats it
 *   core/                 the rules, pure
 *
 * Ordering rules, in one place:
 *
 * State bytes. Every change is a compare-and-swap of one byte to what shadow_transition() says
 * (shadow_apply()). Dirty bits follow the swap; a home is counted in before it and out after it.
 *
 * Empty bios. An empty bio has no position, whatever its sector is: dm core hands out the flush
 * that comes before data as a clone that keeps the sector of the data. A decision asks for the
 * operation first, and for sectors only where there are any.
 *
 * Epoch. While two legs are attached a write enters the epoch before it reads the state byte and
 * leaves it when its device I/O has ended. Whoever changed a state and needs the writes mapped
 * under the old one to be over calls shadow_drain() afterwards. See dm-shadow-epoch.h.
 *
 * Commit. shadow_commit() takes a picture of the dirty pages, then flushes the legs, then writes
 * the pages. A copy that the picture calls current is therefore durable before the metadata says
 * so. v->unflushed is set before the state byte is swapped, and read after the picture. If the
 * flush of a leg fails its copies are dropped; if it may hold a block's only copy (v->sole) the
 * commit fails instead, and the volume goes read-only. Setting v->unflushed or v->sole, and the
 * states that go with it, is done under v->phase_lock for reading, and dropping for writing: a copy
 * whose flush has failed is either current already, and dropped or found to be the only one, or
 * will be flushed again.
 *
 * Lost copies. When a leg fails a write, the block's copy there may be used no longer, and that has
 * to be durable before any write that relies on it is acknowledged. shadow_gate_close() makes new
 * writes wait and drains; then the states are changed and committed; then the gate is opened.
 *
 * A write that failed on all legs leaves copies that may differ: one of two homes is given up, too,
 * the one that an unclean stop would not believe, before the error is reported.
 *
 * Failed legs. A leg that fails a flush loses its copies where there are others (v->home_failed,
 * v->tier_failed), and takes no new ones until the next table: who makes one looks at the mask
 * under v->phase_lock. When that loss is durable v->no_flush has a home leg, too: it gets no flush
 * any more as long as nothing that it holds counts. A tier gets none while no slot of it is in use.
 *
 * Suspected legs. A leg that fails an I/O may have lost what it did not flush (v->suspect). The
 * next commit gives up what is in doubt there, with the gate closed, before it makes anything
 * durable; a flush of the volume waits for that. A copy that was sent before and is over after it
 * (v->doubted) does not count.
 *
 * Copies after failures. Which copy a failed mirrored write gives up is decided by the block's
 * state when the worker sees it, so no copy may be made between the failure and the decision: it
 * could overwrite the good copy by the one that failed. v->failing is raised before the write
 * leaves the epoch; the mover looks at it after its drain, and lets the worker go first.
 *
 * Shadows. With tiers a block has a word besides its byte. SHADOW_SHADOW is set in the byte after
 * the word became PROMOTING and cleared after it became zero, so who sees the bit looks at the
 * word, and who does not goes home. While a volume has tiers every write, and every read that a
 * shadow serves, is in the epoch from before it reads byte and word until its device I/O has
 * ended. A slot is free after: the word is zero, a commit made that durable, the epoch was drained.
 *   - A promotion drains after it claimed the word and before it reads home; a write mapped
 *     meanwhile marks the word when it is mapped. A write-back likewise.
 *   - "clean" says that both are the same after a power cut, too: a promotion flushes the home it
 *     has read, a write-back both sides.
 *   - A write looks at the gate before byte and word: what it reads of a time before a gate that
 *     has opened meanwhile may name a shadow that was given up.
 *   - The tier mover's copies are in v->tier_epoch from before they look at byte and word until
 *     the word was settled, and it starts none while the gate is closed or v->failing is raised:
 *     to a drain they are writes. It must not drain or commit meanwhile. Before a copy it drains
 *     v->epoch alone: other copies have nothing to do with its block.
 *   - While reads may fetch a write is in v->traffic from before it reads byte and word. A fetch
 *     that has claimed its block and then finds no write there need not drain, if all are counted.
 *   - "dirty" is durable before the first write that goes to the shadow alone is sent.
 *   - Writes to a clean shadow and home have the region's write-intent bit, like mirrored ones.
 *   - A shadow's end (shadow_finish_drops(), under v->drop_lock): DROPPING, noted, commit, zero,
 *     drain, free. Until the commit writes still keep the shadow as current as home.
 *   - A read that waits for a promotion (dm-shadow-fetch.c) is in no epoch and holds nothing.
 *   - A discard ends the shadow after the hole is durable and before the block is released.
 *   - A write-intent bit is never cleared on disk before the end of a shadow that relied on it: the
 *     sweep commits first, and slot pages are committed before state pages.
 *   - But after a home leg was dropped state pages go first: a shadow is called clean, or gone,
 *     only when the homes that count have what it had.
 *
 * Busy blocks. SHADOW_BUSY is set by a swap; only its setter clears it, and then calls
 * shadow_release_parked(). A bio is parked with v->lock held after seeing the bit under the lock.
 *
 * Life. Every method of a table but map and end_io may run at any moment between its constructor
 * and its destructor, beside a resume, too. So a table has its volume from the constructor on and
 * keeps it until the destructor, and a message looks at s->attached under v->admin. What status reads
 * changes under v->view, which is never held over I/O or an allocation. The constructor makes all
 * that the table can need; a resume decides again, does metadata I/O, and exchanges pointers.
 * v->layout is held while the volume's size is being decided on: by a resume, and by a constructor
 * that reserves memory or formats pages beyond the volume's end. The registry's lock is for its
 * list alone.
 *
 * Locks, outermost first: v->parts, v->admin, v->layout, v->intent_lock, v->drop_lock,
 * v->commit_lock, v->phase_lock, v->view, v->lock. The registry's lock and v->sb_lock are
 * innermost.
 */
#ifndef DM_SHADOW_H
#define DM_SHADOW_H

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/dm-io.h>
#include <linux/dm-kcopyd.h>
#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "core/shadow_args.h"
#include "core/shadow_format.h"
#include "core/shadow_state.h"
#include "core/shadow_tier.h"
#include "dm-shadow-epoch.h"

#define DM_MSG_PREFIX "shadow"

enum shadow_mode {
	SHADOW_MODE_RW,		/* all is well */
	SHADOW_MODE_RO,		/* metadata cannot be written: no state may change */
	SHADOW_MODE_FAIL,	/* all I/O fails */
};

/* What a fast-path lookup answers: a leg; that the word decides; that the slow path has to think. */
#define SHADOW_LUT_WORD 0xfe
#define SHADOW_LUT_SLOW 0xff

/* What end_io has to do for a bio that carries a shadow_io; see shadow_watch(). */
enum shadow_io_kind {
	SHADOW_IO_COUNTED,	/* leave the epoch */
	SHADOW_IO_READ,		/* try another copy on error */
	SHADOW_IO_MIRRORED,	/* wait for the other legs */
	SHADOW_IO_TIER_READ,	/* leave the epoch; try home on error */
	SHADOW_IO_TIER_WRITE,	/* leave the epoch; count an error of the tier */
	SHADOW_IO_FLUSH,	/* on error see what the leg held */
};

struct shadow_io;

/* Several device I/Os that one worker waits for. */
struct shadow_batch {
	atomic_t pending;
	struct completion done;
};

/* One leg's part in a zero-fill, or in a mirrored write. */
struct shadow_part {
	struct shadow_io *io;
	blk_status_t status;
};

/* Per-bio data, in front of every bio that device mapper hands us. */
struct shadow_io {
	u8 kind;		/* enum shadow_io_kind */
	u8 epoch;		/* index to leave */
	u8 leg;			/* it was sent to this one */
	u8 tried;		/* mask of legs that failed the read */
	u8 filling;		/* mask of legs being zero-filled */
	u8 sent;		/* mirrored: mask of its legs */
	bool counted;		/* in v->traffic */
	bool waited;		/* read: has waited for a copy of its block */
	bool first;		/* write: has set its region's bit in intent_disk */
	atomic_t pending;	/* mirrored: parts still out */
	u32 block;
	struct bvec_iter iter;	/* as mapped, to send it again */
	struct shadow_volume *v;
	struct shadow_batch *batch;	/* zero-fill it is part of */
	struct shadow_part parts[SHADOW_NR_LEGS];
};

/* A range a mover has been asked for. */
struct shadow_request {
	struct list_head list;
	u8 type;		/* SHADOW_MSG_COPY to _FILL; _PROMOTE to _WRITEBACK */
	u8 tier;		/* PROMOTE: leg */
	u32 next;		/* first block not yet looked at */
	u32 end;
};

/* Of a mover; under v->lock. */
struct shadow_queue {
	struct list_head list;		/* of shadow_request */
	unsigned int nr;
	u64 blocks;			/* not yet looked at */
};

/* A run of neighbouring blocks in flight between the legs. */
struct shadow_job {
	struct list_head list;	/* on mover->running or mover->again */
	struct shadow_volume *v;
	struct completion *done;	/* somebody waits for it (held copy) */
	u64 seq;
	u64 sectors;		/* under way */
	u32 doubted;		/* v->doubted when it was sent */
	u32 first;
	u32 count;
	u32 mine;		/* bit per block: it is being copied, and by this job */
	u32 sent;		/* of them: under way */
	atomic_t pending;	/* pieces of neighbours under way */
	u8 from;		/* leg */
	u8 tries;
	bool single;		/* a joined copy failed: find the block that does */
	bool read_failed;	/* of the pieces, any */
	bool write_failed;
};

struct shadow_mover {
	struct task_struct *thread;
	wait_queue_head_t wake;		/* the thread waits here */
	wait_queue_head_t idle;		/* those who wait for the thread or for jobs */
	mempool_t jobs;
	/* under v->lock: */
	struct shadow_queue queue;
	struct list_head running;	/* jobs, oldest first */
	struct list_head again;		/* jobs with blocks to copy again */
	u64 inflight;			/* sectors */
	u64 next_seq;
	u64 rate;			/* KiB/s, 0: no limit */
	u64 inflight_limit;		/* sectors */
	bool paused;
	bool suspended;			/* by a suspend of the device */
	bool stopping;			/* by a message that needs the queue gone; under v->admin */
	bool parked;			/* the thread is in its outer wait: nothing in flight */
	bool was_busy;			/* an event is due when the queue runs empty */
	bool starved;			/* there was no job to claim with; none has ended since */
	ktime_t next_start;		/* rate limit: not before */
};

/* Pages and a mapping of them; see dm-shadow-array.c. */
struct shadow_array {
	void *p;
	struct page **pages;
	unsigned int nr;
	unsigned int borrowed;		/* of them: those of the array it grew from */
};

enum shadow_array_id {
	SHADOW_A_STATES,
	SHADOW_A_INTENT,
	SHADOW_A_INTENT_DISK,
	SHADOW_A_INTENT_RECENT,
	SHADOW_A_DOUBT,
	SHADOW_A_DIRTY,
	SHADOW_A_NEWEST,
	/* with tiers */
	SHADOW_A_WORDS,
	SHADOW_A_SLOT_DIRTY,
	SHADOW_A_SLOT_NEWEST,
	SHADOW_A_TIER1,
	SHADOW_A_TIER2,
	SHADOW_A_TIER1_FULL,
	SHADOW_A_TIER2_FULL,
	SHADOW_NR_ARRAYS,
};

/* How large a volume is, for its memory. */
struct shadow_extent {
	u32 blocks;
	bool tiers;
	u32 slots[SHADOW_NR_TIERS];
};

/* Memory for what a table makes of its volume. */
struct shadow_reserve {
	unsigned int seq;		/* v->array_seq when it was made */
	struct shadow_array arrays[SHADOW_NR_ARRAYS];
	struct shadow_array trash[SHADOW_NR_ARRAYS - SHADOW_A_WORDS];
};

#define SHADOW_BULK_PAGES 256u		/* of one I/O that reads or formats */

struct shadow_metadata {
	struct block_device *bdev;
	struct dm_io_client *io;
	void *buffers;			/* a few pages, under commit_lock */
	u64 page_generation;		/* last one written */
	u32 nr_pages;
	unsigned long *dirty;		/* bit per page */
	unsigned long *newest;		/* bit per page: copy 1 is the newer one */
	unsigned int dropped;		/* times the gate was closed by a failed flush */
	/* slot pages, if there are tiers */
	u32 nr_slot_pages;
	unsigned long *slot_dirty;
	unsigned long *slot_newest;
};

/* v->suspect: mask of legs that failed a write, mask of those that failed a read, and this */
#define SHADOW_SUSPECT_READ_SHIFT 4
#define SHADOW_SUSPECT_LEGS 0xffu
#define SHADOW_SUSPECT_TAKEN 0x100u	/* a commit has taken some, and is not over */

#define SHADOW_AHEAD 32		/* regions whose write-intent bits are set in one commit, ahead */
#define SHADOW_DROP_CHUNK 512		/* shadows that share the drain of their end */
#define SHADOW_TIER_INFLIGHT (2048u << 1)	/* sectors, unless user space says otherwise */
#define SHADOW_TIER_BATCH 16		/* blocks a round of the tier mover copies */
#define SHADOW_FETCHES 16		/* blocks that are fetched at a time */
#define SHADOW_TRAFFIC_BITS 12		/* of the hash of blocks with I/O at home */

enum shadow_copy_state {
	SHADOW_COPY_CLAIMED,	/* word is PROMOTING, CLEANING or HOLDING */
	SHADOW_COPY_STARTED,
	SHADOW_COPY_OVER,	/* settled, or there was nothing to copy */
	SHADOW_COPY_FAILED,	/* on the way to being given up */
};

/* One block of a round. */
struct shadow_tier_copy {
	struct shadow_tier_round *round;
	u32 block;
	bool live;			/* asked for: its word is the round's. Under v->lock */
	u8 type;			/* SHADOW_MSG_PROMOTE, _DEMOTE or _WRITEBACK */
	u8 legs;			/* of home: mask of those read or written */
	u8 state;			/* enum shadow_copy_state */
	int read_err;
	unsigned long write_err;	/* bit per leg written, in order */
};

/* Blocks that are copied together. */
struct shadow_tier_round {
	struct shadow_tier_copy *copies;
	unsigned int n;
	struct shadow_batch batch;
};

struct shadow_tier_mover {
	struct task_struct *thread;
	wait_queue_head_t wake;
	wait_queue_head_t idle;
	/* under v->lock: */
	struct shadow_queue queue;
	u64 rate;			/* KiB/s, 0: no limit */
	u64 inflight_limit;		/* sectors */
	bool suspended;
	bool stopping;
	bool parked;			/* the thread is in its outer wait: nothing in flight */
	bool was_busy;
	ktime_t next_start;
	/* the thread's own */
	u64 inflight;			/* sectors; read by status */
	struct shadow_tier_round round;
	struct shadow_tier_copy copies[SHADOW_TIER_BATCH];
};

/* I/O of some blocks under way at home; of writes also what a shadow takes part in. */
struct shadow_traffic {
	atomic_t reads;
	atomic_t writes;
};

enum shadow_counting {
	SHADOW_COUNT_NONE,		/* nothing may be fetched */
	SHADOW_COUNT_BEGUN,		/* some that are under way were not counted */
	SHADOW_COUNT_ALL,
};

/* A block that reads wait for, and the round of its own that copies it. */
struct shadow_fetch {
	struct shadow_volume *v;
	struct work_struct work;
	u8 leg;				/* where to */
	/* under v->lock, like copy.block: */
	bool live;
	struct bio_list waiting;
	/* the worker's */
	struct shadow_tier_round round;
	struct shadow_tier_copy copy;
};

/* What is counted per CPU, because it is counted on the fast path. */
struct shadow_tier_hits {
	unsigned long reads[SHADOW_NR_TIERS];
	unsigned long writes[SHADOW_NR_TIERS];
};

struct shadow_tier {
	struct shadow_slots slots;	/* under v->lock */
	atomic_t dirty;			/* shadows newer than home */
};

/* The tiers as routing needs them, read as one word. */
union shadow_tier_word {
	struct shadow_tier_ctx ctx;
	u16 word;
};

/* Blocks by list, or (list NULL) a run of them. */
struct shadow_blocks {
	const u32 *list;
	u32 first;
	u32 n;
};

/* Volume-wide facts that route and transition need, read as one word. */
union shadow_ctx_word {
	struct {
		u8 phase, policy, steady_leg, missing;
	};
	u32 word;
};

struct shadow_volume {
	/* read on every bio */
	u8 *map;			/* state byte per block */
	u8 lut[256][2];			/* [state][write] -> leg or SHADOW_LUT_* */
	u32 *words;			/* word per block; NULL: no tiers */
	struct block_device *legs[SHADOW_NR_LEGS];	/* NULL: missing or none */
	u16 tier_word;			/* union shadow_tier_word, READ_ONCE */
	u32 shift;			/* log2 of sectors a block */
	u32 mask;			/* sectors a block, less one */
	u32 ctx_word;			/* union shadow_ctx_word, READ_ONCE */
	u32 mode;			/* enum shadow_mode */
	u32 tail;			/* first block without a place on the origin */
	unsigned long *intent;		/* per region: bit is durable, writes may go */

	/* identity and lifetime */
	struct list_head list;		/* registry */
	unsigned int refs;		/* tables. Under the registry's lock */
	dev_t meta_dev;			/* what it is found by */
	struct mapped_device *md;
	struct dm_target *ti;		/* the live one; NULL while suspended */
	struct shadow_target *owner;	/* the table whose devices are in legs. Under admin */
	struct mutex admin;		/* messages, resume */
	struct mutex layout;		/* see above */
	struct mutex parts;		/* of constructors that make threads; outermost */
	struct rw_semaphore view;	/* see above */
	char name[128];

	/* geometry */
	spinlock_t sb_lock;		/* sb is written under it and commit_lock */
	struct shadow_superblock sb;	/* as on disk, but for what sb_behind tells */
	bool sb_behind;			/* policy or writeback changed. Under commit_lock */
	sector_t len;			/* of the live table */
	u32 nr_blocks;			/* of the live table */
	u32 nr_tracked;			/* states kept: more than that while a shrink can go back */
	u32 nr_counted;			/* blocks that homes[] counts: nr_blocks but for a resume */
	bool loaded;			/* written under view and sb_lock */
	struct shadow_array arrays[SHADOW_NR_ARRAYS];
	unsigned int array_seq;		/* grows when one is exchanged. Under layout */
	unsigned int size_seq;		/* grows with each resume of a table. Under layout */
	size_t mem;			/* bytes allocated */
	size_t fixed_mem;		/* of them, but for arrays */

	/* states that tell of a modification that is over; see dm-shadow-tidy.c */
	bool tidy_due;			/* a modification has ended; no table since */
	bool untidy;
	u32 tidy_next;
	bool tidy_stop;
	struct work_struct tidy_work;

	/* the slow path */
	spinlock_t lock;
	struct bio_list parked;		/* wait for a busy block */
	struct bio_list reroute;	/* to be routed again */
	struct bio_list fills;
	struct bio_list discards;
	struct bio_list failed;		/* reads, mirrored writes, flushes */
	struct bio_list intents;	/* wait for a write-intent bit */
	struct bio_list dirties;	/* first writes to clean shadows under write-back */
	struct workqueue_struct *wq;
	struct work_struct slow_work;
	struct work_struct discard_work;
	struct work_struct intent_work;
	struct work_struct event_work;
	struct delayed_work commit_work;
	struct delayed_work sweep_work;
	struct shadow_epoch epoch;
	struct shadow_epoch tier_epoch;	/* of the tiers' copies */
	atomic_t gate;			/* > 0: writes wait, a lost copy is not durable yet */
	atomic_t given_up;		/* a missing leg's only copies in a discard under way */
	atomic_t punching;		/* discards under way, or that could not be made durable */
	atomic_t failing;		/* half-failed writes whose loss is not durable yet */
	struct bio_set bs, tier_bs;	/* clones of writes, to home legs and to tiers */
	struct dm_kcopyd_client *kc;
	atomic_t strays;		/* our own bios that outlive the one they serve */
	wait_queue_head_t stray_wait;

	/* write intent */
	struct mutex intent_lock;
	unsigned long *intent_disk;	/* as pages are to say */
	unsigned long *intent_recent;	/* written since the last sweep */
	u32 ahead[SHADOW_AHEAD];	/* regions that will need their bit soon. Under v->lock */
	unsigned int nr_ahead;
	unsigned int sweeps;		/* so far */
	u32 nr_regions;

	/* see dm-shadow-doubt.c */
	atomic_t suspect;		/* SHADOW_SUSPECT_* */
	u32 doubted;			/* times that homes were: 16 bits each. Under phase_lock */
	unsigned long *doubt;		/* byte per region: its legs in set 0, and in set 1 */
	u8 doubt_set;			/* that copies are marked in. Under phase_lock */
	bool doubts[2];			/* has the set any bit? */
	unsigned long tier_hurt;	/* mask: failed an I/O, since the table */

	/* metadata */
	struct mutex commit_lock;
	/* read: a copy becomes current, or is lost; write: the phase changes, a leg is dropped */
	struct rw_semaphore phase_lock;
	struct shadow_metadata meta;
	atomic_t unflushed;		/* mask of legs a commit has to flush first */
	/* Mask of legs that became some block's only home and were not flushed since: if such a leg
	 * fails its flush there is no other copy to fall back to, and nothing may be committed.
	 */
	atomic_t sole;

	struct shadow_mover mover;

	/* tiers */
	struct shadow_tier tier[SHADOW_NR_TIERS];
	struct shadow_tier_hits __percpu *hits;
	struct shadow_tier_mover tmover;
	struct dm_kcopyd_client *tier_kc;	/* NULL until there is a tier */
	struct mutex drop_lock;		/* one sequence that ends shadows at a time */
	u32 *drop_words;		/* SHADOW_DROP_CHUNK of them, under drop_lock */
	u32 *drop_blocks;		/* likewise */
	atomic_t drop_all;		/* the worker shall end all shadows that are dropping */
	u32 dropping[SHADOW_TIER_BATCH];	/* or those of these blocks. Under v->lock */
	unsigned int nr_dropping;
	u8 fetch_leg;			/* tier that reads may fetch to; 0: none */
	struct shadow_traffic *traffic;	/* by hash of the block */
	u8 counting;			/* enum shadow_counting, of its writes */
	struct workqueue_struct *fetch_wq;
	unsigned int nr_fetches;	/* live ones. Under v->lock */
	struct shadow_fetch fetches[SHADOW_FETCHES];
	u8 tier_failed;			/* mask: a flush failed. Under phase_lock */
	u8 home_failed;			/* likewise */
	u8 no_zeroes;			/* mask: rejected REQ_OP_WRITE_ZEROES, whatever it says */
	u8 no_flush;			/* mask: failed, and that is durable */
	u32 drops;			/* of home legs, so far. Under phase_lock */
	atomic64_t promoted, demoted, written_back, fetched, tier_failures;

	/* counters; see the status line */
	atomic_long_t homes[SHADOW_NR_HOMES];
	atomic_long_t tail_data;	/* blocks from tail on that are no holes */
	atomic64_t copied, recopied, filled, copy_errors;
	atomic64_t failovers, stale, commits;
	char last_error[48];		/* under lock */
};

/* A loaded table. */
struct shadow_target {
	struct shadow_volume *v;	/* as long as the table is there */
	struct list_head list;		/* tables. Under the registry's lock */
	struct mapped_device *md;
	bool attached;			/* carried out; acquire/release, and under v->admin */
	bool resuming;			/* status shows what the volume is until then */
	struct shadow_reserve reserve;
	struct work_struct leftovers;	/* frees reserve and bulk when the device runs again */
	void *bulk;			/* SHADOW_BULK_PAGES pages, until it was carried out */
	u32 logical_block;		/* of the volume, with this table */
	/* pages beyond the volume's end that were formatted when the table was loaded */
	unsigned int ahead_seq;		/* v->size_seq then */
	u32 ahead_pages;		/* state pages: up to this one */
	u32 ahead_slot_pages;
	u64 ahead_slot_end;		/* where those lie */
	struct dm_dev *meta;
	struct dm_dev *legs[SHADOW_NR_LEGS];
	char ids[SHADOW_NR_LEGS][SHADOW_ID_MAX + 1];
	bool given[SHADOW_NR_LEGS];	/* role is in the table, maybe as "-" */
	u32 block_sectors;
	u8 policy;
	u8 writeback;		/* mask of tiers */
	bool fresh;
	bool shrink;
};

static inline size_t shadow_bits_size(u32 bits)
{
	return BITS_TO_LONGS(bits) * sizeof(long);
}

static inline struct shadow_ctx shadow_get_ctx(struct shadow_volume *v, u32 block)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };
	struct shadow_ctx ctx = {
		.phase = w.phase,
		.policy = w.policy,
		.steady_leg = w.steady_leg,
		.missing = w.missing,
		.tail = block >= READ_ONCE(v->tail),
	};

	return ctx;
}

static inline struct shadow_tier_ctx shadow_get_tier_ctx(struct shadow_volume *v)
{
	union shadow_tier_word w = { .word = READ_ONCE(v->tier_word) };

	return w.ctx;
}

static inline struct shadow_tier *shadow_tier_of(struct shadow_volume *v, u8 leg)
{
	return &v->tier[leg - SHADOW_LEG_TIER1];
}

/*
 * Legs that failed and get no new copy of the block, if there is another place for it. Counts under
 * phase_lock.
 */
static inline u8 shadow_avoided(struct shadow_volume *v, u32 block)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	u8 failed = READ_ONCE(v->home_failed);

	return ctx.tail || (failed | ctx.missing) == SHADOW_MASK_BOTH ? 0 : failed;
}

/* The block's word, given its byte, which was read before. */
static inline u32 shadow_word_of(struct shadow_volume *v, u32 block, u8 state)
{
	if (likely(!(state & SHADOW_SHADOW)))
		return 0;
	smp_rmb(); /* byte, then word: pairs with the swaps that set the bit after the word */
	return READ_ONCE(v->words[block]);
}

/* Mask of the homes that were suspected since v->doubted was @then. */
static inline u8 shadow_doubted_since(struct shadow_volume *v, u32 then)
{
	u32 changed = READ_ONCE(v->doubted) ^ then;

	return (changed & 0xffff ? SHADOW_MASK_ORIGIN : 0) |
	       (changed >> 16 ? SHADOW_MASK_TARGET : 0);
}

/* Where a block's slot begins on its tier. */
static inline sector_t shadow_slot_start(struct shadow_volume *v, u32 word)
{
	return (sector_t)shadow_slot(word) << v->shift;
}

/* What a block of this home counts as, and is shown as: see dm-shadow-tidy.c. */
static inline enum shadow_home shadow_counted_as(struct shadow_volume *v, enum shadow_home home)
{
	if (likely(!READ_ONCE(v->untidy)) || home == SHADOW_HOLE || home == SHADOW_FILLING)
		return home;
	return SHADOW_ORIGIN;
}

static inline u8 shadow_phase(struct shadow_volume *v)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };

	return w.phase;
}

static inline struct shadow_io *shadow_io(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct shadow_io));
}

/*
 * Tells end_io to look at the bio. Device mapper's clones come with bi_private NULL and it does
 * not use it; a bio that needs nothing at its end keeps NULL there, which costs the fast path
 * neither a store nor the look-up of the per-bio data.
 */
static inline void shadow_watch(struct bio *bio, enum shadow_io_kind kind)
{
	struct shadow_io *io = shadow_io(bio);

	io->kind = kind;
	bio->bi_private = io;
}

/* Its status is final, or of no concern: end_io passes it on. */
static inline void shadow_unwatch(struct bio *bio)
{
	bio->bi_private = NULL;
}

/* The leg does not do that: no word on its health. */
static inline bool shadow_unsupported(enum req_op op, blk_status_t status)
{
	return (op == REQ_OP_WRITE_ZEROES || op == REQ_OP_DISCARD) &&
	       (status == BLK_STS_NOTSUPP || status == BLK_STS_TARGET);
}

static inline sector_t shadow_block_start(struct shadow_volume *v, u32 block)
{
	return (sector_t)block << v->shift;
}

/* Sectors of a run of blocks, the volume's last one possibly short. */
static inline sector_t shadow_run_sectors(struct shadow_volume *v, u32 first, u32 count)
{
	sector_t end = min_t(sector_t, shadow_block_start(v, first + count), v->len);

	return end - shadow_block_start(v, first);
}

/* Slots of a tier, as the superblock has it. */
static inline u32 shadow_nr_slots(const struct shadow_superblock *sb, u8 leg)
{
	return sb->legs[leg].present ? min_t(u64, sb->legs[leg].sectors / sb->block_sectors,
					     SHADOW_MAX_SLOTS) : 0;
}

/* dm-shadow-table.c: process context */
enum shadow_decision {
	SHADOW_RUN,		/* as it is */
	SHADOW_FORMAT,		/* the metadata is blank */
	SHADOW_GROW,
	SHADOW_SHRINK,
	SHADOW_ATTACH,		/* a target: a modification begins */
};

int shadow_decide(const struct shadow_superblock *sb, const struct shadow_target *s,
		  const char *uuid, sector_t len, struct shadow_superblock *next,
		  const char **error);
int shadow_check_sizes(const struct shadow_target *s, const struct shadow_superblock *next,
		       const char **error);
int shadow_volume_uuid(struct dm_target *ti, char *uuid, size_t size, const char **error);

/* dm-shadow-message.c: process context */
int shadow_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
		   unsigned int maxlen);

/* dm-shadow-state.c */
bool __shadow_apply(struct shadow_volume *v, u32 block, enum shadow_event event, u8 lost,
		    struct shadow_step *step);
bool shadow_apply(struct shadow_volume *v, u32 block, enum shadow_event event,
		  struct shadow_step *step);
void shadow_apply_own(struct shadow_volume *v, u32 block, enum shadow_event event);
void shadow_raise_event(struct shadow_volume *v);
void shadow_event_work(struct work_struct *work);
bool shadow_only_on(struct shadow_volume *v, u8 leg);
bool shadow_has_mirrored(struct shadow_volume *v);
bool shadow_counts(struct shadow_volume *v, u8 leg);
u32 shadow_tail_data(struct shadow_volume *v);
void shadow_set_ctx(struct shadow_volume *v, union shadow_ctx_word w);
void shadow_set_mode(struct shadow_volume *v, enum shadow_mode mode, const char *why);
void shadow_drop_leg(struct shadow_volume *v, u8 leg);
void shadow_home_flush_failed(struct shadow_volume *v, u8 leg);
u32 shadow_next_shadow(struct shadow_volume *v, u32 b, u32 end);
bool shadow_drop_home(struct shadow_volume *v, u32 block, u8 leg, struct shadow_step *step);

/* dm-shadow-registry.c: process context, may sleep */
struct shadow_volume *shadow_registry_get(dev_t meta, struct mapped_device *md,
					  const char **error);
struct shadow_volume *shadow_registry_add(struct shadow_volume *v, const char **error);
struct shadow_volume *shadow_volume_new(dev_t meta, struct block_device *bdev,
					struct mapped_device *md);
void shadow_registry_put(struct shadow_volume *v);
int shadow_devices_take(struct shadow_target *s, struct mapped_device *md);
void shadow_devices_give_back(struct shadow_target *s);
int shadow_tier_parts(struct shadow_volume *v);

/* dm-shadow-volume.c: process context, may sleep */
int shadow_volume_prepare(struct shadow_target *s, struct dm_target *ti, const char **error);
int shadow_volume_attach(struct shadow_target *s, struct dm_target *ti);
void shadow_volume_put(struct shadow_target *s);
void shadow_volume_quiesce(struct shadow_volume *v);

/* dm-shadow-array.c */
int shadow_reserve(struct shadow_volume *v, struct shadow_reserve *r,
		   const struct shadow_extent *e);
bool shadow_reserve_fits(struct shadow_volume *v, const struct shadow_reserve *r,
			 const struct shadow_extent *e);
void shadow_reserve_take(struct shadow_volume *v, struct shadow_reserve *r,
			 const struct shadow_extent *e);
void shadow_reserve_free(struct shadow_reserve *r);
void shadow_arrays_drop_tiers(struct shadow_volume *v, struct shadow_reserve *r);
void shadow_array_free(struct shadow_array *a);

/* dm-shadow-tidy.c: process context, may sleep */
void shadow_tidy_work(struct work_struct *work);
void shadow_tidy_start(struct shadow_volume *v);
void shadow_tidy_stop(struct shadow_volume *v);
void shadow_tidy_wait(struct shadow_volume *v);
void shadow_tidy_now(struct shadow_volume *v);
u32 shadow_count_holes(struct shadow_volume *v, u32 first, u32 end);

/* dm-shadow-phase.c: process context, the caller holds v->admin */
int shadow_cutover(struct shadow_volume *v, const char **error);
int shadow_rollback(struct shadow_volume *v, const char **error);
int shadow_finish(struct shadow_volume *v, u8 leg, const char **error);
int shadow_retire(struct shadow_volume *v, unsigned int nr, char **ranges, const char **error);
void shadow_set_policy(struct shadow_volume *v, u8 policy);

/*
 * The submitter will not send it: it is charged to his cgroup all the same, and he cannot poll for
 * it. Context: any.
 */
static inline void shadow_hold(struct bio *bio)
{
	bio->bi_opf &= ~REQ_POLLED;
	bio_associate_blkg(bio);	/* keeps the one it has, if it waits again */
}

/* dm-shadow-race.c: any context; shadow_race_wait(): process */
void shadow_race_wait(struct shadow_volume *v);
bool shadow_map_race(struct shadow_volume *v, struct bio *bio);

/* dm-shadow-io.c */
int shadow_map(struct dm_target *ti, struct bio *bio);
int shadow_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error);
void shadow_route_again(struct shadow_volume *v, struct bio *bio);
void shadow_finish_bio(struct bio *bio, blk_status_t status);
void shadow_build_lut(struct shadow_volume *v);

/* dm-shadow-slow.c */
void shadow_slow_init(struct shadow_volume *v);
void shadow_defer(struct shadow_volume *v, struct bio_list *list, struct bio *bio);
void shadow_release_parked(struct shadow_volume *v);
void shadow_gate_close(struct shadow_volume *v);
void shadow_gate_open(struct shadow_volume *v, unsigned int times);
void shadow_intent_sweep_now(struct shadow_volume *v);
void shadow_sweep_soon(struct shadow_volume *v, unsigned long delay);
void shadow_intent_ahead(struct shadow_volume *v, u32 first, u32 count);

/* dm-shadow-fill.c: process context */
void shadow_do_fills(struct shadow_volume *v, struct bio_list *bios);
bool shadow_fill_run(struct shadow_volume *v, u32 first, u32 count);

/* dm-shadow-mover.c */
void shadow_note_error(struct shadow_volume *v, const char *what, u8 leg, u32 block);
int shadow_mover_init(struct shadow_volume *v);
void shadow_mover_stop_thread(struct shadow_volume *v);
void shadow_mover_exit(struct shadow_volume *v);
int shadow_mover_queue(struct shadow_volume *v, u8 type, unsigned int nr, char **ranges,
		       const char **error);
void shadow_mover_suspend(struct shadow_volume *v);
void shadow_mover_resume(struct shadow_volume *v);
void shadow_mover_stop_copies(struct shadow_volume *v);
void shadow_mover_wait_running(struct shadow_volume *v);
void shadow_mover_set_paused(struct shadow_volume *v, bool paused);
void shadow_mover_limit(struct shadow_volume *v, u8 type, u64 value);

void shadow_queue_init(struct shadow_queue *q);
int shadow_queue_append(struct shadow_volume *v, struct shadow_queue *q,
			const struct shadow_request *like, unsigned int nr, char **ranges,
			const char **error);
void shadow_queue_clear(struct shadow_volume *v, struct shadow_queue *q);
struct shadow_request *shadow_queue_head(struct shadow_volume *v, struct shadow_queue *q);
bool shadow_queue_advance(struct shadow_volume *v, struct shadow_queue *q,
			  struct shadow_request *head, u32 next, bool finished);
void shadow_charge_rate(ktime_t *next_start, u64 rate, sector_t sectors);

/* dm-shadow-tier.c: process context */
bool shadow_tier_apply(struct shadow_volume *v, u32 block, enum shadow_tier_event event,
		       struct shadow_tier_step *step);
void shadow_set_shadow(struct shadow_volume *v, u32 block, bool set);
u32 shadow_tier_used(struct shadow_volume *v, u8 leg);
int shadow_finish_drops(struct shadow_volume *v, const struct shadow_blocks *blocks);
void shadow_tier_end_drops(struct shadow_volume *v);
void shadow_tier_end_drop(struct shadow_volume *v, u32 block);
void shadow_finish_some_drops(struct shadow_volume *v);
void shadow_finish_all_drops(struct shadow_volume *v);
void shadow_tier_read_failed(struct shadow_volume *v, u32 block, u8 leg);
void shadow_tier_flush_failed(struct shadow_volume *v, u8 leg);
void shadow_tier_lose(struct shadow_volume *v, u8 leg, enum shadow_tier_event event);
void shadow_note_tier_failure(struct shadow_volume *v, const char *what, u8 leg, u32 block);
int shadow_tier_forget(struct shadow_volume *v, u8 leg, bool lost, const char **error);
void shadow_tier_set_mode(struct shadow_volume *v, u8 leg, bool writeback);
void shadow_do_dirties(struct shadow_volume *v, struct bio_list *bios);

/* dm-shadow-tier-mover.c */
int shadow_tier_mover_init(struct shadow_volume *v);
void shadow_tier_mover_exit(struct shadow_volume *v);
int shadow_tier_mover_queue(struct shadow_volume *v, const struct shadow_message *msg,
			    char **ranges, const char **error);
void shadow_tier_mover_suspend(struct shadow_volume *v);
void shadow_tier_mover_resume(struct shadow_volume *v);
void shadow_tier_mover_stop(struct shadow_volume *v);
void shadow_tier_mover_limit(struct shadow_volume *v, u8 type, u64 value);

/* dm-shadow-tier-round.c */
bool shadow_tier_claim(struct shadow_volume *v, u8 leg, struct shadow_tier_copy *c);
void shadow_tier_do_round(struct shadow_volume *v, struct shadow_tier_round *round);

/* Waits until everything that writes to a leg, and began before the call, is over. */
static inline void shadow_drain(struct shadow_volume *v)
{
	shadow_drain_epoch(&v->epoch);
	shadow_drain_epoch(&v->tier_epoch);
}

/* dm-shadow-fetch.c */
bool shadow_fetch_wait(struct shadow_volume *v, struct bio *bio);
void shadow_fetch_read_over(struct shadow_volume *v, struct shadow_io *io);
void shadow_fetch_count(struct shadow_volume *v, struct shadow_io *io);
void shadow_fetch_uncount(struct shadow_volume *v, struct shadow_io *io);
bool shadow_fetch_quiet(struct shadow_volume *v, u32 block);
bool shadow_fetch_has(struct shadow_volume *v, u32 block);
void shadow_fetch_set(struct shadow_volume *v, u8 leg);
int shadow_fetch_init(struct shadow_volume *v);
void shadow_fetch_exit(struct shadow_volume *v);

/* dm-shadow-doubt.c: process context, but for shadow_suspect() and shadow_answered() */
void shadow_suspect(struct shadow_volume *v, u8 leg, bool written);
void shadow_answered(struct shadow_volume *v, u8 leg, enum req_op op, blk_status_t status);
void shadow_doubt(struct shadow_volume *v, u32 block, u8 legs);
bool shadow_doubts_turn(struct shadow_volume *v);
void shadow_doubts_over(struct shadow_volume *v);
bool shadow_take_doubts(struct shadow_volume *v);

/* dm-shadow-tier-table.c: process context */
int shadow_tier_check(struct shadow_volume *v, const struct shadow_superblock *next,
		      const char **error);
int shadow_tier_load(struct shadow_volume *v, const struct shadow_target *s,
		     const char **error);
void shadow_tier_take(struct shadow_volume *v, const struct shadow_target *s,
		      const struct shadow_superblock *next);
int shadow_tier_settle(struct shadow_volume *v, struct shadow_target *s);

/* dm-shadow-metadata.c: process context */
int shadow_meta_io(struct shadow_metadata *m, blk_opf_t opf, sector_t sector, void *buf,
		   unsigned int sectors);
void shadow_mark_slot_page_dirty(struct shadow_volume *v, u32 block);
int shadow_metadata_init(struct shadow_volume *v);
void shadow_metadata_exit(struct shadow_volume *v);
void shadow_record_name(struct shadow_volume *v, struct shadow_superblock *sb);
void shadow_set_sb(struct shadow_volume *v, const struct shadow_superblock *sb);
bool shadow_copy_sb(struct shadow_volume *v, struct shadow_superblock *sb);
int shadow_metadata_write_sb(struct shadow_volume *v, const struct shadow_superblock *sb);
int shadow_commit(struct shadow_volume *v);
int __shadow_commit(struct shadow_volume *v);
void shadow_mark_page_dirty(struct shadow_volume *v, u32 block);
void shadow_commit_soon(struct shadow_volume *v);

/* dm-shadow-load.c: process context; @bulk is SHADOW_BULK_PAGES pages of the caller's */
int shadow_metadata_peek(struct shadow_metadata *m, void *bulk, struct shadow_superblock *sb,
			 bool *blank);
int shadow_metadata_peek_at(struct block_device *bdev, void *bulk, struct shadow_superblock *sb,
			    bool *blank);
int shadow_metadata_load(struct shadow_volume *v, void *bulk);
int shadow_slot_pages_load(struct shadow_volume *v, void *bulk,
			   int (*take)(struct shadow_volume *v, u32 block, u32 word));
int shadow_metadata_format(struct shadow_volume *v, void *bulk, const char *uuid, u32 epoch,
			   u8 home, u64 blocks, u32 first_page, u32 end_page);
int shadow_slot_pages_format(struct shadow_volume *v, void *bulk, const char *uuid, u64 slot_end,
			     u32 first_page, u32 end_page);

#endif /* DM_SHADOW_H */
