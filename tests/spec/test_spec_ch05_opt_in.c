/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 5 and 6.6: opt-in and physical presence. */
#include "tests/spec/spec.h"

/*= p3:6.6#3b */
static void test_presence__cmd_not_enabled__bad_parameter(void **state)
{
    assert_int_equal(tc_presence(*state, TPM_PHYSICAL_PRESENCE_CMD_DISABLE), TPM_SUCCESS);
    assert_int_equal(tc_presence(*state, TPM_PHYSICAL_PRESENCE_PRESENT), TPM_BAD_PARAMETER);
    assert_int_equal(tc_presence(*state, TPM_PHYSICAL_PRESENCE_CMD_ENABLE), TPM_SUCCESS);
    assert_int_equal(tc_presence(*state, TPM_PHYSICAL_PRESENCE_PRESENT), TPM_SUCCESS);
}

/*= p3:6.6#3e */
static void test_presence__locked__bad_parameter_until_reboot(void **state)
{
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_LOCK), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_PRESENT), TPM_BAD_PARAMETER);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc_assert_presence(tc);
}

/*= p3:6.6#2a */
static void test_presence__lifetime_lock__settings_are_final(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_LIFETIME_LOCK), TPM_SUCCESS);
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_CMD_DISABLE), TPM_BAD_PARAMETER);
    tc_assert_presence(tc);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_HW_ENABLE), TPM_BAD_PARAMETER);
}

/*= p3:6.6#2b p3:6.6#2c p3:6.6#2d p3:6.6#3c p3:6.6#3d */
static void test_presence__contradictions__bad_parameter(void **state)
{
    static const uint16_t values[] = {
        TPM_PHYSICAL_PRESENCE_CMD_ENABLE | TPM_PHYSICAL_PRESENCE_PRESENT,
        TPM_PHYSICAL_PRESENCE_HW_ENABLE | TPM_PHYSICAL_PRESENCE_HW_DISABLE,
        TPM_PHYSICAL_PRESENCE_CMD_ENABLE | TPM_PHYSICAL_PRESENCE_CMD_DISABLE,
        TPM_PHYSICAL_PRESENCE_LOCK | TPM_PHYSICAL_PRESENCE_PRESENT,
        TPM_PHYSICAL_PRESENCE_PRESENT | TPM_PHYSICAL_PRESENCE_NOTPRESENT,
        0x8000,
        0x0001,
    };

    for (size_t i = 0; i < VT_COUNT(values); i++)
        assert_int_equal(tc_presence(*state, values[i]), TPM_BAD_PARAMETER);
}

