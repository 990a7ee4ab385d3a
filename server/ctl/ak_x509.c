/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate of an attestation key, checked where a quote is verified. */
#include "server/ctl/quote.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static X509 *read_cert(const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    X509 *cert = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;

    BIO_free(file);
    return cert;
}

static int check_chain(X509 *cert, X509 *ca, const char *path, struct vt_why *why)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int err = VT_OK;

    if (!store || !ctx || X509_STORE_add_cert(store, ca) != 1 ||
        X509_STORE_CTX_init(ctx, store, cert, NULL) != 1)
        err = VT_ECRYPTO;
    /* What the operator names is trusted as it is, an intermediate one too. */
    if (!err)
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
    if (!err && X509_verify_cert(ctx) != 1)
        err = vt_fail(why, VT_EAUTH, "--key %s: the CA's certificate does not vouch for it: %s", path,
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return err;
}

/*
 * TCG's tcg-kp-AIKCertificate: whoever has another certificate of this CA, for a web server say, must not be
 * taken for a TPM.
 */
static int check_usage(X509 *cert, const char *path, struct vt_why *why)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    ASN1_OBJECT *wanted = OBJ_txt2obj("2.23.133.8.3", 1);
    bool found = false;

    for (int k = 0; usages && wanted && k < sk_ASN1_OBJECT_num(usages); k++)
        found |= OBJ_cmp(sk_ASN1_OBJECT_value(usages, k), wanted) == 0;
    ASN1_OBJECT_free(wanted);
    EXTENDED_KEY_USAGE_free(usages);
    return found ? VT_OK
                 : vt_fail(why, VT_EAUTH,
                           "--key %s: it is no attestation key's certificate: its extendedKeyUsage "
                           "must have 2.23.133.8.3 (tcg-kp-AIKCertificate)",
                           path);
}

static int take_key(struct cr_rsa_pub *key, const X509 *cert, const char *path, struct vt_why *why)
{
    EVP_PKEY *pkey = X509_get0_pubkey(cert);
    BIGNUM *n = NULL, *e = NULL;
    bool good = pkey && EVP_PKEY_is_a(pkey, "RSA") &&
                EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) &&
                EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) && BN_num_bits(n) == 8 * CR_RSA_MAX &&
                BN_is_word(e, 65537);

    *key = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    good = good && BN_bn2binpad(n, key->n, CR_RSA_MAX) == CR_RSA_MAX;
    BN_free(n);
    BN_free(e);
    return good ? VT_OK
                : vt_fail(why, VT_EUSAGE, "--key %s: the certificate's key is not RSA of 2048 bits", path);
}

int ak_of_certificate(struct cr_rsa_pub *key, const char *cert, const char *ca, struct vt_why *why)
{
    int err = OPENSSL_init_crypto(OPENSSL_INIT_ADD_ALL_DIGESTS, NULL) == 1 ? VT_OK : VT_ECRYPTO;
    X509 *leaf = read_cert(cert), *root = read_cert(ca);

    if (!leaf || !root)
        err = vt_fail(why, VT_EUSAGE, "%s: no certificate in PEM can be read there", leaf ? ca : cert);
    if (!err)
        err = check_chain(leaf, root, cert, why);
    if (!err)
        err = check_usage(leaf, cert, why);
    if (!err)
        err = take_key(key, leaf, cert, why);
    X509_free(leaf);
    X509_free(root);
    return err;
}
#else
int ak_of_certificate(struct cr_rsa_pub *key, const char *cert, const char *ca, struct vt_why *why)
{
    (void)key;
    (void)ca;
    return vt_fail(why, VT_ENOTSUP,
                   "%s: this build has no libcrypto, which certificates need; give the public key", cert);
}
#endif
