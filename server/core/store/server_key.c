/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/server_key.h"

#include <assert.h>
#include <stdio.h>

#define LABEL "vtpm-server-key 1 "
#define BLANKS " \t\r\n"

_Static_assert(DB_PUBLIC == CR_EC_PUBLIC, "the store's public keys are P-256's");

void server_key_line(char out[SERVER_KEY_LINE], const struct vt_uuid *store, const uint8_t public[DB_PUBLIC])
{
    char uuid[VT_UUID_TEXT], hex[2 * DB_PUBLIC + 1];
    int len;

    vt_uuid_text(uuid, store);
    vt_hex(hex, public, DB_PUBLIC);
    len = snprintf(out, SERVER_KEY_LINE, LABEL "%s %s", uuid, hex);
    assert(len == SERVER_KEY_LINE - 1);
    (void)len;
}

void server_key_fingerprint(char out[SERVER_KEY_FINGERPRINT], const struct vt_uuid *store,
                            const uint8_t public[DB_PUBLIC])
{
    const struct cr_slice slices[] = {CR_SLICE(store->bytes, sizeof store->bytes), CR_SLICE(public, DB_PUBLIC)};
    uint8_t hash[CR_SHA256_LEN];
    char *at = out;

    cr_sha256v(hash, slices, VT_COUNT(slices));
    for (size_t i = 0; i < 8; i++, at += 4) {
        if (i)
            *at++ = '-';
        vt_hex(at, hash + 2 * i, 2);
    }
}

static bool parse(struct db_peer *peer, const char *line)
{
    char uuid[VT_UUID_TEXT];

    if (strlen(line) != SERVER_KEY_LINE - 1 || strncmp(line, LABEL, sizeof LABEL - 1) != 0)
        return false;
    line += sizeof LABEL - 1;
    memcpy(uuid, line, VT_UUID_TEXT - 1);
    uuid[VT_UUID_TEXT - 1] = '\0';
    return line[VT_UUID_TEXT - 1] == ' ' && vt_uuid_parse(&peer->store, uuid) &&
           vt_unhex(peer->public, sizeof peer->public, line + VT_UUID_TEXT) && cr_ec_check(peer->public) == VT_OK;
}

int server_key_parse(struct db_peer *peer, const char *text, struct vt_why *why)
{
    char line[SERVER_KEY_LINE] = "";
    size_t len;

    text += strspn(text, BLANKS);
    len = strcspn(text, "\r\n");
    while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    if (len < sizeof line && !text[len + strspn(text + len, BLANKS)])
        memcpy(line, text, len);
    line[len < sizeof line ? len : 0] = '\0';
    if (parse(peer, line))
        return VT_OK;
    return vt_fail(why, VT_EUSAGE, "this is no server's key: it is the one line that `vtpmctl server key show` prints "
                                   "at the other server");
}

int server_key_make(struct db_server_key *row, const struct keys *keys)
{
    VT_SECRET_KEY secret = {{0}};
    int err = cr_ec_generate(&secret, row->public);

    row->sealed_len = SEAL_KEY_LEN;
    return err ? err : keys_seal_server(keys, &secret, row->sealed);
}

int server_key_open(struct db *db, const struct keys *keys, struct vt_key *secret, struct vt_why *why)
{
    struct db_server_key row;
    int err = db_server_key_get(db, &row);

    if (err == VT_ENOTFOUND)
        return vt_fail(why, err, "this store has no key yet, so nothing was exported to it: `vtpmctl server key show` "
                                 "makes one, for the other server's `server peer add`");
    if (!err)
        err = keys_open_server(keys, row.sealed, row.sealed_len, secret);
    return err ? vt_fail(why, err, "the store's own key cannot be read: %s", vt_err_text(err)) : VT_OK;
}

int server_key_channel(const struct vt_key *own, const uint8_t their[DB_PUBLIC], bool own_is_client,
                       struct vt_key *psk)
{
    uint8_t public[DB_PUBLIC], salt[CR_SHA256_LEN];
    VT_SECRET_KEY shared = {{0}};
    int err = cr_ec_public(own, public);

    if (!err)
        err = cr_ec_agree(own, their, &shared);
    if (!err) {
        const struct cr_slice slices[] = {CR_SLICE(own_is_client ? public : their, DB_PUBLIC),
                                          CR_SLICE(own_is_client ? their : public, DB_PUBLIC)};

        cr_sha256v(salt, slices, VT_COUNT(slices));
        err = cr_hkdf(psk->bytes, sizeof psk->bytes, shared.bytes, sizeof shared.bytes, salt, sizeof salt,
                      "vtpm-server peer channel 1");
    }
    return err;
}

#define SERVER_PREFIX "server:"

void server_key_identity(char out[SERVER_IDENTITY], const struct vt_uuid *store)
{
    memcpy(out, SERVER_PREFIX, sizeof SERVER_PREFIX - 1);
    vt_uuid_text(out + sizeof SERVER_PREFIX - 1, store);
}

bool server_key_is_identity(const char *identity, struct vt_uuid *store)
{
    return strncmp(identity, SERVER_PREFIX, sizeof SERVER_PREFIX - 1) == 0 &&
           vt_uuid_parse(store, identity + sizeof SERVER_PREFIX - 1);
}
