/* SPDX-License-Identifier: Apache-2.0 */
/* What each call writes, what it refuses, and what reading gives back. */
#include "tests/unit/db_fixture.h"

#include <stdio.h>

#include "server/base/alloc.h"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    return 0;
}

/* Whatever a test did, the store must verify when it is opened again. */
static int teardown(void **state)
{
    (void)state;
    fx_end(&fx);
    return 0;
}

static struct db_instance get(unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    struct db_instance instance;

    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
    return instance;
}

static void test_create__all_fields__are_read_back(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct db_instance instance;
    struct db_credential credential;
    struct db_sealed record;
    uint8_t *data;
    uint64_t seq;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    instance = get(1);
    assert_true(vt_uuid_equal(&instance.uuid, &uuid));
    assert_string_equal(instance.name, "one");
    assert_string_equal(instance.group, "web");
    assert_string_equal(instance.profile, "pc-client");
    assert_string_equal(instance.power, "off");
    assert_string_equal(instance.domain, "");
    assert_string_equal(instance.reason, "");
    assert_int_equal(instance.life, DB_LIVE);
    assert_int_equal(instance.wrapped_key_len, 60);
    assert_memory_equal(instance.wrapped_key, ((uint8_t[]){1, 2, 3, 1, 0}), 5);
    assert_true(instance.has_ek);
    assert_int_equal(instance.ek_sha256[31], 0xe1);
    assert_int_equal(instance.epoch, 0);
    assert_int_equal(instance.seq, 1);
    assert_true(instance.generation > 1);
    assert_int_equal(instance.state_bytes, 13);
    assert_true(instance.created > 1600000000 && instance.updated == instance.created);
    assert_int_equal(instance.last_seen, 0);

    assert_int_equal(db_record_get(fx.db, &uuid, &seq, &record, &data), VT_OK);
    assert_int_equal(seq, 1);
    assert_int_equal(record.tag[0], 7);
    assert_int_equal(record.len, 13);
    assert_string_equal((const char *)record.data, "first record");
    vt_free(data);

    assert_int_equal(db_credential_get(fx.db, "aabbccdd-eeff-4011-8022-000000000001", &credential), VT_OK);
    assert_int_equal(credential.version, 1);
    assert_int_equal(credential.sealed_len, 60);
    assert_int_equal(credential.sealed[0], 4);
    assert_false(credential.disabled);
    assert_int_equal(db_instance_by_name(fx.db, "one", &instance), VT_OK);
    assert_true(vt_uuid_equal(&instance.uuid, &uuid));
}

static void test_read__nothing_there__not_found(void **state)
{
    const struct vt_uuid uuid = fx_uuid(9);
    struct db_instance instance;
    struct db_credential credential;
    struct db_sealed record;
    uint8_t *data;
    uint64_t seq;

    (void)state;
    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_ENOTFOUND);
    assert_int_equal(db_instance_by_name(fx.db, "nine", &instance), VT_ENOTFOUND);
    assert_int_equal(db_credential_get(fx.db, "host:x", &credential), VT_ENOTFOUND);
    assert_int_equal(db_record_get(fx.db, &uuid, &seq, &record, &data), VT_ENOTFOUND);
    assert_null(data);
}

static void test_create__name_or_uuid_taken__exists(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "one"), VT_EEXISTS);
    assert_int_equal(fx_create(&fx, 1, "two"), VT_EEXISTS);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
}

static void test_create__after_delete__name_again_but_never_uuid(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_create(&fx, 1, "other"), VT_EEXISTS);
    assert_int_equal(fx_create(&fx, 2, "one"), VT_OK);
    /* Two tombstones of one name are no conflict either. */
    assert_int_equal(fx_life(&fx, 2, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_create(&fx, 3, "one"), VT_OK);
}

static void test_create__bad_arguments__refused_before_the_queue(void **state)
{
    const struct db_audit audit = {"x", NULL, NULL, NULL};
    static const uint8_t big[DB_SEALED_MAX + 1];
    struct db_instance instance = {.uuid = fx_uuid(1), .name = "fine", .profile = "p", .wrapped_key_len = 60};
    struct db_credential credential = {.identity = "aabbccdd-eeff-4011-8022-000000000001", .sealed_len = 60};
    struct db_create_args args = {&instance, {{0}, big, 10}, &credential};

    (void)state;
    instance.name[0] = '/';
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_EUSAGE);
    memset(instance.name, 'a', sizeof instance.name);
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_EUSAGE);
    instance.name[4] = '\0';
    args.record.len = sizeof big;
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_ETOOBIG);
    args.record.len = 10;
    instance.wrapped_key_len = 129;
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_EUSAGE);
    instance.wrapped_key_len = 60;
    credential.identity[35] = '2';
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_EUSAGE);
    credential.identity[35] = '1';
    credential.version = 5;
    assert_int_equal(db_instance_create(fx.db, &args, &audit, NULL, NULL), VT_OK);
    db_drain(fx.db);
    assert_int_equal(db_instance_by_name(fx.db, "aaaa", &instance), VT_ENOTFOUND);
}

