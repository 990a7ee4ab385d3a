/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 19: authority is lent, in families. */
#include "server/engine/auth.h"
#include "server/engine/delegate.h"
#include "server/engine/handlers.h"

/* ---- Whose command it is ---- */

/* Without an owner anybody may write a little (19.1 action 3.c, 19.4 action 5.b). */
static tpm_rc check_unowned(const struct cmd *c, const struct tpm_family_table_entry *family)
{
    const struct permanent *perm = &c->tpm->perm;

    if (family && (family->flags & TPM_DELEGATE_ADMIN_LOCK))
        return TPM_DELEGATE_LOCK;
    return perm->nv.no_owner_writes >= TPM_MAX_NV_WRITE_NOOWNER ? TPM_MAXNVWRITES : TPM_SUCCESS;
}

/* What was lent in one family is good for that family only. */
static tpm_rc check_family(const struct cmd *c, uint32_t family_id)
{
    return c->auth[0].delegated && c->auth[0].delegate.family_id != family_id ? TPM_DELEGATE_FAMILY
                                                                              : TPM_SUCCESS;
}

/* Sessions that stand on the old tables end, this command's own among them; a write without an owner counts.
 */
static void commit_tables(struct cmd *c)
{
    if (!c->tpm->perm.owned)
        c->tpm->perm.nv.no_owner_writes++;
    delegate_tables_changed(c->tpm);
}

/* ---- 19.1 ---- */

/* Actions 2-3. family is NULL for TPM_FAMILY_CREATE. */
static tpm_rc may_manage(struct cmd *c, const struct tpm_family_table_entry *family)
{
    tpm_rc rc;

    if (c->auth_count) {
        rc = cmd_check_owner(c, 0);
        return rc || !family ? rc : check_family(c, family->family_id);
    }
    return c->tpm->perm.owned ? TPM_AUTHFAIL : check_unowned(c, family);
}

static struct family_row *free_family(struct tpm *tpm)
{
    for (size_t i = 0; i < tpm->perm.profile.family_rows; i++)
        if (!tpm->perm.families[i].used)
            return &tpm->perm.families[i];
    return NULL;
}

/* Action 5. */
static tpm_rc create_family(struct cmd *c, const struct tpm_blob *label, struct tpm_blob *out)
{
    struct permanent *perm = &c->tpm->perm;
    struct family_row *row = free_family(c->tpm);
    uint8_t *id = cmd_alloc(c, 4);
    struct wr w = wr_to(id, 4);

    if (!id)
        return TPM_SIZE;
    if (!row || perm->last_family_id == UINT32_MAX)
        return TPM_RESOURCES;
    if (label->len != 1)
        return TPM_BAD_PARAM_SIZE;
    *row = (struct family_row){
        .used = true,
        .entry = {.family_label = label->data[0],
                  .family_id = ++perm->last_family_id,
                  .verification_count = 1},
    };
    wr_put32(&w, row->entry.family_id);
    *out = (struct tpm_blob){.len = 4, .data = id};
    return TPM_SUCCESS;
}

/* Actions 7 and 8: opData is a TPM_BOOL. */
static tpm_rc set_family_flag(struct tpm_family_table_entry *family, uint32_t flag,
                              const struct tpm_blob *data)
{
    struct rd r = rd_from(data->data, data->len);
    bool on;
    tpm_rc rc;

    rd_b(&r, &on);
    rc = rd_result(&r);
    if (!rc)
        family->flags = on ? family->flags | flag : family->flags & ~flag;
    return rc;
}

/* Action 9. Rows of the family stay, and are good for nothing: family numbers are not given twice. */
static tpm_rc invalidate_family(struct tpm *tpm, const struct tpm_family_table_entry *family)
{
    for (size_t i = 0; i < FAMILY_ROWS_MAX; i++)
        if (&tpm->perm.families[i].entry == family) {
            tpm->perm.families[i] = (struct family_row){0};
            break;
        }
    return TPM_SUCCESS;
}

