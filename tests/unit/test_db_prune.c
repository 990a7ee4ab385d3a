/* SPDX-License-Identifier: Apache-2.0 */
/* Old events go behind a checkpoint, and nobody without the key can move it. */
#include "tests/unit/db_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "db/sqlite_priv.h"

#define KEEP 16
/* What somebody without the key would do. */
#define PRUNE_MORE                                                                                   \
    "UPDATE checkpoint SET last = last + 3, hash = (SELECT hash FROM event WHERE id = last + 3);" \
    "DELETE FROM event WHERE id <= (SELECT last FROM checkpoint)"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx.config.events_keep = KEEP;
    fx_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fx_remove(&fx);
    return 0;
}

static void add(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fx_event(&fx, "something happened"), VT_OK);
}

static int64_t number(const char *sql)
{
    char text[64];

    fx_ask(&fx, sql, text, sizeof text);
    return strtoll(text, NULL, 10);
}

static void test_prune__many_events__newest_stay_and_verify(void **state)
{
    struct db_check check;
    int64_t newest;

    (void)state;
    for (int round = 0; round < 6; round++) {
        add(23);
        newest = number("SELECT max(id) FROM event");
        assert_in_range(number("SELECT count(*) FROM event"), KEEP, KEEP + KEEP / 8);
        assert_int_equal(number("SELECT last FROM checkpoint"), newest - number("SELECT count(*) FROM event"));
        fx_expect_whole(&fx);
        fx_close(&fx);
        fx_open(&fx);
    }
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    assert_int_equal(check.pruned, number("SELECT last FROM checkpoint"));
    assert_int_equal(check.events, number("SELECT count(*) FROM event"));
    assert_int_equal(number("SELECT max(id) FROM event"), 6 * 23 + number("SELECT 1"));
}

static void test_prune__few_events__no_checkpoint(void **state)
{
    (void)state;
    add(KEEP - 2);
    assert_int_equal(number("SELECT count(*) FROM checkpoint"), 0);
    fx_expect_whole(&fx);
}

static int count_event(void *ctx, const struct db_event *event)
{
    ++*(int *)ctx;
    assert_true(event->id > 0);
    return VT_OK;
}

static void test_prune__reading_from_the_first__gives_what_is_there(void **state)
{
    int count = 0;

    (void)state;
    add(50);
    assert_int_equal(db_event_each(fx.db, 0, 1000, count_event, &count), VT_OK);
    assert_int_equal(count, number("SELECT count(*) FROM event"));
}

/* A smaller number than before: at most so many at a time, so that no commit takes long. */
static void test_prune__long_history__goes_in_portions(void **state)
{
    const int64_t all = 3 * DB_PRUNE_MAX;

    (void)state;
    fx_close(&fx);
    fx.config.events_keep = 100000;
    fx_open(&fx);
    for (int64_t i = 0; i < all; i++) {
        const struct db_audit audit = {"test", NULL, "uid=0", "x"};
        assert_int_equal(db_event_add(fx.db, &audit, NULL, NULL), VT_OK);
        if (i % 1000 == 0)
            db_drain(fx.db);
    }
    db_drain(fx.db);
    fx_close(&fx);
    fx.config.events_keep = KEEP;
    fx_open(&fx);
    add(1);
    assert_int_equal(number("SELECT last FROM checkpoint"), DB_PRUNE_MAX);
    fx_expect_whole(&fx);
    add(3);
    assert_in_range(number("SELECT count(*) FROM event"), KEEP, KEEP + KEEP / 8);
    fx_expect_whole(&fx);
}

/* Without the key: each ends in "damaged" at the next start. */
static void test_checkpoint__altered__store_is_damaged(void **state)
{
    static const char *const changes[] = {
        "UPDATE checkpoint SET last = last - 1",
        "UPDATE checkpoint SET hash = zeroblob(32)",
        "UPDATE checkpoint SET mac = zeroblob(32)",
        "DELETE FROM checkpoint",
        /* Prune some more, with the right id and hash. */
        PRUNE_MORE,
        "INSERT OR REPLACE INTO checkpoint SELECT 1, id, hash, hash FROM event ORDER BY id DESC LIMIT 1",
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(changes); i++) {
        struct vt_why why;

        add(40);
        fx_close(&fx);
        fx_sql(&fx, changes[i]);
        fx_open_fails(&fx, VT_EDAMAGED, &why);
        fx_remove(&fx);
        setup(NULL);
    }
}

/* Beside a running server: the check finds it by the checkpoint's own MAC. */
static void test_checkpoint__altered_while_running__check_says_so(void **state)
{
    struct db_check check;

    (void)state;
    add(40);
    fx_sql(&fx, PRUNE_MORE);
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    assert_false(check.chain_ok);
    assert_false(check.mac_ok);
    assert_non_null(strstr(check.text, "checkpoint"));
}

static void test_chain__event_behind_the_checkpoint_removed__is_found(void **state)
{
    struct db_check check;

    (void)state;
    add(40);
    fx_sql(&fx, "DELETE FROM event WHERE id = (SELECT last + 1 FROM checkpoint)");
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    assert_false(check.chain_ok);
    assert_non_null(strstr(check.text, "was removed"));
}

/* A store of version 1 has no checkpoint: it gets the table at open, and its MAC stays right. */
static void test_version_1__opened__is_migrated(void **state)
{
    (void)state;
    add(5);
    fx_close(&fx);
    fx_sql(&fx, "DROP TABLE binding; DROP TABLE checkpoint; DROP TABLE server_key; DROP TABLE peer; DROP TABLE exported;"
                "DROP TABLE imported; DROP TABLE anchor; DROP TABLE host_ak; DROP TABLE peer_address; DROP TABLE arriving;"
                "PRAGMA user_version = 1");
    fx_open(&fx);
    assert_int_equal(number("PRAGMA user_version"), db_steps[db_step_count - 1].version);
    add(40);
    assert_int_equal(number("SELECT count(*) FROM checkpoint"), 1);
    fx_expect_whole(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prune__many_events__newest_stay_and_verify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune__few_events__no_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune__reading_from_the_first__gives_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune__long_history__goes_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__altered__store_is_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__altered_while_running__check_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chain__event_behind_the_checkpoint_removed__is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version_1__opened__is_migrated, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
