/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's own acts, and a step of its session: what test_engine_dirty and test_engine_replay look at. */
#include "server/engine/auth.h"
#include "tests/unit/dirty_guest.h"

static void handles_free(struct guest *g)
{
    struct flush_specific_in in = {.resource_type = TPM_RT_AUTH};
    unsigned at = roll(g, SLOTS);

    if (roll(g, 2))
        (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {g->sessions[at].s.handle});
    else
        (void)DO(g, TPM_ORD_Terminate_Handle, NULL, NULL, .handles = {g->sessions[at].s.handle});
    g->sessions[at].used = false;
    at = roll(g, SLOTS);
    in.resource_type = TPM_RT_KEY;
    if (roll(g, 2))
        (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {g->keys[at]});
    else
        (void)DO(g, TPM_ORD_EvictKey, NULL, NULL, .handles = {g->keys[at]});
    in.resource_type = TPM_RT_CONTEXT;
    (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {roll(g, 3)});
}

/* ---- Ownership ---- */

static void ek_encrypt(struct guest *g, const struct vt_auth *secret, uint8_t out[CR_RSA_MAX])
{
    assert_int_equal(cr_rsa_oaep_encrypt(&g->tc->tpm->perm.ek.key.rsa.pub, "TCPA", 4, secret->bytes,
                                         sizeof secret->bytes, &g->dice, out),
                     VT_OK);
}

static void take_ownership(struct guest *g)
{
    uint8_t owner[CR_RSA_MAX], srk[CR_RSA_MAX];
    struct take_ownership_in in = {
        .protocol_id = TPM_PID_OWNER,
        .enc_owner_auth = {.len = sizeof owner, .data = owner},
        .enc_srk_auth = {.len = sizeof srk, .data = srk},
        .srk_params = key_params(TPM_KEY_STORAGE, 0, TPM_AUTH_ALWAYS),
    };

    if (!g->tc->tpm->perm.has_ek)
        return;
    ek_encrypt(g, &g->owner, owner);
    ek_encrypt(g, &g->srk, srk);
    (void)DO(g, TPM_ORD_TakeOwnership, &in, NULL, .auth = {oiap(g, &g->owner)});
}

static void make_ek(struct guest *g)
{
    struct create_endorsement_key_pair_in in = {
        .key_info = key_params(TPM_KEY_STORAGE, 0, TPM_AUTH_ALWAYS).algorithm_parms};

    (void)DO(g, TPM_ORD_CreateEndorsementKeyPair, &in, NULL);
}

static void presence(struct guest *g)
{
    static const uint16_t values[] = {8, 8, 8, 8, 0x10, 4, 0x20, 0x40, 3};

    (void)note(g, TSC_ORD_PhysicalPresence, tc_presence(g->tc, values[roll(g, VT_COUNT(values))]));
}

static void switches(struct guest *g)
{
    struct physical_set_deactivated_in state = {.state = rarely(g)};
    struct set_operator_auth_in operator_auth = {.operator_auth = g->key};
    struct owner_set_disable_in disable = {.disable_state = rarely(g)};
    struct set_owner_install_in install = {.state = !rarely(g)};
    struct read_pubek_in anti_replay = {{{0}}};

    switch (roll(g, 12)) {
    case 0:
        (void)DO(g, TPM_ORD_PhysicalDisable, NULL, NULL);
        break;
    case 1:
        (void)DO(g, TPM_ORD_PhysicalSetDeactivated, &state, NULL);
        break;
    case 2:
        (void)DO(g, TPM_ORD_SetOperatorAuth, &operator_auth, NULL);
        break;
    case 3:
        (void)DO(g, TPM_ORD_OwnerSetDisable, &disable, NULL, .auth = {oiap(g, &g->owner)});
        break;
    case 4:
        (void)DO(g, TPM_ORD_SetOwnerInstall, &install, NULL);
        break;
    case 5:
        (void)note(g, TSC_ORD_PhysicalPresence, tc_presence(g->tc, TPM_PHYSICAL_PRESENCE_PRESENT));
        (void)DO(g, TPM_ORD_SetOperatorAuth, &operator_auth, NULL);
        if (roll(g, 2) == 0)
            (void)DO(g, TPM_ORD_SetTempDeactivated, NULL, NULL, .auth = {oiap(g, &g->key)});
        break;
    case 6:
        if (rarely(g))
            (void)DO(g, TPM_ORD_DisableForceClear, NULL, NULL);
        break;
    case 7:
        if (roll(g, 2) == 0)
            (void)DO(g, TPM_ORD_DisableOwnerClear, NULL, NULL, .auth = {oiap(g, &g->owner)});
        break;
    case 8:
        (void)note(g, TSC_ORD_PhysicalPresence, tc_presence(g->tc, TPM_PHYSICAL_PRESENCE_PRESENT));
        (void)DO(g, TPM_ORD_ForceClear, NULL, NULL);
        (void)DO(g, TPM_ORD_PhysicalEnable, NULL, NULL);
        (void)DO(g, TPM_ORD_ReadPubek, &anti_replay, NULL);
        break;
    case 9:
        (void)DO(g, TPM_ORD_OwnerClear, NULL, NULL, .auth = {oiap(g, &g->owner)});
        break;
    case 10:
        (void)DO(g, TPM_ORD_DisablePubekRead, NULL, NULL, .auth = {oiap(g, &g->owner)});
        break;
    default:
        (void)DO(g, TSC_ORD_ResetEstablishmentBit, NULL, NULL);
        break;
    }
    (void)DO(g, TPM_ORD_PhysicalEnable, NULL, NULL);
}

