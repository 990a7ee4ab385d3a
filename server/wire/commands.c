/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wire/commands.h"

#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    WIRE_FUNCTIONS(snake##_in, struct snake##_in, 0, IN_##snake)                                             \
    WIRE_FUNCTIONS(snake##_out, struct snake##_out, 0, OUT_##snake)
#include "server/wire/ordinals.def"
#undef ORDINAL
