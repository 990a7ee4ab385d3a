/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 7.2 and 7.3, and what 1.2 left out: capabilities set, told to the owner, and signed; 4
 * and 9. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

static tpm_rc set_bytes(struct tc *tc, uint32_t area, uint32_t sub, const void *value, uint32_t len,
                        const struct vt_auth *owner)
{
    uint8_t bytes[4];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct set_capability_in in = {.cap_area = area,
                                   .sub_cap = {.len = sizeof bytes, .data = bytes},
                                   .set_value = {.len = len, .data = value}};

    wr_put32(&w, sub);
    return owner ? spec_one(tc, TPM_ORD_SetCapability, &in, NULL, 0, owner)
                 : TC(tc, TPM_ORD_SetCapability, &in, NULL);
}

static tpm_rc set_flag(struct tc *tc, uint32_t area, uint32_t sub, bool value, const struct vt_auth *owner)
{
    uint8_t byte = value;

    return set_bytes(tc, area, sub, &byte, 1, owner);
}

static tpm_rc set_number(struct tc *tc, uint32_t area, uint32_t sub, uint32_t value,
                         const struct vt_auth *owner)
{
    uint8_t bytes[4];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, value);
    return set_bytes(tc, area, sub, bytes, sizeof bytes, owner);
}

enum by { NOBODY, OWNER, PRESENCE };

/* What Part 2, 7.1 says of each flag: the code for FALSE and for TRUE by nobody, the owner, presence. */
static const struct flag {
    uint32_t sub;
    tpm_rc rc[3][2];
} perm_flags[] = {
    {TPM_PF_DISABLE, {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, 0}, {0, 0}}},
    {TPM_PF_OWNERSHIP,
     {{TPM_OWNER_SET, TPM_OWNER_SET}, {TPM_OWNER_SET, TPM_OWNER_SET}, {TPM_OWNER_SET, TPM_OWNER_SET}}},
    {TPM_PF_DEACTIVATED, {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, 0}}},
    {TPM_PF_READPUBEK, {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, 0}, {TPM_AUTHFAIL, TPM_AUTHFAIL}}},
    {TPM_PF_DISABLEOWNERCLEAR,
     {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {TPM_BAD_PARAMETER, 0}, {TPM_AUTHFAIL, TPM_AUTHFAIL}}},
    {TPM_PF_ALLOWMAINTENANCE,
     {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, TPM_BAD_PARAMETER}, {TPM_AUTHFAIL, TPM_AUTHFAIL}}},
    {TPM_PF_READSRKPUB, {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, 0}, {TPM_AUTHFAIL, TPM_AUTHFAIL}}},
    {TPM_PF_TPMESTABLISHED,
     {{TPM_BAD_LOCALITY, TPM_BAD_LOCALITY},
      {TPM_BAD_LOCALITY, TPM_BAD_LOCALITY},
      {TPM_BAD_LOCALITY, TPM_BAD_LOCALITY}}},
    {TPM_PF_DISABLEFULLDALOGICINFO, {{TPM_AUTHFAIL, TPM_AUTHFAIL}, {0, 0}, {TPM_AUTHFAIL, TPM_AUTHFAIL}}},
};

static const struct flag *flag_of(uint32_t sub)
{
    for (size_t i = 0; i < VT_COUNT(perm_flags); i++)
        if (perm_flags[i].sub == sub)
            return &perm_flags[i];
    return NULL;
}

/* The n-th byte of TPM_PERMANENT_FLAGS is sub-capability n (Part 2, 7.1). */
static bool flag_now(struct tc *tc, uint32_t sub)
{
    uint8_t bytes[64];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_permanent_flags(&w, &tc->tpm->perm.flags);
    assert_false(w.bad);
    return bytes[1 + sub];
}

/*= p3:7.2#1 p3:7.2#2 p3:7.2#3 p3:7.2#4 */
static void test_set_capability__permanent_flags__as_part_2_says(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    for (unsigned by = NOBODY; by <= PRESENCE; by++) {
        if (by == PRESENCE)
            tc_assert_presence(tc);
        for (uint32_t sub = 0; sub <= TPM_PF_DISABLEFULLDALOGICINFO + 1; sub++) {
            const struct flag *flag = flag_of(sub);

            for (unsigned value = 2; value-- > 0;) {
                tpm_rc want = flag ? flag->rc[by][value] : TPM_BAD_PARAMETER;

                assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, sub, value, by == OWNER ? &owner : NULL),
                                 want);
                if (!want)
                    assert_int_equal(flag_now(tc, sub), value);
                tc->tpm->perm.flags.disable = false;
            }
        }
    }
}