/* ---- Keys and data ---- */

static void create_key(struct guest *g)
{
    struct tc_session *s = osap(g, TPM_ET_KEYHANDLE, TPM_KH_SRK, &g->srk);
    struct create_wrap_key_in in = {.key_info =
                                        key_params(rarely(g) ? TPM_KEY_STORAGE : TPM_KEY_SIGNING,
                                                   rarely(g) ? TPM_VOLATILE : 0, (uint8_t)roll(g, 2))};
    struct create_wrap_key_out out;
    struct wr w = wr_to(g->wrapped, sizeof g->wrapped);

    tc_encrypt_auth(s, false, false, &g->key, &in.data_usage_auth);
    if (DO(g, TPM_ORD_CreateWrapKey, &in, &out, .handles = {TPM_KH_SRK}, .auth = {s}))
        return;
    wr_key(&w, &out.wrapped_key);
    g->wrapped_len = w.len;
}

static void load_key(struct guest *g)
{
    struct rd r = rd_from(g->wrapped, g->wrapped_len);
    struct load_key2_in in;

    if (!g->wrapped_len)
        return;
    rd_key(&r, &in.in_key);
    if (!DO(g, TPM_ORD_LoadKey2, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {oiap(g, &g->srk)}))
        g->keys[roll(g, SLOTS)] = g->tc->out_handle;
}

static void use_key(struct guest *g)
{
    uint8_t digest[TPM_DIGEST_LEN] = {1};
    struct sign_in sign = {.area_to_sign = {.len = sizeof digest, .data = digest}};
    struct quote_in quote = {.target_pcr = {.size_of_select = 3, .pcr_select = {(uint8_t)roll(g, 256)}}};
    struct tc_session *s = roll(g, 2) ? oiap(g, &g->key) : NULL;
    uint32_t handle = key_handle(g);

    switch (roll(g, 4)) {
    case 0:
        (void)DO(g, TPM_ORD_Sign, &sign, NULL, .handles = {handle}, .auth = {s});
        break;
    case 1:
        (void)DO(g, TPM_ORD_Quote, &quote, NULL, .handles = {handle}, .auth = {s});
        break;
    case 2:
        (void)DO(g, TPM_ORD_GetPubKey, NULL, NULL, .handles = {handle}, .auth = {s});
        break;
    default:
        (void)osap(g, TPM_ET_KEYHANDLE, handle, &g->key);
        break;
    }
}

static void seal(struct guest *g)
{
    struct tc_session *s = osap(g, TPM_ET_KEYHANDLE, TPM_KH_SRK, &g->srk);
    struct seal_in in = {.in_data = {.len = 7, .data = (const uint8_t *)"secrets"}};
    struct seal_out out;
    struct wr w = wr_to(g->sealed, sizeof g->sealed);

    tc_encrypt_auth(s, false, false, &g->key, &in.enc_auth);
    if (DO(g, TPM_ORD_Seal, &in, &out, .handles = {TPM_KH_SRK}, .auth = {s}))
        return;
    wr_stored_data(&w, &out.sealed_data);
    g->sealed_len = w.len;
}

