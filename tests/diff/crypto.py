# SPDX-License-Identifier: Apache-2.0
"""SHA-1 threads, data bound and sealed elsewhere, keys that certify, quotes of version 1.2, secrets that change."""
import struct

from authority import do, ready
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import U16, U32, owned, reboot
from tpm12 import (ET_KEY, ET_KEYHANDLE, ET_OWNER, ET_SRK, KH_OWNER, KH_SRK, Auth, encrypt, key_modulus, mgf1, oaep,
                   oaep_block, pcr_selection, pkcs1, sha1, verify_sha1, xor)

ET_DATA, PID_ADCP = 3, 4


# ---- 13: SHA-1 ----
def hashes(x):
    reboot(x)
    blob = lambda n: U32(n) + bytes(n)
    steps = (
        ("SHA1Update", blob(64)), ("SHA1Complete", blob(0)), ("SHA1CompleteExtend", U32(10) + blob(0)),
        ("SHA1Start", b""), ("SHA1Update", blob(64)), ("SHA1Update", blob(0)), ("SHA1Update", blob(640)),
        ("SHA1Complete", blob(0)), ("SHA1Complete", blob(0)),
        ("SHA1Start", b""), ("SHA1Complete", blob(64)), ("SHA1Start", b""), ("SHA1Complete", blob(65)),
        ("SHA1Complete", blob(1)), ("SHA1Start", b""), ("SHA1Update", blob(63)), ("SHA1Update", blob(64)),
        ("SHA1Start", b""), ("SHA1Update", blob(4032)), ("SHA1Complete", blob(3)),
        ("SHA1Start", b""), ("SHA1Start", b""), ("SHA1Update", blob(64)), ("SHA1CompleteExtend", U32(10) + blob(7)),
        ("SHA1Start", b""), ("SHA1CompleteExtend", U32(16) + blob(64)), ("PcrRead", U32(16)),
        ("SHA1Start", b""), ("SHA1CompleteExtend", U32(24) + blob(1)), ("SHA1Complete", blob(1)),
        ("SHA1Start", b""), ("SHA1CompleteExtend", U32(17) + blob(1)), ("SHA1Complete", blob(1)),
        ("SHA1Start", b""), ("SHA1CompleteExtend", U32(10) + blob(65)), ("SHA1Complete", blob(1)),
        ("SHA1Start", b""), ("PcrRead", U32(0)), ("SHA1Update", blob(64)),
        ("SHA1Start", b""), ("PcrRead", U32(99)), ("SHA1Complete", blob(0)),
        ("SHA1Start", b""), ("SHA1Complete", U32(5) + bytes(4)), ("SHA1Complete", blob(0)),
    )
    for n, (ordinal, params) in enumerate(steps):
        x.raw("SHA-1 %d: %s" % (n, ordinal), ordinal, params=params)
    x.p.locality(3)
    x.raw("SHA-1 at locality 3", "SHA1Start")
    x.raw("SHA1CompleteExtend 17 at locality 3", "SHA1CompleteExtend", params=U32(17) + blob(5))
    x.p.locality(0)


# ---- Keys ----
def keys(x):
    """Loaded: name to (handle, modulus)."""
    t = x.t
    ready(x)
    if not hasattr(x, "shapes"):
        x.shapes = {}
        for name, kw in (("bind", dict(usage=0x14, enc=3)), ("bind15", dict(usage=0x14, enc=2)),
                         ("legacy", dict(usage=0x15, sig=2, enc=3)), ("legacy15", dict(usage=0x15, sig=2, enc=2)),
                         ("der", dict(usage=0x10, sig=3, bits=1024)), ("info", dict(usage=0x10, sig=4, bits=1024)),
                         ("migratable", dict(usage=0x10, sig=2, bits=1024, flags=2)), ("read", dict(usage=0x11, enc=3, auth_usage=3))):
            rc, _, x.shapes[name] = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(**kw))
            assert rc == 0, (name, hex(rc))
    for name, blob in x.shapes.items():
        rc, x.keys[name] = t.load_key2(KH_SRK, SRK, blob)
        assert rc == 0, (name, hex(rc))
    x.moduli = {name: key_modulus(blob) for name, blob in list(x.blobs.items()) + list(x.shapes.items())}


def oaep_only(n, plain):
    """OAEP that no reader of PKCS #1 v1.5 takes for its own: one block in 256 begins with 00 02, as theirs do."""
    block = oaep_block(len(n), plain)
    while block[1] == 2:
        block = oaep_block(len(n), plain)
    return encrypt(n, block)


