/* SPDX-License-Identifier: Apache-2.0 */
/* Start, end, and the key look-up of handshakes. */
#include "server/core/broker_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/anchor/anchor.h"
#include "server/core/binding.h"
#include "server/core/handoff/door.h"
#include "server/core/handoff/handoff.h"
#include "server/core/instance/instance.h"
#include "server/core/session_priv.h"
#include "server/core/store/server_key.h"

#define DEFAULT_IDLE_S 60
#define COUNTER_MS 10000
#define COUNTER_BATCH 256
/* So many zygotes in a row that end before their self-tests do: the program itself is of no use. */
#define ZYGOTE_TRIES 5

/* ---- Counters for people, and leaving of what nobody uses ---- */

struct sweep {
    struct broker *broker;
    struct db_counter batch[COUNTER_BATCH];
    size_t count;
};

static void flush(struct sweep *sweep)
{
    if (sweep->count && db_counters(sweep->broker->db, sweep->batch, sweep->count))
        vt_warning("store: counters of %zu instances were not written", sweep->count);
    sweep->count = 0;
}

static void sweep_instance(void *arg, struct registry_node *node)
{
    struct sweep *sweep = arg;
    struct instance *instance = instance_of_node(node);

    if (instance_take_counter(instance, &sweep->batch[sweep->count]) && ++sweep->count == COUNTER_BATCH)
        flush(sweep);
    if (!instance_is_busy(instance) && !instance_session(instance) && !instance_is_warm(instance))
        instance_free(instance);
}

static void sweep_all(struct broker *broker)
{
    struct sweep *sweep = VT_NEW(struct sweep);

    if (!sweep)
        return;
    sweep->broker = broker;
    registry_each(&broker->instances, sweep_instance, sweep);
    flush(sweep);
    vt_free(sweep);
}

static void on_counter_timer(void *arg)
{
    struct broker *broker = arg;

    sweep_all(broker);
    loop_timer_start(broker->counter_timer, COUNTER_MS);
}

/* ---- Work on other threads ---- */

struct work {
    struct broker *broker;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void do_work(void *arg)
{
    struct work *work = arg;

    work->work(work->arg);
}

static void work_done(void *arg)
{
    struct work *work = arg;
    struct broker *broker = work->broker;

    work->done(work->arg);
    vt_free(work);
    broker->works_over = --broker->works == 0;
    broker_progress(broker);
}

int broker_work(struct broker *broker, void (*fn)(void *arg), void (*done)(void *arg), void *arg)
{
    struct work *work = VT_NEW(struct work);
    int err;

    if (!work)
        return VT_ENOMEM;
    *work = (struct work){.broker = broker, .work = fn, .done = done, .arg = arg};
    err = loop_work(broker->loop, do_work, work_done, work);
    if (err) {
        vt_free(work);
        return err;
    }
    broker->works++;
    broker->works_over = false;
    return VT_OK;
}

/* ---- After an unclean stop ---- */

struct check {
    struct broker *broker;
    struct db_check found;
    int err;
};

static void work_check(void *arg)
{
    struct check *check = arg;

    check->err = db_check_structure(check->broker->db, &check->found);
}

static void checked(void *arg)
{
    struct check *check = arg;

    if (check->err || !check->found.structure_ok)
        db_leave_unclean(check->broker->db);
    if (check->err == VT_ECLOSED) {
        vt_info("store: the check after the unclean stop was cut short: the next start makes it");
    } else if (check->err) {
        vt_warning("store: the check after the unclean stop could not be made: %s", vt_err_text(check->err));
    } else if (check->found.structure_ok) {
        vt_notice("store: checked after the unclean stop: its structure is whole");
    } else {
        vt_error("store: damaged, found after the unclean stop: %s; restore a backup", check->found.text);
        act_write(check->broker, "store-damaged", NULL, "server", check->found.text);
    }
    vt_free(check);
}

/* quick_check reads the whole file (2.3 s for 240 MiB): in the background. What guests need has its own tags. */
static void check_in_background(struct broker *broker)
{
    struct check *check = VT_NEW(struct check);

    if (check)
        check->broker = broker;
    if (!check || broker_work(broker, work_check, checked, check)) {
        vt_warning("store: no check after the unclean stop: out of memory; run `vtpmctl check`");
        vt_free(check);
    }
}

/* ---- Start ---- */

/* Writer thread. */
static void on_db_wake(void *ctx)
{
    struct broker *broker = ctx;

    loop_wake_up(broker->db_wake);
}

static void dispatch_db(void *arg)
{
    struct broker *broker = arg;

    db_dispatch(broker->db);
}

/* passed: why a TPM's slot, which should have opened it, did not; "": none was passed over. */
static void note_opened(struct broker *broker, const struct db_keyslot *opened, const char *passed)
{
    broker->opened_slot = opened->id;
    snprintf(broker->opened_by, sizeof broker->opened_by, "%lld %s", (long long)opened->id, opened->kind);
    if (passed[0])
        snprintf(broker->passed_over, sizeof broker->passed_over, "%s", passed);
    if (broker->passed_over[0])
        vt_warning("store: OPENED BY A WEAKER SLOT, %s, since the host TPM did not open it: %s", broker->opened_by,
                   broker->passed_over);
}

static int unlock(struct broker *broker, const struct broker_config *config, struct vt_key *master,
                  struct db_keyslot *opened, struct vt_why *why)
{
    int err = vt_fail(NULL, VT_EUSAGE, "-");

