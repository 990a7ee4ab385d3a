/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/net/listener.h"

struct rig {
    uv_loop_t uv;
    char dir[64];
    char text[160]; /* unix:DIR/s */
    struct listener *listener;
    int accepted; /* the last one's descriptor */
    unsigned count;
    unsigned asked; /* is_ready */
    struct net_peer peer;
};

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    snprintf(rig->dir, sizeof rig->dir, "/tmp/vtpm-test-listener-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->text, sizeof rig->text, "unix:%s/s", rig->dir);
    rig->accepted = -1;
    assert_int_equal(uv_loop_init(&rig->uv), 0);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    listener_close(rig->listener);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
    if (rig->accepted >= 0)
        close(rig->accepted);
    unlink(rig->text + 5);
    rmdir(rig->dir);
    free(rig);
    return 0;
}

static void on_accept(void *arg, int fd, const struct net_peer *peer)
{
    struct rig *rig = arg;

    if (rig->accepted >= 0)
        close(rig->accepted);
    rig->accepted = fd;
    rig->peer = *peer;
    rig->count++;
}

static const struct listener_ops listen_ops = {.accept = on_accept};

static void parses(const char *text, const char *as)
{
    struct net_addr addr;
    struct vt_why why = {0};

    if (net_addr_parse(&addr, text, &why))
        fail_msg("%s: %s", text, why.text);
    assert_string_equal(addr.text, as);
}

static void refuses(const char *text, const char *about)
{
    struct net_addr addr;
    struct vt_why why = {0};

    assert_int_equal(net_addr_parse(&addr, text, &why), VT_EUSAGE);
    if (!strstr(why.text, about))
        fail_msg("'%s' does not say '%s'", why.text, about);
}

static void test_address__of_every_kind__is_read(void **state)
{
    (void)state;
    parses("unix:/run/x.sock", "unix:/run/x.sock");
    parses("tcp:127.0.0.1:0", "tcp:127.0.0.1:0");
    parses("tcp:0.0.0.0:65535", "tcp:0.0.0.0:65535");
    parses("tcp:[::1]:123", "tcp:[::1]:123");
    parses("tcp:[0:0:0:0:0:0:0:0]:1", "tcp:[::]:1");
}

static void test_address__that_is_wrong__is_refused_by_name(void **state)
{
    char deep[200] = "unix:/";

    (void)state;
    memset(deep + 6, 'a', sizeof deep - 7);
    refuses(deep, "at most 107 bytes");
    refuses("unix:relative", "the whole path");
    refuses("unix:", "the whole path");
    refuses("tcp:127.0.0.1", "write tcp:ADDR:PORT");
    refuses("tcp:127.0.0.1:", "is not a port");
    refuses("tcp:127.0.0.1:65536", "is not a port");
    refuses("tcp:127.0.0.1:-1", "is not a port");
    refuses("tcp:localhost:1", "'localhost' is not an address");
    refuses("tcp::1", "is not an address");
    refuses("tcp:::1:5", "is not an address");
    refuses("tcp:[::1:5", "write tcp:ADDR:PORT");
    refuses("tcp:[::1]5", "write tcp:ADDR:PORT");
    refuses("tcp:[127.0.0.1]:5", "is not an address");
#ifdef VTPM_HAVE_XEN
    refuses("vchan:5", "without anything behind it");
#else
    refuses("vchan", "no Xen support");
#endif
    refuses("udp:1.2.3.4:5", "is not an address");
    refuses("", "is not an address");
}

static int open_at(struct rig *rig, const char *text, struct vt_why *why)
{
    struct net_addr addr;

    *why = (struct vt_why){0};
    assert_int_equal(net_addr_parse(&addr, text, why), VT_OK);
    return listener_open(&rig->listener, &rig->uv, &addr, &listen_ops, rig, why);
}

static void open_fails(struct rig *rig, const char *text, const char *about)
{
    int expected = strstr(about, "in use") ? VT_ECONFLICT : VT_EUSAGE;
    struct vt_why why;

    assert_int_equal(open_at(rig, text, &why), expected);
    if (!strstr(why.text, about) || strncmp(why.text, text, strlen(text)))
        fail_msg("'%s' does not say '%s: ... %s'", why.text, text, about);
}

static int connect_to(const struct net_addr *addr)
{
    int fd = socket(addr->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &addr->sa.any, addr->sa_len), 0);
    return fd;
}

static void accepts_one(struct rig *rig)
{
    struct net_addr addr;
    unsigned before = rig->count;
    int fd;

    assert_int_equal(net_addr_parse(&addr, listener_text(rig->listener), NULL), VT_OK);
    fd = connect_to(&addr);
    for (int i = 0; i < 100 && rig->count == before; i++)
        uv_run(&rig->uv, UV_RUN_ONCE);
    assert_int_equal(rig->count, before + 1);
    close(fd);
}

static bool not_at_first(void *arg)
{
    struct rig *rig = arg;

    return rig->asked++ >= 3;
}

static void test_listener__not_ready__accepts_later(void **state)
{
    static const struct listener_ops ops = {.is_ready = not_at_first, .accept = on_accept};
    struct rig *rig = *state;
    struct net_addr addr;

    assert_int_equal(net_addr_parse(&addr, rig->text, NULL), VT_OK);
    assert_int_equal(listener_open(&rig->listener, &rig->uv, &addr, &ops, rig, NULL), VT_OK);
    accepts_one(rig);
    assert_true(rig->asked > 3);
}

