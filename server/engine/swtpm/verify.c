/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in, and the proof before anybody relies on it: each key does both halves of its work, the state freezes and
 * thaws to the same, and a copy of the TPM starts, tests itself, and shows its endorsement key.
 */
#include "server/base/alloc.h"
#include "server/engine/swtpm/reader.h"


/* ---- Keys ---- */

static bool decrypts(struct tpm *tpm, struct key_slot *slot, struct cr_rsa *rsa)
{
    static const uint8_t label[4] = {'T', 'C', 'P', 'A'};
    uint8_t in[20], sealed[CR_RSA_MAX], out[CR_RSA_MAX];
    size_t len = 0;
    int err;

    cr_drbg_random(&tpm->drbg, in, sizeof in);
    err = slot->key.enc_scheme == TPM_ES_RSAESPKCSv15
              ? cr_rsa_pkcs1_encrypt(&slot->key.rsa.pub, in, sizeof in, &tpm->drbg, sealed)
              : cr_rsa_oaep_encrypt(&slot->key.rsa.pub, label, sizeof label, in, sizeof in, &tpm->drbg, sealed);
    if (!err)
        err = slot->key.enc_scheme == TPM_ES_RSAESPKCSv15
                  ? cr_rsa_pkcs1_decrypt(rsa, sealed, slot->key.rsa.pub.bytes, out, &len)
                  : cr_rsa_oaep_decrypt(rsa, label, sizeof label, sealed, slot->key.rsa.pub.bytes, out, &len);
    return !err && len == sizeof in && vt_ct_equal(in, out, len);
}

/* The signature is checked before it comes back. */
static bool signs(struct tpm *tpm, struct cr_rsa *rsa)
{
    uint8_t digest[CR_SHA1_LEN], sig[CR_RSA_MAX];

    cr_drbg_random(&tpm->drbg, digest, sizeof digest);
    return !cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig);
}

static int verify_key(struct tpm *tpm, struct key_slot *slot, const char *name, struct vt_why *why)
{
    struct cr_rsa *rsa = key_rsa(slot);
    bool works = rsa && (slot->key.enc_scheme == TPM_ES_NONE ? signs(tpm, rsa) : decrypts(tpm, slot, rsa));

    return works ? VT_OK : vt_fail(why, VT_EDAMAGED, "swtpm: %s was read, but does not work", name);
}

static int verify_keys(struct tpm *tpm, struct vt_why *why)
{
    int err = tpm->perm.has_ek ? verify_key(tpm, &tpm->perm.ek, "the endorsement key", why) : VT_OK;

    if (!err && tpm->perm.owned)
        err = verify_key(tpm, &tpm->perm.srk, "the storage root key", why);
    for (unsigned i = 0; i < KEY_SLOTS_MAX && !err; i++)
        if (tpm->keys[i].handle)
            err = verify_key(tpm, &tpm->keys[i], "an owner's key", why);
    return err;
}

/* ---- A copy at work ---- */

static uint32_t execute(struct tpm *tpm, const uint8_t *command, size_t len, uint8_t rsp[TPM_BUFFER], size_t *rsp_len)
{
    unsigned dirty;
    struct rd r;

    *rsp_len = TPM_BUFFER;
    tpm_execute(tpm, 0, 0, command, len, rsp, rsp_len, &dirty);
    r = rd_from(rsp, *rsp_len);
    (void)rd_get16(&r);
    (void)rd_get32(&r);
    return rd_get32(&r);
}

/* Part 3, 3.2, 4.1 and 4.3, and PCR 0, which any started TPM shows. */
static int run(struct tpm *tpm, struct vt_why *why)
{
    static const struct {
        const char *name;
        uint8_t len, bytes[14];
    } steps[] = {
        {"TPM_Startup", 12, {0, 0xC1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0, 1}},
        {"TPM_SelfTestFull", 10, {0, 0xC1, 0, 0, 0, 10, 0, 0, 0, 0x50}},
        {"TPM_GetTestResult", 10, {0, 0xC1, 0, 0, 0, 10, 0, 0, 0, 0x54}},
    };
    uint8_t rsp[TPM_BUFFER], pcrs[TPM_PCRS_LEN];
    size_t len;
    int err = tpm_init(tpm);

    for (size_t i = 0; i < VT_COUNT(steps) && !err; i++) {
        uint32_t rc = execute(tpm, steps[i].bytes, steps[i].len, rsp, &len);

        if (rc)
            err = vt_fail(why, VT_EDAMAGED, "swtpm: the TPM was read, but %s answers 0x%x", steps[i].name, (unsigned)rc);
    }
    if (!err && !tpm_pcrs(tpm, pcrs))
        err = vt_fail(why, VT_EDAMAGED, "swtpm: the TPM was read, but its PCRs cannot be");
    return err;
}

