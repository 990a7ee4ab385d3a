/* SPDX-License-Identifier: Apache-2.0 */
/* What vtpmctl writes into a credential file: lines `uuid=` or `identity=host:NAME`, and `key=`. No I/O. */
#ifndef VTPM_PROTO_CREDENTIAL_H
#define VTPM_PROTO_CREDENTIAL_H

#include "server/base/err.h"
#include "server/base/secret.h"
#include "server/base/text.h"

#define CREDENTIAL_TEXT_MAX 4096

struct credential {
    char identity[80];
    struct vt_uuid uuid;    /* of the instance, if the file names it */
    bool has_uuid;
    struct vt_key key;
};

/*
 * Alters text, which the caller wipes. path: how messages call it. VT_EUSAGE names the line; nothing of the key is left
 * behind then. The caller wipes the credential (credential_wipe).
 */
int credential_parse(struct credential *credential, char *text, const char *path, struct vt_why *why) VT_USE_RESULT;
void credential_wipe(struct credential *credential);

#endif
