/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CA's challenge to a host (docs/attestation.md), made where the CA is, without a TPM: what
 * TPM2_MakeCredential makes (TPM 2.0 Part 1, 24), and TPM_ASYM_CA_CONTENTS (TPM 1.2 Part 2, 12.8).
 */
#include "server/ctl/quote.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "server/ctl/x509_priv.h"

#define SEED     32 /* as the digest of the EK's nameAlg */
#define CONTENTS (4 + 2 + 2 + 16 + CR_SHA1_LEN)

static const char failed[] = "the challenge cannot be made";

/* RSAES-OAEP; MGF1 with the same hash. */
static bool oaep(const struct cr_rsa_pub *ek, const EVP_MD *md, const char *label, size_t label_len,
                 const uint8_t *in, size_t len, uint8_t out[CR_RSA_MAX])
{
    EVP_PKEY *key = x509_rsa(ek->n, ek->bytes, ek->e);
    EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
    void *copy = OPENSSL_memdup(label, label_len);
    size_t out_len = CR_RSA_MAX;
    bool ok = ctx && copy && EVP_PKEY_encrypt_init(ctx) > 0 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
              EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) > 0 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) > 0;

    if (ok && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)label_len) > 0)
        copy = NULL; /* ctx has it */
    ok = ok && !copy && EVP_PKEY_encrypt(ctx, out, &out_len, in, len) > 0 && out_len == CR_RSA_MAX;
    OPENSSL_free(copy);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok;
}

/* ---- TPM 2.0 ---- */

/* Part 1, 11.4.10.2: KDFa with SHA-256, one round; contextV is empty. The label's final zero belongs to it.
 */
static void kdf_a(const uint8_t seed[SEED], const char *label, const uint8_t *context, size_t len,
                  uint32_t bits, uint8_t out[CR_SHA256_LEN])
{
    static const uint8_t first[] = {0, 0, 0, 1};
    const uint8_t size[] = {0, 0, (uint8_t)(bits >> 8), (uint8_t)bits};
    const struct cr_slice slices[] = {CR_SLICE(first, sizeof first), CR_SLICE(label, strlen(label) + 1),
                                      CR_SLICE(context, len), CR_SLICE(size, sizeof size)};

    cr_hmac_sha256v(out, seed, SEED, slices, VT_COUNT(slices));
}

static bool aes_cfb(const uint8_t key[16], const uint8_t *in, size_t len, uint8_t *out)
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv) == 1 &&
              EVP_EncryptUpdate(ctx, out, &n, in, (int)len) == 1 && (size_t)n == len;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* Part 1, 24.4 and 24.5: TPMS_ID_OBJECT: the secret encrypted, and an HMAC over it and the attestation key's
 * name. */
static bool wrap(const uint8_t seed[SEED], const struct hwtpm_enrolment *made,
                 const struct hwtpm_opened *secret, struct hwtpm_challenge *box)
{
    uint8_t name[2 + CR_SHA256_LEN] = {0x00, 0x0B}, key[CR_SHA256_LEN], plain[2 + 32] = {0, 32};
    uint8_t *mac = box->credential + 2, *sealed = mac + CR_SHA256_LEN;
    const struct cr_slice slices[] = {CR_SLICE(sealed, sizeof plain), CR_SLICE(name, sizeof name)};
    bool ok;

    cr_sha256(name + 2, made->public, made->public_len);
    memcpy(plain + 2, secret->bytes, 32);
    kdf_a(seed, "STORAGE", name, sizeof name, 128, key);
    ok = aes_cfb(key, plain, sizeof plain, sealed);
    kdf_a(seed, "INTEGRITY", NULL, 0, 256, key);
    cr_hmac_sha256v(mac, key, sizeof key, slices, VT_COUNT(slices));
    box->credential[1] = CR_SHA256_LEN;
    box->credential_len = 2 + CR_SHA256_LEN + sizeof plain;
    vt_wipe(key, sizeof key);
    vt_wipe(plain, sizeof plain);
    return ok;
}

static bool make_tpm2(const struct hwtpm_enrolment *made, const struct hwtpm_opened *secret,
                      struct hwtpm_challenge *box)
{
    static const char label[] = "IDENTITY"; /* Part 1, B.10.4: with its final zero */
    uint8_t seed[SEED];
    bool ok = !cr_os_random(seed, sizeof seed) &&
              oaep(&made->ek, EVP_sha256(), label, sizeof label, seed, sizeof seed, box->secret) &&
              wrap(seed, made, secret, box);

    box->secret_len = CR_RSA_MAX;
    vt_wipe(seed, sizeof seed);
    return ok;
}

/* ---- TPM 1.2 ---- */

/* Part 2, 12.8: the secret is the session key, AES-128 in CBC by its name; SHA-1 of the attestation key's
 * TPM_PUBKEY. */
static bool make_tpm12(const struct hwtpm_enrolment *made, const struct hwtpm_opened *secret,
                       struct hwtpm_challenge *box)
{
    uint8_t contents[CONTENTS] = {0, 0, 0, 6, 0, 0xFF, 0, 16};
    bool ok;

    memcpy(contents + 8, secret->bytes, 16);
    cr_sha1(contents + 24, made->public, made->public_len);
    ok = oaep(&made->ek, EVP_sha1(), "TCPA", 4, contents, sizeof contents, box->secret);
    box->secret_len = CR_RSA_MAX;
    vt_wipe(contents, sizeof contents);
    return ok;
}

int ak_challenge(const struct enrol_request *request, struct enrol_challenge *challenge,
                 struct enrol_secret *secret, struct vt_why *why)
{
    const struct hwtpm_enrolment *made = &request->made;
    const bool is_2 = request->kind == HWTPM_TPM2;
    struct cr_rsa_pub key;
    int err = enrol_ak(&key, request->kind, made->public, made->public_len, why);

    if (err)
        return err;
    *challenge = (struct enrol_challenge){.kind = request->kind};
    *secret = (struct enrol_secret){.kind = request->kind, .public_len = made->public_len};
    enrol_ak_id(challenge->ak, made->public, made->public_len);
    cr_sha256(secret->ek_sha256, made->ek.n, sizeof made->ek.n);
    memcpy(secret->public, made->public, made->public_len);
    secret->wanted.len = is_2 ? 32 : 16;
    if (cr_os_random(secret->wanted.bytes, secret->wanted.len) ||
        !(is_2 ? make_tpm2 : make_tpm12)(made, &secret->wanted, &challenge->box))
        return vt_fail(why, VT_ECRYPTO, "%s", failed);
    return VT_OK;
}
#else
int ak_challenge(const struct enrol_request *request, struct enrol_challenge *challenge,
                 struct enrol_secret *secret, struct vt_why *why)
{
    (void)request, (void)challenge, (void)secret;
    return vt_fail(why, VT_ENOTSUP, "this build has no libcrypto, which host-ak certify needs");
}
#endif
