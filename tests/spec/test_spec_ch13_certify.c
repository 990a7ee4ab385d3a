/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 13.8 and 13.9: one key certifies another. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define CERT   tc_secret("cert")
#define TARGET tc_secret("target")

static uint32_t load(struct tc *tc, unsigned index, uint16_t usage, const struct vt_auth *secret,
                     uint8_t auth_data_usage, uint32_t flags)
{
    struct tpm_key_obj key = spec_key(index, usage, secret);

    key.auth_data_usage = auth_data_usage;
    key.flags = flags;
    return spec_insert(tc, &key);
}

/* Both with their secrets; the order of keys and sessions is each command's own. */
static tpm_rc certify(struct tc *tc, uint32_t cert, uint32_t key, struct certify_key_out *out)
{
    struct certify_key_in in = {.anti_replay = {{9}}};
    struct vt_auth cert_auth = CERT, key_auth = TARGET;
    struct tc_session a, b;

    assert_int_equal(tc_oiap(tc, &a, &cert_auth), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &key_auth), TPM_SUCCESS);
    a.ends = b.ends = true;
    return TC(tc, TPM_ORD_CertifyKey, &in, out, .handles = {cert, key}, .auth = {&a, &b});
}

static tpm_rc certify2(struct tc *tc, uint32_t cert, uint32_t key, const struct tpm_digest *authorities,
                       struct certify_key2_out *out)
{
    struct certify_key2_in in = {.migration_pub_digest = *authorities, .anti_replay = {{9}}};
    struct vt_auth cert_auth = CERT, key_auth = TARGET;
    struct tc_session a, b;

    assert_int_equal(tc_oiap(tc, &a, &key_auth), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &cert_auth), TPM_SUCCESS);
    a.ends = b.ends = true;
    return TC(tc, TPM_ORD_CertifyKey2, &in, out, .handles = {key, cert}, .auth = {&a, &b});
}

static bool info_signed(const struct tpm_certify_either *info, const struct tpm_blob *sig)
{
    uint8_t bytes[400], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_certify_either(&w, info);
    assert_false(w.bad);
    cr_sha1(digest, bytes, w.len);
    return spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, sig);
}

static bool info2_signed(const struct tpm_certify_info2 *info, const struct tpm_blob *sig)
{
    struct tpm_certify_either either = {.is_2 = true, .info2 = *info};

    return info_signed(&either, sig);
}

static void setup(struct tc *tc, uint32_t *cert, uint32_t *key)
{
    struct vt_auth c = CERT, t = TARGET;

    *cert = load(tc, 7, TPM_KEY_SIGNING, &c, TPM_AUTH_ALWAYS, 0);
    *key = load(tc, 5, TPM_KEY_STORAGE, &t, TPM_AUTH_ALWAYS, 0);
}

/*= p3:13.8#10 p3:13.8#11 p3:13.8#12 p3:13.8#13 p3:13.8#15 p3:13.8#2.a */
static void test_certify__unbound_key__certify_info(void **state)
{
    struct certify_key_out out;
    uint8_t digest[TPM_DIGEST_LEN];
    uint32_t cert, key;

    setup(*state, &cert, &key);
    assert_int_equal(certify(*state, cert, key, &out), TPM_SUCCESS);
    assert_false(out.certify_info.is_2);
    cr_sha1(digest, fixture_rsa_key(2048, 5)->pub.n, 256);
    assert_memory_equal(out.certify_info.info.pubkey_digest.bytes, digest, sizeof digest);
    assert_int_equal(out.certify_info.info.data.bytes[0], 9);
    assert_int_equal(out.certify_info.info.key_usage, TPM_KEY_STORAGE);
    assert_int_equal(out.certify_info.info.pcr_info.len, 0);
    assert_false(out.certify_info.info.parent_pcr_status);
    assert_true(info_signed(&out.certify_info, &out.out_data));
}

/*= p3:13.9#6 p3:13.9#7 p3:13.9#9 p3:13.9#12 p3:13.9#14 p3:13.9#15 p3:13.9#2.a */
static void test_certify2__unbound_key__certify_info2(void **state)
{
    struct certify_key2_out out;
    uint32_t cert, key;

    setup(*state, &cert, &key);
    assert_int_equal(certify2(*state, cert, key, &(struct tpm_digest){{0}}, &out), TPM_SUCCESS);
    assert_int_equal(out.certify_info.payload_type, TPM_PT_ASYM);
    assert_int_equal(out.certify_info.migration_authority.len, 0);
    assert_int_equal(out.certify_info.pcr_info.len, 0);
    assert_int_equal(out.certify_info.data.bytes[0], 9);
    assert_true(info2_signed(&out.certify_info, &out.out_data));
}

