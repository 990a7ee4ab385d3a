/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor carries from host to host: the blobs of GET_STATEBLOB and SET_STATEBLOB. The control channel
 * (frontend_swtpm.c) does the framing, this side knows what is in a blob. It does no I/O: what it wants of the server it
 * asks for through the front end's lane, and what came of it is looked up:
 *
 *   after stateblob_get, _set, _init or _lock returned VT_OK: stateblob_result until it gives one; while it gives none, the
 *   lane is offered stateblob_take, and stateblob_respond has the answer.
 *
 * One thing is under way at a time. Without a lane's answer (a closed front end) nothing more is called but stateblob_free.
 * A blob that the monitor was only half told of, or had half read, is nobody's here: the channel hands over whole ones and
 * asks once for each GET. Loop thread.
 */
#ifndef VTPM_SHIM_STATEBLOB_H
#define VTPM_SHIM_STATEBLOB_H

#include "shim-linux/lane.h"

/* As on the wire (PTM_BLOB_TYPE_*). The channel refuses others. */
enum stateblob_type { STATEBLOB_PERMANENT = 1, STATEBLOB_VOLATILE = 2, STATEBLOB_SAVESTATE = 3 };

/* The longest that is taken or given: the channel refuses more before it is read. */
#define STATEBLOB_MAX (256u * 1024)

/* Of GET, what was asked for, and of SET, what it is (PTM_STATE_FLAG_*). Others are passed on unread. */
#define STATEBLOB_DECRYPTED 1u
#define STATEBLOB_ENCRYPTED 2u

/* What is said where nothing better is known: TPM_FAIL (Part 2, 16). */
#define STATEBLOB_FAIL 9u

struct stateblob_result {
    uint32_t tpm_rc;      /* 0, or the code that the monitor gets; why was logged by who found it */
    uint32_t flags;       /* GET: of the answer */
    const uint8_t *bytes; /* GET: borrowed until the next call; NULL when len is 0 (there is no state of that type) */
    size_t len;
};

struct stateblob;

/*
 * One for each front end; knows nothing of a guest yet. target: the server's peer to which the guest may be moved; NULL:
 * its only one. Borrowed for life. with_state: the instance itself is in the blob, and leaves the server when it is got.
 * Returns owned. VT_ENOMEM.
 */
int stateblob_new(struct stateblob **blobs, const char *target, bool with_state) VT_USE_RESULT;
/* Wipes. May be NULL. */
void stateblob_free(struct stateblob *blobs);

/* False: GET_CAPABILITY names nothing of all this, and a monitor says beforehand that it cannot move its guest. */
bool stateblob_is_available(const struct stateblob *blobs);

/*
 * A blob of the TPM as it is now, whole. The channel keeps the bytes for as long as the monitor reads them in pieces.
 * VT_ENOTSUP: not available (logged); other errors as they are. The monitor gets STATEBLOB_FAIL.
 */
int stateblob_get(struct stateblob *blobs, enum stateblob_type type, uint32_t flags) VT_USE_RESULT;
/*
 * A whole blob, while the TPM is stopped; len may be 0. Copies. The result is the verdict on these bytes alone; whether
 * the blobs fit each other turns out at stateblob_init.
 */
int stateblob_set(struct stateblob *blobs, enum stateblob_type type, uint32_t flags, const uint8_t *bytes,
                  size_t len) VT_USE_RESULT;

/* Blobs were set since the last stateblob_forget, so that INIT means: go on from them. False: INIT is a power on. */
bool stateblob_is_set(const struct stateblob *blobs);
/* INIT with what was set. flags: INIT's (bit 0: volatile state is used up by it). The blobs set are used up, come what may. */
int stateblob_init(struct stateblob *blobs, uint32_t flags) VT_USE_RESULT;
/* LOCK_STORAGE: the guest stays here after all. retries: how often the monitor would have it tried, 10 ms apart. */
int stateblob_lock(struct stateblob *blobs, uint32_t retries) VT_USE_RESULT;

/* The next thing wanted of the server. False: nothing now. Bytes of the request are borrowed as lane_source.take has it. */
bool stateblob_take(struct stateblob *blobs, struct courier_request *request) VT_USE_RESULT;
/* The answer to what was taken last. */
void stateblob_respond(struct stateblob *blobs, const struct courier_response *response);
/* What came of the call under way, once; false: it is not known yet. */
bool stateblob_result(struct stateblob *blobs, struct stateblob_result *result) VT_USE_RESULT;

/*
 * A ticket was given away and the guest has done nothing since: it may be at another host, and its machine here may end
 * without being switched off.
 */
bool stateblob_is_given(const struct stateblob *blobs);
/* The guest has done something here: its machine is this one. */
void stateblob_went_on(struct stateblob *blobs);

/* A power on without blobs, or SHUTDOWN: blobs that were set are void. Nothing may be under way. */
void stateblob_forget(struct stateblob *blobs);

#endif
