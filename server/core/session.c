/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One authenticated channel's conversation (PROTOCOL.md): which instance it may attach, and its messages turned into
 * jobs. The order of messages was already checked by the channel; what a message may do is a row of `handlers`.
 */
#include "server/core/session_priv.h"

#include <stdio.h>

#include "proto/message.h"
#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/binding.h"
#include "server/core/handoff/door.h"
#include "server/core/handoff/handoff.h"
#include "server/core/instance/instance.h"
#include "server/core/store/server_key.h"
#include "server/wire/cursor.h"

/* Which guest a shim says that it serves. */
struct guest_said {
    bool has_domid;
    uint32_t domid;
    char name[65];
};

struct session {
    struct vt_list node;            /* broker->sessions */
    struct broker *broker;
    const struct session_io *ops;
    void *io;                       /* NULL once the transport is gone or told to go */
    void (*on_ready)(void *io);
    struct instance *instance;
    uint64_t pending_n;             /* of the Execute under way */
    bool is_pending;
    char identity[80];
    char peer[96];
    char front_end[16];
    char guest[65];                 /* the front-end domain that the shim serves, as the inventory shows it */
    bool has_domain;                /* on a vchan: every attach must match a binding */
    struct vt_domain domain;
    bool is_guest;                  /* that domain is the guest itself: its word on power and locality is void */
    /* The TPM is on, and another domain's: its power on failed (of a guest itself: was not asked for yet). */
    bool is_refused;
    char older[96];                 /* whose channel it took over; "": nobody's */
    struct vt_uuid wanted;          /* of the Attach under way */
    struct guest_said said;
    bool has_ticket;                /* the next attach claims what it stands for */
    uint8_t ticket[TICKET_LEN];
    uint8_t *state;                 /* a bundle: brought, or (has_given) on its way out; owned */
    size_t state_len, state_have;
    bool has_state, has_given;      /* has_state: the next attach takes it */
    bool is_server;                 /* another server: it asks at the door, and attaches nothing */
    struct door door;
};

static void on_door(void *arg, int err, const char *text, Vtpm__PeerAnswer *answer);

/* ---- Life ---- */

static void open_door(struct session *s)
{
    s->door = (struct door){.broker = s->broker, .peer = s->peer, .reply = on_door, .arg = s};
    s->is_server = server_key_is_identity(s->identity, &s->door.asker);
}

int session_new(struct session **session, struct broker *broker, const char *identity, const struct channel_peer *peer,
                const struct session_io *ops, void *io)
{
    struct session *s;

    if (broker->draining)
        return VT_EAGAIN;
    s = VT_NEW(struct session);
    if (!s)
        return VT_ENOMEM;
    s->broker = broker;
    s->ops = ops;
    s->io = io;
    strncpy(s->identity, identity, sizeof s->identity - 1);
    strncpy(s->peer, peer->text, sizeof s->peer - 1);
    s->has_domain = peer->domain != NULL;
    if (peer->domain)
        s->domain = *peer->domain;
    open_door(s);
    vt_list_add(&broker->sessions, &s->node);
    broker->session_count++;
    *session = s;
    return VT_OK;
}

static void let_go(struct session *s)
{
    if (!s->instance)
        return;
    instance_forget(s->instance, s);
    if (instance_session(s->instance) == s)
        instance_set_session(s->instance, NULL);
    s->instance = NULL;
    s->is_pending = false;
}

static void drop_state(struct session *s)
{
    vt_free(s->state);
    s->state = NULL;
    s->state_len = s->state_have = 0;
    s->has_state = s->has_given = false;
}

/* What was asked of other servers, or by them, goes on without this channel. */
static void forget_handoffs(struct session *s)
{
    handoff_forget(s->broker, s);
    door_close(&s->door);
    drop_state(s);
}

void session_close(struct session *s, int err, const char *text)
{
    void *io = s->io;

    let_go(s);
    forget_handoffs(s);
    s->io = NULL;
    if (io)
        s->ops->close(io, err, text);
}

void session_closed(struct session *s)
{
    let_go(s);
    forget_handoffs(s);
    vt_list_remove(&s->node);
    s->broker->session_count--;
    s->broker->left++;
    vt_free(s);
}

bool session_ready(const struct session *s)
{
    return !s->is_pending;
}

void session_on_ready(struct session *s, void (*fn)(void *io))
{
    s->on_ready = fn;
}

