/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a record, and the two tables of docs/record-and-recovery.md row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/core/measure.h"
#include "server/core/record.h"

static const uint8_t BOOT[16] = {0xb0}, OLD_BOOT[16] = {0xb1};

static void record_cleanup(struct record *record)
{
    record_free(record);
}
#define AUTO_RECORD VT_CLEANUP(record_cleanup) struct record

static struct record durable(enum record_power power, const uint8_t boot[16])
{
    struct record r = {.seq = 10, .base_seq = 10, .n = 4, .power = power, .stream = {7}};

    memcpy(r.boot_id, boot, 16);
    assert_int_equal(record_set(&r.permanent, "permanent", 9), VT_OK);
    assert_int_equal(record_set(&r.response, "durable response", 16), VT_OK);
    if (power == RECORD_ON)
        assert_int_equal(record_set(&r.volatile_state, "D volatile", 10), VT_OK);
    return r;
}

static struct record runtime(enum record_power power, uint64_t seq, uint64_t base, const uint8_t boot[16])
{
    struct record r = {.seq = seq, .base_seq = base, .n = 6, .power = power, .stream = {7}};

    memcpy(r.boot_id, boot, 16);
    assert_int_equal(record_set(&r.response, "runtime response", 16), VT_OK);
    if (power == RECORD_ON)
        assert_int_equal(record_set(&r.volatile_state, "R volatile", 10), VT_OK);
    return r;
}

static struct record full(void)
{
    struct record r = durable(RECORD_ON, BOOT);

    r.guest = (struct guest_epoch){{1, 2, 3}, 0x01020304, true};
    r.resume_armed = r.window_open = true;
    r.n = 0x1122334455667788;
    memset(r.command_sha256, 0xcc, 32);
    return r;
}

/* ---- Bytes ---- */

static void same(const struct vt_bytes *a, const struct vt_bytes *b)
{
    assert_int_equal(a->len, b->len);
    if (a->len)
        assert_memory_equal(a->data, b->data, a->len);
}

static void test_record__encode_decode__is_the_identity(void **state)
{
    AUTO_RECORD in = full();
    AUTO_RECORD out = {0};
    uint8_t *bytes, *again;
    size_t len, again_len;

    (void)state;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
    assert_int_equal(out.seq, in.seq);
    assert_int_equal(out.base_seq, in.base_seq);
    assert_int_equal(out.n, in.n);
    assert_int_equal(out.power, in.power);
    assert_memory_equal(out.boot_id, in.boot_id, 16);
    assert_memory_equal(out.stream, in.stream, 16);
    assert_memory_equal(out.command_sha256, in.command_sha256, 32);
    assert_memory_equal(out.guest.boot_id, in.guest.boot_id, 16);
    assert_int_equal(out.guest.domid, in.guest.domid);
    assert_true(out.guest.has_domid && out.resume_armed && out.window_open);
    same(&out.response, &in.response);
    same(&out.volatile_state, &in.volatile_state);
    same(&out.permanent, &in.permanent);
    assert_int_equal(record_encode(&out, &again, &again_len), VT_OK);
    assert_int_equal(again_len, len);
    assert_memory_equal(again, bytes, len);
    vt_free(bytes);
    vt_free(again);
}

static void test_record__flags_one_by_one__survive(void **state)
{
    (void)state;
    for (int k = 0; k < 8; k++) {
        AUTO_RECORD in = {.seq = 1, .base_seq = 1, .guest.has_domid = k & 1, .resume_armed = k & 2, .window_open = k & 4};
        AUTO_RECORD out = {0};
        uint8_t *bytes;
        size_t len;

        assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
        assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
        assert_int_equal(out.guest.has_domid, in.guest.has_domid);
        assert_int_equal(out.resume_armed, in.resume_armed);
        assert_int_equal(out.window_open, in.window_open);
        vt_free(bytes);
    }
}

static void test_record__cut_or_longer__is_damaged(void **state)
{
    AUTO_RECORD in = full();
    uint8_t *bytes, *longer;
    size_t len;

    (void)state;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    for (size_t cut = 0; cut <= len + 1; cut++) {
        AUTO_RECORD out = {0};
        struct vt_why why = {0};

        if (cut == len)
            continue;
        longer = vt_calloc(1, cut);
        assert_non_null(longer);
        memcpy(longer, bytes, VT_MIN(cut, len));
        assert_int_equal(record_decode(&out, longer, cut, &why), VT_EDAMAGED);
        assert_true(why.text[0]);
        assert_null(out.response.data);
        vt_free(longer);
    }
    vt_free(bytes);
}

