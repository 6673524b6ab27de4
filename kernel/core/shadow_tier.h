/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a shadow: a copy of a block in a slot of a tier leg.
 *
 * A volume with tiers has one 32-bit word a block: tier, slot and life of its shadow; zero: none.
 * The home of a block and its shadow are independent: shadow_state.h has the rules of homes,
 * shadow_tier_transition() those of words, and shadow_tier_route() says where an I/O goes that
 * has to look at both. The bit SHADOW_SHADOW of the state byte tells that the word may be
 * something else than zero.
 *
 * Pure: no calls, no memory, no locks. Ordering rules: kernel/dm-shadow.h.
 */
#ifndef SHADOW_TIER_H
#define SHADOW_TIER_H

#include "shadow_state.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHADOW_NR_TIERS 2
#define SHADOW_MASK_TIERS 0xcu	/* bits of tier1 and tier2 in a leg mask */

/* The word: slot in bits 0-26, life in bits 27-29. On disk only CLEAN and DIRTY without marks. */
#define SHADOW_SLOT_MASK 0x07ffffffu
#define SHADOW_MAX_SLOTS (SHADOW_SLOT_MASK + 1u)
#define SHADOW_LIFE_SHIFT 27
#define SHADOW_WORD_WRITTEN 0x40000000u	/* written while being copied; see also DROPPING */
#define SHADOW_WORD_TIER2 0x80000000u

enum shadow_life {
	SHADOW_NONE = 0,
	SHADOW_PROMOTING = 1,	/* being copied from home; not read, not recorded */
	SHADOW_CLEAN = 2,	/* equal to home */
	SHADOW_DIRTYING = 3,	/* clean; "dirty" as soon as the metadata says so; writes wait */
	SHADOW_DIRTY = 4,	/* newer than home */
	SHADOW_CLEANING = 5,	/* dirty; being copied home */
	SHADOW_HOLDING = 6,	/* likewise, and writes wait (last try) */
	SHADOW_DROPPING = 7,	/* not read any longer, written until its end is durable */
	SHADOW_NR_LIVES = 8,
};

static inline enum shadow_life shadow_life(u32 word)
{
	return (enum shadow_life)((word >> SHADOW_LIFE_SHIFT) & 7u);
}

static inline u32 shadow_slot(u32 word)
{
	return word & SHADOW_SLOT_MASK;
}

static inline enum shadow_leg shadow_word_leg(u32 word)
{
	return (enum shadow_leg)(SHADOW_LEG_TIER1 + (word >> 31));	/* SHADOW_WORD_TIER2 */
}

static inline u32 shadow_word(enum shadow_leg tier, u32 slot, enum shadow_life life)
{
	return (tier == SHADOW_LEG_TIER2 ? SHADOW_WORD_TIER2 : 0) |
	       (u32)life << SHADOW_LIFE_SHIFT | slot;
}

/* Lives by what they mean, as masks of 1 << life. */
#define SHADOW_LIVES_READ 0x7cu		/* CLEAN .. HOLDING: reads go to the shadow */
#define SHADOW_LIVES_NEWER 0x70u	/* DIRTY, CLEANING, HOLDING: home is stale */
#define SHADOW_LIVES_BOTH 0x84u		/* CLEAN, DROPPING: writes go to home and shadow */
#define SHADOW_LIVES_WAIT 0x48u		/* DIRTYING, HOLDING: writes wait */
#define SHADOW_LIVES_DISK_DIRTY 0x78u	/* DIRTYING .. HOLDING: dirty in the metadata */

static inline bool shadow_word_in(u32 word, u32 lives)
{
	return (lives >> shadow_life(word)) & 1u;
}

/**
 * shadow_word_serves() - reads of the block go to the shadow.
 * @tiers: mask of the tier legs that are there
 */
static inline bool shadow_word_serves(u8 state, u32 word, u8 tiers)
{
	return shadow_word_in(word, SHADOW_LIVES_READ) &&
	       (tiers >> shadow_word_leg(word)) & 1u &&
	       (state & SHADOW_HOME_MASK) < SHADOW_HOLE;
}

struct shadow_tier_ctx {
	u8 tiers;	/* mask of the tier legs that are there */
	u8 writeback;	/* mask of those that take writes alone */
};

struct shadow_tier_route {
	struct shadow_route r;	/* legs may have a tier's bit */
	bool mark;		/* set SHADOW_WORD_WRITTEN first */
};

/**
 * shadow_tier_route() - where an I/O inside one block goes, its shadow considered.
 * @state: the block's state byte
 * @word: its word; 0 if the byte has no SHADOW_SHADOW
 * @op: what is asked
 * @ctx: the volume
 * @tctx: its tiers
 *
 * Writes that go to several legs are SHADOW_ROUTE_BOTH; SHADOW_ROUTE_DIRTY asks to make the
 * shadow dirty, durably, and to route again.
 */
