/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an instance comes here (docs/moving.md): everything is checked, opened and sealed anew on a worker, one at a
 * time; then the runtime store gets its mark and the store the instance, in one transaction with the export's id.
 * Refused: nothing has changed.
 */
#include "server/core/handoff/arrive.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/instance/instance.h"
#include "server/core/store/bundle.h"
#include "server/core/store/server_key.h"
#include "server/engine/freeze.h"
#include "server/wire/cursor.h"

struct arriving {
    struct vt_list node;            /* broker->arrivals */
    struct broker *broker;
    char peer[96];
    arrive_done done;
    void *arg;
    handoff_work work;
    bool only_looks;
    bool is_claimed;                /* only this instance from this store will do */
    struct vt_uuid claimed, claimed_of;
    uint8_t *bundle;
    size_t bundle_len;
    struct vt_key *own, *key;       /* of the vault: the store's, the instance's new one */
    struct bundle_head head;
    struct db_peer source;
    struct moving moving;
    bool returns;                   /* it was exported from here before */
    struct db_instance row;
    struct db_credential credential;
    struct db_sealed record, mark;  /* `data` is owned */
    uint8_t *record_data, *mark_data;
    bool is_marked;
    int err;
    struct vt_why why;
};

static void start_next(struct broker *broker);

static void arriving_free(struct arriving *a)
{
    vt_vault_give(a->broker->vault, a->own);
    vt_vault_give(a->broker->vault, a->key);
    moving_free(&a->moving);
    vt_free(a->record_data);
    vt_free(a->mark_data);
    vt_free(a->bundle);
    vt_free_wiped(a, sizeof *a);
}

/* The one under way has ended. */
static void end(struct arriving *a, int err)
{
    struct broker *broker = a->broker;

    broker->importing = false;
    a->done(a->arg, err, &a->why, &a->row);
    arriving_free(a);
    start_next(broker);
}

/* ---- On a worker: is it for us, from one we know, and new? ---- */

static int check_target(struct arriving *a)
{
    char theirs[VT_UUID_TEXT], ours[VT_UUID_TEXT];

    if (vt_uuid_equal(&a->head.target, &a->broker->store))
        return VT_OK;
    vt_uuid_text(theirs, &a->head.target);
    vt_uuid_text(ours, &a->broker->store);
    return vt_fail(&a->why, VT_ECONFLICT, "it was exported to store %s, and this is store %s", theirs, ours);
}

static int find_source(struct arriving *a)
{
    char store[VT_UUID_TEXT];
    int err = db_peer_get(a->broker->db, NULL, &a->head.source, &a->source);

    if (err != VT_ENOTFOUND)
        return err;
    vt_uuid_text(store, &a->head.source);
    return vt_fail(&a->why, VT_EPERM, "it comes from store %s, which is no peer of this one: vtpmctl server peer "
                   "add, with that server's key", store);
}

static int check_new(struct arriving *a)
{
    char id[2 * DB_EXPORT_ID + 1];
    bool seen;
    int err = db_imported(a->broker->db, a->head.id, &seen);

    if (err || !seen)
        return err;
    vt_hex(id, a->head.id, sizeof a->head.id);
    return vt_fail(&a->why, VT_EEXISTS, "export %s was imported here before: an export is imported once only",
                   id);
}

/* What was claimed, and not another one that the same source has sent here. */
static int check_claimed(struct arriving *a)
{
    if (!a->is_claimed || (vt_uuid_equal(&a->claimed, &a->moving.uuid) && vt_uuid_equal(&a->claimed_of, &a->head.source)))
        return VT_OK;
    return vt_fail(&a->why, VT_EPROTO, "its source has sent another instance than the one that was asked for");
}

static int accept_bundle(struct arriving *a)
{
    struct vt_why *why = &a->why;
    int err = bundle_read(&a->head, a->bundle, a->bundle_len, why);

    if (!err)
        err = check_target(a);
    if (!err)
        err = server_key_open(a->broker->db, a->broker->keys, a->own, why);
    if (!err)
        err = find_source(a);
    if (!err)
        err = bundle_verify(a->bundle, a->bundle_len, a->source.public, why);
    if (!err)
        err = check_new(a);
    if (!err)
        err = bundle_open(&a->head, a->bundle, a->bundle_len, a->own, &a->moving, why);
    return err;
}

static int check_place(struct arriving *a)
{
    int err = check_claimed(a);

    if (!err)
        err = arrive_uuid_free(a->broker, &a->moving.uuid, a->moving.record.seq, &a->returns, &a->why);
    if (!err)
        err = arrive_name_free(a->broker, &a->moving.uuid, a->moving.name, &a->why);
    return err ? err : arrive_version_known(arrive_version_of(&a->moving.record), &a->why);
}

/* ---- Sealed anew, under a new key ---- */

static const char *const power_words[] = {
    [RECORD_OFF] = "off", [RECORD_ON] = "on", [RECORD_NEEDS_POWER_ON] = "needs-power-on"};

