/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 8: what was audited, and what will be. */
#include "server/engine/audit.h"
#include "server/engine/handlers.h"

#define ORDINALS_MAX 128

static const struct cmd_row *row_of(const struct tpm *tpm, uint32_t ordinal)
{
    const struct cmd_row *row = cmd_row_find(ordinal);

    return row && cmd_is_offered(tpm, row) ? row : NULL;
}

/* The least audited ordinal from `first` on; false: none. */
static bool next_audited(const struct tpm *tpm, uint32_t first, uint32_t *ordinal)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);
    bool found = false;

    for (size_t i = 0; i < count; i++) {
        if (rows[i].ordinal < first || !audit_is_on(tpm, &rows[i]) || (found && rows[i].ordinal > *ordinal))
            continue;
        *ordinal = rows[i].ordinal;
        found = true;
    }
    return found;
}

/* 8.3 action 3: in ascending order, from `first` on. All of them fit into any answer. */
static tpm_rc list_audited(struct cmd *c, uint32_t first, struct tpm_blob *out)
{
    uint8_t bytes[4 * ORDINALS_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    uint32_t ordinal = 0;

    while (next_audited(c->tpm, first, &ordinal)) {
        wr_put32(&w, ordinal);
        first = ordinal + 1;
    }
    return !w.bad && cmd_blob(c, out, bytes, w.len) ? TPM_SUCCESS : TPM_SIZE;
}

/* TPM 1.2 Part 3, 8.3 TPM_GetAuditDigest */
tpm_rc cmd_get_audit_digest(struct cmd *c, const struct get_audit_digest_in *in,
                            struct get_audit_digest_out *out)
{
    /* 1-2. */
    memcpy(out->audit_digest.bytes, c->tpm->stclear.audit_digest, TPM_DIGEST_LEN);
    out->counter_value = audit_counter(c->tpm);
    /* 3-4. */
    return list_audited(c, in->start_ordinal, &out->ord_list);
}

/* Action 4: SHA-1 of a TPM_SIGN_INFO over digest, counter and list. */
static void signed_digest(const struct tpm_nonce *anti_replay, const struct get_audit_digest_signed_out *out,
                          uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t data[64], bytes[128];
    struct wr d = wr_to(data, sizeof data), w = wr_to(bytes, sizeof bytes);
    struct tpm_sign_info info = {.fixed = {{'A', 'D', 'I', 'G'}}, .replay = *anti_replay};

    wr_digest(&d, &out->audit_digest);
    wr_counter_value(&d, &out->counter_value);
    wr_digest(&d, &out->ordinal_digest);
    info.data = (struct tpm_blob){.len = (uint32_t)d.len, .data = data};
    wr_sign_info(&w, &info);
    cr_sha1(digest, bytes, w.len);
}

/* TPM 1.2 Part 3, 8.4 TPM_GetAuditDigestSigned */
tpm_rc cmd_get_audit_digest_signed(struct cmd *c, const struct get_audit_digest_signed_in *in,
                                   struct get_audit_digest_signed_out *out)
{
    struct key_slot *slot = c->keys[0];
    uint8_t digest[TPM_DIGEST_LEN];
    struct tpm_blob list;
    tpm_rc rc;

    /* 1. The pipeline proved the key; its PCRs: */
    rc = key_check_pcrs(c, &slot->key);
    if (rc)
        return rc;
    /* 2-3. */
    if (!key_may_attest(&slot->key) || !key_signs_sha1(&slot->key))
        return TPM_INVALID_KEYUSAGE;
    /* 5.b. An identity speaks for the owner: only with it the session ends. */
    if (in->close_audit && slot->key.usage != TPM_KEY_IDENTITY)
        return TPM_INVALID_KEYUSAGE;
    /* 4. */
    rc = list_audited(c, 0, &list);
    if (rc)
        return rc;
    cr_sha1(out->ordinal_digest.bytes, list.data, list.len);
    memcpy(out->audit_digest.bytes, c->tpm->stclear.audit_digest, TPM_DIGEST_LEN);
    out->counter_value = audit_counter(c->tpm);
    signed_digest(&in->anti_replay, out, digest);
    rc = key_sign_digest(c, slot, digest, &out->sig);
    /* 5.a. */
    if (!rc && in->close_audit)
        memset(c->tpm->stclear.audit_digest, 0, TPM_DIGEST_LEN);
    return rc;
}

/* TPM 1.2 Part 3, 8.5 TPM_SetOrdinalAuditStatus */
tpm_rc cmd_set_ordinal_audit_status(struct cmd *c, const struct set_ordinal_audit_status_in *in,
                                    struct set_ordinal_audit_status_out *out)
{
    const struct cmd_row *row = row_of(c->tpm, in->ordinal_to_audit);

    (void)out;
    /* 1 was the pipeline's. 2. */
    if (!row)
        return TPM_BADINDEX;
    if (in->audit_state && !audit_may_be(c->tpm, row))
        return TPM_BAD_PARAMETER;
    /* 3. */
    audit_set(c->tpm, row, in->audit_state);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 28.2 TPM_GetOrdinalAuditStatus (deleted in later texts) */
tpm_rc cmd_get_ordinal_audit_status(struct cmd *c, const struct get_ordinal_audit_status_in *in,
                                    struct get_ordinal_audit_status_out *out)
{
    const struct cmd_row *row = row_of(c->tpm, in->ordinal_to_query);

    /* 1. */
    if (!row)
        return TPM_BADINDEX;
    /* 2-3. */
    out->state = audit_is_on(c->tpm, row);
    return TPM_SUCCESS;
}
