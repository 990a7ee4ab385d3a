/* SPDX-License-Identifier: Apache-2.0 */
/* A loop, a zygote on ENGINE_PATH and engines whose callbacks only note what happened. */
#ifndef VTPM_TESTS_SANDBOX_FIXTURE_H
#define VTPM_TESTS_SANDBOX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <uv.h>

#include "server/base/list.h"
#include "server/core/zygote.h"
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/misbehave.h"
#include "server/sandbox/sandbox.h"

struct sb {
    uv_loop_t uv;
    struct loop *loop;
    struct loop_timer *guard;
    bool late;
    struct zygote *zygote;
    int ready;          /* times on_ready said VT_OK */
    int unready;        /* times it said an error */
    int ready_err;
    char ready_text[128];
    struct vt_list boxes; /* what a failed test leaves behind */
};

struct box {
    struct vt_list node;
    struct engine *engine;
    bool free_when_gone;
    int replies, gone;
    uint8_t type;
    uint8_t payload[SANDBOX_FRAME_MAX];
    size_t len;
    struct sandbox_state state;
    bool is_state;
    int keys;                       /* that it has asked for */
    const struct cr_rsa_key *key;   /* it is given this one; NULL: it is told that there is none */
    char why[256];
};

/* A loop without a zygote, and the end of both. */
int sb_setup(void **state);
int sb_teardown(void **state);
/* A zygote that is ready. */
void sb_start(struct sb *sb, uint32_t limit_ms);
void sb_start_path(struct sb *sb, const char *path, uint32_t limit_ms);

/* Runs the loop until *what >= least; false after ms. */
bool sb_until(struct sb *sb, const int *what, int least, unsigned ms);
void sb_run_for(struct sb *sb, unsigned ms);

struct box *box_new(struct sb *sb);
/* A key maker. */
struct box *box_new_maker(struct sb *sb);
void box_free(struct box *box);
/* Makes a request and waits for its answer, or for the end. */
void box_ask(struct sb *sb, struct box *box, uint8_t type, const void *payload, size_t len);
void box_send(struct box *box, uint8_t type, const void *payload, size_t len);
void box_manufacture(struct sb *sb, struct box *box, uint32_t nv_bytes, bool with_ek);
void box_power_on(struct sb *sb, struct box *box, uint8_t startup, uint64_t now_us);
/* The same with measurements: count * (PCR, digest). */
void box_measured_on(struct sb *sb, struct box *box, uint8_t startup, const void *digests, size_t count);
void box_execute(struct sb *sb, struct box *box, const void *command, size_t len);
void box_thaw(struct sb *sb, struct box *box, uint8_t entropy, const struct tpm_blob *permanent,
              const struct tpm_blob *volatile_state);
/* Waits until it is known: SPAWNED and an answer come over two sockets. */
pid_t box_pid(struct sb *sb, struct box *box);
void box_misbehave(struct box *box, uint8_t deed);
void box_wait_gone(struct sb *sb, struct box *box);

/* Entries of a /proc/.../fd directory. */
int count_fds(pid_t pid);
/* True once there are so many; the zygote closes its copy of a socket after the sandbox may have answered. */
bool fds_become(pid_t pid, int count);
/* True once no process has this pid (any more); waits up to two seconds. */
bool process_ends(pid_t pid);

#endif
