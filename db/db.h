/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store, whatever the engine under it. Nothing above this line speaks SQL; nothing below it sees a key or an
 * unsealed byte: the caller seals, and gives the two keyed functions that make the store MAC and the event chain.
 *
 * Requests are queued to one writer thread, which puts many of them into one transaction (group commit) and syncs
 * before it reports. Completions wait in a queue: `wake` is called from the writer thread when one is there, and the
 * loop runs them with db_dispatch. Synchronous calls say so.
 */
#ifndef VTPM_DB_DB_H
#define VTPM_DB_DB_H

#include "server/base/err.h"
#include "server/base/text.h"

struct db;

/* Sealed bytes as the caller made them; the tag (AEAD) is what the store MAC covers, so it is kept apart. */
struct db_sealed {
    uint8_t tag[16];
    const uint8_t *data;
    size_t len;
};
#define DB_SEALED_MAX (1024u * 1024)

/*
 * Keyed functions from the caller; called on the writer thread and inside db_verify; pure.
 * row: out = PRF(table || key || security-relevant columns), of one row.
 * seal: the MAC over (set digest, generation, number of rows).
 * event: hash of one event over the previous hash.
 */
struct db_mac {
    void *ctx;
    void (*row)(void *ctx, const void *bytes, size_t len, uint8_t out[32]);
    void (*seal)(void *ctx, const uint8_t digest[32], uint64_t generation, uint64_t rows, uint8_t out[32]);
    void (*event)(void *ctx, const void *bytes, size_t len, uint8_t out[32]);
};

struct db_config {
    const char *dir;                /* DIR/vtpm.db and DIR/lock */
    void (*wake)(void *ctx);        /* writer thread: completions are waiting */
    void *wake_ctx;
    uint32_t log_reserve;           /* bytes of the log file that are had in advance, when there is time; 0: none */
    uint32_t events_keep;           /* so many of the newest events stay; 0: 100,000 */
};

/* ---- Life (synchronous, loop thread) ---- */

/* Makes DIR/vtpm.db in an existing directory (0600); VT_EEXISTS if there is one, which stays untouched. */
int db_create(const char *dir, const struct vt_uuid *store, struct vt_why *why) VT_USE_RESULT;
/*
 * Takes DIR/lock (VT_ECONFLICT: another server holds it), opens, checks application_id (VT_EDAMAGED) and
 * user_version (newer: VT_EDAMAGED, says so; older: migrates in one transaction), starts no thread yet.
 * VT_ENOTFOUND: no store there, with the init command to type.
 */
int db_open(const struct db_config *config, struct db **db, struct vt_why *why) VT_USE_RESULT;
/* Key slots can be read before the MAC keys are known. */
void db_store_uuid(const struct db *db, struct vt_uuid *uuid);
/*
 * With the keys: recomputes the set digest over all security rows and compares the MAC (VT_EDAMAGED: names what it
 * can). On success starts the writer thread. `fresh` (init only): there is no MAC yet, make it.
 */
int db_start(struct db *db, const struct db_mac *mac, bool fresh, struct vt_why *why) VT_USE_RESULT;
/*
 * The first half of db_start, which then does not repeat it: the MAC is compared, nothing is written. For what must be
 * believed before anything is (db_anchor_get).
 */
int db_verify(struct db *db, const struct db_mac *mac, struct vt_why *why) VT_USE_RESULT;
/* Instead of db_start, for db_check alone: nothing is written. */
void db_unlock(struct db *db, const struct db_mac *mac);
/* Drains the queue, stops the thread, marks a clean stop, closes. Pending completions are run. db may be NULL. */
void db_close(struct db *db);
/* True if the last stop was not clean. */
bool db_was_unclean(const struct db *db);
/*
 * True while nothing can be written (disk full, read-only, locked): why says what and what to do. The log says it when
 * it begins, changes and ends. Any thread.
 */
bool db_trouble(struct db *db, struct vt_why *why) VT_USE_RESULT;
/* What the unclean stop may have hurt was not examined, or is hurt: the next start finds it unclean again. */
void db_leave_unclean(struct db *db);
/* Loop thread: runs completions that are ready. */
void db_dispatch(struct db *db);
/* Waits until everything asked for so far is done and runs the completions: for `init`, which has no loop. */
void db_drain(struct db *db);

