# SPDX-License-Identifier: Apache-2.0
"""Channels over vchan: the server in dom0 with a shim in a guest, then the server in a service domain with the shim in
dom0. Only the bound domain gets through, whatever credential another shows. The death of either side heals."""
import shlex

from bed import check
from host import ADMIN, CREDENTIALS, LISTEN, SERVER, ZERO, Chain, Host, together

TPM = "/run/tpm"  # the shim's socket inside a guest
LOG = "/var/log/vtpm/server.log"


class Here(Host):
    def daemon(self, guest, name, command):
        """In a guest; its words in /tmp/NAME.log."""
        self.guest_ok(guest, "mkdir -p /run/vtpm; setsid %s </dev/null >>/tmp/%s.log 2>&1 & echo $! >/run/vtpm/%s.pid" %
                      (command, name, name))

    def wait_in(self, guest, what, command, limit=30, want=None):
        self.wait(what, "agent ask %s 20 %s" % (guest, shlex.quote(command)), limit, want)

    def shim_inside(self, guest, server, credential):
        """A guest without tpmfront serves itself."""
        self.daemon(guest, "shim", "vtpm-shim --upstream vchan:%d --credential %s --frontend socket:unix:%s" %
                    (server, credential, TPM))
        self.wait_in(guest, "the shim in %s" % guest, "test -S %s" % TPM)

    def give(self, guest, uuid):
        """The credential, as a thief or an honest guest has it."""
        text = self.ok("cat %s/%s.cred" % (CREDENTIALS, uuid)).strip()
        self.guest_ok(guest, "umask 077; echo '%s' >/root/%s.cred" % (text, uuid))
        return "/root/%s.cred" % uuid

    def no_shim_inside(self, guest):
        """It takes its socket along."""
        self.guest_ok(guest, "p=$(cat /run/vtpm/shim.pid); kill $p; "
                             "while kill -0 $p; do usleep 50000; done 2>/dev/null")

    def inside(self, guest, command, limit=30):
        return self.guest(guest, "TPM_DEVICE=%s tpmcmd %s" % (TPM, command), limit)

    def is_shut_out(self, guest, server, uuid, why, evidence):
        """It has the credential, and gets not one answer; and not because all is slow: there is evidence in dom0."""
        self.shim_inside(guest, server, self.give(guest, uuid))
        status, out = self.guest(guest, "TPM_DEVICE=%s timeout 5 tpmcmd pcr 10" % TPM)
        check(status != 0 and len(out.strip()) != 40, why)
        self.wait(why, evidence)
        self.no_shim_inside(guest)


def guest_side(h, own, other):
    """The server in dom0; `inside` is bound to its instance by name."""
    h.ctl("binding", "add", "own", "--peer", "name:inside")
    h.shim_inside("inside", 0, h.give("inside", own))
    status, out = h.inside("inside", "pcr 10", 60)
    check(status == 0 and out.strip() == ZERO, "a shim inside a guest reaches the server in dom0 by vchan")
    _, value = h.inside("inside", "extend 10 %s" % ("55" * 20))
    h.is_shut_out("g", 0, own, "another domain with the same credential is shut out (bound to nothing)",
                  "grep 'is offered nothing domid=%d ' %s" % (h.domid("g"), LOG))
    h.ctl("binding", "add", "other", "--peer", "name:g")
    h.is_shut_out("g", 0, own, "another domain with the same credential is shut out (bound to another instance)",
                  "grep 'attach refused: the domain is not bound .*(domid %d,' %s" % (h.domid("g"), LOG))
    h.shim_inside("g", 0, h.give("g", other))
    check(h.inside("g", "pcr 10", 60)[0] == 0, "with its own credential it gets through")
    h.no_shim_inside("g")

    h.guest_ok("inside", "kill -9 $(cat /run/vtpm/shim.pid); rm -f %s" % TPM)
    h.shim_inside("inside", 0, "/root/%s.cred" % own)
    check(h.inside("inside", "pcr 10", 60)[1] == value, "shim in the guest killed: heals, PCR 10 kept")
    h.stop("server", "KILL")
    h.start_server(LISTEN, "vchan")
    check(h.inside("inside", "pcr 10", 90)[1] == value, "server in dom0 killed: heals, PCR 10 kept")
    domain_dies(h, own)


