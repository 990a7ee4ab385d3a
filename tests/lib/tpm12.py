# SPDX-License-Identifier: Apache-2.0
"""A TPM 1.2 client for tests: commands, sessions and a little RSA, over anything that moves bytes.

It shares no code with the server, so it is also a second opinion on formats and HMACs.
"""
import hashlib
import hmac
import os
import socket
import struct

ORD = {
    "OIAP": 0x0A, "OSAP": 0x0B, "TakeOwnership": 0x0D, "Extend": 0x14, "PcrRead": 0x15, "Quote": 0x16, "Seal": 0x17,
    "Unseal": 0x18, "CreateWrapKey": 0x1F, "GetPubKey": 0x21, "EvictKey": 0x22, "Sign": 0x3C, "ResetLockValue": 0x40, "LoadKey2": 0x41,
    "GetRandom": 0x46, "StirRandom": 0x47, "SelfTestFull": 0x50, "ContinueSelfTest": 0x53, "GetTestResult": 0x54,
    "OwnerClear": 0x5B, "DisableOwnerClear": 0x5C, "ForceClear": 0x5D, "DisableForceClear": 0x5E, "GetCapability": 0x65,
    "OwnerSetDisable": 0x6E, "PhysicalEnable": 0x6F, "PhysicalDisable": 0x70, "SetOwnerInstall": 0x71,
    "SetTempDeactivated": 0x73, "SetOperatorAuth": 0x74, "DisablePubekRead": 0x7E, "ResetEstablishmentBit": 0x4000000B,
    "PhysicalSetDeactivated": 0x72, "CreateEndorsementKeyPair": 0x78, "ReadPubek": 0x7C, "OwnerReadInternalPub": 0x81,
    "Terminate_Handle": 0x96, "SaveState": 0x98, "Startup": 0x99, "FlushSpecific": 0xBA, "PCR_Reset": 0xC8,
    "NV_DefineSpace": 0xCC, "NV_WriteValue": 0xCD, "NV_WriteValueAuth": 0xCE, "NV_ReadValue": 0xCF,
    "NV_ReadValueAuth": 0xD0, "PhysicalPresence": 0x4000000A,
    "ChangeAuth": 0x0C, "ChangeAuthOwner": 0x10, "DirWriteAuth": 0x19, "DirRead": 0x1A, "UnBind": 0x1E, "LoadKey": 0x20,
    "KeyControlOwner": 0x23, "CertifyKey": 0x32, "CertifyKey2": 0x33, "Sealx": 0x3D, "Quote2": 0x3E, "SetCapability": 0x3F,
    "CertifySelfTest": 0x52, "Reset": 0x5A, "GetCapabilitySigned": 0x64, "GetCapabilityOwner": 0x66, "MakeIdentity": 0x79,
    "ActivateIdentity": 0x7A, "OwnerReadPubek": 0x7D, "CreateRevocableEK": 0x7F, "RevokeTrust": 0x80, "SetRedirection": 0x9A,
    "SHA1Start": 0xA0, "SHA1Update": 0xA1, "SHA1Complete": 0xA2, "SHA1CompleteExtend": 0xA3, "FieldUpgrade": 0xAA,
    "SaveKeyContext": 0xB4, "LoadKeyContext": 0xB5, "SaveAuthContext": 0xB6, "LoadAuthContext": 0xB7, "SaveContext": 0xB8,
    "LoadContext": 0xB9, "CreateCounter": 0xDC, "IncrementCounter": 0xDD, "ReadCounter": 0xDE, "ReleaseCounter": 0xDF,
    "ReleaseCounterOwner": 0xE0, "GetTicks": 0xF1, "TickStampBlob": 0xF2,
    "CMK_CreateTicket": 0x12, "CMK_CreateKey": 0x13, "CMK_CreateBlob": 0x1B, "CMK_SetRestrictions": 0x1C,
    "CMK_ApproveMA": 0x1D, "CMK_ConvertMigration": 0x24, "MigrateKey": 0x25, "CreateMigrationBlob": 0x28,
    "ConvertMigrationBlob": 0x2A, "AuthorizeMigrationKey": 0x2B,
    "ChangeAuthAsymStart": 0x0E, "ChangeAuthAsymFinish": 0x0F, "DAA_Join": 0x29, "DAA_Sign": 0x31,
    "CreateMaintenanceArchive": 0x2C, "LoadMaintenanceArchive": 0x2D, "KillMaintenanceFeature": 0x2E,
    "LoadManuMaintPub": 0x2F, "ReadManuMaintPub": 0x30,
    "GetAuditDigest": 0x85, "GetAuditDigestSigned": 0x86, "SetOrdinalAuditStatus": 0x8D, "GetAuditEvent": 0x82, "DSAP": 0x11,
    "SetOwnerPointer": 0x75, "Delegate_Manage": 0xD2, "Delegate_CreateKeyDelegation": 0xD4,
    "Delegate_CreateOwnerDelegation": 0xD5, "Delegate_LoadOwnerDelegation": 0xD8, "Delegate_ReadTable": 0xDB,
    "Delegate_UpdateVerification": 0xD1, "Delegate_VerifyDelegation": 0xD6, "EstablishTransport": 0xE6,
    "ExecuteTransport": 0xE7, "ReleaseTransportSigned": 0xE8,
    "Init": 0x97, "GetOrdinalAuditStatus": 0x8C, "GetAuditEventSigned": 0x83, "Delegate_ReadAuth": 0xD9,
}
KH_SRK, KH_OWNER, KH_EK = 0x40000000, 0x40000001, 0x40000006
ET_KEYHANDLE, ET_OWNER, ET_SRK, ET_KEY, ET_COUNTER, ET_NV = 1, 2, 4, 5, 0xA, 0xB
WELL_KNOWN = bytes(20)
# Part 2, 7.1 and 7.2: a byte each, after the tag.
PERMANENT_FLAGS = """disable ownership deactivated readPubek disableOwnerClear allowMaintenance physicalPresenceLifetimeLock
    physicalPresenceHWEnable physicalPresenceCMDEnable CEKPUsed TPMpost TPMpostLock FIPS operator enableRevokeEK nvLocked
    readSRKPub tpmEstablished maintenanceDone disableFullDALogicInfo""".split()
