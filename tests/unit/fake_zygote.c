/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_zygote.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/list.h"
#include "server/core/zygote.h"
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"

#define VOLATILE_MIN  12
#define PERMANENT_LEN 13

struct fake fake;

struct zygote {
    struct loop *loop;
    struct loop_timer *timer;
    struct zygote_config config;
    bool is_ready;
};

struct fake_tpm {
    bool is_on, is_started, has_ek, has_certificate;
    uint64_t volatile_count, permanent_count;
    uint32_t volatile_len;
};

struct engine {
    struct vt_list node;
    struct zygote *zygote;
    const struct engine_ops *ops;
    void *arg;
    pid_t pid;
    struct loop_timer *timer;
    bool is_busy, is_gone, dies, killed, is_maker;
    uint8_t suspended; /* the request in whose middle it asked for a key */
    uint8_t *request;
    uint8_t type;
    size_t len;
    struct fake_tpm tpm;
};

static struct vt_list engines = {&engines, &engines};

void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.grown = VOLATILE_MIN;
    fake.key_bits = 2048;
}

/* ---- The TPM ---- */

static void put_tpm(struct wr *w, const struct fake_tpm *t, unsigned dirty)
{
    if (dirty & TPM_DIRTY_VOLATILE) {
        wr_put32(w, t->volatile_len);
        wr_put32(w, 0x46564f4c);
        wr_put64(w, t->volatile_count);
        for (size_t i = VOLATILE_MIN; i < t->volatile_len; i++)
            wr_put8(w, (uint8_t)i);
    } else {
        wr_put32(w, 0);
    }
    if (dirty & TPM_DIRTY_PERMANENT) {
        wr_put32(w, PERMANENT_LEN);
        wr_put32(w, 0x4650524d);
        wr_put64(w, t->permanent_count);
        wr_put8(w, (uint8_t)(t->has_ek | t->has_certificate << 1));
    } else {
        wr_put32(w, 0);
    }
}

static int thaw(struct fake_tpm *t, struct rd *r)
{
    uint32_t permanent_len, volatile_len;
    uint8_t flags;
    bool sane;

    rd_take(r, 32);
    permanent_len = rd_get32(r);
    sane = permanent_len == PERMANENT_LEN && rd_get32(r) == 0x4650524d;
    t->permanent_count = rd_get64(r);
    flags = rd_get8(r);
    t->has_ek = flags & 1;
    t->has_certificate = flags & 2;
    volatile_len = rd_get32(r);
    t->is_on = volatile_len != 0;
    t->volatile_len = VT_MAX(volatile_len, VOLATILE_MIN);
    if (volatile_len) {
        sane = sane && rd_get32(r) == 0x46564f4c;
        t->volatile_count = rd_get64(r);
        rd_take(r, volatile_len - VOLATILE_MIN);
    }
    return sane && rd_done(r) && !fake.refuse_thaw ? VT_OK : VT_EDAMAGED;
}

static unsigned run(struct fake_tpm *t, uint32_t ordinal, uint32_t *rc)
{
    *rc = 0;
    switch (ordinal) {
    case FAKE_STARTUP:
        *rc = t->is_started ? 38 : 0;
        t->is_started = true;
        return TPM_DIRTY_VOLATILE;
    case FAKE_READ:
        return 0;
    case FAKE_BUMP_VOLATILE:
        t->volatile_count++;
        return TPM_DIRTY_VOLATILE;
    case FAKE_BUMP_PERMANENT:
        t->permanent_count++;
        return TPM_DIRTY_PERMANENT;
    case FAKE_BUMP_BOTH:
        t->volatile_count++;
        t->permanent_count++;
        return TPM_DIRTY_VOLATILE | TPM_DIRTY_PERMANENT;
    case FAKE_GROW:
        t->volatile_len = fake.grown;
        return TPM_DIRTY_VOLATILE;
    case FAKE_MAKE_EK:
        t->has_ek = true;
        return TPM_DIRTY_PERMANENT;
    default:
        *rc = 10; /* TPM_BAD_ORDINAL */
        return 0;
    }
}

