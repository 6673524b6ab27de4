/* SPDX-License-Identifier: GPL-2.0-only */
/* The module's beginning and end, which kernel/user/sim.h calls. */
#ifndef USER_LINUX_MODULE_H
#define USER_LINUX_MODULE_H

#include <linux/kernel.h>

int sim_module_init(void);
void sim_module_exit(void);
#define module_init(f) int sim_module_init(void) { return f(); }
#define module_exit(f) void sim_module_exit(void) { f(); }
#define MODULE_DESCRIPTION(x) _Static_assert(sizeof(x), "")
#define MODULE_AUTHOR(x) _Static_assert(sizeof(x), "")
#define MODULE_VERSION(x) _Static_assert(sizeof(x), "")
#define MODULE_LICENSE(x) _Static_assert(sizeof(x), "")
#define MODULE_ALIAS(x) _Static_assert(sizeof(x), "")
#define MODULE_PARM_DESC(n, x) _Static_assert(sizeof(x), "")
#define module_param(n, t, m) _Static_assert(sizeof(n), "")
#define module_param_named(a, n, t, m) _Static_assert(sizeof(n), "")
#define EXPORT_SYMBOL_GPL(x) _Static_assert(1, "")

#endif /* USER_LINUX_MODULE_H */
