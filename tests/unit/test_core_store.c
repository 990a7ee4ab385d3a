/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that cannot be written or read: what is not safe has not happened. */
#include "tests/unit/core_rig.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/sqlite_priv.h"

#define CLEAR VTPM__STARTUP__STARTUP_CLEAR

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

/* ---- The database ---- */

static void test_locked__durable_command__is_unavailable_then_works(void **state)
{
    struct seen seen;

    (void)state;
    rig_lock(&rig);
    assert_int_equal(peer_execute(&peer, 2, FAKE_BUMP_BOTH, &seen), -VT_EUNAVAILABLE);
    assert_false(peer.closed);
    /* What needs no store goes on, over the state before. */
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    assert_int_equal(peer_execute(&peer, 3, FAKE_BUMP_PERMANENT, &seen), -VT_EUNAVAILABLE);
    rig_unlock();
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 2);
}

static void test_locked__attach__is_refused_and_works_later(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_restart(&rig);
    rig_lock(&rig);
    {
        char identity[VT_UUID_TEXT];

        vt_uuid_text(identity, &uuid);
        peer_open(&rig, &peer, identity);
        assert_int_equal(peer_attach(&peer, NULL), -VT_EUNAVAILABLE);
        peer_close(&peer);
    }
    rig_unlock();
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, 1, 1);
}

static void test_locked__admin__changes_nothing(void **state)
{
    struct vt_uuid other;

    (void)state;
    rig_lock(&rig);
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_EUNAVAILABLE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_EUNAVAILABLE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_EUNAVAILABLE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ROTATE, "a"), VT_EUNAVAILABLE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_EUNAVAILABLE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_EUNAVAILABLE);
    assert_false(peer.closed);
    rig_unlock();
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_OK);
}

#ifdef VTPM_TEST_HOOKS
static void test_commit__outcome_unknown__is_found_out(void **state)
{
    (void)state;
    /* On disk, and nobody said so. */
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, true);
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    /* Not on disk. */
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, false);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 3);
    peer_expect(&peer, 4, FAKE_READ, 3, 3);
}

static void test_commit__outcome_unknown_again_and_again__gives_up(void **state)
{
    struct seen seen;
    int err;

    (void)state;
    db_test_fail_commits(rig.broker->db, 20, VT_EUNKNOWN, false);
    err = peer_execute(&peer, 2, FAKE_BUMP_BOTH, &seen);
    /* Both make a shim send the same n again. */
    assert_true(err == -VT_EUNAVAILABLE || err == -VT_EUNKNOWN);
    assert_false(peer.closed);
    db_test_fail_commits(rig.broker->db, 0, VT_OK, false);
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
}

/* An act that is no command has no number: it must not be done twice. */
static void test_platform__outcome_unknown__is_done_once(void **state)
{
    (void)state;
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, true);
    assert_int_equal(peer_platform_init(&peer), 0);
    peer_expect(&peer, 2, FAKE_READ, 101, 101);
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, false);
    assert_int_equal(peer_platform_init(&peer), 0);
    peer_expect(&peer, 3, FAKE_READ, 201, 201);
}

static void test_power_on__outcome_unknown__is_told_as_acted(void **state)
{
    bool acted;

    (void)state;
    fake.powered_on = 0;
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, true);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    assert_int_equal(peer.msg->power_result->tpm_rc, 0);
    assert_int_equal(fake.powered_on, 1);
    peer_expect(&peer, 2, FAKE_READ, 0, 1);
}

#endif

/* ---- The runtime store ---- */

