# SPDX-License-Identifier: Apache-2.0
# Pruned events, checks, and what the store says of a disk that takes nothing.
vtpm_test(test_db_prune LABELS unit SOURCES test_db_prune.c db_fixture.c db_vfs.c pass_vfs.c
  LIBS vt_db PkgConfig::sqlite Threads::Threads)
vtpm_test(test_db_trouble LABELS unit SOURCES test_db_trouble.c db_fixture.c db_vfs.c pass_vfs.c
  LIBS vt_db PkgConfig::sqlite Threads::Threads)
vtpm_test(test_log LABELS unit SOURCES test_log.c LIBS vt_net)
vtpm_test(test_acts LABELS unit SOURCES test_acts.c LIBS vt_core)
vtpm_test(test_logsink LABELS unit SOURCES test_logsink.c LIBS vt_net)
