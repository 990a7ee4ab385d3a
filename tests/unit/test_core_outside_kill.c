/* SPDX-License-Identifier: Apache-2.0 */
/* Engines and zygotes that somebody else kills: no command is blamed for it. */
#include "tests/unit/core_one.h"

static void test_kill__twice_under_one_command__is_executed_once(void **state)
{
    (void)state;
    fake.kills = 2;
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    fake.kills = 5;
    peer_expect(&peer, 3, FAKE_BUMP_VOLATILE, 3, 2);
    assert_int_equal(fake.kills, 0);
}

static void test_kill__together_with_a_crash__is_retried(void **state)
{
    (void)state;
    fake.kills = 2;
    fake.crashes = 1;
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    fake.kills = 2;
    fake.crashes = 2;
    peer_expect_fail(&peer, 3, FAKE_BUMP_BOTH);
    peer_expect(&peer, 4, FAKE_READ, 2, 2);
}

static void test_kill__without_end__is_try_again_and_not_recorded(void **state)
{
    struct seen seen;

    (void)state;
    fake.kills = 100;
    assert_int_equal(peer_execute(&peer, 2, FAKE_BUMP_BOTH, &seen), -VT_EAGAIN);
    assert_true(fake.kills >= 90);
    fake.kills = 0;
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
}

static void test_start__zygotes_killed_before_they_report__waits_for_one_that_does(void **state)
{
    struct vt_why why = {0};

    (void)state;
    peer_close(&peer);
    rig_stop(&rig);
    fake.zygote_deaths = 4;
    rig_start(&rig);
    assert_int_equal(fake.zygote_deaths, 0);
    rig_stop(&rig);
    /* It cannot live at all. */
    fake.zygote_deaths = 100;
    assert_int_equal(broker_start(&rig.broker, rig.loop, &rig.config, &why), VT_EIO);
    assert_non_null(strstr(why.text, "ended before"));
    fake.zygote_deaths = 0;
    rig.broker = NULL;
    rig_start(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_bumped_both, one_end)
        TEST(test_kill__twice_under_one_command__is_executed_once),
        TEST(test_kill__together_with_a_crash__is_retried),
        TEST(test_kill__without_end__is_try_again_and_not_recorded),
        TEST(test_start__zygotes_killed_before_they_report__waits_for_one_that_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