static tpm_rc manage(struct cmd *c, const struct delegate_manage_in *in,
                     struct tpm_family_table_entry *family, struct tpm_blob *out)
{
    switch (in->op_code) {
    case TPM_FAMILY_CREATE:
        return create_family(c, &in->op_data, out);
    case TPM_FAMILY_ADMIN:
        return set_family_flag(family, TPM_DELEGATE_ADMIN_LOCK, &in->op_data);
    case TPM_FAMILY_ENABLE:
        return set_family_flag(family, TPM_FAMFLAG_ENABLED, &in->op_data);
    case TPM_FAMILY_INVALIDATE:
        return invalidate_family(c->tpm, family);
    default:
        return TPM_BAD_PARAMETER;
    }
}

/* TPM 1.2 Part 3, 19.1 TPM_Delegate_Manage */
tpm_rc cmd_delegate_manage(struct cmd *c, const struct delegate_manage_in *in,
                           struct delegate_manage_out *out)
{
    struct tpm_family_table_entry *family = NULL;
    tpm_rc rc;

    /* 1. */
    if (in->op_code != TPM_FAMILY_CREATE) {
        family = family_find(c->tpm, in->family_id);
        if (!family)
            return TPM_BADINDEX;
    }
    /* 2-3, 5-10. */
    rc = may_manage(c, family);
    if (!rc)
        rc = manage(c, in, family, &out->ret_data);
    if (rc)
        return rc;
    /* 4. */
    commit_tables(c);
    return TPM_SUCCESS;
}

/* ---- 19.2 and 19.3 ---- */

/* Actions 2-4: a delegate lends no more than it was lent, and in its own family. */
static tpm_rc may_create(struct cmd *c, const struct tpm_delegate_public *pub, uint32_t type,
                         struct tpm_family_table_entry **family)
{
    const struct tpm_delegations *lent = &c->auth[0].delegate.permissions, *now = &pub->permissions;
    tpm_rc rc;

    *family = family_find(c->tpm, pub->family_id);
    if (!*family)
        return TPM_BADINDEX;
    rc = check_family(c, pub->family_id);
    if (rc)
        return rc;
    if (c->auth[0].delegated && !((*family)->flags & TPM_FAMFLAG_ENABLED))
        return TPM_DISABLED_CMD;
    if (c->auth[0].delegated && ((now->per1 & ~lent->per1) || (now->per2 & ~lent->per2)))
        return TPM_AUTHFAIL;
    return now->delegate_type == type ? TPM_SUCCESS : TPM_BAD_PARAMETER;
}

/* Actions 8-15. */
static tpm_rc create_blob(struct cmd *c, struct delegation *d, const struct vt_auth *secret,
                          struct tpm_blob *out)
{
    tpm_rc rc = delegation_hide(c, d, secret);

    return rc ? rc : delegation_write(c, d, out);
}

/* TPM 1.2 Part 3, 19.2 TPM_Delegate_CreateKeyDelegation */
tpm_rc cmd_delegate_create_key_delegation(struct cmd *c, const struct delegate_create_key_delegation_in *in,
                                          struct delegate_create_key_delegation_out *out)
{
    struct delegation d = {.is_key = true, .pub = in->public_info};
    const struct tpm_key_obj *key = &c->keys[0]->key;
    struct tpm_family_table_entry *family;
    VT_SECRET_AUTH secret = {{0}};
    tpm_rc rc;

    /* 1. The pipeline proved the key by an OSAP or DSAP session; its PCRs: */
    rc = key_check_pcrs(c, key);
    /* 2-4. */
    if (!rc)
        rc = may_create(c, &in->public_info, TPM_DEL_KEY_BITS, &family);
    /* 5-6, 13. */
    if (!rc)
        rc = cmd_decrypt_auth(c, 0, false, &in->del_auth, &secret);
    if (rc)
        return rc;
    /* 7-14. */
    key_store_pubkey_digest(key, d.key_digest.bytes);
    d.pub.verification_count = family->verification_count;
    return create_blob(c, &d, &secret, &out->blob);
}

