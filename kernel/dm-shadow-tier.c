// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shadows: how words change, how a shadow ends and its slot becomes free, first writes under
 * write-back, and what happens when a tier fails or is forgotten.
 *
 * Words belong to the volume like state bytes: every change is a compare-and-swap to what
 * shadow_tier_transition() says; counters and dirty bits follow. See dm-shadow.h for the order.
 *
 * Context: process, may sleep; shadow_tier_apply() and shadow_note_tier_failure(): any.
 */
#include "dm-shadow-trace.h"
#include "dm-shadow.h"

/**
 * shadow_tier_apply() - an event happens to the shadow of a block.
 * @step: if not NULL, what shadow_tier_transition() said
 *
 * Return: false if the event is not legal for its word, which then is unchanged.
 */
bool shadow_tier_apply(struct shadow_volume *v, u32 block, enum shadow_tier_event event,
		       struct shadow_tier_step *step)
{
	struct shadow_tier_step s;
	bool was, is;
	u32 word;

	do {
		word = READ_ONCE(v->words[block]);
		s = shadow_tier_transition(word, event);
		if (step)
			*step = s;
		if (!s.legal)
			return false;
	} while (cmpxchg(&v->words[block], word, s.next) != word);

	if (shadow_life(word) != shadow_life(s.next))
		trace_shadow_word(v->name, block, word, s.next);
	if (shadow_tier_disk(word) != shadow_tier_disk(s.next))
		shadow_mark_slot_page_dirty(v, block);
	was = shadow_word_in(word, SHADOW_LIVES_NEWER);
	is = shadow_word_in(s.next, SHADOW_LIVES_NEWER);
	if (was != is)
		atomic_add(is ? 1 : -1, &shadow_tier_of(v, shadow_word_leg(word))->dirty);
	return true;
}

/* The bit of the byte: set after the word is something, cleared before it is nothing. */
void shadow_set_shadow(struct shadow_volume *v, u32 block, bool set)
{
	u8 state, next;

	do {
		state = READ_ONCE(v->map[block]);
		next = set ? state | SHADOW_SHADOW : state & ~SHADOW_SHADOW;
	} while (next != state && cmpxchg(&v->map[block], state, next) != state);
}

/* --- the end of shadows ----------------------------------------------------- */

static u32 block_at(const struct shadow_blocks *blocks, u32 i)
{
	return blocks->list ? blocks->list[i] : blocks->first + i;
}

/* Of a run only those that may have a shadow: a word that is DROPPING has its bit in the byte. */
static u32 skip_to(struct shadow_volume *v, const struct shadow_blocks *blocks, u32 i)
{
	if (blocks->list)
		return i;
	return shadow_next_shadow(v, blocks->first + i, blocks->first + blocks->n) -
	       blocks->first;
}

/* Its end was in a commit. */
static bool is_over(u32 word)
{
	return shadow_life(word) == SHADOW_DROPPING && (word & SHADOW_WORD_WRITTEN);
}

/* Steps 3 to 5 of shadow_finish_drops() for some; returns where to go on. */
static u32 end_some(struct shadow_volume *v, const struct shadow_blocks *blocks, u32 i)
{
	unsigned long flags;
	u32 n = 0, k;

	for (i = skip_to(v, blocks, i); i < blocks->n && n < SHADOW_DROP_CHUNK;
	     i = skip_to(v, blocks, i + 1)) {
		u32 block = block_at(blocks, i);
		u32 word = READ_ONCE(v->words[block]);

		cond_resched();
		if (!is_over(word))
			continue;
		/* one that is ending may become the newest copy again: shadow_take_doubts() */
		down_read(&v->phase_lock);
		if (is_over(READ_ONCE(v->words[block]))) {
			shadow_set_shadow(v, block, false);
			/* from here on the tier mover may claim the block again */
			if (shadow_tier_apply(v, block, SHADOW_TEV_DROP_DONE, NULL))
				v->drop_words[n++] = word;
		}
		up_read(&v->phase_lock);
	}
	if (!n)
		return i;
	shadow_drain(v);
	spin_lock_irqsave(&v->lock, flags);
	for (k = 0; k < n; k++)
		shadow_slot_free(&shadow_tier_of(v, shadow_word_leg(v->drop_words[k]))->slots,
				 shadow_slot(v->drop_words[k]));
	spin_unlock_irqrestore(&v->lock, flags);
	atomic64_add(n, &v->demoted);
	return i;
}

/**
 * shadow_finish_drops() - shadows that are dropping come to their end.
 * @blocks: where to look; others are left alone
 *
 * 1. note those whose end the next commit makes durable, 2. commit, 3. no I/O finds them any more,
 * 4. what found them before is over, 5. their slots are free. Caller: holds v->drop_lock.
 *
 * Return: 0, or the error of the commit; then they stay as they are.
 */
