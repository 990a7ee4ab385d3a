# SPDX-License-Identifier: Apache-2.0
# The portable parts of the Xen back end, without Xen.
vtpm_test(test_xenback LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_xenback.c LIBS vt_proto)
