/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's side of server/sandbox/sandbox.h: one zygote process, started again whenever it dies, and
 * the engines (sandboxes) forked from it, each for one instance, each with one request under way at most.
 * Loop thread.
 *
 * Invariants: no call here runs a callback before it returns; every engine that was not freed gets on_gone
 * exactly once, and nothing after it; an engine never makes the broker hold more than one frame of
 * SANDBOX_FRAME_MAX.
 */
#ifndef VTPM_CORE_ZYGOTE_H
#define VTPM_CORE_ZYGOTE_H

#include <sys/types.h>

#include "server/core/loop.h"
#include "server/crypto/crypto.h"

struct zygote;
struct engine;

struct zygote_config {
    const char *engine_path;    /* of vtpm-engine; copied */
    uint32_t request_limit_ms;  /* a request without an answer for so long kills its engine; 0: 30 s */
    /*
     * Each time a zygote says how its self-tests went: VT_OK and the name of the crypto back end, or an
     * error and what failed; also VT_ETIMEOUT, VT_EIO when it ended before that. It is then tried again,
     * ever more slowly. May be NULL. May free engines, but not the zygote.
     */
    void (*on_ready)(void *arg, int err, const char *text);
    void *arg;
};

/*
 * Executes vtpm-engine --zygote; on_ready follows. VT_EIO with the path if it cannot be executed. Returns
 * owned.
 */
int zygote_start(struct zygote **zygote, struct loop *loop, const struct zygote_config *config,
                 struct vt_why *why) VT_USE_RESULT;
/* Ends the process. All engines must be freed before; not from a callback of this header. May be NULL. */
void zygote_free(struct zygote *zygote);
bool zygote_is_ready(const struct zygote *zygote);
/* 0: none is running now. */
pid_t zygote_pid(const struct zygote *zygote);

struct engine_ops {
    /*
     * The answer to the request under way: type is an enum sandbox_reply or whatever a broken engine sent.
     * The payload (secret; wiped afterwards) is valid during the call. The callee may make the next request
     * or free the engine.
     */
    void (*on_reply)(void *arg, uint8_t type, const uint8_t *payload, size_t len);
    /*
     * The process has ended or never began; a request under way will not be answered. why, for the log:
     * exit status, signal, forbidden system call number, time limit; and the pid. The callee may free the
     * engine.
     */
    void (*on_gone)(void *arg, const char *why);
};

/*
 * Asks for a sandbox; requests may be made at once. Borrows ops and arg until engine_free. Waits for a
 * zygote that is being (re)started. VT_ENOMEM, VT_EIO (out of descriptors). Returns owned.
 */
int engine_spawn(struct zygote *zygote, const struct engine_ops *ops, void *arg,
                 struct engine **engine) VT_USE_RESULT;

/* The same for a key maker (server/sandbox/keymaker.h), which gets `limit_ms` for a request instead of the zygote's limit. */
int engine_spawn_maker(struct zygote *zygote, const struct engine_ops *ops, void *arg, uint32_t limit_ms,
                       struct engine **engine) VT_USE_RESULT;

/*
 * One request (enum sandbox_request) whose payload is the parts one after another; borrows and copies what
 * does not fit into the socket now, wiping that copy. VT_ETOOBIG, VT_ENOMEM; VT_ECONFLICT: one is under
 * way; VT_ECLOSED: it is gone or about to be (on_gone follows, if it did not come yet).
 */
int engine_request(struct engine *engine, uint8_t type, const struct cr_slice *parts, size_t count)
    VT_USE_RESULT;
bool engine_is_busy(const struct engine *engine);
/* 0: not known yet, or gone. */
pid_t engine_pid(const struct engine *engine);
/*
 * From on_gone on: it was ended from outside, by a SIGKILL that was not this server's (an administrator, the kernel
 * short of memory), or together with its zygote; or it never began (no process could be forked, or not in time). What it
 * was asked to do is not to blame.
 */
bool engine_was_killed(const struct engine *engine);
/* Ends the process, whatever it does; on_gone follows. */
void engine_kill(struct engine *engine);
/* No callback follows; the process ends, whatever it does. May be NULL. */
void engine_free(struct engine *engine);

#endif
