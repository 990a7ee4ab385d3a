/* SPDX-License-Identifier: Apache-2.0 */
/* docs/record-and-recovery.md; the bytes: docs/state-format.md, part 2. */
#include "server/core/record.h"

#include <assert.h>
#include <inttypes.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "server/core/measure.h"
#include "server/wire/cursor.h"

#define RECORD_MAGIC 0x56545243u /* "VTRC" */
#define RECORD_VERSION  3 /* of a record whose measurements name PCRs of the host: an older server must refuse it */
#define RECORD_MEASURED 2 /* of one with measurements */
#define RECORD_PLAIN    1 /* of one without */

enum { FLAG_DOMID = 1, FLAG_RESUME_ARMED = 2, FLAG_WINDOW_OPEN = 4, FLAGS_KNOWN = 7 };

/* Everything but the bytes of three strings: see put_head. Versions 2 and 3 have a fourth one. */
#define HEAD_LEN (4u + 2 + 1 + 1 + 8 + 8 + 16 + 16 + 8 + 32 + 16 + 4)
#define STRINGS_LEN (3u * 4)

static void bytes_free(struct vt_bytes *bytes)
{
    vt_free_wiped(bytes->data, bytes->len);
    *bytes = (struct vt_bytes){0};
}

void record_free(struct record *record)
{
    bytes_free(&record->response);
    bytes_free(&record->volatile_state);
    bytes_free(&record->permanent);
    bytes_free(&record->measures);
    vt_wipe(record, sizeof *record);
}

int record_set(struct vt_bytes *bytes, const void *data, size_t len)
{
    uint8_t *copy = NULL;

    if (len) {
        copy = vt_memdup(data, len);
        if (!copy)
            return VT_ENOMEM;
    }
    bytes_free(bytes);
    bytes->data = copy;
    bytes->len = len;
    return VT_OK;
}

static void put_head(struct wr *w, const struct record *record, unsigned version)
{
    unsigned flags = (record->guest.has_domid ? FLAG_DOMID : 0u) |
                     (record->resume_armed ? FLAG_RESUME_ARMED : 0u) |
                     (record->window_open ? FLAG_WINDOW_OPEN : 0u);

    wr_put32(w, RECORD_MAGIC);
    wr_put16(w, (uint16_t)version);
    wr_put8(w, (uint8_t)record->power);
    wr_put8(w, (uint8_t)flags);
    wr_put64(w, record->seq);
    wr_put64(w, record->base_seq);
    wr_copy(w, record->boot_id, sizeof record->boot_id);
    wr_copy(w, record->stream, sizeof record->stream);
    wr_put64(w, record->n);
    wr_copy(w, record->command_sha256, sizeof record->command_sha256);
    wr_copy(w, record->guest.boot_id, sizeof record->guest.boot_id);
    wr_put32(w, record->guest.has_domid ? record->guest.domid : 0);
}

static unsigned version_of(const struct record *record, size_t measures_len)
{
    if (!measures_len)
        return RECORD_PLAIN;
    return measures_name_host(record->measures.data, record->measures.len) ? RECORD_VERSION : RECORD_MEASURED;
}

static void put_bytes(struct wr *w, const uint8_t *data, size_t len)
{
    wr_put32(w, (uint32_t)len);
    wr_copy(w, data, len);
}

static bool is_durable(const struct record *record)
{
    return record->base_seq == record->seq;
}

/* With the length before them; only versions 2 and 3 have them at all. */
static size_t measures_room(const struct record *record)
{
    return is_durable(record) && record->measures.len ? 4 + record->measures.len : 0;
}

int record_measure(const struct record *record, size_t *len)
{
    size_t permanent_len = is_durable(record) ? record->permanent.len : 0;
    size_t left = RECORD_MAX - HEAD_LEN - STRINGS_LEN - measures_room(record);

    *len = 0;
    if (!record->seq || !record->base_seq || record->base_seq > record->seq)
        return VT_EUSAGE;
    if (record->measures.len > MEASURE_BYTES_MAX)
        return VT_ETOOBIG;
    if (record->response.len > left || record->volatile_state.len > left - record->response.len ||
        permanent_len > left - record->response.len - record->volatile_state.len)
        return VT_ETOOBIG;
    *len = HEAD_LEN + STRINGS_LEN + record->response.len + record->volatile_state.len + permanent_len +
           measures_room(record);
    return VT_OK;
}

