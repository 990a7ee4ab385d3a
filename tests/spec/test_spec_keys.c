/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 10.4-10.6, 13.5, 27.1.1: keys are made, loaded, used, read and unloaded. */
#include "server/base/alloc.h"
#include "server/engine/auth.h"
#include "tests/spec/spec_keys.h"

/* ---- 10.4 TPM_CreateWrapKey ---- */

struct shape {
    uint16_t usage, enc, sig;
    uint32_t bits;
    tpm_rc rc;
};

static const struct shape shapes[] = {
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_SUCCESS},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_DER, 1024, TPM_SUCCESS},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_INFO, 512, TPM_SUCCESS},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_NONE, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, 0x99, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 0, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 496, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 1000, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 4096, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 0xFFFFFFF0, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_STORAGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 2048, TPM_SUCCESS},
    {TPM_KEY_STORAGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 1024, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_STORAGE, TPM_ES_RSAESPKCSv15, TPM_SS_NONE, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_STORAGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 2048, TPM_SUCCESS},
    {TPM_KEY_BIND, TPM_ES_RSAESPKCSv15, TPM_SS_NONE, 1024, TPM_SUCCESS},
    {TPM_KEY_BIND, TPM_ES_NONE, TPM_SS_NONE, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_SUCCESS},
    {TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, TPM_SS_RSASSAPKCS1v15_DER, 2048, TPM_SUCCESS},
    {TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, TPM_SS_RSASSAPKCS1v15_INFO, 2048, TPM_BAD_KEY_PROPERTY},
    {TPM_KEY_MIGRATE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 2048, TPM_SUCCESS},
    {TPM_KEY_IDENTITY, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_INVALID_KEYUSAGE},
    {TPM_KEY_AUTHCHANGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 2048, TPM_INVALID_KEYUSAGE},
    {0, TPM_ES_NONE, TPM_SS_NONE, 2048, TPM_BAD_KEY_PROPERTY},
    {0x99, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 2048, TPM_BAD_KEY_PROPERTY},
};

/*= p3:10.4#3 p3:10.4#6 p3:10.4#8 p3:10.5#7 */
static void test_create_wrap_key__each_shape__made_and_loaded_or_refused(void **state)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle;

    for (size_t i = 0; i < VT_COUNT(shapes); i++) {
        struct tpm_key info = sk_template(shapes[i].usage);

        info.is_12 = i % 2;
        info.algorithm_parms.enc_scheme = shapes[i].enc;
        info.algorithm_parms.sig_scheme = shapes[i].sig;
        info.algorithm_parms.parms.rsa.key_length = shapes[i].bits;
        assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), shapes[i].rc);
        if (shapes[i].rc)
            continue;
        assert_int_equal(key.key.is_12, info.is_12);
        assert_int_equal(key.key.pub_key.len, shapes[i].bits / 8);
        assert_int_equal(key.key.enc_data.len, 256);
        assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
        assert_int_equal(sk_flush(tc, handle, TPM_RT_KEY), TPM_SUCCESS);
    }
}

struct exponent {
    uint8_t len, bytes[5];
    tpm_rc signing, storage;
};

/*= p3:10.4#8.v */
static void test_create_wrap_key__exponents__kept_as_written_or_refused(void **state)
{
    static const struct exponent exponents[] = {
        {3, {1, 0, 1}, TPM_SUCCESS, TPM_SUCCESS},
        {4, {0, 1, 0, 1}, TPM_SUCCESS, TPM_BAD_KEY_PROPERTY},
        {1, {2}, TPM_BAD_KEY_PROPERTY, TPM_BAD_KEY_PROPERTY},
        {1, {1}, TPM_BAD_KEY_PROPERTY, TPM_BAD_KEY_PROPERTY},
        {4, {0, 0, 0, 0}, TPM_BAD_KEY_PROPERTY, TPM_BAD_KEY_PROPERTY},
        {5, {0, 0, 1, 0, 1}, TPM_BAD_KEY_PROPERTY, TPM_BAD_KEY_PROPERTY},
    };
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle;

    for (size_t i = 0; i < VT_COUNT(exponents); i++) {
        const struct exponent *e = &exponents[i];
        struct tpm_blob blob = {.len = e->len, .data = e->bytes};
        struct tpm_key info = sk_template(TPM_KEY_STORAGE);

        info.algorithm_parms.parms.rsa.exponent = blob;
        assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), e->storage);
        info = sk_template(TPM_KEY_SIGNING);
        info.algorithm_parms.parms.rsa.exponent = blob;
        assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), e->signing);
        if (e->signing)
            continue;
        assert_int_equal(key.key.algorithm_parms.parms.rsa.exponent.len, e->len);
        assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    }
}

