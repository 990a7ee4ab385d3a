/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/slice.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the kernel has it; glibc knows it only since 2.41. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

#define RESET_ON_FORK 1u

/* Real-time policies mean something else by the runtime. */
static bool is_fair(const struct attributes *a)
{
    return a->policy == SCHED_OTHER || a->policy == SCHED_BATCH;
}

bool slice_set(pid_t pid, unsigned us)
{
    struct attributes now = {0};

    if (syscall(SYS_sched_getattr, pid, &now, sizeof now, 0) || !is_fair(&now))
        return false;
    const struct attributes then = {
        .size = sizeof then,
        .policy = now.policy,
        .flags = now.flags & RESET_ON_FORK,
        .nice = now.nice,
        .runtime_ns = us * 1000ull,
    };
    return syscall(SYS_sched_setattr, pid, &then, 0) == 0;
}
