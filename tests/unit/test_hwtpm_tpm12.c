/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM 1.2 that answers nonsense, or nothing: a thread of the test on a Unix socket. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "hwtpm/hwtpm.h"

static char dir[64];
static struct hwtpm_config config = {.kind = HWTPM_TPM12};

/* What it answers to each command of one connection; len 0: silence until the client has gone. */
struct peer {
    int listener;
    const uint8_t *answer;
    size_t len;
    pthread_t thread;
};
static struct peer peer;

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    uint8_t command[4096];
    int fd = accept(p->listener, NULL, NULL);

    if (fd < 0)
        return NULL;
    while (read(fd, command, sizeof command) > 0)
        if (p->len && write(fd, p->answer, p->len) < 0)
            break;
        else if (p->len < 10 && p->len)
            break;
    close(fd);
    return NULL;
}

static void peer_start(const void *answer, size_t len)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s/tpm", dir);
    unlink(address.sun_path);
    snprintf(config.where, sizeof config.where, "unix:%s/tpm", dir);
    peer = (struct peer){.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .answer = answer, .len = len};
    assert_true(peer.listener >= 0);
    assert_int_equal(bind(peer.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(peer.listener, 4), 0);
    assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, &peer), 0);
}

static void peer_stop(void)
{
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_hwtpm.XXXXXX");
    return !mkdtemp(dir);
}

static int tear_down(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/tpm", dir);
    unlink(path);
    return rmdir(dir);
}

struct asked {
    struct hwtpm_pcrs pcrs;
    struct hwtpm_policy policy;
    struct hwtpm_sealed sealed;
    uint8_t bytes[HWTPM_SECRET];
};

static int ask_random(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct asked *asked = arg;

    return hwtpm_random(tpm, asked->bytes, sizeof asked->bytes, why);
}

static int ask_pcr(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct asked *asked = arg;

    return hwtpm_pcr_read(tpm, 1u << 4, &asked->pcrs, why);
}

static int ask_seal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct asked *asked = arg;

    return hwtpm_seal(tpm, &asked->policy, asked->bytes, &asked->sealed, why);
}

static int ask_unseal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct asked *asked = arg;

    return hwtpm_unseal(tpm, &asked->policy, &asked->sealed, asked->bytes, why);
}

static int ask_more(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct asked *asked = arg;

    /* A TPM 1.2 knows no signed policies. */
    asked->policy.is_signed = true;
    return hwtpm_seal(tpm, &asked->policy, asked->bytes, &asked->sealed, why);
}

static int ask(hwtpm_work what, struct vt_why *why)
{
    struct asked asked = {.sealed.len = 300};

    memset(why, 0, sizeof *why);
    return hwtpm_run(&config, what, &asked, sizeof asked, why);
}

#define HEAD(size) 0x00, 0xc4, 0, 0, (uint8_t)((size) >> 8), (uint8_t)(size), 0, 0, 0, 0

static void test_answers__malformed__are_refused(void **state)
{
    static const uint8_t tiny[] = {0, 0xc4, 0}, small[] = {HEAD(9)}, large[] = {HEAD(5000)},
                         tag2[] = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0}, empty[] = {HEAD(10)},
                         none[] = {HEAD(14), 0, 0, 0, 0}, many[] = {HEAD(14), 0xff, 0xff, 0xff, 0xff},
                         more[] = {HEAD(14), 0, 0, 0, 0, 1, 2, 3}, authed[] = {0, 0xc5, 0, 0, 0, 14, 0, 0, 0, 0, 1, 2, 3, 4};
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } answers[] = {
        {tiny, sizeof tiny}, {small, sizeof small}, {large, sizeof large}, {tag2, sizeof tag2}, {empty, sizeof empty},
        {none, sizeof none}, {many, sizeof many}, {more, sizeof more}, {authed, sizeof authed},
    };
    static const hwtpm_work asks[] = {ask_random, ask_pcr, ask_seal, ask_unseal};
    struct vt_why why;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(answers); i++)
        for (size_t k = 0; k < VT_COUNT(asks); k++) {
            int err;

            peer_start(answers[i].bytes, answers[i].len);
            err = ask(asks[k], &why);
            peer_stop();
            if (err != VT_EPROTO && err != VT_EIO)
                fail_msg("answer %zu to question %zu: %d %s", i, k, err, why.text);
            assert_true(why.text[0]);
        }
}

