# SPDX-License-Identifier: Apache-2.0
if(NOT VTPM_TEST_HOOKS)
  return()
endif()
if(NOT TARGET vt_fixture_keys)
  add_library(vt_fixture_keys STATIC ${CMAKE_SOURCE_DIR}/tests/lib/fixture_keys.c)
  target_link_libraries(vt_fixture_keys PUBLIC vt_crypto)
endif()
if(NOT TARGET vt_tpm_client)
  add_library(vt_tpm_client STATIC ${CMAKE_SOURCE_DIR}/tests/lib/tpm_client.c)
  target_link_libraries(vt_tpm_client PUBLIC vt_engine vt_fixture_keys PkgConfig::cmocka vtpm_options)
endif()
foreach(part auth exec state da corners vendor)
  vtpm_test(test_engine_${part} LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_engine_${part}.c
    ${CMAKE_SOURCE_DIR}/tests/spec/spec.c LIBS vt_tpm_client)
endforeach()
vtpm_test(test_engine_da_kinds LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_engine_da_kinds.c
  ${CMAKE_CURRENT_LIST_DIR}/secret_kinds.c ${CMAKE_SOURCE_DIR}/tests/spec/spec.c LIBS vt_tpm_client)
# What opens a private key is the test's first.
vtpm_test(test_engine_kept LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_engine_kept.c
  ${CMAKE_SOURCE_DIR}/tests/spec/spec.c LIBS vt_tpm_client)
target_link_options(test_engine_kept PRIVATE LINKER:--wrap=cr_rsa_open)
if(VTPM_HAVE_LIBCRYPTO)
  target_compile_definitions(test_engine_kept PRIVATE VTPM_HAVE_LIBCRYPTO=1)
endif()
vtpm_test(test_bug_classes LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_bug_classes.c
  ${CMAKE_SOURCE_DIR}/tests/spec/spec.c LIBS vt_tpm_client)
# A guest that tries every ordinal.
set(guest ${CMAKE_CURRENT_LIST_DIR}/dirty_guest.c ${CMAKE_CURRENT_LIST_DIR}/dirty_more.c
  ${CMAKE_CURRENT_LIST_DIR}/dirty_last.c ${CMAKE_CURRENT_LIST_DIR}/dirty_leave.c ${CMAKE_SOURCE_DIR}/tests/spec/spec.c)
foreach(part dirty replay)
  vtpm_test(test_engine_${part} LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_engine_${part}.c ${guest}
    LIBS vt_tpm_client)
endforeach()
# Four such sessions: long under sanitizers.
set_tests_properties(test_engine_replay PROPERTIES TIMEOUT 900)
vtpm_test(test_swtpm LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_swtpm.c ${CMAKE_CURRENT_LIST_DIR}/make_swtpm.c
  LIBS vt_engine vt_fixture_keys)
