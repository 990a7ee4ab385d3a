/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs: who may, what is refused, what is shown. */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "server/engine/swtpm.h"

#define UUID "5b1c2f0e-7c1d-4b8a-9f2e-3d4c5b6a7988"

static void test_create__bad_argument__is_refused_and_nothing_made(void **state)
{
    static const struct {
        const char *name, *uuid, *profile, *group;
        int err;
    } rows[] = {
        {"", "", "", "", VT_EUSAGE},
        {"with blank", "", "", "", VT_EUSAGE},
        {"sl/ash", "", "", "", VT_EUSAGE},
        {"quote'", "", "", "", VT_EUSAGE},
        {"\xc3\xa4", "", "", "", VT_EUSAGE},
        {"line\nbreak", "", "", "", VT_EUSAGE},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", "", "", VT_EUSAGE}, /* 65 */
        {UUID, "", "", "", VT_EUSAGE},
        {"ok", "5b1c2f0e", "", "", VT_EUSAGE},
        {"ok", "5b1c2f0e7c1d4b8a9f2e3d4c5b6a7988", "", "", VT_EUSAGE},
        {"ok", UUID "0", "", "", VT_EUSAGE},
        {"ok", "gb1c2f0e-7c1d-4b8a-9f2e-3d4c5b6a7988", "", "", VT_EUSAGE},
        {"ok", "", "server", "", VT_EUSAGE},
        {"ok", "", "PC-CLIENT", "", VT_EUSAGE},
        {"ok", "", "", "two words", VT_EUSAGE},
        {"taken", "", "", "", VT_EEXISTS},
        {"ok", UUID, "", "", VT_EEXISTS},
        {"ok", "5B1C2F0E-7C1D-4B8A-9F2E-3D4C5B6A7988", "", "", VT_EEXISTS},
    };
    struct rig rig;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    assert_int_equal(admin_make(&rig, "taken", UUID, "pc-client", "web", &uuid), VT_OK);
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        int err = admin_make(&rig, rows[k].name, rows[k].uuid, rows[k].profile, rows[k].group, &uuid);

        if (err != rows[k].err)
            fail_msg("row %zu: %d", k, err);
        assert_int_equal(fake.alive, 0);
    }
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), 1);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM credential"), 1);
    /* The longest name there is. */
    assert_int_equal(admin_make(&rig, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "",
                                "", "", &uuid),
                     VT_OK);
    rig_free(&rig);
}

/* ---- A TPM from swtpm ---- */

static Vtpm__AdminReply *import(struct rig *rig, char *name, size_t file_len, size_t key_len)
{
    static uint8_t bytes[TPM_SWTPM_FILE_MAX + 1];
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__SwtpmImport import = VTPM__SWTPM_IMPORT__INIT;

    create.name = name;
    import.create = &create;
    import.file = (ProtobufCBinaryData){.data = bytes, .len = file_len};
    import.key = (ProtobufCBinaryData){.data = bytes, .len = key_len};
    import.derived = key_len == 32;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_IMPORT_SWTPM;
    request.import_swtpm = &import;
    return admin_ask(rig, ADMIN_FULL, &request);
}

static void test_import_swtpm__taken__is_there_off_with_its_credential(void **state)
{
    struct vt_uuid uuid;
    Vtpm__AdminReply *reply;
    struct rig rig;
    char name[] = "moved", power[24];

    (void)state;
    rig_make(&rig);
    reply = import(&rig, name, 1, 32);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_instances, 1);
    assert_int_equal(reply->credential->key.len, 32);
    assert_true(reply->swtpm && reply->swtpm->has_ek && !reply->swtpm->owned);
    assert_int_equal(reply->swtpm->counters, 32); /* the key went to the sandbox */
    assert_int_equal(reply->swtpm->families, 1);  /* and that it is from a password */
    assert_true(vt_uuid_parse(&uuid, reply->instances[0]->uuid));
    rig_state(&rig, &uuid, power);
    assert_string_equal(power, "ready");
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'import-swtpm'"), 1);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance WHERE ek_sha256 IS NOT NULL"), 1);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    rig_free(&rig);
}

