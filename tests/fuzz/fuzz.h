/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fuzz target shares. A target has LLVMFuzzerTestOneInput and fuzz_seeds; with the preset `fuzz` it
 * links libFuzzer, else replay.c, which feeds it the files of its corpus. An input decides everything: no clock, no
 * random numbers from outside, so that a finding repeats. One thread.
 */
#ifndef VTPM_TESTS_FUZZ_H
#define VTPM_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "server/base/base.h"

/* Called by libFuzzer and replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t cap, unsigned seed);
/* Of two inputs one; a target may have it. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t *out, size_t cap,
                                 unsigned seed);
/* libFuzzer's own mutator; there is none without it. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len, size_t cap);

/* The inputs that the corpus starts from: emit is called for each. */
typedef void (*fuzz_emit)(void *arg, const char *name, const void *bytes, size_t len);
void fuzz_seeds(fuzz_emit emit, void *arg);

/* What holds for every input: else the process aborts, which is a finding. */
#define FUZZ_CHECK(holds)                                                                                    \
    do {                                                                                                     \
        if (!(holds)) {                                                                                      \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* ---- The input as a source of small decisions; past its end everything is 0 ---- */

struct fuzz_src {
    const uint8_t *at;
    size_t left;
};
uint8_t fuzz_u8(struct fuzz_src *src);
uint16_t fuzz_u16(struct fuzz_src *src);
/* At most len bytes, fewer at the end. */
const uint8_t *fuzz_take(struct fuzz_src *src, size_t *len);
/* The input from here on as a text in memory of its own, so that a read past it is seen; vt_free. */
char *fuzz_text(const uint8_t *bytes, size_t len);

/* ---- A file with these bytes, 0600, in memory; its path. The same one for every input. ---- */
const char *fuzz_file(const void *bytes, size_t len);

/* ---- Random bytes that begin anew with each fuzz_random_reset; of the type of tls_random_fn ---- */
void fuzz_random_reset(uint64_t seed);
int fuzz_random(void *ctx, unsigned char *out, size_t len);

#endif
