/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole Mini-OS shim as a process on a Xen of the test's own (fake_xen.h), its vchan led to a server of the test's own
 * that counts what each command has done (fake_server.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/tpmif.h"
#include "server_thread.h"
#include "shim-minios/vchan_client.h"
#include "shim_process.h"
#include "vchan_bridge.h"

#define UUID_B "00112233-4455-6677-8899-aabbccddee00"
#define KEY_5A "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
#define KEY_66 "6666666666666666666666666666666666666666666666666666666666666666"
#define HOME   "/local/domain/0/vtpm-stubdom/"

static char dir[] = "/tmp/vtpm-minios-XXXXXX";
static char ramdisk[64];
static pid_t running; /* of a test that failed */

/* ---- Pieces ---- */

static void put_settings(void)
{
    world_set(HOME "boot-id", "89abcdef-0123-4567-89ab-cdef01234567\n");
    world_set(HOME "credential", "uuid=" FAKE_IDENTITY "\nkey=" KEY_5A "\n");
}

static void must_say(struct shim *shim, const char *word)
{
    if (!shim_says(shim, word))
        fail_msg("nothing of \"%s\" in: %s", word, shim->text);
}

static void start(struct shim *shim)
{
    static const char *const none[] = {NULL};

    shim_spawn(shim, VTPM_STUBDOM, none);
    running = shim->pid;
    must_say(shim, "stubdom: ready");
}

static void stop(struct shim *shim)
{
    int code = shim_stop(shim);

    running = 0;
    if (code)
        fail_msg("exit %d: %s", code, shim->text);
    world_shim_died();
}

static void wait_unmapped(unsigned page)
{
    for (int i = 0; i < 4000 && guest_mapped(page); i++)
        usleep(5000);
    assert_int_equal(guest_mapped(page), 0);
}

static void set_error(int *error, int value)
{
    pthread_mutex_lock(&server.lock);
    *error = value;
    pthread_mutex_unlock(&server.lock);
}

static unsigned effects_of(unsigned id)
{
    return fake_get(&server.fake.effects[id]);
}

/* A guest with a device, up to Connected. */
static void bring_up(uint32_t domid, unsigned page)
{
    world_domain(domid);
    world_attach(domid, 0, FAKE_IDENTITY);
    world_wait_back(domid, 0, 2);
    guest_connect(domid, 0, page);
    world_wait_back(domid, 0, 4);
}

static int set_up(void **state VT_UNUSED)
{
    char path[64];

    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/up", dir);
    snprintf(ramdisk, sizeof ramdisk, "%s/ramdisk", dir);
    server_init(path);
    world_init();
    return 0;
}

static int tear_down(void **state VT_UNUSED)
{
    unlink(server.path);
    unlink(ramdisk);
    return rmdir(dir);
}

static int begin(void **state VT_UNUSED)
{
    world_reset();
    fake_init(&server.fake);
    server_start();
    put_settings();
    bridge_start(server.path);
    return 0;
}

static int end(void **state VT_UNUSED)
{
    if (running) {
        kill(running, SIGKILL);
        waitpid(running, NULL, 0);
    }
    running = 0;
    unsetenv("VTPM_TEST_RAMDISK");
    unsetenv("VTPM_TEST_NO_RDRAND");
    bridge_stop();
    if (server.listener >= 0)
        server_stop();
    return 0;
}

/* ---- Coming up ---- */

static void test_attach__no_server__init_wait_at_once_and_the_first_command_waits(void **state VT_UNUSED)
{
    struct shim shim;
    char path[FAKE_PATH];

    server_stop();
    start(&shim);
    world_domain(5);
    guest_submit(0, 7);
    world_attach(5, 0, FAKE_IDENTITY);
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
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    stop(&shim);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    world_wait_back(5, 0, 4);
}

static void test_settings__come_late__the_ring_waits_for_them(void **state VT_UNUSED)
{
    struct shim shim;

    world_remove("/local/domain/0/vtpm-stubdom/boot-id");
    start(&shim);
    world_domain(5);
    world_attach(5, 0, FAKE_IDENTITY);
    world_wait_back(5, 0, 2);
    guest_submit(0, 1);
    guest_connect(5, 0, 0);
    must_say(&shim, "vtpm-stubdom/boot-id: not there");
    assert_int_equal(guest_mapped(0), 0);
    put_settings();
    guest_expect(0, 1);
    stop(&shim);
}

static void test_settings__credential_is_the_ramdisk__none_is_needed_in_xenstore(void **state VT_UNUSED)
{
    FILE *file = fopen(ramdisk, "w");
    struct shim shim;

    assert_non_null(file);
    fprintf(file, "uuid=%s\nkey=%s\n", FAKE_IDENTITY, KEY_5A);
    fclose(file);
    setenv("VTPM_TEST_RAMDISK", ramdisk, 1);
    world_remove("/local/domain/0/vtpm-stubdom/credential");
    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    stop(&shim);
}

static void test_settings__nonsense__is_named_and_nothing_of_the_key_is_said(void **state VT_UNUSED)
{
    static const struct {
        const char *node, *value, *says;
    } rows[] = {
        {HOME "boot-id", "today", "boot-id: no boot id"},
        {HOME "server", "-1", "server: no domid"},
        {HOME "server", "32752", "server: no domid"},
        {HOME "credential", "uuid=" FAKE_IDENTITY "\nkey=" KEY_5A "5a\n", "credential:2: key= is not 64"},
        {HOME "credential", "key=" KEY_5A "\n", "credential: no line uuid="},
        {HOME "seed", "5a5a", "seed: not 64 hexadecimal digits"},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct shim shim;

        put_settings();
        world_set(HOME "server", "9");
        world_remove("/local/domain/0/vtpm-stubdom/seed");
        world_set(rows[i].node, rows[i].value);
        start(&shim);
        must_say(&shim, rows[i].says);
        assert_null(strstr(shim.text, "5a5a5a"));
        stop(&shim);
    }
}

static void test_random__no_rdrand__a_seed_is_required(void **state VT_UNUSED)
{
    struct shim shim;

    setenv("VTPM_TEST_NO_RDRAND", "1", 1);
    start(&shim);
    must_say(&shim, "the processor has no RDRAND");
    world_set(HOME "seed", KEY_66);
    bring_up(5, 0);
    guest_ask(0, 1);
    stop(&shim);
}

static void test_device__of_another_instance__is_refused_and_the_right_one_is_served(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    world_domain(6);
    world_attach(6, 0, UUID_B);
    world_wait_back(6, 0, 2);
    guest_connect(6, 0, 1);
    must_say(&shim, "this stub domain has the credential of " FAKE_IDENTITY " alone");
    world_wait_back(6, 0, 6);
    bring_up(5, 0);
    guest_ask(0, 1);
    stop(&shim);
}

/* ---- The server comes and goes ---- */

static void test_server__restarts__no_command_is_lost_or_repeated(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    for (unsigned id = 2; id < 5; id++) {
        server_stop();
        guest_submit(0, id);
        guest_event(0);
        server_start();
        guest_expect(0, id);
        assert_int_equal(effects_of(id), 1);
    }
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    assert_int_equal(fake_get(&server.fake.refused), 0);
    stop(&shim);
}

static void test_server__executes_and_dies_before_it_answers__executed_once(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    fake_set(&server.fake.no_answer, true);
    guest_submit(0, 3);
    guest_event(0);
    fake_await(&server.fake.effects[3], 1);
    fake_set(&server.fake.no_answer, false);
    server_do(&server.drop_all);
    guest_expect(0, 3);
    assert_int_equal(effects_of(3), 1);
    assert_true(bridge_links() >= 2);
    guest_ask(0, 4);
    stop(&shim);
}

static void test_server__key_was_rotated__the_new_one_is_read_from_xenstore(void **state VT_UNUSED)
{
    struct shim shim;

    pthread_mutex_lock(&server.lock);
    memset(server.fake.key.bytes, 0x66, sizeof server.fake.key.bytes);
    pthread_mutex_unlock(&server.lock);
    start(&shim);
    guest_submit(0, 1);
    bring_up(5, 0);
    must_say(&shim, "refused identity");
    world_set(HOME "credential", "uuid=" FAKE_IDENTITY "\nkey=" KEY_66 "\n");
    guest_expect(0, 1);
    must_say(&shim, "has a new key");
    stop(&shim);
}

static void test_server__another_shim_takes_over__tpm_fail_until_it_is_attached_again(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    server_do(&server.fence);
    must_say(&shim, "another shim has the instance");
    guest_submit(0, 2);
    guest_event(0);
    guest_expect_code(0, 9);
    world_detach(5, 0);
    world_attach(5, 0, FAKE_IDENTITY);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 3);
    stop(&shim);
}

