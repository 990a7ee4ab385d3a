/* SPDX-License-Identifier: Apache-2.0 */
/* scrypt, RFC 7914, for builds without libcrypto. Numbers of steps and sections are the RFC's. */
#include "server/base/alloc.h"
#include "server/crypto/backend.h"

#define WORDS 16 /* of a 64-byte Salsa block */

static uint32_t load_le(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void store_le(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint32_t rotate(uint32_t value, unsigned by)
{
    return value << by | value >> (32 - by);
}

/* One quarter round on four words of the matrix. */
#define QUARTER(a, b, c, d)                 \
    do {                                    \
        x[b] ^= rotate(x[a] + x[d], 7);     \
        x[c] ^= rotate(x[b] + x[a], 9);     \
        x[d] ^= rotate(x[c] + x[b], 13);    \
        x[a] ^= rotate(x[d] + x[c], 18);    \
    } while (0)

/* 3. Salsa20/8 core, in place: four double rounds, columns then rows. */
static void salsa20_8(uint32_t block[WORDS])
{
    uint32_t x[WORDS];

    memcpy(x, block, sizeof x);
    for (int i = 0; i < 4; i++) {
        QUARTER(0, 4, 8, 12);
        QUARTER(5, 9, 13, 1);
        QUARTER(10, 14, 2, 6);
        QUARTER(15, 3, 7, 11);
        QUARTER(0, 1, 2, 3);
        QUARTER(5, 6, 7, 4);
        QUARTER(10, 11, 8, 9);
        QUARTER(15, 12, 13, 14);
    }
    for (int i = 0; i < WORDS; i++)
        block[i] += x[i];
}

static void xor_words(uint32_t *to, const uint32_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] ^= from[i];
}

/* 4. scryptBlockMix: even blocks to the first half of `to`, odd ones to the second. */
static void block_mix(uint32_t *to, const uint32_t *from, size_t r)
{
    uint32_t x[WORDS];

    memcpy(x, from + (2 * r - 1) * WORDS, sizeof x);
    for (size_t i = 0; i < 2 * r; i++) {
        xor_words(x, from + i * WORDS, WORDS);
        salsa20_8(x);
        memcpy(to + (i / 2 + (i & 1) * r) * WORDS, x, sizeof x);
    }
}

/* 5. scryptROMix on x; y is as large as x; v holds n times that. */
static void ro_mix(uint32_t *x, uint32_t *y, uint32_t *v, size_t n, size_t r)
{
    size_t words = 2 * r * WORDS;

    for (size_t i = 0; i < n; i++) {
        memcpy(v + i * words, x, words * sizeof *x);
        block_mix(y, x, r);
        memcpy(x, y, words * sizeof *x);
    }
    for (size_t i = 0; i < n; i++) {
        /* Integerify: the first words of the last block, little-endian; n is a power of two. */
        size_t j = x[words - WORDS] & (n - 1);

        xor_words(x, v + j * words, words);
        block_mix(y, x, r);
        memcpy(x, y, words * sizeof *x);
    }
}

/* PBKDF2-HMAC-SHA-256 with one iteration (RFC 8018, 5.2): all that scrypt asks for. */
static void pbkdf2_once(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
                        size_t salt_len)
{
    VT_SECRET_KEY block;

    for (uint32_t i = 1; out_len; i++) {
        uint8_t counter[4] = { (uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
        struct cr_slice parts[] = { CR_SLICE(salt, salt_len), CR_SLICE(counter, sizeof counter) };
        size_t part = VT_MIN(out_len, sizeof block.bytes);

        cr_hmac_sha256v(block.bytes, pass, pass_len, parts, VT_COUNT(parts));
        memcpy(out, block.bytes, part);
        out += part;
        out_len -= part;
    }
}

/* Runs ROMix over each of the p parts of b; work holds x, y and v. */
static void mix_parts(uint8_t *b, uint32_t *work, size_t n, size_t r, size_t p)
{
    size_t words = 2 * r * WORDS;

    for (size_t i = 0; i < p; i++) {
        uint8_t *part = b + i * words * 4;

        for (size_t k = 0; k < words; k++)
            work[k] = load_le(part + 4 * k);
        ro_mix(work, work + words, work + 2 * words, n, r);
        for (size_t k = 0; k < words; k++)
            store_le(part + 4 * k, work[k]);
    }
}

/* 6. */
int cr_scrypt_portable(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
                       size_t salt_len, unsigned log2_n, unsigned r, unsigned p)
{
    size_t n = (size_t)1 << log2_n;
    size_t part = (size_t)128 * r;
    uint8_t *b = vt_calloc(p, part);
    uint32_t *work = vt_calloc(n + 2, part);
    int err = VT_ENOMEM;

    if (b && work) {
        pbkdf2_once(b, p * part, pass, pass_len, salt, salt_len);
        mix_parts(b, work, n, r, p);
        pbkdf2_once(out, out_len, pass, pass_len, b, p * part);
        err = VT_OK;
    }
    vt_free_wiped(b, p * part);
    vt_free_wiped(work, (n + 2) * part);
    return err;
}
