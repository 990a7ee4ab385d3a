/* SPDX-License-Identifier: Apache-2.0 */
/* The asynchronous calls by which instances move between servers: checked and copied on the loop thread. */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"

int db_server_key_put(struct db *db, const struct db_server_key *key, const struct db_audit *audit, db_done done,
                      void *arg)
{
    struct request *req;

    if (key->sealed_len == 0 || key->sealed_len > sizeof key->sealed)
        return VT_EUSAGE;
    req = request_new(VERB_SERVER_KEY, NULL, audit, done, arg);
    return request_submit(db, req, req && request_copy_extra(req, key, 1, sizeof *key));
}

int db_peer_add(struct db *db, const struct db_peer *peer, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if (strnlen(peer->name, sizeof peer->name) == sizeof peer->name || !vt_name_valid(peer->name))
        return VT_EUSAGE;
    if (strnlen(peer->address, sizeof peer->address) == sizeof peer->address)
        return VT_EUSAGE;
    req = request_new(VERB_PEER_ADD, NULL, audit, done, arg);
    return request_submit(db, req, req && request_copy_extra(req, peer, 1, sizeof *peer));
}

int db_peer_remove(struct db *db, const char *name, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if (!vt_name_valid(name))
        return VT_EUSAGE;
    req = request_new(VERB_PEER_REMOVE, NULL, audit, done, arg);
    if (req)
        memcpy(req->name, name, strlen(name) + 1);
    return request_submit(db, req, true);
}

static int import_valid(const struct db_import_args *args)
{
    char identity[VT_UUID_TEXT];
    int err = request_instance_valid(args->instance);

    if (!err)
        err = request_credential_valid(args->credential);
    if (err)
        return err;
    vt_uuid_text(identity, &args->instance->uuid);
    if (strcmp(identity, args->credential->identity) != 0 || args->binding_count > DB_BINDINGS_MAX)
        return VT_EUSAGE;
    if (!args->instance->seq || args->instance->seq > INT64_MAX || args->instance->created < 0)
        return VT_EUSAGE;
    for (size_t i = 0; i < args->binding_count; i++)
        if (!request_peer_valid(args->bindings[i].peer))
            return VT_EUSAGE;
    return args->record.len > DB_SEALED_MAX ? VT_ETOOBIG : VT_OK;
}

static bool copy_import(struct request *req, const struct db_import_args *args)
{
    struct import_extra *extra = VT_NEW(struct import_extra);

    if (!extra)
        return false;
    extra->instance = *args->instance;
    extra->source = args->source;
    memcpy(extra->id, args->id, sizeof extra->id);
    extra->binding_count = args->binding_count;
    for (size_t i = 0; i < args->binding_count; i++)
        memcpy(extra->bindings[i], args->bindings[i].peer, sizeof extra->bindings[i]);
    req->extra = extra;
    req->extra_len = sizeof *extra;
    return request_copy_record(req, &args->record);
}

int db_import(struct db *db, const struct db_import_args *args, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;
    int err = import_valid(args);

    if (err)
        return err;
    req = request_new(VERB_IMPORT, &args->instance->uuid, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->seq = args->instance->seq;
    req->credential = *args->credential;
    return request_submit(db, req, copy_import(req, args));
}

int db_take_back(struct db *db, const struct vt_uuid *uuid, const struct db_audit *audit, db_done done, void *arg)
{
    return request_submit(db, request_new(VERB_TAKE_BACK, uuid, audit, done, arg), true);
}

/* ---- Live migration: rows of `arriving` ---- */

static int submit_arriving(struct db *db, enum verb verb, const struct db_arriving *row, const struct db_audit *audit,
                           db_done done, void *arg)
{
    struct request *req = request_new(verb, &row->uuid, audit, done, arg);

    return request_submit(db, req, req && request_copy_extra(req, row, 1, sizeof *row));
}

int db_expect(struct db *db, const struct db_arriving *row, const struct db_audit *audit, db_done done, void *arg)
{
    if (row->sealed_len == 0 || row->sealed_len > sizeof row->sealed)
        return VT_EUSAGE;
    return submit_arriving(db, VERB_EXPECT, row, audit, done, arg);
}

int db_unexpect(struct db *db, const struct vt_uuid *uuid, const struct db_audit *audit, db_done done, void *arg)
{
    return request_submit(db, request_new(VERB_UNEXPECT, uuid, audit, done, arg), true);
}

int db_claim(struct db *db, const struct db_arriving *row, db_done done, void *arg)
{
    return row->has_ticket ? submit_arriving(db, VERB_CLAIM, row, NULL, done, arg) : VT_EUSAGE;
}

int db_unclaim(struct db *db, const struct db_arriving *row, const struct db_audit *audit, db_done done, void *arg)
{
    return row->has_ticket ? submit_arriving(db, VERB_UNCLAIM, row, audit, done, arg) : VT_EUSAGE;
}
