/* SPDX-License-Identifier: Apache-2.0 */
/* A key or sealed data, whose secret changes (Part 3, 17.1 and 27.4.2). */
#ifndef VTPM_ENGINE_ENTITY_H
#define VTPM_ENGINE_ENTITY_H

#include "server/engine/cmd.h"

/* The two structures that have a secret; both borrow from what was decrypted. */
struct entity {
    bool is_key;
    struct tpm_store_asymkey key;
    struct tpm_sealed_data data;
};

struct vt_auth *entity_secret(struct entity *entity);
/*
 * From what was decrypted, as is_key says: of a key also its payload is looked at, of data that this TPM sealed it.
 * TPM_INVALID_STRUCTURE, TPM_AUTHFAIL.
 */
tpm_rc entity_read(const struct cmd *c, const uint8_t *plain, size_t len, struct entity *entity) VT_USE_RESULT;
/* And back, encrypted by its parent; out is in the arena. TPM_BAD_DATASIZE, TPM_SIZE. */
tpm_rc entity_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct entity *entity,
                   struct tpm_blob *out) VT_USE_RESULT;

#endif
