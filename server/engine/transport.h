/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport sessions (Part 1, 18; Part 3, 24): their slots, logs and encryption. Invariant: a slot's handle
 * is 0 exactly when it is free; stany.transport_exclusive is 0 or the handle of a session in use.
 */
#ifndef VTPM_ENGINE_TRANSPORT_H
#define VTPM_ENGINE_TRANSPORT_H

#include "server/engine/cmd.h"

struct transport *transport_find(struct tpm *tpm, uint32_t handle);
/* A free slot with a fresh handle and transNonceEven; NULL: TPM_RESOURCES. */
struct transport *transport_new(struct tpm *tpm);
/* A saved one comes back under a handle that is free; 0: a fresh one. NULL: no room. */
struct transport *transport_restore(struct tpm *tpm, const struct transport *saved, uint32_t handle);
void transport_close(struct tpm *tpm, struct transport *transport);
void transport_close_all(struct tpm *tpm);
unsigned transport_free_slots(const struct tpm *tpm);

/* 24.1 action 3; also what TPM_GetCapability tells. TPM_BAD_KEY_PROPERTY, TPM_INAPPROPRIATE_ENC. */
tpm_rc transport_check_encryption(const struct tpm *tpm,
                                  const struct tpm_transport_public *pub) VT_USE_RESULT;

/* transDigest = SHA-1(transDigest || TPM_TRANSPORT_LOG_IN); pub_key_hash may be NULL. */
void transport_log_in(struct transport *transport, const uint8_t parameters[CR_SHA1_LEN],
                      const uint8_t pub_key_hash[CR_SHA1_LEN]);
/* The same with TPM_TRANSPORT_LOG_OUT. */
void transport_log_out(struct transport *transport, const uint8_t parameters[CR_SHA1_LEN],
                       const struct tpm_current_ticks *ticks, uint8_t locality);

/*
 * Encrypts or decrypts in place (24.2 actions 4 and 17); way: "in" or "out". Nothing without
 * TPM_TRANSPORT_ENCRYPT. len is at most TPM_BUFFER. TPM_RESOURCES, TPM_FAIL.
 */
tpm_rc transport_crypt(const struct transport *transport, const uint8_t odd[TPM_NONCE_LEN], const char *way,
                       uint8_t *data, size_t len) VT_USE_RESULT;

/* One command inside of another (24.2 action 11): the same pipeline; w gets a whole response, an error's too.
 */
void cmd_execute_wrapped(const struct cmd *outer, const struct transport *transport, const uint8_t *bytes,
                         size_t len, struct wr *w);

#endif
