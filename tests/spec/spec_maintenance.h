/* SPDX-License-Identifier: Apache-2.0 */
/* For tests on maintenance: an archive, and what the manufacturer does with it (fixture 3 is his key). */
#ifndef VTPM_TESTS_SPEC_MAINTENANCE_H
#define VTPM_TESTS_SPEC_MAINTENANCE_H

#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_migration.h"

#define MANUFACTURER 3

struct sx_archive {
    uint8_t bytes[1024], sig[CR_RSA_MAX], random[CR_RSA_MAX];
    uint32_t len, sig_len, random_len;
};

static inline void sx_keep(struct sx_archive *a, const struct create_maintenance_archive_out *out)
{
    a->len = out->archive.len;
    a->random_len = out->random.len;
    assert_true(a->len <= sizeof a->bytes && a->random_len <= sizeof a->random);
    memcpy(a->bytes, out->archive.data, a->len);
    if (a->random_len)
        memcpy(a->random, out->random.data, a->random_len);
}

static inline void sx_sign(struct sx_archive *a, unsigned fixture)
{
    uint8_t digest[TPM_DIGEST_LEN];
    struct cr_rsa *rsa;

    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(2048, fixture)), VT_OK);
    cr_sha1(digest, a->bytes, a->len);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, a->sig), VT_OK);
    a->sig_len = CR_RSA_MAX;
    cr_rsa_free(rsa);
}

static inline struct tpm_key sx_read_archive(const struct sx_archive *a)
{
    struct rd r = rd_from(a->bytes, a->len);
    struct tpm_key key;

    rd_key(&r, &key);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    return key;
}

/* Opens with the maintenance key; what is inside. */
static inline size_t sx_open_inner(const struct sx_archive *a, uint8_t inner[CR_RSA_MAX])
{
    struct tpm_key key = sx_read_archive(a);
    struct cr_rsa *rsa;
    size_t len;

    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(2048, MANUFACTURER)), VT_OK);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, "TCPA", 4, key.enc_data.data, key.enc_data.len, inner, &len), VT_OK);
    cr_rsa_free(rsa);
    return len;
}

/* And closes it again for another SRK. */
static inline void sx_close_inner(struct sx_archive *a, const struct tpm_key *key, const uint8_t *inner, size_t len,
                        const struct cr_rsa_pub *srk)
{
    struct cr_drbg drbg = {.k = {3}};
    struct tpm_key out = *key;
    uint8_t enc[CR_RSA_MAX], bytes[1024];
    struct wr w = wr_to(bytes, sizeof bytes);

    assert_int_equal(cr_rsa_oaep_encrypt(srk, "TCPA", 4, inner, len, &drbg, enc), VT_OK);
    out.enc_data = (struct tpm_blob){.len = CR_RSA_MAX, .data = enc};
    wr_key(&w, &out);
    assert_false(w.bad);
    memcpy(a->bytes, bytes, w.len);
    a->len = (uint32_t)w.len;
    sx_sign(a, MANUFACTURER);
}

/* The manufacturer's part, as it should be. */
static inline void sx_massage(struct sx_archive *a, const struct tc *to)
{
    uint8_t inner[CR_RSA_MAX];
    size_t len = sx_open_inner(a, inner);
    struct sx_archive copy = *a;
    struct tpm_key key = sx_read_archive(&copy);

    sx_close_inner(a, &key, inner, len, &to->tpm->perm.srk.key.rsa.pub);
}

#endif
