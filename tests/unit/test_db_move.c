/* SPDX-License-Identifier: Apache-2.0 */
/* The store's key, known servers, exports, imports and backups. */
#include "tests/unit/db_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "server/base/alloc.h"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    return 0;
}

/* Whatever a test did, the store must verify, then and when it is opened again. */
static int teardown(void **state)
{
    (void)state;
    fx_end(&fx);
    return 0;
}

static struct db_instance get(unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    struct db_instance instance;

    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
    return instance;
}

static bool is_exported(unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    struct db_export export;
    int err = db_export_get(fx.db, &uuid, &export);

    assert_true(err == VT_OK || err == VT_ENOTFOUND);
    return !err;
}

static bool was_imported(uint8_t first)
{
    const uint8_t id[DB_EXPORT_ID] = {first};
    bool seen;

    assert_int_equal(db_imported(fx.db, id, &seen), VT_OK);
    return seen;
}

static uint64_t generation(void)
{
    char text[32];

    fx_ask(&fx, "SELECT generation FROM meta", text, sizeof text);
    return strtoull(text, NULL, 10);
}

static void test_server_key__put_twice__the_first_stays(void **state)
{
    struct db_server_key key;

    (void)state;
    assert_int_equal(db_server_key_get(fx.db, &key), VT_ENOTFOUND);
    assert_int_equal(fx_server_key(&fx, 5), VT_OK);
    assert_int_equal(fx_server_key(&fx, 6), VT_EEXISTS);
    assert_int_equal(db_server_key_get(fx.db, &key), VT_OK);
    assert_int_equal(key.public[64], 5);
    assert_int_equal(key.sealed_len, 60);
}

static int count_peer(void *ctx, const struct db_peer *peer)
{
    assert_non_null(peer->name);
    ++*(unsigned *)ctx;
    return VT_OK;
}

static void test_peer__name_or_store_known__refused(void **state)
{
    const struct db_peer first = fx_peer(1);
    struct db_peer peer;
    unsigned count = 0;
    int err = FX_PENDING;

    (void)state;
    assert_int_equal(fx_peer_add(&fx, 1), VT_OK);
    assert_int_equal(fx_peer_add(&fx, 1), VT_EEXISTS);
    peer = fx_peer(2);
    peer.store = first.store;
    assert_int_equal(db_peer_add(fx.db, &peer, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    assert_int_equal(err, VT_EEXISTS);
    assert_int_equal(db_peer_get(fx.db, "peer1", NULL, &peer), VT_OK);
    assert_memory_equal(peer.public, first.public, sizeof peer.public);
    assert_int_equal(db_peer_get(fx.db, NULL, &first.store, &peer), VT_OK);
    assert_string_equal(peer.name, "peer1");
    assert_int_equal(db_peer_get(fx.db, "peer2", NULL, &peer), VT_ENOTFOUND);
    assert_int_equal(fx_peer_remove(&fx, 2), VT_ENOTFOUND);
    assert_int_equal(fx_peer_remove(&fx, 1), VT_OK);
    assert_int_equal(db_peer_each(fx.db, count_peer, &count), VT_OK);
    assert_int_equal(count, 0);
}

static void test_peer__as_many_as_there_may_be__one_more_is_refused(void **state)
{
    (void)state;
    for (unsigned n = 0; n < DB_PEERS_KNOWN; n++) {
        const struct db_peer peer = fx_peer(n);
        int err = FX_PENDING;

        assert_int_equal(db_peer_add(fx.db, &peer, NULL, fx_done, &err), VT_OK);
        db_drain(fx.db);
        assert_int_equal(err, VT_OK);
    }
    assert_int_equal(fx_peer_add(&fx, DB_PEERS_KNOWN), VT_ECONFLICT);
}

static void test_export__committed__fenced_in_the_same_transaction(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct db_instance instance;
    struct db_export export;
    uint64_t epoch;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_export(&fx, 1, epoch, 1, 0xe1), VT_OK);
    instance = get(1);
    assert_int_equal(instance.life, DB_DISABLED);
    assert_string_equal(instance.reason, "exported to peer1");
    assert_int_equal(instance.seq, 2);
    assert_int_equal(instance.epoch, epoch + 1);
    assert_int_equal(db_export_get(fx.db, &uuid, &export), VT_OK);
    assert_int_equal(export.id[0], 0xe1);
    assert_string_equal(export.peer.name, "peer1");
    assert_true(export.time > 0);
    /* Its former owner is out, and nobody makes it live by the way. */
    assert_int_equal(fx_commit(&fx, 1, epoch, 2, "late"), VT_EFENCED);
    assert_int_equal(fx_life(&fx, 1, DB_LIVE, NULL), VT_ECONFLICT);
    assert_int_equal(get(1).life, DB_DISABLED);
}

static void test_export__not_live_or_not_ours__nothing_of_it(void **state)
{
    uint64_t epoch, newer, before;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &newer), VT_OK);
    assert_int_equal(fx_export(&fx, 1, epoch, 1, 1), VT_EFENCED);
    assert_int_equal(fx_export(&fx, 1, newer, 2, 1), VT_ECONFLICT);
    assert_int_equal(fx_life(&fx, 1, DB_DISABLED, NULL), VT_OK);
    before = generation();
    assert_int_equal(fx_export(&fx, 1, newer, 1, 1), VT_ECONFLICT);
    assert_int_equal(generation(), before);
    assert_false(is_exported(1));
    assert_int_equal(get(1).seq, 1);
}

