/* SPDX-License-Identifier: Apache-2.0 */
/* Administrators ask for much slow work at once: handshakes and guests' loads still find a worker. */
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 4

static const char passphrase[] = "correct horse";
static struct rig rig;

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    rig_free(&rig);
    return 0;
}

static ProtobufCBinaryData secret(void)
{
    static uint8_t bytes[sizeof passphrase];

    memcpy(bytes, passphrase, sizeof passphrase);
    return (ProtobufCBinaryData){.data = bytes, .len = sizeof passphrase - 1};
}

static int64_t add_passphrase(void)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    Vtpm__AdminReply *reply;
    char spec[] = "passphrase-file:/nowhere";
    int64_t id;

    add.spec = spec;
    add.secret = secret();
    add.has_secret = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    id = reply->keyslots[0]->id;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return id;
}

/* Each takes the time of one scrypt. */
static void begin_tests(struct admin_wait waits[MANY], int64_t id)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;

    ref.id = id;
    ref.secret = secret();
    ref.has_secret = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST;
    request.keyslot_test = &ref;
    for (int k = 0; k < MANY; k++)
        admin_begin(&rig, &waits[k], ADMIN_FULL, &request);
}

static void work(void *arg)
{
    (void)arg;
}

static void done(void *arg)
{
    *(bool *)arg = true;
}

static void test_slow_work__much_at_once__leaves_workers_to_guests(void **state)
{
    struct admin_wait waits[MANY];
    bool mine = false;
    int before = 0;

    (void)state;
    begin_tests(waits, add_passphrase());
    assert_int_equal(loop_work(rig.loop, work, done, &mine), VT_OK);
    rig_wait(&rig, &mine);
    for (int k = 0; k < MANY; k++)
        before += waits[k].done;
    assert_in_range(before, 0, 1);
    for (int k = 0; k < MANY; k++) {
        rig_wait(&rig, &waits[k].done);
        assert_int_equal(waits[k].reply->err, VT_OK);
        vtpm__admin_reply__free_unpacked(waits[k].reply, NULL);
    }
}

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

/* What waits behind another is finished too. */
static void test_slow_work__drain__waits_for_all(void **state)
{
    struct admin_wait waits[MANY];
    bool drained = false;

    (void)state;
    begin_tests(waits, add_passphrase());
    broker_drain(rig.broker, on_drained, &drained);
    rig_wait(&rig, &drained);
    for (int k = 0; k < MANY; k++) {
        assert_true(waits[k].done);
        assert_int_equal(waits[k].reply->err, VT_OK);
        vtpm__admin_reply__free_unpacked(waits[k].reply, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_slow_work__much_at_once__leaves_workers_to_guests),
        TEST(test_slow_work__drain__waits_for_all),
    };

    /* So that two at once are all of them. */
    setenv("UV_THREADPOOL_SIZE", "2", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
