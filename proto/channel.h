/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel: TLS, frames and protobuf messages in one machine without I/O, the same for server and shims on every
 * transport. Bytes in with channel_feed, bytes out with channel_output, messages with channel_next and
 * channel_send. PROTOCOL.md is normative; the order of messages is a transition table in channel.c, and a message
 * out of order is VT_EPROTO for both sides. One thread at a time.
 */
#ifndef VTPM_PROTO_CHANNEL_H
#define VTPM_PROTO_CHANNEL_H

#include "proto/tls.h"
#include "proto/vtpm.pb-c.h"

struct channel;

/* Where the conversation stands; both sides walk the same table. */
enum channel_phase {
    CHANNEL_HANDSHAKE,  /* TLS */
    CHANNEL_HELLO,      /* both send Hello */
    CHANNEL_IDLE,       /* Attach may be sent */
    CHANNEL_ATTACHED,   /* PowerOn, Execute, Cancel, Platform, Detach */
    CHANNEL_CLOSED
};

/* Takes the configuration of the TLS part (copied). Returns owned (channel_free). */
int channel_new(struct channel **ch, const struct tls_config *config) VT_USE_RESULT;
void channel_free(struct channel *ch);

/* At most 64 KiB at a time; then call channel_next until VT_EAGAIN. VT_ETOOBIG: the peer floods: close. */
int channel_feed(struct channel *ch, const void *bytes, size_t len) VT_USE_RESULT;
struct vt_buf *channel_output(struct channel *ch);

/* VT_OK: open. VT_EAGAIN: needs the peer. Else: send the output, then close. On a worker (see tls.h). */
int channel_handshake(struct channel *ch, struct vt_why *why) VT_USE_RESULT;
bool channel_is_open(const struct channel *ch);
enum channel_phase channel_phase(const struct channel *ch);
/* That both sides speak; 0 until both have said Hello. */
uint32_t channel_version(const struct channel *ch);
const char *channel_identity(const struct channel *ch);
bool channel_identity_known(const struct channel *ch);

/*
 * The next message of the peer, checked against the phase and against bounds (field lengths, sizes). *msg returns
 * owned (channel_message_free). VT_EAGAIN: none yet. VT_ECLOSED: the peer closed in order. VT_EPROTO/VT_ETOOBIG:
 * close; why says what was wrong.
 */
int channel_next(struct channel *ch, Vtpm__Message **msg, struct vt_why *why) VT_USE_RESULT;
/* Wipes the command and response bytes in it; may be NULL. */
void channel_message_free(Vtpm__Message *msg);

/* Borrows msg. VT_EPROTO when the phase does not allow it (a fault of ours), VT_ETOOBIG when the output is full. */
int channel_send(struct channel *ch, const Vtpm__Message *msg) VT_USE_RESULT;
/* Queues close_notify; nothing may be sent afterwards. */
void channel_close(struct channel *ch);
/* Sends Error{fatal} with this code and text (cut to 512 bytes), then close_notify. */
void channel_refuse(struct channel *ch, int err, const char *text);

#endif