static void test_take_back__exported__live_again_under_a_new_epoch(void **state)
{
    uint64_t epoch, again;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_take_back(&fx, 1), VT_ENOTFOUND);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_export(&fx, 1, epoch, 1, 1), VT_OK);
    assert_int_equal(fx_take_back(&fx, 1), VT_OK);
    assert_int_equal(get(1).life, DB_LIVE);
    assert_string_equal(get(1).reason, "");
    assert_false(is_exported(1));
    assert_int_equal(fx_acquire(&fx, 1, &again), VT_OK);
    assert_true(again > epoch + 1);
    assert_int_equal(fx_commit(&fx, 1, again, 2, "goes on"), VT_OK);
}

static void test_import__new__all_of_it_is_there(void **state)
{
    const struct vt_uuid uuid = fx_uuid(4);
    struct db_credential credential;
    char identity[VT_UUID_TEXT];
    struct db_instance instance;
    struct db_sealed record;
    uint8_t *data VT_AUTOFREE = NULL;
    uint64_t seq, epoch;
    bool bound;

    (void)state;
    assert_int_equal(fx_import(&fx, 4, "four", 77, 1), VT_OK);
    instance = get(4);
    assert_string_equal(instance.name, "four");
    assert_string_equal(instance.group, "db");
    assert_string_equal(instance.profile, "other");
    assert_string_equal(instance.power, "on");
    assert_int_equal(instance.life, DB_LIVE);
    assert_int_equal(instance.seq, 77);
    assert_int_equal(instance.created, 1234);
    assert_false(instance.has_ek);
    assert_int_equal(instance.wrapped_key[2], 1);
    assert_int_equal(db_record_get(fx.db, &uuid, &seq, &record, &data), VT_OK);
    assert_int_equal(seq, 77);
    vt_uuid_text(identity, &uuid);
    assert_int_equal(db_credential_get(fx.db, identity, &credential), VT_OK);
    assert_int_equal(credential.version, 1);
    assert_int_equal(db_bound(fx.db, &uuid, (const char *[]){"name:guest"}, 1, &bound), VT_OK);
    assert_true(bound && was_imported(1));
    assert_int_equal(fx_acquire(&fx, 4, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 4, epoch, 77, "goes on"), VT_OK);
}

