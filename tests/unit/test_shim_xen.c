/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-shim --frontend xen as a process, against a Xen (fake_xen.h) and a server (fake_server.h) of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_xen_world.h"
#include "proto/tpmif.h"
#include "server_thread.h"
#include "shim_process.h"

#define UUID_A FAKE_IDENTITY
#define UUID_B "00112233-4455-6677-8899-aabbccddee00"
#define UUID_C "00112233-4455-6677-8899-aabbccddee11"

static char dir[] = "/tmp/vtpm-shim-xen-XXXXXX";
static char upstream[80], credentials[64], runtime[64];
static struct fake second;
static pid_t running; /* of a test that failed */

/* ---- Pieces ---- */

static void put_credential(const char *uuid)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s.cred", credentials, uuid);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "uuid=%s\nkey=", uuid);
    for (int i = 0; i < 32; i++)
        fprintf(file, "5a");
    fprintf(file, "\n");
    assert_int_equal(fclose(file), 0);
}

static void remove_credential(const char *uuid)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s.cred", credentials, uuid);
    unlink(path);
}

static void start(struct shim *shim)
{
    const char *const args[] = {"--upstream",   upstream, "--frontend", "xen", "--credential-dir", credentials,
                                "--runtime-dir", runtime,  NULL};

    shim_spawn(shim, VTPM_SHIM, args);
    running = shim->pid;
    shim_ready(shim);
}

static void stop(struct shim *shim)
{
    int code = shim_stop(shim);

    running = 0;
    if (code)
        fail_msg("exit %d: %s", code, shim->text);
    world_shim_died();
}

static void die(struct shim *shim)
{
    kill(shim->pid, SIGKILL);
    assert_int_equal(shim_wait(shim), -SIGKILL);
    running = 0;
    world_shim_died();
}

static void must_say(struct shim *shim, const char *word)
{
    if (!shim_says(shim, word))
        fail_msg("nothing of \"%s\" in: %s", word, shim->text);
}

/* While the server's thread runs. */
static void set_error(int *error, int value)
{
    pthread_mutex_lock(&server.lock);
    *error = value;
    pthread_mutex_unlock(&server.lock);
}

static void fence(const struct fake *fake)
{
    pthread_mutex_lock(&server.lock);
    server.fenced = fake;
    pthread_mutex_unlock(&server.lock);
    server_do(&server.fence);
}

static void wait_count(const unsigned *count, unsigned value)
{
    for (int i = 0; i < 4000 && fake_get(count) != value; i++)
        usleep(5000);
    assert_int_equal(fake_get(count), value);
}

static void wait_unmapped(unsigned page)
{
    for (int i = 0; i < 4000 && guest_mapped(page); i++)
        usleep(5000);
    assert_int_equal(guest_mapped(page), 0);
}

/* A guest with a device, up to Connected. */
static void bring_up(uint32_t domid, unsigned page, const char *uuid)
{
    world_domain(domid);
    world_attach(domid, 0, uuid);
    world_wait_back(domid, 0, 2);
    guest_connect(domid, 0, page);
    world_wait_back(domid, 0, 4);
}

static int set_up(void **state VT_UNUSED)
{
    char path[64];

    if (!mkdtemp(dir))
        return -1;
    umask(077);
    snprintf(path, sizeof path, "%s/up", dir);
    snprintf(upstream, sizeof upstream, "unix:%s", path);
    snprintf(credentials, sizeof credentials, "%s/cred", dir);
    snprintf(runtime, sizeof runtime, "%s/run", dir);
    server_init(path);
    world_init();
    return mkdir(credentials, 0700);
}

static int tear_down(void **state VT_UNUSED)
{
    char path[128];

    unlink(server.path);
    snprintf(path, sizeof path, "%s/xen.lock", runtime);
    unlink(path);
    rmdir(runtime);
    remove_credential(UUID_A);
    remove_credential(UUID_B);
    remove_credential(UUID_C);
    rmdir(credentials);
    return rmdir(dir);
}

