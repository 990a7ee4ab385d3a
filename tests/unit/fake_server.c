/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/text.h"

struct fake_conn {
    struct fake *fake;
    struct channel *ch;
    bool is_lost; /* something could not be said */
};

int fake_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    static uint64_t state = 0x123456789abcdefu;

    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (unsigned char)(state >> 56);
    }
    return 0;
}

static void write32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t read32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

void fake_command(uint8_t out[FAKE_COMMAND], uint32_t id)
{
    memset(out, 0, FAKE_COMMAND);
    out[1] = 0xc1;
    write32(out + 2, FAKE_COMMAND);
    write32(out + 10, id);
}

uint32_t fake_response_id(const uint8_t *response)
{
    return read32(response + 10);
}

uint32_t fake_response_total(const uint8_t *response)
{
    return read32(response + 14);
}

static void on_psk(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    struct fake_conn *conn = ctx;

    *key = conn->fake->key;
    /* A host's credential is good for every instance of the chain; Attach says which. */
    *known = strcmp(identity, FAKE_HOST) == 0;
    for (struct fake *fake = conn->fake; fake && !*known; fake = fake->next) {
        if (strcmp(identity, fake->identity) != 0)
            continue;
        conn->fake = fake;
        *key = fake->key;
        *known = !fake->unknown;
    }
}

struct fake *fake_of(struct fake_conn *conn)
{
    return conn->fake;
}

void fake_init(struct fake *fake)
{
    *fake = (struct fake){.identity = FAKE_IDENTITY};
    memset(&fake->key, 0x5a, sizeof fake->key);
}

struct fake_conn *fake_open(struct fake *fake)
{
    struct fake_conn *conn = calloc(1, sizeof *conn);
    struct tls_config config = {.server = true, .random = fake_random, .psk = on_psk, .psk_ctx = conn};

    if (!conn || channel_new(&conn->ch, &config)) {
        free(conn);
        return NULL;
    }
    conn->fake = fake;
    return conn;
}

void fake_close(struct fake_conn *conn)
{
    if (conn)
        channel_free(conn->ch);
    free(conn);
}

struct vt_buf *fake_output(struct fake_conn *conn)
{
    return channel_output(conn->ch);
}

void fake_refuse(struct fake_conn *conn, int err, const char *text)
{
    channel_refuse(conn->ch, err, text);
}

static void say(struct fake_conn *conn, const Vtpm__Message *msg)
{
    int err = channel_send(conn->ch, msg);

    if (!err)
        return;
    conn->is_lost = true;
    if (err == VT_ENOMEM)
        return;
    fprintf(stderr, "fake server: cannot send %s: %d\n", message_name(msg), err);
    abort();
}

static void say_hello(struct fake_conn *conn)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Hello hello = VTPM__HELLO__INIT;

    hello.version = 1;
    msg.body_case = VTPM__MESSAGE__BODY_HELLO;
    msg.hello = &hello;
    say(conn, &msg);
}

static void choose(struct fake_conn *conn, const Vtpm__Attach *attach)
{
    char text[VT_UUID_TEXT];
    struct vt_uuid uuid;

    if (attach->uuid.len != sizeof uuid.bytes)
        return;
    memcpy(uuid.bytes, attach->uuid.data, sizeof uuid.bytes);
    vt_uuid_text(text, &uuid);
    for (struct fake *fake = conn->fake; fake; fake = fake->next)
        if (strcmp(fake->identity, text) == 0) {
            conn->fake = fake;
            return;
        }
}

static void on_attach(struct fake_conn *conn, const Vtpm__Attach *attach)
{
    struct fake *fake;
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Attached attached = VTPM__ATTACHED__INIT;
    char state[] = "ready";

    choose(conn, attach);
    fake = conn->fake;
    if (fake->attach_error) {
        channel_refuse(conn->ch, fake->attach_error, "refused by the test");
        return;
    }
    fake->attaches++;
    attached.state = state;
    attached.power = fake->on ? VTPM__POWER__POWER_ON : VTPM__POWER__POWER_OFF;
    if (fake->has_record) {
        attached.stream = (ProtobufCBinaryData){16, fake->stream};
        attached.n = fake->n;
    }
    msg.body_case = VTPM__MESSAGE__BODY_ATTACHED;
    msg.attached = &attached;
    say(conn, &msg);
}

static void say_error(struct fake_conn *conn, int err, uint64_t n)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Error error = VTPM__ERROR__INIT;
    char text[] = "an error of the test";

    error.code = (uint32_t)-err;
    error.text = text;
    error.n = n;
    msg.body_case = VTPM__MESSAGE__BODY_ERROR;
    msg.error = &error;
    say(conn, &msg);
}

