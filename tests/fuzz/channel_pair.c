/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/channel_pair.h"

#define IDENTITY "0d2fa4b2-6a4f-4a58-9a0c-3c0a5c0d7a11"
#define STEPS_MAX 200

static void give_key(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    const struct pair *pair = ctx;

    FUZZ_CHECK(strlen(identity) <= TLS_IDENTITY_MAX);
    for (const char *at = identity; *at; at++)
        FUZZ_CHECK(*at > 0x20 && *at < 0x7f);
    *key = pair->key;
    *known = strcmp(identity, IDENTITY) == 0;
}

struct tls_config pair_config(struct pair *pair, bool server)
{
    struct tls_config config = {.server = server, .random = fuzz_random};

    if (server) {
        config.psk = give_key;
        config.psk_ctx = pair;
    } else {
        config.identity = IDENTITY;
        config.key = &pair->key;
    }
    return config;
}

void pair_start(struct pair *pair)
{
    *pair = (struct pair){.spoilt = false};
    fuzz_random_reset(1);
    for (int side = CLIENT; side <= SERVER; side++) {
        struct tls_config config = pair_config(pair, side == SERVER);

        FUZZ_CHECK(channel_new(&pair->side[side], &config) == VT_OK);
    }
}

void pair_stop(struct pair *pair)
{
    channel_free(pair->side[CLIENT]);
    channel_free(pair->side[SERVER]);
}

size_t pair_carry(struct pair *pair, int from, size_t len)
{
    struct vt_buf *out = channel_output(pair->side[from]);

    len = VT_MIN(VT_MIN(len, vt_buf_size(out)), (size_t)16384);
    if (!len || channel_feed(pair->side[!from], vt_buf_bytes(out), len))
        return 0;
    vt_buf_drop(out, len);
    return len;
}

bool pair_shake(struct pair *pair)
{
    int err[2] = {VT_EAGAIN, VT_EAGAIN};
    size_t moved = 1;

    while (moved && (err[CLIENT] == VT_EAGAIN || err[SERVER] == VT_EAGAIN)) {
        moved = 0;
        for (int side = CLIENT; side <= SERVER; side++) {
            if (err[side] == VT_EAGAIN)
                err[side] = channel_handshake(pair->side[side], NULL);
            moved += pair_carry(pair, side, SIZE_MAX);
        }
    }
    return !err[CLIENT] && !err[SERVER];
}

/* ---- Messages ---- */

static uint8_t some_bytes[4096] = {0, 0xc1, 0, 0, 0, 10};
static char some_text[] = "fuzz";

#define BYTES(n) ((ProtobufCBinaryData){.len = (n), .data = some_bytes})

/* Every body that there is; n and len are the input's. */
union bodies {
    Vtpm__Hello hello;
    Vtpm__Attach attach;
    Vtpm__Attached attached;
    Vtpm__PowerOn power_on;
    Vtpm__PowerResult power_result;
    Vtpm__Execute execute;
    Vtpm__Response response;
    Vtpm__Cancel cancel;
    Vtpm__Detach detach;
    Vtpm__Error error;
    Vtpm__Platform platform;
    Vtpm__PlatformResult platform_result;
};

