/* SPDX-License-Identifier: Apache-2.0 */
/* What a TPM slot's row says: where its TPM is, what it asks of it, what was sealed. Not for others. Worker. */
#ifndef VTPM_CORE_KEYSLOT_PLACE_H
#define VTPM_CORE_KEYSLOT_PLACE_H

#include "hwtpm/hwtpm.h"
#include "server/core/keyslot/tpm.h"

/* Where a slot's TPM is and what it asks of it. */
struct keyslot_place {
    struct hwtpm_config config;
    uint32_t mask;
    bool is_signed;
    struct cr_rsa_pub signer;
    char signatures[KEYSLOT_PATH], srk_auth[KEYSLOT_PATH];
};

/* Reads the files that it names: the caller wipes place->config.srk_auth. */
int keyslot_place_from_spec(struct keyslot_place *place, const struct keyslot_spec *spec, struct vt_why *why) VT_USE_RESULT;
/* spec (may be NULL): what it says is taken instead of the row's. VT_EDAMAGED. */
int keyslot_place_from_row(struct keyslot_place *place, const char *params, const struct keyslot_spec *spec,
                           struct vt_why *why) VT_USE_RESULT;
/*
 * A secret of a TPM 1.2 from a file's first line: 40 hex digits, or words whose SHA-1 is the secret, as the TPM 1.2
 * tools do it. The caller wipes it.
 */
int keyslot_read_auth(const char *path, struct vt_auth *auth, struct vt_why *why) VT_USE_RESULT;
void keyslot_place_put(struct params_writer *w, const struct keyslot_place *place);

/* What was sealed, and the PCRs to which: [0] those of then, [1] the predicted ones. */
struct keyslot_sealed {
    size_t count;
    struct hwtpm_prints prints[2];
    struct hwtpm_sealed object[2];
};

void keyslot_sealed_put(struct params_writer *w, const struct keyslot_sealed *sealed);
/* mask: the PCRs that the row names. VT_EDAMAGED. */
int keyslot_sealed_from_row(struct keyslot_sealed *sealed, uint32_t mask, const char *params) VT_USE_RESULT;

/* An operator's signatures, of the place's PCRs. */
#define KEYSLOT_APPROVALS 64
struct keyslot_approvals {
    size_t count;
    struct hwtpm_approval list[KEYSLOT_APPROVALS];
};

int keyslot_read_approvals(const struct keyslot_place *place, struct keyslot_approvals *out, struct vt_why *why) VT_USE_RESULT;

#endif
