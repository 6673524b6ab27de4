// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices with volatile caches, as the worst of real ones behave.
 *
 * A write that has ended is seen by every later read, but lies in a cache until a flush that began
 * after its end has ended, or unless it was FUA. What a power cut leaves of the cache is chosen
 * cell by cell (of a device of bytes: sector by sector), so writes are reordered, torn and lost. A
 * flush that failed made nothing durable. A write that failed may have written some of its cells.
 *
 * A request goes through two steps, or one: a part of it, then the rest and its end.
 */
#include "internal.h"

#define DISKS 24
#define DEPTH 6			/* contents of a cell that may come back; older ones are destaged */
#define PAGE 4096u
#define PAGE_SECTORS 8
#define WRITES 64		/* pages in the cache of a device of bytes; the oldest is destaged */

struct cell {
	u32 stamp, n;
	u32 value[DEPTH];
	u64 at[DEPTH];
};

struct page_write {
	bool landed;
	u8 sectors;		/* bit per sector that counts */
	u32 page;
	u64 at;			/* when it landed */
	u8 data[PAGE];
};

struct sim_disk {
	char name[16];
	struct block_device bdev;
	struct gendisk gendisk;
	bool bytes, dead, hung, away, told;
	enum sim_takes zeroes, discards;
	u32 size;		/* cells, or sectors */
	u32 logical_block;
	u32 stamp;		/* cells with another one were never written */
	u32 (*content)(void *who, u32 cell);
	void *who;
	u64 seq, flushes;
	struct cell *cells;
	u32 *unclean, nr_unclean;	/* cells with more than one possible content */
	u8 *medium;
	struct page_write *writes[WRITES];
	u32 nr_writes;
};

static struct sim_disk *disks[DISKS];
static u32 nr_disks;
static struct sim_op ops[SIM_OPS];
static u16 order[SIM_OPS];
static u32 nr_ops;

/* --- the list ------------------------------------------------------------------------------ */

static struct sim_disk *create(const char *name, u32 size)
{
	struct sim_disk *d = calloc(1, sizeof(*d));

	if (!d || nr_disks == DISKS) {
		fprintf(stderr, "too many devices\n");
		exit(2);
	}
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->size = size;
	d->logical_block = 512;
	d->bdev.bd_dev = nr_disks + 1;
	d->bdev.disk = d;
	d->bdev.bd_disk = &d->gendisk;
	disks[nr_disks++] = d;
	return d;
}

struct sim_disk *sim_disk_create(const char *name, u32 cells, u32 (*content)(void *who, u32 cell),
				 void *who)
{
	struct sim_disk *d = create(name, cells);

	d->content = content;
	d->who = who;
	d->cells = calloc(cells, sizeof(*d->cells));
	d->unclean = calloc(cells, sizeof(*d->unclean));
	d->stamp = 1;
	if (!d->cells || !d->unclean)
		exit(2);
	return d;
}

struct sim_disk *sim_disk_create_bytes(const char *name, u32 sectors)
{
	struct sim_disk *d = create(name, sectors);

	d->bytes = true;
	d->medium = calloc(DIV_ROUND_UP(sectors, PAGE_SECTORS), PAGE);
	if (!d->medium)
		exit(2);
	return d;
}

void sim_disk_clear(struct sim_disk *d)
{
	u32 i;

	d->nr_unclean = 0;
	d->stamp++;
	if (d->bytes)
		memset(d->medium, 0, DIV_ROUND_UP(d->size, PAGE_SECTORS) * (size_t)PAGE);
	for (i = 0; i < d->nr_writes; i++)
		free(d->writes[i]);
	d->nr_writes = 0;
}

static void free_ops(void)
{
	u32 i;

	for (i = 0; i < SIM_OPS; i++) {
		order[i] = (u16)i;
		if (ops[i].used)
			free(ops[i].writes);
		ops[i].used = false;
	}
	nr_ops = 0;
}

void sim_disks_reset(void)
{
	u32 i;

	free_ops();
	for (i = 0; i < nr_disks; i++) {
		sim_disk_clear(disks[i]);
		free(disks[i]->cells);
		free(disks[i]->unclean);
		free(disks[i]->medium);
		free(disks[i]);
	}
	nr_disks = 0;
}

struct block_device *sim_disk_bdev(const char *name)
{
	u32 i;

	for (i = 0; i < nr_disks; i++)
		if (!strcmp(disks[i]->name, name))
			return &disks[i]->bdev;
	return NULL;
}

