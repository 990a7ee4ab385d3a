/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine asks of whoever runs it. Called on the thread that called the engine, within that call. */
#ifndef VTPM_ENGINE_OPS_H
#define VTPM_ENGINE_OPS_H

#include "server/crypto/crypto.h"

struct tpm_ops {
    void *ctx;
    /*
     * A fresh RSA key, from a pool or generated; NULL: cr_rsa_generate with the TPM's own generator. The same
     * enum vt_err as there. Tests give fixtures.
     */
    int (*rsa_generate)(void *ctx, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg);
};

#endif
