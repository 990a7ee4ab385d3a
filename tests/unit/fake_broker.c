/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_broker.h"

#include "server/base/alloc.h"

struct session {
    struct vt_list node;
    struct broker *broker;
    const struct session_io *ops;
    void *io;
    void (*on_ready)(void *io);
    bool is_pending;
    uint64_t n;
    uint8_t command[16];
    size_t len;
};

void fake_broker_init(struct broker *broker)
{
    *broker = (struct broker){.last_role = ADMIN_NONE};
    vt_list_init(&broker->sessions);
}

void broker_psk(struct broker *broker, const char *identity, struct vt_key *key, bool *known)
{
    atomic_fetch_add(&broker->psk_calls, 1);
    *known = strcmp(identity, FAKE_IDENTITY) == 0;
    memset(key->bytes, *known ? FAKE_KEY_BYTE : 0x77, sizeof key->bytes);
}

uint64_t broker_psk_version(struct broker *broker, const char *identity)
{
    (void)identity;
    /* The second time it is another one. */
    return broker->rotate ? atomic_fetch_add(&broker->version, 1) : atomic_load(&broker->version);
}

const char *broker_stranger(struct broker *broker, const char *identity)
{
    (void)broker;
    return strcmp(identity, FAKE_DISABLED) == 0 ? "the instance is disabled" : "no such identity";
}

bool broker_domain_bound(struct broker *broker, const struct vt_domain *domain)
{
    return !broker->bound || broker->bound(domain);
}

void broker_admin_stranger(struct broker *broker, const char *peer)
{
    (void)broker;
    (void)peer;
}

int session_new(struct session **session, struct broker *broker, const char *identity, const struct channel_peer *peer,
                const struct session_io *ops, void *io)
{
    struct session *s;

    broker->last_domain = peer->domain ? *peer->domain : (struct vt_domain){.domid = UINT32_MAX};
    if (broker->refuse_session)
        return broker->refuse_session;
    s = strcmp(identity, FAKE_IDENTITY) ? NULL : VT_NEW(struct session);
    if (!s)
        return VT_ENOMEM;
    s->broker = broker;
    s->ops = ops;
    s->io = io;
    vt_list_init(&s->node);
    vt_list_add(&broker->sessions, &s->node);
    broker->sessions_made++;
    broker->sessions_now++;
    *session = s;
    return VT_OK;
}

static void send_body(struct session *s, Vtpm__Message__BodyCase which, void *body)
{
    Vtpm__Message msg;

    vtpm__message__init(&msg);
    msg.body_case = which;
    msg.hello = body;
    s->ops->send(s->io, &msg);
}

static void say_hello(struct session *s)
{
    Vtpm__Hello hello;
    uint8_t entropy[32] = {1};

    vtpm__hello__init(&hello);
    hello.version = 1;
    hello.entropy = (ProtobufCBinaryData){.data = entropy, .len = sizeof entropy};
    send_body(s, VTPM__MESSAGE__BODY_HELLO, &hello);
}

static void say_attached(struct session *s)
{
    Vtpm__Attached attached;
    uint8_t uuid[16] = {1}, stream[16] = {2};

    vtpm__attached__init(&attached);
    attached.uuid = (ProtobufCBinaryData){.data = uuid, .len = sizeof uuid};
    attached.stream = (ProtobufCBinaryData){.data = stream, .len = sizeof stream};
    attached.buffer = 4096;
    send_body(s, VTPM__MESSAGE__BODY_ATTACHED, &attached);
}

static void say_power(struct session *s)
{
    Vtpm__PowerResult result;

    vtpm__power_result__init(&result);
    send_body(s, VTPM__MESSAGE__BODY_POWER_RESULT, &result);
}

static void answer(struct session *s)
{
    Vtpm__Response response;

    vtpm__response__init(&response);
    response.n = s->n;
    response.response = (ProtobufCBinaryData){.data = s->command, .len = s->len};
    s->is_pending = false;
    send_body(s, VTPM__MESSAGE__BODY_RESPONSE, &response);
    if (s->on_ready)
        s->on_ready(s->io);
}

