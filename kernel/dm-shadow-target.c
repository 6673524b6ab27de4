// SPDX-License-Identifier: GPL-2.0-only
/*
 * The target type "shadow": constructor, suspend and resume hooks, status.
 *
 * docs/dm-shadow.rst is what users may rely on. The constructor opens devices and checks; what
 * a table does it does at its first resume (dm-shadow-volume.c).
 */
#include <linux/module.h>

#include "dm-shadow.h"
#include "core/shadow_version.h"

static int refuse(struct dm_target *ti, const char *why)
{
	ti->error = (char *)why;
	return -EINVAL;
}

static void put_devices(struct dm_target *ti, struct shadow_target *s)
{
	int i;

	shadow_devices_give_back(s);
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		if (s->legs[i])
			dm_put_device(ti, s->legs[i]);
	if (s->meta)
		dm_put_device(ti, s->meta);
	kfree(s);
}

static bool same(const struct dm_dev *a, const struct dm_dev *b)
{
	return a && b && a->bdev == b->bdev;
}

static const char *const cannot_open[SHADOW_NR_LEGS] = {
	"Cannot open the origin", "Cannot open the target", "Cannot open tier1",
	"Cannot open tier2",
};

static int check_devices(struct dm_target *ti, const struct shadow_target *s)
{
	int i, j;

	if (same(s->legs[SHADOW_LEG_ORIGIN], s->legs[SHADOW_LEG_TARGET]))
		return refuse(ti, "Origin and target are the same device");
	for (i = 0; i < SHADOW_NR_LEGS; i++) {
		if (same(s->legs[i], s->meta))
			return refuse(ti, "A leg and the metadata are the same device");
		for (j = 0; j < i; j++)
			if (same(s->legs[i], s->legs[j]))
				return refuse(ti, "Two legs are the same device");
		if (s->legs[i] && bdev_is_zoned(s->legs[i]->bdev))
			return refuse(ti, "Zoned devices cannot be legs");
		if (s->legs[i] && bdev_logical_block_size(s->legs[i]->bdev) >
				  SHADOW_MIN_BLOCK_SECTORS << SECTOR_SHIFT)
			return refuse(ti, "Logical blocks of a leg are larger than 64 KiB");
	}
	return 0;
}

static int open_devices(struct dm_target *ti, struct shadow_target *s,
			const struct shadow_table *table)
{
	fmode_t mode = (__force fmode_t)dm_table_get_mode(ti->table);
	int i, r;

	if (!(mode & (__force fmode_t)FMODE_WRITE))
		return refuse(ti, "Read-only tables are not supported");
	r = dm_get_device(ti, table->metadata, dm_table_get_mode(ti->table), &s->meta);
	if (r) {
		ti->error = "Cannot open the metadata device";
		return r;
	}
	for (i = 0; i < SHADOW_NR_LEGS; i++) {
		s->given[i] = table->legs[i].given;
		strscpy(s->ids[i], table->legs[i].id, sizeof(s->ids[i]));
		if (!s->given[i] || table->legs[i].missing)
			continue;
		r = dm_get_device(ti, table->legs[i].path, dm_table_get_mode(ti->table),
				  &s->legs[i]);
		if (r) {
			ti->error = (char *)cannot_open[i];
			return r;
		}
	}
	r = check_devices(ti, s);
	if (r)
		return r;
	r = shadow_devices_take(s, dm_table_get_md(ti->table));
	if (r)
		ti->error = "A device is in use by another volume";
	return r;
}

static int shadow_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct shadow_table table;
	struct shadow_target *s;
	const char *error = "Cannot be set up";
	int r;

	r = shadow_parse_table(argc, argv, &table, &error);
	if (r)
		return refuse(ti, error);
	if (ti->begin)
		return refuse(ti, "The target must start at sector 0 and be the whole device");
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	INIT_LIST_HEAD(&s->list);
	s->block_sectors = table.block_sectors;
	s->policy = table.policy;
	s->fresh = table.fresh;
	s->shrink = table.shrink;
	s->writeback = table.writeback;
	r = open_devices(ti, s, &table);
	if (r)
		goto bad;
	r = shadow_volume_prepare(s, ti, &error);
	if (r) {
		ti->error = (char *)error;
		shadow_volume_put(s);
		goto bad;
	}

	/* one for each leg, by its number */
	for (r = SHADOW_NR_LEGS; !s->given[r - 1]; r--)
		;
	ti->num_flush_bios = r;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->discards_supported = true;
	ti->per_io_data_size = sizeof(struct shadow_io);
	ti->private = s;
	return 0;
