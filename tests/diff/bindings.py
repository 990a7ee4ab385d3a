# SPDX-License-Identifier: Apache-2.0
"""PCRs and localities, and what is bound to them: keys (1.1 and 1.2), sealed data, NV areas; keys of every shape."""
import struct

from authority import ready
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import U32, reboot
from storage import OWNER_RW, area, define
from tpm12 import KH_SRK, Auth, pcr_selection, sha1

ALL_PCRS = range(24)


def pcr_value(x, n):
    return x.raw("PcrRead %d" % n, "PcrRead", params=U32(n))[2]


def extend_matrix(x):
    reboot(x)
    for locality in range(5):
        x.p.locality(locality)
        for n in ALL_PCRS:
            x.raw("Extend %d at locality %d" % (n, locality), "Extend", params=U32(n) + sha1(b"m"))
    x.p.locality(0)


def reset_matrix(x):
    for tos in (False, True):
        reboot(x)
        if tos:
            x.step("HASH sequence", x.p.hash(b"launched"))
        for locality in range(5):
            x.p.locality(locality)
            for n in ALL_PCRS:
                x.raw("PCR_Reset %d at locality %d, TOS %s" % (n, locality, tos), "PCR_Reset", params=pcr_selection((n,)))
            for pcr_set in ((16, 23), (17, 20), (16, 17), (0, 16), ALL_PCRS):
                x.raw("PCR_Reset %s at locality %d, TOS %s" % (pcr_set, locality, tos), "PCR_Reset",
                      params=pcr_selection(pcr_set))
        x.p.locality(0)
        for n in range(16, 24):
            pcr_value(x, n)


def launch(x):
    """The locality 4 hash and the establishment bit."""
    reboot(x)
    for bits in (b"", b"a", bytes(63), bytes(64), bytes(65), bytes(1000)):
        x.step("HASH of %d bytes" % len(bits), x.p.hash(bits))
        pcr_value(x, 17)
        pcr_value(x, 18)
    x.step("established", x.p.established())
    for locality in range(5):
        x.p.locality(locality)
        x.raw("TSC ResetEstablishmentBit at locality %d" % locality, "ResetEstablishmentBit")
        x.step("established", x.p.established())
        x.p.hash(b"again")
    x.p.locality(0)
    for locality in range(5):
        x.step("reset of the bit by locality %d" % locality, x.p.reset_established(locality))
        x.step("established", x.p.established())
    reboot(x)
    x.step("established after a reboot", x.p.established())


def localities(x):
    """What is bound to one locality, at each of them."""
    ready(x)
    forgive(x)
    t, bound = x.t, {}
    nowhere = pcr_selection(())
    for locality in range(5):
        bit = 1 << locality
        info = info_long(nowhere, nowhere, bytes(20), at_release=bit)
        x.p.locality(locality)
        rc, _, sealed = t.seal(KH_SRK, SRK, DATA, b"bound", info)
        # localityAtCreation is the command's.
        x.step("Seal at locality %d" % locality, rc, sealed[:-256])
        x.p.locality(0)
        rc, _, key = t.create_wrap_key(KH_SRK, SRK, KEY, key12(info=info))
        x.step("CreateWrapKey for locality %d" % locality, rc)
        rc, handle = t.load_key2(KH_SRK, SRK, key)
        x.step("LoadKey2 for locality %d" % locality, rc)
        one = nowhere + bytes([bit]) + bytes(20)
        define(x, "for locality %d" % locality, area(0x3600 + locality, 8, OWNER_RW, one, one))
        bound[locality] = sealed, handle
    for locality in range(5):
        x.p.locality(locality)
        for at, (sealed, handle) in bound.items():
            where = "of what is bound to locality %d, at locality %d" % (at, locality)
            x.step("Unseal " + where, *t.unseal(KH_SRK, SRK, DATA, sealed))
            x.step("Sign " + where, t.sign(handle, KEY, bytes(20))[0])
            x.step("NV_WriteValue " + where, t.nv_write(0x3600 + at, 0, b"abc", OWNER))
            x.step("NV_ReadValue " + where, *t.nv_read(0x3600 + at, 0, 3, OWNER))
        params = sha1(b"external") + pcr_selection((17,)) + b"\0"
        rc, _, out = t.raw("Quote2", handles=U32(x.keys["sign"]), params=params, auths=[Auth(t.oiap(), KEY)])
        x.step("Quote2 at locality %d" % locality, rc, out[:26])
        flush_sessions(x)
    x.p.locality(0)
    for at, (_, handle) in bound.items():
        t.flush(handle, 1)
        define(x, "for locality %d, released" % at, area(0x3600 + at, 0, OWNER_RW))
    close_sessions(x, "localities")


