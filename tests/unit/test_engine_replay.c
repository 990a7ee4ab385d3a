/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Same seed, same ticks, same commands: same responses and the same frozen bytes, at every step of a long session
 * over all implemented ordinals. Once more in the same process, with other junk in memory that nobody set; once more
 * with a freeze and a thaw after every command; once more in another process with another environment, address layout
 * and heap.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "tests/unit/dirty_guest.h"

#define STEPS     3000
#define EVENTS    (8 * DIRTY_MOST)
#define SEED      6
#define RECORDING "--recording"

/* What one command left: SHA-256 over the command, its response, and the frozen state. */
struct event {
    uint32_t ordinal;
    uint8_t digest[CR_SHA256_LEN];
};

struct recording {
    unsigned count;
    uint8_t junk; /* what memory is full of that nobody set; 0: as it comes */
    struct event events[EVENTS];
};

/* One for each run. They are large. */
static struct recording first, other;

/* ---- Recording ---- */

static struct cr_slice frozen(int (*freeze)(const struct tpm *, uint8_t *, size_t *), const struct tpm *tpm,
                              uint8_t *bytes, size_t len)
{
    assert_int_equal(freeze(tpm, bytes, &len), VT_OK);
    return CR_SLICE(bytes, len);
}

/* Where the next command's locals will be. */
__attribute__((noinline)) static void scribble(uint8_t junk)
{
    uint8_t stack[96 * 1024];

    memset(stack, junk, sizeof stack);
    __asm__ volatile("" : : "r"(stack) : "memory");
}

static void on_seen(struct tc *tc, void *arg)
{
    static uint8_t permanent[TPM_FROZEN_PERMANENT_MAX], state[TPM_FROZEN_VOLATILE_MAX];
    struct recording *rec = arg;
    struct event *event = &rec->events[rec->count++];
    struct rd r = rd_from(tc->cmd, tc->cmd_len);
    struct cr_slice slices[] = {
        CR_SLICE(tc->cmd, tc->cmd_len),
        CR_SLICE(tc->rsp, tc->rsp_len),
        frozen(tpm_freeze_permanent, tc->tpm, permanent, sizeof permanent),
        frozen(tpm_freeze_volatile, tc->tpm, state, sizeof state),
    };

    assert_true(rec->count < EVENTS);
    (void)rd_get16(&r);
    (void)rd_get32(&r);
    event->ordinal = rd_get32(&r);
    cr_sha256v(event->digest, slices, VT_COUNT(slices));
    if (rec->junk)
        scribble(rec->junk);
}

/* What no guest can do; its outcome is in the state after the next command. */
static void platform(struct guest *g)
{
    struct tpm *tpm = g->tc->tpm;
    uint8_t data[100] = {(uint8_t)roll(g, 256)};

    switch (roll(g, 150)) {
    case 0:
        tpm_stir(tpm, data, roll(g, sizeof data));
        break;
    case 1:
        if (!tpm_hash_start(tpm) && roll(g, 4))
            (void)tpm_hash_data(tpm, data, roll(g, sizeof data));
        if (roll(g, 4))
            (void)tpm_hash_end(tpm);
        break;
    case 2:
        (void)tpm_reset_established(tpm, (uint8_t)roll(g, 5));
        break;
    default:
        return;
    }
    tc_check_frozen(g->tc);
}

/* The two ordinals that the guest's own TPM cannot show: one has its EK, and its guest is at locality 0. */
static void rest(struct guest *g)
{
    struct create_endorsement_key_pair_in in = {
        .key_info = key_params(TPM_KEY_STORAGE, 0, TPM_AUTH_ALWAYS).algorithm_parms};

    assert_int_equal(DO(g, TPM_ORD_CreateEndorsementKeyPair, &in, NULL), TPM_SUCCESS);
    g->tc->locality = 3;
    assert_int_equal(DO(g, TSC_ORD_ResetEstablishmentBit, NULL, NULL), TPM_SUCCESS);
    g->tc->locality = 0;
}

