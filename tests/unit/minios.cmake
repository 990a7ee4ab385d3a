# SPDX-License-Identifier: Apache-2.0
# The Mini-OS shim on the host.
vtpm_test(test_minios_vchan LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_minios_vchan.c ${CMAKE_SOURCE_DIR}/shim-minios/vchan_client.c LIBS vt_base)

# The image's C library, under names of its own.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  set(libc ${CMAKE_SOURCE_DIR}/shim-minios/libc)
  add_library(test_minios_libc_parts STATIC ${libc}/heap.c ${libc}/print.c ${libc}/string.c ${libc}/float.c)
  target_link_libraries(test_minios_libc_parts PRIVATE vtpm_warnings)
  target_include_directories(test_minios_libc_parts PRIVATE ${CMAKE_SOURCE_DIR})
  target_include_directories(test_minios_libc_parts SYSTEM BEFORE PRIVATE ${libc}/include)
  target_compile_options(test_minios_libc_parts PRIVATE -ffreestanding)
  foreach(name malloc calloc realloc free abort snprintf vsnprintf memcpy memmove memset memcmp memchr strlen strnlen strcmp
               strncmp strncpy strchr strpbrk strstr strspn strcspn)
    target_compile_definitions(test_minios_libc_parts PRIVATE ${name}=mo_${name})
  endforeach()
  vtpm_test(test_minios_libc LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_minios_libc.c LIBS test_minios_libc_parts)
endif()

# Its program on Linux needs Xen's libraries, or a fake of them, for platform.h.
if(VTPM_HAVE_XEN)
  set(here ${CMAKE_CURRENT_LIST_DIR})
  set(platform ${CMAKE_SOURCE_DIR}/tests/lib/minios_platform.c)
  add_executable(vtpm-stubdom-fake-xen ${platform} ${here}/fake_xen.c ${here}/fake_xen_memory.c)
  target_link_libraries(vtpm-stubdom-fake-xen PRIVATE vt_stubdom Threads::Threads)
  set_target_properties(vtpm-stubdom-fake-xen PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  vtpm_test(test_minios_shim LABELS unit
    SOURCES ${here}/test_minios_shim.c ${here}/vchan_bridge.c ${here}/shim_process.c ${here}/server_thread.c
      ${here}/fake_server.c ${here}/fake_xen_world.c ${here}/fake_xen_memory.c
    LIBS vt_proto Threads::Threads)
  add_dependencies(test_minios_shim vtpm-stubdom-fake-xen)
  # For tests/integration/test_minios.py.
  add_executable(minios_world ${CMAKE_SOURCE_DIR}/tests/lib/minios_world.c ${here}/vchan_bridge.c ${here}/fake_server.c
    ${here}/fake_xen_world.c ${here}/fake_xen_memory.c)
  target_include_directories(minios_world PRIVATE ${here})
  target_link_libraries(minios_world PRIVATE vt_proto vt_base PkgConfig::cmocka Threads::Threads)
  set_target_properties(minios_world PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(test_minios_shim PRIVATE VTPM_STUBDOM="$<TARGET_FILE:vtpm-stubdom-fake-xen>")
endif()
