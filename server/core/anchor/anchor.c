/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/anchor/anchor.h"

#include <stdio.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/broker_priv.h"

/* The TPM's memory wears: a server that is started again and again, and people who ask again and again, are bounded. */
#define START_GAP_S     60
#define DEMAND_MOST     6u
#define DEMAND_WINDOW_S 600u
#define WAITING         16

#define WAY_OUT "vtpm-server accept-rollback --data-dir %.120s --keyslot recovery-file:FILE"

enum step { IDLE, PUTTING, WRITING, FINISHING };

struct waiter {
    void (*done)(void *arg, int err, const struct vt_why *why);
    void *arg;
};

struct anchor {
    struct broker *broker;
    struct loop_timer *timer;
    struct anchor_place place;
    bool is_on, is_skipped;     /* skipped: anchored, but opened by the recovery key without looking */
    bool is_named;              /* `place` is what an option said, not what the file says */
    bool may_know;              /* no anchor in the file, but a slot of a TPM 2.0, which is `place` */
    bool is_abandoned, is_last; /* last: the advance of a clean stop was begun */
    uint64_t period_ms;
    uint32_t nv;                /* where the next row goes */
    struct anchor_rows rows;
    bool is_stale;              /* rows must be read again */
    enum step step;
    bool goes_on;               /* another one follows: this one makes up for the last, or was begun too early */
    int err;
    struct vt_why why;          /* of the last advance; "": it went well */
    int work_err;               /* the worker's own */
    struct vt_why work_why;
    struct act_limit demand;
    struct waiter waiting[WAITING];
    size_t waiting_count;
};

int anchor_parse(struct anchor_config *config, const char *text, struct vt_why *why)
{
    memset(config, 0, sizeof *config);
    config->mode = strcmp(text, "auto") == 0 ? ANCHOR_AUTO : strcmp(text, "none") == 0 ? ANCHOR_OFF : ANCHOR_IN;
    return config->mode == ANCHOR_IN ? anchor_place_parse(&config->place, text, why) : VT_OK;
}

/* ---- One advance: put, write, finish ---- */

static void run(struct anchor *anchor);

static void answer_all(struct anchor *anchor, int err)
{
    size_t count = anchor->waiting_count;
    struct waiter waiting[WAITING];

    memcpy(waiting, anchor->waiting, sizeof waiting);
    anchor->waiting_count = 0;
    for (size_t i = 0; i < count; i++)
        waiting[i].done(waiting[i].arg, err, &anchor->why);
}

static void ended(struct anchor *anchor, int err)
{
    struct broker *broker = anchor->broker;
    bool was_well = !anchor->err;

    anchor->step = IDLE;
    anchor->err = err;
    if (err) {
        anchor->is_stale = true;
        vt_fail(&anchor->why, err, "%s", vt_err_text(err));
        if (was_well)
            vt_warning("anchor: the host TPM does not hold the newest state of the store; %s: %s",
                       err == VT_EAUTH ? "tried again at the next start or by vtpmctl anchor" : "tried again",
                       anchor->why.text);
    } else {
        anchor->why.text[0] = '\0';
        if (!was_well)
            vt_notice("anchor: the host TPM holds the newest state of the store again");
    }
    answer_all(anchor, err);
    /* A wrong secret counts as a guess: it is not repeated without a person. */
    if (!broker->draining && !anchor->is_abandoned && err != VT_EAUTH)
        loop_timer_start(anchor->timer, anchor->period_ms);
    broker_progress(broker);
}

static void on_finished(void *arg, int err)
{
    struct anchor *anchor = arg;

    if (!err) {
        anchor->rows.done = anchor->rows.pending;
        anchor->rows.has_done = true;
        anchor->rows.has_pending = false;
        vt_debug("anchor: epoch %llu of generation %llu", (unsigned long long)anchor->rows.done.epoch,
                 (unsigned long long)anchor->rows.done.generation);
    }
    if (!err && anchor->goes_on && !anchor->is_abandoned) {
        anchor->step = IDLE;
        run(anchor);
        return;
    }
    ended(anchor, err);
}

