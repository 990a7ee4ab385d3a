/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 18: authorisation sessions; and the ends of sessions and keys (22.1, 27.1.2). */
#include "server/engine/auth.h"
#include "server/engine/context.h"
#include "server/engine/delegate.h"
#include "server/engine/handlers.h"
#include "server/engine/transport.h"

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

/* What 18.2 and 18.3 do alike once they know whose secret and, of DSAP, what was lent. */
struct opening {
    uint8_t adip;
    struct auth_entity entity;
    bool delegated;
    struct tpm_delegate_public delegate;
    const struct tpm_nonce *odd;
};

/* How new secrets will be hidden. */
static bool adip_known(uint8_t adip)
{
    return adip == TPM_ET_XOR || adip == TPM_ET_AES128_CTR;
}

/* 18.2 actions 1-4, 18.3 actions 5-7. Shared secret = HMAC(secret, nonceEvenOSAP || nonceOddOSAP). */
static tpm_rc open_session(struct cmd *c, const struct opening *o, struct tpm_nonce *even,
                           struct tpm_nonce *even_osap)
{
    struct session *session = session_new(c->tpm, o->delegated ? SESSION_DSAP : SESSION_OSAP);

    if (!session)
        return TPM_RESOURCES;
    session->adip = o->adip;
    session->entity_type = o->entity.type;
    memcpy(session->entity, o->entity.id, sizeof session->entity);
    session->delegate = o->delegate;
    tpm_random(c->tpm, even_osap->bytes, TPM_NONCE_LEN);
    cr_hmac_sha1v(session->secret.bytes, o->entity.secret->bytes, sizeof o->entity.secret->bytes,
                  (struct cr_slice[]){CR_SLICE(even_osap->bytes, TPM_NONCE_LEN),
                                      CR_SLICE(o->odd->bytes, TPM_NONCE_LEN)},
                  2);
    c->out_handle = session->handle;
    memcpy(even->bytes, session->nonce_even, TPM_NONCE_LEN);
    return TPM_SUCCESS;
}

