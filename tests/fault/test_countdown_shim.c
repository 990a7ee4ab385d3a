/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Linux shim whole, on real sockets: a server and a client of the test's own, each in a thread, and three
 * commands. Each socket call, allocation (ours, libuv's, mbedTLS's) and entropy call fails once: shim_run
 * says what is wrong, or each command has its effect once; a client whose connection was lost with a command
 * under way finds it done once or not at all.
 */
#include "tests/fault/countdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/text.h"
#include "shim-linux/shim.h"
#include "tests/unit/fake_server.h"

#define COMMANDS  3
#define TRIES     1000
#define PAUSE_US  5000
#define SILENCE_S 20 /* more than any pause of the shim's between two attempts */

static char dir[] = "/tmp/vtpm-shim-faults-XXXXXX";
static char front_path[64];

struct world {
    struct fake fake;
    struct options options;
    struct credential credential;
    int listener;
    int end[2]; /* closing end[1] ends the server */
    pthread_t server, client;
    atomic_bool is_ended; /* shim_run has returned */
    unsigned answered[COMMANDS + 1];
};

static int count_fds(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(fds);
    while (readdir(fds))
        n++;
    closedir(fds);
    return n;
}

/* ---- The server: one connection at a time, as the shim has ---- */

static void outside(void)
{
    count_here(FAULT_SOCKET, false);
    count_here(FAULT_ENTROPY, false);
}

/* False: the connection is over. */
static bool serve(int fd, struct fake_conn *conn)
{
    uint8_t bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    bool more = n > 0 && fake_bytes(conn, bytes, (size_t)n);
    struct vt_buf *out = fake_output(conn);

    while (n > 0 && vt_buf_size(out)) {
        ssize_t sent = send(fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        vt_buf_drop(out, (size_t)sent);
    }
    return more;
}

static void *server_main(void *arg)
{
    struct world *w = arg;
    struct pollfd fds[3] = {{.fd = w->end[0], .events = POLLIN},
                            {.fd = w->listener, .events = POLLIN},
                            {.fd = -1, .events = POLLIN}};
    struct fake_conn *conn = NULL;

    outside();
    for (;;) {
        bool over = fds[2].fd >= 0 && fds[2].revents && !serve(fds[2].fd, conn);

        if (over || (fds[1].revents && fds[2].fd >= 0)) {
            close(fds[2].fd);
            fake_close(conn);
            conn = NULL;
            fds[2].fd = -1;
        }
        if (fds[1].revents) {
            int fd = accept(w->listener, NULL, NULL);

            conn = fd < 0 ? NULL : fake_open(&w->fake);
            if (fd >= 0 && !conn)
                close(fd);
            fds[2].fd = conn ? fd : -1;
        }
        fds[0].revents = fds[1].revents = fds[2].revents = 0;
        if (poll(fds, 3, -1) < 0 || fds[0].revents)
            break;
    }
    if (conn)
        close(fds[2].fd);
    fake_close(conn);
    return NULL;
}

/* ---- The client ---- */

static int connect_client(const struct world *w)
{
    const struct timeval silence = {.tv_sec = SILENCE_S};
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "%s", front_path);
    for (int i = 0; i < TRIES && !atomic_load(&w->is_ended); i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
        if (!connect(fd, (const struct sockaddr *)&at, sizeof at))
            return fd;
        close(fd);
        usleep(PAUSE_US);
    }
    return -1;
}

enum outcome { ANSWERED, RETRY, LOST };

static enum outcome ask(int fd, uint32_t id)
{
    static const uint8_t retry[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0x08, 0x00};
    uint8_t command[FAKE_COMMAND], response[FAKE_RESPONSE];
    ssize_t n;

    fake_command(command, id);
    if (send(fd, command, sizeof command, MSG_NOSIGNAL) != sizeof command)
        return LOST;
    n = recv(fd, response, sizeof response, 0);
    if (n == sizeof retry && !memcmp(response, retry, sizeof retry))
        return RETRY;
    if (n <= 0 && errno == EAGAIN)
        fprintf(stderr, "call %ld failed: command %u has no answer\n", count_nth(), id);
    if (n == sizeof response && fake_response_id(response) == id)
        return ANSWERED;
    if (n > 0 || errno == EAGAIN)
        abort();
    return LOST;
}

static void *client_main(void *arg)
{
    struct world *w = arg;
    int fd = -1;

    outside();
    for (uint32_t id = 1; id <= COMMANDS;) {
        enum outcome outcome;

        if (fd < 0)
            fd = connect_client(w);
        if (fd < 0)
            return NULL;
        outcome = ask(fd, id);
        w->answered[id] += outcome == ANSWERED;
        if (outcome == LOST) {
            close(fd);
            fd = -1;
            usleep(PAUSE_US); /* out of descriptors, libuv closes whoever waits */
        }
        /* Whether a lost one was done is not known: it is not sent again. */
        id += outcome != RETRY;
    }
    close(fd);
    if (!atomic_load(&w->is_ended))
        kill(getpid(), SIGTERM);
    return NULL;
}

