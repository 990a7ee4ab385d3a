/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vtpm-server: options, wiring, signals. The only file that knows everyone. What may go wrong because of an
 * option or of this host goes wrong before the first connection is accepted, with exit 2 and what to do about
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "hwtpm/hwtpm.h"
#include "server/base/alloc.h"
#include "server/base/boot.h"
#include "server/base/log.h"
#include "server/base/notify.h"
#include "server/core/anchor/anchor.h"
#include "server/core/broker.h"
#include "server/core/hosttpm.h"
#include "server/core/loop.h"
#include "server/core/store/check.h"
#include "server/core/store/restore.h"
#include "server/crypto/crypto.h"
#include "server/net/admin.h"
#include "server/net/config.h"
#include "server/net/conn.h"
#include "server/net/listener.h"
#include "server/net/logsink.h"
#include "server/net/peers.h"
#include "server/net/process.h"

#define STOP_MS 9000 /* CONTRACT: gone within 10 s of SIGTERM */

/* The configuration, understood: nothing in it can be wrong any more. */
struct plan {
    struct keyslot_spec *keyslots;
    struct hwtpm_config hwtpm;
    struct anchor_config anchor;
    struct keypool_config keypool;
    struct net_addr *listen;
    struct net_addr admin;
    struct role_policy policy;
    struct process_user user;
    char *engine;
};

struct server {
    const struct config *config;
    struct plan *plan;
    uv_loop_t uv;
    struct loop *loop;
    struct broker *broker;
    struct channels *channels;
    struct peers *peers;
    struct admin *admin;
    struct listener **listeners;
    char **listener_texts; /* for `status`; the broker borrows them */
    struct listener *admin_listener;
    uv_signal_t signals[3];
    uv_timer_t hard_stop;
    uv_timer_t watchdog;
    bool has_handles; /* signals, hard_stop and watchdog */
    bool is_stopping;
};

/* ---- Plan ---- */

static int plan_groups(struct plan *plan, const struct config *config, struct vt_why *why)
{
    int err = VT_OK;

    if (config->admin_group) {
        err = process_find_group(&plan->policy.admin_gid, "--admin-group", config->admin_group, why);
        plan->policy.has_admin_group = true;
    }
    if (!err && config->monitor_group) {
        err = process_find_group(&plan->policy.monitor_gid, "--monitor-group", config->monitor_group, why);
        plan->policy.has_monitor_group = true;
    }
    return err;
}

static int plan_addresses(struct plan *plan, const struct config *config, struct vt_why *why)
{
    int err = net_addr_parse(&plan->admin, config->admin, why);

    if (!err && !net_addr_is_unix(&plan->admin))
        return vt_fail(why, VT_EUSAGE, "--admin %s: administration is on a Unix socket only: unix:PATH",
                       config->admin);
    plan->listen = vt_calloc(config->listen.count, sizeof *plan->listen);
    if (!plan->listen)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    for (size_t i = 0; !err && i < config->listen.count; i++)
        err = net_addr_parse(&plan->listen[i], config->listen.items[i], why);
    return err;
}

static int plan_keyslots(struct plan *plan, const struct config *config, struct vt_why *why)
{
    int err = VT_OK;

    plan->keyslots = vt_calloc(config->keyslots.count, sizeof *plan->keyslots);
    if (!plan->keyslots)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    for (size_t i = 0; !err && i < config->keyslots.count; i++)
        err = keyslot_parse(&plan->keyslots[i], config->keyslots.items[i], why);
    return err;
}

