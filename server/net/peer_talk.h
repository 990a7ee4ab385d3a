/* SPDX-License-Identifier: Apache-2.0 */
/* One question to another server, from connect to close. Blocks: a thread of its own. */
#ifndef VTPM_NET_PEER_TALK_H
#define VTPM_NET_PEER_TALK_H

#include "server/core/handoff/handoff.h"

struct peer_talk {
    struct db_peer source;
    struct handoff_ask ask;
    struct handoff_answer answer; /* points into what follows */
    char text[600];
    uint8_t *bundle;              /* owned by the caller */
};

/* VT_OK: there is an answer, be it a refusal. Else none came, and nobody knows what was done. */
int peer_talk(struct peer_talk *talk, struct broker *broker, unsigned patience_ms, struct vt_why *why) VT_USE_RESULT;

/* "tcp:HOST:PORT", the host in brackets where it has colons; into host and port. */
#define PEER_HOST 130
bool peer_address_parse(const char *address, char host[PEER_HOST], char port[8]) VT_USE_RESULT;

#endif
