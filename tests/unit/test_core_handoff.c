/* SPDX-License-Identifier: Apache-2.0 */
/* docs/moving.md, "Live migration": whatever fails, exactly one server has the instance afterwards. */
#include "tests/unit/handoff_rig.h"

#include <stdio.h>

#include "db/sqlite_priv.h"
#include "server/base/alloc.h"
#include "server/core/handoff/door.h"
#include "server/core/store/server_key.h"

static struct pair pair;

static int make(void **unused)
{
    (void)unused;
    pair_make(&pair);
    return 0;
}

static int unmake(void **unused)
{
    (void)unused;
    pair_free(&pair);
    return 0;
}

static void expect_at(struct rig *there, struct rig *not_there, uint64_t volatile_count)
{
    assert_true(pair_lives(&pair, there));
    assert_false(pair_lives(&pair, not_there));
    assert_int_equal(pair_serves(&pair, there, volatile_count, 1), 0);
    assert_int_not_equal(pair_serves(&pair, not_there, 0, 0), 0);
}

static void give_and_bring(void)
{
    pair_expect(&pair);
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    if (pair_bring(&pair, &pair.b))
        fail_msg("%s", pair.text);
    assert_true(pair_lives(&pair, &pair.a));
}

/* ---- The usual course ---- */

static void test_hand_off__nothing_fails__goes_on_at_the_target_with_volatile_state(void **unused)
{
    (void)unused;
    give_and_bring();
    assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM instance"), 0);
    assert_false(pair.at_a.closed);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    /* Its shim at the source is cut off, and told. */
    assert_true(pair.at_a.closed);
    assert_int_equal(pair.at_a.close_err, VT_EMOVED);
    assert_int_equal(pair_go_on(&pair), -VT_EMOVED);
    assert_non_null(strstr(pair.at_a.close_text, "handed over to b at 20"));
    assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM arriving"), 0);
    expect_at(&pair.b, &pair.a, 2);
    assert_int_equal(rig_sql(&pair.a, "SELECT count(*) FROM events WHERE kind IN ('ticket', 'export')"), 2);
    assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM events WHERE kind = 'import'"), 1);
}

static void test_hand_off__claimed_again__is_there_already(void **unused)
{
    (void)unused;
    give_and_bring();
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_OK);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    pair_restart(&pair, &pair.b);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    expect_at(&pair.b, &pair.a, 2);
    /* And once it has gone on there, that ticket is of the past. */
    assert_int_equal(pair_bring(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "moved on"));
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    expect_at(&pair.b, &pair.a, 2);
}

static void test_hand_off__and_back__comes_home_without_being_expected(void **unused)
{
    uint8_t old[TICKET_LEN];

    (void)unused;
    give_and_bring();
    memcpy(old, pair.ticket, sizeof old);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    /* The line of the test goes one way: what comes back, comes as a file. */
    assert_int_equal(pair_bring(&pair, &pair.a), VT_EMOVED); /* its first ticket, where it was given */
    assert_non_null(strstr(pair.text, "handed over to b"));
}

/* ---- A ticket that is good for nothing ---- */

static void test_ticket__the_guest_went_on__void(void **unused)
{
    (void)unused;
    give_and_bring();
    assert_int_equal(pair_go_on(&pair), 0);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "a refuses: the instance has moved on"));
    assert_int_equal(pair_bring(&pair, &pair.b), VT_ECONFLICT);
    assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM arriving WHERE ticket IS NULL"), 1);
    assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM events WHERE kind = 'hand-off'"), 1);
    assert_int_equal(pair_go_on(&pair), 0);
    expect_at(&pair.a, &pair.b, 4);
}

static void test_ticket__its_source_was_booted__void(void **unused)
{
    (void)unused;
    give_and_bring();
    peer_close(&pair.at_a);
    rig_reboot(&pair.a);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "PCRs"));
    assert_true(pair_lives(&pair, &pair.a));
    /* And one is given only of what is whole. */
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_EPOWER);
}

static void test_ticket__its_source_was_restarted__good(void **unused)
{
    (void)unused;
    give_and_bring();
    pair_restart(&pair, &pair.a);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_OK);
    pair_restart(&pair, &pair.a);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    expect_at(&pair.b, &pair.a, 2);
}

static void rewrite(const struct ticket *ticket, const struct keys *keys)
{
    ticket_write(ticket, keys, pair.ticket);
}