/* ---- Key slots (synchronous; loop thread; before db_start the list only) ---- */
struct db_keyslot {
    int64_t id;             /* 0, 1, 2, ... never reused; it may be sealed into `wrapped`: db_keyslot_next */
    char kind[24];          /* "keyfile", "passphrase", "recovery", "tpm2", ... */
    char params[4096];      /* JSON, not secret; bounded on read */
    uint8_t wrapped[512];   /* master key under this slot's key */
    size_t wrapped_len;
};
typedef int (*db_keyslot_fn)(void *ctx, const struct db_keyslot *slot);
int db_keyslot_each(struct db *db, db_keyslot_fn fn, void *ctx) VT_USE_RESULT;
/* The id that the next new slot gets. */
int db_keyslot_next(struct db *db, int64_t *id) VT_USE_RESULT;

/* ---- Reading (synchronous, any thread, own read connection; cheap indexed look-ups) ---- */

enum db_life { DB_LIVE = 0, DB_DISABLED = 1, DB_BROKEN = 2, DB_DELETED = 3 };

struct db_instance {
    struct vt_uuid uuid;
    char name[65];
    char group[65];
    char profile[33];
    enum db_life life;
    char reason[256];           /* why it is broken */
    char power[20];             /* "off", "on", "needs-power-on": what the inventory shows when not broken/disabled */
    char domain[65];            /* front-end domain as last reported, or "" */
    uint8_t wrapped_key[128];   /* instance key under the master key */
    size_t wrapped_key_len;
    uint8_t ek_sha256[32];
    bool has_ek;
    uint64_t epoch;             /* grows with each acquire; fences */
    uint64_t seq;               /* of the durable record */
    uint64_t generation;        /* store generation of its last commit */
    uint64_t commands;
    uint64_t state_bytes;
    int64_t created, updated, last_seen; /* unix seconds; last_seen 0: never */
};
int db_instance_get(struct db *db, const struct vt_uuid *uuid, struct db_instance *out) VT_USE_RESULT; /* VT_ENOTFOUND */
/* Among the living only. */
int db_instance_by_name(struct db *db, const char *name, struct db_instance *out) VT_USE_RESULT;
typedef int (*db_instance_fn)(void *ctx, const struct db_instance *instance);
int db_instance_each(struct db *db, bool with_deleted, db_instance_fn fn, void *ctx) VT_USE_RESULT;
/* Of the living those whose names sort behind `after` ("": all), by name, at most `limit`. */
int db_instance_page(struct db *db, const char *after, unsigned limit, db_instance_fn fn, void *ctx) VT_USE_RESULT;
/* The living. */
int db_instance_count(struct db *db, uint64_t *count) VT_USE_RESULT;
/* The durable record; *data returns owned (vt_free). */
int db_record_get(struct db *db, const struct vt_uuid *uuid, uint64_t *seq, struct db_sealed *out, uint8_t **data) VT_USE_RESULT;

struct db_credential {
    char identity[80];          /* the uuid's 36 characters, or "host:NAME" */
    uint8_t sealed[128];        /* the PSK, sealed by the caller */
    size_t sealed_len;
    bool disabled;
    uint64_t version;           /* grows with each rotation */
};
int db_credential_get(struct db *db, const char *identity, struct db_credential *out) VT_USE_RESULT;
/* May this identity attach this instance? (its own uuid always; host:NAME by its list) */
int db_credential_allows(struct db *db, const char *identity, const struct vt_uuid *uuid, bool *allowed) VT_USE_RESULT;

/* Which Xen domains an instance may be attached from over a vchan: texts of server/core/binding.h. */
#define DB_PEER_TEXT    78      /* "backend:name:", 64 characters and the NUL */
#define DB_BINDINGS_MAX 64      /* of one instance */
struct db_binding {
    struct vt_uuid uuid;
    char peer[DB_PEER_TEXT];
    char name[65];              /* of the instance */
};
typedef int (*db_binding_fn)(void *ctx, const struct db_binding *binding);
/* In order of instance and peer; uuid NULL: of all instances. */
int db_binding_each(struct db *db, const struct vt_uuid *uuid, db_binding_fn fn, void *ctx) VT_USE_RESULT;
#define DB_PEERS_MAX 4
/* Is the instance (uuid NULL: any that was not deleted) bound to one of these texts, at most DB_PEERS_MAX? */
int db_bound(struct db *db, const struct vt_uuid *uuid, const char *const *peers, size_t count, bool *bound) VT_USE_RESULT;