static int plan_make(struct plan *plan, const struct config *config, struct vt_why *why)
{
    const bool is_serving = !config->init && !config->check && !config->restore && !config->accept_rollback;
    int err = plan_keyslots(plan, config, why);

    if (!err)
        err = anchor_parse(&plan->anchor, config->anchor, why);
    plan->anchor.minutes = (uint32_t)config->anchor_minutes;
    if (!err && is_serving)
        err = hosttpm_parse(&plan->hwtpm, config->hwtpm, why);
    if (!err && is_serving)
        err = keypool_parse(&plan->keypool, config->key_pool, why);
    plan->keypool.wait_ms = (uint32_t)(config->key_pool_wait_s * 1000);
    if (!err && is_serving)
        err = plan_addresses(plan, config, why);
    if (!err && is_serving)
        err = plan_groups(plan, config, why);
    if (!err && is_serving)
        err = process_find_engine(&plan->engine, config->engine, why);
    if (!err)
        err = process_find_user(&plan->user, config, why);
    plan->policy.own_uid = plan->user.uid;
    return err;
}

static void plan_free(struct plan *plan)
{
    vt_free(plan->keyslots);
    vt_free(plan->listen);
    vt_free(plan->engine);
}

/* ---- init ---- */

static int print_recovery(const char *text, struct vt_why *why)
{
    /* Unbuffered: stdio would keep a copy. */
    setvbuf(stdout, NULL, _IONBF, 0);
    if (printf("%s\n", text) < 0)
        return vt_fail(why, VT_EIO,
                       "the recovery key could not be written to standard output: the store is made, but "
                       "has no recovery key that anyone knows: remove it and start again");
    return VT_OK;
}

static int run_init(const struct config *config, const struct plan *plan, struct vt_why *why)
{
    char recovery[RECOVERY_TEXT] = "";
    int err = process_prepare_data(&plan->user, config->data_dir, why);

    if (!err)
        err = process_become(&plan->user, &plan->policy, why);
    if (!err)
        err = store_init(config->data_dir, plan->keyslots, config->keyslots.count, recovery, why);
    if (!err)
        err = print_recovery(recovery, why);
    vt_wipe(recovery, sizeof recovery);
    /* CONTRACT: a store that is there already is a conflict (4), not a name that is taken (5). */
    if (err == VT_EEXISTS)
        err = VT_ECONFLICT;
    if (!err)
        logsink_say(
            VT_LOG_NOTICE,
            "made a store in %s; the line on standard output is its recovery key: it opens the "
            "store when nothing else does, is not shown again, and belongs where this host's disk is not",
            config->data_dir);
    return err;
}

/* ---- check ---- */

static int run_check(const struct config *config, const struct plan *plan, struct vt_why *why)
{
    struct store_findings found;
    int err = process_become(&plan->user, &plan->policy, why);

    if (!err)
        err = store_examine(config->data_dir, plan->keyslots, config->keyslots.count, &found, why);
    if (err)
        return err;
    printf("%s: %llu instances (%llu broken, %llu deleted), %llu credentials, %llu bindings, %llu key slots, "
           "%llu events\n%s\n",
           found.is_whole ? "ok" : "DAMAGED", (unsigned long long)found.db.instances,
           (unsigned long long)found.broken, (unsigned long long)found.db.deleted,
           (unsigned long long)found.db.credentials, (unsigned long long)found.db.bindings,
           (unsigned long long)found.db.keyslots,
           (unsigned long long)found.db.events, found.text);
    return found.is_whole ? VT_OK : vt_fail(why, VT_EDAMAGED, "%s: damaged: restore a backup%s", config->data_dir,
                                               found.broken ? ", or start the server and delete what is broken" : "");
}

/* ---- restore ---- */

static int run_restore(const struct config *config, const struct plan *plan, struct vt_why *why)
{
    struct store_findings found;
    /* As who started it: a backup is for its owner's eyes. */
    int err, from = open(config->from, O_RDONLY | O_CLOEXEC);

    if (from < 0)
        return vt_fail(why,
                       errno == ENOENT   ? VT_ENOTFOUND
                       : errno == EACCES ? VT_EPERM
                                         : VT_EIO,
                       "%s: %s", config->from, strerror(errno));
    err = process_prepare_data(&plan->user, config->data_dir, why);
    if (!err)
        err = process_become(&plan->user, &plan->policy, why);
    if (!err)
        err = store_restore(from, config->from, config->data_dir, plan->keyslots, config->keyslots.count, &found, why);
    close(from);
    if (err) /* As init: a store that is there already is a conflict (4). */
        return err == VT_EEXISTS ? VT_ECONFLICT : err;
    logsink_say(
        VT_LOG_NOTICE,
        "restored %s into %s: %llu instances (%llu broken, %llu that do not open). What was done since the "
        "copy "
        "was made is undone: an instance that ran on has its older state, and one that was exported since "
        "counts as being here: see docs/moving.md before it is started",
        config->from, config->data_dir, (unsigned long long)found.db.instances,
        (unsigned long long)found.broken, (unsigned long long)found.unreadable);
    return VT_OK;
}

