/* SPDX-License-Identifier: Apache-2.0 */
/* For the spec tests on migration: keys that leave, and what they leave in. Destinations are fixtures. */
#ifndef VTPM_TESTS_SPEC_MIGRATION_H
#define VTPM_TESTS_SPEC_MIGRATION_H

#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

/* A travelling key's two halves with bytes of their own. */
struct sm_travel {
    struct tpm_blob random, data;
    uint8_t random_bytes[CR_RSA_MAX], data_bytes[CR_RSA_MAX];
};

static inline void sm_keep(struct sm_travel *t, const struct tpm_blob *random, const struct tpm_blob *data)
{
    assert_true(random->len <= CR_RSA_MAX && data->len <= CR_RSA_MAX);
    if (random->len)
        memcpy(t->random_bytes, random->data, random->len);
    memcpy(t->data_bytes, data->data, data->len);
    t->random = (struct tpm_blob){.len = random->len, .data = t->random_bytes};
    t->data = (struct tpm_blob){.len = data->len, .data = t->data_bytes};
}

/* A fixture as the public key of a storage key. */
static inline struct tpm_pubkey sm_pubkey(unsigned index)
{
    const struct cr_rsa_pub *pub = &fixture_rsa_key(2048, index)->pub;

    return (struct tpm_pubkey){
        .algorithm_parms = {.algorithm_id = TPM_ALG_RSA,
                            .enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1,
                            .sig_scheme = TPM_SS_NONE,
                            .form = TPM_PARMS_RSA,
                            .parms.rsa = {.key_length = 2048, .num_primes = 2}},
        .pub_key = {.len = pub->bytes, .data = pub->n},
    };
}

/* TPM_AuthorizeMigrationKey; the blobs of *out are key's. */
static inline tpm_rc sm_authorize(struct tc *tc, const struct tpm_pubkey *key, uint16_t scheme,
                                  struct tpm_migrationkeyauth *out)
{
    struct authorize_migration_key_in in = {.migration_scheme = scheme, .migration_key = *key};
    struct authorize_migration_key_out answer;
    struct vt_auth owner = SPEC_OWNER;
    tpm_rc rc = spec_one(tc, TPM_ORD_AuthorizeMigrationKey, &in, &answer, 0, &owner);

    if (rc)
        return rc;
    *out = answer.out_data;
    out->migration_key = *key;
    return rc;
}

/* A signing key with the secrets "key" and "migration", made and not loaded. */
static inline void sm_make_below(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth, uint32_t flags,
                                 struct sk_key *key)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);

    info.key_flags = flags;
    assert_int_equal(sk_create(tc, parent, parent_auth, &auth, &info, key), TPM_SUCCESS);
}

static inline void sm_make(struct tc *tc, uint32_t flags, struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK;

    sm_make_below(tc, TPM_KH_SRK, &srk, flags, key);
}

/* TPM_CreateMigrationBlob with two sessions; out may be NULL. */
static inline tpm_rc sm_create(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                               const struct vt_auth *migration, const struct create_migration_blob_in *in,
                               struct create_migration_blob_out *out)
{
    struct tc_session a, b;

    assert_int_equal(tc_oiap(tc, &a, parent_auth), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, migration), TPM_SUCCESS);
    a.ends = b.ends = true;
    return TC(tc, TPM_ORD_CreateMigrationBlob, in, out, .handles = {parent}, .auth = {&a, &b});
}

/* From below the SRK to a key that the owner authorises for it. */
static inline tpm_rc sm_send_to(struct tc *tc, const struct tpm_pubkey *to, uint16_t type, const struct tpm_blob *enc,
                                struct sm_travel *t)
{
    struct vt_auth srk = SPEC_SRK, migration = tc_secret("migration");
    struct create_migration_blob_in in = {.migration_type = type, .enc_data = *enc};
    struct create_migration_blob_out out;
    tpm_rc rc;

