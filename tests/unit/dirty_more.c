/* SPDX-License-Identifier: Apache-2.0 */
/* Acts of dirty_guest.h's guest: keys and data for others, counters, contexts, identities. */
#include "server/engine/auth.h"
#include "tests/unit/dirty_guest.h"

/* ---- Hashes, ticks, the DIR, capabilities ---- */

static void hashes(struct guest *g)
{
    static const uint8_t block[66];
    struct sha1_update_in update = {.hash_data = {.len = roll(g, 8) ? 64 : 63, .data = block}};
    struct sha1_complete_in complete = {.hash_data = {.len = roll(g, 66), .data = block}};
    struct sha1_complete_extend_in extend = {.pcr_num = roll(g, 25), .hash_data = complete.hash_data};

    if (roll(g, 4))
        (void)DO(g, TPM_ORD_SHA1Start, NULL, NULL);
    (void)DO(g, TPM_ORD_SHA1Update, &update, NULL);
    if (roll(g, 2))
        (void)DO(g, TPM_ORD_SHA1Complete, &complete, NULL);
    else
        (void)DO(g, TPM_ORD_SHA1CompleteExtend, &extend, NULL);
}

static void dir(struct guest *g)
{
    struct dir_write_auth_in write = {.dir_index = rarely(g), .new_contents = {{(uint8_t)roll(g, 256)}}};
    struct dir_read_in read = {.dir_index = rarely(g)};

    (void)DO(g, TPM_ORD_DirWriteAuth, &write, NULL, .auth = {oiap(g, &g->owner)});
    (void)DO(g, TPM_ORD_DirRead, &read, NULL);
    (void)DO(g, TPM_ORD_GetTicks, NULL, NULL);
    (void)DO(g, TPM_ORD_OwnerReadPubek, NULL, NULL, .auth = {oiap(g, &g->owner)});
    (void)DO(g, TPM_ORD_GetCapabilityOwner, NULL, NULL, .auth = {oiap(g, &g->owner)});
    if (rarely(g))
        (void)DO(g, TPM_ORD_Reset, NULL, NULL);
}

static void set_capability(struct guest *g)
{
    static const uint8_t settings[][2] = {
        {TPM_SET_PERM_FLAGS, TPM_PF_READPUBEK},
        {TPM_SET_PERM_FLAGS, TPM_PF_READSRKPUB},
        {TPM_SET_PERM_FLAGS, TPM_PF_DISABLEFULLDALOGICINFO},
        {TPM_SET_PERM_DATA, TPM_PD_DAAPROOF},
        {TPM_SET_PERM_DATA, TPM_PD_RESTRICTDELEGATE},
        {TPM_SET_STCLEAR_DATA, TPM_SD_DEFERREDPHYSICALPRESENCE},
        {TPM_SET_STANY_FLAGS, TPM_AF_TOSPRESENT},
    };
    const uint8_t *setting = settings[roll(g, VT_COUNT(settings))];
    uint8_t value[4] = {(uint8_t)roll(g, 2)}, sub[4] = {0, 0, 0, setting[1]};
    bool is_flag = setting[0] == TPM_SET_PERM_FLAGS || setting[0] == TPM_SET_STANY_FLAGS;
    struct set_capability_in in = {.cap_area = setting[0],
                                   .sub_cap = {.len = sizeof sub, .data = sub},
                                   .set_value = {.len = is_flag ? 1 : 4, .data = value}};
    struct tc_session *s = roll(g, 4) ? oiap(g, &g->owner) : NULL;

    (void)DO(g, TPM_ORD_SetCapability, &in, NULL, .auth = {s});
}

/* ---- Keys ---- */

/* One put in by hand; its handle. */
static uint32_t put_key(struct guest *g, unsigned index, uint16_t usage)
{
    struct tpm_key_obj key = spec_key(index, usage, &g->key);

    key.migration_auth = g->tc->tpm->perm.tpm_proof;
    return g->tc->tpm->perm.owned && key_free_slots(g->tc->tpm) ? spec_insert(g->tc, &key) : 0;
}

