/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the zygote prepares for sandbox_confine (sandbox.h), so that confining a child is a handful of
 * calls.
 */
#ifndef VTPM_SANDBOX_CONFINE_H
#define VTPM_SANDBOX_CONFINE_H

#include "server/base/err.h"

/* Exit status of a sandbox that tried a forbidden system call. */
#define SANDBOX_EXIT_FORBIDDEN 3

/* Builds the seccomp program. Once, in the zygote; without it sandbox_confine refuses. */
int sandbox_filter_build(struct vt_why *why) VT_USE_RESULT;
/*
 * Where a forbidden system call's number + 1 is left before the process ends: memory shared with the
 * zygote.
 */
void sandbox_report_to(int32_t *refused_plus_1);
/* The name of a system call for the log; empty if the library knows none. Zygote. */
void sandbox_syscall_name(int32_t number, char *out, size_t size);

#endif
