/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/handoff_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/core/store/server_key.h"

/* ---- The line ---- */

/* One message on its way; the asker hears of it once, from the loop. */
struct on_way {
    struct pair *pair;
    struct rig *from, *to;
    struct handoff_ask ask;
    handoff_answered done;        /* NULL: the asker has given up */
    void *arg;
    enum fault fault;
    unsigned deliveries;
    struct loop_timer *timer;     /* of the asker's loop */
};

static struct on_way *late;

static void tell(struct on_way *way, const struct handoff_answer *answer)
{
    handoff_answered done = way->done;

    way->done = NULL;
    if (done)
        done(way->arg, answer);
}

static void way_free(struct on_way *way)
{
    loop_timer_free(way->timer);
    free(way);
}

static void deliver(struct on_way *way);

static void on_answer(void *arg, const struct handoff_answer *answer)
{
    struct on_way *way = arg;

    if (way->fault == FAULT_TWICE && way->deliveries == 1) {
        deliver(way);
        return;
    }
    if (way->fault == FAULT_ANSWER_LOST || way->fault == FAULT_SOURCE_AFTER)
        answer = NULL;
    tell(way, answer);
    if (way->fault != FAULT_SOURCE_AFTER) /* else: on_timer is not done with it */
        way_free(way);
    else
        way->deliveries = 100;
}

static void deliver(struct on_way *way)
{
    way->deliveries++;
    handoff_answer(way->to->broker, &way->from->broker->store, "tcp:test", &way->ask, on_answer, way);
}

static bool is_answered(const struct on_way *way)
{
    return way->deliveries == 100;
}

static void deliver_and_restart(struct on_way *way)
{
    deliver(way);
    while (!is_answered(way)) {
        uv_run(&way->to->uv, UV_RUN_NOWAIT);
        uv_run(&way->from->uv, UV_RUN_NOWAIT);
    }
    pair_restart(way->pair, way->to);
    way_free(way);
}

static void on_timer(void *arg)
{
    struct on_way *way = arg;

    switch (way->fault) {
    case FAULT_LATE:
        tell(way, NULL);
        assert_null(late);
        late = way;
        return;
    case FAULT_SOURCE_BEFORE:
    case FAULT_ASK_LOST:
        if (way->fault == FAULT_SOURCE_BEFORE)
            pair_restart(way->pair, way->to);
        tell(way, NULL);
        way_free(way);
        return;
    case FAULT_SOURCE_AFTER:
        deliver_and_restart(way);
        return;
    default:
        deliver(way);
    }
}

static int ask(void *line, const struct db_peer *source, const struct handoff_ask *what, handoff_answered done, void *arg)
{
    struct rig *from = line;
    struct pair *pair = from->beside == NULL ? NULL : VT_CONTAINER(from, struct pair, b);
    struct on_way *way = calloc(1, sizeof *way);

    assert_non_null(pair);
    assert_string_equal(source->address, "tcp:127.0.0.1:1");
    *way = (struct on_way){.pair = pair, .from = from, .to = from->beside, .ask = *what, .done = done, .arg = arg};
    if (++pair->asked == pair->at)
        way->fault = pair->fault;
    assert_int_equal(loop_timer_new(from->loop, &way->timer, on_timer, way), VT_OK);
    loop_timer_start(way->timer, 1);
    return VT_OK;
}

static const struct handoff_line line_ops = {.ask = ask};

void pair_late(struct pair *pair)
{
    struct on_way *way = late;

    late = NULL;
    if (!way)
        return;
    way->fault = FAULT_NONE;
    deliver(way);
    rig_turn(&pair->b, 60);
}

/* ---- The servers ---- */

static void open_line(struct rig *rig)
{
    /* Only b claims; a's line is there to say that it could. */
    handoff_set_line(rig->broker, &line_ops, rig);
}

void pair_restart(struct pair *pair, struct rig *rig)
{
    if (rig == &pair->a)
        peer_close(&pair->at_a);
    rig_restart(rig);
    open_line(rig);
    if (rig == &pair->b)
        handoff_start(rig->broker);
}

static void learn_key(struct rig *rig, char line[SERVER_KEY_LINE])
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ServerKeyShow show = VTPM__SERVER_KEY_SHOW__INIT;
    Vtpm__AdminReply *reply;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_SERVER_KEY_SHOW;
    request.server_key_show = &show;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    snprintf(line, SERVER_KEY_LINE, "%s", reply->server_key->line);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

struct told {
    int err;
    bool over;
    char text[400];
    uint8_t ticket[TICKET_LEN];
};

static void on_db(void *arg, int err)
{
    struct told *told = arg;

    told->err = err;
    told->over = true;
}

static void know(struct rig *rig, struct rig *other, const char *name)
{
    struct db_peer peer = {.address = "tcp:127.0.0.1:1"};
    struct told told = {0};
    char line[SERVER_KEY_LINE];

    learn_key(other, line);
    assert_int_equal(server_key_parse(&peer, line, NULL), VT_OK);
    snprintf(peer.name, sizeof peer.name, "%s", name);
    assert_int_equal(db_peer_add(rig->broker->db, &peer, NULL, on_db, &told), VT_OK);
    rig_wait(rig, &told.over);
    assert_int_equal(told.err, VT_OK);
}

