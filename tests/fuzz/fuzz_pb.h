/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf messages under a fuzzer. */
#ifndef VTPM_TESTS_FUZZ_PB_H
#define VTPM_TESTS_FUZZ_PB_H

#include <protobuf-c/protobuf-c.h>

#include "server/base/base.h"

/*
 * Does it, or a message in it, hold fields that its kind does not have? protobuf-c keeps them and would write them
 * out again, some (field 0, tags in more bytes than needed) as what it would not read. We never send what we received.
 */
bool fuzz_pb_has_unknown(const ProtobufCMessage *msg);

#endif
