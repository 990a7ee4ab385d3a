/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorisation sessions and the proofs that commands carry (Part 1, chapters 12-14; Part 3, chapter 18).
 */
#ifndef VTPM_ENGINE_AUTH_H
#define VTPM_ENGINE_AUTH_H

#include "server/engine/cmd.h"

/* What a session is asked to prove. */
struct auth_entity {
    uint8_t type; /* TPM_ET_* */
    uint8_t id[ENTITY_ID];
    const struct vt_auth *secret;  /* its AuthData */
    const struct tpm_key_obj *key; /* if it is one */
};

struct auth_entity auth_entity_key(const struct key_slot *slot);
struct auth_entity auth_entity_owner(const struct tpm *tpm);
/* An NV index or counter id. */
struct auth_entity auth_entity_number(uint8_t type, uint32_t id, const struct vt_auth *secret);

/* TPM_ET_COUNTER; secret is NULL if there is no such counter. */
struct auth_entity counter_entity(struct tpm *tpm, uint32_t id);

/* The secret of the entity that an OSAP or DSAP session was opened for, as it is now; NULL: it is gone. */
const struct vt_auth *auth_secret_of(struct tpm *tpm, const struct session *session);
/* Was it opened for the SRK? */
bool auth_is_srk(const struct tpm *tpm, const struct session *session);

/* ---- For handlers ---- */

/* false: what stands in session `index`'s place is none; cmd_check_auth says TPM_INVALID_AUTHHANDLE. */
bool cmd_has_session(const struct cmd *c, unsigned index);
/*
 * Checks session `index` (0 or 1, in the command's order) against an entity, for rows with PROOF_IN_HANDLER.
 * Returns TPM_INVALID_AUTHHANDLE, TPM_AUTHFAIL or TPM_AUTH2FAIL; counting the guess and closing the sessions is the pipeline's work.
 * At most once per session. Only a session checked by this or by the pipeline may be used further.
 */
tpm_rc cmd_check_auth(struct cmd *c, unsigned index, const struct auth_entity *entity) VT_USE_RESULT;
/* The same against the owner; where there is none nobody's secret is not one. */
tpm_rc cmd_check_owner(struct cmd *c, unsigned index) VT_USE_RESULT;
/*
 * A new secret that came encrypted under session `index` (ADIP: XOR or AES-CTR, Part 1, 12.3 and Part
 * 3, 18.2). odd: the second secret of a command, under nonceOdd (migrationAuth). The session ends with this
 * command. TPM_AUTHFAIL
 * ... TPM_BAD_MODE if the session is not OSAP or DSAP.
 */
tpm_rc cmd_decrypt_auth(struct cmd *c, unsigned index, bool odd, const struct vt_auth *enc,
                        struct vt_auth *out) VT_USE_RESULT;
/* The same for a transport session; a wrong secret is no guess at one of the TPM's. */
tpm_rc cmd_check_transport(struct cmd *c, unsigned index) VT_USE_RESULT;
/* The response will say continueAuthSession FALSE. */
void cmd_end_session(struct cmd *c, unsigned index);

/* ---- Slots ---- */

struct session *session_find(struct tpm *tpm, uint32_t handle);
/* A free slot with a fresh handle and nonceEven; NULL: TPM_RESOURCES. */
struct session *session_new(struct tpm *tpm, enum session_kind kind);
/* A saved session comes back under a handle that is free; 0: a fresh one. NULL: no room. */
struct session *session_restore(struct tpm *tpm, const struct session *saved, uint32_t handle);
void session_close(struct tpm *tpm, struct session *session);
/* Closes the OSAP/DSAP sessions of an entity (key flushed, index removed, counter released). */
void session_close_entity(struct tpm *tpm, uint8_t type, const uint8_t id[ENTITY_ID]);
/* Closes all that were opened with the owner's or SRK's secret (owner cleared, ChangeAuthOwner). */
void session_close_owner(struct tpm *tpm);
/* Closes those that stand on a delegation. */
void session_close_delegated(struct tpm *tpm);
void session_close_all(struct tpm *tpm);
/* Closes an authorisation or transport session. */
void session_end(struct tpm *tpm, struct session *session);
unsigned session_free_slots(const struct tpm *tpm);

/* ---- For exec.c ---- */

/* Reads the trailer of c->auth_count sessions and finds them (a missing one is found out by
 * auth_check_request). */
tpm_rc auth_read_trailer(struct cmd *c, struct rd *r) VT_USE_RESULT;
/* Proves every session whose row says whose secret it is; rules for absent sessions (authDataUsage). */
tpm_rc auth_check_request(struct cmd *c) VT_USE_RESULT;
/* Did every session prove something? A handler that forgot one must not succeed. */
bool auth_all_checked(const struct cmd *c) VT_USE_RESULT;
/* New nonces and the response's trailer; c->out_digest is made. */
void auth_write_response(struct cmd *c, struct wr *w);
/* After any failure: the command's sessions end; a wrong guess counts. */
void auth_failed(struct cmd *c);

#endif
