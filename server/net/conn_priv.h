/* SPDX-License-Identifier: Apache-2.0 */
/* What conn.c (one connection) and channels.c (all of them, and who may enter) share. Not for others. */
#ifndef VTPM_NET_CONN_PRIV_H
#define VTPM_NET_CONN_PRIV_H

#include "proto/channel.h"
#include "server/base/list.h"
#include "server/net/conn.h"
#include "server/net/handshake.h"
#include "server/net/refusals.h"
#include "server/net/stream.h"

struct channels {
    uv_loop_t *uv;
    struct broker *broker;
    struct channel_limits limits;
    struct handshake_pool pool;
    struct refusals refusals;
    uv_timer_t timer;         /* counts of refusals held back */
    struct vt_list half_open; /* struct conn in HANDSHAKE, oldest first */
    struct vt_list unattached; /* OPEN, without an instance; who has been so for longest comes first */
    struct vt_list others;
    struct channel_counts counts;
    uint64_t accepted_ms, opened_ms; /* the last one; of the loop's clock */
    bool is_closing;
    void (*done)(void *arg);
    void *done_arg;
};

enum state {
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_CLOSING,   /* told to end; the loop sees to it */
    CONN_LINGERING, /* last words on their way */
    CONN_GONE       /* handles closing, or a worker still busy */
};

struct conn {
    struct net_stream stream;
    struct handshake_job job;
    struct vt_list node; /* of half_open, unattached or others */
    struct channels *all;
    struct channel *ch;
    struct session *session;
    struct net_peer peer;
    enum state state;
    uint64_t handshake_until_ms;
    bool is_working; /* a worker has ch: hands off */
    bool in_pump;
    bool is_attached; /* as the list says in which it is */
    bool at_end;       /* the peer sends no more; what is under way is answered first */
    bool said_goodbye; /* LINGERING: our side of the socket is shut */
    bool is_dead;      /* the stream's handles are closed */
    int handshake_err;
    uint64_t key_version; /* that the handshake began with */
    bool is_refused; /* to be logged once the alert is sent */
    enum refusal refusal;
    struct vt_why why;
};

/* Takes fd, which becomes a half-open connection of the list. VT_ENOMEM: fd is still the caller's. */
int conn_start(struct channels *all, int fd, const struct net_peer *peer) VT_USE_RESULT;
/* At once, whatever is queued. */
void conn_drop(struct conn *c);
/*
 * After what is queued for the peer was sent and read. The rest runs from the loop: this may be called from
 * within session_message, where the session must stay.
 */
void conn_close_soon(struct conn *c);
/* Open, and whoever is at the other end keeps it without an instance. */
bool conn_is_idle(const struct conn *c);
/* Tells the peer why, then conn_close_soon. */
void conn_refuse(struct conn *c, enum refusal reason, int err, const char *text);

/* ---- channels.c ---- */
void channels_note(struct channels *all, enum refusal reason, const struct net_peer *peer,
                   const char *identity, const char *detail);
/* `c` has opened: of its identity's idle channels the oldest must go when there are too many. */
void channels_limit_idle(struct channels *all, const struct conn *c);
/* A connection's memory was freed: tells channels_close's caller when it was the last. */
void channels_one_less(struct channels *all);

#endif