static void record(struct recording *rec, uint8_t seed, bool freezes)
{
    struct tc tc;
    struct guest g;

    rec->count = 0;
    tc_new(&tc, seed, false);
    tc.no_freeze = !freezes;
    tc.fill = rec->junk;
    tc.seen = on_seen;
    tc.seen_arg = rec;
    dirty_begin(&g, &tc, SEED);
    assert_int_equal(tc_reboot(&tc, TPM_ST_CLEAR), TPM_SUCCESS);
    rest(&g);
    dirty_session(&g, STEPS, platform);
    tc_free(&tc);
}

static void compare(const struct recording *a, const struct recording *b)
{
    for (unsigned i = 0; i < VT_MIN(a->count, b->count); i++)
        if (memcmp(&a->events[i], &b->events[i], sizeof a->events[i]) != 0)
            fail_msg("command %u (ordinal %08x) is the first one that differs", i, a->events[i].ordinal);
    assert_int_equal(a->count, b->count);
}

/* ---- Another process ---- */

static int record_to(const char *path)
{
    FILE *file = fopen(path, "w");
    /* Not where the other one's heap is. */
    void *lump = vt_calloc(1, 12345);
    bool wrote;

    record(&other, 1, false);
    vt_free(lump);
    wrote = file && fwrite(other.events, sizeof other.events[0], other.count, file) == other.count;
    return file && !fclose(file) && wrote ? 0 : 1;
}

static void read_back(struct recording *rec, int fd)
{
    FILE *file = fdopen(fd, "r");

    assert_non_null(file);
    rec->count = (unsigned)fread(rec->events, sizeof rec->events[0], EVENTS, file);
    fclose(file);
}

/* Nothing of it may reach the engine. */
static void change_environment(void)
{
    setenv("MALLOC_PERTURB_", "165", 1);
    setenv("MALLOC_TOP_PAD_", "999999", 1);
    setenv("TZ", "Asia/Kolkata", 1);
    setenv("A_LONG_ONE", "moves the stack: 0123456789012345678901234567890123456789012345678901234567890123456789", 1);
}

static void record_elsewhere(const char *path)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (!pid) {
        change_environment();
        execl("/proc/self/exe", "a program of another name", RECORDING, path, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- Tests ---- */

static int setup_first(void **state VT_UNUSED)
{
    record(&first, 1, false);
    return first.count > STEPS ? 0 : -1;
}

static void test_replay__frozen_and_thawed_after_every_step__same_bytes(void **state VT_UNUSED)
{
    record(&other, 1, true);
    compare(&first, &other);
}

/* No byte that nobody set comes out, or decides. */
static void test_replay__other_junk_in_buffers_stack_and_heap__same_bytes(void **state VT_UNUSED)
{
    other.junk = 0x5A;
    mallopt(M_PERTURB, other.junk);
    record(&other, 1, false);
    mallopt(M_PERTURB, 0);
    other.junk = 0;
    compare(&first, &other);
}

static void test_replay__another_process__same_bytes(void **state VT_UNUSED)
{
    char path[] = "/tmp/vtpm-replay-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    record_elsewhere(path);
    unlink(path);
    read_back(&other, fd);
    compare(&first, &other);
}

/* The comparison sees a difference: another seed at manufacture shows in the first state already. */
static void test_replay__another_seed__differs(void **state VT_UNUSED)
{
    struct tc tc;

    other.count = 0;
    tc_new(&tc, 2, false);
    tc.seen = on_seen;
    tc.seen_arg = &other;
    assert_int_equal(tc_reboot(&tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc_free(&tc);
    assert_int_equal(first.events[0].ordinal, other.events[0].ordinal);
    assert_memory_not_equal(first.events[0].digest, other.events[0].digest, CR_SHA256_LEN);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__frozen_and_thawed_after_every_step__same_bytes),
        cmocka_unit_test(test_replay__other_junk_in_buffers_stack_and_heap__same_bytes),
        cmocka_unit_test(test_replay__another_process__same_bytes),
        cmocka_unit_test(test_replay__another_seed__differs),
    };

    if (argc == 3 && !strcmp(argv[1], RECORDING))
        return record_to(argv[2]);
    return cmocka_run_group_tests(tests, setup_first, NULL);
}
