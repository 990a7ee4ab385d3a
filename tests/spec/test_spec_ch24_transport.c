/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 24 and Part 1, 18: transport sessions. */
#include "server/engine/auth.h"
#include "server/engine/transport.h"
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_transport.h"

#define LOG       TPM_TRANSPORT_LOG
#define ENCRYPT   TPM_TRANSPORT_ENCRYPT
#define EXCLUSIVE TPM_TRANSPORT_EXCLUSIVE

static const struct {
    uint32_t alg;
    uint16_t scheme;
} ciphers[] = {
    {TPM_ALG_MGF1, TPM_ES_NONE}, {TPM_ALG_AES128, TPM_ES_SYM_CTR}, {TPM_ALG_AES128, TPM_ES_SYM_OFB}};

static struct st opened(struct tc *tc, uint32_t attributes, uint32_t alg, uint16_t scheme)
{
    struct st t;

    assert_int_equal(st_open(tc, &t, attributes, alg, scheme), TPM_SUCCESS);
    return t;
}

static bool alive(struct tc *tc, const struct st *t)
{
    return transport_find(tc->tpm, t->s.handle);
}

/*= p3:24.1#2 p3:24.1#5 p3:24.2#4 p3:24.2#7 p3:24.2#15 p3:24.2#17 */
static void test_transport__each_cipher__command_and_answer_as_without(void **state)
{
    struct pcr_read_in read = {.pcr_index = 10};
    struct get_random_in random = {.bytes_requested = 100};
    struct tc *tc = *state;
    uint8_t pcr[TPM_DIGEST_LEN];

    assert_int_equal(spec_extend(tc, 10, 7), TPM_SUCCESS);
    spec_pcr(tc, 10, pcr);
    for (size_t i = 0; i < VT_COUNT(ciphers); i++) {
        struct st t = opened(tc, ENCRYPT, ciphers[i].alg, ciphers[i].scheme);

        for (unsigned n = 0; n < 3; n++) {
            assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &read), TPM_SUCCESS);
            assert_int_equal(t.inner, TPM_SUCCESS);
            assert_int_equal(t.len, sizeof pcr);
            assert_memory_equal(t.data, pcr, sizeof pcr);
        }
        assert_int_equal(ST(tc, &t, TPM_ORD_GetRandom, &random), TPM_SUCCESS);
        assert_int_equal(t.len, 104);
        t.s.ends = true;
        assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &read), TPM_SUCCESS);
        assert_int_equal(t.s.handle, 0);
        assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_TRANSSESS), 16);
    }
}

