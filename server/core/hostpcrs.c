/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/hostpcrs.h"

#include <time.h>

#include "server/base/alloc.h"
#include "server/core/broker_priv.h"

/* A TPM 1.2 has one user at a time, and we are several: its generator, the anchor, a deep quote. */
#define TRIES    20
#define PAUSE_NS 100000000L

struct asker {
    struct vt_list node;
    hostpcrs_done done;
    void *arg;
};

struct reading {
    struct broker *broker;
    struct hwtpm_config config;
    struct vt_list askers;
    struct hwtpm_pcrs pcrs;
    int err;
    struct vt_why why;
};

/* ---- On a worker ---- */

static int do_read(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    return hwtpm_pcr_read(tpm, HOSTPCRS_MASK, arg, why);
}

static void work(void *arg)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct reading *r = arg;

    r->err = VT_EAGAIN;
    for (unsigned k = 0; k < TRIES && r->err == VT_EAGAIN; k++) {
        if (k)
            nanosleep(&pause, NULL);
        r->why = (struct vt_why){{0}};
        r->err = hwtpm_run(&r->config, do_read, &r->pcrs, sizeof r->pcrs, &r->why);
    }
}

/* ---- On the loop ---- */

static void start(struct broker *broker);

static void tell_all(struct reading *r)
{
    while (!vt_list_empty(&r->askers)) {
        struct asker *asker = VT_LIST_ENTRY(r->askers.next, struct asker, node);

        vt_list_remove(&asker->node);
        asker->done(asker->arg, r->err, r->err ? NULL : &r->pcrs,
                    r->why.text[0] ? r->why.text : vt_err_text(r->err));
        vt_free(asker);
    }
}

static void ended(void *arg)
{
    struct reading *r = arg;
    struct broker *broker = r->broker;

    broker->host_reads = false;
    tell_all(r);
    vt_free(r);
    start(broker);
}

static void take_askers(struct broker *broker, struct reading *r)
{
    vt_list_init(&r->askers);
    while (!vt_list_empty(&broker->host_asked)) {
        struct vt_list *node = broker->host_asked.next;

        vt_list_remove(node);
        vt_list_add(&r->askers, node);
    }
}

/* Nothing of it could be begun: they are told all the same. */
static void fail_all(struct broker *broker, int err)
{
    struct reading r = {.err = err};

    take_askers(broker, &r);
    tell_all(&r);
}

static void start(struct broker *broker)
{
    const struct hwtpm_config *config = hosttpm_config(broker->hosttpm);
    struct reading *r;
    int err = VT_ENOMEM;

    if (broker->host_reads || vt_list_empty(&broker->host_asked))
        return;
    r = VT_NEW(struct reading);
    if (r) {
        r->broker = broker;
        r->config = *config;
        err = broker_work(broker, work, ended, r);
    }
    if (err) {
        vt_free(r);
        fail_all(broker, err);
        return;
    }
    /* The work has not begun for the loop before this returns; the list is the loop's alone. */
    take_askers(broker, r);
    broker->host_reads = true;
}

int hostpcrs_read(struct broker *broker, hostpcrs_done done, void *arg, struct vt_why *why)
{
    struct asker *asker;

    if (!hosttpm_config(broker->hosttpm))
        return vt_fail(why, VT_ENOTFOUND, "this server uses no TPM of the host (--hwtpm)");
    asker = VT_NEW(struct asker);
    if (!asker)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    *asker = (struct asker){.done = done, .arg = arg};
    vt_list_add(&broker->host_asked, &asker->node);
    start(broker);
    return VT_OK;
}
