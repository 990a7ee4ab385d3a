/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-shim as people run it: options, sockets, signals; the server is the test's own, in a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server_thread.h"
#include "shim_process.h"

static char dir[] = "/tmp/vtpm-shim-test-XXXXXX";
static char credential[64], upstream[80], upstream_path[64];

/* ---- The shim ---- */

static int run_to_end(struct shim *shim, const char *const args[])
{
    shim_spawn(shim, VTPM_SHIM, args);
    return shim_wait(shim);
}

static void shim_start(struct shim *shim)
{
    const char *const args[] = {"--upstream", upstream, "--credential", credential, "--frontend",
                                "socket:tcp:127.0.0.1:0", NULL};

    shim_spawn(shim, VTPM_SHIM, args);
    shim_ready(shim);
    assert_true(shim->where[0]);
}

/* ---- A guest ---- */

static int guest(const struct shim *shim)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_port = htons((uint16_t)atoi(strrchr(shim->where, ':') + 1));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void say(int fd, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];

    fake_command(command, id);
    assert_int_equal(send(fd, command, sizeof command, MSG_NOSIGNAL), FAKE_COMMAND);
}

static void hear(int fd, uint32_t id)
{
    uint8_t response[FAKE_RESPONSE];

    assert_int_equal(recv(fd, response, sizeof response, MSG_WAITALL), FAKE_RESPONSE);
    assert_int_equal(fake_response_id(response), id);
}

static void ask(int fd, uint32_t id)
{
    say(fd, id);
    hear(fd, id);
}

static void hear_code(int fd, uint32_t code)
{
    uint8_t response[10];

    assert_int_equal(recv(fd, response, sizeof response, MSG_WAITALL), 10);
    assert_int_equal(response[1], 0xc4);
    assert_int_equal(response[5], 10);
    assert_int_equal(response[8] << 8 | response[9], code);
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* ---- Tests ---- */

/* As an administrator puts it in place: whole, by a rename. */
static int put_credential(const char *identity, unsigned key_byte)
{
    char fresh[80];
    FILE *file;

    snprintf(fresh, sizeof fresh, "%s.new", credential);
    file = fopen(fresh, "w");
    if (!file)
        return -1;
    fprintf(file, "uuid=%s\nkey=", identity);
    for (int i = 0; i < 32; i++)
        fprintf(file, "%02x", key_byte);
    fprintf(file, "\n");
    return fclose(file) || rename(fresh, credential);
}

static int set_up(void **state VT_UNUSED)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(credential, sizeof credential, "%s/cred", dir);
    snprintf(upstream_path, sizeof upstream_path, "%s/up", dir);
    snprintf(upstream, sizeof upstream, "unix:%s", upstream_path);
    umask(077);
    server_init(upstream_path);
    return put_credential(FAKE_IDENTITY, 0x5a);
}

static int tear_down(void **state VT_UNUSED)
{
    unlink(credential);
    unlink(upstream_path);
    return rmdir(dir);
}

static int start_server(void **state VT_UNUSED)
{
    fake_init(&server.fake);
    server_start();
    return 0;
}

static int stop_server(void **state VT_UNUSED)
{
    if (server.listener >= 0)
        server_stop();
    return 0;
}

