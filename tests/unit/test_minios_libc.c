/* SPDX-License-Identifier: Apache-2.0 */
/* The image's own C library, by other names (minios.cmake): printing as the host does, and a heap that is never overrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/base.h"
#include "shim-minios/libc/heap.h"

int mo_snprintf(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void *mo_malloc(size_t size);
void *mo_calloc(size_t count, size_t size);
void *mo_realloc(void *ptr, size_t size);
void mo_free(void *ptr);
void *mo_memmove(void *to, const void *from, size_t len);
int mo_memcmp(const void *a, const void *b, size_t len);
int mo_strncmp(const char *a, const char *b, size_t max);
char *mo_strchr(const char *text, int c);
char *mo_strstr(const char *text, const char *word);
size_t mo_strcspn(const char *text, const char *chars);
char *mo_strncpy(char *to, const char *from, size_t max);
_Noreturn void mo_abort(void);
int __eqsf2(uint32_t a, uint32_t b);
int __eqdf2(uint64_t a, uint64_t b);

static jmp_buf aborted;

void mo_abort(void)
{
    longjmp(aborted, 1);
}

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[200], theirs[200];                                                               \
        assert_int_equal(mo_snprintf(ours, sizeof ours, __VA_ARGS__), snprintf(theirs, sizeof theirs, __VA_ARGS__)); \
        assert_string_equal(ours, theirs);                                                         \
    } while (0)

static void test_snprintf__all_that_is_used__is_as_the_hosts(void **state VT_UNUSED)
{
    SAME("%d %d %d %i", 0, -1, INT32_MAX, INT32_MIN);
    SAME("%u %x %X %08x %4x|%-4x|", 7u, 0xdeadbeefu, 0xabcu, 0x12u, 0xfu, 0xfu);
    SAME("%" PRIu64 " %" PRIx64 " %zu %ld %lld", UINT64_MAX, UINT64_MAX, (size_t)5, INT64_MIN, -3LL);
    SAME("%hhu %hu %hhd", (uint8_t)200, (uint16_t)60000, (int8_t)-5);
    SAME("%s|%10s|%-10s|%.3s|%.*s|%*s", "abc", "abc", "abc", "abcdef", 2, "xyz", 6, "q");
    SAME("%c%c %% %05d %-5d| %5d %.3d %s", 'a', 'b', -42, 42, -42, 7, "x");
    SAME("-0x%04x domain %" PRIu32 " (%.50s)", 0x7780u, 5u, "name");
    SAME("%.0d|%.0s|%s", 5, "abc", "");
}

static void test_snprintf__too_long__is_cut_and_says_how_long_it_was(void **state VT_UNUSED)
{
    char out[8] = "zzzzzzz";

    assert_int_equal(mo_snprintf(out, 4, "%s", "abcdef"), 6);
    assert_string_equal(out, "abc");
    assert_int_equal(out[4], 'z');
    assert_int_equal(mo_snprintf(NULL, 0, "%d", 12345), 5);
    assert_int_equal(mo_snprintf(out, 1, "%9999d", 1), 9999);
    assert_string_equal(out, "");
}

static void test_string__edges__are_as_the_hosts(void **state VT_UNUSED)
{
    char a[16] = "0123456789", b[16] = "0123456789", four[4];

    assert_memory_equal(mo_memmove(a + 2, a, 8), memmove(b + 2, b, 8), 8);
    assert_memory_equal(mo_memmove(a, a + 3, 8), memmove(b, b + 3, 8), 8);
    assert_true(mo_memcmp("a\xff", "a\x01", 2) > 0);
    assert_int_equal(mo_memcmp("ab", "ac", 1), 0);
    assert_int_equal(mo_strncmp("abc", "abd", 2), 0);
    assert_true(mo_strncmp("ab", "abc", 9) < 0);
    assert_int_equal(mo_strcspn("abc/d", "/"), 3);
    assert_null(mo_strchr("abc", 'd'));
    assert_string_equal(mo_strstr("vtpm-1", "-1"), "-1");
    assert_null(mo_strstr("vtpm", "x"));
    assert_memory_equal(mo_strncpy(four, "ab", 4), "ab\0\0", 4);
    assert_memory_equal(mo_strncpy(four, "abcdef", 4), "abcd", 4);
}

static void test_eqsf2__zeros_and_nan__are_ieee_754s(void **state VT_UNUSED)
{
    assert_int_equal(__eqsf2(0, 0x80000000), 0);
    assert_int_equal(__eqsf2(0x3f800000, 0x3f800000), 0);
    assert_int_not_equal(__eqsf2(0x7fc00000, 0x7fc00000), 0);
    assert_int_equal(__eqdf2(0x8000000000000000, 0), 0);
    assert_int_not_equal(__eqdf2(1, 0), 0);
    assert_int_not_equal(__eqdf2(0x7ff8000000000000, 0x7ff8000000000000), 0);
}

#define PIECES 64

/* Every piece is full of its own number for as long as it lives. */
static void test_heap__random_use__no_piece_touches_another(void **state VT_UNUSED)
{
    static struct {
        uint8_t *at;
        size_t len;
    } pieces[PIECES];
    uint32_t random = 1;

    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (random >> 8) % PIECES;
        size_t len = (random >> 16) % 3000;

        random = random * 1664525 + 1013904223;
        for (size_t k = 0; k < pieces[i].len; k++)
            if (pieces[i].at[k] != i)
                fail_msg("piece %u was overwritten", i);
        if (random & 0x40000000) {
            mo_free(pieces[i].at);
            pieces[i].at = mo_malloc(len);
        } else {
            pieces[i].at = mo_realloc(pieces[i].at, len);
        }
        assert_non_null(pieces[i].at);
        assert_int_equal((uintptr_t)pieces[i].at % 16, 0);
        memset(pieces[i].at, (int)i, len);
        pieces[i].len = len;
    }
    for (unsigned i = 0; i < PIECES; i++)
        mo_free(pieces[i].at);
    assert_int_equal(heap_use().now, 0);
    assert_true(heap_use().most <= HEAP_BYTES);
}

