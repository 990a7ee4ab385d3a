/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_serve byte by byte, in a child without confinement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/sandbox/confine.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"

/* Starts a server; returns the broker's end. */
static int serve(pid_t *pid)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *pid = fork();
    assert_true(*pid >= 0);
    if (*pid == 0) {
        close(fds[0]);
        _exit(sandbox_serve(fds[1]));
    }
    close(fds[1]);
    return fds[0];
}

static int status_of(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_serve__closed_at_once__ends_well(void **state)
{
    pid_t pid;
    int fd = serve(&pid);

    (void)state;
    close(fd);
    assert_int_equal(status_of(pid), 0);
}

static void test_serve__no_request__ends_without_a_word(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool half_close;
    } cases[] = {
        {"\x00\x00\x00\x00", 4, false},                 /* no type */
        {"\x00\x08\x00\x01\x03", 5, false},             /* one more than SANDBOX_FRAME_MAX */
        {"\xff\xff\xff\xff", 4, false},
        {"\x00\x00\x00\x01\x05\x00", 6, false},         /* a second one behind it */
        {"\x00\x00", 2, true},
        {"\x00\x00\x00\x09\x05\x01", 6, true},
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        pid_t pid;
        int fd = serve(&pid);
        char byte;

        assert_int_equal(write(fd, cases[i].bytes, cases[i].len), cases[i].len);
        if (cases[i].half_close)
            shutdown(fd, SHUT_WR);
        assert_int_equal(read(fd, &byte, 1), 0);
        close(fd);
        assert_int_equal(status_of(pid), 4);
    }
}

static size_t answer_to(const void *request, size_t len, uint8_t *answer, size_t cap, int *status)
{
    pid_t pid;
    int fd = serve(&pid);
    size_t have = 0;
    ssize_t n;

    /* In two parts, so that the frame must be put together. */
    assert_int_equal(write(fd, request, 3), 3);
    usleep(2000);
    assert_int_equal(write(fd, (const char *)request + 3, len - 3), len - 3);
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, answer + have, cap - have)) > 0)
        have += (size_t)n;
    close(fd);
    *status = status_of(pid);
    return have;
}

/* Every length of a MANUFACTURE but the right one, and every cut and lie in a THAW. */
static void test_serve__malformed_payload__fails(void **state)
{
    uint8_t request[5 + CR_DRBG_SEED + SANDBOX_PROFILE_LEN + 2] = {0}, answer[4096];
    size_t right = sizeof request - 1, n;
    int status;

    (void)state;
    for (size_t len = 5; len <= sizeof request; len++) {
        request[3] = (uint8_t)(len - 4);
        request[4] = SANDBOX_MANUFACTURE;
        n = answer_to(request, len, answer, sizeof answer, &status);
        assert_true(n > 5);
        assert_int_equal(answer[4], len == right ? SANDBOX_STATE : SANDBOX_FAILED);
        assert_int_equal(status, len == right ? 0 : 1);
    }
}

static void test_serve__lengths_that_lie__fail(void **state)
{
    static const uint32_t lies[] = {1, 0x7fffffff, 0xffffffff, 0xfffffffc, TPM_FROZEN_PERMANENT_MAX + 1};
    uint8_t answer[4096];
    int status;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(lies); i++) {
        uint8_t request[5 + 32 + 4 + 4] = {0, 0, 0, 41, SANDBOX_THAW};
        struct wr w = wr_to(request + 37, 4);

        wr_put32(&w, lies[i]);
        assert_true(answer_to(request, sizeof request, answer, sizeof answer, &status) > 5);
        assert_int_equal(answer[4], SANDBOX_FAILED);
        assert_int_equal(status, 1);
    }
}

/* Answers to a TPM's owner are read by bounds, too. */
static void test_ek__lengths__checked(void **state)
{
    uint8_t bytes[4 + CR_RSA_MAX + 4 + 4 + TPM_EK_CERT_MAX + 1] = {0};
    struct sandbox_ek_public ek;
    struct wr w;

    (void)state;
    for (size_t over = 0; over < 3; over++) {
        w = wr_to(bytes, sizeof bytes);
        wr_put32(&w, CR_RSA_MAX + (over == 1));
        memset(wr_room(&w, CR_RSA_MAX), 0xC3, CR_RSA_MAX);
        wr_put32(&w, 65537);
        wr_put32(&w, TPM_EK_CERT_MAX + (over == 2));
        assert_int_equal(sandbox_rd_ek(&ek, bytes, sizeof bytes - 1), over == 0);
    }
    for (size_t len = 0; len <= sizeof bytes; len++)
        assert_false(sandbox_rd_ek(&ek, bytes, len));
    wr_put32(&(struct wr){.base = bytes + 4 + CR_RSA_MAX + 4, .cap = 4}, TPM_EK_CERT_MAX);
    for (size_t len = 0; len <= sizeof bytes; len++)
        assert_int_equal(sandbox_rd_ek(&ek, bytes, len), len == sizeof bytes - 1);
}

