/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys as people keep them in files. */
#include "server/crypto/mbed.h"

#include <mbedtls/pk.h>

#include "server/crypto/crypto.h"

static int take(const mbedtls_rsa_context *rsa, struct cr_rsa_pub *pub)
{
    size_t bytes = mbedtls_rsa_get_len(rsa);
    uint8_t e[4];

    if (bytes < 64 || bytes > CR_RSA_MAX)
        return VT_ECRYPTO;
    *pub = (struct cr_rsa_pub){.bytes = (uint16_t)bytes};
    if (mbedtls_rsa_export_raw(rsa, pub->n, bytes, NULL, 0, NULL, 0, NULL, 0, e, sizeof e))
        return VT_ECRYPTO;
    pub->e = (uint32_t)e[0] << 24 | (uint32_t)e[1] << 16 | (uint32_t)e[2] << 8 | e[3];
    return VT_OK;
}

int cr_rsa_pub_from_pem(struct cr_rsa_pub *pub, const char *pem)
{
    mbedtls_pk_context pk;
    int err;

    mbedtls_pk_init(&pk);
    err = mbedtls_pk_parse_public_key(&pk, (const unsigned char *)pem, strlen(pem) + 1) ||
          mbedtls_pk_get_type(&pk) != MBEDTLS_PK_RSA ? VT_ECRYPTO : take(mbedtls_pk_rsa(pk), pub);
    mbedtls_pk_free(&pk);
    return err;
}
