/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public-key work of handshakes, on worker threads: at most `running` at once, the rest in the order of
 * arrival, so that a crowd of new peers takes neither the loop nor all workers. A connection has one step
 * here at a time: the queue is bounded by the number of half-open connections. Loop thread; `work` on a
 * worker.
 */
#ifndef VTPM_NET_HANDSHAKE_H
#define VTPM_NET_HANDSHAKE_H

#include <uv.h>

#include "server/base/list.h"

struct handshake_pool {
    uv_loop_t *uv;
    unsigned max_running;
    unsigned running;
    struct vt_list waiting;
};

/* Embedded in its user; zeroed is ready. */
struct handshake_job {
    uv_work_t req;
    struct vt_list node;
    struct handshake_pool *pool;
    void (*work)(struct handshake_job *job); /* worker */
    void (*done)(struct handshake_job *job); /* loop; the job may be used or freed from here on */
};

void handshake_pool_init(struct handshake_pool *pool, uv_loop_t *uv, unsigned max_running);
void handshake_submit(struct handshake_pool *pool, struct handshake_job *job);
/* More steps are to be done than there are workers. */
bool handshake_is_behind(const struct handshake_pool *pool);
/* True: it was still waiting and will not run, `done` is not called. False: `done` will be. */
bool handshake_cancel(struct handshake_job *job);

#endif
