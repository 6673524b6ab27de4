// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapped devices: tables, suspend, resume, messages, status: as drivers/md/dm.c and dm-ioctl.c.
 *
 * What targets have to reckon with, and what is therefore here: a new table is live from
 * dm_swap_table() on, which is before its preresume; status and messages may come at any moment
 * between ctr and dtr, from any task, also while the table is resumed or refused; status also of a
 * table that is only loaded; after a preresume that failed the device stays suspended with the new
 * table, and the old one is destroyed; tables of different devices are loaded at the same time.
 */
#include "internal.h"

static struct target_type *type;
static struct sim_lock hash_lock_storage;
#define hash_lock (*(struct rw_semaphore *)&hash_lock_storage)

int dm_register_target(struct target_type *t)
{
	type = t;
	return 0;
}

void dm_unregister_target(struct target_type *t)
{
	if (type != t)
		sim_fail("a target is unregistered that is not registered");
	type = NULL;
}

void sim_dm_reset(void)
{
	type = NULL;
	sim_lock_init(&hash_lock_storage, "dm's hash lock");
}

/* --- what targets ask ---------------------------------------------------------------------- */

int dm_get_device(struct dm_target *ti, const char *path, fmode_t mode, struct dm_dev **result)
{
	struct dm_table *t = ti->table;
	struct block_device *bdev = sim_disk_bdev(path);
	struct dm_dev *d;
	u32 i;

	might_sleep();
	if (!bdev || (sim_disk_dead(bdev->disk) && sim_below(2)))
		return -ENODEV;
	for (i = 0; i < t->nr_devices; i++)
		if (t->devices[i]->bdev->disk == bdev->disk) {
			t->uses[i]++;
			*result = t->devices[i];
			return 0;
		}
	d = kzalloc(sizeof(*d) + sizeof(*d->bdev), GFP_KERNEL);
	if (!d)
		return -ENOMEM;
	BUG_ON(t->nr_devices == ARRAY_SIZE(t->devices));
	d->bdev = bdev;
	d->mode = mode;
	strscpy(d->name, path, sizeof(d->name));
	t->uses[t->nr_devices] = 1;
	t->devices[t->nr_devices++] = d;
	*result = d;
	return 0;
}

void dm_put_device(struct dm_target *ti, struct dm_dev *d)
{
	struct dm_table *t = ti->table;
	u32 i;

	for (i = 0; i < t->nr_devices; i++)
		if (t->devices[i] == d) {
			if (!--t->uses[i]) {
				t->devices[i] = t->devices[--t->nr_devices];
				t->uses[i] = t->uses[t->nr_devices];
				kfree(d);
			}
			return;
		}
	sim_fail("dm_put_device() of a device that was not taken");
}

fmode_t dm_table_get_mode(struct dm_table *t)
{
	return FMODE_READ | FMODE_WRITE;
}

sector_t dm_table_get_size(struct dm_table *t)
{
	return t->ti.len;
}

struct mapped_device *dm_table_get_md(struct dm_table *t)
{
	return t->md;
}

const char *dm_table_device_name(struct dm_table *t)
{
	return t->md->name;
}

const char *dm_device_name(struct mapped_device *md)
{
	return md->name;
}

int dm_copy_name_and_uuid(struct mapped_device *md, char *name, char *uuid)
{
	int r = 0;

	/* the kernel takes _hash_lock: not from within what holds it */
	down_read(&hash_lock);
	if (md->freeing)
		r = -ENXIO;
	else if (name)
		strcpy(name, md->name);
	if (!r && uuid)
		strscpy(uuid, md->uuid, DM_UUID_LEN);
	up_read(&hash_lock);
	return r;
}

bool dm_suspended(struct dm_target *ti)
{
	return READ_ONCE(ti->table->md->suspended);
}

bool dm_post_suspending(struct dm_target *ti)
{
	return READ_ONCE(ti->table->md->post_suspending);
}

bool dm_noflush_suspending(struct dm_target *ti)
{
	return READ_ONCE(ti->table->md->noflush);
}

