/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payloads of sandbox.h that have more than a few fields, written and read in one place for both sides.
 * What a sandbox sends is hostile: lengths and flags are checked here, the contents of the states mean
 * nothing to the broker.
 */
#ifndef VTPM_SANDBOX_MESSAGES_H
#define VTPM_SANDBOX_MESSAGES_H

#include "server/engine/profile.h"
#include "server/engine/swtpm.h"
#include "server/sandbox/sandbox.h"
#include "server/wire/cursor.h"

/* The profile in SANDBOX_MANUFACTURE is tpm_profile_write's. */
#define SANDBOX_PROFILE_LEN TPM_PROFILE_BYTES

/* SANDBOX_STATE taken apart; the blobs point into the payload. */
struct sandbox_state {
    unsigned dirty; /* TPM_DIRTY_* */
    bool is_on, has_ek;
    uint8_t ek_sha256[CR_SHA256_LEN];
    struct tpm_blob response, volatile_state, permanent;
};

static inline void sandbox_rd_blob(struct rd *r, struct tpm_blob *blob, size_t max)
{
    blob->len = rd_get32(r);
    if (blob->len > max)
        r->bad = true;
    blob->data = rd_take(r, blob->len);
}

/* False: the payload is not a state; nothing in *state may be used. */
static inline bool sandbox_rd_state(struct sandbox_state *state, const void *payload, size_t len)
{
    struct rd r = rd_from(payload, len);
    uint8_t is_on, has_ek;

    memset(state, 0, sizeof *state);
    state->dirty = rd_get8(&r);
    is_on = rd_get8(&r);
    has_ek = rd_get8(&r);
    rd_copy(&r, state->ek_sha256, sizeof state->ek_sha256);
    sandbox_rd_blob(&r, &state->response, TPM_BUFFER);
    sandbox_rd_blob(&r, &state->volatile_state, TPM_FROZEN_VOLATILE_MAX);
    sandbox_rd_blob(&r, &state->permanent, TPM_FROZEN_PERMANENT_MAX);
    state->is_on = is_on != 0;
    state->has_ek = has_ek != 0;
    return rd_done(&r) && state->dirty <= (TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE) && is_on <= 1 &&
           has_ek <= 1;
}

/* SANDBOX_PLATFORM's act: the field numbers of vtpm.Platform. */
enum sandbox_act {
    SANDBOX_ACT_HASH_START = 1,
    SANDBOX_ACT_HASH_DATA = 2,
    SANDBOX_ACT_HASH_END = 3,
    SANDBOX_ACT_GET_ESTABLISHED = 4,
    SANDBOX_ACT_RESET_ESTABLISHED = 5,
    SANDBOX_ACT_INIT = 6,
};

/* SANDBOX_POWER_ON's measurements: what the host's PCRs hold (16 at most), then a queue. */
#define SANDBOX_MEASURES_MAX 80
#define SANDBOX_MEASURE_LEN  (1 + CR_SHA1_LEN) /* PCR, digest */

/* SANDBOX_EK_INSTALL's verdict. */
enum sandbox_ek {
    SANDBOX_EK_INSTALLED = 0,
    SANDBOX_EK_NO_CERTIFICATE = 1,  /* not X.509 in DER with an RSA key, or too long */
    SANDBOX_EK_OTHER_KEY = 2,
    SANDBOX_EK_NO_KEY = 3,          /* the TPM has none */
    SANDBOX_EK_TOO_LATE = 4,        /* there is one already, or the TPM is on, or has an owner */
};

/* The response of SANDBOX_EK_READ; the blobs point into it. */
struct sandbox_ek_public {
    struct tpm_blob modulus, certificate;
    uint32_t exponent;
};

static inline bool sandbox_rd_ek(struct sandbox_ek_public *ek, const void *response, size_t len)
{
    struct rd r = rd_from(response, len);

    sandbox_rd_blob(&r, &ek->modulus, CR_RSA_MAX);
    ek->exponent = rd_get32(&r);
    sandbox_rd_blob(&r, &ek->certificate, TPM_EK_CERT_MAX);
    return rd_done(&r);
}

