// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a leg may have lost with its cache.
 *
 * A device that loses power for a moment comes back without the writes that it had acknowledged and
 * not flushed, and its next flush succeeds. The volume hears of it by an I/O that fails meanwhile:
 * so an error of a leg is taken for more than an error of its block. The leg is suspected, and what
 * was written to it since its last flush is in doubt:
 *
 *   - blocks of regions whose write-intent bit is set: writes to several legs,
 *   - blocks of regions that are marked here: copies, and zeroes of holes that became data.
 *
 * Of those the leg gives up what another one has, too: a copy of a mirrored block, a clean shadow.
 * A clean shadow over a suspected home becomes a dirty one. It happens in the next commit, which
 * the slow worker begins, with the gate closed, before anything else is made durable: commits,
 * flushes of the volume and the sweep look whether a leg is suspected after the legs' flushes.
 *
 * A mark lasts until a flush of the leg has succeeded that began after it. There are two sets of
 * them, so that the sweep can clear one while copies are marked in the other.
 *
 * Where the suspected leg has the only copy it is what any other disk would be: whoever had the
 * error knows. A leg that loses its cache between two I/Os of ours cannot be noticed by anybody.
 *
 * Context: shadow_suspect() and shadow_answered() any; the rest process, may sleep.
 */
#include "dm-shadow.h"

#define NR_BITS 8u		/* of a region: a set of four legs, and the other set */
#define SET_BITS 4u

/**
 * shadow_suspect() - an I/O of a leg has failed.
 * @written: it was a write. Of two legs that are suspected at once one that failed a write goes.
 *
 * Before the I/O is over for whoever waits for it or drains.
 */
void shadow_suspect(struct shadow_volume *v, u8 leg, bool written)
{
	u8 bit = 1u << leg;

	/* what it held is given up already, and nothing new is made there */
	if ((READ_ONCE(v->home_failed) & bit) && !shadow_has_mirrored(v) && !v->words)
		return;
	/* nothing can be given up any more; a read has told nobody that something is durable */
	if (!written && READ_ONCE(v->mode) != SHADOW_MODE_RW)
		return;
	if (READ_ONCE(v->tier_failed) & bit)
		return;
	atomic_or(written ? bit : bit << SHADOW_SUSPECT_READ_SHIFT, &v->suspect);
	smp_mb__after_atomic(); /* before the I/O is over */
	queue_work(v->wq, &v->slow_work);
}

/** shadow_answered() - a leg is suspected if it may have lost something, by what it answers. */
void shadow_answered(struct shadow_volume *v, u8 leg, enum req_op op, blk_status_t status)
{
	switch (status) {
	case BLK_STS_OK:
	case BLK_STS_AGAIN:
	case BLK_STS_NOSPC:
		return;
	case BLK_STS_MEDIUM:	/* a bad sector */
		if (op == REQ_OP_READ)
			return;
		break;
	default:
		if (shadow_unsupported(op, status))
			return;
	}
	shadow_suspect(v, leg, op_is_write(op));
}

/**
 * shadow_doubt() - the legs hold what is in their caches only, and no write-intent bit tells of.
 * @legs: mask
 *
 * Caller: holds v->phase_lock for reading, and makes the copies count before it lets go.
 */
void shadow_doubt(struct shadow_volume *v, u32 block, u8 legs)
{
	unsigned long first = (block >> SHADOW_REGION_SHIFT) * (unsigned long)NR_BITS +
			      v->doubt_set * SET_BITS;
	u8 leg;

	BUILD_BUG_ON(SHADOW_NR_LEGS > SET_BITS);
	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		if ((legs & (1u << leg)) && !test_bit(first + leg, v->doubt))
			set_bit(first + leg, v->doubt);
	if (!READ_ONCE(v->doubts[v->doubt_set]))
		WRITE_ONCE(v->doubts[v->doubt_set], true);
}

/**
 * shadow_doubts_turn() - what is marked from now on waits for the flush after the next one.
 *
 * Return: is there anything that the next flush ends? Caller: holds v->intent_lock.
 */
bool shadow_doubts_turn(struct shadow_volume *v)
{
	if (!v->doubts[0] && !v->doubts[1])
		return false;
	down_write(&v->phase_lock);
	v->doubt_set ^= 1;
	up_write(&v->phase_lock);
	return true;
}

