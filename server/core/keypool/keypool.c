/* SPDX-License-Identifier: Apache-2.0 */
/* The key makers, and what they work on next. */
#include "server/core/keypool/keypool_priv.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/sandbox/keys.h"

#define MAKERS_MOST    64u
/* A maker without a key after so long is none. Behind busy sandboxes it has a tenth of a processor. */
#define MAKER_LIMIT_MS 120000
/* A maker that has nothing to do leaves after this; and after so many keys, long before its limit of CPU time. */
#define REST_MS        10000
#define MAKER_KEYS     512
#define RETRY_MS       100ull
#define RETRY_MAX_MS   10000ull
/* So many deaths in a row, and nobody waits for makers any longer; under one wish fewer. */
#define DEATHS_MAX      3u
#define WISH_DEATHS_MAX 2u

struct maker {
    struct keypool *pool;
    struct engine *engine;      /* NULL: there is no process */
    bool is_busy;
    unsigned bits;              /* of what it makes */
    uint32_t e;
    struct keypool_wish *wish;  /* for which it does; NULL: for the pool */
    unsigned made;
};

struct keypool {
    struct loop *loop;
    struct zygote *zygote;
    struct shelf shelf;
    struct queue queue;
    struct takes takes;
    struct loop_timer *fill, *retry, *rest, *tell;
    bool is_off;
    bool is_filling, is_stopping;
    bool is_held;               /* until `retry`: makers died */
    bool eager_is_next;         /* when both the pool and an eager owner want a maker */
    unsigned deaths;            /* in a row, without a key in between */
    uint64_t made, taken, ordered;
    unsigned maker_count;
    struct maker makers[MAKERS_MOST];
};

static void pump(struct keypool *pool);

/* ---- What is to be done next ---- */

static unsigned being_made(const struct keypool *pool, enum keypool_size size)
{
    unsigned count = 0;

    for (unsigned i = 0; i < pool->maker_count; i++) {
        const struct maker *maker = &pool->makers[i];

        count += maker->is_busy && !maker->wish && shelf_size_of(maker->bits, maker->e) == size;
    }
    return count;
}

/* The size of which the smaller part is there; KEYPOOL_SIZES: it is full, or not to be filled yet. */
static enum keypool_size lowest(const struct keypool *pool)
{
    const struct shelf *shelf = &pool->shelf;
    unsigned best = KEYPOOL_SIZES, best_have = 0;

    for (unsigned size = 0; pool->is_filling && size < KEYPOOL_SIZES; size++) {
        unsigned have = shelf->level[size] + being_made(pool, size);

        if (have < shelf->size[size] &&
            (best == KEYPOOL_SIZES || have * shelf->size[best] < best_have * shelf->size[size])) {
            best = size;
            best_have = have;
        }
    }
    return best;
}

/* *refill: what the pool itself wants if it is the pool's turn. */
static struct keypool_wish *next_wish(struct keypool *pool, enum keypool_size *refill)
{
    struct keypool_wish *wish = queue_first(&pool->queue, false);

    *refill = lowest(pool);
    if (wish)
        return wish;
    wish = queue_first(&pool->queue, true);
    if (!wish || *refill == KEYPOOL_SIZES)
        return wish;
    pool->eager_is_next = !pool->eager_is_next;
    return pool->eager_is_next ? NULL : wish;
}

/* ---- Makers ---- */

/* Who waits in vain is told from the loop. */
static void hold(struct keypool *pool)
{
    loop_timer_start(pool->tell, 0);
    if (pool->is_held)
        return; /* one cause, however many died of it */
    pool->is_held = true;
    pool->deaths++;
    loop_timer_start(pool->retry, VT_MIN(RETRY_MS << VT_MIN(pool->deaths - 1, 16u), RETRY_MAX_MS));
}

static void release(struct maker *maker)
{
    engine_free(maker->engine);
    maker->engine = NULL;
    maker->made = 0;
}

/* Its wish is the next one's first. */
static void lost(struct maker *maker, const char *why)
{
    struct keypool *pool = maker->pool;
    struct keypool_wish *wish = maker->wish;

    vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_NUMBER("deaths", pool->deaths + 1), VT_NUMBER("waiting", pool->queue.count)),
                "keys: a key maker is gone: %s", why);
    release(maker);
    maker->is_busy = false;
    maker->wish = NULL;
    if (wish) {
        wish->maker = NULL;
        wish->deaths++;
        queue_put_back(&pool->queue, wish);
    }
    hold(pool);
}

