/* SPDX-License-Identifier: Apache-2.0 */
/* What can be saved: one row for each type of resource. */
#include "server/engine/context_resource.h"

#include "server/engine/auth.h"
#include "server/engine/delegate.h"
#include "server/engine/transport.h"

/* One on its way back. */
union saved {
    struct key_slot key;
    struct session session;
    struct transport transport;
    struct daa_session daa;
};

/* Read to the last byte, and nothing in it that cannot be. */
static bool is_whole(const struct fz *f)
{
    return !f->bad && !rd_result(&f->r);
}

/* ---- Keys ---- */

static tpm_rc save_key(struct tpm *tpm, uint32_t handle, struct fz *f)
{
    struct key_slot *slot = !key_handle_reserved(handle) ? key_find(tpm, handle) : NULL;

    if (!slot)
        return TPM_INVALID_RESOURCE;
    if (slot->owner_evict)
        return TPM_OWNER_CONTROL;
    fz_key(f, slot);
    return TPM_SUCCESS;
}

/* 21.3 action 5.b: keys that must not outlive a start need the nonce; with 1.1's commands all do. */
static tpm_rc read_key(struct tpm *tpm, struct fz *f, const struct context_return *back, union saved *saved)
{
    const struct key_slot *slot = &saved->key;

    (void)tpm;
    fz_key(f, &saved->key);
    if (!is_whole(f))
        return TPM_BADCONTEXT;
    return back->fresh || !(back->wish->life == CONTEXT_11 || slot->parent_pcr_status || (slot->key.flags & TPM_VOLATILE))
               ? TPM_SUCCESS
               : TPM_BADCONTEXT;
}

static uint32_t restore_key(struct tpm *tpm, const union saved *saved, uint32_t handle)
{
    const struct key_slot *in = key_insert_at(tpm, &saved->key.key, saved->key.parent_pcr_status, handle);

    return in ? in->handle : 0;
}

/* ---- Authorisation sessions ---- */

/* An OSAP session's entity as it is: a changed secret, or another one in its place, is not what it was opened
 * for. */
static void entity_tag(const struct tpm *tpm, const struct session *session, const struct vt_auth *secret,
                       uint8_t out[TPM_DIGEST_LEN])
{
    const struct vt_auth *key = &tpm->perm.context_key;
    struct cr_slice slices[] = {CR_SLICE("entity", 6), CR_SLICE(secret->bytes, sizeof secret->bytes),
                                CR_SLICE(out, 0)};

    /* What was lent, and who the owner is, depends on the delegation tables. */
    if (session->kind == SESSION_DSAP || session->entity_type == TPM_ET_OWNER) {
        delegate_digest(tpm, out);
        slices[2].len = TPM_DIGEST_LEN;
    }
    cr_hmac_sha1v(out, key->bytes, sizeof key->bytes, slices, VT_COUNT(slices));
}

static tpm_rc save_session(struct tpm *tpm, uint32_t handle, struct fz *f)
{
    struct session *session = session_find(tpm, handle);
    const struct vt_auth *secret;
    uint8_t tag[TPM_DIGEST_LEN];

    if (!session)
        return TPM_INVALID_RESOURCE;
    fz_session(f, session);
    if (session->kind == SESSION_OIAP)
        return TPM_SUCCESS;
    secret = auth_secret_of(tpm, session);
    if (!secret)
        return TPM_INVALID_RESOURCE;
    entity_tag(tpm, session, secret, tag);
    fz_bytes(f, tag, sizeof tag);
    return TPM_SUCCESS;
}

/* 21.3 action 5.a.ii. */
static tpm_rc check_entity(struct tpm *tpm, const struct session *session, const uint8_t tag[TPM_DIGEST_LEN],
                           const struct context_wish *wish)
{
    const struct vt_auth *secret = auth_secret_of(tpm, session);
    uint8_t now[TPM_DIGEST_LEN];

    if (wish->by_handle && session->entity_type == TPM_ET_KEYHANDLE && !auth_is_srk(tpm, session)) {
        const struct key_slot *slot = key_find(tpm, wish->entity_handle);

        if (!slot)
            return TPM_BAD_HANDLE;
        secret = memcmp(slot->key.pub_digest, session->entity, ENTITY_ID) ? NULL : &slot->key.usage_auth;
    }
    if (!secret)
        return TPM_RESOURCEMISSING;
    entity_tag(tpm, session, secret, now);
    return vt_ct_equal(now, tag, sizeof now) ? TPM_SUCCESS : TPM_RESOURCEMISSING;
}

static tpm_rc read_session(struct tpm *tpm, struct fz *f, const struct context_return *back, union saved *saved)
{
    struct session *session = &saved->session;
    uint8_t tag[TPM_DIGEST_LEN] = {0};

    fz_session(f, session);
    if (session->kind != SESSION_OIAP)
        fz_bytes(f, tag, sizeof tag);
    if (!is_whole(f) || !back->fresh)
        return TPM_BADCONTEXT;
    return session->kind == SESSION_OIAP ? TPM_SUCCESS : check_entity(tpm, session, tag, back->wish);
}

static uint32_t restore_session(struct tpm *tpm, const union saved *saved, uint32_t handle)
{
    const struct session *in = session_restore(tpm, &saved->session, handle);

    return in ? in->handle : 0;
}

