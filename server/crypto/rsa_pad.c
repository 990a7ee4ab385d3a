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

/* em = masked seed || masked (hash of label || zeros || 01 || text); the seed is in its place, the rest is made. */
static void encode_oaep(uint8_t *em, size_t len, const uint8_t label_hash[HASH], struct cr_slice text)
{
    uint8_t *seed = em;
    uint8_t *db = seed + HASH;
    size_t db_len = len - HASH;
    uint8_t *at = em + len - text.len;

    memset(db, 0, db_len);
    memcpy(db, label_hash, HASH);
    at[-1] = 1;
    append(&at, text);
    mask(db, db_len, seed, HASH);
    mask(seed, HASH, db, db_len);
}

void cr_pad_oaep(uint8_t *em, size_t len, struct cr_slice label, struct cr_slice text, struct cr_drbg *drbg)
{
    uint8_t digest[HASH];

    em[0] = 0;
    cr_sha1(digest, label.ptr, label.len);
    cr_drbg_random(drbg, em + 1, HASH);
    encode_oaep(em + 1, len - 1, digest, text);
}

int cr_oaep_encode(uint8_t *em, size_t em_len, const uint8_t label_hash[CR_SHA1_LEN], const uint8_t seed[CR_SHA1_LEN],
                   const void *in, size_t in_len)
{
    if (em_len > CR_RSA_MAX || in_len > em_len || em_len - in_len < 2 * HASH + 1)
        return VT_EUSAGE;
    memcpy(em, seed, HASH);
    encode_oaep(em, em_len, label_hash, CR_SLICE(in, in_len));
    return VT_OK;
}

/* ---- Decoding ---- */

/* After the last look at the text: whether it is one, and if so where it begins. */
static int verdict(uint32_t good, size_t begins, size_t *at)
{
    *at = begins & (0 - (size_t)(good & 1));
    vt_ct_public(&good, sizeof good);
    vt_ct_public(at, sizeof *at);
    return good ? VT_OK : VT_ECRYPTO;
}

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
    return verdict(good, pos + 1, at);
}

/* Takes the masks off; em begins with the seed. */
static void unmask_oaep(uint8_t *em, size_t len)
{
    mask(em, HASH, em + HASH, len - HASH);
    mask(em + HASH, len - HASH, em, HASH);
}

/* Behind the label's hash: zeros, the byte 01, the text; *at is where it begins. A mask. */
static uint32_t find_text(const uint8_t *db, size_t db_len, size_t *at)
{
    uint32_t good = UINT32_MAX;
    uint32_t found = 0;
    uint32_t pos = 0; /* of the byte 01 behind the zeros */

    for (size_t i = HASH; i < db_len; i++) {
        uint32_t one = is_equal(db[i], 1);

        good &= found | one | is_zero(db[i]);
        pos |= one & ~found & (uint32_t)i;
        found |= one;
    }
    *at = pos + 1;
    return good & found;
}

int cr_unpad_oaep(uint8_t *em, size_t len, struct cr_slice label, size_t *at)
{
    uint8_t *db = em + 1 + HASH;
    uint8_t digest[HASH];
    /* The first byte is part of the one verdict: told apart, it would give Manger's oracle. */
    uint32_t good = is_zero(em[0]);

    unmask_oaep(em + 1, len - 1);
    cr_sha1(digest, label.ptr, label.len);
    good &= is_zero(vt_ct_differs(db, digest, HASH));
    good &= find_text(db, len - 1 - HASH, at);
    return verdict(good, 1 + HASH + *at, at);
}

int cr_oaep_decode(uint8_t *em, size_t em_len, uint8_t label_hash[CR_SHA1_LEN], uint8_t seed[CR_SHA1_LEN], size_t *at)
{
    uint32_t good;

    *at = 0;
    if (em_len > CR_RSA_MAX || em_len < 2 * HASH + 1)
        return VT_ECRYPTO;
    unmask_oaep(em, em_len);
    memcpy(seed, em, HASH);
    memcpy(label_hash, em + HASH, HASH);
    good = find_text(em + HASH, em_len - HASH, at);
    return verdict(good, HASH + *at, at);
}
