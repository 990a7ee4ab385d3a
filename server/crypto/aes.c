/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"

/* Lengths that every back end's integers hold; far above any record. */
#define GCM_MAX ((size_t)1 << 30)

int cr_gcm_seal(const struct vt_key *key, const uint8_t nonce[CR_GCM_NONCE], const void *ad, size_t ad_len,
                const void *in, size_t len, uint8_t *out, uint8_t tag[CR_GCM_TAG])
{
    if (len > GCM_MAX || ad_len > GCM_MAX)
        return VT_EUSAGE;
    return CR_BACKEND.gcm_seal(key, nonce, ad, ad_len, in, len, out, tag);
}

int cr_gcm_open(const struct vt_key *key, const uint8_t nonce[CR_GCM_NONCE], const void *ad, size_t ad_len,
                const void *in, size_t len, const uint8_t tag[CR_GCM_TAG], uint8_t *out)
{
    int err;

    if (len > GCM_MAX || ad_len > GCM_MAX)
        return VT_EUSAGE;
    err = CR_BACKEND.gcm_open(key, nonce, ad, ad_len, in, len, tag, out);
    if (err)
        vt_wipe(out, len);
    return err;
}

int cr_aes128_ctr(const uint8_t key[16], const uint8_t iv[16], const void *in, size_t len, uint8_t *out)
{
    mbedtls_aes_context ctx;
    uint8_t counter[16], stream[16];
    size_t used = 0;
    int rc;

    mbedtls_aes_init(&ctx);
    memcpy(counter, iv, sizeof counter);
    rc = mbedtls_aes_setkey_enc(&ctx, key, 128);
    if (!rc)
        rc = mbedtls_aes_crypt_ctr(&ctx, len, &used, counter, stream, in, out);
    mbedtls_aes_free(&ctx);
    vt_wipe(stream, sizeof stream);
    return mbed_err(rc);
}

int cr_aes_cbc_decrypt(const uint8_t *key, size_t key_len, const uint8_t iv[16], const void *in, size_t len, uint8_t *out)
{
    mbedtls_aes_context ctx;
    uint8_t chain[16];
    int rc;

    if ((key_len != 16 && key_len != 32) || len % sizeof chain || len > GCM_MAX)
        return VT_EUSAGE;
    memcpy(chain, iv, sizeof chain);
    mbedtls_aes_init(&ctx);
    rc = mbedtls_aes_setkey_dec(&ctx, key, (unsigned)key_len * 8);
    if (!rc)
        rc = mbedtls_aes_crypt_cbc(&ctx, MBEDTLS_AES_DECRYPT, len, chain, in, out);
    mbedtls_aes_free(&ctx);
    return mbed_err(rc);
}
