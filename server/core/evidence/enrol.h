/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four files by which a CA learns that an attestation key (AK) is in the TPM whose endorsement key (EK)
 * it knows (docs/attestation.md): request and answer of the host, challenge and secret of the CA. Their
 * bytes, and what an AK must be like. Pure; any thread. What is read comes from the other side and may be
 * anything.
 */
#ifndef VTPM_CORE_ENROL_H
#define VTPM_CORE_ENROL_H

#include "hwtpm/hwtpm.h"

/* From the host: two public keys, and what the EK's maker says. */
struct enrol_request {
    enum hwtpm_kind kind; /* HWTPM_TPM2 or HWTPM_TPM12, here and below */
    struct hwtpm_enrolment made;
};
/* From the CA: for this AK. */
struct enrol_challenge {
    enum hwtpm_kind kind;
    uint8_t ak[CR_SHA256_LEN]; /* enrol_ak_id */
    struct hwtpm_challenge box;
};
/* From the host: what its TPM found in the challenge. */
struct enrol_answer {
    enum hwtpm_kind kind;
    uint8_t ak[CR_SHA256_LEN];
    struct hwtpm_opened opened;
};
/* Of the CA, until the answer comes: what must be in it, and whom it is about. */
struct enrol_secret {
    enum hwtpm_kind kind;
    uint8_t ek_sha256[CR_SHA256_LEN]; /* of the EK's modulus */
    uint32_t public_len;
    uint8_t public[HWTPM_PUBLIC];
    struct hwtpm_opened wanted;
};

/* All four fit. */
#define ENROL_MAX (8 + 1 + CR_RSA_MAX + 2 + HWTPM_PUBLIC + 2 + HWTPM_EK_CERT)

/* *len: of out, then of what is there. VT_ETOOBIG. */
int enrol_request_write(uint8_t *out, size_t *len, const struct enrol_request *request) VT_USE_RESULT;
int enrol_challenge_write(uint8_t *out, size_t *len, const struct enrol_challenge *challenge) VT_USE_RESULT;
int enrol_answer_write(uint8_t *out, size_t *len, const struct enrol_answer *answer) VT_USE_RESULT;
int enrol_secret_write(uint8_t *out, size_t *len, const struct enrol_secret *secret) VT_USE_RESULT;
/* VT_EUSAGE: these bytes are none, and all of the structure is zero. */
int enrol_request_read(struct enrol_request *request, const uint8_t *bytes, size_t len,
                       struct vt_why *why) VT_USE_RESULT;
int enrol_challenge_read(struct enrol_challenge *challenge, const uint8_t *bytes, size_t len,
                         struct vt_why *why) VT_USE_RESULT;
int enrol_answer_read(struct enrol_answer *answer, const uint8_t *bytes, size_t len,
                      struct vt_why *why) VT_USE_RESULT;
int enrol_secret_read(struct enrol_secret *secret, const uint8_t *bytes, size_t len,
                      struct vt_why *why) VT_USE_RESULT;

/* By which challenge and answer name the AK. */
void enrol_ak_id(uint8_t id[CR_SHA256_LEN], const uint8_t *public, size_t len);
/*
 * The RSA key in an AK's public area. VT_EAUTH says what it lacks. 2.0: it must be one that signs nothing but
 * what the TPM itself says (restricted), was made in it and cannot leave it. 1.2: that it is an identity key,
 * the TPM checks when it opens the challenge.
 */
int enrol_ak(struct cr_rsa_pub *key, enum hwtpm_kind kind, const uint8_t *public, size_t len,
             struct vt_why *why) VT_USE_RESULT;
/* The certificate in the request is of the EK in it: VT_OK, else VT_EAUTH. Who signed it is the caller's
 * question. */
int enrol_ek_cert(const struct enrol_request *request, struct vt_why *why) VT_USE_RESULT;
/* The answer is to this challenge and holds what was in it: VT_OK, else VT_EAUTH. Constant time in the
 * secret. */
int enrol_check(const struct enrol_secret *secret, const struct enrol_answer *answer,
                struct vt_why *why) VT_USE_RESULT;

#endif
