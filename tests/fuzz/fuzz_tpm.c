/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_tpm.h"

#include <unistd.h>

#include "server/engine/cmd.h"
#include "tests/lib/fixture_keys.h"

const struct vt_auth fuzz_tpm_secret = {{'f', 'u', 'z', 'z'}};

static struct frozen states[START_COUNT];
static unsigned keys_taken;
static uint8_t wrapped_secret[CR_RSA_MAX];

/* ---- Keys ---- */

static int fixture(void *ctx VT_UNUSED, struct cr_rsa_key *key, unsigned bits, uint32_t e,
                   struct cr_drbg *drbg VT_UNUSED)
{
    unsigned count = bits == 2048 ? FIXTURE_KEYS_2048 : bits == 1024 ? FIXTURE_KEYS_1024 : FIXTURE_KEYS_512;
    const struct cr_rsa_key *from = fixture_rsa_key(bits, keys_taken % count);

    /* Others would take seconds to make. */
    if (!from || e != from->pub.e)
        return VT_ENOMEM;
    keys_taken++;
    *key = *from;
    return VT_OK;
}

const struct tpm_ops *fuzz_tpm_ops(void)
{
    static const struct tpm_ops ops = {.rsa_generate = fixture};

    return &ops;
}

static struct tpm_key_obj make_key(unsigned bits, unsigned index, uint16_t usage)
{
    bool signs = usage == TPM_KEY_SIGNING || usage == TPM_KEY_IDENTITY;
    struct tpm_key_obj key = {
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .payload = TPM_PT_ASYM,
        .usage = usage,
        .enc_scheme = signs ? TPM_ES_NONE : TPM_ES_RSAESOAEP_SHA1_MGF1,
        .sig_scheme = signs || usage == TPM_KEY_LEGACY ? TPM_SS_RSASSAPKCS1v15_SHA1 : TPM_SS_NONE,
        .usage_auth = fuzz_tpm_secret,
        .migration_auth = fuzz_tpm_secret,
        .rsa = *fixture_rsa_key(bits, index),
    };

    key_pub_digest(&key, key.pub_digest);
    return key;
}

/* What is done with them decides how large they must be. */
static void add_keys(struct tpm *tpm)
{
    static const struct {
        uint16_t usage;
        unsigned bits, fixture;
    } rows[FUZZ_KEYS] = {
        [KEY_SIGNING] = {TPM_KEY_SIGNING, 512, 0},
        [KEY_STORAGE] = {TPM_KEY_STORAGE, 2048, FUZZ_STORAGE_FIXTURE},
        [KEY_BIND] = {TPM_KEY_BIND, 1024, 1},
        [KEY_IDENTITY] = {TPM_KEY_IDENTITY, 1024, 2},
        [KEY_MIGRATE] = {TPM_KEY_MIGRATE, 2048, FUZZ_AUTHORITY_FIXTURE},
        [KEY_LEGACY] = {TPM_KEY_LEGACY, 512, 1},
    };

    for (size_t i = 0; i < FUZZ_KEYS; i++) {
        struct tpm_key_obj key = make_key(rows[i].bits, rows[i].fixture, rows[i].usage);

        FUZZ_CHECK(key_insert(tpm, &key, false));
    }
}

struct tpm_blob fuzz_tpm_secret_for_ek(void)
{
    return (struct tpm_blob){.len = sizeof wrapped_secret, .data = wrapped_secret};
}

/* ---- The states ---- */

static void startup(struct tpm *tpm)
{
    static const uint8_t clear[] = {0, 0xc1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0, 1};
    struct response rsp;

    FUZZ_CHECK(tpm_init(tpm) == VT_OK);
    fuzz_tpm_execute(tpm, 0, FUZZ_NOW, clear, sizeof clear, &rsp);
    FUZZ_CHECK(rsp.rc == TPM_SUCCESS);
}

static void add_area(struct tpm *tpm, uint32_t index, uint32_t permission)
{
    struct nv_area area = {.auth = fuzz_tpm_secret};

    area.pub.nv_index = index;
    area.pub.permission.attributes = permission;
    area.pub.data_size = 32;
    area.pub.pcr_info_read.locality_at_release = area.pub.pcr_info_write.locality_at_release = TPM_LOC_ALL;
    area.pub.pcr_info_read.pcr_selection.size_of_select = TPM_PCR_BYTES;
    area.pub.pcr_info_write.pcr_selection.size_of_select = TPM_PCR_BYTES;
    FUZZ_CHECK(nv_define(tpm, &area));
}

