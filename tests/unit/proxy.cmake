# SPDX-License-Identifier: Apache-2.0
# The program's sources with a kernel of the test's own in the place of /dev/vtpmx.
get_target_property(proxy_sources vtpm-shim SOURCES)
list(REMOVE_ITEM proxy_sources vtpmx.c)
list(TRANSFORM proxy_sources PREPEND ${CMAKE_SOURCE_DIR}/shim-linux/)
get_target_property(proxy_libs vtpm-shim LINK_LIBRARIES)
get_target_property(proxy_definitions vtpm-shim COMPILE_DEFINITIONS)
add_executable(vtpm-shim-fake-vtpmx ${proxy_sources} ${CMAKE_CURRENT_LIST_DIR}/fake_vtpmx.c)
target_link_libraries(vtpm-shim-fake-vtpmx PRIVATE ${proxy_libs})
if(proxy_definitions)
  target_compile_definitions(vtpm-shim-fake-vtpmx PRIVATE ${proxy_definitions})
endif()
set_target_properties(vtpm-shim-fake-vtpmx PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
vtpm_test(test_shim_proxy LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shim_proxy.c ${CMAKE_CURRENT_LIST_DIR}/shim_process.c
    ${CMAKE_CURRENT_LIST_DIR}/server_thread.c ${CMAKE_CURRENT_LIST_DIR}/fake_server.c
  LIBS vt_proto Threads::Threads)
add_dependencies(test_shim_proxy vtpm-shim-fake-vtpmx)
target_compile_definitions(test_shim_proxy PRIVATE VTPM_SHIM="$<TARGET_FILE:vtpm-shim-fake-vtpmx>")
