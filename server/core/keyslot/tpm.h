/* SPDX-License-Identifier: Apache-2.0 */
/* Key slots of the host's TPM. tpm_args.c: their SPECs (pure); tpm.c: their rows (worker). */
#ifndef VTPM_CORE_KEYSLOT_TPM_H
#define VTPM_CORE_KEYSLOT_TPM_H

#include "server/core/keyslot/keyslot_priv.h"

#define KEYSLOT_PATH 512

/* A SPEC's argument taken apart: "pcrs=7,4:tcti=CONF", "pcrs=0:device=PATH"; the last value may hold colons. */
struct keyslot_tpm_args {
    char pcrs[80], key[KEYSLOT_PATH], signatures[KEYSLOT_PATH], srk_auth[KEYSLOT_PATH], where[KEYSLOT_PATH];
    char owner_auth[KEYSLOT_PATH];  /* for an anchor alone: server/core/anchor/tpm.c */
};
int keyslot_tpm_args(const char *kind, const char *arg, struct keyslot_tpm_args *out, struct vt_why *why) VT_USE_RESULT;
int keyslot_tpm2_check(const char *arg, struct vt_why *why) VT_USE_RESULT;
int keyslot_tpm2_signed_check(const char *arg, struct vt_why *why) VT_USE_RESULT;
int keyslot_tpm12_check(const char *arg, struct vt_why *why) VT_USE_RESULT;

/* Seals making->secret and writes the row's parameters, all but the salt. why may hold a warning on success. */
int keyslot_tpm_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why) VT_USE_RESULT;
/*
 * Unseals. spec, if not NULL, says where the TPM is now. *secret returns owned (vt_free_wiped). why may hold a warning on
 * success.
 */
int keyslot_tpm_own(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                    struct vt_why *why) VT_USE_RESULT;

#endif
