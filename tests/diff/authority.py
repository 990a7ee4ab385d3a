# SPDX-License-Identifier: Apache-2.0
"""Sessions used and misused: whose secret, which kind, twice, stale, ended; and what a TPM remembers of wrong ones."""
import struct

from scenario import DATA, KEY, OWNER, SRK, close_sessions, forgive
from states import U16, U32, owned, reboot
from tpm12 import ET_KEYHANDLE, ET_NV, ET_OWNER, ET_SRK, KH_EK, KH_OWNER, KH_SRK, Auth, Session, hmac1, sha1

OWNER_RW, AUTH_RW = 0x00020002, 0x00040004


def ready(x):
    """After a reboot: an owner, a signing, a storage and a free signing key, one area of the owner and one with a
    secret."""
    t = x.t
    if not getattr(x, "blobs", None):
        owned(x)
        x.blobs = {}
        for name, kw in (("sign", dict(usage=0x10, sig=2, bits=1024)), ("store", dict(usage=0x11, enc=3)),
                         ("free", dict(usage=0x10, sig=2, auth_usage=0, bits=1024))):
            rc, _, x.blobs[name] = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(**kw))
            assert rc == 0, hex(rc)
        assert t.nv_define(OWNER, 0x2001, 16, OWNER_RW) == 0
        assert t.nv_define(OWNER, 0x2002, 16, AUTH_RW, DATA) == 0
    reboot(x)
    x.keys = {}
    for name, blob in x.blobs.items():
        rc, x.keys[name] = t.load_key2(KH_SRK, SRK, blob)
        assert rc == 0, hex(rc)


def commands(x):
    """(label, ordinal, handles, parameters, secrets)"""
    rc, _, sealed = x.t.seal(KH_SRK, SRK, DATA, b"sealed")
    assert rc == 0, hex(rc)
    sign, store = U32(x.keys["sign"]), U32(x.keys["store"])
    return (
        ("OwnerReadInternalPub", "OwnerReadInternalPub", b"", U32(KH_EK), (OWNER,)),
        ("Sign", "Sign", sign, U32(20) + bytes(20), (KEY,)), ("Quote", "Quote", sign, bytes(20) + U16(3) + b"\1\0\0", (KEY,)),
        ("GetPubKey", "GetPubKey", store, b"", (KEY,)), ("LoadKey2", "LoadKey2", U32(KH_SRK), x.blobs["sign"], (SRK,)),
        ("Unseal", "Unseal", U32(KH_SRK), sealed, (SRK, DATA)),
        ("NV_ReadValue", "NV_ReadValue", b"", U32(0x2001) + U32(0) + U32(4), (OWNER,)),
        ("NV_WriteValue", "NV_WriteValue", b"", U32(0x2001) + U32(0) + U32(1) + b"x", (OWNER,)),
        ("NV_ReadValueAuth", "NV_ReadValueAuth", b"", U32(0x2002) + U32(0) + U32(4), (DATA,)),
        ("NV_WriteValueAuth", "NV_WriteValueAuth", b"", U32(0x2002) + U32(0) + U32(1) + b"y", (DATA,)),
        ("OwnerSetDisable", "OwnerSetDisable", b"", b"\0", (OWNER,)), ("ResetLockValue", "ResetLockValue", b"", b"", (OWNER,)),
    )


def outs(ordinal):
    return 1 if ordinal == "LoadKey2" else 0


def do(x, label, ordinal, handles, params, auths):
    """The return code only, and the key that may have been loaded goes again."""
    rc, handle, _ = x.t.raw(ordinal, handles=handles, params=params, auths=auths, out_handles=outs(ordinal))
    x.step(label, rc)
    if handle:
        x.t.flush(struct.unpack(">I", handle)[0], 1)
    return rc


def right(x):
    """continueAuthSession TRUE, then FALSE, then once more."""
    ready(x)
    for label, ordinal, handles, params, secrets in commands(x):
        sessions = [x.t.oiap() for _ in secrets]
        for n, keep in enumerate((True, False, True)):
            do(x, "%s, use %d of the session" % (label, n), ordinal, handles, params,
               [Auth(s, secret, keep) for s, secret in zip(sessions, secrets)])
        close_sessions(x, label)


def wrong(x):
    """One wrong secret at a time; nobody is forgotten."""
    ready(x)
    for label, ordinal, handles, params, secrets in commands(x):
        for bad in range(len(secrets)):
            auths = [Auth(x.t.oiap(), sha1(b"wrong") if i == bad else secret) for i, secret in enumerate(secrets)]
            do(x, "%s, wrong secret %d" % (label, bad), ordinal, handles, params, auths)
            close_sessions(x, "%s, wrong secret %d" % (label, bad))
            if label != "ResetLockValue":
                forgive(x)


