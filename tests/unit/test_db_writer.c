/* SPDX-License-Identifier: Apache-2.0 */
/* The writer thread: group commit, full queue, foreign locks, full and failing disks, kill -9, many threads.
 */
#include "tests/unit/db_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "db/sqlite_priv.h"
#include "tests/unit/db_vfs.h"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fx_make(&fx);
    assert_int_equal(fx_create(&fx, 1, "one"), VT_OK);
    assert_int_equal(fx_create(&fx, 2, "two"), VT_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vfs_heal();
    fx_end(&fx);
    return 0;
}

static uint64_t seq_of(unsigned n)
{
    const struct vt_uuid uuid = fx_uuid(n);
    struct db_instance instance;

    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
    return instance.seq;
}

/* Somebody else's write lock. */
static sqlite3 *lock_store(void)
{
    char path[128];
    sqlite3 *sq;

    fx_path(&fx, "vtpm.db", path, sizeof path);
    assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sq, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return sq;
}

static void unlock_store(sqlite3 *sq)
{
    assert_int_equal(sqlite3_exec(sq, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sq);
}

static void test_batch__many_waiting__share_a_sync(void **state)
{
    int err[201], wakes, syncs;

    (void)state;
    fx_hold(&fx);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(fx_commit_start(&fx, 1, 0, 1 + i, &err[i]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 2, 0, 1, &err[200]), VT_OK);
    wakes = atomic_load(&fx.wakes);
    syncs = atomic_load(&vfs_syncs);
    fx_release(&fx);
    db_drain(fx.db);
    for (unsigned i = 0; i < 201; i++)
        assert_int_equal(err[i], VT_OK);
    assert_int_equal(seq_of(1), 201);
    assert_int_equal(seq_of(2), 2);
    /* db_drain may return before the thread's wake. A second sync: if the log was folded back just then. */
    assert_in_range(atomic_load(&fx.wakes) - wakes, 0, 1);
    assert_in_range(atomic_load(&vfs_syncs) - syncs, 1, 2);
}

/* Requests of one batch see each other: an acquire fences the commit behind it. */
static void test_batch__acquire_before_commit__fences_it(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    uint64_t epoch = 0;
    int err[3] = {FX_PENDING, FX_PENDING, FX_PENDING};

    (void)state;
    fx_hold(&fx);
    assert_int_equal(fx_commit_start(&fx, 1, 0, 1, &err[0]), VT_OK);
    assert_int_equal(db_acquire(fx.db, &uuid, &epoch, fx_done, &err[1]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 1, 0, 2, &err[2]), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(err[0], VT_OK);
    assert_int_equal(err[1], VT_OK);
    assert_int_equal(err[2], VT_EFENCED);
    assert_int_equal(epoch, 1);
}

static void test_batch__one_fenced_one_conflict__others_are_written(void **state)
{
    int err[5];

    (void)state;
    fx_hold(&fx);
    assert_int_equal(fx_commit_start(&fx, 1, 0, 1, &err[0]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 1, 5, 2, &err[1]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 1, 0, 9, &err[2]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 3, 0, 1, &err[3]), VT_OK);
    assert_int_equal(fx_commit_start(&fx, 2, 0, 1, &err[4]), VT_OK);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(err[0], VT_OK);
    assert_int_equal(err[1], VT_EFENCED);
    assert_int_equal(err[2], VT_ECONFLICT);
    assert_int_equal(err[3], VT_ENOTFOUND);
    assert_int_equal(err[4], VT_OK);
    assert_int_equal(seq_of(1), 2);
    assert_int_equal(seq_of(2), 2);
}

static void test_queue__full__says_try_again(void **state)
{
    struct vt_uuid uuid = fx_uuid(1);
    int accepted = 0, refused;

    (void)state;
    fx_hold(&fx);
    for (;; accepted++) {
        refused = db_instance_power(fx.db, &uuid, "on", NULL, NULL, NULL, NULL);
        if (refused || accepted > 2 * DB_QUEUE_MAX)
            break;
    }
    assert_int_equal(refused, VT_EAGAIN);
    /* The request that holds the writer up may still be in the queue. */
    assert_in_range(accepted, DB_QUEUE_MAX - 1, DB_QUEUE_MAX);
    fx_release(&fx);
    db_drain(fx.db);
    assert_int_equal(db_instance_power(fx.db, &uuid, "off", NULL, NULL, NULL, NULL), VT_OK);
}

static void test_dispatch__completions__run_only_there(void **state)
{
    int err;

    (void)state;
    assert_int_equal(fx_commit_start(&fx, 1, 0, 1, &err), VT_OK);
    while (seq_of(1) != 2)
        usleep(1000);
    usleep(20000);
    assert_int_equal(err, FX_PENDING);
    db_dispatch(fx.db);
    assert_int_equal(err, VT_OK);
}

static void ask_again(void *arg, int err)
{
    static int next;

    assert_int_equal(err, VT_OK);
    if (*(unsigned *)arg < 5) {
        ++*(unsigned *)arg;
        assert_int_equal(fx_commit_start(&fx, 2, 0, 1, &next), VT_OK);
        db_drain(fx.db);
        assert_int_equal(next, VT_OK);
    }
}

static void test_close__work_in_the_queue__is_done_and_reported(void **state)
{
    const struct vt_uuid uuid = fx_uuid(1);
    unsigned calls = 4;
    uint64_t epoch = 0;
    int err[50];

    (void)state;
    assert_int_equal(db_acquire(fx.db, &uuid, &epoch, ask_again, &calls), VT_OK);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(fx_commit_start(&fx, 1, 1, 1 + i, &err[i]), VT_OK);
    fx_close(&fx);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(err[i], VT_OK);
    assert_int_equal(calls, 5);
    assert_int_equal(epoch, 1);
    fx_open(&fx);
    assert_false(db_was_unclean(fx.db));
    assert_int_equal(seq_of(1), 51);
    assert_int_equal(seq_of(2), 2);
}

static void test_foreign_lock__held__unavailable_then_recovers(void **state)
{
    struct timespec before, after;
    struct vt_uuid uuid = fx_uuid(1);
    struct db_instance instance;
    sqlite3 *sq;

    (void)state;
    sq = lock_store();
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    /* Readers, and so the loop, never wait for it. */
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(db_instance_get(fx.db, &uuid, &instance), VT_OK);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 <
                DB_BUSY_MS);
    unlock_store(sq);
    assert_int_equal(seq_of(1), 1);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_OK);
}

