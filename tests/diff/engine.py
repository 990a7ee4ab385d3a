# SPDX-License-Identifier: Apache-2.0
"""Our engine by itself (engine_tool.c), with the same platform side as peer.py has for swtpm."""
import os
import struct
import subprocess

TOOL = os.environ.get("VTPM_ENGINE_TOOL",
                      os.path.join(os.path.dirname(__file__), "../../build/release/tests/engine_tool"))


class Engine:
    def __init__(self):
        self.p = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.locality_now = 0

    def _ask(self, op, data=b"", locality=0):
        self.p.stdin.write(struct.pack(">cBI", op, locality, len(data)) + data)
        self.p.stdin.flush()
        size = struct.unpack(">I", self._exactly(4))[0]
        return self._exactly(size)

    def _exactly(self, n):
        data = self.p.stdout.read(n)
        if len(data) != n:
            raise AssertionError("engine_tool ended with %s" % self.p.wait())
        return data

    def send(self, command):
        return self._ask(b"C", command, self.locality_now)

    def power_on(self):
        self._ask(b"I")

    def locality(self, n):
        self.locality_now = n

    def hash(self, data):
        """HASH_START, _DATA, _END; the return code."""
        return struct.unpack(">I", self._ask(b"H", data))[0]

    def established(self):
        return struct.unpack(">I", self._ask(b"E"))[0]

    def reset_established(self, locality):
        return struct.unpack(">I", self._ask(b"R", locality=locality))[0]

    def stop(self):
        self.p.stdin.close()
        self.p.stdout.close()
        if self.p.wait(30):
            raise AssertionError("engine_tool ended with %d" % self.p.returncode)
