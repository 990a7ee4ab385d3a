/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/handoff/door.h"

#include <stdio.h>

#include "proto/message.h"
#include "server/base/alloc.h"
#include "server/core/handoff/handoff.h"
#include "server/core/store/server_key.h"

_Static_assert(MESSAGE_TICKET == TICKET_LEN, "a ticket is a ticket");

static void drop_bundle(struct door *door)
{
    vt_free(door->bundle);
    door->bundle = NULL;
    door->len = 0;
}

/* The part of the bundle from `offset` on. */
static void put_part(struct door *door, size_t offset, Vtpm__PeerAnswer *answer)
{
    answer->size = (uint32_t)door->len;
    answer->data.data = door->bundle + offset;
    answer->data.len = VT_MIN(door->len - offset, (size_t)MESSAGE_PART_MAX);
}

static void on_answer(void *arg, const struct handoff_answer *answer)
{
    struct door *door = arg;
    Vtpm__PeerAnswer msg = VTPM__PEER_ANSWER__INIT;
    char name[65];

    if (answer->err) {
        door->reply(door->arg, answer->err, answer->text, NULL);
        return;
    }
    memcpy(name, answer->name, sizeof name);
    msg.has_left = answer->has_left;
    msg.name = name;
    msg.seq = answer->seq;
    msg.state_version = answer->version;
    if (answer->len) {
        door->bundle = vt_memdup(answer->bundle, answer->len);
        if (!door->bundle) {
            door->reply(door->arg, VT_ENOMEM, vt_err_text(VT_ENOMEM), NULL);
            return;
        }
        door->len = answer->len;
        put_part(door, 0, &msg);
    }
    door->reply(door->arg, VT_OK, "", &msg);
}

static void read_part(struct door *door, size_t offset)
{
    Vtpm__PeerAnswer msg = VTPM__PEER_ANSWER__INIT;

    if (offset >= door->len) {
        door->reply(door->arg, VT_EUSAGE, "nothing was claimed, or it has no such part", NULL);
        return;
    }
    msg.has_left = true;
    put_part(door, offset, &msg);
    door->reply(door->arg, VT_OK, "", &msg);
}

void door_ask(struct door *door, const Vtpm__PeerAsk *msg)
{
    struct handoff_ask ask = {.claim = msg->what_case == VTPM__PEER_ASK__WHAT_CLAIM};

    if (msg->what_case == VTPM__PEER_ASK__WHAT_READ) {
        read_part(door, msg->read);
        return;
    }
    drop_bundle(door);
    memcpy(ask.ticket, msg->look.data, sizeof ask.ticket);
    handoff_answer(door->broker, &door->asker, door->peer, &ask, on_answer, door);
}

void door_close(struct door *door)
{
    if (door->broker)
        handoff_forget(door->broker, door);
    drop_bundle(door);
}

/* ---- Keys ---- */

void door_psk(struct broker *broker, const struct vt_uuid *asker, struct vt_key *key, bool *known)
{
    VT_SECRET_KEY own = {{0}};
    struct db_server_key row;
    struct db_peer peer;
    bool found = db_peer_get(broker->db, NULL, asker, &peer) == VT_OK;
    int err = server_key_open(broker->db, broker->keys, &own, NULL);

    if (!err)
        err = db_server_key_get(broker->db, &row);
    /* The same work for a stranger: with ourselves. */
    if (!err)
        err = server_key_channel(&own, found ? peer.public : row.public, false, key);
    *known = found && !err;
}

uint64_t door_psk_version(struct broker *broker, const struct vt_uuid *asker)
{
    struct db_peer peer;
    uint64_t version = 0;

    if (db_peer_get(broker->db, NULL, asker, &peer))
        return 0;
    memcpy(&version, peer.public + 1, sizeof version);
    return version | 1;
}

int door_key(struct broker *broker, const struct db_peer *source, char *identity, size_t size, struct vt_key *psk,
             struct vt_why *why)
{
    VT_SECRET_KEY own = {{0}};
    char text[SERVER_IDENTITY];
    int err = server_key_open(broker->db, broker->keys, &own, why);

    server_key_identity(text, &broker->store);
    snprintf(identity, size, "%s", text);
    if (!err)
        err = server_key_channel(&own, source->public, true, psk);
    return err ? vt_fail(why, err, "no key for a channel to %s: %s", source->name, vt_err_text(err)) : VT_OK;
}
