/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/evidence/enrol.h"

#include "server/wire/certificate.h"
#include "server/wire/constants.h"
#include "server/wire/structures.h"

#define MAGIC 8
static const char request_magic[] = "vtpm-er1", challenge_magic[] = "vtpm-ec1", answer_magic[] = "vtpm-ea1",
                  secret_magic[] = "vtpm-es1";

/* ---- Pieces ---- */

static void put_head(struct wr *w, const char *magic, enum hwtpm_kind kind)
{
    wr_copy(w, magic, MAGIC);
    wr_put8(w, kind == HWTPM_TPM2 ? 2 : 1);
}

static enum hwtpm_kind get_head(struct rd *r, const char *magic)
{
    const uint8_t *at = rd_take(r, MAGIC);
    const uint8_t kind = rd_get8(r);

    if (!at || memcmp(at, magic, MAGIC) != 0 || kind < 1 || kind > 2)
        r->bad = true;
    return kind == 2 ? HWTPM_TPM2 : HWTPM_TPM12;
}

/* max: of the field in the structure; a length that does not fit there was never written by us. */
static void put_part(struct wr *w, const uint8_t *bytes, uint32_t len, size_t max)
{
    if (len > max) {
        w->bad = true;
        return;
    }
    wr_put16(w, (uint16_t)len);
    wr_copy(w, bytes, len);
}

static uint32_t get_part(struct rd *r, uint8_t *to, size_t max)
{
    uint32_t len = rd_get16(r);

    if (len > max) {
        r->bad = true;
        return 0;
    }
    rd_copy(r, to, len);
    return len;
}

static int written(const struct wr *w, size_t *len)
{
    *len = w->len;
    return w->bad ? VT_ETOOBIG : VT_OK;
}

/* Whole, or nothing of it is left. */
static int taken(const struct rd *r, void *out, size_t size, const char *what, const char *magic,
                 struct vt_why *why)
{
    if (rd_done(r))
        return VT_OK;
    vt_wipe(out, size);
    return vt_fail(why, VT_EUSAGE, "this is no %s (\"%s\"), or it is cut off or goes on after its end", what,
                   magic);
}

/* ---- The files ---- */

int enrol_request_write(uint8_t *out, size_t *len, const struct enrol_request *request)
{
    const struct hwtpm_enrolment *made = &request->made;
    struct wr w = wr_to(out, *len);

    put_head(&w, request_magic, request->kind);
    wr_copy(&w, made->ek.n, sizeof made->ek.n);
    put_part(&w, made->public, made->public_len, sizeof made->public);
    put_part(&w, made->ek_cert, made->ek_cert_len, sizeof made->ek_cert);
    return written(&w, len);
}

int enrol_request_read(struct enrol_request *request, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    struct hwtpm_enrolment *made = &request->made;
    struct rd r = rd_from(bytes, len);

    memset(request, 0, sizeof *request);
    request->kind = get_head(&r, request_magic);
    made->ek = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    rd_copy(&r, made->ek.n, sizeof made->ek.n);
    made->public_len = get_part(&r, made->public, sizeof made->public);
    made->ek_cert_len = get_part(&r, made->ek_cert, sizeof made->ek_cert);
    if (!(made->ek.n[0] & 0x80) || !(made->ek.n[CR_RSA_MAX - 1] & 1))
        r.bad = true;
    return taken(&r, request, sizeof *request, "request of a host", request_magic, why);
}

int enrol_challenge_write(uint8_t *out, size_t *len, const struct enrol_challenge *challenge)
{
    struct wr w = wr_to(out, *len);

    put_head(&w, challenge_magic, challenge->kind);
    wr_copy(&w, challenge->ak, sizeof challenge->ak);
    put_part(&w, challenge->box.credential, challenge->box.credential_len, sizeof challenge->box.credential);
    put_part(&w, challenge->box.secret, challenge->box.secret_len, sizeof challenge->box.secret);
    return written(&w, len);
}

int enrol_challenge_read(struct enrol_challenge *challenge, const uint8_t *bytes, size_t len,
                         struct vt_why *why)
{
    struct rd r = rd_from(bytes, len);

