/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim asks its host for: time and random numbers. Any thread. */
#ifndef VTPM_SHIM_HOST_H
#define VTPM_SHIM_HOST_H

#include "server/base/base.h"

/* Of a clock that does not jump. */
uint64_t host_now_ms(void);
/* In the form that the relay's TLS takes: 0, or -1 with errno. ctx is not used. */
int host_random(void *ctx, unsigned char *out, size_t len);

#endif
