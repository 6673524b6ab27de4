// SPDX-License-Identifier: GPL-2.0-only
/*
 * Encoding and decoding of the metadata; docs/on-disk-format.md has the tables.
 *
 * All integers are little-endian, whatever the machine.
 */
#include "shadow_format.h"

#define PAGE_MAGIC 0x47504853u	/* "SHPG" */
#define SLOT_PAGE_MAGIC 0x4c534853u	/* "SHSL" */

static const u8 sb_magic[8] = { 'D', 'M', 'S', 'H', 'A', 'D', 'O', 'W' };

/* Offsets in the superblock. */
enum {
	SB_MAGIC = 0,
	SB_CRC = 8,
	SB_VERSION = 12,
	SB_GENERATION = 16,
	SB_FLAGS = 24,
	SB_INCOMPAT = 28,	/* features an older module must not touch */
	SB_PHASE = 32,
	SB_BLOCK_SECTORS = 36,
	SB_EPOCH = 40,
	SB_NR_SECTORS = 48,
	SB_OLD_SECTORS = 56,
	SB_TRACKED_SECTORS = 64,
	SB_SLOT_END = 72,
	SB_UUID = 96,
	SB_LEGS = 160,		/* SHADOW_NR_LEGS records of SB_LEG_SIZE */
	SB_LEG_SIZE = 96,
	SB_LEG_PRESENT = 0,
	SB_LEG_SECTORS = 8,
	SB_LEG_ID = 16,
	SB_LOGICAL_BLOCK = 544,
	SB_POLICY = 548,
	SB_WRITEBACK = 549,
	SB_NAME = 560,
};

/* Offsets in a state page. */
enum {
	PG_MAGIC = 0,
	PG_CRC = 4,
	PG_GENERATION = 8,
	PG_TAG = 16,
	PG_NUMBER = 24,
	PG_EPOCH = 28,
	PG_WORDS = 64,		/* of a slot page */
};

static void put32(u8 *p, u32 v)
{
	p[0] = (u8)v;
	p[1] = (u8)(v >> 8);
	p[2] = (u8)(v >> 16);
	p[3] = (u8)(v >> 24);
}

static void put64(u8 *p, u64 v)
{
	put32(p, (u32)v);
	put32(p + 4, (u32)(v >> 32));
}

static u32 get32(const u8 *p)
{
	return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}

static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

static bool has_tier(const struct shadow_superblock *sb)
{
	return sb->legs[SHADOW_LEG_TIER1].present || sb->legs[SHADOW_LEG_TIER2].present;
}

u32 shadow_logical_block(const struct shadow_superblock *sb, const u32 sizes[SHADOW_NR_LEGS],
			 u32 *block)
{
	u32 leg;

	*block = sb ? sb->logical_block : 0;
	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		if ((sb ? sb->legs[leg].present : leg == SHADOW_LEG_ORIGIN) &&
		    sizes[leg] > *block)
			*block = sizes[leg];
	/* *block is 0 only if every attached leg is missing, and nobody knows what it was */
	for (leg = 0; leg < SHADOW_NR_LEGS && *block; leg++)
		if (sizes[leg] > *block)
			return leg;
	return SHADOW_NR_LEGS;
}

static const char *const errors[] = {
	"fine", "blank", "no magic number", "wrong checksum", "unknown version",
	"a field is out of range", "belongs to another volume or place",
};

const char *shadow_format_strerror(enum shadow_format_error error)
{
	return (size_t)error < ARRAY_SIZE(errors) ? errors[error] : "?";
}

/* FNV-1a */
u64 shadow_uuid_tag(const char *uuid)
{
	u64 h = 0xcbf29ce484222325ull;

	while (*uuid)
		h = (h ^ (u8)*uuid++) * 0x100000001b3ull;
	return h;
}

