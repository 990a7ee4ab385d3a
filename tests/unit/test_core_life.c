/* SPDX-License-Identifier: Apache-2.0 */
/* Disable, delete, rotate: what they do to the store and to channels that are open. */
#include "tests/unit/core_one.h"

#include <stdio.h>
#include <unistd.h>

#include "server/core/instance/instance.h"

static void test_disable__live_channel__is_closed_and_state_kept(void **state)
{
    uint8_t stream[16];

    (void)state;
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    memcpy(stream, peer.stream, sizeof stream);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, VT_EPERM);
    assert_int_equal(fake.alive, 0);
    peer_close(&peer);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPERM);
    assert_non_null(strstr(peer.close_text, "vtpmctl instance enable"));
    peer_close(&peer);
    /* Twice is once. */
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_EPERM);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, identity), VT_OK);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 2);
}

static void test_disable__command_under_way__ends_and_engine_leaves(void **state)
{
    struct instance *instance = instance_in_memory(rig.broker, &uuid);
    uint8_t stream[16];

    (void)state;
    memcpy(stream, peer.stream, sizeof stream);
    fake.delay_ms = 100;
    peer_ask(&peer, 2, FAKE_BUMP_VOLATILE);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    assert_true(peer.closed);
    assert_true(instance_is_busy(instance));
    rig_turn(&rig, 300);
    /* No engine and no key of it stays behind. */
    assert_false(instance_is_busy(instance));
    assert_false(instance_is_warm(instance));
    assert_int_equal(fake.alive, 0);
    peer_close(&peer);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_OK);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
}

static void test_delete__erases_and_uuid_is_gone_for_good(void **state)
{
    char path[160];
    struct vt_uuid other;

    (void)state;
    snprintf(path, sizeof path, "%s/%s.run", rig.run, identity);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, VT_EPERM);
    assert_int_equal(fake.alive, 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM record"), 0);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM credential"), 0);
    assert_int_equal(rig_sql(&rig, "SELECT length(wrapped_key) FROM instance"), 0);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM inventory"), 0);
    peer_close(&peer);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPERM);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SHOW, identity), VT_ENOTFOUND);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, identity), VT_ENOTFOUND);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_ENOTFOUND);
    /* The name is free, the uuid never again. */
    assert_int_equal(admin_make(&rig, "a", identity, "", "", &other), VT_EEXISTS);
    assert_int_equal(admin_make(&rig, "a", "", "", "", &other), VT_OK);
}

static void delete_under_way(uint32_t ordinal)
{
    struct vt_uuid other;
    char path[160];

    fake.delay_ms = 100;
    peer_ask(&peer, 2, ordinal);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    assert_true(peer.closed);
    rig_turn(&rig, 400);
    assert_int_equal(fake.alive, 0);
    snprintf(path, sizeof path, "%s/%s.run", rig.run, identity);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM record"), 0);
    fake.delay_ms = 0;
    assert_int_equal(admin_make(&rig, "a", "", "", "", &other), VT_OK);
}

static void test_delete__durable_command_under_way__stays_deleted(void **state)
{
    (void)state;
    delete_under_way(FAKE_BUMP_BOTH);
}

static void test_delete__volatile_command_under_way__stays_deleted(void **state)
{
    (void)state;
    delete_under_way(FAKE_BUMP_VOLATILE);
}

static void test_rotate__live_channel__is_closed_and_key_is_new(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    struct vt_key before, after;
    char name[] = "a";
    bool known;

    (void)state;
    broker_psk(rig.broker, identity, &before, &known);
    ref.instance = name;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ROTATE;
    request.rotate = &ref;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_string_equal(reply->credential->identity, identity);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, VT_EAUTH);
    broker_psk(rig.broker, identity, &after, &known);
    assert_true(known);
    assert_memory_equal(after.bytes, reply->credential->key.data, 32);
    assert_memory_not_equal(after.bytes, before.bytes, 32);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    /* It opens after a restart too: the version is sealed into it. */
    peer_close(&peer);
    rig_restart(&rig);
    broker_psk(rig.broker, identity, &before, &known);
    assert_true(known);
    assert_memory_equal(after.bytes, before.bytes, 32);
}

/* ---- host:NAME ---- */

static int create_host(const char *name, const char *const *instances, size_t count)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__CreateHost create = VTPM__CREATE_HOST__INIT;
    Vtpm__AdminReply *reply;
    char text[100], names[4][80], *pointers[4];
    int err;

    snprintf(text, sizeof text, "%s", name);
    for (size_t k = 0; k < count; k++) {
        snprintf(names[k], sizeof names[k], "%s", instances[k]);
        pointers[k] = names[k];
    }
    create.name = text;
    create.instances = pointers;
    create.n_instances = count;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE_HOST;
    request.create_host = &create;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    err = reply->err;
    assert_int_equal(reply->credential != NULL, !err);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void test_host_credential__its_list__and_no_other(void **state)
{
    const char *const list[] = {"a", "b"}, *const unknown[] = {"a", "nobody"},
                      *const twice[] = {"a", "b", "a"};
    struct vt_uuid b, c;

    (void)state;
    rig_create(&rig, "b", &b);
    rig_create(&rig, "c", &c);
    assert_int_equal(create_host("", list, 2), VT_EUSAGE);
    assert_int_equal(create_host("h", NULL, 0), VT_EUSAGE);
    assert_int_equal(create_host("h", unknown, 2), VT_ENOTFOUND);
    assert_int_equal(create_host("h", twice, 3), VT_OK);
    assert_int_equal(create_host("h", list, 2), VT_EEXISTS);
    peer_close(&peer);
    peer_open(&rig, &peer, "host:h");
    assert_int_equal(peer_attach(&peer, &b), 0);
    peer_detach(&peer, false);
    assert_int_equal(peer_attach(&peer, &c), -VT_EPERM);
    peer_close(&peer);
    peer_open(&rig, &peer, "host:h");
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPROTO);
    peer_close(&peer);
    /* Rotation ends its channels, a deleted instance leaves its list. */
    peer_open(&rig, &peer, "host:h");
    assert_int_equal(peer_attach(&peer, &b), 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ROTATE, "host:h"), VT_OK);
    assert_int_equal(peer.close_err, VT_EAUTH);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ROTATE, "host:x"), VT_ENOTFOUND);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "b"), VT_OK);
    peer_close(&peer);
    peer_open(&rig, &peer, "host:h");
    assert_int_equal(peer_attach(&peer, &b), -VT_EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_bumped_both, one_end)
        TEST(test_disable__live_channel__is_closed_and_state_kept),
        TEST(test_disable__command_under_way__ends_and_engine_leaves),
        TEST(test_delete__erases_and_uuid_is_gone_for_good),
        TEST(test_delete__durable_command_under_way__stays_deleted),
        TEST(test_delete__volatile_command_under_way__stays_deleted),
        TEST(test_rotate__live_channel__is_closed_and_key_is_new),
        TEST(test_host_credential__its_list__and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
