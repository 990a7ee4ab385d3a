/* SPDX-License-Identifier: Apache-2.0 */
/* The rows that say what the host TPM must hold. */
#include "db/sqlite_priv.h"
#include "tests/unit/db_fixture.h"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fx_remove(&fx);
    return 0;
}

static struct db_anchor next(uint64_t epoch)
{
    return (struct db_anchor){
        .epoch = epoch, .previous = {7, (uint8_t)epoch}, .nv = 0x01807000, .place = "tpm2:tcti=x"};
}

static int finish(int called, const int *err)
{
    if (called)
        return called;
    db_drain(fx.db);
    return *err;
}

static int put(uint64_t epoch, bool alone, struct db_anchor *made)
{
    const struct db_anchor row = next(epoch);
    int err = FX_PENDING;

    return finish(db_anchor_put(fx.db, &row, alone, made, NULL, fx_done, &err), &err);
}

static int done(uint64_t epoch)
{
    int err = FX_PENDING;

    return finish(db_anchor_done(fx.db, epoch, fx_done, &err), &err);
}

static int drop(void)
{
    int err = FX_PENDING;

    return finish(db_anchor_drop(fx.db, NULL, fx_done, &err), &err);
}

static bool there(bool pending, uint64_t epoch)
{
    struct db_anchor row;
    int err = db_anchor_get(fx.db, pending, &row);

    assert_true(!err || err == VT_ENOTFOUND);
    return !err && row.epoch == epoch;
}

static void test_put__then_done__is_read_back(void **state)
{
    struct db_anchor made, row;

    (void)state;
    assert_int_equal(db_anchor_get(fx.db, true, &row), VT_ENOTFOUND);
    assert_int_equal(db_anchor_get(fx.db, false, &row), VT_ENOTFOUND);
    assert_int_equal(put(1, false, &made), VT_OK);
    assert_int_equal(db_anchor_get(fx.db, true, &row), VT_OK);
    assert_memory_equal(&row, &made, sizeof row);
    assert_int_equal(row.epoch, 1);
    assert_int_equal(row.nv, 0x01807000);
    assert_string_equal(row.place, "tpm2:tcti=x");
    assert_int_equal(row.previous[0], 7);
    assert_true(row.time > 0);
    assert_int_equal(done(1), VT_OK);
    assert_true(there(false, 1));
    assert_false(there(true, 1));
    fx_close(&fx);
    fx_open(&fx);
    assert_true(there(false, 1));
}

static void test_put__nothing_changed__exists(void **state)
{
    struct db_anchor made;

    (void)state;
    assert_int_equal(put(1, false, &made), VT_OK);
    assert_int_equal(done(1), VT_OK);
    assert_int_equal(put(2, false, &made), VT_EEXISTS);
    assert_true(there(false, 1));
    assert_false(there(true, 2));
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(put(2, false, &made), VT_EEXISTS);
    assert_int_equal(fx_event(&fx, "a change"), VT_OK);
    assert_int_equal(put(2, false, &made), VT_OK);
    assert_int_equal(done(2), VT_OK);
    assert_true(there(false, 2));
    assert_int_equal(put(3, false, &made), VT_EEXISTS);
}

