# SPDX-License-Identifier: Apache-2.0
foreach(part test_db test_db_verbs test_db_mac test_db_writer test_db_move test_db_anchor test_db_log)
  vtpm_test(${part} LABELS unit SOURCES ${part}.c db_fixture.c db_vfs.c pass_vfs.c LIBS vt_db PkgConfig::sqlite Threads::Threads)
endforeach()
