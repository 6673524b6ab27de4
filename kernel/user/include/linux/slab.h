/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory (kernel/user/memory.c). What is freed is poisoned and kept for a while, so that whoever
 * uses it is noticed. In a run that is short of memory every allocation that may fail does so now
 * and then, and pools run dry.
 */
#ifndef USER_LINUX_SLAB_H
#define USER_LINUX_SLAB_H

#include <linux/wait.h>

#define __GFP_ZERO 0x100u
#define __GFP_NOFAIL 0x200u
#define __GFP_NOWARN 0x400u
#define __GFP_NORETRY 0x800u
#define __GFP_RETRY_MAYFAIL 0x1000u
#define __GFP_ACCOUNT 0u
#define __GFP_HIGHMEM 0u
#define __GFP_NOMEMALLOC 0u
#define __GFP_RECLAIM 1u
#define __GFP_DIRECT_RECLAIM 1u
#define __GFP_IO 2u
#define __GFP_FS 4u
#define GFP_NOWAIT 0u
#define GFP_ATOMIC 0x10u
#define GFP_NOIO __GFP_RECLAIM
#define GFP_NOFS (__GFP_RECLAIM | __GFP_IO)
#define GFP_KERNEL (__GFP_RECLAIM | __GFP_IO | __GFP_FS)
#define gfpflags_allow_blocking(g) (!!((g) & __GFP_RECLAIM))

void *sim_kmalloc(size_t size, gfp_t gfp, const char *where);
void sim_kfree(const void *p);
#define __SIM_STR(x) #x
#define __SIM_STR2(x) __SIM_STR(x)
#define __SIM_HERE __FILE__ ":" __SIM_STR2(__LINE__)
#define kmalloc(n, g) sim_kmalloc(n, g, __SIM_HERE)
#define kzalloc(n, g) sim_kmalloc(n, (g) | __GFP_ZERO, __SIM_HERE)
#define kvmalloc kmalloc
#define kvzalloc kzalloc
#define kmalloc_array(n, s, g) sim_kmalloc(sim_array_size(n, s), g, __SIM_HERE)
#define kcalloc(n, s, g) sim_kmalloc(sim_array_size(n, s), (g) | __GFP_ZERO, __SIM_HERE)
#define kvmalloc_array kmalloc_array
#define kvcalloc kcalloc
#define vmalloc(n) sim_kmalloc(n, GFP_KERNEL, __SIM_HERE)
#define vzalloc(n) sim_kmalloc(n, GFP_KERNEL | __GFP_ZERO, __SIM_HERE)
#define __vmalloc(n, g) sim_kmalloc(n, g, __SIM_HERE)
#define kfree(p) sim_kfree(p)
#define kvfree(p) sim_kfree(p)
#define vfree(p) sim_kfree(p)
#define array_size sim_array_size
#define kfree_rcu(p, m) do { synchronize_rcu(); kfree(p); } while (0)

static inline size_t sim_array_size(size_t n, size_t size)
{
	size_t all;

	return __builtin_mul_overflow(n, size, &all) ? SIZE_MAX : all;
}

#define kmemdup(p, n, g) ({					\
	void *_dup = sim_kmalloc(n, g, __SIM_HERE);		\
	_dup ? memcpy(_dup, p, n) : NULL; })
#define kstrdup(s, g) ((char *)kmemdup(s, strlen(s) + 1, g))
char *kasprintf(gfp_t gfp, const char *format, ...) __printf(2, 3);

/* <linux/mm.h>, <linux/vmalloc.h>: pages of an area of their own, and more mappings of them */
#define fatal_signal_pending(task) false	/* <linux/sched/signal.h> */
struct page;
#define VM_MAP 4u
#define PAGE_KERNEL 0
struct page *alloc_pages(gfp_t gfp, unsigned int order);
void __free_pages(struct page *page, unsigned int order);
void *page_address(const struct page *page);
void *vmap(struct page **pages, unsigned int n, unsigned long flags, int prot);
void vunmap(const void *address);

unsigned int memalloc_noio_save(void);
void memalloc_noio_restore(unsigned int flags);
#define memalloc_nofs_save memalloc_noio_save
#define memalloc_nofs_restore memalloc_noio_restore

/* <linux/mempool.h> */
typedef struct {
	u32 magic;
	u32 reserve, kept;	/* elements in reserve: wanted, and there */
	u32 out;		/* elements that are given out */
	size_t size;
} mempool_t;
int mempool_init_kmalloc_pool(mempool_t *p, int nr, size_t size);
mempool_t *mempool_create_kmalloc_pool(int nr, size_t size);
void *mempool_alloc(mempool_t *p, gfp_t gfp);
void mempool_free(void *x, mempool_t *p);
void mempool_exit(mempool_t *p);
void mempool_destroy(mempool_t *p);

/* <linux/percpu.h>: a counter's CPU is random at each access */
#define SIM_CPUS 2
#define SIM_CPU_STRIDE 512
unsigned int sim_cpu(void);
#define raw_smp_processor_id() sim_cpu()
#define smp_processor_id() sim_cpu()
#define get_cpu() sim_cpu()
#define put_cpu() ((void)0)
#define num_online_cpus() SIM_CPUS
#define num_possible_cpus() SIM_CPUS
#define nr_cpu_ids SIM_CPUS
#define alloc_percpu(t) ((t *)sim_kmalloc(SIM_CPUS * SIM_CPU_STRIDE +	\
	0 * sizeof(char[SIM_CPU_STRIDE - sizeof(t)]), GFP_KERNEL | __GFP_ZERO, __SIM_HERE))
#define alloc_percpu_gfp(t, g) alloc_percpu(t)
#define free_percpu(p) sim_kfree(p)
#define per_cpu_ptr(p, c) ((__typeof__(p))((char *)(p) + (size_t)(c) * SIM_CPU_STRIDE))
#define this_cpu_ptr(p) per_cpu_ptr(p, sim_cpu())
#define raw_cpu_ptr this_cpu_ptr
#define get_cpu_ptr this_cpu_ptr
#define put_cpu_ptr(p) ((void)(p))
#define for_each_possible_cpu(c) for ((c) = 0; (c) < SIM_CPUS; (c)++)
#define for_each_online_cpu for_each_possible_cpu
#define __sim_this_cpu(x) \
	(*(__typeof__(&(x)))((char *)&(x) + (size_t)sim_cpu() * SIM_CPU_STRIDE))
#define this_cpu_add(x, v) do { sim_point(); __sim_this_cpu(x) += (v); } while (0)
#define this_cpu_sub(x, v) this_cpu_add(x, -(v))
#define this_cpu_inc(x) this_cpu_add(x, 1)
#define this_cpu_dec(x) this_cpu_add(x, -1)
#define this_cpu_inc_return(x) ({ sim_point(); ++__sim_this_cpu(x); })
#define this_cpu_read(x) ({ sim_point(); __sim_this_cpu(x); })

#endif /* USER_LINUX_SLAB_H */
