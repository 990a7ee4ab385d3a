/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's PCRs in a guest's own (docs/record-and-recovery.md, "The host in a guest's PCRs"): read before a
 * power on with TPM_Startup(ST_CLEAR), extended in its one request, ahead of the queue. Without them there is
 * no power on.
 */
#include "server/core/hostpcrs.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/instance/instance_priv.h"

/* The instance may be gone when the TPM has answered. */
struct question {
    struct broker *broker;
    struct vt_uuid uuid;
    uint64_t ticket;
};

uint32_t instance_host_mask(const struct instance *i)
{
    const struct job *job = instance_current(i);

    return job->host ? job->host->mask : 0;
}

void instance_host_digest(const struct hwtpm_pcrs *host, unsigned n, uint8_t digest[MEASURE_DIGEST])
{
    cr_sha1(digest, host->value[n], host->len);
}

/* ---- Before ---- */

/* As long as it is off, so are its guest's commands: it gets TPM_FAIL. */
static void refuse(struct instance *i, const char *cause)
{
    char why[480];

    /* The cause is long, and last: it may be cut. */
    snprintf(why, sizeof why,
             "it begins with the host's PCRs, which cannot be read: restart the guest when they can, or "
             "vtpmctl instance host-pcrs I none: %.260s",
             cause);
    instance_refuse_power_on(i, why);
}

static void go_on(struct instance *i, uint32_t mask, const struct hwtpm_pcrs *pcrs)
{
    struct job *job = instance_current(i);

    job->host = vt_memdup(pcrs, sizeof *pcrs);
    if (!job->host) {
        instance_finish(i, VT_ENOMEM, NULL);
        return;
    }
    job->host->mask = mask;
    i->step = STEP_IDLE;
    instance_advance(i);
}

static void on_read(void *arg, int err, const struct hwtpm_pcrs *pcrs, const char *why)
{
    struct question *question = arg;
    struct instance *i = instance_in_memory(question->broker, &question->uuid);
    struct measures measures;

    if (i && i->step == STEP_READING_HOST && i->witness == question->ticket) {
        instance_measures(i, &measures);
        if (err)
            refuse(i, why);
        else
            go_on(i, measures.host_pcrs, pcrs);
    }
    vt_free(question);
}

static int ask(struct instance *i, struct vt_why *why)
{
    struct question *question = VT_NEW(struct question);
    int err;

    if (!question)
        return VT_ENOMEM;
    *question =
        (struct question){.broker = i->broker, .uuid = i->node.uuid, .ticket = ++i->broker->witnesses};
    /* Where memory fails the answer may come before this returns. */
    i->witness = question->ticket;
    i->step = STEP_READING_HOST;
    err = hostpcrs_read(i->broker, on_read, question, why);
    if (err) {
        i->step = STEP_IDLE;
        vt_free(question);
    }
    return err;
}

bool instance_needs_host(struct instance *i)
{
    const struct job *job = instance_current(i);
    struct measures measures;
    struct vt_why why = {0};
    int err;

    instance_measures(i, &measures);
    /* ST_STATE brings the PCRs back that were saved, the host's among them. */
    if (!measures.host_pcrs || job->host || job->what.startup != VTPM__STARTUP__STARTUP_CLEAR)
        return false;
    err = ask(i, &why);
    if (err)
        refuse(i, why.text[0] ? why.text : vt_err_text(err));
    return true;
}

/* ---- After ---- */

/* A TPM that was powered, and is not started, would be started by the guest: with PCRs of zeros. */
bool instance_host_is_in(struct instance *i, const uint8_t *response, size_t len)
{
    struct rd r = rd_from(response, len);
    struct measures measures;
    char why[200];
    uint32_t rc;

    instance_measures(i, &measures);
    rd_take(&r, 6);
    rc = rd_get32(&r);
    if (!measures.host_pcrs || (!r.bad && !rc))
        return true;
    snprintf(why, sizeof why,
             "it begins with the host's PCRs, and TPM_Startup gave 0x%x: no state was saved? Start the "
             "shim with --startup clear",
             (unsigned)rc);
    instance_drop_engine(i);
    instance_refuse_power_on(i, why);
    return false;
}

/* What the PCRs are made of, for who verifies a quote later. */
void instance_log_host(const struct instance *i)
{
    const struct hwtpm_pcrs *host = instance_current(i)->host;
    char uuid[VT_UUID_TEXT], value[2 * HWTPM_DIGEST + 1], hex[2 * MEASURE_DIGEST + 1];
    uint8_t digest[MEASURE_DIGEST];

    vt_uuid_text(uuid, &i->node.uuid);
    for (unsigned n = 0; n < MEASURE_PCRS; n++) {
        if (!(instance_host_mask(i) >> n & 1))
            continue;
        instance_host_digest(host, n, digest);
        vt_hex(value, host->value[n], host->len);
        vt_hex(hex, digest, sizeof digest);
        vt_log_with(VT_LOG_INFO,
                    VT_FIELDS(VT_TEXT("uuid", uuid), VT_NUMBER("pcr", n), VT_TEXT("sha1", hex),
                              VT_TEXT("host", value)),
                    "instance: the host's PCR, for this power on");
    }
}
