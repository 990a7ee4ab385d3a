/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/exec_steps.h"

#define STEP(w, o)      .what = (w), .ordinal = (o)
#define CMD(name)       STEP(0, TPM_ORD_##name)
#define TWICE(name)     STEP(AGAIN, TPM_ORD_##name)
#define MANY(name)      STEP(AGAIN | WHAT_MANY, TPM_ORD_##name)
#define WRAPPED(name)   STEP(WHAT_WRAPPED, TPM_ORD_##name)
#define DELEGATED(name) STEP(WHAT_DELEGATED, TPM_ORD_##name)
#define AES(name)       STEP(WHAT_AES, TPM_ORD_##name)
#define WRONG(name)     STEP(WHAT_WRONG, TPM_ORD_##name)
#define ACT(number)     STEP(PLATFORM, number)
#define INIT            ACT(0)
#define FROZEN          STEP(THAW, 0)
#define PRESENT         STEP(0, TSC_ORD_PhysicalPresence), .a = 3

/* Key templates of exec_params.c: signing, 1024 bits, may migrate. */
#define MIGRATABLE 0x23
#define COURSE(name, start, ...)                                                                             \
    {                                                                                                        \
        name, start, VT_COUNT(((const struct course_step[]){__VA_ARGS__})), (const struct course_step[])     \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }

const struct course exec_prepare =
    COURSE("prepare", START_OWNED, {CMD(SetOperatorAuth)}, {CMD(CreateWrapKey), .a = MIGRATABLE},
           {CMD(Seal), .a = 33}, {CMD(AuthorizeMigrationKey)}, {CMD(CreateMigrationBlob)},
           {CMD(AuthorizeMigrationKey), .a = 2}, {CMD(CMK_ApproveMA)}, {CMD(CMK_CreateKey)},
           {CMD(CMK_CreateTicket)}, {CMD(CMK_CreateBlob)}, {CMD(Delegate_Manage)},
           {CMD(Delegate_Manage), .a = 1}, {CMD(Delegate_CreateOwnerDelegation)},
           {CMD(Delegate_CreateKeyDelegation)}, {CMD(Delegate_LoadOwnerDelegation)}, {CMD(CreateCounter)},
           {CMD(LoadKey2)}, {CMD(SaveContext)}, {CMD(SaveKeyContext)}, {MANY(DAA_Join)}, {MANY(DAA_Join)},
           {TWICE(DAA_Join)}, {TWICE(DAA_Join)}, {TWICE(DAA_Join)}, {TWICE(DAA_Join)});