void dm_table_event(struct dm_table *t)
{
	might_sleep();	/* a mutex in the kernel */
	if (sim_is_poison((u32)(uintptr_t)t->md))
		sim_die("dm_table_event() of a table that is gone");
	machine.events++;
}

/* --- tables -------------------------------------------------------------------------------- */

static void table_destroy(struct dm_table *t)
{
	if (!t)
		return;
	might_sleep();
	if (t->ti.type->dtr)
		t->ti.type->dtr(&t->ti);
	if (t->nr_devices)
		sim_fail("dtr leaves a device open");
	kfree(t);
}

static int area_is_invalid(struct dm_target *ti, struct dm_dev *dev, sector_t start, sector_t len,
			   void *data)
{
	sector_t size = bdev_nr_sectors(dev->bdev);
	unsigned int lbs = bdev_logical_block_size(dev->bdev) >> SECTOR_SHIFT;

	return start >= size || start + len > size || start % lbs || len % lbs;
}

static int stack_limits(struct dm_target *ti, struct dm_dev *dev, sector_t start, sector_t len,
			void *data)
{
	struct queue_limits *l = data;

	l->logical_block_size = max(l->logical_block_size, bdev_logical_block_size(dev->bdev));
	return 0;
}

static int calculate_limits(struct dm_table *t)
{
	struct queue_limits l = { .logical_block_size = 512, .physical_block_size = 512 };

	if (!t->ti.type->iterate_devices)
		return 0;
	t->ti.type->iterate_devices(&t->ti, stack_limits, &l);
	if (t->ti.type->io_hints)
		t->ti.type->io_hints(&t->ti, &l);
	return t->ti.type->iterate_devices(&t->ti, area_is_invalid, &l) ? -EINVAL : 0;
}

/* Splits at blanks, in place. */
static u32 split_args(char *text, char **argv, u32 room)
{
	u32 n = 0;

	for (;;) {
		while (*text == ' ')
			text++;
		if (!*text || n == room)
			return n;
		argv[n++] = text;
		while (*text && *text != ' ')
			text++;
		if (*text)
			*text++ = 0;
	}
}

/* dm_get() until dm_put(). */
static void hold(struct mapped_device *md)
{
	if (md->freeing)
		sim_die("the host uses a device that is being removed");
	md->holders++;
}

static void put(struct mapped_device *md)
{
	md->holders--;
	sim_wake(&md->holders);
}

struct mapped_device *sim_dm_create(const char *name, const char *uuid)
{
	struct mapped_device *md = sim_kmalloc(sizeof(*md), __GFP_NOFAIL | __GFP_ZERO, "a device");

	strscpy(md->name, name, sizeof(md->name));
	strscpy(md->uuid, uuid, sizeof(md->uuid));
	md->bdev.bd_dev = 253u << 20;
	md->bdev.bd_disk = &md->disk;
	mutex_init(&md->suspend_lock);
	mutex_init(&md->type_lock);
	init_srcu_struct(&md->io_barrier);
	spin_lock_init(&md->deferred_lock);
	bio_list_init(&md->deferred);
	init_waitqueue_head(&md->wait);
	INIT_WORK(&md->work, sim_dm_deferred_work);
	do	/* the device's own memory is not what is short */
		md->wq = alloc_workqueue("kdmflush", WQ_MEM_RECLAIM, 0);
	while (!md->wq);
	return md;
}

