/* SPDX-License-Identifier: GPL-2.0-only */
/* There is nothing to define: see linux/tracepoint.h. */
