/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of a key slot as the store keeps them: one flat JSON object of strings and whole numbers. A strict
 * reader: the bytes come from the database. Not a JSON library: no nesting, no fractions, no text beyond what slots
 * need. Any thread.
 */
#ifndef VTPM_CORE_PARAMS_H
#define VTPM_CORE_PARAMS_H

#include "server/base/err.h"

#define PARAMS_NAME 32   /* longest name, with the NUL */
#define PARAMS_COUNT 16  /* most members */
#define PARAMS_TEXT 1024 /* longest string, with the NUL */

/* VT_EDAMAGED unless all of json is one well-formed object within the bounds, no name twice. */
int params_check(const char *json) VT_USE_RESULT;
/* VT_ENOTFOUND: no such member; VT_EDAMAGED: malformed, not a string, or longer than out. */
int params_text(const char *json, const char *name, char *out, size_t cap) VT_USE_RESULT;
/* As params_text; VT_EDAMAGED if it is not a whole number from 0 to max. */
int params_number(const char *json, const char *name, uint64_t max, uint64_t *out) VT_USE_RESULT;

/* Writes members in the order of the calls; an overflow is found by params_end. */
struct params_writer {
    char *out;
    size_t cap, len;
    bool bad;
};
void params_begin(struct params_writer *w, char *out, size_t cap);
void params_put_text(struct params_writer *w, const char *name, const char *text);
void params_put_number(struct params_writer *w, const char *name, uint64_t number);
int params_end(struct params_writer *w) VT_USE_RESULT; /* VT_ETOOBIG */

#endif
