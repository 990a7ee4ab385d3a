/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/check.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/record.h"

struct walk {
    struct db *db;
    const struct keys *keys;
    struct vt_uuid store;
    struct store_findings *out;
};

/* ---- One instance ---- */

static int open_sealed(const struct walk *walk, const struct vt_uuid *uuid, const struct vt_key *key, uint64_t seq,
                       const struct db_sealed *sealed)
{
    struct seal_name name = {.store = walk->store, .instance = *uuid, .kind = SEAL_DURABLE, .seq = seq};
    struct record record = {0};
    uint8_t *plain;
    size_t len;
    int err;

    if (sealed->len < SEAL_OVERHEAD)
        return VT_EDAMAGED;
    len = sealed->len - SEAL_OVERHEAD;
    plain = vt_calloc(1, len ? len : 1);
    if (!plain)
        return VT_ENOMEM;
    err = unseal(key, &name, sealed->data, sealed->len, sealed->tag, plain);
    if (!err)
        err = record_decode(&record, plain, len, NULL);
    vt_free_wiped(plain, len);
    record_free(&record);
    return err;
}

static int open_record(const struct walk *walk, const struct db_instance *row)
{
    struct db_sealed sealed;
    uint8_t *data = NULL;
    uint64_t seq;
    VT_SECRET_KEY key = {{0}};
    int err = keys_unwrap_instance(walk->keys, &row->uuid, row->wrapped_key, row->wrapped_key_len, &key);

    if (err)
        return VT_EDAMAGED;
    err = db_record_get(walk->db, &row->uuid, &seq, &sealed, &data);
    if (!err)
        err = open_sealed(walk, &row->uuid, &key, seq, &sealed);
    vt_free(data);
    return err;
}

static void found(struct store_findings *out, const char *what)
{
    size_t len = strlen(out->text);

    snprintf(out->text + len, sizeof out->text - len, "%s%s", len ? "; " : "", what);
}

/* Deleted between the two reads: not a finding. */
static bool is_gone(const struct walk *walk, const struct vt_uuid *uuid)
{
    struct db_instance now;
    int err = db_instance_get(walk->db, uuid, &now);

    return err == VT_ENOTFOUND || (!err && now.life == DB_DELETED);
}

static int look_at(void *ctx, const struct db_instance *row)
{
    struct walk *walk = ctx;
    char line[160];
    int err;

    if (row->life == DB_BROKEN) {
        if (walk->out->broken++ == 0) {
            snprintf(line, sizeof line, "instance %s is broken: vtpmctl instance show says why", row->name);
            found(walk->out, line);
        }
        return VT_OK;
    }
    err = open_record(walk, row);
    if (!err || is_gone(walk, &row->uuid))
        return VT_OK;
    if (err == VT_ENOMEM || err == VT_EUNAVAILABLE)
        return err;
    if (walk->out->unreadable++ == 0) {
        snprintf(line, sizeof line, "the record of instance %s does not open", row->name);
        found(walk->out, line);
    }
    return VT_OK;
}

/* ---- All of them ---- */

static void conclude(struct store_findings *out)
{
    char line[64];

    if (out->unreadable > 1) {
        snprintf(line, sizeof line, "and %llu more", (unsigned long long)out->unreadable - 1);
        found(out, line);
    }
    /* The same damage is the same finding before an instance was marked for it and after. */
    out->is_whole = out->db.mac_ok && out->db.chain_ok && out->db.structure_ok && !out->unreadable && !out->broken;
    if (!out->is_whole || !out->db.pruned)
        return;
    snprintf(line, sizeof line, "events up to %lld were pruned", (long long)out->db.pruned);
    found(out, line);
}

int store_check(struct db *db, const struct keys *keys, struct store_findings *out)
{
    struct walk walk = {.db = db, .keys = keys, .out = out};
    int err;

    memset(out, 0, sizeof *out);
    keys_store_uuid(keys, &walk.store);
    err = db_check(db, &out->db);
    if (err)
        return err;
    found(out, out->db.text);
    err = db_instance_each(db, false, look_at, &walk);
    /* Tables that cannot be walked were found above. */
    if (err == VT_EDAMAGED && !out->db.structure_ok)
        err = VT_OK;
    conclude(out);
    return err;
}

/* ---- Without a server ---- */

static int unlock(struct db *db, const struct keyslot_spec *specs, size_t count, struct keys **keys, struct vt_why *why)
{
    VT_SECRET_KEY master = {{0}};
    struct db_keyslot opened;
    struct vt_uuid store;
    int err = vt_fail(NULL, VT_EUSAGE, "-");

    db_store_uuid(db, &store);
    for (size_t i = 0; i < count; i++) {
        struct vt_why reason = {0};

        err = keyslot_unlock(db, &specs[i], &store, &master, &opened, &reason);
        if (!err)
            return keys_new(keys, &master, &store, why);
        if (i + 1 == count)
            vt_fail(why, err, "%s", reason.text);
        else
            vt_error("store: key slot %s does not open it: %s", specs[i].kind, reason.text);
    }
    return err;
}

int store_examine(const char *dir, const struct keyslot_spec *specs, size_t count, struct store_findings *out,
                  struct vt_why *why)
{
    struct db_config config = {.dir = dir};
    struct keys *keys = NULL;
    struct db *db = NULL;
    int err = db_open(&config, &db, why);

    memset(out, 0, sizeof *out);
    if (!err)
        err = unlock(db, specs, count, &keys, why);
    if (!err) {
        db_unlock(db, keys_mac(keys));
        err = store_check(db, keys, out);
        vt_fail(err ? why : NULL, err, "%s: the check could not be made: %s", dir, vt_err_text(err));
    }
    db_close(db);
    keys_free(keys);
    return err;
}
