/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on bindings: from which Xen domains an instance may be attached over a vchan. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/binding.h"
#include "server/core/session_priv.h"

/* ---- Add ---- */

static void on_added(void *arg, int err)
{
    struct admin_call *call = arg;

    if (err == VT_EEXISTS)
        admin_fail(call, err, "%s has that binding already: vtpmctl binding list %s", call->name, call->name);
    else if (err == VT_ECONFLICT)
        admin_fail(call, err, "%s has %u bindings, and no instance may have more: vtpmctl binding remove %s --peer P",
                   call->name, (unsigned)DB_BINDINGS_MAX, call->name);
    else
        admin_on_db(call, err);
}

void admin_binding_add(struct admin_call *call)
{
    const Vtpm__Binding *add = call->request->binding_add;
    char peer[DB_PEER_TEXT];
    struct db_instance row;
    struct db_audit audit;
    int err;

    if (admin_find(call, add->instance, &row))
        return;
    err = binding_parse(peer, add->peer, &call->why);
    if (err) {
        admin_done(call, err);
        return;
    }
    audit = admin_audit(call, "binding-add", peer);
    admin_started(call, db_binding_add(call->broker->db, &call->uuid, peer, &audit, on_added, call));
}

/* ---- Remove ---- */

static void on_removed(void *arg, int err)
{
    struct admin_call *call = arg;
    struct instance *instance = instance_in_memory(call->broker, &call->uuid);

    /* An unknown outcome too: what the store then says decides. */
    if ((!err || err == VT_EUNKNOWN) && instance && instance_session(instance))
        session_recheck(instance_session(instance));
    if (err == VT_ENOTFOUND)
        admin_fail(call, err, "%s has no such binding: vtpmctl binding list %s", call->name, call->name);
    else
        admin_on_db(call, err);
}

void admin_binding_remove(struct admin_call *call)
{
    const Vtpm__Binding *remove = call->request->binding_remove;
    bool all = !*remove->peer;
    char peer[DB_PEER_TEXT] = "";
    struct db_instance row;
    struct db_audit audit;
    int err;

    if (admin_find(call, remove->instance, &row))
        return;
    err = all ? VT_OK : binding_parse(peer, remove->peer, &call->why);
    if (err) {
        admin_done(call, err);
        return;
    }
    audit = admin_audit(call, "binding-remove", all ? "all" : peer);
    admin_started(call, db_binding_remove(call->broker->db, &call->uuid, all ? NULL : peer, &audit, on_removed, call));
}

/* ---- List ---- */

struct listed {
    Vtpm__Binding msg;
    struct db_binding row;
    char uuid[VT_UUID_TEXT];
};

struct listing {
    Vtpm__Binding **rows;
    size_t count, cap;
};

/* What fits one answer (FRAME_ADMIN_MAX), with the longest names. */
#define LISTED_MAX 20000u

static int make_room(struct listing *listing)
{
    size_t cap = listing->cap ? listing->cap * 2 : 16;
    Vtpm__Binding **rows;

    if (listing->count < listing->cap)
        return VT_OK;
    rows = vt_realloc(listing->rows, cap * sizeof(Vtpm__Binding *));
    if (!rows)
        return VT_ENOMEM;
    listing->rows = rows;
    listing->cap = cap;
    return VT_OK;
}

static int add_row(void *ctx, const struct db_binding *binding)
{
    struct listing *listing = ctx;
    struct listed *listed;

    if (listing->count == LISTED_MAX)
        return VT_ETOOBIG;
    if (make_room(listing))
        return VT_ENOMEM;
    listed = VT_NEW(struct listed);
    if (!listed)
        return VT_ENOMEM;
    vtpm__binding__init(&listed->msg);
    listed->row = *binding;
    vt_uuid_text(listed->uuid, &binding->uuid);
    listed->msg.uuid = listed->uuid;
    listed->msg.instance = listed->row.name;
    listed->msg.peer = listed->row.peer;
    listing->rows[listing->count++] = &listed->msg;
    return VT_OK;
}

void admin_binding_list(struct admin_call *call)
{
    const char *instance = call->request->binding_list->instance;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    struct listing listing = {0};
    struct db_instance row;

    if (*instance && admin_find(call, instance, &row))
        return;
    reply.err = db_binding_each(call->broker->db, *instance ? &row.uuid : NULL, add_row, &listing);
    if (reply.err == VT_ETOOBIG) {
        vt_fail(&call->why, reply.err,
                "there are more than %u bindings: list those of one instance, vtpmctl binding list I", LISTED_MAX);
    } else if (reply.err) {
        vt_fail(&call->why, reply.err, "the store cannot be read: %s", vt_err_text(reply.err));
    } else {
        reply.n_bindings = listing.count;
        reply.bindings = listing.rows;
    }
    admin_reply(call, &reply);
    for (size_t k = 0; k < listing.count; k++)
        vt_free(VT_CONTAINER(listing.rows[k], struct listed, msg));
    vt_free(listing.rows);
}