void record_write(const struct record *record, uint8_t *out, size_t len)
{
    const size_t measures = measures_room(record);
    struct wr w = wr_to(out, len);

    put_head(&w, record, version_of(record, measures));
    put_bytes(&w, record->response.data, record->response.len);
    put_bytes(&w, record->volatile_state.data, record->volatile_state.len);
    put_bytes(&w, record->permanent.data, is_durable(record) ? record->permanent.len : 0);
    if (measures)
        put_bytes(&w, record->measures.data, record->measures.len);
    assert(!w.bad && w.len == len);
}

int record_encode(const struct record *record, uint8_t **out, size_t *len)
{
    int err = record_measure(record, len);

    *out = NULL;
    if (err)
        return err;
    *out = vt_calloc(1, *len);
    if (!*out) {
        *len = 0;
        return VT_ENOMEM;
    }
    record_write(record, *out, *len);
    return VT_OK;
}

/* False: the header contradicts itself. The cursor's `bad` is for the caller. */
static bool get_head(struct rd *r, struct record *record)
{
    uint8_t power = rd_get8(r);
    uint8_t flags = rd_get8(r);

    record->power = (enum record_power)power;
    record->guest.has_domid = flags & FLAG_DOMID;
    record->resume_armed = flags & FLAG_RESUME_ARMED;
    record->window_open = flags & FLAG_WINDOW_OPEN;
    record->seq = rd_get64(r);
    record->base_seq = rd_get64(r);
    rd_copy(r, record->boot_id, sizeof record->boot_id);
    rd_copy(r, record->stream, sizeof record->stream);
    record->n = rd_get64(r);
    rd_copy(r, record->command_sha256, sizeof record->command_sha256);
    rd_copy(r, record->guest.boot_id, sizeof record->guest.boot_id);
    record->guest.domid = rd_get32(r);
    return power <= RECORD_NEEDS_POWER_ON && (flags & ~(unsigned)FLAGS_KNOWN) == 0 && record->base_seq &&
           record->base_seq <= record->seq && (record->guest.has_domid || !record->guest.domid);
}

static int get_bytes(struct rd *r, struct vt_bytes *bytes)
{
    uint32_t len = rd_get32(r);
    const uint8_t *at = rd_take(r, len);

    return at ? record_set(bytes, at, len) : VT_OK;
}

/* Each version is written only for its sake, so they are not empty. */
static bool measures_sane(const struct record *record, unsigned version)
{
    struct measures measures;

    if (version == RECORD_PLAIN)
        return true;
    return record->measures.len && record->base_seq == record->seq &&
           measures_decode(&measures, record->measures.data, record->measures.len) == VT_OK &&
           (version == RECORD_VERSION) == (measures.host_pcrs != 0);
}

static int decode_body(struct record *record, struct rd *r, unsigned version, struct vt_why *why)
{
    bool sane = get_head(r, record);
    int err = get_bytes(r, &record->response);

    if (!err)
        err = get_bytes(r, &record->volatile_state);
    if (!err)
        err = get_bytes(r, &record->permanent);
    if (!err && version != RECORD_PLAIN)
        err = get_bytes(r, &record->measures);
    if (err)
        return err;
    if (!rd_done(r))
        return vt_fail(why, VT_EDAMAGED, "record: its length is not what its fields add up to");
    if (!sane || !measures_sane(record, version) || (record->permanent.len && record->base_seq != record->seq))
        return vt_fail(why, VT_EDAMAGED, "record: its fields contradict each other");
    return VT_OK;
}

int record_decode(struct record *record, const uint8_t *in, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(in, len);
    uint32_t magic = rd_get32(&r);
    unsigned version = rd_get16(&r);
    int err;

    memset(record, 0, sizeof *record);
    if (r.bad || magic != RECORD_MAGIC || !version)
        return vt_fail(why, VT_EDAMAGED, "record: not a record");
    if (version > RECORD_VERSION)
        return vt_fail(why, VT_EDAMAGED, "record: version %u is newer than this program, which knows %d", version,
                       RECORD_VERSION);
    err = decode_body(record, &r, version, why);
    if (err)
        record_free(record);
    return err;
}

