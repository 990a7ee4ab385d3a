/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline: headers, sizes, tags, states, every ordinal; and the table against the wire's own. */
#include "server/engine/cmd.h"
#include "tests/spec/spec.h"

static void put_header(struct tc *tc, uint16_t tag, uint32_t size, uint32_t ordinal, size_t len)
{
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

    wr_put16(&w, tag);
    wr_put32(&w, size);
    wr_put32(&w, ordinal);
    memset(tc->cmd + w.len, 0, sizeof tc->cmd - w.len);
    tc->cmd_len = len;
}

static tpm_rc send_header(struct tc *tc, uint16_t tag, uint32_t size, uint32_t ordinal, size_t len)
{
    put_header(tc, tag, size, ordinal, len);
    return tc_raw(tc);
}

static void test_header__short_or_wrong_size__bad_param_size(void **state)
{
    struct tc *tc = *state;

    for (size_t len = 0; len < TPM_HEADER_LEN; len++)
        assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 10, TPM_ORD_OIAP, len), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 11, TPM_ORD_OIAP, 10), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 9, TPM_ORD_OIAP, 10), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 0xFFFFFFFF, TPM_ORD_OIAP, 10), TPM_BAD_PARAM_SIZE);
}

static void test_params__short_or_long__bad_param_size(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 13, TPM_ORD_PcrRead, 13), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 15, TPM_ORD_PcrRead, 15), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 11, TPM_ORD_OIAP, 11), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 12, TPM_ORD_FlushSpecific, 12), TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 14, TPM_ORD_PcrRead, 14), TPM_SUCCESS);
}

static void test_params__inner_length_wraps__bad_param_size(void **state)
{
    struct tc *tc = *state;

    put_header(tc, TPM_TAG_RQU_COMMAND, 18, TPM_ORD_StirRandom, 18);
    memset(tc->cmd + TPM_HEADER_LEN, 0xFF, 4);
    assert_int_equal(tc_raw(tc), TPM_BAD_PARAM_SIZE);
}

static void test_tag__unknown_or_wrong_for_the_ordinal__badtag(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(send_header(tc, 0, 10, TPM_ORD_OIAP, 10), TPM_BADTAG);
    assert_int_equal(send_header(tc, 0x00C0, 10, TPM_ORD_OIAP, 10), TPM_BADTAG);
    assert_int_equal(send_header(tc, TPM_TAG_RSP_COMMAND, 10, TPM_ORD_OIAP, 10), TPM_BADTAG);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_AUTH1_COMMAND, 55, TPM_ORD_OIAP, 55), TPM_BADTAG);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_AUTH1_COMMAND, 10, TPM_ORD_OIAP, 10), TPM_BADTAG);
}

static void test_trailer__does_not_fit__bad_param_size(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(send_header(tc, TPM_TAG_RQU_AUTH1_COMMAND, 54, TPM_ORD_OwnerSetDisable, 54),
                     TPM_BAD_PARAM_SIZE);
    /* The trailer fits, the parameter is missing. */
    assert_int_equal(send_header(tc, TPM_TAG_RQU_AUTH1_COMMAND, 55, TPM_ORD_OwnerSetDisable, 55),
                     TPM_BAD_PARAM_SIZE);
    assert_int_equal(send_header(tc, TPM_TAG_RQU_AUTH1_COMMAND, 56, TPM_ORD_OwnerSetDisable, 56),
                     TPM_INVALID_AUTHHANDLE);
}

static void test_ordinal__unknown_or_absent__bad_ordinal(void **state)
{
    static const uint32_t ordinals[] = {0, TPM_ORD_Init, 0x20000001, 0x40000000, 0x80000015, 0xFFFFFFFF};
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(ordinals); i++)
        assert_int_equal(send_header(tc, TPM_TAG_RQU_COMMAND, 10, ordinals[i], 10), TPM_BAD_ORDINAL);
}

static void test_locality__past_4__bad_locality(void **state)
{
    struct tc *tc = *state;

    tc->locality = 5;
    assert_int_equal(TC(tc, TPM_ORD_OIAP, NULL, NULL), TPM_BAD_LOCALITY);
    tc->locality = 255;
    assert_int_equal(TC(tc, TPM_ORD_OIAP, NULL, NULL), TPM_BAD_LOCALITY);
}

/* Every ordinal answers something well-formed to no and to random parameters, and never goes into failure
 * mode. */
static void test_every_ordinal__junk__well_formed_answer(void **state)
{
    struct cr_drbg drbg;
    struct tc *tc = *state;
    uint8_t seed[CR_DRBG_SEED] = {7};
    const struct cmd_row *rows;
    size_t count;

    cr_drbg_init(&drbg, seed, NULL, 0);
    rows = cmd_rows(&count);
    tc->no_freeze = true;
    for (size_t i = 0; i < count * 40; i++) {
        const struct cmd_row *row = &rows[i % count];
        uint8_t dice[4];
        size_t len;

        cr_drbg_random(&drbg, dice, sizeof dice);
        len = TPM_HEADER_LEN + (dice[0] % 2 ? dice[1] % 16 : dice[1] * 2);
        put_header(tc, (uint16_t)(TPM_TAG_RQU_COMMAND + dice[2] % 3), (uint32_t)len, row->ordinal, len);
        cr_drbg_random(&drbg, tc->cmd + TPM_HEADER_LEN, len - TPM_HEADER_LEN);
        if (dice[3] % 2)
            memset(tc->cmd + TPM_HEADER_LEN, 0, (len - TPM_HEADER_LEN) / 2);
        tc->now_us += 1000000000;
        (void)tc_raw(tc);
        assert_false(tc->tpm->stany.failed);
        if (!cmd_is_offered(tc->tpm, row))
            assert_memory_equal(tc->rsp + 6, ((uint8_t[]){0, 0, 0, TPM_BAD_ORDINAL}), 4);
    }
}