static int begin(void **state VT_UNUSED)
{
    world_reset();
    fake_init(&server.fake);
    fake_init(&second);
    second.identity = UUID_B;
    server.fake.next = &second;
    put_credential(UUID_A);
    put_credential(UUID_B);
    server_start();
    return 0;
}

static int end(void **state VT_UNUSED)
{
    char path[128];

    if (running) {
        kill(running, SIGKILL);
        waitpid(running, NULL, 0);
    }
    running = 0;
    if (server.listener >= 0)
        server_stop();
    for (int domid = 1; domid < 10; domid++) {
        snprintf(path, sizeof path, "%s/xen-%d-0.journal", runtime, domid);
        unlink(path);
    }
    return 0;
}

static void test_options__xen__wrong_ones_are_named_with_exit_code(void **state VT_UNUSED)
{
    const struct {
        const char *args[6];
        int code;
        const char *says;
    } rows[] = {
        {{NULL}, 2, "--credential-dir is missing"},
        {{"--credential-dir", "/nonexistent"}, 3, "--credential-dir /nonexistent"},
        {{"--credential-dir", "/dev/null"}, 2, "not a directory"},
        {{"--credential-dir", "/", "--instance", UUID_A}, 2, "--instance"},
        {{"--credential-dir", "/", "--credential", "/x"}, 2, "one of them"},
        {{"--credential", "/nonexistent"}, 3, "/nonexistent"},
        {{"--credential-dir", "/", "--runtime-dir", "/nonexistent/x"}, 3, "--runtime-dir /nonexistent/x"},
        {{"--credential-dir", "/", "--upstream", "unix:", "--runtime-dir", runtime}, 2, "--upstream: no path"},
    };
    struct shim shim;

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        const char *args[12] = {"--upstream", upstream, "--frontend", "xen"};
        int code;

        for (size_t k = 0; k < VT_COUNT(rows[i].args); k++)
            args[4 + k] = rows[i].args[k];
        shim_spawn(&shim, VTPM_SHIM, args);
        code = shim_wait(&shim);
        if (code != rows[i].code || !strstr(shim.text, rows[i].says))
            fail_msg("row %zu: exit %d: %s", i, code, shim.text);
    }
}

/* ---- Coming up ---- */

static void test_attach__no_server__init_wait_at_once_and_the_first_command_waits(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH];

    server_stop();
    start(&shim);
    world_domain(5);
    world_set("/local/domain/5/name", "web\x07 one");
    guest_submit(0, 7);
    world_attach(5, 0, UUID_A);
    world_wait_back(5, 0, 2);
    world_back(path, 5, 0, "feature-protocol-v2");
    world_wait(path, "1");
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    server_start();
    /* No event was sent for it. */
    guest_expect(0, 7);
    guest_ask(0, 8);
    assert_int_equal(fake_get(&server.fake.domid), 5);
    pthread_mutex_lock(&server.lock);
    assert_string_equal(server.fake.domain, "web? one");
    pthread_mutex_unlock(&server.lock);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    assert_true(world.xen->notified[5] > 0);
    stop(&shim);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    /* A shim that stops leaves the front end as it is. */
    world_wait_back(5, 0, 4);
}

static void test_start__devices_are_there__each_is_brought_up(void **state VT_UNUSED)
{
    struct shim shim;

    world_domain(5);
    world_domain(6);
    world_attach(5, 0, UUID_A);
    world_attach(6, 0, UUID_B);
    world.xen->conflicts = 3;
    start(&shim);
    world_wait_back(5, 0, 2);
    world_wait_back(6, 0, 2);
    guest_connect(6, 0, 1);
    world_wait_back(6, 0, 4);
    guest_ask(1, 3);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 4);
    assert_int_equal(fake_get(&server.fake.effects[4]), 1);
    assert_int_equal(fake_get(&second.effects[3]), 1);
    stop(&shim);
}

