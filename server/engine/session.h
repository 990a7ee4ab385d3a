/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of authorisation and transport sessions. Invariant: a session's handle is 0 exactly when the slot
 * is free. */
#ifndef VTPM_ENGINE_SESSION_H
#define VTPM_ENGINE_SESSION_H

#include "server/base/secret.h"
#include "server/wire/structures.h"

#define TPM_NONCE_LEN TPM_DIGEST_LEN
#define SESSIONS_MAX  64 /* capacity; profile.auth_sessions is at most this */
#define ENTITY_ID     20

enum session_kind { SESSION_OIAP = 1, SESSION_OSAP = 2, SESSION_DSAP = 3, SESSION_TRANSPORT = 4 };

struct session {
    uint32_t handle;           /* 0: free */
    uint8_t kind;              /* enum session_kind */
    uint8_t adip;              /* TPM_ET_XOR or TPM_ET_AES128_CTR: how it hides new secrets */
    uint8_t entity_type;       /* TPM_ET_OWNER, _SRK, _KEYHANDLE, _NV, _COUNTER, ... of an OSAP session */
    uint8_t entity[ENTITY_ID]; /* which one: a key's pub_digest, an index or counter id, zeros */
    struct vt_auth secret;     /* OSAP shared secret; of a transport session its own */
    uint8_t nonce_even[TPM_NONCE_LEN];
    struct tpm_delegate_public delegate; /* DSAP only: what it is allowed to do */
};

/* Part 2, 13.4 TPM_TRANSPORT_INTERNAL. */
struct transport {
    struct session session; /* kind SESSION_TRANSPORT; the entity fields are not used */
    struct tpm_transport_public pub;
    uint8_t digest[TPM_DIGEST_LEN]; /* transDigest: the log */
};

#endif
