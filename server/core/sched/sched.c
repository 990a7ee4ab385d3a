/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/sched/sched.h"

#include <assert.h>

#define MILLION 1000000
/* No pause refills more than the longest that a bucket can take, and no product overflows. */
#define PAUSE_MAX_US 1000000000000ull
/* Of the mean, a new sample is so much. */
#define MEAN_PART 8

/* ---- Limits ---- */

static int64_t commands_full(const struct pace *pace)
{
    return (int64_t)pace_burst(pace) * MILLION;
}

/* A second's worth, in hundredths of a microsecond: what one microsecond brings at 1 %. */
static int64_t cpu_full(const struct pace *pace)
{
    return (int64_t)pace->cpu_percent * MILLION;
}

static void refill(struct sched_guest *g, uint64_t now_us)
{
    const uint64_t passed = now_us > g->filled_us ? VT_MIN(now_us - g->filled_us, PAUSE_MAX_US) : 0;

    g->filled_us = now_us;
    g->commands = VT_MIN(g->commands + (int64_t)(passed * g->pace.per_second), commands_full(&g->pace));
    g->cpu = VT_MIN(g->cpu + (int64_t)(passed * g->pace.cpu_percent), cpu_full(&g->pace));
}

/* Microseconds until `missing` is there at so much in each; rounded up. */
static uint64_t time_for(int64_t missing, uint64_t in_each)
{
    return missing > 0 ? ((uint64_t)missing + in_each - 1) / in_each : 0;
}

/* How long until it is within its limits; 0: it is. */
static uint64_t must_wait_us(struct sched_guest *g, uint64_t now_us)
{
    uint64_t commands = 0, cpu = 0;

    refill(g, now_us);
    if (g->pace.per_second)
        commands = time_for(MILLION - g->commands, g->pace.per_second);
    if (g->pace.cpu_percent)
        cpu = time_for(1 - g->cpu, g->pace.cpu_percent);
    return VT_MAX(commands, cpu);
}

/* ---- What it costs ---- */

static uint64_t virtual_cost(const struct sched_guest *g, uint64_t cost_us)
{
    return cost_us * PACE_WEIGHT_MAX / pace_weight(&g->pace);
}

static void charge_cpu(struct sched_guest *g, int64_t cost_us)
{
    if (g->pace.cpu_percent)
        g->cpu -= cost_us * 100;
}

static void begin(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    g->state = SCHED_RUNS;
    g->is_blocked = false;
    g->since_us = now_us;
    g->ran_us = 0;
    g->charged_us = s->mean_us[g->class];
    g->commands -= g->pace.per_second ? MILLION : 0;
    charge_cpu(g, (int64_t)g->charged_us);
}

/* Of short ones the time is mostly others': they are charged what they cost alone. */
static void settle(struct sched *s, struct sched_guest *g)
{
    uint64_t *mean = &s->mean_us[g->class];

    if (!cost_is_long(g->class))
        return;
    *mean = (*mean * (MEAN_PART - 1) + g->ran_us + MEAN_PART - 1) / MEAN_PART;
    charge_cpu(g, (int64_t)g->ran_us - (int64_t)g->charged_us);
    g->finish = g->start + virtual_cost(g, g->ran_us);
    s->virtual_end = VT_MAX(s->virtual_end, g->finish);
}

/* ---- Slots ---- */

static void add_by_due(struct vt_list *list, struct sched_guest *g, uint64_t due_us)
{
    struct vt_list *at = list;

    g->due_us = due_us;
    while (at->prev != list && VT_LIST_ENTRY(at->prev, struct sched_guest, node)->due_us > due_us)
        at = at->prev;
    vt_list_add(at, &g->node);
}

static void take_slot(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    g->has_slot = true;
    s->used++;
    add_by_due(&s->running, g, now_us + (g->class == COST_KEY ? SCHED_HOLD_KEY_US : SCHED_HOLD_US));
}

static void drop_slot(struct sched *s, struct sched_guest *g)
{
    if (!g->has_slot)
        return;
    g->has_slot = false;
    s->used--;
    vt_list_remove(&g->node);
    /* Nobody is there who was behind: all are even. */
    if (!s->used && vt_list_empty(&s->waiting))
        s->virtual_now = VT_MAX(s->virtual_now, s->virtual_end);
}

static void give_slot(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    s->virtual_now = VT_MAX(s->virtual_now, g->start);
    begin(s, g, now_us);
    g->finish = g->start + virtual_cost(g, g->charged_us);
    take_slot(s, g, now_us);
}

static void wait_for_slot(struct sched *s, struct sched_guest *g)
{
    struct vt_list *at = &s->waiting;

    while (at->prev != &s->waiting && VT_LIST_ENTRY(at->prev, struct sched_guest, node)->start > g->start)
        at = at->prev;
    vt_list_add(at, &g->node);
    g->state = SCHED_WAITS;
    s->waiting_count++;
}

static void drop_overdue(struct sched *s, uint64_t now_us)
{
    while (!vt_list_empty(&s->running)) {
        struct sched_guest *g = VT_LIST_ENTRY(s->running.next, struct sched_guest, node);

        if (g->due_us > now_us)
            return;
        drop_slot(s, g);
    }
}