/* What of it a guest does to get somewhere. */
static const struct course courses[] = {
    COURSE("ek", START_BARE, {PRESENT}, {CMD(CreateEndorsementKeyPair)}, {CMD(ReadPubek)},
           {CMD(TakeOwnership)}),
    COURSE("revocable", START_BARE, {PRESENT}, {CMD(CreateRevocableEK)}, {CMD(ReadPubek)},
           {CMD(RevokeTrust)}),
    COURSE("owner", START_ON, {CMD(TakeOwnership)}, {CMD(OIAP)},
           {CMD(OwnerReadInternalPub), .how = HOW_POOL | HOW_KEEP, .a = 1}, {CMD(ChangeAuthOwner), .a = 1},
           {CMD(ChangeAuthOwner)}, {CMD(OwnerClear)}),
    COURSE("clear", START_OWNED, {CMD(ForceClear)}, {CMD(PhysicalEnable)}, {CMD(PhysicalSetDeactivated)},
           {INIT}, {CMD(Startup)}, {CMD(TakeOwnership)}),
    COURSE("keys", START_OWNED, {CMD(CreateWrapKey)}, {CMD(LoadKey2)}, {CMD(Sign), .handles = 8},
           {CMD(Quote), .handles = 8, .a = 10}, {CMD(SaveContext)}, {CMD(EvictKey)}, {CMD(LoadContext)}),
    COURSE("subtree", START_OWNED, {CMD(CreateWrapKey), .a = 1}, {CMD(LoadKey2)},
           {CMD(CreateWrapKey), .handles = 8}, {CMD(LoadKey2), .handles = 8},
           {CMD(Seal), .handles = 8, .a = 33}, {CMD(GetPubKey), .handles = 8}),
    COURSE("key12", START_OWNED, {CMD(CreateWrapKey), .a = 0x91}, {CMD(LoadKey2)},
           {CMD(CertifyKey2), .handles = 8}, {CMD(CertifyKey2)}, {CMD(LoadKey)},
           {CMD(CertifyKey), .handles = 0x80}),
    COURSE("sealed", START_OWNED, {CMD(Seal), .a = 33}, {CMD(Unseal)}, {CMD(Seal), .a = 34},
           {CMD(Extend), .a = 10}, {CMD(Unseal)}, {AES(Sealx), .a = 33}, {CMD(Unseal)}, {CMD(ChangeAuth)}),
    COURSE("identity", START_OWNED, {CMD(MakeIdentity)}, {CMD(ActivateIdentity)},
           {CMD(Quote2), .handles = 5, .b = 1}, {CMD(GetAuditDigestSigned), .handles = 5, .a = 1}),
    COURSE("evict", START_OWNED, {CMD(KeyControlOwner)}, {INIT}, {CMD(Startup)},
           {CMD(GetPubKey), .handles = 3}, {CMD(KeyControlOwner), .a = 1},
           {CMD(FlushSpecific), .handles = 3}),
    COURSE("nv", START_OWNED, {CMD(NV_DefineSpace), .a = 0x29, .b = 32},
           {CMD(NV_WriteValueAuth), .a = 9, .b = 0x41}, {CMD(NV_ReadValueAuth), .a = 9, .b = 0x41},
           {CMD(NV_WriteValue), .how = HOW_FEWER, .a = 1, .b = 0x41},
           {CMD(NV_ReadValue), .how = HOW_FEWER, .a = 1, .b = 0x41}, {CMD(NV_WriteValue), .a = 3, .b = 0x41},
           {CMD(NV_ReadValue), .a = 3, .b = 0x41}, {CMD(SaveState)}, {INIT}, {CMD(Startup), .a = 1}),
    COURSE("nv-free", START_OWNED, {CMD(NV_DefineSpace), .how = HOW_FEWER, .a = 0x31, .b = 8},
           {CMD(NV_WriteValue), .how = HOW_FEWER, .a = 0xff}, {CMD(NV_DefineSpace), .a = 1, .b = 0}),
    COURSE("saved", START_SAVED, {CMD(Startup), .a = 1}, {CMD(PcrRead)}, {CMD(Sign)}),
    COURSE("sha1", START_ON, {CMD(SHA1Start)}, {CMD(SHA1Update)}, {FROZEN}, {CMD(SHA1Complete), .a = 9},
           {CMD(SHA1Start)}, {CMD(SHA1CompleteExtend), .a = 9, .b = 3}),
    COURSE("sessions", START_OWNED, {CMD(OIAP)}, {CMD(SaveContext), .a = 1}, {CMD(LoadContext)},
           {CMD(SaveAuthContext)}, {CMD(LoadAuthContext)}, {CMD(OwnerReadInternalPub), .how = HOW_POOL},
           {CMD(OIAP)}, {CMD(Terminate_Handle)}, {CMD(OSAP), .a = 0}, {CMD(FlushSpecific), .a = 1},
           {CMD(OSAP), .a = 0x82, .b = 2}, {CMD(NV_ReadValueAuth), .how = HOW_POOL, .a = 2},
           {CMD(OSAP), .a = 9}, {CMD(IncrementCounter), .how = HOW_POOL}),
    COURSE("old-contexts", START_OWNED, {CMD(LoadKey2)}, {CMD(SaveKeyContext)}, {CMD(EvictKey)},
           {CMD(LoadKeyContext)}, {CMD(OIAP)}, {CMD(SaveAuthContext)}, {CMD(Reset)}, {CMD(LoadAuthContext)}),
    COURSE("migrate", START_OWNED, {CMD(AuthorizeMigrationKey), .a = 1}, {CMD(CreateMigrationBlob)},
           {CMD(ConvertMigrationBlob)}, {CMD(AuthorizeMigrationKey), .b = 1}, {CMD(CreateMigrationBlob)},
           {CMD(MigrateKey), .a = 1}, {CMD(ConvertMigrationBlob)}),
    COURSE("cmk", START_OWNED, {CMD(CMK_SetRestrictions), .a = 3}, {CMD(CMK_CreateKey)},
           {CMD(CMK_CreateTicket)}, {CMD(CMK_CreateBlob)}, {CMD(CMK_ConvertMigration)},
           {CMD(AuthorizeMigrationKey), .a = 3}, {CMD(CMK_CreateBlob)}),
    COURSE("lent", START_OWNED, {DELEGATED(OwnerReadInternalPub), .a = 1},
           {DELEGATED(GetCapabilityOwner), .b = 1}, {DELEGATED(TickStampBlob), .handles = 5},
           {CMD(SetOwnerPointer), .a = 1}, {CMD(OwnerReadPubek)}, {CMD(SetOwnerPointer)},
           {CMD(Delegate_UpdateVerification)}, {CMD(Delegate_VerifyDelegation)}, {CMD(Delegate_ReadTable)},
           {CMD(Delegate_Manage), .a = 3}, {CMD(DSAP)}),
    COURSE("wrapped", START_OWNED, {CMD(EstablishTransport), .a = 2},
           {WRAPPED(GetRandom), .how = HOW_KEEP, .a = 9}, {WRAPPED(OIAP), .how = HOW_KEEP},
           {WRAPPED(Seal), .how = HOW_KEEP, .a = 33}, {WRAPPED(LoadKey2), .how = HOW_KEEP}, {FROZEN},
           {WRAPPED(Extend), .how = HOW_KEEP}, {CMD(ReleaseTransportSigned)}),
    COURSE("hidden-mgf1", START_OWNED, {CMD(EstablishTransport), .a = 3}, {WRAPPED(OSAP), .how = HOW_KEEP},
           {WRAPPED(DSAP), .how = HOW_KEEP}, {WRAPPED(Unseal), .how = HOW_KEEP},
           {CMD(ReleaseTransportSigned)}),
    COURSE("hidden-ctr", START_OWNED, {CMD(EstablishTransport), .a = 1, .b = 1},
           {WRAPPED(OSAP), .how = HOW_KEEP}, {WRAPPED(NV_ReadValue), .how = HOW_KEEP, .a = 3, .b = 0x41},
           {WRAPPED(PcrRead)}),
    COURSE("hidden-ofb", START_OWNED, {CMD(EstablishTransport), .a = 1, .b = 2},
           {WRAPPED(GetPubKey), .how = HOW_KEEP}, {CMD(SaveContext), .a = 2}, {CMD(LoadContext)},
           {WRAPPED(PcrRead), .how = HOW_KEEP}, {CMD(FlushSpecific), .a = 2}),
    COURSE("exclusive", START_OWNED, {CMD(EstablishTransport), .a = 6}, {WRAPPED(SHA1Start), .how = HOW_KEEP},
           {WRAPPED(SHA1Update), .how = HOW_KEEP}, {WRAPPED(SHA1Complete), .how = HOW_KEEP}, {CMD(PcrRead)},
           {WRAPPED(PcrRead)}),
    COURSE("nested", START_OWNED, {CMD(EstablishTransport)}, {WRAPPED(EstablishTransport), .how = HOW_KEEP},
           {WRAPPED(ExecuteTransport), .how = HOW_KEEP}, {CMD(ExecuteTransport)}),
    COURSE("audit", START_OWNED, {CMD(SetOrdinalAuditStatus), .a = 70, .b = 1},
           {CMD(SetOrdinalAuditStatus), .a = 1, .b = 1}, {CMD(GetRandom), .a = 1}, {CMD(SaveState)},
           {CMD(GetAuditDigest)}, {CMD(GetOrdinalAuditStatus)}, {CMD(GetAuditDigestSigned), .a = 1}),
    COURSE("capabilities", START_OWNED, {CMD(GetCapability), .a = 6, .b = 0x80},
           {CMD(GetCapability), .a = 5, .b = 0x11}, {CMD(GetCapability), .a = 0x11, .b = 1},
           {CMD(GetCapability), .a = 7}, {CMD(GetCapability), .a = 0x10, .b = 1},
           {CMD(GetCapabilitySigned), .a = 6, .b = 0x80}, {CMD(SetCapability), .a = 1, .b = 4},
           {CMD(GetOrdinalAuditStatus), .a = 70}),
    COURSE("asym", START_OWNED, {CMD(ChangeAuthAsymStart)}, {CMD(ChangeAuthAsymFinish)}),
    COURSE("counters", START_OWNED, {AES(CreateCounter)}, {TWICE(IncrementCounter)}, {CMD(ReadCounter)},
           {CMD(ReleaseCounter)}, {CMD(CreateCounter)}, {CMD(ReleaseCounterOwner)}),
    COURSE("join", START_OWNED, {MANY(DAA_Join)}, {CMD(SaveContext), .a = 3}, {FROZEN}, {MANY(DAA_Join)},
           {TWICE(DAA_Join)}, {TWICE(DAA_Join)}, {TWICE(DAA_Join)}, {CMD(DAA_Join)}),
    COURSE("sign", START_OWNED, {MANY(DAA_Sign)}, {FROZEN}, {TWICE(DAA_Sign)}, {TWICE(DAA_Sign)},
           {TWICE(DAA_Sign)}, {CMD(DAA_Sign)}),
    COURSE("locked-out", START_OWNED, {MANY(Quote), .how = HOW_TAMPER}, {WRONG(Sign)}, {WRONG(Seal)},
           {WRONG(Unseal)}, {WRONG(OwnerReadPubek)}, {WRONG(NV_ReadValueAuth), .a = 2}, {WRONG(LoadKey2)},
           {CMD(Sign)}, {CMD(ResetLockValue)}, {CMD(Sign)}),
    COURSE("off", START_OWNED, {CMD(SetTempDeactivated)}, {CMD(PcrRead)}, {INIT}, {CMD(Startup), .a = 2},
           {CMD(Extend), .a = 1}),
    COURSE("disabled", START_OWNED, {CMD(PhysicalDisable)}, {CMD(Extend), .a = 1}, {CMD(PhysicalEnable)},
           {CMD(OwnerSetDisable), .a = 1}, {CMD(OwnerSetDisable)}),
    COURSE("localities", START_ON, {CMD(Extend), .how = 3, .a = 18, .b = 1},
           {CMD(PCR_Reset), .how = 4, .a = 18}, {ACT(2)}, {ACT(3)}, {ACT(4)},
           {STEP(0, TSC_ORD_ResetEstablishmentBit), .how = 4}),
    COURSE("maintenance", START_OWNED, {CMD(LoadManuMaintPub)}, {CMD(ReadManuMaintPub)},
           {CMD(CreateMaintenanceArchive), .a = 1}, {CMD(LoadMaintenanceArchive)},
           {CMD(CreateMaintenanceArchive)}, {CMD(LoadMaintenanceArchive)}, {CMD(KillMaintenanceFeature)}),
};

