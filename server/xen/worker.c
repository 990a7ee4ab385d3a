/* SPDX-License-Identifier: Apache-2.0 */
#include "server/xen/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <xentoollog.h>

#include "server/base/log.h"

static bool open_store(struct worker *worker, struct vt_why *why)
{
    if (store_open(&worker->xs, why))
        return false;
    /* Not everyone is told of domains that come and go: who is not looks again from time to time. */
    for (size_t i = 0; worker->watches[i]; i++)
        (void)!xs_watch(worker->xs, worker->watches[i], worker->watches[i]);
    return true;
}

int worker_start(struct worker *worker, const char *const *watches, void *(*run)(void *), void *arg,
                 struct vt_why *why)
{
    *worker = (struct worker){.watches = watches};
    if (!open_store(worker, why))
        return VT_EUNREACHED;
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&worker->lock, NULL);
    if (worker->wake >= 0 && thread_start(&worker->thread, run, arg))
        return VT_OK;
    if (worker->wake >= 0)
        close(worker->wake);
    xs_close(worker->xs);
    return vt_fail(why, VT_EFAIL, "no thread for xenstore: out of descriptors, threads or memory");
}

void worker_wake(struct worker *worker)
{
    const uint64_t one = 1;

    (void)!write(worker->wake, &one, sizeof one);
}

bool worker_join(struct worker *worker, unsigned wait_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return pthread_timedjoin_np(worker->thread, NULL, &until) == 0;
}

void worker_close(struct worker *worker)
{
    if (worker->xs)
        xs_close(worker->xs);
    pthread_mutex_destroy(&worker->lock);
    close(worker->wake);
}

/* ---- On the thread ---- */

bool worker_has_store(struct worker *worker)
{
    struct vt_why why = {0};

    if (worker->xs)
        return true;
    if (!open_store(worker, &why))
        return false;
    vt_notice("xenstore: back");
    worker->is_lost_said = false;
    return true;
}

void worker_lost_store(struct worker *worker, const struct vt_why *why)
{
    if (worker->xs)
        xs_close(worker->xs);
    worker->xs = NULL;
    if (!worker->is_lost_said)
        vt_warning("%s; channels that stand go on", why->text[0] ? why->text : "xenstore: no answer");
    worker->is_lost_said = true;
}

static bool take_watches(struct worker *worker)
{
    bool fired = false;
    char **watch;

    while ((watch = xs_check_watch(worker->xs))) {
        free(watch);
        fired = true;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        worker_lost_store(worker, &(struct vt_why){0});
    return fired;
}

bool worker_sleep(struct worker *worker, int wait_ms)
{
    struct pollfd polls[2] = {
        {.fd = worker->wake, .events = POLLIN},
        {.fd = worker->xs ? xs_fileno(worker->xs) : -1, .events = POLLIN},
    };
    uint64_t count;

    if (poll(polls, VT_COUNT(polls), wait_ms) <= 0)
        return false;
    (void)!read(worker->wake, &count, sizeof count);
    return polls[1].revents && take_watches(worker);
}

/* ---- libxenvchan's logger ---- */

__attribute__((format(printf, 5, 0))) static void on_message(struct xentoollog_logger *logger, xentoollog_level level, int error, const char *context,
                       const char *format, va_list al)
{
    char text[400];

    (void)logger;
    (void)context;
    vsnprintf(text, sizeof text, format, al);
    vt_log(level >= XTL_WARN ? VT_LOG_INFO : VT_LOG_DEBUG, "xen: %s%s%s", text, error > 0 ? ": " : "",
           error > 0 ? strerror(error) : "");
}

static void on_progress(struct xentoollog_logger *logger, const char *context, const char *doing_what, int percent,
                        unsigned long done, unsigned long total)
{
    (void)logger;
    (void)context;
    (void)doing_what;
    (void)percent;
    (void)done;
    (void)total;
}

static void on_destroy(struct xentoollog_logger *logger)
{
    (void)logger;
}

struct xentoollog_logger *worker_logger(void)
{
    static struct xentoollog_logger logger = {
        .vmessage = on_message, .progress = on_progress, .destroy = on_destroy};

    return &logger;
}
