# SPDX-License-Identifier: Apache-2.0
"""Every implemented ordinal in every state a TPM can be in, with 0, 1 and 2 sessions, and with parameters that are
too short and too long."""
import struct

from scenario import OWNER, SRK
from tpm12 import KH_EK, KH_SRK, ORD, Tpm

U16, U32 = (lambda n: struct.pack(">H", n)), (lambda n: struct.pack(">I", n))
HANDLE = U32(0x01ABCDEF)
NO_PCRS = struct.pack(">H", 3) + bytes(3) + b"\x1f" + bytes(20)
AREA = (struct.pack(">HI", 0x18, 0x1234) + NO_PCRS + NO_PCRS + struct.pack(">HI", 0x17, 0x00020002) + b"\0\0\0" + U32(8))
EK_PARAMS = bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0)
SIGNING = Tpm.key_template(0x10, sig=2)
STORED = bytes([1, 1, 0, 0]) + U32(0) + U32(256) + bytes(256)

CONTEXT = U16(1) + U32(1) + HANDLE + bytes(16) + U32(0) + bytes(20) + U32(0) + U32(0)

BLOB = U32(256) + bytes(256)
PUBKEY = EK_PARAMS[20:] + BLOB
MIGRATION_AUTH = PUBKEY + U16(1) + bytes(20)
MSA = U32(24) + U32(1) + bytes(20)

DELEGATION = U16(0x1B) + b"r" + NO_PCRS + U16(0x1A) + U32(1) + bytes(8) + U32(1) + U32(0)
DELEGATED = U16(0x2A) + DELEGATION + bytes(20) + U32(0) + U32(0)
TRANSPORT = U16(0x1E) + U32(0) + U32(0) + U16(0) + U32(20) + bytes(20)

