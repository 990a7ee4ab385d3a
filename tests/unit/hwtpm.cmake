# SPDX-License-Identifier: Apache-2.0
# The host's TPM: sets of PCRs; hostile answers of a TPM 1.2; and Debian's swtpm, both kinds. End to end:
# tests/integration/test_hwtpm.py.
foreach(subject pcr tpm12 real)
  vtpm_test(test_hwtpm_${subject} LABELS unit hwtpm SOURCES test_hwtpm_${subject}.c LIBS vt_hwtpm Threads::Threads)
endforeach()
target_compile_definitions(test_hwtpm_real PRIVATE TEST_LIB_DIR="${CMAKE_SOURCE_DIR}/tests/lib")
vtpm_test(test_crypto_pool LABELS unit SOURCES test_crypto_pool.c LIBS vt_crypto)