void sim_disk_set_dead(struct sim_disk *d, bool dead)
{
	d->dead = dead;
	d->away = false;
}

bool sim_disk_dead(const struct sim_disk *d)
{
	return d->dead;
}

bool sim_disk_told(const struct sim_disk *d)
{
	return d->told;
}

void sim_disk_set_hung(struct sim_disk *d, bool hung)
{
	d->hung = hung;
}

void sim_disk_set_logical_block(struct sim_disk *d, u32 bytes)
{
	d->logical_block = bytes;
}

void sim_disk_set_zeroes(struct sim_disk *d, enum sim_takes takes)
{
	d->zeroes = takes;
}

void sim_disk_set_discards(struct sim_disk *d, enum sim_takes takes)
{
	d->discards = takes;
}

bool sim_disk_is_bytes(const struct sim_disk *d)
{
	return d->bytes;
}

const char *sim_disk_name(const struct sim_disk *d)
{
	return d->name;
}

u32 sim_disk_size(const struct sim_disk *d)
{
	return d->size;
}

u64 sim_disk_flushes(const struct sim_disk *d)
{
	return d->flushes;
}

sector_t bdev_nr_sectors(struct block_device *b)
{
	return b->disk->bytes ? b->disk->size : (sector_t)b->disk->size * SIM_CELL_SECTORS;
}

unsigned int bdev_logical_block_size(struct block_device *b)
{
	return b->disk->logical_block;
}

unsigned int bdev_max_discard_sectors(struct block_device *b)
{
	return b->disk->discards == SIM_NO ? 0 : 1u << 20;
}

unsigned int bdev_write_zeroes_sectors(struct block_device *b)
{
	return b->disk->zeroes == SIM_NO ? 0 : 1u << 20;
}

/* --- legs ---------------------------------------------------------------------------------- */

static struct cell *cell_at(const struct sim_disk *d, u32 i)
{
	struct cell *c = &d->cells[i];

	if (c->stamp != d->stamp) {
		c->stamp = d->stamp;
		c->n = 1;
		c->value[0] = d->content ? d->content(d->who, i) : 0;
		c->at[0] = 0;
	}
	return c;
}

u32 sim_disk_cell(const struct sim_disk *d, u32 cell)
{
	struct cell *c = cell_at(d, cell);

	return c->value[c->n - 1];
}

/* Contents before number @first cannot come back any longer. */
static void keep_from(struct cell *c, u32 first)
{
	memmove(c->value, c->value + first, (c->n - first) * sizeof(c->value[0]));
	memmove(c->at, c->at + first, (c->n - first) * sizeof(c->at[0]));
	c->n -= first;
}

static void store(struct sim_disk *d, u32 i, u32 value)
{
	struct cell *c = cell_at(d, i);

	if (c->n == 1)
		d->unclean[d->nr_unclean++] = i;
	if (c->n == DEPTH)
		keep_from(c, 1);
	c->value[c->n] = value;
	c->at[c->n++] = ++d->seq;
}

static void cells_flushed(struct sim_disk *d, u64 upto)
{
	u32 i, kept = 0;

	for (i = 0; i < d->nr_unclean; i++) {
		struct cell *c = cell_at(d, d->unclean[i]);
		u32 first = 0;

		while (first + 1 < c->n && c->at[first + 1] <= upto)
			first++;
		if (first)
			keep_from(c, first);
		if (c->n > 1)
			d->unclean[kept++] = d->unclean[i];
	}
	d->nr_unclean = kept;
}

static void settle_cells(struct sim_disk *d, u32 first, u32 n)
{
	u32 i, kept = 0;

	for (i = 0; i < d->nr_unclean; i++) {
		u32 at = d->unclean[i];

		if (at >= first && at < first + n)
			keep_from(cell_at(d, at), cell_at(d, at)->n - 1);
		else
			d->unclean[kept++] = at;
	}
	d->nr_unclean = kept;
}

static void do_cells(struct sim_op *op, u64 mask)
{
	u64 m;

	for (m = op->todo & mask; m; m &= m - 1) {
		u32 i = (u32)__builtin_ctzll(m);

		if (op->kind == SIM_READ)
			op->cells[i] = sim_disk_cell(op->d, op->first + i);
		else
			store(op->d, op->first + i, op->cells && op->kind == SIM_WRITE ?
			      op->cells[i] : 0);
	}
	op->todo &= ~mask;
}

