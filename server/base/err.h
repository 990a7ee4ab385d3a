/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's alphabet of errors: one list gives the code, its text, and the exit code that programs end with
 * (CONTRACT: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 exists, 6 not reached, 7 not permitted, 8 wrong
 * key, 9 damaged). The same numbers (positive) travel in the channel's Error message.
 */
#ifndef VTPM_BASE_ERR_H
#define VTPM_BASE_ERR_H

#include "server/base/base.h"

/*        name            value exit  text */
#define VT_ERR_LIST(X)                                                                            \
    X(VT_OK,              0,    0,    "ok")                                                       \
    X(VT_EFAIL,          -1,    1,    "failed")                                                   \
    X(VT_EUSAGE,         -2,    2,    "usage or configuration error")                             \
    X(VT_ENOTFOUND,      -3,    3,    "not found")                                                \
    X(VT_ECONFLICT,      -4,    4,    "in conflict with the present state")                       \
    X(VT_EEXISTS,        -5,    5,    "exists already")                                           \
    X(VT_EUNREACHED,     -6,    6,    "server not reached")                                       \
    X(VT_EPERM,          -7,    7,    "not permitted")                                            \
    X(VT_EKEY,           -8,    8,    "cannot be opened with this key")                           \
    X(VT_EDAMAGED,       -9,    9,    "damaged")                                                  \
    X(VT_ENOMEM,         -10,   1,    "out of memory")                                            \
    X(VT_EIO,            -11,   1,    "input/output error")                                       \
    X(VT_EPROTO,         -12,   1,    "protocol error")                                           \
    X(VT_ETOOBIG,        -13,   1,    "too big")                                                  \
    X(VT_EAUTH,          -14,   7,    "authentication failed")                                    \
    X(VT_EAGAIN,         -15,   1,    "not now, try again")                                       \
    X(VT_EUNAVAILABLE,   -16,   1,    "store unavailable")                                        \
    X(VT_EFENCED,        -17,   4,    "taken over by another")                                    \
    X(VT_EUNKNOWN,       -18,   1,    "outcome unknown")                                          \
    X(VT_ETIMEOUT,       -19,   1,    "timed out")                                                \
    X(VT_ECRYPTO,        -20,   1,    "cryptographic operation failed")                           \
    X(VT_ENOTSUP,        -21,   1,    "not supported by this build")                              \
    X(VT_EBROKEN,        -22,   4,    "instance is broken")                                       \
    X(VT_EPOWER,         -23,   4,    "instance needs a power on")                                \
    X(VT_ECLOSED,        -24,   1,    "connection closed")                                        \
    X(VT_ENOSPC,         -25,   1,    "no space left")                                            \
    X(VT_EMOVED,         -26,   7,    "moved to another server")

enum vt_err {
#define VT_ERR_ENUM(name, value, exit_code, text) name = value,
    VT_ERR_LIST(VT_ERR_ENUM)
#undef VT_ERR_ENUM
};

/* Text for a code; never NULL; unknown codes get "unknown error". Any thread. */
const char *vt_err_text(int err);

/* The exit code of a program that ends because of err. Any thread. */
int vt_err_exit(int err);

/*
 * Why something failed, for a person: names the thing, the value and what to do. A caller that does not want it
 * passes NULL. The first text set stays: the place closest to the cause knows best.
 */
struct vt_why {
    char text[480];
};

/* Sets why->text if it is still empty and returns err: `return vt_fail(why, VT_ENOTFOUND, "%s: no such file", p);` */
int vt_fail(struct vt_why *why, int err, const char *fmt, ...) VT_PRINTF(3, 4);

#endif
