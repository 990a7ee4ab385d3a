/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tpm_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/engine/engine.h"
#include "tests/lib/fixture_keys.h"

/* ---- Encoders by ordinal ---- */

struct codec {
    uint32_t ordinal;
    uint8_t handles_in, handles_out;
    void (*encode)(struct wr *w, const void *in);
    void (*decode)(struct rd *r, void *out);
    size_t out_size;
};

#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    static void encode_##snake(struct wr *w, const void *in)                                                 \
    {                                                                                                        \
        wr_##snake##_in(w, in);                                                                              \
    }                                                                                                        \
    static void decode_##snake(struct rd *r, void *out)                                                      \
    {                                                                                                        \
        rd_##snake##_out(r, out);                                                                            \
    }
#include "server/wire/ordinals.def"
#undef ORDINAL

#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    {(ordinal), (handles_in), (handles_out), encode_##snake, decode_##snake, sizeof(struct snake##_out)},
static const struct codec codecs[] = {
#include "server/wire/ordinals.def"
};
#undef ORDINAL

static const struct codec *codec_of(uint32_t ordinal)
{
    for (size_t i = 0; i < VT_COUNT(codecs); i++)
        if (codecs[i].ordinal == ordinal)
            return &codecs[i];
    fail_msg("no ordinal %08x", ordinal);
    return NULL;
}

/* ---- Life ---- */

static int fixture_generate(void *ctx, struct cr_rsa_key *key, unsigned bits, uint32_t e,
                            struct cr_drbg *drbg)
{
    struct tc *tc = ctx;
    unsigned count = bits == 2048 ? FIXTURE_KEYS_2048 : bits == 1024 ? FIXTURE_KEYS_1024 : FIXTURE_KEYS_512;
    const struct cr_rsa_key *fixture = e == 65537 ? fixture_rsa_key(bits, tc->keys_taken++ % count) : NULL;

    if (!fixture)
        return cr_rsa_generate(key, bits, e, drbg);
    *key = *fixture;
    return VT_OK;
}

void tc_new(struct tc *tc, uint8_t seed, bool with_ek)
{
    uint8_t bytes[CR_DRBG_SEED];
    struct tpm_profile profile;

    *tc = (struct tc){.now_us = 1000000};
    assert_int_equal(cr_init(), VT_OK);
    tc->ops = (struct tpm_ops){.ctx = tc, .rsa_generate = fixture_generate};
    memset(bytes, seed, sizeof bytes);
    tpm_profile_pc_client(&profile);
    assert_int_equal(tpm_manufacture(&tc->tpm, &profile, bytes, with_ek, &tc->ops), VT_OK);
    tc_check_frozen(tc);
}

void tc_on(struct tc *tc)
{
    tc_new(tc, 1, true);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
}

void tc_free(struct tc *tc)
{
    tpm_free(tc->tpm);
    tc->tpm = NULL;
}

void tc_init(struct tc *tc)
{
    assert_int_equal(tpm_init(tc->tpm), VT_OK);
    tc_check_frozen(tc);
}

tpm_rc tc_reboot(struct tc *tc, uint16_t startup_type)
{
    struct startup_in in = {.startup_type = startup_type};

    tc_init(tc);
    return TC(tc, TPM_ORD_Startup, &in, NULL);
}

/* ---- Freeze and thaw ---- */

struct frozen {
    size_t permanent_len, volatile_len;
    uint8_t permanent[TPM_FROZEN_PERMANENT_MAX];
    uint8_t state[TPM_FROZEN_VOLATILE_MAX];
};

static struct frozen *freeze(const struct tpm *tpm)
{
    struct frozen *f = VT_NEW(struct frozen);

    assert_non_null(f);
    f->permanent_len = sizeof f->permanent;
    f->volatile_len = sizeof f->state;
    assert_int_equal(tpm_freeze_permanent(tpm, f->permanent, &f->permanent_len), VT_OK);
    assert_int_equal(tpm_freeze_volatile(tpm, f->state, &f->volatile_len), VT_OK);
    return f;
}

