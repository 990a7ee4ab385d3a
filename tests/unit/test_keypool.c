/* SPDX-License-Identifier: Apache-2.0 */
/* The pool alone: its clock, its timers and its makers are here, and nothing happens but by a test's word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/core/keypool/keypool.h"
#include "server/core/loop.h"
#include "server/sandbox/keys.h"

/* ---- A loop ---- */

struct loop_timer {
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ms;
    bool is_on;
};

static struct loop_timer *timers[8];
static uint64_t now_ms;

uint64_t loop_now_us(void)
{
    return (1000000 + now_ms) * 1000;
}

int loop_timer_new(struct loop *loop VT_UNUSED, struct loop_timer **timer, void (*fn)(void *arg), void *arg)
{
    size_t i = 0;

    while (timers[i])
        i++;
    assert_true(i < VT_COUNT(timers));
    timers[i] = *timer = calloc(1, sizeof **timer);
    (*timer)->fn = fn;
    (*timer)->arg = arg;
    return VT_OK;
}

void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms)
{
    timer->due_ms = now_ms + delay_ms;
    timer->is_on = true;
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->is_on = false;
}

void loop_timer_free(struct loop_timer *timer)
{
    for (size_t i = 0; i < VT_COUNT(timers); i++)
        if (timers[i] == timer)
            timers[i] = NULL;
    free(timer);
}

static bool run_due(void)
{
    for (size_t i = 0; i < VT_COUNT(timers); i++)
        if (timers[i] && timers[i]->is_on && timers[i]->due_ms <= now_ms) {
            timers[i]->is_on = false;
            timers[i]->fn(timers[i]->arg);
            return true;
        }
    return false;
}

static void pass(unsigned ms)
{
    for (unsigned i = 0; i <= ms; i++, now_ms += i <= ms)
        while (run_due())
            ;
}

/* ---- Makers ---- */

#define MOST 8

struct engine {
    const struct engine_ops *ops;
    void *arg;
    bool is_busy;
    unsigned bits;
    uint32_t e;
};

static struct engine *makers[MOST];
static unsigned spawned, serial;
static int spawn_err;
static uint8_t last_seed[CR_DRBG_SEED];

int engine_spawn_maker(struct zygote *zygote VT_UNUSED, const struct engine_ops *ops, void *arg, uint32_t limit_ms,
                       struct engine **engine)
{
    size_t i = 0;

    assert_true(limit_ms >= 1000);
    spawned++;
    if (spawn_err)
        return spawn_err;
    while (makers[i])
        i++;
    assert_true(i < MOST);
    makers[i] = *engine = calloc(1, sizeof **engine);
    **engine = (struct engine){.ops = ops, .arg = arg};
    return VT_OK;
}

int engine_request(struct engine *maker, uint8_t type, const struct cr_slice *parts, size_t count)
{
    struct rd r = rd_from(parts[0].ptr, parts[0].len);
    uint8_t seed[CR_DRBG_SEED];

    assert_int_equal(type, SANDBOX_KEY_MAKE);
    assert_int_equal(count, 1);
    assert_false(maker->is_busy);
    rd_copy(&r, seed, sizeof seed);
    assert_true(sandbox_rd_key_ask(&r, &maker->bits, &maker->e));
    /* A seed is used once. */
    assert_memory_not_equal(seed, last_seed, sizeof seed);
    memcpy(last_seed, seed, sizeof seed);
    maker->is_busy = true;
    return VT_OK;
}

void engine_free(struct engine *maker)
{
    for (size_t i = 0; i < MOST; i++)
        if (maker && makers[i] == maker)
            makers[i] = NULL;
    free(maker);
}

static unsigned busy(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < MOST; i++)
        count += makers[i] && makers[i]->is_busy;
    return count;
}

static unsigned alive(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < MOST; i++)
        count += makers[i] != NULL;
    return count;
}

static struct engine *first_busy(void)
{
    for (size_t i = 0; i < MOST; i++)
        if (makers[i] && makers[i]->is_busy)
            return makers[i];
    fail_msg("no maker works");
    return NULL;
}

