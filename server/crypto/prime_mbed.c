/* SPDX-License-Identifier: Apache-2.0 */
/* One round of Miller-Rabin (FIPS 186-4, C.3.1) by mbedTLS. */
#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"
#include "server/crypto/prime.h"

/* Wiped as a whole. */
struct numbers {
    mbedtls_mpi n, last, m, z;
};

static void each_number(struct numbers *x, void (*visit)(mbedtls_mpi *))
{
    mbedtls_mpi *all[] = {&x->n, &x->last, &x->m, &x->z};

    for (size_t i = 0; i < VT_COUNT(all); i++)
        visit(all[i]);
}

static void numbers_free(struct numbers *x)
{
    each_number(x, mbedtls_mpi_free);
}

/* Steps 4.3 to 4.5: z = b^m; 1, or n - 1 after fewer than a squarings. */
static int judge(struct numbers *x, size_t a, bool *passes)
{
    int rc = 0;

    *passes = !mbedtls_mpi_cmp_int(&x->z, 1);
    for (size_t j = 0; !rc && !*passes && j < a; j++) {
        *passes = !mbedtls_mpi_cmp_mpi(&x->z, &x->last);
        if (!*passes && j + 1 < a && !(rc = mbedtls_mpi_mul_mpi(&x->z, &x->z, &x->z)))
            rc = mbedtls_mpi_mod_mpi(&x->z, &x->z, &x->n);
    }
    return rc;
}

static int one(const struct cr_strong *strong, size_t len, bool *passes)
{
    VT_CLEANUP(numbers_free) struct numbers x;
    size_t a;
    int rc;

    each_number(&x, mbedtls_mpi_init);
    if ((rc = mbedtls_mpi_read_binary(&x.n, strong->n, len)) || (rc = mbedtls_mpi_read_binary(&x.z, strong->base, len)) ||
        (rc = mbedtls_mpi_sub_int(&x.last, &x.n, 1)) || (rc = mbedtls_mpi_copy(&x.m, &x.last)))
        return mbed_err(rc);
    a = mbedtls_mpi_lsb(&x.m);
    if ((rc = mbedtls_mpi_shift_r(&x.m, a)) || (rc = mbedtls_mpi_exp_mod(&x.z, &x.z, &x.m, &x.n, NULL)))
        return mbed_err(rc);
    return mbed_err(judge(&x, a, passes));
}

int cr_strong_probable_mbed(const struct cr_strong strong[2], size_t len, bool passes[2])
{
    int err = one(&strong[0], len, &passes[0]);

    return err ? err : one(&strong[1], len, &passes[1]);
}
