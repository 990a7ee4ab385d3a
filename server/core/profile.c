/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/profile.h"

#include <stdio.h>

#include "server/base/text.h"

static int built_in(const char *name, struct tpm_profile *out, struct vt_why *why)
{
    char all[200] = "";

    if (tpm_profile_named(name, out))
        return VT_OK;
    for (size_t i = 0; tpm_profile_name(i); i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", tpm_profile_name(i));
    return vt_fail(why, VT_EUSAGE, "no profile is called %.40s: there are %s, or a file's path with a / in it", name,
                   all);
}

/* The name stands for the limits wherever it is shown. */
static int own_name(const char *name, struct vt_why *why)
{
    struct tpm_profile other;

    if (!vt_name_valid(name) || strlen(name) >= TPM_PROFILE_NAME)
        return vt_fail(why, VT_EUSAGE, "%.40s is no name of a profile: 1 to %d of A-Z a-z 0-9 . _ -", name,
                       TPM_PROFILE_NAME - 1);
    if (tpm_profile_named(name, &other))
        return vt_fail(why, VT_EUSAGE,
                       "%s is a profile that is built in: call this one otherwise (\"name\" in its file)", name);
    return VT_OK;
}

static bool named_before(const Vtpm__InstanceCreate *create, size_t which)
{
    for (size_t i = 0; i < which; i++)
        if (strcmp(create->limits[i]->name, create->limits[which]->name) == 0)
            return true;
    return false;
}

int profile_of_request(const Vtpm__InstanceCreate *create, const char **name, struct tpm_profile *out,
                       struct vt_why *why)
{
    int err;

    *name = *create->profile ? create->profile : tpm_profile_name(0);
    if (!create->n_limits)
        return built_in(*name, out, why);
    err = own_name(*name, why);
    tpm_profile_pc_client(out);
    for (size_t i = 0; i < create->n_limits && !err; i++) {
        const Vtpm__Limit *limit = create->limits[i];

        if (i >= PROFILE_LIMITS_MAX || named_before(create, i))
            err = vt_fail(why, VT_EUSAGE, "profile: %.40s is there twice", limit->name);
        else
            err = tpm_limit_set(out, limit->name, limit->value, limit->is_truth, why);
    }
    return err ? err : tpm_profile_check(out, why);
}

size_t profile_rows(const struct tpm_profile *profile, Vtpm__Limit *rows, Vtpm__Limit **list)
{
    const struct tpm_limit *limit;
    size_t count = 0;

    for (; (limit = tpm_limit(count)) && count < PROFILE_LIMITS_MAX; count++) {
        vtpm__limit__init(&rows[count]);
        /* protobuf-c's texts are not const; nobody writes to this one. */
        rows[count].name = (char *)(uintptr_t)limit->name;
        rows[count].value = tpm_limit_get(profile, count);
        rows[count].is_truth = limit->is_truth;
        list[count] = &rows[count];
    }
    return count;
}
