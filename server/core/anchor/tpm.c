/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/anchor/tpm.h"

#include <stdio.h>

#include "server/core/keyslot/place.h"
#include "server/wire/cursor.h"

/*
 * Where anchors are made: of 2,048 places the one that the store's uuid chooses, or one of the next if somebody else is
 * there. The same store looks in the same places, also when its file has forgotten that it was anchored.
 */
#define FIRST2  0x01807000u /* TPM 2.0: two indices each, in the owner's range */
#define FIRST12 0x00017000u /* TPM 1.2: one index each */
#define PLACES  2048u
#define TRIES   8u

/* ---- Which TPM ---- */

int anchor_place_parse(struct anchor_place *place, const char *text, struct vt_why *why)
{
    size_t len = strcspn(text, ":");
    struct keyslot_tpm_args args;
    char kind[16];
    int err;

    memset(place, 0, sizeof *place);
    snprintf(kind, sizeof kind, "%.*s", (int)VT_MIN(len, sizeof kind - 1), text);
    if (strcmp(kind, "tpm2") != 0 && strcmp(kind, "tpm12") != 0)
        return vt_fail(why, VT_EUSAGE, "--anchor %.60s: must be auto, none, tpm2[:tcti=CONF] or "
                       "tpm12[:owner-auth-file=FILE][:device=PATH]", text);
    err = keyslot_tpm_args(kind, text + len + (text[len] == ':'), &args, why);
    if (!err && (args.pcrs[0] || args.srk_auth[0]))
        return vt_fail(why, VT_EUSAGE,
                       "--anchor %.60s: says where the TPM is, and who its owner is, nothing else", text);
    place->config.kind = kind[3] == '2' ? HWTPM_TPM2 : HWTPM_TPM12;
    memcpy(place->config.where, args.where, sizeof args.where);
    memcpy(place->owner_auth, args.owner_auth, sizeof args.owner_auth);
    return err;
}

void anchor_place_text(char out[DB_ANCHOR_PLACE], const struct anchor_place *place)
{
    const bool is12 = place->config.kind == HWTPM_TPM12;

    snprintf(out, DB_ANCHOR_PLACE, "%s%s%.520s", is12 ? "tpm12" : "tpm2",
             !place->config.where[0] ? "" : is12 ? ":device=" : ":tcti=", place->config.where);
}

struct slot_search {
    struct anchor_place *place;
    bool found;
};

static int look_at_slot(void *ctx, const struct db_keyslot *slot)
{
    struct slot_search *search = ctx;
    struct keyslot_place place;

    if (search->found || !keyslot_is_tpm(slot->kind) || keyslot_place_from_row(&place, slot->params, NULL, NULL))
        return VT_OK;
    vt_auth_wipe(&place.config.srk_auth);
    search->found = place.config.kind == HWTPM_TPM2;
    search->place->config.kind = HWTPM_TPM2;
    memcpy(search->place->config.where, place.config.where, sizeof place.config.where);
    return VT_OK;
}

int anchor_place_of_slots(struct anchor_place *place, struct db *db)
{
    struct slot_search search = {.place = place};
    int err;

    memset(place, 0, sizeof *place);
    err = db_keyslot_each(db, look_at_slot, &search);
    if (!search.found)
        memset(place, 0, sizeof *place);
    return err || search.found ? err : VT_ENOTFOUND;
}

/* ---- What the file says ---- */

static int read_row(struct db *db, bool pending, bool *has, struct db_anchor *out)
{
    int err = db_anchor_get(db, pending, out);

    *has = !err;
    return err == VT_ENOTFOUND ? VT_OK : err;
}

int anchor_rows_read(struct anchor_rows *rows, struct db *db, struct vt_why *why)
{
    int err;

    memset(rows, 0, sizeof *rows);
    err = read_row(db, false, &rows->has_done, &rows->done);
    if (!err)
        err = read_row(db, true, &rows->has_pending, &rows->pending);
    return err ? vt_fail(why, err, "the store's anchor cannot be read: %s", vt_err_text(err)) : VT_OK;
}

const struct db_anchor *anchor_rows_last(const struct anchor_rows *rows)
{
    return rows->has_pending ? &rows->pending : rows->has_done ? &rows->done : NULL;
}

/* ---- What the TPM says: 64 bytes, {store, epoch, time, hash} ---- */

static uint32_t place_at(enum hwtpm_kind kind, const struct vt_uuid *store, unsigned attempt)
{
    uint8_t hash[CR_SHA256_LEN];
    uint32_t n;

    cr_sha256(hash, store->bytes, sizeof store->bytes);
    n = ((uint32_t)(hash[0] << 8 | hash[1]) + attempt) % PLACES;
    return kind == HWTPM_TPM12 ? FIRST12 + n : FIRST2 + 2 * n;
}

static void put_content(uint8_t out[HWTPM_ANCHOR], const struct vt_uuid *store, const struct db_anchor *row,
                        const uint8_t hash[CR_SHA256_LEN])
{
    struct wr w = wr_to(out, HWTPM_ANCHOR);

    wr_copy(&w, store->bytes, sizeof store->bytes);
    wr_put64(&w, row->epoch);
    wr_put64(&w, (uint64_t)row->time);
    wr_copy(&w, hash, CR_SHA256_LEN);
}

