/* SPDX-License-Identifier: Apache-2.0 */
/* DAA's sessions and seed, frozen. */
#include "server/engine/freeze.h"

#define LAST_STAGE 24

void fz_daa_session(struct fz *f, struct daa_session *s)
{
    fz_u32(f, &s->handle);
    fz_bool(f, &s->scratch_set);
    FZ_WIRE(f, daa_issuer, &s->issuer);
    FZ_WIRE(f, daa_tpm, &s->tpm);
    FZ_WIRE(f, daa_context, &s->context);
    FZ_WIRE(f, daa_joindata, &s->join);
    fz_need(f, s->context.daa_stage <= LAST_STAGE);
}

static bool used(struct tpm *tpm, uint32_t at)
{
    return tpm->stany.daa[at].handle != 0;
}

static void walk_session(struct fz *f, struct tpm *tpm, uint32_t at)
{
    fz_daa_session(f, &tpm->stany.daa[at]);
    for (uint32_t i = 0; i < at; i++)
        fz_need(f, tpm->stany.daa[i].handle != tpm->stany.daa[at].handle);
}

void fz_daa_sessions(struct fz *f, struct tpm *tpm)
{
    struct fz_table table = {DAA_SESSIONS_MAX, tpm->perm.profile.daa_sessions, used, walk_session};

    fz_table(f, tpm, &table);
}

void fz_daa_seed(struct fz *f, struct tpm *tpm)
{
    fz_auth(f, &tpm->perm.daa_seed);
}
