/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conventions that hold in every header of this project, and the few words of C that it misses.
 *
 * - A pointer parameter may not be NULL unless its comment says so; (ptr, len) pairs accept any ptr when len is 0.
 * - "borrows": the callee uses the memory during the call only. "takes": the callee owns it afterwards, also on
 *   error. "returns owned": the caller frees it with the function named.
 * - Lengths are bytes. Times are microseconds unless the name ends in _ms or _s.
 * - Functions that can fail return enum vt_err (0 or negative); their result must be used.
 * - Thread: "loop" (the broker's one libuv thread), "worker" (pool), "any".
 */
#ifndef VTPM_BASE_BASE_H
#define VTPM_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VT_USE_RESULT __attribute__((warn_unused_result))
#define VT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define VT_CLEANUP(fn) __attribute__((cleanup(fn)))
#define VT_UNUSED __attribute__((unused))

#define VT_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define VT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VT_MAX(a, b) ((a) > (b) ? (a) : (b))

/* The structure of which `ptr` is the member. */
#define VT_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
