/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, 7.2 TPM_SetCapability. Which flags and data it may set, who may and when, is in the tables
 * of Part 2, 7.1 to 7.6; what is not in them is TPM_BAD_PARAMETER.
 */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

/* Who may; several: any one of them. */
enum who {
    BY_ANYBODY = 0,
    BY_OWNER = 1,
    BY_PRESENCE = 2,
    BY_UNOWNED_PRESENCE = 4, /* physical presence, and there is no owner */
    BY_LOCALITY_3_4 = 8
};

enum value { ANY_VALUE, ONLY_TRUE, ONLY_FALSE };

/* One row of the tables that is a flag. */
struct setting {
    uint32_t sub_cap;
    uint8_t who;
    uint8_t needs; /* NEEDS_ENABLED, NEEDS_ACTIVE */
    uint8_t value;
    size_t flag; /* where it is in its structure */
};

#define AT(type, field) offsetof(struct type, field)

/* Part 2, 7.1 */
static const struct setting perm_flags[] = {
    {TPM_PF_DISABLE, BY_OWNER | BY_PRESENCE, 0, ANY_VALUE, AT(tpm_permanent_flags, disable)},
    {TPM_PF_OWNERSHIP, BY_UNOWNED_PRESENCE, NEEDS_USABLE, ANY_VALUE, AT(tpm_permanent_flags, ownership)},
    {TPM_PF_DEACTIVATED, BY_PRESENCE, NEEDS_ENABLED, ANY_VALUE, AT(tpm_permanent_flags, deactivated)},
    {TPM_PF_READPUBEK, BY_OWNER, NEEDS_USABLE, ANY_VALUE, AT(tpm_permanent_flags, read_pubek)},
    {TPM_PF_DISABLEOWNERCLEAR, BY_OWNER, NEEDS_USABLE, ONLY_TRUE,
     AT(tpm_permanent_flags, disable_owner_clear)},
    {TPM_PF_ALLOWMAINTENANCE, BY_OWNER, NEEDS_USABLE, ONLY_FALSE, AT(tpm_permanent_flags, allow_maintenance)},
    {TPM_PF_READSRKPUB, BY_OWNER, NEEDS_USABLE, ANY_VALUE, AT(tpm_permanent_flags, read_srk_pub)},
    {TPM_PF_TPMESTABLISHED, BY_LOCALITY_3_4, 0, ONLY_FALSE, AT(tpm_permanent_flags, tpm_established)},
    {TPM_PF_DISABLEFULLDALOGICINFO, BY_OWNER, 0, ANY_VALUE,
     AT(tpm_permanent_flags, disable_full_da_logic_info)},
};

/* 7.2 */
static const struct setting stclear_flags[] = {
    {TPM_SF_DISABLEFORCECLEAR, BY_ANYBODY, NEEDS_USABLE, ONLY_TRUE,
     AT(tpm_stclear_flags, disable_force_clear)},
};

/* 7.3 */
static const struct setting stany_flags[] = {
    {TPM_AF_TOSPRESENT, BY_LOCALITY_3_4, NEEDS_USABLE, ONLY_FALSE, AT(stany, tos_present)},
};

static const struct setting *find(const struct setting *settings, size_t count, uint32_t sub_cap)
{
    for (size_t i = 0; i < count; i++)
        if (settings[i].sub_cap == sub_cap)
            return &settings[i];
    return NULL;
}

/* ---- Who and when ---- */

static bool at_locality(const struct cmd *c, uint8_t first)
{
    return c->locality >= first;
}

static tpm_rc check_who(const struct cmd *c, uint8_t who)
{
    bool owner = c->auth_count != 0; /* proved before */

    if (who == BY_ANYBODY || ((who & BY_OWNER) && owner))
        return TPM_SUCCESS;
    if (who == BY_LOCALITY_3_4)
        return at_locality(c, 3) ? TPM_SUCCESS : TPM_BAD_LOCALITY;
    if (who == BY_UNOWNED_PRESENCE && c->tpm->perm.owned)
        return TPM_OWNER_SET;
    return (who & (BY_PRESENCE | BY_UNOWNED_PRESENCE)) && cmd_physical_presence(c) ? TPM_SUCCESS
                                                                                   : TPM_AUTHFAIL;
}

static tpm_rc check_needs(const struct cmd *c, uint8_t needs)
{
    if ((needs & NEEDS_ENABLED) && c->tpm->perm.flags.disable)
        return TPM_DISABLED;
    return (needs & NEEDS_ACTIVE) && c->tpm->stclear.flags.deactivated ? TPM_DEACTIVATED : TPM_SUCCESS;
}

/* ---- Values ---- */

static bool value_fits(uint8_t wanted, bool value)
{
    return wanted == ANY_VALUE || value == (wanted == ONLY_TRUE);
}

static tpm_rc read_bool(const struct tpm_blob *in, bool *value)
{
    struct rd r = rd_from(in->data, in->len);

    rd_b(&r, value);
    return rd_result(&r);
}

static tpm_rc read_number(const struct tpm_blob *in, uint32_t *value)
{
    struct rd r = rd_from(in->data, in->len);

    *value = rd_get32(&r);
    return rd_result(&r);
}

