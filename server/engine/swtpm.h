/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM 1.2 that swtpm and libtpms kept, taken over (docs/swtpm-import.md has the format). The file's bytes may be
 * anybody's: they are read here only, in the sandbox, and either make a TPM that was proved to work, or none.
 */
#ifndef VTPM_ENGINE_SWTPM_H
#define VTPM_ENGINE_SWTPM_H

#include "server/engine/tpm.h"

/* libtpms writes at most 100,000 bytes; the rest is swtpm's frame. */
#define TPM_SWTPM_FILE_MAX (128u * 1024)
#define TPM_SWTPM_KEY_MAX  32

/* What opens an encrypted file. */
struct tpm_swtpm_key {
    uint8_t len;        /* 0: none; else 16 or 32 */
    bool derived;       /* from a password: a file of 128 bits takes the first half of 32 bytes */
    uint8_t bytes[TPM_SWTPM_KEY_MAX];
};

/* What came along, for people. */
struct tpm_swtpm_facts {
    bool has_ek, owned, disabled, deactivated;
    uint32_t nv_areas, nv_bytes, counters, owner_keys, families, delegations;
};

/*
 * tpm-00.permall as swtpm keeps it in its directory. The TPM is as it was under swtpm while that did not run, with the
 * limits of `profile`, off; what is not in that file begins anew. It was proved: its keys work, what freezes thaws to the
 * same, and a copy of it starts and tests itself. Returns owned. VT_EDAMAGED, VT_ENOTSUP, VT_EKEY, VT_EUSAGE (a limit of
 * the profile), VT_ENOMEM, VT_ECRYPTO: why names field, offset, value and what to do.
 */
int tpm_from_swtpm(struct tpm **tpm, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                   const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, const struct tpm_ops *ops,
                   struct tpm_swtpm_facts *facts, struct vt_why *why) VT_USE_RESULT;

#endif
