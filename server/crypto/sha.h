/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-1 and SHA-256 of the library that is fastest on short inputs: contexts live on the stack, nothing
 * allocates, nothing fails. Private to server/crypto. One of sha_mbed.c and sha_ossl.c is linked.
 */
#ifndef VTPM_CRYPTO_SHA_H
#define VTPM_CRYPTO_SHA_H

#include "server/crypto/crypto.h"
#ifdef VTPM_HAVE_LIBCRYPTO
/* The SHA_CTX functions are "deprecated" in favour of EVP, which allocates at each use: six times slower
 * here. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#else
#include "server/crypto/mbed.h"
#endif

#define CR_SHA_BLOCK 64
#define CR_SHA_MAX CR_SHA256_LEN

union cr_sha_ctx {
#ifdef VTPM_HAVE_LIBCRYPTO
    SHA_CTX sha1;
    SHA256_CTX sha256;
#else
    mbedtls_sha1_context sha1;
    mbedtls_sha256_context sha256;
#endif
};

struct cr_sha {
    size_t len;     /* of the digest */
    void (*start)(union cr_sha_ctx *ctx);
    void (*update)(union cr_sha_ctx *ctx, const void *ptr, size_t len);
    /* The context is not wiped. */
    void (*finish)(union cr_sha_ctx *ctx, uint8_t *out);
};

extern const struct cr_sha cr_sha1_alg;
extern const struct cr_sha cr_sha256_alg;

/* A running SHA-1 from its frozen state, and back (only at a multiple of 64 bytes). */
void cr_sha1_thaw(union cr_sha_ctx *ctx, const struct cr_sha1_state *state);
void cr_sha1_freeze(const union cr_sha_ctx *ctx, struct cr_sha1_state *state);

#endif