static void test_front_end__nodes_of_nonsense__stays_in_init_wait(void **state VT_UNUSED)
{
    static const char *const refs[] = {"", "-1", "4294967296", "8 8", "0x8", "99999999999999999999"};
    struct shim shim;
    char path[FAKE_PATH], value[FAKE_VALUE];

    start(&shim);
    bring_up(6, 1, UUID_B);
    world_domain(5);
    world_attach(5, 0, UUID_A);
    world_wait_back(5, 0, 2);
    world_front(path, 5, 0, "event-channel");
    world_set(path, "100");
    world_front(path, 5, 0, "ring-ref");
    for (size_t i = 0; i < VT_COUNT(refs); i++) {
        world_set(path, refs[i]);
        guest_state(5, 0, 3);
        /* The other guest's answer tells that the nodes have been looked at. */
        guest_ask(1, (uint32_t)i + 1);
    }
    guest_state(5, 0, 77);
    world_front(path, 5, 0, "state");
    world_set(path, "three");
    guest_ask(1, 99);
    world_back(path, 5, 0, "state");
    world_get(value, path);
    assert_string_equal(value, "2");
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 5);
    stop(&shim);
}

static void test_front_end__a_ring_that_is_not_granted__is_refused_until_it_begins_anew(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH];

    start(&shim);
    world_domain(5);
    world_attach(5, 0, UUID_A);
    world_wait_back(5, 0, 2);
    world_front(path, 5, 0, "ring-ref");
    world_set(path, "4000");
    world_front(path, 5, 0, "event-channel");
    world_set(path, "100");
    guest_state(5, 0, 3);
    world_wait_back(5, 0, 6);
    must_say(&shim, "grant 4000) cannot be mapped");
    guest_state(5, 0, 6);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 5);
    stop(&shim);
}

static void test_device__front_end_path_of_another_domain__is_not_served(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH];

    start(&shim);
    world_domain(5);
    world_attach(5, 1, UUID_A);
    world_wait_back(5, 1, 2);
    world_back(path, 5, 0, "state");
    world_set(path, "1");
    world_back(path, 5, 0, "frontend");
    world_set(path, "/local/domain/55/device/vtpm/0");
    must_say(&shim, "of another domain");
    stop(&shim);
}

static void test_device__no_uuid__is_refused_and_says_what_to_write(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    world_domain(5);
    world_attach(5, 0, NULL);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 0);
    must_say(&shim, "uuid=...");
    bring_up(6, 1, UUID_B);
    world_wait_back(5, 0, 2);
    stop(&shim);
}

static void test_devices__more_than_a_domain_may_have__the_rest_is_not_served(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH], value[FAKE_VALUE], uuid[] = "00112233-4455-6677-8899-aabbccddee20";
    uint32_t devid;

    start(&shim);
    world_domain(5);
    for (devid = 0; devid < 8; devid++, uuid[35]++) {
        world_attach(5, devid, uuid);
        world_wait_back(5, devid, 2);
    }
    world_attach(5, devid, UUID_A);
    must_say(&shim, "device 8 is not served: at most");
    bring_up(6, 1, UUID_B);
    guest_ask(1, 1);
    world_back(path, 5, devid, "state");
    world_get(value, path);
    assert_string_equal(value, "1");
    stop(&shim);
}

/* ---- The page ---- */

static void test_page__malformed_requests__are_answered_and_the_next_one_works(void **state VT_UNUSED)
{
    static const struct {
        uint32_t length;
        uint8_t locality, extra;
        uint32_t code;
    } rows[] = {
        {0, 0, 0, 0x19},   {9, 0, 0, 0x19},    {4089, 0, 0, 0x19},   {4088, 0, 1, 0x19}, {UINT32_MAX, 0, 0, 0x19},
        {14, 0, 255, 0x0}, {14, 1, 0, 0x3d}, {14, 255, 0, 0x3d},
    };
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        guest_set_head(0, rows[i].length, TPMIF_SUBMIT, rows[i].locality, rows[i].extra);
        guest_event(0);
        if (rows[i].code)
            guest_expect_code(0, rows[i].code);
        else
            (void)guest_wait(0);
        guest_ask(0, (uint32_t)i + 10);
    }
    stop(&shim);
}

