/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/exec_params.h"

/* ---- Handles ---- */

static uint32_t session_handle(const struct exec *x)
{
    return x->sessions[(x->next_session + EXEC_SESSIONS - 1u) % EXEC_SESSIONS].handle;
}

/* Of TPM_SaveContext and TPM_FlushSpecific: see resource_type below. */
static uint32_t resource(const struct exec *x, uint8_t a)
{
    switch (a % 5) {
    case 0:
        return x->loaded ? x->loaded : x->keys[KEY_BIND];
    case 1:
        return session_handle(x);
    case 2:
        return x->transport.s.handle;
    case 3:
        return x->join.handle ? x->join.handle : x->sign.handle;
    default:
        return 1;
    }
}

static uint32_t fitting_handle(const struct exec *x, const struct cmd_row *row, unsigned i, uint8_t a)
{
    switch (row->ordinal) {
    case TPM_ORD_Sign:
    case TPM_ORD_Quote:
    case TPM_ORD_Quote2:
    case TPM_ORD_GetPubKey:
    case TPM_ORD_TickStampBlob:
    case TPM_ORD_CertifySelfTest:
    case TPM_ORD_GetCapabilitySigned:
    case TPM_ORD_GetAuditDigestSigned:
    case TPM_ORD_ReleaseTransportSigned:
        return x->keys[a & 0x40 ? KEY_LEGACY : KEY_SIGNING];
    case TPM_ORD_UnBind:
        return x->keys[KEY_BIND];
    case TPM_ORD_CertifyKey:
        return x->keys[i ? KEY_BIND : KEY_IDENTITY];
    case TPM_ORD_CertifyKey2:
        return x->keys[i ? KEY_IDENTITY : KEY_BIND];
    case TPM_ORD_ActivateIdentity:
    case TPM_ORD_ChangeAuthAsymStart:
    case TPM_ORD_Delegate_CreateKeyDelegation:
        return x->keys[KEY_IDENTITY];
    case TPM_ORD_MigrateKey:
        return x->keys[KEY_MIGRATE];
    case TPM_ORD_ConvertMigrationBlob:
    case TPM_ORD_CMK_ConvertMigration:
    case TPM_ORD_KeyControlOwner:
        return x->keys[KEY_STORAGE];
    case TPM_ORD_SaveContext:
    case TPM_ORD_FlushSpecific:
        return resource(x, a);
    case TPM_ORD_EvictKey:
    case TPM_ORD_SaveKeyContext:
        return resource(x, 0);
    case TPM_ORD_Terminate_Handle:
    case TPM_ORD_SaveAuthContext:
        return session_handle(x);
    case TPM_ORD_LoadContext:
        return 0;
    case TPM_ORD_EstablishTransport:
        return a & TPM_TRANSPORT_ENCRYPT ? TPM_KH_SRK : TPM_KH_TRANSPORT;
    case TPM_ORD_ChangeAuthAsymFinish:
        return i ? x->temporary : TPM_KH_SRK;
    case TPM_ORD_DAA_Join:
        return x->join.handle;
    case TPM_ORD_DAA_Sign:
        return x->sign.handle;
    default:
        return TPM_KH_SRK;
    }
}

uint32_t exec_handle(const struct exec *x, const struct cmd_row *row, unsigned i, unsigned n, uint8_t a)
{
    switch (n % 16) {
    case 0:
        return fitting_handle(x, row, i, a);
    case 1:
        return TPM_KH_SRK;
    case 8:
        return x->loaded;
    case 9:
    case 10:
        return x->sessions[n % 16 - 9].handle;
    case 11:
        return x->last_handle;
    case 12:
        return x->transport.s.handle;
    case 13:
        return TPM_KH_EK;
    case 14:
        return 0;
    case 15:
        return TPM_KH_OWNER;
    default:
        return x->keys[n % 16 - 2];
    }
}

/* ---- Parts ---- */

struct vt_auth exec_hidden(const struct exec_session *s, bool second)
{
    struct vt_auth out = fuzz_tpm_secret;
    const struct tpm_nonce *nonce;
    uint8_t pad[CR_SHA1_LEN];