const char *session_peer(const struct session *s)
{
    return s->peer;
}

void broker_close_identity(struct broker *broker, const char *identity, int err, const char *text)
{
    VT_LIST_EACH(&broker->sessions, at) {
        struct session *s = VT_LIST_ENTRY(at, struct session, node);
        if (strcmp(s->identity, identity) == 0)
            session_close(s, err, text);
    }
}

/* ---- Answers ---- */

static void send_body(struct session *s, Vtpm__Message__BodyCase which, void *body)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;

    if (!s->io)
        return;
    msg.body_case = which;
    /* All members of the union are pointers to messages. */
    msg.hello = body;
    s->ops->send(s->io, &msg);
}

static void send_error(struct session *s, int err, const char *text, uint64_t n)
{
    Vtpm__Error error = VTPM__ERROR__INIT;
    char copy[256];

    strncpy(copy, text, sizeof copy - 1);
    copy[sizeof copy - 1] = '\0';
    error.code = (uint32_t)-err;
    error.text = copy;
    error.n = n;
    send_body(s, VTPM__MESSAGE__BODY_ERROR, &error);
}

static void begin(struct session *s, uint64_t n)
{
    s->is_pending = true;
    s->pending_n = n;
}

static void end(struct session *s)
{
    s->is_pending = false;
    if (s->io && s->on_ready)
        s->on_ready(s->io);
}

static void submit(struct session *s, const struct instance_job *job)
{
    struct instance_job copy = *job;
    int err;

    begin(s, job->n);
    memcpy(copy.peer, s->peer, sizeof copy.peer);
    err = instance_submit(s->instance, &copy);
    if (!err)
        return;
    send_error(s, err, "the server cannot take this now", job->n);
    end(s);
}

/* Which life of the guest's machine this is: a back end says so; of a guest itself the vchan does. */
static struct guest_epoch epoch_of(const struct session *s, const Vtpm__GuestEpoch *msg)
{
    struct guest_epoch guest = {0};

    if (s->is_guest) {
        memcpy(guest.boot_id, s->broker->host_boot_id, sizeof guest.boot_id);
        guest.domid = s->domain.domid;
        guest.has_domid = true;
        return guest;
    }
    if (!msg)
        return guest;
    if (msg->boot_id.len == sizeof guest.boot_id)
        memcpy(guest.boot_id, msg->boot_id.data, sizeof guest.boot_id);
    guest.domid = msg->domid;
    guest.has_domid = msg->has_domid;
    return guest;
}

static void say_guest(struct session *s, const char *name, uint32_t domid)
{
    if (name && *name)
        snprintf(s->guest, sizeof s->guest, "%.50s(%u)", name, (unsigned)domid);
    else
        snprintf(s->guest, sizeof s->guest, "domid %u", (unsigned)domid);
}

/* "web1(5)" or "domid 5"; "" for a guest that is no Xen domain. The name is a peer's, shown as far as it can be. */
static void note_guest(struct session *s, const struct guest_said *said)
{
    if (s->is_guest)
        say_guest(s, s->domain.name, s->domain.domid);
    else if (said->has_domid)
        say_guest(s, said->name, said->domid);
    else
        s->guest[0] = '\0';
}

static struct guest_said said_by(const Vtpm__GuestEpoch *msg)
{
    struct guest_said said = {.has_domid = msg && msg->has_domid};

    if (said.has_domid) {
        said.domid = msg->domid;
        snprintf(said.name, sizeof said.name, "%s", msg->domain ? msg->domain : "");
    }
    return said;
}

/* ---- Attach ---- */

static void take_over(struct session *s)
{
    struct session *older = instance_session(s->instance);
    char uuid[VT_UUID_TEXT], text[160];

    if (older && older != s) {
        vt_uuid_text(uuid, instance_uuid(s->instance));
        vt_log_with(VT_LOG_NOTICE,
                    VT_FIELDS(VT_TEXT("uuid", uuid), VT_TEXT("from", older->peer), VT_TEXT("by", s->peer)),
                    "session: taken over");
        snprintf(text, sizeof text, "taken over by a newer channel from %s", s->peer);
        memcpy(s->older, older->peer, sizeof s->older);
        session_close(older, VT_EFENCED, text);
    }
    instance_set_session(s->instance, s);
}

