/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/core_one.h"

struct rig rig;
struct peer peer;
struct vt_uuid uuid;
char identity[VT_UUID_TEXT];

static void begin(uint32_t ordinal, uint64_t permanent_count)
{
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    vt_uuid_text(identity, &uuid);
    peer_expect(&peer, 1, ordinal, 1, permanent_count);
}

int one_bumped_both(void **state)
{
    (void)state;
    begin(FAKE_BUMP_BOTH, 1);
    return 0;
}

int one_bumped_volatile(void **state)
{
    (void)state;
    begin(FAKE_BUMP_VOLATILE, 0);
    return 0;
}

int one_end(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}
