# SPDX-License-Identifier: Apache-2.0
"""Settings, counters, ticks, contexts of both versions, keys that the owner keeps, the DIR, identities."""
import struct

from authority import do, ready
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import U16, U32, as_new, open_presence, owned, reboot
from tpm12 import (ET_COUNTER, ET_KEYHANDLE, ET_NV, ET_OWNER, ET_SRK, KH_EK, KH_OWNER, KH_SRK, Auth, Tpm, key_modulus, oaep,
                   pcr_selection, sha1, verify_sha1)

RT_KEY, RT_AUTH = 1, 2


def fresh(x):
    """Another scene may have cleared the owner."""
    if x.t.raw("GetCapability", params=U32(5) + U32(4) + U32(0x111))[2][4:] != b"\1":
        x.blobs = None
    ready(x)


# ---- 7.2, 7.3 ----
def set_capability(x, label, area, sub, value, owner=None):
    params = U32(area) + U32(len(sub)) + sub + U32(len(value)) + value
    x.step("SetCapability %s" % label, x.t.raw("SetCapability", params=params,
                                               auths=[Auth(x.t.oiap(), owner)] if owner else [])[0])


def settings(x):
    fresh(x)
    flags = lambda label: x.raw("volatile flags, %s" % label, "GetCapability", params=U32(4) + U32(4) + U32(0x109))
    for who, owner, presence in (("nobody", None, False), ("owner", OWNER, False), ("presence", None, True)):
        for area in range(9):
            for sub in range(0x1A):
                # What the next steps need stays: disable, deactivated; what the manufacturer chose: maintenance.
                harmless = (area, sub) in ((1, 1), (1, 3), (1, 5), (3, 2))
                value = b"\0" if area in (0, 1, 3, 5) else U32(0)
                if harmless and sub in (5, 2):
                    continue
                if area == 2 and sub == 0x19:
                    value = b""
                if presence:
                    open_presence(x)
                set_capability(x, "area %d, %d by %s" % (area, sub, who), area, U32(sub), value, owner)
        flags(who)
    reboot(x)
    for label, area, sub, value, owner in (
            ("TRUE where only FALSE", 1, U32(6), b"\1", OWNER), ("FALSE where only TRUE", 1, U32(5), b"\0", OWNER),
            ("2 as a boolean", 1, U32(4), b"\2", OWNER),
            ("readPubek", 1, U32(4), b"\1", OWNER), ("readPubek, FALSE", 1, U32(4), b"\0", OWNER),
            ("readSRKPub", 1, U32(0x11), b"\1", OWNER),
            ("no value", 1, U32(4), b"", OWNER), ("two bytes", 1, U32(4), b"\0\0", OWNER),
            ("restrictDelegate, two bytes", 2, U32(0x17), b"\0\0", OWNER), ("restrictDelegate", 2, U32(0x17), U32(0), OWNER),
            ("wrong owner", 1, U32(4), b"\1", DATA), ("disableForceClear FALSE", 3, U32(2), b"\0", None),
            ("deferred presence, none", 4, U32(6), U32(1), None), ("sub-capability of 2 bytes", 1, U16(4), b"\1", OWNER),
            ("sub-capability of none", 1, b"", b"\1", OWNER), ("unknown area", 0x99, U32(1), b"\1", OWNER)):
        set_capability(x, label, area, sub, value, owner)
    forgive(x)
    rc = x.t.raw("GetPubKey", handles=U32(KH_SRK), auths=[Auth(x.t.oiap(), SRK)])[0]
    x.step("GetPubKey of the SRK, readSRKPub", rc)
    set_capability(x, "readSRKPub, back", 1, U32(0x11), b"\0", OWNER)
    open_presence(x)
    set_capability(x, "deferred presence", 4, U32(6), U32(1))
    x.t.raw("PhysicalPresence", params=U16(0x10))
    set_capability(x, "deferred presence, another bit", 4, U32(6), U32(3))
    set_capability(x, "deferred presence, the same", 4, U32(6), U32(1))
    set_capability(x, "deferred presence, given up", 4, U32(6), U32(0))
    for locality in range(5):
        x.p.locality(locality)
        set_capability(x, "tpmEstablished at locality %d" % locality, 1, U32(0x12), b"\0")
        set_capability(x, "tpmEstablished TRUE at locality %d" % locality, 1, U32(0x12), b"\1")
        set_capability(x, "TOSPresent at locality %d" % locality, 5, U32(4), b"\0")
        set_capability(x, "TOSPresent TRUE at locality %d" % locality, 5, U32(4), b"\1")
    x.p.locality(0)
    set_capability(x, "disableForceClear", 3, U32(2), b"\1")
    flags("disableForceClear")
    open_presence(x)
    x.step("ForceClear", x.t.raw("ForceClear")[0])
    close_sessions(x, "settings")