static void test_page__cancel__the_command_finishes_and_the_next_one_works(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    fake_set(&server.fake.no_answer, true);
    guest_submit(0, 2);
    guest_event(0);
    wait_count(&server.fake.effects[2], 1);
    guest_set_state(0, TPMIF_CANCEL);
    guest_event(0);
    fake_set(&server.fake.no_answer, false);
    server_do(&server.drop_all);
    (void)guest_wait(0);
    guest_ask(0, 3);
    /* Without a command under way: idle at once. */
    guest_set_state(0, TPMIF_CANCEL);
    guest_event(0);
    for (int i = 0; i < 4000 && guest_page_state(0) != TPMIF_IDLE; i++)
        usleep(5000);
    assert_int_equal(guest_page_state(0), TPMIF_IDLE);
    guest_ask(0, 4);
    assert_int_equal(fake_get(&server.fake.effects[2]), 1);
    stop(&shim);
}

static void test_two_guests__one_floods_and_one_is_never_answered__the_third_notices_nothing(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    bring_up(6, 1, UUID_B);
    guest_ask(0, 1);
    fake_set(&server.fake.no_answer, true);
    guest_submit(0, 2);
    guest_event(0);
    wait_count(&server.fake.effects[2], 1);
    for (uint32_t i = 0; i < 200; i++) {
        guest_event(0);
        guest_set_state(0, i % 2 ? TPMIF_CANCEL : TPMIF_SUBMIT);
        guest_set_head(0, i * 7919, (uint8_t)(i % 7), (uint8_t)i, (uint8_t)(i * 3));
        guest_ask(1, i + 1);
    }
    must_say(&shim, "events without commands");
    assert_int_equal(fake_get(&second.effects[200]), 1);
    fake_set(&server.fake.no_answer, false);
    server_do(&server.drop_all);
    (void)guest_wait(0);
    guest_ask(0, 300);
    stop(&shim);
}

/* ---- Leaving and coming again ---- */

static void test_rebind__same_domain__keeps_the_instance_on(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH], value[FAKE_VALUE];

    start(&shim);
    bring_up(5, 0, UUID_A);
    bring_up(6, 2, UUID_B);
    guest_ask(0, 1);
    guest_state(5, 0, 5);
    world_wait_back(5, 0, 5);
    wait_unmapped(0);
    /* What Linux' front end does: 6 while ours is 5, and it reads 4 again before it is unbound. */
    guest_state(5, 0, 6);
    world_wait_back(5, 0, 2);
    guest_state(5, 0, 4);
    guest_ask(2, 1);
    world_back(path, 5, 0, "state");
    world_get(value, path);
    assert_string_equal(value, "2");
    assert_int_equal(guest_mapped(0), 0);
    guest_submit(1, 2);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    guest_expect(1, 2);
    assert_int_equal(fake_get(&server.fake.attaches), 1);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    stop(&shim);
}

static void test_rebind__command_under_way__its_response_is_not_for_the_new_ring(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    fake_set(&server.fake.no_answer, true);
    guest_submit(0, 2);
    guest_event(0);
    wait_count(&server.fake.effects[2], 1);
    guest_state(5, 0, 6);
    world_wait_back(5, 0, 2);
    guest_submit(1, 3);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    fake_set(&server.fake.no_answer, false);
    server_do(&server.drop_all);
    guest_expect(1, 3);
    assert_int_equal(fake_get(&server.fake.effects[2]), 1);
    assert_int_equal(fake_get(&server.fake.effects[3]), 1);
    stop(&shim);
}

static void test_detach__then_the_domain_ends__off_and_no_node_stays(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_detach(5, 0);
    wait_unmapped(0);
    assert_int_equal(world_nodes(), 0);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    world_destroy(5);
    wait_count(&server.fake.offs, 1);
    assert_int_equal(world_nodes(), 0);
    stop(&shim);
    assert_int_equal(world_nodes(), 0);
}