/* ---- One request ---- */

struct answer {
    unsigned dirty;
    uint8_t response[24 * CR_SHA1_LEN]; /* the longest: PCR_READ */
    size_t response_len;
};

static void respond(struct answer *a, const struct fake_tpm *t, uint32_t rc)
{
    struct wr w = wr_to(a->response, sizeof a->response);

    wr_put16(&w, 0x00C4);
    wr_put32(&w, FAKE_RESPONSE);
    wr_put32(&w, rc);
    wr_put64(&w, t->volatile_count);
    wr_put64(&w, t->permanent_count);
    a->response_len = FAKE_RESPONSE;
}

static void execute(struct fake_tpm *t, struct rd *r, struct answer *a)
{
    uint32_t ordinal, rc;

    rd_take(r, 1 + 8 + 4 + 6);
    ordinal = rd_get32(r);
    a->dirty = run(t, ordinal, &rc);
    respond(a, t, rc);
    fake.executed++;
}

static void power_on(struct fake_tpm *t, struct rd *r, struct answer *a)
{
    uint8_t startup;

    rd_take(r, 8);
    startup = rd_get8(r);
    t->is_on = true;
    t->is_started = startup != SANDBOX_STARTUP_NONE;
    t->volatile_count = 0;
    t->volatile_len = VOLATILE_MIN;
    /* Each digest's PCR and first byte, in order. */
    for (uint8_t left = rd_get8(r); left; left--) {
        t->volatile_count = t->volatile_count * 100 + rd_get8(r);
        t->volatile_count = t->volatile_count * 10 + rd_get8(r);
        rd_take(r, CR_SHA1_LEN - 1);
        fake.extended++;
    }
    assert(rd_done(r));
    if (t->is_started)
        respond(a, t, startup == SANDBOX_STARTUP_STATE && !fake.has_state ? 9 : 0);
    fake.powered_on++;
}

static void platform(struct fake_tpm *t, struct rd *r, struct answer *a)
{
    struct wr w = wr_to(a->response, 5);

    (void)r;
    t->volatile_count += 100;
    t->permanent_count += 100;
    a->dirty = TPM_DIRTY_VOLATILE | TPM_DIRTY_PERMANENT;
    wr_put32(&w, 0);
    wr_put8(&w, 1);
    a->response_len = 5;
    fake.inits++;
}

static void ek_read(const struct fake_tpm *t, struct answer *a)
{
    struct wr w = wr_to(a->response, sizeof a->response);

    wr_put32(&w, t->has_ek ? 2 : 0);
    if (t->has_ek)
        wr_put16(&w, 0xE5E5);
    wr_put32(&w, t->has_ek ? 65537 : 0);
    wr_put32(&w, t->has_certificate ? 4 : 0);
    if (t->has_certificate)
        wr_put32(&w, 0x30020500);
    a->dirty = 0;
    a->response_len = w.len;
}

/* A certificate's first byte is the verdict of a TPM with an EK and without a certificate. */
static void ek_install(struct fake_tpm *t, struct rd *r, struct answer *a)
{
    const uint8_t *der = rd_take(r, rd_get32(r));
    uint8_t verdict = !t->has_ek ? SANDBOX_EK_NO_KEY : t->has_certificate ? SANDBOX_EK_TOO_LATE : der[0];

    assert(rd_done(r));
    t->has_certificate = t->has_certificate || !verdict;
    a->dirty = verdict ? 0 : TPM_DIRTY_PERMANENT;
    a->response[0] = verdict;
    a->response_len = 1;
    fake.certificates++;
}