/* Where the bytes lie: docs/state-format.md, part 2. */
enum { AT_VERSION = 4, AT_POWER = 6, AT_FLAGS = 7, AT_SEQ = 8, AT_BASE = 16, AT_RESPONSE_LEN = 116 };

static void damaged_at(size_t at, uint8_t value, const char *says)
{
    AUTO_RECORD in = full();
    AUTO_RECORD out = {0};
    struct vt_why why = {0};
    uint8_t *bytes;
    size_t len;

    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    bytes[at] = value;
    assert_int_equal(record_decode(&out, bytes, len, &why), VT_EDAMAGED);
    assert_non_null(strstr(why.text, says));
    vt_free(bytes);
}

static void test_record__contradictions__are_damaged(void **state)
{
    (void)state;
    damaged_at(0, 'X', "not a record");
    damaged_at(AT_VERSION + 1, 0, "not a record");
    damaged_at(AT_VERSION + 1, 5, "newer");
    damaged_at(AT_VERSION + 1, 2, "length"); /* without its fourth string */
    damaged_at(AT_VERSION + 1, 3, "length");
    damaged_at(AT_POWER, 3, "contradict");
    damaged_at(AT_FLAGS, 0x0f, "contradict");
    damaged_at(AT_FLAGS, 0x06, "contradict"); /* a domid without its flag */
    damaged_at(AT_SEQ + 7, 9, "contradict");  /* base above seq */
    damaged_at(AT_SEQ + 7, 11, "contradict"); /* permanent state of another seq */
    damaged_at(AT_BASE + 7, 0, "contradict");
    damaged_at(AT_RESPONSE_LEN, 0xff, "length");
    damaged_at(AT_RESPONSE_LEN + 3, 15, "length");
}

/* One queued measurement, and that there must be some. */
static void with_measures(struct record *r)
{
    struct measures measures = {.required = true, .count = 1, .list = {{.pcr = 4, .size = 7, .label = "vmlinuz"}}};
    uint8_t bytes[MEASURE_BYTES_MAX];

    assert_int_equal(record_set(&r->measures, bytes, measures_encode(&measures, bytes)), VT_OK);
}

static void test_record__measures__are_version_2_and_survive(void **state)
{
    AUTO_RECORD in = full();
    AUTO_RECORD out = {0};
    uint8_t *plain, *bytes;
    size_t plain_len, len;

    (void)state;
    assert_int_equal(record_encode(&in, &plain, &plain_len), VT_OK);
    assert_int_equal(plain[AT_VERSION + 1], 1);
    with_measures(&in);
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    assert_int_equal(bytes[AT_VERSION + 1], 2);
    assert_int_equal(len, plain_len + 4 + in.measures.len);
    bytes[AT_VERSION + 1] = 1;
    assert_memory_equal(bytes, plain, plain_len);
    bytes[AT_VERSION + 1] = 2;
    assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
    same(&out.measures, &in.measures);
    same(&out.permanent, &in.permanent);
    vt_free(bytes);
    vt_free(plain);
}

/* An older server would leave them out; so it must not take the record. */
static void test_record__host_pcrs__are_version_3_and_survive(void **state)
{
    static const struct measures some[] = {
        {.host_pcrs = 0x8001},
        {.host_pcrs = 0x00ff, .required = true, .count = 1, .list = {{.pcr = 4, .size = 7, .label = "vmlinuz"}}},
    };

    (void)state;
    for (size_t k = 0; k < VT_COUNT(some); k++) {
        AUTO_RECORD in = full();
        AUTO_RECORD out = {0};
        uint8_t encoded[MEASURE_BYTES_MAX], *bytes;
        struct measures again;
        size_t len = measures_encode(&some[k], encoded);

        assert_int_equal(record_set(&in.measures, encoded, len), VT_OK);
        assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
        assert_int_equal(bytes[AT_VERSION + 1], 3);
        assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
        assert_int_equal(measures_decode(&again, out.measures.data, out.measures.len), VT_OK);
        assert_memory_equal(&again, &some[k], sizeof again);
        record_free(&out);
        /* Under the version of another content it is refused. */
        bytes[AT_VERSION + 1] = 2;
        assert_int_equal(record_decode(&out, bytes, len, NULL), VT_EDAMAGED);
        vt_free(bytes);
    }
}

