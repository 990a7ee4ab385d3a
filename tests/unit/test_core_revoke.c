/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation fails closed: what may have been taken away on disk is taken away from live channels too. */
#include "tests/unit/core_one.h"

#include <stdio.h>
#include <unistd.h>

#include "db/sqlite_priv.h"

static bool has_runtime_file(void)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s.run", rig.run, identity);
    return access(path, F_OK) == 0;
}

static void unknown_outcome(Vtpm__AdminRequest__VerbCase verb, bool written, int close_err)
{
    /* The attach's event is written by itself: it must not meet the fault. */
    db_drain(rig.broker->db);
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, written);
    assert_int_equal(admin_ref(&rig, verb, "a"), VT_EUNKNOWN);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, close_err);
    peer_close(&peer);
}

/* It did not happen: the guest goes on with the state it had, the volatile part included. */
static void expect_unharmed(void)
{
    assert_true(has_runtime_file());
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_ON);
    peer_expect(&peer, 1, FAKE_READ, 1, 0);
}

static void test_rotate__unknown_outcome__closes_the_channel(void **state)
{
    struct vt_key key;
    bool known;

    (void)state;
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_ROTATE, true, VT_EAUTH);
    broker_psk(rig.broker, identity, &key, &known);
    assert_true(known);
    peer_on(&rig, &peer, &uuid);
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_ROTATE, false, VT_EAUTH);
}

static void test_disable__unknown_outcome__closes_the_channel(void **state)
{
    (void)state;
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_DISABLE, false, VT_EPERM);
    expect_unharmed();
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_DISABLE, true, VT_EPERM);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPERM);
}

static void test_delete__unknown_outcome__closes_the_channel_and_keeps_what_may_be_needed(void **state)
{
    (void)state;
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_DELETE, false, VT_EPERM);
    expect_unharmed();
    unknown_outcome(VTPM__ADMIN_REQUEST__VERB_DELETE, true, VT_EPERM);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SHOW, "a"), VT_ENOTFOUND);
}

/* By its version a handshake that began with the old key is told from one with the new key. */
static void test_psk_version__rotate_and_delete__are_seen(void **state)
{
    uint64_t before = broker_psk_version(rig.broker, identity);

    (void)state;
    assert_int_equal(before, 1);
    assert_int_equal(broker_psk_version(rig.broker, "host:nobody"), 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ROTATE, "a"), VT_OK);
    assert_int_equal(broker_psk_version(rig.broker, identity), 2);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    assert_int_equal(broker_psk_version(rig.broker, identity), 0);
}

/* What an unknown peer is tried with differs by identity, is the same each time, and is nobody's key. */
static void test_psk__unknown_or_disabled__is_a_decoy(void **state)
{
    struct vt_key right, decoy, again, other;
    bool known;

    (void)state;
    broker_psk(rig.broker, identity, &right, &known);
    assert_true(known);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    broker_psk(rig.broker, identity, &decoy, &known);
    assert_false(known);
    broker_psk(rig.broker, identity, &again, &known);
    broker_psk(rig.broker, "host:nobody", &other, &known);
    assert_false(known);
    assert_memory_not_equal(&decoy, &right, sizeof right);
    assert_memory_equal(&decoy, &again, sizeof decoy);
    assert_memory_not_equal(&decoy, &other, sizeof decoy);
}

/* The commands of the last seconds are in the inventory after a stop. */
static void test_stop__counters__are_written(void **state)
{
    (void)state;
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    assert_int_equal(rig_sql(&rig, "SELECT commands FROM inventory"), 0);
    peer_close(&peer);
    rig_restart(&rig);
    assert_int_equal(rig_sql(&rig, "SELECT commands FROM inventory"), 2);
    assert_int_equal(rig_sql(&rig, "SELECT last_seen IS NOT NULL FROM inventory"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_bumped_volatile, one_end)
        TEST(test_rotate__unknown_outcome__closes_the_channel),
        TEST(test_disable__unknown_outcome__closes_the_channel),
        TEST(test_delete__unknown_outcome__closes_the_channel_and_keeps_what_may_be_needed),
        TEST(test_psk_version__rotate_and_delete__are_seen),
        TEST(test_psk__unknown_or_disabled__is_a_decoy),
        TEST(test_stop__counters__are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
