/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session with a TPM is recorded once: the state before each command, its bytes and its response. Then each
 * allocation of each command fails once, from just that state. The engine is deterministic, so a command that still
 * succeeds must say and leave exactly what it did then; any other must answer with an error, change nothing that is
 * permanent, and leave a TPM that goes on and can be frozen and thawed.
 */
#include "tests/fault/countdown.h"
#include "tests/spec/spec_keys.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMANDS_MAX 128

struct state {
    size_t permanent_len, volatile_len;
    uint8_t *permanent, *stclear;
};

struct command {
    struct state before, after;
    uint8_t cmd[TPM_BUFFER], rsp[TPM_BUFFER];
    size_t cmd_len, rsp_len;
    uint64_t now_us;
    uint8_t locality;
    unsigned keys_taken;
};

static struct command commands[COMMANDS_MAX];
static size_t command_count;
static struct tc *recorded; /* NULL: nothing is recorded */
static unsigned refused, survived;

static void freeze(const struct tpm *tpm, struct state *state)
{
    state->permanent_len = TPM_FROZEN_PERMANENT_MAX;
    state->volatile_len = TPM_FROZEN_VOLATILE_MAX;
    state->permanent = malloc(state->permanent_len);
    state->stclear = malloc(state->volatile_len);
    assert_int_equal(tpm_freeze_permanent(tpm, state->permanent, &state->permanent_len), VT_OK);
    assert_int_equal(tpm_freeze_volatile(tpm, state->stclear, &state->volatile_len), VT_OK);
}

static void state_free(struct state *state)
{
    free(state->permanent);
    free(state->stclear);
}

static bool same_permanent(const struct state *a, const struct state *b)
{
    return a->permanent_len == b->permanent_len && memcmp(a->permanent, b->permanent, a->permanent_len) == 0;
}

static bool same_volatile(const struct state *a, const struct state *b)
{
    return a->volatile_len == b->volatile_len && memcmp(a->stclear, b->stclear, a->volatile_len) == 0;
}

/* ---- Recording: what the client sends passes here ---- */

void __real_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty);
void __wrap_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty);

void __wrap_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty)
{
    struct command *c = &commands[command_count];

    if (!recorded) {
        __real_tpm_execute(tpm, locality, now_us, cmd, cmd_len, rsp, rsp_len, dirty);
        return;
    }
    assert_true(++command_count < COMMANDS_MAX);
    freeze(tpm, &c->before);
    memcpy(c->cmd, cmd, cmd_len);
    c->cmd_len = cmd_len;
    c->now_us = now_us;
    c->locality = locality;
    c->keys_taken = recorded->keys_taken;
    __real_tpm_execute(tpm, locality, now_us, cmd, cmd_len, rsp, rsp_len, dirty);
    memcpy(c->rsp, rsp, *rsp_len);
    c->rsp_len = *rsp_len;
    freeze(tpm, &c->after);
}

/* ---- The session ---- */

static void nv_session(struct tc *tc)
{
    struct nv_define_space_in define = {
        .pub_info = {.nv_index = 0x1000, .permission = {TPM_NV_PER_OWNERWRITE | TPM_NV_PER_OWNERREAD},
                     .pcr_info_read = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1f},
                     .pcr_info_write = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1f},
                     .data_size = 64}};
    struct nv_write_value_in put = {.nv_index = 0x1000, .data = {.len = 5, .data = (const uint8_t *)"hello"}};
    struct nv_read_value_in get = {.nv_index = 0x1000, .data_size = 5};
    struct vt_auth owner = SPEC_OWNER, area = tc_secret("area");
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &area, &define.enc_auth);
    assert_int_equal(TC(tc, TPM_ORD_NV_DefineSpace, &define, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_NV_WriteValue, &put, NULL, .auth = {&s}), TPM_SUCCESS);
    s.ends = true;
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValue, &get, NULL, .auth = {&s}), TPM_SUCCESS);
}

static void key_session(struct tc *tc)
{
    struct vt_auth srk = SPEC_SRK, key_auth = tc_secret("key"), data = tc_secret("data");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_key key;
    struct sk_sealed sealed;
    struct tpm_blob secret;
    struct tc_session s;
    uint32_t handle = sk_loaded(tc, &info, &key);

    assert_int_equal(sk_sign(tc, handle, "12345678901234567890", 20, NULL), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &key_auth), TPM_SUCCESS);
    s.ends = true;
    assert_int_equal(TC(tc, TPM_ORD_GetPubKey, NULL, NULL, .handles = {handle}, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, handle, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "kept", 4, &sealed), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, &secret), TPM_SUCCESS);
    assert_int_equal(secret.len, 4);
}

/* A secret under the endorsement key. */
static struct tpm_blob encrypt(const struct tc *tc, const struct vt_auth *secret, uint8_t out[256])
{
    const uint8_t seed[CR_DRBG_SEED] = {7};
    struct cr_drbg drbg;

