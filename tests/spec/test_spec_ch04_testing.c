/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part 3, chapter 4, and failure mode (Part 1, 9). The primitives that the self-test calls are ours first (the linker's
 * --wrap): one of them at a time answers wrongly, and the self-test must see each.
 */
#include "server/engine/cmd.h"
#include "tests/spec/spec.h"

/* Set: the function of this name spoils its result. */
static const char *spoiled;

static bool spoils(const char *name)
{
    return spoiled && strcmp(spoiled, name) == 0;
}

/* A function that returns nothing, and one that returns 0 when it is content: `what` is its output. */
#define SPOIL_VOID(name, params, args, what)                                                                 \
    void __real_##name params;                                                                               \
    void __wrap_##name params;                                                                               \
    void __wrap_##name params                                                                                \
    {                                                                                                        \
        __real_##name args;                                                                                  \
        if (spoils(#name))                                                                                   \
            ((uint8_t *)(what))[0] ^= 1;                                                                     \
    }
#define SPOIL(name, params, args, what)                                                                      \
    int __real_##name params;                                                                                \
    int __wrap_##name params;                                                                                \
    int __wrap_##name params                                                                                 \
    {                                                                                                        \
        int err = __real_##name args;                                                                        \
                                                                                                             \
        if (spoils(#name))                                                                                   \
            ((uint8_t *)(what))[0] ^= 1;                                                                     \
        return err;                                                                                          \
    }
/* A check that is content with anything. */
#define CONTENT(name, params, args)                                                                          \
    int __real_##name params;                                                                                \
    int __wrap_##name params;                                                                                \
    int __wrap_##name params                                                                                 \
    {                                                                                                        \
        int err = __real_##name args;                                                                        \
                                                                                                             \
        return spoils(#name) ? VT_OK : err;                                                                  \
    }

SPOIL_VOID(cr_sha1, (uint8_t * out, const void *ptr, size_t len), (out, ptr, len), out)
SPOIL_VOID(cr_sha1_finish, (struct cr_sha1_state * state, const void *ptr, size_t len, uint8_t *out),
           (state, ptr, len, out), out)
SPOIL_VOID(cr_sha256, (uint8_t * out, const void *ptr, size_t len), (out, ptr, len), out)
SPOIL_VOID(cr_hmac_sha1v,
           (uint8_t * out, const void *key, size_t key_len, const struct cr_slice *slices, size_t count),
           (out, key, key_len, slices, count), out)
SPOIL_VOID(cr_hmac_sha256v,
           (uint8_t * out, const void *key, size_t key_len, const struct cr_slice *slices, size_t count),
           (out, key, key_len, slices, count), out)
SPOIL(cr_aes128_ctr, (const uint8_t key[16], const uint8_t iv[16], const void *in, size_t len, uint8_t *out),
      (key, iv, in, len, out), out)
SPOIL_VOID(cr_drbg_random, (struct cr_drbg * drbg, void *out, size_t len), (drbg, out, len), out)
SPOIL_VOID(cr_mgf1_sha1, (uint8_t * out, size_t out_len, const void *seed, size_t seed_len),
           (out, out_len, seed, seed_len), out)
SPOIL(cr_rsa_sign, (struct cr_rsa * rsa, enum cr_sig_scheme scheme, const void *in, size_t in_len, uint8_t *out),
      (rsa, scheme, in, in_len, out), out)
CONTENT(cr_rsa_verify,
        (const struct cr_rsa_pub *pub, enum cr_sig_scheme scheme, const void *in, size_t in_len, const uint8_t *sig,
         size_t sig_len),
        (pub, scheme, in, in_len, sig, sig_len))
SPOIL(cr_rsa_oaep_encrypt,
      (const struct cr_rsa_pub *pub, const void *label, size_t label_len, const void *in, size_t in_len,
       struct cr_drbg *drbg, uint8_t *out),
      (pub, label, label_len, in, in_len, drbg, out), out + pub->bytes - 1)
SPOIL(cr_rsa_oaep_decrypt,
      (struct cr_rsa * rsa, const void *label, size_t label_len, const void *in, size_t in_len, uint8_t *out,
       size_t *out_len),
      (rsa, label, label_len, in, in_len, out, out_len), out)
SPOIL(cr_rsa_pkcs1_encrypt,
      (const struct cr_rsa_pub *pub, const void *in, size_t in_len, struct cr_drbg *drbg, uint8_t *out),
      (pub, in, in_len, drbg, out), out + pub->bytes - 1)
SPOIL(cr_rsa_pkcs1_decrypt, (struct cr_rsa * rsa, const void *in, size_t in_len, uint8_t *out, size_t *out_len),
      (rsa, in, in_len, out, out_len), out)
SPOIL(cr_rsa_generate, (struct cr_rsa_key * key, unsigned bits, uint32_t e, struct cr_drbg *drbg),
      (key, bits, e, drbg), key->p + key->pub.bytes / 4)
SPOIL(cr_num_exp_mod,
      (uint8_t * out, size_t out_len, struct cr_slice z, struct cr_slice base, struct cr_slice exp, struct cr_slice n),
      (out, out_len, z, base, exp, n), out)
SPOIL(cr_num_mod, (uint8_t * out, size_t out_len, struct cr_slice in, struct cr_slice n), (out, out_len, in, n), out)
SPOIL(cr_num_mul_add,
      (uint8_t * out, size_t out_len, struct cr_slice a, struct cr_slice b, struct cr_slice c, struct cr_slice d),
      (out, out_len, a, b, c, d), out)

/* A generator that stands still. */
int __real_cr_os_random(void *out, size_t len);
int __wrap_cr_os_random(void *out, size_t len);
int __wrap_cr_os_random(void *out, size_t len)
{
    int err = __real_cr_os_random(out, len);

    if (spoils("cr_os_random"))
        memset(out, 7, len);
    return err;
}

/* What the TPM's commands use; the broker's own (GCM, HKDF, scrypt) is in the same list of the self-test. */
static const char *const primitives[] = {
    "cr_sha1",         "cr_sha1_finish",       "cr_sha256",           "cr_hmac_sha1v",        "cr_hmac_sha256v",
    "cr_aes128_ctr",   "cr_drbg_random",       "cr_os_random",        "cr_mgf1_sha1",         "cr_rsa_sign",
    "cr_rsa_verify",   "cr_rsa_oaep_encrypt",  "cr_rsa_oaep_decrypt", "cr_rsa_pkcs1_encrypt", "cr_rsa_pkcs1_decrypt",
    "cr_rsa_generate", "cr_num_exp_mod",       "cr_num_mod",          "cr_num_mul_add",
};

static int end(void **state)
{
    spoiled = NULL;
    return spec_teardown(state);
}

/* One command while a primitive is spoilt; freezing and thawing in between is left out. */
static tpm_rc with_spoilt(struct tc *tc, const char *name, uint32_t ordinal)
{
    tpm_rc rc;

    tc->no_freeze = true;
    spoiled = name;
    rc = TC(tc, ordinal, NULL, NULL);
    spoiled = NULL;
    tc->no_freeze = false;
    return rc;
}

static uint8_t test_result(struct tc *tc)
{
    struct get_test_result_out result;

    assert_int_equal(TC(tc, TPM_ORD_GetTestResult, NULL, &result), TPM_SUCCESS);
    assert_int_equal(result.out_data.len, 1);
    return result.out_data.data[0];
}

/*= p3:4.1 p3:4.3 */
static void test_self_test_full__each_primitive_spoilt__failedselftest_until_init(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(test_result(tc), 0);
    for (size_t i = 0; i < VT_COUNT(primitives); i++) {
        if (with_spoilt(tc, primitives[i], TPM_ORD_SelfTestFull) != TPM_FAILEDSELFTEST)
            fail_msg("%s answers wrongly and the self-test does not see it", primitives[i]);
        assert_int_equal(test_result(tc), 1);
        /* It is sound again, but failure mode stays. */
        assert_int_equal(TC(tc, TPM_ORD_SelfTestFull, NULL, NULL), TPM_FAILEDSELFTEST);
        assert_int_equal(TC(tc, TPM_ORD_ContinueSelfTest, NULL, NULL), TPM_FAILEDSELFTEST);
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_SelfTestFull, NULL, NULL), TPM_SUCCESS);
        assert_int_equal(test_result(tc), 0);
    }
}

/*= p3:4.2 */
static void test_continue_self_test__spoilt__failedselftest_only_before_it_passed(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(with_spoilt(tc, "cr_hmac_sha1v", TPM_ORD_ContinueSelfTest), TPM_FAILEDSELFTEST);
    assert_int_equal(test_result(tc), 1);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ContinueSelfTest, NULL, NULL), TPM_SUCCESS);
    /* All was tested: there is nothing to continue. */
    assert_int_equal(with_spoilt(tc, "cr_hmac_sha1v", TPM_ORD_ContinueSelfTest), TPM_SUCCESS);
}

/*= p3:28.3#1 */
static void test_certify_self_test__spoilt__failedselftest_and_no_signature(void **state)
{
    struct certify_self_test_in in = {.anti_replay = {{5}}};
    struct vt_auth auth = tc_secret("key");
    uint32_t handle = spec_load_signing_key(*state, &auth, TPM_AUTH_NEVER);
    struct tc *tc = *state;

    tc->no_freeze = true;
    spoiled = "cr_mgf1_sha1";
    assert_int_equal(TC(tc, TPM_ORD_CertifySelfTest, &in, NULL, .handles = {handle}), TPM_FAILEDSELFTEST);
    spoiled = NULL;
    tc->no_freeze = false;
    assert_int_equal(test_result(tc), 1);
}

/* Every ordinal with a command long enough for all of its headers: failure mode comes before any of it is looked at. */
static tpm_rc send(struct tc *tc, const struct cmd_row *row)
{
    uint32_t len = TPM_HEADER_LEN + row->auth.min * (uint32_t)TPM_AUTH_IN_LEN + 100;
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + row->auth.min));
    wr_put32(&w, len);
    wr_put32(&w, row->ordinal);
    memset(tc->cmd + w.len, 0, len - w.len);
    tc->cmd_len = len;
    return tc_raw(tc);
}

