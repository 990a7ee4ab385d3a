/* SPDX-License-Identifier: Apache-2.0 */
/* What DAA keeps outside of the TPM: TPM_DAA_BLOB, encrypted under daaBlobKey and proved by daaProof (Part 2, 22.8). */
#ifndef VTPM_ENGINE_DAA_BLOB_H
#define VTPM_ENGINE_DAA_BLOB_H

#include "server/engine/cmd.h"

#define DAA_PRIVATE_MAX 256 /* bytes of v0, v1 or TPM_DAA_TPM */

/* out is in the arena. TPM_SIZE. */
tpm_rc daa_wrap(struct cmd *c, uint32_t type, const void *bytes, size_t len, struct tpm_blob *out) VT_USE_RESULT;
/* And back, of the same type; len: bytes that it must have. TPM_DAA_INPUT_DATA0. The caller wipes out. */
tpm_rc daa_unwrap(const struct tpm *tpm, uint32_t type, const struct tpm_blob *in, void *out, size_t len) VT_USE_RESULT;

#endif
