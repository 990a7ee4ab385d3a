/* SPDX-License-Identifier: Apache-2.0 */
/* RSA keys: making one, and checking and completing the one prime that a TPM blob carries. */
#include "server/base/alloc.h"
#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"
#include "server/crypto/rsa.h"

/* The numbers of a key under work; wiped as a whole. */
struct numbers {
    mbedtls_mpi n, p, q, e, p1, q1, t, u;
};

static void each_number(struct numbers *numbers, void (*visit)(mbedtls_mpi *))
{
    mbedtls_mpi *all[] = { &numbers->n,  &numbers->p,  &numbers->q, &numbers->e,
                           &numbers->p1, &numbers->q1, &numbers->t, &numbers->u };

    for (size_t i = 0; i < VT_COUNT(all); i++)
        visit(all[i]);
}

static void numbers_free(struct numbers *numbers)
{
    each_number(numbers, mbedtls_mpi_free);
}

static void parts_wipe(struct cr_rsa_parts *parts)
{
    vt_wipe(parts, sizeof *parts);
}

void cr_rsa_key_wipe(struct cr_rsa_key *key)
{
    vt_wipe(key, sizeof *key);
}

static bool size_supported(size_t bytes)
{
    return bytes >= 64 && bytes <= CR_RSA_MAX && bytes % 2 == 0;
}

static bool exponent_supported(uint32_t e)
{
    return e >= 3 && (e & 1);
}

bool cr_rsa_size_fits(unsigned bits, uint32_t e)
{
    return bits % 16 == 0 && size_supported(bits / 8) && exponent_supported(e);
}

int cr_rsa_pub_check(const struct cr_rsa_pub *pub)
{
    if (!size_supported(pub->bytes) || !exponent_supported(pub->e))
        return VT_ECRYPTO;
    if (!(pub->n[0] & 0x80) || !(pub->n[pub->bytes - 1] & 1))
        return VT_ECRYPTO;
    return VT_OK;
}

static int set_u32(mbedtls_mpi *x, uint32_t value)
{
    uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                         (uint8_t)value };

    return mbedtls_mpi_read_binary(x, bytes, sizeof bytes);
}

/* p1 and q1 from p and q. */
static int subtract_ones(struct numbers *x)
{
    int rc = mbedtls_mpi_sub_int(&x->p1, &x->p, 1);

    return rc ? rc : mbedtls_mpi_sub_int(&x->q1, &x->q, 1);
}

/* ---- Load ---- */

/* n = p * q exactly, and both primes odd and of half the size of n. */
static int read_and_divide(struct numbers *x, const struct cr_rsa_key *key)
{
    size_t half = key->pub.bytes / 2u;
    int rc;

    if ((rc = mbedtls_mpi_read_binary(&x->n, key->pub.n, key->pub.bytes)) ||
        (rc = mbedtls_mpi_read_binary(&x->p, key->p, half)) || (rc = set_u32(&x->e, key->pub.e)))
        return mbed_err(rc);
    if (mbedtls_mpi_bitlen(&x->p) != 8 * half || !mbedtls_mpi_get_bit(&x->p, 0))
        return VT_ECRYPTO;
    if ((rc = mbedtls_mpi_div_mpi(&x->q, &x->t, &x->n, &x->p)))
        return mbed_err(rc);
    /* q is odd because n is. */
    if (mbedtls_mpi_cmp_int(&x->t, 0) || mbedtls_mpi_bitlen(&x->q) != 8 * half)
        return VT_ECRYPTO;
    if (!mbedtls_mpi_cmp_mpi(&x->p, &x->q))
        return VT_ECRYPTO;
    return mbed_err(subtract_ones(x));
}

/*
 * The inverse of e modulo m, for a small e: find k < e with k * m = -1 (mod e); then (k * m + 1) / e is it.
 * The only inversion is of a 32-bit number; one modulo m costs as much as a private operation.
 */
static int invert_e(struct numbers *x, const mbedtls_mpi *m, uint8_t *out, size_t len)
{
    int rc;

    if ((rc = mbedtls_mpi_mod_mpi(&x->t, m, &x->e)))
        return mbed_err(rc);
    rc = mbedtls_mpi_inv_mod(&x->t, &x->t, &x->e);
    if (rc == MBEDTLS_ERR_MPI_NOT_ACCEPTABLE || rc == MBEDTLS_ERR_MPI_BAD_INPUT_DATA)
        return VT_ECRYPTO;
    if (rc || (rc = mbedtls_mpi_sub_mpi(&x->t, &x->e, &x->t)) ||
        (rc = mbedtls_mpi_mul_mpi(&x->t, &x->t, m)) || (rc = mbedtls_mpi_add_int(&x->t, &x->t, 1)) ||
        (rc = mbedtls_mpi_div_mpi(&x->t, NULL, &x->t, &x->e)))
        return mbed_err(rc);
    return mbed_err(mbedtls_mpi_write_binary(&x->t, out, len));
}

