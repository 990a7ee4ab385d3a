# SPDX-License-Identifier: Apache-2.0
# The portable parts of the Xen back end, without Xen.
vtpm_test(test_xenback LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_xenback.c LIBS vt_proto)
# The hook runs before each access to the page: there the test plays the guest.
vtpm_test(test_tpmif LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_tpmif.c ${CMAKE_SOURCE_DIR}/proto/tpmif.c LIBS vt_base)
target_compile_definitions(test_tpmif PRIVATE TPMIF_HOOK)
# Also a model: shims that die at every step, between a guest's page and a server.
vtpm_test(test_journal LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_journal.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c
    ${CMAKE_SOURCE_DIR}/shim-linux/journal.c ${CMAKE_SOURCE_DIR}/proto/tpmif.c
  LIBS vt_proto)
target_compile_definitions(test_journal PRIVATE TPMIF_HOOK)
vtpm_test(test_relay_resume LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_relay_resume.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c LIBS vt_proto)
# A shim that is killed by longjmp in the middle of a message leaves it behind, as a process would.
set_tests_properties(test_journal PROPERTIES ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
