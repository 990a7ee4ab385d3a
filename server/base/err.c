/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/err.h"

#include <stdarg.h>
#include <stdio.h>

#include "server/base/text.h"

static const struct row {
    int err;
    int exit_code;
    const char *text;
} rows[] = {
#define VT_ERR_ROW(name, value, exit_code, text) {value, exit_code, text},
    VT_ERR_LIST(VT_ERR_ROW)
#undef VT_ERR_ROW
};

static const struct row *find(int err)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (rows[i].err == err)
            return &rows[i];
    return NULL;
}

const char *vt_err_text(int err)
{
    const struct row *row = find(err);
    return row ? row->text : "unknown error";
}

int vt_err_exit(int err)
{
    const struct row *row = find(err);
    return row ? row->exit_code : 1;
}

int vt_fail(struct vt_why *why, int err, const char *fmt, ...)
{
    va_list args;

    if (!why || why->text[0])
        return err;
    va_start(args, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    vt_printable(why->text);
    return err;
}
