# SPDX-License-Identifier: Apache-2.0
"""NV areas of every kind, what a TPM says of itself, and what it remembers over TPM_SaveState and TPM_Init."""
import struct

from authority import ready
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import NO_PCRS, U16, U32, as_new, open_presence, owned, reboot
from tpm12 import ET_OWNER, KH_OWNER, KH_SRK, Auth, pcr_selection, sha1

PPREAD, OWNERREAD, AUTHREAD, PPWRITE, OWNERWRITE, AUTHWRITE = 1 << 16, 1 << 17, 1 << 18, 1, 2, 4
WRITEALL, WRITEDEFINE, WRITE_ST, GLOBALLOCK, READ_ST = 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 31
OWNER_RW, AUTH_RW = OWNERREAD | OWNERWRITE, AUTHREAD | AUTHWRITE


def area(index, size, attributes, read=NO_PCRS, write=NO_PCRS, flags=b"\0\0\0", tag=0x18, attributes_tag=0x17):
    return (struct.pack(">HI", tag, index) + read + write + struct.pack(">HI", attributes_tag, attributes) + flags + U32(size))


def define(x, label, public, owner=OWNER, secret=DATA):
    if owner is None:
        rc, _, _ = x.t.raw("NV_DefineSpace", params=public + secret)
    else:
        s = x.t.osap(ET_OWNER, KH_OWNER, owner)
        rc, _, _ = x.t.raw("NV_DefineSpace", params=public + s.enc_auth(secret), auths=[Auth(s)])
    x.step("NV_DefineSpace %s" % label, rc)
    if rc:
        flush_sessions(x)
    return rc


def access(x, label, index):
    t = x.t
    # The secret of an area that a TPM without owner defines is not encrypted.
    x.step("write by nobody, %s" % label, t.nv_write(index, 0, b"nobody"))
    x.step("read by nobody, %s" % label, *t.nv_read(index, 0, 6))
    x.step("write by the owner, %s" % label, t.nv_write(index, 2, b"owner", OWNER))
    x.step("read by the owner, %s" % label, *t.nv_read(index, 1, 7, OWNER))
    x.step("write by its secret, %s" % label, t.nv_write_auth(index, 4, b"secret", DATA))
    x.step("read by its secret, %s" % label, *t.nv_read_auth(index, 0, 16, DATA))
    x.step("write in full by the owner, %s" % label, t.nv_write(index, 0, bytes(16), OWNER))
    x.step("past the end, %s" % label, t.nv_write(index, 14, b"end", OWNER))
    # Sums beyond 4 GiB make libtpms crash: ours are in tests/spec.
    x.step("at 2 GiB, %s" % label, *t.nv_read(index, 0x7FFFFFFF, 2, OWNER))
    x.step("2 GiB, %s" % label, *t.nv_read(index, 2, 0x7FFFFFFF, OWNER))
    x.raw("TPM_CAP_NV_INDEX, %s" % label, "GetCapability", params=U32(0x11) + U32(4) + U32(index))
    flush_sessions(x)


def locks(x, label, index):
    t = x.t
    x.step("write lock by the owner, %s" % label, t.nv_write(index, 0, b"", OWNER))
    x.step("write lock by its secret, %s" % label, t.nv_write_auth(index, 0, b"", DATA))
    x.step("read lock by the owner, %s" % label, *t.nv_read(index, 0, 0, OWNER))
    x.step("read lock by its secret, %s" % label, *t.nv_read_auth(index, 0, 0, DATA))
    flush_sessions(x)


EXTRAS = (("", 0), (" writeall", WRITEALL), (" writedefine", WRITEDEFINE), (" write_st", WRITE_ST), (" globallock", GLOBALLOCK),
          (" read_st", READ_ST), (" odd bits", 0x00F00FF0))
MATRIX = tuple((name + label, bits | extra)
               for name, bits in (("owner", OWNER_RW), ("secret", AUTH_RW), ("presence", PPREAD | PPWRITE))
               for label, extra in EXTRAS)
