/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapters 13.6, 18, 22 and Part 1, 12-14: random, sessions, proofs. */
#include "tests/spec/spec.h"

static tpm_rc owner_command(struct tc *tc, struct tc_session *s, bool wrong)
{
    struct owner_set_disable_in in = {.disable_state = false};

    return TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {s}, .wrong_hmac = {wrong});
}

/*= p3:13.6 p3:13.7 */
static void test_random__requests__lengths_and_bounds(void **state)
{
    static const uint32_t asked[] = {0, 1, 20, 2048, 2049, 4096, 0xFFFFFFFF};
    struct stir_random_in stir = {.in_data = {.len = 255, .data = (const uint8_t[256]){1}}};
    struct get_random_out out;

    for (size_t i = 0; i < VT_COUNT(asked); i++) {
        struct get_random_in in = {.bytes_requested = asked[i]};

        assert_int_equal(TC(*state, TPM_ORD_GetRandom, &in, &out), TPM_SUCCESS);
        assert_int_equal(out.random_bytes.len, VT_MIN(asked[i], 2048u));
    }
    assert_int_equal(TC(*state, TPM_ORD_StirRandom, &stir, NULL), TPM_SUCCESS);
    stir.in_data.len = 256;
    assert_int_equal(TC(*state, TPM_ORD_StirRandom, &stir, NULL), TPM_BAD_PARAMETER);
}

/*= p3:18.1 */
static void test_oiap__continued__nonce_rolls_and_session_stays(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tpm_nonce before;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    for (unsigned i = 0; i < 3; i++) {
        before = s.even;
        assert_int_equal(owner_command(tc, &s, false), TPM_SUCCESS);
        assert_memory_not_equal(&before, &s.even, sizeof before);
        assert_int_not_equal(s.handle, 0);
    }
}

static void test_oiap__not_continued__handle_is_gone(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    uint32_t handle;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    handle = s.handle;
    s.ends = true;
    assert_int_equal(owner_command(tc, &s, false), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    s.handle = handle;
    assert_int_equal(owner_command(tc, &s, false), TPM_INVALID_AUTHHANDLE);
}

/* A replayed command: its nonce is stale. Then the handle is gone. */
static void test_oiap__stale_nonce__authfail_then_invalid_handle(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s, stale;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    stale = s;
    assert_int_equal(owner_command(tc, &s, false), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &stale, false), TPM_AUTHFAIL);
    assert_int_equal(owner_command(tc, &s, false), TPM_INVALID_AUTHHANDLE);
}

static void test_oiap__wrong_secret__authfail_and_counted(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &s, true), TPM_AUTHFAIL);
    assert_int_equal(tc->dirty, TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE);
    assert_int_equal(tc->tpm->perm.da.failures, 1);
}

/* Every failure of a command ends its sessions, not only wrong proofs. */
static void test_session__command_fails_for_another_reason__session_ends(void **state)
{
    struct quote_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth srk = SPEC_SRK;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INAPPROPRIATE_SIG);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INVALID_AUTHHANDLE);
    assert_int_equal(tc->tpm->perm.da.failures, 0);
}

static void test_sessions__all_taken__resources(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s[17];
    struct tc *tc = *state;

    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(tc_oiap(tc, &s[i], &owner), TPM_SUCCESS);
        assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_AUTHSESS), 15 - i);
    }
    assert_int_equal(tc_oiap(tc, &s[16], &owner), TPM_RESOURCES);
    assert_int_equal(tc_osap(tc, &s[16], TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_RESOURCES);
    s[5].ends = true;
    assert_int_equal(owner_command(tc, &s[5], false), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s[16], &owner), TPM_SUCCESS);
}

/*= p3:18.2#4 p3:18.2#7 p3:18.2#8 */
static void test_osap__owner__proves_owner_and_nothing_else(void **state)
{
    struct quote_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &s, false), TPM_SUCCESS);
    /* For another entity: refused, and no guess. */
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(tc->tpm->perm.da.failures, 0);
    /* The SRK under both of its names. */
    assert_int_equal(tc_osap(tc, &s, TPM_ET_SRK, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INAPPROPRIATE_SIG);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INAPPROPRIATE_SIG);
}