static void fill_row(struct arriving *a)
{
    const struct moving *m = &a->moving;

    a->row.uuid = m->uuid;
    memcpy(a->row.name, m->name, sizeof a->row.name);
    memcpy(a->row.group, m->group, sizeof a->row.group);
    memcpy(a->row.profile, m->profile, sizeof a->row.profile);
    snprintf(a->row.power, sizeof a->row.power, "%s", power_words[m->record.power]);
    a->row.has_ek = m->has_ek;
    memcpy(a->row.ek_sha256, m->ek_sha256, sizeof a->row.ek_sha256);
    a->row.created = m->created;
    a->row.seq = m->record.seq;
    a->row.wrapped_key_len = SEAL_KEY_LEN;
    vt_uuid_text(a->credential.identity, &m->uuid);
    a->credential.version = 1;
    a->credential.sealed_len = SEAL_KEY_LEN;
}

/* Volatile state of another boot is void: this one is of now, because its source was fenced before it left. */
static int seal_records(struct arriving *a)
{
    struct record *record = &a->moving.record, mark;
    int err;

    memcpy(record->boot_id, a->broker->boot_id, sizeof record->boot_id);
    err = instance_seal_record(a->broker, &a->row.uuid, a->key, SEAL_DURABLE, record, a->record.tag, &a->record_data,
                               &a->record.len);
    if (err)
        return err;
    a->record.data = a->record_data;
    mark = *record;
    mark.permanent = mark.measures = (struct vt_bytes){0};
    err = instance_seal_record(a->broker, &a->row.uuid, a->key, SEAL_RUNTIME, &mark, a->mark.tag, &a->mark_data,
                               &a->mark.len);
    a->mark.data = a->mark_data;
    return err;
}

static int seal_all(struct arriving *a)
{
    struct broker *broker = a->broker;
    int err = cr_key_random(a->key, sizeof *a->key);

    fill_row(a);
    if (!err)
        err = keys_wrap_instance(broker->keys, &a->row.uuid, a->key, a->row.wrapped_key);
    if (!err)
        err = keys_seal_psk(broker->keys, a->credential.identity, a->credential.version, &a->moving.psk,
                            a->credential.sealed);
    return err ? err : seal_records(a);
}

static void work_import(void *arg)
{
    struct arriving *a = arg;

    a->err = accept_bundle(a);
    if (!a->err)
        a->err = check_place(a);
    if (!a->err)
        a->err = seal_all(a);
}

/* ---- On the loop: the mark, the store ---- */

/* A mark of an import that was cut off may be there, newer than what is in the store. */
static int write_mark(struct arriving *a, struct runtime_file *file)
{
    struct runtime_slot slots[2];
    size_t count = runtime_read(file, slots);

    for (size_t i = 0; i < count; i++)
        if (slots[i].seq >= a->row.seq)
            runtime_drop(file, slots[i].seq);
    return runtime_write(file, a->row.seq, a->mark.tag, a->mark.data, a->mark.len);
}

/* record-and-recovery.md: as long as an instance is on, its runtime file holds a record of this boot. */
static int put_mark(struct arriving *a)
{
    struct runtime_file *file;
    int err;

    if (a->moving.record.power != RECORD_ON)
        return VT_OK;
    if (!a->returns)
        (void)!runtime_file_remove(a->broker->runtime, &a->row.uuid);
    err = runtime_file_open(&file, a->broker->runtime, &a->row.uuid, true);
    if (err)
        return err;
    a->is_marked = true;
    err = write_mark(a, file);
    runtime_file_close(file);
    return err;
}

static void undo_mark(struct arriving *a)
{
    struct runtime_file *file;

    if (!a->is_marked)
        return;
    if (!a->returns) {
        (void)!runtime_file_remove(a->broker->runtime, &a->row.uuid);
    } else if (!runtime_file_open(&file, a->broker->runtime, &a->row.uuid, false)) {
        runtime_drop(file, a->row.seq);
        runtime_file_close(file);
    }
}

static void on_imported(void *arg, int err)
{
    struct arriving *a = arg;

    if (err && err != VT_EUNKNOWN)
        undo_mark(a);
    if (err == VT_EEXISTS || err == VT_EFENCED)
        vt_fail(&a->why, err, "its name or uuid was taken meanwhile; nothing was changed");
    end(a, err);
}

static int store(struct arriving *a)
{
    struct db_import_args args = {.source = a->head.source, .instance = &a->row, .record = a->record,
                                  .credential = &a->credential, .binding_count = a->moving.binding_count};
    char text[256], source[VT_UUID_TEXT], id[2 * DB_EXPORT_ID + 1];
    struct db_binding *bindings = vt_calloc(args.binding_count, sizeof *bindings);
    struct db_audit audit = {.kind = "import", .uuid = &a->row.uuid, .peer = a->peer, .text = text};
    int err;

    if (!bindings)
        return VT_ENOMEM;
    for (size_t i = 0; i < args.binding_count; i++)
        memcpy(bindings[i].peer, a->moving.bindings[i], sizeof bindings[i].peer);
    args.bindings = bindings;
    memcpy(args.id, a->head.id, sizeof args.id);
    vt_uuid_text(source, &a->head.source);
    vt_hex(id, a->head.id, sizeof a->head.id);
    snprintf(text, sizeof text, "%s from %s, store %s, export %s", a->row.name, a->source.name, source, id);
    err = db_import(a->broker->db, &args, &audit, on_imported, a);
    vt_free(bindings);
    return err;
}