static void on_gone(void *arg, const char *why)
{
    struct maker *maker = arg;

    lost(maker, why);
    pump(maker->pool);
}

static void end(struct keypool_wish *wish, int err, const struct cr_rsa_key *key)
{
    void (*done)(void *arg, int err, const struct cr_rsa_key *key) = wish->done;
    void *arg = wish->arg;

    queue_remove(&wish->pool->queue, wish);
    if (!err)
        takes_note(&wish->pool->takes, &wish->owner, loop_now_us());
    vt_free(wish);
    done(arg, err, key);
}

/* The last quarter is not for eager owners. */
static bool may_take(const struct keypool *pool, enum keypool_size size, bool is_eager)
{
    return size < KEYPOOL_SIZES && pool->shelf.level[size] > (is_eager ? pool->shelf.size[size] / 4 : 0);
}

/* What a maker made for the pool, or for somebody who has left. */
static void keep(struct keypool *pool, unsigned bits, uint32_t e, const struct cr_rsa_key *key)
{
    enum keypool_size size = shelf_size_of(bits, e);
    struct keypool_wish *wish = queue_find(&pool->queue, false, bits, e);

    if (wish) {
        pool->ordered++;
        end(wish, VT_OK, key);
        return;
    }
    if (size < KEYPOOL_SIZES && pool->shelf.level[size] < pool->shelf.size[size])
        shelf_put(&pool->shelf, size, key);
    wish = queue_find(&pool->queue, true, bits, e);
    if (wish && may_take(pool, size, true)) {
        CR_SECRET_RSA taken;

        shelf_take(&pool->shelf, size, &taken);
        pool->taken++;
        end(wish, VT_OK, &taken);
    }
}

static void made(struct maker *maker, const struct cr_rsa_key *key)
{
    struct keypool *pool = maker->pool;
    struct keypool_wish *wish = maker->wish;

    pool->deaths = 0;
    pool->made++;
    maker->is_busy = false;
    maker->wish = NULL;
    if (++maker->made == MAKER_KEYS)
        release(maker);
    if (wish) {
        pool->ordered++;
        end(wish, VT_OK, key);
    } else {
        keep(pool, maker->bits, maker->e, key);
    }
}

/* It never saw a guest's byte; but what it says is read like what anyone says. */
static void on_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    struct maker *maker = arg;
    struct rd r = rd_from(payload, len);
    CR_SECRET_RSA key = {.pub = {0}};
    int err = (int32_t)rd_get32(&r);

    if (!maker->is_busy || type != SANDBOX_KEY_MADE || r.bad)
        lost(maker, "what it says is no answer");
    else if (err)
        lost(maker, err == VT_ENOMEM ? vt_err_text(err) : "it could not make a key");
    else if (!sandbox_rd_key(&r, &key, maker->bits, maker->e))
        lost(maker, "what it made is not the key that was wanted");
    else
        made(maker, &key);
    pump(maker->pool);
}

static const struct engine_ops ops = {.on_reply = on_reply, .on_gone = on_gone};

