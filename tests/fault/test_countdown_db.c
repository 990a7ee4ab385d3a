/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation and each file operation of a store fails once, while it is opened, read, written and closed. What
 * was reported is there afterwards, what was refused is not, and the store verifies.
 */
#include "tests/fault/countdown.h"
#include "tests/unit/db_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"

static struct fixture fx;
static uint64_t seq;        /* of instance 1, as far as it is known */
static uint64_t epoch;
static bool is_known;       /* false after VT_EUNKNOWN */

static void setup_store(void)
{
    fx_make(&fx);
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_OK);
    seq = 1;
    is_known = true;
}

/* What the header allows: anything else would be a wrong answer. */
static void expect_refusal(int err)
{
    switch (err) {
    case VT_EUNAVAILABLE:
    case VT_EUNKNOWN:
    case VT_ENOMEM:
    case VT_EAGAIN:
        return;
    default:
        fail_msg("call %ld failed: %d, %s", count_nth(), err, vt_err_text(err));
    }
}

static void commit_one(void)
{
    int err = fx_commit(&fx, 1, epoch, seq, "a record");

    if (!err) {
        seq++;
        return;
    }
    if (err == VT_ECONFLICT || err == VT_EFENCED)
        assert_false(is_known);
    else
        expect_refusal(err);
    is_known &= err != VT_EUNKNOWN;
}

/* After the fault: the owner acquires again, and everything is as it was reported. */
static void judge(void)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct db_instance instance;
    struct db_check check;

    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
    if (is_known)
        assert_int_equal(instance.seq, seq);
    else
        assert_in_range(instance.seq, seq, seq + 1);
    seq = instance.seq;
    is_known = true;
    assert_int_equal(fx_commit(&fx, 1, epoch, seq++, "goes on"), VT_OK);
    assert_int_equal(db_check(fx.db, &check), VT_OK);
    if (!check.mac_ok || !check.chain_ok || !check.structure_ok)
        fail_msg("call %ld failed: %s", count_nth(), check.text);
}

static void scenario_commit(void *arg)
{
    (void)arg;
    count_begin();
    commit_one();
    (void)count_end();
    judge();
}

/* ---- Administration: done or not done, never half ---- */

struct life {
    unsigned number;
    bool renamed;
};

static void scenario_admin(void *arg)
{
    struct life *life = arg;
    char name[32], identity[40];
    const struct vt_uuid uuid = fx_uuid(++life->number);
    struct db_instance instance;
    int made, renamed, host, slot, bound, unbound, deleted;
    uint64_t ignored;

    snprintf(name, sizeof name, "name-%u", life->number);
    snprintf(identity, sizeof identity, "host:%u", life->number);
    count_begin();
    made = fx_create(&fx, life->number, name);
    (void)fx_acquire(&fx, life->number, &ignored);
    snprintf(name, sizeof name, "other-%u", life->number);
    renamed = fx_rename(&fx, life->number, name);
    host = fx_host(&fx, identity, 1, 2);
    slot = fx_slot(&fx, 0, "keyfile", NULL);
    bound = fx_bind(&fx, life->number, "dom0");
    unbound = fx_unbind(&fx, 1, NULL);
    deleted = fx_life(&fx, life->number, DB_DELETED, NULL);
    (void)count_end();
    if (bound && (!made || bound != VT_ENOTFOUND))
        expect_refusal(bound);
    if (unbound)
        expect_refusal(unbound);
    if (made && made != VT_EUNKNOWN)
        expect_refusal(made);
    if (host)
        expect_refusal(host);
    if (slot)
        expect_refusal(slot);
    judge(); /* writes, and so opens again after an unknown outcome */
    (void)fx_unbind(&fx, 1, NULL);
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_OK);
    if (made == VT_OK) {
        assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
        if (!renamed && deleted)
            assert_string_equal(instance.name, name);
        if (!deleted)
            assert_int_equal(instance.life, DB_DELETED);
    } else if (made != VT_EUNKNOWN) {
        assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_ENOTFOUND);
    }
}

/* ---- Reading ---- */

static int nothing(void *arg, const struct db_instance *instance)
{
    (void)instance;
    ++*(unsigned *)arg;
    return 0;
}

static int nothing_slot(void *arg, const struct db_keyslot *slot)
{
    (void)slot;
    ++*(unsigned *)arg;
    return 0;
}

static int nothing_event(void *arg, const struct db_event *event)
{
    (void)event;
    ++*(unsigned *)arg;
    return 0;
}

static int nothing_bound(void *arg, const struct db_binding *binding)
{
    assert_string_equal(binding->peer, "dom0");
    ++*(unsigned *)arg;
    return 0;
}

struct reading {
    unsigned instances, slots, events, bindings;
};

static void read_ok(int err)
{
    if (err)
        expect_refusal(err);
}

