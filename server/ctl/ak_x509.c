/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that are checked, not made: of an attestation key where a quote is verified, and of an
 * endorsement key where an attestation key is certified.
 */
#include "server/ctl/quote.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "server/ctl/x509_priv.h"

/* `of` and `name` say which certificate: "--key " and its file, or a word for it. */
static int check_chain(X509 *cert, X509 *ca, const char *of, const char *name, struct vt_why *why)
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
        err = vt_fail(why, VT_EAUTH, "%s%s: the CA's certificate does not vouch for it: %s", of, name,
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return err;
}

static bool has_purpose(const EXTENDED_KEY_USAGE *usages, const char *oid)
{
    ASN1_OBJECT *wanted = OBJ_txt2obj(oid, 1);
    bool found = false;

    for (int k = 0; usages && wanted && k < sk_ASN1_OBJECT_num(usages); k++)
        found |= OBJ_cmp(sk_ASN1_OBJECT_value(usages, k), wanted) == 0;
    ASN1_OBJECT_free(wanted);
    return found;
}

/*
 * TCG's tcg-kp-AIKCertificate: whoever has another certificate of this CA, for a web server say, must not be
 * taken for a TPM.
 */
static int check_usage(X509 *cert, const char *path, struct vt_why *why)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    bool found = has_purpose(usages, "2.23.133.8.3");

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
    X509 *leaf = x509_read(cert), *root = x509_read(ca);

    if (!leaf || !root)
        err = vt_fail(why, VT_EUSAGE, "%s: no certificate in PEM can be read there", leaf ? ca : cert);
    if (!err)
        err = check_chain(leaf, root, "--key ", cert, why);
    if (!err)
        err = check_usage(leaf, cert, why);
    if (!err)
        err = take_key(key, leaf, cert, why);
    X509_free(leaf);
    X509_free(root);
    return err;
}

/* ---- Endorsement keys ---- */

/* A public key, or the one of a certificate. */
static EVP_PKEY *read_public(const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *key = file ? PEM_read_bio_PUBKEY(file, NULL, NULL, NULL) : NULL;
    X509 *cert = key ? NULL : x509_read(path);

    if (cert)
        key = X509_get_pubkey(cert);
    X509_free(cert);
    BIO_free(file);
    return key;
}

int ek_is_pinned(const struct enrol_request *request, const char *path, struct vt_why *why)
{
    const struct cr_rsa_pub *ek = &request->made.ek;
    EVP_PKEY *key = read_public(path), *told = x509_rsa(ek->n, ek->bytes, ek->e);
    int err = VT_OK;

    if (!key)
        err = vt_fail(why, VT_EUSAGE, "--key %s: no public key and no certificate in PEM can be read there",
                      path);
    else if (!told || EVP_PKEY_eq(key, told) != 1)
        err = vt_fail(why, VT_EAUTH,
                      "--key %s: the request has another endorsement key: it is another host's", path);
    EVP_PKEY_free(key);
    EVP_PKEY_free(told);
    return err;
}

/* Makers' certificates before TPM 2.0 often have no extendedKeyUsage; one for something else is no EK's. */
static int check_ek_usage(X509 *cert, struct vt_why *why)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    bool good = X509_get_ext_by_NID(cert, NID_ext_key_usage, -1) < 0 || has_purpose(usages, "2.23.133.8.1");

    EXTENDED_KEY_USAGE_free(usages);
    if (!good)
        return vt_fail(
            why, VT_EAUTH,
            "the certificate in the request is not an endorsement key's: its extendedKeyUsage has not "
            "2.23.133.8.1 (tcg-kp-EKCertificate)");
    return X509_check_ca(cert) ? vt_fail(why, VT_EAUTH, "the certificate in the request is a CA's") : VT_OK;
}

int ek_is_vouched(const struct enrol_request *request, const char *ca, struct vt_why *why)
{
    const uint8_t *at = request->made.ek_cert;
    int err = enrol_ek_cert(request, why);
    X509 *leaf = err ? NULL : d2i_X509(NULL, &at, (long)request->made.ek_cert_len), *root = x509_read(ca);

    if (!err && OPENSSL_init_crypto(OPENSSL_INIT_ADD_ALL_DIGESTS, NULL) != 1)
        err = VT_ECRYPTO;
    if (!err && !root)
        err = vt_fail(why, VT_EUSAGE, "--ca-cert %s: no certificate in PEM can be read there", ca);
    if (!err && !leaf)
        err = vt_fail(why, VT_EAUTH, "the certificate in the request cannot be read");
    if (!err)
        err = check_chain(leaf, root, "the request's certificate of its endorsement key", "", why);
    if (!err)
        err = check_ek_usage(leaf, why);
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

int ek_is_pinned(const struct enrol_request *request, const char *key, struct vt_why *why)
{
    (void)request;
    return vt_fail(why, VT_ENOTSUP, "%s: this build has no libcrypto, which host-ak certify needs", key);
}

int ek_is_vouched(const struct enrol_request *request, const char *ca, struct vt_why *why)
{
    (void)request;
    return vt_fail(why, VT_ENOTSUP, "%s: this build has no libcrypto, which host-ak certify needs", ca);
}
#endif
