/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The versions of the schema. A store is made by running every step from nothing, so a new store and one that
 * came through all migrations have the same text in sqlite_schema, and db_check_schema can compare it.
 */
#include "db/sqlite_priv.h"

#include <stdio.h>

#include "db/schema_sql.h"

/*
 * A step runs inside one transaction, before the keys are known: it must leave the values of all columns that
 * the MAC covers alone. (A step that cannot do so keeps the old columns until db_start has verified them.)
 */
const struct db_step db_steps[] = {
    {1, db_schema_sql},
    /* Where the event chain begins once old events were pruned: at most one row, absent before. */
    {2, "CREATE TABLE checkpoint (\n"
        "    id   INTEGER PRIMARY KEY CHECK (id = 1),\n"
        "    last INTEGER NOT NULL CHECK (last > 0),\n"
        "    hash BLOB    NOT NULL CHECK (length(hash) = 32),\n"
        "    mac  BLOB    NOT NULL CHECK (length(mac) = 32)\n"
        ") STRICT;"},
    /* Which Xen domain may be at the other end of an instance's vchan: server/core/binding.h. */
    {3, "CREATE TABLE binding (\n"
        "    uuid BLOB NOT NULL REFERENCES instance (uuid),\n"
        "    peer TEXT NOT NULL CHECK (length(peer) BETWEEN 4 AND 77),\n"
        "    PRIMARY KEY (uuid, peer)\n"
        ") STRICT, WITHOUT ROWID;\n"
        "CREATE INDEX binding_peer ON binding (peer);"},
    /*
     * Moving an instance to another server: docs/moving.md. The store's own key, the stores that are known, what was
     * exported (and is fenced while its row is here), and every export that was ever imported.
     */
    {4, "CREATE TABLE server_key (\n"
        "    id     INTEGER PRIMARY KEY CHECK (id = 1),\n"
        "    public BLOB NOT NULL CHECK (length(public) = 65),\n"
        "    sealed BLOB NOT NULL CHECK (length(sealed) BETWEEN 1 AND 128)\n"
        ") STRICT;\n"
        "CREATE TABLE peer (\n"
        "    name   TEXT NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),\n"
        "    store  BLOB NOT NULL UNIQUE CHECK (length(store) = 16),\n"
        "    public BLOB NOT NULL CHECK (length(public) = 65)\n"
        ") STRICT, WITHOUT ROWID;\n"
        "CREATE TABLE exported (\n"
        "    uuid   BLOB    NOT NULL PRIMARY KEY REFERENCES instance (uuid),\n"
        "    id     BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),\n"
        "    peer   TEXT    NOT NULL CHECK (length(peer) BETWEEN 1 AND 64),\n"
        "    store  BLOB    NOT NULL CHECK (length(store) = 16),\n"
        "    public BLOB    NOT NULL CHECK (length(public) = 65),\n"
        "    time   INTEGER NOT NULL\n"
        ") STRICT, WITHOUT ROWID;\n"
        "CREATE TABLE imported (\n"
        "    id     BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),\n"
        "    uuid   BLOB    NOT NULL CHECK (length(uuid) = 16),\n"
        "    store  BLOB    NOT NULL CHECK (length(store) = 16),\n"
        "    time   INTEGER NOT NULL\n"
        ") STRICT, WITHOUT ROWID;"},
    /* What the host TPM must hold: docs/keys.md. At most one row done, one pending. */
    {5, "CREATE TABLE anchor (\n"
        "    pending    INTEGER PRIMARY KEY CHECK (pending IN (0, 1)),\n"
        "    epoch      INTEGER NOT NULL CHECK (epoch > 0),\n"
        "    generation INTEGER NOT NULL,\n"
        "    digest     BLOB    NOT NULL CHECK (length(digest) = 32),\n"
        "    previous   BLOB    NOT NULL CHECK (length(previous) = 32),\n"
        "    time       INTEGER NOT NULL,\n"
        "    nv         INTEGER NOT NULL CHECK (nv BETWEEN 0 AND 4294967295),\n"
        "    place      TEXT    NOT NULL CHECK (length(place) BETWEEN 4 AND 559)\n"
        ") STRICT;"},
    /* The attestation key of the host's TPM, as the TPM made it: docs/attestation.md. */
    {6, "CREATE TABLE host_ak (\n"
        "    id      INTEGER PRIMARY KEY CHECK (id = 1),\n"
        "    kind    TEXT NOT NULL CHECK (kind IN ('tpm2', 'tpm12')),\n"
        "    modulus BLOB NOT NULL CHECK (length(modulus) = 256),\n"
        "    blob    BLOB NOT NULL CHECK (length(blob) BETWEEN 1 AND 1024)\n"
        ") STRICT;"},
    /*
     * Live migration: docs/moving.md. Where a peer listens, and which instances are expected from whom; `ticket` from
     * before its source is asked for the instance until that has answered.
     */
    {7, "CREATE TABLE peer_address (\n"
        "    name    TEXT NOT NULL PRIMARY KEY REFERENCES peer (name),\n"
        "    address TEXT NOT NULL CHECK (length(address) BETWEEN 1 AND 159)\n"
        ") STRICT, WITHOUT ROWID;\n"
        "CREATE TABLE arriving (\n"
        "    uuid   BLOB    NOT NULL PRIMARY KEY CHECK (length(uuid) = 16),\n"
        "    store  BLOB    NOT NULL CHECK (length(store) = 16),\n"
        "    sealed BLOB    CHECK (sealed IS NULL OR length(sealed) BETWEEN 1 AND 128),\n"
        "    ticket BLOB    CHECK (ticket IS NULL OR length(ticket) = 120),\n"
        "    time   INTEGER NOT NULL,\n"
        "    CHECK (sealed IS NOT NULL OR ticket IS NOT NULL)\n"
        ") STRICT, WITHOUT ROWID;"},
};
const size_t db_step_count = VT_COUNT(db_steps);