/**
 * shadow_doubts_over() - all legs have been flushed since the turn, and none is suspected.
 *
 * Those that are missing, or have failed, hold no copies that count. Caller: holds v->intent_lock.
 */
void shadow_doubts_over(struct shadow_volume *v)
{
	u8 set = v->doubt_set ^ 1;
	unsigned long bit, n = 0;

	for_each_set_bit(bit, v->doubt, v->nr_regions * (unsigned long)NR_BITS) {
		if (bit / SET_BITS % 2 == set)
			clear_bit(bit, v->doubt);
		if (!(++n % 4096))
			cond_resched();
	}
	WRITE_ONCE(v->doubts[set], false);
}

/* --- a suspected leg ------------------------------------------------------------ */

static unsigned long for_region(struct shadow_volume *v, u32 region, u8 leg,
				unsigned int (*f)(struct shadow_volume *v, u32 block, u8 leg))
{
	u32 b = region << SHADOW_REGION_SHIFT;
	u32 end = min(b + (1u << SHADOW_REGION_SHIFT), v->nr_blocks);
	unsigned long n = 0;

	for (; b < end; b++)
		n += f(v, b, leg);
	cond_resched();
	return n;
}

/* Calls @f for the blocks that the leg may have lost, some of them twice. Returns its sum. */
static unsigned long for_doubtful(struct shadow_volume *v, u8 leg,
				  unsigned int (*f)(struct shadow_volume *v, u32 block, u8 leg))
{
	unsigned long n = 0, bit;
	u32 region;

	for_each_set_bit(region, v->intent_disk, v->nr_regions) {
		n += for_region(v, region, leg, f);
	}
	for_each_set_bit(bit, v->doubt, v->nr_regions * (unsigned long)NR_BITS) {
		if (bit % SET_BITS == leg)
			n += for_region(v, bit / NR_BITS, leg, f);
	}
	return n;
}

static unsigned int drop_copy(struct shadow_volume *v, u32 block, u8 leg)
{
	enum shadow_home home = shadow_home(READ_ONCE(v->map[block]));

	return (home == SHADOW_MIRRORED || home == SHADOW_RETIRING) &&
	       shadow_apply(v, block, leg == SHADOW_LEG_ORIGIN ? SHADOW_EV_ORIGIN_LOST :
								 SHADOW_EV_TARGET_LOST, NULL);
}

static unsigned int drop_shadow(struct shadow_volume *v, u32 block, u8 leg)
{
	u32 word = READ_ONCE(v->words[block]);

	return word && shadow_word_leg(word) == leg &&
	       shadow_tier_apply(v, block, SHADOW_TEV_LOST, NULL);
}

/* The block lives on this leg alone, and what its shadow has is good: that is the newest now. */
static unsigned int keep_shadow(struct shadow_volume *v, u32 block, u8 leg)
{
	struct shadow_ctx ctx = shadow_get_ctx(v, block);
	u32 word = READ_ONCE(v->words[block]);
	u8 tier = 1u << shadow_word_leg(word);

	if (!word || (shadow_copies(READ_ONCE(v->map[block]), &ctx) & ~ctx.missing) != 1u << leg)
		return 0;
	if (!(shadow_get_tier_ctx(v).tiers & ~v->tier_failed & tier))
		return 0;
	/* a shadow that is ending may be so because its tier failed it */
	if (shadow_life(word) == SHADOW_DROPPING && test_bit(shadow_word_leg(word), &v->tier_hurt))
		return 0;
	return shadow_tier_apply(v, block, SHADOW_TEV_HOME_LOST, NULL);
}

static void lose_copies(struct shadow_volume *v, u8 leg)
{
	u8 other = SHADOW_MASK_BOTH & ~(1u << leg);
	unsigned long n;

	if (shadow_phase(v) == SHADOW_STEADY || (shadow_get_ctx(v, 0).missing & other))
		return;
	atomic_or(other, &v->sole);
	smp_mb__after_atomic(); /* before the states change, like v->unflushed */
	n = for_doubtful(v, leg, drop_copy);
	atomic64_add(n, &v->stale);
	if (n)
		DMERR_LIMIT("%s: the %s failed an I/O and may have lost what was not flushed: %lu mirrored blocks live on the other leg only now",
			    v->name, shadow_leg_name(leg), n);
}

