/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 7.1 and Part 2, 21: what TPM_GetCapability says (CONTRACT, "The TPM it shows"). */
#include "tests/spec/spec.h"

/*= p2:21.6 */
static void test_version_val__asked__vtpm_1_2_level_2_errata_3(void **state)
{
    static const uint8_t expected[] = {0, 0x30, 1, 2, 0, 0, 0, 2, 3, 'V', 'T', 'P', 'M', 0, 0};
    struct tpm_blob resp;

    assert_int_equal(spec_cap(*state, TPM_CAP_VERSION_VAL, NULL, 0, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, sizeof expected);
    assert_memory_equal(resp.data, expected, sizeof expected);
    assert_int_equal(spec_cap(*state, TPM_CAP_VERSION, NULL, 0, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, 4);
    assert_memory_equal(resp.data, ((uint8_t[]){1, 1, 0, 0}), 4);
}

/*= p2:21.2 */
static void test_properties__pc_client__as_promised(void **state)
{
    static const struct {
        uint32_t property, value;
    } rows[] = {
        {TPM_CAP_PROP_PCR, 24},
        {TPM_CAP_PROP_DIR, 1},
        {TPM_CAP_PROP_MANUFACTURER, 0x5654504D},
        {TPM_CAP_PROP_KEYS, 20},
        {TPM_CAP_PROP_MAX_KEYS, 20},
        {TPM_CAP_PROP_AUTHSESS, 16},
        {TPM_CAP_PROP_MAX_AUTHSESS, 16},
        {TPM_CAP_PROP_MAX_TRANSSESS, 16},
        {TPM_CAP_PROP_COUNTERS, 8},
        {TPM_CAP_PROP_MAX_COUNTERS, 8},
        {TPM_CAP_PROP_CONTEXT, 128},
        {TPM_CAP_PROP_MAX_CONTEXT, 128},
        {TPM_CAP_PROP_FAMILYROWS, 16},
        {TPM_CAP_PROP_DELEGATE_ROW, 4},
        {TPM_CAP_PROP_MAX_DAASESS, 2},
        {TPM_CAP_PROP_MAX_SESSIONS, 32},
        {TPM_CAP_PROP_ACTIVE_COUNTER, 0xFFFFFFFF},
        {TPM_CAP_PROP_INPUT_BUFFER, 4096},
        {TPM_CAP_PROP_NV_AVAILABLE, 28 * 1024},
        {TPM_CAP_PROP_CMK_RESTRICTION, 0},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++)
        assert_int_equal(spec_cap_number(*state, TPM_CAP_PROPERTY, rows[i].property), rows[i].value);
    assert_false(spec_cap_bool(*state, TPM_CAP_PROPERTY, TPM_CAP_PROP_OWNER));
}

static void test_properties__owned_and_loaded__follow(void **state)
{
    struct vt_auth secret = tc_secret("key");
    struct tc *tc = *state;

    assert_true(spec_cap_bool(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_OWNER));
    (void)spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_KEYS), 19);
}

/*= p3:7.1#2 */
static void test_capability__unknown_area_or_size__bad_mode(void **state)
{
    struct tpm_blob resp;

    assert_int_equal(spec_cap(*state, 0, NULL, 0, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, 0x1B, NULL, 0, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_MFR, "\0\0\0\0", 4, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_ORD, "\0\0\0", 3, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_ORD, "\0\0\0\0\0", 5, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_PROPERTY, "\0\0\0\x99", 4, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_FLAG, "\0\0\1\7", 4, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_PID, "\0\0\0\1", 4, &resp), TPM_BAD_MODE);
    assert_int_equal(spec_cap(*state, TPM_CAP_HANDLE, "\0\0\0\x63", 4, &resp), TPM_BAD_PARAMETER);
    assert_int_equal(spec_cap(*state, TPM_CAP_NV_INDEX, "\0\0\x77\x77", 4, &resp), TPM_BADINDEX);
    assert_int_equal(spec_cap(*state, TPM_CAP_KEY_STATUS, "\1\0\x77\x77", 4, &resp), TPM_INVALID_KEYHANDLE);
}

