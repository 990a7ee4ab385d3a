/* SPDX-License-Identifier: Apache-2.0 */
/* How a resource goes into a context and comes back, by its type. New types are new rows. Private to context*.c. */
#ifndef VTPM_ENGINE_CONTEXT_RESOURCE_H
#define VTPM_ENGINE_CONTEXT_RESOURCE_H

#include "server/engine/context.h"
#include "server/engine/freeze.h"

struct resource;

/* One blob on its way back. */
struct context_return {
    const struct context_wish *wish;
    uint32_t handle; /* that it had; then, that it has */
    bool fresh;      /* its nonce is still the one */
};

/* NULL: no such type. */
const struct resource *resource_find(uint32_t type);
/* It is counted, and ends when it is saved. */
bool resource_is_session(const struct resource *resource);
/* Writes it; TPM_INVALID_RESOURCE, TPM_OWNER_CONTROL. */
tpm_rc resource_save(const struct resource *resource, struct tpm *tpm, uint32_t handle, struct fz *f) VT_USE_RESULT;
/* After it was saved: a session is outside now. */
void resource_end(const struct resource *resource, struct tpm *tpm, uint32_t handle);
/* Back into the TPM, or nothing was changed: TPM_BADCONTEXT and what context_load says. */
tpm_rc resource_load(const struct resource *resource, struct tpm *tpm, struct fz *f,
                     struct context_return *back) VT_USE_RESULT;

#endif
