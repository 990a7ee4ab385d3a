/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance: a request, its answer, in turn (sandbox.h). Two static buffers do for everything; what they
 * held is wiped after each turn, and large uses go back to the kernel, so that an idle sandbox stays small.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/base/secret.h"
#include "server/engine/tpm.h"
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/misbehave.h"
#include "server/sandbox/sandbox.h"
#include "server/sandbox/stream.h"
#include "server/wire/certificate.h"

#define PAGE 4096
#define HEADER 5 /* length and type */
#define BUFFER (4 + SANDBOX_FRAME_MAX)
#define KEEP_BELOW (4 * PAGE)

/* Exit statuses of a sandbox; SANDBOX_EXIT_FORBIDDEN is another. */
enum { EXIT_CLOSED = 0, EXIT_REFUSED = 1, EXIT_IO = 4 };

/*
 * Where the response begins in SANDBOX_STATE: after dirty, is_on, has_ek, ek_sha256 and the response's
 * length.
 */
#define RESPONSE_AT (HEADER + 3 + CR_SHA256_LEN + 4)

static _Alignas(PAGE) uint8_t in[BUFFER];
static _Alignas(PAGE) uint8_t out[BUFFER];

struct serve {
    int fd;
    struct tpm *tpm;
    unsigned dirty;         /* of this turn: which states the answer says have changed */
    bool knows_ek, has_ek;  /* its name stands below; it changes with the permanent state only */
    uint8_t ek_sha256[CR_SHA256_LEN];
    size_t response_len;    /* bytes at out + RESPONSE_AT */
};

enum { BOTH = TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE };

static int ask_key(void *ctx, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg);
static int ask_evidence(void *ctx, const struct tpm_evidence_ask *ask, uint8_t *evidence, size_t *len);

/* ctx: the one struct serve of this process. */
static struct tpm_ops ops = {.rsa_generate = ask_key, .evidence = ask_evidence};

static int expect_end(const struct rd *r, struct vt_why *why)
{
    return rd_done(r) ? VT_OK : vt_fail(why, VT_EPROTO, "sandbox: malformed request");
}

static int do_manufacture(struct serve *s, struct rd *r, struct vt_why *why)
{
    struct tpm_profile profile;
    const uint8_t *seed = rd_take(r, CR_DRBG_SEED);
    bool with_ek;
    int err;

    tpm_profile_read(r, &profile);
    with_ek = rd_get8(r) != 0;
    err = expect_end(r, why);
    if (err)
        return err;
    err = tpm_manufacture(&s->tpm, &profile, seed, with_ek, &ops);
    if (err)
        return vt_fail(why, err, "manufacture: %s", vt_err_text(err));
    s->dirty = BOTH;
    return VT_OK;
}

static int do_swtpm(struct serve *s, struct rd *r, struct vt_why *why)
{
    struct wr answer = wr_to(out + RESPONSE_AT, TPM_BUFFER);
    const uint8_t *seed = rd_take(r, CR_DRBG_SEED);
    struct tpm_swtpm_facts facts;
    struct tpm_profile profile;
    struct tpm_swtpm_key key;
    struct tpm_blob file;
    int err;

    tpm_profile_read(r, &profile);
    sandbox_rd_swtpm_key(r, &key);
    sandbox_rd_blob(r, &file, TPM_SWTPM_FILE_MAX);
    err = expect_end(r, why);
    if (!err)
        err = tpm_from_swtpm(&s->tpm, &profile, seed, file.data, file.len, &key, &ops, &facts, why);
    vt_wipe(&key, sizeof key);
    if (err)
        return err;
    sandbox_wr_swtpm_facts(&answer, &facts);
    s->response_len = answer.len;
    s->dirty = BOTH;
    return VT_OK;
}

static int do_thaw(struct serve *s, struct rd *r, struct vt_why *why)
{
    const uint8_t *entropy = rd_take(r, 32);
    struct tpm_blob permanent, volatile_state;
    int err;

    sandbox_rd_blob(r, &permanent, TPM_FROZEN_PERMANENT_MAX);
    sandbox_rd_blob(r, &volatile_state, TPM_FROZEN_VOLATILE_MAX);
    err = expect_end(r, why);
    if (err)
        return err;
    err = tpm_thaw(&s->tpm, permanent.data, permanent.len, volatile_state.data, volatile_state.len, &ops,
                   why);
    if (err)
        return vt_fail(why, err, "thaw: %s", vt_err_text(err));
    tpm_stir(s->tpm, entropy, 32);
    return VT_OK;
}

