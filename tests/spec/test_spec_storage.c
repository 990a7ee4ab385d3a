/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 10.1 and 10.2: data is sealed and unsealed. */
#include "server/base/alloc.h"
#include "server/engine/auth.h"
#include "tests/spec/spec_keys.h"

#define DATA_MOST 149 /* 214 bytes fit under 2048 bits; 65 of them are TPM_SEALED_DATA's own */

static const uint8_t plain[300] = {1, 2, 3, 4, 5};

static tpm_rc seal_plain(struct tc *tc, uint32_t len, struct sk_sealed *out)
{
    struct vt_auth srk = SPEC_SRK;

    return sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, plain, len, out);
}

static tpm_rc unseal(struct tc *tc, const struct sk_sealed *sealed, struct tpm_blob *secret)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");

    return sk_unseal(tc, TPM_KH_SRK, &srk, &data, sealed, secret);
}

/*= p3:10.1#2 p3:10.1#15 p3:10.2#11 */
static void test_seal__sizes__come_back_or_refused(void **state)
{
    static const uint32_t sizes[] = {1, 20, DATA_MOST};
    struct tpm_blob secret;
    struct sk_sealed s;

    for (size_t i = 0; i < VT_COUNT(sizes); i++) {
        assert_int_equal(seal_plain(*state, sizes[i], &s), TPM_SUCCESS);
        assert_false(s.data.is_12);
        assert_int_equal(unseal(*state, &s, &secret), TPM_SUCCESS);
        assert_int_equal(secret.len, sizes[i]);
        assert_memory_equal(secret.data, plain, sizes[i]);
    }
    assert_int_equal(seal_plain(*state, 0, &s), TPM_BAD_PARAMETER);
    assert_int_equal(seal_plain(*state, DATA_MOST + 1, &s), TPM_BAD_DATASIZE);
    assert_int_equal(seal_plain(*state, 214, &s), TPM_BAD_DATASIZE);
    assert_int_equal(seal_plain(*state, 300, &s), TPM_BAD_DATASIZE);
}

/* Two seals of the same are not the same: OAEP is random. */
static void test_seal__twice__different_bytes(void **state)
{
    struct sk_sealed a, b;

    assert_int_equal(seal_plain(*state, 20, &a), TPM_SUCCESS);
    assert_int_equal(seal_plain(*state, 20, &b), TPM_SUCCESS);
    assert_int_equal(a.len, b.len);
    assert_memory_not_equal(a.bytes, b.bytes, a.len);
}

/*= p3:10.1#1 p3:10.2#1 p3:10.2#8 */
static void test_unseal__wrong_secrets__auth_codes_by_session(void **state)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data"), wrong = tc_secret("wrong");
    struct sk_sealed s;

    assert_int_equal(seal_plain(*state, 20, &s), TPM_SUCCESS);
    assert_int_equal(sk_unseal(*state, TPM_KH_SRK, &wrong, &data, &s, NULL), TPM_AUTHFAIL);
    assert_int_equal(sk_unseal(*state, TPM_KH_SRK, &srk, &wrong, &s, NULL), TPM_AUTH2FAIL);
    assert_int_equal(session_free_slots(((struct tc *)*state)->tpm), 16);
    assert_int_equal(sk_seal(*state, TPM_KH_SRK, &wrong, &sk_nothing, plain, 20, &s), TPM_AUTHFAIL);
}

