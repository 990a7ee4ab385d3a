/* SPDX-License-Identifier: Apache-2.0 */
/*
 * P-256 (FIPS 186-4, D.1.2.3): what one server's store is known by to another. Keys are rare, so nothing is kept
 * between calls; scalar multiplications are blinded with numbers of the operating system.
 */
#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>

#include "server/crypto/crypto.h"
#include "server/crypto/mbed.h"

#define SCALAR 32

/* One computation on the curve; freed as a whole, mbedTLS wipes. */
struct curve {
    mbedtls_ecp_group group;
    mbedtls_ecp_point point, product;
    mbedtls_mpi d, r, s;
};

static void curve_free(struct curve *c)
{
    mbedtls_mpi_free(&c->s);
    mbedtls_mpi_free(&c->r);
    mbedtls_mpi_free(&c->d);
    mbedtls_ecp_point_free(&c->product);
    mbedtls_ecp_point_free(&c->point);
    mbedtls_ecp_group_free(&c->group);
}

#define CURVE VT_CLEANUP(curve_free) struct curve

static int ec_err(int rc)
{
    return rc == MBEDTLS_ERR_ECP_ALLOC_FAILED ? VT_ENOMEM : mbed_err(rc);
}

static int curve_init(struct curve *c)
{
    mbedtls_ecp_group_init(&c->group);
    mbedtls_ecp_point_init(&c->point);
    mbedtls_ecp_point_init(&c->product);
    mbedtls_mpi_init(&c->d);
    mbedtls_mpi_init(&c->r);
    mbedtls_mpi_init(&c->s);
    return ec_err(mbedtls_ecp_group_load(&c->group, MBEDTLS_ECP_DP_SECP256R1));
}

static int blinding(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    return cr_os_random(out, len) ? MBEDTLS_ERR_ECP_RANDOM_FAILED : 0;
}

static int load_secret(struct curve *c, const struct vt_key *secret)
{
    int err = curve_init(c);

    if (!err)
        err = ec_err(mbedtls_mpi_read_binary(&c->d, secret->bytes, SCALAR));
    return err ? err : ec_err(mbedtls_ecp_check_privkey(&c->group, &c->d));
}

/* A point of the curve that is not at infinity; the group's order is prime, so there is no small subgroup. */
static int load_public(struct curve *c, const uint8_t pub[CR_EC_PUBLIC])
{
    if (pub[0] != 0x04)
        return VT_ECRYPTO;
    int rc = mbedtls_ecp_point_read_binary(&c->group, &c->point, pub, CR_EC_PUBLIC);

    return ec_err(rc ? rc : mbedtls_ecp_check_pubkey(&c->group, &c->point));
}

static int store_product(struct curve *c, uint8_t pub[CR_EC_PUBLIC])
{
    size_t len = 0;
    int rc = mbedtls_ecp_point_write_binary(&c->group, &c->product, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, pub,
                                            CR_EC_PUBLIC);

    return rc || len != CR_EC_PUBLIC ? VT_ECRYPTO : VT_OK;
}

int cr_ec_public(const struct vt_key *secret, uint8_t pub[CR_EC_PUBLIC])
{
    CURVE c;
    int err = load_secret(&c, secret);

    if (!err)
        err = ec_err(mbedtls_ecp_mul(&c.group, &c.product, &c.d, &c.group.G, blinding, NULL));
    return err ? err : store_product(&c, pub);
}

/* FIPS 186-4, B.4.2: a number of the right length is drawn until it is below the order. Nearly all are. */
int cr_ec_generate(struct vt_key *secret, uint8_t pub[CR_EC_PUBLIC])
{
    int err = VT_ECRYPTO;

    for (int tries = 0; tries < 64 && err == VT_ECRYPTO; tries++) {
        err = cr_key_random(secret, sizeof *secret);
        if (!err)
            err = cr_ec_public(secret, pub);
    }
    if (err)
        vt_wipe(secret, sizeof *secret);
    return err;
}

int cr_ec_check(const uint8_t pub[CR_EC_PUBLIC])
{
    CURVE c;
    int err = curve_init(&c);

    return err ? err : load_public(&c, pub);
}

/* RFC 6979: k from key and digest, so that a weak generator cannot give the key away. */
int cr_ec_sign(const struct vt_key *secret, const uint8_t digest[CR_SHA256_LEN], uint8_t sig[CR_EC_SIGNATURE])
{
    CURVE c;
    int rc, err = load_secret(&c, secret);

    if (err)
        return err;
    rc = mbedtls_ecdsa_sign_det_ext(&c.group, &c.r, &c.s, &c.d, digest, CR_SHA256_LEN, MBEDTLS_MD_SHA256, blinding,
                                    NULL);
    if (!rc)
        rc = mbedtls_mpi_write_binary(&c.r, sig, SCALAR);
    if (!rc)
        rc = mbedtls_mpi_write_binary(&c.s, sig + SCALAR, SCALAR);
    return ec_err(rc);
}

int cr_ec_verify(const uint8_t pub[CR_EC_PUBLIC], const uint8_t digest[CR_SHA256_LEN],
                 const uint8_t sig[CR_EC_SIGNATURE])
{
    CURVE c;
    int rc, err = curve_init(&c);

    if (!err)
        err = load_public(&c, pub);
    if (err)
        return err;
    rc = mbedtls_mpi_read_binary(&c.r, sig, SCALAR);
    if (!rc)
        rc = mbedtls_mpi_read_binary(&c.s, sig + SCALAR, SCALAR);
    return ec_err(rc ? rc : mbedtls_ecdsa_verify(&c.group, digest, CR_SHA256_LEN, &c.point, &c.r, &c.s));
}

/* SP 800-56A, 5.7.1.2: the x coordinate of the product. */
int cr_ec_agree(const struct vt_key *secret, const uint8_t pub[CR_EC_PUBLIC], struct vt_key *shared)
{
    CURVE c;
    uint8_t product[CR_EC_PUBLIC];
    int err = load_secret(&c, secret);

    if (!err)
        err = load_public(&c, pub);
    if (!err)
        err = ec_err(mbedtls_ecp_mul(&c.group, &c.product, &c.d, &c.point, blinding, NULL));
    if (!err)
        err = store_product(&c, product);
    if (!err)
        memcpy(shared->bytes, product + 1, sizeof shared->bytes);
    vt_wipe(product, sizeof product);
    return err;
}
