/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM that moves in from swtpm. The first byte: 0, the rest is the file; 1, it is libtpms' state without its SHA-1, which
 * is put around it, so that what lies behind the SHA-1 is reached; 2, the same, encrypted. Either it is refused with a reason,
 * or the TPM executes commands, freezes and thaws.
 */
#include "server/base/alloc.h"
#include "server/engine/swtpm.h"
#include "tests/fuzz/fuzz_tpm.h"
#include "tests/unit/make_swtpm.h"

enum { RAW, STATE, ENCRYPTED, MODES };

static const uint8_t key_bytes[16] = "a key of 16 byte";

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    fuzz_tpm_start();
    return 0;
}

static void use(struct tpm **tpm)
{
    static const uint8_t commands[][64] = {
        {0, 0xc1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0, 1},                                         /* Startup(ST_CLEAR) */
        {0, 0xc1, 0, 0, 0, 22, 0, 0, 0, 0x65, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 1, 0x17},        /* GetCapability */
        {0, 0xc1, 0, 0, 0, 18, 0, 0, 0, 0x65, 0, 0, 0, 7, 0, 0, 0, 0},                       /* loaded keys */
        {0, 0xc1, 0, 0, 0, 18, 0, 0, 0, 0x65, 0, 0, 0, 13, 0, 0, 0, 0},                      /* NV indices */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0xdb},                                               /* Delegate_ReadTable */
        {0, 0xc1, 0, 0, 0, 22, 0, 0, 0, 0xcf, 0, 1, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 8},        /* NV_ReadValue */
        {0, 0xc1, 0, 0, 0, 14, 0, 0, 0, 0xde, 0, 0, 0, 0},                                   /* ReadCounter */
        {0, 0xc1, 0, 0, 0, 36, 0, 0, 0, 0x0b, 0, 4, 0x40, 0, 0, 0},                          /* OSAP SRK */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x98},                                               /* SaveState */
    };
    struct response rsp;

    FUZZ_CHECK(tpm_init(*tpm) == VT_OK);
    for (size_t i = 0; i < VT_COUNT(commands); i++)
        fuzz_tpm_execute(*tpm, 0, FUZZ_NOW, commands[i], (size_t)commands[i][5], &rsp);
    fuzz_tpm_thaw_again(tpm);
    tpm_power_off(*tpm);
    fuzz_tpm_thaw_again(tpm);
}

static void import(const uint8_t *file, size_t len, const struct tpm_swtpm_key *key)
{
    static const uint8_t seed[CR_DRBG_SEED] = {7};
    struct tpm_swtpm_facts facts;
    struct tpm_profile profile;
    struct vt_why why = {{0}};
    struct tpm *tpm = NULL;
    int err;

    tpm_profile_pc_client(&profile);
    err = tpm_from_swtpm(&tpm, &profile, seed, file, len, key, fuzz_tpm_ops(), &facts, &why);
    if (err) {
        FUZZ_CHECK(err != VT_ENOMEM && why.text[0] && !tpm);
        return;
    }
    FUZZ_CHECK(facts.owned <= facts.has_ek && facts.counters <= 8 && facts.owner_keys <= profile.owner_evict_slots);
    use(&tpm);
    tpm_free(tpm);
}

/* Exactly as long as it is: a sanitizer then sees what is read past it. */
static void import_copy(const uint8_t *file, size_t len, const struct tpm_swtpm_key *key)
{
    uint8_t *exact = vt_memdup(file, len);

    FUZZ_CHECK(exact);
    import(exact, len, key);
    vt_free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static uint8_t state[MAKE_SWTPM_MAX], file[MAKE_SWTPM_MAX + 256];
    struct fuzz_src src = {bytes, len};
    uint8_t mode = fuzz_u8(&src) % MODES;
    struct tpm_swtpm_key key = {.len = mode == ENCRYPTED ? sizeof key_bytes : 0};

    memcpy(key.bytes, key_bytes, sizeof key_bytes);
    if (mode == RAW) {
        import(src.at, src.left, &key);
        return 0;
    }
    if (src.left > MAKE_SWTPM_MAX - 256)
        return 0;
    memcpy(state, src.at, src.left);
    make_swtpm_sign(state, src.left + CR_SHA1_LEN);
    import_copy(file, make_swtpm_file(file, state, src.left + CR_SHA1_LEN, mode == ENCRYPTED ? key_bytes : NULL), &key);
    return 0;
}

/* ---- Seeds ---- */

static void emit_state(fuzz_emit emit, void *arg, const char *name, const struct swtpm_parts *parts)
{
    static uint8_t bytes[1 + MAKE_SWTPM_MAX];
    size_t len = make_swtpm_state(bytes + 1, parts) - CR_SHA1_LEN;

    bytes[0] = STATE;
    emit(arg, name, bytes, 1 + len);
}

static void emit_file(fuzz_emit emit, void *arg, const char *name, const uint8_t *key)
{
    static uint8_t bytes[1 + MAKE_SWTPM_MAX], state[MAKE_SWTPM_MAX];
    const struct swtpm_parts none = {.no_ek = true, .no_srk = true};
    size_t len = make_swtpm_state(state, &none);

    bytes[0] = RAW;
    emit(arg, name, bytes, 1 + make_swtpm_file(bytes + 1, state, len, key));
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    struct swtpm_parts parts = {.no_ek = true, .no_srk = true};

    emit_file(emit, arg, "seed-file", NULL);
    emit_file(emit, arg, "seed-file-encrypted", key_bytes);
    emit_state(emit, arg, "seed-state-new", &parts);
    parts = (struct swtpm_parts){
        .owned = true, .flags = 0x8102, .owner_keys = 1, .handles = {0xC0000001}, .counters = {7, 9}, .counters_used = 1,
        .families_used = 1, .delegations_used = 1, .area_count = 2, .areas = {{0x11001, 8, true}, {0x1000F000, 16, false}}};
    emit_state(emit, arg, "seed-state-owned", &parts);
    parts.nv_version = parts.flags_version = 1;
    parts.key12 = true;
    emit_state(emit, arg, "seed-state-older", &parts);
}
