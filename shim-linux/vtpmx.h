/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's /dev/vtpmx (tpm_vtpm_proxy): the one place that knows its ioctl and where the kernel shows what came of
 * it. Tests put a double in the place of vtpmx.c. Loop thread.
 */
#ifndef VTPM_SHIM_VTPMX_H
#define VTPM_SHIM_VTPMX_H

#include "server/base/err.h"

struct vtpmx_device {
    int fd;             /* one whole command per read, one whole response per write; closing it removes the device */
    uint32_t number;    /* N of /dev/tpmN */
    uint32_t major, minor;
};

/* VT_ENOTFOUND: the module is not loaded; VT_EPERM, VT_EIO. *vtpmx: owned (close). */
int vtpmx_open(int *vtpmx, struct vt_why *why) VT_USE_RESULT;
/*
 * A new TPM 1.2. The kernel asks it for its limits and tests it before it shows it to anyone: fd must be served.
 * VT_EPERM without CAP_SYS_ADMIN; VT_EIO. device->fd: owned.
 */
int vtpmx_new(struct vtpmx_device *device, int vtpmx, struct vt_why *why) VT_USE_RESULT;
/* The kernel has accepted it: programs can open it. */
bool vtpmx_is_shown(const struct vtpmx_device *device);

#endif