def binding(x):
    keys(x)
    bound = lambda head, text=b"text": bytes(head) + text
    for name in ("bind", "bind15", "legacy", "legacy15", "store", "sign"):
        n = x.moduli[name]
        for pad, padded in (("OAEP", oaep_only), ("PKCS1", pkcs1)):
            for label, plain in (("bound", bound((1, 1, 0, 0, 2))), ("nothing bound", bound((1, 1, 0, 0, 2), b"")),
                                 ("sealed", bound((1, 1, 0, 0, 5))), ("version 1.2", bound((1, 2, 0, 0, 2))),
                                 ("revision", bound((1, 1, 3, 4, 2))), ("short", b"\1\1\0"), ("bare", b"bare text")):
                if name in ("store", "sign") and label != "bound":
                    continue
                enc = padded(n, plain)
                x.raw("UnBind %s, %s, %s" % (name, pad, label), "UnBind", handles=U32(x.keys[name]),
                      params=U32(len(enc)) + enc, auths=[Auth(x.t.oiap(), KEY)])
    enc = oaep(x.moduli["bind"], bound((1, 1, 0, 0, 2)))
    for label, data in (("empty", b""), ("one byte less", enc[:-1]), ("one byte more", enc + b"\0"), ("zeros", bytes(256))):
        x.raw("UnBind, %s" % label, "UnBind", handles=U32(x.keys["bind"]), params=U32(len(data)) + data,
              auths=[Auth(x.t.oiap(), KEY)])
    params = U32(len(enc)) + enc
    do(x, "UnBind, wrong secret", "UnBind", U32(x.keys["bind"]), params, [Auth(x.t.oiap(), DATA)])
    do(x, "UnBind, no session", "UnBind", U32(x.keys["bind"]), params, [])
    do(x, "UnBind, OSAP", "UnBind", U32(x.keys["bind"]), params, [Auth(x.t.osap(ET_KEYHANDLE, x.keys["bind"], KEY))])
    forgive(x)
    x.raw("LoadKey", "LoadKey", handles=U32(KH_SRK), params=x.blobs["sign"], auths=[Auth(x.t.oiap(), SRK)], show=False)
    do(x, "LoadKey, wrong secret", "LoadKey", U32(KH_SRK), x.blobs["sign"], [Auth(x.t.oiap(), DATA)])
    do(x, "LoadKey, no session", "LoadKey", U32(KH_SRK), x.blobs["sign"], [])
    do(x, "LoadKey, below a signing key", "LoadKey", U32(x.keys["sign"]), x.blobs["sign"], [Auth(x.t.oiap(), KEY)])
    forgive(x)
    close_sessions(x, "binding")


def crypted(session, odd, aes, data):
    """Our own AES is not worth it: XOR only."""
    return xor(data, mgf1(session.nonce_even + odd + b"XOR" + session.key, len(data)))


def sealx(x, label, text, info=b"", handle=KH_SRK, secret=SRK, kind=ET_SRK):
    t = x.t
    session = t.osap(kind, handle, secret)
    odd = t.random(20)
    enc = crypted(session, odd, False, text)
    params = session.enc_auth(DATA) + U32(len(info)) + info + U32(len(enc)) + enc
    old, t.random = t.random, lambda n: odd
    rc, _, out = t.raw("Sealx", handles=U32(handle), params=params, auths=[Auth(session, None, True)])
    t.random = old
    x.step("Sealx %s" % label, rc, out[:-256] if not rc else b"")
    return out


def unsealx(x, label, blob, kind=ET_SRK, auths=None):
    t = x.t
    session = t.osap(kind, KH_SRK, SRK) if auths is None else None
    even, odd = session.nonce_even if session else b"", t.random(20)
    old, t.random = t.random, lambda n: odd
    rc, _, out = t.raw("Unseal", handles=U32(KH_SRK), params=blob,
                       auths=auths or [Auth(session, None, True), Auth(t.oiap(), DATA, True)])
    t.random = old
    if not rc and session:
        session.nonce_even = even
        out = crypted(session, odd, False, out[4:])
    x.step("Unseal of Sealx %s" % label, rc, out)