static void flush_key(struct guest *g, uint32_t handle)
{
    struct flush_specific_in in = {.resource_type = TPM_RT_KEY};

    (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

static void attest(struct guest *g)
{
    uint8_t sub[4] = {0, 0, 1, 1};
    struct quote2_in quote = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}},
                              .add_version = roll(g, 2)};
    struct certify_key_in certify = {.anti_replay = {{1}}};
    struct certify_key2_in certify2 = {.anti_replay = {{1}}};
    struct tick_stamp_blob_in stamp = {.anti_replay = {{1}}};
    struct certify_self_test_in test = {.anti_replay = {{1}}};
    struct get_capability_signed_in cap = {.cap_area = TPM_CAP_PROPERTY, .sub_cap = {.len = 4, .data = sub}};
    uint32_t handle = put_key(g, 7, TPM_KEY_SIGNING);

    switch (roll(g, 6)) {
    case 0:
        (void)DO(g, TPM_ORD_Quote2, &quote, NULL, .handles = {handle}, .auth = {oiap(g, &g->key)});
        break;
    /* Two sessions that are good and not the same are rare. */
    case 1:
        for (unsigned i = 0; i < 4; i++)
            (void)DO(g, TPM_ORD_CertifyKey, &certify, NULL, .handles = {handle, handle},
                     .auth = {oiap(g, &g->key), oiap(g, &g->key)});
        break;
    case 2:
        for (unsigned i = 0; i < 4; i++)
            (void)DO(g, TPM_ORD_CertifyKey2, &certify2, NULL, .handles = {handle, handle},
                     .auth = {oiap(g, &g->key), oiap(g, &g->key)});
        break;
    case 3:
        (void)DO(g, TPM_ORD_TickStampBlob, &stamp, NULL, .handles = {handle}, .auth = {oiap(g, &g->key)});
        break;
    case 4:
        (void)DO(g, TPM_ORD_CertifySelfTest, &test, NULL, .handles = {handle}, .auth = {oiap(g, &g->key)});
        break;
    default:
        (void)DO(g, TPM_ORD_GetCapabilitySigned, &cap, NULL, .handles = {handle}, .auth = {oiap(g, &g->key)});
        break;
    }
    flush_key(g, handle);
}

static void unbind(struct guest *g)
{
    uint32_t handle = put_key(g, 5, TPM_KEY_BIND);
    uint8_t plain[] = {1, 1, 0, 0, TPM_PT_BIND, 'x'}, enc[CR_RSA_MAX] = {0};
    struct un_bind_in in = {.in_data = {.len = sizeof enc, .data = enc}};

    if (handle)
        assert_int_equal(cr_rsa_oaep_encrypt(&key_find(g->tc->tpm, handle)->key.rsa.pub, "TCPA", 4, plain,
                                             sizeof plain, &g->dice, enc),
                         VT_OK);
    (void)DO(g, TPM_ORD_UnBind, &in, NULL, .handles = {handle}, .auth = {oiap(g, &g->key)});
    flush_key(g, handle);
}

static void old_load(struct guest *g)
{
    struct rd r = rd_from(g->wrapped, g->wrapped_len);
    struct load_key_in in;
    struct load_key_out out;

    if (!g->wrapped_len)
        return;
    rd_key(&r, &in.in_key);
    if (!DO(g, TPM_ORD_LoadKey, &in, &out, .handles = {TPM_KH_SRK}, .auth = {oiap(g, &g->srk)}))
        g->keys[roll(g, SLOTS)] = out.inkey_handle;
}

static void sealx(struct guest *g)
{
    struct tc_session *s = osap(g, TPM_ET_SRK, TPM_KH_SRK, &g->srk);
    struct sealx_in in = {.in_data = {.len = 7, .data = (const uint8_t *)"secrets"}};

    tc_encrypt_auth(s, false, false, &g->key, &in.enc_auth);
    (void)DO(g, TPM_ORD_Sealx, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {s});
}

