/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapters 3 and 4: startup, saved state, self-tests. */
#include "tests/spec/spec.h"

/*= p3:3.2#1 */
static void test_startup__twice__invalid_postinit(void **state)
{
    struct startup_in in = {.startup_type = TPM_ST_CLEAR};

    assert_int_equal(TC(*state, TPM_ORD_Startup, &in, NULL), TPM_INVALID_POSTINIT);
}

/*= p3:3.2 */
static void test_command__before_startup__invalid_postinit(void **state)
{
    struct get_random_in in = {.bytes_requested = 4};
    struct tc *tc = *state;

    tc_init(tc);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, NULL), TPM_INVALID_POSTINIT);
    assert_int_equal(TC(tc, TPM_ORD_OIAP, NULL, NULL), TPM_INVALID_POSTINIT);
}

/* A TPM without power answers TPM_FAIL, also to TPM_Startup. */
static void test_command__while_off__fail(void **state)
{
    struct startup_in in = {.startup_type = TPM_ST_CLEAR};

    assert_int_equal(TC(*state, TPM_ORD_Startup, &in, NULL), TPM_FAIL);
}

static void test_startup__unknown_type__bad_parameter_and_may_be_repeated(void **state)
{
    struct startup_in in = {.startup_type = 4};
    struct tc *tc = *state;

    tc_init(tc);
    assert_int_equal(TC(tc, TPM_ORD_Startup, &in, NULL), TPM_BAD_PARAMETER);
    in.startup_type = TPM_ST_CLEAR;
    assert_int_equal(TC(tc, TPM_ORD_Startup, &in, NULL), TPM_SUCCESS);
}

/*= p3:3.2#2b */
static void test_startup__clear__pcrs_start_anew(void **state)
{
    uint8_t value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    for (uint32_t pcr = 0; pcr < TPM_NUM_PCR; pcr++) {
        spec_pcr(tc, pcr, value);
        assert_true(spec_all(value, sizeof value, pcr >= 17 && pcr <= 22 ? 0xFF : 0));
    }
    assert_int_equal(spec_extend(tc, 3, 1), TPM_SUCCESS);
    spec_pcr(tc, 3, value);
    assert_false(spec_all(value, sizeof value, 0));
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    spec_pcr(tc, 3, value);
    assert_true(spec_all(value, sizeof value, 0));
}

/*= p3:3.3#1 p3:3.2#3 */
static void test_save_state__restored__pcrs_and_flags_are_back(void **state)
{
    uint8_t before[TPM_DIGEST_LEN], after[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(spec_extend(tc, 7, 5), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 16, 5), TPM_SUCCESS);
    spec_pcr(tc, 7, before);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_PERMANENT, TPM_DIRTY_PERMANENT);
    tpm_power_off(tc->tpm);
    tc_check_frozen(tc);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    spec_pcr(tc, 7, after);
    assert_memory_equal(before, after, sizeof before);
    /* Resettable PCRs are not restored. */
    spec_pcr(tc, 16, after);
    assert_true(spec_all(after, sizeof after, 0));
    /* Presence was: PhysicalEnable needs it. */
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_SUCCESS);
}

/*= p3:3.3 */
static void test_save_state__then_another_command__is_no_longer_good(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 7, 5), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_FAILEDSELFTEST);
}

/*= p3:3.2#5 */
static void test_save_state__restored_once__not_twice(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_FAILEDSELFTEST);
}

/*= p3:3.2#3a */
static void test_startup__state_without_saved__failure_mode_until_init(void **state)
{
    struct tc *tc = *state;
    struct get_test_result_out result;
    struct tpm_blob resp;

    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_FAILEDSELFTEST);
    assert_int_equal(spec_extend(tc, 0, 1), TPM_FAILEDSELFTEST);
    assert_int_equal(TC(tc, TPM_ORD_GetTestResult, NULL, &result), TPM_SUCCESS);
    assert_int_equal(result.out_data.data[0], 1);
    assert_int_equal(spec_cap(tc, TPM_CAP_VERSION_VAL, NULL, 0, &resp), TPM_SUCCESS);
    assert_int_equal(spec_cap(tc, TPM_CAP_NV_LIST, NULL, 0, &resp), TPM_FAILEDSELFTEST);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 0, 1), TPM_SUCCESS);
}

/*= p3:3.2#4 */
static void test_startup__deactivated__needs_activation(void **state)
{
    struct get_random_in in = {.bytes_requested = 4};
    struct tc *tc = *state;

    assert_int_equal(tc_reboot(tc, TPM_ST_DEACTIVATED), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, NULL), TPM_DEACTIVATED);
}

/*= p3:3.3 */
static void test_save_state__with_key__key_is_back_volatile_key_is_not(void **state)
{
    struct vt_auth secret = tc_secret("key");
    struct tc *tc = *state;
    uint32_t kept = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t lost = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct tpm_key_obj *key = &key_find(tc->tpm, lost)->key;

    key->flags = TPM_VOLATILE;
    key_pub_digest(key, key->pub_digest);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_non_null(key_find(tc->tpm, kept));
    assert_null(key_find(tc->tpm, lost));
}

/*= p3:4.1 p3:4.2 p3:4.3 */
static void test_self_tests__healthy__success(void **state)
{
    struct get_test_result_out result;

    assert_int_equal(TC(*state, TPM_ORD_SelfTestFull, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(*state, TPM_ORD_ContinueSelfTest, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(*state, TPM_ORD_GetTestResult, NULL, &result), TPM_SUCCESS);
    assert_int_equal(result.out_data.len, 1);
    assert_int_equal(result.out_data.data[0], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_startup__twice__invalid_postinit),
        T(test_command__before_startup__invalid_postinit),
        cmocka_unit_test_setup_teardown(test_command__while_off__fail, spec_setup_off, spec_teardown),
        T(test_startup__unknown_type__bad_parameter_and_may_be_repeated),
        T(test_startup__clear__pcrs_start_anew),
        T(test_save_state__restored__pcrs_and_flags_are_back),
        T(test_save_state__then_another_command__is_no_longer_good),
        T(test_save_state__restored_once__not_twice),
        T(test_startup__state_without_saved__failure_mode_until_init),
        T(test_startup__deactivated__needs_activation),
        T(test_save_state__with_key__key_is_back_volatile_key_is_not),
        T(test_self_tests__healthy__success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
