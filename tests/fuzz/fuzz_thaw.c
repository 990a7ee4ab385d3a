/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen state from outside. The first byte: bit 0, is the rest a permanent or a volatile part; bits 1-2, the state
 * that gives the other part. Either it is refused with a reason, or (of this version) it freezes to the same bytes, the TPM executes
 * commands, and what it is then freezes and thaws again.
 */
#include "server/base/alloc.h"
#include "server/engine/freeze.h"
#include "tests/fuzz/fuzz_tpm.h"

#define HEAD 6          /* magic and version */
#define SECTION_HEAD 8  /* tag and length */
#define SECTIONS_MAX 16

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    fuzz_tpm_start();
    return 0;
}

/* ---- Life after thaw ---- */

static void use(struct tpm **tpm)
{
    static const uint8_t commands[][64] = {
        {0, 0xc1, 0, 0, 0, 22, 0, 0, 0, 0x65, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 1, 0x17},        /* GetCapability */
        {0, 0xc1, 0, 0, 0, 18, 0, 0, 0, 0x65, 0, 0, 0, 7, 0, 0, 0, 0},                       /* loaded keys */
        {0, 0xc1, 0, 0, 0, 34, 0, 0, 0, 0x14, 0, 0, 0, 10, 1},                               /* Extend */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x0a},                                               /* OIAP */
        {0, 0xc1, 0, 0, 0, 36, 0, 0, 0, 0x0b, 0, 4, 0x40, 0, 0, 0},                          /* OSAP SRK */
        {0, 0xc1, 0, 0, 0, 22, 0, 0, 0, 0xcf, 0, 1, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 32},       /* NV_ReadValue */
        {0, 0xc1, 0, 0, 0, 24, 0, 0, 0, 0xcd, 0, 1, 0x10, 1, 0, 0, 0, 4, 0, 0, 0, 2, 7, 7},  /* NV_WriteValue */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0xa0},                                               /* SHA1Start */
        {0, 0xc1, 0, 0, 0, 14, 0, 0, 0, 0x46, 0, 0, 0, 20},                                  /* GetRandom */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x98},                                               /* SaveState */
        {0, 0xc1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0, 2},                                         /* Startup(ST_STATE) */
        {0, 0xc1, 0, 0, 0, 12, 0, 0, 0, 0x99, 0, 1},                                         /* Startup(ST_CLEAR) */
        {0, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x5d},                                               /* ForceClear */
    };
    struct response rsp;

    for (size_t i = 0; i < VT_COUNT(commands); i++) {
        size_t len = (size_t)commands[i][4] << 8 | commands[i][5];

        fuzz_tpm_execute(*tpm, (uint8_t)(i % 5), FUZZ_NOW, commands[i], len, &rsp);
        if (commands[i][9] == 0x98)
            FUZZ_CHECK(tpm_init(*tpm) == VT_OK);
    }
    fuzz_tpm_thaw_again(tpm);
    tpm_power_off(*tpm);
    fuzz_tpm_thaw_again(tpm);
}

/* Bytes of an older version come back as this version's. */
static bool of_this_version(const uint8_t *bytes, size_t len)
{
    struct rd r = rd_from(bytes, len);

    rd_take(&r, HEAD - 2);
    return rd_get16(&r) == FZ_VERSION;
}

static void thaw(const uint8_t *permanent, size_t permanent_len, const uint8_t *state, size_t state_len)
{
    static struct frozen again;
    struct vt_why why = {{0}};
    struct tpm *tpm = NULL;
    int err = tpm_thaw(&tpm, permanent, permanent_len, state, state_len, fuzz_tpm_ops(), &why);

    if (err) {
        FUZZ_CHECK(err == VT_EDAMAGED && why.text[0] && !tpm);
        return;
    }
    fuzz_tpm_freeze(tpm, &again);
    if (of_this_version(permanent, permanent_len))
        FUZZ_CHECK(again.permanent_len == permanent_len && !memcmp(again.permanent, permanent, permanent_len));
    FUZZ_CHECK(!again.state_len == !state_len);
    if (of_this_version(state, state_len))
        FUZZ_CHECK(again.state_len == state_len && !memcmp(again.state, state, state_len));
    use(&tpm);
    tpm_free(tpm);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    uint8_t mode = fuzz_u8(&src);
    const struct frozen *other = fuzz_tpm_state((enum fuzz_start)(mode / 2 % START_COUNT));

    if (mode & 1)
        thaw(other->permanent, other->permanent_len, src.at, src.left);
    else
        thaw(src.at, src.left, other->state, other->state_len);
    return 0;
}

/* ---- The mutator: within a section, whose length is then put right ---- */

/* Where the sections' contents begin and how long they are; 0 if the bytes are not made of sections. */
static size_t find_sections(const uint8_t *bytes, size_t len, size_t at[SECTIONS_MAX], size_t size[SECTIONS_MAX])
{
    struct rd r = rd_from(bytes, len);
    size_t count = 0;

    rd_take(&r, 1 + HEAD);
    while (!r.bad && r.left && count < SECTIONS_MAX) {
        rd_take(&r, SECTION_HEAD - 4);
        size[count] = rd_get32(&r);
        at[count] = len - r.left;
        rd_take(&r, size[count]);
        count++;
    }
    return r.bad || r.left ? 0 : count;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t cap, unsigned seed)
{
    size_t at[SECTIONS_MAX], size[SECTIONS_MAX], count = find_sections(bytes, len, at, size), i, fresh, behind;
    uint8_t *content;
    struct wr w;

    if (!count || seed % 8 == 0)
        return LLVMFuzzerMutate(bytes, len, cap);
    i = seed / 8 % count;
    fresh = size[i] + (cap - len);
    content = vt_calloc(1, fresh + 1);
    FUZZ_CHECK(content);
    memcpy(content, bytes + at[i], size[i]);
    fresh = LLVMFuzzerMutate(content, size[i], fresh);
    behind = len - at[i] - size[i];
    memmove(bytes + at[i] + fresh, bytes + at[i] + size[i], behind);
    memcpy(bytes + at[i], content, fresh);
    w = wr_to(bytes + at[i] - 4, 4);
    wr_put32(&w, (uint32_t)fresh);
    vt_free(content);
    return at[i] + fresh + behind;
}

/* ---- Seeds ---- */

static void emit_part(fuzz_emit emit, void *arg, uint8_t mode, const uint8_t *part, size_t len)
{
    static uint8_t bytes[1 + TPM_FROZEN_PERMANENT_MAX];
    char name[32];

    bytes[0] = mode;
    memcpy(bytes + 1, part, len);
    snprintf(name, sizeof name, "seed-%s-%d", mode & 1 ? "volatile" : "permanent", mode / 2);
    emit(arg, name, bytes, 1 + len);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    for (int start = START_OFF; start < START_COUNT; start++) {
        const struct frozen *state = fuzz_tpm_state((enum fuzz_start)start);

        emit_part(emit, arg, (uint8_t)(2 * start), state->permanent, state->permanent_len);
        emit_part(emit, arg, (uint8_t)(2 * start + 1), state->state, state->state_len);
    }
}
