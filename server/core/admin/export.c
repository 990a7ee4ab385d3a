/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `instance export` and `take-back` (docs/moving.md). First the fence and the last record are safe, in one transaction;
 * then the bundle is made of what is in the store. So a bundle that was lost is made again: same export, same contents.
 */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/store/bundle.h"
#include "server/core/store/server_key.h"

struct leaving {
    struct broker *broker;
    struct admin_call *call;
    struct db_export export;
    struct vt_key *own, *key;       /* of the vault: the store's, the instance's */
    uint8_t *bundle;
    size_t len;
    int err;
};

static void leaving_free(struct leaving *leaving)
{
    vt_vault_give(leaving->broker->vault, leaving->own);
    vt_vault_give(leaving->broker->vault, leaving->key);
    vt_free(leaving->bundle);
    vt_free(leaving);
}

/* Ends the call. */
static void end(struct leaving *leaving, int err)
{
    struct admin_call *call = leaving->call;

    leaving_free(leaving);
    admin_done(call, err);
}

/* ---- The bundle, on a worker ---- */

static int add_binding(void *ctx, const struct db_binding *binding)
{
    struct moving *moving = ctx;

    if (moving->binding_count == VT_COUNT(moving->bindings))
        return VT_EDAMAGED;
    memcpy(moving->bindings[moving->binding_count++], binding->peer, sizeof binding->peer);
    return VT_OK;
}

static int read_psk(struct broker *broker, struct moving *moving)
{
    struct db_credential credential;
    char identity[VT_UUID_TEXT];
    int err;

    vt_uuid_text(identity, &moving->uuid);
    err = db_credential_get(broker->db, identity, &credential);
    if (err)
        return err;
    return keys_open_psk(broker->keys, identity, credential.version, credential.sealed, credential.sealed_len,
                         &moving->psk);
}

static int read_moving(struct leaving *leaving, struct moving *moving)
{
    struct admin_call *call = leaving->call;
    struct broker *broker = call->broker;
    struct db_instance row;
    int err = db_instance_get(broker->db, &call->uuid, &row);

    if (err)
        return err;
    moving->uuid = row.uuid;
    memcpy(moving->name, row.name, sizeof moving->name);
    memcpy(moving->group, row.group, sizeof moving->group);
    memcpy(moving->profile, row.profile, sizeof moving->profile);
    moving->has_ek = row.has_ek;
    memcpy(moving->ek_sha256, row.ek_sha256, sizeof moving->ek_sha256);
    moving->created = row.created;
    err = instance_read_durable(broker, &call->uuid, &moving->record, leaving->key, &call->why);
    if (!err)
        err = read_psk(broker, moving);
    return err ? err : db_binding_each(broker->db, &call->uuid, add_binding, moving);
}

static int make_bundle(struct leaving *leaving, struct moving *moving)
{
    struct broker *broker = leaving->call->broker;
    struct bundle_head head = {.source = broker->store, .target = leaving->export.peer.store,
                               .time = leaving->export.time};
    int err = server_key_open(broker->db, broker->keys, leaving->own, &leaving->call->why);

    memcpy(head.id, leaving->export.id, sizeof head.id);
    if (!err)
        err = read_moving(leaving, moving);
    return err ? err : bundle_make(&head, leaving->own, leaving->export.peer.public, moving, &leaving->bundle,
                                   &leaving->len);
}

static void work_bundle(void *arg)
{
    struct leaving *leaving = arg;
    struct moving *moving = VT_NEW(struct moving);

    if (!moving)
        return;
    leaving->err = make_bundle(leaving, moving);
    moving_free(moving);
    vt_free(moving);
}

static void bundled(void *arg)
{
    struct leaving *leaving = arg;
    struct admin_call *call = leaving->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    if (leaving->err) {
        vt_fail(&call->why, leaving->err, "%s is exported, but its bundle cannot be made now: %s; repeat it",
                call->name, vt_err_text(leaving->err));
        end(leaving, leaving->err);
        return;
    }
    reply.bundle = (ProtobufCBinaryData){.data = leaving->bundle, .len = leaving->len};
    admin_reply(call, &reply);
    leaving_free(leaving);
}

/* What was exported stands in the store with the time it got there. */
static void start_bundle(struct leaving *leaving)
{
    struct admin_call *call = leaving->call;
    struct vt_vault *vault = leaving->broker->vault;
    int err = db_export_get(call->broker->db, &call->uuid, &leaving->export);

    if (!err)
        err = vt_vault_take(vault, &leaving->own, &call->why);
    if (!err)
        err = vt_vault_take(vault, &leaving->key, &call->why);
    leaving->err = VT_ENOMEM;
    if (!err)
        err = admin_work(call->broker, work_bundle, bundled, leaving);
    if (err)
        end(leaving, err);
}

