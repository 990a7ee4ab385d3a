/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every structure and every parameter list, generically from the tables: random content survives writing and
 * reading; every shorter input is refused; so is a longer one; whatever a reader accepts, its writer writes
 * back byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/wire/commands.h"

#define ROUNDS 40
#define POOL 64
#define ROOM 8192

struct gen {
    uint64_t x;
    uint8_t pool[POOL]; /* what blobs point into */
    size_t rest;        /* bytes at the end that a `rest` field takes, however many there are */
    bool has_rest;
};

static uint32_t gen_next(struct gen *g)
{
    g->x = g->x * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(g->x >> 32);
}

static void gen_bytes(struct gen *g, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)gen_next(g);
}

static void gen_start(struct gen *g, uint64_t seed)
{
    *g = (struct gen){.x = seed * 0x9e3779b97f4a7c15ull + 1};
    gen_bytes(g, g->pool, sizeof(g->pool));
}

/* ---- random content of each kind ---- */

static void fill_none(struct gen *g, uint8_t *out)
{
    (void)g;
    *out = 0;
}

#define FILL_NUMBER(bits)                                                                                    \
    static void fill_u##bits(struct gen *g, uint##bits##_t *out)                                             \
    {                                                                                                        \
        *out = (uint##bits##_t)((uint64_t)gen_next(g) << 32 | gen_next(g));                                  \
    }
FILL_NUMBER(8)
FILL_NUMBER(16)
FILL_NUMBER(32)
FILL_NUMBER(64)

static void fill_b(struct gen *g, bool *out)
{
    *out = gen_next(g) & 1;
}

#define FILL_PLAIN(kind)                                                                                     \
    static void fill_##kind(struct gen *g, wire_##kind *out)                                                 \
    {                                                                                                        \
        gen_bytes(g, out->bytes, sizeof(out->bytes));                                                        \
    }
#define FILL_PLAIN_BYTES(n) FILL_PLAIN(bytes##n)
FILL_PLAIN(digest)
FILL_PLAIN(nonce)
FILL_PLAIN(authdata)
WIRE_BYTE_KINDS(FILL_PLAIN_BYTES)

static void fill_blob32(struct gen *g, struct tpm_blob *out)
{
    out->len = gen_next(g) % (POOL / 2);
    out->data = g->pool + gen_next(g) % (POOL / 2);
}

static void fill_blob16(struct gen *g, struct tpm_blob *out)
{
    fill_blob32(g, out);
}

static void fill_rest(struct gen *g, struct tpm_blob *out)
{
    fill_blob32(g, out);
    g->rest = out->len;
    g->has_rest = true;
}

static void fill_pcr_selection(struct gen *g, struct tpm_pcr_selection *out)
{
    *out = (struct tpm_pcr_selection){.size_of_select = gen_next(g) % (TPM_PCR_BYTES + 1)};
    gen_bytes(g, out->pcr_select, out->size_of_select);
}

#define FILL_FIELD(kind, name) fill_##kind(g, &out->name);
#define FILL_STRUCT(kind, tag)                                                                               \
    static void fill_##kind(struct gen *g, struct tpm_##kind *out)                                           \
    {                                                                                                        \
        FIELDS_##kind(FILL_FIELD)                                                                            \
    }
WIRE_STRUCTURES_PLAIN(FILL_STRUCT)

static void fill_key_parms(struct gen *g, struct tpm_key_parms *out)
{
    static const uint32_t algorithm[] = {TPM_ALG_HMAC, TPM_ALG_RSA, TPM_ALG_AES128};

    *out = (struct tpm_key_parms){.form = gen_next(g) % 3};
    out->algorithm_id = algorithm[out->form];
    fill_u16(g, &out->enc_scheme);
    fill_u16(g, &out->sig_scheme);
    if (out->form == TPM_PARMS_RSA)
        fill_rsa_key_parms(g, &out->parms.rsa);
    else if (out->form == TPM_PARMS_SYM)
        fill_symmetric_key_parms(g, &out->parms.sym);
    else
        fill_blob32(g, &out->parms.raw);
}

WIRE_STRUCTURES_KEYED(FILL_STRUCT)

static void fill_key(struct gen *g, struct tpm_key *out)
{
    *out = (struct tpm_key){.is_12 = gen_next(g) & 1};
    if (!out->is_12)
        out->ver = (struct tpm_struct_ver){1, 1, (uint8_t)gen_next(g), (uint8_t)gen_next(g)};
    fill_u16(g, &out->key_usage);
    out->key_flags = gen_next(g) & TPM_KEY_FLAGS_MASK;
    fill_u8(g, &out->auth_data_usage);
    fill_key_parms(g, &out->algorithm_parms);
    fill_blob32(g, &out->pcr_info);
    fill_blob32(g, &out->pub_key);
    fill_blob32(g, &out->enc_data);
}

static void fill_stored_data(struct gen *g, struct tpm_stored_data *out)
{
    *out = (struct tpm_stored_data){.is_12 = gen_next(g) & 1};
    if (out->is_12)
        fill_u16(g, &out->et);
    else
        out->ver = (struct tpm_struct_ver){1, 1, (uint8_t)gen_next(g), (uint8_t)gen_next(g)};
    fill_blob32(g, &out->seal_info);
    fill_blob32(g, &out->enc_data);
}

static void fill_certify_either(struct gen *g, struct tpm_certify_either *out)
{
    *out = (struct tpm_certify_either){.is_2 = gen_next(g) & 1};
    if (out->is_2) {
        fill_certify_info2(g, &out->info2);
    } else {
        fill_certify_info(g, &out->info);
        out->info.version.major = 1;
    }
}

static void fill_key_handle_list(struct gen *g, struct tpm_key_handle_list *out)
{
    out->loaded = gen_next(g) % (POOL / 4);
    out->handles = g->pool;
}

static void fill_msa_composite(struct gen *g, struct tpm_msa_composite *out)
{
    out->msa_list = 1 + gen_next(g) % (POOL / TPM_DIGEST_LEN);
    out->mig_auth_digest = g->pool;
}

#define FIELDS_identity_req(F)                                                                               \
    F(key_parms, asym_algorithm) F(key_parms, sym_algorithm) F(blob32, asym_blob) F(blob32, sym_blob)
#define FIELDS_identity_proof(F)                                                                             \
    F(struct_ver, ver)                                                                                       \
    F(pubkey, identity_key)                                                                                  \
    F(blob32, label_area)                                                                                    \
    F(blob32, identity_binding)                                                                              \
    F(blob32, endorsement_credential) F(blob32, platform_credential) F(blob32, conformance_credential)
#define FIELDS_sym_ca_attestation(F) F(key_parms, algorithm) F(blob32, credential)
FILL_STRUCT(identity_req, 0)
FILL_STRUCT(identity_proof, 0)
FILL_STRUCT(sym_ca_attestation, 0)

#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    static void fill_##snake##_in(struct gen *g, struct snake##_in *out)                                     \
    {                                                                                                        \
        IN_##snake(FILL_FIELD)                                                                               \
    }                                                                                                        \
    static void fill_##snake##_out(struct gen *g, struct snake##_out *out)                                   \
    {                                                                                                        \
        OUT_##snake(FILL_FIELD)                                                                              \
    }
#include "server/wire/ordinals.def"
#undef ORDINAL

/* ---- one row for each kind ---- */

struct kind {
    const char *name;
    size_t size;
    void (*fill)(struct gen *g, void *out);
    void (*read)(struct rd *r, void *out);
    void (*write)(struct wr *w, const void *in);
};

#define THUNKS(kind)                                                                                         \
    static void any_fill_##kind(struct gen *g, void *out)                                                    \
    {                                                                                                        \
        fill_##kind(g, out);                                                                                 \
    }                                                                                                        \
    static void any_read_##kind(struct rd *r, void *out)                                                     \
    {                                                                                                        \
        rd_##kind(r, out);                                                                                   \
    }                                                                                                        \
    static void any_write_##kind(struct wr *w, const void *in)                                               \
    {                                                                                                        \
        wr_##kind(w, in);                                                                                    \
    }
#define ROW(kind) {#kind, sizeof(wire_##kind), any_fill_##kind, any_read_##kind, any_write_##kind},

#define WIRE_BY_HAND(X)                                                                                      \
    X(pcr_selection)                                                                                         \
    X(key_parms)                                                                                             \
    X(key)                                                                                                   \
    X(stored_data)                                                                                           \
    X(certify_either)                                                                                        \
    X(key_handle_list)                                                                                       \
    X(msa_composite)                                                                                         \
    X(identity_req)                                                                                          \
    X(identity_proof)                                                                                        \
    X(sym_ca_attestation)

#define STRUCT_THUNKS(kind, tag) THUNKS(kind)
#define STRUCT_ROW(kind, tag) ROW(kind)
WIRE_STRUCTURES_PLAIN(STRUCT_THUNKS)
WIRE_STRUCTURES_KEYED(STRUCT_THUNKS)
WIRE_BY_HAND(THUNKS)
#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    THUNKS(snake##_in) THUNKS(snake##_out)
#include "server/wire/ordinals.def"
#undef ORDINAL

static const struct kind kinds[] = {
    WIRE_STRUCTURES_PLAIN(STRUCT_ROW)
    WIRE_STRUCTURES_KEYED(STRUCT_ROW)
    WIRE_BY_HAND(ROW)
#define ORDINAL(name, snake, ordinal, handles_in, handles_out, min_auths, max_auths)                         \
    ROW(snake##_in) ROW(snake##_out)
#include "server/wire/ordinals.def"
#undef ORDINAL
};

/* ---- what holds for all of them ---- */

/* Reads from memory of exactly that length, so that a sanitizer sees a step too far. */
static tpm_rc read_exactly(const struct kind *k, const uint8_t *bytes, size_t len, void *out)
{
    VT_AUTOFREE uint8_t *copy = vt_memdup(bytes, len ? len : 1);
    struct rd r = rd_from(copy, len);

    assert_non_null(copy);
    k->read(&r, out);
    return rd_result(&r);
}

static size_t write_some(const struct kind *k, struct gen *g, uint64_t seed, uint8_t out[ROOM])
{
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    struct wr w = wr_to(out, ROOM);

    assert_non_null(value);
    gen_start(g, seed);
    k->fill(g, value);
    k->write(&w, value);
    assert_false(w.bad);
    return w.len;
}

static void test_kind__random_content__survives(void **state)
{
    const struct kind *k = *state;
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    uint8_t bytes[ROOM], again[ROOM];
    struct gen g;

    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        size_t len = write_some(k, &g, seed, bytes);
        struct rd r = rd_from(bytes, len);
        struct wr w = wr_to(again, len);

        memset(value, 0xa5, k->size); /* readers set every field */
        k->read(&r, value);
        assert_int_equal(rd_result(&r), TPM_SUCCESS);
        k->write(&w, value);
        assert_false(w.bad);
        assert_int_equal(w.len, len);
        assert_memory_equal(again, bytes, len);
    }
}

static void test_kind__every_shorter_input__refused(void **state)
{
    const struct kind *k = *state;
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    uint8_t bytes[ROOM];
    struct gen g;

    for (uint64_t seed = 0; seed < ROUNDS / 4; seed++) {
        size_t len = write_some(k, &g, seed, bytes);

        for (size_t n = 0; n < len - g.rest; n++)
            assert_int_not_equal(read_exactly(k, bytes, n, value), TPM_SUCCESS);
    }
}

static void test_kind__one_byte_more__refused(void **state)
{
    const struct kind *k = *state;
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    uint8_t bytes[ROOM];
    struct gen g;

    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        size_t len = write_some(k, &g, seed, bytes);

        bytes[len] = 0;
        assert_int_equal(read_exactly(k, bytes, len + 1, value),
                         g.has_rest ? TPM_SUCCESS : TPM_BAD_PARAM_SIZE);
    }
}