def told(x):
    fresh(x)
    t = x.t
    rc, _, out = t.raw("GetCapabilityOwner", auths=[Auth(t.oiap(), OWNER)])
    x.step("GetCapabilityOwner", rc, out)
    do(x, "GetCapabilityOwner, wrong owner", "GetCapabilityOwner", b"", b"", [Auth(t.oiap(), DATA)])
    forgive(x)
    # TPM_GetCapabilitySigned and TPM_CertifySelfTest are not in Debian's libtpms.
    for ordinal in ("FieldUpgrade", "SetRedirection"):
        do(x, ordinal, ordinal, b"", b"", [])
    close_sessions(x, "told")


# ---- 23, 25 ----
def ticks(x):
    fresh(x)
    t = x.t
    rc, _, a = t.raw("GetTicks")
    rc, _, b = t.raw("GetTicks")
    now = lambda out: struct.unpack(">Q", out[2:10])[0]
    x.step("GetTicks", rc, "%s %s %s" % (a[:2].hex(), a[10:12].hex(), now(b) >= now(a) and a[12:] == b[12:]))
    reboot(x)
    fresh(x)
    rc, _, b = t.raw("GetTicks")
    x.step("GetTicks after a reboot", rc, "%s" % (a[12:] != b[12:]))
    n = key_modulus(x.blobs["sign"])
    rc, _, out = t.raw("TickStampBlob", handles=U32(x.keys["sign"]), params=sha1(b"a") + sha1(b"b"), auths=[Auth(t.oiap(), KEY)])
    stamp = out[:32]
    signed = sha1(b"\0\5TSTP" + sha1(b"a") + U32(52) + sha1(b"b") + stamp)
    x.step("TickStampBlob", rc, "%s" % verify_sha1(n, signed, out[-len(n):]))
    params = sha1(b"a") + sha1(b"b")
    do(x, "TickStampBlob, storage key", "TickStampBlob", U32(x.keys["store"]), params, [Auth(t.oiap(), KEY)])
    do(x, "TickStampBlob, wrong secret", "TickStampBlob", U32(x.keys["sign"]), params, [Auth(t.oiap(), DATA)])
    do(x, "TickStampBlob, no session", "TickStampBlob", U32(x.keys["sign"]), params, [])
    do(x, "TickStampBlob, none needed", "TickStampBlob", U32(x.keys["free"]), params, [])
    forgive(x)


def create_counter(x, label, secret, owner=OWNER, session=None):
    t = x.t
    s = session or t.osap(ET_OWNER, KH_OWNER, owner)
    hidden = s.enc_auth(secret) if s.key else bytes(20)
    rc, _, out = t.raw("CreateCounter", params=hidden + label, auths=[Auth(s, owner, True)])
    x.step("CreateCounter %s" % label.decode(), rc, out)


