/* SPDX-License-Identifier: Apache-2.0 */
/* A client of transport sessions: hides, proves and logs as Part 3, 24 says, without the engine's code. */
#ifndef VTPM_TESTS_SPEC_TRANSPORT_H
#define VTPM_TESTS_SPEC_TRANSPORT_H

#include "server/engine/cmd.h"
#include "tests/spec/spec.h"

struct st {
    struct tc_session s;
    struct tpm_transport_public pub;
    uint8_t digest[TPM_DIGEST_LEN]; /* of the log */
    uint32_t inner;                 /* return code of the last wrapped command */
    uint32_t inner_handle;          /* and its handle */
    bool wrong;                     /* spoil the next proof */
    size_t len;                     /* DATAw of the last wrapped response */
    uint8_t data[TPM_BUFFER];
};

static inline void st_log(struct st *t, const uint8_t *bytes, size_t len)
{
    cr_sha1v(t->digest, (struct cr_slice[]){CR_SLICE(t->digest, TPM_DIGEST_LEN), CR_SLICE(bytes, len)}, 2);
}

static inline void st_log_in(struct st *t, const uint8_t digest[TPM_DIGEST_LEN],
                             const uint8_t key[TPM_DIGEST_LEN])
{
    uint8_t bytes[64] = {0};
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put16(&w, TPM_TAG_TRANSPORT_LOG_IN);
    wr_copy(&w, digest, TPM_DIGEST_LEN);
    if (key)
        memcpy(bytes + w.len, key, TPM_DIGEST_LEN);
    if (t->pub.trans_attributes & TPM_TRANSPORT_LOG)
        st_log(t, bytes, w.len + TPM_DIGEST_LEN);
}

static inline void st_log_out(struct st *t, const uint8_t digest[TPM_DIGEST_LEN],
                              const struct tpm_current_ticks *ticks, uint32_t locality)
{
    uint8_t bytes[96];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put16(&w, TPM_TAG_TRANSPORT_LOG_OUT);
    wr_current_ticks(&w, ticks);
    wr_copy(&w, digest, TPM_DIGEST_LEN);
    wr_put32(&w, locality);
    if (t->pub.trans_attributes & TPM_TRANSPORT_LOG)
        st_log(t, bytes, w.len);
}

/* The session's secret is "transport". Without encryption by TPM_KH_TRANSPORT, else for the SRK. */
static inline tpm_rc st_open(struct tc *tc, struct st *t, uint32_t attributes, uint32_t alg, uint16_t scheme)
{
    struct vt_auth secret = tc_secret("transport"), srk = SPEC_SRK;
    uint8_t plain[2 + TPM_DIGEST_LEN] = {0, TPM_TAG_TRANSPORT_AUTH}, enc[CR_RSA_MAX], digest[TPM_DIGEST_LEN],
                      answer[128];
    struct cr_drbg dice = {.calls = 1};
    struct establish_transport_in in = {.trans_public = {attributes, alg, scheme}};
    struct establish_transport_out out;
    struct tc_session s;
    struct wr w = wr_to(answer, sizeof answer);
    bool hides = attributes & TPM_TRANSPORT_ENCRYPT;
    tpm_rc rc;

    *t = (struct st){.pub = in.trans_public, .s = {.secret = secret}};
    in.secret = (struct tpm_blob){.len = sizeof secret.bytes, .data = secret.bytes};
    memcpy(plain + 2, secret.bytes, sizeof secret.bytes);
    if (hides) {
        assert_int_equal(
            cr_rsa_oaep_encrypt(&tc->tpm->perm.srk.key.rsa.pub, "TCPA", 4, plain, sizeof plain, &dice, enc),
            VT_OK);
        in.secret = (struct tpm_blob){.len = sizeof enc, .data = enc};
        assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
        s.ends = true;
    }
    rc = TC(tc, TPM_ORD_EstablishTransport, &in, &out, .handles = {hides ? TPM_KH_SRK : TPM_KH_TRANSPORT},
            .auth = {hides ? &s : NULL});
    if (rc)
        return rc;
    t->s.handle = tc->out_handle;
    t->s.even = out.trans_nonce_even;
    /* The parameters are what the proof would be over. */
    {
        uint8_t params[CR_RSA_MAX + 32];
        struct wr p = wr_to(params, sizeof params);

        wr_put32(&p, TPM_ORD_EstablishTransport);
        wr_establish_transport_in(&p, &in);
        cr_sha1(digest, params, p.len);
        st_log_in(t, digest, NULL);
    }
    wr_put32(&w, 0);
    wr_put32(&w, TPM_ORD_EstablishTransport);
    wr_establish_transport_out(&w, &out);
    cr_sha1(digest, answer, w.len);
    st_log_out(t, digest, &out.current_ticks, out.locality);
    return rc;
}

