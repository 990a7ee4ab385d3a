/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM's life: made, powered, freed. */
#include "server/base/alloc.h"
#include "server/engine/auth.h"
#include "server/engine/transport.h"

#define EK_BITS  2048
#define EXPONENT 65537u

/* ---- What chapters share ---- */

void tpm_random(struct tpm *tpm, void *out, size_t len)
{
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    cr_drbg_random(&tpm->drbg, out, len);
}

bool tpm_handle_taken(struct tpm *tpm, uint32_t handle)
{
    return key_find(tpm, handle) || session_find(tpm, handle) || transport_find(tpm, handle) ||
           daa_find(tpm, handle);
}

/* The type on top, a number below: a handle that is flushed does not come back for 2^24 others. */
uint32_t tpm_fresh_handle(struct tpm *tpm, uint32_t resource_type)
{
    uint32_t handle;

    do {
        tpm->stany.next_handle = (tpm->stany.next_handle + 1) & 0xFFFFFFu;
        handle = resource_type << 24 | tpm->stany.next_handle;
    } while (!tpm->stany.next_handle || tpm_handle_taken(tpm, handle));
    return handle;
}

uint64_t tpm_ticks_us(const struct tpm *tpm)
{
    return tpm->stany.now_us - tpm->stany.tick_start_us;
}

void tpm_drop_saved(struct tpm *tpm)
{
    vt_wipe(tpm->perm.saved, tpm->perm.saved_len);
    tpm->perm.saved_len = 0;
    tpm->dirty |= TPM_DIRTY_PERMANENT;
}

/* ---- Manufacture ---- */

/* Ordinals are audited as the specification's table says until the owner says otherwise. */
void tpm_default_audit(struct permanent *perm)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    memset(perm->audited, 0, sizeof perm->audited);
    for (size_t i = 0; i < count; i++)
        if (rows[i].flags & CMD_AUDITED)
            perm->audited[i / 8] |= (uint8_t)(1u << i % 8);
}

static void set_flags(struct tpm *tpm)
{
    struct tpm_permanent_flags *flags = &tpm->perm.flags;

    flags->ownership = true;
    flags->read_pubek = true;
    flags->physical_presence_cmd_enable = true;
    flags->nv_locked = true;
    flags->allow_maintenance = tpm->perm.profile.maintenance;
}

static void make_secrets(struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;
    struct vt_auth *const secrets[] = {&perm->tpm_proof, &perm->context_key, &perm->delegate_key,
                                       &perm->daa_proof, &perm->daa_blob_key};

    tpm_random(tpm, perm->instance, sizeof perm->instance);
    for (size_t i = 0; i < VT_COUNT(secrets); i++)
        tpm_random(tpm, secrets[i]->bytes, sizeof secrets[i]->bytes);
}

int tpm_make_rsa(struct tpm *tpm, struct cr_rsa_key *key, unsigned bits, uint32_t e)
{
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    if (tpm->ops && tpm->ops->rsa_generate)
        return tpm->ops->rsa_generate(tpm->ops->ctx, key, bits, e, &tpm->drbg);
    return cr_rsa_generate(key, bits, e, &tpm->drbg);
}

int tpm_make_ek(struct tpm *tpm, unsigned bits)
{
    CR_SECRET_RSA rsa = {.pub = {0}};
    int err = tpm_make_rsa(tpm, &rsa, bits, EXPONENT);

    if (err)
        return err;
    tpm_set_ek(tpm, &rsa);
    return VT_OK;
}

/* Part 2, 7.4 and Part 3, 14.1: a storage key that cannot migrate. */
void tpm_set_ek(struct tpm *tpm, const struct cr_rsa_key *rsa)
{
    struct key_slot *ek = &tpm->perm.ek;

    ek->handle = TPM_KH_EK;
    ek->key = (struct tpm_key_obj){
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .payload = TPM_PT_ASYM,
        .usage = TPM_KEY_STORAGE,
        .enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1,
        .sig_scheme = TPM_SS_NONE,
        .migration_auth = tpm->perm.tpm_proof,
        .rsa = *rsa,
    };
    key_pub_digest(&ek->key, ek->key.pub_digest);
    tpm->perm.has_ek = true;
}

void tpm_revoke_ek(struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    cr_rsa_free(perm->ek.rsa);
    vt_wipe(&perm->ek, sizeof perm->ek);
    vt_auth_wipe(&perm->ek_reset);
    vt_auth_wipe(&perm->daa_seed);
    perm->has_ek = perm->ek_revocable = false;
    perm->flags.enable_revoke_ek = perm->flags.cekp_used = false;
    tpm->dirty |= TPM_DIRTY_PERMANENT;
}