def counters(x):
    fresh(x)
    t = x.t

    def each(label):
        for n in (0, 1, 2, 9, 0xFFFFFFFF, 0xFFFFFFFE):
            x.raw("ReadCounter %d, %s" % (n, label), "ReadCounter", params=U32(n))
        x.raw("active counter, %s" % label, "GetCapability", params=U32(5) + U32(4) + U32(0x122))
        x.raw("counters' handles, %s" % label, "GetCapability", params=U32(0x14) + U32(4) + U32(6))

    def increment(label, n, secret=DATA):
        rc, _, out = t.raw("IncrementCounter", params=U32(n), auths=[Auth(t.oiap(), secret)])
        x.step("IncrementCounter %d, %s" % (n, label), rc, out)

    each("none")
    create_counter(x, b"aaaa", DATA)
    create_counter(x, b"bbbb", DATA)
    create_counter(x, b"oiap", DATA, session=t.oiap())
    create_counter(x, b"srks", DATA, session=t.osap(ET_SRK, KH_SRK, SRK))
    create_counter(x, b"badd", DATA, owner=DATA)
    forgive(x)
    each("two")
    for label, n, secret in (("wrong secret", 0, KEY), ("first", 0, DATA), ("again", 0, DATA), ("other", 1, DATA),
                             ("not there", 2, DATA), ("far", 0xFFFFFFFF, DATA)):
        increment(label, n, secret)
    forgive(x)
    each("incremented")
    for kind, value in ((ET_COUNTER, 0), (ET_COUNTER, 1), (ET_COUNTER, 2), (ET_COUNTER, 0xFFFFFFFF)):
        x.raw("OSAP on counter 0x%x" % value, "OSAP", params=struct.pack(">HI", kind, value) + bytes(20), show=False)
    flush_sessions(x)
    s = t.osap(ET_COUNTER, 0, DATA)
    do(x, "IncrementCounter by OSAP", "IncrementCounter", b"", U32(0), [Auth(s, None, True)])
    do(x, "IncrementCounter of another by OSAP", "IncrementCounter", b"", U32(1), [Auth(s, None, True)])
    reboot(x)
    increment("after a reboot", 1)
    increment("after a reboot", 0)
    s = t.osap(ET_COUNTER, 1, DATA)
    do(x, "ReleaseCounter, wrong secret", "ReleaseCounter", b"", U32(1), [Auth(t.oiap(), KEY)])
    do(x, "ReleaseCounter", "ReleaseCounter", b"", U32(1), [Auth(t.oiap(), DATA)])
    close_sessions(x, "ReleaseCounter")
    each("released")
    do(x, "ReleaseCounter again", "ReleaseCounter", b"", U32(1), [Auth(t.oiap(), DATA)])
    increment("after the active one went", 0)
    create_counter(x, b"cccc", DATA)
    increment("in its place", 1)
    each("replaced")
    reboot(x)
    increment("after one more reboot", 1)
    do(x, "ReleaseCounterOwner, wrong owner", "ReleaseCounterOwner", b"", U32(0), [Auth(t.oiap(), DATA)])
    do(x, "ReleaseCounterOwner", "ReleaseCounterOwner", b"", U32(0), [Auth(t.oiap(), OWNER)])
    do(x, "ReleaseCounterOwner again", "ReleaseCounterOwner", b"", U32(0), [Auth(t.oiap(), OWNER)])
    forgive(x)
    increment("after the owner released another", 1)
    each("at the end")
    do(x, "OwnerClear", "OwnerClear", b"", b"", [Auth(t.oiap(), OWNER)])
    x.raw("active counter, cleared", "GetCapability", params=U32(5) + U32(4) + U32(0x122))
    open_presence(x)
    t.raw("PhysicalEnable")
    t.raw("PhysicalSetDeactivated", params=b"\0")
    x.blobs = None
    fresh(x)
    create_counter(x, b"dddd", DATA)
    do(x, "ReleaseCounter, new owner", "ReleaseCounter", b"", U32(0), [Auth(t.oiap(), DATA)])
    close_sessions(x, "counters")


# ---- 21 ----
def pubkey(x, handle, secret):
    rc, _, out = x.t.raw("GetPubKey", handles=U32(handle), auths=[Auth(x.t.oiap(), secret)])
    assert rc == 0, hex(rc)
    return out


