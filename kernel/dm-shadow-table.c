// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a table means for a volume: given what the metadata says, run, grow, shrink, attach a
 * target, or refuse with a sentence. Decides only; dm-shadow-volume.c carries out.
 *
 * Context: process; nothing here sleeps or keeps what it is given.
 */
#include <linux/dm-ioctl.h>

#include "dm-shadow.h"

static int no(const char **error, const char *why)
{
	*error = why;
	return -EINVAL;
}

static bool id_differs(const struct shadow_leg_record *leg, const char *id)
{
	return leg->id[0] && strcmp(leg->id, id);
}

static int decide_steady(const struct shadow_superblock *sb, const struct shadow_target *s,
			 sector_t len, struct shadow_superblock *next, const char **error)
{
	struct shadow_leg_record *origin = &next->legs[SHADOW_LEG_ORIGIN];
	struct shadow_leg_record *target = &next->legs[SHADOW_LEG_TARGET];
	bool attach = s->given[SHADOW_LEG_TARGET];

	if (!s->legs[SHADOW_LEG_ORIGIN])
		return no(error, "The origin holds everything: it cannot be missing");
	if (id_differs(origin, s->ids[SHADOW_LEG_ORIGIN]))
		return no(error, "Origin is not the leg that the metadata names: check its leg_id");
	if (len < sb->nr_sectors && !s->shrink)
		return no(error, "Table is shorter than the volume: the feature shrink allows it");
	if (attach && !s->legs[SHADOW_LEG_TARGET])
		return no(error, "There is no modification: a missing target makes no sense");
	/* the block at the shorter end would have two lengths */
	if (attach && len != sb->nr_sectors &&
	    min_t(u64, len, sb->nr_sectors) % sb->block_sectors)
		return no(error, "Length is no multiple of the blocks: move first, then resize");

	strscpy(origin->id, s->ids[SHADOW_LEG_ORIGIN], sizeof(origin->id));
	origin->sectors = bdev_nr_sectors(s->legs[SHADOW_LEG_ORIGIN]->bdev);
	next->nr_sectors = len;
	next->old_sectors = attach ? sb->nr_sectors : len;
	next->tracked_sectors = max(next->nr_sectors, next->old_sectors);
	if (attach) {
		next->phase = SHADOW_MIGRATING;
		next->epoch++;
		target->present = true;
		strscpy(target->id, s->ids[SHADOW_LEG_TARGET], sizeof(target->id));
		target->sectors = bdev_nr_sectors(s->legs[SHADOW_LEG_TARGET]->bdev);
		return SHADOW_ATTACH;
	}
	if (len == sb->nr_sectors)
		return SHADOW_RUN;
	return len > sb->nr_sectors ? SHADOW_GROW : SHADOW_SHRINK;
}

/*
 * Tiers come and go with the table, in any phase. Whether one that goes has shadows is not known
 * here: shadow_tier_configure() looks.
 */
static int decide_tiers(const struct shadow_superblock *sb, const struct shadow_target *s,
			sector_t len, struct shadow_superblock *next, const char **error)
{
	bool any = false;
	u8 leg;

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
		struct shadow_leg_record *record = &next->legs[leg];

		if (!s->given[leg]) {
			memset(record, 0, sizeof(*record));
			continue;
		}
		if (!s->legs[leg] && !sb->legs[leg].present)
			return no(error, "There is no such tier: a missing one makes no sense");
		any = true;
		if (!s->legs[leg])
			continue;
		if (sb->legs[leg].present && id_differs(record, s->ids[leg]))
			return no(error, "A tier is not the one in the metadata: check its leg_id");
		record->present = true;
		record->sectors = bdev_nr_sectors(s->legs[leg]->bdev);
		strscpy(record->id, s->ids[leg], sizeof(record->id));
		if (record->sectors < sb->block_sectors)
			return no(error, "Tier is smaller than one block");
	}
	if (!any)
		next->slot_end = 0;
	else if (!next->slot_end && len != sb->nr_sectors)
		return no(error, "Add the first tier without changing the length");
	else if (!next->slot_end)
		next->slot_end = shadow_slot_end(bdev_nr_sectors(s->meta->bdev));
	return 0;
}

/* What the superblock keeps of a table so that the volume can be put together from it alone. */
static int describe(const struct shadow_superblock *sb, const struct shadow_target *s,
		    struct shadow_superblock *next, const char **error)
{
	u32 sizes[SHADOW_NR_LEGS], bad, leg;

