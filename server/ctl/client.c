/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ctl.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/frame.h"

static int reach(const char *admin, int *fd, struct vt_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = admin + 5;

    if (strncmp(admin, "unix:", 5) != 0 || !*path)
        return vt_fail(why, VT_EUSAGE, "--admin %s: it must be unix:PATH", admin);
    if (strlen(path) >= sizeof address.sun_path)
        return vt_fail(why, VT_EUSAGE, "--admin %s: a socket path has at most %zu characters", admin,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return vt_fail(why, VT_EFAIL, "no socket: %s", strerror(errno));
    if (connect(*fd, (struct sockaddr *)&address, sizeof address) == 0)
        return VT_OK;
    if (errno == EACCES)
        vt_fail(why, VT_EPERM, "%s: permission denied: be root, the server's user, or a member of its admin group", path);
    else
        vt_fail(why, VT_EUNREACHED, "no server answers on %s (%s): is vtpm-server running? another socket: --admin "
                "unix:PATH or VTPM_ADMIN", path, strerror(errno));
    int err = errno == EACCES ? VT_EPERM : VT_EUNREACHED;
    close(*fd);
    return err;
}

static int send_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return VT_EUNREACHED;
        bytes += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

static int send_request(int fd, const Vtpm__AdminRequest *request)
{
    size_t len = vtpm__admin_request__get_packed_size(request);
    struct vt_buf out;
    uint8_t *at;
    int err;

    vt_buf_init(&out, len + FRAME_HEADER);
    err = frame_begin(&out, len, &at);
    if (!err) {
        vtpm__admin_request__pack(request, at);
        err = send_all(fd, vt_buf_bytes(&out), vt_buf_size(&out));
    }
    vt_buf_free(&out);
    return err;
}

static int read_reply(int fd, struct vt_buf *in, Vtpm__AdminReply **reply)
{
    const uint8_t *payload;
    size_t len;
    int err;

    while ((err = frame_next(in, FRAME_ADMIN_MAX, &payload, &len)) == VT_EAGAIN) {
        uint8_t *at;
        ssize_t n;
        err = vt_buf_reserve(in, 16384, &at);
        if (err)
            return err;
        n = recv(fd, at, 16384, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return VT_EUNREACHED;
        vt_buf_wrote(in, (size_t)n);
    }
    if (err)
        return err;
    *reply = vtpm__admin_reply__unpack(NULL, len, payload);
    return *reply ? VT_OK : VT_EPROTO;
}

int ctl_call(const struct ctl *ctl, const Vtpm__AdminRequest *request, Vtpm__AdminReply **reply, struct vt_why *why)
{
    struct vt_buf in;
    int fd = -1;
    int err = reach(ctl->admin, &fd, why);

    if (err)
        return err;
    vt_buf_init(&in, FRAME_ADMIN_MAX + FRAME_HEADER + 16384);
    err = send_request(fd, request);
    if (!err)
        err = read_reply(fd, &in, reply);
    vt_buf_free(&in);
    close(fd);
    if (err == VT_EUNREACHED)
        vt_fail(why, err, "the server closed the connection before it answered: its log says why");
    else if (err)
        vt_fail(why, err, "the server's answer cannot be read: %s", vt_err_text(err));
    return err;
}