def kept(x):
    fresh(x)
    t = x.t

    def control(label, handle, pub, bit=1, value=b"\1", owner=OWNER):
        rc = t.raw("KeyControlOwner", handles=U32(handle), params=pub + U32(bit) + value, auths=[Auth(t.oiap(), owner)])[0]
        x.step("KeyControlOwner %s" % label, rc)
        return rc

    key = x.keys["sign"]
    pub, other = pubkey(x, key, KEY), pubkey(x, x.keys["store"], KEY)
    control("another's public key", key, other)
    control("bit 2", key, pub, 2)
    control("bit 0", key, pub, 0)
    control("no such key", 0x01FFFFF0, pub)
    control("SRK", KH_SRK, pub)
    control("wrong owner", key, pub, owner=DATA)
    control("a value of 2", key, pub, value=b"\2")
    forgive(x)
    control("keep", key, pub)
    control("keep again", key, pub)
    status = lambda label: x.step("key status, %s" % label, *t.capability(0xC, U32(key))[::2])
    status("kept")
    x.step("FlushSpecific of a kept key", t.flush(key, RT_KEY))
    x.raw("EvictKey of a kept key", "EvictKey", handles=U32(key))
    x.raw("SaveContext of a kept key", "SaveContext", handles=U32(key), params=U32(RT_KEY) + bytes(16), show=False)
    reboot(x)
    x.step("Sign with a kept key after a reboot", t.sign(key, KEY, bytes(20))[0])
    status("after a reboot")
    control("let go", key, pub, value=b"\0")
    control("let go again", key, pub, value=b"\0")
    status("let go")
    reboot(x)
    x.step("Sign with it after a reboot", t.sign(key, KEY, bytes(20))[0])
    rc, _, blob = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(usage=0x10, sig=2, bits=512, flags=4))
    rc, key = t.load_key2(KH_SRK, SRK, blob)
    control("keep a volatile key", key, pubkey(x, key, KEY))
    t.flush(key, RT_KEY)
    rc, _, blob = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(usage=0x10, sig=2, bits=512))
    held = []
    while rc == 0 and len(held) < 40:
        rc, key = t.load_key2(KH_SRK, SRK, blob)
        x.step("load the key to be kept, %d are" % len(held), rc)
        if rc == 0:
            held.append(key)
            rc = control("keep one more, %d are" % (len(held) - 1), key, pubkey(x, key, KEY))
    for n, key in enumerate(held):
        control("let go of all, %d" % n, key, pubkey(x, key, KEY), value=b"\0")
        t.flush(key, RT_KEY)
    close_sessions(x, "kept")


def save(x, label, kind, handle):
    rc, _, out = x.t.raw("SaveContext", handles=U32(handle), params=U32(kind) + sha1(b"label")[:16])
    blob = out[4:]
    # tag, resourceType, label, contextCount
    x.step("SaveContext %s" % label, rc, (blob[:6] + blob[10:26] + blob[26:30]) if not rc else b"")
    return blob


def load(x, label, blob, keep=0, entity=0, show=True):
    rc, handle, _ = x.t.raw("LoadContext", handles=U32(entity), params=bytes([keep]) + U32(len(blob)) + blob, out_handles=1)
    same = handle == blob[6:10]
    x.step("LoadContext %s" % label, rc, "%s" % same if show else b"")
    return struct.unpack(">I", handle)[0] if handle else 0


