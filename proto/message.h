/* SPDX-License-Identifier: Apache-2.0 */
/* Channel messages: the bounds of their fields (PROTOCOL.md, "Limits") and bytes to message and back. Any thread. */
#ifndef VTPM_PROTO_MESSAGE_H
#define VTPM_PROTO_MESSAGE_H

#include "proto/vtpm.pb-c.h"
#include "server/base/buf.h"

#define MESSAGE_COMMAND_MIN 10
#define MESSAGE_COMMAND_MAX 4096
#define MESSAGE_TEXT_MAX    256
/* Error.text carries a whole struct vt_why. */
#define MESSAGE_ERROR_MAX   512
#define MESSAGE_STREAM      16
#define MESSAGE_DOMAIN_MAX  64
#define MESSAGE_TICKET      120
#define MESSAGE_NAME_MAX    64
#define MESSAGE_PART_MAX    12288 /* of a bundle */
#define MESSAGE_STATE_MAX   (256u * 1024) /* a bundle that a monitor carries */
/* Memory that one message may take once unpacked, fields we do not know included. */
#define MESSAGE_BUDGET      (64u * 1024)

/* Lower-case name as in PROTOCOL.md; "nothing" when no body is set. */
const char *message_name(const Vtpm__Message *msg);
/* VT_EPROTO and the field's name in why. For both directions: we do not send what we would not take. */
int message_check(const Vtpm__Message *msg, struct vt_why *why) VT_USE_RESULT;

/* Unpacks and checks. *msg returns owned (pb_free). */
int message_unpack(const uint8_t *bytes, size_t len, Vtpm__Message **msg, struct vt_why *why) VT_USE_RESULT;
/* Checks, then appends one frame. VT_ETOOBIG past FRAME_MAX or the buffer's limit. */
int message_pack(const Vtpm__Message *msg, struct vt_buf *out) VT_USE_RESULT;

#endif
