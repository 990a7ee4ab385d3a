/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of fuzz_engine_exec's inputs: the first byte chooses the state to start from, then steps {what,
 * payload length, five choices, payload}. exec_courses.c: steps that build on each other, the seeds, the
 * mutator.
 */
#ifndef VTPM_TESTS_FUZZ_EXEC_STEPS_H
#define VTPM_TESTS_FUZZ_EXEC_STEPS_H

#include "tests/fuzz/exec_params.h"

#define STEPS_MAX 24
#define STEP_HEAD 7
#define STEP_MAX  (STEP_HEAD + 255)

/* what % KINDS; all below RAW: a command. */
enum { RAW = 12, PLATFORM, THAW, AGAIN, KINDS };
/* In `what`, for commands: AGAIN: nine times, else twice; others: its proofs are wrong. */
#define WHAT_MANY      0x10
#define WHAT_WRONG     0x10
#define WHAT_AES       0x20 /* new sessions hide secrets by AES */
#define WHAT_DELEGATED 0x40 /* they are DSAP sessions where something was lent */
#define WHAT_WRAPPED   0x80 /* inside of the open transport session */
#define AGAIN_MANY     9
/* In `how`, besides the locality. */
enum { HOW_RAW = 8, HOW_KEEP = 16, HOW_POOL = 32, HOW_FEWER = 64, HOW_TAMPER = 128 };

struct course {
    const char *name;
    enum fuzz_start start;
    size_t count;
    const struct course_step {
        uint8_t what;
        uint32_t ordinal; /* or the platform's act */
        uint8_t how, handles, a, b;
    } * steps;
};

/* What START_OWNED is made by, so that every command finds what it needs. */
extern const struct course exec_prepare;
/* The bytes of one step, without payload. */
void exec_write_step(struct wr *w, const struct course_step *step);

#endif
