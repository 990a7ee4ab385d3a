/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/exec_params.h"

uint32_t exec_handle(const struct exec *x, unsigned n)
{
    switch (n % 16) {
    case 0:
        return TPM_KH_SRK;
    case 1:
        return TPM_KH_EK;
    case 8:
        return TPM_KH_OWNER;
    case 9:
    case 10:
        return x->sessions[n % 16 - 9].handle;
    case 11:
        return x->last_handle;
    case 12:
        return TPM_KH_REVOKE;
    case 13:
        return TPM_KH_OPERATOR;
    case 14:
        return 0;
    case 15:
        return UINT32_MAX;
    default:
        return x->keys[n % 16 - 2];
    }
}

/* ---- Parts ---- */

/* ADIP with XOR (Part 1, 12.3): the first secret under nonceEven, the second under nonceOdd. */
static struct vt_auth hidden(const struct exec *x, bool second)
{
    struct vt_auth out = fuzz_tpm_secret;
    const struct exec_session *s = x->auth[0];
    uint8_t pad[CR_SHA1_LEN];

    if (!s)
        return out;
    cr_sha1v(pad,
             (struct cr_slice[]){CR_SLICE(s->secret.bytes, sizeof s->secret.bytes),
                                 CR_SLICE(second ? s->odd.bytes : s->even.bytes, TPM_DIGEST_LEN)},
             2);
    for (size_t i = 0; i < sizeof pad; i++)
        out.bytes[i] ^= pad[i];
    return out;
}

static struct tpm_pcr_selection select_pcr(uint8_t pcr)
{
    struct tpm_pcr_selection sel = {.size_of_select = TPM_PCR_BYTES};

    sel.pcr_select[pcr / 8 % TPM_PCR_BYTES] = (uint8_t)(1u << pcr % 8);
    return sel;
}

/* Every third time none, else bound to what a PCR holds (zeros: mostly not), in both forms. */
static struct tpm_blob pcr_info(uint8_t bytes[128], uint8_t a, bool is_12)
{
    struct wr w = wr_to(bytes, 128);

    if (a % 3 == 0)
        return (struct tpm_blob){0};
    if (is_12) {
        struct tpm_pcr_info_long info = {.locality_at_creation = 1, .locality_at_release = 0x1f};

        info.creation_pcr_selection = info.release_pcr_selection = select_pcr(a);
        wr_pcr_info_long(&w, &info);
    } else {
        struct tpm_pcr_info info = {.pcr_selection = select_pcr(a)};

        wr_pcr_info(&w, &info);
    }
    return (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
}

static struct tpm_key_parms rsa_parms(unsigned bits, uint16_t enc, uint16_t sig)
{
    struct tpm_key_parms parms = {
        .algorithm_id = TPM_ALG_RSA, .enc_scheme = enc, .sig_scheme = sig, .form = TPM_PARMS_RSA};

    parms.parms.rsa.key_length = bits;
    parms.parms.rsa.num_primes = 2;
    return parms;
}

static struct tpm_key key_template(uint8_t a, uint8_t b, uint8_t info[128])
{
    static const struct {
        uint16_t usage, enc, sig;
        unsigned bits;
    } kinds[] = {
        {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1, 1024},
        {TPM_KEY_STORAGE, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 2048},
        {TPM_KEY_BIND, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE, 1024},
        {TPM_KEY_LEGACY, TPM_ES_RSAESPKCSv15, TPM_SS_RSASSAPKCS1v15_DER, 1024},
        {TPM_KEY_SIGNING, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_INFO, 512},
    };
    size_t kind = a % VT_COUNT(kinds);
    struct tpm_key key = {
        .is_12 = a & 0x10,
        .ver = {.major = 1, .minor = 1},
        .key_usage = kinds[kind].usage,
        .key_flags = a & 0x20 ? TPM_MIGRATABLE : a & 0x40 ? TPM_VOLATILE : 0,
        .auth_data_usage = a & 0x80 ? TPM_AUTH_NEVER : TPM_AUTH_ALWAYS,
        .algorithm_parms = rsa_parms(kinds[kind].bits, kinds[kind].enc, kinds[kind].sig),
    };

