/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/core/runtime.h"
#include "server/core/store/seal.h"

static const struct vt_uuid uuid = {{0xab, 0xcd}};
static char base[64], path[96], file_path[160];
static struct runtime_dir *dir;

static int set_up(void **state)
{
    char text[VT_UUID_TEXT];
    struct vt_why why = {0};

    (void)state;
    snprintf(base, sizeof base, "/dev/shm/test_runtime.XXXXXX");
    if (!mkdtemp(base)) {
        snprintf(base, sizeof base, "/tmp/test_runtime.XXXXXX");
        assert_non_null(mkdtemp(base));
    }
    snprintf(path, sizeof path, "%s/run", base);
    vt_uuid_text(text, &uuid);
    snprintf(file_path, sizeof file_path, "%s/%s.run", path, text);
    if (runtime_open(&dir, path, &why))
        fail_msg("%s", why.text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_true(runtime_file_remove(dir, &uuid) != VT_EIO);
    runtime_close(dir);
    dir = NULL;
    assert_int_equal(rmdir(path), 0); /* nothing else may have been left there */
    assert_int_equal(rmdir(base), 0);
    return 0;
}

/* Bytes and length that follow from seq alone. */
static size_t length_of(uint64_t seq)
{
    return seq % 97 == 0 ? 30000 + (seq * 131) % 60000 : 1 + (seq * 7919) % 7000;
}

static void fill(uint8_t *out, uint64_t seq, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(seq * 31 + i * 7 + (i >> 8));
}

static void tag_of(uint8_t tag[CR_GCM_TAG], uint64_t seq)
{
    memset(tag, 0, CR_GCM_TAG);
    memcpy(tag, &seq, sizeof seq);
    tag[15] = 0x77;
}

static int put(struct runtime_file *file, uint64_t seq)
{
    static uint8_t bytes[100000];
    uint8_t tag[CR_GCM_TAG];

    tag_of(tag, seq);
    fill(bytes, seq, length_of(seq));
    return runtime_write(file, seq, tag, bytes, length_of(seq));
}

static void is_record(const struct runtime_slot *slot, uint64_t seq)
{
    static uint8_t bytes[100000];
    uint8_t tag[CR_GCM_TAG];

    tag_of(tag, seq);
    fill(bytes, seq, length_of(seq));
    assert_int_equal(slot->seq, seq);
    assert_int_equal(slot->len, length_of(seq));
    assert_memory_equal(slot->tag, tag, sizeof tag);
    assert_memory_equal(slot->data, bytes, slot->len);
}

static struct runtime_file *open_file(bool create)
{
    struct runtime_file *file;

    assert_int_equal(runtime_file_open(&file, dir, &uuid, create), VT_OK);
    return file;
}

static void test_runtime__new_file__is_empty_and_private(void **state)
{
    struct runtime_file *file;
    struct runtime_slot slots[2];
    struct stat st;

    (void)state;
    assert_int_equal(runtime_file_open(&file, dir, &uuid, false), VT_ENOTFOUND);
    assert_null(file);
    file = open_file(true);
    assert_int_equal(runtime_read(file, slots), 0);
    runtime_file_close(file);
    assert_int_equal(stat(file_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_blocks * 512 >= st.st_size); /* every page is there: no SIGBUS later */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(runtime_file_remove(dir, &uuid), VT_OK);
    assert_int_equal(runtime_file_remove(dir, &uuid), VT_ENOTFOUND);
}

static void test_runtime__writes__newest_first_and_survive_reopen(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];

    (void)state;
    assert_int_equal(put(file, 5), VT_OK);
    assert_int_equal(runtime_read(file, slots), 1);
    is_record(&slots[0], 5);
    for (uint64_t seq = 6; seq < 600; seq++) {
        assert_int_equal(put(file, seq), VT_OK);
        if (seq % 50 == 0) {
            runtime_file_close(file);
            file = open_file(seq % 100 == 0);
        }
        assert_int_equal(runtime_read(file, slots), 2);
        is_record(&slots[0], seq);
        is_record(&slots[1], seq - 1);
    }
    runtime_file_close(file);
}

static void test_runtime_write__lower_seq__is_refused_equal_replaces(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];
    uint8_t tag[CR_GCM_TAG] = {1};

    (void)state;
    assert_int_equal(put(file, 5), VT_OK);
    assert_int_equal(put(file, 6), VT_OK);
    assert_int_equal(put(file, 4), VT_ECONFLICT);
    assert_int_equal(put(file, 0), VT_EUSAGE);
    assert_int_equal(runtime_write(file, 6, tag, "again", 5), VT_OK);
    assert_int_equal(runtime_read(file, slots), 1);
    assert_int_equal(slots[0].seq, 6);
    assert_memory_equal(slots[0].data, "again", 5);
    assert_int_equal(runtime_write(file, 7, tag, NULL, 0), VT_OK);
    assert_int_equal(runtime_read(file, slots), 2);
    assert_int_equal(slots[0].len, 0);
    assert_int_equal(runtime_write(file, 8, tag, tag, (size_t)1 << 30), VT_ETOOBIG);
    assert_int_equal(runtime_read(file, slots), 2);
    runtime_file_close(file);
}

