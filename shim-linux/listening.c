/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/listening.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/log.h"

#define BACKLOG 16

/* A socket file on which nobody answers is what a killed shim left behind: only that is removed. */
static int remove_stale(const char *path, struct vt_why *why)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, err;

    if (lstat(path, &st))
        return errno == ENOENT ? VT_OK : vt_fail(why, VT_EIO, "--frontend: %s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return vt_fail(why, VT_EEXISTS, "--frontend: %s exists and is not a socket: remove it or choose another path",
                       path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vt_fail(why, VT_EIO, "--frontend: socket: %s", strerror(errno));
    memcpy(addr.sun_path, path, strlen(path) + 1);
    err = connect(fd, (struct sockaddr *)&addr, sizeof addr) ? errno : 0;
    close(fd);
    if (err != ECONNREFUSED)
        return vt_fail(why, VT_ECONFLICT, "--frontend: another program answers on %s: stop it or choose another path",
                       path);
    return unlink(path) ? vt_fail(why, VT_EIO, "--frontend: %s: %s", path, strerror(errno)) : VT_OK;
}

static int listen_now(struct listening *at, const char *what, int err, uv_connection_cb on_connection, struct vt_why *why)
{
    if (!err)
        err = uv_listen(&at->stream.stream, BACKLOG, on_connection);
    if (!err)
        return VT_OK;
    return vt_fail(why, err == UV_EADDRINUSE ? VT_ECONFLICT : VT_EIO, "--frontend: cannot listen on %s: %s", what,
                   uv_strerror(err));
}

static int listen_unix(struct listening *at, uv_loop_t *loop, const char *rest, uv_connection_cb on_connection,
                       struct vt_why *why)
{
    struct endpoint to;
    mode_t mask;
    int err = endpoint_parse_unix(&to, "--frontend", rest, why);

    if (!err)
        err = remove_stale(to.path, why);
    if (err)
        return err;
    if (uv_pipe_init(loop, &at->stream.pipe, 0))
        return vt_fail(why, VT_EIO, "--frontend: no Unix socket");
    at->is_open = true;
    /* Whoever can write to it uses the guest's TPM: owner and group only. */
    mask = umask(0117);
    err = uv_pipe_bind(&at->stream.pipe, to.path);
    umask(mask);
    return listen_now(at, to.path, err, on_connection, why);
}

static void note_address(struct listening *at, bool chosen)
{
    struct sockaddr_storage bound;
    int len = sizeof bound;
    char host[64], port[8];
    bool loopback;

    if (uv_tcp_getsockname(&at->stream.tcp, (struct sockaddr *)&bound, &len) ||
        getnameinfo((struct sockaddr *)&bound, (socklen_t)len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return;
    loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
    if (!loopback)
        vt_warning("socket: whoever reaches %s port %s uses this TPM: there is no authentication on it", host, port);
    if (chosen)
        snprintf(at->where, sizeof at->where, strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

static int listen_tcp(struct listening *at, uv_loop_t *loop, const char *rest, uv_connection_cb on_connection,
                      struct vt_why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE}, *found = NULL;
    struct endpoint to;
    int err = endpoint_parse_tcp(&to, "--frontend", rest, true, why);

    if (err)
        return err;
    err = getaddrinfo(to.host, to.port, &hints, &found);
    if (err)
        return vt_fail(why, VT_EUSAGE, "--frontend: address \"%s\": %s", to.host, gai_strerror(err));
    err = uv_tcp_init(loop, &at->stream.tcp);
    if (!err) {
        at->is_open = true;
        err = uv_tcp_bind(&at->stream.tcp, found->ai_addr, 0);
    }
    freeaddrinfo(found);
    err = listen_now(at, rest, err, on_connection, why);
    if (!err)
        note_address(at, strcmp(to.port, "0") == 0);
    return err;
}

int listening_start(struct listening *at, uv_loop_t *loop, const char *spec, uv_connection_cb on_connection,
                    struct vt_why *why)
{
    const char *unix_part = endpoint_after(spec, "unix");
    const char *tcp_part = endpoint_after(spec, "tcp");

    if (unix_part)
        return listen_unix(at, loop, unix_part, on_connection, why);
    if (tcp_part)
        return listen_tcp(at, loop, tcp_part, on_connection, why);
    return vt_fail(why, VT_EUSAGE, "--frontend: \"%s\" is neither unix:PATH nor tcp:ADDR:PORT", spec);
}

void listening_stop(struct listening *at)
{
    if (at->is_open)
        uv_close(&at->stream.handle, NULL);
    at->is_open = false;
}

int listening_init(const struct listening *at, union stream *client)
{
    if (at->stream.handle.type == UV_TCP)
        return uv_tcp_init(at->stream.handle.loop, &client->tcp);
    return uv_pipe_init(at->stream.handle.loop, &client->pipe, 0);
}
