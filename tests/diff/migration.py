# SPDX-License-Identifier: Apache-2.0
"""Keys that leave: migration, rewrapping, migration authorities; and the deprecated way to change a secret."""
import struct

from authority import do, ready
from scenario import DATA, KEY, OWNER, SRK, close_sessions, flush_sessions, forgive
from states import U16, U32
from tpm12 import (ET_KEYHANDLE, ET_OWNER, KH_OWNER, KH_SRK, Auth, hmac1, key_modulus, mgf1, oaep, sha1, verify_sha1, xor)

MIGRATION = sha1(b"migration")
MIGRATE, REWRAP, MAINT, RESTRICT_MIGRATE, RESTRICT_APPROVE = 1, 2, 3, 4, 5


def blob(data):
    return U32(len(data)) + data


def pubkey_of(modulus, enc=3, sig=1, bits=None, exponent=b""):
    """TPM_PUBKEY"""
    parms = struct.pack(">III", bits or len(modulus) * 8, 2, len(exponent)) + exponent
    return struct.pack(">IHHI", 1, enc, sig, len(parms)) + parms + blob(modulus)


def of_key(key):
    """TPM_PUBKEY of a TPM_KEY or TPM_KEY12 as it came."""
    parms = struct.unpack(">I", key[19:23])[0]
    at = 23 + parms
    at += 4 + struct.unpack(">I", key[at:at + 4])[0]
    size = struct.unpack(">I", key[at:at + 4])[0]
    return key[11:23 + parms] + key[at:at + 4 + size]


def with_enc(key, enc):
    """The key with another encData; the old one is of a 2048-bit parent."""
    return key[:-260] + blob(enc)


def create(t, usage, migration=MIGRATION, parent=KH_SRK, secret=SRK, **kw):
    """A key with a migration secret: TPM_CreateWrapKey."""
    s = t.osap(ET_KEYHANDLE, parent, secret)
    odd = t.random(20)
    params = s.enc_auth(KEY) + xor(migration, sha1(s.key + odd)) + t.key_template(usage, **kw)
    old, t.random = t.random, lambda n: odd
    rc, _, out = t.raw("CreateWrapKey", handles=U32(parent), params=params, auths=[Auth(s)])
    t.random = old
    assert rc == 0, hex(rc)
    return out


def keys(x):
    ready(x)
    t = x.t
    if getattr(x, "leaving_for", None) is not x.blobs:
        x.leaving_for = x.blobs
        x.leaving = {name: create(t, **kw) for name, kw in (
            ("sign", dict(usage=0x10, sig=2, bits=1024, flags=2)), ("sign 2048", dict(usage=0x10, sig=2, flags=2)),
            ("fixed", dict(usage=0x10, sig=2, bits=1024)), ("store", dict(usage=0x11, enc=3, flags=2)),
            ("free store", dict(usage=0x11, enc=3, auth_usage=0)), ("authority", dict(usage=0x16, enc=3)),
            ("fixed store", dict(usage=0x11, enc=3)))}
    x.handles = {}
    for name in ("store", "free store", "authority", "fixed store"):
        rc, x.handles[name] = t.load_key2(KH_SRK, SRK, x.leaving[name])
        assert rc == 0, (name, hex(rc))


def authorize(t, pub, scheme, owner=OWNER):
    return t.raw("AuthorizeMigrationKey", params=U16(scheme) + pub, auths=[Auth(t.oiap(), owner)])