int shadow_finish_drops(struct shadow_volume *v, const struct shadow_blocks *blocks)
{
	bool any = false;
	u32 i;
	int r;

	for (i = skip_to(v, blocks, 0); i < blocks->n; i = skip_to(v, blocks, i + 1)) {
		any |= shadow_tier_apply(v, block_at(blocks, i), SHADOW_TEV_DROP_NOTED, NULL);
		cond_resched();
	}
	if (!any)
		return 0;
	r = shadow_commit(v);
	if (r)
		return r;
	for (i = 0; i < blocks->n;) {
		i = end_some(v, blocks, i);
		cond_resched();
	}
	return 0;
}

/* All of them, by the slow worker. */
void shadow_finish_all_drops(struct shadow_volume *v)
{
	struct shadow_blocks all = { .first = 0, .n = v->nr_tracked };

	mutex_lock(&v->drop_lock);
	shadow_finish_drops(v, &all);
	mutex_unlock(&v->drop_lock);
	shadow_release_parked(v);
}

/* The shadow of one block, of a list that is short most of the time. */
void shadow_tier_end_drop(struct shadow_volume *v, u32 block)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	if (v->nr_dropping < ARRAY_SIZE(v->dropping))
		v->dropping[v->nr_dropping++] = block;
	else
		atomic_set(&v->drop_all, 1);
	spin_unlock_irqrestore(&v->lock, flags);
	queue_work(v->wq, &v->slow_work);
}

/* Those that shadow_tier_end_drop() listed, by the slow worker. */
void shadow_finish_some_drops(struct shadow_volume *v)
{
	u32 list[ARRAY_SIZE(v->dropping)];
	struct shadow_blocks blocks = { .list = list };
	unsigned long flags;

	mutex_lock(&v->drop_lock);
	spin_lock_irqsave(&v->lock, flags);
	blocks.n = v->nr_dropping;
	memcpy(list, v->dropping, blocks.n * sizeof(u32));
	v->nr_dropping = 0;
	spin_unlock_irqrestore(&v->lock, flags);
	shadow_finish_drops(v, &blocks);
	mutex_unlock(&v->drop_lock);
	shadow_release_parked(v);
}

void shadow_tier_end_drops(struct shadow_volume *v)
{
	atomic_set(&v->drop_all, 1);
	queue_work(v->wq, &v->slow_work);
}

/* --- first writes under write-back -------------------------------------------- */

/*
 * 1. the shadows shall become dirty: writes wait, 2. writes to home and shadow that were mapped
 * before are over, 3. "dirty" is durable, 4. the writes go. If one of those before has failed the
 * worker has to decide about it first.
 */
void shadow_do_dirties(struct shadow_volume *v, struct bio_list *bios)
{
	struct bio_list claimed = BIO_EMPTY_LIST;
	struct bio *bio;
	int r;

	if (READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		while ((bio = bio_list_pop(bios)))
			shadow_finish_bio(bio, BLK_STS_IOERR);
		return;
	}
	while ((bio = bio_list_pop(bios))) {
		if (shadow_tier_apply(v, shadow_io(bio)->block, SHADOW_TEV_DIRTY_START, NULL))
			bio_list_add(&claimed, bio);
		else
			shadow_route_again(v, bio);	/* another bio did, or it changed */
	}
	if (bio_list_empty(&claimed))
		return;
	shadow_drain_epoch(&v->epoch);	/* no copy is of a block whose shadow is clean */
	r = atomic_read(&v->failing) ? -EAGAIN : shadow_commit(v);
	while ((bio = bio_list_pop(&claimed))) {
		/* not legal: the tier failed its flush meanwhile, and the shadow ends */
		shadow_tier_apply(v, shadow_io(bio)->block,
				  r ? SHADOW_TEV_DIRTY_FAILED : SHADOW_TEV_DIRTY_DONE, NULL);
		if (r && r != -EAGAIN)
			shadow_finish_bio(bio, BLK_STS_IOERR);
		else
			shadow_route_again(v, bio);
	}
	shadow_release_parked(v);
}

/* --- failures ----------------------------------------------------------------- */

void shadow_note_tier_failure(struct shadow_volume *v, const char *what, u8 leg, u32 block)
{
	atomic64_inc(&v->tier_failures);
	set_bit(leg, &v->tier_hurt);
	shadow_note_error(v, what, leg, block);
	shadow_raise_event(v);
}

/* A clean shadow that cannot be read ends; a dirty one is all there is. */
void shadow_tier_read_failed(struct shadow_volume *v, u32 block, u8 leg)
{
	u32 word = READ_ONCE(v->words[block]);

	shadow_note_tier_failure(v, "read", leg, block);
	if (shadow_word_leg(word) == leg && shadow_tier_apply(v, block, SHADOW_TEV_LOST, NULL))
		shadow_tier_end_drop(v, block);
}

/*
 * An event for all shadows of a tier. Caller: holds v->phase_lock for writing, or is alone. A word
 * whose byte has no bit yet is a promotion that begins: settle() looks whether its tier has failed.
 */
