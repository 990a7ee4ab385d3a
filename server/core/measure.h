/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the toolstack measured of a guest (kernel, ramdisk, command line) and wants extended at its next power on,
 * before any command of the guest; whether there is no power on without; and which PCRs of the host each power on
 * extends too. And the instance's pace (sched/pace.h), which is policy like they are. Kept in the record beside the permanent state: docs/state-format.md, part 2. Plain data. Any thread.
 */
#ifndef VTPM_CORE_MEASURE_H
#define VTPM_CORE_MEASURE_H

#include "server/core/sched/pace.h"

#define MEASURE_MAX       64    /* in one queue; SANDBOX_MEASURES_MAX */
#define MEASURE_PCRS      16    /* 0 to 15: the others can be reset without a power on, so they prove nothing */
#define MEASURE_DIGEST    20    /* SHA-1 */
#define MEASURE_LABEL     65    /* a file's name, for people: printable ASCII and the NUL */
#define MEASURE_BYTES_MAX (4u + PACE_BYTES + MEASURE_MAX * (1 + 1 + MEASURE_DIGEST + 8 + 1 + (MEASURE_LABEL - 1)))

struct measure {
    uint8_t pcr;
    bool always;                /* stays in the queue; else the next power on uses it up */
    uint8_t digest[MEASURE_DIGEST];
    uint64_t size;              /* bytes of the file; 0: only the digest was told */
    char label[MEASURE_LABEL];
};

struct measures {
    bool required;              /* no power on with an empty queue */
    uint16_t host_pcrs;         /* bit n: PCR n begins with what the host's PCR n holds */
    struct pace pace;
    size_t count;
    struct measure list[MEASURE_MAX]; /* in the order in which they are extended */
};

/* Returns the length; 0 when nothing is required or queued, nothing of the host is wanted, and the pace is the usual one. */
size_t measures_encode(const struct measures *measures, uint8_t out[MEASURE_BYTES_MAX]);
/* No bytes: nothing of all that. VT_EDAMAGED: these are not what measures_encode writes. */
int measures_decode(struct measures *measures, const uint8_t *bytes, size_t len) VT_USE_RESULT;
/* Do these bytes, as measures_encode writes them, name PCRs of the host? A server that knows of none must not take them. */
bool measures_name_host(const uint8_t *bytes, size_t len);
/* The same of a pace. */
bool measures_have_pace(const uint8_t *bytes, size_t len);
/* VT_EUSAGE or VT_ECONFLICT (full), with a text for who asked. */
int measures_add(struct measures *measures, const struct measure *measure, struct vt_why *why) VT_USE_RESULT;
/* What stays after a power on: those that are for each. */
void measures_use(struct measures *measures);
/* "PCR 4 x2, PCR 8 x1"; "" for none. */
#define MEASURES_TEXT 200
void measures_text(char out[MEASURES_TEXT], const struct measures *measures);

#endif