MATRIX += (("nothing", 0), ("owner writes", OWNERWRITE), ("secret reads, owner writes", AUTHREAD | OWNERWRITE))
CONFLICTS = ((AUTHWRITE | OWNERWRITE), (AUTHREAD | OWNERREAD | OWNERWRITE), (PPWRITE | OWNERWRITE | OWNERREAD),
             (PPWRITE | AUTHWRITE | AUTHREAD), PPREAD, OWNERREAD, AUTHREAD, 0xFFFFFFFF)


def nv_matrix(x):
    ready(x)
    forgive(x)
    index = 0x3000
    for label, bits in MATRIX:
        index += 1
        if define(x, label, area(index, 16, bits)):
            continue
        for presence in (False, True) if "presence" in label else (False,):
            x.t.raw("PhysicalPresence", params=U16(8 if presence else 0x10))
            access(x, "%s, presence %s" % (label, presence), index)
        x.t.raw("PhysicalPresence", params=U16(8))
        if bits & (WRITEDEFINE | WRITE_ST | GLOBALLOCK | READ_ST):
            locks(x, label, index)
            x.t.nv_write(0, 0, b"")
            access(x, "%s, locked" % label, index)
            reboot(x)
            access(x, "%s, locked, rebooted" % label, index)
        define(x, "%s, released" % label, area(index, 0, bits))
        forgive(x)
    for bits in CONFLICTS:
        define(x, "attributes 0x%x" % bits, area(0x3100, 16, bits))
        define(x, "attributes 0x%x, released" % bits, area(0x3100, 0, bits))
    close_sessions(x, "NV matrix")


def nv_odd(x):
    ready(x)
    forgive(x)
    for label, public in (
            ("bReadSTClear set", area(0x3200, 8, OWNER_RW, flags=b"\1\0\0")), ("bWriteDefine set", area(0x3201, 8, OWNER_RW, flags=b"\0\0\1")),
            ("flag 2", area(0x3202, 8, OWNER_RW, flags=b"\2\0\0")), ("tag", area(0x3203, 8, OWNER_RW, tag=0x19)),
            ("attributes' tag", area(0x3204, 8, OWNER_RW, attributes_tag=0x18)),
            ("localities 0", area(0x3205, 8, OWNER_RW, read=pcr_selection(()) + b"\0" + bytes(20))),
            ("locality 5", area(0x3206, 8, OWNER_RW, write=pcr_selection(()) + b"\x20" + bytes(20))),
            ("short selection", area(0x3207, 8, OWNER_RW, read=pcr_selection((), 2) + b"\x1f" + bytes(20))),
            ("empty selection", area(0x320C, 8, OWNER_RW, read=pcr_selection((), 0) + b"\x1f" + bytes(20))),
            ("long selection", area(0x3208, 8, OWNER_RW, read=pcr_selection((), 4) + b"\x1f" + bytes(20))),
            ("no writer but a locality", area(0x3209, 8, OWNERREAD, write=pcr_selection(()) + b"\x04" + bytes(20))),
            ("size 0", area(0x320A, 0, OWNER_RW)), ("all of it", area(0x320B, 0xFFFFFFFF, OWNER_RW)),
            ("index 0", area(0, 8, OWNER_RW)), ("lock", area(0xFFFFFFFF, 8, OWNER_RW)), ("DIR", area(0x10000001, 20, OWNER_RW)),
            ("D bit", area(0x10003000, 8, OWNER_RW)), ("T bit", area(0x80003000, 8, OWNER_RW)), ("P bit", area(0x40003000, 8, OWNER_RW)),
            ("U bit", area(0x20003000, 8, OWNER_RW)), ("reserved bits", area(0x0F003000, 8, OWNER_RW)),
            ("trial", area(0x0000F004, 8, OWNER_RW)), ("trial, too big", area(0x0000F004, 0x100000, OWNER_RW)),
            ("GPIO", area(0x00011600, 8, OWNER_RW))):
        define(x, label, public)
        index = struct.unpack(">I", public[2:6])[0]
        x.raw("TPM_CAP_NV_INDEX of %s" % label, "GetCapability", params=U32(0x11) + U32(4) + U32(index))
        if index & 0xFFFFFF00 == 0x3200:
            x.step("write %s" % label, x.t.nv_write(index, 0, b"abc", OWNER))
            x.step("read %s" % label, *x.t.nv_read(index, 0, 3, OWNER))
            define(x, "%s, released" % label, area(index, 0, OWNER_RW))
        flush_sessions(x)
    # The DIR, which is always there.
    t = x.t
    x.step("DIR read", *t.nv_read(0x10000001, 0, 20))
    x.step("DIR read past the end", *t.nv_read(0x10000001, 1, 20))
    x.step("DIR write by nobody", t.nv_write(0x10000001, 0, sha1(b"dir")))
    x.step("DIR write in part", t.nv_write(0x10000001, 0, b"part", OWNER))
    x.step("DIR write", t.nv_write(0x10000001, 0, sha1(b"dir"), OWNER))
    x.step("DIR read after", *t.nv_read(0x10000001, 0, 20, OWNER))
    x.step("DIR write of nothing", t.nv_write(0x10000001, 0, b"", OWNER))
    x.step("global lock by nobody", t.nv_write(0, 0, b""))
    x.step("global lock with data", t.nv_write(0, 0, b"x"))
    x.raw("TPM_CAP_FLAG volatile", "GetCapability", params=U32(4) + U32(4) + U32(0x109))
    reboot(x)
    x.step("DIR read after a reboot", *t.nv_read(0x10000001, 0, 20))
    close_sessions(x, "odd areas")


