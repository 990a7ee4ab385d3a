/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What zygote.c (the process, its control socket) and engine.c (the instance sockets) share. Not for
 * others.
 */
#ifndef VTPM_CORE_ZYGOTE_PRIV_H
#define VTPM_CORE_ZYGOTE_PRIV_H

#include "server/base/buf.h"
#include "server/base/list.h"
#include "server/core/zygote.h"
#include "server/sandbox/sandbox.h"

#define ZYGOTE_BUCKETS 256u

enum zygote_state {
    ZYGOTE_DOWN,     /* timer: start it again */
    ZYGOTE_STARTING, /* timer: no self-test takes so long */
    ZYGOTE_READY,
};

struct zygote {
    struct loop *loop;
    struct loop_fd *watch;
    struct loop_timer *timer;
    char *path;
    uint32_t request_limit_ms;
    void (*on_ready)(void *arg, int err, const char *text);
    void *arg;

    enum zygote_state state;
    pid_t pid;
    int control;
    uint64_t ready_us;      /* when this one became ready */
    unsigned deaths;        /* in a row, without a good while in between */

    uint32_t last_id;
    struct vt_list engines[ZYGOTE_BUCKETS]; /* struct engine by id, until it is gone or freed */
    struct vt_list waiting;                 /* engines whose SPAWN is not sent yet */
    struct vt_buf kills;                    /* ids whose KILL is not sent yet */

    /* One read of any engine: a frame that is there as a whole is handed on from here without a copy. */
    uint8_t scratch[64 * 1024];
};

struct engine {
    struct vt_list node;    /* in zygote->engines */
    struct vt_list waiting; /* in zygote->waiting */
    struct zygote *zygote;
    const struct engine_ops *ops;
    void *arg;
    uint32_t id;
    uint32_t spawn;         /* enum sandbox_control: what the zygote is asked for */
    uint32_t limit_ms;      /* of a request */
    pid_t pid;              /* from SPAWNED to EXITED */
    int fd;
    int child_fd;           /* until SPAWN is sent */
    struct loop_fd *watch;
    struct loop_timer *timer; /* of the request; of its end, once that began */
    struct vt_buf in, out;

    bool busy;              /* a request is under way */
    bool ending;            /* no more requests; replies are dropped if `dropping` */
    bool dropping;          /* it broke the protocol or is being killed */
    bool eof;               /* its socket is closed */
    bool exited;            /* and the zygote said how it ended */
    bool killed;            /* from outside, or never begun */
    bool is_gone;           /* on_gone was called */
    char why[200];          /* the first reason stays */
};

/* Sends SPAWN, or queues it. */
void zygote_ask_spawn(struct zygote *zygote, struct engine *engine);
/* Has the zygote kill the child with this id, if it has one. */
void zygote_ask_kill(struct zygote *zygote, uint32_t id);

/* It was asked for a sandbox and said nothing for as long as a request may take: it is replaced. */
void zygote_hangs(struct zygote *zygote);

/* The zygote's words about an engine. */
void engine_spawned(struct engine *engine, pid_t pid);
void engine_exited(struct engine *engine, const struct sandbox_control_msg *msg);
/* Its zygote died, so it did too. */
void engine_orphaned(struct engine *engine);

#endif