# ordinal: handles, parameters. What changes the state of the whole TPM comes last.
COMMANDS = (
    ("GetTestResult", b"", b""), ("ContinueSelfTest", b"", b""), ("SelfTestFull", b"", b""),
    ("PcrRead", b"", U32(0)), ("Extend", b"", U32(10) + bytes(20)), ("PCR_Reset", b"", U16(3) + b"\0\0\x01"),
    ("GetCapability", b"", U32(6) + U32(0)), ("GetRandom", b"", U32(0)), ("StirRandom", b"", U32(0)),
    ("ReadPubek", b"", bytes(20)), ("CreateEndorsementKeyPair", b"", EK_PARAMS),
    ("OIAP", b"", b""), ("OSAP", b"", U16(4) + U32(0) + bytes(20)), ("OSAP", b"", U16(2) + U32(0) + bytes(20)),
    ("FlushSpecific", HANDLE, U32(1)), ("FlushSpecific", HANDLE, U32(2)), ("Terminate_Handle", HANDLE, b""),
    ("EvictKey", HANDLE, b""), ("Seal", U32(KH_SRK), bytes(20) + U32(0) + U32(1) + b"x"),
    ("Unseal", U32(KH_SRK), STORED), ("CreateWrapKey", U32(KH_SRK), bytes(40) + SIGNING),
    ("LoadKey2", U32(KH_SRK), SIGNING), ("GetPubKey", U32(KH_SRK), b""), ("Sign", HANDLE, U32(20) + bytes(20)),
    ("Quote", HANDLE, bytes(20) + U16(3) + bytes(3)), ("Quote", U32(KH_SRK), bytes(20) + U16(3) + bytes(3)),
    ("SHA1Start", b"", b""), ("SHA1Update", b"", U32(64) + bytes(64)), ("SHA1Complete", b"", U32(1) + b"x"),
    ("SHA1CompleteExtend", b"", U32(10) + U32(1) + b"x"),
    ("UnBind", HANDLE, U32(256) + bytes(256)), ("Sealx", U32(KH_SRK), bytes(20) + U32(0) + U32(1) + b"x"),
    ("LoadKey", U32(KH_SRK), SIGNING), ("CertifyKey", HANDLE + HANDLE, bytes(20)), ("CertifyKey2", HANDLE + HANDLE, bytes(40)),
    ("Quote2", HANDLE, bytes(20) + U16(3) + bytes(3) + b"\0"), ("ChangeAuth", U32(KH_SRK), U16(4) + bytes(20) + U16(5) + U32(256) + bytes(256)),
    ("ChangeAuthOwner", b"", U16(4) + bytes(20) + U16(2)), ("SetCapability", b"", U32(1) + U32(4) + U32(4) + U32(1) + b"\0"),
    ("SetCapability", b"", U32(3) + U32(4) + U32(1) + U32(1) + b"\1"), ("GetCapabilityOwner", b"", b""),
    ("CreateCounter", b"", bytes(20) + b"abcd"), ("IncrementCounter", b"", U32(0)), ("ReadCounter", b"", U32(0)),
    ("ReleaseCounter", b"", U32(0)), ("ReleaseCounterOwner", b"", U32(0)), ("GetTicks", b"", b""),
    ("TickStampBlob", HANDLE, bytes(40)), ("KeyControlOwner", HANDLE, EK_PARAMS[20:] + U32(256) + bytes(256) + U32(1) + b"\1"),
    ("SaveContext", HANDLE, U32(1) + bytes(16)), ("SaveContext", HANDLE, U32(2) + bytes(16)), ("LoadContext", HANDLE, b"\0" + U32(len(CONTEXT)) + CONTEXT),
    ("SaveKeyContext", HANDLE, b""), ("LoadKeyContext", b"", U32(len(CONTEXT)) + CONTEXT), ("SaveAuthContext", HANDLE, b""),
    ("LoadAuthContext", b"", U32(len(CONTEXT)) + CONTEXT), ("Reset", b"", b""), ("DirWriteAuth", b"", U32(0) + bytes(20)),
    ("DirRead", b"", U32(0)), ("OwnerReadPubek", b"", b""), ("CreateRevocableEK", b"", EK_PARAMS + b"\0" + bytes(20)),
    ("RevokeTrust", b"", bytes(20)), ("MakeIdentity", b"", bytes(40) + Tpm.key_template(0x12, sig=2)),
    ("ActivateIdentity", HANDLE, U32(256) + bytes(256)),
    ("CreateMigrationBlob", U32(KH_SRK), U16(1) + MIGRATION_AUTH + BLOB), ("ConvertMigrationBlob", U32(KH_SRK), BLOB + BLOB),
    ("AuthorizeMigrationKey", b"", U16(1) + PUBKEY), ("MigrateKey", HANDLE, PUBKEY + BLOB), ("CMK_SetRestrictions", b"", U32(0)),
    ("CMK_ApproveMA", b"", bytes(20)), ("CMK_CreateKey", U32(KH_SRK), bytes(20) + SIGNING + bytes(40)),
    ("CMK_CreateTicket", b"", PUBKEY + bytes(20) + BLOB),
    ("CMK_CreateBlob", U32(KH_SRK), U16(4) + MIGRATION_AUTH + bytes(20) + MSA + U32(0) + U32(0) + BLOB),
    ("CMK_ConvertMigration", U32(KH_SRK), bytes(80) + SIGNING + MSA + BLOB), ("ChangeAuthAsymStart", HANDLE, EK_PARAMS),
    ("ChangeAuthAsymFinish", U32(KH_SRK) + HANDLE, U16(5) + bytes(20) + BLOB + BLOB),
    ("DAA_Join", HANDLE, b"\0" + U32(4) + U32(1) + U32(0)), ("DAA_Sign", HANDLE, b"\1" + BLOB + U32(0)),
    ("OwnerReadInternalPub", b"", U32(KH_EK)), ("DisablePubekRead", b"", b""), ("ResetLockValue", b"", b""),
    ("NV_DefineSpace", b"", AREA + bytes(20)), ("NV_WriteValue", b"", U32(0x1234) + U32(0) + U32(1) + b"x"),
    ("NV_ReadValue", b"", U32(0x1234) + U32(0) + U32(1)),
    ("NV_WriteValueAuth", b"", U32(0x1234) + U32(0) + U32(1) + b"x"),
    ("NV_ReadValueAuth", b"", U32(0x1234) + U32(0) + U32(1)), ("NV_ReadValue", b"", U32(0x10000001) + U32(0) + U32(20)),
    ("NV_WriteValue", b"", U32(0x10000001) + U32(0) + U32(20) + bytes(20)), ("NV_WriteValue", b"", U32(0) + U32(0) + U32(0)),
    ("GetAuditDigest", b"", U32(0)), ("GetAuditDigestSigned", HANDLE, b"\0" + bytes(20)), ("GetAuditEvent", b"", U32(0)),
    ("GetAuditEventSigned", HANDLE, bytes(20)), ("GetOrdinalAuditStatus", b"", U32(0x14)),
    ("SetOrdinalAuditStatus", b"", U32(0x99) + b"\0"), ("DSAP", b"", U16(7) + U32(0) + bytes(20) + U32(4) + b"junk"),
    ("SetOwnerPointer", b"", U16(2) + U32(0)), ("Delegate_Manage", b"", U32(99) + U32(2) + U32(1) + b"\1"),
    ("Delegate_CreateKeyDelegation", HANDLE, DELEGATION + bytes(20)),
    ("Delegate_CreateOwnerDelegation", b"", b"\0" + DELEGATION + bytes(20)),
    ("Delegate_LoadOwnerDelegation", b"", U32(9) + U32(len(DELEGATED)) + DELEGATED), ("Delegate_ReadTable", b"", b""),
    ("Delegate_UpdateVerification", b"", U32(4) + U32(0)), ("Delegate_VerifyDelegation", b"", U32(4) + b"junk"),
    ("Delegate_ReadAuth", b"", b""), ("EstablishTransport", HANDLE, TRANSPORT),
    ("ExecuteTransport", b"", U32(14) + bytes(14)), ("ReleaseTransportSigned", HANDLE, bytes(20)),
    ("CreateMaintenanceArchive", b"", b"\1"), ("LoadMaintenanceArchive", b"", BLOB), ("KillMaintenanceFeature", b"", b""),
    ("LoadManuMaintPub", b"", bytes(20) + PUBKEY), ("ReadManuMaintPub", b"", bytes(20)), ("FieldUpgrade", b"", b""),
    ("SetRedirection", HANDLE, U32(0) + U32(0)), ("CertifySelfTest", HANDLE, bytes(20)),
    ("GetCapabilitySigned", HANDLE, bytes(20) + U32(6) + U32(0)), ("Init", b"", b""),
    ("SetOwnerInstall", b"", b"\1"), ("SetOperatorAuth", b"", bytes(20)), ("PhysicalPresence", b"", U16(0x08)),
    ("ResetEstablishmentBit", b"", b""), ("PhysicalEnable", b"", b""), ("PhysicalSetDeactivated", b"", b"\0"),
    ("OwnerSetDisable", b"", b"\0"), ("DisableOwnerClear", b"", b""), ("OwnerClear", b"", b""),
    ("TakeOwnership", b"", U16(5) + U32(256) + bytes(256) + U32(256) + bytes(256) + Tpm.SRK_TEMPLATE),
    ("SaveState", b"", b""), ("Startup", b"", U16(1)),
    ("SetTempDeactivated", b"", b""), ("PhysicalDisable", b"", b""), ("DisableForceClear", b"", b""), ("ForceClear", b"", b""),
)
RANDOM = {"ReadPubek", "OIAP", "OSAP", "GetTicks"}
# Sessions that must be there.
PROVED = {"Seal": 1, "Unseal": 1, "CreateWrapKey": 1, "OwnerReadInternalPub": 1, "DisablePubekRead": 1,
          "ResetLockValue": 1, "NV_WriteValueAuth": 1, "NV_ReadValueAuth": 1, "OwnerSetDisable": 1,
          "DisableOwnerClear": 1, "OwnerClear": 1, "TakeOwnership": 1, "Sealx": 1, "ChangeAuth": 2, "ChangeAuthOwner": 1,
          "GetCapabilityOwner": 1, "CreateCounter": 1, "IncrementCounter": 1, "ReleaseCounter": 1, "ReleaseCounterOwner": 1,
          "KeyControlOwner": 1, "DirWriteAuth": 1, "OwnerReadPubek": 1, "MakeIdentity": 1, "ActivateIdentity": 1,
          "CreateMigrationBlob": 1, "AuthorizeMigrationKey": 1, "CMK_SetRestrictions": 1, "CMK_ApproveMA": 1, "CMK_CreateKey": 1,
          "CMK_CreateTicket": 1, "CMK_CreateBlob": 1, "CMK_ConvertMigration": 1, "DAA_Join": 1, "DAA_Sign": 1,
          "SetOrdinalAuditStatus": 1, "Delegate_CreateKeyDelegation": 1, "Delegate_CreateOwnerDelegation": 1,
          "Delegate_UpdateVerification": 1, "ExecuteTransport": 1, "ReleaseTransportSigned": 1}
