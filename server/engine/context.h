/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved contexts: resources that a guest keeps outside of the TPM (Part 3, 21.2-21.3; 27.2 for
 * version 1.1's). Invariant: a session is either inside, or outside under one count of context_list, never
 * both; its count is good once. Keys stay inside when they are saved, and their contexts may be loaded often.
 */
#ifndef VTPM_ENGINE_CONTEXT_H
#define VTPM_ENGINE_CONTEXT_H

#include "server/engine/cmd.h"

/* What a context is good for, told by the nonce in it. */
enum context_life {
    CONTEXT_12, /* keys: until TPM_Startup(ST_CLEAR) if they must; sessions: until TPM_Init */
    CONTEXT_11  /* made by 1.1's commands: until TPM_Reset or TPM_Init */
};

/*
 * Saves a resource into a TPM_CONTEXT_BLOB in the arena. A session ends with it, a key stays.
 * TPM_INVALID_RESOURCE (no such type or handle), TPM_OWNER_CONTROL (the owner's key), TPM_TOOMANYCONTEXTS,
 * TPM_NOCONTEXTSPACE, TPM_SIZE.
 */
tpm_rc context_save(struct cmd *c, enum context_life life, uint32_t type, uint32_t handle,
                    const struct tpm_bytes16 *label, struct tpm_blob *out) VT_USE_RESULT;

struct context_wish {
    enum context_life life;
    uint32_t type;    /* the only one wanted, or 0 */
    bool keep_handle; /* the old handle or none */
    bool by_handle;   /* entity_handle names the key of an OSAP session; else it is looked for */
    uint32_t entity_handle;
};

/*
 * And back: c->out_handle is the resource's. TPM_BADCONTEXT (altered, of another TPM, owner or time, loaded
 * before), TPM_DECRYPT_ERROR (what is encrypted in it was altered), TPM_BAD_HANDLE, TPM_RESOURCEMISSING,
 * TPM_RESOURCES, TPM_NOSPACE.
 */
tpm_rc context_load(struct cmd *c, const struct context_wish *wish, const struct tpm_blob *in) VT_USE_RESULT;

/* A saved session's count is no longer good; false if there is none such. */
bool context_forget(struct tpm *tpm, uint32_t count);
/* TPM_Reset: all that 1.1's commands saved. */
void context_forget_11(struct tpm *tpm);

#endif
