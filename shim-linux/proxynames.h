/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How people find the /dev/tpmN of an instance: a file that udev's rule reads while the kernel shows the device, and a
 * symbolic link for hosts without udev. Neither is needed by the device itself: what fails is logged. Loop thread.
 */
#ifndef VTPM_SHIM_PROXYNAMES_H
#define VTPM_SHIM_PROXYNAMES_H

#include "server/base/err.h"
#include "server/base/text.h"

struct proxynames {
    const char *dir;    /* of the files for udev; borrowed */
    char link[256];     /* "": none */
};

/*
 * link: NULL, --device-link's value; is_folder: it is a directory with a link for each uuid. VT_EUSAGE when it is too
 * long; VT_EEXISTS: something that is no link has the name.
 */
int proxynames_init(struct proxynames *names, const char *dir, const char *link, bool is_folder, const struct vt_uuid *uuid,
                    struct vt_why *why) VT_USE_RESULT;
/* Before the kernel shows the device. */
void proxynames_tell_udev(const struct proxynames *names, uint32_t number, const struct vt_uuid *uuid);
/* When it has. */
void proxynames_link(const struct proxynames *names, uint32_t number);
/* The device is gone, or going: takes away what is still about it. */
void proxynames_remove(const struct proxynames *names, uint32_t number);

#endif
