/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets: made 0660; a file at their place is only replaced when it is a socket on which nobody
 * answers. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/net/listener.h"

/* All guests of a host may come at once. */
#define BACKLOG 1024

int unix_parse(struct net_addr *addr, const char *rest, struct vt_why *why)
{
    size_t len = strlen(rest);

    if (rest[0] != '/')
        return vt_fail(why, VT_EUSAGE, "unix:%.100s: write the whole path, from /", rest);
    if (len >= sizeof addr->sa.un.sun_path)
        return vt_fail(why, VT_EUSAGE, "unix:%.120s: a socket's path has at most %zu bytes, this one has %zu",
                       rest, sizeof addr->sa.un.sun_path - 1, len);
    addr->sa.un.sun_family = AF_UNIX;
    memcpy(addr->sa.un.sun_path, rest, len + 1);
    addr->sa_len = sizeof addr->sa.un;
    snprintf(addr->text, sizeof addr->text, "unix:%s", rest);
    return VT_OK;
}

/* VT_OK: nobody answers (ECONNREFUSED, or the file just went). */
static int nobody_answers(const struct net_addr *addr, struct vt_why *why)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;

    if (fd < 0)
        return vt_fail(why, VT_EIO, "%s: no socket: %s", addr->text, strerror(errno));
    if (connect(fd, &addr->sa.any, addr->sa_len))
        error = errno;
    close(fd);
    if (error == ECONNREFUSED || error == ENOENT)
        return VT_OK;
    if (!error || error == EAGAIN)
        return vt_fail(why, VT_ECONFLICT,
                       "%s: in use: another server answers there; stop it, or choose another path",
                       addr->text);
    return vt_fail(why, VT_EUSAGE, "%s: cannot tell if a server is there: %s", addr->text, strerror(error));
}

static int clear_place(const struct net_addr *addr, struct vt_why *why)
{
    const char *path = addr->sa.un.sun_path;
    struct stat st;
    int err;

    if (lstat(path, &st))
        return VT_OK; /* whatever else is wrong with the path, bind will say */
    if (!S_ISSOCK(st.st_mode))
        return vt_fail(why, VT_EUSAGE,
                       "%s: something that is not a socket is there; remove it, or choose another "
                       "path",
                       addr->text);
    err = nobody_answers(addr, why);
    if (err)
        return err;
    if (unlink(path) && errno != ENOENT)
        return vt_fail(why, VT_EUSAGE, "%s: the stale socket file cannot be removed: %s", addr->text,
                       strerror(errno));
    return VT_OK;
}

static int bind_failed(const struct net_addr *addr, int error, struct vt_why *why)
{
    const char *path = addr->sa.un.sun_path;
    int dir = (int)(strrchr(path, '/') - path);

    dir = dir ? dir : 1;
    if (error == ENOENT)
        return vt_fail(why, VT_EUSAGE, "%s: there is no directory %.*s: make it, and let uid %u write to it",
                       addr->text, dir, path, (unsigned)geteuid());
    if (error == EACCES || error == EPERM || error == EROFS)
        return vt_fail(why, VT_EUSAGE,
                       "%s: uid %u may not write to %.*s (%s): choose another path, or change its "
                       "owner",
                       addr->text, (unsigned)geteuid(), dir, path, strerror(error));
    return vt_fail(why, VT_EUSAGE, "%s: cannot listen: %s", addr->text, strerror(error));
}

int unix_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why)
{
    int err = clear_place(addr, why);

    (void)ops;
    (void)arg;
    if (err)
        return err;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return vt_fail(why, VT_EIO, "%s: no socket: %s", addr->text, strerror(errno));
    if (bind(*fd, &addr->sa.any, addr->sa_len)) {
        err = bind_failed(addr, errno, why);
        close(*fd);
        return err;
    }
    /* The umask made it narrower: from here on the group may connect. */
    if (chmod(addr->sa.un.sun_path, 0660) || listen(*fd, BACKLOG)) {
        err = vt_fail(why, VT_EUSAGE, "%s: cannot listen: %s", addr->text, strerror(errno));
        unlink(addr->sa.un.sun_path);
        close(*fd);
    }
    return err;
}

static void tell_peer(int fd, struct net_peer *peer)
{
    struct ucred cred = {0};
    socklen_t len = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || len != sizeof cred) {
        snprintf(peer->text, sizeof peer->text, "unix:pid=?,uid=?");
        return;
    }
    peer->has_cred = true;
    memcpy(peer->group, &cred.pid, sizeof cred.pid);
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    snprintf(peer->text, sizeof peer->text, "unix:pid=%d,uid=%u", (int)cred.pid, (unsigned)cred.uid);
}

int unix_accept(int listening, struct net_peer *peer)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0)
        tell_peer(fd, peer);
    return fd;
}

void unix_unbind(const struct net_addr *addr, dev_t dev, ino_t ino)
{
    struct stat st;

    if (!lstat(addr->sa.un.sun_path, &st) && st.st_dev == dev && st.st_ino == ino)
        unlink(addr->sa.un.sun_path);
}