/* ---- Seeds: every ordinal once on its own, and the courses ---- */

static uint8_t row_number(uint32_t ordinal)
{
    const struct cmd_row *row = cmd_row_find(ordinal);
    size_t count;

    FUZZ_CHECK(row);
    return (uint8_t)(row - cmd_rows(&count));
}

void exec_write_step(struct wr *w, const struct course_step *s)
{
    uint8_t row =
        s->what % KINDS == PLATFORM || s->what % KINDS == THAW ? (uint8_t)s->ordinal : row_number(s->ordinal);

    wr_copy(w, (uint8_t[]){s->what, 0, s->how, row, s->handles, s->a, s->b}, STEP_HEAD);
}

static void emit_each(fuzz_emit emit, void *arg)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[] = {START_OWNED, 0, 0, 0, (uint8_t)i, 0, 0, 0};
        char name[32];

        snprintf(name, sizeof name, "seed-row-%03zu", i);
        if (rows[i].run)
            emit(arg, name, bytes, sizeof bytes);
    }
}

static void emit_course(fuzz_emit emit, void *arg, const struct course *c)
{
    uint8_t bytes[1 + STEPS_MAX * STEP_HEAD] = {(uint8_t)c->start};
    struct wr w = wr_to(bytes + 1, sizeof bytes - 1);
    char name[64];

    for (size_t i = 0; i < c->count; i++)
        exec_write_step(&w, &c->steps[i]);
    FUZZ_CHECK(!w.bad);
    snprintf(name, sizeof name, "seed-%s", c->name);
    emit(arg, name, bytes, 1 + w.len);
}