/*= p3:10.4#1 p3:10.4#2 */
static void test_create_wrap_key__parent__proved_by_osap(void **state)
{
    struct create_wrap_key_in in = {.key_info = sk_template(TPM_KEY_SIGNING)};
    struct vt_auth srk = SPEC_SRK, wrong = tc_secret("wrong"), auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct tc_session s;
    struct sk_key key;

    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CreateWrapKey, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_BAD_MODE);
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &wrong, &auth, &info, &key), TPM_AUTHFAIL);
}

/*= p3:10.4#5 */
static void test_create_wrap_key__below_a_migratable_key__must_be_migratable(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key parent = sk_template(TPM_KEY_STORAGE), info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle, child;

    parent.key_flags = TPM_MIGRATABLE;
    handle = sk_loaded(tc, &parent, &key);
    assert_int_equal(sk_create(tc, handle, &auth, &auth, &info, &key), TPM_INVALID_KEYUSAGE);
    info.key_flags = TPM_MIGRATABLE;
    assert_int_equal(sk_create(tc, handle, &auth, &auth, &info, &key), TPM_SUCCESS);
    assert_int_equal(sk_load(tc, handle, &auth, &key, &child), TPM_SUCCESS);
    /* 14.b: its migrationAuth is what the caller said. */
    assert_memory_equal(key_find(tc->tpm, child)->key.migration_auth.bytes, tc_secret("migration").bytes, 20);
    info.key_flags = TPM_MIGRATEAUTHORITY | TPM_MIGRATABLE;
    assert_int_equal(sk_create(tc, handle, &auth, &auth, &info, &key), TPM_INVALID_KEYUSAGE);
}

/*= p3:10.4#4 p3:10.5#2 */
static void test_keys__parent_is_no_storage_key__invalid_keyusage(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct sk_key key, child;
    uint32_t signing = sk_loaded(tc, &info, &key), handle;

    assert_int_equal(sk_create(tc, signing, &auth, &auth, &info, &child), TPM_INVALID_KEYUSAGE);
    assert_int_equal(sk_load(tc, signing, &auth, &key, &handle), TPM_INVALID_KEYUSAGE);
}

/* What the caller left in pubKey and encData of keyInfo is not looked at. */
static void test_create_wrap_key__garbage_in_pub_key__ignored(void **state)
{
    static const uint8_t garbage[200];
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_key key;

    info.pub_key = (struct tpm_blob){.len = sizeof garbage, .data = garbage};
    info.enc_data = info.pub_key;
    assert_int_equal(sk_create(*state, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_SUCCESS);
    assert_int_equal(key.key.pub_key.len, 256);
}

/* ---- PCRs ---- */

static struct tpm_blob long_info(uint8_t bytes[KEY_PCR_INFO_MAX], uint8_t created, uint8_t release,
                                 unsigned pcr, const struct tc *tc)
{
    struct tpm_pcr_info_long info = {
        .locality_at_creation = created,
        .locality_at_release = release,
        .creation_pcr_selection = sk_pcr(pcr),
        .release_pcr_selection = sk_pcr(pcr),
    };
    struct wr w = wr_to(bytes, KEY_PCR_INFO_MAX);

    pcr_composite_hash(tc->tpm, &info.release_pcr_selection, info.digest_at_release.bytes);
    wr_pcr_info_long(&w, &info);
    return (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
}

static struct tpm_blob short_info(uint8_t bytes[KEY_PCR_INFO_MAX], unsigned pcr, const struct tc *tc)
{
    struct tpm_pcr_info info = {.pcr_selection = sk_pcr(pcr)};
    struct wr w = wr_to(bytes, KEY_PCR_INFO_MAX);

    pcr_composite_hash(tc->tpm, &info.pcr_selection, info.digest_at_release.bytes);
    wr_pcr_info(&w, &info);
    return (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
}

/*= p3:10.4#15 p3:13.5#1 p3:10.6#4 */
static void test_key__bound_to_pcrs__of_use_only_with_these_values(void **state)
{
    struct vt_auth auth = tc_secret("key");
    uint8_t bytes[KEY_PCR_INFO_MAX], digest[20] = {1};
    struct tpm_pcr_info made;
    struct tc *tc = *state;
    struct tpm_key info;
    struct tc_session s;
    struct sk_key key;
    uint32_t handle;
    struct rd r;

    assert_int_equal(spec_extend(tc, 10, 7), TPM_SUCCESS);
    info = sk_template(TPM_KEY_SIGNING);
    info.pcr_info = short_info(bytes, 10, tc);
    handle = sk_loaded(tc, &info, &key);
    r = rd_from(key.key.pcr_info.data, key.key.pcr_info.len);
    rd_pcr_info(&r, &made);
    assert_memory_equal(made.digest_at_creation.bytes, made.digest_at_release.bytes, 20);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 10, 7), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_WRONGPCRVAL);
    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, NULL, .handles = {handle}, .auth = {&s}),
                     TPM_WRONGPCRVAL);
    /* 4.a: unless reading was to be free. */
    info.key_flags = TPM_PCRIGNOREDONREAD;
    handle = sk_loaded(tc, &info, &key);
    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, NULL, .handles = {handle}, .auth = {&s}), TPM_SUCCESS);
}