/* --- devices of bytes ---------------------------------------------------------------------- */

static void apply(const struct page_write *w, u8 *page)
{
	u32 s;

	for (s = 0; s < PAGE_SECTORS; s++)
		if (w->sectors >> s & 1)
			memcpy(page + s * SECTOR_SIZE, w->data + s * SECTOR_SIZE, SECTOR_SIZE);
}

static void read_page(const struct sim_disk *d, u32 page, u8 *to)
{
	u32 i;

	memcpy(to, d->medium + (size_t)page * PAGE, PAGE);
	for (i = 0; i < d->nr_writes; i++)	/* in the order in which they landed */
		if (d->writes[i]->page == page && d->writes[i]->landed)
			apply(d->writes[i], to);
}

void sim_disk_read(const struct sim_disk *d, u32 sector, u32 n, void *to)
{
	u8 page[PAGE], *out = to;

	for (; n; n--, sector++, out += SECTOR_SIZE) {
		read_page(d, sector / PAGE_SECTORS, page);
		memcpy(out, page + sector % PAGE_SECTORS * SECTOR_SIZE, SECTOR_SIZE);
	}
}

static void read_bytes(struct sim_op *op)
{
	u8 page[PAGE];
	u32 i;

	for (i = 0; i < op->n; i++) {
		u32 sector = op->first + i;

		if (!i || sector % PAGE_SECTORS == 0)
			read_page(op->d, sector / PAGE_SECTORS, page);
		memcpy(op->bytes + i * SECTOR_SIZE, page + sector % PAGE_SECTORS * SECTOR_SIZE,
		       SECTOR_SIZE);
	}
}

static void forget_write(struct sim_disk *d, u32 i)
{
	free(d->writes[i]);
	memmove(d->writes + i, d->writes + i + 1, sizeof(*d->writes) * (--d->nr_writes - i));
}

static void bytes_flushed(struct sim_disk *d, u64 upto)
{
	u32 i;

	for (i = 0; i < d->nr_writes;) {
		struct page_write *w = d->writes[i];

		if (!w->landed || w->at > upto) {
			i++;
			continue;
		}
		apply(w, d->medium + (size_t)w->page * PAGE);
		forget_write(d, i);
	}
}

static u32 index_of(const struct sim_disk *d, const void *w)
{
	u32 i = 0;

	while (d->writes[i] != w)
		i++;
	return i;
}

/* The pages of a write are on their way. */
static void submit_bytes(struct sim_op *op)
{
	struct sim_disk *d = op->d;
	u32 at = op->first, end = op->first + op->n;

	op->writes = calloc(op->n / PAGE_SECTORS + 2, sizeof(*op->writes));
	while (at < end) {
		u32 page = at / PAGE_SECTORS, last = min(end, (page + 1) * PAGE_SECTORS), s;
		struct page_write *w = calloc(1, sizeof(*w));

		w->page = page;
		for (s = at; s < last; s++) {
			u32 in_page = s % PAGE_SECTORS;

			w->sectors |= 1u << in_page;
			memcpy(w->data + in_page * SECTOR_SIZE,
			       op->bytes + (s - op->first) * SECTOR_SIZE, SECTOR_SIZE);
		}
		if (d->nr_writes == WRITES) {
			u32 oldest = 0;

			while (oldest < WRITES && !d->writes[oldest]->landed)
				oldest++;
			if (oldest == WRITES)
				sim_die("too many writes to %s are under way", d->name);
			bytes_flushed(d, d->writes[oldest]->at);
		}
		d->writes[d->nr_writes++] = w;
		op->writes[op->nr_writes++] = w;
		at = last;
	}
}

/* FUA: with what landed before on the same pages; others may stay in the cache. */
static void settle_pages(struct sim_disk *d, u32 first, u32 last)
{
	u32 i;

	for (i = 0; i < d->nr_writes;) {
		struct page_write *w = d->writes[i];

		if (!w->landed || w->page < first || w->page > last) {
			i++;
			continue;
		}
		apply(w, d->medium + (size_t)w->page * PAGE);
		forget_write(d, i);
	}
}

