/* SPDX-License-Identifier: Apache-2.0 */
/* The ring page between an honest or a hostile guest and the back end; built with a hook before each access. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/tpmif.h"

#define BAD_PARAM_SIZE 0x19
#define BAD_LOCALITY   0x3d
#define FAIL           0x09

static union {
    uint32_t words[TPMIF_PAGE / 4];
    uint8_t bytes[TPMIF_PAGE];
} page __attribute__((aligned(TPMIF_PAGE)));

static struct tpmif ring;
static unsigned accesses;
static void (*on_access)(void);

void tpmif_hook(volatile uint32_t *at);
void tpmif_hook(volatile uint32_t *at)
{
    assert_ptr_equal(at, page.words);
    accesses++;
    if (on_access)
        on_access();
}

/* ---- The guest ---- */

static void set_up(uint8_t localities)
{
    memset(&page, 0, sizeof page);
    on_access = NULL;
    accesses = 0;
    tpmif_init(&ring, &page, localities);
}

static size_t offset_of(uint8_t extra_pages)
{
    return TPMIF_HEADER + 4u * extra_pages;
}

static void guest_writes(uint32_t length, uint8_t state, uint8_t locality, uint8_t extra_pages)
{
    page.words[0] = length;
    page.bytes[4] = state;
    page.bytes[5] = locality;
    page.bytes[7] = extra_pages;
}

static void fill(uint8_t extra_pages)
{
    for (size_t i = offset_of(extra_pages); i < sizeof page; i++)
        page.bytes[i] = (uint8_t)(i * 7 + 3);
}

static void expect_code(uint8_t extra_pages, uint8_t code)
{
    const uint8_t response[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0, code};

    assert_int_equal(page.bytes[4], TPMIF_FINISH);
    assert_int_equal(page.words[0], sizeof response);
    assert_memory_equal(page.bytes + offset_of(extra_pages), response, sizeof response);
}

/* ---- Requests ---- */

static void test_tpmif__request__is_copied_untouched(void **state VT_UNUSED)
{
    for (uint32_t len = 10; len <= TPMIF_DATA_MAX; len += len < 40 ? 1 : 509) {
        set_up(1);
        fill(0);
        guest_writes(len, TPMIF_SUBMIT, 0, 0);
        assert_int_equal(tpmif_poll(&ring), TPMIF_COMMAND);
        assert_int_equal(ring.len, len);
        assert_int_equal(ring.locality, 0);
        assert_memory_equal(ring.command, page.bytes + 8, len);
        assert_int_equal(page.bytes[4], TPMIF_SUBMIT);
        /* Length, the second word, and each word of the data: once. */
        assert_int_equal(accesses, 2 + (len + 3) / 4);
    }
}

static void test_tpmif__lengths__are_bounded_by_the_page(void **state VT_UNUSED)
{
    static const struct {
        uint8_t extra_pages;
        uint32_t length;
        bool fits;
    } rows[] = {
        {0, 0, false},      {0, 9, false},         {0, 10, true},         {0, 4088, true},       {0, 4089, false},
        {0, 4096, false},   {0, 0x7fffffff, false}, {0, 0x80000000, false}, {0, 0xfffffff8, false}, {0, 0xffffffff, false},
        {1, 4084, true},    {1, 4085, false},      {255, 10, true},       {255, 3068, true},     {255, 3069, false},
        {255, 4088, false}, {255, 0xfffffbfc, false}, {128, 3576, true},   {128, 3577, false},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        set_up(1);
        fill(rows[i].extra_pages);
        guest_writes(rows[i].length, TPMIF_SUBMIT, 0, rows[i].extra_pages);
        assert_int_equal(tpmif_poll(&ring), rows[i].fits ? TPMIF_COMMAND : TPMIF_ANSWERED);
        assert_int_equal(ring.busy, rows[i].fits);
        if (rows[i].fits)
            assert_memory_equal(ring.command, page.bytes + offset_of(rows[i].extra_pages), rows[i].length);
        else
            expect_code(rows[i].extra_pages, BAD_PARAM_SIZE);
    }
}

static void test_tpmif__locality__only_what_the_toolstack_allows(void **state VT_UNUSED)
{
    static const uint8_t masks[] = {1, 0, 0x05, 0x1f, 0xff};

    for (size_t i = 0; i < VT_COUNT(masks); i++)
        for (unsigned locality = 0; locality < 256; locality++) {
            const bool allowed = locality < 4 && (masks[i] >> locality & 1);

            set_up(masks[i]);
            guest_writes(12, TPMIF_SUBMIT, (uint8_t)locality, 0);
            assert_int_equal(tpmif_poll(&ring), allowed ? TPMIF_COMMAND : TPMIF_ANSWERED);
            if (allowed)
                assert_int_equal(ring.locality, locality);
            else
                expect_code(0, BAD_LOCALITY);
        }
}

