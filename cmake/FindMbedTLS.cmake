# SPDX-License-Identifier: Apache-2.0
# Debian 12 has mbedTLS 2.28 without a .pc file, Debian 13 has 3.6: both are found by header and library.
find_path(MBEDTLS_INCLUDE_DIR mbedtls/ssl.h)
find_library(MBEDTLS_LIBRARY mbedtls)
find_library(MBEDX509_LIBRARY mbedx509)
find_library(MBEDCRYPTO_LIBRARY mbedcrypto)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MbedTLS
  REQUIRED_VARS MBEDTLS_INCLUDE_DIR MBEDTLS_LIBRARY MBEDX509_LIBRARY MBEDCRYPTO_LIBRARY
  REASON_FAILURE_MESSAGE "apt-get install libmbedtls-dev")
if(MbedTLS_FOUND AND NOT TARGET MbedTLS::crypto)
  add_library(MbedTLS::crypto INTERFACE IMPORTED)
  target_include_directories(MbedTLS::crypto INTERFACE ${MBEDTLS_INCLUDE_DIR})
  target_link_libraries(MbedTLS::crypto INTERFACE ${MBEDCRYPTO_LIBRARY})
  add_library(MbedTLS::tls INTERFACE IMPORTED)
  target_include_directories(MbedTLS::tls INTERFACE ${MBEDTLS_INCLUDE_DIR})
  target_link_libraries(MbedTLS::tls INTERFACE ${MBEDTLS_LIBRARY} ${MBEDX509_LIBRARY} ${MBEDCRYPTO_LIBRARY})
endif()