static void test_answers__error_codes__say_the_way_out(void **state)
{
    static const struct {
        uint8_t low, high;
        int err;
        const char *says;
    } codes[] = {
        {0x12, 0, VT_ENOTFOUND, "tpm_takeownership"}, {0x03, 8, VT_EAGAIN, "lockout"}, {0x26, 0, VT_EAGAIN, "not started"},
        {0x06, 0, VT_ENOTSUP, "activate"},            {0x15, 0, VT_EAGAIN, "sessions"}, {0x77, 0, VT_EIO, "0x77"},
    };
    struct vt_why why;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(codes); i++) {
        const uint8_t answer[] = {0, 0xc4, 0, 0, 0, 10, 0, 0, codes[i].high, codes[i].low};
        int err;

        peer_start(answer, sizeof answer);
        err = ask(ask_seal, &why);
        peer_stop();
        if (err != codes[i].err || !strstr(why.text, codes[i].says))
            fail_msg("code 0x%x: %d %s", codes[i].low, err, why.text);
    }
}

static void test_silence__ends_in_time_and_is_not_waited_for_again(void **state)
{
    static const uint8_t random[] = {HEAD(14 + 32), 0, 0, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                                     17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
    struct vt_why why;
    int err;

    (void)state;
    config.limit_ms = 100;
    peer_start(NULL, 0);
    assert_int_equal(ask(ask_random, &why), VT_ETIMEOUT);
    assert_non_null(strstr(why.text, "does not answer within 100 ms"));
    assert_int_equal(ask(ask_random, &why), VT_ETIMEOUT);
    assert_non_null(strstr(why.text, "still does not answer"));
    /* The connection breaks: whoever waited is gone, and the next one is asked again. */
    {
        int fds[256], count = 0;

        for (int fd = 3; fd < 256; fd++) {
            struct sockaddr_un to;
            socklen_t len = sizeof to;

            if (fd != peer.listener && getpeername(fd, (struct sockaddr *)&to, &len) == 0 && to.sun_family == AF_UNIX)
                fds[count++] = fd;
        }
        for (int i = 0; i < count; i++)
            shutdown(fds[i], SHUT_RDWR);
    }
    peer_stop();
    config.limit_ms = 5000;
    peer_start(random, sizeof random);
    do
        err = ask(ask_random, &why);
    while (err == VT_ETIMEOUT && strstr(why.text, "still"));
    peer_stop();
    assert_int_equal(err, VT_OK);
}

static void test_place__wrong__says_what_and_what_to_do(void **state)
{
    static const struct {
        const char *where;
        int err;
        const char *says;
    } places[] = {
        {"/nowhere/tpm0", VT_ENOTFOUND, "/nowhere/tpm0: there is no such TPM"},
        {"unix:/nowhere/tpm", VT_ENOTFOUND, "no such TPM"},
        {"tcp:127.0.0.1:1", VT_ENOTFOUND, "nobody listens"},
        {"tcp:127.0.0.1", VT_EUSAGE, "tcp:HOST:PORT"},
        {"tcp::7", VT_EUSAGE, "tcp:HOST:PORT"},
        {"tcp:[::1]:", VT_EUSAGE, "tcp:HOST:PORT"},
    };
    struct vt_why why;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(places); i++) {
        snprintf(config.where, sizeof config.where, "%s", places[i].where);
        assert_int_equal(ask(ask_random, &why), places[i].err);
        if (!strstr(why.text, places[i].says))
            fail_msg("%s: %s", places[i].where, why.text);
    }
}

static void test_operation__not_there__says_so(void **state)
{
    static const uint8_t any[] = {HEAD(10)};
    struct hwtpm_config none = {.kind = HWTPM_NONE};
    struct asked asked = {.sealed.len = 0};
    struct vt_why why;

    (void)state;
    peer_start(any, sizeof any);
    assert_int_equal(ask(ask_more, &why), VT_ENOTSUP);
    peer_stop();
    memset(&why, 0, sizeof why);
    assert_int_equal(hwtpm_run(&none, ask_random, &asked, sizeof asked, &why), VT_ENOTFOUND);
    assert_non_null(strstr(why.text, "shows no TPM"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers__malformed__are_refused),
        cmocka_unit_test(test_answers__error_codes__say_the_way_out),
        cmocka_unit_test(test_silence__ends_in_time_and_is_not_waited_for_again),
        cmocka_unit_test(test_place__wrong__says_what_and_what_to_do),
        cmocka_unit_test(test_operation__not_there__says_so),
    };

    return cr_init() || cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
