/* SPDX-License-Identifier: Apache-2.0 */
/* The store MAC and the event chain against somebody who can write the file but has no key. */
#include "tests/unit/db_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct fixture fx;

/* Two instances with two commits each, a host credential, bindings, two slots, a broken one, a tombstone; closed. */
static int setup(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    fx_make(&fx);
    for (unsigned n = 1; n <= 4; n++) {
        char name[8];

        snprintf(name, sizeof name, "vm%u", n);
        assert_int_equal(fx_create(&fx, n, name), VT_OK);
    }
    for (unsigned n = 1; n <= 2; n++) {
        assert_int_equal(fx_acquire(&fx, n, &epoch), VT_OK);
        assert_int_equal(fx_commit(&fx, n, epoch, 1, "second"), VT_OK);
    }
    assert_int_equal(fx_host(&fx, "host:blade", 1, 2), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_OK);
    assert_int_equal(fx_bind(&fx, 2, "name:driver"), VT_OK);
    assert_int_equal(fx_bind(&fx, 4, "name:driver"), VT_OK);
    assert_int_equal(fx_slot(&fx, -1, "recovery", NULL), VT_OK);
    assert_int_equal(fx_life(&fx, 3, DB_BROKEN, "reason"), VT_OK);
    assert_int_equal(fx_life(&fx, 4, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_event(&fx, "last"), VT_OK);
    fx_close(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fx_remove(&fx);
    return 0;
}

/* The closed store has no log file, so the one file is everything. */
static void copy(const char *from, const char *to)
{
    char in[128], out[128], command[300];

    fx_path(&fx, from, in, sizeof in);
    fx_path(&fx, to, out, sizeof out);
    snprintf(command, sizeof command, "cp %s %s", in, out);
    assert_int_equal(system(command), 0);
}

static void opens(void)
{
    fx_open(&fx);
    fx_close(&fx);
}

/* The store as it was before the last change is kept in "good". */
static void damaged_by(const char *sql, const char *named)
{
    struct vt_why why;

    copy("good", "vtpm.db");
    fx_sql(&fx, sql);
    fx_open_fails(&fx, VT_EDAMAGED, &why);
    if (!strstr(why.text, "restore a backup") || !strstr(why.text, named))
        fail_msg("%s: %s", sql, why.text);
}

static void harmless(const char *sql)
{
    copy("good", "vtpm.db");
    fx_sql(&fx, sql);
    opens();
}

/* Binds the column's value with one bit changed, at the front or at the end; of numbers, another one. */
static void bind_flipped(sqlite3_stmt *to, sqlite3_stmt *from, bool at_end)
{
    const int type = sqlite3_column_type(from, 0), len = sqlite3_column_bytes(from, 0);
    uint8_t bytes[600] = {0x5a};

    if (type == SQLITE_INTEGER) {
        sqlite3_bind_int64(to, 1, sqlite3_column_int64(from, 0) + (at_end ? 1000 : 2000));
        return;
    }
    if (type == SQLITE_NULL || len == 0) {
        sqlite3_bind_blob(to, 1, bytes, 16, SQLITE_TRANSIENT);
        return;
    }
    assert_in_range(len, 1, sizeof bytes);
    memcpy(bytes, sqlite3_column_blob(from, 0), (size_t)len);
    bytes[at_end ? len - 1 : 0] ^= 1;
    if (type == SQLITE_TEXT)
        sqlite3_bind_text(to, 1, (const char *)bytes, len, SQLITE_TRANSIENT);
    else
        sqlite3_bind_blob(to, 1, bytes, len, SQLITE_TRANSIENT);
}

static void flip_column(const char *table, const char *column, const char *where, bool at_end)
{
    char path[128], sql[300];
    sqlite3_stmt *from, *to;
    sqlite3 *sq;

    fx_path(&fx, "vtpm.db", path, sizeof path);
    assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
    sqlite3_exec(sq, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
    snprintf(sql, sizeof sql, "SELECT %s FROM %s WHERE %s", column, table, where);
    assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &from, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(from), SQLITE_ROW);
    snprintf(sql, sizeof sql, "UPDATE %s SET %s = ?1 WHERE %s", table, column, where);
    assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &to, NULL), SQLITE_OK);
    bind_flipped(to, from, at_end);
    sqlite3_reset(from);
    if (sqlite3_step(to) != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
    assert_int_equal(sqlite3_changes(sq), 1);
    sqlite3_finalize(from);
    sqlite3_finalize(to);
    sqlite3_close(sq);
}

#define ONE "uuid = x'aabbccddeeff40118022000000000001'"
#define TWO "uuid = x'aabbccddeeff40118022000000000002'"
static const struct {
    const char *table, *where, *columns[14];
} covered[] = {
    {"meta", "id = 1", {"store", "next_keyslot", "generation", "rows", "mac"}},
    {"instance",
     ONE,
     {"uuid", "name", "grp", "profile", "life", "wrapped_key", "ek_sha256", "epoch", "seq", "generation",
      "created"}},
    {"instance", "life = 2", {"reason", "life"}},
    {"instance", "life = 3", {"uuid", "life"}},
    {"record", ONE, {"uuid", "seq", "tag"}},
    {"credential", "identity LIKE '%1'", {"identity", "sealed", "disabled", "version"}},
    {"credential", "identity LIKE 'host%'", {"identity", "sealed", "disabled", "version"}},
    {"credential_instance", ONE, {"identity", "uuid"}},
    {"binding", ONE, {"uuid", "peer"}},
    {"keyslot", "id = 1", {"id", "kind", "params", "wrapped"}},
    {"event",
     "id = (SELECT max(id) FROM event)",
     {"id", "time", "kind", "uuid", "peer", "text", "prev_hash", "hash"}},
};

static void test_start__one_bit_of_any_covered_column__damaged(void **state)
{
    int flips = 0;

    (void)state;
    copy("vtpm.db", "good");
    for (size_t i = 0; i < VT_COUNT(covered); i++) {
        for (size_t j = 0; covered[i].columns[j]; j++) {
            for (int at_end = 0; at_end < 2; at_end++) {
                struct db *db = NULL;
                struct vt_why why = {""};
                int err;

                copy("good", "vtpm.db");
                flip_column(covered[i].table, covered[i].columns[j], covered[i].where, at_end);
                err = db_open(&fx.config, &db, &why);
                if (!err)
                    err = db_start(db, &fx.mac, false, &why);
                db_close(db);
                if (err != VT_EDAMAGED)
                    fail_msg("%s.%s: %d %s", covered[i].table, covered[i].columns[j], err, why.text);
                flips++;
            }
        }
    }
    assert_int_equal(flips, 94);
    copy("good", "vtpm.db");
    opens();
}

static void test_start__column_for_people_changed__fine(void **state)
{
    (void)state;
    copy("vtpm.db", "good");
    harmless("UPDATE instance SET commands = commands + 7, last_seen = 9, domain = 'x', state_bytes = 1, "
             "updated = 3");
    harmless("UPDATE instance SET power = 'on' WHERE life <> 3");
    harmless("UPDATE meta SET clean = 0");
    harmless("VACUUM");
    harmless("CREATE TABLE notes (text)");
}

static void test_start__row_removed__damaged(void **state)
{
    (void)state;
    copy("vtpm.db", "good");
    damaged_by("DELETE FROM record WHERE " ONE,
               "the record is missing of instance aabbccdd-eeff-4011-8022-000000000001");
    damaged_by("DELETE FROM instance WHERE " ONE,
               "a record belongs to instance aabbccdd-eeff-4011-8022-000000000001");
    damaged_by("DELETE FROM credential_instance WHERE " ONE, "");
    damaged_by("DELETE FROM binding WHERE " ONE, "");
    damaged_by("DELETE FROM record WHERE " ONE "; DELETE FROM instance WHERE " ONE
               "; DELETE FROM credential_instance WHERE " ONE
               "; DELETE FROM credential WHERE identity LIKE '%1'",
               "");
    damaged_by("DELETE FROM instance WHERE life = 3", "");
    damaged_by("DELETE FROM credential WHERE identity LIKE '%2'", "");
    damaged_by("DELETE FROM keyslot WHERE id = 1", "");
    damaged_by("DELETE FROM event WHERE id = (SELECT max(id) FROM event)", "");
    damaged_by("DELETE FROM event WHERE id = 2; UPDATE meta SET rows = rows + 1, mac = zeroblob(32)",
               "1 events are missing");
    damaged_by("DELETE FROM meta", "");
}

static void test_start__row_added_or_doubled__damaged(void **state)
{
    (void)state;
    copy("vtpm.db", "good");
    damaged_by("INSERT INTO keyslot VALUES (9, 'keyfile', '', x'00')", "");
    damaged_by("INSERT INTO credential_instance VALUES ('host:blade', x'aabbccddeeff40118022000000000003')",
               "");
    damaged_by("INSERT INTO binding VALUES (x'aabbccddeeff40118022000000000003', 'name:evil')", "");
    damaged_by("INSERT INTO binding VALUES (x'aabbccddeeff40118022000000000004', 'dom0')",
               "a domain is bound to instance aabbccdd-eeff-4011-8022-000000000004");
    damaged_by("INSERT INTO event SELECT id + 1, time, kind, uuid, peer, text, prev_hash, hash FROM event"
               " ORDER BY id DESC LIMIT 1",
               "");
    damaged_by("UPDATE instance SET life = 0, wrapped_key = x'01' WHERE life = 3", "the record is missing");
}

static void test_start__rows_swapped__damaged(void **state)
{
    (void)state;
    copy("vtpm.db", "good");
    damaged_by("UPDATE record SET uuid = x'00' WHERE " ONE ";"
               "UPDATE record SET uuid = x'aabbccddeeff40118022000000000001' WHERE " TWO ";"
               "UPDATE record SET uuid = x'aabbccddeeff40118022000000000002' WHERE uuid = x'00'",
               "");
    damaged_by("UPDATE instance SET wrapped_key = (SELECT i.wrapped_key FROM instance i WHERE i." TWO
               ") WHERE " ONE,
               "");
    damaged_by("UPDATE binding SET peer = CASE peer WHEN 'dom0' THEN 'name:driver' ELSE 'dom0' END", "");
    damaged_by("UPDATE credential SET sealed = (SELECT c.sealed FROM credential c WHERE c.identity LIKE '%2')"
               " WHERE identity LIKE '%1'",
               "");
}

static void test_start__older_row_put_back__damaged(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    fx_sql(&fx, "CREATE TABLE old_record AS SELECT * FROM record; CREATE TABLE old_instance AS SELECT * FROM "
                "instance");
    fx_open(&fx);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, 2, "third"), VT_OK);
    fx_close(&fx);
    copy("vtpm.db", "good");
    damaged_by("DELETE FROM record WHERE " ONE "; INSERT INTO record SELECT * FROM old_record WHERE " ONE,
               "the record is older than the row of instance aabbccdd-eeff-4011-8022-000000000001");
    damaged_by("DELETE FROM record WHERE " ONE "; INSERT INTO record SELECT * FROM old_record WHERE " ONE ";"
               "DELETE FROM instance WHERE " ONE
               "; INSERT INTO instance SELECT * FROM old_instance WHERE " ONE,
               "");
    damaged_by("UPDATE meta SET generation = generation - 2", "the rest of the store is older than instance");
    copy("good", "vtpm.db");
    opens();
}

