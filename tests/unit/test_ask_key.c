/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox's side of a key: whatever the broker says, the TPM gets one that is sound, or the broker is none of ours. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/sandbox/keys.h"

static struct cr_drbg drbg;
static struct cr_rsa_key good;
static int ends[2];

static int begin(void **state)
{
    static const uint8_t seed[CR_DRBG_SEED] = {5};

    (void)state;
    cr_drbg_init(&drbg, seed, NULL, 0);
    return cr_init() || cr_rsa_make(&good, 512, 65537, &drbg) ||
           socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}

static int end(void **state)
{
    (void)state;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    return 0;
}

/* The answer stands in the socket before the question. */
static void tell(uint8_t type, int err, const struct cr_rsa_key *key, size_t extra)
{
    uint8_t bytes[5 + 4 + SANDBOX_KEY_LEN_MAX + 16] = {0};
    struct wr w = wr_to(bytes, sizeof bytes), length = wr_to(bytes, 4);

    w.len = 4;
    wr_put8(&w, type);
    wr_put32(&w, (uint32_t)err);
    if (key)
        sandbox_wr_key(&w, key);
    w.len += extra;
    wr_put32(&length, (uint32_t)(w.len - 4));
    assert_int_equal(write(ends[1], bytes, w.len), w.len);
}

static int ask(struct cr_rsa_key *key)
{
    return sandbox_ask_key(ends[0], key, 512, 65537, &drbg);
}

/* A sound key of its own making. */
static void expect_own(void)
{
    struct cr_rsa_key key;
    struct cr_rsa *rsa;

    assert_int_equal(ask(&key), VT_OK);
    assert_memory_not_equal(key.pub.n, good.pub.n, 64);
    assert_int_equal(key.pub.bytes, 64);
    assert_int_equal(cr_rsa_load(&rsa, &key), VT_OK);
    cr_rsa_free(rsa);
}

static void test_ask__broker_has_one__that_one(void **state)
{
    uint8_t asked[13];
    struct cr_rsa_key key;
    static const uint8_t expected[13] = {0, 0, 0, 9, SANDBOX_KEY, 0, 0, 2, 0, 0, 1, 0, 1};

    (void)state;
    tell(SANDBOX_KEY_IS, VT_OK, &good, 0);
    memset(&key, 0x55, sizeof key);
    assert_int_equal(ask(&key), VT_OK);
    assert_memory_equal(&key, &good, sizeof key);
    assert_int_equal(read(ends[1], asked, sizeof asked), sizeof asked);
    assert_memory_equal(asked, expected, sizeof asked);
}

static void test_ask__broker_has_none__own(void **state)
{
    (void)state;
    tell(SANDBOX_KEY_IS, VT_EUNAVAILABLE, NULL, 0);
    expect_own();
}

static void test_ask__key_is_bad__own(void **state)
{
    struct cr_rsa_key bad = good;

    (void)state;
    bad.pub.n[30] ^= 4;
    tell(SANDBOX_KEY_IS, VT_OK, &bad, 0);
    expect_own();
    bad = good;
    bad.pub.e = 3;
    tell(SANDBOX_KEY_IS, VT_OK, &bad, 0);
    expect_own();
    bad = good;
    bad.pub.n[0] &= 0x7f;
    tell(SANDBOX_KEY_IS, VT_OK, &bad, 0);
    expect_own();
    bad = good;
    bad.pub.bytes = 128;
    tell(SANDBOX_KEY_IS, VT_OK, &bad, 0);
    expect_own();
    tell(SANDBOX_KEY_IS, VT_OK, &good, 1);
    expect_own();
    tell(SANDBOX_KEY_IS, VT_OK, NULL, 0);
    expect_own();
    tell(SANDBOX_KEY_IS, VT_EIO, &good, 0);
    expect_own();
}

static void test_ask__answer_is_another_one__protocol(void **state)
{
    struct cr_rsa_key key;

    (void)state;
    tell(SANDBOX_EVIDENCE_IS, VT_OK, &good, 0);
    assert_int_equal(ask(&key), VT_EPROTO);
}

static void test_ask__answer_of_any_other_length__protocol(void **state)
{
    static const uint8_t lengths[][4] = {{0, 0, 0, 0}, {0, 0, 0, 4}, {0, 0, 2, 0}, {0xff, 0xff, 0xff, 0xff}};
    uint8_t head[9] = {0, 0, 0, 0, SANDBOX_KEY_IS};
    struct cr_rsa_key key;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        memcpy(head, lengths[i], 4);
        assert_int_equal(write(ends[1], head, sizeof head), sizeof head);
        assert_int_equal(ask(&key), VT_EPROTO);
    }
}

static void test_ask__broker_leaves__closed_and_no_key(void **state)
{
    struct cr_rsa_key key;

    (void)state;
    close(ends[1]);
    ends[1] = -1;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(ask(&key), VT_ECLOSED);
}

static void test_ask__kind_that_does_not_exist__not_asked(void **state)
{
    struct cr_rsa_key key;
    char byte;

    (void)state;
    assert_int_equal(sandbox_ask_key(ends[0], &key, 512, 2, &drbg), VT_EUSAGE);
    assert_int_equal(sandbox_ask_key(ends[0], &key, 500, 3, &drbg), VT_EUSAGE);
    assert_int_equal(recv(ends[1], &byte, 1, MSG_DONTWAIT), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(test_ask__broker_has_one__that_one),
        TEST(test_ask__broker_has_none__own),
        TEST(test_ask__key_is_bad__own),
        TEST(test_ask__answer_is_another_one__protocol),
        TEST(test_ask__answer_of_any_other_length__protocol),
        TEST(test_ask__broker_leaves__closed_and_no_key),
        TEST(test_ask__kind_that_does_not_exist__not_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
