# SPDX-License-Identifier: Apache-2.0
vtpm_test(test_relay LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_relay.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c LIBS vt_proto)
vtpm_test(test_shim_credential LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim_credential.c ${CMAKE_SOURCE_DIR}/shim-linux/credential.c
    ${CMAKE_SOURCE_DIR}/shim-linux/endpoint.c
  LIBS vt_base)

# The program itself against a server of the test's own, over real sockets.
vtpm_test(test_shim LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim.c ${CMAKE_CURRENT_LIST_DIR}/server_thread.c
    ${CMAKE_CURRENT_LIST_DIR}/fake_server.c
  LIBS vt_proto Threads::Threads)
add_dependencies(test_shim vtpm-shim)
target_compile_definitions(test_shim PRIVATE VTPM_SHIM="$<TARGET_FILE:vtpm-shim>")
