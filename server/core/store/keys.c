/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/keys.h"

#include "server/base/vault.h"
#include "server/wire/cursor.h"

/* All of it in locked pages of its own; nothing here is ever written after keys_new. */
struct keys {
    struct vt_key master;
    struct vt_key wrap, cred, server, mac, event, decoy;
    struct vt_key anchor, ticket;
    struct vt_uuid store;
    struct db_mac db_mac;
    size_t size; /* of the mapping */
};

/* ---- The keyed functions of the store ---- */

static void mac_row(void *ctx, const void *bytes, size_t len, uint8_t out[32])
{
    const struct keys *keys = ctx;
    struct cr_slice slices[] = {CR_SLICE("row", 4), CR_SLICE(bytes, len)};

    cr_hmac_sha256v(out, keys->mac.bytes, sizeof keys->mac.bytes, slices, VT_COUNT(slices));
}

static void mac_seal(void *ctx, const uint8_t digest[32], uint64_t generation, uint64_t rows, uint8_t out[32])
{
    const struct keys *keys = ctx;
    uint8_t numbers[16];
    struct wr w = wr_to(numbers, sizeof numbers);
    struct cr_slice slices[] = {CR_SLICE("set", 4), CR_SLICE(digest, 32), CR_SLICE(numbers, sizeof numbers)};

    wr_put64(&w, generation);
    wr_put64(&w, rows);
    cr_hmac_sha256v(out, keys->mac.bytes, sizeof keys->mac.bytes, slices, VT_COUNT(slices));
}

static void mac_event(void *ctx, const void *bytes, size_t len, uint8_t out[32])
{
    const struct keys *keys = ctx;
    struct cr_slice slices[] = {CR_SLICE(bytes, len)};

    cr_hmac_sha256v(out, keys->event.bytes, sizeof keys->event.bytes, slices, VT_COUNT(slices));
}

/* ---- Life ---- */

static int derive(struct keys *keys)
{
    const struct {
        struct vt_key *to;
        const char *label;
    } rows[] = {
        {&keys->wrap, "vtpm-server wrap instance keys"},
        {&keys->cred, "vtpm-server seal credentials"},
        {&keys->server, "vtpm-server seal server key"},
        {&keys->mac, "vtpm-server store MAC"},
        {&keys->event, "vtpm-server event chain"},
        {&keys->decoy, "vtpm-server decoy credentials"},
        {&keys->anchor, "vtpm-server host TPM anchor"},
        {&keys->ticket, "vtpm-server hand-off tickets"},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        int err = cr_hkdf(rows[i].to->bytes, sizeof rows[i].to->bytes, keys->master.bytes, sizeof keys->master.bytes,
                          keys->store.bytes, sizeof keys->store.bytes, rows[i].label);
        if (err)
            return err;
    }
    return VT_OK;
}

int keys_new(struct keys **keys, const struct vt_key *master, const struct vt_uuid *store, struct vt_why *why)
{
    size_t size = sizeof(struct keys);
    struct keys *k;
    void *at;
    int err;

    *keys = NULL;
    err = vt_locked_map(&at, &size, "the master key", why);
    if (err)
        return err;
    k = at;
    k->size = size;
    k->master = *master;
    k->store = *store;
    k->db_mac = (struct db_mac){.ctx = k, .row = mac_row, .seal = mac_seal, .event = mac_event};
    err = derive(k);
    if (err) {
        keys_free(k);
        return vt_fail(why, err, "keys cannot be derived from the master key: %s", vt_err_text(err));
    }
    *keys = k;
    return VT_OK;
}

void keys_free(struct keys *keys)
{
    if (keys)
        vt_locked_unmap(keys, keys->size);
}

void keys_store_uuid(const struct keys *keys, struct vt_uuid *store)
{
    *store = keys->store;
}

const struct vt_key *keys_master(const struct keys *keys)
{
    return &keys->master;
}

const struct db_mac *keys_mac(const struct keys *keys)
{
    return &keys->db_mac;
}

/* ---- What is sealed under the derived keys ---- */

