/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured start: a queue that one power on extends, in its order, once or not at all. The fake TPM's volatile
 * counter tells what was extended: of each digest the PCR (two decimal digits) and the first byte (one).
 */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "db/sqlite_priv.h"
#include "server/core/measure.h"

#define CLEAR VTPM__STARTUP__STARTUP_CLEAR

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    peer = (struct peer){0};
    peer_on(&rig, &peer, &uuid);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

/* Comes again as a shim that was away: a stream of its own. */
static void again(void)
{
    peer_close(&peer);
    peer_on(&rig, &peer, &uuid);
}

static void powers_on(int domid)
{
    bool acted;

    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, domid}, &acted), 0);
    assert_true(acted);
}

static Vtpm__AdminReply *ask(Vtpm__AdminRequest__VerbCase verb)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    char name[] = "a";

    ref.instance = name;
    request.verb_case = verb;
    request.show = &ref;
    return admin_ask(&rig, ADMIN_MONITOR, &request);
}

static void expect_queue(unsigned count, bool required)
{
    Vtpm__AdminReply *reply = ask(VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST);

    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_measurements, count);
    assert_int_equal(reply->measure_required, required);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    reply = ask(VTPM__ADMIN_REQUEST__VERB_SHOW);
    assert_true(reply->instances[0]->has_measures);
    assert_int_equal(reply->instances[0]->measurements, count);
    assert_int_equal(reply->instances[0]->measure_required, required);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void last_event(const char *kind, char out[300])
{
    db_drain(rig.broker->db);
    rig_ask(&rig, out, 300, "SELECT text FROM event WHERE kind = '%s' ORDER BY id DESC LIMIT 1", kind);
}

static void queue(unsigned pcr, uint8_t first, bool always)
{
    assert_int_equal(admin_measured(&rig, "a", pcr, first, always), VT_OK);
}

static void test_power_on__queue__is_extended_in_order_and_used_up(void **state)
{
    char event[300];

    (void)state;
    queue(4, 1, false);
    last_event("measure", event);
    assert_string_equal(event, "PCR 4, once: sha1 0100000000000000000000000000000000000000, 4711 bytes, /boot/vmlinuz");
    queue(8, 2, true);
    queue(4, 3, false);
    expect_queue(3, false);
    powers_on(1);
    last_event("power-on", event);
    assert_string_equal(event, "powered on, measured: PCR 4 x2, PCR 8 x1");
    peer_expect(&peer, 1, FAKE_READ, 41082043, 0);
    expect_queue(1, false);
    /* The same guest's shim comes again: nothing is measured twice. */
    again();
    peer_expect(&peer, 1, FAKE_READ, 41082043, 0);
    peer_detach(&peer, true);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, 82, 0);
    expect_queue(1, false);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_MEASURE_CLEAR, "a"), VT_OK);
    expect_queue(0, false);
    peer_detach(&peer, true);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    powers_on(3);
    last_event("power-on", event);
    assert_string_equal(event, "powered on");
    peer_expect(&peer, 3, FAKE_READ, 0, 0);
}

/* A start came to nothing: what was for it goes, what is for each stays. */
static void test_queue__those_for_once_dropped__the_others_are_extended(void **state)
{
    char event[300];

    (void)state;
    queue(8, 1, true);
    queue(4, 2, false);
    queue(4, 3, false);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_MEASURE_DROP, "a"), VT_OK);
    expect_queue(1, false);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_MEASURE_DROP, "a"), VT_OK);
    last_event("measure", event);
    assert_string_equal(event, "measurements for one power on were dropped");
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, 81, 0);
}

/* Queued while the guest runs: its PCRs and its commands go on, and the next domain gets it. */
static void test_queue__while_on__waits_for_the_next_power_on(void **state)
{
    (void)state;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    queue(4, 1, false);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, 2, 0);
    expect_queue(1, false);
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, 41, 0);
    expect_queue(0, false);
}

/* The queue is as durable as keys are, and goes with the one power on that uses it. */
static void test_queue__restart_and_reboot__is_kept_or_used(void **state)
{
    (void)state;
    queue(4, 1, false);
    queue(5, 2, true);
    peer_close(&peer);
    rig_restart(&rig);
    expect_queue(2, false);
    rig_reboot(&rig);
    expect_queue(2, false);
    peer_on(&rig, &peer, &uuid);
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, 41052, 0);
    peer_close(&peer);
    rig_restart(&rig);
    expect_queue(1, false);
    rig_reboot(&rig);
    expect_queue(1, false);
    peer_on(&rig, &peer, &uuid);
    peer_expect_fail(&peer, 1, FAKE_READ);
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, 52, 0);
}

/* No resume is a start: the saved guest's PCRs go on, and what was queued waits. */
static void test_queue__resume__is_not_used(void **state)
{
    bool acted;

    (void)state;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    queue(4, 1, false);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 2, FAKE_READ, 1, 0);
    expect_queue(1, false);
}