    memset(challenge, 0, sizeof *challenge);
    challenge->kind = get_head(&r, challenge_magic);
    rd_copy(&r, challenge->ak, sizeof challenge->ak);
    challenge->box.credential_len = get_part(&r, challenge->box.credential, sizeof challenge->box.credential);
    challenge->box.secret_len = get_part(&r, challenge->box.secret, sizeof challenge->box.secret);
    return taken(&r, challenge, sizeof *challenge, "challenge", challenge_magic, why);
}

int enrol_answer_write(uint8_t *out, size_t *len, const struct enrol_answer *answer)
{
    struct wr w = wr_to(out, *len);

    put_head(&w, answer_magic, answer->kind);
    wr_copy(&w, answer->ak, sizeof answer->ak);
    put_part(&w, answer->opened.bytes, answer->opened.len, sizeof answer->opened.bytes);
    return written(&w, len);
}

int enrol_answer_read(struct enrol_answer *answer, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(bytes, len);

    memset(answer, 0, sizeof *answer);
    answer->kind = get_head(&r, answer_magic);
    rd_copy(&r, answer->ak, sizeof answer->ak);
    answer->opened.len = get_part(&r, answer->opened.bytes, sizeof answer->opened.bytes);
    return taken(&r, answer, sizeof *answer, "answer of a host", answer_magic, why);
}

int enrol_secret_write(uint8_t *out, size_t *len, const struct enrol_secret *secret)
{
    struct wr w = wr_to(out, *len);

    put_head(&w, secret_magic, secret->kind);
    wr_copy(&w, secret->ek_sha256, sizeof secret->ek_sha256);
    put_part(&w, secret->public, secret->public_len, sizeof secret->public);
    put_part(&w, secret->wanted.bytes, secret->wanted.len, sizeof secret->wanted.bytes);
    return written(&w, len);
}

int enrol_secret_read(struct enrol_secret *secret, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(bytes, len);

    memset(secret, 0, sizeof *secret);
    secret->kind = get_head(&r, secret_magic);
    rd_copy(&r, secret->ek_sha256, sizeof secret->ek_sha256);
    secret->public_len = get_part(&r, secret->public, sizeof secret->public);
    secret->wanted.len = get_part(&r, secret->wanted.bytes, sizeof secret->wanted.bytes);
    return taken(&r, secret, sizeof *secret, "secret of a challenge", secret_magic, why);
}

/* ---- What they say ---- */

void enrol_ak_id(uint8_t id[CR_SHA256_LEN], const uint8_t *public, size_t len)
{
    cr_sha256(id, public, len);
}

/* TPM 2.0 Part 2, 8.3: TPMA_OBJECT. */
static const struct {
    uint32_t bit;
    const char *name;
} needed[] = {
    {1u << 1, "fixedTPM"},    {1u << 4, "fixedParent"}, {1u << 5, "sensitiveDataOrigin"},
    {1u << 16, "restricted"}, {1u << 18, "sign"},
};
#define OBJECT_DECRYPT (1u << 17)

static int check_attributes(uint32_t attributes, struct vt_why *why)
{
    for (size_t k = 0; k < VT_COUNT(needed); k++)
        if (!(attributes & needed[k].bit))
            return vt_fail(why, VT_EAUTH,
                           "the attestation key has not the attribute %s: it could sign what no TPM said",
                           needed[k].name);
    return attributes & OBJECT_DECRYPT
               ? vt_fail(why, VT_EAUTH, "the attestation key has the attribute decrypt, which none has")
               : VT_OK;
}

