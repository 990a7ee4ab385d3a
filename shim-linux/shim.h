/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a front end and its lanes on one libuv loop and runs until it is told to stop. */
#ifndef VTPM_SHIM_SHIM_H
#define VTPM_SHIM_SHIM_H

#include "shim-linux/options.h"

/* Borrows options. VT_OK after SIGTERM or SIGINT. */
int shim_run(const struct options *options, struct vt_why *why) VT_USE_RESULT;

#endif