static void work_write(void *arg)
{
    struct anchor *anchor = arg;

    memset(&anchor->work_why, 0, sizeof anchor->work_why);
    anchor->work_err = anchor_write(&anchor->place, anchor->broker->keys, &anchor->rows.pending, &anchor->work_why);
}

static void written(void *arg)
{
    struct anchor *anchor = arg;
    int err = anchor->work_err;

    anchor->step = FINISHING;
    if (err)
        anchor->why = anchor->work_why;
    else
        err = db_anchor_done(anchor->broker->db, anchor->rows.pending.epoch, on_finished, anchor);
    if (err)
        ended(anchor, err);
}

static void write_it(struct anchor *anchor)
{
    int err = anchor->is_abandoned ? VT_ECLOSED : VT_OK;

    anchor->step = WRITING;
    if (!err)
        err = broker_work(anchor->broker, work_write, written, anchor);
    if (err)
        ended(anchor, err);
}

static void on_put(void *arg, int err)
{
    struct anchor *anchor = arg;

    if (err == VT_EEXISTS && anchor->goes_on && !anchor->is_abandoned) {
        anchor->step = IDLE;
        run(anchor);
    } else if (err == VT_EEXISTS) {
        ended(anchor, VT_OK); /* nothing has changed since */
    } else if (err) {
        ended(anchor, err);
    } else {
        anchor->rows.has_pending = true;
        write_it(anchor);
    }
}

static int put(struct anchor *anchor)
{
    struct anchor_rows *rows = &anchor->rows;
    struct db_anchor next = {.epoch = rows->has_done ? rows->done.epoch + 1 : 1, .nv = anchor->nv};

    if (rows->has_done)
        keys_anchor_hash(anchor->broker->keys, &rows->done, next.previous);
    anchor_place_text(next.place, &anchor->place);
    return db_anchor_put(anchor->broker->db, &next, false, &rows->pending, NULL, on_put, anchor);
}

static void run(struct anchor *anchor)
{
    int err = VT_OK;

    if (anchor->step != IDLE)
        return;
    anchor->why.text[0] = '\0';
    if (anchor->is_stale)
        err = anchor_rows_read(&anchor->rows, anchor->broker->db, &anchor->why);
    anchor->is_stale = err != VT_OK;
    anchor->goes_on = anchor->rows.has_pending;
    if (!err && anchor->rows.has_pending) {
        write_it(anchor);
        return;
    }
    anchor->step = PUTTING;
    if (!err)
        err = put(anchor);
    if (err)
        ended(anchor, err);
}

static void on_timer(void *arg)
{
    struct anchor *anchor = arg;

    if (!anchor->broker->draining && !anchor->is_abandoned)
        run(anchor);
}

/* ---- Opening ---- */

/* Which TPM, if any. */
static int choose(struct anchor *anchor, const struct anchor_config *config, const struct db_keyslot *slot,
                  struct vt_why *why)
{
    const struct db_anchor *last = anchor_rows_last(&anchor->rows);

    anchor->is_on = true;
    anchor->is_named = config->mode == ANCHOR_IN;
    if (anchor->is_named) {
        anchor->place = config->place;
    } else if (last && config->mode == ANCHOR_AUTO) {
        if (anchor_place_parse(&anchor->place, last->place, why))
            return VT_EDAMAGED;
    } else if (last && strcmp(slot->kind, "recovery") != 0) {
        return vt_fail(why, VT_ECONFLICT,
                       "--anchor none: the store is anchored in the host TPM (%.80s), and only the "
                       "recovery key may open it without looking there: --keyslot recovery-file:FILE; to "
                       "take the anchor "
                       "off for good: " WAY_OUT " --anchor none",
                       last->place, anchor->broker->data_dir);
    } else if (last) {
        anchor->is_on = false;
        anchor->is_skipped = true;
        vt_warning("anchor: NOT LOOKED AT (--anchor none, by the recovery key): this may be an older copy of "
                   "the store");
    } else {
        /* A TPM 1.2 makes an anchor for its owner only, who must be named. */
        anchor->may_know = !anchor_place_of_slots(&anchor->place, anchor->broker->db);
        anchor->is_on = anchor->may_know && config->mode == ANCHOR_AUTO && keyslot_is_tpm(slot->kind);
    }
    return VT_OK;
}