void tc_check_frozen(struct tc *tc)
{
    struct frozen *before, *after;
    struct vt_why why = {{0}};
    struct tpm *thawed;

    if (tc->no_freeze)
        return;
    before = freeze(tc->tpm);
    if (tpm_thaw(&thawed, before->permanent, before->permanent_len, before->state, before->volatile_len,
                 &tc->ops, &why))
        fail_msg("thaw: %s", why.text);
    after = freeze(thawed);
    assert_int_equal(before->permanent_len, after->permanent_len);
    assert_memory_equal(before->permanent, after->permanent, before->permanent_len);
    assert_int_equal(before->volatile_len, after->volatile_len);
    assert_memory_equal(before->state, after->state, before->volatile_len);
    vt_free(before);
    vt_free(after);
    tpm_free(tc->tpm);
    tc->tpm = thawed;
}

/* ---- Commands ---- */

static void param_digest(uint8_t out[TPM_DIGEST_LEN], const tpm_rc *rc, uint32_t ordinal,
                         const uint8_t *params, size_t len)
{
    uint8_t head[8];
    struct wr w = wr_to(head, sizeof head);

    if (rc)
        wr_put32(&w, *rc);
    wr_put32(&w, ordinal);
    cr_sha1v(out, (struct cr_slice[]){CR_SLICE(head, w.len), CR_SLICE(params, len)}, 2);
}

static void auth_hmac(struct vt_auth *out, const struct vt_auth *key, const uint8_t digest[TPM_DIGEST_LEN],
                      const struct tc_session *s, uint8_t keep)
{
    cr_hmac_sha1v(out->bytes, key->bytes, sizeof key->bytes,
                  (struct cr_slice[]){CR_SLICE(digest, TPM_DIGEST_LEN),
                                      CR_SLICE(s->even.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(s->odd.bytes, TPM_DIGEST_LEN), CR_SLICE(&keep, 1)},
                  4);
}

static unsigned auth_count(const struct tc_args *args)
{
    return (args->auth[0] != NULL) + (args->auth[1] != NULL);
}

void tc_next_odd(struct tc *tc, struct tc_session *s)
{
    struct wr w = wr_to(s->odd.bytes, sizeof s->odd.bytes);

    wr_put64(&w, ++tc->nonces);
    s->odd_chosen = true;
}

void tc_build(struct tc *tc, uint32_t ordinal, const void *in, const struct tc_args *args)
{
    static const union {
        uint8_t bytes[64];
        uint64_t align;
    } nothing;
    const struct codec *row = codec_of(ordinal);
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd), size;
    uint8_t digest[TPM_DIGEST_LEN];
    size_t params;

    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + auth_count(args)));
    wr_put32(&w, 0);
    wr_put32(&w, ordinal);
    for (unsigned i = 0; i < row->handles_in; i++)
        wr_put32(&w, args->handles[i]);
    params = w.len;
    row->encode(&w, in ? in : &nothing);
    param_digest(digest, NULL, ordinal, tc->cmd + params, w.len - params);
    for (unsigned i = 0; i < auth_count(args); i++) {
        struct tc_session *s = args->auth[i];
        struct tpm_auth_in auth = {.auth_handle = s->handle, .continue_auth_session = !s->ends};

        auth.nonce_odd = s->odd;
        auth_hmac(&auth.auth, &s->secret, digest, s, !s->ends);
        auth.auth.bytes[7] ^= args->wrong_hmac[i];
        wr_auth_in(&w, &auth);
    }
    assert_false(w.bad);
    size = wr_to(tc->cmd + 2, 4);
    wr_put32(&size, (uint32_t)w.len);
    tc->cmd_len = w.len;
}

/* What a part's dirty bit does not announce is as it was: otherwise a kill -9 now would lose it. */
static void check_dirty(const struct tc *tc, const struct frozen *before)
{
    struct frozen *after = freeze(tc->tpm);

    if (!(tc->dirty & TPM_DIRTY_PERMANENT)) {
        assert_int_equal(before->permanent_len, after->permanent_len);
        assert_memory_equal(before->permanent, after->permanent, before->permanent_len);
    }
    if (!(tc->dirty & TPM_DIRTY_VOLATILE)) {
        assert_int_equal(before->volatile_len, after->volatile_len);
        assert_memory_equal(before->state, after->state, before->volatile_len);
    }
    vt_free(after);
}