/*= p3:5.3#1 p3:5.4#1 p3:5.5#1 p3:5.1#2 p3:5.7#1 p3:5.6#2 */
static void test_opt_in__without_presence__bad_presence(void **state)
{
    struct physical_set_deactivated_in deactivated = {.state = true};
    struct set_owner_install_in install = {.state = false};
    struct set_operator_auth_in operator_auth = {.operator_auth = {{1}}};

    assert_int_equal(TC(*state, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(TC(*state, TPM_ORD_PhysicalDisable, NULL, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(TC(*state, TPM_ORD_PhysicalSetDeactivated, &deactivated, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(TC(*state, TPM_ORD_SetOwnerInstall, &install, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(TC(*state, TPM_ORD_SetOperatorAuth, &operator_auth, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(TC(*state, TPM_ORD_SetTempDeactivated, NULL, NULL), TPM_BAD_PRESENCE);
}

/*= p3:5.3#2 p3:5.4#2 p3:16.1#8 */
static void test_disable__by_presence__commands_answer_disabled_but_extend_works(void **state)
{
    struct get_random_in random = {.bytes_requested = 1};
    struct extend_in extend = {.pcr_num = 1};
    struct extend_out out;
    uint8_t value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_PhysicalDisable, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_DISABLED);
    assert_int_equal(TC(tc, TPM_ORD_PhysicalDisable, NULL, NULL), TPM_DISABLED);
    /* Extended, but shown as zeros. */
    assert_int_equal(TC(tc, TPM_ORD_Extend, &extend, &out), TPM_SUCCESS);
    assert_true(spec_all(out.out_digest.bytes, TPM_DIGEST_LEN, 0));
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_SUCCESS);
    spec_pcr(tc, 1, value);
    assert_false(spec_all(value, sizeof value, 0));
}

/*= p3:5.5#2 */
static void test_deactivated__set_by_presence__from_the_next_startup_on(void **state)
{
    struct physical_set_deactivated_in in = {.state = true};
    struct get_random_in random = {.bytes_requested = 1};
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_PhysicalSetDeactivated, &in, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_DEACTIVATED);
}

/*= p3:5.6#1 p3:5.6#3 p3:5.7#3 */
static void test_temp_deactivated__by_operator__until_reboot(void **state)
{
    struct set_operator_auth_in in = {.operator_auth = tc_secret("operator")};
    struct get_random_in random = {.bytes_requested = 1};
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &in.operator_auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SetTempDeactivated, NULL, NULL, .auth = {&s}), TPM_NOOPERATOR);
    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_SetOperatorAuth, &in, NULL), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &in.operator_auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SetTempDeactivated, NULL, NULL, .auth = {&s}, .wrong_hmac = {true}),
                     TPM_AUTHFAIL);
    assert_int_equal(tc_oiap(tc, &s, &in.operator_auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SetTempDeactivated, NULL, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_DEACTIVATED);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_SUCCESS);
}

/*= p3:5.6#1 p3:5.6#2 */
static void test_temp_deactivated__by_presence__no_session_needed(void **state)
{
    struct get_random_in random = {.bytes_requested = 1};
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_SetTempDeactivated, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_DEACTIVATED);
}

/*= p3:5.6#1 */
static void test_temp_deactivated__owners_osap_session__bad_mode(void **state)
{
    struct set_operator_auth_in in = {.operator_auth = SPEC_OWNER};
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_SetOperatorAuth, &in, NULL), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SetTempDeactivated, NULL, NULL, .auth = {&s}), TPM_BAD_MODE);
}

/*= p3:5.2 */
static void test_owner_set_disable__with_owner__disables_and_enables(void **state)
{
    struct owner_set_disable_in in = {.disable_state = true};
    struct get_random_in random = {.bytes_requested = 1};
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_DISABLED);
    in.disable_state = false;
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_SUCCESS);
}

/*= p3:5.1#1 p3:5.1#2 */
static void test_owner_install__with_presence__sets_flag_with_owner_nothing(void **state)
{
    struct set_owner_install_in in = {.state = false};
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_SetOwnerInstall, &in, NULL), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.flags.ownership, tc->tpm->perm.owned);
}

/*= p3:6.7 */
static void test_establishment_bit__locality__only_3_and_4_reset_it(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(tpm_hash_start(tc->tpm), TPM_SUCCESS);
    assert_int_equal(tpm_hash_end(tc->tpm), TPM_SUCCESS);
    assert_true(tpm_established(tc->tpm));
    for (tc->locality = 0; tc->locality < 3; tc->locality++)
        assert_int_equal(TC(tc, TSC_ORD_ResetEstablishmentBit, NULL, NULL), TPM_BAD_LOCALITY);
    assert_true(tpm_established(tc->tpm));
    assert_int_equal(TC(tc, TSC_ORD_ResetEstablishmentBit, NULL, NULL), TPM_SUCCESS);
    assert_false(tpm_established(tc->tpm));
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_presence__cmd_not_enabled__bad_parameter),
        T(test_presence__locked__bad_parameter_until_reboot),
        T(test_presence__lifetime_lock__settings_are_final),
        T(test_presence__contradictions__bad_parameter),
        T(test_opt_in__without_presence__bad_presence),
        T(test_disable__by_presence__commands_answer_disabled_but_extend_works),
        T(test_deactivated__set_by_presence__from_the_next_startup_on),
        T(test_temp_deactivated__by_operator__until_reboot),
        T(test_temp_deactivated__by_presence__no_session_needed),
        OWNED(test_temp_deactivated__owners_osap_session__bad_mode),
        OWNED(test_owner_set_disable__with_owner__disables_and_enables),
        T(test_owner_install__with_presence__sets_flag_with_owner_nothing),
        OWNED(test_owner_install__with_presence__sets_flag_with_owner_nothing),
        T(test_establishment_bit__locality__only_3_and_4_reset_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
