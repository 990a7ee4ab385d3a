/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the relay: relay.c has life, transport and time, relay_talk.c the conversation and the numbers. */
#ifndef VTPM_PROTO_RELAY_STATE_H
#define VTPM_PROTO_RELAY_STATE_H

#include "proto/relay.h"

#define TPM_FAIL  0x009
#define TPM_RETRY 0x800

enum state {
    DOWN,       /* until retry_at */
    CONNECTING, /* the shim was told to connect */
    GREETING,   /* TLS, Hello, Attach, PowerOn */
    HELD,       /* a ticket was taken: it attaches when something is to be done */
    READY
};

struct command {
    uint8_t *bytes; /* NULL: there is none */
    size_t len;
    uint32_t locality;
    uint64_t n;     /* 0: not yet numbered, so never sent */
    bool noted;     /* config.note has heard of it since it was taken */
    uint64_t since_ms;
    uint64_t not_now_ms; /* the server's first "not now"; 0: none since it was taken */
};

/* A monitor's. */
struct deed {
    int kind;       /* enum relay_deed_kind; 0: there is none */
    int startup;
    uint8_t locality;
    uint8_t *bytes;
    size_t len;
    bool is_sent;   /* a Platform, perhaps on an earlier connection */
    bool is_off_sent; /* on this connection */
    bool is_hurried;  /* RELAY_BRING: was spared one pause */
    uint64_t since_ms;
    uint64_t not_now_ms;
};

/* The last command the server has on record, as it said at Attached. */
struct position {
    uint8_t stream[MESSAGE_STREAM];
    uint64_t n;
};

struct relay {
    struct relay_config config;
    char identity[TLS_IDENTITY_MAX + 1];
    char label[96];
    struct vt_key key;

    enum state state;
    struct channel *ch;
    bool close_wanted;
    bool ended;
    int ended_err;
    int last_err;           /* why the connection is being closed; VT_OK: it just went away */
    bool key_refused;       /* the last connection ended by VT_EAUTH */
    unsigned failures;      /* since READY */
    bool slowly;            /* somebody has to act before it makes sense to connect again */
    uint64_t retry_at;
    uint64_t attach_by;
    bool is_moved;          /* the instance lives on another server, for all that the last one said: nobody waits for it */
    bool was_ready;         /* on this connection */
    uint64_t away_since;    /* when the last connection that was ready went away */
    bool is_not_now;        /* the last Execute was answered "not now" */
    uint64_t no_store_since; /* the server is there, but its store takes nothing: no Attach, no PowerOn; 0: no */
    uint64_t resend_at;     /* UINT64_MAX: nothing to resend on this connection */
    char said[sizeof(((struct vt_why *)0)->text)]; /* the last complaint: each is logged once */

    uint8_t stream[MESSAGE_STREAM];
    uint64_t last_n;        /* the last number whose outcome is known */
    struct position seen;   /* at this Attached */
    struct position before; /* when the number under way was given */
    struct command command;
    struct deed deed;
    bool is_bringing;       /* on this connection: TicketBring, without an answer yet */
    bool is_held;           /* `held` stands for the instance until this shim has seen Attached */
    struct carried {
        uint8_t *bytes;     /* a ticket, or a bundle; owned */
        size_t len, have;   /* have: of them, got or sent so far */
    } held, given;          /* given: RELAY_TICKET's result, or RELAY_STATE's */
    bool has_result;
    struct relay_result result;
    uint64_t now_ms;        /* of the last event */
    struct command doubt;   /* given up while its outcome was unknown; its number is not free yet */

    bool has_response;
    const uint8_t *response;
    size_t response_len;
    Vtpm__Message *response_msg;
    uint8_t own_response[10];
};

/* ---- relay.c ---- */

void relay_command_drop(struct command *command);
/* Logs what is wrong, once until it changes or passes. */
void relay_complain(struct relay *relay, const struct vt_why *why, const char *todo);
/* The connection is of no more use. */
void relay_give_up(struct relay *relay, int err, const struct vt_why *why);
/* The same, with a text made of what failed and err. */
void relay_fail(struct relay *relay, int err, const char *what);
/* What stands under a number, with the position it was given at. Borrowed. */
struct relay_mark relay_mark_of(const struct relay *relay, const struct command *command);
/* Somebody waits: a guest for its command or a monitor for its deed. */
bool relay_is_waiting(const struct relay *relay);
/*
 * The guest is told this, TPM_RETRY being: to try again by itself; a monitor that it failed. What was sent keeps its number
 * until its outcome is known.
 */
void relay_stop_waiting(struct relay *relay, uint32_t code);
/* A response of our own: tag TPM_TAG_RSP_COMMAND (Part 2, 6), size, code. */
void relay_answer_code(struct relay *relay, uint32_t code);

/* ---- relay_talk.c ---- */

/* Handles all that has come from the server. */
void relay_pump(struct relay *relay, uint64_t now_ms);
/* Sends the command under way, again or for the first time; it gets its number here. When READY. */
void relay_send_execute(struct relay *relay);
void relay_send_detach(struct relay *relay, bool off);
void relay_send_attach(struct relay *relay);
void relay_send_power_on(struct relay *relay, int startup);
void relay_send(struct relay *relay, const Vtpm__Message *msg);
/* Commands and deeds go to the TPM from here on; what is under way goes now. */
void relay_become_ready(struct relay *relay);

/* ---- relay_ticket.c ---- */

/* RELAY_TICKET and RELAY_BRING. When READY. */
void relay_ticket_go(struct relay *relay);
/* After Hello: a ticket is brought first. False: none is to be. */
bool relay_ticket_first(struct relay *relay);
void relay_ticket_given(struct relay *relay, const Vtpm__Ticket *ticket);
void relay_carried_drop(struct carried *carried);
void relay_ticket_taken(struct relay *relay);
/* True: the Error was a ticket's, and is dealt with. */
bool relay_ticket_error(struct relay *relay, int err, bool is_fatal, const struct vt_why *why);
/* HELD, and something is to be done. */
void relay_ticket_use(struct relay *relay);

/* ---- relay_deed.c ---- */

/* Sends the deed under way, if there is one. When READY. */
void relay_deed_go(struct relay *relay);
/* After Attached, where power is a monitor's; enum Vtpm__Power. */
void relay_deed_attached(struct relay *relay, int power);
/* PowerOn's or Platform's answer; VT_OK with the TPM's code, or an error. Nothing without a deed. */
void relay_deed_end(struct relay *relay, int err, uint32_t tpm_rc, bool is_established);
/* The server answered a Platform by an Error. */
void relay_deed_error(struct relay *relay, int err, const struct vt_why *why);
/* The connection is gone. */
void relay_deed_disconnected(struct relay *relay);

#endif