def authorizing(x):
    keys(x)
    t = x.t
    n = key_modulus(x.leaving["fixed store"])
    pub = pubkey_of(n)
    for scheme in (0, 1, 2, 3, 4, 5, 6, 0xFFFF):
        rc, _, out = authorize(t, pub, scheme)
        x.step("AuthorizeMigrationKey scheme %d" % scheme, rc, "%s %d" % (out[:len(pub) + 2] == pub + U16(scheme), len(out)))
        # It is this TPM's: the same again.
        x.step("again", 0, "%s" % (authorize(t, pub, scheme)[2] == out))
    for label, bad in (("1024 bits", pubkey_of(n[:128])), ("512 bits", pubkey_of(n[:64])), ("enc none", pubkey_of(n, 1)),
                       ("enc PKCS1", pubkey_of(n, 2)), ("enc 9", pubkey_of(n, 9)), ("sig SHA1", pubkey_of(n, 3, 2)),
                       ("exponent 3", pubkey_of(n, exponent=b"\3")), ("exponent 65537", pubkey_of(n, exponent=b"\1\0\1")),
                       ("AES", struct.pack(">IHHI", 6, 3, 1, 0) + blob(n))):
        rc, _, out = authorize(t, bad, 1)
        x.step("AuthorizeMigrationKey, %s" % label, rc, "%d" % len(out))
    do(x, "AuthorizeMigrationKey, wrong owner", "AuthorizeMigrationKey", b"", U16(1) + pub, [Auth(t.oiap(), DATA)])
    do(x, "AuthorizeMigrationKey by OSAP", "AuthorizeMigrationKey", b"", U16(1) + pub, [Auth(t.osap(ET_OWNER, KH_OWNER, OWNER))])
    forgive(x)
    close_sessions(x, "authorizing")


def create_blob(x, label, kind, auth, enc, parent=KH_SRK, secrets=(SRK, MIGRATION), auths=None):
    t = x.t
    auths = [Auth(t.oiap(), s) for s in secrets] if auths is None else auths
    rc, _, out = t.raw("CreateMigrationBlob", handles=U32(parent), params=U16(kind) + auth + blob(enc), auths=auths)
    random, data = b"", b""
    if not rc:
        size = struct.unpack(">I", out[:4])[0]
        random, data = out[4:4 + size], out[8 + size:]
    x.step("CreateMigrationBlob %s" % label, rc, "%d %d" % (len(random), len(data)))
    return random, data


def convert(x, label, data, random, parent, secret=KEY, auths=None):
    t = x.t
    auths = [Auth(t.oiap(), secret)] if auths is None else auths
    rc, _, out = t.raw("ConvertMigrationBlob", handles=U32(parent), params=blob(data) + blob(random), auths=auths)
    x.step("ConvertMigrationBlob %s" % label, rc, "%d" % len(out))
    return out[4:]


def try_key(x, label, key, enc, parent, secret=KEY):
    """Does it load there and sign?"""
    t = x.t
    rc, handle = t.load_key2(parent, secret, with_enc(key, enc))
    x.step("LoadKey2 %s" % label, rc)
    if handle:
        rc, sig = t.sign(handle, KEY, DATA)
        x.step("Sign %s" % label, rc, "%s" % verify_sha1(key_modulus(key), DATA, sig))
        t.flush(handle, 1)
    else:
        flush_sessions(x)


