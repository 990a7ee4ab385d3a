/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 20: NV storage, reading and writing. (ch20_nv_define.c: areas come and go.) While
 * nvLocked is FALSE, before the manufacturer has finished, most checks are left out.
 */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

#define DIR_LEN TPM_DIGEST_LEN

/* ---- What reading and writing share ---- */

static bool is_locked(const struct cmd *c)
{
    return c->tpm->perm.flags.nv_locked;
}

/* Areas of the owner are not for a TPM that is switched off; all others are (rows say nothing of it). */
static tpm_rc check_usable(const struct cmd *c)
{
    if (!is_locked(c))
        return TPM_SUCCESS;
    if (c->tpm->perm.flags.disable)
        return TPM_DISABLED;
    return c->tpm->stclear.flags.deactivated ? TPM_DEACTIVATED : TPM_SUCCESS;
}

static tpm_rc check_area_auth(struct cmd *c, const struct nv_area *area)
{
    struct auth_entity entity = auth_entity_number(TPM_ET_NV, area->pub.nv_index, &area->auth);

    return cmd_check_auth(c, 0, &entity);
}

static bool has(const struct nv_area *area, uint32_t attribute)
{
    return (area->pub.permission.attributes & attribute) != 0;
}

static tpm_rc check_presence(const struct cmd *c, const struct nv_area *area, uint32_t attribute)
{
    return has(area, attribute) && !cmd_physical_presence(c) ? TPM_BAD_PRESENCE : TPM_SUCCESS;
}

/* A lock flag went up or down. */
static void set_flag(struct cmd *c, bool *flag, bool value)
{
    if (*flag != value)
        c->tpm->dirty |= TPM_DIRTY_PERMANENT;
    *flag = value;
}

/* ---- Reading ---- */

/* Action 8 of 20.4: has it been read for the last time until the next start? */
static tpm_rc check_read_lock(const struct nv_area *area)
{
    return has(area, TPM_NV_PER_READ_STCLEAR) && area->pub.b_read_st_clear ? TPM_DISABLED_CMD : TPM_SUCCESS;
}

/* Actions 10-11 of 20.4; the data borrows from the area. */
static tpm_rc read_area(struct cmd *c, struct nv_area *area, const struct nv_read_value_in *in,
                        struct tpm_blob *data)
{
    *data = (struct tpm_blob){0};
    if (!in->data_size) {
        set_flag(c, &area->pub.b_read_st_clear, true);
        return TPM_SUCCESS;
    }
    if (!nv_in_range(area, in->offset, in->data_size))
        return TPM_NOSPACE;
    *data = (struct tpm_blob){.len = in->data_size, .data = nv_bytes(c->tpm, area) + in->offset};
    return TPM_SUCCESS;
}

/* Part 2, 19.1: TPM_NV_INDEX_DIR is read by everybody. */
static tpm_rc read_dir(struct cmd *c, const struct nv_read_value_in *in, struct tpm_blob *data)
{
    tpm_rc rc = c->auth_count ? cmd_check_owner(c, 0) : TPM_SUCCESS;

    if (rc)
        return rc;
    if (in->data_size > DIR_LEN || in->offset > DIR_LEN - in->data_size)
        return TPM_NOSPACE;
    *data = (struct tpm_blob){.len = in->data_size, .data = c->tpm->perm.auth_dir + in->offset};
    return TPM_SUCCESS;
}

