/* SPDX-License-Identifier: Apache-2.0 */
/* Whose command begins when: the scheduler alone, in a time of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "server/core/sched/sched.h"

#define GUESTS_MAX 40
#define SECOND     1000000u

/* ---- Guests that send one command after the other ---- */

struct sender {
    struct sched_guest guest;
    enum cost_class class;
    uint64_t cost_us;  /* of its next command */
    uint64_t pause_us; /* between an answer and the next command */
    uint64_t at_us;    /* when it sends, or when its command ends */
    bool is_running, is_asking, is_off;
    uint64_t ended, work_us, longest_us, asked_us;
};

struct world {
    struct sched sched;
    struct sender senders[GUESTS_MAX];
    size_t count;
    uint64_t now;
    uint32_t seed;
    bool is_random;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 8) % below;
}

static void make_world(struct world *w, unsigned slots, size_t count)
{
    *w = (struct world){.count = count, .now = 1, .seed = 1};
    sched_init(&w->sched, slots);
    for (size_t i = 0; i < count; i++) {
        sched_guest_init(&w->senders[i].guest);
        w->senders[i].class = COST_PRIVATE;
        w->senders[i].cost_us = 500;
        w->senders[i].at_us = 1;
    }
}

static struct sender *sender_of(struct sched_guest *guest)
{
    return VT_CONTAINER(guest, struct sender, guest);
}

static void begins(struct world *w, struct sender *s)
{
    assert_true(s->is_asking);
    s->is_asking = false;
    s->is_running = true;
    s->longest_us = VT_MAX(s->longest_us, w->now - s->asked_us);
    if (w->is_random)
        s->cost_us = 1 + draw(w, 3000);
    s->at_us = w->now + s->cost_us;
}

static void pump(struct world *w)
{
    struct sched_guest *guest;

    while ((guest = sched_next(&w->sched, w->now)))
        begins(w, sender_of(guest));
    assert_true(vt_list_empty(&w->sched.waiting) || w->sched.used >= w->sched.slots);
}

static void acts(struct world *w, struct sender *s)
{
    if (s->is_running) {
        sched_leave(&w->sched, &s->guest, w->now);
        s->is_running = false;
        s->ended++;
        s->work_us += s->cost_us;
        s->at_us = w->now + s->pause_us + (s->pause_us ? draw(w, (uint32_t)s->pause_us) : 0);
        if (s->at_us > w->now)
            return;
    }
    s->is_asking = true;
    s->asked_us = w->now;
    if (sched_ask(&w->sched, &s->guest, s->class, w->now))
        begins(w, s);
}

/* Until then everything that happens, in its order. */
static void run_until(struct world *w, uint64_t end)
{
    for (;;) {
        uint64_t due = UINT64_MAX;
        struct sender *next = NULL;

        if (!sched_due(&w->sched, &due))
            due = UINT64_MAX;
        for (size_t i = 0; i < w->count; i++) {
            struct sender *s = &w->senders[i];
            if (!s->is_asking && !s->is_off && (!next || s->at_us < next->at_us))
                next = s;
        }
        if (VT_MIN(due, next ? next->at_us : UINT64_MAX) > end)
            break;
        w->now = VT_MAX(w->now, VT_MIN(due, next ? next->at_us : UINT64_MAX));
        if (next && next->at_us <= w->now)
            acts(w, next);
        pump(w);
    }
    w->now = end;
}

static void set_pace(struct world *w, size_t i, struct pace pace)
{
    sched_pace(&w->sched, &w->senders[i].guest, &pace, w->now);
}

/* ---- Costs ---- */

static void test_cost__command_bytes__only_the_ordinal_counts(void **state)
{
    uint8_t sign[] = {0, 0xc2, 0, 0, 0, 99, 0, 0, 0, 0x3c, 7, 7, 7};

    (void)state;
    assert_int_equal(cost_ordinal(sign, sizeof sign), 0x3c);
    assert_int_equal(cost_ordinal(sign, 10), 0x3c);
    assert_int_equal(cost_ordinal(sign, 9), 0);
    assert_int_equal(cost_ordinal(NULL, 0), 0);
}