def contexts(x):
    fresh(x)
    t = x.t
    key, store = x.keys["sign"], x.keys["store"]
    for label, kind, handle in (("SRK", RT_KEY, KH_SRK), ("EK", RT_KEY, KH_EK), ("no key", RT_KEY, 0x01FFFFF0),
                                ("no session", RT_AUTH, 0x02FFFFF0), ("a key as a session", RT_AUTH, key), ("hash", 3, key),
                                ("context", 5, key), ("counter", 6, 0), ("delegate", 7, key), ("type 0", 0, key),
                                ("type 0x99", 0x99, key), ("transport", 4, 0x04FFFFF0), ("DAA", 8, 0x08FFFFF0)):
        save(x, label, kind, handle)
    blob = save(x, "key", RT_KEY, key)
    load(x, "key, still there, keep", blob, 1)
    copy = load(x, "key, still there", blob, show=False)
    x.step("Sign with the copy", t.sign(copy, KEY, bytes(20))[0])
    t.flush(copy, RT_KEY)
    t.flush(key, RT_KEY)
    load(x, "key, flushed, keep", blob, 1)
    x.step("Sign with the key", t.sign(key, KEY, bytes(20))[0])
    t.flush(key, RT_KEY)
    reboot(x)
    load(x, "key after a reboot, keep", blob, 1)
    x.step("Sign with the key after a reboot", t.sign(key, KEY, bytes(20))[0])
    # Sessions.
    fresh(x)
    key, store = x.keys["sign"], x.keys["store"]
    s = t.oiap()
    blob = save(x, "OIAP", RT_AUTH, s.handle)
    save(x, "OIAP, saved", RT_AUTH, s.handle)
    x.raw("contexts", "GetCapability", params=U32(0x14) + U32(4) + U32(5))
    load(x, "OIAP, keep", blob, 1)
    load(x, "OIAP, replayed", blob)
    do(x, "owner's command with it", "OwnerSetDisable", b"", b"\0", [Auth(s, OWNER, True)])
    blob = save(x, "OIAP again", RT_AUTH, s.handle)
    x.step("FlushSpecific of a context", t.flush(2, 5))
    x.step("FlushSpecific of a context again", t.flush(2, 5))
    load(x, "OIAP, flushed outside", blob)
    s = t.osap(ET_KEYHANDLE, key, KEY)
    blob = save(x, "OSAP of a key", RT_AUTH, s.handle)
    load(x, "OSAP of a key, no key", blob, 0, 0x01FFFFF0)
    load(x, "OSAP of a key, another key", blob, 0, store)
    load(x, "OSAP of a key, the SRK", blob, 0, KH_SRK)
    t.flush(key, RT_KEY)
    load(x, "OSAP of a key, key flushed", blob, 0, key)
    rc, key = t.load_key2(KH_SRK, SRK, x.blobs["sign"])
    s.handle = load(x, "OSAP of a key, key loaded again", blob, 1, key, show=False)
    do(x, "Sign with it", "Sign", U32(key), U32(20) + bytes(20), [Auth(s)])
    for label, kind, value, secret in (("owner", ET_OWNER, KH_OWNER, OWNER), ("SRK", ET_SRK, KH_SRK, SRK), ("area", ET_NV, 0x2002, DATA)):
        s = t.osap(kind, value, secret)
        blob = save(x, "OSAP of %s" % label, RT_AUTH, s.handle)
        load(x, "OSAP of %s" % label, blob, 0, value)
    blob = save(x, "OIAP for a reboot", RT_AUTH, t.oiap().handle)
    reboot(x)
    load(x, "OIAP after a reboot", blob)
    # Altered.
    fresh(x)
    blob = save(x, "key to alter", RT_KEY, x.keys["sign"])
    for at in (9, 12, 28, 35, len(blob) - 1):
        spoiled = bytearray(blob)
        spoiled[at] ^= 1
        load(x, "key, byte %d altered" % (at if at < 100 else -1), bytes(spoiled))
    load(x, "key, cut", blob[:-1])
    load(x, "key, longer", blob + b"\0")
    load(x, "nothing", b"")
    flush_sessions(x)
    for handle in list(range(4)):
        t.flush(handle, 5)


def old_contexts(x):
    fresh(x)
    t = x.t
    key = x.keys["sign"]
    rc, _, out = t.raw("SaveKeyContext", handles=U32(key))
    x.step("SaveKeyContext", rc)
    x.step("Sign with it", t.sign(key, KEY, bytes(20))[0])
    rc, handle, _ = t.raw("LoadKeyContext", params=out, out_handles=1)
    x.step("LoadKeyContext", rc, "%s" % (handle == U32(key)))
    x.step("Sign with it again", t.sign(key, KEY, bytes(20))[0])
    rc, handle, _ = t.raw("LoadKeyContext", params=out, out_handles=1)
    x.step("LoadKeyContext twice", rc)
    for label, value in (("SRK", KH_SRK), ("no key", 0x01FFFFF0)):
        x.step("SaveKeyContext %s" % label, t.raw("SaveKeyContext", handles=U32(value))[0])
    s = t.oiap()
    rc, _, auth = t.raw("SaveAuthContext", handles=U32(s.handle))
    x.step("SaveAuthContext", rc)
    x.step("SaveAuthContext again", t.raw("SaveAuthContext", handles=U32(s.handle))[0])
    x.step("LoadKeyContext of a session", t.raw("LoadKeyContext", params=auth, out_handles=1)[0])
    x.step("LoadAuthContext of a key", t.raw("LoadAuthContext", params=out, out_handles=1)[0])
    rc, handle, _ = t.raw("LoadAuthContext", params=auth, out_handles=1)
    x.step("LoadAuthContext", rc, "%s" % (handle == U32(s.handle)))
    x.step("LoadAuthContext replayed", t.raw("LoadAuthContext", params=auth, out_handles=1)[0])
    do(x, "owner's command with it", "OwnerSetDisable", b"", b"\0", [Auth(s, OWNER, True)])
    rc, _, auth = t.raw("SaveAuthContext", handles=U32(s.handle))
    reboot(x)
    x.step("LoadAuthContext after a reboot", t.raw("LoadAuthContext", params=auth, out_handles=1)[0])
    s = t.oiap()
    rc, _, auth = t.raw("SaveAuthContext", handles=U32(s.handle))
    s = t.oiap()
    blob = save(x, "OIAP before TPM_Reset", RT_AUTH, s.handle)
    s = t.oiap()
    x.raw("Reset", "Reset")
    do(x, "owner's command after TPM_Reset", "OwnerSetDisable", b"", b"\0", [Auth(s, OWNER)])
    x.step("LoadAuthContext after TPM_Reset", t.raw("LoadAuthContext", params=auth, out_handles=1)[0])
    load(x, "OIAP after TPM_Reset", blob)
    x.raw("contexts after TPM_Reset", "GetCapability", params=U32(0x14) + U32(4) + U32(5))
    close_sessions(x, "old contexts")
    reboot(x)


