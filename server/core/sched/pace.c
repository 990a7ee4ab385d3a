/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/sched/pace.h"

#include <stdio.h>

bool pace_is_usual(const struct pace *pace)
{
    return pace_weight(pace) == PACE_WEIGHT && !pace->cpu_percent && !pace->per_second && !pace->burst;
}

void pace_change(struct pace *to, const struct pace *from, unsigned which)
{
    if (which & PACE_SETS_WEIGHT)
        to->weight = from->weight;
    if (which & PACE_SETS_RATE)
        to->per_second = from->per_second;
    if (which & PACE_SETS_RATE && !from->per_second)
        to->burst = 0;
    if (which & PACE_SETS_BURST)
        to->burst = from->burst;
    if (which & PACE_SETS_CPU)
        to->cpu_percent = from->cpu_percent;
}

int pace_check(const struct pace *pace, struct vt_why *why)
{
    if (pace->weight > PACE_WEIGHT_MAX)
        return vt_fail(why, VT_EUSAGE, "a weight is from 1 to %u; %u is the usual one", PACE_WEIGHT_MAX,
                       PACE_WEIGHT);
    if (pace->per_second > PACE_RATE_MAX || pace->burst > PACE_RATE_MAX)
        return vt_fail(why, VT_EUSAGE, "commands per second, and a burst, are at most %u", PACE_RATE_MAX);
    if (pace->cpu_percent > PACE_CPU_MAX)
        return vt_fail(why, VT_EUSAGE, "a share of CPU is at most %u %% of one core", PACE_CPU_MAX);
    if (pace->burst && !pace->per_second)
        return vt_fail(why, VT_EUSAGE,
                       "a burst is for who has a limit of commands per second, and this one has none");
    return VT_OK;
}

uint32_t pace_weight(const struct pace *pace)
{
    return pace->weight ? pace->weight : PACE_WEIGHT;
}

uint32_t pace_burst(const struct pace *pace)
{
    return pace->burst ? pace->burst : pace->per_second;
}

void pace_text(char out[PACE_TEXT], const struct pace *pace)
{
    char rate[64] = "", cpu[40] = "";

    if (pace->per_second)
        snprintf(rate, sizeof rate, ", %u commands/s (burst %u)", (unsigned)pace->per_second,
                 (unsigned)pace_burst(pace));
    if (pace->cpu_percent)
        snprintf(cpu, sizeof cpu, ", %u %% of a core", (unsigned)pace->cpu_percent);
    snprintf(out, PACE_TEXT, "weight %u%s%s%s", (unsigned)pace_weight(pace), rate, cpu,
             rate[0] || cpu[0] ? "" : ", no limit");
}
