/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance as a /dev/tpmN. The kernel drops a device that does not answer it in time while it makes it, so the
 * device is made only once the TPM has answered a question of ours, and made again if the kernel has dropped it all the
 * same. From then on commands wait in the lane while the server is away. Loop thread.
 */
#ifndef VTPM_SHIM_PROXYDEVICE_H
#define VTPM_SHIM_PROXYDEVICE_H

#include "server/base/list.h"
#include "shim-linux/frontend.h"

struct proxydevice;

/* None is called within a call of ours. */
struct proxydevice_events {
    void (*shown)(void *ctx, struct proxydevice *device);
    /* It will be there no more: VT_EFENCED, or VT_EPERM from the kernel. Close it when convenient. */
    void (*failed)(void *ctx, struct proxydevice *device, int err, const char *why);
};

struct proxydevice_config {
    const struct frontend_host *host;
    int vtpmx;
    const char *dir;        /* of the files for udev */
    const char *credential; /* the file */
    bool is_one_of_many;    /* the log tells them by their uuid; the credential may come later */
    struct vt_uuid uuid;
    const struct proxydevice_events *events;
    void *ctx;
};

/* Borrows what config points to for life, the file's name during the call. VT_ENOMEM, and as lane_open. Returns owned. */
int proxydevice_new(struct proxydevice **device, const struct proxydevice_config *config, struct vt_why *why) VT_USE_RESULT;
const struct vt_uuid *proxydevice_uuid(const struct proxydevice *device);
/* N of /dev/tpmN, when it was shown. */
uint32_t proxydevice_number(const struct proxydevice *device);
/* The /dev/tpmN goes; memory is freed on the loop. */
void proxydevice_close(struct proxydevice *device);

#endif
