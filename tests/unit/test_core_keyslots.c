/* SPDX-License-Identifier: Apache-2.0 */
/* Key slots while the server runs. */
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <stdlib.h>

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

static int slot_add(const char *spec, const void *secret, size_t len, int64_t *id)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    Vtpm__AdminReply *reply;
    uint8_t bytes[64] = {0};
    char text[200];
    int err;

    snprintf(text, sizeof text, "%s", spec);
    if (len)
        memcpy(bytes, secret, len);
    add.spec = text;
    add.secret = (ProtobufCBinaryData){.data = len ? bytes : NULL, .len = len};
    add.has_secret = len != 0;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    err = reply->err;
    if (!err) {
        assert_int_equal(reply->n_keyslots, 1);
        *id = reply->keyslots[0]->id;
    }
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static int slot_ref(Vtpm__AdminRequest__VerbCase verb, int64_t id, const void *secret, size_t len)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;
    Vtpm__AdminReply *reply;
    uint8_t bytes[64] = {0};
    int err;

    if (len)
        memcpy(bytes, secret, len);
    ref.id = id;
    ref.secret = (ProtobufCBinaryData){.data = len ? bytes : NULL, .len = len};
    ref.has_secret = len != 0;
    request.verb_case = verb;
    request.keyslot_remove = &ref;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

#define REMOVE VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE
#define TRY    VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST

static size_t slot_count(void)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotList list = VTPM__KEYSLOT_LIST__INIT;
    Vtpm__AdminReply *reply;
    size_t count, openers = 0;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_LIST;
    request.keyslot_list = &list;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    count = reply->n_keyslots;
    for (size_t k = 0; k < count; k++) {
        openers += reply->keyslots[k]->opened_store;
        assert_null(strstr(reply->keyslots[k]->params, "wrapped"));
    }
    assert_true(openers <= 1);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return count;
}

static const uint8_t good[32] = {1, 2, 3}, wrong[32] = {1, 2, 4};

static void test_keyslot__added__opens_and_is_tested(void **state)
{
    struct keyslot_spec spec;
    char path[100], text[120];
    int64_t id;
    FILE *file;

    (void)state;
    assert_int_equal(slot_count(), 2);
    snprintf(path, sizeof path, "%s/second", rig.dir);
    snprintf(text, sizeof text, "keyfile:%s", path);
    assert_int_equal(slot_add(text, good, sizeof good, &id), VT_OK);
    assert_int_equal(id, 2);
    assert_int_equal(slot_count(), 3);
    assert_int_equal(slot_ref(TRY, id, good, sizeof good), VT_OK);
    assert_int_equal(slot_ref(TRY, id, wrong, sizeof wrong), VT_EKEY);
    assert_int_equal(slot_ref(TRY, id, NULL, 0), VT_EUSAGE);
    assert_int_equal(slot_ref(TRY, 77, good, sizeof good), VT_ENOTFOUND);
    assert_int_equal(slot_ref(VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, id, NULL, 0), VT_ECONFLICT);
    assert_int_equal(slot_ref(VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, 77, NULL, 0), VT_ENOTFOUND);
    /* A server opens the store with it. */
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(good, 1, sizeof good, file), sizeof good);
    fclose(file);
    snprintf(text, sizeof text, "chmod 600 '%s'", path);
    assert_int_equal(system(text), 0);
    snprintf(text, sizeof text, "keyfile:%s", path);
    assert_int_equal(keyslot_parse(&spec, text, NULL), VT_OK);
    rig_stop(&rig);
    rig.config.keyslots = &spec;
    rig_start(&rig);
    assert_int_equal(rig.broker->opened_slot, 2);
    rig_stop(&rig);
    rig.config.keyslots = &rig.spec;
    rig_start(&rig);
}

static void test_keyslot__last_one_removed__next_gets_a_new_id(void **state)
{
    int64_t id, next;

    (void)state;
    assert_int_equal(slot_add("keyfile:/nowhere/a", good, sizeof good, &id), VT_OK);
    assert_int_equal(slot_ref(REMOVE, id, NULL, 0), VT_OK);
    assert_int_equal(slot_ref(REMOVE, id, NULL, 0), VT_ENOTFOUND);
    /* Ids are sealed in and never used again. */
    assert_int_equal(slot_add("keyfile:/nowhere/b", good, sizeof good, &next), VT_OK);
    assert_int_equal(next, id + 1);
    assert_int_equal(slot_ref(TRY, next, good, sizeof good), VT_OK);
}

static void test_keyslot__the_only_one__cannot_be_removed(void **state)
{
    (void)state;
    assert_int_equal(slot_ref(REMOVE, 0, NULL, 0), VT_OK);
    assert_int_equal(slot_ref(REMOVE, 1, NULL, 0), VT_ECONFLICT);
    assert_int_equal(slot_count(), 1);
    /* For rig_free: the store is not opened again. */
}

static void test_keyslot__bad_arguments__are_refused(void **state)
{
    int64_t id;

    (void)state;
    assert_int_equal(slot_add("", good, sizeof good, &id), VT_EUSAGE);
    assert_int_equal(slot_add("keyfile:", good, sizeof good, &id), VT_EUSAGE);
    assert_int_equal(slot_add("unheard-of:x", good, sizeof good, &id), VT_EUSAGE);
    assert_int_equal(slot_add("auto", good, sizeof good, &id), VT_ENOTSUP);
    assert_int_equal(slot_add("tpm2:tcti=device:/nowhere/tpm", NULL, 0, &id), VT_ENOTFOUND);
    assert_int_equal(slot_add("keyfile:/x", NULL, 0, &id), VT_EUSAGE);
    assert_int_equal(slot_count(), 2);
}

static void test_start__wrong_key__is_refused(void **state)
{
    struct vt_why why = {0};
    struct broker_config config = rig.config;
    struct keyslot_spec spec;
    struct broker *broker;
    char text[200];

    (void)state;
    rig_stop(&rig);
    config.keyslot_count = 0;
    assert_int_equal(broker_start(&broker, rig.loop, &config, &why), VT_EUSAGE);
    snprintf(text, sizeof text, "head -c 32 /dev/urandom > '%s/other'; chmod 600 '%s/other'", rig.dir,
             rig.dir);
    assert_int_equal(system(text), 0);
    snprintf(text, sizeof text, "keyfile:%s/other", rig.dir);
    assert_int_equal(keyslot_parse(&spec, text, NULL), VT_OK);
    config.keyslots = &spec;
    config.keyslot_count = 1;
    memset(&why, 0, sizeof why);
    assert_int_equal(broker_start(&broker, rig.loop, &config, &why), VT_EKEY);
    assert_true(why.text[0]);
    /* Several: the one that opens. */
    {
        struct keyslot_spec both[2] = {spec, rig.spec};

        config.keyslots = both;
        config.keyslot_count = 2;
        assert_int_equal(broker_start(&rig.broker, rig.loop, &config, &why), VT_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_keyslot__added__opens_and_is_tested),
        TEST(test_keyslot__last_one_removed__next_gets_a_new_id),
        TEST(test_keyslot__the_only_one__cannot_be_removed),
        TEST(test_keyslot__bad_arguments__are_refused),
        TEST(test_start__wrong_key__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