#define BODY(TYPE, Type, field, ...)                                                                         \
    case VTPM__MESSAGE__BODY_##TYPE:                                                                         \
        u->field = (Vtpm__##Type)VTPM__##TYPE##__INIT;                                                       \
        msg->field = &u->field;                                                                              \
        __VA_ARGS__;                                                                                         \
        break

static void make_message(Vtpm__Message *msg, union bodies *u, unsigned body, uint8_t n)
{
    *msg = (Vtpm__Message)VTPM__MESSAGE__INIT;
    msg->body_case = (Vtpm__Message__BodyCase)body;
    switch (body) {
        BODY(HELLO, Hello, hello, u->hello.version = n, u->hello.software = some_text);
        BODY(ATTACH, Attach, attach, u->attach.stream = BYTES(16));
        BODY(ATTACHED, Attached, attached, u->attached.uuid = BYTES(16));
        BODY(POWER_ON, PowerOn, power_on, u->power_on.startup = (Vtpm__Startup)(n % 4));
        BODY(POWER_RESULT, PowerResult, power_result, u->power_result.acted = n & 1);
        BODY(EXECUTE, Execute, execute, u->execute.stream = BYTES(16), u->execute.n = n,
             u->execute.command = BYTES(10 + n * 16u));
        BODY(RESPONSE, Response, response, u->response.n = n, u->response.response = BYTES(10 + n * 16u));
        BODY(CANCEL, Cancel, cancel, u->cancel.n = n);
        BODY(DETACH, Detach, detach, u->detach.off = n & 1);
        BODY(ERROR, Error, error, u->error.code = n, u->error.fatal = n > 128);
        BODY(PLATFORM, Platform, platform, u->platform.act_case = VTPM__PLATFORM__ACT_RESET_ESTABLISHED,
             u->platform.reset_established = n % 6);
        BODY(PLATFORM_RESULT, PlatformResult, platform_result, u->platform_result.tpm_rc = n);
    default:
        break;
    }
}

/* ---- Steps ---- */

static void say(struct pair *pair, int side, uint8_t what)
{
    enum channel_phase before = channel_phase(pair->side[side]);
    unsigned body = 1 + what % 12;
    union bodies bodies;
    Vtpm__Message msg;
    int err;

    make_message(&msg, &bodies, body, (uint8_t)(what / 12));
    err = channel_send(pair->side[side], &msg);
    FUZZ_CHECK(err == VT_OK || err == VT_EPROTO || err == VT_ETOOBIG);
    if (err)
        FUZZ_CHECK(channel_phase(pair->side[side]) == before);
}

/*
 * Takes all that is whole. In an undisturbed pair a message is refused only where the two crossed: the other side
 * had said something that this one had not yet read; `alone` says that nothing could have crossed.
 */
static void hear(struct pair *pair, int side, bool alone)
{
    Vtpm__Message *msg = NULL;
    struct vt_why why = {{0}};
    int err;

    while (!(err = channel_next(pair->side[side], &msg, &why))) {
        FUZZ_CHECK(msg && msg->body_case);
        channel_message_free(msg);
    }
    FUZZ_CHECK(!msg);
    FUZZ_CHECK(err == VT_EAGAIN || err == VT_ECLOSED || err == VT_EPROTO || err == VT_ETOOBIG);
    if (alone && !pair->spoilt)
        FUZZ_CHECK(err == VT_EAGAIN || err == VT_ECLOSED);
    if (err == VT_EPROTO || err == VT_ETOOBIG)
        FUZZ_CHECK(why.text[0]);
    /* What ended stays ended. */
    if (err != VT_EAGAIN)
        FUZZ_CHECK(channel_next(pair->side[side], &msg, &why) != VT_OK);
}

/* In lock step: said, carried, heard. Then both sides must agree where they stand. */
static void say_and_hear(struct pair *pair, int side, uint8_t what)
{
    bool alone = !vt_buf_size(channel_output(pair->side[!side]));

    say(pair, side, what);
    while (pair_carry(pair, side, SIZE_MAX))
        ;
    hear(pair, !side, alone && !vt_buf_size(channel_output(pair->side[!side])));
}

static void change(struct pair *pair, int side, size_t at, uint8_t by)
{
    struct vt_buf *out = channel_output(pair->side[side]);

    if (!vt_buf_size(out) || !by)
        return;
    out->data[out->off + at % vt_buf_size(out)] ^= by;
    pair->spoilt = true;
}

static void feed(struct pair *pair, int side, struct fuzz_src *src)
{
    size_t len = fuzz_u8(src);
    const uint8_t *at = fuzz_take(src, &len);

    pair->spoilt = true;
    if (!channel_feed(pair->side[side], at, len))
        hear(pair, side, false);
}

enum { SAY, SAY_AND_HEAR, CARRY, HEAR, CHANGE, FEED, REFUSE, SHAKE, STEPS };

static void step(struct pair *pair, struct fuzz_src *src)
{
    uint8_t what = fuzz_u8(src);
    int side = what & 1;

    switch (what / 2 % STEPS) {
    case SAY:
        /* What is on its way may now cross what was said. */
        pair->spoilt = true;
        say(pair, side, fuzz_u8(src));
        break;
    case SAY_AND_HEAR:
        say_and_hear(pair, side, fuzz_u8(src));
        break;
    case CARRY:
        pair_carry(pair, side, fuzz_u8(src));
        break;
    case HEAR:
        hear(pair, side, false);
        break;
    case CHANGE:
        what = fuzz_u8(src);
        change(pair, side, fuzz_u16(src), what);
        break;
    case FEED:
        feed(pair, side, src);
        break;
    case REFUSE:
        pair->spoilt = true;
        channel_refuse(pair->side[side], VT_EPROTO, some_text);
        FUZZ_CHECK(channel_phase(pair->side[side]) == CHANNEL_CLOSED);
        break;
    case SHAKE:
        /* Also again on an open or a broken one: it says no, or that it is done. */
        (void)!channel_handshake(pair->side[side], NULL);
        break;
    }
}

void pair_walk(struct pair *pair, struct fuzz_src *src)
{
    for (int i = 0; i < STEPS_MAX && src->left; i++) {
        step(pair, src);
        if (!pair->spoilt && !vt_buf_size(channel_output(pair->side[CLIENT])) &&
            !vt_buf_size(channel_output(pair->side[SERVER])))
            FUZZ_CHECK(channel_phase(pair->side[CLIENT]) == channel_phase(pair->side[SERVER]));
    }
}
