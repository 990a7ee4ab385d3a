/* SPDX-License-Identifier: Apache-2.0 */
/* Instances leave to another server, come from one, come back: each state is at one place only. */
#include "tests/unit/move_peer.h"

#include <stdio.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "server/base/alloc.h"

static struct rig rig;
static struct foreign far;
static struct peer peer;
static struct vt_uuid uuid;
static char identity[VT_UUID_TEXT], text[300], state[24];
static uint8_t *bundle;
static size_t len;
static const struct guest first = {1, 1}, second = {2, 5};

/* "a", on as domain 1 of boot 1, with a command that changed both states; nobody attached. */
static int make(void **unused)
{
    (void)unused;
    rig_make(&rig);
    foreign_make(&far, &rig);
    peer = (struct peer){0};
    rig_powered(&rig, &peer, "a", &uuid);
    vt_uuid_text(identity, &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_close(&peer);
    return 0;
}

static int unmake(void **unused)
{
    struct db_check check;

    (void)unused;
    peer_close(&peer);
    if (rig.broker) {
        assert_int_equal(db_check(rig.broker->db, &check), VT_OK);
        assert_true(check.mac_ok && check.chain_ok && check.structure_ok);
    }
    rig_free(&rig);
    vt_free(bundle);
    bundle = NULL;
    return 0;
}

static void leave(void)
{
    vt_free(bundle);
    assert_int_equal(move_export(&rig, "a", "far", &bundle, &len, text), VT_OK);
}

/* The bundle becomes what the other server would send back: the same instance, some records on. */
static void send_back(uint8_t id, uint64_t seqs, const char *name)
{
    struct bundle_head head;
    struct moving moving;

    foreign_open(&far, bundle, len, &head, &moving);
    moving.record.seq += seqs;
    moving.record.base_seq = moving.record.seq;
    snprintf(moving.name, sizeof moving.name, "%s", name);
    vt_free(bundle);
    foreign_send(&far, &rig, id, &moving, &bundle, &len);
    moving_free(&moving);
}

static int attach(void)
{
    peer_close(&peer);
    peer_open(&rig, &peer, identity);
    return peer_attach(&peer, NULL);
}

static void test_export__attached__refused_and_goes_on(void **unused)
{
    (void)unused;
    assert_int_equal(attach(), 0);
    assert_int_equal(move_export(&rig, "a", "far", &bundle, &len, text), VT_ECONFLICT);
    assert_non_null(strstr(text, "a shim is attached"));
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM exported"), 0);
    assert_false(peer.closed);
}

static void test_export__detached__whole_state_leaves_and_the_fence_stands(void **unused)
{
    struct bundle_head head;
    struct moving moving;

    (void)unused;
    assert_int_equal(admin_bind(&rig, "a", "dom0"), VT_OK);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    leave();
    foreign_open(&far, bundle, len, &head, &moving);
    assert_true(vt_uuid_equal(&head.source, &rig.broker->store));
    assert_string_equal(moving.name, "a");
    assert_int_equal(moving.binding_count, 1);
    assert_int_equal(moving.record.power, RECORD_ON);
    assert_true(moving.record.resume_armed);
    assert_true(moving.record.volatile_state.len && moving.record.permanent.len);
    moving_free(&moving);
    rig_state(&rig, &uuid, state);
    assert_string_equal(state, "disabled");
    assert_int_equal(attach(), -VT_EMOVED);
    assert_non_null(strstr(peer.close_text, "exported to far at 20"));
    for (int again = 0; again < 2; again++) {
        assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_ECONFLICT);
        assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_EMOVED);
        assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_EMOVED);
        assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
        peer_close(&peer);
        rig_restart(&rig);
    }
}

static void test_export__again__same_export_to_the_same_peer_only(void **unused)
{
    struct bundle_head head, again;
    struct moving moving;
    struct foreign other;

    (void)unused;
    leave();
    foreign_open(&far, bundle, len, &head, &moving);
    moving_free(&moving);
    rig_restart(&rig);
    leave();
    foreign_open(&far, bundle, len, &again, &moving);
    assert_memory_equal(head.id, again.id, sizeof head.id);
    assert_int_equal(head.time, again.time);
    moving_free(&moving);
    vt_free(bundle);
    /* The same store under another key, and another store. */
    assert_int_equal(cr_ec_generate(&other.key, other.public), VT_OK);
    other.store = (struct vt_uuid){{0xfb}};
    assert_int_equal(foreign_add(&other, &rig, "other"), VT_OK);
    assert_int_equal(move_export(&rig, "a", "other", &bundle, &len, text), VT_ECONFLICT);
    assert_non_null(strstr(text, "exported already, to far"));
    assert_int_equal(move_export(&rig, "a", "nobody", &bundle, &len, text), VT_ENOTFOUND);
}

