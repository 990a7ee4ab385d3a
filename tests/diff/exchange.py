# SPDX-License-Identifier: Apache-2.0
"""Between two TPMs: keys that one sends the other takes; what one signs, quotes or certifies the other verifies; data that is
bound to a key opens wherever the key went. This engine to libtpms and the other way round, step by step alike; libcrypto has
its word on every signature, and encrypts what comes from outside."""
from migration import (MIGRATE, MIGRATION, RESTRICT_APPROVE, REWRAP, approve, authorize, blob, cmk_blob, cmk_convert, convert,
                       create, create_blob, create_cmk, key12, msa_of, of_key, pubkey_of, try_key)
from libcrypto import encrypt, verifies
from scenario import DATA, KEY, OWNER, SRK, Transcript
from states import U16, U32, owned
from tpm12 import ET_OWNER, KH_EK, KH_OWNER, KH_SRK, Auth, key_modulus, pcr_selection, sha1

SIGNER_BYTES = 128


def side(platform, transport):
    """A TPM with an owner, a storage key that stays, and an authority's two keys."""
    x = Transcript(transport)
    x.p = platform
    owned(x)
    x.parent_blob = create(x.t, 0x11, enc=3)
    x.authority_blob = create(x.t, 0x16, enc=3)
    x.signer_blob = create(x.t, 0x10, sig=2, bits=1024)
    for name in ("parent", "authority", "signer"):
        rc, handle = x.t.load_key2(KH_SRK, SRK, getattr(x, name + "_blob"))
        assert rc == 0, hex(rc)
        setattr(x, name, handle)
    x.home = pubkey_of(key_modulus(x.parent_blob))
    x.ma = pubkey_of(key_modulus(x.authority_blob))
    x.verifier = pubkey_of(key_modulus(x.signer_blob), 1, 2)
    return x


def migrate(a, b):
    """From below a's SRK to below b's storage key: by two halves, through b's authority, and rewrapped."""
    for bits in (512, 1024, 2048):
        key = create(a.t, 0x10, sig=2, bits=bits, flags=2)
        enc = key[-256:]
        random, data = create_blob(a, "%d bits" % bits, MIGRATE, authorize(a.t, b.home, MIGRATE)[2], enc)
        try_key(b, "migrated, %d bits" % bits, key, convert(b, "%d bits" % bits, data, random, b.parent), b.parent)
        random, data = create_blob(a, "%d bits for an authority" % bits, MIGRATE, authorize(a.t, b.ma, MIGRATE)[2], enc)
        rc, _, out = b.t.raw("MigrateKey", handles=U32(b.authority), params=b.home + blob(data), auths=[Auth(b.t.oiap(), KEY)])
        b.step("MigrateKey, %d bits" % bits, rc)
        try_key(b, "through an authority, %d bits" % bits, key, convert(b, "%d bits" % bits, out[4:], random, b.parent), b.parent)
        random, data = create_blob(a, "%d bits rewrapped" % bits, REWRAP, authorize(a.t, b.home, REWRAP)[2], enc)
        try_key(b, "rewrapped, %d bits" % bits, key, data, b.parent)


def migrate_cmk(a, b):
    """b's authority lets a's key go to b."""
    msa = msa_of(sha1(b.ma), sha1(b.verifier))
    digest = sha1(msa)
    key = create_cmk(a, "to travel", approve(a.t, digest)[2], digest, key12())
    source = sha1(of_key(key))
    restrict = sha1(b.verifier) + sha1(b.home) + source
    rc, sig = b.t.sign(b.signer, KEY, sha1(restrict))
    assert rc == 0, hex(rc)
    tickets = []
    for x in (a, b):
        rc, _, out = x.t.raw("CMK_CreateTicket", params=b.verifier + sha1(restrict) + blob(sig), auths=[Auth(x.t.oiap(), OWNER)])
        x.step("CMK_CreateTicket", rc)
        tickets.append(out)
    auth = authorize(a.t, b.home, RESTRICT_APPROVE)[2]
    random, data = cmk_blob(a, "approved", RESTRICT_APPROVE, auth, source, msa, restrict, tickets[0], key[-256:])
    back = cmk_convert(b, "approved", restrict, tickets[1], key[:-256] + data, msa, random, b.parent)
    try_key(b, "CMK", key, back, b.parent)


# ---- What one signs the other verifies, and libcrypto ----
EXTERNAL = sha1(b"external")


def signed_things(a):
    """(label, digest, signature) of all that a's signing key signs, made anew from what a TPM answered."""
    t, key = a.t, U32(a.signer)
    auth = lambda: [Auth(t.oiap(), KEY)]

    def made(label, ordinal, handles, params, auths, message):
        rc, _, out = t.raw(ordinal, handles=handles, params=params, auths=auths)
        a.step(label, rc)
        return label, sha1(message(out[:-4 - SIGNER_BYTES])), out[-SIGNER_BYTES:]

    sel = pcr_selection((0, 10))
    yield "Sign", DATA, t.sign(a.signer, KEY, DATA)[1]
    yield made("Quote", "Quote", key, EXTERNAL + sel, auth(), lambda out: b"\1\1\0\0QUOT" + sha1(out) + EXTERNAL)
    yield made("Quote2", "Quote2", key, EXTERNAL + sel + b"\1", auth(),
               lambda out: b"\0\x36QUT2" + EXTERNAL + out[:26] + out[30:])
    yield made("CertifyKey", "CertifyKey", key + U32(a.parent), EXTERNAL, auth() + auth(), lambda out: out)
    yield made("CertifyKey2", "CertifyKey2", U32(a.parent) + key, bytes(20) + EXTERNAL, auth() + auth(), lambda out: out)
    yield made("TickStampBlob", "TickStampBlob", key, EXTERNAL + DATA, auth(),
               lambda out: b"\0\5TSTP" + EXTERNAL + U32(52) + DATA + out)
    yield made("GetAuditDigestSigned", "GetAuditDigestSigned", key, b"\0" + EXTERNAL, auth(),
               lambda out: b"\0\5ADIG" + EXTERNAL + U32(50) + out[10:30] + out[:10] + out[30:])


