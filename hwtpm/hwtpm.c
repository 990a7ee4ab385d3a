/* SPDX-License-Identifier: Apache-2.0 */
/* Which implementation, the thread that bounds the time, and the checks that all of them share. */
#include "hwtpm/ops.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "server/base/alloc.h"

static const struct hwtpm_ops *const implementations[] = {&hwtpm_none, &hwtpm_tpm2, &hwtpm_tpm12};

void hwtpm_init(void)
{
    /* Its lines would not be in our log's form, and the same things are said in our words. */
    setenv("TSS2_LOG", "all+none", 0);
}

/* ---- Which one ---- */

static int version_major(void)
{
    FILE *file = fopen("/sys/class/tpm/tpm0/tpm_version_major", "re");
    int major = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%d", &major) != 1)
        major = 0;
    fclose(file);
    return major;
}

enum hwtpm_kind hwtpm_found(const struct hwtpm_config *config)
{
    int major;

    if (config->kind != HWTPM_AUTO)
        return config->kind;
    major = version_major();
    if (major == 2 || (!major && access("/dev/tpmrm0", F_OK) == 0))
        return HWTPM_TPM2;
    if (major == 1 || access("/dev/tpm0", F_OK) == 0)
        return HWTPM_TPM12;
    return HWTPM_NONE;
}

int hwtpm_no_device(const char *path, int error, struct vt_why *why)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return vt_fail(why, VT_ENOTFOUND, "%s: there is no such TPM: switch it on in the firmware, load its driver, or "
                       "open the store with another key slot", path);
    case EACCES:
    case EPERM:
        return vt_fail(why, VT_EPERM, "%s: no permission: put the server's user (uid %u) into the device's group "
                       "(usermod -aG tss), and under systemd use vtpm-server.service.d/hwtpm.conf", path,
                       (unsigned)geteuid());
    case EBUSY:
        return vt_fail(why, VT_EAGAIN, "%s: another process holds it (fuser %s shows which): stop that (tcsd?), or with "
                       "a TPM 2.0 use /dev/tpmrm0, which several can share", path, path);
    case ECONNREFUSED:
        return vt_fail(why, VT_ENOTFOUND, "%s: nobody listens there: start the TPM, or name the right place", path);
    default:
        return vt_fail(why, VT_EIO, "%s: cannot be opened: %s", path, strerror(error));
    }
}

static const struct hwtpm_ops *ops_of(enum hwtpm_kind kind)
{
    for (size_t i = 0; i < VT_COUNT(implementations); i++)
        if (implementations[i]->kind == kind)
            return implementations[i];
    return &hwtpm_none;
}

/* ---- One piece of work ---- */

struct job {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool is_over, is_left;  /* left: the caller has gone, the thread frees */
    struct hwtpm_config config;
    hwtpm_work work;
    struct vt_why why;
    int err;
    size_t size;
    uint8_t arg[] __attribute__((aligned(16)));
};

/*
 * A TPM that holds a thread up. While it does, nobody else waits for it: several slots cost their time once, and threads
 * do not pile up. One place is remembered, the last.
 */
static struct {
    pthread_mutex_t lock;
    char where[HWTPM_WHERE];
    size_t threads;
} stuck = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_stuck(const char *where)
{
    bool is;

    pthread_mutex_lock(&stuck.lock);
    is = stuck.threads && strcmp(stuck.where, where) == 0;
    pthread_mutex_unlock(&stuck.lock);
    return is;
}

static void note_stuck(const char *where, bool begins)
{
    pthread_mutex_lock(&stuck.lock);
    if (begins)
        snprintf(stuck.where, sizeof stuck.where, "%s", where);
    stuck.threads += begins ? 1 : (size_t)-1;
    pthread_mutex_unlock(&stuck.lock);
}

static void job_free(struct job *job)
{
    pthread_cond_destroy(&job->over);
    pthread_mutex_destroy(&job->lock);
    vt_free_wiped(job, sizeof *job + job->size);
}

static int job_do(struct job *job)
{
    struct hwtpm tpm = {.ops = ops_of(hwtpm_found(&job->config))};
    int err = tpm.ops->open(&tpm, &job->config, &job->why);

    if (!err)
        err = job->work(&tpm, job->arg, &job->why);
    tpm.ops->close(&tpm);
    return err;
}

static void *job_thread(void *arg)
{
    struct job *job = arg;
    bool is_left;

    job->err = job_do(job);
    pthread_mutex_lock(&job->lock);
    job->is_over = true;
    is_left = job->is_left;
    pthread_cond_signal(&job->over);
    pthread_mutex_unlock(&job->lock);
    if (is_left) {
        note_stuck(job->config.where, false);
        job_free(job);
    }
    return NULL;
}

static struct job *job_new(const struct hwtpm_config *config, hwtpm_work work, const void *arg, size_t size)
{
    struct job *job = vt_calloc(1, sizeof *job + size);
    pthread_condattr_t attr;

    if (!job)
        return NULL;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&job->lock, NULL);
    pthread_cond_init(&job->over, &attr);
    pthread_condattr_destroy(&attr);
    job->config = *config;
    if (!job->config.limit_ms)
        job->config.limit_ms = HWTPM_LIMIT_MS;
    job->work = work;
    job->size = size;
    memcpy(job->arg, arg, size);
    return job;
}

