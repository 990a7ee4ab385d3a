# SPDX-License-Identifier: Apache-2.0
"""The server's peer as an attacker has it: rawpeer.c for TLS, and messages written by hand."""
import os
import queue
import struct
import subprocess
import threading

import rig

PROGRAM = os.path.join(rig.BIN, "../tests/rawpeer")


def credential(path):
    values = dict(line.strip().split("=", 1) for line in open(path))
    return values.get("uuid") or values["identity"], values["key"]


# ---- protobuf, by hand ----
def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def blob(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def hello(version=1):
    return frame(blob(1, number(1, version) + blob(2, b"rawpeer")))


def attach(stream=bytes(16), uuid=b""):
    return frame(blob(2, (blob(1, uuid) if uuid else b"") + blob(2, stream) + blob(3, b"socket")))


def power_on():
    return frame(blob(4, number(1, 1)))


def execute(stream, n, command, locality=0):
    return frame(blob(6, blob(1, stream) + number(2, n) + number(3, locality) + blob(4, command)))


def ticket_ask(to=b""):
    return frame(blob(120, blob(1, to)))


def ticket_bring(ticket):
    return frame(blob(122, blob(1, ticket)))


def peer_ask(ticket, claim=False):
    return frame(blob(124, blob(2 if claim else 1, ticket)))


def fields(data):
    """{number: value} of one message; the last of a repeated field."""
    out, at = {}, 0

    def take():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(data):
        key = take()
        if key & 7 == 0:
            out[key >> 3] = take()
        else:
            size = take()
            out[key >> 3] = data[at:at + size]
            at += size
    return out


BODY = {1: "hello", 3: "attached", 5: "power_result", 7: "response", 10: "error", 12: "platform_result",
        121: "ticket", 123: "ticket_taken", 125: "peer_answer"}


class RawPeer:
    """One connection. Every wait has a limit: nothing here can hang a test."""

    def __init__(self, address, identity, key):
        self.p = subprocess.Popen([PROGRAM, address, identity, key], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.lines, self.plain, self.alert = queue.Queue(), b"", ""
        self.pump = threading.Thread(target=self._pump, daemon=True)
        self.pump.start()

    def _pump(self):
        for line in self.p.stdout:
            self.lines.put(line.split())
        self.lines.put(["gone"])

    def say(self, line):
        try:
            self.p.stdin.write(line + "\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            pass

    def line(self, timeout=30):
        try:
            return self.lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("the server said nothing for %d s" % timeout) from None

    def handshake(self):
        """Microseconds, or None when refused: then self.alert has the peer's last bytes and self.took the time."""
        self.say("handshake")
        line = self.line()
        if line[0] == "open":
            return int(line[1])
        self.took, self.alert = int(line[2]), "".join(line[3:])
        return None

    def send(self, data):
        self.say("send " + data.hex())

    def raw(self, data):
        self.say("raw " + data.hex())

    def message(self, timeout=30):
        """(name, fields) of the next message; ("end", how) when the channel is over."""
        while True:
            if len(self.plain) >= 4:
                size = struct.unpack(">I", self.plain[:4])[0]
                if len(self.plain) >= 4 + size:
                    whole, self.plain = self.plain[4:4 + size], self.plain[4 + size:]
                    (body, inner), = fields(whole).items()
                    return BODY[body], fields(inner)
            line = self.line(timeout)
            if line[0] == "data":
                self.plain += bytes.fromhex(line[1])
            else:
                return "end", line[0]

    def expect(self, name, timeout=30):
        got, inner = self.message(timeout)
        if got != name:
            raise AssertionError("%s %r instead of %s" % (got, inner, name))
        return inner

    def open(self, stream=None):
        """To an attached channel whose instance is on."""
        self.stream = stream or os.urandom(16)
        if self.handshake() is None:
            raise AssertionError("the handshake was refused")
        self.send(hello())
        self.expect("hello")
        self.send(attach(self.stream))
        self.expect("attached")
        self.send(power_on())
        self.expect("power_result")
        return self

    def until_end(self, timeout=30):
        """The last Error before the end, {} if there was none."""
        error = {}
        while True:
            name, inner = self.message(timeout)
            if name == "error":
                error = inner
            elif name == "end" and inner in ("eof", "gone"):
                return error

    def close(self):
        self.p.kill()
        self.p.wait()
        self.pump.join()
        for pipe in (self.p.stdin, self.p.stdout, self.p.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
