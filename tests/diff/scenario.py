# SPDX-License-Identifier: Apache-2.0
"""The same commands for every TPM. Each step gives (label, return code, what must be equal); random values are masked
by giving their length only."""
import struct

from tpm12 import (ET_KEYHANDLE, KH_EK, KH_SRK, ORD, WELL_KNOWN, Auth, Tpm, key_modulus, oaep,
                   pcr_selection, sha1, verify_sha1)

OWNER, SRK, DATA, KEY = sha1(b"owner"), WELL_KNOWN, sha1(b"data"), sha1(b"key")


class Transcript:
    def __init__(self, transport):
        self.t = Tpm(transport)
        self.steps = []

    def step(self, label, rc, value=b""):
        self.steps.append((label, rc, value.hex() if isinstance(value, (bytes, bytearray)) else value))

    def raw(self, label, *args, show=True, **kw):
        rc, handle, out = self.t.raw(*args, **kw)
        self.step(label, rc, out if show else "%d bytes" % len(out))
        return rc, handle, out


def malformed(x):
    def send(label, body):
        rsp = x.t.send(body)
        x.step(label, struct.unpack(">I", rsp[6:10])[0], rsp)
    pcr_read = struct.pack(">III", 14, ORD["PcrRead"], 0)
    send("PcrRead, whole", b"\x00\xc1" + pcr_read)
    send("PcrRead, short", struct.pack(">HIIH", 0xC1, 12, ORD["PcrRead"], 0))
    send("PcrRead, long", struct.pack(">HIIII", 0xC1, 18, ORD["PcrRead"], 0, 0))
    send("PcrRead, tag auth1 without sessions", b"\x00\xc2" + pcr_read)
    send("PcrRead, tag of a response", b"\x00\xc4" + pcr_read)
    send("PcrRead, tag 0", b"\x00\x00" + pcr_read)
    send("ordinal 0", struct.pack(">HII", 0xC1, 10, 0))
    send("ordinal of the future", struct.pack(">HII", 0xC1, 10, 0x12345))
    send("TPM_Init on the wire", struct.pack(">HII", 0xC1, 10, 0x97))
    send("PcrRead 24", struct.pack(">HIII", 0xC1, 14, ORD["PcrRead"], 24))
    send("PcrRead 0xffffffff", struct.pack(">HIII", 0xC1, 14, ORD["PcrRead"], 0xFFFFFFFF))


def startup(x):
    x.step("Startup(CLEAR) again", x.t.startup(1))
    x.raw("SelfTestFull", "SelfTestFull")
    x.raw("ContinueSelfTest", "ContinueSelfTest")
    x.raw("GetTestResult", "GetTestResult", show=False)


def pcrs(x):
    for n in (0, 10, 15, 16, 17, 22, 23):
        x.raw("PcrRead %d" % n, "PcrRead", params=struct.pack(">I", n))
    for n in (0, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 0x80000000):
        x.raw("Extend %d" % n, "Extend", params=struct.pack(">I", n) + sha1(b"measure"))
    for pcr_set in ((16,), (23,), (16, 23), (0,), (17,), (20,), (22,), ()):
        x.raw("PCR_Reset %s" % (pcr_set,), "PCR_Reset", params=pcr_selection(pcr_set))
    x.raw("PCR_Reset, 2-byte selection", "PCR_Reset", params=pcr_selection((), 2))
    x.raw("PCR_Reset, 4-byte selection", "PCR_Reset", params=pcr_selection((), 4))
    for n in (16, 23):
        x.raw("PcrRead %d after" % n, "PcrRead", params=struct.pack(">I", n))


