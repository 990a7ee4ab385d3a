/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 14: the endorsement key; and from 27 what 1.1 had for it. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

#define EK_BITS    2048
#define PUBKEY_MAX 320 /* a TPM_PUBKEY of 2048 bits is 284 */

/* SHA-1(public key || antiReplay). */
static void pubek_checksum(const struct tpm_pubkey *pub, const struct tpm_nonce *anti_replay,
                           struct tpm_digest *out)
{
    uint8_t bytes[PUBKEY_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_pubkey(&w, pub);
    cr_sha1v(out->bytes,
             (struct cr_slice[]){CR_SLICE(bytes, w.len), CR_SLICE(anti_replay->bytes, TPM_NONCE_LEN)}, 2);
}

/* Action 2. Of the schemes only what an endorsement key has anyway; libtpms agrees. */
static bool ek_params_good(const struct tpm_key_parms *parms)
{
    return parms->algorithm_id == TPM_ALG_RSA && parms->form == TPM_PARMS_RSA &&
           parms->enc_scheme == TPM_ES_RSAESOAEP_SHA1_MGF1 && parms->parms.rsa.key_length == EK_BITS &&
           parms->parms.rsa.num_primes == 2;
}

/* The DAA's secrets belong to an endorsement key. */
static void new_daa_secrets(struct tpm *tpm)
{
    tpm_random(tpm, tpm->perm.daa_proof.bytes, sizeof tpm->perm.daa_proof.bytes);
    tpm_random(tpm, tpm->perm.daa_blob_key.bytes, sizeof tpm->perm.daa_blob_key.bytes);
}

/* What both commands that make one do alike. */
static tpm_rc create_ek(struct cmd *c, const struct tpm_key_parms *parms)
{
    struct permanent *perm = &c->tpm->perm;
    int err;

    /* 1. */
    if (perm->has_ek)
        return TPM_DISABLED_CMD;
    /* 2. */
    if (!ek_params_good(parms))
        return TPM_BAD_KEY_PROPERTY;
    /* 3, 5. */
    err = tpm_make_ek(c->tpm, EK_BITS);
    if (err)
        return cmd_crypto_rc(err, TPM_FAIL);
    /* 6-9. */
    new_daa_secrets(c->tpm);
    perm->flags.cekp_used = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 14.1 TPM_CreateEndorsementKeyPair */
tpm_rc cmd_create_endorsement_key_pair(struct cmd *c, const struct create_endorsement_key_pair_in *in,
                                       struct create_endorsement_key_pair_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    tpm_rc rc = create_ek(c, &in->key_info);

    if (rc)
        return rc;
    perm->ek_revocable = false;
    perm->flags.enable_revoke_ek = false;
    vt_auth_wipe(&perm->ek_reset);
    /* 4. */
    key_to_pubkey(&out->pub_endorsement_key, &perm->ek.key);
    pubek_checksum(&out->pub_endorsement_key, &in->anti_replay, &out->checksum);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 14.2 TPM_CreateRevocableEK */
tpm_rc cmd_create_revocable_ek(struct cmd *c, const struct create_revocable_ek_in *in,
                               struct create_revocable_ek_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    /* 1-2. */
    tpm_rc rc = create_ek(c, &in->key_info);

    if (rc)
        return rc;
    /* 3. */
    perm->ek_revocable = true;
    perm->flags.enable_revoke_ek = true;
    if (in->generate_reset)
        tpm_random(c->tpm, perm->ek_reset.bytes, sizeof perm->ek_reset.bytes);
    else
        memcpy(perm->ek_reset.bytes, in->input_ek_reset.bytes, sizeof perm->ek_reset.bytes);
    /* 4. */
    memcpy(out->output_ek_reset.bytes, perm->ek_reset.bytes, sizeof perm->ek_reset.bytes);
    key_to_pubkey(&out->pub_endorsement_key, &perm->ek.key);
    pubek_checksum(&out->pub_endorsement_key, &in->anti_replay, &out->checksum);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 14.3 TPM_RevokeTrust */
tpm_rc cmd_revoke_trust(struct cmd *c, const struct revoke_trust_in *in, struct revoke_trust_out *out)
{
    struct tpm *tpm = c->tpm;

    (void)out;
    /* 1. */
    if (!tpm->perm.has_ek || !tpm->perm.ek_revocable)
        return TPM_PERMANENTEK;
    /* 2. A secret without a session: guesses at it count all the same, and are kept off (Part 1, 8.1). */
    if (da_locked(tpm))
        return TPM_DEFEND_LOCK_RUNNING;
    if (!vt_ct_equal(in->ek_reset.bytes, tpm->perm.ek_reset.bytes, sizeof tpm->perm.ek_reset.bytes)) {
        c->wrong_guess = true;
        return TPM_AUTHFAIL;
    }
    /* 3. */
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    /* 4. The owner goes, and here also what a manufacturer had put into NV. */
    tpm_clear_owner(tpm);
    nv_revoke(tpm);
    tpm->perm.flags.nv_locked = false;
    /* 5-8. */
    new_daa_secrets(tpm);
    tpm_revoke_ek(tpm);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 14.4 TPM_ReadPubek */
tpm_rc cmd_read_pubek(struct cmd *c, const struct read_pubek_in *in, struct read_pubek_out *out)
{
    const struct permanent *perm = &c->tpm->perm;

    /* 1-2. */
    if (!perm->flags.read_pubek)
        return TPM_DISABLED_CMD;
    if (!perm->has_ek)
        return TPM_NO_ENDORSEMENT;
    /* 3-4. */
    key_to_pubkey(&out->pub_endorsement_key, &perm->ek.key);
    pubek_checksum(&out->pub_endorsement_key, &in->anti_replay, &out->checksum);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 14.5 TPM_OwnerReadInternalPub */
tpm_rc cmd_owner_read_internal_pub(struct cmd *c, const struct owner_read_internal_pub_in *in,
                                   struct owner_read_internal_pub_out *out)
{
    const struct permanent *perm = &c->tpm->perm;

    /* 2-4. With an owner there are both. */
    if (in->key_handle == TPM_KH_EK)
        key_to_pubkey(&out->public_portion, &perm->ek.key);
    else if (in->key_handle == TPM_KH_SRK)
        key_to_pubkey(&out->public_portion, &perm->srk.key);
    else
        return TPM_BAD_PARAMETER;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 27.6 TPM_OwnerReadPubek */
tpm_rc cmd_owner_read_pubek(struct cmd *c, const struct owner_read_pubek_in *in,
                            struct owner_read_pubek_out *out)
{
    (void)in;
    /* With an owner there is one. */
    key_to_pubkey(&out->pub_endorsement_key, &c->tpm->perm.ek.key);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 27.7 TPM_DisablePubekRead */
tpm_rc cmd_disable_pubek_read(struct cmd *c, const struct disable_pubek_read_in *in,
                              struct disable_pubek_read_out *out)
{
    (void)in;
    (void)out;
    c->tpm->perm.flags.read_pubek = false;
    return TPM_SUCCESS;
}
