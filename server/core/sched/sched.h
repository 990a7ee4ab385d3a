/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose command begins when. Short commands begin at once. Long ones (cost.h) are admitted to a few slots, so
 * that a short one never waits behind a crowd of runnable sandboxes; who waits for a slot is served by
 * start-time fair queueing, weighted, so that each gets its share of CPU whatever the others send. A guest
 * beyond the limits of its pace is held until it is within them. Nobody is refused. Invariants: a guest has
 * one command here at most, which is in one state; as long as somebody waits no slot is free after sched_next
 * has said NULL. No I/O, no heap, no clock: time is an argument, in microseconds. Loop.
 */
#ifndef VTPM_CORE_SCHED_SCHED_H
#define VTPM_CORE_SCHED_SCHED_H

#include "server/base/list.h"
#include "server/core/sched/cost.h"
#include "server/core/sched/pace.h"

/*
 * A command that holds its slot for so long gives it up and runs on: some that never end must not shut
 * everybody else out. Its share pays for the whole time. COST_KEY has the longer one, which a key takes on a
 * busy host.
 */
#define SCHED_HOLD_US     250000u
#define SCHED_HOLD_KEY_US 1000000u

enum sched_state {
    SCHED_NONE,  /* no command */
    SCHED_HELD,  /* beyond its limits, until due_us */
    SCHED_WAITS, /* for a slot */
    SCHED_RUNS
};

struct sched {
    unsigned slots, used;
    uint64_t virtual_now;           /* start of the last one that was given a slot */
    uint64_t virtual_end;           /* the last finish of all */
    uint64_t mean_us[COST_CLASSES]; /* of those that ended */
    struct vt_list held;            /* by due_us */
    struct vt_list waiting;         /* by start; who came first, first */
    struct vt_list running;         /* those with a slot, by due_us */
    size_t held_count, waiting_count;
};

struct sched_guest {
    struct vt_list node;
    enum sched_state state;
    enum cost_class class;
    struct pace pace;
    bool has_slot, is_blocked;
    uint64_t start, finish;    /* virtual: microseconds by weight */
    uint64_t since_us, ran_us; /* of the command that runs */
    uint64_t charged_us;       /* what it was charged when it began */
    uint64_t due_us;           /* HELD: until then; with a slot: it gives that up then */
    uint64_t filled_us;        /* when the two below were brought up to date */
    int64_t commands;          /* left, in millionths */
    int64_t cpu;   /* left, in hundredths of a microsecond; negative after a command that cost more */
    uint64_t held; /* commands that were held, for people */
};

void sched_init(struct sched *sched, unsigned slots);
void sched_guest_init(struct sched_guest *guest);
/* Another pace from now on; what was used of the former counts. It applies to a command that is held when it
 * is due. */
void sched_pace(struct sched *sched, struct sched_guest *guest, const struct pace *pace, uint64_t now_us);

/* A command comes (state NONE). True: it begins now; false: sched_next will name the guest. */
bool sched_ask(struct sched *sched, struct sched_guest *guest, enum cost_class class,
               uint64_t now_us) VT_USE_RESULT;
/* Who begins now; NULL: nobody. To be asked until NULL whenever a command left, and at sched_due. */
struct sched_guest *sched_next(struct sched *sched, uint64_t now_us);
/* One that is held or waits; NULL: there is none. */
struct sched_guest *sched_anyone(const struct sched *sched);
/* False: nothing happens by time alone. */
bool sched_due(const struct sched *sched, uint64_t *at_us);
/* The guest's command has ended, or goes without having begun; in any state, also NONE. */
void sched_leave(struct sched *sched, struct sched_guest *guest, uint64_t now_us);
/* Its command runs, and its sandbox waits for the broker meanwhile: the slot is for others. Harmless in any
 * other state. */
void sched_block(struct sched *sched, struct sched_guest *guest, uint64_t now_us);
/* It goes on at once: half a command is not left standing. */
void sched_unblock(struct sched *sched, struct sched_guest *guest, uint64_t now_us);

#endif
