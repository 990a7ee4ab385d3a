/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on plain numbers, by mbedTLS in both builds: few commands need it, and they are slow anyway. */
#include "server/crypto/crypto.h"
#include "server/crypto/mbed.h"

/* Wiped as a whole. */
struct numbers {
    mbedtls_mpi z, base, exp, n, r;
};

static void each_number(struct numbers *x, void (*visit)(mbedtls_mpi *))
{
    mbedtls_mpi *all[] = { &x->z, &x->base, &x->exp, &x->n, &x->r };

    for (size_t i = 0; i < VT_COUNT(all); i++)
        visit(all[i]);
}

static void numbers_free(struct numbers *x)
{
    each_number(x, mbedtls_mpi_free);
}

#define NUMBERS VT_CLEANUP(numbers_free) struct numbers

static int take(mbedtls_mpi *x, struct cr_slice bytes)
{
    if (bytes.len > CR_NUM_MAX)
        return VT_EUSAGE;
    return mbed_err(mbedtls_mpi_read_binary(x, bytes.ptr, bytes.len));
}

static int give(const mbedtls_mpi *x, uint8_t *out, size_t out_len)
{
    if (mbedtls_mpi_size(x) > out_len)
        return VT_EUSAGE;
    return mbed_err(mbedtls_mpi_write_binary(x, out, out_len));
}

/* z = 1 without one; the modulus is odd and above 1. */
static int take_all(struct numbers *x, struct cr_slice z, struct cr_slice base, struct cr_slice exp, struct cr_slice n)
{
    int err = z.len ? take(&x->z, z) : mbed_err(mbedtls_mpi_lset(&x->z, 1));

    if (err || (err = take(&x->base, base)) || (err = take(&x->exp, exp)) || (err = take(&x->n, n)))
        return err;
    return mbedtls_mpi_get_bit(&x->n, 0) && mbedtls_mpi_cmp_int(&x->n, 1) > 0 ? VT_OK : VT_ECRYPTO;
}

int cr_num_exp_mod(uint8_t *out, size_t out_len, struct cr_slice z, struct cr_slice base, struct cr_slice exp,
                   struct cr_slice n)
{
    NUMBERS x;
    int err, rc;

    each_number(&x, mbedtls_mpi_init);
    err = take_all(&x, z, base, exp, n);
    if (err)
        return err;
    if ((rc = mbedtls_mpi_exp_mod(&x.r, &x.base, &x.exp, &x.n, NULL)) ||
        (rc = mbedtls_mpi_mul_mpi(&x.r, &x.r, &x.z)) || (rc = mbedtls_mpi_mod_mpi(&x.r, &x.r, &x.n)))
        return mbed_err(rc);
    return give(&x.r, out, out_len);
}

int cr_num_mod(uint8_t *out, size_t out_len, struct cr_slice in, struct cr_slice n)
{
    NUMBERS x;
    int err;

    each_number(&x, mbedtls_mpi_init);
    if ((err = take(&x.base, in)) || (err = take(&x.n, n)))
        return err;
    if (!mbedtls_mpi_cmp_int(&x.n, 0))
        return VT_ECRYPTO;
    err = mbed_err(mbedtls_mpi_mod_mpi(&x.r, &x.base, &x.n));
    return err ? err : give(&x.r, out, out_len);
}

int cr_num_mul_add(uint8_t *out, size_t out_len, struct cr_slice a, struct cr_slice b, struct cr_slice c,
                   struct cr_slice d)
{
    NUMBERS x;
    int err, rc;

    each_number(&x, mbedtls_mpi_init);
    if ((err = take(&x.z, a)) || (err = take(&x.base, b)) || (err = take(&x.exp, c)) || (err = take(&x.n, d)))
        return err;
    if ((rc = mbedtls_mpi_mul_mpi(&x.r, &x.base, &x.exp)) || (rc = mbedtls_mpi_add_mpi(&x.r, &x.r, &x.z)) ||
        (rc = mbedtls_mpi_add_mpi(&x.r, &x.r, &x.n)))
        return mbed_err(rc);
    return give(&x.r, out, out_len);
}
