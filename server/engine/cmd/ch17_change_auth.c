/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 17: secrets change. */
#include "server/engine/auth.h"
#include "server/engine/entity.h"
#include "server/engine/handlers.h"

/* ---- 17.1 ---- */

/* Actions 1, 3 and 4; the pipeline proved the parent by an OSAP session (2, 7). */
static tpm_rc check_request(const struct cmd *c, const struct change_auth_in *in)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    tpm_rc rc = key_check_pcrs(c, parent);

    if (rc)
        return rc;
    if (in->entity_type != TPM_ET_DATA && in->entity_type != TPM_ET_KEY)
        return TPM_WRONG_ENTITYTYPE;
    if (c->auth[1].session->kind != SESSION_OIAP)
        return TPM_BAD_MODE;
    if (in->protocol_id != TPM_PID_ADCP)
        return TPM_BAD_PARAMETER;
    /* 8. */
    return parent->usage == TPM_KEY_STORAGE ? TPM_SUCCESS : TPM_INVALID_KEYUSAGE;
}

/* Actions 9-12. */
static tpm_rc change(struct cmd *c, const struct tpm_blob *enc, const struct vt_auth *fresh,
                     struct entity *entity, struct tpm_blob *out)
{
    struct auth_entity proved = {.type = TPM_ET_DATA, .secret = entity_secret(entity)};
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    tpm_rc rc = key_unwrap_blob(c->keys[0], enc, plain, &len);

    if (!rc)
        rc = entity_read(c, plain, len, entity);
    if (!rc)
        rc = cmd_check_auth(c, 1, &proved);
    if (!rc) {
        *entity_secret(entity) = *fresh;
        rc = entity_wrap(c, &c->keys[0]->key, entity, out);
    }
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* TPM 1.2 Part 3, 17.1 TPM_ChangeAuth */
tpm_rc cmd_change_auth(struct cmd *c, const struct change_auth_in *in, struct change_auth_out *out)
{
    struct entity entity = {.is_key = in->entity_type == TPM_ET_KEY};
    VT_SECRET_AUTH fresh = {{0}};
    tpm_rc rc;

    /* 1-8. */
    if ((rc = check_request(c, in)) || (rc = cmd_decrypt_auth(c, 0, false, &in->new_auth, &fresh)))
        return rc;
    /* 9-12. The response is still proved with the old secret. */
    rc = change(c, &in->enc_data, &fresh, &entity, &out->out_data);
    /* 13. The first one ends as it brought the secret. */
    cmd_end_session(c, 1);
    vt_wipe(&entity, sizeof entity);
    return rc;
}

/* ---- 17.2 ---- */

/* TPM 1.2 Part 3, 17.2 TPM_ChangeAuthOwner */
tpm_rc cmd_change_auth_owner(struct cmd *c, const struct change_auth_owner_in *in,
                             struct change_auth_owner_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    VT_SECRET_AUTH fresh = {{0}};
    tpm_rc rc;

    (void)out;
    /* 3. 1 and 2 were the pipeline's. */
    if (in->protocol_id != TPM_PID_ADCP)
        return TPM_BAD_PARAMETER;
    /* 4. */
    if (in->entity_type != TPM_ET_OWNER && in->entity_type != TPM_ET_SRK)
        return TPM_WRONG_ENTITYTYPE;
    /* 5-6. */
    rc = cmd_decrypt_auth(c, 0, false, &in->new_auth, &fresh);
    if (rc)
        return rc;
    /* 7. */
    if (in->entity_type == TPM_ET_OWNER)
        perm->owner_auth = fresh;
    else
        perm->srk.key.usage_auth = fresh;
    /* 8-9. The response is still proved with the session's secret. */
    session_close_owner(c->tpm);
    return TPM_SUCCESS;
}