/* accept-rollback asks the TPM that the file names: if another one was named, it must be there too. */
static int refuse(const struct anchor *anchor, enum anchor_verdict verdict, const struct anchor_held *held,
                  struct vt_why *why)
{
    char text[ANCHOR_TEXT], place[DB_ANCHOR_PLACE] = "";

    anchor_explain(text, verdict, &anchor->rows, held);
    if (anchor->is_named)
        anchor_place_text(place, &anchor->place);
    return vt_fail(why, VT_EDAMAGED,
                   "%.270s; nothing was changed; put the newest copy back, or accept this one: " WAY_OUT "%s%.120s",
                   text, anchor->broker->data_dir, place[0] ? " --anchor " : "", place);
}

/* A file that knows of no anchor, not to be anchored: the TPM of its slots may know better, if it answers. */
static int look_aside(const struct anchor *anchor, struct vt_why *why)
{
    struct vt_why reason = {0};
    struct anchor_held held;

    if (anchor_look(&held, &anchor->place, anchor->broker->keys, &anchor->rows, &reason)) {
        vt_debug("anchor: the host TPM cannot be asked: %s", reason.text);
        return VT_OK;
    }
    return anchor_judge(&anchor->rows, &held, anchor->broker->keys) == ANCHOR_BEFORE
               ? refuse(anchor, ANCHOR_BEFORE, &held, why) : VT_OK;
}

/* Fail closed: a TPM that cannot be asked could hold anything. */
static int look(struct anchor *anchor, const struct anchor_config *config, struct vt_why *why)
{
    const bool must = anchor_rows_last(&anchor->rows) || config->mode == ANCHOR_IN;
    enum anchor_verdict verdict;
    struct anchor_held held;
    struct vt_why reason = {0};
    char text[ANCHOR_TEXT];
    int err = anchor_look(&held, &anchor->place, anchor->broker->keys, &anchor->rows, &reason);

    if (err && must)
        return vt_fail(
            why, err,
            "the host TPM cannot be asked whether this is the newest copy of the store: %.230s; or "
            "open it without looking, by the recovery key: --anchor none --keyslot recovery-file:FILE",
            reason.text);
    if (err) {
        anchor->is_on = false;
        vt_warning("anchor: none: the host TPM cannot be asked: %s", reason.text);
        return VT_OK;
    }
    verdict = anchor_judge(&anchor->rows, &held, anchor->broker->keys);
    if (!anchor_is_newest(verdict))
        return refuse(anchor, verdict, &held, why);
    anchor_explain(text, verdict, &anchor->rows, &held);
    anchor->nv = anchor_rows_last(&anchor->rows) ? anchor_rows_last(&anchor->rows)->nv
                 : held.has_free ? held.free_nv : held.nv;
    vt_info("anchor: %s", verdict == ANCHOR_NEW ? "none yet: it is made" : text);
    return VT_OK;
}

int anchor_open(struct anchor **out, struct broker *broker, const struct anchor_config *config,
                const struct db_keyslot *slot, struct vt_why *why)
{
    struct anchor *anchor = VT_NEW(struct anchor);
    int err = anchor ? VT_OK : vt_fail(why, VT_ENOMEM, "out of memory");

    *out = anchor;
    if (err)
        return err;
    anchor->broker = broker;
    anchor->period_ms = (config->minutes ? config->minutes : ANCHOR_MINUTES) * 60000ull;
    err = anchor_rows_read(&anchor->rows, broker->db, why);
    if (!err)
        err = choose(anchor, config, slot, why);
    if (!err && anchor->is_on)
        err = look(anchor, config, why);
    else if (!err && anchor->may_know)
        err = look_aside(anchor, why);
    if (!err)
        err = loop_timer_new(broker->loop, &anchor->timer, on_timer, anchor);
    return err;
}