static void test_tpmif__spurious_event__does_nothing(void **state VT_UNUSED)
{
    for (unsigned value = 0; value < 256; value++) {
        uint8_t before[TPMIF_PAGE];

        if (value == TPMIF_SUBMIT || value == TPMIF_CANCEL)
            continue;
        set_up(1);
        fill(0);
        guest_writes(20, (uint8_t)value, 0, 0);
        memcpy(before, page.bytes, sizeof before);
        assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
        assert_memory_equal(before, page.bytes, sizeof before);
        assert_false(ring.busy);
    }
}

/* ---- Responses ---- */

static void take(uint32_t length, uint8_t extra_pages)
{
    set_up(1);
    fill(extra_pages);
    guest_writes(length, TPMIF_SUBMIT, 0, extra_pages);
    assert_int_equal(tpmif_poll(&ring), TPMIF_COMMAND);
}

static const uint8_t *some_response(void)
{
    static uint8_t response[2 * TPMIF_PAGE];

    for (size_t i = 0; i < sizeof response; i++)
        response[i] = (uint8_t)(200 - i * 3);
    response[0] = 0;
    response[1] = 0xc5;
    return response;
}

static void test_tpmif__response__goes_where_the_command_was(void **state VT_UNUSED)
{
    static const uint8_t extra_pages[] = {0, 1, 17, 255};

    for (size_t i = 0; i < VT_COUNT(extra_pages); i++) {
        const uint32_t most = (uint32_t)(TPMIF_PAGE - offset_of(extra_pages[i]));

        for (uint32_t len = 10; len <= most; len += most - len < 4 ? 1 : VT_MIN(most - len - 2, 333u)) {
            struct tpmif_print print, want = tpmif_print_of(some_response(), len);

            take(14, extra_pages[i]);
            print = tpmif_put(&ring, some_response(), len);
            assert_int_equal(page.bytes[4], TPMIF_SUBMIT);
            assert_true(ring.busy);
            tpmif_finish(&ring);
            assert_int_equal(page.bytes[4], TPMIF_FINISH);
            assert_int_equal(page.words[0], len);
            assert_memory_equal(page.bytes + offset_of(extra_pages[i]), some_response(), len);
            assert_int_equal(page.bytes[7], extra_pages[i]);
            assert_false(ring.busy);
            assert_true(print.len == want.len && print.sum == want.sum);
        }
    }
}

static void test_tpmif__response_too_long_or_short__replaced_by_an_error(void **state VT_UNUSED)
{
    static const struct {
        uint8_t extra_pages;
        size_t len;
    } rows[] = {{0, 4089}, {0, 4096}, {1, 4085}, {255, 3069}, {0, 9}, {0, 0}, {0, SIZE_MAX}};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        take(14, rows[i].extra_pages);
        assert_int_equal(tpmif_put(&ring, some_response(), rows[i].len).len, 10);
        tpmif_finish(&ring);
        expect_code(rows[i].extra_pages, FAIL);
    }
}

static unsigned with_length;

/* What a guest on another processor can see before each of our accesses. */
static void watch(void)
{
    assert_int_equal(page.bytes[4], TPMIF_SUBMIT);
    /* Half-way, the page is known to hold a response by its first bytes. */
    if (accesses > 1)
        assert_int_equal(page.bytes[9], 0xc5);
    if (page.words[0] != 900)
        return;
    with_length++;
    assert_memory_equal(page.bytes + 8, some_response(), 900);
}

static void test_tpmif__response__bytes_then_length_then_state(void **state VT_UNUSED)
{
    take(1000, 0);
    accesses = with_length = 0;
    on_access = watch;
    (void)tpmif_put(&ring, some_response(), 900);
    assert_int_equal(accesses, 900 / 4 + 1);
    tpmif_finish(&ring);
    on_access = NULL;
    assert_int_equal(with_length, 1);
    assert_int_equal(page.bytes[4], TPMIF_FINISH);
}

/* ---- A guest that does not wait ---- */