static void get_content(struct anchor_held *held, const uint8_t in[HWTPM_ANCHOR])
{
    struct rd r = rd_from(in + sizeof(struct vt_uuid), HWTPM_ANCHOR - sizeof(struct vt_uuid));

    held->epoch = rd_get64(&r);
    held->time = (int64_t)rd_get64(&r);
    rd_copy(&r, held->hash, sizeof held->hash);
}

/* On the TPM's thread: by value. */
struct look_job {
    struct vt_key auth;
    struct vt_uuid store;
    bool has_nv;
    uint32_t nv;
    struct anchor_held held;
};

/* One place. What is there and is not ours is an answer, not an error. */
static int look_at(struct hwtpm *tpm, const struct look_job *job, uint32_t nv, struct anchor_held *held,
                   struct vt_why *why)
{
    struct hwtpm_anchor anchor = {.index = nv, .auth = job->auth};
    struct vt_why reason = {0};
    int err = hwtpm_anchor_read(tpm, &anchor, &reason);

    vt_key_wipe(&anchor.auth);
    held->nv = nv;
    held->what = err == VT_ENOTFOUND ? HELD_NOTHING : err ? HELD_STRANGE : HELD_OURS;
    if (!err)
        get_content(held, anchor.data);
    return err && err != VT_ENOTFOUND && err != VT_EAUTH && err != VT_EDAMAGED ? vt_fail(why, err, "%s", reason.text)
                                                                               : VT_OK;
}

static int do_look(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct look_job *job = arg;
    int err = job->has_nv ? look_at(tpm, job, job->nv, &job->held, why) : VT_OK;

    for (unsigned i = 0; !err && i < TRIES && job->held.what != HELD_OURS && !job->held.has_free; i++) {
        struct anchor_held at = {0};

        err = look_at(tpm, job, place_at(hwtpm_kind(tpm), &job->store, i), &at, why);
        if (!job->has_nv)
            job->held = at;
        job->held.has_free = !err && at.what == HELD_NOTHING;
        job->held.free_nv = at.nv;
    }
    return err;
}

static struct hwtpm_config config_of(const struct anchor_place *place)
{
    struct hwtpm_config config = place->config;

    config.limit_ms = HWTPM_LIMIT_MS;
    return config;
}

int anchor_look(struct anchor_held *held, const struct anchor_place *place, const struct keys *keys,
                const struct anchor_rows *rows, struct vt_why *why)
{
    const struct db_anchor *last = anchor_rows_last(rows);
    const struct hwtpm_config config = config_of(place);
    struct look_job job = {.has_nv = last != NULL, .nv = last ? last->nv : 0};
    int err;

    keys_anchor_auth(keys, &job.auth);
    keys_store_uuid(keys, &job.store);
    err = hwtpm_run(&config, do_look, &job, sizeof job, why);
    vt_key_wipe(&job.auth);
    *held = job.held;
    return err ? VT_EUNAVAILABLE : VT_OK;
}

struct write_job {
    struct hwtpm_anchor anchor;
    bool may_make, has_owner;
    struct vt_auth owner;
    uint8_t hash[CR_SHA256_LEN], previous[CR_SHA256_LEN];
};

static int do_write(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct write_job *job = arg;
    struct hwtpm_anchor now = {.index = job->anchor.index, .auth = job->anchor.auth};
    struct anchor_held held = {0};
    struct vt_why reason = {0};
    int err = hwtpm_anchor_read(tpm, &now, &reason);

    if (err == VT_ENOTFOUND && job->may_make)
        err = hwtpm_anchor_make(tpm, &now, job->has_owner ? &job->owner : NULL, why);
    vt_key_wipe(&now.auth);
    if (err)
        return vt_fail(why, err, "%s", reason.text);
    get_content(&held, now.data);
    if (vt_ct_equal(held.hash, job->hash, sizeof held.hash))
        return VT_OK;
    if (!vt_ct_equal(held.hash, job->previous, sizeof held.hash))
        return vt_fail(why, VT_EDAMAGED, "the host TPM holds the anchor of another copy of this store (epoch %llu)",
                       (unsigned long long)held.epoch);
    return hwtpm_anchor_advance(tpm, &job->anchor, why);
}

static bool is_zero(const uint8_t hash[CR_SHA256_LEN])
{
    static const uint8_t zeros[CR_SHA256_LEN];

    return vt_ct_equal(hash, zeros, sizeof zeros);
}

int anchor_write(const struct anchor_place *place, const struct keys *keys, const struct db_anchor *row,
                 struct vt_why *why)
{
    const struct hwtpm_config config = config_of(place);
    struct write_job job = {.anchor.index = row->nv, .may_make = is_zero(row->previous),
                            .has_owner = place->owner_auth[0] != '\0'};
    struct vt_uuid store;
    int err = job.has_owner && job.may_make ? keyslot_read_auth(place->owner_auth, &job.owner, why) : VT_OK;

