/* SPDX-License-Identifier: Apache-2.0 */
#include "server/xen/site.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static bool is_xen(const char *root)
{
    char path[256], text[4] = "";
    int fd;

    snprintf(path, sizeof path, "%s/sys/hypervisor/type", root);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (read(fd, text, sizeof text - 1) != sizeof text - 1)
        text[0] = '\0';
    close(fd);
    return !strcmp(text, "xen");
}

static int device_missing(const char *root, const char *device, const char *option, struct vt_why *why)
{
    if (!is_xen(root))
        return vt_fail(why, VT_EUSAGE, "%s: this host is not a Xen domain: /dev/xen/%s is missing", option, device);
    return vt_fail(why, VT_EUSAGE, "%s: /dev/xen/%s is missing: modprobe xen-%s", option, device, device);
}

static int check_device(const char *root, const char *device, const char *option, struct vt_why *why)
{
    char path[256];

    snprintf(path, sizeof path, "%s/dev/xen/%s", root, device);
    if (!access(path, R_OK | W_OK))
        return VT_OK;
    if (errno == ENOENT || errno == ENOTDIR)
        return device_missing(root, device, option, why);
    return vt_fail(why, VT_EUSAGE,
                   "%s: uid %u may not use /dev/xen/%s (%s): install deploy/udev/70-vtpm-xen.rules and put the user into "
                   "the group vtpm-xen",
                   option, (unsigned)geteuid(), device, strerror(errno));
}

const char *site_lock_file(void)
{
    return "/dev/xen/evtchn";
}

int site_check(const char *root, enum site_use use, const char *option, struct vt_why *why)
{
    int err = check_device(root, "evtchn", option, why);

    return err ? err : check_device(root, use == SITE_SERVER ? "gntalloc" : "gntdev", option, why);
}
