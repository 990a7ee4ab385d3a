/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 11: keys leave for another parent. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"
#include "tests/spec/spec_migration.h"

/* ---- 11.3 ---- */

/*= p3:11.3#1 p3:11.3#4 */
static void test_authorize_migration_key__unfit_keys__codes(void **state)
{
    struct tc *tc = *state;
    struct tpm_pubkey good = sm_pubkey(3), key;
    struct tpm_migrationkeyauth auth;

    key = good;
    key.algorithm_parms.parms.rsa.key_length = 1024;
    key.pub_key.len = 128;
    assert_int_equal(sm_authorize(tc, &key, TPM_MS_MIGRATE, &auth), TPM_BAD_KEY_PROPERTY);
    key = good;
    key.algorithm_parms.parms.rsa.exponent = (struct tpm_blob){.len = 1, .data = (const uint8_t *)"\3"};
    assert_int_equal(sm_authorize(tc, &key, TPM_MS_MIGRATE, &auth), TPM_BAD_KEY_PROPERTY);
    key = good;
    key.algorithm_parms.enc_scheme = TPM_ES_RSAESPKCSv15;
    assert_int_equal(sm_authorize(tc, &key, TPM_MS_MIGRATE, &auth), TPM_INAPPROPRIATE_ENC);
}

/*= p3:11.3#2 */
static void test_authorize_migration_key__wrong_owner__authfail(void **state)
{
    struct authorize_migration_key_in in = {.migration_scheme = TPM_MS_MIGRATE, .migration_key = sm_pubkey(3)};
    struct vt_auth wrong = tc_secret("wrong");

    assert_int_equal(spec_one(*state, TPM_ORD_AuthorizeMigrationKey, &in, NULL, 0, &wrong), TPM_AUTHFAIL);
}

/*= p3:11.3#3 p3:11.3#5 p3:11.3#6 p3:11.3#7 p3:11.3#8 p3:11.3#9 */
static void test_authorize_migration_key__good_key__digest_of_key_scheme_and_proof(void **state)
{
    struct tc *tc = *state;
    struct tpm_pubkey key = sm_pubkey(3);
    struct tpm_migrationkeyauth auth;
    uint8_t bytes[512], expected[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    assert_int_equal(sm_authorize(tc, &key, TPM_MS_REWRAP, &auth), TPM_SUCCESS);
    wr_pubkey(&w, &key);
    wr_put16(&w, TPM_MS_REWRAP);
    wr_copy(&w, tc->tpm->perm.tpm_proof.bytes, TPM_DIGEST_LEN);
    cr_sha1(expected, bytes, w.len);
    assert_memory_equal(auth.digest.bytes, expected, sizeof expected);
    assert_int_equal(auth.migration_scheme, TPM_MS_REWRAP);
}

/* ---- 11.1 and 11.2 ---- */

static uint32_t new_parent(struct tc *tc)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key_obj parent = spec_key(3, TPM_KEY_STORAGE, &auth);

    return spec_insert(tc, &parent);
}

static void load_and_sign(struct tc *tc, uint32_t parent, struct sk_key *key, const struct tpm_blob *enc)
{
    struct vt_auth auth = tc_secret("key");
    uint32_t handle;

    assert_int_equal(enc->len, key->key.enc_data.len);
    memcpy(key->bytes + key->len - enc->len, enc->data, enc->len);
    sk_key_reread(key);
    assert_int_equal(sk_load(tc, parent, &auth, key, &handle), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, handle, "12345678901234567890", 20, NULL), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, handle, TPM_RT_KEY), TPM_SUCCESS);
}

/*= p3:11.1#1 p3:11.1#3 p3:11.1#4 p3:11.1#5 p3:11.1#6 p3:11.2#1 p3:11.2#3 p3:11.2#4 p3:11.2#5 p3:11.2#6 p3:11.2#7 p3:11.2#8 p3:11.2#9 */
static void test_create_migration_blob__migrate__converts_and_loads_below_the_new_parent(void **state)
{
    struct tc *tc = *state;
    struct sm_travel travel;
    struct sk_key key;
    struct convert_migration_blob_out out;
    uint32_t parent = new_parent(tc);

    sm_make(tc, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_send(tc, TPM_MS_MIGRATE, &key.key.enc_data, &travel), TPM_SUCCESS);
    /* 11.1 action 6.c: of 2048 bits the encoding has 198 bytes. */
    assert_int_equal(travel.random.len, 198);
    assert_int_equal(sm_convert(tc, parent, &travel, &out), TPM_SUCCESS);
    load_and_sign(tc, parent, &key, &out.out_data);
}

