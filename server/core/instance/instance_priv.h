/* SPDX-License-Identifier: Apache-2.0 */
/* The actor's parts, shared by instance*.c only. */
#ifndef VTPM_CORE_INSTANCE_PRIV_H
#define VTPM_CORE_INSTANCE_PRIV_H

#include "server/core/instance/instance.h"
#include "server/core/keypool/keypool.h"
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"

/* To a peer: where and why is for the log. */
#define INSTANCE_STORE_SHUT "the server cannot write the record now, its log says why; this has not happened"

/* Where the first job of the queue stands. Anything but IDLE waits for exactly one callback. */
enum instance_step {
    STEP_IDLE,
    STEP_ACQUIRING,     /* store: epoch */
    STEP_LOADING,       /* worker: record read and opened */
    STEP_READING_HOST,  /* the host's TPM: its PCRs, before a power on */
    STEP_THAWING,       /* engine: state */
    STEP_RUNNING,       /* engine: the job */
    STEP_WITNESSING,    /* the host's TPM: the job's engine waits for evidence */
    STEP_KEYING,        /* the key makers: the job's engine waits for a key */
    STEP_COMMITTING     /* store: the job's record */
};

struct job {
    struct vt_list node;
    struct instance_job what;       /* what.data is owned here */
    uint8_t command_sha256[CR_SHA256_LEN];
    unsigned crashes;               /* engines that died of it */
    unsigned kills;                 /* engines that were killed under it, from outside */
    bool is_witnessed;              /* its engine has asked for evidence */
    unsigned keys;                  /* that its engine has asked for */
    struct hwtpm_pcrs *host;        /* POWER_ON: what the host's PCRs held; NULL: not read (yet). Owned */
    unsigned unknown;               /* commits of unknown outcome */
    uint64_t unknown_seq;           /* seq of the last of them; 0: none */
};

struct instance {
    struct registry_node node;      /* must be first */
    struct broker *broker;
    struct session *session;
    struct vt_list jobs;            /* struct job; the first one is under way unless STEP_IDLE */
    size_t job_count;
    enum instance_step step;
    bool is_reporting;              /* a callback runs: it must not free the instance, whatever it sets going */
    bool is_evicted;                /* nothing of it stays in memory when the job under way has ended */

    bool has_epoch;
    uint64_t epoch, epoch_in;
    bool is_loaded;                 /* record, key, durable_seq are valid */
    struct record record;           /* the last safe record */
    struct vt_key *key;             /* in the broker's vault; NULL: not loaded */
    uint64_t durable_seq;
    struct runtime_file *runtime;   /* NULL: not open */
    bool runtime_refused;           /* its last write met a disk that takes nothing: counted by the broker */
    /* A commit's outcome is unknown and the store was not read since: nothing can be said to have not happened. */
    bool in_doubt;

    struct engine *engine;          /* NULL: paged out */
    bool is_thawed;
    struct loop_timer *idle;

    /* The record being made: strings that are not changed stay empty here. */
    struct record next;
    bool next_volatile, next_permanent, next_measures, next_acted, next_has_ek;
    uint8_t next_ek[CR_SHA256_LEN];

    struct vt_bytes side;           /* answer of a job that is no TPM command; the record keeps the last command's */
    char domain[65];                /* as the inventory has it */
    struct act_limit attaches, refusals, quotes;
    uint64_t witness;               /* WITNESSING, READING_HOST: which of the broker's questions */
    struct keypool_wish *wish;      /* KEYING; else NULL */
    uint64_t uncounted;
    int64_t last_seen;
};

static inline struct job *instance_current(const struct instance *i)
{
    return VT_LIST_ENTRY(i->jobs.next, struct job, node);
}

/* instance.c */
void instance_advance(struct instance *i);
/* Ends the current job and goes on with the next. */
void instance_finish(struct instance *i, int err, const char *text);
/* The engine's state is ahead of the record, or it is not needed: away with it. */
void instance_drop_engine(struct instance *i);
/* The record, the key: forgotten and wiped; read again when needed. */
void instance_unload(struct instance *i);
/* The state cannot be opened: says so in the store, answers the job, keeps everything as it is on disk. */
void instance_break(struct instance *i, const char *why);

