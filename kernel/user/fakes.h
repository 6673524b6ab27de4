/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The library's own faults, planted by fakes_test.cc: each function does one thing that the kernel
 * forbids, or waits, in the kernel's words (fakes.c; C++ cannot include the kernel's headers).
 */
#ifndef USER_FAKES_H
#define USER_FAKES_H

#ifdef __cplusplus
extern "C" {
#endif

void fake_reset(void);
void fake_sleep_with_spin_lock(void *unused);
void fake_sleep_in_interrupt(void *unused);	/* run atomic */
void fake_order_ab(void *unused);
void fake_order_ba(void *unused);
void fake_lock_twice(void *unused);
void fake_lock_of_freed(void *unused);
void fake_lock_kept(void *unused);
void fake_free_twice(void *unused);
void fake_write_after_free(void *unused);
void fake_end_twice(void *unused);
void fake_waiter(void *unused);		/* until fake_flag is set and somebody wakes it */
void fake_set_and_wake(void *unused);
void fake_set_only(void *unused);
extern int fake_flag, fake_woken;
void fake_pool(void *result);		/* int[3]: what came out of a pool of two that runs dry */
void fake_work_once(void *result);	/* int: most runs of one work at a time */
void fake_ordered(void *result);	/* int: most works of an ordered queue at a time */
void fake_delay(void *result);		/* long long: ns that a delayed work of 5 s took */
void fake_rcu(void *result);		/* int: 1 if a wait for readers waited for the reader */

#ifdef __cplusplus
}
#endif
#endif /* USER_FAKES_H */