static void emit_raw(fuzz_emit emit, void *arg)
{
    static const uint8_t raw[] = {START_ON, RAW, 14, 0, 0, 0, 0,    0, 0, 0xc1, 0,
                                  0,        0,   14, 0, 0, 0, 0x15, 0, 0, 0,    3};
    static const uint8_t off[] = {START_OFF, PLATFORM, 0,    0,   0,   0,        0, 0, PLATFORM, 0,
                                  4,         2,        0,    0,   0,   PLATFORM, 3, 4, 3,        0,
                                  0,         0,        'a',  'b', 'c', PLATFORM, 0, 4, 4,        0,
                                  0,         0,        THAW, 0,   0,   0,        0, 0, 0};

    emit(arg, "seed-raw", raw, sizeof raw);
    emit(arg, "seed-platform", off, sizeof off);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    emit_each(emit, arg);
    for (size_t i = 0; i < VT_COUNT(courses); i++)
        emit_course(emit, arg, &courses[i]);
    emit_raw(emit, arg);
}

/* ---- The mutator: whole steps and courses come, go and are repeated; else bytes within one ---- */

static unsigned roll(uint64_t *dice, unsigned sides)
{
    *dice = *dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*dice >> 33) % sides;
}

static size_t step_len(const uint8_t *bytes, size_t left)
{
    return left < 2 ? left : VT_MIN((size_t)STEP_HEAD + bytes[1], left);
}

