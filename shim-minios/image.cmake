# SPDX-License-Identifier: Apache-2.0
# The stub domain's image, by `cmake --preset minios` (docs/minios.md): our objects, mbedTLS and protobuf-c without an
# operating system, in one object; the part that knows Mini-OS in another; and the configuration with which Mini-OS' own
# makefile links the two. Nothing of the host's libraries is used.
set(MINIOS_ROOT "" CACHE PATH "A Mini-OS tree")
set(MBEDTLS_SOURCE "" CACHE PATH "mbedTLS' source, as `apt-get source mbedtls` unpacks it")
set(PROTOBUFC_SOURCE "" CACHE PATH "protobuf-c's source, as `apt-get source protobuf-c` unpacks it")
set(VTPM_MINIOS_HEAP 1048576 CACHE STRING "Bytes of the stub domain's heap")
find_program(PROTOC_C NAMES protoc-c)

# All that is missing at once.
set(missing "")
foreach(need "MINIOS_ROOT|include/gntmap.h|a Mini-OS tree, e.g. git clone https://xenbits.xen.org/git-http/mini-os.git"
             "MBEDTLS_SOURCE|library/ssl_tls.c|apt-get source mbedtls"
             "PROTOBUFC_SOURCE|protobuf-c/protobuf-c.c|apt-get source protobuf-c")
  string(REPLACE "|" ";" need "${need}")
  list(GET need 0 name)
  list(GET need 1 file)
  list(GET need 2 how)
  if(NOT ${name} OR NOT EXISTS "${${name}}/${file}")
    string(APPEND missing "\n  -D${name}=DIR  (DIR/${file} is looked for; ${how})")
  endif()
endforeach()
if(NOT PROTOC_C)
  string(APPEND missing "\n  protoc-c  (apt-get install protobuf-c-compiler)")
endif()
if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  string(APPEND missing "\n  a machine of x86_64 (this is ${CMAKE_SYSTEM_PROCESSOR})")
endif()
if(missing)
  message(FATAL_ERROR "The Mini-OS image cannot be built; what is missing:${missing}\n"
    "docs/minios.md has the commands. Everything portable of it is built and tested without, by the other presets.")
endif()

set(here ${CMAKE_CURRENT_LIST_DIR})
set(root ${CMAKE_SOURCE_DIR})
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=include OUTPUT_VARIABLE compiler_include
  OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-libgcc-file-name OUTPUT_VARIABLE libgcc OUTPUT_STRIP_TRAILING_WHITESPACE)

# No red zone: event channels interrupt on our stack. No vector registers: nobody saves them.
set(machine -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-asynchronous-unwind-tables
  -fcf-protection=none -fno-common -fstack-protector-strong -mstack-protector-guard=global)
set(freestanding ${machine} -ffunction-sections -fdata-sections -fno-tree-loop-distribute-patterns
  -nostdinc "SHELL:-isystem ${here}/libc/include" "SHELL:-isystem ${compiler_include}")

include(${root}/cmake/Warnings.cmake)

# ---- What we have not written ----
set(pb ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${pb})
add_custom_command(OUTPUT ${pb}/vtpm.pb-c.c ${pb}/vtpm.pb-c.h
  COMMAND ${PROTOC_C} --c_out=${pb} --proto_path=${root}/proto vtpm.proto
  COMMAND sed -i "s/(char \\*)protobuf_c_empty_string/(char *)(uintptr_t)protobuf_c_empty_string/g" ${pb}/vtpm.pb-c.h
  DEPENDS ${root}/proto/vtpm.proto VERBATIM)