def migrating(x):
    keys(x)
    t = x.t
    to = {name: pubkey_of(key_modulus(x.leaving[name])) for name in ("store", "fixed store", "authority", "free store")}
    auths = {scheme: authorize(t, to["fixed store"], scheme)[2] for scheme in (1, 2, 4)}
    parent = x.handles["fixed store"]
    for name in ("sign", "sign 2048", "fixed", "store"):
        key = x.leaving[name]
        enc = key[-256:]
        for kind in (0, 1, 2, 3, 4, 5, 0xFFFF):
            for scheme, auth in auths.items():
                what = "%s, type %d, authorised %d" % (name, kind, scheme)
                random, data = create_blob(x, what, kind, auth, enc)
                # libtpms makes one also where the owner permitted the other kind; it is not followed further.
                if kind != scheme:
                    data = b""
                if kind == MIGRATE and data:
                    back = convert(x, what, data, random, parent)
                    if "store" not in name and back:
                        try_key(x, what, key, back, parent)
                elif kind == REWRAP and data and "store" not in name:
                    try_key(x, what, key, data, parent)
                flush_sessions(x)
            forgive(x)
    key = x.leaving["sign"]
    enc = key[-256:]
    random, data = create_blob(x, "for the odd ways", MIGRATE, auths[1], enc)
    spoiled = bytearray(auths[1])
    for at in (20, 200, 284, 286, 300):
        one = bytearray(spoiled)
        one[at] ^= 1
        create_blob(x, "authorisation altered at %d" % at, MIGRATE, bytes(one), enc)
    create_blob(x, "wrong migration secret", MIGRATE, auths[1], enc, secrets=(SRK, DATA))
    create_blob(x, "wrong parent's secret", MIGRATE, auths[1], enc, secrets=(DATA, MIGRATION))
    forgive(x)
    create_blob(x, "one session", MIGRATE, auths[1], enc, secrets=(MIGRATION,))
    create_blob(x, "parent's OSAP", MIGRATE, auths[1], enc, auths=[Auth(t.osap(ET_KEYHANDLE, KH_SRK, SRK)), Auth(t.oiap(), MIGRATION)])
    create_blob(x, "key's OSAP", MIGRATE, auths[1], enc, auths=[Auth(t.oiap(), SRK), Auth(t.osap(ET_KEYHANDLE, KH_SRK, SRK))])
    create_blob(x, "no such parent", MIGRATE, auths[1], enc, parent=0x01FFFFF0)
    create_blob(x, "signing parent", MIGRATE, auths[1], enc, parent=x.keys["sign"], secrets=(KEY, MIGRATION))
    rc, _, sealed = t.seal(KH_SRK, SRK, DATA, b"sealed")
    for label, data_ in (("zeros", bytes(256)), ("short", enc[:-1]), ("long", enc + b"\0"), ("none", b""), ("sealed data", sealed[-256:]),
                         ("another's", oaep(key_modulus(x.leaving["store"]), b"x"))):
        create_blob(x, "of %s" % label, MIGRATE, auths[1], data_)
        flush_sessions(x)
        forgive(x)
    free = create(t, 0x10, sig=2, bits=1024, flags=2, parent=x.handles["free store"], secret=KEY)
    create_blob(x, "parent without a secret", MIGRATE, auths[1], free[-256:], parent=x.handles["free store"], secrets=(MIGRATION,))
    flush_sessions(x)
    # The way back.
    back = convert(x, "right", data, random, parent)
    try_key(x, "converted", key, back, parent)
    convert(x, "random altered", data, bytes([random[0] ^ 1]) + random[1:], parent)
    convert(x, "random short", data, random[1:], parent)
    convert(x, "random long", data, random + b"\0", parent)
    convert(x, "random empty", data, b"", parent)
    convert(x, "no random, a wrapped key", x.leaving["sign"][-256:], b"", KH_SRK, SRK)
    convert(x, "wrong parent", data, random, x.handles["store"])
    convert(x, "wrong secret", data, random, parent, DATA)
    convert(x, "signing key", data, random, x.keys["sign"])
    convert(x, "no such key", data, random, 0x01FFFFF0)
    convert(x, "no session", data, random, parent, auths=[])
    convert(x, "zeros", bytes(256), random, parent)
    forgive(x)
    flush_sessions(x)
    # Made by hand.
    for label, payload, k1k2, pad in (
            ("by hand", 3, U32(64) + bytes(range(64)), b""), ("padded", 3, U32(64) + bytes(range(64)), bytes(9)),
            ("payload 1", 1, U32(64) + bytes(range(64)), b""), ("payload 8", 8, U32(64) + bytes(range(64)), b""),
            ("private key's size", 3, U32(65) + bytes(range(64)), b"")):
        m1 = bytes([payload]) + KEY + DATA + blob(k1k2[20:])
        o1 = encode(m1, MIGRATION, k1k2[:20], pad)
        r = t.random(len(o1))
        convert(x, label, oaep(key_modulus(x.leaving["fixed store"]), xor(o1, r)), r, parent)
        flush_sessions(x)
    close_sessions(x, "migrating")


def encode(text, phash, seed, pad=b""):
    """OAEP with a seed and a label's hash of one's own, without the leading zero."""
    db = phash + pad + b"\1" + text
    masked = xor(db, mgf1(seed, len(db)))
    return xor(seed, mgf1(masked, 20)) + masked