static void test_power_on__store_shut__queue_and_power_stay(void **state)
{
    bool acted;

    (void)state;
    queue(4, 1, false);
    rig_lock(&rig);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_EUNAVAILABLE);
    rig_unlock();
    expect_queue(1, false);
    again();
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, 41, 0);
    expect_queue(0, false);
}

static void test_power_on__engine_dies__again_from_the_queue(void **state)
{
    (void)state;
    queue(4, 1, false);
    fake.crashes = 1;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, 41, 0);
    assert_int_equal(fake.extended, 1);
    expect_queue(0, false);
}

static void test_required__empty_queue__no_power_on(void **state)
{
    char event[300];
    bool acted;

    (void)state;
    assert_int_equal(admin_require(&rig, "a", true), VT_OK);
    last_event("measure", event);
    assert_string_equal(event, "no power on without measurements");
    expect_queue(0, true);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_ECONFLICT);
    assert_false(peer.closed);
    assert_non_null(strstr(peer.msg->error->text, "vtpmctl instance measure"));
    last_event("power-on-refused", event);
    assert_non_null(strstr(event, "requires a measured start"));
    peer_expect_fail(&peer, 1, FAKE_STARTUP);
    peer_expect_fail(&peer, 2, FAKE_READ);
    assert_int_equal(fake.powered_on, 0);
    peer_close(&peer);
    rig_restart(&rig);
    expect_queue(0, true);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    queue(4, 1, false);
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, 41, 0);
    /* A monitor's reset may not give the guest fresh PCRs. */
    assert_int_equal(peer_platform_init(&peer), -VT_ECONFLICT);
    /* A new domain while it is on needs them no less; the old one's PCRs are not its. */
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), -VT_ECONFLICT);
    peer_expect_fail(&peer, 2, FAKE_READ);
    peer_expect_fail(&peer, 3, FAKE_BUMP_BOTH);
    assert_int_equal(peer_platform_init(&peer), -VT_EPOWER);
    assert_int_equal(fake.inits, 0);
    /* The old one's shim, should it come back, finds its guest's TPM as it was. */
    again();
    peer_expect(&peer, 1, FAKE_READ, 41, 0);
    assert_int_equal(admin_require(&rig, "a", false), VT_OK);
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, 0, 0);
    assert_int_equal(peer_platform_init(&peer), 0);
}

static void test_required__refusals__are_held_to_a_rate(void **state)
{
    bool acted;

    (void)state;
    assert_int_equal(admin_require(&rig, "a", true), VT_OK);
    for (unsigned k = 0; k < ACT_REFUSE_MOST + 10; k++)
        assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_ECONFLICT);
    db_drain(rig.broker->db);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'power-on-refused'"), ACT_REFUSE_MOST);
}

static void test_create__require_measure__from_its_first_record_on(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__AdminReply *reply;
    char name[] = "b";
    struct vt_uuid b;
    bool acted;

    (void)state;
    create.name = name;
    create.require_measure = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_true(vt_uuid_parse(&b, reply->instances[0]->uuid));
    vtpm__admin_reply__free_unpacked(reply, NULL);
    peer_close(&peer);
    peer_on(&rig, &peer, &b);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_ECONFLICT);
}

/* The guest would send commands before them. */
static void test_queue__startup_left_to_the_guest__no_power_on(void **state)
{
    static const Vtpm__Startup kinds[] = {VTPM__STARTUP__STARTUP_NONE, VTPM__STARTUP__STARTUP_STATE};
    bool acted;

    (void)state;
    queue(4, 1, false);
    for (size_t k = 0; k < VT_COUNT(kinds); k++) {
        assert_int_equal(peer_power_on(&peer, kinds[k], (struct guest){1, 1}, &acted), -VT_ECONFLICT);
        assert_non_null(strstr(peer.msg->error->text, "--startup clear"));
    }
    expect_queue(1, false);
    powers_on(1);
}

