/* SPDX-License-Identifier: Apache-2.0 */
/* What the keyslot files share. Not for others. */
#ifndef VTPM_CORE_KEYSLOT_PRIV_H
#define VTPM_CORE_KEYSLOT_PRIV_H

#include "server/core/keyslot/keyslot.h"
#include "server/core/store/params.h"

/* A kind as a SPEC names it. */
struct keyslot_form {
    const char *name;           /* in the database */
    const char *spec;           /* before the ':' of a SPEC */
    bool needs_arg, by_server, is_tpm;
    int (*check)(const char *arg, struct vt_why *why);
    int (*read)(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why);
};
const struct keyslot_form *keyslot_form(const char *name);
/* `auto` tries lower ones first. */
unsigned keyslot_rank(const char *name);

/* What a row is made of. */
struct keyslot_making {
    const struct keyslot_spec *spec;
    const uint8_t *secret;
    size_t secret_len;
    const char *old_params;     /* a TPM slot that is sealed again: its row as it was; else NULL */
    const char *prediction;     /* then: hwtpm_pcrs_predict's; NULL: the present values alone */
    struct keyslot_report *report; /* may be NULL */
};
int keyslot_make_row(struct db_keyslot *slot, const struct keyslot_making *making, const struct vt_uuid *store,
                     const struct vt_key *master, struct vt_why *why) VT_USE_RESULT;

#endif
