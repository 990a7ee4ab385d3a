/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measured start: the queue in the record, what changes it, and what a power on does with it. Queue, power and PCRs are
 * one record, so the digests of a queue are extended once or not at all, whatever dies in between.
 */
#include "server/core/instance/instance_priv.h"

#include <stdio.h>

#include "server/base/log.h"
#include "server/wire/cursor.h"

void instance_measures(const struct instance *i, struct measures *out)
{
    /* record_decode has read it before. */
    if (measures_decode(out, i->record.measures.data, i->record.measures.len))
        memset(out, 0, sizeof *out);
}

/* The staged record gets this queue. */
static int stage_queue(struct instance *i, const struct measures *measures)
{
    uint8_t bytes[MEASURE_BYTES_MAX];
    size_t len = measures_encode(measures, bytes);

    i->next_measures = true;
    return record_set(&i->next.measures, bytes, len);
}

/* ---- The toolstack changes it ---- */

static int apply(const struct instance_job *job, struct measures *measures, struct vt_why *why)
{
    switch ((enum instance_measuring)job->act) {
    case MEASURING_ADD:
        return measures_add(measures, &job->measure, why);
    case MEASURING_CLEAR:
        measures->count = 0;
        return VT_OK;
    case MEASURING_DROP:
        measures_use(measures);
        return VT_OK;
    case MEASURING_REQUIRE:
    case MEASURING_RELAX:
        measures->required = job->act == MEASURING_REQUIRE;
        return VT_OK;
    case MEASURING_HOST:
        measures->host_pcrs = job->host_pcrs;
        return VT_OK;
    case MEASURING_PACE:
        pace_change(&measures->pace, &job->pace, job->pace_sets);
        return pace_check(&measures->pace, why);
    }
    return vt_fail(why, VT_EUSAGE, "no such change");
}

void instance_change_measures(struct instance *i)
{
    struct job *job = instance_current(i);
    struct measures measures;
    struct vt_why why = {0};
    int err;

    instance_measures(i, &measures);
    err = apply(&job->what, &measures, &why);
    if (err) {
        instance_finish(i, err, why.text);
        return;
    }
    job->what.pace = measures.pace; /* for the event: all of it, as it is now */
    instance_stage(i);
    i->next_permanent = true; /* durable: a power on after any crash must find it */
    if (stage_queue(i, &measures)) {
        record_free(&i->next);
        instance_finish(i, VT_ENOMEM, NULL);
        return;
    }
    instance_persist(i);
}

/* ---- A power on uses it ---- */

static void tell_refused(struct instance *i, const struct job *job, const char *why)
{
    char uuid[VT_UUID_TEXT];
    unsigned held;

    vt_uuid_text(uuid, &i->node.uuid);
    vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("uuid", uuid), VT_TEXT("peer", job->what.peer)),
                "instance: power on refused: %s", why);
    if (act_limit_pass(&i->refusals, ACT_REFUSE_MOST, ACT_REFUSE_WINDOW_S, loop_now_us(), &held))
        act_write(i->broker, "power-on-refused", &i->node.uuid, job->what.peer[0] ? job->what.peer : "server", why);
}

void instance_refuse_power_on(struct instance *i, const char *why)
{
    tell_refused(i, instance_current(i), why);
    instance_finish(i, VT_ECONFLICT, why);
}

bool instance_measures_allow(struct instance *i)
{
    const struct job *job = instance_current(i);
    struct measures measures;
    const char *why = NULL;

    instance_measures(i, &measures);
    if (measures.required && !measures.count)
        why = "it requires a measured start and nothing is queued: vtpmctl instance measure, then power-cycle";
    else if (measures.count && job->what.startup != VTPM__STARTUP__STARTUP_CLEAR)
        why = "measurements are queued, and only a shim with --startup clear leaves a moment to extend them before the "
              "guest: start it so, or clear the queue";
    else if (measures.host_pcrs && job->what.startup == VTPM__STARTUP__STARTUP_NONE)
        why = "the host's PCRs are extended before the guest, and only a shim with --startup clear leaves a moment for "
              "that: start it so, or vtpmctl instance host-pcrs I none";
    if (!why)
        return true;
    instance_refuse_power_on(i, why);
    return false;
}