/* Part 2, 7.1: ownership only without an owner, with presence; neither while disabled or deactivated. */
static void test_set_capability__ownership__without_owner_with_presence(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_OWNERSHIP, false, NULL), TPM_AUTHFAIL);
    tc_assert_presence(tc);
    tc->tpm->perm.flags.disable = true;
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_OWNERSHIP, false, NULL), TPM_DISABLED);
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_DEACTIVATED, true, NULL), TPM_DISABLED);
    tc->tpm->perm.flags.disable = false;
    tc->tpm->stclear.flags.deactivated = true;
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_OWNERSHIP, false, NULL), TPM_DEACTIVATED);
    tc->tpm->stclear.flags.deactivated = false;
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_OWNERSHIP, false, NULL), TPM_SUCCESS);
    assert_false(tc->tpm->perm.flags.ownership);
}

/*= p3:7.2#1 */
static void test_set_capability__wrong_or_no_owner__authfail(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong"), zeros = {{0}};
    struct tc *tc = *state;

    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, true, &wrong), TPM_AUTHFAIL);
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, true, &owner), TPM_SUCCESS);
    tpm_clear_owner(tc->tpm);
    assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, true, &zeros), TPM_AUTHFAIL);
}

/*= p3:7.2#2 */
static void test_set_capability__volatile_flags__two_of_them(void **state)
{
    struct tc *tc = *state;

    for (uint32_t sub = 0; sub <= 6; sub++) {
        if (sub == TPM_SF_DISABLEFORCECLEAR)
            continue;
        assert_int_equal(set_flag(tc, TPM_SET_STCLEAR_FLAGS, sub, true, NULL), TPM_BAD_PARAMETER);
        assert_int_equal(set_flag(tc, TPM_SET_STANY_FLAGS, sub, true, NULL),
                         sub == TPM_AF_TOSPRESENT ? TPM_BAD_LOCALITY : TPM_BAD_PARAMETER);
    }
    assert_int_equal(set_flag(tc, TPM_SET_STCLEAR_FLAGS, TPM_SF_DISABLEFORCECLEAR, false, NULL),
                     TPM_BAD_PARAMETER);
    assert_int_equal(set_flag(tc, TPM_SET_STCLEAR_FLAGS, TPM_SF_DISABLEFORCECLEAR, true, NULL), TPM_SUCCESS);
    assert_true(tc->tpm->stclear.flags.disable_force_clear);
}

/* Part 2, 7.1 and 7.3: only from localities 3 and 4, and only to FALSE. */
static void test_set_capability__establishment_and_tos__by_locality(void **state)
{
    struct tc *tc = *state;

    for (uint8_t locality = 0; locality <= 4; locality++) {
        tpm_rc want = locality >= 3 ? TPM_SUCCESS : TPM_BAD_LOCALITY;

        assert_int_equal(tpm_hash_start(tc->tpm), TPM_SUCCESS);
        assert_int_equal(tpm_hash_end(tc->tpm), TPM_SUCCESS);
        tc->locality = locality;
        assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_TPMESTABLISHED, false, NULL), want);
        assert_int_equal(set_flag(tc, TPM_SET_STANY_FLAGS, TPM_AF_TOSPRESENT, false, NULL), want);
        assert_int_equal(tpm_established(tc->tpm), want != TPM_SUCCESS);
        assert_int_equal(tc->tpm->stany.tos_present, want != TPM_SUCCESS);
        if (!want) {
            assert_int_equal(set_flag(tc, TPM_SET_PERM_FLAGS, TPM_PF_TPMESTABLISHED, true, NULL),
                             TPM_BAD_PARAMETER);
            assert_int_equal(set_flag(tc, TPM_SET_STANY_FLAGS, TPM_AF_TOSPRESENT, true, NULL),
                             TPM_BAD_PARAMETER);
        }
    }
}

/* Part 2, 7.4. */
static void test_set_capability__permanent_data__restrictions_and_daa(void **state)
{
    struct vt_auth owner = SPEC_OWNER, before, seed;
    struct tc *tc = *state;

    assert_int_equal(set_number(tc, TPM_SET_PERM_DATA, TPM_PD_RESTRICTDELEGATE, 0x80000000, NULL),
                     TPM_AUTHFAIL);
    assert_int_equal(set_number(tc, TPM_SET_PERM_DATA, TPM_PD_RESTRICTDELEGATE, 0x80000000, &owner),
                     TPM_SUCCESS);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_CMK_RESTRICTION), 0x80000000);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_DATA, TPM_PD_RESTRICTDELEGATE, "abc", 3, &owner),
                     TPM_BAD_PARAM_SIZE);
    before = tc->tpm->perm.daa_proof;
    seed = *daa_seed(tc->tpm);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_DATA, TPM_PD_DAAPROOF, NULL, 0, NULL), TPM_AUTHFAIL);
    assert_memory_equal(&before, &tc->tpm->perm.daa_proof, sizeof before);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_DATA, TPM_PD_DAAPROOF, NULL, 0, &owner), TPM_SUCCESS);
    assert_memory_not_equal(&before, &tc->tpm->perm.daa_proof, sizeof before);
    assert_memory_not_equal(&seed, &tc->tpm->perm.daa_seed, sizeof seed);
    for (uint32_t sub = 0; sub <= 0x20; sub++)
        if (sub != TPM_PD_RESTRICTDELEGATE && sub != TPM_PD_DAAPROOF)
            assert_int_equal(set_number(tc, TPM_SET_PERM_DATA, sub, 0, &owner), TPM_BAD_PARAMETER);
}

