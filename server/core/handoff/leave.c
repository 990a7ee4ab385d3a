/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bundle of an instance that has left: made of what is in the store, so that it can be made again as often as it
 * takes: same export, same contents (docs/moving.md).
 */
#include "server/core/handoff/leave.h"

#include "server/base/alloc.h"
#include "server/core/instance/instance.h"
#include "server/core/store/bundle.h"
#include "server/core/store/server_key.h"

struct leaving {
    struct broker *broker;
    struct vt_uuid uuid;
    leave_done done;
    void *arg;
    struct db_export export;
    struct vt_key *own, *key;       /* of the vault: the store's, the instance's */
    uint8_t *bundle;
    size_t len;
    int err;
    struct vt_why why;
};

static void end(struct leaving *leaving, int err)
{
    struct vt_vault *vault = leaving->broker->vault;

    if (err)
        vt_fail(&leaving->why, err, "%s", vt_err_text(err));
    leaving->done(leaving->arg, err, &leaving->why, leaving->bundle, leaving->len);
    vt_vault_give(vault, leaving->own);
    vt_vault_give(vault, leaving->key);
    vt_free(leaving->bundle);
    vt_free(leaving);
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
    struct broker *broker = leaving->broker;
    struct db_instance row;
    int err = db_instance_get(broker->db, &leaving->uuid, &row);

    if (err)
        return err;
    moving->uuid = row.uuid;
    memcpy(moving->name, row.name, sizeof moving->name);
    memcpy(moving->group, row.group, sizeof moving->group);
    memcpy(moving->profile, row.profile, sizeof moving->profile);
    moving->has_ek = row.has_ek;
    memcpy(moving->ek_sha256, row.ek_sha256, sizeof moving->ek_sha256);
    moving->created = row.created;
    err = instance_read_durable(broker, &leaving->uuid, &moving->record, leaving->key, &leaving->why);
    if (!err)
        err = read_psk(broker, moving);
    return err ? err : db_binding_each(broker->db, &leaving->uuid, add_binding, moving);
}

static int make_bundle(struct leaving *leaving, struct moving *moving)
{
    struct broker *broker = leaving->broker;
    struct bundle_head head = {.source = broker->store, .target = leaving->export.peer.store,
                               .time = leaving->export.time};
    int err = server_key_open(broker->db, broker->keys, leaving->own, &leaving->why);

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

    end(leaving, leaving->err);
}

int leave_bundle(struct broker *broker, const struct vt_uuid *uuid, handoff_work work, leave_done done, void *arg)
{
    struct leaving *leaving = VT_NEW(struct leaving);
    int err;

    if (!leaving)
        return VT_ENOMEM;
    *leaving = (struct leaving){.broker = broker, .uuid = *uuid, .done = done, .arg = arg, .err = VT_ENOMEM};
    /* What was exported stands in the store with the time it got there. */
    err = db_export_get(broker->db, uuid, &leaving->export);
    if (!err)
        err = vt_vault_take(broker->vault, &leaving->own, &leaving->why);
    if (!err)
        err = vt_vault_take(broker->vault, &leaving->key, &leaving->why);
    if (!err)
        err = work(broker, work_bundle, bundled, leaving);
    if (err)
        end(leaving, err);
    return VT_OK;
}
