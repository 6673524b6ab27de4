// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of a shadow's life, and the slots it lies in: shadow_tier.h says what each function
 * promises. Pure, like shadow_state.c; what is not written down as legal here is refused.
 */
#include "shadow_tier.h"

static const char *const life_names[SHADOW_NR_LIVES] = {
	"none", "promoting", "clean", "dirtying", "dirty", "cleaning", "holding", "dropping",
};

const char *shadow_life_name(enum shadow_life life)
{
	return (unsigned int)life < SHADOW_NR_LIVES ? life_names[life] : "?";
}

static struct shadow_tier_route route_read(u8 state, u32 word, const struct shadow_ctx *ctx,
					   const struct shadow_tier_ctx *tctx)
{
	struct shadow_tier_route t = { shadow_route(state, SHADOW_OP_READ, ctx), false };

	if (t.r.kind == SHADOW_ROUTE_ZERO || !shadow_word_in(word, SHADOW_LIVES_READ))
		return t;
	if (shadow_word_serves(state, word, tctx->tiers)) {
		t.r.kind = SHADOW_ROUTE_LEG;
		t.r.legs = (u8)(1u << shadow_word_leg(word));
		t.r.fallback = shadow_word_in(word, SHADOW_LIVES_NEWER) ? 0 :
			       (u8)(shadow_copies(state, ctx) & ~ctx->missing);
	} else if (shadow_word_in(word, SHADOW_LIVES_NEWER)) {
		t.r.kind = SHADOW_ROUTE_NO_COPY;
		t.r.legs = 0;
		t.r.fallback = 0;
	}
	return t;
}

static struct shadow_tier_route route_write(u8 state, u32 word, const struct shadow_ctx *ctx,
					    const struct shadow_tier_ctx *tctx)
{
	struct shadow_tier_route t = { shadow_route(state, SHADOW_OP_WRITE, ctx), false };
	enum shadow_home home = shadow_home(state);
	u8 leg = (u8)(1u << shadow_word_leg(word));
	bool there = tctx->tiers & leg;

	if (t.r.kind == SHADOW_ROUTE_WAIT || home == SHADOW_HOLE || home == SHADOW_FILLING ||
	    shadow_life(word) == SHADOW_NONE)
		return t;
	if (shadow_word_in(word, SHADOW_LIVES_WAIT)) {
		t.r.kind = SHADOW_ROUTE_WAIT;
		return t;
	}
	if (shadow_word_in(word, SHADOW_LIVES_NEWER)) {
		t.r.kind = there ? SHADOW_ROUTE_LEG : SHADOW_ROUTE_NO_COPY;
		t.r.legs = there ? leg : 0;
		t.mark = there && shadow_life(word) == SHADOW_CLEANING &&
			 !(word & SHADOW_WORD_WRITTEN);
		return t;
	}
	if (t.r.kind == SHADOW_ROUTE_NO_COPY)
		return t;
	if (shadow_life(word) == SHADOW_PROMOTING) {
		t.mark = !(word & SHADOW_WORD_WRITTEN);
		return t;
	}
	/* clean or dropping: the shadow must not fall behind home while it may be believed */
	if (!there) {
		t.r.kind = SHADOW_ROUTE_NO_COPY;
		return t;
	}
	if (shadow_life(word) == SHADOW_CLEAN && (tctx->writeback & leg)) {
		t.r.kind = SHADOW_ROUTE_DIRTY;
		t.r.legs = 0;
		return t;
	}
	t.r.kind = SHADOW_ROUTE_BOTH;
	t.r.legs |= leg;
	return t;
}

struct shadow_tier_route shadow_tier_route(u8 state, u32 word, enum shadow_op op,
					   const struct shadow_ctx *ctx,
					   const struct shadow_tier_ctx *tctx)
{
	struct shadow_tier_route t;

	switch (op) {
	case SHADOW_OP_READ:
		return route_read(state, word, ctx, tctx);
	case SHADOW_OP_WRITE:
		return route_write(state, word, ctx, tctx);
	default:
		t.r = shadow_route(state, op, ctx);
		t.mark = false;
		return t;
	}
}

static struct shadow_tier_step refuse(u32 word)
{
	struct shadow_tier_step s = { word, 0, false };

	return s;
}

/* Same tier and slot, another life, no mark. */
static struct shadow_tier_step live(u32 word, enum shadow_life life, u8 actions)
{
	struct shadow_tier_step s = {
		(word & (SHADOW_SLOT_MASK | SHADOW_WORD_TIER2)) | (u32)life << SHADOW_LIFE_SHIFT,
		actions, true,
	};

	return s;
}

static struct shadow_tier_step end(u8 actions)
{
	struct shadow_tier_step s = { 0, actions, true };

	return s;
}

static struct shadow_tier_step mark(u32 word)
{
	struct shadow_tier_step s = { word | SHADOW_WORD_WRITTEN, 0, true };

	return s;
}