/* The parameters really are hidden: the command's bytes are not those of the plain one. */
static void test_transport__encrypted__parameters_not_in_the_clear(void **state)
{
    struct extend_in in = {.pcr_num = 9};
    struct tc *tc = *state;
    struct st t = opened(tc, ENCRYPT, TPM_ALG_AES128, TPM_ES_SYM_CTR), plain = opened(tc, LOG, 0, 0);

    memset(in.in_digest.bytes, 0x5A, sizeof in.in_digest.bytes);
    assert_int_equal(ST(tc, &plain, TPM_ORD_Extend, &in), TPM_SUCCESS);
    assert_non_null(memmem(tc->cmd, tc->cmd_len, in.in_digest.bytes, TPM_DIGEST_LEN));
    assert_int_equal(ST(tc, &t, TPM_ORD_Extend, &in), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
    assert_null(memmem(tc->cmd, tc->cmd_len, in.in_digest.bytes, 4));
    assert_null(memmem(tc->rsp, tc->rsp_len, t.data, 8));
}

/* Commands with keys, sessions and handles inside. */
/*= p3:24.2#10 p3:24.2#11 p3:24.2#13 */
static void test_transport__sessions_and_keys_inside__work(void **state)
{
    struct vt_auth secret = tc_secret("sign"), owner = SPEC_OWNER;
    struct owner_read_internal_pub_in read = {.key_handle = TPM_KH_SRK};
    struct sign_in sign = {.area_to_sign = {.len = 20, .data = (const uint8_t[20]){1}}};
    struct osap_in osap = {.entity_type = TPM_ET_OWNER, .entity_value = TPM_KH_OWNER};
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);

    for (size_t i = 0; i < VT_COUNT(ciphers); i++) {
        struct st t = opened(tc, ENCRYPT, ciphers[i].alg, ciphers[i].scheme);
        struct tc_session s;

        assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
        assert_int_equal(ST(tc, &t, TPM_ORD_Sign, &sign, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
        assert_int_equal(t.inner, TPM_SUCCESS);
        assert_int_equal(t.len, 4 + 256);
        assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
        assert_int_equal(ST(tc, &t, TPM_ORD_OwnerReadInternalPub, &read, .auth = {&s}), TPM_SUCCESS);
        assert_int_equal(t.inner, TPM_SUCCESS);
        /* Sessions can be opened inside; nothing of that is hidden. */
        assert_int_equal(ST(tc, &t, TPM_ORD_OIAP, NULL), TPM_SUCCESS);
        assert_int_equal(t.inner, TPM_SUCCESS);
        assert_int_equal(t.len, 0);
        assert_non_null(session_find(tc->tpm, t.inner_handle));
        assert_int_equal(ST(tc, &t, TPM_ORD_OSAP, &osap), TPM_SUCCESS);
        assert_int_equal(t.inner, TPM_SUCCESS);
        assert_non_null(session_find(tc->tpm, t.inner_handle));
        session_close_all(tc->tpm);
    }
}

/*= p3:24.2#11 */
static void test_transport__inner_failure__is_told_inside(void **state)
{
    struct vt_auth wrong = tc_secret("wrong");
    struct owner_set_disable_in disable = {.disable_state = false};
    struct pcr_read_in pcr = {.pcr_index = 24};
    struct tc_session s;
    struct tc *tc = *state;
    struct st t = opened(tc, ENCRYPT | LOG, TPM_ALG_MGF1, TPM_ES_NONE);

    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_BADINDEX);
    assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
    tc_build(tc, TPM_ORD_OwnerSetDisable, &disable, &(struct tc_args){.auth = {&s}});
    assert_int_equal(st_send(tc, &t, NULL), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_AUTHFAIL);
    assert_true(alive(tc, &t));
    assert_memory_equal(transport_find(tc->tpm, t.s.handle)->digest, t.digest, TPM_DIGEST_LEN);
}

/*= p3:24.2#1 p3:24.2#3 p3:24.2#7 p3:24.2#9 */
static void test_execute__unfit_requests__codes(void **state)
{
    struct pcr_read_in pcr = {.pcr_index = 1};
    struct release_transport_signed_in release = {.anti_replay = {{1}}};
    struct tc *tc = *state;
    struct st t = opened(tc, LOG, 0, 0), other = opened(tc, LOG, 0, 0);

    t.wrong = true;
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_AUTHFAIL);
    /* It was no guess at a secret of the TPM's; the session is gone. */
    assert_int_equal(tc->tpm->perm.da.failures, 0);
    t.wrong = false;
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_INVALID_AUTHHANDLE);
    /* 9. One inside of the other is refused, and ends the outer session. */
    tc_build(tc, TPM_ORD_ReleaseTransportSigned, &release,
             &(struct tc_args){.handles = {TPM_KH_SRK}, .auth = {&other.s}});
    assert_int_equal(st_send(tc, &other, NULL), TPM_NO_WRAP_TRANSPORT);
    assert_false(alive(tc, &other));
    other = opened(tc, 0, 0, 0);
    tc_build(tc, TPM_ORD_ExecuteTransport, NULL, &(struct tc_args){.auth = {&other.s}});
    assert_int_equal(st_send(tc, &other, NULL), TPM_NO_WRAP_TRANSPORT);
    /* 3. */
    other = opened(tc, 0, 0, 0);
    tc_build(tc, TPM_ORD_PcrRead, &pcr, &(struct tc_args){.none = 0});
    tc->cmd[5]++;
    assert_int_equal(st_send(tc, &other, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_TRANSSESS), 16);
}