static void test_runtime_room__filled__counts_only_when_put(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];
    uint8_t tag[CR_GCM_TAG] = {9}, *room;

    (void)state;
    assert_null(runtime_room(file, 0, 1));
    room = runtime_room(file, 3, 5);
    assert_non_null(room);
    memcpy(room, "three", 5);
    assert_int_equal(runtime_read(file, slots), 0);
    runtime_put(file, 3, tag, 5);
    assert_int_equal(runtime_read(file, slots), 1);
    assert_memory_equal(slots[0].data, "three", 5);
    assert_null(runtime_room(file, 2, 5));
    /* Given up in the middle: the one before stands, and the same room is there again. */
    room = runtime_room(file, 4, 4);
    assert_non_null(room);
    memset(room, 0xEE, 4);
    assert_int_equal(runtime_read(file, slots), 1);
    assert_int_equal(slots[0].seq, 3);
    assert_ptr_equal(runtime_room(file, 4, 4), room);
    memcpy(room, "four", 4);
    runtime_put(file, 4, tag, 4);
    assert_int_equal(runtime_read(file, slots), 2);
    assert_int_equal(slots[0].seq, 4);
    /* Too long for this file: runtime_write makes a bigger one. */
    assert_null(runtime_room(file, 5, 100000));
    runtime_file_close(file);
}

static void test_runtime_drop__newest__the_other_is_kept_by_the_next_write(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];

    (void)state;
    assert_int_equal(put(file, 8), VT_OK);
    assert_int_equal(put(file, 50), VT_OK);
    runtime_drop(file, 49);
    assert_int_equal(runtime_read(file, slots), 2);
    runtime_drop(file, 50);
    assert_int_equal(runtime_read(file, slots), 1);
    assert_int_equal(put(file, 9), VT_OK);
    assert_int_equal(runtime_read(file, slots), 2);
    is_record(&slots[0], 9);
    is_record(&slots[1], 8);
    runtime_file_close(file);
}

static void poke(off_t at, uint8_t flip)
{
    int fd = open(file_path, O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Every byte of the older slot's header but the padding: the second one's, in a file that grew. */
static void test_runtime_read__slot_header_changed__slot_is_void(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];

    (void)state;
    assert_int_equal(put(file, 5), VT_OK);
    assert_int_equal(put(file, 6), VT_OK);
    for (off_t at = 128; at < 128 + 48; at++) {
        poke(at, 0x41);
        assert_int_equal(runtime_read(file, slots), 1);
        is_record(&slots[0], 6);
        poke(at, 0x41);
        assert_int_equal(runtime_read(file, slots), 2);
    }
    runtime_file_close(file);
}

static void test_runtime_file_open__not_one_of_ours__is_replaced_only_on_create(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];

    (void)state;
    for (off_t at = 0; at < 24; at++) {
        assert_int_equal(put(file, 5), VT_OK);
        runtime_file_close(file);
        poke(at, 0x80);
        assert_int_equal(runtime_file_open(&file, dir, &uuid, false), VT_EDAMAGED);
        file = open_file(true);
        assert_int_equal(runtime_read(file, slots), 0);
    }
    runtime_file_close(file);
    assert_int_equal(truncate(file_path, 2 * 4096), 0);
    assert_int_equal(runtime_file_open(&file, dir, &uuid, false), VT_EDAMAGED);
    assert_int_equal(truncate(file_path, 10), 0);
    assert_int_equal(runtime_file_open(&file, dir, &uuid, false), VT_EDAMAGED);
}

/* As servers wrote it before: docs/state-format.md, "Runtime file". */
static void make_version_1(void)
{
    enum { HEAD = 192, SLOT = 8192, PAGE = 4096 };
    static uint8_t bytes[PAGE + 2 * SLOT];
    const uint64_t capacity = SLOT;
    uint8_t head[HEAD];
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];
    FILE *f;

    assert_int_equal(put(file, 5), VT_OK);
    assert_int_equal(put(file, 6), VT_OK);
    assert_int_equal(runtime_read(file, slots), 2);
    memcpy(bytes + PAGE, slots[0].data, slots[0].len); /* a file that grew has the older one behind */
    memcpy(bytes + PAGE + SLOT, slots[1].data, slots[1].len);
    runtime_file_close(file);
    f = fopen(file_path, "r+");
    assert_non_null(f);
    assert_int_equal(fread(head, 1, HEAD, f), HEAD);
    memcpy(bytes, head, HEAD);
    bytes[8] = 1;
    memcpy(bytes + 16, &capacity, sizeof capacity);
    rewind(f);
    assert_int_equal(fwrite(bytes, 1, sizeof bytes, f), sizeof bytes);
    assert_int_equal(ftruncate(fileno(f), sizeof bytes), 0);
    assert_int_equal(fclose(f), 0);
}

