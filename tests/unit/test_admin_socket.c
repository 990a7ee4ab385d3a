/* SPDX-License-Identifier: Apache-2.0 */
/* The admin socket against a fake broker; and who may do what. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "server/base/alloc.h"
#include "server/net/admin.h"
#include "tests/unit/fake_broker.h"
#include "tests/unit/log_capture.h"

#define WAIT_NS 20000000000ull

struct rig {
    uv_loop_t uv;
    struct broker broker;
    struct admin *admin;
    bool is_done;
    struct net_peer peer;
    struct vt_buf in; /* what the client has read */
};


/* A peer without credentials is nobody; the one with our uid is the server itself. */
static struct rig *rig_new(bool is_somebody, const struct admin_limits *limits)
{
    static const struct admin_limits usual = ADMIN_LIMITS_DEFAULT;
    struct rig *rig = calloc(1, sizeof *rig);
    struct role_policy policy = {.own_uid = geteuid()};

    assert_int_equal(uv_loop_init(&rig->uv), 0);
    fake_broker_init(&rig->broker);
    assert_int_equal(admin_new(&rig->admin, &rig->uv, &rig->broker, &policy, limits ? limits : &usual),
                     VT_OK);
    rig->peer =
        (struct net_peer){.text = "test-peer", .has_cred = is_somebody, .uid = geteuid(), .gid = getegid()};
    vt_buf_init(&rig->in, 8u << 20);
    log_forget();
    return rig;
}

static void on_done(void *arg)
{
    struct rig *rig = arg;

    assert_false(rig->is_done);
    rig->is_done = true;
}

static void rig_free(struct rig *rig)
{
    admin_close(rig->admin, on_done, rig);
    assert_false(rig->is_done);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_true(rig->is_done);
    admin_free(rig->admin);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
    vt_buf_free(&rig->in);
    free(rig);
}

static int plug_in(struct rig *rig)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    admin_accept(rig->admin, fds[1], &rig->peer);
    return fds[0];
}

static void send_request(int fd, const Vtpm__AdminRequest *request, unsigned times)
{
    struct vt_buf out;
    uint8_t *at;

    vt_buf_init(&out, 1u << 20);
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(frame_begin(&out, vtpm__admin_request__get_packed_size(request), &at), VT_OK);
        vtpm__admin_request__pack(request, at);
    }
    assert_int_equal(send(fd, vt_buf_bytes(&out), vt_buf_size(&out), MSG_NOSIGNAL), vt_buf_size(&out));
    vt_buf_free(&out);
}

static void ask(int fd, Vtpm__AdminRequest__VerbCase verb, unsigned times)
{
    Vtpm__AdminRequest request;
    Vtpm__Status status;
    Vtpm__InstanceList list;
    Vtpm__Check check;

    vtpm__admin_request__init(&request);
    vtpm__status__init(&status);
    vtpm__instance_list__init(&list);
    vtpm__check__init(&check);
    request.verb_case = verb;
    if (verb == VTPM__ADMIN_REQUEST__VERB_STATUS)
        request.status = &status;
    else if (verb == VTPM__ADMIN_REQUEST__VERB_LIST)
        request.list = &list;
    else
        request.check = &check;
    send_request(fd, &request, times);
}