# ---- 27 ----
def directory(x):
    fresh(x)
    t = x.t
    for index in (0, 1, 0xFFFFFFFF):
        do(x, "DirWriteAuth %d" % index, "DirWriteAuth", b"", U32(index) + sha1(b"dir"), [Auth(t.oiap(), OWNER)])
        x.raw("DirRead %d" % index, "DirRead", params=U32(index))
    do(x, "DirWriteAuth, wrong owner", "DirWriteAuth", b"", U32(0) + sha1(b"x"), [Auth(t.oiap(), DATA)])
    x.step("the DIR as an area", *t.nv_read(0x10000001, 0, 20))
    rc, _, out = t.raw("OwnerReadPubek", auths=[Auth(t.oiap(), OWNER)])
    x.step("OwnerReadPubek", rc, "%d %s" % (len(out), out[:24].hex()))
    do(x, "OwnerReadPubek, wrong owner", "OwnerReadPubek", b"", b"", [Auth(t.oiap(), DATA)])
    forgive(x)
    close_sessions(x, "directory")


# ---- 14.2, 14.3 ----
def revoking(x):
    fresh(x)
    t = x.t
    parms = struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0)
    x.raw("RevokeTrust of an EK that is for good", "RevokeTrust", params=bytes(20))
    x.raw("CreateRevocableEK with an EK", "CreateRevocableEK", params=bytes(20) + parms + b"\0" + bytes(20), show=False)


# ---- 15 ----
def make_identity(x, label, template, owner=OWNER, srk=SRK, sessions=2, session=None):
    t = x.t
    s = session or t.osap(ET_OWNER, KH_OWNER, owner)
    hidden = s.enc_auth(KEY) if s.key else bytes(20)
    auths = ([Auth(t.oiap(), srk, True)] if sessions == 2 else []) + [Auth(s, owner, True)]
    rc, _, out = t.raw("MakeIdentity", params=hidden + sha1(b"ca") + template, auths=auths)
    value = b""
    if not rc:
        key, sig = out[:-260], out[-256:]
        n = key_modulus(key)
        pub = key[11:39 - 4 + 0]
        parms = struct.unpack(">I", key[19:23])[0]
        pubkey_bytes = key[11:23 + parms] + U32(len(n)) + n
        value = "%s %s" % (key[:23].hex(), verify_sha1(n, sha1(b"\1\1\0\0" + U32(0x79) + sha1(b"ca") + pubkey_bytes), sig))
        x.identity, x.identity_pub = key, pubkey_bytes
    x.step("MakeIdentity %s" % label, rc, value)


