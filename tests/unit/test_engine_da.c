/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionary attacks: five guesses, then lock-outs that double and that no power cycle shortens. */
#include "server/engine/cmd.h"
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

/* The clock of another boot begins anew: what was left is left, whatever either clock showed. */
static void test_lock_out__smaller_clock_after_power_on__what_was_left_is_left(void **state)
{
    struct tc *tc = *state;

    tc->now_us = 1000ull * S;
    guess(tc, 5);
    tpm_power_off(tc->tpm);
    tc->now_us = 3;
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc->now_us += S - 1;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += 1;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
}

/* The host died: nothing but the permanent state as the last guess left it. The lock-out is whole again. */
static void test_lock_out__volatile_state_lost__never_shorter(void **state)
{
    static uint8_t frozen[TPM_FROZEN_PERMANENT_MAX];
    size_t len = sizeof frozen;
    struct tc *tc = *state;
    struct vt_why why = {{0}};
    struct tpm *after;

    guess(tc, 5);
    assert_int_equal(tpm_freeze_permanent(tc->tpm, frozen, &len), VT_OK);
    tc->now_us += S / 2;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    assert_int_equal(tpm_thaw(&after, frozen, len, NULL, 0, &tc->ops, &why), VT_OK);
    tpm_free(tc->tpm);
    tc->tpm = after;
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.da.failures, 5);
    assert_true(da_left_us(tc->tpm) == S);
    tc->now_us += S - 1;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
}

/* Time alone, on or off, gives no new budget. */
static void test_count__a_year_without_a_guess__stays(void **state)
{
    struct tc *tc = *state;

    guess(tc, 4);
    tc->now_us += 365ull * 24 * 3600 * S;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
    tpm_power_off(tc->tpm);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    guess(tc, 1);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
}

static void test_guesses__for_ever__a_day_at_most(void **state)
{
    struct tc *tc = *state;

    for (unsigned i = 0; i < 45; i++) {
        guess(tc, 1);
        tc->now_us += (uint64_t)DA_LOCK_MAX_S * S;
    }
    guess(tc, 1);
    assert_true(da_left_us(tc->tpm) == (uint64_t)DA_LOCK_MAX_S * S);
    tc->now_us += (uint64_t)DA_LOCK_MAX_S * S - 1;
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += 1;
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
}

/* A header, zeros for parameters, and as many sessions as the ordinal takes at most. */
static tpm_rc with_sessions(struct tc *tc, uint32_t ordinal, unsigned sessions)
{
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

    memset(tc->cmd, 0, sizeof tc->cmd);
    tc->cmd_len = 200;
    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + sessions));
    wr_put32(&w, (uint32_t)tc->cmd_len);
    wr_put32(&w, ordinal);
    return tc_raw(tc);
}

/* Part 1, 8.1: none but the one that ends it; what TPM_ExecuteTransport wraps is held up itself (24.1's tests). */
static void test_lock_out__every_ordinal_with_sessions__held_up(void **state)
{
    struct tc *tc = *state;
    unsigned held = 0, passed = 0;
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    tc->tpm->perm.profile.maintenance = true;
    guess(tc, 5);
    for (size_t i = 0; i < count; i++) {
        bool passes = rows[i].ordinal == TPM_ORD_ResetLockValue || rows[i].ordinal == TPM_ORD_ExecuteTransport;

        for (unsigned n = VT_MAX(rows[i].auth.min, 1); rows[i].run && n <= rows[i].auth.max; n++) {
            tpm_rc rc = with_sessions(tc, rows[i].ordinal, n);

            if ((rc != TPM_DEFEND_LOCK_RUNNING) != passes)
                fail_msg("ordinal %08x with %u sessions: %x", rows[i].ordinal, n, rc);
            held += !passes;
            passed += passes;
        }
    }
    assert_int_equal(passed, 2);
    assert_true(held > 60);
}

/* Nothing was done: the same bytes come again afterwards, with the session that they name. */
static void test_lock_out__command_refused__its_session_stays(void **state)
{
    struct owner_set_disable_in in = {.disable_state = false};
    struct tc *tc = *state;
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    guess(tc, 5);
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {&s}), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += S;
    assert_int_equal(tc_raw(tc), TPM_SUCCESS);
}

/* ---- 9.3 TPM_ResetLockValue ---- */

static tpm_rc reset(struct tc *tc, bool wrong)
{
    struct vt_auth owner = wrong ? tc_secret("wrong") : SPEC_OWNER;

    return spec_one(tc, TPM_ORD_ResetLockValue, NULL, NULL, 0, &owner);
}

static void test_reset__right__a_whole_budget(void **state)
{
    struct tc *tc = *state;

    guess(tc, 5);
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.da.failures, 0);
    guess(tc, 4);
    assert_int_equal(owner_command(tc, false), TPM_SUCCESS);
}

