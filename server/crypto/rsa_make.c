/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA keys by our own search for primes, on the fastest exponentiation that the back end has (docs/architecture.md, "Keys",
 * has the figures). As cr_rsa_generate: same generator state, same key, and in every back end.
 *
 * A prime is looked for from a random odd start upwards, in a window from which the multiples of small primes are struck
 * out. What is left is filtered by one round of Miller-Rabin and confirmed by as many rounds, of random bases, as FIPS
 * 186-4 (C.3) wants. The start has two top bits set, so that n has all its bits and p, q >= sqrt(2) * 2^(bits / 2 - 1)
 * (186-5, A.1.3). The time taken tells how many candidates were tried, and nothing else.
 */
#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"

#define HALF_MAX    (CR_RSA_MAX / 2)
#define SIEVE_BELOW 16384u /* more costs what it saves */
#define WINDOW      2048u  /* odd numbers: one of 300 has no prime of 1024 bits, and another start is drawn */
#define STARTS_MAX  1000

struct search {
    const struct cr_backend *backend;
    struct cr_drbg *drbg;
    size_t len;                         /* bytes of a prime */
    uint32_t e;
    uint8_t start[HALF_MAX], base[HALF_MAX];
    uint8_t candidate[2][HALF_MAX];     /* those under test */
    bool struck[WINDOW];                /* start + 2 * i has a small factor, or does not go with e */
    bool composite[SIEVE_BELOW / 2];    /* 2 * i + 1 */
};

static void search_wipe(struct search *s)
{
    vt_wipe(s, sizeof *s);
}

/* FIPS 186-4, C.3: at least as many as make an error less likely than 2^-100, on top of the round that filters. */
static unsigned rounds_for(size_t len)
{
    return len >= 128 ? 6 : len >= 64 ? 13 : 40;
}

/* ---- Small numbers ---- */

static uint32_t mod_small(const uint8_t *n, size_t len, uint32_t m)
{
    uint64_t rest = 0;

    for (size_t i = 0; i < len; i++)
        rest = (rest << 8 | n[i]) % m;
    return (uint32_t)rest;
}

/* The same for a length that is a multiple of four, which nearly all are: this is where the sieve's time goes. */
static uint32_t mod_words(const uint8_t *n, size_t len, uint32_t m)
{
    uint64_t rest = 0;

    if (len % 4)
        return mod_small(n, len, m);
    for (size_t i = 0; i < len; i += 4)
        rest = (rest << 32 | (uint32_t)n[i] << 24 | (uint32_t)n[i + 1] << 16 | (uint32_t)n[i + 2] << 8 | n[i + 3]) % m;
    return (uint32_t)rest;
}