static void reply_state(struct engine *e, const struct answer *a)
{
    bool garbled = e->type != SANDBOX_THAW && fake.garbage_count;
    enum fake_garbage garbage = garbled ? fake.garbage : GARBAGE_NONE;
    size_t cap = sizeof a->response + e->tpm.volatile_len + PERMANENT_LEN + 64;
    uint8_t *bytes = malloc(cap), type = SANDBOX_STATE;
    struct wr w = wr_to(bytes, cap);
    unsigned dirty = a->dirty;
    size_t len;

    fake.garbage_count -= garbled;
    wr_put8(&w, garbage == GARBAGE_DIRTY ? 0x80 : (uint8_t)(garbage == GARBAGE_NO_PERMANENT ? 3 : dirty));
    wr_put8(&w, e->tpm.is_on);
    wr_put8(&w, e->tpm.has_ek);
    for (size_t i = 0; i < CR_SHA256_LEN; i++)
        wr_put8(&w, e->tpm.has_ek ? 0xee : 0);
    wr_put32(&w, garbage == GARBAGE_HUGE       ? 0x7fffffff
                 : garbage == GARBAGE_RESPONSE ? 9
                                               : (uint32_t)a->response_len);
    wr_copy(&w, a->response, garbage == GARBAGE_RESPONSE ? 9 : a->response_len);
    put_tpm(&w, &e->tpm, garbage == GARBAGE_NO_PERMANENT ? TPM_DIRTY_VOLATILE : dirty);
    assert(!w.bad);
    len = w.len;
    if (garbage == GARBAGE_SHORT)
        len--;
    if (garbage == GARBAGE_LONG)
        bytes[len++] = 0;
    if (garbage == GARBAGE_EMPTY)
        len = 0;
    if (garbage == GARBAGE_TYPE)
        type = 77;
    if (garbage == GARBAGE_FAILED) {
        memset(bytes, 0xff, len);
        type = SANDBOX_FAILED;
    }
    e->ops->on_reply(e->arg, type, bytes, len);
    free(bytes);
}

static void reply_failed(struct engine *e, int err, const char *text)
{
    uint8_t bytes[64];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, (uint32_t)err);
    wr_copy(&w, text, strlen(text));
    e->ops->on_reply(e->arg, SANDBOX_FAILED, bytes, w.len);
}

static bool is_witness(const struct engine *e)
{
    struct rd r = rd_from(e->request, e->len);

    rd_take(&r, 1 + 8 + 4 + 6);
    return e->type == SANDBOX_EXECUTE && rd_get32(&r) == FAKE_WITNESS;
}

static void ask_evidence(struct engine *e)
{
    uint8_t bytes[32 + 4 + 4 + 24 * CR_SHA1_LEN + 8] = {0};

    fake.asked++;
    bytes[35] = 1;
    bytes[39] = fake.ask_host;
    if (fake.witness_deaths) {
        fake.witness_deaths--;
        e->dies = true;
        loop_timer_start(e->timer, 0);
    }
    e->ops->on_reply(e->arg, SANDBOX_EVIDENCE, bytes, sizeof bytes - 8 + fake.ask_extra);
}

static void told(struct engine *e, struct rd *r)
{
    struct answer a = {.dirty = 0, .response_len = FAKE_RESPONSE};
    struct wr w = wr_to(a.response, sizeof a.response);

    fake.told_err = (int32_t)rd_get32(r);
    fake.told_len = r->left;
    if (fake.asks_twice) {
        ask_evidence(e);
        return;
    }
    fake.executed++;
    wr_put16(&w, 0xC4);
    wr_put32(&w, FAKE_RESPONSE);
    wr_put32(&w, 0);
    wr_put64(&w, e->tpm.volatile_count);
    wr_put64(&w, e->tpm.permanent_count);
    reply_state(e, &a);
}