/* False: the server has closed. */
static bool read_some(struct rig *rig, int fd)
{
    uint8_t *at;
    ssize_t n;

    assert_int_equal(vt_buf_reserve(&rig->in, 65536, &at), VT_OK);
    n = recv(fd, at, 65536, 0);
    if (n > 0)
        vt_buf_wrote(&rig->in, (size_t)n);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The next reply; NULL: the server closed instead. */
static Vtpm__AdminReply *reply_of(struct rig *rig, int fd)
{
    Vtpm__AdminReply *reply;
    const uint8_t *payload;
    size_t len;

    for (uint64_t until = uv_hrtime() + WAIT_NS; uv_hrtime() < until;) {
        if (!frame_next(&rig->in, FRAME_ADMIN_MAX, &payload, &len)) {
            reply = vtpm__admin_reply__unpack(NULL, len, payload);
            vt_buf_drop(&rig->in, FRAME_HEADER + len);
            assert_non_null(reply);
            return reply;
        }
        uv_run(&rig->uv, UV_RUN_NOWAIT);
        if (!read_some(rig, fd))
            return NULL;
    }
    fail_msg("no reply");
    return NULL;
}

static void expect_reply(struct rig *rig, int fd, int err, const char *text)
{
    Vtpm__AdminReply *reply = reply_of(rig, fd);

    assert_non_null(reply);
    assert_int_equal(reply->err, err);
    if (!strstr(reply->text, text))
        fail_msg("'%s' does not say '%s'", reply->text, text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void expect_end(struct rig *rig, int fd)
{
    assert_null(reply_of(rig, fd));
}

static void turns(struct rig *rig, int count)
{
    while (count--)
        uv_run(&rig->uv, UV_RUN_NOWAIT);
}

/* ---- Roles ---- */

static void test_role__by_uid_and_groups__is_decided(void **state)
{
    static const struct role_policy policy = {.own_uid = 100,
                                              .has_admin_group = true,
                                              .admin_gid = 50,
                                              .has_monitor_group = true,
                                              .monitor_gid = 60};
    static const struct role_policy no_groups = {.own_uid = 100, .admin_gid = 50, .monitor_gid = 60};
    static const gid_t none[] = {7}, admin[] = {7, 50}, monitor[] = {60, 7}, both[] = {60, 50}, zero[] = {0};

    (void)state;
    assert_int_equal(role_of(&policy, 0, none, 1), ADMIN_FULL);
    assert_int_equal(role_of(&policy, 100, none, 1), ADMIN_FULL);
    assert_int_equal(role_of(&policy, 101, none, 1), ADMIN_NONE);
    assert_int_equal(role_of(&policy, 101, admin, 2), ADMIN_FULL);
    assert_int_equal(role_of(&policy, 101, monitor, 2), ADMIN_MONITOR);
    assert_int_equal(role_of(&policy, 101, both, 2), ADMIN_FULL);
    assert_int_equal(role_of(&policy, 101, none, 0), ADMIN_NONE);
    assert_int_equal(role_of(&no_groups, 101, both, 2), ADMIN_NONE);
    /* A group that was not given is not gid 0. */
    assert_int_equal(role_of(&(struct role_policy){.own_uid = 100}, 101, zero, 1), ADMIN_NONE);
}

static void test_role__groups_of_a_peer__are_its_own(void **state)
{
    gid_t groups[ROLE_GROUPS_MAX], own[ROLE_GROUPS_MAX];
    int own_count = getgroups(ROLE_GROUPS_MAX, own);
    size_t count;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    count = role_peer_groups(fds[0], geteuid(), getegid(), groups, ROLE_GROUPS_MAX);
    assert_true(count >= 1);
    assert_int_equal(groups[0], getegid());
    for (int i = 0; i < own_count; i++) {
        bool found = false;
        for (size_t k = 0; k < count; k++)
            found |= groups[k] == own[i];
        assert_true(found);
    }
    assert_int_equal(role_peer_groups(fds[0], geteuid(), getegid(), groups, 0), 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- The socket ---- */

static void test_admin__request__is_answered(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_STATUS, 1);
    expect_reply(rig, fd, 0, "");
    assert_int_equal(rig->broker.last_role, ADMIN_FULL);
    close(fd);
    rig_free(rig);
}

static void test_admin__requests_in_a_row__are_answered_one_by_one(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_LIST, 3);
    turns(rig, 20);
    assert_int_equal(rig->broker.admin_calls, 1);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(rig->broker.admin_calls, i);
        fake_reply(&rig->broker);
        expect_reply(rig, fd, 0, "");
        turns(rig, 5);
    }
    ask(fd, VTPM__ADMIN_REQUEST__VERB_STATUS, 500);
    for (unsigned i = 0; i < 500; i++)
        expect_reply(rig, fd, 0, "");
    close(fd);
    rig_free(rig);
}

static void test_admin__peer_that_may_nothing__is_told_and_logged(void **state)
{
    struct rig *rig = rig_new(false, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_STATUS, 3);
    expect_reply(rig, fd, VT_EPERM, "may not administer");
    expect_end(rig, fd);
    assert_int_equal(rig->broker.admin_calls, 0);
    assert_true(log_says("refused test-peer: may not administer"));
    close(fd);
    rig_free(rig);
}

static void test_admin__peer_that_may_nothing_and_is_silent__is_closed(void **state)
{
    struct admin_limits limits = ADMIN_LIMITS_DEFAULT;
    struct rig *rig;
    int fd;

    (void)state;
    limits.refused_ms = 30;
    rig = rig_new(false, &limits);
    fd = plug_in(rig);
    expect_end(rig, fd);
    close(fd);
    rig_free(rig);
}

static void test_admin__garbage__is_refused(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    assert_int_equal(send(fd, "\0\0\0\4\xff\xff\xff\xff", 8, MSG_NOSIGNAL), 8);
    expect_reply(rig, fd, VT_EPROTO, "not an administrative request");
    shutdown(fd, SHUT_WR);
    expect_end(rig, fd);
    close(fd);
    rig_free(rig);
}

static void test_admin__long_request__is_refused_by_its_header(void **state)
{
    /* 64 KiB and a byte; of an administrator, who may bring an instance, 1200 KiB and a byte. */
    static const char headers[2][6] = {"\0\1\0\1x", "\0\x12\xc0\1x"};

    (void)state;
    for (int full = 0; full < 2; full++) {
        struct admin_limits limits = ADMIN_LIMITS_DEFAULT;
        struct rig *rig;
        int fd;

        if (!full)
            limits.full_max = 0;
        rig = rig_new(true, &limits);
        fd = plug_in(rig);
        assert_int_equal(send(fd, headers[full], 5, MSG_NOSIGNAL), 5);
        expect_reply(rig, fd, VT_ETOOBIG, "too long");
        close(fd);
        rig_free(rig);
    }
}

static void test_admin__answer_that_does_not_fit__is_an_error(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_CHECK, 1);
    expect_reply(rig, fd, VT_ETOOBIG, "ask for less");
    ask(fd, VTPM__ADMIN_REQUEST__VERB_STATUS, 1);
    expect_reply(rig, fd, 0, "");
    close(fd);
    rig_free(rig);
}

static void test_admin__reply_after_the_peer_has_gone__is_dropped(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_LIST, 1);
    turns(rig, 10);
    close(fd);
    turns(rig, 10);
    fake_reply(&rig->broker);
    turns(rig, 10);
    rig_free(rig);
}