static void test_ticket__over_or_altered_or_another_s__refused(void **unused)
{
    struct ticket ticket, changed;

    (void)unused;
    give_and_bring();
    assert_int_equal(ticket_read(&ticket, pair.ticket, TICKET_LEN, NULL), VT_OK);
    assert_true(ticket_is_own(pair.ticket, pair.a.broker->keys) && !ticket_is_own(pair.ticket, pair.b.broker->keys));
    changed = ticket;
    changed.until = 1000;
    rewrite(&changed, pair.a.broker->keys);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "time is over"));
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    rewrite(&ticket, pair.b.broker->keys); /* not made by the source */
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "altered"));
    changed = ticket;
    changed.target = (struct vt_uuid){{5}};
    rewrite(&changed, pair.a.broker->keys);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "for store 05"));
    changed.target = ticket.source;
    rewrite(&changed, pair.a.broker->keys);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "--migrate-to"));
    rewrite(&ticket, pair.a.broker->keys);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
}

/* What the source is asked with is looked at there, too: a peer cannot claim by another's ticket. */
static void on_answer(void *arg, const struct handoff_answer *answer)
{
    *(int *)arg = answer->err;
    assert_null(answer->bundle);
}

static void test_ticket__another_peer_or_none_asks__refused(void **unused)
{
    struct handoff_ask what = {.claim = true};
    struct ticket ticket;
    struct vt_uuid stranger = {{9}};
    int err = 1;

    (void)unused;
    give_and_bring();
    memcpy(what.ticket, pair.ticket, TICKET_LEN);
    handoff_answer(pair.a.broker, &stranger, "tcp:x", &what, on_answer, &err);
    assert_int_equal(err, VT_ECONFLICT);
    assert_int_equal(ticket_read(&ticket, pair.ticket, TICKET_LEN, NULL), VT_OK);
    ticket.target = stranger;
    ticket_write(&ticket, pair.a.broker->keys, what.ticket);
    handoff_answer(pair.a.broker, &stranger, "tcp:x", &what, on_answer, &err);
    assert_int_equal(err, VT_EPERM);
    memset(what.ticket, 0, TICKET_LEN);
    handoff_answer(pair.a.broker, &pair.b.broker->store, "tcp:x", &what, on_answer, &err);
    assert_int_equal(err, VT_ECONFLICT);
    assert_true(pair_lives(&pair, &pair.a));
}

static void test_bring__not_expected_or_no_room__refused_and_the_source_serves(void **unused)
{
    struct vt_uuid other;

    (void)unused;
    assert_int_equal(pair_give(&pair, &pair.a, "b"), VT_OK);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_EPERM);
    assert_non_null(strstr(pair.text, "not expected from a"));
    assert_int_equal(pair_claim(&pair, &pair.b), VT_EPERM);
    pair_expect(&pair);
    rig_create(&pair.b, "a", &other);
    assert_int_equal(pair_bring(&pair, &pair.b), VT_EEXISTS);
    assert_non_null(strstr(pair.text, "another instance is called a"));
    assert_int_equal(pair_go_on(&pair), 0);
    assert_int_equal(pair_give(&pair, &pair.a, "nobody"), VT_ENOTFOUND);
    expect_at(&pair.a, &pair.b, 3);
}

/* ---- Snapshots ---- */

static void test_snapshot__nothing_happened__loads_at_home(void **unused)
{
    uint8_t first[TICKET_LEN];

    (void)unused;
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    memcpy(first, pair.ticket, TICKET_LEN);
    assert_int_equal(pair_give(&pair, &pair.a, "b"), VT_OK);
    assert_memory_not_equal(first, pair.ticket, TICKET_LEN);
    assert_int_equal(pair_bring(&pair, &pair.a), VT_OK);
    memcpy(pair.ticket, first, TICKET_LEN);
    pair_restart(&pair, &pair.a);
    assert_int_equal(pair_bring(&pair, &pair.a), VT_OK);
    assert_int_equal(pair_claim(&pair, &pair.a), VT_OK);
    assert_int_equal(pair_go_on(&pair), 0);
    assert_int_equal(pair_bring(&pair, &pair.a), VT_ECONFLICT);
    assert_non_null(strstr(pair.text, "moved on since"));
    pair.ticket[80]++;
    assert_int_equal(pair_bring(&pair, &pair.a), VT_EAUTH);
    pair.ticket[0] = 0;
    assert_int_equal(pair_bring(&pair, &pair.a), VT_EDAMAGED);
}

