/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/manufacture.h"

#include <stdio.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/instance/instance.h"
#include "server/core/keypool/keypool.h"
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"

/* One order under way. */
struct making {
    struct broker *broker;
    struct engine *engine;
    struct keypool_wish *wish;  /* the engine waits for this key; NULL: it does not */
    unsigned keys;              /* that it has asked for */
    struct manufactured made;
    struct db_instance row;
    struct vt_key *key;         /* the instance key, in the vault */
    bool with_ek, require_measure;
    uint16_t host_pcrs;
    struct tpm_profile limits;
    char peer[96];
    void (*done)(void *arg, int err, const struct manufactured *made, const char *why);
    void *arg;
};

static void end(struct making *m, int err, const char *why)
{
    keypool_cancel(m->wish);
    engine_free(m->engine);
    vt_vault_give(m->broker->vault, m->key);
    m->done(m->arg, err, err ? NULL : &m->made, why);
    vt_free_wiped(m, sizeof *m);
}

static void on_stored(void *arg, int err)
{
    struct making *m = arg;
    struct vt_why why = {0};
    char text[600];

    if (err == VT_EEXISTS) {
        end(m, err, "an instance of that name or uuid exists (a deleted one's uuid is not used again)");
    } else if (err == VT_EUNKNOWN) {
        end(m, err, "the disk failed while it was written: it may or may not be there; if `vtpmctl instance list` shows "
                    "it, delete it and create it again, for its credential is lost");
    } else if (err) {
        snprintf(text, sizeof text, "%s; nothing was created",
                 db_trouble(m->broker->db, &why) ? why.text : "the store cannot be written now");
        end(m, err, text);
    } else {
        end(m, VT_OK, "");
    }
}

/* ---- The first record and its row ---- */

static int seal_first(struct making *m, const struct sandbox_state *state, struct db_sealed *sealed, uint8_t **bytes)
{
    struct record record = {.seq = 1, .base_seq = 1, .power = RECORD_OFF};
    struct measures measures = {.required = m->require_measure, .host_pcrs = m->host_pcrs};
    uint8_t policy[MEASURE_BYTES_MAX];
    int err = record_set(&record.permanent, state->permanent.data, state->permanent.len);

    if (!err)
        err = record_set(&record.measures, policy, measures_encode(&measures, policy));
    memcpy(record.boot_id, m->broker->boot_id, sizeof record.boot_id);
    if (!err)
        err = instance_seal_record(m->broker, &m->made.uuid, m->key, SEAL_DURABLE, &record, sealed->tag, bytes,
                                   &sealed->len);
    sealed->data = *bytes;
    record_free(&record);
    return err;
}

static int make_credential(struct making *m, struct db_credential *credential)
{
    int err = cr_key_random(&m->made.psk, sizeof m->made.psk);

    *credential = (struct db_credential){.version = 1, .sealed_len = SEAL_KEY_LEN};
    vt_uuid_text(credential->identity, &m->made.uuid);
    if (err)
        return err;
    return keys_seal_psk(m->broker->keys, credential->identity, 1, &m->made.psk, credential->sealed);
}

static void fill_row(struct making *m, const struct sandbox_state *state)
{
    m->row.uuid = m->made.uuid;
    m->row.seq = 1;
    m->row.created = m->row.updated = time(NULL);
    m->row.has_ek = state->has_ek;
    memcpy(m->row.ek_sha256, state->ek_sha256, sizeof m->row.ek_sha256);
    /* "ready": made and never powered on. */
    snprintf(m->row.power, sizeof m->row.power, "ready");
}

static void store(struct making *m, const struct sandbox_state *state)
{
    struct db_credential credential;
    struct db_create_args args = {.instance = &m->row, .credential = &credential};
    struct db_audit audit = {.kind = m->made.is_moved ? "import-swtpm" : "create", .uuid = &m->made.uuid,
                             .peer = m->peer, .text = m->row.name};
    uint8_t *bytes = NULL;
    int err;

    fill_row(m, state);
    err = keys_wrap_instance(m->broker->keys, &m->made.uuid, m->key, m->row.wrapped_key);
    m->row.wrapped_key_len = SEAL_KEY_LEN;
    if (!err)
        err = make_credential(m, &credential);
    if (!err)
        err = seal_first(m, state, &args.record, &bytes);
    if (!err)
        err = db_instance_create(m->broker->db, &args, &audit, on_stored, m);
    vt_free(bytes);
    if (err)
        end(m, err, vt_err_text(err));
}

/* ---- The engine ---- */