/* ---- A run ---- */

static int listen_on(bool tcp, char *upstream, size_t size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof in;
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(un.sun_path, sizeof un.sun_path, "%s/up", dir);
    unlink(un.sun_path);
    assert_int_equal(
        tcp ? bind(fd, (struct sockaddr *)&in, sizeof in) : bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(fd, 8), 0);
    if (tcp)
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    if (tcp)
        snprintf(upstream, size, "tcp:127.0.0.1:%u", ntohs(in.sin_port));
    else
        snprintf(upstream, size, "unix:%s/up", dir);
    return fd;
}

static void prepare(struct world *w, bool tcp, char *upstream, size_t size, char *frontend)
{
    fake_init(&w->fake);
    w->listener = listen_on(tcp, upstream, size);
    w->credential.key = w->fake.key;
    w->credential.has_uuid = true;
    snprintf(w->credential.identity, sizeof w->credential.identity, "%s", FAKE_IDENTITY);
    assert_true(vt_uuid_parse(&w->credential.uuid, FAKE_IDENTITY));
    w->options = (struct options){.upstream = upstream,
                                  .frontend = frontend,
                                  .credential = "/nonexistent",
                                  .startup = VTPM__STARTUP__STARTUP_CLEAR};
    assert_int_equal(pipe2(w->end, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&w->server, NULL, server_main, w), 0);
    assert_int_equal(pthread_create(&w->client, NULL, client_main, w), 0);
}

static void judge(const struct world *w, bool failed)
{
    unsigned lost = 0;

    for (uint32_t id = 1; id <= COMMANDS; id++) {
        if (w->fake.effects[id] > 1 || w->fake.effects[id] < w->answered[id])
            fail_msg("call %ld failed: command %u had %u effects", count_nth(), id, w->fake.effects[id]);
        lost += !w->answered[id];
    }
    if (lost > failed)
        fail_msg("call %ld failed: %u commands have no answer", count_nth(), lost);
}

static void scenario(void *arg)
{
    static struct world w;
    static bool is_warm;
    struct vt_why why = {""};
    char upstream[80], frontend[80];
    int err, descriptors = count_fds();
    bool failed;

    memset(&w, 0, sizeof w);
    snprintf(frontend, sizeof frontend, "socket:unix:%s", front_path);
    prepare(&w, arg != NULL, upstream, sizeof upstream, frontend);
    count_begin();
    err = shim_run(&w.options, &w.credential, &why);
    failed = count_end();
    atomic_store(&w.is_ended, true);
    assert_int_equal(pthread_join(w.client, NULL), 0);
    close(w.end[1]);
    assert_int_equal(pthread_join(w.server, NULL), 0);
    close(w.end[0]);
    close(w.listener);
    unlink(front_path);
    if (err && (!failed || !why.text[0]))
        fail_msg("call %ld: shim_run ends with %d, '%s'", count_nth(), err, why.text);
    if (!err)
        judge(&w, failed);
    /* What libuv keeps for signals comes with the first run; a shim_run that fails ends the program. */
    if (!err && is_warm && count_fds() != descriptors)
        fail_msg("call %ld failed: descriptors stay open", count_nth());
    is_warm = true;
}

static int set_up(void **state VT_UNUSED)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(front_path, sizeof front_path, "%s/front", dir);
    signal(SIGTERM, SIG_IGN);
    return 0;
}

static int tear_down(void **state VT_UNUSED)
{
    char path[64];

    snprintf(path, sizeof path, "%s/up", dir);
    unlink(path);
    return rmdir(dir);
}

static void test_shim__each_fault__each_command_once_or_told_why(void **state VT_UNUSED)
{
    static char tcp[] = "tcp";

    assert_int_equal(count_down_by("shim, nothing", FAULT_FILE, 1, scenario, NULL), 0);
    assert_true(count_down("shim unix, socket", FAULT_SOCKET, scenario, NULL) > 20);
    assert_true(count_down("shim tcp, socket", FAULT_SOCKET, scenario, tcp) > 20);
    assert_true(count_down("shim tcp, uv", FAULT_UV, scenario, tcp) > 2);
    assert_true(count_down("shim unix, alloc", FAULT_ALLOC, scenario, NULL) > 20);
    assert_true(count_down("shim unix, entropy", FAULT_ENTROPY, scenario, NULL) > 2);
    assert_true(count_down_by("shim unix, mbedtls", FAULT_MBEDTLS, getenv("VTPM_LONG") ? 1 : 331, scenario,
                              NULL) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shim__each_fault__each_command_once_or_told_why, set_up,
                                        tear_down),
    };

    count_hook_uv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