static void test_runtime_file_open__of_version_1__is_read_and_grows(void **state)
{
    struct runtime_file *file;
    struct runtime_slot slots[2];

    (void)state;
    make_version_1();
    file = open_file(false);
    assert_int_equal(runtime_read(file, slots), 2);
    is_record(&slots[0], 6);
    is_record(&slots[1], 5);
    assert_int_equal(put(file, 7), VT_OK);
    assert_int_equal(put(file, 97), VT_OK); /* too long for it */
    runtime_file_close(file);
    file = open_file(false);
    assert_int_equal(runtime_read(file, slots), 2);
    is_record(&slots[0], 97);
    is_record(&slots[1], 7);
    runtime_file_close(file);
}

static void test_runtime__small_records__one_page(void **state)
{
    static const uint8_t bytes[1920];
    uint8_t tag[CR_GCM_TAG] = {0};
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];
    struct stat st;

    (void)state;
    for (uint64_t seq = 1; seq < 4; seq++)
        assert_int_equal(runtime_write(file, seq, tag, bytes, sizeof bytes), VT_OK);
    assert_int_equal(stat(file_path, &st), 0);
    assert_int_equal(st.st_size, 4096);
    assert_int_equal(runtime_write(file, 4, tag, bytes, 1), VT_OK);
    assert_int_equal(runtime_read(file, slots), 2);
    assert_int_equal(slots[0].len, 1);
    assert_int_equal(slots[1].len, sizeof bytes);
    runtime_file_close(file);
}

static void test_runtime_file_open__link_or_open_to_others__is_refused(void **state)
{
    struct runtime_file *file = open_file(true);

    (void)state;
    runtime_file_close(file);
    assert_int_equal(chmod(file_path, 0640), 0);
    assert_int_equal(runtime_file_open(&file, dir, &uuid, true), VT_EPERM);
    assert_int_equal(unlink(file_path), 0);
    assert_int_equal(symlink("/etc/passwd", file_path), 0);
    assert_int_equal(runtime_file_open(&file, dir, &uuid, true), VT_EIO);
    assert_null(file);
}

static void test_runtime_open__others_can_write__is_refused_with_the_command(void **state)
{
    struct runtime_dir *other;
    struct vt_why why = {0};
    char deep[128];

    (void)state;
    assert_int_equal(chmod(path, 0770), 0);
    assert_int_equal(runtime_open(&other, path, &why), VT_EPERM);
    assert_non_null(strstr(why.text, "chmod 700"));
    assert_int_equal(chmod(path, 0700), 0);
    snprintf(deep, sizeof deep, "%s/not/there", path);
    assert_int_equal(runtime_open(&other, deep, NULL), VT_ENOTFOUND);
    assert_null(other);
}