bool instance_measures_allow_init(struct instance *i)
{
    struct measures measures;

    instance_measures(i, &measures);
    return !measures.required && !measures.host_pcrs;
}

size_t instance_put_digests(const struct instance *i, uint8_t out[INSTANCE_DIGESTS_MAX])
{
    const struct hwtpm_pcrs *host = instance_current(i)->host;
    struct wr w = wr_to(out, INSTANCE_DIGESTS_MAX);
    const uint32_t mask = instance_host_mask(i);
    uint8_t digest[MEASURE_DIGEST];
    struct measures measures;

    instance_measures(i, &measures);
    wr_put8(&w, (uint8_t)(measures.count + (size_t)__builtin_popcount(mask)));
    for (unsigned n = 0; n < MEASURE_PCRS; n++) {
        if (!(mask >> n & 1))
            continue;
        instance_host_digest(host, n, digest);
        wr_put8(&w, (uint8_t)n);
        wr_copy(&w, digest, sizeof digest);
    }
    for (size_t k = 0; k < measures.count; k++) {
        wr_put8(&w, measures.list[k].pcr);
        wr_copy(&w, measures.list[k].digest, sizeof measures.list[k].digest);
    }
    return w.len;
}

/* What the PCRs are made of, for who verifies a quote later. */
static void log_extended(const struct instance *i, const struct measures *measures)
{
    char uuid[VT_UUID_TEXT], digest[2 * MEASURE_DIGEST + 1];

    vt_uuid_text(uuid, &i->node.uuid);
    for (size_t k = 0; k < measures->count; k++) {
        const struct measure *one = &measures->list[k];

        vt_hex(digest, one->digest, sizeof one->digest);
        vt_log_with(VT_LOG_INFO,
                    VT_FIELDS(VT_TEXT("uuid", uuid), VT_NUMBER("pcr", one->pcr), VT_TEXT("sha1", digest),
                              VT_NUMBER("bytes", one->size), VT_TEXT("label", one->label)),
                    "instance: measured for this power on");
    }
}

int instance_use_measures(struct instance *i)
{
    struct measures measures;

    if (!i->record.measures.len)
        return VT_OK;
    instance_measures(i, &measures);
    instance_log_host(i);
    log_extended(i, &measures);
    measures_use(&measures);
    return stage_queue(i, &measures);
}

/* ---- Events ---- */

static void text_of_added(char *out, size_t size, const struct measure *measure)
{
    char digest[2 * MEASURE_DIGEST + 1];

    vt_hex(digest, measure->digest, sizeof measure->digest);
    snprintf(out, size, "PCR %u, %s: sha1 %s, %llu bytes, %s", (unsigned)measure->pcr,
             measure->always ? "always" : "once", digest, (unsigned long long)measure->size,
             measure->label[0] ? measure->label : "no label");
}

void instance_measure_text(const struct instance *i, const struct job *job, char *out, size_t size)
{
    static const char *const changes[] = {
        [MEASURING_CLEAR] = "the queue of measurements was cleared",
        [MEASURING_DROP] = "measurements for one power on were dropped",
        [MEASURING_REQUIRE] = "no power on without measurements",
        [MEASURING_RELAX] = "a power on needs no measurements",
    };
    char extended[MEASURES_TEXT], host[HWTPM_PCRS_TEXT], pace[PACE_TEXT];
    struct measures measures;

    if (job->what.kind == INSTANCE_POWER_ON) {
        const uint32_t mask = instance_host_mask(i);

        instance_measures(i, &measures);
        measures_text(extended, &measures);
        hwtpm_pcrs_text(host, mask);
        snprintf(out, size, "powered on%s%s%s%s", mask ? ", with the host's PCR " : "", mask ? host : "",
                 measures.count ? ", measured: " : "", extended);
    } else if (job->what.act == MEASURING_HOST) {
        hwtpm_pcrs_text(host, job->what.host_pcrs);
        snprintf(out, size, "of the host's PCRs in its own at each power on: %s", host);
    } else if (job->what.act == MEASURING_PACE) {
        pace_text(pace, &job->what.pace);
        snprintf(out, size, "of the host it may have: %s", pace);
    } else if (job->what.act == MEASURING_ADD) {
        text_of_added(out, size, &job->what.measure);
    } else {
        snprintf(out, size, "%s", changes[job->what.act]);
    }
}
