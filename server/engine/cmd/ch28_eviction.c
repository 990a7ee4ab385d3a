/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 28: the old way to unload a key. */
#include "server/engine/handlers.h"

/* TPM 1.2 Part 3, 28.1 TPM_EvictKey */
tpm_rc cmd_evict_key(struct cmd *c, const struct evict_key_in *in, struct evict_key_out *out)
{
    struct key_slot *slot = c->handles[0] < TPM_KH_SRK ? key_find(c->tpm, c->handles[0]) : NULL;

    (void)in;
    (void)out;
    if (!slot)
        return TPM_INVALID_KEYHANDLE;
    if (slot->owner_evict)
        return TPM_KEY_OWNER_CONTROL;
    key_flush(c->tpm, slot);
    return TPM_SUCCESS;
}