static void test_seal__under_oiap__bad_mode(void **state)
{
    struct seal_in in = {.in_data = {.len = 4, .data = plain}};
    struct vt_auth srk = SPEC_SRK;
    struct tc_session s;

    assert_int_equal(tc_oiap(*state, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(*state, TPM_ORD_Seal, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_BAD_MODE);
}

/* The secret may also come hidden by AES. */
static void test_seal__secret_by_aes__unseals(void **state)
{
    struct seal_in in = {.in_data = {.len = 4, .data = plain}};
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct seal_out out;
    struct sk_sealed sealed;
    struct tc_session s;

    assert_int_equal(tc_osap(*state, &s, TPM_ET_AES128_CTR << 8 | TPM_ET_SRK, TPM_KH_SRK, &srk), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, true, &data, &in.enc_auth);
    assert_int_equal(TC(*state, TPM_ORD_Seal, &in, &out, .handles = {TPM_KH_SRK}, .auth = {&s}), TPM_SUCCESS);
    sk_sealed_keep(&sealed, &out.sealed_data);
    assert_int_equal(unseal(*state, &sealed, NULL), TPM_SUCCESS);
}

/*= p3:10.1#3 p3:10.1#4 p3:10.2#2 p3:10.2#3 */
static void test_seal__parents_that_are_not_for_it__invalid_keyusage(void **state)
{
    static const uint16_t usages[] = {TPM_KEY_SIGNING, TPM_KEY_BIND, TPM_KEY_LEGACY, TPM_KEY_STORAGE};
    struct vt_auth auth = tc_secret("key"), data = tc_secret("data");
    struct sk_sealed s, other;
    struct sk_key key;

    assert_int_equal(seal_plain(*state, 20, &s), TPM_SUCCESS);
    for (size_t i = 0; i < VT_COUNT(usages); i++) {
        struct tpm_key info = sk_template(usages[i]);
        uint32_t handle;

        info.key_flags = TPM_MIGRATABLE;
        handle = sk_loaded(*state, &info, &key);
        assert_int_equal(sk_seal(*state, handle, &auth, &sk_nothing, plain, 20, &other),
                         TPM_INVALID_KEYUSAGE);
        assert_int_equal(sk_unseal(*state, handle, &auth, &data, &s, NULL), TPM_INVALID_KEYUSAGE);
    }
}

/*= p3:10.2#6 */
static void test_unseal__any_byte_altered__not_a_sealed_blob(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tpm_pcr_info info = {.pcr_selection = sk_pcr(16)};
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tc *tc = *state;
    struct sk_sealed s;
    struct rd r;

    wr_pcr_info(&w, &info);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &(struct tpm_blob){(uint32_t)w.len, bytes}, plain, 20, &s),
                     TPM_SUCCESS);
    tc->no_freeze = true;
    for (size_t at = 0; at < s.len; at++) {
        s.bytes[at] ^= 1;
        r = rd_from(s.bytes, s.len);
        rd_stored_data(&r, &s.data);
        if (!rd_result(&r))
            assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
        s.bytes[at] ^= 1;
    }
    sk_sealed_reread(&s);
    assert_int_equal(unseal(tc, &s, NULL), TPM_WRONGPCRVAL);
    /* A PCR binding that was taken off, an encrypted part that is too short or missing. */
    s.data.seal_info.len = 0;
    assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
    sk_sealed_reread(&s);
    s.data.enc_data.len--;
    assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
    s.data.enc_data.len = 0;
    assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
}

/* The same root key in another TPM, or after the owner has changed: tpmProof is another. */
/*= p3:10.2#6.b */
static void test_unseal__blob_of_another_tpm__not_a_sealed_blob(void **state)
{
    struct tc *tc = *state;
    struct sk_sealed s;

    assert_int_equal(seal_plain(tc, 20, &s), TPM_SUCCESS);
    tc->tpm->perm.tpm_proof.bytes[0] ^= 0x80;
    assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
}

/*
 * Part 2, 9.3: storedDigest leaves encDataSize and encData out; else no blob of another TPM 1.2 with this key and proof
 * would open. What this engine sealed before, with a size of zero behind, opens as it did; anything else does not.
 */