/* "Who repeats what", row by row. */
enum record_verdict record_judge(const struct record *last, const uint8_t stream[16], uint64_t n,
                                 const uint8_t command_sha256[32], const char **why)
{
    bool same_stream = memcmp(last->stream, stream, sizeof last->stream) == 0;

    *why = "";
    if (!same_stream) {
        if (n == 1 || (last->window_open && n > 1))
            return RECORD_RUN;
        *why = "another stream must begin with n = 1";
        return RECORD_REFUSE;
    }
    if (n == last->n && n) {
        if (memcmp(last->command_sha256, command_sha256, sizeof last->command_sha256) == 0)
            return RECORD_REPLAY;
        *why = "another command under the same n";
        return RECORD_REFUSE;
    }
    if (n <= last->n) {
        *why = "n is lower than the last one";
        return RECORD_REFUSE;
    }
    if (n - last->n == 1 || last->window_open)
        return RECORD_RUN;
    *why = "n leaves a gap";
    return RECORD_REFUSE;
}

void record_command(struct record *record, const uint8_t stream[16], uint64_t n, const uint8_t command_sha256[32])
{
    memcpy(record->stream, stream, sizeof record->stream);
    record->n = n;
    memcpy(record->command_sha256, command_sha256, sizeof record->command_sha256);
    record->window_open = false;
}

static void move(struct record *out, struct record *in)
{
    *out = *in;
    memset(in, 0, sizeof *in);
}

/* "permanent of D, the rest of R" */
static void merge(struct record *out, struct record *durable, struct record *runtime)
{
    struct vt_bytes permanent = durable->permanent, measures = durable->measures;

    durable->permanent = durable->measures = (struct vt_bytes){0};
    bytes_free(&runtime->permanent);
    bytes_free(&runtime->measures);
    move(out, runtime);
    out->permanent = permanent;
    out->measures = measures;
}

/* No runtime record counts: what was not durable is lost, and with it the knowledge of how far n had come. */
static void without_runtime(struct record *out, struct record *durable)
{
    move(out, durable);
    out->window_open = true;
    if (out->power == RECORD_OFF)
        return;
    out->power = RECORD_NEEDS_POWER_ON;
    out->resume_armed = false;
    bytes_free(&out->volatile_state);
}

/*
 * D is the newest, but is its volatile state? Not when it is of another boot. And not when R is the mark that was
 * written before a power on (record.h) which then did not come: the loss had been found already.
 */
static bool d_volatile_void(const struct record *durable, const struct record *runtime, const uint8_t boot_id[16])
{
    return durable->power != RECORD_OFF &&
           (memcmp(durable->boot_id, boot_id, 16) != 0 ||
            (runtime->seq == durable->seq && runtime->power == RECORD_NEEDS_POWER_ON));
}

/* The table "At start". The order of the branches is not the table's: what is broken comes first. */
static int choose(struct record *out, struct record *durable, struct record *runtime, const uint8_t boot_id[16],
                  struct vt_why *why)
{
    bool same_boot = runtime && memcmp(runtime->boot_id, boot_id, 16) == 0;

    if (!durable->permanent.len)
        return vt_fail(why, VT_EBROKEN, "the durable record carries no permanent state");
    if (same_boot && runtime->base_seq > durable->seq)
        return vt_fail(why, VT_EBROKEN, "the database is older than the runtime store: it has record %" PRIu64
                       ", the runtime store builds on record %" PRIu64
                       ". Put the newer vtpm.db back, or remove this instance's .run file and power-cycle it",
                       durable->seq, runtime->base_seq);
    if (!same_boot) {
        without_runtime(out, durable);
        return VT_OK;
    }
    if (runtime->seq <= durable->seq) {
        if (d_volatile_void(durable, runtime, boot_id))
            without_runtime(out, durable);
        else
            move(out, durable);
        return VT_OK;
    }
    if (durable->power == RECORD_OFF && runtime->base_seq != durable->seq) {
        without_runtime(out, durable);
        return VT_OK;
    }
    /* R is newer. It must build on this D and agree with it about the power, or they are two histories. */
    if (runtime->base_seq != durable->seq || (runtime->power == RECORD_OFF) != (durable->power == RECORD_OFF))
        return vt_fail(why, VT_EBROKEN, "the runtime store's record %" PRIu64 " does not continue the database's record %"
                       PRIu64 ": they are of two histories", runtime->seq, durable->seq);
    merge(out, durable, runtime);
    return VT_OK;
}

int record_recover(struct record *out, struct record *durable, struct record *runtime, const uint8_t boot_id[16],
                   struct vt_why *why)
{
    int err;

    memset(out, 0, sizeof *out);
    err = choose(out, durable, runtime, boot_id, why);
    if (!err)
        memcpy(out->boot_id, boot_id, sizeof out->boot_id);
    record_free(durable);
    if (runtime)
        record_free(runtime);
    return err;
}
