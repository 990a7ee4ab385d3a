# SPDX-License-Identifier: Apache-2.0
"""A guest that is saved on one host and restored on another one (docs/moving.md), and goes back home. Both hosts are
this dom0: two servers with a store each, and the one shim that a dom0 can have, with this or with that one."""
from bed import check
from host import ADMIN, CREDENTIALS, LISTEN, LOGS, ZERO, Host, Trousers, extended, server

SECRET = "nobody must read this"
XL = 120


class Site:
    """A server, and what is done with it."""

    def __init__(self, h, name, admin, listen, data, keyslot):
        self.h, self.name, self.admin, self.listen, self.data, self.keyslot = h, name, admin, listen, data, keyslot
        self.command = server(keyslot, data, "/run/vtpm/%s" % name, admin)

    def begin(self):
        self.h.init_store(self.keyslot, self.data)
        self.start()

    def start(self):
        self.h.start_server(self.listen, command=self.command, name=self.name)

    def ctl(self, *argv):
        return self.h.ctl(*argv, admin=self.admin)

    def refuses(self, code, words, *argv):
        self.h.refuses(code, words, *argv, admin=self.admin)

    def show(self, name):
        return self.h.show(name, admin=self.admin)

    def xl(self, *argv):
        """vtpm-xl, as this site's operator calls it."""
        return self.h.run(" ".join(("vtpm-xl", "--admin", self.admin) + argv), XL)

    def xl_ok(self, *argv):
        status, out = self.xl(*argv)
        check(status == 0, "%s: vtpm-xl %s%s" % (self.name, argv[0], "" if status == 0 else ": " + out))

    def takes_the_shim(self):
        self.h.stop("shim")
        self.h.start_shim(self.listen)


def introduced(*sites):
    for a, b in (sites, sites[::-1]):
        path = "/root/%s.key" % b.name
        a.h.write(path, b.ctl("server", "key", "show"))
        a.ctl("server", "peer", "add", b.name, "--key", path)


def lives(h, web):
    """TrouSerS owns it, and seals to a PCR of this life."""
    h.start_shim()
    h.create("web", web)
    t = Trousers(h, "web")
    t.own()
    t.stop()
    value = h.extend("web", 10, "11")
    check(value == extended(ZERO, b"\x11" * 20), "PCR 10 is extended")
    t.start()
    t.seal(SECRET, "bound", 10)
    t.stop()
    return t, value


def forks(h, a, b):
    """The checkpoint is restored where the guest was, too. Its driver is told at once that its TPM is not there."""
    a.xl_ok("restore", "/etc/xen/web.cfg", "/data/checkpoint")
    domain, why = "domain %d device 0 " % h.domid("web"), "exported to %s at" % b.name
    h.wait("%s refuses the restored guest" % a.name, "grep '%s' %s/%s.log" % (why, LOGS, a.name))
    told = h.wait("the shim is told", "grep '%s.*%s' %s/shim.log" % (domain, why, LOGS))
    check(domain + "attached" not in h.log_text("shim"),
          "%s: restored there after the export, the guest has no TPM: %s" % (a.name, told.splitlines()[0]))
    h.wait_guest("web")
    # Its driver's patience is two minutes.
    h.wait("the guest's driver is told", "agent ask web 20 'dmesg | grep \"TPM error (9)\"'", 40)
    status, out = h.guest("web", "set -- /dev/tpm[1-9]; TPM_DEVICE=$1 timeout 20 tpmcmd pcr 10", 40)
    check(status != 0 and status != 124 and len(out.strip()) != 40,
          "%s: the restored guest hears TPM_FAIL at once: %d, %s" % (a.name, status, out.strip()))
    h.ok("xl destroy web", 60)


def moves(h, a, b, t, value, is_tried_at_home=False):
    """Saved at `a`, restored at `b`: with its PCRs, and what was sealed to them opens."""
    a.xl_ok("save", "/etc/xen/web.cfg", "/data/checkpoint")
    bundle = "/data/to-%s" % b.name
    a.ctl("instance", "export", "web", "--to", b.name, "--out", bundle)
    uuid = b.ctl("instance", "import", bundle).strip()
    check(b.show("web")["state"] == "on", "%s: imported, and on as it left" % b.name)
    b.refuses(5, "imported here before", "instance", "import", bundle)
    if is_tried_at_home:
        forks(h, a, b)
    b.takes_the_shim()
    b.xl_ok("restore", "/etc/xen/web.cfg", "/data/checkpoint")
    h.wait_guest("web")
    # Linux numbers its new device anew; TrouSerS knows only one name.
    h.wait("the TPM of the restored guest",
           "agent ask web 20 'set -- /dev/tpm[1-9]; test -c $1 && ln -sf $1 /dev/tpm0'")
    check(h.pcr("web", 10) == value, "%s: PCR 10 kept" % b.name)
    t.start()
    status, out = t.unseal("bound")
    check(status == 0 and SECRET in out, "%s: what was sealed to PCR 10 opens: %s" % (b.name, out.strip()))
    t.stop()
    return uuid


def source_refuses(h, a, b, uuid):
    row = a.show("web")
    check(row["state"] == "disabled", "%s: the inventory says disabled" % a.name)
    check("exported to %s at 20" % b.name in a.ctl("instance", "show", "web"), "%s: and why" % a.name)
    for verb, code in ("enable", 4), ("suspend", 7), ("power-cycle", 7):
        a.refuses(code, "exported to %s" % b.name, "instance", verb, "web")
    h.start("late", "vtpm-shim --upstream %s --credential %s/%s.cred --frontend socket:unix:/run/vtpm/late.tpm" %
            (a.listen, CREDENTIALS, uuid), "vtpm-shim: ready")
    h.wait("%s says why" % a.name, "grep 'exported to %s at' %s/%s.log" % (b.name, LOGS, a.name))
    status, out = h.run("TPM_DEVICE=/run/vtpm/late.tpm timeout 5 tpmcmd pcr 10")
    check(status != 0 and len(out.strip()) != 40, "%s: a shim with the right credential gets no answer" % a.name)
    h.stop("late")


with Host() as h:
    h.boot()
    a = Site(h, "server", ADMIN, LISTEN, "/data/store", "keyfile:/data/key")
    b = Site(h, "second", "unix:/run/vtpm/admin2.sock", "unix:/run/vtpm/second.sock", "/data/store2",
             "keyfile:/data/key2")
    a.begin()
    b.begin()
    introduced(a, b)
    web = h.create_instance("web")
    t, value = lives(h, web)
    check(moves(h, a, b, t, value, is_tried_at_home=True) == web, "second: it is the same uuid")
    source_refuses(h, a, b, web)
    moves(h, b, a, t, h.extend("web", 11, "22") and value)
    source_refuses(h, b, a, web)
    check(all(h.is_alive(name) for name in ("server", "second")), "both servers are those of the start")
print("moving: all seen to hold")