    if (!s)
        return out;
    nonce = second ? &s->odd : &s->even;
    if (s->aes) {
        FUZZ_CHECK(cr_aes128_ctr(s->secret.bytes, nonce->bytes, fuzz_tpm_secret.bytes, sizeof out.bytes,
                                 out.bytes) == VT_OK);
        return out;
    }
    cr_sha1v(pad,
             (struct cr_slice[]){CR_SLICE(s->secret.bytes, sizeof s->secret.bytes),
                                 CR_SLICE(nonce->bytes, TPM_DIGEST_LEN)},
             2);
    for (size_t i = 0; i < sizeof pad; i++)
        out.bytes[i] ^= pad[i];
    return out;
}

static struct vt_auth hidden(const struct exec *x, bool second)
{
    return exec_hidden(x->auth[0], second);
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

struct tpm_key_parms exec_rsa_parms(unsigned bits, uint16_t enc, uint16_t sig)
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
        .key_flags = a & 0x20   ? TPM_MIGRATABLE
                     : a & 0x40 ? TPM_VOLATILE
                                : 0,
        .auth_data_usage = a & 0x80 ? TPM_AUTH_NEVER : TPM_AUTH_ALWAYS,
        .algorithm_parms = exec_rsa_parms(kinds[kind].bits, kinds[kind].enc, kinds[kind].sig),
    };

    key.pcr_info = pcr_info(info, b, key.is_12);
    return key;
}

static struct tpm_key identity_template(uint8_t info[128], uint8_t a, uint8_t b)
{
    struct tpm_key key = key_template(a & 0xf0, b, info);

    key.key_usage = TPM_KEY_IDENTITY;
    key.algorithm_parms = exec_rsa_parms(2048, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1);
    return key;
}

/* Under the last session: the owner's in TPM_MakeIdentity. */
static struct vt_auth hidden_last(const struct exec *x)
{
    return exec_hidden(x->auths ? x->auth[x->auths - 1] : NULL, false);
}

struct tpm_blob exec_last_256(const struct exec *x, enum exec_blob_name name)
{
    const struct exec_blob *blob = &x->blobs[name];
    uint32_t len = (uint32_t)VT_MIN(blob->len, 256u);

    return (struct tpm_blob){.len = len, .data = blob->bytes + (blob->len - len)};
}

void exec_keep(struct exec *x, enum exec_blob_name name, const void *bytes, size_t len)
{
    if (len > EXEC_BLOB_MAX)
        return;
    if (len)
        memcpy(x->blobs[name].bytes, bytes, len);
    x->blobs[name].len = len;
}

struct tpm_blob exec_blob(const struct exec *x, enum exec_blob_name name)
{
    return (struct tpm_blob){.len = (uint32_t)x->blobs[name].len, .data = x->blobs[name].bytes};
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

#define SOME(n)                                                                                              \
    {                                                                                                        \
        .len = (n), .data = some                                                                             \
    }
#define CASE EXEC_CASE

static uint32_t some_ordinal(uint8_t a)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    return rows[a % count].ordinal;
}

/* 1-5 as resource() knows them: key, session, transport, DAA; TPM_RT_CONTEXT. */
static uint32_t resource_type(uint8_t a)
{
    static const uint32_t types[] = {TPM_RT_KEY, TPM_RT_AUTH, TPM_RT_TRANS, TPM_RT_DAA_TPM, TPM_RT_CONTEXT};

    return types[a % VT_COUNT(types)];
}

static struct tpm_pubkey pubkey_of(const struct exec *x, uint32_t handle)
{
    const struct key_slot *slot = key_find(x->tpm, handle);
    struct tpm_pubkey pub = {.algorithm_parms = exec_rsa_parms(2048, TPM_ES_NONE, TPM_SS_NONE)};

    if (slot)
        key_to_pubkey(&pub, &slot->key);
    return pub;
}

