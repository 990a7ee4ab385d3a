# SPDX-License-Identifier: Apache-2.0
"""Two guests; one of them keeps no rule. It gets no other TPM than its own, and the other guest notices nothing."""
import re

from bed import check, say
from host import ZERO, Chain, Host, together

ATTACKS = "lengths extra flip cancel silent storm flood nodes vanish churn".split()
SECONDS = 2


def own_keys(h):
    eks = {name: h.ek(name) for name in ("good", "bad")}
    check(len(eks["good"]) == 512 and eks["good"] != eks["bad"], "two guests at once, each with an EK of its own")
    return eks


def rewrites_nodes(h, eks, good):
    """Root of `bad` points its own nodes at the other's back end, then connects anew."""
    theirs, mine = ("/local/domain/0/backend/vtpm/%d/0" % h.domid(name) for name in ("good", "bad"))
    h.guest_ok("bad", "tpmcmd extend 10 %s" % ("44" * 20))
    for node in theirs, mine:
        status, out = h.guest("bad", "xenstore-write %s/uuid %s" % (node, good))
        check(status != 0, "a guest cannot write %s" % node)
    h.guest_ok("bad", "echo vtpm-0 >/sys/bus/xen/drivers/vtpm/unbind")
    h.guest_ok("bad", "xenstore-write device/vtpm/0/backend %s device/vtpm/0/uuid %s device/vtpm/0/handle 0 "
                      "device/vtpm/0/frontend-id %d" % (theirs, good, h.domid("good")))
    h.guest("bad", "echo vtpm-0 >/sys/bus/xen/drivers/vtpm/bind", 200)
    _, out = h.guest("bad", "tpmcmd ek; cat /sys/class/tpm/tpm*/pubek; TPM_DEVICE=/dev/tpm1 tpmcmd ek", 60)
    check(eks["good"] not in out.lower().replace(" ", "").replace("\n", ""),
          "a guest that rewrites its own nodes does not reach the other's TPM")
    h.guest_ok("bad", "xenstore-write device/vtpm/0/backend %s; xenstore-rm device/vtpm/0/uuid; "
                      "echo vtpm-0 >/sys/bus/xen/drivers/vtpm/unbind; echo vtpm-0 >/sys/bus/xen/drivers/vtpm/bind; "
                      "test -e /dev/tpm0" % mine, 200)
    check(h.ek("bad") == eks["bad"] and h.pcr("bad", 10) != ZERO,
          "with its own nodes again it has its own TPM, PCRs kept")


def attacks(h, chain):
    pid = h.ok("cat /run/vtpm/shim.pid")
    h.guest_ok("bad", "echo vtpm-0 >/sys/bus/xen/drivers/vtpm/unbind")
    say(h.guest_ok("bad", "hostile_front good 30", 60).strip())
    for name in ATTACKS:
        before = chain.look()[0]
        status, out = h.guest("bad", "hostile_front %s %d" % (name, SECONDS), 120)
        say(out.strip())
        check(status == 0 and re.search(r": [1-9]\d* sent", out) and "no answer" not in out,
              "%s: the attack ran; each request that waited had an answer" % name)
        during = chain.look()[0] - before
        check(during > 0, "%s: the other guest has had answers meanwhile (%d)" % (name, during))
        h.guest_ok("bad", "hostile_front good 30", 60)
        say("ok: %s: the shim is there, and serves a well-behaved front end" % name)
    starts = h.ok("grep -c 'vtpm-shim: ready' /var/log/vtpm/shim.log").strip()
    check(h.ok("cat /run/vtpm/shim.pid") == pid and starts == "1", "the shim is the one of the start")
    h.guest_ok("bad", "echo vtpm-0 >/sys/bus/xen/drivers/vtpm/bind; test -e /dev/tpm0", 200)


with Host() as h:
    h.boot()
    h.init_store()
    h.start_server()
    good, bad = h.create_instance("good"), h.create_instance("bad")
    h.start_shim()
    together(lambda: h.create("good", good), lambda: h.create("bad", bad))
    eks = own_keys(h)
    chain = Chain(h, "good")
    chain.goes_on("before", least=50)
    rewrites_nodes(h, eks, good)
    value = h.pcr("bad", 10)
    attacks(h, chain)
    check(h.pcr("bad", 10) == value and h.ek("bad") == eks["bad"], "after all attacks: its own TPM, PCRs unchanged")
    done, failed = chain.end()
    say("the other guest's driver has waited too long (2 s) for %d of %d commands" % (failed, done + failed))
    check(h.is_alive("server"), "the server is the one of the start")
print("hostile: all seen to hold")
