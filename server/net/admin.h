/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket: frames with one AdminRequest each, one AdminReply back, one at a time per connection. Who
 * the peer is, the kernel says; what it may do follows from that when it connects. Loop thread.
 */
#ifndef VTPM_NET_ADMIN_H
#define VTPM_NET_ADMIN_H

#include "server/net/listener.h"
#include "server/net/role.h"

struct admin;

struct admin_limits {
    unsigned connections;
    unsigned others;     /* of these, by peers that may not change things: administrators always get in */
    size_t request_max;  /* a request's bytes */
    size_t full_max;     /* the same of an administrator, who may bring a whole instance: above BUNDLE_MAX */
    uint64_t idle_ms;    /* between requests; a request under way has no limit */
    uint64_t refused_ms; /* for a peer that may do nothing to say so, and to read that */
};
#define ADMIN_LIMITS_DEFAULT                                                                                 \
    {                                                                                                        \
        .connections = 64, .others = 32, .request_max = 64 * 1024, .full_max = 1200 * 1024,                  \
        .idle_ms = 300000, .refused_ms = 5000                                                                \
    }

/* Returns owned (admin_free). Borrows broker. */
int admin_new(struct admin **admin, uv_loop_t *uv, struct broker *broker, const struct role_policy *policy,
              const struct admin_limits *limits) VT_USE_RESULT;
/* A listener_accept_fn with the admin as arg: takes fd. */
void admin_accept(void *admin, int fd, const struct net_peer *peer);
/*
 * Lets those reach the socket file who may use it: its group becomes the admin group, and the monitor group
 * gets an entry in its access list. VT_EUSAGE if it cannot be.
 */
int admin_own_socket(const char *path, const struct role_policy *policy, struct vt_why *why) VT_USE_RESULT;
/* Closes every connection; done follows, once, not from within. Replies that come later are dropped. */
void admin_close(struct admin *admin, void (*done)(void *arg), void *arg);
/* After done, and after the broker was freed: no reply can come any more. May be NULL. */
void admin_free(struct admin *admin);

#endif