static void on_power_on(struct fake_conn *conn, const Vtpm__PowerOn *power_on)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerResult result = VTPM__POWER_RESULT__INIT;

    conn->fake->power_ons++;
    if (conn->fake->power_error) {
        say_error(conn, conn->fake->power_error, 0);
        return;
    }
    conn->fake->startup = power_on->startup;
    conn->fake->domid = power_on->guest && power_on->guest->has_domid ? power_on->guest->domid : UINT32_MAX;
    snprintf(conn->fake->domain, sizeof conn->fake->domain, "%s", power_on->guest ? power_on->guest->domain : "");
    result.acted = !conn->fake->on;
    conn->fake->power_acts += result.acted;
    conn->fake->on = true;
    msg.body_case = VTPM__MESSAGE__BODY_POWER_RESULT;
    msg.power_result = &result;
    say(conn, &msg);
}

static void say_response(struct fake_conn *conn)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Response response = VTPM__RESPONSE__INIT;

    response.n = conn->fake->n;
    response.response = (ProtobufCBinaryData){FAKE_RESPONSE, conn->fake->response};
    msg.body_case = VTPM__MESSAGE__BODY_RESPONSE;
    msg.response = &response;
    if (!conn->fake->no_answer)
        say(conn, &msg);
}

static void run(struct fake *fake, const Vtpm__Execute *execute)
{
    uint32_t id = execute->command.len >= FAKE_COMMAND ? read32(execute->command.data + 10) % FAKE_IDS : 0;

    memcpy(fake->stream, execute->stream.data, 16);
    fake->n = execute->n;
    fake->locality = execute->locality;
    fake->has_record = true;
    memcpy(fake->command, execute->command.data, execute->command.len);
    fake->command_len = execute->command.len;
    fake->effects[id]++;
    fake->total++;
    memset(fake->response, 0, sizeof fake->response);
    fake->response[1] = 0xc4;
    write32(fake->response + 2, FAKE_RESPONSE);
    write32(fake->response + 10, id);
    write32(fake->response + 14, fake->total);
}

/* docs/record-and-recovery.md, "Who repeats what". */
static void on_execute(struct fake_conn *conn, const Vtpm__Execute *execute)
{
    struct fake *fake = conn->fake;
    bool mine = fake->has_record && memcmp(fake->stream, execute->stream.data, 16) == 0;
    bool same = execute->command.len == fake->command_len &&
                memcmp(fake->command, execute->command.data, fake->command_len) == 0;
    int err = fake->answer_error;

    if (err && fake->answer_fatal) {
        channel_refuse(conn->ch, err, "an error of the test");
    } else if (err) {
        fake->answer_error = 0;
        say_error(conn, err, execute->n);
    } else if (mine && execute->n == fake->n && same) {
        say_response(conn);
    } else if (fake->execute_error) {
        say_error(conn, fake->execute_error, execute->n);
    } else if ((mine && execute->n == fake->n + 1) || (!mine && execute->n == 1)) {
        run(fake, execute);
        say_response(conn);
    } else {
        fake->refused++;
        say_error(conn, VT_ECONFLICT, execute->n);
    }
}

static void on_detach(struct fake_conn *conn, const Vtpm__Detach *detach)
{
    conn->fake->detaches++;
    if (!detach->off)
        return;
    conn->fake->offs++;
    conn->fake->on = false;
}

static void on_message(struct fake_conn *conn, const Vtpm__Message *msg)
{
    switch ((int)msg->body_case) {
    case VTPM__MESSAGE__BODY_ATTACH:
        on_attach(conn, msg->attach);
        break;
    case VTPM__MESSAGE__BODY_POWER_ON:
        on_power_on(conn, msg->power_on);
        break;
    case VTPM__MESSAGE__BODY_EXECUTE:
        on_execute(conn, msg->execute);
        break;
    case VTPM__MESSAGE__BODY_DETACH:
        on_detach(conn, msg->detach);
        break;
    default:
        break;
    }
}

bool fake_bytes(struct fake_conn *conn, const void *bytes, size_t len)
{
    Vtpm__Message *msg;
    int err = channel_feed(conn->ch, bytes, len);

    if (!err && !channel_is_open(conn->ch)) {
        err = channel_handshake(conn->ch, NULL);
        if (!err)
            say_hello(conn);
    }
    while (!err) {
        err = channel_next(conn->ch, &msg, NULL);
        if (!err)
            on_message(conn, msg);
        channel_message_free(msg);
        msg = NULL;
    }
    return err == VT_EAGAIN && !conn->is_lost;
}
