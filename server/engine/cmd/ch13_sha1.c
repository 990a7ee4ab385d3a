/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 13: the SHA-1 thread, for callers that cannot hash. There is one; every other
 * command ends it (exec.c), and so does a failure.
 */
#include "server/engine/handlers.h"

#define BLOCK       64
#define UPDATE_MOST (TPM_BUFFER - 64) /* maxNumBytes: with its header it fits into a command */

static void end_thread(struct tpm *tpm)
{
    if (!tpm->stany.sha1_active)
        return;
    tpm->stany.sha1_active = false;
    vt_wipe(&tpm->stany.sha1, sizeof tpm->stany.sha1);
    tpm->dirty |= TPM_DIRTY_VOLATILE;
}

/* TPM 1.2 Part 3, 13.1 TPM_SHA1Start */
tpm_rc cmd_sha1_start(struct cmd *c, const struct sha1_start_in *in, struct sha1_start_out *out)
{
    (void)in;
    cr_sha1_start(&c->tpm->stany.sha1);
    c->tpm->stany.sha1_active = true;
    c->tpm->stany.sha1_transport = c->transport;
    out->max_num_bytes = UPDATE_MOST;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 13.2 TPM_SHA1Update */
tpm_rc cmd_sha1_update(struct cmd *c, const struct sha1_update_in *in, struct sha1_update_out *out)
{
    struct stany *stany = &c->tpm->stany;

    (void)out;
    /* 1. */
    if (!stany->sha1_active)
        return TPM_SHA_THREAD;
    /* 2-3. */
    if (in->hash_data.len % BLOCK || in->hash_data.len > UPDATE_MOST) {
        end_thread(c->tpm);
        return TPM_SHA_ERROR;
    }
    /* 4. */
    if (in->hash_data.len)
        cr_sha1_blocks(&stany->sha1, in->hash_data.data, in->hash_data.len);
    return TPM_SUCCESS;
}

/* What both endings do with the last part: at most one block. */
static tpm_rc complete(struct tpm *tpm, const struct tpm_blob *last, struct tpm_digest *out)
{
    tpm_rc rc = TPM_SUCCESS;

    if (last->len > BLOCK)
        rc = TPM_SHA_ERROR;
    else if (!tpm->stany.sha1_active)
        rc = TPM_SHA_THREAD;
    else
        cr_sha1_finish(&tpm->stany.sha1, last->data, last->len, out->bytes);
    end_thread(tpm);
    return rc;
}

/* TPM 1.2 Part 3, 13.3 TPM_SHA1Complete */
tpm_rc cmd_sha1_complete(struct cmd *c, const struct sha1_complete_in *in, struct sha1_complete_out *out)
{
    return complete(c->tpm, &in->hash_data, &out->hash_value);
}

/* TPM 1.2 Part 3, 13.4 TPM_SHA1CompleteExtend */
tpm_rc cmd_sha1_complete_extend(struct cmd *c, const struct sha1_complete_extend_in *in,
                                struct sha1_complete_extend_out *out)
{
    struct tpm *tpm = c->tpm;
    tpm_rc rc = TPM_SUCCESS;

    /* 1-4. */
    if (in->pcr_num >= TPM_NUM_PCR)
        rc = TPM_BADINDEX;
    else if (!pcr_extend_allowed(c, in->pcr_num))
        rc = TPM_BAD_LOCALITY;
    if (rc) {
        end_thread(tpm);
        return rc;
    }
    /* 5. */
    rc = complete(tpm, &in->hash_data, &out->hash_value);
    if (rc)
        return rc;
    /* 6. As TPM_Extend. */
    pcr_extend(tpm, in->pcr_num, out->hash_value.bytes);
    pcr_shown(tpm, in->pcr_num, &out->out_digest);
    return TPM_SUCCESS;
}
