/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-shim --frontend proxy against a kernel and a server of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_vtpmx.h"
#include "server_thread.h"
#include "shim_process.h"

#define UUID_A FAKE_IDENTITY
#define UUID_B "00112233-4455-6677-8899-aabbccddee01"
#define FIRST_QUESTION 5 /* the id that the fake server finds in it */
#define LIMIT_MS 15000

static char dir[] = "/tmp/vtpm-proxy-test-XXXXXX";
static char upstream[80];
static struct fake second;
static int kernel = -1;
static struct shim shim;
static bool is_running;

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

/* ---- The kernel ---- */

static void show(unsigned number)
{
    char name[32];

    snprintf(name, sizeof name, "shown-%u", number);
    close(open(in_dir(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static bool is_readable(int fd, int limit_ms)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, limit_ms) > 0;
}

/* The next device that the shim makes. */
static int made(void)
{
    int fd;

    assert_true(is_readable(kernel, LIMIT_MS));
    fd = accept4(kernel, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void say(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static size_t hear(int fd, uint8_t out[4096])
{
    assert_true(is_readable(fd, LIMIT_MS));
    return (size_t)recv(fd, out, 4096, 0);
}

static void hear_code(int fd, uint32_t code)
{
    const uint8_t expected[10] = {0, 0xc4, 0, 0, 0, 10, 0, 0, (uint8_t)(code >> 8), (uint8_t)code};
    uint8_t response[4096];

    assert_int_equal(hear(fd, response), sizeof expected);
    assert_memory_equal(response, expected, sizeof expected);
}

static void say_id(int fd, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];

    fake_command(command, id);
    say(fd, command, sizeof command);
}

static void hear_id(int fd, uint32_t id)
{
    uint8_t response[4096];

    assert_int_equal(hear(fd, response), FAKE_RESPONSE);
    assert_int_equal(fake_response_id(response), id);
}

static void ask(int fd, uint32_t id)
{
    say_id(fd, id);
    hear_id(fd, id);
}

static void say_locality(int fd, uint8_t locality)
{
    const uint8_t command[] = {0, 0xc1, 0, 0, 0, 11, 0x20, 0, 0x10, 0, locality};

    say(fd, command, sizeof command);
}

/* The shim has closed it: the device goes. */
static void wait_closed(int fd)
{
    uint8_t rest[4096];

    while (is_readable(fd, LIMIT_MS))
        if (recv(fd, rest, sizeof rest, 0) <= 0) {
            close(fd);
            return;
        }
    fail_msg("the shim has not closed a device");
}

/* ---- The shim ---- */

static void put_credential(const char *path, const char *uuid)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "uuid=%s\nkey=", uuid);
    for (int i = 0; i < 32; i++)
        fputs("5a", file);
    fputs("\n", file);
    assert_int_equal(fclose(file), 0);
}

static void spawn(const char *option, const char *value, const char *link)
{
    const char *const args[] = {"--upstream", upstream, "--frontend", "proxy", option, value, "--runtime-dir",
                                in_dir("run"), link ? "--device-link" : NULL, link, NULL};

    shim_spawn(&shim, VTPM_SHIM, args);
    is_running = true;
}

static int ended(void)
{
    is_running = false;
    return shim_wait(&shim);
}

static int stopped(void)
{
    is_running = false;
    return shim_stop(&shim);
}

/* One device, shown, with its name in the ready line. */
static int start_one(void)
{
    int fd;

    spawn("--credential", in_dir("cred"), in_dir("link"));
    fd = made();
    show(0);
    shim_ready(&shim);
    assert_string_equal(shim.where, "/dev/tpm0");
    return fd;
}

static void read_text(char *out, size_t size, const char *path)
{
    FILE *file = fopen(path, "r");
    size_t n;

    assert_non_null(file);
    n = fread(out, 1, size - 1, file);
    out[n] = '\0';
    (void)fclose(file);
}

static void assert_link(const char *path, const char *target)
{
    char found[128] = "";

    assert_true(readlink(path, found, sizeof found - 1) > 0);
    assert_string_equal(found, target);
}

static void await_absent(const char *path)
{
    struct timespec pause = {0, 10000000};
    struct stat st;

    for (int i = 0; i < LIMIT_MS / 10 && lstat(path, &st) == 0; i++)
        nanosleep(&pause, NULL);
    assert_int_not_equal(lstat(path, &st), 0);
}

/* ---- Set up ---- */

static int listen_kernel(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    kernel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", in_dir(FAKE_VTPMX_SOCKET));
    return kernel < 0 || bind(kernel, (struct sockaddr *)&addr, sizeof addr) || listen(kernel, 8) ? -1 : 0;
}

static int set_up(void **state VT_UNUSED)
{
    if (!mkdtemp(dir))
        return -1;
    umask(077);
    snprintf(upstream, sizeof upstream, "unix:%s", in_dir("up"));
    server_init(in_dir("up"));
    put_credential(in_dir("cred"), UUID_A);
    return setenv(FAKE_VTPMX_ENV, dir, 1) || mkdir(in_dir("links"), 0700) || mkdir(in_dir("many"), 0700);
}

static int tear_down(void **state VT_UNUSED)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int begin(void **state VT_UNUSED)
{
    fake_init(&server.fake);
    fake_init(&second);
    second.identity = UUID_B;
    server.fake.next = &second;
    server_start();
    return listen_kernel();
}

static int end(void **state VT_UNUSED)
{
    if (is_running) {
        kill(shim.pid, SIGKILL);
        waitpid(shim.pid, NULL, 0);
    }
    is_running = false;
    if (server.listener >= 0)
        server_stop();
    close(kernel);
    for (const char *const *name = (const char *const[]){"kernel", "shown-0", "shown-1", "shown-2", "denied", "link",
                                                         "many/" UUID_A ".cred", "many/" UUID_B ".cred", NULL};
         *name; name++)
        unlink(in_dir(*name));
    return 0;
}

/* ---- One device ---- */

static void set_execute_error(int err)
{
    pthread_mutex_lock(&server.lock);
    server.fake.execute_error = err;
    pthread_mutex_unlock(&server.lock);
}

static void test_device__server_away__is_made_when_it_answers(void **state VT_UNUSED)
{
    int fd;

    server_stop();
    spawn("--credential", in_dir("cred"), NULL);
    assert_true(shim_says(&shim, "unix:"));
    assert_false(is_readable(kernel, 0));
    server_start();
    fd = made();
    assert_null(strstr(shim.text, "ready"));
    ask(fd, 1);
    show(0);
    shim_ready(&shim);
    assert_int_equal(fake_get(&server.fake.effects[FIRST_QUESTION]), 1);
    assert_int_equal(stopped(), 0);
    wait_closed(fd);
}

static void test_device__tpm_answers_an_error__is_made_when_it_does_not(void **state VT_UNUSED)
{
    int fd;

    set_execute_error(VT_EUNAVAILABLE);
    spawn("--credential", in_dir("cred"), NULL);
    assert_true(shim_says(&shim, "no device is made until it answers"));
    assert_false(is_readable(kernel, 0));
    set_execute_error(VT_OK);
    fd = made();
    ask(fd, 1);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_device__names__come_with_it_and_go_with_it(void **state VT_UNUSED)
{
    char text[128];
    struct stat st;
    int fd;

    spawn("--credential", in_dir("cred"), in_dir("link"));
    fd = made();
    ask(fd, 1);
    /* Told to udev before the kernel's first command was answered; linked when the device is shown. */
    read_text(text, sizeof text, in_dir("run/tpm0"));
    assert_string_equal(text, "VTPM_UUID=" UUID_A "\n");
    assert_int_not_equal(lstat(in_dir("link"), &st), 0);
    show(0);
    shim_ready(&shim);
    assert_link(in_dir("link"), "/dev/tpm0");
    assert_int_equal(stopped(), 0);
    wait_closed(fd);
    assert_int_not_equal(lstat(in_dir("run/tpm0"), &st), 0);
    assert_int_not_equal(lstat(in_dir("link"), &st), 0);
}

static void test_device__link_of_another__is_left(void **state VT_UNUSED)
{
    int fd = start_one();

    unlink(in_dir("link"));
    assert_int_equal(symlink("/dev/tpm7", in_dir("link")), 0);
    assert_int_equal(stopped(), 0);
    assert_link(in_dir("link"), "/dev/tpm7");
    close(fd);
}

static void test_locality__by_the_kernels_command__goes_with_what_follows(void **state VT_UNUSED)
{
    int fd = start_one();

    ask(fd, 1);
    assert_int_equal(fake_get(&server.fake.locality), 0);
    for (uint8_t locality = 3; locality > 0; locality--) {
        say_locality(fd, locality);
        hear_code(fd, 0);
        ask(fd, locality);
        assert_int_equal(fake_get(&server.fake.locality), locality);
    }
    say_locality(fd, 4);
    hear_code(fd, 0x3d);
    say_locality(fd, 255);
    hear_code(fd, 0x3d);
    ask(fd, 9);
    assert_int_equal(fake_get(&server.fake.locality), 1);
    /* The first question, four of ours, the last: no command for the locality among them. */
    assert_int_equal(fake_get(&server.fake.total), 6);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_locality__server_away__is_answered_here(void **state VT_UNUSED)
{
    int fd = start_one();

    server_stop();
    say_locality(fd, 2);
    hear_code(fd, 0);
    say_id(fd, 1);
    server_start();
    hear_id(fd, 1);
    assert_int_equal(fake_get(&server.fake.locality), 2);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_command__sizes_that_cannot_be__are_answered_and_the_next_one_works(void **state VT_UNUSED)
{
    const struct {
        size_t len;
        uint32_t stated;
        uint32_t ordinal;
    } rows[] = {
        {1, 0, 0x65},         {6, 6, 0x65},          {9, 9, 0x65},      {10, 9, 0x65},           {10, 11, 0x65},
        {10, UINT32_MAX, 1},  {14, 10, 0x65},        {4096, 4095, 0x65}, {4097, 4097, 0x65},     {9000, 9000, 0x65},
        {10, 10, 0x20001000}, {12, 12, 0x20001000}, {4096, 0, 0x65},    {11, 12, 0x20001000},
    };
    int fd = start_one();

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        uint8_t command[9000] = {0, 0xc1};

        for (int byte = 0; byte < 4; byte++) {
            command[2 + byte] = (uint8_t)(rows[i].stated >> (24 - 8 * byte));
            command[6 + byte] = (uint8_t)(rows[i].ordinal >> (24 - 8 * byte));
        }
        say(fd, command, rows[i].len);
        hear_code(fd, 0x19);
    }
    ask(fd, 1);
    assert_int_equal(fake_get(&server.fake.total), 2);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_command__largest__reaches_the_server(void **state VT_UNUSED)
{
    uint8_t command[4096] = {0, 0xc1, 0, 0, 0x10, 0, 0, 0, 0, 0x14, 0, 0, 0, 77};
    int fd = start_one();

    say(fd, command, sizeof command);
    hear_id(fd, 77);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_command__server_restarted_under_it__takes_effect_once(void **state VT_UNUSED)
{
    int fd = start_one();

    fake_set(&server.fake.no_answer, true);
    say_id(fd, 1);
    assert_int_equal(fake_await(&server.fake.effects[1], 1), 1);
    server_stop();
    server.fake.no_answer = false;
    server_start();
    hear_id(fd, 1);
    ask(fd, 2);
    assert_int_equal(fake_get(&server.fake.effects[1]), 1);
    assert_int_equal(stopped(), 0);
    close(fd);
}

/* The driver has one buffer: what the kernel sends after it gave a command up must not be taken for that one's answer. */
static void test_command__another_while_one_is_under_way__waits(void **state VT_UNUSED)
{
    int fd = start_one();

    server_stop();
    say_id(fd, 1);
    say_id(fd, 2);
    server_start();
    hear_id(fd, 1);
    hear_id(fd, 2);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_device__kernel_removes_it__is_made_again(void **state VT_UNUSED)
{
    int fd = start_one();

    close(fd);
    fd = made();
    await_absent(in_dir("link"));
    await_absent(in_dir("run/tpm0"));
    say_locality(fd, 0);
    hear_code(fd, 0);
    show(1);
    ask(fd, 1);
    assert_true(shim_says(&shim, "is /dev/tpm1"));
    assert_link(in_dir("link"), "/dev/tpm1");
    assert_null(strstr(strstr(shim.text, "vtpm-shim: ready") + 1, "vtpm-shim: ready"));
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_device__removed_under_a_command__answer_is_not_for_the_next_one(void **state VT_UNUSED)
{
    int fd = start_one();

    fake_set(&server.fake.no_answer, true);
    say_id(fd, 1);
    assert_int_equal(fake_await(&server.fake.effects[1], 1), 1);
    close(fd);
    assert_true(shim_says(&shim, "has gone"));
    fake_set(&server.fake.no_answer, false);
    server_do(&server.drop_all);
    fd = made();
    ask(fd, 2);
    assert_int_equal(fake_get(&server.fake.effects[1]), 1);
    assert_int_equal(stopped(), 0);
    close(fd);
}

static void test_device__another_shim_takes_over__goes_and_exits_4(void **state VT_UNUSED)
{
    int fd = start_one();

    ask(fd, 1);
    server_do(&server.fence);
    assert_int_equal(ended(), 4);
    assert_non_null(strstr(shim.text, "another shim has the instance"));
    wait_closed(fd);
}

static void test_start__what_is_missing__is_named_with_exit_code(void **state VT_UNUSED)
{
    int file = open(in_dir("link"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    close(file);
    spawn("--credential", in_dir("cred"), in_dir("link"));
    assert_int_equal(ended(), 5);
    assert_non_null(strstr(shim.text, "is not a symbolic link"));
    close(open(in_dir("denied"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    spawn("--credential", in_dir("cred"), NULL);
    assert_int_equal(ended(), 7);
    assert_non_null(strstr(shim.text, "no device may be made"));
    unlink(in_dir(FAKE_VTPMX_SOCKET));
    spawn("--credential", in_dir("cred"), NULL);
    assert_int_equal(ended(), 3);
    assert_non_null(strstr(shim.text, "/dev/vtpmx is missing"));
}

static void test_start__credential_dir_is_missing__exits_3(void **state VT_UNUSED)
{
    spawn("--credential-dir", in_dir("nowhere"), NULL);
    assert_int_equal(ended(), 3);
    assert_non_null(strstr(shim.text, "--credential-dir"));
}

/* ---- Many ---- */

static void start_two(int fds[2])
{
    put_credential(in_dir("many/" UUID_A ".cred"), UUID_A);
    spawn("--credential-dir", in_dir("many"), in_dir("links"));
    shim_ready(&shim);
    assert_string_equal(shim.where, "");
    fds[0] = made();
    show(0);
    assert_true(shim_says(&shim, UUID_A " is /dev/tpm0"));
    put_credential(in_dir("many/" UUID_B ".cred"), UUID_B);
    fds[1] = made();
    show(1);
    assert_true(shim_says(&shim, UUID_B " is /dev/tpm1"));
}

static void test_many__files_come_and_go__devices_too(void **state VT_UNUSED)
{
    int fds[2];

    start_two(fds);
    assert_link(in_dir("links/" UUID_A), "/dev/tpm0");
    assert_link(in_dir("links/" UUID_B), "/dev/tpm1");
    say_id(fds[0], 1);
    ask(fds[1], 2);
    hear_id(fds[0], 1);
    assert_int_equal(fake_get(&server.fake.effects[1]), 1);
    assert_int_equal(fake_get(&second.effects[2]), 1);
    unlink(in_dir("many/" UUID_A ".cred"));
    wait_closed(fds[0]);
    await_absent(in_dir("links/" UUID_A));
    ask(fds[1], 3);
    assert_link(in_dir("links/" UUID_B), "/dev/tpm1");
    assert_int_equal(stopped(), 0);
    wait_closed(fds[1]);
}

static void test_many__one_is_taken_over__the_other_works(void **state VT_UNUSED)
{
    int fds[2];

    start_two(fds);
    server.fenced = &server.fake;
    server_do(&server.fence);
    wait_closed(fds[0]);
    ask(fds[1], 1);
    assert_true(shim_says(&shim, UUID_A ": taken over"));
    ask(fds[1], 2);
    server.fenced = NULL;
    assert_int_equal(stopped(), 0);
    close(fds[1]);
}

static void test_many__names_that_are_no_instance__are_left_alone(void **state VT_UNUSED)
{
    put_credential(in_dir("many/" UUID_A ".cred.new"), UUID_A);
    put_credential(in_dir("many/notes"), UUID_A);
    put_credential(in_dir("many/" UUID_B ".cred"), UUID_B);
    spawn("--credential-dir", in_dir("many"), NULL);
    close(made());
    assert_true(shim_says(&shim, UUID_B ": /dev/tpm0 has gone"));
    unlink(in_dir("many/" UUID_A ".cred.new"));
    unlink(in_dir("many/notes"));
    assert_int_equal(stopped(), 0);
    assert_null(strstr(shim.text, UUID_A));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_device__server_away__is_made_when_it_answers),
        TEST(test_device__tpm_answers_an_error__is_made_when_it_does_not),
        TEST(test_device__names__come_with_it_and_go_with_it),
        TEST(test_device__link_of_another__is_left),
        TEST(test_locality__by_the_kernels_command__goes_with_what_follows),
        TEST(test_locality__server_away__is_answered_here),
        TEST(test_command__sizes_that_cannot_be__are_answered_and_the_next_one_works),
        TEST(test_command__largest__reaches_the_server),
        TEST(test_command__server_restarted_under_it__takes_effect_once),
        TEST(test_command__another_while_one_is_under_way__waits),
        TEST(test_device__kernel_removes_it__is_made_again),
        TEST(test_device__removed_under_a_command__answer_is_not_for_the_next_one),
        TEST(test_device__another_shim_takes_over__goes_and_exits_4),
        TEST(test_start__what_is_missing__is_named_with_exit_code),
        TEST(test_start__credential_dir_is_missing__exits_3),
        TEST(test_many__files_come_and_go__devices_too),
        TEST(test_many__one_is_taken_over__the_other_works),
        TEST(test_many__names_that_are_no_instance__are_left_alone),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
