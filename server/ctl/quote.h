/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of host evidence share: printing (stdout), and certificates of attestation keys. */
#ifndef VTPM_CTL_QUOTE_H
#define VTPM_CTL_QUOTE_H

#include "server/core/evidence/enrol.h"
#include "server/core/evidence/evidence.h"
#include "server/ctl/ctl.h"

/* print_quote.c */
void print_host_ak(const struct ctl *ctl, const Vtpm__HostAk *ak, const char *pem);
void print_quoted(const struct ctl *ctl, const char *file, size_t bytes);
void print_evidence(const struct ctl *ctl, const struct evidence *evidence);

/*
 * ak_x509.c: the RSA key of a certificate (PEM) that is an attestation key's by its extendedKeyUsage,
 * chains to the CA's (PEM) and is valid now. VT_EUSAGE: not readable;
 * VT_EAUTH: it does not. VT_ENOTSUP: this build has no libcrypto. To
 * be called before cr_init, which keeps libcrypto from looking algorithms up by the names that certificates
 * have.
 */
int ak_of_certificate(struct cr_rsa_pub *key, const char *cert, const char *ca,
                      struct vt_why *why) VT_USE_RESULT;

/*
 * ak_x509.c: the endorsement key of a request is one that the CA knows: VT_OK, else VT_EAUTH. By the key
 * itself (a file in PEM, the public key or its certificate, that came by another way), or by the certificate
 * in the request, which must chain to its maker's (PEM). Before cr_init, as above.
 */
int ek_is_pinned(const struct enrol_request *request, const char *key, struct vt_why *why) VT_USE_RESULT;
int ek_is_vouched(const struct enrol_request *request, const char *ca, struct vt_why *why) VT_USE_RESULT;

/*
 * ak_challenge.c: a fresh secret that only the TPM with both keys of the request gives back; `secret` is what
 * the CA keeps. VT_EAUTH: the attestation key is none. After cr_init.
 */
int ak_challenge(const struct enrol_request *request, struct enrol_challenge *challenge,
                 struct enrol_secret *secret, struct vt_why *why) VT_USE_RESULT;

/* print_quote.c: what became of a step of `host-ak certify`, and of which keys. */
void print_certify(const struct ctl *ctl, const char *step, const char *file, enum hwtpm_kind kind,
                   const uint8_t ek[32], const uint8_t ak[32]);

/* verbs_quote.c: the first line of a file, as SHA-1: the secret of the owner of a TPM 1.2. */
int read_owner(const char *path, uint8_t owner[CR_SHA1_LEN], struct vt_why *why) VT_USE_RESULT;

#endif
