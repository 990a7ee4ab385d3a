/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `instance export` and `take-back` (docs/moving.md). First the fence and the last record are safe, in one transaction;
 * then the bundle is made of what is in the store. So a bundle that was lost is made again: same export, same contents.
 */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/handoff/leave.h"

struct leaving {
    struct broker *broker;
    struct admin_call *call;
    struct db_export export;
};

/* Ends the call. */
static void end(struct leaving *leaving, int err)
{
    struct admin_call *call = leaving->call;

    vt_free(leaving);
    admin_done(call, err);
}

/* ---- The bundle ---- */

static void on_bundle(void *arg, int err, const struct vt_why *why, const uint8_t *bundle, size_t len)
{
    struct leaving *leaving = arg;
    struct admin_call *call = leaving->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    union {
        const uint8_t *in;
        uint8_t *out;
    } bytes = {.in = bundle};

    if (err) {
        vt_fail(&call->why, err, "%s is exported, but its bundle cannot be made now: %s; repeat it", call->name,
                why->text);
        end(leaving, err);
        return;
    }
    vt_free(leaving);
    reply.bundle = (ProtobufCBinaryData){.data = bytes.out, .len = len};
    admin_reply(call, &reply);
}

static void start_bundle(struct leaving *leaving)
{
    int err = leave_bundle(leaving->broker, &leaving->call->uuid, admin_work, on_bundle, leaving);

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
        vt_free(leaving);
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