/* ---- Rings that make no sense ---- */

static void test_vchan__indices_of_nonsense__the_channel_is_made_anew(void **state VT_UNUSED)
{
    static const struct {
        unsigned offset;
        uint32_t value;
    } rows[] = {{VCHAN_RIGHT + 4, 0xdeadbeef}, {VCHAN_LEFT, 0x80000000}};
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    for (unsigned i = 0; i < VT_COUNT(rows); i++) {
        unsigned links = bridge_links();

        bridge_hold(true);
        bridge_poke(rows[i].offset, rows[i].value);
        guest_submit(0, 2 + i);
        guest_event(0);
        bridge_hold(false);
        for (int k = 0; k < 4000 && bridge_links() == links; k++)
            usleep(5000);
        guest_expect(0, 2 + i);
        assert_int_equal(effects_of(2 + i), 1);
    }
    stop(&shim);
}

static void test_vchan__the_servers_domain_vanishes__it_is_noticed(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    bridge_die();
    guest_submit(0, 2);
    guest_event(0);
    must_say(&shim, "the server's domain does not offer it any more");
    bridge_stop();
    bridge_start(server.path);
    guest_expect(0, 2);
    assert_int_equal(effects_of(2), 1);
    stop(&shim);
}

/* ---- The guest ---- */

