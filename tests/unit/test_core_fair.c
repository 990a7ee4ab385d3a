/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command at the gate: one that waits for a slot, or is held by its instance's limits, with all that may
 * happen meanwhile. The one slot is taken by a guest of the test's own, so that no time decides.
 */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "server/core/instance/instance_priv.h"

#define HOUR_US 3600000000ull

static struct rig rig;
static struct peer peers[3];
static struct vt_uuid uuids[3];
static struct sched_guest taker;
static const char *const names[] = {"a", "b", "c"};

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    for (int k = 0; k < 3; k++) {
        peers[k] = (struct peer){0};
        rig_powered(&rig, &peers[k], names[k], &uuids[k]);
    }
    sched_guest_init(&taker);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++)
        peer_close(&peers[k]);
    rig_free(&rig);
    return 0;
}

static struct sched *sched(void)
{
    return &rig.broker->sched;
}

static struct instance *instance(int k)
{
    return instance_in_memory(rig.broker, &uuids[k]);
}

/* For as long as the test likes: no time takes it away. */
static void take_slot(void)
{
    sched()->slots = 1;
    assert_true(sched_ask(sched(), &taker, COST_PRIVATE, loop_now_us()));
    taker.due_us += HOUR_US;
}

static void give_slot(void)
{
    sched_leave(sched(), &taker, loop_now_us());
    loop_timer_start(rig.broker->turn_timer, 0);
}

static int limit(const char *name, struct pace to, unsigned which, enum admin_role role)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__PaceChange change = VTPM__PACE_CHANGE__INIT;
    Vtpm__Pace pace = VTPM__PACE__INIT;
    Vtpm__AdminReply *reply;
    char copy[80];
    int err;

    snprintf(copy, sizeof copy, "%s", name);
    pace.weight = to.weight;
    pace.per_second = to.per_second;
    pace.burst = to.burst;
    pace.cpu_percent = to.cpu_percent;
    change.instance = copy;
    change.pace = &pace;
    change.weight = (which & PACE_SETS_WEIGHT) != 0;
    change.per_second = (which & PACE_SETS_RATE) != 0;
    change.burst = (which & PACE_SETS_BURST) != 0;
    change.cpu_percent = (which & PACE_SETS_CPU) != 0;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PACE;
    request.pace = &change;
    reply = admin_ask(&rig, role, &request);
    err = reply->err;
    assert_true(!err == !reply->text[0]);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

/* Its next command is an hour beyond its limits. */
static void overdraw(int k)
{
    assert_int_equal(limit(names[k], (struct pace){.per_second = 1}, PACE_SETS_RATE, ADMIN_FULL), VT_OK);
    instance(k)->turn.commands = -3600 * 1000000ll;
}

static void waits(int k, uint64_t n, const char *turn)
{
    peer_ask(&peers[k], n, turn[0] == 'h' ? FAKE_BUMP_VOLATILE : FAKE_LONG);
    rig_turn(&rig, 2);
    assert_false(peers[k].answered);
    assert_false(session_ready(peers[k].session));
    assert_string_equal(instance_turn(instance(k)), turn);
}

static void takes(int k, uint64_t volatile_count)
{
    struct seen seen;

    assert_int_equal(peer_take(&peers[k], &seen), 0);
    assert_int_equal(seen.rc, 0);
    assert_int_equal(seen.volatile_count, volatile_count);
    assert_string_equal(instance_turn(instance(k)), "");
}

static Vtpm__AdminReply *look(Vtpm__AdminRequest__VerbCase verb)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    char name[] = "a";

    ref.instance = name;
    request.verb_case = verb;
    if (verb == VTPM__ADMIN_REQUEST__VERB_STATUS)
        request.status = &status;
    else
        request.show = &ref;
    return admin_ask(&rig, ADMIN_MONITOR, &request);
}

