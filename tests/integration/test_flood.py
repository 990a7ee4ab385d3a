# SPDX-License-Identifier: Apache-2.0
"""A guest that floods, and one that opens 1,000 connections: the commands of others still finish.

No figure here is about speed: a pause of the others is bounded by PAUSE_S, which a loaded machine keeps too.
"""
import resource
import socket
import struct
import threading
import time

from guest import Neighbour
from rawpeer import RawPeer, credential, hello
from rig import Rig, check, descriptors, free_port, has_sanitizer
from tpm12 import ORD, Socket, Tpm

PAUSE_S = 30
HANDSHAKE_S = 3
CONNECTIONS = 1000
# AddressSanitizer keeps up to 256 MiB of freed memory apart.
MEMORY_MAX_KIB = (1024 if has_sanitizer("vtpm-server") else 256) * 1024


def limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def memory_kib(pid):
    return int([line for line in open("/proc/%d/status" % pid) if line.startswith("VmRSS")][0].split()[1])


def others_went_on(others, what):
    for other in others:
        count, longest = other.went_on(5, 2 * PAUSE_S)
        check(longest < PAUSE_S, "%s: %s went on (%d extends, longest pause %.2f s)" % (what, other.name, count, longest))


def newcomer(rig, what, upstream, name):
    """Who comes only now gets in too."""
    begun = time.monotonic()
    other = Neighbour(rig, name, upstream=upstream)
    other.went_on(5, PAUSE_S)
    other.leave()
    check(time.monotonic() - begun < PAUSE_S, "%s: a guest that comes only now is served" % what)


# ---- Commands ----

class Flooder(threading.Thread):
    """Sends commands as fast as they are taken and reads what comes, or nothing at all."""

    def __init__(self, path, command, reads):
        super().__init__(daemon=True)
        self.path, self.command, self.reads = path, command, reads
        self.over, self.sent = False, 0
        self.start()

    def run(self):
        while not self.over:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(0.2)
                    s.connect(self.path)
                    self.pour(s)
            except OSError:
                time.sleep(0.05)

    def pour(self, s):
        burst = self.command * 100
        while not self.over:
            try:
                self.sent += s.send(burst[self.sent % len(self.command):])
            except socket.timeout:
                pass
            try:
                while self.reads and s.recv(65536, socket.MSG_DONTWAIT):
                    pass
            except BlockingIOError:
                pass


def commands(rig, others):
    rig.create("flooder")
    rig.start_shim("flooder")
    path = rig.path("flooder.tpm")
    extend = struct.pack(">HIII", 0xC1, 34, ORD["Extend"], 3) + b"\x33" * 20
    random = struct.pack(">HIII", 0xC1, 14, ORD["GetRandom"], 4000)
    test = struct.pack(">HII", 0xC1, 10, ORD["SelfTestFull"])
    flood = [Flooder(path, command, reads) for command, reads in
             ((extend, True), (extend, True), (random, True), (random, False), (test, True), (random, False))]
    time.sleep(3)
    others_went_on(others, "six pipelines of one guest")
    newcomer(rig, "six pipelines of one guest", None, "late-commands")
    check(memory_kib(rig.server.p.pid) < MEMORY_MAX_KIB, "the server's memory stays bounded: %d KiB" %
          memory_kib(rig.server.p.pid))
    for f in flood:
        f.over = True
    for f in flood:
        f.join(30)
    check(all(f.sent for f in flood), "the flood was one: %d KiB of commands" % (sum(f.sent for f in flood) >> 10))
    check(len(Tpm(Socket(path)).pcr(3)) == 20, "the guest itself is served as before")


def clients(rig, others):
    """1,000 clients on a guest's own socket: beyond its places they are turned away, and only that guest has them."""
    path, held = rig.path("flooder.tpm"), []
    for _ in range(CONNECTIONS):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
        except OSError:
            pass
        held.append(s)
    others_went_on(others, "1,000 clients of one guest")
    for s in held:
        s.close()
    end = time.monotonic() + PAUSE_S
    while time.monotonic() < end:
        try:
            Tpm(Socket(path)).pcr(3)
            break
        except OSError:
            time.sleep(0.1)
    check(time.monotonic() < end, "when they are gone that guest is served again")


# ---- Connections ----