/* The second and third bytes of a modulus count. */
static void answer_with(struct engine *maker, int err, unsigned bits, size_t extra)
{
    uint8_t bytes[4 + SANDBOX_KEY_LEN_MAX + 8] = {0};
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_rsa_key key = {.pub = {.e = maker->e, .bytes = (uint16_t)(bits / 8), .n = {0x80}}};

    serial++;
    key.pub.n[1] = (uint8_t)(serial >> 8);
    key.pub.n[2] = (uint8_t)serial;
    key.pub.n[bits / 8 - 1] = 1;
    wr_put32(&w, (uint32_t)err);
    if (!err)
        sandbox_wr_key(&w, &key);
    maker->is_busy = false;
    maker->ops->on_reply(maker->arg, SANDBOX_KEY_MADE, bytes, w.len + extra);
}

static void answer(void)
{
    struct engine *maker = first_busy();

    answer_with(maker, VT_OK, maker->bits, 0);
}

static void answer_all(void)
{
    while (busy())
        answer();
}

static void die(void)
{
    struct engine *maker = first_busy();

    maker->is_busy = false;
    maker->ops->on_gone(maker->arg, "killed by signal 9");
}

/* ---- Who wants keys ---- */

static struct keypool *pool;

struct guest {
    struct vt_uuid uuid;
    struct keypool_wish *wish;
    int answers, err;
    unsigned key; /* what its modulus counts; 0: none */
    unsigned order;
};

static unsigned answered;

static unsigned number_of(const struct cr_rsa_key *key)
{
    return (unsigned)key->pub.n[1] << 8 | key->pub.n[2];
}

static void on_key(void *arg, int err, const struct cr_rsa_key *key)
{
    struct guest *guest = arg;

    guest->answers++;
    guest->err = err;
    guest->wish = NULL;
    guest->order = ++answered;
    guest->key = err ? 0 : number_of(key);
    assert_true(err || key);
}

static struct guest guest_of(uint8_t number)
{
    return (struct guest){.uuid = {.bytes = {number}}};
}

static int ask_for(struct guest *guest, unsigned bits, uint32_t e)
{
    struct cr_rsa_key key;
    int err = keypool_ask(pool, &guest->uuid, bits, e, &key, on_key, guest, &guest->wish);

    assert_true((err == VT_EAGAIN) == (guest->wish != NULL));
    guest->key = err ? 0 : number_of(&key);
    return err;
}

static int ask(struct guest *guest)
{
    return ask_for(guest, 2048, 65537);
}

static struct keypool_facts facts(void)
{
    struct keypool_facts facts;

    keypool_facts(pool, &facts);
    return facts;
}

static void begin_with(unsigned size, unsigned makers_at_once, uint32_t wait_ms)
{
    struct keypool_config config = {.size = {size, size / 4}, .makers = makers_at_once, .wait_ms = wait_ms};

    now_ms = spawned = serial = answered = 0;
    spawn_err = VT_OK;
    assert_int_equal(keypool_new(&pool, NULL, NULL, &config), VT_OK);
}

static void begin_full(unsigned size, unsigned makers_at_once)
{
    begin_with(size, makers_at_once, 0);
    pass(0);
    answer_all();
    assert_int_equal(facts().level[KEYPOOL_2048], size);
    assert_int_equal(facts().level[KEYPOOL_1024], size / 4);
}

static int end(void **state)
{
    (void)state;
    keypool_free(pool);
    assert_int_equal(alive(), 0);
    for (size_t i = 0; i < VT_COUNT(timers); i++)
        assert_null(timers[i]);
    return 0;
}

/* ---- Filling ---- */

static void test_fill__after_the_wait__one_by_one_and_then_makers_leave(void **state)
{
    (void)state;
    begin_with(8, 1, 20000);
    pass(19999);
    assert_int_equal(spawned, 0);
    pass(2);
    for (unsigned made = 0; made < 10; made++) {
        assert_int_equal(busy(), 1);
        assert_int_equal(facts().level[KEYPOOL_2048] + facts().level[KEYPOOL_1024], made);
        answer();
    }
    assert_int_equal(busy(), 0);
    assert_int_equal(spawned, 1);
    assert_int_equal(facts().made, 10);
    assert_int_equal(alive(), 1);
    pass(10001);
    assert_int_equal(alive(), 0);
    assert_int_equal(facts().makers, 0);
}

