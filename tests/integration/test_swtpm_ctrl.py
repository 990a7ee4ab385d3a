# SPDX-License-Identifier: Apache-2.0
"""The control channel beside Debian's swtpm: every command in every state, byte for byte; and what the commands do."""
import hashlib
import os
import shutil
import subprocess
import time

from ctrlchannel import (BAD_SIZE, BUFFERSIZE, CANCEL, CAPABILITY, CONFIG, DATAFD, ESTABLISHED, FAIL, GET_BLOB,
                         HASH_DATA, HASH_END, HASH_START, INFO, INIT, LOCALITY, LOCK, Ours, PERMANENT, PROBE2,
                         RESET_ESTABLISHED, RETRY, SAVESTATE, SET_BLOB, SHUTDOWN, STARTUP, STATES, STOP, STORE,
                         Session, TICKS, be, connect, extend, info, pcr_read, take)
from rig import Rig, need, wait_until


# ---- The peer ----
class Peer:
    """swtpm: a process for each session, on a copy of a TPM that was made once."""
    is_ours = False

    def __init__(self, rig):
        self.rig, self.base, self.path, self.p = rig, rig.path("peer-base"), rig.path("peer.sock"), None
        os.mkdir(self.base)
        s = self.session(fresh=True)
        assert s.rc(INIT, be(0)) == 0
        self.end(s)

    def session(self, fresh=False):
        folder = self.base if fresh else self.rig.path("peer-state")
        if not fresh:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.base, folder)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.p = subprocess.Popen(["swtpm", "socket", "--tpmstate", "dir=" + folder, "--ctrl", "type=unixio,path=" + self.path],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

        def there():
            try:
                return Session(self.path, {ESTABLISHED: (8, 4), GET_BLOB: (16, 4)})
            except OSError:
                return None
        return wait_until(there, "swtpm")

    def end(self, session):
        session.close()
        self.p.kill()
        self.p.wait()


# ---- Every command in every state ----
# label: (command, body)
ROWS = {
    "capability": (CAPABILITY, b""), "capability and more": (CAPABILITY, be(0)),
    "INIT": (INIT, be(0)), "INIT, all flags": (INIT, be(0xffffffff)), "INIT and more": (INIT, be(0, 0)),
    "shutdown": (SHUTDOWN, b""), "shutdown and more": (SHUTDOWN, be(0)),
    "established": (ESTABLISHED, b""), "established and more": (ESTABLISHED, be(0)),
    "locality 0": (LOCALITY, b"\0"), "locality 4": (LOCALITY, b"\4"), "locality 5": (LOCALITY, b"\5"),
    "locality 255": (LOCALITY, b"\xff"), "locality and more": (LOCALITY, bytes(4)),
    "hash start": (HASH_START, b""), "hash start and more": (HASH_START, be(0)),
    "hash data": (HASH_DATA, be(3) + b"abc"), "hash no data": (HASH_DATA, be(0)),
    "hash data and more": (HASH_DATA, be(3) + b"abcde"), "hash end": (HASH_END, b""), "hash end and more": (HASH_END, be(0)),
    "cancel": (CANCEL, b""), "cancel and more": (CANCEL, be(0)), "store": (STORE, b""), "store and more": (STORE, be(0)),
    "reset established 0": (RESET_ESTABLISHED, b"\0"), "reset established 3": (RESET_ESTABLISHED, b"\3"),
    "reset established 5": (RESET_ESTABLISHED, b"\5"), "reset established and more": (RESET_ESTABLISHED, b"\3\0\0\0"),
    "get blob": (GET_BLOB, be(0, PERMANENT, 0)), "get blob 0": (GET_BLOB, be(0, 0, 0)),
    "get no savestate": (GET_BLOB, be(0, SAVESTATE, 0)), "get blob from 10": (GET_BLOB, be(0, PERMANENT, 10)),
    "get blob from behind its end": (GET_BLOB, be(0, PERMANENT, 99999)),
    "set blob": (SET_BLOB, be(0, PERMANENT, 4) + b"abcd"), "set blob 0": (SET_BLOB, be(0, 0, 4) + b"abcd"),
    "set blob 9": (SET_BLOB, be(0, 9, 4) + b"abcd"), "set blob of no length": (SET_BLOB, be(0, PERMANENT, 0)),
    "stop": (STOP, b""), "stop and more": (STOP, be(0)), "config": (CONFIG, b""), "config and more": (CONFIG, be(0)),
    "no descriptor": (DATAFD, b""), "buffer 0": (BUFFERSIZE, be(0)), "buffer 100": (BUFFERSIZE, be(100)),
    "buffer 9999": (BUFFERSIZE, be(9999)), "buffer and more": (BUFFERSIZE, be(0, 0)),
    "info 0": (INFO, info(0)), "info 1": (INFO, info(1)), "info 2": (INFO, info(2)), "info all": (INFO, info(2**64 - 1)),
    "info from 5": (INFO, info(1, 5)), "info from 999": (INFO, info(1, 999)), "info and more": (INFO, info(1) + be(0)),
    "command 0": (0, b""), "command 0x14": (0x14, b""), "command 0xffffffff and more": (0xffffffff, be(1, 2, 3)),
    "lock": (LOCK, be(0)),
}
RUNNING, HALTED = STATES[1:3], (STATES[0], STATES[3])
ALL = STATES
# What is not swtpm's answer: (label, states): why. docs/qemu.md has them for people.
DIFFERENT = {
    ("capability", ALL): "it locks", ("capability and more", ALL): "it locks",
    ("established", HALTED): "8 bytes always", ("established and more", HALTED): "8 bytes always",
    ("established and more", RUNNING): "8 bytes always",
    ("get blob", ALL): "a ticket, 16 bytes always", ("get blob 0", ALL): "16 bytes always",
    ("get no savestate", ALL): "16 bytes always",
    ("get blob from 10", ALL): "a ticket", ("get blob from behind its end", (*HALTED, STATES[1])): "a ticket",
    ("set blob of no length", HALTED): "no ticket", ("set blob", HALTED): "no ticket",
    ("cancel", RUNNING): "there is something to cancel",
    ("buffer 0", ALL): "4096 is the one size", ("buffer 100", HALTED): "4096 is the one size",
    ("buffer 9999", HALTED): "4096 is the one size", ("buffer and more", ALL): "4096 is the one size",
    ("info 2", ALL): "another maker", ("info all", ALL): "another maker",
    ("lock", ALL): "swtpm 0.7 has no such command",
}


def is_different(label, state):
    return any(label == name and state in states for name, states in DIFFERENT)


# After these the state is another one (swtpm remembers what of a blob it gave); the others share a session.
CHANGES = {INIT, SHUTDOWN, STOP, HASH_START, GET_BLOB, SET_BLOB, STORE}


def answers(where, state, labels):
    s = where.session().begin(state)
    got = {label: s.ask(*ROWS[label]) for label in labels}
    if STORE in (ROWS[label][0] for label in labels) and where.is_ours:
        s.ask(INIT, be(0))  # what was stored is used up
    where.end(s)
    return got


def every_answer(where, state):
    # Whether the firmware has begun matters to the TPM alone.
    rows = [label for label, (command, _) in ROWS.items() if state != "initialised" or
            command in (INIT, ESTABLISHED, HASH_START, HASH_DATA, HASH_END)]
    got = answers(where, state, [label for label in rows if ROWS[label][0] not in CHANGES])
    for label in rows:
        if ROWS[label][0] in CHANGES:
            got.update(answers(where, state, [label]))
    return got


def test_every_command__in_every_state__as_swtpm(rig, peer, ours):
    wrong = []
    for state in STATES:
        theirs, mine = every_answer(peer, state), every_answer(ours, state)
        for label in theirs:
            # swtpm that ends may be gone before its last answer was read.
            if ROWS[label][0] == SHUTDOWN and theirs[label] is None:
                continue
            if (theirs[label] != mine[label]) != is_different(label, state):
                wrong.append("%s, %s: swtpm %r, ours %r" % (label, state, theirs[label], mine[label]))
    assert not wrong, "\n".join(wrong)
    assert set(range(1, 0x14)) <= {command for command, _ in ROWS.values()}


def test_answers__of_our_own__have_their_sizes(rig, peer, ours):
    s = ours.session()
    assert s.ask(CAPABILITY) == be(0, 0x17fff)
    assert s.ask(ESTABLISHED) == be(0xa, 0)
    assert s.ask(GET_BLOB, be(0, PERMANENT, 0)) == be(0xa, 0, 0, 0)
    assert s.ask(BUFFERSIZE, be(3000)) == be(0, 4096, 4096, 4096)
    assert s.rc(SET_BLOB, be(0, PERMANENT, 4) + b"abcd") == 9
    s.begin("started")
    # A ticket (docs/moving.md), once and then in pieces; the other blobs are empty.
    ticket = s.ask(GET_BLOB, be(0, PERMANENT, 0))
    assert ticket[:20] == be(0, 0, 120, 120) + b"VTHT" and len(ticket) == 136
    assert s.ask(GET_BLOB, be(0, PERMANENT, 100)) == be(0, 0, 20, 20) + ticket[-20:]
    assert s.ask(GET_BLOB, be(0, SAVESTATE, 0)) == be(0, 0, 0, 0)
    assert s.ask(GET_BLOB, be(0, 7, 0)) == be(3, 0, 0, 0)
    assert s.ask(CANCEL) == be(0)
    assert s.ask(ESTABLISHED, be(0)) == be(3, 0)
    ours.end(s)


def data_rows(session):
    rows = {"a probe for 2.0": PROBE2, "a probe for 1.2": TICKS, "a size of 5": bytes.fromhex("00c100000005000000f1"),
            "a size of 9999": bytes.fromhex("00c10000270f000000f1")}
    return {label: session.command(command) for label, command in rows.items()}


def test_data_channel__where_there_is_no_tpm__as_swtpm(rig, peer, ours):
    for state in STATES:
        a, b = peer.session(), ours.session()
        for s in a, b:
            s.begin(state)
            if not s.data:
                s.hand_over()
        theirs, mine = data_rows(a), data_rows(b)
        if state in HALTED:
            # A guest of ours learns that its size was wrong; a monitor looks at the tag.
            theirs["a size of 5"] = theirs["a size of 9999"] = BAD_SIZE
        # A running TPM's ticks are its own, and what it says to another family's tag.
        for label in theirs:
            n = 10 if state == "started" and label == "a probe for 1.2" else 6 if label == "a probe for 2.0" else None
            assert theirs[label][:n] == mine[label][:n], (state, label, theirs[label].hex(), mine[label].hex())
        peer.end(a)
        ours.end(b)


def test_swtpm_ioctl__the_tool__does_the_same_with_both(rig, peer, ours):
    acts = [["-c"], ["-g"], ["--info", "1"], ["-b", "0"], ["-e"], ["-i"], ["-e"], ["-l", "2"], ["-l", "9"], ["-r", "3"],
            ["-h", "abc"], ["-v"], ["-g"], ["--stop"], ["-e"], ["-s"]]
    told = {"-c": "it locks", "-b": "one size"}
    for where in peer, ours:
        s = where.session()
        s.close()
        where.said = [subprocess.run(["swtpm_ioctl", "--unix", where.path, *act], capture_output=True, text=True, timeout=60)
                      for act in acts]
    for act, theirs, mine in zip(acts, peer.said, ours.said):
        same = (theirs.returncode, theirs.stdout) == (mine.returncode, mine.stdout)
        assert same or act[0] in told, (act, theirs, mine)
    peer.p.wait(30)


# ---- What it does ----
def test_init__again_and_again__is_a_power_event(rig, peer, ours):
    s = ours.session().begin("started")
    assert s.command(extend(12))[6:10] == bytes(4) and any(s.pcr(12))
    assert rig.state("a") == "on"
    for stop in True, False:
        if stop:
            assert s.rc(STOP) == 0 and s.command(pcr_read(12)) == FAIL
        assert s.rc(INIT, be(0)) == 0
        assert s.pcr(12) == 0x26, "TPM_Startup is the firmware's"
        assert s.command(STARTUP)[6:] == bytes(4) and s.pcr(12) == bytes(20)
        assert s.command(extend(12))[6:10] == bytes(4)
    ours.end(s)
    wait_until(lambda: rig.state("a") == "off", "SHUTDOWN powers off")


def test_store_volatile__then_init__goes_on(rig, peer, ours):
    s = ours.session().begin("started")
    s.command(extend(12))
    value = s.pcr(12)
    assert s.rc(STORE) == 0 and s.rc(STOP) == 0 and s.rc(INIT, be(1)) == 0
    assert s.pcr(12) == value
    # A command came after it: nobody goes back to what was before.
    assert s.rc(STORE) == 0
    s.command(extend(12))
    assert s.rc(STOP) == 0 and s.rc(INIT, be(0)) == 0 and s.pcr(12) == 0x26
    # Over the end of a monitor too.
    s.command(STARTUP)
    s.command(extend(12))
    value = s.pcr(12)
    assert s.rc(STORE) == 0
    ours.end(s)
    s = ours.session()
    assert s.hand_over() == 0 and s.rc(INIT, be(0)) == 0 and s.pcr(12) == value
    ours.end(s)


def test_hash__in_locality_4__is_in_pcr_17_and_the_bit_is_set(rig, peer, ours):
    sessions = peer.session(), ours.session()
    values = []
    for s in sessions:
        s.begin("started")
        assert s.rc(RESET_ESTABLISHED, b"\3") == 0 and s.ask(ESTABLISHED)[4:] == bytes(4)
        assert s.rc(HASH_START) == 0
        assert s.rc(HASH_DATA, be(4096) + b"a" * 4096) == 0 and s.rc(HASH_DATA, be(3) + b"abc") == 0
        assert s.rc(HASH_END) == 0
        values.append((s.pcr(17), s.ask(ESTABLISHED), s.rc(RESET_ESTABLISHED, b"\3"), s.ask(ESTABLISHED)))
    assert values[0] == values[1]
    assert values[0][0] == hashlib.sha1(bytes(20) + hashlib.sha1(b"a" * 4096 + b"abc").digest()).digest()
    peer.end(sessions[0])
    ours.end(sessions[1])


def test_set_locality__of_the_next_command__decides(rig, peer, ours):
    s = ours.session().begin("started")
    assert s.command(extend(20))[6:10] == be(0x3d)
    assert s.rc(LOCALITY, b"\2") == 0 and s.command(extend(20))[6:10] == bytes(4)
    assert s.rc(STOP) == 0 and s.rc(INIT, be(0)) == 0
    s.command(STARTUP)
    # A monitor sets it when it changes, and not at INIT.
    assert s.command(extend(20))[6:10] == bytes(4)
    assert s.rc(LOCALITY, b"\0") == 0 and s.command(extend(20))[6:10] == be(0x3d)
    ours.end(s)


def test_tcp__control_and_data__serve_one_after_another(rig, peer, ours):
    rig.create("t")
    shim = rig.start_shim("t", "swtpm:ctrl=tcp:127.0.0.1:0,data=tcp:127.0.0.1:0")
    control, data = (int(part.rsplit(":", 1)[1]) for part in shim.ready_line.split("(")[1].rstrip(")").split(","))
    first = Session(control)
    first.data = connect(data)
    assert first.rc(DATAFD) == 0x1f
    second = Session(control)
    second.data = connect(data)
    second.send(CAPABILITY)
    second.data.sendall(TICKS)
    assert first.rc(INIT, be(0)) == 0 and first.command(STARTUP)[6:] == bytes(4)
    first.close()
    # The TPM runs on: the channels' end is no power event.
    assert second.answer(CAPABILITY)[:4] == bytes(4)
    assert take(second.data, 10)[6:] == bytes(4)
    second.close()
    shim.stop()


def test_not_need_init__and_startup_clear__power_on_at_once(rig, peer, ours):
    for flag, startup in ("not-need-init", bytes(4)), ("startup-clear", be(0x26)):
        name = flag[:3]
        rig.create(name)
        shim = rig.start_shim(name, "swtpm:ctrl=unix:%s,%s" % (rig.path(name), flag))
        s = Session(rig.path(name))
        assert s.hand_over() == 0 and s.command(STARTUP)[6:] == startup
        s.command(extend(12))
        value = s.pcr(12)
        s.close()
        # Another shim finds it on, and leaves it so.
        shim.kill9()
        shim = rig.start_shim(name, "swtpm:ctrl=unix:%s,%s" % (rig.path(name), flag))
        s = Session(rig.path(name))
        assert s.hand_over() == 0 and s.pcr(12) == value
        # After a reset the firmware is asked for TPM_Startup, also here.
        assert s.rc(INIT, be(0)) == 0 and s.command(STARTUP)[6:] == bytes(4)
        s.close()
        shim.stop()


# ---- The server comes and goes ----
def test_server__that_dies__is_a_pause(rig, peer, ours):
    s = ours.session().begin("started")
    s.command(extend(12))
    value = s.pcr(12)
    rig.server.kill9()
    s.data.sendall(pcr_read(12))
    # Until then it is the monitor's own affair what it does.
    assert s.ask(LOCALITY, b"\0") == be(0) and s.ask(CAPABILITY) == be(0, 0x17fff)
    assert s.ask(CANCEL) == be(0)
    assert take(s.data, 10) == RETRY, "a guest that waits no longer"
    s.send(ESTABLISHED)
    rig.start_server()
    assert s.answer(ESTABLISHED) == be(0, 0)
    assert s.pcr(12) == value
    # The end of a monitor does not wait for a server.
    rig.server.kill9()
    assert s.ask(SHUTDOWN) == be(0)
    s.close()
    rig.start_server()
    wait_until(lambda: rig.state("a") == "off", "the power off is made up for")


def test_monitor__that_is_killed__is_followed_by_another_one(rig, peer, ours):
    first = ours.session().begin("started")
    first.command(extend(12))
    rig.server.kill9()
    first.send(INIT, be(0))
    first.send(CAPABILITY)
    first.close()
    second = ours.session()
    second.send(CAPABILITY)
    # Longer than the rest of a request is waited for.
    time.sleep(2.5)
    rig.start_server()
    assert second.answer(CAPABILITY)[:4] == bytes(4)
    second.begin("started")
    assert second.pcr(12) == bytes(20)
    ours.end(second)


def test_pcrs_lost__with_the_servers_host__until_init(rig, peer, ours):
    s = ours.session().begin("started")
    rig.server.kill9()
    shutil.rmtree(rig.run)
    rig.start_server()
    assert s.pcr(12) == 9 and s.command(STARTUP)[6:] == be(9), "a guest cannot make PCRs of its own"
    assert s.rc(INIT, be(0)) == 0 and s.command(STARTUP)[6:] == bytes(4) and s.pcr(12) == bytes(20)
    ours.end(s)


def main():
    need("swtpm", "swtpm_ioctl")
    with Rig() as rig:
        rig.init()
        rig.start_server()
        rig.create("a")
        shim = rig.start_shim("a", "swtpm:ctrl=unix:" + rig.path("ctrl"))
        peer, ours = Peer(rig), Ours(rig.path("ctrl"))
        for name, test in sorted(globals().items()):
            if name.startswith("test_"):
                begun = time.monotonic()
                test(rig, peer, ours)
                print("%5.1f s %s" % (time.monotonic() - begun, name), flush=True)
        assert shim.p.poll() is None and shim.stop() == 0


if __name__ == "__main__":
    main()
