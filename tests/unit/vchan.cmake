# SPDX-License-Identifier: Apache-2.0
# server/xen against rings and a xenstore in memory: fake_vchan.c comes before Xen's libraries, and before site.c.
if(NOT VTPM_HAVE_XEN)
  return()
endif()
set(here ${CMAKE_CURRENT_LIST_DIR})
set(fake ${here}/fake_vchan.c)
# The real libraries are only linked: for their headers' sake.
set(xen PkgConfig::xenvchan PkgConfig::xenstore)
vtpm_test(test_vchan_pump LABELS unit SOURCES ${here}/test_vchan_pump.c ${fake} LIBS vt_xen ${xen} Threads::Threads)
vtpm_test(test_vchan_host LABELS unit SOURCES ${here}/test_vchan_host.c ${here}/log_capture.c ${fake} LIBS vt_xen ${xen} Threads::Threads)
vtpm_test(test_vchan_client LABELS unit SOURCES ${here}/test_vchan_client.c ${fake} LIBS vt_xen ${xen} Threads::Threads)
set(shim ${CMAKE_SOURCE_DIR}/shim-linux)
vtpm_test(test_vchan_net LABELS unit
  SOURCES ${here}/test_vchan_net.c ${here}/fake_broker.c ${here}/log_capture.c ${fake}
    ${shim}/upstream.c ${shim}/upstream_vchan.c ${shim}/stream.c ${shim}/endpoint.c
  LIBS vt_net vt_xen ${xen} Threads::Threads)
vtpm_test(test_vchan_site LABELS unit SOURCES ${here}/test_vchan_site.c LIBS vt_xen)
