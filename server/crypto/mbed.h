/* SPDX-License-Identifier: Apache-2.0 */
/* mbedTLS 2.28 and 3.6 seen as one library. Private to server/crypto. */
#ifndef VTPM_CRYPTO_MBED_H
#define VTPM_CRYPTO_MBED_H

/* 3.x hides the SHA-1 chaining state, which a freezable hash must read and write. */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/version.h>
#include <mbedtls/aes.h>
#include <mbedtls/bignum.h>
#include <mbedtls/cipher.h>
#include <mbedtls/gcm.h>
#include <mbedtls/rsa.h>
#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>

#include "server/base/err.h"

/* 2.x: the functions that return an error have a suffix, the plain names are deprecated. */
#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define MBED(name) name##_ret
#else
#define MBED(name) name
#endif

/* The names of private fields are the plain ones, with 3.x by the macro above. */
#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(field) field
#endif

static inline void mbed_rsa_init(mbedtls_rsa_context *ctx)
{
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    mbedtls_rsa_init(ctx, MBEDTLS_RSA_PKCS_V15, 0);
#else
    mbedtls_rsa_init(ctx);
#endif
}

/* High-level errors (multiples of 0x80) may have a low-level one added in the seven lowest bits. */
static inline int mbed_err(int rc)
{
    if (!rc)
        return VT_OK;
    if (rc == MBEDTLS_ERR_CIPHER_ALLOC_FAILED || (-rc & 0x7f) == -MBEDTLS_ERR_MPI_ALLOC_FAILED)
        return VT_ENOMEM;
    return VT_ECRYPTO;
}

#endif