/* Seed, profile, key, and a file of one byte: a TPM with an endorsement key. Any other: refused. */
static int swtpm(struct engine *e, struct rd *r, struct answer *a)
{
    struct wr w = wr_to(a->response, sizeof a->response);
    struct tpm_swtpm_facts facts = {.has_ek = true};
    struct tpm_swtpm_key key;
    struct tpm_blob file;

    rd_take(r, CR_DRBG_SEED + SANDBOX_PROFILE_LEN);
    sandbox_rd_swtpm_key(r, &key);
    sandbox_rd_blob(r, &file, TPM_SWTPM_FILE_MAX);
    assert(rd_done(r));
    facts.counters = key.len;
    facts.families = key.derived;
    if (file.len != 1)
        return VT_EDAMAGED;
    e->tpm = (struct fake_tpm){.volatile_len = VOLATILE_MIN, .has_ek = true};
    sandbox_wr_swtpm_facts(&w, &facts);
    a->response_len = w.len;
    return VT_OK;
}

static bool wants_key(const struct engine *e)
{
    struct rd r = rd_from(e->request, e->len);

    if (e->type == SANDBOX_MANUFACTURE)
        return fake.ek_asks && e->request[e->len - 1];
    rd_take(&r, 1 + 8 + 4 + 6);
    return e->type == SANDBOX_EXECUTE && rd_get32(&r) == FAKE_KEY;
}

