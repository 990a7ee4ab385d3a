/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask a sandbox to do, to see it stopped. In builds with VTPM_TEST_HOOKS only. */
#ifndef VTPM_SANDBOX_MISBEHAVE_H
#define VTPM_SANDBOX_MISBEHAVE_H

#include "server/base/base.h"

/* Request {what u8}. A deed that was not prevented is answered with SANDBOX_FAILED and VT_EFAIL. */
#define SANDBOX_MISBEHAVE 200

enum sandbox_deed {
    DEED_OPEN = 1,
    DEED_SOCKET,
    DEED_FORK,
    DEED_MAP_CODE,
    DEED_ALLOCATE,      /* without end; the answer is FAILED with VT_ENOMEM once the limit is met */
    DEED_SPIN,
    DEED_ANSWER_AND_SPIN,
    DEED_CRASH,
    DEED_ABORT,
    DEED_EXIT,
    DEED_LONG_FRAME,    /* announces more than SANDBOX_FRAME_MAX */
    DEED_TWO_REPLIES,
    DEED_EMPTY_FRAME,
    DEED_KILL,
    DEED_CRYPTO,        /* no misdeed: all self-tests, to show that the filter lets every primitive work */
    DEED_CONNECT,
    DEED_EXECUTE,
    DEED_ASK_KEYS,      /* one after the other, without end */
    DEED_ASK_NO_KEY,    /* for a key that does not exist */
    DEED_ASK_SHORT,     /* and for none at all */
    DEED_TAKE_AND_LEAVE, /* asks for a key and does not wait for it */
};

/*
 * The same in a whole server: a TPM command {00C1, size 11, this ordinal, deed u8}. The bit that Part 2, 17 keeps
 * for vendors is set; without the hooks it is an unknown ordinal.
 */
#define SANDBOX_MISBEHAVE_ORDINAL 0x2056BAD0u

#ifdef VTPM_TEST_HOOKS
/* Returns an enum vt_err for the answer if it returns at all. */
int sandbox_misbehave(int fd, uint8_t what);
#endif

#endif