static void test_admin__reply_after_close__is_dropped(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_LIST, 1);
    turns(rig, 10);
    admin_close(rig->admin, on_done, rig);
    turns(rig, 10);
    assert_true(rig->is_done);
    fake_reply(&rig->broker);
    rig->is_done = false;
    close(fd);
    rig_free(rig);
}

static void test_admin__reply_that_never_comes__is_no_leak(void **state)
{
    struct rig *rig = rig_new(true, NULL);
    int fd = plug_in(rig);

    (void)state;
    ask(fd, VTPM__ADMIN_REQUEST__VERB_LIST, 1);
    turns(rig, 10);
    assert_int_equal(rig->broker.admin_calls, 1);
    close(fd);
    rig_free(rig);
}

static void test_admin__disconnect_at_each_byte__leaves_nothing(void **state)
{
    static const uint8_t request[] = {0, 0, 0, 3, 0x9a, 0x01, 0x00};
    struct rig *rig = rig_new(true, NULL);

    (void)state;
    for (size_t len = 0; len <= sizeof request; len++) {
        int fd = plug_in(rig);
        assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
        turns(rig, len % 3);
        close(fd);
        turns(rig, 3);
    }
    assert_true(rig->broker.admin_calls <= 1);
    rig_free(rig);
}

static void test_admin__too_many_connections__newcomers_are_closed(void **state)
{
    struct admin_limits limits = ADMIN_LIMITS_DEFAULT;
    struct rig *rig;
    int first, second;

    (void)state;
    limits.connections = 1;
    rig = rig_new(true, &limits);
    first = plug_in(rig);
    second = plug_in(rig);
    expect_end(rig, second);
    ask(first, VTPM__ADMIN_REQUEST__VERB_STATUS, 1);
    expect_reply(rig, first, 0, "");
    close(first);
    close(second);
    rig_free(rig);
}