static void test_reboot__new_domain__off_and_powered_on_for_it(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    world_destroy(5);
    fake_await(&server.fake.offs, 1);
    wait_unmapped(0);
    bring_up(6, 1);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.domid), 6);
    assert_int_equal(fake_get(&server.fake.power_acts), 2);
    assert_int_equal(fake_get(&server.fake.offs), 1);
    stop(&shim);
}

static void test_reboot__the_new_domain_is_there_before_the_old_one_goes__it_waits(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    world_domain(6);
    world_attach(6, 0, FAKE_IDENTITY);
    world_wait_back(6, 0, 2);
    guest_submit(1, 2);
    guest_connect(6, 0, 1);
    must_say(&shim, "has the same uuid");
    guest_ask(0, 3);
    world_destroy(5);
    guest_expect(1, 2);
    assert_int_equal(fake_get(&server.fake.domid), 6);
    stop(&shim);
}

static void test_rebind__same_domain__keeps_the_instance_on(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    guest_state(5, 0, 5);
    world_wait_back(5, 0, 5);
    guest_state(5, 0, 6);
    wait_unmapped(0);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.power_acts), 1);
    assert_int_equal(fake_get(&server.fake.attaches), 1);
    stop(&shim);
}

static void test_rebind__command_under_way__its_response_is_not_for_the_new_ring(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    bridge_hold(true);
    guest_submit(0, 2);
    guest_event(0);
    usleep(20000);
    guest_state(5, 0, 5);
    world_wait_back(5, 0, 5);
    guest_state(5, 0, 6);
    world_wait_back(5, 0, 2);
    guest_submit(1, 3);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    bridge_hold(false);
    guest_expect(1, 3);
    assert_int_equal(effects_of(3), 1);
    assert_true(effects_of(2) <= 1);
    stop(&shim);
}

static void test_detach__and_attached_to_another_domain__it_goes_there(void **state VT_UNUSED)
{
    char path[FAKE_PATH];
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    /* As libxl does for a back end outside its own domain: the node is to go by itself. */
    world_back(path, 5, 0, "online");
    world_set(path, "0");
    world_back(path, 5, 0, "state");
    world_set(path, "5");
    world_wait(path, "");
    wait_unmapped(0);
    bring_up(6, 1);
    guest_ask(1, 2);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    world_destroy(5);
    guest_ask(1, 3);
    assert_int_equal(fake_get(&server.fake.offs), 0);
    stop(&shim);
}

