/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two servers that know each other, "a" being at the first, and the line between them, on which messages are lost,
 * come twice, or come late, and at whose ends servers are started anew.
 */
#ifndef VTPM_TESTS_HANDOFF_RIG_H
#define VTPM_TESTS_HANDOFF_RIG_H

#include "server/core/handoff/handoff.h"
#include "tests/unit/core_rig.h"

enum fault {
    FAULT_NONE,
    FAULT_ASK_LOST,
    FAULT_ANSWER_LOST,
    FAULT_TWICE,          /* the second answer is the one that counts */
    FAULT_LATE,           /* it counts as lost, and is delivered when pair_late says so */
    FAULT_SOURCE_BEFORE,  /* the source is started anew before it hears of it; the ask is lost with it */
    FAULT_SOURCE_AFTER,   /* behind its answer, which is lost */
    FAULT_COUNT
};

struct pair {
    struct rig a, b;
    struct peer at_a;     /* the guest's shim, until it is closed */
    struct vt_uuid uuid;
    char identity[VT_UUID_TEXT];
    uint64_t n;           /* of the guest's last command at a */
    uint8_t ticket[TICKET_LEN];
    /* Of the line from b to a; those of the other direction have no faults. */
    unsigned asked;       /* messages since the last pair_fault */
    unsigned at;          /* the fault comes with this message, from 1 on; 0: with none */
    enum fault fault;
    char text[400];       /* of the last err */
};

void pair_make(struct pair *pair);
void pair_free(struct pair *pair);
/* Starts a server anew, its line and its claims with it. */
void pair_restart(struct pair *pair, struct rig *rig);
void pair_fault(struct pair *pair, unsigned at, enum fault fault);
/* What is still on its way arrives. */
void pair_late(struct pair *pair);

/* `instance expect` at b. */
void pair_expect(struct pair *pair);
/* The errors of the three steps; b claims. */
int pair_give(struct pair *pair, struct rig *rig, const char *to);
int pair_bring(struct pair *pair, struct rig *rig);
int pair_claim(struct pair *pair, struct rig *rig);
/* Claims without an answer are asked for. */
void pair_resolve(struct pair *pair);

/* Does the store say that the instance lives there? */
bool pair_lives(const struct pair *pair, const struct rig *rig);
/* The guest's next command at a; its error. */
int pair_go_on(struct pair *pair);
/* A new shim at this server executes one: its error, or 0 and the counters are checked. */
int pair_serves(struct pair *pair, struct rig *rig, uint64_t volatile_count, uint64_t permanent_count);

#endif
