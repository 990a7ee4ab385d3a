# SPDX-License-Identifier: Apache-2.0
"""The whole Mini-OS shim on a Xen in memory (tests/lib/minios_world.c), its vchan led to a real vtpm-server: a guest owns its
TPM, seals, loses the server, the vchan and the stub domain, reboots, is suspended and comes back; and misbehaves."""
import os
import subprocess

from rig import BIN, Rig, check, skip, wait_until
from tpm12 import KH_SRK, WELL_KNOWN, Tpm, sha1

TESTS = os.path.join(BIN, "../tests")
OWNER, DATA, SECRET = b"owner-owner-owner-20", b"data-data-data-data-", b"what the guest sealed"
DIGEST = b"\x11" * 20
ZERO = bytes(20)


class World:
    def __init__(self, rig, credential):
        self.p = subprocess.Popen([os.path.join(TESTS, "minios_world"), os.path.join(TESTS, "vtpm-stubdom-fake-xen"),
                                   rig.path("vtpm.sock"), credential], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=open(rig.path("world.log"), "ab"), text=True)

    def say(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline().strip()
        if not answer:
            raise AssertionError("%s: minios_world has ended: %s" % (line, self.p.wait()))
        return answer

    def submit(self, page, command):
        self.say("submit %d %s" % (page, command.hex()))

    def wait(self, page):
        return bytes.fromhex(self.say("wait %d" % page))

    def tpm(self, page):
        def exchange(command):
            self.submit(page, command)
            return self.wait(page)
        return Tpm(exchange)

    def end(self):
        self.p.stdin.close()
        check(self.p.wait(30) == 0, "the world ends in order")


def has_pcr(tpm, value, text):
    check(tpm.pcr(10) == value, text)


def opens(tpm, blob, text):
    check(tpm.unseal(KH_SRK, WELL_KNOWN, DATA, blob) == (0, SECRET), "%s: the guest unseals its secret" % text)


def server_is_killed(rig, world, tpm, blob):
    value = tpm.pcr(10)
    for command in ("an extend under way", "another"):
        rig.server.kill9()
        # TPM_Extend (Part 3, 16.1): to be done once.
        world.submit(0, bytes.fromhex("00c100000022000000140000000a") + DIGEST)
        rig.start_server()
        response = world.wait(0)
        expected = sha1(value + DIGEST)
        check(response[6:10] == bytes(4) and response[10:30] == expected, "server killed, %s: it is done once" % command)
        value = expected
    opens(tpm, blob, "server killed")
    return value


def vchan_breaks(world, tpm, value):
    # cons of the client's ring, prod of the server's: as the server's domain may write them.
    for offset in (0, 12):
        world.say("poke %d %d" % (offset, 0x80000001))
        has_pcr(tpm, value, "a ring of nonsense (index at %d): the channel is made anew" % offset)


def stubdom_dies(world, value, blob):
    """The next one finds nothing of the last one's, and the same guest."""
    world.say("stubdom kill")
    world.say("stubdom start")
    tpm = world.tpm(0)
    has_pcr(tpm, value, "stub domain killed, another one: PCR 10 kept")
    opens(tpm, blob, "stub domain killed")


def reboots(rig, world, uuid, blob):
    world.say("destroy 5")
    wait_until(lambda: rig.state("web") == "off", "the instance is off")
    world.say("up 6 1 " + uuid)
    tpm = world.tpm(1)
    has_pcr(tpm, ZERO, "guest rebooted: PCR 10 is zero")
    opens(tpm, blob, "guest rebooted")
    return tpm


def resumes(rig, world, uuid, tpm, blob):
    tpm.extend(10, DIGEST)
    value = tpm.pcr(10)
    rig.ctl("instance", "suspend", "web")
    world.say("destroy 6")
    world.say("up 7 2 " + uuid)
    tpm = world.tpm(2)
    has_pcr(tpm, value, "guest suspended and restored: PCR 10 kept")
    opens(tpm, blob, "guest restored")
    return value


def detaches(world, uuid, value, blob):
    world.say("detach 7")
    world.say("up 7 3 " + uuid)
    tpm = world.tpm(3)
    has_pcr(tpm, value, "detached and attached again: PCR 10 kept")
    opens(tpm, blob, "attached again")


def scribbles(world, uuid, blob):
    for seed in range(3):
        world.say("scribble 3 %d" % (seed + 1))
    world.say("detach 7")
    world.say("up 7 4 " + uuid)
    opens(world.tpm(4), blob, "a guest that wrote anything anywhere, after it begins anew")


def owns(world):
    tpm = world.tpm(0)
    has_pcr(tpm, ZERO, "a guest has its TPM")
    check(tpm.take_ownership(OWNER, WELL_KNOWN)[0] == 0, "it takes ownership")
    tpm.extend(10, DIGEST)
    rc, _, blob = tpm.seal(KH_SRK, WELL_KNOWN, DATA, SECRET)
    check(rc == 0, "it seals something")
    return tpm, blob


if not os.path.exists(os.path.join(TESTS, "minios_world")):
    skip("this build has no Xen")
with Rig() as rig:
    rig.init()
    rig.start_server()
    uuid = rig.create("web")
    world = World(rig, rig.path("web.cred"))
    world.say("up 5 0 " + uuid)
    tpm, blob = owns(world)
    value = server_is_killed(rig, world, tpm, blob)
    vchan_breaks(world, tpm, value)
    stubdom_dies(world, value, blob)
    tpm = reboots(rig, world, uuid, blob)
    value = resumes(rig, world, uuid, tpm, blob)
    detaches(world, uuid, value, blob)
    scribbles(world, uuid, blob)
    world.end()
print("minios: all seen to hold")
