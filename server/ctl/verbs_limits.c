/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance may have of the host. */
#include "server/base/text.h"
#include "server/core/sched/pace.h"
#include "server/ctl/verbs.h"

/* One option: where its value goes, and the bounds that the server has too. */
struct limit {
    const char *option, *text;
    uint32_t least, most;
    uint32_t *value;
    protobuf_c_boolean *given;
};

static int take_limit(const struct limit *limit, struct vt_why *why)
{
    uint64_t value;

    if (!limit->text)
        return VT_OK;
    if (!vt_parse_u64(&value, limit->text, limit->most) || value < limit->least)
        return vt_fail(why, VT_EUSAGE, "--%s %.40s: must be a number from %u to %u%s", limit->option,
                       limit->text, (unsigned)limit->least, (unsigned)limit->most,
                       limit->least ? "" : "; 0 is no limit");
    *limit->value = (uint32_t)value;
    *limit->given = true;
    return VT_OK;
}

static int take_limits(const struct arguments *a, Vtpm__PaceChange *change, struct vt_why *why)
{
    Vtpm__Pace *pace = change->pace;
    const struct limit limits[] = {
        {"weight", a->weight, 1, PACE_WEIGHT_MAX, &pace->weight, &change->weight},
        {"commands-per-second", a->rate, 0, PACE_RATE_MAX, &pace->per_second, &change->per_second},
        {"burst", a->burst, 0, PACE_RATE_MAX, &pace->burst, &change->burst},
        {"cpu-percent", a->cpu, 0, PACE_CPU_MAX, &pace->cpu_percent, &change->cpu_percent},
    };
    int err = VT_OK;

    for (size_t k = 0; !err && k < VT_COUNT(limits); k++)
        err = take_limit(&limits[k], why);
    return err;
}

static int change_limits(const struct arguments *a, Vtpm__PaceChange *change)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PACE;
    request.pace = change;
    return ctl_do(a, &request);
}

static int show_limits(const struct arguments *a, char *instance)
{
    Vtpm__AdminReply *reply;
    int code = ctl_ask_ref(a, VTPM__ADMIN_REQUEST__VERB_SHOW, instance, &reply);

    if (code)
        return code;
    if (reply->n_instances == 1 && reply->instances[0]->pace)
        print_pace(&a->ctl, reply->instances[0]);
    else
        code = print_error(&a->ctl, VT_EDAMAGED,
                           "the instance's record does not open: vtpmctl instance show, vtpmctl check");
    ctl_reply_free(reply);
    return code;
}

int run_limits(const struct arguments *a, char *const *operands)
{
    Vtpm__PaceChange change = VTPM__PACE_CHANGE__INIT;
    Vtpm__Pace pace = VTPM__PACE__INIT;
    struct vt_why why = {0};
    int err;

    change.instance = operands[0];
    change.pace = &pace;
    if (!a->given)
        return show_limits(a, operands[0]);
    if (is_given(a, OPT(CLEAR))) {
        if (a->given != OPT(CLEAR))
            return print_error(&a->ctl, VT_EUSAGE,
                               "--clear takes all limits away: no other option goes with it");
        pace.weight = PACE_WEIGHT;
        change.weight = change.per_second = change.burst = change.cpu_percent = true;
        return change_limits(a, &change);
    }
    err = take_limits(a, &change, &why);
    return err ? ctl_fail(a, err, &why) : change_limits(a, &change);
}
