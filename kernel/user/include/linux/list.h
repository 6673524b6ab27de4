/* SPDX-License-Identifier: GPL-2.0-only */
/* Doubly linked lists. What was deleted is poisoned, as in the kernel, and checked here. */
#ifndef USER_LINUX_LIST_H
#define USER_LINUX_LIST_H

#include <linux/atomic.h>

struct list_head { struct list_head *next, *prev; };
#define LIST_POISON1 ((struct list_head *)0x100)
#define LIST_HEAD_INIT(n) { &(n), &(n) }
#define LIST_HEAD(n) struct list_head n = LIST_HEAD_INIT(n)

static inline void INIT_LIST_HEAD(struct list_head *l)
{
	l->next = l;
	l->prev = l;
}

static inline void __list_add(struct list_head *n, struct list_head *a, struct list_head *b)
{
	if (a->next != b || b->prev != a)
		sim_die("a list is corrupt, or was never initialised");
	b->prev = n;
	n->next = b;
	n->prev = a;
	a->next = n;
}

static inline void list_add(struct list_head *n, struct list_head *h)
{
	__list_add(n, h, h->next);
}

static inline void list_add_tail(struct list_head *n, struct list_head *h)
{
	__list_add(n, h->prev, h);
}

static inline void __list_del_entry(struct list_head *n)
{
	if (n->next == LIST_POISON1)
		sim_die("list_del() of what is on no list");
	if (n->next->prev != n || n->prev->next != n)
		sim_die("list_del(): a list is corrupt");
	n->next->prev = n->prev;
	n->prev->next = n->next;
}

static inline void list_del(struct list_head *n)
{
	__list_del_entry(n);
	n->next = LIST_POISON1;
	n->prev = LIST_POISON1;
}

static inline void list_del_init(struct list_head *n)
{
	__list_del_entry(n);
	INIT_LIST_HEAD(n);
}

static inline void list_move(struct list_head *n, struct list_head *h)
{
	__list_del_entry(n);
	list_add(n, h);
}

static inline void list_move_tail(struct list_head *n, struct list_head *h)
{
	__list_del_entry(n);
	list_add_tail(n, h);
}

static inline bool list_empty(const struct list_head *h)
{
	return READ_ONCE(h->next) == h;
}

static inline bool list_is_singular(const struct list_head *h)
{
	return h->next != h && h->next == h->prev;
}

static inline void __list_splice(struct list_head *l, struct list_head *a, struct list_head *b)
{
	if (l->next == l)
		return;
	l->next->prev = a;
	a->next = l->next;
	l->prev->next = b;
	b->prev = l->prev;
	INIT_LIST_HEAD(l);
}

static inline void list_splice_init(struct list_head *l, struct list_head *h)
{
	__list_splice(l, h, h->next);
}

static inline void list_splice_tail_init(struct list_head *l, struct list_head *h)
{
	__list_splice(l, h->prev, h);
}

#define list_splice list_splice_init
#define list_splice_tail list_splice_tail_init
#define list_entry(p, t, m) container_of(p, t, m)
#define list_first_entry(h, t, m) list_entry((h)->next, t, m)
#define list_last_entry(h, t, m) list_entry((h)->prev, t, m)
#define list_next_entry(p, m) list_entry((p)->m.next, __typeof__(*(p)), m)
#define list_first_entry_or_null(h, t, m) ({				\
	struct list_head *_head = (h), *_first = READ_ONCE(_head->next);	\
	_first == _head ? NULL : list_entry(_first, t, m); })
#define list_entry_is_head(p, h, m) (&(p)->m == (h))
#define list_for_each_entry(p, h, m)					\
	for (p = list_entry((h)->next, __typeof__(*p), m); &p->m != (h);	\
	     p = list_entry(p->m.next, __typeof__(*p), m))
#define list_for_each_entry_reverse(p, h, m)				\
	for (p = list_entry((h)->prev, __typeof__(*p), m); &p->m != (h);	\
	     p = list_entry(p->m.prev, __typeof__(*p), m))
#define list_for_each_entry_safe(p, n, h, m)				\
	for (p = list_entry((h)->next, __typeof__(*p), m),			\
	     n = list_entry(p->m.next, __typeof__(*p), m); &p->m != (h);	\
	     p = n, n = list_entry(n->m.next, __typeof__(*n), m))

#endif /* USER_LINUX_LIST_H */
