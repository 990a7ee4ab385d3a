# SPDX-License-Identifier: Apache-2.0
"""The audit, delegations, transport sessions."""
import os
import re
import struct
import subprocess

from authority import ready
from differences import ROOT
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import COMMANDS, U16, U32, owned, reboot
from tpm12 import (ET_KEYHANDLE, ET_OWNER, ET_SRK, KH_OWNER, KH_SRK, ORD, Auth, Session, hmac1, key_modulus, mgf1, oaep,
                   pcr_selection, sha1, verify_sha1, xor)

KH_TRANSPORT = 0x40000003
LENT = sha1(b"lent")


def owner(x, label, ordinal, params=b"", show=True, secret=OWNER):
    """show None: only the return code."""
    rc, handle, out = x.t.raw(ordinal, params=params, auths=[Auth(x.t.oiap(), secret)])
    x.step(label, rc, b"" if show is None else out if show else "%d bytes" % len(out))
    return rc, handle, out


# ---- 8 ----
def digest(x, label, expected):
    """auditDigest, which has the counter in it: is it what it should be?"""
    rc, _, out = x.t.raw("GetAuditDigest", params=U32(0))
    x.step("audit digest %s" % label, rc, str(out[10:30] == expected))
    assert out[10:30] == expected, label


def counter(x):
    """auditMonotonicCounter."""
    return x.t.raw("GetAuditDigest", params=U32(0))[2][:10]


def event(before, tag, parms, count):
    return sha1(before + U16(tag) + parms + count)


def audit(x):
    ready(x)
    t = x.t
    for row in (0x14, 0x0A, 0x85, 0x86, 0x8D, 0x98, 0xE7, 0x99, 0xDB):
        for state in (0, 1):
            owner(x, "SetOrdinalAuditStatus 0x%x %d" % (row, state), "SetOrdinalAuditStatus", U32(row) + bytes([state]))
    owner(x, "SetOrdinalAuditStatus, wrong secret", "SetOrdinalAuditStatus", U32(0x14) + b"\1", secret=DATA)
    forgive(x)
    # Only what gives the same bytes everywhere is left on.
    for row in (0x0A, 0x8D, 0xE7, 0x98, 0x99, 0xDB):
        owner(x, "SetOrdinalAuditStatus 0x%x off" % row, "SetOrdinalAuditStatus", U32(row) + b"\0")
    reboot(x)
    for start in (0x0A, 0x14, 0x80, 0xFF):
        rc, _, out = t.raw("GetAuditDigest", params=U32(start))
        x.step("GetAuditDigest from 0x%x" % start, rc, out[30:])
    expected = bytes(20)
    digest(x, "at the start", expected)
    for n, text in enumerate((b"a", b"b")):
        params = U32(3) + sha1(text)
        _, _, out = x.raw("Extend, audited %d" % n, "Extend", params=params)
        count = counter(x)
        expected = event(expected, 0x12, sha1(U32(0x14) + params), count)
        expected = event(expected, 0x13, sha1(bytes(4) + U32(0x14) + out), count)
        digest(x, "after %d" % n, expected)
    x.raw("Extend 99, audited", "Extend", params=U32(99) + sha1(b"b"))
    digest(x, "after a failure", expected)
    ready(x)
    signed(x)
    owner(x, "SetOrdinalAuditStatus 0x14 off", "SetOrdinalAuditStatus", U32(0x14) + b"\0")
    close_sessions(x, "audit")


def signed(x):
    t = x.t
    for close in (0, 1):
        x.raw("GetAuditDigestSigned, close %d" % close, "GetAuditDigestSigned", handles=U32(x.keys["sign"]),
              params=bytes([close]) + bytes(20), auths=[Auth(t.oiap(), KEY)], show=False)
    x.raw("GetAuditDigestSigned, storage key", "GetAuditDigestSigned", handles=U32(x.keys["store"]),
          params=b"\0" + bytes(20), auths=[Auth(t.oiap(), KEY)], show=False)
    x.raw("GetAuditDigestSigned, no session", "GetAuditDigestSigned", handles=U32(x.keys["sign"]), params=b"\0" + bytes(20))
    x.raw("GetAuditDigestSigned, free key", "GetAuditDigestSigned", handles=U32(x.keys["free"]),
          params=b"\0" + bytes(20), show=False)
    x.raw("GetAuditEvent", "GetAuditEvent")


