// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which volumes there are, found by their metadata devices; how a volume object begins and ends;
 * which devices their tables have.
 *
 * A table has a reference to its volume from its constructor to its destructor. The list's lock is
 * held for the list and for references only: never over I/O, an allocation, or the end of a thread
 * or a workqueue. So nobody waits for a volume that is not its own.
 *
 * Context: process, may sleep.
 */
#include <linux/vmalloc.h>

#include "dm-shadow.h"

#define NO_TAIL U32_MAX

static DEFINE_SPINLOCK(registry_lock);
static LIST_HEAD(registry);
static LIST_HEAD(tables);	/* struct shadow_target */

/* Caller: holds registry_lock. */
static struct shadow_volume *find(dev_t meta)
{
	struct shadow_volume *v;

	list_for_each_entry(v, &registry, list)
		if (v->meta_dev == meta)
			return v;
	return NULL;
}

/* @add: takes its place if there is none. */
static struct shadow_volume *get_or_add(dev_t meta, struct mapped_device *md,
					struct shadow_volume *add, const char **error)
{
	struct shadow_volume *v;

	spin_lock(&registry_lock);
	v = find(meta);
	if (!v && add) {
		list_add(&add->list, &registry);
		v = add;
	}
	if (v && v->md != md)
		v = ERR_PTR(-EBUSY);
	else if (v)
		v->refs++;
	spin_unlock(&registry_lock);
	if (IS_ERR(v))
		*error = "Metadata device is in use by another volume";
	return v;
}

/** shadow_registry_get() - a reference to the volume of a metadata device; NULL: there is none. */
struct shadow_volume *shadow_registry_get(dev_t meta, struct mapped_device *md,
					  const char **error)
{
	return get_or_add(meta, md, NULL, error);
}

static void volume_free(struct shadow_volume *v);

/**
 * shadow_registry_add() - a new volume, or the one that has come meanwhile.
 * @v: is freed if it is not taken
 */
struct shadow_volume *shadow_registry_add(struct shadow_volume *v, const char **error)
{
	struct shadow_volume *taken = get_or_add(v->meta_dev, v->md, v, error);

	if (taken != v)
		volume_free(v);
	return taken;
}

/**
 * shadow_registry_put() - a table goes; with the last one the volume does.
 *
 * Its metadata was written when the table went whose devices it had: who makes another volume of
 * the same device from here on finds all of it.
 */
void shadow_registry_put(struct shadow_volume *v)
{
	bool last;

	spin_lock(&registry_lock);
	last = !--v->refs;
	if (last)
		list_del(&v->list);
	spin_unlock(&registry_lock);
	if (last)
		volume_free(v);
}

/* --- whose a device is ------------------------------------------------------ */

static bool has_leg(const struct shadow_target *s, const struct dm_dev *d)
{
	int i;

	for (i = 0; d && i < SHADOW_NR_LEGS; i++)
		if (s->legs[i] && s->legs[i]->bdev == d->bdev)
			return true;
	return false;
}

/* Two volumes with one metadata device are found by the registry. */
static bool overlap(const struct shadow_target *a, const struct shadow_target *b)
{
	int i;

	if (has_leg(a, b->meta) || has_leg(b, a->meta))
		return true;
	for (i = 0; i < SHADOW_NR_LEGS; i++)
		if (has_leg(a, b->legs[i]))
			return true;
	return false;
}

/**
 * shadow_devices_take() - the table has its devices, unless another volume has one of them.
 *
 * Device mapper opens a device once for all its tables, so its exclusive claim keeps no other
 * volume away. Tables of one volume share devices: one is live, the next is loaded beside it.
 * -EBUSY: a table of another volume, live or only loaded, has one of them in any role.
 */
int shadow_devices_take(struct shadow_target *s, struct mapped_device *md)
{
	struct shadow_target *other;
	int r = 0;

	s->md = md;
	spin_lock(&registry_lock);
	list_for_each_entry(other, &tables, list)
		if (other->md != md && overlap(other, s))
			r = -EBUSY;
	if (!r)
		list_add(&s->list, &tables);
	spin_unlock(&registry_lock);
	return r;
}

/** shadow_devices_give_back() - before the table closes its devices; nothing if it took none. */
void shadow_devices_give_back(struct shadow_target *s)
{
	spin_lock(&registry_lock);
	list_del_init(&s->list);
	spin_unlock(&registry_lock);
}

/* --- a volume's parts ------------------------------------------------------- */

/*
 * Threads first, then whatever calls back, then what callbacks give back to: a copy's end frees its
 * job after the mover has seen it, and only the end of its kcopyd client says that it is over.
 */