static void test_page__malformed_requests__are_answered_and_the_next_one_works(void **state VT_UNUSED)
{
    static const struct {
        uint32_t length;
        uint8_t locality, extra;
        uint32_t code;
    } rows[] = {{0, 0, 0, 25}, {9, 0, 0, 25}, {4089, 0, 0, 25}, {0xffffffff, 0, 0, 25}, {0xfffffff8, 0, 255, 25},
                {FAKE_COMMAND, 4, 0, 61}, {FAKE_COMMAND, 0xff, 0, 61}};
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    for (unsigned i = 0; i < VT_COUNT(rows); i++) {
        guest_set_head(0, rows[i].length, TPMIF_SUBMIT, rows[i].locality, rows[i].extra);
        guest_event(0);
        guest_expect_code(0, rows[i].code);
        guest_ask(0, 10 + i);
    }
    stop(&shim);
}

static void test_page__the_guest_scribbles_and_floods__it_is_served_again_after(void **state VT_UNUSED)
{
    uint32_t random = 1;
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    for (int i = 0; i < 100; i++) {
        guest_event(0);
        usleep(500);
    }
    must_say(&shim, "heard more seldom");
    for (int i = 0; i < 3000; i++) {
        random = random * 1664525 + 1013904223;
        world.xen->pages[0][(random >> 8) % 64] = (uint8_t)(random >> 24);
        guest_event(0);
    }
    /* Whatever it has asked by that is answered; then it asks well. */
    guest_state(5, 0, 5);
    world_wait_back(5, 0, 5);
    guest_state(5, 0, 6);
    world_wait_back(5, 0, 2);
    guest_connect(5, 0, 1);
    world_wait_back(5, 0, 4);
    guest_ask(1, 2);
    stop(&shim);
}

static void test_front_end__nodes_of_nonsense__it_waits_and_then_serves(void **state VT_UNUSED)
{
    static const char *const states[] = {"", "x", "33", "-3", "999999999999999999999", "4"};
    char path[FAKE_PATH];
    struct shim shim;

    start(&shim);
    world_domain(5);
    world_attach(5, 0, FAKE_IDENTITY);
    world_wait_back(5, 0, 2);
    world_front(path, 5, 0, "ring-ref");
    world_set(path, "4294967296");
    world_front(path, 5, 0, "state");
    for (size_t i = 0; i < VT_COUNT(states); i++)
        world_set(path, states[i]);
    guest_state(5, 0, 1);
    guest_connect(5, 0, 0);
    world_wait_back(5, 0, 4);
    guest_ask(0, 1);
    stop(&shim);
}

static void test_server__store_takes_nothing__is_a_pause(void **state VT_UNUSED)
{
    struct shim shim;

    start(&shim);
    bring_up(5, 0);
    guest_ask(0, 1);
    set_error(&server.fake.answer_error, VT_EUNAVAILABLE);
    guest_ask(0, 2);
    assert_int_equal(effects_of(2), 1);
    stop(&shim);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_attach__no_server__init_wait_at_once_and_the_first_command_waits),
        TEST(test_settings__come_late__the_ring_waits_for_them),
        TEST(test_settings__credential_is_the_ramdisk__none_is_needed_in_xenstore),
        TEST(test_settings__nonsense__is_named_and_nothing_of_the_key_is_said),
        TEST(test_random__no_rdrand__a_seed_is_required),
        TEST(test_device__of_another_instance__is_refused_and_the_right_one_is_served),
        TEST(test_server__restarts__no_command_is_lost_or_repeated),
        TEST(test_server__executes_and_dies_before_it_answers__executed_once),
        TEST(test_server__key_was_rotated__the_new_one_is_read_from_xenstore),
        TEST(test_server__another_shim_takes_over__tpm_fail_until_it_is_attached_again),
        TEST(test_server__store_takes_nothing__is_a_pause),
        TEST(test_vchan__indices_of_nonsense__the_channel_is_made_anew),
        TEST(test_vchan__the_servers_domain_vanishes__it_is_noticed),
        TEST(test_reboot__new_domain__off_and_powered_on_for_it),
        TEST(test_reboot__the_new_domain_is_there_before_the_old_one_goes__it_waits),
        TEST(test_rebind__same_domain__keeps_the_instance_on),
        TEST(test_rebind__command_under_way__its_response_is_not_for_the_new_ring),
        TEST(test_detach__and_attached_to_another_domain__it_goes_there),
        TEST(test_page__malformed_requests__are_answered_and_the_next_one_works),
        TEST(test_page__the_guest_scribbles_and_floods__it_is_served_again_after),
        TEST(test_front_end__nodes_of_nonsense__it_waits_and_then_serves),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