static void lose_shadows(struct shadow_volume *v, u8 leg)
{
	unsigned long n = for_doubtful(v, leg, drop_shadow);

	if (!n)
		return;
	DMERR_LIMIT("%s: %s failed an I/O and may have lost what was not flushed: %lu clean shadows end",
		    v->name, shadow_leg_name(leg), n);
	shadow_tier_end_drops(v);
}

static void keep_shadows(struct shadow_volume *v, u8 leg)
{
	unsigned long n = for_doubtful(v, leg, keep_shadow);

	if (n)
		DMERR_LIMIT("%s: the %s failed an I/O and may have lost what was not flushed: %lu shadows are dirty now",
			    v->name, shadow_leg_name(leg), n);
}

/* Mask of the homes that have to go, at most one: the one that an unclean stop would believe stays. */
static u8 homes_to_go(struct shadow_volume *v, u8 wrote, u8 read)
{
	u8 homes = wrote & SHADOW_MASK_BOTH ?: read & SHADOW_MASK_BOTH;

	if (homes != SHADOW_MASK_BOTH)
		return homes;
	return shadow_phase(v) == SHADOW_GRACE ? SHADOW_MASK_ORIGIN : SHADOW_MASK_TARGET;
}

/*
 * A shadow is to be what home may have lost: only if its tier has it durably. Before phase_lock is
 * taken; no write is under way, and no round.
 */
static void flush_tiers(struct shadow_volume *v)
{
	u8 leg;

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++)
		if (v->legs[leg] && shadow_tier_used(v, leg) &&
		    !(READ_ONCE(v->tier_failed) & (1u << leg)) &&
		    blkdev_issue_flush(v->legs[leg]))
			shadow_tier_flush_failed(v, leg);
}

/* See shadow_doubted_since(). */
static void count_doubt(struct shadow_volume *v, u8 homes)
{
	u16 origin = v->doubted, target = v->doubted >> 16;

	origin += !!(homes & SHADOW_MASK_ORIGIN);
	target += !!(homes & SHADOW_MASK_TARGET);
	WRITE_ONCE(v->doubted, (u32)target << 16 | origin);
}

/**
 * shadow_take_doubts() - what suspected legs may have lost does not count any longer.
 *
 * True: some were suspected. The gate is closed until the end of the commit, which makes the changes
 * durable. Caller: holds commit_lock.
 */
bool shadow_take_doubts(struct shadow_volume *v)
{
	u8 wrote, read, homes, leg;
	unsigned int suspect;

	if (likely(!(atomic_read(&v->suspect) & SHADOW_SUSPECT_LEGS)))
		return false;
	atomic_or(SHADOW_SUSPECT_TAKEN, &v->suspect);
	shadow_gate_close(v);	/* no write is between two legs, and no round of a tier */
	v->meta.dropped++;
	suspect = atomic_fetch_andnot(SHADOW_SUSPECT_LEGS, &v->suspect);
	wrote = suspect & ((1u << SHADOW_SUSPECT_READ_SHIFT) - 1);
	read = (suspect & SHADOW_SUSPECT_LEGS) >> SHADOW_SUSPECT_READ_SHIFT;

	if (v->words && ((wrote | read) & SHADOW_MASK_BOTH))
		flush_tiers(v);

	down_write(&v->phase_lock);
	count_doubt(v, (wrote | read) & SHADOW_MASK_BOTH);
	homes = homes_to_go(v, wrote, read);
	if (homes)
		lose_copies(v, __ffs(homes));
	for (leg = SHADOW_LEG_TIER1; v->words && leg < SHADOW_NR_LEGS; leg++)
		if ((wrote | read) & (1u << leg)) {
			set_bit(leg, &v->tier_hurt);
			lose_shadows(v, leg);
		}
	for (leg = 0; v->words && leg < SHADOW_NR_HOME_LEGS; leg++)
		if ((wrote | read) & (1u << leg))
			keep_shadows(v, leg);
	up_write(&v->phase_lock);
	shadow_raise_event(v);
	return true;
}