static void test_import__same_export_again__refused_for_ever(void **state)
{
    uint64_t before;

    (void)state;
    assert_int_equal(fx_import(&fx, 4, "four", 77, 1), VT_OK);
    before = generation();
    assert_int_equal(fx_import(&fx, 4, "four", 78, 1), VT_EEXISTS);
    assert_int_equal(fx_import(&fx, 5, "five", 78, 1), VT_EEXISTS);
    assert_int_equal(generation(), before);
    assert_int_equal(fx_life(&fx, 4, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_import(&fx, 5, "five", 78, 1), VT_EEXISTS);
}

static void test_import__name_or_uuid_taken__nothing_of_it(void **state)
{
    uint64_t before;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_life(&fx, 2, DB_DELETED, NULL), VT_OK);
    before = generation();
    assert_int_equal(fx_import(&fx, 1, "other", 9, 1), VT_EEXISTS);
    assert_int_equal(fx_import(&fx, 2, "other", 9, 1), VT_EEXISTS);
    assert_int_equal(fx_import(&fx, 3, "one", 9, 1), VT_EEXISTS);
    assert_int_equal(generation(), before);
    assert_false(was_imported(1));
    assert_int_equal(fx_import(&fx, 3, "three", 9, 1), VT_OK);
}

static void leave(unsigned n, uint8_t id)
{
    uint64_t epoch;

    assert_int_equal(fx_acquire(&fx, n, &epoch), VT_OK);
    assert_int_equal(fx_export(&fx, n, epoch, get(n).seq, id), VT_OK);
}

static void test_import__of_one_that_left__replaces_it_if_newer(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    bool allowed;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_host(&fx, "host:h", 1, 1), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "name:old"), VT_OK);
    leave(1, 1);
    assert_int_equal(fx_import(&fx, 1, "one", 2, 2), VT_EFENCED);
    assert_true(is_exported(1) && !was_imported(2));
    assert_int_equal(fx_import(&fx, 1, "uno", 3, 2), VT_OK);
    assert_false(is_exported(1));
    assert_int_equal(get(1).life, DB_LIVE);
    assert_string_equal(get(1).name, "uno");
    assert_int_equal(get(1).wrapped_key[2], 2);
    /* What a host credential may attach is not the instance's own. */
    assert_int_equal(db_credential_allows(fx.db, "host:h", &uuid, &allowed), VT_OK);
    assert_true(allowed);
    assert_int_equal(db_bound(fx.db, &uuid, (const char *[]){"name:old"}, 1, &allowed), VT_OK);
    assert_false(allowed);
}

static void test_import__of_one_that_left_and_was_deleted__comes_back(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    leave(1, 1);
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_import(&fx, 1, "one", 2, 2), VT_EFENCED);
    assert_int_equal(fx_import(&fx, 1, "one", 3, 3), VT_OK);
    assert_int_equal(get(1).life, DB_LIVE);
}

static void test_host_ak__put_twice_and_replaced__as_asked(void **state)
{
    struct db_host_ak ak;
    struct db_check check;

    (void)state;
    assert_int_equal(db_host_ak_get(fx.db, &ak), VT_ENOTFOUND);
    assert_int_equal(fx_host_ak(&fx, 5, false), VT_OK);
    assert_int_equal(fx_host_ak(&fx, 6, false), VT_EEXISTS);
    assert_int_equal(db_host_ak_get(fx.db, &ak), VT_OK);
    assert_string_equal(ak.kind, "tpm2");
    assert_int_equal(ak.modulus[255], 5);
    assert_int_equal(ak.blob_len, 600);
    assert_int_equal(ak.blob[599], 5);
    assert_int_equal(fx_host_ak(&fx, 7, true), VT_OK);
    assert_int_equal(db_host_ak_get(fx.db, &ak), VT_OK);
    assert_int_equal(ak.modulus[0], 7);
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    assert_true(check.mac_ok);
    fx_remove(&fx);
    fx_make(&fx);
    assert_int_equal(fx_host_ak(&fx, 8, true), VT_OK); /* in the place of none */
    assert_int_equal(db_host_ak_get(fx.db, &ak), VT_OK);
}

