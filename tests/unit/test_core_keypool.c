/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's engine that wants a key: from the pool, from a maker, or from nobody; and one that wants what it may not have. */
#include "tests/unit/core_one.h"

static int with_pool(unsigned size, void **state)
{
    uint8_t stream[16];
    int err = one_bumped_both(state);

    memcpy(stream, peer.stream, sizeof stream);
    peer_close(&peer);
    rig.config.keypool = (struct keypool_config){.size = {size, size ? 1 : 0}, .makers = 1};
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    return err;
}

static int begin(void **state)
{
    return with_pool(4, state);
}

static int begin_without(void **state)
{
    return with_pool(0, state);
}

static int end(void **state)
{
    memset(&rig.config.keypool, 0, sizeof rig.config.keypool);
    return one_end(state);
}

static struct keypool_facts facts(void)
{
    struct keypool_facts facts;

    keypool_facts(rig.broker->keypool, &facts);
    return facts;
}

static void fill(void)
{
    for (int i = 0; i < 500 && facts().level[KEYPOOL_2048] + facts().level[KEYPOOL_1024] < 5; i++)
        rig_turn(&rig, 5);
    assert_int_equal(facts().level[KEYPOOL_2048], 4);
    assert_int_equal(facts().level[KEYPOOL_1024], 1);
}

static void test_key__pool_is_off__engine_is_told_to_make_it(void **state)
{
    (void)state;
    peer_expect(&peer, 2, FAKE_KEY, 2, 2);
    assert_int_equal(fake.key_err, VT_EUNAVAILABLE);
    assert_int_equal(fake.makers + fake.made, 0);
}

static void test_key__pool_is_full__given_at_once_and_filled_again(void **state)
{
    uint8_t first;

    (void)state;
    fill();
    fake.makers_wait = true;
    peer_expect(&peer, 2, FAKE_KEY, 2, 2);
    first = fake.key_first;
    assert_int_equal(facts().level[KEYPOOL_2048], 3);
    assert_int_equal(facts().taken, 1);
    peer_expect(&peer, 3, FAKE_KEY, 3, 3);
    assert_int_not_equal(fake.key_first, first);
    assert_int_equal(fake.key_told, 2);
    fake.makers_wait = false;
    fill();
    assert_int_equal(facts().ordered, 0);
}

static void test_key__not_in_the_pool__made_while_the_guest_waits(void **state)
{
    (void)state;
    fill();
    fake.key_bits = 512;
    peer_expect(&peer, 2, FAKE_KEY, 2, 2);
    assert_int_equal(fake.key_told, 1);
    assert_int_equal(facts().ordered, 1);
    assert_int_equal(facts().taken, 0);
}

static void test_key__maker_killed_while_the_guest_waits__another_one_makes_it(void **state)
{
    (void)state;
    fill();
    fake.key_bits = 512;
    fake.maker_deaths = 1;
    peer_expect(&peer, 2, FAKE_KEY, 2, 2);
    assert_int_equal(fake.key_told, 1);
    assert_int_equal(fake.maker_deaths, 0);
}

static void test_key__makers_that_cannot_live__engine_is_told_to_make_it(void **state)
{
    (void)state;
    fake.maker_deaths = 1000000;
    fake.key_bits = 512;
    peer_expect(&peer, 2, FAKE_KEY, 2, 2);
    assert_int_equal(fake.key_err, VT_EUNAVAILABLE);
    fake.maker_deaths = 0;
}

static void test_engine__asks_twice_in_one_command__is_a_crash(void **state)
{
    (void)state;
    fake.key_twice = true;
    peer_expect_fail(&peer, 2, FAKE_KEY);
    assert_int_equal(fake.key_asked, 4);
    fake.key_twice = false;
    peer_expect(&peer, 3, FAKE_KEY, 2, 2);
}

static void test_engine__asks_for_a_key_that_does_not_exist__is_a_crash(void **state)
{
    (void)state;
    fake.key_bits = 0x80000000;
    peer_expect_fail(&peer, 2, FAKE_KEY);
    fake.key_bits = 2048;
    peer_expect(&peer, 3, FAKE_KEY, 2, 2);
}

static void test_engine__dies_while_it_waits__command_runs_again_with_another_key(void **state)
{
    (void)state;
    fake.key_bits = 512;
    fake.makers_wait = true;
    fake.key_deaths = 1;
    peer_ask(&peer, 2, FAKE_KEY);
    for (int i = 0; i < 500 && fake.key_asked < 2; i++)
        rig_turn(&rig, 5);
    assert_int_equal(fake.key_asked, 2);
    assert_int_equal(facts().waiting, 1);
    fake.makers_wait = false;
    peer_wait(&peer);
    assert_int_equal(fake.key_told, 1);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 3, 3);
}

static void test_server__stops_while_a_guest_waits__command_ends_first(void **state)
{
    struct seen seen;

    (void)state;
    fake.key_bits = 512;
    fake.makers_wait = true;
    peer_ask(&peer, 2, FAKE_KEY);
    rig_turn(&rig, 20);
    assert_int_equal(fake.key_asked, 1);
    keypool_stop(rig.broker->keypool);
    fake.makers_wait = false;
    assert_int_equal(peer_take(&peer, &seen), 0);
    assert_int_equal(seen.permanent_count, 2);
    assert_int_equal(fake.key_told, 1);
    rig_turn(&rig, 20);
    assert_int_equal(fake.makers, 0);
}

static void test_create__with_ek__takes_from_the_pool(void **state)
{
    struct vt_uuid made;

    (void)state;
    fill();
    fake.ek_asks = true;
    rig_create(&rig, "b", &made);
    assert_int_equal(fake.key_told, 1);
    assert_int_equal(facts().taken, 1);
}

static void test_create__engine_asks_for_two__fails_and_says_so(void **state)
{
    struct vt_uuid made;

    (void)state;
    fill();
    fake.ek_asks = fake.key_twice = true;
    assert_int_equal(admin_make(&rig, "b", "", "", "", &made), VT_EFAIL);
    assert_int_equal(fake.key_asked, 2);
    assert_int_equal(fake.alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        cmocka_unit_test_setup_teardown(test_key__pool_is_off__engine_is_told_to_make_it, begin_without, end),
        TEST(test_key__pool_is_full__given_at_once_and_filled_again),
        TEST(test_key__not_in_the_pool__made_while_the_guest_waits),
        TEST(test_key__maker_killed_while_the_guest_waits__another_one_makes_it),
        TEST(test_key__makers_that_cannot_live__engine_is_told_to_make_it),
        TEST(test_engine__asks_twice_in_one_command__is_a_crash),
        TEST(test_engine__asks_for_a_key_that_does_not_exist__is_a_crash),
        TEST(test_engine__dies_while_it_waits__command_runs_again_with_another_key),
        TEST(test_server__stops_while_a_guest_waits__command_ends_first),
        TEST(test_create__with_ek__takes_from_the_pool),
        TEST(test_create__engine_asks_for_two__fails_and_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
