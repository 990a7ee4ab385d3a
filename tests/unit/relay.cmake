# SPDX-License-Identifier: Apache-2.0
vtpm_test(test_relay LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_relay.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c LIBS vt_proto)
vtpm_test(test_relay_deed LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_relay_deed.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c LIBS vt_proto)
vtpm_test(test_shim_credential LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim_credential.c ${CMAKE_SOURCE_DIR}/shim-linux/credential.c
    ${CMAKE_SOURCE_DIR}/shim-linux/endpoint.c
  LIBS vt_proto vt_base)

# The program itself against a server of the test's own, over real sockets.
vtpm_test(test_shim LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim.c ${CMAKE_CURRENT_LIST_DIR}/shim_process.c
    ${CMAKE_CURRENT_LIST_DIR}/server_thread.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c
  LIBS vt_proto Threads::Threads)
add_dependencies(test_shim vtpm-shim)
target_compile_definitions(test_shim PRIVATE VTPM_SHIM="$<TARGET_FILE:vtpm-shim>")

# The same against a Xen of the test's own: the program's sources, linked with a fake instead of Xen's libraries.
if(VTPM_HAVE_XEN)
  get_target_property(shim_sources vtpm-shim SOURCES)
  list(TRANSFORM shim_sources PREPEND ${CMAKE_SOURCE_DIR}/shim-linux/)
  add_executable(vtpm-shim-fake-xen ${shim_sources} ${CMAKE_CURRENT_LIST_DIR}/fake_xen.c
    ${CMAKE_CURRENT_LIST_DIR}/fake_xen_memory.c)
  target_compile_definitions(vtpm-shim-fake-xen PRIVATE VTPM_HAVE_XEN=1)
  target_link_libraries(vtpm-shim-fake-xen PRIVATE vt_proto vt_base vt_xen PkgConfig::uv Threads::Threads)
  set_target_properties(vtpm-shim-fake-xen PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  vtpm_test(test_shim_xen LABELS unit
    SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim_xen.c ${CMAKE_CURRENT_LIST_DIR}/shim_process.c
      ${CMAKE_CURRENT_LIST_DIR}/server_thread.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c
      ${CMAKE_CURRENT_LIST_DIR}/fake_xen_world.c ${CMAKE_CURRENT_LIST_DIR}/fake_xen_memory.c
    LIBS vt_proto Threads::Threads)
  add_dependencies(test_shim_xen vtpm-shim-fake-xen)
  target_compile_definitions(test_shim_xen PRIVATE VTPM_SHIM="$<TARGET_FILE:vtpm-shim-fake-xen>")
endif()