# A session that there is not; its command ends where the session is looked at.
NO_SESSION = U32(0x02FFFFFF) + bytes(20) + b"\1" + bytes(20)


def send(x, label, name, body, sessions=0):
    rsp = x.t.send(struct.pack(">HII", 0xC1 + sessions, 10 + len(body) + 45 * sessions, ORD[name]) + body +
                   NO_SESSION * sessions)
    rc = struct.unpack(">I", rsp[6:10])[0]
    # What TPM_GetTestResult says is the manufacturer's.
    value = b"" if name == "GetTestResult" else "%d bytes" % len(rsp) if name in RANDOM else rsp[10:]
    # The counter goes on from the manufacturer's commands, and is in the digest (sessions.py has those).
    if name == "GetAuditDigest":
        value = value[30:]
    x.step(label, rc, value)


def all_ordinals(x, state, skip=()):
    """With one session, with two and with none; coverage.py counts these labels."""
    for n, (name, handles, params) in enumerate(COMMANDS):
        for sessions in () if name in skip else (1, 2, 0):
            send(x, "%s: %d %s, %d sessions" % (state, n, name, sessions), name, handles + params, sessions)


def open_presence(x):
    x.t.raw("PhysicalPresence", params=U16(0x20))
    x.t.raw("PhysicalPresence", params=U16(0x08))