/* The same of a pace, beside whatever else there is. */
static void test_record__pace__is_version_4_and_survives(void **state)
{
    static const struct measures some[] = {
        {.pace = {.weight = 1}},
        {.pace = {.weight = PACE_WEIGHT, .cpu_percent = 7}},
        {.pace = {.weight = PACE_WEIGHT_MAX, .cpu_percent = PACE_CPU_MAX, .per_second = PACE_RATE_MAX, .burst = 3},
         .host_pcrs = 0x00ff, .required = true, .count = 1, .list = {{.pcr = 4, .size = 7, .label = "vmlinuz"}}},
    };

    (void)state;
    for (size_t k = 0; k < VT_COUNT(some); k++) {
        AUTO_RECORD in = full();
        AUTO_RECORD out = {0};
        uint8_t encoded[MEASURE_BYTES_MAX], *bytes;
        struct measures again;
        size_t len = measures_encode(&some[k], encoded);

        assert_int_equal(record_set(&in.measures, encoded, len), VT_OK);
        assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
        assert_int_equal(bytes[AT_VERSION + 1], 4);
        assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
        assert_int_equal(measures_decode(&again, out.measures.data, out.measures.len), VT_OK);
        assert_memory_equal(&again, &some[k], sizeof again);
        record_free(&out);
        for (uint8_t version = 1; version < 4; version++) {
            bytes[AT_VERSION + 1] = version;
            assert_int_equal(record_decode(&out, bytes, len, NULL), VT_EDAMAGED);
        }
        vt_free(bytes);
    }
}

static void test_measures__pace_that_cannot_be__is_damaged(void **state)
{
    static const uint8_t wrong[][14] = {
        {4, 0, 0, 100},                                /* the usual one is not written */
        {4, 0, 0, 0, 0, 1},                            /* no weight */
        {4, 0, 0x27, 0x11},                            /* too great a weight */
        {4, 0, 0, 100, 0x27, 0x11},                    /* too great a share */
        {4, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5},    /* a burst without a rate */
    };
    const uint8_t right[14] = {4, 0, 0, 1, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0};
    struct measures measures;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(wrong); k++)
        assert_int_equal(measures_decode(&measures, wrong[k], sizeof wrong[k]), VT_EDAMAGED);
    assert_int_equal(measures_decode(&measures, right, sizeof right - 1), VT_EDAMAGED);
    assert_int_equal(measures_decode(&measures, right, sizeof right), VT_OK);
    assert_int_equal(measures.pace.per_second, 9);
}

static void test_measures__host_pcrs_that_cannot_be__are_damaged(void **state)
{
    static const uint8_t wrong[][4] = {
        {2, 0, 0, 0},   /* the flag without a PCR */
        {8, 0, 0, 1},   /* no such flag */
        {4, 0, 0, 1},   /* a pace that is cut off */
        {0, 0, 0, 1},
        {1, 0, 0, 1},   /* PCRs without the flag */
    };
    struct measures measures;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(wrong); k++)
        assert_int_equal(measures_decode(&measures, wrong[k], 4), VT_EDAMAGED);
    assert_int_equal(measures_decode(&measures, (const uint8_t[]){2, 0, 0}, 3), VT_EDAMAGED);
    assert_int_equal(measures_decode(&measures, (const uint8_t[]){2, 0, 0, 1}, 4), VT_OK);
    assert_int_equal(measures.host_pcrs, 1);
}