int sim_dm_load(struct mapped_device *md, u64 sectors, const char *params, char *why)
{
	struct dm_table *t = sim_kmalloc(sizeof(*t), __GFP_NOFAIL | __GFP_ZERO, "a table");
	struct dm_table *old;
	char text[700], *argv[64];
	u32 argc;
	int r;

	hold(md);
	t->md = md;
	t->ti.table = t;
	t->ti.type = type;
	t->ti.len = sectors;
	t->ti.error = "Unknown error";
	strscpy(text, params, sizeof(text));
	argc = split_args(text, argv, ARRAY_SIZE(argv));
	mutex_lock(&md->type_lock);
	r = type->ctr(&t->ti, argc, argv);
	if (r) {
		mutex_unlock(&md->type_lock);
		sim_log("  table refused: %s", t->ti.error);
		if (why)
			snprintf(why, 200, "%s", t->ti.error);
		if (t->nr_devices)
			sim_fail("a ctr that fails leaves a device open");
		kfree(t);
		put(md);
		return r;
	}
	if (t->ti.per_io_data_size % 16)	/* the layout in front of a clone: see dm_map.c */
		t->ti.per_io_data_size = round_up(t->ti.per_io_data_size, 16u);
	mutex_unlock(&md->type_lock);
	down_write(&hash_lock);
	old = md->inactive;
	md->inactive = t;
	up_write(&hash_lock);
	if (old) {
		synchronize_srcu(&md->io_barrier);
		table_destroy(old);
	}
	put(md);
	return 0;
}

static struct dm_table *take_inactive(struct mapped_device *md)
{
	struct dm_table *t;

	down_write(&hash_lock);
	t = md->inactive;
	md->inactive = NULL;
	up_write(&hash_lock);
	return t;
}

void sim_dm_clear(struct mapped_device *md)
{
	struct dm_table *t;

	hold(md);
	t = take_inactive(md);
	if (t) {
		synchronize_srcu(&md->io_barrier);
		table_destroy(t);
	}
	put(md);
}

/* --- suspend and resume -------------------------------------------------------------------- */

int sim_dm_suspend(struct mapped_device *md, bool noflush)
{
	struct dm_table *map;

	hold(md);
	mutex_lock(&md->suspend_lock);
	if (md->suspended) {
		mutex_unlock(&md->suspend_lock);
		put(md);
		return -EINVAL;
	}
	map = md->map;
	WRITE_ONCE(md->noflush, noflush);
	if (map && map->ti.type->presuspend)
		map->ti.type->presuspend(&map->ti);
	WRITE_ONCE(md->block_io, true);
	if (map)
		synchronize_srcu(&md->io_barrier);
	flush_workqueue(md->wq);
	if (map)
		wait_event(md->wait, !atomic_read(&md->in_flight));
	WRITE_ONCE(md->suspended, true);
	WRITE_ONCE(md->noflush, false);
	if (map)
		synchronize_srcu(&md->io_barrier);
	WRITE_ONCE(md->post_suspending, true);
	if (map && map->ti.type->postsuspend)
		map->ti.type->postsuspend(&map->ti);
	WRITE_ONCE(md->post_suspending, false);
	mutex_unlock(&md->suspend_lock);
	put(md);
	return 0;
}

static int swap_table(struct mapped_device *md, struct dm_table *t, struct dm_table **old)
{
	int r = -EINVAL;

	mutex_lock(&md->suspend_lock);
	if (md->suspended)
		r = calculate_limits(t);
	if (!r) {
		*old = md->map;
		rcu_assign_pointer(md->map, t);
		if (*old)
			synchronize_srcu(&md->io_barrier);
	}
	mutex_unlock(&md->suspend_lock);
	return r;
}

static int resume(struct mapped_device *md)
{
	struct dm_table *map;
	int r = -EINVAL;

	mutex_lock(&md->suspend_lock);
	map = md->map;
	if (!md->suspended || md->freeing || !map)
		goto out;
	r = map->ti.type->preresume ? map->ti.type->preresume(&map->ti) : 0;
	if (r)
		goto out;
	if (map->ti.type->resume)
		map->ti.type->resume(&map->ti);
	WRITE_ONCE(md->block_io, false);
	queue_work(md->wq, &md->work);
	WRITE_ONCE(md->suspended, false);
out:
	mutex_unlock(&md->suspend_lock);
	return r;
}

int sim_dm_resume(struct mapped_device *md)
{
	struct dm_table *t, *old = NULL;
	int r = 0;

	hold(md);
	t = take_inactive(md);
	if (t) {
		if (!READ_ONCE(md->suspended))
			sim_dm_suspend(md, false);
		r = swap_table(md, t, &old);
		if (r) {
			synchronize_srcu(&md->io_barrier);
			table_destroy(t);
			put(md);
			return r;
		}
	}
	if (READ_ONCE(md->suspended))
		r = resume(md);
	table_destroy(old);
	put(md);
	return r;
}

