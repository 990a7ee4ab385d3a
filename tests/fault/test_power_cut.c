/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes after each single write, truncation, removal and sync of the store's files, and what was not synced
 * is there, is not, or is there in part. From every such disk the store must open, its MAC must hold, and it must
 * show all that was reported as done, and else nothing but what was under way.
 *
 * A long campaign has more dice: VTPM_LONG=N throws them N times as often.
 */
#include "tests/fault/disk.h"
#include "tests/unit/db_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "server/base/alloc.h"

#define STEPS_MAX 256
#define TEXT_MAX  65536

/* What everybody may see of the store, as text; and from which operation on it was reported. */
struct moment {
    size_t ops;
    char *text;
};

static struct fixture fx;
static struct disk *disk;
static struct moment moments[STEPS_MAX];
static size_t moment_count;

/* ---- The store as text ---- */

struct text {
    char bytes[TEXT_MAX];
    size_t len;
    struct db *db;
};

static void VT_PRINTF(2, 3) say(struct text *t, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    t->len += (size_t)vsnprintf(t->bytes + t->len, sizeof t->bytes - t->len, fmt, args);
    va_end(args);
    assert_true(t->len < sizeof t->bytes);
}

static void say_hex(struct text *t, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        say(t, "%02x", ((const uint8_t *)bytes)[i]);
    say(t, " ");
}

static void say_credential(struct text *t, const char *identity, const struct vt_uuid *uuid)
{
    struct db_credential credential;
    bool allowed = false;
    int err = db_credential_get(t->db, identity, &credential);

    assert_true(!err || err == VT_ENOTFOUND);
    if (err)
        return;
    assert_int_equal(db_credential_allows(t->db, identity, uuid, &allowed), VT_OK);
    say(t, "credential %s v%llu disabled=%d allowed=%d ", identity, (unsigned long long)credential.version,
        credential.disabled, allowed);
    say_hex(t, credential.sealed, credential.sealed_len);
}

static void say_record(struct text *t, const struct vt_uuid *uuid)
{
    struct db_sealed record;
    uint8_t *data VT_AUTOFREE = NULL;
    uint64_t seq, sum = 0;
    int err = db_record_get(t->db, uuid, &seq, &record, &data);

    assert_true(!err || err == VT_ENOTFOUND);
    if (err)
        return;
    for (size_t i = 0; i < record.len; i++)
        sum = sum * 1099511628211u + record.data[i];
    say(t, "record %llu %zu %016llx ", (unsigned long long)seq, record.len, (unsigned long long)sum);
    say_hex(t, record.tag, sizeof record.tag);
}

static int say_instance(void *arg, const struct db_instance *in)
{
    struct text *t = arg;
    char uuid[VT_UUID_TEXT];

    vt_uuid_text(uuid, &in->uuid);
    say(t, "%s %s %s %d '%s' %s %s epoch=%llu seq=%llu gen=%llu n=%llu ", uuid, in->name, in->group, in->life,
        in->reason, in->power, in->domain, (unsigned long long)in->epoch, (unsigned long long)in->seq,
        (unsigned long long)in->generation, (unsigned long long)in->commands);
    say_hex(t, in->wrapped_key, in->wrapped_key_len);
    say_record(t, &in->uuid);
    say_credential(t, uuid, &in->uuid);
    say_credential(t, "host:one", &in->uuid);
    say(t, "\n");
    return 0;
}

static int say_slot(void *arg, const struct db_keyslot *slot)
{
    say(arg, "slot %lld %s ", (long long)slot->id, slot->kind);
    say_hex(arg, slot->wrapped, slot->wrapped_len);
    say(arg, "\n");
    return 0;
}

static int say_event(void *arg, const struct db_event *event)
{
    say(arg, "event %lld %s %s ", (long long)event->id, event->kind, event->text);
    say_hex(arg, event->hash, 8);
    say(arg, "\n");
    return 0;
}

static int say_peer(void *arg, const struct db_peer *peer)
{
    say(arg, "peer %s ", peer->name);
    say_hex(arg, peer->public, 4);
    say(arg, "\n");
    return 0;
}

static void say_moves(struct text *t)
{
    struct db_server_key key;
    struct db_export export;
    bool seen;
    int err = db_server_key_get(t->db, &key);

    assert_true(!err || err == VT_ENOTFOUND);
    say(t, "server key %d\n", err ? -1 : key.public[0]);
    assert_int_equal(db_peer_each(t->db, say_peer, t), VT_OK);
    for (unsigned n = 1; n <= 5; n++) {
        const struct vt_uuid uuid = fx_uuid(n);
        const uint8_t id[DB_EXPORT_ID] = {(uint8_t)n};

        err = db_export_get(t->db, &uuid, &export);
        assert_true(!err || err == VT_ENOTFOUND);
        assert_int_equal(db_imported(t->db, id, &seen), VT_OK);
        say(t, "move %u exported=%d imported=%d\n", n, err ? -1 : export.id[0], seen);
    }
}

