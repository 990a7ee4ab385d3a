/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ek_x509.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"
#include "server/ctl/x509_priv.h"

struct ek_ca {
    EVP_PKEY *key;
    X509 *cert;
    unsigned days;
};

/* ---- The CA ---- */

X509 *x509_read(const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    X509 *cert = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;

    BIO_free(file);
    return cert;
}

/* An encrypted one asks for its passphrase on the terminal. */
static EVP_PKEY *read_key(const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *key = file ? PEM_read_bio_PrivateKey(file, NULL, NULL, NULL) : NULL;

    BIO_free(file);
    return key;
}

static int check_ca(const struct ek_ca *ca, const char *key, const char *cert, struct vt_why *why)
{
    if (!ca->cert)
        return vt_fail(why, VT_EUSAGE, "--ca-cert %s: no certificate in PEM can be read there", cert);
    if (!ca->key)
        return vt_fail(why, VT_EUSAGE, "--ca-key %s: no private key in PEM can be read there", key);
    if (X509_check_private_key(ca->cert, ca->key) != 1)
        return vt_fail(why, VT_EUSAGE, "--ca-key %s is not the key of --ca-cert %s", key, cert);
    if (X509_check_ca(ca->cert) != 1 || !(X509_get_key_usage(ca->cert) & KU_KEY_CERT_SIGN))
        return vt_fail(why, VT_EUSAGE,
                       "--ca-cert %s is not a CA's: it needs basicConstraints CA:TRUE, and keyCertSign if "
                       "it limits its use",
                       cert);
    if (X509_cmp_current_time(X509_get0_notAfter(ca->cert)) < 0)
        return vt_fail(why, VT_EUSAGE, "--ca-cert %s has expired", cert);
    return VT_OK;
}

int ek_ca_open(struct ek_ca **out, const char *key, const char *cert, unsigned days, struct vt_why *why)
{
    struct ek_ca *ca = VT_NEW(struct ek_ca);
    int err;

    if (!ca)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    ca->days = days;
    ca->cert = x509_read(cert);
    ca->key = ca->cert ? read_key(key) : NULL;
    err = check_ca(ca, key, cert, why);
    if (err)
        ek_ca_close(ca);
    else
        *out = ca;
    return err;
}

void ek_ca_close(struct ek_ca *ca)
{
    if (!ca)
        return;
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
    vt_free(ca);
}

/* ---- The endorsement key ---- */

static EVP_PKEY *rsa_from(const BIGNUM *n, const BIGNUM *e)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (build && ctx && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        params = OSSL_PARAM_BLD_to_param(build);
    if (params && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)!EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_BLD_free(build);
    return key;
}

EVP_PKEY *x509_rsa(const uint8_t *modulus, size_t len, uint32_t exponent)
{
    BIGNUM *n = BN_bin2bn(modulus, (int)VT_MIN(len, (size_t)CR_RSA_MAX), NULL);
    BIGNUM *e = BN_new();
    EVP_PKEY *key = NULL;

    if (n && e && BN_set_word(e, exponent))
        key = rsa_from(n, e);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *key_of(const Vtpm__EkCert *ek)
{
    return x509_rsa(ek->modulus.data, ek->modulus.len, ek->exponent);
}

/* ---- The certificate ---- */

/* Who made the TPM (3.2.9): three names of TCG's arc, each an RDN of its own; as TPM_GetCapability has them. */
static bool add_tpm_name(X509_NAME *name)
{
    static const struct {
        const char *oid, *value;
    } parts[] = {
        {"2.23.133.2.1", "id:5654504D"}, /* tpmManufacturer: VTPM */
        {"2.23.133.2.2", "vtpm-server"}, /* tpmModel */
        {"2.23.133.2.3", "id:0000"},     /* tpmVersion: revMajor, revMinor */
    };
    bool ok = true;

    for (size_t k = 0; k < VT_COUNT(parts); k++) {
        ASN1_OBJECT *oid = OBJ_txt2obj(parts[k].oid, 1);

        ok = ok && oid &&
             X509_NAME_add_entry_by_OBJ(name, oid, MBSTRING_UTF8, (const uint8_t *)parts[k].value, -1, -1,
                                        0) == 1;
        ASN1_OBJECT_free(oid);
    }
    return ok;
}

/* Critical, because the subject is empty (RFC 5280, 4.2.1.6). */
static bool add_alt_name(X509 *x)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *one = GENERAL_NAME_new();
    X509_NAME *name = X509_NAME_new();
    bool ok = names && one && name && add_tpm_name(name);

    if (ok) {
        GENERAL_NAME_set0_value(one, GEN_DIRNAME, name);
        name = NULL;
        ok = sk_GENERAL_NAME_push(names, one) > 0;
        if (ok)
            one = NULL;
    }
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, names, 1, 0) == 1;
    X509_NAME_free(name);
    GENERAL_NAME_free(one);
    GENERAL_NAMES_free(names);
    return ok;
}