/* Where one of the steps begins; len if there is none. */
static size_t find_step(const uint8_t *bytes, size_t len, uint64_t *dice)
{
    size_t at = 1, count = 0;
    unsigned n;

    for (; at < len; at += step_len(bytes + at, len - at))
        count++;
    if (!count)
        return len;
    n = roll(dice, (unsigned)count);
    for (at = 1; n; n--)
        at += step_len(bytes + at, len - at);
    return at;
}

static size_t insert(uint8_t *bytes, size_t len, size_t cap, size_t at, const uint8_t *step,
                     size_t step_bytes)
{
    if (step_bytes > cap - len)
        return len;
    memmove(bytes + at + step_bytes, bytes + at, len - at);
    memcpy(bytes + at, step, step_bytes);
    return len + step_bytes;
}

/* Mostly a command as it should be. */
static void random_step(uint8_t step[STEP_HEAD], uint64_t *dice)
{
    static const uint8_t hows[] = {
        0, 0, 0, HOW_KEEP, HOW_KEEP, HOW_FEWER, HOW_POOL, HOW_POOL | HOW_KEEP, HOW_TAMPER, HOW_RAW};
    static const uint8_t flags[] = {0,         0, 0, 0, WHAT_AES, WHAT_DELEGATED, WHAT_WRAPPED, WHAT_WRAPPED,
                                    WHAT_WRONG};
    size_t count;

    (void)cmd_rows(&count);
    step[0] = (uint8_t)(roll(dice, 10) ? flags[roll(dice, VT_COUNT(flags))] : roll(dice, 256));
    step[1] = 0;
    step[2] = (uint8_t)(hows[roll(dice, VT_COUNT(hows))] | (roll(dice, 4) ? 0 : roll(dice, 8)));
    step[3] = (uint8_t)roll(dice, (unsigned)count);
    step[4] = (uint8_t)(roll(dice, 3) ? 0 : roll(dice, 256));
    step[5] = (uint8_t)(roll(dice, 2) ? roll(dice, 8) : roll(dice, 256));
    step[6] = (uint8_t)(roll(dice, 2) ? roll(dice, 4) : roll(dice, 256));
}

