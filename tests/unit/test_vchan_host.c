/* SPDX-License-Identifier: Apache-2.0 */
/* Who is offered a channel, and its end: domains that come, go, lie about themselves, or lose their binding. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/xen/pump.h"
#include "server/xen/store.h"
#include "server/xen/vchan.h"
#include "tests/unit/fake_vchan.h"
#include "tests/unit/log_capture.h"

#define WAIT_MS    30000
#define RECHECK_MS 50
#define UUID_A     "aaaaaaaa-1111-4222-8333-444444444444"
#define UUID_B     "bbbbbbbb-1111-4222-8333-444444444444"

struct rig {
    struct vchan_host *host;
    pthread_mutex_t lock;
    char allowed[4][40]; /* names; "*": all */
    int fds[200];        /* connected, in order */
    struct vt_domain domains[200];
    unsigned count;
    bool refuse;
    unsigned asked;
};


static bool on_allowed(void *arg, const struct vt_domain *domain)
{
    struct rig *rig = arg;
    bool allowed = false;

    pthread_mutex_lock(&rig->lock);
    rig->asked++;
    for (size_t i = 0; i < VT_COUNT(rig->allowed); i++)
        allowed |= !strcmp(rig->allowed[i], domain->name) || !strcmp(rig->allowed[i], "*");
    pthread_mutex_unlock(&rig->lock);
    return allowed;
}

static bool on_connected(void *arg, int fd, const struct vt_domain *domain)
{
    struct rig *rig = arg;
    bool take;

    pthread_mutex_lock(&rig->lock);
    take = !rig->refuse;
    if (take) {
        rig->fds[rig->count] = fd;
        rig->domains[rig->count++] = *domain;
    } else {
        close(fd);
    }
    pthread_mutex_unlock(&rig->lock);
    return take;
}

static const struct vchan_host_ops ops = {.allowed = on_allowed, .connected = on_connected};

static void allow(struct rig *rig, unsigned at, const char *name)
{
    pthread_mutex_lock(&rig->lock);
    snprintf(rig->allowed[at], sizeof rig->allowed[at], "%s", name);
    pthread_mutex_unlock(&rig->lock);
}

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    fake_xen_init();
    pthread_mutex_init(&rig->lock, NULL);
    for (size_t i = 0; i < VT_COUNT(rig->fds); i++)
        rig->fds[i] = -1;
    for (unsigned i = 0; i < VT_COUNT(rig->allowed); i++)
        allow(rig, i, "(nobody)");
    log_forget();
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    for (size_t i = 0; i < VT_COUNT(rig->fds); i++)
        if (rig->fds[i] >= 0)
            close(rig->fds[i]);
    vchan_host_free(rig->host, WAIT_MS);
    pthread_mutex_destroy(&rig->lock);
    free(rig);
    return fake_xen_end() ? 0 : -1;
}

static void start(struct rig *rig)
{
    const struct vchan_host_config config = {.ops = &ops, .arg = rig, .recheck_ms = RECHECK_MS};
    struct vt_why why = {0};

    if (vchan_host_start(&rig->host, &config, &why))
        fail_msg("%s", why.text);
}

