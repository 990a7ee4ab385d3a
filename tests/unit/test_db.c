/* SPDX-License-Identifier: Apache-2.0 */
/* The store's life: made, locked, versions, views. */
#include "tests/unit/db_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/sqlite_priv.h"

static struct fixture fx;

static int teardown(void **state)
{
    (void)state;
    fx_remove(&fx);
    return 0;
}

static void test_create__new_directory__makes_private_files(void **state)
{
    struct vt_why why = {""};
    struct vt_uuid store;
    struct stat st;
    char path[128];

    (void)state;
    fx_dir(&fx);
    umask(0);
    assert_int_equal(db_create(fx.dir, &fx_store, &why), VT_OK);
    fx_path(&fx, "vtpm.db", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fx_path(&fx, "vtpm.db.new", path, sizeof path);
    assert_int_equal(access(path, F_OK), -1);

    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_OK);
    db_store_uuid(fx.db, &store);
    assert_true(vt_uuid_equal(&store, &fx_store));
    assert_false(db_was_unclean(fx.db));
    assert_int_equal(db_start(fx.db, &fx.mac, true, &why), VT_OK);
    fx_path(&fx, "vtpm.db-wal", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fx_path(&fx, "lock", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    umask(022);
}

static void test_create__there_is_a_store__exists_and_untouched(void **state)
{
    struct vt_why why = {""};
    const struct vt_uuid other = {{1}};
    struct vt_uuid store;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    assert_int_equal(db_create(fx.dir, &other, &why), VT_EEXISTS);
    fx_open(&fx);
    db_store_uuid(fx.db, &store);
    assert_true(vt_uuid_equal(&store, &fx_store));
}

static void test_create__half_made_one_left__starts_over(void **state)
{
    struct vt_why why = {""};
    char path[128];
    int fd;

    (void)state;
    fx_dir(&fx);
    fx_path(&fx, "vtpm.db.new", path, sizeof path);
    fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write(fd, "junk", 4), 4);
    close(fd);
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_ENOTFOUND);
    assert_int_equal(db_create(fx.dir, &fx_store, &why), VT_OK);
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_OK);
}

static void test_open__no_store__says_how_to_make_one(void **state)
{
    struct vt_why why = {""};
    char path[128];

    (void)state;
    fx_dir(&fx);
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_ENOTFOUND);
    assert_non_null(strstr(why.text, "vtpm-server init --data-dir"));
    fx_path(&fx, "lock", path, sizeof path);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_open__held_by_another__conflict_with_pid(void **state)
{
    struct vt_why why = {""};
    struct db *second;
    char pid[24];

    (void)state;
    fx_make(&fx);
    snprintf(pid, sizeof pid, "process %ld:", (long)getpid());
    assert_int_equal(db_open(&fx.config, &second, &why), VT_ECONFLICT);
    assert_null(second);
    assert_non_null(strstr(why.text, pid));
    memset(&why, 0, sizeof why);
    assert_int_equal(db_create(fx.dir, &fx_store, &why), VT_ECONFLICT);
    fx_close(&fx);
    fx_open(&fx);
}

/* As a server that was killed between fork and exec of its engine leaves it. */
static void test_open__a_dying_child_has_a_copy_of_the_lock__waits(void **state)
{
    pid_t child;
    int status;

    (void)state;
    fx_make(&fx);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        usleep(200 * 1000);
        _exit(0);
    }
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void test_open__not_sqlite__damaged(void **state)
{
    char path[128];
    FILE *file;

    (void)state;
    fx_dir(&fx);
    fx_path(&fx, "vtpm.db", path, sizeof path);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        fputs("no database ", file);
    fclose(file);
    fx_open_fails(&fx, VT_EDAMAGED, NULL);
}

static void test_open__another_application_id__damaged(void **state)
{
    struct vt_why why;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx_sql(&fx, "PRAGMA application_id = 7");
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    assert_non_null(strstr(why.text, "application_id 0x00000007"));
}

static void test_open__newer_version__damaged_and_says_so(void **state)
{
    struct vt_why why;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx_sql(&fx, "PRAGMA user_version = 99");
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    assert_non_null(strstr(why.text, "version 99, made by a newer"));
}

static void test_open__changed_schema__damaged_names_it(void **state)
{
    struct vt_why why;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx_sql(&fx, "DROP INDEX instance_living_name");
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    assert_non_null(strstr(why.text, "instance_living_name"));
}

