/* SPDX-License-Identifier: Apache-2.0 */
/* A session as the rest of the core sees it. Loop thread. */
#ifndef VTPM_CORE_SESSION_PRIV_H
#define VTPM_CORE_SESSION_PRIV_H

#include "server/core/broker_priv.h"

/* Tells the peer why and closes its channel; session_closed follows. The instance is let go at once. */
void session_close(struct session *session, int err, const char *text);
/* Closes every session that was authenticated as this identity. */
void broker_close_identity(struct broker *broker, const char *identity, int err, const char *text);
const char *session_peer(const struct session *session);
/* The instance's bindings are fewer: its channel is closed if it comes from a domain that is not bound any more. */
void session_recheck(struct session *session);

#endif
