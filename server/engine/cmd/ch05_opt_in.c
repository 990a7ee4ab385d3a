/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 5: opt-in. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

/* TPM 1.2 Part 3, 5.1 TPM_SetOwnerInstall */
tpm_rc cmd_set_owner_install(struct cmd *c, const struct set_owner_install_in *in,
                             struct set_owner_install_out *out)
{
    (void)out;
    /* 1. With an owner there is nothing to do. */
    if (c->tpm->perm.owned)
        return TPM_SUCCESS;
    /* 2. */
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    c->tpm->perm.flags.ownership = in->state;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.2 TPM_OwnerSetDisable */
tpm_rc cmd_owner_set_disable(struct cmd *c, const struct owner_set_disable_in *in,
                             struct owner_set_disable_out *out)
{
    (void)out;
    c->tpm->perm.flags.disable = in->disable_state;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.3 TPM_PhysicalEnable */
tpm_rc cmd_physical_enable(struct cmd *c, const struct physical_enable_in *in,
                           struct physical_enable_out *out)
{
    (void)in;
    (void)out;
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    c->tpm->perm.flags.disable = false;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.4 TPM_PhysicalDisable */
tpm_rc cmd_physical_disable(struct cmd *c, const struct physical_disable_in *in,
                            struct physical_disable_out *out)
{
    (void)in;
    (void)out;
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    c->tpm->perm.flags.disable = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.5 TPM_PhysicalSetDeactivated: takes effect at the next TPM_Startup(ST_CLEAR). */
tpm_rc cmd_physical_set_deactivated(struct cmd *c, const struct physical_set_deactivated_in *in,
                                    struct physical_set_deactivated_out *out)
{
    (void)out;
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    c->tpm->perm.flags.deactivated = in->state;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.6 TPM_SetTempDeactivated */
tpm_rc cmd_set_temp_deactivated(struct cmd *c, const struct set_temp_deactivated_in *in,
                                struct set_temp_deactivated_out *out)
{
    struct auth_entity entity = {.type = TPM_ET_OPERATOR, .secret = &c->tpm->perm.operator_auth};
    tpm_rc rc;

    (void)in;
    (void)out;
    /* 1. With a session: the operator's secret, by OIAP (an OSAP session cannot name the operator). */
    if (c->auth_count) {
        if (!c->tpm->perm.flags.operator)
            return TPM_NOOPERATOR;
        if (c->auth[0].session->kind != SESSION_OIAP)
            return TPM_BAD_MODE;
        rc = cmd_check_auth(c, 0, &entity);
        if (rc)
            return rc;
    } else if (!cmd_physical_presence(c)) { /* 2. */
        return TPM_BAD_PRESENCE;
    }
    /* 3. */
    c->tpm->stclear.flags.deactivated = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 5.7 TPM_SetOperatorAuth */
tpm_rc cmd_set_operator_auth(struct cmd *c, const struct set_operator_auth_in *in,
                             struct set_operator_auth_out *out)
{
    (void)out;
    if (!cmd_physical_presence(c))
        return TPM_BAD_PRESENCE;
    c->tpm->perm.operator_auth = in->operator_auth;
    c->tpm->perm.flags.operator= true;
    return TPM_SUCCESS;
}
