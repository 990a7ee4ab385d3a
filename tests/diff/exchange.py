# SPDX-License-Identifier: Apache-2.0
"""Keys from one TPM to another one: what this engine sends libtpms takes, and the other way round, step by step alike."""
from migration import (MIGRATE, MIGRATION, RESTRICT_APPROVE, REWRAP, approve, authorize, blob, cmk_blob, cmk_convert, convert,
                       create, create_blob, create_cmk, key12, msa_of, of_key, pubkey_of, try_key)
from scenario import KEY, OWNER, SRK, Transcript
from states import U32, owned
from tpm12 import KH_SRK, Auth, key_modulus, sha1


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


def exchange(a, b):
    """The steps of both sides; all of them must have succeeded."""
    migrate(a, b)
    migrate_cmk(a, b)
    steps = a.steps + b.steps
    for label, rc, _ in steps:
        assert rc == 0, (label, hex(rc))
    return steps