static tpm_rc unseal_with_digest(struct tc *tc, const struct sk_sealed *like, const void *header, size_t len)
{
    struct tpm_sealed_data sealed = {.payload = TPM_PT_SEAL, .auth_data = tc_secret("data"), .tpm_proof = tc->tpm->perm.tpm_proof,
                                     .data = {.len = 20, .data = plain}};
    struct tpm_stored_data stored = like->data;
    struct cr_drbg drbg = {.calls = 1};
    uint8_t bytes[CR_RSA_MAX], enc[CR_RSA_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct sk_sealed made;

    cr_sha1(sealed.stored_digest.bytes, header, len);
    wr_sealed_data(&w, &sealed);
    assert_int_equal(cr_rsa_oaep_encrypt(&tc->tpm->perm.srk.key.rsa.pub, "TCPA", 4, bytes, w.len, &drbg, enc), VT_OK);
    stored.enc_data = (struct tpm_blob){.len = sizeof enc, .data = enc};
    sk_sealed_keep(&made, &stored);
    return unseal(tc, &made, NULL);
}

/*= p3:10.2#6 */
static void test_unseal__stored_digest__is_of_the_header_alone(void **state)
{
    /* ver, sealInfoSize; encDataSize */
    static const uint8_t header[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct sk_sealed s;

    assert_int_equal(seal_plain(*state, 20, &s), TPM_SUCCESS);
    assert_int_equal(unseal_with_digest(*state, &s, header, 8), TPM_SUCCESS);
    assert_int_equal(unseal_with_digest(*state, &s, header, 12), TPM_SUCCESS);
    assert_int_equal(unseal_with_digest(*state, &s, header, 4), TPM_NOTSEALED_BLOB);
    assert_int_equal(unseal_with_digest(*state, &s, header, 11), TPM_NOTSEALED_BLOB);
}

/* And that is what TPM_Seal makes. */
static void test_seal__stored_digest__is_of_the_header_alone(void **state)
{
    static const uint8_t header[] = {1, 1, 0, 0, 0, 0, 0, 0};
    struct tc *tc = *state;
    struct tpm_sealed_data sealed;
    uint8_t out[CR_RSA_MAX], digest[CR_SHA1_LEN];
    struct cr_rsa *rsa;
    struct sk_sealed s;
    struct rd r;
    size_t len;

    assert_int_equal(seal_plain(tc, 20, &s), TPM_SUCCESS);
    assert_int_equal(cr_rsa_load(&rsa, &tc->tpm->perm.srk.key.rsa), VT_OK);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, "TCPA", 4, s.data.enc_data.data, s.data.enc_data.len, out, &len), VT_OK);
    cr_rsa_free(rsa);
    r = rd_from(out, len);
    rd_sealed_data(&r, &sealed);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    cr_sha1(digest, header, sizeof header);
    assert_memory_equal(sealed.stored_digest.bytes, digest, sizeof digest);
}

static void test_unseal__wrong_parent_or_a_key_blob__not_a_sealed_blob(void **state)
{
    struct vt_auth auth = tc_secret("key"), data = tc_secret("data");
    struct tpm_key info = sk_template(TPM_KEY_STORAGE);
    struct tc *tc = *state;
    struct sk_sealed s;
    struct sk_key key;
    uint32_t handle = sk_loaded(tc, &info, &key);

    assert_int_equal(seal_plain(tc, 20, &s), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, handle, &auth, &data, &s, NULL), TPM_NOTSEALED_BLOB);
    s.data.enc_data = key.key.enc_data;
    assert_int_equal(unseal(tc, &s, NULL), TPM_NOTSEALED_BLOB);
}

