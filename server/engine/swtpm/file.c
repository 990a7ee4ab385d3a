/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swtpm's frame: a header, then parts {tag, length, bytes}. Nothing but what swtpm writes is taken: a header byte that
 * nobody looks at could be altered unseen.
 */
#include "server/base/alloc.h"
#include "server/engine/swtpm/reader.h"

#define HEADER          10
#define HEADER_VERSION  2
#define HEADER_LEAST    1       /* the version that a reader must know at least */
#define FLAG_ENCRYPTED  0x0001u
#define FLAG_256        0x0008u /* with a key of 256 bits, else 128 */
#define FLAGS_MIGRATION (0x0002u | 0x0004u | 0x0010u)

enum { PART_DATA = 1, PART_ENCRYPTED = 2, PART_HMAC = 3, PART_IV = 6, PARTS = 8 };

#define AES_BLOCK 16

struct frame {
    uint16_t flags;
    struct tpm_blob part[PARTS];
    size_t at[PARTS];   /* where its bytes are */
};

static void read_head(struct sw *s, struct frame *f, size_t len)
{
    uint8_t version = sw_u8(s, "the version");
    uint8_t least = sw_u8(s, "the least version");
    uint16_t head = sw_u16(s, "the header's length");
    uint32_t total;

    f->flags = sw_u16(s, "the flags");
    total = sw_u32(s, "the length of all");
    if (version != HEADER_VERSION)
        sw_refuse(s, VT_ENOTSUP, 0, "the version", "%u, and this server knows %u: start this TPM once with an swtpm of "
                  "0.1 or later, which writes it anew", version, HEADER_VERSION);
    if (least != HEADER_LEAST)
        sw_refuse(s, VT_ENOTSUP, 1, "the least version", "%u, and this server knows %u", least, HEADER_LEAST);
    if (head != HEADER)
        sw_refuse(s, VT_EDAMAGED, 2, "the header's length", "%u, and it is %u", head, HEADER);
    if (total != len)
        sw_refuse(s, VT_EDAMAGED, 6, "the length of all", "%u, and the file has %zu bytes: it was cut short or altered",
                  total, len);
    if (f->flags & FLAGS_MIGRATION)
        sw_refuse(s, VT_ENOTSUP, 4, "the flags", "0x%04x: this is a state on its way to another host; start swtpm there "
                  "once, and import what it keeps", f->flags);
    if (f->flags & ~(FLAG_ENCRYPTED | FLAG_256) || f->flags == FLAG_256)
        sw_refuse(s, VT_ENOTSUP, 4, "the flags", "0x%04x, and this server knows 0, 1 and 9", f->flags);
}

static void read_parts(struct sw *s, struct frame *f)
{
    while (!sw_bad(s) && s->r.left) {
        size_t at = sw_at(s);
        uint16_t tag = sw_u16(s, "a part's tag");
        uint32_t len = sw_u32(s, "a part's length");

        if (sw_bad(s))
            return;
        if (tag >= PARTS || f->part[tag].data) {
            sw_refuse(s, VT_EDAMAGED, at, "a part's tag", "%u: it is unknown, or there twice", tag);
            return;
        }
        f->at[tag] = sw_at(s);
        f->part[tag] = (struct tpm_blob){.len = len, .data = rd_take(&s->r, len)};
        sw_check(s, f->at[tag], "a part");
    }
}

/* Exactly these and no others. */
static void expect_parts(struct sw *s, const struct frame *f, unsigned wanted)
{
    for (unsigned tag = 0; tag < PARTS; tag++)
        if ((f->part[tag].data != NULL) != (wanted >> tag & 1))
            sw_refuse(s, VT_EDAMAGED, HEADER, "the parts", "part %u is %s", tag,
                      f->part[tag].data ? "there, where it does not belong" : "missing");
}

/* ---- Encrypted ---- */

/* The key that the flags ask for; NULL: refused. */
static const uint8_t *key_for(struct sw *s, const struct frame *f, const struct tpm_swtpm_key *key, size_t *len)
{
    *len = f->flags & FLAG_256 ? 32 : 16;
    if (!key->len)
        sw_refuse(s, VT_EKEY, 4, "the flags", "0x%04x: the state is encrypted with a key of %zu bits: give --key-file or "
                  "--pwd-file, as swtpm got it by --key", f->flags, *len * 8);
    else if (key->len != *len && !(key->derived && key->len > *len))
        sw_refuse(s, VT_EKEY, 4, "the flags", "0x%04x: the state is encrypted with a key of %zu bits, and the given one has "
                  "%u", f->flags, *len * 8, key->len * 8u);
    return sw_bad(s) ? NULL : key->bytes;
}

