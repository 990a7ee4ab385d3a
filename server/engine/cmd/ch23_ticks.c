/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 23: ticks. One is a microsecond; they begin at TPM_Startup with a nonce of their
 * own. */
#include "server/engine/handlers.h"

#define STAMP_MAX 64 /* digestToStamp and a TPM_CURRENT_TICKS: 52 */

struct tpm_current_ticks tpm_ticks_now(const struct tpm *tpm)
{
    struct tpm_current_ticks now = {.current_ticks = tpm_ticks_us(tpm), .tick_rate = 1};

    memcpy(now.tick_nonce.bytes, tpm->stany.tick_nonce, TPM_NONCE_LEN);
    return now;
}

/* TPM 1.2 Part 3, 23.1 TPM_GetTicks */
tpm_rc cmd_get_ticks(struct cmd *c, const struct get_ticks_in *in, struct get_ticks_out *out)
{
    (void)in;
    out->current_time = tpm_ticks_now(c->tpm);
    return TPM_SUCCESS;
}

/* Action 6: SHA-1 of a TPM_SIGN_INFO. */
static void stamp_digest(const struct tick_stamp_blob_in *in, const struct tpm_current_ticks *ticks,
                         uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t data[STAMP_MAX], bytes[STAMP_MAX + 32];
    struct wr d = wr_to(data, sizeof data), w = wr_to(bytes, sizeof bytes);
    struct tpm_sign_info info = {.fixed = {{'T', 'S', 'T', 'P'}}, .replay = in->anti_replay};

    wr_digest(&d, &in->digest_to_stamp);
    wr_current_ticks(&d, ticks);
    info.data = (struct tpm_blob){.len = (uint32_t)d.len, .data = data};
    wr_sign_info(&w, &info);
    cr_sha1(out, bytes, w.len);
}

/* TPM 1.2 Part 3, 23.2 TPM_TickStampBlob */
tpm_rc cmd_tick_stamp_blob(struct cmd *c, const struct tick_stamp_blob_in *in,
                           struct tick_stamp_blob_out *out)
{
    struct key_slot *slot = c->keys[0];
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc;

    /* 1. The key's secret was proved by the pipeline; its PCRs: */
    rc = key_check_pcrs(c, &slot->key);
    if (rc)
        return rc;
    /* 2. */
    if (!key_may_attest(&slot->key))
        return TPM_INVALID_KEYUSAGE;
    /* 3. */
    if (!key_signs_sha1(&slot->key))
        return TPM_INAPPROPRIATE_SIG;
    /* 4-7. They have run since TPM_Startup. */
    out->current_ticks = tpm_ticks_now(c->tpm);
    stamp_digest(in, &out->current_ticks, digest);
    return key_sign_digest(c, slot, digest, &out->sig);
}