static void write_event(struct session *s)
{
    unsigned held;
    char text[400];
    int len;

    if (!act_limit_pass(instance_attaches(s->instance), ACT_ATTACH_MOST, ACT_ATTACH_WINDOW_S, loop_now_us(), &held))
        return;
    len = snprintf(text, sizeof text, "identity %s, front end %s", s->identity, s->front_end[0] ? s->front_end : "?");
    if (s->guest[0])
        len += snprintf(text + len, sizeof text - (size_t)len, ", guest %s", s->guest);
    if (s->older[0])
        len += snprintf(text + len, sizeof text - (size_t)len, ", from %s", s->older);
    if (held)
        snprintf(text + len, sizeof text - (size_t)len, ", and %u more since the last one", held);
    act_write(s->broker, s->older[0] ? "take-over" : "attach", instance_uuid(s->instance), s->peer, text);
    s->older[0] = '\0';
}

static void on_attached(void *arg, const struct instance_answer *answer)
{
    static struct {
        Vtpm__Power power;
        char word[16];
    } words[] = {
        [RECORD_OFF] = {VTPM__POWER__POWER_OFF, "off"},
        [RECORD_ON] = {VTPM__POWER__POWER_ON, "on"},
        [RECORD_NEEDS_POWER_ON] = {VTPM__POWER__POWER_NEEDS_POWER_ON, "needs-power-on"},
    };
    struct session *s = arg;
    Vtpm__Attached attached = VTPM__ATTACHED__INIT;
    struct vt_uuid uuid;
    struct record copy;

    if (answer->err) {
        session_close(s, answer->err, answer->text);
        return;
    }
    uuid = *instance_uuid(s->instance);
    copy = *answer->record;
    attached.uuid = (ProtobufCBinaryData){.data = uuid.bytes, .len = sizeof uuid.bytes};
    /* PROTOCOL.md, 5: empty and 0: no command yet. */
    if (copy.n)
        attached.stream = (ProtobufCBinaryData){.data = copy.stream, .len = sizeof copy.stream};
    attached.n = copy.n;
    attached.power = words[copy.power].power;
    attached.state = words[copy.power].word;
    attached.buffer = 4096;
    instance_note_domain(s->instance, s->guest);
    write_event(s);
    send_body(s, VTPM__MESSAGE__BODY_ATTACHED, &attached);
    end(s);
}

/* Which instance is meant? */
static int resolve(struct session *s, const Vtpm__Attach *attach, struct vt_uuid *uuid, struct vt_why *why)
{
    bool is_own = vt_uuid_parse(uuid, s->identity);

    if (attach->uuid.len == sizeof uuid->bytes)
        memcpy(uuid->bytes, attach->uuid.data, sizeof uuid->bytes);
    else if (!is_own)
        return vt_fail(why, VT_EPROTO, "a host credential must name the instance to attach");
    return VT_OK;
}

/* May this identity have it? */
static int check_allowed(const struct session *s, const struct vt_uuid *uuid, struct vt_why *why)
{
    bool allowed = false;
    int err = db_credential_allows(s->broker->db, s->identity, uuid, &allowed);

    if (err)
        return vt_fail(why, err, "the store cannot be read now: %s", vt_err_text(err));
    return allowed ? VT_OK : vt_fail(why, VT_EPERM, "this credential may not attach that instance");
}

/* VT_EPERM: the domain at the other end is not bound to that instance, whatever credential it has. */
static int check_binding(const struct session *s, const struct vt_uuid *uuid, enum binding_role *role, struct vt_why *why)
{
    int err = s->has_domain ? binding_role(s->broker->db, uuid, &s->domain, role) : VT_OK;

    if (err)
        return vt_fail(why, err, "the store cannot be read now: %s", vt_err_text(err));
    if (!s->has_domain || *role != BINDING_NONE)
        return VT_OK;
    return vt_fail(why, VT_EPERM, "the domain that asks is not bound to that instance: vtpmctl binding add");
}

/* A guest that could name another domain's life as its own could have its PCRs reset at will. */
static int check_role(const struct guest_said *said, enum binding_role role, struct vt_why *why)
{
    if (role != BINDING_GUEST || !said->has_domid)
        return VT_OK;
    return vt_fail(why, VT_EPERM,
                   "the domain that asks serves domain %u, but is bound as the guest itself: vtpmctl binding add I --peer "
                   "backend:uuid:U or backend:name:N",
                   (unsigned)said->domid);
}

