/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keys and sealed data are bound to: TPM_PCR_INFO (version 1.1) or TPM_PCR_INFO_LONG (1.2) in its sized
 * area (Part 2, 8.3 and 8.4). An empty area binds to nothing.
 */
#ifndef VTPM_ENGINE_PCR_BINDING_H
#define VTPM_ENGINE_PCR_BINDING_H

#include "server/engine/pcr.h"

struct cmd;

#define PCR_BINDING_MAX 64 /* bytes of the longest one with 24 PCRs: 54 */

enum pcr_binding_form { PCR_BOUND_TO_NOTHING, PCR_BOUND_11, PCR_BOUND_12 };

struct pcr_binding {
    enum pcr_binding_form form;
    union {
        struct tpm_pcr_info v11;
        struct tpm_pcr_info_long v12;
    } info;
};

/*
 * Reads a whole area as the form of `is_12`. TPM_INVALID_PCR_INFO, TPM_INVALID_STRUCTURE (a wrong tag,
 * localities that cannot be), TPM_BAD_PARAM_SIZE.
 */
tpm_rc pcr_binding_read(struct pcr_binding *binding, bool is_12, const struct tpm_blob *area) VT_USE_RESULT;
/* How things are now: digestAtCreation and localityAtCreation. */
void pcr_binding_stamp(const struct cmd *c, struct pcr_binding *binding);
/* The area's bytes; out holds PCR_BINDING_MAX. Returns how many. */
uint8_t pcr_binding_write(const struct pcr_binding *binding, uint8_t out[PCR_BINDING_MAX]);
/* Part 1, 25.1: are PCRs and locality as digestAtRelease wants them? TPM_WRONGPCRVAL, TPM_BAD_LOCALITY. */
tpm_rc pcr_binding_check(const struct cmd *c, const struct pcr_binding *binding) VT_USE_RESULT;
/* What the release depends on; version 1.1 knows no localities: any will do. */
struct tpm_pcr_info_short pcr_binding_release(const struct pcr_binding *binding);
/* Does the release depend on a PCR? */
bool pcr_binding_uses_pcrs(const struct pcr_binding *binding);

#endif
