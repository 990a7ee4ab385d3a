/* SPDX-License-Identifier: Apache-2.0 */
/* Bugs that earlier emulators had, over all ordinals at once; docs/bug-classes.md says where each class is tested. */
#include "server/engine/auth.h"
#include "server/engine/cmd.h"
#include "server/engine/transport.h"
#include "tests/spec/spec_keys.h"

#define DAY_US    (UINT64_C(24) * 3600 * 1000000)
#define BODY_MOST 64

/* ---- One command of zeros, well proved ---- */

struct attempt {
    const struct cmd_row *row;
    unsigned sessions;
    uint32_t handle; /* for each handle that it takes */
    size_t body;     /* zeros for parameters */
};

static void write_proof(struct tc *tc, const struct tc_session *s, size_t params, const struct attempt *a, struct wr *w)
{
    struct vt_auth owner = SPEC_OWNER;
    uint8_t digest[TPM_DIGEST_LEN], ordinal[4], keep = 1;
    struct tpm_auth_in auth = {.auth_handle = s->handle, .continue_auth_session = true};
    struct wr o = wr_to(ordinal, sizeof ordinal);

    wr_put32(&o, a->row->ordinal);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(ordinal, 4), CR_SLICE(tc->cmd + params, a->body)}, 2);
    cr_hmac_sha1v(auth.auth.bytes, owner.bytes, sizeof owner.bytes,
                  (struct cr_slice[]){CR_SLICE(digest, sizeof digest), CR_SLICE(s->even.bytes, TPM_NONCE_LEN),
                                      CR_SLICE(auth.nonce_odd.bytes, TPM_NONCE_LEN), CR_SLICE(&keep, 1)},
                  4);
    wr_auth_in(w, &auth);
}

static tpm_rc attempt(struct tc *tc, const struct attempt *a)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s[CMD_AUTH_MAX];
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd), size = wr_to(tc->cmd + 2, 4);
    static const uint8_t zeros[BODY_MOST];
    size_t params;

    for (unsigned i = 0; i < a->sessions; i++)
        assert_int_equal(tc_oiap(tc, &s[i], &owner), TPM_SUCCESS);
    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + a->sessions));
    wr_put32(&w, 0);
    wr_put32(&w, a->row->ordinal);
    for (unsigned i = 0; i < a->row->handle_count; i++)
        wr_put32(&w, a->handle);
    params = w.len;
    wr_copy(&w, zeros, a->body);
    for (unsigned i = 0; i < a->sessions; i++)
        write_proof(tc, &s[i], params, a, &w);
    wr_put32(&size, (uint32_t)w.len);
    tc->cmd_len = w.len;
    /* Out of every lock-out. */
    tc->now_us += DAY_US;
    return tc_raw(tc);
}

/* Each ordinal on a TPM of its own, whatever the one before did. */
static void each_ordinal(void (*visit)(struct tc *tc, const struct cmd_row *row))
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    for (size_t i = 0; i < count; i++) {
        void *tc;

        if (!rows[i].run)
            continue;
        spec_setup_owned(&tc);
        ((struct tc *)tc)->no_freeze = true;
        ((struct tc *)tc)->tpm->perm.profile.maintenance = true;
        visit(tc, &rows[i]);
        spec_teardown(&tc);
    }
}

/* ---- Session slot leaked on an error path ---- */

static bool wants_transport(const struct cmd_row *row)
{
    return row->proof[0] == PROOF_TRANSPORT || row->proof[1] == PROOF_TRANSPORT;
}

/*
 * How many are taken that nobody will give back. An error ends what it names, if it could read what that is; where a
 * transport session belongs, another one's handle names nothing.
 */
static unsigned lost(const struct tc *tc, const struct attempt *a, tpm_rc rc)
{
    const struct tpm_profile *profile = &tc->tpm->perm.profile;
    unsigned taken = profile->auth_sessions - session_free_slots(tc->tpm) + profile->transport_sessions -
                     transport_free_slots(tc->tpm);

    return rc == TPM_BADTAG || wants_transport(a->row) ? taken - VT_MIN(taken, a->sessions) : taken;
}

static void leaks(struct tc *tc, const struct cmd_row *row)
{
    struct vt_auth owner = SPEC_OWNER;
    uint32_t handles[] = {TPM_KH_SRK, spec_load_signing_key(tc, &owner, TPM_AUTH_ALWAYS), 7};

    for (size_t h = 0; h < (row->handle_count ? VT_COUNT(handles) : 1); h++)
        for (unsigned n = 0; n <= row->auth.max; n++)
            for (size_t body = 0; body <= BODY_MOST; body++) {
                struct attempt a = {.row = row, .sessions = n, .handle = handles[h], .body = body};
                tpm_rc rc = attempt(tc, &a);

                if (rc && lost(tc, &a, rc))
                    fail_msg("%08x with %u sessions and %zu bytes: %x, and a slot is lost", row->ordinal, n, body, rc);
                session_close_all(tc->tpm);
                transport_close_all(tc->tpm);
            }
}

