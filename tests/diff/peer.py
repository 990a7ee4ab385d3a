# SPDX-License-Identifier: Apache-2.0
"""Debian's swtpm (libtpms) in TPM 1.2 mode, made ready as this server's instances are when they are created."""
import os
import shutil
import struct
import tempfile
import time

from rig import Process, free_port
from tpm12 import Socket, Tpm


class Peer:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="vtpm-peer-")
        self.p = None

    def start(self):
        self.port = free_port()
        self.p = Process(["swtpm", "socket", "--tpmstate", "dir=" + self.dir, "--server",
                          "type=tcp,port=%d,bindaddr=127.0.0.1" % self.port, "--ctrl",
                          "type=unixio,path=" + self.dir + "/ctrl", "--flags", "not-need-init,startup-clear", "--log",
                          "file=%s/log,level=1" % self.dir], self.dir + "/out.log")
        for _ in range(100):
            try:
                return Socket(("127.0.0.1", self.port))
            except OSError:
                time.sleep(0.05)
        raise AssertionError("swtpm does not listen:\n" + self.p.text())

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

    def stop(self):
        if self.p:
            self.p.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