/* 10.g: a log of a key that is not there. */
/*= p3:24.2#10 */
static void test_execute__logged_key_missing__invalid_keyhandle(void **state)
{
    struct tc *tc = *state;
    struct st t = opened(tc, LOG, 0, 0);

    assert_int_equal(ST(tc, &t, TPM_ORD_GetPubKey, NULL, .handles = {0x01020304}), TPM_INVALID_KEYHANDLE);
    t = opened(tc, 0, 0, 0);
    assert_int_equal(ST(tc, &t, TPM_ORD_GetPubKey, NULL, .handles = {0x01020304}), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_INVALID_KEYHANDLE);
}

/* The second failure of a wrapped command counts as one outside. */
static void test_execute__wrong_guess_inside__counted_and_locked(void **state)
{
    struct vt_auth wrong = tc_secret("wrong");
    struct owner_set_disable_in in = {.disable_state = false};
    struct tc *tc = *state;
    struct st t = opened(tc, ENCRYPT, TPM_ALG_MGF1, TPM_ES_NONE);

    for (unsigned i = 0; i < 6; i++) {
        struct tc_session s;

        assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
        assert_int_equal(ST(tc, &t, TPM_ORD_OwnerSetDisable, &in, .auth = {&s}), TPM_SUCCESS);
        assert_int_equal(t.inner, i < 5 ? TPM_AUTHFAIL : TPM_DEFEND_LOCK_RUNNING);
    }
}

/*= p3:24.1#1 p3:24.1#2 p3:24.1#3 p3:24.1#5 */
static void test_establish__unfit_requests__codes(void **state)
{
    struct vt_auth secret = tc_secret("s"), sign = tc_secret("sign"), srk = SPEC_SRK;
    struct establish_transport_in in = {.secret = {.len = 20, .data = secret.bytes}};
    struct tc *tc = *state;
    struct tpm_key_obj unbound = spec_key(5, TPM_KEY_STORAGE, &srk);
    uint32_t key = spec_load_signing_key(tc, &sign, TPM_AUTH_ALWAYS);
    struct tc_session s;
    struct st t;

    /* 1. */
    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(
        TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {TPM_KH_TRANSPORT}, .auth = {&s}),
        TPM_BADTAG);
    in.trans_public.trans_attributes = ENCRYPT;
    assert_int_equal(TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {TPM_KH_TRANSPORT}),
                     TPM_BAD_SCHEME);
    in.trans_public.trans_attributes = 0;
    in.secret.len = 19;
    assert_int_equal(TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {TPM_KH_TRANSPORT}),
                     TPM_BAD_PARAM_SIZE);
    /* 2. */
    assert_int_equal(TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {0x01020304}),
                     TPM_INVALID_KEYHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {TPM_KH_SRK}), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_EstablishTransport, &in, NULL, key, &sign), TPM_INVALID_KEYUSAGE);
    assert_int_equal(spec_one(tc, TPM_ORD_EstablishTransport, &in, NULL, TPM_KH_SRK, &sign), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_EstablishTransport, &in, NULL, TPM_KH_SRK, &srk),
                     TPM_DECRYPT_ERROR);
    unbound.auth_data_usage = TPM_AUTH_NEVER;
    assert_int_equal(TC(tc, TPM_ORD_EstablishTransport, &in, NULL, .handles = {spec_insert(tc, &unbound)}),
                     TPM_DECRYPT_ERROR);
    /* 3. */
    assert_int_equal(st_open(tc, &t, ENCRYPT, TPM_ALG_3DES, TPM_ES_SYM_CTR), TPM_BAD_KEY_PROPERTY);
    assert_int_equal(st_open(tc, &t, ENCRYPT, TPM_ALG_AES128, TPM_ES_SYM_CBC_PKCS5PAD),
                     TPM_INAPPROPRIATE_ENC);
    assert_int_equal(st_open(tc, &t, ENCRYPT, TPM_ALG_MGF1, TPM_ES_SYM_CTR), TPM_INAPPROPRIATE_ENC);
    /* 5. Sixteen, and no more. */
    for (unsigned i = 0; i < 16; i++)
        (void)opened(tc, 0, 0, 0);
    assert_int_equal(st_open(tc, &t, 0, 0, 0), TPM_RESOURCES);
}