static tpm_rc set_flag(struct cmd *c, const struct setting *setting, void *flags, const struct tpm_blob *in)
{
    bool *flag, value;
    tpm_rc rc = read_bool(in, &value);

    if (rc)
        return rc;
    if (!setting)
        return TPM_BAD_PARAMETER;
    rc = check_who(c, setting->who);
    if (rc)
        return rc;
    if (!value_fits(setting->value, value))
        return TPM_BAD_PARAMETER;
    rc = check_needs(c, setting->needs);
    if (rc)
        return rc;
    flag = (bool *)((uint8_t *)flags + setting->flag);
    *flag = value;
    return TPM_SUCCESS;
}

/* ---- Data: 7.4 and 7.5 ---- */

/* TPM_CMK_SetRestrictions by another name. */
static tpm_rc set_restrict_delegate(struct cmd *c, const struct tpm_blob *in)
{
    uint8_t *restrictions = c->tpm->perm.restrict_delegate;
    uint32_t value;
    tpm_rc rc;

    if ((rc = read_number(in, &value)) || (rc = check_who(c, BY_OWNER)) ||
        (rc = check_needs(c, NEEDS_USABLE)))
        return rc;
    memcpy(restrictions, in->data, sizeof c->tpm->perm.restrict_delegate);
    return TPM_SUCCESS;
}

/* Has no value: the TPM chooses new ones, tpmDAASeed too (Part 2, 7.4), and what the DAA made is void. */
static tpm_rc set_daa_proof(struct cmd *c)
{
    tpm_rc rc = check_who(c, BY_OWNER);

    if (rc)
        return rc;
    tpm_random(c->tpm, c->tpm->perm.daa_proof.bytes, sizeof c->tpm->perm.daa_proof.bytes);
    tpm_random(c->tpm, c->tpm->perm.daa_blob_key.bytes, sizeof c->tpm->perm.daa_blob_key.bytes);
    tpm_random(c->tpm, c->tpm->perm.daa_seed.bytes, sizeof c->tpm->perm.daa_seed.bytes);
    return TPM_SUCCESS;
}

static tpm_rc set_perm_data(struct cmd *c, uint32_t sub_cap, const struct tpm_blob *in)
{
    uint32_t value;
    tpm_rc rc;

    switch (sub_cap) {
    case TPM_PD_RESTRICTDELEGATE:
        return set_restrict_delegate(c, in);
    case TPM_PD_DAAPROOF:
        return set_daa_proof(c);
    default:
        rc = read_number(in, &value);
        return rc ? rc : TPM_BAD_PARAMETER;
    }
}

/* Presence for later: asserting it takes presence now, giving it up does not. */
static tpm_rc set_stclear_data(struct cmd *c, uint32_t sub_cap, const struct tpm_blob *in)
{
    uint32_t *deferred = &c->tpm->stclear.deferred_presence, value;
    tpm_rc rc = read_number(in, &value);

    if (rc)
        return rc;
    if (sub_cap != TPM_SD_DEFERREDPHYSICALPRESENCE)
        return TPM_BAD_PARAMETER;
    if ((value & ~*deferred) && !cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    *deferred = value;
    return TPM_SUCCESS;
}

/* ---- 7.2 ---- */

/* Actions 2-4. A sub-capability that is no number is none that there is. */
static tpm_rc set(struct cmd *c, uint32_t area, uint32_t sub_cap, const struct tpm_blob *value)
{
    struct tpm *tpm = c->tpm;

    switch (area) {
    case TPM_SET_PERM_FLAGS:
        return set_flag(c, find(perm_flags, VT_COUNT(perm_flags), sub_cap), &tpm->perm.flags, value);
    case TPM_SET_PERM_DATA:
        return set_perm_data(c, sub_cap, value);
    case TPM_SET_STCLEAR_FLAGS:
        return set_flag(c, find(stclear_flags, VT_COUNT(stclear_flags), sub_cap), &tpm->stclear.flags, value);
    case TPM_SET_STCLEAR_DATA:
        return set_stclear_data(c, sub_cap, value);
    case TPM_SET_STANY_FLAGS:
        return set_flag(c, find(stany_flags, VT_COUNT(stany_flags), sub_cap), &tpm->stany, value);
    case TPM_SET_STANY_DATA:
    case TPM_SET_VENDOR:
        return TPM_BAD_PARAMETER; /* nothing to be set in them */
    default:
        return TPM_BAD_MODE;
    }
}

/* TPM 1.2 Part 3, 7.2 TPM_SetCapability */
tpm_rc cmd_set_capability(struct cmd *c, const struct set_capability_in *in, struct set_capability_out *out)
{
    uint32_t sub_cap = 0; /* no row has it */
    tpm_rc rc;

    (void)out;
    /* 1. */
    rc = c->auth_count ? cmd_check_owner(c, 0) : TPM_SUCCESS;
    if (rc)
        return rc;
    if (in->sub_cap.len == sizeof sub_cap && (rc = read_number(&in->sub_cap, &sub_cap)))
        return rc;
    return set(c, in->cap_area, sub_cap, &in->set_value);
}