/* SANDBOX_EVIDENCE: what a deep quote is to be about. */
#define SANDBOX_ASK_LEN (TPM_EVIDENCE_NONCE + 4 + 4 + TPM_PCRS_LEN)
static inline void sandbox_wr_ask(struct wr *w, const struct tpm_evidence_ask *ask)
{
    wr_copy(w, ask->nonce, sizeof ask->nonce);
    wr_put32(w, ask->mask);
    wr_put32(w, ask->host_mask);
    wr_copy(w, ask->pcr, sizeof ask->pcr);
}

/* Both TPMs have 24 PCRs, and one of the host must be meant. */
static inline bool sandbox_rd_ask(struct tpm_evidence_ask *ask, const void *payload, size_t len)
{
    struct rd r = rd_from(payload, len);

    rd_copy(&r, ask->nonce, sizeof ask->nonce);
    ask->mask = rd_get32(&r);
    ask->host_mask = rd_get32(&r);
    rd_copy(&r, ask->pcr, sizeof ask->pcr);
    return rd_done(&r) && !(ask->mask >> 24) && !(ask->host_mask >> 24) && ask->host_mask;
}

/*
 * The frame of what was asked for in the middle of a request (SANDBOX_EVIDENCE_IS, SANDBOX_KEY_IS), up to its bytes: {length,
 * type, err}. False: it is none of this type, or its bytes are more than `room`; else *len of them follow.
 */
#define SANDBOX_TOLD_HEAD 9
static inline bool sandbox_rd_told(const uint8_t head[SANDBOX_TOLD_HEAD], uint8_t wanted, size_t room, int *err,
                                   size_t *len)
{
    struct rd r = rd_from(head, SANDBOX_TOLD_HEAD);
    const size_t frame = rd_get32(&r);
    const uint8_t type = rd_get8(&r);

    *err = (int32_t)rd_get32(&r);
    *len = frame < 5 ? 0 : frame - 5;
    return type == wanted && frame >= 5 && *len <= room;
}

/* ---- SANDBOX_SWTPM ---- */

#define SANDBOX_SWTPM_KEY_LEN   (2 + TPM_SWTPM_KEY_MAX)
#define SANDBOX_SWTPM_FACTS_LEN (4 + 6 * 4)

static inline void sandbox_wr_swtpm_key(struct wr *w, const struct tpm_swtpm_key *key)
{
    wr_put8(w, key->len);
    wr_put8(w, key->derived);
    wr_copy(w, key->bytes, sizeof key->bytes);
}

static inline void sandbox_rd_swtpm_key(struct rd *r, struct tpm_swtpm_key *key)
{
    key->len = rd_get8(r);
    key->derived = rd_get8(r) != 0;
    rd_copy(r, key->bytes, sizeof key->bytes);
    if (key->len > sizeof key->bytes)
        r->bad = true;
}

static inline void sandbox_wr_swtpm_facts(struct wr *w, const struct tpm_swtpm_facts *facts)
{
    wr_put8(w, facts->has_ek);
    wr_put8(w, facts->owned);
    wr_put8(w, facts->disabled);
    wr_put8(w, facts->deactivated);
    wr_put32(w, facts->nv_areas);
    wr_put32(w, facts->nv_bytes);
    wr_put32(w, facts->counters);
    wr_put32(w, facts->owner_keys);
    wr_put32(w, facts->families);
    wr_put32(w, facts->delegations);
}

static inline bool sandbox_rd_swtpm_facts(struct tpm_swtpm_facts *facts, const struct tpm_blob *response)
{
    struct rd r = rd_from(response->data, response->len);

    facts->has_ek = rd_get8(&r) == 1;
    facts->owned = rd_get8(&r) == 1;
    facts->disabled = rd_get8(&r) == 1;
    facts->deactivated = rd_get8(&r) == 1;
    facts->nv_areas = rd_get32(&r);
    facts->nv_bytes = rd_get32(&r);
    facts->counters = rd_get32(&r);
    facts->owner_keys = rd_get32(&r);
    facts->families = rd_get32(&r);
    facts->delegations = rd_get32(&r);
    return rd_done(&r);
}

/* SANDBOX_POWER_ON's startup: enum vtpm.Startup. */
enum sandbox_startup { SANDBOX_STARTUP_NONE = 0, SANDBOX_STARTUP_CLEAR = 1, SANDBOX_STARTUP_STATE = 2 };

#endif
