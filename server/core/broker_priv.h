/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of server/core share about the one broker. Not for others. */
#ifndef VTPM_CORE_BROKER_PRIV_H
#define VTPM_CORE_BROKER_PRIV_H

#include "db/db.h"
#include "server/base/vault.h"
#include "server/core/acts.h"
#include "server/core/broker.h"
#include "server/core/hosttpm.h"
#include "server/core/store/keys.h"
#include "server/core/registry.h"
#include "server/core/runtime.h"
#include "server/core/zygote.h"

struct handoff_line;
struct keypool;

struct broker {
    struct loop *loop;
    struct loop_wake *db_wake;
    struct loop_timer *counter_timer;
    struct db *db;
    struct keys *keys;
    struct vt_vault *vault;         /* instance keys; loop thread */
    struct zygote *zygote;
    struct keypool *keypool;
    struct hosttpm *hosttpm;        /* NULL: none is used */
    struct anchor *anchor;          /* NULL only while starting */
    bool zygote_told;               /* the first zygote's self-tests are over, with zygote_err */
    unsigned zygote_tries;          /* zygotes that ended before they told */
    int zygote_err;
    struct vt_why zygote_why;
    struct runtime_dir *runtime;
    struct registry instances;      /* struct instance */
    struct vt_list sessions;        /* struct session */
    size_t session_count;
    struct vt_uuid store;
    uint8_t boot_id[16];            /* of this host's boot and this runtime directory, mixed */
    uint8_t host_boot_id[16];       /* the host's alone: for epochs of guests that are seen by their vchan */
    uint64_t idle_ms;
    uint64_t started_us;
    uint64_t commands;              /* since start, all instances */
    struct act_limit refusals;      /* of administrators */
    struct act_limit unbound;       /* of domains that are not bound to what they want to attach */
    struct act_limit quotes;        /* deep quotes for guests, all of them */
    uint64_t witnesses;             /* how many were asked of the host's TPM */
    struct vt_list host_asked;      /* who waits for the host's PCRs, and no reading has begun for them */
    bool host_reads;                /* one is on a worker */
    size_t runtime_refused;         /* instances whose runtime file met a disk that takes nothing */
    size_t works;                   /* under way on workers, by broker_work */
    bool works_over;                /* works is 0 again: broker_free waits for it */
    char *data_dir, *runtime_path;
    char opened_by[32];             /* "0 keyfile": the slot that opened the store */
    int64_t opened_slot;
    char passed_over[480];          /* why a TPM's slot did not open it before; "": it did, or there is none */
    char *const *listeners;
    size_t listener_count;

    struct vt_list admin_work;      /* slow work of administrators that waits for its turn */
    bool admin_works;               /* one of them is on a worker */
    bool importing;                 /* an instance: one after the other */
    struct vt_list arrivals;        /* those that wait for it: handoff/arrive.c */
    const struct handoff_line *line_ops; /* to other servers; NULL: there is none */
    void *line;
    struct vt_list handoffs;        /* struct handoff_op */
    struct loop_timer *handoff_timer;
    struct backup *backup;          /* the copy that an administrator fetches; NULL: none */
    size_t admin_calls;             /* under way: in an engine, in the store, on a worker */

    /* Draining: no new work; done is called when nothing is under way. */
    bool draining;
    void (*on_drained)(void *arg);
    void *on_drained_arg;
};

/* As loop_work, for work that uses the store or the keys: drain and broker_free wait for it. */
int broker_work(struct broker *broker, void (*work)(void *arg), void (*done)(void *arg), void *arg) VT_USE_RESULT;

/* The copy that a backup made, if there is one: closed. */
void broker_drop_backup(struct broker *broker);

/* Something that drain waits for has ended: an instance became idle, an administrator has the answer. */
void broker_progress(struct broker *broker);

#endif
