# SPDX-License-Identifier: Apache-2.0
"""One guest's life: its TPM appears; TrouSerS owns it and seals; what must be kept is kept, what must be reset is."""
from bed import check, say
from host import ZERO, Chain, Host, Trousers, extended, together

SECRET, AGAIN = "nobody must read this", "nor this"
PCR = extended(ZERO, b"\x11" * 20)


def appears(h, web):
    h.guest_ok("web", "test -c /dev/tpm0")
    h.wait("24 PCRs in the driver's list", "agent ask web 60 'grep -c ^PCR- /sys/class/tpm/tpm0/pcrs'", 60,
           want=r"^24$")
    say("ok: a PV guest has /dev/tpm0 and 24 PCRs")
    check(h.pcr("web", 10) == ZERO, "PCR 10 is zero in a new domain")
    row = h.show("web")
    check(row["uuid"] == web and row["state"] == "on", "the inventory has the instance, on")


def owns(h):
    t = Trousers(h, "web")
    check("VTPM" in t.tool("tpm_version")[1], "TrouSerS in the guest finds this TPM")
    t.own()
    t.stop()
    check(h.extend("web", 10, "11") == PCR, "PCR 10 is extended")
    t.start()
    t.seal(SECRET, "free")
    t.seal(SECRET, "bound", 10)
    opens(t, "free", "before any restart")
    opens(t, "bound", "before any restart")
    return t


def opens(t, name, when, text=SECRET):
    status, out = t.unseal(name)
    check(status == 0 and text in out, "%s: %r unseals%s" % (when, name, "" if status == 0 else ": %s" % out))


def is_kept(h, t, when):
    """PCRs as before, and what is sealed to them opens."""
    t.stop()
    check(h.pcr("web", 10) == PCR, "%s: PCR 10 unchanged" % when)
    t.start()
    opens(t, "bound", when)


def restarts(h, t, chain):
    t.stop()
    h.rebind("web")
    t.start()
    is_kept(h, t, "driver unbound and bound again")
    h.stop("shim")
    h.start_shim()
    is_kept(h, t, "shim restarted")
    h.stop("shim", "KILL")
    h.start_shim()
    is_kept(h, t, "shim killed")
    h.stop("server", "KILL")
    h.start_server()
    is_kept(h, t, "server killed")
    chain.goes_on("after all of these")
    chain.end()


def reboots(h, t):
    files = t.files("free", "bound")
    t.stop()
    before = h.domid("web")
    h.ok("xl reboot web", 60)
    h.wait("a new domain after the reboot", "d=$(xl domid web) && [ $d -gt %d ]" % before, 60)
    h.wait_guest("web")
    check(h.pcr("web", 10) == ZERO, "guest rebooted: PCR 10 is zero")
    return resumes(h, files, "guest rebooted")


def resumes(h, files, when):
    h.bring("web", files)
    t = Trousers(h, "web")
    opens(t, "free", when)
    status, out = t.unseal("bound")
    check(status != 0 and SECRET not in out, "%s: what was sealed to PCR 10 stays closed" % when)
    t.stop()
    check(h.extend("web", 10, "11") == PCR, "%s: PCR 10 is extended again" % when)
    t.start()
    opens(t, "bound", when)
    return t


def power_cut(h, web, t):
    """The machine ends at once after an owner was made: what the guest was told is on the disk."""
    files = t.files("free", "bound")
    late = Trousers(h, "db")
    late.own()
    late.seal(AGAIN, "late")
    db_files = late.files("late")
    h.power_off()
    h.boot()
    h.start_server()
    h.start_shim()
    together(lambda: h.create("web", web), lambda: h.create("db", h.show("db")["uuid"]))
    check(h.pcr("web", 10) == ZERO, "dom0 restarted: PCR 10 is zero")
    resumes(h, files, "dom0 restarted")
    h.bring("db", db_files)
    opens(Trousers(h, "db"), "late", "dom0 restarted, owner made just before", AGAIN)


with Host() as h:
    h.boot()
    h.init_store()
    h.start_server()
    web, db = h.create_instance("web"), h.create_instance("db")
    h.start_shim()
    together(lambda: h.create("web", web), lambda: h.create("db", db))
    appears(h, web)
    t = owns(h)
    chain = Chain(h, "db")
    restarts(h, t, chain)
    t = reboots(h, t)
    power_cut(h, web, t)
print("guest: all seen to hold")
