/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vchans. server/xen offers them and pumps their bytes; whoever connects comes over a socket of messages that is this
 * transport's listening descriptor: a message is the domain, and its descriptor the stream. So a server that is busy
 * is waited for by nobody: when the socket is full, the newcomer is sent away.
 */
#include "server/net/listener.h"

#ifdef VTPM_HAVE_XEN

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/xen/site.h"
#include "server/xen/vchan.h"

#define FINISH_MS 1000

struct vchan_listen {
    struct vchan_host *host;
    int out; /* where connections come from; the pump's thread writes */
    const struct listener_ops *ops;
    void *arg;
};

/* Closed, and not yet finished: the main thread's. */
static struct vchan_listen *closed;

int vchan_parse(struct net_addr *addr, const char *rest, struct vt_why *why)
{
    if (*rest)
        return vt_fail(why, VT_EUSAGE, "vchan%.100s: write vchan, without anything behind it", rest);
    snprintf(addr->text, sizeof addr->text, "vchan");
    return VT_OK;
}

/* ---- From the pump's thread ---- */

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static bool pass_on(int out, int fd, const struct vt_domain *domain)
{
    struct vt_domain copy = *domain;
    union control control = {{0}};
    struct iovec part = {.iov_base = &copy, .iov_len = sizeof copy};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(out, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof copy;
}

static bool on_connected(void *arg, int fd, const struct vt_domain *domain)
{
    struct vchan_listen *listen = arg;
    bool passed = pass_on(listen->out, fd, domain);

    close(fd);
    return passed;
}

static bool on_allowed(void *arg, const struct vt_domain *domain)
{
    struct vchan_listen *listen = arg;

    return listen->ops->is_welcome && listen->ops->is_welcome(listen->arg, domain);
}

static const struct vchan_host_ops host_ops = {.allowed = on_allowed, .connected = on_connected};

/* ---- On the loop ---- */

static void tell_peer(struct net_peer *peer)
{
    const struct vt_domain *domain = &peer->domain;

    peer->has_domain = peer->is_remote = true;
    /* No IPv4 address and no IPv6 prefix looks like this. */
    peer->group[1] = 'v';
    memcpy(peer->group + 4, &domain->domid, sizeof domain->domid);
    snprintf(peer->text, sizeof peer->text, "vchan:%u%s%s", domain->domid, domain->name[0] ? ",name=" : "",
             domain->name);
}

int vchan_accept(int listening, struct net_peer *peer)
{
    union control control = {{0}};
    struct iovec part = {.iov_base = &peer->domain, .iov_len = sizeof peer->domain};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(listening, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int fd;

    if (n < 0)
        return -1;
    /* Out of descriptors the kernel gives the message without the one it carried: that connection is lost. */
    if (n != sizeof peer->domain || msg.msg_controllen < sizeof control.header) {
        errno = n ? EMFILE : EAGAIN;
        return -1;
    }
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    tell_peer(peer);
    return fd;
}

static void free_listen(struct vchan_listen *listen)
{
    vchan_host_free(listen->host, FINISH_MS);
    close(listen->out);
    vt_free(listen);
}

static int start_host(struct vchan_listen *listen, struct vt_why *why)
{
    const struct vchan_host_config config = {.ops = &host_ops, .arg = listen};
    int err = site_check("", SITE_SERVER, "--listen vchan", why);

    if (!err)
        err = vchan_host_start(&listen->host, &config, why);
    /* A host that is not ready for it: as with every other address that cannot be listened on. */
    return err && err != VT_ECONFLICT && err != VT_ENOMEM ? VT_EUSAGE : err;
}

int vchan_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why)
{
    struct vchan_listen *listen = VT_NEW(struct vchan_listen);
    int fds[2], err;

    if (!listen)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds)) {
        vt_free(listen);
        return vt_fail(why, VT_EIO, "vchan: no socket pair: %s", strerror(errno));
    }
    *listen = (struct vchan_listen){.out = fds[1], .ops = ops, .arg = arg};
    err = start_host(listen, why);
    if (err) {
        close(fds[0]);
        close(fds[1]);
        vt_free(listen);
        return err;
    }
    addr->vchan = listen;
    *fd = fds[0];
    vt_info("vchan: this is domain %u", vchan_host_domid(listen->host));
    return VT_OK;
}

/* Channels that stand go on until their connections are closed: vchan_finish. */
void vchan_unbind(const struct net_addr *addr, dev_t dev, ino_t ino)
{
    (void)dev;
    (void)ino;
    vchan_host_close(addr->vchan->host);
    vchan_finish(); /* of an earlier listener */
    closed = addr->vchan;
}

void vchan_finish(void)
{
    if (closed)
        free_listen(closed);
    closed = NULL;
}

#else

static int no_xen(struct vt_why *why)
{
    return vt_fail(why, VT_EUSAGE,
                   "--listen vchan: this build has no Xen support: apt-get install libxen-dev and build again, or use "
                   "unix:PATH or tcp:ADDR:PORT");
}

int vchan_parse(struct net_addr *addr, const char *rest, struct vt_why *why)
{
    (void)addr;
    (void)rest;
    return no_xen(why);
}

int vchan_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why)
{
    (void)addr;
    (void)ops;
    (void)arg;
    (void)fd;
    return no_xen(why);
}

int vchan_accept(int fd, struct net_peer *peer)
{
    (void)fd;
    (void)peer;
    return -1;
}

void vchan_unbind(const struct net_addr *addr, dev_t dev, ino_t ino)
{
    (void)addr;
    (void)dev;
    (void)ino;
}

void vchan_finish(void)
{
}

#endif
