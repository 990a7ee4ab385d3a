/* SPDX-License-Identifier: Apache-2.0 */
/* Acts of dirty_guest.h's guest: the audit, delegations, transport sessions. */
#include "server/engine/transport.h"
#include "tests/spec/spec_transport.h"
#include "tests/unit/dirty_guest.h"

#define BLOB 512

static uint32_t put_identity(struct guest *g)
{
    struct tpm_key_obj key = spec_key(4, TPM_KEY_IDENTITY, &g->key);

    return g->tc->tpm->perm.owned && key_free_slots(g->tc->tpm) ? spec_insert(g->tc, &key) : 0;
}

static void flush(struct guest *g, uint32_t handle, uint32_t type)
{
    struct flush_specific_in in = {.resource_type = type};

    (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

/* ---- Audit ---- */

static void audits(struct guest *g)
{
    static const uint32_t ordinals[] = {TPM_ORD_Extend, TPM_ORD_PcrRead, TPM_ORD_OIAP, TPM_ORD_SaveState,
                                        TPM_ORD_GetAuditDigest};
    uint32_t ordinal = ordinals[roll(g, VT_COUNT(ordinals))];
    struct set_ordinal_audit_status_in set = {.ordinal_to_audit = ordinal, .audit_state = roll(g, 2)};
    struct get_ordinal_audit_status_in get = {.ordinal_to_query = ordinal};
    struct get_audit_digest_in digest = {.start_ordinal = roll(g, 256)};
    struct get_audit_digest_signed_in sign = {.close_audit = roll(g, 2)};
    uint32_t key;

    (void)DO(g, TPM_ORD_SetOrdinalAuditStatus, &set, NULL, .auth = {oiap(g, &g->owner)});
    (void)DO(g, TPM_ORD_GetOrdinalAuditStatus, &get, NULL);
    (void)DO(g, TPM_ORD_GetAuditDigest, &digest, NULL);
    key = put_identity(g);
    (void)DO(g, TPM_ORD_GetAuditDigestSigned, &sign, NULL, .handles = {key}, .auth = {oiap(g, &g->key)});
    flush(g, key, TPM_RT_KEY);
}

/* ---- Delegation ---- */

static uint32_t some_family(struct guest *g)
{
    const struct family_row *row = &g->tc->tpm->perm.families[roll(g, 3)];

    return row->used ? row->entry.family_id : 1;
}

static void families(struct guest *g)
{
    uint8_t flag = rarely(g) ? 0 : 1;
    struct delegate_manage_in in = {
        .family_id = some_family(g), .op_code = 1 + roll(g, 5), .op_data = {.len = 1, .data = &flag}};
    struct tc_session *s = roll(g, 4) ? oiap(g, &g->owner) : NULL;

    if (in.op_code == TPM_FAMILY_INVALIDATE && roll(g, 4))
        in.op_code = TPM_FAMILY_ENABLE;
    (void)DO(g, TPM_ORD_Delegate_Manage, &in, NULL, .auth = {s});
    (void)DO(g, TPM_ORD_Delegate_ReadTable, NULL, NULL);
}

static struct tpm_blob kept(const struct tpm_blob *blob, uint8_t bytes[BLOB])
{
    assert_true(blob->len <= BLOB);
    memcpy(bytes, blob->data, blob->len);
    return (struct tpm_blob){.len = blob->len, .data = bytes};
}

/* Uses what was lent: a session, a row, the pointer. */
static void borrow(struct guest *g, uint16_t type, uint32_t key, const struct tpm_blob *blob)
{
    struct delegate_verify_delegation_in verify = {.delegation = *blob};
    struct delegate_update_verification_in update = {.input_data = *blob};
    struct owner_set_disable_in disable = {.disable_state = false};
    struct delegate_load_owner_delegation_in load = {.index = roll(g, 5), .blob = *blob};
    struct set_owner_pointer_in point = {.entity_type = TPM_ET_DEL_ROW, .entity_value = load.index};
    struct tc_session *s = &g->sessions[roll(g, SLOTS)].s;

    (void)DO(g, TPM_ORD_Delegate_VerifyDelegation, &verify, NULL);
    (void)DO(g, TPM_ORD_Delegate_UpdateVerification, &update, NULL, .auth = {oiap(g, &g->owner)});
    if (!note(g, TPM_ORD_DSAP, tc_dsap(g->tc, s, type, key, blob, &g->key)))
        (void)DO(g, TPM_ORD_OwnerSetDisable, &disable, NULL, .auth = {s});
    (void)DO(g, TPM_ORD_Delegate_LoadOwnerDelegation, &load, NULL, .auth = {oiap(g, &g->owner)});
    (void)DO(g, TPM_ORD_SetOwnerPointer, &point, NULL);
    (void)DO(g, TPM_ORD_OwnerSetDisable, &disable, NULL, .auth = {oiap(g, &g->key)});
    point.entity_type = TPM_ET_OWNER;
    (void)DO(g, TPM_ORD_SetOwnerPointer, &point, NULL);
}

static struct tpm_delegate_public some_public(struct guest *g, uint32_t type)
{
    return (struct tpm_delegate_public){
        .pcr_info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL},
        .permissions = {.delegate_type = type, .per1 = 0x1FFFFFFF},
        .family_id = some_family(g),
    };
}

static void lend_owner(struct guest *g)
{
    struct tc_session *s = osap(g, TPM_ET_OWNER, TPM_KH_OWNER, &g->owner);
    struct delegate_create_owner_delegation_in in = {.increment = rarely(g),
                                                     .public_info = some_public(g, TPM_DEL_OWNER_BITS)};
    struct delegate_create_owner_delegation_out out;
    struct tpm_blob blob;
    uint8_t bytes[BLOB];

    tc_encrypt_auth(s, false, false, &g->key, &in.del_auth);
    if (DO(g, TPM_ORD_Delegate_CreateOwnerDelegation, &in, &out, .auth = {s}))
        return;
    blob = kept(&out.blob, bytes);
    borrow(g, TPM_ET_DEL_OWNER_BLOB, 0, &blob);
}

static void lend_key(struct guest *g)
{
    uint32_t key = put_identity(g);
    struct tc_session *s = osap(g, TPM_ET_KEYHANDLE, key, &g->key);
    struct delegate_create_key_delegation_in in = {.public_info = some_public(g, TPM_DEL_KEY_BITS)};
    struct delegate_create_key_delegation_out out;
    struct tpm_blob blob;
    uint8_t bytes[BLOB];

    tc_encrypt_auth(s, false, false, &g->key, &in.del_auth);
    if (!DO(g, TPM_ORD_Delegate_CreateKeyDelegation, &in, &out, .handles = {key}, .auth = {s})) {
        blob = kept(&out.blob, bytes);
        borrow(g, TPM_ET_DEL_KEY_BLOB, key, &blob);
    }
    flush(g, key, TPM_RT_KEY);
}

/* ---- Transport ---- */

/* One of three commands inside. */
static void wrap(struct guest *g, struct st *t)
{
    struct extend_in extend = {.pcr_num = roll(g, 25)};
    struct get_random_in random = {.bytes_requested = 9};
    tpm_rc rc;

    t->s.ends = rarely(g);
    switch (roll(g, 3)) {
    case 0:
        rc = ST(g->tc, t, TPM_ORD_Extend, &extend);
        break;
    case 1:
        rc = ST(g->tc, t, TPM_ORD_GetRandom, &random);
        break;
    default:
        rc = ST(g->tc, t, TPM_ORD_OIAP, NULL);
        break;
    }
    (void)note(g, TPM_ORD_ExecuteTransport, rc);
}

static void release(struct guest *g, struct st *t)
{
    struct release_transport_signed_in in = {.anti_replay = {{1}}};
    struct tpm_key_obj key = spec_key(7, TPM_KEY_SIGNING, &g->key);
    uint32_t handle = 0;

    if (g->tc->tpm->perm.owned && key_free_slots(g->tc->tpm))
        handle = spec_insert(g->tc, &key);
    (void)DO(g, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {handle},
             .auth = {oiap(g, &g->key), &t->s});
    flush(g, handle, TPM_RT_KEY);
}

static void transports(struct guest *g)
{
    struct st t;
    tpm_rc rc;

    /* Whoever took ownership has another SRK secret than the client knows only if it guessed wrong. */
    rc = st_open(g->tc, &t, roll(g, 2) ? TPM_TRANSPORT_LOG | (roll(g, 2) ? TPM_TRANSPORT_EXCLUSIVE : 0) : 0,
                 0, 0);
    if (note(g, TPM_ORD_EstablishTransport, rc))
        return;
    for (unsigned n = roll(g, 4); n && t.s.handle; n--)
        wrap(g, &t);
    if (roll(g, 2))
        release(g, &t);
    if (transport_find(g->tc->tpm, t.s.handle))
        flush(g, t.s.handle, TPM_RT_TRANS);
}

void (*const dirty_last[])(struct guest *g) = {audits,     families, families,   lend_owner,
                                               lend_owner, lend_key, transports, transports};
const size_t dirty_last_count = VT_COUNT(dirty_last);