/* Who asked for what, for those who may read it. */
static void tell_unbound(struct session *s, const struct vt_uuid *wanted)
{
    char domain[BINDING_DOMAIN_TEXT], uuid[VT_UUID_TEXT], text[256];

    binding_domain_text(domain, &s->domain);
    vt_uuid_text(uuid, wanted);
    vt_log_with(VT_LOG_WARNING,
                VT_FIELDS(VT_TEXT("domain", domain), VT_TEXT("uuid", uuid), VT_TEXT("identity", s->identity),
                          VT_TEXT("peer", s->peer)),
                "session: attach refused: the domain is not bound to the instance");
    snprintf(text, sizeof text, "domain %s is not bound to it; identity %.60s", domain, s->identity);
    act_unbound(s->broker, wanted, s->peer, text);
}

void session_recheck(struct session *s)
{
    enum binding_role role = BINDING_NONE;
    struct vt_why why = {0};
    int err = s->instance ? check_binding(s, instance_uuid(s->instance), &role, &why) : VT_OK;

    if (!err && s->instance && s->has_domain && s->is_guest != (role == BINDING_GUEST))
        err = vt_fail(&why, VT_EAGAIN, "the binding is of another role now");
    if (err)
        session_close(s, err == VT_EPERM ? err : VT_EAGAIN, why.text);
}

static void refuse_attach(struct session *s, const struct vt_uuid *uuid, int err, const char *why, bool is_unbound)
{
    if (is_unbound)
        tell_unbound(s, uuid);
    else
        vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("identity", s->identity), VT_TEXT("peer", s->peer)),
                    "session: attach refused: %s", why);
    s->instance = NULL;
    session_close(s, err, why);
}

/* The instance that is wanted is here, or nowhere. */
static void attach_now(struct session *s)
{
    struct instance_job job = {.kind = INSTANCE_LOAD, .done = on_attached, .arg = s};
    struct vt_why why = {0};
    enum binding_role role = BINDING_NONE;
    bool is_unbound = false;
    int err = check_allowed(s, &s->wanted, &why);

    if (!err) {
        err = check_binding(s, &s->wanted, &role, &why);
        is_unbound = err == VT_EPERM;
    }
    if (!err)
        err = check_role(&s->said, role, &why);
    if (!err)
        err = instance_find(s->broker, &s->wanted, &s->instance, &why);
    if (err) {
        refuse_attach(s, &s->wanted, err, why.text, is_unbound);
        return;
    }
    s->is_guest = role == BINDING_GUEST;
    /* Only its power on tells which domain's PCRs these are. */
    s->is_refused = s->is_guest;
    note_guest(s, &s->said);
    take_over(s);
    submit(s, &job);
}

static void on_claimed(void *arg, int err, const char *text)
{
    struct session *s = arg;

    if (err) {
        refuse_attach(s, &s->wanted, err, text, false);
        return;
    }
    s->has_ticket = false;
    drop_state(s);
    attach_now(s);
}

static void on_attach(struct session *s, const Vtpm__Message *msg)
{
    const Vtpm__Attach *attach = msg->attach;
    struct vt_why why = {0};
    int err = resolve(s, attach, &s->wanted, &why);

    if (err) {
        refuse_attach(s, &s->wanted, err, why.text, false);
        return;
    }
    if (attach->front_end)
        strncpy(s->front_end, attach->front_end, sizeof s->front_end - 1);
    s->said = said_by(attach->guest);
    if (!s->has_ticket && !s->has_state) {
        attach_now(s);
        return;
    }
    begin(s, 0);
    if (s->has_state)
        handoff_take_state(s->broker, &s->wanted, s->state, s->state_len, s->peer, on_claimed, s);
    else
        handoff_claim(s->broker, s->ticket, s->peer, on_claimed, s);
}

/* ---- Live migration: docs/moving.md ---- */

static bool refuse_guest(struct session *s, const char *what, uint64_t n);

static void on_brought(void *arg, int err, const char *text)
{
    struct session *s = arg;
    Vtpm__TicketTaken taken = VTPM__TICKET_TAKEN__INIT;

    s->has_state = !err && s->state;
    s->has_ticket = !err && !s->state;
    if (err)
        send_error(s, err, text, 0);
    else
        send_body(s, VTPM__MESSAGE__BODY_TICKET_TAKEN, &taken);
    end(s);
}