def reboot(x, kind=1):
    x.p.power_on()
    return x.t.startup(kind)


def as_new(x):
    """No owner, enabled, active, presence asserted."""
    reboot(x)
    open_presence(x)
    x.t.raw("PhysicalEnable")
    x.t.raw("PhysicalSetDeactivated", params=b"\0")
    if x.t.raw("ForceClear")[0]:
        # Deactivated until now.
        reboot(x)
        open_presence(x)
        assert x.t.raw("ForceClear")[0] == 0
    x.t.raw("PhysicalEnable")
    x.t.raw("PhysicalSetDeactivated", params=b"\0")
    reboot(x)
    open_presence(x)
    x.t.raw("SetOwnerInstall", params=b"\1")


def owned(x):
    as_new(x)
    rc, out = x.t.take_ownership(OWNER, SRK)
    assert rc == 0, hex(rc)


# Every combination that TPM_Startup can end in: (label, owner, disabled, deactivated).
AFTER_STARTUP = (
    ("owner", True, False, False), ("no owner", False, False, False), ("disabled", True, True, False),
    ("disabled, no owner", False, True, False), ("deactivated", True, False, True), ("deactivated, no owner", False, False, True),
    ("disabled and deactivated", True, True, True), ("disabled and deactivated, no owner", False, True, True),
)
SPECIAL = ("not started", "failed start", "deactivated until a reboot", "no owner, presence")
STATES = tuple(row[0] for row in AFTER_STARTUP) + SPECIAL


def after_startup(label, owner, disabled, deactivated):
    def state(x):
        (owned if owner else as_new)(x)
        if deactivated:
            x.t.raw("PhysicalSetDeactivated", params=b"\1")
        if disabled:
            x.t.raw("PhysicalDisable")
        reboot(x)
        all_ordinals(x, label)
    return state


def state_before_startup(x):
    owned(x)
    x.p.power_on()
    # TPM_Startup itself ends this state.
    all_ordinals(x, "not started", skip=("Startup",))
    for sessions in (1, 2, 0):
        send(x, "not started: %d Startup, %d sessions" % (len(COMMANDS), sessions), "Startup", U16(1), sessions)


def state_failed_start(x):
    """TPM_Startup(ST_STATE) with nothing saved: until TPM_Init."""
    owned(x)
    reboot(x)
    x.p.power_on()
    x.step("Startup(STATE) of nothing", x.t.startup(2))
    all_ordinals(x, "failed start")


def state_temporary(x):
    owned(x)
    x.step("SetTempDeactivated", x.t.raw("SetTempDeactivated")[0])
    all_ordinals(x, "deactivated until a reboot")


def state_no_owner_presence(x):
    as_new(x)
    all_ordinals(x, "no owner, presence")


def lengths(x):
    """Parameters one byte short, one byte long, and none at all."""
    owned(x)
    for n, (name, handles, params) in enumerate(COMMANDS):
        body = handles + params
        for label, wrong in (("short", body[:-1]), ("none", b""), ("long", body + b"\0")):
            if len(wrong) != len(body):
                send(x, "%s: %d %s" % (label, n, name), name, wrong, PROVED.get(name, 0))
    reboot(x)


SCENES = (state_before_startup, state_failed_start, state_temporary, *(after_startup(*row) for row in AFTER_STARTUP),
          state_no_owner_presence, lengths)