static void test_open__foreign_trigger__never_runs(void **state)
{
    char text[64];

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx_sql(&fx, "CREATE TRIGGER bad AFTER INSERT ON event BEGIN DELETE FROM keyslot; END");
    fx_open(&fx);
    assert_int_equal(fx_event(&fx, "x"), VT_OK);
    fx_ask(&fx, "SELECT count(*) FROM keyslot", text, sizeof text);
    assert_string_equal(text, "1");
}

static const struct db_step two_steps[] = {
    {7, "SELECT 1"}, /* stands for what the fixture has already */
    {8, "ALTER TABLE instance ADD COLUMN note TEXT NOT NULL DEFAULT 'none'"},
};

static void test_migrate__older_store__one_step_up(void **state)
{
    struct vt_why why = {""};
    struct conn *conn;
    char path[128], text[64];
    int64_t version;

    (void)state;
    fx_make(&fx);
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    fx_close(&fx);
    fx_path(&fx, "vtpm.db", path, sizeof path);
    assert_int_equal(conn_open(&conn, path, SQLITE_OPEN_READWRITE, &why), VT_OK);
    assert_int_equal(db_check_version(conn->sq, two_steps, 2, &why), VT_OK);
    assert_int_equal(conn_int(conn->sq, "PRAGMA user_version", &version), VT_OK);
    assert_int_equal(version, 8);
    conn_close(conn);
    fx_ask(&fx, "SELECT note FROM instance", text, sizeof text);
    assert_string_equal(text, "none");
}

static const struct db_step bad_steps[] = {
    {7, "SELECT 1"},
    {8, "ALTER TABLE instance ADD COLUMN note TEXT"},
    {9, "INSERT INTO nowhere VALUES (1)"},
};

static void test_migrate__a_step_fails__all_is_taken_back(void **state)
{
    struct vt_why why = {""};
    struct conn *conn;
    char path[128];
    int64_t version;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    fx_path(&fx, "vtpm.db", path, sizeof path);
    assert_int_equal(conn_open(&conn, path, SQLITE_OPEN_READWRITE, &why), VT_OK);
    assert_int_not_equal(db_check_version(conn->sq, bad_steps, 3, &why), VT_OK);
    assert_non_null(strstr(why.text, "version 9"));
    assert_int_equal(conn_int(conn->sq, "PRAGMA user_version", &version), VT_OK);
    assert_int_equal(version, 7);
    conn_close(conn);
    fx_open(&fx);
}

static void test_start__twice_fresh__conflict(void **state)
{
    struct vt_why why = {""};

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    assert_int_equal(db_open(&fx.config, &fx.db, &why), VT_OK);
    assert_int_equal(db_start(fx.db, &fx.mac, true, &why), VT_ECONFLICT);
}

static void test_start__never_sealed__damaged(void **state)
{
    struct vt_why why = {""};

    (void)state;
    fx_dir(&fx);
    assert_int_equal(db_create(fx.dir, &fx_store, &why), VT_OK);
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    assert_non_null(strstr(why.text, "no MAC"));
}