static void test_bug__session_slot_leaked__no_ordinal_no_error(void **state VT_UNUSED)
{
    each_ordinal(leaks);
}

/* ---- Unknown or null handle ---- */

/* Before the handle is looked up the parameters are read. */
static bool is_about_parameters(tpm_rc rc)
{
    return rc == TPM_BAD_PARAM_SIZE || rc == TPM_BAD_PARAMETER || rc == TPM_INVALID_STRUCTURE ||
           rc == TPM_BAD_VERSION || rc == TPM_BAD_KEY_PROPERTY;
}

static unsigned refused;

static void takes_strangers(struct tc *tc, const struct cmd_row *row)
{
    static const uint32_t strangers[] = {0,          1,          TPM_KH_OWNER, TPM_KH_TRANSPORT, TPM_KH_OPERATOR,
                                         0x01FFFFFF, 0x80000000, 0xFFFFFFFF};

    if (!row->handle_count || row->handles[0] != HANDLE_KEY)
        return;
    for (size_t h = 0; h < VT_COUNT(strangers); h++)
        for (unsigned n = row->auth.min; n <= row->auth.max; n++)
            for (size_t body = 0; body <= BODY_MOST; body++) {
                struct attempt a = {.row = row, .sessions = n, .handle = strangers[h], .body = body};
                tpm_rc rc = attempt(tc, &a);

                session_close_all(tc->tpm);
                refused += rc == TPM_INVALID_KEYHANDLE;
                if (rc != TPM_INVALID_KEYHANDLE && !is_about_parameters(rc))
                    fail_msg("%08x with handle %08x and %zu bytes: %x", row->ordinal, strangers[h], body, rc);
            }
}

static void test_bug__unknown_or_null_handle__no_ordinal_takes_it(void **state VT_UNUSED)
{
    refused = 0;
    each_ordinal(takes_strangers);
    /* Zeros are good parameters often enough. */
    assert_true(refused > 100);
}

/* ---- Handle reuse after flush ---- */

static void test_bug__handle_reuse_after_flush__never(void **state)
{
    struct vt_auth secret = tc_secret("key");
    struct tc *tc = *state;
    uint32_t seen[200], count = 0;

    tc->no_freeze = true;
    for (unsigned i = 0; i < VT_COUNT(seen) / 2; i++) {
        uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
        struct tc_session s;

        assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
        for (uint32_t k = 0; k < count; k++)
            assert_true(seen[k] != key && seen[k] != s.handle);
        seen[count++] = key;
        seen[count++] = s.handle;
        assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
        assert_int_equal(sk_flush(tc, s.handle, TPM_RT_AUTH), TPM_SUCCESS);
    }
}

/* ---- Use after delete ---- */

static void define(struct tc *tc, const char *secret, uint32_t size)
{
    struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1F};
    struct nv_define_space_in in = {.pub_info = {.nv_index = 0x1001,
                                                 .pcr_info_read = anywhere,
                                                 .pcr_info_write = anywhere,
                                                 .permission = {.attributes = TPM_NV_PER_AUTHREAD | TPM_NV_PER_AUTHWRITE},
                                                 .data_size = size}};
    struct vt_auth owner = SPEC_OWNER, area = tc_secret(secret);
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &area, &in.enc_auth);
    assert_int_equal(TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s}), TPM_SUCCESS);
}

/* A session opened for what is gone is of no use for what took its name. */
static void test_bug__use_after_delete__old_session_does_not_open_the_new_area(void **state)
{
    struct nv_read_value_auth_in in = {.nv_index = 0x1001, .data_size = 0};
    struct vt_auth old = tc_secret("old"), fresh = tc_secret("fresh");
    struct tc *tc = *state;
    struct tc_session s;

    define(tc, "old", 8);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_NV, 0x1001, &old), TPM_SUCCESS);
    define(tc, "gone", 0);
    define(tc, "fresh", 8);
    assert_int_not_equal(TC(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(spec_one(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, 0, &old), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, 0, &fresh), TPM_SUCCESS);
}

/* ---- Cross-instance confusion ---- */

/* Both have the same owner, SRK and keys: only what each drew for itself tells them apart. */
static void test_bug__cross_instance__blobs_of_another_tpm_refused(void **state)
{
    struct save_context_in save = {.resource_type = TPM_RT_KEY};
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data"), key_auth = tc_secret("key");
    struct tc *tc = *state, other;
    struct save_context_out saved;
    struct load_context_in load = {.keep_handle = false};
    uint8_t bytes[2048];
    struct sk_sealed sealed;

    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &sealed), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, &saved,
                        .handles = {spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS)}),
                     TPM_SUCCESS);
    memcpy(bytes, saved.context_blob.data, saved.context_blob.len);
    load.context_blob = (struct tpm_blob){.len = saved.context_blob.len, .data = bytes};
    tc_new(&other, 99, true);
    assert_int_equal(tc_reboot(&other, TPM_ST_CLEAR), TPM_SUCCESS);
    other.tpm->perm.owned = true;
    other.tpm->perm.owner_auth = tc->tpm->perm.owner_auth;
    other.tpm->perm.srk.handle = TPM_KH_SRK;
    other.tpm->perm.srk.key = tc->tpm->perm.srk.key;
    assert_int_equal(sk_unseal(&other, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_NOTSEALED_BLOB);
    assert_int_equal(TC(&other, TPM_ORD_LoadContext, &load, NULL, .handles = {0}), TPM_DECRYPT_ERROR);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_LoadContext, &load, NULL, .handles = {0}), TPM_SUCCESS);
    tc_free(&other);
}