static void execute(struct session *s, const Vtpm__Execute *msg)
{
    s->n = msg->n;
    s->len = VT_MIN(msg->command.len, sizeof s->command);
    memcpy(s->command, msg->command.data, s->len);
    if (s->len && s->command[0] == FAKE_CLOSE) {
        s->ops->close(s->io, VT_EFENCED, "fenced");
        s->n = 0; /* the session is still there */
        return;
    }
    s->is_pending = true;
    if (!s->broker->hold)
        answer(s);
}

void session_message(struct session *s, const Vtpm__Message *msg)
{
    s->broker->messages++;
    if (msg->body_case == VTPM__MESSAGE__BODY_HELLO)
        say_hello(s);
    else if (msg->body_case == VTPM__MESSAGE__BODY_ATTACH)
        say_attached(s);
    else if (msg->body_case == VTPM__MESSAGE__BODY_POWER_ON)
        say_power(s);
    else if (msg->body_case == VTPM__MESSAGE__BODY_EXECUTE)
        execute(s, msg->execute);
}

bool session_ready(const struct session *s)
{
    return !s->is_pending;
}

void session_on_ready(struct session *s, void (*fn)(void *io))
{
    s->on_ready = fn;
}

void session_closed(struct session *s)
{
    s->broker->sessions_now--;
    vt_list_remove(&s->node);
    vt_free(s);
}

void fake_release(struct broker *broker)
{
    broker->hold = false;
    VT_LIST_EACH(&broker->sessions, node)
    {
        struct session *s = VT_LIST_ENTRY(node, struct session, node);
        if (s->is_pending)
            answer(s);
    }
}

void fake_shout(struct broker *broker, size_t len)
{
    char *text = vt_calloc(1, len + 1);
    Vtpm__Error error;

    if (!text)
        return;
    memset(text, 'x', len);
    vtpm__error__init(&error);
    error.code = 1;
    error.text = text;
    VT_LIST_EACH(&broker->sessions, node)
    send_body(VT_LIST_ENTRY(node, struct session, node), VTPM__MESSAGE__BODY_ERROR, &error);
    vt_free(text);
}

/* ---- Administration ---- */

static void reply_status(void (*reply)(void *, const Vtpm__AdminReply *), void *arg)
{
    char version[] = "fake";
    Vtpm__AdminReply msg;
    Vtpm__Status status;

    vtpm__admin_reply__init(&msg);
    vtpm__status__init(&status);
    status.version = version;
    msg.status = &status;
    reply(arg, &msg);
}

static void reply_huge(void (*reply)(void *, const Vtpm__AdminReply *), void *arg)
{
    size_t len = (4u << 20) + 1;
    char *text = vt_calloc(1, len + 1);
    Vtpm__AdminReply msg;

    vtpm__admin_reply__init(&msg);
    memset(text, 'x', len);
    msg.text = text;
    reply(arg, &msg);
    vt_free(text);
}

/* Status: at once; InstanceList: when told; Check: more than fits; the rest: at once, an error. */
void broker_admin(struct broker *broker, enum admin_role role, const char *peer,
                  const Vtpm__AdminRequest *request, void (*reply)(void *arg, const Vtpm__AdminReply *reply),
                  void *arg)
{
    Vtpm__AdminReply msg;

    (void)peer;
    broker->admin_calls++;
    broker->last_role = role;
    if (request->verb_case == VTPM__ADMIN_REQUEST__VERB_STATUS) {
        reply_status(reply, arg);
    } else if (request->verb_case == VTPM__ADMIN_REQUEST__VERB_LIST) {
        broker->reply = reply;
        broker->reply_arg = arg;
    } else if (request->verb_case == VTPM__ADMIN_REQUEST__VERB_CHECK) {
        reply_huge(reply, arg);
    } else {
        vtpm__admin_reply__init(&msg);
        msg.err = VT_ENOTFOUND;
        reply(arg, &msg);
    }
}

void fake_reply(struct broker *broker)
{
    reply_status(broker->reply, broker->reply_arg);
}
