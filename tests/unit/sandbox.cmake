# SPDX-License-Identifier: Apache-2.0
# The same sandbox sources with a double in the engine's place: small, and always with the test hooks.
add_library(sandbox_with_double STATIC
  ${CMAKE_SOURCE_DIR}/server/sandbox/zygote.c ${CMAKE_SOURCE_DIR}/server/sandbox/confine.c
  ${CMAKE_SOURCE_DIR}/server/sandbox/serve.c ${CMAKE_SOURCE_DIR}/server/sandbox/misbehave.c
  ${CMAKE_SOURCE_DIR}/server/sandbox/ask_key.c ${CMAKE_SOURCE_DIR}/server/sandbox/keymaker.c
  ${CMAKE_SOURCE_DIR}/server/sandbox/stream.c
  ${CMAKE_CURRENT_SOURCE_DIR}/fake_engine.c)
target_compile_definitions(sandbox_with_double PUBLIC VTPM_TEST_HOOKS=1)
target_link_libraries(sandbox_with_double PUBLIC vt_profile vt_wire vt_crypto vt_base PkgConfig::seccomp)
add_executable(vtpm-engine-double ${CMAKE_SOURCE_DIR}/server/sandbox/engine_main.c)
target_link_libraries(vtpm-engine-double PRIVATE sandbox_with_double)
set_target_properties(vtpm-engine-double PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

# The broker's side, compiled here: these tests need nothing else of server/core.
set(broker_side ${CMAKE_SOURCE_DIR}/server/core/zygote.c ${CMAKE_SOURCE_DIR}/server/core/engine.c
  ${CMAKE_SOURCE_DIR}/server/core/loop_uv.c)

vtpm_test(test_loop_uv LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_loop_uv.c ${CMAKE_SOURCE_DIR}/server/core/loop_uv.c
  LIBS vt_base PkgConfig::uv Threads::Threads)

vtpm_test(test_sandbox LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_sandbox.c ${CMAKE_CURRENT_LIST_DIR}/sandbox_fixture.c ${broker_side}
  LIBS vt_profile vt_wire vt_base PkgConfig::uv)
add_dependencies(test_sandbox vtpm-engine-double)
target_compile_definitions(test_sandbox PRIVATE ENGINE_PATH="$<TARGET_FILE:vtpm-engine-double>")

vtpm_test(test_sandbox_faults LABELS unit fault
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_sandbox_faults.c ${CMAKE_CURRENT_LIST_DIR}/sandbox_fixture.c ${broker_side}
  LIBS vt_profile vt_wire vt_base PkgConfig::uv)
add_dependencies(test_sandbox_faults vtpm-engine-double)
target_compile_definitions(test_sandbox_faults PRIVATE ENGINE_PATH="$<TARGET_FILE:vtpm-engine-double>")

vtpm_test(test_sandbox_serve LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_sandbox_serve.c
  LIBS sandbox_with_double)

# The sandbox's side of a key, with a broker that lies.
vtpm_test(test_ask_key LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_ask_key.c ${CMAKE_SOURCE_DIR}/server/sandbox/ask_key.c
  ${CMAKE_SOURCE_DIR}/server/sandbox/stream.c
  LIBS vt_crypto vt_wire vt_base)

vtpm_test(test_sandbox_real LABELS integration
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_sandbox_real.c ${CMAKE_CURRENT_LIST_DIR}/sandbox_fixture.c
  ${CMAKE_CURRENT_LIST_DIR}/make_certificate.c ${broker_side}
  LIBS vt_profile vt_crypto vt_wire vt_base PkgConfig::uv)
add_dependencies(test_sandbox_real vtpm-engine)
target_compile_definitions(test_sandbox_real PRIVATE ENGINE_PATH="$<TARGET_FILE:vtpm-engine>")
