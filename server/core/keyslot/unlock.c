/* SPDX-License-Identifier: Apache-2.0 */
/* Which slot opens the store, in which order they are tried, and why the others did not. */
#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/keyslot/keyslot_priv.h"

#define ROWS_MAX 64

struct unlock {
    const struct keyslot_spec *spec;
    const struct vt_uuid *store;
    struct vt_key *master;
    struct db_keyslot *opened;
    struct vt_why tried;            /* "slot 0 (keyfile): ...; slot 1 ..." */
    struct vt_why passed;           /* the same, of TPMs only */
    const uint8_t *secret;          /* of the spec's file; NULL: each row has its own */
    size_t secret_len;
    bool is_auto, done;
    int hard;                       /* not a matter of keys: VT_ENOMEM */
    size_t count;
    struct db_keyslot rows[ROWS_MAX];
};

static void add_note(struct vt_why *to, const struct db_keyslot *slot, const char *reason)
{
    size_t used = strlen(to->text);

    snprintf(to->text + used, sizeof to->text - used, "%sslot %lld (%s): %s", used ? "; " : "", (long long)slot->id,
             slot->kind, reason);
}

static void note(struct unlock *u, const struct db_keyslot *slot, const char *reason)
{
    /* The sum of all reasons may be cut; here each is whole. */
    vt_notice("store: key slot %lld (%s) does not open: %s", (long long)slot->id, slot->kind, reason);
    add_note(&u->tried, slot, reason);
    if (keyslot_is_tpm(slot->kind))
        add_note(&u->passed, slot, reason);
}

static int try_secret(struct unlock *u, const struct db_keyslot *slot, const uint8_t *secret, size_t len)
{
    struct vt_why why = {0};
    int err = keyslot_open(slot, secret, len, u->store, u->master, &why);

    if (err) {
        note(u, slot, why.text);
        return err;
    }
    *u->opened = *slot;
    u->done = true;
    return VT_OK;
}

static int try_own(struct unlock *u, const struct db_keyslot *slot)
{
    struct vt_why why = {0};
    uint8_t *secret;
    size_t len;
    int err = keyslot_own_secret(slot, u->is_auto ? NULL : u->spec, &secret, &len, &why);

    if (err) {
        note(u, slot, why.text);
        return err;
    }
    if (why.text[0])
        vt_warning("store: key slot %lld (%s): %s", (long long)slot->id, slot->kind, why.text);
    err = try_secret(u, slot, secret, len);
    vt_free_wiped(secret, len);
    return err;
}

/* ---- Order ---- */

static int collect(void *ctx, const struct db_keyslot *slot)
{
    struct unlock *u = ctx;

    if ((u->is_auto || strcmp(slot->kind, u->spec->kind) == 0) && u->count < ROWS_MAX)
        u->rows[u->count++] = *slot;
    return VT_OK;
}

static int by_rank(const void *a, const void *b)
{
    const struct db_keyslot *x = a, *y = b;
    unsigned rank_x = keyslot_rank(x->kind), rank_y = keyslot_rank(y->kind);

    if (rank_x != rank_y)
        return rank_x < rank_y ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void try_all(struct unlock *u)
{
    qsort(u->rows, u->count, sizeof u->rows[0], by_rank);
    for (size_t i = 0; i < u->count && !u->done && !u->hard; i++) {
        int err = u->secret ? try_secret(u, &u->rows[i], u->secret, u->secret_len) : try_own(u, &u->rows[i]);

        if (err == VT_ENOMEM)
            u->hard = err;
    }
}

/* Where no reason has named it. */
static const char *way_out(const struct unlock *u)
{
    if (strcmp(u->spec->kind, "recovery") == 0 || strstr(u->tried.text, "recovery key"))
        return "";
    return "; the recovery key opens it: --keyslot recovery-file:FILE";
}

static int conclude(const struct unlock *u, struct vt_why *why)
{
    if (u->hard)
        return vt_fail(why, u->hard, "the key slots cannot be tried: %s", vt_err_text(u->hard));
    if (u->done) {
        if (u->passed.text[0])
            vt_fail(why, VT_OK, "%s", u->passed.text);
        return VT_OK;
    }
    if (!u->tried.text[0])
        return vt_fail(why, VT_EKEY, "the store has no key slot of kind %s", u->spec->kind);
    return vt_fail(why, VT_EKEY, "no key slot opens: %s%s", u->tried.text, way_out(u));
}

int keyslot_unlock(struct db *db, const struct keyslot_spec *spec, const struct vt_uuid *store, struct vt_key *master,
                   struct db_keyslot *opened, struct vt_why *why)
{
    struct unlock *u = VT_NEW(struct unlock);
    uint8_t *secret = NULL;
    size_t len = 0;
    int err = VT_OK;

    if (!u)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    u->spec = spec;
    u->store = store;
    u->master = master;
    u->opened = opened;
    u->is_auto = strcmp(spec->kind, "auto") == 0;
    if (!u->is_auto && !keyslot_by_server(spec->kind)) {
        err = keyslot_read_secret(spec, false, &secret, &len, why);
        if (err && err != VT_ENOMEM && err != VT_ENOTSUP)
            err = VT_EKEY;
        u->secret = secret;
        u->secret_len = len;
    }
    if (!err) {
        err = db_keyslot_each(db, collect, u);
        vt_fail(err ? why : NULL, err, "the key slots cannot be read: %s", vt_err_text(err));
    }
    if (!err) {
        try_all(u);
        err = conclude(u, why);
    }
    vt_free_wiped(secret, len);
    vt_free(u);
    return err;
}
