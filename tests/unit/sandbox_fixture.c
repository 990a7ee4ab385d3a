/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sandbox_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void on_guard(void *arg)
{
    struct sb *sb = arg;

    sb->late = true;
}

int sb_setup(void **state)
{
    struct sb *sb = calloc(1, sizeof *sb);

    *state = sb;
    if (sb)
        vt_list_init(&sb->boxes);
    return !sb || uv_loop_init(&sb->uv) || loop_new(&sb->loop, &sb->uv) ||
           loop_timer_new(sb->loop, &sb->guard, on_guard, sb);
}

int sb_teardown(void **state)
{
    struct sb *sb = *state;
    int rc;

    VT_LIST_EACH(&sb->boxes, node)
        box_free(VT_LIST_ENTRY(node, struct box, node));
    zygote_free(sb->zygote);
    loop_timer_free(sb->guard);
    loop_free(sb->loop);
    uv_run(&sb->uv, UV_RUN_DEFAULT);
    rc = uv_loop_close(&sb->uv);
    free(sb);
    return rc;
}

bool sb_until(struct sb *sb, const int *what, int least, unsigned ms)
{
    sb->late = false;
    loop_timer_start(sb->guard, ms);
    while (*what < least && !sb->late)
        uv_run(&sb->uv, UV_RUN_ONCE);
    loop_timer_stop(sb->guard);
    return *what >= least;
}

void sb_run_for(struct sb *sb, unsigned ms)
{
    static const int never = 0;

    sb_until(sb, &never, 1, ms);
}

static void on_ready(void *arg, int err, const char *text)
{
    struct sb *sb = arg;

    if (err)
        sb->unready++;
    else
        sb->ready++;
    sb->ready_err = err;
    snprintf(sb->ready_text, sizeof sb->ready_text, "%s", text);
}

void sb_start_path(struct sb *sb, const char *path, uint32_t limit_ms)
{
    const struct zygote_config config = {
        .engine_path = path, .request_limit_ms = limit_ms, .on_ready = on_ready, .arg = sb};
    struct vt_why why = {""};

    assert_int_equal(zygote_start(&sb->zygote, sb->loop, &config, &why), VT_OK);
    assert_string_equal(why.text, "");
}

void sb_start(struct sb *sb, uint32_t limit_ms)
{
    sb_start_path(sb, ENGINE_PATH, limit_ms);
    assert_true(sb_until(sb, &sb->ready, 1, 30000));
}

static void give_key(struct box *box)
{
    uint8_t bytes[4 + SANDBOX_KEY_LEN_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, box->key ? VT_OK : (uint32_t)VT_EUNAVAILABLE);
    if (box->key)
        sandbox_wr_key(&w, box->key);
    box->keys++;
    box_send(box, SANDBOX_KEY_IS, bytes, w.len);
}

static void on_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    struct box *box = arg;

    if (type == SANDBOX_KEY) {
        assert_int_equal(len, SANDBOX_KEY_ASK_LEN);
        give_key(box);
        return;
    }
    box->replies++;
    box->type = type;
    box->len = len;
    assert_true(len <= sizeof box->payload);
    memcpy(box->payload, payload, len);
    box->is_state = type == SANDBOX_STATE && sandbox_rd_state(&box->state, box->payload, len);
}

static void on_gone(void *arg, const char *why)
{
    struct box *box = arg;

    box->gone++;
    snprintf(box->why, sizeof box->why, "%s", why);
    if (box->free_when_gone) {
        engine_free(box->engine);
        box->engine = NULL;
    }
}

static const struct engine_ops ops = {.on_reply = on_reply, .on_gone = on_gone};

struct box *box_new(struct sb *sb)
{
    struct box *box = calloc(1, sizeof *box);

    assert_non_null(box);
    vt_list_add(&sb->boxes, &box->node);
    assert_int_equal(engine_spawn(sb->zygote, &ops, box, &box->engine), VT_OK);
    return box;
}

struct box *box_new_maker(struct sb *sb)
{
    struct box *box = calloc(1, sizeof *box);

    assert_non_null(box);
    vt_list_add(&sb->boxes, &box->node);
    assert_int_equal(engine_spawn_maker(sb->zygote, &ops, box, 60000, &box->engine), VT_OK);
    return box;
}