static void test_options__wrong__are_named_with_exit_code(void **state VT_UNUSED)
{
    const struct {
        const char *args[10];
        int code;
        const char *says;
    } rows[] = {
        {{"--help"}, 0, "usage: vtpm-shim"},
        {{"--version"}, 0, "vtpm-shim 0."},
        {{NULL}, 2, "--upstream is missing"},
        {{"--upstream", "unix:/x"}, 2, "--frontend is missing"},
        {{"--upstream", "unix:/x", "--frontend", "socket:tcp:127.0.0.1:0"}, 2, "--credential is missing"},
        {{"--wrong"}, 2, "unknown option --wrong"},
        {{"--upstream"}, 2, "--upstream needs a value"},
        {{"word"}, 2, "\"word\""},
        {{"--startup", "warm"}, 2, "--startup warm"},
        {{"--hold", "0"}, 2, "--hold 0"},
        {{"--hold", "1s"}, 2, "--hold 1s"},
        {{"--upstream", "vchan:x", "--frontend", "socket:unix:/x"}, 2, "vchan:x: not the number of a domain"},
        {{"--upstream", "vchan:32752", "--frontend", "socket:unix:/x"}, 2, "vchan:32752: not the number of a domain"},
        {{"--upstream", "vchan:", "--frontend", "socket:unix:/x"}, 2, "vchan:: not the number of a domain"},
        {{"--upstream", "unix:/x", "--frontend", "socket:unix:/x", "--credential-dir", "/x"}, 2, "--credential FILE"},
        {{"--upstream", "unix:/x", "--frontend", "socket:unix:/x", "--credential-dir", "/x", "--credential", "/y"}, 2,
         "one of them"},
        {{"--upstream", "unix:/x", "--frontend", "swtpm:ctrl=unix:/x"}, 2, "--credential is missing"},
        {{"--upstream", "unix:/x", "--frontend", "proxy"}, 2, "--credential-dir is missing"},
        {{"--upstream", "unix:/x", "--frontend", "socket:unix:/x", "--credential", "/x", "--device-link", "/y"}, 2,
         "--frontend socket makes no device"},
        {{"--upstream", "unix:/x", "--frontend", "proxy", "--credential-dir", "/x", "--instance", FAKE_IDENTITY}, 2,
         "files in --credential-dir say"},
        {{"--upstream", "unix:/x", "--frontend", "proxy:0", "--credential", "/x"}, 2, "\"proxy\" takes nothing more"},
        {{"--upstream", "unix:/x", "--frontend", "pipe:/x"}, 2, "--frontend pipe:/x"},
        {{"--upstream", "http://x", "--frontend", "socket:unix:/x"}, 2, "--upstream http://x"},
        {{"--upstream", "unix:/x", "--frontend", "socket:unix:/x", "--credential", "/nonexistent"}, 3, "/nonexistent"},
    };
    struct shim shim;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        int code = run_to_end(&shim, rows[i].args);
        if (code != rows[i].code || !strstr(shim.text, rows[i].says))
            fail_msg("row %zu: exit %d: %s", i, code, shim.text);
    }
}

static void test_options__wrong_values_behind_a_good_credential__are_named(void **state VT_UNUSED)
{
    const char *const rows[][3] = {
        {"tcp:host", "socket:tcp:127.0.0.1:0", "--upstream: \"host\""},
        {"tcp:host:0", "socket:tcp:127.0.0.1:0", "\"0\" is not a port"},
        {"unix:", "socket:tcp:127.0.0.1:0", "--upstream: no path"},
        {"unix:/x", "socket:tcp:127.0.0.1", "--frontend: \"127.0.0.1\""},
        {"unix:/x", "socket:udp:1", "--frontend socket:udp:1"},
        {"unix:/x", "socket:tcp:999.1.1.1:5", "\"999.1.1.1\""},
    };
    struct shim shim;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        const char *const args[] = {"--upstream", rows[i][0], "--frontend", rows[i][1], "--credential", credential, NULL};
        int code = run_to_end(&shim, args);
        if (code != 2 || !strstr(shim.text, rows[i][2]))
            fail_msg("row %zu: exit %d: %s", i, code, shim.text);
    }
}

static void test_shim__commands__reach_the_server(void **state VT_UNUSED)
{
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    for (uint32_t id = 1; id <= 200; id++)
        ask(fd, id);
    close(fd);
    assert_int_equal(fake_get(&server.fake.total), 200);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    assert_int_equal(shim_stop(&shim), 0);
    assert_int_equal(fake_await(&server.fake.detaches, 1), 1);
    assert_int_equal(fake_get(&server.fake.offs), 0);
}

