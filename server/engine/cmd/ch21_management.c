/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 21: session management: keys that the owner keeps inside, contexts that leave. */
#include "server/engine/context.h"
#include "server/engine/handlers.h"


/* ---- 21.1 ---- */

static unsigned kept_by_owner(const struct tpm *tpm)
{
    unsigned count = 0;

    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        count += tpm->keys[i].handle && tpm->keys[i].owner_evict;
    return count;
}

/* Action 3: a virtualised handle must not make the owner keep another key than he saw. */
static bool is_this_key(const struct tpm_key_obj *key, const struct tpm_pubkey *pub)
{
    uint8_t bytes[512], have[TPM_DIGEST_LEN], want[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_pubkey(&w, pub);
    if (w.bad)
        return false;
    cr_sha1(want, bytes, w.len);
    key_pubkey_digest(key, have);
    return !memcmp(have, want, sizeof have);
}

static bool usage_may_stay(uint16_t usage)
{
    return usage == TPM_KEY_SIGNING || usage == TPM_KEY_STORAGE || usage == TPM_KEY_IDENTITY ||
           usage == TPM_KEY_BIND || usage == TPM_KEY_LEGACY;
}

/* Action 5.a. */
static tpm_rc may_keep(const struct tpm *tpm, const struct key_slot *slot)
{
    const struct tpm_profile *profile = &tpm->perm.profile;
    unsigned kept = kept_by_owner(tpm);

    if (kept + 1 + KEY_SLOTS_LEFT > profile->key_slots)
        return TPM_NOSPACE;
    if (slot->parent_pcr_status || (slot->key.flags & TPM_VOLATILE))
        return TPM_BAD_PARAMETER;
    return kept < profile->owner_evict_slots ? TPM_SUCCESS : TPM_NOSPACE;
}

/* TPM 1.2 Part 3, 21.1 TPM_KeyControlOwner */
tpm_rc cmd_key_control_owner(struct cmd *c, const struct key_control_owner_in *in,
                             struct key_control_owner_out *out)
{
    struct key_slot *slot = c->keys[0];
    tpm_rc rc = TPM_SUCCESS;

    (void)out;
    /* 1 was the pipeline's. 2. Root keys are not in slots. */
    if (key_handle_reserved(c->handles[0]))
        return TPM_INVALID_KEYHANDLE;
    if (!usage_may_stay(slot->key.usage))
        return TPM_INVALID_KEYUSAGE;
    /* 3. */
    if (!is_this_key(&slot->key, &in->pub_key))
        return TPM_BAD_PARAMETER;
    /* 4. */
    if (in->bit_name != TPM_KEY_CONTROL_OWNER_EVICT)
        return TPM_BAD_MODE;
    /* 5. */
    if (in->bit_value && !slot->owner_evict)
        rc = may_keep(c->tpm, slot);
    if (!rc)
        slot->owner_evict = in->bit_value;
    return rc;
}

/* ---- 21.2, 21.3 ---- */

/* TPM 1.2 Part 3, 21.2 TPM_SaveContext */
tpm_rc cmd_save_context(struct cmd *c, const struct save_context_in *in, struct save_context_out *out)
{
    return context_save(c, CONTEXT_12, in->resource_type, c->handles[0], &in->label, &out->context_blob);
}

/* TPM 1.2 Part 3, 21.3 TPM_LoadContext */
tpm_rc cmd_load_context(struct cmd *c, const struct load_context_in *in, struct load_context_out *out)
{
    struct context_wish wish = {
        .life = CONTEXT_12,
        .keep_handle = in->keep_handle,
        .by_handle = true,
        .entity_handle = c->handles[0],
    };

    (void)out;
    return context_load(c, &wish, &in->context_blob);
}
