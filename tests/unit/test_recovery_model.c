/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of docs/record-and-recovery.md. Fake stores, fake TPM, fake shim, a server as short as it can be, around
 * the real record_judge, record_recover, record_encode and record_decode. After every step anything may crash. An
 * oracle beside them knows what the guest was told, and says when that cannot be true any more.
 *
 *   test_recovery_model                runs many schedules
 *   test_recovery_model SEED           runs one of them and prints its trace
 *   RECOVERY_SCHEDULES=n               how many
 *
 * -DMUTANT=k builds a server that breaks one rule; such a build must fail (the list: enum mutant).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/core/measure.h"
#include "server/core/record.h"

#ifndef MUTANT
#define MUTANT 0
#endif

enum mutant {
    M_NONE,
    M_ANSWER_BEFORE_COMMIT,     /* the response leaves before the record is on disk */
    M_NO_RUNTIME_WRITE,         /* a volatile record is kept in memory only */
    M_IGNORE_HASH,              /* same n, other bytes: taken for a repetition */
    M_RUN_AGAIN,                /* a repetition is executed */
    M_IGNORE_BOOT,              /* a runtime record of another boot counts */
    M_SILENT_RESET,             /* lost PCRs: goes on with the durable record's old ones */
    M_ONE_SLOT,                 /* the newest slot is the one that is overwritten */
    M_TORN_READS,               /* a half written slot is taken for a whole one */
    M_KEEP_AFTER_FAILURE,       /* a record that failed to be written has happened all the same */
    M_POWER_ON_WHEN_ON,         /* PowerOn acts on a TPM that is on */
    M_POWER_ON_SAME_GUEST,      /* PowerOn of the same guest cures needs-power-on */
    M_IGNORE_BASE,              /* a database older than the runtime store goes unnoticed */
    M_WINDOW_SHUT,              /* after a loss n may not jump */
    M_NO_FENCE,                 /* messages of the older channel still count */
    M_OLDER_SLOT,               /* the newest slot does not open: the older one is taken */
    M_NO_MARK,                  /* the runtime file is not made before the power on */
    M_KEEP_VOID_SLOTS,          /* slots of another boot stay the newest */
    M_WINDOW_STAYS_OPEN,        /* n may jump for ever */
    M_FAIL_APPLIES,             /* a command that kills its engine twice is recorded over a new state */
    M_ALWAYS_NEEDS_POWER,       /* the runtime store is not looked at */
    M_MARK_HIDES_LOSS,          /* D counts as whole because a mark of its seq lies in the runtime store */
    M_QUEUE_STAYS,              /* a power on leaves the measurements that it extended in the queue */
    M_QUEUE_LATE,               /* it takes them out in a record of their own */
    M_QUEUE_LOST,               /* a runtime record's queue, which is none, counts */
    MUTANTS
};

/* ---- Chance ---- */

static uint64_t rng_state;

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u + b + 0x632be59bd9b4e019u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rnd(void)
{
    return rng_state = mix(rng_state, 1);
}

static bool chance(unsigned percent)
{
    return rnd() % 100 < percent;
}

/* ---- The world ---- */

enum kind { KIND_READ, KIND_EXTEND, KIND_WRITE_NV, KINDS };

struct command {
    uint64_t id;            /* the same id is the same bytes */
    enum kind kind;
};

struct tpm {
    uint64_t permanent, volatile_state; /* digests of what was done, in order */
};

#define FRESH 0xf0e5u       /* the volatile state after a power on */
#define TPM_FAIL 9u         /* the response */

struct blob {
    uint8_t *data;
    size_t len;
};

struct slot {
    struct blob blob;
    uint64_t seq;
    bool well_formed, opens;
};

struct message {
    uint64_t stream, n, channel;
    struct command command;
};

#define CANDIDATES 1024

static struct world {
    uint64_t seed, step_no;
    bool verbose, calm;             /* calm: nothing crashes any more */
    uint64_t next_id;

    /* Survives everything. */
    struct blob durable;
    /* Survives processes; the host's end only if the runtime directory is on a disk. */
    struct slot slots[2];
    bool has_file, runtime_on_disk;
    uint64_t boot;

    /* The server's memory. */
    bool loaded, broken;
    struct record last;
    uint64_t durable_seq, channel;

    /* The engine process. */
    bool engine_runs;
    struct tpm engine;

    /* The shim. xen: its stream outlives it. */
    bool xen_shim, attached, in_flight, saw_response;
    uint64_t stream, n, my_channel, next_channel, seen_response;
    struct command pending;
    bool has_stale;
    struct message stale;

    /* The guest. */
    struct guest_epoch guest;
    bool remote_guest;              /* lives on another host than the server */

    /* The oracle. */
    enum { TRUTH_OFF, TRUTH_ON, TRUTH_LOST } truth;
    struct guest_epoch powered_guest;
    bool poisoned, loss_in_flight, powering_off;
    struct measures queue;          /* what the next power on must extend */
    struct measure queueing;        /* half way into it; size 0: none */
    bool powering_on;
    struct tpm cand[CANDIDATES];
    size_t cands;
    uint64_t fails, values, replays, losses;
} w;