/*
 * What the host TPM must hold for this file to be the newest (docs/keys.md): at most one row that it holds for certain,
 * and one that is on its way there.
 */
#define DB_ANCHOR_PLACE 560
struct db_anchor {
    uint64_t epoch;
    uint64_t generation;        /* of the store when the row was made */
    uint8_t digest[32];         /* of all rows but these, then */
    uint8_t previous[32];       /* what the TPM held before; zeros: nothing */
    int64_t time;
    uint32_t nv;                /* where in the TPM */
    char place[DB_ANCHOR_PLACE]; /* which TPM: "tpm2", "tpm2:tcti=...", "tpm12:device=..." */
};
/* VT_ENOTFOUND: there is no such row. */
int db_anchor_get(struct db *db, bool pending, struct db_anchor *out) VT_USE_RESULT;

struct db_event {
    int64_t id, time;
    char kind[32], uuid[VT_UUID_TEXT], peer[96], text[256];
    uint8_t prev_hash[32], hash[32];
};
typedef int (*db_event_fn)(void *ctx, const struct db_event *event);
/* In order of id, from `after` on, at most `limit`. */
int db_event_each(struct db *db, int64_t after, int64_t limit, db_event_fn fn, void *ctx) VT_USE_RESULT;

/* ---- Moving between servers (docs/moving.md): reading ---- */
#define DB_PUBLIC     65    /* a public key: CR_EC_PUBLIC */
#define DB_EXPORT_ID  16
#define DB_ADDRESS    160
#define DB_TICKET     120   /* bytes of a ticket: server/core/handoff/ticket.h */
#define DB_PEERS_KNOWN 256  /* other servers that one store knows, at most */

/* The store's own key; VT_ENOTFOUND: it was never needed. */
struct db_server_key {
    uint8_t public[DB_PUBLIC];
    uint8_t sealed[128];
    size_t sealed_len;
};
int db_server_key_get(struct db *db, struct db_server_key *out) VT_USE_RESULT;

/* The attestation key of the host's TPM (docs/attestation.md); VT_ENOTFOUND: none was made. */
struct db_host_ak {
    char kind[8];           /* "tpm2", "tpm12" */
    uint8_t modulus[256];   /* of an RSA key, e = 65537 */
    uint8_t blob[1024];     /* as that TPM made it, private part and all: of use to that TPM alone */
    size_t blob_len;
};
int db_host_ak_get(struct db *db, struct db_host_ak *out) VT_USE_RESULT;

/* Another server's store. */
struct db_peer {
    char name[65];
    struct vt_uuid store;
    uint8_t public[DB_PUBLIC];
    char address[DB_ADDRESS];   /* where it listens, "tcp:HOST:PORT"; "": not known */
};
typedef int (*db_peer_fn)(void *ctx, const struct db_peer *peer);
int db_peer_each(struct db *db, db_peer_fn fn, void *ctx) VT_USE_RESULT;
/* By name, or (name NULL) by its store; VT_ENOTFOUND. */
int db_peer_get(struct db *db, const char *name, const struct vt_uuid *store, struct db_peer *out) VT_USE_RESULT;

/* Where an instance went. */
struct db_export {
    uint8_t id[DB_EXPORT_ID];
    struct db_peer peer;        /* as it was then */
    int64_t time;               /* given by the store */
};
int db_export_get(struct db *db, const struct vt_uuid *uuid, struct db_export *out) VT_USE_RESULT;
/* Was this export imported here, ever? */
int db_imported(struct db *db, const uint8_t id[DB_EXPORT_ID], bool *seen) VT_USE_RESULT;

/* An instance that is expected here (docs/moving.md, "Live migration"). */
struct db_arriving {
    struct vt_uuid uuid, store; /* store: from which it comes */
    uint8_t sealed[128];        /* its shim's PSK, sealed as version 1 of a credential */
    size_t sealed_len;          /* 0: the credential is that of an instance which left from here */
    uint8_t ticket[DB_TICKET];  /* with which its source is being asked for it */
    bool has_ticket;
    int64_t time;               /* given by the store */
};
int db_arriving_get(struct db *db, const struct vt_uuid *uuid, struct db_arriving *out) VT_USE_RESULT; /* VT_ENOTFOUND */
typedef int (*db_arriving_fn)(void *ctx, const struct db_arriving *row);
int db_arriving_each(struct db *db, db_arriving_fn fn, void *ctx) VT_USE_RESULT;