static bool all_zero(const u8 *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* A string field: fixed size, rest zero, always ends with a zero. */
static void put_string(u8 *p, const char *s, size_t max)
{
	size_t i;

	memset(p, 0, max + 1);
	for (i = 0; i < max && s[i]; i++)
		p[i] = (u8)s[i];
}

static bool get_string(const u8 *p, char *s, size_t max)
{
	size_t i;

	if (p[max])
		return false;
	for (i = 0; i <= max; i++)
		s[i] = (char)p[i];
	return true;
}

void shadow_sb_encode(const struct shadow_superblock *sb, void *buf)
{
	u8 *p = buf;
	int i;

	memset(p, 0, SHADOW_PAGE_SIZE);
	memcpy(p + SB_MAGIC, sb_magic, sizeof(sb_magic));
	put32(p + SB_VERSION, SHADOW_FORMAT_VERSION);
	put64(p + SB_GENERATION, sb->generation);
	put32(p + SB_FLAGS, sb->flags);
	put32(p + SB_PHASE, sb->phase);
	put32(p + SB_BLOCK_SECTORS, sb->block_sectors);
	put32(p + SB_EPOCH, sb->epoch);
	put64(p + SB_NR_SECTORS, sb->nr_sectors);
	put64(p + SB_OLD_SECTORS, sb->old_sectors);
	put64(p + SB_TRACKED_SECTORS, sb->tracked_sectors);
	put32(p + SB_INCOMPAT, has_tier(sb) ? SHADOW_INCOMPAT_TIERS : 0);
	put64(p + SB_SLOT_END, sb->slot_end);
	put_string(p + SB_UUID, sb->uuid, SHADOW_ID_MAX);
	for (i = 0; i < SHADOW_NR_LEGS; i++) {
		u8 *leg = p + SB_LEGS + i * SB_LEG_SIZE;

		leg[SB_LEG_PRESENT] = sb->legs[i].present;
		put64(leg + SB_LEG_SECTORS, sb->legs[i].sectors);
		put_string(leg + SB_LEG_ID, sb->legs[i].id, SHADOW_ID_MAX);
	}
	put32(p + SB_LOGICAL_BLOCK, sb->logical_block);
	p[SB_POLICY] = sb->policy;
	p[SB_WRITEBACK] = sb->writeback;
	put_string(p + SB_NAME, sb->name, SHADOW_NAME_MAX);
	put32(p + SB_CRC, shadow_crc32c(~0u, p + SB_VERSION, SHADOW_PAGE_SIZE - SB_VERSION));
}

static bool sb_fields_ok(const struct shadow_superblock *sb)
{
	u32 bs = sb->block_sectors;
	bool migrating = sb->phase == SHADOW_MIGRATING || sb->phase == SHADOW_GRACE;
	int i;

	if (sb->phase >= SHADOW_NR_PHASES ||
	    (sb->flags & ~(SHADOW_SB_CLEAN | SHADOW_SB_NEEDS_CHECK)) ||
	    bs < SHADOW_MIN_BLOCK_SECTORS || bs > SHADOW_MAX_BLOCK_SECTORS || (bs & (bs - 1)))
		return false;
	if (!sb->nr_sectors || !sb->old_sectors || sb->tracked_sectors < sb->nr_sectors ||
	    sb->tracked_sectors < sb->old_sectors ||
	    shadow_nr_blocks(sb->tracked_sectors, bs) > SHADOW_MAX_BLOCKS)
		return false;
	if (!sb->legs[SHADOW_LEG_ORIGIN].present ||
	    sb->legs[SHADOW_LEG_TARGET].present != migrating)
		return false;
	for (i = SHADOW_LEG_TIER1; i < SHADOW_NR_LEGS; i++)
		if (sb->legs[i].present && sb->legs[i].sectors < bs)
			return false;	/* not one slot */
	if (!has_tier(sb) != !sb->slot_end || sb->slot_end != shadow_slot_end(sb->slot_end) ||
	    sb->slot_end > SHADOW_MAX_SLOT_END ||
	    (sb->slot_end && !shadow_slots_fit(sb->slot_end,
					       shadow_nr_blocks(sb->tracked_sectors, bs))))
		return false;
	if (sb->policy >= SHADOW_NR_POLICIES || (sb->writeback & ~SHADOW_MASK_TIERS) ||
	    (sb->logical_block &&
	     (sb->logical_block < 512 || (sb->logical_block & (sb->logical_block - 1)) ||
	      sb->logical_block > SHADOW_MIN_BLOCK_SECTORS << 9)))
		return false;
	return sb->uuid[0] != '\0';
}

enum shadow_format_error shadow_sb_decode(const void *buf, struct shadow_superblock *sb)
{
	const u8 *p = buf;
	int i;

	if (all_zero(p, SHADOW_PAGE_SIZE))
		return SHADOW_FORMAT_BLANK;
	if (memcmp(p + SB_MAGIC, sb_magic, sizeof(sb_magic)))
		return SHADOW_FORMAT_MAGIC;
	if (get32(p + SB_CRC) !=
	    shadow_crc32c(~0u, p + SB_VERSION, SHADOW_PAGE_SIZE - SB_VERSION))
		return SHADOW_FORMAT_CHECKSUM;
	if (get32(p + SB_VERSION) != SHADOW_FORMAT_VERSION ||
	    (get32(p + SB_INCOMPAT) & ~SHADOW_INCOMPAT_TIERS))
		return SHADOW_FORMAT_VERSION_UNKNOWN;

	memset(sb, 0, sizeof(*sb));
	sb->generation = get64(p + SB_GENERATION);
	sb->flags = get32(p + SB_FLAGS);
	sb->phase = get32(p + SB_PHASE);
	sb->block_sectors = get32(p + SB_BLOCK_SECTORS);
	sb->epoch = get32(p + SB_EPOCH);
	sb->nr_sectors = get64(p + SB_NR_SECTORS);
	sb->old_sectors = get64(p + SB_OLD_SECTORS);
	sb->tracked_sectors = get64(p + SB_TRACKED_SECTORS);
	sb->slot_end = get64(p + SB_SLOT_END);
	sb->logical_block = get32(p + SB_LOGICAL_BLOCK);
	sb->policy = p[SB_POLICY];
	sb->writeback = p[SB_WRITEBACK];
	if (!get_string(p + SB_UUID, sb->uuid, SHADOW_ID_MAX) ||
	    !get_string(p + SB_NAME, sb->name, SHADOW_NAME_MAX))
		return SHADOW_FORMAT_FIELD;
	for (i = 0; i < SHADOW_NR_LEGS; i++) {
		const u8 *leg = p + SB_LEGS + i * SB_LEG_SIZE;

		if (leg[SB_LEG_PRESENT] > 1 ||
		    !get_string(leg + SB_LEG_ID, sb->legs[i].id, SHADOW_ID_MAX))
			return SHADOW_FORMAT_FIELD;
		sb->legs[i].present = leg[SB_LEG_PRESENT];
		sb->legs[i].sectors = get64(leg + SB_LEG_SECTORS);
	}
	if (has_tier(sb) != !!(get32(p + SB_INCOMPAT) & SHADOW_INCOMPAT_TIERS))
		return SHADOW_FORMAT_FIELD;
	return sb_fields_ok(sb) ? SHADOW_FORMAT_OK : SHADOW_FORMAT_FIELD;
}

static void seal(u8 *p, u32 magic, const struct shadow_page_header *header)
{
	put32(p + PG_MAGIC, magic);
	put64(p + PG_GENERATION, header->generation);
	put64(p + PG_TAG, header->tag);
	put32(p + PG_NUMBER, header->number);
	put32(p + PG_EPOCH, header->epoch);
	put32(p + PG_CRC, shadow_crc32c(~0u, p + PG_GENERATION,
					SHADOW_PAGE_SIZE - PG_GENERATION));
}

static enum shadow_format_error open_page(const u8 *p, u32 magic, u64 tag, u32 number,
					  struct shadow_page_header *header)
{
	if (get32(p + PG_MAGIC) != magic)
		return all_zero(p, SHADOW_PAGE_SIZE) ? SHADOW_FORMAT_BLANK : SHADOW_FORMAT_MAGIC;
	if (get32(p + PG_CRC) !=
	    shadow_crc32c(~0u, p + PG_GENERATION, SHADOW_PAGE_SIZE - PG_GENERATION))
		return SHADOW_FORMAT_CHECKSUM;
	header->generation = get64(p + PG_GENERATION);
	header->tag = get64(p + PG_TAG);
	header->number = get32(p + PG_NUMBER);
	header->epoch = get32(p + PG_EPOCH);
	return header->tag == tag && header->number == number ? SHADOW_FORMAT_OK :
								SHADOW_FORMAT_OTHER_VOLUME;
}

void shadow_page_seal(void *buf, const struct shadow_page_header *header)
{
	seal(buf, PAGE_MAGIC, header);
}

enum shadow_format_error shadow_page_decode(const void *buf, u64 tag, u32 number,
					    struct shadow_page_header *header)
{
	enum shadow_format_error e = open_page(buf, PAGE_MAGIC, tag, number, header);
	const u8 *homes = shadow_page_homes_const(buf);
	u64 seen = 0, eight;
	u32 i;

	/* eight at a time: 0, 2, 4 and 6 are those of no other bits */
	for (i = 0; i < SHADOW_BLOCKS_PER_PAGE; i += sizeof(eight)) {
		memcpy(&eight, homes + i, sizeof(eight));
		seen |= eight;
	}
	if (e == SHADOW_FORMAT_OK &&
	    (seen & ~((SHADOW_MIRRORED | SHADOW_TARGET) * 0x0101010101010101ull)))
		e = SHADOW_FORMAT_FIELD;
	return e;
}

u32 shadow_slot_page_word(const void *buf, u32 i)
{
	return get32((const u8 *)buf + PG_WORDS + i * 4);
}

void shadow_slot_page_set(void *buf, u32 i, u32 word)
{
	put32((u8 *)buf + PG_WORDS + i * 4, word);
}

void shadow_slot_page_seal(void *buf, const struct shadow_page_header *header)
{
	seal(buf, SLOT_PAGE_MAGIC, header);
}

enum shadow_format_error shadow_slot_page_decode(const void *buf, u64 tag, u32 number,
						 struct shadow_page_header *header)
{
	enum shadow_format_error e = open_page(buf, SLOT_PAGE_MAGIC, tag, number, header);
	u32 i;

	for (i = 0; i < SHADOW_WORDS_PER_PAGE && e == SHADOW_FORMAT_OK; i++) {
		u32 word = shadow_slot_page_word(buf, i);

		if (word != shadow_tier_disk(word))
			e = SHADOW_FORMAT_FIELD;
	}
	return e;
}
