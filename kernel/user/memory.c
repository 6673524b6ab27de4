// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory: an arena that a power cut empties at once.
 *
 * What is freed is filled with 0x6b and kept back for a while: who reads it finds nonsense (locks,
 * works, bios and wait queues have magic numbers that are looked at), who writes it is found when
 * the memory is used again. Addresses follow from the run alone, so runs can be replayed.
 *
 * In a run that is short of memory (machine.dry) an allocation fails once in so many times, unless it
 * may not; pools fall back to their reserve, and wait when that is used up.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define ARENA (256ul << 20)
#define POISON 0x6b
#define POISONED 4096u		/* bytes of a large piece that are poisoned */
#define LIVE 0x11fe11feu
#define FREED 0xdeadf4eeu
#define MIN_SHIFT 6
#define CLASSES 20
#define KEPT_BACK 24		/* freed pieces of a class before one is used again */

struct piece {
	u32 magic, class;
	size_t size;
	const char *where;
	struct piece *next, *prev;	/* all that live; of a class: those freed */
	char pad[16];
};

static void forget_pages(void);

static char *arena;
static size_t used;
static struct piece live = { .next = &live, .prev = &live };
static struct { struct piece *first, *last; u32 nr; } freed[CLASSES];

bool sim_is_poison(u32 magic)
{
	return magic == 0x6b6b6b6bu;
}

static u32 class_of(size_t size)
{
	u32 class = 0;

	while (((size_t)1 << (class + MIN_SHIFT)) < size)
		class++;
	return class;
}

static void check_poison(const struct piece *p)
{
	const u8 *data = (const u8 *)(p + 1);
	size_t i, n = min(p->size, (size_t)POISONED);

	for (i = 0; i < n; i++)
		if (data[i] != POISON) {
			sim_fail("memory from %s was written after it was freed (at byte %zu)",
				 p->where, i);
			return;
		}
}

static struct piece *new_piece(size_t size)
{
	u32 class = class_of(size);
	struct piece *p;

	if (class >= CLASSES)
		return NULL;
	if (freed[class].nr > KEPT_BACK) {
		p = freed[class].first;
		freed[class].first = p->next;
		freed[class].nr--;
		check_poison(p);
		return p;
	}
	if (!arena) {
		arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (arena == MAP_FAILED) {
			perror("no memory for the arena");
			exit(2);
		}
	}
	if (used + sizeof(*p) + ((size_t)1 << (class + MIN_SHIFT)) > ARENA)
		return NULL;
	p = (struct piece *)(arena + used);
	used += sizeof(*p) + ((size_t)1 << (class + MIN_SHIFT));
	p->class = class;
	return p;
}

/* Whether an allocation that may fail does. */
bool sim_memory_fails(gfp_t gfp)
{
	return !(gfp & __GFP_NOFAIL) && !machine.calm && !sim_plain && sim_one_in(machine.dry);
}

void *sim_kmalloc(size_t size, gfp_t gfp, const char *where)
{
	struct piece *p;

	if (gfp & __GFP_DIRECT_RECLAIM)
		sim_might_sleep("an allocation that may wait");
	sim_point();
	if (sim_cur && sim_memory_fails(gfp)) {
		sim_log("  no memory at %s", where);
		return NULL;
	}
	p = new_piece(size);
	if (!p) {
		if (size < ARENA / 4)
			sim_fail("the arena is full: somebody forgets to free (%s)", where);
		return NULL;
	}
	p->magic = LIVE;
	p->size = size;
	p->where = where;
	p->next = live.next;
	p->prev = &live;
	live.next->prev = p;
	live.next = p;
	memset(p + 1, gfp & __GFP_ZERO ? 0 : 0x5a, gfp & __GFP_ZERO ? size :
	       min(size, (size_t)POISONED));
	machine.allocated++;
	return p + 1;
}