/* What DESIGN says is not detected: then a test that says so should break when it is. */
static void test_start__whole_file_older__opens(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    copy("vtpm.db", "good");
    fx_open(&fx);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    fx_close(&fx);
    copy("good", "vtpm.db");
    opens();
}

static void test_start__another_key__damaged(void **state)
{
    (void)state;
    fx.key ^= 1;
    fx_open_fails(&fx, VT_EDAMAGED, NULL);
}

static void check_says(bool structure, bool mac, bool chain, const char *text)
{
    struct db_check check;

    assert_int_equal(db_check(fx.db, &check), VT_OK);
    if (check.structure_ok != structure || check.mac_ok != mac || check.chain_ok != chain ||
        !strstr(check.text, text))
        fail_msg("%d %d %d: %s", check.structure_ok, check.mac_ok, check.chain_ok, check.text);
}

static void test_check__running_store__counts_and_findings(void **state)
{
    struct db_check check;

    (void)state;
    fx_open(&fx);
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    assert_int_equal(check.instances, 3);
    assert_int_equal(check.deleted, 1);
    assert_int_equal(check.credentials, 4);
    assert_int_equal(check.keyslots, 2);
    assert_int_equal(check.events, 13);
    assert_int_equal(check.bindings, 2);
    check_says(true, true, true, "in order");
    fx_sql(&fx, "UPDATE event SET text = 'other' WHERE id = 3");
    check_says(true, true, false, "event 3 was altered");
    fx_sql(&fx, "DELETE FROM event WHERE id = 3");
    check_says(false, true, false, "event 3 was removed");
    fx_sql(&fx, "UPDATE record SET tag = zeroblob(16) WHERE " ONE);
    check_says(false, false, false, "a row was altered, removed or replaced");
    fx_sql(&fx, "UPDATE record SET seq = 1 WHERE " ONE);
    check_says(false, false, false, "the record is older than the row");
}

