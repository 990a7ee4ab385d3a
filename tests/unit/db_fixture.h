/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a directory of its own, with toy keyed functions, and calls that wait for their result. */
#ifndef VTPM_TESTS_DB_FIXTURE_H
#define VTPM_TESTS_DB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "db/db.h"

struct fixture {
    char dir[64];
    struct db_config config;
    struct db_mac mac;
    uint64_t key;
    struct db *db;
    atomic_int wakes;
    pthread_mutex_t gate; /* the writer passes it at each wake */
};

extern const struct vt_uuid fx_store;

/* A directory without a store. */
void fx_dir(struct fixture *fx);
/* Directory, store, MAC, one key slot; open and started. */
void fx_make(struct fixture *fx);
/* Opens and starts; asserts. */
void fx_open(struct fixture *fx);
/* Opens and starts, expecting `err`; why may be NULL. */
void fx_open_fails(struct fixture *fx, int err, struct vt_why *why);
void fx_close(struct fixture *fx);
/* Closes and removes everything. */
void fx_remove(struct fixture *fx);
/* MAC, event chain and structure verify; asserts. */
void fx_expect_whole(struct fixture *fx);
/* Whatever a test did, the store is whole, then and when it is opened again; then fx_remove. */
void fx_end(struct fixture *fx);
void fx_path(const struct fixture *fx, const char *name, char *out, size_t size);

/* Another program's connection: no checks, no foreign keys. */
void fx_sql(const struct fixture *fx, const char *sql);
/* First column of the first row, or "". */
void fx_ask(const struct fixture *fx, const char *sql, char *out, size_t size);

/* What a completion said; err is FX_PENDING before. */
#define FX_PENDING 1
void fx_done(void *err, int result);

struct vt_uuid fx_uuid(unsigned n);
/* Each waits for the completion and returns its result. */
int fx_create(struct fixture *fx, unsigned n, const char *name);
int fx_acquire(struct fixture *fx, unsigned n, uint64_t *epoch);
int fx_commit(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, const char *record);
int fx_life(struct fixture *fx, unsigned n, enum db_life life, const char *reason);
int fx_rename(struct fixture *fx, unsigned n, const char *name);
int fx_host(struct fixture *fx, const char *identity, unsigned first, unsigned count);
int fx_rotate(struct fixture *fx, const char *identity, uint64_t version);
int fx_bind(struct fixture *fx, unsigned n, const char *peer);
/* peer NULL: all. */
int fx_unbind(struct fixture *fx, unsigned n, const char *peer);
int fx_slot(struct fixture *fx, int64_t slot_id, const char *kind, int64_t *id);
int fx_slot_remove(struct fixture *fx, int64_t id);
int fx_event(struct fixture *fx, const char *text);

/* The store of peer n, its name "peer N"; exports and imports are told apart by their first byte. */
struct db_peer fx_peer(unsigned n);
int fx_server_key(struct fixture *fx, unsigned n);
int fx_host_ak(struct fixture *fx, unsigned n, bool replace);
int fx_peer_add(struct fixture *fx, unsigned n);
int fx_peer_remove(struct fixture *fx, unsigned n);
int fx_export(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, uint8_t id);
int fx_import(struct fixture *fx, unsigned n, const char *name, uint64_t seq, uint8_t id);
int fx_take_back(struct fixture *fx, unsigned n);

/* Stops the writer thread between two batches, so that what is asked until fx_release makes one batch. */
void fx_hold(struct fixture *fx);
void fx_release(struct fixture *fx);

/* Without waiting: the caller keeps *err alive until db_drain. */
int fx_commit_start(struct fixture *fx, unsigned n, uint64_t epoch, uint64_t expected, int *err);

#endif
