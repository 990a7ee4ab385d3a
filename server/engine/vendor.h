/* SPDX-License-Identifier: Apache-2.0 */
/* The one command that TPM 1.2 does not have: a deep quote (docs/attestation.md). Apart from commands.def's
 * rows. */
#ifndef VTPM_ENGINE_VENDOR_H
#define VTPM_ENGINE_VENDOR_H

#include "server/engine/cmd.h"

#define VENDOR_ORD_DEEP_QUOTE (TPM_VENDOR_COMMAND | 1u)

/* NULL: it is another ordinal, or whoever runs this engine has no evidence to give. Never a row for the
 * audit. */
const struct cmd_row *vendor_row_find(const struct tpm *tpm, uint32_t ordinal);

#endif