static void pass_time(int64_t *end_ms, const char *what)
{
    if (!*end_ms)
        *end_ms = vchan_now_ms() + WAIT_MS;
    if (vchan_now_ms() >= *end_ms)
        fail_msg("not in time: %s", what);
    usleep(1000);
}
#define UNTIL(condition)                                                                                     \
    for (int64_t end_ms = 0; !(condition); pass_time(&end_ms, #condition))

static unsigned asked(struct rig *rig)
{
    unsigned count;

    pthread_mutex_lock(&rig->lock);
    count = rig->asked;
    pthread_mutex_unlock(&rig->lock);
    return count;
}

/* Whatever was to be done on what is known now has been done. */
static void settle(struct rig *rig)
{
    unsigned from = asked(rig);

    UNTIL(asked(rig) >= from + 4);
}

static unsigned connections(struct rig *rig)
{
    unsigned count;

    pthread_mutex_lock(&rig->lock);
    count = rig->count;
    pthread_mutex_unlock(&rig->lock);
    return count;
}

static bool is_offered(unsigned server, unsigned client, unsigned slot)
{
    char path[STORE_PATH_MAX];
    char leaf[STORE_PATH_MAX + 16];

    store_offer_path(path, server, client, slot);
    snprintf(leaf, sizeof leaf, "%s/ring-ref", path);
    return fake_store_has(leaf);
}

static struct libxenvchan *connect_to(unsigned server, unsigned client, unsigned slot)
{
    char path[STORE_PATH_MAX];
    struct libxenvchan *chan;

    store_offer_path(path, server, client, slot);
    chan = libxenvchan_client_init(NULL, (int)server, path);
    assert_non_null(chan);
    chan->blocking = 0;
    return chan;
}

/* As a shim: it may meet the channel of the one before it, which the server is about to close, and tries again. */
static struct libxenvchan *connect_again(struct rig *rig, unsigned client)
{
    unsigned before = connections(rig);
    struct libxenvchan *chan = NULL;
    char path[STORE_PATH_MAX];

    store_offer_path(path, 0, client, 0);
    UNTIL(connections(rig) > before)
    {
        if (chan && libxenvchan_is_open(chan))
            continue;
        if (chan)
            libxenvchan_close(chan);
        chan = libxenvchan_client_init(NULL, 0, path);
        if (chan)
            chan->blocking = 0;
    }
    return chan;
}

static void speaks(struct libxenvchan *chan, int fd)
{
    char bytes[4] = "";

    UNTIL(libxenvchan_write(chan, "ping", 4) == 4);
    UNTIL(recv(fd, bytes, 4, MSG_DONTWAIT) == 4);
    assert_memory_equal(bytes, "ping", 4);
    assert_int_equal(send(fd, "pong", 4, MSG_DONTWAIT), 4);
    UNTIL(libxenvchan_read(chan, bytes, 4) == 4);
    assert_memory_equal(bytes, "pong", 4);
}

static bool has_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_path__of_the_largest_domids__is_short_enough(void **state VT_UNUSED)
{
    char path[STORE_PATH_MAX];

    store_offer_path(path, STORE_DOMID_MAX, STORE_DOMID_MAX, 511);
    assert_in_range(strlen(path), 40, 48);
    store_offer_path(path, 0, 5, 0);
    assert_string_equal(path, "/local/domain/0/data/vchan/5/vtpm");
    store_offer_path(path, 0, 5, 7);
    assert_string_equal(path, "/local/domain/0/data/vchan/5/vtpm-7");
}

static void test_host__bound_domain__is_offered_and_connected(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;
    char uuid[VT_UUID_TEXT];

    allow(rig, 0, "guest");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    assert_int_equal(rig->domains[0].domid, 5);
    assert_string_equal(rig->domains[0].name, "guest");
    vt_uuid_text(uuid, &rig->domains[0].uuid);
    assert_string_equal(uuid, UUID_A);
    speaks(chan, rig->fds[0]);
    libxenvchan_close(chan);
    UNTIL(has_ended(rig->fds[0]));
}

static void test_host__domain_that_comes_later__is_offered(void **state)
{
    struct rig *rig = *state;

    allow(rig, 0, "guest");
    start(rig);
    fake_domain_add(1, UUID_B, "other");
    settle(rig);
    fake_domain_add(5, UUID_A, "guest");
    UNTIL(is_offered(0, 5, 0));
    assert_false(is_offered(0, 1, 0));
}

static void test_host__unbound_domain__is_offered_nothing_and_named(void **state)
{
    struct rig *rig = *state;

    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    settle(rig);
    assert_false(is_offered(0, 5, 0));
    assert_true(log_says("domain 5 is offered nothing"));
    assert_true(log_says("domain=guest"));
    assert_true(log_says("no instance is bound to it"));
    allow(rig, 0, "guest");
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__binding_removed__withdraws_the_offer_and_nothing_else(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "guest");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1 && is_offered(0, 5, 1));
    allow(rig, 0, "(nobody)");
    UNTIL(!is_offered(0, 5, 1));
    settle(rig);
    speaks(chan, rig->fds[0]);
    libxenvchan_close(chan);
    UNTIL(has_ended(rig->fds[0]));
    UNTIL(!is_offered(0, 5, 0));
    settle(rig);
    assert_false(is_offered(0, 5, 0));
    allow(rig, 0, "guest");
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__who_cannot_be_told__is_offered_nothing(void **state)
{
    static const struct {
        const char *leaf, *value, *perms, *says;
    } rows[] = {
        {"/name", "guest", "n5,r0", "owner: domain 5"},
        {"/name", "guest", "w0,r5", "not the toolstack's alone"},
        {"/name", "guest", "n0,b5", "not the toolstack's alone"},
        {"/name", "guest", "n0,r5,w7", "not the toolstack's alone"},
        {"/vm", "/vm/" UUID_A, "n5", "owner: domain 5"},
        {"/vm", "/vm/" UUID_A, "n0,w5", "not the toolstack's alone"},
        {"/vm", "/vm/", "n0,r5", "not /vm/UUID"},
        {"/vm", UUID_A, "n0,r5", "not /vm/UUID"},
        {"/vm", "/vm/" UUID_A "/", "n0,r5", "not /vm/UUID"},
        {"/vm", "/vm/00000000-0000-0000-0000-000000000000", "n0,r5", "not /vm/UUID"},
        {"/vm", "/vm/" UUID_A UUID_A UUID_A, "n0,r5", "too long"},
        {"/name", "0123456789012345678901234567890123456789012345678901234567890123456789", "n0,r5", "too long"},
        {"", "", "n5", "owner: domain 5"},
        {"", "", "n0,b5", "not the toolstack's alone"},
    };
    struct rig *rig = *state;
    char path[64];

    allow(rig, 0, "*");
    fake_domain_add(1, UUID_B, "honest");
    start(rig);
    UNTIL(is_offered(0, 1, 0));
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        log_forget();
        snprintf(path, sizeof path, "/local/domain/5%s", rows[i].leaf);
        fake_store_hang(true);
        fake_domain_add(5, UUID_A, "guest");
        fake_store_write(path, rows[i].value, rows[i].perms);
        fake_store_hang(false);
        vchan_host_recheck(rig->host);
        UNTIL(log_says(rows[i].says));
        assert_true(log_says("domain 5 is offered nothing: who it is cannot be told"));
        settle(rig);
        assert_false(is_offered(0, 5, 0));
        fake_domain_remove(5);
        settle(rig);
    }
    assert_true(is_offered(0, 1, 0));
}

static void test_host__half_made_domain__is_looked_at_again(void **state)
{
    struct rig *rig = *state;

    allow(rig, 0, "*");
    fake_domain_add(1, UUID_B, "other");
    start(rig);
    fake_store_write("/local/domain/5", "", "n0,r5");
    fake_store_fire("@introduceDomain");
    settle(rig);
    fake_store_write("/local/domain/5/vm", "/vm/" UUID_A, NULL);
    fake_store_write("/local/domain/5/domid", "5", NULL);
    settle(rig);
    assert_false(is_offered(0, 5, 0));
    fake_store_write("/local/domain/5/name", "guest", NULL);
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__domain_released__ends_its_channels_and_leaves_no_node(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    fake_domain_remove(5);
    UNTIL(has_ended(rig->fds[0]));
    UNTIL(!fake_store_has("/local/domain/0/data/vchan/5"));
    libxenvchan_close(chan);
}

static void test_host__domid_reused__old_channel_ends_and_the_new_domain_is_asked_for(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "guest");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    fake_store_hang(true);
    fake_domain_remove(5);
    fake_domain_add(5, UUID_B, "stranger");
    fake_store_hang(false);
    UNTIL(has_ended(rig->fds[0]));
    UNTIL(!is_offered(0, 5, 0));
    settle(rig);
    assert_false(is_offered(0, 5, 0));
    libxenvchan_close(chan);
}

static void test_host__domain_renamed__is_asked_for_anew(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "guest");
    allow(rig, 1, "renamed");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    fake_store_write("/local/domain/5/name", "renamed", NULL);
    vchan_host_recheck(rig->host);
    UNTIL(has_ended(rig->fds[0]));
    libxenvchan_close(chan);
    chan = connect_again(rig, 5);
    assert_string_equal(rig->domains[1].name, "renamed");
    libxenvchan_close(chan);
}