static void execute(struct serve *s, uint8_t locality, uint64_t now_us, const uint8_t *command, size_t len)
{
    s->response_len = TPM_BUFFER;
    tpm_execute(s->tpm, locality, now_us, command, len, out + RESPONSE_AT, &s->response_len, &s->dirty);
}

#ifdef VTPM_TEST_HOOKS
static int misbehave(struct serve *s, uint8_t deed, struct vt_why *why)
{
    int err = sandbox_misbehave(s->fd, deed);

    return vt_fail(why, err, "%s", err == VT_ENOMEM ? "out of memory: the sandbox's limit was met"
                                                    : "misbehaviour was not prevented");
}

/* 0: this command is an ordinary one. */
static uint8_t deed_of(const struct tpm_blob *command)
{
    struct rd r = rd_from(command->data, command->len);
    bool is_deed = rd_get16(&r) == 0x00C1 && rd_get32(&r) == 11 && rd_get32(&r) == SANDBOX_MISBEHAVE_ORDINAL;
    uint8_t deed = rd_get8(&r);

    return is_deed && rd_done(&r) ? deed : 0;
}
#endif

static int do_execute(struct serve *s, struct rd *r, struct vt_why *why)
{
    uint8_t locality = rd_get8(r);
    uint64_t now_us = rd_get64(r);
    struct tpm_blob command;
    int err;

    sandbox_rd_blob(r, &command, TPM_BUFFER);
    err = expect_end(r, why);
    if (err)
        return err;
    if (locality > 4)
        return vt_fail(why, VT_EPROTO, "sandbox: locality %u", locality);
#ifdef VTPM_TEST_HOOKS
    if (deed_of(&command))
        return misbehave(s, deed_of(&command), why);
#endif
    execute(s, locality, now_us, command.data, command.len);
    return VT_OK;
}

/* TPM 1.2 Part 3, 3.2 TPM_Startup: tag, paramSize, ordinal, startupType. */
static void startup(struct serve *s, uint64_t now_us, uint8_t kind)
{
    uint8_t command[12] = {0x00, 0xC1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0x00, 0x01};

    if (kind == SANDBOX_STARTUP_STATE)
        command[11] = 2;
    execute(s, 0, now_us, command, sizeof command);
}

/* TPM 1.2 Part 3, 16.1 TPM_Extend: tag, paramSize, ordinal, pcrNum, inDigest. Its return code. */
static uint32_t extend(struct serve *s, uint64_t now_us, uint8_t pcr, const uint8_t digest[CR_SHA1_LEN])
{
    uint8_t command[34] = {0x00, 0xC1, 0, 0, 0, 34, 0, 0, 0, 0x14, 0, 0, 0, pcr};
    struct rd r;

    memcpy(command + 14, digest, CR_SHA1_LEN);
    execute(s, 0, now_us, command, sizeof command);
    r = rd_from(out + RESPONSE_AT + 6, 4);
    return rd_get32(&r);
}

/* Before any command of the guest. The answer is again that of TPM_Startup, as it was before. */
static int measure(struct serve *s, uint64_t now_us, struct rd digests, struct vt_why *why)
{
    uint8_t started[16];
    const size_t len = s->response_len;

    if (len > sizeof started)
        return vt_fail(why, VT_EFAIL, "TPM_Startup: an answer of %zu bytes", len);
    memcpy(started, out + RESPONSE_AT, len);
    while (digests.left) {
        uint8_t pcr = rd_get8(&digests);
        uint32_t rc = extend(s, now_us, pcr, rd_take(&digests, CR_SHA1_LEN));

        if (rc)
            return vt_fail(why, VT_EFAIL, "a measurement cannot be extended into PCR %u: TPM error %u", pcr,
                           (unsigned)rc);
    }
    memcpy(out + RESPONSE_AT, started, len);
    s->response_len = len;
    return VT_OK;
}

/* The digests of a POWER_ON, not yet read. */
static struct rd take_digests(struct rd *r)
{
    size_t len = (size_t)rd_get8(r) * SANDBOX_MEASURE_LEN;
    const uint8_t *at = rd_take(r, len);

    if (len > SANDBOX_MEASURES_MAX * SANDBOX_MEASURE_LEN)
        r->bad = true;
    return rd_from(at, at ? len : 0);
}