static void test_fill__several_makers__never_more_than_is_wanted(void **state)
{
    (void)state;
    begin_with(4, 3, 0);
    pass(0);
    assert_int_equal(busy(), 3);
    answer();
    answer();
    answer();
    assert_int_equal(busy(), 2);
    answer_all();
    assert_int_equal(facts().made, 5);
}

static void test_fill__server_stops__at_once(void **state)
{
    (void)state;
    begin_with(8, 2, 0);
    pass(0);
    answer();
    keypool_stop(pool);
    assert_int_equal(busy(), 0);
    assert_int_equal(alive(), 0);
    pass(100000);
    assert_int_equal(alive(), 0);
}

/* ---- Taking ---- */

static void test_take__until_it_is_empty__each_key_once_and_then_made_to_order(void **state)
{
    struct guest guests[9];
    bool seen[64] = {false};

    (void)state;
    begin_full(8, 1);
    for (uint8_t i = 0; i < 9; i++) {
        guests[i] = guest_of((uint8_t)(i + 1));
        assert_int_equal(ask(&guests[i]), i < 8 ? VT_OK : VT_EAGAIN);
        assert_int_equal(facts().level[KEYPOOL_2048], i < 8 ? 7 - i : 0);
    }
    answer_all();
    assert_int_equal(guests[8].answers, 1);
    assert_int_equal(guests[8].err, VT_OK);
    for (size_t i = 0; i < 9; i++) {
        assert_true(guests[i].key && guests[i].key < 64 && !seen[guests[i].key]);
        seen[guests[i].key] = true;
    }
    assert_int_equal(facts().level[KEYPOOL_2048], 8);
    assert_int_equal(facts().taken, 8);
    assert_int_equal(facts().ordered, 1);
}

static void test_take__other_kinds__made_to_order_and_not_kept(void **state)
{
    struct guest one = guest_of(1), two = guest_of(2);

    (void)state;
    begin_full(4, 1);
    assert_int_equal(ask_for(&one, 512, 65537), VT_EAGAIN);
    assert_int_equal(ask_for(&two, 2048, 3), VT_EAGAIN);
    keypool_cancel(one.wish);
    answer_all();
    assert_int_equal(one.answers, 0);
    assert_int_equal(two.err, VT_OK);
    assert_int_equal(facts().level[KEYPOOL_2048], 4);
    assert_int_equal(facts().waiting, 0);
}

static void test_take__what_a_maker_made_for_one_who_left__is_kept(void **state)
{
    struct guest one = guest_of(1);

    (void)state;
    begin_with(4, 1, 1000);
    assert_int_equal(ask(&one), VT_EAGAIN);
    keypool_cancel(one.wish);
    answer();
    assert_int_equal(one.answers, 0);
    assert_int_equal(facts().level[KEYPOOL_2048], 1);
}

static void test_take__pool_is_off__nobody_waits(void **state)
{
    struct guest one = guest_of(1);

    (void)state;
    begin_with(0, 1, 0);
    pass(1000);
    assert_int_equal(ask(&one), VT_EUNAVAILABLE);
    assert_int_equal(spawned, 0);
}

/* ---- Fairness ---- */

static void test_wait__many_owners__no_more_makers_than_allowed_and_first_come_first_served(void **state)
{
    struct guest guests[5];

    (void)state;
    begin_with(4, 2, 1000000);
    for (uint8_t i = 0; i < 5; i++) {
        guests[i] = guest_of((uint8_t)(i + 1));
        assert_int_equal(ask(&guests[i]), VT_EAGAIN);
    }
    assert_int_equal(busy(), 2);
    assert_int_equal(facts().waiting, 5);
    /* The first maker's are answered first; the second one works on guest 1's all the while. */
    answer_all();
    assert_int_equal(guests[0].order, 1);
    assert_int_equal(guests[2].order, 2);
    assert_int_equal(guests[3].order, 3);
    assert_int_equal(guests[4].order, 4);
    assert_int_equal(guests[1].order, 5);
}