static void test_commit__right_epoch_and_seq__replaces_record(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct db_sealed record;
    uint64_t epoch = 0, seq;
    uint8_t *data;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(epoch, 1);
    assert_int_equal(fx_commit(&fx, 1, 1, 1, "second, longer than the first"), VT_OK);
    assert_int_equal(db_record_get(fx.db, &uuid, &seq, &record, &data), VT_OK);
    assert_int_equal(seq, 2);
    assert_int_equal(record.tag[0], 9);
    assert_int_equal(record.len, 29);
    vt_free(data);
    assert_int_equal(get(1).seq, 2);
    assert_int_equal(get(1).state_bytes, 29);
    assert_string_equal(get(1).power, "off");
    assert_int_equal(get(1).ek_sha256[0], 0xe1);
}

static void test_commit__power_and_ek__are_stored(void **state)
{
    const uint8_t ek[32] = {0x55};
    struct db_commit_args args = {
        .uuid = fx_uuid(1), .expected_seq = 1, .seq = 7, .power = "on", .ek_sha256 = ek};
    int err = FX_PENDING;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(db_commit(fx.db, &args, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    assert_int_equal(err, VT_OK);
    assert_string_equal(get(1).power, "on");
    assert_memory_equal(get(1).ek_sha256, ek, sizeof ek);
    assert_int_equal(get(1).seq, 7);
    args.power = "sideways";
    assert_int_equal(db_commit(fx.db, &args, NULL, fx_done, &err), VT_EUSAGE);
}

static void test_commit__older_epoch__fenced(void **state)
{
    uint64_t first = 0, second = 0;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &first), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &second), VT_OK);
    assert_int_equal(second, first + 1);
    assert_int_equal(fx_commit(&fx, 1, first, 1, "stale"), VT_EFENCED);
    assert_int_equal(get(1).seq, 1);
    assert_int_equal(fx_commit(&fx, 1, second, 1, "good"), VT_OK);
}

static void test_commit__wrong_seq__conflict(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, 2, "ahead"), VT_ECONFLICT);
    assert_int_equal(fx_commit(&fx, 1, epoch, 1, "good"), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, 1, "again"), VT_ECONFLICT);
    assert_int_equal(fx_commit(&fx, 8, epoch, 1, "who"), VT_ENOTFOUND);
}

static void test_rename__free_taken_and_gone__as_the_living_say(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_rename(&fx, 1, "two"), VT_EEXISTS);
    assert_int_equal(fx_rename(&fx, 1, "not/valid"), VT_EUSAGE);
    assert_int_equal(fx_rename(&fx, 1, "uno"), VT_OK);
    assert_string_equal(get(1).name, "uno");
    assert_int_equal(fx_life(&fx, 2, DB_DELETED, NULL), VT_OK);
    assert_int_equal(fx_rename(&fx, 1, "two"), VT_OK);
    assert_int_equal(fx_rename(&fx, 2, "back"), VT_ENOTFOUND);
}

static void test_life__broken_disabled_live__with_reason(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_life(&fx, 1, DB_BROKEN, "state version 9\nunknown"), VT_OK);
    assert_int_equal(get(1).life, DB_BROKEN);
    assert_string_equal(get(1).reason, "state version 9?unknown");
    assert_int_equal(fx_life(&fx, 1, DB_DISABLED, NULL), VT_OK);
    assert_int_equal(get(1).life, DB_DISABLED);
    assert_string_equal(get(1).reason, "");
    assert_int_equal(fx_life(&fx, 1, DB_LIVE, NULL), VT_OK);
    assert_int_equal(get(1).life, DB_LIVE);
    assert_int_equal(fx_life(&fx, 5, DB_LIVE, NULL), VT_ENOTFOUND);
}