/* The engine's rows and the wire's say the same of handles and sessions. */
static void test_table__against_ordinals_def__same(void **state)
{
#define ORDINAL(name, snake, number, in, out, least, most) {(number), (in), (out), (least), (most)},
    static const struct {
        uint32_t ordinal;
        uint8_t in, out, least, most;
    } wire[] = {
#include "server/wire/ordinals.def"
    };
#undef ORDINAL
    size_t count;

    (void)state;
    (void)cmd_rows(&count);
    assert_int_equal(count, VT_COUNT(wire));
    for (size_t i = 0; i < VT_COUNT(wire); i++) {
        const struct cmd_row *row = cmd_row_find(wire[i].ordinal);

        assert_non_null(row);
        assert_int_equal(row->handle_count, wire[i].in);
        assert_int_equal(row->out_handles, wire[i].out);
        assert_int_equal(row->auth.min, wire[i].least);
        assert_int_equal(row->auth.max, wire[i].most);
    }
}

/* Whatever takes a session says whose secret it proves; a key's secret needs that key. */
static void test_table__proofs__fit_handles(void **state)
{
    const struct cmd_row *rows;
    size_t count;

    (void)state;
    rows = cmd_rows(&count);
    for (size_t i = 0; i < count; i++) {
        for (unsigned a = 0; a < CMD_AUTH_MAX; a++) {
            uint8_t proof = rows[i].proof[a];

            assert_int_equal(proof != PROOF_NONE, a < rows[i].auth.max);
            if (proof == PROOF_KEY0 || proof == PROOF_KEY0_READ)
                assert_int_equal(rows[i].handles[0], HANDLE_KEY);
            if (proof == PROOF_KEY1 || proof == PROOF_KEY1_READ)
                assert_int_equal(rows[i].handles[1], HANDLE_KEY);
            if (proof == PROOF_OWNER && rows[i].auth.min)
                assert_true(rows[i].needs & NEEDS_OWNER || rows[i].ordinal == TPM_ORD_DirWriteAuth);
        }
    }
}

/* TPM_CAP_ORD says exactly what is implemented. */
static void test_cap_ord__every_row__as_implemented(void **state)
{
    struct tc *tc = *state;
    const struct cmd_row *rows;
    size_t count;

    rows = cmd_rows(&count);
    tc->no_freeze = true;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(spec_cap_bool(tc, TPM_CAP_ORD, rows[i].ordinal),
                         rows[i].run && !(rows[i].flags & CMD_MAINTENANCE));
    assert_false(spec_cap_bool(tc, TPM_CAP_ORD, 0x12345));
    tc->tpm->perm.profile.maintenance = true;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(spec_cap_bool(tc, TPM_CAP_ORD, rows[i].ordinal), rows[i].run != NULL);
}

/* The state table: what each implemented ordinal answers while disabled, deactivated, without owner. */
static void test_state_table__every_row__as_its_needs_say(void **state)
{
    struct tc *tc = *state;
    const struct cmd_row *rows;
    size_t count;

    rows = cmd_rows(&count);
    tc->no_freeze = true;
    tc->tpm->perm.profile.maintenance = true;
    for (size_t i = 0; i < count; i++) {
        const struct cmd_row *row = &rows[i];
        uint16_t tag = (uint16_t)(TPM_TAG_RQU_COMMAND + row->auth.min);
        uint32_t len = TPM_HEADER_LEN + row->auth.min * (uint32_t)TPM_AUTH_IN_LEN + 1000;

        if (!row->run)
            continue;
        tc->tpm->perm.flags.disable = true;
        tc->tpm->stclear.flags.deactivated = true;
        if (row->needs & NEEDS_ENABLED)
            assert_int_equal(send_header(tc, tag, len, row->ordinal, len), TPM_DISABLED);
        tc->tpm->perm.flags.disable = false;
        if (row->needs & NEEDS_ACTIVE)
            assert_int_equal(send_header(tc, tag, len, row->ordinal, len), TPM_DEACTIVATED);
        tc->tpm->stclear.flags.deactivated = false;
        if (row->needs & NEEDS_OWNER)
            assert_int_equal(send_header(tc, tag, len, row->ordinal, len), TPM_NOSRK);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_header__short_or_wrong_size__bad_param_size),
        T(test_params__short_or_long__bad_param_size),
        T(test_params__inner_length_wraps__bad_param_size),
        T(test_tag__unknown_or_wrong_for_the_ordinal__badtag),
        OWNED(test_trailer__does_not_fit__bad_param_size),
        T(test_ordinal__unknown_or_absent__bad_ordinal),
        T(test_locality__past_4__bad_locality),
        OWNED(test_every_ordinal__junk__well_formed_answer),
        cmocka_unit_test(test_table__against_ordinals_def__same),
        cmocka_unit_test(test_table__proofs__fit_handles),
        T(test_cap_ord__every_row__as_implemented),
        T(test_state_table__every_row__as_its_needs_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