static void add_owner(struct tpm *tpm)
{
    tpm->perm.owned = true;
    tpm->perm.owner_auth = fuzz_tpm_secret;
    tpm->perm.flags.nv_locked = true;
    tpm->perm.srk.handle = TPM_KH_SRK;
    tpm->perm.srk.key = make_key(2048, FUZZ_SRK_FIXTURE, TPM_KEY_STORAGE);
    tpm->stclear.flags.physical_presence = true;
    add_keys(tpm);
    add_area(tpm, FUZZ_NV_OPEN, 0);
    add_area(tpm, FUZZ_NV_AUTH, TPM_NV_PER_AUTHREAD | TPM_NV_PER_AUTHWRITE);
    add_area(tpm, FUZZ_NV_OWNER, TPM_NV_PER_OWNERREAD | TPM_NV_PER_OWNERWRITE);
}

static void wrap_secret(const struct tpm *tpm)
{
    static const uint8_t seed[CR_DRBG_SEED] = {9};
    struct cr_drbg drbg;

    cr_drbg_init(&drbg, seed, "fuzz", 4);
    FUZZ_CHECK(cr_rsa_oaep_encrypt(&tpm->perm.ek.key.rsa.pub, "TCPA", 4, fuzz_tpm_secret.bytes,
                                   sizeof fuzz_tpm_secret.bytes, &drbg, wrapped_secret) == VT_OK);
}

static struct tpm *manufacture(bool with_ek)
{
    static const uint8_t seed[CR_DRBG_SEED] = {1};
    struct tpm_profile profile;
    struct tpm *tpm;

    tpm_profile_pc_client(&profile);
    profile.maintenance = true;
    FUZZ_CHECK(tpm_manufacture(&tpm, &profile, seed, with_ek, fuzz_tpm_ops()) == VT_OK);
    return tpm;
}

void fuzz_tpm_adopt(struct tpm *tpm)
{
    static const uint8_t save[] = {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x98};
    struct response rsp;

    fuzz_tpm_freeze(tpm, &states[START_OWNED]);
    fuzz_tpm_execute(tpm, 0, FUZZ_NOW, save, sizeof save, &rsp);
    FUZZ_CHECK(rsp.rc == TPM_SUCCESS && tpm_init(tpm) == VT_OK);
    fuzz_tpm_freeze(tpm, &states[START_SAVED]);
    tpm_free(tpm);
}

void fuzz_tpm_start(void)
{
    struct tpm *tpm;

    FUZZ_CHECK(cr_init() == VT_OK);
    tpm = manufacture(false);
    startup(tpm);
    fuzz_tpm_freeze(tpm, &states[START_BARE]);
    tpm_free(tpm);
    tpm = manufacture(true);
    wrap_secret(tpm);
    fuzz_tpm_freeze(tpm, &states[START_OFF]);
    startup(tpm);
    fuzz_tpm_freeze(tpm, &states[START_ON]);
    add_owner(tpm);
    fuzz_tpm_adopt(tpm);
}

const struct frozen *fuzz_tpm_state(enum fuzz_start start)
{
    return &states[start];
}

struct tpm *fuzz_tpm_new(enum fuzz_start start)
{
    const struct frozen *from = &states[start];
    struct tpm *tpm;

    keys_taken = 0;
    FUZZ_CHECK(tpm_thaw(&tpm, from->permanent, from->permanent_len, from->state, from->state_len,
                        fuzz_tpm_ops(), NULL) == VT_OK);
    return tpm;
}

/* ---- What holds ---- */

void fuzz_tpm_freeze(const struct tpm *tpm, struct frozen *out)
{
    out->permanent_len = sizeof out->permanent;
    out->state_len = sizeof out->state;
    FUZZ_CHECK(tpm_freeze_permanent(tpm, out->permanent, &out->permanent_len) == VT_OK);
    FUZZ_CHECK(tpm_freeze_volatile(tpm, out->state, &out->state_len) == VT_OK);
}

static bool same_permanent(const struct frozen *a, const struct frozen *b)
{
    return a->permanent_len == b->permanent_len && !memcmp(a->permanent, b->permanent, a->permanent_len);
}

static bool same_state(const struct frozen *a, const struct frozen *b)
{
    return a->state_len == b->state_len && !memcmp(a->state, b->state, a->state_len);
}

bool fuzz_tpm_same(const struct frozen *a, const struct frozen *b)
{
    return same_permanent(a, b) && same_state(a, b);
}

void fuzz_tpm_thaw_again(struct tpm **tpm)
{
    static struct frozen before, after;
    struct vt_why why = {{0}};
    struct tpm *thawed;

    fuzz_tpm_freeze(*tpm, &before);
    if (tpm_thaw(&thawed, before.permanent, before.permanent_len, before.state, before.state_len,
                 fuzz_tpm_ops(), &why)) {
        fprintf(stderr, "thaw: %s\n", why.text);
        abort();
    }
    fuzz_tpm_freeze(thawed, &after);
    FUZZ_CHECK(fuzz_tpm_same(&before, &after));
    tpm_free(*tpm);
    *tpm = thawed;
}