static void volume_free(struct shadow_volume *v)
{
	int id;

	/* who has handed the last bio over may still have to say so: see shadow_defer() */
	synchronize_rcu();
	shadow_tidy_stop(v);
	cancel_delayed_work_sync(&v->sweep_work);
	cancel_delayed_work_sync(&v->commit_work);
	shadow_mover_stop_thread(v);
	shadow_tier_mover_exit(v);
	shadow_fetch_exit(v);
	if (v->wq)
		destroy_workqueue(v->wq);
	if (!IS_ERR_OR_NULL(v->kc))
		dm_kcopyd_client_destroy(v->kc);
	if (v->tier_kc)
		dm_kcopyd_client_destroy(v->tier_kc);
	shadow_mover_exit(v);
	shadow_metadata_exit(v);
	bioset_exit(&v->bs);
	bioset_exit(&v->tier_bs);
	shadow_epoch_exit(&v->epoch);
	shadow_epoch_exit(&v->tier_epoch);
	for (id = 0; id < SHADOW_NR_ARRAYS; id++)
		shadow_array_free(&v->arrays[id]);
	kfree(v->drop_words);
	kfree(v->drop_blocks);
	free_percpu(v->hits);
	kfree(v);
}

/**
 * shadow_volume_new() - an object that knows its metadata device and nothing else yet.
 *
 * For the constructor: threads, workqueues and clients are made here, never at a resume.
 */
struct shadow_volume *shadow_volume_new(dev_t meta, struct block_device *bdev,
					struct mapped_device *md)
{
	struct shadow_volume *v = kzalloc(sizeof(*v), GFP_KERNEL);
	int r;

	if (!v)
		return ERR_PTR(-ENOMEM);
	v->fixed_mem = sizeof(*v);
	v->md = md;
	v->meta_dev = meta;
	v->meta.bdev = bdev;
	v->tail = NO_TAIL;
	strscpy(v->name, dm_device_name(md), sizeof(v->name));
	mutex_init(&v->admin);
	mutex_init(&v->layout);
	mutex_init(&v->parts);
	mutex_init(&v->drop_lock);
	init_rwsem(&v->phase_lock);
	init_rwsem(&v->view);
	init_waitqueue_head(&v->tmover.wake);
	init_waitqueue_head(&v->tmover.idle);
	shadow_queue_init(&v->tmover.queue);
	v->tmover.inflight_limit = SHADOW_TIER_INFLIGHT;
	v->tmover.suspended = true;	/* until the first resume */
	INIT_LIST_HEAD(&v->list);
	INIT_WORK(&v->event_work, shadow_event_work);
	INIT_WORK(&v->tidy_work, shadow_tidy_work);
	shadow_slow_init(v);
	r = shadow_epoch_init(&v->epoch);
	if (!r)
		r = shadow_epoch_init(&v->tier_epoch);
	if (!r)
		r = bioset_init(&v->bs, BIO_POOL_SIZE, 0, 0);
	if (!r)
		r = bioset_init(&v->tier_bs, BIO_POOL_SIZE, 0, 0);
	if (!r)
		r = shadow_metadata_init(v);
	if (!r) {
		v->wq = alloc_workqueue("dm-shadow/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, v->name);
		r = v->wq ? 0 : -ENOMEM;
	}
	if (!r) {
		v->kc = dm_kcopyd_client_create(NULL);
		r = PTR_ERR_OR_ZERO(v->kc);
		v->fixed_mem += SZ_512K;	/* kcopyd's reserve of pages */
	}
	if (!r)
		r = shadow_mover_init(v);
	v->mem = v->fixed_mem;
	if (r) {
		volume_free(v);
		return ERR_PTR(r);
	}
	return v;
}

/**
 * shadow_tier_parts() - what only volumes with tiers need, but for the arrays.
 *
 * For the constructor. They stay until the volume goes. Caller: holds v->parts, and nothing that a
 * resume waits for: threads are made by a thread that may wait for any memory.
 */
int shadow_tier_parts(struct shadow_volume *v)
{
	int r;

	if (!v->drop_words)
		v->drop_words = kcalloc(SHADOW_DROP_CHUNK, sizeof(u32), GFP_KERNEL);
	if (!v->drop_blocks)
		v->drop_blocks = kcalloc(SHADOW_TIER_BATCH, sizeof(u32), GFP_KERNEL);
	if (!v->hits)
		v->hits = alloc_percpu(struct shadow_tier_hits);
	if (!v->drop_words || !v->drop_blocks || !v->hits)
		return -ENOMEM;
	if (!v->traffic) {
		r = shadow_fetch_init(v);
		if (r)
			return r;
	}
	if (!v->tier_kc) {
		struct dm_kcopyd_client *kc = dm_kcopyd_client_create(NULL);

		if (IS_ERR(kc))
			return PTR_ERR(kc);
		v->tier_kc = kc;
		v->fixed_mem += SZ_512K;	/* kcopyd's reserve of pages */
	}
	return v->tmover.thread ? 0 : shadow_tier_mover_init(v);
}
