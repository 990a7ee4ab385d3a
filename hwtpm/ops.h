/* SPDX-License-Identifier: Apache-2.0 */
/* The table that an implementation fills. Private to hwtpm. */
#ifndef VTPM_HWTPM_OPS_H
#define VTPM_HWTPM_OPS_H

#include "hwtpm/hwtpm.h"

struct hwtpm_ops {
    enum hwtpm_kind kind;
    const char *name;
    uint32_t digest_len;
    /* Fills tpm->impl and tpm->text. On error close is called too. */
    int (*open)(struct hwtpm *tpm, const struct hwtpm_config *config, struct vt_why *why);
    void (*close)(struct hwtpm *tpm);
    /* The rest as in hwtpm.h; NULL: this implementation cannot, and hwtpm.c says so. */
    int (*pcr_read)(struct hwtpm *tpm, struct hwtpm_pcrs *pcrs, struct vt_why *why);
    int (*random)(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why);
    int (*seal)(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
                struct vt_why *why);
    int (*unseal)(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                  uint8_t *secret, struct vt_why *why);
    int (*key_make)(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                    struct vt_why *why);
    int (*quote)(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t *nonce,
                 struct hwtpm_quote *out, struct vt_why *why);
    int (*enrol)(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                 struct hwtpm_enrolment *out, struct vt_why *why);
    int (*activate)(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                    const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why);
    int (*anchor_make)(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner, struct vt_why *why);
    int (*anchor_read)(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why);
    int (*anchor_advance)(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why);
};

struct hwtpm {
    const struct hwtpm_ops *ops;
    void *impl;
    char text[160];
};

extern const struct hwtpm_ops hwtpm_tpm2, hwtpm_tpm12, hwtpm_none;

/* Of an attestation key that does not load (VT_EKEY). */
#define HWTPM_KEY_STRANGE                                                                                    \
    "the attestation key is not of this host TPM, or it was cleared since: vtpmctl host-ak create --yes makes a new one"

/* A device file that cannot be opened: names the cause and the way out. errno value as open(2) left it. */
int hwtpm_no_device(const char *path, int error, struct vt_why *why) VT_USE_RESULT;

#endif