/* They have ended; the list stays in the order in which they did. */
static void land(struct sim_op *op, bool failed)
{
	struct sim_disk *d = op->d;
	u32 i;

	for (i = 0; i < op->nr_writes; i++) {
		struct page_write *w = op->writes[i];
		u32 at = index_of(d, w);

		if (failed)
			w->sectors &= d->dead ? 0 : sim_below(2) ? 0xff : sim_below(256);
		w->landed = true;
		w->at = ++d->seq;
		memmove(d->writes + at, d->writes + at + 1,
			sizeof(*d->writes) * (d->nr_writes - at - 1));
		d->writes[d->nr_writes - 1] = w;
	}
	if (!failed && op->fua)
		settle_pages(d, op->first / PAGE_SECTORS, (op->first + op->n - 1) / PAGE_SECTORS);
}

bool sim_disk_all_durable(const struct sim_disk *d)
{
	return !d->nr_writes && !d->nr_unclean;
}

void sim_disk_flip(struct sim_disk *d, u32 bit)
{
	d->medium[bit / 8] ^= 1u << (bit % 8);
}

/* --- power cuts ---------------------------------------------------------------------------- */

static u8 torn(void)
{
	return sim_below(3) ? (u8)sim_below(256) : 0xff;
}

static void cut_bytes(struct sim_disk *d, enum sim_cut how)
{
	u32 i, kept = how == SIM_PREFIX && d->nr_writes ? sim_below(d->nr_writes) + 1 : d->nr_writes;

	for (i = 0; i < d->nr_writes; i++) {
		struct page_write *w = d->writes[i];

		if (how == SIM_KEEP_ALL) {	/* what was on its way got anywhere */
			if (!w->landed)
				w->sectors &= torn();
			w->landed = true;
			continue;
		}
		if (how != SIM_LOSE_ALL && i < kept) {
			if (how == SIM_MIX || !w->landed || i + 1 == kept)
				w->sectors &= torn();
			apply(w, d->medium + (size_t)w->page * PAGE);
		}
	}
	while (how != SIM_KEEP_ALL && d->nr_writes)
		forget_write(d, d->nr_writes - 1);
}

static void cut_cells(struct sim_disk *d, enum sim_cut how)
{
	u32 i;

	if (how == SIM_KEEP_ALL)
		return;
	for (i = 0; i < d->nr_unclean; i++) {
		struct cell *c = cell_at(d, d->unclean[i]);
		u32 kept = how == SIM_LOSE_ALL ? 0 : sim_below(c->n);

		c->value[0] = c->value[kept];
		c->at[0] = 0;
		c->n = 1;
	}
	d->nr_unclean = 0;
}

void sim_disks_power_cut(enum sim_cut how)
{
	u32 i;

	free_ops();
	for (i = 0; i < nr_disks; i++) {
		disks[i]->hung = false;
		if (disks[i]->bytes)
			cut_bytes(disks[i], how);
		else
			cut_cells(disks[i], how);
	}
}

void sim_disk_blip(struct sim_disk *d, enum sim_cut how)
{
	u32 i;

	for (i = 0; i < nr_ops; i++)
		if (ops[order[i]].d == d && ops[order[i]].started)
			ops[order[i]].doomed = true;
	cut_cells(d, how);
	d->dead = true;
	d->away = true;
	d->told = false;
}

void sim_disk_back(struct sim_disk *d)
{
	d->dead = false;
	d->away = false;
}

/* --- requests ------------------------------------------------------------------------------ */

struct sim_op *sim_new_op(struct sim_disk *d, enum sim_op_kind kind)
{
	struct sim_op *op;

	if (nr_ops == SIM_OPS)
		sim_die("more than %d device requests", SIM_OPS);
	op = &ops[order[nr_ops++]];
	memset(op, 0, sizeof(*op));
	op->used = true;
	op->d = d;
	op->kind = kind;
	op->slow = sim_new_slowness(machine.lazy);
	op->id = sim_new_id();
	return op;
}

void sim_begin_op(struct sim_op *op)
{
	if (op->first + (u64)op->n > op->d->size || op->first + op->n < op->first)
		sim_die("I/O beyond the end of %s", op->d->name);
	if (!op->d->bytes && op->n > SIM_OP_CELLS)
		sim_die("a request to %s of %u cells", op->d->name, op->n);
	op->todo = op->d->bytes ? 0 : op->n >= 64 ? ~0ull : (1ull << op->n) - 1;
	op->upto = op->d->seq;
	op->started = true;
	op->doomed = op->d->away;
	if (op->kind == SIM_META_WRITE)
		submit_bytes(op);
}

void sim_free_op(struct sim_op *op)
{
	u32 i;

	op->used = false;
	free(op->writes);
	op->writes = NULL;
	for (i = 0; i < nr_ops; i++)
		if (&ops[order[i]] == op) {
			u16 mine = order[i];

			order[i] = order[--nr_ops];
			order[nr_ops] = mine;
			return;
		}
}