void pair_make(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    late = NULL;
    rig_dirs(&pair->a);
    rig_dirs(&pair->b);
    pair->b.config.boot_id[0] = 77;
    rig_start(&pair->a);
    rig_start(&pair->b);
    pair->a.beside = &pair->b;
    pair->b.beside = &pair->a;
    know(&pair->a, &pair->b, "b");
    know(&pair->b, &pair->a, "a");
    open_line(&pair->a);
    open_line(&pair->b);
    rig_powered(&pair->a, &pair->at_a, "a", &pair->uuid);
    vt_uuid_text(pair->identity, &pair->uuid);
    peer_expect(&pair->at_a, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&pair->at_a, 2, FAKE_BUMP_VOLATILE, 2, 1);
    pair->n = 2;
}

static void check(struct rig *rig)
{
    struct db_check found;

    assert_int_equal(db_check(rig->broker->db, &found), VT_OK);
    if (!found.mac_ok || !found.chain_ok || !found.structure_ok)
        fail_msg("%s", found.text);
}

void pair_free(struct pair *pair)
{
    pair_late(pair);
    peer_close(&pair->at_a);
    check(&pair->a);
    check(&pair->b);
    rig_stop(&pair->b);
    rig_stop(&pair->a);
    assert_int_equal(fake.alive, 0);
    rig_free(&pair->b);
    rig_free(&pair->a);
}

void pair_fault(struct pair *pair, unsigned at, enum fault fault)
{
    pair->asked = 0;
    pair->at = at;
    pair->fault = fault;
}

/* ---- The steps ---- */

void pair_expect(struct pair *pair)
{
    struct db_arriving row = {.uuid = pair->uuid, .store = pair->a.broker->store, .sealed_len = SEAL_KEY_LEN};
    struct vt_key psk = {{1}};
    struct told told = {0};

    assert_int_equal(keys_seal_psk(pair->b.broker->keys, pair->identity, 1, &psk, row.sealed), VT_OK);
    assert_int_equal(db_expect(pair->b.broker->db, &row, NULL, on_db, &told), VT_OK);
    rig_wait(&pair->b, &told.over);
    assert_int_equal(told.err, VT_OK);
}

static void on_given(void *arg, int err, const char *text, const uint8_t *ticket)
{
    struct told *told = arg;

    snprintf(told->text, sizeof told->text, "%s", text);
    assert_int_equal(!err, ticket != NULL);
    if (ticket)
        memcpy(told->ticket, ticket, sizeof told->ticket);
    on_db(told, err);
}

static void on_done(void *arg, int err, const char *text)
{
    struct told *told = arg;

    snprintf(told->text, sizeof told->text, "%s", text);
    on_db(told, err);
}

static int wait_for(struct pair *pair, struct rig *rig, struct told *told)
{
    rig_wait(rig, &told->over);
    snprintf(pair->text, sizeof pair->text, "%s", told->text);
    assert_false(pair_lives(pair, &pair->a) && pair_lives(pair, &pair->b));
    return told->err;
}

int pair_give(struct pair *pair, struct rig *rig, const char *to)
{
    struct told told = {0};
    int err;

    handoff_give(rig->broker, &pair->uuid, to, "unix:pid=1,uid=0", on_given, &told);
    err = wait_for(pair, rig, &told);
    if (!err)
        memcpy(pair->ticket, told.ticket, sizeof pair->ticket);
    return err;
}

int pair_bring(struct pair *pair, struct rig *rig)
{
    struct told told = {0};

    handoff_bring(rig->broker, pair->ticket, sizeof pair->ticket, on_done, &told);
    return wait_for(pair, rig, &told);
}

int pair_claim(struct pair *pair, struct rig *rig)
{
    struct told told = {0};

    handoff_claim(rig->broker, pair->ticket, "unix:pid=2,uid=0", on_done, &told);
    return wait_for(pair, rig, &told);
}

void pair_resolve(struct pair *pair)
{
    handoff_start(pair->b.broker);
    for (int i = 0; i < 200 && !vt_list_empty(&pair->b.broker->handoffs); i++)
        rig_turn(&pair->b, 10);
    assert_true(vt_list_empty(&pair->b.broker->handoffs));
    assert_false(pair_lives(pair, &pair->a) && pair_lives(pair, &pair->b));
}

bool pair_lives(const struct pair *pair, const struct rig *rig)
{
    struct db_instance row;
    int err = db_instance_get(rig->broker->db, &pair->uuid, &row);

    assert_true(err == VT_OK || err == VT_ENOTFOUND);
    return !err && row.life == DB_LIVE;
}

int pair_go_on(struct pair *pair)
{
    struct seen seen;
    int err;

    if (pair->at_a.closed || !pair->at_a.session) {
        uint8_t stream[16];

        memcpy(stream, pair->at_a.stream, sizeof stream);
        peer_close(&pair->at_a);
        peer_open(&pair->a, &pair->at_a, pair->identity);
        memcpy(pair->at_a.stream, stream, sizeof stream);
        err = peer_attach(&pair->at_a, NULL);
        if (err)
            return err;
    }
    err = peer_execute(&pair->at_a, pair->n + 1, FAKE_BUMP_VOLATILE, &seen);
    pair->n += !err;
    return err;
}

int pair_serves(struct pair *pair, struct rig *rig, uint64_t volatile_count, uint64_t permanent_count)
{
    struct peer peer;
    int err;

    peer_open(rig, &peer, pair->identity);
    err = peer_attach(&peer, NULL);
    if (!err)
        peer_expect(&peer, 1, FAKE_READ, volatile_count, permanent_count);
    peer_close(&peer);
    return err;
}
