/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>
#include <uv.h>

#include "proto/relay.h"
#include "server/base/log.h"
#include "server/base/notify.h"
#include "shim-linux/frontend.h"
#include "shim-linux/upstream.h"

/* At SIGTERM a command under way may take this long. */
#define STOP_MS 2000
/* And what was queued for clients and server this long to leave. */
#define FLUSH_MS 1000

struct shim {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_timer_t stop_timer;
    uv_signal_t signals[2];
    const struct options *options;
    const struct credential *credential; /* as it was at the start */
    struct vt_why said;                  /* of the credential file: each complaint is logged once */
    const struct frontend_kind *kind;
    struct frontend *front;
    struct upstream *up;
    struct relay *relay;
    bool stopping;
    bool ended;
    int err;
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static int os_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    while (len) {
        ssize_t n = getrandom(out, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        out += n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_boot_id(uint8_t boot_id[16], struct vt_why *why)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[VT_UUID_TEXT] = "";
    struct vt_uuid uuid;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (n != sizeof text - 1 || !vt_uuid_parse(&uuid, text))
        return vt_fail(why, VT_EIO, "%s cannot be read: is /proc mounted?", path);
    memcpy(boot_id, uuid.bytes, sizeof uuid.bytes);
    return VT_OK;
}

/* ---- Driving ---- */

static void close_handle(uv_handle_t *handle, void *arg VT_UNUSED)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Everything of ours is closed; what is queued still leaves, for a bounded time. */
static void end(struct shim *shim, int err)
{
    if (shim->ended)
        return;
    shim->ended = true;
    shim->err = err;
    shim->kind->close(shim->front);
    upstream_close(shim->up);
    uv_close((uv_handle_t *)&shim->timer, NULL);
    close_handle((uv_handle_t *)&shim->signals[0], NULL);
    close_handle((uv_handle_t *)&shim->signals[1], NULL);
}

/* One command or response moves on; false: nothing to do. */
static bool move_commands(struct shim *shim)
{
    static const uint8_t retry[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0x08, 0x00};
    const uint8_t *bytes;
    uint32_t locality;
    size_t len;

    if (relay_response(shim->relay, &bytes, &len)) {
        shim->kind->respond(shim->front, bytes, len);
        relay_answered(shim->relay);
        return true;
    }
    if (relay_busy(shim->relay) || !shim->kind->take(shim->front, &locality, &bytes, &len))
        return false;
    /* Only memory can fail here: the guest may try again. */
    if (relay_submit(shim->relay, now_ms(), locality, bytes, len))
        shim->kind->respond(shim->front, retry, sizeof retry);
    return true;
}

static int read_again(const struct shim *shim, struct credential *now, struct vt_why *why)
{
    int err = credential_read(now, shim->options->credential, why);

    /* Another instance's file, put there by mistake, must not give this guest another TPM. */
    if (!err && strcmp(now->identity, shim->credential->identity) != 0)
        err = vt_fail(why, VT_EUSAGE, "%s: it is of %s now, not of %s: start the shim again if that is meant",
                      shim->options->credential, now->identity, shim->credential->identity);
    return err;
}

/* `vtpmctl credential rotate` and a new file in the place of the old one are all that is needed. */
static void renew_key(struct shim *shim)
{
    struct vt_why why = {{0}};
    struct credential now;

    if (read_again(shim, &now, &why)) {
        if (strcmp(why.text, shim->said.text) != 0)
            vt_warning("shim: the key stays as it was: %s", why.text);
        shim->said = why;
    } else if (relay_set_key(shim->relay, &now.key)) {
        vt_notice("shim: %s has a new key", shim->options->credential);
    }
    credential_wipe(&now);
}

static void connect_upstream(struct shim *shim)
{
    struct vt_why why = {{0}};

    if (relay_key_refused(shim->relay))
        renew_key(shim);
    if (upstream_connect(shim->up, &why))
        relay_disconnected(shim->relay, now_ms(), why.text);
}

static void flush(struct shim *shim)
{
    struct vt_buf *out = relay_output(shim->relay);

    if (out)
        upstream_send(shim->up, out);
}

/* Does what the relay says; false when it says: wait. */
static bool follow(struct shim *shim, uint64_t *wake)
{
    enum relay_act act = relay_drive(shim->relay, now_ms(), wake);

    flush(shim);
    if (act == RELAY_CONNECT)
        connect_upstream(shim);
    if (act == RELAY_CLOSE) {
        upstream_close(shim->up);
        relay_disconnected(shim->relay, now_ms(), NULL);
    }
    if (act == RELAY_ENDED)
        end(shim, relay_ended(shim->relay));
    return act != RELAY_WAIT && !shim->ended;
}

static void on_timer(uv_timer_t *timer);

/* After every event. */
static void drive(struct shim *shim)
{
    uint64_t wake = UINT64_MAX, now;

    if (shim->ended)
        return;
    do {
        while (move_commands(shim))
            ;
        /* Nothing was there to finish, or it is finished now. */
        if (shim->stopping && (!relay_busy(shim->relay) || !relay_attached(shim->relay)))
            relay_detach(shim->relay, false);
    } while (follow(shim, &wake));
    if (shim->ended)
        return;
    if (relay_response(shim->relay, &(const uint8_t *){NULL}, &(size_t){0}))
        wake = 0;
    now = now_ms();
    if (wake == UINT64_MAX)
        uv_timer_stop(&shim->timer);
    else
        uv_timer_start(&shim->timer, on_timer, wake > now ? wake - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    drive(timer->data);
}

/* ---- Events ---- */

static void on_connected(void *ctx)
{
    struct shim *shim = ctx;

    relay_connected(shim->relay, now_ms());
    drive(shim);
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct shim *shim = ctx;

    relay_bytes(shim->relay, now_ms(), bytes, len);
    drive(shim);
}

static void on_closed(void *ctx, const char *reason)
{
    struct shim *shim = ctx;

    relay_disconnected(shim->relay, now_ms(), reason);
    drive(shim);
}

static void on_ready(void *ctx)
{
    drive(ctx);
}

static void on_stop_timer(uv_timer_t *timer)
{
    struct shim *shim = timer->data;

    if (shim->ended) {
        uv_walk(&shim->loop, close_handle, NULL);
        return;
    }
    vt_warning("shim: a command was under way for %d ms more: it may have been executed", STOP_MS);
    relay_detach(shim->relay, false);
    drive(shim);
    uv_timer_start(timer, on_stop_timer, FLUSH_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct shim *shim = handle->data;

    if (shim->stopping || shim->ended)
        return;
    vt_notice("shim: stopping at %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    (void)vt_notify("STOPPING=1");
    shim->stopping = true;
    shim->kind->stop(shim->front);
    uv_timer_start(&shim->stop_timer, on_stop_timer, STOP_MS, 0);
    drive(shim);
}

/* ---- Start and end ---- */

static int make_relay(struct shim *shim, const struct options *options, const struct credential *credential,
                      struct vt_why *why)
{
    struct relay_config config = {
        .tls = {.random = os_random, .identity = credential->identity, .key = &credential->key},
        .server = options->upstream,
        .software = "vtpm-shim " VTPM_VERSION,
        .front_end = shim->kind->name,
        .startup = options->startup,
        .hold_ms = options->hold_ms,
        .has_uuid = options->has_instance || credential->has_uuid,
    };
    int err;

    if (!config.has_uuid)
        return vt_fail(why, VT_EUSAGE, "%s: a credential of %s: which instance is meant must be said by --instance UUID",
                       options->credential, credential->identity);
    err = read_boot_id(config.boot_id, why);
    if (err)
        return err;
    memcpy(config.uuid, options->has_instance ? options->instance.bytes : credential->uuid.bytes, sizeof config.uuid);
    if (os_random(NULL, config.stream, sizeof config.stream))
        return vt_fail(why, VT_EFAIL, "getrandom: %s", strerror(errno));
    err = relay_new(&shim->relay, &config);
    return err ? vt_fail(why, err, "relay: %s", vt_err_text(err)) : VT_OK;
}

static int start_parts(struct shim *shim, const struct options *options, const struct credential *credential,
                       struct vt_why *why)
{
    const struct upstream_events events = {on_connected, on_bytes, on_closed};
    const struct frontend_host host = {on_ready, shim};
    const char *spec;
    int err = frontend_find(options->frontend, &shim->kind, &spec, why);

    if (!err)
        err = upstream_new(&shim->up, &shim->loop, options->upstream, &events, shim, why);
    if (!err)
        err = make_relay(shim, options, credential, why);
    if (!err)
        err = shim->kind->start(&shim->front, &shim->loop, spec, &host, why);
    return err;
}

static void start_signals(struct shim *shim)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    signal(SIGPIPE, SIG_IGN);
    uv_timer_init(&shim->loop, &shim->timer);
    uv_timer_init(&shim->loop, &shim->stop_timer);
    /* It bounds the end but does not delay it. */
    uv_unref((uv_handle_t *)&shim->stop_timer);
    shim->timer.data = shim->stop_timer.data = shim;
    for (size_t i = 0; i < VT_COUNT(numbers); i++) {
        uv_signal_init(&shim->loop, &shim->signals[i]);
        shim->signals[i].data = shim;
        uv_signal_start(&shim->signals[i], on_signal, numbers[i]);
    }
}

static void say_ready(struct shim *shim)
{
    const char *where = shim->kind->where(shim->front);

    if (*where)
        fprintf(stderr, "vtpm-shim: ready (%s)\n", where);
    else
        fprintf(stderr, "vtpm-shim: ready\n");
    (void)vt_notify("READY=1");
}

static void free_parts(struct shim *shim)
{
    /* Also the handles of a start that failed half-way. */
    if (shim->front)
        shim->kind->close(shim->front);
    if (shim->up)
        upstream_close(shim->up);
    uv_run(&shim->loop, UV_RUN_NOWAIT);
    uv_walk(&shim->loop, close_handle, NULL);
    uv_run(&shim->loop, UV_RUN_DEFAULT);
    if (shim->front)
        shim->kind->free(shim->front);
    upstream_free(shim->up);
    relay_free(shim->relay);
    uv_loop_close(&shim->loop);
}

int shim_run(const struct options *options, const struct credential *credential, struct vt_why *why)
{
    struct shim shim = {.err = VT_OK, .options = options, .credential = credential};
    int err;

    if (uv_loop_init(&shim.loop))
        return vt_fail(why, VT_EFAIL, "no event loop: are there too many open files?");
    start_signals(&shim);
    err = start_parts(&shim, options, credential, why);
    if (!err) {
        say_ready(&shim);
        drive(&shim);
        uv_run(&shim.loop, UV_RUN_DEFAULT);
        err = shim.err;
        if (err)
            (void)vt_fail(why, err, "%s: another shim has the instance; start this one again to take it back",
                          vt_err_text(err));
    }
    free_parts(&shim);
    return err;
}
