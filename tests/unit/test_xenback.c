/* SPDX-License-Identifier: Apache-2.0 */
/* The xenbus states of one device: the courses that were tried on a real Xen, and rules that hold for every input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/xenback.h"

/* ---- Courses: the toolstack and the front end write, the back end answers ---- */

struct device {
    enum xenback_phase phase;
    struct xenback_view view;
    unsigned done; /* all actions since the last look */
    bool map_fails;
};

static void settle(struct device *device)
{
    struct xenback_step step;
    unsigned rounds = 0;

    device->done = 0;
    do {
        step = xenback_step(device->phase, &device->view);
        device->phase = step.next;
        device->done |= step.actions;
        if (step.actions & XENBACK_WRITE)
            device->view.back = step.write;
        if (step.actions & XENBACK_MAP) {
            struct xenback_step then = xenback_mapped(!device->map_fails);

            assert_int_equal(device->phase, XENBACK_MAPPING);
            device->phase = then.next;
            device->done |= then.actions;
            device->view.back = then.write;
            device->view.ring_changed = device->map_fails;
        }
        assert_true(++rounds < 6);
    } while (step.actions != XENBACK_NOTHING && device->phase != XENBACK_GONE);
}

static struct device found(int back, int front)
{
    struct device device = {
        .phase = XENBACK_NEW,
        .view = {.back = back, .online = true, .front = front, .has_ring = front == 3 || front == 4},
    };

    settle(&device);
    return device;
}

static void front_goes(struct device *device, int front)
{
    device->view.front = front;
    if (front == XENBUS_INITIALISED)
        device->view.has_ring = true;
    settle(device);
}

static void expect(const struct device *device, enum xenback_phase phase, int back, unsigned done)
{
    assert_string_equal(xenback_phase_name(device->phase), xenback_phase_name(phase));
    assert_int_equal(device->view.back, back);
    assert_int_equal(device->done, done);
}

static struct device connected(void)
{
    struct device device = found(1, 1);

    front_goes(&device, 3);
    front_goes(&device, 4);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_NOTHING);
    return device;
}

static void test_xenback__new_device__init_wait_at_once_then_connected(void **state VT_UNUSED)
{
    struct device device = found(1, 1);

    expect(&device, XENBACK_WAIT, 2, XENBACK_PUBLISH | XENBACK_WRITE);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
    front_goes(&device, 4);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_NOTHING);
}

/* The front end's nodes may not be there yet when the device is found. */
static void test_xenback__new_device_without_front__init_wait_all_the_same(void **state VT_UNUSED)
{
    struct device device = found(1, XENBUS_NONE);

    expect(&device, XENBACK_WAIT, 2, XENBACK_PUBLISH | XENBACK_WRITE);
}

/* And our 6 does not stay: a front end that begins anew would take it for an end. */
static void test_xenback__unbind_rebind__4_6_3(void **state VT_UNUSED)
{
    struct device device = connected();

    front_goes(&device, 6);
    expect(&device, XENBACK_WAIT, 2, XENBACK_UNMAP | XENBACK_WRITE);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
    front_goes(&device, 4);
    front_goes(&device, 6);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
}

/* Both watches came after it was over: only the ring tells. */
static void test_xenback__rebind_between_two_looks__maps_the_new_ring(void **state VT_UNUSED)
{
    static const int fronts[] = {3, 4};

    for (size_t i = 0; i < VT_COUNT(fronts); i++) {
        struct device device = connected();

        device.view.ring_changed = true;
        front_goes(&device, fronts[i]);
        expect(&device, XENBACK_CONNECTED, 4, XENBACK_UNMAP | XENBACK_MAP | XENBACK_WRITE);
        settle(&device);
        expect(&device, XENBACK_CONNECTED, 4, XENBACK_NOTHING);
    }
}

static void test_xenback__detach__6_and_no_way_back_from_4(void **state VT_UNUSED)
{
    struct device device = connected();

    device.view.back = XENBUS_CLOSING;
    device.view.online = false;
    settle(&device);
    expect(&device, XENBACK_DETACHED, 6, XENBACK_UNMAP | XENBACK_WRITE);
    /* The front end still reads 4, goes to 6; the nodes go. */
    settle(&device);
    expect(&device, XENBACK_DETACHED, 6, XENBACK_NOTHING);
    front_goes(&device, 3);
    expect(&device, XENBACK_DETACHED, 6, XENBACK_NOTHING);
    device.view.back = device.view.front = XENBUS_NONE;
    settle(&device);
    expect(&device, XENBACK_DETACHED, XENBUS_NONE, XENBACK_NOTHING);
    /* xl vtpm-attach, the same number again. */
    device.view = (struct xenback_view){.back = 1, .online = true, .front = 1};
    settle(&device);
    expect(&device, XENBACK_WAIT, 2, XENBACK_PUBLISH | XENBACK_WRITE);
}

