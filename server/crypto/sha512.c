/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing of ours is made with SHA-512: swtpm derives its file keys by it (docs/swtpm-import.md). */
#include <mbedtls/md.h>

#include "server/crypto/crypto.h"
#include "server/crypto/mbed.h"

static const mbedtls_md_info_t *sha512(void)
{
    return mbedtls_md_info_from_type(MBEDTLS_MD_SHA512);
}

int cr_sha512(uint8_t out[CR_SHA512_LEN], const void *ptr, size_t len)
{
    return mbedtls_md(sha512(), ptr, len, out) ? VT_ECRYPTO : VT_OK;
}

/* RFC 8018, 5.2, step 3: one block T_i. */
static int block(mbedtls_md_context_t *hmac, uint32_t i, const void *salt, size_t salt_len, unsigned rounds,
                 uint8_t t[CR_SHA512_LEN])
{
    const uint8_t number[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
    uint8_t u[CR_SHA512_LEN] = {0};
    int rc = mbedtls_md_hmac_update(hmac, salt, salt_len);

    if (!rc)
        rc = mbedtls_md_hmac_update(hmac, number, sizeof number);
    if (!rc)
        rc = mbedtls_md_hmac_finish(hmac, u);
    memcpy(t, u, sizeof u);
    while (!rc && --rounds) {
        rc = mbedtls_md_hmac_reset(hmac);
        if (!rc)
            rc = mbedtls_md_hmac_update(hmac, u, sizeof u);
        if (!rc)
            rc = mbedtls_md_hmac_finish(hmac, u);
        for (size_t k = 0; k < sizeof u; k++)
            t[k] ^= u[k];
    }
    vt_wipe(u, sizeof u);
    return rc ? rc : mbedtls_md_hmac_reset(hmac);
}

int cr_pbkdf2_sha512(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt, size_t salt_len,
                     unsigned rounds)
{
    mbedtls_md_context_t hmac;
    uint8_t t[CR_SHA512_LEN];
    int rc;

    if (!rounds)
        return VT_EUSAGE;
    mbedtls_md_init(&hmac);
    rc = mbedtls_md_setup(&hmac, sha512(), 1);
    if (!rc)
        rc = mbedtls_md_hmac_starts(&hmac, pass, pass_len);
    for (uint32_t i = 1; !rc && out_len; i++) {
        size_t part = VT_MIN(out_len, sizeof t);

        rc = block(&hmac, i, salt, salt_len, rounds, t);
        memcpy(out, t, part);
        out += part;
        out_len -= part;
    }
    mbedtls_md_free(&hmac);
    vt_wipe(t, sizeof t);
    return rc == MBEDTLS_ERR_MD_ALLOC_FAILED ? VT_ENOMEM : rc ? VT_ECRYPTO : VT_OK;
}
