/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames and channel messages. The first byte: 0 the rest is one payload; else a stream of frames that arrives in
 * pieces of that many bytes. What is accepted is within the bounds and packs again to something that reads the same.
 */
#include "proto/frame.h"
#include "proto/message.h"
#include "proto/pb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_pb.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

/* What we would send says the same to whoever reads it. */
static void check_accepted(const Vtpm__Message *msg)
{
    struct vt_buf first, second;
    Vtpm__Message *again = NULL;
    const uint8_t *payload;
    struct vt_why why;
    size_t len;
    int err;

    FUZZ_CHECK(message_check(msg, NULL) == VT_OK);
    FUZZ_CHECK(strcmp(message_name(msg), "nothing") != 0);
    if (fuzz_pb_has_unknown(&msg->base))
        return;
    vt_buf_init(&first, FRAME_HEADER + FRAME_MAX);
    vt_buf_init(&second, FRAME_HEADER + FRAME_MAX);
    err = message_pack(msg, &first);
    /* Longer than what came in only if numbers were written in fewer bytes than needed: they cannot be. */
    FUZZ_CHECK(err == VT_OK || err == VT_ETOOBIG);
    if (!err) {
        FUZZ_CHECK(frame_next(&first, FRAME_MAX, &payload, &len) == VT_OK);
        FUZZ_CHECK(len == vt_buf_size(&first) - FRAME_HEADER);
        FUZZ_CHECK(message_unpack(payload, len, &again, &why) == VT_OK);
        FUZZ_CHECK(again->body_case == msg->body_case);
        FUZZ_CHECK(message_pack(again, &second) == VT_OK);
        FUZZ_CHECK(vt_buf_size(&first) == vt_buf_size(&second) &&
                   !memcmp(vt_buf_bytes(&first), vt_buf_bytes(&second), vt_buf_size(&first)));
    }
    pb_free((ProtobufCMessage *)again);
    vt_buf_free(&first);
    vt_buf_free(&second);
}

static void one_payload(const uint8_t *bytes, size_t len)
{
    struct vt_why why = {{0}};
    Vtpm__Message *msg = NULL;
    int err = message_unpack(bytes, len, &msg, &why);

    FUZZ_CHECK(err == VT_OK || err == VT_EPROTO || err == VT_ETOOBIG);
    FUZZ_CHECK(!err == (msg != NULL));
    FUZZ_CHECK(!err || why.text[0]);
    if (!err)
        check_accepted(msg);
    pb_free((ProtobufCMessage *)msg);
}

/* Takes all frames that are whole; false: the stream is over. */
static bool take_frames(struct vt_buf *in)
{
    const uint8_t *payload;
    size_t len;
    int err;

    while (!(err = frame_next(in, FRAME_MAX, &payload, &len))) {
        FUZZ_CHECK(len <= FRAME_MAX && len + FRAME_HEADER <= vt_buf_size(in));
        one_payload(payload, len);
        vt_buf_drop(in, FRAME_HEADER + len);
    }
    FUZZ_CHECK(err == VT_EAGAIN || err == VT_ETOOBIG);
    return err == VT_EAGAIN;
}

static void stream(struct fuzz_src *src, size_t step)
{
    struct vt_buf in;
    bool more = true;

    vt_buf_init(&in, FRAME_HEADER + FRAME_MAX);
    while (src->left && more) {
        size_t len = step;
        const uint8_t *at = fuzz_take(src, &len);

        /* frame_next has refused before a buffer of this limit is full. */
        FUZZ_CHECK(vt_buf_put(&in, at, len) == VT_OK);
        more = take_frames(&in);
    }
    vt_buf_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    uint8_t step = fuzz_u8(&src);

    if (step)
        stream(&src, step);
    else
        one_payload(src.at, src.left);
    return 0;
}

/* ---- Seeds ---- */

static uint8_t some_bytes[64] = {0, 0xc1, 0, 0, 0, 10};
static char some_text[] = "vtpm-shim 0.1.0";

static void emit_message(fuzz_emit emit, void *arg, struct vt_buf *all, const Vtpm__Message *msg)
{
    struct vt_buf one;
    char name[64];

    vt_buf_init(&one, FRAME_HEADER + FRAME_MAX);
    FUZZ_CHECK(vt_buf_put(&one, "", 1) == VT_OK);
    FUZZ_CHECK(message_pack(msg, &one) == VT_OK && message_pack(msg, all) == VT_OK);
    /* Without the frame's header: mode 0 is one payload. */
    memmove(one.data + 1, one.data + 1 + FRAME_HEADER, vt_buf_size(&one) - 1 - FRAME_HEADER);
    snprintf(name, sizeof name, "seed-%s", message_name(msg));
    emit(arg, name, vt_buf_bytes(&one), vt_buf_size(&one) - FRAME_HEADER);
    vt_buf_free(&one);
}

#define EMIT(TYPE, Type, field, ...)                                                                         \
    do {                                                                                                     \
        Vtpm__Message msg = VTPM__MESSAGE__INIT;                                                             \
        Vtpm__##Type body = VTPM__##TYPE##__INIT;                                                            \
        __VA_ARGS__;                                                                                         \
        msg.body_case = VTPM__MESSAGE__BODY_##TYPE;                                                          \
        msg.field = &body;                                                                                   \
        emit_message(emit, arg, &all, &msg);                                                                 \
    } while (0)
#define BYTES(n) ((ProtobufCBinaryData){.len = (n), .data = some_bytes})

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    Vtpm__GuestEpoch guest = VTPM__GUEST_EPOCH__INIT;
    struct vt_buf all;

    guest.boot_id = BYTES(16);
    guest.domid = 7;
    guest.has_domid = true;
    vt_buf_init(&all, FRAME_MAX);
    FUZZ_CHECK(vt_buf_put(&all, "\x1f", 1) == VT_OK);
    EMIT(HELLO, Hello, hello, body.version = 1, body.software = some_text, body.entropy = BYTES(32));
    EMIT(ATTACH, Attach, attach, body.uuid = BYTES(16), body.stream = BYTES(16), body.front_end = some_text,
         body.guest = &guest);
    EMIT(ATTACHED, Attached, attached, body.uuid = BYTES(16), body.stream = BYTES(16), body.n = 5,
         body.power = VTPM__POWER__POWER_ON, body.state = some_text, body.buffer = 4096);
    EMIT(POWER_ON, PowerOn, power_on, body.startup = VTPM__STARTUP__STARTUP_STATE, body.guest = &guest);
    EMIT(POWER_RESULT, PowerResult, power_result, body.acted = true, body.tpm_rc = 38);
    EMIT(EXECUTE, Execute, execute, body.stream = BYTES(16), body.n = 9, body.locality = 2,
         body.command = BYTES(24));
    EMIT(RESPONSE, Response, response, body.n = 9, body.response = BYTES(10));
    EMIT(CANCEL, Cancel, cancel, body.n = 9);
    EMIT(DETACH, Detach, detach, body.off = true);
    EMIT(ERROR, Error, error, body.code = 17, body.text = some_text, body.n = 9, body.fatal = true);
    EMIT(PLATFORM, Platform, platform, body.act_case = VTPM__PLATFORM__ACT_HASH_DATA,
         body.hash_data = BYTES(40));
    EMIT(PLATFORM_RESULT, PlatformResult, platform_result, body.tpm_rc = 3, body.established = true);
    emit(arg, "seed-stream", vt_buf_bytes(&all), vt_buf_size(&all));
    vt_buf_free(&all);
}