def migrate_key(x):
    """Through a migration authority to somebody else."""
    keys(x)
    t = x.t
    ma = pubkey_of(key_modulus(x.leaving["authority"]))
    auth = authorize(t, ma, MIGRATE)[2]
    key = x.leaving["sign"]
    random, data = create_blob(x, "for an authority", MIGRATE, auth, key[-256:])
    end = pubkey_of(key_modulus(x.leaving["fixed store"]))

    def send(label, pub, blob_, handle=x.handles["authority"], auths=None):
        rc, _, out = t.raw("MigrateKey", handles=U32(handle), params=pub + blob(blob_),
                           auths=[Auth(t.oiap(), KEY)] if auths is None else auths)
        x.step("MigrateKey %s" % label, rc, "%d" % len(out))
        flush_sessions(x)
        return out[4:]

    there = send("to a parent", end, data)
    back = convert(x, "through an authority", there, random, x.handles["fixed store"])
    try_key(x, "through an authority", key, back, x.handles["fixed store"])
    n = key_modulus(x.leaving["fixed store"])
    for label, pub in (("PKCS1", pubkey_of(n, 2)), ("no scheme", pubkey_of(n, 1)), ("signs", pubkey_of(n, 3, 2)),
                       ("1024 bits", pubkey_of(key_modulus(x.leaving["sign"]))),
                       ("AES", struct.pack(">IHHI", 6, 3, 1, 0) + blob(n))):
        send("to %s" % label, pub, data)
    send("by a storage key", end, data, x.handles["store"])
    send("by a signing key", end, data, x.keys["sign"])
    send("of zeros", end, bytes(256))
    send("of another's", end, x.leaving["sign"][-256:])
    send("of a short blob", end, data[:-1])
    send("wrong secret", end, data, auths=[Auth(t.oiap(), DATA)])
    send("no session", end, data, auths=[])
    send("no such key", end, data, 0x01FFFFF0)
    forgive(x)
    close_sessions(x, "migrate_key")


# ---- 11.5-11.10 ----
def key12(usage=0x10, sig=2, enc=1, bits=1024, flags=0x12, auth_usage=1, head=struct.pack(">HH", 0x28, 0)):
    return (head + struct.pack(">HI", usage, flags) + bytes([auth_usage]) + struct.pack(">IHHI", 1, enc, sig, 12) +
            struct.pack(">III", bits, 2, 0) + struct.pack(">III", 0, 0, 0))


def approve(t, digest, owner=OWNER):
    return t.raw("CMK_ApproveMA", params=digest, auths=[Auth(t.oiap(), owner)])


def create_cmk(x, label, approval, digest, template, parent=KH_SRK, secret=SRK, session=None):
    t = x.t
    s = session or t.osap(ET_KEYHANDLE, parent, secret)
    hidden = s.enc_auth(KEY) if s.key else bytes(20)
    rc, _, out = t.raw("CMK_CreateKey", handles=U32(parent), params=hidden + template + approval + digest, auths=[Auth(s, secret, True)])
    x.step("CMK_CreateKey %s" % label, rc, out[:23].hex() + " %d" % len(out))
    flush_sessions(x)
    return out


def msa_of(*digests):
    return U32(len(digests)) + b"".join(digests)


def cmks(x):
    keys(x)
    t = x.t
    for value in (0, 0xFFFFFFFF, 0x80000000):
        do(x, "CMK_SetRestrictions 0x%x" % value, "CMK_SetRestrictions", b"", U32(value), [Auth(t.oiap(), OWNER)])
        x.raw("restriction", "GetCapability", params=U32(5) + U32(4) + U32(0x11F))
    do(x, "CMK_SetRestrictions, wrong owner", "CMK_SetRestrictions", b"", U32(0), [Auth(t.oiap(), DATA)])
    do(x, "CMK_SetRestrictions, back", "CMK_SetRestrictions", b"", U32(0), [Auth(t.oiap(), OWNER)])
    forgive(x)
    ma = pubkey_of(key_modulus(x.leaving["authority"]))
    msa = msa_of(sha1(b"another"), sha1(ma))
    digest = sha1(msa)
    rc, _, approval = approve(t, digest)
    x.step("CMK_ApproveMA", rc, "%d %s" % (len(approval), approve(t, digest)[2] == approval))
    x.step("CMK_ApproveMA, wrong owner", approve(t, digest, DATA)[0])
    forgive(x)
    for label, template in (
            ("signing", key12()), ("bind", key12(0x14, 1, 3, 2048)), ("storage", key12(0x11, 1, 3, 2048)), ("storage 1024", key12(0x11, 1, 3)),
            ("migrate", key12(0x16, 1, 3, 2048)), ("identity", key12(0x12, 2, 1, 2048)), ("authchange", key12(0x13, 1, 3, 512)),
            ("legacy", key12(0x15, 2, 3)), ("1.1", key12(head=b"\1\1\0\0")), ("not migratable", key12(flags=0x10)),
            ("no authority", key12(flags=2)), ("no flags", key12(flags=0)), ("volatile", key12(flags=0x16)), ("usage 0", key12(0))):
        out = create_cmk(x, label, approval, digest, template)
        if out:
            rc, handle = t.load_key2(KH_SRK, SRK, out)
            x.step("LoadKey2 CMK %s" % label, rc)
            if handle:
                x.step("Sign with CMK %s" % label, t.sign(handle, KEY, DATA)[0])
                certify(x, "CMK %s" % label, handle, digest)
                t.flush(handle, 1)
    create_cmk(x, "another approval", sha1(b"x"), digest, key12())
    create_cmk(x, "another authority", approval, sha1(b"x"), key12())
    create_cmk(x, "OIAP", approval, digest, key12(), session=t.oiap())
    create_cmk(x, "wrong secret", approval, digest, key12(), secret=DATA)
    create_cmk(x, "signing parent", approval, digest, key12(), x.keys["sign"], KEY)
    create_cmk(x, "migratable parent", approval, digest, key12(), x.handles["store"], KEY)
    create_cmk(x, "storage parent", approval, digest, key12(), x.handles["fixed store"], KEY)
    forgive(x)
    close_sessions(x, "cmks")


