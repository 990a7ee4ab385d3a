/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker without store and engines, for tests of what stands in front of it: it knows one identity, echoes
 * commands and remembers what it was asked.
 */
#ifndef VTPM_TESTS_FAKE_BROKER_H
#define VTPM_TESTS_FAKE_BROKER_H

#include <stdatomic.h>

#include "server/base/list.h"
#include "server/core/broker.h"

#define FAKE_IDENTITY "11111111-2222-4333-8444-555555555555"
#define FAKE_DISABLED "33333333-2222-4333-8444-555555555555"
#define FAKE_KEY_BYTE 0x5a /* the key is 32 of them */
#define FAKE_CLOSE    0xcc /* a command that begins so makes the session close its channel */

struct broker {
    atomic_uint psk_calls; /* workers */
    atomic_uint version;   /* of the key */
    bool rotate;           /* between broker_psk and session_new */
    unsigned sessions_made, sessions_now, messages;
    int refuse_session; /* what session_new returns */
    bool hold;          /* Execute is answered by fake_release */
    struct vt_list sessions;
    unsigned admin_calls;
    enum admin_role last_role;
    bool (*bound)(const struct vt_domain *domain); /* broker_domain_bound; NULL: every domain is; any thread */
    struct vt_domain last_domain;                  /* of the last session; domid UINT32_MAX: it had none */
    void (*reply)(void *arg, const Vtpm__AdminReply *reply); /* of InstanceList: answered by fake_reply */
    void *reply_arg;
};

void fake_broker_init(struct broker *broker);
/* Answers every command that is held. */
void fake_release(struct broker *broker);
/* Every session sends an Error that is not fatal, with a text of len bytes. */
void fake_shout(struct broker *broker, size_t len);
/* Answers the InstanceList that waits. */
void fake_reply(struct broker *broker);

#endif
