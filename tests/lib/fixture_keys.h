/* SPDX-License-Identifier: Apache-2.0 */
/* RSA keys made once by cr_rsa_generate (e = 65537), so that tests need not wait for primes. */
#ifndef VTPM_TESTS_FIXTURE_KEYS_H
#define VTPM_TESTS_FIXTURE_KEYS_H

#include "server/crypto/crypto.h"

#define FIXTURE_KEYS_2048 8
#define FIXTURE_KEYS_1024 4
#define FIXTURE_KEYS_512 2

/* bits 2048, 1024 or 512; index below the counts above; NULL for any other. All keys differ. Any thread. */
const struct cr_rsa_key *fixture_rsa_key(unsigned bits, unsigned index);

#endif