def certify(x, label, handle, digest):
    t = x.t
    for what, authorities in (("", digest), (", another authority", sha1(b"x"))):
        rc, _, out = t.raw("CertifyKey2", handles=U32(handle) + U32(x.keys["sign"]), params=authorities + sha1(b"antireplay"),
                           auths=[Auth(t.oiap(), KEY), Auth(t.oiap(), KEY)])
        # The last field before the signature names authorities and payload: their moduli are this TPM's own.
        at, end = out.find(sha1(b"antireplay")), len(out) - 132
        named = [n for n in range(256) if out[end - 20:end] == sha1(authorities + bytes([n]))]
        x.step("CertifyKey2 of %s%s" % (label, what), rc, "%s %s" % (out[at:end - 20].hex(), named) if not rc else b"")
        flush_sessions(x)
    rc, _, out = t.raw("CertifyKey", handles=U32(x.keys["sign"]) + U32(handle), params=sha1(b"antireplay"),
                       auths=[Auth(t.oiap(), KEY), Auth(t.oiap(), KEY)])
    x.step("CertifyKey of %s" % label, rc)
    flush_sessions(x)


def ticket(x, label, handle, pub, data, spoil=False, owner=OWNER):
    """Signed by a key of this TPM: what an authority would do elsewhere."""
    t = x.t
    rc, sig = t.sign(handle, KEY, data)
    assert rc == 0, hex(rc)
    if spoil:
        sig = sig[:-1] + bytes([sig[-1] ^ 1])
    rc, _, out = t.raw("CMK_CreateTicket", params=pub + data + blob(sig), auths=[Auth(t.oiap(), owner)])
    x.step("CMK_CreateTicket %s" % label, rc, "%d" % len(out))
    flush_sessions(x)
    return out


def cmk_blob(x, label, scheme, auth, source, msa, restrict, sig, enc, parent=KH_SRK, secret=SRK):
    t = x.t
    params = U16(scheme) + auth + source + blob(msa) + blob(restrict) + blob(sig) + blob(enc)
    rc, _, out = t.raw("CMK_CreateBlob", handles=U32(parent), params=params, auths=[Auth(t.oiap(), secret)])
    random, data = b"", b""
    if not rc:
        size = struct.unpack(">I", out[:4])[0]
        random, data = out[4:4 + size], out[8 + size:]
    x.step("CMK_CreateBlob %s" % label, rc, "%d %d" % (len(random), len(data)))
    flush_sessions(x)
    return random, data


def cmk_convert(x, label, restrict, sig, key, msa, random, parent, secret=KEY):
    t = x.t
    rc, _, out = t.raw("CMK_ConvertMigration", handles=U32(parent), params=restrict + sig + key + blob(msa) + blob(random),
                       auths=[Auth(t.oiap(), secret)])
    x.step("CMK_ConvertMigration %s" % label, rc, "%d" % len(out))
    flush_sessions(x)
    return out[4:]


