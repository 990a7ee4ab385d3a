/* SPDX-License-Identifier: Apache-2.0 */
/* For the spec tests on keys, sealed data, owners and NV: the commands that they all need. */
#ifndef VTPM_TESTS_SPEC_KEYS_H
#define VTPM_TESTS_SPEC_KEYS_H

#include "tests/spec/spec.h"

/* A response's structure with bytes of its own: outlives the next command. */
struct sk_key {
    struct tpm_key key;
    size_t len;
    uint8_t bytes[1024];
};

struct sk_sealed {
    struct tpm_stored_data data;
    size_t len;
    uint8_t bytes[512];
};

/* The bytes have been changed: read the structure again. */
static inline void sk_key_reread(struct sk_key *k)
{
    struct rd r = rd_from(k->bytes, k->len);

    rd_key(&r, &k->key);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
}

static inline void sk_sealed_reread(struct sk_sealed *s)
{
    struct rd r = rd_from(s->bytes, s->len);

    rd_stored_data(&r, &s->data);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
}

static inline void sk_key_keep(struct sk_key *k, const struct tpm_key *key)
{
    struct wr w = wr_to(k->bytes, sizeof k->bytes);

    wr_key(&w, key);
    assert_false(w.bad);
    k->len = w.len;
    sk_key_reread(k);
}

static inline void sk_sealed_keep(struct sk_sealed *s, const struct tpm_stored_data *data)
{
    struct wr w = wr_to(s->bytes, sizeof s->bytes);

    wr_stored_data(&w, data);
    assert_false(w.bad);
    s->len = w.len;
    sk_sealed_reread(s);
}

/* A key to be made, with the schemes that its usage wants. */
static inline struct tpm_key sk_template(uint16_t usage)
{
    bool signs = usage == TPM_KEY_SIGNING || usage == TPM_KEY_IDENTITY;

    return (struct tpm_key){
        .ver = {.major = 1, .minor = 1},
        .key_usage = usage,
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .algorithm_parms =
            {
                .algorithm_id = TPM_ALG_RSA,
                .enc_scheme = signs ? TPM_ES_NONE : TPM_ES_RSAESOAEP_SHA1_MGF1,
                .sig_scheme = signs || usage == TPM_KEY_LEGACY ? TPM_SS_RSASSAPKCS1v15_SHA1 : TPM_SS_NONE,
                .form = TPM_PARMS_RSA,
                .parms.rsa = {.key_length = 2048, .num_primes = 2},
            },
    };
}

/* TPM_CreateWrapKey; the migration secret is "migration". */
static inline tpm_rc sk_create(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                               const struct vt_auth *auth, const struct tpm_key *info, struct sk_key *out)
{
    struct create_wrap_key_in in = {.key_info = *info};
    struct vt_auth migration = tc_secret("migration");
    struct create_wrap_key_out made;
    struct tc_session s;
    tpm_rc rc = tc_osap(tc, &s, TPM_ET_KEYHANDLE, parent, parent_auth);

    if (rc)
        return rc;
    tc_next_odd(tc, &s);
    tc_encrypt_auth(&s, false, false, auth, &in.data_usage_auth);
    tc_encrypt_auth(&s, true, false, &migration, &in.data_migration_auth);
    rc = TC(tc, TPM_ORD_CreateWrapKey, &in, &made, .handles = {parent}, .auth = {&s});
    if (rc)
        return rc;
    /* 12. The session brought secrets: it ends. */
    assert_int_equal(s.handle, 0);
    sk_key_keep(out, &made.wrapped_key);
    return rc;
}

static inline tpm_rc sk_load(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                             const struct sk_key *key, uint32_t *handle)
{
    struct load_key2_in in = {.in_key = key->key};
    struct tc_session s;
    tpm_rc rc;

    *handle = 0;
    rc = tc_oiap(tc, &s, parent_auth);
    if (rc)
        return rc;
    s.ends = true;
    rc = TC(tc, TPM_ORD_LoadKey2, &in, NULL, .handles = {parent}, .auth = {&s});
    if (!rc)
        *handle = tc->out_handle;
    return rc;
}

/* Made below the SRK and loaded; its secret is "key". */
static inline uint32_t sk_loaded(struct tc *tc, const struct tpm_key *info, struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    uint32_t handle;

    assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, info, key), TPM_SUCCESS);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, key, &handle), TPM_SUCCESS);
    return handle;
}

static inline tpm_rc sk_flush(struct tc *tc, uint32_t handle, uint32_t type)
{
    struct flush_specific_in in = {.resource_type = type};

    return TC(tc, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

/* TPM_Sign with a key whose secret is "key"; sig may be NULL. */
static inline tpm_rc sk_sign(struct tc *tc, uint32_t handle, const void *data, uint32_t len,
                             struct tpm_blob *sig)
{
    struct sign_in in = {.area_to_sign = {.len = len, .data = data}};
    struct vt_auth auth = tc_secret("key");
    struct sign_out out = {{0}};
    struct tc_session s;
    tpm_rc rc;

    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    s.ends = true;
    rc = TC(tc, TPM_ORD_Sign, &in, &out, .handles = {handle}, .auth = {&s});
    if (sig)
        *sig = out.sig;
    return rc;
}

/* TPM_Seal for the secret "data". */
static inline tpm_rc sk_seal(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                             const struct tpm_blob *pcr_info, const void *data, uint32_t len,
                             struct sk_sealed *out)
{
    struct seal_in in = {.pcr_info = *pcr_info, .in_data = {.len = len, .data = data}};
    struct vt_auth auth = tc_secret("data");
    struct seal_out sealed;
    struct tc_session s;
    tpm_rc rc = tc_osap(tc, &s, TPM_ET_KEYHANDLE, parent, parent_auth);

    if (rc)
        return rc;
    tc_encrypt_auth(&s, false, false, &auth, &in.enc_auth);
    rc = TC(tc, TPM_ORD_Seal, &in, &sealed, .handles = {parent}, .auth = {&s});
    if (rc)
        return rc;
    assert_int_equal(s.handle, 0);
    sk_sealed_keep(out, &sealed.sealed_data);
    return rc;
}

/* TPM_Unseal; secret may be NULL, and points into the response. */
static inline tpm_rc sk_unseal(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth,
                               const struct vt_auth *auth, const struct sk_sealed *sealed,
                               struct tpm_blob *secret)
{
    struct unseal_in in = {.in_data = sealed->data};
    struct unseal_out out = {{0}};
    struct tc_session s, d;
    tpm_rc rc;

    assert_int_equal(tc_oiap(tc, &s, parent_auth), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &d, auth), TPM_SUCCESS);
    s.ends = d.ends = true;
    rc = TC(tc, TPM_ORD_Unseal, &in, &out, .handles = {parent}, .auth = {&s, &d});
    if (secret)
        *secret = out.secret;
    return rc;
}

/* TPM_PCR_SELECTION of one PCR. */
static inline struct tpm_pcr_selection sk_pcr(unsigned pcr)
{
    struct tpm_pcr_selection select = {.size_of_select = 3};

    select.pcr_select[pcr / 8] = (uint8_t)(1u << pcr % 8);
    return select;
}

static const struct tpm_blob sk_nothing;

#endif
