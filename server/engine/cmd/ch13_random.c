/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 13, the random generator. */
#include "server/engine/handlers.h"

#define RANDOM_MOST 2048 /* one answer; callers ask again for more */
#define STIR_MOST   255  /* Part 3, 13.7: "less than 256 bytes" */

/* TPM 1.2 Part 3, 13.6 TPM_GetRandom */
tpm_rc cmd_get_random(struct cmd *c, const struct get_random_in *in, struct get_random_out *out)
{
    uint32_t len = VT_MIN(in->bytes_requested, RANDOM_MOST);
    uint8_t *bytes = cmd_alloc(c, len);

    if (!bytes)
        return TPM_SIZE;
    tpm_random(c->tpm, bytes, len);
    out->random_bytes = (struct tpm_blob){.len = len, .data = bytes};
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 13.7 TPM_StirRandom */
tpm_rc cmd_stir_random(struct cmd *c, const struct stir_random_in *in, struct stir_random_out *out)
{
    (void)out;
    if (in->in_data.len > STIR_MOST)
        return TPM_BAD_PARAMETER;
    cr_drbg_stir(&c->tpm->drbg, in->in_data.data, in->in_data.len);
    return TPM_SUCCESS;
}