static void test_disk_full__pages_used_up__unavailable_then_resumes(void **state)
{
    int64_t pages;
    char sql[64];
    static char big[100000];

    (void)state;
    memset(big, 'x', sizeof big - 1);
    assert_int_equal(conn_int(fx.db->writer->sq, "PRAGMA page_count", &pages), VT_OK);
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %lld", (long long)pages + 2);
    assert_int_equal(sqlite3_exec(fx.db->writer->sq, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, big), VT_EUNAVAILABLE);
    /* What fits is still written. */
    assert_int_equal(fx_commit(&fx, 2, 0, 1, "small"), VT_OK);
    assert_int_equal(sqlite3_exec(fx.db->writer->sq, "PRAGMA max_page_count = 100000", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(seq_of(1), 1);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, big), VT_OK);
}

static void test_disk_full__at_each_write_of_a_commit__nothing_written(void **state)
{
    int failed = 0;
    uint64_t seq = 1;

    (void)state;
    for (int writes = 0; writes < 200; writes++) {
        int err;

        atomic_store(&vfs_write_rc, SQLITE_FULL);
        atomic_store(&vfs_writes_left, writes);
        err = fx_commit(&fx, 1, 0, seq, "some more bytes");
        vfs_heal();
        if (!err) {
            assert_int_equal(seq_of(1), ++seq);
            break;
        }
        failed++;
        assert_int_equal(err, VT_EUNAVAILABLE);
        assert_int_equal(seq_of(1), seq);
        assert_int_equal(fx_commit(&fx, 1, 0, seq, "and it resumes"), VT_OK);
        seq++;
    }
    assert_in_range(failed, 1, 199);
}