/*= p3:18.2#5 p3:18.2#6 p3:18.2#11 */
static void test_osap__bad_entity__error_and_no_slot_lost(void **state)
{
    static const struct {
        uint16_t type;
        uint32_t value;
        tpm_rc rc;
    } rows[] = {
        {TPM_ET_KEYHANDLE, TPM_KH_OPERATOR, TPM_BAD_HANDLE},
        {TPM_ET_KEYHANDLE, 0, TPM_INVALID_KEYHANDLE},
        {TPM_ET_KEYHANDLE, 0x01777777, TPM_INVALID_KEYHANDLE},
        {TPM_ET_DATA, 0, TPM_BAD_PARAMETER},
        {TPM_ET_NV, 0x12345, TPM_BADINDEX},
        {TPM_ET_OWNER | 0x0100, 0, TPM_INAPPROPRIATE_ENC},
    };
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(rows); i++)
        assert_int_equal(tc_osap(tc, &s, rows[i].type, rows[i].value, &owner), rows[i].rc);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_AUTHSESS), 16);
}

/* facts: state rule "+o". */
static void test_osap__without_owner__no_srk_key_handle(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_osap(*state, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_NOSRK);
}

static tpm_rc flush(struct tc *tc, uint32_t handle, uint32_t type)
{
    struct flush_specific_in in = {.resource_type = type};

    return TC(tc, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

/*= p3:22.1 */
static void test_flush__handles__gone_and_errors(void **state)
{
    struct vt_auth owner = SPEC_OWNER, secret = tc_secret("key");
    struct tc_session s, k;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(flush(tc, s.handle, TPM_RT_AUTH), TPM_SUCCESS);
    assert_int_equal(flush(tc, s.handle, TPM_RT_AUTH), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(flush(tc, 0, TPM_RT_AUTH), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(flush(tc, key, TPM_RT_HASH), TPM_INVALID_RESOURCE);
    assert_int_equal(flush(tc, TPM_KH_SRK, TPM_RT_KEY), TPM_BAD_PARAMETER);
    assert_int_equal(flush(tc, 0, TPM_RT_CONTEXT), TPM_BAD_PARAMETER);
    /* A key's sessions go with it; its handle does not come back. */
    assert_int_equal(tc_osap(tc, &k, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(flush(tc, key, TPM_RT_KEY), TPM_BAD_PARAMETER);
    assert_int_equal(flush(tc, k.handle, TPM_RT_AUTH), TPM_INVALID_AUTHHANDLE);
    assert_int_not_equal(spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS), key);
}

/*= p3:27.1.2 */
static void test_terminate_handle__session__gone(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Terminate_Handle, NULL, NULL, .handles = {s.handle}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Terminate_Handle, NULL, NULL, .handles = {s.handle}),
                     TPM_INVALID_AUTHHANDLE);
}

static void test_sessions__reboot__are_gone(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &s, false), TPM_INVALID_AUTHHANDLE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_random__requests__lengths_and_bounds),
        OWNED(test_oiap__continued__nonce_rolls_and_session_stays),
        OWNED(test_oiap__not_continued__handle_is_gone),
        OWNED(test_oiap__stale_nonce__authfail_then_invalid_handle),
        OWNED(test_oiap__wrong_secret__authfail_and_counted),
        OWNED(test_session__command_fails_for_another_reason__session_ends),
        OWNED(test_sessions__all_taken__resources),
        OWNED(test_osap__owner__proves_owner_and_nothing_else),
        OWNED(test_osap__bad_entity__error_and_no_slot_lost),
        T(test_osap__without_owner__no_srk_key_handle),
        OWNED(test_flush__handles__gone_and_errors),
        OWNED(test_terminate_handle__session__gone),
        OWNED(test_sessions__reboot__are_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