/*= p3:11.1#7 */
static void test_create_migration_blob__rewrap__loads_below_the_new_parent(void **state)
{
    struct tc *tc = *state;
    struct sm_travel travel;
    struct sk_key key;
    uint32_t parent = new_parent(tc);

    sm_make(tc, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_send(tc, TPM_MS_REWRAP, &key.key.enc_data, &travel), TPM_SUCCESS);
    assert_int_equal(travel.random.len, 0);
    load_and_sign(tc, parent, &key, &travel.data);
}

/*= p3:11.1#8 */
static void test_create_migration_blob__another_type__bad_parameter(void **state)
{
    struct tc *tc = *state;
    struct sm_travel travel;
    struct sk_key key;

    sm_make(tc, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_send(tc, TPM_MS_MAINT, &key.key.enc_data, &travel), TPM_BAD_PARAMETER);
}

/* 11.3: the owner permits one type of migration to a key, not both. */
/*= p3:11.1#5 p3:11.3#3 */
static void test_create_migration_blob__type_that_the_owner_did_not_permit__bad_mode(void **state)
{
    static const uint16_t types[] = {TPM_MS_MIGRATE, TPM_MS_REWRAP};
    struct vt_auth srk = SPEC_SRK, migration = tc_secret("migration");
    struct tpm_pubkey to = sm_pubkey(3);
    struct tc *tc = *state;
    struct sk_key key;

    sm_make(tc, TPM_MIGRATABLE, &key);
    for (size_t i = 0; i < VT_COUNT(types); i++) {
        struct create_migration_blob_in in = {.migration_type = types[!i], .enc_data = key.key.enc_data};

        assert_int_equal(sm_authorize(tc, &to, types[i], &in.migration_key_auth), TPM_SUCCESS);
        assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_BAD_MODE);
        in.migration_type = types[i];
        assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_SUCCESS);
    }
}

/*= p3:11.1#2 p3:11.1#3 p3:11.1#4 p3:11.1#5 */
static void test_create_migration_blob__unfit_requests__codes(void **state)
{
    struct tc *tc = *state;
    struct vt_auth srk = SPEC_SRK, migration = tc_secret("migration"), key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct create_migration_blob_in in = {.migration_type = TPM_MS_MIGRATE};
    struct tpm_key_obj cmk = spec_key(4, TPM_KEY_SIGNING, &key_auth);
    struct tpm_migrationkeyauth auth;
    struct tpm_pubkey to = sm_pubkey(3);
    struct tc_session a, b;
    uint8_t enc[CR_RSA_MAX];
    struct sk_key key, fixed;
    uint32_t signing;

    sm_make(tc, TPM_MIGRATABLE, &key);
    sm_make(tc, 0, &fixed);
    assert_int_equal(sm_authorize(tc, &to, TPM_MS_MIGRATE, &auth), TPM_SUCCESS);
    in.migration_key_auth = auth;
    in.enc_data = key.key.enc_data;
    /* 4. The secret is wrong; of a key that cannot migrate nobody knows it. */
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &wrong, &in, NULL), TPM_AUTH2FAIL);
    in.enc_data = fixed.key.enc_data;
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_AUTH2FAIL);
    /* The entity's session must be OIAP. */
    in.enc_data = key.key.enc_data;
    assert_int_equal(tc_oiap(tc, &a, &srk), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &b, TPM_ET_SRK, 0, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CreateMigrationBlob, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&a, &b}), TPM_BAD_MODE);
    /* 5. */
    in.migration_key_auth.digest.bytes[0] ^= 1;
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_AUTHFAIL);
    in.migration_key_auth = auth;
    in.migration_key_auth.migration_scheme = TPM_MS_REWRAP;
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_AUTHFAIL);
    in.migration_key_auth = auth;
    /* 2. */
    signing = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(sm_create(tc, signing, &key_auth, &migration, &in, NULL), TPM_INVALID_KEYUSAGE);
    /* 3.a. */
    cmk.payload = TPM_PT_MIGRATE_RESTRICTED;
    sm_wrap(tc, &cmk, enc);
    in.enc_data = (struct tpm_blob){.len = sizeof enc, .data = enc};
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_BAD_MIGRATION);
    in.enc_data.len--;
    assert_int_equal(sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_DECRYPT_ERROR);
}

