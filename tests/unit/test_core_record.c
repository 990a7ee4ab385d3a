/* SPDX-License-Identifier: Apache-2.0 */
/* Exactly once, restarts, take-over, paging out. */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "server/core/instance/instance.h"

static void test_execute__same_n_again__is_replayed_not_run(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    struct seen first, again;
    static const uint32_t ordinals[] = {FAKE_BUMP_VOLATILE, FAKE_BUMP_PERMANENT, FAKE_BUMP_BOTH, FAKE_READ,
                                        0x7777};

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    for (uint64_t n = 1; n <= VT_COUNT(ordinals); n++) {
        assert_int_equal(peer_execute(&peer, n, ordinals[n - 1], &first), 0);
        assert_int_equal(fake.executed, n);
        assert_int_equal(peer_execute(&peer, n, ordinals[n - 1], &again), 0);
        assert_int_equal(fake.executed, n);
        assert_int_equal(first.len, again.len);
        assert_memory_equal(first.bytes, again.bytes, first.len);
    }
    peer_close(&peer);
    rig_free(&rig);
}

static void test_execute__not_next__is_refused_with_conflict(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    struct seen seen;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    assert_int_equal(peer_execute(&peer, 1, FAKE_BUMP_VOLATILE, &seen), -VT_ECONFLICT); /* lower */
    assert_int_equal(peer_execute(&peer, 4, FAKE_BUMP_VOLATILE, &seen), -VT_ECONFLICT); /* gap */
    assert_int_equal(peer_execute(&peer, 2, FAKE_READ, &seen), -VT_ECONFLICT);          /* other bytes */
    assert_false(peer.closed);
    assert_int_equal(fake.executed, 2);
    peer.stream[0] ^= 1;
    assert_int_equal(peer_execute(&peer, 2, FAKE_READ, &seen),
                     -VT_ECONFLICT); /* another stream begins with 1 */
    peer_expect(&peer, 1, FAKE_READ, 2, 0);
    peer.stream[0] ^= 1;
    assert_int_equal(peer_execute(&peer, 3, FAKE_READ, &seen), -VT_ECONFLICT); /* the old one is over */
    peer_close(&peer);
    rig_free(&rig);
}

static void test_restart__volatile_and_permanent__are_kept(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    uint8_t stream[16];
    uint64_t n = 0, volatile_count = 0, permanent_count = 0;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    memcpy(stream, peer.stream, sizeof stream);
    /* All orders of the last two commands before the stop. */
    for (unsigned round = 0; round < 9; round++) {
        for (unsigned k = 0; k < 2; k++) {
            uint32_t ordinal = FAKE_BUMP_VOLATILE + (k ? round % 3 : round / 3);
            volatile_count += ordinal != FAKE_BUMP_PERMANENT;
            permanent_count += ordinal != FAKE_BUMP_VOLATILE;
            peer_expect(&peer, ++n, ordinal, volatile_count, permanent_count);
        }
        peer_close(&peer);
        rig_restart(&rig);
        peer_on(&rig, &peer, &uuid);
        assert_int_equal(peer.msg->attached->n, n);
        assert_memory_equal(peer.msg->attached->stream.data, stream, sizeof stream);
        memcpy(peer.stream, stream, sizeof stream);
        /* Its outcome was known; but had it not been: */
        fake.executed = 0;
        peer_expect(&peer, n, FAKE_BUMP_VOLATILE + round % 3, volatile_count, permanent_count);
        assert_int_equal(fake.executed, 0);
    }
    peer_close(&peer);
    rig_free(&rig);
}

static void test_attach__second_channel__fences_the_first(void **state)
{
    struct rig rig;
    struct peer older, newer;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &older, "a", &uuid);
    peer_expect(&older, 1, FAKE_BUMP_VOLATILE, 1, 0);
    peer_on(&rig, &newer, &uuid);
    assert_true(older.closed);
    assert_int_equal(older.close_err, VT_EFENCED);
    assert_int_equal(newer.msg->attached->n, 1);
    /* What the older one still says goes nowhere. */
    peer_ask(&older, 2, FAKE_BUMP_VOLATILE);
    peer_expect(&newer, 1, FAKE_READ, 1, 0);
    peer_close(&older);
    peer_expect(&newer, 2, FAKE_READ, 1, 0);
    peer_close(&newer);
    rig_free(&rig);
}

