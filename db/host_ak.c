/* SPDX-License-Identifier: Apache-2.0 */
/* The attestation key of the host's TPM (docs/attestation.md): at most one row, read, put, replaced. */
#include "db/sqlite_priv.h"

int db_host_ak_get(struct db *db, struct db_host_ak *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_HOST_AK);
    there = q_row(&q);
    if (there) {
        q_get_text(&q, 0, out->kind, sizeof out->kind);
        q_get_fixed(&q, 1, out->modulus, sizeof out->modulus);
        out->blob_len = q_get_blob(&q, 2, out->blob, sizeof out->blob);
    }
    return pool_end_one(db, &q, there);
}

int db_host_ak_put(struct db *db, const struct db_host_ak *ak, bool replace, const struct db_audit *audit,
                   db_done done, void *arg)
{
    struct request *req;

    if (!ak->blob_len || ak->blob_len > sizeof ak->blob ||
        strnlen(ak->kind, sizeof ak->kind) == sizeof ak->kind)
        return VT_EUSAGE;
    req = request_new(replace ? VERB_HOST_AK_REPLACE : VERB_HOST_AK, NULL, audit, done, arg);
    return request_submit(db, req, req && request_copy_extra(req, ak, 1, sizeof *ak));
}

int verb_host_ak(struct txn *t, struct request *req)
{
    const struct db_host_ak *ak = req->extra;
    struct q q;
    int err;

    q_open(&q, t->conn, W_HOST_AK);
    q_text(&q, ak->kind);
    q_blob(&q, ak->modulus, sizeof ak->modulus);
    q_blob(&q, ak->blob, ak->blob_len);
    err = q_run(&q);
    return err ? err : flip_one(t, ROW_HOST_AK, ROW_IN);
}

static int there(struct txn *t, bool *is_there)
{
    struct q q;

    q_open(&q, t->conn, ROW_HOST_AK);
    *is_there = q_row(&q);
    return q_close(&q);
}

int verb_host_ak_replace(struct txn *t, struct request *req)
{
    bool is_there;
    struct q q;
    int err = there(t, &is_there);

    if (!err && is_there) {
        err = flip_one(t, ROW_HOST_AK, ROW_OUT);
        if (!err) {
            q_open(&q, t->conn, W_HOST_AK_DELETE);
            err = q_run(&q);
        }
    }
    return err ? err : verb_host_ak(t, req);
}
