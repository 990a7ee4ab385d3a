/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/measure.h"

#include <assert.h>
#include <stdio.h>

#include "server/sandbox/messages.h"
#include "server/wire/cursor.h"

enum { FLAG_REQUIRED = 1, FLAG_HOST = 2, FLAG_PACE = 4, FLAGS_KNOWN = 7 };
enum { FLAG_ALWAYS = 1 };

_Static_assert(MEASURE_PCRS + MEASURE_MAX == SANDBOX_MEASURES_MAX, "the host's PCRs and a full queue are one request");

static bool is_label(const char *label)
{
    size_t len = strnlen(label, MEASURE_LABEL);

    for (size_t i = 0; i < len; i++) {
        if (label[i] < ' ' || label[i] > '~')
            return false;
    }
    return len < MEASURE_LABEL;
}

/* ---- Bytes ---- */

static void put_one(struct wr *w, const struct measure *measure)
{
    size_t len = strlen(measure->label);

    wr_put8(w, measure->pcr);
    wr_put8(w, measure->always ? FLAG_ALWAYS : 0);
    wr_copy(w, measure->digest, sizeof measure->digest);
    wr_put64(w, measure->size);
    wr_put8(w, (uint8_t)len);
    wr_copy(w, measure->label, len);
}

static void put_pace(struct wr *w, const struct pace *pace)
{
    wr_put16(w, (uint16_t)pace_weight(pace));
    wr_put16(w, pace->cpu_percent);
    wr_put32(w, pace->per_second);
    wr_put32(w, pace->burst);
}

/* Each pace has one spelling. */
static bool get_pace(struct rd *r, struct pace *pace)
{
    pace->weight = rd_get16(r);
    pace->cpu_percent = rd_get16(r);
    pace->per_second = rd_get32(r);
    pace->burst = rd_get32(r);
    return pace->weight && !pace_is_usual(pace) && pace_check(pace, NULL) == VT_OK;
}

static uint8_t flags_of(const struct measures *measures)
{
    return (uint8_t)((measures->required ? FLAG_REQUIRED : 0) | (measures->host_pcrs ? FLAG_HOST : 0) |
                     (pace_is_usual(&measures->pace) ? 0 : FLAG_PACE));
}

size_t measures_encode(const struct measures *measures, uint8_t out[MEASURE_BYTES_MAX])
{
    struct wr w = wr_to(out, MEASURE_BYTES_MAX);

    if (!flags_of(measures) && !measures->count)
        return 0;
    wr_put8(&w, flags_of(measures));
    wr_put8(&w, (uint8_t)measures->count);
    if (measures->host_pcrs)
        wr_put16(&w, measures->host_pcrs);
    if (!pace_is_usual(&measures->pace))
        put_pace(&w, &measures->pace);
    for (size_t i = 0; i < measures->count; i++)
        put_one(&w, &measures->list[i]);
    assert(!w.bad);
    return w.len;
}

/* False: no such measurement can be; missing bytes are the cursor's to tell. */
static bool get_one(struct rd *r, struct measure *measure)
{
    uint8_t flags;
    size_t len;

    measure->pcr = rd_get8(r);
    flags = rd_get8(r);
    measure->always = flags & FLAG_ALWAYS;
    rd_copy(r, measure->digest, sizeof measure->digest);
    measure->size = rd_get64(r);
    len = rd_get8(r);
    if (measure->pcr >= MEASURE_PCRS || flags > FLAG_ALWAYS || len >= sizeof measure->label)
        return false;
    rd_copy(r, measure->label, len);
    return strlen(measure->label) == len && is_label(measure->label);
}

int measures_decode(struct measures *measures, const uint8_t *bytes, size_t len)
{
    struct rd r = rd_from(bytes, len);
    uint8_t flags, count;

    memset(measures, 0, sizeof *measures);
    if (!len)
        return VT_OK;
    flags = rd_get8(&r);
    count = rd_get8(&r);
    if (flags > FLAGS_KNOWN || count > MEASURE_MAX || (!flags && !count))
        return VT_EDAMAGED;
    measures->required = flags & FLAG_REQUIRED;
    measures->host_pcrs = flags & FLAG_HOST ? rd_get16(&r) : 0;
    if (!measures->host_pcrs != !(flags & FLAG_HOST))
        return VT_EDAMAGED;
    if (flags & FLAG_PACE && !get_pace(&r, &measures->pace))
        return VT_EDAMAGED;
    measures->count = count;
    for (size_t i = 0; i < count; i++) {
        if (!get_one(&r, &measures->list[i]))
            return VT_EDAMAGED;
    }
    return rd_done(&r) ? VT_OK : VT_EDAMAGED;
}

bool measures_name_host(const uint8_t *bytes, size_t len)
{
    return len && bytes[0] & FLAG_HOST;
}

bool measures_have_pace(const uint8_t *bytes, size_t len)
{
    return len && bytes[0] & FLAG_PACE;
}

/* ---- Changes ---- */

int measures_add(struct measures *measures, const struct measure *measure, struct vt_why *why)
{
    if (measure->pcr >= MEASURE_PCRS)
        return vt_fail(why, VT_EUSAGE, "PCR %u: measurements go into PCR 0 to %u, which only a power on resets",
                       (unsigned)measure->pcr, MEASURE_PCRS - 1);
    if (!is_label(measure->label))
        return vt_fail(why, VT_EUSAGE, "a measurement's label is at most %u printable characters",
                       (unsigned)MEASURE_LABEL - 1);
    if (measures->count == MEASURE_MAX)
        return vt_fail(why, VT_ECONFLICT, "%u measurements are queued, and no more fit: power the guest on, or clear "
                       "them with vtpmctl instance measure I --clear", (unsigned)MEASURE_MAX);
    measures->list[measures->count++] = *measure;
    return VT_OK;
}

void measures_use(struct measures *measures)
{
    size_t kept = 0;

    for (size_t i = 0; i < measures->count; i++) {
        if (measures->list[i].always)
            measures->list[kept++] = measures->list[i];
    }
    memset(&measures->list[kept], 0, (measures->count - kept) * sizeof measures->list[0]);
    measures->count = kept;
}

void measures_text(char out[MEASURES_TEXT], const struct measures *measures)
{
    unsigned counts[MEASURE_PCRS] = {0};
    size_t len = 0;

    for (size_t i = 0; i < measures->count; i++)
        counts[measures->list[i].pcr]++;
    out[0] = '\0';
    for (unsigned pcr = 0; pcr < MEASURE_PCRS && len < MEASURES_TEXT; pcr++) {
        if (counts[pcr])
            len += (size_t)snprintf(out + len, MEASURES_TEXT - len, "%sPCR %u x%u", len ? ", " : "", pcr, counts[pcr]);
    }
}
