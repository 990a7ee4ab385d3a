/* SPDX-License-Identifier: Apache-2.0 */
/* Credential files and addresses as people write them, with what the errors must name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim-linux/credential.h"
#include "shim-linux/endpoint.h"

#define UUID "00112233-4455-6677-8899-aabbccddeeff"
#define KEY  "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static char path[] = "/tmp/vtpm-shim-test-XXXXXX";

static int set_up(void **state VT_UNUSED)
{
    int fd = mkstemp(path);

    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state VT_UNUSED)
{
    return unlink(path);
}

static int read_of(const void *text, size_t len, struct credential *credential, struct vt_why *why)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    why->text[0] = '\0';
    return credential_read(credential, path, why);
}

static void test_credential__good_files__are_read(void **state VT_UNUSED)
{
    static const struct {
        const char *text;
        const char *identity;
        bool has_uuid;
    } rows[] = {
        {"uuid=" UUID "\nkey=" KEY "\n", UUID, true},
        {"key=" KEY "\nuuid=00112233-4455-6677-8899-AABBCCDDEEFF", UUID, true},
        {"# for guest 7\n\nidentity=host:node-1\nkey=" KEY "\n", "host:node-1", false},
        {"identity=host:node-1\nuuid=" UUID "\nkey=" KEY "\n", "host:node-1", true},
    };
    struct credential credential;
    struct vt_why why;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        assert_int_equal(read_of(rows[i].text, strlen(rows[i].text), &credential, &why), VT_OK);
        assert_string_equal(credential.identity, rows[i].identity);
        assert_int_equal(credential.has_uuid, rows[i].has_uuid);
        assert_int_equal(credential.key.bytes[31], 0x1f);
    }
}

static void test_credential__bad_lines__are_named(void **state VT_UNUSED)
{
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"", "no line key="},
        {"uuid=" UUID "\n", "no line key="},
        {"key=" KEY "\n", "no line uuid= or identity="},
        {"uuid=" UUID "\nkey=" KEY "0\n", ":2: key= is not 64"},
        {"uuid=" UUID "\nkey=abc\n", ":2: key= is not 64"},
        {"uuid=0011\nkey=" KEY "\n", ":1: uuid= is not"},
        {"uuid=" UUID "\nuuid=" UUID "\nkey=" KEY "\n", ":2: a second uuid="},
        {"uuid=" UUID "\nkey=" KEY "\nkey=" KEY "\n", ":3: a second key="},
        {"identity=node\nkey=" KEY "\n", ":1: identity= is not host:NAME"},
        {"identity=host:a b\nkey=" KEY "\n", ":1: identity= is not host:NAME"},
        {"uuid=" UUID "\npassword=x\nkey=" KEY "\n", ":2: not a line"},
        {"uuid=" UUID "\r\nkey=" KEY "\r\n", ":1: uuid= is not"},
    };
    static const struct credential nothing;
    struct credential credential;
    struct vt_why why;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        assert_int_equal(read_of(rows[i].text, strlen(rows[i].text), &credential, &why), VT_EUSAGE);
        if (!strstr(why.text, rows[i].says) || !strstr(why.text, path))
            fail_msg("row %zu says: %s", i, why.text);
        assert_null(strstr(why.text, KEY));
        assert_memory_equal(&credential, &nothing, sizeof credential);
    }
}

static void test_credential__not_such_a_file__is_refused(void **state VT_UNUSED)
{
    static char big[5000];
    struct credential credential;
    struct vt_why why;

    assert_int_equal(read_of("a\0b", 3, &credential, &why), VT_EUSAGE);
    assert_int_equal(read_of(big, sizeof big, &credential, &why), VT_EUSAGE);
    assert_int_equal(credential_read(&credential, "/nonexistent/c", NULL), VT_ENOTFOUND);
    assert_int_equal(credential_read(&credential, "/tmp", NULL), VT_EUSAGE);
}

static void test_credential__readable_by_others__is_refused(void **state VT_UNUSED)
{
    static const char text[] = "uuid=" UUID "\nkey=" KEY "\n";
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0644};
    struct credential credential;
    struct vt_why why;

    for (size_t i = 0; i < VT_COUNT(modes); i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(read_of(text, strlen(text), &credential, &why), VT_EPERM);
        assert_non_null(strstr(why.text, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(read_of(text, strlen(text), &credential, &why), VT_OK);
}

static void test_endpoint__tcp__is_taken_apart(void **state VT_UNUSED)
{
    static const struct {
        const char *text, *host, *port;
    } good[] = {
        {"127.0.0.1:2321", "127.0.0.1", "2321"}, {"[::1]:1", "::1", "1"}, {"host.example:65535", "host.example", "65535"},
    };
    static const char *const bad[] = {"", ":1", "a", "a:", "a:0", "a:65536", "a:1x", "::1:5", "[::1]", "[::1]5", "[::1:5",
                                      "[]:5", "a:-1", "a:1:2"};
    struct endpoint at;

    for (size_t i = 0; i < VT_COUNT(good); i++) {
        assert_int_equal(endpoint_parse_tcp(&at, "--o", good[i].text, false, NULL), VT_OK);
        assert_string_equal(at.host, good[i].host);
        assert_string_equal(at.port, good[i].port);
    }
    for (size_t i = 0; i < VT_COUNT(bad); i++)
        if (endpoint_parse_tcp(&at, "--o", bad[i], false, NULL) != VT_EUSAGE)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_int_equal(endpoint_parse_tcp(&at, "--o", "a:0", true, NULL), VT_OK);
}

static void test_endpoint__unix_path__is_bounded(void **state VT_UNUSED)
{
    struct endpoint at;
    char text[200];

    memset(text, 'p', sizeof text);
    text[108] = '\0';
    assert_int_equal(endpoint_parse_unix(&at, "--o", text, NULL), VT_EUSAGE);
    text[107] = '\0';
    assert_int_equal(endpoint_parse_unix(&at, "--o", text, NULL), VT_OK);
    assert_string_equal(at.path, text);
    assert_int_equal(endpoint_parse_unix(&at, "--o", "", NULL), VT_EUSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credential__good_files__are_read),
        cmocka_unit_test(test_credential__bad_lines__are_named),
        cmocka_unit_test(test_credential__not_such_a_file__is_refused),
        cmocka_unit_test(test_credential__readable_by_others__is_refused),
        cmocka_unit_test(test_endpoint__tcp__is_taken_apart),
        cmocka_unit_test(test_endpoint__unix_path__is_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
