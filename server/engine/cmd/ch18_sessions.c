/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 18: authorisation sessions; and the ends of sessions and keys (22.1, 27.1.2). */
#include "server/engine/auth.h"
#include "server/engine/context.h"
#include "server/engine/handlers.h"

/* TPM 1.2 Part 3, 18.1 TPM_OIAP */
tpm_rc cmd_oiap(struct cmd *c, const struct oiap_in *in, struct oiap_out *out)
{
    struct session *session = session_new(c->tpm, SESSION_OIAP);

    (void)in;
    if (!session)
        return TPM_RESOURCES;
    c->out_handle = session->handle;
    memcpy(out->nonce_even.bytes, session->nonce_even, TPM_NONCE_LEN);
    return TPM_SUCCESS;
}

static tpm_rc key_entity(struct tpm *tpm, uint32_t handle, struct auth_entity *entity)
{
    const struct key_slot *slot = key_find(tpm, handle);

    if (handle == TPM_KH_OPERATOR)
        return TPM_BAD_HANDLE;
    if (!slot)
        return TPM_INVALID_KEYHANDLE;
    *entity = auth_entity_key(slot);
    return TPM_SUCCESS;
}

static tpm_rc nv_entity(struct tpm *tpm, uint32_t index, struct auth_entity *entity)
{
    const struct nv_area *area = nv_find(tpm, index);

    if (!area)
        return TPM_BADINDEX;
    *entity = auth_entity_number(TPM_ET_NV, index, &area->auth);
    return TPM_SUCCESS;
}

/* Actions 6-11: whose secret the session stands for. */
static tpm_rc find_entity(struct tpm *tpm, uint8_t type, uint32_t value, struct auth_entity *entity)
{
    switch (type) {
    case TPM_ET_KEYHANDLE:
        return key_entity(tpm, value, entity);
    case TPM_ET_SRK:
        return key_entity(tpm, TPM_KH_SRK, entity);
    case TPM_ET_OWNER:
        *entity = auth_entity_owner(tpm);
        return tpm->perm.owned ? TPM_SUCCESS : TPM_BAD_PARAMETER;
    case TPM_ET_NV:
        return nv_entity(tpm, value, entity);
    case TPM_ET_COUNTER:
        *entity = counter_entity(tpm, value);
        return entity->secret ? TPM_SUCCESS : TPM_BAD_COUNTER;
    default:
        return TPM_BAD_PARAMETER;
    }
}

/* TPM 1.2 Part 3, 18.2 TPM_OSAP */
tpm_rc cmd_osap(struct cmd *c, const struct osap_in *in, struct osap_out *out)
{
    uint8_t adip = (uint8_t)(in->entity_type >> 8);
    struct auth_entity entity;
    struct session *session;
    tpm_rc rc;

    /* 5. How new secrets will be hidden. */
    if (adip != TPM_ET_XOR && adip != TPM_ET_AES128_CTR)
        return TPM_INAPPROPRIATE_ENC;
    rc = find_entity(c->tpm, (uint8_t)in->entity_type, in->entity_value, &entity);
    if (rc)
        return rc;
    /* 1-3. */
    session = session_new(c->tpm, SESSION_OSAP);
    if (!session)
        return TPM_RESOURCES;
    session->adip = adip;
    session->entity_type = entity.type;
    memcpy(session->entity, entity.id, sizeof session->entity);
    tpm_random(c->tpm, out->nonce_even_osap.bytes, TPM_NONCE_LEN);
    /* 4. Shared secret = HMAC(secret, nonceEvenOSAP || nonceOddOSAP). */
    cr_hmac_sha1v(session->secret.bytes, entity.secret->bytes, sizeof entity.secret->bytes,
                  (struct cr_slice[]){CR_SLICE(out->nonce_even_osap.bytes, TPM_NONCE_LEN),
                                      CR_SLICE(in->nonce_odd_osap.bytes, TPM_NONCE_LEN)},
                  2);
    c->out_handle = session->handle;
    memcpy(out->nonce_even.bytes, session->nonce_even, TPM_NONCE_LEN);
    return TPM_SUCCESS;
}

static tpm_rc end_session(struct tpm *tpm, uint32_t handle)
{
    struct session *session = session_find(tpm, handle);

    if (!session)
        return TPM_INVALID_AUTHHANDLE;
    session_close(tpm, session);
    return TPM_SUCCESS;
}

static tpm_rc end_key(struct tpm *tpm, uint32_t handle)
{
    struct key_slot *slot = handle < TPM_KH_SRK ? key_find(tpm, handle) : NULL;

    if (!slot)
        return TPM_BAD_PARAMETER;
    if (slot->owner_evict)
        return TPM_KEY_OWNER_CONTROL;
    key_flush(tpm, slot);
    return TPM_SUCCESS;
}

static tpm_rc end_daa(struct tpm *tpm, uint32_t handle)
{
    struct daa_session *session = daa_find(tpm, handle);

    if (!session)
        return TPM_BAD_HANDLE;
    daa_close(tpm, session);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 22.1 TPM_FlushSpecific */
tpm_rc cmd_flush_specific(struct cmd *c, const struct flush_specific_in *in, struct flush_specific_out *out)
{
    (void)out;
    switch (in->resource_type) {
    case TPM_RT_CONTEXT:
        /* The handle of a saved session is its count. */
        return context_forget(c->tpm, c->handles[0]) ? TPM_SUCCESS : TPM_BAD_PARAMETER;
    case TPM_RT_KEY:
        return end_key(c->tpm, c->handles[0]);
    case TPM_RT_AUTH:
        return end_session(c->tpm, c->handles[0]);
    case TPM_RT_DAA_TPM:
        return end_daa(c->tpm, c->handles[0]);
    default:
        return TPM_INVALID_RESOURCE;
    }
}

/* TPM 1.2 Part 3, 27.1.2 TPM_Terminate_Handle */
tpm_rc cmd_terminate_handle(struct cmd *c, const struct terminate_handle_in *in,
                            struct terminate_handle_out *out)
{
    (void)in;
    (void)out;
    return end_session(c->tpm, c->handles[0]);
}
