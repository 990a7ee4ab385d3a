/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 6, the platform's own two ordinals: physical presence, the establishment bit. */
#include "server/engine/handlers.h"

#define LIFETIME                                                                                             \
    (TPM_PHYSICAL_PRESENCE_LIFETIME_LOCK | TPM_PHYSICAL_PRESENCE_HW_ENABLE |                                 \
     TPM_PHYSICAL_PRESENCE_CMD_ENABLE | TPM_PHYSICAL_PRESENCE_HW_DISABLE |                                   \
     TPM_PHYSICAL_PRESENCE_CMD_DISABLE)
#define ASSERTION                                                                                            \
    (TPM_PHYSICAL_PRESENCE_LOCK | TPM_PHYSICAL_PRESENCE_PRESENT | TPM_PHYSICAL_PRESENCE_NOTPRESENT)

static bool both(uint32_t value, uint32_t one, uint32_t other)
{
    return (value & one) && (value & other);
}

static void switch_flag(bool *flag, uint32_t value, uint32_t on, uint32_t off)
{
    if (value & (on | off))
        *flag = (value & on) != 0;
}

/* Action 2: settings for the life of the TPM. */
static tpm_rc set_lifetime(struct tpm_permanent_flags *flags, uint32_t value)
{
    /* a-d */
    if (flags->physical_presence_lifetime_lock || (value & ASSERTION) ||
        both(value, TPM_PHYSICAL_PRESENCE_HW_ENABLE, TPM_PHYSICAL_PRESENCE_HW_DISABLE) ||
        both(value, TPM_PHYSICAL_PRESENCE_CMD_ENABLE, TPM_PHYSICAL_PRESENCE_CMD_DISABLE))
        return TPM_BAD_PARAMETER;
    /* e-i */
    switch_flag(&flags->physical_presence_hw_enable, value, TPM_PHYSICAL_PRESENCE_HW_ENABLE,
                TPM_PHYSICAL_PRESENCE_HW_DISABLE);
    switch_flag(&flags->physical_presence_cmd_enable, value, TPM_PHYSICAL_PRESENCE_CMD_ENABLE,
                TPM_PHYSICAL_PRESENCE_CMD_DISABLE);
    if (value & TPM_PHYSICAL_PRESENCE_LIFETIME_LOCK)
        flags->physical_presence_lifetime_lock = true;
    return TPM_SUCCESS;
}

/* Action 3: presence until the next TPM_Init. */
static tpm_rc assert_presence(struct tpm *tpm, uint32_t value)
{
    struct tpm_stclear_flags *flags = &tpm->stclear.flags;

    /* b-e */
    if (!tpm->perm.flags.physical_presence_cmd_enable || flags->physical_presence_lock ||
        both(value, TPM_PHYSICAL_PRESENCE_LOCK, TPM_PHYSICAL_PRESENCE_PRESENT) ||
        both(value, TPM_PHYSICAL_PRESENCE_PRESENT, TPM_PHYSICAL_PRESENCE_NOTPRESENT))
        return TPM_BAD_PARAMETER;
    /* f-h */
    switch_flag(&flags->physical_presence, value, TPM_PHYSICAL_PRESENCE_PRESENT,
                TPM_PHYSICAL_PRESENCE_NOTPRESENT | TPM_PHYSICAL_PRESENCE_LOCK);
    if (value & TPM_PHYSICAL_PRESENCE_LOCK)
        flags->physical_presence_lock = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 6.6 TSC_PhysicalPresence */
tpm_rc cmd_tsc_physical_presence(struct cmd *c, const struct tsc_physical_presence_in *in,
                                 struct tsc_physical_presence_out *out)
{
    uint32_t value = in->physical_presence;

    (void)out;
    if (value & ~(LIFETIME | ASSERTION))
        return TPM_BAD_PARAMETER;
    if (value & LIFETIME)
        return set_lifetime(&c->tpm->perm.flags, value);
    return assert_presence(c->tpm, value);
}

/* TPM 1.2 Part 3, 6.7 TSC_ResetEstablishmentBit */
tpm_rc cmd_tsc_reset_establishment_bit(struct cmd *c, const struct tsc_reset_establishment_bit_in *in,
                                       struct tsc_reset_establishment_bit_out *out)
{
    (void)in;
    (void)out;
    return tpm_reset_established(c->tpm, c->locality);
}