    cr_drbg_init(&drbg, seed, NULL, 0);
    assert_int_equal(
        cr_rsa_oaep_encrypt(&tc->tpm->perm.ek.key.rsa.pub, "TCPA", 4, secret->bytes, TPM_DIGEST_LEN, &drbg, out),
        VT_OK);
    return (struct tpm_blob){.len = 256, .data = out};
}

static void take_ownership(struct tc *tc)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    uint8_t enc_owner[256], enc_srk[256];
    struct take_ownership_in in = {
        .protocol_id = TPM_PID_OWNER,
        .enc_owner_auth = encrypt(tc, &owner, enc_owner),
        .enc_srk_auth = encrypt(tc, &srk, enc_srk),
        .srk_params = sk_template(TPM_KEY_STORAGE),
    };
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    assert_int_equal(TC(tc, TPM_ORD_TakeOwnership, &in, NULL, .auth = {&s}), TPM_SUCCESS);
}

static void record_session(struct tc *tc)
{
    uint8_t digest[TPM_DIGEST_LEN];
    struct get_random_in random = {.bytes_requested = 32};

    tc->no_freeze = true;
    recorded = tc;
    assert_int_equal(TC(tc, TPM_ORD_SelfTestFull, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 7, 0x5a), TPM_SUCCESS);
    spec_pcr(tc, 7, digest);
    take_ownership(tc);
    key_session(tc);
    nv_session(tc);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    recorded = NULL;
}

/* ---- The same commands with faults ---- */

struct replay {
    const struct command *command;
    struct tc *tc;
};

static struct tpm *thaw(struct tc *tc, const struct state *state)
{
    struct vt_why why = {""};
    struct tpm *tpm = NULL;

    if (tpm_thaw(&tpm, state->permanent, state->permanent_len, state->stclear, state->volatile_len, &tc->ops, &why))
        fail_msg("thaw: %s", why.text);
    return tpm;
}

/*
 * It still measures. A self-test that could not be made has not been passed: the TPM is in failure mode, as Part 1,
 * 9.1 wants it, and comes back with TPM_Init.
 */
static void goes_on(struct tc *tc, const struct state *state, const struct command *c)
{
    tpm_rc rc;

    tc->tpm = thaw(tc, state);
    rc = spec_extend(tc, 9, 1);
    if (rc == TPM_FAILEDSELFTEST && c->cmd[9] == TPM_ORD_SelfTestFull) {
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        rc = spec_extend(tc, 9, 1);
    }
    if (rc)
        fail_msg("ordinal %02x%02x, call %ld failed: TPM_Extend then answers %x", c->cmd[8], c->cmd[9], count_nth(), rc);
    tpm_free(tc->tpm);
    tc->tpm = NULL;
}

/* Nothing that says that a key, a blob or a secret is wrong. */
static bool is_want_of_memory(uint8_t ordinal, uint8_t rc)
{
    switch (rc) {
    case TPM_FAIL:
    case TPM_RESOURCES:
        return true;
    case TPM_FAILEDSELFTEST:
        return ordinal == TPM_ORD_SelfTestFull;
    case TPM_BAD_PARAMETER:
        /* libcrypto does not always say why it does not like a key. */
        return ordinal == TPM_ORD_LoadKey2;
    default:
        return false;
    }
}

static void judge(const struct replay *replay, const uint8_t *rsp, size_t rsp_len, const struct state *left)
{
    const struct command *c = replay->command;

    if (rsp_len == c->rsp_len && memcmp(rsp, c->rsp, rsp_len) == 0) {
        survived++;
        assert_true(same_permanent(left, &c->after));
        assert_true(same_volatile(left, &c->after));
        return;
    }
    refused++;
    assert_int_equal(rsp_len, TPM_HEADER_LEN);
    assert_true(rsp[6] | rsp[7] | rsp[8] | rsp[9]);
    if (!is_want_of_memory(c->cmd[9], rsp[9]))
        fail_msg("ordinal %02x%02x, call %ld failed: answers %02x%02x", c->cmd[8], c->cmd[9], count_nth(), rsp[8],
                 rsp[9]);
    if (!same_permanent(left, &c->before))
        fail_msg("ordinal %02x%02x, call %ld failed: answers %02x%02x, but permanent state has changed", c->cmd[8],
                 c->cmd[9], count_nth(), rsp[8], rsp[9]);
}

static void scenario(void *arg)
{
    const struct replay *replay = arg;
    const struct command *c = replay->command;
    struct tpm *tpm = thaw(replay->tc, &c->before);
    uint8_t rsp[TPM_BUFFER];
    size_t rsp_len = 0;
    struct state left;
    unsigned dirty = 0;

    replay->tc->keys_taken = c->keys_taken;
    count_begin();
    tpm_execute(tpm, c->locality, c->now_us, c->cmd, c->cmd_len, rsp, &rsp_len, &dirty);
    (void)count_end();
    freeze(tpm, &left);
    tpm_free(tpm);
    judge(replay, rsp, rsp_len, &left);
    goes_on(replay->tc, &left, c);
    state_free(&left);
}