/* The generator's state does not outlive power; a seed drawn from it does. */
static void draw_seed(struct tpm *tpm)
{
    cr_drbg_random(&tpm->drbg, tpm->perm.drbg_seed, sizeof tpm->perm.drbg_seed);
}

static void end_generator(struct tpm *tpm)
{
    draw_seed(tpm);
    vt_wipe(&tpm->drbg, sizeof tpm->drbg);
}

int tpm_manufacture(struct tpm **out, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                    bool with_ek, const struct tpm_ops *ops)
{
    static const char personal[] = "vtpm manufacture";
    struct tpm *tpm = VT_NEW(struct tpm);
    int err = VT_OK;

    *out = NULL;
    if (!tpm)
        return VT_ENOMEM;
    tpm->ops = ops;
    tpm_profile_defaults(&tpm->perm.profile, profile);
    if (!tpm_profile_valid(&tpm->perm.profile))
        err = VT_EUSAGE;
    if (!err) {
        cr_drbg_init(&tpm->drbg, seed, personal, sizeof personal - 1);
        make_secrets(tpm);
        set_flags(tpm);
        tpm_default_audit(&tpm->perm);
        if (with_ek)
            err = tpm_make_ek(tpm, EK_BITS);
    }
    if (err) {
        tpm_free(tpm);
        return err;
    }
    end_generator(tpm);
    *out = tpm;
    return VT_OK;
}

static void free_rsa(struct key_slot *slot)
{
    cr_rsa_free(slot->rsa);
    slot->rsa = NULL;
}

void tpm_free(struct tpm *tpm)
{
    if (!tpm)
        return;
    free_rsa(&tpm->perm.ek);
    free_rsa(&tpm->perm.srk);
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        free_rsa(&tpm->keys[i]);
    vt_free_wiped(tpm, sizeof *tpm);
}

/* ---- Power ---- */

bool tpm_is_on(const struct tpm *tpm)
{
    return tpm->on;
}

void tpm_clear_stclear(struct tpm *tpm)
{
    key_flush_all(tpm, false);
    vt_wipe(&tpm->stclear, sizeof tpm->stclear);
    pcr_startup(tpm, false);
    tpm->stclear.owner_reference = TPM_KH_OWNER;
}

/* All that a TPM_Init or the end of power takes away. */
static void forget(struct tpm *tpm)
{
    da_settle(tpm);
    tpm_clear_stclear(tpm);
    vt_wipe_sparse(&tpm->stany, sizeof tpm->stany);
}

int tpm_init(struct tpm *tpm)
{
    static const char personal[] = "vtpm power on";

    if (!tpm->on)
        cr_drbg_init(&tpm->drbg, tpm->perm.drbg_seed, personal, sizeof personal - 1);
    draw_seed(tpm);
    forget(tpm);
    tpm->stany.post_init = true;
    tpm->on = true;
    return VT_OK;
}

void tpm_power_off(struct tpm *tpm)
{
    if (!tpm->on)
        return;
    forget(tpm);
    end_generator(tpm);
    tpm->on = false;
}

void tpm_stir(struct tpm *tpm, const void *entropy, size_t len)
{
    static const char personal[] = "vtpm stir";

    if (tpm->on) {
        cr_drbg_stir(&tpm->drbg, entropy, len);
        return;
    }
    cr_drbg_init(&tpm->drbg, tpm->perm.drbg_seed, personal, sizeof personal - 1);
    cr_drbg_stir(&tpm->drbg, entropy, len);
    end_generator(tpm);
}

_Static_assert(TPM_PCRS_LEN == sizeof((struct stclear *)0)->pcr, "tpm.h cannot name TPM_NUM_PCR");

bool tpm_pcrs(const struct tpm *tpm, uint8_t out[TPM_PCRS_LEN])
{
    if (!tpm->on || tpm->stany.post_init || tpm->stany.failed)
        return false;
    memcpy(out, tpm->stclear.pcr, TPM_PCRS_LEN);
    return true;
}

bool tpm_ek_sha256(const struct tpm *tpm, uint8_t out[CR_SHA256_LEN])
{
    const struct cr_rsa_pub *pub = &tpm->perm.ek.key.rsa.pub;

    if (!tpm->perm.has_ek)
        return false;
    cr_sha256(out, pub->n, pub->bytes);
    return true;
}
