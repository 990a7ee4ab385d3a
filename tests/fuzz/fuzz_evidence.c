/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verifier and a CA read, who trust nobody: a deep quote (docs/attestation.md), and the four files of
 * `host-ak certify`. The first byte chooses the reader. A quote is checked twice: as it is, and with a
 * signature of a key of ours over its message, so that what lies behind the signature is reached.
 */
#include "server/core/evidence/enrol.h"
#include "server/core/evidence/evidence.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/fixture_keys.h"

static struct cr_rsa *key;

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    FUZZ_CHECK(cr_init() == VT_OK);
    FUZZ_CHECK(!cr_rsa_load(&key, fixture_rsa_key(2048, 0)));
    return 0;
}

/* ---- Deep quotes ---- */

static void sign(struct evidence *e)
{
    /* RFC 8017, 9.2, note 1: DigestInfo of SHA-256. */
    uint8_t info[19 + CR_SHA256_LEN] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                        0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

    e->quote.signature_len = CR_RSA_MAX;
    if (e->kind == HWTPM_TPM2) {
        cr_sha256(info + 19, e->quote.message, e->quote.message_len);
        FUZZ_CHECK(!cr_rsa_sign(key, CR_SIG_PKCS1_RAW, info, sizeof info, e->quote.signature));
    } else {
        cr_sha1(info, e->quote.message, e->quote.message_len);
        FUZZ_CHECK(!cr_rsa_sign(key, CR_SIG_PKCS1_SHA1, info, CR_SHA1_LEN, e->quote.signature));
    }
}

/* A message that passes has the digest of the statement in it. */
static void check_bound(const struct evidence *e)
{
    const size_t len = e->kind == HWTPM_TPM2 ? 32 : 20;
    uint8_t bound[32];
    bool found = false;

    evidence_bound(bound, &e->text);
    for (size_t at = 0; at + len <= e->quote.message_len; at++)
        found |= !memcmp(e->quote.message + at, bound, len);
    FUZZ_CHECK(found);
}

static void check_statement(const struct evidence *e)
{
    struct evidence_text again;

    evidence_statement_write(&again, &e->statement);
    FUZZ_CHECK(again.len == e->text.len && !memcmp(again.bytes, e->text.bytes, again.len));
    FUZZ_CHECK(!(e->statement.mask >> EVIDENCE_PCRS));
}

static void fuzz_quote(const uint8_t *bytes, size_t len)
{
    static struct evidence e;
    uint8_t again[EVIDENCE_MAX];
    size_t again_len = sizeof again;
    struct vt_why why = {{0}};
    int err = evidence_read(&e, bytes, len, &why);

    FUZZ_CHECK(err == VT_OK || (err == VT_EUSAGE && why.text[0]));
    if (err)
        return;
    check_statement(&e);
    FUZZ_CHECK(!evidence_write(again, &again_len, e.kind, &e.text, &e.quote));
    FUZZ_CHECK(again_len == len && !memcmp(again, bytes, len));
    err = evidence_check(&e, cr_rsa_public(key), &why);
    FUZZ_CHECK(err == VT_OK || (err == VT_EAUTH && why.text[0]));
    sign(&e);
    why.text[0] = '\0';
    if (!evidence_check(&e, cr_rsa_public(key), &why))
        check_bound(&e);
    else
        FUZZ_CHECK(why.text[0]);
}

/* ---- The files of an enrolment ---- */