STCLEAR_FLAGS = "deactivated disableForceClear physicalPresence physicalPresenceLock bGlobalLock".split()


def sha1(data):
    return hashlib.sha1(data).digest()


def hmac1(key, data):
    return hmac.new(key, data, hashlib.sha1).digest()


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


class Socket:
    """Raw TPM bytes on a stream socket: unix path, or (host, port)."""

    def __init__(self, address, timeout=60):
        if isinstance(address, str):
            self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self.s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.s.settimeout(timeout)
        self.s.connect(address)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.s.recv(n - len(data))
            if not part:
                raise ConnectionError("the TPM closed the connection")
            data += part
        return data

    def __call__(self, command):
        self.s.sendall(command)
        head = self._exactly(10)
        return head + self._exactly(struct.unpack(">I", head[2:6])[0] - 10)

    def close(self):
        self.s.close()


class Session:
    def __init__(self, handle, nonce_even, key=None):
        self.handle, self.nonce_even, self.key = handle, nonce_even, key

    def enc_auth(self, secret):
        return xor(secret, sha1(self.key + self.nonce_even))


class TpmError(Exception):
    def __init__(self, rc):
        super().__init__("TPM return code 0x%x" % rc)
        self.rc = rc


class Auth:
    """One session's use in one command; `secret` is ignored by OSAP sessions, which have their own key."""

    def __init__(self, session, secret=None, keep=False):
        self.session, self.secret, self.keep = session, secret, keep


