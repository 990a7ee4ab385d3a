/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/rsa.h"

#define HASH CR_SHA1_LEN

/* ---- Masks: all ones for true, 0 for false; no branch, no table. Values stay far below 2^31. ---- */

/* Keeps the compiler from seeing that a mask has two values only, and branching on it. */
static inline uint32_t opaque(uint32_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

static inline uint32_t is_less(uint32_t a, uint32_t b)
{
    return opaque(0 - ((a - b) >> 31));
}

static inline uint32_t is_zero(uint32_t value)
{
    return is_less(value, 1);
}

static inline uint32_t is_equal(uint32_t a, uint32_t b)
{
    return is_zero(a ^ b);
}

/* ---- Encoding ---- */

static void append(uint8_t **at, struct cr_slice part)
{
    if (part.len)
        memcpy(*at, part.ptr, part.len);
    *at += part.len;
}

void cr_pad_sign(uint8_t *em, size_t len, struct cr_slice prefix, struct cr_slice text)
{
    size_t fill = len - 3 - prefix.len - text.len;
    uint8_t *at = em + 2 + fill;

    em[0] = 0;
    em[1] = 1;
    memset(em + 2, 0xff, fill);
    *at++ = 0;
    append(&at, prefix);
    append(&at, text);
}

void cr_pad_pkcs1(uint8_t *em, size_t len, struct cr_slice text, struct cr_drbg *drbg)
{
    size_t fill = len - 3 - text.len;
    uint8_t *at = em + 2 + fill;

    em[0] = 0;
    em[1] = 2;
    cr_drbg_random(drbg, em + 2, fill);
    for (size_t i = 2; i < 2 + fill; i++)
        while (!em[i])
            cr_drbg_random(drbg, em + i, 1);
    *at++ = 0;
    append(&at, text);
}

/* target ^= MGF1(seed) */
static void mask(uint8_t *target, size_t len, const uint8_t *seed, size_t seed_len)
{
    uint8_t stream[CR_RSA_MAX];

    cr_mgf1_sha1(stream, len, seed, seed_len);
    for (size_t i = 0; i < len; i++)
        target[i] ^= stream[i];
    vt_wipe(stream, sizeof stream);
}

/* em = 00 || masked seed || masked (hash of label || zeros || 01 || text) */
void cr_pad_oaep(uint8_t *em, size_t len, struct cr_slice label, struct cr_slice text, struct cr_drbg *drbg)
{
    uint8_t *seed = em + 1;
    uint8_t *db = seed + HASH;
    size_t db_len = len - 1 - HASH;
    uint8_t *at = em + len - text.len;

    memset(em, 0, len);
    cr_sha1(db, label.ptr, label.len);
    at[-1] = 1;
    append(&at, text);
    cr_drbg_random(drbg, seed, HASH);
    mask(db, db_len, seed, HASH);
    mask(seed, HASH, db, db_len);
}

/* ---- Decoding ---- */

int cr_unpad_pkcs1(const uint8_t *em, size_t len, size_t *at)
{
    uint32_t good = is_zero(em[0]) & is_equal(em[1], 2);
    uint32_t found = 0;
    uint32_t pos = 0; /* of the first zero byte from 2 on */

    for (size_t i = 2; i < len; i++) {
        uint32_t zero = is_zero(em[i]);

        pos |= zero & ~found & (uint32_t)i;
        found |= zero;
    }
    /* At least eight bytes of padding. */
    good &= found & ~is_less(pos, 10);
    *at = (pos + 1) & good;
    return good ? VT_OK : VT_ECRYPTO;
}

int cr_unpad_oaep(uint8_t *em, size_t len, struct cr_slice label, size_t *at)
{
    uint8_t *seed = em + 1;
    uint8_t *db = seed + HASH;
    size_t db_len = len - 1 - HASH;
    uint8_t digest[HASH];
    /* The first byte is part of the one verdict: told apart, it would give Manger's oracle. */
    uint32_t good = is_zero(em[0]);
    uint32_t found = 0;
    uint32_t pos = 0; /* in db, of the byte 01 behind the zeros */

    mask(seed, HASH, db, db_len);
    mask(db, db_len, seed, HASH);
    cr_sha1(digest, label.ptr, label.len);
    good &= 0 - (uint32_t)vt_ct_equal(db, digest, HASH);
    for (size_t i = HASH; i < db_len; i++) {
        uint32_t one = is_equal(db[i], 1);

        good &= found | one | is_zero(db[i]);
        pos |= one & ~found & (uint32_t)i;
        found |= one;
    }
    good &= found;
    *at = (1 + HASH + pos + 1) & good;
    return good ? VT_OK : VT_ECRYPTO;
}