/* A TPM_KEY12 bound to one PCR and localities; ver 1.1: to the PCR only. */
static uint32_t load_bound(struct tc *tc, unsigned pcr, uint8_t localities, bool right, uint32_t flags)
{
    struct vt_auth secret = TARGET;
    struct tpm_key_obj key = spec_key(5, TPM_KEY_STORAGE, &secret);
    struct tpm_pcr_info_long info = {
        .locality_at_creation = TPM_LOC_ZERO,
        .locality_at_release = localities,
        .creation_pcr_selection = sk_pcr(pcr),
        .release_pcr_selection = sk_pcr(pcr),
    };
    struct wr w = wr_to(key.pcr_info, sizeof key.pcr_info);

    pcr_composite_hash(tc->tpm, &info.release_pcr_selection, info.digest_at_release.bytes);
    info.digest_at_release.bytes[3] ^= !right;
    wr_pcr_info_long(&w, &info);
    key.is_key12 = true;
    key.flags = flags;
    key.pcr_info_len = (uint8_t)w.len;
    return spec_insert(tc, &key);
}

/*= p3:13.8#7 p3:13.8#8 p3:13.8#9 */
static void test_certify__bound_key__form_by_pcrs_and_locality(void **state)
{
    static const struct {
        unsigned pcr;
        uint8_t localities;
        bool is_2;
    } rows[] = {{10, TPM_LOC_ALL, false}, {16, TPM_LOC_ALL, true}, {10, TPM_LOC_ZERO, true}};
    struct certify_key_out out;
    struct tc *tc = *state;
    uint32_t cert, key;

    setup(tc, &cert, &key);
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct tpm_pcr_info_short release;
        struct tpm_pcr_info info;
        struct rd r;

        key = load_bound(tc, rows[i].pcr, rows[i].localities, true, 0);
        assert_int_equal(certify(tc, cert, key, &out), TPM_SUCCESS);
        assert_int_equal(out.certify_info.is_2, rows[i].is_2);
        assert_true(info_signed(&out.certify_info, &out.out_data));
        if (rows[i].is_2) {
            r = rd_from(out.certify_info.info2.pcr_info.data, out.certify_info.info2.pcr_info.len);
            rd_pcr_info_short(&r, &release);
            assert_int_equal(rd_result(&r), TPM_SUCCESS);
            assert_int_equal(release.locality_at_release, rows[i].localities);
            assert_int_equal(out.certify_info.info2.migration_authority.len, 0);
        } else {
            r = rd_from(out.certify_info.info.pcr_info.data, out.certify_info.info.pcr_info.len);
            rd_pcr_info(&r, &info);
            assert_int_equal(rd_result(&r), TPM_SUCCESS);
            assert_true(spec_all(info.digest_at_creation.bytes, TPM_DIGEST_LEN, 0));
            assert_false(spec_all(info.digest_at_release.bytes, TPM_DIGEST_LEN, 0));
        }
    }
}

/*= p3:13.8#9.a p3:13.9#13 */
static void test_certify__pcrs_not_met__wrongpcrval_unless_ignored_on_read(void **state)
{
    struct certify_key2_out out2;
    struct tpm_digest none = {{0}};
    struct tc *tc = *state;
    uint32_t cert, key;

    setup(tc, &cert, &key);
    key = load_bound(tc, 10, TPM_LOC_ALL, false, 0);
    assert_int_equal(certify(tc, cert, key, NULL), TPM_WRONGPCRVAL);
    assert_int_equal(certify2(tc, cert, key, &none, NULL), TPM_WRONGPCRVAL);
    key = load_bound(tc, 10, TPM_LOC_ALL, false, TPM_PCRIGNOREDONREAD);
    assert_int_equal(certify(tc, cert, key, NULL), TPM_SUCCESS);
    assert_int_equal(certify2(tc, cert, key, &none, &out2), TPM_SUCCESS);
    assert_int_not_equal(out2.certify_info.pcr_info.len, 0);
    key = load_bound(tc, 10, TPM_LOC_TWO, true, 0);
    assert_int_equal(certify(tc, cert, key, NULL), TPM_WRONGPCRVAL);
}