class Tpm:
    def __init__(self, transport, random=os.urandom):
        self.send, self.random = transport, random

    def raw(self, ordinal, handles=b"", params=b"", auths=(), out_handles=0):
        """(rc, outgoing handle bytes, parameters). Checks the response's HMACs."""
        code = ORD[ordinal] if isinstance(ordinal, str) else ordinal
        digest = sha1(struct.pack(">I", code) + params)
        trailer, odd = b"", []
        for a in auths:
            nonce = self.random(20)
            key = a.session.key or a.secret
            odd.append(nonce)
            mac = hmac1(key, digest + a.session.nonce_even + nonce + bytes([a.keep]))
            trailer += struct.pack(">I", a.session.handle) + nonce + bytes([a.keep]) + mac
        body = handles + params + trailer
        rsp = self.send(struct.pack(">HII", 0xC1 + len(auths), 10 + len(body), code) + body)
        tag, size, rc = struct.unpack(">HII", rsp[:10])
        if size != len(rsp):
            raise AssertionError("paramSize %d, but %d bytes" % (size, len(rsp)))
        if rc:
            if tag != 0xC4 or size != 10:
                raise AssertionError("error 0x%x in a response of tag 0x%x and %d bytes" % (rc, tag, size))
            return rc, b"", b""
        if tag != 0xC4 + len(auths):
            raise AssertionError("response tag 0x%x" % tag)
        end = len(rsp) - 41 * len(auths)
        handle_end = 10 + 4 * out_handles
        out = rsp[handle_end:end]
        out_digest = sha1(struct.pack(">II", rc, code) + out)
        for i, a in enumerate(auths):
            part = rsp[end + 41 * i:end + 41 * (i + 1)]
            even, keep, mac = part[:20], part[20:21], part[21:]
            key = a.session.key or a.secret
            if mac != hmac1(key, out_digest + even + odd[i] + keep):
                raise AssertionError("the response's HMAC %d is wrong" % i)
            a.session.nonce_even = even
        return rc, rsp[10:handle_end], out

    def call(self, ordinal, **kw):
        rc, handle, out = self.raw(ordinal, **kw)
        if rc:
            raise TpmError(rc)
        return handle + out

    # ---- sessions ----
    def oiap(self):
        out = self.call("OIAP")
        return Session(struct.unpack(">I", out[:4])[0], out[4:24])

    def osap(self, entity_type, entity, secret):
        odd = self.random(20)
        out = self.call("OSAP", params=struct.pack(">HI", entity_type, entity) + odd)
        handle, even, even_osap = struct.unpack(">I", out[:4])[0], out[4:24], out[24:44]
        return Session(handle, even, hmac1(secret, even_osap + odd))

    def flush(self, handle, resource):
        return self.raw("FlushSpecific", handles=struct.pack(">I", handle), params=struct.pack(">I", resource))[0]

    # ---- what tests need often ----
    def startup(self, kind=1):
        return self.raw("Startup", params=struct.pack(">H", kind))[0]

    def extend(self, pcr, digest):
        return self.call("Extend", params=struct.pack(">I", pcr) + digest)

    def pcr(self, n):
        return self.call("PcrRead", params=struct.pack(">I", n))

    def get_random(self, n):
        return self.call("GetRandom", params=struct.pack(">I", n))[4:]

    def capability(self, area, sub=b""):
        return self.raw("GetCapability", params=struct.pack(">II", area, len(sub)) + sub)

    def flags(self):
        """The names of the permanent flags that are set, and of those that last until the next Startup."""
        sets = []
        for sub, names in ((0x108, PERMANENT_FLAGS), (0x109, STCLEAR_FLAGS)):
            rc, _, out = self.capability(4, struct.pack(">I", sub))
            if rc or len(out) != 6 + len(names):
                raise AssertionError("flags 0x%x: return code 0x%x, %d bytes" % (sub, rc, len(out)))
            sets.append({name for name, value in zip(names, out[6:]) if value})
        return sets

    def set_permanent_flag(self, name, value, owner):
        """TPM_SetCapability by the owner."""
        params = struct.pack(">IIII?", 1, 4, PERMANENT_FLAGS.index(name) + 1, 1, value)
        return self.raw("SetCapability", params=params, auths=[Auth(self.oiap(), owner)])[0]

    def lockout(self):
        """(is it defending, wrong guesses counted, seconds left), Part 2, 21.10."""
        out = self.capability(0x19, struct.pack(">H", ET_OWNER))[2][4:]
        return out[2] == 1, *struct.unpack(">H", out[3:5]), *struct.unpack(">I", out[13:17])

    def read_pubek(self):
        """Modulus of the EK."""
        return self.pubkey_modulus(self.call("ReadPubek", params=self.random(20))[:-20])

    @staticmethod
    def pubkey_modulus(pubkey):
        """From a TPM_PUBKEY."""
        parms = struct.unpack(">I", pubkey[8:12])[0]
        at = 12 + parms
        size = struct.unpack(">I", pubkey[at:at + 4])[0]
        return pubkey[at + 4:at + 4 + size]

    SRK_TEMPLATE = (struct.pack(">BBBB", 1, 1, 0, 0) + struct.pack(">HI", 0x11, 0) + b"\x00" +
                    struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0) + struct.pack(">III", 0, 0, 0))

    def take_ownership(self, owner, srk, ek=None):
        ek = ek or self.read_pubek()
        enc_owner, enc_srk = (oaep(ek, secret, self.random) for secret in (owner, srk))
        params = (struct.pack(">HI", 5, len(enc_owner)) + enc_owner + struct.pack(">I", len(enc_srk)) + enc_srk +
                  self.SRK_TEMPLATE)
        rc, _, out = self.raw("TakeOwnership", params=params, auths=[Auth(self.oiap(), owner)])
        return rc, out

    @staticmethod
    def key_template(usage, sig=1, enc=1, bits=2048, auth_usage=1, flags=0):
        """TPM_KEY 1.1 to be created: usage 0x10 signing, 0x11 storage, 0x15 legacy."""
        return (struct.pack(">BBBB", 1, 1, 0, 0) + struct.pack(">HI", usage, flags) + bytes([auth_usage]) +
                struct.pack(">IHHI", 1, enc, sig, 12) + struct.pack(">III", bits, 2, 0) +
                struct.pack(">III", 0, 0, 0))

    def create_wrap_key(self, parent, parent_auth, usage_auth, template):
        session = self.osap(ET_KEYHANDLE, parent, parent_auth)
        enc = session.enc_auth(usage_auth)
        return self.raw("CreateWrapKey", handles=struct.pack(">I", parent), params=enc + bytes(20) + template,
                        auths=[Auth(session)])

    def load_key2(self, parent, parent_auth, key):
        rc, handle, _ = self.raw("LoadKey2", handles=struct.pack(">I", parent), params=key,
                                 auths=[Auth(self.oiap(), parent_auth)], out_handles=1)
        return rc, struct.unpack(">I", handle)[0] if handle else None

    def seal(self, parent, parent_auth, data_auth, data, pcr_info=b""):
        session = self.osap(ET_KEYHANDLE, parent, parent_auth)
        params = (session.enc_auth(data_auth) + struct.pack(">I", len(pcr_info)) + pcr_info +
                  struct.pack(">I", len(data)) + data)
        return self.raw("Seal", handles=struct.pack(">I", parent), params=params, auths=[Auth(session)])

    def unseal(self, parent, parent_auth, data_auth, blob):
        rc, _, out = self.raw("Unseal", handles=struct.pack(">I", parent), params=blob,
                              auths=[Auth(self.oiap(), parent_auth), Auth(self.oiap(), data_auth)])
        return rc, out[4:]

    def sign(self, key, auth, data):
        rc, _, out = self.raw("Sign", handles=struct.pack(">I", key), params=struct.pack(">I", len(data)) + data,
                              auths=[Auth(self.oiap(), auth)])
        return rc, out[4:]

    def quote(self, key, auth, nonce, selection):
        return self.raw("Quote", handles=struct.pack(">I", key), params=nonce + selection,
                        auths=[Auth(self.oiap(), auth)])

    def physical_presence(self, value):
        return self.raw("PhysicalPresence", params=struct.pack(">H", value))[0]

    def pcr_info(self, pcrs):
        """TPM_PCR_INFO (1.1) for the present values."""
        selection = pcr_selection(pcrs)
        values = b"".join(self.pcr(n) for n in sorted(pcrs))
        digest = sha1(selection + struct.pack(">I", len(values)) + values)
        return selection + digest + digest

    def nv_define(self, owner, index, size, attributes, area_auth=WELL_KNOWN, encrypted=True):
        no_pcrs = struct.pack(">H", 3) + bytes(3) + b"\x1f" + bytes(20)
        public = (struct.pack(">HI", 0x18, index) + no_pcrs + no_pcrs + struct.pack(">HI", 0x17, attributes) +
                  b"\0\0\0" + struct.pack(">I", size))
        if owner is None:
            return self.raw("NV_DefineSpace", params=public + area_auth)[0]
        session = self.osap(ET_OWNER, KH_OWNER, owner)
        enc = session.enc_auth(area_auth)
        return self.raw("NV_DefineSpace", params=public + enc, auths=[Auth(session)])[0]

    def nv_write(self, index, offset, data, owner=None):
        params = struct.pack(">III", index, offset, len(data)) + data
        auths = [Auth(self.oiap(), owner)] if owner is not None else []
        return self.raw("NV_WriteValue", params=params, auths=auths)[0]

    def nv_read(self, index, offset, size, owner=None):
        auths = [Auth(self.oiap(), owner)] if owner is not None else []
        rc, _, out = self.raw("NV_ReadValue", params=struct.pack(">III", index, offset, size), auths=auths)
        return rc, out[4:]

    def nv_write_auth(self, index, offset, data, secret):
        params = struct.pack(">III", index, offset, len(data)) + data
        return self.raw("NV_WriteValueAuth", params=params, auths=[Auth(self.oiap(), secret)])[0]

    def nv_read_auth(self, index, offset, size, secret):
        rc, _, out = self.raw("NV_ReadValueAuth", params=struct.pack(">III", index, offset, size),
                              auths=[Auth(self.oiap(), secret)])
        return rc, out[4:]


