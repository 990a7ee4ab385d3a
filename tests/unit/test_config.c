/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/net/config.h"

static char conf_path[] = "/tmp/vtpm-test-config-XXXXXX";

static void write_conf_bytes(const char *bytes, size_t len)
{
    FILE *out = fopen(conf_path, "w");

    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(out);
}

static int load(struct config *config, struct vt_why *why, const char *default_file, const char *line)
{
    char copy[1024];
    char *argv[48] = {(char *)(uintptr_t) "vtpm-server"};
    int argc = 1;

    *why = (struct vt_why){0};
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word && argc < 47; word = strtok(NULL, " "))
        argv[argc++] = word;
    return config_load(config, argc, argv, default_file, why);
}

/* The command line alone must fail, with `about` in the reason. */
static void refuses(const char *line, const char *about)
{
    struct config config;
    struct vt_why why;

    assert_int_equal(load(&config, &why, NULL, line), VT_EUSAGE);
    if (!strstr(why.text, about))
        fail_msg("'%s' does not say '%s'", why.text, about);
    config_free(&config);
}

/* A file with this text must fail with "FILE:line: " and `about`. */
static void refuses_file(const char *text, unsigned line, const char *about)
{
    char place[100];
    struct config config;
    struct vt_why why;

    write_conf_bytes(text, strlen(text));
    snprintf(place, sizeof place, "%s:%u: ", conf_path, line);
    assert_int_equal(load(&config, &why, conf_path, "--keyslot auto"), VT_EUSAGE);
    if (strncmp(why.text, place, strlen(place)) || !strstr(why.text, about))
        fail_msg("'%s' does not say '%s%s'", why.text, place, about);
    config_free(&config);
}

static void test_config__nothing_but_a_listener__gives_defaults(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    assert_int_equal(load(&config, &why, "/nonexistent/default.conf", "--listen vchan"), VT_OK);
    assert_string_equal(config.data_dir, "/var/lib/vtpm-server");
    assert_string_equal(config.admin, "unix:/run/vtpm-server/admin.sock");
    assert_null(config.runtime_dir);
    assert_int_equal(config.idle_s, 60);
    assert_int_equal(config.handshake_s, 10);
    assert_int_equal(config.request_s, 30);
    assert_int_equal(config.log_level, VT_LOG_INFO);
    assert_int_equal(config.keyslots.count, 1);
    assert_string_equal(config.keyslots.items[0], "auto");
    assert_int_equal(config.listen.count, 1);
    assert_false(config.init || config.allow_root || config.check_config);
    config_free(&config);
}

static void test_config__all_options__are_taken(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    assert_int_equal(
        load(&config, &why, NULL,
             "--data-dir /d --runtime-dir=/r --keyslot keyfile:/a --keyslot=auto --listen tcp:[::1]:0 "
             "--listen unix:/s --admin unix:/x --admin-group g --monitor-group m --user u --allow-root "
             "--engine /e --idle-timeout 7 --handshake-timeout 3 --request-timeout 4 --key-pool 3,2 --key-pool-wait 9 --log-level debug --check-config"),
        VT_OK);
    assert_string_equal(config.data_dir, "/d");
    assert_string_equal(config.runtime_dir, "/r");
    assert_int_equal(config.keyslots.count, 2);
    assert_string_equal(config.keyslots.items[0], "keyfile:/a");
    assert_string_equal(config.keyslots.items[1], "auto");
    assert_int_equal(config.listen.count, 2);
    assert_string_equal(config.listen.items[1], "unix:/s");
    assert_string_equal(config.admin, "unix:/x");
    assert_string_equal(config.key_pool, "3,2");
    assert_int_equal(config.key_pool_wait_s, 9);
    assert_string_equal(config.admin_group, "g");
    assert_string_equal(config.monitor_group, "m");
    assert_string_equal(config.user, "u");
    assert_string_equal(config.engine, "/e");
    assert_int_equal(config.idle_s, 7);
    assert_int_equal(config.handshake_s, 3);
    assert_int_equal(config.request_s, 4);
    assert_int_equal(config.log_level, VT_LOG_DEBUG);
    assert_true(config.allow_root && config.check_config);
    config_free(&config);
}

