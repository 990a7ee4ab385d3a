# SPDX-License-Identifier: Apache-2.0
"""Many instances and many guests: a quick way to make the one (the admin socket itself) and crowd.c for the others."""
import os
import socket
import struct
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import rig
from rawpeer import blob, fields, frame, number

PROGRAM = os.path.join(rig.BIN, "../tests/crowd")


class Admin:
    """One connection to the admin socket, for request after request."""

    def __init__(self, admin):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(admin.removeprefix("unix:"))

    def _take(self, size):
        data = b""
        while len(data) < size:
            more = self.s.recv(size - len(data))
            if not more:
                raise AssertionError("the server closed the admin connection")
            data += more
        return data

    def ask(self, verb, body):
        """The reply's fields; the last of a repeated one."""
        self.s.sendall(frame(blob(verb, body)))
        return fields(self._take(struct.unpack(">I", self._take(4))[0]))

    def create(self, name):
        """An instance without EK: (uuid, key)."""
        reply = self.ask(1, blob(1, name.encode()) + number(3, 1))
        if reply.get(1):
            raise AssertionError("%s: %s" % (name, reply.get(2)))
        credential = fields(reply[4])
        return str(uuid.UUID(credential[1].decode())), credential[2].hex()


def make_instances(admin, count, path, connections=8, first=0):
    """So many new instances; a line "UUID KEY" of each goes into the file `path`."""
    def share(k):
        a = Admin(admin)
        return [a.create("g%05d" % n) for n in range(first + k, first + count, connections)]
    with ThreadPoolExecutor(connections) as pool:
        made = [pair for part in pool.map(share, range(connections)) for pair in part]
    with open(path, "a") as f:
        f.writelines("%s %s\n" % pair for pair in made)


class Crowd:
    """The program; each method waits for its answer."""

    def __init__(self, address, path):
        self.p = subprocess.Popen([PROGRAM, address, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()

    def hear(self, word):
        line = self.p.stdout.readline().split()
        if not line or line[0] != word:
            raise AssertionError("crowd: %r instead of %s" % (line, word))
        return [int(x) for x in line[1:]]

    def ask(self, answer, *words):
        self.say(*words)
        return self.hear(answer)

    def attach(self, count):
        """Milliseconds until they all are on."""
        return self.ask("attached", "attach", count)[1]

    def run(self, command):
        """(milliseconds for all, p50, p99, max in microseconds); every one must succeed."""
        count, ms, p50, p99, most, wrong = self.ask("ran", "run", command.hex())
        if wrong:
            raise AssertionError("%d of %d commands failed" % (wrong, count))
        return ms, p50, p99, most

    def one(self, k, command):
        """Microseconds."""
        us, rc = self.ask("one", "one", k, command.hex())
        if rc:
            raise AssertionError("guest %d: TPM error %d" % (k, rc))
        return us

    def drops(self):
        return self.ask("drops", "drops")[0]

    def close(self):
        self.p.stdin.close()
        self.p.wait(60)
        self.p.stdout.close()
