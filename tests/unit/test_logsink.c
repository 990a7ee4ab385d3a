/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to a standard error that is not read: nobody waits, and what is missing is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/net/logsink.h"

#define LINES 20000 /* more than a pipe or a socket holds */

static int reader, real_stderr;
static char text[8 << 20];
static size_t text_len;

/* Standard error becomes fd. */
static void begin(int fd, enum logsink_format format)
{
    unsetenv("JOURNAL_STREAM");
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
    assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    text_len = 0;
    logsink_start(format, VT_LOG_INFO);
}

static void end(void)
{
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
    close(reader);
    logsink_start(LOGSINK_TEXT, VT_LOG_INFO);
    vt_log_to(NULL, VT_LOG_INFO);
}

static void begin_pipe(enum logsink_format format)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    reader = fds[0];
    begin(fds[1], format);
}

static void begin_socket(enum logsink_format format)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    reader = fds[0];
    begin(fds[1], format);
}

/* All that waits to be read, behind what was read before. */
static void read_all(void)
{
    ssize_t n;

    while ((n = read(reader, text + text_len, sizeof text - 1 - text_len)) > 0)
        text_len += (size_t)n;
    text[text_len] = '\0';
}

static unsigned count(const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static void flood(void)
{
    for (unsigned i = 0; i < LINES; i++)
        vt_info("net: line %05u.", i);
}

/* Every line is whole, or in the count. */
static void expect_all_accounted(const char *whole, const char *counted)
{
    unsigned long missing;
    unsigned seen;
    char *at;

    flood();
    flood();
    read_all();
    seen = count(whole);
    assert_true(seen > 100 && seen < LINES);
    vt_info("net: after");
    read_all();
    at = strstr(text, counted);
    assert_non_null(at);
    missing = strtoul(at + strlen(counted), NULL, 10);
    assert_int_equal(seen + missing, 2 * LINES);
    assert_int_equal(count(counted), 1);
    assert_non_null(strstr(at, "net: after"));
    vt_info("net: quiet again");
    read_all();
    assert_int_equal(count(counted), 1);
}

static void test_log__full_pipe__nobody_waits_and_the_count_is_said(void **state)
{
    (void)state;
    begin_pipe(LOGSINK_TEXT);
    expect_all_accounted(".\n", "did not take them lines=");
    /* As other lines of that level. */
    assert_non_null(strstr(text, "\nvtpm-server: warning: log: lines are missing here"));
    end();
}

static void test_log__full_socket__nobody_waits_and_the_count_is_said(void **state)
{
    (void)state;
    begin_socket(LOGSINK_TEXT);
    expect_all_accounted(".\n", "did not take them lines=");
    end();
}

static void test_log__full_pipe_json__count_is_a_member(void **state)
{
    (void)state;
    begin_pipe(LOGSINK_JSON);
    flood();
    read_all();
    vt_info("net: after");
    read_all();
    assert_non_null(
        strstr(text, "\"level\":\"warning\",\"subject\":\"log\",\"text\":\"lines are missing here"));
    assert_non_null(strstr(text, "\"lines\":"));
    end();
}

/* The descriptor's flags are others' too: a shell's, a test's. */
static void test_log__pipe__its_flags_stay(void **state)
{
    (void)state;
    begin_pipe(LOGSINK_TEXT);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    end();
}

static void test_log__reader_gone__goes_on(void **state)
{
    (void)state;
    begin_socket(LOGSINK_TEXT);
    close(reader);
    flood();
    reader = dup(STDERR_FILENO);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__full_pipe__nobody_waits_and_the_count_is_said),
        cmocka_unit_test(test_log__full_socket__nobody_waits_and_the_count_is_said),
        cmocka_unit_test(test_log__full_pipe_json__count_is_a_member),
        cmocka_unit_test(test_log__pipe__its_flags_stay),
        cmocka_unit_test(test_log__reader_gone__goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