/* Part 3, 2: tag, paramSize, returnCode. */
static void check_response(const uint8_t *cmd, size_t len, struct response *rsp)
{
    struct rd r = rd_from(rsp->bytes, rsp->len);
    uint16_t tag = rd_get16(&r);
    uint32_t size = rd_get32(&r);

    rsp->rc = rd_get32(&r);
    FUZZ_CHECK(!r.bad && rsp->len <= TPM_BUFFER && size == rsp->len);
    if (rsp->rc)
        FUZZ_CHECK(tag == TPM_TAG_RSP_COMMAND && rsp->len == TPM_HEADER_LEN);
    else
        FUZZ_CHECK(len >= TPM_HEADER_LEN &&
                   tag == (cmd[0] << 8 | cmd[1]) + TPM_TAG_RSP_COMMAND - TPM_TAG_RQU_COMMAND);
}

/* The bytes in memory tell sooner than frozen ones that nothing happened. Keys that the owner keeps lie among
 * the others. */
static bool untouched(const struct tpm *a, const struct tpm *b, bool permanent)
{
    if (memcmp(a->keys, b->keys, sizeof a->keys) != 0)
        return false;
    if (permanent)
        return !memcmp(&a->perm, &b->perm, sizeof a->perm);
    return a->on == b->on && !memcmp(&a->drbg, &b->drbg, sizeof a->drbg) &&
           !memcmp(&a->stclear, &b->stclear, sizeof a->stclear) &&
           !memcmp(&a->stany, &b->stany, sizeof a->stany);
}

/* What is not said to have changed is not written down: it would be lost with the process. */
static void check_dirty(struct tpm *before, const struct tpm *after, unsigned dirty)
{
    static struct frozen was, is;
    bool permanent = (dirty & TPM_DIRTY_PERMANENT) || untouched(before, after, true);
    bool state = (dirty & TPM_DIRTY_VOLATILE) || untouched(before, after, false);

    if (permanent && state)
        return;
    fuzz_tpm_freeze(before, &was);
    fuzz_tpm_freeze(after, &is);
    FUZZ_CHECK(permanent || same_permanent(&was, &is));
    FUZZ_CHECK(state || same_state(&was, &is));
}

void fuzz_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t len,
                      struct response *rsp)
{
    static struct tpm before;

    /* The time of the last command alone is nobody's loss: no state gets dirty by it. */
    tpm->stany.now_us = VT_MAX(tpm->stany.now_us, now_us);
    before = *tpm;
    memset(rsp->bytes, 0xEE, sizeof rsp->bytes);
    rsp->len = 0;
    rsp->dirty = 0;
    tpm_execute(tpm, locality, now_us, cmd, len, rsp->bytes, &rsp->len, &rsp->dirty);
    check_response(cmd, len, rsp);
    if (len >= TPM_HEADER_LEN)
        fuzz_tpm_count((uint32_t)cmd[6] << 24 | (uint32_t)cmd[7] << 16 | (uint32_t)cmd[8] << 8 | cmd[9],
                       rsp->rc);
    check_dirty(&before, tpm, rsp->dirty);
}

/* ---- How far the inputs came ---- */

static unsigned came[256], succeeded[256]; /* by row of commands.def */

void fuzz_tpm_count(uint32_t ordinal, tpm_rc rc)
{
    const struct cmd_row *row = cmd_row_find(ordinal);
    size_t count, at;

    if (!row)
        return;
    at = (size_t)(row - cmd_rows(&count));
    FUZZ_CHECK(count <= VT_COUNT(came));
    came[at]++;
    succeeded[at] += !rc;
}

static void tell_reach(void)
{
    const char *least = getenv("VTPM_FUZZ_LEAST");
    bool table = getenv("VTPM_FUZZ_TABLE");
    unsigned there = 0, reached = 0, sum = 0;
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    for (size_t i = 0; i < count; i++) {
        there += rows[i].run != NULL;
        reached += rows[i].run && succeeded[i];
        sum += came[i];
        if (table && rows[i].run)
            fprintf(stderr, "ordinal %#10x: %9u times, %9u successes\n", rows[i].ordinal, came[i],
                    succeeded[i]);
    }
    if (!sum)
        return;
    fprintf(stderr, "succeeded: %u of %u ordinals%s", reached, there, reached < there ? "; not" : "");
    for (size_t i = 0; i < count; i++)
        if (rows[i].run && !succeeded[i])
            fprintf(stderr, " %#x", rows[i].ordinal);
    fprintf(stderr, "\n");
    if (least && reached < strtoul(least, NULL, 10))
        _exit(1);
}

void fuzz_tpm_tell_reach(void)
{
    memset(came, 0, sizeof came);
    memset(succeeded, 0, sizeof succeeded);
    FUZZ_CHECK(!atexit(tell_reach));
}
