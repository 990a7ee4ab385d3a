/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 6: the owner comes and goes. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/transport.h"

/* ---- 6.1 ---- */

/* Actions 6 and 10: a secret of 20 bytes under the endorsement key. */
static tpm_rc decrypt_secret(struct tpm *tpm, const struct tpm_blob *enc, struct vt_auth *out)
{
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    tpm_rc rc = key_unwrap_blob(&tpm->perm.ek, enc, plain, &len);

    if (!rc && len > sizeof out->bytes)
        rc = TPM_DECRYPT_ERROR;
    else if (!rc && len < sizeof out->bytes)
        rc = TPM_BAD_KEY_PROPERTY;
    else if (!rc)
        memcpy(out->bytes, plain, sizeof out->bytes);
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* Actions 1-5. */
static tpm_rc may_take_ownership(const struct cmd *c, uint16_t protocol)
{
    const struct permanent *perm = &c->tpm->perm;

    if (perm->owned)
        return TPM_OWNER_SET;
    if (!perm->flags.ownership)
        return TPM_INSTALL_DISABLED;
    if (!perm->has_ek)
        return TPM_NO_ENDORSEMENT;
    if (!cmd_has_session(c, 0))
        return TPM_INVALID_AUTHHANDLE;
    if (c->auth[0].session->kind != SESSION_OIAP)
        return TPM_AUTHFAIL;
    return protocol == TPM_PID_OWNER ? TPM_SUCCESS : TPM_BAD_PARAMETER;
}

/* Action 8: the rest of what must be of a storage key is in key_from_wire. */
static tpm_rc read_srk_params(const struct tpm_key *in, struct tpm_key_obj *srk)
{
    struct tpm_key params = *in;

    if (in->key_usage != TPM_KEY_STORAGE || (in->key_flags & TPM_MIGRATABLE))
        return TPM_INVALID_KEYUSAGE;
    /* 8.g: for the SRK also an exponent written out is one too many. */
    if (in->algorithm_parms.form == TPM_PARMS_RSA && in->algorithm_parms.parms.rsa.exponent.len)
        return TPM_BAD_KEY_PROPERTY;
    params.pub_key = (struct tpm_blob){0};
    return key_from_wire(srk, &params);
}

/* Actions 11-17; nothing here can fail. */
static void install_owner(struct tpm *tpm, const struct vt_auth *owner, const struct tpm_key_obj *srk)
{
    struct permanent *perm = &tpm->perm;

    tpm_random(tpm, perm->tpm_proof.bytes, sizeof perm->tpm_proof.bytes);
    tpm_random(tpm, perm->context_key.bytes, sizeof perm->context_key.bytes);
    tpm_random(tpm, perm->delegate_key.bytes, sizeof perm->delegate_key.bytes);
    perm->srk = (struct key_slot){.handle = TPM_KH_SRK, .key = *srk};
    perm->srk.key.migration_auth = perm->tpm_proof;
    perm->owner_auth = *owner;
    perm->owned = true;
    perm->flags.read_pubek = false;
    /* A new owner does not answer for the guesses of others. */
    da_reset(tpm);
}

/* TPM 1.2 Part 3, 6.1 TPM_TakeOwnership */
tpm_rc cmd_take_ownership(struct cmd *c, const struct take_ownership_in *in, struct take_ownership_out *out)
{
    struct tpm *tpm = c->tpm;
    VT_SECRET_AUTH owner = {{0}};
    struct auth_entity entity = {.type = TPM_ET_OWNER, .secret = &owner};
    TPM_SECRET_KEY_OBJ srk = {0};
    tpm_rc rc;

    /* 1-5. */
    rc = may_take_ownership(c, in->protocol_id);
    /* 6-7. The new secret proves the command that brings it. */
    if (!rc)
        rc = decrypt_secret(tpm, &in->enc_owner_auth, &owner);
    if (!rc)
        rc = cmd_check_auth(c, 0, &entity);
    /* 8-10. */
    if (!rc)
        rc = read_srk_params(&in->srk_params, &srk);
    if (!rc)
        rc = decrypt_secret(tpm, &in->enc_srk_auth, &srk.usage_auth);
    if (rc)
        return rc;
    key_stamp_pcrs(c, &srk);
    rc = key_generate(c, &srk, srk.rsa.pub.bytes * 8u);
    if (rc)
        return rc;
    /* 11-17. */
    install_owner(tpm, &owner, &srk);
    key_to_wire(&out->srk_pub, &tpm->perm.srk.key, NULL);
    return TPM_SUCCESS;
}

/* ---- 6.2 ---- */

/* Action 5: what was the owner's. */
static void forget_owner(struct permanent *perm)
{
    perm->owned = false;
    vt_auth_wipe(&perm->owner_auth);
    vt_auth_wipe(&perm->delegate_key);
    vt_auth_wipe(&perm->operator_auth);
    vt_wipe(perm->delegates, sizeof perm->delegates);
    vt_wipe(perm->families, sizeof perm->families);
    /* 11: counters go, what they counted stays in counter_highest. */
    vt_wipe(perm->counters, sizeof perm->counters);
}

/* Actions 6, 9 and 10: back to the specification's defaults, which are not the manufacturer's. */
static void default_settings(struct permanent *perm)
{
    struct tpm_permanent_flags *flags = &perm->flags;

    perm->nv.no_owner_writes = 0;
    memset(perm->restrict_delegate, 0, sizeof perm->restrict_delegate);
    tpm_default_audit(perm);
    flags->disable = true;
    flags->deactivated = true;
    flags->read_pubek = true;
    flags->disable_owner_clear = false;
    flags->disable_full_da_logic_info = false;
    flags->allow_maintenance = perm->profile.maintenance;
    flags->read_srk_pub = false;
    flags->ownership = true;
    flags->operator= false;
    flags->maintenance_done = false;
}

/*
 * 5.e-f: invalid, but never a value that everybody knows: contexts of sessions are sealed under them also
 * while there is no owner.
 */
static void new_proofs(struct tpm *tpm)
{
    tpm_random(tpm, tpm->perm.context_key.bytes, sizeof tpm->perm.context_key.bytes);
    tpm_random(tpm, tpm->perm.tpm_proof.bytes, sizeof tpm->perm.tpm_proof.bytes);
}

/* Actions 7, 8 and 14: everything volatile but PCRs, flags and ticks. */
static void forget_volatile(struct tpm *tpm)
{
    session_close_all(tpm);
    transport_close_all(tpm);
    memset(tpm->stany.context_nonce_session, 0, sizeof tpm->stany.context_nonce_session);
    tpm->stany.context_count = 0;
    memset(tpm->stany.context_list, 0, sizeof tpm->stany.context_list);
    memset(tpm->stany.context_is_11, 0, sizeof tpm->stany.context_is_11);
    memset(tpm->stany.context_nonce_11, 0, sizeof tpm->stany.context_nonce_11);
    memset(tpm->stclear.context_nonce_key, 0, sizeof tpm->stclear.context_nonce_key);
    tpm->stclear.counter_id = COUNTER_NONE;
    tpm->stclear.owner_reference = TPM_KH_OWNER;
    tpm->stclear.deferred_presence = 0;
    memset(tpm->stclear.audit_digest, 0, sizeof tpm->stclear.audit_digest);
}

void tpm_clear_owner(struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    tpm->dirty |= TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE;
    /* 3. All keys, also those that the owner keeps. */
    key_flush_all(tpm, true);
    daa_close_all(tpm);
    if (perm->owned)
        key_flush(tpm, &perm->srk);
    forget_owner(perm);
    new_proofs(tpm);
    default_settings(perm);
    forget_volatile(tpm);
    /* 12. */
    nv_owner_clear(tpm);
}

/* TPM 1.2 Part 3, 6.2 TPM_OwnerClear */
tpm_rc cmd_owner_clear(struct cmd *c, const struct owner_clear_in *in, struct owner_clear_out *out)
{
    (void)in;
    (void)out;
    /* 2. */
    if (c->tpm->perm.flags.disable_owner_clear)
        return TPM_CLEAR_DISABLED;
    /* 3-14. The response is still proved with the old secret. */
    tpm_clear_owner(c->tpm);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 6.3 TPM_ForceClear */
tpm_rc cmd_force_clear(struct cmd *c, const struct force_clear_in *in, struct force_clear_out *out)
{
    (void)in;
    (void)out;
    /* 1. */
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    /* 2. */
    if (c->tpm->stclear.flags.disable_force_clear)
        return TPM_CLEAR_DISABLED;
    /* 3. */
    tpm_clear_owner(c->tpm);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 6.4 TPM_DisableOwnerClear */
tpm_rc cmd_disable_owner_clear(struct cmd *c, const struct disable_owner_clear_in *in,
                               struct disable_owner_clear_out *out)
{
    (void)in;
    (void)out;
    c->tpm->perm.flags.disable_owner_clear = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 6.5 TPM_DisableForceClear: until the next TPM_Startup(ST_CLEAR). */
tpm_rc cmd_disable_force_clear(struct cmd *c, const struct disable_force_clear_in *in,
                               struct disable_force_clear_out *out)
{
    (void)in;
    (void)out;
    c->tpm->stclear.flags.disable_force_clear = true;
    return TPM_SUCCESS;
}
