/* SPDX-License-Identifier: Apache-2.0 */
/* Apart from text.c, which needs no clock and no calendar: Mini-OS has neither. */
#include "server/base/text.h"

#include <time.h>

void vt_time_text(char out[VT_TIME_TEXT], int64_t unix_s)
{
    time_t seconds = (time_t)unix_s;
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < 0 ||
        strftime(out, VT_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        memcpy(out, "1970-01-01T00:00:00Z", VT_TIME_TEXT);
}