static void test_tpmif__page_changed_while_busy__our_own_books_decide(void **state VT_UNUSED)
{
    take(100, 2);
    guest_writes(0xffffffff, TPMIF_SUBMIT, 3, 255);
    memset(page.bytes + 16, 0xee, 100);
    assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
    guest_writes(50, TPMIF_IDLE, 0, 0);
    assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
    assert_int_equal(ring.len, 100);
    assert_int_not_equal(ring.command[0], 0xee);
    (void)tpmif_put(&ring, some_response(), 4080);
    tpmif_finish(&ring);
    assert_memory_equal(page.bytes + 16, some_response(), 4080);
    assert_int_equal(page.bytes[4], TPMIF_FINISH);
}

static void test_tpmif__second_submit_while_busy__waits_for_its_turn(void **state VT_UNUSED)
{
    take(100, 0);
    guest_writes(60, TPMIF_SUBMIT, 0, 0);
    assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
    (void)tpmif_put(&ring, some_response(), 20);
    tpmif_finish(&ring);
    assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
    guest_writes(60, TPMIF_SUBMIT, 0, 0);
    assert_int_equal(tpmif_poll(&ring), TPMIF_COMMAND);
    assert_int_equal(ring.len, 60);
}

static void test_tpmif__cancel_while_busy__said_once_and_finished(void **state VT_UNUSED)
{
    take(100, 0);
    page.bytes[4] = TPMIF_CANCEL;
    assert_int_equal(tpmif_poll(&ring), TPMIF_CANCELLED);
    assert_int_equal(page.bytes[4], TPMIF_CANCEL);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
    (void)tpmif_put(&ring, some_response(), 20);
    tpmif_finish(&ring);
    assert_int_equal(page.bytes[4], TPMIF_FINISH);
    assert_false(ring.cancelled);
}

static void test_tpmif__cancel_without_a_command__idle(void **state VT_UNUSED)
{
    set_up(1);
    guest_writes(100, TPMIF_CANCEL, 0, 0);
    assert_int_equal(tpmif_poll(&ring), TPMIF_ANSWERED);
    assert_int_equal(page.bytes[4], TPMIF_IDLE);
    assert_int_equal(tpmif_poll(&ring), TPMIF_NOTHING);
}

/* Each access of ours finds other values than the one before. */
static void flip(void)
{
    static uint32_t turn;

    turn = turn * 1664525u + 1013904223u;
    page.words[0] = turn & 1 ? 0xffffffffu - (turn >> 8) : 10 + (turn >> 8) % 8000;
    page.words[1] = TPMIF_SUBMIT | (turn & 0xff000000u);
    page.words[2 + (turn >> 4) % 1000] = turn;
}

static void test_tpmif__page_changes_at_every_access__stays_within_bounds(void **state VT_UNUSED)
{
    struct {
        struct tpmif ring;
        uint8_t after[64];
    } guarded;
    unsigned commands = 0;

    set_up(1);
    memset(guarded.after, 0x5a, sizeof guarded.after);
    tpmif_init(&guarded.ring, &page, 1);
    on_access = flip;
    for (int i = 0; i < 20000; i++) {
        if (tpmif_poll(&guarded.ring) == TPMIF_COMMAND)
            commands++;
        assert_true(guarded.ring.offset + guarded.ring.len <= TPMIF_PAGE);
        assert_true(!guarded.ring.busy || guarded.ring.len >= 10);
        if (!guarded.ring.busy || i % 3)
            continue;
        (void)tpmif_put(&guarded.ring, some_response(), (size_t)(10 + i % 4090));
        tpmif_finish(&guarded.ring);
    }
    on_access = NULL;
    assert_true(commands > 1000);
    for (size_t i = 0; i < sizeof guarded.after; i++)
        assert_int_equal(guarded.after[i], 0x5a);
}

/* ---- After a restart ---- */

static void test_tpmif__look__tells_command_from_response(void **state VT_UNUSED)
{
    static const struct {
        uint8_t tag[2];
        bool is_response;
    } rows[] = {{{0, 0xc1}, false}, {{0, 0xc3}, false}, {{0, 0xc4}, true}, {{0, 0xc5}, true},
                {{0, 0xc6}, true},  {{0, 0xc7}, false}, {{1, 0xc4}, false}};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct tpmif_view view;

        set_up(1);
        fill(3);
        memcpy(page.bytes + 20, rows[i].tag, 2);
        guest_writes(33, TPMIF_SUBMIT, 2, 3);
        tpmif_look(&ring, &view);
        assert_int_equal(view.state, TPMIF_SUBMIT);
        assert_true(view.fits);
        assert_int_equal(view.is_response, rows[i].is_response);
        assert_int_equal(view.offset, 20);
        assert_int_equal(view.locality, 2);
        assert_memory_equal(ring.command, page.bytes + 20, 33);
        assert_true(view.print.sum == tpmif_print_of(page.bytes + 20, 33).sum && view.print.len == 33);
        assert_false(ring.busy);
    }
}

