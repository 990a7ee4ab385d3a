/* SPDX-License-Identifier: Apache-2.0 */
/* The slice of a process: set without a privilege, for another process too, and nothing else of it changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/slice.h"

/* The first 32 bytes of what sched_getattr(2) tells. */
struct told {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static struct told of(pid_t pid)
{
    struct told told = {0};

    assert_int_equal(syscall(SYS_sched_getattr, pid, &told, sizeof told, 0), 0);
    return told;
}

/* A kernel that knows slices tells the one that was set; an older one tells none. */
static void expect_slice(pid_t pid, unsigned us)
{
    const struct told told = of(pid);

    if (told.runtime_ns)
        assert_int_equal(told.runtime_ns, us * 1000ull);
}

static void test_slice__of_itself__is_inherited_and_changes_nothing_else(void **state)
{
    const struct told before = of(0);
    int status;
    pid_t pid;

    (void)state;
    assert_true(slice_set(0, SLICE_SHORT_US));
    expect_slice(0, SLICE_SHORT_US);
    assert_int_equal(of(0).policy, before.policy);
    assert_int_equal(of(0).nice, before.nice);
    assert_int_equal(of(0).flags, before.flags);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pause();
        _exit(0);
    }
    expect_slice(pid, SLICE_SHORT_US);
    assert_true(slice_set(pid, SLICE_LONG_US));
    expect_slice(pid, SLICE_LONG_US);
    expect_slice(0, SLICE_SHORT_US);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(slice_set(pid, SLICE_LONG_US));
}

/* Who was made nicer stays so. */
static void test_slice__nice_process__stays_nice(void **state)
{
    (void)state;
    assert_int_equal(setpriority(PRIO_PROCESS, 0, VT_MIN(getpriority(PRIO_PROCESS, 0) + 3, 19)), 0);
    const int nice = of(0).nice;
    assert_true(slice_set(0, SLICE_LONG_US));
    assert_int_equal(of(0).nice, nice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice__of_itself__is_inherited_and_changes_nothing_else),
        cmocka_unit_test(test_slice__nice_process__stays_nice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
