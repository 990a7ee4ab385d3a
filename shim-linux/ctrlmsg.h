/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the control channel that swtpm made and QEMU and libvirt speak: a 32-bit command, big-endian, then a body
 * whose length the command gives, or a field of it. Bytes come in any pieces. No I/O. Any thread.
 */
#ifndef VTPM_SHIM_CTRLMSG_H
#define VTPM_SHIM_CTRLMSG_H

#include "server/base/buf.h"

enum ctrl_command {
    CTRL_GET_CAPABILITY = 1,
    CTRL_INIT = 2,
    CTRL_SHUTDOWN = 3,
    CTRL_GET_TPMESTABLISHED = 4,
    CTRL_SET_LOCALITY = 5,
    CTRL_HASH_START = 6,
    CTRL_HASH_DATA = 7,
    CTRL_HASH_END = 8,
    CTRL_CANCEL = 9,
    CTRL_STORE_VOLATILE = 0xa,
    CTRL_RESET_TPMESTABLISHED = 0xb,
    CTRL_GET_STATEBLOB = 0xc,
    CTRL_SET_STATEBLOB = 0xd,
    CTRL_STOP = 0xe,
    CTRL_GET_CONFIG = 0xf,
    CTRL_SET_DATAFD = 0x10,
    CTRL_SET_BUFFERSIZE = 0x11,
    CTRL_GET_INFO = 0x12,
    CTRL_LOCK_STORAGE = 0x13,
    CTRL_COMMANDS
};

#define CTRL_HASH_MAX 4096
#define CTRL_INFO_LEN 16 /* flags 8, offset 4, padding 4 */

struct ctrl_request {
    uint32_t command;      /* perhaps none of ours: then nothing below but `size` is set */
    uint32_t words[3];     /* the body's 32-bit words, as many as it has: INIT flags; STATEBLOB flags, type, offset or
                              length; SET_BUFFERSIZE size; LOCK_STORAGE retries */
    uint64_t info_flags;   /* GET_INFO */
    uint8_t locality;      /* SET_LOCALITY, RESET_TPMESTABLISHED: as it came */
    const uint8_t *bytes;  /* HASH_DATA, SET_STATEBLOB: in the buffer */
    size_t len;
    size_t size;           /* of the whole request in the buffer */
    bool is_followed;      /* more bytes came with it: nobody asks twice before there is an answer */
};

/*
 * The request at the read end. VT_EAGAIN: not whole yet. VT_ETOOBIG: *request has the command and the length that it names in
 * its last word; where the next one begins will never be known. Of an unknown command all that is there is taken.
 */
int ctrl_next(const struct vt_buf *in, struct ctrl_request *request) VT_USE_RESULT;

/* For the log; "unknown". */
const char *ctrl_name(uint32_t command);

static inline void ctrl_put32(uint8_t out[4], uint32_t v)
{
    out[0] = (uint8_t)(v >> 24);
    out[1] = (uint8_t)(v >> 16);
    out[2] = (uint8_t)(v >> 8);
    out[3] = (uint8_t)v;
}

static inline uint32_t ctrl_get32(const uint8_t in[4])
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

#endif
