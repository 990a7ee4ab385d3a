/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: the one wipe and the one comparison in constant time. Nothing else may compare or clear a secret.
 */
#ifndef VTPM_BASE_SECRET_H
#define VTPM_BASE_SECRET_H

#include "server/base/base.h"

/* Overwrites memory so that no compiler can drop it. Any thread. */
void vt_wipe(void *ptr, size_t len);

/* True if both are equal; time depends on len only. Any thread. */
bool vt_ct_equal(const void *a, const void *b, size_t len) VT_USE_RESULT;

/* 32-byte keys (master, instance, credential). Declare with VT_SECRET to have it wiped at the end of the scope. */
struct vt_key {
    uint8_t bytes[32];
};

/* TPM authorisation data and other 20-byte secrets (Part 2, 5.6 TPM_AUTHDATA). */
struct vt_auth {
    uint8_t bytes[20];
};

void vt_key_wipe(struct vt_key *key);
void vt_auth_wipe(struct vt_auth *auth);

#define VT_SECRET_KEY VT_CLEANUP(vt_key_wipe) struct vt_key
#define VT_SECRET_AUTH VT_CLEANUP(vt_auth_wipe) struct vt_auth

#endif