static void tell_key(struct making *m, int err, const struct cr_rsa_key *key)
{
    uint8_t bytes[4 + SANDBOX_KEY_LEN_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_slice part = CR_SLICE(bytes, 0);

    wr_put32(&w, (uint32_t)err);
    if (key)
        sandbox_wr_key(&w, key);
    part.len = w.len;
    err = engine_request(m->engine, SANDBOX_KEY_IS, &part, 1);
    vt_wipe(bytes, sizeof bytes);
    /* One that is gone says so itself. */
    if (err && err != VT_ECLOSED)
        end(m, err, vt_err_text(err));
}

static void on_key(void *arg, int err, const struct cr_rsa_key *key)
{
    struct making *m = arg;

    m->wish = NULL;
    tell_key(m, err, key);
}

/* False: it may not ask, or this is no question. */
static bool give_key(struct making *m, const uint8_t *payload, size_t len)
{
    static const struct vt_uuid administrators;
    struct rd r = rd_from(payload, len);
    CR_SECRET_RSA key;
    unsigned bits;
    uint32_t e;
    int err;

    if (m->keys == SANDBOX_KEYS_MAX || !sandbox_rd_key_ask(&r, &bits, &e))
        return false;
    m->keys++;
    err = keypool_ask(m->broker->keypool, &administrators, bits, e, &key, on_key, m, &m->wish);
    if (err != VT_EAGAIN)
        tell_key(m, err, err ? NULL : &key);
    return true;
}

/* What an engine says of hostile bytes is hostile, too: an error of ours, and text that can be shown. */
static void end_refused(struct making *m, const uint8_t *payload, size_t len)
{
    struct rd r = rd_from(payload, len);
    int err = (int32_t)rd_get32(&r);
    char text[480];
    size_t count = VT_MIN(r.left, sizeof text - 1);

    for (size_t i = 0; i < count; i++)
        text[i] = r.at[i] >= ' ' && r.at[i] <= '~' ? (char)r.at[i] : '?';
    text[count] = '\0';
    if (r.bad || err >= VT_OK || err < VT_ENOSPC)
        err = VT_EFAIL;
    end(m, err, count ? text : "the engine refused the state");
}

static void on_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    struct making *m = arg;
    struct sandbox_state state;

    if (type == SANDBOX_STATE && sandbox_rd_state(&state, payload, len) && state.permanent.len &&
        (!m->made.is_moved || sandbox_rd_swtpm_facts(&m->made.facts, &state.response)))
        store(m, &state);
    else if (type == SANDBOX_FAILED && m->made.is_moved)
        end_refused(m, payload, len);
    else if (type != SANDBOX_KEY || !give_key(m, payload, len))
        end(m, VT_EFAIL, "the engine could not make a TPM; the log has the reason");
}

static void on_gone(void *arg, const char *why)
{
    vt_error("manufacture: engine gone: %s", why);
    end(arg, VT_EFAIL, "the engine process died while it made the TPM; the log has the reason");
}

static const struct engine_ops ops = {.on_reply = on_reply, .on_gone = on_gone};

/* Behind seed and profile: with_ek, or key and file. */
static int request(struct making *m, const uint8_t *head, size_t head_len, const struct manufacture_from *from)
{
    uint8_t with_ek = m->with_ek, bytes[SANDBOX_SWTPM_KEY_LEN + 4];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_slice parts[3] = {CR_SLICE(head, head_len), CR_SLICE(&with_ek, 1)};
    int err;

    if (!from)
        return engine_request(m->engine, SANDBOX_MANUFACTURE, parts, 2);
    sandbox_wr_swtpm_key(&w, &from->key);
    wr_put32(&w, (uint32_t)from->len);
    parts[1] = CR_SLICE(bytes, sizeof bytes);
    parts[2] = CR_SLICE(from->file, from->len);
    err = engine_request(m->engine, SANDBOX_SWTPM, parts, 3);
    vt_wipe(bytes, sizeof bytes);
    return err;
}

static int ask(struct making *m, const struct manufacture_from *from)
{
    uint8_t head[CR_DRBG_SEED + SANDBOX_PROFILE_LEN];
    struct wr w = wr_to(head, sizeof head);
    uint8_t *seed = wr_room(&w, CR_DRBG_SEED);
    int err = cr_key_random(seed, CR_DRBG_SEED);

    tpm_profile_write(&w, &m->limits);
    if (!err)
        err = engine_spawn(m->broker->zygote, &ops, m, &m->engine);
    if (!err)
        err = request(m, head, sizeof head, from);
    vt_wipe(head, sizeof head);
    return err;
}

static int prepare(struct making *m, const struct manufacture *order)
{
    uint8_t random[16];
    int err = cr_os_random(random, sizeof random);

    if (!err)
        err = vt_vault_take(m->broker->vault, &m->key, NULL);
    if (!err)
        err = cr_key_random(m->key, sizeof *m->key);
    if (err)
        return err;
    if (order->has_uuid)
        m->made.uuid = order->uuid;
    else
        vt_uuid_from_random(&m->made.uuid, random);
    m->with_ek = order->with_ek;
    m->limits = *order->limits;
    m->require_measure = order->require_measure;
    m->host_pcrs = order->host_pcrs;
    m->made.is_moved = order->from != NULL;
    snprintf(m->peer, sizeof m->peer, "%s", order->peer);
    snprintf(m->row.name, sizeof m->row.name, "%s", order->name);
    snprintf(m->row.group, sizeof m->row.group, "%s", order->group);
    snprintf(m->row.profile, sizeof m->row.profile, "%s", order->profile);
    return VT_OK;
}

void manufacture(struct broker *broker, const struct manufacture *order,
                 void (*done)(void *arg, int err, const struct manufactured *made, const char *why), void *arg)
{
    struct making *m = VT_NEW(struct making);
    int err;

    if (!m) {
        done(arg, VT_ENOMEM, NULL, "out of memory");
        return;
    }
    m->broker = broker;
    m->done = done;
    m->arg = arg;
    err = prepare(m, order);
    if (!err)
        err = ask(m, order->from);
    if (err)
        end(m, err, "no engine process can be started now");
}