def nv_bound(x):
    """PCRs and localities of areas; sessions of an area."""
    ready(x)
    forgive(x)
    t = x.t
    bound = pcr_selection((16,)) + b"\x1f" + sha1(pcr_selection((16,)) + U32(20) + t.pcr(16))
    second = pcr_selection(()) + b"\x04" + bytes(20)
    both = pcr_selection((16,)) + b"\x04" + bytes(20)
    for n, (label, read, write) in enumerate((("reads at PCR 16", bound, NO_PCRS), ("writes at PCR 16", NO_PCRS, bound),
                                              ("reads at locality 2", second, NO_PCRS), ("writes at locality 2", NO_PCRS, second),
                                              ("never", both, both))):
        for kind, attributes in (("owner", OWNER_RW), ("secret", AUTH_RW)):
            index = 0x3300 + 2 * n + (kind == "secret")
            define(x, "%s by %s" % (label, kind), area(index, 8, attributes, read, write))
            for extended in (False, True):
                for locality in (0, 2):
                    x.p.locality(locality)
                    where = "%s by %s, locality %d, extended %s" % (label, kind, locality, extended)
                    if kind == "owner":
                        x.step("write, %s" % where, t.nv_write(index, 0, b"abc", OWNER))
                        x.step("read, %s" % where, *t.nv_read(index, 0, 3, OWNER))
                    else:
                        x.step("write, %s" % where, t.nv_write_auth(index, 0, b"abc", DATA))
                        x.step("read, %s" % where, *t.nv_read_auth(index, 0, 3, DATA))
                x.p.locality(0)
                if not extended:
                    t.extend(16, sha1(b"other"))
            x.step("PCR_Reset", t.raw("PCR_Reset", params=pcr_selection((16,)))[0])
            forgive(x)
    close_sessions(x, "bound areas")


def nv_without_owner(x):
    """64 writes, and no more."""
    as_new(x)
    x.blobs = None
    define(x, "by presence", area(0x3400, 8, PPWRITE | PPREAD), None)
    x.t.raw("PhysicalPresence", params=U16(0x10))
    define(x, "without presence", area(0x3401, 8, PPWRITE | PPREAD), None)
    define(x, "size 0", area(0x3400, 0, PPWRITE | PPREAD), None)
    open_presence(x)
    for n in range(66):
        x.step("write %d without owner" % n, x.t.nv_write(0x3400, 0, bytes([n])))
    x.step("read", *x.t.nv_read(0x3400, 0, 1))
    define(x, "after the last write", area(0x3402, 8, PPWRITE | PPREAD), None)
    define(x, "released by nobody", area(0x3400, 0, PPWRITE | PPREAD), None)
    x.raw("ForceClear", "ForceClear")
    x.t.raw("PhysicalEnable")
    x.step("write after ForceClear", x.t.nv_write(0x3400, 0, b"x"))
    x.step("read after ForceClear", *x.t.nv_read(0x3400, 0, 1))
    x.raw("TPM_CAP_NV_LIST", "GetCapability", params=U32(0xD) + U32(0))