# ---- 18, 19 ----
def public(family, kind, per1):
    anywhere = pcr_selection(()) + b"\x1f" + bytes(20)
    return U16(0x1B) + b"r" + anywhere + U16(0x1A) + U32(kind) + U32(per1) + U32(0) + U32(family) + U32(0)


def dsap(x, label, kind, key, value, secret=LENT):
    odd = x.t.random(20)
    rc, handle, out = x.t.raw("DSAP", params=U16(kind) + U32(key) + odd + U32(len(value)) + value, out_handles=1)
    x.step("DSAP %s" % label, rc)
    return Session(struct.unpack(">I", handle)[0], out[:20], hmac1(secret, out[20:40] + odd)) if rc == 0 else None


def lend(x, label, pub, increment=0, session=None):
    s = session or x.t.osap(ET_OWNER, KH_OWNER, OWNER)
    rc, _, out = x.t.raw("Delegate_CreateOwnerDelegation", params=bytes([increment]) + pub + s.enc_auth(LENT),
                         auths=[Auth(s, None, True)])
    x.step("Delegate_CreateOwnerDelegation %s" % label, rc)
    return out[4:]


def lend_key(x, label, pub, key="sign", session=None):
    s = session or x.t.osap(ET_KEYHANDLE, x.keys[key], KEY)
    rc, _, out = x.t.raw("Delegate_CreateKeyDelegation", handles=U32(x.keys[key]), params=pub + s.enc_auth(LENT),
                         auths=[Auth(s, None, True)])
    x.step("Delegate_CreateKeyDelegation %s" % label, rc)
    return out[4:]


def manage(x, label, family, op, data, auths=None):
    auths = [Auth(x.t.oiap(), OWNER)] if auths is None else auths
    return x.raw("Delegate_Manage %s" % label, "Delegate_Manage", params=U32(family) + U32(op) + U32(len(data)) + data,
                 auths=auths)


def table(x, label):
    x.raw("Delegate_ReadTable %s" % label, "Delegate_ReadTable")


def families(x):
    ready(x)
    table(x, "new")
    _, _, out = manage(x, "create", 0, 1, b"f")
    x.family = struct.unpack(">I", out[4:])[0]
    manage(x, "create another", 7, 1, b"g")
    for label, args in (("enable", (2, b"\1")), ("disable", (2, b"\0")), ("enable again", (2, b"\1")), ("lock", (3, b"\1")),
                        ("unlock", (3, b"\0")), ("long flag", (2, b"\1\1")), ("no flag", (2, b"")), ("unknown", (5, b"\1"))):
        manage(x, label, x.family, *args)
        table(x, label)
    manage(x, "no family", 99, 2, b"\1")
    manage(x, "long label", 0, 1, b"ff")
    manage(x, "no session", x.family, 2, b"\1", auths=[])
    manage(x, "invalidate the other", x.family + 1, 4, b"")
    table(x, "invalidated")
    close_sessions(x, "families")


def delegating(x):
    ready(x)
    t = x.t
    all_owner = public(x.family, 1, 0x7FFFFFFF)
    blob = lend(x, "all", all_owner)
    few = lend(x, "few", public(x.family, 1, 0x00002000))
    lend(x, "of a key's type", public(x.family, 2, 0))
    lend(x, "of no family", public(99, 1, 0))
    for label, value in (("all", blob), ("few", few), ("cut", blob[:40]), ("junk", b"junk")):
        dsap(x, "owner blob, %s" % label, 7, 0, value)
        x.raw("Delegate_VerifyDelegation %s" % label, "Delegate_VerifyDelegation", params=U32(len(value)) + value)
    flush_sessions(x)
    spoilt = blob[:4] + b"x" + blob[5:]
    dsap(x, "owner blob, altered", 7, 0, spoilt)
    x.raw("Delegate_VerifyDelegation altered", "Delegate_VerifyDelegation", params=U32(len(spoilt)) + spoilt)
    dsap(x, "owner blob as key's", 9, KH_SRK, blob)
    dsap(x, "of no type", 5, 0, blob)
    dsap(x, "row that is not there", 8, 0, U32(0))
    dsap(x, "row out of the table", 8, 0, U32(9))
    for label, value, ordinal, params in (
            ("few, OwnerSetDisable", few, "OwnerSetDisable", b"\0"), ("few, DisablePubekRead", few, "DisablePubekRead", b""),
            ("all, OwnerSetDisable", blob, "OwnerSetDisable", b"\0"), ("all, OwnerReadPubek", blob, "OwnerReadPubek", b""),
            ("all, GetCapabilityOwner", blob, "GetCapabilityOwner", b""),
            ("all, SetOrdinalAuditStatus", blob, "SetOrdinalAuditStatus", U32(0x0A) + b"\0")):
        s = dsap(x, label, 7, 0, value)
        x.raw("delegated: %s" % label, ordinal, params=params, auths=[Auth(s)], show=False)
    s = dsap(x, "wrong secret", 7, 0, few, DATA)
    x.raw("delegated: wrong secret", "OwnerSetDisable", params=b"\0", auths=[Auth(s)])
    forgive(x)
    s = dsap(x, "for an owner's delegation", 7, 0, few)
    lend(x, "by a delegate without leave", public(x.family, 1, 0), session=s)
    s = dsap(x, "for an owner's delegation, all", 7, 0, blob)
    flush_sessions(x)
    s = dsap(x, "for an owner's delegation, all", 7, 0, blob)
    lend(x, "by a delegate", public(x.family, 1, 0x2000), session=s)
    close_sessions(x, "a delegate's new secret")
    x.lent = blob


