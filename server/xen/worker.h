/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that asks xenstore: it sleeps until it is woken, a watch fires or its time has come. It may hang in
 * xenstored; so whoever ends it does not wait for it for ever.
 */
#ifndef VTPM_XEN_WORKER_H
#define VTPM_XEN_WORKER_H

#include "server/xen/store.h"
#include "server/xen/thread.h"

struct libxenvchan;

struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    int wake;
    struct xs_handle *xs; /* the thread's; NULL: xenstored was lost, to be opened again */
    bool is_lost_said;
    const char *const *watches; /* ends with NULL */
};

/* Opens the store (so that what is wrong with it is said at start), then starts run(arg). */
int worker_start(struct worker *worker, const char *const *watches, void *(*run)(void *), void *arg,
                 struct vt_why *why) VT_USE_RESULT;
void worker_wake(struct worker *worker);
/* False: it has not come to its end in wait_ms: it may be joined again, and nothing that it uses may be freed. */
bool worker_join(struct worker *worker, unsigned wait_ms) VT_USE_RESULT;
/* After it was joined. */
void worker_close(struct worker *worker);

/* The rest for the worker's own thread. Sleeps for at most wait_ms; true: a watch fired. */
bool worker_sleep(struct worker *worker, int wait_ms);
/* False: there is no xenstored now. */
bool worker_has_store(struct worker *worker);
/* A call said VT_EUNREACHED: the handle is of no use any more. */
void worker_lost_store(struct worker *worker, const struct vt_why *why);

struct xentoollog_logger;
/* For libxenvchan: what it has to say goes into our log. Any thread. */
struct xentoollog_logger *worker_logger(void);

#endif
