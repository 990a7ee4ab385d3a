/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host TPM holds of a store, what the store's rows say of it, and what it means when they differ
 * (docs/keys.md, "An older copy of the store"). What asks the TPM may take HWTPM_LIMIT_MS: a worker, or the loop thread
 * before the loop runs.
 */
#ifndef VTPM_CORE_ANCHOR_TPM_H
#define VTPM_CORE_ANCHOR_TPM_H

#include "hwtpm/hwtpm.h"
#include "server/core/store/keys.h"
#include "server/core/keyslot/tpm.h"

/* Which TPM. */
struct anchor_place {
    struct hwtpm_config config;
    char owner_auth[KEYSLOT_PATH]; /* a file: a TPM 1.2 makes an anchor for its owner only; "": none */
};
/* "tpm2[:tcti=CONF]", "tpm12[:owner-auth-file=FILE][:device=PATH]". VT_EUSAGE. */
int anchor_place_parse(struct anchor_place *place, const char *text, struct vt_why *why) VT_USE_RESULT;
/* As it is kept in a row: without the owner's file. */
void anchor_place_text(char out[DB_ANCHOR_PLACE], const struct anchor_place *place);
/* That of the store's first slot of a host TPM 2.0. VT_ENOTFOUND: it has none. */
int anchor_place_of_slots(struct anchor_place *place, struct db *db) VT_USE_RESULT;

/* What the file says. */
struct anchor_rows {
    bool has_done, has_pending;
    struct db_anchor done, pending;
};
int anchor_rows_read(struct anchor_rows *rows, struct db *db, struct vt_why *why) VT_USE_RESULT;
/* The newest of them, or NULL. */
const struct db_anchor *anchor_rows_last(const struct anchor_rows *rows);

/* What the TPM says. */
struct anchor_held {
    enum { HELD_NOTHING, HELD_OURS, HELD_STRANGE } what; /* STRANGE: somebody else's, or one that contradicts itself */
    uint32_t nv;
    uint64_t epoch;             /* 0: it was made, and nothing written yet, or released */
    int64_t time;
    uint8_t hash[CR_SHA256_LEN]; /* keys_anchor_hash of the row; zeros: nothing */
    bool has_free;
    uint32_t free_nv;           /* where a new one can be made */
};
/*
 * Where the rows say that it is; without rows, where this store would have made it. VT_EUNAVAILABLE with the
 * reason: the TPM cannot be asked.
 */
int anchor_look(struct anchor_held *held, const struct anchor_place *place, const struct keys *keys,
                const struct anchor_rows *rows, struct vt_why *why) VT_USE_RESULT;
/*
 * The TPM holds `row` from now on, if it held the one before it, or holds it already. VT_EDAMAGED: it holds another.
 * Whatever happens in between, doing it again is right.
 */
int anchor_write(const struct anchor_place *place, const struct keys *keys, const struct db_anchor *row,
                 struct vt_why *why) VT_USE_RESULT;

/* The TPM holds nothing any more of a store that is anchored no more: zeros, as when it was made. */
int anchor_release(const struct anchor_place *place, const struct keys *keys, const struct anchor_held *held,
                   struct vt_why *why) VT_USE_RESULT;

enum anchor_verdict {
    ANCHOR_FITS,        /* the TPM holds the row that is done */
    ANCHOR_WRITTEN,     /* it holds the pending one: only the mark is missing */
    ANCHOR_TO_WRITE,    /* it holds what the pending one follows: the TPM's part is missing */
    ANCHOR_NEW,         /* neither has anything */
    /* From here on: not the newest. */
    ANCHOR_OLDER,       /* the TPM is ahead of the file */
    ANCHOR_FORK,        /* both went on from a common past */
    ANCHOR_BEHIND,      /* the TPM is behind the file: it was set back itself */
    ANCHOR_GONE,        /* the TPM has none: cleared, or another one */
    ANCHOR_STRANGE,     /* there is one that this store cannot have made */
    ANCHOR_BEFORE,      /* the file is from before it was ever anchored */
};
/* Pure. */
enum anchor_verdict anchor_judge(const struct anchor_rows *rows, const struct anchor_held *held,
                                 const struct keys *keys);
static inline bool anchor_is_newest(enum anchor_verdict verdict)
{
    return verdict < ANCHOR_OLDER;
}
/* What is said then, with both epochs and times. */
#define ANCHOR_TEXT 300
void anchor_explain(char out[ANCHOR_TEXT], enum anchor_verdict verdict, const struct anchor_rows *rows,
                    const struct anchor_held *held);

#endif
