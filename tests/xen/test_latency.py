# SPDX-License-Identifier: Apache-2.0
"""How long a guest waits for an answer: through our shim and server, and through a plain forwarder to swtpm, in turns
in one guest. Figures are printed, not judged: an emulated machine on a shared one has no speed of its own."""
import os
import statistics

from bed import check, say
from host import Host

ROUNDS = int(os.environ.get("VTPM_XEN_ROUNDS", "2"))
COUNT = 200
SWTPM = "/tmp/swtpm"


def through_ours(h, uuid):
    h.start_shim()
    figures = h.measure("g", uuid, COUNT)
    h.stop("shim")
    return figures


def through_forwarder(h, uuid):
    h.start("swtpm", "swtpm socket --tpmstate dir=%s --server type=unixio,path=%s/socket --flags "
            "not-need-init,startup-clear" % (SWTPM, SWTPM))
    h.wait("swtpm", "test -S %s/socket" % SWTPM)
    h.start("forward", "forward %d 0 %s/socket" % (h.domid("g"), SWTPM))
    figures = h.measure("g", uuid, COUNT)
    h.wait("the forwarder ends", "! pidof forward")
    h.run("kill $(cat /run/vtpm/swtpm.pid); rm -f %s/socket" % SWTPM)
    return figures


with Host() as h:
    h.boot()
    h.ok("mkdir -p %s" % SWTPM)
    h.init_store()
    h.start_server()
    uuid = h.create_instance("g")
    h.create("g")
    runs = {"vtpm-shim and vtpm-server": [], "forwarder and swtpm": []}
    for _ in range(ROUNDS):
        runs["vtpm-shim and vtpm-server"].append(through_ours(h, uuid))
        runs["forwarder and swtpm"].append(through_forwarder(h, uuid))
    say("ms, guest to answer, under emulation, %d commands in each of %d rounds:" % (COUNT, ROUNDS))
    say("| through | PcrRead p50 | p99 | GetRandom p50 | p99 |")
    say("|---|---|---|---|---|")
    for name, rounds in runs.items():
        say("| %s | %s |" % (name, " | ".join("%.1f" % statistics.mean(r[command][i] for r in rounds)
                                              for command in ("PcrRead", "GetRandom") for i in (0, 1))))
    check(all(r[c][0] > 0 for rounds in runs.values() for r in rounds for c in r), "each command was answered")
print("latency: measured")