static int do_power_on(struct serve *s, struct rd *r, struct vt_why *why)
{
    uint64_t now_us = rd_get64(r);
    uint8_t kind = rd_get8(r);
    struct rd digests = take_digests(r);
    int err = expect_end(r, why);

    if (err)
        return err;
    if (kind > SANDBOX_STARTUP_STATE || (digests.left && kind != SANDBOX_STARTUP_CLEAR))
        return vt_fail(why, VT_EPROTO, "sandbox: startup %u", kind);
    err = tpm_init(s->tpm);
    if (err)
        return vt_fail(why, err, "TPM_Init: %s", vt_err_text(err));
    if (kind != SANDBOX_STARTUP_NONE)
        startup(s, now_us, kind);
    if (digests.left)
        err = measure(s, now_us, digests, why);
    s->dirty = BOTH;
    return err;
}

static int do_power_off(struct serve *s, struct rd *r, struct vt_why *why)
{
    int err = expect_end(r, why);

    if (err)
        return err;
    tpm_power_off(s->tpm);
    s->dirty = BOTH;
    return VT_OK;
}

static int do_platform(struct serve *s, struct rd *r, struct vt_why *why)
{
    uint8_t act = rd_get8(r);
    uint8_t locality = rd_get8(r);
    struct wr answer = wr_to(out + RESPONSE_AT, TPM_BUFFER);
    struct tpm_blob data;
    uint32_t rc = 0;
    int err;

    sandbox_rd_blob(r, &data, SANDBOX_FRAME_MAX);
    err = expect_end(r, why);
    if (err)
        return err;
    s->dirty = BOTH;
    switch (act) {
    case SANDBOX_ACT_HASH_START:
        rc = tpm_hash_start(s->tpm);
        break;
    case SANDBOX_ACT_HASH_DATA:
        rc = tpm_hash_data(s->tpm, data.data, data.len);
        s->dirty = TPM_DIRTY_VOLATILE;
        break;
    case SANDBOX_ACT_HASH_END:
        rc = tpm_hash_end(s->tpm);
        break;
    case SANDBOX_ACT_GET_ESTABLISHED:
        s->dirty = 0;
        break;
    case SANDBOX_ACT_RESET_ESTABLISHED:
        rc = tpm_reset_established(s->tpm, locality);
        break;
    case SANDBOX_ACT_INIT:
        err = tpm_init(s->tpm);
        if (err)
            return vt_fail(why, err, "TPM_Init: %s", vt_err_text(err));
        break;
    default:
        return vt_fail(why, VT_EPROTO, "sandbox: platform act %u", act);
    }
    wr_put32(&answer, rc);
    wr_put8(&answer, tpm_established(s->tpm));
    s->response_len = answer.len;
    return VT_OK;
}

static void put_blob(struct wr *w, const void *bytes, size_t len)
{
    wr_put32(w, (uint32_t)len);
    wr_copy(w, bytes, len);
}

static int do_ek_read(struct serve *s, struct rd *r, struct vt_why *why)
{
    const struct cr_rsa_pub *ek = tpm_ek_public(s->tpm);
    struct tpm_blob certificate = tpm_ek_certificate(s->tpm);
    struct wr answer = wr_to(out + RESPONSE_AT, TPM_BUFFER);
    int err = expect_end(r, why);

    if (err)
        return err;
    put_blob(&answer, ek ? ek->n : NULL, ek ? ek->bytes : 0);
    wr_put32(&answer, ek ? ek->e : 0);
    put_blob(&answer, certificate.data, certificate.len);
    s->response_len = answer.len;
    return answer.bad ? VT_ETOOBIG : VT_OK;
}

/* Here, not in the broker, somebody else's certificate is taken apart. */
static enum sandbox_ek install(struct serve *s, const struct tpm_blob *der)
{
    const struct cr_rsa_pub *ek = tpm_ek_public(s->tpm);
    struct certificate_key key;

    if (!ek)
        return SANDBOX_EK_NO_KEY;
    if (!certificate_key(&key, der->data, der->len))
        return SANDBOX_EK_NO_CERTIFICATE;
    if (key.exponent != ek->e || key.modulus.len != ek->bytes || memcmp(key.modulus.data, ek->n, ek->bytes) != 0)
        return SANDBOX_EK_OTHER_KEY;
    if (tpm_install_ek_certificate(s->tpm, der->data, der->len))
        return SANDBOX_EK_TOO_LATE;
    s->dirty = TPM_DIRTY_PERMANENT;
    return SANDBOX_EK_INSTALLED;
}