/* ---- Every message fails in every way ---- */

/* Messages of the course: the look, the claim. */
enum { MESSAGES = 2 };

static void look_and_claim(void)
{
    if (!pair_bring(&pair, &pair.b))
        (void)!pair_claim(&pair, &pair.b);
}

static void begin(unsigned at, enum fault fault)
{
    pair_expect(&pair);
    assert_int_equal(pair_give(&pair, &pair.a, "b"), VT_OK);
    pair_fault(&pair, at, fault);
    look_and_claim();
    pair_fault(&pair, 0, FAULT_NONE);
}

static void again(void)
{
    pair_free(&pair);
    pair_make(&pair);
}

/* QEMU gave up, and the guest goes on at the source, if it can: else the target has it, and by itself. */
static void test_hand_off__a_message_fails_and_the_guest_stays__exactly_one_serves(void **unused)
{
    unsigned stayed = 0, went = 0;

    (void)unused;
    for (unsigned at = 1; at <= MESSAGES; at++) {
        for (int fault = FAULT_ASK_LOST; fault < FAULT_COUNT; fault++, again()) {
            begin(at, fault);
            if (pair_go_on(&pair) == 0) {
                stayed++;
                pair_late(&pair);
                assert_int_not_equal(pair_claim(&pair, &pair.b), VT_OK);
                pair_resolve(&pair);
                expect_at(&pair.a, &pair.b, 3);
            } else {
                went++;
                pair_late(&pair);
                pair_resolve(&pair);
                expect_at(&pair.b, &pair.a, 2);
            }
            assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM arriving WHERE ticket IS NOT NULL"), 0);
        }
    }
    /* Which, the table says: a look that came twice is none that failed. */
    assert_int_equal(stayed, 5 + 3);
    assert_int_equal(went, 1 + 3);
}

/* The guest goes on at the target: its shim asks until it knows. */
static void test_hand_off__a_message_fails_and_the_guest_goes__exactly_one_serves(void **unused)
{
    (void)unused;
    for (unsigned at = 1; at <= MESSAGES; at++) {
        for (int fault = FAULT_ASK_LOST; fault < FAULT_COUNT; fault++, again()) {
            begin(at, fault);
            if (fault % 2)
                pair_late(&pair);
            look_and_claim();
            assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
            pair_late(&pair);
            expect_at(&pair.b, &pair.a, 2);
            assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM arriving"), 0);
        }
    }
}

/* The target's server ends with each message on its way; nobody brings the ticket again. */
static void test_hand_off__the_target_is_started_anew__exactly_one_serves(void **unused)
{
    (void)unused;
    for (unsigned at = 1; at <= MESSAGES; at++) {
        for (int fault = FAULT_ASK_LOST; fault < FAULT_COUNT; fault++, again()) {
            begin(at, fault);
            pair_restart(&pair, &pair.b);
            pair_late(&pair);
            pair_resolve(&pair);
            if (pair_lives(&pair, &pair.b)) {
                expect_at(&pair.b, &pair.a, 2);
            } else {
                assert_int_equal(pair_go_on(&pair), 0);
                expect_at(&pair.a, &pair.b, 3);
                pair_resolve(&pair);
                expect_at(&pair.a, &pair.b, 3);
            }
        }
    }
}

/* ---- Stores that fail ---- */

/* The next commit, and not that of an event which is still on its way. */
static void fail_next(struct rig *rig, int err, bool after)
{
    db_drain(rig->broker->db);
    db_test_fail_commits(rig->broker->db, 1, err, after);
}

static void test_claim__the_source_cannot_write__it_serves_on(void **unused)
{
    (void)unused;
    give_and_bring();
    fail_next(&pair.a, VT_EUNAVAILABLE, false);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE);
    assert_true(pair_lives(&pair, &pair.a));
    assert_int_equal(pair_go_on(&pair), 0);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_ECONFLICT);
    expect_at(&pair.a, &pair.b, 3);
}

/* It was written, and the source does not know: what is on disk decides. */
static void test_claim__the_source_s_commit_is_of_unknown_outcome__one_serves(void **unused)
{
    (void)unused;
    for (int after = 0; after < 2; after++, again()) {
        give_and_bring();
        fail_next(&pair.a, VT_EUNKNOWN, after);
        for (int i = 0; i < 5 && pair_claim(&pair, &pair.b); i++)
            rig_turn(&pair.b, 20);
        expect_at(&pair.b, &pair.a, 2);
    }
}

