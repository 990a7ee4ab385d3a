/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/core_rig.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/core/instance/instance.h"
#include "server/wire/cursor.h"

#define PATIENCE_MS 120000

/* ---- Loop ---- */

struct patience {
    const bool *flag; /* may be NULL */
    bool over, enough;
};

static void on_tick(uv_timer_t *timer)
{
    struct patience *patience = timer->data;

    patience->over = patience->enough = true;
}

static void on_tick_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Before each poll, so that no poll waits for what has come. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct patience *patience = prepare->data;

    if (patience->flag && *patience->flag)
        patience->enough = true;
    if (patience->enough)
        uv_stop(prepare->loop);
}

/* Until *flag or the time is over: true then. */
static bool turn(struct rig *rig, const bool *flag, unsigned ms)
{
    struct patience patience = {.flag = flag};
    uv_timer_t *timer = malloc(sizeof *timer);
    uv_prepare_t *prepare = malloc(sizeof *prepare);

    uv_timer_init(&rig->uv, timer);
    uv_prepare_init(&rig->uv, prepare);
    timer->data = prepare->data = &patience;
    uv_update_time(&rig->uv);
    uv_timer_start(timer, on_tick, ms, 0);
    uv_prepare_start(prepare, on_prepare);
    while (!patience.enough && !(flag && *flag)) {
        uv_run(&rig->uv, rig->beside ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (rig->beside && !uv_run(&rig->beside->uv, UV_RUN_NOWAIT))
            usleep(50);
    }
    uv_close((uv_handle_t *)timer, on_tick_closed);
    uv_close((uv_handle_t *)prepare, on_tick_closed);
    return patience.over;
}

void rig_wait(struct rig *rig, const bool *flag)
{
    if (turn(rig, flag, PATIENCE_MS) && !*flag)
        fail_msg("nothing came in %d s", PATIENCE_MS / 1000);
}

void rig_turn(struct rig *rig, unsigned ms)
{
    turn(rig, NULL, ms);
}

/* ---- Directories and broker ---- */

void rig_dirs(struct rig *rig)
{
    struct vt_why why = {0};
    char spec[120];

    memset(rig, 0, sizeof *rig);
    fake_reset();
    assert_int_equal(cr_init(), VT_OK);
    snprintf(rig->dir, sizeof rig->dir, "/tmp/vtpm-core-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->data, sizeof rig->data, "%s/data", rig->dir);
    snprintf(rig->run, sizeof rig->run, "%s/run", rig->dir);
    snprintf(rig->key, sizeof rig->key, "%s/key", rig->dir);
    snprintf(spec, sizeof spec, "keyfile:%s", rig->key);
    assert_int_equal(keyslot_parse(&rig->spec, spec, &why), VT_OK);
    if (store_init(rig->data, &rig->spec, 1, rig->recovery, &why))
        fail_msg("%s", why.text);
    rig->config = (struct broker_config){.data_dir = rig->data,
                                         .runtime_dir = rig->run,
                                         .engine_path = "fake",
                                         .keyslots = &rig->spec,
                                         .keyslot_count = 1,
                                         .boot_id = {1, 2, 3}};
    assert_int_equal(uv_loop_init(&rig->uv), 0);
    assert_int_equal(loop_new(&rig->loop, &rig->uv), VT_OK);
}

void rig_start(struct rig *rig)
{
    struct vt_why why = {0};

    if (broker_start(&rig->broker, rig->loop, &rig->config, &why))
        fail_msg("%s", why.text);
}

void rig_make(struct rig *rig)
{
    rig_dirs(rig);
    rig_start(rig);
}

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

void rig_stop(struct rig *rig)
{
    bool drained = false;

    if (!rig->broker)
        return;
    broker_drain(rig->broker, on_drained, &drained);
    rig_wait(rig, &drained);
    assert_int_equal(rig->broker->session_count, 0);
    broker_free(rig->broker);
    rig->broker = NULL;
    rig_turn(rig, 1);
    if (!rig->beside) /* whose engines are counted too */
        assert_int_equal(fake.alive, 0);
}

void rig_restart(struct rig *rig)
{
    rig_stop(rig);
    rig_start(rig);
}

void rig_reboot(struct rig *rig)
{
    rig_stop(rig);
    rig->config.boot_id[15]++;
    rig_start(rig);
}

void rig_free(struct rig *rig)
{
    char command[120];
    int rc;

    rig_stop(rig);
    loop_free(rig->loop);
    for (int i = 0; i < 8 && (rc = uv_loop_close(&rig->uv)) == UV_EBUSY; i++)
        uv_run(&rig->uv, UV_RUN_NOWAIT);
    assert_int_equal(rc, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", rig->dir);
    assert_int_equal(system(command), 0);
}

/* ---- The store, from outside ---- */

static sqlite3 *locker;

static sqlite3 *foreign(const struct rig *rig)
{
    char path[120];
    sqlite3 *sq;

    snprintf(path, sizeof path, "%s/vtpm.db", rig->data);
    assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
    sqlite3_busy_timeout(sq, 5000);
    return sq;
}

static VT_PRINTF(4, 0) int64_t
    vask(const struct rig *rig, char *out, size_t size, const char *fmt, va_list args)
{
    sqlite3 *sq = foreign(rig);
    char sql[400];
    sqlite3_stmt *st;
    int64_t result = -1;

    vsnprintf(sql, sizeof sql, fmt, args);
    if (sqlite3_prepare_v2(sq, sql, -1, &st, NULL))
        fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
    if (sqlite3_step(st) == SQLITE_ROW) {
        result = sqlite3_column_int64(st, 0);
        snprintf(out, size, "%s", sqlite3_column_text(st, 0) ? (const char *)sqlite3_column_text(st, 0) : "");
    }
    if (sqlite3_finalize(st))
        fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
    sqlite3_close(sq);
    return result;
}

int64_t rig_sql(const struct rig *rig, const char *fmt, ...)
{
    char text[400] = "";
    va_list args;
    int64_t result;

    va_start(args, fmt);
    result = vask(rig, text, sizeof text, fmt, args);
    va_end(args);
    return result;
}

void rig_ask(const struct rig *rig, char *out, size_t size, const char *fmt, ...)
{
    va_list args;

    out[0] = '\0';
    va_start(args, fmt);
    vask(rig, out, size, fmt, args);
    va_end(args);
}

void rig_state(const struct rig *rig, const struct vt_uuid *uuid, char out[24])
{
    char text[VT_UUID_TEXT];

    vt_uuid_text(text, uuid);
    rig_ask(rig, out, 24, "SELECT state FROM inventory WHERE uuid = '%s'", text);
}

void rig_lock(struct rig *rig)
{
    locker = foreign(rig);
    assert_int_equal(sqlite3_exec(locker, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
}

void rig_unlock(void)
{
    assert_int_equal(sqlite3_exec(locker, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(locker);
}

/* ---- A shim ---- */

static void on_send(void *io, const Vtpm__Message *msg)
{
    struct peer *peer = io;
    size_t len = vtpm__message__get_packed_size(msg);
    uint8_t *bytes = malloc(len + 1);

    vtpm__message__pack(msg, bytes);
    if (peer->msg)
        vtpm__message__free_unpacked(peer->msg, NULL);
    peer->msg = vtpm__message__unpack(NULL, len, bytes);
    free(bytes);
    assert_non_null(peer->msg);
    assert_false(peer->closed);
    peer->answered = true;
}

static void on_close(void *io, int err, const char *text)
{
    struct peer *peer = io;

    assert_false(peer->closed);
    assert_true(text && *text);
    peer->closed = peer->answered = true;
    peer->close_err = err;
    snprintf(peer->close_text, sizeof peer->close_text, "%s", text);
}

static const struct session_io peer_ops = {.send = on_send, .close = on_close};

static void on_ready(void *io)
{
    struct peer *peer = io;

    peer->ready = true;
}

static void open_as(struct rig *rig, struct peer *peer, const char *identity, const struct channel_peer *who)
{
    *peer = (struct peer){.rig = rig};
    assert_int_equal(cr_os_random(peer->stream, sizeof peer->stream), VT_OK);
    assert_int_equal(session_new(&peer->session, rig->broker, identity, who, &peer_ops, peer), VT_OK);
    session_on_ready(peer->session, on_ready);
}

void peer_open(struct rig *rig, struct peer *peer, const char *identity)
{
    const struct channel_peer who = {.text = "unix:pid=1,uid=0"};

    open_as(rig, peer, identity, &who);
}

void peer_open_from(struct rig *rig, struct peer *peer, const char *identity, const struct vt_domain *domain)
{
    struct vt_domain gone = *domain; /* borrowed during the call only */
    struct channel_peer who = {.domain = &gone};
    char text[32];

    snprintf(text, sizeof text, "vchan:%u", (unsigned)domain->domid);
    who.text = text;
    open_as(rig, peer, identity, &who);
    memset(&gone, 0xff, sizeof gone);
}

void peer_close(struct peer *peer)
{
    if (peer->session)
        session_closed(peer->session);
    peer->session = NULL;
    if (peer->msg)
        vtpm__message__free_unpacked(peer->msg, NULL);
    peer->msg = NULL;
}

void peer_send(struct peer *peer, const Vtpm__Message *msg)
{
    peer->answered = peer->ready = false;
    session_message(peer->session, msg);
}

void peer_wait(struct peer *peer)
{
    rig_wait(peer->rig, &peer->answered);
    /* A session that answered takes the next message. */
    assert_true(peer->closed || session_ready(peer->session));
}

static int error_of(const struct peer *peer)
{
    if (peer->closed)
        return -peer->close_err;
    return peer->msg->body_case == VTPM__MESSAGE__BODY_ERROR ? (int)peer->msg->error->code : 0;
}

/* The epoch's memory is the caller's. */
static void fill_epoch(Vtpm__GuestEpoch *epoch, uint8_t boot[16], char name[80], const struct peer *peer,
                       struct guest guest)
{
    vtpm__guest_epoch__init(epoch);
    memset(boot, 0, 16);
    boot[0] = guest.boot;
    epoch->boot_id = (ProtobufCBinaryData){.data = boot, .len = 16};
    epoch->has_domid = guest.domid >= 0;
    epoch->domid = guest.domid >= 0 ? (uint32_t)guest.domid : 0;
    snprintf(name, 80, "%s", peer->domain ? peer->domain : "");
    epoch->domain = name;
}

static int attach(struct peer *peer, const struct vt_uuid *uuid, Vtpm__GuestEpoch *epoch)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Attach attach = VTPM__ATTACH__INIT;
    char front_end[] = "socket";
    struct vt_uuid copy;

    if (uuid) {
        copy = *uuid;
        attach.uuid = (ProtobufCBinaryData){.data = copy.bytes, .len = sizeof copy.bytes};
    }
    attach.stream = (ProtobufCBinaryData){.data = peer->stream, .len = sizeof peer->stream};
    attach.front_end = front_end;
    attach.guest = epoch;
    msg.body_case = VTPM__MESSAGE__BODY_ATTACH;
    msg.attach = &attach;
    peer_send(peer, &msg);
    peer_wait(peer);
    if (!error_of(peer))
        assert_int_equal(peer->msg->body_case, VTPM__MESSAGE__BODY_ATTACHED);
    return error_of(peer);
}

int peer_attach(struct peer *peer, const struct vt_uuid *uuid)
{
    return attach(peer, uuid, NULL);
}

int peer_attach_for(struct peer *peer, const struct vt_uuid *uuid, struct guest guest)
{
    Vtpm__GuestEpoch epoch;
    uint8_t boot[16];
    char name[80];

    fill_epoch(&epoch, boot, name, peer, guest);
    return attach(peer, uuid, &epoch);
}

void peer_on(struct rig *rig, struct peer *peer, const struct vt_uuid *uuid)
{
    char identity[VT_UUID_TEXT];

    vt_uuid_text(identity, uuid);
    peer_open(rig, peer, identity);
    if (peer_attach(peer, NULL))
        fail_msg("%s", peer->close_text);
    assert_memory_equal(peer->msg->attached->uuid.data, uuid->bytes, sizeof uuid->bytes);
}

int peer_power_on(struct peer *peer, Vtpm__Startup startup, struct guest guest, bool *acted)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerOn on = VTPM__POWER_ON__INIT;
    Vtpm__GuestEpoch epoch;
    uint8_t boot[16];
    char name[80];

    fill_epoch(&epoch, boot, name, peer, guest);
    on.startup = startup;
    on.guest = &epoch;
    msg.body_case = VTPM__MESSAGE__BODY_POWER_ON;
    msg.power_on = &on;
    peer_send(peer, &msg);
    peer_wait(peer);
    *acted = false;
    if (error_of(peer))
        return error_of(peer);
    assert_int_equal(peer->msg->body_case, VTPM__MESSAGE__BODY_POWER_RESULT);
    *acted = peer->msg->power_result->acted;
    return 0;
}

int peer_detach(struct peer *peer, bool off)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Detach detach = VTPM__DETACH__INIT;

    detach.off = off;
    msg.body_case = VTPM__MESSAGE__BODY_DETACH;
    msg.detach = &detach;
    peer_send(peer, &msg);
    return peer->closed ? -peer->close_err : 0;
}

int peer_platform_init(struct peer *peer)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Platform platform = VTPM__PLATFORM__INIT;

    platform.act_case = VTPM__PLATFORM__ACT_INIT;
    platform.init = true;
    msg.body_case = VTPM__MESSAGE__BODY_PLATFORM;
    msg.platform = &platform;
    peer_send(peer, &msg);
    peer_wait(peer);
    if (error_of(peer))
        return error_of(peer);
    assert_int_equal(peer->msg->body_case, VTPM__MESSAGE__BODY_PLATFORM_RESULT);
    assert_true(peer->msg->platform_result->established);
    return 0;
}

void peer_ask(struct peer *peer, uint64_t n, uint32_t ordinal)
{
    peer_ask_at(peer, n, ordinal, 0);
}

void peer_ask_at(struct peer *peer, uint64_t n, uint32_t ordinal, uint32_t locality)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Execute execute = VTPM__EXECUTE__INIT;
    uint8_t command[10];
    struct wr w = wr_to(command, sizeof command);

    wr_put16(&w, 0x00C1);
    wr_put32(&w, sizeof command);
    wr_put32(&w, ordinal);
    execute.stream = (ProtobufCBinaryData){.data = peer->stream, .len = sizeof peer->stream};
    execute.n = n;
    execute.locality = locality;
    execute.command = (ProtobufCBinaryData){.data = command, .len = sizeof command};
    msg.body_case = VTPM__MESSAGE__BODY_EXECUTE;
    msg.execute = &execute;
    peer_send(peer, &msg);
}

int peer_take(struct peer *peer, struct seen *seen)
{
    const ProtobufCBinaryData *response;
    struct rd r;

    memset(seen, 0, sizeof *seen);
    peer_wait(peer);
    if (error_of(peer))
        return error_of(peer);
    assert_int_equal(peer->msg->body_case, VTPM__MESSAGE__BODY_RESPONSE);
    response = &peer->msg->response->response;
    assert_true(response->len >= 10 && response->len <= sizeof seen->bytes);
    seen->len = response->len;
    memcpy(seen->bytes, response->data, response->len);
    r = rd_from(seen->bytes, seen->len);
    assert_int_equal(rd_get16(&r), 0x00C4);
    assert_int_equal(rd_get32(&r), seen->len);
    seen->rc = rd_get32(&r);
    if (seen->len == FAKE_RESPONSE) {
        seen->volatile_count = rd_get64(&r);
        seen->permanent_count = rd_get64(&r);
    }
    return 0;
}

int peer_execute(struct peer *peer, uint64_t n, uint32_t ordinal, struct seen *seen)
{
    int err;

    peer_ask(peer, n, ordinal);
    err = peer_take(peer, seen);
    if (!err)
        assert_int_equal(peer->msg->response->n, n);
    else if (!peer->closed)
        assert_int_equal(peer->msg->error->n, n);
    return err;
}

void peer_expect(struct peer *peer, uint64_t n, uint32_t ordinal, uint64_t volatile_count,
                 uint64_t permanent_count)
{
    struct seen seen;
    int err = peer_execute(peer, n, ordinal, &seen);

    if (err)
        fail_msg("n=%d: error %d: %s", (int)n, err, peer->closed ? peer->close_text : peer->msg->error->text);
    assert_int_equal(seen.rc, 0);
    assert_int_equal(seen.volatile_count, volatile_count);
    assert_int_equal(seen.permanent_count, permanent_count);
}

void peer_expect_fail(struct peer *peer, uint64_t n, uint32_t ordinal)
{
    static const uint8_t fail[] = {0x00, 0xC4, 0, 0, 0, 10, 0, 0, 0, 9};
    struct seen seen;

    assert_int_equal(peer_execute(peer, n, ordinal, &seen), 0);
    assert_int_equal(seen.len, sizeof fail);
    assert_memory_equal(seen.bytes, fail, sizeof fail);
}

/* ---- An administrator ---- */

static void on_reply(void *arg, const Vtpm__AdminReply *reply)
{
    struct admin_wait *wait = arg;
    size_t len = vtpm__admin_reply__get_packed_size(reply);
    uint8_t *bytes = malloc(len + 1);

    assert_false(wait->done);
    assert_int_equal(vtpm__admin_reply__pack(reply, bytes), len);
    wait->reply = vtpm__admin_reply__unpack(NULL, len, bytes);
    free(bytes);
    assert_non_null(wait->reply);
    assert_true(!wait->reply->err || wait->reply->text[0]);
    wait->done = true;
}

void admin_begin(struct rig *rig, struct admin_wait *wait, enum admin_role role,
                 const Vtpm__AdminRequest *request)
{
    *wait = (struct admin_wait){0};
    broker_admin(rig->broker, role, "uid=0,pid=1", request, on_reply, wait);
}

Vtpm__AdminReply *admin_ask(struct rig *rig, enum admin_role role, const Vtpm__AdminRequest *request)
{
    struct admin_wait wait;

    admin_begin(rig, &wait, role, request);
    rig_wait(rig, &wait.done);
    return wait.reply;
}

static int ask_for_err(struct rig *rig, const Vtpm__AdminRequest *request)
{
    Vtpm__AdminReply *reply = admin_ask(rig, ADMIN_FULL, request);
    int err = reply->err;

    if (!err != !*reply->text)
        fail_msg("%d: %s", err, reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static int binding(struct rig *rig, Vtpm__AdminRequest__VerbCase verb, const char *instance, const char *peer)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Binding msg = VTPM__BINDING__INIT;
    char name[80], text[100];

    snprintf(name, sizeof name, "%s", instance);
    snprintf(text, sizeof text, "%s", peer ? peer : "");
    msg.instance = name;
    msg.peer = text;
    request.verb_case = verb;
    request.binding_add = &msg;
    return ask_for_err(rig, &request);
}

int admin_bind(struct rig *rig, const char *instance, const char *peer)
{
    return binding(rig, VTPM__ADMIN_REQUEST__VERB_BINDING_ADD, instance, peer);
}

int admin_unbind(struct rig *rig, const char *instance, const char *peer)
{
    return binding(rig, VTPM__ADMIN_REQUEST__VERB_BINDING_REMOVE, instance, peer);
}

int admin_measured(struct rig *rig, const char *instance, unsigned pcr, uint8_t first, bool always)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Measurement measure = VTPM__MEASUREMENT__INIT;
    uint8_t digest[20] = {first};
    char name[80], label[] = "/boot/vmlinuz";

    snprintf(name, sizeof name, "%s", instance);
    measure.instance = name;
    measure.pcr = pcr;
    measure.digest = (ProtobufCBinaryData){.data = digest, .len = sizeof digest};
    measure.always = always;
    measure.size = 4711;
    measure.label = label;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_MEASURE;
    request.measure = &measure;
    return ask_for_err(rig, &request);
}

int admin_require(struct rig *rig, const char *instance, bool required)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__RequireMeasure require = VTPM__REQUIRE_MEASURE__INIT;
    char name[80];

    snprintf(name, sizeof name, "%s", instance);
    require.instance = name;
    require.required = required;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_REQUIRE_MEASURE;
    request.require_measure = &require;
    return ask_for_err(rig, &request);
}

int admin_ref(struct rig *rig, Vtpm__AdminRequest__VerbCase verb, const char *instance)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    char name[100];
    int err;

    snprintf(name, sizeof name, "%s", instance);
    ref.instance = name;
    request.verb_case = verb;
    request.show = &ref; /* all members are pointers */
    reply = admin_ask(rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

int admin_make(struct rig *rig, const char *name, const char *uuid, const char *profile, const char *group,
               struct vt_uuid *made)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__AdminReply *reply;
    char texts[4][200];
    int err;

    snprintf(texts[0], sizeof texts[0], "%s", name);
    snprintf(texts[1], sizeof texts[1], "%s", uuid);
    snprintf(texts[2], sizeof texts[2], "%s", profile);
    snprintf(texts[3], sizeof texts[3], "%s", group);
    create.name = texts[0];
    create.uuid = texts[1];
    create.profile = texts[2];
    create.group = texts[3];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    err = reply->err;
    if (!err) {
        assert_int_equal(reply->n_instances, 1);
        assert_string_equal(reply->instances[0]->name, name);
        assert_int_equal(reply->credential->key.len, 32);
        assert_string_equal(reply->credential->identity, reply->instances[0]->uuid);
        assert_true(vt_uuid_parse(made, reply->instances[0]->uuid));
    }
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

void rig_create(struct rig *rig, const char *name, struct vt_uuid *uuid)
{
    assert_int_equal(admin_make(rig, name, "", "", "", uuid), VT_OK);
}

void rig_powered(struct rig *rig, struct peer *peer, const char *name, struct vt_uuid *uuid)
{
    bool acted;

    rig_create(rig, name, uuid);
    peer_on(rig, peer, uuid);
    assert_int_equal(peer_power_on(peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_true(acted);
}