static void end_session(struct tpm *tpm, uint32_t handle)
{
    session_close(tpm, session_find(tpm, handle));
}

/* ---- Transport sessions ---- */

static tpm_rc save_transport(struct tpm *tpm, uint32_t handle, struct fz *f)
{
    struct transport *transport = transport_find(tpm, handle);

    if (!transport)
        return TPM_INVALID_RESOURCE;
    fz_transport(f, transport);
    return TPM_SUCCESS;
}

static tpm_rc read_transport(struct tpm *tpm, struct fz *f, const struct context_return *back, union saved *saved)
{
    (void)tpm;
    fz_transport(f, &saved->transport);
    return is_whole(f) && back->fresh ? TPM_SUCCESS : TPM_BADCONTEXT;
}

static uint32_t restore_transport(struct tpm *tpm, const union saved *saved, uint32_t handle)
{
    const struct transport *in = transport_restore(tpm, &saved->transport, handle);

    return in ? in->session.handle : 0;
}

static void end_transport(struct tpm *tpm, uint32_t handle)
{
    transport_close(tpm, transport_find(tpm, handle));
}

/* ---- DAA sessions ---- */

static tpm_rc save_daa(struct tpm *tpm, uint32_t handle, struct fz *f)
{
    struct daa_session *session = daa_find(tpm, handle);

    if (!session)
        return TPM_INVALID_RESOURCE;
    fz_daa_session(f, session);
    return TPM_SUCCESS;
}

static tpm_rc read_daa(struct tpm *tpm, struct fz *f, const struct context_return *back, union saved *saved)
{
    (void)tpm;
    fz_daa_session(f, &saved->daa);
    return is_whole(f) && back->fresh ? TPM_SUCCESS : TPM_BADCONTEXT;
}

static uint32_t restore_daa(struct tpm *tpm, const union saved *saved, uint32_t handle)
{
    const struct daa_session *in = daa_restore(tpm, &saved->daa, handle);

    return in ? in->handle : 0;
}

static void end_daa(struct tpm *tpm, uint32_t handle)
{
    daa_close(tpm, daa_find(tpm, handle));
}

/* ---- The table ---- */

static const struct resource {
    uint32_t type;
    bool is_session; /* counted; ends when it is saved */
    tpm_rc no_room;
    unsigned (*free_slots)(const struct tpm *tpm); /* NULL: restore says so, after the handle was chosen */
    tpm_rc (*save)(struct tpm *tpm, uint32_t handle, struct fz *f);
    void (*end)(struct tpm *tpm, uint32_t handle);
    /* What it was, if it may come back. */
    tpm_rc (*read)(struct tpm *tpm, struct fz *f, const struct context_return *back, union saved *saved);
    /* Under this handle, or a fresh one for 0: the handle that it has; 0: no room. */
    uint32_t (*restore)(struct tpm *tpm, const union saved *saved, uint32_t handle);
} resources[] = {
    {TPM_RT_KEY, false, TPM_NOSPACE, NULL, save_key, NULL, read_key, restore_key},
    {TPM_RT_AUTH, true, TPM_RESOURCES, session_free_slots, save_session, end_session, read_session, restore_session},
    {TPM_RT_TRANS, true, TPM_RESOURCES, transport_free_slots, save_transport, end_transport, read_transport,
     restore_transport},
    {TPM_RT_DAA_TPM, true, TPM_RESOURCES, daa_free_slots, save_daa, end_daa, read_daa, restore_daa},
};

const struct resource *resource_find(uint32_t type)
{
    for (size_t i = 0; i < VT_COUNT(resources); i++)
        if (resources[i].type == type)
            return &resources[i];
    return NULL;
}

bool resource_is_session(const struct resource *resource)
{
    return resource->is_session;
}

tpm_rc resource_save(const struct resource *resource, struct tpm *tpm, uint32_t handle, struct fz *f)
{
    return resource->save(tpm, handle, f);
}

void resource_end(const struct resource *resource, struct tpm *tpm, uint32_t handle)
{
    if (resource->end)
        resource->end(tpm, handle);
}

/* 21.3 action 11: the old handle, or another one if that may be. */
static tpm_rc choose_handle(struct tpm *tpm, struct context_return *back)
{
    if (!tpm_handle_taken(tpm, back->handle))
        return TPM_SUCCESS;
    back->handle = 0;
    return back->wish->keep_handle ? TPM_BAD_HANDLE : TPM_SUCCESS;
}

tpm_rc resource_load(const struct resource *resource, struct tpm *tpm, struct fz *f, struct context_return *back)
{
    union saved saved;
    tpm_rc rc;

    memset(&saved, 0, sizeof saved);
    rc = resource->read(tpm, f, back, &saved);
    if (!rc && resource->free_slots && !resource->free_slots(tpm))
        rc = resource->no_room;
    if (!rc)
        rc = choose_handle(tpm, back);
    if (!rc) {
        back->handle = resource->restore(tpm, &saved, back->handle);
        rc = back->handle ? TPM_SUCCESS : resource->no_room;
    }
    vt_wipe(&saved, sizeof saved);
    return rc;
}
