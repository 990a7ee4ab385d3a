/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/session.h"

#include "server/engine/auth.h"
#include "server/engine/transport.h"

struct session *session_find(struct tpm *tpm, uint32_t handle)
{
    for (size_t i = 0; handle && i < SESSIONS_MAX; i++)
        if (tpm->stany.sessions[i].handle == handle)
            return &tpm->stany.sessions[i];
    return NULL;
}

unsigned session_free_slots(const struct tpm *tpm)
{
    unsigned used = 0;

    for (size_t i = 0; i < SESSIONS_MAX; i++)
        used += tpm->stany.sessions[i].handle != 0;
    return used < tpm->perm.profile.auth_sessions ? tpm->perm.profile.auth_sessions - used : 0;
}

struct session *session_new(struct tpm *tpm, enum session_kind kind)
{
    size_t i = 0;

    if (!session_free_slots(tpm))
        return NULL;
    while (tpm->stany.sessions[i].handle)
        i++;
    tpm->stany.sessions[i] = (struct session){
        .handle = tpm_fresh_handle(tpm, TPM_RT_AUTH),
        .kind = (uint8_t)kind,
    };
    tpm_random(tpm, tpm->stany.sessions[i].nonce_even, TPM_NONCE_LEN);
    return &tpm->stany.sessions[i];
}

struct session *session_restore(struct tpm *tpm, const struct session *saved, uint32_t handle)
{
    struct session *session = session_new(tpm, saved->kind);

    if (!session)
        return NULL;
    if (!handle)
        handle = session->handle;
    *session = *saved;
    session->handle = handle;
    return session;
}

void session_close(struct tpm *tpm, struct session *session)
{
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    vt_wipe(session, sizeof *session);
}

void session_close_entity(struct tpm *tpm, uint8_t type, const uint8_t id[ENTITY_ID])
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &tpm->stany.sessions[i];

        if (session->handle && session->kind != SESSION_OIAP && session->entity_type == type &&
            !memcmp(session->entity, id, ENTITY_ID))
            session_close(tpm, session);
    }
}

void session_close_owner(struct tpm *tpm)
{
    static const uint8_t owner[ENTITY_ID];

    session_close_entity(tpm, TPM_ET_OWNER, owner);
    if (tpm->perm.owned)
        session_close_entity(tpm, TPM_ET_KEYHANDLE, tpm->perm.srk.key.pub_digest);
}

void session_close_delegated(struct tpm *tpm)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (tpm->stany.sessions[i].handle && tpm->stany.sessions[i].kind == SESSION_DSAP)
            session_close(tpm, &tpm->stany.sessions[i]);
}

void session_end(struct tpm *tpm, struct session *session)
{
    if (session->kind == SESSION_TRANSPORT)
        transport_close(tpm, transport_find(tpm, session->handle));
    else
        session_close(tpm, session);
}

void session_close_all(struct tpm *tpm)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (tpm->stany.sessions[i].handle)
            session_close(tpm, &tpm->stany.sessions[i]);
}
