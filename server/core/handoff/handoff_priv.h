/* SPDX-License-Identifier: Apache-2.0 */
/* What source.c and target.c share. Not for others. */
#ifndef VTPM_CORE_HANDOFF_PRIV_H
#define VTPM_CORE_HANDOFF_PRIV_H

#include "server/core/handoff/handoff.h"

/* One piece of work under way, of either side; first in its user's structure, allocated by VT_NEW. */
struct handoff_op {
    struct vt_list node;            /* broker->handoffs */
    struct broker *broker;
    char peer[96];                  /* who asked, for events */
    struct ticket ticket;
    uint8_t bytes[TICKET_LEN];
    union {
        handoff_given given;
        handoff_state_given state;
        handoff_answered answered;
        handoff_done done;
    } fn;
    void *arg;
    bool is_forgotten;
    bool is_claim;                  /* of the source: not only a look */
    bool is_taking;                 /* of the target: one at a time for an instance */
    struct vt_why why;
};
void handoff_begin(struct handoff_op *op, struct broker *broker, const char *peer, void *arg);
/* Off the list; the caller frees it. */
void handoff_over(struct handoff_op *op);

#endif