int keys_wrap_instance(const struct keys *keys, const struct vt_uuid *uuid, const struct vt_key *key, uint8_t out[SEAL_KEY_LEN])
{
    struct seal_name name = {.store = keys->store, .instance = *uuid, .kind = SEAL_INSTANCE_KEY};

    return seal_key(&keys->wrap, &name, key, out);
}

int keys_unwrap_instance(const struct keys *keys, const struct vt_uuid *uuid, const uint8_t *in, size_t len, struct vt_key *key)
{
    struct seal_name name = {.store = keys->store, .instance = *uuid, .kind = SEAL_INSTANCE_KEY};

    return unseal_key(&keys->wrap, &name, in, len, key);
}

/* A name has no room for an identity: 128 bits of its hash stand in the instance's place. */
static struct seal_name credential_name(const struct keys *keys, const char *identity, uint64_t version)
{
    struct seal_name name = {.store = keys->store, .kind = SEAL_CREDENTIAL, .seq = version};
    uint8_t hash[CR_SHA256_LEN];

    cr_sha256(hash, identity, strlen(identity));
    memcpy(name.instance.bytes, hash, sizeof name.instance.bytes);
    return name;
}

int keys_seal_psk(const struct keys *keys, const char *identity, uint64_t version, const struct vt_key *psk, uint8_t out[SEAL_KEY_LEN])
{
    struct seal_name name = credential_name(keys, identity, version);

    return seal_key(&keys->cred, &name, psk, out);
}

int keys_open_psk(const struct keys *keys, const char *identity, uint64_t version, const uint8_t *in, size_t len, struct vt_key *psk)
{
    struct seal_name name = credential_name(keys, identity, version);

    return unseal_key(&keys->cred, &name, in, len, psk);
}

int keys_seal_server(const struct keys *keys, const struct vt_key *key, uint8_t out[SEAL_KEY_LEN])
{
    struct seal_name name = {.store = keys->store, .kind = SEAL_SERVER_KEY};

    return seal_key(&keys->server, &name, key, out);
}

int keys_open_server(const struct keys *keys, const uint8_t *in, size_t len, struct vt_key *key)
{
    struct seal_name name = {.store = keys->store, .kind = SEAL_SERVER_KEY};

    return unseal_key(&keys->server, &name, in, len, key);
}

void keys_decoy(const struct keys *keys, const char *identity, struct vt_key *psk)
{
    struct cr_slice slices[] = {CR_SLICE(identity, strlen(identity))};

    cr_hmac_sha256v(psk->bytes, keys->decoy.bytes, sizeof keys->decoy.bytes, slices, VT_COUNT(slices));
}

void keys_ticket(const struct keys *keys, const uint8_t *ticket, size_t len, uint8_t out[CR_SHA256_LEN])
{
    struct cr_slice slices[] = {CR_SLICE(ticket, len)};

    cr_hmac_sha256v(out, keys->ticket.bytes, sizeof keys->ticket.bytes, slices, VT_COUNT(slices));
}

void keys_anchor_auth(const struct keys *keys, struct vt_key *auth)
{
    struct cr_slice slices[] = {CR_SLICE("auth", 5)};

    cr_hmac_sha256v(auth->bytes, keys->anchor.bytes, sizeof keys->anchor.bytes, slices, VT_COUNT(slices));
}

void keys_anchor_hash(const struct keys *keys, const struct db_anchor *row, uint8_t out[CR_SHA256_LEN])
{
    uint8_t numbers[28];
    struct wr w = wr_to(numbers, sizeof numbers);
    struct cr_slice slices[] = {CR_SLICE("row", 4), CR_SLICE(keys->store.bytes, sizeof keys->store.bytes),
                                CR_SLICE(numbers, sizeof numbers), CR_SLICE(row->digest, sizeof row->digest),
                                CR_SLICE(row->previous, sizeof row->previous)};

    wr_put64(&w, row->epoch);
    wr_put64(&w, row->generation);
    wr_put64(&w, (uint64_t)row->time);
    wr_put32(&w, row->nv);
    cr_hmac_sha256v(out, keys->anchor.bytes, sizeof keys->anchor.bytes, slices, VT_COUNT(slices));
}
