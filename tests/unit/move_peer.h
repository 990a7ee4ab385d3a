/* SPDX-License-Identifier: Apache-2.0 */
/* Another server's store, played by the test: it opens what was exported to it, and sends what a test likes. */
#ifndef VTPM_TESTS_MOVE_PEER_H
#define VTPM_TESTS_MOVE_PEER_H

#include "server/core/store/bundle.h"
#include "tests/unit/core_rig.h"

struct foreign {
    struct vt_uuid store;
    struct vt_key key;
    uint8_t public[CR_EC_PUBLIC], rig_public[CR_EC_PUBLIC];
};

/* Makes its key, adds it as peer "far" of the rig's store, and learns that one's key. */
void foreign_make(struct foreign *far, struct rig *rig);
int foreign_add(struct foreign *far, struct rig *rig, const char *name);

/* `instance export`: reply's err; *bundle returns owned (vt_free), NULL on error. text may be NULL. */
int move_export(struct rig *rig, const char *instance, const char *to, uint8_t **bundle, size_t *len, char text[300]);
int move_import(struct rig *rig, const uint8_t *bundle, size_t len, char text[300]);

/* Verifies and opens what the rig exported; asserts. Free with moving_free. */
void foreign_open(const struct foreign *far, const uint8_t *bundle, size_t len, struct bundle_head *head,
                  struct moving *moving);
/* As that store would send it to the rig's, under this export id. *bundle returns owned. */
void foreign_send(const struct foreign *far, const struct rig *rig, uint8_t id, const struct moving *moving,
                  uint8_t **bundle, size_t *len);

#endif
