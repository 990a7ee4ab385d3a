/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/db_fixture.h"

#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct vt_uuid fx_store = {{0x57, 0x0e, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}};

/* Four lanes of a keyed multiply-and-rotate hash: not a MAC, but any changed byte changes it. */
static void toy(uint64_t key, uint8_t domain, const uint8_t *bytes, size_t len, uint8_t out[32])
{
    for (unsigned lane = 0; lane < 4; lane++) {
        uint64_t h = key ^ (0x9e3779b97f4a7c15ull * (lane + 1)) ^ domain;

        for (size_t i = 0; i < len; i++) {
            h = (h ^ bytes[i]) * 0x100000001b3ull;
            h ^= h >> 29;
        }
        h *= 0xbf58476d1ce4e5b9ull;
        h ^= h >> 32;
        memcpy(out + 8 * lane, &h, sizeof h);
    }
}

static void toy_row(void *ctx, const void *bytes, size_t len, uint8_t out[32])
{
    toy(*(const uint64_t *)ctx, 1, bytes, len, out);
}

static void toy_event(void *ctx, const void *bytes, size_t len, uint8_t out[32])
{
    toy(*(const uint64_t *)ctx, 2, bytes, len, out);
}

static void toy_seal(void *ctx, const uint8_t digest[32], uint64_t generation, uint64_t rows, uint8_t out[32])
{
    uint8_t all[48];

    memcpy(all, digest, 32);
    memcpy(all + 32, &generation, 8);
    memcpy(all + 40, &rows, 8);
    toy(*(const uint64_t *)ctx, 3, all, sizeof all, out);
}

static void on_wake(void *ctx)
{
    struct fixture *fx = ctx;

    atomic_fetch_add(&fx->wakes, 1);
    pthread_mutex_lock(&fx->gate);
    pthread_mutex_unlock(&fx->gate);
}

void fx_dir(struct fixture *fx)
{
    memset(fx, 0, sizeof *fx);
    pthread_mutex_init(&fx->gate, NULL);
    snprintf(fx->dir, sizeof fx->dir, "/tmp/vtpm-db-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
    fx->key = 0x1122334455667788ull;
    fx->mac = (struct db_mac){&fx->key, toy_row, toy_seal, toy_event};
    fx->config = (struct db_config){.dir = fx->dir, .wake = on_wake, .wake_ctx = fx};
}

void fx_make(struct fixture *fx)
{
    struct vt_why why = {""};

    fx_dir(fx);
    if (db_create(fx->dir, &fx_store, &why) || db_open(&fx->config, &fx->db, &why) ||
        db_start(fx->db, &fx->mac, true, &why))
        fail_msg("%s", why.text);
    assert_int_equal(fx_slot(fx, -1, "keyfile", NULL), VT_OK);
}

void fx_open(struct fixture *fx)
{
    struct vt_why why = {""};

    if (db_open(&fx->config, &fx->db, &why) || db_start(fx->db, &fx->mac, false, &why))
        fail_msg("%s", why.text);
}

void fx_open_fails(struct fixture *fx, int err, struct vt_why *why)
{
    struct vt_why own = {""};
    int got = db_open(&fx->config, &fx->db, &own);

    if (!got)
        got = db_start(fx->db, &fx->mac, false, &own);
    fx_close(fx);
    if (got != err)
        fail_msg("expected %d, got %d: %s", err, got, own.text);
    assert_true(own.text[0] != '\0');
    if (why)
        *why = own;
}

void fx_close(struct fixture *fx)
{
    db_close(fx->db);
    fx->db = NULL;
}

void fx_path(const struct fixture *fx, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", fx->dir, name);
}

void fx_remove(struct fixture *fx)
{
    DIR *dir;
    const struct dirent *entry;

    fx_close(fx);
    dir = opendir(fx->dir);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char path[400];

        fx_path(fx, entry->d_name, path, sizeof path);
        (void)unlink(path);
    }
    closedir(dir);
    assert_int_equal(rmdir(fx->dir), 0);
    pthread_mutex_destroy(&fx->gate);
}