/* Is e coprime to the prime less one? */
static bool exponent_fits(const mbedtls_mpi *prime, size_t len, uint32_t e)
{
    uint8_t bytes[CR_RSA_MAX / 2];
    uint64_t rest = 0, other = e;

    if (mbedtls_mpi_write_binary(prime, bytes, len))
        return false;
    for (size_t i = 0; i < len; i++)
        rest = (rest << 8 | bytes[i]) % e;
    vt_wipe(bytes, sizeof bytes);
    rest = (rest ? rest : e) - 1;
    while (rest) {
        uint64_t next = other % rest;

        other = rest;
        rest = next;
    }
    return other == 1;
}

static int check(struct numbers *x, const struct cr_rsa_key *key)
{
    const size_t half = key->pub.bytes / 2u;
    int err = cr_rsa_pub_check(&key->pub);

    if (!err)
        err = read_and_divide(x, key);
    if (!err && (!exponent_fits(&x->p, half, key->pub.e) || !exponent_fits(&x->q, half, key->pub.e)))
        err = VT_ECRYPTO;
    return err;
}

int cr_rsa_check(const struct cr_rsa_key *key)
{
    VT_CLEANUP(numbers_free) struct numbers x;

    each_number(&x, mbedtls_mpi_init);
    return check(&x, key);
}

int cr_rsa_parts_of(struct cr_rsa_parts *parts, const struct cr_rsa_key *key)
{
    VT_CLEANUP(numbers_free) struct numbers x;
    size_t half = key->pub.bytes / 2u;
    int err;

    each_number(&x, mbedtls_mpi_init);
    err = check(&x, key);
    if (!err)
        err = mbed_err(mbedtls_mpi_write_binary(&x.q, parts->q, half));
    if (!err)
        err = invert_e(&x, &x.p1, parts->dp, half);
    if (!err)
        err = invert_e(&x, &x.q1, parts->dq, half);
    if (!err)
        err = mbed_err(mbedtls_mpi_mul_mpi(&x.u, &x.p1, &x.q1));
    if (!err)
        err = invert_e(&x, &x.u, parts->d, key->pub.bytes);
    return err;
}

/*
 * One operation there and back with a number that depends on the key: a composite "prime" does not survive
 * it, as in Fermat's test.
 */
static int try_key(struct cr_rsa *rsa)
{
    uint8_t digest[CR_SHA1_LEN];
    uint8_t in[CR_RSA_MAX];
    uint8_t out[CR_RSA_MAX];
    int err;

    cr_sha1(digest, rsa->pub.n, rsa->pub.bytes);
    cr_mgf1_sha1(in, rsa->pub.bytes, digest, sizeof digest);
    in[0] &= 0x7f; /* below n, whose top bit is set */
    err = cr_rsa_private_op(rsa, in, out);
    vt_wipe(out, sizeof out);
    return err;
}

int cr_rsa_open_with(const struct cr_backend *backend, struct cr_rsa **rsa, const struct cr_rsa_key *key)
{
    VT_CLEANUP(parts_wipe) struct cr_rsa_parts parts;
    struct cr_rsa *made;
    int err;

    *rsa = NULL;
    err = cr_rsa_parts_of(&parts, key);
    if (err)
        return err;
    made = VT_NEW(struct cr_rsa);
    if (!made)
        return VT_ENOMEM;
    made->backend = backend;
    made->pub = key->pub;
    err = backend->rsa_load(&made->impl, key, &parts);
    if (err) {
        cr_rsa_free(made);
        return err;
    }
    *rsa = made;
    return VT_OK;
}

int cr_rsa_load_with(const struct cr_backend *backend, struct cr_rsa **rsa, const struct cr_rsa_key *key)
{
    int err = cr_rsa_open_with(backend, rsa, key);

    if (!err)
        err = try_key(*rsa);
    if (err) {
        cr_rsa_free(*rsa);
        *rsa = NULL;
    }
    return err;
}

int cr_rsa_open(struct cr_rsa **rsa, const struct cr_rsa_key *key)
{
    return cr_rsa_open_with(&CR_BACKEND, rsa, key);
}

