/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/daa_blob.h"

#define IV_LEN        16
#define SENSITIVE_MAX (DAA_PRIVATE_MAX + 16)
#define BLOB_MAX      (SENSITIVE_MAX + 96)

/* HMAC of the blob without its digest. */
static void integrity(const struct tpm *tpm, const struct tpm_daa_blob *blob, uint8_t out[TPM_DIGEST_LEN])
{
    const struct vt_auth *proof = &tpm->perm.daa_proof;
    struct tpm_daa_blob bare = *blob;
    uint8_t bytes[BLOB_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    memset(&bare.blob_integrity, 0, sizeof bare.blob_integrity);
    wr_daa_blob(&w, &bare);
    cr_hmac_sha1v(out, proof->bytes, sizeof proof->bytes, &CR_SLICE(bytes, w.len), 1);
}

static tpm_rc crypt(const struct tpm *tpm, const struct tpm_blob *iv, const uint8_t *in, size_t len, uint8_t *out)
{
    const struct vt_auth *key = &tpm->perm.daa_blob_key;
    VT_SECRET_AUTH derived = {{0}};

    cr_hmac_sha1v(derived.bytes, key->bytes, sizeof key->bytes, &CR_SLICE("DAA blob", 8), 1);
    return cmd_crypto_rc(cr_aes128_ctr(derived.bytes, iv->data, in, len, out), TPM_FAIL);
}

tpm_rc daa_wrap(struct cmd *c, uint32_t type, const void *bytes, size_t len, struct tpm_blob *out)
{
    struct tpm_daa_sensitive sensitive = {.internal_data = {.len = (uint32_t)len, .data = bytes}};
    uint8_t plain[SENSITIVE_MAX], enc[SENSITIVE_MAX], iv[IV_LEN], *room = cmd_alloc(c, BLOB_MAX);
    struct tpm_daa_blob blob = {.resource_type = type, .additional_data = {.len = sizeof iv, .data = iv}};
    struct wr p = wr_to(plain, sizeof plain), w = wr_to(room, BLOB_MAX);
    tpm_rc rc = TPM_SIZE;

    wr_daa_sensitive(&p, &sensitive);
    if (room && !p.bad) {
        tpm_random(c->tpm, iv, sizeof iv);
        rc = crypt(c->tpm, &blob.additional_data, plain, p.len, enc);
    }
    vt_wipe(plain, sizeof plain);
    if (rc)
        return rc;
    blob.sensitive_data = (struct tpm_blob){.len = (uint32_t)p.len, .data = enc};
    integrity(c->tpm, &blob, blob.blob_integrity.bytes);
    wr_daa_blob(&w, &blob);
    *out = (struct tpm_blob){.len = (uint32_t)w.len, .data = room};
    return w.bad ? TPM_SIZE : TPM_SUCCESS;
}

static tpm_rc open_sensitive(const struct tpm *tpm, const struct tpm_daa_blob *blob, void *out, size_t len)
{
    struct tpm_daa_sensitive sensitive;
    uint8_t plain[SENSITIVE_MAX] = {0};
    struct rd r = rd_from(plain, blob->sensitive_data.len);
    tpm_rc rc = crypt(tpm, &blob->additional_data, blob->sensitive_data.data, blob->sensitive_data.len, plain);

    if (!rc) {
        rd_daa_sensitive(&r, &sensitive);
        rc = rd_result(&r) || sensitive.internal_data.len != len ? TPM_DAA_INPUT_DATA0 : TPM_SUCCESS;
    }
    if (!rc)
        memcpy(out, sensitive.internal_data.data, len);
    vt_wipe(plain, sizeof plain);
    return rc;
}

tpm_rc daa_unwrap(const struct tpm *tpm, uint32_t type, const struct tpm_blob *in, void *out, size_t len)
{
    struct rd r = rd_from(in->data, in->len);
    uint8_t digest[TPM_DIGEST_LEN];
    struct tpm_daa_blob blob;

    rd_daa_blob(&r, &blob);
    if (rd_result(&r) || blob.additional_data.len != IV_LEN || blob.sensitive_data.len > SENSITIVE_MAX)
        return TPM_DAA_INPUT_DATA0;
    integrity(tpm, &blob, digest);
    if (!vt_ct_equal(digest, blob.blob_integrity.bytes, sizeof digest) || blob.resource_type != type)
        return TPM_DAA_INPUT_DATA0;
    return open_sensitive(tpm, &blob, out, len);
}
