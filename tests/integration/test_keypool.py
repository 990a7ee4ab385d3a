# SPDX-License-Identifier: Apache-2.0
"""The key pool of a real server: each key is used once, the pool is filled again, makers may die, and it may be off."""
import os
import signal
import threading
import time

from rig import Rig, check, wait_until
from tpm12 import WELL_KNOWN, key_modulus, sha1

OWNER, SRK, AUTH = sha1(b"owner"), WELL_KNOWN, sha1(b"key")


def pool(rig):
    return rig.ctl_json("status")["status"]["key_pool"]


def is_full(rig):
    p = pool(rig)
    return p["level_2048"] == p["size_2048"] and p["level_1024"] == p["size_1024"]


def children(pid):
    try:
        return [int(p) for p in open("/proc/%d/task/%d/children" % (pid, pid)).read().split()]
    except OSError:
        return []


def nice(pid):
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except OSError:
        return -100


def makers(rig):
    """They are nicer than the zygote whose children they are; sandboxes are not."""
    return [p for z in children(rig.server.p.pid) for p in children(z) if nice(p) > nice(z)]


def guest(rig, name):
    rig.start_shim(name)
    tpm = rig.tpm(name)
    return tpm, tpm.read_pubek()


def new_key(tpm, bits=2048):
    rc, _, key = tpm.create_wrap_key(0x40000000, SRK, AUTH, tpm.key_template(0x10, sig=2, bits=bits))
    if rc:
        raise AssertionError("CreateWrapKey of %d bits: TPM error %d" % (bits, rc))
    return key_modulus(key)


class Killer(threading.Thread):
    """Kills every key maker that it sees."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self.rig, self.over, self.count = rig, False, 0
        self.start()

    def run(self):
        while not self.over:
            for pid in makers(self.rig):
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.count += 1
                except OSError:
                    pass
            time.sleep(0.002)


with Rig() as rig:
    rig.init()
    rig.start_server("--key-pool", "4,2", "--key-pool-wait", "1")
    wait_until(lambda: is_full(rig), "the pool is full")
    full = pool(rig)
    check(full["made"] == 6 and full["taken"] == 0 and full["waiting"] == 0, "made in the background: 4 and 2 keys")
    check("4 of 4 RSA-2048, 2 of 2 RSA-1024" in rig.ctl("status").stdout, "status says so in one line")

    seen = []
    for name in ("a", "b", "c", "d", "e", "f"):
        rig.create(name)
    after = pool(rig)
    check(after["taken"] + after["ordered"] == 6 and after["taken"] >= 4, "six endorsement keys: from the pool, and made")
    for name in ("a", "b"):
        tpm, ek = guest(rig, name)
        seen.append(ek)
        rc, srk = tpm.take_ownership(OWNER, SRK)
        if rc:
            raise AssertionError("TakeOwnership: TPM error %d" % rc)
        seen.append(key_modulus(srk))
        seen += [new_key(tpm) for _ in range(3)] + [new_key(tpm, 1024) for _ in range(2)]
    for name in ("c", "d", "e", "f"):
        seen.append(guest(rig, name)[1])
    check(len(seen) == len(set(seen)) == 18, "no key was given twice")
    wait_until(lambda: is_full(rig), "the pool is full again")
    full = pool(rig)
    check(full["taken"] + full["ordered"] == 18 and full["made"] == 18 + 6, "the books are right: %s" % full)

    tpm = rig.tpm("a")
    killer = Killer(rig)
    mark = len(rig.server.text())
    keys = [new_key(tpm, 2048) for _ in range(8)]
    # A kind that is never ready: a maker must have been at it, or the engine.
    keys += [new_key(tpm, 512) for _ in range(4)]
    rig.create("g")
    killer.over = True
    killer.join(60)
    check(len(set(keys + seen)) == 30, "whoever waits for a maker that is killed gets a key")
    check(killer.count > 0 and "a key maker is gone" in rig.server.text(mark), "makers were killed: %d" % killer.count)
    wait_until(lambda: is_full(rig), "others fill the pool")

    os.kill(children(rig.server.p.pid)[0], signal.SIGKILL)
    keys = [new_key(tpm) for _ in range(3)]
    check(len(set(keys)) == 3, "the zygote is killed: guests get their keys")
    wait_until(lambda: is_full(rig), "and the pool is filled")
    check(rig.server.stop() == 0, "the server stops in order")

    rig.start_server("--key-pool", "0")
    rig.create("h")
    check(new_key(rig.tpm("a")) not in seen, "without a pool engines make their keys")
    off = pool(rig)
    check(not any(off.values()) and not makers(rig), "and nobody else does")
    check("none: engines make their keys themselves" in rig.ctl("status").stdout, "status says so")
    check(rig.server.stop() == 0, "it stops in order")

    rig.start_server("--key-pool", "1024,1024", "--key-pool-wait", "1")
    wait_until(lambda: pool(rig)["made"], "a large pool begins to fill")
    check(not is_full(rig) and rig.server.stop() == 0, "the server stops in the middle of it")
print("keypool: all seen to hold")