static struct shadow_tier_step on_copied(u32 word, enum shadow_life from, enum shadow_life to)
{
	enum shadow_life life = shadow_life(word);

	/* what is held cannot have been written */
	if (life != from && !(from == SHADOW_CLEANING && life == SHADOW_HOLDING))
		return refuse(word);
	if (word & SHADOW_WORD_WRITTEN) {
		struct shadow_tier_step s = { word, SHADOW_ACT_COPY_AGAIN, true };

		return s;
	}
	return live(word, to, life == SHADOW_HOLDING ? SHADOW_ACT_RELEASE : 0);
}

static struct shadow_tier_step on_write(u32 word)
{
	switch (shadow_life(word)) {
	case SHADOW_PROMOTING:
	case SHADOW_CLEANING:
		return mark(word);
	case SHADOW_CLEAN:
	case SHADOW_DIRTY:
	case SHADOW_DROPPING: {
		struct shadow_tier_step s = { word, 0, true };

		return s;
	}
	default:
		return refuse(word);
	}
}

/* The shadow's end begins. @newer: also if home does not have its data. */
static struct shadow_tier_step on_end(u32 word, bool newer)
{
	switch (shadow_life(word)) {
	case SHADOW_PROMOTING:
		return mark(word);	/* not recorded, not read: whoever copies it sees to it */
	case SHADOW_CLEAN:
		return live(word, SHADOW_DROPPING, SHADOW_ACT_COMMIT);
	case SHADOW_DIRTYING:
		return live(word, SHADOW_DROPPING, SHADOW_ACT_COMMIT | SHADOW_ACT_RELEASE);
	case SHADOW_DIRTY:
	case SHADOW_CLEANING:
	case SHADOW_HOLDING:
		if (newer)
			return live(word, SHADOW_DROPPING,
				    SHADOW_ACT_COMMIT | SHADOW_ACT_RELEASE);
		return refuse(word);
	default:
		return refuse(word);
	}
}

struct shadow_tier_step shadow_tier_transition(u32 word, enum shadow_tier_event event)
{
	enum shadow_life life = shadow_life(word);

	switch (event) {
	case SHADOW_TEV_PROMOTE_RETRY:
		return life == SHADOW_PROMOTING ?
		       live(word, life, SHADOW_ACT_DRAIN) : refuse(word);
	case SHADOW_TEV_PROMOTE_DONE:
		return on_copied(word, SHADOW_PROMOTING, SHADOW_CLEAN);
	case SHADOW_TEV_PROMOTE_FAILED:
		return life == SHADOW_PROMOTING ? end(0) : refuse(word);
	case SHADOW_TEV_WRITE:
		return on_write(word);
	case SHADOW_TEV_DIRTY_START:
		return life == SHADOW_CLEAN ?
		       live(word, SHADOW_DIRTYING, SHADOW_ACT_DRAIN | SHADOW_ACT_COMMIT) :
		       refuse(word);
	case SHADOW_TEV_DIRTY_DONE:
		return life == SHADOW_DIRTYING ?
		       live(word, SHADOW_DIRTY, SHADOW_ACT_RELEASE) : refuse(word);
	case SHADOW_TEV_DIRTY_FAILED:
		return life == SHADOW_DIRTYING ?
		       live(word, SHADOW_CLEAN, SHADOW_ACT_RELEASE) : refuse(word);
	case SHADOW_TEV_CLEAN_START:
		return life == SHADOW_DIRTY ?
		       live(word, SHADOW_CLEANING, SHADOW_ACT_DRAIN) : refuse(word);
	case SHADOW_TEV_CLEAN_RETRY:
		return life == SHADOW_CLEANING ?
		       live(word, life, SHADOW_ACT_DRAIN) : refuse(word);
	case SHADOW_TEV_CLEAN_HOLD:
		return life == SHADOW_CLEANING ?
		       live(word, SHADOW_HOLDING, SHADOW_ACT_DRAIN) : refuse(word);
	case SHADOW_TEV_CLEAN_DONE:
		return on_copied(word, SHADOW_CLEANING, SHADOW_CLEAN);
	case SHADOW_TEV_CLEAN_FAILED:
		return life == SHADOW_CLEANING || life == SHADOW_HOLDING ?
		       live(word, SHADOW_DIRTY, SHADOW_ACT_RELEASE) : refuse(word);
	case SHADOW_TEV_DROP:
		return life == SHADOW_CLEAN ? on_end(word, false) : refuse(word);
	case SHADOW_TEV_DROP_NOTED:
		return life == SHADOW_DROPPING ? mark(word) : refuse(word);
	case SHADOW_TEV_DROP_DONE:
		return life == SHADOW_DROPPING && (word & SHADOW_WORD_WRITTEN) ?
		       end(SHADOW_ACT_DRAIN) : refuse(word);
	case SHADOW_TEV_HOME_LOST:
		/* one that is ending is as current as home was, until it is gone */
		return life == SHADOW_CLEAN || life == SHADOW_DROPPING ||
		       life == SHADOW_DIRTYING ?
		       live(word, SHADOW_DIRTY, SHADOW_ACT_COMMIT | SHADOW_ACT_RELEASE) :
		       refuse(word);
	case SHADOW_TEV_LOST:
		return on_end(word, false);
	case SHADOW_TEV_DISCARD:
	case SHADOW_TEV_GIVE_UP:
		return on_end(word, true);
	default:
		return refuse(word);
	}
}