/* Whatever a sandbox says that had hostile bytes, or however it ends: no row, and text that a terminal can bear. */
static void test_import_swtpm__refused_or_garbage__nothing_made(void **state)
{
    static const struct {
        size_t file, key;
        enum fake_garbage garbage;
        unsigned crashes;
        int err;
    } rows[] = {
        {0, 0, GARBAGE_NONE, 0, VT_EUSAGE},   {TPM_SWTPM_FILE_MAX + 1, 0, GARBAGE_NONE, 0, VT_EUSAGE},
        {1, 33, GARBAGE_NONE, 0, VT_EUSAGE},  {2, 0, GARBAGE_NONE, 0, VT_EDAMAGED},
        {1, 0, GARBAGE_FAILED, 0, VT_EFAIL},  {1, 0, GARBAGE_EMPTY, 0, VT_EFAIL},
        {1, 0, GARBAGE_TYPE, 0, VT_EFAIL},    {1, 0, GARBAGE_SHORT, 0, VT_EFAIL},
        {1, 0, GARBAGE_RESPONSE, 0, VT_EFAIL}, {1, 0, GARBAGE_NO_PERMANENT, 0, VT_EFAIL},
        {1, 0, GARBAGE_NONE, 1, VT_EFAIL},
    };
    struct rig rig;
    char name[] = "never";

    (void)state;
    rig_make(&rig);
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        Vtpm__AdminReply *reply;

        fake.garbage = rows[k].garbage;
        fake.garbage_count = rows[k].garbage != GARBAGE_NONE;
        fake.crashes = rows[k].crashes;
        reply = import(&rig, name, rows[k].file, rows[k].key);
        if (reply->err != rows[k].err || !*reply->text || reply->n_instances || reply->credential || reply->swtpm)
            fail_msg("row %zu: %d %s", k, reply->err, reply->text);
        for (const char *at = reply->text; *at; at++)
            assert_in_range(*at, ' ', '~');
        vtpm__admin_reply__free_unpacked(reply, NULL);
        assert_int_equal(fake.alive, 0);
    }
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), 0);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'import-swtpm'"), 0);
    rig_free(&rig);
}

