/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 7 and what 1.2 left out of it: capabilities for the owner, and under a
 * signature. */
#include "server/engine/handlers.h"

#define FLAGS_MAX 32

/* TPM 1.2 Part 3, 7.3 actions 2-3: one bit per flag, the structure's first one lowest. */
static uint32_t bits_of(const uint8_t *flags, size_t count)
{
    uint32_t bits = 0;

    for (size_t i = 0; i < count && i < FLAGS_MAX; i++)
        bits |= (uint32_t)(flags[i] & 1) << i;
    return bits;
}

/* TPM 1.2 Part 3, 7.3 TPM_GetCapabilityOwner */
tpm_rc cmd_get_capability_owner(struct cmd *c, const struct get_capability_owner_in *in,
                                struct get_capability_owner_out *out)
{
    uint8_t permanent[2 + FLAGS_MAX], stclear[2 + FLAGS_MAX];
    struct wr p = wr_to(permanent, sizeof permanent), s = wr_to(stclear, sizeof stclear);

    (void)in;
    /* 2-3. As they travel: a tag and one byte per flag. */
    wr_permanent_flags(&p, &c->tpm->perm.flags);
    wr_stclear_flags(&s, &c->tpm->stclear.flags);
    if (p.bad || s.bad)
        return cmd_fatal(c);
    out->non_volatile_flags = bits_of(permanent + 2, p.len - 2);
    out->volatile_flags = bits_of(stclear + 2, s.len - 2);
    /* 4. */
    out->version = (struct tpm_struct_ver){.major = 1, .minor = 1};
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 28.1 TPM_GetCapabilitySigned (deleted in 1.2) */
tpm_rc cmd_get_capability_signed(struct cmd *c, const struct get_capability_signed_in *in,
                                 struct get_capability_signed_out *out)
{
    struct key_slot *slot = c->keys[0];
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc;

    /* 1-2. The pipeline proved the key. */
    if ((rc = key_check_pcrs(c, &slot->key)) ||
        (rc = cmd_read_capability(c, in->cap_area, &in->sub_cap, &out->resp)))
        return rc;
    /* 4. */
    if (!key_may_attest(&slot->key))
        return TPM_INVALID_KEYUSAGE;
    if (slot->key.sig_scheme != TPM_SS_RSASSAPKCS1v15_SHA1)
        return TPM_INAPPROPRIATE_SIG;
    /* 3, 5. */
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(out->resp.data, out->resp.len),
                                 CR_SLICE(in->anti_replay.bytes, TPM_NONCE_LEN)},
             2);
    out->version = (struct tpm_struct_ver){.major = 1, .minor = 1};
    return key_sign_digest(c, slot, digest, &out->sig);
}
