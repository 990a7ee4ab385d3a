/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lint of the two tables of ordinals: ordinals.def against a list of its own, and the engine's commands.def
 * against ordinals.def.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "server/wire/constants.h"

#if __has_include("server/engine/commands.def")
#include "server/engine/cmd.h"
#define HAVE_ENGINE_ROWS 1
#else
#define HAVE_ENGINE_ROWS 0
#endif

struct row {
    const char *name;
    uint32_t ordinal;
    uint8_t handles_in, handles_out;
    uint8_t min_auths, max_auths;
};

static const struct row rows[] = {
#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    {#snake, ordinal, handles_in, handles_out, min_auths, max_auths},
#include "server/wire/ordinals.def"
#undef ORDINAL
};

/* From the project's notes on TPM 1.2, by number: {ordinal, least, most sessions}; ANY: they do not say. */
#define ANY 9
static const struct {
    uint32_t ordinal;
    uint8_t min_auths, max_auths;
} expected[] = {
    {0x0A, 0, 0}, {0x0B, 0, 0}, {0x0C, 2, 2}, {0x0D, 1, 1}, {0x0E, 0, 1}, {0x0F, 0, 1}, {0x10, 1, 1},
    {0x11, 0, 0}, {0x12, 1, 1}, {0x13, 1, 1}, {0x14, 0, 0}, {0x15, 0, 0}, {0x16, 0, 1}, {0x17, 1, 1},
    {0x18, 1, 2}, {0x19, 1, 1}, {0x1A, 0, 0}, {0x1B, 1, 1}, {0x1C, 1, 1}, {0x1D, 1, 1}, {0x1E, 0, 1},
    {0x1F, 1, 1}, {0x20, 0, 1}, {0x21, 0, 1}, {0x22, 0, 0}, {0x23, 1, 1}, {0x24, 1, 1}, {0x25, 0, 1},
    {0x28, 1, 2}, {0x29, 1, 1}, {0x2A, 0, 1}, {0x2B, 1, 1}, {0x2C, ANY, ANY}, {0x2D, ANY, ANY},
    {0x2E, ANY, ANY}, {0x2F, ANY, ANY}, {0x30, ANY, ANY}, {0x31, 1, 1}, {0x32, 0, 2}, {0x33, 0, 2},
    {0x3C, 0, 1}, {0x3D, 1, 1}, {0x3E, 0, 1}, {0x3F, 0, 1}, {0x40, 1, 1}, {0x41, 0, 1}, {0x46, 0, 0},
    {0x47, 0, 0}, {0x50, 0, 0}, {0x52, ANY, ANY}, {0x53, 0, 0}, {0x54, 0, 0}, {0x5A, 0, 0}, {0x5B, 1, 1},
    {0x5C, 1, 1}, {0x5D, 0, 0}, {0x5E, 0, 0}, {0x64, ANY, ANY}, {0x65, 0, 0}, {0x66, 1, 1}, {0x6E, 1, 1},
    {0x6F, 0, 0}, {0x70, 0, 0}, {0x71, 0, 0}, {0x72, 0, 0}, {0x73, 0, 1}, {0x74, 0, 0}, {0x75, 0, 0},
    {0x78, 0, 0}, {0x79, 1, 2}, {0x7A, 1, 2}, {0x7C, 0, 0}, {0x7D, 1, 1}, {0x7E, 1, 1}, {0x7F, 0, 0},
    {0x80, 0, 0}, {0x81, 1, 1}, {0x82, ANY, ANY}, {0x83, ANY, ANY}, {0x85, 0, 0}, {0x86, 0, 1},
    {0x8C, ANY, ANY}, {0x8D, 1, 1}, {0x96, 0, 0}, {0x97, 0, 0}, {0x98, 0, 0}, {0x99, 0, 0}, {0x9A, ANY, ANY},
    {0xA0, 0, 0}, {0xA1, 0, 0}, {0xA2, 0, 0}, {0xA3, 0, 0}, {0xAA, ANY, ANY}, {0xB4, 0, 0}, {0xB5, 0, 0},
    {0xB6, 0, 0}, {0xB7, 0, 0}, {0xB8, 0, 0}, {0xB9, 0, 0}, {0xBA, 0, 0}, {0xC8, 0, 0}, {0xCC, 0, 1},
    {0xCD, 0, 1}, {0xCE, 1, 1}, {0xCF, 0, 1}, {0xD0, 1, 1}, {0xD1, 1, 1}, {0xD2, 0, 1}, {0xD4, 1, 1},
    {0xD5, 1, 1}, {0xD6, 0, 0}, {0xD8, 0, 1}, {0xDB, 0, 0}, {0xDC, 1, 1}, {0xDD, 1, 1}, {0xDE, 0, 0},
    {0xDF, 1, 1}, {0xE0, 1, 1}, {0xE6, 0, 1}, {0xE7, 1, 1}, {0xE8, 1, 2}, {0xF1, 0, 0}, {0xF2, 0, 1},
    {0x4000000A, 0, 0}, {0x4000000B, 0, 0},
};

