# SPDX-License-Identifier: Apache-2.0
vtpm_test(test_wire LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_wire.c LIBS vt_wire)
vtpm_test(test_wire_schema LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_wire_schema.c LIBS vt_wire)
vtpm_test(test_wire_vectors LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_wire_vectors.c LIBS vt_wire)
vtpm_test(test_wire_rows LABELS unit lint SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_wire_rows.c LIBS vt_wire)
vtpm_test(test_certificate LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_certificate.c
  ${CMAKE_CURRENT_LIST_DIR}/make_certificate.c LIBS vt_wire)