/*= p3:13.8#1 p3:13.8#5 p3:13.8#6 p3:13.9#1 p3:13.9#4 p3:13.9#5 */
static void test_certify__unfit_keys__codes(void **state)
{
    struct vt_auth c = CERT, t = TARGET;
    struct tpm_digest none = {{0}};
    struct tc *tc = *state;
    struct tpm_key_obj der = spec_key(7, TPM_KEY_SIGNING, &c), odd = spec_key(4, TPM_KEY_STORAGE, &c);
    uint32_t cert, key, storage, change, bad;

    setup(tc, &cert, &key);
    storage = load(tc, 4, TPM_KEY_STORAGE, &c, TPM_AUTH_ALWAYS, 0);
    assert_int_equal(certify(tc, storage, key, NULL), TPM_BAD_KEY_PROPERTY);
    assert_int_equal(certify2(tc, storage, key, &none, NULL), TPM_BAD_KEY_PROPERTY);
    der.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    assert_int_equal(certify(tc, spec_insert(tc, &der), key, NULL), TPM_BAD_KEY_PROPERTY);
    /* A key that cannot be made, only to get past the scheme. */
    odd.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    bad = spec_insert(tc, &odd);
    assert_int_equal(certify(tc, bad, key, NULL), TPM_INVALID_KEYUSAGE);
    assert_int_equal(certify2(tc, bad, key, &none, NULL), TPM_INVALID_KEYUSAGE);
    change = load(tc, 3, TPM_KEY_MIGRATE, &t, TPM_AUTH_ALWAYS, 0);
    assert_int_equal(certify(tc, cert, change, NULL), TPM_INVALID_KEYUSAGE);
    assert_int_equal(certify2(tc, cert, change, &none, NULL), TPM_INVALID_KEYUSAGE);
    assert_int_equal(certify(tc, cert, 0x01777777, NULL), TPM_INVALID_KEYHANDLE);
}

/*= p3:13.8#3 p3:13.8#4 p3:13.9#3 */
static void test_certify__identity_and_migratable__migratefail(void **state)
{
    struct vt_auth c = CERT, t = TARGET;
    struct tpm_digest none = {{0}};
    struct tc *tc = *state;
    struct tpm_key_obj cmk = spec_key(3, TPM_KEY_STORAGE, &t);
    uint32_t cert, key, identity, migratable, restricted;

    setup(tc, &cert, &key);
    identity = load(tc, 7, TPM_KEY_IDENTITY, &c, TPM_AUTH_ALWAYS, 0);
    migratable = load(tc, 3, TPM_KEY_SIGNING, &t, TPM_AUTH_ALWAYS, TPM_MIGRATABLE);
    assert_int_equal(certify(tc, identity, migratable, NULL), TPM_MIGRATEFAIL);
    assert_int_equal(certify2(tc, identity, migratable, &none, NULL), TPM_MIGRATEFAIL);
    assert_int_equal(certify(tc, cert, migratable, NULL), TPM_SUCCESS);
    assert_int_equal(certify2(tc, identity, key, &none, NULL), TPM_SUCCESS);
    cmk.payload = TPM_PT_MIGRATE_RESTRICTED;
    cmk.flags = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;
    restricted = spec_insert(tc, &cmk);
    assert_int_equal(certify(tc, cert, restricted, NULL), TPM_INVALID_KEYUSAGE);
    /* Its ticket is not for these authorities. */
    assert_int_equal(certify2(tc, identity, restricted, &none, NULL), TPM_MA_SOURCE);
}

