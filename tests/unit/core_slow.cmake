# SPDX-License-Identifier: Apache-2.0
vtpm_test(test_core_slow LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_core_slow.c LIBS test_core)