static uint32_t random_state = 12345;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* Some bytes anywhere in the file become others. */
static void spoil(void)
{
    char path[128];
    FILE *file;
    long size;

    fx_path(&fx, "vtpm.db", path, sizeof path);
    file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    for (unsigned i = 0; i < 1 + next_random() % 8; i++) {
        fseek(file, (long)(next_random() % (unsigned long)size), SEEK_SET);
        fputc((int)(next_random() & 0xff), file);
    }
    fclose(file);
}

static int each_instance(void *ctx, const struct db_instance *instance)
{
    (void)ctx;
    return instance->life == DB_LIVE ? 0 : 1;
}

/* Opening, reading, checking and writing survive any file; what the MAC accepts can be read. */
static void test_open__random_bytes_changed__no_harm(void **state)
{
    int refused = 0;

    (void)state;
    copy("vtpm.db", "good");
    for (int round = 0; round < 200; round++) {
        struct vt_why why = {""};
        struct db_check check;
        uint64_t epoch;
        int err;

        copy("good", "vtpm.db");
        spoil();
        err = db_open(&fx.config, &fx.db, &why);
        if (!err) {
            (void)!db_instance_each(fx.db, true, each_instance, NULL);
            (void)!db_check(fx.db, &check);
            err = db_start(fx.db, &fx.mac, false, &why);
        }
        if (err) {
            refused++;
            assert_true(err == VT_EDAMAGED || err == VT_EUNAVAILABLE);
            assert_true(why.text[0] != '\0');
        } else {
            assert_int_equal(db_check(fx.db, &check), VT_OK);
            assert_true(check.mac_ok || !check.structure_ok);
            (void)!fx_acquire(&fx, 1, &epoch);
        }
        fx_close(&fx);
    }
    assert_in_range(refused, 5, 199);
}