void shadow_tier_lose(struct shadow_volume *v, u8 leg, enum shadow_tier_event event)
{
	u32 b, end = v->nr_tracked;

	for (b = shadow_next_shadow(v, 0, end); b < end; b = shadow_next_shadow(v, b + 1, end)) {
		u32 word = READ_ONCE(v->words[b]);

		if (word && shadow_word_leg(word) == leg)
			shadow_tier_apply(v, b, event, NULL);
		cond_resched();
	}
}

/*
 * What the tier's cache held may be gone: all clean shadows end, and no new ones are made. Dirty
 * ones stay, as they are the only copies; whoever asked for the flush hears of the error.
 */
void shadow_tier_flush_failed(struct shadow_volume *v, u8 leg)
{
	atomic64_inc(&v->tier_failures);
	down_write(&v->phase_lock);
	/* there are none any more, nor were new ones made */
	if (v->tier_failed & (1u << leg)) {
		up_write(&v->phase_lock);
		return;
	}
	WRITE_ONCE(v->tier_failed, v->tier_failed | 1u << leg);
	trace_shadow_leg_failed(v->name, leg);
	shadow_tier_lose(v, leg, SHADOW_TEV_LOST);
	up_write(&v->phase_lock);
	DMERR_LIMIT("%s: flush of %s failed: its clean shadows are dropped, %d dirty ones stay",
		    v->name, shadow_leg_name(leg), atomic_read(&shadow_tier_of(v, leg)->dirty));
	shadow_tier_end_drops(v);
	shadow_raise_event(v);
}

/*
 * Home of a shadow that is given up while it was newer. A write-back that was cut off may have
 * left two homes that differ: one of them goes.
 */
static void one_home(struct shadow_volume *v, u32 block)
{
	bool grace = shadow_phase(v) == SHADOW_GRACE;

	shadow_drop_home(v, block, grace ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET, NULL);
}

/**
 * shadow_tier_forget() - all shadows of a tier end, durably.
 * @lost: also those whose newest data is nowhere else
 *
 * Caller: holds v->admin; the volume is not suspended.
 */
int shadow_tier_forget(struct shadow_volume *v, u8 leg, bool lost, const char **error)
{
	struct shadow_blocks all = { .first = 0, .n = v->nr_tracked };
	u32 b;
	int r;

	if (!v->words || !v->sb.legs[leg].present) {
		*error = "the volume has no such tier";
		return -EINVAL;
	}
	if (READ_ONCE(v->mode) != SHADOW_MODE_RW) {
		*error = "the volume is not in rw mode";
		return -EROFS;
	}
	if (v->fetch_leg == leg)
		shadow_fetch_set(v, 0);
	shadow_tier_mover_stop(v);	/* from here no shadow of it is made */
	if (!lost && atomic_read(&shadow_tier_of(v, leg)->dirty)) {
		*error = "it has dirty shadows: demote them, or say \"lost\"";
		return -EBUSY;
	}
	mutex_lock(&v->drop_lock);
	/* no write goes to two homes, or to the shadow, while homes are chosen */
	shadow_gate_close(v);
	if (lost && shadow_phase(v) != SHADOW_STEADY)
		for (b = shadow_next_shadow(v, 0, v->nr_blocks); b < v->nr_blocks;
		     b = shadow_next_shadow(v, b + 1, v->nr_blocks)) {
			u32 word = READ_ONCE(v->words[b]);

			if (shadow_word_in(word, SHADOW_LIVES_NEWER) &&
			    shadow_word_leg(word) == leg &&
			    shadow_home(READ_ONCE(v->map[b])) == SHADOW_MIRRORED)
				one_home(v, b);
		}
	r = shadow_commit(v);	/* one home, before the shadow that hid the other ends */
	down_write(&v->phase_lock);
	WRITE_ONCE(v->tier_failed, v->tier_failed | 1u << leg);
	shadow_tier_lose(v, leg, lost ? SHADOW_TEV_GIVE_UP : SHADOW_TEV_LOST);
	up_write(&v->phase_lock);
	r = r ?: shadow_commit(v);
	if (!r)
		shadow_gate_open(v, 1);
	else
		shadow_release_parked(v);
	r = r ?: shadow_finish_drops(v, &all);
	mutex_unlock(&v->drop_lock);
	if (r) {
		*error = "the metadata cannot be written";
		return r;
	}
	if (shadow_tier_used(v, leg)) {
		*error = "blocks became dirty meanwhile: demote them, or say \"lost\"";
		return -EBUSY;
	}
	return 0;
}

u32 shadow_tier_used(struct shadow_volume *v, u8 leg)
{
	return READ_ONCE(shadow_tier_of(v, leg)->slots.used);
}

void shadow_tier_set_mode(struct shadow_volume *v, u8 leg, bool writeback)
{
	union shadow_tier_word w;

	mutex_lock(&v->commit_lock);	/* the word has one writer at a time */
	w.word = READ_ONCE(v->tier_word);
	if (writeback)
		w.ctx.writeback |= 1u << leg;
	else
		w.ctx.writeback &= ~(1u << leg);
	WRITE_ONCE(v->tier_word, w.word);
	v->sb.writeback = w.ctx.writeback;
	v->sb_behind = true;
	mutex_unlock(&v->commit_lock);
}
