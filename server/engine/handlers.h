/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One handler per ordinal: decoded input in, decoded output out; `out` is zero on entry. TPM_SUCCESS or the
 * code to answer; whatever a failure must do to sessions is the pipeline's work. Blobs in `out` point into
 * the command's arena (cmd_alloc) or into `in`.
 */
#ifndef VTPM_ENGINE_HANDLERS_H
#define VTPM_ENGINE_HANDLERS_H

#include "server/engine/cmd.h"

#define TPM_CMD(code, name, ...)                                                                             \
    tpm_rc cmd_##name(struct cmd *c, const struct name##_in *in, struct name##_out *out) VT_USE_RESULT;
#define TPM_CMD_ABSENT(code, name, ...)
#include "server/engine/commands.def"
#undef TPM_CMD
#undef TPM_CMD_ABSENT

#endif
