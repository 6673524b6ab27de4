/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata format (docs/on-disk-format.md): superblocks and state pages, encode and decode.
 *
 * Pure: works on 4 KiB buffers of the caller. Decoding trusts nothing: every field is checked
 * before it is used, and a damaged buffer is an error, never a guess.
 */
#ifndef SHADOW_FORMAT_H
#define SHADOW_FORMAT_H

#include "shadow_tier.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHADOW_PAGE_SIZE 4096u
#define SHADOW_PAGE_SECTORS 8u
#define SHADOW_NR_SUPERBLOCKS 2u	/* at page 0 and 1 of the device, written in turn */
#define SHADOW_FIRST_PAGE_SECTOR 128u	/* state pages begin at 64 KiB */
#define SHADOW_BLOCKS_PER_PAGE 4032u
#define SHADOW_REGION_SHIFT 4u		/* 16 blocks share a write-intent bit */
#define SHADOW_REGIONS_PER_PAGE 252u
#define SHADOW_MAX_BLOCKS 0x7fffffffu
#define SHADOW_NAME_MAX 127u		/* characters of a device-mapper name */
#define SHADOW_MAX_SLOT_END 0x40000000000000ull	/* sectors, 2^54: more is no device */

#define SHADOW_FORMAT_VERSION 1u
#define SHADOW_WORDS_PER_PAGE 1008u	/* of a slot page: one word a block */

/* features that a module without them must not touch */
#define SHADOW_INCOMPAT_TIERS 0x1u	/* tier legs, slot pages */

/* superblock flags */
#define SHADOW_SB_CLEAN 0x1u		/* stopped in order: no region has writes in flight */
#define SHADOW_SB_NEEDS_CHECK 0x2u	/* metadata trouble was seen: run shadow_check */

struct shadow_leg_record {
	bool present;
	u64 sectors;			/* size of the device when it was attached */
	char id[SHADOW_ID_MAX + 1];	/* "" if the table gave none */
};

struct shadow_superblock {
	u64 generation;
	u32 flags;
	u32 phase;			/* enum shadow_phase */
	u32 block_sectors;
	u32 epoch;			/* grows with every modification */
	u64 nr_sectors;			/* the volume's length */
	u64 old_sectors;		/* before the running modification; else nr_sectors */
	u64 tracked_sectors;		/* states are kept up to here: max of the two */
	u64 slot_end;			/* slot pages lie below this sector; 0: there are none */
	char uuid[SHADOW_ID_MAX + 1];
	struct shadow_leg_record legs[SHADOW_NR_LEGS];
	/*
	 * What puts the volume together again without a daemon; a module that does not know these
	 * writes zeroes. Phase, lengths, UUID and legs above are the rest of the table.
	 */
	u32 logical_block;		/* bytes: the largest the volume ever had; 0: unknown */
	u8 policy;			/* enum shadow_policy */
	u8 writeback;			/* mask of tiers that take writes alone */
	char name[SHADOW_NAME_MAX + 1];	/* of the device; "": unknown */
};

struct shadow_page_header {
	u64 generation;
	u64 tag;			/* shadow_uuid_tag() of the volume */
	u32 number;
	u32 epoch;			/* modification in which it was written */
};

/* Why a buffer was refused. */
enum shadow_format_error {
	SHADOW_FORMAT_OK = 0,
	SHADOW_FORMAT_BLANK,		/* all zero */
	SHADOW_FORMAT_MAGIC,
	SHADOW_FORMAT_CHECKSUM,
	SHADOW_FORMAT_VERSION_UNKNOWN,
	SHADOW_FORMAT_FIELD,		/* a field is out of its range */
	SHADOW_FORMAT_OTHER_VOLUME,	/* page of another volume or number */
};

const char *shadow_format_strerror(enum shadow_format_error error);

/** shadow_crc32c() - given by whoever links the core (kernel: lib/crc32c). */
u32 shadow_crc32c(u32 seed, const void *data, size_t len);

/** shadow_uuid_tag() - 64 bits that tie a state page to its volume. */
u64 shadow_uuid_tag(const char *uuid);

/**
 * shadow_logical_block() - the volume's logical block size with a table's devices.
 * @sb: what the metadata says; NULL: it is blank
 * @sizes: of each leg's device, bytes; 0: it is not in the table, or missing
 * @block: the size, bytes
 *
 * A file system that has seen a size must never see a larger one, so no new leg may have larger
 * blocks than the volume ever had. A leg that is recorded as attached is never refused: its
 * shadows, or its blocks, may be the only ones.
 *
 * Return: SHADOW_NR_LEGS, or the leg whose blocks are too large.
 */