def rows(x):
    t = x.t
    blob = x.lent
    loaded = lambda label, index, value: owner(x, "Delegate_LoadOwnerDelegation %s" % label, "Delegate_LoadOwnerDelegation",
                                               U32(index) + U32(len(value)) + value)
    loaded("0", 0, blob)
    loaded("out of the table", 9, blob)
    loaded("altered", 1, blob[:4] + b"x" + blob[5:])
    table(x, "with a row")
    x.raw("SetOwnerPointer 1", "SetOwnerPointer", params=U16(8) + U32(1))
    x.raw("SetOwnerPointer key", "SetOwnerPointer", params=U16(1) + U32(0))
    x.raw("SetOwnerPointer 0", "SetOwnerPointer", params=U16(8) + U32(0))
    owner(x, "pointer: lent secret", "OwnerSetDisable", b"\0", secret=LENT)
    owner(x, "pointer: not lent", "GetCapabilityOwner", secret=LENT)
    owner(x, "pointer: owner's secret", "OwnerSetDisable", b"\0")
    s = t.osap(ET_OWNER, KH_OWNER, LENT)
    x.raw("pointer: OSAP", "OwnerSetDisable", params=b"\0", auths=[Auth(s)])
    x.raw("SetOwnerPointer owner", "SetOwnerPointer", params=U16(2) + U32(0))
    forgive(x)
    s = dsap(x, "row 0", 8, 0, U32(0))
    x.raw("delegated: row 0", "OwnerSetDisable", params=b"\0", auths=[Auth(s)])
    lend(x, "counted", public(x.family, 1, 0), increment=1)
    dsap(x, "row 0, old count", 8, 0, U32(0))
    dsap(x, "blob, old count", 7, 0, blob)
    x.raw("Delegate_VerifyDelegation, old count", "Delegate_VerifyDelegation", params=U32(len(blob)) + blob)
    x.raw("SetOwnerPointer, old count", "SetOwnerPointer", params=U16(8) + U32(0))
    _, _, out = owner(x, "Delegate_UpdateVerification", "Delegate_UpdateVerification", U32(len(blob)) + blob, show=None)
    dsap(x, "blob, new count", 7, 0, out[4:])
    owner(x, "Delegate_UpdateVerification of a row", "Delegate_UpdateVerification", U32(4) + U32(0))
    owner(x, "Delegate_UpdateVerification of no row", "Delegate_UpdateVerification", U32(4) + U32(2))
    owner(x, "Delegate_UpdateVerification of junk", "Delegate_UpdateVerification", U32(6) + b"junk!!")
    table(x, "updated")
    dsap(x, "row 0, new count", 8, 0, U32(0))
    flush_sessions(x)


def owner_bits():
    """(ordinal, its bit of per1), as commands.def has them."""
    with open(os.path.join(ROOT, "server/engine/commands.def"), encoding="utf-8") as f:
        text = f.read()
    for row in re.findall(r"^TPM_CMD\(TPM_ORD_(.*?)\)\n(?=\n|TPM_|/\*|$)", text, re.S | re.M):
        bit = re.search(r"owner_bit = DELEGATE_BIT\((\d+)\)", row)
        if bit:
            yield row.split(",")[0], int(bit[1])


# These would end what the next ones need.
LASTING = ("OwnerClear", "DisableOwnerClear", "DisablePubekRead")
# Neither has these, in the profile that is compared; states.py sends them.
MAINTENANCE = ("CreateMaintenanceArchive", "LoadMaintenanceArchive", "KillMaintenanceFeature")