static void say_anchor(struct text *t, bool pending)
{
    struct db_anchor row;
    int err = db_anchor_get(t->db, pending, &row);

    assert_true(!err || err == VT_ENOTFOUND);
    if (err)
        return;
    say(t, "anchor %d epoch=%llu gen=%llu nv=%u %s ", pending, (unsigned long long)row.epoch,
        (unsigned long long)row.generation, (unsigned)row.nv, row.place);
    say_hex(t, row.digest, sizeof row.digest);
    say_hex(t, row.previous, sizeof row.previous);
    say(t, "\n");
}

static char *look(struct db *db)
{
    static struct text t;
    int64_t next;

    t.len = 0;
    t.bytes[0] = '\0';
    t.db = db;
    assert_int_equal(db_instance_each(db, true, say_instance, &t), VT_OK);
    assert_int_equal(db_keyslot_each(db, say_slot, &t), VT_OK);
    assert_int_equal(db_keyslot_next(db, &next), VT_OK);
    say(&t, "next slot %lld\n", (long long)next);
    say_moves(&t);
    say_anchor(&t, false);
    say_anchor(&t, true);
    assert_int_equal(db_event_each(db, 0, 100000, say_event, &t), VT_OK);
    return strdup(t.bytes);
}

/* All that was asked for has been reported. */
static void moment(void)
{
    struct moment *m = &moments[moment_count++];

    assert_true(moment_count <= STEPS_MAX);
    m->ops = disk_ops(disk);
    m->text = look(fx.db);
}

/* ---- What the store is asked to do ---- */

static const uint8_t big[150000] = {1, 2, 3};