static bool file_has(const char *name, const char *needle)
{
    char path[128], line[65536];
    bool found = false;
    size_t len;
    FILE *file;

    fx_path(&fx, name, path, sizeof path);
    file = fopen(path, "rb");
    if (!file)
        return false;
    while ((len = fread(line, 1, sizeof line, file)) > 0)
        found |= memmem(line, len, needle, strlen(needle)) != NULL;
    fclose(file);
    return found;
}

static void test_delete__erases_everything_but_the_tombstone(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    struct db_credential credential;
    struct db_sealed record;
    uint64_t seq, epoch = 0;
    uint8_t *data;
    bool allowed = true;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_host(&fx, "host:blade", 1, 2), VT_OK);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, 1, "a needle to be found"), VT_OK);
    assert_true(file_has("vtpm.db-wal", "a needle to be found"));
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);

    assert_int_equal(get(1).life, DB_DELETED);
    assert_int_equal(get(1).wrapped_key_len, 0);
    assert_int_equal(db_record_get(fx.db, &uuid, &seq, &record, &data), VT_ENOTFOUND);
    assert_int_equal(db_credential_get(fx.db, "aabbccdd-eeff-4011-8022-000000000001", &credential),
                     VT_ENOTFOUND);
    assert_int_equal(db_credential_allows(fx.db, "host:blade", &uuid, &allowed), VT_OK);
    assert_false(allowed);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_ENOTFOUND);
    assert_int_equal(fx_commit(&fx, 1, epoch, 2, "x"), VT_ENOTFOUND);
    assert_int_equal(fx_life(&fx, 1, DB_LIVE, NULL), VT_ENOTFOUND);
    /* Neither the log nor a free page keeps it. */
    assert_false(file_has("vtpm.db-wal", "a needle to be found"));
    assert_false(file_has("vtpm.db", "a needle to be found"));
}

static int count_instances(void *ctx, const struct db_instance *instance)
{
    struct db_instance again;

    /* Asking inside a callback must not hang. */
    assert_int_equal(db_instance_get(fx.db, &instance->uuid, &again), VT_OK);
    assert_string_equal(again.name, instance->name);
    return ++*(int *)ctx == 3 ? 77 : 0;
}

static void test_each__with_and_without_deleted__counts(void **state)
{
    int count = 0;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);
    assert_int_equal(db_instance_each(fx.db, false, count_instances, &count), VT_OK);
    assert_int_equal(count, 1);
    count = 0;
    assert_int_equal(db_instance_each(fx.db, true, count_instances, &count), VT_OK);
    assert_int_equal(count, 2);
    assert_int_equal(db_instance_each(fx.db, true, count_instances, &count), 77);
}

static int note_name(void *ctx, const struct db_instance *instance)
{
    char *names = ctx;

    strcat(names, instance->name);
    return 0;
}

static void test_page__after_a_name__living_in_order(void **state)
{
    static const struct {
        const char *after, *names;
        unsigned limit;
    } rows[] = {{"", "abd", 9}, {"", "ab", 2}, {"b", "d", 2}, {"c", "d", 1}, {"d", "", 9}, {"", "", 0}};
    uint64_t count;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "d"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "b"), VT_OK);
    assert_int_equal(fx_create(&fx, 3, "c"), VT_OK);
    assert_int_equal(fx_create(&fx, 4, "a"), VT_OK);
    assert_int_equal(fx_life(&fx, 3, DB_DELETED, NULL), VT_OK);
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        char names[16] = "";

        assert_int_equal(db_instance_page(fx.db, rows[i].after, rows[i].limit, note_name, names), VT_OK);
        assert_string_equal(names, rows[i].names);
    }
    assert_int_equal(db_instance_count(fx.db, &count), VT_OK);
    assert_int_equal(count, 3);
}

static void test_power__word_and_domain__each_alone(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1), none = fx_uuid(2);
    int err = FX_PENDING, err2 = FX_PENDING, err3 = FX_PENDING;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(db_instance_power(fx.db, &uuid, "on", NULL, NULL, fx_done, &err), VT_OK);
    assert_int_equal(db_instance_power(fx.db, &uuid, NULL, "guest-1", NULL, fx_done, &err2), VT_OK);
    assert_int_equal(db_instance_power(fx.db, &none, "on", NULL, NULL, fx_done, &err3), VT_OK);
    assert_int_equal(db_instance_power(fx.db, &uuid, "upside-down", NULL, NULL, NULL, NULL), VT_EUSAGE);
    db_drain(fx.db);
    assert_int_equal(err | err2, VT_OK);
    assert_int_equal(err3, VT_ENOTFOUND);
    assert_string_equal(get(1).power, "on");
    assert_string_equal(get(1).domain, "guest-1");
}