/* The time alone makes nothing dirty (engine.h): it is told before, so that it is in both. */
static struct frozen *freeze_before(struct tc *tc)
{
    if (tc->no_freeze)
        return NULL;
    if (tpm_is_on(tc->tpm))
        tc->tpm->stany.now_us = VT_MAX(tc->tpm->stany.now_us, tc->now_us);
    return freeze(tc->tpm);
}

/* For tests/spec/map.py: each command that was executed, as "ordinal sessions return-code". */
static void trace(const struct tc *tc, tpm_rc rc)
{
    static FILE *file;
    const char *dir = getenv("VTPM_SPEC_TRACE");
    struct rd r = rd_from(tc->cmd, tc->cmd_len);
    uint16_t tag = rd_get16(&r);
    char path[4096];

    if (!dir)
        return;
    if (!file) {
        snprintf(path, sizeof path, "%s/%s", dir, program_invocation_short_name);
        file = fopen(path, "w");
        assert_non_null(file);
    }
    (void)rd_get32(&r);
    fprintf(file, "%08x %u %x\n", rd_get32(&r), (unsigned)(tag - TPM_TAG_RQU_COMMAND), rc);
}

tpm_rc tc_raw(struct tc *tc)
{
    struct frozen *before = freeze_before(tc);
    struct rd r;
    uint16_t tag;
    tpm_rc rc;

    memset(tc->rsp, tc->fill ? tc->fill : 0xEE, sizeof tc->rsp);
    tpm_execute(tc->tpm, tc->locality, tc->now_us, tc->cmd, tc->cmd_len, tc->rsp, &tc->rsp_len, &tc->dirty);
    if (before)
        check_dirty(tc, before);
    vt_free(before);
    assert_in_range(tc->rsp_len, TPM_HEADER_LEN, TPM_BUFFER);
    r = rd_from(tc->rsp, tc->rsp_len);
    tag = rd_get16(&r);
    assert_int_equal(rd_get32(&r), tc->rsp_len);
    rc = rd_get32(&r);
    if (rc) {
        assert_int_equal(tag, TPM_TAG_RSP_COMMAND);
        assert_int_equal(tc->rsp_len, TPM_HEADER_LEN);
    }
    tc_check_frozen(tc);
    trace(tc, rc);
    if (tc->seen)
        tc->seen(tc, tc->seen_arg);
    return rc;
}

static void read_trailer(struct tc_session *s, struct rd *r, const uint8_t digest[TPM_DIGEST_LEN])
{
    struct tpm_auth_out auth;
    struct vt_auth expected;

    rd_auth_out(r, &auth);
    assert_false(r->bad);
    s->even = auth.nonce_even;
    auth_hmac(&expected, s->has_response_secret ? &s->response_secret : &s->secret, digest, s,
              auth.continue_auth_session);
    assert_memory_equal(&expected, &auth.auth, sizeof expected);
    if (!auth.continue_auth_session)
        s->handle = 0;
}

static void read_success(struct tc *tc, uint32_t ordinal, void *out, const struct tc_args *args)
{
    const struct codec *row = codec_of(ordinal);
    unsigned auths = auth_count(args);
    struct rd r = rd_from(tc->rsp, tc->rsp_len), params;
    uint8_t digest[TPM_DIGEST_LEN];
    uint8_t spare[1024];
    tpm_rc rc = TPM_SUCCESS;

    assert_int_equal(rd_get16(&r), TPM_TAG_RSP_COMMAND + auths);
    rd_take(&r, TPM_HEADER_LEN - 2);
    if (row->handles_out)
        tc->out_handle = rd_get32(&r);
    assert_true(r.left >= auths * (size_t)TPM_AUTH_OUT_LEN);
    params = rd_from(r.at, r.left - auths * (size_t)TPM_AUTH_OUT_LEN);
    param_digest(digest, &rc, ordinal, params.at, params.left);
    rd_take(&r, params.left);
    assert_true(row->out_size <= sizeof spare);
    row->decode(&params, out ? out : spare);
    assert_int_equal(rd_result(&params), TPM_SUCCESS);
    for (unsigned i = 0; i < auths; i++)
        read_trailer(args->auth[i], &r, digest);
    assert_true(rd_done(&r));
}

static void choose_odd(struct tc *tc, struct tc_session *s)
{
    if (!s->odd_chosen)
        tc_next_odd(tc, s);
    s->odd_chosen = false;
}

