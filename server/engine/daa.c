/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/daa.h"

#include "server/engine/engine.h"

struct daa_session *daa_find(struct tpm *tpm, uint32_t handle)
{
    for (size_t i = 0; handle && i < DAA_SESSIONS_MAX; i++)
        if (tpm->stany.daa[i].handle == handle)
            return &tpm->stany.daa[i];
    return NULL;
}

unsigned daa_free_slots(const struct tpm *tpm)
{
    unsigned used = 0;

    for (size_t i = 0; i < DAA_SESSIONS_MAX; i++)
        used += tpm->stany.daa[i].handle != 0;
    return used < tpm->perm.profile.daa_sessions ? tpm->perm.profile.daa_sessions - used : 0;
}

struct daa_session *daa_restore(struct tpm *tpm, const struct daa_session *saved, uint32_t handle)
{
    struct daa_session *slot = tpm->stany.daa;

    if (!daa_free_slots(tpm))
        return NULL;
    if (!handle)
        handle = tpm_fresh_handle(tpm, TPM_RT_DAA_TPM);
    while (slot->handle)
        slot++;
    *slot = *saved;
    slot->handle = handle;
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    return slot;
}

struct daa_session *daa_new(struct tpm *tpm)
{
    static const struct daa_session empty;

    return daa_restore(tpm, &empty, 0);
}

void daa_close(struct tpm *tpm, struct daa_session *session)
{
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    vt_wipe(session, sizeof *session);
}

void daa_close_all(struct tpm *tpm)
{
    for (size_t i = 0; i < DAA_SESSIONS_MAX; i++)
        if (tpm->stany.daa[i].handle)
            daa_close(tpm, &tpm->stany.daa[i]);
}

const struct vt_auth *daa_seed(struct tpm *tpm)
{
    static const struct vt_auth none;
    struct vt_auth *seed = &tpm->perm.daa_seed;

    if (vt_ct_equal(seed->bytes, none.bytes, sizeof none.bytes)) {
        tpm_random(tpm, seed->bytes, sizeof seed->bytes);
        tpm->dirty |= TPM_DIRTY_PERMANENT;
    }
    return seed;
}