static inline void st_crypt(const struct st *t, const char *way, uint8_t *data, size_t len)
{
    uint8_t seed[64], pad[TPM_BUFFER + 16], zeros[TPM_BUFFER] = {0};
    struct wr w = wr_to(seed, sizeof seed);

    if (!(t->pub.trans_attributes & TPM_TRANSPORT_ENCRYPT))
        return;
    wr_nonce(&w, &t->s.even);
    wr_nonce(&w, &t->s.odd);
    wr_copy(&w, way, strlen(way));
    if (t->pub.alg_id == TPM_ALG_MGF1) {
        wr_authdata(&w, &t->s.secret);
        cr_mgf1_sha1(pad, len, seed, w.len);
    } else {
        cr_mgf1_sha1(pad, 16, seed, w.len);
        if (t->pub.enc_scheme == TPM_ES_SYM_CTR) {
            uint8_t ctr[16];

            memcpy(ctr, pad, 16);
            assert_int_equal(cr_aes128_ctr(t->s.secret.bytes, ctr, zeros, len, pad), VT_OK);
        } else {
            /* Block n of the pad is the encryption of block n - 1, the IV being the first. */
            for (size_t at = 0; at < len; at += 16)
                assert_int_equal(cr_aes128_ctr(t->s.secret.bytes, pad + at, zeros, 16, pad + at + 16), VT_OK);
            memmove(pad, pad + 16, len);
        }
    }
    for (size_t i = 0; i < len; i++)
        data[i] ^= pad[i];
}

static inline void st_hash(uint8_t out[TPM_DIGEST_LEN], const uint32_t *numbers, size_t count,
                           const void *data, size_t len)
{
    uint8_t head[32];
    struct wr w = wr_to(head, sizeof head);

    for (size_t i = 0; i < count; i++)
        wr_put32(&w, numbers[i]);
    cr_sha1v(out, (struct cr_slice[]){CR_SLICE(head, w.len), CR_SLICE(data, len)}, 2);
}

/* What of the parameters is neither hidden nor logged, and of the response. */
static inline size_t st_clear(uint32_t ordinal, bool out)
{
    if (ordinal == TPM_ORD_OSAP || ordinal == TPM_ORD_DSAP)
        return out ? 40 : ordinal == TPM_ORD_OSAP ? 26 : 30;
    return out && ordinal == TPM_ORD_OIAP ? 20 : 0;
}

