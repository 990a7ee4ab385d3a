/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of refused peers: it tells apart what the peer cannot (unknown identity, wrong key), and a flood of
 * them fills no disk: a few lines per reason and window, then a count. Loop thread.
 */
#ifndef VTPM_NET_REFUSALS_H
#define VTPM_NET_REFUSALS_H

#include "server/base/base.h"

#define REFUSAL_WINDOW_MS 10000
#define REFUSAL_LINES     5

#define REFUSAL_LIST(X)                                                                                      \
    X(REFUSAL_UNKNOWN, "unknown or disabled identity")                                                       \
    X(REFUSAL_KEY, "wrong key")                                                                              \
    X(REFUSAL_PROTOCOL, "protocol error")                                                                    \
    X(REFUSAL_SLOW, "handshake took too long")                                                               \
    X(REFUSAL_CROWD, "too many handshakes from this address")                                                \
    X(REFUSAL_FULL, "too many connections")                                                                  \
    X(REFUSAL_IDLE, "too many channels of one identity without an instance")                                 \
    X(REFUSAL_MEMORY, "out of memory")                                                                       \
    X(REFUSAL_ADMIN, "may not administer")

enum refusal {
#define REFUSAL_ENUM(name, text) name,
    REFUSAL_LIST(REFUSAL_ENUM)
#undef REFUSAL_ENUM
        REFUSAL_COUNT
};

struct refusals {
    uint64_t window_ms; /* start of the window */
    struct {
        unsigned in_window;
        uint64_t total;
    } of[REFUSAL_COUNT];
};

/* Logs, or counts. identity and detail may be NULL. True: lines are being held back, so refusals_flush should
 * be called REFUSAL_WINDOW_MS later. */
bool refusals_note(struct refusals *refusals, enum refusal reason, uint64_t now_ms, const char *peer,
                   const char *identity, const char *detail);
/* Logs the counts of what was held back and starts a new window. */
void refusals_flush(struct refusals *refusals, uint64_t now_ms);

#endif
