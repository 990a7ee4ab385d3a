/* SPDX-License-Identifier: Apache-2.0 */
/* Engines that die, speak nonsense, or speak unasked. */
#include "tests/unit/core_one.h"

static void test_crash__once__is_retried_with_the_right_answer(void **state)
{
    (void)state;
    fake.crashes = 1;
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    fake.thaw_crashes = 1;
    fake_kill_idle();
    peer_expect(&peer, 3, FAKE_BUMP_VOLATILE, 3, 2);
    assert_int_equal(fake.alive, 1);
}

static void test_crash__twice__is_tpm_fail_and_recorded(void **state)
{
    uint8_t stream[16];

    (void)state;
    fake.crashes = 2;
    peer_expect_fail(&peer, 2, FAKE_BUMP_BOTH);
    assert_int_equal(fake.crashes, 0);
    fake.executed = 0;
    peer_expect_fail(&peer, 2, FAKE_BUMP_BOTH);
    assert_int_equal(fake.executed, 0);
    /* Over the old state; and it outlives the server. */
    memcpy(stream, peer.stream, sizeof stream);
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    assert_int_equal(peer.msg->attached->n, 2);
    peer_expect_fail(&peer, 2, FAKE_BUMP_BOTH);
    peer_expect(&peer, 3, FAKE_READ, 1, 1);
}

static void test_crash__command_that_always_kills__others_go_on(void **state)
{
    (void)state;
    peer_expect_fail(&peer, 2, FAKE_DIE);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 2, 2);
    peer_expect_fail(&peer, 4, FAKE_DIE);
    peer_expect(&peer, 5, FAKE_READ, 2, 2);
}

static void test_crash__while_idle__next_command_brings_it_back(void **state)
{
    (void)state;
    fake_kill_idle();
    assert_int_equal(fake.alive, 0);
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    fake_speak_unasked();
    assert_int_equal(fake.alive, 0);
    peer_expect(&peer, 3, FAKE_BUMP_VOLATILE, 3, 2);
}

static void test_crash__power_on_twice__is_an_error_and_acts_later(void **state)
{
    bool acted;

    (void)state;
    fake.crashes = 2;
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 2}, &acted),
                     -VT_EFAIL);
    /* What is on are the PCRs of the domain before. */
    peer_expect_fail(&peer, 2, FAKE_READ);
    fake.crashes = 1;
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 3, FAKE_READ, 0, 1);
}

static void test_crash__while_committing__the_record_stands(void **state)
{
    struct seen seen;

    (void)state;
    peer_ask(&peer, 2, FAKE_BUMP_BOTH);
    /* Until the command ran: then the store has it. */
    while (fake.executed < 2 && !peer.answered)
        uv_run(&rig.uv, UV_RUN_NOWAIT);
    fake_kill_idle();
    assert_int_equal(peer_take(&peer, &seen), 0);
    assert_int_equal(seen.permanent_count, 2);
    peer_expect(&peer, 3, FAKE_READ, 2, 2);
}

static void test_garbage__once_and_twice__is_a_crash(void **state)
{
    uint64_t n = 1, count = 1;

    (void)state;
    for (int garbage = GARBAGE_TYPE; garbage < GARBAGE_COUNT; garbage++) {
        fake.garbage = (enum fake_garbage)garbage;
        fake.garbage_count = 1;
        count++;
        peer_expect(&peer, ++n, FAKE_BUMP_BOTH, count, count);
        assert_int_equal(fake.garbage_count, 0);
        fake.garbage_count = 2;
        peer_expect_fail(&peer, ++n, FAKE_BUMP_BOTH);
        peer_expect(&peer, ++n, FAKE_READ, count, count);
    }
}

static void test_garbage__for_manufacture__creates_nothing(void **state)
{
    static const enum fake_garbage kinds[] = {GARBAGE_TYPE, GARBAGE_SHORT, GARBAGE_NO_PERMANENT,
                                              GARBAGE_FAILED};
    struct vt_uuid other;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(kinds); k++) {
        fake.garbage = kinds[k];
        fake.garbage_count = 1;
        assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_EFAIL);
    }
    fake.crashes = 1;
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_EFAIL);
    fake.spawn_err = VT_EIO;
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_EIO);
    fake.request_err = VT_ENOMEM;
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_ENOMEM);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), 1);
    assert_int_equal(fake.alive, 1);
    assert_int_equal(admin_make(&rig, "b", "", "", "", &other), VT_OK);
}

static void test_spawn__fails__is_try_again_and_not_executed(void **state)
{
    struct seen seen;

    (void)state;
    fake_kill_idle();
    fake.spawn_err = VT_EIO;
    assert_int_equal(peer_execute(&peer, 2, FAKE_BUMP_BOTH, &seen), -VT_EAGAIN);
    peer_expect(&peer, 2, FAKE_BUMP_BOTH, 2, 2);
    fake.request_err = VT_ECLOSED;
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 3);
}

static void test_thaw__engine_says_damaged__is_broken(void **state)
{
    struct seen seen;
    char word[24], reason[80];

    (void)state;
    fake_kill_idle();
    fake.refuse_thaw = true;
    assert_int_equal(peer_execute(&peer, 2, FAKE_BUMP_BOTH, &seen), -VT_EBROKEN);
    assert_true(peer.closed);
    rig_turn(&rig, 50);
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "broken");
    rig_ask(&rig, reason, sizeof reason, "SELECT reason FROM instance");
    assert_string_equal(reason, "the permanent state does not thaw");
}

static void test_start__self_tests_fail__refuses(void **state)
{
    struct vt_why why = {0};

    (void)state;
    peer_close(&peer);
    rig_stop(&rig);
    fake.ready_err = VT_ECRYPTO;
    assert_int_equal(broker_start(&rig.broker, rig.loop, &rig.config, &why), VT_ECRYPTO);
    assert_non_null(strstr(why.text, "sha1 is wrong"));
    rig.broker = NULL;
    fake.ready_err = VT_OK;
    rig_start(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_bumped_both, one_end)
        TEST(test_crash__once__is_retried_with_the_right_answer),
        TEST(test_crash__twice__is_tpm_fail_and_recorded),
        TEST(test_crash__command_that_always_kills__others_go_on),
        TEST(test_crash__while_idle__next_command_brings_it_back),
        TEST(test_crash__power_on_twice__is_an_error_and_acts_later),
        TEST(test_crash__while_committing__the_record_stands),
        TEST(test_garbage__once_and_twice__is_a_crash),
        TEST(test_garbage__for_manufacture__creates_nothing),
        TEST(test_spawn__fails__is_try_again_and_not_executed),
        TEST(test_thaw__engine_says_damaged__is_broken),
        TEST(test_start__self_tests_fail__refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