u32 shadow_tier_disk(u32 word)
{
	if (shadow_word_in(word, SHADOW_LIVES_DISK_DIRTY))
		return live(word, SHADOW_DIRTY, 0).next;
	if (shadow_life(word) == SHADOW_CLEAN)
		return live(word, SHADOW_CLEAN, 0).next;
	return 0;
}

u32 shadow_tier_from_disk(u32 word, enum shadow_home home, u8 tiers, bool region_dirty)
{
	if (home == SHADOW_HOLE)
		return 0;	/* a durable discard, cut off before the shadow's end was */
	if (shadow_life(word) == SHADOW_CLEAN &&
	    (region_dirty || !((tiers >> shadow_word_leg(word)) & 1u)))
		return 0;
	return word;
}

/* --- slots ------------------------------------------------------------------ */

#define FULL (~0ull)

/* The words of a level. */
static u64 *level(const struct shadow_slots *s, unsigned int k)
{
	static const u32 at[SHADOW_SLOT_LEVELS] = { 0, SHADOW_SLOT_LEVEL1, 9, 1, 0 };

	return k ? s->full + at[k] : s->bits;
}

/* How many of them the slots need. */
static u32 level_words(const struct shadow_slots *s, unsigned int k)
{
	return (u32)(((u64)s->nr + (1ull << (6 * (k + 1))) - 1) >> (6 * (k + 1)));
}

static bool slot_get(const struct shadow_slots *s, u32 slot)
{
	return (s->bits[slot / 64] >> (slot % 64)) & 1u;
}

bool shadow_slot_claim(struct shadow_slots *s, u32 slot)
{
	unsigned int k;
	u32 i = slot;

	if (slot >= s->nr || slot_get(s, slot))
		return false;
	for (k = 0; k < SHADOW_SLOT_LEVELS; k++, i /= 64) {
		u64 *word = level(s, k) + i / 64;

		*word |= 1ull << (i % 64);
		if (*word != FULL || !s->full)
			break;
	}
	s->used++;
	return true;
}

/* The first free slot from one on; SHADOW_NO_SLOT: none. */
static u32 next_free(const struct shadow_slots *s, u32 from)
{
	unsigned int k = 0;
	u32 i = from;
	u64 free;

	/* up, until a word has something free from there on */
	for (;;) {
		if (i / 64 >= level_words(s, k))
			return SHADOW_NO_SLOT;
		free = ~level(s, k)[i / 64] & (FULL << (i % 64));
		if (free)
			break;
		if (level_words(s, k) == 1)
			return SHADOW_NO_SLOT;
		i = i / 64 + 1;
		k++;
	}
	/* and down again: to the first word that is not full, and its first free bit */
	for (;;) {
		i = i / 64 * 64 + (u32)__builtin_ctzll(free);
		if (!k)
			return i < s->nr ? i : SHADOW_NO_SLOT;
		k--;
		if (i >= level_words(s, k))
			return SHADOW_NO_SLOT;
		free = ~level(s, k)[i];
		i *= 64;
	}
}

u32 shadow_slot_take(struct shadow_slots *s)
{
	u32 slot;

	if (s->used >= s->nr)
		return SHADOW_NO_SLOT;
	slot = next_free(s, s->hint < s->nr ? s->hint : 0);
	if (slot == SHADOW_NO_SLOT)
		slot = next_free(s, 0);
	if (!shadow_slot_claim(s, slot))
		return SHADOW_NO_SLOT;
	s->hint = slot + 1;
	return slot;
}

bool shadow_slot_used_from(const struct shadow_slots *s, u32 slot)
{
	u32 i;

	if (slot >= s->nr)
		return false;
	if (s->bits[slot / 64] >> (slot % 64))
		return true;
	for (i = slot / 64 + 1; i < level_words(s, 0); i++)
		if (s->bits[i])
			return true;
	return false;
}

bool shadow_slot_free(struct shadow_slots *s, u32 slot)
{
	unsigned int k;
	u32 i = slot;

	if (slot >= s->nr || !slot_get(s, slot))
		return false;
	for (k = 0; k < SHADOW_SLOT_LEVELS; k++, i /= 64) {
		u64 *word = level(s, k) + i / 64;
		bool was_full = *word == FULL;

		*word &= ~(1ull << (i % 64));
		if (!was_full || !s->full)
			break;
	}
	s->used--;
	return true;
}