static void test_host__odd_name__is_no_name(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "a/b");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    assert_string_equal(rig->domains[0].name, "");
    libxenvchan_close(chan);
}

static void test_host__several_clients__have_a_channel_each(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chans[10];

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    for (unsigned i = 0; i < VT_COUNT(chans); i++) {
        UNTIL(is_offered(0, 5, i));
        chans[i] = connect_to(0, 5, i);
        UNTIL(connections(rig) == i + 1);
    }
    for (unsigned i = 0; i < VT_COUNT(chans); i++)
        speaks(chans[i], rig->fds[i]);
    /* The lowest is offered again, and the spare behind the last one goes. */
    UNTIL(is_offered(0, 5, 10));
    libxenvchan_close(chans[0]);
    UNTIL(has_ended(rig->fds[0]));
    UNTIL(is_offered(0, 5, 0) && !is_offered(0, 5, 10));
    chans[0] = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 11);
    for (unsigned i = 0; i < VT_COUNT(chans); i++)
        libxenvchan_close(chans[i]);
}

static void test_host__client_dies__is_noticed_and_offered_again(void **state)
{
    struct rig *rig = *state;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    for (unsigned i = 0; i < 3; i++) {
        struct libxenvchan *chan = connect_again(rig, 5);
        speaks(chan, rig->fds[i]);
        libxenvchan_close(chan);
        UNTIL(has_ended(rig->fds[i]));
    }
}