static void test_measure__bad_or_too_many__is_refused(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Measurement measure = VTPM__MEASUREMENT__INIT;
    uint8_t digest[32] = {0};
    char name[] = "a", label[80];
    Vtpm__AdminReply *reply;

    (void)state;
    assert_int_equal(admin_measured(&rig, "a", 16, 1, false), VT_EUSAGE);
    assert_int_equal(admin_measured(&rig, "a", 0xffffffff, 1, false), VT_EUSAGE);
    assert_int_equal(admin_measured(&rig, "nobody", 4, 1, false), VT_ENOTFOUND);
    measure.instance = name;
    measure.label = label;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_MEASURE;
    request.measure = &measure;
    for (unsigned k = 0; k < 3; k++) {
        /* SHA-256; a label that is too long; one that could make a line. */
        measure.digest = (ProtobufCBinaryData){.data = digest, .len = k == 0 ? 32 : 20};
        memset(label, 'x', sizeof label);
        label[k == 1 ? 65 : 64] = '\0';
        label[0] = k == 2 ? '\n' : 'x';
        reply = admin_ask(&rig, ADMIN_FULL, &request);
        assert_int_equal(reply->err, VT_EUSAGE);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    for (unsigned k = 0; k < MEASURE_MAX; k++)
        queue(k % MEASURE_PCRS, 1, false);
    assert_int_equal(admin_measured(&rig, "a", 4, 1, false), VT_ECONFLICT);
    expect_queue(MEASURE_MAX, false);
    powers_on(1);
    assert_int_equal(fake.extended, MEASURE_MAX);
    expect_queue(0, false);
}

static void test_list__entries__as_they_were_queued(void **state)
{
    Vtpm__AdminReply *reply;

    (void)state;
    queue(4, 1, false);
    queue(5, 2, true);
    reply = ask(VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST);
    assert_int_equal(reply->n_measurements, 2);
    assert_int_equal(reply->measurements[1]->pcr, 5);
    assert_int_equal(reply->measurements[1]->digest.len, 20);
    assert_int_equal(reply->measurements[1]->digest.data[0], 2);
    assert_true(reply->measurements[1]->always && !reply->measurements[0]->always);
    assert_int_equal(reply->measurements[0]->size, 4711);
    assert_string_equal(reply->measurements[0]->label, "/boot/vmlinuz");
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

/* ---- The front-end domain in the inventory ---- */

static void expect_domain(const char *expected)
{
    char text[80];

    db_drain(rig.broker->db);
    rig_ask(&rig, text, sizeof text, "SELECT domain FROM inventory WHERE name = 'a'");
    assert_string_equal(text, expected);
}

static void test_domain__told_by_the_shim__is_in_the_inventory(void **state)
{
    static const struct {
        int domid;
        const char *name, *shown;
    } rows[] = {
        {5, "web1", "web1(5)"},
        {6, NULL, "domid 6"},
        {6, "with\nline", "with?line(6)"},
        {-1, "web1", ""},
        {0x7fffffff, "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg",
         "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee(2147483647)"},
    };

    (void)state;
    expect_domain("");
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        again();
        assert_int_equal(peer_detach(&peer, false), 0);
        peer.domain = rows[k].name;
        assert_int_equal(peer_attach_for(&peer, NULL, (struct guest){1, rows[k].domid}), 0);
        expect_domain(rows[k].shown);
    }
}

static void test_domain__power_on_and_end__follow(void **state)
{
    char identity[VT_UUID_TEXT];
    bool acted;

    (void)state;
    peer.domain = "web1";
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 5}, &acted), 0);
    expect_domain("web1(5)");
    peer_close(&peer);
    rig_restart(&rig);
    expect_domain("web1(5)");
    vt_uuid_text(identity, &uuid);
    peer_open(&rig, &peer, identity);
    peer.domain = "web1";
    assert_int_equal(peer_attach_for(&peer, NULL, (struct guest){1, 5}), 0);
    peer_detach(&peer, true);
    expect_domain("");
}

#ifdef VTPM_TEST_HOOKS
/* Whether the COMMIT of the power on was lost or only its word: the digests are there once. */
static void test_power_on__unknown_outcome__extended_once(void **state)
{
    (void)state;
    for (int written = 0; written < 2; written++) {
        if (written)
            assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_OK);
        again();
        queue(4, 1, false);
        queue(5, 2, false);
        db_drain(rig.broker->db);
        db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, written);
        {
            bool acted;

            assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1 + written}, &acted), 0);
        }
        peer_expect(&peer, 1, FAKE_READ, 41052, 0);
        expect_queue(0, false);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_power_on__queue__is_extended_in_order_and_used_up),
        TEST(test_queue__those_for_once_dropped__the_others_are_extended),
        TEST(test_queue__while_on__waits_for_the_next_power_on),
        TEST(test_queue__restart_and_reboot__is_kept_or_used),
        TEST(test_queue__resume__is_not_used),
        TEST(test_power_on__store_shut__queue_and_power_stay),
        TEST(test_power_on__engine_dies__again_from_the_queue),
        TEST(test_required__empty_queue__no_power_on),
        TEST(test_required__refusals__are_held_to_a_rate),
        TEST(test_create__require_measure__from_its_first_record_on),
        TEST(test_queue__startup_left_to_the_guest__no_power_on),
        TEST(test_measure__bad_or_too_many__is_refused),
        TEST(test_list__entries__as_they_were_queued),
        TEST(test_domain__told_by_the_shim__is_in_the_inventory),
        TEST(test_domain__power_on_and_end__follow),
#ifdef VTPM_TEST_HOOKS
        TEST(test_power_on__unknown_outcome__extended_once),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