static void test_unclean__after_a_killed_child__is_seen_once(void **state)
{
    pid_t child;
    int status;

    (void)state;
    fx_make(&fx);
    fx_close(&fx);
    child = fork();
    if (child == 0) {
        fx_open(&fx);
        _exit(7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    fx_open(&fx);
    assert_true(db_was_unclean(fx.db));
    fx_close(&fx);
    fx_open(&fx);
    assert_false(db_was_unclean(fx.db));
}

/* Runs the real sqlite3 program; stdout without the last newline. */
static void shell(const char *options, const char *sql, char *out, size_t size)
{
    char command[600];
    size_t len;
    FILE *pipe;

    snprintf(command, sizeof command, "sqlite3 %s %s/vtpm.db \"%s\" 2>&1", options, fx.dir, sql);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    len = fread(out, 1, size - 1, pipe);
    while (len && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
    assert_int_equal(pclose(pipe), 0);
}

static bool is_time(const char *text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";

    for (size_t i = 0; i < sizeof shape; i++) {
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
            return false;
    }
    return true;
}

static void test_views__with_the_sqlite3_program__have_contract_form(void **state)
{
    const struct db_counter counter = {fx_uuid(1), 42, 1700000000};
    const struct vt_uuid third = fx_uuid(3);
    char out[2000];
    int err = FX_PENDING;

    (void)state;
    fx_make(&fx);
    for (unsigned n = 1; n <= 4; n++) {
        char name[8];

        snprintf(name, sizeof name, "vm%u", n);
        assert_int_equal(fx_create(&fx, n, name), VT_OK);
    }
    assert_int_equal(db_counters(fx.db, &counter, 1), VT_OK);
    assert_int_equal(fx_life(&fx, 2, DB_BROKEN, "does not open"), VT_OK);
    assert_int_equal(db_instance_power(fx.db, &third, "needs-power-on", "dom\n7", NULL, fx_done, &err),
                     VT_OK);
    assert_int_equal(fx_life(&fx, 4, DB_DELETED, NULL), VT_OK);

    shell("-readonly",
          "select uuid, name, grp, state, domain, last_seen, commands, state_bytes, generation > 0, ek_sha256"
          " from inventory order by name",
          out, sizeof out);
    assert_string_equal(out, "aabbccdd-eeff-4011-8022-000000000001|vm1|web|off||2023-11-14T22:13:20Z|42|13|1|"
                             "e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1\n"
                             "aabbccdd-eeff-4011-8022-000000000002|vm2|web|broken|||0|13|1|"
                             "e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2\n"
                             "aabbccdd-eeff-4011-8022-000000000003|vm3|web|needs-power-on|dom?7||0|13|1|"
                             "e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3");
    shell("", "select created from inventory limit 1", out, sizeof out);
    assert_true(is_time(out));
    shell("", "select updated from inventory limit 1", out, sizeof out);
    assert_true(is_time(out));
    shell("", "select last_seen is null from inventory where name = 'vm2'", out, sizeof out);
    assert_string_equal(out, "1");
    shell("-header", "select * from inventory limit 1", out, sizeof out);
    *strchr(out, '\n') = '\0';
    assert_string_equal(
        out,
        "uuid|name|grp|state|domain|last_seen|commands|state_bytes|generation|ek_sha256|created|updated");

    shell("-header", "select * from events where id = 1", out, sizeof out);
    *strchr(out, '\n') = '\0';
    assert_string_equal(out, "id|time|kind|uuid|peer|text|prev_hash|hash");
    shell("-readonly",
          "select kind, uuid, peer, text, length(hash), prev_hash from events order by id desc limit 1", out,
          sizeof out);
    assert_memory_equal(out, "instance.life|aabbccdd-eeff-4011-8022-000000000004|uid=0||64|", 61);
    shell("", "select prev_hash, uuid is null from events where id = 1", out, sizeof out);
    assert_string_equal(out, "0000000000000000000000000000000000000000000000000000000000000000|1");
    shell("", "select time from events limit 1", out, sizeof out);
    assert_true(is_time(out));
    shell("", "pragma integrity_check", out, sizeof out);
    assert_string_equal(out, "ok");

    /* Also when no server runs. */
    fx_close(&fx);
    shell("-readonly", "select count(*) from inventory", out, sizeof out);
    assert_string_equal(out, "3");
    fx_open(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_create__new_directory__makes_private_files, teardown),
        cmocka_unit_test_teardown(test_create__there_is_a_store__exists_and_untouched, teardown),
        cmocka_unit_test_teardown(test_create__half_made_one_left__starts_over, teardown),
        cmocka_unit_test_teardown(test_open__no_store__says_how_to_make_one, teardown),
        cmocka_unit_test_teardown(test_open__held_by_another__conflict_with_pid, teardown),
        cmocka_unit_test_teardown(test_open__a_dying_child_has_a_copy_of_the_lock__waits, teardown),
        cmocka_unit_test_teardown(test_open__not_sqlite__damaged, teardown),
        cmocka_unit_test_teardown(test_open__another_application_id__damaged, teardown),
        cmocka_unit_test_teardown(test_open__newer_version__damaged_and_says_so, teardown),
        cmocka_unit_test_teardown(test_open__changed_schema__damaged_names_it, teardown),
        cmocka_unit_test_teardown(test_open__foreign_trigger__never_runs, teardown),
        cmocka_unit_test_teardown(test_migrate__older_store__one_step_up, teardown),
        cmocka_unit_test_teardown(test_migrate__a_step_fails__all_is_taken_back, teardown),
        cmocka_unit_test_teardown(test_start__twice_fresh__conflict, teardown),
        cmocka_unit_test_teardown(test_start__never_sealed__damaged, teardown),
        cmocka_unit_test_teardown(test_unclean__after_a_killed_child__is_seen_once, teardown),
        cmocka_unit_test_teardown(test_views__with_the_sqlite3_program__have_contract_form, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
