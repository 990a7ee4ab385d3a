/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/refusals.h"

#include <inttypes.h>

#include "server/base/log.h"

static const char *const texts[] = {
#define REFUSAL_TEXT(name, text) text,
    REFUSAL_LIST(REFUSAL_TEXT)
#undef REFUSAL_TEXT
};

void refusals_flush(struct refusals *r, uint64_t now_ms)
{
    for (size_t i = 0; i < REFUSAL_COUNT; i++) {
        if (r->of[i].in_window > REFUSAL_LINES)
            vt_warning("net: refused %u more: %s (total %" PRIu64 ")", r->of[i].in_window - REFUSAL_LINES,
                       texts[i], r->of[i].total);
        r->of[i].in_window = 0;
    }
    r->window_ms = now_ms;
}

bool refusals_note(struct refusals *r, enum refusal reason, uint64_t now_ms, const char *peer,
                   const char *identity, const char *detail)
{
    if (now_ms - r->window_ms >= REFUSAL_WINDOW_MS)
        refusals_flush(r, now_ms);
    r->of[reason].total++;
    if (++r->of[reason].in_window > REFUSAL_LINES)
        return true;
    vt_warning("net: refused %s: %s%s%s%s%s", peer, texts[reason], identity && *identity ? " identity=" : "",
               identity ? identity : "", detail && *detail ? ": " : "", detail ? detail : "");
    return false;
}
