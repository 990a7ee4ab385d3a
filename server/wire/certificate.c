/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wire/certificate.h"

/* X.690, 8.1.2: the tags of RFC 5280, 4.1. */
enum {
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OID = 0x06,
    DER_SEQUENCE = 0x30,
    DER_VERSION = 0xA0, /* [0] EXPLICIT */
};

/* PKCS #1: 1.2.840.113549.1.1, then 1 (rsaEncryption) or 7 (id-RSAES-OAEP). */
static const uint8_t pkcs1[] = {0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01};
enum { RSA_ENCRYPTION = 1, RSAES_OAEP = 7 };

/* X.690, 10.1: the shortest form; more than two bytes of length are more than a certificate has here. */
static size_t der_length(struct rd *r)
{
    const uint8_t first = rd_get8(r);
    size_t len;

    if (first < 0x80)
        return first;
    len = first == 0x81 ? rd_get8(r) : rd_get16(r);
    if (first > 0x82 || len < (first == 0x82 ? 0x100u : 0x80u))
        r->bad = true;
    return len;
}

/* The inside of the next element; bad, and *r too, unless it has this tag. */
static struct rd der_open(struct rd *r, uint8_t tag)
{
    const bool is_it = rd_get8(r) == tag;
    const size_t len = der_length(r);
    const uint8_t *at = rd_take(r, len);
    struct rd inside = rd_from(at, at ? len : 0);

    r->bad = r->bad || !is_it;
    inside.bad = r->bad;
    return inside;
}

static void der_skip(struct rd *r, uint8_t tag)
{
    (void)der_open(r, tag);
}

/* A positive INTEGER without its sign byte. */
static struct rd der_positive(struct rd *r)
{
    struct rd number = der_open(r, DER_INTEGER);

    if (!number.left || number.at[0] & 0x80) {
        number.bad = true;
    } else if (number.at[0] == 0) {
        rd_take(&number, 1);
        if (!number.left || !(number.at[0] & 0x80)) /* zero, or longer than it must be */
            number.bad = true;
    }
    r->bad = r->bad || number.bad;
    return number;
}

/* RFC 8017, A.1.1: RSAPublicKey. */
static bool read_rsa(struct certificate_key *key, struct rd *bits)
{
    struct rd rsa, modulus, exponent;

    if (rd_get8(bits) != 0) /* unused bits */
        return false;
    rsa = der_open(bits, DER_SEQUENCE);
    modulus = der_positive(&rsa);
    exponent = der_positive(&rsa);
    if (!rd_done(bits) || !rd_done(&rsa) || exponent.left > sizeof key->exponent)
        return false;
    key->modulus = (struct tpm_blob){.data = modulus.at, .len = (uint32_t)modulus.left};
    key->exponent = 0;
    while (exponent.left)
        key->exponent = key->exponent << 8 | rd_get8(&exponent);
    return true;
}

/* RFC 5280, 4.1.2.7: SubjectPublicKeyInfo. The parameters of OAEP say what every TPM 1.2 does. */
static bool read_subject_key(struct certificate_key *key, struct rd *spki)
{
    struct rd algorithm = der_open(spki, DER_SEQUENCE);
    struct rd oid = der_open(&algorithm, DER_OID);
    struct rd bits = der_open(spki, DER_BIT_STRING);
    const uint8_t *arc = rd_take(&oid, sizeof pkcs1);
    const uint8_t which = rd_get8(&oid);

    if (!rd_done(spki) || algorithm.bad || !rd_done(&oid) || memcmp(arc, pkcs1, sizeof pkcs1) != 0 ||
        (which != RSA_ENCRYPTION && which != RSAES_OAEP))
        return false;
    return read_rsa(key, &bits);
}

bool certificate_key(struct certificate_key *key, const uint8_t *der, size_t len)
{
    struct rd all = rd_from(der, len);
    struct rd certificate = der_open(&all, DER_SEQUENCE);
    struct rd body = der_open(&certificate, DER_SEQUENCE);
    struct rd spki;

    der_skip(&certificate, DER_SEQUENCE);   /* signatureAlgorithm */
    der_skip(&certificate, DER_BIT_STRING); /* signatureValue */
    der_skip(&body, DER_VERSION);
    der_skip(&body, DER_INTEGER); /* serialNumber */
    for (int i = 0; i < 4; i++)   /* signature, issuer, validity, subject */
        der_skip(&body, DER_SEQUENCE);
    spki = der_open(&body, DER_SEQUENCE);
    if (!rd_done(&all) || !rd_done(&certificate) || body.bad)
        return false;
    return read_subject_key(key, &spki);
}
