/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `check`: everything that db_check sees, and every record opened under its keys: what the store MAC covers by its tag
 * only. Reads, never writes. Any thread.
 */
#ifndef VTPM_CORE_STORE_CHECK_H
#define VTPM_CORE_STORE_CHECK_H

#include "db/db.h"
#include "server/core/store/keys.h"
#include "server/core/keyslot/keyslot.h"

struct store_findings {
    struct db_check db;
    uint64_t broken;        /* instances that say so themselves */
    uint64_t unreadable;    /* records or keys that do not open, of instances that are not known as broken */
    bool is_whole;          /* nothing was found */
    char text[640];         /* what was found */
};

/* VT_OK: the check could be made, `out` says what it found. A running server's store may change meanwhile. */
int store_check(struct db *db, const struct keys *keys, struct store_findings *out) VT_USE_RESULT;

/*
 * `vtpm-server check`: the same for a store that no server has open. VT_ECONFLICT: one has. VT_EKEY, VT_EDAMAGED when
 * it cannot even be opened.
 */
int store_examine(const char *dir, const struct keyslot_spec *specs, size_t count, struct store_findings *out,
                  struct vt_why *why) VT_USE_RESULT;

#endif
