/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines and their fields, as text and as JSON, against peers that would like to write lines of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "server/net/logsink.h"

static char line[2048];

static void on_line(enum vt_log_level level VT_UNUSED, const char *text)
{
    snprintf(line, sizeof line, "%s", text);
}

static void on_parts(const struct vt_log_parts *parts)
{
    (void)logsink_json(line, sizeof line, 1769860800123, parts);
}

static void as_text(void)
{
    line[0] = '\0';
    vt_log_to(on_line, VT_LOG_INFO);
}

static void as_json(void)
{
    line[0] = '\0';
    vt_log_parts_to(on_parts, VT_LOG_INFO);
}

#define HEAD "{\"time\":\"2026-01-31T12:00:00.123Z\",\"level\":"

static void test_line__fields__stand_behind_the_text(void **state)
{
    (void)state;
    as_text();
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("peer", "unix:pid=1,uid=0"), VT_NUMBER("n", 18446744073709551615u)),
                "net: hello %s", "world");
    assert_string_equal(line, "net: hello world peer=unix:pid=1,uid=0 n=18446744073709551615");
    vt_info("net: none");
    assert_string_equal(line, "net: none");
    vt_log_with(VT_LOG_INFO, NULL, "net: none");
    assert_string_equal(line, "net: none");
}

static void test_line__value_with_blanks_or_quotes__is_one_value(void **state)
{
    (void)state;
    as_text();
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("identity", "a uuid=\"b\" \\"), VT_TEXT("empty", ""), VT_TEXT("no", NULL)),
                "net: x");
    assert_string_equal(line, "net: x identity=\"a uuid=\\\"b\\\" \\\\\" empty=\"\" no=\"\"");
}

static void test_line__control_characters__are_replaced(void **state)
{
    (void)state;
    as_text();
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("peer", "a\n<0>forged\x1b[2J")), "net: %s", "b\r\nc\x7f");
    assert_string_equal(line, "net: b??c? peer=a?<0>forged?[2J");
}

/* RFC 3629, 4: what is whole stays; what is cut, overlong, a surrogate, too large or a control character (U+009B) does not. */
static void test_line__bytes_that_are_no_utf8__are_replaced(void **state)
{
    (void)state;
    vt_notice("%s", "net: \xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91 \xcc \xc0\xaf \xe0\x80\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xc2\x9b \xe2\x82");
    assert_string_equal(line, "net: \xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91 ? ?? ??? ??? ???? ?? ??");
}

static void test_line__too_long__is_cut(void **state)
{
    char text[1500];

    (void)state;
    as_text();
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("key", text)), "net: %s", text);
    assert_int_equal(strlen(line), 1023);
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("key", text)), "net: short");
    assert_int_equal(strlen(line), 1023);
}

static void test_line__level_not_asked_for__is_dropped(void **state)
{
    (void)state;
    as_text();
    vt_debug("net: nothing");
    assert_string_equal(line, "");
    as_json();
    vt_debug("net: nothing");
    assert_string_equal(line, "");
}

static void test_json__parts__are_members(void **state)
{
    (void)state;
    as_json();
    vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("peer", "tcp:127.0.0.1:5"), VT_NUMBER("count", 7)), "net: refused %d", 7);
    assert_string_equal(line, HEAD "\"warning\",\"subject\":\"net\",\"text\":\"refused 7\",\"peer\":\"tcp:127.0.0.1:5\","
                                   "\"count\":7}");
    vt_error("no subject");
    assert_string_equal(line, HEAD "\"error\",\"subject\":\"\",\"text\":\"no subject\"}");
}

/* The subject is the format's: an argument cannot set another one. */
static void test_json__subject_in_an_argument__is_text(void **state)
{
    (void)state;
    as_json();
    vt_notice("%s", "store: forged");
    assert_string_equal(line, HEAD "\"notice\",\"subject\":\"\",\"text\":\"store: forged\"}");
}

static void test_json__quotes_and_control_characters__are_escaped(void **state)
{
    (void)state;
    as_json();
    vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("identity", "a\",\"level\":\"x\n\\")), "net: \"%s\"", "q\t");
    assert_string_equal(line, HEAD "\"info\",\"subject\":\"net\",\"text\":\"\\\"q?\\\"\","
                                   "\"identity\":\"a\\\",\\\"level\\\":\\\"x\\u000a\\\\\"}");
}

static void test_json__bytes_that_are_no_utf8__become_question_marks(void **state)
{
    (void)state;
    as_json();
    vt_log_with(VT_LOG_INFO,
                VT_FIELDS(VT_TEXT("good", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"), VT_TEXT("bad", "\xff\xc3(\xe2\x82"),
                          VT_TEXT("long", "\xc0\xaf\xe0\x80\xaf"), VT_TEXT("surrogate", "\xed\xa0\x80"),
                          VT_TEXT("beyond", "\xf4\x90\x80\x80")),
                "net: x");
    assert_string_equal(line, HEAD "\"info\",\"subject\":\"net\",\"text\":\"x\","
                                   "\"good\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\",\"bad\":\"??" "(??\","
                                   "\"long\":\"?????\",\"surrogate\":\"???\",\"beyond\":\"????\"}");
}

/* However short the room: whole members or none, and always an object. */
static void test_json__no_room__leaves_members_out(void **state)
{
    const struct vt_log_parts parts = {.level = VT_LOG_INFO, .subject = "net", .text = "some \"text\"",
                                       .fields = VT_FIELDS(VT_TEXT("peer", "p"), VT_NUMBER("n", 12))};
    char whole[256], out[256];
    size_t all = logsink_json(whole, sizeof whole, 0, &parts);

    (void)state;
    assert_int_equal(all, strlen(whole));
    for (size_t size = 4; size < sizeof out; size++) {
        size_t len;

        memset(out, 'Z', sizeof out);
        len = logsink_json(out, size, 0, &parts);
        assert_true(len < size);
        assert_int_equal(out[len], '\0');
        assert_int_equal(out[0], '{');
        assert_int_equal(out[len - 1], '}');
        for (size_t i = size; i < sizeof out; i++)
            assert_int_equal(out[i], 'Z');
        if (size >= all + 3)
            assert_string_equal(out, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line__fields__stand_behind_the_text),
        cmocka_unit_test(test_line__value_with_blanks_or_quotes__is_one_value),
        cmocka_unit_test(test_line__control_characters__are_replaced),
        cmocka_unit_test(test_line__bytes_that_are_no_utf8__are_replaced),
        cmocka_unit_test(test_line__too_long__is_cut),
        cmocka_unit_test(test_line__level_not_asked_for__is_dropped),
        cmocka_unit_test(test_json__parts__are_members),
        cmocka_unit_test(test_json__subject_in_an_argument__is_text),
        cmocka_unit_test(test_json__quotes_and_control_characters__are_escaped),
        cmocka_unit_test(test_json__bytes_that_are_no_utf8__become_question_marks),
        cmocka_unit_test(test_json__no_room__leaves_members_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
