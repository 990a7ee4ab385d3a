/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shim's side of one instance, without I/O and without a clock: it takes commands from a front end one at a time,
 * brings each to the server exactly once over however many connections that needs, and gives the response back. The
 * Linux shim and the Mini-OS shim drive it in the same way:
 *
 *   after every call below: take the response if there is one, send relay_output, then do what relay_drive says,
 *   and call relay_drive again at *wake_ms at the latest.
 *
 * The invariant (docs/record-and-recovery.md, "Who repeats what"): a number n of a stream stands for one command
 * only, and is used until its outcome is known. What happens is logged. Times are milliseconds of any clock that
 * does not jump. One thread.
 */
#ifndef VTPM_PROTO_RELAY_H
#define VTPM_PROTO_RELAY_H

#include "proto/channel.h"
#include "proto/message.h"

struct relay;

/* A numbered command, as a shim must know it again after its own death. */
struct relay_mark {
    uint8_t stream[MESSAGE_STREAM];
    uint64_t n;
    uint8_t before_stream[MESSAGE_STREAM]; /* the server's last command when the number was given */
    uint64_t before_n;
    uint32_t locality;
    const uint8_t *command; /* borrowed */
    size_t len;
};

/* How far a stream has come. */
struct relay_position {
    uint64_t last_n;        /* the last number whose outcome is known; 0: none */
    struct relay_mark mark; /* stream; and if n is not 0, a command that was given up while its outcome was unknown */
};

struct relay_config {
    struct tls_config tls;      /* client: identity, key, random; all copied or borrowed as there */
    const char *server;         /* for the log: "unix:/run/..."; borrowed for life, as the next two */
    const char *software;       /* Hello */
    const char *front_end;      /* Attach */
    const char *label;          /* in the log, "domain 5: "; NULL: none. Copied, cut to 95 bytes */
    uint8_t uuid[16];           /* of the instance */
    bool has_uuid;              /* false: the one that the credential names */
    uint8_t stream[MESSAGE_STREAM];
    uint64_t last_n;            /* last number whose response was delivered; 0 for a fresh stream */
    uint8_t boot_id[16];
    uint32_t domid;
    bool has_domid;
    char domain[MESSAGE_DOMAIN_MAX + 1]; /* its name, for the inventory; may be empty */
    int startup;                /* enum Vtpm__Startup: the policy of PowerOn */
    bool is_monitored;          /* a monitor's deeds alone power the TPM on and off; no connection does */
    uint64_t hold_ms;           /* a command waits this long for an absent server; 0: without limit */
    /*
     * NULL, or called before a numbered command is sent for the first time. An error: it is not sent, the guest is
     * told to try again. Not within it: a call of ours.
     */
    int (*note)(void *ctx, const struct relay_mark *mark);
    void *note_ctx;
    /* NULL, or what a client without a good source of its own mixes into it: of the server's Hello, borrowed. */
    void (*entropy)(void *ctx, const uint8_t *bytes, size_t len);
    void *entropy_ctx;
};

enum relay_act {
    RELAY_WAIT,
    RELAY_CONNECT,  /* connect, then relay_connected or relay_disconnected */
    RELAY_CLOSE,    /* send relay_output, close the connection, then relay_disconnected */
    RELAY_ENDED     /* no more connections will be made: relay_ended says why */
};

/* Returns owned (relay_free). VT_EUSAGE for a bad identity, VT_ENOMEM. */
int relay_new(struct relay **relay, const struct relay_config *config) VT_USE_RESULT;
/* Wipes; may be NULL. */
void relay_free(struct relay *relay);

/* ---- Front end ---- */

/* Copies the command. VT_EAGAIN while another one is under way; VT_EUSAGE when it is not 10 to 4096 bytes. */
int relay_submit(struct relay *relay, uint64_t now_ms, uint32_t locality, const void *command, size_t len) VT_USE_RESULT;
bool relay_busy(const struct relay *relay);
/* The response to the command under way: borrowed until relay_answered. False: not there yet. */
bool relay_response(const struct relay *relay, const uint8_t **bytes, size_t *len) VT_USE_RESULT;
/* The front end has the response, or the outcome: the next command or deed may come. */
void relay_answered(struct relay *relay);
/* The guest waits no longer: without a server its command is answered TPM_RETRY; the server is told. */
void relay_cancel(struct relay *relay);