static void test_cost__ordinals__have_their_class(void **state)
{
    static const struct {
        uint32_t ordinal;
        enum cost_class class;
    } rows[] = {
        {0, COST_CHEAP},      {0x0a, COST_CHEAP}, {0x0c, COST_PRIVATE},     {0x0d, COST_KEY},
        {0x14, COST_CHEAP},   {0x1f, COST_KEY},   {0x3c, COST_PRIVATE},     {0x41, COST_PRIVATE},
        {0x46, COST_CHEAP},   {0x79, COST_KEY},   {0xcd, COST_DURABLE},     {0xe7, COST_PRIVATE},
        {0xf2, COST_PRIVATE}, {0xf3, COST_CHEAP}, {0x4000003c, COST_CHEAP}, {UINT32_MAX, COST_CHEAP},
    };
    unsigned found[COST_CLASSES] = {0};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        assert_int_equal(cost_class_of(rows[i].ordinal), rows[i].class);
    for (uint32_t ordinal = 0; ordinal < 0x100; ordinal++)
        found[cost_class_of(ordinal)]++;
    /* A row out of its order would not be found. */
    assert_int_equal(found[COST_KEY], 7);
    assert_int_equal(found[COST_PRIVATE], 31);
    assert_int_equal(found[COST_DURABLE], 16);
}

/* ---- Slots ---- */

static void test_slots__full__short_ones_begin_and_long_ones_wait(void **state)
{
    struct world w;
    uint64_t due;

    (void)state;
    make_world(&w, 2, 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sched_ask(&w.sched, &w.senders[i].guest, COST_PRIVATE, 10), i < 2);
    assert_true(sched_ask(&w.sched, &w.senders[4].guest, COST_CHEAP, 10));
    assert_null(sched_next(&w.sched, 20));
    assert_int_equal(w.sched.waiting_count, 2);
    assert_true(sched_due(&w.sched, &due));
    assert_int_equal(due, 10 + SCHED_HOLD_US);
    sched_leave(&w.sched, &w.senders[0].guest, 30);
    assert_ptr_equal(sched_next(&w.sched, 30), &w.senders[2].guest);
    assert_null(sched_next(&w.sched, 30));
    sched_leave(&w.sched, &w.senders[4].guest, 30);
    assert_null(sched_next(&w.sched, 30));
}

static void test_slots__held_too_long__are_given_up(void **state)
{
    struct world w;
    uint64_t due;

    (void)state;
    make_world(&w, 2, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sched_ask(&w.sched, &w.senders[i].guest, i ? COST_PRIVATE : COST_KEY, 10), i < 2);
    assert_null(sched_next(&w.sched, 9 + SCHED_HOLD_US));
    assert_ptr_equal(sched_next(&w.sched, 10 + SCHED_HOLD_US), &w.senders[2].guest);
    assert_null(sched_next(&w.sched, 10 + SCHED_HOLD_US));
    assert_true(sched_due(&w.sched, &due));
    assert_int_equal(due, 10 + 2 * SCHED_HOLD_US);
    assert_ptr_equal(sched_next(&w.sched, due), &w.senders[3].guest);
    /* A key may hold it longer. */
    assert_true(w.senders[0].guest.has_slot);
    /* Those that run on pay for it, and free no slot twice. */
    sched_leave(&w.sched, &w.senders[0].guest, 10 * SECOND);
    assert_int_equal(w.sched.used, 1);
    assert_true(w.senders[0].guest.finish >= 9 * SECOND);
    for (int i = 1; i < 4; i++)
        sched_leave(&w.sched, &w.senders[i].guest, 10 * SECOND);
    assert_int_equal(w.sched.used, 0);
}

static void test_slots__guest_goes_in_any_state__the_others_come(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 1, 4);
    set_pace(&w, 3, (struct pace){.per_second = 1});
    assert_true(sched_ask(&w.sched, &w.senders[0].guest, COST_PRIVATE, 10));
    assert_false(sched_ask(&w.sched, &w.senders[1].guest, COST_PRIVATE, 10));
    assert_false(sched_ask(&w.sched, &w.senders[2].guest, COST_PRIVATE, 10));
    assert_true(sched_ask(&w.sched, &w.senders[3].guest, COST_CHEAP, 10));
    sched_leave(&w.sched, &w.senders[3].guest, 20);
    assert_false(sched_ask(&w.sched, &w.senders[3].guest, COST_CHEAP, 20));
    assert_int_equal(w.sched.held_count, 1);
    sched_leave(&w.sched, &w.senders[3].guest, 30);
    sched_leave(&w.sched, &w.senders[1].guest, 30);
    assert_int_equal(w.sched.held_count, 0);
    assert_int_equal(w.sched.waiting_count, 1);
    assert_null(sched_next(&w.sched, 30));
    sched_leave(&w.sched, &w.senders[0].guest, 30);
    assert_ptr_equal(sched_next(&w.sched, 30), &w.senders[2].guest);
    sched_leave(&w.sched, &w.senders[1].guest, 40);
    sched_leave(&w.sched, &w.senders[2].guest, 40);
    assert_int_equal(w.sched.used, 0);
}

