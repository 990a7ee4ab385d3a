/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One round of Miller-Rabin (FIPS 186-4, C.3.1) by libcrypto's exponentiation, two numbers at a time: on processors with
 * AVX-512 IFMA both together cost less than one. libcrypto's own BN_check_prime makes 64 rounds, where six do.
 */
#include <openssl/bn.h>
#include <openssl/err.h>

#include "server/crypto/prime.h"

struct number {
    BIGNUM *n, *last, *m, *z;
    BN_MONT_CTX *mont;
    int a;
};

static void number_free(struct number *x)
{
    BN_clear_free(x->n);
    BN_clear_free(x->last);
    BN_clear_free(x->m);
    BN_clear_free(x->z);
    BN_MONT_CTX_free(x->mont);
}

/* n - 1 = 2^a * m. */
static bool number_make(struct number *x, const struct cr_strong *strong, size_t len, BN_CTX *ctx)
{
    x->n = BN_bin2bn(strong->n, (int)len, NULL);
    x->z = BN_bin2bn(strong->base, (int)len, NULL);
    x->last = BN_new();
    x->m = BN_new();
    x->mont = BN_MONT_CTX_new();
    if (!x->n || !x->z || !x->last || !x->m || !x->mont || !BN_copy(x->last, x->n) || !BN_sub_word(x->last, 1) ||
        !BN_MONT_CTX_set(x->mont, x->n, ctx))
        return false;
    while (!BN_is_bit_set(x->last, x->a))
        x->a++;
    return BN_rshift(x->m, x->last, x->a);
}

/* Steps 4.3 to 4.5: z = b^m; 1, or n - 1 after fewer than a squarings. */
static bool judge(struct number *x, BN_CTX *ctx, bool *passes)
{
    *passes = BN_is_one(x->z);
    for (int j = 0; !*passes && j < x->a; j++) {
        *passes = BN_cmp(x->z, x->last) == 0;
        if (!*passes && j + 1 < x->a && !BN_mod_sqr(x->z, x->z, x->n, ctx))
            return false;
    }
    return true;
}

static bool both(struct number x[2], const struct cr_strong strong[2], size_t len, BN_CTX *ctx, bool passes[2])
{
    return number_make(&x[0], &strong[0], len, ctx) && number_make(&x[1], &strong[1], len, ctx) &&
           BN_mod_exp_mont_consttime_x2(x[0].z, x[0].z, x[0].m, x[0].n, x[0].mont, x[1].z, x[1].z, x[1].m, x[1].n,
                                        x[1].mont, ctx) == 1 &&
           judge(&x[0], ctx, &passes[0]) && judge(&x[1], ctx, &passes[1]);
}

/* The numbers are odd and the bases below them: nothing but want of memory makes a step fail. */
int cr_strong_probable_ossl(const struct cr_strong strong[2], size_t len, bool passes[2])
{
    struct number x[2] = {{0}, {0}};
    BN_CTX *ctx = BN_CTX_new();
    bool ok = ctx && both(x, strong, len, ctx, passes);

    number_free(&x[0]);
    number_free(&x[1]);
    BN_CTX_free(ctx);
    if (!ok)
        ERR_clear_error();
    return ok ? VT_OK : VT_ENOMEM;
}
