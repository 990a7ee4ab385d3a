/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionary attacks: five guesses, then lock-outs that double and that no power cycle shortens. */
#include "tests/spec/spec.h"

#define S 1000000u

static tpm_rc owner_command(struct tc *tc, bool wrong)
{
    struct owner_set_disable_in in = {.disable_state = false};
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {&s}, .wrong_hmac = {wrong});
}

static void guess(struct tc *tc, unsigned times)
{
    while (times--)
        assert_int_equal(owner_command(tc, true), TPM_AUTHFAIL);
}

static void test_guesses__five__locked_for_a_second(void **state)
{
    struct tc *tc = *state;

    guess(tc, 4);
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
    guess(tc, 1);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += S - 1;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += 1;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
}

static void test_guesses__more__each_lock_out_is_twice_as_long(void **state)
{
    struct tc *tc = *state;
    uint64_t seconds = 1;

    guess(tc, 5);
    for (unsigned i = 0; i < 6; i++, seconds *= 2) {
        tc->now_us += seconds * S - 1;
        assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
        tc->now_us += 1;
        guess(tc, 1);
    }
}

/* A correct proof in between does not give a new budget. */
static void test_guesses__success_between__count_stays(void **state)
{
    struct tc *tc = *state;

    guess(tc, 3);
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
    guess(tc, 2);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
}

static void test_lock_out__reboot__what_was_left_is_left(void **state)
{
    struct tc *tc = *state;

    guess(tc, 5);
    tc->now_us += S;
    guess(tc, 1);
    tc->now_us += S / 2;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    /* 1.5 s are left. Power is off for an hour; then another clock. */
    tpm_power_off(tc->tpm);
    tc_check_frozen(tc);
    tc->now_us = 3600ull * S;
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc->now_us += S;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += S / 2;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
    /* And the next guess locks for four seconds, not for none. */
    guess(tc, 1);
    tc->now_us += 4ull * S - 1;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
}

static void test_lock_out__reset_without_power_off__stays(void **state)
{
    struct tc *tc = *state;

    guess(tc, 5);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
}

static void test_lock_out__commands_without_sessions__work(void **state)
{
    struct get_random_in in = {.bytes_requested = 1};
    struct tc *tc = *state;

    guess(tc, 5);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 1, 1), TPM_SUCCESS);
}

static void test_da_logic__locked__says_so(void **state)
{
    static const uint8_t sub[] = {0, TPM_ET_OWNER};
    struct tpm_da_info info;
    struct tpm_blob resp;
    struct tc *tc = *state;
    struct rd r;

    guess(tc, 5);
    assert_int_equal(spec_cap(tc, TPM_CAP_DA_LOGIC, sub, sizeof sub, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    rd_da_info(&r, &info);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_int_equal(info.state, TPM_DA_STATE_ACTIVE);
    assert_int_equal(info.current_count, 5);
    assert_int_equal(info.threshold_count, 5);
    assert_int_equal(info.action_depend_value, 1);
}

/* A clock that went back (it must not) neither ends a lock-out nor prolongs it beyond itself. */
static void test_lock_out__clock_goes_back__no_wrap(void **state)
{
    struct tc *tc = *state;

    guess(tc, 5);
    tc->now_us = 0;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us = 10ull * S;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
}

#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_guesses__five__locked_for_a_second),
        OWNED(test_guesses__more__each_lock_out_is_twice_as_long),
        OWNED(test_guesses__success_between__count_stays),
        OWNED(test_lock_out__reboot__what_was_left_is_left),
        OWNED(test_lock_out__reset_without_power_off__stays),
        OWNED(test_lock_out__commands_without_sessions__work),
        OWNED(test_da_logic__locked__says_so),
        OWNED(test_lock_out__clock_goes_back__no_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