/* ---- A command's way ---- */

static void hold(struct sched *s, struct sched_guest *g, uint64_t due_us)
{
    add_by_due(&s->held, g, due_us);
    g->state = SCHED_HELD;
    s->held_count++;
}

static void unlist(struct sched *s, struct sched_guest *g)
{
    s->held_count -= g->state == SCHED_HELD;
    s->waiting_count -= g->state == SCHED_WAITS;
    vt_list_remove(&g->node);
}

/* Within its limits: true if it begins. */
static bool admit(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    if (!cost_is_long(g->class)) {
        begin(s, g, now_us);
        return true;
    }
    g->start = VT_MAX(s->virtual_now, g->finish);
    if (s->used >= s->slots || !vt_list_empty(&s->waiting)) {
        wait_for_slot(s, g);
        return false;
    }
    give_slot(s, g, now_us);
    return true;
}

bool sched_ask(struct sched *s, struct sched_guest *g, enum cost_class class, uint64_t now_us)
{
    uint64_t wait_us;

    assert(g->state == SCHED_NONE);
    g->class = class;
    wait_us = must_wait_us(g, now_us);
    if (wait_us) {
        g->held++;
        hold(s, g, now_us + wait_us);
        return false;
    }
    return admit(s, g, now_us);
}

/* The first that is held and may begin now. Those that need a slot begin to wait for it. */
static struct sched_guest *next_held(struct sched *s, uint64_t now_us)
{
    while (!vt_list_empty(&s->held)) {
        struct sched_guest *g = VT_LIST_ENTRY(s->held.next, struct sched_guest, node);
        uint64_t wait_us;

        if (g->due_us > now_us)
            return NULL;
        unlist(s, g);
        wait_us = must_wait_us(g, now_us);
        if (wait_us)
            hold(s, g, now_us + wait_us);
        else if (admit(s, g, now_us))
            return g;
    }
    return NULL;
}

struct sched_guest *sched_next(struct sched *s, uint64_t now_us)
{
    struct sched_guest *g;

    drop_overdue(s, now_us);
    g = next_held(s, now_us);
    if (g || s->used >= s->slots || vt_list_empty(&s->waiting))
        return g;
    g = VT_LIST_ENTRY(s->waiting.next, struct sched_guest, node);
    unlist(s, g);
    give_slot(s, g, now_us);
    return g;
}

struct sched_guest *sched_anyone(const struct sched *s)
{
    const struct vt_list *list = vt_list_empty(&s->held) ? &s->waiting : &s->held;

    return vt_list_empty(list) ? NULL : VT_LIST_ENTRY(list->next, struct sched_guest, node);
}

bool sched_due(const struct sched *s, uint64_t *at_us)
{
    uint64_t at = UINT64_MAX;

    if (!vt_list_empty(&s->held))
        at = VT_LIST_ENTRY(s->held.next, struct sched_guest, node)->due_us;
    if (!vt_list_empty(&s->waiting) && !vt_list_empty(&s->running))
        at = VT_MIN(at, VT_LIST_ENTRY(s->running.next, struct sched_guest, node)->due_us);
    *at_us = at;
    return at != UINT64_MAX;
}

static void stop_watch(struct sched_guest *g, uint64_t now_us)
{
    if (!g->is_blocked && now_us > g->since_us)
        g->ran_us += now_us - g->since_us;
    g->since_us = now_us;
}

void sched_leave(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    if (g->state == SCHED_RUNS) {
        stop_watch(g, now_us);
        settle(s, g);
        drop_slot(s, g);
    } else {
        unlist(s, g);
    }
    g->state = SCHED_NONE;
}

void sched_block(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    if (g->state != SCHED_RUNS || g->is_blocked)
        return;
    stop_watch(g, now_us);
    g->is_blocked = true;
    drop_slot(s, g);
}

void sched_unblock(struct sched *s, struct sched_guest *g, uint64_t now_us)
{
    if (g->state != SCHED_RUNS || !g->is_blocked)
        return;
    g->is_blocked = false;
    g->since_us = now_us;
    if (cost_is_long(g->class))
        take_slot(s, g, now_us);
}

/* ---- Life ---- */

void sched_init(struct sched *s, unsigned slots)
{
    *s = (struct sched){.slots = slots ? slots : 1};
    vt_list_init(&s->held);
    vt_list_init(&s->waiting);
    vt_list_init(&s->running);
    for (size_t i = 0; i < COST_CLASSES; i++)
        s->mean_us[i] = cost_first_us((enum cost_class)i);
}

void sched_guest_init(struct sched_guest *g)
{
    *g = (struct sched_guest){.state = SCHED_NONE};
    vt_list_init(&g->node);
}

void sched_pace(struct sched *s, struct sched_guest *g, const struct pace *pace, uint64_t now_us)
{
    const struct pace old = g->pace;

    refill(g, now_us);
    g->pace = *pace;
    g->filled_us = now_us;
    if (!old.per_second || g->commands > commands_full(pace))
        g->commands = commands_full(pace);
    if (!old.cpu_percent || g->cpu > cpu_full(pace))
        g->cpu = cpu_full(pace);
    if (g->state == SCHED_HELD) {
        unlist(s, g);
        hold(s, g, now_us);
    }
}