static void commit_big(unsigned n, uint64_t epoch, uint64_t expected)
{
    struct db_commit_args args = {.uuid = fx_uuid(n), .epoch = epoch, .expected_seq = expected, .seq = expected + 1,
                                  .record = {{(uint8_t)expected}, big, sizeof big}, .power = "on"};
    int err = FX_PENDING;

    assert_int_equal(db_commit(fx.db, &args, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    assert_int_equal(err, VT_OK);
}

/* Many requests, one transaction. */
static void commit_many(unsigned n, uint64_t epoch, uint64_t expected, unsigned count)
{
    int err[64];

    fx_hold(&fx);
    moment(); /* the event that holds the writer up */
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fx_commit_start(&fx, n, epoch, expected + i, &err[i]), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(err[i], VT_OK);
    moment();
}

static void count_commands(unsigned n)
{
    struct db_counter counter = {.uuid = fx_uuid(n), .commands = 17, .last_seen = 1};

    assert_int_equal(db_counters(fx.db, &counter, 1), VT_OK);
    db_drain(fx.db);
}

#define DO(call)                                                                                            \
    do {                                                                                                     \
        assert_int_equal((call), VT_OK);                                                                     \
        moment();                                                                                            \
    } while (0)

static void small_commits(unsigned n, uint64_t epoch, uint64_t *seq, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        DO(fx_commit(&fx, n, epoch, (*seq)++, "a record like any other"));
}

static void first_life(uint64_t epoch[4], uint64_t seq[4])
{
    static const char *const names[] = {"", "one", "two", "three"};

    for (unsigned n = 1; n <= 3; n++) {
        DO(fx_create(&fx, n, names[n]));
        DO(fx_acquire(&fx, n, &epoch[n]));
        seq[n] = 1;
    }
    small_commits(1, epoch[1], &seq[1], 6);
    commit_many(2, epoch[2], seq[2], 20);
    seq[2] += 20;
    DO(fx_host(&fx, "host:one", 1, 3));
    DO(fx_slot(&fx, -1, "passphrase", NULL));
    commit_big(3, epoch[3], seq[3]++);
    moment();
    DO(fx_rename(&fx, 1, "uno"));
    DO(fx_life(&fx, 2, DB_DISABLED, NULL));
    count_commands(1);
    moment();
}

static int anchor_put(uint64_t epoch, bool alone)
{
    static struct db_anchor made;
    const struct db_anchor row = {.epoch = epoch, .previous = {(uint8_t)epoch}, .nv = 7, .place = "tpm2"};
    int err = FX_PENDING;

    assert_int_equal(db_anchor_put(fx.db, &row, alone, &made, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

static int anchor_done(uint64_t epoch)
{
    int err = FX_PENDING;

    assert_int_equal(db_anchor_done(fx.db, epoch, fx_done, &err), VT_OK);
    db_drain(fx.db);
    return err;
}

/* Three advances with changes between, the last in place of all rows as accept-rollback makes it; then none. */
static void anchored_life(void)
{
    int err = FX_PENDING;

    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
        DO(anchor_put(epoch, epoch == 3));
        DO(anchor_done(epoch));
        DO(fx_event(&fx, "between"));
    }
    DO(anchor_put(4, false));
    assert_int_equal(db_anchor_drop(fx.db, NULL, fx_done, &err), VT_OK);
    db_drain(fx.db);
    DO(err);
}

/* With deletions the log is folded into the database and cut. */
static void second_life(uint64_t epoch[4], uint64_t seq[4])
{
    DO(fx_rotate(&fx, "host:one", 2));
    small_commits(1, epoch[1], &seq[1], 3);
    DO(fx_life(&fx, 2, DB_DELETED, NULL));
    commit_big(1, epoch[1], seq[1]++);
    moment();
    DO(fx_slot(&fx, 1, "passphrase", NULL));
    DO(fx_slot_remove(&fx, 1));
    DO(fx_acquire(&fx, 3, &epoch[3]));
    commit_many(3, epoch[3], seq[3], 30);
    seq[3] += 30;
    DO(fx_life(&fx, 3, DB_BROKEN, "does not open"));
    DO(fx_event(&fx, "a note"));
    anchored_life();
    small_commits(1, epoch[1], &seq[1], 3);
}

/* Out and back again, each in one transaction; the last record is 1's. */
static void moving_life(uint64_t epoch[4], uint64_t seq[4])
{
    DO(fx_create(&fx, 1, "one"));
    DO(fx_acquire(&fx, 1, &epoch[1]));
    seq[1] = 1;
    DO(fx_server_key(&fx, 7));
    DO(fx_peer_add(&fx, 1));
    DO(fx_import(&fx, 4, "four", 9, 1));
    DO(fx_export(&fx, 1, epoch[1], seq[1]++, 2));
    DO(fx_take_back(&fx, 1));
    DO(fx_acquire(&fx, 1, &epoch[1]));
    DO(fx_export(&fx, 1, epoch[1], seq[1]++, 3));
    seq[1] += 5;
    DO(fx_import(&fx, 1, "one", seq[1], 4));
    DO(fx_acquire(&fx, 1, &epoch[1]));
    small_commits(1, epoch[1], &seq[1], 2);
    DO(fx_peer_remove(&fx, 1));
}

/* A log that has room in advance, and grows past a thousand pages, is folded back between commits. */
static void third_life(uint64_t epoch[4], uint64_t seq[4])
{
    const struct timespec quiet = {.tv_nsec = 3 * DB_QUIET_MS * 1000000L};

    nanosleep(&quiet, NULL);
    for (unsigned i = 0; i < 30; i++) {
        commit_big(1, epoch[1], seq[1]++);
        moment();
    }
    small_commits(1, epoch[1], &seq[1], 3);
}

/* ---- After the cut ---- */

static void empty(const char *dir)
{
    static const char *const names[] = {"vtpm.db", "vtpm.db-wal", "vtpm.db-shm", "vtpm.db-journal", "lock",
                                        "vtpm.db.new", "vtpm.db.new-wal", "vtpm.db.new-journal"};

    for (size_t i = 0; i < VT_COUNT(names); i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
}

/* The wal-index of before, if the file system kept it: it must count for nothing. */
static void put_garbage_shm(const char *dir, uint32_t dice)
{
    static uint8_t garbage[32768];
    char path[128];
    FILE *file;

    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)((dice = dice * 1664525u + 1013904223u) >> 24);
    snprintf(path, sizeof path, "%s/vtpm.db-shm", dir);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(garbage, 1, sizeof garbage, file), sizeof garbage);
    fclose(file);
}

static bool is_moment(const char *text, size_t i)
{
    return i < moment_count && strcmp(text, moments[i].text) == 0;
}

/* Index of the last moment that had been reported before the power went. */
static size_t reported(size_t ops)
{
    size_t i = 0;

    while (i + 1 < moment_count && moments[i + 1].ops <= ops)
        i++;
    return i;
}

struct tally {
    unsigned opened, kept, next;
};

static void open_after(struct fixture *after, size_t ops, int cut, uint32_t dice, struct tally *tally)
{
    const size_t i = reported(ops);
    struct vt_why why = {""};
    struct db_check check;
    char *text;

    if (db_open(&after->config, &after->db, &why) || db_start(after->db, &after->mac, false, &why))
        fail_msg("power cut after operation %zu (%d, dice %u): %s", ops, cut, dice, why.text);
    text = look(after->db);
    if (!is_moment(text, i) && !is_moment(text, i + 1))
        fail_msg("power cut after operation %zu (%d, dice %u): the store is\n%s\ninstead of\n%s", ops, cut, dice, text,
                 moments[i].text);
    tally->opened++;
    tally->kept += is_moment(text, i);
    tally->next += !is_moment(text, i);
    assert_int_equal(db_check(after->db, &check), VT_OK);
    if (!check.mac_ok || !check.chain_ok || !check.structure_ok)
        fail_msg("power cut after operation %zu (%d, dice %u): %s", ops, cut, dice, check.text);
    free(text);
}

/* The store goes on where it was. */
static void goes_on(struct fixture *after)
{
    assert_int_equal(fx_event(after, "after the cut"), VT_OK);
    fx_close(after);
    fx_open(after);
    assert_false(db_was_unclean(after->db));
    fx_close(after);
}

static void cut_and_open(struct fixture *after, size_t ops, int cut, uint32_t dice, struct tally *tally)
{
    empty(after->dir);
    disk_cut(disk, ops, (enum disk_cut)cut, dice, after->dir);
    if (dice % 3 == 1)
        put_garbage_shm(after->dir, dice);
    open_after(after, ops, cut, dice, tally);
    if (dice % 5 == 0)
        goes_on(after);
    fx_close(after);
}

/* Sanitizers take their time: each boundary still, but only with two of the four disks. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW true
#else
#define IS_SLOW false
#endif

static unsigned throws(void)
{
    const char *text = getenv("VTPM_LONG");
    int n = text ? atoi(text) : 0;

    return n > 0 ? (unsigned)n : 1;
}

static void every_boundary(size_t stride, struct tally *tally)
{
    const size_t count = disk_ops(disk);
    struct fixture after;

    fx_dir(&after);
    for (size_t ops = moments[0].ops; ops <= count; ops += stride) {
        cut_and_open(&after, ops, CUT_NOTHING_UNSYNCED, 0, tally);
        if (IS_SLOW) {
            cut_and_open(&after, ops, CUT_SOME_AND_GARBAGE, (uint32_t)ops * 1000, tally);
            continue;
        }
        cut_and_open(&after, ops, CUT_ALL_UNSYNCED, 1, tally);
        for (uint32_t dice = 0; dice < throws(); dice++) {
            cut_and_open(&after, ops, CUT_SOME, (uint32_t)ops * 1000 + dice, tally);
            cut_and_open(&after, ops, CUT_SOME_AND_GARBAGE, (uint32_t)ops * 1000 + dice, tally);
        }
    }
    fx_remove(&after);
    print_message("%zu boundaries, every %zu. taken, %u disks opened: %u with what was reported, %u with what was "
                  "under way too\n", count - moments[0].ops + 1, stride, tally->opened, tally->kept, tally->next);
}

/* ---- Tests ---- */

static void begin(void)
{
    moment_count = 0;
    fx_make(&fx);
    fx_close(&fx);
    fx.config.log_reserve = 65536;
    disk = disk_record(fx.dir);
    fx_open(&fx);
    moment();
    moments[0].ops = 0; /* opening changes nothing of what is seen */
}

static void end(void)
{
    disk_free(disk);
    for (size_t i = 0; i < moment_count; i++)
        free(moments[i].text);
    fx_remove(&fx);
}

static void run(void (*const *lives)(uint64_t *, uint64_t *), size_t count, size_t stride,
                struct tally *tally)
{
    uint64_t epoch[4] = {0}, seq[4] = {0};

    begin();
    for (size_t i = 0; i < count; i++) {
        lives[i](epoch, seq);
        /* A clean stop and a start, too. */
        fx_close(&fx);
        fx_open(&fx);
        moment();
    }
    fx_close(&fx);
    disk_stop(disk);
    every_boundary(stride, tally);
    end();
}

static void test_power_cut__at_every_write__all_reported_is_there(void **state)
{
    void (*const lives[])(uint64_t *, uint64_t *) = {first_life, second_life};
    struct tally tally = {0};

    (void)state;
    run(lives, VT_COUNT(lives), 1, &tally);
    assert_true(tally.kept > 100);
    assert_true(tally.next > 10);
}

static void test_power_cut__while_a_full_log_is_folded_back__all_reported_is_there(void **state)
{
    void (*const lives[])(uint64_t *, uint64_t *) = {first_life, third_life};
    struct tally tally = {0};

    (void)state;
    run(lives, VT_COUNT(lives), getenv("VTPM_LONG") ? 1 : 8, &tally);
    assert_true(tally.kept > 40);
}

static void test_power_cut__while_instances_move__there_or_here_never_both(void **state)
{
    void (*const lives[])(uint64_t *, uint64_t *) = {moving_life};
    struct tally tally = {0};

    (void)state;
    run(lives, VT_COUNT(lives), 1, &tally);
    assert_true(tally.kept > 50);
    assert_true(tally.next > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut__at_every_write__all_reported_is_there),
        cmocka_unit_test(test_power_cut__while_instances_move__there_or_here_never_both),
        cmocka_unit_test(test_power_cut__while_a_full_log_is_folded_back__all_reported_is_there),
    };

    disk_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
