/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where peers connect. One row per kind of transport in listener.c: what stands before the colon, how the
 * rest is read, how a listening descriptor is made, what a peer is called. Loop thread.
 */
#ifndef VTPM_NET_LISTENER_H
#define VTPM_NET_LISTENER_H

#include <netinet/in.h>
#include <sys/types.h>
#include <sys/un.h>
#include <uv.h>

#include "server/base/domain.h"
#include "server/base/err.h"

struct net_kind;
struct listener;
struct vchan_listen;

#define NET_TEXT_MAX 160 /* "unix:" and the longest path, "tcp:[...]:65535", "vchan" */

/* An address as an option gives it. */
struct net_addr {
    const struct net_kind *kind;
    char text[NET_TEXT_MAX];
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } sa;
    socklen_t sa_len;
    struct vchan_listen *vchan; /* of a listener's own address: what unbind ends */
};

/* Who connected. */
struct net_peer {
    char text[96];    /* for logs: "tcp:127.0.0.1:5123", "unix:pid=17,uid=0", "vchan:5,name=guest1" */
    uint8_t group[8]; /* peers that count as one: an IPv4 address, an IPv6 /64, a local process, a domain */
    bool is_remote;   /* anyone on the network, or of another domain, may come: a group has a limit */
    bool is_tcp;
    bool has_cred; /* the kernel says who it is (unix) */
    uid_t uid;
    gid_t gid;
    bool has_domain; /* the hypervisor and the toolstack say who it is (vchan) */
    struct vt_domain domain;
};

/* VT_EUSAGE, and in why the address and what is wrong with it. */
int net_addr_parse(struct net_addr *addr, const char *text, struct vt_why *why) VT_USE_RESULT;
bool net_addr_is_unix(const struct net_addr *addr);

struct listener_ops {
    /* Not now: who comes waits in the kernel's queue, and it is asked again in a moment. NULL: always. */
    bool (*is_ready)(void *arg);
    /* Takes fd. */
    void (*accept)(void *arg, int fd, const struct net_peer *peer);
    /* vchan only: may this domain be offered a channel? Any thread, but not after listener_close; NULL: none may. */
    bool (*is_welcome)(void *arg, const struct vt_domain *domain);
};

/*
 * Binds and starts to accept. A Unix socket gets mode 0660; a stale one is replaced if nobody answers on it,
 * anything else at its place is left alone. VT_EUSAGE when it cannot be. Borrows ops. Returns owned (listener_close).
 */
int listener_open(struct listener **listener, uv_loop_t *uv, const struct net_addr *addr,
                  const struct listener_ops *ops, void *arg, struct vt_why *why) VT_USE_RESULT;
/* The address with the real port. */
const char *listener_text(const struct listener *listener);
/* Stops accepting, removes its socket file if that is still its own; frees itself on the loop. May be NULL.
 */
void listener_close(struct listener *listener);
/* At the end of the program, after its channels were closed: waits a moment for what closed listeners must still put
 * in order elsewhere (a vchan's nodes in xenstore). */
void listeners_finish(void);

/* ---- Transports (unix.c, tcp.c, vchan.c) ---- */
struct net_kind {
    const char *prefix; /* with the colon, or the whole word */
    int (*parse)(struct net_addr *addr, const char *rest, struct vt_why *why);
    /* A descriptor that is readable when somebody has connected; *fd is the caller's. */
    int (*bind)(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why);
    /* One connection and who it is; -1 and errno: there is none (EAGAIN), or it was lost. */
    int (*accept)(int fd, struct net_peer *peer);
    /* After the listening descriptor was closed. May be NULL. */
    void (*unbind)(const struct net_addr *addr, dev_t dev, ino_t ino);
};
int unix_parse(struct net_addr *addr, const char *rest, struct vt_why *why) VT_USE_RESULT;
int unix_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why) VT_USE_RESULT;
int unix_accept(int fd, struct net_peer *peer);
void unix_unbind(const struct net_addr *addr, dev_t dev, ino_t ino);
int tcp_parse(struct net_addr *addr, const char *rest, struct vt_why *why) VT_USE_RESULT;
int tcp_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why) VT_USE_RESULT;
int tcp_accept(int fd, struct net_peer *peer);
int vchan_parse(struct net_addr *addr, const char *rest, struct vt_why *why) VT_USE_RESULT;
int vchan_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why) VT_USE_RESULT;
int vchan_accept(int fd, struct net_peer *peer);
void vchan_unbind(const struct net_addr *addr, dev_t dev, ino_t ino);
void vchan_finish(void);

#endif