static uint32_t gcd_small(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

static void add_small(uint8_t *n, size_t len, uint32_t value)
{
    uint64_t carry = value;

    for (size_t i = len; i-- && carry;) {
        carry += n[i];
        n[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

/* ---- The window ---- */

static void find_small_primes(struct search *s)
{
    s->composite[0] = true;
    for (size_t i = 1; (2 * i + 1) * (2 * i + 1) < SIEVE_BELOW; i++)
        for (size_t k = (2 * i + 1) * (2 * i + 1) / 2; !s->composite[i] && k < SIEVE_BELOW / 2; k += 2 * i + 1)
            s->composite[k] = true;
}

/* start + 2 * k = 0 (mod prime) for the first k and every prime-th from there. */
static void strike(struct search *s, uint32_t prime, uint32_t rest)
{
    uint32_t k = rest ? prime - rest : 0;

    for (k = (k & 1 ? k + prime : k) / 2; k < WINDOW; k += prime)
        s->struck[k] = true;
}

/* Two primes at a time: their product still divides in one step. */
static void sieve(struct search *s)
{
    uint32_t held = 0;

    memset(s->struck, 0, sizeof s->struck);
    for (uint32_t i = 1; i < SIEVE_BELOW / 2; i++) {
        uint32_t prime = 2 * i + 1, rest;

        if (s->composite[i])
            continue;
        if (!held) {
            held = prime;
            continue;
        }
        rest = mod_words(s->start, s->len, held * prime);
        strike(s, held, rest % held);
        strike(s, prime, rest % prime);
        held = 0;
    }
    if (held)
        strike(s, held, mod_words(s->start, s->len, held));
}

/* Without those for which p - 1 has a factor of e. */
static void fit_exponent(struct search *s)
{
    uint32_t rest = mod_words(s->start, s->len, s->e);

    for (uint32_t k = 0; k < WINDOW; k++)
        if (!s->struck[k] && gcd_small(s->e, (uint32_t)(((uint64_t)rest + 2 * k + s->e - 1) % s->e)) != 1)
            s->struck[k] = true;
}

/* No number of the window may need another byte. */
static void open_window(struct search *s)
{
    do {
        cr_drbg_random(s->drbg, s->start, s->len);
        s->start[0] |= 0xc0;
        s->start[s->len - 1] |= 1;
    } while (s->start[0] == 0xff && s->start[1] == 0xff);
    cr_drbg_random(s->drbg, s->base, s->len);
    s->base[0] &= 0x7f; /* below every candidate; never 0 or 1: */
    s->base[s->len - 1] |= 2;
    sieve(s);
    fit_exponent(s);
}

/* ---- Miller-Rabin ---- */

/* Uniform in 2 .. n - 2. */
static void draw_base(struct search *s, const uint8_t *n, uint8_t *base)
{
    uint8_t last[HALF_MAX], low;

    memcpy(last, n, s->len);
    last[s->len - 1] ^= 1; /* n - 1: n is odd */
    do {
        cr_drbg_random(s->drbg, base, s->len);
        low = base[s->len - 1] > 1;
        for (size_t i = 0; i + 1 < s->len; i++)
            low |= base[i];
    } while (!low || memcmp(base, last, s->len) >= 0);
    vt_wipe(last, sizeof last);
}

/* Two bases at a time. */
static int confirm(struct search *s, const uint8_t *n, bool *is_prime)
{
    uint8_t base[2][HALF_MAX];
    bool passes[2] = {true, true};
    int err = VT_OK;

    for (unsigned done = 0; !err && passes[0] && passes[1] && done < rounds_for(s->len); done += 2) {
        draw_base(s, n, base[0]);
        draw_base(s, n, base[1]);
        err = s->backend->strong_probable(
            (const struct cr_strong[2]){{.n = n, .base = base[0]}, {.n = n, .base = base[1]}}, s->len, passes);
    }
    vt_wipe(base, sizeof base);
    *is_prime = !err && passes[0] && passes[1];
    return err;
}

/* The next in the window from *at on; false: there is none. */
static bool next_candidate(struct search *s, uint32_t *at, uint8_t *out)
{
    while (*at < WINDOW && s->struck[*at])
        ++*at;
    if (*at == WINDOW)
        return false;
    memcpy(out, s->start, s->len);
    add_small(out, s->len, 2 * *at);
    ++*at;
    return true;
}

/* The first two that are left are tried together. *found: the prime is at `prime`. */
static int search_window(struct search *s, uint8_t *prime, bool *found)
{
    uint32_t at = 0;
    int err = VT_OK;

    *found = false;
    while (!err && !*found && next_candidate(s, &at, s->candidate[0])) {
        bool passes[2];

        if (!next_candidate(s, &at, s->candidate[1]))
            memcpy(s->candidate[1], s->candidate[0], s->len);
        err = s->backend->strong_probable((const struct cr_strong[2]){{.n = s->candidate[0], .base = s->base},
                                                                      {.n = s->candidate[1], .base = s->base}},
                                          s->len, passes);
        for (int i = 0; !err && !*found && i < 2; i++) {
            if (passes[i])
                err = confirm(s, s->candidate[i], found);
            if (*found)
                memcpy(prime, s->candidate[i], s->len);
        }
    }
    return err;
}

static int find_prime(struct search *s, uint8_t *prime)
{
    bool found = false;
    int err = VT_OK;

    for (int tries = 0; !err && !found; tries++) {
        if (tries == STARTS_MAX)
            return VT_ECRYPTO;
        open_window(s);
        err = search_window(s, prime, &found);
    }
    return err;
}

/* ---- The pair ---- */

/* Wiped as a whole. */
struct numbers {
    mbedtls_mpi n, p, q, t, u;
};

static void each_number(struct numbers *x, void (*visit)(mbedtls_mpi *))
{
    mbedtls_mpi *all[] = {&x->n, &x->p, &x->q, &x->t, &x->u};

    for (size_t i = 0; i < VT_COUNT(all); i++)
        visit(all[i]);
}

static void numbers_free(struct numbers *x)
{
    each_number(x, mbedtls_mpi_free);
}

/*
 * FIPS 186-4, B.3.1: |p - q| > 2^(bits / 2 - 100), and d, modulo lcm(p - 1, q - 1), is above 2^(bits / 2). d is at least
 * lcm / e, and e below 2^32: an lcm of more than bits / 2 + 33 bits does.
 */
static int judge_pair(struct numbers *x, size_t bits, bool *good)
{
    int rc;

    *good = false;
    if ((rc = mbedtls_mpi_sub_mpi(&x->t, &x->p, &x->q)))
        return rc;
    if (mbedtls_mpi_bitlen(&x->t) <= bits / 2 - 100)
        return 0;
    if ((rc = mbedtls_mpi_sub_int(&x->t, &x->p, 1)) || (rc = mbedtls_mpi_sub_int(&x->u, &x->q, 1)) ||
        (rc = mbedtls_mpi_gcd(&x->t, &x->t, &x->u)))
        return rc;
    /* lcm = (p - 1) * (q - 1) / gcd has at least bits - 1 - bitlen(gcd) bits. */
    *good = bits - 1 - mbedtls_mpi_bitlen(&x->t) > bits / 2 + 33;
    return 0;
}

static int combine(struct cr_rsa_key *key, const uint8_t *q, size_t half, bool *good)
{
    VT_CLEANUP(numbers_free) struct numbers x;
    int rc;

    each_number(&x, mbedtls_mpi_init);
    if ((rc = mbedtls_mpi_read_binary(&x.p, key->p, half)) || (rc = mbedtls_mpi_read_binary(&x.q, q, half)) ||
        (rc = judge_pair(&x, 16 * half, good)) || (rc = mbedtls_mpi_mul_mpi(&x.n, &x.p, &x.q)))
        return mbed_err(rc);
    return mbed_err(mbedtls_mpi_write_binary(&x.n, key->pub.n, 2 * half));
}

static int find_pair(struct search *s, struct cr_rsa_key *key)
{
    uint8_t q[HALF_MAX];
    bool good = false;
    int err = VT_OK;

    for (int tries = 0; tries < 8 && !err && !good; tries++) {
        err = find_prime(s, key->p);
        if (!err)
            err = find_prime(s, q);
        if (!err)
            err = combine(key, q, s->len, &good);
    }
    vt_wipe(q, sizeof q);
    return err || good ? err : VT_ECRYPTO;
}

int cr_rsa_make_with(const struct cr_backend *backend, struct cr_rsa_key *key, unsigned bits, uint32_t e,
                     struct cr_drbg *drbg)
{
    VT_CLEANUP(search_wipe) struct search s = {.backend = backend, .drbg = drbg, .len = bits / 16, .e = e};
    int err;

    if (!cr_rsa_size_fits(bits, e))
        return VT_EUSAGE;
    cr_rsa_key_wipe(key);
    find_small_primes(&s);
    err = find_pair(&s, key);
    if (!err) {
        key->pub.e = e;
        key->pub.bytes = (uint16_t)(bits / 8);
        err = cr_rsa_pub_check(&key->pub);
    }
    if (err)
        cr_rsa_key_wipe(key);
    return err;
}

int cr_rsa_make(struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg)
{
    return cr_rsa_make_with(&CR_BACKEND, key, bits, e, drbg);
}