static void test_moves__a_row_altered__found(void **state)
{
    static const char *const changes[] = {
        "UPDATE server_key SET public = zeroblob(65)", "DELETE FROM server_key",
        "UPDATE peer SET public = zeroblob(65)",       "DELETE FROM exported",
        "DELETE FROM imported",                        "UPDATE exported SET peer = 'x'",
        "UPDATE instance SET life = 0, reason = '' WHERE life = 1",
        "UPDATE host_ak SET blob = x'00'",             "DELETE FROM host_ak"};
    struct db_check check;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(changes); i++) {
        assert_int_equal(fx_server_key(&fx, 5), VT_OK);
        assert_int_equal(fx_host_ak(&fx, 5, false), VT_OK);
        assert_int_equal(fx_peer_add(&fx, 1), VT_OK);
        assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
        leave(1, 1);
        assert_int_equal(fx_import(&fx, 4, "four", 77, 1), VT_OK);
        fx_sql(&fx, changes[i]);
        assert_int_equal(db_check(fx.db, &check), VT_OK);
        if (check.mac_ok)
            fail_msg("not found: %s", changes[i]);
        fx_remove(&fx);
        fx_make(&fx);
    }
}

/* ---- Live migration: what is expected ---- */

static struct db_arriving arriving(unsigned n, uint8_t store, uint8_t ticket)
{
    struct db_arriving row = {.uuid = fx_uuid(n), .store = {{store}}, .sealed = {7}, .sealed_len = 60};

    row.has_ticket = ticket != 0;
    memset(row.ticket, ticket, sizeof row.ticket);
    return row;
}