/* A change of the live file that is not ours stays visible: later commits do not heal it. */
static void test_commit__after_tampering__start_still_finds_it(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    fx_open(&fx);
    fx_sql(&fx, "UPDATE instance SET wrapped_key = zeroblob(60) WHERE " ONE);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_acquire(&fx, 2, &epoch), VT_OK);
    fx_close(&fx);
    fx_open_fails(&fx, VT_EDAMAGED, NULL);
}

static void test_commit__meta_written_by_another__writes_no_more(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    fx_open(&fx);
    fx_sql(&fx, "UPDATE meta SET generation = generation + 1");
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_EUNAVAILABLE);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_EUNAVAILABLE);
    fx_close(&fx);
    fx_open_fails(&fx, VT_EDAMAGED, NULL);
}

static void test_start__ten_thousand_instances__is_quick(void **state)
{
    static const uint8_t record[6000];
    struct timespec before, after;
    double seconds;

    (void)state;
    fx_open(&fx);
    for (unsigned n = 10; n < 10010; n++) {
        struct db_instance instance = {.uuid = fx_uuid(n), .profile = "pc-client", .wrapped_key_len = 60};
        struct db_credential credential = {.sealed_len = 60};
        struct db_create_args args = {&instance, {{1}, record, sizeof record}, &credential};

        snprintf(instance.name, sizeof instance.name, "n%u", n);
        vt_uuid_text(credential.identity, &instance.uuid);
        assert_int_equal(db_instance_create(fx.db, &args, NULL, NULL, NULL), VT_OK);
        if (n % 1000 == 0)
            db_drain(fx.db);
    }
    fx_close(&fx);
    clock_gettime(CLOCK_MONOTONIC, &before);
    fx_open(&fx);
    clock_gettime(CLOCK_MONOTONIC, &after);
    seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    print_message("open and verify: %.3f s\n", seconds);
    assert_true(seconds < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define MAC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        MAC_TEST(test_start__one_bit_of_any_covered_column__damaged),
        MAC_TEST(test_start__column_for_people_changed__fine),
        MAC_TEST(test_start__row_removed__damaged),
        MAC_TEST(test_start__row_added_or_doubled__damaged),
        MAC_TEST(test_start__rows_swapped__damaged),
        MAC_TEST(test_start__older_row_put_back__damaged),
        MAC_TEST(test_start__whole_file_older__opens),
        MAC_TEST(test_start__another_key__damaged),
        MAC_TEST(test_check__running_store__counts_and_findings),
        MAC_TEST(test_open__random_bytes_changed__no_harm),
        MAC_TEST(test_commit__after_tampering__start_still_finds_it),
        MAC_TEST(test_commit__meta_written_by_another__writes_no_more),
        MAC_TEST(test_start__ten_thousand_instances__is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