def cleared(x):
    """What goes with the owner."""
    ready(x)
    forgive(x)
    t = x.t
    for index, bits in ((0x3501, OWNERWRITE | AUTHREAD), (0x3502, AUTH_RW), (0x3503, PPREAD | PPWRITE), (0x3504, OWNERREAD | AUTHWRITE)):
        define(x, "0x%x" % index, area(index, 8, bits))
    t.nv_write(0x10000001, 0, sha1(b"dir"), OWNER)
    rc, _, blob = t.seal(KH_SRK, SRK, DATA, b"x")
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    x.step("OwnerClear", t.raw("OwnerClear", auths=[Auth(t.oiap(), OWNER, True)])[0])
    close_sessions(x, "OwnerClear")
    x.raw("TPM_CAP_NV_LIST, cleared", "GetCapability", params=U32(0xD) + U32(0))
    x.raw("TPM_CAP_HANDLE of keys", "GetCapability", params=U32(0x14) + U32(4) + U32(1))
    open_presence(x)
    t.raw("PhysicalEnable")
    x.step("DIR, cleared", *t.nv_read(0x10000001, 0, 20))
    x.step("secret's area, cleared", *t.nv_read_auth(0x3502, 0, 8, DATA))
    x.blobs = None
    owned(x)
    x.step("the old owner's sealed data", t.unseal(KH_SRK, SRK, DATA, blob)[0])
    flush_sessions(x)


# ---- What it says of itself ----
def capabilities(x):
    ready(x)
    reboot(x)
    for number in list(range(0, 0x20)) + [0x1000, 0xFFFFFFFF]:
        for label, sub in (("nothing", b""), ("1 byte", b"\0"), ("2 bytes", U16(1)), ("3 bytes", bytes(3)), ("5 bytes", bytes(5)),
                           ("0", U32(0)), ("1", U32(1)), ("0xffffffff", U32(0xFFFFFFFF))):
            if number in (0x10, 0x1A) or (number, label) == (5, "0"):
                continue    # the manufacturer's
            x.raw("area 0x%x, sub %s" % (number, label), "GetCapability", params=U32(number) + U32(len(sub)) + sub,
                  show=number not in (5, 0x19))
    for prop in range(0x100, 0x130):
        out = x.t.capability(5, U32(prop))
        x.step("property 0x%x" % prop, out[0], "%d bytes" % len(out[2]))
    for kind in range(0x10):
        out = x.t.capability(0x14, U32(kind))
        x.step("handles of type %d" % kind, *out[::2])
        x.step("DA logic of entity %d" % kind, x.t.capability(0x19, U16(kind))[0])
        x.step("auth encryption %d" % kind, *x.t.capability(0x17, U32(kind))[::2])
        x.step("algorithm %d" % kind, *x.t.capability(2, U32(kind))[::2])
    for size in (b"\1\1\0\0", b"\1\1\0\1", b"\1\1\0\3", b"\1\1\0\4", b"\1\2\0\3", b"\0\0\0\3", b"\1\1\1\0"):
        x.step("select size %s" % size.hex(), *x.t.capability(0x18, size)[::2])
    for alg, bits in ((1, 2048), (1, 512), (1, 4096), (6, 2048), (0xFF, 512)):
        parms = struct.pack(">IHHI", alg, 3, 1, 12) + struct.pack(">III", bits, 2, 0)
        x.step("check loaded %d, %d bits" % (alg, bits), *x.t.capability(8, parms)[::2])


