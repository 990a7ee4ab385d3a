/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine asks of whoever runs it. Called on the thread that called the engine, within that call. */
#ifndef VTPM_ENGINE_OPS_H
#define VTPM_ENGINE_OPS_H

#include "server/crypto/crypto.h"

#define TPM_EVIDENCE_NONCE 32
#define TPM_EVIDENCE_MAX   2304

/* What a deep quote is to be about: all PCRs are told, the masks say which are meant. */
struct tpm_evidence_ask {
    uint8_t nonce[TPM_EVIDENCE_NONCE];
    uint32_t mask, host_mask;
    uint8_t pcr[24][CR_SHA1_LEN];
};

struct tpm_ops {
    void *ctx;
    /*
     * A fresh RSA key, from a pool or generated; NULL: cr_rsa_generate with the TPM's own generator. The same
     * enum vt_err as there. Tests give fixtures.
     */
    int (*rsa_generate)(void *ctx, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg);
    /*
     * A statement of the host's TPM (docs/attestation.md); *len: of out, then of the evidence. NULL: the command does not
     * exist. VT_EAGAIN: too often; any other error: there is none to be had.
     */
    int (*evidence)(void *ctx, const struct tpm_evidence_ask *ask, uint8_t *out, size_t *len);
};

#endif
