/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/sha.h"

static void digest(const struct cr_sha *alg, uint8_t *out, const struct cr_slice *slices, size_t count)
{
    union cr_sha_ctx ctx;

    alg->start(&ctx);
    for (size_t i = 0; i < count; i++)
        alg->update(&ctx, slices[i].ptr, slices[i].len);
    alg->finish(&ctx, out);
    vt_wipe(&ctx, sizeof ctx);
}

static void xor_block(uint8_t block[CR_SHA_BLOCK], uint8_t with)
{
    for (size_t i = 0; i < CR_SHA_BLOCK; i++)
        block[i] ^= with;
}

/* RFC 2104 */
static void hmac(const struct cr_sha *alg, uint8_t *out, const void *key, size_t key_len,
                 const struct cr_slice *slices, size_t count)
{
    union cr_sha_ctx ctx;
    uint8_t block[CR_SHA_BLOCK] = { 0 };
    uint8_t inner[CR_SHA_MAX];

    if (key_len > sizeof block)
        digest(alg, block, &CR_SLICE(key, key_len), 1);
    else if (key_len)
        memcpy(block, key, key_len);

    xor_block(block, 0x36);
    alg->start(&ctx);
    alg->update(&ctx, block, sizeof block);
    for (size_t i = 0; i < count; i++)
        alg->update(&ctx, slices[i].ptr, slices[i].len);
    alg->finish(&ctx, inner);

    xor_block(block, 0x36 ^ 0x5c);
    alg->start(&ctx);
    alg->update(&ctx, block, sizeof block);
    alg->update(&ctx, inner, alg->len);
    alg->finish(&ctx, out);

    vt_wipe(&ctx, sizeof ctx);
    vt_wipe(block, sizeof block);
    vt_wipe(inner, sizeof inner);
}

void cr_sha1v(uint8_t out[CR_SHA1_LEN], const struct cr_slice *slices, size_t count)
{
    digest(&cr_sha1_alg, out, slices, count);
}

void cr_sha256v(uint8_t out[CR_SHA256_LEN], const struct cr_slice *slices, size_t count)
{
    digest(&cr_sha256_alg, out, slices, count);
}

void cr_sha1(uint8_t out[CR_SHA1_LEN], const void *ptr, size_t len)
{
    digest(&cr_sha1_alg, out, &CR_SLICE(ptr, len), 1);
}

void cr_sha256(uint8_t out[CR_SHA256_LEN], const void *ptr, size_t len)
{
    digest(&cr_sha256_alg, out, &CR_SLICE(ptr, len), 1);
}

void cr_hmac_sha1v(uint8_t out[CR_SHA1_LEN], const void *key, size_t key_len, const struct cr_slice *slices,
                   size_t count)
{
    hmac(&cr_sha1_alg, out, key, key_len, slices, count);
}

void cr_hmac_sha256v(uint8_t out[CR_SHA256_LEN], const void *key, size_t key_len,
                     const struct cr_slice *slices, size_t count)
{
    hmac(&cr_sha256_alg, out, key, key_len, slices, count);
}

void cr_sha1_start(struct cr_sha1_state *state)
{
    union cr_sha_ctx ctx;

    cr_sha1_alg.start(&ctx);
    cr_sha1_freeze(&ctx, state);
}

void cr_sha1_blocks(struct cr_sha1_state *state, const void *ptr, size_t len)
{
    union cr_sha_ctx ctx;

    cr_sha1_thaw(&ctx, state);
    cr_sha1_alg.update(&ctx, ptr, len);
    cr_sha1_freeze(&ctx, state);
    vt_wipe(&ctx, sizeof ctx);
}

void cr_sha1_finish(struct cr_sha1_state *state, const void *ptr, size_t len, uint8_t out[CR_SHA1_LEN])
{
    union cr_sha_ctx ctx;

    cr_sha1_thaw(&ctx, state);
    cr_sha1_alg.update(&ctx, ptr, len);
    cr_sha1_alg.finish(&ctx, out);
    vt_wipe(&ctx, sizeof ctx);
    vt_wipe(state, sizeof *state);
}

/* PKCS #1 v2.1, B.2.1 */
void cr_mgf1_sha1(uint8_t *out, size_t out_len, const void *seed, size_t seed_len)
{
    uint8_t block[CR_SHA1_LEN];

    for (uint32_t i = 0; out_len; i++) {
        uint8_t counter[4] = { (uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
        struct cr_slice parts[] = { CR_SLICE(seed, seed_len), CR_SLICE(counter, sizeof counter) };
        size_t part = VT_MIN(out_len, sizeof block);

        cr_sha1v(block, parts, VT_COUNT(parts));
        memcpy(out, block, part);
        out += part;
        out_len -= part;
    }
    vt_wipe(block, sizeof block);
}
