# SPDX-License-Identifier: Apache-2.0
# The engine's own confinement, from the library that vtpm-engine is linked from: tight in every build without sanitizers.
vtpm_test(test_sandbox_filter LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_sandbox_filter.c LIBS vt_sandbox)
