/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX CREDENTIAL_TEXT_MAX

static int check_file(int fd, const char *path, struct vt_why *why)
{
    struct stat st;

    if (fstat(fd, &st))
        return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return vt_fail(why, VT_EUSAGE, "%s: not a regular file", path);
    if (st.st_mode & 077)
        return vt_fail(why, VT_EPERM, "%s: mode %04o lets others use the credential: chmod 600 %s", path,
                       (unsigned)(st.st_mode & 07777), path);
    if (st.st_size > FILE_MAX)
        return vt_fail(why, VT_EUSAGE, "%s: longer than %d bytes: not a credential file", path, FILE_MAX);
    return VT_OK;
}

static int read_text(int fd, const char *path, char text[FILE_MAX + 1], struct vt_why *why)
{
    size_t len = 0;
    ssize_t n;

    while (len < FILE_MAX && (n = read(fd, text + len, FILE_MAX - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
        len += (size_t)n;
    }
    text[len] = '\0';
    if (strlen(text) != len)
        return vt_fail(why, VT_EUSAGE, "%s: a NUL byte: not a credential file", path);
    return VT_OK;
}

int credential_read(struct credential *credential, const char *path, struct vt_why *why)
{
    char text[FILE_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err;

    *credential = (struct credential){.has_uuid = false};
    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO,
                       "credential %s: %s", path, strerror(errno));
    err = check_file(fd, path, why);
    if (!err)
        err = read_text(fd, path, text, why);
    close(fd);
    if (!err)
        err = credential_parse(credential, text, path, why);
    vt_wipe(text, sizeof text);
    return err;
}
