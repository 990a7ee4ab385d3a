/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shim must know of a ring after its own death: the last command's number and bytes, and whether its response
 * was in the page. One file per ring in the runtime directory; it survives the process, not the host
 * (docs/record-and-recovery.md, "A shim's own death").
 *
 *   before Execute is sent for the first time:            journal_sent       (relay_config.note)
 *   response in the page, before it says FINISH:          journal_delivered
 *
 * The command's bytes are kept and not only their hash: a shim that dies while it writes the response into the page
 * finds neither of the two there, and the server gives its recorded response only for the same bytes.
 *
 * Two slots, written in turn, one pwrite each, with a sum: a half-written slot does not count and the other one holds.
 * The file is 0600 and may hold a guest's secrets as the shim's memory does: the directory belongs on a tmpfs.
 * Loop thread.
 */
#ifndef VTPM_SHIM_JOURNAL_H
#define VTPM_SHIM_JOURNAL_H

#include "proto/relay.h"
#include "proto/tpmif.h"
#include "server/base/err.h"

/* Which ring an entry is about. Another ring than the present one: the entry is void. */
struct journal_ring {
    uint8_t boot_id[16]; /* of the host */
    uint8_t uuid[16];    /* of the instance */
    uint32_t domid, devid;
    uint32_t ring_ref, event_channel;
};

enum journal_kind {
    JOURNAL_NONE,     /* nothing is known */
    JOURNAL_SENT,     /* mark: outcome unknown, the page does not say FINISH for it */
    JOURNAL_DELIVERED /* the response was in the page; mark.n is 0, or a command in doubt that the guest was told to retry */
};

struct journal_entry {
    enum journal_kind kind;
    uint64_t last_n;           /* of mark.stream: the last number whose outcome is known */
    struct relay_mark mark;    /* mark.command points into the journal: valid until it writes */
    struct tpmif_print print;  /* DELIVERED: the response */
};

/* What a restarted shim does with the ring. In every case: then tpmif_poll, and send one event. */
enum journal_plan {
    JOURNAL_FRESH,  /* a new stream; whatever was under way, nobody waits for it */
    JOURNAL_RESEND, /* tpmif_restore and relay_resume with the mark: the same number again */
    JOURNAL_FINISH, /* the response is in the page: tpmif_finish; the stream goes on after last_n */
    JOURNAL_NEXT    /* the stream goes on after last_n; a request in the page is the next command */
};

struct journal;

/*
 * Opens or makes PATH and reads what it holds about this ring (entry: JOURNAL_NONE if nothing). Returns owned
 * (journal_close). VT_EIO, VT_ENOSPC, VT_EPERM, VT_ENOMEM, VT_ECONFLICT (another shim has it open) with a reason.
 */
int journal_open(struct journal **journal, const char *path, const struct journal_ring *ring, struct journal_entry *entry,
                 struct vt_why *why) VT_USE_RESULT;
/* The front end has made another ring: later entries are about that one. */
void journal_set_ring(struct journal *journal, const struct journal_ring *ring);
/* The file stays. May be NULL. Wipes memory. */
void journal_close(struct journal *journal);
/* The device is gone: wipes the file, removes it, closes. May be NULL. */
void journal_remove(struct journal *journal);

/* VT_EIO, VT_ENOSPC: not noted, so the command must not be sent. */
int journal_sent(struct journal *journal, const struct relay_mark *mark) VT_USE_RESULT;
/* position: relay_position. VT_EIO, VT_ENOSPC: not noted, so FINISH must not be set yet. */
int journal_delivered(struct journal *journal, const struct relay_position *position, const struct tpmif_print *print)
    VT_USE_RESULT;

/* Pure. ring holds what tpmif_look copied. */
enum journal_plan journal_decide(const struct journal_entry *entry, const struct tpmif *ring, const struct tpmif_view *view);

#endif