def sealing(x):
    keys(x)
    t = x.t
    for n in (0, 1, 20, 172, 173, 300):
        blob = sealx(x, "%d bytes" % n, bytes(range(256))[:n] if n < 256 else bytes(n))
        if blob and n < 172:
            unsealx(x, "%d bytes" % n, blob)
    blob = sealx(x, "for the odd ways", b"sealed")
    unsealx(x, "with OIAP", blob, auths=[Auth(t.oiap(), SRK), Auth(t.oiap(), DATA)])
    unsealx(x, "with one session", blob, auths=[Auth(t.oiap(), DATA)])
    forgive(x)
    spoiled = bytearray(blob)
    spoiled[3] ^= 4
    unsealx(x, "with another scheme", bytes(spoiled))
    close_sessions(x, "sealing")
    sel = pcr_selection((10,))
    digest = sha1(sel + U32(20) + t.pcr(10))
    long_info = lambda loc, d: struct.pack(">HBB", 6, 1, loc) + sel + sel + bytes(20) + d
    for label, info in (("1.1", sel + digest + digest), ("1.2", long_info(0x1F, digest)), ("1.2, wrong value", long_info(0x1F, DATA)),
                        ("1.2, locality 2", long_info(4, digest)), ("1.2, too long", long_info(0x1F, digest) + b"\0")):
        blob = sealx(x, "to PCRs, %s" % label, b"bound", info)
        if blob and "too long" not in label:
            unsealx(x, "to PCRs, %s" % label, blob)
    sealx(x, "under a signing key", b"x", b"", x.keys["sign"], KEY, ET_KEYHANDLE)
    do(x, "Sealx with OIAP", "Sealx", U32(KH_SRK), bytes(20) + U32(0) + U32(1) + b"x", [Auth(t.oiap(), SRK)])
    close_sessions(x, "sealx")


# ---- 13.8, 13.9, 16.5 ----
def certified(x, label, ordinal, handles, params, auths, signer):
    rc, _, out = x.t.raw(ordinal, handles=handles, params=params, auths=auths)
    value = b""
    if not rc:
        size = len(x.moduli[signer])
        info, sig = out[:-4 - size], out[-size:]
        at = info.find(sha1(b"antireplay"))
        # The digest before the nonce is of the modulus.
        value = "%s %s %s" % (info[:at - 20].hex(), info[at:].hex(), verify_sha1(x.moduli[signer], sha1(info), sig))
    x.step(label, rc, value)


def certifying(x):
    keys(x)
    t = x.t
    nonce = sha1(b"antireplay")
    for signer in ("sign", "info", "der", "legacy", "store", "free"):
        for target in ("bind", "legacy", "store", "sign", "migratable", "free", "read"):
            s, k = x.keys[signer], x.keys[target]
            certified(x, "CertifyKey by %s of %s" % (signer, target), "CertifyKey", U32(s) + U32(k), nonce,
                      [Auth(t.oiap(), KEY), Auth(t.oiap(), KEY)], signer)
            certified(x, "CertifyKey2 by %s of %s" % (signer, target), "CertifyKey2", U32(k) + U32(s), bytes(20) + nonce,
                      [Auth(t.oiap(), KEY), Auth(t.oiap(), KEY)], signer)
            flush_sessions(x)
    for signer in ("sign", "free"):
        for target in ("bind", "free", "read"):
            for count in (0, 1):
                s, k = x.keys[signer], x.keys[target]
                auths = [Auth(t.oiap(), KEY)] * count
                certified(x, "CertifyKey by %s of %s, %d sessions" % (signer, target, count), "CertifyKey", U32(s) + U32(k),
                          nonce, auths, signer)
                auths = [Auth(t.oiap(), KEY)] * count
                certified(x, "CertifyKey2 by %s of %s, %d sessions" % (signer, target, count), "CertifyKey2",
                          U32(k) + U32(s), bytes(20) + nonce, auths, signer)
                forgive(x)
    for bad in (0, 1):
        for ordinal, handles, params in (("CertifyKey", U32(x.keys["sign"]) + U32(x.keys["bind"]), nonce),
                                         ("CertifyKey2", U32(x.keys["bind"]) + U32(x.keys["sign"]), bytes(20) + nonce)):
            do(x, "%s, wrong secret %d" % (ordinal, bad), ordinal, handles, params,
               [Auth(t.oiap(), DATA if bad == i else KEY) for i in (0, 1)])
            forgive(x)
    for label, (s, k) in (("signer", (0x01FFFFF0, x.keys["bind"])), ("target", (x.keys["sign"], 0x01FFFFF0)),
                          ("SRK", (x.keys["sign"], KH_SRK))):
        certified(x, "CertifyKey, %s" % label, "CertifyKey", U32(s) + U32(k), nonce,
                  [Auth(t.oiap(), KEY), Auth(t.oiap(), SRK if label == "SRK" else KEY)], "sign")
    close_sessions(x, "certifying")