static void test_export__store_takes_nothing__stays_and_can_leave_later(void **unused)
{
    (void)unused;
    db_test_fail_commits(rig.broker->db, 1, VT_EUNAVAILABLE, false);
    assert_int_equal(move_export(&rig, "a", "far", &bundle, &len, text), VT_EUNAVAILABLE);
    assert_int_equal(attach(), 0);
    peer_close(&peer);
    leave();
}

static void test_export__outcome_unknown__found_out_and_done_once(void **unused)
{
    (void)unused;
    db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, true);
    leave();
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM events WHERE kind = 'export'"), 1);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM exported"), 1);
}

static void test_export__disabled_or_broken__refused(void **unused)
{
    (void)unused;
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    assert_int_equal(move_export(&rig, "a", "far", &bundle, &len, text), VT_EPERM);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM exported"), 0);
}

static void test_take_back__exported__goes_on_with_its_pcrs(void **unused)
{
    bool acted;

    (void)unused;
    leave();
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_TAKE_BACK, "a"), VT_OK);
    assert_int_equal(attach(), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, first, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 1, FAKE_READ, 2, 1);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM events WHERE kind = 'take-back'"), 1);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_TAKE_BACK, "a"), VT_ECONFLICT);
}

static void test_import__comes_back__resumed_once_with_its_pcrs(void **unused)
{
    bool acted;

    (void)unused;
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    leave();
    send_back(1, 3, "b");
    assert_int_equal(move_import(&rig, bundle, len, text), VT_OK);
    assert_int_equal(attach(), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, second, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 1, FAKE_READ, 2, 1);
    /* The resume is used up. */
    assert_int_equal(attach(), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){3, 9}, &acted), 0);
    assert_true(acted);
}

static void test_import__new_here__survives_a_restart_of_the_server_not_of_the_host(void **unused)
{
    bool acted;

    (void)unused;
    leave();
    send_back(1, 3, "a");
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), 1);
    assert_int_equal(move_import(&rig, bundle, len, text), VT_OK);
    rig_restart(&rig);
    assert_int_equal(attach(), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, first, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 1, FAKE_READ, 2, 1);
    peer_close(&peer);
    rig_reboot(&rig);
    rig_restart(&rig);
    assert_int_equal(attach(), 0);
    rig_turn(&rig, 50);
    peer_expect_fail(&peer, 2, FAKE_READ);
}

static void refuse(int err, const char *words)
{
    int64_t before = rig_sql(&rig, "SELECT generation FROM meta");

    assert_int_equal(move_import(&rig, bundle, len, text), err);
    if (!strstr(text, words))
        fail_msg("%s", text);
    assert_int_equal(rig_sql(&rig, "SELECT generation FROM meta"), before);
}

static void test_import__again_or_older_or_taken__nothing_changes(void **unused)
{
    struct vt_uuid other;

    (void)unused;
    leave();
    refuse(VT_ECONFLICT, "it was exported to store");
    send_back(1, 0, "a");
    refuse(VT_ECONFLICT, "an older state of it is not taken");
    leave();
    rig_create(&rig, "taken", &other);
    send_back(2, 3, "taken");
    refuse(VT_EEXISTS, "another instance is called taken");
    leave();
    send_back(3, 3, "a");
    assert_int_equal(move_import(&rig, bundle, len, text), VT_OK);
    refuse(VT_EEXISTS, "imported here before");
    rig_restart(&rig);
    refuse(VT_EEXISTS, "imported here before");
    leave();
    send_back(4, 3, "a");
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_TAKE_BACK, "a"), VT_OK);
    refuse(VT_EEXISTS, "is here already");
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    refuse(VT_EEXISTS, "was deleted here");
}

