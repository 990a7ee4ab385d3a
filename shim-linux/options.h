/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of vtpm-shim. */
#ifndef VTPM_SHIM_OPTIONS_H
#define VTPM_SHIM_OPTIONS_H

#include "server/base/err.h"
#include "server/base/text.h"

struct options {
    const char *upstream;
    const char *credential;
    const char *credential_dir;
    const char *frontend;
    const char *runtime_dir;
    bool migrate_state;     /* swtpm: the state itself goes along */
    const char *migrate_to; /* swtpm: a peer of the server; NULL: its only one */
    const char *device_link;
    int startup;            /* enum Vtpm__Startup */
    uint64_t hold_ms;       /* 0: without limit */
    struct vt_uuid instance;
    bool has_instance;
};

/* What main does next. */
enum options_then { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

/* Borrows argv. VT_EUSAGE: why names the option, its value and what would be right. */
int options_read(struct options *options, enum options_then *then, int argc, char **argv, struct vt_why *why) VT_USE_RESULT;
const char *options_help(void);

#endif