/* Actions 3-5: the owner, or nobody. */
static tpm_rc check_reader(struct cmd *c, const struct nv_area *area)
{
    tpm_rc rc = has(area, TPM_NV_PER_OWNERREAD) ? check_usable(c) : TPM_SUCCESS;

    if (rc)
        return rc;
    if (c->auth_count)
        return has(area, TPM_NV_PER_OWNERREAD) ? cmd_check_owner(c, 0) : TPM_AUTH_CONFLICT;
    /* The area's own secret is asked for even before nvLocked. */
    if (has(area, TPM_NV_PER_AUTHREAD) || (is_locked(c) && has(area, TPM_NV_PER_OWNERREAD)))
        return TPM_AUTH_CONFLICT;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 20.4 TPM_NV_ReadValue */
tpm_rc cmd_nv_read_value(struct cmd *c, const struct nv_read_value_in *in, struct nv_read_value_out *out)
{
    struct nv_area *area;
    tpm_rc rc;

    /* 2. */
    if (in->nv_index == TPM_NV_INDEX_DIR)
        return read_dir(c, in, &out->data);
    area = nv_find(c->tpm, in->nv_index);
    if (!area)
        return TPM_BADINDEX;
    /* 3-5. */
    rc = check_reader(c, area);
    /* 6-9. */
    if (!rc && is_locked(c)) {
        (void)((rc = check_presence(c, area, TPM_NV_PER_PPREAD)) || (rc = check_read_lock(area)) ||
               (rc = pcr_check_release(c, &area->pub.pcr_info_read)));
    }
    /* 10-11. */
    return rc ? rc : read_area(c, area, in, &out->data);
}

/* TPM 1.2 Part 3, 20.5 TPM_NV_ReadValueAuth */
tpm_rc cmd_nv_read_value_auth(struct cmd *c, const struct nv_read_value_auth_in *in,
                              struct nv_read_value_auth_out *out)
{
    struct nv_read_value_in what = {
        .nv_index = in->nv_index, .offset = in->offset, .data_size = in->data_size};
    struct nv_area *area = nv_find(c->tpm, in->nv_index);
    tpm_rc rc;

    /* 1-2. */
    if (!area)
        return TPM_BADINDEX;
    if (!has(area, TPM_NV_PER_AUTHREAD))
        return TPM_AUTH_CONFLICT;
    /* 3-9. */
    if ((rc = check_area_auth(c, area)) || (rc = check_presence(c, area, TPM_NV_PER_PPREAD)) ||
        (rc = pcr_check_release(c, &area->pub.pcr_info_read)) || (rc = check_read_lock(area)))
        return rc;
    return read_area(c, area, &what, &out->data);
}

/* ---- Writing ---- */

/* Actions 10-12 of 20.2: for ever, until the next start with all others, until the next start. */
static tpm_rc check_write_locks(const struct cmd *c, const struct nv_area *area)
{
    if ((has(area, TPM_NV_PER_WRITEDEFINE) && area->pub.b_write_define) ||
        (has(area, TPM_NV_PER_GLOBALLOCK) && c->tpm->stclear.flags.b_global_lock) ||
        (has(area, TPM_NV_PER_WRITE_STCLEAR) && area->pub.b_write_st_clear))
        return TPM_AREA_LOCKED;
    return TPM_SUCCESS;
}

/* Actions 14-16 of 20.2. */
static tpm_rc write_area(struct cmd *c, struct nv_area *area, uint32_t offset, const struct tpm_blob *data)
{
    if (!data->len) {
        set_flag(c, &area->pub.b_write_st_clear, true);
        set_flag(c, &area->pub.b_write_define, true);
    } else {
        if (!nv_in_range(area, offset, data->len))
            return TPM_NOSPACE;
        if (has(area, TPM_NV_PER_WRITEALL) && data->len != area->pub.data_size)
            return TPM_NOT_FULLWRITE;
        memcpy(nv_bytes(c->tpm, area) + offset, data->data, data->len);
    }
    set_flag(c, &area->pub.b_read_st_clear, false);
    return TPM_SUCCESS;
}

/* 5.b: without an owner to answer for them, only so many writes (they wear out real NV). */
static tpm_rc check_write_budget(const struct cmd *c)
{
    bool counts = !c->auth_count && !c->tpm->perm.owned;

    return counts && c->tpm->perm.nv.no_owner_writes >= TPM_MAX_NV_WRITE_NOOWNER ? TPM_MAXNVWRITES
                                                                                 : TPM_SUCCESS;
}

static void count_write(struct cmd *c)
{
    if (!c->auth_count && !c->tpm->perm.owned)
        c->tpm->perm.nv.no_owner_writes++;
}

/* Action 6: index 0 stands for all areas with TPM_NV_PER_GLOBALLOCK. */
static tpm_rc lock_all(struct cmd *c, const struct tpm_blob *data)
{
    tpm_rc rc = c->auth_count ? cmd_check_owner(c, 0) : TPM_SUCCESS;

    if (rc)
        return rc;
    if (data->len)
        return TPM_BADINDEX;
    c->tpm->stclear.flags.b_global_lock = true;
    c->tpm->dirty |= TPM_DIRTY_VOLATILE;
    return TPM_SUCCESS;
}

/* Actions 3-5 for an area or the DIR: the owner, or somebody without a session. */
static tpm_rc check_writer(struct cmd *c, bool owners)
{
    tpm_rc rc = owners ? check_usable(c) : TPM_SUCCESS;

    if (rc)
        return rc;
    if (c->auth_count)
        return owners ? cmd_check_owner(c, 0) : TPM_AUTH_CONFLICT;
    if (is_locked(c) && owners)
        return TPM_AUTH_CONFLICT;
    return check_write_budget(c);
}

/* The DIR has TPM_NV_PER_OWNERWRITE and TPM_NV_PER_WRITEALL. */
static tpm_rc write_dir(struct cmd *c, uint32_t offset, const struct tpm_blob *data)
{
    tpm_rc rc = check_writer(c, true);

    if (rc || !data->len)
        return rc;
    if (offset || data->len != DIR_LEN)
        return TPM_NOT_FULLWRITE;
    memcpy(c->tpm->perm.auth_dir, data->data, DIR_LEN);
    count_write(c);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 20.2 TPM_NV_WriteValue */
tpm_rc cmd_nv_write_value(struct cmd *c, const struct nv_write_value_in *in, struct nv_write_value_out *out)
{
    struct nv_area *area;
    tpm_rc rc;

    (void)out;
    if (in->nv_index == TPM_NV_INDEX0)
        return lock_all(c, &in->data);
    /* 2. */
    if (in->nv_index == TPM_NV_INDEX_DIR)
        return write_dir(c, in->offset, &in->data);
    area = nv_find(c->tpm, in->nv_index);
    if (!area)
        return TPM_BADINDEX;
    /* 3-5. */
    rc = check_writer(c, has(area, TPM_NV_PER_OWNERWRITE));
    /* 7. */
    if (!rc && has(area, TPM_NV_PER_AUTHWRITE))
        rc = TPM_AUTH_CONFLICT;
    /* 8-13. */
    if (!rc && is_locked(c)) {
        (void)((rc = check_presence(c, area, TPM_NV_PER_PPWRITE)) || (rc = check_write_locks(c, area)) ||
               (rc = pcr_check_release(c, &area->pub.pcr_info_write)));
    }
    /* 14-16. */
    if (!rc)
        rc = write_area(c, area, in->offset, &in->data);
    if (!rc && in->data.len)
        count_write(c);
    return rc;
}

/* TPM 1.2 Part 3, 20.3 TPM_NV_WriteValueAuth */
tpm_rc cmd_nv_write_value_auth(struct cmd *c, const struct nv_write_value_auth_in *in,
                               struct nv_write_value_auth_out *out)
{
    struct nv_area *area = nv_find(c->tpm, in->nv_index);
    tpm_rc rc;

    (void)out;
    /* 1-2. */
    if (!area)
        return TPM_BADINDEX;
    if (!has(area, TPM_NV_PER_AUTHWRITE))
        return TPM_AUTH_CONFLICT;
    /* 3-9. */
    if ((rc = check_area_auth(c, area)) || (rc = check_presence(c, area, TPM_NV_PER_PPWRITE)) ||
        (rc = pcr_check_release(c, &area->pub.pcr_info_write)) || (rc = check_write_locks(c, area)))
        return rc;
    /* 10-12. */
    return write_area(c, area, in->offset, &in->data);
}
