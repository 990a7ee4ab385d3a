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

struct relay_advice {
    int err;
    enum relay_class reconnect; /* after a fatal Error or a failed handshake */
    /* After an Error that answers an Execute: false, resend it; true, it was refused for good and not executed. */
    bool refuses_command;
    const char *todo;
};

/* Never NULL; err is negative. */
const struct relay_advice *relay_advice(int err);

#endif
