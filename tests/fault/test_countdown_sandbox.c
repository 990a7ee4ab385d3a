/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's side of the sandboxes, with a real zygote under it: a zygote is started, an engine spawned and asked
 * two things, both freed. Each allocation, socket call, start of a process and allocation of libuv's fails once: each
 * call says so, each engine answers or is gone, and the next attempt works. No process and no descriptor stays.
 */
#include "tests/fault/countdown.h"
#include "tests/unit/sandbox_fixture.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 30000
/* A request that could not be sent is noticed by its limit at the latest. */
#define LIMIT_MS 2000

struct try {
    struct zygote *zygote;
    struct engine *engine;
    int ready, failed; /* of the zygote */
    int ended;         /* answered or gone */
    bool is_gone, is_state;
};

static struct sb *sb;

static void on_ready(void *arg, int err, const char *text)
{
    struct try *t = arg;

    assert_true(text[0]);
    t->ready += !err;
    t->failed += err != 0;
}

static void on_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    struct try *t = arg;
    struct sandbox_state state;

    t->ended++;
    t->is_state = type == SANDBOX_STATE && sandbox_rd_state(&state, payload, len);
}

static void on_gone(void *arg, const char *why)
{
    struct try *t = arg;

    assert_true(why[0]);
    assert_false(t->is_gone);
    t->is_gone = true;
    t->ended++;
}

static const struct engine_ops ops = {.on_reply = on_reply, .on_gone = on_gone};

static void expect_error(int err)
{
    if (err != VT_ENOMEM && err != VT_EIO && err != VT_ECLOSED)
        fail_msg("call %ld failed: %d, %s", count_nth(), err, vt_err_text(err));
}

/* MANUFACTURE: true if the answer is a state. */
static bool ask(struct try *t)
{
    const struct tpm_profile profile = {.nv_bytes = 1000};
    uint8_t bytes[CR_DRBG_SEED + SANDBOX_PROFILE_LEN + 1] = {0};
    struct wr w = wr_to(bytes + CR_DRBG_SEED, SANDBOX_PROFILE_LEN);
    const struct cr_slice part = CR_SLICE(bytes, sizeof bytes);
    int before = t->ended, err;

    tpm_profile_write(&w, &profile);
    t->is_state = false;
    err = engine_request(t->engine, SANDBOX_MANUFACTURE, &part, 1);
    if (err) {
        expect_error(err);
        return false;
    }
    if (!sb_until(sb, &t->ended, before + 1, PATIENCE_MS))
        fail_msg("call %ld failed: the engine neither answers nor ends", count_nth());
    return t->is_state;
}

static bool run_engine(struct try *t)
{
    bool works;
    int err;

    t->is_gone = false;
    err = engine_spawn(t->zygote, &ops, t, &t->engine);
    if (err) {
        expect_error(err);
        t->engine = NULL;
        return false;
    }
    works = ask(t);
    engine_free(t->engine);
    t->engine = NULL;
    return works;
}

static void scenario(void *arg)
{
    const char *path = arg;
    struct try t = {0};
    const struct zygote_config config = {.engine_path = path, .request_limit_ms = LIMIT_MS, .on_ready = on_ready, .arg = &t};
    struct vt_why why = {""};
    int err, descriptors = count_fds(getpid());

    count_begin();
    err = zygote_start(&t.zygote, sb->loop, &config, &why);
    if (err) {
        expect_error(err);
        assert_true(why.text[0]);
        assert_int_equal(zygote_start(&t.zygote, sb->loop, &config, &why), VT_OK);
    }
    /* A zygote that fails is started again. */
    if (!sb_until(sb, &t.ready, 1, PATIENCE_MS))
        fail_msg("call %ld failed: no zygote", count_nth());
    (void)run_engine(&t);
    (void)run_engine(&t);
    (void)count_end();
    for (int i = 0; !run_engine(&t); i++) {
        if (i == 20)
            fail_msg("call %ld had failed: engines do not work any more", count_nth());
        sb_run_for(sb, 100);
    }
    zygote_free(t.zygote);
    sb_run_for(sb, 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(count_fds(getpid()), descriptors);
}

static void test_sandbox__each_fault__next_one_works(void **state)
{
    static char path[] = ENGINE_PATH;

    sb = *state;
    assert_true(count_down("sandbox, alloc", FAULT_ALLOC, scenario, path) > 3);
    assert_true(count_down("sandbox, socket", FAULT_SOCKET, scenario, path) > 3);
    assert_true(count_down("sandbox, spawn", FAULT_FORK, scenario, path) == 8);
    (void)count_down("sandbox, uv", FAULT_UV, scenario, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sandbox__each_fault__next_one_works, sb_setup, sb_teardown),
    };

    count_hook_uv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
