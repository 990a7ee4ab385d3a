/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/host_tpm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/base.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void forget(struct host_history *history)
{
    for (size_t i = 0; i < history->count; i++)
        free(history->states[i].bytes);
    history->count = 0;
}

static void add(struct host_history *history, const void *bytes, size_t len)
{
    struct host_state *state;

    if (history->count == VT_COUNT(history->states))
        abort();
    state = &history->states[history->count++];
    *state = (struct host_state){.ops = history->disk ? disk_ops(history->disk) : 0, .len = len, .bytes = malloc(len)};
    if (!state->bytes)
        abort();
    memcpy(state->bytes, bytes, len);
}

void host_note(struct host_history *history, const void *bytes, size_t len)
{
    const struct host_state *last;

    pthread_mutex_lock(&lock);
    last = history->count ? host_last(history) : NULL;
    if (!last || last->len != len || memcmp(last->bytes, bytes, len) != 0) {
        if (!history->disk)
            forget(history);
        add(history, bytes, len);
    }
    pthread_mutex_unlock(&lock);
}

void host_record(struct host_history *history, struct disk *disk)
{
    struct host_state last;

    pthread_mutex_lock(&lock);
    last = *host_last(history);
    history->count--;
    forget(history);
    history->disk = disk;
    history->states[0] = last;
    history->states[0].ops = 0;
    history->count = 1;
    pthread_mutex_unlock(&lock);
}

void host_take(struct host_history *history, struct host_history *out)
{
    pthread_mutex_lock(&lock);
    *out = *history;
    history->disk = NULL;
    history->count = 0;
    pthread_mutex_unlock(&lock);
}

void host_free(struct host_history *history)
{
    pthread_mutex_lock(&lock);
    forget(history);
    history->disk = NULL;
    pthread_mutex_unlock(&lock);
}

static long made_at(const struct host_history *history, size_t state, long shift)
{
    return state ? (long)history->states[state].ops + shift : 0;
}

/* From the moment that it came to be until the next one did, both included: either may have been first. */
bool host_possible(const struct host_history *history, size_t state, size_t ops, long shift)
{
    return made_at(history, state, shift) <= (long)ops &&
           (state + 1 == history->count || made_at(history, state + 1, shift) >= (long)ops);
}
