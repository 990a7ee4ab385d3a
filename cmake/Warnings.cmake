# SPDX-License-Identifier: Apache-2.0
# One list of warnings for gcc and clang; errors in every preset but a packager's own.
option(VTPM_WERROR "Treat warnings as errors" ON)
add_library(vtpm_warnings INTERFACE)
target_compile_options(vtpm_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
  -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wcast-qual -Wimplicit-fallthrough -Wunused-result)
if(VTPM_WERROR)
  target_compile_options(vtpm_warnings INTERFACE -Werror)
endif()
