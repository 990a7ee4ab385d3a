/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/keyslot/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/secret.h"
#include "server/crypto/crypto.h"

/* granted: systemd lets the service's user in by an access list, whose mask shows as the group's right to read. */
static int check_file(int fd, const char *path, bool granted, struct vt_why *why)
{
    const mode_t others = granted ? 037 : 077;
    struct stat st;

    if (fstat(fd, &st))
        return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return vt_fail(why, VT_EPERM, "%s: not a regular file", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return vt_fail(why, VT_EPERM, "%s: belongs to uid %u, who could change the key: chown %u %s", path,
                       (unsigned)st.st_uid, (unsigned)geteuid(), path);
    if (st.st_mode & others)
        return vt_fail(why, VT_EPERM, "%s: mode %04o lets others read the key: chmod 600 %s", path,
                       (unsigned)st.st_mode & 07777, path);
    return VT_OK;
}

/* To the end of the file or until out is full. */
static int read_all(int fd, uint8_t *out, size_t cap, size_t *len)
{
    *len = 0;
    while (*len < cap) {
        ssize_t n = read(fd, out + *len, cap - *len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return VT_EIO;
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return VT_OK;
}

static int read_checked(int fd, const char *path, bool granted, uint8_t *out, size_t cap, size_t *len,
                        struct vt_why *why)
{
    uint8_t more;
    size_t more_len = 0;
    int err = check_file(fd, path, granted, why);

    if (err)
        return err;
    err = read_all(fd, out, cap, len);
    if (!err && *len == cap)
        err = read_all(fd, &more, 1, &more_len);
    vt_wipe(&more, 1);
    if (err)
        return vt_fail(why, err, "%s: cannot be read: %s", path, strerror(errno));
    if (more_len)
        return vt_fail(why, VT_EUSAGE, "%s: more than %zu bytes: not a file of the expected kind", path, cap);
    return VT_OK;
}

static int read_file(const char *path, bool granted, uint8_t *out, size_t cap, size_t *len, struct vt_why *why)
{
    /* O_NONBLOCK: a FIFO in its place must not hang the server. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int err;

    *len = 0;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return vt_fail(why, VT_ENOTFOUND, "%s: no such file", path);
    if (fd < 0)
        return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    err = read_checked(fd, path, granted, out, cap, len, why);
    close(fd);
    return err;
}

int secret_file_read(const char *path, uint8_t *out, size_t cap, size_t *len, struct vt_why *why)
{
    return read_file(path, false, out, cap, len, why);
}

int secret_file_read_granted(const char *path, uint8_t *out, size_t cap, size_t *len, struct vt_why *why)
{
    return read_file(path, true, out, cap, len, why);
}

int public_file_read(const char *path, char *out, size_t cap, struct vt_why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    size_t len = 0;
    struct stat st;
    int err;

    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO,
                       "%s: cannot be opened: %s", path, strerror(errno));
    err = fstat(fd, &st) || !S_ISREG(st.st_mode) ? VT_EUSAGE : read_all(fd, (uint8_t *)out, cap, &len);
    close(fd);
    if (!err && len == cap)
        return vt_fail(why, VT_ETOOBIG, "%s: more than %zu bytes", path, cap - 1);
    if (err || memchr(out, '\0', len))
        return vt_fail(why, err ? err : VT_EUSAGE, "%s: not a readable text file", path);
    out[len] = '\0';
    return VT_OK;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return errno == ENOSPC || errno == EDQUOT ? VT_ENOSPC : VT_EIO;
        bytes += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

int secret_file_sync_dir(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    int fd, err;

    if (len >= sizeof dir)
        return VT_ETOOBIG;
    memcpy(dir, path, len);
    dir[len] = '\0';
    fd = open(len ? dir : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return VT_EIO;
    err = fsync(fd) ? VT_EIO : VT_OK;
    close(fd);
    return err;
}

static int write_random(int fd, size_t len)
{
    uint8_t bytes[64];
    int err = VT_OK;

    while (!err && len) {
        size_t part = VT_MIN(len, sizeof bytes);

        err = cr_os_random(bytes, part);
        if (!err)
            err = write_all(fd, bytes, part);
        len -= part;
    }
    vt_wipe(bytes, sizeof bytes);
    return err;
}

int secret_file_make(const char *path, size_t len, struct vt_why *why)
{
    int err, fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);

    if (fd < 0 && errno == EEXIST)
        return vt_fail(why, VT_EEXISTS, "%s: exists already", path);
    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO,
                       "%s: the key file cannot be made: %s", path, strerror(errno));
    err = write_random(fd, len);
    if (!err && fsync(fd))
        err = VT_EIO;
    if (close(fd) && !err)
        err = VT_EIO;
    if (!err)
        err = secret_file_sync_dir(path);
    if (err) {
        unlink(path);
        return vt_fail(why, err, "%s: the key file cannot be written: %s", path, vt_err_text(err));
    }
    return VT_OK;
}
