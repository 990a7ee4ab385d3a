/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of an endorsement key, made where the CA's key is (TCG Credential Profiles for TPM
 * Family 1.2, Level 2, 3.2; docs/ekcert.md), and that of a host's attestation key
 * (docs/attestation.md). With ak_x509.c the one place of vtpmctl for X.509; without libcrypto each function
 * says VT_ENOTSUP.
 */
#ifndef VTPM_CTL_EK_X509_H
#define VTPM_CTL_EK_X509_H

#include "proto/admin.pb-c.h"
#include "server/crypto/crypto.h"

#define EK_DAYS     3650
#define EK_DAYS_MAX 36500

struct ek_ca;

/*
 * Both in PEM. VT_EUSAGE: not readable, not a pair, not a CA. *ca returns owned; it holds the private key
 * (closed by ek_ca_close, which wipes it; NULL is fine).
 */
int ek_ca_open(struct ek_ca **ca, const char *key, const char *cert, unsigned days,
               struct vt_why *why) VT_USE_RESULT;
void ek_ca_close(struct ek_ca *ca);

/* *der and *text return owned (vt_free); `ek` must have a key. */
int ek_ca_sign(const struct ek_ca *ca, const Vtpm__EkCert *ek, uint8_t **der, size_t *len,
               struct vt_why *why) VT_USE_RESULT;
/* The same of a host's attestation key, extendedKeyUsage 2.23.133.8.3, subject CN=name (1 to 64 characters).
 */
int ek_ca_sign_ak(const struct ek_ca *ca, const struct cr_rsa_pub *ak, const char *name, uint8_t **der,
                  size_t *len, struct vt_why *why) VT_USE_RESULT;
int ek_key_pem(const Vtpm__EkCert *ek, char **text, struct vt_why *why) VT_USE_RESULT;
int ek_cert_pem(const uint8_t *der, size_t len, char **text, struct vt_why *why) VT_USE_RESULT;

/* A file in DER or PEM as DER, at most max bytes. *der returns owned (vt_free). */
int ek_cert_read(const char *path, size_t max, uint8_t **der, size_t *len, struct vt_why *why) VT_USE_RESULT;
/* A new file, PEM: VT_EEXISTS if there is one. */
int ek_cert_save(const char *path, const uint8_t *der, size_t len, struct vt_why *why) VT_USE_RESULT;

/* What people look for; texts are escaped. */
struct ek_cert_facts {
    char issuer[256], serial[64], not_before[32], not_after[32], sha256[65];
};
int ek_cert_facts(struct ek_cert_facts *facts, const uint8_t *der, size_t len,
                  struct vt_why *why) VT_USE_RESULT;

#endif
