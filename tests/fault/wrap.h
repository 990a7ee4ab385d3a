/* SPDX-License-Identifier: Apache-2.0 */
/* A call to the system that is ours first, by the linker's --wrap (count_test in CMakeLists.txt names them). */
#ifndef VTPM_TESTS_FAULT_WRAP_H
#define VTPM_TESTS_FAULT_WRAP_H

#include <errno.h>

#include "tests/fault/countdown.h"

/* Declares the real one, defines ours: a strike makes it fail with `number` in errno. */
#define WRAP(type, name, declared, passed, fault, number, failure)                                           \
    type __real_##name declared;                                                                             \
    type __wrap_##name declared;                                                                             \
    type __wrap_##name declared                                                                              \
    {                                                                                                        \
        if (count_strikes(fault)) {                                                                          \
            errno = (number);                                                                                \
            return (failure);                                                                                \
        }                                                                                                    \
        return __real_##name passed;                                                                         \
    }

#endif