static int verify_copy(const uint8_t *frozen, size_t len, uint8_t *again, const struct tpm_ops *ops, struct vt_why *why)
{
    struct tpm *copy = NULL;
    size_t again_len = TPM_FROZEN_PERMANENT_MAX;
    int err = tpm_thaw(&copy, frozen, len, NULL, 0, ops, why);

    if (!err)
        err = tpm_freeze_permanent(copy, again, &again_len);
    if (!err && (again_len != len || !vt_ct_equal(frozen, again, len)))
        err = vt_fail(why, VT_EDAMAGED, "swtpm: the TPM was read, but does not come back from its own state");
    if (!err)
        err = run(copy, why);
    tpm_free(copy);
    return err;
}

int swtpm_verify(struct tpm *tpm, const struct tpm_ops *ops, struct vt_why *why)
{
    uint8_t *both = vt_calloc(2, TPM_FROZEN_PERMANENT_MAX);
    size_t len = TPM_FROZEN_PERMANENT_MAX;
    int err = both ? verify_keys(tpm, why) : VT_ENOMEM;

    if (!err)
        err = tpm_freeze_permanent(tpm, both, &len);
    if (!err)
        err = verify_copy(both, len, both + TPM_FROZEN_PERMANENT_MAX, ops, why);
    vt_free_wiped(both, 2 * TPM_FROZEN_PERMANENT_MAX);
    return err ? vt_fail(why, err, "swtpm: the TPM was read, but cannot be proved: %s", vt_err_text(err)) : VT_OK;
}

/* ---- All of it ---- */

static void tell(const struct tpm *tpm, struct tpm_swtpm_facts *facts)
{
    const struct permanent *perm = &tpm->perm;

    *facts = (struct tpm_swtpm_facts){.has_ek = perm->has_ek, .owned = perm->owned, .disabled = perm->flags.disable,
                                      .deactivated = perm->flags.deactivated, .nv_areas = perm->nv.count,
                                      .nv_bytes = perm->nv.used};
    for (unsigned i = 0; i < COUNTERS_MAX; i++)
        facts->counters += perm->counters[i].used;
    for (unsigned i = 0; i < FAMILY_ROWS_MAX; i++)
        facts->families += perm->families[i].used;
    for (unsigned i = 0; i < DELEGATE_ROWS_MAX; i++)
        facts->delegations += perm->delegates[i].used;
    for (unsigned i = 0; i < KEY_SLOTS_MAX; i++)
        facts->owner_keys += tpm->keys[i].handle != 0;
}

static int read_state(struct tpm *tpm, const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, struct vt_why *why)
{
    struct tpm_blob state;
    uint8_t *plain;
    size_t cap;
    int err = swtpm_unwrap(file, len, key, &state, &plain, &cap, why);

    if (!err) {
        struct sw s = sw_from(state.data, state.len, "the TPM's state", why);

        swtpm_permanent(&s, tpm);
        err = s.err;
    }
    vt_free_wiped(plain, cap);
    return err;
}

/* The generator's state does not outlive the proof: what is frozen is a seed drawn from it (as at manufacture). */
static int prove(struct tpm *tpm, const uint8_t seed[CR_DRBG_SEED], const struct tpm_ops *ops, struct vt_why *why)
{
    static const char personal[] = "vtpm swtpm import";
    int err;

    cr_drbg_init(&tpm->drbg, seed, personal, sizeof personal - 1);
    err = swtpm_verify(tpm, ops, why);
    vt_wipe(&tpm->drbg, sizeof tpm->drbg);
    return err;
}

int tpm_from_swtpm(struct tpm **out, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                   const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, const struct tpm_ops *ops,
                   struct tpm_swtpm_facts *facts, struct vt_why *why)
{
    struct tpm *tpm;
    int err;

    *out = NULL;
    if (len > TPM_SWTPM_FILE_MAX)
        return vt_fail(why, VT_ETOOBIG, "swtpm: the file has %zu bytes, and none of a TPM 1.2 has more than %u", len,
                       TPM_SWTPM_FILE_MAX);
    err = tpm_manufacture(&tpm, profile, seed, false, ops);
    if (err)
        return vt_fail(why, err, "swtpm: no TPM could be made: %s", vt_err_text(err));
    err = read_state(tpm, file, len, key, why);
    if (!err)
        err = prove(tpm, seed, ops, why);
    if (err) {
        tpm_free(tpm);
        return err;
    }
    tell(tpm, facts);
    *out = tpm;
    return VT_OK;
}
