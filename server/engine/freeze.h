/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen bytes: a magic, a version, then sections {four letters, length, bytes} in a fixed order. One function per
 * section walks its fields in both directions, so that what is written is what is read. Later versions add sections
 * at the end; an unknown one, a missing one, or a byte too many is damage.
 */
#ifndef VTPM_ENGINE_FREEZE_H
#define VTPM_ENGINE_FREEZE_H

#include "server/engine/engine.h"

/* A walk: writes to w, or reads from r if `thaw`. */
struct fz {
    bool thaw;
    bool bad;           /* a value that cannot be */
    struct rd r;
    struct wr w;
};

void fz_u8(struct fz *f, uint8_t *v);
void fz_u16(struct fz *f, uint16_t *v);
void fz_u32(struct fz *f, uint32_t *v);
void fz_u64(struct fz *f, uint64_t *v);
/* 0 or 1, anything else is bad. */
void fz_bool(struct fz *f, bool *v);
void fz_bytes(struct fz *f, void *bytes, size_t len);
void fz_auth(struct fz *f, struct vt_auth *auth);
/* A count that is at most `most`. */
void fz_count(struct fz *f, uint32_t *v, uint32_t most);
/* Notes a contradiction. */
void fz_need(struct fz *f, bool holds);

struct fz_section {
    char tag[5];
    void (*walk)(struct fz *f, struct tpm *tpm);
};

/* Writes all sections; VT_ETOOBIG. */
int fz_freeze(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm, uint8_t *out,
              size_t *len) VT_USE_RESULT;
/* VT_EDAMAGED with the section in why. */
int fz_thaw(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm,
            const uint8_t *bytes, size_t len, struct vt_why *why) VT_USE_RESULT;

/* Sections that TPM_SaveState also keeps. */
void fz_stclear(struct fz *f, struct tpm *tpm);
void fz_key(struct fz *f, struct key_slot *slot);
/* Keys in slots: those the owner keeps, or the others. */
void fz_keys(struct fz *f, struct tpm *tpm, bool owner_evict);

#endif