/*= p3:11.1#1 p3:11.2#1 */
static void test_migration__parent_without_a_secret__needs_no_session(void **state)
{
    struct tc *tc = *state;
    struct vt_auth key_auth = tc_secret("key"), migration = tc_secret("migration");
    struct tpm_key_obj parent = spec_key(3, TPM_KEY_STORAGE, &key_auth);
    struct tpm_pubkey to = sm_pubkey(3);
    struct create_migration_blob_in in = {.migration_type = TPM_MS_MIGRATE};
    struct create_migration_blob_out out;
    struct convert_migration_blob_in convert;
    struct sm_travel travel;
    struct sk_key key;
    uint32_t handle;

    parent.auth_data_usage = TPM_AUTH_NEVER;
    handle = spec_insert(tc, &parent);
    sm_make_below(tc, handle, &key_auth, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_authorize(tc, &to, TPM_MS_MIGRATE, &in.migration_key_auth), TPM_SUCCESS);
    in.enc_data = key.key.enc_data;
    assert_int_equal(spec_one(tc, TPM_ORD_CreateMigrationBlob, &in, &out, handle, &migration), TPM_SUCCESS);
    sm_keep(&travel, &out.random, &out.out_data);
    convert = (struct convert_migration_blob_in){.in_data = travel.data, .random = travel.random};
    assert_int_equal(TC(tc, TPM_ORD_ConvertMigrationBlob, &convert, NULL, .handles = {handle}), TPM_SUCCESS);
}

/*= p3:11.2#2 p3:11.2#3 p3:11.2#4 p3:11.2#7 */
static void test_convert_migration_blob__unfit_blobs__codes(void **state)
{
    struct tc *tc = *state;
    struct vt_auth key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    uint32_t parent = new_parent(tc), signing;
    struct convert_migration_blob_in in;
    struct sm_travel travel;
    struct sk_key key;

    sm_make(tc, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_send(tc, TPM_MS_MIGRATE, &key.key.enc_data, &travel), TPM_SUCCESS);
    in = (struct convert_migration_blob_in){.in_data = travel.data, .random = travel.random};
    assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, parent, &wrong), TPM_AUTHFAIL);
    in.random.len--;
    assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, parent, &key_auth), TPM_BAD_PARAMETER);
    in.random = travel.random;
    travel.random_bytes[0] ^= 1;
    assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, parent, &key_auth), TPM_DECRYPT_ERROR);
    travel.random_bytes[0] ^= 1;
    in.in_data = (struct tpm_blob){.len = CR_RSA_MAX, .data = key.bytes};
    assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, parent, &key_auth), TPM_DECRYPT_ERROR);
    signing = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, signing, &key_auth), TPM_INVALID_KEYUSAGE);
}

/*= p3:11.2#5 p3:11.2#6 p3:11.2#7 */
static void test_convert_migration_blob__made_by_hand__codes(void **state)
{
    static const struct {
        uint8_t payload;
        uint32_t claimed;       /* size of the private key that K1 tells */
        unsigned pad;
        tpm_rc rc;
    } rows[] = {
        {TPM_PT_MIGRATE, 64, 0, TPM_SUCCESS},
        {TPM_PT_MIGRATE, 64, 5, TPM_SUCCESS},
        {TPM_PT_MIGRATE, 65, 0, TPM_BAD_PARAM_SIZE},
        {TPM_PT_MIGRATE, 63, 0, TPM_BAD_PARAM_SIZE},
        {TPM_PT_MIGRATE, 0xFFFFFFFF, 0, TPM_BAD_PARAM_SIZE},
        {TPM_PT_CMK_MIGRATE, 64, 0, TPM_BAD_MIGRATION},
        {TPM_PT_MAINT, 64, 0, TPM_BAD_MIGRATION},
        {TPM_PT_ASYM, 64, 0, TPM_INVALID_STRUCTURE},
    };
    struct tc *tc = *state;
    struct vt_auth key_auth = tc_secret("key"), phash = tc_secret("migration");
    uint32_t parent = new_parent(tc);

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct sm_crafted crafted = {.payload = rows[i].payload, .claimed = rows[i].claimed, .prime_len = 64,
                                     .pad = rows[i].pad, .prime = fixture_rsa_key(512, 0)->p};
        struct convert_migration_blob_in in;
        struct sm_travel travel;

        memcpy(crafted.phash, phash.bytes, sizeof crafted.phash);
        sm_craft(tc, &crafted, &travel);
        in = (struct convert_migration_blob_in){.in_data = travel.data, .random = travel.random};
        assert_int_equal(spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, NULL, parent, &key_auth), rows[i].rc);
    }
}