/*= p3:10.4#15.e */
static void test_key12__bound_to_a_locality__of_use_only_there(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    uint8_t bytes[KEY_PCR_INFO_MAX], digest[20] = {1};
    struct tpm_pcr_info_long made;
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle;
    struct rd r;

    info.is_12 = true;
    info.pcr_info = long_info(bytes, 0x1F, 1u << 2, 11, tc);
    handle = sk_loaded(tc, &info, &key);
    r = rd_from(key.key.pcr_info.data, key.key.pcr_info.len);
    rd_pcr_info_long(&r, &made);
    assert_int_equal(made.locality_at_creation, 1);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_WRONGPCRVAL);
    tc->locality = 2;
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 11, 1), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_WRONGPCRVAL);
}

/*= p3:10.5#11 p3:10.5#12 */
static void test_load_key2__parent_uses_pcrs__child_says_so(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key parent = sk_template(TPM_KEY_STORAGE), info = sk_template(TPM_KEY_STORAGE);
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct tc *tc = *state;
    uint32_t first, second, third;
    struct sk_key key;

    parent.pcr_info = short_info(bytes, 10, tc);
    first = sk_loaded(tc, &parent, &key);
    assert_false(key_find(tc->tpm, first)->parent_pcr_status);
    assert_int_equal(sk_create(tc, first, &auth, &auth, &info, &key), TPM_SUCCESS);
    assert_int_equal(sk_load(tc, first, &auth, &key, &second), TPM_SUCCESS);
    assert_true(key_find(tc->tpm, second)->parent_pcr_status);
    assert_int_equal(sk_create(tc, second, &auth, &auth, &info, &key), TPM_SUCCESS);
    assert_int_equal(sk_load(tc, second, &auth, &key, &third), TPM_SUCCESS);
    assert_true(key_find(tc->tpm, third)->parent_pcr_status);
}

static void test_create_wrap_key__bad_pcr_info__refused(void **state)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    uint8_t bytes[KEY_PCR_INFO_MAX] = {0};
    struct tc *tc = *state;
    struct sk_key key;

    info.pcr_info = short_info(bytes, 10, tc);
    info.pcr_info.len--;
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_BAD_PARAM_SIZE);
    info.pcr_info.len += 2;
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_BAD_PARAM_SIZE);
    bytes[1] = 4; /* a selection of more PCRs than there are */
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_INVALID_PCR_INFO);
    info.is_12 = true;
    info.pcr_info = long_info(bytes, 0, 0x1F, 10, tc);
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_INVALID_STRUCTURE);
    info.pcr_info = long_info(bytes, 1, 0x20, 10, tc);
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_INVALID_STRUCTURE);
    info.pcr_info = long_info(bytes, 1, 1, 10, tc);
    bytes[1] ^= 1; /* the tag */
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_INVALID_STRUCTURE);
}

/* ---- 10.5 TPM_LoadKey2 ---- */

