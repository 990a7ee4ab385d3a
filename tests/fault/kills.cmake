# SPDX-License-Identifier: Apache-2.0
# Processes die at random moments under load. Sanitizer builds are slower and bigger: fewer guests, so that each of
# them still gets on between two deaths. `tests/run --long` has the thousand.
find_program(PYTHON3 NAMES python3)
if(NOT PYTHON3)
  message(WARNING "python3 was not found: no fault_kills")
  return()
endif()
if(VTPM_SANITIZE)
  set(kills_load --guests 8 --seconds 90 --at-least 20)
else()
  set(kills_load --guests 20 --seconds 120 --at-least 60)
endif()
add_test(NAME fault_kills COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/test_kills.py ${kills_load})
set_tests_properties(fault_kills PROPERTIES
  LABELS fault TIMEOUT 400
  ENVIRONMENT "VTPM_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/lib;PYTHONDONTWRITEBYTECODE=1")