static void test_config__bad_command_lines__are_refused(void **state)
{
    (void)state;
    refuses("init", "vtpm-server init --keyslot keyfile:/etc/vtpm/keys/master.key");
    refuses("init --data-dir /d", "vtpm-server init --data-dir /d --keyslot keyfile:/d.key");
    refuses("--keyslot", "--keyslot: needs a value (SPEC)");
    refuses("--keyslot=", "--keyslot: needs a value (SPEC)");
    refuses("--keyslots auto", "--keyslots: unknown option");
    refuses("--keyslo auto", "--keyslo: unknown option");
    refuses("--=x", "unknown option");
    refuses("-k auto", "'-k'");
    refuses("--keyslot auto extra", "'extra'");
    refuses("--keyslot auto init", "'init'");
    refuses("--keyslot auto --allow-root=yes", "--allow-root: takes no value");
    refuses("--keyslot auto --idle-timeout 0", "'0' is not a number of seconds");
    refuses("--keyslot auto --idle-timeout 1x", "'1x' is not a number of seconds");
    refuses("--keyslot auto --idle-timeout 86401", "--idle-timeout");
    refuses("--keyslot auto --log-level loud", "'loud' is none of");
    refuses("init --keyslot auto --listen unix:/x", "--listen: means nothing to init");
    refuses("init --config /x --keyslot auto", "--config: means nothing to init");
}

static void test_config__named_file_missing__is_refused(void **state)
{
    (void)state;
    refuses("--keyslot auto --config /nonexistent/x.conf", "/nonexistent/x.conf: cannot be opened");
    refuses("--keyslot auto --config /tmp", "/tmp: cannot be read");
}

static void test_config__help_or_version__needs_nothing_else(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    assert_int_equal(load(&config, &why, "/tmp", "--help"), VT_OK);
    assert_true(config.help);
    config_free(&config);
    assert_int_equal(load(&config, &why, "/tmp", "--version"), VT_OK);
    assert_true(config.version);
    config_free(&config);
    assert_int_equal(load(&config, &why, NULL, "-h"), VT_OK);
    assert_true(config.help);
    config_free(&config);
}

static void test_config__file__is_read(void **state)
{
    static const char text[] = "# comment\n; another\n\n [ server ] \r\n"
                               "data-dir = /with space/x \n"
                               "\tkeyslot=keyfile:/k=1\n"
                               "keyslot = auto\n"
                               "listen = unix:/a\nlisten = unix:/b\n"
                               "allow-root = yes\n"
                               "idle-timeout = 5\n"
                               "log-level = error"; /* no newline at the end */
    struct config config;
    struct vt_why why;

    (void)state;
    write_conf_bytes(text, strlen(text));
    if (load(&config, &why, conf_path, ""))
        fail_msg("%s", why.text);
    assert_string_equal(config.data_dir, "/with space/x");
    assert_int_equal(config.keyslots.count, 2);
    assert_string_equal(config.keyslots.items[0], "keyfile:/k=1");
    assert_int_equal(config.listen.count, 2);
    assert_string_equal(config.listen.items[0], "unix:/a");
    assert_true(config.allow_root);
    assert_int_equal(config.idle_s, 5);
    assert_int_equal(config.log_level, VT_LOG_ERROR);
    config_free(&config);
}

static void test_config__command_line_and_file__command_line_wins(void **state)
{
    static const char text[] = "[server]\ndata-dir = /file\nlisten = unix:/a\nlisten = unix:/b\n"
                               "keyslot = keyfile:/file\nallow-root = no\nuser = file\n";
    struct config config;
    struct vt_why why;

    (void)state;
    write_conf_bytes(text, strlen(text));
    if (load(&config, &why, conf_path, "--data-dir /line --listen unix:/c --allow-root"))
        fail_msg("%s", why.text);
    assert_string_equal(config.data_dir, "/line");
    assert_int_equal(config.listen.count, 1);
    assert_string_equal(config.listen.items[0], "unix:/c");
    assert_string_equal(config.keyslots.items[0], "keyfile:/file");
    assert_string_equal(config.user, "file");
    assert_true(config.allow_root);
    config_free(&config);
}

static void test_config__bad_files__are_refused_with_file_and_line(void **state)
{
    (void)state;
    refuses_file("[server]\ndata-dir = /x\ndata_dir = /x\n", 3, "unknown key 'data_dir'");
    refuses_file("[server]\nconfig = /x\n", 2, "unknown key 'config'");
    refuses_file("[server]\nhelp = yes\n", 2, "unknown key 'help'");
    refuses_file("data-dir = /x\n", 1, "'data-dir' stands before the section [server]");
    refuses_file("\n\n[serve]\n", 3, "unknown section [serve]");
    refuses_file("[server\n", 1, "a section ends with ]");
    refuses_file("[server]\ndata-dir /x\n", 2, "is not `key = value`");
    refuses_file("[server]\n= /x\n", 2, "is not `key = value`");
    refuses_file("[server]\ndata-dir =\n", 2, "data-dir: needs a value (DIR)");
    refuses_file("[server]\nuser = a\n\nuser = b\n", 4, "user: given already in line 2");
    refuses_file("[server]\nallow-root = maybe\n", 2, "'maybe' is neither yes nor no");
    refuses_file("[server]\nidle-timeout = -1\n", 2, "idle-timeout");
    refuses_file("[server]\nlog-level = all\n", 2, "'all' is none of");
}