def capabilities(x):
    implemented = sorted(ORD.items(), key=lambda kv: kv[1])
    for name, code in implemented:
        x.step("CAP_ORD %s" % name, *x.t.capability(1, struct.pack(">I", code))[::2])
    for alg in (1, 2, 4, 5, 6, 8, 0xA, 0xFF):
        x.step("CAP_ALG %d" % alg, *x.t.capability(2, struct.pack(">I", alg))[::2])
    for pid in (1, 2, 3, 6, 7, 99):
        x.step("CAP_PID %d" % pid, *x.t.capability(3, struct.pack(">H", pid))[::2])
    # PCR count, DIRs, families; sizes that a profile sets are not compared.
    for prop in (0x101, 0x102, 0x110, 0x119):
        x.step("CAP_PROPERTY 0x%x" % prop, *x.t.capability(5, struct.pack(">I", prop))[::2])
    x.step("CAP_PROPERTY unknown", *x.t.capability(5, struct.pack(">I", 0xFFFF))[::2])
    x.step("CAP_VERSION", *x.t.capability(6)[::2])
    for area in (0x7, 0xC, 0xD, 0x14):
        x.step("area 0x%x, no subcap" % area, *x.t.capability(area)[::2])
    x.step("area unknown", *x.t.capability(0x99)[::2])
    x.step("CAP_FLAG permanent", *x.t.capability(4, struct.pack(">I", 0x108))[::2])
    x.step("CAP_FLAG stclear", *x.t.capability(4, struct.pack(">I", 0x109))[::2])
    x.step("CAP_FLAG unknown", *x.t.capability(4, struct.pack(">I", 0x101))[::2])
    x.step("CAP_ORD, short subcap", *x.t.capability(1, b"\x00")[::2])


def randoms(x):
    for n in (0, 1, 20, 256):
        x.raw("GetRandom %d" % n, "GetRandom", params=struct.pack(">I", n), show=False)
    for n in (0, 20, 255, 256):
        x.raw("StirRandom %d" % n, "StirRandom", params=struct.pack(">I", n) + bytes(n), show=False)


def sessions(x):
    t = x.t
    s = t.oiap()
    x.step("FlushSpecific OIAP", t.flush(s.handle, 2))
    x.step("FlushSpecific again", t.flush(s.handle, 2))
    x.step("FlushSpecific, unknown type", t.flush(s.handle, 0x77))
    s = t.oiap()
    x.raw("Terminate_Handle", "Terminate_Handle", handles=struct.pack(">I", s.handle))
    x.raw("Terminate_Handle again", "Terminate_Handle", handles=struct.pack(">I", s.handle))
    x.raw("OSAP on an unknown key", "OSAP", params=struct.pack(">HI", 1, 0x01000000) + bytes(20), show=False)
    x.raw("OSAP of an unknown type", "OSAP", params=struct.pack(">HI", 0x77, 0) + bytes(20), show=False)


def ownership(x):
    t = x.t
    x.raw("CreateEndorsementKeyPair with an EK", "CreateEndorsementKeyPair",
          params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0), show=False)
    x.raw("ReadPubek", "ReadPubek", params=bytes(20), show=False)
    x.raw("OSAP SRK without owner", "OSAP", params=struct.pack(">HI", 4, 0) + bytes(20), show=False)
    x.raw("OwnerClear without owner", "OwnerClear", auths=[Auth(t.oiap(), OWNER)])
    ek = t.read_pubek()
    bad = struct.pack(">HI", 5, 256) + oaep(ek, OWNER) + struct.pack(">I", 256) + bytes(256) + t.SRK_TEMPLATE
    x.raw("TakeOwnership, SRK auth not encrypted", "TakeOwnership", params=bad, auths=[Auth(t.oiap(), OWNER)], show=False)
    bad = struct.pack(">HI", 6, 256) + oaep(ek, OWNER) + struct.pack(">I", 256) + oaep(ek, SRK) + t.SRK_TEMPLATE
    x.raw("TakeOwnership, wrong protocol", "TakeOwnership", params=bad, auths=[Auth(t.oiap(), OWNER)], show=False)
    good = struct.pack(">HI", 5, 256) + oaep(ek, OWNER) + struct.pack(">I", 256) + oaep(ek, SRK) + t.SRK_TEMPLATE
    x.raw("TakeOwnership, wrong HMAC", "TakeOwnership", params=good, auths=[Auth(t.oiap(), DATA)], show=False)
    rc, out = t.take_ownership(OWNER, SRK, ek)
    x.step("TakeOwnership", rc, out[:27].hex() + " %d" % len(out))
    rc, out = t.take_ownership(OWNER, SRK, ek)
    x.step("TakeOwnership again", rc)
    x.raw("ReadPubek with owner", "ReadPubek", params=bytes(20), show=False)
    for handle in (KH_EK, KH_SRK, 0x40000002):
        x.raw("OwnerReadInternalPub 0x%x" % handle, "OwnerReadInternalPub", params=struct.pack(">I", handle),
              auths=[Auth(t.oiap(), OWNER)], show=False)
    x.raw("OwnerReadInternalPub, wrong owner", "OwnerReadInternalPub", params=struct.pack(">I", KH_EK),
          auths=[Auth(t.oiap(), DATA)])