/* ---- Writing (asynchronous; loop thread; arguments are copied before return) ---- */

/* err: VT_OK, VT_EFENCED, VT_ECONFLICT (seq), VT_EEXISTS, VT_ENOTFOUND, VT_EUNAVAILABLE (nothing written, may work
 * later), VT_EUNKNOWN (may or may not be on disk: acquire again before going on). */
typedef void (*db_done)(void *arg, int err);
/* The calls themselves: VT_EUSAGE or VT_ETOOBIG (arguments), VT_EAGAIN (queue full), VT_ENOMEM, VT_ECLOSED; `done` is
 * called only if they return VT_OK; it may be NULL. */

/* An event to be appended in the same transaction; uuid may be NULL. */
struct db_audit {
    const char *kind;
    const struct vt_uuid *uuid;
    const char *peer;
    const char *text;
};

/* New instance with its first record and credential, in one transaction. VT_EEXISTS: name or uuid (also deleted). */
struct db_create_args {
    const struct db_instance *instance;     /* uuid, name, group, profile, wrapped_key, ek */
    struct db_sealed record;                /* seq 1 */
    const struct db_credential *credential;
};
int db_instance_create(struct db *db, const struct db_create_args *args, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;

/* Fences every earlier owner: epoch + 1. done gets it through *epoch, which must live until then. */
int db_acquire(struct db *db, const struct vt_uuid *uuid, uint64_t *epoch, db_done done, void *arg) VT_USE_RESULT;

/* Replaces the record if epoch and expected_seq still hold; the new seq is expected_seq + `advance` (>= 1). */
struct db_commit_args {
    struct vt_uuid uuid;
    uint64_t epoch;
    uint64_t expected_seq;
    uint64_t seq;                           /* > expected_seq */
    struct db_sealed record;
    const char *power;                      /* NULL: unchanged */
    const uint8_t *ek_sha256;               /* NULL: unchanged */
    /*
     * Not NULL: this is the last record here. In the same transaction the instance is disabled with `reason`, fenced
     * (epoch + 1), and stands among the exported. VT_ECONFLICT: it is not live.
     */
    const struct db_export *export;
    const char *reason;
};
int db_commit(struct db *db, const struct db_commit_args *args, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;

/* Administrative changes; each one transaction with its event. */
int db_instance_rename(struct db *db, const struct vt_uuid *uuid, const char *name, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* reason: for DB_BROKEN, else NULL. VT_ECONFLICT: DB_LIVE of one that was exported. DB_DELETED erases key, record, credential and bindings; the row stays as a tombstone. */
int db_instance_life(struct db *db, const struct vt_uuid *uuid, enum db_life life, const char *reason, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* The word the inventory shows; also the front-end domain. NULL: unchanged. Not security-relevant. */
int db_instance_power(struct db *db, const struct vt_uuid *uuid, const char *power, const char *domain, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/*
 * count 0: new key for an identity that is there (VT_ENOTFOUND), its list stays. Else a new identity with its list
 * (VT_EEXISTS). The version becomes 1, or the old one + 1; if credential->version is not 0 it must be just that
 * (VT_ECONFLICT): it is sealed into the key.
 */
int db_credential_put(struct db *db, const struct db_credential *credential, const struct vt_uuid *instances, size_t count, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* VT_EEXISTS: that very binding is there; VT_ECONFLICT: the instance has DB_BINDINGS_MAX of them. */
int db_binding_add(struct db *db, const struct vt_uuid *uuid, const char *peer, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* peer NULL: all of the instance. VT_ENOTFOUND: there is none. */
int db_binding_remove(struct db *db, const struct vt_uuid *uuid, const char *peer, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/*
 * slot->id < 0, or the one that db_keyslot_next told: a new slot; its id comes through *id (may be NULL), which must
 * live until done. Another id replaces that slot (VT_ENOTFOUND). The last slot cannot be removed (VT_ECONFLICT).
 */
int db_keyslot_put(struct db *db, const struct db_keyslot *slot, int64_t *id, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
int db_keyslot_remove(struct db *db, int64_t id, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* VT_EEXISTS: there is one; it is never replaced. */
int db_server_key_put(struct db *db, const struct db_server_key *key, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* VT_EEXISTS: there is one, and it is not to be replaced. */
int db_host_ak_put(struct db *db, const struct db_host_ak *ak, bool replace, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* VT_EEXISTS: the name or the store is known; VT_ECONFLICT: DB_PEERS_KNOWN are. */
int db_peer_add(struct db *db, const struct db_peer *peer, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
int db_peer_remove(struct db *db, const char *name, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/*
 * An instance from another server, live, in one transaction with the id of its export. VT_EEXISTS: that export was
 * imported before, or the name or uuid is taken. An instance that was exported from here (also one deleted since) is
 * replaced if `seq` is above its own, else VT_EFENCED: that state is older than what left. What stands in `arriving` for
 * it goes.
 */
struct db_import_args {
    uint8_t id[DB_EXPORT_ID];
    struct vt_uuid source;                  /* store */
    const struct db_instance *instance;     /* uuid, name, group, profile, power, wrapped_key, ek, seq, created */
    struct db_sealed record;
    const struct db_credential *credential; /* version 1 */
    const struct db_binding *bindings;      /* their `peer`; at most DB_BINDINGS_MAX */
    size_t binding_count;
};
int db_import(struct db *db, const struct db_import_args *args, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* Live again, and no longer among the exported. VT_ENOTFOUND: it was not exported. */
int db_take_back(struct db *db, const struct vt_uuid *uuid, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* Expected from `store`, with `sealed`; in place of an earlier expectation. VT_ECONFLICT: it is being claimed. */
int db_expect(struct db *db, const struct db_arriving *row, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* VT_ENOTFOUND; VT_ECONFLICT: it is being claimed. */
int db_unexpect(struct db *db, const struct vt_uuid *uuid, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* Before `store` is asked: the ticket stands in the row, in place of an older one. VT_ECONFLICT: it is expected from another. */
int db_claim(struct db *db, const struct db_arriving *row, db_done done, void *arg) VT_USE_RESULT;
/* It was refused for good. VT_ENOTFOUND: that ticket does not stand there. */
int db_unclaim(struct db *db, const struct db_arriving *row, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/*
 * A new pending row: epoch, previous, nv and place are the caller's; the rest is set here and comes through *made, which
 * must live until done. VT_EEXISTS: nothing but the anchor has changed since the row that is done; VT_ECONFLICT: there is
 * a pending one. alone: in place of all rows, whatever they say.
 */
int db_anchor_put(struct db *db, const struct db_anchor *next, bool alone, struct db_anchor *made, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* The pending row of this epoch (VT_ENOTFOUND) is done; the one before goes. */
int db_anchor_done(struct db *db, uint64_t epoch, db_done done, void *arg) VT_USE_RESULT;
/* The store is anchored no more. */
int db_anchor_drop(struct db *db, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
int db_event_add(struct db *db, const struct db_audit *audit, db_done done, void *arg) VT_USE_RESULT;
/* Counters for people, many at once, every 10 s and at stop; never per command. */
struct db_counter {
    struct vt_uuid uuid;
    uint64_t commands;      /* to be added */
    int64_t last_seen;
};
int db_counters(struct db *db, const struct db_counter *counters, size_t count) VT_USE_RESULT;

/* ---- Backup (synchronous; a thread of the caller's choice; own connection) ---- */
struct db_backup {
    uint64_t generation;
    uint64_t instances;
    uint64_t bytes;
};
/*
 * Makes `path` (0600; VT_EEXISTS) a copy of the store as it was at one COMMIT, which verifies; the writer goes on
 * meanwhile. VT_ENOSPC: no room for it is left beside what the store itself may need. On error there is no file.
 * VT_ECLOSED: after db_check_cancel.
 */
int db_backup(struct db *db, const char *path, struct db_backup *out, struct vt_why *why) VT_USE_RESULT;

/* ---- Check (synchronous; a thread of the caller's choice; own connection) ---- */
struct db_check {
    uint64_t instances, deleted, credentials, keyslots, events, bindings;
    int64_t pruned;         /* events up to this id are gone, as they should; 0: none */
    bool mac_ok, chain_ok, structure_ok;
    char text[512];         /* what was found */
};
/* VT_OK: the check could be made, `out` says what it found. */
int db_check(struct db *db, struct db_check *out) VT_USE_RESULT;
/* Only the file's pages and the relations between tables (structure_ok): what an unclean stop may have hurt. */
int db_check_structure(struct db *db, struct db_check *out) VT_USE_RESULT;
/* Checks under way and later ones end soon with VT_ECLOSED. Any thread. */
void db_check_cancel(struct db *db);

#endif