void fx_expect_whole(struct fixture *fx)
{
    struct db_check check;

    assert_int_equal(db_check(fx->db, &check), VT_OK);
    if (!check.mac_ok || !check.chain_ok || !check.structure_ok)
        fail_msg("%s", check.text);
}

void fx_end(struct fixture *fx)
{
    fx_expect_whole(fx);
    fx_close(fx);
    fx_open(fx);
    fx_remove(fx);
}

static sqlite3 *foreign(const struct fixture *fx)
{
    char path[128];
    sqlite3 *sq;

    fx_path(fx, "vtpm.db", path, sizeof path);
    assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(sq, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF", NULL, NULL, NULL),
        SQLITE_OK);
    return sq;
}

void fx_sql(const struct fixture *fx, const char *sql)
{
    sqlite3 *sq = foreign(fx);

    if (sqlite3_exec(sq, sql, NULL, NULL, NULL))
        fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
    sqlite3_close(sq);
}

void fx_ask(const struct fixture *fx, const char *sql, char *out, size_t size)
{
    sqlite3 *sq = foreign(fx);
    sqlite3_stmt *st;

    out[0] = '\0';
    if (sqlite3_prepare_v2(sq, sql, -1, &st, NULL))
        fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
    if (sqlite3_step(st) == SQLITE_ROW && sqlite3_column_text(st, 0))
        snprintf(out, size, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    sqlite3_close(sq);
}

void fx_done(void *err, int result)
{
    assert_int_equal(*(int *)err, FX_PENDING);
    *(int *)err = result;
}

/* A call that was accepted has called back when the queue is empty. */
static int wait_for(struct fixture *fx, int called, const int *err)
{
    if (called) {
        assert_int_equal(*err, FX_PENDING);
        return called;
    }
    db_drain(fx->db);
    assert_int_not_equal(*err, FX_PENDING);
    return *err;
}

struct vt_uuid fx_uuid(unsigned n)
{
    struct vt_uuid uuid = {{0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x40, 0x11, 0x80, 0x22}};

    uuid.bytes[14] = (uint8_t)(n >> 8);
    uuid.bytes[15] = (uint8_t)n;
    return uuid;
}

int fx_create(struct fixture *fx, unsigned n, const char *name)
{
    const struct db_audit audit = {"instance.create", NULL, "uid=0", name};
    const uint8_t first[] = "first record";
    struct db_instance instance = {
        .uuid = fx_uuid(n), .wrapped_key = {1, 2, 3, (uint8_t)n}, .wrapped_key_len = 60};
    struct db_credential credential = {.sealed = {4, 5, 6, (uint8_t)n}, .sealed_len = 60, .version = 1};
    struct db_create_args args = {&instance, {{7, (uint8_t)n}, first, sizeof first}, &credential};
    int err = FX_PENDING;

    snprintf(instance.name, sizeof instance.name, "%s", name);
    snprintf(instance.group, sizeof instance.group, "web");
    snprintf(instance.profile, sizeof instance.profile, "pc-client");
    instance.has_ek = true;
    memset(instance.ek_sha256, 0xe0 + (int)(n % 16), sizeof instance.ek_sha256);
    vt_uuid_text(credential.identity, &instance.uuid);
    return wait_for(fx, db_instance_create(fx->db, &args, &audit, fx_done, &err), &err);
}

int fx_acquire(struct fixture *fx, unsigned n, uint64_t *epoch)
{
    const struct vt_uuid uuid = fx_uuid(n);
    int err = FX_PENDING;

    return wait_for(fx, db_acquire(fx->db, &uuid, epoch, fx_done, &err), &err);
}

int fx_commit(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, const char *record)
{
    struct db_commit_args args = {
        .uuid = fx_uuid(n), .epoch = epoch, .expected_seq = expected, .seq = expected + 1};
    int err = FX_PENDING;

    args.record =
        (struct db_sealed){{9, (uint8_t)expected, (uint8_t)n}, (const uint8_t *)record, strlen(record)};
    return wait_for(fx, db_commit(fx->db, &args, NULL, fx_done, &err), &err);
}

int fx_commit_start(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, int *err)
{
    static const uint8_t record[3000] = {1};
    struct db_commit_args args = {
        .uuid = fx_uuid(n), .epoch = epoch, .expected_seq = expected, .seq = expected + 1};

    args.record = (struct db_sealed){{8, (uint8_t)expected}, record, sizeof record};
    *err = FX_PENDING;
    return db_commit(fx->db, &args, NULL, fx_done, err);
}

int fx_life(struct fixture *fx, unsigned n, enum db_life life, const char *reason)
{
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"instance.life", &uuid, "uid=0", reason};
    int err = FX_PENDING;

    return wait_for(fx, db_instance_life(fx->db, &uuid, life, reason, &audit, fx_done, &err), &err);
}