/* A credential of one instance is for that one; with a host's nobody has said that it may come. */
static void on_ticket_bring(struct session *s, const Vtpm__Message *msg)
{
    const ProtobufCBinaryData *bytes = &msg->ticket_bring->ticket;
    struct vt_uuid own;
    struct vt_why why = {0};
    struct ticket ticket;
    int err = ticket_read(&ticket, bytes->data, bytes->len, &why);

    if (!err && (!vt_uuid_parse(&own, s->identity) || !vt_uuid_equal(&own, &ticket.instance)))
        err = vt_fail(&why, VT_EPERM, "the ticket stands for another instance than this credential");
    begin(s, 0);
    drop_state(s);
    if (err) {
        on_brought(s, err, why.text);
        return;
    }
    memcpy(s->ticket, bytes->data, sizeof s->ticket);
    handoff_bring(s->broker, bytes->data, bytes->len, on_brought, s);
}

/* Parts come in order, from the first on. False: they do not, or there is no memory. */
static bool add_part(struct session *s, const Vtpm__StateBring *part)
{
    if (!part->offset) {
        drop_state(s);
        s->state = vt_calloc(1, part->size);
        s->state_len = part->size;
    }
    if (!s->state || s->has_given || part->size != s->state_len || part->offset != s->state_have)
        return false;
    memcpy(s->state + s->state_have, part->state.data, part->state.len);
    s->state_have += part->state.len;
    return true;
}

static void on_state_bring(struct session *s, const Vtpm__Message *msg)
{
    Vtpm__TicketTaken taken = VTPM__TICKET_TAKEN__INIT;
    struct vt_uuid own;

    begin(s, 0);
    s->has_ticket = s->has_state = false;
    if (!vt_uuid_parse(&own, s->identity) || !add_part(s, msg->state_bring)) {
        drop_state(s);
        on_brought(s, VT_EPERM, "a state is brought whole, and with the credential of its instance");
    } else if (s->state_have < s->state_len) {
        send_body(s, VTPM__MESSAGE__BODY_TICKET_TAKEN, &taken);
        end(s);
    } else {
        handoff_bring_state(s->broker, &own, s->state, s->state_len, on_brought, s);
    }
}

static void send_part(struct session *s, size_t offset)
{
    Vtpm__Ticket msg = VTPM__TICKET__INIT;

    msg.size = (uint32_t)s->state_len;
    msg.state.data = s->state + offset;
    msg.state.len = VT_MIN(s->state_len - offset, (size_t)MESSAGE_PART_MAX);
    send_body(s, VTPM__MESSAGE__BODY_TICKET, &msg);
}

static void on_state_given(void *arg, int err, const char *text, const uint8_t *bundle, size_t len)
{
    struct session *s = arg;

    if (!err) {
        s->state = len <= MESSAGE_STATE_MAX ? vt_memdup(bundle, len) : NULL;
        if (!s->state) {
            err = VT_ETOOBIG;
            text = "it has left, but is too big for a monitor: `vtpmctl instance export` gives the file";
        }
    }
    if (err) {
        session_close(s, err, text);
        return;
    }
    s->state_len = len;
    s->has_given = true;
    send_part(s, 0);
    end(s);
}

static void on_ticket_read(struct session *s, const Vtpm__Message *msg)
{
    begin(s, 0);
    if (s->has_given && msg->ticket_read->offset < s->state_len)
        send_part(s, msg->ticket_read->offset);
    else
        send_error(s, VT_EUSAGE, "no state was asked for, or it has no such part", 0);
    end(s);
}

/* The instance leaves this session first: it is to leave the server. */
static void give_state(struct session *s, const char *to)
{
    const struct vt_uuid uuid = *instance_uuid(s->instance);

    let_go(s);
    drop_state(s);
    begin(s, 0);
    handoff_give_state(s->broker, &uuid, to, s->peer, on_state_given, s);
}

static void on_given(void *arg, int err, const char *text, const uint8_t *ticket)
{
    struct session *s = arg;
    Vtpm__Ticket msg = VTPM__TICKET__INIT;
    uint8_t copy[TICKET_LEN];

    if (err) {
        send_error(s, err, text, 0);
    } else {
        memcpy(copy, ticket, sizeof copy);
        msg.ticket = (ProtobufCBinaryData){.data = copy, .len = sizeof copy};
        send_body(s, VTPM__MESSAGE__BODY_TICKET, &msg);
    }
    end(s);
}

