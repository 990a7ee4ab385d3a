/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/sha.h"

/* The functions return 0 always, as long as mbedTLS is built without hardware replacements. */

static void sha1_start(union cr_sha_ctx *ctx)
{
    mbedtls_sha1_init(&ctx->sha1);
    (void)MBED(mbedtls_sha1_starts)(&ctx->sha1);
}

static void sha1_update(union cr_sha_ctx *ctx, const void *ptr, size_t len)
{
    (void)MBED(mbedtls_sha1_update)(&ctx->sha1, ptr, len);
}

static void sha1_finish(union cr_sha_ctx *ctx, uint8_t *out)
{
    (void)MBED(mbedtls_sha1_finish)(&ctx->sha1, out);
}

static void sha256_start(union cr_sha_ctx *ctx)
{
    mbedtls_sha256_init(&ctx->sha256);
    (void)MBED(mbedtls_sha256_starts)(&ctx->sha256, 0);
}

static void sha256_update(union cr_sha_ctx *ctx, const void *ptr, size_t len)
{
    (void)MBED(mbedtls_sha256_update)(&ctx->sha256, ptr, len);
}

static void sha256_finish(union cr_sha_ctx *ctx, uint8_t *out)
{
    (void)MBED(mbedtls_sha256_finish)(&ctx->sha256, out);
}

const struct cr_sha cr_sha1_alg = { CR_SHA1_LEN, sha1_start, sha1_update, sha1_finish };
const struct cr_sha cr_sha256_alg = { CR_SHA256_LEN, sha256_start, sha256_update, sha256_finish };

void cr_sha1_thaw(union cr_sha_ctx *ctx, const struct cr_sha1_state *state)
{
    sha1_start(ctx);
    for (size_t i = 0; i < VT_COUNT(state->h); i++)
        ctx->sha1.MBEDTLS_PRIVATE(state)[i] = state->h[i];
    ctx->sha1.MBEDTLS_PRIVATE(total)[0] = (uint32_t)state->total;
    ctx->sha1.MBEDTLS_PRIVATE(total)[1] = (uint32_t)(state->total >> 32);
}

void cr_sha1_freeze(const union cr_sha_ctx *ctx, struct cr_sha1_state *state)
{
    for (size_t i = 0; i < VT_COUNT(state->h); i++)
        state->h[i] = ctx->sha1.MBEDTLS_PRIVATE(state)[i];
    state->total = (uint64_t)ctx->sha1.MBEDTLS_PRIVATE(total)[1] << 32 | ctx->sha1.MBEDTLS_PRIVATE(total)[0];
}
