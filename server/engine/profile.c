/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/profile.h"

#include <inttypes.h>

#include "server/engine/engine.h"

#define DOCS "vtpmctl(8), \"Profiles\""

/* X(field, its wire type, the least that works, the capacity): numbers; maintenance comes behind them. */
#define LIMITS(X)                                                                                            \
    X(key_slots, 16, 1 + KEY_SLOTS_LEFT, KEY_SLOTS_MAX)                                                      \
    X(owner_evict_slots, 16, 1, KEY_SLOTS_MAX - KEY_SLOTS_LEFT)                                              \
    X(auth_sessions, 16, 2, SESSIONS_MAX)                                                                    \
    X(transport_sessions, 16, 1, TRANSPORTS_MAX)                                                             \
    X(daa_sessions, 16, 1, DAA_SESSIONS_MAX)                                                                 \
    X(counters, 16, 1, COUNTERS_MAX)                                                                         \
    X(saved_contexts, 16, 1, SAVED_CONTEXTS_MAX)                                                             \
    X(family_rows, 16, 1, FAMILY_ROWS_MAX)                                                                   \
    X(delegate_rows, 16, 1, DELEGATE_ROWS_MAX)                                                               \
    X(nv_bytes, 32, 1, NV_BYTES_MAX)

#define LIMIT(field, bits, least_, most_) {.name = #field, .least = (least_), .most = (most_)},
static const struct tpm_limit limits[] = {LIMITS(LIMIT){.name = "maintenance", .most = 1, .is_truth = true}};
#undef LIMIT

/* ---- Those that are built in ---- */

void tpm_profile_pc_client(struct tpm_profile *profile)
{
    *profile = (struct tpm_profile){
        .key_slots = 20,
        .owner_evict_slots = 10,
        .auth_sessions = 16,
        .transport_sessions = 16,
        .daa_sessions = 2,
        .counters = 8,
        .saved_contexts = 128,
        .family_rows = 16,
        .delegate_rows = 4,
        .nv_bytes = 28u * 1024,
    };
}

/* All that a state has room for; half of the keys stay for those that nobody keeps. */
static void large(struct tpm_profile *profile)
{
    tpm_profile_pc_client(profile);
#define TAKE(field, bits, least, most) profile->field = (most);
    LIMITS(TAKE)
#undef TAKE
    profile->owner_evict_slots = KEY_SLOTS_MAX / 2;
}

static const struct {
    const char *name;
    void (*fill)(struct tpm_profile *profile);
} built_in[] = {{"pc-client", tpm_profile_pc_client}, {"large", large}};

const char *tpm_profile_name(size_t which)
{
    return which < VT_COUNT(built_in) ? built_in[which].name : NULL;
}

bool tpm_profile_named(const char *name, struct tpm_profile *out)
{
    for (size_t i = 0; i < VT_COUNT(built_in); i++) {
        if (strcmp(built_in[i].name, name) != 0)
            continue;
        built_in[i].fill(out);
        return true;
    }
    return false;
}

/* ---- One limit ---- */

const struct tpm_limit *tpm_limit(size_t which)
{
    return which < VT_COUNT(limits) ? &limits[which] : NULL;
}

uint32_t tpm_limit_get(const struct tpm_profile *profile, size_t which)
{
#define VALUE(field, bits, least, most) profile->field,
    const uint32_t values[] = {LIMITS(VALUE) profile->maintenance};
#undef VALUE

    return which < VT_COUNT(values) ? values[which] : 0;
}

static void put(struct tpm_profile *profile, const char *name, uint32_t value)
{
#define PUT(field, bits, least, most)                                                                               \
    if (strcmp(name, #field) == 0)                                                                           \
        profile->field = (uint##bits##_t)value;
    LIMITS(PUT)
#undef PUT
    if (strcmp(name, "maintenance") == 0)
        profile->maintenance = value != 0;
}

static const struct tpm_limit *find(const char *name)
{
    for (size_t i = 0; i < VT_COUNT(limits); i++)
        if (strcmp(limits[i].name, name) == 0)
            return &limits[i];
    return NULL;
}

int tpm_limit_set(struct tpm_profile *profile, const char *name, int64_t value, bool is_truth, struct vt_why *why)
{
    const struct tpm_limit *limit = find(name);

    if (!limit)
        return vt_fail(why, VT_EUSAGE, "profile: no limit is called %.40s: %s has all of them", name, DOCS);
    if (is_truth && !limit->is_truth)
        return vt_fail(why, VT_EUSAGE, "profile: %s is %s: it must be a number from %u to %u", name,
                       value ? "true" : "false", limit->least, limit->most);
    if (limit->is_truth && !is_truth)
        return vt_fail(why, VT_EUSAGE, "profile: %s is %" PRId64 ": it must be true or false", name, value);
    if (value < limit->least || value > limit->most)
        return vt_fail(why, VT_EUSAGE, "profile: %s is %" PRId64 ": it must be from %u to %u", name, value,
                       limit->least, limit->most);
    put(profile, name, (uint32_t)value);
    return VT_OK;
}

/* ---- All of them ---- */

int tpm_profile_check(const struct tpm_profile *profile, struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(limits); i++) {
        uint32_t value = tpm_limit_get(profile, i);

        if (value < limits[i].least || value > limits[i].most)
            return vt_fail(why, VT_EUSAGE, "profile: %s is %u: it must be from %u to %u", limits[i].name, value,
                           limits[i].least, limits[i].most);
    }
    if (profile->owner_evict_slots + KEY_SLOTS_LEFT > profile->key_slots)
        return vt_fail(why, VT_EUSAGE,
                       "profile: owner_evict_slots is %u and key_slots is %u: the owner may keep at most %u of them",
                       profile->owner_evict_slots, profile->key_slots, profile->key_slots - (unsigned)KEY_SLOTS_LEFT);
    return VT_OK;
}

bool tpm_profile_valid(const struct tpm_profile *profile)
{
    return !tpm_profile_check(profile, NULL);
}

void tpm_profile_defaults(struct tpm_profile *profile, const struct tpm_profile *wanted)
{
    tpm_profile_pc_client(profile);
#define TAKE(field, bits, least, most)                                                                              \
    if (wanted->field)                                                                                       \
        profile->field = wanted->field;
    LIMITS(TAKE)
#undef TAKE
    profile->maintenance = wanted->maintenance;
}

/* ---- Bytes ---- */

void tpm_profile_write(struct wr *w, const struct tpm_profile *profile)
{
#define WRITE(field, bits, least, most) wr_put##bits(w, profile->field);
    LIMITS(WRITE)
#undef WRITE
    wr_put8(w, profile->maintenance);
}

void tpm_profile_read(struct rd *r, struct tpm_profile *profile)
{
    uint8_t maintenance;

#define READ(field, bits, least, most) profile->field = rd_get##bits(r);
    LIMITS(READ)
#undef READ
    maintenance = rd_get8(r);
    if (maintenance > 1)
        r->bad = true;
    profile->maintenance = maintenance == 1;
}

bool tpm_profile_of(const uint8_t *permanent, size_t len, struct tpm_profile *out)
{
    struct rd r = rd_from(permanent, len);
    const uint8_t *magic = rd_take(&r, 4), *tag;

    /* Any version: PROF comes first in each of them. */
    (void)rd_get16(&r);
    tag = rd_take(&r, 4);
    (void)rd_get32(&r);
    tpm_profile_read(&r, out);
    return !r.bad && memcmp(magic, "VTPM", 4) == 0 && memcmp(tag, "PROF", 4) == 0 && tpm_profile_valid(out);
}
