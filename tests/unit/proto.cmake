# SPDX-License-Identifier: Apache-2.0
vtpm_test(test_proto_frame LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_proto_frame.c LIBS vt_proto)
vtpm_test(test_proto_message LABELS unit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_proto_message.c LIBS vt_proto)
vtpm_test(test_proto_channel LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_proto_channel.c ${CMAKE_CURRENT_LIST_DIR}/proto_rig.c LIBS vt_proto)
vtpm_test(test_proto_order LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_proto_order.c ${CMAKE_CURRENT_LIST_DIR}/proto_rig.c LIBS vt_proto)
vtpm_test(test_proto_openssl LABELS unit
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_proto_openssl.c ${CMAKE_CURRENT_LIST_DIR}/proto_rig.c LIBS vt_proto)