def stale(x):
    """An old nonce, an ended session, a handle of no session, the same session twice, another's session."""
    ready(x)
    t = x.t
    for label, ordinal, handles, params, secrets in commands(x):
        if label == "ResetLockValue":
            continue
        sessions = [t.oiap() for _ in secrets]
        sessions[0].nonce_even = bytes(20)
        do(x, "%s, stale nonce" % label, ordinal, handles, params, [Auth(s, a) for s, a in zip(sessions, secrets)])
        forgive(x)
        if len(secrets) == 2:
            one = t.oiap()
            do(x, "%s, first session ended" % label, ordinal, handles, params,
               [Auth(Session(0x02FFFFFE, bytes(20)), secrets[0]), Auth(one, secrets[1])])
            close_sessions(x, "%s, first session ended" % label)
    close_sessions(x, "stale")


def entities(x):
    """Sessions of one entity for another."""
    ready(x)
    t = x.t
    openers = (("SRK", ET_SRK, 0, SRK), ("SRK by handle", ET_KEYHANDLE, KH_SRK, SRK), ("owner", ET_OWNER, KH_OWNER, OWNER),
               ("owner, any value", ET_OWNER, 0x77, OWNER), ("sign", ET_KEYHANDLE, x.keys["sign"], KEY),
               ("store", ET_KEYHANDLE, x.keys["store"], KEY), ("area of the owner", ET_NV, 0x2001, bytes(20)),
               ("area", ET_NV, 0x2002, DATA))
    for label, ordinal, handles, params, secrets in commands(x):
        if label in ("ResetLockValue", "Unseal"):
            continue
        for opener, kind, value, secret in openers:
            do(x, "%s with OSAP on %s" % (label, opener), ordinal, handles, params, [Auth(t.osap(kind, value, secret))])
            forgive(x)
        close_sessions(x, "%s by OSAP" % label)
    for kind in range(0x10):
        for value in (0, KH_SRK, KH_OWNER, KH_EK, 0x40000004, 0x2001, x.keys["sign"]):
            known = x.keys["sign"] == value
            x.raw("OSAP type 0x%x, value %s" % (kind, "sign" if known else "0x%x" % value), "OSAP",
                  params=struct.pack(">HI", kind, value) + bytes(20), show=False)
        close_sessions(x, "OSAP type 0x%x" % kind)
    for adip in (0x06, 0x05, 0xFF):
        x.raw("OSAP ADIP 0x%x" % adip, "OSAP", params=struct.pack(">HI", adip << 8 | 4, 0) + bytes(20), show=False)


def twice(x):
    ready(x)
    t = x.t
    rc, _, sealed = t.seal(KH_SRK, SRK, SRK, b"sealed")
    s = t.oiap()
    odd = [t.random(20), t.random(20)]
    digest = sha1(U32(0x18) + sealed)
    body = U32(KH_SRK) + sealed
    for nonce in odd:
        body += U32(s.handle) + nonce + b"\1" + hmac1(SRK, digest + s.nonce_even + nonce + b"\1")
    rsp = t.send(struct.pack(">HII", 0xC3, 10 + len(body), 0x18) + body)
    x.step("Unseal, the same session twice", struct.unpack(">I", rsp[6:10])[0])
    close_sessions(x, "the same session twice")


def flushed(x):
    """Sessions that hang on what goes away."""
    ready(x)
    t = x.t
    s = t.osap(ET_KEYHANDLE, x.keys["sign"], KEY)
    x.step("FlushSpecific of the key", t.flush(x.keys["sign"], 1))
    close_sessions(x, "the flushed key")
    rc, x.keys["sign"] = t.load_key2(KH_SRK, SRK, x.blobs["sign"])
    rc, again = t.load_key2(KH_SRK, SRK, x.blobs["sign"])
    s = t.osap(ET_KEYHANDLE, x.keys["sign"], KEY)
    x.step("FlushSpecific of the same key's other handle", t.flush(again, 1))
    do(x, "Sign after that", "Sign", U32(x.keys["sign"]), U32(20) + bytes(20), [Auth(s)])
    s = t.osap(ET_NV, 0x2002, DATA)
    x.step("NV_DefineSpace releases the area", t.nv_define(OWNER, 0x2002, 0, AUTH_RW))
    close_sessions(x, "the released area")
    x.step("NV_DefineSpace", t.nv_define(OWNER, 0x2002, 16, AUTH_RW, DATA))
    s = t.osap(ET_NV, 0x2002, DATA)
    x.step("NV_DefineSpace over it", t.nv_define(OWNER, 0x2002, 8, AUTH_RW, KEY))
    do(x, "NV_ReadValueAuth with the old session", "NV_ReadValueAuth", b"", U32(0x2002) + U32(0) + U32(4), [Auth(s)])
    forgive(x)
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    x.step("SaveState with sessions", t.raw("SaveState")[0])
    close_sessions(x, "SaveState")
    for n in range(17):
        rc, _, _ = t.raw("OIAP", out_handles=1)
        x.step("OIAP %d" % n, rc)
        if rc:
            break
    x.step("OSAP, none left", t.raw("OSAP", params=struct.pack(">HI", 4, 0) + bytes(20))[0])
    close_sessions(x, "all of them")


