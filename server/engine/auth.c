/* SPDX-License-Identifier: Apache-2.0 */
/* Proofs of commands and responses (Part 1, 12-13; Part 3, 18). */
#include "server/engine/auth.h"
#include "server/engine/delegate.h"
#include "server/engine/transport.h"

static tpm_rc auth_fail_code(unsigned index)
{
    return index ? TPM_AUTH2FAIL : TPM_AUTHFAIL;
}

/* ---- Entities ---- */

struct auth_entity auth_entity_key(const struct key_slot *slot)
{
    struct auth_entity entity = {
        .type = TPM_ET_KEYHANDLE, .secret = &slot->key.usage_auth, .key = &slot->key};

    memcpy(entity.id, slot->key.pub_digest, ENTITY_ID);
    return entity;
}

struct auth_entity auth_entity_owner(const struct tpm *tpm)
{
    return (struct auth_entity){.type = TPM_ET_OWNER, .secret = &tpm->perm.owner_auth};
}

struct auth_entity auth_entity_number(uint8_t type, uint32_t id, const struct vt_auth *secret)
{
    struct auth_entity entity = {.type = type, .secret = secret};
    struct wr w = wr_to(entity.id, sizeof entity.id);

    wr_put32(&w, id);
    return entity;
}

bool auth_is_srk(const struct tpm *tpm, const struct session *session)
{
    return tpm->perm.owned && session->entity_type == TPM_ET_KEYHANDLE &&
           !memcmp(session->entity, tpm->perm.srk.key.pub_digest, ENTITY_ID);
}

static const struct vt_auth *key_secret(const struct tpm *tpm, const struct session *session)
{
    if (auth_is_srk(tpm, session))
        return &tpm->perm.srk.key.usage_auth;
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        if (tpm->keys[i].handle && !memcmp(session->entity, tpm->keys[i].key.pub_digest, ENTITY_ID))
            return &tpm->keys[i].key.usage_auth;
    return NULL;
}

const struct vt_auth *auth_secret_of(struct tpm *tpm, const struct session *session)
{
    struct rd r = rd_from(session->entity, sizeof session->entity);
    const struct nv_area *area;

    switch (session->entity_type) {
    case TPM_ET_KEYHANDLE:
        return key_secret(tpm, session);
    case TPM_ET_OWNER:
        return tpm->perm.owned ? &tpm->perm.owner_auth : NULL;
    case TPM_ET_NV:
        area = nv_find(tpm, rd_get32(&r));
        return area ? &area->auth : NULL;
    case TPM_ET_COUNTER:
        return counter_entity(tpm, rd_get32(&r)).secret;
    default:
        return NULL;
    }
}

/* ---- Request ---- */

/* Whose secret session `index` proves: with fewer sessions than there may be they are the last ones. */
static uint8_t proof_of(const struct cmd *c, unsigned index)
{
    return c->row->proof[c->row->auth.max - c->auth_count + index];
}

static struct session *find_session(const struct cmd *c, unsigned index, uint32_t handle)
{
    struct transport *transport;

    if (proof_of(c, index) != PROOF_TRANSPORT)
        return session_find(c->tpm, handle);
    transport = transport_find(c->tpm, handle);
    return transport ? &transport->session : NULL;
}

tpm_rc auth_read_trailer(struct cmd *c, struct rd *r)
{
    for (unsigned i = 0; i < c->auth_count; i++) {
        struct auth_use *use = &c->auth[i];
        struct tpm_auth_in in;

        rd_auth_in(r, &in);
        use->handle = in.auth_handle;
        use->keep = in.continue_auth_session;
        use->session = find_session(c, i, in.auth_handle);
        memcpy(use->nonce_odd, in.nonce_odd.bytes, TPM_NONCE_LEN);
        memcpy(use->hmac, in.auth.bytes, sizeof use->hmac);
    }
    return rd_result(r);
}

/* Part 1, 12.2: HMAC(secret, paramDigest || nonceEven || nonceOdd || continueAuthSession). */
static void auth_hmac(uint8_t out[TPM_DIGEST_LEN], const struct vt_auth *key,
                      const uint8_t digest[TPM_DIGEST_LEN], const uint8_t even[TPM_NONCE_LEN],
                      const struct auth_use *use)
{
    uint8_t keep = use->keep;
    struct cr_slice slices[] = {
        CR_SLICE(digest, TPM_DIGEST_LEN),
        CR_SLICE(even, TPM_NONCE_LEN),
        CR_SLICE(use->nonce_odd, TPM_NONCE_LEN),
        CR_SLICE(&keep, 1),
    };

    cr_hmac_sha1v(out, key->bytes, sizeof key->bytes, slices, VT_COUNT(slices));
}

static bool prove(struct cmd *c, unsigned index, const struct vt_auth *secret)
{
    struct auth_use *use = &c->auth[index];
    uint8_t expected[TPM_DIGEST_LEN];

    auth_hmac(expected, secret, c->in_digest, use->session->nonce_even, use);
    if (!vt_ct_equal(expected, use->hmac, sizeof expected))
        return false;
    use->key = *secret;
    use->checked = true;
    return true;
}