/* A structure that is none under the right key. */
/*= p3:24.1#2 */
static void test_establish__secret_of_another_shape__invalid_structure(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    uint8_t plain[2 + TPM_DIGEST_LEN] = {0, TPM_TAG_CURRENT_TICKS}, enc[CR_RSA_MAX];
    struct establish_transport_in in = {.secret = {.len = sizeof enc, .data = enc}};
    struct cr_drbg dice = {.calls = 1};
    struct tc *tc = *state;

    assert_int_equal(
        cr_rsa_oaep_encrypt(&tc->tpm->perm.srk.key.rsa.pub, "TCPA", 4, plain, sizeof plain, &dice, enc),
        VT_OK);
    assert_int_equal(spec_one(tc, TPM_ORD_EstablishTransport, &in, NULL, TPM_KH_SRK, &srk),
                     TPM_INVALID_STRUCTURE);
}

/* ---- Exclusive ---- */

/*= p3:24.1#9 */
static void test_exclusive__another_command__ends_it(void **state)
{
    struct pcr_read_in pcr = {.pcr_index = 1};
    struct tc *tc = *state;
    struct st t = opened(tc, EXCLUSIVE, 0, 0);

    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    assert_true(alive(tc, &t));
    assert_int_equal(TC(tc, TPM_ORD_PcrRead, &pcr, NULL), TPM_SUCCESS);
    assert_false(alive(tc, &t));
    assert_int_equal(tc->tpm->stany.transport_exclusive, 0);
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_INVALID_AUTHHANDLE);
}

static void test_exclusive__another_transport__ends_it(void **state)
{
    struct pcr_read_in pcr = {.pcr_index = 1};
    struct tc *tc = *state;
    struct st plain = opened(tc, 0, 0, 0), t = opened(tc, EXCLUSIVE, 0, 0), next;

    assert_int_equal(ST(tc, &plain, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    assert_false(alive(tc, &t));
    t = opened(tc, EXCLUSIVE, 0, 0);
    next = opened(tc, EXCLUSIVE, 0, 0);
    assert_false(alive(tc, &t));
    assert_int_equal(tc->tpm->stany.transport_exclusive, next.s.handle);
}

/* ---- Logs ---- */

/*= p3:24.1#8 p3:24.2#10 p3:24.2#16 p3:24.3#6 p3:24.3#8 p3:24.3#9 */
static void test_release__logged_session__signature_of_all_that_was_in_it(void **state)
{
    struct release_transport_signed_in in = {.anti_replay = {{4}}};
    struct release_transport_signed_out out;
    struct vt_auth secret = tc_secret("sign");
    struct pcr_read_in pcr = {.pcr_index = 1};
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct st t = opened(tc, LOG, 0, 0);
    uint8_t hash[TPM_DIGEST_LEN], bytes[64], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tc_session s;

    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    /* The key that is named, by the hash of the hash of its TPM_STORE_PUBKEY. */
    key_store_pubkey_digest(&key_find(tc->tpm, key)->key, hash);
    cr_sha1(hash, hash, sizeof hash);
    tc_build(tc, TPM_ORD_GetPubKey, NULL, &(struct tc_args){.handles = {key}});
    tc->now_us += 5000;
    assert_int_equal(st_send(tc, &t, hash), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_AUTHFAIL);
    assert_memory_equal(transport_find(tc->tpm, t.s.handle)->digest, t.digest, TPM_DIGEST_LEN);
    assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, &out, .handles = {key}, .auth = {&s, &t.s}),
                     TPM_SUCCESS);
    assert_int_equal(t.s.handle, 0);
    st_hash(hash, (uint32_t[]){TPM_ORD_ReleaseTransportSigned}, 1, in.anti_replay.bytes, TPM_DIGEST_LEN);
    st_log_out(&t, hash, &out.current_ticks, out.locality);
    wr_put16(&w, TPM_TAG_SIGNINFO);
    wr_copy(&w, "TRAN", 4);
    wr_nonce(&w, &in.anti_replay);
    wr_put32(&w, TPM_DIGEST_LEN);
    wr_copy(&w, t.digest, TPM_DIGEST_LEN);
    cr_sha1(digest, bytes, w.len);
    assert_true(spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, &out.signature));
}

