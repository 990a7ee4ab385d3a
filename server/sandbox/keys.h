/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA keys on the instance socket (sandbox.h): SANDBOX_KEY and its answer, and what the broker and its key makers say to
 * each other. Written and read in one place for both sides. A key is secret: who has a frame with one wipes it.
 */
#ifndef VTPM_SANDBOX_KEYS_H
#define VTPM_SANDBOX_KEYS_H

#include "server/sandbox/sandbox.h"
#include "server/wire/cursor.h"
#include "server/crypto/crypto.h"

/* How many a sandbox may ask for in the course of one request: no command makes more, nor does manufacture. */
#define SANDBOX_KEYS_MAX 1

/* The size in bits and the public exponent: of SANDBOX_KEY, and at the end of SANDBOX_KEY_MAKE. */
#define SANDBOX_KEY_ASK_LEN 8
/* False: no key of this kind can be made (cr_rsa_size_fits). */
static inline bool sandbox_rd_key_ask(struct rd *r, unsigned *bits, uint32_t *e)
{
    *bits = rd_get32(r);
    *e = rd_get32(r);
    return rd_done(r) && cr_rsa_size_fits(*bits, *e);
}

/* A key: exponent, bytes of the modulus, modulus, one prime. */
#define SANDBOX_KEY_LEN_MAX (4 + 2 + CR_RSA_MAX + CR_RSA_MAX / 2)
static inline void sandbox_wr_key(struct wr *w, const struct cr_rsa_key *key)
{
    wr_put32(w, key->pub.e);
    wr_put16(w, key->pub.bytes);
    wr_copy(w, key->pub.n, key->pub.bytes);
    wr_copy(w, key->p, key->pub.bytes / 2u);
}

/* False: that is no key of the kind that was asked for. That n = p * q is for cr_rsa_load to see. */
static inline bool sandbox_rd_key(struct rd *r, struct cr_rsa_key *key, unsigned bits, uint32_t e)
{
    key->pub.e = rd_get32(r);
    key->pub.bytes = rd_get16(r);
    if (key->pub.e != e || key->pub.bytes * 8u != bits || key->pub.bytes > CR_RSA_MAX)
        return false;
    rd_copy(r, key->pub.n, key->pub.bytes);
    rd_copy(r, key->p, key->pub.bytes / 2u);
    return rd_done(r) && (key->pub.n[0] & 0x80) && (key->pub.n[key->pub.bytes - 1] & 1);
}

/*
 * A key of the broker's, asked for by SANDBOX_KEY and checked as any that is loaded; where it has none, or a bad one, the
 * sandbox makes it itself by `drbg`. As cr_rsa_generate; VT_ECLOSED: the broker is gone, VT_EPROTO: it is not ours.
 */
int sandbox_ask_key(int fd, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg) VT_USE_RESULT;

#endif
