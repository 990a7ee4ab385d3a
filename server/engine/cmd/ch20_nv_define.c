/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 20: NV areas come and go. (ch20_nv.c: what is in them.) */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

/* What the checks found out, for the commit. */
struct define {
    struct nv_area *old;  /* the area that is there */
    struct nv_area fresh; /* the one that will be; size 0: none */
    bool counts;          /* a write without an owner */
};

/* Part 2, 8.5 and 8.6. */
static bool short_info_legal(const struct tpm_pcr_info_short *info)
{
    return info->locality_at_release && !(info->locality_at_release & ~TPM_LOC_ALL);
}

/* Action 4: the owner; the new secret is hidden under the session. */
static tpm_rc authorize_owner(struct cmd *c, const struct vt_auth *enc_auth, struct vt_auth *auth)
{
    tpm_rc rc;

    if (cmd_has_session(c, 0) && c->auth[0].session->kind == SESSION_OIAP)
        return TPM_BAD_MODE;
    rc = cmd_check_owner(c, 0);
    return rc ? rc : cmd_decrypt_auth(c, 0, false, enc_auth, auth);
}

/* Action 5: nobody; once the manufacturer is done that needs presence, and a TPM without an owner. */
static tpm_rc authorize_nobody(const struct cmd *c, const struct tpm_nv_data_public *pub)
{
    const struct permanent *perm = &c->tpm->perm;

    if (perm->flags.nv_locked) {
        if (!cmd_physical_presence(c))
            return TPM_BAD_PRESENCE;
        if (perm->owned)
            return TPM_OWNER_SET;
        if (!pub->data_size)
            return TPM_BAD_DATASIZE;
    }
    return !perm->owned && perm->nv.no_owner_writes >= TPM_MAX_NV_WRITE_NOOWNER ? TPM_MAXNVWRITES
                                                                                : TPM_SUCCESS;
}

/* Action 6: may what is there be replaced? */
static tpm_rc check_old(const struct cmd *c, const struct nv_area *old)
{
    uint32_t attributes = old->pub.permission.attributes;

    if (!c->tpm->perm.flags.nv_locked)
        return TPM_SUCCESS;
    if ((attributes & TPM_NV_PER_GLOBALLOCK) && c->tpm->stclear.flags.b_global_lock)
        return TPM_AREA_LOCKED;
    return (attributes & TPM_NV_PER_WRITE_STCLEAR) && old->pub.b_write_st_clear ? TPM_AREA_LOCKED
                                                                                : TPM_SUCCESS;
}

/* Actions 8.b and 9. */
static tpm_rc check_attributes(const struct tpm_nv_data_public *pub)
{
    uint32_t attributes = pub->permission.attributes;
    bool some_localities = pub->pcr_info_write.locality_at_release != TPM_LOC_ALL;

    if ((attributes & TPM_NV_PER_OWNERWRITE) && (attributes & TPM_NV_PER_AUTHWRITE))
        return TPM_AUTH_CONFLICT;
    if ((attributes & TPM_NV_PER_OWNERREAD) && (attributes & TPM_NV_PER_AUTHREAD))
        return TPM_AUTH_CONFLICT;
    if (!(attributes &
          (TPM_NV_PER_OWNERWRITE | TPM_NV_PER_AUTHWRITE | TPM_NV_PER_WRITEDEFINE | TPM_NV_PER_PPWRITE)) &&
        !some_localities)
        return TPM_PER_NOWRITE;
    /* e. The DIR is always there; numbers that are kept back are not for areas. */
    if (pub->nv_index == TPM_NV_INDEX_LOCK || pub->nv_index == TPM_NV_INDEX_DIR ||
        (pub->nv_index & TPM_NV_INDEX_RESVD))
        return TPM_BADINDEX;
    return pub->data_size ? TPM_SUCCESS : TPM_BAD_PARAM_SIZE;
}

/* Action 11; what the old area takes will be free. */
static bool has_room(const struct tpm *tpm, const struct define *d)
{
    uint32_t size = d->fresh.pub.data_size, old = d->old ? d->old->pub.data_size : 0;

    if (!d->old)
        return nv_has_room(tpm, size);
    /* What lies beside the others leaves them no room when it goes. */
    return size <= nv_free_bytes(tpm) + (d->old->pub.nv_index == NV_EK_CERT ? 0 : old);
}

/* Actions 3-11. */
static tpm_rc check_define(struct cmd *c, const struct nv_define_space_in *in, struct define *d)
{
    const struct tpm_nv_data_public *pub = &in->pub_info;
    struct tpm *tpm = c->tpm;
    tpm_rc rc;

    /* The reader knows selections; localities are looked at here (7.a, 8.a). */
    if (!short_info_legal(&pub->pcr_info_read) || !short_info_legal(&pub->pcr_info_write))
        return TPM_INVALID_STRUCTURE;
    /* 3. Index 0 is no area, and the D bit is the manufacturer's. */
    if (pub->nv_index == TPM_NV_INDEX0 || (tpm->perm.flags.nv_locked && (pub->nv_index & TPM_NV_INDEX_D_BIT)))
        return TPM_BADINDEX;
    /* 4-5. */
    d->fresh = (struct nv_area){.pub = *pub, .auth = in->enc_auth};
    rc = c->auth_count ? authorize_owner(c, &in->enc_auth, &d->fresh.auth) : authorize_nobody(c, pub);
    if (rc)
        return rc;
    d->counts = !c->auth_count && !tpm->perm.owned;
    /* 6. */
    d->old = nv_find(tpm, pub->nv_index);
    rc = d->old ? check_old(c, d->old) : TPM_SUCCESS;
    if (rc || (d->old && !pub->data_size))
        return rc;
    /* 7-11. */
    rc = check_attributes(pub);
    if (rc)
        return rc;
    d->fresh.pub.b_read_st_clear = false;
    d->fresh.pub.b_write_st_clear = false;
    d->fresh.pub.b_write_define = false;
    return has_room(tpm, d) ? TPM_SUCCESS : TPM_NOSPACE;
}

/* Actions 6.d-g and 12; nothing here can fail. The area that was stays if the new one is refused. */
static tpm_rc commit(struct cmd *c, const struct define *d)
{
    struct tpm *tpm = c->tpm;

    /* Part 2, 19.1: TPM_NV_INDEX_TRIAL is only asked for. */
    if (d->fresh.pub.nv_index == TPM_NV_INDEX_TRIAL && !d->old)
        return TPM_SUCCESS;
    if (d->old)
        nv_remove(tpm, d->old);
    if (d->fresh.pub.data_size && !nv_define(tpm, &d->fresh))
        return cmd_fatal(c);
    if (d->counts)
        tpm->perm.nv.no_owner_writes++;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 20.1 TPM_NV_DefineSpace */
tpm_rc cmd_nv_define_space(struct cmd *c, const struct nv_define_space_in *in,
                           struct nv_define_space_out *out)
{
    struct define d = {.old = NULL};
    tpm_rc rc;

    (void)out;
    /* 1. Not an area: the manufacturer is done. */
    if (in->pub_info.nv_index == TPM_NV_INDEX_LOCK && !c->auth_count) {
        if (in->pub_info.data_size)
            return TPM_BADINDEX;
        c->tpm->perm.flags.nv_locked = true;
        return TPM_SUCCESS;
    }
    rc = check_define(c, in, &d);
    if (!rc)
        rc = commit(c, &d);
    /* 13. */
    if (!rc && c->auth_count)
        cmd_end_session(c, 0);
    vt_auth_wipe(&d.fresh.auth);
    return rc;
}
