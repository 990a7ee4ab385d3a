/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 27: the one data integrity register; in 1.2 it is also NV index TPM_NV_INDEX_DIR.
 */
#include "server/engine/handlers.h"

/* TPM 1.2 Part 3, 27.3.1 TPM_DirWriteAuth */
tpm_rc cmd_dir_write_auth(struct cmd *c, const struct dir_write_auth_in *in, struct dir_write_auth_out *out)
{
    (void)out;
    /* 1 was the pipeline's. 2. */
    if (in->dir_index)
        return TPM_BADINDEX;
    /* 3. */
    memcpy(c->tpm->perm.auth_dir, in->new_contents.bytes, sizeof c->tpm->perm.auth_dir);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 27.3.2 TPM_DirRead */
tpm_rc cmd_dir_read(struct cmd *c, const struct dir_read_in *in, struct dir_read_out *out)
{
    /* 1. */
    if (in->dir_index)
        return TPM_BADINDEX;
    /* 2. */
    memcpy(out->dir_contents.bytes, c->tpm->perm.auth_dir, sizeof c->tpm->perm.auth_dir);
    return TPM_SUCCESS;
}
