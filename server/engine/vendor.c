/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/vendor.h"

#include "server/engine/engine.h"
#include "server/wire/schema.h"

struct deep_quote_in {
    uint8_t nonce[TPM_EVIDENCE_NONCE];
    struct tpm_pcr_selection pcrs, host_pcrs;
};

struct deep_quote_out {
    struct tpm_blob evidence;
};

static void decode(struct rd *r, void *to)
{
    struct deep_quote_in *in = to;

    rd_copy(r, in->nonce, sizeof in->nonce);
    rd_pcr_selection(r, &in->pcrs);
    rd_pcr_selection(r, &in->host_pcrs);
}

static void encode(struct wr *w, const void *from)
{
    const struct deep_quote_out *out = from;

    wr_put32(w, out->evidence.len);
    wr_copy(w, out->evidence.data, out->evidence.len);
}

static uint32_t mask_of(const struct tpm_pcr_selection *selection)
{
    uint32_t mask = 0;

    for (unsigned n = 0; n < TPM_NUM_PCR; n++)
        mask |= (uint32_t)tpm_pcr_selected(selection, n) << n;
    return mask;
}

/* 1: choose. 2: ask. 3: hand on what came; the engine neither makes nor understands it. */
static tpm_rc run(struct cmd *c, const void *from, void *to)
{
    const struct deep_quote_in *in = from;
    const struct tpm_ops *ops = c->tpm->ops;
    struct tpm_evidence_ask ask = {.mask = mask_of(&in->pcrs), .host_mask = mask_of(&in->host_pcrs)};
    uint8_t *evidence = cmd_alloc(c, TPM_EVIDENCE_MAX);
    size_t len = TPM_EVIDENCE_MAX;
    int err;

    if (!ask.host_mask)
        return TPM_INVALID_PCR_INFO;
    if (!evidence)
        return TPM_SIZE;
    memcpy(ask.nonce, in->nonce, sizeof ask.nonce);
    memcpy(ask.pcr, c->tpm->stclear.pcr, sizeof ask.pcr);
    err = ops->evidence(ops->ctx, &ask, evidence, &len);
    if (err || len > TPM_EVIDENCE_MAX)
        return err == VT_EAGAIN ? TPM_RETRY : TPM_IOERROR;
    ((struct deep_quote_out *)to)->evidence = (struct tpm_blob){.len = (uint32_t)len, .data = evidence};
    return TPM_SUCCESS;
}

static const struct cmd_row deep_quote = {
    .ordinal = VENDOR_ORD_DEEP_QUOTE,
    .needs = NEEDS_USABLE,
    .flags = CMD_NEVER_AUDITED | CMD_NOT_WRAPPABLE | CMD_KEEPS_SAVED,
    .duration = DURATION_L,
    .in_size = sizeof(struct deep_quote_in),
    .out_size = sizeof(struct deep_quote_out),
    .decode = decode,
    .encode = encode,
    .run = run,
};

const struct cmd_row *vendor_row_find(const struct tpm *tpm, uint32_t ordinal)
{
    return ordinal == VENDOR_ORD_DEEP_QUOTE && tpm->ops && tpm->ops->evidence ? &deep_quote : NULL;
}
