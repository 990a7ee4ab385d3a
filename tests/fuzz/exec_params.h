/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzz_engine_exec knows of a TPM from the outside, and parameters that make sense for each ordinal. */
#ifndef VTPM_TESTS_FUZZ_EXEC_PARAMS_H
#define VTPM_TESTS_FUZZ_EXEC_PARAMS_H

#include "tests/fuzz/fuzz_tpm.h"

#define EXEC_SESSIONS 4
#define EXEC_KEYS 6
#define EXEC_BLOB_MAX 1024

/* A session from the client's side. */
struct exec_session {
    uint32_t handle;        /* 0: none */
    bool osap;
    struct vt_auth secret;  /* HMAC key */
    struct tpm_nonce even, odd;
};

struct exec_blob {
    size_t len;
    uint8_t bytes[EXEC_BLOB_MAX];
};

struct exec {
    struct tpm *tpm;
    uint64_t now_us;
    struct exec_session sessions[EXEC_SESSIONS];
    unsigned next_session, next_key;
    uint32_t keys[EXEC_KEYS];
    uint32_t last_handle;
    uint64_t nonces;
    struct exec_blob key, sealed, context; /* the last ones that a command gave */
    struct exec_session *auth[2];   /* of the command that is being built */
    unsigned auths;
};

/*
 * The parameters of ordinal, by choice of `a` and `b`; nothing for ordinals that have none or that are not known
 * here: the input then gives all.
 */
void exec_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b);
/* One of the handles a guest may name: n picks. */
uint32_t exec_handle(const struct exec *x, unsigned n);

#endif