/* TPM 1.2 Part 3, 19.3 TPM_Delegate_CreateOwnerDelegation */
tpm_rc cmd_delegate_create_owner_delegation(struct cmd *c,
                                            const struct delegate_create_owner_delegation_in *in,
                                            struct delegate_create_owner_delegation_out *out)
{
    struct delegation d = {.pub = in->public_info};
    struct tpm_family_table_entry *family;
    VT_SECRET_AUTH secret = {{0}};
    tpm_rc rc;

    /* 1 was the pipeline's. 2-4. */
    rc = may_create(c, &in->public_info, TPM_DEL_OWNER_BITS, &family);
    if (rc)
        return rc;
    /* Counts that came back would make old delegations good. */
    if (in->increment && family->verification_count == UINT32_MAX)
        return TPM_FAMILYCOUNT;
    /* 5, 7, 14. */
    rc = cmd_decrypt_auth(c, 0, false, &in->del_auth, &secret);
    if (rc)
        return rc;
    /* 8-15. */
    d.pub.verification_count = family->verification_count + in->increment;
    rc = create_blob(c, &d, &secret, &out->blob);
    /* 6. */
    if (!rc && in->increment) {
        family->verification_count++;
        commit_tables(c);
    }
    return rc;
}

/* ---- 19.4 ---- */

/* Actions 4-5. */
static tpm_rc may_load(struct cmd *c, const struct tpm_family_table_entry *family)
{
    tpm_rc rc;

    if (!c->tpm->perm.owned)
        return c->auth_count ? TPM_AUTHFAIL : check_unowned(c, family);
    rc = c->auth_count ? cmd_check_owner(c, 0) : TPM_AUTHFAIL;
    return rc ? rc : check_family(c, family->family_id);
}

/* Actions 1-3, 6. */
static tpm_rc read_owner_blob(struct cmd *c, const struct tpm_blob *blob, struct delegation *d,
                              struct tpm_family_table_entry **family)
{
    tpm_rc rc;

    if (!tpm_blob_has_tag(blob, TPM_TAG_DELEGATE_OWNER_BLOB))
        return TPM_INVALID_STRUCTURE;
    rc = delegation_read(d, blob);
    if (rc)
        return rc;
    *family = family_find(c->tpm, d->pub.family_id);
    if (!*family)
        return TPM_BADINDEX;
    return (*family)->flags & TPM_FAMFLAG_ENABLED ? TPM_SUCCESS : TPM_DISABLED_CMD;
}

/* Without an owner the blob is neither sealed nor hidden. */
/* TPM 1.2 Part 3, 19.4 TPM_Delegate_LoadOwnerDelegation */
tpm_rc cmd_delegate_load_owner_delegation(struct cmd *c, const struct delegate_load_owner_delegation_in *in,
                                          struct delegate_load_owner_delegation_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    struct tpm_family_table_entry *family;
    VT_SECRET_AUTH secret = {{0}};
    struct delegation d;
    tpm_rc rc;

    (void)out;
    /* 1-6. */
    rc = read_owner_blob(c, &in->blob, &d, &family);
    if (!rc)
        rc = may_load(c, family);
    if (rc)
        return rc;
    /* 7. */
    if (perm->owned && !delegation_is_ours(c->tpm, &d))
        return TPM_AUTHFAIL;
    /* 8-9. */
    if (!delegation_secret(c->tpm, &d, !perm->owned, &secret))
        return TPM_INVALID_STRUCTURE;
    /* 10. */
    if (in->index >= perm->profile.delegate_rows)
        return TPM_BADINDEX;
    /* 11-12. */
    perm->delegates[in->index] = (struct delegate_row){.used = true, .pub = d.pub, .auth = secret};
    commit_tables(c);
    return TPM_SUCCESS;
}

/* ---- 19.5 to 19.7 ---- */

#define FAMILIES_MAX  (FAMILY_ROWS_MAX * 16)
#define DELEGATES_MAX (DELEGATE_ROWS_MAX * 80)

