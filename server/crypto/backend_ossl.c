/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast back end: libcrypto 3. Algorithms are fetched by init; nothing here opens a file later, so it
 * works behind a seccomp filter. Errors are taken off the thread's queue, which other libraries in the
 * process share.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "server/base/alloc.h"
#include "server/crypto/backend.h"
#include "server/crypto/prime.h"

/* Written by init only. */
static EVP_CIPHER *aes_256_gcm;

struct ossl_rsa {
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *ctx;  /* ready for "decrypt" without padding: the bare private operation */
    BIGNUM *n;          /* public, with its Montgomery form: for the way back that checks each result */
    BN_MONT_CTX *mont;
};

/*
 * For a call that returned ok or not. Out of memory may stand anywhere in the queue, below what was made of it on the
 * way up; and a thread that has no memory for a queue records nothing at all.
 */
static int ossl_err(bool ok)
{
    unsigned long code;
    unsigned recorded = 0;
    bool no_memory = false;

    if (ok)
        return VT_OK;
    for (; (code = ERR_get_error()) != 0; recorded++)
        no_memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    return no_memory || !recorded ? VT_ENOMEM : VT_ECRYPTO;
}

static int init(void)
{
    /* A host's openssl.cnf could load engines and providers into the process that holds the keys. */
    uint64_t options =
        OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS;

    if (OPENSSL_init_crypto(options, NULL) != 1)
        return ossl_err(false);
    if (!aes_256_gcm)
        aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    return ossl_err(aes_256_gcm != NULL);
}

static bool seal_with(EVP_CIPHER_CTX *ctx, const uint8_t *key, const uint8_t *nonce, struct cr_slice ad,
                      struct cr_slice in, uint8_t *out, uint8_t *tag)
{
    int n;

    return EVP_EncryptInit_ex2(ctx, aes_256_gcm, key, nonce, NULL) == 1 &&
           (!ad.len || EVP_EncryptUpdate(ctx, NULL, &n, ad.ptr, (int)ad.len) == 1) &&
           (!in.len || EVP_EncryptUpdate(ctx, out, &n, in.ptr, (int)in.len) == 1) &&
           EVP_EncryptFinal_ex(ctx, tag, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CR_GCM_TAG, tag) == 1;
}

/* Only the last step judges the bytes: what fails before it is want of memory, and says nothing about them. */
static int open_with(EVP_CIPHER_CTX *ctx, const uint8_t *key, const uint8_t *nonce, struct cr_slice ad,
                     struct cr_slice in, const uint8_t *tag, uint8_t *out)
{
    uint8_t expected[CR_GCM_TAG], none[16];
    int n;

    memcpy(expected, tag, sizeof expected);
    if (EVP_DecryptInit_ex2(ctx, aes_256_gcm, key, nonce, NULL) != 1 ||
        (ad.len && EVP_DecryptUpdate(ctx, NULL, &n, ad.ptr, (int)ad.len) != 1) ||
        (in.len && EVP_DecryptUpdate(ctx, out, &n, in.ptr, (int)in.len) != 1) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CR_GCM_TAG, expected) != 1)
        return VT_ENOMEM;
    return EVP_DecryptFinal_ex(ctx, none, &n) == 1 ? VT_OK : VT_ECRYPTO;
}

static int gcm_seal(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, uint8_t *out, uint8_t *tag)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok;

    if (!ctx)
        return VT_ENOMEM;
    ok = seal_with(ctx, key->bytes, nonce, CR_SLICE(ad, ad_len), CR_SLICE(in, len), out, tag);
    EVP_CIPHER_CTX_free(ctx);
    return ossl_err(ok);
}

static int gcm_open(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, const uint8_t *tag, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int err;

    if (!ctx)
        return ossl_err(false);
    err = open_with(ctx, key->bytes, nonce, CR_SLICE(ad, ad_len), CR_SLICE(in, len), tag, out);
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error();
    return err;
}

static int scrypt(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
                  size_t salt_len, unsigned log2_n, unsigned r, unsigned p)
{
    /* The caller bounded the parameters; libcrypto's own bound of 32 MiB is below our defaults. */
    return ossl_err(EVP_PBE_scrypt(pass, pass_len, salt, salt_len, (uint64_t)1 << log2_n, r, p, SIZE_MAX, out,
                                   out_len) == 1);
}

/* The numbers of a key in the machine's byte order, as OSSL_PARAM wants them. */
struct native_key {
    uint8_t n[CR_RSA_MAX], d[CR_RSA_MAX];
    uint8_t p[CR_RSA_MAX / 2], q[CR_RSA_MAX / 2], dp[CR_RSA_MAX / 2], dq[CR_RSA_MAX / 2],
        qinv[CR_RSA_MAX / 2];
    uint32_t e;
};

static void native_key_wipe(struct native_key *native)
{
    vt_wipe(native, sizeof *native);
}

static void to_native(uint8_t *out, const uint8_t *in, size_t len)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (size_t i = 0; i < len; i++)
        out[i] = in[len - 1 - i];
#else
    memcpy(out, in, len);
#endif
}

