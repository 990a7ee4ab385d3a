/* SPDX-License-Identifier: Apache-2.0 */
/* Transport sessions from the client's side (Part 3, 24.2): one command inside of another. */
#include "tests/fuzz/exec_params.h"

/* What of the parameters, and of the response, is neither hidden nor in the digest. */
static size_t clear_part(uint32_t ordinal, bool out)
{
    switch (ordinal) {
    case TPM_ORD_OIAP:
        return out ? TPM_NONCE_LEN : 0;
    case TPM_ORD_OSAP:
        return out ? 2 * TPM_NONCE_LEN : 2 + 4 + TPM_NONCE_LEN;
    case TPM_ORD_DSAP:
        return out ? 2 * TPM_NONCE_LEN : 2 + 4 + TPM_NONCE_LEN + 4;
    default:
        return 0;
    }
}

/* The pad of AES is the stream itself; of MGF1, the mask. */
static void make_pad(const struct exec_session *s, const struct tpm_transport_public *pub, const char *way,
                     uint8_t *pad, size_t len)
{
    static const uint8_t zeros[TPM_BUFFER];
    uint8_t seed[64];
    struct wr w = wr_to(seed, sizeof seed);

    wr_nonce(&w, &s->even);
    wr_nonce(&w, &s->odd);
    wr_copy(&w, way, strlen(way));
    if (pub->alg_id == TPM_ALG_MGF1) {
        wr_authdata(&w, &s->secret);
        cr_mgf1_sha1(pad, len, seed, w.len);
        return;
    }
    cr_mgf1_sha1(pad, 16, seed, w.len);
    if (pub->enc_scheme == TPM_ES_SYM_CTR) {
        uint8_t counter[16];

        memcpy(counter, pad, sizeof counter);
        FUZZ_CHECK(cr_aes128_ctr(s->secret.bytes, counter, zeros, len, pad) == VT_OK);
        return;
    }
    /* OFB: block n is the encryption of block n - 1. */
    for (size_t at = 0; at < len; at += 16)
        FUZZ_CHECK(cr_aes128_ctr(s->secret.bytes, pad + at, zeros, 16, pad + at + 16) == VT_OK);
    memmove(pad, pad + 16, len);
}

static void crypt(const struct exec *x, const char *way, uint8_t *data, size_t len)
{
    static uint8_t pad[TPM_BUFFER + 32];

    if (!(x->transport.pub.trans_attributes & TPM_TRANSPORT_ENCRYPT))
        return;
    make_pad(&x->transport.s, &x->transport.pub, way, pad, len);
    for (size_t i = 0; i < len; i++)
        data[i] ^= pad[i];
}

void exec_wrap(struct exec *x, struct built *cmd, bool keep)
{
    uint8_t head[8], h1[TPM_DIGEST_LEN], digest[TPM_DIGEST_LEN];
    size_t at = VT_MIN(cmd->params + clear_part(cmd->row->ordinal, false), cmd->len);
    size_t len = cmd->len - at - VT_MIN(cmd->len - at, x->auths * (size_t)TPM_AUTH_IN_LEN);
    struct wr w = wr_to(head, sizeof head), size;
    const uint32_t outer = TPM_HEADER_LEN + 4;

    if (cmd->len + outer + TPM_AUTH_IN_LEN > sizeof cmd->bytes)
        return;
    exec_next_odd(x, &x->transport.s);
    wr_put32(&w, cmd->row->ordinal);
    cr_sha1v(h1, (struct cr_slice[]){CR_SLICE(head, 4), CR_SLICE(cmd->bytes + at, len)}, 2);
    crypt(x, "in", cmd->bytes + at, len);
    w = wr_to(head, sizeof head);
    wr_put32(&w, TPM_ORD_ExecuteTransport);
    wr_put32(&w, (uint32_t)cmd->len);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(head, 8), CR_SLICE(h1, sizeof h1)}, 2);
    memmove(cmd->bytes + outer, cmd->bytes, cmd->len);
    w = wr_to(cmd->bytes, sizeof cmd->bytes);
    wr_put16(&w, TPM_TAG_RQU_AUTH1_COMMAND);
    wr_put32(&w, 0);
    wr_copy(&w, head, sizeof head);
    w.len += cmd->len;
    exec_prove(&w, digest, &x->transport.s, keep, false);
    FUZZ_CHECK(!w.bad);
    cmd->len = w.len;
    size = wr_to(cmd->bytes + 2, 4);
    wr_put32(&size, (uint32_t)cmd->len);
}

/* Decrypts it and counts it as a command of its own. */
static void open_inner(struct exec *x, const struct cmd_row *row, struct response *rsp)
{
    struct rd r = rd_from(rsp->bytes, rsp->len);
    uint16_t tag = rd_get16(&r);
    uint32_t size = rd_get32(&r);
    size_t at = TPM_HEADER_LEN + 4u * row->out_handles + clear_part(row->ordinal, true), trailer;

    rsp->rc = rd_get32(&r);
    FUZZ_CHECK(!r.bad && size == rsp->len);
    fuzz_tpm_count(row->ordinal, rsp->rc);
    if (rsp->rc)
        return;
    trailer = (size_t)(tag - TPM_TAG_RSP_COMMAND) * TPM_AUTH_OUT_LEN;
    FUZZ_CHECK(at + trailer <= rsp->len);
    crypt(x, "out", rsp->bytes + at, rsp->len - at - trailer);
}

void exec_unwrap(struct exec *x, const struct cmd_row *row, struct response *rsp)
{
    struct rd r = rd_from(rsp->bytes, rsp->len);
    struct execute_transport_out out;
    struct tpm_auth_out auth;

    rd_take(&r, TPM_HEADER_LEN);
    FUZZ_CHECK(r.left >= TPM_AUTH_OUT_LEN);
    r.left -= TPM_AUTH_OUT_LEN;
    rd_execute_transport_out(&r, &out);
    FUZZ_CHECK(rd_done(&r));
    r.left = TPM_AUTH_OUT_LEN;
    rd_auth_out(&r, &auth);
    x->transport.s.even = auth.nonce_even;
    if (!auth.continue_auth_session)
        x->transport.s.handle = 0;
    rsp->len = out.wrapped_rsp.len;
    memmove(rsp->bytes, out.wrapped_rsp.data, rsp->len);
    open_inner(x, row, rsp);
}
