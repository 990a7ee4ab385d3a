-- SPDX-License-Identifier: Apache-2.0
-- Version 1 of the store. Never edit what was released: later versions are steps in migrate.c, and a new
-- store is made by running all of them. Columns that the store MAC covers are listed in sqlite_priv.h.

CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    store        BLOB    NOT NULL CHECK (length(store) = 16),
    next_keyslot INTEGER NOT NULL DEFAULT 0,
    generation   INTEGER NOT NULL DEFAULT 0,
    rows         INTEGER NOT NULL DEFAULT 0,
    mac          BLOB    CHECK (mac IS NULL OR length(mac) = 32),
    clean        INTEGER NOT NULL DEFAULT 1 CHECK (clean IN (0, 1))
) STRICT;

-- life: 0 live, 1 disabled, 2 broken, 3 deleted (a tombstone: its uuid is never used again).
CREATE TABLE instance (
    uuid        BLOB    NOT NULL PRIMARY KEY CHECK (length(uuid) = 16),
    name        TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    grp         TEXT    NOT NULL DEFAULT '' CHECK (length(grp) <= 64),
    profile     TEXT    NOT NULL CHECK (length(profile) <= 32),
    life        INTEGER NOT NULL DEFAULT 0 CHECK (life BETWEEN 0 AND 3),
    reason      TEXT    NOT NULL DEFAULT '' CHECK (length(reason) <= 255),
    power       TEXT    NOT NULL DEFAULT 'off' CHECK (power IN ('off', 'on', 'ready', 'needs-power-on')),
    domain      TEXT    NOT NULL DEFAULT '' CHECK (length(domain) <= 64),
    wrapped_key BLOB    NOT NULL
                CHECK (length(wrapped_key) <= 128 AND (life = 3) = (length(wrapped_key) = 0)),
    ek_sha256   BLOB    CHECK (ek_sha256 IS NULL OR length(ek_sha256) = 32),
    epoch       INTEGER NOT NULL DEFAULT 0,
    seq         INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    commands    INTEGER NOT NULL DEFAULT 0,
    state_bytes INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX instance_living_name ON instance (name) WHERE life <> 3;

-- The tag stands in front of the data, so that the MAC over all rows reads no overflow page.
CREATE TABLE record (
    uuid BLOB    NOT NULL UNIQUE REFERENCES instance (uuid),
    seq  INTEGER NOT NULL,
    tag  BLOB    NOT NULL CHECK (length(tag) = 16),
    data BLOB    NOT NULL
) STRICT;

CREATE TABLE credential (
    identity TEXT    NOT NULL PRIMARY KEY CHECK (length(identity) BETWEEN 1 AND 79),
    sealed   BLOB    NOT NULL CHECK (length(sealed) BETWEEN 1 AND 128),
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    version  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which instances a `host:NAME` identity may attach.
CREATE TABLE credential_instance (
    identity TEXT NOT NULL REFERENCES credential (identity),
    uuid     BLOB NOT NULL REFERENCES instance (uuid),
    PRIMARY KEY (identity, uuid)
) STRICT, WITHOUT ROWID;

CREATE INDEX credential_instance_uuid ON credential_instance (uuid);

CREATE TABLE keyslot (
    id      INTEGER PRIMARY KEY CHECK (id >= 0),
    kind    TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 23),
    params  TEXT NOT NULL CHECK (length(params) <= 4095),
    wrapped BLOB NOT NULL CHECK (length(wrapped) BETWEEN 1 AND 512)
) STRICT;

CREATE TABLE event (
    id        INTEGER PRIMARY KEY,
    time      INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    uuid      BLOB    CHECK (uuid IS NULL OR length(uuid) = 16),
    peer      TEXT    NOT NULL,
    text      TEXT    NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE VIEW inventory AS
SELECT lower(substr(hex(uuid), 1, 8) || '-' || substr(hex(uuid), 9, 4) || '-' ||
             substr(hex(uuid), 13, 4) || '-' || substr(hex(uuid), 17, 4) || '-' ||
             substr(hex(uuid), 21)) AS uuid,
       name,
       grp,
       CASE life WHEN 1 THEN 'disabled' WHEN 2 THEN 'broken' ELSE power END AS state,
       domain,
       strftime('%Y-%m-%dT%H:%M:%SZ', nullif(last_seen, 0), 'unixepoch') AS last_seen,
       commands,
       state_bytes,
       generation,
       CASE WHEN ek_sha256 IS NOT NULL THEN lower(hex(ek_sha256)) END AS ek_sha256,
       strftime('%Y-%m-%dT%H:%M:%SZ', created, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%SZ', updated, 'unixepoch') AS updated
FROM instance
WHERE life <> 3;

CREATE VIEW events AS
SELECT id,
       strftime('%Y-%m-%dT%H:%M:%SZ', time, 'unixepoch') AS time,
       kind,
       CASE WHEN uuid IS NOT NULL THEN
           lower(substr(hex(uuid), 1, 8) || '-' || substr(hex(uuid), 9, 4) || '-' ||
                 substr(hex(uuid), 13, 4) || '-' || substr(hex(uuid), 17, 4) || '-' ||
                 substr(hex(uuid), 21)) END AS uuid,
       peer,
       text,
       lower(hex(prev_hash)) AS prev_hash,
       lower(hex(hash)) AS hash
FROM event;
