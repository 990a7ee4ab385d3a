/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/make_swtpm.h"

#include "server/wire/structures.h"
#include "tests/lib/fixture_keys.h"

#define HEADER 10
#define BLOCK  16

static void put_fill(struct wr *w, uint8_t byte, size_t len)
{
    while (len--)
        wr_put8(w, byte);
}

/* ---- Keys ---- */

static void put_parms(struct wr *w, uint16_t enc, uint16_t sig)
{
    wr_put32(w, 1); /* TPM_ALG_RSA */
    wr_put16(w, enc);
    wr_put16(w, sig);
    wr_put32(w, 12);
    wr_put32(w, 2048);
    wr_put32(w, 2);
    wr_put32(w, 0);
}

static void put_no_key(struct wr *w, bool is_ek)
{
    wr_put32(w, 0x01010000);
    put_fill(w, 0, 2 + 4 + 1 + 4 + 2 + 2 + 4);
    put_fill(w, 0, is_ek ? 8 : 12);
}

static void put_ek(struct wr *w)
{
    const struct cr_rsa_key *rsa = fixture_rsa_key(2048, 0);

    wr_put32(w, 0x01010000);
    wr_put16(w, 0x11);
    wr_put32(w, 0);
    wr_put8(w, 0);
    put_parms(w, 3, 1);
    wr_put32(w, 256);
    wr_copy(w, rsa->pub.n, 256);
    wr_put32(w, 20 + 4 + 128);
    put_fill(w, 0, 20);
    wr_put32(w, 128);
    wr_copy(w, rsa->p, 128);
}

struct key_kind {
    unsigned fixture;
    uint16_t usage, enc, sig;
    bool key12, wrong_prime, wrong_digest;
};

static void put_key(struct wr *w, const struct key_kind *kind)
{
    const struct cr_rsa_key *rsa = fixture_rsa_key(2048, kind->fixture);
    const struct cr_rsa_key *prime = fixture_rsa_key(2048, kind->fixture + kind->wrong_prime);
    const size_t begin = w->len;
    uint8_t digest[CR_SHA1_LEN];

    wr_put32(w, kind->key12 ? 0x00280000 : 0x01010000);
    wr_put16(w, kind->usage);
    wr_put32(w, 0);
    wr_put8(w, 1);
    put_parms(w, kind->enc, kind->sig);
    wr_put32(w, 0);
    wr_put32(w, 256);
    wr_copy(w, rsa->pub.n, 256);
    cr_sha1(digest, w->base + begin, w->len - begin);
    digest[0] ^= kind->wrong_digest;
    wr_put32(w, 1 + 20 + 20 + 20 + 4 + 128);
    wr_put8(w, 1); /* TPM_PT_ASYM */
    put_fill(w, 0x55, 20);
    put_fill(w, 0x70, 20);
    wr_copy(w, digest, sizeof digest);
    wr_put32(w, 128);
    wr_copy(w, prime->p, 128);
}

static void put_symmetric(struct wr *w, uint8_t byte)
{
    wr_put16(w, 0x0015);
    wr_put16(w, 0x0100); /* valid, fill */
    put_fill(w, byte, 16);
}

/* ---- Tables ---- */

static void put_counter(struct wr *w, uint32_t value, bool used)
{
    wr_put16(w, 0x000E);
    wr_put32(w, 0x636E7472);
    wr_put32(w, value);
    put_fill(w, 0x63, 20);
    wr_put8(w, used);
}

static void put_selection(struct wr *w, bool pcr_10)
{
    wr_put16(w, 3);
    wr_put8(w, 0);
    wr_put8(w, pcr_10 ? 4 : 0);
    wr_put8(w, 0);
}

static void put_tables(struct wr *w, const struct swtpm_parts *p)
{
    put_counter(w, 5, false); /* the audit's */
    for (unsigned i = 0; i < 8; i++)
        put_counter(w, p->counters[i], p->counters_used >> i & 1);
    put_fill(w, 0, 32);       /* nothing is audited */
    for (unsigned i = 0; i < 16; i++) {
        wr_put8(w, 'f');
        wr_put32(w, i + 1);
        wr_put32(w, 3);
        wr_put32(w, 2);
        wr_put8(w, p->families_used >> i & 1);
    }
    for (unsigned i = 0; i < 4; i++) {
        wr_put32(w, 0x001C001B);
        wr_put8(w, 'r');
        put_selection(w, false);
        wr_put8(w, 0x1F);
        put_fill(w, 0, 20);
        wr_put16(w, 0x001A);
        wr_put32(w, p->delegation_type ? p->delegation_type : 1);
        put_fill(w, 0, 8);
        wr_put32(w, 1);
        wr_put32(w, 3);
        put_fill(w, 0x64, 20);
        wr_put8(w, p->delegations_used >> i & 1);
    }
}

static void put_area(struct wr *w, uint32_t index, uint32_t size, bool bound, bool always)
{
    wr_put32(w, 0x00190018);
    wr_put32(w, index);
    for (unsigned i = 0; i < 2; i++) {
        put_selection(w, bound && !i);
        wr_put8(w, 0x1F);
        if (always || (bound && !i))
            put_fill(w, 0x10, 20);
    }
    wr_put16(w, 0x0017);
    wr_put32(w, 0x00040004);
    put_fill(w, 0, 3);
    wr_put32(w, size);
    put_fill(w, 0x61, 20);
    put_fill(w, 0x44, size);
}

