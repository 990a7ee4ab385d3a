/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/tls.h"

#include <mbedtls/cipher.h>
#include <mbedtls/ecp.h>
#include <mbedtls/md.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/version.h>

#include "server/base/alloc.h"

#define TLS_IS_3 (MBEDTLS_VERSION_NUMBER >= 0x03000000)

#if TLS_IS_3 && (defined(MBEDTLS_SSL_PROTO_TLS1_3) || defined(MBEDTLS_USE_PSA_CRYPTO))
#include <psa/crypto.h>
#define TLS_NEEDS_PSA 1
#else
#define TLS_NEEDS_PSA 0
#endif

/* 3.x hides the fields of its structures behind this name. */
#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(field) field
#endif

/* One read of 64 KiB and the rest of a record fit. */
#define INPUT_MAX  (96u * 1024)
#define OUTPUT_MAX (96u * 1024)
#define READ_CHUNK 512
/* Buffers this small stay when they are empty: a command and what TLS adds. */
#define KEEP_MAX 256
/* More than what a record adds to its plaintext: header 5, nonce at most 8, tag 16. */
#define RECORD_OVERHEAD 64
#define RECORD_MAX      (16u * 1024)
/* Of a buffer of mbedTLS: its counter and most of what is ever written. */
#define USED_MIN        512

struct tls {
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config conf;
    struct vt_buf in;
    struct vt_buf out;
    bool server;
    bool is_open;
    bool is_closed;   /* close_notify was queued */
    int failed;       /* the first error stays */
    tls_random_fn random;
    void *random_ctx;
    tls_psk_fn psk;
    void *psk_ctx;
    tls_spare_fn spare;
    bool known;
    char identity[TLS_IDENTITY_MAX + 1];
};

static const int suites[] = {MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, 0};

/* ---- Transport ---- */

static int on_send(void *ctx, const unsigned char *bytes, size_t len)
{
    struct tls *tls = ctx;

    if (len > INT32_MAX || vt_buf_put(&tls->out, bytes, len))
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    return (int)len;
}

static int on_receive(void *ctx, unsigned char *bytes, size_t len)
{
    struct tls *tls = ctx;
    size_t n = VT_MIN(len, vt_buf_size(&tls->in));

    if (!n)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(bytes, vt_buf_bytes(&tls->in), n);
    vt_buf_drop(&tls->in, n);
    /* Most connections are idle most of the time: they keep no large buffer. */
    if (!vt_buf_size(&tls->in) && tls->in.cap > KEEP_MAX)
        vt_buf_free(&tls->in);
    return (int)n;
}

/* ---- Keys ---- */

static bool printable(const unsigned char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            return false;
    return len > 0 && len <= TLS_IDENTITY_MAX;
}

/*
 * PROTOCOL.md, "Identities": whatever the peer names, the handshake goes on with some key, and the work is the same.
 * The key of an unknown identity is drawn here each time, so that nobody can know it.
 */
static int on_psk(void *ctx, mbedtls_ssl_context *ssl, const unsigned char *identity, size_t len)
{
    struct tls *tls = ctx;
    bool good = printable(identity, len);
    bool known = false;
    VT_SECRET_KEY key = {{0}};
    VT_SECRET_KEY decoy = {{0}};

    if (tls->random(tls->random_ctx, decoy.bytes, sizeof decoy.bytes) < 0)
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    memset(tls->identity, 0, sizeof tls->identity);
    if (good)
        memcpy(tls->identity, identity, len);
    tls->psk(tls->psk_ctx, tls->identity, &key, &known);
    tls->known = good && known;
    return mbedtls_ssl_set_hs_psk(ssl, tls->known ? key.bytes : decoy.bytes, sizeof key.bytes);
}

static int set_client_key(struct tls *tls, const struct tls_config *config)
{
    size_t len = strlen(config->identity);

    if (!printable((const unsigned char *)config->identity, len))
        return VT_EUSAGE;
    memcpy(tls->identity, config->identity, len);
    if (mbedtls_ssl_conf_psk(&tls->conf, config->key->bytes, sizeof config->key->bytes,
                             (const unsigned char *)config->identity, len))
        return VT_ENOMEM;
    return VT_OK;
}

/* ---- Profile ---- */

static void set_versions(mbedtls_ssl_config *conf)
{
#if TLS_IS_3
    static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

    mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(conf, groups);
#else
    static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_NONE};

    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_max_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(conf, curves);
#endif
}