static void test_record__measures_that_cannot_be__are_damaged(void **state)
{
    AUTO_RECORD in = full();
    uint8_t *bytes;
    size_t len, at;

    (void)state;
    with_measures(&in);
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    at = len - in.measures.len;
    for (size_t k = at; k < len; k++) {
        static const uint8_t values[] = {0, 2, 7, 16, 64, 65, 127, 255};

        for (size_t v = 0; v < VT_COUNT(values); v++) {
            AUTO_RECORD out = {0};
            uint8_t before = bytes[k];
            struct measures read;
            int err;

            bytes[k] = values[v];
            err = record_decode(&out, bytes, len, NULL);
            assert_true(err == VT_OK || err == VT_EDAMAGED);
            assert_int_equal(err, measures_decode(&read, bytes + at, len - at));
            bytes[k] = before;
        }
    }
    /* A runtime record has none, and version 2 is not written for nothing. */
    bytes[AT_SEQ + 7] = 11;
    {
        AUTO_RECORD out = {0};
        assert_int_equal(record_decode(&out, bytes, len, NULL), VT_EDAMAGED);
    }
    bytes[AT_SEQ + 7] = 10;
    memset(bytes + at - 4, 0, 4);
    {
        AUTO_RECORD out = {0};
        assert_int_equal(record_decode(&out, bytes, at, NULL), VT_EDAMAGED);
    }
    vt_free(bytes);
}

static void test_record__runtime_record__carries_no_permanent(void **state)
{
    AUTO_RECORD in = full();
    AUTO_RECORD out = {0};
    uint8_t *bytes;
    size_t len;

    (void)state;
    with_measures(&in);
    in.seq = 11;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    assert_int_equal(record_decode(&out, bytes, len, NULL), VT_OK);
    assert_int_equal(out.permanent.len, 0);
    assert_int_equal(out.measures.len, 0);
    assert_int_equal(out.volatile_state.len, in.volatile_state.len);
    vt_free(bytes);
}

static void test_record_encode__nonsense_or_too_big__is_refused(void **state)
{
    AUTO_RECORD in = {.seq = 1, .base_seq = 2};
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_EUSAGE);
    in.base_seq = 0;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_EUSAGE);
    in.base_seq = 1;
    in.response.data = vt_calloc(1, RECORD_MAX);
    assert_non_null(in.response.data);
    in.response.len = RECORD_MAX;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_ETOOBIG);
    in.response.len = RECORD_MAX - 128;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_OK);
    assert_int_equal(len, RECORD_MAX);
    vt_free(bytes);
    in.response.len++;
    assert_int_equal(record_encode(&in, &bytes, &len), VT_ETOOBIG);
    assert_null(bytes);
}

#ifdef VTPM_TEST_HOOKS
static void test_record__allocation_fails__nothing_leaks(void **state)
{
    AUTO_RECORD in = full();
    int err = VT_ENOMEM;

    (void)state;
    with_measures(&in);
    for (long k = 0; err; k++) {
        AUTO_RECORD out = {0};
        uint8_t *bytes = NULL;
        size_t len;

        vt_alloc_fail_after(k);
        err = record_encode(&in, &bytes, &len);
        if (!err)
            err = record_decode(&out, bytes, len, NULL);
        vt_alloc_fail_after(-1);
        assert_true(err == VT_OK || err == VT_ENOMEM);
        assert_true(err == VT_OK || (!out.permanent.data && !out.measures.data));
        assert_true(k < 10);
        vt_free(bytes);
    }
}
#endif

/* ---- Who repeats what ---- */

static void test_record_judge__row_by_row(void **state)
{
    static const uint8_t S[16] = {7}, T[16] = {8}, H[32] = {1}, G[32] = {2};
    const struct {
        const uint8_t *stream;
        uint64_t n;
        const uint8_t *hash;
        enum record_verdict shut, open;
    } rows[] = {
        {S, 5, H, RECORD_REPLAY, RECORD_REPLAY}, {S, 5, G, RECORD_REFUSE, RECORD_REFUSE},
        {S, 6, G, RECORD_RUN, RECORD_RUN},       {S, 6, H, RECORD_RUN, RECORD_RUN},
        {S, 7, G, RECORD_REFUSE, RECORD_RUN},    {S, UINT64_MAX, G, RECORD_REFUSE, RECORD_RUN},
        {S, 4, H, RECORD_REFUSE, RECORD_REFUSE}, {S, 0, H, RECORD_REFUSE, RECORD_REFUSE},
        {T, 1, H, RECORD_RUN, RECORD_RUN},       {T, 0, H, RECORD_REFUSE, RECORD_REFUSE},
        {T, 2, H, RECORD_REFUSE, RECORD_RUN},    {T, 5, H, RECORD_REFUSE, RECORD_RUN},
        {T, 6, H, RECORD_REFUSE, RECORD_RUN},
    };
    struct record last = {.stream = {7}, .n = 5, .command_sha256 = {1}};
    const char *why;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        last.window_open = false;
        assert_int_equal(record_judge(&last, rows[k].stream, rows[k].n, rows[k].hash, &why), rows[k].shut);
        assert_int_equal(why[0] != '\0', rows[k].shut == RECORD_REFUSE);
        last.window_open = true;
        assert_int_equal(record_judge(&last, rows[k].stream, rows[k].n, rows[k].hash, &why), rows[k].open);
        assert_int_equal(why[0] != '\0', rows[k].open == RECORD_REFUSE);
    }
}

