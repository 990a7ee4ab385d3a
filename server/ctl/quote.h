/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of host evidence share: printing (stdout), and certificates of attestation keys. */
#ifndef VTPM_CTL_QUOTE_H
#define VTPM_CTL_QUOTE_H

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

#endif
