/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cursor that can say what it stumbled over. Sticky: after the first refusal everything reads as zero and nothing else
 * is said; so a reader reads on and asks once (`sw_bad`). Loops ask at each turn.
 */
#ifndef VTPM_ENGINE_SWTPM_READER_H
#define VTPM_ENGINE_SWTPM_READER_H

#include "server/engine/engine.h"
#include "server/engine/swtpm.h"

struct sw {
    struct rd r;
    const uint8_t *begin;   /* offsets count from here */
    const char *what;       /* "the file" or "the TPM's state": what they count in */
    int err;                /* of the first refusal */
    struct vt_why *why;
};

struct sw sw_from(const uint8_t *bytes, size_t len, const char *what, struct vt_why *why);
/* Where the cursor is. */
size_t sw_at(const struct sw *s);
static inline bool sw_bad(const struct sw *s)
{
    return s->err != VT_OK;
}

/* "swtpm: FIELD at byte AT of WHAT: ...". The first one stays. */
void sw_refuse(struct sw *s, int err, size_t at, const char *field, const char *fmt, ...) VT_PRINTF(5, 6);
/* After readers of server/wire were used on s->r since `at`: did it end, was a value none that can be? */
void sw_check(struct sw *s, size_t at, const char *field);

uint8_t sw_u8(struct sw *s, const char *field);
uint16_t sw_u16(struct sw *s, const char *field);
uint32_t sw_u32(struct sw *s, const char *field);
/* 0 or 1. */
bool sw_bool(struct sw *s, const char *field);
/* Two bytes that must be this. */
void sw_tag(struct sw *s, uint16_t tag, const char *field);
void sw_copy(struct sw *s, void *out, size_t len, const char *field);
void sw_auth(struct sw *s, struct vt_auth *auth, const char *field);

/* ---- The parts (file.c, permanent.c, keys.c, tables.c, verify.c) ---- */

/*
 * swtpm's frame off, decrypted if need be: libtpms' state, SHA-1 checked and cut off. *plain: memory of *cap bytes that
 * it points into, owned (vt_free_wiped); NULL: it points into the file.
 */
int swtpm_unwrap(const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, struct tpm_blob *state,
                 uint8_t **plain, size_t *cap, struct vt_why *why) VT_USE_RESULT;
/* All of it into a TPM that was just made, without EK. */
void swtpm_permanent(struct sw *s, struct tpm *tpm);
void swtpm_ek(struct sw *s, struct tpm *tpm);
/* is_owned comes later in the file: then it must be there, else it is dropped. */
void swtpm_srk(struct sw *s, struct tpm *tpm, bool *is_there);
void swtpm_owner_keys(struct sw *s, struct tpm *tpm);
void swtpm_counters(struct sw *s, struct tpm *tpm);
void swtpm_families(struct sw *s, struct tpm *tpm);
void swtpm_delegations(struct sw *s, struct tpm *tpm);
void swtpm_nv(struct sw *s, struct tpm *tpm);
int swtpm_verify(struct tpm *tpm, const struct tpm_ops *ops, struct vt_why *why) VT_USE_RESULT;

#endif