def cmk_travels(x):
    keys(x)
    t = x.t
    signer = pubkey_of(key_modulus(x.blobs["sign"]), 1, 2)
    ma = pubkey_of(key_modulus(x.leaving["authority"]))
    msa = msa_of(sha1(signer), sha1(ma))
    digest = sha1(msa)
    approval = approve(t, digest)[2]
    key = create_cmk(x, "to travel", approval, digest, key12())
    source, enc = sha1(of_key(key)), key[-256:]
    home = pubkey_of(key_modulus(x.leaving["fixed store"]))
    parent = x.handles["fixed store"]
    restrict = sha1(signer) + sha1(home) + source
    ticket(x, "spoiled", x.keys["sign"], signer, sha1(restrict), True)
    ticket(x, "wrong owner", x.keys["sign"], signer, sha1(restrict), owner=DATA)
    forgive(x)
    n = key_modulus(x.blobs["sign"])
    for label, pub in (("enc", pubkey_of(n, 3, 2)), ("no sig", pubkey_of(n, 1, 1)), ("DER", pubkey_of(n, 1, 3)), ("INFO", pubkey_of(n, 1, 4)),
                       ("AES", struct.pack(">IHHI", 6, 1, 2, 0) + blob(n)), ("another key", pubkey_of(key_modulus(x.leaving["sign"]), 1, 2))):
        ticket(x, "by %s" % label, x.keys["sign"], pub, sha1(restrict))
    sig = ticket(x, "right", x.keys["sign"], signer, sha1(restrict))
    schemes = {n: authorize(t, home, n)[2] for n in range(1, 7)}
    for n, auth in schemes.items():
        cmk_blob(x, "authorised %d, no tickets" % n, n, auth, source, msa, b"", b"", enc)
        cmk_blob(x, "authorised %d" % n, n, auth, source, msa, restrict, sig, enc)
    auth = schemes[RESTRICT_APPROVE]
    random, data = cmk_blob(x, "approved", RESTRICT_APPROVE, auth, source, msa, restrict, sig, enc)
    for label, kw in (("another source", dict(source=DATA)), ("another list", dict(msa=msa_of(sha1(ma), sha1(signer)))),
                      ("an empty list", dict(msa=msa_of())), ("a short list", dict(msa=msa[:-1])), ("another ticket", dict(sig=DATA)),
                      ("a short ticket", dict(sig=sig[1:])), ("another restriction", dict(restrict=sha1(signer) + DATA + source)),
                      ("a short restriction", dict(restrict=restrict[1:])), ("zeros", dict(enc=bytes(256))),
                      ("a plain key", dict(enc=x.leaving["sign"][-256:])), ("another authorisation", dict(auth=auth[:-1] + bytes([auth[-1] ^ 1]))),
                      ("a signing parent", dict(parent=x.keys["sign"], secret=KEY)), ("a migratable parent", dict(parent=x.handles["store"], secret=KEY)),
                      ("wrong secret", dict(secret=DATA))):
        args = dict(scheme=RESTRICT_APPROVE, auth=auth, source=source, msa=msa, restrict=restrict, sig=sig, enc=enc)
        args.update(kw)
        cmk_blob(x, label, **args)
        forgive(x)
    for label, one in (("destination", sha1(signer) + DATA + source), ("source", sha1(signer) + sha1(home) + DATA)):
        cmk_blob(x, "approved for another %s" % label, RESTRICT_APPROVE, auth, source, msa, one,
                 ticket(x, label, x.keys["sign"], signer, sha1(one)), enc)
    # Straight to an authority, and on from it.
    direct = authorize(t, ma, RESTRICT_MIGRATE)[2]
    r2, d2 = cmk_blob(x, "to an authority", RESTRICT_MIGRATE, direct, source, msa, b"", b"", enc)
    cmk_blob(x, "to an authority, with tickets", RESTRICT_MIGRATE, direct, source, msa, restrict, sig, enc)
    signs = authorize(t, pubkey_of(key_modulus(x.leaving["authority"]), 3, 2), RESTRICT_MIGRATE)[2]
    cmk_blob(x, "to an authority that signs", RESTRICT_MIGRATE, signs, source, msa, b"", b"", enc)
    rc, _, out = t.raw("MigrateKey", handles=U32(x.handles["authority"]), params=home + blob(d2), auths=[Auth(t.oiap(), KEY)])
    x.step("MigrateKey of a CMK", rc, "%d" % len(out))
    for label, r, d in (("approved", random, data), ("through an authority", r2, out[4:])):
        back = cmk_convert(x, label, restrict, sig, with_enc(key, d), msa, r, parent)
        try_key(x, "CMK %s" % label, key, back, parent)
        rc, handle = t.load_key2(parent, KEY, with_enc(key, back))
        if handle:
            certify(x, "arrived CMK %s" % label, handle, digest)
            t.flush(handle, 1)
        # And away again.
        if back:
            cmk_blob(x, "arrived, %s" % label, RESTRICT_APPROVE, auth, source, msa, restrict, sig, back, parent, KEY)
    arrived = with_enc(key, data)
    plain = bytearray(arrived)
    for label, kw in (("another ticket", dict(sig=DATA)), ("another restriction", dict(restrict=sha1(signer) + DATA + source)),
                      ("another list", dict(msa=msa_of(sha1(ma), sha1(signer)))), ("an empty list", dict(msa=msa_of())),
                      ("random altered", dict(random=bytes([random[0] ^ 1]) + random[1:])), ("random short", dict(random=random[1:])),
                      ("another key", dict(key=with_enc(x.leaving["sign"], data))), ("zeros", dict(key=with_enc(key, bytes(256)))),
                      ("a signing parent", dict(parent=x.keys["sign"])), ("another parent", dict(parent=x.handles["store"])),
                      ("wrong secret", dict(secret=DATA)),
                      ("not migratable", dict(key=bytes(plain[:6]) + U32(0x10) + bytes(plain[10:]))),
                      ("no authority", dict(key=bytes(plain[:6]) + U32(2) + bytes(plain[10:])))):
        args = dict(restrict=restrict, sig=sig, key=arrived, msa=msa, random=random, parent=parent)
        args.update(kw)
        cmk_convert(x, label, **args)
        forgive(x)
    for label, one in (("destination", sha1(signer) + DATA + source), ("source", sha1(signer) + sha1(home) + DATA)):
        cmk_convert(x, "approved for another %s" % label, one, ticket(x, label, x.keys["sign"], signer, sha1(one)), arrived, msa, random, parent)
    convert(x, "of a CMK", data, random, parent)
    flush_sessions(x)
    close_sessions(x, "cmk_travels")