static void test_credential__rotate__next_version_only(void **state)
{
    static const char own[] = "aabbccdd-eeff-4011-8022-000000000001";
    struct db_credential credential;

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_rotate(&fx, own, 3), VT_ECONFLICT);
    assert_int_equal(fx_rotate(&fx, own, 2), VT_OK);
    assert_int_equal(fx_rotate(&fx, own, 2), VT_ECONFLICT);
    assert_int_equal(fx_rotate(&fx, own, 0), VT_OK);
    assert_int_equal(db_credential_get(fx.db, own, &credential), VT_OK);
    assert_int_equal(credential.version, 3);
    assert_int_equal(credential.sealed[0], 0xcc);
    assert_int_equal(fx_rotate(&fx, "host:none", 0), VT_ENOTFOUND);
}

static bool allows(const char *identity, unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    bool allowed = true;

    assert_int_equal(db_credential_allows(fx.db, identity, &uuid, &allowed), VT_OK);
    return allowed;
}

static void test_credential__host__attaches_its_list_only(void **state)
{
    static const char own[] = "aabbccdd-eeff-4011-8022-000000000001";
    struct db_credential off = {.identity = "host:blade", .sealed_len = 60, .disabled = true};
    int err = FX_PENDING;

    (void)state;
    for (unsigned n = 1; n <= 3; n++)
        assert_int_equal(fx_create(&fx, n, (const char *[]){"", "one", "two", "three"}[n]), VT_OK);
    assert_int_equal(fx_host(&fx, "host:blade", 2, 3), VT_ENOTFOUND); /* 4 is not there */
    assert_int_equal(fx_host(&fx, "host:blade", 2, 2), VT_OK);
    assert_int_equal(fx_host(&fx, "host:blade", 2, 1), VT_EEXISTS);
    assert_false(allows("host:blade", 1));
    assert_true(allows("host:blade", 2));
    assert_true(allows("host:blade", 3));
    assert_true(allows(own, 1));
    assert_false(allows(own, 2));
    assert_false(allows("aabbccdd-eeff-4011-8022-000000000009", 9));
    assert_int_equal(fx_rotate(&fx, "host:blade", 2), VT_OK);
    assert_true(allows("host:blade", 2));
    assert_int_equal(db_credential_put(fx.db, &off, NULL, 0, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    assert_int_equal(err, VT_OK);
    assert_false(allows("host:blade", 2));
}

static int list_slots(void *ctx, const struct db_keyslot *slot)
{
    char *text = ctx;
    size_t len = strlen(text);

    snprintf(text + len, 100 - len, "%lld:%s ", (long long)slot->id, slot->kind);
    assert_string_equal(slot->params, "{\"n\":17}");
    assert_int_equal(slot->wrapped_len, 60);
    return 0;
}

struct bindings {
    size_t count;
    char text[400];
};

static int note_binding(void *ctx, const struct db_binding *binding)
{
    struct bindings *seen = ctx;
    size_t len = strlen(seen->text);

    seen->count++;
    snprintf(seen->text + len, sizeof seen->text - len, "%u:%s ", binding->uuid.bytes[15], binding->peer);
    return 0;
}

/* n 0: of all. */
static void expect_bindings(unsigned n, const char *text)
{
    const struct vt_uuid uuid = fx_uuid(n);
    struct bindings seen = {.text = ""};

    assert_int_equal(db_binding_each(fx.db, n ? &uuid : NULL, note_binding, &seen), VT_OK);
    assert_string_equal(seen.text, text);
}

static bool is_bound(unsigned n, const char *a, const char *b)
{
    const char *const peers[] = {a, b};
    const struct vt_uuid uuid = fx_uuid(n);
    bool bound = true;

    assert_int_equal(db_bound(fx.db, n ? &uuid : NULL, peers, b ? 2 : 1, &bound), VT_OK);
    return bound;
}

static void test_binding__add_and_remove__many_to_many(void **state)
{
    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    expect_bindings(0, "");
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "name:driver"), VT_OK);
    assert_int_equal(fx_bind(&fx, 2, "name:driver"), VT_OK);
    assert_int_equal(fx_bind(&fx, 2, "name:driver"), VT_EEXISTS);
    assert_int_equal(fx_bind(&fx, 3, "name:driver"), VT_ENOTFOUND);
    expect_bindings(0, "1:dom0 1:name:driver 2:name:driver ");
    expect_bindings(2, "2:name:driver ");
    assert_true(is_bound(0, "dom0", NULL));
    assert_true(is_bound(1, "uuid:x", "dom0"));
    assert_false(is_bound(2, "uuid:x", "dom0"));
    assert_int_equal(fx_unbind(&fx, 2, "dom0"), VT_ENOTFOUND);
    assert_int_equal(fx_unbind(&fx, 1, "name:driver"), VT_OK);
    expect_bindings(0, "1:dom0 2:name:driver ");
    assert_int_equal(fx_bind(&fx, 2, "dom0"), VT_OK);
    assert_int_equal(fx_unbind(&fx, 2, NULL), VT_OK);
    assert_int_equal(fx_unbind(&fx, 2, NULL), VT_ENOTFOUND);
    expect_bindings(0, "1:dom0 ");
}