add_custom_target(stubdom_pb DEPENDS ${pb}/vtpm.pb-c.h)
file(GLOB mbedtls ${MBEDTLS_SOURCE}/library/*.c)
list(FILTER mbedtls EXCLUDE REGEX "/(error|net_sockets|timing|entropy_poll|version_features|ssl_debug_helpers_generated|psa_[a-z_]*)\\.c$")
add_library(stubdom_theirs OBJECT ${mbedtls} ${PROTOBUFC_SOURCE}/protobuf-c/protobuf-c.c ${pb}/vtpm.pb-c.c)
target_compile_options(stubdom_theirs PRIVATE ${freestanding} -w)
target_compile_definitions(stubdom_theirs PRIVATE MBEDTLS_CONFIG_FILE="shim-minios/mbedtls_config.h")
target_include_directories(stubdom_theirs PRIVATE ${root} ${MBEDTLS_SOURCE}/include ${MBEDTLS_SOURCE}/library
  ${PROTOBUFC_SOURCE} ${CMAKE_BINARY_DIR})

# ---- Ours ----
set(ours)
foreach(file base/err base/secret base/alloc base/text base/buf base/log)
  list(APPEND ours ${root}/server/${file}.c)
endforeach()
foreach(file frame pb tls channel message relay relay_talk relay_deed relay_ticket relay_errors courier credential tpmif
             xenback xendevices xenpaths xenrecords)
  list(APPEND ours ${root}/proto/${file}.c)
endforeach()
foreach(file stubdom backend settings channel_lane guest_ring vchan_client entropy entry libc/heap libc/string libc/print libc/float)
  list(APPEND ours ${here}/${file}.c)
endforeach()
add_library(stubdom_ours OBJECT ${ours})
add_dependencies(stubdom_ours stubdom_pb)
target_link_libraries(stubdom_ours PRIVATE vtpm_warnings)
target_compile_options(stubdom_ours PRIVATE ${freestanding})
target_compile_definitions(stubdom_ours PRIVATE VTPM_VERSION="${PROJECT_VERSION}" HEAP_BYTES=${VTPM_MINIOS_HEAP}u
  MBEDTLS_CONFIG_FILE="shim-minios/mbedtls_config.h")
target_include_directories(stubdom_ours PRIVATE ${root})
target_include_directories(stubdom_ours SYSTEM PRIVATE ${MBEDTLS_SOURCE}/include ${PROTOBUFC_SOURCE} ${CMAKE_BINARY_DIR})

# The two global names are what app_main.c starts, and the guard of the stack that platform_minios.c shares: nothing of ours can meet a name of Mini-OS'.
set(image_dir ${CMAKE_BINARY_DIR}/image)
file(MAKE_DIRECTORY ${image_dir})
add_custom_command(OUTPUT ${image_dir}/vtpm-stubdom.o
  COMMAND ${CMAKE_LINKER} -r --gc-sections -T ${here}/image.lds -u vtpm_stubdom_thread -o ${image_dir}/whole.o
    $<TARGET_OBJECTS:stubdom_ours> $<TARGET_OBJECTS:stubdom_theirs> ${libgcc}
  COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=vtpm_stubdom_thread --keep-global-symbol=__stack_chk_guard
    ${image_dir}/whole.o ${image_dir}/vtpm-stubdom.o
  DEPENDS stubdom_ours stubdom_theirs $<TARGET_OBJECTS:stubdom_ours> $<TARGET_OBJECTS:stubdom_theirs> ${here}/image.lds
  COMMAND_EXPAND_LISTS VERBATIM)

# ---- What knows Mini-OS: with its headers and its flags ----
add_custom_target(minios_links COMMAND make -s -C ${MINIOS_ROOT} MINIOS_CONFIG=${image_dir}/minios.cfg links VERBATIM)
add_library(stubdom_platform OBJECT ${here}/platform_minios.c)
add_dependencies(stubdom_platform minios_links)
target_compile_options(stubdom_platform PRIVATE ${machine} -fgnu89-inline -Wall -Wextra -Werror)
target_compile_definitions(stubdom_platform PRIVATE __MINIOS__ __INSIDE_MINIOS__ CONFIG_PARAVIRT CONFIG_XENBUS
  __XEN_INTERFACE_VERSION__=0x00030205)
target_include_directories(stubdom_platform PRIVATE ${root})
target_include_directories(stubdom_platform SYSTEM PRIVATE ${MINIOS_ROOT}/include ${MINIOS_ROOT}/include/x86
  ${MINIOS_ROOT}/include/x86/x86_64)
add_custom_command(OUTPUT ${image_dir}/platform.o
  COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_OBJECTS:stubdom_platform> ${image_dir}/platform.o
  DEPENDS stubdom_platform $<TARGET_OBJECTS:stubdom_platform> COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(objects ALL DEPENDS ${image_dir}/vtpm-stubdom.o ${image_dir}/platform.o)

configure_file(${here}/minios.cfg.in ${image_dir}/minios.cfg @ONLY)
set(link make -C ${MINIOS_ROOT} MINIOS_CONFIG=${image_dir}/minios.cfg OBJ_DIR=${image_dir}/minios
  "APP_OBJS=${image_dir}/vtpm-stubdom.o ${image_dir}/platform.o")
# Mini-OS' makefile, once for its links and once for the image; what is wanted of it stands in the one object that it makes.
foreach(dir lib xenbus console arch/x86)
  file(MAKE_DIRECTORY ${image_dir}/minios/${dir})
endforeach()
add_custom_target(image ALL
  COMMAND ${link} > ${image_dir}/make.log
  COMMAND ${CMAKE_STRIP} -o ${image_dir}/vtpm-stubdom ${image_dir}/minios/mini-os
  COMMAND size ${image_dir}/vtpm-stubdom
  DEPENDS objects VERBATIM)