/*= p2:7.1 p2:7.2 */
static void test_flags__fresh__as_manufactured(void **state)
{
    struct tpm_permanent_flags flags;
    struct tpm_stclear_flags stclear;
    struct tpm_blob resp;
    struct rd r;

    assert_int_equal(spec_cap(*state, TPM_CAP_FLAG, "\0\0\1\x08", 4, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    rd_permanent_flags(&r, &flags);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_true(flags.ownership && flags.read_pubek && flags.physical_presence_cmd_enable && flags.nv_locked);
    assert_false(flags.disable || flags.deactivated || flags.physical_presence_lifetime_lock ||
                 flags.allow_maintenance || flags.tpm_established);
    assert_int_equal(spec_cap(*state, TPM_CAP_FLAG, "\0\0\1\x09", 4, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    rd_stclear_flags(&r, &stclear);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_false(stclear.deactivated || stclear.physical_presence || stclear.b_global_lock);
}

static void test_handles__keys_and_sessions__listed(void **state)
{
    struct vt_auth secret = tc_secret("key");
    struct tpm_key_handle_list list;
    struct tc_session s;
    struct tpm_blob resp;
    struct tc *tc = *state;
    struct rd r;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint8_t sub[4];
    struct wr w = wr_to(sub, sizeof sub);

    assert_int_equal(spec_cap(tc, TPM_CAP_KEY_HANDLE, NULL, 0, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    rd_key_handle_list(&r, &list);
    assert_int_equal(list.loaded, 1);
    r = rd_from(list.handles, 4);
    assert_int_equal(rd_get32(&r), key);
    assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
    assert_int_equal(spec_cap(tc, TPM_CAP_HANDLE, "\0\0\0\2", 4, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    assert_int_equal(rd_get16(&r), 1);
    assert_int_equal(rd_get32(&r), s.handle);
    assert_true(rd_done(&r));
    /* The key's own status: not the owner's. */
    wr_put32(&w, key);
    assert_int_equal(spec_cap(tc, TPM_CAP_KEY_STATUS, sub, sizeof sub, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
}

static void test_small_areas__asked__truth(void **state)
{
    static const uint8_t rsa[] = {0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 12, 0, 0, 8, 0, 0, 0, 0, 2, 0, 0, 0, 0};
    struct tpm_blob resp;

    assert_true(spec_cap_bool(*state, TPM_CAP_ALG, TPM_ALG_RSA));
    assert_false(spec_cap_bool(*state, TPM_CAP_ALG, TPM_ALG_3DES));
    assert_true(spec_cap_bool(*state, TPM_CAP_AUTH_ENCRYPT, TPM_ALG_XOR));
    assert_true(spec_cap_bool(*state, TPM_CAP_AUTH_ENCRYPT, TPM_ALG_AES128));
    assert_false(spec_cap_bool(*state, TPM_CAP_AUTH_ENCRYPT, TPM_ALG_AES256));
    assert_false(spec_cap_bool(*state, TPM_CAP_SYM_MODE, TPM_SYM_MODE_CBC));
    assert_int_equal(spec_cap(*state, TPM_CAP_PID, "\0\1", 2, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    assert_int_equal(spec_cap(*state, TPM_CAP_PID, "\0\x63", 2, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
    assert_int_equal(spec_cap(*state, TPM_CAP_SELECT_SIZE, "\1\1\0\3", 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    assert_int_equal(spec_cap(*state, TPM_CAP_SELECT_SIZE, "\1\1\0\4", 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
    assert_int_equal(spec_cap(*state, TPM_CAP_SELECT_SIZE, "\1\2\0\3", 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    assert_int_equal(spec_cap(*state, TPM_CAP_SELECT_SIZE, "\1\1\0\0", 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
    assert_int_equal(spec_cap(*state, TPM_CAP_SELECT_SIZE, "\0\0\0\3", 4, &resp), TPM_BAD_PARAMETER);
    assert_int_equal(spec_cap(*state, TPM_CAP_CHECK_LOADED, rsa, sizeof rsa, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    assert_int_equal(spec_cap(*state, TPM_CAP_CHECK_LOADED, rsa, 5, &resp), TPM_BAD_PARAM_SIZE);
    assert_int_equal(spec_cap(*state, TPM_CAP_NV_LIST, NULL, 0, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, 0);
}

/*= p2:21.2 four timeouts and three durations, nothing before them: drivers read them from the first byte on */
static void test_capability__timeouts_and_durations__bare_arrays(void **state)
{
    static const uint8_t timeouts[] = {0, 0, 1, 0x15}, durations[] = {0, 0, 1, 0x20};
    struct tpm_blob resp;
    struct rd r;

    assert_int_equal(spec_cap(*state, TPM_CAP_PROPERTY, timeouts, 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, 4 * 4);
    r = rd_from(resp.data, resp.len);
    assert_int_equal(rd_get32(&r), 750000);
    assert_int_equal(rd_get32(&r), 2000000);
    assert_int_equal(spec_cap(*state, TPM_CAP_PROPERTY, durations, 4, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, 3 * 4);
    r = rd_from(resp.data, resp.len);
    assert_int_equal(rd_get32(&r), 2000000);
    assert_int_equal(rd_get32(&r), 5000000);
    assert_int_equal(rd_get32(&r), 60000000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_capability__timeouts_and_durations__bare_arrays),
        T(test_version_val__asked__vtpm_1_2_level_2_errata_3),
        T(test_properties__pc_client__as_promised),
        OWNED(test_properties__owned_and_loaded__follow),
        T(test_capability__unknown_area_or_size__bad_mode),
        T(test_flags__fresh__as_manufactured),
        T(test_handles__keys_and_sessions__listed),
        T(test_small_areas__asked__truth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
