/* SPDX-License-Identifier: Apache-2.0 */
/* Part 1, 25.1 and Part 2, 10.2: a key bound to PCRs is used only while they match, by every command that
 * uses one. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

/* A key that needs no secret, bound to PCR 10 as it is now. */
static uint32_t load_bound(struct tc *tc, uint16_t usage)
{
    struct vt_auth secret = tc_secret("key");
    struct tpm_key_obj key = spec_key(5, usage, &secret);
    struct tpm_pcr_info info = {.pcr_selection = sk_pcr(10)};
    struct wr w = wr_to(key.pcr_info, sizeof key.pcr_info);

    pcr_composite_hash(tc->tpm, &info.pcr_selection, info.digest_at_release.bytes);
    wr_pcr_info(&w, &info);
    key.auth_data_usage = TPM_AUTH_NEVER;
    key.pcr_info_len = (uint8_t)w.len;
    return spec_insert(tc, &key);
}

static const uint8_t text[256] = {1};

/*= p3:10.3#2 p3:13.5#1 p3:13.8#1 p3:16.3#1 p3:16.5#1 p3:23.2#1 p3:28.1#1 p3:28.3#2 */
static void test_bound_key__pcrs_changed__wrongpcrval(void **state)
{
    const struct un_bind_in unbind = {.in_data = {.len = 256, .data = text}};
    const struct sign_in sign = {.area_to_sign = {.len = 20, .data = text}};
    const struct quote_in quote = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    const struct quote2_in quote2 = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    const struct certify_key_in certify = {.anti_replay = {{1}}};
    const struct certify_key2_in certify2 = {.anti_replay = {{1}}};
    const struct tick_stamp_blob_in stamp = {.anti_replay = {{1}}};
    const struct certify_self_test_in test = {.anti_replay = {{1}}};
    const struct get_capability_signed_in cap = {.cap_area = TPM_CAP_VERSION};
    const struct {
        uint32_t ordinal;
        uint16_t usage;
        tpm_rc before; /* while they match */
        const void *in;
    } rows[] = {
        {TPM_ORD_UnBind, TPM_KEY_BIND, TPM_DECRYPT_ERROR, &unbind},
        {TPM_ORD_Sign, TPM_KEY_SIGNING, TPM_SUCCESS, &sign},
        {TPM_ORD_Quote, TPM_KEY_SIGNING, TPM_SUCCESS, &quote},
        {TPM_ORD_Quote2, TPM_KEY_SIGNING, TPM_SUCCESS, &quote2},
        {TPM_ORD_CertifyKey, TPM_KEY_SIGNING, TPM_SUCCESS, &certify},
        {TPM_ORD_CertifyKey2, TPM_KEY_SIGNING, TPM_SUCCESS, &certify2},
        {TPM_ORD_TickStampBlob, TPM_KEY_SIGNING, TPM_SUCCESS, &stamp},
        {TPM_ORD_CertifySelfTest, TPM_KEY_SIGNING, TPM_SUCCESS, &test},
        {TPM_ORD_GetCapabilitySigned, TPM_KEY_SIGNING, TPM_SUCCESS, &cap},
        {TPM_ORD_GetPubKey, TPM_KEY_SIGNING, TPM_SUCCESS, NULL},
    };
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        uint32_t key = load_bound(tc, rows[i].usage);

        assert_int_equal(TC(tc, rows[i].ordinal, rows[i].in, NULL, .handles = {key, key}), rows[i].before);
        assert_int_equal(spec_extend(tc, 10, 1), TPM_SUCCESS);
        assert_int_equal(TC(tc, rows[i].ordinal, rows[i].in, NULL, .handles = {key, key}), TPM_WRONGPCRVAL);
        assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    }
}

/*= p3:17.1#7 p3:15.2#2 p3:10.7#1 */
static void test_bound_key__pcrs_changed__wrongpcrval_also_with_sessions(void **state)
{
    struct change_auth_in change = {.protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_KEY};
    struct activate_identity_in activate = {.blob = {.len = 256, .data = text}};
    struct sealx_in sealx = {.in_data = {.len = 4, .data = text}};
    struct vt_auth secret = tc_secret("key"), owner = SPEC_OWNER;
    struct tc *tc = *state;
    uint32_t storage = load_bound(tc, TPM_KEY_STORAGE), identity = load_bound(tc, TPM_KEY_IDENTITY);
    struct tc_session a, b;

    assert_int_equal(spec_extend(tc, 10, 1), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &a, TPM_ET_KEYHANDLE, storage, &secret), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuth, &change, NULL, .handles = {storage}, .auth = {&a, &b}),
                     TPM_WRONGPCRVAL);
    assert_int_equal(tc_osap(tc, &a, TPM_ET_KEYHANDLE, storage, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sealx, &sealx, NULL, .handles = {storage}, .auth = {&a}),
                     TPM_WRONGPCRVAL);
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &activate, NULL, identity, &owner),
                     TPM_WRONGPCRVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_bound_key__pcrs_changed__wrongpcrval),
        T(test_bound_key__pcrs_changed__wrongpcrval_also_with_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
