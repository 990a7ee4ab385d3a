/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that a guest's TPM front end shares with us (the layout: Xen's public io/tpmif.h, version 2), seen from
 * the back end. Portable, no I/O: who maps the page also sends the events.
 *
 *   after mapping, and after every event:  tpmif_poll
 *   a command's response:                  tpmif_put, the journal's mark, tpmif_finish, send the event
 *
 * The guest may change the page at any moment. So each shared field is read once, a command is copied before
 * anything looks at it, and what is under way is told by this structure alone, never by the page: a guest that turns
 * state or length over meanwhile hurts itself. One command is under way at most. The bounds stand in one function.
 * One thread.
 */
#ifndef VTPM_PROTO_TPMIF_H
#define VTPM_PROTO_TPMIF_H

#include "server/base/base.h"

#define TPMIF_PAGE     4096u
#define TPMIF_HEADER   8u  /* length, state, locality, pad, nr_extra_pages; a grant reference of 4 bytes per extra page */
#define TPMIF_DATA_MAX (TPMIF_PAGE - TPMIF_HEADER)

enum tpmif_state {
    TPMIF_IDLE,   /* back end: nothing is there, or it was cancelled */
    TPMIF_SUBMIT, /* front end: a command is there */
    TPMIF_FINISH, /* back end: its response is there */
    TPMIF_CANCEL, /* front end: never mind */
    TPMIF_ODD     /* no state at all: somebody scribbles */
};

enum tpmif_event {
    TPMIF_NOTHING,  /* spurious, or a command is under way already */
    TPMIF_COMMAND,  /* ring->command, len and locality: under way from now on */
    TPMIF_ANSWERED, /* a malformed request or a late cancel was answered in the page: send the event */
    TPMIF_CANCELLED /* the guest gives up the command under way; said once. It still ends by tpmif_finish */
};

/* What stands in a page, to know it again: not secret, and no guest gains by finding another of the same. */
struct tpmif_print {
    uint32_t len;
    uint64_t sum;
};

struct tpmif_print tpmif_print_of(const void *bytes, size_t len);

struct tpmif {
    volatile uint32_t *page; /* borrowed; aligned to a page */
    uint8_t localities;      /* bit n: the guest may claim locality n */
    bool busy;               /* a command is under way */
    bool cancelled;          /* and the guest has said never mind */
    bool was_found;          /* the next tpmif_poll is the first one after tpmif_look */
    uint32_t offset;         /* of the data, as the command under way had it */
    uint32_t locality;
    size_t len;
    uint8_t command[TPMIF_DATA_MAX]; /* a copy; private */
};

/* The page as a back end finds it that has been away. */
struct tpmif_view {
    enum tpmif_state state;
    bool fits;        /* length and extra pages are within bounds: the bytes were copied to ring->command */
    bool is_response; /* they begin with a response's tag */
    uint32_t offset;
    uint32_t locality;
    struct tpmif_print print;
};

/*
 * localities: 1 (locality 0 only) unless the toolstack allows more; the front end's byte never widens it, and
 * locality 4 is the hardware's: its bit is ignored.
 */
void tpmif_init(struct tpmif *ring, volatile void *page, uint8_t localities);
/* Wipes; the page is not touched. */
void tpmif_wipe(struct tpmif *ring);

/*
 * Looks at the page. A request of 10 to 4088 bytes (less 4 per extra page) is given to the caller untouched: what its
 * header says of its size is the TPM's business. Any other is answered here, with TPM_BAD_PARAM_SIZE or, when its
 * locality is not allowed, TPM_BAD_LOCALITY. A cancel without a command under way is answered by IDLE.
 */
enum tpmif_event tpmif_poll(struct tpmif *ring) VT_USE_RESULT;

/*
 * The response to the command under way, into the page; the guest does not see it yet. One that does not fit is
 * replaced by TPM_FAIL. Returns what the page holds now, for the journal.
 */
struct tpmif_print tpmif_put(struct tpmif *ring, const void *response, size_t len);
/* The guest may have it; nothing is under way any more. Send the event. */
void tpmif_finish(struct tpmif *ring);

/* ---- After a restart (docs/record-and-recovery.md, "A shim's own death") ---- */

/*
 * Before the first tpmif_poll: what stands in the page, looked at once, bytes in ring->command. Changes nothing.
 * If that tpmif_poll finds a "request" with a response's tag, the back end before us died while it answered a command
 * that it had never sent: it is answered by TPM_RETRY.
 */
void tpmif_look(struct tpmif *ring, struct tpmif_view *view);
/*
 * The command of before is under way again; the response goes where view says. False: it cannot have been in such
 * a page, nothing was changed.
 */
bool tpmif_restore(struct tpmif *ring, const struct tpmif_view *view, uint32_t locality, const void *command,
                   size_t len) VT_USE_RESULT;

#endif