/* A seed of its own for each key. */
static int order(struct maker *maker)
{
    uint8_t bytes[CR_DRBG_SEED + SANDBOX_KEY_ASK_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_slice part = CR_SLICE(bytes, sizeof bytes);
    int err = cr_key_random(wr_room(&w, CR_DRBG_SEED), CR_DRBG_SEED);

    wr_put32(&w, maker->bits);
    wr_put32(&w, maker->e);
    if (!err)
        err = engine_request(maker->engine, SANDBOX_KEY_MAKE, &part, 1);
    vt_wipe(bytes, sizeof bytes);
    return err;
}

/* For a wish, which leaves the queue, or for the pool. */
static void start(struct maker *maker, struct keypool_wish *wish, enum keypool_size refill)
{
    struct keypool *pool = maker->pool;
    int err = VT_OK;

    if (wish) {
        queue_remove(&pool->queue, wish);
        wish->maker = maker;
    }
    maker->wish = wish;
    maker->bits = wish ? wish->bits : shelf_bits(refill);
    maker->e = wish ? wish->e : KEYPOOL_EXPONENT;
    if (!maker->engine)
        err = engine_spawn_maker(pool->zygote, &ops, maker, MAKER_LIMIT_MS, &maker->engine);
    if (!err)
        err = order(maker);
    maker->is_busy = true;
    if (err)
        lost(maker, err == VT_ECLOSED ? "it had ended before" : vt_err_text(err));
}

/* One that is there, or may be started; NULL: none. */
static struct maker *idle_maker(struct keypool *pool)
{
    struct maker *startable = NULL;

    for (unsigned i = 0; i < pool->maker_count; i++) {
        struct maker *maker = &pool->makers[i];

        if (maker->engine && !maker->is_busy)
            return maker;
        if (!maker->engine && !startable)
            startable = maker;
    }
    return pool->is_held ? NULL : startable;
}

static void pump(struct keypool *pool)
{
    struct maker *maker;

    while ((maker = idle_maker(pool)) != NULL) {
        enum keypool_size refill;
        struct keypool_wish *wish = next_wish(pool, &refill);

        if (!wish && refill == KEYPOOL_SIZES)
            break;
        start(maker, wish, refill);
    }
    if (maker && maker->engine)
        loop_timer_start(pool->rest, pool->is_stopping ? 0 : REST_MS);
}

/* ---- Timers ---- */

static void on_fill(void *arg)
{
    struct keypool *pool = arg;

    pool->is_filling = true;
    pump(pool);
}

static void on_retry(void *arg)
{
    struct keypool *pool = arg;

    pool->is_held = false;
    pump(pool);
}

/* Nobody has anything for them. */
static void on_rest(void *arg)
{
    struct keypool *pool = arg;

    for (unsigned i = 0; i < pool->maker_count; i++)
        if (!pool->makers[i].is_busy)
            release(&pool->makers[i]);
}

static bool is_hopeless(const struct keypool *pool, const struct keypool_wish *wish)
{
    return pool->deaths >= DEATHS_MAX || wish->deaths >= WISH_DEATHS_MAX;
}

static struct keypool_wish *find_hopeless(struct keypool *pool)
{
    struct vt_list *const lists[] = {&pool->queue.modest, &pool->queue.eager};

    for (size_t i = 0; i < VT_COUNT(lists); i++)
        VT_LIST_EACH(lists[i], node) {
            struct keypool_wish *wish = VT_LIST_ENTRY(node, struct keypool_wish, node);

            if (is_hopeless(pool, wish))
                return wish;
        }
    return NULL;
}

static void on_tell(void *arg)
{
    struct keypool *pool = arg;
    struct keypool_wish *wish;

    while (pool->is_held && (wish = find_hopeless(pool)) != NULL)
        end(wish, VT_EUNAVAILABLE, NULL);
}

/* ---- What others may ask ---- */

static bool is_administrator(const struct vt_uuid *owner)
{
    static const struct vt_uuid none;

    return vt_uuid_equal(owner, &none);
}

int keypool_ask(struct keypool *pool, const struct vt_uuid *owner, unsigned bits, uint32_t e, struct cr_rsa_key *key,
                void (*done)(void *arg, int err, const struct cr_rsa_key *key), void *arg, struct keypool_wish **out)
{
    const bool is_eager = !is_administrator(owner) && takes_has(&pool->takes, owner, loop_now_us());
    const enum keypool_size size = shelf_size_of(bits, e);
    struct keypool_wish *wish;

    *out = NULL;
    if (may_take(pool, size, is_eager)) {
        shelf_take(&pool->shelf, size, key);
        takes_note(&pool->takes, owner, loop_now_us());
        pool->taken++;
        pump(pool);
        return VT_OK;
    }
    if (pool->is_off || (pool->is_held && pool->deaths >= DEATHS_MAX) || !(wish = VT_NEW(struct keypool_wish)))
        return VT_EUNAVAILABLE;
    *wish = (struct keypool_wish){
        .pool = pool, .owner = *owner, .bits = bits, .e = e, .is_eager = is_eager, .done = done, .arg = arg};
    vt_list_init(&wish->node);
    vt_list_init(&wish->behind);
    queue_add(&pool->queue, wish);
    *out = wish;
    pump(pool);
    return VT_EAGAIN;
}

void keypool_cancel(struct keypool_wish *wish)
{
    if (!wish)
        return;
    if (wish->maker)
        wish->maker->wish = NULL;
    queue_remove(&wish->pool->queue, wish);
    vt_free(wish);
}

void keypool_facts(const struct keypool *pool, struct keypool_facts *facts)
{
    *facts = (struct keypool_facts){
        .made = pool->made, .taken = pool->taken, .ordered = pool->ordered, .waiting = pool->queue.count};
    for (unsigned size = 0; size < KEYPOOL_SIZES; size++) {
        facts->size[size] = pool->shelf.size[size];
        facts->level[size] = pool->shelf.level[size];
    }
    for (unsigned i = 0; i < pool->maker_count; i++) {
        facts->makers += pool->makers[i].engine != NULL;
        facts->waiting += pool->makers[i].wish != NULL;
    }
}

/* ---- Life ---- */

static int parse_count(unsigned *count, const char *text, size_t len, struct vt_why *why)
{
    char number[8];
    uint64_t value;

    snprintf(number, sizeof number, "%.*s", (int)VT_MIN(len, sizeof number - 1), text);
    if (!vt_parse_u64(&value, number, KEYPOOL_MOST))
        return vt_fail(why, VT_EUSAGE, "'%s' is not a number of keys from 0 to %d", number, KEYPOOL_MOST);
    *count = (unsigned)value;
    return VT_OK;
}

int keypool_parse(struct keypool_config *config, const char *text, struct vt_why *why)
{
    struct vt_why reason = {0};
    size_t len = strcspn(text, ",");
    int err = parse_count(&config->size[KEYPOOL_2048], text, len, &reason);

    config->size[KEYPOOL_1024] = 0;
    if (!err && text[len])
        err = parse_count(&config->size[KEYPOOL_1024], text + len + 1, strlen(text + len + 1), &reason);
    return err ? vt_fail(why, err, "--key-pool %.40s: %s; for instance: 16,4 (of 2048 and of 1024 bits), or 0", text,
                         reason.text)
               : VT_OK;
}

/* All but one: that one is for sandboxes and the broker. */
static unsigned makers_by_processors(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

    return count > 2 ? (unsigned)count - 1 : 1;
}

static int make_timers(struct keypool *pool)
{
    int err = loop_timer_new(pool->loop, &pool->fill, on_fill, pool);

    if (!err)
        err = loop_timer_new(pool->loop, &pool->retry, on_retry, pool);
    if (!err)
        err = loop_timer_new(pool->loop, &pool->rest, on_rest, pool);
    return err ? err : loop_timer_new(pool->loop, &pool->tell, on_tell, pool);
}

int keypool_new(struct keypool **out, struct loop *loop, struct zygote *zygote, const struct keypool_config *config)
{
    struct keypool *pool = VT_NEW(struct keypool);
    struct vt_why why = {""};

    if (!pool)
        return VT_ENOMEM;
    pool->loop = loop;
    pool->zygote = zygote;
    queue_init(&pool->queue);
    pool->maker_count = VT_MIN(config->makers ? config->makers : makers_by_processors(), MAKERS_MOST);
    for (unsigned i = 0; i < pool->maker_count; i++)
        pool->makers[i].pool = pool;
    if (make_timers(pool)) {
        keypool_free(pool);
        return VT_ENOMEM;
    }
    pool->is_off = !config->size[KEYPOOL_2048] && !config->size[KEYPOOL_1024];
    if (!pool->is_off && shelf_make(&pool->shelf, config->size, &why)) {
        vt_warning("keys: there is no key pool, engines make their keys themselves: %s", why.text);
        pool->is_off = true;
    }
    if (!pool->is_off)
        loop_timer_start(pool->fill, config->wait_ms);
    *out = pool;
    return VT_OK;
}

void keypool_stop(struct keypool *pool)
{
    pool->is_filling = false;
    pool->is_stopping = true;
    loop_timer_stop(pool->fill);
    for (unsigned i = 0; i < pool->maker_count; i++) {
        struct maker *maker = &pool->makers[i];

        if (maker->wish)
            continue;
        release(maker);
        maker->is_busy = false;
    }
    pump(pool);
}

void keypool_free(struct keypool *pool)
{
    if (!pool)
        return;
    assert(!pool->queue.count);
    for (unsigned i = 0; i < pool->maker_count; i++)
        release(&pool->makers[i]);
    loop_timer_free(pool->fill);
    loop_timer_free(pool->retry);
    loop_timer_free(pool->rest);
    loop_timer_free(pool->tell);
    shelf_free(&pool->shelf);
    vt_free_wiped(pool, sizeof *pool);
}
