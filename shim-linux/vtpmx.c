/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/vtpmx.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vtpm_proxy.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VTPMX "/dev/vtpmx"

int vtpmx_open(int *vtpmx, struct vt_why *why)
{
    *vtpmx = open(VTPMX, O_RDWR | O_CLOEXEC);
    if (*vtpmx >= 0)
        return VT_OK;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return vt_fail(why, VT_ENOTFOUND, VTPMX ": %s: modprobe tpm_vtpm_proxy", strerror(errno));
    return vt_fail(why, errno == EACCES || errno == EPERM ? VT_EPERM : VT_EIO, VTPMX ": %s", strerror(errno));
}

int vtpmx_new(struct vtpmx_device *device, int vtpmx, struct vt_why *why)
{
    struct vtpm_proxy_new_dev made = {.flags = 0};

    if (ioctl(vtpmx, VTPM_PROXY_IOC_NEW_DEV, &made))
        return errno == EPERM ? vt_fail(why, VT_EPERM, VTPMX ": making a device needs CAP_SYS_ADMIN: start vtpm-shim as "
                                        "root or by vtpm-shim-proxy.service")
                              : vt_fail(why, VT_EIO, VTPMX ": no new device: %s", strerror(errno));
    *device = (struct vtpmx_device){
        .fd = (int)made.fd, .number = made.tpm_num, .major = made.major, .minor = made.minor};
    return fcntl(device->fd, F_SETFD, FD_CLOEXEC) ? vt_fail(why, VT_EIO, VTPMX ": %s", strerror(errno)) : VT_OK;
}

bool vtpmx_is_shown(const struct vtpmx_device *device)
{
    char path[64];

    /* The kernel's own list of devices: also where /dev is another one or the node has another name. */
    snprintf(path, sizeof path, "/sys/dev/char/%u:%u", device->major, device->minor);
    return access(path, F_OK) == 0;
}