static void checked(void *arg)
{
    struct arriving *a = arg;
    struct instance *instance;
    int err = a->err;

    if (err || a->only_looks) {
        end(a, err);
        return;
    }
    /* What is in memory of one that left knows nothing of its return. */
    instance = instance_in_memory(a->broker, &a->row.uuid);
    if (instance)
        instance_evict(instance, VT_EAGAIN, "the instance came back from another server: attach again");
    err = put_mark(a);
    if (err)
        vt_fail(&a->why, err, "the runtime directory takes no file: %s", vt_err_text(err));
    else
        err = store(a);
    if (err) {
        undo_mark(a);
        end(a, err);
    }
}

/* ---- One after the other ---- */

static void start(struct arriving *a)
{
    int err = vt_vault_take(a->broker->vault, &a->own, &a->why);

    if (!err)
        err = vt_vault_take(a->broker->vault, &a->key, &a->why);
    if (!err)
        err = a->work(a->broker, work_import, checked, a);
    if (err)
        end(a, err);
}

static void start_next(struct broker *broker)
{
    struct arriving *a;

    if (broker->importing || vt_list_empty(&broker->arrivals))
        return;
    a = VT_LIST_ENTRY(broker->arrivals.next, struct arriving, node);
    vt_list_remove(&a->node);
    broker->importing = true;
    start(a);
}

int arrive(struct broker *broker, const struct arrive_args *args, arrive_done done, void *arg)
{
    struct arriving *a = VT_NEW(struct arriving);

    if (!a)
        return VT_ENOMEM;
    *a = (struct arriving){.broker = broker, .done = done, .arg = arg, .work = args->work, .err = VT_ENOMEM};
    snprintf(a->peer, sizeof a->peer, "%s", args->peer);
    a->only_looks = args->only_looks;
    a->is_claimed = args->claimed != NULL;
    if (a->is_claimed) {
        a->claimed = *args->claimed;
        a->claimed_of = *args->source;
    }
    a->bundle_len = args->len;
    a->bundle = args->len ? vt_memdup(args->bundle, args->len) : vt_calloc(1, 1);
    if (!a->bundle) {
        arriving_free(a);
        return VT_ENOMEM;
    }
    vt_list_add(&broker->arrivals, &a->node);
    start_next(broker);
    return VT_OK;
}

int arrive_name_free(struct broker *broker, const struct vt_uuid *uuid, const char *name, struct vt_why *why)
{
    struct db_instance row;
    int err = db_instance_by_name(broker->db, name, &row);

    if (err == VT_ENOTFOUND || (!err && vt_uuid_equal(&row.uuid, uuid)))
        return VT_OK;
    if (err)
        return err;
    return vt_fail(why, VT_EEXISTS, "another instance is called %s here: vtpmctl instance rename %s", row.name, row.name);
}

int arrive_uuid_free(struct broker *broker, const struct vt_uuid *uuid, uint64_t seq, bool *returns, struct vt_why *why)
{
    struct db_instance row;
    struct db_export export;
    char text[VT_UUID_TEXT];
    int err = db_instance_get(broker->db, uuid, &row);

    *returns = false;
    if (err == VT_ENOTFOUND)
        return VT_OK;
    if (!err)
        err = db_export_get(broker->db, uuid, &export);
    vt_uuid_text(text, uuid);
    if (err == VT_ENOTFOUND)
        return vt_fail(why, VT_EEXISTS, row.life == DB_DELETED
                       ? "instance %s was deleted here and its uuid is not used again"
                       : "instance %s is here already", text);
    if (err)
        return err;
    *returns = true;
    if (seq > row.seq)
        return VT_OK;
    return vt_fail(why, VT_ECONFLICT, "instance %s left from here with record %llu, and this brings record %llu: an "
                   "older state of it is not taken", text, (unsigned long long)row.seq, (unsigned long long)seq);
}

int arrive_version_known(unsigned version, struct vt_why *why)
{
    if (version <= FZ_VERSION)
        return VT_OK;
    return vt_fail(why, VT_ENOTSUP, "its state is of version %u, made by a newer vtpm-server; this one knows up to %d",
                   version, FZ_VERSION);
}

unsigned arrive_version_of(const struct record *record)
{
    struct rd r = rd_from(record->permanent.data, record->permanent.len);
    const uint8_t *magic = rd_take(&r, 4);
    unsigned version = rd_get16(&r);

    return r.bad || memcmp(magic, "VTPM", 4) != 0 ? 0 : version;
}
