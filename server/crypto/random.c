/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>

#include "server/crypto/crypto.h"

int cr_os_random(void *out, size_t len)
{
    uint8_t *at = out;

    while (len) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return VT_EIO;
        at += got;
        len -= (size_t)got;
    }
    return VT_OK;
}

/* SP 800-90A, 10.1.2.2 HMAC_DRBG_Update; the input is the concatenation of a and b. */
static void update(struct cr_drbg *drbg, struct cr_slice a, struct cr_slice b)
{
    /* 3. and 6. The second round is left out when there is no input. */
    int rounds = a.len + b.len ? 2 : 1;

    for (int i = 0; i < rounds; i++) {
        uint8_t round = (uint8_t)i;
        struct cr_slice parts[] = { CR_SLICE(drbg->v, sizeof drbg->v), CR_SLICE(&round, 1), a, b };

        cr_hmac_sha256v(drbg->k, drbg->k, sizeof drbg->k, parts, VT_COUNT(parts));
        cr_hmac_sha256v(drbg->v, drbg->k, sizeof drbg->k, &CR_SLICE(drbg->v, sizeof drbg->v), 1);
    }
}

/* 10.1.2.3: the seed is entropy input and nonce. */
void cr_drbg_init(struct cr_drbg *drbg, const uint8_t seed[CR_DRBG_SEED], const void *personal, size_t len)
{
    memset(drbg->k, 0, sizeof drbg->k);
    memset(drbg->v, 1, sizeof drbg->v);
    update(drbg, CR_SLICE(seed, CR_DRBG_SEED), CR_SLICE(personal, len));
    drbg->calls = 0;
}

/* 10.1.2.4 */
void cr_drbg_stir(struct cr_drbg *drbg, const void *input, size_t len)
{
    update(drbg, CR_SLICE(input, len), CR_SLICE(NULL, 0));
    drbg->calls = 0;
}

/* 10.1.2.5. Its limit of 2^48 calls between reseeds takes years of nothing else to reach. */
static void generate(struct cr_drbg *drbg, uint8_t *out, size_t len)
{
    while (len) {
        size_t part = VT_MIN(len, sizeof drbg->v);

        cr_hmac_sha256v(drbg->v, drbg->k, sizeof drbg->k, &CR_SLICE(drbg->v, sizeof drbg->v), 1);
        memcpy(out, drbg->v, part);
        out += part;
        len -= part;
    }
    update(drbg, CR_SLICE(NULL, 0), CR_SLICE(NULL, 0));
    drbg->calls++;
}

void cr_drbg_random(struct cr_drbg *drbg, void *out, size_t len)
{
    const size_t most = (size_t)1 << 16; /* bytes of one request, table 2 */
    uint8_t *at = out;

    do {
        size_t part = VT_MIN(len, most);

        generate(drbg, at, part);
        at += part;
        len -= part;
    } while (len);
}
