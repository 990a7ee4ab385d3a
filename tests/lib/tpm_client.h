/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of one engine, for tests: builds commands from the wire structures, proves them with OIAP and OSAP
 * sessions, checks every response's frame and HMAC. After every command the TPM is frozen, thawed and frozen
 * again: the bytes must be the same, and the test goes on with the thawed one. What of the frozen bytes a
 * command changed, its dirty bits must have announced.
 *
 *     struct get_random_in in = {.bytes_requested = 16};
 *     struct get_random_out out;
 *     assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, &out), TPM_SUCCESS);
 *     rc = TC(tc, TPM_ORD_LoadKey2, &lin, &lout, .handles = {TPM_KH_SRK}, .auth = {&session});
 *
 * Blobs in `out` point into tc->rsp: good until the next command.
 */
#ifndef VTPM_TESTS_TPM_CLIENT_H
#define VTPM_TESTS_TPM_CLIENT_H

#include "server/engine/tpm.h"
#include "server/wire/commands.h"

struct tc {
    struct tpm *tpm;
    uint64_t now_us;
    uint8_t locality;
    bool no_freeze;     /* leave out freeze and thaw after each command */
    uint8_t fill;       /* what the response's buffer is full of before a command; 0: EE */
    void (*seen)(struct tc *tc, void *arg); /* after each command, if set: cmd and rsp are there */
    void *seen_arg;
    struct tpm_ops ops; /* RSA keys from the fixtures, in turn */
    unsigned keys_taken;
    uint32_t out_handle; /* of the last response */
    unsigned dirty;
    size_t cmd_len;
    size_t rsp_len;
    uint64_t nonces; /* odd nonces come from a counter: tests repeat exactly */
    uint8_t cmd[TPM_BUFFER];
    uint8_t rsp[TPM_BUFFER];
};

struct tc_session {
    uint32_t handle; /* 0: ended */
    bool ends;       /* send continueAuthSession FALSE */
    bool osap;
    struct vt_auth secret; /* HMAC key: the entity's (OIAP, set by the test) or the shared one (OSAP) */
    struct vt_auth response_secret; /* if has_response_secret: proves the response instead */
    bool has_response_secret;
    struct tpm_nonce even; /* last from the TPM */
    struct tpm_nonce odd;  /* of the last command */
    bool odd_chosen;       /* tc_next_odd chose the next command's */
};

struct tc_args {
    uint8_t none; /* lets TC be called without any of the others */
    uint32_t handles[3];
    struct tc_session *auth[2];
    bool wrong_hmac[2]; /* spoil this session's proof */
};

/* Off, manufactured from `seed`; the test's own RSA keys instead of generated ones. tc_free frees. */
void tc_new(struct tc *tc, uint8_t seed, bool with_ek);
/* As tc_new, then TPM_Init and TPM_Startup(ST_CLEAR). */
void tc_on(struct tc *tc);
void tc_free(struct tc *tc);
/* TPM_Init, as a reboot. */
void tc_init(struct tc *tc);
/* TPM_Init and TPM_Startup of the type; its return code. */
tpm_rc tc_reboot(struct tc *tc, uint16_t startup_type);

/* One command; in and out are the wire structures of the ordinal (NULL: not wanted, or no fields). */
tpm_rc tc_call(struct tc *tc, uint32_t ordinal, const void *in, void *out, const struct tc_args *args);
#define TC(tc, ordinal, in, out, ...)                                                                        \
    tc_call((tc), (ordinal), (in), (out), &(struct tc_args){.none = 0, ##__VA_ARGS__})
/* tc->cmd[0..tc->cmd_len) as it is; the return code. */
tpm_rc tc_raw(struct tc *tc);
/* Builds tc->cmd without sending it. */
void tc_build(struct tc *tc, uint32_t ordinal, const void *in, const struct tc_args *args);

/* Sessions; the test gives the entity's secret. */
tpm_rc tc_oiap(struct tc *tc, struct tc_session *s, const struct vt_auth *secret);
tpm_rc tc_osap(struct tc *tc, struct tc_session *s, uint16_t entity_type, uint32_t entity_value,
               const struct vt_auth *secret);
/* value: a blob, or a row's number; secret: the delegation's. */
tpm_rc tc_dsap(struct tc *tc, struct tc_session *s, uint16_t entity_type, uint32_t key_handle,
               const struct tpm_blob *value, const struct vt_auth *secret);
/*
 * ADIP: what goes into encAuth. The first secret of a command is hidden under the even nonce; the second one
 * under the odd nonce: call tc_next_odd before, tc_call will then use that nonce.
 */
void tc_encrypt_auth(const struct tc_session *s, bool use_odd, bool aes, const struct vt_auth *plain,
                     struct vt_auth *enc);
/* Chooses the session's next nonceOdd before the command is built. */
void tc_next_odd(struct tc *tc, struct tc_session *s);

/* Shorthand. */
struct vt_auth tc_secret(const char *text);
tpm_rc tc_presence(struct tc *tc, uint16_t value);
/* Physical presence asserted by command. */
void tc_assert_presence(struct tc *tc);

/* Freeze, thaw, freeze: fails the test unless the bytes are the same; goes on with the thawed TPM. */
void tc_check_frozen(struct tc *tc);
#endif