/* ---- accept-rollback ---- */

static int run_accept(const struct config *config, const struct plan *plan, struct vt_why *why)
{
    char report[ANCHOR_STATUS];
    int err = process_become(&plan->user, &plan->policy, why);

    if (!err)
        err = store_accept_rollback(config->data_dir, plan->keyslots, config->keyslots.count, &plan->anchor,
                                    report, why);
    if (!err)
        logsink_say(VT_LOG_NOTICE, "%s: %s", config->data_dir, report);
    return err;
}

/* ---- Stopping: listeners, broker, channels, administrators; then the loop ---- */

static void on_admin_closed(void *arg)
{
    struct server *server = arg;

    uv_stop(&server->uv);
}

static void on_channels_closed(void *arg)
{
    struct server *server = arg;

    admin_close(server->admin, on_admin_closed, server);
}

static void on_drained(void *arg)
{
    struct server *server = arg;

    channels_close(server->channels, on_channels_closed, server);
}

static void close_listeners(struct server *server)
{
    for (size_t i = 0; i < server->config->listen.count; i++) {
        listener_close(server->listeners[i]);
        server->listeners[i] = NULL;
    }
    listener_close(server->admin_listener);
    server->admin_listener = NULL;
}

static void on_hard_stop(uv_timer_t *timer)
{
    (void)timer;
    vt_error("server: not stopped after %d s: leaving as it is; records that were answered are kept",
             STOP_MS / 1000);
    _exit(1);
}

static void stop(struct server *server)
{
    if (server->is_stopping)
        return;
    server->is_stopping = true;
    vt_notify("STOPPING=1");
    uv_timer_start(&server->hard_stop, on_hard_stop, STOP_MS, 0);
    close_listeners(server);
    broker_drain(server->broker, on_drained, server);
}

static void on_signal(uv_signal_t *handle, int number)
{
    if (number == SIGHUP) {
        vt_notice("server: SIGHUP ignored: options change by restarting; guests wait meanwhile");
        return;
    }
    vt_notice("server: %s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
    stop(handle->data);
}

/* Also while stopping: hard_stop bounds that. */
static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    vt_notify("WATCHDOG=1");
}

static void start_watchdog(struct server *server)
{
    uint64_t period = vt_watchdog_ms();

    uv_timer_init(&server->uv, &server->watchdog);
    if (period)
        uv_timer_start(&server->watchdog, on_watchdog, 0, period);
    uv_unref((uv_handle_t *)&server->watchdog);
}

static void start_handles(struct server *server)
{
    static const int numbers[VT_COUNT(server->signals)] = {SIGTERM, SIGINT, SIGHUP};

    uv_timer_init(&server->uv, &server->hard_stop);
    start_watchdog(server);
    for (size_t i = 0; i < VT_COUNT(numbers); i++) {
        uv_signal_init(&server->uv, &server->signals[i]);
        server->signals[i].data = server;
        if (uv_signal_start(&server->signals[i], on_signal, numbers[i]))
            vt_warning("server: no handler for %s", strsignal(numbers[i]));
    }
    server->has_handles = true;
}

/* ---- Starting ---- */