/*= p3:24.3#1 p3:24.3#2 p3:24.3#3 p3:24.3#4 p3:24.3#5 p3:24.3#7 */
static void test_release__unfit_requests__codes(void **state)
{
    struct release_transport_signed_in in = {.anti_replay = {{4}}};
    struct vt_auth secret = tc_secret("sign"), srk = SPEC_SRK, wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct tpm_key_obj legacy = spec_key(5, TPM_KEY_LEGACY, &secret);
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t free_key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER), legacy_key;
    struct tc_session s;
    struct st t = opened(tc, LOG, 0, 0);

    legacy.auth_data_usage = TPM_AUTH_NEVER;
    legacy_key = spec_insert(tc, &legacy);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {key}, .auth = {&t.s}),
                     TPM_AUTHFAIL);
    t = opened(tc, LOG, 0, 0);
    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(
        TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s, &t.s}),
        TPM_INAPPROPRIATE_SIG);
    t = opened(tc, LOG, 0, 0);
    assert_int_equal(
        TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {legacy_key}, .auth = {&t.s}),
        TPM_INVALID_KEYUSAGE);
    t = opened(tc, LOG, 0, 0);
    assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {key}, .auth = {&s, &t.s}),
                     TPM_AUTHFAIL);
    t = opened(tc, LOG, 0, 0);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {free_key}, .auth = {&t.s},
                        .wrong_hmac = {true}),
                     TPM_AUTH2FAIL);
    t = opened(tc, 0, 0, 0);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {free_key}, .auth = {&t.s}),
                     TPM_BAD_MODE);
    assert_false(alive(tc, &t));
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {free_key}, .auth = {&t.s}),
                     TPM_INVALID_AUTHHANDLE);
    t = opened(tc, LOG, 0, 0);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseTransportSigned, &in, NULL, .handles = {free_key}, .auth = {&t.s}),
                     TPM_SUCCESS);
    assert_false(alive(tc, &t));
}

/* ---- What ends and moves it ---- */

static void test_transport__flushed_inside_and_outside__gone(void **state)
{
    struct flush_specific_in in = {.resource_type = TPM_RT_TRANS};
    struct tc *tc = *state;
    struct st t = opened(tc, LOG, 0, 0);
    uint32_t handle = t.s.handle;

    assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle}), TPM_BAD_PARAMETER);
    /* From inside: the answer is still proved, and says so. */
    t = opened(tc, LOG | ENCRYPT, TPM_ALG_AES128, TPM_ES_SYM_OFB);
    assert_int_equal(ST(tc, &t, TPM_ORD_FlushSpecific, &in, .handles = {t.s.handle}), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
    assert_int_equal(t.s.handle, 0);
}

static void test_transport__owner_cleared_inside__session_ends(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;
    struct st t = opened(tc, EXCLUSIVE | ENCRYPT, TPM_ALG_MGF1, TPM_ES_NONE);

    /* A session from inside, so that it stays exclusive. */
    assert_int_equal(ST(tc, &t, TPM_ORD_OIAP, NULL), TPM_SUCCESS);
    s = (struct tc_session){.handle = t.inner_handle, .secret = owner};
    memcpy(s.even.bytes, session_find(tc->tpm, s.handle)->nonce_even, TPM_DIGEST_LEN);
    assert_int_equal(ST(tc, &t, TPM_ORD_OwnerClear, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
    assert_int_equal(t.s.handle, 0);
    assert_int_equal(tc->tpm->stany.transport_exclusive, 0);
}

/*= p3:21.2 p3:21.3 */
static void test_transport__saved_and_loaded__goes_on_once(void **state)
{
    struct save_context_in save = {.resource_type = TPM_RT_TRANS};
    struct save_context_out saved;
    struct load_context_in load = {.keep_handle = true};
    struct pcr_read_in pcr = {.pcr_index = 1};
    uint8_t blob[1024];
    struct tc *tc = *state;
    struct st t = opened(tc, LOG | ENCRYPT, TPM_ALG_MGF1, TPM_ES_NONE);

    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, &saved, .handles = {t.s.handle}), TPM_SUCCESS);
    assert_false(alive(tc, &t));
    assert_true(saved.context_blob.len <= sizeof blob);
    memcpy(blob, saved.context_blob.data, saved.context_blob.len);
    load.context_blob = (struct tpm_blob){.len = saved.context_blob.len, .data = blob};
    assert_int_equal(TC(tc, TPM_ORD_LoadContext, &load, NULL), TPM_SUCCESS);
    assert_int_equal(tc->out_handle, t.s.handle);
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &pcr), TPM_SUCCESS);
    assert_memory_equal(transport_find(tc->tpm, t.s.handle)->digest, t.digest, TPM_DIGEST_LEN);
    assert_int_equal(TC(tc, TPM_ORD_LoadContext, &load, NULL), TPM_BADCONTEXT);
    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, NULL, .handles = {0x04123456}), TPM_INVALID_RESOURCE);
}