/* 2.b: the period starts again. It is a guess: twice as long. */
static void test_reset__wrong__lock_out_starts_again(void **state)
{
    struct tc *tc = *state;

    guess(tc, 5);
    tc->now_us += S / 2;
    assert_int_equal(reset(tc, true), TPM_AUTHFAIL);
    assert_true(da_left_us(tc->tpm) == 2 * S);
    /* Off: neither tried nor counted. */
    assert_int_equal(reset(tc, false), TPM_AUTHFAIL);
    assert_int_equal(reset(tc, true), TPM_AUTHFAIL);
    assert_int_equal(tc->tpm->perm.da.failures, 6);
    tc->now_us += 2 * S;
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
}

/* Part 1, 8.1: one try in each lock-out. One before it, or in the last one, takes none of it away. */
static void test_reset__wrong_in_an_earlier_time__one_try_again(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(reset(tc, true), TPM_AUTHFAIL);
    guess(tc, 4);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    assert_int_equal(reset(tc, true), TPM_AUTHFAIL);
    tc->now_us += 2 * S;
    guess(tc, 1);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
}

/* The wrong one itself begins the lock-out: that was the try. */
static void test_reset__wrong_as_the_fifth_guess__off(void **state)
{
    struct tc *tc = *state;

    guess(tc, 4);
    assert_int_equal(reset(tc, true), TPM_AUTHFAIL);
    assert_int_equal(owner_command(tc, false), TPM_DEFEND_LOCK_RUNNING);
    assert_int_equal(reset(tc, false), TPM_AUTHFAIL);
    tc->now_us += S;
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
}

/* A session that proves something else is no try at the owner's secret. */
static void test_reset__session_of_another_entity__no_try(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = *state;
    struct tc_session s;

    guess(tc, 5);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_SRK, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ResetLockValue, NULL, NULL, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(tc->tpm->perm.da.failures, 5);
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
}

/* ---- What TPM_CAP_DA_LOGIC tells ---- */

static struct tpm_da_info da_logic(struct tc *tc, uint8_t entity)
{
    const uint8_t sub[] = {0, entity};
    struct tpm_da_info info;
    struct tpm_blob resp;
    struct rd r;

    assert_int_equal(spec_cap(tc, TPM_CAP_DA_LOGIC, sub, sizeof sub, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    rd_da_info(&r, &info);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    return info;
}

static void test_da_logic__count_state_and_rest__follow(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(da_logic(tc, TPM_ET_KEYHANDLE).state, TPM_DA_STATE_INACTIVE);
    assert_int_equal(da_logic(tc, TPM_ET_KEYHANDLE).current_count, 0);
    guess(tc, 3);
    assert_int_equal(da_logic(tc, TPM_ET_NV).state, TPM_DA_STATE_INACTIVE);
    assert_int_equal(da_logic(tc, TPM_ET_NV).current_count, 3);
    guess(tc, 2);
    tc->now_us += S;
    guess(tc, 1);
    tc->now_us += S / 4;
    assert_int_equal(da_logic(tc, TPM_ET_COUNTER).action_depend_value, 2);
    assert_int_equal(da_logic(tc, TPM_ET_COUNTER).action_at_threshold.actions, TPM_DA_ACTION_TIMEOUT);
    tc->now_us += S;
    assert_int_equal(da_logic(tc, TPM_ET_OWNER).action_depend_value, 1);
    tc->now_us += S;
    assert_int_equal(da_logic(tc, TPM_ET_OWNER).state, TPM_DA_STATE_INACTIVE);
    assert_int_equal(da_logic(tc, TPM_ET_OWNER).current_count, 6);
    assert_int_equal(reset(tc, false), TPM_SUCCESS);
    assert_int_equal(da_logic(tc, TPM_ET_OWNER).current_count, 0);
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
        OWNED(test_lock_out__smaller_clock_after_power_on__what_was_left_is_left),
        OWNED(test_lock_out__volatile_state_lost__never_shorter),
        OWNED(test_count__a_year_without_a_guess__stays),
        OWNED(test_guesses__for_ever__a_day_at_most),
        OWNED(test_lock_out__every_ordinal_with_sessions__held_up),
        OWNED(test_lock_out__command_refused__its_session_stays),
        OWNED(test_reset__right__a_whole_budget),
        OWNED(test_reset__wrong__lock_out_starts_again),
        OWNED(test_reset__wrong_in_an_earlier_time__one_try_again),
        OWNED(test_reset__wrong_as_the_fifth_guess__off),
        OWNED(test_reset__session_of_another_entity__no_try),
        OWNED(test_da_logic__count_state_and_rest__follow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