# ---- 28: the old way to change a secret ----
NEW, N1 = sha1(b"new"), sha1(b"n1")


def make_identity(x):
    t = x.t
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    rc, _, out = t.raw("MakeIdentity", params=s.enc_auth(KEY) + sha1(b"CA") + t.key_template(0x12, sig=2),
                       auths=[Auth(t.oiap(), SRK), Auth(s)])
    assert rc == 0, hex(rc)
    key = out[:-4 - 256]
    rc, handle = t.load_key2(KH_SRK, SRK, key)
    assert rc == 0, hex(rc)
    return handle, key_modulus(key)


def asym_start(x, label, identity, parms, auths=None, modulus=None):
    """Handle and modulus of the temporary key."""
    t = x.t
    nonce = sha1(b"antireplay")
    rc, _, out = t.raw("ChangeAuthAsymStart", handles=U32(identity), params=nonce + parms,
                       auths=[Auth(t.oiap(), KEY)] if auths is None else auths)
    if rc:
        x.step("ChangeAuthAsymStart %s" % label, rc)
        flush_sessions(x)
        return 0, b""
    at = out.find(nonce)
    info = out[:at + 25]
    sig = out[len(info) + 4:len(info) + 260]
    handle = struct.unpack(">I", out[len(info) + 260:len(info) + 264])[0]
    key = out[len(info) + 264:]
    n = key_modulus(key)
    x.step("ChangeAuthAsymStart, parentPCRStatus", 0, info[at + 20:at + 21])
    x.step("ChangeAuthAsymStart %s" % label, rc, "%s %s %s %s %s" % (
        info[:at - 20].hex(), info[at + 21:].hex(), info[at - 20:at] == sha1(n), key[:-4 - len(n)].hex() if n else "",
        verify_sha1(modulus, sha1(info), sig)))
    return handle, n