static int start_broker(struct server *server, struct vt_why *why)
{
    const struct config *config = server->config;
    struct broker_config broker = {
        .data_dir = config->data_dir,
        .runtime_dir = config->runtime_dir,
        .engine_path = server->plan->engine,
        .hwtpm = &server->plan->hwtpm,
        .anchor = &server->plan->anchor,
        .keyslots = server->plan->keyslots,
        .keyslot_count = config->keyslots.count,
        .idle_s = (uint32_t)config->idle_s,
        .request_limit_ms = (uint32_t)(config->request_s * 1000),
        .keypool = server->plan->keypool,
        .listeners = server->listener_texts,
        .listener_count = config->listen.count,
    };
    int err = vt_boot_id(broker.boot_id, why);

    if (!err && loop_new(&server->loop, &server->uv))
        err = vt_fail(why, VT_ENOMEM, "out of memory");
    if (!err)
        err = broker_start(&server->broker, server->loop, &broker, why);
    return err;
}

static int open_listeners(struct server *server, struct vt_why *why)
{
    struct plan *plan = server->plan;

    for (size_t i = 0; i < server->config->listen.count; i++) {
        int err = listener_open(&server->listeners[i], &server->uv, &plan->listen[i], &channels_listen,
                                server->channels, why);
        if (err)
            return err;
        vt_free(server->listener_texts[i]);
        server->listener_texts[i] = vt_strdup(listener_text(server->listeners[i]));
        if (!server->listener_texts[i])
            return vt_fail(why, VT_ENOMEM, "out of memory");
        vt_info("net: listening on %s", server->listener_texts[i]);
    }
    return VT_OK;
}

static int open_admin(struct server *server, struct vt_why *why)
{
    struct plan *plan = server->plan;
    static const struct listener_ops admin_listen = {.accept = admin_accept};
    int err =
        listener_open(&server->admin_listener, &server->uv, &plan->admin, &admin_listen, server->admin, why);

    if (!err)
        err = admin_own_socket(plan->admin.sa.un.sun_path, &plan->policy, why);
    if (!err)
        vt_info("net: administration on %s", listener_text(server->admin_listener));
    return err;
}

static int start_net(struct server *server, struct vt_why *why)
{
    struct channel_limits channel_limits = CHANNEL_LIMITS_DEFAULT;
    static const struct admin_limits admin_limits = ADMIN_LIMITS_DEFAULT;
    int err;

    channel_limits.connections = process_channels_max();
    channel_limits.handshake_ms = server->config->handshake_s * 1000;
    err = channels_new(&server->channels, &server->uv, server->broker, &channel_limits);
    if (!err)
        err = admin_new(&server->admin, &server->uv, server->broker, &server->plan->policy, &admin_limits);
    if (err)
        return vt_fail(why, err, "out of memory");
    err = open_listeners(server, why);
    if (!err)
        err = open_admin(server, why);
    if (!err && peers_new(&server->peers, &server->uv, server->broker))
        err = vt_fail(why, VT_ENOMEM, "out of memory");
    return err;
}

static int make_lists(struct server *server, struct vt_why *why)
{
    size_t count = server->config->listen.count;

    server->listeners = vt_calloc(count, sizeof *server->listeners);
    server->listener_texts = vt_calloc(count, sizeof *server->listener_texts);
    if (!server->listeners || !server->listener_texts)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        server->listener_texts[i] = vt_strdup(server->plan->listen[i].text);
        if (!server->listener_texts[i])
            return vt_fail(why, VT_ENOMEM, "out of memory");
    }
    return VT_OK;
}

/* CONTRACT: the line after which listeners accept. */
static void say_ready(struct server *server)
{
    char list[1000] = "";
    size_t len = 0;

    for (size_t i = 0; i < server->config->listen.count && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : " (",
                                server->listener_texts[i]);
    logsink_say(VT_LOG_NOTICE, "ready%s%s", list, len ? ")" : "");
    vt_notify("READY=1");
    if (!len)
        vt_notice("net: no --listen: nothing but administration is possible");
}

static void free_lists(struct server *server)
{
    for (size_t i = 0; server->listener_texts && i < server->config->listen.count; i++)
        vt_free(server->listener_texts[i]);
    vt_free(server->listener_texts);
    vt_free(server->listeners);
}