static void test_roles__table__holds(void **state)
{
    static const struct {
        Vtpm__AdminRequest__VerbCase verb;
        bool monitor;
    } rows[] = {
        {VTPM__ADMIN_REQUEST__VERB_CREATE, false},       {VTPM__ADMIN_REQUEST__VERB_LIST, true},
        {VTPM__ADMIN_REQUEST__VERB_SHOW, true},          {VTPM__ADMIN_REQUEST__VERB_RENAME, false},
        {VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, false},  {VTPM__ADMIN_REQUEST__VERB_SUSPEND, false},
        {VTPM__ADMIN_REQUEST__VERB_ENABLE, false},       {VTPM__ADMIN_REQUEST__VERB_DISABLE, false},
        {VTPM__ADMIN_REQUEST__VERB_DELETE, false},       {VTPM__ADMIN_REQUEST__VERB_ROTATE, false},
        {VTPM__ADMIN_REQUEST__VERB_CREATE_HOST, false},  {VTPM__ADMIN_REQUEST__VERB_KEYSLOT_LIST, true},
        {VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD, false},  {VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE, false},
        {VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST, false}, {VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, false},
        {VTPM__ADMIN_REQUEST__VERB_CHECK, true},         {VTPM__ADMIN_REQUEST__VERB_EVENTS, true},
        {VTPM__ADMIN_REQUEST__VERB_STATUS, true},        {VTPM__ADMIN_REQUEST__VERB_BINDING_ADD, false},
        {VTPM__ADMIN_REQUEST__VERB_BINDING_LIST, true},  {VTPM__ADMIN_REQUEST__VERB_BINDING_REMOVE, false},
        {VTPM__ADMIN_REQUEST__VERB_MEASURE, false},      {VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST, true},
        {VTPM__ADMIN_REQUEST__VERB_MEASURE_CLEAR, false},
        {VTPM__ADMIN_REQUEST__VERB_MEASURE_DROP, false}, {VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL, false},
        {VTPM__ADMIN_REQUEST__VERB_REQUIRE_MEASURE, false},
        {VTPM__ADMIN_REQUEST__VERB_IMPORT_SWTPM, false},
        {VTPM__ADMIN_REQUEST__VERB_EKCERT_INSTALL, false}, {VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW, true},
    };
    struct rig rig;
    struct vt_uuid uuid;
    Vtpm__AdminReply *reply;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
        Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
        Vtpm__InstanceList list = VTPM__INSTANCE_LIST__INIT;
        Vtpm__Events events = VTPM__EVENTS__INIT;
        Vtpm__Binding binding = VTPM__BINDING__INIT;
        char name[] = "a";

        request.verb_case = rows[k].verb;
        ref.instance = name;
        request.list = &list;
        if (rows[k].verb == VTPM__ADMIN_REQUEST__VERB_BINDING_LIST)
            request.binding_list = &binding;
        if (rows[k].verb == VTPM__ADMIN_REQUEST__VERB_SHOW || rows[k].verb == VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST ||
            rows[k].verb == VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW)
            request.show = &ref;
        if (rows[k].verb == VTPM__ADMIN_REQUEST__VERB_EVENTS)
            request.events = &events;
        reply = admin_ask(&rig, ADMIN_NONE, &request);
        assert_int_equal(reply->err, VT_EPERM);
        vtpm__admin_reply__free_unpacked(reply, NULL);
        reply = admin_ask(&rig, ADMIN_MONITOR, &request);
        if ((reply->err == VT_EPERM) == rows[k].monitor)
            fail_msg("verb %d", (int)rows[k].verb);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    {
        Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;

        reply = admin_ask(&rig, ADMIN_FULL, &request);
        assert_int_equal(reply->err, VT_ENOTSUP);
        vtpm__admin_reply__free_unpacked(reply, NULL);
        request.verb_case = (Vtpm__AdminRequest__VerbCase)200;
        reply = admin_ask(&rig, ADMIN_FULL, &request);
        assert_int_equal(reply->err, VT_ENOTSUP);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    rig_free(&rig);
}

static int rename_to(struct rig *rig, const char *from, const char *to)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRename rename = VTPM__INSTANCE_RENAME__INIT;
    Vtpm__AdminReply *reply;
    char texts[2][100];
    int err;

    snprintf(texts[0], sizeof texts[0], "%s", from);
    snprintf(texts[1], sizeof texts[1], "%s", to);
    rename.instance = texts[0];
    rename.name = texts[1];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_RENAME;
    request.rename = &rename;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void test_rename__free_taken_and_bad_names(void **state)
{
    struct rig rig;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    rig_create(&rig, "b", &uuid);
    assert_int_equal(rename_to(&rig, "a", "b"), VT_EEXISTS);
    assert_int_equal(rename_to(&rig, "a", "not good"), VT_EUSAGE);
    assert_int_equal(rename_to(&rig, "a", UUID), VT_EUSAGE);
    assert_int_equal(rename_to(&rig, "x", "c"), VT_ENOTFOUND);
    assert_int_equal(rename_to(&rig, "a", "c"), VT_OK);
    assert_int_equal(rename_to(&rig, "b", "a"), VT_OK);
    assert_int_equal(
        rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'rename' AND peer = 'uid=0,pid=1'"), 2);
    rig_free(&rig);
}

static Vtpm__AdminReply *list_page(struct rig *rig, const char *after, uint32_t limit)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceList all = VTPM__INSTANCE_LIST__INIT;
    char name[65];

    snprintf(name, sizeof name, "%s", after);
    all.after = name;
    all.limit = limit;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_LIST;
    request.list = &all;
    return admin_ask(rig, ADMIN_MONITOR, &request);
}

static Vtpm__AdminReply *list(struct rig *rig)
{
    return list_page(rig, "", 0);
}

/* Each page goes on behind the last name of the one before; the last one says that it is. */
static void expect_pages(struct rig *rig, uint32_t limit, size_t total)
{
    char after[65] = "";
    size_t seen = 0;
    bool more = true;

    while (more) {
        Vtpm__AdminReply *reply = list_page(rig, after, limit);

        assert_int_equal(reply->err, VT_OK);
        assert_true(reply->n_instances <= limit);
        for (size_t k = 0; k < reply->n_instances; k++) {
            assert_true(strcmp(after, reply->instances[k]->name) < 0);
            snprintf(after, sizeof after, "%s", reply->instances[k]->name);
        }
        seen += reply->n_instances;
        more = reply->more;
        assert_true(!more || reply->n_instances == limit);
        vtpm__admin_reply__free_unpacked(reply, NULL);
    }
    assert_int_equal(seen, total);
}

static void test_list__300_instances__all_are_there(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    Vtpm__AdminReply *reply;
    char name[16];

    (void)state;
    rig_make(&rig);
    reply = list(&rig);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_instances, 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    for (int k = 0; k < 300; k++) {
        snprintf(name, sizeof name, "i%03d", k);
        rig_create(&rig, name, &uuid);
    }
    rig_powered(&rig, &peer, "on", &uuid);
    peer_expect(&peer, 1, FAKE_READ, 0, 0);
    reply = list(&rig);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_instances, 301);
    assert_false(reply->more);
    for (size_t k = 0; k < 300; k++) {
        snprintf(name, sizeof name, "i%03zu", k);
        assert_string_equal(reply->instances[k]->name, name);
        assert_string_equal(reply->instances[k]->state, "ready");
        assert_string_equal(reply->instances[k]->last_seen, "");
        assert_int_equal(strlen(reply->instances[k]->ek_sha256), 64);
        assert_int_equal(strlen(reply->instances[k]->created), 20);
        assert_false(reply->instances[k]->connected);
    }
    assert_string_equal(reply->instances[300]->state, "on");
    assert_int_equal(reply->instances[300]->commands, 1);
    assert_int_equal(strlen(reply->instances[300]->last_seen), 20);
    assert_true(reply->instances[300]->connected);
    assert_string_equal(reply->instances[300]->peer, "unix:pid=1,uid=0");
    assert_true(reply->instances[300]->engine_pid != 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    expect_pages(&rig, 100, 301);
    expect_pages(&rig, 43, 301); /* 7 x 43: the last page is empty */
    expect_pages(&rig, 1, 301);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_many__150_at_once__each_has_its_own_state(void **state)
{
    enum { MANY = 150 };
    static struct peer peers[MANY];
    static struct vt_uuid uuids[MANY];
    struct rig rig;
    struct seen seen;
    char name[16];

    (void)state;
    rig_make(&rig);
    for (int k = 0; k < MANY; k++) {
        snprintf(name, sizeof name, "i%03d", k);
        rig_powered(&rig, &peers[k], name, &uuids[k]);
    }
    for (uint64_t n = 1; n <= 3; n++) {
        /* All under way at the same time: their records share transactions. */
        for (int k = 0; k < MANY; k++)
            peer_ask(&peers[k], n, (uint32_t)(FAKE_BUMP_VOLATILE + (k + (int)n) % 3));
        for (int k = 0; k < MANY; k++)
            assert_int_equal(peer_take(&peers[k], &seen), 0);
    }
    assert_int_equal(fake.alive, MANY);
    for (int k = 0; k < MANY; k++)
        peer_close(&peers[k]);
    rig_restart(&rig);
    for (int k = 0; k < MANY; k++) {
        peer_on(&rig, &peers[k], &uuids[k]);
        peer_expect(&peers[k], 1, FAKE_READ, 2, 2);
        peer_close(&peers[k]);
    }
    rig_free(&rig);
}

static void test_status_check_events__tell_what_is(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    Vtpm__Check check = VTPM__CHECK__INIT;
    Vtpm__Events events = VTPM__EVENTS__INIT;
    Vtpm__AdminReply *reply;
    int64_t last;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_READ, 0, 0);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_STATUS;
    request.status = &status;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->status->instances, 1);
    assert_int_equal(reply->status->engines, 1);
    assert_int_equal(reply->status->channels, 1);
    assert_int_equal(reply->status->commands, 1);
    assert_string_equal(reply->status->data_dir, rig.data);
    assert_string_equal(reply->status->runtime_dir, rig.run);
    assert_string_equal(reply->status->keyslot, "0 keyfile");
    vtpm__admin_reply__free_unpacked(reply, NULL);

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CHECK;
    request.check = &check;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_true(reply->check->ok);
    assert_int_equal(reply->check->instances, 1);
    assert_int_equal(reply->check->keyslots, 2);
    vtpm__admin_reply__free_unpacked(reply, NULL);

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EVENTS;
    request.events = &events;
    events.verify = true;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_true(reply->n_events >= 4);
    last = reply->events[reply->n_events - 1]->id;
    assert_string_equal(reply->events[reply->n_events - 1]->kind, "power-on");
    vtpm__admin_reply__free_unpacked(reply, NULL);
    events.after = last;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->n_events, 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    events.after = 0;
    events.limit = 1;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->n_events, 1);
    vtpm__admin_reply__free_unpacked(reply, NULL);

    /* A word in the chain is changed from outside. */
    (void)rig_sql(&rig, "UPDATE event SET text = 'nothing happened' WHERE id = %d", (int)last - 1);
    events.limit = 0;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_EDAMAGED);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CHECK;
    request.check = &check;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_EDAMAGED);
    assert_false(reply->check->ok);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    peer_close(&peer);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create__bad_argument__is_refused_and_nothing_made),
        cmocka_unit_test(test_import_swtpm__taken__is_there_off_with_its_credential),
        cmocka_unit_test(test_import_swtpm__refused_or_garbage__nothing_made),
        cmocka_unit_test(test_roles__table__holds),
        cmocka_unit_test(test_rename__free_taken_and_bad_names),
        cmocka_unit_test(test_list__300_instances__all_are_there),
        cmocka_unit_test(test_many__150_at_once__each_has_its_own_state),
        cmocka_unit_test(test_status_check_events__tell_what_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
