/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on instances that may come from another server by live migration (docs/moving.md). */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/session_priv.h"

/* Its uuid is free here, or that of one which has left. */
static int check_free(struct admin_call *call)
{
    struct db_instance row;
    struct db_export export;
    int err = db_instance_get(call->broker->db, &call->uuid, &row);

    if (err == VT_ENOTFOUND)
        return VT_OK;
    if (!err)
        err = db_export_get(call->broker->db, &call->uuid, &export);
    if (err == VT_ENOTFOUND)
        return vt_fail(&call->why, VT_EEXISTS, row.life == DB_DELETED ? "instance %.64s was deleted here and its uuid is "
                       "not used again" : "instance %.64s is here already: nothing is to come", row.name);
    return err;
}

static int fill_row(struct admin_call *call, struct db_arriving *row, struct db_peer *peer)
{
    const Vtpm__InstanceExpect *expect = call->request->expect;
    char identity[VT_UUID_TEXT];
    VT_SECRET_KEY psk = {{0}};
    int err;

    if (!vt_uuid_parse(&call->uuid, expect->uuid) || expect->key.len != sizeof psk.bytes)
        return vt_fail(&call->why, VT_EUSAGE, "a credential of one instance is wanted: its uuid and a key of 32 bytes");
    memcpy(psk.bytes, expect->key.data, sizeof psk.bytes);
    err = db_peer_get(call->broker->db, expect->from, NULL, peer);
    if (err == VT_ENOTFOUND)
        return vt_fail(&call->why, err, "no peer is called %.80s: vtpmctl server peer add", expect->from);
    if (!err && !peer->address[0])
        return vt_fail(&call->why, VT_ECONFLICT, "where peer %s listens is not known: vtpmctl server peer remove it, and "
                       "add it with --address", peer->name);
    if (!err)
        err = check_free(call);
    if (err)
        return err;
    row->uuid = call->uuid;
    row->store = peer->store;
    row->sealed_len = SEAL_KEY_LEN;
    vt_uuid_text(identity, &call->uuid);
    return keys_seal_psk(call->broker->keys, identity, 1, &psk, row->sealed);
}

static void on_changed(void *arg, int err)
{
    struct admin_call *call = arg;
    char uuid[VT_UUID_TEXT];

    vt_uuid_text(uuid, &call->uuid);
    if (!err)
        broker_close_identity(call->broker, uuid, VT_EAGAIN, "what is expected here was changed: attach again");
    if (err == VT_ECONFLICT)
        admin_fail(call, err, "its source is being asked for it at this moment: vtpmctl instance expected");
    else if (err == VT_ENOTFOUND)
        admin_fail(call, err, "that instance is not expected: vtpmctl instance expected");
    else
        admin_on_db(call, err);
}

void admin_expect(struct admin_call *call)
{
    struct db_arriving row = {0};
    struct db_audit audit;
    struct db_peer peer;
    int err = fill_row(call, &row, &peer);

    if (err) {
        admin_done(call, err);
        return;
    }
    audit = admin_audit(call, "expect", peer.name);
    admin_started(call, db_expect(call->broker->db, &row, &audit, on_changed, call));
}

void admin_unexpect(struct admin_call *call)
{
    struct db_audit audit = admin_audit(call, "unexpect", "");

    if (!vt_uuid_parse(&call->uuid, call->request->unexpect->uuid)) {
        admin_fail(call, VT_EUSAGE, "%.80s is no uuid", call->request->unexpect->uuid);
        return;
    }
    admin_started(call, db_unexpect(call->broker->db, &call->uuid, &audit, on_changed, call));
}

/* ---- The list ---- */

#define SHOWN_MOST 4096

struct shown {
    Vtpm__Expected msg;
    char uuid[VT_UUID_TEXT], from[65], since[VT_TIME_TEXT];
};

struct list {
    struct broker *broker;
    struct shown *rows;
    size_t count, cap;
};

static int add(void *ctx, const struct db_arriving *row)
{
    struct list *list = ctx;
    struct db_peer peer;
    struct shown *shown;

    if (list->count == SHOWN_MOST)
        return VT_ETOOBIG;
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        struct shown *rows = vt_calloc(cap, sizeof *rows);

        if (!rows)
            return VT_ENOMEM;
        if (list->count)
            memcpy(rows, list->rows, list->count * sizeof *rows);
        vt_free(list->rows);
        list->rows = rows;
        list->cap = cap;
    }
    shown = &list->rows[list->count++];
    vt_uuid_text(shown->uuid, &row->uuid);
    vt_time_text(shown->since, row->time);
    if (db_peer_get(list->broker->db, NULL, &row->store, &peer))
        vt_uuid_text(shown->from, &row->store);
    else
        memcpy(shown->from, peer.name, sizeof shown->from);
    vtpm__expected__init(&shown->msg);
    shown->msg.claimed = row->has_ticket;
    return VT_OK;
}

void admin_expected_list(struct admin_call *call)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    struct list list = {.broker = call->broker};
    int err = db_arriving_each(call->broker->db, add, &list);
    Vtpm__Expected **pointers = vt_calloc(list.count + 1, sizeof *pointers);

    if (err || !pointers) {
        admin_done(call, err ? err : VT_ENOMEM);
    } else {
        for (size_t i = 0; i < list.count; i++) {
            list.rows[i].msg.uuid = list.rows[i].uuid;
            list.rows[i].msg.from = list.rows[i].from;
            list.rows[i].msg.since = list.rows[i].since;
            pointers[i] = &list.rows[i].msg;
        }
        reply.expected = pointers;
        reply.n_expected = list.count;
        admin_reply(call, &reply);
    }
    vt_free(pointers);
    vt_free(list.rows);
}
