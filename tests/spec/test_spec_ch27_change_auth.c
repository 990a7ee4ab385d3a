/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 27.4: version 1.1's way to change a secret. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define NEW tc_secret("new")

/* ---- 27.4.1 ---- */

static struct tpm_key_parms parms(uint32_t bits)
{
    return (struct tpm_key_parms){.algorithm_id = TPM_ALG_RSA,
                                  .enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1,
                                  .sig_scheme = TPM_SS_NONE,
                                  .form = TPM_PARMS_RSA,
                                  .parms.rsa = {.key_length = bits, .num_primes = 2}};
}

/* An identity whose secret is "key". */
static uint32_t identity(struct tc *tc, uint8_t auth_data_usage)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key_obj key = spec_key(4, TPM_KEY_IDENTITY, &auth);

    key.auth_data_usage = auth_data_usage;
    return spec_insert(tc, &key);
}

static tpm_rc start(struct tc *tc, uint32_t id, const struct vt_auth *auth, uint32_t bits, struct change_auth_asym_start_out *out)
{
    struct change_auth_asym_start_in in = {.anti_replay = {{5}}, .temp_key = parms(bits)};

    return spec_one(tc, TPM_ORD_ChangeAuthAsymStart, &in, out, id, auth);
}

/* A temporary key; its handle. */
static uint32_t temporary(struct tc *tc)
{
    struct vt_auth auth = tc_secret("key");
    struct change_auth_asym_start_out out;
    uint32_t id = identity(tc, TPM_AUTH_ALWAYS);

    assert_int_equal(start(tc, id, &auth, 1024, &out), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, id, TPM_RT_KEY), TPM_SUCCESS);
    return out.eph_handle;
}

/*= p3:27.4.1#1 p3:27.4.1#2 p3:27.4.1#6 p3:27.4.1#7 p3:27.4.1#8 p3:27.4.1#9 p3:27.4.1#10 */
static void test_change_auth_asym_start__identity__certifies_a_volatile_key(void **state)
{
    struct vt_auth auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct change_auth_asym_start_out out;
    struct change_auth_asym_start_in in = {.temp_key = parms(512)};
    struct tc *tc = *state;
    uint32_t id = identity(tc, TPM_AUTH_ALWAYS), signing;
    uint8_t bytes[256], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    assert_int_equal(start(tc, id, &wrong, 1024, &out), TPM_AUTHFAIL);
    assert_int_equal(start(tc, id, &auth, 500, &out), TPM_BAD_KEY_PROPERTY);
    assert_int_equal(start(tc, id, &auth, 1024, &out), TPM_SUCCESS);
    wr_certify_info(&w, &out.certify_info);
    cr_sha1(digest, bytes, w.len);
    assert_true(spec_signed(&fixture_rsa_key(2048, 4)->pub, digest, &out.sig));
    assert_int_equal(out.certify_info.key_usage, TPM_KEY_AUTHCHANGE);
    assert_int_equal(out.certify_info.key_flags, TPM_VOLATILE);
    assert_int_equal(out.temp_key.enc_data.len, 0);
    assert_int_equal(key_find(tc->tpm, out.eph_handle)->key.usage, TPM_KEY_AUTHCHANGE);
    assert_int_equal(sk_flush(tc, out.eph_handle, TPM_RT_KEY), TPM_SUCCESS);
    signing = spec_load_signing_key(tc, &auth, TPM_AUTH_ALWAYS);
    assert_int_equal(start(tc, signing, &auth, 1024, &out), TPM_INVALID_KEYUSAGE);
    id = identity(tc, TPM_AUTH_NEVER);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuthAsymStart, &in, NULL, .handles = {id}), TPM_SUCCESS);
}

/*= p3:27.4.1#7 */
static void test_change_auth_asym_start__no_slot__nospace(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct change_auth_asym_start_out out;
    struct tc *tc = *state;
    uint32_t id = identity(tc, TPM_AUTH_ALWAYS);

    while (key_free_slots(tc->tpm))
        (void)spec_load_signing_key(tc, &auth, TPM_AUTH_ALWAYS);
    assert_int_equal(start(tc, id, &auth, 1024, &out), TPM_NOSPACE);
}

/* ---- 27.4.2 ---- */