def permission_bits(x):
    """Each of the owner's commands with its bit alone, and with all but that: the proof is right in both cases."""
    known = {name: (handles, params) for name, handles, params in COMMANDS}
    for name, bit in owner_bits():
        if name in LASTING + MAINTENANCE:
            continue
        handles, params = known[name]
        for label, per1 in (("alone", 1 << bit), ("missing", 0x7FFFFFFF & ~(1 << bit))):
            s = dsap(x, "bit %d" % bit, 7, 0, lend(x, "bit %d %s" % (bit, label), public(x.family, 1, per1)))
            rc = x.t.raw(name, handles=handles, params=params, auths=[Auth(s)])[0]
            x.step("lent: %s, bit %d %s" % (name, bit, label), rc)
            forgive(x)
            flush_sessions(x)


def key_rows(x):
    t = x.t
    blob = lend_key(x, "Sign", public(x.family, 2, 0x4000))
    lend_key(x, "of the owner's type", public(x.family, 1, 0))
    lend_key(x, "of no family", public(99, 2, 0))
    for label, key in (("its key", x.keys["sign"]), ("another", x.keys["store"]), ("none", 0x01234567)):
        dsap(x, "key blob, %s" % label, 9, key, blob)
    s = dsap(x, "key blob", 9, x.keys["sign"], blob)
    x.raw("delegated: Sign", "Sign", handles=U32(x.keys["sign"]), params=U32(20) + bytes(20), auths=[Auth(s)], show=False)
    s = dsap(x, "key blob", 9, x.keys["sign"], blob)
    x.raw("delegated: Quote", "Quote", handles=U32(x.keys["sign"]), params=bytes(20) + pcr_selection((1,)), auths=[Auth(s)],
          show=False)
    # Part 2, 20.2.3: bit 28 of a storage key; the blobs are zeros, so it ends after the proof.
    converts = lend_key(x, "CMK_ConvertMigration", public(x.family, 2, 1 << 28), "store")
    s = dsap(x, "key blob", 9, x.keys["store"], converts)
    x.raw("delegated: CMK_ConvertMigration", "CMK_ConvertMigration", handles=U32(x.keys["store"]),
          params=next(params for name, _, params in COMMANDS if name == "CMK_ConvertMigration"), auths=[Auth(s)])
    forgive(x)
    manage(x, "disable for good", x.family, 2, b"\0")
    dsap(x, "disabled", 9, x.keys["sign"], blob)
    close_sessions(x, "keys lent")
    flush_sessions(x)


# ---- 24 ----
def aes(key, iv, mode, data):
    return subprocess.run(["openssl", "enc", "-aes-128-ctr" if mode == 4 else "-aes-128-ofb", "-K", key.hex(), "-iv", iv.hex()],
                          input=data, stdout=subprocess.PIPE, check=True).stdout