static bool add_key_purpose(X509 *x, const char *oid)
{
    EXTENDED_KEY_USAGE *purposes = sk_ASN1_OBJECT_new_null();
    ASN1_OBJECT *purpose = OBJ_txt2obj(oid, 1);
    bool ok = purposes && purpose && sk_ASN1_OBJECT_push(purposes, purpose) > 0;

    if (!ok)
        ASN1_OBJECT_free(purpose);
    ok = ok && X509_add1_ext_i2d(x, NID_ext_key_usage, purposes, 0, 0) == 1;
    sk_ASN1_OBJECT_pop_free(purposes, ASN1_OBJECT_free);
    return ok;
}

/* 3.2.11: SubjectDirectoryAttributes with tcg-at-tpmSpecification {family "1.2", level 2, revision 116}. */
static bool add_specification(X509 *x)
{
    static const uint8_t der[] = {
        0x30, 0x18, 0x30, 0x16, 0x06, 0x05, 0x67, 0x81, 0x05, 0x02, 0x10, /* 2.23.133.2.16 */
        0x31, 0x0D, 0x30, 0x0B, 0x0C, 0x03, '1',  '.',  '2',  0x02, 0x01, 2, 0x02, 0x01, 116,
    };
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *oid = OBJ_txt2obj("2.5.29.9", 1);
    X509_EXTENSION *extension = NULL;
    bool ok = value && oid && ASN1_OCTET_STRING_set(value, der, sizeof der) == 1;

    if (ok)
        extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    ok = extension && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OBJECT_free(oid);
    ASN1_OCTET_STRING_free(value);
    return ok;
}

static bool add_from_text(X509 *x, X509 *ca, int nid, const char *text)
{
    X509_EXTENSION *extension;
    X509V3_CTX ctx;
    bool ok;

    X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
    ok = extension && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* 127 random bits, and positive. */
static bool set_serial(X509 *x)
{
    uint8_t bytes[16];
    BIGNUM *number = NULL;
    bool ok = RAND_bytes(bytes, sizeof bytes) == 1;

    bytes[0] = (uint8_t)((bytes[0] & 0x7F) | 0x40);
    if (ok)
        number = BN_bin2bn(bytes, sizeof bytes, NULL);
    ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
    BN_free(number);
    return ok;
}

/* Not longer than the CA's own. */
static bool set_times(X509 *x, const struct ek_ca *ca)
{
    const ASN1_TIME *last = X509_get0_notAfter(ca->cert);

    if (!X509_gmtime_adj(X509_getm_notBefore(x), 0) ||
        !X509_time_adj_ex(X509_getm_notAfter(x), (int)ca->days, 0, NULL))
        return false;
    return ASN1_TIME_compare(X509_get0_notAfter(x), last) <= 0 || X509_set1_notAfter(x, last) == 1;
}

static bool begin(X509 *x, const struct ek_ca *ca, EVP_PKEY *key)
{
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_times(x, ca) &&
           X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) == 1 && X509_set_pubkey(x, key) == 1;
}

/* The subject stays empty (3.2.6): the alternative name says what it is, and nothing says whose. */
static bool fill(X509 *x, const struct ek_ca *ca, EVP_PKEY *key)
{
    return begin(x, ca, key) && add_alt_name(x) &&
           add_from_text(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_from_text(x, ca->cert, NID_key_usage, "critical,keyEncipherment") &&
           add_key_purpose(x, "2.23.133.8.1") && /* tcg-kp-EKCertificate */
           add_specification(x) && add_from_text(x, ca->cert, NID_authority_key_identifier, "keyid,issuer");
}

/* Of an attestation key: it signs what its TPM says, and is nobody's but the host's that `name` tells. */
static bool fill_ak(X509 *x, const struct ek_ca *ca, EVP_PKEY *key, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(x);

    return begin(x, ca, key) &&
           X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const uint8_t *)name, -1, -1,
                                      0) == 1 &&
           add_from_text(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_from_text(x, ca->cert, NID_key_usage, "critical,digitalSignature") &&
           add_key_purpose(x, "2.23.133.8.3") && /* tcg-kp-AIKCertificate */
           add_from_text(x, ca->cert, NID_authority_key_identifier, "keyid,issuer");
}

