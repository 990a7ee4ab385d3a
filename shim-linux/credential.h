/* SPDX-License-Identifier: Apache-2.0 */
/* The credential file that vtpmctl makes: proto/credential.h says what is in it. */
#ifndef VTPM_SHIM_CREDENTIAL_H
#define VTPM_SHIM_CREDENTIAL_H

#include "proto/credential.h"

/*
 * Refuses a file that others than its owner may read or write (VT_EPERM). VT_ENOTFOUND, VT_EIO; and what
 * credential_parse gives. The caller wipes the credential (credential_wipe).
 */
int credential_read(struct credential *credential, const char *path, struct vt_why *why) VT_USE_RESULT;

#endif
