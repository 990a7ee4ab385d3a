/* SPDX-License-Identifier: Apache-2.0 */
/* Batches in which one fails half-way, and the care of the log file: gathered writes, folding, room in advance. */
#include "tests/unit/db_fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "tests/unit/db_vfs.h"

#define RESERVE   262144
#define COUNT     100
#define BIG       300000 /* some 73 frames, five pieces */

static struct fixture fx;
static char big[BIG];

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    memset(big, 'b', sizeof big - 1);
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vfs_heal();
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

static long size_of_log(void)
{
    char path[128];
    struct stat st;

    fx_path(&fx, "vtpm.db-wal", path, sizeof path);
    return stat(path, &st) ? -1 : (long)st.st_size;
}

/* For what the writer thread does when nobody asks for anything; the test's own time limit ends a wait in vain. */
static void wait_for_size(long least)
{
    while (size_of_log() < least)
        usleep(10000);
}

/* ---- Batches ---- */

static int ask_bindings(int *err, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct vt_uuid uuid = fx_uuid(2);
        char peer[DB_PEER_TEXT];
        int refused;

        err[i] = FX_PENDING;
        snprintf(peer, sizeof peer, "name:domain-%u", i);
        refused = db_binding_add(fx.db, &uuid, peer, NULL, fx_done, &err[i]);
        if (refused)
            return refused;
    }
    return VT_OK;
}

