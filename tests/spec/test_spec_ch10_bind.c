/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 10.3 TPM_UnBind, 10.7 TPM_Sealx with TPM_Unseal, 27.8 TPM_LoadKey. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define KEY tc_secret("key")

static const uint8_t label[4] = {'T', 'C', 'P', 'A'};
static const uint8_t text[] = "bound outside";

static const struct cr_rsa_pub *pub5(void)
{
    return &fixture_rsa_key(2048, 5)->pub;
}

static uint32_t load_bind(struct tc *tc, uint16_t usage, uint16_t enc, uint8_t auth_data_usage)
{
    struct vt_auth secret = KEY;
    struct tpm_key_obj key = spec_key(5, usage, &secret);

    key.enc_scheme = enc;
    key.auth_data_usage = auth_data_usage;
    return spec_insert(tc, &key);
}

/* TPM_BOUND_DATA of the text, encrypted as a client does. */
static void bind(uint16_t enc, uint8_t major, uint8_t payload, bool bare, uint8_t out[CR_RSA_MAX])
{
    struct cr_drbg drbg;
    uint8_t bytes[64], seed[CR_DRBG_SEED] = {3};
    struct wr w = wr_to(bytes, sizeof bytes);

    if (!bare) {
        wr_put8(&w, major);
        wr_put8(&w, 1);
        wr_put16(&w, 0);
        wr_put8(&w, payload);
    }
    wr_copy(&w, text, sizeof text);
    cr_drbg_init(&drbg, seed, NULL, 0);
    if (enc == TPM_ES_RSAESPKCSv15)
        assert_int_equal(cr_rsa_pkcs1_encrypt(pub5(), bytes, w.len, &drbg, out), VT_OK);
    else
        assert_int_equal(cr_rsa_oaep_encrypt(pub5(), label, sizeof label, bytes, w.len, &drbg, out), VT_OK);
}

static void bind_bytes(const void *bytes, size_t len, uint8_t out[CR_RSA_MAX])
{
    struct cr_drbg drbg;
    uint8_t seed[CR_DRBG_SEED] = {3};

    cr_drbg_init(&drbg, seed, NULL, 0);
    assert_int_equal(cr_rsa_oaep_encrypt(pub5(), label, sizeof label, bytes, len, &drbg, out), VT_OK);
}

static tpm_rc unbind(struct tc *tc, uint32_t handle, const uint8_t *enc, uint32_t len,
                     struct un_bind_out *out)
{
    struct un_bind_in in = {.in_data = {.len = len, .data = enc}};
    struct vt_auth secret = KEY;

    return spec_one(tc, TPM_ORD_UnBind, &in, out, handle, &secret);
}

/*= p3:10.3#4 p3:10.3#5 p3:10.3#6 */
static void test_unbind__every_scheme__the_data(void **state)
{
    static const struct {
        uint16_t usage, enc;
        bool bare;
    } rows[] = {
        {TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, false},
        {TPM_KEY_BIND, TPM_ES_RSAESPKCSv15, false},
        {TPM_KEY_LEGACY, TPM_ES_RSAESOAEP_SHA1_MGF1, false},
        {TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, true},
    };
    uint8_t enc[CR_RSA_MAX];
    struct un_bind_out out;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        uint32_t key = load_bind(*state, rows[i].usage, rows[i].enc, TPM_AUTH_ALWAYS);

        bind(rows[i].enc, 1, TPM_PT_BIND, rows[i].bare, enc);
        assert_int_equal(unbind(*state, key, enc, sizeof enc, &out), TPM_SUCCESS);
        assert_int_equal(out.out_data.len, sizeof text);
        assert_memory_equal(out.out_data.data, text, sizeof text);
    }
}

