/* SPDX-License-Identifier: Apache-2.0 */
/* The portable back end: mbedTLS. */
#include "server/base/alloc.h"
#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"
#include "server/crypto/prime.h"

struct mbed_rsa {
    mbedtls_rsa_context ctx;
    struct cr_drbg blinding;    /* of this key only: the caller's generator must not see how often we draw */
};

static int init(void)
{
    return VT_OK;
}

static int gcm_seal(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, uint8_t *out, uint8_t *tag)
{
    mbedtls_gcm_context ctx;
    int rc;

    mbedtls_gcm_init(&ctx);
    rc = mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key->bytes, 8 * sizeof key->bytes);
    if (!rc)
        rc = mbedtls_gcm_crypt_and_tag(&ctx, MBEDTLS_GCM_ENCRYPT, len, nonce, CR_GCM_NONCE, ad, ad_len, in,
                                       out, CR_GCM_TAG, tag);
    mbedtls_gcm_free(&ctx);
    return mbed_err(rc);
}

static int gcm_open(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, const uint8_t *tag, uint8_t *out)
{
    mbedtls_gcm_context ctx;
    int rc;

    mbedtls_gcm_init(&ctx);
    rc = mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key->bytes, 8 * sizeof key->bytes);
    if (!rc)
        rc = mbedtls_gcm_auth_decrypt(&ctx, len, nonce, CR_GCM_NONCE, ad, ad_len, tag, CR_GCM_TAG, in, out);
    mbedtls_gcm_free(&ctx);
    return rc == MBEDTLS_ERR_GCM_AUTH_FAILED ? VT_ECRYPTO : mbed_err(rc);
}

/*
 * Blinding needs numbers that an attacker cannot predict, not fresh entropy: the private key itself is
 * enough. The system's randomness is added where a sandbox lets us have it.
 */
static void blinding_seed(struct cr_drbg *drbg, const struct cr_rsa_key *key)
{
    uint8_t seed[CR_DRBG_SEED] = { 0 };
    uint8_t fresh[32] = { 0 };
    struct cr_slice parts[] = { CR_SLICE(key->p, key->pub.bytes / 2u), CR_SLICE(key->pub.n, key->pub.bytes) };

    cr_sha256v(seed, parts, VT_COUNT(parts));
    /* Without it there is still the key. */
    if (cr_os_random(fresh, sizeof fresh))
        memset(fresh, 0, sizeof fresh);
    cr_drbg_init(drbg, seed, fresh, sizeof fresh);
    vt_wipe(seed, sizeof seed);
    vt_wipe(fresh, sizeof fresh);
}

static void rsa_free(void *impl)
{
    struct mbed_rsa *rsa = impl;

    if (!rsa)
        return;
    mbedtls_rsa_free(&rsa->ctx);
    vt_free_wiped(rsa, sizeof *rsa);
}

/* dP, dQ and qInv are worked out by mbedtls_rsa_complete, which has no import for them in 2.28. */
static int rsa_load(void **impl, const struct cr_rsa_key *key, const struct cr_rsa_parts *parts)
{
    struct mbed_rsa *rsa = VT_NEW(struct mbed_rsa);
    size_t bytes = key->pub.bytes;
    size_t half = bytes / 2;
    uint32_t e = key->pub.e;
    uint8_t e_bytes[4] = { (uint8_t)(e >> 24), (uint8_t)(e >> 16), (uint8_t)(e >> 8), (uint8_t)e };
    int rc;

    if (!rsa)
        return VT_ENOMEM;
    mbed_rsa_init(&rsa->ctx);
    blinding_seed(&rsa->blinding, key);
    rc = mbedtls_rsa_import_raw(&rsa->ctx, key->pub.n, bytes, key->p, half, parts->q, half, parts->d, bytes,
                                e_bytes, sizeof e_bytes);
    if (!rc)
        rc = mbedtls_rsa_complete(&rsa->ctx);
    if (rc) {
        rsa_free(rsa);
        return mbed_err(rc);
    }
    *impl = rsa;
    return VT_OK;
}

static int blinding_random(void *ctx, unsigned char *out, size_t len)
{
    cr_drbg_random(ctx, out, len);
    return 0;
}

static int rsa_private(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    struct mbed_rsa *rsa = impl;

    (void)pub;
    return mbed_err(mbedtls_rsa_private(&rsa->ctx, blinding_random, &rsa->blinding, in, out));
}

static int exp_mod(mbedtls_mpi *x, mbedtls_mpi *e, mbedtls_mpi *n, const struct cr_rsa_pub *pub,
                   const uint8_t *in)
{
    uint8_t e_bytes[4] = { (uint8_t)(pub->e >> 24), (uint8_t)(pub->e >> 16), (uint8_t)(pub->e >> 8),
                           (uint8_t)pub->e };
    int rc;

    if ((rc = mbedtls_mpi_read_binary(x, in, pub->bytes)) ||
        (rc = mbedtls_mpi_read_binary(e, e_bytes, sizeof e_bytes)) ||
        (rc = mbedtls_mpi_read_binary(n, pub->n, pub->bytes)))
        return rc;
    return mbedtls_mpi_exp_mod(x, x, e, n, NULL);
}

static int rsa_public(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    struct mbed_rsa *rsa = impl;
    mbedtls_mpi x, e, n;
    int rc;

    /* It keeps the Montgomery form of n. */
    if (rsa)
        return mbed_err(mbedtls_rsa_public(&rsa->ctx, in, out));
    mbedtls_mpi_init(&x);
    mbedtls_mpi_init(&e);
    mbedtls_mpi_init(&n);
    rc = exp_mod(&x, &e, &n, pub, in);
    if (!rc)
        rc = mbedtls_mpi_write_binary(&x, out, pub->bytes);
    mbedtls_mpi_free(&x);
    mbedtls_mpi_free(&e);
    mbedtls_mpi_free(&n);
    return mbed_err(rc);
}

const struct cr_backend cr_backend_mbed = {
    .init = init,
    .gcm_seal = gcm_seal,
    .gcm_open = gcm_open,
    .scrypt = cr_scrypt_portable,
    .rsa_load = rsa_load,
    .rsa_free = rsa_free,
    .rsa_private = rsa_private,
    .rsa_public = rsa_public,
    .strong_probable = cr_strong_probable_mbed,
};