def short_info(pcrs, locality, digest, size=3):
    return pcr_selection(pcrs, size) + bytes([locality]) + digest


def info_long(creation, release, digest, at_creation=1, at_release=0x1F, tag=6):
    return (struct.pack(">HBB", tag, at_creation, at_release) + creation + release + bytes(20) + digest)


def composite(x, pcrs, size=3):
    values = b"".join(x.t.pcr(n) for n in sorted(pcrs))
    return sha1(pcr_selection(pcrs, size) + U32(len(values)) + values) if pcrs else bytes(20)


def infos(x):
    sel = pcr_selection
    good = composite(x, (10,))
    return (
        ("none", b""), ("1.1 PCR 10", sel((10,)) + good + good), ("1.1 nothing selected", sel(()) + bytes(40)),
        ("1.1 wrong value", sel((10,)) + DATA + DATA), ("1.1 short selection", sel((), 2) + bytes(40)),
        ("1.1 empty selection", sel((), 0) + bytes(40)), ("1.1 long selection", sel((), 4) + bytes(40)),
        ("1.1 too long", sel((10,)) + good + good + b"\0"),
        ("1.2 PCR 10", info_long(sel((10,)), sel((10,)), good)), ("1.2 nothing selected", info_long(sel(()), sel(()), bytes(20))),
        ("1.2 release only", info_long(sel(()), sel((10,)), good)), ("1.2 wrong value", info_long(sel((10,)), sel((10,)), DATA)),
        ("1.2 locality 1", info_long(sel(()), sel(()), bytes(20), at_release=0x02)),
        ("1.2 locality 1, wrong value", info_long(sel(()), sel((10,)), DATA, at_release=0x02)),
        ("1.2 localities 0 and 4", info_long(sel(()), sel(()), bytes(20), at_release=0x11)),
        ("1.2 no release locality", info_long(sel(()), sel(()), bytes(20), at_release=0)),
        ("1.2 release locality 5", info_long(sel(()), sel(()), bytes(20), at_release=0x20)),
        ("1.2 no creation locality", info_long(sel(()), sel(()), bytes(20), at_creation=0)),
        ("1.2 creation locality 5", info_long(sel(()), sel(()), bytes(20), at_creation=0x20)),
        ("1.2 short selections", info_long(sel((), 2), sel((), 2), bytes(20))),
        ("1.2 long selection", info_long(sel((), 4), sel(()), bytes(20))),
        ("1.2 cut short", info_long(sel(()), sel(()), bytes(20))[:-1]),
        ("1.2 too long", info_long(sel(()), sel(()), bytes(20)) + b"\0"),
        ("tag 7", info_long(sel(()), sel(()), bytes(20), tag=7)),
    )


def sealed(x):
    ready(x)
    t, blobs = x.t, []
    for label, info in infos(x):
        rc, _, blob = t.seal(KH_SRK, SRK, DATA, b"bound", info)
        # What is before the encrypted part must be equal to the last bit.
        x.step("Seal %s" % label, rc, blob[:-256] if not rc else b"")
        if not rc and "too long" not in label:
            blobs.append((label, blob))
    for extended in (False, True):
        for locality in range(5):
            x.p.locality(locality)
            for label, blob in blobs:
                if locality < 2 or "1.2" in label:
                    x.step("Unseal %s at locality %d, extended %s" % (label, locality, extended),
                           *t.unseal(KH_SRK, SRK, DATA, blob))
        x.p.locality(0)
        t.extend(10, sha1(b"other"))
    for locality in (1, 4):
        x.p.locality(locality)
        rc, _, blob = t.seal(KH_SRK, SRK, DATA, b"bound", info_long(pcr_selection((10,)), pcr_selection(()), bytes(20)))
        x.step("Seal at locality %d with PCR 10" % locality, rc, blob[:-256])
    x.p.locality(0)
    label, blob = [b for b in blobs if b[0] == "1.2 PCR 10"][0]
    for at in range(0, len(blob) - 256, 3):
        spoiled = bytearray(blob)
        spoiled[at] ^= 1
        x.step("Unseal, byte %d altered" % at, t.unseal(KH_SRK, SRK, DATA, bytes(spoiled))[0])
    forgive(x)
    x.step("Unseal with trailing bytes", t.unseal(KH_SRK, SRK, DATA, blob + bytes(90))[0])
    for size in (0, 100, 255, 257, 512):
        cut = blob[:-260] + U32(size) + bytes(size)
        x.step("Unseal, %d encrypted bytes" % size, t.unseal(KH_SRK, SRK, DATA, cut)[0])
    rc, _, blob = t.seal(x.keys["store"], KEY, DATA, b"under a storage key")
    x.step("Seal under a storage key", rc)
    x.step("Unseal under it", *t.unseal(x.keys["store"], KEY, DATA, blob))
    x.step("Unseal under another", *t.unseal(KH_SRK, SRK, DATA, blob))
    x.step("Seal under a signing key", t.seal(x.keys["sign"], KEY, DATA, b"x")[0])
    x.step("Unseal under a signing key", t.unseal(x.keys["sign"], KEY, DATA, blob)[0])
    close_sessions(x, "sealed")


