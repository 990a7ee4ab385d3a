/* SPDX-License-Identifier: Apache-2.0 */
/* How many events one source may cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/core/acts.h"

#define SECOND 1000000ull

static void test_limit__many_in_a_window__are_held_and_counted(void **state)
{
    struct act_limit limit = {0};
    uint64_t now = 5 * SECOND;
    unsigned held = 99, passed = 0;

    (void)state;
    for (int i = 0; i < 1000; i++, now += SECOND / 100)
        passed += act_limit_pass(&limit, 3, 60, now, &held);
    assert_int_equal(passed, 3);
    assert_int_equal(held, 0);
    now += 60 * SECOND;
    assert_true(act_limit_pass(&limit, 3, 60, now, &held));
    assert_int_equal(held, 997);
    assert_true(act_limit_pass(&limit, 3, 60, now, &held));
    assert_int_equal(held, 0);
}

/* For ever at the highest rate: a bound for how fast older events can be pushed out. */
static void test_limit__a_day_of_attempts__stays_below_the_rate(void **state)
{
    struct act_limit limit = {0};
    unsigned held, passed = 0;

    (void)state;
    for (uint64_t second = 0; second < 86400; second++)
        passed += act_limit_pass(&limit, ACT_ATTACH_MOST, ACT_ATTACH_WINDOW_S, second * SECOND, &held);
    assert_int_equal(passed, ACT_ATTACH_MOST * (86400 / ACT_ATTACH_WINDOW_S));
}

static void test_limit__seldom__never_held(void **state)
{
    struct act_limit limit = {0};
    unsigned held;

    (void)state;
    for (uint64_t i = 1; i < 100; i++) {
        assert_true(act_limit_pass(&limit, 1, 60, i * 60 * SECOND, &held));
        assert_int_equal(held, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit__many_in_a_window__are_held_and_counted),
        cmocka_unit_test(test_limit__a_day_of_attempts__stays_below_the_rate),
        cmocka_unit_test(test_limit__seldom__never_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