/* Either all of it is there and writes back the same, or nothing of it is left. */
#define FUZZ_FILE(name)                                                                                      \
    static struct enrol_##name name;                                                                         \
    static bool take_##name(const uint8_t *bytes, size_t len)                                                \
    {                                                                                                        \
        static const struct enrol_##name nothing;                                                            \
        uint8_t again[ENROL_MAX];                                                                            \
        size_t again_len = sizeof again;                                                                     \
        struct vt_why why = {{0}};                                                                           \
        int err = enrol_##name##_read(&name, bytes, len, &why);                                              \
                                                                                                             \
        FUZZ_CHECK(err == VT_OK || (err == VT_EUSAGE && why.text[0]));                                       \
        if (err) {                                                                                           \
            FUZZ_CHECK(!memcmp(&name, &nothing, sizeof nothing));                                            \
            return false;                                                                                    \
        }                                                                                                    \
        FUZZ_CHECK(!enrol_##name##_write(again, &again_len, &name));                                         \
        FUZZ_CHECK(again_len == len && !memcmp(again, bytes, len));                                          \
        return true;                                                                                         \
    }
FUZZ_FILE(request)
FUZZ_FILE(challenge)
FUZZ_FILE(answer)
FUZZ_FILE(secret)

static void check_key(enum hwtpm_kind kind, const uint8_t *public, size_t len)
{
    struct vt_why why = {{0}};
    struct cr_rsa_pub ak;
    int err = enrol_ak(&ak, kind, public, len, &why);

    FUZZ_CHECK(err == VT_OK || (err == VT_EAUTH && why.text[0]));
    if (!err)
        FUZZ_CHECK(ak.bytes == CR_RSA_MAX && ak.e == 65537 && ak.n[0] & 0x80 && ak.n[CR_RSA_MAX - 1] & 1);
}

static void fuzz_request(const uint8_t *bytes, size_t len)
{
    if (!take_request(bytes, len))
        return;
    check_key(request.kind, request.made.public, request.made.public_len);
    (void)!enrol_ek_cert(&request, NULL);
}

/* The answer of this input to a secret that is another's. */
static void fuzz_answer(const uint8_t *bytes, size_t len)
{
    static const struct enrol_secret others = {.kind = HWTPM_TPM2, .wanted = {.len = 32, .bytes = {1, 2, 3}}};

    if (take_answer(bytes, len) && !enrol_check(&others, &answer, NULL))
        FUZZ_CHECK(answer.opened.len == 32 && !memcmp(answer.opened.bytes, others.wanted.bytes, 32));
}

static void fuzz_secret(const uint8_t *bytes, size_t len)
{
    struct enrol_answer right;

    if (!take_secret(bytes, len))
        return;
    check_key(secret.kind, secret.public, secret.public_len);
    right = (struct enrol_answer){.kind = secret.kind, .opened = secret.wanted};
    enrol_ak_id(right.ak, secret.public, secret.public_len);
    FUZZ_CHECK(!enrol_check(&secret, &right, NULL) == (secret.wanted.len >= 16));
    right.ak[31] ^= 1;
    FUZZ_CHECK(enrol_check(&secret, &right, NULL) == VT_EAUTH);
}

enum { QUOTE, REQUEST, CHALLENGE, ANSWER, SECRET, READERS };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};

    switch (fuzz_u8(&src) % READERS) {
    case QUOTE:
        fuzz_quote(src.at, src.left);
        break;
    case REQUEST:
        fuzz_request(src.at, src.left);
        break;
    case CHALLENGE:
        (void)!take_challenge(src.at, src.left);
        break;
    case ANSWER:
        fuzz_answer(src.at, src.left);
        break;
    default:
        fuzz_secret(src.at, src.left);
        break;
    }
    return 0;
}

/* ---- Seeds ---- */

static void emit_one(fuzz_emit emit, void *arg, uint8_t mode, const char *name, const uint8_t *bytes,
                     size_t len)
{
    uint8_t whole[1 + ENROL_MAX] = {mode};

    memcpy(whole + 1, bytes, len);
    emit(arg, name, whole, 1 + len);
}

/* The message that a TPM would have made, so that every check passes. */
static void put_message(struct evidence *e)
{
    struct hwtpm_quote *q = &e->quote;
    struct wr w = wr_to(q->message, sizeof q->message);
    uint8_t bound[32], digest[CR_SHA256_LEN];

    evidence_bound(bound, &e->text);
    if (e->kind == HWTPM_TPM2) {
        cr_sha256(digest, q->pcrs.value[0], CR_SHA256_LEN);
        wr_copy(&w, (const uint8_t[]){0xFF, 'T', 'C', 'G', 0x80, 0x18, 0, 2, 0, 0x0B, 0, 32}, 12);
        wr_copy(&w, bound, 32);
        wr_copy(&w, (const uint8_t[25]){0}, 25);
        wr_copy(&w, (const uint8_t[]){0, 0, 0, 1, 0, 0x0B, 3, 1, 0, 0, 0, 32}, 12);
        wr_copy(&w, digest, 32);
    } else {
        uint8_t composite[9 + CR_SHA1_LEN] = {0, 3, 1, 0, 0, 0, 0, 0, CR_SHA1_LEN};

        memcpy(composite + 9, q->pcrs.value[0], CR_SHA1_LEN);
        cr_sha1(digest, composite, sizeof composite);
        wr_copy(&w, (const uint8_t[]){1, 1, 0, 0, 'Q', 'U', 'O', 'T'}, 8);
        wr_copy(&w, digest, CR_SHA1_LEN);
        wr_copy(&w, bound, CR_SHA1_LEN);
    }
    q->message_len = (uint32_t)w.len;
}

