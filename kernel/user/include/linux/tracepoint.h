/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints are nothing: their arguments are looked at by the compiler, and by nobody else. */
#ifndef USER_LINUX_TRACEPOINT_H
#define USER_LINUX_TRACEPOINT_H

#define TP_PROTO(args...) args
#define TP_ARGS(args...) args
#define TRACE_DEFINE_ENUM(x) struct sim_no_enum
#define TRACE_EVENT(name, proto, args, ...)				\
	static inline void trace_##name(proto) { }			\
	static inline bool trace_##name##_enabled(void) { return false; } \
	struct sim_no_enum

#endif /* USER_LINUX_TRACEPOINT_H */