static void test_attach__command_of_older_channel_under_way__is_in_attached(void **state)
{
    struct rig rig;
    struct peer older, newer;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &older, "a", &uuid);
    fake.delay_ms = 50;
    peer_ask(&older, 1, FAKE_BUMP_BOTH);
    assert_false(session_ready(older.session));
    peer_on(&rig, &newer, &uuid);
    assert_int_equal(older.close_err, VT_EFENCED);
    assert_int_equal(newer.msg->attached->n, 1);
    memcpy(newer.stream, older.stream, sizeof newer.stream);
    fake.executed = 0;
    peer_expect(&newer, 1, FAKE_BUMP_BOTH, 1, 1);
    assert_int_equal(fake.executed, 0);
    peer_close(&older);
    peer_close(&newer);
    rig_free(&rig);
}

static void test_channel__breaks_under_a_command__is_recorded(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    uint8_t stream[16];

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    fake.delay_ms = 20;
    peer_ask(&peer, 1, FAKE_BUMP_BOTH);
    memcpy(stream, peer.stream, sizeof stream);
    peer_close(&peer);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    assert_int_equal(peer.msg->attached->n, 1);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    assert_int_equal(fake.executed, 1);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_idle__engine_leaves__next_command_returns(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;

    (void)state;
    rig_dirs(&rig);
    rig.config.idle_s = 1;
    rig_start(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    assert_int_equal(fake.alive, 1);
    rig_turn(&rig, 1300);
    assert_int_equal(fake.alive, 0);
    assert_false(instance_is_warm(instance_in_memory(rig.broker, &uuid)));
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 2);
    assert_int_equal(fake.alive, 1);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_counters__stop__are_flushed(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    for (uint64_t n = 1; n <= 7; n++)
        peer_expect(&peer, n, FAKE_BUMP_VOLATILE, n, 0);
    assert_int_equal(rig_sql(&rig, "SELECT commands FROM inventory"), 0);
    peer_close(&peer);
    rig_stop(&rig);
    assert_int_equal(rig_sql(&rig, "SELECT commands FROM inventory"), 7);
    assert_int_equal(rig_sql(&rig, "SELECT last_seen IS NOT NULL FROM inventory"), 1);
    rig_start(&rig);
    rig_free(&rig);
}

static void test_ek__made_by_the_guest__is_in_the_inventory(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__AdminReply *reply;
    char name[] = "bare", text[80];
    bool acted;

    (void)state;
    rig_make(&rig);
    create.name = name;
    create.no_ek = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_true(vt_uuid_parse(&uuid, reply->instances[0]->uuid));
    vtpm__admin_reply__free_unpacked(reply, NULL);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_int_equal(rig_sql(&rig, "SELECT ek_sha256 IS NULL FROM inventory"), 1);
    /* One that never came to be must not be shown later either. */
    rig_lock(&rig);
    {
        struct seen seen;

        assert_int_equal(peer_execute(&peer, 1, FAKE_MAKE_EK, &seen), -VT_EUNAVAILABLE);
    }
    rig_unlock();
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "bare"), VT_OK);
    assert_int_equal(rig_sql(&rig, "SELECT ek_sha256 IS NULL FROM inventory"), 1);
    peer_expect(&peer, 1, FAKE_MAKE_EK, 0, 0);
    rig_ask(&rig, text, sizeof text, "SELECT substr(ek_sha256, 1, 8) FROM inventory");
    assert_string_equal(text, "eeeeeeee");
    peer_close(&peer);
    rig_free(&rig);
}

static void test_psk__known_and_unknown__both_get_a_key(void **state)
{
    struct rig rig;
    struct vt_uuid uuid;
    struct vt_key key, decoy, again;
    char identity[VT_UUID_TEXT];
    bool known;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    vt_uuid_text(identity, &uuid);
    broker_psk(rig.broker, identity, &key, &known);
    assert_true(known);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    broker_psk(rig.broker, identity, &decoy, &known);
    assert_false(known);
    assert_memory_not_equal(&decoy, &key, sizeof key);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_OK);
    broker_psk(rig.broker, identity, &again, &known);
    assert_true(known);
    assert_memory_equal(&again, &key, sizeof key);
    broker_psk(rig.broker, "host:nobody", &decoy, &known);
    assert_false(known);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_execute__same_n_again__is_replayed_not_run),
        cmocka_unit_test(test_execute__not_next__is_refused_with_conflict),
        cmocka_unit_test(test_restart__volatile_and_permanent__are_kept),
        cmocka_unit_test(test_attach__second_channel__fences_the_first),
        cmocka_unit_test(test_attach__command_of_older_channel_under_way__is_in_attached),
        cmocka_unit_test(test_channel__breaks_under_a_command__is_recorded),
        cmocka_unit_test(test_idle__engine_leaves__next_command_returns),
        cmocka_unit_test(test_counters__stop__are_flushed),
        cmocka_unit_test(test_ek__made_by_the_guest__is_in_the_inventory),
        cmocka_unit_test(test_psk__known_and_unknown__both_get_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
