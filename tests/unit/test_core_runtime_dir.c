/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is started with another runtime directory, and later with the first one again, all in one boot of the
 * host: what lies there is of the past. PCRs must not step back in time.
 */
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;
static char other[96];

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    snprintf(other, sizeof other, "%s/other", rig.dir);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

static void start_with(const char *dir)
{
    peer_close(&peer);
    rig_stop(&rig);
    rig.config.runtime_dir = dir;
    rig_start(&rig);
    peer_on(&rig, &peer, &uuid);
}

static void expect_power(Vtpm__Power power)
{
    assert_int_equal(peer.msg->attached->power, power);
}

static void test_runtime_dir__the_same_again__goes_on(void **state)
{
    (void)state;
    start_with(rig.run);
    expect_power(VTPM__POWER__POWER_ON);
    peer_expect(&peer, 1, FAKE_READ, 1, 0);
}

static void test_runtime_dir__first_one_again__is_of_the_past(void **state)
{
    bool acted;

    (void)state;
    start_with(other);
    expect_power(VTPM__POWER__POWER_NEEDS_POWER_ON);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    start_with(rig.run);
    /* Not on with the counter at 0, as it was when it was powered on. */
    expect_power(VTPM__POWER__POWER_NEEDS_POWER_ON);
    peer_expect_fail(&peer, 1, FAKE_READ);
}

/* As after a clean-up of /run: nothing in it can be trusted to be the last. */
static void test_runtime_dir__its_id_is_gone__is_of_the_past(void **state)
{
    char path[120];

    (void)state;
    peer_close(&peer);
    rig_stop(&rig);
    snprintf(path, sizeof path, "%s/id", rig.run);
    assert_int_equal(unlink(path), 0);
    start_with(rig.run);
    expect_power(VTPM__POWER__POWER_NEEDS_POWER_ON);
}

static void test_runtime_dir__its_id_is_no_id__is_made_anew(void **state)
{
    char path[120];

    (void)state;
    peer_close(&peer);
    rig_stop(&rig);
    snprintf(path, sizeof path, "%s/id", rig.run);
    assert_int_equal(truncate(path, 3), 0);
    start_with(rig.run);
    expect_power(VTPM__POWER__POWER_NEEDS_POWER_ON);
    start_with(rig.run);
    peer_expect_fail(&peer, 1, FAKE_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_runtime_dir__the_same_again__goes_on),
        TEST(test_runtime_dir__first_one_again__is_of_the_past),
        TEST(test_runtime_dir__its_id_is_gone__is_of_the_past),
        TEST(test_runtime_dir__its_id_is_no_id__is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
