/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of loaded keys. */
#include "server/engine/keys.h"

#include "server/engine/auth.h"
#include "server/engine/pcr_binding.h"

void tpm_key_obj_wipe(struct tpm_key_obj *key)
{
    vt_wipe(key, sizeof *key);
}

struct key_slot *key_find(struct tpm *tpm, uint32_t handle)
{
    if (handle == TPM_KH_SRK)
        return tpm->perm.owned ? &tpm->perm.srk : NULL;
    for (size_t i = 0; handle && i < KEY_SLOTS_MAX; i++)
        if (tpm->keys[i].handle == handle)
            return &tpm->keys[i];
    return NULL;
}

unsigned key_free_slots(const struct tpm *tpm)
{
    unsigned used = 0;

    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        used += tpm->keys[i].handle != 0;
    return used < tpm->perm.profile.key_slots ? tpm->perm.profile.key_slots - used : 0;
}

static bool handle_usable(struct tpm *tpm, uint32_t handle)
{
    return !key_handle_reserved(handle) && !key_find(tpm, handle) && !session_find(tpm, handle) &&
           !daa_find(tpm, handle);
}

struct key_slot *key_insert_at(struct tpm *tpm, const struct tpm_key_obj *key, bool parent_pcr_status,
                               uint32_t handle)
{
    size_t i = 0;

    if (!key_free_slots(tpm) || (handle && !handle_usable(tpm, handle)))
        return NULL;
    if (!handle)
        handle = tpm_fresh_handle(tpm, TPM_RT_KEY);
    while (tpm->keys[i].handle)
        i++;
    tpm->keys[i] = (struct key_slot){
        .handle = handle,
        .parent_pcr_status = parent_pcr_status,
        .key = *key,
    };
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    return &tpm->keys[i];
}

struct key_slot *key_insert(struct tpm *tpm, const struct tpm_key_obj *key, bool parent_pcr_status)
{
    return key_insert_at(tpm, key, parent_pcr_status, 0);
}

void key_flush(struct tpm *tpm, struct key_slot *slot)
{
    tpm->dirty |= slot->owner_evict ? TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE : TPM_DIRTY_VOLATILE;
    session_close_entity(tpm, TPM_ET_KEYHANDLE, slot->key.pub_digest);
    cr_rsa_free(slot->rsa);
    vt_wipe_sparse(slot, sizeof *slot);
}

void key_flush_all(struct tpm *tpm, bool everything)
{
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        if (everything || !tpm->keys[i].owner_evict)
            key_flush(tpm, &tpm->keys[i]);
}

struct cr_rsa *key_rsa(struct key_slot *slot)
{
    if (!slot->rsa && cr_rsa_open(&slot->rsa, &slot->key.rsa) != VT_OK)
        slot->rsa = NULL;
    return slot->rsa;
}

tpm_rc key_check_pcrs(const struct cmd *c, const struct tpm_key_obj *key)
{
    struct tpm_blob area = {.len = key->pcr_info_len, .data = key->pcr_info};
    struct pcr_binding binding;
    tpm_rc rc = pcr_binding_read(&binding, key->is_key12, &area);

    if (!rc)
        rc = pcr_binding_check(c, &binding);
    /* Part 3 names one code for a key out of its place; libtpms agrees. */
    return rc == TPM_BAD_LOCALITY ? TPM_WRONGPCRVAL : rc;
}

void key_stamp_pcrs(const struct cmd *c, struct tpm_key_obj *key)
{
    struct tpm_blob area = {.len = key->pcr_info_len, .data = key->pcr_info};
    struct pcr_binding binding;

    if (pcr_binding_read(&binding, key->is_key12, &area))
        return; /* key_from_wire has read it before */
    pcr_binding_stamp(c, &binding);
    key->pcr_info_len = pcr_binding_write(&binding, key->pcr_info);
}

bool key_uses_pcrs(const struct tpm_key_obj *key)
{
    struct tpm_blob area = {.len = key->pcr_info_len, .data = key->pcr_info};
    struct pcr_binding binding;

    return !pcr_binding_read(&binding, key->is_key12, &area) && pcr_binding_uses_pcrs(&binding);
}

tpm_rc key_generate(struct cmd *c, struct tpm_key_obj *key, unsigned bits)
{
    int err = tpm_make_rsa(c->tpm, &key->rsa, bits, key->rsa.pub.e);

    if (!err)
        key_pub_digest(key, key->pub_digest);
    return cmd_crypto_rc(err, TPM_FAIL);
}

/* ---- What the TPM itself says, signed ---- */

bool key_signs_sha1(const struct tpm_key_obj *key)
{
    return key->sig_scheme == TPM_SS_RSASSAPKCS1v15_SHA1 || key->sig_scheme == TPM_SS_RSASSAPKCS1v15_INFO;
}

bool key_may_attest(const struct tpm_key_obj *key)
{
    return key->usage == TPM_KEY_SIGNING || key->usage == TPM_KEY_IDENTITY || key->usage == TPM_KEY_LEGACY;
}

tpm_rc key_sign_digest(struct cmd *c, struct key_slot *slot, const uint8_t digest[CR_SHA1_LEN],
                       struct tpm_blob *sig)
{
    uint8_t *bytes = cmd_alloc(c, CR_RSA_MAX);
    struct cr_rsa *rsa = key_rsa(slot);

    if (!bytes)
        return TPM_SIZE;
    if (!rsa)
        return TPM_FAIL;
    *sig = (struct tpm_blob){.len = slot->key.rsa.pub.bytes, .data = bytes};
    return cmd_crypto_rc(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, CR_SHA1_LEN, bytes), TPM_FAIL);
}