static bool audit_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    static const struct {
        uint32_t alg;
        uint16_t scheme;
    } ciphers[] = {
        {TPM_ALG_MGF1, TPM_ES_NONE}, {TPM_ALG_AES128, TPM_ES_SYM_CTR}, {TPM_ALG_AES128, TPM_ES_SYM_OFB}};
    size_t cipher = b % VT_COUNT(ciphers);
    bool hides = a & TPM_TRANSPORT_ENCRYPT;
    struct tpm_transport_public pub = {a & 7u, hides ? ciphers[cipher].alg : 0,
                                       hides ? ciphers[cipher].scheme : 0};

    if (ordinal == TPM_ORD_EstablishTransport)
        x->transport.offered = pub;
    switch (ordinal) {
        CASE(TPM_ORD_SetOrdinalAuditStatus, set_ordinal_audit_status, .ordinal_to_audit = some_ordinal(a),
             .audit_state = b & 1);
        CASE(TPM_ORD_GetOrdinalAuditStatus, get_ordinal_audit_status, .ordinal_to_query = some_ordinal(a));
        CASE(TPM_ORD_GetAuditDigest, get_audit_digest, .start_ordinal = some_ordinal(a));
        CASE(TPM_ORD_GetAuditDigestSigned, get_audit_digest_signed, .close_audit = a & 1);
        CASE(TPM_ORD_KeyControlOwner, key_control_owner, .pub_key = pubkey_of(x, x->keys[KEY_STORAGE]),
             .bit_name = TPM_KEY_CONTROL_OWNER_EVICT, .bit_value = !(a & 1));
        CASE(TPM_ORD_EstablishTransport, establish_transport, .trans_public = pub,
             .secret = hides ? exec_transport_secret()
                             : (struct tpm_blob){.len = sizeof fuzz_tpm_secret.bytes,
                                                 .data = fuzz_tpm_secret.bytes});
        CASE(TPM_ORD_ReleaseTransportSigned, release_transport_signed, .anti_replay = {{a}});
    default:
        return false;
    }
}

static bool admin_params(struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    const uint8_t sub[4] = {0, 0, b / 16, b}, number[4] = {0, 0, 0, b};
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
             .sub_cap = {.len = sizeof number, .data = number}, .set_value = SOME(1));
        CASE(TPM_ORD_TakeOwnership, take_ownership, .protocol_id = TPM_PID_OWNER, .enc_owner_auth = secret,
             .enc_srk_auth = secret, .srk_params = key_template((uint8_t)(1 + 5 * (a % 51)), 0, info));
        CASE(TPM_ORD_CreateEndorsementKeyPair, create_endorsement_key_pair,
             .key_info = exec_rsa_parms(a & 1 ? 1024 : 2048, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE));
        CASE(TPM_ORD_CreateRevocableEK, create_revocable_ek,
             .key_info = exec_rsa_parms(a & 1 ? 1024 : 2048, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE),
             .generate_reset = b & 1);
        CASE(TPM_ORD_ReadPubek, read_pubek, .anti_replay = {{a}});
        CASE(TPM_ORD_OwnerReadInternalPub, owner_read_internal_pub,
             .key_handle = a & 1 ? TPM_KH_EK : TPM_KH_SRK);
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
        CASE(TPM_ORD_UnBind, un_bind, .in_data = b & 1 ? exec_last_256(x, BLOB_KEY) : exec_bound());
        CASE(TPM_ORD_ChangeAuth, change_auth, .protocol_id = TPM_PID_ADCP, .new_auth = hidden(x, false),
             .entity_type = a & 1 ? TPM_ET_KEY : TPM_ET_DATA,
             .enc_data = exec_last_256(x, a & 1 ? BLOB_KEY : BLOB_SEALED));
        CASE(TPM_ORD_MakeIdentity, make_identity, .identity_auth = hidden_last(x),
             .id_key_params = identity_template(info, a, b));
        CASE(TPM_ORD_ActivateIdentity, activate_identity,
             .blob = a & 1 ? fuzz_tpm_secret_for_ek() : exec_credential());
        CASE(TPM_ORD_ChangeAuthOwner, change_auth_owner, .protocol_id = TPM_PID_ADCP,
             .new_auth = hidden(x, false), .entity_type = a & 1 ? TPM_ET_SRK : TPM_ET_OWNER);
    case TPM_ORD_Unseal:
        wr_copy(w, x->blobs[BLOB_SEALED].bytes, x->blobs[BLOB_SEALED].len);
        return true;
    case TPM_ORD_LoadKey2:
    case TPM_ORD_LoadKey:
        wr_copy(w, x->blobs[BLOB_KEY].bytes, x->blobs[BLOB_KEY].len);
        return true;
    case TPM_ORD_LoadContext:
        wr_put8(w, a & 1);
        wr_copy(w, x->blobs[BLOB_CONTEXT].bytes, x->blobs[BLOB_CONTEXT].len);
        return true;
    case TPM_ORD_LoadKeyContext:
        wr_copy(w, x->blobs[BLOB_CONTEXT_11].bytes, x->blobs[BLOB_CONTEXT_11].len);
        return true;
    case TPM_ORD_LoadAuthContext:
        wr_copy(w, x->blobs[BLOB_AUTH_CONTEXT].bytes, x->blobs[BLOB_AUTH_CONTEXT].len);
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
             .entity_value = a % 12 == TPM_ET_COUNTER - 1 ? x->counter
                             : a & 0x80                   ? nv_index(b)
                                                          : exec_handle(x, cmd_row_find(ordinal), 0, b, a));
        CASE(TPM_ORD_SaveContext, save_context, .resource_type = resource_type(a));
        CASE(TPM_ORD_FlushSpecific, flush_specific, .resource_type = resource_type(a));
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
        CASE(TPM_ORD_IncrementCounter, increment_counter, .count_id = a ? a % 8u : x->counter);
        CASE(TPM_ORD_ReadCounter, read_counter, .count_id = a ? a % 8u : x->counter);
        CASE(TPM_ORD_ReleaseCounter, release_counter, .count_id = a ? a % 8u : x->counter);
        CASE(TPM_ORD_ReleaseCounterOwner, release_counter_owner, .count_id = a ? a % 8u : x->counter);
    default:
        return false;
    }
}