/* TPM 1.2 Part 3, 19.5 TPM_Delegate_ReadTable */
tpm_rc cmd_delegate_read_table(struct cmd *c, const struct delegate_read_table_in *in,
                               struct delegate_read_table_out *out)
{
    const struct permanent *perm = &c->tpm->perm;
    uint8_t families[FAMILIES_MAX], delegates[DELEGATES_MAX];
    struct wr f = wr_to(families, sizeof families), d = wr_to(delegates, sizeof delegates);

    (void)in;
    /* 1-2. */
    for (size_t i = 0; i < FAMILY_ROWS_MAX; i++)
        if (perm->families[i].used)
            wr_family_table_entry(&f, &perm->families[i].entry);
    /* 3-4. The secrets stay here. */
    for (uint32_t i = 0; i < DELEGATE_ROWS_MAX; i++)
        if (perm->delegates[i].used) {
            wr_put32(&d, i);
            wr_delegate_public(&d, &perm->delegates[i].pub);
        }
    if (f.bad || d.bad)
        return cmd_fatal(c);
    return cmd_blob(c, &out->family_table, families, f.len) &&
                   cmd_blob(c, &out->delegate_table, delegates, d.len)
               ? TPM_SUCCESS
               : TPM_SIZE;
}

/* 19.6 actions 4-7: the family's count, if this command may give it. */
static tpm_rc current_count(struct cmd *c, struct tpm_delegate_public *pub)
{
    const struct tpm_family_table_entry *family = family_find(c->tpm, pub->family_id);
    tpm_rc rc;

    if (!family)
        return TPM_BADINDEX;
    rc = check_family(c, pub->family_id);
    if (rc)
        return rc;
    if (c->auth[0].delegated && !(family->flags & TPM_FAMFLAG_ENABLED))
        return TPM_DISABLED_CMD;
    pub->verification_count = family->verification_count;
    return TPM_SUCCESS;
}

static tpm_rc update_row(struct cmd *c, const struct tpm_blob *in)
{
    struct rd r = rd_from(in->data, in->len);
    struct delegate_row *row = delegate_row_find(c->tpm, rd_get32(&r));

    return row ? current_count(c, &row->pub) : TPM_BADINDEX;
}

/* TPM 1.2 Part 3, 19.6 TPM_Delegate_UpdateVerification */
tpm_rc cmd_delegate_update_verification(struct cmd *c, const struct delegate_update_verification_in *in,
                                        struct delegate_update_verification_out *out)
{
    struct delegation d;
    tpm_rc rc;

    /* 1 was the pipeline's. 2. A row's number, or a blob. */
    if (in->input_data.len == 4)
        return update_row(c, &in->input_data);
    rc = delegation_read(&d, &in->input_data);
    if (rc)
        return rc;
    /* 3. */
    if (!delegation_is_ours(c->tpm, &d))
        return TPM_AUTHFAIL;
    /* 4-8. */
    rc = current_count(c, &d.pub);
    /* 9-10. */
    return rc ? rc : delegation_write(c, &d, &out->output_data);
}

/* TPM 1.2 Part 3, 19.7 TPM_Delegate_VerifyDelegation */
tpm_rc cmd_delegate_verify_delegation(struct cmd *c, const struct delegate_verify_delegation_in *in,
                                      struct delegate_verify_delegation_out *out)
{
    VT_SECRET_AUTH secret = {{0}};
    struct delegation d;
    tpm_rc rc;

    (void)out;
    /* 1-3. */
    rc = delegation_read(&d, &in->delegation);
    /* 4-7: TPM_BADINDEX, TPM_DISABLED_CMD, TPM_FAMILYCOUNT. */
    if (!rc)
        rc = family_check(c->tpm, &d.pub);
    if (rc)
        return rc;
    /* 8. */
    if (!delegation_is_ours(c->tpm, &d))
        return TPM_AUTHFAIL;
    /* 9-10. */
    return delegation_secret(c->tpm, &d, false, &secret) ? TPM_SUCCESS : TPM_BAD_PARAMETER;
}
