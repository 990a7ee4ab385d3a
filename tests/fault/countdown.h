/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults counted down: a scenario is run again and again; in its n-th run the n-th call of one kind fails, once, until
 * a run is over before the count is. So each call has failed, alone. Where leaks are looked for (ASan) that is done
 * every few runs, so that a leak is found near the call.
 *
 *     faults = count_down(FAULT_ALLOC, scenario, arg);
 *     void scenario(void *arg) { prepare; count_begin(); what is tested; failed = count_end(); judge; }
 */
#ifndef VTPM_TESTS_COUNTDOWN_H
#define VTPM_TESTS_COUNTDOWN_H

#include <stdbool.h>

enum fault {
    FAULT_ALLOC,        /* server/base/alloc.c: also protobuf-c's memory */
    FAULT_SQLITE,       /* SQLite's memory: count_hook_sqlite */
    FAULT_STORE,        /* a file operation of SQLite's: count_hook_store */
    FAULT_UV,           /* libuv's memory: count_hook_uv */
    FAULT_MBEDTLS,      /* mbedTLS's memory: Debian builds it without mbedtls_platform_set_calloc_free, so its calls of
                           calloc(3) are told from others by where they come from */
    FAULT_LIBCRYPTO,    /* libcrypto's memory: count_hook_libcrypto */
    FAULT_ENTROPY,      /* getrandom */
    FAULT_SOCKET,       /* count_wrap.c: our own calls; count_net.c: ours and libuv's; count_zygote.c: the zygote's */
    FAULT_FORK,         /* posix_spawn and what prepares it, pthread_create; count_zygote.c: fork and confinement */
    FAULT_FILE,         /* our own open, openat, fchmod, rename, fsync, mmap, posix_fallocate, ... */
    FAULT_COUNT
};

/* Arms the fault of this run, and disarms it: true if it struck. Only in a scenario. */
void count_begin(void);
bool count_end(void);
/* Whether this thread's calls of one kind are counted and fail; they are, until told (FAULT_ALLOC knows no threads). */
void count_here(enum fault fault, bool counts);
/* The number of this run: which call fails. */
long count_nth(void);

/* Returns how many calls failed; prints it under `name`. */
unsigned count_down(const char *name, enum fault fault, void (*scenario)(void *arg), void *arg);
/* Only each `stride`th call. */
unsigned count_down_by(const char *name, enum fault fault, long stride, void (*scenario)(void *arg), void *arg);

/* For hooks: whether this call is the one. Any thread. */
bool count_strikes(enum fault fault);

/* Before the library is used for the first time. */
void count_hook_sqlite(void);
void count_hook_store(void);
void count_hook_uv(void);
void count_hook_libcrypto(void);
/* FAULT_ALLOC is counted by count_zygote.c, as one for all processes; else each that is forked counts on its own. */
void count_hook_alloc(void);

#endif