void sim_dm_wipe(struct mapped_device *md)
{
	struct dm_table *old, *inactive;

	hold(md);
	inactive = take_inactive(md);
	if (!READ_ONCE(md->suspended))
		sim_dm_suspend(md, true);
	mutex_lock(&md->suspend_lock);
	old = md->map;
	rcu_assign_pointer(md->map, NULL);	/* from here on I/O fails: an error table */
	synchronize_srcu(&md->io_barrier);
	WRITE_ONCE(md->block_io, false);
	WRITE_ONCE(md->suspended, false);
	queue_work(md->wq, &md->work);
	mutex_unlock(&md->suspend_lock);
	flush_workqueue(md->wq);
	table_destroy(inactive);
	table_destroy(old);
	put(md);
}

int sim_dm_remove(struct mapped_device *md)
{
	struct dm_table *map, *inactive = take_inactive(md);

	WRITE_ONCE(md->freeing, true);
	synchronize_srcu(&md->io_barrier);
	table_destroy(inactive);
	mutex_lock(&md->suspend_lock);
	map = md->map;
	if (!md->suspended && map) {	/* nobody has it open, so nothing is in flight */
		int index = srcu_read_lock(&md->io_barrier);

		if (map->ti.type->presuspend)
			map->ti.type->presuspend(&map->ti);
		WRITE_ONCE(md->suspended, true);
		WRITE_ONCE(md->post_suspending, true);
		if (map->ti.type->postsuspend)
			map->ti.type->postsuspend(&map->ti);
		srcu_read_unlock(&md->io_barrier, index);
	}
	mutex_unlock(&md->suspend_lock);
	while (md->holders)
		sim_block(&md->holders);
	rcu_assign_pointer(md->map, NULL);
	synchronize_srcu(&md->io_barrier);
	table_destroy(map);
	if (atomic_read(&md->in_flight) || !bio_list_empty(&md->deferred))
		sim_fail("a device is removed with I/O under way");
	destroy_workqueue(md->wq);
	cleanup_srcu_struct(&md->io_barrier);
	sim_kfree(md);
	return 0;
}

/* --- messages, status ---------------------------------------------------------------------- */

int sim_dm_message(struct mapped_device *md, const char *text, char *answer, u32 room)
{
	char copy[700], *argv[64];
	struct dm_table *t;
	int index, r = -ENXIO;
	u32 argc;

	hold(md);
	strscpy(copy, text, sizeof(copy));
	argc = split_args(copy, argv, ARRAY_SIZE(argv));
	answer[0] = 0;
	index = srcu_read_lock(&md->io_barrier);
	t = READ_ONCE(md->map);
	if (!t)
		r = -EINVAL;
	else if (!md->freeing)
		r = t->ti.type->message(&t->ti, argc, argv, answer, room);
	srcu_read_unlock(&md->io_barrier, index);
	put(md);
	if (r == 1 && strnlen(answer, room) == room)
		sim_fail("the answer to \"%s\" has no end", text);
	return r;
}

bool sim_dm_status(struct mapped_device *md, int what, bool inactive, char *answer, u32 room)
{
	struct dm_table *t;
	int index;

	hold(md);
	answer[0] = 0;
	index = srcu_read_lock(&md->io_barrier);
	if (inactive) {
		down_read(&hash_lock);
		t = md->inactive;
		up_read(&hash_lock);
	} else {
		t = READ_ONCE(md->map);
	}
	if (t)
		t->ti.type->status(&t->ti, (status_type_t)what, 0, answer, room);
	srcu_read_unlock(&md->io_barrier, index);
	put(md);
	if (t && strnlen(answer, room) == room)
		sim_fail("a status has no end");
	return t;
}

bool sim_dm_suspended(struct mapped_device *md)
{
	return md->suspended;
}

u32 sim_dm_in_flight(struct mapped_device *md)
{
	return (u32)md->in_flight.counter;
}