static void test_gate__slot_is_taken__long_waits_and_short_passes(void **state)
{
    Vtpm__AdminReply *reply;

    (void)state;
    take_slot();
    waits(0, 1, "waits");
    waits(1, 1, "waits");
    peer_expect(&peers[2], 1, FAKE_BUMP_VOLATILE, 1, 0);
    reply = look(VTPM__ADMIN_REQUEST__VERB_STATUS);
    assert_int_equal(reply->status->slots, 1);
    assert_int_equal(reply->status->long_running, 1);
    assert_int_equal(reply->status->long_waiting, 2);
    assert_int_equal(reply->status->held, 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    give_slot();
    takes(0, 1);
    takes(1, 1);
    assert_int_equal(sched()->used, 0);
}

static void test_gate__channel_ends_while_it_waits__it_was_never_sent(void **state)
{
    (void)state;
    take_slot();
    waits(0, 1, "waits");
    peer_close(&peers[0]);
    rig_turn(&rig, 2);
    assert_int_equal(sched()->waiting_count, 0);
    assert_false(instance_is_busy(instance(0)));
    peer_on(&rig, &peers[0], &uuids[0]);
    waits(0, 1, "waits");
    give_slot();
    takes(0, 1);
    /* Sent once more it is the recorded one. */
    peer_ask(&peers[0], 1, FAKE_LONG);
    takes(0, 1);
}

static void test_gate__newer_channel_takes_over__the_older_ones_command_goes(void **state)
{
    struct peer newer = {0};

    (void)state;
    take_slot();
    waits(0, 1, "waits");
    peer_on(&rig, &newer, &uuids[0]);
    assert_true(peers[0].closed);
    assert_int_equal(sched()->waiting_count, 0);
    peer_expect(&newer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    give_slot();
    peer_expect(&newer, 2, FAKE_LONG, 2, 0);
    peer_close(&newer);
}

/* The domain is gone while its last command waits: that one belongs to no later domain. */
static void test_gate__guest_ends_while_it_waits__the_next_one_begins_anew(void **state)
{
    bool acted;

    (void)state;
    take_slot();
    waits(0, 1, "waits");
    peer_close(&peers[0]);
    peer_on(&rig, &peers[0], &uuids[0]);
    assert_int_equal(peer_power_on(&peers[0], VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    give_slot();
    peer_expect(&peers[0], 1, FAKE_READ, 0, 0);
}

static void test_gate__deleted_while_it_waits__the_others_go_on(void **state)
{
    (void)state;
    take_slot();
    waits(0, 1, "waits");
    waits(1, 1, "waits");
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    assert_true(peers[0].closed);
    assert_int_equal(sched()->waiting_count, 1);
    give_slot();
    takes(1, 1);
}

static void test_gate__engine_dies_of_it__its_slot_is_free(void **state)
{
    (void)state;
    sched()->slots = 1;
    fake.crashes = 2;
    peer_expect_fail(&peers[0], 1, FAKE_LONG);
    assert_int_equal(sched()->used, 0);
    fake.kills = 1;
    peer_expect(&peers[1], 1, FAKE_LONG, 1, 0);
    assert_int_equal(sched()->used, 0);
}

static void test_gate__server_stops_while_they_wait__they_are_told_to_come_again(void **state)
{
    (void)state;
    take_slot();
    waits(0, 1, "waits");
    overdraw(1);
    waits(1, 1, "held");
    broker_drain(rig.broker, NULL, NULL);
    for (int k = 0; k < 2; k++) {
        struct seen seen;
        assert_int_equal(peer_take(&peers[k], &seen), -VT_EAGAIN);
    }
    assert_null(sched_anyone(sched()));
    sched_leave(sched(), &taker, loop_now_us());
}

static void test_limits__beyond_them__held_until_they_are_lifted(void **state)
{
    Vtpm__AdminReply *reply;

    (void)state;
    peer_expect(&peers[0], 1, FAKE_BUMP_VOLATILE, 1, 0);
    overdraw(0);
    waits(0, 2, "held");
    peer_expect(&peers[1], 1, FAKE_BUMP_VOLATILE, 1, 0);
    reply = look(VTPM__ADMIN_REQUEST__VERB_STATUS);
    assert_int_equal(reply->status->held, 1);
    assert_int_equal(reply->status->n_held_names, 1);
    assert_string_equal(reply->status->held_names[0], "a");
    vtpm__admin_reply__free_unpacked(reply, NULL);
    reply = look(VTPM__ADMIN_REQUEST__VERB_SHOW);
    assert_string_equal(reply->instances[0]->turn, "held");
    assert_int_equal(reply->instances[0]->held, 1);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    /* An administrator's verbs are not held. */
    assert_int_equal(admin_measured(&rig, "a", 4, 1, false), VT_OK);
    assert_false(peers[0].answered);
    assert_int_equal(limit("a", (struct pace){0}, PACE_SETS_RATE, ADMIN_FULL), VT_OK);
    takes(0, 2);
}

static void expect_pace(unsigned weight, unsigned per_second, unsigned burst, unsigned cpu_percent)
{
    Vtpm__AdminReply *reply = look(VTPM__ADMIN_REQUEST__VERB_SHOW);
    const Vtpm__Pace *pace = reply->instances[0]->pace;

    assert_non_null(pace);
    assert_int_equal(pace->weight, weight);
    assert_int_equal(pace->per_second, per_second);
    assert_int_equal(pace->burst, burst);
    assert_int_equal(pace->cpu_percent, cpu_percent);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void test_limits__one_of_them__the_others_stay_also_over_a_restart(void **state)
{
    char event[300];

    (void)state;
    expect_pace(100, 0, 0, 0);
    assert_int_equal(
        limit("a", (struct pace){.per_second = 50, .burst = 9}, PACE_SETS_RATE | PACE_SETS_BURST, ADMIN_FULL),
        VT_OK);
    assert_int_equal(limit("a", (struct pace){.weight = 7}, PACE_SETS_WEIGHT, ADMIN_FULL), VT_OK);
    expect_pace(7, 50, 9, 0);
    assert_int_equal(pace_weight(&instance(0)->turn.pace), 7);
    db_drain(rig.broker->db);
    rig_ask(&rig, event, sizeof event,
            "SELECT text FROM event WHERE kind = 'limits' ORDER BY id DESC LIMIT 1");
    assert_string_equal(event, "of the host it may have: weight 7, 50 commands/s (burst 9)");
    for (int k = 0; k < 3; k++)
        peer_close(&peers[k]);
    rig_restart(&rig);
    expect_pace(7, 50, 9, 0);
    peer_on(&rig, &peers[0], &uuids[0]);
    assert_int_equal(instance(0)->turn.pace.burst, 9);
    /* Without a rate there is no burst. */
    assert_int_equal(limit("a", (struct pace){.cpu_percent = 3}, PACE_SETS_RATE | PACE_SETS_CPU, ADMIN_FULL),
                     VT_OK);
    expect_pace(7, 0, 0, 3);
}

static void test_limits__what_cannot_be__is_refused_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(limit("a", (struct pace){.weight = 5}, PACE_SETS_WEIGHT, ADMIN_MONITOR), VT_EPERM);
    assert_int_equal(limit("nobody", (struct pace){.weight = 5}, PACE_SETS_WEIGHT, ADMIN_FULL), VT_ENOTFOUND);
    assert_int_equal(limit("a", (struct pace){.weight = 5}, 0, ADMIN_FULL), VT_EUSAGE);
    assert_int_equal(limit("a", (struct pace){.weight = PACE_WEIGHT_MAX + 1}, PACE_SETS_WEIGHT, ADMIN_FULL),
                     VT_EUSAGE);
    assert_int_equal(limit("a", (struct pace){.burst = 5}, PACE_SETS_BURST, ADMIN_FULL), VT_EUSAGE);
    assert_int_equal(limit("a", (struct pace){.per_second = PACE_RATE_MAX + 1}, PACE_SETS_RATE, ADMIN_FULL),
                     VT_EUSAGE);
    expect_pace(100, 0, 0, 0);
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_gate__slot_is_taken__long_waits_and_short_passes),
        ONE(test_gate__channel_ends_while_it_waits__it_was_never_sent),
        ONE(test_gate__newer_channel_takes_over__the_older_ones_command_goes),
        ONE(test_gate__guest_ends_while_it_waits__the_next_one_begins_anew),
        ONE(test_gate__deleted_while_it_waits__the_others_go_on),
        ONE(test_gate__engine_dies_of_it__its_slot_is_free),
        ONE(test_gate__server_stops_while_they_wait__they_are_told_to_come_again),
        ONE(test_limits__beyond_them__held_until_they_are_lifted),
        ONE(test_limits__one_of_them__the_others_stay_also_over_a_restart),
        ONE(test_limits__what_cannot_be__is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
