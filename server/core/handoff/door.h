/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What another server may ask over its channel, which has shown who it is; one question at a time. A bundle is longer
 * than a frame, so it is fetched in parts. Embedded in the session. Loop thread.
 */
#ifndef VTPM_CORE_DOOR_H
#define VTPM_CORE_DOOR_H

#include "server/core/broker_priv.h"

struct door {
    struct broker *broker;
    struct vt_uuid asker;           /* its store */
    const char *peer;               /* for events; borrowed */
    /* err, or an answer; once for each door_ask, perhaps from within. */
    void (*reply)(void *arg, int err, const char *text, Vtpm__PeerAnswer *answer);
    void *arg;
    uint8_t *bundle;                /* of the last claim that was granted; owned */
    size_t len;
};

void door_ask(struct door *door, const Vtpm__PeerAsk *ask);
/* No reply comes any more. */
void door_close(struct door *door);

/* The key for "server:UUID"; known false, and any key, where that is no peer. Any thread. */
void door_psk(struct broker *broker, const struct vt_uuid *asker, struct vt_key *key, bool *known);
/* Another one for another key; 0: no peer. Any thread. */
uint64_t door_psk_version(struct broker *broker, const struct vt_uuid *asker);
/* As whom this server connects to a source, and with which key. Any thread. */
int door_key(struct broker *broker, const struct db_peer *source, char *identity, size_t size, struct vt_key *psk,
             struct vt_why *why) VT_USE_RESULT;

#endif