/*= p3:13.9#11 */
static void test_certify2__certified_migration_key__names_its_authority(void **state)
{
    struct vt_auth t = TARGET;
    struct tpm_digest authorities = {{7, 7}};
    struct tc *tc = *state;
    struct tpm_key_obj cmk = spec_key(3, TPM_KEY_STORAGE, &t);
    struct certify_key2_out out;
    uint8_t migauth[2 + 2 * TPM_DIGEST_LEN], expected[TPM_DIGEST_LEN];
    struct wr w = wr_to(migauth, sizeof migauth);
    uint32_t cert, key;

    setup(tc, &cert, &key);
    wr_put16(&w, TPM_TAG_CMK_MIGAUTH);
    wr_copy(&w, authorities.bytes, TPM_DIGEST_LEN);
    key_pubkey_digest(&cmk, wr_room(&w, TPM_DIGEST_LEN));
    cr_hmac_sha1v(cmk.migration_auth.bytes, tc->tpm->perm.tpm_proof.bytes, TPM_DIGEST_LEN,
                  &CR_SLICE(migauth, w.len), 1);
    cmk.payload = TPM_PT_MIGRATE_EXTERNAL;
    cmk.flags = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;
    key = spec_insert(tc, &cmk);
    assert_int_equal(certify2(tc, cert, key, &authorities, &out), TPM_SUCCESS);
    assert_int_equal(out.certify_info.payload_type, TPM_PT_MIGRATE_EXTERNAL);
    cr_sha1v(expected,
             (struct cr_slice[]){CR_SLICE(authorities.bytes, TPM_DIGEST_LEN), CR_SLICE(&cmk.payload, 1)}, 2);
    assert_int_equal(out.certify_info.migration_authority.len, sizeof expected);
    assert_memory_equal(out.certify_info.migration_authority.data, expected, sizeof expected);
    assert_true(info2_signed(&out.certify_info, &out.out_data));
}

/*= p3:13.8#2 p3:13.9#2 */
static void test_certify__fewer_sessions__by_auth_data_usage(void **state)
{
    struct certify_key_in in = {.anti_replay = {{9}}};
    struct certify_key2_in in2 = {.anti_replay = {{9}}};
    struct vt_auth c = CERT, t = TARGET;
    struct tc *tc = *state;
    uint32_t cert, key, free_cert, free_key, read_key;

    setup(tc, &cert, &key);
    free_cert = load(tc, 7, TPM_KEY_SIGNING, &c, TPM_AUTH_NEVER, 0);
    free_key = load(tc, 5, TPM_KEY_STORAGE, &t, TPM_AUTH_NEVER, 0);
    read_key = load(tc, 5, TPM_KEY_STORAGE, &t, TPM_NO_READ_PUBKEY_AUTH, 0);
    /* None: neither asks for one. */
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {free_cert, free_key}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {free_cert, read_key}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {free_cert, key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {cert, free_key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey2, &in2, NULL, .handles = {read_key, free_cert}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey2, &in2, NULL, .handles = {key, free_cert}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_CertifyKey2, &in2, NULL, .handles = {free_key, cert}), TPM_AUTHFAIL);
    /* One: the second key's. */
    in.anti_replay.bytes[0] = 1;
    {
        struct tc_session s;

        assert_int_equal(tc_oiap(tc, &s, &t), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {free_cert, key}, .auth = {&s}),
                         TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {cert, key}, .auth = {&s}),
                         TPM_AUTHFAIL);
        assert_int_equal(tc_oiap(tc, &s, &c), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CertifyKey2, &in2, NULL, .handles = {read_key, cert}, .auth = {&s}),
                         TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CertifyKey2, &in2, NULL, .handles = {key, cert}, .auth = {&s}),
                         TPM_AUTHFAIL);
    }
}

/*= p3:13.8#2.a p3:13.9#2.a */
static void test_certify__wrong_secrets__first_and_second(void **state)
{
    struct certify_key_in in = {.anti_replay = {{9}}};
    struct vt_auth c = CERT, t = TARGET;
    struct tc_session a, b;
    struct tc *tc = *state;
    uint32_t cert, key;

    setup(tc, &cert, &key);
    for (unsigned bad = 0; bad < 2; bad++) {
        assert_int_equal(tc_oiap(tc, &a, &c), TPM_SUCCESS);
        assert_int_equal(tc_oiap(tc, &b, &t), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_CertifyKey, &in, NULL, .handles = {cert, key}, .auth = {&a, &b},
                            .wrong_hmac = {bad == 0, bad == 1}),
                         bad ? TPM_AUTH2FAIL : TPM_AUTHFAIL);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_certify__unbound_key__certify_info),
        T(test_certify2__unbound_key__certify_info2),
        T(test_certify__bound_key__form_by_pcrs_and_locality),
        T(test_certify__pcrs_not_met__wrongpcrval_unless_ignored_on_read),
        T(test_certify__unfit_keys__codes),
        T(test_certify__identity_and_migratable__migratefail),
        T(test_certify2__certified_migration_key__names_its_authority),
        T(test_certify__fewer_sessions__by_auth_data_usage),
        T(test_certify__wrong_secrets__first_and_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
