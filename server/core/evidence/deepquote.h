/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TPM as a witness: its attestation key, made and kept, and deep quotes by it
 * (docs/attestation.md). The TPM is asked on a worker, by one caller after the other; loop thread otherwise.
 */
#ifndef VTPM_CORE_DEEPQUOTE_H
#define VTPM_CORE_DEEPQUOTE_H

#include "server/core/evidence/evidence.h"

struct broker;

/* What came of it; borrowed by the callback. */
struct deepquote_answer {
    int err; /* VT_ENOTFOUND: no TPM, or no key of it; VT_EKEY: not this TPM's key; else as hwtpm.h says */
    const char *text; /* why */
    const uint8_t *evidence;
    size_t len;
};
typedef void (*deepquote_done)(void *arg, const struct deepquote_answer *answer);

/*
 * `statement` is copied and is what the caller vouches for; its store is filled in here. done is called once,
 * later; before this returns if there is no memory for a worker. VT_ENOMEM; VT_ENOTFOUND: this server uses no
 * TPM of the host.
 */
int deepquote_start(struct broker *broker, const struct evidence_statement *statement, uint32_t host_mask,
                    deepquote_done done, void *arg, struct vt_why *why) VT_USE_RESULT;

/*
 * The attestation key of a TPM of this kind, from the store. A worker's. VT_ENOTFOUND; VT_EKEY: the one that
 * is there is of the other kind.
 */
int deepquote_key(struct broker *broker, enum hwtpm_kind kind, struct hwtpm_key *key,
                  struct vt_why *why) VT_USE_RESULT;

#endif