    assert_int_equal(sm_authorize(tc, to, type, &in.migration_key_auth), TPM_SUCCESS);
    rc = sm_create(tc, TPM_KH_SRK, &srk, &migration, &in, &out);
    if (!rc)
        sm_keep(t, &out.random, &out.out_data);
    return rc;
}

/* To fixture 3. */
static inline tpm_rc sm_send(struct tc *tc, uint16_t type, const struct tpm_blob *enc, struct sm_travel *t)
{
    struct tpm_pubkey to = sm_pubkey(3);

    return sm_send_to(tc, &to, type, enc, t);
}

/* TPM_ConvertMigrationBlob by a key whose secret is "key". */
static inline tpm_rc sm_convert(struct tc *tc, uint32_t parent, const struct sm_travel *t,
                                struct convert_migration_blob_out *out)
{
    struct convert_migration_blob_in in = {.in_data = t->data, .random = t->random};
    struct vt_auth auth = tc_secret("key");

    return spec_one(tc, TPM_ORD_ConvertMigrationBlob, &in, out, parent, &auth);
}

/* encData of a key below the SRK, its secrets "key" and "migration"; made without the TPM. */
static inline void sm_wrap(struct tc *tc, const struct tpm_key_obj *key, uint8_t enc[CR_RSA_MAX])
{
    struct tpm_store_asymkey store = {
        .payload = key->payload,
        .usage_auth = key->usage_auth,
        .migration_auth = key->migration_auth,
        .priv_key = {.len = key->rsa.pub.bytes / 2u, .data = key->rsa.p},
    };
    struct cr_drbg drbg = {.k = {1}};
    uint8_t plain[CR_RSA_MAX];
    struct wr w = wr_to(plain, sizeof plain);

    key_pub_digest(key, store.pub_data_digest.bytes);
    wr_store_asymkey(&w, &store);
    assert_int_equal(cr_rsa_oaep_encrypt(&tc->tpm->perm.srk.key.rsa.pub, "TCPA", 4, plain, w.len, &drbg, enc), VT_OK);
}

/* A travelling key made by hand, for fixture 3. */
struct sm_crafted {
    uint8_t payload;
    uint8_t phash[TPM_DIGEST_LEN];
    uint32_t claimed, prime_len; /* what the size says, what there is */
    unsigned pad;                /* zeros in the encoding */
    const uint8_t *prime;
};

static inline void sm_craft(struct tc *tc, const struct sm_crafted *c, struct sm_travel *t)
{
    struct tpm_migrate_asymkey m1 = {.payload = c->payload, .usage_auth = tc_secret("key")};
    struct cr_drbg drbg = {.k = {2}};
    uint8_t k1k2[CR_RSA_MAX], text[CR_RSA_MAX];
    struct wr k = wr_to(k1k2, sizeof k1k2), w = wr_to(text, sizeof text);
    size_t len;

    (void)tc;
    wr_put32(&k, c->claimed);
    wr_copy(&k, c->prime, c->prime_len);
    m1.part_priv_key = (struct tpm_blob){.len = (uint32_t)k.len - 20, .data = k1k2 + 20};
    wr_migrate_asymkey(&w, &m1);
    len = 41 + c->pad + w.len;
    assert_int_equal(cr_oaep_encode(t->random_bytes, len, c->phash, k1k2, text, w.len), VT_OK);
    assert_int_equal(cr_rsa_oaep_encrypt(&fixture_rsa_key(2048, 3)->pub, "TCPA", 4, t->random_bytes, len, &drbg, t->data_bytes),
                     VT_OK);
    /* The random half is all zeros. */
    memset(t->random_bytes, 0, len);
    t->random = (struct tpm_blob){.len = (uint32_t)len, .data = t->random_bytes};
    t->data = (struct tpm_blob){.len = CR_RSA_MAX, .data = t->data_bytes};
}

#endif
