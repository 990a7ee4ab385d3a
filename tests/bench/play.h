/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the load generator: some guests, each of which sends the next command as soon as it has its response. */
#ifndef VTPM_TESTS_BENCH_PLAY_H
#define VTPM_TESTS_BENCH_PLAY_H

#include "tests/bench/guest.h"

#define CYCLE_MAX   4
#define SAMPLES_MAX 40000

/* Guests, and what each of them sends in turn. */
struct pair {
    struct guest **guests; /* borrowed, as the recipes */
    unsigned count;
    const struct recipes *recipes;
    const struct recipe *cycle[CYCLE_MAX];
    unsigned cycle_len;
    /* What came of it; the samples are nanoseconds of one command each. */
    uint64_t commands;
    uint64_t samples[SAMPLES_MAX];
    size_t sample_count;
};

struct play_time {
    uint64_t ns;
    uint64_t cpu_ns; /* of this program */
};

/*
 * Until `ms` are over or each guest of the first pair has sent `count` commands (0: no end); then what is under way is
 * waited for.
 */
void play(struct pair *pairs, unsigned pair_count, unsigned ms, unsigned count, struct play_time *time);

#endif
