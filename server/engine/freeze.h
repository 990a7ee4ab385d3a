/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen bytes: a magic, a version, then sections {four letters, length, bytes} in a fixed order. One
 * function per section walks its fields in both directions, so that what is written is what is read. Later
 * versions add sections at the end and raise FZ_VERSION: bytes of an older version lack them, and their part
 * of the TPM stays as new. An unknown one, a missing one, or a byte too many is damage. Slots keep their
 * positions: a TPM that was frozen in between behaves as one that was not.
 */
#ifndef VTPM_ENGINE_FREEZE_H
#define VTPM_ENGINE_FREEZE_H

#include "server/engine/engine.h"

/* A walk: writes to w, or reads from r if `thaw`. */
struct fz {
    bool thaw;
    bool bad; /* a value that cannot be */
    struct rd r;
    struct wr w;
};

void fz_u8(struct fz *f, uint8_t *v);
void fz_u16(struct fz *f, uint16_t *v);
void fz_u32(struct fz *f, uint32_t *v);
void fz_u64(struct fz *f, uint64_t *v);
/* 0 or 1, anything else is bad. */
void fz_bool(struct fz *f, bool *v);
/* Arrays of them, as one after another. */
void fz_u32s(struct fz *f, uint32_t *v, size_t count);
void fz_bools(struct fz *f, bool *v, size_t count);
void fz_bytes(struct fz *f, void *bytes, size_t len);
void fz_auth(struct fz *f, struct vt_auth *auth);
/* A count that is at most `most`. */
void fz_count(struct fz *f, uint32_t *v, uint32_t most);
/* A structure of the wire, by its kind. */
#define FZ_WIRE(f, kind, ptr) ((f)->thaw ? rd_##kind(&(f)->r, (ptr)) : wr_##kind(&(f)->w, (ptr)))
/*
 * Walks the used ones of `slots`: a count, then each one's position (ascending) and fields. used and walk see
 * the position; walk of a thawed slot makes it used.
 */
struct fz_table {
    uint32_t slots;
    uint32_t most; /* how many may be in use */
    bool (*used)(struct tpm *tpm, uint32_t at);
    void (*walk)(struct fz *f, struct tpm *tpm, uint32_t at);
};
void fz_table(struct fz *f, struct tpm *tpm, const struct fz_table *table);
/* Notes a contradiction. */
void fz_need(struct fz *f, bool holds);

#define FZ_VERSION 4

struct fz_section {
    char tag[5];
    uint16_t since; /* the first version that has it */
    void (*walk)(struct fz *f, struct tpm *tpm);
};

/* Writes all sections; VT_ETOOBIG. */
int fz_freeze(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm,
              uint8_t *out, size_t *len) VT_USE_RESULT;
/* VT_EDAMAGED with the section in why. */
int fz_thaw(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm,
            const uint8_t *bytes, size_t len, struct vt_why *why) VT_USE_RESULT;

/* The permanent part of tpm_thaw. */
int fz_thaw_permanent(struct tpm *tpm, const uint8_t *bytes, size_t len, struct vt_why *why) VT_USE_RESULT;

/* Sections that TPM_SaveState also keeps: they are of both tables. */
void fz_stclear(struct fz *f, struct tpm *tpm);
/* Keys that stay over TPM_SaveState: neither the owner's (always there) nor those marked TPM_VOLATILE. */
void fz_saved_keys(struct fz *f, struct tpm *tpm);
/* All of volatile state's keys; the owner's. */
void fz_loaded_keys(struct fz *f, struct tpm *tpm);
void fz_owner_keys(struct fz *f, struct tpm *tpm);
/* One key: handle and all. */
void fz_key(struct fz *f, struct key_slot *slot);
/* One session: handle and all. */
void fz_session(struct fz *f, struct session *session);
void fz_transport(struct fz *f, struct transport *transport);
void fz_daa_session(struct fz *f, struct daa_session *session);
void fz_daa_sessions(struct fz *f, struct tpm *tpm);
void fz_daa_seed(struct fz *f, struct tpm *tpm);

#endif
