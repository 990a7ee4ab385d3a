/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TPM of a test whose power goes with the disk's. Each state that it would find after a power cut is written
 * down when a command makes it, with the number of disk operations that were recorded before. So a cut can be made
 * before and after every single write of its memory, and what is volatile is lost.
 *
 * TPM 1.2: this project's engine behind a socket, under the whole of hwtpm/tpm12*. TPM 2.0: NV indices in memory in the
 * place of ESYS, under the whole of hwtpm/tpm2_anchor.c. One of each kind in a process.
 */
#ifndef VTPM_TESTS_HOST_TPM_H
#define VTPM_TESTS_HOST_TPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fault/disk.h"

/* ---- What was written down ---- */

struct host_state {
    size_t ops;         /* disk operations before it came to be */
    size_t len;
    uint8_t *bytes;
};
struct host_history {
    struct disk *disk;  /* NULL: nothing is written down but the last state */
    size_t count;
    struct host_state states[256];
};
/* For the doubles: the memory is now like this. The same as before is no new state. Any thread. */
void host_note(struct host_history *history, const void *bytes, size_t len);
/* From here on; the first state is the present one. */
void host_record(struct host_history *history, struct disk *disk);
/* What was written down, into `out`; the double goes on with nothing. */
void host_take(struct host_history *history, struct host_history *out);
void host_free(struct host_history *history);
/*
 * Whether a cut after so many disk operations may find this state. shift: as if the TPM had been written so many operations
 * later (a mutant of the order between disk and TPM); else 0.
 */
bool host_possible(const struct host_history *history, size_t state, size_t ops, long shift);
static inline const struct host_state *host_last(const struct host_history *history)
{
    return &history->states[history->count - 1];
}

/* ---- The two kinds ---- */

struct host_tpm {
    const char *name;
    struct host_history *history;
    /* New, with an owner (1.2); switched on. dir: for its socket. */
    void (*make)(const char *dir);
    /* Power on with this state and firmware that measures `firmware` (1.2: into PCR 4). */
    void (*boot)(const struct host_state *state, uint8_t firmware);
    void (*unmake)(void);
    /* "tpm12[...]", "tpm2[...]" with its place at the end, or only the place. */
    void (*place)(char *out, size_t size);
};
extern const struct host_tpm host_tpm12, host_tpm2;

#define HOST12_PCR   4
#define HOST12_OWNER "host owner"

/* A mutant of hwtpm/tpm2_anchor.c: a counter's step reaches the memory before the data that were written before it. */
extern bool host_tpm2_swaps;

#endif