/*= p3:10.1#11 p3:10.2#7 */
static void test_seal__to_pcrs__opens_with_these_values_only(void **state)
{
    struct tpm_pcr_info info = {.pcr_selection = sk_pcr(16)}, made;
    uint8_t bytes[KEY_PCR_INFO_MAX], zeros[20] = {0};
    struct pcr_reset_in reset = {.pcr_selection = sk_pcr(16)};
    struct wr w = wr_to(bytes, sizeof bytes);
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = *state;
    struct sk_sealed s;
    struct rd r;

    assert_int_equal(spec_extend(tc, 16, 5), TPM_SUCCESS);
    pcr_composite_hash(tc->tpm, &info.pcr_selection, info.digest_at_release.bytes);
    wr_pcr_info(&w, &info);
    assert_int_equal(TC(tc, TPM_ORD_PCR_Reset, &reset, NULL), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &(struct tpm_blob){(uint32_t)w.len, bytes}, plain, 9, &s),
                     TPM_SUCCESS);
    /* What it was like when it was sealed is the TPM's to say. */
    r = rd_from(s.data.seal_info.data, s.data.seal_info.len);
    rd_pcr_info(&r, &made);
    pcr_composite_hash(tc->tpm, &info.pcr_selection, zeros);
    assert_memory_equal(made.digest_at_creation.bytes, zeros, 20);
    assert_int_equal(unseal(tc, &s, NULL), TPM_WRONGPCRVAL);
    assert_int_equal(spec_extend(tc, 16, 5), TPM_SUCCESS);
    assert_int_equal(unseal(tc, &s, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(unseal(tc, &s, NULL), TPM_WRONGPCRVAL);
}

/*= p3:10.1#11.b p3:10.2#7.b */
static void test_seal__to_a_locality__opens_there_only(void **state)
{
    struct tpm_pcr_info_long info = {
        .locality_at_creation = 0x1F, .locality_at_release = 1u << 3, .creation_pcr_selection = sk_pcr(3)};
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_pcr_info_long made;
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = *state;
    struct sk_sealed s;
    struct rd r;

    wr_pcr_info_long(&w, &info);
    tc->locality = 1;
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &(struct tpm_blob){(uint32_t)w.len, bytes}, plain, 9, &s),
                     TPM_SUCCESS);
    assert_true(s.data.is_12);
    assert_int_equal(s.data.et, 0);
    r = rd_from(s.data.seal_info.data, s.data.seal_info.len);
    rd_pcr_info_long(&r, &made);
    assert_int_equal(made.locality_at_creation, 1u << 1);
    assert_int_equal(unseal(tc, &s, NULL), TPM_BAD_LOCALITY);
    tc->locality = 3;
    assert_int_equal(unseal(tc, &s, NULL), TPM_SUCCESS);
}

/*= p3:10.2#7 the PCRs are looked at first, as libtpms does */
static void test_unseal__pcr_and_locality_wrong__wrongpcrval(void **state)
{
    struct tpm_pcr_info_long info = {.locality_at_creation = 0x1F,
                                     .locality_at_release = 1u << 3,
                                     .creation_pcr_selection = sk_pcr(3),
                                     .release_pcr_selection = sk_pcr(3)};
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct vt_auth srk = SPEC_SRK;
    struct sk_sealed s;

    wr_pcr_info_long(&w, &info);
    assert_int_equal(sk_seal(*state, TPM_KH_SRK, &srk, &(struct tpm_blob){(uint32_t)w.len, bytes}, plain, 9, &s),
                     TPM_SUCCESS);
    assert_int_equal(unseal(*state, &s, NULL), TPM_WRONGPCRVAL);
}

/*= p3:10.1#11.a.i */
static void test_seal__bad_pcr_info__badindex(void **state)
{
    static const uint8_t bad[][6] = {
        {0, 0}, {0, 3, 1}, {0, 4, 0, 0, 0, 0}, {0, 6, 1, 0x1F}, {0xFF, 0xFF, 0, 0}};
    struct vt_auth srk = SPEC_SRK;
    struct sk_sealed s;

    for (size_t i = 0; i < VT_COUNT(bad); i++)
        for (uint32_t len = 1; len <= sizeof bad[i]; len++)
            assert_int_equal(sk_seal(*state, TPM_KH_SRK, &srk, &(struct tpm_blob){len, bad[i]}, plain, 9, &s),
                             TPM_BADINDEX);
}