/* ---- Vendor tags and ordinals ---- */

static const uint16_t tags[] = {0x0000, 0x00C0, 0x00C4, 0x00C5, 0x01C1, 0x02C1, 0x8001, 0xC100, 0xFFFF};

/* Vendor commands, TPM 2.0's, a connection's command, and the tags that managers used among themselves. */
static const uint32_t ordinals[] = {0x20000000, 0x20000001, 0x200000FF, 0x60000065, 0xA0000065, 0xE0000000,
                                    0x40000000, 0x4000000C, 0x80000065, 0x00010065, 0x0000017B, 0xFFFFFFFF};

static tpm_rc bare(struct tc *tc, uint16_t tag, uint32_t ordinal)
{
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

    wr_put16(&w, tag);
    wr_put32(&w, TPM_HEADER_LEN);
    wr_put32(&w, ordinal);
    tc->cmd_len = w.len;
    return tc_raw(tc);
}

static void test_bug__vendor_tags_smuggled__end_here(void **state)
{
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(tags); i++)
        assert_int_equal(bare(tc, tags[i], TPM_ORD_GetTestResult), TPM_BADTAG);
    for (size_t i = 0; i < VT_COUNT(ordinals); i++)
        assert_int_equal(bare(tc, TPM_TAG_RQU_COMMAND, ordinals[i]), TPM_BAD_ORDINAL);
    /* And nothing of it changed anything. */
    assert_int_equal(tc->dirty, 0);
}

/* ---- Weak or ROCA-like keys ---- */

static const unsigned roca_primes[] = {11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157};

static unsigned remainder_of(const uint8_t *n, size_t len, unsigned m)
{
    unsigned r = 0;

    for (size_t i = 0; i < len; i++)
        r = (r * 256 + n[i]) % m;
    return r;
}

/* Is r a power of 65537 modulo p? */
static bool is_power(unsigned r, unsigned p)
{
    unsigned x = 1;

    for (unsigned i = 0; i < p; i++, x = x * (65537 % p) % p)
        if (x == r)
            return true;
    return false;
}

/* CVE-2017-15361: such moduli are powers of 65537 modulo each of these. By chance one in 2^27 is. */
static bool is_roca(const uint8_t *n, size_t len)
{
    for (size_t i = 0; i < VT_COUNT(roca_primes); i++)
        if (!is_power(remainder_of(n, len, roca_primes[i]), roca_primes[i]))
            return false;
    return true;
}

static bool has_small_factor(const uint8_t *n, size_t len)
{
    for (unsigned m = 2; m < 5000; m++)
        if (!remainder_of(n, len, m))
            return true;
    return false;
}

static void test_bug__weak_or_roca_like_key__none_generated(void **state VT_UNUSED)
{
    uint8_t seed[CR_DRBG_SEED] = {17}, power[24] = {0};
    struct cr_rsa_key keys[8];
    struct cr_drbg drbg;

    cr_drbg_init(&drbg, seed, NULL, 0);
    /* The check sees one: 65537^7 as it is. */
    power[sizeof power - 1] = 1;
    for (unsigned i = 0; i < 7; i++) {
        unsigned carry = 0;

        for (size_t k = sizeof power; k--; carry >>= 8) {
            carry += power[k] * 65537u;
            power[k] = (uint8_t)carry;
        }
    }
    assert_true(is_roca(power, sizeof power));
    for (size_t i = 0; i < VT_COUNT(keys); i++) {
        const struct cr_rsa_pub *pub = &keys[i].pub;

        assert_int_equal(cr_rsa_generate(&keys[i], i ? 512 : 1024, 65537, &drbg), VT_OK);
        assert_false(is_roca(pub->n, pub->bytes));
        assert_false(has_small_factor(pub->n, pub->bytes));
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(keys[k].p, keys[i].p, pub->bytes / 2);
    }
}

#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bug__session_slot_leaked__no_ordinal_no_error),
        cmocka_unit_test(test_bug__unknown_or_null_handle__no_ordinal_takes_it),
        OWNED(test_bug__handle_reuse_after_flush__never),
        OWNED(test_bug__use_after_delete__old_session_does_not_open_the_new_area),
        OWNED(test_bug__cross_instance__blobs_of_another_tpm_refused),
        OWNED(test_bug__vendor_tags_smuggled__end_here),
        cmocka_unit_test(test_bug__weak_or_roca_like_key__none_generated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
