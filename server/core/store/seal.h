/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM over everything that leaves the broker's memory. Associated data = store uuid, instance uuid, kind, seq:
 * a blob put in another's place, or an older one under a newer number, does not open. Any thread.
 */
#ifndef VTPM_CORE_SEAL_H
#define VTPM_CORE_SEAL_H

#include "server/base/secret.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"

enum seal_kind { SEAL_DURABLE = 1, SEAL_RUNTIME = 2, SEAL_INSTANCE_KEY = 3, SEAL_CREDENTIAL = 4, SEAL_MASTER_KEY = 5,
                 SEAL_SERVER_KEY = 6 };

struct seal_name {
    struct vt_uuid store;
    struct vt_uuid instance;    /* zeros where the thing belongs to no instance */
    enum seal_kind kind;
    uint64_t seq;               /* record seq, slot id, credential version */
};

#define SEAL_OVERHEAD CR_GCM_NONCE /* in `out`; the tag is apart */

/* out holds len + SEAL_OVERHEAD: a fresh random nonce, then the ciphertext. */
int seal(const struct vt_key *key, const struct seal_name *name, const void *in, size_t len, uint8_t *out,
         uint8_t tag[CR_GCM_TAG]) VT_USE_RESULT;
/* in: nonce and ciphertext; out holds len - SEAL_OVERHEAD. VT_EDAMAGED when it does not open. */
int unseal(const struct vt_key *key, const struct seal_name *name, const void *in, size_t len,
           const uint8_t tag[CR_GCM_TAG], uint8_t *out) VT_USE_RESULT;

/* A 32-byte key as one string: nonce || ciphertext || tag. */
#define SEAL_KEY_LEN (SEAL_OVERHEAD + 32 + CR_GCM_TAG)
int seal_key(const struct vt_key *key, const struct seal_name *name, const struct vt_key *in, uint8_t out[SEAL_KEY_LEN]) VT_USE_RESULT;
int unseal_key(const struct vt_key *key, const struct seal_name *name, const uint8_t *in, size_t len, struct vt_key *out) VT_USE_RESULT;

#endif
