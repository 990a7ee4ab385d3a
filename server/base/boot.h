/* SPDX-License-Identifier: Apache-2.0 */
/* Which boot of the host this is. */
#ifndef VTPM_BASE_BOOT_H
#define VTPM_BASE_BOOT_H

#include "server/base/err.h"

/* The kernel's boot id. VT_EIO: /proc is not there. Any thread. */
int vt_boot_id(uint8_t boot_id[16], struct vt_why *why) VT_USE_RESULT;

#endif