def bound_keys(x):
    """Certificates of keys that are bound to PCRs and localities."""
    keys(x)
    t = x.t
    nonce = sha1(b"antireplay")
    for name in list(x.keys):
        if name not in ("sign", "free"):
            t.flush(x.keys[name], 1)
    for label, pcrs, version, at_release, flags in (
            ("1.1, PCR 10", (10,), 1, 0x1F, 0), ("1.1, PCR 16", (16,), 1, 0x1F, 0), ("1.2, PCR 10", (10,), 2, 0x1F, 0),
            ("1.2, PCR 16", (16,), 2, 0x1F, 0), ("1.2, locality 0", (10,), 2, 1, 0), ("1.2, locality 2", (10,), 2, 4, 0),
            ("1.2, no PCR", (), 2, 0x1F, 0), ("1.1, no PCR", (), 1, 0x1F, 0), ("1.1, ignored on read", (10,), 1, 0x1F, 8)):
        sel = pcr_selection(pcrs)
        digest = sha1(sel + U32(20 * len(pcrs)) + b"".join(t.pcr(n) for n in pcrs)) if pcrs else bytes(20)
        template = bytearray(t.key_template(usage=0x10, sig=2, bits=1024, flags=flags))
        info = sel + digest + digest if version == 1 else struct.pack(">HBB", 6, 1, at_release) + sel + sel + digest + digest
        if version == 2:
            template[:4] = struct.pack(">HH", 0x28, 0)
        body = bytes(template[:-12]) + U32(len(info)) + info + U32(0) + U32(0)
        rc, _, blob = t.create_wrap_key(KH_SRK, SRK, KEY, body)
        x.step("key bound, %s" % label, rc)
        rc, key = t.load_key2(KH_SRK, SRK, blob)
        for when in ("as it should be", "PCR 10 changed"):
            for ordinal, handles, params in (("CertifyKey", U32(x.keys["sign"]) + U32(key), nonce),
                                             ("CertifyKey2", U32(key) + U32(x.keys["sign"]), bytes(20) + nonce)):
                certified(x, "%s of a key bound, %s, %s" % (ordinal, label, when), ordinal, handles, params,
                          [Auth(t.oiap(), KEY), Auth(t.oiap(), KEY)], "sign")
            if when == "as it should be":
                t.extend(10, sha1(b"changed"))
        t.flush(key, 1)
    close_sessions(x, "bound keys")


def quoting(x):
    keys(x)
    t = x.t
    for locality in (0, 3):
        x.p.locality(locality)
        for name in ("sign", "info", "der", "legacy", "store", "free"):
            for pcr_set in ((), (0,), (10, 16), tuple(range(24))):
                for version in (0, 1):
                    params = sha1(b"external") + pcr_selection(pcr_set) + bytes([version])
                    rc, _, out = t.raw("Quote2", handles=U32(x.keys[name]), params=params, auths=[Auth(t.oiap(), KEY)])
                    value = b""
                    if not rc:
                        size = len(x.moduli[name])
                        short, rest = out[:26], out[26:]
                        vsize = struct.unpack(">I", rest[:4])[0]
                        signed = sha1(b"\0\x36QUT2" + sha1(b"external") + short + rest[4:4 + vsize])
                        value = "%s %s %s" % (short.hex(), bool(vsize), verify_sha1(x.moduli[name], signed, out[-size:]))
                    x.step("Quote2 by %s of %s, version %d, locality %d" % (name, pcr_set, version, locality), rc, value)
    x.p.locality(0)
    sel = pcr_selection((0,))
    for label, params in (("version 2", bytes(20) + sel + b"\2"), ("long selection", bytes(20) + pcr_selection((), 4) + b"\0"),
                          ("short selection", bytes(20) + pcr_selection((), 0) + b"\0")):
        do(x, "Quote2, %s" % label, "Quote2", U32(x.keys["sign"]), params, [Auth(t.oiap(), KEY)])
    do(x, "Quote2, wrong secret", "Quote2", U32(x.keys["sign"]), bytes(20) + sel + b"\0", [Auth(t.oiap(), DATA)])
    forgive(x)
    close_sessions(x, "quoting")


# ---- 17 ----
def change(x, label, enc, kind, old, new=OWNER, protocol=PID_ADCP, parent=(ET_SRK, KH_SRK, SRK), entity=None, oiap=False):
    t = x.t
    a = t.osap(*parent) if not oiap else t.oiap()
    b = entity or t.oiap()
    hidden = a.enc_auth(new) if not oiap else bytes(20)
    rc, _, out = t.raw("ChangeAuth", handles=U32(parent[1]),
                       params=U16(protocol) + hidden + U16(kind) + U32(len(enc)) + enc,
                       auths=[Auth(a, parent[2], True), Auth(b, old, True)])
    x.step("ChangeAuth %s" % label, rc, "%d" % len(out))
    return out[4:]