static void unseal(struct guest *g)
{
    struct rd r = rd_from(g->sealed, g->sealed_len);
    struct unseal_in in;

    if (!g->sealed_len)
        return;
    rd_stored_data(&r, &in.in_data);
    (void)DO(g, TPM_ORD_Unseal, &in, NULL, .handles = {TPM_KH_SRK},
             .auth = {oiap(g, &g->srk), oiap(g, &g->key)});
}

/* ---- PCRs, NV and the rest ---- */

static void pcrs(struct guest *g)
{
    struct extend_in extend = {.pcr_num = roll(g, 25)};
    struct pcr_read_in read = {.pcr_index = roll(g, 25)};
    struct pcr_reset_in reset = {
        .pcr_selection = {.size_of_select = 3, .pcr_select = {0, 0, (uint8_t)(1u << roll(g, 8))}}};

    g->tc->locality = (uint8_t)roll(g, 6);
    (void)DO(g, TPM_ORD_Extend, &extend, NULL);
    (void)DO(g, TPM_ORD_PCR_Reset, &reset, NULL);
    g->tc->locality = 0;
    (void)DO(g, TPM_ORD_PcrRead, &read, NULL);
}

static const struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3},
                                                   .locality_at_release = TPM_LOC_ALL};

static void define_area(struct guest *g)
{
    static const uint32_t attributes[] = {
        TPM_NV_PER_OWNERWRITE | TPM_NV_PER_OWNERREAD,
        TPM_NV_PER_AUTHWRITE | TPM_NV_PER_AUTHREAD | TPM_NV_PER_READ_STCLEAR,
        TPM_NV_PER_PPWRITE | TPM_NV_PER_GLOBALLOCK | TPM_NV_PER_READ_STCLEAR,
        TPM_NV_PER_OWNERWRITE | TPM_NV_PER_WRITEDEFINE | TPM_NV_PER_WRITE_STCLEAR,
    };
    uint32_t which = roll(g, VT_COUNT(attributes));
    struct nv_define_space_in in = {
        .pub_info = {.nv_index = 0x100 + which,
                     .pcr_info_read = anywhere,
                     .pcr_info_write = anywhere,
                     .permission = {.attributes = attributes[which]},
                     .data_size = rarely(g) ? 0 : 16},
    };
    struct tc_session *s = roll(g, 2) ? osap(g, TPM_ET_OWNER, 0, &g->owner) : NULL;

    if (s)
        tc_encrypt_auth(s, false, false, &g->key, &in.enc_auth);
    (void)DO(g, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {s});
}

static void use_area(struct guest *g)
{
    uint8_t data[16] = {(uint8_t)roll(g, 256)};
    uint32_t index = rarely(g) ? 0 : 0x100 + roll(g, 4), len = rarely(g) ? 0 : 1 + roll(g, 17);
    struct nv_write_value_in write = {.nv_index = index, .data = {.len = VT_MIN(len, 16), .data = data}};
    struct nv_read_value_in read = {.nv_index = index, .data_size = len};
    struct nv_read_value_auth_in read_auth = {.nv_index = index, .data_size = len};
    struct nv_write_value_auth_in write_auth = {.nv_index = index, .data = write.data};
    struct tc_session *s = roll(g, 2) ? oiap(g, &g->owner) : NULL;

    switch (roll(g, 4)) {
    case 0:
        (void)DO(g, TPM_ORD_NV_WriteValue, &write, NULL, .auth = {s});
        break;
    case 1:
        (void)DO(g, TPM_ORD_NV_ReadValue, &read, NULL, .auth = {s});
        break;
    case 2:
        (void)DO(g, TPM_ORD_NV_WriteValueAuth, &write_auth, NULL, .auth = {oiap(g, &g->key)});
        break;
    default:
        (void)DO(g, TPM_ORD_NV_ReadValueAuth, &read_auth, NULL, .auth = {oiap(g, &g->key)});
        break;
    }
}

