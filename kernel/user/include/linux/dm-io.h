/* SPDX-License-Identifier: GPL-2.0-only */
/* dm-io and dm-kcopyd (kernel/user/dmio.c). */
#ifndef USER_LINUX_DM_IO_H
#define USER_LINUX_DM_IO_H

#include <linux/bio.h>

struct dm_io_region {
	struct block_device *bdev;
	sector_t sector;
	sector_t count;		/* of sectors */
};

enum dm_io_mem_type { DM_IO_PAGE_LIST, DM_IO_BIO, DM_IO_VMA, DM_IO_KMEM };
typedef void (*io_notify_fn)(unsigned long error, void *context);
struct page_list;
struct dm_io_memory {
	enum dm_io_mem_type type;
	unsigned int offset;
	union {
		struct page_list *pl;
		struct bio *bio;
		void *vma;
		void *addr;
	} ptr;
};
struct dm_io_client { mempool_t pool; };
struct dm_io_request {
	blk_opf_t bi_opf;
	struct dm_io_memory mem;
	struct { io_notify_fn fn; void *context; } notify;
	struct dm_io_client *client;
};
struct dm_io_client *dm_io_client_create(void);
void dm_io_client_destroy(struct dm_io_client *c);
/* 6.12's last argument is missing in 6.1: as there. */
int dm_io(struct dm_io_request *r, unsigned int n, struct dm_io_region *where,
	  unsigned long *errors, ...);

#define DM_KCOPYD_IGNORE_ERROR 1
#define DM_KCOPYD_WRITE_SEQ 2
#define DM_KCOPYD_MAX_REGIONS 8
struct dm_kcopyd_throttle { unsigned int throttle; };
struct dm_kcopyd_client;
typedef void (*dm_kcopyd_notify_fn)(int read_err, unsigned long write_err, void *context);
struct dm_kcopyd_client *dm_kcopyd_client_create(struct dm_kcopyd_throttle *throttle);
void dm_kcopyd_client_destroy(struct dm_kcopyd_client *c);
void dm_kcopyd_client_flush(struct dm_kcopyd_client *c);
void dm_kcopyd_copy(struct dm_kcopyd_client *c, struct dm_io_region *from, unsigned int n,
		    struct dm_io_region *to, unsigned int flags, dm_kcopyd_notify_fn fn,
		    void *context);
void dm_kcopyd_zero(struct dm_kcopyd_client *c, unsigned int n, struct dm_io_region *to,
		    unsigned int flags, dm_kcopyd_notify_fn fn, void *context);

#endif /* USER_LINUX_DM_IO_H */