static void test_slots__sandbox_that_waits_for_the_broker__has_none(void **state)
{
    struct world w;
    struct sched_guest *a, *b;

    (void)state;
    make_world(&w, 1, 2);
    a = &w.senders[0].guest;
    b = &w.senders[1].guest;
    assert_true(sched_ask(&w.sched, a, COST_KEY, 10));
    assert_false(sched_ask(&w.sched, b, COST_PRIVATE, 10));
    sched_block(&w.sched, a, 110);
    sched_block(&w.sched, a, 120);
    assert_ptr_equal(sched_next(&w.sched, 120), b);
    sched_unblock(&w.sched, a, 5000);
    assert_int_equal(w.sched.used, 2);
    sched_leave(&w.sched, a, 5050);
    assert_int_equal(a->ran_us, 150);
    sched_unblock(&w.sched, a, 5060);
    sched_leave(&w.sched, b, 5060);
    assert_int_equal(w.sched.used, 0);
}

static void test_mean__keys_that_were_ready__cost_little_from_then_on(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 1, 1);
    w.senders[0].class = COST_KEY;
    w.senders[0].cost_us = 900;
    run_until(&w, SECOND);
    assert_true(w.sched.mean_us[COST_KEY] < 1000);
    w.senders[0].cost_us = 60000;
    run_until(&w, 10 * SECOND);
    assert_true(w.sched.mean_us[COST_KEY] > 50000);
    assert_int_equal(w.sched.mean_us[COST_CHEAP], cost_first_us(COST_CHEAP));
}

/* ---- Shares ---- */

/*
 * All want more than there is: by start-time fair queueing nobody's work, divided by weight, is further from
 * another's than a command of each and what the other slots hold.
 */
static void expect_shares(struct world *w, uint64_t longest_us)
{
    uint64_t least = UINT64_MAX, most = 0, total = 0;

    for (size_t i = 0; i < w->count; i++) {
        const uint64_t share = w->senders[i].work_us * 100 / pace_weight(&w->senders[i].guest.pace);

        least = VT_MIN(least, share);
        most = VT_MAX(most, share);
        total += w->senders[i].work_us;
    }
    if (most - least > (w->sched.slots + 2) * longest_us * 100 / 25)
        fail_msg("shares from %llu to %llu us", (unsigned long long)least, (unsigned long long)most);
    /* And no slot stood empty. */
    assert_true(total + w->sched.slots * longest_us >= w->sched.slots * (w->now - 1));
}

static void test_shares__random_costs_and_weights__each_gets_its_own(void **state)
{
    (void)state;
    for (unsigned round = 1; round <= 20; round++) {
        struct world w;

        make_world(&w, 1 + round % 4, 2 + round * 7 % (GUESTS_MAX - 2));
        w.seed = round;
        w.is_random = true;
        for (size_t i = 0; i < w.count; i++)
            set_pace(&w, i, (struct pace){.weight = (uint16_t[]){25, 100, 100, 400}[i % 4]});
        run_until(&w, 20 * SECOND);
        /* With few guests the heavy ones have more than a slot's time to claim, which one command at a time
         * cannot use. */
        if (w.count > 6 * w.sched.slots)
            expect_shares(&w, 3000);
        for (size_t i = 0; i < w.count; i++)
            assert_true(w.senders[i].ended > 10);
    }
}

/* Whoever comes seldom is served as soon as a slot is free, whatever the crowd does. */
static void test_shares__crowd_without_end__one_that_comes_seldom_waits_little(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 2, 32);
    w.is_random = true;
    w.senders[0].pause_us = 100000; /* it wants less than its share */
    w.senders[0].at_us = SECOND;
    run_until(&w, 20 * SECOND);
    assert_true(w.senders[0].ended > 100);
    /* At most those under way, and one that came with the same start. */
    assert_in_range(w.senders[0].longest_us, 1, 3 * 3000);
    for (size_t i = 1; i < w.count; i++)
        assert_true(w.senders[i].ended > 500);
}

