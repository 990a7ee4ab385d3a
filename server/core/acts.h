/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that no change of a row brings with it (attach, take-over, refusals), held to a rate so that nobody can push
 * older ones out of the store; and what the log says of the runtime directory. Loop thread.
 */
#ifndef VTPM_CORE_ACTS_H
#define VTPM_CORE_ACTS_H

#include "server/base/err.h"
#include "server/base/text.h"

struct broker;

/* How many events of one kind and source were written in the present window, and how many were not. */
struct act_limit {
    uint64_t window_us;
    unsigned written, held;
};

/* At most this many in so long a time; what is held back is counted in the text of the next one. */
#define ACT_ATTACH_MOST     3u
#define ACT_ATTACH_WINDOW_S 60u
#define ACT_REFUSE_MOST     10u
#define ACT_REFUSE_WINDOW_S 600u

/* False: held back. *held: how many were since the last one that was not. */
bool act_limit_pass(struct act_limit *limit, unsigned most, unsigned window_s, uint64_t now_us, unsigned *held) VT_USE_RESULT;

/* Appends one event; uuid may be NULL. A failure is logged. */
void act_write(struct broker *broker, const char *kind, const struct vt_uuid *uuid, const char *peer, const char *text);
/* A peer that the kernel named asked for what its role does not allow. False: held back, log it neither. */
bool act_refused(struct broker *broker, const char *peer, const char *what);

/* A domain asked over a vchan for an instance that it is not bound to: an event, at the same rate for all of them. */
void act_unbound(struct broker *broker, const struct vt_uuid *uuid, const char *peer, const char *text);

/*
 * After a write of an instance's runtime file that failed, or the first that did not: *refused is the instance's own
 * note. Logs when the directory begins to refuse and when no instance is refused any more.
 */
void broker_runtime_wrote(struct broker *broker, bool *refused, int err);

#endif
