/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of secret that a command may prove, and every way to prove it: one table for the tests that need all. */
#ifndef VTPM_TESTS_UNIT_SECRET_KINDS_H
#define VTPM_TESTS_UNIT_SECRET_KINDS_H

#include "tests/spec/spec_keys.h"

/* A TPM with an owner, a key, sealed data, an NV area, a counter, an operator and a family. */
struct secret_world {
    struct tc *tc;
    uint32_t key, counter, family;
    struct sk_sealed sealed;
};

/* cmocka: *state is a struct secret_world. */
int secret_world_setup(void **state);
int secret_world_teardown(void **state);

struct secret_kind {
    const char *name;
    const char *secret; /* tc_secret's text of the right one */
    /* A command that proves it. */
    tpm_rc (*use)(struct secret_world *w, const struct vt_auth *secret);
};

extern const struct secret_kind secret_kinds[];
extern const size_t secret_kinds_count;

/* Three of them that tests tell apart: in the second session (TPM_AUTH2FAIL); not locked out; a plain one. */
tpm_rc secret_of_data(struct secret_world *w, const struct vt_auth *secret);
tpm_rc secret_of_reset(struct secret_world *w, const struct vt_auth *secret);
tpm_rc secret_of_key(struct secret_world *w, const struct vt_auth *secret);

#endif
