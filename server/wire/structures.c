/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part 2's structures: the flat ones from their lists; by hand those whose shape depends on a version, a tag
 * or an algorithm, and lists.
 */
#include "server/wire/structures.h"

#define WIRE_DEFINE(kind, tag) WIRE_FUNCTIONS(kind, struct tpm_##kind, tag, FIELDS_##kind)
WIRE_STRUCTURES_PLAIN(WIRE_DEFINE)
WIRE_STRUCTURES_KEYED(WIRE_DEFINE)

bool tpm_blob_has_tag(const struct tpm_blob *blob, uint16_t tag)
{
    struct rd r = rd_from(blob->data, blob->len);

    return rd_peek16(&r) == tag;
}

/*
 * `count` elements of `size` bytes (at most 20), borrowed. The product fits in 64 bits, and on 32-bit
 * machines the comparison with what is left comes first.
 */
static const uint8_t *rd_array(struct rd *r, uint32_t count, uint32_t size)
{
    uint64_t len = (uint64_t)count * size;

    if (len > r->left)
        r->bad = true;
    return rd_take(r, r->bad ? 0 : (size_t)len);
}

/* ---- 8.1 TPM_PCR_SELECTION ---- */

void rd_pcr_selection(struct rd *r, struct tpm_pcr_selection *out)
{
    *out = (struct tpm_pcr_selection){.size_of_select = rd_get16(r)};
    if (out->size_of_select > TPM_PCR_BYTES) {
        rd_fail(r, TPM_INVALID_PCR_INFO);
        rd_take(r, out->size_of_select);
        return;
    }
    rd_copy(r, out->pcr_select, out->size_of_select);
}

void wr_pcr_selection(struct wr *w, const struct tpm_pcr_selection *in)
{
    if (in->size_of_select > TPM_PCR_BYTES) {
        w->bad = true;
        return;
    }
    wr_put16(w, in->size_of_select);
    wr_copy(w, in->pcr_select, in->size_of_select);
}

/* ---- 10.1 TPM_KEY_PARMS ---- */

static bool is_symmetric(uint32_t algorithm_id)
{
    switch (algorithm_id) {
    case TPM_ALG_DES:
    case TPM_ALG_3DES:
    case TPM_ALG_AES128:
    case TPM_ALG_AES192:
    case TPM_ALG_AES256:
        return true;
    default:
        return false;
    }
}

/*
 * Parms of an RSA key must be TPM_RSA_KEY_PARMS; those of a cipher are left raw if they are something else.
 */
static void rd_parms(struct rd *r, struct tpm_key_parms *out)
{
    struct tpm_blob raw;
    struct rd sub;

    rd_blob32(r, &raw);
    sub = rd_from(raw.data, raw.len);
    if (out->algorithm_id == TPM_ALG_RSA) {
        out->form = TPM_PARMS_RSA;
        rd_rsa_key_parms(&sub, &out->parms.rsa);
        r->bad |= !rd_done(&sub);
        return;
    }
    if (is_symmetric(out->algorithm_id)) {
        out->form = TPM_PARMS_SYM;
        rd_symmetric_key_parms(&sub, &out->parms.sym);
        if (rd_done(&sub))
            return;
    }
    out->form = TPM_PARMS_RAW;
    out->parms.raw = raw;
}

void rd_key_parms(struct rd *r, struct tpm_key_parms *out)
{
    memset(out, 0, sizeof(*out));
    out->algorithm_id = rd_get32(r);
    out->enc_scheme = rd_get16(r);
    out->sig_scheme = rd_get16(r);
    rd_parms(r, out);
}

void wr_key_parms(struct wr *w, const struct tpm_key_parms *in)
{
    size_t begin;

    wr_put32(w, in->algorithm_id);
    wr_put16(w, in->enc_scheme);
    wr_put16(w, in->sig_scheme);
    begin = wr_sized_begin(w);
    switch (in->form) {
    case TPM_PARMS_RAW:
        wr_rest(w, &in->parms.raw);
        break;
    case TPM_PARMS_RSA:
        wr_rsa_key_parms(w, &in->parms.rsa);
        break;
    case TPM_PARMS_SYM:
        wr_symmetric_key_parms(w, &in->parms.sym);
        break;
    }
    wr_sized_end(w, begin);
}