/* Its row is in the table when it is found to be one too many; a slot's row is gone when it is found to be the last. */
static void test_batch__some_fail_half_way__take_only_themselves_back(void **state)
{
    int first[COUNT], bind[DB_BINDINGS_MAX + 2], slot = FX_PENDING, last[COUNT];

    (void)state;
    fx_hold(&fx);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(fx_commit_start(&fx, 1, 0, 1 + i, &first[i]), VT_OK);
    assert_int_equal(ask_bindings(bind, VT_COUNT(bind)), VT_OK);
    assert_int_equal(db_keyslot_remove(fx.db, 0, NULL, fx_done, &slot), VT_OK);
    for (unsigned i = 0; i < COUNT / 2; i++)
        assert_int_equal(fx_commit_start(&fx, 1, 0, 1 + COUNT + i, &last[i]), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(first[i], VT_OK);
    for (unsigned i = 0; i < VT_COUNT(bind); i++)
        assert_int_equal(bind[i], i < DB_BINDINGS_MAX ? VT_OK : VT_ECONFLICT);
    assert_int_equal(slot, VT_ECONFLICT);
    for (unsigned i = 0; i < COUNT / 2; i++)
        assert_int_equal(last[i], VT_OK);
    assert_int_equal(get(1).seq, 1 + COUNT + COUNT / 2);
    assert_int_equal(fx_bind(&fx, 2, "name:one-too-many"), VT_ECONFLICT);
}

/* Done again from the beginning, a request gives the same: epochs and a slot's id of a batch with a failure in it. */
static void test_batch__done_again__what_requests_return_is_the_same(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    const struct db_keyslot fresh = {.id = -1, .kind = "passphrase", .wrapped = {1}, .wrapped_len = 1};
    uint64_t epochs[2] = {0, 0};
    int64_t id = -1;
    int err[4] = {FX_PENDING, FX_PENDING, FX_PENDING, FX_PENDING};

    (void)state;
    fx_hold(&fx);
    assert_int_equal(db_acquire(fx.db, &uuid, &epochs[0], fx_done, &err[0]), VT_OK);
    assert_int_equal(db_keyslot_remove(fx.db, 0, NULL, fx_done, &err[1]), VT_OK);
    assert_int_equal(db_acquire(fx.db, &uuid, &epochs[1], fx_done, &err[2]), VT_OK);
    assert_int_equal(db_keyslot_put(fx.db, &fresh, &id, NULL, fx_done, &err[3]), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(err[0], VT_OK);
    assert_int_equal(err[1], VT_ECONFLICT);
    assert_int_equal(err[2], VT_OK);
    assert_int_equal(err[3], VT_OK);
    assert_int_equal(epochs[0], 1);
    assert_int_equal(epochs[1], 2);
    assert_int_equal(id, 1);
}

static int commit_ek(uint64_t expected, const uint8_t *ek)
{
    const struct db_commit_args args = {.uuid = fx_uuid(1), .expected_seq = expected, .seq = expected + 1,
                                        .record = {{(uint8_t)expected}, (const uint8_t *)"r", 1}, .ek_sha256 = ek};
    int err = FX_PENDING;

    assert_int_equal(db_commit(fx.db, &args, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

/* The MAC at the test's end covers it. */
static void test_commit__names_an_ek__new_same_other_or_none(void **state)
{
    const uint8_t one[32] = {1}, other[32] = {2};

    (void)state;
    assert_int_equal(commit_ek(1, one), VT_OK);
    assert_memory_equal(get(1).ek_sha256, one, sizeof one);
    assert_int_equal(commit_ek(2, one), VT_OK);
    assert_int_equal(commit_ek(3, other), VT_OK);
    assert_memory_equal(get(1).ek_sha256, other, sizeof other);
    assert_int_equal(commit_ek(4, NULL), VT_OK);
    assert_memory_equal(get(1).ek_sha256, other, sizeof other);
}

/* ---- Gathered writes ---- */

/* The last piece holds the frame that makes it valid: a transaction is there whole or not at all. */
static void test_disk_full__at_each_piece_of_a_large_commit__nothing_written(void **state)
{
    int failed = 0, err = VT_EUNAVAILABLE;
    uint64_t seq = 1;

    (void)state;
    for (int writes = 0; err; writes++) {
        assert_true(writes < 100);
        atomic_store(&vfs_write_rc, SQLITE_FULL);
        atomic_store(&vfs_writes_left, writes);
        err = fx_commit(&fx, 1, 0, seq, big);
        vfs_heal();
        failed += err != VT_OK;
        assert_int_equal(err, err ? VT_EUNAVAILABLE : VT_OK);
        assert_int_equal(get(1).seq, err ? seq : seq + 1);
        seq += !err;
        assert_int_equal(fx_commit(&fx, 1, 0, seq, "small, in its place"), VT_OK);
        seq++;
    }
    assert_in_range(failed, BIG / 65536, 99);
}

static void test_disk_full__then_opened_anew__shows_what_was_reported(void **state)
{
    (void)state;
    atomic_store(&vfs_write_rc, SQLITE_FULL);
    atomic_store(&vfs_writes_left, 2);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, big), VT_EUNAVAILABLE);
    vfs_heal();
    assert_int_equal(fx_commit(&fx, 2, 0, 1, "another's"), VT_OK);
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(get(1).seq, 1);
    assert_int_equal(get(2).seq, 2);
}

/* ---- Folding ---- */

static atomic_int syncs_when_long; /* when the answers of the batch that made it long were handed over; 0: not yet */

/* Writer thread. */
static void look_at_log(void *ctx)
{
    (void)ctx;
    if (fx.db->log_frames - fx.db->log_folded >= 1000 && !atomic_load(&syncs_when_long))
        atomic_store(&syncs_when_long, atomic_load(&vfs_syncs));
}

static void test_log__long__is_folded_behind_the_answers(void **state)
{
    uint64_t seq = 1;

    (void)state;
    fx_close(&fx);
    fx.config.wake = look_at_log;
    fx_open(&fx);
    /* At each answer it is as long as it was left, though SQLite would fold within the COMMIT. */
    for (int i = 0; !atomic_load(&syncs_when_long); i++) {
        assert_true(i < 1000);
        assert_int_equal(fx_commit(&fx, 1, 0, seq++, big), VT_OK);
    }
    /* And then it is folded, which begins with a sync. */
    while (atomic_load(&vfs_syncs) == atomic_load(&syncs_when_long))
        usleep(1000);
}

/* Some 370 frames stand there: a quiet moment is used, with one more sync; then the file is written from its start. */
static void test_log__quiet__is_folded_and_begins_anew(void **state)
{
    uint64_t seq = 1;
    long size = 0;

    (void)state;
    for (int i = 0; i < 6; i++) {
        int syncs;

        for (int k = 0; k < 5; k++)
            assert_int_equal(fx_commit(&fx, 1, 0, seq++, big), VT_OK);
        syncs = atomic_load(&vfs_syncs);
        for (int waited = 0; waited < 20 && atomic_load(&vfs_syncs) == syncs; waited++)
            usleep(DB_QUIET_MS * 1000);
        size = size ? size : size_of_log();
    }
    /* 2,200 frames were written; a log that was never folded would hold half of them at least. */
    assert_in_range(size_of_log(), size, 2 * size);
}

/* ---- Room in advance ---- */

static int setup_reserve(void **state)
{
    setup(state);
    fx_close(&fx);
    fx.config.log_reserve = RESERVE;
    fx_open(&fx);
    return 0;
}

static void test_reserve__quiet__commits_do_not_grow_the_file(void **state)
{
    (void)state;
    wait_for_size(RESERVE);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(fx_commit(&fx, 1, 0, 1 + i, "a record"), VT_OK);
    assert_int_equal(size_of_log(), RESERVE);
    /* As after a kill: opened again with zeros behind the last frame. */
    db_leave_unclean(fx.db);
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(get(1).seq, 21);
}

static void test_reserve__log_erased__comes_again(void **state)
{
    (void)state;
    wait_for_size(RESERVE);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "a record"), VT_OK);
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);
    wait_for_size(RESERVE);
    assert_int_equal(fx_commit(&fx, 2, 0, 1, "a record"), VT_OK);
    assert_int_equal(size_of_log(), RESERVE);
}

static void test_reserve__disk_full__store_works_without(void **state)
{
    (void)state;
    atomic_store(&vfs_write_rc, SQLITE_FULL);
    atomic_store(&vfs_writes_left, 0);
    usleep(3 * DB_QUIET_MS * 1000);
    vfs_heal();
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "a record"), VT_OK);
    assert_true(size_of_log() < RESERVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define RESERVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_reserve, teardown)
        LOG_TEST(test_batch__some_fail_half_way__take_only_themselves_back),
        LOG_TEST(test_batch__done_again__what_requests_return_is_the_same),
        LOG_TEST(test_commit__names_an_ek__new_same_other_or_none),
        LOG_TEST(test_disk_full__at_each_piece_of_a_large_commit__nothing_written),
        LOG_TEST(test_disk_full__then_opened_anew__shows_what_was_reported),
        LOG_TEST(test_log__long__is_folded_behind_the_answers),
        LOG_TEST(test_log__quiet__is_folded_and_begins_anew),
        RESERVE_TEST(test_reserve__quiet__commits_do_not_grow_the_file),
        RESERVE_TEST(test_reserve__log_erased__comes_again),
        RESERVE_TEST(test_reserve__disk_full__store_works_without),
    };

    vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
