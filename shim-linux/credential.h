/* SPDX-License-Identifier: Apache-2.0 */
/* The credential file that vtpmctl makes: `uuid=` or `identity=host:NAME`, and `key=`. */
#ifndef VTPM_SHIM_CREDENTIAL_H
#define VTPM_SHIM_CREDENTIAL_H

#include "server/base/err.h"
#include "server/base/secret.h"
#include "server/base/text.h"

struct credential {
    char identity[80];
    struct vt_uuid uuid;    /* of the instance, if the file names it */
    bool has_uuid;
    struct vt_key key;
};

/*
 * Refuses a file that others than its owner may read or write (VT_EPERM). VT_ENOTFOUND, VT_EIO; VT_EUSAGE names the
 * line. The caller wipes the credential (credential_wipe).
 */
int credential_read(struct credential *credential, const char *path, struct vt_why *why) VT_USE_RESULT;
void credential_wipe(struct credential *credential);

#endif