/* Part 1, 23: what was lent must allow this command; a key's authority must be one that may be lent. */
static tpm_rc check_delegate(struct cmd *c, unsigned index, const struct auth_entity *entity,
                             const struct tpm_delegate_public *pub)
{
    struct auth_use *use = &c->auth[index];
    tpm_rc rc = delegate_permits(c, pub, entity->type);

    if (rc)
        return rc == TPM_AUTHFAIL ? auth_fail_code(index) : rc;
    if (entity->key && !delegate_key_allowed(c->tpm, entity->key))
        return TPM_INVALID_KEYUSAGE;
    use->delegated = true;
    use->delegate = *pub;
    return TPM_SUCCESS;
}

/* An OIAP session: the entity's own secret; for the owner that of the row that stands for it (Part 3, 18.1).
 */
static tpm_rc choose_plain(struct cmd *c, unsigned index, const struct auth_entity *entity,
                           const struct vt_auth **secret)
{
    const struct delegate_row *row;

    *secret = entity->secret;
    if (entity->type != TPM_ET_OWNER || c->tpm->stclear.owner_reference == TPM_KH_OWNER)
        return TPM_SUCCESS;
    row = delegate_row_find(c->tpm, c->tpm->stclear.owner_reference);
    if (!row)
        return auth_fail_code(index);
    *secret = &row->auth;
    return check_delegate(c, index, entity, &row->pub);
}

/* An OSAP session proves the one entity that it was opened for, a DSAP session only for what was lent. */
static tpm_rc choose_shared(struct cmd *c, unsigned index, const struct auth_entity *entity,
                            const struct vt_auth **secret)
{
    const struct session *session = c->auth[index].session;

    if (session->entity_type != entity->type || memcmp(session->entity, entity->id, ENTITY_ID) != 0)
        return auth_fail_code(index);
    *secret = &session->secret;
    return session->kind == SESSION_DSAP ? check_delegate(c, index, entity, &session->delegate) : TPM_SUCCESS;
}

bool cmd_has_session(const struct cmd *c, unsigned index)
{
    return c->auth[index].session != &c->no_session;
}

tpm_rc cmd_check_auth(struct cmd *c, unsigned index, const struct auth_entity *entity)
{
    struct auth_use *use = &c->auth[index];
    const struct vt_auth *secret;
    tpm_rc rc;

    if (index >= c->auth_count || use->checked)
        return cmd_fatal(c);
    if (!cmd_has_session(c, index))
        return TPM_INVALID_AUTHHANDLE;
    rc = use->session->kind == SESSION_OIAP ? choose_plain(c, index, entity, &secret)
                                            : choose_shared(c, index, entity, &secret);
    if (rc)
        return rc;
    if (prove(c, index, secret))
        return TPM_SUCCESS;
    c->wrong_guess = true;
    return auth_fail_code(index);
}

tpm_rc cmd_check_owner(struct cmd *c, unsigned index)
{
    struct auth_entity owner = auth_entity_owner(c->tpm);

    if (c->tpm->perm.owned)
        return cmd_check_auth(c, index, &owner);
    return cmd_has_session(c, index) ? auth_fail_code(index) : TPM_INVALID_AUTHHANDLE;
}

tpm_rc cmd_check_transport(struct cmd *c, unsigned index)
{
    struct auth_use *use = &c->auth[index];

    if (index >= c->auth_count || use->checked || use->session->kind != SESSION_TRANSPORT)
        return cmd_fatal(c);
    /* 24.3 action 5: also if the key's session was not needed. */
    return prove(c, index, &use->session->secret) ? TPM_SUCCESS : auth_fail_code(c->row->auth.max - 1u);
}

/*
 * Where the handler proves, its own reasons to refuse come first (as 20.2 action 2 before action 4): a session that is
 * not there passes for one of OIAP with handle 0 until then, and is never proved.
 */
static void stand_in(struct cmd *c, unsigned index, uint8_t proof)
{
    if (c->auth[index].session || proof != PROOF_IN_HANDLER)
        return;
    c->no_session.kind = SESSION_OIAP;
    c->auth[index].session = &c->no_session;
}

/* Which session kinds the command takes: those that bring new secrets need OSAP (Part 1, 13). */
static tpm_rc check_session(const struct cmd *c, unsigned index)
{
    const struct session *session = c->auth[index].session;
    bool osap = (index == 0 && (c->row->flags & CMD_OSAP)) ||
                (index + 1 == c->auth_count && (c->row->flags & CMD_OSAP_LAST));

    if (!session)
        return TPM_INVALID_AUTHHANDLE;
    /* One session cannot roll its nonces twice in a command. */
    if (index && c->auth[0].handle == c->auth[index].handle)
        return TPM_INVALID_AUTHHANDLE;
    return osap && session->kind == SESSION_OIAP ? TPM_BAD_MODE : TPM_SUCCESS;
}