struct request {
    uint16_t type;
    uint32_t parent, temporary;
    struct vt_auth proof, old; /* the parent's or owner's, the entity's */
    const struct tpm_blob *enc;
    size_t short_by;           /* of TPM_CHANGEAUTH_VALIDATE */
};

static tpm_rc finish(struct tc *tc, const struct request *r, struct change_auth_asym_finish_out *out)
{
    const struct key_slot *slot = key_find(tc->tpm, r->temporary);
    struct tpm_changeauth_validate a1 = {.new_auth_secret = NEW, .n1 = {{9}}};
    struct change_auth_asym_finish_in in = {.entity_type = r->type, .enc_data = *r->enc};
    struct cr_drbg drbg = {.k = {4}};
    uint8_t plain[64], enc[CR_RSA_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    struct tc_session s;

    wr_changeauth_validate(&w, &a1);
    cr_hmac_sha1v(in.new_auth_link.bytes, r->old.bytes, 20, &CR_SLICE(a1.new_auth_secret.bytes, 20), 1);
    in.enc_new_auth = (struct tpm_blob){.len = 128, .data = enc};
    if (slot && slot->key.usage == TPM_KEY_AUTHCHANGE)
        assert_int_equal(cr_rsa_oaep_encrypt(&slot->key.rsa.pub, "TCPA", 4, plain, w.len - r->short_by, &drbg, enc), VT_OK);
    else
        memset(enc, 0, sizeof enc);
    assert_int_equal(tc_oiap(tc, &s, &r->proof), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_ChangeAuthAsymFinish, &in, out, .handles = {r->parent, r->temporary}, .auth = {&s});
}

static void make_key(struct tc *tc, struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);

    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, key), TPM_SUCCESS);
}

/*= p3:27.4.2#1 p3:27.4.2#3 p3:27.4.2#4 p3:27.4.2#5 p3:27.4.2#6 p3:27.4.2#7 p3:27.4.2#8 p3:27.4.2#9 p3:27.4.2#10 p3:27.4.2#11 */
static void test_change_auth_asym_finish__key__new_secret_and_proof(void **state)
{
    struct vt_auth srk = SPEC_SRK, fresh = NEW;
    struct sign_in text = {.area_to_sign = {.len = 20, .data = fresh.bytes}};
    struct change_auth_asym_finish_out out;
    struct tc *tc = *state;
    struct request r = {.type = TPM_ET_KEY, .parent = TPM_KH_SRK, .proof = SPEC_OWNER, .old = tc_secret("key")};
    uint8_t proof[TPM_DIGEST_LEN];
    struct tpm_nonce n1 = {{9}};
    struct sk_key key;
    uint32_t handle;

    make_key(tc, &key);
    r.temporary = temporary(tc);
    r.enc = &key.key.enc_data;
    assert_int_equal(finish(tc, &r, &out), TPM_SUCCESS);
    cr_hmac_sha1v(proof, fresh.bytes, 20, (struct cr_slice[]){CR_SLICE(out.salt_nonce.bytes, 20), CR_SLICE(n1.bytes, 20)}, 2);
    assert_memory_equal(out.change_proof.bytes, proof, sizeof proof);
    memcpy(key.bytes + key.len - out.out_data.len, out.out_data.data, out.out_data.len);
    sk_key_reread(&key);
    assert_null(key_find(tc->tpm, r.temporary));
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(spec_one(tc, TPM_ORD_Sign, &text, NULL, handle, &fresh), TPM_SUCCESS);
}

/*= p3:27.4.2#2 */
static void test_change_auth_asym_finish__sealed_data__new_secret(void **state)
{
    struct vt_auth srk = SPEC_SRK, fresh = NEW;
    struct change_auth_asym_finish_out out;
    struct tc *tc = *state;
    struct request r = {.type = TPM_ET_DATA, .parent = TPM_KH_SRK, .proof = SPEC_OWNER, .old = tc_secret("data")};
    struct sk_sealed sealed;

    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &sealed), TPM_SUCCESS);
    r.temporary = temporary(tc);
    r.enc = &sealed.data.enc_data;
    assert_int_equal(finish(tc, &r, &out), TPM_SUCCESS);
    memcpy(sealed.bytes + sealed.len - out.out_data.len, out.out_data.data, out.out_data.len);
    sk_sealed_reread(&sealed);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &fresh, &sealed, NULL), TPM_SUCCESS);
}