static void test_binding__instance_deleted__is_bound_no_more(void **state)
{
    char rows[8];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_OK);
    assert_int_equal(fx_bind(&fx, 1, "name:driver"), VT_OK);
    assert_int_equal(fx_bind(&fx, 2, "dom0"), VT_OK);
    assert_int_equal(fx_life(&fx, 2, DB_DISABLED, NULL), VT_OK);
    assert_int_equal(fx_life(&fx, 1, DB_DELETED, NULL), VT_OK);
    assert_false(is_bound(0, "name:driver", NULL));
    assert_true(is_bound(0, "dom0", NULL));
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_ENOTFOUND);
    assert_int_equal(fx_unbind(&fx, 1, NULL), VT_ENOTFOUND);
    fx_ask(&fx, "SELECT count(*) FROM binding", rows, sizeof rows);
    assert_string_equal(rows, "1");
}

static void test_binding__as_many_as_there_may_be__one_more_is_refused(void **state)
{
    char peer[32];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    for (unsigned n = 0; n < DB_BINDINGS_MAX; n++) {
        snprintf(peer, sizeof peer, "name:d%u", n);
        assert_int_equal(fx_bind(&fx, 1, peer), VT_OK);
    }
    assert_int_equal(fx_bind(&fx, 1, "dom0"), VT_ECONFLICT);
    assert_int_equal(fx_bind(&fx, 1, "name:d0"), VT_EEXISTS);
    assert_int_equal(fx_bind(&fx, 2, "dom0"), VT_OK);
    assert_false(is_bound(1, "dom0", NULL));
}

static void test_binding__bad_text__refused_before_the_queue(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    char longest[DB_PEER_TEXT + 1];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(db_binding_add(fx.db, &uuid, longest, NULL, NULL, NULL), VT_EUSAGE);
    assert_int_equal(db_binding_add(fx.db, &uuid, "", NULL, NULL, NULL), VT_EUSAGE);
    assert_int_equal(db_binding_add(fx.db, &uuid, "name:\n", NULL, NULL, NULL), VT_EUSAGE);
    assert_int_equal(db_binding_remove(fx.db, &uuid, longest, NULL, NULL, NULL), VT_EUSAGE);
    longest[DB_PEER_TEXT - 1] = '\0';
    assert_int_equal(fx_bind(&fx, 1, longest), VT_OK);
}

static void test_keyslot__put_replace_remove__ids_never_again(void **state)
{
    char text[100] = "";
    int64_t id = -1, next;

    (void)state;
    assert_int_equal(fx_slot_remove(&fx, 0), VT_ECONFLICT); /* the last one */
    assert_int_equal(fx_slot(&fx, -1, "recovery", &id), VT_OK);
    assert_int_equal(id, 1);
    assert_int_equal(fx_slot_remove(&fx, 1), VT_OK);
    assert_int_equal(fx_slot_remove(&fx, 1), VT_ENOTFOUND);
    assert_int_equal(db_keyslot_next(fx.db, &next), VT_OK);
    assert_int_equal(next, 2);
    assert_int_equal(fx_slot(&fx, 1, "tpm2", &id), VT_ENOTFOUND);
    assert_int_equal(fx_slot(&fx, 3, "tpm2", &id), VT_ENOTFOUND);
    assert_int_equal(fx_slot(&fx, next, "tpm2", &id), VT_OK);
    assert_int_equal(id, 2);
    assert_int_equal(fx_slot(&fx, 0, "passphrase", &id), VT_OK);
    assert_int_equal(id, 0);
    assert_int_equal(db_keyslot_each(fx.db, list_slots, text), VT_OK);
    assert_string_equal(text, "0:passphrase 2:tpm2 ");
}