/* The self-test alone allocates three thousand times: all of them only in a long run. */
static long stride(const struct command *c)
{
    return c->cmd[9] == TPM_ORD_SelfTestFull && !getenv("VTPM_LONG") ? 41 : 1;
}

static void test_engine__each_allocation_of_each_command__error_or_the_same(void **state)
{
    static const struct {
        enum fault fault;
        const char *name;
    } kinds[] = {{FAULT_ALLOC, "alloc"}, {FAULT_MBEDTLS, "mbedtls"}, {FAULT_LIBCRYPTO, "libcrypto"}};
    struct tc *tc = *state;
    unsigned faults = 0;

    record_session(tc);
    tpm_free(tc->tpm);
    tc->tpm = NULL;
    for (size_t i = 0; i < command_count; i++) {
        struct replay replay = {&commands[i], tc};

        for (size_t k = 0; k < VT_COUNT(kinds); k++) {
            char name[64];

            snprintf(name, sizeof name, "ordinal %02x%02x, %s", commands[i].cmd[8], commands[i].cmd[9],
                     kinds[k].name);
            faults += count_down_by(name, kinds[k].fault, stride(&commands[i]), scenario, &replay);
        }
        state_free(&commands[i].before);
        state_free(&commands[i].after);
    }
    print_message("%zu commands, %u faults: %u runs with an error, %u without\n", command_count, faults, refused,
                  survived);
    assert_true(refused > 20);
}

/* ---- Manufacture and thaw, and keys that are really generated ---- */

static void scenario_manufacture(void *arg)
{
    struct tc *tc = arg;
    uint8_t seed[CR_DRBG_SEED] = {3};
    struct tpm_profile profile;
    struct tpm *tpm = NULL;
    int err;

    tpm_profile_pc_client(&profile);
    count_begin();
    err = tpm_manufacture(&tpm, &profile, seed, true, &tc->ops);
    if (count_end() && !tpm)
        assert_true(err == VT_ENOMEM || err == VT_ECRYPTO);
    else
        assert_int_equal(err, VT_OK);
    tpm_free(tpm);
}

static void scenario_thaw(void *arg)
{
    struct tc *tc = arg;
    struct vt_why why = {""};
    struct tpm *tpm = NULL;
    struct state state;
    int err;

    freeze(tc->tpm, &state);
    count_begin();
    err = tpm_thaw(&tpm, state.permanent, state.permanent_len, state.stclear, state.volatile_len, &tc->ops, &why);
    /* Out of memory is not damage: a damaged state makes an instance `broken` for good. */
    if (count_end() && err)
        assert_true(err == VT_ENOMEM || err == VT_ECRYPTO);
    else
        assert_int_equal(err, VT_OK);
    tpm_free(tpm);
    state_free(&state);
}

static void scenario_generate(void *arg)
{
    struct cr_rsa_key *expected = arg, key;
    uint8_t seed[CR_DRBG_SEED] = {5};
    struct cr_drbg drbg;
    int err;

    memset(&key, 0, sizeof key);
    cr_drbg_init(&drbg, seed, NULL, 0);
    count_begin();
    err = cr_rsa_generate(&key, 512, 65537, &drbg);
    if (count_end() && err)
        assert_true(err == VT_ENOMEM || err == VT_ECRYPTO);
    else
        assert_int_equal(err, VT_OK);
    if (!err && expected->pub.bytes)
        assert_memory_equal(&key, expected, sizeof key);
    if (!err)
        *expected = key;
}

static void test_engine__each_allocation_of_manufacture_and_thaw__error_or_done(void **state)
{
    struct cr_rsa_key key = {.pub = {.bytes = 0}};
    struct tc *tc = *state;

    (void)count_down("manufacture, alloc", FAULT_ALLOC, scenario_manufacture, tc);
    (void)count_down("manufacture, mbedtls", FAULT_MBEDTLS, scenario_manufacture, tc);
    (void)count_down("manufacture, libcrypto", FAULT_LIBCRYPTO, scenario_manufacture, tc);
    (void)count_down("thaw, alloc", FAULT_ALLOC, scenario_thaw, tc);
    (void)count_down("thaw, mbedtls", FAULT_MBEDTLS, scenario_thaw, tc);
    (void)count_down("thaw, libcrypto", FAULT_LIBCRYPTO, scenario_thaw, tc);
    assert_true(count_down_by("key generation, mbedtls", FAULT_MBEDTLS, 97, scenario_generate, &key) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_engine__each_allocation_of_each_command__error_or_the_same, spec_setup,
                                        spec_teardown),
        cmocka_unit_test_setup_teardown(test_engine__each_allocation_of_manufacture_and_thaw__error_or_done,
                                        spec_setup_owned, spec_teardown),
    };

    count_hook_libcrypto();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
