/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that takes nothing: said once, with what to do, and when it is over; and checks that can be stopped. */
#include "tests/unit/db_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "server/base/log.h"
#include "tests/unit/db_vfs.h"

static struct fixture fx;

/* Lines of level notice and above; the writer thread logs. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_line[1024];
static int lines;

static void on_line(enum vt_log_level level VT_UNUSED, const char *line)
{
    pthread_mutex_lock(&log_lock);
    snprintf(last_line, sizeof last_line, "%s", line);
    lines++;
    pthread_mutex_unlock(&log_lock);
}

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    lines = 0;
    last_line[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vfs_heal();
    fx_close(&fx);
    fx_open(&fx);
    fx_remove(&fx);
    return 0;
}

static void expect_trouble(const char *text)
{
    struct vt_why why = {""};

    assert_true(db_trouble(fx.db, &why));
    if (!strstr(why.text, text) || !strstr(last_line, text))
        fail_msg("'%s' is not in '%s', '%s'", text, why.text, last_line);
}

static void test_disk_full__many_commits__said_once_and_when_over(void **state)
{
    struct vt_why why;
    uint64_t seq = 1;

    (void)state;
    for (int round = 1; round <= 2; round++) {
        lines = 0;
        atomic_store(&vfs_write_rc, SQLITE_FULL);
        atomic_store(&vfs_writes_left, 0);
        for (int i = 0; i < 10; i++)
            assert_int_equal(fx_commit(&fx, 1, 0, seq, "x"), VT_EUNAVAILABLE);
        assert_int_equal(lines, 1);
        expect_trouble("is full: make room there");
        vfs_heal();
        assert_int_equal(fx_commit(&fx, 1, 0, seq, "x"), VT_OK);
        seq++;
        assert_int_equal(lines, 2);
        assert_non_null(strstr(last_line, "is written again"));
        assert_false(db_trouble(fx.db, &why));
        assert_int_equal(fx_commit(&fx, 1, 0, seq, "x"), VT_OK);
        seq++;
        assert_int_equal(lines, 2);
    }
}

/* A request that changes nothing ends in an empty COMMIT, which succeeds on a full disk: it proves nothing. */
static void test_disk_full__empty_commit__is_not_taken_for_the_end(void **state)
{
    struct vt_why why;

    (void)state;
    atomic_store(&vfs_write_rc, SQLITE_FULL);
    atomic_store(&vfs_writes_left, 0);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    assert_int_equal(fx_commit(&fx, 1, 0, 99, "x"), VT_ECONFLICT);
    assert_int_equal(fx_rename(&fx, 7, "nobody"), VT_ENOTFOUND);
    assert_true(db_trouble(fx.db, &why));
    assert_int_equal(lines, 1);
}

static void test_trouble__changes__each_is_said(void **state)
{
    (void)state;
    atomic_store(&vfs_write_rc, SQLITE_FULL);
    atomic_store(&vfs_writes_left, 0);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    expect_trouble("is full");
    atomic_store(&vfs_write_rc, SQLITE_READONLY);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    expect_trouble("read-only");
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    assert_int_equal(lines, 2);
}

static void test_check__cancelled__ends_soon(void **state)
{
    struct db_check check;

    (void)state;
    assert_int_equal(db_check_structure(fx.db, &check), VT_OK);
    assert_true(check.structure_ok);
    db_check_cancel(fx.db);
    assert_int_equal(db_check_structure(fx.db, &check), VT_ECLOSED);
    assert_int_equal(db_check(fx.db, &check), VT_ECLOSED);
}

/* What the MAC at start cannot see: a page of a record's data. */
static void test_structure__page_overwritten__is_found(void **state)
{
    static const char zeros[3000];
    struct db_check check;
    char path[128], root[32];
    long page;
    int fd;

    (void)state;
    fx_close(&fx);
    fx_ask(&fx, "SELECT rootpage FROM sqlite_schema WHERE name = 'instance_living_name'", root, sizeof root);
    page = strtol(root, NULL, 10);
    fx_path(&fx, "vtpm.db", path, sizeof path);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, (page - 1) * 4096), sizeof zeros);
    close(fd);
    fx_open(&fx);
    assert_int_equal(db_check_structure(fx.db, &check), VT_OK);
    assert_false(check.structure_ok);
    assert_true(check.text[0] != '\0');
}

static int leave(void **state)
{
    (void)state;
    fx_remove(&fx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_disk_full__many_commits__said_once_and_when_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full__empty_commit__is_not_taken_for_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trouble__changes__each_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check__cancelled__ends_soon, setup, teardown),
        cmocka_unit_test_setup_teardown(test_structure__page_overwritten__is_found, setup, leave),
    };

    vfs_install();
    vt_log_to(on_line, VT_LOG_NOTICE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
