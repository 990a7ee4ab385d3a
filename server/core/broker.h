/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker as the listeners and the admin socket see it: sessions for channels, verbs for administrators. It owns
 * store, keys, registry, zygote. Loop thread unless said otherwise.
 */
#ifndef VTPM_CORE_BROKER_H
#define VTPM_CORE_BROKER_H

#include "hwtpm/hwtpm.h"
#include "proto/admin.pb-c.h"
#include "proto/vtpm.pb-c.h"
#include "server/base/domain.h"
#include "server/base/secret.h"
#include "server/core/keyslot/keyslot.h"
#include "server/core/keypool/keypool.h"
#include "server/core/loop.h"

struct anchor_config;
struct broker;
struct session;

struct broker_config {
    const char *data_dir;
    const char *runtime_dir;        /* NULL: $RUNTIME_DIRECTORY, /run/vtpm-server/<store uuid>, DIR/run */
    const char *engine_path;
    const struct hwtpm_config *hwtpm; /* the host's TPM, borrowed during the call; NULL: none is used but by key slots */
    const struct anchor_config *anchor; /* protection against an older copy of the whole store; NULL: none */
    const struct keyslot_spec *keyslots; /* tried in order; the one that opens is named in the log */
    size_t keyslot_count;
    uint32_t idle_s;                /* an engine without commands leaves after this; 0: default 60 */
    uint32_t request_limit_ms;      /* for an engine to do one request; 0: default 30 s */
    struct keypool_config keypool;  /* zeros: none */
    uint8_t boot_id[16];
    char *const *listeners;         /* texts for `status`; borrowed, may be filled in later */
    size_t listener_count;
};

/* Opens store and keys, starts the zygote and waits for its self-tests; then ready. Returns owned. */
int broker_start(struct broker **broker, struct loop *loop, const struct broker_config *config, struct vt_why *why) VT_USE_RESULT;
/* Stops taking commands, finishes those under way, flushes, then calls done once. */
void broker_drain(struct broker *broker, void (*done)(void *arg), void *arg);
/* After drain, or at once when start-up failed half-way. */
void broker_free(struct broker *broker);

/* ---- Channels (server/net) ---- */

/* The key for an identity, decoy included (tls.h). Any thread. */
void broker_psk(struct broker *broker, const char *identity, struct vt_key *key, bool *known);
/*
 * Which of an identity's keys is the present one; 0: it has none. A handshake takes time: asked before
 * broker_psk and again before session_new, it tells whether the key was rotated or taken away meanwhile. Any thread.
 */
uint64_t broker_psk_version(struct broker *broker, const char *identity);

/* Why broker_psk does not know an identity, for the log only; reads the store. Any thread. */
const char *broker_stranger(struct broker *broker, const char *identity);

/*
 * Is a living instance bound to this domain? Then a vchan is offered to it. False, and a line in the log, while the
 * store cannot be read. Any thread; reads the store.
 */
bool broker_domain_bound(struct broker *broker, const struct vt_domain *domain);

/* How a session reaches its channel. Both may be called from within session_message. */
struct session_io {
    void (*send)(void *io, const Vtpm__Message *msg);              /* borrows */
    void (*close)(void *io, int err, const char *text);            /* Error{fatal}; then session_closed follows */
};
/* Who is at the other end of a channel; borrowed during the call. */
struct channel_peer {
    const char *text;               /* for logs: "tcp:127.0.0.1:5123", "unix:pid=17,uid=0", "vchan:5" */
    const struct vt_domain *domain; /* on a vchan; NULL on every other transport */
};
/* After the handshake; identity as authenticated. On a vchan every attach must also match the instance's binding. */
int session_new(struct session **session, struct broker *broker, const char *identity, const struct channel_peer *peer,
                const struct session_io *ops, void *io) VT_USE_RESULT;
/* Borrows msg; in the channel's order of messages. */
void session_message(struct session *session, const Vtpm__Message *msg);
/* False while a command is queued: the listener stops reading (back pressure). */
bool session_ready(const struct session *session);
/* Called when that changes to true again. */
void session_on_ready(struct session *session, void (*fn)(void *io));
/* The transport is gone; frees the session. Its command in flight finishes and is recorded. */
void session_closed(struct session *session);

/* ---- Administration (server/net/admin) ---- */
enum admin_role { ADMIN_NONE, ADMIN_MONITOR, ADMIN_FULL };
/* Borrows request during the call; reply is called once, now or later. Refuses by role and logs it. */
void broker_admin(struct broker *broker, enum admin_role role, const char *peer, const Vtpm__AdminRequest *request,
                  void (*reply)(void *arg, const Vtpm__AdminReply *reply), void *arg);
/* A peer without any role was turned away: an event, at most a few in ten minutes. */
void broker_admin_stranger(struct broker *broker, const char *peer);

#endif