def keys(x):
    t = x.t
    made = {}
    for label, kw in (("signing", dict(usage=0x10, sig=2, enc=1)), ("signing 1024", dict(usage=0x10, sig=2, enc=1, bits=1024)),
                      ("storage", dict(usage=0x11, sig=1, enc=3)), ("bind", dict(usage=0x14, sig=1, enc=3)),
                      ("legacy", dict(usage=0x15, sig=2, enc=2)), ("migratable signing", dict(usage=0x10, sig=2, enc=1, flags=2)),
                      ("DER signing", dict(usage=0x10, sig=3, enc=1)), ("no auth signing", dict(usage=0x10, sig=2, enc=1, auth_usage=0)),
                      ("storage 1024", dict(usage=0x11, sig=1, enc=3, bits=1024)), ("signing with enc", dict(usage=0x10, sig=2, enc=3)),
                      ("storage with sig", dict(usage=0x11, sig=2, enc=3)), ("usage 0x99", dict(usage=0x99)),
                      ("identity", dict(usage=0x12, sig=2, enc=1)), ("authchange", dict(usage=0x13, sig=1, enc=3)),
                      ("signing 1000 bits", dict(usage=0x10, sig=2, enc=1, bits=1000)), ("signing 4096", dict(usage=0x10, sig=2, enc=1, bits=4096))):
        rc, _, out = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(**kw))
        x.step("CreateWrapKey %s" % label, rc, out[:23].hex() + " %d" % len(out))
        if not rc:
            made[label] = out
    rc, _, _ = t.create_wrap_key(KH_SRK, DATA, KEY, t.key_template(0x10, sig=2))
    x.step("CreateWrapKey, wrong parent auth", rc)
    x.raw("CreateWrapKey under OIAP", "CreateWrapKey", handles=struct.pack(">I", KH_SRK),
          params=bytes(40) + t.key_template(0x10, sig=2), auths=[Auth(t.oiap(), SRK)], show=False)
    loaded = {}
    for label, blob in made.items():
        rc, handle = t.load_key2(KH_SRK, SRK, blob)
        x.step("LoadKey2 %s" % label, rc)
        if handle:
            loaded[label] = handle
        if len(loaded) > 8:
            break
    spoiled = bytearray(made["signing"])
    spoiled[-1] ^= 1
    x.step("LoadKey2 spoiled", t.load_key2(KH_SRK, SRK, bytes(spoiled))[0])
    spoiled = bytearray(made["signing"])
    spoiled[60] ^= 1
    x.step("LoadKey2, other modulus", t.load_key2(KH_SRK, SRK, bytes(spoiled))[0])
    # So far that no byte of the session is read as continueAuthSession: libtpms would say what that is.
    x.step("LoadKey2 cut short", t.load_key2(KH_SRK, SRK, made["signing"][:-21])[0])
    x.step("LoadKey2 under a signing key", t.load_key2(loaded["signing"], KEY, made["signing"])[0])
    use(x, made, loaded)


