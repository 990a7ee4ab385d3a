# SPDX-License-Identifier: Apache-2.0
"""Monitors that do as they like on the control channel and the data channel: the shim goes on, and nothing is left behind."""
import hashlib
import os
import socket
import subprocess
import time

from ctrlchannel import (BUFFERSIZE, CAPABILITY, DATAFD, FAIL, GET_BLOB, HASH_DATA, INFO, INIT, LOCALITY, Ours,
                         PERMANENT, SET_BLOB, STOP, TICKS, VOLATILE, be, take)
from rig import Rig, program, wait_until


def descriptors(shim):
    return len(os.listdir("/proc/%d/fd" % shim.p.pid))


def test_descriptors__of_any_kind_and_number__are_refused_and_closed(rig, ours):
    shim = rig.others[0]
    s = ours.session()
    assert s.rc(CAPABILITY) == 0
    before = descriptors(shim)
    pipe = os.pipe()
    null, here = os.open("/dev/null", os.O_RDWR), os.open(rig.dir, os.O_RDONLY)
    pair = socket.socketpair()
    lone, listening = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listening.bind(rig.path("listening"))
    listening.listen(1)
    packets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bad = [pipe[0], pipe[1], null, here, lone.fileno(), listening.fileno(), packets[0].fileno(), inet.fileno()]
    for fd in bad:
        assert s.rc(DATAFD, fds=[fd]) == 3, fd
    for count in 2, 3, 5, 64, 253:
        assert s.rc(DATAFD, fds=[pair[0].fileno()] * count) == 3, count
    # With a command that wants none, and before the one that does.
    assert s.rc(CAPABILITY, fds=[pair[0].fileno()]) == 0
    assert s.rc(DATAFD) == 3
    assert descriptors(shim) == before
    assert s.hand_over() == 0 and s.command(TICKS) == FAIL
    for fd in *pipe, null, here:
        os.close(fd)
    ours.end(s)


def test_requests__cut_short__end_the_connection_alone(rig, ours):
    shorts = [b"\0", b"\0\0\0", be(INIT), be(INIT) + b"\0", be(LOCALITY), be(HASH_DATA) + be(5) + b"abc", be(GET_BLOB, 0),
              be(SET_BLOB, 0, PERMANENT, 10) + b"abcd", be(BUFFERSIZE), be(INFO, 0)]
    for short in shorts:
        # The client gives up.
        s = ours.session()
        s.control.sendall(short)
        s.close()
    for short in shorts[:2]:
        # The client waits, as a second one does behind it.
        s = ours.session()
        s.control.sendall(short)
        behind = ours.session()
        assert behind.rc(CAPABILITY) == 0
        assert s.control.recv(1) == b""
        s.close()
        behind.close()
    # In pieces it is whole all the same.
    s = ours.session()
    for byte in be(HASH_DATA, 3) + b"abc":
        s.control.sendall(bytes([byte]))
        time.sleep(0.01)
    assert s.answer(HASH_DATA) == be(0xa)
    ours.end(s)


def test_lengths__beyond_any__are_refused_before_they_are_read(rig, ours):
    for command, head, length in ((SET_BLOB, be(0, PERMANENT), 0xffffffff), (SET_BLOB, be(0, VOLATILE), 256 * 1024 + 1),
                                  (HASH_DATA, b"", 4097), (HASH_DATA, b"", 0xffffffff)):
        s = ours.session()
        s.control.sendall(be(command) + head + be(length) + b"x" * 100)
        assert take(s.control, 4) == be(0x19)
        assert s.control.recv(1) == b""
        s.close()


def test_blobs__as_long_as_they_may_be__and_a_client_that_leaves(rig, ours):
    whole = be(0, PERMANENT, 256 * 1024) + bytes(256 * 1024)
    s = ours.session()
    assert s.rc(SET_BLOB, whole) == 9
    s.send(SET_BLOB, whole[:100000])
    s.close()
    s = ours.session().begin("started")
    assert s.rc(SET_BLOB, whole) == 0xa
    ours.end(s)


def test_noise__on_both_channels__is_answered_or_closed(rig, ours):
    shim, before = rig.others[0], descriptors(rig.others[0])
    noise = hashlib.sha512(b"noise").digest() * 64
    for n in range(40):
        s = ours.session()
        try:
            if n % 2:
                s.hand_over()
                s.data.sendall(noise[n:n + 1 + 97 * n])
            s.control.sendall(be(n % 0x16) + noise[n:n + 1 + 13 * n])
            if n % 3:
                s.control.recv(64)
        except OSError:
            pass
        s.close()
    s = ours.session()
    assert s.rc(STOP) == 0 and s.begin("started").pcr(12) == bytes(20)
    ours.end(s)
    wait_until(lambda: descriptors(shim) <= before, "no descriptor is left")


def test_data__without_a_reader__stops_nobody(rig, ours):
    s = ours.session().begin("started")
    s.data.setblocking(False)
    try:
        for _ in range(10000):
            s.data.send(TICKS * 50)
    except BlockingIOError:
        pass
    assert s.rc(CAPABILITY) == 0 and s.rc(STOP) == 0
    ours.end(s)
    s = ours.session().begin("started")
    assert s.pcr(12) == bytes(20)
    ours.end(s)


def test_spec__that_cannot_be__is_refused_with_the_reason(rig, ours):
    for spec, word in (("", "ctrl="), ("ctrl=tcp:127.0.0.1:0", "data="), ("ctrl=unix:/x,what", "what"), ("ctrl=pipe:/x", "pipe:/x"),
                       ("data=unix:/x", "ctrl="), ("ctrl=unix:/x,ctrl=unix:/y", "ctrl=unix:/y")):
        r = subprocess.run([program("vtpm-shim"), "--upstream", rig.listen,
                            "--credential", rig.path("a.cred"), "--frontend", "swtpm:" + spec], capture_output=True,
                           text=True, timeout=60)
        assert r.returncode == 2 and word in r.stderr, (spec, r)


def main():
    with Rig() as rig:
        rig.init()
        rig.start_server()
        rig.create("a")
        shim = rig.start_shim("a", "swtpm:ctrl=unix:" + rig.path("ctrl"))
        ours = Ours(rig.path("ctrl"))
        for name, test in sorted(globals().items()):
            if name.startswith("test_"):
                begun = time.monotonic()
                test(rig, ours)
                print("%5.1f s %s" % (time.monotonic() - begun, name), flush=True)
        assert shim.p.poll() is None and shim.stop() == 0


if __name__ == "__main__":
    main()