/* load.c */
void instance_acquire(struct instance *i);
void instance_load(struct instance *i);

/* engine.c */
void instance_thaw(struct instance *i);
void instance_run(struct instance *i);

/* The answer to its engine's EVIDENCE; the job runs on. */
void instance_tell_evidence(struct instance *i, int err, const uint8_t *evidence, size_t len);

/* evidence.c */
/* So many deep quotes for one guest, and for all guests, in so long a time. */
#define EVIDENCE_MOST     6u
#define EVIDENCE_MOST_ALL 60u
#define EVIDENCE_WINDOW_S 60u
/* The engine has asked, and gets an answer now or later; false: it may not, or this is no question. */
bool instance_wants_evidence(struct instance *i, const uint8_t *payload, size_t len) VT_USE_RESULT;

/* The answer to its engine's KEY; the job runs on. key: NULL with an err. */
void instance_tell_key(struct instance *i, int err, const struct cr_rsa_key *key);

/* key.c */
/* The engine has asked, and gets an answer now or later; false: it may not, or this is no question. */
bool instance_wants_key(struct instance *i, const uint8_t *payload, size_t len) VT_USE_RESULT;

/* measure.c */
void instance_measures(const struct instance *i, struct measures *out);
/* The current MEASURE: its record, then instance_finish. */
void instance_change_measures(struct instance *i);
/* May the current POWER_ON act? If not it is finished, and said why. */
bool instance_measures_allow(struct instance *i);
/* The current POWER_ON did not act, and will not: an event, the log, the answer. */
void instance_refuse_power_on(struct instance *i, const char *why);
/* May a monitor reset the TPM without a power on? Its PCRs would be those of no measured start. */
bool instance_measures_allow_init(struct instance *i);
/* The host's PCRs and the queue as SANDBOX_POWER_ON has them; returns the length. */
#define INSTANCE_DIGESTS_MAX (1u + SANDBOX_MEASURES_MAX * SANDBOX_MEASURE_LEN)
size_t instance_put_digests(const struct instance *i, uint8_t out[INSTANCE_DIGESTS_MAX]);
/* The queue was extended: the staged record keeps only what stays. */
int instance_use_measures(struct instance *i) VT_USE_RESULT;
/* The event of a MEASURE or of a POWER_ON that acted. */
void instance_measure_text(const struct instance *i, const struct job *job, char *out, size_t size);

/* hostpcrs.c */
/* The current POWER_ON may act, and must know first what the host's PCRs hold: true, and it comes back to decide. */
bool instance_needs_host(struct instance *i) VT_USE_RESULT;
/* SHA-1 of what the host's PCR n held: what the same PCR of the instance is extended with. */
void instance_host_digest(const struct hwtpm_pcrs *host, unsigned n, uint8_t digest[MEASURE_DIGEST]);
/* The TPM was started with the PCRs that it must have? If not the job is finished, and said why. */
bool instance_host_is_in(struct instance *i, const uint8_t *response, size_t len) VT_USE_RESULT;
/* Which PCRs of the host the current POWER_ON extends; 0: none. */
uint32_t instance_host_mask(const struct instance *i);
void instance_log_host(const struct instance *i);

/* ek.c */
/* May the current EK_INSTALL run? If not it is finished, and said why. */
bool instance_ek_allow(struct instance *i);
/* Is this an answer to EK_INSTALL: permanent state and the verdict that says so, or a refusal and no state? */
bool instance_ek_plausible(const struct sandbox_state *reply);
/* Finishes the current EK_INSTALL as the verdict in `side` says. */
void instance_ek_refused(struct instance *i);
/* The event of an EK_INSTALL. */
void instance_ek_text(const struct job *job, char *out, size_t size);

/* record.c: the record of the current job, then instance_finish. */
void instance_persist(struct instance *i);
/* A record without an engine: this TPM return code is the answer to EXECUTE. */
void instance_answer_rc(struct instance *i, uint32_t tpm_rc);
/* Makes sure that the runtime file exists and tells of this boot, before a power on is committed. */
int instance_mark_runtime(struct instance *i) VT_USE_RESULT;
/* Scalars of `next` as the current job makes them; strings empty. */
void instance_stage(struct instance *i);

#endif