    key.pcr_info = pcr_info(info, b, key.is_12);
    return key;
}

static struct tpm_key identity_template(uint8_t info[128], uint8_t a, uint8_t b)
{
    struct tpm_key key = key_template(a & 0xf0, b, info);

    key.key_usage = TPM_KEY_IDENTITY;
    key.algorithm_parms = rsa_parms(2048, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1);
    return key;
}

/* A secret under the last session: the owner's in TPM_MakeIdentity. */
static struct vt_auth hidden_last(const struct exec *x)
{
    struct exec last = *x;

    last.auth[0] = x->auths ? x->auth[x->auths - 1] : NULL;
    return hidden(&last, false);
}

/* What is encrypted in a key or in sealed data. */
static struct tpm_blob last_256(const struct exec_blob *blob)
{
    uint32_t len = (uint32_t)VT_MIN(blob->len, 256u);

    return (struct tpm_blob){.len = len, .data = blob->bytes + (blob->len - len)};
}

static struct tpm_nv_data_public nv_public(uint8_t a, uint8_t b)
{
    static const uint32_t permissions[] = {
        0,
        TPM_NV_PER_OWNERWRITE | TPM_NV_PER_OWNERREAD,
        TPM_NV_PER_AUTHWRITE | TPM_NV_PER_AUTHREAD,
        TPM_NV_PER_PPWRITE | TPM_NV_PER_PPREAD,
        TPM_NV_PER_WRITEALL,
        TPM_NV_PER_WRITEDEFINE,
        TPM_NV_PER_GLOBALLOCK,
        TPM_NV_PER_WRITE_STCLEAR | TPM_NV_PER_READ_STCLEAR,
    };
    struct tpm_nv_data_public pub = {.nv_index = 0x00011000u + a % 16, .data_size = b};

    pub.permission.attributes = permissions[a / 16 % VT_COUNT(permissions)];
    pub.pcr_info_read.pcr_selection = pub.pcr_info_write.pcr_selection = select_pcr(0);
    pub.pcr_info_read.pcr_selection.pcr_select[0] = pub.pcr_info_write.pcr_selection.pcr_select[0] = 0;
    pub.pcr_info_read.locality_at_release = pub.pcr_info_write.locality_at_release = TPM_LOC_ALL;
    return pub;
}

static uint32_t nv_index(uint8_t a)
{
    return a == 0xff ? TPM_NV_INDEX_LOCK : a == 0xfe ? 0x10000001u : a == 0xfd ? 0 : 0x00011000u + a % 16;
}

/* ---- By ordinal ---- */

static const uint8_t some[64] = {1, 2, 3, 4, 5, 6, 7, 8};

#define SOME(n) {.len = (n), .data = some}
#define PARAMS(name, ...)                                                                                    \
    do {                                                                                                     \
        struct name##_in in = {__VA_ARGS__};                                                                 \
        wr_##name##_in(w, &in);                                                                              \
    } while (0)
#define CASE(ordinal, name, ...)                                                                             \
    case ordinal:                                                                                            \
        PARAMS(name, __VA_ARGS__);                                                                           \
        return true

static bool admin_params(struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    uint8_t sub[4] = {0, 0, b / 16, b};
    uint8_t info[128];
    struct tpm_blob secret = fuzz_tpm_secret_for_ek();

    switch (ordinal) {
        CASE(TPM_ORD_Startup, startup, .startup_type = (uint16_t)(1 + a % 3));
        CASE(TPM_ORD_SetOwnerInstall, set_owner_install, .state = a & 1);
        CASE(TPM_ORD_OwnerSetDisable, owner_set_disable, .disable_state = a & 1);
        CASE(TPM_ORD_PhysicalSetDeactivated, physical_set_deactivated, .state = a & 1);
        CASE(TPM_ORD_SetOperatorAuth, set_operator_auth, .operator_auth = fuzz_tpm_secret);
        CASE(TSC_ORD_PhysicalPresence, tsc_physical_presence, .physical_presence = (uint16_t)(1u << a % 10));
        CASE(TPM_ORD_GetCapability, get_capability, .cap_area = a % 0x1a,
             .sub_cap = {.len = b & 0x80 ? 0 : sizeof sub, .data = sub});
        CASE(TPM_ORD_SetCapability, set_capability, .cap_area = a % 8,
             .sub_cap = {.len = sizeof sub, .data = sub}, .set_value = SOME(1));
        CASE(TPM_ORD_TakeOwnership, take_ownership, .protocol_id = TPM_PID_OWNER, .enc_owner_auth = secret,
             .enc_srk_auth = secret, .srk_params = key_template((uint8_t)(1 + 5 * a), 0, info));
        CASE(TPM_ORD_CreateEndorsementKeyPair, create_endorsement_key_pair,
             .key_info = rsa_parms(a & 1 ? 1024 : 2048, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE));
        CASE(TPM_ORD_CreateRevocableEK, create_revocable_ek,
             .key_info = rsa_parms(a & 1 ? 1024 : 2048, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE),
             .generate_reset = b & 1);
        CASE(TPM_ORD_ReadPubek, read_pubek, .anti_replay = {{a}});
        CASE(TPM_ORD_OwnerReadInternalPub, owner_read_internal_pub, .key_handle = a & 1 ? TPM_KH_EK : TPM_KH_SRK);
    default:
        return false;
    }
}

static bool storage_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    uint8_t info[128];

