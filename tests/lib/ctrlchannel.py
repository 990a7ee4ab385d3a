# SPDX-License-Identifier: Apache-2.0
"""A monitor as QEMU is one: swtpm's control channel, and the data channel that is handed over on it."""
import array
import socket
import struct

NAMES = ("- GET_CAPABILITY INIT SHUTDOWN GET_TPMESTABLISHED SET_LOCALITY HASH_START HASH_DATA HASH_END CANCEL STORE_VOLATILE "
         "RESET_TPMESTABLISHED GET_STATEBLOB SET_STATEBLOB STOP GET_CONFIG SET_DATAFD SET_BUFFERSIZE GET_INFO "
         "LOCK_STORAGE").split()
(_, CAPABILITY, INIT, SHUTDOWN, ESTABLISHED, LOCALITY, HASH_START, HASH_DATA, HASH_END, CANCEL, STORE, RESET_ESTABLISHED,
 GET_BLOB, SET_BLOB, STOP, CONFIG, DATAFD, BUFFERSIZE, INFO, LOCK) = range(20)
PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3
STARTUP = bytes.fromhex("00c10000000c000000990001")
TICKS = bytes.fromhex("00c10000000a000000f1")
PROBE2 = bytes.fromhex("80010000000a00000181")
FAIL, RETRY, BAD_SIZE = (bytes.fromhex("00c40000000a%08x" % rc) for rc in (0x9, 0x800, 0x19))


def be(*words):
    return b"".join(struct.pack(">I", w) for w in words)


def info(flags, offset=0):
    return struct.pack(">QII", flags, offset, 0)


def extend(pcr, what=b"x" * 20):
    return bytes.fromhex("00c10000002200000014%08x" % pcr) + what


def pcr_read(pcr):
    return bytes.fromhex("00c10000000e00000015%08x" % pcr)


class Closed(Exception):
    pass


def take(sock, size):
    data = b""
    while len(data) < size:
        try:
            more = sock.recv(size - len(data))
        except ConnectionResetError:
            more = b""
        if not more:
            raise Closed("after %r" % data)
        data += more
    return data


def connect(where):
    """A path, or a port."""
    sock = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    sock.settimeout(60)
    sock.connect(where if isinstance(where, str) else ("127.0.0.1", where))
    return sock


class Session:
    """One monitor: its control connection and the data channel that it hands over."""
    # Bytes of an answer with code 0, and with another one.
    SIZES = {CAPABILITY: (8, 4), CONFIG: (8, 4), BUFFERSIZE: (16, 4), ESTABLISHED: (8, 8), GET_BLOB: (16, 16),
             INFO: (12, 4)}

    def __init__(self, where, sizes=None):
        self.control = connect(where)
        self.data = None
        self.sizes = {**self.SIZES, **(sizes or {})}

    def close(self):
        self.control.close()
        if self.data:
            self.data.close()

    def send(self, command, body=b"", fds=None):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        request = be(command) + body
        sent = self.control.sendmsg([request], rights)
        if sent < len(request):
            self.control.sendall(request[sent:])

    def answer(self, command):
        head = take(self.control, 4)
        ok, bad = self.sizes.get(command, (4, 4))
        rest = take(self.control, (bad if any(head) else ok) - 4)
        if command == GET_BLOB and not any(head) and len(rest) == 12:
            rest += take(self.control, int.from_bytes(rest[8:12], "big"))
        if command == INFO and not any(head):
            rest += take(self.control, int.from_bytes(rest[4:8], "big"))
        return head + rest

    def ask(self, command, body=b"", fds=None):
        """The answer; None: the connection was closed instead. That not a byte more came shows the next one."""
        try:
            self.send(command, body, fds)
            got = self.answer(command)
            if command != SHUTDOWN:
                self.send(CAPABILITY)
                assert self.answer(CAPABILITY)[:4] == bytes(4), (NAMES[command], got)
            return got
        except (Closed, BrokenPipeError):
            return None

    def rc(self, command, body=b"", fds=None):
        got = self.ask(command, body, fds)
        return None if got is None else int.from_bytes(got[:4], "big")

    def hand_over(self):
        theirs, self.data = socket.socketpair()
        self.data.settimeout(60)
        rc = self.rc(DATAFD, fds=[theirs.fileno()])
        theirs.close()
        return rc

    def command(self, command):
        self.data.sendall(command)
        head = take(self.data, 10)
        return head + take(self.data, int.from_bytes(head[2:6], "big") - 10)

    def pcr(self, n):
        got = self.command(pcr_read(n))
        return got[10:] if not any(got[6:10]) else int.from_bytes(got[6:10], "big")

    def begin(self, state):
        if state == "before INIT":
            return self
        assert self.hand_over() == 0
        assert self.rc(INIT, be(0)) == 0
        if state != "initialised":
            assert self.command(STARTUP)[6:] == bytes(4)
        if state == "stopped":
            assert self.rc(STOP) == 0
        return self


STATES = "before INIT", "initialised", "started", "stopped"


class Ours:
    is_ours = True

    def __init__(self, path):
        self.path = path

    def session(self):
        return Session(self.path)

    def end(self, session):
        session.ask(SHUTDOWN)
        session.close()