static const struct row *find(uint32_t ordinal)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (rows[i].ordinal == ordinal)
            return &rows[i];
    return NULL;
}

static void test_ordinals__list__125_of_them(void **state)
{
    (void)state;
    assert_int_equal(VT_COUNT(expected), 125);
    assert_int_equal(VT_COUNT(rows), 125);
}

static void test_ordinals__every_number__once_and_with_its_sessions(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT(expected); i++) {
        const struct row *row = find(expected[i].ordinal);

        if (!row)
            fail_msg("ordinal 0x%x has no row", expected[i].ordinal);
        if (expected[i].min_auths != ANY &&
            (row->min_auths != expected[i].min_auths || row->max_auths != expected[i].max_auths))
            fail_msg("%s: sessions %u to %u", row->name, row->min_auths, row->max_auths);
    }
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (find(rows[i].ordinal) != &rows[i])
            fail_msg("%s: its number is there twice", rows[i].name);
}

static void test_ordinals__counts__possible(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        assert_true(rows[i].min_auths <= rows[i].max_auths);
        assert_true(rows[i].max_auths <= 2);
        assert_true(rows[i].handles_in <= 2);
        assert_true(rows[i].handles_out <= 1);
    }
}

#if HAVE_ENGINE_ROWS
static const struct {
    const char *name;
    struct cmd_row row;
} engine[] = {
#define TPM_CMD(code, snake, ...) {#snake, {.ordinal = (code), __VA_ARGS__}},
#define TPM_CMD_ABSENT(code, snake, ...) {#snake, {.ordinal = (code), __VA_ARGS__}},
#include "server/engine/commands.def"
#undef TPM_CMD
#undef TPM_CMD_ABSENT
};

static void test_engine_rows__every_ordinal__agrees_with_the_wire(void **state)
{
    bool seen[VT_COUNT(rows)] = {false};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(engine); i++) {
        const struct cmd_row *e = &engine[i].row;
        const struct row *row = find(e->ordinal);

        if (!row || strcmp(row->name, engine[i].name) != 0 || seen[row - rows]) {
            print_error("%s (0x%x): unknown, misnamed or twice\n", engine[i].name, e->ordinal);
            wrong++;
            continue;
        }
        seen[row - rows] = true;
        if (e->handle_count != row->handles_in || e->out_handles != row->handles_out ||
            e->auth.min != row->min_auths || e->auth.max != row->max_auths) {
            print_error("%s: engine says handles %u/%u, sessions %u-%u; wire says %u/%u, %u-%u\n", row->name,
                        e->handle_count, e->out_handles, e->auth.min, e->auth.max, row->handles_in,
                        row->handles_out, row->min_auths, row->max_auths);
            wrong++;
        }
    }
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        if (!seen[i]) {
            print_error("%s: not in commands.def\n", rows[i].name);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinals__list__125_of_them),
        cmocka_unit_test(test_ordinals__every_number__once_and_with_its_sessions),
        cmocka_unit_test(test_ordinals__counts__possible),
#if HAVE_ENGINE_ROWS
        cmocka_unit_test(test_engine_rows__every_ordinal__agrees_with_the_wire),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