static void test_admin__all_places_of_others_taken__an_administrator_gets_in(void **state)
{
    struct admin_limits limits = ADMIN_LIMITS_DEFAULT;
    struct rig *rig;
    int first, second, full;

    (void)state;
    limits.others = 1;
    rig = rig_new(false, &limits);
    first = plug_in(rig);
    second = plug_in(rig);
    expect_end(rig, second);
    rig->peer.has_cred = true;
    full = plug_in(rig);
    ask(full, VTPM__ADMIN_REQUEST__VERB_STATUS, 1);
    expect_reply(rig, full, 0, "");
    close(first);
    close(second);
    close(full);
    rig_free(rig);
}

static void test_admin__idle_connection__is_closed(void **state)
{
    struct admin_limits limits = ADMIN_LIMITS_DEFAULT;
    struct rig *rig;
    int fd;

    (void)state;
    limits.idle_ms = 40;
    rig = rig_new(true, &limits);
    fd = plug_in(rig);
    ask(fd, VTPM__ADMIN_REQUEST__VERB_LIST, 1);
    for (uint64_t until = uv_hrtime() + 120000000; uv_hrtime() < until;)
        turns(rig, 1);
    /* Not while a request is under way. */
    fake_reply(&rig->broker);
    expect_reply(rig, fd, 0, "");
    expect_end(rig, fd);
    close(fd);
    rig_free(rig);
}

#ifdef VTPM_TEST_HOOKS
static void test_admin__out_of_memory_anywhere__is_survived(void **state)
{
    (void)state;
    for (long n = 0; n < 12; n++) {
        struct rig *rig = rig_new(true, NULL);
        int fd;
        vt_alloc_fail_after(n);
        fd = plug_in(rig);
        turns(rig, 3);
        vt_alloc_fail_after(-1);
        (void)!send(fd, "\0\0\0\3\x9a\1\0", 7, MSG_NOSIGNAL);
        vt_alloc_fail_after(n);
        turns(rig, 10);
        vt_alloc_fail_after(-1);
        close(fd);
        fd = plug_in(rig);
        ask(fd, VTPM__ADMIN_REQUEST__VERB_STATUS, 1);
        expect_reply(rig, fd, 0, "");
        close(fd);
        rig_free(rig);
    }
}
#endif

static void test_admin__socket_file__is_given_to_the_groups(void **state)
{
    struct role_policy policy = {
        .has_admin_group = true, .admin_gid = getegid(), .has_monitor_group = true, .monitor_gid = getegid()};
    char path[] = "/tmp/vtpm-test-admin-XXXXXX";
    struct vt_why why = {0};
    struct stat st;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    log_forget();
    assert_int_equal(chmod(path, 0660), 0);
    assert_int_equal(admin_own_socket(path, &policy, &why), VT_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(st.st_mode & 0777, 0660);
    if (*log_captured())
        print_message("%s", log_captured());
    close(fd);
    unlink(path);
    assert_int_equal(admin_own_socket("/nonexistent/s", &policy, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "cannot be given to group"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_role__by_uid_and_groups__is_decided),
        cmocka_unit_test(test_role__groups_of_a_peer__are_its_own),
        cmocka_unit_test(test_admin__request__is_answered),
        cmocka_unit_test(test_admin__requests_in_a_row__are_answered_one_by_one),
        cmocka_unit_test(test_admin__peer_that_may_nothing__is_told_and_logged),
        cmocka_unit_test(test_admin__peer_that_may_nothing_and_is_silent__is_closed),
        cmocka_unit_test(test_admin__garbage__is_refused),
        cmocka_unit_test(test_admin__long_request__is_refused_by_its_header),
        cmocka_unit_test(test_admin__answer_that_does_not_fit__is_an_error),
        cmocka_unit_test(test_admin__reply_after_the_peer_has_gone__is_dropped),
        cmocka_unit_test(test_admin__reply_after_close__is_dropped),
        cmocka_unit_test(test_admin__reply_that_never_comes__is_no_leak),
        cmocka_unit_test(test_admin__disconnect_at_each_byte__leaves_nothing),
        cmocka_unit_test(test_admin__too_many_connections__newcomers_are_closed),
        cmocka_unit_test(test_admin__all_places_of_others_taken__an_administrator_gets_in),
        cmocka_unit_test(test_admin__idle_connection__is_closed),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_admin__out_of_memory_anywhere__is_survived),
#endif
        cmocka_unit_test(test_admin__socket_file__is_given_to_the_groups),
    };

    signal(SIGPIPE, SIG_IGN); /* as process_harden does */
    log_capture(VT_LOG_INFO);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