/*= p3:10.2#8 */
static void test_unseal__parent_needs_no_secret__one_session_is_enough(void **state)
{
    struct vt_auth data = tc_secret("data"), wrong = tc_secret("wrong"), auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_STORAGE);
    struct unseal_in in;
    struct tc *tc = *state;
    struct sk_sealed s;
    struct tc_session d;
    struct sk_key key;
    uint32_t handle;

    info.auth_data_usage = TPM_AUTH_NEVER;
    handle = sk_loaded(tc, &info, &key);
    assert_int_equal(sk_seal(tc, handle, &auth, &sk_nothing, plain, 9, &s), TPM_SUCCESS);
    in.in_data = s.data;
    assert_int_equal(tc_oiap(tc, &d, &data), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Unseal, &in, NULL, .handles = {handle}, .auth = {&d}), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &d, &wrong), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Unseal, &in, NULL, .handles = {handle}, .auth = {&d}), TPM_AUTHFAIL);
    /* The SRK needs its own. */
    assert_int_equal(seal_plain(tc, 9, &s), TPM_SUCCESS);
    in.in_data = s.data;
    assert_int_equal(tc_oiap(tc, &d, &data), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Unseal, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&d}), TPM_AUTHFAIL);
}

/* A session for something else does not prove the data's secret. */
static void test_unseal__second_session_is_osap__bad_mode(void **state)
{
    struct vt_auth srk = SPEC_SRK, owner = SPEC_OWNER;
    struct tc_session s, d;
    struct unseal_in in;
    struct tc *tc = *state;
    struct sk_sealed sealed;

    assert_int_equal(seal_plain(tc, 9, &sealed), TPM_SUCCESS);
    in.in_data = sealed.data;
    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &d, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Unseal, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s, &d}),
                     TPM_BAD_MODE);
}

/* Whatever allocation fails: an error, and no session is lost; afterwards it works. */
static void test_unseal__no_memory__refused_and_works_later(void **state)
{
    struct tc *tc = *state;
    struct sk_sealed s;
    unsigned refused = 0;
    tpm_rc rc;

    assert_int_equal(seal_plain(tc, 20, &s), TPM_SUCCESS);
    tc->no_freeze = true;
    for (long after = 0;; after++) {
        (void)vt_alloc_fail_after(after);
        rc = unseal(tc, &s, NULL);
        (void)vt_alloc_fail_after(-1);
        if (!rc)
            break;
        refused++;
        assert_true(rc == TPM_RESOURCES || rc == TPM_FAIL);
        assert_int_equal(session_free_slots(tc->tpm), 16);
        assert_true(after < 1000);
    }
    assert_true(refused > 0);
}

#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_seal__sizes__come_back_or_refused),
        OWNED(test_seal__twice__different_bytes),
        OWNED(test_unseal__wrong_secrets__auth_codes_by_session),
        OWNED(test_seal__under_oiap__bad_mode),
        OWNED(test_seal__secret_by_aes__unseals),
        OWNED(test_seal__parents_that_are_not_for_it__invalid_keyusage),
        OWNED(test_unseal__any_byte_altered__not_a_sealed_blob),
        OWNED(test_unseal__blob_of_another_tpm__not_a_sealed_blob),
        OWNED(test_unseal__stored_digest__is_of_the_header_alone),
        OWNED(test_seal__stored_digest__is_of_the_header_alone),
        OWNED(test_unseal__wrong_parent_or_a_key_blob__not_a_sealed_blob),
        OWNED(test_seal__to_pcrs__opens_with_these_values_only),
        OWNED(test_seal__to_a_locality__opens_there_only),
        OWNED(test_unseal__pcr_and_locality_wrong__wrongpcrval),
        OWNED(test_seal__bad_pcr_info__badindex),
        OWNED(test_unseal__parent_needs_no_secret__one_session_is_enough),
        OWNED(test_unseal__second_session_is_osap__bad_mode),
        OWNED(test_unseal__no_memory__refused_and_works_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
