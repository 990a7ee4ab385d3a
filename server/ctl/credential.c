/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/secret.h"
#include "server/base/text.h"

int credential_begin(const char *path, int *fd, struct vt_why *why)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd >= 0)
        return VT_OK;
    if (errno == EEXIST)
        return vt_fail(why, VT_EEXISTS, "%s exists already and is not overwritten: name another file", path);
    return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EFAIL, "%s cannot be made: %s", path, strerror(errno));
}

int credential_finish(const char *path, int fd, const Vtpm__Credential *credential, struct vt_why *why)
{
    bool is_host = strncmp(credential->identity, "host:", 5) == 0;
    char key[2 * 32 + 1], text[256];
    int len, err = VT_OK;

    if (credential->key.len != 32)
        return vt_fail(why, VT_EPROTO, "the server sent a key of %zu bytes", credential->key.len);
    vt_hex(key, credential->key.data, credential->key.len);
    len = snprintf(text, sizeof text, "%s=%s\nkey=%s\n", is_host ? "identity" : "uuid", credential->identity, key);
    if (len < 0 || (size_t)len >= sizeof text || write(fd, text, (size_t)len) != len || fsync(fd) || close(fd))
        err = vt_fail(why, VT_EIO, "%s: %s; the key is lost: vtpmctl credential rotate makes another", path,
                      strerror(errno));
    vt_wipe(text, sizeof text);
    vt_wipe(key, sizeof key);
    return err;
}

void credential_drop(const char *path, int fd)
{
    close(fd);
    unlink(path);
}