/* ---- 11.4 ---- */

/*= p3:11.4#1 p3:11.4#2 p3:11.4#3 p3:11.4#4 p3:11.4#5 */
static void test_migrate_key__by_an_authority__goes_on_to_the_parent(void **state)
{
    struct tc *tc = *state;
    struct vt_auth key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct tpm_key_obj authority = spec_key(2, TPM_KEY_MIGRATE, &key_auth);
    struct tpm_pubkey ma = sm_pubkey(2);
    struct migrate_key_in in = {.pub_key = sm_pubkey(3)};
    struct convert_migration_blob_out converted;
    struct migrate_key_out out;
    struct sm_travel travel, on;
    struct sk_key key;
    uint32_t handle, parent = new_parent(tc), free_handle;

    handle = spec_insert(tc, &authority);
    sm_make(tc, TPM_MIGRATABLE, &key);
    assert_int_equal(sm_send_to(tc, &ma, TPM_MS_MIGRATE, &key.key.enc_data, &travel), TPM_SUCCESS);
    in.in_data = travel.data;
    assert_int_equal(spec_one(tc, TPM_ORD_MigrateKey, &in, NULL, handle, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_MigrateKey, &in, NULL, parent, &key_auth), TPM_INVALID_KEYUSAGE);
    assert_int_equal(spec_one(tc, TPM_ORD_MigrateKey, &in, &out, handle, &key_auth), TPM_SUCCESS);
    sm_keep(&on, &travel.random, &out.out_data);
    assert_int_equal(sm_convert(tc, parent, &on, &converted), TPM_SUCCESS);
    load_and_sign(tc, parent, &key, &converted.out_data);
    /* Without a session, where the authority needs none. */
    assert_int_equal(sk_flush(tc, handle, TPM_RT_KEY), TPM_SUCCESS);
    authority.auth_data_usage = TPM_AUTH_NEVER;
    free_handle = spec_insert(tc, &authority);
    assert_int_equal(TC(tc, TPM_ORD_MigrateKey, &in, &out, .handles = {free_handle}), TPM_SUCCESS);
    in.pub_key.algorithm_parms.enc_scheme = TPM_ES_NONE;
    assert_int_equal(TC(tc, TPM_ORD_MigrateKey, &in, &out, .handles = {free_handle}), TPM_INAPPROPRIATE_ENC);
    in.pub_key.algorithm_parms.enc_scheme = TPM_ES_RSAESPKCSv15;
    assert_int_equal(TC(tc, TPM_ORD_MigrateKey, &in, &out, .handles = {free_handle}), TPM_SUCCESS);
    in.pub_key.pub_key.len--;
    assert_int_equal(TC(tc, TPM_ORD_MigrateKey, &in, &out, .handles = {free_handle}), TPM_BAD_KEY_PROPERTY);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_authorize_migration_key__unfit_keys__codes),
        T(test_authorize_migration_key__wrong_owner__authfail),
        T(test_authorize_migration_key__good_key__digest_of_key_scheme_and_proof),
        T(test_create_migration_blob__migrate__converts_and_loads_below_the_new_parent),
        T(test_create_migration_blob__rewrap__loads_below_the_new_parent),
        T(test_create_migration_blob__another_type__bad_parameter),
        T(test_create_migration_blob__type_that_the_owner_did_not_permit__bad_mode),
        T(test_create_migration_blob__unfit_requests__codes),
        T(test_migration__parent_without_a_secret__needs_no_session),
        T(test_convert_migration_blob__unfit_blobs__codes),
        T(test_convert_migration_blob__made_by_hand__codes),
        T(test_migrate_key__by_an_authority__goes_on_to_the_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