static void test_host__corrupt_ring__is_said_with_the_domain(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    __atomic_store_n(&chan->ring->left.prod, 123456, __ATOMIC_SEQ_CST);
    fake_vchan_kick(chan);
    UNTIL(has_ended(rig->fds[0]));
    libxenvchan_close(chan);
    UNTIL(log_says("channel to domain 5 ended"));
    assert_true(log_says("domain=guest"));
    assert_true(log_says("corrupted by the other domain"));
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__not_wanted_above__client_is_sent_away(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    rig->refuse = true;
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(!libxenvchan_is_open(chan));
    libxenvchan_close(chan);
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__xenstored_hangs__channels_go_on(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1 && is_offered(0, 5, 1));
    fake_store_hang(true);
    fake_domain_add(6, UUID_B, "second");
    UNTIL(fake_store_waiting() > 0);
    for (int i = 0; i < 20; i++)
        speaks(chan, rig->fds[0]);
    assert_false(is_offered(0, 6, 0));
    fake_store_hang(false);
    UNTIL(is_offered(0, 6, 0));
    speaks(chan, rig->fds[0]);
    libxenvchan_close(chan);
}

static void test_host__xenstored_lost__channels_go_on_and_it_is_said(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1 && is_offered(0, 5, 1));
    fake_store_die(true);
    UNTIL(log_says("channels that stand go on"));
    speaks(chan, rig->fds[0]);
    fake_store_die(false);
    UNTIL(log_says("xenstore: back"));
    fake_domain_add(6, UUID_B, "second");
    UNTIL(is_offered(0, 6, 0));
    speaks(chan, rig->fds[0]);
    libxenvchan_close(chan);
}

static void test_host__grants_exhausted__is_said_once_and_tried_again(void **state)
{
    struct rig *rig = *state;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    fake_vchan_refuse(1);
    start(rig);
    UNTIL(log_says("domain 5 cannot be offered a channel now"));
    assert_false(is_offered(0, 5, 0));
    fake_domain_add(6, UUID_B, "second");
    UNTIL(is_offered(0, 6, 0));
    UNTIL(is_offered(0, 5, 0));
}

static void test_host__in_a_service_domain__offers_dom0_and_whom_the_toolstack_lets_it_see(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(3, UUID_A, "service");
    fake_domain_add(5, UUID_B, "guest");
    fake_domain_add(6, UUID_B, "hidden");
    fake_store_write("/local/domain/3/vtpm-peers/5", "", "n0,r3");
    fake_store_write("/local/domain/3/vtpm-peers/6", "", "n0,r3");
    fake_store_write("/local/domain/5", "", "n0,r5,r3");
    fake_store_write("/local/domain/5/vm", "/vm/" UUID_B, "n0,r5,r3");
    fake_store_write("/local/domain/5/name", "guest", "n0,r5,r3");
    fake_xen_be(3);
    start(rig);
    assert_int_equal(vchan_host_domid(rig->host), 3);
    UNTIL(is_offered(3, 0, 0));
    UNTIL(is_offered(3, 5, 0));
    chan = connect_to(3, 0, 0);
    UNTIL(connections(rig) == 1);
    assert_int_equal(rig->domains[0].domid, 0);
    assert_string_equal(rig->domains[0].name, "Domain-0");
    settle(rig);
    assert_false(is_offered(3, 6, 0));
    assert_false(is_offered(3, 3, 0));
    UNTIL(log_says("not ours to read"));
    fake_store_remove("/local/domain/5");
    UNTIL(!is_offered(3, 5, 0));
    libxenvchan_close(chan);
}

static void test_host__second_one_in_a_domain__is_refused(void **state)
{
    const struct vchan_host_config config = {.ops = &ops, .arg = *state};
    struct rig *rig = *state;
    struct vchan_host *second;
    struct vt_why why = {0};

    start(rig);
    assert_int_equal(vchan_host_start(&second, &config, &why), VT_ECONFLICT);
    assert_non_null(strstr(why.text, "another vtpm-server"));
    vchan_host_free(rig->host, WAIT_MS);
    rig->host = NULL;
    start(rig);
}