# ---- Keys ----
def key11(usage=0x10, flags=0, auth_usage=1, alg=1, enc=1, sig=2, bits=512, primes=2, exponent=b"", info=b"", pub=b"",
          encrypted=b"", version=b"\1\1\0\0"):
    parms = struct.pack(">III", bits, primes, len(exponent)) + exponent
    return (version + struct.pack(">HI", usage, flags) + bytes([auth_usage]) + struct.pack(">IHHI", alg, enc, sig, len(parms)) +
            parms + U32(len(info)) + info + U32(len(pub)) + pub + U32(len(encrypted)) + encrypted)


def key12(**kw):
    return key11(version=struct.pack(">HH", 0x28, 0), **kw)


def make(x, label, template, parent=KH_SRK, secret=SRK):
    rc, _, out = x.t.create_wrap_key(parent, secret, KEY, template)
    x.step("CreateWrapKey %s" % label, rc, "%d bytes" % len(out))
    if rc:
        flush_sessions(x)
    return out


def load(x, label, key, parent=KH_SRK, secret=SRK):
    rc, handle = x.t.load_key2(parent, secret, key)
    x.step("LoadKey2 %s" % label, rc)
    if rc:
        flush_sessions(x)
    return handle


def key_shapes(x):
    ready(x)
    t = x.t
    shapes = [("flags 0x%x" % (1 << n), dict(flags=1 << n)) for n in range(0, 32, 1) if n < 8 or n == 31]
    shapes += [("authDataUsage %d" % n, dict(auth_usage=n)) for n in (0, 2, 3, 4, 0x11, 0xFF)]
    shapes += [("exponent %s" % e.hex(), dict(exponent=e)) for e in (b"\1\0\1", b"\0\1\0\1", b"\3", b"\x11", b"\2", b"\1",
                                                                     b"\0", bytes(5), b"\1\0\0\0\1")]
    shapes += [("%d bits" % n, dict(bits=n)) for n in (0, 256, 511, 520, 768, 1032, 2049, 3072, 0xFFFFFFF0)]
    shapes += [("%d primes" % n, dict(primes=n)) for n in (0, 1, 3)]
    shapes += [("algorithm %d" % n, dict(alg=n)) for n in (0, 2, 6, 0xFF)]
    shapes += [("sig %d, enc %d" % (s, e), dict(sig=s, enc=e)) for s in range(6) for e in range(5)]
    shapes += [("bind, sig %d, enc %d" % (s, e), dict(usage=0x14, sig=s, enc=e)) for s in (1, 2) for e in range(5)]
    shapes += [("legacy, sig %d, enc %d" % (s, e), dict(usage=0x15, sig=s, enc=e)) for s in range(5) for e in range(4)]
    shapes += [("storage, %d bits, enc %d" % (n, e), dict(usage=0x11, sig=1, enc=e, bits=n)) for n in (512, 1024) for e in (2, 3)]
    shapes += [("migrate", dict(usage=0x16, sig=1, enc=3)), ("usage 0", dict(usage=0)), ("usage 0x17", dict(usage=0x17))]
    shapes += [("1.1 version %s" % v.hex(), dict(version=v)) for v in (b"\1\1\7\7", b"\1\2\0\0", b"\2\1\0\0", b"\0\x28\0\1", b"\0\x29\0\0")]
    shapes += [("a modulus given", dict(pub=bytes(64))), ("encData given", dict(encrypted=bytes(64)))]
    for label, kw in shapes:
        out = make(x, label, key11(**kw))
        if out:
            handle = load(x, label, out)
            if handle:
                x.step("Sign with %s" % label, t.sign(handle, KEY, bytes(20))[0])
                rc = t.raw("Sign", handles=U32(handle), params=U32(20) + bytes(20))[0]
                x.step("Sign with %s, no session" % label, rc)
                rc, _, pub = t.raw("GetPubKey", handles=U32(handle))
                x.step("GetPubKey of %s, no session" % label, rc)
                t.flush(handle, 1)
            forgive(x)
    close_sessions(x, "key shapes")