struct shadow_tier_route shadow_tier_route(u8 state, u32 word, enum shadow_op op,
					   const struct shadow_ctx *ctx,
					   const struct shadow_tier_ctx *tctx);

enum shadow_tier_event {
	SHADOW_TEV_PROMOTE_RETRY,	/* copy again: forget the mark, then drain */
	SHADOW_TEV_PROMOTE_DONE,	/* a copy whose source was stable has finished */
	SHADOW_TEV_PROMOTE_FAILED,	/* given up; the slot is free */
	SHADOW_TEV_WRITE,		/* a write is mapped */
	SHADOW_TEV_DIRTY_START,		/* first write under write-back */
	SHADOW_TEV_DIRTY_DONE,		/* the metadata says dirty, durably */
	SHADOW_TEV_DIRTY_FAILED,
	SHADOW_TEV_CLEAN_START,		/* mover claims a dirty shadow */
	SHADOW_TEV_CLEAN_RETRY,		/* copy again: forget the mark, then drain */
	SHADOW_TEV_CLEAN_HOLD,		/* likewise, and writes shall wait */
	SHADOW_TEV_CLEAN_DONE,		/* home has what the shadow has */
	SHADOW_TEV_CLEAN_FAILED,
	SHADOW_TEV_DROP,		/* no shadow wanted any longer */
	SHADOW_TEV_DROP_NOTED,		/* the next commit makes its end durable */
	SHADOW_TEV_DROP_DONE,		/* it is durable; drain, then the slot is free */
	SHADOW_TEV_DISCARD,		/* the block is a hole, durably */
	SHADOW_TEV_LOST,		/* the tier's copy may not be trusted */
	SHADOW_TEV_GIVE_UP,		/* forget it, even if nothing else is as new */
	SHADOW_TEV_HOME_LOST,		/* home's only copy may not be trusted: the shadow is the newest */
	SHADOW_NR_TIER_EVENTS,
};

struct shadow_tier_step {
	u32 next;	/* word afterwards; equal to before if not legal */
	u8 actions;	/* mask of SHADOW_ACT_* */
	bool legal;
};

/**
 * shadow_tier_transition() - what an event does to a word. Total, like shadow_transition().
 *
 * A promotion begins by writing shadow_word(tier, slot, SHADOW_PROMOTING) over 0.
 */
struct shadow_tier_step shadow_tier_transition(u32 word, enum shadow_tier_event event);

/** shadow_tier_disk() - what the metadata is to say for a word. */
u32 shadow_tier_disk(u32 word);

/**
 * shadow_tier_from_disk() - the word a block starts with.
 * @word: what the slot page says, already checked by shadow_slot_page_decode()
 * @home: of the block, after shadow_from_disk()
 * @tiers: mask of the tier legs that are there
 * @region_dirty: unclean stop and the block's write-intent bit is set
 */
u32 shadow_tier_from_disk(u32 word, enum shadow_home home, u8 tiers, bool region_dirty);

const char *shadow_life_name(enum shadow_life life);

/*
 * Slots of a tier: one bit each, next-fit, so that neighbours that are promoted together lie
 * together. Above the bits are levels with a bit for each word of the level below that is full, so
 * that a free slot is found in two steps a level, however many there are. Levels lie at fixed
 * places, so both arrays may become longer (by zeroes). The caller owns them and the locking.
 */
struct shadow_slots {
	u64 *bits;	/* shadow_slots_bytes() */
	u64 *full;	/* shadow_slots_full_bytes(); NULL: never above 64 slots */
	u32 nr;		/* slots */
	u32 used;
	u32 hint;	/* where to look first */
};

#define SHADOW_NO_SLOT 0xffffffffu
#define SHADOW_SLOT_LEVELS 5u		/* bits, and four above: 64 to the 5th is more than enough */
#define SHADOW_SLOT_LEVEL1 521u		/* words of levels 4 to 2: 1 + 8 + 512 */

static inline size_t shadow_slots_bytes(u32 nr)
{
	return (((size_t)nr + 63) / 64) * 8;
}

static inline size_t shadow_slots_full_bytes(u32 nr)
{
	return nr ? (SHADOW_SLOT_LEVEL1 + ((size_t)nr + 4095) / 4096) * 8 : 0;
}

/** shadow_slot_take() - a free slot, or SHADOW_NO_SLOT. */
u32 shadow_slot_take(struct shadow_slots *s);
/** shadow_slot_claim() - this slot; false: it is taken, or there is none of that number. */
bool shadow_slot_claim(struct shadow_slots *s, u32 slot);
/** shadow_slot_used_from() - is this slot, or one of a higher number, taken? */
bool shadow_slot_used_from(const struct shadow_slots *s, u32 slot);
/** shadow_slot_free() - give it back; false: it was not taken. */
bool shadow_slot_free(struct shadow_slots *s, u32 slot);

#ifdef __cplusplus
}
#endif

#endif /* SHADOW_TIER_H */