def use(x, made, loaded):
    t = x.t
    digest = sha1(b"text")
    for label in ("signing", "signing 1024", "legacy", "DER signing", "storage", "bind"):
        for data in (digest, b"abc", b""):
            rc, sig = t.sign(loaded[label], KEY, data)
            good = len(data) == 20 and not rc and label != "DER signing" and verify_sha1(
                key_modulus(made[label]), data, sig)
            x.step("Sign with %s, %d bytes" % (label, len(data)), rc, "%d %s" % (len(sig), good))
    x.step("Sign, wrong auth", t.sign(loaded["signing"], DATA, digest)[0])
    rc, _, sig = t.raw("Sign", handles=struct.pack(">I", loaded["no auth signing"]),
                       params=struct.pack(">I", 20) + digest)
    x.step("Sign without a session, key needs none", rc, "%d" % len(sig))
    x.raw("Sign without a session, key needs one", "Sign", handles=struct.pack(">I", loaded["signing"]),
          params=struct.pack(">I", 20) + digest)
    x.step("Sign with an unknown handle", t.sign(0x0102FFFF, KEY, digest)[0])
    for pcr_set in ((), (0,), (10, 16), tuple(range(24))):
        rc, _, out = t.quote(loaded["signing"], KEY, bytes(20), pcr_selection(pcr_set))
        x.step("Quote %s" % (pcr_set,), rc, out[:-256] if not rc else b"")
    x.step("Quote with a storage key", t.quote(loaded["storage"], KEY, bytes(20), pcr_selection((0,)))[0])
    for label in ("signing", "storage"):
        rc, _, out = t.raw("GetPubKey", handles=struct.pack(">I", loaded[label]), auths=[Auth(t.oiap(), KEY)])
        x.step("GetPubKey %s" % label, rc, out[:24] if not rc else b"")
    x.raw("GetPubKey of the SRK", "GetPubKey", handles=struct.pack(">I", KH_SRK), auths=[Auth(t.oiap(), SRK)], show=False)
    rc, handle, _ = t.raw("LoadKey2", handles=struct.pack(">I", loaded["storage"]), params=made["signing"],
                          auths=[Auth(t.oiap(), KEY)], out_handles=1)
    x.step("LoadKey2 under another parent", rc)
    x.raw("EvictKey", "EvictKey", handles=struct.pack(">I", loaded["legacy"]))
    x.raw("EvictKey again", "EvictKey", handles=struct.pack(">I", loaded["legacy"]))
    x.raw("EvictKey of the SRK", "EvictKey", handles=struct.pack(">I", KH_SRK))
    x.step("Sign with an evicted key", t.sign(loaded["legacy"], KEY, digest)[0])
    x.step("FlushSpecific key", t.flush(loaded["bind"], 1))
    x.step("FlushSpecific key again", t.flush(loaded["bind"], 1))


def sealing(x):
    t = x.t
    for size in (0, 1, 32, 214, 300):
        rc, _, blob = t.seal(KH_SRK, SRK, DATA, bytes(size))
        x.step("Seal %d" % size, rc, "%d" % len(blob))
        if rc:
            continue
        rc, data = t.unseal(KH_SRK, SRK, DATA, blob)
        x.step("Unseal %d" % size, rc, data)
    rc, _, blob = t.seal(KH_SRK, SRK, DATA, b"bound to PCRs", t.pcr_info((10, 16)))
    x.step("Seal to PCRs", rc, "%d" % len(blob))
    x.step("Unseal", *t.unseal(KH_SRK, SRK, DATA, blob))
    x.step("Unseal, wrong data auth", *t.unseal(KH_SRK, SRK, KEY, blob))
    x.step("Unseal, wrong parent auth", *t.unseal(KH_SRK, KEY, DATA, blob))
    forgive(x)
    for at in (3, 20, 60, len(blob) - 1):
        spoiled = bytearray(blob)
        spoiled[at] ^= 0x40
        x.step("Unseal, byte %d altered" % (at if at < 100 else -1), t.unseal(KH_SRK, SRK, DATA, bytes(spoiled))[0])
    t.extend(16, sha1(b"more"))
    x.step("Unseal after an extend", *t.unseal(KH_SRK, SRK, DATA, blob))
    x.raw("Seal, pcrInfo cut short", "Seal", handles=struct.pack(">I", KH_SRK), params=bytes(20) + struct.pack(">I", 5) +
          bytes(5) + struct.pack(">I", 1) + b"x", auths=[Auth(t.osap(ET_KEYHANDLE, KH_SRK, SRK))], show=False)


