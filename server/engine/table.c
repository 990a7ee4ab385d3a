/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of commands.def: handler, decoder and encoder of each ordinal behind one type. */
#include "server/engine/handlers.h"
#include "server/engine/vendor.h"

#define TPM_CMD(code, name, ...)                                                                             \
    static void decode_##name(struct rd *r, void *in)                                                        \
    {                                                                                                        \
        rd_##name##_in(r, in);                                                                               \
    }                                                                                                        \
    static void encode_##name(struct wr *w, const void *out)                                                 \
    {                                                                                                        \
        wr_##name##_out(w, out);                                                                             \
    }                                                                                                        \
    static tpm_rc run_##name(struct cmd *c, const void *in, void *out)                                       \
    {                                                                                                        \
        return cmd_##name(c, in, out);                                                                       \
    }
#define TPM_CMD_ABSENT(code, name, ...)
#include "server/engine/commands.def"
#undef TPM_CMD
#undef TPM_CMD_ABSENT

#define TPM_CMD(code, name, ...)                                                                             \
    {.ordinal = (code),                                                                                      \
     .in_size = sizeof(struct name##_in),                                                                    \
     .out_size = sizeof(struct name##_out),                                                                  \
     .decode = decode_##name,                                                                                \
     .encode = encode_##name,                                                                                \
     .run = run_##name,                                                                                      \
     __VA_ARGS__},
#define TPM_CMD_ABSENT(code, name, ...) {.ordinal = (code), __VA_ARGS__},
static const struct cmd_row rows[] = {
#include "server/engine/commands.def"
};
#undef TPM_CMD
#undef TPM_CMD_ABSENT

_Static_assert(VT_COUNT(rows) == 125, "123 TPM_ORD and 2 TSC_ORD");
_Static_assert(VT_COUNT(rows) <= AUDIT_BITMAP_BYTES * 8, "one audit bit per row");

const struct cmd_row *cmd_rows(size_t *count)
{
    *count = VT_COUNT(rows);
    return rows;
}

const struct cmd_row *cmd_row_find(uint32_t ordinal)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (rows[i].ordinal == ordinal)
            return &rows[i];
    return NULL;
}

bool cmd_is_offered(const struct tpm *tpm, const struct cmd_row *row)
{
    return row->run && (!(row->flags & CMD_MAINTENANCE) || tpm->perm.profile.maintenance);
}

bool cmd_is_implemented(const struct tpm *tpm, uint32_t ordinal)
{
    const struct cmd_row *row = cmd_row_find(ordinal);

    return row ? cmd_is_offered(tpm, row) : vendor_row_find(tpm, ordinal) != NULL;
}