static bool nv_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    switch (ordinal) {
        CASE(TPM_ORD_NV_DefineSpace, nv_define_space, .pub_info = nv_public(a, b),
             .enc_auth = hidden(x, false));
        CASE(TPM_ORD_NV_WriteValue, nv_write_value, .nv_index = nv_index(a), .offset = b & 15,
             .data = SOME(b / 16));
        CASE(TPM_ORD_NV_WriteValueAuth, nv_write_value_auth, .nv_index = nv_index(a), .offset = b & 15,
             .data = SOME(b / 16));
        CASE(TPM_ORD_NV_ReadValue, nv_read_value, .nv_index = nv_index(a), .offset = b & 15,
             .data_size = b / 16);
        CASE(TPM_ORD_NV_ReadValueAuth, nv_read_value_auth, .nv_index = nv_index(a), .offset = b & 15,
             .data_size = b / 16);
    default:
        return false;
    }
}

void exec_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    (void)(admin_params(w, ordinal, a, b) || storage_params(x, w, ordinal, a, b) ||
           use_params(x, w, ordinal, a, b) || nv_params(x, w, ordinal, a, b) ||
           audit_params(x, w, ordinal, a, b) || exec_travel_params(x, w, ordinal, a, b));
}

/* ---- What the answers say ---- */

static void learn_session(struct exec *x, enum exec_blob_name name, const uint8_t *params, size_t len)
{
    exec_keep(x, name, params, len);
    x->saved_session = (x->next_session + EXEC_SESSIONS - 1u) % EXEC_SESSIONS;
}

static void learn_transport(struct exec *x, const uint8_t *params, size_t len)
{
    struct rd r = rd_from(params, len);
    struct establish_transport_out out;

    rd_establish_transport_out(&r, &out);
    x->transport.s = (struct exec_session){
        .handle = x->last_handle, .secret = fuzz_tpm_secret, .even = out.trans_nonce_even};
    x->transport.pub = x->transport.offered;
}

void exec_learn(struct exec *x, uint32_t ordinal, uint8_t a, const uint8_t *params, size_t len)
{
    struct rd r = rd_from(params, len);

    switch (ordinal) {
    case TPM_ORD_CreateWrapKey:
        exec_keep(x, BLOB_KEY, params, len);
        break;
    case TPM_ORD_Seal:
    case TPM_ORD_Sealx:
        exec_keep(x, BLOB_SEALED, params, len);
        break;
    case TPM_ORD_SaveKeyContext:
        exec_keep(x, BLOB_CONTEXT_11, params, len);
        break;
    case TPM_ORD_SaveContext:
        learn_session(x, BLOB_CONTEXT, params, len);
        break;
    case TPM_ORD_SaveAuthContext:
        learn_session(x, BLOB_AUTH_CONTEXT, params, len);
        break;
    case TPM_ORD_LoadContext:
    case TPM_ORD_LoadAuthContext:
        x->sessions[x->saved_session].handle = x->last_handle;
        break;
    case TPM_ORD_LoadKey2:
    case TPM_ORD_LoadKeyContext:
        x->loaded = x->last_handle;
        break;
    case TPM_ORD_LoadKey:
        x->loaded = rd_get32(&r);
        break;
    case TPM_ORD_CreateCounter:
        x->counter = rd_get32(&r);
        break;
    case TPM_ORD_EstablishTransport:
        learn_transport(x, params, len);
        break;
    default:
        exec_travel_learn(x, ordinal, a, params, len);
        break;
    }
}