static void test_runtime__cannot_grow__has_not_happened(void **state)
{
    struct seen seen;
    char name[160], text[VT_UUID_TEXT];

    (void)state;
    /* The file that a bigger one is made in cannot be made: a directory has its name. */
    vt_uuid_text(text, &uuid);
    snprintf(name, sizeof name, "%s/%s.new", rig.run, text);
    assert_int_equal(mkdir(name, 0700), 0);
    fake.grown = 30000;
    assert_int_equal(peer_execute(&peer, 2, FAKE_GROW, &seen), -VT_EUNAVAILABLE);
    assert_int_equal(peer_execute(&peer, 2, FAKE_GROW, &seen), -VT_EUNAVAILABLE);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    assert_int_equal(rmdir(name), 0);
    peer_expect(&peer, 3, FAKE_GROW, 2, 1);
    peer_expect(&peer, 4, FAKE_BUMP_VOLATILE, 3, 1);
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, 3, 1);
}

static void test_runtime__directory_gone__no_power_on(void **state)
{
    struct vt_uuid other;
    struct peer second;
    char command[100], word[24];
    bool acted;

    (void)state;
    rig_create(&rig, "b", &other);
    peer_on(&rig, &second, &other);
    snprintf(command, sizeof command, "rm -r '%s'", rig.run);
    assert_int_equal(system(command), 0);
    fake.powered_on = 0;
    assert_int_equal(peer_power_on(&second, CLEAR, (struct guest){1, 5}, &acted), -VT_EUNAVAILABLE);
    assert_int_equal(fake.powered_on, 0);
    rig_state(&rig, &other, word);
    assert_string_equal(word, "ready");
    peer_close(&second);
    /* The first one's file is mapped: it goes on. */
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
}

static void test_runtime__cannot_be_read__is_not_lost(void **state)
{
    char name[160], aside[170], text[VT_UUID_TEXT];

    (void)state;
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_close(&peer);
    rig_stop(&rig);
    vt_uuid_text(text, &uuid);
    snprintf(name, sizeof name, "%s/%s.run", rig.run, text);
    snprintf(aside, sizeof aside, "%s.aside", name);
    assert_int_equal(rename(name, aside), 0);
    assert_int_equal(mkdir(name, 0700), 0);
    rig_start(&rig);
    peer_open(&rig, &peer, text);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EIO);
    peer_close(&peer);
    assert_int_equal(rmdir(name), 0);
    assert_int_equal(rename(aside, name), 0);
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, 2, 1);
}

static void test_runtime__newest_slot_altered__needs_power_on(void **state)
{
    char command[260], text[VT_UUID_TEXT];

    (void)state;
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_expect(&peer, 3, FAKE_BUMP_VOLATILE, 3, 1);
    peer_close(&peer);
    rig_stop(&rig);
    /* A byte in both slots' data; their heads stay well-formed. */
    vt_uuid_text(text, &uuid);
    for (int slot = 0; slot < 2; slot++) {
        snprintf(command, sizeof command,
                 "printf '\\377\\0\\377\\0' | dd of='%s/%s.run' bs=1 seek=%d conv=notrunc 2>/dev/null",
                 rig.run, text, 192 + slot * 1920 + 40); /* docs/state-format.md, "Runtime file" */
        assert_int_equal(system(command), 0);
    }
    rig_start(&rig);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_NEEDS_POWER_ON);
}

/* ---- Broken records ---- */

/* The store MAC covers the tag, not the bytes: only opening them tells. */
static void flip_record(const char *name)
{
    char path[120], sql[160];
    uint8_t *copy;
    int len;
    sqlite3 *sq;
    sqlite3_stmt *st;

    snprintf(path, sizeof path, "%s/vtpm.db", rig.data);
    assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
    snprintf(sql, sizeof sql, "SELECT data FROM record JOIN instance USING (uuid) WHERE name = '%s'", name);
    assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    len = sqlite3_column_bytes(st, 0);
    copy = malloc((size_t)len);
    memcpy(copy, sqlite3_column_blob(st, 0), (size_t)len);
    sqlite3_finalize(st);
    copy[len / 2] ^= 1;
    snprintf(sql, sizeof sql,
             "UPDATE record SET data = ?1 WHERE uuid = (SELECT uuid FROM instance WHERE name = '%s')", name);
    assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &st, NULL), SQLITE_OK);
    sqlite3_bind_blob(st, 1, copy, len, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(st), SQLITE_DONE);
    sqlite3_finalize(st);
    sqlite3_close(sq);
    free(copy);
}

