/* SPDX-License-Identifier: Apache-2.0 */
/* A shim as a process of its own, and what it says. */
#ifndef VTPM_TESTS_SHIM_PROCESS_H
#define VTPM_TESTS_SHIM_PROCESS_H

#include <sys/types.h>

#include "server/base/base.h"

struct shim {
    pid_t pid;
    int err;            /* its stderr */
    char text[16384];
    size_t len;
    char where[64];     /* "tcp:127.0.0.1:PORT" from the ready line, else "" */
};

void shim_spawn(struct shim *shim, const char *program, const char *const args[]);
/* Reads until it has said the word; false: it did not, for 8 s, or has ended. */
bool shim_says(struct shim *shim, const char *word);
void shim_ready(struct shim *shim);
/* Its exit code, or minus the signal. */
int shim_wait(struct shim *shim);
/* By SIGTERM. */
int shim_stop(struct shim *shim);

#endif