    if (!config->keyslot_count)
        return vt_fail(why, VT_EUSAGE, "no key slot was named: --keyslot keyfile:FILE, or auto");
    for (size_t i = 0; i < config->keyslot_count; i++) {
        /* The last one tried has the last word, unless an earlier one found damage. */
        struct vt_why reason = {0};
        err = keyslot_unlock(broker->db, &config->keyslots[i], &broker->store, master, opened, &reason);
        if (!err) {
            note_opened(broker, opened, reason.text);
            return VT_OK;
        }
        if (keyslot_is_tpm(config->keyslots[i].kind))
            snprintf(broker->passed_over, sizeof broker->passed_over, "%s", reason.text);
        vt_error("store: key slot %s does not open it: %s", config->keyslots[i].kind, reason.text);
        if (i + 1 == config->keyslot_count)
            vt_fail(why, err, "%s", reason.text);
    }
    return err;
}

/* Who may write here could put an older store back, which no MAC shows. What is missing, db_open says. */
static int check_writers(const char *dir, const char *name, struct vt_why *why)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof path, "%s%s", dir, name);
    if (stat(path, &st) || !(st.st_mode & 022))
        return VT_OK;
    return vt_fail(why, VT_EPERM, "%s: mode %04o lets others change the store: chmod go-w %s", path,
                   (unsigned)st.st_mode & 07777, path);
}

static int open_store(struct broker *broker, const struct broker_config *config, struct vt_why *why)
{
    struct db_config store = {.dir = config->data_dir, .wake = on_db_wake, .wake_ctx = broker};
    static const struct anchor_config no_anchor = {.mode = ANCHOR_OFF};
    VT_SECRET_KEY master = {{0}};
    struct db_keyslot opened;
    int err = check_writers(config->data_dir, "", why);

    if (!err)
        err = check_writers(config->data_dir, "/vtpm.db", why);
    if (!err)
        err = db_open(&store, &broker->db, why);
    if (err)
        return err;
    db_store_uuid(broker->db, &broker->store);
    err = unlock(broker, config, &master, &opened, why);
    if (!err)
        err = keys_new(&broker->keys, &master, &broker->store, why);
    if (!err)
        err = vt_vault_new(&broker->vault, why);
    /* Nothing is written to a file that may not be the newest. */
    if (!err)
        err = db_verify(broker->db, keys_mac(broker->keys), why);
    if (!err)
        err = anchor_open(&broker->anchor, broker, config->anchor ? config->anchor : &no_anchor, &opened, why);
    if (!err)
        err = db_start(broker->db, keys_mac(broker->keys), false, why);
    if (!err)
        vt_log_with(VT_LOG_NOTICE, VT_FIELDS(VT_TEXT("dir", config->data_dir)), "store: opened by key slot %s",
                    broker->opened_by);
    if (!err && db_was_unclean(broker->db))
        vt_notice("store: the last stop was not clean; its MAC is right, its structure is being checked");
    return err;
}