static void test_config__key_that_the_command_line_overrides__is_still_checked(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    write_conf_bytes("[server]\nlog-level = all\n", 25);
    assert_int_equal(load(&config, &why, conf_path, "--keyslot auto --log-level debug"), VT_EUSAGE);
    assert_non_null(strstr(why.text, ":2: log-level"));
    config_free(&config);
}

static void test_config__binary_or_huge_file__is_refused(void **state)
{
    static char big[300 * 1024];
    struct config config;
    struct vt_why why;

    (void)state;
    write_conf_bytes("[server]\nuser = a\0b\n", 20);
    assert_int_equal(load(&config, &why, conf_path, "--keyslot auto"), VT_EUSAGE);
    assert_non_null(strstr(why.text, ":2: a NUL byte"));
    config_free(&config);
    memset(big, '\n', sizeof big);
    write_conf_bytes(big, sizeof big);
    assert_int_equal(load(&config, &why, conf_path, "--keyslot auto"), VT_EUSAGE);
    assert_non_null(strstr(why.text, "longer than"));
    config_free(&config);
}

static void test_config__dev_null__is_an_empty_file(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    assert_int_equal(load(&config, &why, "/nonexistent", "--config /dev/null --keyslot auto"), VT_OK);
    config_free(&config);
}

static void test_config__init__reads_no_file(void **state)
{
    struct config config;
    struct vt_why why;

    (void)state;
    write_conf_bytes("nonsense", 8);
    assert_int_equal(load(&config, &why, conf_path, "init --keyslot keyfile:/k --data-dir /d"), VT_OK);
    assert_true(config.init);
    config_free(&config);
}

#ifdef VTPM_TEST_HOOKS
static void test_config__out_of_memory__is_an_error_without_leak(void **state)
{
    struct config config;
    struct vt_why why;
    int err = VT_ENOMEM;
    long n;

    (void)state;
    write_conf_bytes("[server]\nlisten = unix:/a\nuser = x\n", 35);
    for (n = 0; err == VT_ENOMEM && n < 100; n++) {
        vt_alloc_fail_after(n);
        err = load(&config, &why, conf_path, "--keyslot auto --keyslot keyfile:/x");
        vt_alloc_fail_after(-1);
        config_free(&config);
    }
    assert_int_equal(err, VT_OK);
    assert_true(n > 5);
}
#endif

/* Every option stands in --help and in the manual page. */
static void test_config__help_and_man_page__name_every_option(void **state)
{
    static char help[16384], man[65536];
    char word[64];
    FILE *out = fmemopen(help, sizeof help - 1, "w");
    FILE *in = fopen(MAN_PAGE, "r");

    (void)state;
    assert_non_null(out);
    assert_non_null(in);
    config_help(out);
    fclose(out);
    assert_true(fread(man, 1, sizeof man - 1, in) > 0);
    fclose(in);
    for (size_t i = 0; config_option_name(i); i++) {
        snprintf(word, sizeof word, "  --%s ", config_option_name(i));
        if (!strstr(help, word))
            fail_msg("--help lacks%s", word);
        snprintf(word, sizeof word, ".It Fl -%s", config_option_name(i));
        if (!strstr(man, word))
            fail_msg("the manual page lacks %s", word);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config__nothing_but_a_listener__gives_defaults),
        cmocka_unit_test(test_config__all_options__are_taken),
        cmocka_unit_test(test_config__bad_command_lines__are_refused),
        cmocka_unit_test(test_config__named_file_missing__is_refused),
        cmocka_unit_test(test_config__help_or_version__needs_nothing_else),
        cmocka_unit_test(test_config__file__is_read),
        cmocka_unit_test(test_config__command_line_and_file__command_line_wins),
        cmocka_unit_test(test_config__bad_files__are_refused_with_file_and_line),
        cmocka_unit_test(test_config__key_that_the_command_line_overrides__is_still_checked),
        cmocka_unit_test(test_config__binary_or_huge_file__is_refused),
        cmocka_unit_test(test_config__dev_null__is_an_empty_file),
        cmocka_unit_test(test_config__init__reads_no_file),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_config__out_of_memory__is_an_error_without_leak),
#endif
        cmocka_unit_test(test_config__help_and_man_page__name_every_option),
    };
    int fd = mkstemp(conf_path);
    int failed;

    if (fd < 0)
        return 1;
    close(fd);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(conf_path);
    return failed;
}
