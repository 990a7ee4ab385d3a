/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 17: secrets change. */
#include "tests/spec/spec_keys.h"

#define NEW tc_secret("new")

struct request {
    uint16_t protocol, type;
    const struct tpm_blob *enc;
    struct vt_auth old; /* what the entity's session proves */
    bool entity_osap;
};

static tpm_rc change(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                     const struct request *r, struct change_auth_out *out)
{
    struct change_auth_in in = {.protocol_id = r->protocol, .entity_type = r->type, .enc_data = *r->enc};
    struct vt_auth fresh = NEW;
    struct tc_session a, b;
    tpm_rc rc;

    assert_int_equal(tc_osap(tc, &a, TPM_ET_KEYHANDLE, parent, parent_auth), TPM_SUCCESS);
    if (r->entity_osap)
        assert_int_equal(tc_osap(tc, &b, TPM_ET_KEYHANDLE, parent, parent_auth), TPM_SUCCESS);
    else
        assert_int_equal(tc_oiap(tc, &b, &r->old), TPM_SUCCESS);
    tc_encrypt_auth(&a, false, false, &fresh, &in.new_auth);
    rc = TC(tc, TPM_ORD_ChangeAuth, &in, out, .handles = {parent}, .auth = {&a, &b});
    /* 13. */
    if (!rc)
        assert_true(a.handle == 0 && b.handle == 0);
    return rc;
}

static void make_key(struct tc *tc, struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);

    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, key), TPM_SUCCESS);
}

/* The key with another encData. */
static void put_enc(struct sk_key *key, const struct tpm_blob *enc)
{
    assert_int_equal(enc->len, key->key.enc_data.len);
    memcpy(key->bytes + key->len - enc->len, enc->data, enc->len);
    sk_key_reread(key);
}

/*= p3:17.1#6 p3:17.1#9 p3:17.1#10 p3:17.1#11 p3:17.1#12 p3:17.1#13 */
static void test_change_auth__key__new_secret_proves_it(void **state)
{
    struct vt_auth srk = SPEC_SRK, fresh = NEW;
    struct sign_in text = {.area_to_sign = {.len = 20, .data = fresh.bytes}};
    struct change_auth_out out;
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle;

    make_key(tc, &key);
    assert_int_equal(
        change(tc, TPM_KH_SRK, &srk,
               &(struct request){TPM_PID_ADCP, TPM_ET_KEY, &key.key.enc_data, tc_secret("key"), false}, &out),
        TPM_SUCCESS);
    put_enc(&key, &out.out_data);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, handle, fresh.bytes, 20, NULL), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_Sign, &text, NULL, handle, &fresh), TPM_SUCCESS);
}

/*= p3:17.1#10 p3:17.1#11 */
static void test_change_auth__sealed_data__new_secret_opens_it(void **state)
{
    struct vt_auth srk = SPEC_SRK, fresh = NEW, old = tc_secret("data");
    struct change_auth_out out;
    struct tpm_blob secret;
    struct tc *tc = *state;
    struct sk_sealed sealed;

    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &sealed), TPM_SUCCESS);
    assert_int_equal(change(tc, TPM_KH_SRK, &srk,
                            &(struct request){TPM_PID_ADCP, TPM_ET_DATA, &sealed.data.enc_data, old, false},
                            &out),
                     TPM_SUCCESS);
    memcpy(sealed.bytes + sealed.len - out.out_data.len, out.out_data.data, out.out_data.len);
    sk_sealed_reread(&sealed);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &old, &sealed, NULL), TPM_AUTH2FAIL);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &fresh, &sealed, &secret), TPM_SUCCESS);
    assert_memory_equal(secret.data, "abc", 3);
}

/*= p3:17.1#1 p3:17.1#3 p3:17.1#4 p3:17.1#7 p3:17.1#8 p3:17.1#10 */
static void test_change_auth__unfit_requests__codes(void **state)
{
    struct vt_auth srk = SPEC_SRK, old = tc_secret("key");
    struct tc *tc = *state;
    struct sk_sealed sealed;
    struct sk_key key;
    struct tpm_blob junk = {.len = 256, .data = key.bytes}, *enc = &key.key.enc_data;
    uint32_t signing;

    make_key(tc, &key);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &sealed), TPM_SUCCESS);
    {
        const struct {
            struct request r;
            tpm_rc rc;
        } rows[] = {
            {{TPM_PID_ADCP, TPM_ET_SRK, enc, old, false}, TPM_WRONG_ENTITYTYPE},
            {{TPM_PID_ADCP, TPM_ET_KEYHANDLE, enc, old, false}, TPM_WRONG_ENTITYTYPE},
            {{TPM_PID_ADCP, TPM_ET_KEY, enc, old, true}, TPM_BAD_MODE},
            {{TPM_PID_OWNER, TPM_ET_KEY, enc, old, false}, TPM_BAD_PARAMETER},
            {{TPM_PID_ADCP, TPM_ET_KEY, enc, tc_secret("wrong"), false}, TPM_AUTH2FAIL},
            /* One kind under the other's name; they have the same shape. */
            {{TPM_PID_ADCP, TPM_ET_KEY, &sealed.data.enc_data, tc_secret("data"), false},
             TPM_INVALID_STRUCTURE},
            {{TPM_PID_ADCP, TPM_ET_DATA, enc, old, false}, TPM_INVALID_STRUCTURE},
            {{TPM_PID_ADCP, TPM_ET_KEY, &junk, old, false}, TPM_DECRYPT_ERROR},
        };

        for (size_t i = 0; i < VT_COUNT(rows); i++)
            assert_int_equal(change(tc, TPM_KH_SRK, &srk, &rows[i].r, NULL), rows[i].rc);
    }
    signing = spec_load_signing_key(tc, &old, TPM_AUTH_ALWAYS);
    assert_int_equal(
        change(tc, signing, &old, &(struct request){TPM_PID_ADCP, TPM_ET_KEY, enc, old, false}, NULL),
        TPM_INVALID_KEYUSAGE);
}