/* Two of the kinds of key bring their own digest. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : EVP_sha256();
}

/* Signs what was filled in, if it was; frees it. */
static int finish(const struct ek_ca *ca, X509 *x, bool is_filled, uint8_t **der, size_t *len,
                  struct vt_why *why)
{
    uint8_t *bytes = NULL;
    int n = -1;

    if (is_filled && X509_sign(x, ca->key, digest_for(ca->key)) > 0)
        n = i2d_X509(x, &bytes);
    X509_free(x);
    *der = n > 0 ? vt_memdup(bytes, (size_t)n) : NULL;
    OPENSSL_free(bytes);
    if (!*der)
        return vt_fail(why, VT_ECRYPTO, "the certificate cannot be made or signed with this key");
    *len = (size_t)n;
    return VT_OK;
}

int ek_ca_sign(const struct ek_ca *ca, const Vtpm__EkCert *ek, uint8_t **der, size_t *len, struct vt_why *why)
{
    EVP_PKEY *key = key_of(ek);
    X509 *x = X509_new();
    bool is_filled = key && x && fill(x, ca, key);

    EVP_PKEY_free(key);
    return finish(ca, x, is_filled, der, len, why);
}

int ek_ca_sign_ak(const struct ek_ca *ca, const struct cr_rsa_pub *ak, const char *name, uint8_t **der,
                  size_t *len, struct vt_why *why)
{
    EVP_PKEY *key = x509_rsa(ak->n, ak->bytes, ak->e);
    X509 *x = X509_new();
    bool is_filled = key && x && fill_ak(x, ca, key, name);

    EVP_PKEY_free(key);
    return finish(ca, x, is_filled, der, len, why);
}

/* ---- Forms ---- */

/* What was written into a memory BIO, as an owned text; frees the BIO. */
static int text_of(BIO *bio, bool ok, char **text, struct vt_why *why)
{
    char *data = NULL;
    long n = bio ? BIO_get_mem_data(bio, &data) : 0;
    char *copy = ok && n > 0 ? vt_calloc(1, (size_t)n + 1) : NULL;

    if (copy)
        memcpy(copy, data, (size_t)n);
    BIO_free(bio);
    *text = copy;
    return copy ? VT_OK : vt_fail(why, VT_ECRYPTO, "this cannot be written as PEM");
}

int ek_key_pem(const Vtpm__EkCert *ek, char **text, struct vt_why *why)
{
    EVP_PKEY *key = key_of(ek);
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = key && bio && PEM_write_bio_PUBKEY(bio, key) == 1;

    EVP_PKEY_free(key);
    return text_of(bio, ok, text, why);
}

int ek_cert_pem(const uint8_t *der, size_t len, char **text, struct vt_why *why)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && PEM_write_bio(bio, PEM_STRING_X509, "", der, (long)len) > 0;

    return text_of(bio, ok, text, why);
}

/* The bytes as they are in the PEM: what a CA has signed is not encoded anew. */
static int take_pem(const char *path, const uint8_t *bytes, size_t n, uint8_t **der, size_t *len,
                    struct vt_why *why)
{
    BIO *bio = BIO_new_mem_buf(bytes, (int)n);
    uint8_t *data = NULL;
    long found = 0;

    if (bio && PEM_bytes_read_bio(&data, &found, NULL, PEM_STRING_X509, bio, NULL, NULL) == 1 && found > 0)
        *der = vt_memdup(data, (size_t)found);
    BIO_free(bio);
    OPENSSL_free(data);
    if (!*der)
        return vt_fail(why, VT_EUSAGE, "%s: holds no certificate, neither DER nor PEM", path);
    *len = (size_t)found;
    return VT_OK;
}

