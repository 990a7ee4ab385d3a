/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/refusals.h"

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
            vt_log_with(VT_LOG_WARNING,
                        VT_FIELDS(VT_NUMBER("count", r->of[i].in_window - REFUSAL_LINES),
                                  VT_NUMBER("total", r->of[i].total)),
                        "net: refused %u more: %s", r->of[i].in_window - REFUSAL_LINES, texts[i]);
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
    vt_log_with(VT_LOG_WARNING,
                VT_FIELDS(VT_TEXT("peer", peer), {.key = identity && *identity ? "identity" : NULL, .text = identity}),
                "net: refused %s: %s%s%s", peer, texts[reason], detail && *detail ? ": " : "", detail ? detail : "");
    return false;
}