struct sim_op *sim_op_at(u32 i)
{
	return i < nr_ops ? &ops[order[i]] : NULL;
}

u32 sim_nr_ops(void)
{
	return nr_ops;
}

struct sim_op *sim_op_find(u32 id)
{
	u32 i;

	for (i = 0; i < nr_ops; i++)
		if (ops[order[i]].id == id)
			return &ops[order[i]];
	return NULL;
}

bool sim_disk_stick(struct sim_disk *d, u32 first, u32 n)
{
	u32 i, start = nr_ops ? sim_below(nr_ops) : 0;

	for (i = 0; i < nr_ops; i++) {
		struct sim_op *op = &ops[order[(start + i) % nr_ops]];

		if (op->d != d || !op->started || op->over || op->slow ||
		    op->first >= first + n || first >= op->first + op->n)
			continue;
		op->slow = 64u << sim_below(6);
		return true;
	}
	return false;
}

bool sim_op_ready(const struct sim_op *op)
{
	return op->started && !op->over && !op->d->hung;
}

static bool fails(const struct sim_op *op)
{
	if (op->d->dead || op->doomed)
		return true;
	if (machine.calm || sim_plain || !sim_one_in(machine.fault) || !(machine.fault_kinds >> op->kind & 1))
		return false;
	machine.faults++;
	return true;
}

/* An operation that the device does not know. */
static bool rejects(const struct sim_op *op)
{
	return (op->kind == SIM_DISCARD && op->d->discards) || (op->is_zeroes && op->d->zeroes);
}

static void effect(struct sim_op *op)
{
	struct sim_disk *d = op->d;
	bool failed = op->status;

	switch (op->kind) {
	case SIM_READ:
	case SIM_DISCARD:
		if (!failed)
			do_cells(op, ~0ull);
		break;
	case SIM_WRITE:
		if (failed) {
			if (!d->dead && !op->doomed && !rejects(op))
				do_cells(op, sim_random());
			break;
		}
		do_cells(op, ~0ull);
		if (op->fua)
			settle_cells(d, op->first, op->n);
		break;
	case SIM_FLUSH:
		if (failed)
			break;
		d->flushes++;
		if (d->bytes)
			bytes_flushed(d, op->upto);
		else
			cells_flushed(d, op->upto);
		break;
	case SIM_META_READ:
		if (!failed)
			read_bytes(op);
		break;
	default:
		if (!failed && op->preflush)
			bytes_flushed(d, op->upto);
		land(op, failed);
		break;
	}
}

static const char *const kinds[] = { "read", "write", "flush", "discard", "read", "write" };

void sim_op_step(struct sim_op *op)
{
	machine.device_ops += !op->begun;
	if (!op->begun) {
		op->begun = true;
		if (op->todo && !op->d->dead && !op->doomed && !rejects(op))
			do_cells(op, sim_random());
		if (sim_below(2))
			return;
	}
	op->status = BLK_STS_OK;
	if (fails(op))
		op->status = op->doomed || op->d->dead ? BLK_STS_IOERR :
			     op->kind == SIM_WRITE && machine.full ? BLK_STS_NOSPC :
			     op->kind == SIM_READ && machine.medium ? BLK_STS_MEDIUM : BLK_STS_IOERR;
	if (!op->status && rejects(op)) {	/* as the SCSI layer does: from now on its limits say so */
		op->status = op->is_zeroes && op->d->zeroes == SIM_REJECTS ? BLK_STS_TARGET :
			     BLK_STS_NOTSUPP;
		if (op->is_zeroes)
			op->d->zeroes = SIM_NO;
		else
			op->d->discards = SIM_NO;
	}
	effect(op);
	if (op->status && op->d->away && (op->kind == SIM_WRITE || op->kind == SIM_FLUSH))
		op->d->told = true;
	if (machine.note)
		sim_log("  . %s: %s%s %u+%u%s", op->d->name, kinds[op->kind], op->fua ? " FUA" : "",
			op->first, op->n, op->status ? " FAILS" : "");
	op->over = true;
	if (op->end)
		op->end(op);
	else
		sim_wake(op);
}

blk_status_t sim_wait_op(struct sim_op *op)
{
	blk_status_t status;

	while (!op->over)
		sim_block_at(op, op->d->name);
	status = op->status;
	sim_free_op(op);
	return status;
}
