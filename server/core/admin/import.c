/* SPDX-License-Identifier: Apache-2.0 */
/* `instance import` (docs/moving.md): server/core/handoff/arrive.c does it. */
#include "server/core/admin/admin_priv.h"

#include "server/core/handoff/arrive.h"

static void reply_imported(struct admin_call *call, const struct db_instance *row)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Instance instance = VTPM__INSTANCE__INIT, *rows[] = {&instance};
    char uuid[VT_UUID_TEXT], name[65];

    vt_uuid_text(uuid, &row->uuid);
    memcpy(name, row->name, sizeof name);
    instance.uuid = uuid;
    instance.name = name;
    reply.instances = rows;
    reply.n_instances = 1;
    admin_reply(call, &reply);
}

static void on_arrived(void *arg, int err, const struct vt_why *why, const struct db_instance *row)
{
    struct admin_call *call = arg;

    call->why = *why;
    if (!err)
        reply_imported(call, row);
    else if (why->text[0])
        admin_done(call, err);
    else
        admin_on_db(call, err);
}

void admin_import(struct admin_call *call)
{
    const ProtobufCBinaryData *bundle = &call->request->import_instance->bundle;
    const struct arrive_args args = {.bundle = bundle->data, .len = bundle->len, .peer = call->peer, .work = admin_work};
    int err;

    if (call->broker->importing) {
        admin_fail(call, VT_EAGAIN, "another import is under way: one after the other");
        return;
    }
    err = arrive(call->broker, &args, on_arrived, call);
    if (err)
        admin_done(call, err);
}