def pcr_selection(pcrs, size=3):
    bits = bytearray(size)
    for n in pcrs:
        bits[n // 8] |= 1 << n % 8
    return struct.pack(">H", size) + bytes(bits)


# ---- RSA, as much as a client needs ----
def mgf1(seed, length):
    out = b""
    for counter in range((length + 19) // 20):
        out += sha1(seed + struct.pack(">I", counter))
    return out[:length]


def encrypt(modulus, padded):
    """The bare RSA operation under exponent 65537."""
    return pow(int.from_bytes(padded, "big"), 65537, int.from_bytes(modulus, "big")).to_bytes(len(modulus), "big")


def oaep_block(k, message, random=os.urandom, label=b"TCPA"):
    """EME-OAEP with SHA-1: k bytes."""
    block = sha1(label) + bytes(k - len(message) - 42) + b"\x01" + message
    seed = random(20)
    masked = xor(block, mgf1(seed, k - 21))
    return b"\x00" + xor(seed, mgf1(masked, 20)) + masked


def oaep(modulus, message, random=os.urandom, label=b"TCPA"):
    """RSAES-OAEP with SHA-1 under exponent 65537."""
    return encrypt(modulus, oaep_block(len(modulus), message, random, label))


def pkcs1(modulus, message, random=os.urandom):
    """RSAES-PKCS1-v1_5 under exponent 65537."""
    k = len(modulus)
    pad = bytes(b or 1 for b in random(k - 3 - len(message)))
    return encrypt(modulus, b"\x00\x02" + pad + b"\x00" + message)


def verify_sha1(modulus, digest, signature):
    """PKCS #1 v1.5 signature over a SHA-1 digest."""
    k = len(modulus)
    info = bytes.fromhex("3021300906052b0e03021a05000414") + digest
    want = b"\x00\x01" + b"\xff" * (k - 3 - len(info)) + b"\x00" + info
    got = pow(int.from_bytes(signature, "big"), 65537, int.from_bytes(modulus, "big"))
    return len(signature) == k and got.to_bytes(k, "big") == want


def key_modulus(key):
    """The public modulus in a TPM_KEY as CreateWrapKey or TakeOwnership returns it."""
    parms = struct.unpack(">I", key[19:23])[0]
    at = 23 + parms
    pcr = struct.unpack(">I", key[at:at + 4])[0]
    at += 4 + pcr
    size = struct.unpack(">I", key[at:at + 4])[0]
    return key[at + 4:at + 4 + size]