static void on_ticket_ask(struct session *s, const Vtpm__Message *msg)
{
    const char *to = msg->ticket_ask->to;

    if (refuse_guest(s, "a ticket", 0))
        return;
    if (msg->ticket_ask->with_state) {
        give_state(s, to ? to : "");
        return;
    }
    begin(s, 0);
    handoff_give(s->broker, instance_uuid(s->instance), to ? to : "", s->peer, on_given, s);
}

static void on_door(void *arg, int err, const char *text, Vtpm__PeerAnswer *answer)
{
    struct session *s = arg;

    if (err)
        send_error(s, err, text, 0);
    else
        send_body(s, VTPM__MESSAGE__BODY_PEER_ANSWER, answer);
    end(s);
}

static void on_peer_ask(struct session *s, const Vtpm__Message *msg)
{
    begin(s, 0);
    door_ask(&s->door, msg->peer_ask);
}

/* ---- The rest ---- */

static void on_powered(void *arg, const struct instance_answer *answer)
{
    struct session *s = arg;
    Vtpm__PowerResult result = VTPM__POWER_RESULT__INIT;

    s->is_refused = answer->is_foreign;
    if (answer->err) {
        send_error(s, answer->err, answer->text, 0);
    } else {
        result.acted = answer->acted;
        if (answer->acted && answer->response_len >= 10) {
            struct rd r = rd_from(answer->response + 6, 4);
            result.tpm_rc = rd_get32(&r);
        }
        send_body(s, VTPM__MESSAGE__BODY_POWER_RESULT, &result);
    }
    end(s);
}

static void on_power_on(struct session *s, const Vtpm__Message *msg)
{
    struct instance_job job = {
        .kind = INSTANCE_POWER_ON,
        .done = on_powered,
        .arg = s,
        .startup = (uint8_t)msg->power_on->startup,
        .guest = epoch_of(s, msg->power_on->guest),
    };

    s->said = said_by(msg->power_on->guest);
    note_guest(s, &s->said);
    instance_note_domain(s->instance, s->guest);
    submit(s, &job);
}

static void on_executed(void *arg, const struct instance_answer *answer)
{
    struct session *s = arg;
    Vtpm__Response response = VTPM__RESPONSE__INIT;
    union {
        const uint8_t *in;
        uint8_t *out;
    } bytes = {.in = answer->response};

    if (answer->err == VT_EBROKEN || answer->err == VT_EFENCED) {
        session_close(s, answer->err, answer->text);
        return;
    }
    if (answer->err) {
        send_error(s, answer->err, answer->text, s->pending_n);
    } else {
        response.n = s->pending_n;
        response.response = (ProtobufCBinaryData){.data = bytes.out, .len = answer->response_len};
        send_body(s, VTPM__MESSAGE__BODY_RESPONSE, &response);
    }
    end(s);
}

/* The guest itself has locality 0, and no hand on its machine. True: refused. */
static bool refuse_guest(struct session *s, const char *what, uint64_t n)
{
    if (!s->is_guest)
        return false;
    vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("identity", s->identity), VT_TEXT("peer", s->peer)),
                "session: %s refused: the peer is the guest itself", what);
    begin(s, n);
    send_error(s, VT_EPERM, "the guest itself may not do that", n);
    end(s);
    return true;
}

static void on_execute(struct session *s, const Vtpm__Message *msg)
{
    const Vtpm__Execute *execute = msg->execute;
    struct instance_job job = {
        .kind = INSTANCE_EXECUTE,
        .done = on_executed,
        .arg = s,
        .n = execute->n,
        .locality = (uint8_t)execute->locality,
        .data = execute->command.data,
        .len = execute->command.len,
        .is_refused = s->is_refused,
    };

    if (execute->locality && refuse_guest(s, "a locality", execute->n))
        return;
    memcpy(job.stream, execute->stream.data, sizeof job.stream);
    submit(s, &job);
}

static void on_platform_done(void *arg, const struct instance_answer *answer)
{
    struct session *s = arg;
    Vtpm__PlatformResult result = VTPM__PLATFORM_RESULT__INIT;
    struct rd r = rd_from(answer->response, answer->err ? 0 : answer->response_len);

    if (answer->err) {
        send_error(s, answer->err, answer->text, 0);
    } else {
        result.tpm_rc = rd_get32(&r);
        result.established = rd_get8(&r) != 0;
        send_body(s, VTPM__MESSAGE__BODY_PLATFORM_RESULT, &result);
    }
    end(s);
}

