/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anchor of a running store in the host TPM: an older copy of the whole file is found at start, and what
 * is newer is anchored at start, every so many minutes, on demand and at a clean stop. docs/keys.md, "An
 * older copy of the store".
 *
 * One advance: the new row is durable as pending; then the TPM holds it; then the row is done. Whatever is
 * cut off between, the next start knows from the two what was meant. Loop thread; the TPM is asked on
 * workers.
 */
#ifndef VTPM_CORE_ANCHOR_H
#define VTPM_CORE_ANCHOR_H

#include "server/core/anchor/tpm.h"

struct broker;
struct anchor;

enum anchor_mode {
    ANCHOR_AUTO,    /* where the store is anchored, or is opened by a slot of the host TPM 2.0 */
    ANCHOR_OFF,
    ANCHOR_IN,      /* in the TPM of `place` */
};
struct anchor_config {
    enum anchor_mode mode;
    struct anchor_place place;
    uint32_t minutes;   /* between two advances; 0: ANCHOR_MINUTES */
};
#define ANCHOR_MINUTES 10
/* "auto", "none", or as anchor_place_parse. VT_EUSAGE. */
int anchor_parse(struct anchor_config *config, const char *text, struct vt_why *why) VT_USE_RESULT;

/*
 * Before anything is written to the store, with its MAC verified: asks the TPM and refuses a file that is not
 * the newest (VT_EDAMAGED), or a TPM that cannot be asked where one must be (VT_EUNAVAILABLE). slot: the row
 * that opened it. Synchronous. Returns owned.
 */
int anchor_open(struct anchor **anchor, struct broker *broker, const struct anchor_config *config,
                const struct db_keyslot *slot, struct vt_why *why) VT_USE_RESULT;
/* The store and the loop are up: catches up, then advances from time to time. */
void anchor_start(struct anchor *anchor);
/* What is not anchored yet, now; `done` may be called from within. why: nothing was wrong, but something is
 * to be said. */
void anchor_now(struct anchor *anchor, void (*done)(void *arg, int err, const struct vt_why *why), void *arg);
/* While draining: the last advance. False: broker_progress is called when it is over. anchor may be NULL. */
bool anchor_settled(struct anchor *anchor);
/* No new work is begun: the store is about to be closed. May be NULL. */
void anchor_abandon(struct anchor *anchor);
/* After the store was closed. May be NULL. */
void anchor_free(struct anchor *anchor);

/* The truth for `status`: whether an older copy of the whole file would be noticed. */
#define ANCHOR_STATUS 700
void anchor_status(const struct anchor *anchor, char out[ANCHOR_STATUS]);

/*
 * `vtpm-server accept-rollback`: this copy of the store is the one to go on with, whatever the host TPM
 * holds. Needs the recovery key. The new anchor has a higher epoch than both; with mode ANCHOR_OFF the store
 * is anchored no more. An event says so. report: what was done. Cut off anywhere, the store opens, as
 * accepted or not, and it can be said again.
 */
int store_accept_rollback(const char *dir, const struct keyslot_spec *specs, size_t count,
                          const struct anchor_config *config, char report[ANCHOR_STATUS],
                          struct vt_why *why) VT_USE_RESULT;

#endif