static void tear_down(struct server *server)
{
    if (server->listeners)
        close_listeners(server);
    if (server->has_handles) {
        uv_close((uv_handle_t *)&server->hard_stop, NULL);
        uv_close((uv_handle_t *)&server->watchdog, NULL);
        for (size_t i = 0; i < VT_COUNT(server->signals); i++)
            uv_close((uv_handle_t *)&server->signals[i], NULL);
    }
    channels_free(server->channels);
    peers_free(server->peers);
    if (server->broker)
        broker_free(server->broker);
    admin_free(server->admin);
    loop_free(server->loop);
    /* Handles are freed by their close callbacks: a turn or two of the loop. */
    for (int i = 0; i < 8 && uv_loop_close(&server->uv) == UV_EBUSY; i++)
        uv_run(&server->uv, UV_RUN_NOWAIT);
    listeners_finish();
    free_lists(server);
}

/* No store is ever made but by init: says how. */
static int check_store(const struct config *config, struct vt_why *why)
{
    char path[1024], command[CONFIG_COMMAND];

    if ((size_t)snprintf(path, sizeof path, "%s/vtpm.db", config->data_dir) >= sizeof path ||
        !access(path, F_OK) || (errno != ENOENT && errno != ENOTDIR))
        return VT_OK; /* who opens it says what is wrong with it */
    config_init_command(config, command, sizeof command);
    return vt_fail(why, VT_ENOTFOUND, "%s: there is no store here; make it, once, with: %s", config->data_dir,
                   command);
}

static int run_server(const struct config *config, struct plan *plan, struct vt_why *why)
{
    struct server server = {.config = config, .plan = plan};
    int err;

    process_prepare_run_dir(&plan->user);
    err = process_become(&plan->user, &plan->policy, why);
    if (!err)
        err = check_store(config, why);
    if (err)
        return err;
    if (uv_loop_init(&server.uv))
        return vt_fail(why, VT_EFAIL, "no event loop: out of descriptors?");
    err = make_lists(&server, why);
    if (!err)
        err = start_broker(&server, why);
    if (!err)
        err = start_net(&server, why);
    if (!err) {
        start_handles(&server);
        say_ready(&server);
        uv_run(&server.uv, UV_RUN_DEFAULT);
        vt_notice("server: stopped");
    }
    tear_down(&server);
    return err;
}

/* ---- Main ---- */

static int act(const struct config *config, struct vt_why *why)
{
    struct plan plan = {0};
    int err = plan_make(&plan, config, why);

    if (err || config->check_config) {
        if (!err)
            logsink_say(VT_LOG_NOTICE, "the configuration is good");
    } else if (config->check) {
        err = run_check(config, &plan, why);
    } else if (config->restore) {
        err = run_restore(config, &plan, why);
    } else if (config->accept_rollback) {
        err = run_accept(config, &plan, why);
    } else if (config->init) {
        err = run_init(config, &plan, why);
    } else {
        err = run_server(config, &plan, why);
    }
    plan_free(&plan);
    return err;
}

static int run(const struct config *config, struct vt_why *why)
{
    if (config->help) {
        config_help(stdout);
        return VT_OK;
    }
    hwtpm_init();
    if (cr_init())
        return vt_fail(why, VT_ECRYPTO, "the cryptographic library does not start");
    if (config->version) {
        printf("vtpm-server " VTPM_VERSION " (%s)\n", cr_backend());
        return VT_OK;
    }
    return act(config, why);
}

int main(int argc, char **argv)
{
    struct vt_why why = {0};
    struct config config;
    int err;

    process_harden();
    err = config_load(&config, argc, argv, CONFIG_DEFAULT_FILE, &why);
    logsink_start((enum logsink_format)config.log_format, (enum vt_log_level)config.log_level);
    if (!err)
        err = process_watch_loop_memory();
    if (!err)
        err = run(&config, &why);
    if (err)
        logsink_say(VT_LOG_ERROR, "%s", why.text[0] ? why.text : vt_err_text(err));
    config_free(&config);
    return vt_err_exit(err);
}
