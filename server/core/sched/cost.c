/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/sched/cost.h"

#include "server/wire/cursor.h"

/* In ascending order of ordinals: it is searched by halves. */
static const struct {
    uint32_t ordinal;
    enum cost_class class;
} costs[] = {
    {0x0c, COST_PRIVATE}, /* ChangeAuth */
    {0x0d, COST_KEY},     /* TakeOwnership */
    {0x0e, COST_KEY},     /* ChangeAuthAsymStart */
    {0x0f, COST_PRIVATE}, /* ChangeAuthAsymFinish */
    {0x10, COST_DURABLE}, /* ChangeAuthOwner */
    {0x13, COST_KEY},     /* CMK_CreateKey */
    {0x16, COST_PRIVATE}, /* Quote */
    {0x18, COST_PRIVATE}, /* Unseal */
    {0x19, COST_DURABLE}, /* DirWriteAuth */
    {0x1b, COST_PRIVATE}, /* CMK_CreateBlob */
    {0x1e, COST_PRIVATE}, /* UnBind */
    {0x1f, COST_KEY},     /* CreateWrapKey */
    {0x20, COST_PRIVATE}, /* LoadKey */
    {0x23, COST_DURABLE}, /* KeyControlOwner */
    {0x24, COST_PRIVATE}, /* CMK_ConvertMigration */
    {0x25, COST_PRIVATE}, /* MigrateKey */
    {0x28, COST_PRIVATE}, /* CreateMigrationBlob */
    {0x29, COST_PRIVATE}, /* DAA_Join */
    {0x2a, COST_PRIVATE}, /* ConvertMigrationBlob */
    {0x2c, COST_PRIVATE}, /* CreateMaintenanceArchive */
    {0x2d, COST_PRIVATE}, /* LoadMaintenanceArchive */
    {0x31, COST_PRIVATE}, /* DAA_Sign */
    {0x32, COST_PRIVATE}, /* CertifyKey */
    {0x33, COST_PRIVATE}, /* CertifyKey2 */
    {0x3c, COST_PRIVATE}, /* Sign */
    {0x3e, COST_PRIVATE}, /* Quote2 */
    {0x3f, COST_DURABLE}, /* SetCapability */
    {0x41, COST_PRIVATE}, /* LoadKey2 */
    {0x50, COST_PRIVATE}, /* SelfTestFull */
    {0x52, COST_PRIVATE}, /* CertifySelfTest */
    {0x53, COST_PRIVATE}, /* ContinueSelfTest */
    {0x5b, COST_DURABLE}, /* OwnerClear */
    {0x5d, COST_DURABLE}, /* ForceClear */
    {0x64, COST_PRIVATE}, /* GetCapabilitySigned */
    {0x78, COST_KEY},     /* CreateEndorsementKeyPair */
    {0x79, COST_KEY},     /* MakeIdentity */
    {0x7a, COST_PRIVATE}, /* ActivateIdentity */
    {0x7f, COST_KEY},     /* CreateRevocableEK */
    {0x83, COST_PRIVATE}, /* GetAuditEventSigned */
    {0x86, COST_PRIVATE}, /* GetAuditDigestSigned */
    {0x98, COST_DURABLE}, /* SaveState */
    {0xcc, COST_DURABLE}, /* NV_DefineSpace */
    {0xcd, COST_DURABLE}, /* NV_WriteValue */
    {0xce, COST_DURABLE}, /* NV_WriteValueAuth */
    {0xd2, COST_DURABLE}, /* Delegate_Manage */
    {0xd8, COST_DURABLE}, /* Delegate_LoadOwnerDelegation */
    {0xdc, COST_DURABLE}, /* CreateCounter */
    {0xdd, COST_DURABLE}, /* IncrementCounter */
    {0xdf, COST_DURABLE}, /* ReleaseCounter */
    {0xe0, COST_DURABLE}, /* ReleaseCounterOwner */
    {0xe6, COST_PRIVATE}, /* EstablishTransport */
    {0xe7, COST_PRIVATE}, /* ExecuteTransport: what it wraps may be anything */
    {0xe8, COST_PRIVATE}, /* ReleaseTransportSigned */
    {0xf2, COST_PRIVATE}, /* TickStampBlob */
};

uint32_t cost_ordinal(const uint8_t *command, size_t len)
{
    struct rd r = rd_from(command, len);

    rd_take(&r, 6);
    return rd_get32(&r);
}

enum cost_class cost_class_of(uint32_t ordinal)
{
    size_t low = 0, high = VT_COUNT(costs);

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (costs[middle].ordinal == ordinal)
            return costs[middle].class;
        if (costs[middle].ordinal < ordinal)
            low = middle + 1;
        else
            high = middle;
    }
    return COST_CHEAP;
}

uint64_t cost_first_us(enum cost_class class)
{
    static const uint64_t first[COST_CLASSES] = {
        [COST_CHEAP] = 20, [COST_DURABLE] = 200, [COST_PRIVATE] = 700, [COST_KEY] = 100000};

    return first[class];
}

bool cost_is_long(enum cost_class class)
{
    return class >= COST_PRIVATE;
}
