/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages from hostile bytes: memory comes from vt_alloc, is bounded per message, and is wiped when it is
 * freed, whatever field it held. For channel messages and for the admin socket. Any thread.
 */
#ifndef VTPM_PROTO_PB_H
#define VTPM_PROTO_PB_H

#include <protobuf-c/protobuf-c.h>

#include "server/base/err.h"

/*
 * Unpacks a message whose parts may take `budget` bytes of memory together (unknown fields included). *msg returns
 * owned (pb_free). VT_EPROTO: not a message of this kind; VT_ETOOBIG: over the budget; VT_ENOMEM.
 */
int pb_unpack(const ProtobufCMessageDescriptor *kind, const uint8_t *bytes, size_t len, size_t budget,
              ProtobufCMessage **msg) VT_USE_RESULT;
/* Wipes every part; only for messages of pb_unpack; may be NULL. */
void pb_free(ProtobufCMessage *msg);

#endif