/* A guest that asks for keys gets no more time than one that signs. */
static void test_shares__dear_beside_cheap__the_same_time(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 1, 4);
    for (int i = 0; i < 2; i++) {
        w.senders[i].class = COST_KEY;
        w.senders[i].cost_us = 100000;
    }
    run_until(&w, 60 * SECOND);
    for (int i = 0; i < 4; i++)
        assert_in_range(w.senders[i].work_us, 15 * SECOND - 400000, 15 * SECOND + 400000);
}

/* Time in which nobody else wanted anything is not held against a guest. */
static void test_shares__alone_for_long__is_no_debt(void **state)
{
    struct world w;
    uint64_t before;

    (void)state;
    make_world(&w, 1, 2);
    w.senders[1].at_us = 10 * SECOND;
    run_until(&w, 10 * SECOND - 1);
    before = w.senders[0].ended;
    assert_true(before > 19000);
    run_until(&w, 12 * SECOND);
    assert_in_range(w.senders[0].ended - before, 1990, 2010);
    assert_in_range(w.senders[1].ended, 1990, 2010);
}

static void test_shares__guests_go_while_waiting__nobody_is_lost(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 2, 30);
    w.is_random = true;
    run_until(&w, SECOND);
    for (size_t i = 0; i < w.count; i += 2) {
        sched_leave(&w.sched, &w.senders[i].guest, w.now);
        w.senders[i].is_asking = w.senders[i].is_running = false;
        w.senders[i].is_off = true;
    }
    pump(&w);
    for (size_t i = 0; i < w.count; i++)
        w.senders[i].ended = w.senders[i].work_us = 0;
    run_until(&w, 5 * SECOND);
    for (size_t i = 0; i < w.count; i++)
        assert_true(w.senders[i].is_off ? !w.senders[i].ended : w.senders[i].ended > 100);
    assert_int_equal(w.sched.waiting_count, w.count / 2 - 2);
}

/* ---- Limits ---- */

static void test_limit__commands__so_many_a_second_and_a_burst(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 1, 2);
    for (int i = 0; i < 2; i++) {
        w.senders[i].class = COST_CHEAP;
        w.senders[i].cost_us = 20;
    }
    set_pace(&w, 0, (struct pace){.per_second = 50, .burst = 10});
    run_until(&w, 10000);
    assert_int_equal(w.senders[0].ended, 10);
    run_until(&w, 10 * SECOND);
    assert_in_range(w.senders[0].ended, 508, 510);
    assert_true(w.senders[0].guest.held > 490);
    assert_true(w.senders[1].ended > 490000);
    assert_int_equal(w.senders[1].guest.held, 0);
}

static void test_limit__cpu__so_much_of_a_core(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 2, 3);
    set_pace(&w, 0, (struct pace){.cpu_percent = 5});
    w.is_random = true;
    run_until(&w, 20 * SECOND);
    /* A second's worth at once, then as it comes in, and the last command's. */
    assert_in_range(w.senders[0].work_us, SECOND - 10000, SECOND + 50000 + 10000);
    assert_true(w.senders[1].work_us > 15 * SECOND);
}

/* One command that costs more than there is runs, and is paid for afterwards. */
static void test_limit__cpu__a_key_is_paid_off(void **state)
{
    struct world w;

    (void)state;
    make_world(&w, 2, 1);
    w.senders[0].class = COST_KEY;
    w.senders[0].cost_us = 200000;
    set_pace(&w, 0, (struct pace){.cpu_percent = 10});
    run_until(&w, SECOND);
    assert_int_equal(w.senders[0].ended, 1);
    run_until(&w, 20 * SECOND);
    assert_in_range(w.senders[0].ended, 10, 12);
}

static void test_limit__lifted_while_it_is_held__begins_at_once(void **state)
{
    struct world w;
    struct sched_guest *g;

    (void)state;
    make_world(&w, 1, 1);
    g = &w.senders[0].guest;
    set_pace(&w, 0, (struct pace){.per_second = 1, .burst = 1});
    assert_true(sched_ask(&w.sched, g, COST_CHEAP, 10));
    sched_leave(&w.sched, g, 20);
    assert_false(sched_ask(&w.sched, g, COST_CHEAP, 20));
    assert_null(sched_next(&w.sched, 1000));
    w.now = 1000;
    set_pace(&w, 0, (struct pace){.weight = 7});
    assert_ptr_equal(sched_next(&w.sched, 1000), g);
    assert_int_equal(pace_weight(&g->pace), 7);
}