static void test_detach__attached_again__the_instance_stays_on(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_detach(5, 0);
    world_attach(5, 0, UUID_A);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    /* Now another instance on the same device. */
    world_detach(5, 0);
    world_attach(5, 0, UUID_B);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 3);
    assert_int_equal(fake_get(&second.effects[3]), 1);
    assert_int_equal(fake_get(&server.fake.effects[3]), 0);
    stop(&shim);
}

static void test_destroy__without_a_detach__off_and_unmapped(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_destroy(5);
    wait_count(&server.fake.offs, 1);
    wait_unmapped(0);
    world_wait_back(5, 0, 6);
    stop(&shim);
}

static void test_reboot__new_domain__powers_on_for_it(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_detach(5, 0);
    world_destroy(5);
    bring_up(6, 1, UUID_A);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.domid), 6);
    assert_int_equal(fake_get(&server.fake.power_acts), 2);
    stop(&shim);
}

/* As xl migrate to the same host does: the new domain is there before the old one is gone. */
static void test_same_uuid__two_devices__the_second_waits_and_says_so(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_domain(6);
    world_attach(6, 0, UUID_A);
    world_wait_back(6, 0, 2);
    guest_connect(6, 0, 1);
    must_say(&shim, "refused while domain 5 device 0 has the same uuid");
    guest_ask(0, 2);
    assert_int_equal(guest_mapped(1), 0);
    world_detach(5, 0);
    world_wait_back(6, 0, 4);
    guest_ask(1, 3);
    /* Not by us: its instance is another domain's now. */
    world_destroy(5);
    guest_ask(1, 4);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    assert_int_equal(fake_get(&server.fake.domid), 6);
    stop(&shim);
}

/* ---- A shim's own death ---- */

static void test_killed__command_under_way__is_sent_again_with_its_number(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    fake_set(&server.fake.no_answer, true);
    guest_submit(0, 2);
    guest_event(0);
    wait_count(&server.fake.effects[2], 1);
    die(&shim);
    fake_set(&server.fake.no_answer, false);
    start(&shim);
    guest_expect(0, 2);
    must_say(&shim, "sent again");
    guest_ask(0, 3);
    assert_int_equal(fake_get(&server.fake.effects[2]), 1);
    assert_int_equal(fake_get(&server.fake.refused), 0);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    stop(&shim);
}

static void test_killed__response_is_in_the_page__only_finishes(void **state VT_UNUSED)
{
    struct shim shim;
    unsigned total;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    die(&shim);
    /* As if it had died before the last store. */
    guest_set_state(0, TPMIF_SUBMIT);
    total = fake_get(&server.fake.total);
    start(&shim);
    guest_expect(0, 1);
    assert_int_equal(fake_get(&server.fake.total), total);
    guest_ask(0, 2);
    stop(&shim);
}

static void test_killed__a_new_request_is_in_the_page__has_the_next_number(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    guest_ask(0, 2);
    die(&shim);
    guest_submit(0, 2);
    start(&shim);
    guest_expect(0, 2);
    assert_int_equal(fake_get(&server.fake.effects[2]), 2);
    pthread_mutex_lock(&server.lock);
    assert_int_equal(server.fake.n, 3);
    pthread_mutex_unlock(&server.lock);
    assert_int_equal(fake_get(&server.fake.refused), 0);
    stop(&shim);
}

static void test_killed__first_command_never_reached_the_server__is_executed_once(void **state VT_UNUSED)
{
    struct shim shim;

    set_error(&server.fake.execute_error, VT_EAGAIN);
    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_submit(0, 1);
    guest_event(0);
    wait_count(&server.fake.power_ons, 1);
    die(&shim);
    set_error(&server.fake.execute_error, 0);
    start(&shim);
    guest_expect(0, 1);
    assert_int_equal(fake_get(&server.fake.effects[1]), 1);
    stop(&shim);
}

static void test_killed__device_went_meanwhile__journal_goes_too(void **state VT_UNUSED)
{
    struct shim shim;
    char path[128];

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    snprintf(path, sizeof path, "%s/xen-5-0.journal", runtime);
    assert_int_equal(access(path, F_OK), 0);
    die(&shim);
    world_remove("/local/domain/0/backend/vtpm/5");
    start(&shim);
    bring_up(6, 1, UUID_A);
    guest_ask(1, 2);
    assert_int_equal(access(path, F_OK), -1);
    stop(&shim);
}

