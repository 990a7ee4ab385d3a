# SPDX-License-Identifier: Apache-2.0
"""Every program of Debian's tpm-quote-tools on an instance; the quote is verified by openssl, too."""
import os
import struct

from rig import Rig, check, need, run
from tcsd import Device, all_worked, need_trousers
from tpm12 import Tpm, pcr_selection, sha1

PCRS = [0, 1, 10]
NUMBERS = [str(n) for n in PCRS]
NONCE_AT = 6  # in a TPM_QUOTE_INFO2: after the tag and "QUT2"


def der(kind, data):
    """One element of ASN.1, as short as it can be written."""
    n = len(data)
    length = bytes([n]) if n < 0x80 else b"\x81" + bytes([n]) if n < 0x100 else b"\x82" + struct.pack(">H", n)
    return bytes([kind]) + length + data


def der_integer(n):
    return der(0x02, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def public_key(modulus):
    """SubjectPublicKeyInfo, for openssl."""
    rsa = der(0x30, der_integer(int.from_bytes(modulus, "big")) + der_integer(65537))
    algorithm = der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return der(0x30, algorithm + der(0x03, b"\0" + rsa))


class Quotes:
    """A machine with an attestation identity key, and a verifier that has its public half. The tools work on files in
    tcsd's directory: uuid aik pub nonce quote hash pcrs."""

    def __init__(self, rig):
        self.dev = Device(rig, "quoted")

    def get(self, name):
        with open(self.dev.path(name), "rb") as f:
            return f.read()

    def put(self, name, data):
        with open(self.dev.path(name), "wb") as f:
            f.write(data)
        return self.dev.path(name)

    def altered(self, name, at):
        """The name of a copy that differs in one bit."""
        data = bytearray(self.get(name))
        data[at] ^= 1
        self.put(name + ".altered", data)
        return name + ".altered"

    def make_key(self):
        self.dev.raw().extend(10, sha1(b"measured"))
        self.dev.ok("tpm_takeownership", "-y", "-z")
        self.dev.ok("tpm_mkuuid", "uuid")
        check(len(self.get("uuid")) == 16, "a uuid of 16 bytes")
        self.dev.ok("tpm_mkaik", "-z", "aik", "pub")
        self.blob = self.get("pub")[-284:]  # a TPM_PUBKEY, wrapped by libtspi
        self.spki = self.put("spki", public_key(Tpm.pubkey_modulus(self.blob)))
        self.load()

    def load(self):
        self.dev.ok("tpm_loadkey", "aik", "uuid")
        self.dev.refused("tpm_loadkey", "aik", "uuid")

    def quote(self):
        self.put("nonce", os.urandom(20))
        self.dev.ok("tpm_getquote", "-p", "pcrs", "uuid", "nonce", "quote", *NUMBERS)

    def expect(self):
        """The expected TPM_QUOTE_INFO2, from the machine itself, and what the other client's PCRs give."""
        self.dev.ok("tpm_getpcrhash", "uuid", "hash", "pcrs", *NUMBERS)
        raw = self.dev.raw()
        values = [raw.pcr(n) for n in PCRS]
        lines = "".join("%d=%s\n" % pair for pair in zip(PCRS, (v.hex() for v in values)))
        check(self.get("pcrs").decode().lower() == lines, "the listed PCRs are those that another client reads")
        check(self.get("hash") == quote_info2(values), "their hash is that of their composite")

    def openssl(self, nonce=None, quote="quote"):
        """Does it say that the quote is a signature on what is expected, with this nonce?"""
        signed = bytearray(self.get("hash"))
        signed[NONCE_AT:NONCE_AT + 20] = nonce or self.get("nonce")
        r = run(["openssl", "dgst", "-sha1", "-verify", self.spki, "-keyform", "DER",
                 "-signature", self.dev.path(quote), self.put("signed", signed)], ok=None)
        return r.returncode == 0 and "Verified OK" in r.stdout


def quote_info2(values, nonce=bytes(20)):
    selection = pcr_selection(PCRS)
    composite = sha1(selection + struct.pack(">I", 20 * len(values)) + b"".join(values))
    return struct.pack(">H", 0x36) + b"QUT2" + nonce + selection + b"\x01" + composite


def verified(q):
    check(q.openssl(), "openssl verifies the quote")
    check(not q.openssl(nonce=bytes(20)), "but not with another nonce")
    for at in 0, 100, 255:
        check(not q.openssl(quote=q.altered("quote", at)), "nor with byte %d of it altered" % at)


def verified_by_tool(q):
    """libtspi writes the length in the key file with leading zeros, which is not DER, and OpenSSL (since 1.1.0) does
    not read that again: so the tool verifies nothing until the file is put right."""
    arguments = ["hash", "nonce", "quote"]
    q.dev.refused("tpm_verifyquote", "pub", *arguments)
    q.put("pub", der(0x30, der_integer(1) + der_integer(2) + der_integer(len(q.blob)) + der(0x04, q.blob)))
    q.dev.ok("tpm_verifyquote", "pub", *arguments)
    for name, at in (("quote", 100), ("nonce", 3), ("hash", 40)):
        wrong = [q.altered(name, at) if a == name else a for a in arguments]
        q.dev.refused("tpm_verifyquote", "pub", *wrong)


def after_an_extend(q):
    """The old expectation fails; tpm_updatepcrhash makes the new one from the values."""
    raw = q.dev.raw()
    raw.extend(10, sha1(b"measured later"))
    q.quote()
    check(not q.openssl(), "after an extend the old expectation does not hold")
    q.dev.ok("tpm_updatepcrhash", "hash", "pcrs", "hash")
    check(q.get("hash") == quote_info2([raw.pcr(n) for n in PCRS]), "tpm_updatepcrhash has the new composite")
    check(q.openssl(), "the new one does")


def registered(q):
    """The key stays registered when the server is killed, until it is unloaded."""
    q.dev.kill_server()
    q.quote()
    check(q.openssl(), "after kill -9 of the server the same key quotes")
    q.dev.ok("tpm_unloadkey", "uuid")
    q.dev.refused("tpm_unloadkey", "uuid")
    q.dev.refused("tpm_getquote", "uuid", "nonce", "quote", *NUMBERS)
    q.load()
    q.quote()
    check(q.openssl(), "loaded again, it quotes again")


need_trousers()
need("tpm_mkaik", "openssl")
with Rig() as rig:
    rig.init()
    rig.start_server()
    q = Quotes(rig)
    q.make_key()
    q.expect()
    q.quote()
    for room in verified, verified_by_tool, after_an_extend, registered:
        room(q)
    q.dev.stop()
    all_worked("tpm-quote-tools")
print("tpm-quote-tools: all seen to hold")