/* ---- The fence ---- */

static void on_fenced(void *arg, const struct instance_answer *answer)
{
    struct leaving *leaving = arg;
    struct admin_call *call = leaving->call;
    struct instance *instance = instance_in_memory(call->broker, &call->uuid);

    /* An unknown outcome too: it may have left. If not, a shim attaches again. */
    if ((!answer->err || answer->err == VT_EUNKNOWN) && instance)
        instance_evict(instance, VT_EMOVED, "the instance was exported to another server");
    if (answer->err) {
        vt_fail(&call->why, answer->err, "%s", answer->text);
        end(leaving, answer->err);
        return;
    }
    start_bundle(leaving);
}

static void submit(struct leaving *leaving)
{
    struct admin_call *call = leaving->call;
    struct instance_job job = {.kind = INSTANCE_EXPORT, .done = on_fenced, .arg = leaving, .export = &leaving->export};
    struct instance *instance;
    int err = cr_os_random(leaving->export.id, sizeof leaving->export.id);

    memcpy(job.peer, call->peer, sizeof job.peer);
    if (!err)
        err = instance_find(call->broker, &call->uuid, &instance, &call->why);
    if (!err)
        err = instance_submit(instance, &job);
    if (err)
        end(leaving, err);
}

static bool same_peer(const struct db_peer *a, const struct db_peer *b)
{
    return vt_uuid_equal(&a->store, &b->store) && memcmp(a->public, b->public, sizeof a->public) == 0;
}

/* With the store's key there. */
static void leave(struct admin_call *call, int err)
{
    struct leaving *leaving = call->state;
    struct db_export before;

    if (err) {
        leaving_free(leaving);
        admin_on_db(call, err);
        return;
    }
    err = db_export_get(call->broker->db, &call->uuid, &before);
    if (err == VT_ENOTFOUND) {
        submit(leaving);
    } else if (err) {
        end(leaving, err);
    } else if (same_peer(&before.peer, &leaving->export.peer)) {
        start_bundle(leaving);
    } else {
        vt_fail(&call->why, VT_ECONFLICT, "%s was exported already, to %s with another store or key: only an export to "
                "that one can be repeated; see `vtpmctl instance take-back`", call->name, before.peer.name);
        end(leaving, VT_ECONFLICT);
    }
}

void admin_export(struct admin_call *call)
{
    const Vtpm__InstanceExport *export = call->request->export_instance;
    struct leaving *leaving;
    struct db_instance row;
    struct db_peer peer;
    int err;

    if (admin_find(call, export->instance, &row))
        return;
    err = db_peer_get(call->broker->db, export->to, NULL, &peer);
    if (err) {
        admin_fail(call, err, err == VT_ENOTFOUND ? "no peer is called %.80s: vtpmctl server peer add"
                                                  : "%.80s: the store cannot be read", export->to);
        return;
    }
    leaving = VT_NEW(struct leaving);
    if (!leaving) {
        admin_done(call, VT_ENOMEM);
        return;
    }
    leaving->broker = call->broker;
    leaving->call = call;
    leaving->export.peer = peer;
    call->state = leaving;
    admin_need_server_key(call, leave);
}

/* ---- Back, against all odds ---- */

static void on_taken_back(void *arg, int err)
{
    struct admin_call *call = arg;

    if (err == VT_ENOTFOUND)
        admin_fail(call, VT_ECONFLICT, "%s was not exported: there is nothing to take back", call->name);
    else
        admin_on_db(call, err);
}

void admin_take_back(struct admin_call *call)
{
    char text[200], id[2 * DB_EXPORT_ID + 1];
    struct db_export export;
    struct db_audit audit;
    struct db_instance row;
    int err;

    if (admin_find(call, call->request->take_back->instance, &row))
        return;
    err = db_export_get(call->broker->db, &call->uuid, &export);
    if (err) {
        on_taken_back(call, err);
        return;
    }
    vt_hex(id, export.id, sizeof export.id);
    snprintf(text, sizeof text, "from %s, export %s: if it was imported there, two of it run", export.peer.name, id);
    audit = admin_audit(call, "take-back", text);
    admin_started(call, db_take_back(call->broker->db, &call->uuid, &audit, on_taken_back, call));
}
