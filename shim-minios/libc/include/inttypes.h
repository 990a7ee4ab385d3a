/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MINIOS_LIBC_INTTYPES_H
#define MINIOS_LIBC_INTTYPES_H

#include <stdint.h>

#define PRIu8  "u"
#define PRIu16 "u"
#define PRIu32 "u"
#define PRIu64 "lu"
#define PRIx32 "x"
#define PRIx64 "lx"

#endif
