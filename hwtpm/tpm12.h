/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the TPM 1.2 implementation share: raw commands over a device or a socket, with the project's own
 * codec, beside or without TrouSerS. Private to hwtpm.
 */
#ifndef VTPM_HWTPM_TPM12_H
#define VTPM_HWTPM_TPM12_H

#include "hwtpm/ops.h"
#include "server/wire/commands.h"
#include "server/wire/return_codes.h"

struct tpm12 {
    int fd;
    char where[HWTPM_WHERE];
    struct vt_auth srk;
};

static inline struct tpm12 *tpm12_of(const struct hwtpm *tpm)
{
    return tpm->impl;
}

/* An authorisation session under way (Part 3, 18): of one use. */
struct tpm12_session {
    uint32_t handle;
    struct tpm_nonce even;
    struct vt_auth key;     /* OIAP: the entity's secret; OSAP: the shared one */
};

/* One command. Parameters are written to `in`; after tpm12_run those of the response are in `out`. */
#define TPM12_PARAMS   1024
#define TPM12_RESPONSE 4096
struct tpm12_call {
    uint32_t ordinal;
    uint32_t handles[1];
    size_t handle_count;
    struct tpm12_session *sessions[2];
    size_t session_count;
    bool has_out_handle;    /* the response begins with one, which no HMAC covers (Part 1, 13.1) */
    uint32_t out_handle;
    uint32_t rc;            /* the TPM's own, of a response that could be read */
    struct wr in;
    struct rd out;
    uint8_t params[TPM12_PARAMS], response[TPM12_RESPONSE];
};
void tpm12_begin(struct tpm12_call *call, uint32_t ordinal);
/* `doing` is "seal", "read a PCR": for the reason. Checks the response's HMACs. */
int tpm12_run(struct hwtpm *tpm, struct tpm12_call *call, const char *doing, struct vt_why *why) VT_USE_RESULT;
void tpm12_end(struct tpm12_call *call);

int tpm12_oiap(struct hwtpm *tpm, const struct vt_auth *secret, struct tpm12_session *session,
               struct vt_why *why) VT_USE_RESULT;
/* For one entity: TPM_ET_SRK and TPM_KH_SRK, TPM_ET_OWNER and TPM_KH_OWNER. */
int tpm12_osap(struct hwtpm *tpm, uint16_t entity_type, uint32_t entity, const struct vt_auth *secret,
               struct tpm12_session *session, struct vt_why *why) VT_USE_RESULT;
/* Part 1, 15: ADIP with XOR: a new secret over SHA-1(shared secret || nonceEven) of the OSAP session. */
void tpm12_encrypt_auth(const struct tpm12_session *session, const struct vt_auth *secret, struct vt_auth *out);
/* As tpm12_run, for secrets that are not the SRK's: `whose` says in the reason which one is wrong. */
int tpm12_run_for(struct hwtpm *tpm, struct tpm12_call *call, const char *doing, const char *whose,
                  struct vt_why *why) VT_USE_RESULT;
/* A session that no command has used up. */
void tpm12_flush(struct hwtpm *tpm, const struct tpm12_session *session);

/* Opens `where`: a path, tcp:HOST:PORT or unix:PATH. *fd is the caller's. */
int tpm12_connect(const char *where, int *fd, struct vt_why *why) VT_USE_RESULT;
/* One command there, one response back; *len in: room, out: bytes. */
int tpm12_exchange(const struct tpm12 *impl, const uint8_t *command, size_t command_len, uint8_t *response, size_t *len,
                   struct vt_why *why) VT_USE_RESULT;

/* An attestation key, loaded, and put away again. */
int tpm12_key_load(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t *handle, struct vt_why *why) VT_USE_RESULT;
void tpm12_key_unload(struct hwtpm *tpm, uint32_t handle);

int tpm12_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
               struct vt_why *why) VT_USE_RESULT;
int tpm12_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                 uint8_t *secret, struct vt_why *why) VT_USE_RESULT;

int tpm12_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                   struct vt_why *why) VT_USE_RESULT;
int tpm12_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t *nonce,
                struct hwtpm_quote *out, struct vt_why *why) VT_USE_RESULT;
int tpm12_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner, struct hwtpm_enrolment *out,
                struct vt_why *why) VT_USE_RESULT;
int tpm12_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                   const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why) VT_USE_RESULT;
int tpm12_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                      struct vt_why *why) VT_USE_RESULT;
int tpm12_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;
int tpm12_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;

#endif