/* ---- 10.2 TPM_KEY, 10.3 TPM_KEY12 ---- */

/* TPM_STRUCT_VER of a 1.1 structure: 1.1; the revisions are not looked at. */
static void rd_version_11(struct rd *r, struct tpm_struct_ver *ver)
{
    rd_struct_ver(r, ver);
    if (ver->major != 1 || ver->minor != 1)
        rd_fail(r, TPM_BAD_VERSION);
}

void rd_key(struct rd *r, struct tpm_key *out)
{
    memset(out, 0, sizeof(*out));
    out->is_12 = rd_peek16(r) >> 8 == 0;
    if (out->is_12) {
        uint16_t tag = rd_get16(r);
        uint16_t fill = rd_get16(r);

        if (tag != TPM_TAG_KEY12 || fill)
            rd_fail(r, TPM_BAD_KEY_PROPERTY);
    } else {
        rd_version_11(r, &out->ver);
    }
    out->key_usage = rd_get16(r);
    out->key_flags = rd_get32(r);
    if (out->key_flags & ~TPM_KEY_FLAGS_MASK)
        rd_fail(r, TPM_BAD_KEY_PROPERTY);
    out->auth_data_usage = rd_get8(r);
    rd_key_parms(r, &out->algorithm_parms);
    rd_blob32(r, &out->pcr_info);
    rd_blob32(r, &out->pub_key);
    rd_blob32(r, &out->enc_data);
}

void wr_key_public(struct wr *w, const struct tpm_key *key)
{
    if (key->is_12) {
        wr_tag(w, TPM_TAG_KEY12);
        wr_put16(w, 0); /* fill */
    } else {
        wr_struct_ver(w, &key->ver);
    }
    wr_put16(w, key->key_usage);
    wr_put32(w, key->key_flags);
    wr_put8(w, key->auth_data_usage);
    wr_key_parms(w, &key->algorithm_parms);
    wr_blob32(w, &key->pcr_info);
    wr_blob32(w, &key->pub_key);
}

void wr_key(struct wr *w, const struct tpm_key *in)
{
    wr_key_public(w, in);
    wr_blob32(w, &in->enc_data);
}

/* ---- 9.1 TPM_STORED_DATA, 9.2 TPM_STORED_DATA12 ---- */

void rd_stored_data(struct rd *r, struct tpm_stored_data *out)
{
    memset(out, 0, sizeof(*out));
    out->is_12 = rd_peek16(r) >> 8 != 1;
    if (out->is_12) {
        if (rd_get16(r) != TPM_TAG_STORED_DATA12)
            rd_fail(r, TPM_BAD_VERSION);
        out->et = rd_get16(r);
    } else {
        rd_version_11(r, &out->ver);
    }
    rd_blob32(r, &out->seal_info);
    rd_blob32(r, &out->enc_data);
}

void wr_stored_data(struct wr *w, const struct tpm_stored_data *in)
{
    if (in->is_12) {
        wr_tag(w, TPM_TAG_STORED_DATA12);
        wr_put16(w, in->et);
    } else {
        wr_struct_ver(w, &in->ver);
    }
    wr_blob32(w, &in->seal_info);
    wr_blob32(w, &in->enc_data);
}

/* ---- 11.1 TPM_CERTIFY_INFO or 11.2 TPM_CERTIFY_INFO2 ---- */

void rd_certify_either(struct rd *r, struct tpm_certify_either *out)
{
    memset(out, 0, sizeof(*out));
    out->is_2 = rd_peek16(r) == TPM_TAG_CERTIFY_INFO2;
    if (out->is_2)
        rd_certify_info2(r, &out->info2);
    else
        rd_certify_info(r, &out->info);
}

void wr_certify_either(struct wr *w, const struct tpm_certify_either *in)
{
    if (in->is_2)
        wr_certify_info2(w, &in->info2);
    else
        wr_certify_info(w, &in->info);
}

/* ---- 5.7 TPM_KEY_HANDLE_LIST, 5.15 TPM_MSA_COMPOSITE ---- */