/*= p3:10.3#1 p3:10.3#2 p3:10.3#3 */
static void test_unbind__unfit_requests__codes(void **state)
{
    struct vt_auth secret = KEY;
    struct tc *tc = *state;
    uint8_t enc[CR_RSA_MAX];
    struct un_bind_in in = {.in_data = {.len = sizeof enc, .data = enc}};
    uint32_t key = load_bind(tc, TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_AUTH_ALWAYS);
    uint32_t free_key = load_bind(tc, TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_AUTH_NEVER);
    uint32_t storage = load_bind(tc, TPM_KEY_STORAGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_AUTH_ALWAYS);
    struct tc_session s;

    bind(TPM_ES_RSAESOAEP_SHA1_MGF1, 1, TPM_PT_BIND, false, enc);
    assert_int_equal(unbind(tc, key, enc, 0, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(unbind(tc, storage, enc, sizeof enc, NULL), TPM_INVALID_KEYUSAGE);
    assert_int_equal(TC(tc, TPM_ORD_UnBind, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_UnBind, &in, NULL, .handles = {free_key}), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_UnBind, &in, NULL, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_UnBind, &in, NULL, .handles = {key}, .auth = {&s}, .wrong_hmac = {true}),
                     TPM_AUTHFAIL);
}

/*= p3:10.3#6.a */
static void test_unbind__what_is_inside_is_wrong__codes(void **state)
{
    uint32_t key = load_bind(*state, TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_AUTH_ALWAYS);
    uint32_t pkcs = load_bind(*state, TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, TPM_AUTH_ALWAYS);
    uint8_t enc[CR_RSA_MAX + 1] = {0};

    bind(TPM_ES_RSAESOAEP_SHA1_MGF1, 1, TPM_PT_SEAL, false, enc);
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX, NULL), TPM_INVALID_STRUCTURE);
    bind(TPM_ES_RSAESOAEP_SHA1_MGF1, 2, TPM_PT_BIND, false, enc);
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX, NULL), TPM_BAD_VERSION);
    /* Too little to be one. */
    bind_bytes("\1\1", 2, enc);
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX, NULL), TPM_BAD_PARAM_SIZE);
    /* The other scheme's padding, and lengths that are not the modulus'. */
    assert_int_equal(unbind(*state, pkcs, enc, CR_RSA_MAX, NULL), TPM_DECRYPT_ERROR);
    enc[9] ^= 1;
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX, NULL), TPM_DECRYPT_ERROR);
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX - 1, NULL), TPM_DECRYPT_ERROR);
    assert_int_equal(unbind(*state, pkcs, enc, CR_RSA_MAX - 1, NULL), TPM_DECRYPT_ERROR);
    assert_int_equal(unbind(*state, key, enc, CR_RSA_MAX + 1, NULL), TPM_BAD_DATASIZE);
}

/* ---- Sealx ---- */

/* The client's side of 10.7 actions 13-14. */
static void crypt(const struct tc_session *s, const struct tpm_nonce *even, bool aes, const uint8_t *in,
                  size_t len, uint8_t *out)
{
    uint8_t seed[20 + 20 + 3 + 20], ctr[TPM_DIGEST_LEN];

    memcpy(seed, even->bytes, 20);
    memcpy(seed + 20, s->odd.bytes, 20);
    memcpy(seed + 40, "XOR", 3);
    memcpy(seed + 43, s->secret.bytes, 20);
    if (aes) {
        cr_sha1(ctr, seed, 40);
        assert_int_equal(cr_aes128_ctr(s->secret.bytes, ctr, in, len, out), VT_OK);
        return;
    }
    cr_mgf1_sha1(out, len, seed, sizeof seed);
    for (size_t i = 0; i < len; i++)
        out[i] ^= in[i];
}

static tpm_rc sealx(struct tc *tc, bool aes, const struct tpm_blob *info, uint32_t len,
                    struct sk_sealed *sealed)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct sealx_in in = {.pcr_info = *info};
    struct sealx_out out;
    struct tc_session s;
    uint8_t enc[512], plain[512] = {0};
    tpm_rc rc;

    memcpy(plain, text, sizeof text);
    assert_int_equal(
        tc_osap(tc, &s, (uint16_t)(aes ? TPM_ET_AES128_CTR << 8 | TPM_ET_SRK : TPM_ET_SRK), TPM_KH_SRK, &srk),
        TPM_SUCCESS);
    tc_next_odd(tc, &s);
    tc_encrypt_auth(&s, false, aes, &data, &in.enc_auth);
    crypt(&s, &s.even, aes, plain, len, enc);
    in.in_data = (struct tpm_blob){.len = len, .data = enc};
    rc = TC(tc, TPM_ORD_Sealx, &in, &out, .handles = {TPM_KH_SRK}, .auth = {&s});
    if (rc)
        return rc;
    assert_int_equal(s.handle, 0);
    sk_sealed_keep(sealed, &out.sealed_data);
    return rc;
}