static void test_record_judge__after_manufacture__n_1_runs_and_0_does_not(void **state)
{
    static const uint8_t zero[16], hash[32];
    struct record last = {.seq = 1, .base_seq = 1};
    const char *why;

    (void)state;
    assert_int_equal(record_judge(&last, zero, 0, hash, &why), RECORD_REFUSE);
    assert_int_equal(record_judge(&last, zero, 1, hash, &why), RECORD_RUN);
    last.window_open = true;
    assert_int_equal(record_judge(&last, zero, 0, hash, &why), RECORD_REFUSE);
    last.n = UINT64_MAX;
    assert_int_equal(record_judge(&last, zero, 0, hash, &why), RECORD_REFUSE);
}

static void test_record_command__closes_the_window(void **state)
{
    static const uint8_t stream[16] = {9}, hash[32] = {3};
    struct record r = {.window_open = true};

    (void)state;
    record_command(&r, stream, 12, hash);
    assert_false(r.window_open);
    assert_int_equal(r.n, 12);
    assert_memory_equal(r.stream, stream, 16);
    assert_memory_equal(r.command_sha256, hash, 32);
}

/* ---- At start ---- */

enum from { FROM_D, FROM_R, LOST, BROKEN };

static void recovers(struct record d, struct record r, bool has_runtime, enum record_power power, enum from from)
{
    AUTO_RECORD out = {0};
    struct vt_why why = {0};
    int err;

    with_measures(&d);
    err = record_recover(&out, &d, has_runtime ? &r : NULL, BOOT, &why);

    assert_null(d.permanent.data);
    assert_null(has_runtime ? r.response.data : NULL);
    record_free(&r);
    if (from == BROKEN) {
        assert_int_equal(err, VT_EBROKEN);
        assert_true(why.text[0]);
        assert_null(out.permanent.data);
        return;
    }
    assert_int_equal(err, VT_OK);
    assert_int_equal(out.power, power);
    assert_memory_equal(out.boot_id, BOOT, 16);
    assert_int_equal(out.permanent.len, 9);
    assert_true(out.measures.len > 2); /* always the durable ones */
    assert_int_equal(out.n, from == FROM_R ? 6 : 4);
    assert_int_equal(out.window_open, from == LOST);
    assert_memory_equal(out.response.data, from == FROM_R ? "runtime" : "durable", 7);
    if (power != RECORD_ON)
        assert_int_equal(out.volatile_state.len, 0);
    else
        assert_memory_equal(out.volatile_state.data, from == FROM_R ? "R" : "D", 1);
}

#define D_OFF durable(RECORD_OFF, OLD_BOOT)
#define D_ON durable(RECORD_ON, BOOT)
#define D_ON_OLD durable(RECORD_ON, OLD_BOOT)
#define NO_R runtime(RECORD_OFF, 1, 1, BOOT), false
#define R(power, seq, base, boot) runtime(power, seq, base, boot), true

static void test_record_recover__off__row_by_row(void **state)
{
    (void)state;
    recovers(D_OFF, NO_R, RECORD_OFF, LOST);
    recovers(D_OFF, R(RECORD_OFF, 12, 10, OLD_BOOT), RECORD_OFF, LOST);
    recovers(D_OFF, R(RECORD_OFF, 12, 10, BOOT), RECORD_OFF, FROM_R);
    recovers(D_OFF, R(RECORD_ON, 9, 8, BOOT), RECORD_OFF, FROM_D);
    recovers(D_OFF, R(RECORD_ON, 12, 8, BOOT), RECORD_OFF, LOST);
    recovers(D_OFF, R(RECORD_OFF, 12, 11, BOOT), RECORD_OFF, BROKEN);
    recovers(D_OFF, R(RECORD_ON, 12, 10, BOOT), RECORD_OFF, BROKEN);
}