void rd_key_handle_list(struct rd *r, struct tpm_key_handle_list *out)
{
    out->loaded = rd_get16(r);
    out->handles = rd_array(r, out->loaded, sizeof(uint32_t));
    if (r->bad)
        out->loaded = 0;
}

void wr_key_handle_list(struct wr *w, const struct tpm_key_handle_list *in)
{
    wr_put16(w, in->loaded);
    wr_copy(w, in->handles, in->loaded * sizeof(uint32_t));
}

void rd_msa_composite(struct rd *r, struct tpm_msa_composite *out)
{
    out->msa_list = rd_get32(r);
    if (!out->msa_list)
        rd_fail(r, TPM_INVALID_STRUCTURE);
    out->mig_auth_digest = rd_array(r, out->msa_list, TPM_DIGEST_LEN);
    if (r->bad)
        out->msa_list = 0;
}

void wr_msa_composite(struct wr *w, const struct tpm_msa_composite *in)
{
    const uint8_t *digest = in->mig_auth_digest;

    wr_put32(w, in->msa_list);
    for (uint32_t i = 0; i < in->msa_list && !w->bad; i++)
        wr_copy(w, digest + (size_t)i * TPM_DIGEST_LEN, TPM_DIGEST_LEN);
}

/* ---- 12.6 TPM_IDENTITY_REQ, 12.7 TPM_IDENTITY_PROOF, 12.9 TPM_SYM_CA_ATTESTATION ---- */

/* An area whose size came earlier. */
static void rd_area(struct rd *r, uint32_t size, struct tpm_blob *out)
{
    out->data = rd_take(r, size);
    out->len = r->bad ? 0 : size;
}

void rd_identity_req(struct rd *r, struct tpm_identity_req *out)
{
    uint32_t asym_size = rd_get32(r);
    uint32_t sym_size = rd_get32(r);

    rd_key_parms(r, &out->asym_algorithm);
    rd_key_parms(r, &out->sym_algorithm);
    rd_area(r, asym_size, &out->asym_blob);
    rd_area(r, sym_size, &out->sym_blob);
}

void wr_identity_req(struct wr *w, const struct tpm_identity_req *in)
{
    wr_put32(w, in->asym_blob.len);
    wr_put32(w, in->sym_blob.len);
    wr_key_parms(w, &in->asym_algorithm);
    wr_key_parms(w, &in->sym_algorithm);
    wr_rest(w, &in->asym_blob);
    wr_rest(w, &in->sym_blob);
}

/* The areas of TPM_IDENTITY_PROOF, in the order of their sizes and of themselves. */
#define PROOF_AREAS(A)                                                                                       \
    A(label_area)                                                                                            \
    A(identity_binding) A(endorsement_credential) A(platform_credential) A(conformance_credential)

void rd_identity_proof(struct rd *r, struct tpm_identity_proof *out)
{
    rd_struct_ver(r, &out->ver);
#define READ_SIZE(area) uint32_t area##_size = rd_get32(r);
    PROOF_AREAS(READ_SIZE)
#undef READ_SIZE
    rd_pubkey(r, &out->identity_key);
#define READ_AREA(area) rd_area(r, area##_size, &out->area);
    PROOF_AREAS(READ_AREA)
#undef READ_AREA
}

void wr_identity_proof(struct wr *w, const struct tpm_identity_proof *in)
{
    wr_struct_ver(w, &in->ver);
#define WRITE_SIZE(area) wr_put32(w, in->area.len);
    PROOF_AREAS(WRITE_SIZE)
#undef WRITE_SIZE
    wr_pubkey(w, &in->identity_key);
#define WRITE_AREA(area) wr_rest(w, &in->area);
    PROOF_AREAS(WRITE_AREA)
#undef WRITE_AREA
}

void rd_sym_ca_attestation(struct rd *r, struct tpm_sym_ca_attestation *out)
{
    uint32_t size = rd_get32(r);

    rd_key_parms(r, &out->algorithm);
    rd_area(r, size, &out->credential);
}

void wr_sym_ca_attestation(struct wr *w, const struct tpm_sym_ca_attestation *in)
{
    wr_put32(w, in->credential.len);
    wr_key_parms(w, &in->algorithm);
    wr_rest(w, &in->credential);
}
