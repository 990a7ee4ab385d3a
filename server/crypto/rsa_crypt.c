/* SPDX-License-Identifier: Apache-2.0 */
/* RSA with its paddings, over the two bare operations of the back end. */
#include "server/crypto/rsa.h"

/* An encoded message that wipes itself. */
struct encoded {
    uint8_t bytes[CR_RSA_MAX];
};

static void encoded_wipe(struct encoded *em)
{
    vt_wipe(em, sizeof *em);
}

#define ENCODED VT_CLEANUP(encoded_wipe) struct encoded

/* DigestInfo of a SHA-1 digest up to the digest (PKCS #1 v2.1, 9.2 note 1). */
static const uint8_t sha1_info[] = { 0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e,
                                     0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14 };

/* ---- Bare operations ---- */

/* Both are public values: no need for constant time. */
static bool below_n(const struct cr_rsa_pub *pub, const uint8_t *in)
{
    return memcmp(in, pub->n, pub->bytes) < 0;
}

int cr_rsa_public_op(const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    if (cr_rsa_pub_check(pub) || !below_n(pub, in))
        return VT_ECRYPTO;
    return CR_BACKEND.rsa_public(NULL, pub, in, out);
}

int cr_rsa_private_op(struct cr_rsa *rsa, const uint8_t *in, uint8_t *out)
{
    const struct cr_rsa_pub *pub = &rsa->pub;
    ENCODED result;
    ENCODED back;
    int err;

    if (!below_n(pub, in))
        return VT_ECRYPTO;
    err = rsa->backend->rsa_private(rsa->impl, pub, in, result.bytes);
    if (err)
        return err;
    /* One faulty half of the CRT would give the factors away (Boneh, DeMillo, Lipton). */
    err = rsa->backend->rsa_public(rsa->impl, pub, result.bytes, back.bytes);
    if (err)
        return err;
    if (!vt_ct_equal(back.bytes, in, pub->bytes))
        return VT_ECRYPTO;
    memcpy(out, result.bytes, pub->bytes);
    return VT_OK;
}

/* ---- Encryption ---- */

int cr_rsa_oaep_encrypt(const struct cr_rsa_pub *pub, const void *label, size_t label_len, const void *in,
                        size_t in_len, struct cr_drbg *drbg, uint8_t *out)
{
    ENCODED em;

    if (cr_rsa_pub_check(pub))
        return VT_ECRYPTO;
    if (in_len > pub->bytes - 2u * CR_SHA1_LEN - 2u)
        return VT_EUSAGE;
    cr_pad_oaep(em.bytes, pub->bytes, CR_SLICE(label, label_len), CR_SLICE(in, in_len), drbg);
    return cr_rsa_public_op(pub, em.bytes, out);
}

int cr_rsa_pkcs1_encrypt(const struct cr_rsa_pub *pub, const void *in, size_t in_len, struct cr_drbg *drbg,
                         uint8_t *out)
{
    ENCODED em;

    if (cr_rsa_pub_check(pub))
        return VT_ECRYPTO;
    if (in_len > pub->bytes - 11u)
        return VT_EUSAGE;
    cr_pad_pkcs1(em.bytes, pub->bytes, CR_SLICE(in, in_len), drbg);
    return cr_rsa_public_op(pub, em.bytes, out);
}

/* Gives the text of an encoded message from `at` on. */
static void hand_out(const struct cr_rsa *rsa, const struct encoded *em, size_t at, uint8_t *out,
                     size_t *out_len)
{
    *out_len = rsa->pub.bytes - at;
    memcpy(out, em->bytes + at, *out_len);
}

int cr_rsa_oaep_decrypt(struct cr_rsa *rsa, const void *label, size_t label_len, const void *in,
                        size_t in_len, uint8_t *out, size_t *out_len)
{
    ENCODED em;
    size_t at;
    int err;

    if (in_len != rsa->pub.bytes)
        return VT_ECRYPTO;
    err = cr_rsa_private_op(rsa, in, em.bytes);
    if (!err)
        err = cr_unpad_oaep(em.bytes, rsa->pub.bytes, CR_SLICE(label, label_len), &at);
    if (!err)
        hand_out(rsa, &em, at, out, out_len);
    return err;
}

int cr_rsa_pkcs1_decrypt(struct cr_rsa *rsa, const void *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    ENCODED em;
    size_t at;
    int err;

    if (in_len != rsa->pub.bytes)
        return VT_ECRYPTO;
    err = cr_rsa_private_op(rsa, in, em.bytes);
    if (!err)
        err = cr_unpad_pkcs1(em.bytes, rsa->pub.bytes, &at);
    if (!err)
        hand_out(rsa, &em, at, out, out_len);
    return err;
}

/* ---- Signatures ---- */

static int encode_for_signature(struct encoded *em, const struct cr_rsa_pub *pub, enum cr_sig_scheme scheme,
                                struct cr_slice in)
{
    struct cr_slice prefix = CR_SLICE(NULL, 0);

    if (scheme == CR_SIG_PKCS1_SHA1) {
        if (in.len != CR_SHA1_LEN)
            return VT_EUSAGE;
        prefix = CR_SLICE(sha1_info, sizeof sha1_info);
    } else if (scheme != CR_SIG_PKCS1_RAW) {
        return VT_EUSAGE;
    }
    if (in.len > pub->bytes - 11u - prefix.len)
        return VT_EUSAGE;
    cr_pad_sign(em->bytes, pub->bytes, prefix, in);
    return VT_OK;
}

int cr_rsa_sign(struct cr_rsa *rsa, enum cr_sig_scheme scheme, const void *in, size_t in_len, uint8_t *out)
{
    ENCODED em;
    int err = encode_for_signature(&em, &rsa->pub, scheme, CR_SLICE(in, in_len));

    /* The private operation checks its result with the public key. */
    return err ? err : cr_rsa_private_op(rsa, em.bytes, out);
}

int cr_rsa_verify(const struct cr_rsa_pub *pub, enum cr_sig_scheme scheme, const void *in, size_t in_len,
                  const uint8_t *sig, size_t sig_len)
{
    ENCODED expected;
    ENCODED opened;
    int err;

    if (cr_rsa_pub_check(pub) || sig_len != pub->bytes)
        return VT_ECRYPTO;
    err = encode_for_signature(&expected, pub, scheme, CR_SLICE(in, in_len));
    if (!err)
        err = cr_rsa_public_op(pub, sig, opened.bytes);
    if (!err && !vt_ct_equal(expected.bytes, opened.bytes, pub->bytes))
        err = VT_ECRYPTO;
    return err;
}