def nv(x):
    t = x.t
    OWNER_RW, AUTH_RW, READ_ST, WRITE_ST, WRITEDEF = 0x00020002, 0x00040004, 0x80000000, 0x4000, 0x2000
    for index, size, attributes, label in (
            (0x1001, 16, OWNER_RW, "owner"), (0x1002, 16, AUTH_RW, "auth"), (0x1003, 16, OWNER_RW | READ_ST, "readst"),
            (0x1004, 16, OWNER_RW | WRITE_ST, "writest"), (0x1005, 16, OWNER_RW | WRITEDEF, "writedefine"),
            (0x1006, 0, OWNER_RW, "empty"), (0x1007, 60000, OWNER_RW, "huge"), (0x1001, 8, OWNER_RW, "owner, redefined"),
            (0x1008, 16, 0x00060006, "owner and auth"), (0x1009, 16, 0, "nothing"), (0x100A, 16, 0x00010001, "presence"),
            (0x0, 0, 0, "index 0"), (0x1000F000, 16, OWNER_RW, "D bit"), (0xFFFFFFFF, 0, 0, "lock")):
        x.step("NV_DefineSpace %s" % label, t.nv_define(OWNER, index, size, attributes))
    x.step("NV_DefineSpace without owner auth", t.nv_define(None, 0x1010, 8, OWNER_RW))
    x.step("NV_WriteValue", t.nv_write(0x1001, 0, b"12345678", OWNER))
    x.step("NV_ReadValue", *t.nv_read(0x1001, 0, 8, OWNER))
    x.step("NV_ReadValue, no auth", *t.nv_read(0x1001, 0, 8))
    x.step("NV_ReadValue, wrong owner", *t.nv_read(0x1001, 0, 8, DATA))
    x.step("NV_WriteValue, past the end", t.nv_write(0x1001, 4, b"12345678", OWNER))
    x.step("NV_ReadValue, past the end", *t.nv_read(0x1001, 4, 8, OWNER))
    x.step("NV_ReadValue, unknown index", *t.nv_read(0x7777, 0, 8, OWNER))
    x.step("NV_WriteValueAuth", t.nv_write_auth(0x1002, 0, b"abcd", WELL_KNOWN))
    x.step("NV_ReadValueAuth", *t.nv_read_auth(0x1002, 0, 4, WELL_KNOWN))
    x.step("NV_ReadValueAuth, wrong", *t.nv_read_auth(0x1002, 0, 4, DATA))
    x.step("NV_ReadValueAuth, area of the owner", *t.nv_read_auth(0x1001, 0, 4, WELL_KNOWN))
    x.step("NV_WriteValue, area of its auth", t.nv_write(0x1002, 0, b"abcd", OWNER))
    x.step("NV_WriteValue, write-once, write", t.nv_write(0x1005, 0, b"once", OWNER))
    x.step("NV_WriteValue, write-once, lock", t.nv_write(0x1005, 0, b"", OWNER))
    x.step("NV_WriteValue, write-once, again", t.nv_write(0x1005, 0, b"more", OWNER))
    x.step("NV_WriteValue, until reset, lock", t.nv_write(0x1004, 0, b"", OWNER))
    x.step("NV_WriteValue, until reset, again", t.nv_write(0x1004, 0, b"more", OWNER))
    x.step("NV_WriteValue readst", t.nv_write(0x1003, 0, b"data", OWNER))
    x.step("NV_ReadValue readst", *t.nv_read(0x1003, 0, 4, OWNER))
    x.step("NV_ReadValue readst, lock", *t.nv_read(0x1003, 0, 0, OWNER))
    x.step("NV_ReadValue readst, locked", *t.nv_read(0x1003, 0, 4, OWNER))
    x.step("NV_WriteValue, presence missing", t.nv_write(0x100A, 0, b"data"))
    x.step("NV_DefineSpace releases", t.nv_define(OWNER, 0x1001, 0, OWNER_RW))
    x.step("NV_ReadValue, released", *t.nv_read(0x1001, 0, 8, OWNER))


