# SPDX-License-Identifier: Apache-2.0
"""Live migration between two real servers (docs/moving.md): whatever fails, exactly one of them serves the guest."""
import os
import socket
import struct
import threading

import rawpeer
from rig import Process, Rig, check, free_port, program, wait_until
from tpm12 import Auth, Socket, Tpm, WELL_KNOWN

OWNER, DATA, SECRET = b"\x11" * 20, b"\x22" * 20, b"what the guest sealed"
SRK = 0x40000000
CONFLICT, NOT_PERMITTED, UNREACHED, MOVED = 4, 7, 6, 26


class Link:
    """Between the servers: a TCP proxy that knows TLS records from one another, and nothing else. Each question is a
    connection; in it the first record of data is Hello, the second is the question, or its answer."""

    def __init__(self, port):
        self.port, self.asked = port, 0
        self.over = threading.Event()
        self.fault = None       # (number of the question, "ask" or "answer", what to do)
        self.s = socket.create_server(("127.0.0.1", 0))
        self.address = "tcp:127.0.0.1:%d" % self.s.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def break_at(self, question, where, then):
        self.over.clear()
        self.asked, self.fault = 0, (question, where, then)

    def _accept(self):
        while True:
            client, _ = self.s.accept()
            self.asked += 1
            threading.Thread(target=self._serve, args=(client, self.asked), daemon=True).start()

    def _serve(self, client, number):
        try:
            server = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            client.close()
            return
        ends = (client, server)
        for a, b, where in ((client, server, "ask"), (server, client, "answer")):
            threading.Thread(target=self._pipe, args=(a, b, ends, number, where), daemon=True).start()

    def _pipe(self, a, b, ends, number, where):
        data, records = b"", 0
        try:
            while True:
                part = a.recv(65536)
                if not part:
                    break
                data += part
                while len(data) >= 5 and len(data) >= 5 + struct.unpack(">H", data[3:5])[0]:
                    size = 5 + struct.unpack(">H", data[3:5])[0]
                    records += data[0] == 23
                    if records == 2 and self.fault and self.fault[:2] == (number, where):
                        then, self.fault = self.fault[2], None
                        then()
                        self.over.set()
                        return
                    b.sendall(data[:size])
                    data = data[size:]
        except OSError:
            pass
        finally:
            for s in ends:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Shim:
    """One channel as a shim has it; a TPM's transport."""

    def __init__(self, rig, credential):
        self.peer = rawpeer.RawPeer(rig.listen, *rawpeer.credential(credential))
        self.stream, self.n = os.urandom(16), 0
        check(self.peer.handshake() is not None, "a shim's handshake at %s" % rig.name)
        self.peer.send(rawpeer.hello(2))
        self.peer.expect("hello")

    def answer(self, wanted):
        """0, or the code of the refusal; its text is in self.text."""
        name, inner = self.peer.message()
        if name not in (wanted, "error"):
            raise AssertionError("%s %r instead of %s" % (name, inner, wanted))
        self.code, self.text = (inner[1], inner.get(2, b"").decode()) if name == "error" else (0, "")
        return self.code

    def attach(self):
        """0, or the code of the refusal."""
        self.peer.send(rawpeer.attach(self.stream))
        if self.answer("attached"):
            return self.code
        self.peer.send(rawpeer.power_on())
        check(1 not in self.peer.expect("power_result"), "the power on at an attach is none")
        return 0

    def __call__(self, command):
        self.n += 1
        self.peer.send(rawpeer.execute(self.stream, self.n, command))
        return self.peer.expect("response")[2]

    def ticket(self, to=b""):
        self.peer.send(rawpeer.ticket_ask(to))
        return self.peer.expect("ticket")[1]

    def bring(self, ticket):
        """0, or the code of the refusal."""
        self.peer.send(rawpeer.ticket_bring(ticket))
        return self.answer("ticket_taken")

    def close(self):
        self.peer.close()


def introduce(rig, other, address):
    key = rig.path(other.name + ".pub")
    with open(key, "w") as f:
        f.write(other.ctl("server", "key", "show").stdout)
    rig.ctl("server", "peer", "add", other.name, "--key", key, "--address", address)


def kill(rig):
    rig.server.kill9()


