/* SPDX-License-Identifier: Apache-2.0 */
/* No TPM: every question is answered with where one was looked for. */
#include "hwtpm/ops.h"

static int none_open(struct hwtpm *tpm, const struct hwtpm_config *config, struct vt_why *why)
{
    (void)tpm;
    (void)config;
    return vt_fail(why, VT_ENOTFOUND, "this host shows no TPM (neither /dev/tpmrm0 nor /dev/tpm0): switch it on in the "
                   "firmware, load its driver, or use a key slot that needs none");
}

static void none_close(struct hwtpm *tpm)
{
    (void)tpm;
}

const struct hwtpm_ops hwtpm_none = {.kind = HWTPM_NONE, .name = "none", .open = none_open, .close = none_close};