static void test_shim__byte_by_byte_and_pipelined__same(void **state VT_UNUSED)
{
    uint8_t command[FAKE_COMMAND];
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    fake_command(command, 5);
    for (int i = 0; i < FAKE_COMMAND; i++) {
        assert_int_equal(send(fd, command + i, 1, MSG_NOSIGNAL), 1);
        pause_ms(2);
    }
    hear(fd, 5);
    /* More than the shim keeps for one client: it reads on as they are answered. */
    for (uint32_t id = 1; id <= 1500; id++)
        say(fd, id);
    for (uint32_t id = 1; id <= 1500; id++)
        hear(fd, id);
    close(fd);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__several_clients__each_gets_its_own(void **state VT_UNUSED)
{
    struct shim shim;
    int fds[10];

    shim_start(&shim);
    for (int i = 0; i < 10; i++)
        fds[i] = guest(&shim);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 10; i++)
            say(fds[i], round * 10 + i);
        for (uint32_t i = 10; i-- > 0;)
            hear(fds[i], round * 10 + i);
    }
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    assert_int_equal(fake_get(&server.fake.total), 200);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__server_away__holds_and_delivers_once(void **state VT_UNUSED)
{
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    ask(fd, 1);
    server_stop();
    say(fd, 2);
    pause_ms(700);
    server_start();
    hear(fd, 2);
    server_do(&server.drop_all);
    ask(fd, 3);
    assert_int_equal(fake_get(&server.fake.effects[1]) + fake_get(&server.fake.effects[2]) + fake_get(&server.fake.effects[3]), 3);
    close(fd);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__hold_limit__answers_retry(void **state VT_UNUSED)
{
    const char *const args[] = {"--upstream", upstream, "--credential", credential, "--frontend",
                                "socket:tcp:127.0.0.1:0", "--hold", "1", NULL};
    struct shim shim;
    int fd;

    server_stop();
    shim_spawn(&shim, VTPM_SHIM, args);
    shim_ready(&shim);
    fd = guest(&shim);
    say(fd, 1);
    hear_code(fd, 0x800);
    server_start();
    ask(fd, 2);
    assert_int_equal(fake_get(&server.fake.effects[1]), 0);
    close(fd);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__client_leaves_in_the_middle__command_finishes(void **state VT_UNUSED)
{
    struct linger reset = {1, 0};
    struct shim shim;
    int fd, other;

    shim_start(&shim);
    fd = guest(&shim);
    ask(fd, 1);
    server_stop();
    say(fd, 2);
    pause_ms(200);
    /* A reset, not a half-close. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    other = guest(&shim);
    say(other, 3);
    pause_ms(100);
    server_start();
    hear(other, 3);
    assert_int_equal(fake_get(&server.fake.effects[2]), 1);
    assert_int_equal(fake_get(&server.fake.effects[3]), 1);
    close(other);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__half_close__still_answers(void **state VT_UNUSED)
{
    struct shim shim;
    uint8_t byte;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    say(fd, 7);
    say(fd, 8);
    shutdown(fd, SHUT_WR);
    hear(fd, 7);
    hear(fd, 8);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__absurd_size__is_answered_and_closed(void **state VT_UNUSED)
{
    static const uint32_t sizes[] = {0, 9, 4097, 0xffffffff};
    struct shim shim;
    uint8_t byte;

    shim_start(&shim);
    for (size_t i = 0; i < VT_COUNT(sizes); i++) {
        uint8_t header[10] = {0, 0xc1, (uint8_t)(sizes[i] >> 24), (uint8_t)(sizes[i] >> 16), (uint8_t)(sizes[i] >> 8),
                              (uint8_t)sizes[i]};
        int fd = guest(&shim);
        assert_int_equal(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
        hear_code(fd, 0x19);
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
    }
    assert_int_equal(fake_get(&server.fake.total), 0);
    assert_int_equal(shim_stop(&shim), 0);
}

static void test_shim__fenced__exits_4_and_says_why(void **state VT_UNUSED)
{
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    ask(fd, 1);
    server_do(&server.fence);
    assert_int_equal(shim_wait(&shim), 4);
    assert_non_null(strstr(shim.text, "another shim"));
    close(fd);
}

static void test_shim__wrong_key__says_so_once_and_keeps_trying(void **state VT_UNUSED)
{
    struct shim shim;
    char *first;
    int fd;

    fake_set(&server.fake.unknown, true);
    shim_start(&shim);
    assert_true(shim_says(&shim, "refused identity"));
    fd = guest(&shim);
    say(fd, 1);
    pause_ms(4000);
    fake_set(&server.fake.unknown, false);
    hear(fd, 1);
    close(fd);
    assert_int_equal(shim_stop(&shim), 0);
    first = strstr(shim.text, "refused identity");
    assert_non_null(first);
    assert_null(strstr(first + 1, "refused identity"));
    assert_non_null(strstr(first, "vtpmctl"));
}

static void set_server_key(unsigned key_byte)
{
    pthread_mutex_lock(&server.lock);
    memset(&server.fake.key, (int)key_byte, sizeof server.fake.key);
    pthread_mutex_unlock(&server.lock);
}

/* `credential rotate` while the shim runs: another's file and a missing one change nothing, the new one is taken. */
static void test_shim__credential_rotated__is_read_again(void **state VT_UNUSED)
{
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    ask(fd, 1);
    set_server_key(0x77);
    server_do(&server.drop_all);
    say(fd, 2);
    assert_true(shim_says(&shim, "refused identity"));
    assert_int_equal(unlink(credential), 0);
    assert_true(shim_says(&shim, "the key stays as it was"));
    assert_int_equal(put_credential("99112233-4455-6677-8899-aabbccddeeff", 0x77), 0);
    assert_true(shim_says(&shim, "it is of 99112233"));
    assert_int_equal(put_credential(FAKE_IDENTITY, 0x77), 0);
    hear(fd, 2);
    ask(fd, 3);
    close(fd);
    assert_int_equal(fake_get(&server.fake.effects[2]), 1);
    assert_int_equal(shim_stop(&shim), 0);
    assert_non_null(strstr(shim.text, "has a new key"));
    assert_int_equal(put_credential(FAKE_IDENTITY, 0x5a), 0);
}

static void test_shim__sigterm_while_held__ends_at_once(void **state VT_UNUSED)
{
    struct timespec a, b;
    struct shim shim;
    int fd;

    server_stop();
    shim_start(&shim);
    fd = guest(&shim);
    say(fd, 1);
    pause_ms(100);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(shim_stop(&shim), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true(b.tv_sec - a.tv_sec <= 3);
    close(fd);
}

static void test_shim__sigterm_during_a_command__waits_two_seconds(void **state VT_UNUSED)
{
    struct shim shim;
    int fd;

    shim_start(&shim);
    fd = guest(&shim);
    ask(fd, 1);
    fake_set(&server.fake.no_answer, true);
    say(fd, 2);
    pause_ms(100);
    assert_int_equal(shim_stop(&shim), 0);
    assert_non_null(strstr(shim.text, "may have been executed"));
    close(fd);
}

static void test_unix_frontend__stale_file__is_replaced_and_live_one_is_not(void **state VT_UNUSED)
{
    char path[80], spec[100];
    struct shim first, second;
    struct stat st;
    int file;

    snprintf(path, sizeof path, "%s/tpm", dir);
    snprintf(spec, sizeof spec, "socket:unix:%s", path);
    const char *const args[] = {"--upstream", upstream, "--credential", credential, "--frontend", spec, NULL};
    shim_spawn(&first, VTPM_SHIM, args);
    shim_ready(&first);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(run_to_end(&second, args), 4);
    assert_non_null(strstr(second.text, "another program answers"));
    kill(first.pid, SIGKILL);
    assert_int_equal(shim_wait(&first), -SIGKILL);
    assert_int_equal(stat(path, &st), 0);
    shim_spawn(&second, VTPM_SHIM, args);
    shim_ready(&second);
    assert_int_equal(shim_stop(&second), 0);
    assert_int_equal(stat(path, &st), -1);
    file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_equal(run_to_end(&second, args), 5);
    assert_non_null(strstr(second.text, "is not a socket"));
    unlink(path);
}

static void test_shim__notify_socket__hears_ready(void **state VT_UNUSED)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    struct shim shim;
    char text[64] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/notify", dir);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    setenv("NOTIFY_SOCKET", addr.sun_path, 1);
    shim_start(&shim);
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(recv(fd, text, sizeof text - 1, 0), 7);
    assert_string_equal(text, "READY=1");
    assert_int_equal(shim_stop(&shim), 0);
    close(fd);
    unlink(addr.sun_path);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, start_server, stop_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__wrong__are_named_with_exit_code),
        cmocka_unit_test(test_options__wrong_values_behind_a_good_credential__are_named),
        WITH_SERVER(test_shim__commands__reach_the_server),
        WITH_SERVER(test_shim__byte_by_byte_and_pipelined__same),
        WITH_SERVER(test_shim__several_clients__each_gets_its_own),
        WITH_SERVER(test_shim__server_away__holds_and_delivers_once),
        WITH_SERVER(test_shim__hold_limit__answers_retry),
        WITH_SERVER(test_shim__client_leaves_in_the_middle__command_finishes),
        WITH_SERVER(test_shim__half_close__still_answers),
        WITH_SERVER(test_shim__absurd_size__is_answered_and_closed),
        WITH_SERVER(test_shim__fenced__exits_4_and_says_why),
        WITH_SERVER(test_shim__wrong_key__says_so_once_and_keeps_trying),
        WITH_SERVER(test_shim__credential_rotated__is_read_again),
        WITH_SERVER(test_shim__sigterm_while_held__ends_at_once),
        WITH_SERVER(test_shim__sigterm_during_a_command__waits_two_seconds),
        WITH_SERVER(test_unix_frontend__stale_file__is_replaced_and_live_one_is_not),
        WITH_SERVER(test_shim__notify_socket__hears_ready),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