/* Far apart, backwards, extreme: nothing overflows, and it goes on. */
static void test_limit__extremes__go_on(void **state)
{
    struct world w;
    struct sched_guest *g;

    (void)state;
    make_world(&w, 1, 1);
    g = &w.senders[0].guest;
    set_pace(
        &w, 0,
        (struct pace){
            .weight = 1, .per_second = PACE_RATE_MAX, .burst = PACE_RATE_MAX, .cpu_percent = PACE_CPU_MAX});
    assert_true(sched_ask(&w.sched, g, COST_PRIVATE, UINT64_MAX / 4));
    sched_leave(&w.sched, g, UINT64_MAX / 4 + 3600ull * SECOND);
    assert_false(sched_ask(&w.sched, g, COST_PRIVATE, UINT64_MAX / 4));
    assert_ptr_equal(sched_next(&w.sched, UINT64_MAX / 2), g);
    sched_leave(&w.sched, g, 0);
    assert_int_equal(w.sched.used, 0);
}

/* ---- Pace ---- */

static void test_pace__out_of_bounds__is_refused_with_what_may_be(void **state)
{
    static const struct pace bad[] = {
        {.weight = PACE_WEIGHT_MAX + 1},
        {.per_second = PACE_RATE_MAX + 1},
        {.per_second = 1, .burst = PACE_RATE_MAX + 1},
        {.cpu_percent = PACE_CPU_MAX + 1},
        {.burst = 1},
    };
    static const struct pace good[] = {
        {0},
        {.weight = PACE_WEIGHT_MAX,
         .cpu_percent = PACE_CPU_MAX,
         .per_second = PACE_RATE_MAX,
         .burst = PACE_RATE_MAX},
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(bad); i++) {
        struct vt_why why = {0};
        assert_int_equal(pace_check(&bad[i], &why), VT_EUSAGE);
        assert_true(why.text[0]);
    }
    for (size_t i = 0; i < VT_COUNT(good); i++)
        assert_int_equal(pace_check(&good[i], NULL), VT_OK);
}

static void test_pace__text__says_all_of_it(void **state)
{
    char text[PACE_TEXT];

    (void)state;
    pace_text(text, &(struct pace){0});
    assert_string_equal(text, "weight 100, no limit");
    pace_text(text, &(struct pace){.weight = 50, .per_second = 20, .cpu_percent = 5});
    assert_string_equal(text, "weight 50, 20 commands/s (burst 20), 5 % of a core");
    assert_true(pace_is_usual(&(struct pace){.weight = PACE_WEIGHT}));
    assert_false(pace_is_usual(&(struct pace){.cpu_percent = 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost__command_bytes__only_the_ordinal_counts),
        cmocka_unit_test(test_cost__ordinals__have_their_class),
        cmocka_unit_test(test_slots__full__short_ones_begin_and_long_ones_wait),
        cmocka_unit_test(test_slots__held_too_long__are_given_up),
        cmocka_unit_test(test_slots__guest_goes_in_any_state__the_others_come),
        cmocka_unit_test(test_slots__sandbox_that_waits_for_the_broker__has_none),
        cmocka_unit_test(test_mean__keys_that_were_ready__cost_little_from_then_on),
        cmocka_unit_test(test_shares__random_costs_and_weights__each_gets_its_own),
        cmocka_unit_test(test_shares__crowd_without_end__one_that_comes_seldom_waits_little),
        cmocka_unit_test(test_shares__dear_beside_cheap__the_same_time),
        cmocka_unit_test(test_shares__alone_for_long__is_no_debt),
        cmocka_unit_test(test_shares__guests_go_while_waiting__nobody_is_lost),
        cmocka_unit_test(test_limit__commands__so_many_a_second_and_a_burst),
        cmocka_unit_test(test_limit__cpu__so_much_of_a_core),
        cmocka_unit_test(test_limit__cpu__a_key_is_paid_off),
        cmocka_unit_test(test_limit__lifted_while_it_is_held__begins_at_once),
        cmocka_unit_test(test_limit__extremes__go_on),
        cmocka_unit_test(test_pace__out_of_bounds__is_refused_with_what_may_be),
        cmocka_unit_test(test_pace__text__says_all_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