int db_migrate(sqlite3 *sq, const struct db_step *steps, size_t count, struct vt_why *why)
{
    int64_t version;
    int err = conn_int(sq, "PRAGMA user_version", &version);

    for (size_t i = 0; !err && i < count; i++) {
        char set_version[48];

        if (steps[i].version <= version)
            continue;
        snprintf(set_version, sizeof set_version, "PRAGMA user_version = %d", steps[i].version);
        err = db_err(sqlite3_exec(sq, steps[i].sql, NULL, NULL, NULL));
        if (!err)
            err = db_err(sqlite3_exec(sq, set_version, NULL, NULL, NULL));
        if (err)
            vt_fail(why, err, "migration to version %d: %s", steps[i].version, sqlite3_errmsg(sq));
    }
    return err;
}

static int migrate_older(sqlite3 *sq, const struct db_step *steps, size_t count, struct vt_why *why)
{
    int err = db_err(sqlite3_exec(sq, "BEGIN IMMEDIATE", NULL, NULL, NULL));

    if (err)
        return vt_fail(why, err, "the store cannot be locked for its migration: %s", sqlite3_errmsg(sq));
    err = db_migrate(sq, steps, count, why);
    if (!err) {
        err = db_err(sqlite3_exec(sq, "COMMIT", NULL, NULL, NULL));
        if (err)
            vt_fail(why, err, "the migration cannot be committed: %s", sqlite3_errmsg(sq));
    }
    if (!sqlite3_get_autocommit(sq))
        (void)sqlite3_exec(sq, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

int db_check_version(sqlite3 *sq, const struct db_step *steps, size_t count, struct vt_why *why)
{
    const int newest = steps[count - 1].version;
    int64_t application, version;
    int err = conn_int(sq, "PRAGMA application_id", &application);

    if (!err)
        err = conn_int(sq, "PRAGMA user_version", &version);
    if (err)
        return vt_fail(why, err, "not readable as a store: %s", sqlite3_errmsg(sq));
    if (application != DB_APPLICATION_ID)
        return vt_fail(why, VT_EDAMAGED,
                       "an SQLite file, but not a vtpm-server store (application_id 0x%08x)",
                       (unsigned)application);
    if (version > newest)
        return vt_fail(why, VT_EDAMAGED,
                       "the store is of version %lld, made by a newer vtpm-server; this one knows up to %d: "
                       "start the newer program, or restore a backup from before the upgrade",
                       (long long)version, newest);
    if (version < 1)
        return vt_fail(why, VT_EDAMAGED, "the store has no version; restore a backup");
    return version == newest ? VT_OK : migrate_older(sq, steps, count, why);
}

/* Whether `sq` has the same text for this object of the reference. */
static int same_object(sqlite3 *sq, const char *type, const char *name, const char *text, bool *same)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(
        sq, "SELECT count(*) FROM sqlite_schema WHERE type = ?1 AND name = ?2 AND sql = ?3", -1, &st, NULL);

    if (!rc)
        rc = sqlite3_bind_text(st, 1, type, -1, SQLITE_STATIC);
    if (!rc)
        rc = sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
    if (!rc)
        rc = sqlite3_bind_text(st, 3, text, -1, SQLITE_STATIC);
    if (!rc)
        rc = sqlite3_step(st);
    *same = rc == SQLITE_ROW && sqlite3_column_int(st, 0) == 1;
    sqlite3_finalize(st);
    return db_err(rc);
}

static int compare_schema(sqlite3 *sq, sqlite3 *reference, struct vt_why *why)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(reference, "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL",
                                -1, &st, NULL);
    int err = db_err(rc);

    while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *type = (const char *)sqlite3_column_text(st, 0);
        const char *name = (const char *)sqlite3_column_text(st, 1);
        bool same;

        err = same_object(sq, type, name, (const char *)sqlite3_column_text(st, 2), &same);
        if (!err && !same)
            err = vt_fail(why, VT_EDAMAGED, "the %s `%s` is missing or was changed; restore a backup", type,
                          name);
    }
    sqlite3_finalize(st);
    return err ? err : db_err(rc);
}

int db_check_schema(sqlite3 *sq, struct vt_why *why)
{
    sqlite3 *reference = NULL;
    int err =
        db_err(sqlite3_open_v2(":memory:", &reference, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));

    if (!err)
        err = conn_harden(reference);
    if (!err)
        err = db_migrate(reference, db_steps, db_step_count, why);
    if (!err)
        err = compare_schema(sq, reference, why);
    sqlite3_close(reference);
    return err;
}
