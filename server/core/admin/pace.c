/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance may have of the host. */
#include "server/core/admin/admin_priv.h"

static unsigned sets(const Vtpm__PaceChange *asked)
{
    return (asked->weight ? PACE_SETS_WEIGHT : 0u) | (asked->per_second ? PACE_SETS_RATE : 0u) |
           (asked->burst ? PACE_SETS_BURST : 0u) | (asked->cpu_percent ? PACE_SETS_CPU : 0u);
}

/* What does not fit its field is beyond every bound. */
static uint16_t narrow(uint32_t value)
{
    return (uint16_t)VT_MIN(value, UINT16_MAX);
}

void admin_pace(struct admin_call *call)
{
    const Vtpm__PaceChange *asked = call->request->pace;
    const Vtpm__Pace *pace = asked->pace;
    struct instance_job job = {.kind = INSTANCE_MEASURE, .act = MEASURING_PACE, .pace_sets = sets(asked)};

    if (!pace || !job.pace_sets) {
        admin_fail(call, VT_EUSAGE, "no limit was given");
        return;
    }
    job.pace = (struct pace){.weight = narrow(pace->weight),
                             .cpu_percent = narrow(pace->cpu_percent),
                             .per_second = pace->per_second,
                             .burst = pace->burst};
    admin_submit(call, asked->instance, &job);
}