static bool invert_q(uint8_t *qinv, const uint8_t *q, const uint8_t *p, size_t half)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *m = BN_bin2bn(p, (int)half, NULL);
    BIGNUM *x = BN_bin2bn(q, (int)half, NULL);
    bool ok = false;

    if (ctx && m && x) {
        BN_set_flags(m, BN_FLG_CONSTTIME);
        BN_set_flags(x, BN_FLG_CONSTTIME);
        ok = BN_mod_inverse(x, x, m, ctx) && BN_bn2nativepad(x, qinv, (int)half) == (int)half;
    }
    BN_clear_free(m);
    BN_clear_free(x);
    BN_CTX_free(ctx);
    return ok;
}

static bool key_from_params(EVP_PKEY **pkey, struct native_key *key, size_t bytes)
{
    size_t half = bytes / 2;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, key->n, bytes),
        OSSL_PARAM_construct_uint32(OSSL_PKEY_PARAM_RSA_E, &key->e),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_D, key->d, bytes),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_FACTOR1, key->p, half),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_FACTOR2, key->q, half),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_EXPONENT1, key->dp, half),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_EXPONENT2, key->dq, half),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_COEFFICIENT1, key->qinv, half),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    bool ok = ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, pkey, EVP_PKEY_KEYPAIR, params) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static bool open_key(struct ossl_rsa *rsa, const struct cr_rsa_key *key, const struct cr_rsa_parts *parts)
{
    VT_CLEANUP(native_key_wipe) struct native_key native;
    size_t bytes = key->pub.bytes;
    size_t half = bytes / 2;

    native.e = key->pub.e;
    to_native(native.n, key->pub.n, bytes);
    to_native(native.d, parts->d, bytes);
    to_native(native.p, key->p, half);
    to_native(native.q, parts->q, half);
    to_native(native.dp, parts->dp, half);
    to_native(native.dq, parts->dq, half);
    if (!invert_q(native.qinv, parts->q, key->p, half) || !key_from_params(&rsa->pkey, &native, bytes))
        return false;
    rsa->ctx = EVP_PKEY_CTX_new_from_pkey(NULL, rsa->pkey, NULL);
    return rsa->ctx && EVP_PKEY_decrypt_init(rsa->ctx) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(rsa->ctx, RSA_NO_PADDING) == 1;
}

static bool keep_public(struct ossl_rsa *rsa, const struct cr_rsa_pub *pub)
{
    BN_CTX *ctx = BN_CTX_new();
    bool ok;

    rsa->n = BN_bin2bn(pub->n, pub->bytes, NULL);
    rsa->mont = BN_MONT_CTX_new();
    ok = ctx && rsa->n && rsa->mont && BN_MONT_CTX_set(rsa->mont, rsa->n, ctx);
    BN_CTX_free(ctx);
    return ok;
}

static void drop_public(struct ossl_rsa *rsa)
{
    BN_MONT_CTX_free(rsa->mont);
    BN_free(rsa->n);
}

static void rsa_free(void *impl)
{
    struct ossl_rsa *rsa = impl;

    if (!rsa)
        return;
    EVP_PKEY_CTX_free(rsa->ctx);
    EVP_PKEY_free(rsa->pkey);
    drop_public(rsa);
    vt_free(rsa);
}

static int rsa_load(void **impl, const struct cr_rsa_key *key, const struct cr_rsa_parts *parts)
{
    struct ossl_rsa *rsa = VT_NEW(struct ossl_rsa);

    if (!rsa)
        return VT_ENOMEM;
    if (!keep_public(rsa, &key->pub) || !open_key(rsa, key, parts)) {
        rsa_free(rsa);
        return ossl_err(false);
    }
    *impl = rsa;
    return VT_OK;
}

static int rsa_private(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    struct ossl_rsa *rsa = impl;
    size_t len = pub->bytes;

    return ossl_err(EVP_PKEY_decrypt(rsa->ctx, out, &len, in, pub->bytes) == 1 && len == pub->bytes);
}

/* The context is made anew, because it ends with powers of x in it: freeing it wipes them. */
static int power_e(const struct ossl_rsa *rsa, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *x = BN_bin2bn(in, pub->bytes, NULL);
    BIGNUM *e = BN_new();
    bool ok = ctx && x && e && BN_set_word(e, pub->e) && BN_mod_exp_mont(x, x, e, rsa->n, ctx, rsa->mont) &&
              BN_bn2binpad(x, out, pub->bytes) == (int)pub->bytes;

    BN_free(e);
    /* May be a plain text on its way to the private key's owner. */
    BN_clear_free(x);
    BN_CTX_free(ctx);
    return ossl_err(ok);
}

static int rsa_public(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    struct ossl_rsa once = {.pkey = NULL};
    int err;

    if (impl)
        return power_e(impl, pub, in, out);
    err = keep_public(&once, pub) ? power_e(&once, pub, in, out) : ossl_err(false);
    drop_public(&once);
    return err;
}

const struct cr_backend cr_backend_ossl = {
    .init = init,
    .gcm_seal = gcm_seal,
    .gcm_open = gcm_open,
    .scrypt = scrypt,
    .rsa_load = rsa_load,
    .rsa_free = rsa_free,
    .rsa_private = rsa_private,
    .rsa_public = rsa_public,
    .strong_probable = cr_strong_probable_ossl,
};
