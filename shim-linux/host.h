/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim asks its host for: time, random numbers, which boot this is. Any thread. */
#ifndef VTPM_SHIM_HOST_H
#define VTPM_SHIM_HOST_H

#include "server/base/err.h"

/* Of a clock that does not jump. */
uint64_t host_now_ms(void);
/* In the form that the relay's TLS takes: 0, or -1 with errno. ctx is not used. */
int host_random(void *ctx, unsigned char *out, size_t len);
/* VT_EIO: /proc is not there. */
int host_boot_id(uint8_t boot_id[16], struct vt_why *why) VT_USE_RESULT;

#endif
