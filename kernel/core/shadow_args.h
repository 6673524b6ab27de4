/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Table lines and messages (docs/dm-shadow.rst), taken apart without touching any device.
 *
 * Pure: strings in, a struct or a sentence out. Every pointer in a result points into argv.
 */
#ifndef SHADOW_ARGS_H
#define SHADOW_ARGS_H

#include "shadow_tier.h"

#ifdef __cplusplus
extern "C" {
#endif

struct shadow_table_leg {
	bool given;
	bool missing;		/* device given as "-" */
	const char *path;
	const char *id;		/* "" if no leg_id was given */
};

struct shadow_table {
	const char *metadata;
	u32 block_sectors;
	struct shadow_table_leg legs[SHADOW_NR_LEGS];
	bool fresh;
	bool shrink;
	u8 policy;		/* enum shadow_policy */
	u8 writeback;		/* mask of tiers that take writes alone */
};

/**
 * shadow_parse_table() - the arguments after "shadow".
 *
 * Return: 0, or -EINVAL with *@error a sentence that says what to do.
 */
int shadow_parse_table(unsigned int argc, char **argv, struct shadow_table *table,
		       const char **error);

enum shadow_message_type {
	SHADOW_MSG_COPY,
	SHADOW_MSG_REMIRROR,
	SHADOW_MSG_FILL,
	SHADOW_MSG_CLEAR,
	SHADOW_MSG_RETIRE,
	SHADOW_MSG_LIMIT_RATE,
	SHADOW_MSG_LIMIT_INFLIGHT,
	SHADOW_MSG_PAUSE,
	SHADOW_MSG_RESUME,
	SHADOW_MSG_READ,
	SHADOW_MSG_CUTOVER,
	SHADOW_MSG_ROLLBACK,
	SHADOW_MSG_COMMIT,
	SHADOW_MSG_ABORT,
	SHADOW_MSG_MAP,
	SHADOW_MSG_ACCESS,
	SHADOW_MSG_SYNC,
	SHADOW_MSG_PROMOTE,
	SHADOW_MSG_DEMOTE,
	SHADOW_MSG_WRITEBACK,
	SHADOW_MSG_CLEAR_TIERS,
	SHADOW_MSG_MODE,
	SHADOW_MSG_FORGET,
	SHADOW_MSG_LIMIT_TIER_RATE,
	SHADOW_MSG_LIMIT_TIER_INFLIGHT,
	SHADOW_MSG_TIERS,
	SHADOW_MSG_FETCH,
	SHADOW_NR_MESSAGES,
};

struct shadow_range {
	u64 first;	/* block */
	u64 count;	/* blocks, at least 1 */
};

struct shadow_message {
	u8 type;		/* enum shadow_message_type */
	u64 value;		/* LIMIT_*: KiB/s or KiB; READ: enum shadow_policy */
	u8 tier;		/* PROMOTE, MODE, FORGET, FETCH: leg; FETCH: 0 is off */
	bool flag;		/* MODE: write-back; FORGET: dirty shadows, too */
	unsigned int nr_ranges;	/* ranges are argv[first_range ...] */
	unsigned int first_range;
};

/**
 * shadow_parse_message() - name and arguments of a message.
 * @nr_blocks: ranges must lie below this
 *
 * All ranges have been checked when this returns 0; shadow_parse_range() then reads them.
 */
int shadow_parse_message(unsigned int argc, char **argv, u64 nr_blocks,
			 struct shadow_message *message, const char **error);

/** shadow_leg_name() - the role's name in tables, messages and status. */
const char *shadow_leg_name(unsigned int leg);

/** shadow_parse_range() - "<first>" or "<first>+<count>" within @nr_blocks. */
bool shadow_parse_range(const char *s, u64 nr_blocks, struct shadow_range *range);

#ifdef __cplusplus
}
#endif

#endif /* SHADOW_ARGS_H */
