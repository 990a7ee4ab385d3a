/* SPDX-License-Identifier: Apache-2.0 */
/* The asynchronous calls: arguments are checked and copied on the loop thread, then queued. */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"

static const char *const power_words[] = {"off", "on", "ready", "needs-power-on"};

/* What the inventory may show. */
static bool power_valid(const char *word)
{
    for (size_t i = 0; i < VT_COUNT(power_words); i++) {
        if (strcmp(word, power_words[i]) == 0)
            return true;
    }
    return false;
}

/* At most size - 1 bytes, printable ASCII. */
static bool text_valid(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return len < size;
}

struct request *request_new(enum verb verb, const struct vt_uuid *uuid, const struct db_audit *audit,
                            db_done done, void *arg)
{
    struct request *req = VT_NEW(struct request);

    if (!req)
        return NULL;
    vt_list_init(&req->node);
    req->verb = verb;
    req->done = done;
    req->arg = arg;
    if (uuid)
        req->uuid = *uuid;
    if (audit) {
        req->has_audit = true;
        audit_copy(&req->audit, audit);
    }
    return req;
}

int request_submit(struct db *db, struct request *req, bool copied)
{
    if (!req || !copied) {
        request_free(req);
        return VT_ENOMEM;
    }
    return queue_put(db, req);
}

bool request_copy_record(struct request *req, const struct db_sealed *record)
{
    memcpy(req->tag, record->tag, sizeof req->tag);
    req->record_len = record->len;
    req->record = vt_memdup(record->data, record->len);
    return req->record != NULL;
}

bool request_copy_extra(struct request *req, const void *extra, size_t count, size_t size)
{
    req->count = count;
    req->extra_len = count * size;
    req->extra = vt_memdup(extra, req->extra_len);
    return req->extra != NULL;
}

int request_credential_valid(const struct db_credential *credential)
{
    if (!text_valid(credential->identity, sizeof credential->identity) || !credential->identity[0])
        return VT_EUSAGE;
    if (credential->sealed_len == 0 || credential->sealed_len > sizeof credential->sealed)
        return VT_EUSAGE;
    return credential->version < INT64_MAX ? VT_OK : VT_EUSAGE;
}

int request_instance_valid(const struct db_instance *instance)
{
    if (strnlen(instance->name, sizeof instance->name) == sizeof instance->name ||
        !vt_name_valid(instance->name))
        return VT_EUSAGE;
    if (!text_valid(instance->group, sizeof instance->group) ||
        !text_valid(instance->profile, sizeof instance->profile))
        return VT_EUSAGE;
    if (!text_valid(instance->power, sizeof instance->power) ||
        (instance->power[0] && !power_valid(instance->power)))
        return VT_EUSAGE;
    if (instance->wrapped_key_len == 0 || instance->wrapped_key_len > sizeof instance->wrapped_key)
        return VT_EUSAGE;
    return VT_OK;
}

