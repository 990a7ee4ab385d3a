/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 10, data that was encrypted elsewhere for a key of this TPM. */
#include "server/engine/handlers.h"

/* Action 4, by the key's own scheme; the caller wipes plain. */
static tpm_rc decrypt(struct key_slot *slot, const struct tpm_blob *in, uint8_t plain[CR_RSA_MAX],
                      size_t *len)
{
    struct cr_rsa *rsa;

    if (slot->key.enc_scheme == TPM_ES_RSAESOAEP_SHA1_MGF1)
        return key_unwrap_blob(slot, in, plain, len);
    if (in->len != slot->key.rsa.pub.bytes)
        return TPM_DECRYPT_ERROR;
    rsa = key_rsa(slot);
    if (!rsa)
        return TPM_FAIL;
    return cmd_crypto_rc(cr_rsa_pkcs1_decrypt(rsa, in->data, in->len, plain, len), TPM_DECRYPT_ERROR);
}

/* Action 6: what is inside of a TPM_BOUND_DATA (Part 2, 9.3); borrows from plain. */
static tpm_rc open_bound(const uint8_t *plain, size_t len, struct tpm_blob *data)
{
    struct tpm_bound_data bound;
    struct rd r = rd_from(plain, len);
    tpm_rc rc;

    rd_bound_data(&r, &bound);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (bound.ver.major != 1 || bound.ver.minor != 1)
        return TPM_BAD_VERSION;
    if (bound.payload != TPM_PT_BIND)
        return TPM_INVALID_STRUCTURE;
    *data = bound.payload_data;
    return TPM_SUCCESS;
}

static tpm_rc unbind(struct cmd *c, const struct tpm_blob *in, uint8_t plain[CR_RSA_MAX],
                     struct tpm_blob *out)
{
    struct key_slot *slot = c->keys[0];
    struct tpm_blob data;
    size_t len;
    tpm_rc rc = decrypt(slot, in, plain, &len);

    if (rc)
        return rc;
    data = (struct tpm_blob){.len = (uint32_t)len, .data = plain};
    /* 5. A legacy key's plain encryption has nothing in it to look at. */
    if (slot->key.usage != TPM_KEY_LEGACY || slot->key.enc_scheme == TPM_ES_RSAESOAEP_SHA1_MGF1)
        rc = open_bound(plain, len, &data);
    if (!rc && !cmd_blob(c, out, data.data, data.len))
        rc = TPM_SIZE;
    return rc;
}

/* TPM 1.2 Part 3, 10.3 TPM_UnBind */
tpm_rc cmd_un_bind(struct cmd *c, const struct un_bind_in *in, struct un_bind_out *out)
{
    const struct tpm_key_obj *key = &c->keys[0]->key;
    uint8_t plain[CR_RSA_MAX] = {0};
    tpm_rc rc;

    /* 2. */
    rc = key_check_pcrs(c, key);
    if (rc)
        return rc;
    /* 1. */
    if (!in->in_data.len)
        return TPM_BAD_PARAMETER;
    if (in->in_data.len > key->rsa.pub.bytes)
        return TPM_BAD_DATASIZE;
    /* 3. */
    if (key->usage != TPM_KEY_BIND && key->usage != TPM_KEY_LEGACY)
        return TPM_INVALID_KEYUSAGE;
    /* 4-6. */
    rc = unbind(c, &in->in_data, plain, &out->out_data);
    vt_wipe(plain, sizeof plain);
    return rc;
}
