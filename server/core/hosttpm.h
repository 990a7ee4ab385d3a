/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TPM as the running server uses it, apart from key slots: which one there is, and random numbers from it for
 * the keys that the server makes. Loop thread; the TPM itself is asked on workers.
 */
#ifndef VTPM_CORE_HOSTTPM_H
#define VTPM_CORE_HOSTTPM_H

#include "hwtpm/hwtpm.h"

struct broker;
struct hosttpm;

/* "auto", "none", "tpm2[:tcti=CONF]", "tpm12[:device=PATH]". */
int hosttpm_parse(struct hwtpm_config *config, const char *text, struct vt_why *why) VT_USE_RESULT;

/* Says what is there and begins to collect, at once and every ten minutes. config NULL: does nothing. Returns owned. */
int hosttpm_start(struct hosttpm **host, struct broker *broker, const struct hwtpm_config *config) VT_USE_RESULT;
/* Its work is over by then (broker_work). May be NULL. */
void hosttpm_free(struct hosttpm *host);
/* Where it is, for work of others on it (hwtpm_run); NULL: there is none, or it is not used. host may be NULL. */
const struct hwtpm_config *hosttpm_config(const struct hosttpm *host);
/* For `status`: what it is and what came of it. host may be NULL. */
const char *hosttpm_text(const struct hosttpm *host);

#endif