static void test_start__another_shim_runs__is_refused(void **state VT_UNUSED)
{
    const char *const args[] = {"--upstream",   upstream, "--frontend", "xen", "--credential-dir", credentials,
                                "--runtime-dir", runtime,  NULL};
    struct shim shim, other;

    start(&shim);
    shim_spawn(&other, VTPM_SHIM, args);
    assert_int_equal(shim_wait(&other), 4);
    assert_non_null(strstr(other.text, "another vtpm-shim --frontend xen"));
    stop(&shim);
}

/* ---- Xenstore ---- */

static void test_xenstore__lost__rings_go_on_and_it_is_found_again(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    guest_ask(0, 1);
    world_store_down();
    guest_ask(0, 2);
    must_say(&shim, "xenstore is lost");
    guest_ask(0, 3);
    world_domain(6);
    world_attach(6, 0, UUID_B);
    world_store_up();
    must_say(&shim, "xenstore is back");
    world_wait_back(6, 0, 2);
    guest_connect(6, 0, 1);
    world_wait_back(6, 0, 4);
    guest_ask(1, 4);
    guest_ask(0, 4);
    stop(&shim);
}

static void test_xenstore__hangs__rings_go_on(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    world.xen->hangs = true;
    world_domain(6);
    world_attach(6, 0, UUID_B);
    for (uint32_t i = 1; i < 20; i++)
        guest_ask(0, i);
    world.xen->hangs = false;
    world_wait_back(6, 0, 2);
    world.xen->hangs = true;
    /* And it can be stopped meanwhile. */
    stop(&shim);
    world.xen->hangs = false;
}

static void test_start__no_xenstore__says_so(void **state VT_UNUSED)
{
    const char *const args[] = {"--upstream",   upstream, "--frontend", "xen", "--credential-dir", credentials,
                                "--runtime-dir", runtime,  NULL};
    struct shim shim;

    world_store_down();
    shim_spawn(&shim, VTPM_SHIM, args);
    assert_int_equal(shim_wait(&shim), 6);
    assert_non_null(strstr(shim.text, "xenstore cannot be reached"));
}

/* ---- Lanes ---- */

static void test_credential__missing__commands_wait_for_it(void **state VT_UNUSED)
{
    struct shim shim;

    remove_credential(UUID_A);
    start(&shim);
    guest_submit(0, 1);
    bring_up(5, 0, UUID_A);
    must_say(&shim, "commands wait for a credential: credential ");
    must_say(&shim, UUID_A ".cred");
    bring_up(6, 1, UUID_B);
    guest_ask(1, 1);
    assert_int_equal(guest_page_state(0), TPMIF_SUBMIT);
    put_credential(UUID_A);
    guest_expect(0, 1);
    stop(&shim);
}

static void test_credential__of_a_host__serves_every_guest(void **state VT_UNUSED)
{
    char path[128];
    const char *const args[] = {"--upstream",   upstream, "--frontend", "xen", "--credential", path,
                                "--runtime-dir", runtime,  NULL};
    struct shim shim;
    FILE *file;

    snprintf(path, sizeof path, "%s/host", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "identity=%s\nkey=", FAKE_HOST);
    for (int i = 0; i < 32; i++)
        fprintf(file, "5a");
    fprintf(file, "\n");
    assert_int_equal(fclose(file), 0);
    shim_spawn(&shim, VTPM_SHIM, args);
    running = shim.pid;
    shim_ready(&shim);
    bring_up(5, 0, UUID_A);
    bring_up(6, 1, UUID_B);
    guest_ask(0, 1);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.effects[1]), 1);
    assert_int_equal(fake_get(&second.effects[2]), 1);
    stop(&shim);
    unlink(path);
}