/*= p3:17.1#2 p3:17.1#7 */
static void test_change_auth__parents_session__must_be_osap_and_right(void **state)
{
    struct vt_auth srk = SPEC_SRK, old = tc_secret("key");
    struct tc *tc = *state;
    struct tc_session a, b;
    struct sk_key key;
    struct change_auth_in in;

    make_key(tc, &key);
    in = (struct change_auth_in){
        .protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_KEY, .enc_data = key.key.enc_data};
    assert_int_equal(tc_oiap(tc, &a, &srk), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &old), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuth, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&a, &b}),
                     TPM_BAD_MODE);
    assert_int_equal(tc_osap(tc, &a, TPM_ET_SRK, 0, &srk), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &old), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuth, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&a, &b},
                        .wrong_hmac = {true}),
                     TPM_AUTHFAIL);
}

/* ---- 17.2 ---- */

static tpm_rc change_owner(struct tc *tc, uint16_t protocol, uint16_t type, struct tc_session *s)
{
    struct change_auth_owner_in in = {.protocol_id = protocol, .entity_type = type};
    struct vt_auth owner = SPEC_OWNER, fresh = NEW;
    struct tc_session own;

    if (!s) {
        s = &own;
        assert_int_equal(tc_osap(tc, s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    }
    tc_encrypt_auth(s, false, false, &fresh, &in.new_auth);
    return TC(tc, TPM_ORD_ChangeAuthOwner, &in, NULL, .auth = {s});
}

static tpm_rc as_owner(struct tc *tc, const struct vt_auth *secret)
{
    struct owner_set_disable_in in = {.disable_state = false};

    return spec_one(tc, TPM_ORD_OwnerSetDisable, &in, NULL, 0, secret);
}

/*= p3:17.2#1 p3:17.2#5 p3:17.2#6 p3:17.2#7 p3:17.2#8 */
static void test_change_auth_owner__owner__new_secret_and_old_sessions_end(void **state)
{
    struct vt_auth owner = SPEC_OWNER, fresh = NEW;
    struct owner_set_disable_in in = {.disable_state = false};
    struct tc *tc = *state;
    struct tc_session other, s;

    assert_int_equal(tc_osap(tc, &other, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(change_owner(tc, TPM_PID_ADCP, TPM_ET_OWNER, &s), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {&other}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(as_owner(tc, &owner), TPM_AUTHFAIL);
    assert_int_equal(as_owner(tc, &fresh), TPM_SUCCESS);
}

/*= p3:17.2#7 */
static void test_change_auth_owner__srk__new_secret(void **state)
{
    struct vt_auth srk = SPEC_SRK, fresh = NEW;
    struct sk_sealed sealed;
    struct tc *tc = *state;

    assert_int_equal(change_owner(tc, TPM_PID_ADCP, TPM_ET_SRK, NULL), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &sealed), TPM_AUTHFAIL);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &fresh, &sk_nothing, "abc", 3, &sealed), TPM_SUCCESS);
}

/*= p3:17.2#2 p3:17.2#3 p3:17.2#4 */
static void test_change_auth_owner__unfit_requests__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    struct tc *tc = *state;
    struct tc_session s;

    assert_int_equal(change_owner(tc, TPM_PID_OWNER, TPM_ET_OWNER, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(change_owner(tc, TPM_PID_ADCP, TPM_ET_KEY, NULL), TPM_WRONG_ENTITYTYPE);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(change_owner(tc, TPM_PID_ADCP, TPM_ET_OWNER, &s), TPM_BAD_MODE);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_SRK, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(change_owner(tc, TPM_PID_ADCP, TPM_ET_OWNER, &s), TPM_AUTHFAIL);
    assert_int_equal(as_owner(tc, &owner), TPM_SUCCESS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_change_auth__key__new_secret_proves_it),
        T(test_change_auth__sealed_data__new_secret_opens_it),
        T(test_change_auth__unfit_requests__codes),
        T(test_change_auth__parents_session__must_be_osap_and_right),
        T(test_change_auth_owner__owner__new_secret_and_old_sessions_end),
        T(test_change_auth_owner__srk__new_secret),
        T(test_change_auth_owner__unfit_requests__codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