/*= p3:10.5#6 */
static void test_load_key2__any_byte_altered__refused_and_nothing_loaded(void **state)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    unsigned room = key_free_slots(tc->tpm);
    struct load_key2_in in;
    struct sk_key key;
    uint32_t handle;

    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_SUCCESS);
    tc->no_freeze = true;
    for (size_t at = 0; at < key.len; at += at < 48 ? 1 : 11) {
        struct tc_session s;
        struct rd r;

        key.bytes[at] ^= 1;
        r = rd_from(key.bytes, key.len);
        rd_key(&r, &in.in_key);
        /* The client's writer cannot write what does not parse: that is for the fuzzer. */
        if (!rd_result(&r)) {
            assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
            s.ends = true;
            assert_int_not_equal(TC(tc, TPM_ORD_LoadKey2, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                                 TPM_SUCCESS);
        }
        key.bytes[at] ^= 1;
    }
    assert_int_equal(key_free_slots(tc->tpm), room);
    assert_int_equal(session_free_slots(tc->tpm), 16);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
}

/*= p3:10.5#5 */
static void test_load_key2__wrong_parent__decrypt_error(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key storage = sk_template(TPM_KEY_STORAGE), info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct sk_key parent, key;
    uint32_t other, handle;

    other = sk_loaded(tc, &storage, &parent);
    sk_loaded(tc, &info, &key);
    assert_int_equal(sk_load(tc, other, &auth, &key, &handle), TPM_DECRYPT_ERROR);
    key.key.enc_data.len = 0;
    assert_int_equal(sk_load(tc, other, &auth, &key, &handle), TPM_DECRYPT_ERROR);
}

/* A key that cannot migrate carries tpmProof: another TPM, or the same with another owner, does not load it.
 */
/*= p3:10.5#7.d */
static void test_load_key2__key_of_another_tpm__invalid_keyusage(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle;

    sk_loaded(tc, &info, &key);
    tc->tpm->perm.tpm_proof.bytes[19] ^= 1;
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_INVALID_KEYUSAGE);
    info.key_flags = TPM_MIGRATABLE;
    sk_loaded(tc, &info, &key);
    tc->tpm->perm.tpm_proof.bytes[19] ^= 1;
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
}

/* TPM_SEALED_DATA has the shape of TPM_STORE_ASYMKEY: the payload keeps them apart. */
static void test_load_key2__private_part_is_a_sealed_blob__refused(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    uint8_t prime[128];
    struct tc *tc = *state;
    struct sk_sealed sealed;
    struct sk_key key;
    uint32_t handle = sk_loaded(tc, &info, &key);

    memcpy(prime, key_find(tc->tpm, handle)->key.rsa.p, sizeof prime);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, prime, sizeof prime, &sealed), TPM_SUCCESS);
    key.key.enc_data = sealed.data.enc_data;
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_INVALID_STRUCTURE);
}

static void test_load_key2__handles__unknown_null_and_reserved(void **state)
{
    static const uint32_t handles[] = {0, 0x01FFFFFF, TPM_KH_EK, TPM_KH_OWNER, 0xFFFFFFFF};
    struct vt_auth srk = SPEC_SRK;
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_key key;
    uint32_t handle;

    sk_loaded(*state, &info, &key);
    for (size_t i = 0; i < VT_COUNT(handles); i++)
        assert_int_equal(sk_load(*state, handles[i], &srk, &key, &handle), TPM_INVALID_KEYHANDLE);
}

/*= p3:10.5#9 */
static void test_load_key2__all_slots_taken__nospace_and_goes_on_after_a_flush(void **state)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct load_key_in old;
    struct tc_session s;
    uint32_t handles[21], seen;
    struct sk_key key;

    info.algorithm_parms.parms.rsa.key_length = 512;
    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &key), TPM_SUCCESS);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handles[i]), TPM_SUCCESS);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(handles[k], handles[i]);
    }
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handles[20]), TPM_NOSPACE);
    old = (struct load_key_in){.in_key = key.key};
    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_LoadKey, &old, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}), TPM_NOSPACE);
    assert_int_equal(sk_flush(tc, handles[7], TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &seen), TPM_SUCCESS);
    /* A handle that was flushed does not come back. */
    assert_int_not_equal(seen, handles[7]);
}

/* ---- Ends of keys ---- */

