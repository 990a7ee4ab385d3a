/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/spec/spec.h"

#include "server/base/alloc.h"
#include "tests/lib/fixture_keys.h"

static struct tc *fresh(void **state)
{
    struct tc *tc = VT_NEW(struct tc);

    assert_non_null(tc);
    *state = tc;
    return tc;
}

int spec_setup(void **state)
{
    tc_on(fresh(state));
    return 0;
}

int spec_setup_off(void **state)
{
    tc_new(fresh(state), 1, true);
    return 0;
}

struct tpm_key_obj spec_key(unsigned index, uint16_t usage, const struct vt_auth *secret)
{
    bool signs = usage == TPM_KEY_SIGNING || usage == TPM_KEY_IDENTITY;
    struct tpm_key_obj key = {
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .payload = TPM_PT_ASYM,
        .usage = usage,
        .enc_scheme = signs ? TPM_ES_NONE : TPM_ES_RSAESOAEP_SHA1_MGF1,
        .sig_scheme = signs || usage == TPM_KEY_LEGACY ? TPM_SS_RSASSAPKCS1v15_SHA1 : TPM_SS_NONE,
        .usage_auth = *secret,
        .rsa = *fixture_rsa_key(2048, index),
    };

    key_pub_digest(&key, key.pub_digest);
    return key;
}

uint32_t spec_insert(struct tc *tc, const struct tpm_key_obj *key)
{
    struct tpm_key_obj copy = *key;
    struct key_slot *slot;
    uint32_t handle;

    key_pub_digest(&copy, copy.pub_digest);
    slot = key_insert(tc->tpm, &copy, false);
    assert_non_null(slot);
    handle = slot->handle;
    tc_check_frozen(tc);
    return handle;
}

int spec_setup_owned(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = fresh(state);
    struct permanent *perm;

    tc_on(tc);
    perm = &tc->tpm->perm;
    perm->owned = true;
    perm->owner_auth = SPEC_OWNER;
    perm->srk.handle = TPM_KH_SRK;
    perm->srk.key = spec_key(6, TPM_KEY_STORAGE, &srk);
    tc_check_frozen(tc);
    return 0;
}

int spec_teardown(void **state)
{
    tc_free(*state);
    vt_free(*state);
    return 0;
}

uint32_t spec_load_signing_key(struct tc *tc, const struct vt_auth *secret, uint8_t auth_data_usage)
{
    struct tpm_key_obj key = spec_key(7, TPM_KEY_SIGNING, secret);

    key.auth_data_usage = auth_data_usage;
    return spec_insert(tc, &key);
}

tpm_rc spec_one(struct tc *tc, uint32_t ordinal, const void *in, void *out, uint32_t handle,
                const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, secret), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, ordinal, in, out, .handles = {handle}, .auth = {&s});
}

bool spec_signed(const struct cr_rsa_pub *pub, const uint8_t digest[TPM_DIGEST_LEN],
                 const struct tpm_blob *sig)
{
    return cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, TPM_DIGEST_LEN, sig->data, sig->len) == VT_OK;
}

tpm_rc spec_cap(struct tc *tc, uint32_t area, const void *sub, uint32_t sub_len, struct tpm_blob *resp)
{
    struct get_capability_in in = {.cap_area = area, .sub_cap = {.len = sub_len, .data = sub}};
    struct get_capability_out out = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_GetCapability, &in, &out);

    *resp = out.resp;
    return rc;
}

static struct tpm_blob cap4(struct tc *tc, uint32_t area, uint32_t sub, uint32_t len)
{
    uint8_t bytes[4];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_blob resp;

    wr_put32(&w, sub);
    assert_int_equal(spec_cap(tc, area, bytes, sizeof bytes, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, len);
    return resp;
}

uint32_t spec_cap_number(struct tc *tc, uint32_t area, uint32_t sub)
{
    struct tpm_blob resp = cap4(tc, area, sub, 4);
    struct rd r = rd_from(resp.data, resp.len);

    return rd_get32(&r);
}

bool spec_cap_bool(struct tc *tc, uint32_t area, uint32_t sub)
{
    struct tpm_blob resp = cap4(tc, area, sub, 1);

    assert_in_range(resp.data[0], 0, 1);
    return resp.data[0];
}

void spec_pcr(struct tc *tc, uint32_t pcr, uint8_t out[TPM_DIGEST_LEN])
{
    struct pcr_read_in in = {.pcr_index = pcr};
    struct pcr_read_out value;

    assert_int_equal(TC(tc, TPM_ORD_PcrRead, &in, &value), TPM_SUCCESS);
    memcpy(out, value.out_digest.bytes, TPM_DIGEST_LEN);
}

tpm_rc spec_extend(struct tc *tc, uint32_t pcr, uint8_t fill)
{
    struct extend_in in = {.pcr_num = pcr};

    memset(in.in_digest.bytes, fill, sizeof in.in_digest.bytes);
    return TC(tc, TPM_ORD_Extend, &in, NULL);
}

bool spec_all(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != value)
            return false;
    return true;
}