static void test_xenback__destroy__detach_then_power_off(void **state VT_UNUSED)
{
    struct device device = connected();

    device.view.back = XENBUS_CLOSING;
    device.view.online = false;
    settle(&device);
    device.view.back = device.view.front = XENBUS_NONE;
    device.view.domain_gone = true;
    settle(&device);
    expect(&device, XENBACK_GONE, XENBUS_NONE, XENBACK_POWER_OFF | XENBACK_RELEASE);
}

static void test_xenback__domain_gone_first__unmaps_powers_off_and_frees_the_toolstack(void **state VT_UNUSED)
{
    struct device device = connected();

    device.view.domain_gone = true;
    settle(&device);
    expect(&device, XENBACK_GONE, 6, XENBACK_UNMAP | XENBACK_WRITE | XENBACK_POWER_OFF | XENBACK_RELEASE);
}

/* A node that an earlier domain left behind: its instance may be on for another domain by now. */
static void test_xenback__found_without_its_domain__no_power_off(void **state VT_UNUSED)
{
    for (int back = XENBUS_NONE; back <= 8; back++) {
        struct device device = {.phase = XENBACK_NEW, .view = {.back = back, .online = true, .domain_gone = true}};

        settle(&device);
        assert_int_equal(device.phase, XENBACK_GONE);
        assert_int_equal(device.done & (XENBACK_POWER_OFF | XENBACK_MAP), 0);
    }
}

static void test_xenback__restart_under_live_front_end__maps_again(void **state VT_UNUSED)
{
    static const struct {
        int back, front;
    } left[] = {{4, 4}, {4, 3}, {2, 3}, {2, 4}};

    for (size_t i = 0; i < VT_COUNT(left); i++) {
        struct device device = found(left[i].back, left[i].front);

        expect(&device, XENBACK_CONNECTED, 4, XENBACK_PUBLISH | XENBACK_MAP | XENBACK_WRITE);
    }
}

