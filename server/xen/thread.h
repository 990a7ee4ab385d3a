/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that leaves every signal to the others. */
#ifndef VTPM_XEN_THREAD_H
#define VTPM_XEN_THREAD_H

#include <pthread.h>
#include <signal.h>

#include "server/base/base.h"

static inline bool thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    bool started;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    started = pthread_create(thread, NULL, run, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

#endif
