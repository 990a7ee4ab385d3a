/* SPDX-License-Identifier: Apache-2.0 */
/* What the spec tests have in common: a TPM that is on, and one with an owner put into it by hand. */
#ifndef VTPM_TESTS_SPEC_H
#define VTPM_TESTS_SPEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/engine.h"
#include "tests/lib/tpm_client.h"

/* cmocka setups and teardown: *state is a struct tc. */
int spec_setup(void **state);           /* on, after TPM_Startup(ST_CLEAR), without an owner */
int spec_setup_owned(void **state); /* the same with an owner: secrets "owner" and "srk", SRK a storage key */
int spec_setup_off(void **state);       /* manufactured, before TPM_Init */
int spec_teardown(void **state);

#define SPEC_OWNER tc_secret("owner")
#define SPEC_SRK tc_secret("srk")

/* A key object over fixture `index`, with the schemes that its usage wants; tests change it before it is put in. */
struct tpm_key_obj spec_key(unsigned index, uint16_t usage, const struct vt_auth *secret);
/* Loaded as if by TPM_LoadKey2; its handle. */
uint32_t spec_insert(struct tc *tc, const struct tpm_key_obj *key);
/* One command with one OIAP session, which ends; handle: 0 if it has none. */
tpm_rc spec_one(struct tc *tc, uint32_t ordinal, const void *in, void *out, uint32_t handle,
                const struct vt_auth *secret);
/* Is it the key's signature of the digest? */
bool spec_signed(const struct cr_rsa_pub *pub, const uint8_t digest[TPM_DIGEST_LEN], const struct tpm_blob *sig);
/* A signing key with this secret, loaded; its handle. */
uint32_t spec_load_signing_key(struct tc *tc, const struct vt_auth *secret, uint8_t auth_data_usage);
/* TPM_GetCapability; the answer is tc's last response. */
tpm_rc spec_cap(struct tc *tc, uint32_t area, const void *sub, uint32_t sub_len, struct tpm_blob *resp);
/* With a 4 byte sub-capability and an answer of 4 bytes. */
uint32_t spec_cap_number(struct tc *tc, uint32_t area, uint32_t sub);
/* The same with an answer of one byte. */
bool spec_cap_bool(struct tc *tc, uint32_t area, uint32_t sub);
/* TPM_PCRRead, TPM_Extend with 20 bytes of `fill`. */
void spec_pcr(struct tc *tc, uint32_t pcr, uint8_t out[TPM_DIGEST_LEN]);
tpm_rc spec_extend(struct tc *tc, uint32_t pcr, uint8_t fill);
bool spec_all(const uint8_t *bytes, size_t len, uint8_t value);

#endif