/* The owner by a row of the delegation table: what it does not allow is not allowed. */
static tpm_rc open_row(struct tpm *tpm, uint32_t index, struct opening *o)
{
    const struct delegate_row *row = delegate_row_find(tpm, index);

    if (!row)
        return TPM_BADINDEX;
    o->entity = auth_entity_owner(tpm);
    o->entity.secret = &row->auth;
    o->delegated = true;
    o->delegate = row->pub;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 18.2 TPM_OSAP */
tpm_rc cmd_osap(struct cmd *c, const struct osap_in *in, struct osap_out *out)
{
    struct opening o = {.adip = (uint8_t)(in->entity_type >> 8), .odd = &in->nonce_odd_osap};
    struct stclear *stclear = &c->tpm->stclear;
    tpm_rc rc;

    /* 5. */
    if (!adip_known(o.adip))
        return TPM_INAPPROPRIATE_ENC;
    rc = find_entity(c->tpm, (uint8_t)in->entity_type, in->entity_value, &o.entity);
    /* 6.a: TPM_SetOwnerPointer may have set another one for TPM_KH_OWNER. */
    if (!rc && o.entity.type == TPM_ET_OWNER && stclear->owner_reference != TPM_KH_OWNER)
        rc = open_row(c->tpm, stclear->owner_reference, &o);
    return rc ? rc : open_session(c, &o, &out->nonce_even, &out->nonce_even_osap);
}

/* Actions 1 and 3, d-h of 1: the blob is what this TPM made, and still counts. */
static tpm_rc check_blob(struct cmd *c, const struct delegation *d)
{
    tpm_rc rc = family_check(c->tpm, &d->pub);

    if (rc)
        return rc;
    return delegation_is_ours(c->tpm, d) ? TPM_SUCCESS : TPM_AUTHFAIL;
}

/* Actions 1 and 3. */
static tpm_rc open_blob(struct cmd *c, const struct dsap_in *in, bool is_key, struct vt_auth *secret,
                        struct opening *o)
{
    uint8_t digest[TPM_DIGEST_LEN];
    const struct key_slot *slot;
    struct delegation d;
    tpm_rc rc;

    if (delegation_read(&d, &in->entity_value) || d.is_key != is_key)
        return TPM_WRONG_ENTITYTYPE;
    rc = check_blob(c, &d);
    if (rc)
        return rc;
    o->entity = auth_entity_owner(c->tpm);
    if (is_key) {
        /* 3.h. */
        slot = key_find(c->tpm, in->key_handle);
        if (!slot)
            return TPM_INVALID_KEYHANDLE;
        key_store_pubkey_digest(&slot->key, digest);
        if (memcmp(digest, d.key_digest.bytes, sizeof digest) != 0)
            return TPM_KEYNOTFOUND;
        o->entity = auth_entity_key(slot);
    }
    if (!delegation_secret(c->tpm, &d, false, secret))
        return TPM_BAD_DELEGATE;
    o->entity.secret = secret;
    o->delegated = true;
    o->delegate = d.pub;
    return TPM_SUCCESS;
}

/* Action 2. */
static tpm_rc open_index(struct cmd *c, const struct tpm_blob *value, struct opening *o)
{
    struct rd r = rd_from(value->data, value->len);
    uint32_t index = rd_get32(&r);
    tpm_rc rc = rd_result(&r);

    if (!rc)
        rc = open_row(c->tpm, index, o);
    return rc ? rc : family_check(c->tpm, &o->delegate);
}

/* TPM 1.2 Part 3, 18.3 TPM_DSAP */
tpm_rc cmd_dsap(struct cmd *c, const struct dsap_in *in, struct dsap_out *out)
{
    struct opening o = {.adip = (uint8_t)(in->entity_type >> 8), .odd = &in->nonce_odd_dsap};
    VT_SECRET_AUTH secret = {{0}};
    tpm_rc rc;

    if (!adip_known(o.adip))
        return TPM_INAPPROPRIATE_ENC;
    switch (in->entity_type & 0xFF) {
    case TPM_ET_DEL_OWNER_BLOB:
        rc = open_blob(c, in, false, &secret, &o);
        break;
    case TPM_ET_DEL_ROW:
        rc = open_index(c, &in->entity_value, &o);
        break;
    case TPM_ET_DEL_KEY_BLOB:
        rc = open_blob(c, in, true, &secret, &o);
        break;
    default:
        rc = TPM_BAD_PARAMETER;
        break;
    }
    return rc ? rc : open_session(c, &o, &out->nonce_even, &out->nonce_even_dsap);
}

/* TPM 1.2 Part 3, 18.4 TPM_SetOwnerPointer */
tpm_rc cmd_set_owner_pointer(struct cmd *c, const struct set_owner_pointer_in *in,
                             struct set_owner_pointer_out *out)
{
    const struct delegate_row *row;
    tpm_rc rc;

    (void)out;
    switch (in->entity_type) {
    case TPM_ET_DEL_ROW:
        /* 2. */
        row = delegate_row_find(c->tpm, in->entity_value);
        if (!row)
            return TPM_BADINDEX;
        rc = family_check(c->tpm, &row->pub);
        if (rc)
            return rc;
        c->tpm->stclear.owner_reference = in->entity_value;
        return TPM_SUCCESS;
    case TPM_ET_OWNER:
        /* 3. */
        c->tpm->stclear.owner_reference = TPM_KH_OWNER;
        return TPM_SUCCESS;
    default:
        return TPM_BAD_PARAMETER;
    }
}

static tpm_rc end_session(struct tpm *tpm, uint32_t handle)
{
    struct session *session = session_find(tpm, handle);

    if (!session)
        return TPM_INVALID_AUTHHANDLE;
    session_close(tpm, session);
    return TPM_SUCCESS;
}

static tpm_rc end_transport(struct tpm *tpm, uint32_t handle)
{
    struct transport *transport = transport_find(tpm, handle);

    if (!transport)
        return TPM_BAD_PARAMETER;
    transport_close(tpm, transport);
    return TPM_SUCCESS;
}

static tpm_rc end_key(struct tpm *tpm, uint32_t handle)
{
    struct key_slot *slot = !key_handle_reserved(handle) ? key_find(tpm, handle) : NULL;

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
    case TPM_RT_TRANS:
        return end_transport(c->tpm, c->handles[0]);
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
