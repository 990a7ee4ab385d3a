/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/hosttpm.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/broker_priv.h"
#include "server/core/keyslot/tpm.h"

#define SAMPLES    512              /* a window of the health test */
#define PERIOD_MS  (10u * 60 * 1000)
#define LIMIT_MS   5000             /* a slow one takes a second for so many */

/* On the TPM's thread: by value. */
struct collect_job {
    char text[160];
    uint8_t samples[SAMPLES];
};

struct hosttpm {
    struct broker *broker;
    struct loop_timer *timer;
    struct hwtpm_config config;
    struct collect_job job;
    char text[400];
    bool is_mixed, is_working;
    int err;
    struct vt_why why;
};

int hosttpm_parse(struct hwtpm_config *config, const char *text, struct vt_why *why)
{
    size_t len = strcspn(text, ":");
    struct keyslot_tpm_args args;
    char kind[16];
    int err;

    memset(config, 0, sizeof *config);
    config->limit_ms = LIMIT_MS;
    if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0) {
        config->kind = text[0] == 'a' ? HWTPM_AUTO : HWTPM_NONE;
        return VT_OK;
    }
    snprintf(kind, sizeof kind, "%.*s", (int)VT_MIN(len, sizeof kind - 1), text);
    if (strcmp(kind, "tpm2") != 0 && strcmp(kind, "tpm12") != 0)
        return vt_fail(why, VT_EUSAGE, "--hwtpm %.60s: must be auto, none, tpm2[:tcti=CONF] or tpm12[:device=PATH]", text);
    config->kind = kind[3] == '2' ? HWTPM_TPM2 : HWTPM_TPM12;
    err = keyslot_tpm_args(kind, text + len + (text[len] == ':'), &args, why);
    if (!err && (args.pcrs[0] || args.srk_auth[0] || args.owner_auth[0]))
        return vt_fail(why, VT_EUSAGE, "--hwtpm %.60s: says where the TPM is, nothing else", text);
    memcpy(config->where, args.where, sizeof args.where);
    return err;
}

/* ---- Random numbers ---- */

static int do_collect(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct collect_job *job = arg;

    snprintf(job->text, sizeof job->text, "%s", hwtpm_text(tpm));
    return hwtpm_random(tpm, job->samples, sizeof job->samples, why);
}

/* A generator that fails is one source less: never a reason not to run. */
static void collect(void *arg)
{
    struct hosttpm *host = arg;

    memset(&host->why, 0, sizeof host->why);
    host->err = hwtpm_run(&host->config, do_collect, &host->job, sizeof host->job, &host->why);
    if (!host->err && !cr_samples_healthy(host->job.samples, sizeof host->job.samples))
        host->err = vt_fail(&host->why, VT_ECRYPTO, "%s: its random numbers fail the health test (SP 800-90B, 4.4)",
                            host->job.text);
    if (!host->err)
        host->err = cr_pool_mix(host->job.samples, sizeof host->job.samples);
    vt_wipe(host->job.samples, sizeof host->job.samples);
}

static void collected(void *arg)
{
    struct hosttpm *host = arg;
    bool was_mixed = host->is_mixed;

    host->is_working = false;
    host->is_mixed = !host->err;
    if (host->err)
        snprintf(host->text, sizeof host->text, "not used: %.380s", host->why.text);
    else
        snprintf(host->text, sizeof host->text, "%s; its random numbers are mixed into those for keys", host->job.text);
    if (host->err)
        vt_warning("host TPM: gives no random numbers, those of the operating system are used alone: %s",
                   host->why.text);
    else if (!was_mixed)
        vt_info("host TPM: %s", host->text);
    if (!host->broker->draining)
        loop_timer_start(host->timer, PERIOD_MS);
}

static void begin(void *arg)
{
    struct hosttpm *host = arg;

    if (host->is_working || host->broker->draining)
        return;
    host->is_working = broker_work(host->broker, collect, collected, host) == VT_OK;
    if (!host->is_working)
        loop_timer_start(host->timer, PERIOD_MS);
}

/* ---- Life ---- */

int hosttpm_start(struct hosttpm **out, struct broker *broker, const struct hwtpm_config *config)
{
    struct hosttpm *host;
    int err;

    *out = NULL;
    if (!config)
        return VT_OK;
    host = VT_NEW(struct hosttpm);
    if (!host)
        return VT_ENOMEM;
    host->broker = broker;
    host->config = *config;
    host->config.kind = hwtpm_found(config);
    snprintf(host->text, sizeof host->text, host->config.kind == HWTPM_NONE ? "none" : "being asked");
    err = loop_timer_new(broker->loop, &host->timer, begin, host);
    if (err) {
        vt_free(host);
        return err;
    }
    if (host->config.kind == HWTPM_NONE)
        vt_info("host TPM: none%s", config->kind == HWTPM_AUTO ? " was found" : ", as configured");
    else
        begin(host);
    *out = host;
    return VT_OK;
}

void hosttpm_free(struct hosttpm *host)
{
    if (!host)
        return;
    loop_timer_free(host->timer);
    vt_free(host);
}

const struct hwtpm_config *hosttpm_config(const struct hosttpm *host)
{
    return host && host->config.kind != HWTPM_NONE ? &host->config : NULL;
}

const char *hosttpm_text(const struct hosttpm *host)
{
    return host ? host->text : "none";
}
