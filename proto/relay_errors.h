/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim does about each error that a server can name, and what it tells people to do: one table. */
#ifndef VTPM_PROTO_RELAY_ERRORS_H
#define VTPM_PROTO_RELAY_ERRORS_H

#include "server/base/err.h"

enum relay_class {
    RELAY_SOON,     /* passes by itself: again after a short delay */
    RELAY_SLOWLY,   /* somebody has to act first: again, but not often */
    RELAY_NEVER     /* another shim has taken the instance over */
};

/* After an Error that answers an Execute. */
enum relay_outcome {
    RELAY_RESEND,   /* the same number again, until there is an outcome */
    RELAY_REFUSED,  /* not executed, for good: TPM_FAIL */
    RELAY_NOT_NOW,  /* not executed: resent for a short while, then the guest is told to try again: TPM_RETRY */
    RELAY_IN_DOUBT  /* as RELAY_NOT_NOW, but it may have been executed: the number stays the command's */
};

struct relay_advice {
    int err;
    enum relay_class reconnect; /* after a fatal Error or a failed handshake */
    enum relay_outcome command;
    const char *todo;
};

/* Never NULL; err is negative. */
const struct relay_advice *relay_advice(int err);
/* The server is there, but its store takes nothing now. */
bool relay_no_store(int err);

#endif
