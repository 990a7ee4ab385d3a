/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 27: how version 1.1 unloaded keys and sessions and got them back. */
#include "server/engine/auth.h"
#include "server/engine/context.h"
#include "server/engine/handlers.h"

static const struct tpm_bytes16 no_label;

/* TPM 1.2 Part 3, 27.1.1 TPM_EvictKey */
tpm_rc cmd_evict_key(struct cmd *c, const struct evict_key_in *in, struct evict_key_out *out)
{
    struct key_slot *slot = !key_handle_reserved(c->handles[0]) ? key_find(c->tpm, c->handles[0]) : NULL;

    (void)in;
    (void)out;
    if (!slot)
        return TPM_INVALID_KEYHANDLE;
    if (slot->owner_evict)
        return TPM_KEY_OWNER_CONTROL;
    key_flush(c->tpm, slot);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 27.2.1 TPM_SaveKeyContext: unlike TPM_SaveContext it unloads the key. */
tpm_rc cmd_save_key_context(struct cmd *c, const struct save_key_context_in *in,
                            struct save_key_context_out *out)
{
    struct key_slot *slot = !key_handle_reserved(c->handles[0]) ? key_find(c->tpm, c->handles[0]) : NULL;
    tpm_rc rc;

    (void)in;
    if (!slot)
        return TPM_INVALID_KEYHANDLE;
    rc = context_save(c, CONTEXT_11, TPM_RT_KEY, c->handles[0], &no_label, &out->key_context_blob);
    if (!rc)
        key_flush(c->tpm, slot);
    return rc;
}

/* TPM 1.2 Part 3, 27.2.2 TPM_LoadKeyContext */
tpm_rc cmd_load_key_context(struct cmd *c, const struct load_key_context_in *in,
                            struct load_key_context_out *out)
{
    struct context_wish wish = {.life = CONTEXT_11, .type = TPM_RT_KEY};

    (void)out;
    return context_load(c, &wish, &in->key_context_blob);
}

/* TPM 1.2 Part 3, 27.2.3 TPM_SaveAuthContext */
tpm_rc cmd_save_auth_context(struct cmd *c, const struct save_auth_context_in *in,
                             struct save_auth_context_out *out)
{
    (void)in;
    if (!session_find(c->tpm, c->handles[0]))
        return TPM_INVALID_AUTHHANDLE;
    return context_save(c, CONTEXT_11, TPM_RT_AUTH, c->handles[0], &no_label, &out->auth_context_blob);
}

/* TPM 1.2 Part 3, 27.2.4 TPM_LoadAuthContext */
tpm_rc cmd_load_auth_context(struct cmd *c, const struct load_auth_context_in *in,
                             struct load_auth_context_out *out)
{
    struct context_wish wish = {.life = CONTEXT_11, .type = TPM_RT_AUTH};

    (void)out;
    return context_load(c, &wish, &in->auth_context_blob);
}

/* TPM 1.2 Part 3, 27.5 TPM_Reset: sessions and what 1.1's commands saved; nothing else. */
tpm_rc cmd_reset(struct cmd *c, const struct reset_in *in, struct reset_out *out)
{
    (void)in;
    (void)out;
    session_close_all(c->tpm);
    context_forget_11(c->tpm);
    return TPM_SUCCESS;
}