int db_instance_create(struct db *db, const struct db_create_args *args, const struct db_audit *audit,
                       db_done done, void *arg)
{
    struct request *req;
    char identity[VT_UUID_TEXT];
    int err = request_instance_valid(args->instance);

    if (!err)
        err = request_credential_valid(args->credential);
    if (err)
        return err;
    vt_uuid_text(identity, &args->instance->uuid);
    if (strcmp(identity, args->credential->identity) != 0)
        return VT_EUSAGE;
    if (args->record.len > DB_SEALED_MAX)
        return VT_ETOOBIG;
    req = request_new(VERB_CREATE, &args->instance->uuid, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->seq = 1;
    req->credential = *args->credential;
    return request_submit(db, req,
                  request_copy_extra(req, args->instance, 1, sizeof *args->instance) &&
                      request_copy_record(req, &args->record));
}

int db_acquire(struct db *db, const struct vt_uuid *uuid, uint64_t *epoch, db_done done, void *arg)
{
    struct request *req = request_new(VERB_ACQUIRE, uuid, NULL, done, arg);

    if (req)
        req->epoch_out = epoch;
    return request_submit(db, req, true);
}

int db_commit(struct db *db, const struct db_commit_args *args, const struct db_audit *audit, db_done done,
              void *arg)
{
    struct request *req;

    if (args->seq <= args->expected_seq || args->seq > INT64_MAX ||
        (args->power && !power_valid(args->power)))
        return VT_EUSAGE;
    if (args->record.len > DB_SEALED_MAX)
        return VT_ETOOBIG;
    req = request_new(VERB_COMMIT, &args->uuid, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->epoch = args->epoch;
    req->expected_seq = args->expected_seq;
    req->seq = args->seq;
    req->has_power = args->power != NULL;
    if (args->power)
        memcpy(req->power, args->power, strlen(args->power) + 1);
    req->has_ek = args->ek_sha256 != NULL;
    if (args->ek_sha256)
        memcpy(req->ek_sha256, args->ek_sha256, sizeof req->ek_sha256);
    req->is_export = args->export != NULL;
    if (args->export) {
        copy_printable(req->reason, sizeof req->reason, args->reason);
        return request_submit(db, req, request_copy_record(req, &args->record) &&
                                           request_copy_extra(req, args->export, 1, sizeof *args->export));
    }
    return request_submit(db, req, request_copy_record(req, &args->record));
}

int db_instance_rename(struct db *db, const struct vt_uuid *uuid, const char *name,
                       const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if (!vt_name_valid(name))
        return VT_EUSAGE;
    req = request_new(VERB_RENAME, uuid, audit, done, arg);
    if (req)
        memcpy(req->name, name, strlen(name) + 1);
    return request_submit(db, req, true);
}

int db_instance_life(struct db *db, const struct vt_uuid *uuid, enum db_life life, const char *reason,
                     const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if ((unsigned)life > DB_DELETED)
        return VT_EUSAGE;
    req = request_new(VERB_LIFE, uuid, audit, done, arg);
    if (req) {
        req->life = life;
        if (life == DB_BROKEN)
            copy_printable(req->reason, sizeof req->reason, reason);
    }
    return request_submit(db, req, true);
}

int db_instance_power(struct db *db, const struct vt_uuid *uuid, const char *power, const char *domain,
                      const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if (power && !power_valid(power))
        return VT_EUSAGE;
    req = request_new(VERB_POWER, uuid, audit, done, arg);
    if (req) {
        req->has_power = power != NULL;
        if (power)
            memcpy(req->power, power, strlen(power) + 1);
        req->has_domain = domain != NULL;
        /* From a peer: shown as far as it can be. */
        copy_printable(req->domain, sizeof req->domain, domain);
    }
    return request_submit(db, req, true);
}

int db_credential_put(struct db *db, const struct db_credential *credential, const struct vt_uuid *instances,
                      size_t count, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;
    int err = request_credential_valid(credential);

    if (err)
        return err;
    if (count > DB_LISTED_MAX)
        return VT_ETOOBIG;
    req = request_new(VERB_CREDENTIAL, NULL, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->credential = *credential;
    return request_submit(db, req, request_copy_extra(req, instances, count, sizeof *instances));
}

bool request_peer_valid(const char *peer)
{
    return strlen(peer) >= 4 && text_valid(peer, DB_PEER_TEXT);
}

int db_binding_add(struct db *db, const struct vt_uuid *uuid, const char *peer, const struct db_audit *audit,
                   db_done done, void *arg)
{
    struct request *req;

    if (!request_peer_valid(peer))
        return VT_EUSAGE;
    req = request_new(VERB_BINDING_ADD, uuid, audit, done, arg);
    if (req)
        memcpy(req->peer, peer, strlen(peer) + 1);
    return request_submit(db, req, true);
}

int db_binding_remove(struct db *db, const struct vt_uuid *uuid, const char *peer, const struct db_audit *audit,
                      db_done done, void *arg)
{
    struct request *req;

    if (peer && !request_peer_valid(peer))
        return VT_EUSAGE;
    req = request_new(VERB_BINDING_REMOVE, uuid, audit, done, arg);
    if (req && peer)
        memcpy(req->peer, peer, strlen(peer) + 1);
    return request_submit(db, req, true);
}

int db_keyslot_put(struct db *db, const struct db_keyslot *slot, int64_t *id, const struct db_audit *audit,
                   db_done done, void *arg)
{
    struct request *req;

    if (!text_valid(slot->kind, sizeof slot->kind) || !slot->kind[0] ||
        !text_valid(slot->params, sizeof slot->params))
        return VT_EUSAGE;
    if (slot->wrapped_len == 0 || slot->wrapped_len > sizeof slot->wrapped)
        return VT_EUSAGE;
    req = request_new(VERB_KEYSLOT_PUT, NULL, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->id = slot->id;
    req->id_out = id;
    return request_submit(db, req, request_copy_extra(req, slot, 1, sizeof *slot));
}

int db_keyslot_remove(struct db *db, int64_t id, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req = request_new(VERB_KEYSLOT_REMOVE, NULL, audit, done, arg);

    if (req)
        req->id = id;
    return request_submit(db, req, true);
}

int db_event_add(struct db *db, const struct db_audit *audit, db_done done, void *arg)
{
    return request_submit(db, request_new(VERB_EVENT, NULL, audit, done, arg), true);
}

int db_counters(struct db *db, const struct db_counter *counters, size_t count)
{
    struct request *req;

    if (count > DB_COUNTERS_MAX)
        return VT_ETOOBIG;
    req = request_new(VERB_COUNTERS, NULL, NULL, NULL, NULL);
    return request_submit(db, req, req && request_copy_extra(req, counters, count, sizeof *counters));
}