class Pair:
    """The instance web1, which runs at `home`, and knows one thing: how its PCR 10 was extended."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        for rig in (a, b):
            rig.port = free_port()
            rig.listen = "tcp:127.0.0.1:%d" % rig.port
            rig.init()
            rig.start_server()
        self.to_a, self.to_b = Link(a.port), Link(b.port)
        introduce(a, b, self.to_b.address)
        introduce(b, a, self.to_a.address)
        self.uuid = a.create("web1")
        self.cred = a.path("web1.cred")
        self.home, self.away, self.link = a, b, self.to_a
        b.ctl("instance", "expect", self.cred, "--from", a.name)
        shim = Shim(a, self.cred)
        shim.peer.send(rawpeer.attach(shim.stream))
        shim.peer.expect("attached")
        shim.peer.send(rawpeer.power_on())
        check(shim.peer.expect("power_result").get(1), "powered on")
        self.shim = shim
        self.tpm = Tpm(shim)
        self.pcr = self.tpm.extend(10, b"\x01" * 20)

    def swap(self):
        """It was handed over: the other way from now on."""
        self.home, self.away = self.away, self.home
        self.link = self.to_a if self.home is self.a else self.to_b

    def lives(self, rig):
        states = {i["uuid"]: i["state"] for i in rig.ctl_json("instance", "list")["instances"]}
        return states.get(self.uuid, "disabled") != "disabled"

    def serves(self, rig):
        """Does a command get through there? It must find the PCR as it was left."""
        if not self.lives(rig):
            return False
        shim = Shim(rig, self.cred)
        try:
            if shim.attach():
                return False
            tpm = Tpm(shim)
            check(tpm.pcr(10) == self.pcr, "PCR 10 at %s is what it was" % rig.name)
            self.pcr = tpm.extend(10, b"\x02" * 20)
            return True
        finally:
            shim.close()

    def one_serves(self):
        """Where; exactly one."""
        serving = [rig for rig in (self.a, self.b) if self.serves(rig)]
        check(len(serving) == 1, "exactly one serves: %s" % [rig.name for rig in serving])
        if serving[0] is not self.home:
            self.swap()
        return serving[0]


def the_usual_course(pair):
    a, b, tpm = pair.a, pair.b, pair.tpm
    tpm.take_ownership(OWNER, WELL_KNOWN)
    rc, _, blob = tpm.seal(SRK, WELL_KNOWN, DATA, SECRET, tpm.pcr_info([10]))
    check(rc == 0, "the guest seals to its PCR 10")
    one, two = tpm.oiap(), tpm.oiap()
    ticket = pair.shim.ticket()
    check(len(ticket) == 120 and SECRET not in ticket, "a ticket of 120 bytes")
    at_b = Shim(b, pair.cred)
    check(at_b.bring(ticket) == 0, "B takes the ticket, and A serves on")
    check(pair.lives(a) and not pair.lives(b), "nothing has moved yet")
    check(at_b.attach() == 0, "the guest's first command at B brings the instance")
    check(pair.shim.peer.until_end().get(1) == MOVED, "the shim at A is told, and cut off")
    pair.shim.close()
    guest = Tpm(at_b)
    rc, _, out = guest.raw("Unseal", handles=struct.pack(">I", SRK), params=blob,
                           auths=[Auth(one, WELL_KNOWN), Auth(two, DATA)])
    check((rc, out[4:]) == (0, SECRET), "sessions that were opened at A authorise at B; PCR 10 came along")
    at_b.close()
    check("handed over to B at 20" in a.ctl("instance", "show", "web1").stdout, "A says where it went")
    check(a.ctl("instance", "enable", "web1", ok=False).returncode == CONFLICT, "A does not enable it")
    shim = Shim(a, pair.cred)
    check(shim.attach() == MOVED and "handed over to B" in shim.text, "A refuses to serve it")
    shim.close()
    check(b.ctl_json("instance", "expected")["expected"] == [], "B expects nothing any more")
    check(pair.one_serves() is b, "B serves")


def tickets_of_the_past(pair):
    """At home, where the guest goes on: in a snapshot, and when the migration was given up."""
    home = pair.home
    shim = Shim(home, pair.cred)
    check(shim.attach() == 0, "attached")
    ticket = shim.ticket()
    other = Shim(home, pair.cred)
    check(other.bring(ticket) == 0, "a ticket loads at home while nothing has happened")
    other.close()
    pair.pcr = Tpm(shim).extend(10, b"\x03" * 20)
    for where in (home, pair.away):
        other = Shim(where, pair.cred)
        check(other.bring(ticket) == CONFLICT and "moved on" in other.text, "not any more, at %s" % where.name)
        other.close()
    home.ctl("credential", "create-host", "h" + home.name, "--instance", "web1", "--credential-out", home.path("host.cred"))
    other = Shim(home, home.path("host.cred"))
    check(other.bring(shim.ticket()) == NOT_PERMITTED, "a host's credential brings nothing")
    other.close()
    # Version 1 knows nothing of it, and a server's key is wanted at the door.
    old = rawpeer.RawPeer(home.listen, *rawpeer.credential(pair.cred))
    check(old.handshake() is not None, "a channel of version 1")
    old.send(rawpeer.hello())
    old.expect("hello")
    old.send(rawpeer.ticket_bring(ticket))
    check(old.until_end().get(1) == 12, "is closed when it brings a ticket")
    old.close()
    other = Shim(home, pair.cred)
    other.peer.send(rawpeer.peer_ask(ticket, claim=True))
    check(other.peer.until_end().get(1) == 12, "a shim is no server")
    other.close()
    stranger = rawpeer.RawPeer(home.listen, "server:" + pair.uuid, "11" * 32)
    check(stranger.handshake() is None, "a server that is no peer is refused")
    stranger.close()
    shim.close()


def comes(pair, ticket):
    """As a shim does it: not now is asked again."""
    target = Shim(pair.away, pair.cred)
    try:
        code = target.bring(ticket) or target.attach()
        check(code in (0, 16), "it comes, or not just now: %d %s" % (code, target.text))
        return code == 0
    finally:
        target.close()


def migrate(pair, question, where, then, guest_stays):
    """One attempt that is broken; then the guest is where QEMU would have it."""
    shim = Shim(pair.home, pair.cred)
    check(shim.attach() == 0, "the guest's shim at %s" % pair.home.name)
    ticket = shim.ticket(pair.away.name.encode())
    pair.link.break_at(question, where, then)
    try:
        target = Shim(pair.away, pair.cred)
        if target.bring(ticket) == 0:
            target.attach()
        target.close()
    except AssertionError:
        pass                    # that server was killed
    check(pair.link.over.wait(60), "it broke where it should")
    for rig in (pair.a, pair.b):
        if rig.server.p.poll() is not None:
            rig.start_server()
    shim.close()
    if guest_stays and pair.serves(pair.home):
        target = Shim(pair.away, pair.cred)
        check(target.bring(ticket) == CONFLICT, "the ticket is void")
        target.close()
    elif guest_stays:
        wait_until(lambda: pair.lives(pair.away), "the target finds out by itself that it has the instance")
    else:
        wait_until(lambda: comes(pair, ticket), "the guest goes on at the target")


def each_step_fails(pair):
    """Each message is lost, or either server is killed with it on its way; the guest stays, or it goes."""
    for question, what in ((1, "look"), (2, "claim")):
        for where in ("ask", "answer"):
            for victim in ("nobody", "source", "target"):
                for guest_stays in (True, False):
                    home, away = pair.home, pair.away
                    then = {"nobody": lambda: None, "source": lambda: kill(home), "target": lambda: kill(away)}[victim]
                    print("---- %s's %s lost, %s killed, the guest %s" %
                          (what, where, victim, "stays" if guest_stays else "goes"))
                    migrate(pair, question, where, then, guest_stays)
                    has_left = (what, where) == ("claim", "answer") or not guest_stays
                    check(pair.one_serves() is (away if has_left else home), "and it is the right one")


def source_away(pair):
    """At the first command nobody can say whether it has left: refused."""
    shim = Shim(pair.home, pair.cred)
    check(shim.attach() == 0, "attached")
    ticket = shim.ticket(pair.away.name.encode())
    target = Shim(pair.away, pair.cred)
    check(target.bring(ticket) == 0, "taken")
    kill(pair.home)
    shim.close()
    check(target.attach() == 16 and "does not answer" in target.text, "the source is away: refused")
    target.close()
    target = Shim(pair.away, pair.cred)
    check(target.bring(ticket) == UNREACHED, "and the ticket with it")
    target.close()
    pair.home.start_server()
    check(pair.one_serves() is pair.home, "the source serves")
    for rig in (pair.a, pair.b):
        r = rig.ctl("check")
        check("damaged" not in r.stdout, "the store of %s is whole" % rig.name)


# ---- Through shims, as QEMU drives them ----

class Monitor:
    """A shim's control channel and the guest behind it."""
    GET, SET, INIT, STOP, SHUTDOWN = 0xC, 0xD, 2, 0xE, 3

    def __init__(self, pair, rig, *more):
        self.ctrl_port, self.data_port = free_port(), free_port()
        self.shim = Process([program("vtpm-shim"), "--upstream", rig.listen, "--credential", pair.cred, "--frontend",
                             "swtpm:ctrl=tcp:127.0.0.1:%d,data=tcp:127.0.0.1:%d" % (self.ctrl_port, self.data_port), *more],
                            rig.path("monitor%d.log" % self.ctrl_port), ready="vtpm-shim: ready")
        rig.others.append(self.shim)
        self.ctrl = socket.create_connection(("127.0.0.1", self.ctrl_port), timeout=60)

    def ask(self, command, body=b"", size=4):
        self.ctrl.sendall(struct.pack(">I", command) + body)
        out = b""
        while len(out) < size:
            part = self.ctrl.recv(size - len(out))
            check(part, "an answer to 0x%x" % command)
            out += part
        return struct.unpack(">%dI" % (size // 4), out)

    def get(self, kind):
        rc, _, total, size = self.ask(self.GET, struct.pack(">III", 0, kind, 0), 16)
        data = b""
        while len(data) < size:
            data += self.ctrl.recv(size - len(data))
        check((rc, total) == (0, size), "blob %d, %d bytes" % (kind, size))
        return data

    def set(self, kind, data):
        return self.ask(self.SET, struct.pack(">III", 0, kind, len(data)) + data)[0]

    def guest(self):
        self.data = Socket(("127.0.0.1", self.data_port))
        return Tpm(self.data)

    def save(self):
        return [self.get(kind) for kind in (1, 2, 3)]

    def load(self, blobs):
        """As an incoming QEMU: the code of the first refusal, or of INIT."""
        self.ask(self.STOP)
        for kind, data in enumerate(blobs, 1):
            rc = self.set(kind, data) if data else 0
            if rc:
                return rc
        return self.ask(self.INIT, struct.pack(">I", 1))[0]


def through_shims(pair):
    home, away = pair.home, pair.away
    source = Monitor(pair, home)
    check(source.ask(Monitor.INIT, struct.pack(">I", 0)) == (0,), "INIT at the source")
    tpm = source.guest()
    check(tpm.startup() == 0, "the guest starts its TPM")
    pcr = tpm.extend(10, b"\x07" * 20)
    blobs = source.save()
    check([len(b) for b in blobs] == [120, 0, 0], "one ticket and two empty blobs")
    target = Monitor(pair, away)
    check(target.load(blobs) == 0 and pair.lives(home), "an incoming monitor loads them; nothing has moved")
    # Given up: the guest goes on at the source.
    check(tpm.pcr(10) == pcr, "the guest goes on at the source")
    check(target.load(blobs) == 9, "then its blobs are void")
    # This time it comes; the source's machine ends before the guest does anything.
    blobs = source.save()
    check(target.load(blobs) == 0, "loaded again")
    check(source.ask(Monitor.SHUTDOWN) == (0,), "the source's machine ends")
    source.shim.stop()
    guest = target.guest()
    check(guest.pcr(10) == pcr and pair.lives(away) and not pair.lives(home), "the guest goes on at the target")
    pcr = guest.extend(10, b"\x08" * 20)
    # A snapshot, loaded while nothing has happened, and afterwards.
    blobs = target.save()
    check(target.load(blobs) == 0 and guest.pcr(10) == pcr, "a snapshot loads while nothing has happened")
    check(target.load(blobs) == 9, "and not any more")
    check(target.ask(Monitor.INIT, struct.pack(">I", 0)) == (0,), "a reset after that")
    check(guest.startup() == 0 and guest.pcr(10) == bytes(20), "is a new start")
    target.shim.stop()
    pair.swap()


def with_state(pair):
    """For a target that cannot reach the source: the instance leaves when it is saved."""
    home, away = pair.home, pair.away
    away.ctl("server", "peer", "remove", home.name)
    with open(away.path("again.pub"), "w") as f:
        f.write(home.ctl("server", "key", "show").stdout)
    away.ctl("server", "peer", "add", home.name, "--key", away.path("again.pub"))
    source = Monitor(pair, home, "--migrate-state", "--migrate-to", away.name)
    check(source.ask(Monitor.INIT, struct.pack(">I", 0)) == (0,), "INIT at the source")
    tpm = source.guest()
    check(tpm.startup() == 0, "the guest starts its TPM")
    pcr = tpm.extend(10, b"\x09" * 20)
    check(tpm.nv_define(OWNER, 0x1100, 16000, 2) == 0, "16,000 bytes of NV")
    blobs = source.save()
    check(blobs[0][:4] == b"VTMB" and len(blobs[0]) > 12288, "the state is in the blob, %d bytes" % len(blobs[0]))
    check(not pair.lives(home) and not pair.lives(away), "and the instance has left")
    target = Monitor(pair, away)
    spoilt = bytearray(blobs[0])
    spoilt[-100] ^= 1
    check(target.load([bytes(spoilt), b"", b""]) == 9, "an altered one is refused")
    check(target.load(blobs) == 0 and not pair.lives(away), "it loads; nothing is written yet")
    guest = target.guest()
    check(guest.pcr(10) == pcr and pair.lives(away), "the guest goes on at the target")
    check(target.load(blobs) == 9, "a state is taken once")
    for monitor in (source, target):
        monitor.shim.stop()
    pair.swap()


def main():
    with Rig() as a, Rig() as b:
        a.name, b.name = "A", "B"
        pair = Pair(a, b)
        the_usual_course(pair)
        tickets_of_the_past(pair)
        each_step_fails(pair)
        source_away(pair)
        through_shims(pair)
        with_state(pair)


main()