static int follow_chain(void *ctx, const struct db_event *event)
{
    struct db_event *last = ctx;

    assert_int_equal(event->id, last->id + 1);
    assert_memory_equal(event->prev_hash, last->hash, sizeof last->hash);
    *last = *event;
    return 0;
}

static void test_event__every_change__is_chained(void **state)
{
    struct db_event last = {.id = 0};

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "one"), VT_EEXISTS); /* no event */
    assert_int_equal(fx_event(&fx, "a \x1b[31mnote\xc3\xa9"), VT_OK);
    assert_int_equal(db_event_each(fx.db, 0, 100, follow_chain, &last), VT_OK);
    assert_int_equal(last.id, 3); /* with that of the key slot */
    assert_string_equal(last.text, "a ?[31mnote??");
    assert_string_equal(last.kind, "note");
    assert_string_equal(last.uuid, "");
    memset(&last, 0, sizeof last);
    assert_int_equal(db_event_each(fx.db, 0, 2, follow_chain, &last), VT_OK);
    assert_int_equal(last.id, 2);
    assert_int_equal(db_event_each(fx.db, 2, 100, follow_chain, &last), VT_OK);
    assert_int_equal(last.id, 3);
}

static void test_counters__many__add_up_and_leave_generation(void **state)
{
    struct db_counter counters[] = {{fx_uuid(1), 5, 1000}, {fx_uuid(9), 1, 1}, {fx_uuid(1), 2, 900}};
    char before[32], after[32];

    (void)state;
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    fx_ask(&fx, "SELECT generation FROM meta", before, sizeof before);
    assert_int_equal(db_counters(fx.db, counters, 3), VT_OK);
    db_drain(fx.db);
    fx_ask(&fx, "SELECT generation FROM meta", after, sizeof after);
    assert_string_equal(before, after);
    assert_int_equal(get(1).commands, 7);
    assert_int_equal(get(1).last_seen, 1000);
}

#ifdef VTPM_TEST_HOOKS
static void test_create__memory_runs_out__refused_whole(void **state)
{
    int err, after = 0;

    (void)state;
    do {
        (void)vt_alloc_fail_after(after++);
        err = fx_create(&fx, 1, "one");
        (void)vt_alloc_fail_after(-1);
        assert_true(err == VT_OK || err == VT_ENOMEM);
    } while (err);
    assert_in_range(after, 3, 20);
    assert_int_equal(get(1).seq, 1);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#define VERB_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        VERB_TEST(test_create__all_fields__are_read_back),
        VERB_TEST(test_read__nothing_there__not_found),
        VERB_TEST(test_create__name_or_uuid_taken__exists),
        VERB_TEST(test_create__after_delete__name_again_but_never_uuid),
        VERB_TEST(test_create__bad_arguments__refused_before_the_queue),
        VERB_TEST(test_commit__right_epoch_and_seq__replaces_record),
        VERB_TEST(test_commit__power_and_ek__are_stored),
        VERB_TEST(test_commit__older_epoch__fenced),
        VERB_TEST(test_commit__wrong_seq__conflict),
        VERB_TEST(test_rename__free_taken_and_gone__as_the_living_say),
        VERB_TEST(test_life__broken_disabled_live__with_reason),
        VERB_TEST(test_delete__erases_everything_but_the_tombstone),
        VERB_TEST(test_each__with_and_without_deleted__counts),
        VERB_TEST(test_page__after_a_name__living_in_order),
        VERB_TEST(test_power__word_and_domain__each_alone),
        VERB_TEST(test_credential__rotate__next_version_only),
        VERB_TEST(test_credential__host__attaches_its_list_only),
        VERB_TEST(test_binding__add_and_remove__many_to_many),
        VERB_TEST(test_binding__instance_deleted__is_bound_no_more),
        VERB_TEST(test_binding__as_many_as_there_may_be__one_more_is_refused),
        VERB_TEST(test_binding__bad_text__refused_before_the_queue),
        VERB_TEST(test_keyslot__put_replace_remove__ids_never_again),
        VERB_TEST(test_event__every_change__is_chained),
#ifdef VTPM_TEST_HOOKS
        VERB_TEST(test_create__memory_runs_out__refused_whole),
#endif
        VERB_TEST(test_counters__many__add_up_and_leave_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
