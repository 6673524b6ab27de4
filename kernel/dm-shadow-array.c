// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arrays with an entry for each block, region, page or slot, and how they grow.
 *
 * An array is pages of its own and one mapping of them. Growing it makes more pages and a second
 * mapping that begins with the old pages: nothing is copied, what is changed through either mapping
 * is seen through the other, and the volume takes the longer one over by exchanging pointers. So a
 * constructor reserves the memory that a table needs while the volume is in use, and the resume
 * needs none, whatever the size. There is no limit but memory: vmap() knows no INT_MAX.
 *
 * What lies beyond a volume's last block says "hole" and "no shadow" and has no bit set, always: an
 * array that becomes longer needs no cleaning.
 *
 * The second mapping is of the same machine's memory at another address: 64-bit machines whose
 * caches do not care, which Kbuild names.
 *
 * Context: process, may sleep. shadow_reserve_take() neither allocates nor waits.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "dm-shadow.h"

void shadow_array_free(struct shadow_array *a)
{
	unsigned int i;

	vunmap(a->p);
	for (i = a->borrowed; i < a->nr; i++) {
		__free_pages(a->pages[i], 0);
		if (!(i % 1024))
			cond_resched();
	}
	kvfree(a->pages);
	memset(a, 0, sizeof(*a));
}

/* @to: so many bytes, the first of them those of @from; new ones are @fill. */
static int grow(struct shadow_array *to, const struct shadow_array *from, u64 bytes, u8 fill)
{
	u64 nr = DIV_ROUND_UP_ULL(bytes, PAGE_SIZE);

	if (nr > UINT_MAX)
		return -ENOMEM;
	to->pages = kvmalloc_array(nr, sizeof(*to->pages), GFP_KERNEL);
	if (!to->pages)
		return -ENOMEM;
	if (from->nr)
		memcpy(to->pages, from->pages, from->nr * sizeof(*to->pages));
	to->borrowed = from->nr;
	for (to->nr = from->nr; to->nr < nr; to->nr++) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, 0);

		if (!page)
			goto bad;
		memset(page_address(page), fill, PAGE_SIZE);
		to->pages[to->nr] = page;
		if (!(to->nr % 1024))
			cond_resched();
		if (fatal_signal_pending(current))
			goto bad;
	}
	to->p = vmap(to->pages, nr, VM_MAP, PAGE_KERNEL);
	if (to->p)
		return 0;
bad:
	shadow_array_free(to);
	return -ENOMEM;
}

/* Bytes that an array needs. */
static u64 bytes_of(enum shadow_array_id id, const struct shadow_extent *e)
{
	switch (id) {
	case SHADOW_A_STATES:
		return e->blocks;
	case SHADOW_A_INTENT:
	case SHADOW_A_INTENT_DISK:
	case SHADOW_A_INTENT_RECENT:
		return shadow_bits_size(DIV_ROUND_UP(e->blocks, 1u << SHADOW_REGION_SHIFT));
	case SHADOW_A_DOUBT:
		return round_up(DIV_ROUND_UP(e->blocks, 1u << SHADOW_REGION_SHIFT),
				sizeof(long));
	case SHADOW_A_DIRTY:
	case SHADOW_A_NEWEST:
		return shadow_bits_size(shadow_nr_pages(e->blocks));
	case SHADOW_A_WORDS:
		return e->tiers ? e->blocks * 4ull : 0;
	case SHADOW_A_SLOT_DIRTY:
	case SHADOW_A_SLOT_NEWEST:
		return e->tiers ? shadow_bits_size(shadow_nr_slot_pages(e->blocks)) : 0;
	case SHADOW_A_TIER1:
	case SHADOW_A_TIER2:
		return shadow_slots_bytes(e->slots[id - SHADOW_A_TIER1]);
	case SHADOW_A_TIER1_FULL:
	case SHADOW_A_TIER2_FULL:
		return shadow_slots_full_bytes(e->slots[id - SHADOW_A_TIER1_FULL]);
	default:
		return 0;
	}
}

/**
 * shadow_reserve() - the memory that a table's resume will need beyond what the volume has.
 * @e: how large the volume will be
 *
 * Caller: holds v->layout. The volume may be in use.
 */