void sim_kfree(const void *data)
{
	struct piece *p = (struct piece *)data - 1;

	if (!data)
		return;
	sim_point();
	if ((const char *)data < arena || (const char *)data >= arena + used)
		sim_die("kfree() of what was never allocated");
	if (p->magic != LIVE)
		sim_die(p->magic == FREED ? "freed twice: memory from %s" :
			"kfree() of a pointer into the middle of something (%.0s)", p->where);
	sim_work_freed(data, p->size);
	p->magic = FREED;
	p->next->prev = p->prev;
	p->prev->next = p->next;
	memset(p + 1, POISON, min(p->size, (size_t)POISONED));
	p->next = NULL;
	if (freed[p->class].nr++)
		freed[p->class].last->next = p;
	else
		freed[p->class].first = p;
	freed[p->class].last = p;
	machine.allocated--;
}

const char *sim_leak(void)
{
	return live.next == &live ? NULL : live.prev->where;
}

void sim_memory_reset(void)
{
	memset(freed, 0, sizeof(freed));
	live.next = &live;
	live.prev = &live;
	used = 0;
	machine.allocated = 0;
	forget_pages();
}

/* --- pages and their mappings --------------------------------------------------------------- */

/*
 * Pages are those of a file in memory, so that two mappings of one page are the same memory. A
 * mapping of neighbours is the file's own; others get addresses beyond it, for good: the machine is
 * small, and a power cut begins anew.
 */
#define PAGES 4096u		/* of the file */
#define MAPPED 65536u		/* pages of other mappings */

struct page { u32 live; };

static struct page all_pages[PAGES];
static u32 next_page, next_mapped;
static char *page_area;
static int page_file = -1;

