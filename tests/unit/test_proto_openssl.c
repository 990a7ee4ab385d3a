/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL's own s_client and s_server as peers of our TLS: the profile is the one that the contract names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto_rig.h"
#include "server/base/text.h"

#define CIPHER "ECDHE-PSK-CHACHA20-POLY1305"

static struct rig rig;
static char key_hex[65];

static int listen_any(uint16_t *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port = ntohs(addr.sin_port);
    return fd;
}

static pid_t run(char *const argv[], int *in, int *out)
{
    int to[2], from[2];
    pid_t pid;

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        dup2(from[1], 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    *in = to[1];
    *out = from[0];
    return pid;
}

/* Moves bytes between the socket and tls once, waiting up to a second; false when the peer is gone. */
static bool pump(int fd, struct tls *tls)
{
    struct vt_buf *out = tls_output(tls);
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    uint8_t bytes[4096];
    ssize_t n;

    while (vt_buf_size(out)) {
        n = send(fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        vt_buf_drop(out, (size_t)n);
    }
    if (poll(&poller, 1, 5000) <= 0)
        return false;
    n = recv(fd, bytes, sizeof bytes, 0);
    return n > 0 && tls_feed(tls, bytes, (size_t)n) == VT_OK;
}

static int shake(int fd, struct tls *tls)
{
    int err;

    while ((err = tls_handshake(tls, NULL)) == VT_EAGAIN)
        if (!pump(fd, tls))
            return VT_EIO;
    /* The last flight. */
    while (vt_buf_size(tls_output(tls))) {
        ssize_t n = send(fd, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls)), MSG_NOSIGNAL);
        if (n <= 0)
            break;
        vt_buf_drop(tls_output(tls), (size_t)n);
    }
    return err;
}

static bool read_until(int fd, const char *word)
{
    static char text[65536];
    size_t len = 0;
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    ssize_t n;

    while (len < sizeof text - 1 && poll(&poller, 1, 5000) > 0) {
        n = read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, word))
            return true;
    }
    return false;
}

/* Runs s_client with these options against a server of ours: the server's handshake result. */
static int with_s_client(const char *version, const char *identity, const char *key, bool chat)
{
    struct tls_config config = {.server = true, .random = rig_random, .psk = rig_psk, .psk_ctx = &rig};
    char where[32];
    char copies[5][128];
    uint16_t port;
    int listener = listen_any(&port), fd, in, out, err, status;
    struct tls *tls;
    pid_t pid;

    snprintf(where, sizeof where, "127.0.0.1:%u", port);
    snprintf(copies[0], sizeof copies[0], "%s", version);
    snprintf(copies[1], sizeof copies[1], "%s", CIPHER);
    snprintf(copies[2], sizeof copies[2], "%s", identity);
    snprintf(copies[3], sizeof copies[3], "%s", key);
    char openssl[] = "openssl", s_client[] = "s_client", quiet[] = "-quiet", connect_to[] = "-connect",
         cipher[] = "-cipher", id[] = "-psk_identity", psk[] = "-psk";
    char *argv[] = {openssl, s_client, quiet, copies[0], connect_to, where, cipher, copies[1], id, copies[2], psk,
                    copies[3], NULL};
    pid = run(argv, &in, &out);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(tls_new(&tls, &config), VT_OK);
    err = shake(fd, tls);
    if (!err && chat) {
        struct vt_buf got;
        vt_buf_init(&got, 4096);
        assert_int_equal(write(in, "ping\n", 5), 5);
        while (vt_buf_size(&got) < 5 && (tls_read(tls, &got) == VT_OK || pump(fd, tls)))
            ;
        assert_int_equal(vt_buf_size(&got), 5);
        assert_memory_equal(vt_buf_bytes(&got), "ping\n", 5);
        vt_buf_free(&got);
        assert_int_equal(tls_write(tls, "pong\n", 5), VT_OK);
        assert_int_equal(write(fd, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls))),
                         (ssize_t)vt_buf_size(tls_output(tls)));
        assert_true(read_until(out, "pong"));
    }
    tls_free(tls);
    close(fd);
    close(listener);
    close(in);
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    close(out);
    return err;
}

static int set_up(void **state VT_UNUSED)
{
    rig_defaults(&rig);
    vt_hex(key_hex, rig.key.bytes, sizeof rig.key.bytes);
    return 0;
}

static void test_s_client__right_key__talks(void **state VT_UNUSED)
{
    assert_int_equal(with_s_client("-tls1_2", RIG_IDENTITY, key_hex, true), VT_OK);
}

static void test_s_client__wrong_key_or_identity__is_refused(void **state VT_UNUSED)
{
    char other[65];

    memcpy(other, key_hex, sizeof other);
    other[0] = '1';
    assert_int_equal(with_s_client("-tls1_2", RIG_IDENTITY, other, false), VT_EAUTH);
    assert_int_equal(with_s_client("-tls1_2", "host:unknown", key_hex, false), VT_EAUTH);
    assert_int_equal(with_s_client("-tls1_2", "two words", key_hex, false), VT_EAUTH);
    assert_string_equal(rig.asked, "");
}

static void test_s_client__tls13_only__is_refused(void **state VT_UNUSED)
{
    assert_int_equal(with_s_client("-tls1_3", RIG_IDENTITY, key_hex, false), VT_EPROTO);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* s_server needs a moment until it listens. */
    for (int i = 0; i < 100; i++) {
        if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
            return fd;
        usleep(50000);
    }
    close(fd);
    return -1;
}

static void test_s_server__right_key__talks(void **state VT_UNUSED)
{
    struct tls_config config = {.random = rig_random, .identity = RIG_IDENTITY, .key = &rig.key};
    char openssl[] = "openssl", s_server[] = "s_server", quiet[] = "-quiet", tls12[] = "-tls1_2", nocert[] = "-nocert",
         accept_on[] = "-accept", cipher[] = "-cipher", suite[] = CIPHER, psk[] = "-psk", id[] = "-psk_identity",
         name[] = RIG_IDENTITY;
    char where[16];
    uint16_t port;
    int fd, in, out, status, listener = listen_any(&port);
    struct tls *tls;
    pid_t pid;

    close(listener);
    snprintf(where, sizeof where, "%u", port);
    char *argv[] = {openssl, s_server, quiet, tls12, nocert, accept_on, where, cipher, suite, id, name, psk, key_hex, NULL};
    pid = run(argv, &in, &out);
    fd = connect_to(port);
    assert_true(fd >= 0);
    assert_int_equal(tls_new(&tls, &config), VT_OK);
    assert_int_equal(shake(fd, tls), VT_OK);
    assert_int_equal(tls_write(tls, "hello there\n", 12), VT_OK);
    assert_int_equal(write(fd, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls))),
                     (ssize_t)vt_buf_size(tls_output(tls)));
    assert_true(read_until(out, "hello there"));
    tls_free(tls);
    close(fd);
    close(in);
    close(out);
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s_client__right_key__talks),
        cmocka_unit_test(test_s_client__wrong_key_or_identity__is_refused),
        cmocka_unit_test(test_s_client__tls13_only__is_refused),
        cmocka_unit_test(test_s_server__right_key__talks),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
