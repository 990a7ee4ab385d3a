# SPDX-License-Identifier: Apache-2.0
# What stands in front of the broker, against a broker of the tests' own: fake_broker.c comes before vt_core's.
set(here ${CMAKE_CURRENT_LIST_DIR})
vtpm_test(test_config LABELS unit SOURCES ${here}/test_config.c LIBS vt_net)
target_compile_definitions(test_config PRIVATE MAN_PAGE="${CMAKE_SOURCE_DIR}/deploy/man/vtpm-server.8")
vtpm_test(test_listener LABELS unit SOURCES ${here}/test_listener.c LIBS vt_net)
vtpm_test(test_conn LABELS unit SOURCES ${here}/test_conn.c ${here}/fake_broker.c ${here}/log_capture.c LIBS vt_net)
vtpm_test(test_admin_socket LABELS unit SOURCES ${here}/test_admin_socket.c ${here}/fake_broker.c ${here}/log_capture.c LIBS vt_net)
vtpm_test(test_process LABELS unit SOURCES ${here}/test_process.c LIBS vt_net)