static tpm_rc unsealx(struct tc *tc, bool aes, const struct sk_sealed *sealed, uint8_t *plain, uint32_t *len)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct unseal_in in = {.in_data = sealed->data};
    struct unseal_out out;
    struct tc_session s, d;
    struct tpm_nonce even;
    tpm_rc rc;

    assert_int_equal(
        tc_osap(tc, &s, (uint16_t)(aes ? TPM_ET_AES128_CTR << 8 | TPM_ET_SRK : TPM_ET_SRK), TPM_KH_SRK, &srk),
        TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &d, &data), TPM_SUCCESS);
    even = s.even;
    rc = TC(tc, TPM_ORD_Unseal, &in, &out, .handles = {TPM_KH_SRK}, .auth = {&s, &d});
    if (rc)
        return rc;
    /* 9.e */
    assert_int_equal(s.handle, 0);
    *len = out.secret.len;
    crypt(&s, &even, aes, out.secret.data, out.secret.len, plain);
    return rc;
}

/*= p3:10.7#11 p3:10.7#13 p3:10.7#14 p3:10.7#15 p3:10.7#18 p3:10.2#9 */
static void test_sealx__both_schemes__data_travels_encrypted_both_ways(void **state)
{
    for (unsigned aes = 0; aes < 2; aes++) {
        struct sk_sealed sealed;
        uint8_t plain[512];
        uint32_t len;

        assert_int_equal(sealx(*state, aes, &sk_nothing, sizeof text, &sealed), TPM_SUCCESS);
        assert_true(sealed.data.is_12);
        assert_int_equal(sealed.data.et, aes ? TPM_ET_AES128_CTR << 8 : TPM_ET_KEY);
        assert_int_equal(unsealx(*state, aes, &sealed, plain, &len), TPM_SUCCESS);
        assert_int_equal(len, sizeof text);
        assert_memory_equal(plain, text, sizeof text);
    }
}

/*= p3:10.2#9.a p3:10.2#9.b */
static void test_unseal__encrypted_data_without_osap__refused(void **state)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct tc *tc = *state;
    struct sk_sealed sealed;
    struct unseal_in in;
    struct tc_session d;
    uint8_t plain[512];
    uint32_t len;

    assert_int_equal(sealx(tc, false, &sk_nothing, 20, &sealed), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_BAD_MODE);
    assert_int_equal(unsealx(tc, true, &sealed, plain, &len), TPM_INAPPROPRIATE_ENC);
    in.in_data = sealed.data;
    tc->tpm->perm.srk.key.auth_data_usage = TPM_AUTH_NEVER;
    key_pub_digest(&tc->tpm->perm.srk.key, tc->tpm->perm.srk.key.pub_digest);
    assert_int_equal(tc_oiap(tc, &d, &data), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Unseal, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&d}), TPM_AUTHFAIL);
    /* et is under storedDigest. */
    sealed.bytes[3] ^= 1;
    sk_sealed_reread(&sealed);
    assert_int_equal(unsealx(tc, false, &sealed, plain, &len), TPM_NOTSEALED_BLOB);
}