static void test_xenback__restart_after_close__waits_for_3(void **state VT_UNUSED)
{
    struct device device = found(6, 4);

    expect(&device, XENBACK_CLOSED, 6, XENBACK_PUBLISH);
    front_goes(&device, 6);
    expect(&device, XENBACK_WAIT, 2, XENBACK_WRITE);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__restart_after_rebind_in_our_absence__maps(void **state VT_UNUSED)
{
    struct device device = found(6, 3);

    expect(&device, XENBACK_CONNECTED, 4, XENBACK_PUBLISH | XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__restart_in_the_middle_of_a_detach__answers_it(void **state VT_UNUSED)
{
    struct device device = {.phase = XENBACK_NEW, .view = {.back = 5, .front = 4, .has_ring = true}};

    settle(&device);
    expect(&device, XENBACK_GONE, 6, XENBACK_WRITE | XENBACK_RELEASE);
}

/* Shutdown and kexec of a Linux guest: each step of the front end has its answer, and it waits for each one. */
static void test_xenback__kexec__5_6_1_are_followed(void **state VT_UNUSED)
{
    struct device device = connected();

    front_goes(&device, 5);
    expect(&device, XENBACK_CLOSING, 5, XENBACK_UNMAP | XENBACK_WRITE);
    front_goes(&device, 6);
    expect(&device, XENBACK_WAIT, 2, XENBACK_WRITE);
    front_goes(&device, 1);
    expect(&device, XENBACK_WAIT, 2, XENBACK_NOTHING);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__ring_that_cannot_be_mapped__refused_once(void **state VT_UNUSED)
{
    struct device device = found(1, 1);

    device.map_fails = true;
    front_goes(&device, 3);
    expect(&device, XENBACK_REFUSED, 6, XENBACK_MAP | XENBACK_WRITE);
    /* Whatever it writes as long as it stays in 3 or 4: not again. */
    front_goes(&device, 3);
    expect(&device, XENBACK_REFUSED, 6, XENBACK_NOTHING);
    front_goes(&device, 4);
    expect(&device, XENBACK_REFUSED, 6, XENBACK_NOTHING);
    device.map_fails = false;
    front_goes(&device, 6);
    expect(&device, XENBACK_CLOSED, 6, XENBACK_NOTHING);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__ready_without_a_ring__waits_for_it(void **state VT_UNUSED)
{
    struct device device = found(1, 1);

    device.view.front = 3;
    settle(&device);
    expect(&device, XENBACK_WAIT, 2, XENBACK_NOTHING);
    front_goes(&device, 3);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__held__stays_until_let_go(void **state VT_UNUSED)
{
    struct device device = found(1, 1);
    struct device restarted = {.phase = XENBACK_NEW,
                               .view = {.back = 4, .online = true, .front = 4, .has_ring = true, .hold = true}};

    device.view.hold = true;
    front_goes(&device, 3);
    expect(&device, XENBACK_WAIT, 2, XENBACK_NOTHING);
    device.view.hold = false;
    settle(&device);
    expect(&device, XENBACK_CONNECTED, 4, XENBACK_MAP | XENBACK_WRITE);

    settle(&restarted);
    expect(&restarted, XENBACK_NEW, 4, XENBACK_NOTHING);
    restarted.view.hold = false;
    settle(&restarted);
    expect(&restarted, XENBACK_CONNECTED, 4, XENBACK_PUBLISH | XENBACK_MAP | XENBACK_WRITE);
}

static void test_xenback__nodes_removed_without_a_word__unmaps(void **state VT_UNUSED)
{
    struct device device = connected();

    device.view.back = device.view.front = XENBUS_NONE;
    settle(&device);
    expect(&device, XENBACK_DETACHED, XENBUS_NONE, XENBACK_UNMAP);
}

static void test_xenback__state_text__one_digit_or_unknown(void **state VT_UNUSED)
{
    assert_int_equal(xenback_state(NULL), XENBUS_NONE);
    assert_int_equal(xenback_state("4"), 4);
    assert_int_equal(xenback_state("9"), 9);
    assert_int_equal(xenback_state(""), XENBUS_UNKNOWN);
    assert_int_equal(xenback_state("-1"), XENBUS_UNKNOWN);
    assert_int_equal(xenback_state("04"), XENBUS_UNKNOWN);
    assert_int_equal(xenback_state("4\n"), XENBUS_UNKNOWN);
    assert_int_equal(xenback_state("four"), XENBUS_UNKNOWN);
}

/* ---- All phases, all inputs ---- */

static bool is_mapped(enum xenback_phase phase)
{
    return phase == XENBACK_MAPPING || phase == XENBACK_CONNECTED;
}

static void check_map(enum xenback_phase phase, const struct xenback_view *view)
{
    assert_true(view->has_ring && !view->domain_gone && view->back != XENBUS_NONE);
    assert_true(view->online || (view->back != 5 && view->back != 6));
    assert_true(view->front == 3 || view->front == 4);
    if (phase == XENBACK_CONNECTED)
        assert_true(view->ring_changed);
    else
        assert_false(view->hold);
    /* 4 counts only for a back end that has just started, and is no way back from 5 and 6. */
    if (view->front == 4 && phase != XENBACK_CONNECTED)
        assert_true(phase == XENBACK_NEW && view->back != 5 && view->back != 6);
}

static void check_write(enum xenback_phase phase, const struct xenback_view *view, const struct xenback_step *step)
{
    /* What the toolstack removed is not made again. */
    assert_int_not_equal(view->back, XENBUS_NONE);
    assert_true(step->write == 2 || step->write == 5 || step->write == 6);
    /* Nobody is told to come on while the toolstack takes the device away. */
    if (view->domain_gone || (!view->online && view->back >= 5 && view->back <= 6))
        assert_int_equal(step->write, 6);
    /* A DETACHED device comes back only when the toolstack made it anew. */
    if (phase == XENBACK_DETACHED && step->write == 2)
        assert_int_equal(view->back, 1);
}

static void check_end(enum xenback_phase phase, const struct xenback_view *view, const struct xenback_step *step)
{
    const bool is_off = step->actions & XENBACK_POWER_OFF;

    if (phase == XENBACK_GONE) {
        assert_int_equal(step->actions, XENBACK_NOTHING);
        return;
    }
    assert_int_equal((step->actions & XENBACK_RELEASE) != 0, step->next == XENBACK_GONE);
    assert_int_equal(is_off, view->domain_gone && phase != XENBACK_NEW);
    if (view->domain_gone)
        assert_int_equal(step->next, XENBACK_GONE);
    else if (view->back == 5 && !view->online)
        assert_true(step->actions & XENBACK_WRITE && step->write == 6);
}

static void check_front_end_alone(enum xenback_phase phase, const struct xenback_view *view, const struct xenback_step *step)
{
    const bool is_up = view->online && !view->domain_gone && view->back >= 2 && view->back != 5 && view->back != 6;

    if (!is_up || phase == XENBACK_NEW || phase >= XENBACK_DETACHED)
        return;
    /* Nonsense, and a ring that is not there, move nothing. */
    if (view->front == 0 || view->front > 6 || ((view->front == 3 || view->front == 4) && !view->has_ring))
        assert_int_equal(step->actions, XENBACK_NOTHING);
    if (view->front == 4 && !is_mapped(phase))
        assert_int_equal(step->actions, XENBACK_NOTHING);
}

static void check(enum xenback_phase phase, const struct xenback_view *view)
{
    const struct xenback_step step = xenback_step(phase, view);
    struct device device = {.phase = phase, .view = *view};

    if (step.actions & XENBACK_MAP)
        check_map(phase, view);
    assert_int_equal((step.actions & XENBACK_MAP) != 0, step.next == XENBACK_MAPPING && phase != XENBACK_MAPPING);
    if (step.actions & XENBACK_WRITE)
        check_write(phase, view, &step);
    /* What is mapped is unmapped whenever the phase is left, and only then. */
    assert_int_equal((step.actions & XENBACK_UNMAP) != 0,
                     is_mapped(phase) && (!is_mapped(step.next) || (step.actions & XENBACK_MAP) != 0));
    if (phase == XENBACK_NEW && view->back == 1 && view->online && !view->domain_gone)
        assert_true(step.actions == (XENBACK_PUBLISH | XENBACK_WRITE) && step.write == 2);
    if (step.actions == XENBACK_NOTHING && step.next != phase)
        assert_true(phase == XENBACK_REFUSED || step.next == XENBACK_DETACHED);
    check_end(phase, view, &step);
    check_front_end_alone(phase, view, &step);
    /* And it comes to rest, whether its rings can be mapped or not. */
    settle(&device);
    device = (struct device){.phase = phase, .view = *view, .map_fails = true};
    settle(&device);
}

static void test_xenback__every_phase_and_input__rules_hold(void **state VT_UNUSED)
{
    unsigned inputs = 0;

    for (int phase = XENBACK_NEW; phase < XENBACK_PHASES; phase++)
        for (int back = XENBUS_NONE; back <= 9; back++)
            for (int front = XENBUS_NONE; front <= 9; front++)
                for (unsigned flags = 0; flags < 32; flags++, inputs++) {
                    const struct xenback_view view = {.back = back,
                                                      .front = front,
                                                      .online = flags & 1,
                                                      .has_ring = flags & 2,
                                                      .ring_changed = flags & 4,
                                                      .domain_gone = flags & 8,
                                                      .hold = flags & 16};

                    check((enum xenback_phase)phase, &view);
                }
    assert_int_equal(inputs, XENBACK_PHASES * 11 * 11 * 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xenback__new_device__init_wait_at_once_then_connected),
        cmocka_unit_test(test_xenback__new_device_without_front__init_wait_all_the_same),
        cmocka_unit_test(test_xenback__unbind_rebind__4_6_3),
        cmocka_unit_test(test_xenback__rebind_between_two_looks__maps_the_new_ring),
        cmocka_unit_test(test_xenback__detach__6_and_no_way_back_from_4),
        cmocka_unit_test(test_xenback__destroy__detach_then_power_off),
        cmocka_unit_test(test_xenback__domain_gone_first__unmaps_powers_off_and_frees_the_toolstack),
        cmocka_unit_test(test_xenback__found_without_its_domain__no_power_off),
        cmocka_unit_test(test_xenback__restart_under_live_front_end__maps_again),
        cmocka_unit_test(test_xenback__restart_after_close__waits_for_3),
        cmocka_unit_test(test_xenback__restart_after_rebind_in_our_absence__maps),
        cmocka_unit_test(test_xenback__restart_in_the_middle_of_a_detach__answers_it),
        cmocka_unit_test(test_xenback__kexec__5_6_1_are_followed),
        cmocka_unit_test(test_xenback__ring_that_cannot_be_mapped__refused_once),
        cmocka_unit_test(test_xenback__ready_without_a_ring__waits_for_it),
        cmocka_unit_test(test_xenback__held__stays_until_let_go),
        cmocka_unit_test(test_xenback__nodes_removed_without_a_word__unmaps),
        cmocka_unit_test(test_xenback__state_text__one_digit_or_unknown),
        cmocka_unit_test(test_xenback__every_phase_and_input__rules_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
