/* SPDX-License-Identifier: Apache-2.0 */
/* Volatile state, frozen: what a TPM that is on has besides its permanent state; and what TPM_SaveState keeps
 * of it. */
#include "server/base/alloc.h"
#include "server/engine/freeze.h"
#include "server/engine/transport.h"

static void walk_generator(struct fz *f, struct tpm *tpm)
{
    uint8_t instance[sizeof tpm->perm.instance];

    memcpy(instance, tpm->perm.instance, sizeof instance);
    fz_bytes(f, instance, sizeof instance);
    fz_need(f, !memcmp(instance, tpm->perm.instance, sizeof instance));
    fz_bytes(f, tpm->drbg.k, sizeof tpm->drbg.k);
    fz_bytes(f, tpm->drbg.v, sizeof tpm->drbg.v);
    fz_u64(f, &tpm->drbg.calls);
}

void fz_stclear(struct fz *f, struct tpm *tpm)
{
    struct stclear *s = &tpm->stclear;
    bool unused = false; /* disableResetLock is in perm.da */

    FZ_WIRE(f, stclear_flags, &s->flags);
    fz_bytes(f, s->pcr, sizeof s->pcr);
    fz_bytes(f, s->context_nonce_key, sizeof s->context_nonce_key);
    fz_u32(f, &s->counter_id);
    fz_u32(f, &s->owner_reference);
    fz_bool(f, &unused);
    fz_need(f, !unused);
    fz_u32(f, &s->deferred_presence);
    fz_bytes(f, s->audit_digest, sizeof s->audit_digest);
}

static void walk_sha1(struct fz *f, struct cr_sha1_state *sha1)
{
    for (size_t i = 0; i < VT_COUNT(sha1->h); i++)
        fz_u32(f, &sha1->h[i]);
    fz_u64(f, &sha1->total);
    fz_need(f, sha1->total % 64 == 0);
}

static void walk_threads(struct fz *f, struct stany *s)
{
    fz_bool(f, &s->sha1_active);
    if (s->sha1_active)
        walk_sha1(f, &s->sha1);
    fz_bool(f, &s->hash_active);
    if (!s->hash_active)
        return;
    walk_sha1(f, &s->hash);
    fz_u8(f, &s->hash_tail_len);
    fz_need(f, s->hash_tail_len < sizeof s->hash_tail);
    if (!f->bad)
        fz_bytes(f, s->hash_tail, s->hash_tail_len);
}

static void walk_stany(struct fz *f, struct tpm *tpm)
{
    struct stany *s = &tpm->stany;

    fz_bool(f, &s->post_init);
    fz_bool(f, &s->tos_present);
    fz_bool(f, &s->failed);
    fz_bool(f, &s->self_tested);
    fz_u32(f, &s->transport_exclusive);
    fz_u32(f, &s->next_handle);
    fz_need(f, s->next_handle <= 0xFFFFFF);
    fz_bytes(f, s->context_nonce_session, sizeof s->context_nonce_session);
    fz_u32(f, &s->context_count);
    fz_u32s(f, s->context_list, tpm->perm.profile.saved_contexts);
    fz_u64(f, &s->tick_start_us);
    fz_bytes(f, s->tick_nonce, sizeof s->tick_nonce);
    fz_bool(f, &s->clock_seen);
    fz_u64(f, &s->da_mark_us);
    fz_u64(f, &s->now_us);
    fz_need(f, s->now_us >= s->tick_start_us && s->now_us >= s->da_mark_us);
    walk_threads(f, s);
}

static bool session_used(struct tpm *tpm, uint32_t at)
{
    return tpm->stany.sessions[at].handle != 0;
}

static bool session_handle_unique(const struct tpm *tpm, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++)
        if (tpm->stany.sessions[i].handle == tpm->stany.sessions[at].handle)
            return false;
    return true;
}

void fz_session(struct fz *f, struct session *s)
{
    fz_u32(f, &s->handle);
    fz_u8(f, &s->kind);
    fz_need(f, s->kind == SESSION_OIAP || s->kind == SESSION_OSAP || s->kind == SESSION_DSAP);
    fz_bytes(f, s->nonce_even, sizeof s->nonce_even);
    if (s->kind == SESSION_OIAP)
        return;
    fz_u8(f, &s->adip);
    fz_need(f, s->adip == TPM_ET_XOR || s->adip == TPM_ET_AES128_CTR);
    fz_u8(f, &s->entity_type);
    fz_bytes(f, s->entity, sizeof s->entity);
    fz_auth(f, &s->secret);
    if (s->kind == SESSION_DSAP)
        FZ_WIRE(f, delegate_public, &s->delegate);
}

static void walk_session(struct fz *f, struct tpm *tpm, uint32_t at)
{
    fz_session(f, &tpm->stany.sessions[at]);
    fz_need(f, session_handle_unique(tpm, at));
}

static void walk_sessions(struct fz *f, struct tpm *tpm)
{
    struct fz_table table = {SESSIONS_MAX, tpm->perm.profile.auth_sessions, session_used, walk_session};

    fz_table(f, tpm, &table);
}

