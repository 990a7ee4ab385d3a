/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 13: one key says what another one is. */
#include "server/engine/handlers.h"
#include "server/engine/pcr_binding.h"

#define CERTIFY_INFO_MAX 320 /* a TPM_CERTIFY_INFO2 with PCRs and a migration authority: 165 */

/* ---- What both commands do alike ---- */

static bool may_be_certified(const struct tpm_key_obj *key)
{
    return key->usage == TPM_KEY_SIGNING || key->usage == TPM_KEY_STORAGE || key->usage == TPM_KEY_IDENTITY ||
           key->usage == TPM_KEY_BIND || key->usage == TPM_KEY_LEGACY;
}

/* The signer's PCRs and scheme (action 1); the target's PCRs, unless reading it does not ask for them. */
static tpm_rc check_keys(const struct cmd *c, const struct tpm_key_obj *cert, const struct tpm_key_obj *key)
{
    tpm_rc rc = key_check_pcrs(c, cert);

    if (!rc && !(key->flags & TPM_PCRIGNOREDONREAD))
        rc = key_check_pcrs(c, key);
    if (rc)
        return rc;
    return key_signs_sha1(cert) ? TPM_SUCCESS : TPM_BAD_KEY_PROPERTY;
}

static tpm_rc check_usages(const struct tpm_key_obj *cert, const struct tpm_key_obj *key)
{
    return key_may_attest(cert) && may_be_certified(key) ? TPM_SUCCESS : TPM_INVALID_KEYUSAGE;
}

/* What the key's release depends on; false: nothing. */
static bool read_release(const struct tpm_key_obj *key, struct tpm_pcr_info_short *release)
{
    struct tpm_blob area = {.len = key->pcr_info_len, .data = key->pcr_info};
    struct pcr_binding binding;

    if (pcr_binding_read(&binding, key->is_key12, &area))
        return false; /* key_from_wire has read it before */
    *release = pcr_binding_release(&binding);
    return binding.form != PCR_BOUND_TO_NOTHING;
}

/* Part 2, 11.1. parms and pcr_info borrow. */
static struct tpm_certify_info certify_info(const struct key_slot *slot, const struct tpm_nonce *anti_replay)
{
    const struct tpm_key_obj *key = &slot->key;
    struct tpm_certify_info info = {
        .version = {.major = 1, .minor = 1},
        .key_usage = key->usage,
        .key_flags = key->flags,
        .auth_data_usage = key->auth_data_usage,
        .data = *anti_replay,
        .parent_pcr_status = slot->parent_pcr_status,
    };
    struct tpm_pubkey pub;

    key_to_pubkey(&pub, key);
    info.algorithm_parms = pub.algorithm_parms;
    cr_sha1(info.pubkey_digest.bytes, key->rsa.pub.n, key->rsa.pub.bytes);
    return info;
}

/* Part 2, 11.2: the same, and what 1.2 adds. */
static tpm_rc certify_info2(struct cmd *c, const struct key_slot *slot, const struct tpm_nonce *anti_replay,
                            struct tpm_certify_info2 *out)
{
    struct tpm_certify_info info = certify_info(slot, anti_replay);
    struct tpm_pcr_info_short release;
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    *out = (struct tpm_certify_info2){
        .payload_type = slot->key.payload,
        .key_usage = info.key_usage,
        .key_flags = info.key_flags,
        .auth_data_usage = info.auth_data_usage,
        .algorithm_parms = info.algorithm_parms,
        .pubkey_digest = info.pubkey_digest,
        .data = info.data,
        .parent_pcr_status = info.parent_pcr_status,
    };
    if (!read_release(&slot->key, &release))
        return TPM_SUCCESS;
    wr_pcr_info_short(&w, &release);
    return cmd_blob(c, &out->pcr_info, bytes, w.len) ? TPM_SUCCESS : TPM_SIZE;
}

static tpm_rc sign_either(struct cmd *c, struct key_slot *cert, const struct tpm_certify_either *info,
                          struct tpm_blob *sig)
{
    uint8_t bytes[CERTIFY_INFO_MAX], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_certify_either(&w, info);
    if (w.bad)
        return TPM_SIZE;
    cr_sha1(digest, bytes, w.len);
    return key_sign_digest(c, cert, digest, sig);
}

/* ---- 13.8 ---- */

/* Actions 7-10: version 1.1 has no words for localities and for PCRs from 16 on. */
static bool needs_info2(const struct tpm_pcr_info_short *release)
{
    return release->locality_at_release != TPM_LOC_ALL || release->pcr_selection.pcr_select[2];
}

/* Actions 9.b-13: TPM_CERTIFY_INFO; how things were at the key's creation is not told. */
static tpm_rc fill_info(struct cmd *c, const struct key_slot *slot, const struct tpm_nonce *anti_replay,
                        const struct tpm_pcr_info_short *release, struct tpm_certify_info *out)
{
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_pcr_info info;

    *out = certify_info(slot, anti_replay);
    if (!release)
        return TPM_SUCCESS;
    info = (struct tpm_pcr_info){.pcr_selection = release->pcr_selection,
                                 .digest_at_release = release->digest_at_release};
    wr_pcr_info(&w, &info);
    return cmd_blob(c, &out->pcr_info, bytes, w.len) ? TPM_SUCCESS : TPM_SIZE;
}