static void test_import__stranger_or_newer_state__nothing_changes(void **unused)
{
    struct foreign stranger = {.store = {{0xcc}}};
    struct bundle_head head;
    struct moving moving;
    uint8_t *forged;
    size_t forged_len;

    (void)unused;
    leave();
    foreign_open(&far, bundle, len, &head, &moving);
    assert_int_equal(cr_ec_generate(&stranger.key, stranger.public), VT_OK);
    memcpy(stranger.rig_public, far.rig_public, sizeof stranger.rig_public);
    moving.record.seq = moving.record.base_seq = 50;
    foreign_send(&stranger, &rig, 1, &moving, &forged, &forged_len);
    vt_free(bundle);
    bundle = forged;
    len = forged_len;
    refuse(VT_EPERM, "no peer of this one");
    /* It says that it is one we know. */
    stranger.store = far.store;
    vt_free(bundle);
    foreign_send(&stranger, &rig, 1, &moving, &bundle, &len);
    refuse(VT_EAUTH, "signature");
    assert_int_equal(record_set(&moving.record.permanent, "VTPM\x7f\xff....", 10), VT_OK);
    vt_free(bundle);
    foreign_send(&far, &rig, 1, &moving, &bundle, &len);
    refuse(VT_ENOTSUP, "made by a newer vtpm-server");
    moving_free(&moving);
    len = 3;
    refuse(VT_EDAMAGED, "no exported instance");
    len = 0;
    refuse(VT_EDAMAGED, "no exported instance");
}

static void test_import__each_byte_altered__nothing_changes(void **unused)
{
    int64_t before;

    (void)unused;
    leave();
    send_back(1, 3, "a");
    before = rig_sql(&rig, "SELECT generation FROM meta");
    for (size_t i = 0; i < len; i++) {
        bundle[i] ^= 0x10;
        if (move_import(&rig, bundle, len, text) == VT_OK || !text[0])
            fail_msg("byte %zu", i);
        bundle[i] ^= 0x10;
    }
    assert_int_equal(rig_sql(&rig, "SELECT generation FROM meta"), before);
    assert_int_equal(move_import(&rig, bundle, len, text), VT_OK);
}

static void test_import__commit_fails__the_mark_does_no_harm(void **unused)
{
    bool acted;

    (void)unused;
    leave();
    send_back(1, 3, "a");
    db_test_fail_commits(rig.broker->db, 1, VT_EUNAVAILABLE, false);
    assert_int_equal(move_import(&rig, bundle, len, text), VT_EUNAVAILABLE);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM imported"), 0);
    /* It is still exported, and taken back it has its PCRs. */
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_TAKE_BACK, "a"), VT_OK);
    assert_int_equal(attach(), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, first, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 1, FAKE_READ, 2, 1);
}

static void test_import__outcome_unknown__repeated_it_is_one_instance(void **unused)
{
    bool acted;

    (void)unused;
    for (int after = 0; after < 2; after++) {
        leave();
        send_back((uint8_t)(1 + after), 3, "a");
        db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, after);
        assert_int_equal(move_import(&rig, bundle, len, text), VT_EUNKNOWN);
        assert_int_equal(move_import(&rig, bundle, len, text), after ? VT_EEXISTS : VT_OK);
        assert_int_equal(attach(), 0);
        assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, first, &acted), 0);
        assert_false(acted);
        peer_expect(&peer, 1, FAKE_READ, 2, 1);
        peer_close(&peer);
    }
}

static void test_import__two_at_once__one_waits_for_another_time(void **unused)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceImport import = VTPM__INSTANCE_IMPORT__INIT;
    struct admin_wait wait[2];

    (void)unused;
    leave();
    send_back(1, 3, "a");
    import.bundle = (ProtobufCBinaryData){.data = bundle, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_IMPORT_INSTANCE;
    request.import_instance = &import;
    for (int i = 0; i < 2; i++)
        admin_begin(&rig, &wait[i], ADMIN_FULL, &request);
    for (int i = 0; i < 2; i++) {
        rig_wait(&rig, &wait[i].done);
        assert_int_equal(wait[i].reply->err, i ? VT_EAGAIN : VT_OK);
        vtpm__admin_reply__free_unpacked(wait[i].reply, NULL);
    }
}

static void test_monitor__moves__may_only_list_peers(void **unused)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ServerKeyShow show = VTPM__SERVER_KEY_SHOW__INIT;
    Vtpm__BackupBegin begin = VTPM__BACKUP_BEGIN__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__PeerList list = VTPM__PEER_LIST__INIT;
    Vtpm__AdminReply *reply;

    (void)unused;
    ref.instance = identity;
    for (int i = 0; i < 3; i++) {
        request.verb_case = i == 0   ? VTPM__ADMIN_REQUEST__VERB_SERVER_KEY_SHOW
                            : i == 1 ? VTPM__ADMIN_REQUEST__VERB_BACKUP_BEGIN
                                     : VTPM__ADMIN_REQUEST__VERB_TAKE_BACK;
        if (i == 0)
            request.server_key_show = &show;
        else if (i == 1)
            request.backup_begin = &begin;
        else
            request.take_back = &ref;
        reply = admin_ask(&rig, ADMIN_MONITOR, &request);
        assert_int_equal(reply->err, VT_EPERM);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PEER_LIST;
    request.peer_list = &list;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_peers, 1);
    assert_string_equal(reply->peers[0]->name, "far");
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

