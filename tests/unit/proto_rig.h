/* SPDX-License-Identifier: Apache-2.0 */
/* A client's and a server's channel face to face in memory, with numbers that only look random. */
#ifndef VTPM_TESTS_PROTO_RIG_H
#define VTPM_TESTS_PROTO_RIG_H

#include "proto/channel.h"
#include "proto/message.h"

#define RIG_IDENTITY "00112233-4455-6677-8899-aabbccddeeff"

struct rig {
    struct channel *client;
    struct channel *server;
    struct vt_key key;            /* that the server knows for RIG_IDENTITY */
    struct vt_key client_key;
    const char *identity;         /* that the client names */
    char asked[TLS_IDENTITY_MAX + 1]; /* what the server's callback was asked for */
    tls_spare_fn spare;           /* of both */
    size_t step;                  /* bytes carried at once; 0: all there are */
    size_t to_client, to_server;  /* bytes carried so far */
    uint8_t last_to_client[64];   /* the last bytes carried */
    size_t last_len;
};

/* Deterministic; ctx is unused. */
int rig_random(void *ctx, unsigned char *out, size_t len);
void rig_psk(void *ctx, const char *identity, struct vt_key *key, bool *known);

void rig_defaults(struct rig *rig);
/* Makes both channels. */
int rig_start(struct rig *rig);
void rig_stop(struct rig *rig);

/* Carries what is queued in one direction; false if there was nothing. */
bool rig_carry(struct rig *rig, bool to_client);
/* Handshake until both are open or one has failed: their results. */
void rig_shake(struct rig *rig, int *client, int *server);
/* Opens, says Hello both ways; asserts success. */
void rig_open(struct rig *rig);
/* And attaches. */
void rig_attach(struct rig *rig);

/* Carries everything both ways, then takes one message. */
int rig_next(struct rig *rig, struct channel *ch, Vtpm__Message **msg);
/* Sends one, carries it, receives it on the other side, frees it: the receiver's result. */
int rig_pass(struct rig *rig, struct channel *from, const Vtpm__Message *msg);

/* Makers of valid messages: valid until the next call of the same maker. */
Vtpm__Message *make_hello(void);
Vtpm__Message *make_attach(void);
Vtpm__Message *make_attached(void);
Vtpm__Message *make_power_on(void);
Vtpm__Message *make_power_result(void);
Vtpm__Message *make_execute(uint64_t n, size_t len);
Vtpm__Message *make_response(uint64_t n, size_t len);
Vtpm__Message *make_cancel(uint64_t n);
Vtpm__Message *make_detach(void);
Vtpm__Message *make_error(bool fatal);
Vtpm__Message *make_platform(void);
Vtpm__Message *make_platform_result(void);
/* Version 2. */
Vtpm__Message *make_hello_2(void);
Vtpm__Message *make_ticket_ask(void);
Vtpm__Message *make_ticket(void);
Vtpm__Message *make_ticket_bring(void);
Vtpm__Message *make_ticket_taken(void);
Vtpm__Message *make_peer_ask(void);
Vtpm__Message *make_peer_answer(void);
Vtpm__Message *make_ticket_read(void);
Vtpm__Message *make_state_bring(void);

#endif
