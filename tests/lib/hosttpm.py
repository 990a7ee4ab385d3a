# SPDX-License-Identifier: Apache-2.0
"""The host's TPM for tests: Debian's swtpm, 2.0 or 1.2, with the tools that a host's operator has."""
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time

from rig import Process, free_port
from tpm12 import WELL_KNOWN, Auth, Socket, Tpm, sha1

OWNER = sha1(b"host owner")


class HostTpm:
    def __init__(self, rig, name, flags=()):
        self.rig, self.name, self.flags = rig, name, flags
        self.dir = rig.path(name)
        os.mkdir(self.dir)
        self.port = free_port(2)  # the TSS expects the control channel behind the TPM
        self.start()

    def start(self):
        self.p = Process(["swtpm", "socket", *self.flags, "--tpmstate", "dir=" + self.dir, "--server",
                          "type=tcp,port=%d" % self.port, "--ctrl", "type=tcp,port=%d" % (self.port + 1), "--flags",
                          "not-need-init,startup-clear"], self.rig.path(self.name + ".log"))
        self.rig.others.append(self.p)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                for port in (self.port, self.port + 1):
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError("swtpm does not listen:\n" + self.p.text())

    def stop(self):
        self.p.stop(signal.SIGTERM)

    def reboot(self):
        """PCRs begin again; keys, NV and seeds stay."""
        self.stop()
        self.start()


class Tpm2(HostTpm):
    kind = "tpm2"

    def __init__(self, rig, name):
        super().__init__(rig, name, ["--tpm2"])

    @property
    def spec(self):
        return "tcti=swtpm:port=%d" % self.port

    def tool(self, *argv, ok=True):
        r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                           env=dict(os.environ, TPM2TOOLS_TCTI="swtpm:port=%d" % self.port), cwd=self.dir)
        if ok and r.returncode:
            raise AssertionError("%s: exit %d\n%s" % (" ".join(argv), r.returncode, r.stderr))
        return r

    @staticmethod
    def digest(data):
        return hashlib.sha256(data).digest()

    def extend(self, n, data):
        self.tool("tpm2_pcrextend", "%d:sha256=%s" % (n, self.digest(data).hex()))

    def pcr(self, n):
        out = self.tool("tpm2_pcrread", "sha256:%d" % n).stdout
        return bytes.fromhex(out.split("0x")[1].split()[0])

    def clear(self):
        self.tool("tpm2_clear")

    def tidy(self):
        """What the kernel's resource manager does when a program dies: its keys and sessions go."""
        for what in ("-t", "-l"):
            self.tool("tpm2_flushcontext", what)


def enable12(t):
    """With physical presence: enabled and activated, after a reboot."""
    for bits in (0x20, 0x08):
        t.raw("PhysicalPresence", params=struct.pack(">H", bits))
    t.raw("PhysicalEnable")
    t.raw("PhysicalSetDeactivated", params=b"\0")
    t.send.close()


def own12(t, srk=WELL_KNOWN):
    t.raw("CreateEndorsementKeyPair", params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) +
          struct.pack(">III", 2048, 2, 0))
    rc, _ = t.take_ownership(OWNER, srk)
    t.send.close()
    if rc:
        raise AssertionError("no ownership of swtpm: 0x%x" % rc)


class Tpm12(HostTpm):
    kind = "tpm12"

    def __init__(self, rig, name, owned=True):
        super().__init__(rig, name)
        if owned:
            self.own()

    @property
    def spec(self):
        return "device=tcp:127.0.0.1:%d" % self.port

    def tpm(self):
        return Tpm(Socket(("127.0.0.1", self.port)))

    def own(self, srk=WELL_KNOWN):
        self.enable()
        own12(self.tpm(), srk)

    def enable(self):
        enable12(self.tpm())
        self.reboot()

    @staticmethod
    def digest(data):
        return sha1(data)

    def extend(self, n, data):
        t = self.tpm()
        t.extend(n, sha1(data))
        t.send.close()

    def pcr(self, n):
        t = self.tpm()
        value = t.pcr(n)
        t.send.close()
        return value

    def clear(self):
        """The owner clears it: SRK and tpmProof are gone; then somebody owns it anew."""
        t = self.tpm()
        rc, _, _ = t.raw("OwnerClear", auths=[Auth(t.oiap(), OWNER)])
        t.send.close()
        if rc:
            raise AssertionError("OwnerClear: 0x%x" % rc)


if __name__ == "__main__":  # enable|own SOCKET: for tests in C
    {"enable": enable12, "own": own12}[sys.argv[1]](Tpm(Socket(sys.argv[2])))
