/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/entity.h"

#define STRUCTURE_MAX CR_RSA_MAX /* what can be encrypted is shorter */

struct vt_auth *entity_secret(struct entity *entity)
{
    return entity->is_key ? &entity->key.usage_auth : &entity->data.auth_data;
}

tpm_rc entity_read(const struct cmd *c, const uint8_t *plain, size_t len, struct entity *entity)
{
    const struct vt_auth *proof = &c->tpm->perm.tpm_proof;
    struct rd r = rd_from(plain, len);

    if (entity->is_key) {
        rd_store_asymkey(&r, &entity->key);
        return !rd_result(&r) && key_payload_loadable(entity->key.payload) ? TPM_SUCCESS
                                                                           : TPM_INVALID_STRUCTURE;
    }
    rd_sealed_data(&r, &entity->data);
    if (rd_result(&r) || entity->data.payload != TPM_PT_SEAL)
        return TPM_INVALID_STRUCTURE;
    return vt_ct_equal(entity->data.tpm_proof.bytes, proof->bytes, sizeof proof->bytes) ? TPM_SUCCESS
                                                                                        : TPM_AUTHFAIL;
}

tpm_rc entity_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct entity *entity, struct tpm_blob *out)
{
    uint8_t plain[STRUCTURE_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    uint8_t *enc = cmd_alloc(c, CR_RSA_MAX);
    size_t len = CR_RSA_MAX;
    tpm_rc rc = TPM_SIZE;

    if (entity->is_key)
        wr_store_asymkey(&w, &entity->key);
    else
        wr_sealed_data(&w, &entity->data);
    if (w.bad)
        rc = TPM_BAD_DATASIZE;
    else if (enc)
        rc = key_wrap_blob(c, parent, plain, w.len, enc, &len);
    *out = (struct tpm_blob){.len = (uint32_t)len, .data = enc};
    vt_wipe(plain, sizeof plain);
    return rc;
}
