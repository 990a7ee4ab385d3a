/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that tries everything: what it has in its hands, and its dice. Of test_engine_dirty and _replay. */
#ifndef VTPM_TESTS_UNIT_DIRTY_GUEST_H
#define VTPM_TESTS_UNIT_DIRTY_GUEST_H

#include "tests/spec/spec.h"

#define SLOTS    6
#define BLOB_MAX 1024

/* What the guest has in its hands. */
struct guest {
    struct tc *tc;
    struct cr_drbg dice;
    struct vt_auth owner, srk, key, wrong;
    struct {
        struct tc_session s;
        bool used;
    } sessions[SLOTS];
    uint32_t keys[SLOTS];
    uint8_t wrapped[BLOB_MAX], sealed[BLOB_MAX];
    size_t wrapped_len, sealed_len;
    unsigned good[256], bad[256]; /* by the low byte of the ordinal */
};

static inline uint32_t roll(struct guest *g, uint32_t sides)
{
    uint32_t value;

    cr_drbg_random(&g->dice, &value, sizeof value);
    return value % sides;
}

static inline bool rarely(struct guest *g)
{
    return roll(g, 8) == 0;
}

static inline tpm_rc note(struct guest *g, uint32_t ordinal, tpm_rc rc)
{
    if (rc)
        g->bad[ordinal & 0xFF]++;
    else
        g->good[ordinal & 0xFF]++;
    return rc;
}

#define DO(g, ordinal, in, out, ...) note((g), (ordinal), TC((g)->tc, (ordinal), (in), (out), ##__VA_ARGS__))

/* ---- Sessions and handles ---- */

/* A session to prove `secret`: mostly a fresh OIAP one, sometimes one that is left open for others. */
static inline struct tc_session *oiap(struct guest *g, const struct vt_auth *secret)
{
    unsigned at = roll(g, SLOTS);
    struct tc_session *s = &g->sessions[at].s;

    if (!g->sessions[at].used || !s->handle || s->osap || rarely(g))
        g->sessions[at].used = !note(g, TPM_ORD_OIAP, tc_oiap(g->tc, s, secret));
    s->secret = rarely(g) ? g->wrong : *secret;
    s->ends = roll(g, 2) == 0;
    return s;
}

static inline struct tc_session *osap(struct guest *g, uint16_t type, uint32_t entity,
                                      const struct vt_auth *secret)
{
    unsigned at = roll(g, SLOTS);
    struct tc_session *s = &g->sessions[at].s;

    g->sessions[at].used =
        !note(g, TPM_ORD_OSAP, tc_osap(g->tc, s, type, entity, rarely(g) ? &g->wrong : secret));
    return s;
}

static inline uint32_t key_handle(struct guest *g)
{
    return g->keys[roll(g, SLOTS)];
}

static inline struct tpm_key key_params(uint16_t usage, uint32_t flags, uint8_t auth_data_usage)
{
    bool storage = usage == TPM_KEY_STORAGE;

    return (struct tpm_key){
        .ver = {.major = 1, .minor = 1},
        .key_usage = usage,
        .key_flags = flags,
        .auth_data_usage = auth_data_usage,
        .algorithm_parms = {.algorithm_id = TPM_ALG_RSA,
                            .enc_scheme = storage ? TPM_ES_RSAESOAEP_SHA1_MGF1 : TPM_ES_NONE,
                            .sig_scheme = storage ? TPM_SS_NONE : TPM_SS_RSASSAPKCS1v15_SHA1,
                            .form = TPM_PARMS_RSA,
                            .parms.rsa = {.key_length = 2048, .num_primes = 2}},
    };
}

/* The same seed throws the same dice: with the same answers it does the same. */
void dirty_begin(struct guest *g, struct tc *tc, uint8_t seed);
/*
 * At least so many steps, and on until every implemented ordinal has succeeded (those that cannot have failed); fails
 * the test when DIRTY_MOST were not enough. between, if not NULL, is called before each step.
 */
void dirty_session(struct guest *g, unsigned least, void (*between)(struct guest *g));
#define DIRTY_MOST 60000

/* Acts of dirty_more.c: keys and data for others, counters, contexts, identities. */
extern void (*const dirty_more[])(struct guest *g);
extern const size_t dirty_more_count;
/* Of dirty_last.c: the audit, delegations, transport sessions. */
extern void (*const dirty_last[])(struct guest *g);
extern const size_t dirty_last_count;
/* Acts of dirty_leave.c: keys that leave, secrets that change the old way, DAA. */
extern void (*const dirty_leave[])(struct guest *g);
extern const size_t dirty_leave_count;

#endif
