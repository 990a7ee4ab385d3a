/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of a TPM by name: for profiles that people write, and for those who show them. A library of its own: the
 * broker knows limits without knowing TPMs. Any thread.
 */
#ifndef VTPM_ENGINE_PROFILE_H
#define VTPM_ENGINE_PROFILE_H

#include "server/engine/tpm.h"
#include "server/wire/cursor.h"

#define TPM_PROFILE_NAME 33 /* a profile's name: 1 to 32 characters and the NUL */

/* Of the profiles that are built in: NULL behind the last. */
const char *tpm_profile_name(size_t which);
/* false: none is called so. */
bool tpm_profile_named(const char *name, struct tpm_profile *out) VT_USE_RESULT;

/* One field of struct tpm_profile: from `least` to `most`; is_truth: false or true. */
struct tpm_limit {
    const char *name;
    uint32_t least, most;
    bool is_truth;
};
/* In the order of struct tpm_profile; NULL behind the last. */
const struct tpm_limit *tpm_limit(size_t which);
uint32_t tpm_limit_get(const struct tpm_profile *profile, size_t which);
/* VT_EUSAGE: no such limit, of the other kind, out of its range. why names limit, value and range. */
int tpm_limit_set(struct tpm_profile *profile, const char *name, int64_t value, bool is_truth,
                  struct vt_why *why) VT_USE_RESULT;
/* What only all of them together show. VT_EUSAGE. */
int tpm_profile_check(const struct tpm_profile *profile, struct vt_why *why) VT_USE_RESULT;

/* Field by field, as permanent state and SANDBOX_MANUFACTURE have it. */
#define TPM_PROFILE_BYTES (9 * 2 + 4 + 1)
void tpm_profile_write(struct wr *w, const struct tpm_profile *profile);
void tpm_profile_read(struct rd *r, struct tpm_profile *profile);
/*
 * The profile in frozen permanent state, for those who only show it; the rest is not looked at. false: there is no
 * profile that can be. The bytes may be anybody's.
 */
bool tpm_profile_of(const uint8_t *permanent, size_t len, struct tpm_profile *out) VT_USE_RESULT;

#endif