def asym_finish(x, label, eph, n, kind, enc, parent=KH_SRK, secret=OWNER, old=KEY, auths=None, plain=None, link=None):
    t = x.t
    a1 = oaep(n, NEW + N1 if plain is None else plain)
    params = U16(kind) + (hmac1(old, NEW) if link is None else link) + blob(a1) + blob(enc)
    rc, _, out = t.raw("ChangeAuthAsymFinish", handles=U32(parent) + U32(eph), params=params,
                       auths=[Auth(t.oiap(), secret)] if auths is None else auths)
    x.step("ChangeAuthAsymFinish %s" % label, rc, "%d %s" % (len(out), out[-20:] == hmac1(NEW, out[-40:-20] + N1)))
    flush_sessions(x)
    return out[4:-40]


def change_asym(x):
    keys(x)
    t = x.t
    identity, modulus = make_identity(x)
    parms = lambda bits=1024, enc=3, sig=1, alg=1: struct.pack(">IHHI", alg, enc, sig, 12) + struct.pack(">III", bits, 2, 0)
    for label, p in (("512", parms(512)), ("2048", parms(2048)), ("256", parms(256)), ("signing", parms(1024, 1, 2)),
                     ("PKCS1", parms(1024, 2)), ("AES", parms(1024, alg=6))):
        handle, n = asym_start(x, label, identity, p, modulus=modulus)
        if handle:
            t.flush(handle, 1)
    asym_start(x, "wrong secret", identity, parms(), [Auth(t.oiap(), DATA)])
    asym_start(x, "no session", identity, parms(), [])
    asym_start(x, "signing key", x.keys["sign"], parms())
    forgive(x)
    key = x.leaving["fixed"]
    enc = key[-256:]
    rc, _, sealed = t.seal(KH_SRK, SRK, DATA, b"sealed")
    eph, n = asym_start(x, "for the ways", identity, parms(), modulus=modulus)
    asym_finish(x, "wrong old secret", eph, n, 5, enc, old=DATA)
    forgive(x)
    asym_finish(x, "SRK's secret", eph, n, 5, enc, secret=SRK)
    forgive(x)
    # The SRK of these TPMs needs no secret.
    asym_finish(x, "no session", eph, n, 5, enc, auths=[])
    eph, n = asym_start(x, "for more ways", identity, parms(), modulus=modulus)
    for kind in (0, 1, 2, 4, 6):
        asym_finish(x, "type %d" % kind, eph, n, kind, enc)
    asym_finish(x, "no temporary key", 0x01FFFFF0, n, 5, enc)
    asym_finish(x, "another key", x.keys["store"], n, 5, enc)
    asym_finish(x, "short", eph, n, 5, enc, plain=NEW)
    asym_finish(x, "zeros", eph, n, 5, bytes(256))
    asym_finish(x, "sealed data as a key", eph, n, 5, sealed[-256:])
    asym_finish(x, "signing parent", eph, n, 5, enc, x.keys["sign"], KEY)
    back = asym_finish(x, "right", eph, n, 5, enc)
    asym_finish(x, "again", eph, n, 5, enc)
    rc, handle = t.load_key2(KH_SRK, SRK, with_enc(key, back))
    x.step("LoadKey2 changed", rc)
    x.step("Sign, old secret", t.sign(handle, KEY, DATA)[0])
    x.step("Sign, new secret", t.sign(handle, NEW, DATA)[0])
    t.flush(handle, 1)
    forgive(x)
    # Below another parent its own secret counts.
    inner = create(t, 0x10, sig=2, bits=512, parent=x.handles["fixed store"], secret=KEY)
    eph, n = asym_start(x, "for another parent", identity, parms(), modulus=modulus)
    asym_finish(x, "below another parent, owner", eph, n, 5, inner[-256:], x.handles["fixed store"])
    forgive(x)
    asym_finish(x, "below another parent", eph, n, 5, inner[-256:], x.handles["fixed store"], KEY)
    free = create(t, 0x10, sig=2, bits=512, parent=x.handles["free store"], secret=KEY)
    eph, n = asym_start(x, "for a parent without a secret", identity, parms(), modulus=modulus)
    asym_finish(x, "below a parent without a secret", eph, n, 5, free[-256:], x.handles["free store"], auths=[])
    # Sealed data.
    eph, n = asym_start(x, "for data", identity, parms(), modulus=modulus)
    back = asym_finish(x, "sealed data", eph, n, 3, sealed[-256:], old=DATA)
    t.flush(eph, 1)
    t.flush(identity, 1)
    close_sessions(x, "change_asym")


SCENES = (authorizing, migrating, migrate_key, cmks, cmk_travels, change_asym)
