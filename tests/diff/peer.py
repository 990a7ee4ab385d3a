# SPDX-License-Identifier: Apache-2.0
"""Debian's swtpm (libtpms) in TPM 1.2 mode, made ready as this server's instances are when they are created."""
import os
import shutil
import socket
import struct
import tempfile
import time

from rig import Process
from tpm12 import Socket, Tpm


class Peer:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="vtpm-peer-")
        self.p = None

    def start(self):
        path, log = self.dir + "/tpm", self.dir + "/log"
        self.p = Process(["swtpm", "socket", "--tpmstate", "dir=" + self.dir, "--server", "type=unixio,path=" + path,
                          "--ctrl", "type=unixio,path=" + self.dir + "/ctrl", "--flags", "not-need-init,startup-clear",
                          "--log", "file=%s,level=1" % log], self.dir + "/out.log")
        end = time.monotonic() + 60
        while time.monotonic() < end and self.p.p.poll() is None:
            try:
                return Socket(path, 300)
            except OSError:
                time.sleep(0.02)
        with open(log, errors="replace") as f:
            raise AssertionError("swtpm does not listen (exit %s):\n%s%s" % (self.p.p.poll(), self.p.text(), f.read()))

    def manufacture(self):
        """EK, enabled, activated, NV locked; presence by command allowed but not asserted."""
        t = Tpm(self.start())
        presence = lambda bits: t.raw("PhysicalPresence", params=struct.pack(">H", bits))
        presence(0x20)
        presence(0x08)
        t.raw("PhysicalEnable")
        t.raw("PhysicalSetDeactivated", params=b"\0")
        t.send.close()
        self.p.stop()
        t = Tpm(self.start())
        t.raw("CreateEndorsementKeyPair",
              params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0))
        t.nv_define(None, 0xFFFFFFFF, 0, 0)
        t.send.close()
        self.p.stop()
        return self.start()

    # ---- the platform's side: swtpm's control channel ----
    def control(self, command, data=b"", answer=4):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(300)
            s.connect(self.dir + "/ctrl")
            s.sendall(struct.pack(">I", command) + data)
            out = b""
            while len(out) < answer:
                part = s.recv(answer - len(out))
                if not part:
                    raise AssertionError("swtpm's control channel closed after %r" % out)
                out += part
        return struct.unpack(">I", out[:4])[0], out[4:]

    def power_on(self):
        """TPM_Init, and nothing more."""
        assert self.control(2, bytes(4))[0] == 0

    def locality(self, n):
        assert self.control(5, bytes([n]))[0] == 0

    def hash(self, data):
        """HASH_START, _DATA, _END; the return code."""
        rc = self.control(6)[0]
        if not rc:
            rc = self.control(7, struct.pack(">I", len(data)) + data)[0]
        return rc or self.control(8)[0]

    def established(self):
        return self.control(4, answer=8)[1][0]

    def reset_established(self, locality):
        return self.control(11, bytes([locality]))[0]

    def stop(self):
        if self.p:
            self.p.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