static int expect(const struct db_arriving *row)
{
    int err = FX_PENDING;

    assert_int_equal(db_expect(fx.db, row, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

static int unexpect(unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    int err = FX_PENDING;

    assert_int_equal(db_unexpect(fx.db, &uuid, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

static int claim(unsigned n, uint8_t store, uint8_t ticket)
{
    const struct db_arriving row = arriving(n, store, ticket);
    int err = FX_PENDING;

    assert_int_equal(db_claim(fx.db, &row, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

static int unclaim(unsigned n, uint8_t ticket)
{
    const struct db_arriving row = arriving(n, 1, ticket);
    int err = FX_PENDING;

    assert_int_equal(db_unclaim(fx.db, &row, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

static void test_expect__claimed_and_refused__as_before(void **state)
{
    struct db_arriving row = arriving(1, 1, 0), got;

    (void)state;
    assert_int_equal(db_arriving_get(fx.db, &row.uuid, &got), VT_ENOTFOUND);
    assert_int_equal(expect(&row), VT_OK);
    row.sealed[0] = 8;
    assert_int_equal(expect(&row), VT_OK);
    assert_int_equal(claim(1, 2, 5), VT_ECONFLICT); /* from another store */
    assert_int_equal(claim(1, 1, 6), VT_OK);
    assert_int_equal(claim(1, 1, 6), VT_OK);
    assert_int_equal(claim(1, 1, 5), VT_OK);
    assert_int_equal(expect(&row), VT_ECONFLICT);
    assert_int_equal(unexpect(1), VT_ECONFLICT);
    assert_int_equal(db_arriving_get(fx.db, &row.uuid, &got), VT_OK);
    assert_true(got.has_ticket && got.ticket[119] == 5 && got.sealed[0] == 8 && got.sealed_len == 60 && got.time);
    assert_int_equal(unclaim(1, 6), VT_ENOTFOUND);
    assert_int_equal(unclaim(1, 5), VT_OK);
    assert_int_equal(unclaim(1, 5), VT_ENOTFOUND);
    assert_int_equal(db_arriving_get(fx.db, &row.uuid, &got), VT_OK);
    assert_true(!got.has_ticket && got.sealed_len == 60);
    assert_int_equal(unexpect(1), VT_OK);
    assert_int_equal(unexpect(1), VT_ENOTFOUND);
}

static int count_arriving(void *ctx, const struct db_arriving *row)
{
    assert_true(row->has_ticket && !row->sealed_len);
    ++*(unsigned *)ctx;
    return VT_OK;
}

/* As an instance that had left from here comes: there is a row only while its source is asked. */
static void test_claim__not_expected__its_row_goes_with_the_answer(void **state)
{
    unsigned count = 0;

    (void)state;
    assert_int_equal(claim(1, 1, 5), VT_OK);
    assert_int_equal(claim(2, 1, 6), VT_OK);
    assert_int_equal(db_arriving_each(fx.db, count_arriving, &count), VT_OK);
    assert_int_equal(count, 2);
    assert_int_equal(unclaim(1, 5), VT_OK);
    assert_int_equal(fx_import(&fx, 2, "two", 9, 1), VT_OK);
    count = 0;
    assert_int_equal(db_arriving_each(fx.db, count_arriving, &count), VT_OK);
    assert_int_equal(count, 0);
}

static void test_peer__with_an_address__comes_and_goes_with_it(void **state)
{
    struct db_peer peer = fx_peer(1), got;
    int err = FX_PENDING;

    (void)state;
    snprintf(peer.address, sizeof peer.address, "tcp:a.example:7000");
    assert_int_equal(db_peer_add(fx.db, &peer, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    assert_int_equal(err, VT_OK);
    assert_int_equal(db_peer_get(fx.db, "peer1", NULL, &got), VT_OK);
    assert_string_equal(got.address, "tcp:a.example:7000");
    assert_int_equal(fx_peer_add(&fx, 2), VT_OK);
    assert_int_equal(db_peer_get(fx.db, "peer2", NULL, &got), VT_OK);
    assert_string_equal(got.address, "");
    assert_int_equal(fx_peer_remove(&fx, 1), VT_OK);
    assert_int_equal(fx_peer_add(&fx, 1), VT_OK);
    assert_int_equal(db_peer_get(fx.db, "peer1", NULL, &got), VT_OK);
    assert_string_equal(got.address, "");
}

/* What nobody with the keys wrote is found. */
static void test_arriving__altered_outside__the_store_is_refused(void **state)
{
    const struct db_arriving row = arriving(1, 1, 0);
    struct vt_why why;

    (void)state;
    assert_int_equal(expect(&row), VT_OK);
    fx_close(&fx);
    fx_sql(&fx, "UPDATE arriving SET store = zeroblob(16)");
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    fx_sql(&fx, "UPDATE arriving SET store = x'01000000000000000000000000000000'");
    fx_open(&fx);
}

/* As a version 3 left it: what came since is made anew, and the MAC still holds. */
static void test_version_3__opened__is_migrated(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    fx_close(&fx);
    fx_sql(&fx, "DROP TABLE server_key; DROP TABLE peer; DROP TABLE exported; DROP TABLE imported;"
                "DROP TABLE anchor; DROP TABLE host_ak; DROP TABLE peer_address; DROP TABLE arriving;"
                "PRAGMA user_version = 3");
    fx_open(&fx);
    assert_int_equal(fx_server_key(&fx, 1), VT_OK);
    leave(1, 1);
}

/* ---- Backup ---- */

static void copy_path(char *out, size_t size)
{
    fx_path(&fx, "copy", out, size);
}

/* The copy as a store of its own. */
static void open_copy(struct fixture *copy)
{
    char from[160], to[160];

    fx_dir(copy);
    copy->key = fx.key;
    copy_path(from, sizeof from);
    fx_path(copy, "vtpm.db", to, sizeof to);
    assert_int_equal(rename(from, to), 0);
    fx_open(copy);
}

static void test_backup__beside_a_writer__one_commit(void **state)
{
    struct db_backup made;
    struct fixture copy;
    struct vt_why why = {""};
    uint64_t epoch, seq = 1;
    char path[160];
    struct stat st;
    int errs[200];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    for (unsigned i = 0; i < VT_COUNT(errs); i++)
        assert_int_equal(fx_commit_start(&fx, 1, epoch, seq++, &errs[i]), VT_OK);
    copy_path(path, sizeof path);
    if (db_backup(fx.db, path, &made, &why))
        fail_msg("%s", why.text);
    db_drain(fx.db);
    for (unsigned i = 0; i < VT_COUNT(errs); i++)
        assert_int_equal(errs[i], VT_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, made.bytes);
    assert_int_equal(made.instances, 1);
    assert_true(made.generation <= generation());
    open_copy(&copy);
    assert_int_equal(fx_commit(&copy, 1, epoch, seq, "not its seq unless all were in"),
                     made.generation == generation() ? VT_OK : VT_ECONFLICT);
    fx_remove(&copy);
}

static void test_backup__file_is_there__refused(void **state)
{
    struct vt_why why = {""};
    struct db_backup made;
    char path[160];

    (void)state;
    copy_path(path, sizeof path);
    assert_int_equal(db_backup(fx.db, path, &made, &why), VT_OK);
    assert_int_equal(db_backup(fx.db, path, &made, &why), VT_EEXISTS);
    assert_int_equal(unlink(path), 0);
}

static void test_backup__cancelled_or_damaged__leaves_no_file(void **state)
{
    struct vt_why why = {""};
    struct db_backup made;
    char path[160];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    copy_path(path, sizeof path);
    fx_sql(&fx, "UPDATE instance SET name = 'two'");
    assert_int_equal(db_backup(fx.db, path, &made, &why), VT_EDAMAGED);
    assert_non_null(strstr(why.text, "vtpmctl check"));
    assert_int_not_equal(access(path, F_OK), 0);
    fx_sql(&fx, "UPDATE instance SET name = 'one'");
    db_check_cancel(fx.db);
    assert_int_equal(db_backup(fx.db, path, &made, &why), VT_ECLOSED);
    assert_int_not_equal(access(path, F_OK), 0);
    fx_close(&fx);
    fx_open(&fx);
}

#define MOVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOVE_TEST(test_server_key__put_twice__the_first_stays),
        MOVE_TEST(test_host_ak__put_twice_and_replaced__as_asked),
        MOVE_TEST(test_peer__name_or_store_known__refused),
        MOVE_TEST(test_peer__as_many_as_there_may_be__one_more_is_refused),
        MOVE_TEST(test_export__committed__fenced_in_the_same_transaction),
        MOVE_TEST(test_export__not_live_or_not_ours__nothing_of_it),
        MOVE_TEST(test_take_back__exported__live_again_under_a_new_epoch),
        MOVE_TEST(test_import__new__all_of_it_is_there),
        MOVE_TEST(test_import__same_export_again__refused_for_ever),
        MOVE_TEST(test_import__name_or_uuid_taken__nothing_of_it),
        MOVE_TEST(test_import__of_one_that_left__replaces_it_if_newer),
        MOVE_TEST(test_import__of_one_that_left_and_was_deleted__comes_back),
        MOVE_TEST(test_moves__a_row_altered__found),
        MOVE_TEST(test_expect__claimed_and_refused__as_before),
        MOVE_TEST(test_claim__not_expected__its_row_goes_with_the_answer),
        MOVE_TEST(test_peer__with_an_address__comes_and_goes_with_it),
        MOVE_TEST(test_arriving__altered_outside__the_store_is_refused),
        MOVE_TEST(test_version_3__opened__is_migrated),
        MOVE_TEST(test_backup__beside_a_writer__one_commit),
        MOVE_TEST(test_backup__file_is_there__refused),
        MOVE_TEST(test_backup__cancelled_or_damaged__leaves_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
