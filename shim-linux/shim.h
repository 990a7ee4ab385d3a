/* SPDX-License-Identifier: Apache-2.0 */
/* Puts front end, relay and upstream on one libuv loop and runs until it is told to stop. */
#ifndef VTPM_SHIM_SHIM_H
#define VTPM_SHIM_SHIM_H

#include "shim-linux/credential.h"
#include "shim-linux/options.h"

/* Borrows both. VT_OK after SIGTERM or SIGINT. */
int shim_run(const struct options *options, const struct credential *credential, struct vt_why *why) VT_USE_RESULT;

#endif