	for (leg = 0; leg < SHADOW_NR_LEGS; leg++)
		sizes[leg] = s->legs[leg] ? bdev_logical_block_size(s->legs[leg]->bdev) : 0;
	bad = shadow_logical_block(sb, sizes, &next->logical_block);
	if (bad == SHADOW_LEG_TARGET)
		return no(error, "Target has larger logical blocks than the volume");
	if (bad < SHADOW_NR_LEGS)
		return no(error, "A tier has larger logical blocks than the volume");
	next->policy = s->policy;
	next->writeback = s->writeback;
	return 0;
}

/**
 * shadow_decide() - what a table asks for.
 * @sb: what the metadata says; NULL: it is blank
 * @next: the superblock that would follow
 *
 * Return: an enum shadow_decision, or an error with a sentence in *@error.
 */
int shadow_decide(const struct shadow_superblock *sb, const struct shadow_target *s,
		  const char *uuid, sector_t len, struct shadow_superblock *next,
		  const char **error)
{
	u8 leg;
	int r;

	if (!sb) {
		for (leg = SHADOW_LEG_TARGET; leg < SHADOW_NR_LEGS; leg++)
			if (s->given[leg])
				return no(error, "Metadata is blank: begin with the origin alone");
		memset(next, 0, sizeof(*next));
		next->block_sectors = s->block_sectors;
		next->epoch = 1;
		next->flags = SHADOW_SB_CLEAN;
		next->nr_sectors = len;
		next->old_sectors = len;
		next->tracked_sectors = len;
		strscpy(next->uuid, uuid, sizeof(next->uuid));
		next->legs[SHADOW_LEG_ORIGIN].present = true;
		strscpy(next->legs[SHADOW_LEG_ORIGIN].id, s->ids[SHADOW_LEG_ORIGIN],
			sizeof(next->legs[0].id));
		next->legs[SHADOW_LEG_ORIGIN].sectors =
			bdev_nr_sectors(s->legs[SHADOW_LEG_ORIGIN]->bdev);
		r = describe(NULL, s, next, error);
		return r ?: SHADOW_FORMAT;
	}

	*next = *sb;
	if (strcmp(sb->uuid, uuid))
		return no(error, "Metadata belongs to another volume: it has another UUID");
	if (sb->block_sectors != s->block_sectors)
		return no(error, "Block size is not the one in the metadata");
	r = describe(sb, s, next, error) ?: decide_tiers(sb, s, len, next, error);
	if (r)
		return r;
	if (sb->phase == SHADOW_STEADY)
		return decide_steady(sb, s, len, next, error);

	if (!s->given[SHADOW_LEG_TARGET])
		return no(error, "Modification under way: give the target, or \"target -\"");
	for (leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
		if (s->legs[leg] && id_differs(&sb->legs[leg], s->ids[leg]))
			return no(error, "A leg is not the one in the metadata: check its leg_id");
	if (len != sb->nr_sectors)
		return no(error, "Length cannot change while a modification is under way");
	return SHADOW_RUN;
}

/* Do the devices have room for it? */
int shadow_check_sizes(const struct shadow_target *s, const struct shadow_superblock *next,
		       const char **error)
{
	u64 blocks = shadow_nr_blocks(next->tracked_sectors, next->block_sectors);
	const struct dm_dev *origin = s->legs[SHADOW_LEG_ORIGIN];
	const struct dm_dev *target = s->legs[SHADOW_LEG_TARGET];

	if (blocks > SHADOW_MAX_BLOCKS)
		return no(error, "Too many blocks: use a larger block size");
	if (bdev_nr_sectors(s->meta->bdev) < shadow_metadata_sectors(blocks))
		return no(error, "Metadata device is too small: see docs/on-disk-format.md");
	if (next->slot_end && (bdev_nr_sectors(s->meta->bdev) < next->slot_end ||
			       !shadow_slots_fit(next->slot_end, blocks)))
		return no(error, "Metadata device is too small for tiers (docs/on-disk-format.md)");
	if (origin && bdev_nr_sectors(origin->bdev) < min(next->nr_sectors, next->old_sectors))
		return no(error, "Origin is smaller than the volume");
	if (target && bdev_nr_sectors(target->bdev) < next->nr_sectors)
		return no(error, "Target is smaller than the table");
	return 0;
}

/* The device's UUID without its prefix. */
int shadow_volume_uuid(struct dm_target *ti, char *uuid, size_t size, const char **error)
{
	char full[DM_UUID_LEN] = "";

	if (dm_copy_name_and_uuid(dm_table_get_md(ti->table), NULL, full) ||
	    strncmp(full, "SHADOW-", 7) || !full[7] || strlen(full + 7) >= size)
		return no(error, "Device needs a UUID of the form SHADOW-<up to 63 characters>");
	strscpy(uuid, full + 7, size);
	return 0;
}
