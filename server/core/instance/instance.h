/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance as an actor: a queue of jobs, one at a time, each making one record (docs/record-and-recovery.md).
 * What a job needs is brought in on the way: epoch and record from the store, an engine from the zygote. Invariant:
 * `record` is the last record that is safe (on disk or in the runtime store); an engine whose state is ahead of it is
 * thrown away. Loop thread.
 */
#ifndef VTPM_CORE_INSTANCE_H
#define VTPM_CORE_INSTANCE_H

#include "proto/vtpm.pb-c.h"
#include "server/core/broker_priv.h"
#include "server/core/measure.h"
#include "server/core/record.h"

struct instance;
struct session;

/* What a job brings back; borrowed by the callback. */
struct instance_answer {
    int err;                        /* enum vt_err; below only when VT_OK */
    const char *text;               /* why, never NULL */
    const struct record *record;    /* the record now; NULL when it could not be loaded */
    const uint8_t *response;        /* EXECUTE, PLATFORM, EK_READ, PCR_READ, POWER_ON with a Startup */
    size_t response_len;
    bool acted;                     /* POWER_ON */
    bool is_foreign;                /* POWER_ON that failed: for all that is known the TPM is on for another domain */
};
typedef void (*instance_done)(void *arg, const struct instance_answer *answer);

enum instance_job_kind {
    INSTANCE_LOAD,          /* epoch and record, nothing else */
    INSTANCE_EXECUTE,
    INSTANCE_POWER_ON,
    INSTANCE_POWER_OFF,
    INSTANCE_PLATFORM,
    INSTANCE_ARM_RESUME,
    INSTANCE_MEASURE,       /* the queue of measurements changes */
    INSTANCE_EXPORT,        /* the last record here: volatile state too, and the fence */
    INSTANCE_TICKET,        /* the record becomes durable, volatile state too: a ticket stands for it */
    INSTANCE_EK_READ,       /* the EK's public half and its certificate: messages.h, sandbox_rd_ek; makes no record */
    INSTANCE_PCR_READ,      /* the PCRs as SANDBOX_PCR_READ has them; makes no record */
    INSTANCE_EK_INSTALL     /* data: the EK's certificate; once, before the first power on */
};

/* What an ARM_RESUME does; its `act`. */
enum instance_resume { RESUME_ALLOW, RESUME_CANCEL };
/* What a MEASURE does; its `act`. DROP: those that are for one power on. */
enum instance_measuring {
    MEASURING_ADD, MEASURING_CLEAR, MEASURING_DROP, MEASURING_REQUIRE, MEASURING_RELAX,
    MEASURING_HOST,         /* host_pcrs */
    MEASURING_PACE          /* pace */
};

/* A job to be queued: filled by the caller, copied (command and data too). */
struct instance_job {
    enum instance_job_kind kind;
    instance_done done;             /* called once, unless instance_forget came first */
    void *arg;
    uint8_t stream[16];             /* EXECUTE */
    uint64_t n;
    uint8_t locality;               /* EXECUTE, PLATFORM */
    const uint8_t *data;            /* command, what HASH_DATA hashes, certificate */
    size_t len;
    uint8_t act;                    /* PLATFORM: as in messages.h; ARM_RESUME; MEASURE */
    struct measure measure;         /* MEASURE with MEASURING_ADD */
    uint16_t host_pcrs;             /* MEASURE with MEASURING_HOST */
    struct pace pace;               /* MEASURE with MEASURING_PACE */
    unsigned pace_sets;             /* which of it: PACE_SETS_ */
    bool is_refused;                /* EXECUTE, PLATFORM: by a guest whose power on was refused */
    const struct db_export *export; /* EXPORT: borrowed until done */
    uint64_t seq;                   /* EXPORT by a ticket: only if this is the last record; 0: by an administrator */
    int64_t until;                  /* and only until then, seconds since 1970 */
    uint8_t startup;                /* POWER_ON: enum Startup */
    struct guest_epoch guest;       /* POWER_ON */
    bool domain_gone;               /* POWER_OFF: the shim saw the guest end; nobody ordered it */
    char peer[96];                  /* who asked, for the event; "": the server itself */
};