static tpm_rc fill_either(struct cmd *c, const struct key_slot *slot, const struct tpm_nonce *anti_replay,
                          struct tpm_certify_either *out)
{
    struct tpm_pcr_info_short release;
    bool bound = read_release(&slot->key, &release);

    out->is_2 = bound && needs_info2(&release);
    return out->is_2 ? certify_info2(c, slot, anti_replay, &out->info2)
                     : fill_info(c, slot, anti_replay, bound ? &release : NULL, &out->info);
}

/* TPM 1.2 Part 3, 13.8 TPM_CertifyKey */
tpm_rc cmd_certify_key(struct cmd *c, const struct certify_key_in *in, struct certify_key_out *out)
{
    struct key_slot *cert = c->keys[0];
    const struct tpm_key_obj *key = &c->keys[1]->key;
    tpm_rc rc;

    /* 1-2. */
    rc = check_keys(c, &cert->key, key);
    if (rc)
        return rc;
    /* 3. */
    if (key->payload != TPM_PT_ASYM)
        return TPM_INVALID_KEYUSAGE;
    /* 4. An identity does not vouch for what can leave the TPM. */
    if (cert->key.usage == TPM_KEY_IDENTITY && (key->flags & TPM_MIGRATABLE))
        return TPM_MIGRATEFAIL;
    /* 5-14. */
    if ((rc = check_usages(&cert->key, key)) ||
        (rc = fill_either(c, c->keys[1], &in->anti_replay, &out->certify_info)))
        return rc;
    /* 15. */
    return sign_either(c, cert, &out->certify_info, &out->out_data);
}

/* ---- 13.9 ---- */

static bool is_cmk(const struct tpm_key_obj *key)
{
    return key->payload == TPM_PT_MIGRATE_RESTRICTED || key->payload == TPM_PT_MIGRATE_EXTERNAL;
}

/* Action 3. */
static bool may_vouch(const struct tpm_key_obj *cert, const struct tpm_key_obj *key)
{
    return cert->usage != TPM_KEY_IDENTITY || !(key->flags & TPM_MIGRATABLE) ||
           ((key->flags & TPM_MIGRATEAUTHORITY) && is_cmk(key));
}

/* Action 11.b: was it made under these migration authorities? */
static bool authority_right(const struct cmd *c, const struct tpm_key_obj *key,
                            const struct tpm_digest *authorities)
{
    const struct vt_auth *proof = &c->tpm->perm.tpm_proof;
    struct tpm_cmk_migauth m2 = {.msa_digest = *authorities};
    uint8_t bytes[64], expected[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    key_pubkey_digest(key, m2.pub_key_digest.bytes);
    wr_cmk_migauth(&w, &m2);
    cr_hmac_sha1v(expected, proof->bytes, sizeof proof->bytes, (struct cr_slice[]){CR_SLICE(bytes, w.len)},
                  1);
    return vt_ct_equal(expected, key->migration_auth.bytes, sizeof expected);
}

/* Actions 11-12. */
static tpm_rc fill_authority(struct cmd *c, const struct tpm_key_obj *key,
                             const struct tpm_digest *authorities, struct tpm_certify_info2 *info)
{
    uint8_t digest[TPM_DIGEST_LEN];

    if (!is_cmk(key)) {
        info->payload_type = TPM_PT_ASYM;
        return TPM_SUCCESS;
    }
    if (!authority_right(c, key, authorities))
        return TPM_MA_SOURCE;
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(authorities->bytes, TPM_DIGEST_LEN), CR_SLICE(&key->payload, 1)},
             2);
    return cmd_blob(c, &info->migration_authority, digest, sizeof digest) ? TPM_SUCCESS : TPM_SIZE;
}

/* TPM 1.2 Part 3, 13.9 TPM_CertifyKey2. The keys are the other way round than in TPM_CertifyKey. */
tpm_rc cmd_certify_key2(struct cmd *c, const struct certify_key2_in *in, struct certify_key2_out *out)
{
    struct tpm_certify_either either = {.is_2 = true};
    const struct tpm_key_obj *key = &c->keys[0]->key;
    struct key_slot *cert = c->keys[1];
    tpm_rc rc;

    /* 1-2. */
    rc = check_keys(c, &cert->key, key);
    if (rc)
        return rc;
    /* 3. */
    if (!may_vouch(&cert->key, key))
        return TPM_MIGRATEFAIL;
    /* 4-14. */
    if ((rc = check_usages(&cert->key, key)) ||
        (rc = certify_info2(c, c->keys[0], &in->anti_replay, &either.info2)) ||
        (rc = fill_authority(c, key, &in->migration_pub_digest, &either.info2)))
        return rc;
    out->certify_info = either.info2;
    /* 15. */
    return sign_either(c, cert, &either, &out->out_data);
}