/*= p3:27.4.2#1 p3:27.4.2#2 p3:27.4.2#4 p3:27.4.2#6 */
static void test_change_auth_asym_finish__unfit_requests__codes_and_guesses_count(void **state)
{
    struct vt_auth key_auth = tc_secret("key");
    struct tc *tc = *state;
    struct request good = {.type = TPM_ET_KEY, .parent = TPM_KH_SRK, .proof = SPEC_OWNER, .old = key_auth}, r;
    uint32_t failures;
    struct sk_key key;

    make_key(tc, &key);
    good.temporary = temporary(tc);
    good.enc = &key.key.enc_data;
    r = good;
    r.proof = SPEC_SRK;
    assert_int_equal(finish(tc, &r, NULL), TPM_AUTHFAIL);
    failures = tc->tpm->perm.da.failures;
    r = good;
    r.old = tc_secret("wrong");
    assert_int_equal(finish(tc, &r, NULL), TPM_AUTHFAIL);
    assert_int_equal(tc->tpm->perm.da.failures, failures + 1);
    r = good;
    r.type = TPM_ET_SRK;
    assert_int_equal(finish(tc, &r, NULL), TPM_WRONG_ENTITYTYPE);
    r = good;
    r.temporary = 0x01FFFFFF;
    assert_int_equal(finish(tc, &r, NULL), TPM_INVALID_KEYHANDLE);
    r.temporary = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(finish(tc, &r, NULL), TPM_BAD_PARAMETER);
    r = good;
    r.parent = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    r.proof = key_auth;
    assert_int_equal(finish(tc, &r, NULL), TPM_INVALID_KEYUSAGE);
    r = good;
    r.short_by = 1;
    assert_int_equal(finish(tc, &r, NULL), TPM_BAD_PARAM_SIZE);
    assert_int_equal(finish(tc, &good, NULL), TPM_SUCCESS);
}

/*= p3:27.4.2#1 */
static void test_change_auth_asym_finish__parent_without_a_secret__needs_no_session(void **state)
{
    struct vt_auth key_auth = tc_secret("key"), fresh = NEW;
    struct tc *tc = *state;
    struct tpm_key_obj parent = spec_key(3, TPM_KEY_STORAGE, &key_auth);
    struct tpm_changeauth_validate a1 = {.new_auth_secret = fresh};
    struct change_auth_asym_finish_in in = {.entity_type = TPM_ET_KEY};
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct cr_drbg drbg = {.k = {4}};
    uint8_t plain[64], enc[CR_RSA_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    uint32_t eph, handle, closed;
    struct sk_key key;

    closed = spec_insert(tc, &parent);
    assert_int_equal(sk_create(tc, closed, &key_auth, &key_auth, &info, &key), TPM_SUCCESS);
    eph = temporary(tc);
    wr_changeauth_validate(&w, &a1);
    cr_hmac_sha1v(in.new_auth_link.bytes, key_auth.bytes, 20, &CR_SLICE(fresh.bytes, 20), 1);
    assert_int_equal(cr_rsa_oaep_encrypt(&key_find(tc->tpm, eph)->key.rsa.pub, "TCPA", 4, plain, w.len, &drbg, enc), VT_OK);
    in.enc_new_auth = (struct tpm_blob){.len = 128, .data = enc};
    in.enc_data = key.key.enc_data;
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuthAsymFinish, &in, NULL, .handles = {closed, eph}), TPM_AUTHFAIL);
    parent.auth_data_usage = TPM_AUTH_NEVER;
    handle = spec_insert(tc, &parent);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuthAsymFinish, &in, NULL, .handles = {handle, eph}), TPM_SUCCESS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_change_auth_asym_start__identity__certifies_a_volatile_key),
        T(test_change_auth_asym_start__no_slot__nospace),
        T(test_change_auth_asym_finish__key__new_secret_and_proof),
        T(test_change_auth_asym_finish__sealed_data__new_secret),
        T(test_change_auth_asym_finish__unfit_requests__codes_and_guesses_count),
        T(test_change_auth_asym_finish__parent_without_a_secret__needs_no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
