/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text forms that people and files see: hex, uuids, times. Any thread.
 */
#ifndef VTPM_BASE_TEXT_H
#define VTPM_BASE_TEXT_H

#include "server/base/base.h"

struct vt_uuid {
    uint8_t bytes[16];
};

#define VT_UUID_TEXT 37 /* 36 characters and the NUL */
#define VT_TIME_TEXT 21 /* YYYY-MM-DDTHH:MM:SSZ and the NUL */

/* Writes 2 * len lower-case digits and a NUL; out holds 2 * len + 1. */
void vt_hex(char *out, const void *bytes, size_t len);
/* Reads exactly 2 * len digits and the end of the string; either case. False if it is anything else. */
bool vt_unhex(void *bytes, size_t len, const char *text) VT_USE_RESULT;

/* Lower case, RFC 4122 form. */
void vt_uuid_text(char out[VT_UUID_TEXT], const struct vt_uuid *uuid);
/* Accepts the 36-character form only, either case. */
bool vt_uuid_parse(struct vt_uuid *uuid, const char *text) VT_USE_RESULT;
bool vt_uuid_equal(const struct vt_uuid *a, const struct vt_uuid *b) VT_USE_RESULT;
/* Makes 16 random bytes a version 4 uuid. */
void vt_uuid_from_random(struct vt_uuid *uuid, const uint8_t random[16]);

/* UTC; seconds since the epoch. */
void vt_time_text(char out[VT_TIME_TEXT], int64_t unix_s);

/* Of the character at text (RFC 3629, 4); 0: there is none. Looks no further than a NUL. */
size_t vt_utf8_len(const char *text) VT_USE_RESULT;
/*
 * What came from elsewhere, for people: in place. Control characters and bytes that are no UTF-8 (RFC 3629) become '?': no
 * text may forge a second line, speak to a terminal, or make a log that its readers cannot decode.
 */
void vt_printable(char *text);

/* CONTRACT: [A-Za-z0-9._-]{1,64} and not in the shape of a uuid. */
bool vt_name_valid(const char *name) VT_USE_RESULT;

/* Decimal, no sign, no blanks, nothing behind it, at most `max`. */
bool vt_parse_u64(uint64_t *value, const char *text, uint64_t max) VT_USE_RESULT;

#endif