bad:
	put_devices(ti, s);
	return r;
}

static void shadow_dtr(struct dm_target *ti)
{
	struct shadow_target *s = ti->private;

	shadow_volume_put(s);
	put_devices(ti, s);
}

/* --- suspend and resume --------------------------------------------------- */

static void shadow_presuspend(struct dm_target *ti)
{
	struct shadow_target *s = ti->private;

	/* pairs with shadow_volume_attach(), here and below */
	if (!smp_load_acquire(&s->attached))
		return;
	shadow_mover_suspend(s->v);
	shadow_tier_mover_suspend(s->v);
}

static void shadow_presuspend_undo(struct dm_target *ti)
{
	struct shadow_target *s = ti->private;

	/* pairs with shadow_volume_attach() */
	if (!smp_load_acquire(&s->attached))
		return;
	shadow_mover_resume(s->v);
	shadow_tier_mover_resume(s->v);
}

static void shadow_postsuspend(struct dm_target *ti)
{
	struct shadow_target *s = ti->private;

	/* pairs with shadow_volume_attach() */
	if (smp_load_acquire(&s->attached))
		shadow_volume_quiesce(s->v);
}

static int shadow_preresume(struct dm_target *ti)
{
	return shadow_volume_attach(ti->private, ti);
}

static void shadow_resume(struct dm_target *ti)
{
	struct shadow_target *s = ti->private;
	struct shadow_volume *v = s->v;

	WRITE_ONCE(v->ti, ti);
	if (shadow_phase(v) != SHADOW_STEADY || v->words)
		shadow_sweep_soon(v, HZ);
	shadow_mover_resume(v);
	shadow_tier_mover_resume(v);
	shadow_tidy_start(v);
	queue_work(system_unbound_wq, &s->leftovers);
}

/* --- status --------------------------------------------------------------- */

static const char *mode_name(struct shadow_volume *v)
{
	static const char *const names[] = { "rw", "ro", "fail" };

	return names[READ_ONCE(v->mode)];
}

/* Bios that went to shadows of a tier. */
static void count_hits(struct shadow_volume *v, int tier, u64 *reads, u64 *writes)
{
	int cpu;

	*reads = 0;
	*writes = 0;
	for_each_possible_cpu(cpu) {
		*reads += READ_ONCE(per_cpu_ptr(v->hits, cpu)->reads[tier]);
		*writes += READ_ONCE(per_cpu_ptr(v->hits, cpu)->writes[tier]);
	}
}

/* Nothing, for a volume without tiers. Returns the characters written, like DMEMIT. */
static ssize_t status_tiers(struct shadow_volume *v, const struct shadow_superblock *sb,
			    char *result, unsigned int maxlen, ssize_t sz)
{
	struct shadow_tier_ctx tctx = shadow_get_tier_ctx(v);
	struct shadow_tier_mover *m = &v->tmover;
	u64 reads, writes, queued, inflight;
	u8 leg;

	queued = READ_ONCE(m->queue.blocks);
	smp_rmb(); /* pairs with the one in claim_some() */
	inflight = READ_ONCE(m->inflight);

	for (leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
		const struct shadow_tier *t = shadow_tier_of(v, leg);
		const char *name = shadow_leg_name(leg);

		if (!v->words || !sb->legs[leg].present)
			continue;
		DMEMIT(" %s=%s:%s:%u:%u:%d", name,
		       !(tctx.tiers & (1u << leg)) ? "missing" :
		       READ_ONCE(v->tier_failed) & (1u << leg) ? "failed" : "ok",
		       tctx.writeback & (1u << leg) ? "writeback" : "writethrough",
		       t->slots.nr, READ_ONCE(t->slots.used), atomic_read(&t->dirty));
		count_hits(v, leg - SHADOW_LEG_TIER1, &reads, &writes);
		DMEMIT(" %s_reads=%llu %s_writes=%llu", name, reads, name, writes);
	}
	if (!v->words)
		return sz;
	DMEMIT(" promoted=%lld demoted=%lld written_back=%lld tier_failures=%lld",
	       atomic64_read(&v->promoted), atomic64_read(&v->demoted),
	       atomic64_read(&v->written_back), atomic64_read(&v->tier_failures));
	leg = READ_ONCE(v->fetch_leg);
	DMEMIT(" fetch=%s fetched=%lld", leg ? shadow_leg_name(leg) : "off",
	       atomic64_read(&v->fetched));
	DMEMIT(" tier_queue=%llu tier_inflight=%llu tier_rate=%llu tier_inflight_limit=%llu",
	       queued, inflight / 2, READ_ONCE(m->rate),
	       READ_ONCE(m->inflight_limit) / 2);
	return sz;
}

