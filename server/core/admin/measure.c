/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of the measured start: what the next power on extends. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"

/* ---- Changes ---- */

void admin_measure(struct admin_call *call)
{
    const Vtpm__Measurement *asked = call->request->measure;
    struct instance_job job = {.kind = INSTANCE_MEASURE, .act = MEASURING_ADD};

    if (asked->digest.len != sizeof job.measure.digest) {
        admin_fail(call, VT_EUSAGE, "a digest of %zu bytes: it must be SHA-1, 20 bytes", asked->digest.len);
        return;
    }
    if (asked->pcr >= MEASURE_PCRS) {
        admin_fail(call, VT_EUSAGE, "PCR %u: measurements go into PCR 0 to %u, which only a power on resets",
                   (unsigned)asked->pcr, MEASURE_PCRS - 1);
        return;
    }
    if (strlen(asked->label) >= sizeof job.measure.label) {
        admin_fail(call, VT_EUSAGE, "the label is longer than %zu characters", sizeof job.measure.label - 1);
        return;
    }
    job.measure.pcr = (uint8_t)asked->pcr;
    job.measure.always = asked->always;
    job.measure.size = asked->size;
    memcpy(job.measure.digest, asked->digest.data, sizeof job.measure.digest);
    memcpy(job.measure.label, asked->label, strlen(asked->label) + 1);
    admin_submit(call, asked->instance, &job);
}

void admin_measure_clear(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_MEASURE, .act = MEASURING_CLEAR};

    admin_submit(call, call->request->measure_clear->instance, &job);
}

void admin_measure_drop(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_MEASURE, .act = MEASURING_DROP};

    admin_submit(call, call->request->measure_drop->instance, &job);
}

void admin_require_measure(struct admin_call *call)
{
    const Vtpm__RequireMeasure *asked = call->request->require_measure;
    const struct instance_job job = {.kind = INSTANCE_MEASURE,
                                     .act = asked->required ? MEASURING_REQUIRE : MEASURING_RELAX};

    admin_submit(call, asked->instance, &job);
}

int admin_host_pcrs_check(const struct admin_call *call, uint32_t pcrs, struct vt_why *why)
{
    if (pcrs >> MEASURE_PCRS)
        return vt_fail(why, VT_EUSAGE, "host PCRs: from 0 to %d, since the others can be reset without a power on",
                       MEASURE_PCRS - 1);
    if (pcrs && !hosttpm_config(call->broker->hosttpm))
        return vt_fail(why, VT_ECONFLICT, "host PCRs: this server uses no TPM of the host, and each power on would be "
                       "refused: start it with --hwtpm");
    return VT_OK;
}

void admin_host_pcrs(struct admin_call *call)
{
    const Vtpm__HostPcrs *asked = call->request->host_pcrs;
    const struct instance_job job = {.kind = INSTANCE_MEASURE, .act = MEASURING_HOST,
                                     .host_pcrs = (uint16_t)asked->pcrs};
    int err = admin_host_pcrs_check(call, asked->pcrs, &call->why);

    if (err)
        admin_done(call, err);
    else
        admin_submit(call, asked->instance, &job);
}

/* ---- List ---- */

int admin_read_measures(struct broker *broker, const struct vt_uuid *uuid, struct measures *out, struct vt_why *why)
{
    VT_SECRET_KEY key = {{0}};
    struct record record = {0};
    int err = instance_read_durable(broker, uuid, &record, &key, why);

    memset(out, 0, sizeof *out);
    if (!err)
        err = measures_decode(out, record.measures.data, record.measures.len);
    record_free(&record);
    return err;
}

struct list_work {
    struct admin_call *call;
    struct measures measures;
    Vtpm__Measurement rows[MEASURE_MAX], *pointers[MEASURE_MAX];
    int err;
    struct vt_why why;
};

static void work_list(void *arg)
{
    struct list_work *work = arg;

    work->err = admin_read_measures(work->call->broker, &work->call->uuid, &work->measures, &work->why);
}

static void fill_rows(struct list_work *work)
{
    for (size_t k = 0; k < work->measures.count; k++) {
        struct measure *one = &work->measures.list[k];
        Vtpm__Measurement *row = &work->rows[k];

        vtpm__measurement__init(row);
        row->pcr = one->pcr;
        row->digest = (ProtobufCBinaryData){.data = one->digest, .len = sizeof one->digest};
        row->always = one->always;
        row->size = one->size;
        row->label = one->label;
        work->pointers[k] = row;
    }
}

static void listed(void *arg)
{
    struct list_work *work = arg;
    struct admin_call *call = work->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    reply.err = work->err;
    if (work->err) {
        vt_fail(&call->why, work->err, "%s", work->why.text[0] ? work->why.text : vt_err_text(work->err));
    } else {
        fill_rows(work);
        reply.n_measurements = work->measures.count;
        reply.measurements = work->pointers;
        reply.measure_required = work->measures.required;
    }
    admin_reply(call, &reply);
    vt_free(work);
}

void admin_measure_list(struct admin_call *call)
{
    struct list_work *work;
    struct db_instance row;
    int err = VT_ENOMEM;

    if (admin_find(call, call->request->measure_list->instance, &row))
        return;
    work = VT_NEW(struct list_work);
    if (work) {
        work->call = call;
        work->err = VT_ENOMEM;
        err = broker_work(call->broker, work_list, listed, work);
    }
    if (err) {
        vt_free(work);
        admin_done(call, err);
    }
}