u32 shadow_logical_block(const struct shadow_superblock *sb, const u32 sizes[SHADOW_NR_LEGS],
			 u32 *block);

void shadow_sb_encode(const struct shadow_superblock *sb, void *buf);
enum shadow_format_error shadow_sb_decode(const void *buf, struct shadow_superblock *sb);

/**
 * shadow_page_seal() - write the header and the checksum of a page.
 * @buf: 4 KiB whose write-intent bits and homes are already in place
 */
void shadow_page_seal(void *buf, const struct shadow_page_header *header);

/**
 * shadow_page_decode() - check a page and read its header.
 * @buf: 4 KiB
 * @tag: expected volume
 * @number: expected page number
 */
enum shadow_format_error shadow_page_decode(const void *buf, u64 tag, u32 number,
					    struct shadow_page_header *header);

/*
 * Slot pages: word i of page n is that of block SHADOW_WORDS_PER_PAGE * n + i. The header is a
 * state page's, with another magic number and no epoch.
 */
u32 shadow_slot_page_word(const void *buf, u32 i);
void shadow_slot_page_set(void *buf, u32 i, u32 word);
void shadow_slot_page_seal(void *buf, const struct shadow_page_header *header);
enum shadow_format_error shadow_slot_page_decode(const void *buf, u64 tag, u32 number,
						 struct shadow_page_header *header);

static inline u8 *shadow_page_homes(void *buf)
{
	return (u8 *)buf + 64;
}

static inline const u8 *shadow_page_homes_const(const void *buf)
{
	return (const u8 *)buf + 64;
}

/* Write-intent bits: bit r & 7 of byte r >> 3 is region r of the page. */
static inline u8 *shadow_page_intent(void *buf)
{
	return (u8 *)buf + 32;
}

static inline const u8 *shadow_page_intent_const(const void *buf)
{
	return (const u8 *)buf + 32;
}

/** shadow_nr_blocks() - blocks of a length, the last one possibly short. */
static inline u64 shadow_nr_blocks(u64 sectors, u32 block_sectors)
{
	return sectors / block_sectors + (sectors % block_sectors ? 1 : 0);
}

static inline u32 shadow_nr_pages(u64 blocks)
{
	return (u32)((blocks + SHADOW_BLOCKS_PER_PAGE - 1) / SHADOW_BLOCKS_PER_PAGE);
}

/** shadow_page_sector() - where copy 0 or 1 of a state page lies. */
static inline u64 shadow_page_sector(u32 page, u32 copy)
{
	return SHADOW_FIRST_PAGE_SECTOR + ((u64)page * 2 + copy) * SHADOW_PAGE_SECTORS;
}

static inline u32 shadow_nr_slot_pages(u64 blocks)
{
	return (u32)((blocks + SHADOW_WORDS_PER_PAGE - 1) / SHADOW_WORDS_PER_PAGE);
}

/** shadow_slot_page_sector() - likewise of a slot page: page 0 is the last before @slot_end. */
static inline u64 shadow_slot_page_sector(u64 slot_end, u32 page, u32 copy)
{
	return slot_end - ((u64)page + 1) * 2 * SHADOW_PAGE_SECTORS + copy * SHADOW_PAGE_SECTORS;
}

/** shadow_slot_end() - where slot pages end on a metadata device that gets its first tier. */
static inline u64 shadow_slot_end(u64 device_sectors)
{
	return device_sectors - device_sectors % (2 * SHADOW_PAGE_SECTORS);
}

/** shadow_slots_fit() - do state pages, from below, and slot pages, from above, not meet? */
static inline bool shadow_slots_fit(u64 slot_end, u64 blocks)
{
	return slot_end >= shadow_page_sector(shadow_nr_pages(blocks), 0) +
			   (u64)shadow_nr_slot_pages(blocks) * 2 * SHADOW_PAGE_SECTORS;
}

/** shadow_metadata_sectors() - smallest metadata device for so many blocks. */
static inline u64 shadow_metadata_sectors(u64 blocks)
{
	return shadow_page_sector(shadow_nr_pages(blocks), 0);
}

#ifdef __cplusplus
}
#endif

#endif /* SHADOW_FORMAT_H */