int fx_rename(struct fixture *fx, unsigned n, const char *name)
{
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"instance.rename", &uuid, "uid=0", name};
    int err = FX_PENDING;

    return wait_for(fx, db_instance_rename(fx->db, &uuid, name, &audit, fx_done, &err), &err);
}

int fx_bind(struct fixture *fx, unsigned n, const char *peer)
{
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"binding-add", &uuid, "uid=0", peer};
    int err = FX_PENDING;

    return wait_for(fx, db_binding_add(fx->db, &uuid, peer, &audit, fx_done, &err), &err);
}

int fx_unbind(struct fixture *fx, unsigned n, const char *peer)
{
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"binding-remove", &uuid, "uid=0", peer};
    int err = FX_PENDING;

    return wait_for(fx, db_binding_remove(fx->db, &uuid, peer, &audit, fx_done, &err), &err);
}

static int put_credential(struct fixture *fx, const char *identity, uint64_t version,
                          const struct vt_uuid *list, size_t count)
{
    const struct db_audit audit = {"credential.put", NULL, "uid=0", identity};
    struct db_credential credential = {
        .sealed = {0xcc, (uint8_t)version}, .sealed_len = 60, .version = version};
    int err = FX_PENDING;

    snprintf(credential.identity, sizeof credential.identity, "%s", identity);
    return wait_for(fx, db_credential_put(fx->db, &credential, list, count, &audit, fx_done, &err), &err);
}

int fx_host(struct fixture *fx, const char *identity, unsigned first, unsigned count)
{
    struct vt_uuid list[8];

    for (unsigned i = 0; i < count; i++)
        list[i] = fx_uuid(first + i);
    return put_credential(fx, identity, 1, list, count);
}

int fx_rotate(struct fixture *fx, const char *identity, uint64_t version)
{
    return put_credential(fx, identity, version, NULL, 0);
}

int fx_slot(struct fixture *fx, int64_t slot_id, const char *kind, int64_t *id)
{
    const struct db_audit audit = {"keyslot.add", NULL, "uid=0", kind};
    struct db_keyslot slot = {.id = slot_id, .params = "{\"n\":17}", .wrapped = {1, 2, 3}, .wrapped_len = 60};
    int err = FX_PENDING;

    snprintf(slot.kind, sizeof slot.kind, "%s", kind);
    return wait_for(fx, db_keyslot_put(fx->db, &slot, id, &audit, fx_done, &err), &err);
}

int fx_slot_remove(struct fixture *fx, int64_t id)
{
    const struct db_audit audit = {"keyslot.remove", NULL, "uid=0", ""};
    int err = FX_PENDING;

    return wait_for(fx, db_keyslot_remove(fx->db, id, &audit, fx_done, &err), &err);
}

int fx_event(struct fixture *fx, const char *text)
{
    const struct db_audit audit = {"note", NULL, "uid=0", text};
    int err = FX_PENDING;

    return wait_for(fx, db_event_add(fx->db, &audit, fx_done, &err), &err);
}

void fx_hold(struct fixture *fx)
{
    const struct db_audit audit = {"hold", NULL, NULL, NULL};
    const int wakes = atomic_load(&fx->wakes);

    pthread_mutex_lock(&fx->gate);
    assert_int_equal(db_event_add(fx->db, &audit, NULL, NULL), VT_OK);
    while (atomic_load(&fx->wakes) == wakes)
        usleep(100);
}