static void scenario_read(void *arg)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct reading *expected = arg, seen = {0};
    struct db_instance instance;
    struct db_credential credential;
    struct db_sealed record;
    uint8_t *data = NULL;
    char identity[VT_UUID_TEXT];
    uint64_t at = 0;
    const char *const dom0 = "dom0";
    bool allowed = false;
    int err;

    vt_uuid_text(identity, &uuid);
    count_begin();
    err = db_instance_get(fx.db, &uuid, &instance);
    read_ok(err);
    if (!err)
        assert_string_equal(instance.name, "one");
    read_ok(db_instance_by_name(fx.db, "two", &instance));
    err = db_record_get(fx.db, &uuid, &at, &record, &data);
    read_ok(err);
    if (!err)
        assert_int_equal(at, seq);
    vt_free(data);
    read_ok(db_credential_get(fx.db, identity, &credential));
    err = db_credential_allows(fx.db, identity, &uuid, &allowed);
    read_ok(err);
    assert_true(err ? !allowed : allowed);
    err = db_bound(fx.db, &uuid, &dom0, 1, &allowed);
    read_ok(err);
    assert_true(err ? !allowed : allowed);
    err = db_binding_each(fx.db, NULL, nothing_bound, &seen.bindings);
    read_ok(err);
    if (!err)
        assert_int_equal(seen.bindings, 1);
    err = db_instance_each(fx.db, true, nothing, &seen.instances);
    read_ok(err);
    if (!err)
        assert_int_equal(seen.instances, expected->instances);
    err = db_keyslot_each(fx.db, nothing_slot, &seen.slots);
    read_ok(err);
    if (!err)
        assert_int_equal(seen.slots, expected->slots);
    err = db_event_each(fx.db, 0, 1000000, nothing_event, &seen.events);
    read_ok(err);
    if (!err)
        assert_int_equal(seen.events, expected->events);
    (void)count_end();
}

static void count_rows(struct reading *reading)
{
    *reading = (struct reading){0};
    assert_int_equal(db_instance_each(fx.db, true, nothing, &reading->instances), VT_OK);
    assert_int_equal(db_keyslot_each(fx.db, nothing_slot, &reading->slots), VT_OK);
    assert_int_equal(db_event_each(fx.db, 0, 1000000, nothing_event, &reading->events), VT_OK);
}

/* ---- Open and close ---- */

static void scenario_open(void *arg)
{
    struct vt_why why = {""};
    int err;

    (void)arg;
    fx_close(&fx);
    count_begin();
    err = db_open(&fx.config, &fx.db, &why);
    if (!err)
        err = db_start(fx.db, &fx.mac, false, &why);
    if (!err)
        commit_one();
    fx_close(&fx);
    (void)count_end();
    /* It is not damaged: whoever reads "damaged" takes a backup out of the drawer. */
    if (err && (err == VT_EDAMAGED || !why.text[0]))
        fail_msg("call %ld failed: open says %d, \"%s\"", count_nth(), err, why.text);
    fx_open(&fx);
    judge();
}

static void scenario_create(void *arg)
{
    struct fixture made;
    struct vt_why why = {""};
    int err;

    (void)arg;
    fx_dir(&made);
    count_begin();
    err = db_create(made.dir, &fx_store, &why);
    (void)count_end();
    if (err) {
        assert_true(why.text[0]);
        assert_int_equal(db_create(made.dir, &fx_store, &why), VT_OK);
    }
    memset(&why, 0, sizeof why);
    if (db_open(&made.config, &made.db, &why) || db_start(made.db, &made.mac, true, &why))
        fail_msg("call %ld failed: %s", count_nth(), why.text);
    fx_remove(&made);
}

/* ---- Tests ---- */

/* SQLite allocates thousands of times to read its schema: all of them only in a long run. */
static void each_kind(void (*scenario)(void *), void *arg, const char *name, long stride)
{
    static const struct {
        enum fault fault;
        const char *name;
    } kinds[] = {{FAULT_ALLOC, "alloc"}, {FAULT_STORE, "store file"}, {FAULT_SQLITE, "sqlite memory"}};

    for (size_t i = 0; i < VT_COUNT(kinds); i++) {
        char text[64];

        snprintf(text, sizeof text, "%s, %s", name, kinds[i].name);
        (void)count_down_by(text, kinds[i].fault,
                            kinds[i].fault == FAULT_SQLITE && !getenv("VTPM_LONG") ? stride : 1, scenario, arg);
    }
}

static void test_db__each_fault_in_a_commit__reported_is_there(void **state)
{
    (void)state;
    setup_store();
    each_kind(scenario_commit, NULL, "commit", 1);
    fx_remove(&fx);
}

static void test_db__each_fault_in_administration__done_or_not(void **state)
{
    struct life life = {.number = 100};

    (void)state;
    setup_store();
    each_kind(scenario_admin, &life, "admin", 1);
    fx_remove(&fx);
}

static void test_db__each_fault_in_reading__refused_or_right(void **state)
{
    struct reading reading;

    (void)state;
    setup_store();
    count_rows(&reading);
    each_kind(scenario_read, &reading, "read", 1);
    fx_remove(&fx);
}

static void test_db__each_fault_in_open_and_close__opens_the_next_time(void **state)
{
    (void)state;
    setup_store();
    each_kind(scenario_open, NULL, "open", 41);
    fx_remove(&fx);
}

static void test_db__each_fault_in_create__can_be_made_again(void **state)
{
    (void)state;
    each_kind(scenario_create, NULL, "create", 41);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_db__each_fault_in_a_commit__reported_is_there),
        cmocka_unit_test(test_db__each_fault_in_administration__done_or_not),
        cmocka_unit_test(test_db__each_fault_in_reading__refused_or_right),
        cmocka_unit_test(test_db__each_fault_in_open_and_close__opens_the_next_time),
        cmocka_unit_test(test_db__each_fault_in_create__can_be_made_again),
    };

    count_hook_sqlite();
    count_hook_store();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
