/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/audit.h"

/* ---- Which ones: a bit per row ---- */

static size_t position(const struct cmd_row *row)
{
    size_t count;

    return (size_t)(row - cmd_rows(&count));
}

bool audit_is_on(const struct tpm *tpm, const struct cmd_row *row)
{
    size_t at = audit_may_be(tpm, row) ? position(row) : AUDIT_BITMAP_BYTES * 8;

    return at < AUDIT_BITMAP_BYTES * 8 && (tpm->perm.audited[at / 8] >> at % 8 & 1);
}

bool audit_may_be(const struct tpm *tpm, const struct cmd_row *row)
{
    return cmd_is_offered(tpm, row) && !(row->flags & CMD_NEVER_AUDITED);
}

void audit_set(struct tpm *tpm, const struct cmd_row *row, bool on)
{
    size_t at = position(row);
    uint8_t bit = (uint8_t)(1u << at % 8);
    uint8_t *byte = &tpm->perm.audited[at / 8];

    *byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
    tpm->dirty |= TPM_DIRTY_PERMANENT;
}

/* ---- The digest ---- */

struct tpm_counter_value audit_counter(const struct tpm *tpm)
{
    return (struct tpm_counter_value){.counter = tpm->perm.audit_counter};
}

/* 8.1 actions 2.b-c and 2.d-e: TPM_AUDIT_EVENT_IN and _OUT have one shape. */
static void extend(struct tpm *tpm, uint16_t tag, const uint8_t parms[CR_SHA1_LEN])
{
    struct tpm_counter_value count = audit_counter(tpm);
    uint8_t *digest = tpm->stclear.audit_digest;
    uint8_t event[64];
    struct wr w = wr_to(event, sizeof event);

    wr_put16(&w, tag);
    wr_copy(&w, parms, CR_SHA1_LEN);
    wr_counter_value(&w, &count);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(digest, CR_SHA1_LEN), CR_SLICE(event, w.len)}, 2);
}

/* Action 2.a: a session begins. false: the counter cannot count any more. */
static bool begin(struct tpm *tpm)
{
    static const uint8_t zero[CR_SHA1_LEN];

    if (memcmp(tpm->stclear.audit_digest, zero, sizeof zero) != 0)
        return true;
    if (tpm->perm.audit_counter == UINT32_MAX)
        return false;
    tpm->perm.audit_counter++;
    tpm->dirty |= TPM_DIRTY_PERMANENT;
    return true;
}

tpm_rc audit_extend(struct tpm *tpm, const uint8_t in[CR_SHA1_LEN], const uint8_t out[CR_SHA1_LEN])
{
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    if (!begin(tpm)) {
        tpm->stany.failed = true;
        return TPM_AUDITFAIL_SUCCESSFUL;
    }
    if (in)
        extend(tpm, TPM_TAG_AUDIT_EVENT_IN, in);
    if (out)
        extend(tpm, TPM_TAG_AUDIT_EVENT_OUT, out);
    return TPM_SUCCESS;
}
