/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"

int save_begin(const char *path, int *fd, struct vt_why *why)
{
    return credential_begin(path, fd, why);
}

int save_put(const char *path, int fd, const void *bytes, size_t len, struct vt_why *why)
{
    const uint8_t *at = bytes;

    while (len) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, errno == ENOSPC ? VT_ENOSPC : VT_EIO, "%s: %s", path, strerror(errno));
        at += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

int save_end(const char *path, int fd, struct vt_why *why)
{
    int err = fsync(fd) ? vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno)) : VT_OK;

    if (close(fd) && !err)
        err = vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    return err;
}

void save_drop(const char *path, int fd)
{
    credential_drop(path, fd);
}

static int read_all(const char *path, int fd, uint8_t *bytes, size_t max, size_t *len, struct vt_why *why)
{
    *len = 0;
    while (*len < max) {
        ssize_t n = read(fd, bytes + *len, max - *len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, VT_EIO, "%s cannot be read: %s", path, strerror(errno));
        if (n == 0)
            return VT_OK;
        *len += (size_t)n;
    }
    return vt_fail(why, VT_EUSAGE, "%s is not what is wanted here: it is larger than %zu bytes", path, max - 1);
}

int load_file(const char *path, size_t max, uint8_t **bytes, size_t *len, struct vt_why *why)
{
    int err, fd = open(path, O_RDONLY | O_CLOEXEC);

    *bytes = NULL;
    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EFAIL,
                       "%s cannot be read: %s", path, strerror(errno));
    *bytes = vt_calloc(1, max + 1);
    err = *bytes ? read_all(path, fd, *bytes, max + 1, len, why) : vt_fail(why, VT_ENOMEM, "out of memory");
    close(fd);
    if (err) {
        vt_free(*bytes);
        *bytes = NULL;
    }
    return err;
}
