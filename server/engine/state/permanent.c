/* SPDX-License-Identifier: Apache-2.0 */
/* Permanent state, frozen: what a TPM is while it is off. */
#include "server/engine/freeze.h"
#include "server/engine/profile.h"

static void walk_profile(struct fz *f, struct tpm *tpm)
{
    struct tpm_profile *p = &tpm->perm.profile;

    if (f->thaw)
        tpm_profile_read(&f->r, p);
    else
        tpm_profile_write(&f->w, p);
    fz_need(f, tpm_profile_valid(p));
    fz_bytes(f, tpm->perm.instance, sizeof tpm->perm.instance);
    fz_bytes(f, tpm->perm.drbg_seed, sizeof tpm->perm.drbg_seed);
}

static void walk_flags(struct fz *f, struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    FZ_WIRE(f, permanent_flags, &perm->flags);
    fz_bytes(f, perm->restrict_delegate, sizeof perm->restrict_delegate);
    fz_bytes(f, perm->audited, sizeof perm->audited);
    fz_u32(f, &perm->audit_counter);
    fz_bytes(f, perm->auth_dir, sizeof perm->auth_dir);
    fz_u32(f, &perm->da.failures);
    fz_u64(f, &perm->da.lock_us);
    fz_u32(f, &perm->da.reset_failures);
    fz_need(f, perm->da.lock_us <= DA_LOCK_MAX_S * UINT64_C(1000000));
}

static void walk_secrets(struct fz *f, struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    fz_auth(f, &perm->operator_auth);
    fz_auth(f, &perm->tpm_proof);
    fz_auth(f, &perm->context_key);
    fz_auth(f, &perm->delegate_key);
    fz_auth(f, &perm->daa_proof);
    fz_auth(f, &perm->daa_blob_key);
}

static void walk_root(struct fz *f, struct key_slot *slot, uint32_t handle)
{
    fz_key(f, slot);
    fz_need(f, slot->handle == handle && !slot->parent_pcr_status);
}

static void walk_roots(struct fz *f, struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    fz_bool(f, &perm->has_ek);
    if (perm->has_ek) {
        fz_bool(f, &perm->ek_revocable);
        fz_auth(f, &perm->ek_reset);
        walk_root(f, &perm->ek, TPM_KH_EK);
    }
    fz_bool(f, &perm->owned);
    if (perm->owned) {
        fz_auth(f, &perm->owner_auth);
        walk_root(f, &perm->srk, TPM_KH_SRK);
    }
    /* Only a TPM with an endorsement key can have got an owner (Part 3, 6.1). */
    fz_need(f, perm->has_ek || !perm->owned);
}

/* ---- Counters and delegations ---- */

static bool counter_used(struct tpm *tpm, uint32_t at)
{
    return tpm->perm.counters[at].used;
}

static void walk_counter(struct fz *f, struct tpm *tpm, uint32_t at)
{
    struct counter *counter = &tpm->perm.counters[at];

    counter->used = true;
    FZ_WIRE(f, counter_value, &counter->value);
    fz_auth(f, &counter->auth);
}

static void walk_counters(struct fz *f, struct tpm *tpm)
{
    struct fz_table table = {COUNTERS_MAX, tpm->perm.profile.counters, counter_used, walk_counter};

    fz_u32(f, &tpm->perm.counter_highest);
    fz_table(f, tpm, &table);
}

static bool family_used(struct tpm *tpm, uint32_t at)
{
    return tpm->perm.families[at].used;
}

static void walk_family(struct fz *f, struct tpm *tpm, uint32_t at)
{
    tpm->perm.families[at].used = true;
    FZ_WIRE(f, family_table_entry, &tpm->perm.families[at].entry);
}

static bool delegate_used(struct tpm *tpm, uint32_t at)
{
    return tpm->perm.delegates[at].used;
}

static void walk_delegate(struct fz *f, struct tpm *tpm, uint32_t at)
{
    struct delegate_row *row = &tpm->perm.delegates[at];

    row->used = true;
    FZ_WIRE(f, delegate_public, &row->pub);
    fz_auth(f, &row->auth);
}

static void walk_delegations(struct fz *f, struct tpm *tpm)
{
    struct fz_table families = {FAMILY_ROWS_MAX, tpm->perm.profile.family_rows, family_used, walk_family};
    struct fz_table delegates = {DELEGATE_ROWS_MAX, tpm->perm.profile.delegate_rows, delegate_used,
                                 walk_delegate};

    fz_u32(f, &tpm->perm.last_family_id);
    fz_table(f, tpm, &families);
    fz_table(f, tpm, &delegates);
}

/* ---- NV ---- */

static void walk_area(struct fz *f, struct nv_store *nv, uint32_t at)
{
    struct nv_area *area = &nv->areas[at];

    FZ_WIRE(f, nv_data_public, &area->pub);
    fz_auth(f, &area->auth);
    for (uint32_t i = 0; i < at; i++)
        fz_need(f, nv->areas[i].pub.nv_index != area->pub.nv_index);
}

static void walk_nv(struct fz *f, struct tpm *tpm)
{
    struct nv_store *nv = &tpm->perm.nv;
    uint32_t count = nv->count;
    uint64_t sum = 0;

    fz_u32(f, &nv->no_owner_writes);
    fz_count(f, &count, NV_AREAS_MAX);
    nv->count = (uint16_t)count;
    for (uint32_t at = 0; at < count && !f->bad && !f->r.bad; at++) {
        walk_area(f, nv, at);
        sum += nv->areas[at].pub.data_size;
    }
    fz_count(f, &nv->used, NV_BYTES_MAX + NV_EK_CERT_MAX);
    fz_need(f, sum == nv->used && nv->used - nv_beside(nv) <= tpm->perm.profile.nv_bytes);
    fz_bytes(f, nv->data, nv->used);
}

static void walk_saved(struct fz *f, struct tpm *tpm)
{
    fz_count(f, &tpm->perm.saved_len, SAVED_STATE_MAX);
    fz_bytes(f, tpm->perm.saved, tpm->perm.saved_len);
}

/* What the manufacturer may do is in the profile; without it there is no key. */
static void walk_maintenance(struct fz *f, struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;
    struct tpm_pubkey key;

    fz_count(f, &perm->maint_pub_len, MAINT_PUB_MAX);
    fz_bytes(f, perm->maint_pub, perm->maint_pub_len);
    if (perm->maint_pub_len)
        fz_need(f, perm->profile.maintenance && tpm_maint_pub(tpm, &key));
}

static const char magic[5] = "VTPM";
static const struct fz_section sections[] = {
    {"PROF", 1, walk_profile},     {"FLAG", 1, walk_flags},    {"SECR", 1, walk_secrets},
    {"ROOT", 1, walk_roots},       {"KEYS", 1, fz_owner_keys}, {"CNTR", 1, walk_counters},
    {"DELE", 1, walk_delegations}, {"NVST", 1, walk_nv},       {"SAVE", 1, walk_saved},
    {"DAAP", 3, fz_daa_seed},      {"MAIN", 4, walk_maintenance},
};

int tpm_freeze_permanent(const struct tpm *tpm, uint8_t *out, size_t *len)
{
    /* The walk goes both ways; this one only reads. */
    return fz_freeze(magic, sections, VT_COUNT(sections), (struct tpm *)(uintptr_t)tpm, out, len);
}

int fz_thaw_permanent(struct tpm *tpm, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    return fz_thaw(magic, sections, VT_COUNT(sections), tpm, bytes, len, why);
}