static void test_kind__less_room_than_needed__writer_says_so(void **state)
{
    const struct kind *k = *state;
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    uint8_t bytes[ROOM];
    struct gen g;

    for (uint64_t seed = 0; seed < ROUNDS / 4; seed++) {
        size_t len = write_some(k, &g, seed, bytes);

        gen_start(&g, seed);
        k->fill(&g, value);
        for (size_t n = 0; n < len; n++) {
            VT_AUTOFREE uint8_t *room = vt_calloc(1, n ? n : 1);
            struct wr w = wr_to(room, n);

            k->write(&w, value);
            assert_true(w.bad);
            assert_true(w.len <= n);
        }
    }
}

static void test_kind__damaged_input__refused_or_canonical(void **state)
{
    const struct kind *k = *state;
    VT_AUTOFREE void *value = vt_calloc(1, k->size);
    uint8_t bytes[ROOM], again[ROOM];
    struct gen g;

    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        size_t len = write_some(k, &g, seed, bytes);

        for (int i = 0; len && i < ROUNDS; i++) {
            struct rd r;
            struct wr w = wr_to(again, ROOM);

            bytes[gen_next(&g) % len] = i & 1 ? (uint8_t)gen_next(&g) : 0xff;
            memset(value, 0xa5, k->size);
            if (read_exactly(k, bytes, len, value) != TPM_SUCCESS)
                continue;
            r = rd_from(bytes, len); /* once more: blobs borrow from what stays */
            k->read(&r, value);
            k->write(&w, value);
            assert_false(w.bad);
            assert_int_equal(w.len, len);
            assert_memory_equal(again, bytes, len);
        }
    }
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } checks[] = {
        {"random_content__survives", test_kind__random_content__survives},
        {"every_shorter_input__refused", test_kind__every_shorter_input__refused},
        {"one_byte_more__refused", test_kind__one_byte_more__refused},
        {"less_room_than_needed__writer_says_so", test_kind__less_room_than_needed__writer_says_so},
        {"damaged_input__refused_or_canonical", test_kind__damaged_input__refused_or_canonical},
    };
    static char names[VT_COUNT(kinds) * VT_COUNT(checks)][96];
    static struct CMUnitTest tests[VT_COUNT(names)];

    for (size_t i = 0; i < VT_COUNT(tests); i++) {
        const struct kind *k = &kinds[i / VT_COUNT(checks)];
        size_t check = i % VT_COUNT(checks);

        snprintf(names[i], sizeof(names[i]), "test_%s__%s", k->name, checks[check].name);
        tests[i].name = names[i];
        tests[i].test_func = checks[check].run;
        tests[i].initial_state = (void *)(uintptr_t)k;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