/*
 * A picture at one moment. A resume may be under way: what it changes of all this it changes under
 * v->view, in one go, after its I/O.
 */
static void status_info(struct shadow_volume *v, char *result, unsigned int maxlen)
{
	union shadow_ctx_word w = { .word = READ_ONCE(v->ctx_word) };
	struct shadow_mover *m = &v->mover;
	char last_error[sizeof(v->last_error)];
	struct shadow_superblock sb;
	u64 queued, inflight;
	unsigned long flags;
	ssize_t sz = 0;
	int i;

	shadow_copy_sb(v, &sb);
	spin_lock_irqsave(&v->lock, flags);
	memcpy(last_error, v->last_error, sizeof(last_error));
	queued = m->queue.blocks;
	inflight = m->inflight;
	spin_unlock_irqrestore(&v->lock, flags);

	DMEMIT("%s %s %u %u", mode_name(v), shadow_phase_name(w.phase), v->nr_blocks,
	       1u << v->shift);
	for (i = 0; i < SHADOW_NR_HOMES; i++)
		DMEMIT(" %s=%ld", shadow_home_name(i), atomic_long_read(&v->homes[i]));
	DMEMIT(" tail=%u old_sectors=%llu", shadow_tail_data(v),
	       w.phase == SHADOW_STEADY ? 0ull : (unsigned long long)sb.old_sectors);
	DMEMIT(" queue=%llu inflight=%llu", queued, inflight / 2);
	DMEMIT(" copied=%lld recopied=%lld filled=%lld", atomic64_read(&v->copied),
	       atomic64_read(&v->recopied), atomic64_read(&v->filled));
	DMEMIT(" copy_errors=%lld last_error=%s", atomic64_read(&v->copy_errors),
	       last_error[0] ? last_error : "-");
	DMEMIT(" mirrored_writes=%lu failovers=%lld stale=%lld",
	       shadow_epoch_mirrored(&v->epoch), atomic64_read(&v->failovers),
	       atomic64_read(&v->stale));
	DMEMIT(" dirty_regions=%u", bitmap_weight(v->intent, v->nr_regions));
	DMEMIT(" rate=%llu inflight_limit=%llu paused=%d", READ_ONCE(m->rate),
	       READ_ONCE(m->inflight_limit) / 2, READ_ONCE(m->paused));
	DMEMIT(" read=%s commits=%lld generation=%llu needs_check=%d mem=%zu",
	       shadow_policy_name(w.policy), atomic64_read(&v->commits),
	       (unsigned long long)sb.generation, !!(sb.flags & SHADOW_SB_NEEDS_CHECK), v->mem);
	status_tiers(v, &sb, result, maxlen, sz);
}

static const char *leg_name(struct shadow_target *s, int leg)
{
	return s->legs[leg] ? s->legs[leg]->name : "-";
}