int shadow_reserve(struct shadow_volume *v, struct shadow_reserve *r,
		   const struct shadow_extent *e)
{
	int id, err;

	r->seq = v->array_seq;
	for (id = 0; id < SHADOW_NR_ARRAYS; id++) {
		const struct shadow_array *a = &v->arrays[id];
		u64 bytes = bytes_of(id, e);

		if (bytes <= (u64)a->nr * PAGE_SIZE)
			continue;
		err = grow(&r->arrays[id], a, bytes, id == SHADOW_A_STATES ? SHADOW_HOLE : 0);
		if (err)
			return err;
	}
	return 0;
}

void shadow_reserve_free(struct shadow_reserve *r)
{
	int id;

	for (id = 0; id < SHADOW_NR_ARRAYS; id++)
		shadow_array_free(&r->arrays[id]);
	for (id = 0; id < ARRAY_SIZE(r->trash); id++)
		shadow_array_free(&r->trash[id]);
}

/** shadow_reserve_fits() - is there room in @v, or in what was reserved for it as it is now? */
bool shadow_reserve_fits(struct shadow_volume *v, const struct shadow_reserve *r,
			 const struct shadow_extent *e)
{
	int id;

	for (id = 0; id < SHADOW_NR_ARRAYS; id++) {
		const struct shadow_array *a = &v->arrays[id], *more = &r->arrays[id];
		u64 bytes = bytes_of(id, e);

		/* what grew from an array that is not the volume's any longer is of no use */
		if (bytes > (u64)a->nr * PAGE_SIZE &&
		    (r->seq != v->array_seq || bytes > (u64)more->nr * PAGE_SIZE))
			return false;
	}
	return true;
}

/* The volume's own names for its arrays. */
static void point_at_arrays(struct shadow_volume *v)
{
	v->map = v->arrays[SHADOW_A_STATES].p;
	v->intent = v->arrays[SHADOW_A_INTENT].p;
	v->intent_disk = v->arrays[SHADOW_A_INTENT_DISK].p;
	v->intent_recent = v->arrays[SHADOW_A_INTENT_RECENT].p;
	v->doubt = v->arrays[SHADOW_A_DOUBT].p;
	v->meta.dirty = v->arrays[SHADOW_A_DIRTY].p;
	v->meta.newest = v->arrays[SHADOW_A_NEWEST].p;
	v->words = v->arrays[SHADOW_A_WORDS].p;
	v->meta.slot_dirty = v->arrays[SHADOW_A_SLOT_DIRTY].p;
	v->meta.slot_newest = v->arrays[SHADOW_A_SLOT_NEWEST].p;
	v->tier[0].slots.bits = v->arrays[SHADOW_A_TIER1].p;
	v->tier[1].slots.bits = v->arrays[SHADOW_A_TIER2].p;
	v->tier[0].slots.full = v->arrays[SHADOW_A_TIER1_FULL].p;
	v->tier[1].slots.full = v->arrays[SHADOW_A_TIER2_FULL].p;
}

static void count_memory(struct shadow_volume *v)
{
	size_t pages = 0;
	int id;

	for (id = 0; id < SHADOW_NR_ARRAYS; id++)
		pages += v->arrays[id].nr;
	v->mem = v->fixed_mem + pages * PAGE_SIZE;
}

/**
 * shadow_reserve_take() - exchange what has become too short by what was reserved.
 *
 * Afterwards @r holds the mappings that are not used any longer, to be freed when the volume runs
 * again. Caller: has asked shadow_reserve_fits(); holds v->layout, and v->view for writing.
 */
void shadow_reserve_take(struct shadow_volume *v, struct shadow_reserve *r,
			 const struct shadow_extent *e)
{
	int id;

	for (id = 0; id < SHADOW_NR_ARRAYS; id++) {
		struct shadow_array *a = &v->arrays[id], *more = &r->arrays[id];

		if (bytes_of(id, e) <= (u64)a->nr * PAGE_SIZE)
			continue;
		swap(*a, *more);
		a->borrowed = 0;
		more->borrowed = more->nr;
	}
	v->array_seq++;
	point_at_arrays(v);
	count_memory(v);
}

/** shadow_arrays_drop_tiers() - the last tier went; @r gets what belonged to it. */
void shadow_arrays_drop_tiers(struct shadow_volume *v, struct shadow_reserve *r)
{
	int id;

	for (id = SHADOW_A_WORDS; id < SHADOW_NR_ARRAYS; id++) {
		/* borrows nothing: these pages are nobody else's */
		swap(v->arrays[id], r->trash[id - SHADOW_A_WORDS]);
		WARN_ON_ONCE(v->arrays[id].nr);
	}
	v->array_seq++;
	point_at_arrays(v);
	count_memory(v);
}
