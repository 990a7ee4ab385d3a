# SPDX-License-Identifier: Apache-2.0
"""Direct anonymous attestation: an issuer, a host and a verifier in plain Python against TPM_DAA_Join and TPM_DAA_Sign.

What a TPM answers is random; that it satisfies the scheme's equations is what the steps say.
"""
import struct

from authority import do, ready
from daa_numbers import GAMMA, KEY0_P, KEY0_Q, KEY1_P, KEY1_Q, N_P, N_Q, Q
from migration import make_identity
from scenario import DATA, KEY, OWNER, close_sessions, flush_sessions, forgive
from states import U32
from tpm12 import KH_EK, Auth, oaep, sha1

POWER0, POWER1 = 104, 1024
N = N_P * N_Q
RT_DAA_TPM = 8


def number(value, size=256):
    return value.to_bytes(size, "big")


def value(data):
    return int.from_bytes(data, "big")


def sign_with(p, q, data):
    """PKCS #1 v1.5 with SHA-1."""
    info = bytes.fromhex("3021300906052b0e03021a05000414") + sha1(data)
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info
    return number(pow(value(padded), pow(65537, -1, (p - 1) * (q - 1)), p * q))


class Issuer:
    """Squares modulo N; S1 = S0^(2^power1), so that the two halves of v are one number."""

    def __init__(self):
        self.s0 = pow(7, 2 * 65537, N)
        self.s1 = pow(self.s0, 1 << POWER1, N)
        self.r0, self.r1 = pow(self.s0, 0x1234567, N), pow(self.s0, 0x89ABCDEF, N)
        self.w = pow(5, (GAMMA - 1) // Q, GAMMA)
        self.settings = struct.pack(">H", 0x2F) + b"".join(
            sha1(number(x)) for x in (self.r0, self.r1, self.s0, self.s1, N, GAMMA)) + number(Q, 26)
        self.keys = [number(KEY0_P * KEY0_Q), number(KEY1_P * KEY1_Q)]
        self.chain = sign_with(KEY0_P, KEY0_Q, self.keys[1])
        self.signature = sign_with(KEY1_P, KEY1_Q, sha1(self.keys[0]) + self.settings)


ISSUER = Issuer()
R0, R1, S0, S1, NN, G = (number(x) for x in (ISSUER.r0, ISSUER.r1, ISSUER.s0, ISSUER.s1, N, GAMMA))
POWERS = {4: R0, 5: R1, 6: S0, 7: S1, 9: R0, 10: R1, 11: S0, 12: S1}
SIGN_POWERS = {2: R0, 3: R1, 4: S0, 5: S1}


def product(*pairs, modulus=N):
    out = 1
    for base, exponent in pairs:
        out = out * pow(base, exponent, modulus) % modulus
    return out


class Party:
    """One DAA session of one TPM: stages in their order, and what they answered."""

    def __init__(self, x, ordinal):
        self.x, self.ordinal, self.handle, self.out, self.next = x, ordinal, 0, {}, 0

    def send(self, stage, data0=b"", data1=b"", handle=None, owner=OWNER):
        t = self.x.t
        params = bytes([stage]) + U32(len(data0)) + data0 + U32(len(data1)) + data1
        rc, _, out = t.raw(self.ordinal, handles=U32(self.handle if handle is None else handle), params=params,
                           auths=[Auth(t.oiap(), owner)])
        if rc:
            flush_sessions(self.x)
        return rc, out[4:]

    def step(self, stage, data0=b"", data1=b""):
        rc, out = self.send(stage, data0, data1)
        assert rc == 0, (self.ordinal, stage, hex(rc))
        self.out.setdefault(stage, out)
        if stage == 0:
            self.handle = value(out)
        return out


class Join(Party):
    LAST = 24

    def __init__(self, x, count=1):
        super().__init__(x, "DAA_Join")
        self.count, self.keyed = count, 0
        self.ne, self.challenge = b"n" * 20, sha1(b"host's challenge")
        self.u2, self.u3 = (1 << 1024) - 12345, (1 << 1500) - 54321

    def inputs(self, stage):
        i = ISSUER
        if stage in POWERS:
            return POWERS[stage], NN
        return {0: (U32(2), b""), 1: (i.keys[min(self.keyed, 1)], i.chain if self.keyed else b""),
                2: (i.settings, i.signature), 3: (U32(self.count), b""), 8: (oaep(self.x.ek, self.ne), b""),
                13: (G, number(i.w)), 14: (G, b""), 15: (G, b""), 16: (self.challenge, b""), 22: (number(self.u2, 128), b""),
                23: (number(self.u3, 192), b"")}.get(stage, (b"", b""))

    def upto(self, stage):
        """All before that stage; the session then stands there."""
        while self.next < stage:
            self.step(self.next, *self.inputs(self.next))
            if self.next == 1 and not self.keyed:
                self.keyed = 1
                continue
            self.next += 1
        return self


class Sign(Party):
    LAST = 15

    def __init__(self, x, joined, identity=0):
        super().__init__(x, "DAA_Sign")
        self.joined, self.identity, self.challenge = joined, identity, sha1(b"verifier's challenge")

    def inputs(self, stage):
        j = self.joined.out
        if stage in SIGN_POWERS:
            return SIGN_POWERS[stage], NN
        message = (b"\0", U32(self.identity)) if self.identity else (b"\1", DATA)
        return {0: (ISSUER.settings, b""), 1: (j[24], b""), 6: (G, number(ISSUER.w)), 7: (G, b""), 8: (G, b""),
                9: (self.challenge, b""), 10: message, 13: (j[22], b""), 14: (j[22], b""), 15: (j[23], b"")}.get(stage, (b"", b""))

    def upto(self, stage):
        while self.next < stage:
            self.step(self.next, *self.inputs(self.next))
            self.next += 1
        return self


def joined(x, label, count=1):
    """The issuer's part: is what the TPM proves true?"""
    j = Join(x, count).upto(25)
    o, i = j.out, ISSUER
    u, u_ = value(o[7]), value(o[12])
    digest = sha1(o[7] + U32(count) + sha1(i.keys[0]))
    x.step("%s: endorsed" % label, 0, "%s" % (o[8] == sha1(digest + j.ne)))
    c_bytes = sha1(j.challenge + o[16])
    c = value(c_bytes)
    s0, s1, s2, s3 = (value(o[n]) for n in (17, 18, 19, 21))
    x.step("%s: proof" % label, 0, "%s %s" % (
        o[20] == c_bytes, product((i.r0, s0), (i.r1, s1), (i.s0, s2), (i.s1, s3)) == u_ * pow(u, c, N) % N))
    e, e1 = value(o[14]), value(o[15])
    x.step("%s: pseudonym" % label, 0, "%s %s" % (
        pow(i.w, s0 + (s1 << POWER0), GAMMA) == e1 * pow(e, c, GAMMA) % GAMMA, pow(e, Q, GAMMA) == 1))
    x.step("%s: sizes" % label, 0, "%s" % [len(o[n]) for n in (0, 1, 2, 3, 7, 8, 12, 16, 19, 20)])
    # What the certificate is about.
    j.certified = u * product((i.s0, j.u2), (i.s1, j.u3)) % N
    return j


def signed(x, label, j, identity=0, modulus=b""):
    """The verifier's part, by the certified number itself: hiding it is the host's."""
    s = Sign(x, j, identity).upto(16)
    o, i = s.out, ISSUER
    message = b"\0" + modulus if identity else b"\1" + DATA
    c_bytes = sha1(sha1(s.challenge + o[9]) + message)
    c = value(c_bytes)
    s0, s1, s2, s3 = (value(o[n]) for n in (11, 12, 13, 15))
    x.step("%s: signature" % label, 0, "%s %s" % (
        o[10] == c_bytes, product((i.r0, s0), (i.r1, s1), (i.s0, s2), (i.s1, s3)) == value(o[5]) * pow(j.certified, c, N) % N))
    e, e1 = value(o[7]), value(o[8])
    x.step("%s: pseudonym" % label, 0, "%s %s" % (
        pow(i.w, s0 + (s1 << POWER0), GAMMA) == e1 * pow(e, c, GAMMA) % GAMMA, e == value(j.out[14])))
    return s


def prepare(x):
    ready(x)
    t = x.t
    rc, _, out = t.raw("OwnerReadInternalPub", params=U32(KH_EK), auths=[Auth(t.oiap(), OWNER)])
    assert rc == 0, hex(rc)
    x.ek = t.pubkey_modulus(out)


def handles(x, label):
    out = x.t.capability(0x14, U32(RT_DAA_TPM))[2]
    x.step("DAA sessions, %s" % label, 0, "%d" % struct.unpack(">H", out[4:6])[0])


def attestation(x):
    prepare(x)
    handles(x, "none")
    j = joined(x, "join")
    signed(x, "sign a digest", j)
    identity, modulus = make_identity(x)
    signed(x, "sign an identity", j, identity, modulus)
    x.t.flush(identity, 1)
    again = joined(x, "join again")
    x.step("the same secret", 0, "%s" % (again.out[14] == j.out[14]))
    x.step("another count", 0, "%s" % (joined(x, "join with another count", 7).out[14] == j.out[14]))
    handles(x, "after all")
    close_sessions(x, "attestation")


def wrong_inputs(x):
    """At every stage: another stage, short and altered data, another session, another owner."""
    prepare(x)
    t = x.t
    j = Join(x).upto(25)
    j.certified = 0
    for make, last in ((lambda: Join(x), 24), (lambda: Sign(x, j), 15)):
        for stage in range(last + 1):
            name = make().ordinal
            variants = [("another stage", None)]
            data0, data1 = make().inputs(stage)
            for which, data in ((0, data0), (1, data1)):
                if data:
                    variants += [("data %d altered" % which, (which, data[:-1] + bytes([data[-1] ^ 1]))), ("data %d short" % which, (which, data[:-1])),
                                 ("data %d long" % which, (which, data + b"\0")), ("data %d missing" % which, (which, b""))]
            for label, change in variants:
                # What a random number may satisfy, or what any value will do for.
                if (name, stage, label) in (("DAA_Join", 1, "data 0 altered"), ("DAA_Join", 16, "data 0 altered"), ("DAA_Sign", 9, "data 0 altered"),
                                            ("DAA_Join", 0, "data 0 altered"), ("DAA_Join", 3, "data 0 altered"), ("DAA_Join", 22, "data 0 altered"),
                                            ("DAA_Join", 23, "data 0 altered"), ("DAA_Sign", 10, "data 1 altered"), ("DAA_Join", 8, "data 0 long")):
                    continue
                p = make().upto(stage)
                args = list(p.inputs(stage))
                if change:
                    args[change[0]] = change[1]
                rc, _ = p.send(stage + (change is None), *args)
                x.step("%s stage %d, %s" % (name, stage, label), rc)
                if p.handle:
                    x.step("%s stage %d, its session" % (name, stage), t.flush(p.handle, RT_DAA_TPM))
    p = Join(x).upto(4)
    x.step("no such session", p.send(4, R0, NN, handle=0x08FFFFF0)[0])
    x.step("stage 25", p.send(25)[0])
    p = Join(x).upto(1)
    x.step("a chain with a wrong signature", (p.send(1, ISSUER.keys[0])[0], p.send(1, ISSUER.keys[1], bytes(256))[0])[1])
    x.step("a zero count", Join(x).send(0, U32(0))[0])
    p = Join(x).upto(13)
    x.step("w of another order", p.send(13, G, number(2))[0])
    p = Join(x).upto(1)
    x.step("a join's session to sign", Sign(x, j).send(1, j.out[24], handle=p.handle)[0])
    t.flush(p.handle, RT_DAA_TPM)
    for kind, blob in ((1, j.out[22]), (1, j.out[23])):
        x.step("another kind of blob", Sign(x, j).upto(1).send(kind, blob)[0])
    x.step("v1 for v0", Sign(x, j).upto(13).send(13, j.out[23])[0])
    x.step("FlushSpecific of none", t.flush(0x08FFFFF0, RT_DAA_TPM))
    handles(x, "after the wrong ways")
    close_sessions(x, "wrong inputs")


def sessions(x):
    prepare(x)
    t = x.t
    p = Join(x).upto(6)
    handles(x, "one")
    rc, _, out = t.raw("SaveContext", handles=U32(p.handle), params=U32(RT_DAA_TPM) + bytes(16))
    x.step("SaveContext", rc)
    x.step("stage of a saved session", p.send(6, S0, NN)[0])
    blob = out[4:]
    rc, handle, _ = t.raw("LoadContext", handles=U32(0), params=b"\0" + U32(len(blob)) + blob, out_handles=1)
    x.step("LoadContext", rc)
    p.handle = value(handle)
    p.upto(25)
    x.step("went on", 0, "%s" % sorted(p.out))
    x.step("LoadContext again", t.raw("LoadContext", handles=U32(0), params=b"\0" + U32(len(blob)) + blob, out_handles=1)[0])
    p = Join(x).upto(6)
    x.step("FlushSpecific", t.flush(p.handle, RT_DAA_TPM))
    x.step("FlushSpecific again", t.flush(p.handle, RT_DAA_TPM))
    do(x, "stage 0 by another owner", "DAA_Join", U32(0), b"\0" + U32(4) + U32(1) + U32(0), [Auth(t.oiap(), DATA)])
    forgive(x)
    close_sessions(x, "DAA sessions")


SCENES = (attestation, sessions, wrong_inputs)
