/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the host an instance may have: its share against others, and what it may not exceed. Policy,
 * set by an administrator and kept in its record. All zero: the usual share and no limit. Plain data. Any
 * thread.
 */
#ifndef VTPM_CORE_SCHED_PACE_H
#define VTPM_CORE_SCHED_PACE_H

#include "server/base/err.h"

#define PACE_WEIGHT     100u /* of who has no other */
#define PACE_WEIGHT_MAX 10000u
#define PACE_RATE_MAX   1000000u /* commands a second, and the burst */
#define PACE_CPU_MAX    10000u   /* percent of one core */
#define PACE_BYTES      12u

struct pace {
    uint16_t weight;      /* 1 to PACE_WEIGHT_MAX; 0: PACE_WEIGHT */
    uint16_t cpu_percent; /* of one core; 0: no limit */
    uint32_t per_second;  /* commands; 0: no limit */
    uint32_t burst; /* commands at once after a pause; 0: as many as in a second. Only with per_second */
};

/* Which of it a change is about. */
enum { PACE_SETS_WEIGHT = 1, PACE_SETS_RATE = 2, PACE_SETS_BURST = 4, PACE_SETS_CPU = 8, PACE_SETS_ALL = 15 };
/* Those of `to` become what they are in `from`. Without a rate there is no burst. */
void pace_change(struct pace *to, const struct pace *from, unsigned which);
bool pace_is_usual(const struct pace *pace);
/* VT_EUSAGE, with a text for who asked. */
int pace_check(const struct pace *pace, struct vt_why *why) VT_USE_RESULT;
uint32_t pace_weight(const struct pace *pace);
uint32_t pace_burst(const struct pace *pace);
/* "weight 100, 50 commands/s (burst 10), 20 % of a core"; "weight 100, no limit". */
#define PACE_TEXT 128
void pace_text(char out[PACE_TEXT], const struct pace *pace);

#endif
