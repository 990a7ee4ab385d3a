/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For every row of ordinals.def, say LoadKey2: struct load_key2_in and struct load_key2_out (params.h), and
 * rd_load_key2_in, wr_load_key2_in, rd_load_key2_out, wr_load_key2_out. The TPM reads requests and writes
 * responses; its clients (hwtpm, tests) the other way round. Any thread.
 */
#ifndef VTPM_WIRE_COMMANDS_H
#define VTPM_WIRE_COMMANDS_H

#include "server/wire/params.h"
#include "server/wire/structures.h"

#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    WIRE_STRUCT(struct snake##_in, IN_##snake)                                                               \
    WIRE_STRUCT(struct snake##_out, OUT_##snake)                                                             \
    WIRE_KIND(snake##_in, struct snake##_in)                                                                 \
    WIRE_KIND(snake##_out, struct snake##_out)
#include "server/wire/ordinals.def"
#undef ORDINAL

#endif
