# SPDX-License-Identifier: Apache-2.0
"""OpenSSL's word on what TPMs make: signatures, keys, and data for them."""
import os
import subprocess
import tempfile


def der(tag, body):
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(body) < 0x80 else bytes([0x80 | len(size)]) + size) + body


def public_key(modulus):
    """SubjectPublicKeyInfo with exponent 65537."""
    key = der(0x30, der(2, b"\0" + modulus) + der(2, b"\1\0\1"))
    return der(0x30, der(0x30, bytes.fromhex("06092a864886f70d010101") + b"\5\0") + der(3, b"\0" + key))


def pkeyutl(modulus, options, **files):
    """Its status and output; files: option -> bytes."""
    with tempfile.TemporaryDirectory() as folder:
        args = ["openssl", "pkeyutl", "-pubin", "-keyform", "DER"] + options
        for name, data in dict(files, inkey=public_key(modulus)).items():
            path = os.path.join(folder, name)
            with open(path, "wb") as f:
                f.write(data)
            args += ["-" + name, path]
        done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout


def verifies(modulus, digest, signature):
    """PKCS #1 v1.5 over a SHA-1 digest."""
    return pkeyutl(modulus, ["-verify", "-pkeyopt", "digest:sha1"], **{"in": digest, "sigfile": signature})[0] == 0


def encrypt(modulus, plain):
    """OAEP as a TPM wants it."""
    options = ["-encrypt"]
    for option in ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1", "rsa_oaep_label:" + b"TCPA".hex()):
        options += ["-pkeyopt", option]
    status, out = pkeyutl(modulus, options, **{"in": plain})
    assert status == 0, out
    return out