static void test_heap__full__gives_null_and_is_whole_again_after(void **state VT_UNUSED)
{
    void *pieces[HEAP_BYTES / 4000 + 1];
    size_t count = 0;
    void *all;

    while ((pieces[count] = mo_malloc(4000)) != NULL)
        count++;
    assert_true(count > HEAP_BYTES / 4096 && count < VT_COUNT(pieces));
    for (size_t i = 0; i < count; i += 2)
        mo_free(pieces[i]);
    for (size_t i = 1; i < count; i += 2)
        mo_free(pieces[i]);
    all = mo_malloc(HEAP_BYTES - 64);
    assert_non_null(all);
    assert_null(mo_malloc(64));
    mo_free(all);
    assert_null(mo_malloc(HEAP_BYTES));
    assert_null(mo_malloc(SIZE_MAX));
    assert_null(mo_calloc(SIZE_MAX / 2, 3));
    assert_int_equal(heap_use().now, 0);
}

static void test_heap__freed_twice_or_never_given__ends_the_domain(void **state VT_UNUSED)
{
    /* Volatile: it lives across longjmp. */
    void *volatile piece = mo_malloc(10);
    static uint8_t foreign[64];

    mo_free(piece);
    if (!setjmp(aborted)) {
        mo_free(piece);
        fail_msg("freed twice");
    }
    if (!setjmp(aborted)) {
        mo_free(foreign + 32);
        fail_msg("freed what it never gave");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snprintf__all_that_is_used__is_as_the_hosts),
        cmocka_unit_test(test_snprintf__too_long__is_cut_and_says_how_long_it_was),
        cmocka_unit_test(test_string__edges__are_as_the_hosts),
        cmocka_unit_test(test_eqsf2__zeros_and_nan__are_ieee_754s),
        cmocka_unit_test(test_heap__random_use__no_piece_touches_another),
        cmocka_unit_test(test_heap__full__gives_null_and_is_whole_again_after),
        cmocka_unit_test(test_heap__freed_twice_or_never_given__ends_the_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