/* ---- Backup ---- */

static Vtpm__AdminReply *begin_backup(void)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupBegin begin = VTPM__BACKUP_BEGIN__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_BEGIN;
    request.backup_begin = &begin;
    return admin_ask(&rig, ADMIN_FULL, &request);
}

static Vtpm__AdminReply *read_backup(ProtobufCBinaryData token, uint64_t offset, uint32_t length)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupRead read = VTPM__BACKUP_READ__INIT;

    read.token = token;
    read.offset = offset;
    read.length = length;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_READ;
    request.backup_read = &read;
    return admin_ask(&rig, ADMIN_FULL, &request);
}

static int end_backup(ProtobufCBinaryData token)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupEnd end = VTPM__BACKUP_END__INIT;
    Vtpm__AdminReply *reply;
    int err;

    end.token = token;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_END;
    request.backup_end = &end;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void test_backup__fetched_in_pieces__whole_and_gone_at_the_end(void **unused)
{
    Vtpm__AdminReply *begun = begin_backup(), *piece, *second_one;
    uint64_t offset = 0;
    char path[128];

    (void)unused;
    assert_int_equal(begun->err, VT_OK);
    snprintf(path, sizeof path, "%s/backup.tmp", rig.data);
    assert_int_not_equal(access(path, F_OK), 0);
    second_one = begin_backup();
    assert_int_equal(second_one->err, VT_EAGAIN);
    vtpm__admin_reply__free_unpacked(second_one, NULL);
    for (;;) {
        piece = read_backup(begun->backup->token, offset, 5000);
        assert_int_equal(piece->err, VT_OK);
        if (!offset)
            assert_memory_equal(piece->data.data, "SQLite format 3", 16);
        offset += piece->data.len;
        if (!piece->data.len)
            break;
        vtpm__admin_reply__free_unpacked(piece, NULL);
    }
    vtpm__admin_reply__free_unpacked(piece, NULL);
    assert_int_equal(offset, begun->backup->bytes);
    piece = read_backup(begun->backup->token, UINT64_MAX, UINT32_MAX);
    assert_true(piece->err == VT_EIO || !piece->data.len);
    vtpm__admin_reply__free_unpacked(piece, NULL);
    begun->backup->token.data[3] ^= 1;
    assert_int_equal(end_backup(begun->backup->token), VT_ENOTFOUND);
    begun->backup->token.data[3] ^= 1;
    assert_int_equal(end_backup(begun->backup->token), VT_OK);
    assert_int_equal(end_backup(begun->backup->token), VT_ENOTFOUND);
    vtpm__admin_reply__free_unpacked(begun, NULL);
    /* And one that nobody ends does not keep the server from stopping. */
    begun = begin_backup();
    assert_int_equal(begun->err, VT_OK);
    vtpm__admin_reply__free_unpacked(begun, NULL);
    rig_restart(&rig);
}

#define MOVE_TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOVE_TEST(test_export__attached__refused_and_goes_on),
        MOVE_TEST(test_export__detached__whole_state_leaves_and_the_fence_stands),
        MOVE_TEST(test_export__again__same_export_to_the_same_peer_only),
        MOVE_TEST(test_export__store_takes_nothing__stays_and_can_leave_later),
        MOVE_TEST(test_export__outcome_unknown__found_out_and_done_once),
        MOVE_TEST(test_export__disabled_or_broken__refused),
        MOVE_TEST(test_take_back__exported__goes_on_with_its_pcrs),
        MOVE_TEST(test_import__comes_back__resumed_once_with_its_pcrs),
        MOVE_TEST(test_import__new_here__survives_a_restart_of_the_server_not_of_the_host),
        MOVE_TEST(test_import__again_or_older_or_taken__nothing_changes),
        MOVE_TEST(test_import__stranger_or_newer_state__nothing_changes),
        MOVE_TEST(test_import__each_byte_altered__nothing_changes),
        MOVE_TEST(test_import__commit_fails__the_mark_does_no_harm),
        MOVE_TEST(test_import__outcome_unknown__repeated_it_is_one_instance),
        MOVE_TEST(test_import__two_at_once__one_waits_for_another_time),
        MOVE_TEST(test_monitor__moves__may_only_list_peers),
        MOVE_TEST(test_backup__fetched_in_pieces__whole_and_gone_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