static bool can_make(const char *path, mode_t mode)
{
    return mkdir(path, mode) == 0 || errno == EEXIST;
}

/* CONTRACT: $RUNTIME_DIRECTORY, else /run/vtpm-server/<store uuid> if writable, else DIR/run. */
static int choose_runtime(struct broker *broker, const struct broker_config *config)
{
    const char *from_systemd = getenv("RUNTIME_DIRECTORY");
    char uuid[VT_UUID_TEXT], path[4096];
    struct runtime_dir *probe;

    vt_uuid_text(uuid, &broker->store);
    if (config->runtime_dir) {
        snprintf(path, sizeof path, "%s", config->runtime_dir);
    } else if (from_systemd && *from_systemd) {
        snprintf(path, sizeof path, "%s/%s", from_systemd, uuid);
    } else {
        snprintf(path, sizeof path, "/run/vtpm-server/%s", uuid);
        if (!can_make("/run/vtpm-server", 0755) || !can_make(path, 0700) || runtime_open(&probe, path, NULL))
            snprintf(path, sizeof path, "%s/run", config->data_dir);
        else
            runtime_close(probe);
    }
    broker->runtime_path = vt_strdup(path);
    return broker->runtime_path ? VT_OK : VT_ENOMEM;
}

/*
 * The volatile state of a record is void unless the runtime store is that of the boot *and* of the directory it was
 * made with: else a directory used earlier in this boot would bring back PCRs of the past.
 */
static int mix_runtime_id(struct broker *broker, struct vt_why *why)
{
    uint8_t id[RUNTIME_ID], hash[CR_SHA256_LEN];
    struct cr_slice slices[] = {CR_SLICE(broker->boot_id, sizeof broker->boot_id), CR_SLICE(id, sizeof id)};
    int err = runtime_id(broker->runtime, id);

    if (err)
        return vt_fail(why, err, "%s/id: cannot be read or made: %s", broker->runtime_path, vt_err_text(err));
    cr_sha256v(hash, slices, VT_COUNT(slices));
    memcpy(broker->boot_id, hash, sizeof broker->boot_id);
    return VT_OK;
}

static int open_runtime(struct broker *broker, const struct broker_config *config, struct vt_why *why)
{
    int err = choose_runtime(broker, config);

    if (err)
        return vt_fail(why, err, "out of memory");
    err = runtime_open(&broker->runtime, broker->runtime_path, why);
    return err ? err : mix_runtime_id(broker, why);
}

/*
 * Each zygote that comes up tells how its self-tests went; the first one decides about the start. One that was killed
 * before it could tell does not: the next is on its way.
 */
static void on_zygote_ready(void *arg, int err, const char *text)
{
    struct broker *broker = arg;

    if (err)
        vt_error("zygote: no engine can be started: %s", text);
    else
        vt_info("zygote: self-tests passed, crypto by %s", text);
    if (broker->zygote_told || (err == VT_EIO && ++broker->zygote_tries < ZYGOTE_TRIES))
        return;
    broker->zygote_told = true;
    broker->zygote_err = err;
    vt_fail(&broker->zygote_why, err, "the engine's self-tests: %s", text);
}

static int start_zygote(struct broker *broker, const struct broker_config *config, struct vt_why *why)
{
    struct zygote_config zygote = {
        .engine_path = config->engine_path,
        .request_limit_ms = config->request_limit_ms,
        .on_ready = on_zygote_ready,
        .arg = broker,
    };
    int err = zygote_start(&broker->zygote, broker->loop, &zygote, why);

    if (err)
        return err;
    loop_run_until(broker->loop, &broker->zygote_told);
    return broker->zygote_err ? vt_fail(why, broker->zygote_err, "%s", broker->zygote_why.text) : VT_OK;
}

