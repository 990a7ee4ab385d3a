# SPDX-License-Identifier: Apache-2.0
"""A sandbox that does what a sandbox may not is stopped; the log says what it tried; nobody else notices.

Test builds take the misdeed as a vendor ordinal (server/sandbox/misbehave.h). With sanitizers the filter is wide and
memory has no limit, so only the deeds that it still stops are tried.
"""
import struct

from guest import Neighbour
from rig import Rig, check, descriptors, has_sanitizer, skip, wait_until

ORDINAL = 0x2056BAD0
REQUEST_S = 2
FAIL, BAD_ORDINAL = 9, 0x0A
WIDE = has_sanitizer("vtpm-engine")

# name: number of the deed, what the log must say, also under the wide filter
DEEDS = {
    "opens a file": (1, r"stopped at the forbidden system call \d+ openat", True),
    "makes a socket": (2, r"stopped at the forbidden system call \d+ socket", True),
    "connects": (16, r"stopped at the forbidden system call \d+ connect", True),
    "forks": (3, r"stopped at the forbidden system call \d+ clone", True),
    "executes a program": (17, r"stopped at the forbidden system call \d+ execve", True),
    "maps code": (4, r"stopped at the forbidden system call \d+ mmap", False),
    "signals another process": (14, r"stopped at the forbidden system call \d+ kill", True),
    "allocates without end": (5, r"limit was met|killed by signal", False),
    "spins": (6, r"no answer within %d ms, killed" % (REQUEST_S * 1000), True),
    "crashes": (8, r"killed by signal|exit status", True),
    "aborts": (9, r"it aborted|exit status|killed by signal", True),
    "leaves": (10, r"exit status 7", True),
    "announces a reply without end": (11, r"its reply is not one frame", True),
    "answers twice": (12, r"its reply is not one frame", True),
    "answers nothing": (13, r"its reply is not one frame", True),
    "asks for keys without end": (18, r"asks for a key that it may not have", True),
    "asks for a key that does not exist": (19, r"asks for a key that it may not have", True),
    "asks for half a key": (20, r"asks for a key that it may not have", True),
    "asks for a key and leaves": (21, r"exit status 7", True),
}


def misdeed(n):
    return struct.pack(">HIIB", 0xC1, 11, ORDINAL, n)


def children(pid):
    return [int(p) for p in open("/proc/%d/task/%d/children" % (pid, pid)).read().split()]


def alive(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


with Rig() as rig:
    rig.init()
    rig.start_server("--request-timeout", str(REQUEST_S))
    rig.create("bad")
    rig.start_shim("bad")
    tpm = rig.tpm("bad")
    pcr = tpm.extend(9, b"\x09" * 20)
    answer = tpm.send(misdeed(10))
    if struct.unpack(">I", answer[6:10])[0] == BAD_ORDINAL:
        skip("a release build: its engines cannot be told to misbehave")
    neighbour = Neighbour(rig, "neighbour")
    before = None
    for name, (n, words, even_wide) in DEEDS.items():
        if WIDE and not even_wide:
            continue
        mark = len(rig.server.text())
        answer = tpm.send(misdeed(n))
        check(answer == struct.pack(">HII", 0xC4, 10, FAIL), "a sandbox that %s: the guest gets TPM_FAIL" % name)
        text = rig.server.text(mark)
        lines = [line for line in text.splitlines() if "engine gone" in line]
        check(len(lines) == 2 and all("ordinal=0x%x" % ORDINAL in line for line in lines),
              "it was tried twice, and the log names the ordinal")
        line = rig.server.wait_line(words, mark, 5)
        print("    " + line)
        check(tpm.pcr(9) == pcr, "what the guest had is there")
        pcr = tpm.extend(9, b"\x90" * 20)
        check(neighbour.went_on()[0] > 0, "its neighbour went on meanwhile")
        if before is None:
            before = descriptors(rig.server.p.pid)
    check(descriptors(rig.server.p.pid) <= before + 1, "no descriptor stayed behind")
    neighbour.leave()
    rig.ctl("check")
    zygotes = children(rig.server.p.pid)
    family = zygotes + [pid for z in zygotes for pid in children(z)]
    check(len(family) >= 3, "a zygote and two sandboxes are there")
    check(rig.server.p.poll() is None and rig.server.stop() == 0, "the server is the same process and stops in order")
    wait_until(lambda: not any(alive(pid) for pid in family), "it leaves no process behind")
print("misbehave: all seen to hold")