/* Before there is a TPM, and with lengths that do not fit. */
static void test_serve__ek_requests_out_of_order_or_malformed__fail(void **state)
{
    uint8_t answer[4096], manufacture[5 + CR_DRBG_SEED + SANDBOX_PROFILE_LEN + 1] = {0}, both[200];
    static const struct {
        uint8_t len;
        uint8_t bytes[9];
    } requests[] = {
        {6, {0, 0, 0, 2, SANDBOX_EK_READ, 0}},
        {5, {0, 0, 0, 1, SANDBOX_EK_INSTALL}},
        {9, {0, 0, 0, 5, SANDBOX_EK_INSTALL, 0, 0, 0, 1}},
        {9, {0, 0, 0, 5, SANDBOX_EK_INSTALL, 0xff, 0xff, 0xff, 0xff}},
    };
    int status;

    (void)state;
    assert_true(answer_to("\0\0\0\1\x14", 5, answer, sizeof answer, &status) > 5);
    assert_int_equal(answer[4], SANDBOX_FAILED);
    manufacture[3] = sizeof manufacture - 4;
    manufacture[4] = SANDBOX_MANUFACTURE;
    for (size_t i = 0; i < VT_COUNT(requests); i++) {
        pid_t pid;
        int fd = serve(&pid);

        assert_int_equal(write(fd, manufacture, sizeof manufacture), sizeof manufacture);
        assert_true(read(fd, answer, sizeof answer) > 5);
        assert_int_equal(answer[4], SANDBOX_STATE);
        memcpy(both, requests[i].bytes, requests[i].len);
        assert_int_equal(write(fd, both, requests[i].len), requests[i].len);
        assert_true(read(fd, answer, sizeof answer) > 5);
        assert_int_equal(answer[4], SANDBOX_FAILED);
        close(fd);
        assert_int_equal(status_of(pid), 1);
    }
}

static void test_confine__without_a_filter__refuses(void **state)
{
    struct vt_why why = {""};

    (void)state;
    assert_int_equal(sandbox_confine(5, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "filter"));
}

static void test_state__flags_and_lengths__checked(void **state)
{
    uint8_t bytes[3 + 32 + 12 + 1] = {3, 1, 1};
    struct sandbox_state parsed;

    (void)state;
    assert_true(sandbox_rd_state(&parsed, bytes, sizeof bytes - 1));
    assert_false(sandbox_rd_state(&parsed, bytes, sizeof bytes));
    for (size_t len = 0; len < sizeof bytes - 1; len++)
        assert_false(sandbox_rd_state(&parsed, bytes, len));
    for (size_t i = 0; i < 3; i++) {
        uint8_t was = bytes[i];

        bytes[i] = 4;
        assert_false(sandbox_rd_state(&parsed, bytes, sizeof bytes - 1));
        bytes[i] = was;
    }
    bytes[35] = 0xff;
    assert_false(sandbox_rd_state(&parsed, bytes, sizeof bytes - 1));
}

static void test_profile__written__is_read_back(void **state)
{
    const struct tpm_profile profile = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0x01020304, true};
    struct tpm_profile back;
    uint8_t bytes[SANDBOX_PROFILE_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct rd r;

    (void)state;
    tpm_profile_write(&w, &profile);
    assert_int_equal(w.len, sizeof bytes);
    r = rd_from(bytes, w.len);
    tpm_profile_read(&r, &back);
    assert_true(rd_done(&r));
    assert_int_equal(back.key_slots, 1);
    assert_int_equal(back.delegate_rows, 9);
    assert_int_equal(back.nv_bytes, 0x01020304);
    assert_true(back.maintenance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serve__closed_at_once__ends_well),
        cmocka_unit_test(test_serve__no_request__ends_without_a_word),
        cmocka_unit_test(test_serve__malformed_payload__fails),
        cmocka_unit_test(test_serve__lengths_that_lie__fail),
        cmocka_unit_test(test_ek__lengths__checked),
        cmocka_unit_test(test_serve__ek_requests_out_of_order_or_malformed__fail),
        cmocka_unit_test(test_confine__without_a_filter__refuses),
        cmocka_unit_test(test_state__flags_and_lengths__checked),
        cmocka_unit_test(test_profile__written__is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