/* ---- A monitor's deeds: what it does to the TPM besides commands (PROTOCOL.md, 7). Nothing else may be under way. ---- */

enum relay_deed_kind {
    RELAY_NO_DEED = 0,
    RELAY_HASH_START = 1,    /* to RELAY_RESET_ESTABLISHED: Platform's acts, by their field numbers */
    RELAY_HASH_DATA = 2,     /* bytes, at most 4096 */
    RELAY_HASH_END = 3,
    RELAY_GET_ESTABLISHED = 4,
    RELAY_RESET_ESTABLISHED = 5, /* locality */
    RELAY_START,             /* power on with `startup`, if it is off */
    RELAY_RESET,             /* the machine begins anew: power off, then on with `startup`; is_monitored */
    RELAY_OFF,               /* the machine is gone; is_monitored */
    RELAY_TICKET,            /* the machine is saved or moved: bytes, the target's name as a peer of the server, or none */
    RELAY_STATE,             /* the same, with the instance itself: it leaves the server now */
    RELAY_BRING              /* the machine comes: bytes, what one of these two gave. Not attached from then on until something
                                is to be done */
};

struct relay_deed {
    enum relay_deed_kind kind;
    int startup;             /* enum Vtpm__Startup */
    uint8_t locality;
    const uint8_t *bytes;    /* borrowed during the call */
    size_t len;
};

struct relay_result {
    int err;                 /* enum vt_err, logged; below only when VT_OK. VT_EUNKNOWN: it may have happened */
    uint32_t tpm_rc;
    bool is_established;     /* of Platform's acts */
    const uint8_t *ticket;   /* of RELAY_TICKET and RELAY_STATE: borrowed until the next deed; at most MESSAGE_STATE_MAX */
    size_t ticket_len;
};

/* Held while the server is away, as commands are. VT_EAGAIN while something is under way; VT_EUSAGE, VT_ENOMEM. */
int relay_submit_deed(struct relay *relay, uint64_t now_ms, const struct relay_deed *deed) VT_USE_RESULT;
/* The outcome of the deed under way; false: not there yet. Then relay_answered. */
bool relay_result(const struct relay *relay, struct relay_result *result) VT_USE_RESULT;

/*
 * For a restarted shim, right after relay_new: mark is under way (again: its response is waited for) or, with
 * in_doubt, was given up; config.stream and last_n are those of the mark. Copies. VT_EUSAGE, VT_ENOMEM.
 */
int relay_resume(struct relay *relay, uint64_t now_ms, const struct relay_mark *mark, bool in_doubt) VT_USE_RESULT;
/* Where the stream stands, for the note that a response was delivered: with it in hand, before relay_answered. Borrowed. */
void relay_position(const struct relay *relay, struct relay_position *position);

/* ---- Transport ---- */

void relay_connected(struct relay *relay, uint64_t now_ms);
void relay_bytes(struct relay *relay, uint64_t now_ms, const void *bytes, size_t len);
/* The connection is gone or could not be made; reason is for the log and may be NULL. */
void relay_disconnected(struct relay *relay, uint64_t now_ms, const char *reason);
/* The last connection ended because the server refused the key: a new one may be to hand. */
bool relay_key_refused(const struct relay *relay);
/* For the next connections; the identity stays. Copies. False: it is the key that is in use already. */
bool relay_set_key(struct relay *relay, const struct vt_key *key);
/* Bytes to send (drop what was sent); NULL without a connection. */
struct vt_buf *relay_output(struct relay *relay);

/* ---- Time and end ---- */

/* *wake_ms: when to call again even if nothing happens; UINT64_MAX: never. RELAY_CONNECT is said once per attempt. */
enum relay_act relay_drive(struct relay *relay, uint64_t now_ms, uint64_t *wake_ms);
/* Attached and powered: commands reach the TPM now. */
bool relay_attached(const struct relay *relay);
/* Sends Detach{off} when attached and no command is under way, and makes no more connections. */
void relay_detach(struct relay *relay, bool off);
/* VT_OK: not ended, or by relay_detach; VT_EFENCED: another shim serves the instance; VT_ECONFLICT: it never came here. */
int relay_ended(const struct relay *relay);

#endif