void box_free(struct box *box)
{
    vt_list_remove(&box->node);
    engine_free(box->engine);
    free(box);
}

void box_send(struct box *box, uint8_t type, const void *payload, size_t len)
{
    const struct cr_slice part = CR_SLICE(payload, len);

    assert_int_equal(engine_request(box->engine, type, &part, 1), VT_OK);
    assert_true(engine_is_busy(box->engine));
}

void box_ask(struct sb *sb, struct box *box, uint8_t type, const void *payload, size_t len)
{
    int before = box->replies;

    box_send(box, type, payload, len);
    if (!sb_until(sb, &box->replies, before + 1, 20000))
        fail_msg("no answer to request %u: %s", type, box->why);
    assert_false(engine_is_busy(box->engine));
}

void box_manufacture(struct sb *sb, struct box *box, uint32_t nv_bytes, bool with_ek)
{
    struct tpm_profile profile = {.nv_bytes = nv_bytes};
    uint8_t bytes[CR_DRBG_SEED + SANDBOX_PROFILE_LEN + 1];
    struct wr w = wr_to(bytes, sizeof bytes);

    memset(wr_room(&w, CR_DRBG_SEED), 7, CR_DRBG_SEED);
    tpm_profile_write(&w, &profile);
    wr_put8(&w, with_ek);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof bytes);
    box_ask(sb, box, SANDBOX_MANUFACTURE, bytes, sizeof bytes);
}

void box_power_on(struct sb *sb, struct box *box, uint8_t startup, uint64_t now_us)
{
    uint8_t bytes[10];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put64(&w, now_us);
    wr_put8(&w, startup);
    wr_put8(&w, 0);
    box_ask(sb, box, SANDBOX_POWER_ON, bytes, sizeof bytes);
}

void box_measured_on(struct sb *sb, struct box *box, uint8_t startup, const void *digests, size_t count)
{
    uint8_t bytes[10 + 255 * SANDBOX_MEASURE_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put64(&w, 1000);
    wr_put8(&w, startup);
    wr_put8(&w, (uint8_t)count);
    wr_copy(&w, digests, count * SANDBOX_MEASURE_LEN);
    assert_false(w.bad);
    box_ask(sb, box, SANDBOX_POWER_ON, bytes, w.len);
}

void box_execute(struct sb *sb, struct box *box, const void *command, size_t len)
{
    uint8_t bytes[TPM_BUFFER + 64];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put8(&w, 2);
    wr_put64(&w, 0x0102030405060708);
    wr_put32(&w, (uint32_t)len);
    wr_copy(&w, command, len);
    box_ask(sb, box, SANDBOX_EXECUTE, bytes, w.len);
}

static void put_blob(struct wr *w, const struct tpm_blob *blob)
{
    wr_put32(w, blob->len);
    wr_copy(w, blob->data, blob->len);
}

void box_thaw(struct sb *sb, struct box *box, uint8_t entropy, const struct tpm_blob *permanent,
              const struct tpm_blob *volatile_state)
{
    static uint8_t bytes[SANDBOX_FRAME_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    memset(wr_room(&w, 32), entropy, 32);
    put_blob(&w, permanent);
    put_blob(&w, volatile_state);
    assert_false(w.bad);
    box_ask(sb, box, SANDBOX_THAW, bytes, w.len);
}

pid_t box_pid(struct sb *sb, struct box *box)
{
    for (int i = 0; i < 1000 && !engine_pid(box->engine); i++)
        sb_run_for(sb, 10);
    assert_true(engine_pid(box->engine) > 0);
    return engine_pid(box->engine);
}

void box_misbehave(struct box *box, uint8_t deed)
{
    box_send(box, SANDBOX_MISBEHAVE, &deed, 1);
}

void box_wait_gone(struct sb *sb, struct box *box)
{
    assert_true(sb_until(sb, &box->gone, 1, 20000));
}

int count_fds(pid_t pid)
{
    char path[64];
    DIR *dir;
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

bool fds_become(pid_t pid, int count)
{
    for (int i = 0; i < 200; i++) {
        if (count_fds(pid) == count)
            return true;
        usleep(10000);
    }
    return false;
}

bool process_ends(pid_t pid)
{
    for (int i = 0; i < 3000; i++) {
        if (kill(pid, 0) && errno == ESRCH)
            return true;
        usleep(10000);
    }
    return false;
}
