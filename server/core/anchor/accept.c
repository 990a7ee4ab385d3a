/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vtpm-server accept-rollback`. The new row stands alone in the file, pending, and follows what the TPM
 * holds; from then on the file is accepted, and what was cut off is made up by the next start as after any
 * other advance.
 */
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/anchor/anchor.h"

struct accept {
    struct db *db;
    struct keys *keys;
    struct anchor_place place;
    struct anchor_rows rows;
    struct anchor_held held;
    struct db_anchor made;
    char found[ANCHOR_TEXT];
    int err;    /* of the last request to the store */
};

static void on_db(void *arg, int err)
{
    struct accept *a = arg;

    a->err = err;
}

/* A request's own error, or its outcome. */
static int outcome(struct accept *a, int err, struct vt_why *why)
{
    if (!err) {
        db_drain(a->db);
        err = a->err;
    }
    return err ? vt_fail(why, err, "the store cannot be written: %s", vt_err_text(err)) : VT_OK;
}

/* ---- Opening, by the recovery key and nothing else ---- */

static int check_specs(const struct keyslot_spec *specs, size_t count, struct vt_why *why)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(specs[i].kind, "recovery") != 0)
            return vt_fail(why, VT_EUSAGE,
                           "accept-rollback needs the recovery key: --keyslot recovery-file:FILE, not %s",
                           specs[i].kind);
    return count ? VT_OK
                 : vt_fail(why, VT_EUSAGE,
                           "accept-rollback needs the recovery key: --keyslot recovery-file:FILE");
}

static int unlock(struct accept *a, const struct keyslot_spec *specs, size_t count, struct vt_why *why)
{
    VT_SECRET_KEY master = {{0}};
    struct db_keyslot opened;
    struct vt_uuid store;
    int err = VT_EUSAGE;

    db_store_uuid(a->db, &store);
    for (size_t i = 0; i < count && err; i++) {
        struct vt_why reason = {0};

        err = keyslot_unlock(a->db, &specs[i], &store, &master, &opened, &reason);
        if (err && i + 1 == count)
            return vt_fail(why, err, "%s", reason.text);
    }
    return keys_new(&a->keys, &master, &store, why);
}

static int open_it(struct accept *a, const char *dir, const struct keyslot_spec *specs, size_t count,
                   struct vt_why *why)
{
    struct db_config config = {.dir = dir};
    int err = check_specs(specs, count, why);

    if (!err)
        err = db_open(&config, &a->db, why);
    if (!err)
        err = unlock(a, specs, count, why);
    if (!err)
        err = db_verify(a->db, keys_mac(a->keys), why);
    return err ? err : anchor_rows_read(&a->rows, a->db, why);
}

static int choose_place(struct accept *a, const struct anchor_config *config, struct vt_why *why)
{
    const struct db_anchor *last = anchor_rows_last(&a->rows);

    if (config->mode == ANCHOR_IN) {
        a->place = config->place;
        return VT_OK;
    }
    if (last)
        return anchor_place_parse(&a->place, last->place, why);
    if (anchor_place_of_slots(&a->place, a->db))
        return vt_fail(why, VT_EUSAGE, "the store names no host TPM: say which one: --anchor tpm2[:tcti=CONF]");
    return VT_OK;
}

/* ---- Without an anchor from now on ---- */

/* The TPM forgets it too: else the file would be one from before it was anchored. */
static void release(struct accept *a, const struct anchor_config *config, char report[ANCHOR_STATUS])
{
    static const struct anchor_rows none;
    struct vt_why reason = {0};
    size_t len;
    int err = choose_place(a, config, &reason);

    if (err == VT_EUSAGE)
        return; /* neither rows nor slots know of a TPM */
    if (!err)
        err = anchor_look(&a->held, &a->place, a->keys, &a->rows, &reason);
    if (!err && a->held.what == HELD_OURS && anchor_judge(&none, &a->held, a->keys) != ANCHOR_NEW)
        err = anchor_release(&a->place, a->keys, &a->held, &reason);
    len = strlen(report);
    if (err)
        snprintf(report + len, ANCHOR_STATUS - len,
                 "; the host TPM could not be told, and may refuse the store until it is: "
                 "%.200s",
                 reason.text);
}

static int drop(struct accept *a, const struct anchor_config *config, char report[ANCHOR_STATUS], struct vt_why *why)
{
    static const struct db_audit audit = {
        .kind = "anchor-removed",
        .peer = "accept-rollback",
        .text = "by the recovery key: an older copy of the store is not noticed any more"};
    int err = VT_OK;

    if (anchor_rows_last(&a->rows)) {
        err = db_start(a->db, keys_mac(a->keys), false, why);
        if (!err)
            err = outcome(a, db_anchor_drop(a->db, &audit, on_db, a), why);
    }
    if (err)
        return err;
    snprintf(report, ANCHOR_STATUS, "the store is anchored no more: an older copy of it will not be noticed; start the "
             "server with --anchor none, or it may be anchored again");
    release(a, config, report);
    return VT_OK;
}

/* ---- Anchored anew ---- */

static struct db_anchor next_row(const struct accept *a)
{
    const struct db_anchor *last = anchor_rows_last(&a->rows);
    const bool is_ours = a->held.what == HELD_OURS;
    struct db_anchor next = {.epoch = last ? last->epoch : 0, .nv = is_ours ? a->held.nv : a->held.free_nv};

    if (is_ours && a->held.epoch > next.epoch)
        next.epoch = a->held.epoch;
    next.epoch++;
    if (is_ours)
        memcpy(next.previous, a->held.hash, sizeof next.previous);
    anchor_place_text(next.place, &a->place);
    return next;
}

static int put(struct accept *a, struct vt_why *why)
{
    struct db_anchor next = next_row(a);
    struct db_audit audit = {.kind = "rollback-accepted", .peer = "accept-rollback", .text = a->found};
    int err;

    if (a->held.what != HELD_OURS && !a->held.has_free)
        return vt_fail(why, VT_ENOSPC,
                       "the host TPM has no place left for this store's anchor: tpm2_getcap handles-nv-index "
                       "shows what is there");
    if (next.epoch > INT64_MAX)
        return vt_fail(why, VT_EDAMAGED, "the host TPM holds an epoch that no store can have made");
    err = db_start(a->db, keys_mac(a->keys), false, why);
    return err ? err : outcome(a, db_anchor_put(a->db, &next, true, &a->made, &audit, on_db, a), why);
}

static int anchor_anew(struct accept *a, char report[ANCHOR_STATUS], struct vt_why *why)
{
    struct vt_why reason = {0};
    int err = put(a, why);

    if (err)
        return err;
    err = anchor_write(&a->place, a->keys, &a->made, &reason);
    if (err) {
        snprintf(report, ANCHOR_STATUS,
                 "accepted (%s); the host TPM could not be written yet, the server does it when it "
                 "starts: %.250s",
                 a->found, reason.text);
        return VT_OK;
    }
    snprintf(report, ANCHOR_STATUS, "accepted (%s); anchored anew with epoch %llu", a->found,
             (unsigned long long)a->made.epoch);
    return outcome(a, db_anchor_done(a->db, a->made.epoch, on_db, a), why);
}

static int accept(struct accept *a, const struct anchor_config *config, char report[ANCHOR_STATUS], struct vt_why *why)
{
    struct vt_why reason = {0};
    enum anchor_verdict verdict;
    int err;

    if (config->mode == ANCHOR_OFF)
        return drop(a, config, report, why);
    err = choose_place(a, config, why);
    if (err)
        return err;
    err = anchor_look(&a->held, &a->place, a->keys, &a->rows, &reason);
    if (err)
        return vt_fail(why, err, "the host TPM cannot be asked: %.300s; --anchor none takes the anchor off the store",
                       reason.text);
    verdict = anchor_judge(&a->rows, &a->held, a->keys);
    anchor_explain(a->found, verdict, &a->rows, &a->held);
    if (!anchor_is_newest(verdict))
        return anchor_anew(a, report, why);
    snprintf(report, ANCHOR_STATUS, "%s: nothing was changed",
             verdict == ANCHOR_NEW ? "the store was never anchored, and this TPM has nothing of it" : a->found);
    return VT_OK;
}

int store_accept_rollback(const char *dir, const struct keyslot_spec *specs, size_t count,
                          const struct anchor_config *config, char report[ANCHOR_STATUS], struct vt_why *why)
{
    struct accept a = {0};
    int err = open_it(&a, dir, specs, count, why);

    report[0] = '\0';
    if (!err)
        err = accept(&a, config, report, why);
    db_close(a.db);
    keys_free(a.keys);
    return err;
}
