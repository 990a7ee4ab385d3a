/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deep quotes (docs/attestation.md): a statement about one instance, and the evidence in which the host's TPM
 * signs its own PCRs over that statement. Built by the broker, checked by whoever has the attestation key's
 * public half. Pure; any thread.
 */
#ifndef VTPM_CORE_EVIDENCE_H
#define VTPM_CORE_EVIDENCE_H

#include "hwtpm/hwtpm.h"
#include "server/base/text.h"
#include "server/wire/cursor.h"

#define EVIDENCE_PCRS  24 /* of a TPM 1.2 for a guest */
#define EVIDENCE_NONCE 32

enum evidence_origin { EVIDENCE_GUEST = 1, EVIDENCE_OPERATOR = 2 };

struct evidence_statement {
    struct vt_uuid store, instance;
    uint8_t ek_sha256[CR_SHA256_LEN]; /* of the endorsement key's modulus; zeros: there is none */
    uint64_t epoch, seq;
    enum evidence_origin origin; /* who chose the nonce */
    uint8_t nonce[EVIDENCE_NONCE];
    uint32_t mask; /* bit n: PCR n of the instance */
    uint8_t pcr[EVIDENCE_PCRS][CR_SHA1_LEN];
};

#define EVIDENCE_STATEMENT_MAX (130 + EVIDENCE_PCRS * CR_SHA1_LEN)
/* As it is signed. */
struct evidence_text {
    size_t len;
    uint8_t bytes[EVIDENCE_STATEMENT_MAX];
};
void evidence_statement_write(struct evidence_text *text, const struct evidence_statement *statement);
/* False: these bytes are none; nothing in *statement may be used. */
bool evidence_statement_read(struct evidence_statement *statement, const uint8_t *bytes,
                             size_t len) VT_USE_RESULT;
/* What the host's TPM binds; a TPM 1.2 takes the first 20 bytes. */
void evidence_bound(uint8_t bound[32], const struct evidence_text *text);

#define EVIDENCE_MAX                                                                                         \
    (13 + HWTPM_PCRS * HWTPM_DIGEST + 2 + EVIDENCE_STATEMENT_MAX + 2 + HWTPM_MESSAGE + 2 + CR_RSA_MAX)
/* kind: HWTPM_TPM2 or HWTPM_TPM12. VT_ETOOBIG: the quote has impossible lengths. *len: of out, then of what
 * is there. */
int evidence_write(uint8_t *out, size_t *len, enum hwtpm_kind kind, const struct evidence_text *text,
                   const struct hwtpm_quote *quote) VT_USE_RESULT;

/* Taken apart; nothing is checked but its form. */
struct evidence {
    enum hwtpm_kind kind;
    struct evidence_statement statement;
    struct evidence_text text;
    struct hwtpm_quote quote;
};
/* VT_EUSAGE: these bytes are none. */
int evidence_read(struct evidence *evidence, const uint8_t *bytes, size_t len,
                  struct vt_why *why) VT_USE_RESULT;
/*
 * Signed by the key, about this statement and these host PCRs. VT_EAUTH says what is not so. Whether the key
 * is an attestation key, and whether nonce and values are those wanted, is the caller's question.
 */
int evidence_check(const struct evidence *evidence, const struct cr_rsa_pub *key,
                   struct vt_why *why) VT_USE_RESULT;

#endif