def identities(x):
    fresh(x)
    t = x.t
    good = Tpm.key_template(0x12, sig=2)
    make_identity(x, "signing", Tpm.key_template(0x10, sig=2))
    make_identity(x, "migratable", Tpm.key_template(0x12, sig=2, flags=2))
    make_identity(x, "1024 bits", Tpm.key_template(0x12, sig=2, bits=1024))
    make_identity(x, "DER", Tpm.key_template(0x12, sig=3))
    make_identity(x, "with encryption", Tpm.key_template(0x12, sig=2, enc=3))
    make_identity(x, "wrong owner", good, owner=DATA)
    make_identity(x, "wrong SRK", good, srk=DATA)
    make_identity(x, "owner by OIAP", good, session=t.oiap())
    make_identity(x, "owner's session of the SRK", good, session=t.osap(ET_SRK, KH_SRK, SRK))
    make_identity(x, "one session", good, sessions=1)
    forgive(x)
    close_sessions(x, "MakeIdentity refused")
    make_identity(x, "good", good)
    close_sessions(x, "MakeIdentity")
    rc, handle = t.load_key2(KH_SRK, SRK, x.identity)
    x.step("LoadKey2 of the identity", rc)
    rc, _, ek = t.raw("OwnerReadPubek", auths=[Auth(t.oiap(), OWNER)])
    n = t.pubkey_modulus(ek)
    sym = U32(6) + U16(0xFF) + U16(16) + bytes(range(16))
    mine, other = sha1(x.identity_pub), sha1(b"other")
    no_pcrs = struct.pack(">H", 3) + bytes(3) + b"\x1f" + bytes(20)
    short = lambda loc, sel=b"\0\3\0\0\0", d=bytes(20): sel + bytes([loc]) + d

    def ek_blob(kind, digest, info, key=sym, tag=0xC, inner=0xD):
        body = U16(inner) + key + digest + info
        return U16(tag) + U16(kind) + U32(len(body)) + body

    pcr10 = pcr_selection((10,))
    d10 = sha1(pcr10 + U32(20) + t.pcr(10))
    for label, plain in (
            ("1.1", sym + mine), ("1.1, another identity", sym + other), ("1.1, longer", sym + mine + b"\0"),
            ("1.1, shorter", sym + mine[:-1]), ("1.1, 3DES", U32(3) + U16(0xFF) + U16(24) + bytes(24) + mine),
            ("1.2", ek_blob(1, mine, no_pcrs)), ("1.2, another identity", ek_blob(1, other, no_pcrs)),
            ("1.2, for an owner", ek_blob(2, mine, no_pcrs)), ("1.2, type 3", ek_blob(3, mine, no_pcrs)),
            ("1.2, locality 0", ek_blob(1, mine, short(1))), ("1.2, locality 1", ek_blob(1, mine, short(2))),
            ("1.2, PCR 10", ek_blob(1, mine, short(0x1F, pcr10, d10))), ("1.2, PCR 10 wrong", ek_blob(1, mine, short(0x1F, pcr10, DATA))),
            ("1.2, inner tag", ek_blob(1, mine, no_pcrs, inner=0xE)), ("1.2, longer", ek_blob(1, mine, no_pcrs) + b"\0")):
        blob = oaep(n, plain)
        rc, _, out = t.raw("ActivateIdentity", handles=U32(handle), params=U32(len(blob)) + blob,
                           auths=[Auth(t.oiap(), KEY), Auth(t.oiap(), OWNER)])
        x.step("ActivateIdentity %s" % label, rc, out)
        flush_sessions(x)
    blob = oaep(n, sym + mine)
    params = U32(len(blob)) + blob
    do(x, "ActivateIdentity, one session", "ActivateIdentity", U32(handle), params, [Auth(t.oiap(), OWNER)])
    do(x, "ActivateIdentity, wrong identity's secret", "ActivateIdentity", U32(handle), params, [Auth(t.oiap(), DATA), Auth(t.oiap(), OWNER)])
    do(x, "ActivateIdentity, wrong owner", "ActivateIdentity", U32(handle), params, [Auth(t.oiap(), KEY), Auth(t.oiap(), DATA)])
    forgive(x)
    do(x, "ActivateIdentity of a signing key", "ActivateIdentity", U32(x.keys["sign"]), params, [Auth(t.oiap(), KEY), Auth(t.oiap(), OWNER)])
    for label, data in (("zeros", bytes(256)), ("short", blob[:-1]), ("long", blob + b"\0")):
        do(x, "ActivateIdentity, %s" % label, "ActivateIdentity", U32(handle), U32(len(data)) + data, [Auth(t.oiap(), KEY), Auth(t.oiap(), OWNER)])
    rc, _, out = t.quote(handle, KEY, bytes(20), pcr_selection((0,)))
    x.step("Quote by the identity", rc)
    x.step("Sign by the identity", t.sign(handle, KEY, bytes(20))[0])
    t.flush(handle, RT_KEY)
    close_sessions(x, "identities")


SCENES = (settings, told, ticks, counters, kept, contexts, old_contexts, directory, revoking, identities)