static jmp_buf give_up;
static char verdict_text[256];

static void trace(const char *fmt, ...) VT_PRINTF(1, 2);
static void trace(const char *fmt, ...)
{
    va_list ap;

    if (!w.verbose)
        return;
    va_start(ap, fmt);
    printf("%5llu  ", (unsigned long long)w.step_no);
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static void violation(const char *fmt, ...) VT_PRINTF(1, 2) __attribute__((noreturn));
static void violation(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(verdict_text, sizeof verdict_text, fmt, ap);
    va_end(ap);
    longjmp(give_up, 1);
}

static void blob_free(struct blob *blob)
{
    vt_free(blob->data);
    *blob = (struct blob){0};
}

static void put_u64(uint8_t *out, uint64_t v)
{
    memcpy(out, &v, sizeof v);
}

static uint64_t get_u64(const uint8_t *in)
{
    uint64_t v;

    memcpy(&v, in, sizeof v);
    return v;
}

static void id16(uint8_t out[16], uint64_t v)
{
    put_u64(out, v);
    put_u64(out + 8, v ? mix(v, 16) : 0);
}

static void hash_of(uint8_t out[32], const struct command *c)
{
    for (size_t k = 0; k < 4; k++)
        put_u64(out + 8 * k, mix(c->id * 4 + (uint64_t)c->kind, k));
}

/* ---- The TPM: every command moves the nonces, so every one changes volatile state ---- */

static uint64_t tpm_run(struct tpm *tpm, const struct command *c)
{
    uint64_t response = mix(mix(tpm->permanent, tpm->volatile_state), c->id) | 16;

    if (c->kind == KIND_WRITE_NV)
        tpm->permanent = mix(tpm->permanent, c->id);
    tpm->volatile_state = mix(tpm->volatile_state, c->id);
    return response;
}

static bool same_guest(const struct guest_epoch *a, const struct guest_epoch *b)
{
    return memcmp(a->boot_id, b->boot_id, 16) == 0 && a->has_domid == b->has_domid && a->domid == b->domid;
}

/* Volatile state of a power on: what was queued is extended, in order. */
static uint64_t started(const struct measures *queue)
{
    uint64_t volatile_state = FRESH;

    for (size_t k = 0; k < queue->count; k++)
        volatile_state = mix(volatile_state, get_u64(queue->list[k].digest));
    return volatile_state;
}

static void read_queue(struct measures *queue, const struct record *record)
{
    if (measures_decode(queue, record->measures.data, record->measures.len))
        violation("the queue does not decode");
}

static void write_queue(struct record *record, const struct measures *queue)
{
    uint8_t bytes[MEASURE_BYTES_MAX];

    if (record_set(&record->measures, bytes, measures_encode(queue, bytes)))
        violation("no memory");
}

static bool same_queue(const struct measures *a, const struct measures *b)
{
    return a->count == b->count && memcmp(a->list, b->list, a->count * sizeof a->list[0]) == 0;
}

static bool is_queued(const struct measures *queue, const struct measure *one)
{
    for (size_t k = 0; k < queue->count; k++)
        if (memcmp(queue->list[k].digest, one->digest, sizeof one->digest) == 0)
            return true;
    return false;
}

/* ---- The durable store ---- */

static void decode_durable(struct record *out)
{
    struct vt_why why = {0};

    if (record_decode(out, w.durable.data, w.durable.len, &why))
        violation("the durable record does not decode: %s", why.text);
}

enum outcome { DONE, FAILED, CRASHED };

static void lose_engine(void)
{
    w.engine_runs = false;
    w.engine = (struct tpm){0};
}

static void server_crash(void)
{
    trace("-- server dies");
    record_free(&w.last);
    w.loaded = false;
    w.channel = 0;
    w.has_stale = false; /* its connections die with it */
    w.attached = false;
    lose_engine();
}

/* A change of the queue that is half done has happened or has not: the durable record says which. */
static void settle_queue(const struct record *durable)
{
    struct measures found, used = w.queue, longer = w.queue;

    read_queue(&found, durable);
    measures_use(&used);
    if (w.queueing.size && measures_add(&longer, &w.queueing, NULL))
        violation("the queue is full");
    if (!same_queue(&found, &w.queue) && !(w.powering_on && same_queue(&found, &used)) &&
        !(w.queueing.size && same_queue(&found, &longer)))
        violation("the queue has %zu entries that nobody put there", found.count);
    w.queue = found;
}

/* What the stores say about the power while a power event may be half done: either way is right. */
static enum record_power durable_power(void)
{
    struct record d;
    enum record_power power;

    decode_durable(&d);
    power = d.power;
    w.powered_guest = d.guest;
    settle_queue(&d);
    record_free(&d);
    return power;
}

static void volatile_is_lost(void)
{
    enum record_power power = durable_power();

    if (w.truth == TRUTH_ON && power == RECORD_OFF && !w.powering_off)
        violation("the TPM was on, the durable record says off");
    w.truth = power == RECORD_OFF ? TRUTH_OFF : TRUTH_LOST;
    w.losses++;
    w.loss_in_flight = true;
}

static void new_guest(void)
{
    id16(w.guest.boot_id, w.remote_guest ? 77 : w.boot);
    w.guest.has_domid = true;
    w.guest.domid++;
}

/* A command without an answer was applied once or not at all: both stay possible. */
static void forget_in_flight(void)
{
    size_t count = w.cands;

    if (!w.in_flight)
        return;
    if (w.truth != TRUTH_ON && !w.loss_in_flight) {
        w.in_flight = w.saw_response = false;
        return;
    }
    if (count * 2 > CANDIDATES)
        violation("the model has too few candidates");
    for (size_t k = 0; k < count; k++) {
        w.cand[w.cands] = w.cand[k];
        tpm_run(&w.cand[w.cands++], &w.pending);
    }
    w.in_flight = w.saw_response = false;
}

/* A shim that cannot remember: a new stream. Its old request may still be on the way. */
static void shim_crash(void)
{
    trace("-- shim dies");
    w.attached = false;
    if (w.xen_shim) {
        w.saw_response = false; /* it had not noted it down */
        return;
    }
    if (w.in_flight && chance(50)) {
        w.stale = (struct message){w.stream, w.n + 1, w.my_channel, w.pending};
        w.has_stale = true;
    }
    forget_in_flight();
    w.stream = ++w.next_id;
    w.n = 0;
}

static void wipe_runtime(void)
{
    for (size_t k = 0; k < 2; k++) {
        blob_free(&w.slots[k].blob);
        w.slots[k] = (struct slot){0};
    }
    w.has_file = false;
}

static void host_reboot(void)
{
    trace("-- server's host reboots (%s)", w.runtime_on_disk ? "runtime store on disk" : "tmpfs");
    server_crash();
    w.boot++;
    if (!w.runtime_on_disk)
        wipe_runtime();
    volatile_is_lost();
    if (w.remote_guest)
        return;
    shim_crash();
    forget_in_flight();
    w.stream = ++w.next_id;
    w.n = 0;
    new_guest();
}

static void runtime_damage(void)
{
    struct slot *newest = w.slots[0].seq > w.slots[1].seq ? &w.slots[0] : &w.slots[1];

    if (!w.has_file)
        return;
    server_crash();
    if (chance(50) || !newest->well_formed) {
        trace("-- runtime file removed");
        wipe_runtime();
    } else {
        trace("-- runtime file damaged");
        newest->opens = false;
    }
    volatile_is_lost();
}

/* Between any two steps of the server. False: it is dead. */
static bool step(void)
{
    w.step_no++;
    if (w.calm || !chance(6))
        return true;
    if (chance(15))
        host_reboot();
    else
        server_crash();
    if (chance(20))
        shim_crash();
    return false;
}
#define STEP()              \
    do {                    \
        if (!step())        \
            return CRASHED; \
    } while (0)

/* ---- The server: stores ---- */

static void record_cleanup(struct record *record)
{
    record_free(record);
}
#define AUTO_RECORD VT_CLEANUP(record_cleanup) struct record

static struct blob encode(const struct record *record)
{
    struct blob blob = {0};

    if (record_encode(record, &blob.data, &blob.len))
        violation("the record does not encode");
    return blob;
}

static enum outcome commit_durable(const struct record *next)
{
    struct blob blob;

    STEP();
    if (!w.calm && chance(5)) {
        trace("   commit fails");
        return FAILED;
    }
    blob = encode(next);
    blob_free(&w.durable);
    w.durable = blob;
    if (!w.calm && chance(3)) {
        trace("   commit: outcome unknown");
        return FAILED;
    }
    STEP();
    return DONE;
}

static struct slot *newest_slot(void)
{
    struct slot *newest = NULL;

    for (size_t k = 0; k < 2; k++)
        if (w.slots[k].well_formed && (!newest || w.slots[k].seq > newest->seq))
            newest = &w.slots[k];
    return newest;
}

static enum outcome write_runtime(const struct record *next)
{
    struct slot *newest = newest_slot();
    struct slot *to = newest == &w.slots[0] ? &w.slots[1] : &w.slots[0];
    struct blob blob;

    if (MUTANT == M_NO_RUNTIME_WRITE)
        return DONE;
    if (MUTANT == M_ONE_SLOT && newest)
        to = newest;
    STEP();
    if (!w.calm && chance(3))
        return FAILED; /* no space */
    if (newest && newest->seq > next->seq && MUTANT != M_KEEP_VOID_SLOTS)
        violation("runtime seq goes back");
    w.has_file = true;
    blob = encode(next);
    blob_free(&to->blob);
    to->blob = blob;
    to->seq = next->seq;
    to->opens = MUTANT == M_TORN_READS;
    to->well_formed = MUTANT == M_TORN_READS;
    if (MUTANT == M_TORN_READS && blob.len > 40)
        to->blob.data[blob.len - 17] ^= 0x5a; /* the middle of what is not yet written */
    STEP();
    if (MUTANT == M_TORN_READS && blob.len > 40)
        to->blob.data[blob.len - 17] ^= 0x5a;
    to->well_formed = to->opens = true;
    if (newest && newest != to && newest->seq == next->seq)
        newest->well_formed = false;
    STEP();
    return DONE;
}

/* Newest first; the first one must open. */
static bool read_runtime(struct record *out)
{
    struct slot *newest = newest_slot();
    struct slot *other = newest == &w.slots[0] ? &w.slots[1] : &w.slots[0];

    if (!newest || MUTANT == M_ALWAYS_NEEDS_POWER)
        return false;
    if (MUTANT == M_OLDER_SLOT && !newest->opens && other->well_formed)
        newest = other;
    return newest->opens && record_decode(out, newest->blob.data, newest->blob.len, NULL) == VT_OK;
}

static void drop_void_slots(const uint8_t boot_id[16])
{
    for (size_t k = 0; k < 2; k++) {
        AUTO_RECORD r = {0};
        struct slot *slot = &w.slots[k];

        if (!slot->well_formed)
            continue;
        if (slot->opens && record_decode(&r, slot->blob.data, slot->blob.len, NULL))
            violation("a slot that opens does not decode");
        if (!slot->opens || memcmp(r.boot_id, boot_id, 16))
            slot->well_formed = false;
    }
}

/* The newest does not open: the older one is void as well. */
static void drop_all_if_unreadable(void)
{
    struct slot *newest = newest_slot();

    if (newest && !newest->opens)
        w.slots[0].well_formed = w.slots[1].well_formed = false;
}

/* ---- The server: recovery ---- */

static int recover(struct record *d, struct record *r, bool has_runtime, const uint8_t boot_id[16])
{
    struct vt_why why = {0};
    int err;

    if (MUTANT == M_IGNORE_BOOT && has_runtime)
        memcpy(r->boot_id, boot_id, 16);
    if (MUTANT == M_MARK_HIDES_LOSS && has_runtime && r->seq == d->seq) {
        memcpy(d->boot_id, boot_id, 16);
        r->power = d->power;
    }
    if (MUTANT == M_IGNORE_BASE && has_runtime && r->base_seq > d->seq)
        r->base_seq = d->seq;
    if (MUTANT == M_SILENT_RESET && !has_runtime) {
        w.last = *d;
        memset(d, 0, sizeof *d);
        return VT_OK;
    }
    err = record_recover(&w.last, d, has_runtime ? r : NULL, boot_id, &why);
    if (err == VT_EBROKEN && !why.text[0])
        violation("broken without a reason");
    if (MUTANT == M_WINDOW_SHUT)
        w.last.window_open = false;
    if (MUTANT == M_QUEUE_LOST && has_runtime)
        (void)!record_set(&w.last.measures, NULL, 0);
    return err;
}

static enum outcome load(void)
{
    AUTO_RECORD d = {0};
    AUTO_RECORD r = {0};
    uint8_t boot_id[16];
    bool has_runtime;

    if (w.loaded)
        return DONE;
    STEP();
    id16(boot_id, w.boot);
    decode_durable(&d);
    w.durable_seq = d.seq;
    has_runtime = read_runtime(&r);
    if (recover(&d, &r, has_runtime, boot_id)) {
        w.broken = true;
        return FAILED;
    }
    if (MUTANT != M_KEEP_VOID_SLOTS) {
        drop_all_if_unreadable();
        drop_void_slots(boot_id);
    }
    w.loaded = true;
    lose_engine();
    trace("   loaded seq=%llu base=%llu power=%d n=%llu%s", (unsigned long long)w.last.seq,
          (unsigned long long)w.durable_seq, (int)w.last.power, (unsigned long long)w.last.n,
          w.last.window_open ? " window open" : "");
    STEP();
    return DONE;
}

static void thaw(void)
{
    if (w.engine_runs)
        return;
    w.engine.permanent = get_u64(w.last.permanent.data);
    w.engine.volatile_state = w.last.volatile_state.len ? get_u64(w.last.volatile_state.data) : FRESH;
    w.engine_runs = true;
}

/* The record after this one, with the engine's state in it. */
static void stage(struct record *next)
{
    uint8_t bytes[8];

    *next = w.last;
    next->response = next->volatile_state = next->permanent = next->measures = (struct vt_bytes){0};
    next->seq = w.last.seq + 1;
    id16(next->boot_id, w.boot);
    if (record_set(&next->response, w.last.response.data, w.last.response.len) ||
        record_set(&next->measures, w.last.measures.data, w.last.measures.len))
        violation("no memory");
    put_u64(bytes, w.engine.permanent);
    if (record_set(&next->permanent, bytes, 8))
        violation("no memory");
    put_u64(bytes, w.engine.volatile_state);
    if (next->power == RECORD_ON && record_set(&next->volatile_state, bytes, 8))
        violation("no memory");
}

/* The record is safe: it is the last one now. Else nothing of it has happened. */
static enum outcome keep(struct record *next, bool durable)
{
    enum outcome outcome;

    next->base_seq = durable ? next->seq : w.durable_seq;
    outcome = durable ? commit_durable(next) : write_runtime(next);
    if (outcome == CRASHED)
        return CRASHED;
    if (outcome == FAILED && MUTANT != M_KEEP_AFTER_FAILURE) {
        record_free(&w.last);
        w.loaded = false;
        lose_engine();
        return FAILED;
    }
    if (durable)
        w.durable_seq = next->seq;
    record_free(&w.last);
    w.last = *next;
    memset(next, 0, sizeof *next);
    return DONE;
}

/* ---- The server: a command ---- */

static uint64_t run_in_engine(const struct command *c)
{
    for (int tries = 0; tries < 2; tries++) {
        uint64_t response;

        thaw();
        response = tpm_run(&w.engine, c);
        if (w.calm || !chance(8))
            return response;
        trace("   engine dies");
        if (MUTANT != M_FAIL_APPLIES || tries == 0)
            lose_engine();
    }
    w.poisoned = true;
    thaw();
    return TPM_FAIL;
}

static enum record_verdict judge(const struct message *m, const char **why)
{
    struct record last = w.last;
    uint8_t stream[16], hash[32];

    id16(stream, m->stream);
    hash_of(hash, &m->command);
    if (MUTANT == M_IGNORE_HASH)
        memcpy(last.command_sha256, hash, 32);
    if (MUTANT == M_RUN_AGAIN && memcmp(last.stream, stream, 16) == 0 && last.n == m->n)
        return RECORD_RUN;
    if (MUTANT == M_WINDOW_STAYS_OPEN)
        last.window_open = true;
    return record_judge(&last, stream, m->n, hash, why);
}

static void answer(uint64_t response)
{
    w.saw_response = true;
    w.seen_response = response;
}

static enum outcome run(const struct message *m)
{
    AUTO_RECORD next = {0};
    uint8_t stream[16], hash[32], bytes[8];
    bool on = w.last.power == RECORD_ON;
    uint64_t response;
    enum outcome outcome;

    thaw();
    response = on ? run_in_engine(&m->command) : TPM_FAIL;
    STEP();
    stage(&next);
    id16(stream, m->stream);
    hash_of(hash, &m->command);
    record_command(&next, stream, m->n, hash);
    put_u64(bytes, response);
    if (record_set(&next.response, bytes, 8))
        violation("no memory");
    if (MUTANT == M_ANSWER_BEFORE_COMMIT)
        answer(response);
    outcome = keep(&next, on && response != TPM_FAIL && m->command.kind == KIND_WRITE_NV);
    if (outcome != DONE)
        return outcome;
    if (w.last.window_open)
        violation("a command was recorded and the window is still open");
    trace("   ran %llu kind=%d n=%llu -> %llx, seq=%llu", (unsigned long long)m->command.id, (int)m->command.kind,
          (unsigned long long)m->n, (unsigned long long)response, (unsigned long long)w.last.seq);
    return DONE;
}

/* VERDICT through *refused: the honest shim is never refused. */
static enum outcome server_execute(const struct message *m, bool *refused)
{
    enum outcome outcome;
    const char *why = "";

    *refused = false;
    if (m->channel != w.channel && MUTANT != M_NO_FENCE)
        return FAILED;
    outcome = load();
    if (outcome != DONE)
        return outcome;
    switch (judge(m, &why)) {
    case RECORD_REFUSE:
        trace("   refused: %s", why);
        *refused = true;
        return FAILED;
    case RECORD_REPLAY:
        w.replays++;
        break;
    case RECORD_RUN:
        outcome = run(m);
        if (outcome != DONE)
            return outcome;
        break;
    }
    STEP();
    return DONE;
}

/* ---- The server: power ---- */

/* The file must hold a record of this boot before a power on is answered. */
static enum outcome mark_runtime(void)
{
    AUTO_RECORD mark = {0};
    struct blob blob;
    int err;

    if (newest_slot() || MUTANT == M_NO_MARK)
        return DONE;
    blob = encode(&w.last);
    err = record_decode(&mark, blob.data, blob.len, NULL);
    blob_free(&blob);
    if (err)
        violation("the mark does not decode");
    return write_runtime(&mark);
}

static enum outcome power_event(enum record_power power, const struct guest_epoch *guest)
{
    AUTO_RECORD next = {0};
    struct measures queue;
    uint8_t bytes[8];
    enum outcome outcome = mark_runtime();

    if (outcome != DONE) {
        if (outcome == FAILED)
            lose_engine();
        return outcome;
    }
    thaw();
    read_queue(&queue, &w.last);
    if (power == RECORD_ON)
        w.engine.volatile_state = started(&queue);
    stage(&next);
    if (power == RECORD_ON && MUTANT != M_QUEUE_STAYS && MUTANT != M_QUEUE_LATE) {
        measures_use(&queue);
        write_queue(&next, &queue);
    }
    next.power = power;
    if (guest)
        next.guest = *guest;
    put_u64(bytes, w.engine.volatile_state);
    if (record_set(&next.volatile_state, bytes, power == RECORD_ON ? 8 : 0))
        violation("no memory");
    outcome = keep(&next, true);
    if (outcome == DONE)
        lose_engine();
    return outcome;
}

/* M_QUEUE_LATE: by then the guest may be running, and this one may not come. */
static enum outcome use_queue_late(void)
{
    AUTO_RECORD next = {0};
    struct measures queue;

    thaw();
    stage(&next);
    read_queue(&queue, &w.last);
    measures_use(&queue);
    write_queue(&next, &queue);
    return keep(&next, true);
}

/* `vtpmctl instance measure`; said twice, it looks whether the first time did it. */
static enum outcome server_queue(const struct measure *one)
{
    AUTO_RECORD next = {0};
    struct measures queue;
    enum outcome outcome = load();

    if (outcome != DONE)
        return outcome;
    read_queue(&queue, &w.last);
    if (is_queued(&queue, one))
        return DONE;
    thaw();
    stage(&next);
    if (measures_add(&queue, one, NULL))
        violation("the queue is full");
    write_queue(&next, &queue);
    outcome = keep(&next, true);
    if (outcome != DONE)
        return outcome;
    trace("   queued, %zu in all", queue.count);
    STEP();
    return DONE;
}

static enum outcome server_power_on(const struct guest_epoch *guest)
{
    enum outcome outcome = load();
    bool act;

    if (outcome != DONE)
        return outcome;
    act = w.last.power == RECORD_OFF ||
          (w.last.power == RECORD_NEEDS_POWER_ON &&
           (!same_guest(&w.last.guest, guest) || MUTANT == M_POWER_ON_SAME_GUEST)) ||
          (w.last.power == RECORD_ON && MUTANT == M_POWER_ON_WHEN_ON);
    if (act) {
        trace("   power on");
        outcome = power_event(RECORD_ON, guest);
        if (outcome == DONE && MUTANT == M_QUEUE_LATE)
            outcome = use_queue_late();
        if (outcome != DONE)
            return outcome;
    }
    STEP();
    return DONE;
}

static enum outcome server_power_off(void)
{
    enum outcome outcome = load();

    if (outcome != DONE)
        return outcome;
    trace("   power off");
    return w.last.power == RECORD_OFF ? DONE : power_event(RECORD_OFF, NULL);
}

/* ---- The shim and the trusted side: they repeat until it is done ---- */

static void check_broken(void)
{
    if (w.broken)
        violation("broken without a cause: %llu", (unsigned long long)w.seed);
}

/* After a power on only the permanent state tells candidates apart. */
static void all_fresh(void)
{
    size_t kept = 0;

    for (size_t k = 0; k < w.cands; k++) {
        bool known = false;

        for (size_t j = 0; j < kept; j++)
            known |= w.cand[j].permanent == w.cand[k].permanent;
        if (!known)
            w.cand[kept++].permanent = w.cand[k].permanent;
    }
    w.cands = kept;
    for (size_t k = 0; k < kept; k++)
        w.cand[k].volatile_state = started(&w.queue);
    measures_use(&w.queue);
}

static void check_queue(void)
{
    struct measures queue;

    read_queue(&queue, &w.last);
    if (!same_queue(&queue, &w.queue))
        violation("the queue has %zu entries, not %zu", queue.count, w.queue.count);
}

static void attach(void)
{
    if (w.attached)
        return;
    w.powering_on = true;
    while (!w.attached) {
        w.my_channel = ++w.next_channel;
        w.channel = w.my_channel; /* a newer channel takes over */
        if (server_power_on(&w.guest) != DONE) {
            check_broken();
            continue;
        }
        w.attached = true;
    }
    w.powering_on = false;
    if (w.truth == TRUTH_OFF || (w.truth == TRUTH_LOST && !same_guest(&w.powered_guest, &w.guest))) {
        w.truth = TRUTH_ON;
        w.powered_guest = w.guest;
        all_fresh();
    }
    if (w.truth == TRUTH_ON && w.last.power != RECORD_ON)
        violation("on, but the server says %d", (int)w.last.power);
    if (w.truth == TRUTH_LOST && w.last.power != RECORD_NEEDS_POWER_ON)
        violation("PCRs were lost, but the server says %d", (int)w.last.power);
    check_queue();
}

static void queue_measurement(void)
{
    struct measure one = {.pcr = 4, .always = chance(20), .size = 1};

    if (w.queue.count > 5)
        return;
    put_u64(one.digest, ++w.next_id);
    w.queueing = one;
    while (server_queue(&one) != DONE)
        check_broken();
    w.queueing.size = 0;
    if (!is_queued(&w.queue, &one) && measures_add(&w.queue, &one, NULL))
        violation("the queue is full");
    check_queue();
}

/* Detach{off} when the guest is gone, or the administrator's power-cycle. */
static void power_off(void)
{
    w.powering_off = true;
    for (;;) {
        enum outcome outcome = server_power_off();

        if (outcome == DONE)
            break;
        check_broken();
    }
    w.powering_off = false;
    w.truth = TRUTH_OFF;
    w.attached = false;
}

/* The guest gets this answer. Which of the candidates can it come from? */
static void guest_gets(uint64_t response)
{
    size_t kept = 0;
    struct tpm cand;

    trace("guest: %llu -> %llx", (unsigned long long)w.pending.id, (unsigned long long)response);
    if (response == TPM_FAIL) {
        if (w.truth == TRUTH_ON && !w.poisoned && !w.loss_in_flight)
            violation("TPM_FAIL while the TPM is on");
        w.fails++;
        return;
    }
    if (w.truth != TRUTH_ON && !w.loss_in_flight)
        violation("a real answer from a TPM that is not on");
    for (size_t k = 0; k < w.cands; k++) {
        cand = w.cand[k];
        if (tpm_run(&cand, &w.pending) == response)
            w.cand[kept++] = cand;
    }
    if (!kept)
        violation("the answer to command %llu comes from a state that cannot be: something was lost or done twice",
                  (unsigned long long)w.pending.id);
    w.cands = kept;
    w.values++;
}

/* Delivers, repeats, has it repeated once more: the same response. False: the shim died meanwhile. */
static void shim_send(void)
{
    bool again = !w.calm && chance(10);
    uint64_t first = 0;
    bool has_first = false;
    uint64_t losses = w.losses;

    while (w.in_flight) {
        struct message m;
        bool refused;
        enum outcome outcome;

        attach();
        if (!w.in_flight)
            break;
        m = (struct message){w.stream, w.n + 1, w.my_channel, w.pending};
        outcome = server_execute(&m, &refused);
        if (refused)
            violation("an honest shim was refused (n=%llu)", (unsigned long long)m.n);
        if (outcome == FAILED)
            check_broken();
        if (outcome == DONE)
            answer(get_u64(w.last.response.data));
        if (!w.in_flight || !w.saw_response)
            continue;
        if (has_first && losses == w.losses && first != w.seen_response)
            violation("repeated n=%llu: another response", (unsigned long long)m.n);
        if (again) {
            first = w.seen_response;
            has_first = true;
            again = w.saw_response = false;
            continue;
        }
        guest_gets(w.seen_response);
        w.n++;
        w.in_flight = w.saw_response = false;
    }
    w.loss_in_flight = false;
}

static void guest_command(enum kind kind)
{
    w.pending = (struct command){++w.next_id, kind};
    w.in_flight = true;
    w.saw_response = w.poisoned = w.loss_in_flight = false;
    attach();
    w.loss_in_flight = false;
    shim_send();
}

/* ---- Those who mean harm, and accidents ---- */

static void rogue_message(void)
{
    struct message m = {w.stream, w.n, w.my_channel, w.pending};
    uint64_t seq;
    bool refused;
    enum outcome outcome;

    attach();
    if (load() != DONE || w.last.window_open || !w.n || !w.attached)
        return;
    m.stream = w.stream;
    m.channel = w.my_channel;
    if (w.in_flight || memcmp(&w.last.n, &w.n, 8))
        return;
    seq = w.last.seq;
    switch (rnd() % 4) {
    case 0:
        m.n = w.n - 1;
        break;
    case 1:
        m.n = w.n + 2;
        break;
    case 2:
        m.command.id = ++w.next_id; /* other bytes, same n */
        break;
    default:
        m.stream = ++w.next_id;
        m.n = 2 + rnd() % 3;
        break;
    }
    outcome = server_execute(&m, &refused);
    if (outcome == CRASHED)
        return;
    if (outcome == DONE || (!refused && w.loaded && w.last.seq != seq))
        violation("a message with n=%llu after n=%llu was not refused", (unsigned long long)m.n,
                  (unsigned long long)w.n);
}

/* What the older channel still had on the way arrives after the newer one has taken over. */
static void stale_message(void)
{
    bool refused;

    if (!w.has_stale || !w.attached)
        return;
    w.has_stale = false;
    trace("stale message of channel %llu arrives", (unsigned long long)w.stale.channel);
    if (server_execute(&w.stale, &refused) == FAILED && !refused)
        check_broken();
}

/* Somebody puts an old copy of the database back. Says whether it must be noticed. */
static bool restore_old_database(struct blob *copy)
{
    AUTO_RECORD r = {0};
    AUTO_RECORD d = {0};
    uint8_t boot_id[16];
    bool must_notice;

    server_crash();
    blob_free(&w.durable);
    w.durable = *copy;
    *copy = (struct blob){0};
    id16(boot_id, w.boot);
    decode_durable(&d);
    must_notice = newest_slot() && newest_slot()->opens && read_runtime(&r) &&
                  memcmp(r.boot_id, boot_id, 16) == 0 && r.base_seq > d.seq;
    return must_notice;
}

static void check_old_database(struct blob *copy)
{
    bool must = restore_old_database(copy);

    w.calm = true;
    for (int tries = 0; tries < 3; tries++) {
        enum outcome outcome = load();

        if (must && (outcome != FAILED || !w.broken || w.loaded))
            violation("the database is older than the runtime store and nobody said so");
        w.loaded = false;
        record_free(&w.last);
    }
}

static void guest_dies(void)
{
    trace("-- guest dies, another one starts");
    forget_in_flight();
    power_off();
    w.stream = ++w.next_id;
    w.n = 0;
    new_guest();
}

/* ---- A schedule ---- */

static void manufacture(void)
{
    AUTO_RECORD first = {.seq = 1, .base_seq = 1};
    uint8_t bytes[8];

    id16(first.boot_id, w.boot);
    put_u64(bytes, 0x5eed);
    if (record_set(&first.permanent, bytes, 8))
        violation("no memory");
    w.durable = encode(&first);
    w.cand[0] = (struct tpm){0x5eed, FRESH};
    w.cands = 1;
    w.truth = TRUTH_OFF;
}

static void begin(uint64_t seed)
{
    bool verbose = w.verbose;

    memset(&w, 0, sizeof w);
    w.verbose = verbose;
    w.seed = seed;
    rng_state = mix(seed, 0xabc);
    w.boot = 100;
    w.next_id = 1000;
    w.stream = ++w.next_id;
    w.xen_shim = chance(50);
    w.remote_guest = chance(40);
    w.runtime_on_disk = chance(30);
    w.guest.domid = 4;
    new_guest();
    manufacture();
}

static void end(void)
{
    record_free(&w.last);
    blob_free(&w.durable);
    wipe_runtime();
}

/* With nothing crashing any more, everything must work again after a power-cycle at the latest. */
static void calm_down(void)
{
    w.calm = true;
    guest_command(KIND_EXTEND);
    server_crash();
    guest_command(KIND_READ);
    power_off();
    w.attached = false;
    guest_command(KIND_WRITE_NV);
    server_crash();
    w.poisoned = false;
    guest_command(KIND_READ);
    if (w.truth != TRUTH_ON || w.cands != 1)
        violation("at the end: power %d, %zu candidates", (int)w.truth, w.cands);
}

static void one_event(struct blob *copy)
{
    unsigned dice = (unsigned)(rnd() % 100);

    if (dice < 66)
        guest_command((enum kind)(rnd() % KINDS));
    else if (dice < 70)
        queue_measurement();
    else if (dice < 75)
        rogue_message();
    else if (dice < 79)
        shim_crash();
    else if (dice < 82)
        server_crash();
    else if (dice < 85)
        lose_engine(); /* an idle engine leaves */
    else if (dice < 87)
        host_reboot();
    else if (dice < 89)
        runtime_damage();
    else if (dice < 91)
        guest_dies();
    else if (dice < 93)
        power_off();
    else if (dice < 97)
        stale_message();
    else if (!copy->data) {
        copy->data = vt_memdup(w.durable.data, w.durable.len);
        copy->len = copy->data ? w.durable.len : 0;
    }
}

_Static_assert(MUTANT >= 0 && (int)MUTANT < (int)MUTANTS, "no such mutant");

static const char *volatile failed;

static bool schedule(uint64_t seed, uint64_t *values)
{
    static struct blob copy;
    size_t events;

    begin(seed);
    failed = NULL;
    if (setjmp(give_up)) {
        failed = verdict_text;
    } else {
        events = 5 + rnd() % 60;
        while (events--)
            one_event(&copy);
        calm_down();
        if (copy.data && chance(50))
            check_old_database(&copy);
    }
    *values += w.values;
    blob_free(&copy);
    end();
    return !failed;
}

static uint64_t only_seed;

static void test_recovery__random_schedules__nothing_lost_nothing_twice(void **state)
{
    const char *count_text = getenv("RECOVERY_SCHEDULES");
    uint64_t count = count_text ? strtoull(count_text, NULL, 10) : 40000;
    uint64_t first = only_seed ? only_seed : 1, values = 0;

    (void)state;
    w.verbose = only_seed != 0;
    if (only_seed)
        count = 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (schedule(seed, &values))
            continue;
        print_message("schedule %llu: %s\nrepeat it with: test_recovery_model %llu\n", (unsigned long long)seed,
                      verdict_text, (unsigned long long)seed);
        fail();
    }
    print_message("%llu schedules, %llu commands answered\n", (unsigned long long)count, (unsigned long long)values);
    assert_true(only_seed || values > count);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovery__random_schedules__nothing_lost_nothing_twice),
    };

    if (argc > 1)
        only_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
