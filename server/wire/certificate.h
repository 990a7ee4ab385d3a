/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom an X.509 certificate is for: the RSA key in it, and nothing else. No signature and no extension is
 * looked at: who verifies the certificate does that. Strict DER; any thread.
 */
#ifndef VTPM_WIRE_CERTIFICATE_H
#define VTPM_WIRE_CERTIFICATE_H

#include "server/wire/cursor.h"

struct certificate_key {
    struct tpm_blob modulus; /* big-endian, top byte not zero; inside the certificate */
    uint32_t exponent;
};

/*
 * False: no certificate of version 3 that ends with its last byte, or its key is not RSA (rsaEncryption or
 * id-RSAES-OAEP: a TPM's own key may be named either way).
 */
bool certificate_key(struct certificate_key *key, const uint8_t *der, size_t len) VT_USE_RESULT;

#endif
