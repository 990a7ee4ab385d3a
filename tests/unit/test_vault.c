/* SPDX-License-Identifier: Apache-2.0 */
/* Locked memory for keys: where it lies, what stays in it, and what happens when no more can be locked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/base/vault.h"

#define PAGE     ((size_t)sysconf(_SC_PAGESIZE))
#define PER_PAGE (PAGE / sizeof(struct vt_key))
#define KEYS_MAX 8192

/* The runtimes of AddressSanitizer and its like make mlock a call that does nothing. */
#ifdef VTPM_WIDE_SECCOMP
#define LOCKS false
#else
#define LOCKS true
#endif

static unsigned lines;
static char last_line[1024];

static void on_log(enum vt_log_level level, const char *line)
{
    (void)level;
    lines++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

/* VmLck of this process in kB. */
static long locked_kb(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kb = -1;

    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        (void)!sscanf(line, "VmLck: %ld kB", &kb);
    fclose(file);
    return kb;
}

/* Whether the mapping that holds `at` is locked ("lo") and left out of dumps ("dd"): proc(5), smaps. */
static bool is_locked_and_not_dumped(const void *at)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false, found = false;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < strchr(line, ' '))
            here = (uintptr_t)at >= from && (uintptr_t)at < to;
        if (here && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, " lo") && strstr(line, " dd");
    }
    fclose(file);
    return found;
}

static bool is_zero(const struct vt_key *key)
{
    static const struct vt_key zero;

    return vt_ct_equal(key, &zero, sizeof zero);
}

static void test_vault__take__locked_zeroed_apart(void **state)
{
    static struct vt_key *keys[KEYS_MAX];
    const size_t count = 2 * PER_PAGE + 1;
    struct vt_vault *vault;

    (void)state;
    assert_int_equal(vt_vault_new(&vault, NULL), VT_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(vt_vault_take(vault, &keys[i], NULL), VT_OK);
        assert_true(is_zero(keys[i]));
        memset(keys[i], (int)(i % 255) + 1, sizeof *keys[i]);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof keys[i]->bytes; k++)
            assert_int_equal(keys[i]->bytes[k], i % 255 + 1);
    if (LOCKS) {
        assert_true(is_locked_and_not_dumped(keys[0]));
        assert_true(is_locked_and_not_dumped(keys[count - 1]));
    }
    for (size_t i = 0; i < count; i++)
        vt_vault_give(vault, keys[i]);
    vt_vault_free(vault);
}

static void test_vault__given_back__wiped_and_used_again(void **state)
{
    struct vt_key *first, *second, *again;
    struct vt_vault *vault;

    (void)state;
    assert_int_equal(vt_vault_new(&vault, NULL), VT_OK);
    assert_int_equal(vt_vault_take(vault, &first, NULL), VT_OK);
    assert_int_equal(vt_vault_take(vault, &second, NULL), VT_OK);
    memset(first, 0xaa, sizeof *first);
    memset(second, 0xbb, sizeof *second);
    vt_vault_give(vault, first);
    assert_true(is_zero(first));
    assert_int_equal(second->bytes[31], 0xbb);
    assert_int_equal(vt_vault_take(vault, &again, NULL), VT_OK);
    assert_ptr_equal(again, first);
    vt_vault_give(vault, again);
    vt_vault_give(vault, second);
    vt_vault_give(vault, NULL);
    vt_vault_free(vault);
}

static void test_vault__many_given_back__pages_unlocked(void **state)
{
    static struct vt_key *keys[KEYS_MAX];
    struct vt_vault *vault;
    long one;

    (void)state;
    assert_int_equal(vt_vault_new(&vault, NULL), VT_OK);
    one = locked_kb();
    for (size_t i = 0; i < 3 * PER_PAGE; i++)
        assert_int_equal(vt_vault_take(vault, &keys[i], NULL), VT_OK);
    assert_int_equal(locked_kb(), one + (long)(2 * PAGE / 1024));
    for (size_t i = 0; i < 3 * PER_PAGE; i++)
        vt_vault_give(vault, keys[i]);
    assert_int_equal(locked_kb(), one);
    vt_vault_free(vault);
    assert_int_equal(locked_kb(), one - (long)(PAGE / 1024));
}

/* Root's limit is none: another user's holds. Returns an exit code for the parent: the line that was not as
 * expected. */
#define EXPECT(cond)                                                                                         \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            return __LINE__ - first;                                                                         \
    } while (0)

static int run_out(rlim_t limit)
{
    static struct vt_key *keys[KEYS_MAX];
    const int first = __LINE__;
    const struct rlimit small = {limit, limit};
    struct vt_vault *vault;
    struct vt_key *key = NULL;
    struct vt_why why = {""};
    size_t count = 0;

    EXPECT(!setrlimit(RLIMIT_MEMLOCK, &small) && (geteuid() || !setresuid(65534, 65534, 65534)));
    vt_log_to(on_log, VT_LOG_INFO);
    if (limit < PAGE) {
        EXPECT(vt_vault_new(&vault, &why) == VT_ENOMEM);
        EXPECT(strstr(why.text, "LimitMEMLOCK") && strstr(why.text, "ulimit -l"));
        return 0;
    }
    EXPECT(vt_vault_new(&vault, &why) == VT_OK);
    while (vt_vault_take(vault, &keys[count], &why) == VT_OK && count < KEYS_MAX - 1)
        count++;
    /* All of the limit is used, and not a key more is given. */
    EXPECT(count == limit / sizeof(struct vt_key));
    EXPECT(strstr(why.text, "LimitMEMLOCK") && lines == 1 && strstr(last_line, "keys: "));
    EXPECT(vt_vault_take(vault, &key, NULL) == VT_ENOMEM && !key && lines == 1);
    /* With room again it goes on, and says so anew when it ends. */
    vt_vault_give(vault, keys[0]);
    EXPECT(vt_vault_take(vault, &keys[0], NULL) == VT_OK);
    EXPECT(vt_vault_take(vault, &key, NULL) == VT_ENOMEM && lines == 2);
    for (size_t i = 0; i < count; i++)
        vt_vault_give(vault, keys[i]);
    vt_vault_free(vault);
    return 0;
}

static int code_of_child(rlim_t limit)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(run_out(limit));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_vault__limit_of_two_pages__refuses_and_says_what_to_raise(void **state)
{
    (void)state;
    assert_int_equal(code_of_child(2 * PAGE), 0);
}

static void test_vault__no_page_can_be_locked__is_not_made(void **state)
{
    (void)state;
    assert_int_equal(code_of_child(0), 0);
}

int main(void)
{
    const struct CMUnitTest with_locks[] = {
        cmocka_unit_test(test_vault__many_given_back__pages_unlocked),
        cmocka_unit_test(test_vault__limit_of_two_pages__refuses_and_says_what_to_raise),
        cmocka_unit_test(test_vault__no_page_can_be_locked__is_not_made),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vault__take__locked_zeroed_apart),
        cmocka_unit_test(test_vault__given_back__wiped_and_used_again),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return LOCKS ? failed + cmocka_run_group_tests(with_locks, NULL, NULL) : failed;
}
