/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live migration between servers (docs/moving.md, "Live migration": the tables there are this room's contract). The
 * source's side gives tickets and decides (source.c); the target's looks, claims and takes (target.c). Neither does
 * I/O: a line to other servers is given from outside. Loop thread.
 */
#ifndef VTPM_CORE_HANDOFF_H
#define VTPM_CORE_HANDOFF_H

#include "server/core/broker_priv.h"
#include "server/core/handoff/ticket.h"

/* ---- What servers ask each other ---- */

struct handoff_ask {
    bool claim;                     /* else: look */
    uint8_t ticket[TICKET_LEN];
};

/* Borrowed by callbacks. */
struct handoff_answer {
    int err;                        /* of the source; handoff_is_final tells which are for good */
    const char *text;               /* why, never NULL */
    bool has_left;                  /* to the one who asks */
    /* Not left: what would come. */
    char name[65];
    uint64_t seq;
    uint32_t version;               /* of its permanent state; 0: it does not say */
    /* A claim that was granted. */
    const uint8_t *bundle;
    size_t len;
};
typedef void (*handoff_answered)(void *arg, const struct handoff_answer *answer);

/* No later answer to the same ticket will be another one. */
bool handoff_is_final(int err);

/*
 * The way to other servers. done is called once, not from within: with answer NULL when none came; what was asked may
 * have been done then. After broker_drain's end nothing may be under way.
 */
struct handoff_line {
    int (*ask)(void *line, const struct db_peer *source, const struct handoff_ask *ask, handoff_answered done, void *arg);
};
/* Borrows both until broker_free. Without one, this server claims nothing. */
void handoff_set_line(struct broker *broker, const struct handoff_line *ops, void *line);

/* ---- Source ---- */

/* ticket: TICKET_LEN bytes; NULL on error. */
typedef void (*handoff_given)(void *arg, int err, const char *text, const uint8_t *ticket);
/*
 * A ticket for a live instance. to: a peer's name; "": the only peer, or none. done perhaps from within. Errors:
 * VT_ENOTFOUND (no such peer), VT_EPOWER, those of the store.
 */
void handoff_give(struct broker *broker, const struct vt_uuid *uuid, const char *to, const char *peer, handoff_given done,
                  void *arg);

/* The bundle is borrowed; NULL on error. */
typedef void (*handoff_state_given)(void *arg, int err, const char *text, const uint8_t *bundle, size_t len);
/*
 * The instance itself, for a peer that cannot reach this server when its guest has moved: it leaves now, as by an export.
 * No session may have it. VT_ECONFLICT: no target is known.
 */
void handoff_give_state(struct broker *broker, const struct vt_uuid *uuid, const char *to, const char *peer,
                        handoff_state_given done, void *arg);

/* Another server asks, which has shown that it is `asker`. done perhaps from within. */
void handoff_answer(struct broker *broker, const struct vt_uuid *asker, const char *peer, const struct handoff_ask *ask,
                    handoff_answered done, void *arg);

/* ---- Target ---- */

typedef void (*handoff_done)(void *arg, int err, const char *text);
/* May the instance that this ticket stands for be claimed? Writes nothing. */
void handoff_bring(struct broker *broker, const uint8_t *ticket, size_t len, handoff_done done, void *arg);
/*
 * The guest's first command is here. VT_OK: the instance is this server's, now or since before. VT_EUNAVAILABLE: not
 * now. Else it is another's for good.
 */
void handoff_claim(struct broker *broker, const uint8_t ticket[TICKET_LEN], const char *peer, handoff_done done, void *arg);
/* The same of a bundle that a monitor has carried, which must be of this instance. */
void handoff_bring_state(struct broker *broker, const struct vt_uuid *uuid, const uint8_t *bundle, size_t len,
                         handoff_done done, void *arg);
void handoff_take_state(struct broker *broker, const struct vt_uuid *uuid, const uint8_t *bundle, size_t len,
                        const char *peer, handoff_done done, void *arg);
/* Claims whose answer was not had: asks for them, at start and every so often. */
void handoff_start(struct broker *broker);

/* ---- Both ---- */

/* No callback with this arg will be called any more; what was begun goes on. */
void handoff_forget(struct broker *broker, void *arg);
/* For broker_free, after the store was closed: what never ended. */
void handoff_end(struct broker *broker);

#endif