/*= p3:7.1#3 */
static void test_failure_mode__every_ordinal__only_two_answer(void **state)
{
    struct tc *tc = *state;
    const struct cmd_row *rows;
    unsigned answered = 0;
    size_t count;

    assert_int_equal(with_spoilt(tc, "cr_sha1", TPM_ORD_SelfTestFull), TPM_FAILEDSELFTEST);
    rows = cmd_rows(&count);
    for (size_t i = 0; i < count; i++) {
        tpm_rc rc = send(tc, &rows[i]);

        if (!cmd_is_offered(tc->tpm, &rows[i])) {
            assert_int_equal(rc, TPM_BAD_ORDINAL);
        } else if (rows[i].ordinal == TPM_ORD_GetTestResult || rows[i].ordinal == TPM_ORD_GetCapability) {
            assert_int_equal(rc, TPM_BAD_PARAM_SIZE);
            answered++;
        } else if (rc != TPM_FAILEDSELFTEST) {
            fail_msg("ordinal 0x%x answers 0x%x in failure mode", rows[i].ordinal, rc);
        }
    }
    assert_int_equal(answered, 2);
}

/*= p3:7.1#3 */
static void test_failure_mode__capabilities__the_few_that_part_3_allows(void **state)
{
    static const struct {
        uint32_t area, sub;
        uint32_t sub_len, len;
    } told[] = {
        {TPM_CAP_VERSION, 0, 0, 4},
        {TPM_CAP_VERSION_VAL, 0, 0, 15},
        {TPM_CAP_PROPERTY, TPM_CAP_PROP_MANUFACTURER, 4, 4},
        {TPM_CAP_PROPERTY, TPM_CAP_PROP_TIS_TIMEOUT, 4, 16},
        {TPM_CAP_PROPERTY, TPM_CAP_PROP_DURATION, 4, 12},
    };
    static const struct {
        uint32_t area, sub, sub_len;
    } silent[] = {
        {TPM_CAP_PROPERTY, TPM_CAP_PROP_PCR, 4},      {TPM_CAP_PROPERTY, TPM_CAP_PROP_KEYS, 4},
        {TPM_CAP_ORD, TPM_ORD_Extend, 4},             {TPM_CAP_ALG, TPM_ALG_RSA, 4},
        {TPM_CAP_FLAG, TPM_CAP_FLAG_PERMANENT, 4},    {TPM_CAP_NV_LIST, 0, 0},
        {TPM_CAP_KEY_HANDLE, 0, 0},                   {TPM_CAP_HANDLE, TPM_RT_KEY, 4},
        {TPM_CAP_AUTH_ENCRYPT, TPM_ALG_XOR, 4},
    };
    struct tc *tc = *state;
    struct tpm_blob resp;
    uint8_t sub[4];

    assert_int_equal(with_spoilt(tc, "cr_drbg_random", TPM_ORD_SelfTestFull), TPM_FAILEDSELFTEST);
    for (size_t i = 0; i < VT_COUNT(told); i++) {
        struct wr w = wr_to(sub, sizeof sub);

        wr_put32(&w, told[i].sub);
        assert_int_equal(spec_cap(tc, told[i].area, sub, told[i].sub_len, &resp), TPM_SUCCESS);
        assert_int_equal(resp.len, told[i].len);
    }
    for (size_t i = 0; i < VT_COUNT(silent); i++) {
        struct wr w = wr_to(sub, sizeof sub);

        wr_put32(&w, silent[i].sub);
        assert_int_equal(spec_cap(tc, silent[i].area, sub, silent[i].sub_len, &resp), TPM_FAILEDSELFTEST);
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, spec_setup_owned, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_self_test_full__each_primitive_spoilt__failedselftest_until_init),
        T(test_continue_self_test__spoilt__failedselftest_only_before_it_passed),
        T(test_certify_self_test__spoilt__failedselftest_and_no_signature),
        T(test_failure_mode__every_ordinal__only_two_answer),
        T(test_failure_mode__capabilities__the_few_that_part_3_allows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