/* Its wishes are one owner's, however many. */
static void test_wait__administrators_with_many_wishes__a_guest_is_next(void **state)
{
    struct guest admin[4] = {{.order = 0}}, guest = guest_of(1);

    (void)state;
    begin_with(4, 1, 1000000);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ask(&admin[i]), VT_EAGAIN);
    assert_int_equal(ask(&guest), VT_EAGAIN);
    answer(); /* the first one's, under way before */
    answer();
    answer();
    assert_int_equal(guest.answers, 1);
    assert_true(guest.order <= 3);
    keypool_cancel(admin[2].wish);
    answer_all();
    assert_int_equal(admin[0].answers + admin[1].answers + admin[3].answers, 3);
    assert_int_equal(admin[2].answers, 0);
}

static void test_wait__owner_that_asks_without_end__leaves_the_last_quarter_and_its_turn_to_others(void **state)
{
    struct guest greedy = guest_of(1), other = guest_of(2);
    unsigned taken = 0;

    (void)state;
    begin_full(8, 1);
    while (ask(&greedy) == VT_OK)
        taken++;
    assert_int_equal(taken, 6);
    assert_int_equal(facts().level[KEYPOOL_2048], 2);
    assert_int_equal(ask(&other), VT_OK);
    /* And the pool is filled meanwhile, turn by turn. */
    for (int i = 0; i < 40; i++) {
        answer();
        if (!greedy.wish)
            (void)ask(&greedy);
    }
    assert_true(facts().level[KEYPOOL_2048] >= 2);
    assert_true(greedy.answers >= 5);
    other = guest_of(3);
    assert_int_equal(ask(&other), VT_OK);
    keypool_cancel(greedy.wish);
}

static void test_wait__a_minute_later__an_owner_is_like_any_other(void **state)
{
    struct guest one = guest_of(1);

    (void)state;
    begin_full(8, 1);
    while (ask(&one) == VT_OK)
        ;
    keypool_cancel(one.wish);
    keypool_stop(pool);
    pass(60001);
    assert_int_equal(ask(&one), VT_OK);
    assert_int_equal(ask(&one), VT_EAGAIN);
    keypool_cancel(one.wish);
}

/* ---- Makers that fail ---- */

static void test_maker__dies_under_a_wish__served_by_the_next_after_a_pause(void **state)
{
    struct guest one = guest_of(1);

    (void)state;
    begin_with(4, 1, 1000000);
    assert_int_equal(ask(&one), VT_EAGAIN);
    die();
    assert_int_equal(one.answers, 0);
    assert_int_equal(busy(), 0);
    pass(99);
    assert_int_equal(busy(), 0);
    pass(2);
    assert_int_equal(busy(), 1);
    answer();
    assert_int_equal(one.err, VT_OK);
    assert_int_equal(one.answers, 1);
}

static void test_maker__dies_twice_under_a_wish__that_one_helps_itself(void **state)
{
    struct guest one = guest_of(1), two = guest_of(2);

    (void)state;
    begin_with(4, 1, 1000000);
    assert_int_equal(ask(&one), VT_EAGAIN);
    assert_int_equal(ask(&two), VT_EAGAIN);
    die();
    pass(100);
    die();
    pass(0);
    assert_int_equal(one.err, VT_EUNAVAILABLE);
    assert_int_equal(two.answers, 0);
    pass(1000);
    answer();
    assert_int_equal(two.err, VT_OK);
}

static void test_maker__none_can_be_started__nobody_waits_until_one_can(void **state)
{
    struct guest one = guest_of(1), two = guest_of(2);

    (void)state;
    begin_with(4, 1, 1000000);
    spawn_err = VT_ENOMEM;
    assert_int_equal(ask(&one), VT_EAGAIN);
    pass(1000);
    assert_int_equal(one.err, VT_EUNAVAILABLE);
    assert_int_equal(one.answers, 1);
    assert_true(spawned <= 3);
    for (int i = 0; i < 3; i++) {
        if (ask(&two) == VT_EAGAIN)
            pass(3000);
        assert_null(two.wish);
    }
    assert_true(spawned <= 8);
    spawn_err = VT_OK;
    pass(20000);
    assert_int_equal(ask(&two), VT_EAGAIN);
    answer();
    assert_int_equal(two.err, VT_OK);
}