/* Reads the response of TPM_ExecuteTransport. */
static inline void st_answer(struct tc *tc, struct st *t, uint32_t ordinal)
{
    const struct cmd_row *row = cmd_row_find(ordinal);
    struct rd r = rd_from(tc->rsp, tc->rsp_len), in;
    uint64_t ticks;
    uint32_t locality, size;
    uint8_t wrapped[TPM_BUFFER], h2[TPM_DIGEST_LEN], digest[TPM_DIGEST_LEN], head[64];
    struct tpm_auth_out auth;
    struct wr w = wr_to(head, sizeof head);
    struct vt_auth expected;
    size_t at, trailer;
    uint16_t tag;

    (void)rd_take(&r, TPM_HEADER_LEN);
    ticks = rd_get64(&r);
    locality = rd_get32(&r);
    size = rd_get32(&r);
    rd_copy(&r, wrapped, size);
    rd_auth_out(&r, &auth);
    assert_true(rd_done(&r));
    t->s.even = auth.nonce_even;
    in = rd_from(wrapped, size);
    tag = rd_get16(&in);
    assert_int_equal(rd_get32(&in), size);
    t->inner = rd_get32(&in);
    t->inner_handle = !t->inner && row->out_handles ? rd_get32(&in) : 0;
    trailer = (size_t)(tag - TPM_TAG_RSP_COMMAND) * TPM_AUTH_OUT_LEN;
    at = t->inner ? size : TPM_HEADER_LEN + 4u * row->out_handles + st_clear(ordinal, true);
    t->len = size - at - trailer;
    st_crypt(t, "out", wrapped + at, t->len);
    memcpy(t->data, wrapped + at, t->len);
    st_hash(h2, (uint32_t[]){t->inner, ordinal}, 2, t->data, t->len);
    wr_put32(&w, 0);
    wr_put32(&w, TPM_ORD_ExecuteTransport);
    wr_put64(&w, ticks);
    wr_put32(&w, locality);
    wr_put32(&w, size);
    wr_copy(&w, h2, sizeof h2);
    cr_sha1(digest, head, w.len);
    cr_hmac_sha1v(expected.bytes, t->s.secret.bytes, TPM_DIGEST_LEN,
                  (struct cr_slice[]){CR_SLICE(digest, sizeof digest),
                                      CR_SLICE(auth.nonce_even.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(t->s.odd.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(&(uint8_t){auth.continue_auth_session}, 1)},
                  4);
    assert_memory_equal(&expected, &auth.auth, sizeof expected);
    if (!auth.continue_auth_session)
        t->s.handle = 0;
    {
        struct tpm_current_ticks now = {.current_ticks = ticks, .tick_rate = 1};

        memcpy(now.tick_nonce.bytes, tc->tpm->stany.tick_nonce, TPM_DIGEST_LEN);
        st_log_out(t, h2, &now, locality);
    }
}

/* TPM_ExecuteTransport of the command in tc->cmd; key_hash may be NULL. Its return code; the inner one is
 * t->inner. */
static inline tpm_rc st_send(struct tc *tc, struct st *t, const uint8_t *key_hash)
{
    uint8_t wrapped[TPM_BUFFER], h1[TPM_DIGEST_LEN], digest[TPM_DIGEST_LEN];
    size_t size = tc->cmd_len, at, trailer;
    struct rd r = rd_from(tc->cmd, size);
    uint16_t tag = rd_get16(&r);
    struct tpm_auth_in auth = {.auth_handle = t->s.handle, .continue_auth_session = !t->s.ends};
    uint32_t ordinal;
    struct wr w, len;
    tpm_rc rc;

    (void)rd_get32(&r);
    ordinal = rd_get32(&r);
    memcpy(wrapped, tc->cmd, size);
    tc_next_odd(tc, &t->s);
    trailer = (size_t)(tag - TPM_TAG_RQU_COMMAND) * TPM_AUTH_IN_LEN;
    at = TPM_HEADER_LEN + 4u * cmd_row_find(ordinal)->handle_count + st_clear(ordinal, false);
    st_hash(h1, &ordinal, 1, wrapped + at, size - at - trailer);
    st_crypt(t, "in", wrapped + at, size - at - trailer);
    st_hash(digest, (uint32_t[]){TPM_ORD_ExecuteTransport, (uint32_t)size}, 2, h1, sizeof h1);
    auth.nonce_odd = t->s.odd;
    cr_hmac_sha1v(
        auth.auth.bytes, t->s.secret.bytes, TPM_DIGEST_LEN,
        (struct cr_slice[]){CR_SLICE(digest, sizeof digest), CR_SLICE(t->s.even.bytes, TPM_DIGEST_LEN),
                            CR_SLICE(t->s.odd.bytes, TPM_DIGEST_LEN), CR_SLICE(&(uint8_t){!t->s.ends}, 1)},
        4);
    auth.auth.bytes[3] ^= t->wrong;
    w = wr_to(tc->cmd, sizeof tc->cmd);
    wr_put16(&w, TPM_TAG_RQU_AUTH1_COMMAND);
    wr_put32(&w, 0);
    wr_put32(&w, TPM_ORD_ExecuteTransport);
    wr_put32(&w, (uint32_t)size);
    wr_copy(&w, wrapped, size);
    wr_auth_in(&w, &auth);
    assert_false(w.bad);
    len = wr_to(tc->cmd + 2, 4);
    wr_put32(&len, (uint32_t)w.len);
    tc->cmd_len = w.len;
    rc = tc_raw(tc);
    if (rc)
        return rc;
    st_log_in(t, h1, key_hash);
    st_answer(tc, t, ordinal);
    return rc;
}

static inline tpm_rc st_call(struct tc *tc, struct st *t, uint32_t ordinal, const void *in,
                             const struct tc_args *args)
{
    tc_build(tc, ordinal, in, args);
    return st_send(tc, t, NULL);
}
#define ST(tc, t, ordinal, in, ...)                                                                          \
    st_call((tc), (t), (ordinal), (in), &(struct tc_args){.none = 0, ##__VA_ARGS__})

#endif