/* The instance, brought into memory if it is not there yet. Refused (with the reason) when it does not exist, was
 * deleted, is disabled or broken. Borrowed: stays as long as it has a session, jobs, or an engine. */
int instance_find(struct broker *broker, const struct vt_uuid *uuid, struct instance **instance, struct vt_why *why) VT_USE_RESULT;
const struct vt_uuid *instance_uuid(const struct instance *instance);
/* What the broker knows of a loaded instance, for a deep quote: all but store, nonce, origin and PCRs. */
struct evidence_statement;
int instance_statement(const struct instance *instance, struct evidence_statement *statement) VT_USE_RESULT;
/* NULL when it is not in memory. */
struct instance *instance_in_memory(struct broker *broker, const struct vt_uuid *uuid);
/* A new instance whose first record was just committed is not brought in by this; it is found when needed. */

/* VT_EAGAIN: the queue is full. */
int instance_submit(struct instance *instance, const struct instance_job *job) VT_USE_RESULT;
/* No callback of jobs with this arg will be called any more; those that have begun still run. */
void instance_forget(struct instance *instance, void *arg);

/* The session that owns the instance; a newer one takes it over, the older one is told. NULL: none any more. */
struct session *instance_session(const struct instance *instance);
void instance_set_session(struct instance *instance, struct session *session);

/* Engine gone, record forgotten, jobs answered with err: before delete, disable and when the store says so. */
void instance_evict(struct instance *instance, int err, const char *text);

/* Which front-end domain its shim says that it serves, for the inventory; "": none. */
void instance_note_domain(struct instance *instance, const char *domain);

/* Where its command stands with the scheduler; "": it has none. And how many its limits have held. */
const char *instance_turn(const struct instance *instance);
uint64_t instance_held(const struct instance *instance);

/* How often its attaches have become events. */
struct act_limit *instance_attaches(struct instance *instance);

/* For inventory and drain. */
int instance_engine_pid(const struct instance *instance);
uint64_t instance_uncounted(const struct instance *instance);
int64_t instance_last_seen(const struct instance *instance);
bool instance_is_busy(const struct instance *instance);
/* Takes the counters that were not yet written; false if there are none. */
bool instance_take_counter(struct instance *instance, struct db_counter *out);
/* An engine or a record is in memory. */
bool instance_is_warm(const struct instance *instance);
/* At the end of the process: jobs are dropped unanswered, then freed. */
void instance_abandon(struct instance *instance);
/* Frees the instance; must not be busy. */
void instance_free(struct instance *instance);
struct instance *instance_of_node(struct registry_node *node);

/*
 * Of a loaded instance: does this ticket still stand for it? until 0: at home a ticket's time does not matter.
 * VT_ECONFLICT, with the reason: never again.
 */
int instance_ticket_open(const struct instance *instance, uint64_t seq, int64_t until, struct vt_why *why) VT_USE_RESULT;

/* The seal names and bytes of a record, for the store and for the runtime store (record.c). */
int instance_seal_record(const struct broker *broker, const struct vt_uuid *uuid, const struct vt_key *key,
                         enum seal_kind kind, const struct record *record, uint8_t tag[CR_GCM_TAG],
                         uint8_t **sealed, size_t *len) VT_USE_RESULT;
int instance_open_record(const struct broker *broker, const struct vt_uuid *uuid, const struct vt_key *key,
                         enum seal_kind kind, uint64_t seq, const uint8_t *sealed, size_t len,
                         const uint8_t tag[CR_GCM_TAG], struct record *record, struct vt_why *why) VT_USE_RESULT;

/*
 * The durable record as it is in the store, and the key it opened with, without taking the instance: any thread; the
 * caller frees the one and wipes the other, also on error.
 */
int instance_read_durable(struct broker *broker, const struct vt_uuid *uuid, struct record *durable, struct vt_key *key,
                          struct vt_why *why) VT_USE_RESULT;

#endif