# ---- SaveState and Startup ----
def states_saved(x):
    ready(x)
    t = x.t

    def look(label):
        for n in (0, 10, 16, 17, 20, 23):
            x.raw("PcrRead %d, %s" % (n, label), "PcrRead", params=U32(n))
        x.raw("TPM_CAP_FLAG volatile, %s" % label, "GetCapability", params=U32(4) + U32(4) + U32(0x109))
        rc, handle, _ = t.raw("OIAP", out_handles=1)
        x.step("OIAP, %s" % label, rc)
        if not rc:
            t.flush(struct.unpack(">I", handle)[0], 2)
            rc = t.sign(x.keys["sign"], KEY, bytes(20))[0]
            flush_sessions(x)
        x.step("Sign, %s" % label, rc)

    def prepare():
        ready(x)
        for n in (10, 16, 23):
            t.extend(n, sha1(b"saved"))
        open_presence(x)
        t.nv_write(0, 0, b"")
    for label, between, kind in (
            ("saved", (), 2), ("saved, deactivated", (), 3), ("saved, then PcrRead", (("PcrRead", U32(0)),), 2),
            ("saved, then Extend", (("Extend", U32(10) + bytes(20)),), 2), ("saved, then a bad command", (("PcrRead", b""),), 2),
            ("saved, then SaveState", (("SaveState", b""),), 2), ("saved, then Startup", (("Startup", U16(1)),), 2)):
        prepare()
        x.step("SaveState, %s" % label, t.raw("SaveState")[0])
        for ordinal, params in between:
            x.step("%s, %s" % (ordinal, label), t.raw(ordinal, params=params)[0])
        x.p.power_on()
        x.step("Startup, %s" % label, t.startup(kind))
        look(label)
        if label != "saved":
            continue
        x.p.power_on()
        x.step("Startup(STATE) once more, %s" % label, t.startup(2))
        x.raw("PcrRead 10, once more, %s" % label, "PcrRead", params=U32(10))
        x.step("GetTestResult, once more, %s" % label, t.raw("GetTestResult")[0])
        x.step("Startup(CLEAR) after that, %s" % label, t.startup(1))
        x.raw("TPM_CAP_VERSION, %s" % label, "GetCapability", params=U32(6) + U32(0))
        x.step("TPM_CAP_PROPERTY timeouts, %s" % label, t.capability(5, U32(0x115))[0])
        x.step("TPM_CAP_PROPERTY PCRs, %s" % label, t.capability(5, U32(0x101))[0])
    x.p.power_on()
    x.step("Startup, unknown type", t.startup(4))
    x.step("PcrRead after it", t.raw("PcrRead", params=U32(0))[0])
    x.step("Startup(CLEAR) after it", t.startup(1))


def guesses(x):
    """Whose wrong guesses count."""
    ready(x)
    forgive(x)
    t = x.t
    for label, guess in (("key", lambda: t.sign(x.keys["sign"], DATA, bytes(20))[0]),
                         ("owner", lambda: t.raw("OwnerSetDisable", params=b"\0", auths=[Auth(t.oiap(), DATA)])[0]),
                         ("area", lambda: t.nv_read_auth(0x2002, 0, 4, KEY)[0])):
        for n in range(3):
            x.step("wrong guess of the %s" % label, guess())
        x.step("right command after %s" % label, t.seal(KH_SRK, SRK, DATA, b"x")[0])
        forgive(x)
    # A reboot gives no new guesses.
    for n in range(7):
        if n == 3:
            reboot(x)
            rc, x.keys["sign"] = t.load_key2(KH_SRK, SRK, x.blobs["sign"])
        x.step("wrong guess %d over a reboot" % n, t.seal(KH_SRK, DATA, DATA, b"x")[0])
    forgive(x)
    x.step("ResetLockValue, wrong owner", t.raw("ResetLockValue", auths=[Auth(t.oiap(), DATA)])[0])
    x.step("ResetLockValue, right owner after it", t.raw("ResetLockValue", auths=[Auth(t.oiap(), OWNER)])[0])
    reboot(x)
    x.step("ResetLockValue after a reboot", t.raw("ResetLockValue", auths=[Auth(t.oiap(), OWNER)])[0])
    close_sessions(x, "guesses")


SCENES = (nv_matrix, nv_odd, nv_bound, capabilities, states_saved, guesses, cleared, nv_without_owner)