int cr_rsa_load(struct cr_rsa **rsa, const struct cr_rsa_key *key)
{
    return cr_rsa_load_with(&CR_BACKEND, rsa, key);
}

void cr_rsa_free(struct cr_rsa *rsa)
{
    if (!rsa)
        return;
    rsa->backend->rsa_free(rsa->impl);
    vt_free(rsa);
}

const struct cr_rsa_pub *cr_rsa_public(const struct cr_rsa *rsa)
{
    return &rsa->pub;
}

/* ---- Generate ---- */

static int drbg_random(void *ctx, unsigned char *out, size_t len)
{
    cr_drbg_random(ctx, out, len);
    return 0;
}

/* A prime of `bits` bits with its two top bits such that a product of two has 2 * bits, and p - 1 coprime
 * to e. */
static int find_prime(mbedtls_mpi *prime, struct numbers *x, size_t bits, struct cr_drbg *drbg)
{
    /* FIPS 186-4, C.3: error below 2^-100 for the sizes in use. */
    const int flags = MBEDTLS_MPI_GEN_PRIME_FLAG_LOW_ERR;

    /* At worst four of five primes are turned down, for an e that is a product of many small ones. */
    for (int tries = 0; tries < 500; tries++) {
        int rc;

        if ((rc = mbedtls_mpi_gen_prime(prime, bits, flags, drbg_random, drbg)) ||
            (rc = mbedtls_mpi_sub_int(&x->t, prime, 1)) || (rc = mbedtls_mpi_gcd(&x->u, &x->t, &x->e)))
            return mbed_err(rc);
        if (!mbedtls_mpi_cmp_int(&x->u, 1))
            return VT_OK;
    }
    return VT_ECRYPTO;
}

/*
 * FIPS 186-4, B.3.1: the primes differ within their first 100 bits, and d, taken modulo lcm(p - 1, q - 1),
 * is longer than half the modulus. *good tells.
 */
static int judge_pair(struct numbers *x, size_t bits, bool *good)
{
    int rc;

    *good = false;
    if ((rc = mbedtls_mpi_sub_mpi(&x->t, &x->p, &x->q)))
        return rc;
    /* For a difference of 2^k to 2^(k+1) - 1, bitlen is k + 1. */
    if (mbedtls_mpi_bitlen(&x->t) <= bits / 2 - 100)
        return 0;
    if ((rc = subtract_ones(x)) || (rc = mbedtls_mpi_gcd(&x->t, &x->p1, &x->q1)) ||
        (rc = mbedtls_mpi_mul_mpi(&x->u, &x->p1, &x->q1)) ||
        (rc = mbedtls_mpi_div_mpi(&x->u, NULL, &x->u, &x->t)) ||
        (rc = mbedtls_mpi_inv_mod(&x->t, &x->e, &x->u)))
        return rc;
    *good = mbedtls_mpi_bitlen(&x->t) > bits / 2;
    return 0;
}

static int generate(struct numbers *x, unsigned bits, struct cr_drbg *drbg)
{
    bool good = false;

    for (int tries = 0; tries < 8 && !good; tries++) {
        int err = find_prime(&x->p, x, bits / 2, drbg);

        if (!err)
            err = find_prime(&x->q, x, bits / 2, drbg);
        if (!err)
            err = mbed_err(judge_pair(x, bits, &good));
        if (err)
            return err;
    }
    return good ? mbed_err(mbedtls_mpi_mul_mpi(&x->n, &x->p, &x->q)) : VT_ECRYPTO;
}

int cr_rsa_generate(struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg)
{
    VT_CLEANUP(numbers_free) struct numbers x;
    size_t bytes = bits / 8;
    int err;

    each_number(&x, mbedtls_mpi_init);
    if (!cr_rsa_size_fits(bits, e))
        return VT_EUSAGE;
    cr_rsa_key_wipe(key);
    err = mbed_err(set_u32(&x.e, e));
    if (!err)
        err = generate(&x, bits, drbg);
    if (!err)
        err = mbed_err(mbedtls_mpi_write_binary(&x.n, key->pub.n, bytes));
    if (!err)
        err = mbed_err(mbedtls_mpi_write_binary(&x.p, key->p, bytes / 2));
    if (!err) {
        key->pub.e = e;
        key->pub.bytes = (uint16_t)bytes;
        err = cr_rsa_pub_check(&key->pub);
    }
    if (err)
        cr_rsa_key_wipe(key);
    return err;
}