def domain_dies(h, own):
    """libxenvchan tells its server nothing of it."""
    domid = h.domid("inside")
    h.ok("xl destroy inside", 60)
    h.wait("the server lets go of domain %d" % domid,
           "! xenstore-ls -f /local/domain/0/data | grep -E '/vchan/%d(/|$| )'" % domid, 60)
    h.create("inside")
    h.shim_inside("inside", 0, h.give("inside", own))
    status, out = h.inside("inside", "pcr 10", 60)
    check(status == 0 and out.strip() == ZERO, "domain destroyed and made again: a new channel, PCR 10 reset")
    h.no_shim_inside("inside")


def serve_in(h, guest):
    """A server of its own in a service domain; its disk is its memory here."""
    h.guest_ok(guest, "mkdir -p /data /run/vtpm; vtpm-server init --data-dir /data/store --keyslot keyfile:/data/key "
                      "--allow-root", 120)
    start_in(h, guest)


def start_in(h, guest):
    h.daemon(guest, "server", SERVER + " --listen vchan")
    h.wait_in(guest, "the server in %s" % guest, "vtpmctl --admin %s status" % ADMIN, 60)


def service_domain(h):
    svc = h.domid("svc")
    serve_in(h, "svc")
    ctl = "vtpmctl --admin %s " % ADMIN
    uuid = h.guest_ok("svc", ctl + "instance create served --credential-out /root/c", 60).strip()
    h.ok("cat >%s/%s.cred <<'END'\n%s\nEND\nchmod 600 %s/%s.cred" %
         (CREDENTIALS, uuid, h.guest_ok("svc", "cat /root/c").strip(), CREDENTIALS, uuid))
    no_channel = "! xenstore-exists /local/domain/%d/data/vchan/%d" % (svc, h.domid("inside"))
    h.is_shut_out("inside", svc, uuid, "service domain: a domain bound to nothing is shut out with a good credential",
                  no_channel)
    h.guest_ok("svc", ctl + "binding add served --peer dom0")
    h.is_shut_out("inside", svc, uuid, "service domain: bound to dom0: another domain is shut out", no_channel)
    h.wait("the channel that dom0 is offered", "xenstore-exists /local/domain/%d/data/vchan/0" % svc)
    h.start_shim("vchan:%d" % svc)
    h.ok("xl vtpm-attach g backend=0 uuid=%s" % uuid, 60)
    h.wait_in("g", "/dev/tpm0 in g", "test -c /dev/tpm0", 60)
    check(h.pcr("g", 10) == ZERO, "server in a service domain, shim in dom0: the guest has its TPM")
    value = h.extend("g", 10, "66")
    chain = Chain(h, "g")
    chain.goes_on("service domain")
    h.guest_ok("svc", "kill -9 $(cat /run/vtpm/server.pid)")
    start_in(h, "svc")
    chain.goes_on("server in the service domain killed", limit=60)
    h.stop("shim", "KILL")
    h.start_shim("vchan:%d" % svc)
    chain.goes_on("shim in dom0 killed", limit=60)
    chain.end()
    check(h.pcr("g", 10) == value, "PCR 10 kept through both")


with Here() as h:
    h.boot()
    h.init_store()
    h.start_server(LISTEN, "vchan")
    own, other = h.create_instance("own"), h.create_instance("other")
    together(*(lambda name=name: h.create(name, memory=176) for name in ("inside", "g", "svc")))
    guest_side(h, own, other)
    service_domain(h)
print("vchan: all seen to hold")
