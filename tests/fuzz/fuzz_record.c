/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker reads back from its stores and from sandboxes, and small texts of the operator. The first byte
 * chooses a parser; the rest is its input.
 */
#include "server/base/alloc.h"
#include "server/core/keyslot/keyslot.h"
#include "server/core/measure.h"
#include "server/core/store/params.h"
#include "server/core/record.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    FUZZ_CHECK(cr_init() == VT_OK);
    return 0;
}

/* ---- server/core/record: refused, or the same bytes when written again ---- */

static void check_judgement(const struct record *record)
{
    static const uint8_t other[CR_SHA256_LEN] = {1};
    const char *why = NULL;

    /* The last command is not executed twice; the next one is executed. */
    FUZZ_CHECK(record_judge(record, record->stream, record->n, record->command_sha256, &why) != RECORD_RUN);
    if (record->n < UINT64_MAX && record->n)
        FUZZ_CHECK(record_judge(record, record->stream, record->n + 1, other, &why) == RECORD_RUN);
}

/* A queue that a record may have is the one that is written, before and after a power on. */
static void check_measures(const struct record *record)
{
    uint8_t bytes[MEASURE_BYTES_MAX];
    char text[MEASURES_TEXT];
    struct measures measures;
    size_t len;

    FUZZ_CHECK(measures_decode(&measures, record->measures.data, record->measures.len) == VT_OK);
    len = measures_encode(&measures, bytes);
    FUZZ_CHECK(len == record->measures.len && (!len || !memcmp(bytes, record->measures.data, len)));
    measures_text(text, &measures);
    FUZZ_CHECK(memchr(text, 0, sizeof text) && !text[0] == !measures.count);
    measures_use(&measures);
    len = measures_encode(&measures, bytes);
    FUZZ_CHECK(measures_decode(&measures, bytes, len) == VT_OK);
}

static void fuzz_one_record(const uint8_t *bytes, size_t len)
{
    struct vt_why why = {{0}};
    struct record record;
    uint8_t *again;
    size_t again_len;
    int err = record_decode(&record, bytes, len, &why);

    FUZZ_CHECK(err == VT_OK || (err == VT_EDAMAGED && why.text[0]));
    if (err) {
        FUZZ_CHECK(!record.response.data && !record.volatile_state.data && !record.permanent.data &&
                   !record.measures.data);
        return;
    }
    FUZZ_CHECK(record_encode(&record, &again, &again_len) == VT_OK);
    FUZZ_CHECK(again_len == len && !memcmp(again, bytes, len));
    check_judgement(&record);
    check_measures(&record);
    vt_free_wiped(again, again_len);
    record_free(&record);
}

/* ---- What a sandbox says ---- */

static bool inside(const struct tpm_blob *blob, const uint8_t *bytes, size_t len)
{
    return !blob->len || (blob->data >= bytes && blob->len <= (size_t)(bytes + len - blob->data));
}

static void fuzz_state(const uint8_t *bytes, size_t len)
{
    struct sandbox_state state;

    if (!sandbox_rd_state(&state, bytes, len))
        return;
    FUZZ_CHECK(inside(&state.response, bytes, len) && inside(&state.volatile_state, bytes, len) &&
               inside(&state.permanent, bytes, len));
    FUZZ_CHECK(state.response.len <= TPM_BUFFER && state.volatile_state.len <= TPM_FROZEN_VOLATILE_MAX &&
               state.permanent.len <= TPM_FROZEN_PERMANENT_MAX);
    FUZZ_CHECK(3 + 32 + 12 + (size_t)state.response.len + state.volatile_state.len + state.permanent.len == len);
}

static void fuzz_ek(const uint8_t *bytes, size_t len)
{
    struct sandbox_ek_public ek;

    if (!sandbox_rd_ek(&ek, bytes, len))
        return;
    FUZZ_CHECK(inside(&ek.modulus, bytes, len) && inside(&ek.certificate, bytes, len));
    FUZZ_CHECK(ek.modulus.len <= CR_RSA_MAX && ek.certificate.len <= TPM_EK_CERT_MAX);
    FUZZ_CHECK(12 + (size_t)ek.modulus.len + ek.certificate.len == len);
}

/* What is asked for is told as it was meant; what is told fits where it goes. */
static void fuzz_evidence(const uint8_t *bytes, size_t len)
{
    uint8_t again[SANDBOX_ASK_LEN];
    struct wr w = wr_to(again, sizeof again);
    struct tpm_evidence_ask ask;
    size_t told;
    int err;

    if (sandbox_rd_ask(&ask, bytes, len)) {
        FUZZ_CHECK(ask.host_mask && !(ask.host_mask >> 24) && !(ask.mask >> 24));
        sandbox_wr_ask(&w, &ask);
        FUZZ_CHECK(!w.bad && w.len == len && !memcmp(again, bytes, len));
    }
    if (len >= SANDBOX_TOLD_HEAD && sandbox_rd_told(bytes, SANDBOX_EVIDENCE_IS, TPM_EVIDENCE_MAX, &err, &told))
        FUZZ_CHECK(bytes[4] == SANDBOX_EVIDENCE_IS && told <= TPM_EVIDENCE_MAX);
}

