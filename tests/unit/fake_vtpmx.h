/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fake_vtpmx.c, in the shim, and the test agree on. The test listens on a Unix socket that keeps messages whole, in
 * a directory named by FAKE_VTPMX_ENV: each connection there is a device, in the order of their numbers; its end is the
 * kernel's. The file "shown-N" says that the kernel shows device N; "denied", that no device may be made.
 */
#ifndef VTPM_TESTS_FAKE_VTPMX_H
#define VTPM_TESTS_FAKE_VTPMX_H

#define FAKE_VTPMX_ENV    "VTPM_FAKE_VTPMX"
#define FAKE_VTPMX_SOCKET "kernel"

#endif