    if (err)
        return err;
    keys_store_uuid(keys, &store);
    keys_anchor_auth(keys, &job.anchor.auth);
    keys_anchor_hash(keys, row, job.hash);
    memcpy(job.previous, row->previous, sizeof job.previous);
    put_content(job.anchor.data, &store, row, job.hash);
    err = hwtpm_run(&config, do_write, &job, sizeof job, why);
    vt_wipe(&job, sizeof job);
    return err;
}

static int do_release(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    return hwtpm_anchor_advance(tpm, arg, why);
}

int anchor_release(const struct anchor_place *place, const struct keys *keys, const struct anchor_held *held,
                   struct vt_why *why)
{
    const struct hwtpm_config config = config_of(place);
    struct hwtpm_anchor anchor = {.index = held->nv};
    int err;

    keys_anchor_auth(keys, &anchor.auth);
    err = hwtpm_run(&config, do_release, &anchor, sizeof anchor, why);
    vt_key_wipe(&anchor.auth);
    return err;
}

/* ---- What it means ---- */

static bool holds(const struct anchor_held *held, const struct keys *keys, const struct db_anchor *row)
{
    uint8_t hash[CR_SHA256_LEN];

    keys_anchor_hash(keys, row, hash);
    return vt_ct_equal(held->hash, hash, sizeof hash);
}

/* The TPM has one of ours, or the place where one can be made, and the file knows of an anchor. */
static enum anchor_verdict judge_ours(const struct anchor_rows *rows, const struct anchor_held *held,
                                      const struct keys *keys)
{
    const struct db_anchor *last = anchor_rows_last(rows);

    if (rows->has_pending && holds(held, keys, &rows->pending))
        return ANCHOR_WRITTEN;
    if (rows->has_pending && vt_ct_equal(held->hash, rows->pending.previous, sizeof held->hash))
        return ANCHOR_TO_WRITE;
    if (!rows->has_pending && holds(held, keys, &rows->done))
        return ANCHOR_FITS;
    if (held->epoch > last->epoch)
        return ANCHOR_OLDER;
    return held->epoch == last->epoch || (rows->has_done && held->epoch == rows->done.epoch) ? ANCHOR_FORK
                                                                                             : ANCHOR_BEHIND;
}

enum anchor_verdict anchor_judge(const struct anchor_rows *rows, const struct anchor_held *held,
                                 const struct keys *keys)
{
    const struct db_anchor *last = anchor_rows_last(rows);

    if (!last)
        return held->what == HELD_NOTHING || (held->what == HELD_OURS && is_zero(held->hash)) ? ANCHOR_NEW
               : held->what == HELD_OURS ? ANCHOR_BEFORE : ANCHOR_STRANGE;
    if (held->what == HELD_STRANGE)
        return ANCHOR_STRANGE;
    if (held->what == HELD_NOTHING)
        return rows->has_pending && is_zero(rows->pending.previous) ? ANCHOR_TO_WRITE : ANCHOR_GONE;
    return judge_ours(rows, held, keys);
}

void anchor_explain(char out[ANCHOR_TEXT], enum anchor_verdict verdict, const struct anchor_rows *rows,
                    const struct anchor_held *held)
{
    const struct db_anchor *last = anchor_rows_last(rows);
    char file[64] = "none", tpm[64], then[VT_TIME_TEXT];

    if (last) {
        vt_time_text(then, last->time);
        snprintf(file, sizeof file, "epoch %llu of %s", (unsigned long long)last->epoch, then);
    }
    vt_time_text(then, held->time);
    snprintf(tpm, sizeof tpm, "epoch %llu of %s", (unsigned long long)held->epoch, then);
    switch (verdict) {
    case ANCHOR_OLDER:
        snprintf(out, ANCHOR_TEXT, "an older copy of the store: its anchor is %s, the host TPM holds %s", file, tpm);
        return;
    case ANCHOR_FORK:
        snprintf(out, ANCHOR_TEXT, "another copy of the store was at work since they parted: this one's anchor is %s, "
                 "the host TPM holds %s", file, tpm);
        return;
    case ANCHOR_BEHIND:
        snprintf(out, ANCHOR_TEXT, "the host TPM was set back: it holds %s, the store's anchor is %s", tpm, file);
        return;
    case ANCHOR_GONE:
        snprintf(out, ANCHOR_TEXT,
                 "the store is anchored (%s) at 0x%08x of a host TPM, but this one has nothing there: "
                 "it was cleared, or is another host's",
                 file, (unsigned)held->nv);
        return;
    case ANCHOR_STRANGE:
        snprintf(out, ANCHOR_TEXT,
                 "what the host TPM has at 0x%08x is not this store's anchor (%s): somebody removed that "
                 "and made it anew",
                 (unsigned)held->nv, file);
        return;
    case ANCHOR_BEFORE:
        snprintf(out, ANCHOR_TEXT,
                 "an older copy of the store, from before it was anchored: the host TPM holds %s", tpm);
        return;
    default:
        snprintf(out, ANCHOR_TEXT, "the store is the one that the host TPM holds (%s)", file);
    }
}
