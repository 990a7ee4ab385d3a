/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long random session over all implemented ordinals. The client compares the frozen state before and after
 * every command with the dirty bits (tests/lib/tpm_client.c): here it gets something to look at.
 */
#include "tests/unit/dirty_guest.h"

#define STEPS 8000

static void test_dirty__random_session__covers_every_change(void **state)
{
    struct guest g;

    dirty_begin(&g, *state, 8);
    dirty_session(&g, STEPS, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dirty__random_session__covers_every_change, spec_setup,
                                        spec_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
