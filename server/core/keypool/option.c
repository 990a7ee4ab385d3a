/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/keypool/keypool.h"

#include <stdio.h>

static int parse_count(unsigned *count, const char *text, size_t len, struct vt_why *why)
{
    char number[8];
    uint64_t value;

    snprintf(number, sizeof number, "%.*s", (int)VT_MIN(len, sizeof number - 1), text);
    if (!vt_parse_u64(&value, number, KEYPOOL_MOST))
        return vt_fail(why, VT_EUSAGE, "'%s' is not a number of keys from 0 to %d", number, KEYPOOL_MOST);
    *count = (unsigned)value;
    return VT_OK;
}

int keypool_parse(struct keypool_config *config, const char *text, struct vt_why *why)
{
    struct vt_why reason = {0};
    size_t len = strcspn(text, ",");
    int err = parse_count(&config->size[KEYPOOL_2048], text, len, &reason);

    config->size[KEYPOOL_1024] = 0;
    if (!err && text[len])
        err = parse_count(&config->size[KEYPOOL_1024], text + len + 1, strlen(text + len + 1), &reason);
    return err ? vt_fail(why, err, "--key-pool %.40s: %s; for instance: 16,4 (of 2048 and of 1024 bits), or 0", text,
                         reason.text)
               : VT_OK;
}