tpm_rc tc_call(struct tc *tc, uint32_t ordinal, const void *in, void *out, const struct tc_args *args)
{
    tpm_rc rc;

    for (unsigned i = 0; i < auth_count(args); i++)
        choose_odd(tc, args->auth[i]);
    tc_build(tc, ordinal, in, args);
    rc = tc_raw(tc);
    if (!rc)
        read_success(tc, ordinal, out, args);
    return rc;
}

/* ---- Sessions ---- */

tpm_rc tc_oiap(struct tc *tc, struct tc_session *s, const struct vt_auth *secret)
{
    struct oiap_out out;
    tpm_rc rc = TC(tc, TPM_ORD_OIAP, NULL, &out);

    *s = (struct tc_session){.secret = *secret};
    if (rc)
        return rc;
    s->handle = tc->out_handle;
    s->even = out.nonce_even;
    return rc;
}

static void share_secret(struct tc_session *s, const struct vt_auth *secret,
                         const struct tpm_nonce *even_osap)
{
    cr_hmac_sha1v(s->secret.bytes, secret->bytes, sizeof secret->bytes,
                  (struct cr_slice[]){CR_SLICE(even_osap->bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(s->odd.bytes, TPM_DIGEST_LEN)},
                  2);
}

tpm_rc tc_osap(struct tc *tc, struct tc_session *s, uint16_t entity_type, uint32_t entity_value,
               const struct vt_auth *secret)
{
    struct osap_in in = {.entity_type = entity_type, .entity_value = entity_value};
    struct osap_out out;
    tpm_rc rc;

    *s = (struct tc_session){.osap = true};
    choose_odd(tc, s);
    in.nonce_odd_osap = s->odd;
    rc = TC(tc, TPM_ORD_OSAP, &in, &out);
    if (rc)
        return rc;
    s->handle = tc->out_handle;
    s->even = out.nonce_even;
    share_secret(s, secret, &out.nonce_even_osap);
    return rc;
}

tpm_rc tc_dsap(struct tc *tc, struct tc_session *s, uint16_t entity_type, uint32_t key_handle,
               const struct tpm_blob *value, const struct vt_auth *secret)
{
    struct dsap_in in = {.entity_type = entity_type, .key_handle = key_handle, .entity_value = *value};
    struct dsap_out out;
    tpm_rc rc;

    *s = (struct tc_session){.osap = true};
    choose_odd(tc, s);
    in.nonce_odd_dsap = s->odd;
    rc = TC(tc, TPM_ORD_DSAP, &in, &out);
    if (rc)
        return rc;
    s->handle = tc->out_handle;
    s->even = out.nonce_even;
    share_secret(s, secret, &out.nonce_even_dsap);
    return rc;
}

void tc_encrypt_auth(const struct tc_session *s, bool use_odd, bool aes, const struct vt_auth *plain,
                     struct vt_auth *enc)
{
    const struct tpm_nonce *nonce = use_odd ? &s->odd : &s->even;
    uint8_t pad[CR_SHA1_LEN];

    if (aes) {
        assert_int_equal(
            cr_aes128_ctr(s->secret.bytes, nonce->bytes, plain->bytes, sizeof plain->bytes, enc->bytes),
            VT_OK);
        return;
    }
    cr_sha1v(pad,
             (struct cr_slice[]){CR_SLICE(s->secret.bytes, sizeof s->secret.bytes),
                                 CR_SLICE(nonce->bytes, TPM_DIGEST_LEN)},
             2);
    for (size_t i = 0; i < sizeof pad; i++)
        enc->bytes[i] = plain->bytes[i] ^ pad[i];
}

/* ---- Shorthand ---- */

struct vt_auth tc_secret(const char *text)
{
    struct vt_auth auth;

    cr_sha1(auth.bytes, text, strlen(text));
    return auth;
}

tpm_rc tc_presence(struct tc *tc, uint16_t value)
{
    struct tsc_physical_presence_in in = {.physical_presence = value};

    return TC(tc, TSC_ORD_PhysicalPresence, &in, NULL);
}

void tc_assert_presence(struct tc *tc)
{
    assert_int_equal(tc_presence(tc, TPM_PHYSICAL_PRESENCE_PRESENT), TPM_SUCCESS);
}
