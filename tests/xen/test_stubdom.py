# SPDX-License-Identifier: Apache-2.0
"""The Mini-OS shim's own parts, its vchan client above all, against libxenvchan and a real Xen: the program on Linux's
libraries (tests/lib/minios_platform.c) in a domain of its own, as a driver domain for another."""
from bed import check
from host import LISTEN, ZERO, extended
from stubdom import UUID, Pair

PCR = extended(ZERO, b"\x11" * 20)


def start_inside(h, name):
    h.guest_ok("web-vtpm", "setsid stubdom </dev/null >>/tmp/%s.log 2>&1 & echo $! >/tmp/stubdom.pid" % name)
    h.wait("the program in web-vtpm", "agent ask web-vtpm 20 'grep ready /tmp/%s.log'" % name)


def bring_up(h, web):
    h.create("web-vtpm", memory=176, more='driver_domain=1\nuuid="%s"' % UUID)
    h.ok("vtpm-stubdom --credential %s tell web-vtpm" % h.credential(web))
    start_inside(h, "first")
    h.create_guest(web)
    check(h.pcr("web", 10) == ZERO, "a guest has its TPM through the vchan client and libxenvchan's server")
    check(h.extend("web", 10, "11") == PCR, "PCR 10 is extended")


with Pair() as h:
    h.boot()
    web = h.begin()
    bring_up(h, web)
    h.stop("server", "KILL")
    h.start_server(LISTEN, "vchan")
    check(h.pcr("web", 10) == PCR, "server killed: the client finds the next channel, PCR 10 kept")
    h.stop("server")
    h.start_server(LISTEN, "vchan")
    check(h.pcr("web", 10) == PCR, "server stopped and started: the same")
    h.rebind("web")
    check(h.pcr("web", 10) == PCR, "driver unbound and bound again: PCR 10 kept")
    h.reboot()
    check(h.pcr("web", 10) == ZERO, "guest rebooted: PCR 10 is zero")
print("stubdom: all seen to hold")