int ek_cert_read(const char *path, size_t max, uint8_t **der, size_t *len, struct vt_why *why)
{
    FILE *file = fopen(path, "re");
    VT_AUTOFREE uint8_t *bytes = vt_calloc(1, max + 1);
    size_t n;

    *der = NULL;
    if (!file)
        return vt_fail(why, VT_EUSAGE, "%s: %s", path, strerror(errno));
    n = bytes ? fread(bytes, 1, max + 1, file) : 0;
    fclose(file);
    if (!n || n > max)
        return vt_fail(why, VT_EUSAGE, "%s: %s", path,
                       n ? "is larger than a certificate can be" : "nothing can be read");
    if (bytes[0] != 0x30) /* a SEQUENCE */
        return take_pem(path, bytes, n, der, len, why);
    *der = bytes;
    *len = n;
    bytes = NULL;
    return VT_OK;
}

int ek_cert_save(const char *path, const uint8_t *der, size_t len, struct vt_why *why)
{
    VT_AUTOFREE char *text = NULL;
    int err = ek_cert_pem(der, len, &text, why);
    FILE *file = err ? NULL : fopen(path, "wxe");
    bool ok;

    if (err)
        return err;
    if (!file)
        return vt_fail(why, errno == EEXIST ? VT_EEXISTS : VT_EUSAGE, "--out %s: %s", path, strerror(errno));
    ok = fputs(text, file) >= 0;
    ok = fclose(file) == 0 && ok;
    return ok ? VT_OK : vt_fail(why, VT_EIO, "--out %s: %s", path, strerror(errno));
}

static void time_text(char out[32], const ASN1_TIME *time)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(time, &tm) != 1 || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, 32, "?");
}

static void serial_text(char out[64], const ASN1_INTEGER *serial)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;

    snprintf(out, 64, "%.63s", hex ? hex : "?");
    OPENSSL_free(hex);
    BN_free(number);
}

int ek_cert_facts(struct ek_cert_facts *facts, const uint8_t *der, size_t len, struct vt_why *why)
{
    const uint8_t *at = der;
    X509 *x = d2i_X509(NULL, &at, (long)len);
    uint8_t digest[CR_SHA256_LEN];

    if (!x)
        return vt_fail(why, VT_EPROTO, "the certificate cannot be read");
    (void)!X509_NAME_oneline(X509_get_issuer_name(x), facts->issuer, sizeof facts->issuer);
    serial_text(facts->serial, X509_get0_serialNumber(x));
    time_text(facts->not_before, X509_get0_notBefore(x));
    time_text(facts->not_after, X509_get0_notAfter(x));
    X509_free(x);
    cr_sha256(digest, der, len);
    vt_hex(facts->sha256, digest, sizeof digest);
    return VT_OK;
}

#else

static int missing(struct vt_why *why)
{
    return vt_fail(why, VT_ENOTSUP, "this build has no libcrypto, which endorsement key certificates need");
}

int ek_ca_open(struct ek_ca **ca, const char *key, const char *cert, unsigned days, struct vt_why *why)
{
    (void)ca, (void)key, (void)cert, (void)days;
    return missing(why);
}

void ek_ca_close(struct ek_ca *ca)
{
    (void)ca;
}

int ek_ca_sign(const struct ek_ca *ca, const Vtpm__EkCert *ek, uint8_t **der, size_t *len, struct vt_why *why)
{
    (void)ca, (void)ek, (void)der, (void)len;
    return missing(why);
}

int ek_ca_sign_ak(const struct ek_ca *ca, const struct cr_rsa_pub *ak, const char *name, uint8_t **der,
                  size_t *len, struct vt_why *why)
{
    (void)ca, (void)ak, (void)name, (void)der, (void)len;
    return missing(why);
}

int ek_key_pem(const Vtpm__EkCert *ek, char **text, struct vt_why *why)
{
    (void)ek, (void)text;
    return missing(why);
}

int ek_cert_pem(const uint8_t *der, size_t len, char **text, struct vt_why *why)
{
    (void)der, (void)len, (void)text;
    return missing(why);
}

int ek_cert_read(const char *path, size_t max, uint8_t **der, size_t *len, struct vt_why *why)
{
    (void)path, (void)max, (void)der, (void)len;
    return missing(why);
}

int ek_cert_save(const char *path, const uint8_t *der, size_t len, struct vt_why *why)
{
    (void)path, (void)der, (void)len;
    return missing(why);
}

int ek_cert_facts(struct ek_cert_facts *facts, const uint8_t *der, size_t len, struct vt_why *why)
{
    (void)facts, (void)der, (void)len;
    return missing(why);
}
#endif