/* TPM 2.0 Part 2, 12.2.4: TPMT_PUBLIC of an RSA key of 2048 bits: RSASSA with SHA-256. */
static int ak_of_tpm2(struct cr_rsa_pub *key, struct rd *r, struct vt_why *why)
{
    bool good = rd_get16(r) == 0x0001 && rd_get16(r) == 0x000B;
    uint32_t attributes = rd_get32(r), exponent;

    rd_take(r, rd_get16(r)); /* authPolicy */
    good = good && rd_get16(r) == 0x0010 && rd_get16(r) == 0x0014 && rd_get16(r) == 0x000B &&
           rd_get16(r) == 2048;
    exponent = rd_get32(r); /* 0: 65537 */
    good = good && (exponent == 0 || exponent == 65537) && rd_get16(r) == CR_RSA_MAX;
    rd_copy(r, key->n, CR_RSA_MAX);
    if (!good || !rd_done(r))
        return vt_fail(why, VT_EAUTH,
                       "the attestation key is not RSA of 2048 bits that signs by RSASSA with SHA-256");
    return check_attributes(attributes, why);
}

/* TPM 1.2 Part 2, 10.5: TPM_PUBKEY. */
static int ak_of_tpm12(struct cr_rsa_pub *key, struct rd *r, struct vt_why *why)
{
    const struct tpm_key_parms *parms;
    struct tpm_pubkey pub;
    bool good;

    rd_pubkey(r, &pub);
    parms = &pub.algorithm_parms;
    good = !rd_result(r) && parms->algorithm_id == TPM_ALG_RSA && parms->form == TPM_PARMS_RSA &&
           parms->sig_scheme == TPM_SS_RSASSAPKCS1v15_SHA1 && parms->enc_scheme == TPM_ES_NONE &&
           parms->parms.rsa.key_length == 8 * CR_RSA_MAX && parms->parms.rsa.num_primes == 2 &&
           !parms->parms.rsa.exponent.len && pub.pub_key.len == CR_RSA_MAX;
    if (!good)
        return vt_fail(why, VT_EAUTH,
                       "the attestation key is not RSA of 2048 bits that signs by RSASSA with SHA-1");
    memcpy(key->n, pub.pub_key.data, CR_RSA_MAX);
    return VT_OK;
}

int enrol_ak(struct cr_rsa_pub *key, enum hwtpm_kind kind, const uint8_t *public, size_t len,
             struct vt_why *why)
{
    struct rd r = rd_from(public, len);
    int err;

    *key = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    err = kind == HWTPM_TPM2 ? ak_of_tpm2(key, &r, why) : ak_of_tpm12(key, &r, why);
    if (!err && (!(key->n[0] & 0x80) || !(key->n[CR_RSA_MAX - 1] & 1)))
        err = vt_fail(why, VT_EAUTH, "the attestation key's modulus has not 2048 bits, or is even");
    return err;
}

int enrol_ek_cert(const struct enrol_request *request, struct vt_why *why)
{
    const struct hwtpm_enrolment *made = &request->made;
    struct certificate_key key;

    if (!made->ek_cert_len)
        return vt_fail(why, VT_EAUTH,
                       "the request has no certificate of the endorsement key: the TPM has none; name the "
                       "key itself (--key)");
    if (!certificate_key(&key, made->ek_cert, made->ek_cert_len))
        return vt_fail(why, VT_EAUTH,
                       "what the request has as the endorsement key's certificate is none of an RSA key");
    if (key.exponent != made->ek.e || key.modulus.len != sizeof made->ek.n ||
        memcmp(key.modulus.data, made->ek.n, sizeof made->ek.n) != 0)
        return vt_fail(why, VT_EAUTH,
                       "the certificate in the request is of another endorsement key than the request");
    return VT_OK;
}

int enrol_check(const struct enrol_secret *secret, const struct enrol_answer *answer, struct vt_why *why)
{
    uint8_t id[CR_SHA256_LEN];

    enrol_ak_id(id, secret->public, secret->public_len);
    if (answer->kind != secret->kind || memcmp(id, answer->ak, sizeof id) != 0)
        return vt_fail(why, VT_EAUTH, "the answer is about another attestation key than the challenge");
    /* Of one length or the other, but never short: the CA made it. */
    if (secret->wanted.len < 16 || answer->opened.len != secret->wanted.len ||
        !vt_ct_equal(answer->opened.bytes, secret->wanted.bytes, secret->wanted.len))
        return vt_fail(why, VT_EAUTH,
                       "the answer does not hold what was in the challenge: it was not opened by the TPM "
                       "with both keys");
    return VT_OK;
}