/* Part 2, 7.5: bits come only with presence and go at any time. */
static void test_set_capability__deferred_presence__asserted_with_presence(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE, 1, NULL),
                     TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE, 1, NULL),
                     TPM_SUCCESS);
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_NOTPRESENT), TPM_SUCCESS);
    assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE, 3, NULL),
                     TPM_BAD_PRESENCE);
    assert_int_equal(tc->tpm->stclear.deferred_presence, 1);
    assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE, 1, NULL),
                     TPM_SUCCESS);
    assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE, 0, NULL),
                     TPM_SUCCESS);
    for (uint32_t sub = 0; sub <= 7; sub++)
        if (sub != TPM_SD_DEFERREDPHYSICALPRESENCE)
            assert_int_equal(set_number(tc, TPM_SET_STCLEAR_DATA, sub, 0, NULL), TPM_BAD_PARAMETER);
}

/*= p3:7.2#4 */
static void test_set_capability__areas_and_lengths__codes(void **state)
{
    struct set_capability_in in = {.cap_area = TPM_SET_PERM_FLAGS,
                                   .sub_cap = {.len = 2, .data = (const uint8_t *)"\0\4"},
                                   .set_value = {.len = 1, .data = (const uint8_t *)"\1"}};
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    for (uint32_t sub = 0; sub < 8; sub++) {
        assert_int_equal(set_number(tc, TPM_SET_STANY_DATA, sub, 0, &owner), TPM_BAD_PARAMETER);
        assert_int_equal(set_number(tc, TPM_SET_VENDOR, sub, 0, &owner), TPM_BAD_PARAMETER);
        assert_int_equal(set_number(tc, 0, sub, 0, &owner), TPM_BAD_MODE);
        assert_int_equal(set_number(tc, 8, sub, 0, &owner), TPM_BAD_MODE);
    }
    assert_int_equal(spec_one(tc, TPM_ORD_SetCapability, &in, NULL, 0, &owner), TPM_BAD_PARAMETER);
    in.sub_cap = (struct tpm_blob){0};
    assert_int_equal(spec_one(tc, TPM_ORD_SetCapability, &in, NULL, 0, &owner), TPM_BAD_PARAMETER);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, "\2", 1, &owner), TPM_BAD_PARAMETER);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, NULL, 0, &owner),
                     TPM_BAD_PARAM_SIZE);
    assert_int_equal(set_bytes(tc, TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK, "\0\1", 2, &owner),
                     TPM_BAD_PARAM_SIZE);
}

/* ---- 7.3 ---- */

/*= p3:7.3#1 p3:7.3#2 p3:7.3#3 p3:7.3#4 p3:7.3#5 */
static void test_get_capability_owner__flags__one_bit_each(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct get_capability_owner_out out;
    struct tc *tc = *state;

    memset(&tc->tpm->perm.flags, 0, sizeof tc->tpm->perm.flags);
    tc->tpm->perm.flags.ownership = tc->tpm->perm.flags.nv_locked = true;
    tc->tpm->perm.flags.disable_full_da_logic_info = true;
    tc->tpm->stclear.flags.physical_presence = true;
    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilityOwner, NULL, &out, 0, &owner), TPM_SUCCESS);
    assert_int_equal(out.non_volatile_flags, 1u << 1 | 1u << 15 | 1u << 19);
    assert_int_equal(out.volatile_flags, 1u << 2);
    assert_true(out.version.major == 1 && out.version.minor == 1);
    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilityOwner, NULL, NULL, 0, &wrong), TPM_AUTHFAIL);
}

/* ---- 28.1, 28.3 ---- */