class Transport:
    """One session; its log is kept."""

    def __init__(self, x, label, attributes, alg=0, scheme=0):
        self.x, self.attributes, self.alg, self.scheme = x, attributes, alg, scheme
        self.secret, self.log = sha1(b"transport"), bytes(20)
        t = x.t
        hides = attributes & 1
        secret = oaep(x.srk, U16(0x1D) + self.secret) if hides else self.secret
        params = U16(0x1E) + U32(attributes) + U32(alg) + U16(scheme) + U32(len(secret)) + secret
        rc, handle, out = t.raw("EstablishTransport", handles=U32(KH_SRK if hides else KH_TRANSPORT), params=params,
                                auths=[Auth(t.oiap(), SRK)] if hides else [], out_handles=1)
        x.step("EstablishTransport %s" % label, rc, "%d" % len(out))
        if rc == 0:
            self.handle, self.even = handle, out[-20:]
            self.log_in(sha1(U32(0xE6) + params))
            self.log_out(sha1(bytes(4) + U32(0xE6) + out), out[4:36], out[:4])

    def log_in(self, digest, key=bytes(20)):
        self.log = sha1(self.log + U16(0x10) + digest + key)

    def log_out(self, digest, ticks, locality):
        self.log = sha1(self.log + U16(0x11) + ticks + digest + locality)

    def crypt(self, way, odd, data):
        if not self.attributes & 1 or not data:
            return data
        if self.alg == 7:
            return xor(data, mgf1(self.even + odd + way + self.secret, len(data)))
        return aes(self.secret[:16], mgf1(self.even + odd + way, 16), self.scheme, data)

    def run(self, label, ordinal, handles=b"", params=b"", trailer=b"", outs=0, key=bytes(20), wrong=False, show=True):
        """The wrapped answer's (return code, parameters)."""
        x, code, auths = self.x, ORD[ordinal], len(trailer) // 45
        odd = x.t.random(20)
        size = 10 + len(handles) + len(params) + len(trailer)
        h1 = sha1(U32(code) + params)
        wrapped = U16(0xC1 + auths) + U32(size) + U32(code) + handles + self.crypt(b"in", odd, params) + trailer
        digest = sha1(U32(0xE7) + U32(size) + h1)
        mac = hmac1(bytes(20) if wrong else self.secret, digest + self.even + odd + b"\1")
        body = U32(size) + wrapped + self.handle + odd + b"\1" + mac
        rsp = x.t.send(U16(0xC2) + U32(10 + len(body)) + U32(0xE7) + body)
        rc = struct.unpack(">I", rsp[6:10])[0]
        if rc:
            x.step("in transport: %s" % label, rc)
            return None
        count, locality, inner = struct.unpack(">Q", rsp[10:18])[0], rsp[18:22], rsp[26:-41]
        self.even, keep, mac = rsp[-41:-21], rsp[-21:-20], rsp[-20:]
        inner_rc = struct.unpack(">I", inner[6:10])[0]
        end = len(inner) - 41 * (struct.unpack(">H", inner[:2])[0] - 0xC4)
        out = self.crypt(b"out", odd, inner[10 + 4 * outs:end]) if inner_rc == 0 else b""
        h2 = sha1(U32(inner_rc) + U32(code) + out)
        digest = sha1(bytes(4) + U32(0xE7) + rsp[10:26] + h2)
        assert mac == hmac1(self.secret, digest + self.even + odd + keep), label
        self.log_in(h1, key)
        self.pending = (h2, struct.pack(">Q", count), locality)
        x.step("in transport: %s" % label, rc, "0x%x %s %s" % (inner_rc, keep.hex(), out.hex() if show else len(out)))
        return inner_rc, out


def trailer(x, ordinal, params, secret):
    s, odd = x.t.oiap(), x.t.random(20)
    mac = hmac1(secret, sha1(U32(ORD[ordinal]) + params) + s.nonce_even + odd + b"\0")
    return U32(s.handle) + odd + b"\0" + mac


def prepare(x):
    ready(x)
    rc, _, out = x.t.raw("OwnerReadInternalPub", params=U32(KH_SRK), auths=[Auth(x.t.oiap(), OWNER)])
    x.srk = x.t.pubkey_modulus(out)


CIPHERS = (("plain", 0, 0, 0), ("MGF1", 1, 7, 1), ("AES-CTR", 1, 6, 4), ("AES-OFB", 1, 6, 5))


def transports(x):
    prepare(x)
    x.raw("Extend 12", "Extend", params=U32(12) + sha1(b"transport"))
    for label, attributes, alg, scheme in CIPHERS:
        for log in (0, 2):
            s = Transport(x, "%s, %d" % (label, log), attributes | log, alg, scheme)
            for ordinal, handles, params in (
                    ("PcrRead", b"", U32(12)), ("PcrRead", b"", U32(99)), ("DirRead", b"", U32(0)),
                    ("Extend", b"", U32(99) + bytes(20)), ("PcrRead", b"", b""), ("GetCapability", b"", U32(6) + U32(0)),
                    ("FlushSpecific", U32(0x01999999), U32(2))):
                s.run("%s %s" % (label, ordinal), ordinal, handles, params)
            body = U32(20) + bytes(20)
            s.run("%s Sign" % label, "Sign", U32(x.keys["sign"]), body, trailer(x, "Sign", body, KEY), show=False)
            s.run("%s Sign, wrong secret" % label, "Sign", U32(x.keys["sign"]), body, trailer(x, "Sign", body, DATA))
            s.run("%s GetPubKey" % label, "GetPubKey", U32(x.keys["free"]), b"", show=False)
            s.run("%s, wrapped in itself" % label, "ExecuteTransport", b"", U32(0))
            x.t.flush(struct.unpack(">I", s.handle)[0], 4)
        forgive(x)
    # 18.3: of DSAP entityValue is logged, and no key.
    s = Transport(x, "for DSAP", 2)
    s.run("DSAP, logged", "DSAP", U16(9) + U32(x.keys["sign"]) + bytes(20) + U32(4), b"junk")
    x.t.flush(struct.unpack(">I", s.handle)[0], 4)
    for label, args in (("3DES", (1, 3, 4)), ("CBC", (1, 6, 0xFF)), ("MGF1 with a mode", (1, 7, 4))):
        Transport(x, label, *args)
    t = x.t
    params = U16(0x1E) + U32(1) + U32(7) + U16(1) + U32(20) + bytes(20)
    x.raw("EstablishTransport in the clear, encrypting", "EstablishTransport", handles=U32(KH_TRANSPORT), params=params)
    params = U16(0x1E) + U32(0) + U32(7) + U16(1) + U32(19) + bytes(19)
    x.raw("EstablishTransport, short secret", "EstablishTransport", handles=U32(KH_TRANSPORT), params=params)
    params = U16(0x1E) + U32(0) + U32(7) + U16(1) + U32(20) + bytes(20)
    for name in ("sign", "store"):
        x.raw("EstablishTransport for %s" % name, "EstablishTransport", handles=U32(x.keys[name]), params=params,
              auths=[Auth(t.oiap(), KEY)])
    x.raw("EstablishTransport, no key", "EstablishTransport", handles=U32(0x01999999), params=params)
    x.raw("EstablishTransport, no session", "EstablishTransport", handles=U32(KH_SRK), params=params)
    close_sessions(x, "transports")