void anchor_start(struct anchor *anchor)
{
    const struct anchor_rows *rows = &anchor->rows;
    int64_t age = (int64_t)time(NULL) - rows->done.time;

    if (anchor->is_skipped)
        act_write(anchor->broker, "anchor-skipped", NULL, "server", "opened by the recovery key with --anchor none");
    if (!anchor->is_on)
        return;
    if (rows->has_done && !rows->has_pending && age >= 0 && age < START_GAP_S)
        loop_timer_start(anchor->timer, (uint64_t)(START_GAP_S - age) * 1000);
    else
        run(anchor);
}

/* ---- On demand, at the end ---- */

void anchor_now(struct anchor *anchor, void (*done)(void *arg, int err, const struct vt_why *why), void *arg)
{
    struct vt_why why = {0};
    unsigned held;

    if (!anchor->is_on)
        vt_fail(&why, VT_ECONFLICT, "this store is not anchored in a host TPM%s",
                anchor->is_skipped ? " now: it was opened with --anchor none" : ": vtpm-server --anchor tpm2");
    else if (anchor->waiting_count == WAITING ||
             !act_limit_pass(&anchor->demand, DEMAND_MOST, DEMAND_WINDOW_S, loop_now_us(), &held))
        vt_fail(&why, VT_EAGAIN,
                "asked for more than %u times in %u minutes: the TPM's memory wears; it is anchored by "
                "itself every %llu minutes, and at a clean stop",
                DEMAND_MOST, DEMAND_WINDOW_S / 60, (unsigned long long)anchor->period_ms / 60000);
    if (why.text[0]) {
        done(arg, anchor->is_on ? VT_EAGAIN : VT_ECONFLICT, &why);
        return;
    }
    anchor->waiting[anchor->waiting_count++] = (struct waiter){.done = done, .arg = arg};
    if (anchor->step == IDLE)
        run(anchor);
    else
        anchor->goes_on = true;
}

bool anchor_settled(struct anchor *anchor)
{
    if (!anchor || !anchor->is_on || anchor->is_abandoned || (anchor->step == IDLE && anchor->err == VT_EAUTH))
        return true;
    if (anchor->step == IDLE && !anchor->is_last) {
        anchor->is_last = true;
        run(anchor);
    }
    return anchor->step == IDLE;
}

void anchor_abandon(struct anchor *anchor)
{
    if (anchor)
        anchor->is_abandoned = true;
}

void anchor_free(struct anchor *anchor)
{
    if (!anchor)
        return;
    loop_timer_free(anchor->timer);
    vt_free(anchor);
}

/* ---- What is said of it ---- */

void anchor_status(const struct anchor *anchor, char out[ANCHOR_STATUS])
{
    static const char mac[] =
        "store MAC: altered, removed or older rows are found at start; an older copy of the whole "
        "file is ";
    const struct anchor_rows *rows = &anchor->rows;
    char place[DB_ANCHOR_PLACE], when[VT_TIME_TEXT];

    if (!anchor->is_on) {
        snprintf(out, ANCHOR_STATUS, "%snot (%s)", mac, anchor->is_skipped
                 ? "its anchor in the host TPM was NOT LOOKED AT: opened by the recovery key with --anchor none"
                 : "no host TPM anchor");
        return;
    }
    anchor_place_text(place, &anchor->place);
    vt_time_text(when, rows->done.time);
    if (!rows->has_done) {
        snprintf(out, ANCHOR_STATUS, "%snot yet: the host TPM (%.120s) holds no anchor%s%.300s", mac, place,
                 anchor->err ? ": " : "", anchor->err ? anchor->why.text : "");
        return;
    }
    snprintf(out, ANCHOR_STATUS,
             "%stoo, by the host TPM (%.120s at 0x%08x): epoch %llu, last anchored %s, at most every "
             "%llu minutes%s%.200s",
             mac, place, (unsigned)rows->done.nv, (unsigned long long)rows->done.epoch, when,
             (unsigned long long)anchor->period_ms / 60000, anchor->err ? "; THE LAST ATTEMPT FAILED: " : "",
             anchor->err ? anchor->why.text : "");
}