static void test_maker__all_die_at_once__one_pause(void **state)
{
    struct guest guests[3];

    (void)state;
    begin_with(4, 3, 1000000);
    for (uint8_t i = 0; i < 3; i++) {
        guests[i] = guest_of((uint8_t)(i + 1));
        assert_int_equal(ask(&guests[i]), VT_EAGAIN);
    }
    die();
    die();
    die();
    pass(101);
    assert_int_equal(busy(), 3);
    answer_all();
    for (int i = 0; i < 3; i++)
        assert_int_equal(guests[i].err, VT_OK);
}

static void test_maker__says_what_is_no_key__is_replaced(void **state)
{
    struct guest one = guest_of(1);

    (void)state;
    for (int lie = 0; lie < 4; lie++) {
        begin_with(4, 1, 1000000);
        assert_int_equal(ask(&one), VT_EAGAIN);
        answer_with(first_busy(), lie == 0 ? VT_ECRYPTO : VT_OK, lie == 1 ? 1024 : 2048, lie == 2 ? 1 : lie == 3 ? -9 : 0);
        assert_int_equal(alive(), 0);
        assert_int_equal(facts().made, 0);
        pass(101);
        answer();
        assert_int_equal(one.err, VT_OK);
        if (lie < 3)
            keypool_free(pool);
    }
}

static void test_maker__many_keys__makes_room_for_a_fresh_one(void **state)
{
    (void)state;
    begin_with(600, 1, 0);
    pass(0);
    answer_all();
    assert_int_equal(facts().made, 750);
    assert_int_equal(spawned, 2);
}

/* ---- The option ---- */

static void test_parse__texts__sizes_or_what_is_wrong(void **state)
{
    static const char *const wrong[] = {"", ",", "4,", ",4", "x", "-1", "16,4,1", "1025", "16 ", "99999999999999999999"};
    struct keypool_config config = {.size = {9, 9}};
    struct vt_why why = {""};

    (void)state;
    assert_int_equal(keypool_parse(&config, "16,4", &why), VT_OK);
    assert_true(config.size[KEYPOOL_2048] == 16 && config.size[KEYPOOL_1024] == 4);
    assert_int_equal(keypool_parse(&config, "1024", &why), VT_OK);
    assert_true(config.size[KEYPOOL_2048] == 1024 && config.size[KEYPOOL_1024] == 0);
    assert_int_equal(keypool_parse(&config, "0", &why), VT_OK);
    assert_true(!config.size[KEYPOOL_2048] && !config.size[KEYPOOL_1024]);
    for (size_t i = 0; i < VT_COUNT(wrong); i++) {
        assert_int_equal(keypool_parse(&config, wrong[i], &why), VT_EUSAGE);
        assert_non_null(strstr(why.text, "--key-pool"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, end)
        TEST(test_fill__after_the_wait__one_by_one_and_then_makers_leave),
        TEST(test_fill__several_makers__never_more_than_is_wanted),
        TEST(test_fill__server_stops__at_once),
        TEST(test_take__until_it_is_empty__each_key_once_and_then_made_to_order),
        TEST(test_take__other_kinds__made_to_order_and_not_kept),
        TEST(test_take__what_a_maker_made_for_one_who_left__is_kept),
        TEST(test_take__pool_is_off__nobody_waits),
        TEST(test_wait__many_owners__no_more_makers_than_allowed_and_first_come_first_served),
        TEST(test_wait__administrators_with_many_wishes__a_guest_is_next),
        TEST(test_wait__owner_that_asks_without_end__leaves_the_last_quarter_and_its_turn_to_others),
        TEST(test_wait__a_minute_later__an_owner_is_like_any_other),
        TEST(test_maker__dies_under_a_wish__served_by_the_next_after_a_pause),
        TEST(test_maker__dies_twice_under_a_wish__that_one_helps_itself),
        TEST(test_maker__none_can_be_started__nobody_waits_until_one_can),
        TEST(test_maker__all_die_at_once__one_pause),
        TEST(test_maker__says_what_is_no_key__is_replaced),
        TEST(test_maker__many_keys__makes_room_for_a_fresh_one),
        cmocka_unit_test(test_parse__texts__sizes_or_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
