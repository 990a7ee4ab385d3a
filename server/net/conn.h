/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channel connections: socket + channel + session. Public-key work runs in the handshake pool; everything
 * else on the loop. A peer that has not shown its key may hold little: a place among the half-open ones, for
 * a few seconds.
 *
 *   HANDSHAKE --channel open--> OPEN --session or channel ends--> CLOSING --said and seen, or too slow-->
 * gone
 */
#ifndef VTPM_NET_CONN_H
#define VTPM_NET_CONN_H

#include "server/core/broker.h"
#include "server/net/listener.h"

struct channels;

struct channel_limits {
    unsigned connections;        /* all together */
    unsigned half_open;          /* before the handshake is over: also bounds the pool's queue */
    unsigned half_open_per_peer; /* of one remote address */
    unsigned idle_per_identity;  /* open, without an instance and waiting for none */
    unsigned workers;            /* handshake steps at once */
    uint64_t hold_ms;            /* for so long may nobody be accepted while handshakes get done */
    uint64_t handshake_ms;       /* from accept to open */
    uint64_t unattached_ms;      /* from one message to the next while no instance is attached */
    uint64_t write_ms;           /* for a peer that does not read */
    uint64_t linger_ms;          /* for the last words to be read */
};
#define CHANNEL_LIMITS_DEFAULT                                                                               \
    {                                                                                                        \
        .connections = 4096, .half_open = 256, .half_open_per_peer = 128, .idle_per_identity = 32,           \
        .workers = 2, .hold_ms = 1000, .handshake_ms = 10000, .unattached_ms = 60000, .write_ms = 30000,     \
        .linger_ms = 1000                                                                                    \
    }

struct channel_counts {
    unsigned connections, half_open;
    uint64_t opened; /* handshakes that succeeded, since start */
    uint64_t refused;
};

/* Returns owned (channels_free). Borrows broker. */
int channels_new(struct channels **channels, uv_loop_t *uv, struct broker *broker,
                 const struct channel_limits *limits) VT_USE_RESULT;
/* For listener_open, with the channels as arg: takes every connection, offers vchans to bound domains. */
extern const struct listener_ops channels_listen;
void channels_accept(void *channels, int fd, const struct net_peer *peer);
void channels_count(const struct channels *channels, struct channel_counts *counts);
/* Ends every session and closes every connection after what is queued for it; then done, once, not from
 * within. What is accepted later is closed at once. */
void channels_close(struct channels *channels, void (*done)(void *arg), void *arg);
/* After done; frees itself on the loop. May be NULL. */
void channels_free(struct channels *channels);

#endif