def changing(x):
    keys(x)
    t = x.t
    blob = x.blobs["sign"]
    size = 256
    enc = change(x, "of a key", blob[-size:], ET_KEY, KEY)
    rc, key = t.load_key2(KH_SRK, SRK, blob[:-size] + enc)
    x.step("LoadKey2 after ChangeAuth", rc)
    x.step("Sign, old secret", t.sign(key, KEY, bytes(20))[0])
    x.step("Sign, new secret", t.sign(key, OWNER, bytes(20))[0])
    forgive(x)
    rc, _, sealed = t.seal(KH_SRK, SRK, DATA, b"sealed")
    enc = change(x, "of data", sealed[-size:], ET_DATA, DATA)
    x.step("Unseal, old secret", t.unseal(KH_SRK, SRK, DATA, sealed[:-size] + enc)[0])
    x.step("Unseal, new secret", *t.unseal(KH_SRK, SRK, OWNER, sealed[:-size] + enc))
    forgive(x)
    store = x.keys["store"]
    for args in (("a key as data", blob[-size:], ET_DATA, KEY), ("data as a key", sealed[-size:], ET_KEY, DATA),
                 ("of the wrong secret", blob[-size:], ET_KEY, DATA), ("junk", bytes(255) + b"\1", ET_KEY, KEY),
                 ("too short", blob[-size:-1], ET_KEY, KEY)):
        change(x, *args)
        forgive(x)
    for kind in (0, 1, 2, 4, 6, 0x0605):
        change(x, "of type 0x%x" % kind, blob[-size:], kind, KEY)
    change(x, "by another protocol", blob[-size:], ET_KEY, KEY, protocol=5)
    change(x, "below a signing key", blob[-size:], ET_KEY, KEY, parent=(ET_KEYHANDLE, x.keys["sign"], KEY))
    change(x, "below another parent", blob[-size:], ET_KEY, KEY, parent=(ET_KEYHANDLE, store, KEY))
    change(x, "parent by OIAP", blob[-size:], ET_KEY, KEY, oiap=True)
    change(x, "entity by OSAP", blob[-size:], ET_KEY, KEY, entity=t.osap(ET_SRK, KH_SRK, SRK))
    forgive(x)
    close_sessions(x, "ChangeAuth")


def changing_owner(x):
    keys(x)
    t = x.t

    def change_owner(label, kind, new, owner=OWNER, protocol=PID_ADCP, session=None):
        s = session or t.osap(ET_OWNER, KH_OWNER, owner)
        hidden = s.enc_auth(new) if s.key else bytes(20)
        x.step("ChangeAuthOwner %s" % label,
               t.raw("ChangeAuthOwner", params=U16(protocol) + hidden + U16(kind), auths=[Auth(s, owner, True)])[0])
    seal = lambda secret: t.seal(KH_SRK, secret, DATA, b"x")[0]
    change_owner("of the owner", ET_OWNER, DATA)
    do(x, "owner's command, old secret", "OwnerSetDisable", b"", b"\0", [Auth(t.oiap(), OWNER)])
    do(x, "owner's command, new secret", "OwnerSetDisable", b"", b"\0", [Auth(t.oiap(), DATA)])
    change_owner("and back", ET_OWNER, OWNER, DATA)
    change_owner("of the SRK", ET_SRK, KEY)
    x.step("Seal, old secret", seal(SRK))
    x.step("Seal, new secret", seal(KEY))
    change_owner("of the SRK, back", ET_SRK, SRK)
    for kind in (0, 1, 3, 5, 0x0602):
        change_owner("of type 0x%x" % kind, kind, KEY)
    change_owner("by another protocol", ET_OWNER, KEY, protocol=5)
    change_owner("by OIAP", ET_OWNER, KEY, session=t.oiap())
    change_owner("by a session of the SRK", ET_OWNER, KEY, session=t.osap(ET_SRK, KH_SRK, SRK))
    forgive(x)
    flush_sessions(x)
    for kind in (ET_OWNER,):
        other = t.osap(ET_OWNER, KH_OWNER, OWNER)
        stays = t.oiap()
        change_owner("with other sessions, type %d" % kind, kind, OWNER)
        close_sessions(x, "ChangeAuthOwner, type %d" % kind)


SCENES = (hashes, binding, sealing, certifying, bound_keys, quoting, changing, changing_owner)
