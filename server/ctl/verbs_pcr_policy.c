/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pcr-policy sign`: an operator's approval of a set of PCR values, for tpm2-signed slots (docs/keys.md). Made where
 * the signing key is, which is not on the host: it needs neither a server nor a TPM.
 */
#include "server/ctl/verbs.h"

#include <stdio.h>

#include "hwtpm/hwtpm.h"
#include "server/base/alloc.h"
#include "server/base/text.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/evp.h>
#include <openssl/pem.h>

static EVP_PKEY *read_key(const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;

    if (file)
        fclose(file);
    return key;
}

static int sign(const char *path, const uint8_t policy[CR_SHA256_LEN], uint8_t signature[CR_RSA_MAX],
                struct vt_why *why)
{
    EVP_PKEY *key = read_key(path);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = CR_RSA_MAX;
    int err = VT_OK;

    if (!key || !EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) != 2048)
        err = vt_fail(why, VT_EUSAGE, "%s: must be an RSA private key of 2048 bits in PEM: openssl genrsa -out FILE 2048",
                      path);
    else if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) <= 0 ||
             EVP_DigestSign(ctx, signature, &len, policy, CR_SHA256_LEN) <= 0 || len != CR_RSA_MAX)
        err = vt_fail(why, VT_ECRYPTO, "%s: the key does not sign", path);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return err;
}
#else
static int sign(const char *path, const uint8_t *policy, uint8_t *signature, struct vt_why *why)
{
    (void)policy;
    (void)signature;
    return vt_fail(why, VT_ENOTSUP, "%s: this build has no libcrypto, which pcr-policy sign needs", path);
}
#endif

/* Each PCR must be told: what is not stays all zero, and that is refused. */
static int policy_of(const struct arguments *a, uint32_t *mask, uint8_t policy[CR_SHA256_LEN], struct vt_why *why)
{
    struct hwtpm_pcrs pcrs = {.len = CR_SHA256_LEN};
    char *text;
    int err = hwtpm_pcrs_parse(a->pcrs, mask, why);

    if (!err && !*mask)
        err = vt_fail(why, VT_EUSAGE, "--pcrs none leaves nothing to sign");
    if (!err)
        err = predict_read(a->predict, CR_SHA256_LEN, &text, why);
    if (err)
        return err;
    pcrs.mask = *mask;
    err = hwtpm_pcrs_predict(&pcrs, text, why);
    if (!err)
        err = hwtpm_pcrs_check(&pcrs, why);
    if (!err)
        hwtpm_pcr_policy(&pcrs, policy);
    if (!err && hwtpm_pcrs_separators(&pcrs))
        print_warning("a PCR in it has the firmware's separator and nothing else: only the others protect");
    vt_free(text);
    return err;
}

int run_pcr_policy_sign(const struct arguments *a, char *const *operands)
{
    uint8_t policy[CR_SHA256_LEN], signature[CR_RSA_MAX];
    char pcrs[HWTPM_PCRS_TEXT], policy_hex[2 * CR_SHA256_LEN + 1], signature_hex[2 * CR_RSA_MAX + 1];
    struct vt_why why = {0};
    uint32_t mask;
    int err = policy_of(a, &mask, policy, &why);

    (void)operands;
    if (!err)
        err = sign(a->key, policy, signature, &why);
    if (err)
        return ctl_fail(a, err, &why);
    hwtpm_pcrs_text(pcrs, mask);
    vt_hex(policy_hex, policy, sizeof policy);
    vt_hex(signature_hex, signature, sizeof signature);
    print_pcr_policy(&a->ctl, pcrs, policy_hex, signature_hex);
    return 0;
}