static void change_secrets(struct guest *g)
{
    struct rd r = rd_from(g->sealed, g->sealed_len);
    struct tpm_stored_data data = {0};
    struct change_auth_in in = {.protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_DATA};
    struct change_auth_owner_in owner = {.protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_OWNER};
    struct tc_session *s = osap(g, TPM_ET_OWNER, TPM_KH_OWNER, &g->owner), *data_session;

    /* To what it is: the guest goes on with it. */
    tc_encrypt_auth(s, false, false, &g->owner, &owner.new_auth);
    (void)DO(g, TPM_ORD_ChangeAuthOwner, &owner, NULL, .auth = {s});
    if (!g->sealed_len)
        return;
    rd_stored_data(&r, &data);
    in.enc_data = data.enc_data;
    s = osap(g, TPM_ET_SRK, TPM_KH_SRK, &g->srk);
    data_session = oiap(g, &g->key);
    if (data_session == s)
        return;
    tc_encrypt_auth(s, false, false, &g->key, &in.new_auth);
    (void)DO(g, TPM_ORD_ChangeAuth, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {s, data_session});
}

/* Some stay, some go; those that stay survive the next start. */
static void keep_key(struct guest *g)
{
    struct key_control_owner_in in = {.bit_name = TPM_KEY_CONTROL_OWNER_EVICT, .bit_value = true};
    uint32_t handle = put_key(g, 5, TPM_KEY_SIGNING);
    struct tpm_key_obj key;

    if (!handle)
        return;
    key = key_find(g->tc->tpm, handle)->key;
    key_to_pubkey(&in.pub_key, &key);
    if (!DO(g, TPM_ORD_KeyControlOwner, &in, NULL, .handles = {handle}, .auth = {oiap(g, &g->owner)}) &&
        roll(g, 4)) {
        in.bit_value = false;
        (void)DO(g, TPM_ORD_KeyControlOwner, &in, NULL, .handles = {handle}, .auth = {oiap(g, &g->owner)});
    }
    flush_key(g, handle);
}

/* ---- Contexts ---- */

static struct tpm_blob keep(const struct tpm_blob *blob, uint8_t bytes[2048])
{
    assert_true(blob->len <= 2048);
    memcpy(bytes, blob->data, blob->len);
    return (struct tpm_blob){.len = blob->len, .data = bytes};
}

static void contexts(struct guest *g)
{
    struct save_context_in save = {.resource_type = roll(g, 2) ? TPM_RT_KEY : TPM_RT_AUTH, .label = {{7}}};
    struct load_context_in load = {.keep_handle = roll(g, 2)};
    struct save_context_out out;
    uint8_t bytes[2048];
    struct tc_session *s = &g->sessions[roll(g, SLOTS)].s;
    uint32_t key = key_handle(g), handle = save.resource_type == TPM_RT_KEY ? key : s->handle;

    if (DO(g, TPM_ORD_SaveContext, &save, &out, .handles = {handle}))
        return;
    load.context_blob = keep(&out.context_blob, bytes);
    if (!DO(g, TPM_ORD_LoadContext, &load, NULL, .handles = {key}) && save.resource_type == TPM_RT_AUTH)
        s->handle = g->tc->out_handle;
}

static void old_contexts(struct guest *g)
{
    struct save_key_context_out key_out;
    struct save_auth_context_out auth_out;
    struct load_key_context_in load_key;
    struct load_auth_context_in load_auth;
    struct tc_session *s = &g->sessions[roll(g, SLOTS)].s;
    uint32_t *key = &g->keys[roll(g, SLOTS)];
    uint8_t bytes[2048];

    if (!DO(g, TPM_ORD_SaveKeyContext, NULL, &key_out, .handles = {*key})) {
        load_key.key_context_blob = keep(&key_out.key_context_blob, bytes);
        if (!DO(g, TPM_ORD_LoadKeyContext, &load_key, NULL))
            *key = g->tc->out_handle;
    }
    if (!DO(g, TPM_ORD_SaveAuthContext, NULL, &auth_out, .handles = {s->handle})) {
        load_auth.auth_context_blob = keep(&auth_out.auth_context_blob, bytes);
        if (roll(g, 4) && !DO(g, TPM_ORD_LoadAuthContext, &load_auth, NULL))
            s->handle = g->tc->out_handle;
    }
}

/* ---- Counters ---- */

