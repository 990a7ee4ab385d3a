# SPDX-License-Identifier: Apache-2.0
"""A guest behind the Mini-OS stub domain, in 8 MiB: it takes ownership, seals, reboots, unseals; the server's death is a pause,
the stub domain's costs the guest its device until that is attached again. VTPM_MINIOS_IMAGE: the image (docs/minios.md)."""
import base64
import gzip
import os
import re
import statistics
import sys

from bed import SKIPPED, check, say
from host import LISTEN, ZERO, Trousers, extended
from stubdom import Pair

IMAGE = os.environ.get("VTPM_MINIOS_IMAGE")
SECRET = "nobody must read this"
PCR = extended(ZERO, b"\x11" * 20)
ROUNDS, COUNT = 2, 100
KERNEL = "/root/vtpm-stubdom"

if not IMAGE or not os.path.exists(IMAGE):
    print("SKIPPED: no Mini-OS image was given: build one by cmake --preset minios -DMINIOS_ROOT=... (docs/minios.md), then "
          "cmake --preset release -DVTPM_MINIOS_IMAGE=build/minios/image/vtpm-stubdom")
    sys.exit(SKIPPED)


def bring_image(h):
    """In pieces: a command has a bounded length."""
    with open(IMAGE, "rb") as f:
        packed = gzip.compress(f.read(), 9)
    h.ok("mkdir -p /root; rm -f %s.gz" % KERNEL)
    for at in range(0, len(packed), 48000):
        h.ok("base64 -d >>%s.gz <<END\n%sEND" % (KERNEL, base64.encodebytes(packed[at:at + 48000]).decode()), 60)
    h.ok("gunzip -f %s.gz" % KERNEL)


def opens(t, name, when):
    status, out = t.unseal(name)
    check(status == 0 and SECRET in out, "%s: %r unseals%s" % (when, name, "" if status == 0 else ": %s" % out))


def owns(h):
    t = Trousers(h, "web")
    t.own()
    t.stop()
    check(h.extend("web", 10, "11") == PCR, "PCR 10 is extended")
    t.start()
    t.seal(SECRET, "free")
    t.seal(SECRET, "bound", 10)
    return t


def server_dies(h, t):
    h.stop("server", "KILL")
    h.start_server(LISTEN, "vchan")
    opens(t, "bound", "server killed")
    t.stop()
    check(h.pcr("web", 10) == PCR, "server killed: PCR 10 unchanged")


def reboots(h, t):
    t.start()
    files = t.files("free", "bound")
    t.stop()
    h.reboot()
    check(h.pcr("web", 10) == ZERO, "guest rebooted behind the same stub domain: PCR 10 is zero")
    h.bring("web", files)
    t = Trousers(h, "web")
    opens(t, "free", "guest rebooted")
    status, out = t.unseal("bound")
    check(status != 0 and SECRET not in out, "guest rebooted: what was sealed to PCR 10 stays closed")
    t.stop()
    check(h.extend("web", 10, "11") == PCR, "PCR 10 is extended again")
    t.start()
    opens(t, "bound", "guest rebooted")
    t.stop()


def stubdom_dies(h, config, web):
    """The ring died with the domain that it was granted to; the TPM did not."""
    h.ok("xl destroy web-vtpm", 60)
    h.run("xl vtpm-detach web 0", 60)
    h.ok("vtpm-stubdom start " + config, 60)
    h.ok("xl vtpm-attach web backend=web-vtpm uuid=%s" % web, 60)
    h.wait("/dev/tpm0 again", "agent ask web 20 'test -c /dev/tpm0'", 60)
    check(h.pcr("web", 10) == PCR, "stub domain destroyed, another one started, device attached again: PCR 10 kept")


def compares(h, web):
    """The stub domain and dom0's shim, in turns, in the one guest. Figures are printed, not judged."""
    h.ok("xl vtpm-detach web 0", 60)
    h.start_shim()
    runs = {"stub domain": [], "vtpm-shim in dom0": []}
    for _ in range(ROUNDS):
        runs["stub domain"].append(h.measure("web", web, COUNT, "web-vtpm"))
        runs["vtpm-shim in dom0"].append(h.measure("web", web, COUNT))
    for name, rounds in runs.items():
        for command in rounds[0]:
            median = statistics.mean(r[command][0] for r in rounds)
            say("%s: %s p50 %.1f ms, %.0f a second" % (name, command, median, 1000 / median))


def says_its_size(h):
    h.ok("xl destroy web; vtpm-stubdom stop web-vtpm", 90)
    used = re.search(r"heap: at most (\d+) of (\d+) bytes", h.console_text())
    check(used and int(used.group(1)) < int(used.group(2)), "stub domain shut down in order: %s" % (used and used.group(0)))
    say("image: %d bytes" % os.path.getsize(IMAGE))


with Pair() as h:
    h.boot()
    web = h.begin()
    bring_image(h)
    config = h.write_stubdom(KERNEL, h.credential(web))
    h.ok("vtpm-stubdom start " + config, 60)
    check(re.search(r"^web-vtpm +\d+ +8 ", h.ok("xl list"), re.M), "the stub domain has 8 MiB")
    h.create_guest(web)
    check(h.pcr("web", 10) == ZERO, "a guest behind a stub domain has its TPM")
    t = owns(h)
    server_dies(h, t)
    reboots(h, t)
    stubdom_dies(h, config, web)
    compares(h, web)
    says_its_size(h)
print("minios: all seen to hold")
