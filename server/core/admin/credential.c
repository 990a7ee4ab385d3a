/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on credentials. A key is shown once, to who asked for it; the store has it sealed. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/session_priv.h"

struct fresh {
    struct db_credential row;
    struct vt_key psk;
};

static struct fresh *make(struct admin_call *call, const char *identity, uint64_t version)
{
    struct fresh *fresh = VT_NEW(struct fresh);
    int err = fresh ? cr_key_random(&fresh->psk, sizeof fresh->psk) : VT_ENOMEM;

    if (!err) {
        snprintf(fresh->row.identity, sizeof fresh->row.identity, "%s", identity);
        fresh->row.version = version;
        fresh->row.sealed_len = SEAL_KEY_LEN;
        err = keys_seal_psk(call->broker->keys, identity, version, &fresh->psk, fresh->row.sealed);
    }
    if (!err)
        return fresh;
    vt_free_wiped(fresh, sizeof *fresh);
    admin_done(call, err);
    return NULL;
}

static void on_put(void *arg, int err)
{
    struct admin_call *call = arg;
    struct fresh *fresh = call->state;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Credential credential = VTPM__CREDENTIAL__INIT;

    /* A channel under the old key must not outlive it. If that is not known: who still holds the right key comes back. */
    if (!err || err == VT_EUNKNOWN)
        broker_close_identity(call->broker, fresh->row.identity, VT_EAUTH, "the credential was rotated");
    if (err) {
        admin_on_db(call, err);
    } else {
        credential.identity = fresh->row.identity;
        credential.key = (ProtobufCBinaryData){.data = fresh->psk.bytes, .len = sizeof fresh->psk.bytes};
        reply.credential = &credential;
        admin_reply(call, &reply);
    }
    vt_free_wiped(fresh, sizeof *fresh);
}

static void put(struct admin_call *call, struct fresh *fresh, const struct vt_uuid *instances, size_t count,
                const struct db_audit *audit)
{
    int err;

    call->state = fresh;
    err = db_credential_put(call->broker->db, &fresh->row, instances, count, audit, on_put, call);
    if (err) {
        vt_free_wiped(fresh, sizeof *fresh);
        admin_on_db(call, err);
    }
}

/* `credential rotate I`: an instance, or host:NAME. */
void admin_rotate(struct admin_call *call)
{
    const char *target = call->request->rotate->instance;
    bool is_host = strncmp(target, "host:", 5) == 0;
    struct db_credential old;
    struct db_instance row;
    struct db_audit audit;
    struct fresh *fresh;
    char identity[80];
    int err;

    if (is_host) {
        snprintf(identity, sizeof identity, "%s", target);
    } else {
        if (admin_find(call, target, &row))
            return;
        vt_uuid_text(identity, &row.uuid);
    }
    err = db_credential_get(call->broker->db, identity, &old);
    if (err) {
        admin_fail(call, err, err == VT_ENOTFOUND ? "there is no credential %s" : "%s: the store cannot be read",
                   identity);
        return;
    }
    fresh = make(call, identity, old.version + 1);
    if (!fresh)
        return;
    audit = admin_audit(call, "credential-rotate", identity);
    if (is_host)
        audit.uuid = NULL;
    put(call, fresh, NULL, 0, &audit);
}

static bool is_among(const struct vt_uuid *uuids, size_t count, const struct vt_uuid *uuid)
{
    for (size_t k = 0; k < count; k++)
        if (vt_uuid_equal(&uuids[k], uuid))
            return true;
    return false;
}

/* Names or uuids to uuids, each once; ends the call when one is unknown. */
static struct vt_uuid *resolve_all(struct admin_call *call, const Vtpm__CreateHost *create, size_t *count)
{
    struct vt_uuid *uuids = vt_calloc(create->n_instances, sizeof *uuids);
    struct db_instance row;

    if (!uuids) {
        admin_done(call, VT_ENOMEM);
        return NULL;
    }
    for (size_t k = 0; k < create->n_instances; k++) {
        if (admin_find(call, create->instances[k], &row)) {
            vt_free(uuids);
            return NULL;
        }
        if (!is_among(uuids, *count, &row.uuid))
            uuids[(*count)++] = row.uuid;
    }
    return uuids;
}

void admin_create_host(struct admin_call *call)
{
    const Vtpm__CreateHost *create = call->request->create_host;
    struct vt_uuid *uuids;
    size_t count = 0;
    struct db_credential old;
    struct db_audit audit;
    struct fresh *fresh;
    char identity[80];

    if (!vt_name_valid(create->name) || !create->n_instances) {
        admin_fail(call, VT_EUSAGE, "a host credential wants a name (A-Z a-z 0-9 . _ -) and at least one --instance");
        return;
    }
    snprintf(identity, sizeof identity, "host:%s", create->name);
    if (db_credential_get(call->broker->db, identity, &old) == VT_OK) {
        admin_fail(call, VT_EEXISTS, "there is a credential %s already: vtpmctl credential rotate %s", identity,
                   identity);
        return;
    }
    uuids = resolve_all(call, create, &count);
    if (!uuids)
        return;
    fresh = make(call, identity, 1);
    if (fresh) {
        audit = admin_audit(call, "credential-create", identity);
        audit.uuid = NULL;
        put(call, fresh, uuids, count, &audit);
    }
    vt_free(uuids);
}