static void fuzz_profile(const uint8_t *bytes, size_t len)
{
    uint8_t again[SANDBOX_PROFILE_LEN];
    struct tpm_profile profile;
    struct rd r = rd_from(bytes, len);
    struct wr w = wr_to(again, sizeof again);

    tpm_profile_read(&r, &profile);
    tpm_profile_write(&w, &profile);
    FUZZ_CHECK(!w.bad && w.len == sizeof again);
    /* The last byte is a truth value. */
    FUZZ_CHECK(r.bad == (len < sizeof again || bytes[sizeof again - 1] > 1));
    FUZZ_CHECK(r.bad || !memcmp(again, bytes, sizeof again));
}

/* ---- A key slot's parameters ---- */

/* Text that was read survives being written. */
static void check_text(const char *name, const char *text)
{
    char json[8 * PARAMS_TEXT], back[PARAMS_TEXT];
    struct params_writer w;

    params_begin(&w, json, sizeof json);
    params_put_text(&w, name, text);
    FUZZ_CHECK(params_end(&w) == VT_OK && params_check(json) == VT_OK);
    FUZZ_CHECK(params_text(json, name, back, sizeof back) == VT_OK && !strcmp(back, text));
}

static void fuzz_params(const char *json)
{
    static const char *const names[] = {"path", "salt", "kdf", "log2_n", "r", "p", ""};
    char text[PARAMS_TEXT];
    uint64_t number;
    int whole = params_check(json);

    FUZZ_CHECK(whole == VT_OK || whole == VT_EDAMAGED);
    for (size_t i = 0; i < VT_COUNT(names); i++) {
        int is_text = params_text(json, names[i], text, sizeof text);
        int is_number = params_number(json, names[i], 1000, &number);

        FUZZ_CHECK(is_text || is_number);
        FUZZ_CHECK(!whole || (is_text == VT_EDAMAGED && is_number == VT_EDAMAGED));
        FUZZ_CHECK(is_number || number <= 1000);
        if (!is_text)
            check_text(names[i], text);
    }
}

/* A slot's row: parameters as they come, an opener without scrypt, which takes a second. */
static void fuzz_slot(const char *json)
{
    struct db_keyslot slot = {.id = 1, .wrapped_len = sizeof slot.wrapped};
    static const uint8_t secret[32] = {7};
    struct vt_uuid store = {{0}};
    struct vt_why why = {{0}};
    struct vt_key master;
    int err;

    if (strlen(json) >= sizeof slot.params)
        return;
    snprintf(slot.kind, sizeof slot.kind, "%s", "recovery");
    snprintf(slot.params, sizeof slot.params, "%s", json);
    err = keyslot_open(&slot, secret, sizeof secret, &store, &master, &why);
    FUZZ_CHECK((err == VT_EDAMAGED || err == VT_EKEY) && why.text[0]);
}

/* ---- Texts ---- */

static void fuzz_recovery(const char *text)
{
    static const uint8_t nothing[32];
    uint8_t secret[32];
    struct vt_why why = {{0}};
    size_t letters = 0;
    int err;

    memset(secret, 0xa5, sizeof secret);
    err = recovery_parse(text, secret, &why);
    for (const char *at = text; *at; at++)
        letters += !strchr("- \t\r\n", *at);
    FUZZ_CHECK(err == VT_OK ? letters == 64 : err == VT_EUSAGE && why.text[0]);
    FUZZ_CHECK(!err || !memcmp(secret, nothing, sizeof secret));
}

static void fuzz_spec(const char *text)
{
    struct keyslot_spec spec;
    struct vt_why why = {{0}};

    if (keyslot_parse(&spec, text, &why)) {
        FUZZ_CHECK(why.text[0]);
        return;
    }
    FUZZ_CHECK(spec.kind[0] && memchr(spec.kind, 0, sizeof spec.kind) && memchr(spec.arg, 0, sizeof spec.arg));
}

static void with_text(void (*fn)(const char *text), const uint8_t *bytes, size_t len)
{
    char *text = fuzz_text(bytes, len);

    fn(text);
    vt_free(text);
}

enum { RECORD, STATE, PROFILE, PARAMS, SLOT, RECOVERY, SPEC, PARSERS };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};

    switch (fuzz_u8(&src) % PARSERS) {
    case RECORD:
        fuzz_one_record(src.at, src.left);
        break;
    case STATE:
        fuzz_state(src.at, src.left);
        fuzz_ek(src.at, src.left);
        fuzz_evidence(src.at, src.left);
        break;
    case PROFILE:
        fuzz_profile(src.at, src.left);
        break;
    case PARAMS:
        with_text(fuzz_params, src.at, src.left);
        break;
    case SLOT:
        with_text(fuzz_slot, src.at, src.left);
        break;
    case RECOVERY:
        with_text(fuzz_recovery, src.at, src.left);
        break;
    default:
        with_text(fuzz_spec, src.at, src.left);
        break;
    }
    return 0;
}