/* PROTOCOL.md, "TLS profile". There is no session cache because none is ever set. */
static int set_profile(struct tls *tls)
{
    int endpoint = tls->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;

    if (mbedtls_ssl_config_defaults(&tls->conf, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT))
        return VT_ENOMEM;
    set_versions(&tls->conf);
    mbedtls_ssl_conf_ciphersuites(&tls->conf, suites);
    mbedtls_ssl_conf_rng(&tls->conf, tls->random, tls->random_ctx);
#ifdef MBEDTLS_SSL_EXTENDED_MASTER_SECRET
    mbedtls_ssl_conf_extended_master_secret(&tls->conf, MBEDTLS_SSL_EXTENDED_MS_ENABLED);
#endif
#if defined(MBEDTLS_SSL_SESSION_TICKETS) && defined(MBEDTLS_SSL_CLI_C)
    mbedtls_ssl_conf_session_tickets(&tls->conf, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
#endif
#ifdef MBEDTLS_SSL_RENEGOTIATION
    mbedtls_ssl_conf_renegotiation(&tls->conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
    return VT_OK;
}

static int prepare(struct tls *tls, const struct tls_config *config)
{
    int err;

#if TLS_NEEDS_PSA
    if (psa_crypto_init() != PSA_SUCCESS)
        return VT_ECRYPTO;
#endif
    err = set_profile(tls);
    if (err)
        return err;
    if (tls->server)
        mbedtls_ssl_conf_psk_cb(&tls->conf, on_psk, tls);
    else
        err = set_client_key(tls, config);
    if (err)
        return err;
    if (mbedtls_ssl_setup(&tls->ssl, &tls->conf))
        return VT_ENOMEM;
    mbedtls_ssl_set_bio(&tls->ssl, tls, on_send, on_receive, NULL);
    return VT_OK;
}

int tls_new(struct tls **tls_out, const struct tls_config *config)
{
    struct tls *tls;
    int err;

    if (!config->random || (config->server ? !config->psk : !config->identity || !config->key))
        return VT_EUSAGE;
    tls = VT_NEW(struct tls);
    if (!tls)
        return VT_ENOMEM;
    tls->server = config->server;
    tls->random = config->random;
    tls->random_ctx = config->random_ctx;
    tls->psk = config->psk;
    tls->psk_ctx = config->psk_ctx;
    tls->spare = config->spare;
    vt_buf_init(&tls->in, INPUT_MAX);
    vt_buf_init(&tls->out, OUTPUT_MAX);
    mbedtls_ssl_init(&tls->ssl);
    mbedtls_ssl_config_init(&tls->conf);
    err = prepare(tls, config);
    if (err) {
        tls_free(tls);
        return err;
    }
    *tls_out = tls;
    return VT_OK;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    mbedtls_ssl_free(&tls->ssl);
    mbedtls_ssl_config_free(&tls->conf);
    vt_buf_free(&tls->in);
    vt_buf_free(&tls->out);
    vt_free_wiped(tls, sizeof *tls);
}

/* ---- Running ---- */

int tls_feed(struct tls *tls, const void *bytes, size_t len)
{
    return vt_buf_put(&tls->in, bytes, len);
}

struct vt_buf *tls_output(struct tls *tls)
{
    return &tls->out;
}

static bool is_memory_error(int code)
{
    return code == MBEDTLS_ERR_SSL_ALLOC_FAILED || code == MBEDTLS_ERR_MPI_ALLOC_FAILED ||
           code == MBEDTLS_ERR_ECP_ALLOC_FAILED || code == MBEDTLS_ERR_MD_ALLOC_FAILED ||
           code == MBEDTLS_ERR_CIPHER_ALLOC_FAILED;
}

/* The alerts by which a peer says that the two keys differ (RFC 5246, 7.2; RFC 4279, 2). */
static bool is_key_alert(unsigned char alert)
{
    return alert == MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC || alert == MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR ||
           alert == MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED ||
           alert == MBEDTLS_SSL_ALERT_MSG_UNKNOWN_PSK_IDENTITY;
}

static int handshake_error(struct tls *tls, int code, struct vt_why *why)
{
    if (is_memory_error(code))
        return vt_fail(why, VT_ENOMEM, "TLS: out of memory");
    if (code == MBEDTLS_ERR_SSL_INVALID_MAC)
        return vt_fail(why, VT_EAUTH, "the peer does not hold the key of identity \"%s\"", tls->identity);
    if (code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return vt_fail(why, VT_EPROTO, "the peer closed during the TLS handshake");
    if (code != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        return vt_fail(why, VT_EPROTO, "TLS handshake failed (mbedTLS -0x%04x)", (unsigned)-code);
    /* The library has no function that tells which alert it was. */
    if (is_key_alert(tls->ssl.MBEDTLS_PRIVATE(in_msg)[1]))
        return vt_fail(why, VT_EAUTH, "the peer refused identity \"%s\" or its key", tls->identity);
    return vt_fail(why, VT_EPROTO, "the peer ended the TLS handshake with alert %u",
                   tls->ssl.MBEDTLS_PRIVATE(in_msg)[1]);
}

/*
 * mbedTLS keeps two buffers of a whole record for as long as a connection lives, and our records are short. Between two
 * records it reads nothing of them but the counter in their first bytes.
 */
static void spare_buffers(const struct tls *tls)
{
#ifndef MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH /* else the library has made them smaller by itself */
    const mbedtls_ssl_context *ssl = &tls->ssl;

    if (!tls->spare || ssl->MBEDTLS_PRIVATE(in_left) || ssl->MBEDTLS_PRIVATE(in_offt) || ssl->MBEDTLS_PRIVATE(out_left))
        return;
    tls->spare(ssl->MBEDTLS_PRIVATE(in_buf) + USED_MIN, MBEDTLS_SSL_IN_CONTENT_LEN - USED_MIN);
    tls->spare(ssl->MBEDTLS_PRIVATE(out_buf) + USED_MIN, MBEDTLS_SSL_OUT_CONTENT_LEN - USED_MIN);
#else
    (void)tls;
#endif
}

int tls_handshake(struct tls *tls, struct vt_why *why)
{
    int code;

    if (tls->failed)
        return vt_fail(why, tls->failed, "TLS: %s", vt_err_text(tls->failed));
    if (tls->is_open)
        return VT_OK;
    code = mbedtls_ssl_handshake(&tls->ssl);
    if (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE)
        return VT_EAGAIN;
    if (code) {
        tls->failed = handshake_error(tls, code, why);
        return tls->failed;
    }
    tls->is_open = true;
    spare_buffers(tls);
    return VT_OK;
}

bool tls_is_open(const struct tls *tls)
{
    return tls->is_open && !tls->failed;
}

const char *tls_identity(const struct tls *tls)
{
    return tls->identity;
}

bool tls_identity_known(const struct tls *tls)
{
    return tls->known;
}

static int read_error(struct tls *tls, int code)
{
    if (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE)
        return VT_EAGAIN;
    if (code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        tls->failed = VT_ECLOSED;
    else
        tls->failed = is_memory_error(code) ? VT_ENOMEM : VT_EPROTO;
    return tls->failed;
}

/* Nothing came, and nothing that came is left: the library would find the same, in ten times as long. */
static bool is_drained(const struct tls *tls)
{
    return !vt_buf_size(&tls->in) && !mbedtls_ssl_check_pending(&tls->ssl);
}

/* One piece of a record; VT_ETOOBIG when `out` is full. */
static int read_piece(struct tls *tls, struct vt_buf *out)
{
    size_t room = VT_MIN(out->limit - vt_buf_size(out), (size_t)READ_CHUNK);
    uint8_t *at;
    int err, code;

    if (is_drained(tls))
        return VT_EAGAIN;
    if (!room)
        return VT_ETOOBIG;
    err = vt_buf_reserve(out, room, &at);
    if (err)
        return err;
    code = mbedtls_ssl_read(&tls->ssl, at, room);
    if (code <= 0)
        return read_error(tls, code);
    vt_buf_wrote(out, (size_t)code);
    return VT_OK;
}

int tls_read(struct tls *tls, struct vt_buf *out)
{
    size_t before = vt_buf_size(out);
    int err = tls->failed;

    if (!tls->is_open)
        return err ? err : VT_EAGAIN;
    while (!err)
        err = read_piece(tls, out);
    /* An error behind good bytes is told by the next call: it stays. */
    return vt_buf_size(out) > before ? VT_OK : err;
}

int tls_write(struct tls *tls, const void *bytes, size_t len)
{
    const unsigned char *from = bytes;
    uint8_t *room;
    int err, n;

    /* A peer that has closed its side may still be answered what it asked before. */
    if (!tls->is_open || tls->is_closed || (tls->failed && tls->failed != VT_ECLOSED))
        return VT_EPROTO;
    if (len > OUTPUT_MAX)
        return VT_ETOOBIG;
    /* All room first: a record once encrypted cannot be taken back. */
    err = vt_buf_reserve(&tls->out, len + RECORD_OVERHEAD * (len / RECORD_MAX + 1), &room);
    if (err)
        return err;
    while (len) {
        n = mbedtls_ssl_write(&tls->ssl, from, len);
        if (n <= 0) {
            tls->failed = is_memory_error(n) ? VT_ENOMEM : VT_EPROTO;
            return tls->failed;
        }
        from += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

void tls_close(struct tls *tls)
{
    if (!tls->is_open || tls->is_closed || (tls->failed && tls->failed != VT_ECLOSED))
        return;
    tls->is_closed = true;
    if (mbedtls_ssl_close_notify(&tls->ssl))
        tls->failed = VT_EPROTO;
}