/* Each of the target's two commits fails in turn. */
static void test_claim__the_target_cannot_write__not_lost(void **unused)
{
    (void)unused;
    for (int restart = 0; restart < 2; restart++, again()) {
        give_and_bring();
        fail_next(&pair.b, VT_EUNAVAILABLE, false);
        assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE);
        assert_true(pair_lives(&pair, &pair.a)); /* it was not even asked */
        assert_int_equal(pair.asked, 1);
        pair_fault(&pair, 1, FAULT_ANSWER_LOST);
        assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE);
        assert_false(pair_lives(&pair, &pair.a));
        fail_next(&pair.b, VT_EUNAVAILABLE, false);
        assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE);
        assert_false(pair_lives(&pair, &pair.b));
        if (restart)
            pair_restart(&pair, &pair.b);
        pair_resolve(&pair);
        expect_at(&pair.b, &pair.a, 2);
    }
}

static void test_claim__the_import_is_of_unknown_outcome__comes_once(void **unused)
{
    (void)unused;
    for (int after = 0; after < 2; after++, again()) {
        give_and_bring();
        pair_fault(&pair, 1, FAULT_ANSWER_LOST);
        assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE);
        /* The row's commit is not needed: the resolver's claim writes none. */
        fail_next(&pair.b, VT_EUNKNOWN, after);
        pair_resolve(&pair);
        rig_turn(&pair.b, 50);
        pair_resolve(&pair);
        expect_at(&pair.b, &pair.a, 2);
        assert_int_equal(rig_sql(&pair.b, "SELECT count(*) FROM imported"), 1);
    }
}

/* ---- Over channels ---- */

static int bring_by(struct peer *peer)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketBring bring = VTPM__TICKET_BRING__INIT;

    bring.ticket = (ProtobufCBinaryData){.data = pair.ticket, .len = TICKET_LEN};
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_BRING;
    msg.ticket_bring = &bring;
    peer_send(peer, &msg);
    peer_wait(peer);
    if (peer->closed)
        return -peer->close_err;
    return peer->msg->body_case == VTPM__MESSAGE__BODY_ERROR ? (int)peer->msg->error->code : 0;
}

static void test_session__brings_and_attaches__claims_first(void **unused)
{
    struct peer peer;

    (void)unused;
    pair_expect(&pair);
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    peer_open(&pair.b, &peer, pair.identity);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPERM); /* an attach alone brings nothing */
    peer_close(&peer);
    peer_open(&pair.b, &peer, "host:b");
    assert_int_equal(bring_by(&peer), -VT_EPERM);
    assert_false(peer.closed);
    peer_close(&peer);
    peer_open(&pair.b, &peer, pair.identity);
    assert_int_equal(bring_by(&peer), 0);
    assert_int_equal(peer.msg->body_case, VTPM__MESSAGE__BODY_TICKET_TAKEN);
    assert_true(pair_lives(&pair, &pair.a));
    assert_int_equal(peer_attach(&peer, NULL), 0);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 3, 1);
    peer_close(&peer);
    assert_false(pair_lives(&pair, &pair.a));
}

static void test_session__goes_while_others_are_asked__is_not_told(void **unused)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketBring bring = VTPM__TICKET_BRING__INIT;
    struct peer peer;

    (void)unused;
    pair_expect(&pair);
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    peer_open(&pair.b, &peer, pair.identity);
    bring.ticket = (ProtobufCBinaryData){.data = pair.ticket, .len = TICKET_LEN};
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_BRING;
    msg.ticket_bring = &bring;
    peer_send(&peer, &msg);
    assert_false(vt_list_empty(&pair.b.broker->handoffs));
    peer_close(&peer);
    rig_turn(&pair.b, 60);
    assert_true(vt_list_empty(&pair.b.broker->handoffs));
    assert_int_equal(pair_go_on(&pair), 0);
}