/*= p3:28.1#1 p3:28.1#2 p3:28.1#3 p3:28.1#4 p3:28.1#5 */
static void test_get_capability_signed__answer_and_signature(void **state)
{
    uint8_t sub[4] = {0, 0, 1, 1}, digest[TPM_DIGEST_LEN];
    struct get_capability_signed_in in = {
        .anti_replay = {{5}}, .cap_area = TPM_CAP_PROPERTY, .sub_cap = {.len = 4, .data = sub}};
    struct vt_auth secret = tc_secret("sign"), srk = SPEC_SRK;
    struct get_capability_signed_out out;
    struct tc *tc = *state;
    struct tpm_key_obj der = spec_key(7, TPM_KEY_SIGNING, &secret);
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t free_key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);

    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilitySigned, &in, &out, key, &secret), TPM_SUCCESS);
    assert_int_equal(out.resp.len, 4);
    assert_int_equal(out.resp.data[3], 24);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(out.resp.data, 4), CR_SLICE(in.anti_replay.bytes, 20)}, 2);
    assert_true(spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, &out.sig));
    assert_int_equal(TC(tc, TPM_ORD_GetCapabilitySigned, &in, NULL, .handles = {free_key}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetCapabilitySigned, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilitySigned, &in, NULL, TPM_KH_SRK, &srk),
                     TPM_INVALID_KEYUSAGE);
    der.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilitySigned, &in, NULL, spec_insert(tc, &der), &secret),
                     TPM_INAPPROPRIATE_SIG);
    in.cap_area = 0x99;
    assert_int_equal(spec_one(tc, TPM_ORD_GetCapabilitySigned, &in, NULL, key, &secret), TPM_BAD_MODE);
}

/*= p3:28.3#1 p3:28.3#2 p3:28.3#4 p3:28.3#5 */
static void test_certify_self_test__passed__signature(void **state)
{
    struct certify_self_test_in in = {.anti_replay = {{5}}};
    struct vt_auth secret = tc_secret("sign"), srk = SPEC_SRK, wrong = tc_secret("wrong");
    struct certify_self_test_out out;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct tpm_key_obj odd = spec_key(5, TPM_KEY_STORAGE, &secret);
    uint8_t ordinal[4] = {0, 0, 0, 0x52}, digest[TPM_DIGEST_LEN];

    assert_int_equal(spec_one(tc, TPM_ORD_CertifySelfTest, &in, &out, key, &secret), TPM_SUCCESS);
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE("Test Passed", 11), CR_SLICE(in.anti_replay.bytes, 20),
                                 CR_SLICE(ordinal, 4)},
             3);
    assert_true(spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, &out.sig));
    assert_true(tc->tpm->stany.self_tested);
    assert_int_equal(TC(tc, TPM_ORD_CertifySelfTest, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_CertifySelfTest, &in, NULL, key, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_CertifySelfTest, &in, NULL, TPM_KH_SRK, &srk), TPM_BAD_SCHEME);
    odd.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    assert_int_equal(spec_one(tc, TPM_ORD_CertifySelfTest, &in, NULL, spec_insert(tc, &odd), &secret),
                     TPM_INVALID_KEYUSAGE);
}

/* ---- 9.1, 9.2 ---- */

/* Both are optional, and there is no way in for foreign code: not there, and TPM_CAP_ORD says so. */
/*= p3:9.1 p3:9.2 */
static void test_field_upgrade_and_redirection__not_there__bad_ordinal(void **state)
{
    static const uint32_t ordinals[] = {TPM_ORD_FieldUpgrade, TPM_ORD_SetRedirection};
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(ordinals); i++) {
        assert_false(spec_cap_bool(tc, TPM_CAP_ORD, ordinals[i]));
        assert_int_equal(TC(tc, ordinals[i], &(struct set_redirection_in){0}, NULL), TPM_BAD_ORDINAL);
    }
}

/* ---- Part 2, 21: what there is to be listed ---- */

static void test_cap_handle__counters_and_contexts__listed(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct create_counter_in in = {.label = {{0}}};
    struct tc *tc = *state;
    struct tpm_blob resp;
    struct tc_session s;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, 0, &owner), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CreateCounter, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    }
    assert_int_equal(spec_cap(tc, TPM_CAP_HANDLE, "\0\0\0\6", 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, 2 + 2 * 4);
    assert_memory_equal(resp.data, "\0\2\0\0\0\0\0\0\0\1", resp.len);
}

#define T(f)       cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)
#define UNOWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_set_capability__permanent_flags__as_part_2_says),
        UNOWNED(test_set_capability__ownership__without_owner_with_presence),
        T(test_set_capability__wrong_or_no_owner__authfail),
        T(test_set_capability__volatile_flags__two_of_them),
        T(test_set_capability__establishment_and_tos__by_locality),
        T(test_set_capability__permanent_data__restrictions_and_daa),
        T(test_set_capability__deferred_presence__asserted_with_presence),
        T(test_set_capability__areas_and_lengths__codes),
        T(test_get_capability_owner__flags__one_bit_each),
        T(test_get_capability_signed__answer_and_signature),
        T(test_certify_self_test__passed__signature),
        T(test_field_upgrade_and_redirection__not_there__bad_ordinal),
        T(test_cap_handle__counters_and_contexts__listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
