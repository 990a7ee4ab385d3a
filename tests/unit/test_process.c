/* SPDX-License-Identifier: Apache-2.0 */
/* What the process may become, as far as it can be told without becoming it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "server/base/alloc.h"
#include "server/base/boot.h"
#include "server/base/log.h"
#include "server/base/notify.h"
#include "server/net/process.h"

static char dir[] = "/tmp/vtpm-test-process-XXXXXX";

static struct config config_with(const char *data_dir, const char *user)
{
    return (struct config){.data_dir = (char *)(uintptr_t)data_dir, .user = (char *)(uintptr_t)user};
}

static void refuses(const struct config *config, const char *about)
{
    struct process_user user;
    struct vt_why why = {0};

    assert_int_equal(process_find_user(&user, config, &why), VT_EUSAGE);
    if (!strstr(why.text, about))
        fail_msg("'%s' does not say '%s'", why.text, about);
}

static bool is_root(void)
{
    if (geteuid() == 0)
        return true;
    print_message("not root: nothing to change to\n");
    return false;
}

static void test_user__root_and_a_directory_of_anothers__is_its_owner(void **state)
{
    struct config config = config_with(dir, NULL);
    struct process_user user;

    (void)state;
    if (!is_root())
        return;
    assert_int_equal(chown(dir, 54321, 54322), 0);
    assert_int_equal(process_find_user(&user, &config, NULL), VT_OK);
    assert_true(user.change);
    assert_int_equal(user.uid, 54321);
    assert_int_equal(user.gid, 54322);
    assert_string_equal(user.name, "");
    config.user = (char *)(uintptr_t) "nobody";
    refuses(&config, "chown -R");
    assert_int_equal(chown(dir, 0, 0), 0);
}

static void test_user__root_and_a_directory_of_roots__needs_a_command(void **state)
{
    struct config config = config_with(dir, "nobody");
    struct process_user user;

    (void)state;
    if (!is_root())
        return;
    refuses(&config, "chown -R");
    /* init gives it away itself. */
    config.init = true;
    assert_int_equal(process_find_user(&user, &config, NULL), VT_OK);
    assert_true(user.change);
    assert_string_equal(user.name, "nobody");
}

static void test_user__allow_root__stays(void **state)
{
    struct config config = config_with(dir, NULL);
    struct process_user user;

    (void)state;
    if (!is_root())
        return;
    config.allow_root = true;
    assert_int_equal(process_find_user(&user, &config, NULL), VT_OK);
    assert_false(user.change);
    assert_int_equal(user.uid, 0);
}

static void test_user__root_by_name__needs_allow_root(void **state)
{
    struct config config = config_with(dir, "root");

    (void)state;
    if (is_root())
        refuses(&config, "--allow-root");
}

static void test_user__that_does_not_exist__says_how_to_make_it(void **state)
{
    struct config config = config_with(dir, "no-such-user-here");

    (void)state;
    refuses(&config, geteuid() ? "only root can change" : "useradd --system");
}

static void test_init__empty_directory_of_roots__is_given_away(void **state)
{
    struct process_user user = {.change = true, .uid = 54321, .gid = 54322};
    struct vt_why why = {0};
    char path[80];
    struct stat st;

    (void)state;
    if (!is_root())
        return;
    snprintf(path, sizeof path, "%s/new", dir);
    assert_int_equal(process_prepare_data(&user, path, &why), VT_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 54321);
    assert_int_equal(st.st_gid, 54322);
    assert_int_equal(st.st_mode & 07777, 0700);
    rmdir(path);
}

static void test_init__directory_with_files__is_left_alone(void **state)
{
    struct process_user user = {.change = true, .uid = 54321, .gid = 54322};
    struct vt_why why = {0};
    char path[80];
    struct stat st;

    (void)state;
    if (!is_root())
        return;
    snprintf(path, sizeof path, "%s/file", dir);
    fclose(fopen(path, "w"));
    assert_int_equal(process_prepare_data(&user, dir, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "holds other files (file)"));
    unlink(path);
    snprintf(path, sizeof path, "%s/vtpm.db", dir);
    fclose(fopen(path, "w"));
    assert_int_equal(process_prepare_data(&user, dir, NULL), VT_EEXISTS);
    unlink(path);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_uid, 0);
}

static void test_group__by_name_or_number__is_found(void **state)
{
    struct vt_why why = {0};
    gid_t gid = 1;

    (void)state;
    assert_int_equal(process_find_group(&gid, "--admin-group", "root", &why), VT_OK);
    assert_int_equal(gid, 0);
    assert_int_equal(process_find_group(&gid, "--admin-group", "12345", &why), VT_OK);
    assert_int_equal(gid, 12345);
    assert_int_equal(process_find_group(&gid, "--admin-group", "no-such-group", &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "--admin-group: there is no group 'no-such-group'"));
    /* (gid_t)-1 would mean "leave it". */
    assert_int_equal(process_find_group(&gid, "--admin-group", "4294967295", NULL), VT_EUSAGE);
}

static void test_engine__named__must_be_executable(void **state)
{
    struct vt_why why = {0};
    char *path;

    (void)state;
    assert_int_equal(process_find_engine(&path, "/bin/sh", &why), VT_OK);
    assert_string_equal(path, "/bin/sh");
    vt_free(path);
    assert_int_equal(process_find_engine(&path, "/etc/passwd", &why), VT_EUSAGE);
    assert_null(path);
    assert_int_equal(process_find_engine(&path, "/tmp", NULL), VT_EUSAGE);
    assert_int_equal(process_find_engine(&path, "/nonexistent", NULL), VT_EUSAGE);
}