static void test_failing_sync__unknown__reopens_and_goes_on(void **state)
{
    uint64_t epoch = 0, seq;

    (void)state;
    atomic_store(&vfs_sync_rc, SQLITE_IOERR_FSYNC);
    atomic_store(&vfs_syncs_left, 0);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "perhaps"), VT_EUNKNOWN);
    /* Still failing: certainly not acknowledged. */
    assert_int_not_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    vfs_heal();
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    seq = seq_of(1);
    assert_in_range(seq, 1, 2);
    assert_int_equal(fx_commit(&fx, 1, epoch, seq, "on we go"), VT_OK);
    assert_int_equal(seq_of(1), seq + 1);
}

static void test_failing_write__unknown__reopens_and_goes_on(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    atomic_store(&vfs_write_rc, SQLITE_IOERR_WRITE);
    atomic_store(&vfs_writes_left, 0);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "perhaps"), VT_EUNKNOWN);
    vfs_heal();
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, seq_of(1), "on we go"), VT_OK);
}

#ifdef VTPM_TEST_HOOKS
static void test_unknown__had_been_written__is_adopted(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    db_test_fail_commits(fx.db, 1, VT_EUNKNOWN, true);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "kept"), VT_EUNKNOWN);
    assert_int_equal(seq_of(1), 2);
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_OK);
    assert_int_equal(fx_commit(&fx, 1, epoch, 2, "next"), VT_OK);
}

static void test_injected__n_commits__fail_as_told(void **state)
{
    (void)state;
    db_test_fail_commits(fx.db, 2, VT_EUNAVAILABLE, false);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNAVAILABLE);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_OK);
    db_test_fail_commits(fx.db, 1, VT_EUNKNOWN, false);
    assert_int_equal(fx_commit(&fx, 1, 0, 2, "x"), VT_EUNKNOWN);
    assert_int_equal(seq_of(1), 2);
    assert_int_equal(fx_commit(&fx, 1, 0, 2, "x"), VT_OK);
}

static void test_unknown__other_file_meanwhile__writes_no_more(void **state)
{
    uint64_t epoch = 0;

    (void)state;
    db_test_fail_commits(fx.db, 1, VT_EUNKNOWN, false);
    assert_int_equal(fx_commit(&fx, 1, 0, 1, "x"), VT_EUNKNOWN);
    fx_sql(&fx, "UPDATE record SET seq = 9 WHERE seq = 1");
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_EUNAVAILABLE);
    fx_sql(&fx, "UPDATE record SET seq = 1 WHERE seq = 9");
    assert_int_equal(fx_acquire(&fx, 1, &epoch), VT_EUNAVAILABLE);
}
#endif

/* The child reports each commit after its completion; killed, everything reported must be there. */
static void commit_until_killed(int report)
{
    uint64_t seq = 1, epoch = 0;

    fx_open(&fx);
    if (fx_acquire(&fx, 1, &epoch))
        _exit(1);
    seq = seq_of(1);
    for (;;) {
        int err[8];
        uint64_t done = 0;

        for (unsigned i = 0; i < 8; i++) {
            if (fx_commit_start(&fx, 1, epoch, seq + i, &err[i]))
                _exit(2);
        }
        db_drain(fx.db);
        for (unsigned i = 0; i < 8; i++)
            done += err[i] == VT_OK;
        seq += done;
        if (done != 8 || write(report, &seq, sizeof seq) != sizeof seq)
            _exit(3);
    }
}