/* Only right after a restart: else it is a command like any other, and the TPM says what is wrong with it. */
static void test_tpmif__response_found_as_request__retry_once(void **state VT_UNUSED)
{
    static const uint8_t retry[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 8, 0};
    struct tpmif_view view;

    set_up(1);
    page.bytes[9] = 0xc4;
    guest_writes(14, TPMIF_SUBMIT, 0, 0);
    tpmif_look(&ring, &view);
    assert_int_equal(tpmif_poll(&ring), TPMIF_ANSWERED);
    assert_int_equal(page.bytes[4], TPMIF_FINISH);
    assert_memory_equal(page.bytes + 8, retry, sizeof retry);
    guest_writes(14, TPMIF_SUBMIT, 0, 0);
    assert_int_equal(tpmif_poll(&ring), TPMIF_COMMAND);
}

static void test_tpmif__look_at_nonsense__does_not_fit(void **state VT_UNUSED)
{
    struct tpmif_view view;

    set_up(1);
    guest_writes(5000, 77, 0, 0);
    tpmif_look(&ring, &view);
    assert_int_equal(view.state, TPMIF_ODD);
    assert_false(view.fits);
    assert_false(view.is_response);
    assert_int_equal(ring.len, 0);
}

static void test_tpmif__restore__answers_the_command_of_before(void **state VT_UNUSED)
{
    static const uint8_t command[] = "0123456789abcdef";
    struct tpmif_view view;

    set_up(1);
    guest_writes(16, TPMIF_CANCEL, 0, 1);
    tpmif_look(&ring, &view);
    assert_true(tpmif_restore(&ring, &view, 0, command, 16));
    assert_int_equal(tpmif_poll(&ring), TPMIF_CANCELLED);
    (void)tpmif_put(&ring, some_response(), 20);
    tpmif_finish(&ring);
    assert_int_equal(page.bytes[4], TPMIF_FINISH);
    assert_memory_equal(page.bytes + 12, some_response(), 20);
}

static void test_tpmif__restore_of_what_cannot_be__refused(void **state VT_UNUSED)
{
    static const uint8_t command[TPMIF_PAGE];
    struct tpmif_view view;

    set_up(1);
    guest_writes(16, TPMIF_SUBMIT, 0, 255);
    tpmif_look(&ring, &view);
    assert_false(tpmif_restore(&ring, &view, 0, command, 3069));
    assert_false(tpmif_restore(&ring, &view, 0, command, 9));
    assert_false(ring.busy);
    assert_true(tpmif_restore(&ring, &view, 0, command, 3068));
}

static void test_tpmif__wipe__leaves_nothing(void **state VT_UNUSED)
{
    static const struct tpmif empty;

    take(4088, 0);
    tpmif_wipe(&ring);
    assert_memory_equal(&ring, &empty, sizeof ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tpmif__request__is_copied_untouched),
        cmocka_unit_test(test_tpmif__lengths__are_bounded_by_the_page),
        cmocka_unit_test(test_tpmif__locality__only_what_the_toolstack_allows),
        cmocka_unit_test(test_tpmif__spurious_event__does_nothing),
        cmocka_unit_test(test_tpmif__response__goes_where_the_command_was),
        cmocka_unit_test(test_tpmif__response_too_long_or_short__replaced_by_an_error),
        cmocka_unit_test(test_tpmif__response__bytes_then_length_then_state),
        cmocka_unit_test(test_tpmif__page_changed_while_busy__our_own_books_decide),
        cmocka_unit_test(test_tpmif__second_submit_while_busy__waits_for_its_turn),
        cmocka_unit_test(test_tpmif__cancel_while_busy__said_once_and_finished),
        cmocka_unit_test(test_tpmif__cancel_without_a_command__idle),
        cmocka_unit_test(test_tpmif__page_changes_at_every_access__stays_within_bounds),
        cmocka_unit_test(test_tpmif__look__tells_command_from_response),
        cmocka_unit_test(test_tpmif__response_found_as_request__retry_once),
        cmocka_unit_test(test_tpmif__look_at_nonsense__does_not_fit),
        cmocka_unit_test(test_tpmif__restore__answers_the_command_of_before),
        cmocka_unit_test(test_tpmif__restore_of_what_cannot_be__refused),
        cmocka_unit_test(test_tpmif__wipe__leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