static void test_boot_id__is_read(void **state)
{
    uint8_t one[16] = {0}, two[16] = {1};

    (void)state;
    assert_int_equal(vt_boot_id(one, NULL), VT_OK);
    assert_int_equal(vt_boot_id(two, NULL), VT_OK);
    assert_memory_equal(one, two, 16);
}

static void notify_reaches(const char *name, struct sockaddr_un *addr, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char got[64] = "";

    assert_int_equal(bind(fd, (struct sockaddr *)addr, len), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    assert_true(vt_notify("READY=1"));
    assert_int_equal(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    close(fd);
}

static void test_notify__path_and_abstract_name__are_reached(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char name[80];
    int len;

    (void)state;
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/notify", dir);
    notify_reaches(addr.sun_path, &addr, sizeof addr);
    unlink(addr.sun_path);
    len = snprintf(name, sizeof name, "@vtpm-test-notify-%d", (int)getpid());
    memset(addr.sun_path, 0, sizeof addr.sun_path);
    memcpy(addr.sun_path + 1, name + 1, (size_t)len - 1);
    notify_reaches(name, &addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len));
}

static void test_notify__nobody_there__is_no_error(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_false(vt_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
    assert_false(vt_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_false(vt_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "", 1);
    assert_false(vt_notify("READY=1"));
}

static void test_watchdog__what_the_manager_waits__is_halved(void **state)
{
    static const struct {
        const char *usec, *pid;
        uint64_t ms;
    } cases[] = {
        {NULL, NULL, 0},          {"60000000", NULL, 30000}, {"60000000", "self", 30000}, {"1", NULL, 1},
        {"60000000", "1", 0},     {"60000000", "x", 0},      {"0", NULL, 0},              {"", NULL, 0},
        {"60000000x", NULL, 0},   {"-1", NULL, 0},
    };
    char self[16];

    (void)state;
    snprintf(self, sizeof self, "%d", (int)getpid());
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (cases[i].usec)
            setenv("WATCHDOG_USEC", cases[i].usec, 1);
        if (cases[i].pid)
            setenv("WATCHDOG_PID", strcmp(cases[i].pid, "self") ? cases[i].pid : self, 1);
        assert_int_equal(vt_watchdog_ms(), cases[i].ms);
    }
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void test_channels__few_descriptors__few_channels(void **state)
{
    struct rlimit before, files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    files = before;
    files.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(process_channels_max(), 64);
    files.rlim_cur = 1024;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(process_channels_max(), 192);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

#ifndef VTPM_WIDE_SECCOMP /* a sanitizer needs more address space than can be left */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events;
}

/* Never returns: the table would have to hold descriptor 900, and there is no memory for it. */
static void watch_beyond_memory(void)
{
    const struct rlimit none = {0, 0};
    int fds[2];
    uv_loop_t loop;
    uv_poll_t poll;

    if (setrlimit(RLIMIT_CORE, &none) || process_watch_loop_memory() || uv_loop_init(&loop) || pipe(fds) ||
        dup2(fds[0], 900) != 900)
        _exit(1);
    if (uv_poll_init(&loop, &poll, 900) || setrlimit(RLIMIT_AS, &none))
        _exit(2);
    while (malloc(1024)) {
    }
    uv_poll_start(&poll, UV_READABLE, on_poll);
    _exit(3);
}

static void on_fatal(enum vt_log_level level, const char *line)
{
    (void)level;
    (void)!write(STDERR_FILENO, line, strlen(line));
}

static void test_loop_memory__used_up__is_said_before_the_end(void **state)
{
    char text[1024] = "";
    int fds[2], status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        vt_log_to(on_fatal, VT_LOG_INFO);
        watch_beyond_memory();
    }
    close(fds[1]);
    assert_true(read(fds[0], text, sizeof text - 1) > 0);
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "out of memory for what the loop watches"));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user__root_and_a_directory_of_anothers__is_its_owner),
        cmocka_unit_test(test_user__root_and_a_directory_of_roots__needs_a_command),
        cmocka_unit_test(test_user__allow_root__stays),
        cmocka_unit_test(test_user__root_by_name__needs_allow_root),
        cmocka_unit_test(test_user__that_does_not_exist__says_how_to_make_it),
        cmocka_unit_test(test_init__empty_directory_of_roots__is_given_away),
        cmocka_unit_test(test_init__directory_with_files__is_left_alone),
        cmocka_unit_test(test_group__by_name_or_number__is_found),
        cmocka_unit_test(test_engine__named__must_be_executable),
        cmocka_unit_test(test_boot_id__is_read),
#ifndef VTPM_WIDE_SECCOMP
        cmocka_unit_test(test_loop_memory__used_up__is_said_before_the_end),
#endif
        cmocka_unit_test(test_channels__few_descriptors__few_channels),
        cmocka_unit_test(test_notify__path_and_abstract_name__are_reached),
        cmocka_unit_test(test_notify__nobody_there__is_no_error),
        cmocka_unit_test(test_watchdog__what_the_manager_waits__is_halved),
    };
    int failed;

    if (!mkdtemp(dir))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
