/* SPDX-License-Identifier: Apache-2.0 */
#include "server/xen/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Of the file description, not of the process: a second connection of the same process is another one too. */
static int lock_byte(const char *file, off_t at, int *fd, struct vt_why *why)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int error;

    *fd = open(file, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return vt_fail(why, VT_EIO, "%s: %s", file, strerror(errno));
    if (!fcntl(*fd, F_OFD_SETLK, &lock))
        return VT_OK;
    error = errno;
    close(*fd);
    *fd = -1;
    if (error == EAGAIN || error == EACCES)
        return VT_ECONFLICT;
    return vt_fail(why, VT_EIO, "%s: cannot be locked: %s", file, strerror(error));
}

int slot_lock_client(const char *file, uint32_t server, unsigned slot, int *fd, struct vt_why *why)
{
    return lock_byte(file, 1 + (off_t)server * SLOTS_MAX + slot, fd, why);
}

int slot_lock_server(const char *file, int *fd, struct vt_why *why)
{
    return lock_byte(file, 0, fd, why);
}
