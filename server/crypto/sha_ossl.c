/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/sha.h"

/* The functions return 1 always: they have no way to fail. */

static void sha1_start(union cr_sha_ctx *ctx)
{
    (void)SHA1_Init(&ctx->sha1);
}

static void sha1_update(union cr_sha_ctx *ctx, const void *ptr, size_t len)
{
    (void)SHA1_Update(&ctx->sha1, ptr, len);
}

static void sha1_finish(union cr_sha_ctx *ctx, uint8_t *out)
{
    (void)SHA1_Final(out, &ctx->sha1);
}

static void sha256_start(union cr_sha_ctx *ctx)
{
    (void)SHA256_Init(&ctx->sha256);
}

static void sha256_update(union cr_sha_ctx *ctx, const void *ptr, size_t len)
{
    (void)SHA256_Update(&ctx->sha256, ptr, len);
}

static void sha256_finish(union cr_sha_ctx *ctx, uint8_t *out)
{
    (void)SHA256_Final(out, &ctx->sha256);
}

const struct cr_sha cr_sha1_alg = { CR_SHA1_LEN, sha1_start, sha1_update, sha1_finish };
const struct cr_sha cr_sha256_alg = { CR_SHA256_LEN, sha256_start, sha256_update, sha256_finish };

void cr_sha1_thaw(union cr_sha_ctx *ctx, const struct cr_sha1_state *state)
{
    uint64_t bits = state->total << 3;

    (void)SHA1_Init(&ctx->sha1);
    ctx->sha1.h0 = state->h[0];
    ctx->sha1.h1 = state->h[1];
    ctx->sha1.h2 = state->h[2];
    ctx->sha1.h3 = state->h[3];
    ctx->sha1.h4 = state->h[4];
    ctx->sha1.Nl = (SHA_LONG)bits;
    ctx->sha1.Nh = (SHA_LONG)(bits >> 32);
}

void cr_sha1_freeze(const union cr_sha_ctx *ctx, struct cr_sha1_state *state)
{
    state->h[0] = ctx->sha1.h0;
    state->h[1] = ctx->sha1.h1;
    state->h[2] = ctx->sha1.h2;
    state->h[3] = ctx->sha1.h3;
    state->h[4] = ctx->sha1.h4;
    state->total = ((uint64_t)ctx->sha1.Nh << 32 | ctx->sha1.Nl) >> 3;
}
