/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out at every place where it can: each answer is the right one or an error, and once there is
 * memory again the same n works, exactly once.
 */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "server/base/alloc.h"

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
    (void)vt_alloc_fail_after(-1);
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

static void renew(void)
{
    uint8_t stream[16];

    if (!peer.closed)
        return;
    memcpy(stream, peer.stream, sizeof stream);
    peer_close(&peer);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
}

/* The k-th allocation fails, for all k until none is reached. */
static void sweep(uint32_t ordinal, bool cold)
{
    uint64_t volatile_step = ordinal != FAKE_BUMP_PERMANENT, permanent_step = ordinal != FAKE_BUMP_VOLATILE;
    struct seen seen;
    uint64_t n = 0;
    long k, errors = 0;

    for (k = 0; k < 200; k++) {
        int err;
        long made;

        if (cold)
            fake_kill_idle();
        n++;
        (void)vt_alloc_fail_after(k);
        err = peer_execute(&peer, n, ordinal, &seen);
        made = vt_alloc_fail_after(-1);
        errors += err != 0;
        renew();
        if (err || seen.rc == 0)
            peer_expect(&peer, n, ordinal, n * volatile_step, n * permanent_step);
        else
            fail_msg("k=%ld: rc %u", k, (unsigned)seen.rc);
        if (made <= k)
            break;
    }
    assert_true(errors > 2);
    assert_true(k < 200);
}

static void test_memory__volatile_command__exactly_once(void **state)
{
    (void)state;
    sweep(FAKE_BUMP_VOLATILE, false);
}

static void test_memory__durable_command__exactly_once(void **state)
{
    (void)state;
    sweep(FAKE_BUMP_BOTH, false);
}

static void test_memory__engine_must_be_started__exactly_once(void **state)
{
    (void)state;
    sweep(FAKE_BUMP_VOLATILE, true);
}

/* Nothing that was found only because memory was short may be taken for lost or broken. */
static void test_memory__load__is_not_broken_and_not_lost(void **state)
{
    char identity[VT_UUID_TEXT], word[24];
    long k, errors = 0;

    (void)state;
    vt_uuid_text(identity, &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    for (k = 0; k < 300; k++) {
        int err;
        long made;

        peer_close(&peer);
        rig_restart(&rig);
        peer_open(&rig, &peer, identity);
        (void)vt_alloc_fail_after(k);
        err = peer_attach(&peer, NULL);
        made = vt_alloc_fail_after(-1);
        errors += err != 0;
        if (err == -VT_EBROKEN || (!err && peer.msg->attached->power != VTPM__POWER__POWER_ON))
            fail_msg("k=%ld: %s", k, err ? peer.close_text : "the volatile state is given up");
        if (made <= k)
            break;
    }
    assert_true(errors > 2);
    assert_true(k < 300);
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "on");
    renew();
    peer_expect(&peer, 1, FAKE_READ, 1, 0);
}

static void test_memory__create__all_or_nothing(void **state)
{
    struct vt_uuid other;
    int64_t before = 1;
    long k, errors = 0;

    (void)state;
    for (k = 0; k < 200; k++) {
        int err;
        long made;
        char name[16];

        snprintf(name, sizeof name, "x%ld", k);
        (void)vt_alloc_fail_after(k);
        err = admin_make(&rig, name, "", "", "", &other);
        made = vt_alloc_fail_after(-1);
        errors += err != 0;
        before += err == 0;
        assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), before);
        assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM credential"), before);
        if (made <= k)
            break;
    }
    assert_true(errors > 2);
    assert_true(k < 200);
}

/* Memory ends while something is queued, or while a power on uses it: nothing is half in, nothing is extended twice. */
static void test_memory__measured_start__all_or_nothing(void **state)
{
    long k, errors = 0;

    (void)state;
    for (k = 0; k < 200; k++) {
        int queued, err;
        long made, also;
        bool acted = false;

        assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_OK);
        renew();
        (void)vt_alloc_fail_after(k);
        queued = admin_measured(&rig, "a", 4, 1, false);
        made = vt_alloc_fail_after(-1);
        if (queued)
            assert_int_equal(admin_measured(&rig, "a", 4, 1, false), VT_OK);
        (void)vt_alloc_fail_after(k);
        err = peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted);
        also = vt_alloc_fail_after(-1);
        made = VT_MAX(made, also);
        errors += err != 0 || queued != 0;
        renew();
        assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted), 0);
        peer_expect(&peer, (uint64_t)k + 1, FAKE_READ, 41, 0);
        if (made <= k)
            break;
    }
    assert_true(errors > 2);
    assert_true(k < 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_memory__volatile_command__exactly_once),
        TEST(test_memory__durable_command__exactly_once),
        TEST(test_memory__engine_must_be_started__exactly_once),
        TEST(test_memory__load__is_not_broken_and_not_lost),
        TEST(test_memory__create__all_or_nothing),
        TEST(test_memory__measured_start__all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