static void status_table(struct shadow_target *s, char *result, unsigned int maxlen)
{
	unsigned int features = 0;
	ssize_t sz = 0;
	int i, legs = 0;

	for (i = 0; i < SHADOW_NR_LEGS; i++) {
		legs += s->given[i];
		features += s->ids[i][0] ? 3 : 0;
	}
	DMEMIT("%s %u %d", s->meta->name, s->block_sectors, legs);
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		if (s->given[i])
			DMEMIT(" %s %s", shadow_leg_name(i), leg_name(s, i));

	features += s->fresh + s->shrink + (s->policy ? 2 : 0) + 2 * hweight8(s->writeback);
	if (!features)
		return;
	DMEMIT(" %u", features);
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		if (s->ids[i][0])
			DMEMIT(" leg_id %s %s", shadow_leg_name(i), s->ids[i]);
	if (s->fresh)
		DMEMIT(" fresh");
	if (s->shrink)
		DMEMIT(" shrink");
	if (s->policy)
		DMEMIT(" read %s", shadow_policy_name(s->policy));
	for (i = SHADOW_LEG_TIER1; i < SHADOW_NR_LEGS; i++)
		if (s->writeback & (1u << i))
			DMEMIT(" writeback %s", shadow_leg_name(i));
}

static void shadow_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			  char *result, unsigned int maxlen)
{
	struct shadow_target *s = ti->private;
	ssize_t sz = 0;
	int i;

	switch (type) {
	case STATUSTYPE_INFO:
		down_read(&s->v->view);
		if (s->v->loaded && READ_ONCE(s->resuming))
			status_info(s->v, result, maxlen);
		else
			DMEMIT("inactive");
		up_read(&s->v->view);
		break;
	case STATUSTYPE_TABLE:
		status_table(s, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",metadata=%s,block_sectors=%u", s->meta->name, s->block_sectors);
		for (i = 0; i < SHADOW_NR_LEGS; i++)
			if (s->given[i])
				DMEMIT(",%s=%s", shadow_leg_name(i), leg_name(s, i));
		DMEMIT(";");
		break;
	}
}

/* --- the rest ------------------------------------------------------------- */

static int shadow_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct shadow_target *s = ti->private;
	int i, r = 0;

	for (i = 0; i < SHADOW_NR_LEGS && !r; i++)
		if (s->legs[i])
			/* tiers are smaller; while the volume grows the origin is, too */
			r = fn(ti, s->legs[i], 0,
			       min(ti->len, bdev_nr_sectors(s->legs[i]->bdev)), data);
	return r;
}

static void shadow_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct shadow_target *s = ti->private;
	unsigned int max = 1u << 22;	/* 2 GiB a discard: bounded work for the worker */

	/*
	 * What a file system has once seen must not grow under it: the volume's own block size,
	 * also where every leg of this table has smaller ones.
	 */
	limits->logical_block_size = max_t(unsigned int, limits->logical_block_size,
					   s->logical_block);
	limits->physical_block_size = max_t(unsigned int, limits->physical_block_size,
					    limits->logical_block_size);
	limits->io_min = max(limits->io_min, limits->physical_block_size);
	limits->discard_granularity = s->block_sectors << SECTOR_SHIFT;
	limits->discard_alignment = 0;
	/* 6.1 looks at the first, later kernels derive the first from the second */
	limits->max_discard_sectors = max;
	limits->max_hw_discard_sectors = max;
}

static struct target_type shadow_target = {
	.name = "shadow",
	.version = { 1, 1, 0 },
	.features = DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = shadow_ctr,
	.dtr = shadow_dtr,
	.map = shadow_map,
	.end_io = shadow_end_io,
	.presuspend = shadow_presuspend,
	.presuspend_undo = shadow_presuspend_undo,
	.postsuspend = shadow_postsuspend,
	.preresume = shadow_preresume,
	.resume = shadow_resume,
	.status = shadow_status,
	.message = shadow_message,
	.iterate_devices = shadow_iterate_devices,
	.io_hints = shadow_io_hints,
};

static int __init shadow_init(void)
{
	return dm_register_target(&shadow_target);
}

static void __exit shadow_exit(void)
{
	dm_unregister_target(&shadow_target);
}

module_init(shadow_init);
module_exit(shadow_exit);

MODULE_DESCRIPTION(DM_NAME " target that moves a volume while it is in use");
MODULE_AUTHOR("The dm-shadow developers");
MODULE_VERSION(SHADOW_VERSION);
MODULE_LICENSE("GPL");