def verified(a, b, label, public, modulus, digest, signature):
    """TPM_CMK_CreateTicket is the command that verifies anybody's signature."""
    a.step("%s, by libcrypto" % label, 0 if verifies(modulus, digest, signature) else 1)
    rc = b.t.raw("CMK_CreateTicket", params=public + digest + blob(signature), auths=[Auth(b.t.oiap(), OWNER)])[0]
    b.step("%s, by the other" % label, rc)


def signatures(a, b):
    modulus = key_modulus(a.signer_blob)
    for label, digest, signature in signed_things(a):
        verified(a, b, label, a.verifier, modulus, digest, signature)


def identity(a, b):
    """a's new identity: bound to the CA by its own signature; libcrypto, as the CA, answers for a's EK alone."""
    t = a.t
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    rc, _, out = t.raw("MakeIdentity", params=s.enc_auth(KEY) + sha1(b"CA") + t.key_template(0x12, sig=2),
                       auths=[Auth(t.oiap(), SRK), Auth(s)])
    a.step("MakeIdentity", rc)
    key, signature = out[:-260], out[-256:]
    modulus = key_modulus(key)
    public = pubkey_of(modulus, 1, 2)
    verified(a, b, "the identity's binding", public, modulus, sha1(b"\1\1\0\0" + U32(0x79) + sha1(b"CA") + public), signature)
    rc, handle = t.load_key2(KH_SRK, SRK, key)
    rc, _, ek = t.raw("OwnerReadInternalPub", params=U32(KH_EK), auths=[Auth(t.oiap(), OWNER)])
    session_key = U32(6) + U16(0xFF) + U16(16) + bytes(range(16))
    enc = encrypt(t.pubkey_modulus(ek), session_key + sha1(public))
    rc, _, out = t.raw("ActivateIdentity", handles=U32(handle), params=blob(enc),
                       auths=[Auth(t.oiap(), KEY), Auth(t.oiap(), OWNER)])
    a.step("ActivateIdentity", rc, out)
    rc, _, out = t.quote(handle, KEY, EXTERNAL, pcr_selection((0,)))
    a.step("Quote by the identity", rc)
    verified(a, b, "the identity's quote", public, modulus, sha1(b"\1\1\0\0QUOT" + sha1(out[:-260]) + EXTERNAL), out[-256:])
    t.flush(handle, 1)


# ---- What is encrypted for one, and for a key that moved ----
def bound_data(a, b):
    """A key of a's binds; it moves to b; what was bound before opens there as at home. Its public part is one."""
    key = create(a.t, 0x14, enc=3, flags=2)
    modulus = key_modulus(key)
    rc, at_home = a.t.load_key2(KH_SRK, SRK, key)
    enc = encrypt(modulus, b"\1\1\0\0\2moves")
    data = create_blob(a, "a binding key", REWRAP, authorize(a.t, b.home, REWRAP)[2], key[-256:])[1]
    rc, moved = b.t.load_key2(b.parent, KEY, key[:-256] + data)
    b.step("LoadKey2 a binding key", rc)
    for x, handle, where in ((a, at_home, "at home"), (b, moved, "moved")):
        rc, _, out = x.t.raw("UnBind", handles=U32(handle), params=blob(enc), auths=[Auth(x.t.oiap(), KEY)])
        x.step("UnBind %s" % where, rc, out)
        assert out[4:] == b"moves", where
        rc, _, out = x.t.raw("GetPubKey", handles=U32(handle), auths=[Auth(x.t.oiap(), KEY)])
        x.step("GetPubKey %s" % where, rc, "%s" % (out == pubkey_of(modulus, 3, 1)))
        assert out == pubkey_of(modulus, 3, 1), where
        x.t.flush(handle, 1)


def sealed_data(a, b):
    """What is sealed opens at home only: tpmProof (Part 3, 10.2 action 6)."""
    rc, _, sealed = a.t.seal(KH_SRK, SRK, DATA, b"sealed")
    a.step("Seal", rc)
    a.step("Unseal at home", *a.t.unseal(KH_SRK, SRK, DATA, sealed))
    b.step("Unseal elsewhere is refused", 0 if b.t.unseal(KH_SRK, SRK, DATA, sealed)[0] == 0x13 else 1)
    b.t.raw("ResetLockValue", auths=[Auth(b.t.oiap(), OWNER)])


def exchange(a, b):
    """The steps of both sides; all of them must have succeeded."""
    for what in (migrate, migrate_cmk, bound_data, signatures, identity, sealed_data):
        what(a, b)
    steps = a.steps + b.steps
    for label, rc, _ in steps:
        assert rc == 0, (label, hex(rc))
    return steps
