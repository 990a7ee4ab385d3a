# SPDX-License-Identifier: Apache-2.0
# VTPM_SANITIZE: a list for -fsanitize= ("address,undefined", "thread", "fuzzer-no-link,...").
set(VTPM_SANITIZE "" CACHE STRING "Sanitizers to build with")
add_library(vtpm_sanitizers INTERFACE)
if(VTPM_SANITIZE)
  target_compile_options(vtpm_sanitizers INTERFACE
    -fsanitize=${VTPM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(vtpm_sanitizers INTERFACE -fsanitize=${VTPM_SANITIZE})
  if(VTPM_SANITIZE MATCHES "thread" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # The runtime store's fences order stores against the death of the process, not against threads.
    target_compile_options(vtpm_sanitizers INTERFACE -Wno-tsan)
  endif()
  # Sanitizer runtimes need system calls that the tight filter forbids.
  target_compile_definitions(vtpm_sanitizers INTERFACE VTPM_WIDE_SECCOMP=1)
endif()
