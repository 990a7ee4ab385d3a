/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new instance: an engine makes the TPM, or takes over one of swtpm's, the broker seals its first record and stores it with a fresh credential in
 * one transaction. The only place where a TPM comes into being (DESIGN, "Power": never implicitly). Loop thread.
 */
#ifndef VTPM_CORE_MANUFACTURE_H
#define VTPM_CORE_MANUFACTURE_H

#include "server/core/broker_priv.h"
#include "server/engine/profile.h"
#include "server/engine/swtpm.h"

/* A TPM that swtpm kept, in place of a new one (docs/swtpm-import.md). */
struct manufacture_from {
    const uint8_t *file;    /* tpm-00.permall: hostile, only the sandbox looks at it */
    size_t len;
    struct tpm_swtpm_key key;
};

struct manufacture {
    struct vt_uuid uuid;
    bool has_uuid;          /* else a random one */
    bool with_ek;
    bool require_measure;   /* measure.h */
    uint16_t host_pcrs;     /* likewise */
    const char *name, *group, *profile, *peer;  /* borrowed during the call */
    const struct tpm_profile *limits;           /* what it is: profile is only its name; borrowed during the call */
    const struct manufacture_from *from;        /* NULL: a new TPM; else with_ek means nothing; borrowed during the call */
};

struct manufactured {
    struct vt_uuid uuid;
    struct vt_key psk;      /* the credential's key: shown once, kept only sealed */
    bool is_moved;          /* it was manufacture_from; then */
    struct tpm_swtpm_facts facts;
};

/* done is called once; made is borrowed, NULL on error. */
void manufacture(struct broker *broker, const struct manufacture *order,
                 void (*done)(void *arg, int err, const struct manufactured *made, const char *why), void *arg);

#endif
