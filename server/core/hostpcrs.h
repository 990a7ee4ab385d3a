/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's PCRs hold now. Many may ask at once, as when a host starts its guests: one reading serves
 * all who asked before it began, so a value is never older than the question. Loop thread; the TPM is asked
 * on workers.
 */
#ifndef VTPM_CORE_HOSTPCRS_H
#define VTPM_CORE_HOSTPCRS_H

#include "hwtpm/hwtpm.h"

struct broker;

/* Which are read: those that an instance can have. */
#define HOSTPCRS_MASK 0xffffu

/* pcrs is borrowed; NULL with an error, and why says the cause. */
typedef void (*hostpcrs_done)(void *arg, int err, const struct hwtpm_pcrs *pcrs, const char *why);

/* done is called once, later; only when memory is short, before this returns. VT_ENOTFOUND: no TPM of the
 * host is used here; VT_ENOMEM. */
int hostpcrs_read(struct broker *broker, hostpcrs_done done, void *arg, struct vt_why *why) VT_USE_RESULT;

#endif