static tpm_rc check_proof(struct cmd *c, unsigned index, uint8_t proof)
{
    struct auth_entity entity;

    switch (proof) {
    case PROOF_KEY0:
    case PROOF_KEY0_READ:
        entity = auth_entity_key(c->keys[0]);
        break;
    case PROOF_KEY1:
    case PROOF_KEY1_READ:
        entity = auth_entity_key(c->keys[1]);
        break;
    case PROOF_SRK:
        entity = auth_entity_key(&c->tpm->perm.srk);
        break;
    case PROOF_OWNER:
        return cmd_check_owner(c, index);
    default:
        return TPM_SUCCESS; /* PROOF_IN_HANDLER, PROOF_TRANSPORT */
    }
    return cmd_check_auth(c, index, &entity);
}

/* Part 2, 5.9: a key may be used without a session only if its authDataUsage says so. */
static tpm_rc check_absent(const struct cmd *c, uint8_t proof)
{
    const struct key_slot *key = NULL;
    bool reads = proof == PROOF_KEY0_READ || proof == PROOF_KEY1_READ;

    if (proof == PROOF_KEY0 || proof == PROOF_KEY0_READ)
        key = c->keys[0];
    else if (proof == PROOF_KEY1 || proof == PROOF_KEY1_READ)
        key = c->keys[1];
    else if (proof == PROOF_SRK)
        key = &c->tpm->perm.srk;
    if (!key || key->key.auth_data_usage == TPM_AUTH_NEVER)
        return TPM_SUCCESS;
    return reads && key->key.auth_data_usage == TPM_NO_READ_PUBKEY_AUTH ? TPM_SUCCESS : TPM_AUTHFAIL;
}

tpm_rc auth_check_request(struct cmd *c)
{
    unsigned absent = c->row->auth.max - c->auth_count;
    tpm_rc rc;

    for (unsigned i = 0; i < c->row->auth.max; i++) {
        if (i < absent) {
            rc = check_absent(c, c->row->proof[i]);
        } else {
            stand_in(c, i - absent, c->row->proof[i]);
            rc = check_session(c, i - absent);
            if (!rc)
                rc = check_proof(c, i - absent, c->row->proof[i]);
        }
        if (rc)
            return rc;
    }
    return TPM_SUCCESS;
}

bool auth_all_checked(const struct cmd *c)
{
    for (unsigned i = 0; i < c->auth_count; i++)
        if (!c->auth[i].checked)
            return false;
    return true;
}

void auth_failed(struct cmd *c)
{
    for (unsigned i = 0; i < c->auth_count; i++) {
        struct session *session = c->auth[i].session;

        if (session && session->handle && session->handle == c->auth[i].handle)
            session_end(c->tpm, session);
    }
    if (c->wrong_guess)
        da_failure(c->tpm, c->ordinal == TPM_ORD_ResetLockValue);
}

/* ---- Response ---- */

static void write_one(struct cmd *c, struct auth_use *use, const uint8_t digest[TPM_DIGEST_LEN], struct wr *w)
{
    struct tpm_auth_out out;

    /* The handler may have ended it together with its entity. */
    if (use->session->handle != use->handle)
        use->keep = false;
    if (use->even_chosen)
        memcpy(out.nonce_even.bytes, use->nonce_even, TPM_NONCE_LEN);
    else
        tpm_random(c->tpm, out.nonce_even.bytes, TPM_NONCE_LEN);
    out.continue_auth_session = use->keep;
    auth_hmac(out.auth.bytes, &use->key, digest, out.nonce_even.bytes, use);
    wr_auth_out(w, &out);
    if (use->keep)
        memcpy(use->session->nonce_even, out.nonce_even.bytes, TPM_NONCE_LEN);
    else if (use->session->handle == use->handle)
        session_end(c->tpm, use->session);
}

void auth_write_response(struct cmd *c, struct wr *w)
{
    for (unsigned i = 0; i < c->auth_count; i++)
        write_one(c, &c->auth[i], c->out_digest, w);
}

/* ---- For handlers ---- */

tpm_rc cmd_decrypt_auth(struct cmd *c, unsigned index, bool odd, const struct vt_auth *enc,
                        struct vt_auth *out)
{
    struct auth_use *use = &c->auth[index];
    const struct session *session = use->session;
    const uint8_t *nonce = odd ? use->nonce_odd : session->nonce_even;
    VT_SECRET_AUTH pad = {{0}};

    if (!use->checked)
        return cmd_fatal(c);
    if (session->kind == SESSION_OIAP)
        return TPM_BAD_MODE;
    cmd_end_session(c, index);
    if (session->adip == TPM_ET_AES128_CTR)
        return cmd_crypto_rc(
            cr_aes128_ctr(session->secret.bytes, nonce, enc->bytes, sizeof enc->bytes, out->bytes), TPM_FAIL);
    /* XOR with SHA-1(shared secret || nonce). */
    cr_sha1v(pad.bytes,
             (struct cr_slice[]){CR_SLICE(session->secret.bytes, sizeof session->secret.bytes),
                                 CR_SLICE(nonce, TPM_NONCE_LEN)},
             2);
    for (size_t i = 0; i < sizeof pad.bytes; i++)
        out->bytes[i] = enc->bytes[i] ^ pad.bytes[i];
    return TPM_SUCCESS;
}

void cmd_end_session(struct cmd *c, unsigned index)
{
    c->auth[index].keep = false;
}