static void counters(struct guest *g)
{
    struct tc_session *s = osap(g, TPM_ET_OWNER, TPM_KH_OWNER, &g->owner);
    struct create_counter_in create = {.label = {{'a', 'b', 'c', 'd'}}};
    uint32_t id = roll(g, 9);
    struct increment_counter_in increment = {.count_id = id};
    struct read_counter_in read = {.count_id = id};
    struct release_counter_in release = {.count_id = id};
    struct release_counter_owner_in release_owner = {.count_id = id};

    tc_encrypt_auth(s, false, false, &g->key, &create.enc_auth);
    (void)DO(g, TPM_ORD_CreateCounter, &create, NULL, .auth = {s});
    (void)DO(g, TPM_ORD_IncrementCounter, &increment, NULL, .auth = {oiap(g, &g->key)});
    (void)DO(g, TPM_ORD_ReadCounter, &read, NULL);
    if (roll(g, 4) == 0)
        (void)DO(g, TPM_ORD_ReleaseCounter, &release, NULL, .auth = {oiap(g, &g->key)});
    if (roll(g, 4) == 0)
        (void)DO(g, TPM_ORD_ReleaseCounterOwner, &release_owner, NULL, .auth = {oiap(g, &g->owner)});
}

/* ---- Identities and the endorsement key ---- */

/* What a CA sends: a session key for the identity, encrypted for the endorsement key. */
static void activate(struct guest *g, const struct tpm_key_obj *identity, uint32_t handle)
{
    struct tpm_asym_ca_contents contents = {.session_key = {.alg_id = TPM_ALG_AES128,
                                                            .enc_scheme = TPM_ES_SYM_CBC_PKCS5PAD,
                                                            .data = {.len = 16}}};
    uint8_t plain[64], enc[CR_RSA_MAX], aes[16] = {1};
    struct wr w = wr_to(plain, sizeof plain);
    struct activate_identity_in in = {.blob = {.len = sizeof enc, .data = enc}};

    contents.session_key.data.data = aes;
    key_pubkey_digest(identity, contents.id_digest.bytes);
    wr_asym_ca_contents(&w, &contents);
    assert_int_equal(
        cr_rsa_oaep_encrypt(&g->tc->tpm->perm.ek.key.rsa.pub, "TCPA", 4, plain, w.len, &g->dice, enc), VT_OK);
    (void)DO(g, TPM_ORD_ActivateIdentity, &in, NULL, .handles = {handle},
             .auth = {oiap(g, &g->key), oiap(g, &g->owner)});
}

static void identities(struct guest *g)
{
    struct make_identity_in in = {.id_key_params = key_params(TPM_KEY_IDENTITY, 0, TPM_AUTH_ALWAYS)};
    struct tc_session *s = osap(g, TPM_ET_OWNER, TPM_KH_OWNER, &g->owner), *srk = oiap(g, &g->srk);
    uint32_t handle;

    if (srk != s) {
        tc_encrypt_auth(s, false, false, &g->key, &in.identity_auth);
        (void)DO(g, TPM_ORD_MakeIdentity, &in, NULL, .auth = {srk, s});
    }
    handle = put_key(g, 4, TPM_KEY_IDENTITY);
    if (handle && g->tc->tpm->perm.has_ek) {
        struct tpm_key_obj identity = key_find(g->tc->tpm, handle)->key;

        activate(g, &identity, handle);
    }
    flush_key(g, handle);
}

/* Trust ends and begins again. */
static void revoke(struct guest *g)
{
    struct create_revocable_ek_in create = {
        .key_info = key_params(TPM_KEY_STORAGE, 0, TPM_AUTH_ALWAYS).algorithm_parms, .input_ek_reset = {{3}}};
    struct revoke_trust_in in = {.ek_reset = {{3}}};

    (void)DO(g, TPM_ORD_RevokeTrust, &in, NULL);
    /* The first one was made for good: by hand only. */
    if (roll(g, 2) && !g->tc->tpm->perm.owned)
        tpm_revoke_ek(g->tc->tpm);
    (void)DO(g, TPM_ORD_CreateRevocableEK, &create, NULL);
}

void (*const dirty_more[])(struct guest *g) = {
    hashes,   dir,      set_capability, attest,       unbind,   old_load, sealx,      change_secrets,
    keep_key, contexts, contexts,       old_contexts, counters, counters, identities, revoke,
};
const size_t dirty_more_count = VT_COUNT(dirty_more);