/* Contexts that 1.1's commands saved. */
static void walk_contexts_11(struct fz *f, struct tpm *tpm)
{
    fz_bytes(f, tpm->stany.context_nonce_11, sizeof tpm->stany.context_nonce_11);
    fz_bools(f, tpm->stany.context_is_11, tpm->perm.profile.saved_contexts);
    for (size_t i = 0; f->thaw && i < tpm->perm.profile.saved_contexts; i++)
        fz_need(f, !tpm->stany.context_is_11[i] || tpm->stany.context_list[i]);
}

/* ---- Transport sessions ---- */

static bool transport_used(struct tpm *tpm, uint32_t at)
{
    return tpm->stany.transports[at].session.handle != 0;
}

void fz_transport(struct fz *f, struct transport *t)
{
    t->session.kind = SESSION_TRANSPORT;
    fz_u32(f, &t->session.handle);
    fz_bytes(f, t->session.nonce_even, sizeof t->session.nonce_even);
    fz_auth(f, &t->session.secret);
    FZ_WIRE(f, transport_public, &t->pub);
    fz_bytes(f, t->digest, sizeof t->digest);
}

static void walk_transport(struct fz *f, struct tpm *tpm, uint32_t at)
{
    struct transport *t = tpm->stany.transports;

    fz_transport(f, &t[at]);
    for (uint32_t i = 0; i < at; i++)
        fz_need(f, !t[i].session.handle || t[i].session.handle != t[at].session.handle);
}

static void walk_transports(struct fz *f, struct tpm *tpm)
{
    struct fz_table table = {TRANSPORTS_MAX, tpm->perm.profile.transport_sessions, transport_used,
                             walk_transport};

    fz_u32(f, &tpm->stany.sha1_transport);
    fz_table(f, tpm, &table);
}

/* The exclusive session is one of them; also if the bytes are so old that they have none. */
static bool exclusive_good(struct tpm *tpm)
{
    uint32_t exclusive = tpm->stany.transport_exclusive;

    return !exclusive || transport_find(tpm, exclusive);
}

static const char magic[5] = "VTPV";
static const struct fz_section sections[] = {
    {"DRBG", 1, walk_generator},  {"STCL", 1, fz_stclear},    {"STAN", 1, walk_stany},
    {"KEYS", 1, fz_loaded_keys},  {"SESS", 1, walk_sessions}, {"CT11", 2, walk_contexts_11},
    {"TRAN", 3, walk_transports},      {"DAAS", 3, fz_daa_sessions},
};

int tpm_freeze_volatile(const struct tpm *tpm, uint8_t *out, size_t *len)
{
    if (!tpm->on) {
        *len = 0;
        return VT_OK;
    }
    /* The walk goes both ways; this one only reads. */
    return fz_freeze(magic, sections, VT_COUNT(sections), (struct tpm *)(uintptr_t)tpm, out, len);
}

static int thaw_volatile(struct tpm *tpm, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    int err;

    if (!len)
        return VT_OK;
    err = fz_thaw(magic, sections, VT_COUNT(sections), tpm, bytes, len, why);
    if (!err && !exclusive_good(tpm))
        err = vt_fail(why, VT_EDAMAGED, "TPM state: the exclusive transport session is missing");
    tpm->on = true;
    return err;
}

int tpm_thaw(struct tpm **out, const uint8_t *permanent, size_t permanent_len, const uint8_t *volatile_state,
             size_t volatile_len, const struct tpm_ops *ops, struct vt_why *why)
{
    struct tpm *tpm = VT_NEW(struct tpm);
    int err;

    *out = NULL;
    if (!tpm)
        return vt_fail(why, VT_ENOMEM, "TPM state: out of memory");
    tpm->ops = ops;
    err = fz_thaw_permanent(tpm, permanent, permanent_len, why);
    if (!err)
        err = thaw_volatile(tpm, volatile_state, volatile_len, why);
    if (err) {
        tpm_free(tpm);
        return err;
    }
    *out = tpm;
    return VT_OK;
}

/* ---- TPM_SaveState (Part 3, 3.3) ---- */

static const char saved_magic[5] = "VTPS";
static const struct fz_section saved_sections[] = {{"STCL", 1, fz_stclear}, {"KEYS", 1, fz_saved_keys}};

bool tpm_save_stclear(struct tpm *tpm)
{
    size_t len = sizeof tpm->perm.saved;

    if (fz_freeze(saved_magic, saved_sections, VT_COUNT(saved_sections), tpm, tpm->perm.saved, &len)) {
        tpm->perm.saved_len = 0;
        return false;
    }
    tpm->perm.saved_len = (uint32_t)len;
    return true;
}

bool tpm_restore_stclear(struct tpm *tpm)
{
    if (tpm->perm.saved_len && !fz_thaw(saved_magic, saved_sections, VT_COUNT(saved_sections), tpm,
                                        tpm->perm.saved, tpm->perm.saved_len, NULL))
        return true;
    /* Half of it is nobody's state: a key without its end could not be frozen. */
    tpm_clear_stclear(tpm);
    return false;
}