static void test_credential__of_another_instance__is_not_used(void **state VT_UNUSED)
{
    struct shim shim;
    char from[128], to[128];

    remove_credential(UUID_A);
    snprintf(from, sizeof from, "%s/%s.cred", credentials, UUID_B);
    snprintf(to, sizeof to, "%s/%s.cred", credentials, UUID_A);
    assert_int_equal(rename(from, to), 0);
    start(&shim);
    bring_up(5, 0, UUID_A);
    must_say(&shim, "it is of " UUID_B);
    assert_int_equal(fake_get(&second.attaches), 0);
    stop(&shim);
}

static void test_lane__taken_over__only_its_guest_gets_tpm_fail(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0, UUID_A);
    bring_up(6, 1, UUID_B);
    guest_ask(0, 1);
    guest_ask(1, 1);
    fence(&server.fake);
    must_say(&shim, "another shim has the instance");
    guest_submit(0, 2);
    guest_event(0);
    guest_expect_code(0, 9);
    guest_ask(1, 2);
    /* The toolstack takes it back. */
    world_detach(5, 0);
    world_attach(5, 0, UUID_A);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 3);
    stop(&shim);
}

static void test_lane__no_such_instance__others_go_on_and_it_is_tried_again(void **state VT_UNUSED)
{
    struct shim shim;

    set_error(&server.fake.attach_error, VT_ENOTFOUND);
    start(&shim);
    guest_submit(0, 1);
    bring_up(5, 0, UUID_A);
    must_say(&shim, "domain 5 device 0 (" UUID_A "): server ");
    bring_up(6, 1, UUID_B);
    guest_ask(1, 2);
    set_error(&server.fake.attach_error, 0);
    guest_expect(0, 1);
    stop(&shim);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_options__xen__wrong_ones_are_named_with_exit_code),
        TEST(test_attach__no_server__init_wait_at_once_and_the_first_command_waits),
        TEST(test_start__devices_are_there__each_is_brought_up),
        TEST(test_front_end__nodes_of_nonsense__stays_in_init_wait),
        TEST(test_front_end__a_ring_that_is_not_granted__is_refused_until_it_begins_anew),
        TEST(test_device__front_end_path_of_another_domain__is_not_served),
        TEST(test_device__no_uuid__is_refused_and_says_what_to_write),
        TEST(test_devices__more_than_a_domain_may_have__the_rest_is_not_served),
        TEST(test_page__malformed_requests__are_answered_and_the_next_one_works),
        TEST(test_page__cancel__the_command_finishes_and_the_next_one_works),
        TEST(test_two_guests__one_floods_and_one_is_never_answered__the_third_notices_nothing),
        TEST(test_rebind__same_domain__keeps_the_instance_on),
        TEST(test_rebind__command_under_way__its_response_is_not_for_the_new_ring),
        TEST(test_detach__then_the_domain_ends__off_and_no_node_stays),
        TEST(test_detach__attached_again__the_instance_stays_on),
        TEST(test_destroy__without_a_detach__off_and_unmapped),
        TEST(test_reboot__new_domain__powers_on_for_it),
        TEST(test_same_uuid__two_devices__the_second_waits_and_says_so),
        TEST(test_killed__command_under_way__is_sent_again_with_its_number),
        TEST(test_killed__response_is_in_the_page__only_finishes),
        TEST(test_killed__a_new_request_is_in_the_page__has_the_next_number),
        TEST(test_killed__first_command_never_reached_the_server__is_executed_once),
        TEST(test_killed__device_went_meanwhile__journal_goes_too),
        TEST(test_start__another_shim_runs__is_refused),
        TEST(test_xenstore__lost__rings_go_on_and_it_is_found_again),
        TEST(test_xenstore__hangs__rings_go_on),
        TEST(test_start__no_xenstore__says_so),
        TEST(test_credential__missing__commands_wait_for_it),
        TEST(test_credential__of_a_host__serves_every_guest),
        TEST(test_credential__of_another_instance__is_not_used),
        TEST(test_lane__taken_over__only_its_guest_gets_tpm_fail),
        TEST(test_lane__no_such_instance__others_go_on_and_it_is_tried_again),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