/* Part 3, 13.1: a SHA-1 thread is all inside of one session, or all outside. */
static void test_transport__sha1_thread__does_not_cross_its_edge(void **state)
{
    struct sha1_complete_in complete = {.hash_data = {.len = 1, .data = (const uint8_t *)"x"}};
    struct tc *tc = *state;
    struct st t = opened(tc, 0, 0, 0), other = opened(tc, 0, 0, 0);

    assert_int_equal(ST(tc, &t, TPM_ORD_SHA1Start, NULL), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_SHA1Complete, &complete), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_SHA1Start, NULL), TPM_SUCCESS);
    assert_int_equal(ST(tc, &other, TPM_ORD_SHA1Complete, &complete), TPM_SUCCESS);
    assert_int_equal(other.inner, TPM_SHA_THREAD);
    assert_int_equal(TC(tc, TPM_ORD_SHA1Start, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_SHA1Complete, &complete), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SHA_THREAD);
}

static void test_transport__capabilities__told(void **state)
{
    uint8_t ctr[2] = {0, TPM_ES_SYM_CTR}, none[2] = {0, TPM_ES_RSAESPKCSv15};
    uint8_t rt[4] = {0, 0, 0, TPM_RT_TRANS}, expected[6] = {0, 1};
    struct tpm_blob resp;
    struct tc *tc = *state;
    struct st t = opened(tc, 0, 0, 0);
    struct wr w = wr_to(expected + 2, 4);

    wr_put32(&w, t.s.handle);
    assert_int_equal(spec_cap(tc, TPM_CAP_HANDLE, rt, sizeof rt, &resp), TPM_SUCCESS);
    assert_int_equal(resp.len, sizeof expected);
    assert_memory_equal(resp.data, expected, sizeof expected);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_TRANSSESS), 15);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_MAX_TRANSSESS), 16);
    assert_true(spec_cap_bool(tc, TPM_CAP_TRANS_ALG, TPM_ALG_AES128));
    assert_true(spec_cap_bool(tc, TPM_CAP_TRANS_ALG, TPM_ALG_MGF1));
    assert_false(spec_cap_bool(tc, TPM_CAP_TRANS_ALG, TPM_ALG_3DES));
    assert_int_equal(spec_cap(tc, TPM_CAP_TRANS_ES, ctr, sizeof ctr, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    assert_int_equal(spec_cap(tc, TPM_CAP_TRANS_ES, none, sizeof none, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_transport__each_cipher__command_and_answer_as_without),
        T(test_transport__encrypted__parameters_not_in_the_clear),
        T(test_transport__sessions_and_keys_inside__work),
        T(test_transport__inner_failure__is_told_inside),
        T(test_execute__unfit_requests__codes),
        T(test_execute__logged_key_missing__invalid_keyhandle),
        T(test_execute__wrong_guess_inside__counted_and_locked),
        T(test_establish__unfit_requests__codes),
        T(test_establish__secret_of_another_shape__invalid_structure),
        T(test_exclusive__another_command__ends_it),
        T(test_exclusive__another_transport__ends_it),
        T(test_release__logged_session__signature_of_all_that_was_in_it),
        T(test_release__unfit_requests__codes),
        T(test_transport__flushed_inside_and_outside__gone),
        T(test_transport__owner_cleared_inside__session_ends),
        T(test_transport__saved_and_loaded__goes_on_once),
        T(test_transport__sha1_thread__does_not_cross_its_edge),
        T(test_transport__capabilities__told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