static void emit_quote(fuzz_emit emit, void *arg, enum hwtpm_kind kind, const char *name)
{
    struct evidence_statement said = {
        .epoch = 3, .seq = 4, .origin = EVIDENCE_GUEST, .nonce = {5}, .mask = 0x401};
    struct evidence e = {.kind = kind, .quote.pcrs = {.mask = 1, .len = kind == HWTPM_TPM2 ? 32 : 20}};
    uint8_t bytes[EVIDENCE_MAX];
    size_t len = sizeof bytes;

    evidence_statement_write(&e.text, &said);
    put_message(&e);
    sign(&e);
    FUZZ_CHECK(!evidence_check(&e, cr_rsa_public(key), NULL));
    FUZZ_CHECK(!evidence_write(bytes, &len, kind, &e.text, &e.quote));
    emit_one(emit, arg, QUOTE, name, bytes, len);
}

/* An attestation key as its TPM tells of it. */
static uint32_t put_public(uint8_t *out, size_t cap, enum hwtpm_kind kind)
{
    struct wr w = wr_to(out, cap);

    if (kind == HWTPM_TPM2)
        wr_copy(&w, (const uint8_t[]){0, 1,    0, 0x0B, 0, 5, 4, 0x72, 0, 0, 0, 0x10,
                                      0, 0x14, 0, 0x0B, 8, 0, 0, 0,    0, 0, 1, 0},
                24);
    else
        wr_copy(&w, (const uint8_t[]){0, 0, 0, 1, 0, 1, 0, 2, 0, 0, 0, 12, 0, 0,
                                      8, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,  1, 0},
                28);
    wr_copy(&w, cr_rsa_public(key)->n, CR_RSA_MAX);
    return (uint32_t)w.len;
}

static void emit_files(fuzz_emit emit, void *arg, enum hwtpm_kind kind)
{
    struct enrol_challenge box = {.kind = kind,
                                  .box = {.credential_len = kind == HWTPM_TPM2 ? 68 : 0, .secret_len = 256}};
    struct enrol_answer told = {.kind = kind,
                                .opened = {.len = kind == HWTPM_TPM2 ? 32 : 16, .bytes = {1, 2, 3}}};
    struct enrol_secret kept = {.kind = kind, .wanted = told.opened};
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;

    request = (struct enrol_request){.kind = kind, .made.ek = *cr_rsa_public(key)};
    request.made.public_len = put_public(request.made.public, sizeof request.made.public, kind);
    check_key(kind, request.made.public, request.made.public_len);
    FUZZ_CHECK(!enrol_request_write(bytes, &len, &request));
    emit_one(emit, arg, REQUEST, kind == HWTPM_TPM2 ? "seed-request2" : "seed-request12", bytes, len);
    len = sizeof bytes;
    FUZZ_CHECK(!enrol_challenge_write(bytes, &len, &box));
    emit_one(emit, arg, CHALLENGE, kind == HWTPM_TPM2 ? "seed-challenge2" : "seed-challenge12", bytes, len);
    enrol_ak_id(told.ak, bytes, 0);
    len = sizeof bytes;
    FUZZ_CHECK(!enrol_answer_write(bytes, &len, &told));
    emit_one(emit, arg, ANSWER, kind == HWTPM_TPM2 ? "seed-answer2" : "seed-answer12", bytes, len);
    kept.public_len = put_public(kept.public, sizeof kept.public, kind);
    len = sizeof bytes;
    FUZZ_CHECK(!enrol_secret_write(bytes, &len, &kept));
    emit_one(emit, arg, SECRET, kind == HWTPM_TPM2 ? "seed-secret2" : "seed-secret12", bytes, len);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    emit_quote(emit, arg, HWTPM_TPM2, "seed-quote2");
    emit_quote(emit, arg, HWTPM_TPM12, "seed-quote12");
    emit_files(emit, arg, HWTPM_TPM2);
    emit_files(emit, arg, HWTPM_TPM12);
}