/* A server's channel asks at the door and does nothing else; a shim's does not ask there. */
static void test_session__of_another_server__asks_and_attaches_nothing(void **unused)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PeerAsk ask;
    char identity[SERVER_IDENTITY];
    struct peer peer;

    (void)unused;
    pair_expect(&pair);
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    vtpm__peer_ask__init(&ask);
    ask.what_case = VTPM__PEER_ASK__WHAT_READ;
    msg.body_case = VTPM__MESSAGE__BODY_PEER_ASK;
    msg.peer_ask = &ask;
    server_key_identity(identity, &pair.b.broker->store);
    peer_open(&pair.a, &peer, pair.identity);
    peer_send(&peer, &msg);
    assert_int_equal(peer.close_err, VT_EPROTO);
    peer_close(&peer);
    peer_open(&pair.a, &peer, identity);
    assert_int_equal(peer_attach(&peer, &pair.uuid), -VT_EPROTO);
    peer_close(&peer);
    peer_open(&pair.a, &peer, identity);
    peer_send(&peer, &msg); /* before anything was claimed */
    peer_wait(&peer);
    assert_int_equal(peer.msg->error->code, -VT_EUSAGE);
    ask.what_case = VTPM__PEER_ASK__WHAT_CLAIM;
    ask.claim = (ProtobufCBinaryData){.data = pair.ticket, .len = TICKET_LEN};
    peer_send(&peer, &msg);
    peer_wait(&peer);
    assert_true(peer.msg->peer_answer->has_left && peer.msg->peer_answer->size);
    assert_int_equal(peer.msg->peer_answer->data.len, peer.msg->peer_answer->size);
    peer_close(&peer);
    assert_false(pair_lives(&pair, &pair.a));
}

/* Both ends of a channel between servers have one key, and nobody else has. */
static void test_psk__servers_and_what_is_expected__known(void **unused)
{
    char identity[80], stranger[SERVER_IDENTITY];
    struct vt_key there = {{0}}, here = {{0}}, other = {{0}};
    struct vt_uuid nobody = {{3}};
    struct vt_why why = {""};
    struct db_peer source;
    bool known;

    (void)unused;
    assert_int_equal(db_peer_get(pair.b.broker->db, "a", NULL, &source), VT_OK);
    assert_int_equal(door_key(pair.b.broker, &source, identity, sizeof identity, &here, &why), VT_OK);
    broker_psk(pair.a.broker, identity, &there, &known);
    assert_true(known);
    assert_memory_equal(&here, &there, sizeof here);
    assert_int_not_equal(broker_psk_version(pair.a.broker, identity), 0);
    server_key_identity(stranger, &nobody);
    broker_psk(pair.a.broker, stranger, &other, &known);
    assert_false(known);
    assert_int_equal(broker_psk_version(pair.a.broker, stranger), 0);
    assert_memory_not_equal(&other, &there, sizeof other);
    /* The other way round it is another key. */
    assert_int_equal(db_peer_get(pair.a.broker->db, "b", NULL, &source), VT_OK);
    assert_int_equal(door_key(pair.a.broker, &source, identity, sizeof identity, &other, &why), VT_OK);
    assert_memory_not_equal(&other, &there, sizeof other);
    broker_psk(pair.b.broker, pair.identity, &here, &known);
    assert_false(known);
    pair_expect(&pair);
    broker_psk(pair.b.broker, pair.identity, &here, &known);
    assert_true(known);
    assert_int_equal(here.bytes[0], 1);
    assert_int_not_equal(broker_psk_version(pair.b.broker, pair.identity), 0);
}

/* ---- What administrators say ---- */

