/* SPDX-License-Identifier: Apache-2.0 */
/* What this host must have before a vchan can be: said at start, with what to do. Any thread. */
#ifndef VTPM_XEN_SITE_H
#define VTPM_XEN_SITE_H

#include "server/base/err.h"

enum site_use {
    SITE_SERVER, /* event channels, grants to give */
    SITE_CLIENT, /* event channels, grants to map */
};

/* root: "" in programs; what stands before /dev and /sys. option: what was asked for ("--listen vchan"). VT_EUSAGE. */
int site_check(const char *root, enum site_use use, const char *option, struct vt_why *why) VT_USE_RESULT;
/* What the programs of this domain lock (slots.h). */
const char *site_lock_file(void);

#endif
