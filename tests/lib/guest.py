# SPDX-License-Identifier: Apache-2.0
"""A well-behaved guest that extends all the time beside what a test does, and checks each answer."""
import threading
import time

from tpm12 import Socket, Tpm, sha1


class Neighbour(threading.Thread):
    def __init__(self, rig, name, **shim):
        super().__init__(daemon=True)
        rig.create(name)
        rig.start_shim(name, **shim)
        self.name, self.tpm = name, Tpm(Socket(rig.path(name + ".tpm"), timeout=120))
        self.pcr, self.count, self.longest, self.over, self.error = bytes(20), 0, 0.0, False, None
        self.start()

    def run(self):
        try:
            while not self.over:
                begun, expected = time.monotonic(), sha1(self.pcr + b"\x01" * 20)
                self.pcr = self.tpm.extend(7, b"\x01" * 20)
                if self.pcr != expected:
                    raise AssertionError("%s: a PCR is wrong: an extend was lost or done twice" % self.name)
                self.count += 1
                self.longest = max(self.longest, time.monotonic() - begun)
        except Exception as e:
            self.error = e

    def went_on(self, least=1, timeout=60):
        """So many extends more, and (how many, the longest pause) since the last call."""
        end = time.monotonic() + timeout
        while self.count < least and not self.error and time.monotonic() < end:
            time.sleep(0.01)
        if self.error:
            raise self.error
        if self.count < least:
            raise AssertionError("%s: %d extends in %d s" % (self.name, self.count, timeout))
        result, self.count, self.longest = (self.count, self.longest), 0, 0.0
        return result

    def leave(self):
        self.over = True
        self.join(60)
        if self.error:
            raise self.error