/* ---- All of it ---- */

static void put_data(struct wr *w, const struct swtpm_parts *p)
{
    const struct key_kind srk = {1, 0x11, 3, 1, p->key12, p->wrong_prime, p->wrong_digest};

    wr_put16(w, 0x0022);
    put_fill(w, 0x70, 20);
    put_fill(w, 0, 20);
    put_fill(w, p->owner_auth, 20);
    put_fill(w, 0, 40);
    wr_put8(w, 1);
    put_fill(w, 0, 12);
    wr_put32(w, p->maintenance_key ? 1 : 0);
    put_fill(w, 9, p->maintenance_key ? 1 : 0);
    if (p->no_ek)
        put_no_key(w, true);
    else
        put_ek(w);
    if (p->no_srk)
        put_no_key(w, false);
    else
        put_key(w, &srk);
    put_symmetric(w, 1);
    put_symmetric(w, 2);
    put_tables(w, p);
    wr_put32(w, 16);
    wr_put32(w, p->no_owner_writes);
    wr_put32(w, 0);
    put_fill(w, 0x73, 20);
    wr_put8(w, p->owned);
    wr_put16(w, 0x0001);
    put_fill(w, 0x72, 20);
    put_symmetric(w, 3);
}

size_t make_swtpm_state(uint8_t out[MAKE_SWTPM_MAX], const struct swtpm_parts *p)
{
    struct wr w = wr_to(out, MAKE_SWTPM_MAX);

    wr_put16(&w, p->state_tag ? p->state_tag : 1);
    put_data(&w, p);
    wr_put16(&w, p->flags_version ? p->flags_version : 2);
    wr_put32(&w, p->flags);
    wr_put16(&w, 1);
    wr_put16(&w, p->owner_keys);
    for (unsigned i = 0; i < p->owner_keys; i++) {
        const struct key_kind kind = {2 + i % MAKE_SWTPM_KEYS, 0x10, 1, 2, false, false, false};

        wr_put32(&w, p->handles[i % MAKE_SWTPM_KEYS]);
        put_key(&w, &kind);
        wr_put8(&w, 0);
        wr_put32(&w, 1);
    }
    wr_put16(&w, p->nv_version ? p->nv_version : 2);
    wr_put32(&w, p->area_count);
    for (unsigned i = 0; i < p->area_count; i++)
        put_area(&w, p->areas[i].index, p->areas[i].size, p->areas[i].bound, p->nv_version == 1);
    put_fill(&w, 0, CR_SHA1_LEN);
    make_swtpm_sign(out, w.len);
    return w.len;
}

void make_swtpm_sign(uint8_t *state, size_t len)
{
    cr_sha1(state + len - CR_SHA1_LEN, state, len - CR_SHA1_LEN);
}

/* CBC out of what CTR does to zeros: the cipher itself. */
static void encrypt(const uint8_t key[BLOCK], const uint8_t iv[BLOCK], uint8_t *bytes, size_t len)
{
    static const uint8_t zeros[BLOCK];
    uint8_t chain[BLOCK];

    memcpy(chain, iv, BLOCK);
    for (size_t at = 0; at < len; at += BLOCK) {
        for (size_t i = 0; i < BLOCK; i++)
            chain[i] ^= bytes[at + i];
        if (cr_aes128_ctr(key, chain, zeros, BLOCK, bytes + at))
            return;
        memcpy(chain, bytes + at, BLOCK);
    }
}

static void put_encrypted(struct wr *w, const uint8_t *state, size_t len, const uint8_t *key)
{
    static const uint8_t iv[BLOCK] = "initialisation";
    const size_t pad = BLOCK - len % BLOCK;
    uint8_t *bytes, mac[CR_SHA256_LEN];

    wr_put16(w, 2);
    wr_put32(w, (uint32_t)(len + pad));
    bytes = w->base + w->len;
    wr_copy(w, state, len);
    put_fill(w, (uint8_t)pad, pad);
    encrypt(key, iv, bytes, len + pad);
    cr_hmac_sha256v(mac, key, BLOCK, (struct cr_slice[]){CR_SLICE(bytes, len + pad), CR_SLICE(iv, BLOCK)}, 2);
    wr_put16(w, 3);
    wr_put32(w, sizeof mac);
    wr_copy(w, mac, sizeof mac);
    wr_put16(w, 6);
    wr_put32(w, BLOCK);
    wr_copy(w, iv, BLOCK);
}

size_t make_swtpm_file(uint8_t out[MAKE_SWTPM_MAX], const uint8_t *state, size_t len, const uint8_t *key)
{
    struct wr w = wr_to(out, MAKE_SWTPM_MAX), head = wr_to(out, HEADER);

    (void)wr_room(&w, HEADER);
    if (key) {
        put_encrypted(&w, state, len, key);
    } else {
        wr_put16(&w, 1);
        wr_put32(&w, (uint32_t)len);
        wr_copy(&w, state, len);
    }
    wr_put16(&head, 0x0201);
    wr_put16(&head, HEADER);
    wr_put16(&head, key ? 1 : 0);
    wr_put32(&head, (uint32_t)w.len);
    return w.len;
}
