/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: the one wipe and the one comparison in constant time. Nothing else may compare or clear a secret.
 */
#ifndef VTPM_BASE_SECRET_H
#define VTPM_BASE_SECRET_H

#include "server/base/base.h"

/* Overwrites memory so that no compiler can drop it. Any thread. */
void vt_wipe(void *ptr, size_t len);
/* The same for large memory of which little was ever used: pages that hold only zeros are not written, so that they stay
 * the zero page of the kernel or shared with another process. */
void vt_wipe_sparse(void *ptr, size_t len);

/* True if both are equal; time depends on len only. The answer is no secret: callers branch on it. Any thread. */
bool vt_ct_equal(const void *a, const void *b, size_t len) VT_USE_RESULT;
/* 0 if both are equal; the same, where the answer is a part of a secret one (server/crypto/rsa_pad.c). Any thread. */
uint8_t vt_ct_differs(const void *a, const void *b, size_t len) VT_USE_RESULT;

/*
 * What is made of a secret here is public from now on: the one verdict, after all of it was looked at. Does nothing;
 * tests/timing is built with a function of its own, which tells valgrind, and that complains of every other branch.
 */
#ifdef VTPM_CT_TEST
void vt_ct_public(void *ptr, size_t len);
#else
static inline void vt_ct_public(void *ptr VT_UNUSED, size_t len VT_UNUSED)
{
}
#endif

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