/* True if it ended in time. */
static bool job_wait(struct job *job)
{
    struct timespec until;
    bool is_over;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += job->config.limit_ms / 1000;
    until.tv_nsec += (long)(job->config.limit_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&job->lock);
    while (!job->is_over && !rc)
        rc = pthread_cond_timedwait(&job->over, &job->lock, &until);
    is_over = job->is_over;
    job->is_left = !is_over;
    if (!is_over)
        note_stuck(job->config.where, true);
    pthread_mutex_unlock(&job->lock);
    return is_over;
}

static const char *place_name(const struct hwtpm_config *config)
{
    return config->where[0] ? config->where : "its default device";
}

int hwtpm_run(const struct hwtpm_config *config, hwtpm_work work, void *arg, size_t size, struct vt_why *why)
{
    struct job *job;
    pthread_t thread;
    int err;

    if (is_stuck(config->where))
        return vt_fail(why, VT_ETIMEOUT, "the host TPM (%s) still does not answer", place_name(config));
    job = job_new(config, work, arg, size);
    if (!job)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    if (pthread_create(&thread, NULL, job_thread, job)) {
        job_free(job);
        return vt_fail(why, VT_ENOMEM, "no thread for the host TPM: out of memory or of processes");
    }
    if (!job_wait(job)) {
        pthread_detach(thread);
        return vt_fail(why, VT_ETIMEOUT, "the host TPM (%s) does not answer within %u ms: restart it, or the host; the "
                       "recovery key opens the store meanwhile", place_name(config),
                       config->limit_ms ? config->limit_ms : HWTPM_LIMIT_MS);
    }
    pthread_join(thread, NULL);
    err = job->err;
    memcpy(arg, job->arg, size);
    if (err)
        vt_fail(why, err, "%s", job->why.text[0] ? job->why.text : vt_err_text(err));
    job_free(job);
    return err;
}

/* ---- Operations ---- */

const char *hwtpm_text(const struct hwtpm *tpm)
{
    return tpm->text;
}

enum hwtpm_kind hwtpm_kind(const struct hwtpm *tpm)
{
    return tpm->ops->kind;
}

static int cannot(const struct hwtpm *tpm, const char *what, struct vt_why *why)
{
    return vt_fail(why, VT_ENOTSUP, "%s: this build cannot %s with it", tpm->ops->name, what);
}

int hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    memset(pcrs, 0, sizeof *pcrs);
    pcrs->mask = mask;
    pcrs->len = tpm->ops->digest_len;
    if (!tpm->ops->pcr_read)
        return cannot(tpm, "read PCRs", why);
    return mask ? tpm->ops->pcr_read(tpm, pcrs, why) : VT_OK;
}

int hwtpm_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why)
{
    if (!tpm->ops->random)
        return cannot(tpm, "get random numbers", why);
    return tpm->ops->random(tpm, out, len, why);
}

int hwtpm_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t secret[HWTPM_SECRET],
               struct hwtpm_sealed *out, struct vt_why *why)
{
    if (!tpm->ops->seal || (policy->is_signed && tpm->ops->kind != HWTPM_TPM2))
        return cannot(tpm, policy->is_signed ? "seal to what a key signs" : "seal", why);
    return tpm->ops->seal(tpm, policy, secret, out, why);
}

int hwtpm_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                 uint8_t secret[HWTPM_SECRET], struct vt_why *why)
{
    int err = tpm->ops->unseal ? tpm->ops->unseal(tpm, policy, sealed, secret, why) : cannot(tpm, "unseal", why);

    if (err)
        vt_wipe(secret, HWTPM_SECRET);
    return err;
}

int hwtpm_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                   struct vt_why *why)
{
    return tpm->ops->key_make ? tpm->ops->key_make(tpm, owner, key, pub, why)
                              : cannot(tpm, "make attestation keys", why);
}

int hwtpm_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t nonce[32],
                struct hwtpm_quote *out, struct vt_why *why)
{
    return tpm->ops->quote ? tpm->ops->quote(tpm, key, mask, nonce, out, why) : cannot(tpm, "quote", why);
}

int hwtpm_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner, struct hwtpm_enrolment *out,
                struct vt_why *why)
{
    memset(out, 0, sizeof *out);
    return tpm->ops->enrol ? tpm->ops->enrol(tpm, key, owner, out, why) : cannot(tpm, "enrol keys", why);
}

int hwtpm_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                   const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why)
{
    int err = tpm->ops->activate ? tpm->ops->activate(tpm, key, owner, challenge, out, why)
                                 : cannot(tpm, "enrol keys", why);

    if (err)
        vt_wipe(out, sizeof *out);
    return err;
}

int hwtpm_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner, struct vt_why *why)
{
    return tpm->ops->anchor_make ? tpm->ops->anchor_make(tpm, anchor, owner, why) : cannot(tpm, "keep an anchor", why);
}

int hwtpm_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    return tpm->ops->anchor_read ? tpm->ops->anchor_read(tpm, anchor, why) : cannot(tpm, "keep an anchor", why);
}

int hwtpm_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    return tpm->ops->anchor_advance ? tpm->ops->anchor_advance(tpm, anchor, why) : cannot(tpm, "keep an anchor", why);
}