void fx_release(struct fixture *fx)
{
    pthread_mutex_unlock(&fx->gate);
}

struct db_peer fx_peer(unsigned n)
{
    struct db_peer peer = {.store = {{0x70, (uint8_t)(n >> 8), (uint8_t)n}}};

    snprintf(peer.name, sizeof peer.name, "peer%u", n);
    memset(peer.public, (int)n, sizeof peer.public);
    return peer;
}

int fx_server_key(struct fixture *fx, unsigned n)
{
    struct db_server_key key = {.sealed_len = 60};
    int err = FX_PENDING;

    memset(key.public, (int)n, sizeof key.public);
    return wait_for(fx, db_server_key_put(fx->db, &key, NULL, fx_done, &err), &err);
}

int fx_host_ak(struct fixture *fx, unsigned n, bool replace)
{
    struct db_host_ak ak = {.kind = "tpm2", .blob_len = 600};
    int err = FX_PENDING;

    memset(ak.modulus, (int)n, sizeof ak.modulus);
    memset(ak.blob, (int)n, ak.blob_len);
    return wait_for(fx, db_host_ak_put(fx->db, &ak, replace, NULL, fx_done, &err), &err);
}

int fx_peer_add(struct fixture *fx, unsigned n)
{
    const struct db_peer peer = fx_peer(n);
    const struct db_audit audit = {"peer-add", NULL, "uid=0", peer.name};
    int err = FX_PENDING;

    return wait_for(fx, db_peer_add(fx->db, &peer, &audit, fx_done, &err), &err);
}

int fx_peer_remove(struct fixture *fx, unsigned n)
{
    const struct db_peer peer = fx_peer(n);
    int err = FX_PENDING;

    return wait_for(fx, db_peer_remove(fx->db, peer.name, NULL, fx_done, &err), &err);
}

int fx_export(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, uint8_t id)
{
    static const uint8_t last[] = "the last record here";
    const struct db_export export = {.id = {id}, .peer = fx_peer(1)};
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"export", &uuid, "uid=0", "to peer1"};
    struct db_commit_args args = {.uuid = uuid, .epoch = epoch, .expected_seq = expected, .seq = expected + 1,
                                  .record = {{10, id}, last, sizeof last}, .export = &export,
                                  .reason = "exported to peer1"};
    int err = FX_PENDING;

    return wait_for(fx, db_commit(fx->db, &args, &audit, fx_done, &err), &err);
}

int fx_import(struct fixture *fx, unsigned n, const char *name, uint64_t seq, uint8_t id)
{
    static const struct db_binding bindings[] = {{.peer = "dom0"}, {.peer = "name:guest"}};
    static const uint8_t record[] = "from elsewhere";
    struct db_instance instance = {.uuid = fx_uuid(n), .group = "db", .profile = "other", .power = "on", .seq = seq,
                                   .wrapped_key = {9, 9, id}, .wrapped_key_len = 60, .created = 1234};
    struct db_credential credential = {.sealed = {8, 8, id}, .sealed_len = 60, .version = 1};
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"import", &uuid, "uid=0", name};
    struct db_import_args args = {.id = {id}, .source = fx_peer(1).store, .instance = &instance,
                                  .record = {{11, id}, record, sizeof record}, .credential = &credential,
                                  .bindings = bindings, .binding_count = VT_COUNT(bindings)};
    int err = FX_PENDING;

    snprintf(instance.name, sizeof instance.name, "%s", name);
    vt_uuid_text(credential.identity, &uuid);
    return wait_for(fx, db_import(fx->db, &args, &audit, fx_done, &err), &err);
}

int fx_take_back(struct fixture *fx, unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    const struct db_audit audit = {"take-back", &uuid, "uid=0", ""};
    int err = FX_PENDING;

    return wait_for(fx, db_take_back(fx->db, &uuid, &audit, fx_done, &err), &err);
}
