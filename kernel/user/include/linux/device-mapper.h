/* SPDX-License-Identifier: GPL-2.0-only */
/* What a target sees of device mapper's core (kernel/user/dm.c, dm_map.c). */
#ifndef USER_LINUX_DEVICE_MAPPER_H
#define USER_LINUX_DEVICE_MAPPER_H

#include <linux/bio.h>

#define DM_NAME "device-mapper"
#define DM_NAME_LEN 128
#define DM_UUID_LEN 129
#define FMODE_READ 1u
#define FMODE_WRITE 2u
#define BLK_OPEN_WRITE FMODE_WRITE
#define DM_MAPIO_SUBMITTED 0
#define DM_MAPIO_REMAPPED 1
#define DM_MAPIO_REQUEUE 2
#define DM_MAPIO_DELAY_REQUEUE 3
#define DM_MAPIO_KILL 4
#define DM_ENDIO_DONE 0
#define DM_ENDIO_INCOMPLETE 1
#define DM_ENDIO_REQUEUE 2
#define DM_TARGET_SINGLETON 1u

typedef enum { STATUSTYPE_INFO, STATUSTYPE_TABLE, STATUSTYPE_IMA } status_type_t;
#define DM_STATUS_NOFLUSH_FLAG (1u << 0)

struct mapped_device;
struct dm_table;
struct target_type;
struct dm_dev {
	struct block_device *bdev;
	fmode_t mode;
	char name[16];
};

struct dm_target {
	struct dm_table *table;
	struct target_type *type;
	sector_t begin, len;
	u32 max_io_len;
	unsigned int num_flush_bios, num_discard_bios, num_secure_erase_bios;
	unsigned int num_write_zeroes_bios;
	unsigned int per_io_data_size;
	void *private;
	char *error;
	bool flush_supported : 1;
	bool discards_supported : 1;
	bool limit_swap_bios : 1;
	bool accounts_remapped_io : 1;
	bool needs_bio_set_dev : 1;
};

struct queue_limits {
	unsigned int logical_block_size, physical_block_size;
	unsigned int discard_granularity, discard_alignment;
	unsigned int max_discard_sectors, max_hw_discard_sectors, max_write_zeroes_sectors;
	unsigned int io_min, io_opt;
};

typedef int (*iterate_devices_callout_fn)(struct dm_target *ti, struct dm_dev *dev,
					  sector_t start, sector_t len, void *data);
struct module;
#define THIS_MODULE ((struct module *)NULL)
struct target_type {
	u64 features;
	const char *name;
	struct module *module;
	unsigned int version[3];
	int (*ctr)(struct dm_target *ti, unsigned int argc, char **argv);
	void (*dtr)(struct dm_target *ti);
	int (*map)(struct dm_target *ti, struct bio *bio);
	int (*end_io)(struct dm_target *ti, struct bio *bio, blk_status_t *error);
	void (*presuspend)(struct dm_target *ti);
	void (*presuspend_undo)(struct dm_target *ti);
	void (*postsuspend)(struct dm_target *ti);
	int (*preresume)(struct dm_target *ti);
	void (*resume)(struct dm_target *ti);
	void (*status)(struct dm_target *ti, status_type_t type, unsigned int flags, char *result,
		       unsigned int maxlen);
	int (*message)(struct dm_target *ti, unsigned int argc, char **argv, char *result,
		       unsigned int maxlen);
	int (*iterate_devices)(struct dm_target *ti, iterate_devices_callout_fn fn, void *data);
	void (*io_hints)(struct dm_target *ti, struct queue_limits *limits);
};

int dm_register_target(struct target_type *t);
void dm_unregister_target(struct target_type *t);
int dm_get_device(struct dm_target *ti, const char *path, fmode_t mode, struct dm_dev **result);
void dm_put_device(struct dm_target *ti, struct dm_dev *d);
fmode_t dm_table_get_mode(struct dm_table *t);
sector_t dm_table_get_size(struct dm_table *t);
struct mapped_device *dm_table_get_md(struct dm_table *t);
const char *dm_table_device_name(struct dm_table *t);
const char *dm_device_name(struct mapped_device *md);
int dm_copy_name_and_uuid(struct mapped_device *md, char *name, char *uuid);
bool dm_suspended(struct dm_target *ti);
bool dm_post_suspending(struct dm_target *ti);
bool dm_noflush_suspending(struct dm_target *ti);
void dm_table_event(struct dm_table *t);
int dm_set_target_max_io_len(struct dm_target *ti, sector_t len);
void dm_accept_partial_bio(struct bio *bio, unsigned int sectors);
void dm_submit_bio_remap(struct bio *clone, struct bio *tgt_clone);
unsigned int dm_bio_get_target_bio_nr(const struct bio *bio);
void *dm_per_bio_data(struct bio *bio, size_t size);
struct bio *dm_bio_from_per_bio_data(void *data, size_t size);
#define dm_target_offset(ti, s) ((s) - (ti)->begin)

#define DMEMIT(x...) \
	(sz += (sz >= (ssize_t)maxlen) ? 0 : snprintf_limited(result + sz, maxlen - (size_t)sz, x))
#define DMEMIT_TARGET_NAME_VERSION(y) \
	DMEMIT("target_name=%s,target_version=%u.%u.%u", (y)->name, (y)->version[0],	\
	       (y)->version[1], (y)->version[2])
#define DMLOG(f, ...) sim_log("shadow: " f, ##__VA_ARGS__)
#define DMERR DMLOG
#define DMERR_LIMIT DMLOG
#define DMWARN DMLOG
#define DMWARN_LIMIT DMLOG
#define DMINFO DMLOG
#define DMINFO_LIMIT DMLOG
/* What must not happen is a report. */
#define DMCRIT(f, ...) sim_fail("shadow: " f, ##__VA_ARGS__)
#define DMCRIT_LIMIT DMCRIT
#define DMDEBUG(f, ...) do { if (0) sim_log(f, ##__VA_ARGS__); } while (0)
#define DMDEBUG_LIMIT DMDEBUG

#endif /* USER_LINUX_DEVICE_MAPPER_H */