static void ask_key(struct engine *e)
{
    uint8_t bytes[SANDBOX_KEY_ASK_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    fake.key_asked++;
    e->suspended = e->type == SANDBOX_KEY_IS ? e->suspended : e->type;
    wr_put32(&w, fake.key_bits);
    wr_put32(&w, 65537);
    if (fake.key_deaths) {
        fake.key_deaths--;
        e->dies = true;
        loop_timer_start(e->timer, 5);
    }
    e->ops->on_reply(e->arg, SANDBOX_KEY, bytes, sizeof bytes);
}

static void key_told(struct engine *e, struct rd *r, struct answer *a)
{
    struct cr_rsa_key key;
    uint32_t rc;

    fake.key_err = (int32_t)rd_get32(r);
    if (!fake.key_err) {
        if (!sandbox_rd_key(r, &key, fake.key_bits, 65537))
            abort();
        fake.key_told++;
        fake.key_first = key.pub.n[1];
    }
    if (e->suspended == SANDBOX_MANUFACTURE) {
        e->tpm = (struct fake_tpm){.volatile_len = VOLATILE_MIN, .has_ek = true};
        return;
    }
    a->dirty = run(&e->tpm, FAKE_BUMP_BOTH, &rc);
    respond(a, &e->tpm, rc);
    fake.executed++;
}

/* The second byte of its modulus counts. */
static void make_key(struct engine *e)
{
    struct rd r = rd_from(e->request, e->len);
    struct cr_rsa_key key = {.pub = {.n = {0x80, (uint8_t)++fake.made}}};
    uint8_t bytes[4 + SANDBOX_KEY_LEN_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    unsigned bits;

    rd_take(&r, CR_DRBG_SEED);
    if (!sandbox_rd_key_ask(&r, &bits, &key.pub.e))
        abort();
    key.pub.bytes = (uint16_t)(bits / 8);
    key.pub.n[key.pub.bytes - 1] = 1;
    wr_put32(&w, VT_OK);
    sandbox_wr_key(&w, &key);
    e->ops->on_reply(e->arg, SANDBOX_KEY_MADE, bytes, w.len);
}

static void serve(struct engine *e)
{
    struct rd r = rd_from(e->request, e->len);
    struct answer a = {.dirty = TPM_DIRTY_VOLATILE | TPM_DIRTY_PERMANENT};
    int err = VT_OK;

    if (is_witness(e)) {
        ask_evidence(e);
        return;
    }
    if (wants_key(e) || (e->type == SANDBOX_KEY_IS && fake.key_twice)) {
        ask_key(e);
        return;
    }
    switch (e->type) {
    case SANDBOX_KEY_IS:
        key_told(e, &r, &a);
        break;
    case SANDBOX_KEY_MAKE:
        make_key(e);
        return;
    case SANDBOX_EVIDENCE_IS:
        told(e, &r);
        return;
    case SANDBOX_MANUFACTURE:
        e->tpm =
            (struct fake_tpm){.volatile_len = VOLATILE_MIN, .has_ek = e->len && e->request[e->len - 1] != 0};
        break;
    case SANDBOX_SWTPM:
        err = swtpm(e, &r, &a);
        break;
    case SANDBOX_THAW:
        a.dirty = 0;
        err = thaw(&e->tpm, &r);
        fake.thawed++;
        break;
    case SANDBOX_EXECUTE:
        execute(&e->tpm, &r, &a);
        break;
    case SANDBOX_POWER_ON:
        power_on(&e->tpm, &r, &a);
        break;
    case SANDBOX_POWER_OFF:
        e->tpm.is_on = e->tpm.is_started = false;
        break;
    case SANDBOX_PLATFORM:
        platform(&e->tpm, &r, &a);
        break;
    case SANDBOX_EK_READ:
        ek_read(&e->tpm, &a);
        break;
    case SANDBOX_PCR_READ:
        a.response_len = e->tpm.is_on ? 24 * CR_SHA1_LEN : 0;
        memset(a.response, 0x5C, a.response_len);
        a.dirty = 0;
        break;
    case SANDBOX_EK_INSTALL:
        ek_install(&e->tpm, &r, &a);
        break;
    default:
        abort();
    }
    if (err)
        reply_failed(e, err, "the permanent state does not thaw");
    else
        reply_state(e, &a);
}

/* ---- Engines ---- */

static void gone(struct engine *e, const char *why)
{
    assert(!e->is_gone);
    e->is_gone = true;
    e->is_busy = false;
    if (e->is_maker)
        fake.makers--;
    else
        fake.alive--;
    e->ops->on_gone(e->arg, why);
}

static bool must_die(const struct engine *e)
{
    struct rd r = rd_from(e->request, e->len);
    unsigned *crashes = e->type == SANDBOX_THAW ? &fake.thaw_crashes : &fake.crashes;

    if (e->type == SANDBOX_EXECUTE) {
        rd_take(&r, 1 + 8 + 4 + 6);
        if (rd_get32(&r) == FAKE_DIE)
            return true;
    }
    if (!*crashes)
        return false;
    --*crashes;
    return true;
}

static void on_timer(void *arg)
{
    struct engine *e = arg;

    if (e->is_maker && fake.makers_wait && e->is_busy && !e->dies) {
        loop_timer_start(e->timer, 1);
        return;
    }
    if (e->is_maker && fake.maker_deaths) {
        fake.maker_deaths--;
        e->killed = true;
        gone(e, "signal 9");
        return;
    }
    if (fake.kills && !e->is_maker) {
        fake.kills--;
        e->killed = true;
        gone(e, "signal 9");
        return;
    }
    if (e->dies || must_die(e)) {
        gone(e, "signal 11");
        return;
    }
    /* The callee may free the engine. */
    e->is_busy = false;
    serve(e);
}

static int spawn(struct zygote *zygote, const struct engine_ops *ops, void *arg, struct engine **out, bool is_maker)
{
    struct engine *e;
    int err = fake.spawn_err;

    fake.spawn_err = VT_OK;
    if (err)
        return err;
    e = calloc(1, sizeof *e);
    err = loop_timer_new(zygote->loop, &e->timer, on_timer, e);
    if (err) {
        free(e);
        return err;
    }
    e->zygote = zygote;
    e->ops = ops;
    e->arg = arg;
    e->pid = (pid_t)(1000 + ++fake.spawned);
    e->tpm.volatile_len = VOLATILE_MIN;
    e->is_maker = is_maker;
    fake.alive += !is_maker;
    fake.makers += is_maker;
    vt_list_add(&engines, &e->node);
    *out = e;
    return VT_OK;
}

int engine_spawn(struct zygote *zygote, const struct engine_ops *ops, void *arg, struct engine **out)
{
    return spawn(zygote, ops, arg, out, false);
}

int engine_spawn_maker(struct zygote *zygote, const struct engine_ops *ops, void *arg, uint32_t limit_ms,
                       struct engine **out)
{
    (void)limit_ms;
    return spawn(zygote, ops, arg, out, true);
}

int engine_request(struct engine *e, uint8_t type, const struct cr_slice *parts, size_t count)
{
    size_t len = 0;
    int err = fake.request_err;

    fake.request_err = VT_OK;
    if (err)
        return err;
    if (e->is_gone)
        return VT_ECLOSED;
    if (e->is_busy)
        return VT_ECONFLICT;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    free(e->request);
    e->request = calloc(1, len + 1);
    e->len = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len)
            memcpy(e->request + e->len, parts[i].ptr, parts[i].len);
        e->len += parts[i].len;
    }
    e->type = type;
    e->is_busy = true;
    loop_timer_start(e->timer, e->is_maker ? 0 : fake.delay_ms);
    return VT_OK;
}

