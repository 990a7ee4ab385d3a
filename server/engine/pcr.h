/* SPDX-License-Identifier: Apache-2.0 */
/* PCRs: who may reset and extend them (PC Client), composites, and releases bound to them. */
#ifndef VTPM_ENGINE_PCR_H
#define VTPM_ENGINE_PCR_H

#include "server/wire/structures.h"

struct tpm;
struct cmd;

/* TPM_WRONGPCRVAL unless nothing is selected or the composite now is digestAtRelease; TPM_BAD_LOCALITY. */
tpm_rc pcr_check_release(const struct cmd *c, const struct tpm_pcr_info_short *info) VT_USE_RESULT;

/* Part 2, 8.2: the TPM_PCR_COMPOSITE of the PCRs now, and its SHA-1 (TPM_COMPOSITE_HASH). */
void pcr_composite_write(struct wr *w, const struct tpm *tpm, const struct tpm_pcr_selection *select);
void pcr_composite_hash(const struct tpm *tpm, const struct tpm_pcr_selection *select,
                        uint8_t out[TPM_DIGEST_LEN]);

/* PC Client: one row per PCR. */
bool pcr_extend_allowed(const struct cmd *c, unsigned pcr);
bool pcr_reset_allowed(const struct cmd *c, unsigned pcr);
bool pcr_is_resettable(unsigned pcr);

/* PCR = SHA-1(PCR || digest). */
void pcr_extend(struct tpm *tpm, unsigned pcr, const uint8_t digest[TPM_DIGEST_LEN]);
/* What TPM_Extend answers: the PCR's value; of a disabled or deactivated TPM zeros (Part 3, 16.1 action 8).
 */
void pcr_shown(const struct tpm *tpm, unsigned pcr, struct tpm_digest *out);
/* TPM_PCR_Reset's value: zeros, or ones for 17-22 outside a measured launch (Part 3, 16.4). */
void pcr_reset(struct tpm *tpm, unsigned pcr);
/* After TPM_Startup(ST_CLEAR): 17-22 all ones, the others zero; only_resettable: after ST_STATE. */
void pcr_startup(struct tpm *tpm, bool only_resettable);

#endif