static int expect_by_admin(uint8_t first, const char *from, char text[300])
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceExpect expect = VTPM__INSTANCE_EXPECT__INIT;
    uint8_t key[32] = {first};
    char name[80];
    Vtpm__AdminReply *reply;
    int err;

    snprintf(name, sizeof name, "%s", from);
    expect.uuid = pair.identity;
    expect.key = (ProtobufCBinaryData){.data = key, .len = sizeof key};
    expect.from = name;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPECT;
    request.expect = &expect;
    reply = admin_ask(&pair.b, ADMIN_FULL, &request);
    err = reply->err;
    snprintf(text, 300, "%s", reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void test_expect__by_an_administrator__listed_and_taken_back(void **unused)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ExpectedList list = VTPM__EXPECTED_LIST__INIT;
    Vtpm__InstanceUnexpect unexpect = VTPM__INSTANCE_UNEXPECT__INIT;
    Vtpm__AdminReply *reply;
    struct peer peer;
    char text[300];

    (void)unused;
    assert_int_equal(expect_by_admin(1, "nobody", text), VT_ENOTFOUND);
    assert_int_equal(expect_by_admin(1, "a", text), VT_OK);
    peer_open(&pair.b, &peer, pair.identity);
    assert_int_equal(expect_by_admin(2, "a", text), VT_OK);
    assert_true(peer.closed); /* with the older key */
    peer_close(&peer);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPECTED_LIST;
    request.expected_list = &list;
    reply = admin_ask(&pair.b, ADMIN_MONITOR, &request);
    assert_int_equal(reply->n_expected, 1);
    assert_string_equal(reply->expected[0]->uuid, pair.identity);
    assert_string_equal(reply->expected[0]->from, "a");
    assert_false(reply->expected[0]->claimed);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    unexpect.uuid = pair.identity;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_UNEXPECT;
    request.unexpect = &unexpect;
    for (int i = 0; i < 2; i++) {
        reply = admin_ask(&pair.b, ADMIN_FULL, &request);
        assert_int_equal(reply->err, i ? VT_ENOTFOUND : VT_OK);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    assert_int_equal(expect_by_admin(1, "a", text), VT_OK);
    assert_int_equal(pair_give(&pair, &pair.a, ""), VT_OK);
    assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
    assert_int_equal(expect_by_admin(1, "a", text), VT_EEXISTS);
    assert_non_null(strstr(text, "is here already"));
}

/* ---- Races ---- */

/* A command that is behind the claim in the queue is refused; one before it voids the ticket. */
static void test_claim__a_command_at_the_same_moment__one_is_first(void **unused)
{
    struct seen seen;
    int err;

    (void)unused;
    for (int command_first = 0; command_first < 2; command_first++, again()) {
        struct handoff_ask what = {.claim = true};
        int answered = 1;

        give_and_bring();
        memcpy(what.ticket, pair.ticket, TICKET_LEN);
        fake.delay_ms = 20;
        if (command_first)
            peer_ask(&pair.at_a, 3, FAKE_BUMP_BOTH);
        pair_fault(&pair, 1, FAULT_ANSWER_LOST);
        handoff_answer(pair.a.broker, &pair.b.broker->store, "tcp:x", &what, on_answer, &answered);
        if (command_first) {
            err = peer_take(&pair.at_a, &seen);
            assert_int_equal(err, 0);
            rig_turn(&pair.a, 60);
            assert_int_equal(answered, VT_ECONFLICT);
            assert_true(pair_lives(&pair, &pair.a));
            continue;
        }
        handoff_forget(pair.a.broker, &answered);
        peer_ask(&pair.at_a, 3, FAKE_BUMP_BOTH);
        err = peer_take(&pair.at_a, &seen);
        assert_int_equal(err, -VT_EMOVED);
        assert_int_equal(pair_claim(&pair, &pair.b), VT_EUNAVAILABLE); /* the answer is lost */
        assert_int_equal(pair_claim(&pair, &pair.b), VT_OK);
        expect_at(&pair.b, &pair.a, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, make, unmake)
        T(test_hand_off__nothing_fails__goes_on_at_the_target_with_volatile_state),
        T(test_hand_off__claimed_again__is_there_already),
        T(test_hand_off__and_back__comes_home_without_being_expected),
        T(test_ticket__the_guest_went_on__void),
        T(test_ticket__its_source_was_booted__void),
        T(test_ticket__its_source_was_restarted__good),
        T(test_ticket__over_or_altered_or_another_s__refused),
        T(test_ticket__another_peer_or_none_asks__refused),
        T(test_bring__not_expected_or_no_room__refused_and_the_source_serves),
        T(test_snapshot__nothing_happened__loads_at_home),
        T(test_hand_off__a_message_fails_and_the_guest_stays__exactly_one_serves),
        T(test_hand_off__a_message_fails_and_the_guest_goes__exactly_one_serves),
        T(test_hand_off__the_target_is_started_anew__exactly_one_serves),
        T(test_claim__the_source_cannot_write__it_serves_on),
        T(test_claim__the_source_s_commit_is_of_unknown_outcome__one_serves),
        T(test_claim__the_target_cannot_write__not_lost),
        T(test_claim__the_import_is_of_unknown_outcome__comes_once),
        T(test_session__brings_and_attaches__claims_first),
        T(test_session__goes_while_others_are_asked__is_not_told),
        T(test_session__of_another_server__asks_and_attaches_nothing),
        T(test_psk__servers_and_what_is_expected__known),
        T(test_expect__by_an_administrator__listed_and_taken_back),
        T(test_claim__a_command_at_the_same_moment__one_is_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