/* ---- Seeds ---- */

static void emit_mode(fuzz_emit emit, void *arg, uint8_t mode, const char *name, const void *bytes, size_t len)
{
    uint8_t whole[1024] = {mode};

    FUZZ_CHECK(len < sizeof whole);
    memcpy(whole + 1, bytes, len);
    emit(arg, name, whole, 1 + len);
}

static void emit_record(fuzz_emit emit, void *arg)
{
    struct record record = {.seq = 9, .base_seq = 9, .n = 4, .power = RECORD_ON};
    struct measures measures = {.required = true, .count = 2, .list = {{.pcr = 4, .size = 7, .label = "vmlinuz"},
                                                                       {.pcr = 15, .always = true}}};
    uint8_t queue[MEASURE_BYTES_MAX];
    uint8_t *bytes;
    size_t len;

    record.guest.has_domid = true;
    record.guest.domid = 3;
    FUZZ_CHECK(!record_set(&record.response, "response", 8) && !record_set(&record.permanent, "permanent", 9) &&
               !record_set(&record.volatile_state, "volatile", 8));
    FUZZ_CHECK(record_encode(&record, &bytes, &len) == VT_OK);
    emit_mode(emit, arg, RECORD, "seed-record", bytes, len);
    vt_free(bytes);
    FUZZ_CHECK(!record_set(&record.measures, queue, measures_encode(&measures, queue)));
    FUZZ_CHECK(record_encode(&record, &bytes, &len) == VT_OK);
    emit_mode(emit, arg, RECORD, "seed-measured", bytes, len);
    vt_free(bytes);
    record_free(&record);
}

static void emit_state(fuzz_emit emit, void *arg)
{
    static const uint8_t response[10] = {0, 0xc4, 0, 0, 0, 10};
    struct tpm_profile profile;
    uint8_t bytes[128];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put8(&w, TPM_DIRTY_VOLATILE);
    wr_put8(&w, 1);
    wr_put8(&w, 1);
    wr_copy(&w, (const uint8_t[CR_SHA256_LEN]){1}, CR_SHA256_LEN);
    wr_put32(&w, sizeof response);
    wr_copy(&w, response, sizeof response);
    wr_put32(&w, 4);
    wr_copy(&w, "VTPV", 4);
    wr_put32(&w, 0);
    emit_mode(emit, arg, STATE, "seed-state", bytes, w.len);
    w = wr_to(bytes, sizeof bytes); /* of SANDBOX_EK_READ: a small key and no certificate */
    wr_put32(&w, 4);
    wr_put32(&w, 0xC0FFEE01);
    wr_put32(&w, 65537);
    wr_put32(&w, 0);
    emit_mode(emit, arg, STATE, "seed-ek", bytes, w.len);
    w = wr_to(bytes, sizeof bytes);
    tpm_profile_pc_client(&profile);
    tpm_profile_write(&w, &profile);
    emit_mode(emit, arg, PROFILE, "seed-profile", bytes, w.len);
}

static void emit_evidence(fuzz_emit emit, void *arg)
{
    const struct tpm_evidence_ask ask = {.nonce = {1, 2}, .mask = 0x20401, .host_mask = 0x81, .pcr = {{3}}};
    uint8_t bytes[SANDBOX_ASK_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    sandbox_wr_ask(&w, &ask);
    emit_mode(emit, arg, STATE, "seed-ask", bytes, w.len);
    w = wr_to(bytes, sizeof bytes);
    wr_put32(&w, 5 + TPM_EVIDENCE_MAX);
    wr_put8(&w, SANDBOX_EVIDENCE_IS);
    wr_put32(&w, 0);
    emit_mode(emit, arg, STATE, "seed-told", bytes, w.len);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
#define SALT "\"salt\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""
    static const char params[] = "{\"path\":\"/etc/vtpm/\\u0041 \\\"k\\\\\"," SALT "}";
    static const char scrypt[] = "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":8,\"p\":1," SALT "}";
#undef SALT
    static const char recovery[] = "cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-CBDEFGHI-jklnrtuv-cbdefghi-jklnrtuv";
    static const char *const specs[] = {"keyfile:/etc/k", "passphrase-file:p", "recovery-file:r", "auto",
                                        "tpm2:pcrs=7,4:tcti=x"};

    emit_record(emit, arg);
    emit_state(emit, arg);
    emit_evidence(emit, arg);
    emit_mode(emit, arg, PARAMS, "seed-params", params, sizeof params - 1);
    emit_mode(emit, arg, PARAMS, "seed-scrypt", scrypt, sizeof scrypt - 1);
    emit_mode(emit, arg, SLOT, "seed-slot", params, sizeof params - 1);
    emit_mode(emit, arg, RECOVERY, "seed-recovery", recovery, sizeof recovery - 1);
    for (size_t i = 0; i < VT_COUNT(specs); i++) {
        char name[16];

        snprintf(name, sizeof name, "seed-spec%zu", i);
        emit_mode(emit, arg, SPEC, name, specs[i], strlen(specs[i]));
    }
}
