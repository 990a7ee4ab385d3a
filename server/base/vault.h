/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that live longer than a call: slots in pages that are locked (never in swap), left out of core dumps
 * and hold nothing else. A slot is wiped when it is given back, a page before it is unmapped. There is no way
 * around the lock: a key without a place in locked memory has none at all (docs/keys.md says why). One thread
 * at a time may take and give; a key that was taken may be used by any.
 */
#ifndef VTPM_BASE_VAULT_H
#define VTPM_BASE_VAULT_H

#include "server/base/err.h"
#include "server/base/secret.h"

struct vt_vault;

/* With a first page, so that a limit which is too low shows at start: VT_ENOMEM, and in why what to raise.
 * Owned. */
int vt_vault_new(struct vt_vault **vault, struct vt_why *why) VT_USE_RESULT;
/* Wipes; every key must have been given back. May be NULL. */
void vt_vault_free(struct vt_vault *vault);

/*
 * A zeroed key, borrowed until it is given back. VT_ENOMEM: nothing more can be locked; why says what to
 * raise, and so does the log, once until it goes better.
 */
int vt_vault_take(struct vt_vault *vault, struct vt_key **key, struct vt_why *why) VT_USE_RESULT;
/* Wipes it. May be NULL. */
void vt_vault_give(struct vt_vault *vault, struct vt_key *key);

/* ---- Whole pages ---- */
/* Zeroed, locked, not in core dumps. *size is rounded up. VT_ENOMEM: `what` (for people) cannot be kept, and
 * why. */
int vt_locked_map(void **at, size_t *size, const char *what, struct vt_why *why) VT_USE_RESULT;
/* Wipes. */
void vt_locked_unmap(void *at, size_t size);

#endif
