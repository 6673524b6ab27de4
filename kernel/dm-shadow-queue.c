// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a mover was asked for: ranges of blocks, in the order user space wants them done, and the
 * rate at which it may begin them.
 *
 * Messages append and clear, the mover's thread looks at the head and takes it off when its last
 * block has been looked at; all under v->lock. A clear may come only while that thread is parked.
 *
 * Failure: without memory, or when the queue is full, nothing of a message is taken.
 */
#include "dm-shadow.h"

#define MAX_QUEUED 16384

void shadow_queue_init(struct shadow_queue *q)
{
	INIT_LIST_HEAD(&q->list);
}

/**
 * shadow_queue_append() - append ranges, all or none.
 * @like: what each request is, but for its range
 * @ranges: have been checked by shadow_parse_message()
 */
int shadow_queue_append(struct shadow_volume *v, struct shadow_queue *q,
			const struct shadow_request *like, unsigned int nr, char **ranges,
			const char **error)
{
	struct shadow_request *one, *next;
	unsigned long flags;
	u64 blocks = 0;
	unsigned int i;
	LIST_HEAD(list);
	int r = 0;

	for (i = 0; i < nr && !r; i++) {
		struct shadow_range range;

		one = kmemdup(like, sizeof(*one), GFP_KERNEL);
		if (!one) {
			*error = "out of memory";
			r = -ENOMEM;
			break;
		}
		shadow_parse_range(ranges[i], v->nr_blocks, &range);
		one->next = range.first;
		one->end = range.first + range.count;
		blocks += range.count;
		list_add_tail(&one->list, &list);
	}
	spin_lock_irqsave(&v->lock, flags);
	if (!r && q->nr + nr > MAX_QUEUED) {
		*error = "the queue is full: wait, or clear it";
		r = -ENOSPC;
	}
	if (!r) {
		list_splice_tail_init(&list, &q->list);
		q->nr += nr;
		q->blocks += blocks;
	}
	spin_unlock_irqrestore(&v->lock, flags);
	list_for_each_entry_safe(one, next, &list, list)
		kfree(one);
	return r;
}

/* Forgets everything. The mover's thread is parked, or gone. */
void shadow_queue_clear(struct shadow_volume *v, struct shadow_queue *q)
{
	struct shadow_request *one, *next;
	unsigned long flags;
	LIST_HEAD(old);

	spin_lock_irqsave(&v->lock, flags);
	list_splice_init(&q->list, &old);
	q->nr = 0;
	q->blocks = 0;
	spin_unlock_irqrestore(&v->lock, flags);
	list_for_each_entry_safe(one, next, &old, list)
		kfree(one);
}

/* NULL: it is empty. Only the mover's thread takes requests off while it is not parked. */
struct shadow_request *shadow_queue_head(struct shadow_volume *v, struct shadow_queue *q)
{
	struct shadow_request *head;
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	head = list_first_entry_or_null(&q->list, struct shadow_request, list);
	spin_unlock_irqrestore(&v->lock, flags);
	return head;
}

/* Blocks of @head before @next have been looked at. True: there is more in the queue. */
bool shadow_queue_advance(struct shadow_volume *v, struct shadow_queue *q,
			  struct shadow_request *head, u32 next, bool finished)
{
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&v->lock, flags);
	q->blocks -= (finished ? head->end : next) - head->next;
	head->next = next;
	if (finished) {
		list_del(&head->list);
		q->nr--;
	}
	more = !list_empty(&q->list);
	spin_unlock_irqrestore(&v->lock, flags);
	if (finished)
		kfree(head);
	return more;
}

/* When the next copy may start, given that one of @sectors starts now. */
void shadow_charge_rate(ktime_t *next_start, u64 rate, sector_t sectors)
{
	ktime_t now = ktime_get();

	if (!rate)
		return;
	/* no credit for idle times beyond a few milliseconds: no bursts */
	if (ktime_before(*next_start, ktime_sub_ms(now, 4)))
		*next_start = ktime_sub_ms(now, 4);
	*next_start = ktime_add_ns(*next_start,
				   div64_u64((u64)sectors * 500 * NSEC_PER_USEC * 1000, rate));
}