/*= p3:10.7#1 p3:10.7#2 p3:10.7#3 p3:10.7#4 p3:10.7#9 p3:10.7#16 */
static void test_sealx__unfit_requests__codes(void **state)
{
    struct vt_auth secret = KEY, srk = SPEC_SRK;
    struct tc *tc = *state;
    struct sk_sealed sealed;
    struct sealx_in in = {.in_data = {.len = 4, .data = text}};
    struct tpm_pcr_info old = {.pcr_selection = sk_pcr(10)};
    uint8_t bytes[64];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_blob info;
    struct tpm_key_obj key = spec_key(5, TPM_KEY_STORAGE, &secret);
    struct tc_session s;
    uint32_t signing, migratable;

    assert_int_equal(sealx(tc, false, &sk_nothing, 0, &sealed), TPM_BAD_PARAMETER);
    assert_int_equal(sealx(tc, false, &sk_nothing, 500, &sealed), TPM_BAD_DATASIZE);
    assert_int_equal(sealx(tc, false, &sk_nothing, 200, &sealed), TPM_BAD_DATASIZE);
    /* Version 1.1's structure will not do. */
    wr_pcr_info(&w, &old);
    info = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    assert_int_equal(sealx(tc, false, &info, 8, &sealed), TPM_BADINDEX);
    signing = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, signing, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sealx, &in, NULL, .handles = {signing}, .auth = {&s}),
                     TPM_INVALID_KEYUSAGE);
    key.flags = TPM_MIGRATABLE;
    migratable = spec_insert(tc, &key);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, migratable, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sealx, &in, NULL, .handles = {migratable}, .auth = {&s}),
                     TPM_INVALID_KEYUSAGE);
    assert_int_equal(spec_one(tc, TPM_ORD_Sealx, &in, NULL, TPM_KH_SRK, &srk), TPM_BAD_MODE);
}

/*= p3:10.7#9.a p3:10.2#7.b */
static void test_sealx__bound_to_pcrs__opens_while_they_match(void **state)
{
    struct tpm_pcr_info_long bound = {
        .locality_at_creation = TPM_LOC_ALL,
        .locality_at_release = TPM_LOC_ALL,
        .creation_pcr_selection = sk_pcr(10),
        .release_pcr_selection = sk_pcr(10),
    };
    struct tc *tc = *state;
    struct sk_sealed sealed;
    uint8_t bytes[64], plain[512];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_blob info;
    uint32_t len;

    pcr_composite_hash(tc->tpm, &bound.release_pcr_selection, bound.digest_at_release.bytes);
    wr_pcr_info_long(&w, &bound);
    info = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    assert_int_equal(sealx(tc, true, &info, sizeof text, &sealed), TPM_SUCCESS);
    assert_int_equal(unsealx(tc, true, &sealed, plain, &len), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 10, 1), TPM_SUCCESS);
    assert_int_equal(unsealx(tc, true, &sealed, plain, &len), TPM_WRONGPCRVAL);
}

/* ---- LoadKey ---- */

/*= p3:27.8 */
static void test_load_key__wrapped_key__handle_is_proved_too(void **state)
{
    struct vt_auth srk = SPEC_SRK, auth = KEY;
    struct tc *tc = *state;
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct load_key_out out;
    struct load_key_in in;
    struct sk_key key;

    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_SUCCESS);
    in.in_key = key.key;
    /* spec_one checks the HMAC over the parameters, and the handle is one here. */
    assert_int_equal(spec_one(tc, TPM_ORD_LoadKey, &in, &out, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, out.inkey_handle, auth.bytes, 20, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_LoadKey, &in, NULL, .handles = {TPM_KH_SRK}), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_LoadKey, &in, NULL, out.inkey_handle, &auth), TPM_INVALID_KEYUSAGE);
    key.bytes[key.len - 1] ^= 1;
    sk_key_reread(&key);
    in.in_key = key.key;
    assert_int_equal(spec_one(tc, TPM_ORD_LoadKey, &in, NULL, TPM_KH_SRK, &srk), TPM_DECRYPT_ERROR);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_unbind__every_scheme__the_data),
        T(test_unbind__unfit_requests__codes),
        T(test_unbind__what_is_inside_is_wrong__codes),
        T(test_sealx__both_schemes__data_travels_encrypted_both_ways),
        T(test_unseal__encrypted_data_without_osap__refused),
        T(test_sealx__unfit_requests__codes),
        T(test_sealx__bound_to_pcrs__opens_while_they_match),
        T(test_load_key__wrapped_key__handle_is_proved_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