static void test_unix__new_path__accepts_and_names_the_peer(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;
    char expect[64];
    struct stat st;

    assert_int_equal(open_at(rig, rig->text, &why), VT_OK);
    assert_string_equal(listener_text(rig->listener), rig->text);
    assert_int_equal(stat(rig->text + 5, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    accepts_one(rig);
    snprintf(expect, sizeof expect, "unix:pid=%d,uid=%u", (int)getpid(), (unsigned)geteuid());
    assert_string_equal(rig->peer.text, expect);
    assert_true(rig->peer.has_cred);
    assert_false(rig->peer.is_remote || rig->peer.is_tcp);
    assert_int_equal(rig->peer.uid, geteuid());
}

static void test_unix__closed_listener__removes_its_file(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;

    assert_int_equal(open_at(rig, rig->text, &why), VT_OK);
    listener_close(rig->listener);
    rig->listener = NULL;
    assert_int_equal(access(rig->text + 5, F_OK), -1);
}

static void test_unix__closed_listener__leaves_anothers_file(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;

    assert_int_equal(open_at(rig, rig->text, &why), VT_OK);
    unlink(rig->text + 5);
    fclose(fopen(rig->text + 5, "w"));
    listener_close(rig->listener);
    rig->listener = NULL;
    assert_int_equal(access(rig->text + 5, F_OK), 0);
}

static void test_unix__stale_socket__is_replaced(void **state)
{
    struct rig *rig = *state;
    struct net_addr addr;
    struct vt_why why = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(net_addr_parse(&addr, rig->text, &why), VT_OK);
    assert_int_equal(bind(fd, &addr.sa.any, addr.sa_len), 0);
    close(fd);
    assert_int_equal(open_at(rig, rig->text, &why), VT_OK);
    accepts_one(rig);
}

static void test_unix__socket_on_which_somebody_answers__is_left_alone(void **state)
{
    struct rig *rig = *state;
    struct net_addr addr;
    struct vt_why why = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(net_addr_parse(&addr, rig->text, &why), VT_OK);
    assert_int_equal(bind(fd, &addr.sa.any, addr.sa_len), 0);
    assert_int_equal(listen(fd, 1), 0);
    open_fails(rig, rig->text, "in use: another server answers");
    close(connect_to(&addr));
    close(fd);
}

static void test_unix__file_or_link_in_its_place__is_left_alone(void **state)
{
    struct rig *rig = *state;
    struct stat st;

    fclose(fopen(rig->text + 5, "w"));
    open_fails(rig, rig->text, "not a socket");
    assert_int_equal(lstat(rig->text + 5, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(rig->text + 5);
    assert_int_equal(symlink("/nonexistent", rig->text + 5), 0);
    open_fails(rig, rig->text, "not a socket");
}

static void test_unix__no_directory__says_which(void **state)
{
    open_fails(*state, "unix:/nonexistent-dir/s", "there is no directory /nonexistent-dir");
}

static void test_tcp__port_zero__names_the_real_port(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;

    assert_int_equal(open_at(rig, "tcp:127.0.0.1:0", &why), VT_OK);
    assert_int_equal(strncmp(listener_text(rig->listener), "tcp:127.0.0.1:", 14), 0);
    assert_true(atoi(listener_text(rig->listener) + 14) > 0);
    accepts_one(rig);
    assert_int_equal(strncmp(rig->peer.text, "tcp:127.0.0.1:", 14), 0);
    assert_true(rig->peer.is_remote && rig->peer.is_tcp);
    assert_memory_equal(rig->peer.group, "\x7f\0\0\1\0\0\0\0", 8);
}

static void test_tcp__v6__accepts(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;

    if (open_at(rig, "tcp:[::1]:0", &why)) {
        print_message("no IPv6 on this host: %s\n", why.text);
        assert_non_null(strstr(why.text, "no such address"));
        return;
    }
    accepts_one(rig);
    assert_int_equal(strncmp(rig->peer.text, "tcp:[::1]:", 10), 0);
}

static void test_tcp__port_in_use__says_so(void **state)
{
    struct rig *rig = *state;
    struct listener *first;
    struct vt_why why;
    char text[64];

    assert_int_equal(open_at(rig, "tcp:127.0.0.1:0", &why), VT_OK);
    first = rig->listener;
    snprintf(text, sizeof text, "%s", listener_text(first));
    rig->listener = NULL;
    open_fails(rig, text, "port in use");
    listener_close(first);
}

static void test_tcp__address_of_another_host__says_so(void **state)
{
    open_fails(*state, "tcp:192.0.2.1:1", "no such address");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address__of_every_kind__is_read),
        cmocka_unit_test(test_address__that_is_wrong__is_refused_by_name),
        T(test_listener__not_ready__accepts_later),
        T(test_unix__new_path__accepts_and_names_the_peer),
        T(test_unix__closed_listener__removes_its_file),
        T(test_unix__closed_listener__leaves_anothers_file),
        T(test_unix__stale_socket__is_replaced),
        T(test_unix__socket_on_which_somebody_answers__is_left_alone),
        T(test_unix__file_or_link_in_its_place__is_left_alone),
        T(test_unix__no_directory__says_which),
        T(test_tcp__port_zero__names_the_real_port),
        T(test_tcp__v6__accepts),
        T(test_tcp__port_in_use__says_so),
        T(test_tcp__address_of_another_host__says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