def new_secrets(x):
    """Commands that bring a secret need OSAP, and end the session whatever it says."""
    ready(x)
    t = x.t
    template = t.key_template(usage=0x10, sig=2, bits=512)
    for label, ordinal, handles, params in (
            ("CreateWrapKey", "CreateWrapKey", U32(KH_SRK), bytes(40) + template),
            ("Seal", "Seal", U32(KH_SRK), bytes(20) + U32(0) + U32(1) + b"x")):
        do(x, "%s with OIAP" % label, ordinal, handles, params, [Auth(t.oiap(), SRK, True)])
        close_sessions(x, "%s with OIAP" % label)
        do(x, "%s with OSAP that should stay" % label, ordinal, handles, params, [Auth(t.osap(ET_SRK, 0, SRK), None, True)])
        close_sessions(x, "%s with OSAP" % label)
    no_pcrs = struct.pack(">H", 3) + bytes(3) + b"\x1f" + bytes(20)
    area = (struct.pack(">HI", 0x18, 0x2003) + no_pcrs + no_pcrs + struct.pack(">HI", 0x17, OWNER_RW) + b"\0\0\0" + U32(8))
    do(x, "NV_DefineSpace with OIAP", "NV_DefineSpace", b"", area + bytes(20), [Auth(t.oiap(), OWNER, True)])
    close_sessions(x, "NV_DefineSpace with OIAP")
    do(x, "NV_DefineSpace with OSAP that should stay", "NV_DefineSpace", b"", area + bytes(20),
       [Auth(t.osap(ET_OWNER, KH_OWNER, OWNER), None, True)])
    close_sessions(x, "NV_DefineSpace with OSAP")
    for flag in (2, 0xFF):
        s = t.oiap()
        nonce = t.random(20)
        digest = sha1(U32(0x81) + U32(KH_EK))
        mac = hmac1(OWNER, digest + s.nonce_even + nonce + bytes([flag]))
        body = U32(KH_EK) + U32(s.handle) + nonce + bytes([flag]) + mac
        rsp = t.send(struct.pack(">HII", 0xC2, 10 + len(body), 0x81) + body)
        x.step("continueAuthSession %d" % flag, struct.unpack(">I", rsp[6:10])[0])
        close_sessions(x, "continueAuthSession %d" % flag)


def absent(x):
    """Keys that need no secret, with one all the same."""
    ready(x)
    t = x.t
    free = U32(x.keys["free"])
    text = U32(20) + bytes(20)
    do(x, "Sign, no secret needed, none given", "Sign", free, text, [])
    do(x, "Sign, no secret needed, right one given", "Sign", free, text, [Auth(t.oiap(), KEY)])
    do(x, "Sign, no secret needed, wrong one given", "Sign", free, text, [Auth(t.oiap(), DATA)])
    forgive(x)
    for label, ordinal, handles, params, secrets in commands(x):
        do(x, "%s without sessions" % label, ordinal, handles, params, [])
    rc, _, sealed = t.seal(KH_SRK, SRK, DATA, b"sealed")
    do(x, "Unseal, only the data's session", "Unseal", U32(KH_SRK), sealed, [Auth(t.oiap(), DATA)])
    do(x, "Unseal, data's session is OSAP", "Unseal", U32(KH_SRK), sealed,
       [Auth(t.oiap(), SRK), Auth(t.osap(ET_SRK, 0, SRK))])
    do(x, "Unseal, parent's session is OSAP", "Unseal", U32(KH_SRK), sealed,
       [Auth(t.osap(ET_SRK, 0, SRK)), Auth(t.oiap(), DATA)])
    close_sessions(x, "absent")


SCENES = (right, wrong, stale, entities, twice, flushed, new_secrets, absent)