static size_t insert_random(uint8_t *bytes, size_t len, size_t cap, size_t at, uint64_t *dice)
{
    uint8_t step[STEP_HEAD];

    random_step(step, dice);
    return insert(bytes, len, cap, at, step, sizeof step);
}

/* Some steps of a course in a row. */
static size_t insert_course(uint8_t *bytes, size_t len, size_t cap, size_t at, uint64_t *dice)
{
    const struct course *c = &courses[roll(dice, VT_COUNT(courses))];
    uint8_t steps[STEPS_MAX * STEP_HEAD];
    struct wr w = wr_to(steps, sizeof steps);
    size_t from = roll(dice, 3) ? 0 : roll(dice, (unsigned)c->count);

    for (size_t i = from; i < c->count; i++)
        exec_write_step(&w, &c->steps[i]);
    return w.bad ? len : insert(bytes, len, cap, at, steps, w.len);
}

static size_t repeat(uint8_t *bytes, size_t len, size_t cap, size_t at, uint64_t *dice)
{
    uint8_t step[STEP_MAX];
    size_t size = step_len(bytes + at, len - at);

    memcpy(step, bytes + at, size);
    return insert(bytes, len, cap, find_step(bytes, len, dice), step, size);
}

/* The payload, whose length is then put right. */
static size_t mutate_payload(uint8_t *bytes, size_t len, size_t cap, size_t at)
{
    size_t old = step_len(bytes + at, len - at), fresh;
    uint8_t payload[255];

    if (old < STEP_HEAD || len - old + STEP_HEAD + sizeof payload > cap)
        return len;
    memcpy(payload, bytes + at + STEP_HEAD, old - STEP_HEAD);
    fresh = LLVMFuzzerMutate(payload, old - STEP_HEAD, sizeof payload);
    memmove(bytes + at + STEP_HEAD + fresh, bytes + at + old, len - at - old);
    memcpy(bytes + at + STEP_HEAD, payload, fresh);
    bytes[at + 1] = (uint8_t)fresh;
    return len - old + STEP_HEAD + fresh;
}

/* One choice of a step; not its payload's length. */
static void change_choice(uint8_t *step, size_t size, uint64_t *dice)
{
    static const uint8_t fields[] = {0, 2, 3, 4, 5, 5, 6, 6};
    size_t field = fields[roll(dice, VT_COUNT(fields))];
    uint8_t other[STEP_HEAD];

    random_step(other, dice);
    if (field < size)
        step[field] = other[field];
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t cap, unsigned seed)
{
    uint64_t dice = seed;
    unsigned what = roll(&dice, 16);
    size_t at = find_step(bytes, len, &dice), size;

    if (!len || what == 0)
        return LLVMFuzzerMutate(bytes, len, cap);
    if (what <= 4)
        return insert_random(bytes, len, cap, at, &dice);
    if (what == 5)
        return insert_course(bytes, len, cap, at, &dice);
    if (at >= len)
        return insert_course(bytes, len, cap, len, &dice);
    size = step_len(bytes + at, len - at);
    if (what <= 7) {
        memmove(bytes + at, bytes + at + size, len - at - size);
        return len - size;
    }
    if (what == 8)
        return repeat(bytes, len, cap, at, &dice);
    if (what <= 13) {
        change_choice(bytes + at, size, &dice);
        return len;
    }
    return mutate_payload(bytes, len, cap, at);
}

/* The beginning of one input, the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t *out,
                                 size_t cap, unsigned seed)
{
    uint64_t dice = seed;
    size_t head = VT_MIN(find_step(a, a_len, &dice), cap), from = find_step(b, b_len, &dice),
           tail = VT_MIN(b_len - VT_MIN(from, b_len), cap - head);

    memcpy(out, a, head);
    memcpy(out + head, b + b_len - (b_len - VT_MIN(from, b_len)), tail);
    return head + tail;
}
