/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/play.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define PLAYERS_MAX 4096

struct player {
    struct guest *guest;
    struct pair *pair;
    unsigned sent;
};

struct run {
    struct pair *first;     /* of the pairs: it says when the run is over */
    struct player players[PLAYERS_MAX];
    unsigned player_count, going, first_going;
    unsigned count;
    uint64_t end_ns;
    int epoll;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* When there are more than can be kept, later ones replace some of the earlier ones, so that each had the same chance. */
static void keep_sample(struct pair *pair, uint64_t ns)
{
    size_t at = pair->sample_count;

    if (at < SAMPLES_MAX)
        pair->sample_count++;
    else
        at = (size_t)random() % pair->commands;
    if (at < SAMPLES_MAX)
        pair->samples[at] = ns;
}

static bool is_over(const struct run *run, const struct player *p)
{
    if (p->pair != run->first)
        return !run->first_going;
    return (run->count && p->sent == run->count) || bench_now_ns() >= run->end_ns;
}

static void next(struct run *run, struct player *p)
{
    if (is_over(run, p)) {
        run->going--;
        run->first_going -= p->pair == run->first;
        return;
    }
    guest_begin(p->guest, p->pair->cycle[p->sent++ % p->pair->cycle_len]);
}

static void on_readable(struct run *run, struct player *p)
{
    uint64_t ns;

    if (!guest_go_on(p->guest, &ns))
        return;
    p->pair->commands++;
    keep_sample(p->pair, ns);
    next(run, p);
}

static void add_players(struct run *run, struct pair *pair)
{
    pair->commands = 0;
    pair->sample_count = 0;
    for (unsigned i = 0; i < pair->count; i++) {
        struct player *p = &run->players[run->player_count];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};

        if (run->player_count++ == PLAYERS_MAX)
            bench_fail("run", "too many guests");
        *p = (struct player){.guest = pair->guests[i], .pair = pair};
        if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, p->guest->link.fd, &event))
            bench_fail("epoll", NULL);
    }
}

/* One guest: no system call but those of its socket. */
static void play_one(struct run *run)
{
    while (run->going)
        on_readable(run, &run->players[0]);
}

static void play_many(struct run *run)
{
    struct epoll_event events[64];

    while (run->going) {
        int n = epoll_wait(run->epoll, events, VT_COUNT(events), -1);

        for (int i = 0; i < n; i++)
            on_readable(run, events[i].data.ptr);
        if (n < 0 && errno != EINTR)
            bench_fail("epoll", NULL);
    }
}

void play(struct pair *pairs, unsigned pair_count, unsigned ms, unsigned count, struct play_time *time)
{
    static struct run run;

    run.first = &pairs[0];
    run.player_count = 0;
    run.count = count;
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < pair_count; i++)
        add_players(&run, &pairs[i]);
    run.going = run.player_count;
    run.first_going = run.first->count;
    time->cpu_ns = cpu_ns();
    time->ns = bench_now_ns();
    run.end_ns = time->ns + ms * 1000000ull;
    for (unsigned i = 0; i < run.player_count; i++)
        next(&run, &run.players[i]);
    if (run.player_count == 1)
        play_one(&run);
    else
        play_many(&run);
    time->ns = bench_now_ns() - time->ns;
    time->cpu_ns = cpu_ns() - time->cpu_ns;
    close(run.epoll);
}
