/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of shim-linux/vtpmx.c: the kernel is the test. */
#include "fake_vtpmx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim-linux/vtpmx.h"

static uint32_t next_number;

static bool is_there(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", getenv(FAKE_VTPMX_ENV), name);
    return access(path, F_OK) == 0;
}

int vtpmx_open(int *vtpmx, struct vt_why *why)
{
    *vtpmx = dup(2);
    return is_there(FAKE_VTPMX_SOCKET) ? VT_OK : vt_fail(why, VT_ENOTFOUND, "/dev/vtpmx is missing");
}

int vtpmx_new(struct vtpmx_device *device, int vtpmx, struct vt_why *why)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (vtpmx < 0 || is_there("denied"))
        return vt_fail(why, VT_EPERM, "no device may be made");
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/" FAKE_VTPMX_SOCKET, getenv(FAKE_VTPMX_ENV));
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr))
        return vt_fail(why, VT_EIO, "no new device");
    *device = (struct vtpmx_device){.fd = fd, .number = next_number++};
    return VT_OK;
}

bool vtpmx_is_shown(const struct vtpmx_device *device)
{
    char name[32];

    snprintf(name, sizeof name, "shown-%u", device->number);
    return is_there(name);
}