/*= p3:27.1.1 p3:22.1 */
static void test_evict_key__loaded_key__gone_with_its_sessions(void **state)
{
    static const uint8_t digest[20];
    struct vt_auth auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct tc_session s;
    struct sk_key key;
    uint32_t handle = sk_loaded(tc, &info, &key);

    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, handle, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {handle}), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, s.handle, TPM_RT_AUTH), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_INVALID_KEYHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {handle}), TPM_INVALID_KEYHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {TPM_KH_SRK}), TPM_INVALID_KEYHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {0}), TPM_INVALID_KEYHANDLE);
}

/*= p3:22.1 p3:27.1.1 */
static void test_evict_key__key_that_the_owner_keeps__owner_control_and_survives_a_reboot(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    static const uint8_t digest[20];
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t kept = sk_loaded(tc, &info, &key), other = sk_loaded(tc, &info, &key);

    key_find(tc->tpm, kept)->owner_evict = true;
    tc_check_frozen(tc);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {kept}), TPM_KEY_OWNER_CONTROL);
    assert_int_equal(sk_flush(tc, kept, TPM_RT_KEY), TPM_KEY_OWNER_CONTROL);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, kept, digest, 20, NULL), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, other, digest, 20, NULL), TPM_INVALID_KEYHANDLE);
}

/* A session for a key of that handle is not one for the next key under it. */
static void test_session__of_a_flushed_key__does_not_prove_another(void **state)
{
    struct sign_in in = {.area_to_sign = {.len = 20, .data = (const uint8_t[20]){0}}};
    struct vt_auth auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tc *tc = *state;
    struct tc_session s;
    struct sk_key key;
    uint32_t one = sk_loaded(tc, &info, &key), two = sk_loaded(tc, &info, &key);

    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, one, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &in, NULL, .handles = {two}, .auth = {&s}), TPM_AUTHFAIL);
}

/* ---- 10.6 TPM_GetPubKey ---- */

/*= p3:10.6#1 p3:10.6#2 */
static void test_get_pub_key__auth_data_usage__decides_who_reads(void **state)
{
    static const struct {
        uint8_t usage;
        tpm_rc read, sign;
    } rows[] = {
        {TPM_AUTH_NEVER, TPM_SUCCESS, TPM_SUCCESS},
        {TPM_AUTH_ALWAYS, TPM_AUTHFAIL, TPM_AUTHFAIL},
        {TPM_NO_READ_PUBKEY_AUTH, TPM_SUCCESS, TPM_AUTHFAIL},
        {0x11, TPM_AUTHFAIL, TPM_AUTHFAIL},
    };
    struct sign_in in = {.area_to_sign = {.len = 20, .data = (const uint8_t[20]){0}}};
    struct get_pub_key_out out;
    struct tc *tc = *state;
    struct sk_key key;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct tpm_key info = sk_template(TPM_KEY_SIGNING);
        uint32_t handle;

        info.auth_data_usage = rows[i].usage;
        handle = sk_loaded(tc, &info, &key);
        assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, &out, .handles = {handle}), rows[i].read);
        if (!rows[i].read)
            assert_memory_equal(out.pub_key.pub_key.data, key.key.pub_key.data, 256);
        assert_int_equal(TC(tc, TPM_ORD_Sign, &in, NULL, .handles = {handle}), rows[i].sign);
    }
}

/*= p3:10.6#3 */
static void test_get_pub_key__srk__only_if_read_srk_pub(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = *state;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INVALID_KEYHANDLE);
    tc->tpm->perm.flags.read_srk_pub = true;
    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_SUCCESS);
}

/* ---- 13.5 TPM_Sign ---- */

static void check_signature(const struct sk_key *key, enum cr_sig_scheme scheme, const void *in, size_t len,
                            const struct tpm_blob *sig)
{
    struct cr_rsa_pub pub = {.e = 65537, .bytes = (uint16_t)key->key.pub_key.len};

    memcpy(pub.n, key->key.pub_key.data, pub.bytes);
    assert_int_equal(cr_rsa_verify(&pub, scheme, in, len, sig->data, sig->len), VT_OK);
}