    switch (ordinal) {
        CASE(TPM_ORD_Seal, seal, .enc_auth = hidden(x, false), .pcr_info = pcr_info(info, a, b & 1),
             .in_data = SOME(a % 64));
        CASE(TPM_ORD_CreateWrapKey, create_wrap_key, .data_usage_auth = hidden(x, false),
             .data_migration_auth = hidden(x, true), .key_info = key_template(a, b, info));
        CASE(TPM_ORD_Sealx, sealx, .enc_auth = hidden(x, false), .pcr_info = pcr_info(info, a, true),
             .in_data = SOME(a % 64));
        CASE(TPM_ORD_UnBind, un_bind, .in_data = {.len = b & 1 ? 256 : 128, .data = x->key.bytes});
        CASE(TPM_ORD_ChangeAuth, change_auth, .protocol_id = TPM_PID_ADCP, .new_auth = hidden(x, false),
             .entity_type = a & 1 ? TPM_ET_KEY : TPM_ET_DATA, .enc_data = last_256(a & 1 ? &x->key : &x->sealed));
        CASE(TPM_ORD_MakeIdentity, make_identity, .identity_auth = hidden_last(x),
             .id_key_params = identity_template(info, a, b));
        CASE(TPM_ORD_ActivateIdentity, activate_identity, .blob = fuzz_tpm_secret_for_ek());
        CASE(TPM_ORD_ChangeAuthOwner, change_auth_owner, .protocol_id = TPM_PID_ADCP,
             .new_auth = hidden(x, false), .entity_type = a & 1 ? TPM_ET_SRK : TPM_ET_OWNER);
    case TPM_ORD_Unseal:
        wr_copy(w, x->sealed.bytes, x->sealed.len);
        return true;
    case TPM_ORD_LoadKey2:
    case TPM_ORD_LoadKey:
        wr_copy(w, x->key.bytes, x->key.len);
        return true;
    case TPM_ORD_LoadContext:
        wr_put8(w, a & 1);
        wr_copy(w, x->context.bytes, x->context.len);
        return true;
    case TPM_ORD_LoadKeyContext:
    case TPM_ORD_LoadAuthContext:
        wr_copy(w, x->context.bytes, x->context.len);
        return true;
    default:
        return false;
    }
}