static void small(struct guest *g)
{
    struct get_random_in random = {.bytes_requested = roll(g, 64)};
    struct stir_random_in stir = {.in_data = {.len = 3, .data = (const uint8_t *)"abc"}};
    struct owner_read_internal_pub_in pub = {.key_handle = TPM_KH_EK};
    struct read_pubek_in ek = {{{0}}};
    struct tpm_blob resp;

    switch (roll(g, 9)) {
    case 0:
        (void)DO(g, TPM_ORD_GetRandom, &random, NULL);
        break;
    case 1:
        (void)DO(g, TPM_ORD_StirRandom, &stir, NULL);
        break;
    case 2:
        (void)DO(g, TPM_ORD_OwnerReadInternalPub, &pub, NULL, .auth = {oiap(g, &g->owner)});
        break;
    case 3:
        (void)DO(g, TPM_ORD_ReadPubek, &ek, NULL);
        break;
    case 4:
        (void)DO(g, TPM_ORD_GetTestResult, NULL, NULL);
        break;
    case 5:
        (void)DO(g, TPM_ORD_ContinueSelfTest, NULL, NULL);
        break;
    case 6:
        (void)DO(g, TPM_ORD_SelfTestFull, NULL, NULL);
        break;
    case 7:
        (void)note(g, TPM_ORD_GetCapability, spec_cap(g->tc, TPM_CAP_VERSION_VAL, NULL, 0, &resp));
        break;
    default:
        (void)DO(g, TPM_ORD_ResetLockValue, NULL, NULL, .auth = {oiap(g, &g->owner)});
        break;
    }
}

static void power(struct guest *g)
{
    struct startup_in in = {.startup_type = roll(g, 3) ? TPM_ST_CLEAR : TPM_ST_DEACTIVATED};

    if (!rarely(g))
        return;
    if (roll(g, 2)) {
        in.startup_type = TPM_ST_STATE;
        (void)DO(g, TPM_ORD_SaveState, NULL, NULL);
    }
    if (rarely(g))
        tpm_power_off(g->tc->tpm);
    tc_init(g->tc);
    if (rarely(g))
        pcrs(g);
    (void)DO(g, TPM_ORD_Startup, &in, NULL);
    presence(g);
}

/* ---- The session ---- */

static void step(struct guest *g)
{
    static void (*const acts[])(struct guest * g) = {
        handles_free, take_ownership, take_ownership, make_ek, presence, switches, create_key,
        load_key,     use_key,        use_key,        seal,    unseal,   pcrs,     define_area,
        use_area,     use_area,       small,          small,   power,
    };

    /* Mostly out of the reach of a lock-out. */
    g->tc->now_us += rarely(g) ? UINT64_C(100000000000) : 1000;
    switch (roll(g, 7)) {
    case 0:
        dirty_more[roll(g, (uint32_t)dirty_more_count)](g);
        break;
    case 1:
        dirty_last[roll(g, (uint32_t)dirty_last_count)](g);
        break;
    case 2:
        dirty_leave[roll(g, (uint32_t)dirty_leave_count)](g);
        break;
    default:
        acts[roll(g, VT_COUNT(acts))](g);
        break;
    }
    if (g->tc->tpm->perm.flags.disable || g->tc->tpm->stclear.flags.deactivated) {
        presence(g);
        switches(g);
        power(g);
    }
}

void dirty_begin(struct guest *g, struct tc *tc, uint8_t seed)
{
    uint8_t bytes[CR_DRBG_SEED] = {seed};

    *g = (struct guest){
        .tc = tc, .owner = SPEC_OWNER, .srk = SPEC_SRK, .key = tc_secret("key"), .wrong = tc_secret("wrong")};
    cr_drbg_init(&g->dice, bytes, NULL, 0);
    tc->tpm->perm.profile.maintenance = true;
    tc->tpm->perm.flags.allow_maintenance = true;
}

/* Out of reach of a guest with an EK, and of one at locality 0. */
static bool cannot_succeed(uint32_t ordinal)
{
    return ordinal == TPM_ORD_CreateEndorsementKeyPair || ordinal == TSC_ORD_ResetEstablishmentBit;
}

static uint32_t missing(const struct guest *g)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    for (size_t i = 0; i < count; i++) {
        unsigned good = g->good[rows[i].ordinal & 0xFF], bad = g->bad[rows[i].ordinal & 0xFF];

        if (rows[i].run && !good && !(bad && cannot_succeed(rows[i].ordinal)))
            return rows[i].ordinal;
    }
    return 0;
}

void dirty_session(struct guest *g, unsigned least, void (*between)(struct guest *g))
{
    unsigned steps = 0;

    while (steps < least || (missing(g) && steps < DIRTY_MOST)) {
        steps++;
        if (between)
            between(g);
        step(g);
    }
    if (missing(g))
        fail_msg("ordinal 0x%x never succeeded in %u steps (%u failures)", missing(g), steps,
                 g->bad[missing(g) & 0xFF]);
}