/*= p3:13.5#2 p3:13.5#5 */
static void test_sign__sha1__digests_only(void **state)
{
    uint8_t data[21] = {9};
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tpm_blob sig;
    struct sk_key key;
    uint32_t handle = sk_loaded(*state, &info, &key);

    assert_int_equal(sk_sign(*state, handle, data, 20, &sig), TPM_SUCCESS);
    check_signature(&key, CR_SIG_PKCS1_SHA1, data, 20, &sig);
    assert_int_equal(sk_sign(*state, handle, data, 0, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(sk_sign(*state, handle, data, 19, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(sk_sign(*state, handle, data, 21, NULL), TPM_BAD_PARAMETER);
}

/*= p3:13.5#6 */
static void test_sign__der__up_to_eleven_bytes_less_than_the_key(void **state)
{
    uint8_t data[300] = {9};
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tpm_blob sig;
    struct sk_key key;
    uint32_t handle;

    info.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    info.algorithm_parms.parms.rsa.key_length = 512;
    handle = sk_loaded(*state, &info, &key);
    assert_int_equal(sk_sign(*state, handle, data, 1, &sig), TPM_SUCCESS);
    assert_int_equal(sk_sign(*state, handle, data, 53, &sig), TPM_SUCCESS);
    check_signature(&key, CR_SIG_PKCS1_RAW, data, 53, &sig);
    assert_int_equal(sk_sign(*state, handle, data, 54, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(sk_sign(*state, handle, data, 300, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(sk_sign(*state, handle, data, 0, NULL), TPM_BAD_PARAMETER);
}

/*= p3:13.5#7 */
static void test_sign__info__has_the_callers_nonce_in_it(void **state)
{
    struct sign_in in = {.area_to_sign = {.len = 5, .data = (const uint8_t *)"hello"}};
    struct vt_auth auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct tpm_sign_info signed_info;
    uint8_t bytes[64], digest[20];
    struct tc *tc = *state;
    struct sign_out out;
    struct tc_session s;
    struct sk_key key;
    uint32_t handle;
    struct wr w = wr_to(bytes, sizeof bytes);

    info.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_INFO;
    info.auth_data_usage = TPM_AUTH_NEVER;
    handle = sk_loaded(tc, &info, &key);
    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &in, &out, .handles = {handle}, .auth = {&s}), TPM_SUCCESS);
    signed_info = (struct tpm_sign_info){.fixed = {"SIGN"}, .replay = s.odd, .data = in.area_to_sign};
    wr_sign_info(&w, &signed_info);
    cr_sha1(digest, bytes, w.len);
    check_signature(&key, CR_SIG_PKCS1_SHA1, digest, sizeof digest, &out.sig);
    /* c.i: without a session there is no nonce. */
    assert_int_equal(TC(tc, TPM_ORD_Sign, &in, NULL, .handles = {handle}), TPM_BAD_PARAMETER);
}

/*= p3:13.5#3 */
static void test_sign__keys_that_are_not_for_it__invalid_keyusage(void **state)
{
    static const uint16_t usages[] = {TPM_KEY_STORAGE, TPM_KEY_BIND, TPM_KEY_MIGRATE};
    static const uint8_t digest[20];
    struct sk_key key;
    struct tpm_key info;
    uint32_t handle;

    for (size_t i = 0; i < VT_COUNT(usages); i++) {
        info = sk_template(usages[i]);
        handle = sk_loaded(*state, &info, &key);
        assert_int_equal(sk_sign(*state, handle, digest, 20, NULL), TPM_INVALID_KEYUSAGE);
    }
    info = sk_template(TPM_KEY_LEGACY);
    handle = sk_loaded(*state, &info, &key);
    assert_int_equal(sk_sign(*state, handle, digest, 20, NULL), TPM_SUCCESS);
}

/* ---- Without memory ---- */

static tpm_rc try_load(struct tc *tc, uint32_t *handle, const struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK;

    return sk_load(tc, TPM_KH_SRK, &srk, key, handle);
}

/* Whatever allocation fails: an error, nothing loaded, no session lost, and the next try works. */
static void test_load_key2__no_memory__refused_and_nothing_changed(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    static const uint8_t digest[20];
    struct tc *tc = *state;
    struct sk_key key;
    uint32_t handle = sk_loaded(tc, &info, &key);
    unsigned refused = 0;
    tpm_rc rc;

    assert_int_equal(sk_flush(tc, handle, TPM_RT_KEY), TPM_SUCCESS);
    tc->no_freeze = true;
    for (long after = 0;; after++) {
        unsigned room = key_free_slots(tc->tpm);

        (void)vt_alloc_fail_after(after);
        rc = try_load(tc, &handle, &key);
        (void)vt_alloc_fail_after(-1);
        if (!rc)
            break;
        refused++;
        assert_true(rc == TPM_RESOURCES || rc == TPM_FAIL);
        assert_int_equal(key_free_slots(tc->tpm), room);
        assert_int_equal(session_free_slots(tc->tpm), 16);
        assert_true(after < 1000);
    }
    assert_true(refused > 0);
    assert_int_equal(sk_sign(tc, handle, digest, 20, NULL), TPM_SUCCESS);
}

/*= p3:10.5#5-7 */
static void test_load_key2__no_modulus__private_part_decides(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct vt_auth srk = SPEC_SRK;
    struct sk_key key;
    uint32_t handle;

    (void)sk_loaded(*state, &info, &key);
    key.key.pub_key = (struct tpm_blob){0};
    assert_int_equal(sk_load(*state, TPM_KH_SRK, &srk, &key, &handle), TPM_BAD_PARAMETER);
    key.key.enc_data = (struct tpm_blob){0};
    assert_int_equal(sk_load(*state, TPM_KH_SRK, &srk, &key, &handle), TPM_DECRYPT_ERROR);
}

/*= p3:10.5#1 */
static void test_load_key2__parent_without_auth__no_session_needed(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct load_key2_in in;
    struct tc *tc = *state;
    struct sk_key key;

    (void)sk_loaded(tc, &info, &key);
    in = (struct load_key2_in){.in_key = key.key};
    assert_int_equal(TC(tc, TPM_ORD_LoadKey2, &in, NULL, .handles = {TPM_KH_SRK}), TPM_AUTHFAIL);
    tc->tpm->perm.srk.key.auth_data_usage = TPM_AUTH_NEVER;
    key_pub_digest(&tc->tpm->perm.srk.key, tc->tpm->perm.srk.key.pub_digest);
    tc_check_frozen(tc);
    assert_int_equal(TC(tc, TPM_ORD_LoadKey2, &in, NULL, .handles = {TPM_KH_SRK}), TPM_SUCCESS);
    assert_int_equal(sk_sign(tc, tc->out_handle, in.in_key.pub_key.data, 20, NULL), TPM_SUCCESS);
}

#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_load_key2__no_modulus__private_part_decides),
        OWNED(test_load_key2__parent_without_auth__no_session_needed),
        OWNED(test_create_wrap_key__each_shape__made_and_loaded_or_refused),
        OWNED(test_create_wrap_key__exponents__kept_as_written_or_refused),
        OWNED(test_create_wrap_key__parent__proved_by_osap),
        OWNED(test_create_wrap_key__below_a_migratable_key__must_be_migratable),
        OWNED(test_keys__parent_is_no_storage_key__invalid_keyusage),
        OWNED(test_create_wrap_key__garbage_in_pub_key__ignored),
        OWNED(test_key__bound_to_pcrs__of_use_only_with_these_values),
        OWNED(test_key12__bound_to_a_locality__of_use_only_there),
        OWNED(test_load_key2__parent_uses_pcrs__child_says_so),
        OWNED(test_create_wrap_key__bad_pcr_info__refused),
        OWNED(test_load_key2__any_byte_altered__refused_and_nothing_loaded),
        OWNED(test_load_key2__wrong_parent__decrypt_error),
        OWNED(test_load_key2__key_of_another_tpm__invalid_keyusage),
        OWNED(test_load_key2__private_part_is_a_sealed_blob__refused),
        OWNED(test_load_key2__handles__unknown_null_and_reserved),
        OWNED(test_load_key2__all_slots_taken__nospace_and_goes_on_after_a_flush),
        OWNED(test_evict_key__loaded_key__gone_with_its_sessions),
        OWNED(test_evict_key__key_that_the_owner_keeps__owner_control_and_survives_a_reboot),
        OWNED(test_session__of_a_flushed_key__does_not_prove_another),
        OWNED(test_get_pub_key__auth_data_usage__decides_who_reads),
        OWNED(test_get_pub_key__srk__only_if_read_srk_pub),
        OWNED(test_sign__sha1__digests_only),
        OWNED(test_sign__der__up_to_eleven_bytes_less_than_the_key),
        OWNED(test_sign__info__has_the_callers_nonce_in_it),
        OWNED(test_sign__keys_that_are_not_for_it__invalid_keyusage),
        OWNED(test_load_key2__no_memory__refused_and_nothing_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