static int start_parts(struct broker *broker, const struct broker_config *config, struct vt_why *why)
{
    int err = registry_init(&broker->instances);

    if (!err)
        err = loop_wake_new(broker->loop, &broker->db_wake, dispatch_db, broker);
    if (!err)
        err = loop_timer_new(broker->loop, &broker->counter_timer, on_counter_timer, broker);
    if (!err)
        err = open_store(broker, config, why);
    if (!err)
        err = open_runtime(broker, config, why);
    if (!err)
        err = start_zygote(broker, config, why);
    if (!err)
        err = keypool_new(&broker->keypool, broker->loop, broker->zygote, &config->keypool);
    if (!err)
        err = hosttpm_start(&broker->hosttpm, broker, config->hwtpm);
    return vt_fail(err ? why : NULL, err, "%s", vt_err_text(err));
}

int broker_start(struct broker **out, struct loop *loop, const struct broker_config *config, struct vt_why *why)
{
    struct broker *broker = VT_NEW(struct broker);
    int err;

    if (!broker)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    broker->loop = loop;
    vt_list_init(&broker->sessions);
    vt_list_init(&broker->admin_work);
    vt_list_init(&broker->arrivals);
    vt_list_init(&broker->handoffs);
    vt_list_init(&broker->host_asked);
    memcpy(broker->boot_id, config->boot_id, sizeof broker->boot_id);
    memcpy(broker->host_boot_id, config->boot_id, sizeof broker->host_boot_id);
    broker->idle_ms = (config->idle_s ? config->idle_s : DEFAULT_IDLE_S) * 1000ull;
    broker->started_us = loop_now_us();
    broker->listeners = config->listeners;
    broker->listener_count = config->listener_count;
    broker->data_dir = vt_strdup(config->data_dir);
    err = broker->data_dir ? start_parts(broker, config, why) : VT_ENOMEM;
    if (err) {
        broker_free(broker);
        return err;
    }
    loop_timer_start(broker->counter_timer, COUNTER_MS);
    anchor_start(broker->anchor);
    if (db_was_unclean(broker->db))
        check_in_background(broker);
    *out = broker;
    return VT_OK;
}

/* ---- End ---- */

struct busy {
    size_t count;
};

static void count_busy(void *arg, struct registry_node *node)
{
    struct busy *busy = arg;

    busy->count += instance_is_busy(instance_of_node(node));
}

void broker_progress(struct broker *broker)
{
    struct busy busy = {0};
    void (*done)(void *arg) = broker->on_drained;

    if (!broker->draining || !done || broker->admin_calls)
        return;
    registry_each(&broker->instances, count_busy, &busy);
    if (busy.count || broker->works || !vt_list_empty(&broker->handoffs) || !anchor_settled(broker->anchor) || !broker->on_drained)
        return;
    sweep_all(broker);
    broker->on_drained = NULL;
    done(broker->on_drained_arg);
}

void broker_drain(struct broker *broker, void (*done)(void *arg), void *arg)
{
    broker->draining = true;
    broker->on_drained = done;
    broker->on_drained_arg = arg;
    db_check_cancel(broker->db);
    keypool_stop(broker->keypool);
    broker_progress(broker);
}

static void free_instance(void *arg, struct registry_node *node)
{
    (void)arg;
    instance_abandon(instance_of_node(node));
}

void broker_free(struct broker *broker)
{
    if (!broker)
        return;
    anchor_abandon(broker->anchor);
    if (broker->works) {
        db_check_cancel(broker->db);
        loop_run_until(broker->loop, &broker->works_over);
    }
    /* Completions that are still on their way find their instances: the store is closed first. */
    db_close(broker->db);
    broker_drop_backup(broker);
    handoff_end(broker);
    if (broker->instances.buckets) {
        registry_each(&broker->instances, free_instance, NULL);
        registry_free(&broker->instances);
    }
    keypool_free(broker->keypool);
    zygote_free(broker->zygote);
    if (broker->runtime)
        runtime_close(broker->runtime);
    vt_vault_free(broker->vault);
    keys_free(broker->keys);
    loop_timer_free(broker->counter_timer);
    hosttpm_free(broker->hosttpm);
    anchor_free(broker->anchor);
    if (broker->db_wake)
        loop_wake_free(broker->db_wake);
    vt_free(broker->data_dir);
    vt_free(broker->runtime_path);
    vt_free(broker);
}

