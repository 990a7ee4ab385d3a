/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "server/base/secret.h"

#define PAGE  4096u
#define PAGES 16u
#define SIZE  (PAGES * PAGE)

static uint8_t *pages;

static int map_pages(void **state)
{
    (void)state;
    pages = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? -1 : madvise(pages, SIZE, MADV_NOHUGEPAGE);
}

static int unmap_pages(void **state)
{
    (void)state;
    return munmap(pages, SIZE);
}

/* KiB of the mapping that are this process's own. */
static unsigned own_kib(void)
{
    char line[200], begin[32];
    unsigned kib = ~0u;
    bool is_it = false;
    FILE *f = fopen("/proc/self/smaps", "r");

    assert_non_null(f);
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)pages);
    while (fgets(line, sizeof line, f)) {
        if (strchr(line, '-') && !strncmp(line, begin, strlen(begin)))
            is_it = true;
        else if (is_it && sscanf(line, "Anonymous: %u kB", &kib) == 1)
            break;
    }
    fclose(f);
    return kib;
}

static void test_wipe_sparse__secrets_here_and_there__leaves_only_zeros(void **state)
{
    static const uint8_t zeros[SIZE];

    (void)state;
    for (size_t at = 0; at < SIZE; at += 777)
        pages[at] = 0x5a;
    pages[SIZE - 1] = 1;
    vt_wipe_sparse(pages, SIZE);
    assert_memory_equal(pages, zeros, SIZE);
}

static void test_wipe_sparse__odd_begin_and_end__touches_nothing_else(void **state)
{
    static const uint8_t zeros[SIZE];

    (void)state;
    memset(pages, 0x5a, SIZE);
    vt_wipe_sparse(pages + 13, SIZE - 13 - 7);
    assert_memory_equal(pages + 13, zeros, SIZE - 13 - 7);
    assert_int_equal(pages[12], 0x5a);
    assert_int_equal(pages[SIZE - 7], 0x5a);
    vt_wipe_sparse(pages, 0);
    assert_int_equal(pages[0], 0x5a);
}

static void test_wipe_sparse__pages_never_written__makes_none_of_them_its_own(void **state)
{
    (void)state;
    pages[5 * PAGE + 100] = 0x5a;
    assert_int_equal(own_kib(), PAGE / 1024);
    vt_wipe_sparse(pages, SIZE);
    assert_int_equal(own_kib(), PAGE / 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wipe_sparse__secrets_here_and_there__leaves_only_zeros, map_pages,
                                        unmap_pages),
        cmocka_unit_test_setup_teardown(test_wipe_sparse__odd_begin_and_end__touches_nothing_else, map_pages,
                                        unmap_pages),
        cmocka_unit_test_setup_teardown(test_wipe_sparse__pages_never_written__makes_none_of_them_its_own, map_pages,
                                        unmap_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