static int do_ek_install(struct serve *s, struct rd *r, struct vt_why *why)
{
    struct tpm_blob der;
    int err;

    sandbox_rd_blob(r, &der, TPM_EK_CERT_MAX);
    err = expect_end(r, why);
    if (err)
        return err;
    out[RESPONSE_AT] = (uint8_t)install(s, &der);
    s->response_len = 1;
    return VT_OK;
}

static int do_pcr_read(struct serve *s, struct rd *r, struct vt_why *why)
{
    int err = expect_end(r, why);

    if (!err && tpm_pcrs(s->tpm, out + RESPONSE_AT))
        s->response_len = TPM_PCRS_LEN;
    return err;
}

#ifdef VTPM_TEST_HOOKS
static int do_misbehave(struct serve *s, struct rd *r, struct vt_why *why)
{
    return misbehave(s, rd_get8(r), why);
}
#endif

/* A sandbox is one instance: it gets its TPM once, before everything else. */
static const struct request {
    uint8_t type;
    bool makes_tpm;
    int (*fn)(struct serve *s, struct rd *r, struct vt_why *why);
} requests[] = {
    {SANDBOX_MANUFACTURE, true, do_manufacture},
    {SANDBOX_SWTPM, true, do_swtpm},
    {SANDBOX_THAW, true, do_thaw},
    {SANDBOX_EXECUTE, false, do_execute},
    {SANDBOX_POWER_ON, false, do_power_on},
    {SANDBOX_POWER_OFF, false, do_power_off},
    {SANDBOX_PLATFORM, false, do_platform},
    {SANDBOX_EK_READ, false, do_ek_read},
    {SANDBOX_EK_INSTALL, false, do_ek_install},
    {SANDBOX_PCR_READ, false, do_pcr_read},
#ifdef VTPM_TEST_HOOKS
    {SANDBOX_MISBEHAVE, true, do_misbehave},
#endif
};

static int dispatch(struct serve *s, uint8_t type, struct rd *r, struct vt_why *why)
{
    s->dirty = 0;
    s->response_len = 0;
    for (size_t i = 0; i < VT_COUNT(requests); i++) {
        if (requests[i].type != type)
            continue;
        if (requests[i].makes_tpm == (s->tpm != NULL))
            return vt_fail(why, VT_EPROTO, "sandbox: request %u out of order", type);
        return requests[i].fn(s, r, why);
    }
    return vt_fail(why, VT_EPROTO, "sandbox: unknown request %u", type);
}

/* One frozen state behind its length; empty unless `wanted`. */
static int freeze(struct serve *s, struct wr *w, bool wanted,
                  int (*fn)(const struct tpm *tpm, uint8_t *to, size_t *len))
{
    size_t len = w->cap - w->len - 4;
    int err;

    if (!wanted) {
        wr_put32(w, 0);
        return VT_OK;
    }
    err = fn(s->tpm, w->base + w->len + 4, &len);
    if (err)
        return err;
    wr_put32(w, (uint32_t)len);
    (void)wr_room(w, len);
    return w->bad ? VT_ETOOBIG : VT_OK;
}

static void name_ek(struct serve *s)
{
    if (s->knows_ek && !(s->dirty & TPM_DIRTY_PERMANENT))
        return;
    memset(s->ek_sha256, 0, sizeof s->ek_sha256);
    s->has_ek = tpm_ek_sha256(s->tpm, s->ek_sha256);
    s->knows_ek = true;
}

static int put_state(struct serve *s, struct wr *w)
{
    int err;

    name_ek(s);
    wr_put8(w, (uint8_t)s->dirty);
    wr_put8(w, tpm_is_on(s->tpm));
    wr_put8(w, s->has_ek);
    wr_copy(w, s->ek_sha256, sizeof s->ek_sha256);
    wr_put32(w, (uint32_t)s->response_len);
    (void)wr_room(w, s->response_len); /* it is there already */
    err = freeze(s, w, s->dirty & TPM_DIRTY_VOLATILE, tpm_freeze_volatile);
    return err ? err : freeze(s, w, s->dirty & TPM_DIRTY_PERMANENT, tpm_freeze_permanent);
}

static void put_failed(struct wr *w, int err, const struct vt_why *why)
{
    wr_put32(w, (uint32_t)err);
    wr_copy(w, why->text, strlen(why->text));
}