/* HMAC-SHA-256 over what is encrypted and the IV, all of it, under the same key. */
static void check_mac(struct sw *s, const struct frame *f, const uint8_t *key, size_t key_len)
{
    const struct tpm_blob *data = &f->part[PART_ENCRYPTED], *iv = &f->part[PART_IV], *mac = &f->part[PART_HMAC];
    const struct cr_slice slices[] = {CR_SLICE(data->data, data->len), CR_SLICE(iv->data, iv->len)};
    uint8_t wanted[CR_SHA256_LEN];

    if (mac->len != sizeof wanted) {
        sw_refuse(s, VT_EDAMAGED, f->at[PART_HMAC], "the HMAC", "it has %u bytes, not %zu", mac->len, sizeof wanted);
        return;
    }
    cr_hmac_sha256v(wanted, key, key_len, slices, VT_COUNT(slices));
    if (!vt_ct_equal(wanted, mac->data, sizeof wanted))
        sw_refuse(s, VT_EKEY, f->at[PART_HMAC], "the HMAC", "it is another one: this is not the key, or the file was "
                  "altered");
}

/* As PKCS #7, but in blocks of the key's length. Behind the HMAC: whoever has the key may know what is wrong. */
static size_t padding(struct sw *s, const struct frame *f, const uint8_t *plain, size_t len, size_t key_len)
{
    size_t pad = plain[len - 1];
    bool good = pad && pad <= key_len && pad <= len;

    for (size_t i = 0; good && i < pad; i++)
        good = plain[len - 1 - i] == pad;
    if (!good)
        sw_refuse(s, VT_EDAMAGED, f->at[PART_ENCRYPTED], "the encrypted state", "its padding is none of swtpm's");
    return good ? pad : 0;
}

static void decrypt(struct sw *s, const struct frame *f, const struct tpm_swtpm_key *key, struct tpm_blob *state,
                    uint8_t **plain)
{
    const struct tpm_blob *in = &f->part[PART_ENCRYPTED], *iv = &f->part[PART_IV];
    size_t key_len;
    const uint8_t *bytes = key_for(s, f, key, &key_len);
    int err;

    if (!bytes)
        return;
    check_mac(s, f, bytes, key_len);
    if (iv->len < AES_BLOCK)
        sw_refuse(s, VT_EDAMAGED, f->at[PART_IV], "the IV", "it has %u bytes, not %u or more", iv->len, AES_BLOCK);
    if (!in->len || in->len % AES_BLOCK)
        sw_refuse(s, VT_EDAMAGED, f->at[PART_ENCRYPTED], "the encrypted state", "%u bytes are no blocks of AES", in->len);
    if (sw_bad(s))
        return;
    *plain = vt_calloc(1, in->len);
    err = *plain ? cr_aes_cbc_decrypt(bytes, key_len, iv->data, in->data, in->len, *plain) : VT_ENOMEM;
    if (err)
        sw_refuse(s, err, f->at[PART_ENCRYPTED], "the encrypted state", "%s", vt_err_text(err));
    else
        *state = (struct tpm_blob){.data = *plain, .len = in->len - (uint32_t)padding(s, f, *plain, in->len, key_len)};
}

/* ---- libtpms' SHA-1 ---- */

/* Over all before it, at the end. It finds accidents: who means harm can make it. */
static int cut_digest(struct tpm_blob *state, struct vt_why *why)
{
    uint8_t digest[CR_SHA1_LEN];

    if (state->len < sizeof digest)
        return vt_fail(why, VT_EDAMAGED, "swtpm: the TPM's state has %u bytes: it was cut short", state->len);
    state->len -= sizeof digest;
    cr_sha1(digest, state->data, state->len);
    if (vt_ct_equal(digest, state->data + state->len, sizeof digest))
        return VT_OK;
    return vt_fail(why, VT_EDAMAGED, "swtpm: the SHA-1 at byte %u of the TPM's state, its end, is another one: the file was "
                   "altered or cut short, or is none of a TPM 1.2", state->len);
}

int swtpm_unwrap(const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, struct tpm_blob *state,
                 uint8_t **plain, size_t *cap, struct vt_why *why)
{
    struct sw s = sw_from(file, len, "the file", why);
    struct frame f = {0};
    bool is_encrypted;

    *plain = NULL;
    *cap = 0;
    read_head(&s, &f, len);
    is_encrypted = f.flags & FLAG_ENCRYPTED;
    read_parts(&s, &f);
    expect_parts(&s, &f, is_encrypted ? 1u << PART_ENCRYPTED | 1u << PART_HMAC | 1u << PART_IV : 1u << PART_DATA);
    if (!sw_bad(&s) && !is_encrypted && key->len)
        sw_refuse(&s, VT_EKEY, 4, "the flags", "0x%04x: the state is not encrypted, and a key was given: is it the right "
                  "directory?", f.flags);
    *state = f.part[PART_DATA];
    if (!sw_bad(&s) && is_encrypted)
        decrypt(&s, &f, key, state, plain);
    *cap = f.part[PART_ENCRYPTED].len;
    return sw_bad(&s) ? s.err : cut_digest(state, why);
}