static bool use_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    switch (ordinal) {
        CASE(TPM_ORD_SHA1Update, sha1_update, .hash_data = SOME(64));
        CASE(TPM_ORD_SHA1Complete, sha1_complete, .hash_data = SOME(a % 64));
        CASE(TPM_ORD_SHA1CompleteExtend, sha1_complete_extend, .pcr_num = b % 26, .hash_data = SOME(a % 64));
        CASE(TPM_ORD_Sign, sign, .area_to_sign = SOME(b & 1 ? a % 64 : 20));
        CASE(TPM_ORD_GetRandom, get_random, .bytes_requested = (uint32_t)a << b % 24);
        CASE(TPM_ORD_StirRandom, stir_random, .in_data = SOME(a % 64));
        CASE(TPM_ORD_Extend, extend, .pcr_num = a % 26, .in_digest = {{b}});
        CASE(TPM_ORD_PcrRead, pcr_read, .pcr_index = a % 26);
        CASE(TPM_ORD_Quote, quote, .target_pcr = select_pcr(a));
        CASE(TPM_ORD_Quote2, quote2, .target_pcr = select_pcr(a), .add_version = b & 1);
        CASE(TPM_ORD_PCR_Reset, pcr_reset, .pcr_selection = select_pcr(a));
        CASE(TPM_ORD_OSAP, osap, .entity_type = (uint16_t)(1 + a % 12),
             .entity_value = a & 0x80 ? nv_index(b) : exec_handle(x, b));
        CASE(TPM_ORD_SaveContext, save_context, .resource_type = 1 + a % 4u);
        CASE(TPM_ORD_FlushSpecific, flush_specific, .resource_type = 1 + a % 4u);
        CASE(TPM_ORD_CertifyKey, certify_key, .anti_replay = {{a}});
        CASE(TPM_ORD_CertifyKey2, certify_key2, .anti_replay = {{a}});
        CASE(TPM_ORD_CertifySelfTest, certify_self_test, .anti_replay = {{a}});
        CASE(TPM_ORD_TickStampBlob, tick_stamp_blob, .anti_replay = {{a}});
        CASE(TPM_ORD_GetCapabilitySigned, get_capability_signed, .cap_area = a % 0x1a,
             .sub_cap = {.len = b & 0x80 ? 0 : 4, .data = (const uint8_t[4]){0, 0, b / 16, b}});
        CASE(TPM_ORD_DirWriteAuth, dir_write_auth, .dir_index = a == 0xff);
        CASE(TPM_ORD_DirRead, dir_read, .dir_index = a == 0xff);
        CASE(TPM_ORD_RevokeTrust, revoke_trust, .ek_reset = {{0}});
        CASE(TPM_ORD_CreateCounter, create_counter, .enc_auth = hidden(x, false));
        CASE(TPM_ORD_IncrementCounter, increment_counter, .count_id = a % 8);
        CASE(TPM_ORD_ReadCounter, read_counter, .count_id = a % 8);
        CASE(TPM_ORD_ReleaseCounter, release_counter, .count_id = a % 8);
        CASE(TPM_ORD_ReleaseCounterOwner, release_counter_owner, .count_id = a % 8);
    default:
        return false;
    }
}

static bool nv_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    switch (ordinal) {
        CASE(TPM_ORD_NV_DefineSpace, nv_define_space, .pub_info = nv_public(a, b), .enc_auth = hidden(x, false));
        CASE(TPM_ORD_NV_WriteValue, nv_write_value, .nv_index = nv_index(a), .offset = b & 15,
             .data = SOME(b / 16));
        CASE(TPM_ORD_NV_WriteValueAuth, nv_write_value_auth, .nv_index = nv_index(a), .offset = b & 15,
             .data = SOME(b / 16));
        CASE(TPM_ORD_NV_ReadValue, nv_read_value, .nv_index = nv_index(a), .offset = b & 15, .data_size = b / 16);
        CASE(TPM_ORD_NV_ReadValueAuth, nv_read_value_auth, .nv_index = nv_index(a), .offset = b & 15,
             .data_size = b / 16);
    default:
        return false;
    }
}

void exec_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    (void)(admin_params(w, ordinal, a, b) || storage_params(x, w, ordinal, a, b) ||
           use_params(x, w, ordinal, a, b) || nv_params(x, w, ordinal, a, b));
}