static void scrub(uint8_t *buffer, size_t used)
{
    vt_wipe(buffer, used);
    if (used > KEEP_BELOW)
        (void)madvise(buffer, BUFFER, MADV_DONTNEED);
}

/* Answers one request of `len` bytes at in + HEADER. False: the sandbox must end, *status says with what. */
static bool turn(struct serve *s, size_t len, int *status)
{
    struct rd r = rd_from(in + HEADER, len);
    struct wr w = wr_to(out, BUFFER);
    struct vt_why why = {""};
    bool sent;
    int err = dispatch(s, in[4], &r, &why);

    w.len = HEADER;
    if (!err) {
        err = put_state(s, &w);
        if (err)
            vt_fail(&why, err, "freeze: %s", vt_err_text(err));
    }
    if (err) {
        w = wr_to(out, BUFFER);
        w.len = HEADER;
        put_failed(&w, err, &why);
    }
    out[4] = err ? SANDBOX_FAILED : SANDBOX_STATE;
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)((w.len - 4) >> (24 - 8 * i));
    sent = sandbox_write_all(s->fd, out, w.len);
    scrub(out, VT_MAX(w.len, RESPONSE_AT + s->response_len));
    *status = err ? EXIT_REFUSED : EXIT_IO;
    return !err && sent;
}

/* ---- Evidence and keys: asked for in the middle of a request, whose bytes stay in `in` ---- */

static bool send_ask(int fd, const struct tpm_evidence_ask *ask)
{
    uint8_t frame[HEADER + SANDBOX_ASK_LEN];
    struct wr w = wr_to(frame, sizeof frame);

    wr_put32(&w, 1 + SANDBOX_ASK_LEN);
    wr_put8(&w, SANDBOX_EVIDENCE);
    sandbox_wr_ask(&w, ask);
    return !w.bad && sandbox_write_all(fd, frame, w.len);
}

static int ask_evidence(void *ctx, const struct tpm_evidence_ask *ask, uint8_t *evidence, size_t *len)
{
    const struct serve *s = ctx;
    uint8_t head[SANDBOX_TOLD_HEAD] = {0};
    const size_t room = *len;
    int err;

    if (!send_ask(s->fd, ask) || !sandbox_read_all(s->fd, head, sizeof head))
        return VT_ECLOSED;
    if (!sandbox_rd_told(head, SANDBOX_EVIDENCE_IS, room, &err, len))
        return VT_EPROTO;
    return sandbox_read_all(s->fd, evidence, *len) ? err : VT_ECLOSED;
}

static int ask_key(void *ctx, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg)
{
    const struct serve *s = ctx;

    return sandbox_ask_key(s->fd, key, bits, e, drbg);
}

/*
 * A read(2) that sleeps in a Unix socket wakes for its write side too: when the broker takes the last answer, twice for
 * each command. A poll wakes for what it asked for. Why this one: poll(2) goes by RLIMIT_NOFILE, which is 0 here.
 * Whatever it says, the read that follows decides.
 */
static void wait_for_request(int fd)
{
    fd_set set;

    if (fd >= FD_SETSIZE)
        return;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    (void)syscall(SYS_pselect6, fd + 1, &set, NULL, NULL, NULL, NULL);
}

/*
 * Reads until a whole frame is there. 0: closed in between two requests; -1: anything else that is no
 * request.
 */
static ssize_t receive(int fd)
{
    size_t have = 0, want = HEADER;

    wait_for_request(fd);
    while (have < want) {
        ssize_t n = read(fd, in + have, BUFFER - have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return have || n ? -1 : 0;
        have += (size_t)n;
        if (have >= 4) {
            size_t len = (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | in[3];

            if (len < 1 || len > SANDBOX_FRAME_MAX)
                return -1;
            want = 4 + len;
        }
    }
    return have == want ? (ssize_t)have : -1; /* one request at a time */
}

int sandbox_serve(int fd)
{
    struct serve s = {.fd = fd};
    int status = EXIT_CLOSED;

    ops.ctx = &s;
    for (;;) {
        ssize_t n = receive(fd);
        bool go_on;

        if (n <= 0) {
            status = n ? EXIT_IO : EXIT_CLOSED;
            break;
        }
        go_on = turn(&s, (size_t)n - HEADER, &status);
        scrub(in, (size_t)n);
        if (!go_on)
            break;
    }
    tpm_free(s.tpm);
    ops.ctx = NULL;
    return status;
}