static void test_kill__while_committing__all_reported_is_there(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        uint64_t reported = 0, last;
        int pipes[2], status;
        pid_t child;

        fx_close(&fx);
        assert_int_equal(pipe(pipes), 0);
        child = fork();
        if (child == 0)
            commit_until_killed(pipes[1]);
        close(pipes[1]);
        for (int i = 0; i <= round * 3 && read(pipes[0], &last, sizeof last) == sizeof last; i++)
            reported = last;
        usleep((useconds_t)(round * 317 % 1000));
        kill(child, SIGKILL);
        while (read(pipes[0], &last, sizeof last) == sizeof last)
            reported = last;
        close(pipes[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        fx_open(&fx);
        assert_true(db_was_unclean(fx.db));
        assert_true(reported > 0);
        assert_in_range(seq_of(1), reported, reported + 8);
    }
}

static atomic_bool stop_readers;

static int look(void *ctx, const struct db_instance *instance)
{
    (void)ctx;
    return instance->seq > 0 ? 0 : VT_EDAMAGED;
}

static void *reader(void *arg)
{
    const struct vt_uuid uuid = fx_uuid(1);
    uint64_t *failures = arg, last = 0;

    while (!atomic_load(&stop_readers)) {
        struct db_instance instance;
        struct db_credential credential;
        bool allowed = false;

        if (db_instance_get(fx.db, &uuid, &instance) || instance.seq < last)
            ++*failures;
        last = instance.seq;
        if (db_instance_each(fx.db, true, look, NULL))
            ++*failures;
        if (db_credential_get(fx.db, "aabbccdd-eeff-4011-8022-000000000001", &credential))
            ++*failures;
        if (db_credential_allows(fx.db, credential.identity, &uuid, &allowed) || !allowed)
            ++*failures;
    }
    return NULL;
}

static void *checker(void *arg)
{
    uint64_t *failures = arg;

    while (!atomic_load(&stop_readers)) {
        struct db_check check;

        if (db_check(fx.db, &check) || !check.mac_ok || !check.chain_ok || !check.structure_ok)
            ++*failures;
    }
    return NULL;
}

static void test_threads__readers_and_check_beside_the_writer__agree(void **state)
{
    pthread_t threads[7];
    uint64_t failures[7] = {0};
    int err[40];

    (void)state;
    atomic_store(&stop_readers, false);
    for (size_t i = 0; i < VT_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i ? reader : checker, &failures[i]), 0);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 40; i++)
            assert_int_equal(fx_commit_start(&fx, 1, 0, 1 + round * 40 + i, &err[i]), VT_OK);
        while (err[39] == FX_PENDING)
            db_dispatch(fx.db);
        /* Read your own writes: what was reported is seen at once. */
        assert_int_equal(seq_of(1), 1 + (round + 1) * 40);
        assert_int_equal(fx_event(&fx, "round"), VT_OK);
    }
    atomic_store(&stop_readers, true);
    for (size_t i = 0; i < VT_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(failures[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WRITER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        WRITER_TEST(test_batch__many_waiting__share_a_sync),
        WRITER_TEST(test_batch__acquire_before_commit__fences_it),
        WRITER_TEST(test_batch__one_fenced_one_conflict__others_are_written),
        WRITER_TEST(test_queue__full__says_try_again),
        WRITER_TEST(test_dispatch__completions__run_only_there),
        WRITER_TEST(test_close__work_in_the_queue__is_done_and_reported),
        WRITER_TEST(test_foreign_lock__held__unavailable_then_recovers),
        WRITER_TEST(test_disk_full__pages_used_up__unavailable_then_resumes),
        WRITER_TEST(test_disk_full__at_each_write_of_a_commit__nothing_written),
        WRITER_TEST(test_failing_sync__unknown__reopens_and_goes_on),
        WRITER_TEST(test_failing_write__unknown__reopens_and_goes_on),
#ifdef VTPM_TEST_HOOKS
        WRITER_TEST(test_unknown__had_been_written__is_adopted),
        WRITER_TEST(test_injected__n_commits__fail_as_told),
        WRITER_TEST(test_unknown__other_file_meanwhile__writes_no_more),
#endif
        WRITER_TEST(test_kill__while_committing__all_reported_is_there),
        WRITER_TEST(test_threads__readers_and_check_beside_the_writer__agree),
    };

    vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