def key_damage(x):
    ready(x)
    key = make(x, "to be damaged", key11())
    for at in list(range(0, 56)) + list(range(111, len(key), 37)):
        spoiled = bytearray(key)
        spoiled[at] ^= 1
        handle = load(x, "byte %d altered" % at, bytes(spoiled))
        if handle:
            x.t.flush(handle, 1)
    head = key[:-4 - 256 - 4 - 64]
    load(x, "no modulus", head + U32(0) + key[-4 - 256:])
    load(x, "no encData", key[:-4 - 256] + U32(0))
    load(x, "short encData", key[:-4 - 256] + U32(100) + key[-100:])
    load(x, "trailing bytes", key + bytes(25))
    load(x, "under another storage key", key, x.keys["store"], KEY)
    load(x, "under a signing key", key, x.keys["sign"], KEY)
    close_sessions(x, "damaged keys")


def key_bindings(x):
    ready(x)
    t, made = x.t, []
    for label, info in infos(x):
        for form, build in (("TPM_KEY", key11), ("TPM_KEY12", key12)):
            out = make(x, "%s, %s" % (form, label), build(info=info))
            if out and "too long" not in label:
                made.append(("%s, %s" % (form, label), out))
    handles = [(label, load(x, label, key)) for label, key in made]
    for extended in (False, True):
        for locality in (0, 1, 4):
            x.p.locality(locality)
            for label, handle in handles:
                if handle:
                    where = "%s at locality %d, extended %s" % (label, locality, extended)
                    x.step("Sign with %s" % where, t.sign(handle, KEY, bytes(20))[0])
                    rc, _, out = t.raw("GetPubKey", handles=U32(handle), auths=[Auth(t.oiap(), KEY)])
                    x.step("GetPubKey of %s" % where, rc)
                    x.step("Quote with %s" % where, t.quote(handle, KEY, bytes(20), pcr_selection((0,)))[0])
        x.p.locality(0)
        t.extend(10, sha1(b"other"))
    for _, handle in handles:
        if handle:
            t.flush(handle, 1)
    close_sessions(x, "key bindings")


def parents(x):
    """Below migratable and PCR-bound parents."""
    ready(x)
    t = x.t
    good = composite(x, (10,))
    for label, kw in (("migratable", dict(flags=2)), ("bound", dict(info=pcr_selection((10,)) + good + good)),
                      ("volatile", dict(flags=4)), ("free", dict(auth_usage=0))):
        parent = load(x, label, make(x, label, key11(usage=0x11, sig=1, enc=3, bits=2048, **kw)))
        for child, child_kw in (("plain", {}), ("migratable", dict(flags=2))):
            out = make(x, "%s below %s" % (child, label), key11(**child_kw), parent, KEY)
            if out:
                handle = load(x, "%s below %s" % (child, label), out, parent, KEY)
                if handle:
                    t.flush(handle, 1)
        x.step("Seal below %s" % label, t.seal(parent, KEY, DATA, b"x")[0])
        t.extend(10, sha1(b"other"))
        make(x, "below %s, extended" % label, key11(), parent, KEY)
        x.step("Seal below %s, extended" % label, t.seal(parent, KEY, DATA, b"x")[0])
        t.flush(parent, 1)
        reboot(x)
    close_sessions(x, "parents")


SCENES = (extend_matrix, reset_matrix, launch, localities, sealed, key_shapes, key_damage, key_bindings, parents)
