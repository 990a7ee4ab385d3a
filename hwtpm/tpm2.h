/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the TPM 2.0 implementation share. Private to hwtpm. */
#ifndef VTPM_HWTPM_TPM2_H
#define VTPM_HWTPM_TPM2_H

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "hwtpm/ops.h"

struct tpm2 {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
};

static inline ESYS_CONTEXT *tpm2_esys(const struct hwtpm *tpm)
{
    return ((const struct tpm2 *)tpm->impl)->esys;
}

/* The error for a response code, with cause and way out; `doing` is "seal", "read PCRs". */
int tpm2_fail(TSS2_RC rc, const char *doing, struct vt_why *why) VT_USE_RESULT;
/* Format-one codes without the number of the parameter, handle or session (Part 2, 6.6.3). */
TSS2_RC tpm2_plain(TSS2_RC rc);

/* A selection of the bank SHA-256. */
void tpm2_select(TPML_PCR_SELECTION *select, uint32_t mask);

int tpm2_pcr_read(struct hwtpm *tpm, struct hwtpm_pcrs *pcrs, struct vt_why *why) VT_USE_RESULT;
int tpm2_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
              struct vt_why *why) VT_USE_RESULT;
int tpm2_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                uint8_t *secret, struct vt_why *why) VT_USE_RESULT;

int tpm2_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                  struct vt_why *why) VT_USE_RESULT;
int tpm2_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t *nonce,
               struct hwtpm_quote *out, struct vt_why *why) VT_USE_RESULT;
int tpm2_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner, struct hwtpm_enrolment *out,
               struct vt_why *why) VT_USE_RESULT;
int tpm2_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                  const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why) VT_USE_RESULT;
int tpm2_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                     struct vt_why *why) VT_USE_RESULT;
int tpm2_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;
int tpm2_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;

/* An object as it is kept: u32 parent handle, the parent's name, public and private part (TPM2B each). */
struct tpm2_parts {
    uint32_t handle;
    TPM2B_NAME name;
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
};
int tpm2_pack(const struct tpm2_parts *parts, uint8_t *out, uint32_t cap, uint32_t *len, struct vt_why *why) VT_USE_RESULT;
int tpm2_unpack(const uint8_t *in, uint32_t len, uint32_t cap, struct tpm2_parts *parts, struct vt_why *why) VT_USE_RESULT;

/*
 * The storage key that everything hangs from: the persistent one at 0x81000001 if there is one, else a primary made from
 * the owner's seed and a fixed template, the same each time. tpm2_parent_done puts it away.
 */
struct tpm2_parent {
    ESYS_TR key;
    uint32_t handle;        /* 0x81000001, or 0: made */
    TPM2B_NAME *name;       /* owned */
};
#define TPM2_SRK 0x81000001u /* TCG TPM v2.0 Provisioning Guidance: where the storage root key is kept */
/* For a new object: whichever there is. */
int tpm2_parent_choose(struct hwtpm *tpm, struct tpm2_parent *parent, struct vt_why *why) VT_USE_RESULT;
/* For an object made before under this one: TPM2_SRK, or 0: made. VT_EKEY: it is not there any more. */
int tpm2_parent_again(struct hwtpm *tpm, uint32_t handle, struct tpm2_parent *parent, struct vt_why *why) VT_USE_RESULT;
/* As tpm2_parent_again, and it must have the name that it had. */
int tpm2_parent_of(struct hwtpm *tpm, const struct tpm2_parts *parts, struct tpm2_parent *parent,
                   struct vt_why *why) VT_USE_RESULT;
/* Makes an object under parent, its secret part encrypted on the way. */
int tpm2_create(struct hwtpm *tpm, const struct tpm2_parent *parent, const TPM2B_SENSITIVE_CREATE *sensitive,
                const TPM2B_PUBLIC *template, struct tpm2_parts *parts, struct vt_why *why) VT_USE_RESULT;
void tpm2_parent_done(struct hwtpm *tpm, struct tpm2_parent *parent);
/*
 * An attestation key, loaded, with its parts and the storage key that it is under; all is the caller's to flush and put
 * away. VT_EKEY: it is another TPM's. On error nothing is left.
 */
int tpm2_key_open(struct hwtpm *tpm, const struct hwtpm_key *key, struct tpm2_parts *parts, struct tpm2_parent *parent,
                  ESYS_TR *handle, struct vt_why *why) VT_USE_RESULT;
/* type: TPM2_SE_HMAC or TPM2_SE_POLICY; salted with the parent, parameters encrypted both ways: a bus is read easily. */
int tpm2_session(struct hwtpm *tpm, const struct tpm2_parent *parent, TPM2_SE type, ESYS_TR *session,
                 struct vt_why *why) VT_USE_RESULT;

#endif