def presence(x):
    for bits in (0x0008, 0x0020, 0x0008, 0x0010, 0x0100, 0x0008, 0x0004, 0x0008, 0xFFFF, 0x0000):
        x.raw("PhysicalPresence 0x%x" % bits, "PhysicalPresence", params=struct.pack(">H", bits))
    x.raw("PhysicalEnable", "PhysicalEnable")
    x.raw("PhysicalSetDeactivated FALSE", "PhysicalSetDeactivated", params=b"\0")
    x.raw("PhysicalSetDeactivated 2", "PhysicalSetDeactivated", params=b"\2")
    x.raw("ForceClear", "ForceClear")


def lockout(x):
    """Five wrong guesses and the TPM takes no more, right ones either; the owner can end that."""
    t = x.t
    for n in range(7):
        x.step("wrong guess %d" % n, t.seal(KH_SRK, DATA, DATA, b"x")[0])
    x.step("right one", t.seal(KH_SRK, SRK, DATA, b"x")[0])
    forgive(x)
    x.step("right one after ResetLockValue", t.seal(KH_SRK, SRK, DATA, b"x")[0])


def clearing(x):
    t = x.t
    x.raw("OwnerClear, wrong owner", "OwnerClear", auths=[Auth(t.oiap(), DATA)])
    x.raw("OwnerClear", "OwnerClear", auths=[Auth(t.oiap(), OWNER)])
    x.raw("OwnerClear again", "OwnerClear", auths=[Auth(t.oiap(), OWNER)])
    for n in (0, 16):
        x.raw("PcrRead %d, cleared" % n, "PcrRead", params=struct.pack(">I", n))
    x.step("CAP_FLAG permanent, cleared", *t.capability(4, struct.pack(">I", 0x108))[::2])
    x.step("CAP_FLAG stclear, cleared", *t.capability(4, struct.pack(">I", 0x109))[::2])


def end(x):
    t = x.t
    x.raw("SaveState", "SaveState")


def forgive(x):
    """Wrong guesses must not lock what the next steps look at."""
    x.raw("ResetLockValue", "ResetLockValue", auths=[Auth(x.t.oiap(), OWNER)])


def flush_sessions(x):
    """How many were open."""
    out = x.t.capability(0x14, struct.pack(">I", 2))[2][4:]
    count = struct.unpack(">H", out[:2])[0]
    for k in range(count):
        x.t.flush(struct.unpack(">I", out[2 + 4 * k:6 + 4 * k])[0], 2)
    return count


def close_sessions(x, scene):
    """A command that fails ends its sessions: what is still open is compared too."""
    x.step("sessions left by %s" % scene, 0, "%d" % flush_sessions(x))


SCENES = (malformed, startup, pcrs, capabilities, randoms, sessions, ownership, keys, sealing, nv, presence, lockout, clearing, end)


def play(transport):
    x = Transcript(transport)
    for scene in SCENES:
        scene(x)
        close_sessions(x, scene.__name__)
        if scene in (keys, sealing, nv):
            forgive(x)
    return x.steps