static void test_record__flipped_byte__is_broken_and_kept(void **state)
{
    struct vt_uuid other;
    struct peer second;
    char identity[VT_UUID_TEXT], word[24], before[80], after[80], reason[200];

    (void)state;
    rig_create(&rig, "b", &other);
    peer_close(&peer);
    rig_stop(&rig);
    flip_record("a");
    rig_ask(&rig, before, sizeof before, "SELECT hex(substr(data, -20)) FROM record ORDER BY rowid LIMIT 1");
    rig_start(&rig);
    fake.spawned = 0;
    vt_uuid_text(identity, &uuid);
    for (int round = 0; round < 3; round++) {
        peer_open(&rig, &peer, identity);
        assert_int_equal(peer_attach(&peer, NULL), -VT_EBROKEN);
        assert_non_null(strstr(peer.close_text, "does not open"));
        peer_close(&peer);
        rig_turn(&rig, 50);
        rig_state(&rig, &uuid, word);
        assert_string_equal(word, "broken");
        if (round == 1)
            rig_restart(&rig);
    }
    rig_ask(&rig, reason, sizeof reason, "SELECT reason FROM instance WHERE name = 'a'");
    assert_non_null(strstr(reason, "does not open"));
    rig_ask(&rig, after, sizeof after, "SELECT hex(substr(data, -20)) FROM record ORDER BY rowid LIMIT 1");
    assert_string_equal(before, after);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'broken'"), 1);
    assert_int_equal(fake.spawned, 0);
    /* Enabling does not heal it; another name does not free its own. */
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_ECONFLICT);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_EBROKEN);
    assert_int_equal(admin_make(&rig, "c", identity, "", "", &other), VT_EEXISTS);
    assert_int_equal(admin_make(&rig, "a", "", "", "", &other), VT_EEXISTS);
    /* Others go on. */
    {
        Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
        Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
        Vtpm__AdminReply *reply;
        char name[] = "b";

        ref.instance = name;
        request.verb_case = VTPM__ADMIN_REQUEST__VERB_SHOW;
        request.show = &ref;
        reply = admin_ask(&rig, ADMIN_MONITOR, &request);
        assert_int_equal(reply->err, VT_OK);
        assert_true(vt_uuid_parse(&other, reply->instances[0]->uuid));
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    peer_on(&rig, &second, &other);
    peer_expect_fail(&second, 1, FAKE_READ);
    peer_close(&second);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
}

/* Found while the session is attached, after the engine was paged out. */
static void test_record__flipped_while_running__closes_the_session(void **state)
{
    struct seen seen;

    (void)state;
    peer_close(&peer);
    rig_stop(&rig);
    rig.config.idle_s = 1;
    rig_start(&rig);
    peer_on(&rig, &peer, &uuid);
    rig_turn(&rig, 1300);
    flip_record("a");
    assert_int_equal(peer_execute(&peer, 1, FAKE_READ, &seen), -VT_EBROKEN);
    assert_true(peer.closed);
    rig.config.idle_s = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_locked__durable_command__is_unavailable_then_works),
        TEST(test_locked__attach__is_refused_and_works_later),
        TEST(test_locked__admin__changes_nothing),
#ifdef VTPM_TEST_HOOKS
        TEST(test_commit__outcome_unknown__is_found_out),
        TEST(test_commit__outcome_unknown_again_and_again__gives_up),
        TEST(test_platform__outcome_unknown__is_done_once),
        TEST(test_power_on__outcome_unknown__is_told_as_acted),
#endif
        TEST(test_runtime__cannot_grow__has_not_happened),
        TEST(test_runtime__directory_gone__no_power_on),
        TEST(test_runtime__cannot_be_read__is_not_lost),
        TEST(test_runtime__newest_slot_altered__needs_power_on),
        TEST(test_record__flipped_byte__is_broken_and_kept),
        TEST(test_record__flipped_while_running__closes_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