bool engine_is_busy(const struct engine *e)
{
    return e->is_busy;
}

bool engine_was_killed(const struct engine *e)
{
    return e->killed;
}

pid_t engine_pid(const struct engine *e)
{
    return e->is_gone ? 0 : e->pid;
}

void engine_kill(struct engine *e)
{
    e->dies = true;
    loop_timer_start(e->timer, 0);
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    if (!e->is_gone && e->is_maker)
        fake.makers--;
    else if (!e->is_gone)
        fake.alive--;
    vt_list_remove(&e->node);
    loop_timer_free(e->timer);
    free(e->request);
    free(e);
}

void fake_kill_idle(void)
{
    VT_LIST_EACH(&engines, at)
    {
        struct engine *e = VT_LIST_ENTRY(at, struct engine, node);
        if (!e->is_busy && !e->is_gone && !e->is_maker)
            gone(e, "killed while idle");
    }
}

void fake_speak_unasked(void)
{
    VT_LIST_EACH(&engines, at)
    {
        struct engine *e = VT_LIST_ENTRY(at, struct engine, node);
        if (!e->is_busy && !e->is_gone && !e->is_maker)
            e->ops->on_reply(e->arg, SANDBOX_STATE, NULL, 0);
    }
}

/* ---- The zygote ---- */

static void on_up(void *arg)
{
    struct zygote *z = arg;

    if (fake.zygote_deaths) {
        fake.zygote_deaths--;
        loop_timer_start(z->timer, 1);
        z->config.on_ready(z->config.arg, VT_EIO, "ended before");
        return;
    }
    z->is_ready = !fake.ready_err;
    if (z->config.on_ready)
        z->config.on_ready(z->config.arg, fake.ready_err, fake.ready_err ? "sha1 is wrong" : "fake");
}

int zygote_start(struct zygote **zygote, struct loop *loop, const struct zygote_config *config,
                 struct vt_why *why)
{
    struct zygote *z = calloc(1, sizeof *z);
    int err = loop_timer_new(loop, &z->timer, on_up, z);

    if (err) {
        free(z);
        return vt_fail(why, err, "no timer");
    }
    z->loop = loop;
    z->config = *config;
    loop_timer_start(z->timer, 0);
    *zygote = z;
    return VT_OK;
}

void zygote_free(struct zygote *z)
{
    if (!z)
        return;
    VT_LIST_EACH(&engines, at)
    assert(VT_LIST_ENTRY(at, struct engine, node)->zygote != z);
    loop_timer_free(z->timer);
    free(z);
}

bool zygote_is_ready(const struct zygote *z)
{
    return z->is_ready;
}

pid_t zygote_pid(const struct zygote *z)
{
    return z->is_ready ? 999 : 0;
}