/* ---- Handshakes (any thread) ---- */

static bool instance_may_attach(struct broker *broker, const char *identity, bool is_expected)
{
    struct vt_uuid uuid;
    struct db_instance row;

    /* host:NAME: its list is checked at Attach. */
    if (!vt_uuid_parse(&uuid, identity) || is_expected)
        return true;
    /* A broken instance may come in, and one that was exported, to be told why it is refused. */
    return db_instance_get(broker->db, &uuid, &row) == VT_OK &&
           (row.life == DB_LIVE || row.life == DB_BROKEN || (row.life == DB_DISABLED && row.reason[0]));
}

/* One that is to come from another server: what its shim here shows, until it is there. */
static bool find_expected(struct broker *broker, const char *identity, struct db_credential *credential)
{
    struct db_arriving row;
    struct vt_uuid uuid = {{0}};
    bool is_uuid = vt_uuid_parse(&uuid, identity);

    if (db_arriving_get(broker->db, &uuid, &row) || !is_uuid || !row.sealed_len)
        return false;
    *credential = (struct db_credential){.version = 1, .sealed_len = row.sealed_len};
    memcpy(credential->sealed, row.sealed, sizeof row.sealed);
    return true;
}

/* Sealed under no key: what an unknown identity is tried with. */
static bool find_credential(struct broker *broker, const char *identity, struct db_credential *credential,
                            bool *is_expected)
{
    int err = db_credential_get(broker->db, identity, credential);

    if (err)
        *credential = (struct db_credential){.version = 1, .sealed_len = SEAL_KEY_LEN};
    *is_expected = find_expected(broker, identity, credential);
    return *is_expected || (!err && !credential->disabled);
}

const char *broker_stranger(struct broker *broker, const char *identity)
{
    struct db_credential credential;
    struct db_instance row;
    struct vt_uuid uuid;

    if (server_key_is_identity(identity, &uuid))
        return "no such peer: vtpmctl server peer add";
    if (vt_uuid_parse(&uuid, identity) && db_instance_get(broker->db, &uuid, &row) == VT_OK) {
        if (row.life == DB_DELETED)
            return "the instance was deleted";
        if (row.life == DB_DISABLED)
            return "the instance is disabled";
    }
    if (db_credential_get(broker->db, identity, &credential) != VT_OK)
        return "no such identity";
    return credential.disabled ? "the credential is disabled" : "its key cannot be read";
}

void broker_psk(struct broker *broker, const char *identity, struct vt_key *key, bool *known)
{
    struct db_credential credential;
    VT_SECRET_KEY decoy;
    bool found, may_attach, opened, is_expected;
    struct vt_uuid server;

    if (server_key_is_identity(identity, &server)) {
        keys_decoy(broker->keys, identity, key);
        door_psk(broker, &server, key, known);
        return;
    }
    /* Every step is taken in every case: an unknown or disabled identity costs what a known one costs. */
    keys_decoy(broker->keys, identity, &decoy);
    found = find_credential(broker, identity, &credential, &is_expected);
    may_attach = instance_may_attach(broker, identity, is_expected);
    opened = keys_open_psk(broker->keys, identity, credential.version, credential.sealed, credential.sealed_len,
                           key) == VT_OK;
    *known = found && may_attach && opened;
    if (!*known)
        *key = decoy;
}

bool broker_domain_bound(struct broker *broker, const struct vt_domain *domain)
{
    bool bound;
    int err = binding_any(broker->db, domain, &bound);

    if (err)
        vt_warning("bindings: the store cannot be read: %s", vt_err_text(err));
    return !err && bound;
}

uint64_t broker_psk_version(struct broker *broker, const char *identity)
{
    struct db_credential credential;
    struct vt_uuid server;
    bool is_expected;

    if (server_key_is_identity(identity, &server))
        return door_psk_version(broker, &server);
    if (!find_credential(broker, identity, &credential, &is_expected))
        return 0;
    return is_expected ? UINT64_MAX : credential.version;
}