def client_hello(rig, identity, key):
    """The first flight of a real handshake, to be sent by peers that then are silent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer = RawPeer("tcp:127.0.0.1:%d" % listener.getsockname()[1], identity, key)
        peer.say("hello")
        s, _ = listener.accept()
        with s:
            flight = s.recv(4096)
        peer.close()
    return flight


def dial(make, flight, count):
    """So many half-open connections: silent, within a record, half a handshake in turn."""
    held, refused = [], 0
    for i in range(count):
        s = make()
        try:
            s.sendall((b"", flight[:20], flight)[i % 3])
        except OSError:
            refused += 1
        s.setblocking(False)
        held.append(s)
    return held, refused


def closed(held):
    count = 0
    for s in held:
        try:
            while s.recv(4096):
                pass
            count += 1
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


def connections(rig, others, port, kind):
    identity, key = credential(rig.path("flooder.cred"))
    flight = client_hello(rig, identity, key)

    def tcp():
        return socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0), timeout=10)

    def unix():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        for _ in range(1000):
            try:
                s.connect(rig.path("vtpm.sock"))
                break
            except BlockingIOError:  # a full backlog
                time.sleep(0.01)
        return s
    server = rig.server.p.pid
    before = descriptors(server)
    held, _ = dial(tcp if kind == "tcp" else unix, flight, CONNECTIONS)
    what = "1,000 connections over %s" % kind
    now = descriptors(server)
    check(now - before < 256 + 40, "%s: the server keeps no more than its half-open places (%d)" % (what, now - before))
    newcomer(rig, what, rig.listen if kind == "unix" else "tcp:127.0.0.1:%d" % port, "late-" + kind)
    others_went_on(others, what)
    check(closed(held) >= CONNECTIONS - 256, "%s: those beyond their share were closed" % what)
    # It goes on dialling for as long as a handshake may take: the others must not starve.
    end, more = time.monotonic() + HANDSHAKE_S + 1, []
    while time.monotonic() < end:
        try:
            more += dial(tcp if kind == "tcp" else unix, flight, 50)[0]
        except OSError:
            time.sleep(0.05)
        if len(more) > 3000:
            time.sleep(0.1)
            for s in more[:1000]:
                s.close()
            del more[:1000]
    others_went_on(others, what + ", and on and on")
    end = time.monotonic() + HANDSHAKE_S + PAUSE_S
    while closed(held) < CONNECTIONS and time.monotonic() < end:
        time.sleep(0.2)
    check(closed(held) == CONNECTIONS, "%s: after the time limit all are closed" % what)
    for s in held + more:
        s.close()
    while descriptors(server) > before + 8 and time.monotonic() < end:
        time.sleep(0.1)
    check(descriptors(server) <= before + 8, "%s: none stays in the server" % what)


def idlers(rig, others):
    """A guest with a good credential that opens channels and attaches nothing."""
    identity, key = credential(rig.path("flooder.cred"))
    peers = []
    for _ in range(40):
        peer = RawPeer(rig.listen, identity, key)
        peer.handshake()
        peer.send(hello())
        peers.append(peer)
    errors = [p.until_end() for p in peers[:8]]
    check(all(e.get(4) == 1 for e in errors), "idle channels beyond 32: the oldest end, \"%s\"" % errors[0][2].decode())
    for p in peers[8:]:
        check_alive = p.expect("hello")
        if not check_alive:
            raise AssertionError("a channel within the limit was closed")
    others_went_on(others, "40 idle channels of one guest")
    for p in peers:
        p.close()


limits()
with Rig() as rig:
    rig.init()
    port = free_port()
    rig.start_server("--listen", "tcp:127.0.0.1:%d" % port, "--handshake-timeout", str(HANDSHAKE_S))
    others = [Neighbour(rig, "local"), Neighbour(rig, "remote", upstream="tcp:127.0.0.1:%d" % port)]
    others_went_on(others, "at first")
    commands(rig, others)
    clients(rig, others)
    for kind in "tcp", "unix":
        connections(rig, others, port, kind)
    idlers(rig, others)
    rig.server.wait_line(r"refused \d+ more", timeout=60)
    text = rig.server.text()
    for words in ("too many handshakes from this address", "handshake took too long", "too many channels of one identity"):
        check(words in text, "the log says \"%s\"" % words.strip())
    check(text.count("\n") < 600, "and is not flooded itself: %d lines" % text.count("\n"))
    for other in others:
        other.leave()
    rig.ctl("check")
    check(rig.server.p.poll() is None and rig.server.stop() == 0, "the server is the same process and stops in order")
print("flood: all seen to hold")