static void on_platform(struct session *s, const Vtpm__Message *msg)
{
    const Vtpm__Platform *platform = msg->platform;
    struct instance_job job = {
        .kind = INSTANCE_PLATFORM, .done = on_platform_done, .arg = s, .locality = 4, .is_refused = s->is_refused};

    if (refuse_guest(s, "a platform act", 0))
        return;
    job.act = (uint8_t)platform->act_case;
    if (platform->act_case == VTPM__PLATFORM__ACT_HASH_DATA) {
        job.data = platform->hash_data.data;
        job.len = platform->hash_data.len;
    } else if (platform->act_case == VTPM__PLATFORM__ACT_RESET_ESTABLISHED) {
        job.locality = (uint8_t)platform->reset_established;
    }
    submit(s, &job);
}

static void on_detach(struct session *s, const Vtpm__Message *msg)
{
    struct instance_job job = {.kind = INSTANCE_POWER_OFF, .domain_gone = true};
    /* The guest itself would power off only to be powered on with new PCRs. */
    const bool off = msg->detach->off && !s->is_guest;

    memcpy(job.peer, s->peer, sizeof job.peer);
    if (off && instance_submit(s->instance, &job))
        vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("identity", s->identity)),
                    "session: power off could not be queued");
    if (off)
        instance_note_domain(s->instance, "");
    let_go(s);
}

/* The engine runs one command to its end; the guest's driver only stops waiting for it. */
static void on_cancel(struct session *s, const Vtpm__Message *msg)
{
    vt_log_with(VT_LOG_DEBUG, VT_FIELDS(VT_NUMBER("n", msg->cancel->n), VT_TEXT("identity", s->identity)),
                "session: cancel noted");
}

static void on_hello(struct session *s, const Vtpm__Message *msg)
{
    Vtpm__Hello hello = VTPM__HELLO__INIT;
    char software[] = "vtpm-server " VTPM_VERSION;
    uint8_t entropy[32];

    if (cr_os_random(entropy, sizeof entropy)) {
        session_close(s, VT_ECRYPTO, "no entropy");
        return;
    }
    hello.version = 2;
    hello.software = software;
    hello.entropy = (ProtobufCBinaryData){.data = entropy, .len = sizeof entropy};
    send_body(s, VTPM__MESSAGE__BODY_HELLO, &hello);
    vt_wipe(entropy, sizeof entropy);
    vt_log_with(VT_LOG_DEBUG,
                VT_FIELDS(VT_TEXT("software", msg->hello->software), VT_NUMBER("version", msg->hello->version),
                          VT_TEXT("identity", s->identity)),
                "session: the peer says hello");
}

/* Who may say it. */
enum who { ANYBODY, SHIM, ATTACHED_SHIM, SERVER };

static const struct handler {
    void (*fn)(struct session *s, const Vtpm__Message *msg);
    enum who who;
} handlers[] = {
    [VTPM__MESSAGE__BODY_HELLO] = {on_hello, ANYBODY},
    [VTPM__MESSAGE__BODY_ATTACH] = {on_attach, SHIM},
    [VTPM__MESSAGE__BODY_POWER_ON] = {on_power_on, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_EXECUTE] = {on_execute, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_CANCEL] = {on_cancel, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_DETACH] = {on_detach, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_PLATFORM] = {on_platform, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_TICKET_ASK] = {on_ticket_ask, ATTACHED_SHIM},
    [VTPM__MESSAGE__BODY_TICKET_BRING] = {on_ticket_bring, SHIM},
    [VTPM__MESSAGE__BODY_TICKET_READ] = {on_ticket_read, SHIM},
    [VTPM__MESSAGE__BODY_STATE_BRING] = {on_state_bring, SHIM},
    [VTPM__MESSAGE__BODY_PEER_ASK] = {on_peer_ask, SERVER},
};

static bool may_say(const struct session *s, size_t which)
{
    const struct handler *handler = which < VT_COUNT(handlers) ? &handlers[which] : NULL;

    if (!handler || !handler->fn || (handler->who == ATTACHED_SHIM) != !!s->instance)
        return false;
    return handler->who == ANYBODY || (handler->who == SERVER) == s->is_server;
}

void session_message(struct session *s, const Vtpm__Message *msg)
{
    size_t which = (size_t)msg->body_case;

    if (!s->io)
        return;
    if (!may_say(s, which)) {
        session_close(s, VT_EPROTO, "this message is not for the server, or not now");
        return;
    }
    handlers[which].fn(s, msg);
}
