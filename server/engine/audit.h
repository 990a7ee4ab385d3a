/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Auditing (Part 3, 8.1): commands that are audited and succeed extend auditDigest by their input and output.
 * An audit session begins with the digest at zero: then auditMonotonicCounter counts once.
 */
#ifndef VTPM_ENGINE_AUDIT_H
#define VTPM_ENGINE_AUDIT_H

#include "server/engine/cmd.h"

/* Is this row's command audited as things are? */
bool audit_is_on(const struct tpm *tpm, const struct cmd_row *row);
/* Ones that report on the audit cannot be (Part 3, 8.3 and 8.4); nor what is not implemented. */
bool audit_may_be(const struct tpm *tpm, const struct cmd_row *row);
void audit_set(struct tpm *tpm, const struct cmd_row *row, bool on);

/*
 * Extends the digest by what went in and what came out; NULL: not that part. TPM_AUDITFAIL_SUCCESSFUL and
 * failure mode if it cannot be done: the command has been executed all the same.
 */
tpm_rc audit_extend(struct tpm *tpm, const uint8_t in[CR_SHA1_LEN],
                    const uint8_t out[CR_SHA1_LEN]) VT_USE_RESULT;

/* auditMonotonicCounter as it is told. */
struct tpm_counter_value audit_counter(const struct tpm *tpm);

#endif