/* What is in the same transaction, but asked for later, is a change. */
static void test_put__in_one_batch_with_changes__covers_those_before(void **state)
{
    const struct db_anchor row = next(1);
    struct db_anchor made;
    int first = FX_PENDING, anchor = FX_PENDING, second = FX_PENDING;
    const struct db_audit audit = {"note", NULL, "x", "y"};

    (void)state;
    fx_hold(&fx);
    assert_int_equal(db_event_add(fx.db, &audit, fx_done, &first), VT_OK);
    assert_int_equal(db_anchor_put(fx.db, &row, false, &made, NULL, fx_done, &anchor), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(first, VT_OK);
    assert_int_equal(anchor, VT_OK);
    assert_int_equal(done(1), VT_OK);
    assert_int_equal(put(2, false, &made), VT_EEXISTS);
    first = anchor = FX_PENDING;
    fx_hold(&fx);
    assert_int_equal(db_event_add(fx.db, &audit, fx_done, &first), VT_OK);
    {
        const struct db_anchor second_row = next(2);

        assert_int_equal(db_anchor_put(fx.db, &second_row, false, &made, NULL, fx_done, &anchor), VT_OK);
    }
    assert_int_equal(db_event_add(fx.db, &audit, fx_done, &second), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(anchor, VT_OK);
    assert_int_equal(second, VT_OK);
    assert_int_equal(done(2), VT_OK);
    assert_int_equal(put(3, false, &made), VT_OK);
}

static void test_put__one_is_pending_or_epoch_is_not_higher__conflict(void **state)
{
    struct db_anchor made;

    (void)state;
    assert_int_equal(put(5, false, &made), VT_OK);
    assert_int_equal(put(6, false, &made), VT_ECONFLICT);
    assert_true(there(true, 5));
    assert_int_equal(done(4), VT_ENOTFOUND);
    assert_int_equal(done(6), VT_ENOTFOUND);
    assert_true(there(true, 5));
    assert_int_equal(done(5), VT_OK);
    assert_int_equal(done(5), VT_ENOTFOUND);
    assert_true(there(false, 5));
    assert_int_equal(fx_event(&fx, "a change"), VT_OK);
    assert_int_equal(put(5, false, &made), VT_ECONFLICT);
    assert_int_equal(put(0, false, &made), VT_EUSAGE);
    assert_int_equal(put(UINT64_MAX, false, &made), VT_EUSAGE);
    assert_int_equal(db_anchor_done(fx.db, UINT64_MAX, NULL, NULL), VT_EUSAGE);
}

static void test_put__alone__replaces_all_rows(void **state)
{
    struct db_anchor made;

    (void)state;
    assert_int_equal(put(1, false, &made), VT_OK);
    assert_int_equal(done(1), VT_OK);
    assert_int_equal(fx_event(&fx, "a change"), VT_OK);
    assert_int_equal(put(2, false, &made), VT_OK);
    assert_int_equal(put(9, true, &made), VT_OK);
    assert_true(there(true, 9));
    assert_false(there(false, 1));
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(done(9), VT_OK);
    assert_true(there(false, 9));
}

static void test_drop__rows_there_and_not__gone(void **state)
{
    struct db_anchor made;

    (void)state;
    assert_int_equal(drop(), VT_OK);
    assert_int_equal(put(1, false, &made), VT_OK);
    assert_int_equal(done(1), VT_OK);
    assert_int_equal(fx_event(&fx, "a change"), VT_OK);
    assert_int_equal(put(2, false, &made), VT_OK);
    assert_int_equal(drop(), VT_OK);
    assert_false(there(true, 2));
    assert_false(there(false, 1));
    fx_close(&fx);
    fx_open(&fx);
}

static void test_rows__altered_by_hand__store_is_damaged(void **state)
{
    static const char *const changes[] = {
        "UPDATE anchor SET epoch = epoch - 1 WHERE pending = 0",
        "UPDATE anchor SET generation = 0 WHERE pending = 0",
        "UPDATE anchor SET digest = zeroblob(32) WHERE pending = 1",
        "UPDATE anchor SET previous = zeroblob(32) WHERE pending = 1",
        "UPDATE anchor SET time = 1 WHERE pending = 0",
        "UPDATE anchor SET nv = 1 WHERE pending = 0",
        "UPDATE anchor SET place = 'tpm2:tcti=y' WHERE pending = 0",
        "DELETE FROM anchor WHERE pending = 1",
        "DELETE FROM anchor WHERE pending = 0",
        "DELETE FROM anchor; UPDATE meta SET rows = rows - 2",
        "DELETE FROM anchor WHERE pending = 0; UPDATE anchor SET pending = 0",
    };
    struct db_anchor made;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(changes); i++) {
        struct vt_why why = {""};

        if (i) {
            fx_remove(&fx);
            fx_make(&fx);
        }
        assert_int_equal(put(2, false, &made), VT_OK);
        assert_int_equal(done(2), VT_OK);
        assert_int_equal(fx_event(&fx, "a change"), VT_OK);
        assert_int_equal(put(3, false, &made), VT_OK);
        fx_close(&fx);
        fx_sql(&fx, changes[i]);
        fx_open_fails(&fx, VT_EDAMAGED, &why);
    }
}

static void test_version_4__opened__is_migrated(void **state)
{
    struct db_anchor made;

    (void)state;
    fx_close(&fx);
    fx_sql(&fx, "DROP TABLE anchor; DROP TABLE host_ak; DROP TABLE peer_address; DROP TABLE arriving;"
                "PRAGMA user_version = 4");
    fx_open(&fx);
    assert_int_equal(put(1, false, &made), VT_OK);
    assert_int_equal(done(1), VT_OK);
    assert_true(there(false, 1));
}

/* A store that is refused was not touched: not even the mark of an unclean stop is set. */
static void test_verify__then_closed__nothing_is_written(void **state)
{
    struct vt_why why = {""};
    char clean[8];

    (void)state;
    fx_close(&fx);
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_OK);
    assert_int_equal(db_verify(fx.db, &fx.mac, &why), VT_OK);
    db_close(fx.db);
    fx_ask(&fx, "SELECT clean FROM meta", clean, sizeof clean);
    assert_string_equal(clean, "1");
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_OK);
    assert_int_equal(db_verify(fx.db, &fx.mac, &why), VT_OK);
    assert_int_equal(db_start(fx.db, &fx.mac, false, &why), VT_OK);
    assert_int_equal(fx_event(&fx, "it works"), VT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ANCHOR_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        ANCHOR_TEST(test_put__then_done__is_read_back),
        ANCHOR_TEST(test_put__nothing_changed__exists),
        ANCHOR_TEST(test_put__in_one_batch_with_changes__covers_those_before),
        ANCHOR_TEST(test_put__one_is_pending_or_epoch_is_not_higher__conflict),
        ANCHOR_TEST(test_put__alone__replaces_all_rows),
        ANCHOR_TEST(test_drop__rows_there_and_not__gone),
        ANCHOR_TEST(test_rows__altered_by_hand__store_is_damaged),
        ANCHOR_TEST(test_version_4__opened__is_migrated),
        ANCHOR_TEST(test_verify__then_closed__nothing_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