/* The limit on file sizes stands for a full tmpfs: the space is asked for before a page is touched. */
static void test_runtime_write__no_space_to_grow__nothing_changes(void **state)
{
    struct runtime_file *file = open_file(true);
    struct runtime_slot slots[2];
    struct rlimit old, small;
    static uint8_t big[200000];
    uint8_t tag[CR_GCM_TAG] = {0};
    int err;

    (void)state;
    assert_int_equal(put(file, 5), VT_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){100000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    err = runtime_write(file, 6, tag, big, sizeof big);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(err, VT_ENOSPC);
    assert_int_equal(runtime_read(file, slots), 1);
    is_record(&slots[0], 5);
    assert_int_equal(runtime_write(file, 6, tag, big, sizeof big), VT_OK);
    assert_int_equal(runtime_read(file, slots), 2);
    runtime_file_close(file);
}

#ifdef VTPM_TEST_HOOKS
static void test_runtime__allocation_fails__nothing_leaks(void **state)
{
    struct runtime_dir *other = NULL;
    struct runtime_file *file;

    (void)state;
    vt_alloc_fail_after(0);
    assert_int_equal(runtime_open(&other, path, NULL), VT_ENOMEM);
    assert_null(other);
    vt_alloc_fail_after(0);
    assert_int_equal(runtime_file_open(&file, dir, &uuid, true), VT_ENOMEM);
    vt_alloc_fail_after(-1);
    assert_null(file);
}
#endif

/* ---- kill -9 ---- */

struct shared {
    _Atomic uint64_t begun, done;
};

static void writer(struct shared *shared, uint64_t seq)
{
    static uint8_t bytes[100000];
    uint8_t tag[CR_GCM_TAG];
    struct runtime_file *file;

    if (runtime_file_open(&file, dir, &uuid, true))
        _exit(2);
    for (;; seq++) {
        size_t len = length_of(seq);

        tag_of(tag, seq);
        fill(bytes, seq, len);
        shared->begun = seq;
        if (runtime_write(file, seq, tag, bytes, len))
            _exit(3);
        shared->done = seq;
    }
}

/* What is there after the death: all that was done, perhaps the one that was under way, whole. */
static void check_after_death(const struct shared *shared)
{
    struct runtime_slot slots[2];
    struct runtime_file *file;
    uint64_t newest = shared->done;
    size_t count;

    if (!newest)
        return;
    file = open_file(false);
    count = runtime_read(file, slots);
    assert_true(count >= 1);
    assert_true(slots[0].seq == newest || slots[0].seq == shared->begun);
    for (size_t k = 0; k < count; k++)
        is_record(&slots[k], slots[k].seq);
    runtime_file_close(file);
}

static void test_runtime__writer_killed_anywhere__newest_slot_is_whole(void **state)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct runtime_file *file;
    size_t killed_inside = 0;
    int status;

    (void)state;
    assert_true(shared != MAP_FAILED);
    srand(1);
    for (int round = 0; round < 300; round++) {
        uint64_t next = shared->begun + 1;
        pid_t pid;

        if (round % 10 == 0 && next > 1)
            assert_int_equal(runtime_file_remove(dir, &uuid), VT_OK); /* small again: it grows on the way */
        shared->begun = next;
        shared->done = round % 10 == 0 ? 0 : shared->done;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            writer(shared, next);
        while (shared->done < next && waitpid(pid, &status, WNOHANG) == 0)
            usleep(10);
        usleep((useconds_t)(rand() % 1500));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        killed_inside += shared->begun != shared->done;
        check_after_death(shared);
    }
    print_message("killed inside a write: %zu of 300, last seq %llu\n", killed_inside,
                  (unsigned long long)shared->done);
    assert_true(killed_inside > 0);
    file = open_file(false); /* removes what a killed growth may have left */
    runtime_file_close(file);
    munmap(shared, sizeof *shared);
}

/* ---- How long ---- */

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void test_runtime__time_of_8_kib(void **state)
{
    enum { ROUNDS = 20000, LEN = 8192 };
    static uint8_t plain[LEN], sealed[LEN + SEAL_OVERHEAD];
    struct runtime_file *file = open_file(true);
    struct seal_name name = {.kind = SEAL_RUNTIME};
    uint8_t tag[CR_GCM_TAG] = {0};
    struct vt_key key = {{1}};
    double t0, t1, t2;

    (void)state;
    t0 = now_us();
    for (uint64_t seq = 1; seq <= ROUNDS; seq++)
        assert_int_equal(runtime_write(file, seq, tag, sealed, sizeof sealed), VT_OK);
    t1 = now_us();
    for (name.seq = 1; name.seq <= ROUNDS / 10; name.seq++)
        assert_int_equal(seal(&key, &name, plain, LEN, sealed, tag), VT_OK);
    t2 = now_us();
    print_message("8 KiB: runtime_write %.2f us, seal %.2f us\n", (t1 - t0) / ROUNDS, (t2 - t1) / (ROUNDS / 10));
    runtime_file_close(file);
}

#define WITH_DIR(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_runtime__new_file__is_empty_and_private),
        WITH_DIR(test_runtime__writes__newest_first_and_survive_reopen),
        WITH_DIR(test_runtime_write__lower_seq__is_refused_equal_replaces),
        WITH_DIR(test_runtime_room__filled__counts_only_when_put),
        WITH_DIR(test_runtime_drop__newest__the_other_is_kept_by_the_next_write),
        WITH_DIR(test_runtime_read__slot_header_changed__slot_is_void),
        WITH_DIR(test_runtime_file_open__not_one_of_ours__is_replaced_only_on_create),
        WITH_DIR(test_runtime_file_open__of_version_1__is_read_and_grows),
        WITH_DIR(test_runtime__small_records__one_page),
        WITH_DIR(test_runtime_file_open__link_or_open_to_others__is_refused),
        WITH_DIR(test_runtime_open__others_can_write__is_refused_with_the_command),
        WITH_DIR(test_runtime_write__no_space_to_grow__nothing_changes),
#ifdef VTPM_TEST_HOOKS
        WITH_DIR(test_runtime__allocation_fails__nothing_leaks),
#endif
        WITH_DIR(test_runtime__writer_killed_anywhere__newest_slot_is_whole),
        WITH_DIR(test_runtime__time_of_8_kib),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