static void test_host__no_xenstore__says_so(void **state)
{
    const struct vchan_host_config config = {.ops = &ops, .arg = *state};
    struct vchan_host *host;
    struct vt_why why = {0};

    fake_store_die(true);
    assert_int_equal(vchan_host_start(&host, &config, &why), VT_EUNREACHED);
    assert_non_null(strstr(why.text, "xenstore cannot be reached"));
    fake_store_die(false);
    fake_store_remove("/local/domain/0/domid");
    why.text[0] = '\0';
    assert_int_equal(vchan_host_start(&host, &config, &why), VT_EFAIL);
    assert_non_null(strstr(why.text, "xen-init-dom0"));
}

static void test_host__closed__withdraws_offers_and_lets_channels_end(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;
    unsigned before;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    fake_domain_add(6, UUID_B, "second");
    start(rig);
    UNTIL(is_offered(0, 5, 0) && is_offered(0, 6, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    vchan_host_close(rig->host);
    before = asked(rig);
    UNTIL(!is_offered(0, 6, 0) && !is_offered(0, 5, 1));
    speaks(chan, rig->fds[0]);
    assert_int_equal(send(rig->fds[0], "last", 4, MSG_DONTWAIT), 4);
    close(rig->fds[0]);
    rig->fds[0] = -1;
    UNTIL(!libxenvchan_is_open(chan));
    vchan_host_free(rig->host, WAIT_MS);
    rig->host = NULL;
    assert_int_equal(libxenvchan_read(chan, (char[4]){""}, 4), 4);
    assert_int_equal(asked(rig), before);
    assert_false(fake_store_has("/local/domain/0/data/vchan"));
    libxenvchan_close(chan);
}

static void test_host__freed_under_a_channel__ends_it(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;

    allow(rig, 0, "*");
    fake_domain_add(5, UUID_A, "guest");
    start(rig);
    UNTIL(is_offered(0, 5, 0));
    chan = connect_to(0, 5, 0);
    UNTIL(connections(rig) == 1);
    vchan_host_free(rig->host, 500);
    rig->host = NULL;
    assert_true(has_ended(rig->fds[0]));
    assert_false(libxenvchan_is_open(chan));
    libxenvchan_close(chan);
}

static void test_host__a_hundred_domains__are_all_offered(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chans[100];
    char uuid[VT_UUID_TEXT], name[16];

    allow(rig, 0, "*");
    for (unsigned i = 0; i < VT_COUNT(chans); i++) {
        snprintf(uuid, sizeof uuid, "aaaaaaaa-1111-4222-8333-4444444444%02x", i);
        snprintf(name, sizeof name, "guest%u", i);
        fake_domain_add(i + 1, uuid, name);
    }
    start(rig);
    for (unsigned i = 0; i < VT_COUNT(chans); i++) {
        UNTIL(is_offered(0, i + 1, 0));
        chans[i] = connect_to(0, i + 1, 0);
        UNTIL(connections(rig) == i + 1);
        assert_int_equal(rig->domains[i].domid, i + 1);
    }
    for (unsigned i = 0; i < VT_COUNT(chans); i++)
        speaks(chans[i], rig->fds[i]);
    for (unsigned i = 0; i < VT_COUNT(chans); i++)
        libxenvchan_close(chans[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path__of_the_largest_domids__is_short_enough),
        T(test_host__bound_domain__is_offered_and_connected),
        T(test_host__domain_that_comes_later__is_offered),
        T(test_host__unbound_domain__is_offered_nothing_and_named),
        T(test_host__binding_removed__withdraws_the_offer_and_nothing_else),
        T(test_host__who_cannot_be_told__is_offered_nothing),
        T(test_host__half_made_domain__is_looked_at_again),
        T(test_host__domain_released__ends_its_channels_and_leaves_no_node),
        T(test_host__domid_reused__old_channel_ends_and_the_new_domain_is_asked_for),
        T(test_host__domain_renamed__is_asked_for_anew),
        T(test_host__odd_name__is_no_name),
        T(test_host__several_clients__have_a_channel_each),
        T(test_host__client_dies__is_noticed_and_offered_again),
        T(test_host__corrupt_ring__is_said_with_the_domain),
        T(test_host__not_wanted_above__client_is_sent_away),
        T(test_host__xenstored_hangs__channels_go_on),
        T(test_host__xenstored_lost__channels_go_on_and_it_is_said),
        T(test_host__grants_exhausted__is_said_once_and_tried_again),
        T(test_host__in_a_service_domain__offers_dom0_and_whom_the_toolstack_lets_it_see),
        T(test_host__second_one_in_a_domain__is_refused),
        T(test_host__no_xenstore__says_so),
        T(test_host__closed__withdraws_offers_and_lets_channels_end),
        T(test_host__freed_under_a_channel__ends_it),
        T(test_host__a_hundred_domains__are_all_offered),
    };

    log_capture(VT_LOG_DEBUG);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
