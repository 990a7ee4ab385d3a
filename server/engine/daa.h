/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of TPM_DAA_Join and TPM_DAA_Sign (Part 2, 22; Part 3, 26). Invariant: a session's handle is 0 exactly when
 * the slot is free. They end with TPM_Init, with the owner, and with the first error of a stage.
 */
#ifndef VTPM_ENGINE_DAA_H
#define VTPM_ENGINE_DAA_H

#include "server/wire/structures.h"

struct tpm;

#define DAA_SESSIONS_MAX 4

struct daa_session {
    uint32_t handle;            /* 0: free */
    bool scratch_set;           /* DAA_scratch != NULL */
    struct tpm_daa_issuer issuer;
    struct tpm_daa_tpm tpm;
    struct tpm_daa_context context;
    struct tpm_daa_joindata join;
};

struct daa_session *daa_find(struct tpm *tpm, uint32_t handle);
/* A free slot with a fresh handle, all else zero; NULL: TPM_RESOURCES. */
struct daa_session *daa_new(struct tpm *tpm);
/* A saved one comes back under a handle that is free; 0: a fresh one. NULL: no room. */
struct daa_session *daa_restore(struct tpm *tpm, const struct daa_session *saved, uint32_t handle);
/* Wipes it. */
void daa_close(struct tpm *tpm, struct daa_session *session);
void daa_close_all(struct tpm *tpm);
unsigned daa_free_slots(const struct tpm *tpm);
/* Part 2, 7.4 tpmDAASeed: it stays as long as the endorsement key; made when it is first needed. */
const struct vt_auth *daa_seed(struct tpm *tpm);

#endif
