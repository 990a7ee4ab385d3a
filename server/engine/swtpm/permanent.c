/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libtpms' permanent state of a TPM 1.2 from its first byte to its last, in its order: TPM_PERMANENT_DATA,
 * TPM_PERMANENT_FLAGS, the owner's keys, NV (Part 2, 7.4 and 7.1; docs/swtpm-import.md). Secrets that only encrypt what
 * leaves a TPM and comes back (contexts, DAA's) are this one's own: the formats inside differ. Of delegations libtpms' is
 * understood (delegate.c).
 */
#include "server/engine/swtpm/reader.h"

#include "server/engine/cmd.h"

#define TAG_STATE          0x0001u
#define TAG_PERMANENT_DATA 0x0022u
#define TAG_FLAGS_94       0x0001u /* without the last flag */
#define TAG_FLAGS_103      0x0002u
#define TAG_OWNER_KEYS     0x0001u
#define SYMMETRIC_KEY      16      /* AES-128, as Debian's and Fedora's libtpms are built */
#define AUDIT_BYTES        32      /* bit n: ordinal n */
#define TSC_PRESENCE       0x01u
#define TSC_ESTABLISHMENT  0x02u
#define NO_OWNER_WRITES    64u     /* Part 2, 7.4: TPM_MAX_NV_WRITE_NOOWNER */

/* TPM_SYMMETRIC_KEY_DATA, libtpms' own. */
static void read_key(struct sw *s, uint8_t key[SYMMETRIC_KEY], const char *field)
{
    sw_tag(s, TPM_TAG_KEY, field);
    (void)sw_bool(s, field);
    (void)sw_u8(s, field);
    sw_copy(s, key, SYMMETRIC_KEY, field);
}

static void skip_key(struct sw *s, const char *field)
{
    uint8_t key[SYMMETRIC_KEY];

    read_key(s, key, field);
    vt_wipe(key, sizeof key);
}

/* libtpms is built without the commands that load one. */
static void expect_no_manufacturer(struct sw *s)
{
    struct tpm_pubkey pub;
    size_t at = sw_at(s);

    if (!sw_u8(s, "manuMaintPub"))
        return;
    rd_pubkey(&s->r, &pub);
    sw_check(s, at, "manuMaintPub");
    if (!sw_bad(s) && pub.pub_key.len)
        sw_refuse(s, VT_ENOTSUP, at, "manuMaintPub", "the manufacturer's maintenance key was loaded: it is not taken over, and "
                  "dropping it unasked would change who may maintain this TPM");
}

static void read_audit_counter(struct sw *s, struct tpm *tpm)
{
    struct tpm_counter_value value;
    struct vt_auth unused;
    size_t at = sw_at(s);

    rd_counter_value(&s->r, &value);
    sw_check(s, at, "auditMonotonicCounter");
    sw_auth(s, &unused, "auditMonotonicCounter");
    (void)sw_bool(s, "auditMonotonicCounter");
    tpm->perm.audit_counter = value.counter;
}

/* ---- Audit: theirs by ordinal, ours by row ---- */

static bool audited(const uint8_t by_ordinal[AUDIT_BYTES], uint8_t tsc, uint32_t ordinal)
{
    if (ordinal < AUDIT_BYTES * 8)
        return by_ordinal[ordinal / 8] >> (ordinal % 8) & 1;
    if (ordinal == TSC_ORD_PhysicalPresence)
        return tsc & TSC_PRESENCE;
    return ordinal == TSC_ORD_ResetEstablishmentBit && (tsc & TSC_ESTABLISHMENT);
}

static void take_audit(struct tpm *tpm, const uint8_t by_ordinal[AUDIT_BYTES], uint8_t tsc)
{
    struct permanent *perm = &tpm->perm;
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    memset(perm->audited, 0, sizeof perm->audited);
    for (size_t i = 0; i < count; i++)
        if (audited(by_ordinal, tsc, rows[i].ordinal))
            perm->audited[i / 8] |= (uint8_t)(1u << i % 8);
}

/* ---- TPM_PERMANENT_DATA ---- */

static void read_secrets(struct sw *s, struct permanent *perm)
{
    sw_auth(s, &perm->tpm_proof, "tpmProof");
    sw_auth(s, &perm->ek_reset, "EKReset");
    sw_auth(s, &perm->owner_auth, "ownerAuth");
    sw_auth(s, &perm->operator_auth, "operatorAuth");
    sw_copy(s, perm->auth_dir, sizeof perm->auth_dir, "authDIR");
}

static void read_numbers(struct sw *s, struct permanent *perm)
{
    size_t at;

    perm->last_family_id = sw_u32(s, "lastFamilyID");
    at = sw_at(s);
    perm->nv.no_owner_writes = sw_u32(s, "noOwnerNVWrite");
    if (perm->nv.no_owner_writes > NO_OWNER_WRITES)
        sw_refuse(s, VT_EDAMAGED, at, "noOwnerNVWrite", "%u, and at most %u can be", perm->nv.no_owner_writes,
                  NO_OWNER_WRITES);
    sw_copy(s, perm->restrict_delegate, sizeof perm->restrict_delegate, "restrictDelegate");
    sw_auth(s, &perm->daa_seed, "tpmDAASeed");
}

/* Part 3, 6.1: an owner comes with a storage root key and needs an endorsement key. */
static void take_owner(struct sw *s, struct permanent *perm, size_t at, bool has_srk)
{
    if (!perm->owned) {
        cr_rsa_free(perm->srk.rsa);
        vt_wipe(&perm->srk, sizeof perm->srk);
        vt_auth_wipe(&perm->owner_auth);
    } else if (!has_srk || !perm->has_ek) {
        sw_refuse(s, VT_EDAMAGED, at, "ownerInstalled", "1, without %s key: this TPM cannot work",
                  has_srk ? "an endorsement" : "a storage root");
    }
}

static void read_data(struct sw *s, struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;
    uint8_t by_ordinal[AUDIT_BYTES];
    bool has_srk = false;
    uint8_t tsc;
    size_t at;

    sw_tag(s, TAG_PERMANENT_DATA, "TPM_PERMANENT_DATA");
    read_secrets(s, perm);
    expect_no_manufacturer(s);
    swtpm_ek(s, tpm);
    swtpm_srk(s, tpm, &has_srk);
    skip_key(s, "contextKey");
    read_key(s, perm->delegate_key.bytes, "delegateKey"); /* what is behind it stays random */
    read_audit_counter(s, tpm);
    swtpm_counters(s, tpm);
    sw_copy(s, by_ordinal, sizeof by_ordinal, "ordinalAuditStatus");
    swtpm_families(s, tpm);
    swtpm_delegations(s, tpm);
    read_numbers(s, perm);
    at = sw_at(s);
    perm->owned = sw_bool(s, "ownerInstalled");
    tsc = sw_u8(s, "tscOrdinalAuditStatus");
    (void)sw_bool(s, "allowLoadMaintPub");
    sw_auth(s, &perm->daa_proof, "daaProof");
    skip_key(s, "daaBlobKey");
    take_owner(s, perm, at, has_srk);
    take_audit(tpm, by_ordinal, tsc);
}

/* ---- TPM_PERMANENT_FLAGS: bit n is the structure's n-th field ---- */

static void take_flags(struct permanent *perm, uint32_t bits)
{
    struct tpm_permanent_flags *flags = &perm->flags;
#define FIELD(kind, name) &flags->name,
    bool *const fields[] = {FIELDS_permanent_flags(FIELD)};
#undef FIELD

    for (size_t i = 0; i < VT_COUNT(fields); i++)
        *fields[i] = bits >> i & 1;
    /* What the profile does not have the manufacturer may not do. */
    flags->allow_maintenance &= perm->profile.maintenance;
    perm->ek_revocable = perm->has_ek && flags->enable_revoke_ek;
    if (!perm->ek_revocable)
        vt_auth_wipe(&perm->ek_reset);
}

#define COUNT_ONE(kind, name) +1
#define FLAGS (0 FIELDS_permanent_flags(COUNT_ONE))

static void read_flags(struct sw *s, struct tpm *tpm)
{
    size_t at = sw_at(s);
    uint16_t version = sw_u16(s, "TPM_PERMANENT_FLAGS");
    uint32_t bits = sw_u32(s, "TPM_PERMANENT_FLAGS");
    unsigned known = version == TAG_FLAGS_94 ? FLAGS - 1 : FLAGS;

    if (version != TAG_FLAGS_94 && version != TAG_FLAGS_103)
        sw_refuse(s, VT_ENOTSUP, at, "TPM_PERMANENT_FLAGS", "version %u, and this server knows %u and %u", version,
                  TAG_FLAGS_94, TAG_FLAGS_103);
    if (bits >> known)
        sw_refuse(s, VT_ENOTSUP, at + 2, "TPM_PERMANENT_FLAGS", "0x%08x has a flag beyond the %u that there are", bits, known);
    take_flags(&tpm->perm, bits);
}

void swtpm_permanent(struct sw *s, struct tpm *tpm)
{
    sw_tag(s, TAG_STATE, "the state's version");
    read_data(s, tpm);
    read_flags(s, tpm);
    sw_tag(s, TAG_OWNER_KEYS, "the owner's keys");
    swtpm_owner_keys(s, tpm);
    swtpm_nv(s, tpm);
    if (!sw_bad(s) && s->r.left)
        sw_refuse(s, VT_EDAMAGED, sw_at(s), "the end", "%zu bytes more than there should be", s->r.left);
}
