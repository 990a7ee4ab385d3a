/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a guest's command begins: the scheduler (server/core/sched) between the queue and the engine. A
 * command that waits at the gate has not begun: it is first in its queue, in STEP_IDLE, its channel is not
 * read, and whatever is no command of the guest's goes before it. What ends it: its turn, the end of its
 * channel, an eviction, a drain.
 */
#include "server/core/instance/instance_priv.h"

#include <sched.h>

#include "server/base/slice.h"

static struct instance *instance_of_turn(struct sched_guest *turn)
{
    return VT_CONTAINER(turn, struct instance, turn);
}

/* ---- The broker's timer ---- */

/* Every wake-up asks for the next one. */
static void arm(struct broker *broker)
{
    const struct sched *sched = &broker->sched;
    const uint64_t now = loop_now_us();
    uint64_t at;

    if (sched->waiting_count && sched->used < sched->slots)
        loop_timer_start(broker->turn_timer, 0);
    else if (sched_due(sched, &at))
        loop_timer_start(broker->turn_timer, at > now ? (at - now + 999) / 1000 : 0);
}

struct job *instance_waiting(const struct instance *i)
{
    VT_LIST_EACH(&i->jobs, at)
    {
        struct job *job = VT_LIST_ENTRY(at, struct job, node);
        if (job->gate == GATE_WAITS)
            return job;
    }
    return NULL;
}

/* From the loop alone, so that no command begins inside another one's end. */
static void on_turn(void *arg)
{
    struct broker *broker = arg;
    struct sched_guest *turn;

    while ((turn = sched_next(&broker->sched, loop_now_us()))) {
        struct instance *i = instance_of_turn(turn);

        instance_waiting(i)->gate = GATE_OPEN;
        instance_advance(i);
    }
    arm(broker);
}

/* The processors that this process may use: of a container, of an affinity. */
static unsigned processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

int broker_admission_start(struct broker *broker)
{
    /* What it starts has it too: a sandbox that wakes up for a cheap command runs before one in a long command. */
    slice_set(0, SLICE_SHORT_US);
    /* One more than can run: it fills the moment between an answer and the next command's start. */
    sched_init(&broker->sched, processors() + 1);
    return loop_timer_new(broker->loop, &broker->turn_timer, on_turn, broker);
}

void broker_admission_drain(struct broker *broker)
{
    struct sched_guest *turn;

    while ((turn = sched_anyone(&broker->sched))) {
        struct instance *i = instance_of_turn(turn);

        instance_dismiss(i, instance_waiting(i), "the server is stopping");
    }
}

/* ---- One command ---- */

bool instance_may_begin(struct instance *i)
{
    struct broker *broker = i->broker;
    struct job *job = instance_current(i);
    const enum cost_class class = cost_class_of(cost_ordinal(job->what.data, job->what.len));

    if (job->gate == GATE_OPEN)
        return true;
    if (sched_ask(&broker->sched, &i->turn, class, loop_now_us())) {
        job->gate = GATE_OPEN;
        return true;
    }
    job->gate = GATE_WAITS;
    if (broker->draining)
        instance_finish(i, VT_EAGAIN, "the server is stopping");
    else
        arm(broker);
    return false;
}

bool instance_waits(const struct instance *i)
{
    return !vt_list_empty(&i->jobs) && instance_current(i)->gate == GATE_WAITS;
}

void instance_leave_gate(struct instance *i, struct job *job)
{
    struct broker *broker = i->broker;

    if (job->gate == GATE_NEW)
        return;
    job->gate = GATE_NEW;
    sched_leave(&broker->sched, &i->turn, loop_now_us());
    if (broker->sched.waiting_count)
        arm(broker);
}

void instance_set_slice(struct instance *i)
{
    const bool is_long = cost_is_long(i->turn.class);
    const pid_t pid = engine_pid(i->engine);

    /* Most go on with what they have. */
    if (i->has_long_slice == is_long || !pid)
        return;
    i->has_long_slice = is_long;
    slice_set(pid, is_long ? SLICE_LONG_US : SLICE_SHORT_US);
}

void instance_block(struct instance *i)
{
    sched_block(&i->broker->sched, &i->turn, loop_now_us());
    if (i->broker->sched.waiting_count)
        arm(i->broker);
}

void instance_unblock(struct instance *i)
{
    sched_unblock(&i->broker->sched, &i->turn, loop_now_us());
}

/* ---- Policy, and for people ---- */

void broker_each_held(struct broker *broker, void (*fn)(void *arg, const struct vt_uuid *uuid), void *arg)
{
    VT_LIST_EACH(&broker->sched.held, at)
    fn(arg, &instance_of_turn(VT_LIST_ENTRY(at, struct sched_guest, node))->node.uuid);
}

const char *instance_turn(const struct instance *i)
{
    static const char *const words[] = {
        [SCHED_NONE] = "", [SCHED_HELD] = "held", [SCHED_WAITS] = "waits", [SCHED_RUNS] = "runs"};

    return words[i->turn.state];
}

uint64_t instance_held(const struct instance *i)
{
    return i->turn.held;
}

void instance_take_pace(struct instance *i)
{
    struct measures measures;

    instance_measures(i, &measures);
    sched_pace(&i->broker->sched, &i->turn, &measures.pace, loop_now_us());
    if (i->turn.state == SCHED_HELD)
        arm(i->broker);
}