def exclusive(x):
    prepare(x)
    s = Transport(x, "exclusive", 4)
    s.run("exclusive PcrRead", "PcrRead", b"", U32(1))
    s.run("exclusive PcrRead again", "PcrRead", b"", U32(1))
    x.raw("PcrRead outside", "PcrRead", params=U32(1))
    s.run("exclusive, after it", "PcrRead", b"", U32(1))
    a, b = Transport(x, "first", 0), Transport(x, "exclusive again", 4)
    a.run("first PcrRead", "PcrRead", b"", U32(1))
    b.run("exclusive, after the first", "PcrRead", b"", U32(1))
    a.run("first, wrong secret", "PcrRead", b"", U32(1), wrong=True)
    a.run("first, after it", "PcrRead", b"", U32(1))
    c = Transport(x, "SHA-1", 0)
    c.run("SHA1Start", "SHA1Start", show=False)
    c.run("SHA1Complete", "SHA1Complete", params=U32(1) + b"x")
    c.run("SHA1Start again", "SHA1Start", show=False)
    x.raw("SHA1Complete outside", "SHA1Complete", params=U32(1) + b"x")
    close_sessions(x, "exclusive")


def release(x):
    prepare(x)
    t = x.t

    def signed(label, key, secret, s, odd=None, auth=True):
        odd = t.random(20)
        digest = sha1(U32(0xE8) + bytes(20))
        one = trailer(x, "ReleaseTransportSigned", bytes(20), secret) if auth else b""
        two = s.handle + odd + b"\0" + hmac1(s.secret, digest + s.even + odd + b"\0")
        body = U32(x.keys[key]) + bytes(20) + one + two
        rsp = t.send(U16(0xC3 if auth else 0xC2) + U32(10 + len(body)) + U32(0xE8) + body)
        rc = struct.unpack(">I", rsp[6:10])[0]
        x.step("ReleaseTransportSigned %s" % label, rc, "%d" % len(rsp))
        return rc, digest, rsp
    s = Transport(x, "to be signed", 2)
    rc, digest, rsp = signed("at once", "sign", KEY, s)
    s.log_out(digest, rsp[14:46], rsp[10:14])
    size = struct.unpack(">I", rsp[46:50])[0]
    good = verify_sha1(key_modulus(x.blobs["sign"]), sha1(U16(0x05) + b"TRAN" + bytes(20) + U32(20) + s.log), rsp[50:50 + size])
    x.step("its signature", 0, str(good))
    assert good
    signed("free key", "free", KEY, Transport(x, "for a free key", 2), auth=False)
    signed("no session", "sign", KEY, Transport(x, "no session", 2), auth=False)
    signed("storage key", "store", KEY, Transport(x, "storage key", 2))
    signed("no log", "sign", KEY, Transport(x, "no log", 0))
    signed("wrong secret", "sign", DATA, Transport(x, "wrong secret", 2))
    s = Transport(x, "wrong transport secret", 2)
    s.secret = bytes(20)
    signed("wrong transport secret", "sign", KEY, s)
    close_sessions(x, "release")


SCENES = (audit, families, delegating, rows, permission_bits, key_rows, transports, exclusive, release)
