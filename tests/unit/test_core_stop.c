/* SPDX-License-Identifier: Apache-2.0 */
/* Drain: what was begun is finished, nothing new is begun. */
#include "tests/unit/core_rig.h"

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

static void end_broker(void)
{
    broker_free(rig.broker);
    rig_turn(&rig, 1);
    assert_int_equal(fake.alive, 0);
    rig_start(&rig);
}

static void drain_under(uint32_t ordinal)
{
    bool drained = false;
    struct session *refused;
    const struct channel_peer who = {.text = "y"};
    struct session_io none = {0};
    struct seen seen;
    uint8_t stream[16];

    memcpy(stream, peer.stream, sizeof stream);
    fake.delay_ms = 100;
    peer_ask(&peer, 1, ordinal);
    broker_drain(rig.broker, on_drained, &drained);
    assert_false(drained);
    assert_int_equal(session_new(&refused, rig.broker, "x", &who, &none, NULL), VT_EAGAIN);
    rig_wait(&rig, &drained);
    /* Its guest has the answer. */
    assert_true(peer.answered);
    assert_int_equal(peer_take(&peer, &seen), 0);
    assert_int_equal(seen.rc, 0);
    assert_int_equal(peer_execute(&peer, 2, FAKE_READ, &seen), -VT_EAGAIN);
    peer_close(&peer);
    end_broker();
    fake.delay_ms = 0;
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->n, 1);
    memcpy(peer.stream, stream, sizeof stream);
    peer_expect(&peer, 1, ordinal, ordinal != FAKE_BUMP_PERMANENT, ordinal != FAKE_BUMP_VOLATILE);
}

static void test_drain__volatile_command_under_way__is_finished(void **state)
{
    (void)state;
    drain_under(FAKE_BUMP_VOLATILE);
}

static void test_drain__durable_command_under_way__is_finished(void **state)
{
    (void)state;
    drain_under(FAKE_BUMP_BOTH);
}

static void test_drain__nothing_under_way__is_at_once(void **state)
{
    bool drained = false;

    (void)state;
    broker_drain(rig.broker, on_drained, &drained);
    assert_true(drained);
    peer_close(&peer);
    end_broker();
    peer_on(&rig, &peer, &uuid);
}

/* An administrator's request is under way on the loop, in an engine, in the store, or on a worker. */
static void test_drain__admin_under_way__is_finished(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    Vtpm__Check check = VTPM__CHECK__INIT;
    struct admin_wait waits[4];
    char name[] = "b", spec[] = "keyfile:/nowhere";
    uint8_t secret[32] = {7};
    bool drained = false;

    (void)state;
    fake.delay_ms = 100;
    create.name = name;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    admin_begin(&rig, &waits[0], ADMIN_FULL, &request);
    add.spec = spec;
    add.secret = (ProtobufCBinaryData){.data = secret, .len = sizeof secret};
    add.has_secret = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    admin_begin(&rig, &waits[1], ADMIN_FULL, &request);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CHECK;
    request.check = &check;
    admin_begin(&rig, &waits[2], ADMIN_FULL, &request);
    broker_drain(rig.broker, on_drained, &drained);
    assert_false(drained);
    admin_begin(&rig, &waits[3], ADMIN_FULL, &request);
    assert_true(waits[3].done);
    assert_int_equal(waits[3].reply->err, VT_EAGAIN);
    rig_wait(&rig, &drained);
    for (int k = 0; k < 4; k++) {
        assert_true(waits[k].done);
        if (k < 2)
            assert_int_equal(waits[k].reply->err, VT_OK);
        /* A check of a large store takes long: a stop cuts it short, and says so. */
        if (k == 2)
            assert_true(waits[k].reply->err == VT_OK || waits[k].reply->err == VT_ECLOSED);
        vtpm__admin_reply__free_unpacked(waits[k].reply, NULL);
    }
    peer_close(&peer);
    end_broker();
    fake.delay_ms = 0;
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM inventory"), 2);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM keyslot"), 3);
    peer_on(&rig, &peer, &uuid);
}

/* The store is away, jobs wait behind each other, nobody holds the instance: all are told. */
static void test_drain__store_away__ends_all_the_same(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    struct admin_wait waits[3];
    char name[] = "a";
    bool drained = false;

    (void)state;
    peer_close(&peer);
    rig_restart(&rig);
    rig_lock(&rig);
    ref.instance = name;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE;
    request.power_cycle = &ref;
    for (int k = 0; k < 3; k++)
        admin_begin(&rig, &waits[k], ADMIN_FULL, &request);
    broker_drain(rig.broker, on_drained, &drained);
    rig_wait(&rig, &drained);
    rig_unlock();
    for (int k = 0; k < 3; k++) {
        assert_true(waits[k].done);
        assert_int_equal(waits[k].reply->err, VT_EUNAVAILABLE);
        vtpm__admin_reply__free_unpacked(waits[k].reply, NULL);
    }
    end_broker();
    peer_on(&rig, &peer, &uuid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_drain__volatile_command_under_way__is_finished),
        TEST(test_drain__durable_command_under_way__is_finished),
        TEST(test_drain__nothing_under_way__is_at_once),
        TEST(test_drain__admin_under_way__is_finished),
        TEST(test_drain__store_away__ends_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
