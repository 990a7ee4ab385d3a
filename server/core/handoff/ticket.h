/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU carries in place of a TPM's state (docs/moving.md, "Live migration", to the byte). No secret is in it, and
 * it proves nothing but that its source has made it. Pure. Any thread.
 */
#ifndef VTPM_CORE_TICKET_H
#define VTPM_CORE_TICKET_H

#include "server/core/store/keys.h"

#define TICKET_LEN   DB_TICKET
#define TICKET_HOURS 24

struct ticket {
    uint8_t id[DB_EXPORT_ID];
    struct vt_uuid instance;
    struct vt_uuid source, target;  /* stores; the same: it is good at home only */
    uint64_t seq;                   /* of the record that it stands for */
    int64_t until;                  /* seconds since 1970, by the source's clock */
};

void ticket_write(const struct ticket *ticket, const struct keys *keys, uint8_t out[TICKET_LEN]);
/* VT_EDAMAGED: what ticket_write writes has another form. */
int ticket_read(struct ticket *ticket, const uint8_t *in, size_t len, struct vt_why *why) VT_USE_RESULT;
/* Was it made by the store of these keys? */
bool ticket_is_own(const uint8_t in[TICKET_LEN], const struct keys *keys) VT_USE_RESULT;

#endif
