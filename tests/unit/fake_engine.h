/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test double for server/engine: it keeps two counters, so that what goes through a sandbox can be seen.
 * A command's byte 10, if there, is the `dirty` it causes and raises those counters; the response is a
 * header, the locality, the clock and both counters, then the command itself. The permanent state is as
 * long as profile.nv_bytes.
 */
#ifndef VTPM_TESTS_FAKE_ENGINE_H
#define VTPM_TESTS_FAKE_ENGINE_H

#include "server/engine/tpm.h"

#define FAKE_PERMANENT_MIN 16
#define FAKE_RESPONSE_HEAD (10 + 1 + 8 + 4 + 4)

#endif
