/* SPDX-License-Identifier: Apache-2.0 */
/* The record (docs/record-and-recovery.md) and its bytes. Plain data; owns its byte strings. */
#ifndef VTPM_CORE_RECORD_H
#define VTPM_CORE_RECORD_H

#include "server/base/err.h"
#include "server/base/text.h"

#define RECORD_MAX (1024u * 1024 - 64) /* encoded; with its nonce it fits DB_SEALED_MAX */

enum record_power { RECORD_OFF = 0, RECORD_ON = 1, RECORD_NEEDS_POWER_ON = 2 };

/* One life of the guest's machine (PROTOCOL.md, GuestEpoch). */
struct guest_epoch {
    uint8_t boot_id[16];
    uint32_t domid;
    bool has_domid;
};

struct record {
    uint64_t seq, base_seq;
    uint8_t boot_id[16];
    uint8_t stream[16];
    uint64_t n;
    uint8_t command_sha256[32];
    enum record_power power;
    struct guest_epoch guest;
    bool resume_armed;              /* `vtpmctl instance suspend` */
    bool window_open;               /* records were lost with the volatile state: n may jump forward, once */
    struct vt_bytes {
        uint8_t *data;
        size_t len;
    } response, volatile_state, permanent; /* permanent.len 0: not a durable record */
    struct vt_bytes measures;       /* measure.h; goes with the permanent state; empty: none are queued or required */
};

/* Wipes and frees; the record is empty and usable again. */
void record_free(struct record *record);
/* Replaces the bytes of one string by a copy. */
int record_set(struct vt_bytes *bytes, const void *data, size_t len) VT_USE_RESULT;
/*
 * *out returns owned (vt_free_wiped). `permanent` and `measures` are written only if base_seq == seq: a record in
 * memory may keep those it builds on. VT_ETOOBIG above RECORD_MAX.
 */
int record_encode(const struct record *record, uint8_t **out, size_t *len) VT_USE_RESULT;
/* The same in two steps: how long it is, or why it cannot be; then the bytes, into just as much room. */
int record_measure(const struct record *record, size_t *len) VT_USE_RESULT;
void record_write(const struct record *record, uint8_t *out, size_t len);
/* VT_EDAMAGED: does not parse to the last byte, contradicts itself, or is of a version of the future. */
int record_decode(struct record *record, const uint8_t *in, size_t len, struct vt_why *why) VT_USE_RESULT;

/* What an Execute{stream, n, hash} is against the last record. */
enum record_verdict { RECORD_RUN, RECORD_REPLAY, RECORD_REFUSE };
enum record_verdict record_judge(const struct record *last, const uint8_t stream[16], uint64_t n,
                                 const uint8_t command_sha256[32], const char **why);
/* The command that was judged RECORD_RUN becomes the record's command; closes an open window. */
void record_command(struct record *record, const uint8_t stream[16], uint64_t n, const uint8_t command_sha256[32]);

/*
 * The table "At start": durable (always there) against runtime (NULL: no file or unreadable). Moves what is chosen
 * into *out (durable and runtime are emptied, also on error); out->boot_id is then boot_id, out->permanent and
 * out->measures always the durable ones. When volatile state was lost: power is RECORD_NEEDS_POWER_ON, volatile_state
 * is empty.
 * VT_EBROKEN when the database is older than the runtime store.
 *
 * A runtime file without any record counts as "no file": the caller writes the present record there (off, or needs
 * power on) BEFORE it commits a power on. And a slot that is of another boot or does not open is dropped with
 * runtime_drop before the next write. If the newest well-formed slot does not open, the file is unreadable: falling
 * back to the older slot would be a step back in time.
 */
int record_recover(struct record *out, struct record *durable, struct record *runtime, const uint8_t boot_id[16],
                   struct vt_why *why) VT_USE_RESULT;

#endif