static void open_pages(void)
{
	page_file = memfd_create("pages", 0);
	if (page_file < 0 || ftruncate(page_file, (off_t)PAGES * PAGE_SIZE))
		goto bad;
	page_area = mmap(NULL, (size_t)(PAGES + MAPPED) * PAGE_SIZE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (page_area == MAP_FAILED ||
	    mmap(page_area, (size_t)PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, page_file, 0) == MAP_FAILED)
		goto bad;
	return;
bad:
	perror("no memory for pages");
	exit(2);
}

struct page *alloc_pages(gfp_t gfp, unsigned int order)
{
	u32 i;

	if (gfp & __GFP_DIRECT_RECLAIM)
		sim_might_sleep("alloc_pages");
	sim_point();
	if (sim_cur && sim_memory_fails(gfp))
		return NULL;
	if (page_file < 0)
		open_pages();
	for (i = 0; i < PAGES; i++) {
		struct page *page = &all_pages[(next_page + i) % PAGES];

		if (page->live)
			continue;
		next_page = (u32)(page - all_pages) + 1;
		page->live = 1;
		machine.allocated++;
		memset(page_address(page), gfp & __GFP_ZERO ? 0 : 0x5a, PAGE_SIZE);
		return page;
	}
	sim_fail("no pages are left: somebody forgets to free");
	return NULL;
}

void *page_address(const struct page *page)
{
	return page_area + (size_t)(page - all_pages) * PAGE_SIZE;
}

void __free_pages(struct page *page, unsigned int order)
{
	sim_point();
	if (!page->live)
		sim_die("a page is freed twice");
	memset(page_address(page), POISON, PAGE_SIZE);
	page->live = 0;
	machine.allocated--;
}

void *vmap(struct page **pages, unsigned int n, unsigned long flags, int prot)
{
	bool neighbours = true;
	char *at;
	u32 i;

	sim_might_sleep("vmap");
	for (i = 1; i < n; i++)
		neighbours &= pages[i] == pages[0] + i;
	if (neighbours)
		return page_address(pages[0]);
	if (next_mapped + n > MAPPED)
		next_mapped = 0;	/* the oldest are long gone */
	at = page_area + (size_t)(PAGES + next_mapped) * PAGE_SIZE;
	next_mapped += n;
	for (i = 0; i < n; i++)
		if (mmap(at + (size_t)i * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, page_file,
			 (off_t)(pages[i] - all_pages) * PAGE_SIZE) == MAP_FAILED)
			return NULL;
	return at;
}

void vunmap(const void *address)
{
	sim_might_sleep("vunmap");
}

static void forget_pages(void)
{
	memset(all_pages, 0, sizeof(all_pages));
	next_page = 0;
	next_mapped = 0;
}

char *kasprintf(gfp_t gfp, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return kstrdup(text, gfp);
}

unsigned int memalloc_noio_save(void)
{
	unsigned int old = sim_cur ? sim_cur->noio : 0;

	if (sim_cur)
		sim_cur->noio = 1;
	return old;
}

void memalloc_noio_restore(unsigned int flags)
{
	if (sim_cur)
		sim_cur->noio = flags;
}

/* --- pools --------------------------------------------------------------------------------- */

#define POOL 0x9001f00du

int mempool_init_kmalloc_pool(mempool_t *p, int nr, size_t size)
{
	if (sim_memory_fails(GFP_KERNEL))
		return -ENOMEM;
	p->magic = POOL;
	p->reserve = (u32)nr;
	p->kept = (u32)nr;
	p->out = 0;
	p->size = size;
	return 0;
}

mempool_t *mempool_create_kmalloc_pool(int nr, size_t size)
{
	mempool_t *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (p && mempool_init_kmalloc_pool(p, nr, size)) {
		kfree(p);
		return NULL;
	}
	return p;
}

void *mempool_alloc(mempool_t *p, gfp_t gfp)
{
	if (p->magic != POOL)
		sim_die("mempool_alloc() of a pool that %s", sim_is_poison(p->magic) ?
			"was freed" : "is not there");
	if (gfp & __GFP_DIRECT_RECLAIM)
		sim_might_sleep("mempool_alloc");
	sim_point();
	while (sim_memory_fails(gfp)) {
		if (p->kept) {
			p->kept--;
			break;
		}
		if (!(gfp & __GFP_DIRECT_RECLAIM))
			return NULL;
		/* until somebody gives one back; the kernel looks again after five seconds, too */
		sim_cur->due = machine.now + 5 * NSEC_PER_SEC;
		sim_block_at(p, "mempool_alloc");
		sim_cur->due = 0;
	}
	p->out++;
	return sim_kmalloc(p->size, __GFP_NOFAIL | (gfp & __GFP_ZERO), "a mempool");
}

void mempool_free(void *x, mempool_t *p)
{
	if (!x)
		return;
	if (p->magic != POOL)
		sim_die("mempool_free() into a pool that %s", sim_is_poison(p->magic) ?
			"was freed" : "is not there");
	sim_kfree(x);
	p->out--;
	if (p->kept < p->reserve)
		p->kept++;
	sim_wake(p);
}

void mempool_exit(mempool_t *p)
{
	if (p->magic != POOL)
		return;		/* as in the kernel: all zeroes is allowed */
	if (p->out)
		sim_fail("mempool_exit() with %u elements given out", p->out);
	p->magic = 0;
}

void mempool_destroy(mempool_t *p)
{
	if (!p)
		return;
	mempool_exit(p);
	kfree(p);
}

unsigned int sim_cpu(void)
{
	return sim_below(SIM_CPUS);
}

/* --- the module's own variables ------------------------------------------------------------ */

/* Sections that module.lds gathers; weak, for hosts without the module (tests of the library). */
extern char __start_moddata[] __attribute__((weak)), __stop_moddata[] __attribute__((weak));
extern char __start_modbss[] __attribute__((weak)), __stop_modbss[] __attribute__((weak));
static char *saved;

__attribute__((no_sanitize("address"))) void sim_module_variables_save(void)
{
	size_t n = (size_t)(__stop_moddata - __start_moddata), i;

	if (saved)
		return;
	saved = malloc(n + 1);
	if (!saved)
		exit(2);
	for (i = 0; i < n; i++)
		saved[i] = ((volatile char *)__start_moddata)[i];
}

/* As at the first start: a power cut forgets them. By hand: sanitizers have red zones there. */
__attribute__((no_sanitize("address"))) void sim_module_variables_restore(void)
{
	volatile char *p;
	size_t i = 0;

	sim_module_variables_save();
	for (p = __start_moddata; p < __stop_moddata; p++)
		*p = saved[i++];
	for (p = __start_modbss; p < __stop_modbss; p++)
		*p = 0;
}