static void test_record_recover__on__row_by_row(void **state)
{
    (void)state;
    recovers(D_ON, R(RECORD_ON, 12, 10, BOOT), RECORD_ON, FROM_R);
    recovers(D_ON_OLD, R(RECORD_NEEDS_POWER_ON, 11, 10, BOOT), RECORD_NEEDS_POWER_ON, FROM_R);
    recovers(D_ON, R(RECORD_ON, 10, 10, BOOT), RECORD_ON, FROM_D);
    recovers(D_ON, R(RECORD_ON, 9, 7, BOOT), RECORD_ON, FROM_D);
    recovers(D_ON, R(RECORD_OFF, 9, 9, BOOT), RECORD_ON, FROM_D);
    recovers(D_ON, NO_R, RECORD_NEEDS_POWER_ON, LOST);
    recovers(D_ON, R(RECORD_ON, 12, 10, OLD_BOOT), RECORD_NEEDS_POWER_ON, LOST);
    recovers(D_ON, R(RECORD_ON, 12, 11, BOOT), RECORD_ON, BROKEN);
    recovers(D_ON, R(RECORD_ON, 12, 9, BOOT), RECORD_ON, BROKEN);
    recovers(D_ON, R(RECORD_OFF, 12, 10, BOOT), RECORD_ON, BROKEN);
}

/* The mark of record.h, and then no power on: what was lost stays lost. */
static void test_record_recover__mark_of_a_loss__stays_a_loss(void **state)
{
    (void)state;
    recovers(D_ON_OLD, R(RECORD_NEEDS_POWER_ON, 10, 10, BOOT), RECORD_NEEDS_POWER_ON, LOST);
    recovers(D_ON, R(RECORD_NEEDS_POWER_ON, 10, 10, BOOT), RECORD_NEEDS_POWER_ON, LOST);
    recovers(D_ON_OLD, R(RECORD_ON, 9, 9, BOOT), RECORD_NEEDS_POWER_ON, LOST);
    recovers(D_ON, R(RECORD_NEEDS_POWER_ON, 9, 9, BOOT), RECORD_ON, FROM_D);
}

static void test_record_recover__no_permanent_state__is_broken(void **state)
{
    struct record d = runtime(RECORD_OFF, 3, 3, BOOT);
    struct record out;

    (void)state;
    assert_int_equal(record_recover(&out, &d, NULL, BOOT, NULL), VT_EBROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record__encode_decode__is_the_identity),
        cmocka_unit_test(test_record__flags_one_by_one__survive),
        cmocka_unit_test(test_record__cut_or_longer__is_damaged),
        cmocka_unit_test(test_record__contradictions__are_damaged),
        cmocka_unit_test(test_record__measures__are_version_2_and_survive),
        cmocka_unit_test(test_record__host_pcrs__are_version_3_and_survive),
        cmocka_unit_test(test_record__pace__is_version_4_and_survives),
        cmocka_unit_test(test_measures__pace_that_cannot_be__is_damaged),
        cmocka_unit_test(test_measures__host_pcrs_that_cannot_be__are_damaged),
        cmocka_unit_test(test_record__measures_that_cannot_be__are_damaged),
        cmocka_unit_test(test_record__runtime_record__carries_no_permanent),
        cmocka_unit_test(test_record_encode__nonsense_or_too_big__is_refused),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_record__allocation_fails__nothing_leaks),
#endif
        cmocka_unit_test(test_record_judge__row_by_row),
        cmocka_unit_test(test_record_judge__after_manufacture__n_1_runs_and_0_does_not),
        cmocka_unit_test(test_record_command__closes_the_window),
        cmocka_unit_test(test_record_recover__off__row_by_row),
        cmocka_unit_test(test_record_recover__on__row_by_row),
        cmocka_unit_test(test_record_recover__mark_of_a_loss__stays_a_loss),
        cmocka_unit_test(test_record_recover__no_permanent_state__is_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
