# SPDX-License-Identifier: Apache-2.0
"""A host as an operator lays it out, in the dom0 of a Bed: the server, one shim for all guests, guests with vTPMs."""
import base64
import hashlib
import json
import shlex
import threading
import time

from bed import QUICK, SLOW, Bed, Failed, check, say

ADMIN = "unix:/run/vtpm/admin.sock"
LISTEN = "unix:/run/vtpm/vtpm.sock"
STORE, KEY, CREDENTIALS = "/data/store", "/data/key", "/data/credentials"


def server(keyslot="keyfile:" + KEY, data=STORE, runtime="/run/vtpm/server", admin=ADMIN):
    """Making a key takes an emulated processor half a minute when the machine is busy: hence the patience."""
    return ("vtpm-server --data-dir %s --runtime-dir %s --keyslot %s --admin %s --allow-root --request-timeout 300" %
            (data, runtime, keyslot, admin))


SERVER = server()
SHIM = "vtpm-shim --credential-dir %s --frontend xen --runtime-dir /run/vtpm/shim" % CREDENTIALS
LOGS = "/var/log/vtpm"
GUEST = '''name="%(name)s"
type="pv"
kernel="/boot/vmlinux"
ramdisk="/boot/guest.cpio"
extra="%(line)s"
memory=%(memory)d
vcpus=1
on_poweroff="destroy"
on_crash="destroy"
on_reboot="restart"
%(more)s
'''
GUEST_LINE = "console=hvc0 loglevel=1 %s name=%%s" % QUICK
ZERO = "0" * 40
CHAIN = "/tmp/chain"


def together(*acts):
    """Runs them side by side; the first failure is ours."""
    failures = []

    def one(act):
        try:
            act()
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=one, args=(act,)) for act in acts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def extended(value, *digests):
    """What a PCR holds after these."""
    for digest in digests:
        value = hashlib.sha1(bytes.fromhex(value) + digest).hexdigest()
    return value


class Host(Bed):
    # ---- daemons in dom0 ----
    def start(self, name, command, ready=None, limit=30):
        """A daemon of dom0: its pid in /run/vtpm/NAME.pid, its words in LOGS/NAME.log; waits for the line `ready`."""
        log = "%s/%s.log" % (LOGS, name)
        mark = int(self.ok("mkdir -p %s /run/vtpm /data/credentials; touch %s; wc -c <%s; "
                           "setsid %s </dev/null >>%s 2>&1 & echo $! >/run/vtpm/%s.pid" %
                           (LOGS, log, log, command, log, name)).split()[0])
        if ready:
            self.wait(name, "tail -c +%d %s" % (mark + 1, log), limit, want=ready)

    def signal(self, name, signal="TERM"):
        self.ok("kill -%s $(cat /run/vtpm/%s.pid)" % (signal, name))

    def is_alive(self, name):
        """No zombie either."""
        return self.run("grep -qs '^State:[^Z]*$' /proc/$(cat /run/vtpm/%s.pid)/status" % name)[0] == 0

    def stop(self, name, signal="TERM", limit=20):
        self.signal(name, signal)
        self.wait("%s ends" % name, "! grep -qs '^State:[^Z]*$' /proc/$(cat /run/vtpm/%s.pid)/status" % name, limit)

    def log_text(self, name):
        return self.ok("cat %s/%s.log" % (LOGS, name))

    # ---- server and shim ----
    def init_store(self, keyslot="keyfile:" + KEY, data=STORE):
        """Its recovery key."""
        return self.ok("vtpm-server init --data-dir %s --keyslot %s --allow-root 2>/tmp/init || { s=$?; cat /tmp/init; "
                       "exit $s; }" % (data, keyslot), 60)

    def start_server(self, *listen, command=SERVER, name="server"):
        options = "".join(" --listen " + at for at in listen or (LISTEN,))
        self.start(name, command + options, "vtpm-server: ready", 60)

    def start_shim(self, upstream=LISTEN):
        self.start("shim", SHIM + " --upstream " + upstream, "vtpm-shim: ready", 30)

    def measure(self, guest, uuid, count, backend="0"):
        """{command: (median, 99th percentile)} in ms, in a guest without a device, through whatever serves that back end."""
        self.ok("xl vtpm-attach %s backend=%s uuid=%s" % (guest, backend, uuid), 60)
        self.wait("/dev/tpm0 in " + guest, "agent ask %s 20 'test -c /dev/tpm0'" % guest, 60)
        lines = self.guest_ok(guest, "tpmcmd bench %d" % count, 120).splitlines()
        self.ok("xl vtpm-detach %s 0" % guest, 60)
        return {name: (float(median), float(worst)) for name, median, worst in (line.split() for line in lines)}

    def ctl(self, *argv, admin=ADMIN):
        return self.ok(" ".join(map(shlex.quote, ("vtpmctl", "--admin", admin) + argv)), 60)

    def ctl_json(self, *argv, admin=ADMIN):
        return json.loads(self.ctl("--json", *argv, admin=admin))

    def refuses(self, code, words, *argv, admin=ADMIN):
        """vtpmctl refuses with this exit code and these words."""
        status, out = self.run(" ".join(map(shlex.quote, ("vtpmctl", "--admin", admin) + argv)), 60)
        check(status == code and words in out, "vtpmctl %s: exit %d: %s" % (" ".join(argv), status, out.strip()))

    def show(self, name, admin=ADMIN):
        return self.ctl_json("instance", "show", name, admin=admin)["instances"][0]

    def create_instance(self, name):
        """The uuid of a new instance; its credential is where the shim looks for it."""
        uuid = self.ctl("instance", "create", name, "--credential-out", "/data/new.cred").strip()
        self.ok("mkdir -p %s && mv /data/new.cred %s/%s.cred" % (CREDENTIALS, CREDENTIALS, uuid))
        return uuid

    # ---- guests ----
    def configure(self, name, uuid=None, memory=160, more=""):
        """The path of its xl configuration."""
        if uuid:
            more += '\nvtpm=["backend=0,uuid=%s"]' % uuid
        path = "/etc/xen/%s.cfg" % name
        self.write(path, GUEST % {"name": name, "line": GUEST_LINE % name, "memory": memory, "more": more})
        return path

    def create(self, name, uuid=None, **kw):
        """Starts a guest and waits until it takes commands."""
        self.ok("xl create -q %s" % self.configure(name, uuid, **kw), 60)
        self.wait_guest(name)

    def wait_guest(self, name, limit=60):
        """Its agent answers. A new domain of the same name answers as one: ask for what must be different."""
        end = time.monotonic() + limit * SLOW
        while self.guest(name, "true", 5)[0] != 0:
            if time.monotonic() > end:
                raise Failed("%s does not come up:\n%s" % (name, self.run("tail -n 40 /var/log/xen/guest-%s.log" %
                                                                          name)[1]))

    def domid(self, name):
        return int(self.ok("xl domid %s" % name))

    def state_of(self, domid, device=0):
        """XenBus states of (back end, front end); None where there is no node."""
        paths = ("/local/domain/0/backend/vtpm/%d/%d/state" % (domid, device),
                 "/local/domain/%d/device/vtpm/%d/state" % (domid, device))
        found = [self.run("xenstore-read %s" % path) for path in paths]
        return tuple(int(out) if status == 0 else None for status, out in found)

    def no_nodes(self, domid):
        """What is left in xenstore of a domain's vTPM."""
        return self.run("xenstore-ls -f / | grep -E '^/(local/domain/0/backend/vtpm|local/domain/%d|libxl/%d)(/|$| )' |"
                        " grep -E 'vtpm/%d|domain/%d|libxl/%d'" % ((domid,) * 5))[1]

    def pcr(self, name, n):
        return self.guest_ok(name, "tpmcmd pcr %d" % n).strip()

    def extend(self, name, n, byte):
        return self.guest_ok(name, "tpmcmd extend %d %s" % (n, byte * 20)).strip()

    def ek(self, name):
        return self.guest_ok(name, "tpmcmd ek").strip()

    def rebind(self, name):
        """Root in the guest takes the driver off the device and puts it on again."""
        self.guest_ok(name, "cd /sys/bus/xen/drivers/vtpm && echo vtpm-0 >unbind && ! test -e /dev/tpm0 && "
                            "echo vtpm-0 >bind && test -e /dev/tpm0", 60)

    # ---- a guest's disk: what it saves outlives it ----
    def fetch(self, name, *paths):
        return {path: base64.b64decode(self.guest_ok(name, "base64 " + path)) for path in paths}

    def bring(self, name, files):
        for path, data in files.items():
            self.guest_ok(name, "base64 -d >%s <<END\n%sEND" % (path, base64.encodebytes(data).decode()))


class Chain:
    """A guest that extends a PCR (zero before) without end, beside what a test does."""

    def __init__(self, host, name, pcr=7):
        self.host, self.name, self.seen, self.longest = host, name, 0, 0
        host.guest_ok(name, "rm -f %s*; tpmcmd chain %d %s >/tmp/chain.log 2>&1 &" % (CHAIN, pcr, CHAIN))

    def look(self):
        """(done, value, without answer, longest wait in ms); the value is checked against the number."""
        done, value, failed, longest = self.host.guest_ok(self.name, "cat %s" % CHAIN).split()
        possible = [extended(ZERO, *[b"\x01" * 20] * (int(done) + more)) for more in range(int(failed) + 1)]
        if value not in possible:
            raise Failed("%s: after %s extends (%s without answer) the PCR is not what it must be" %
                         (self.name, done, failed))
        return int(done), int(failed), int(longest)

    def goes_on(self, what, least=3, limit=30):
        """So many extends more than at the last call."""
        self.host.wait("%s: %s goes on" % (what, self.name), "agent ask %s 20 'cut -d\" \" -f1 %s' | awk "
                       "'{exit !($1 >= %d)}'" % (self.name, CHAIN, self.seen + least), limit)
        self.seen, failed, self.longest = self.look()
        say("ok: %s: %s goes on: %d extends, %d without answer, longest wait %d ms" %
            (what, self.name, self.seen, failed, self.longest))

    def end(self):
        self.host.guest_ok(self.name, "touch %s.stop; while pidof tpmcmd; do usleep 100000; done" % CHAIN)
        done, failed, _ = self.look()
        say("ok: %s: %d extends (and %d without answer), none lost, none done twice" % (self.name, done, failed))
        return done, failed


class Trousers:
    """tcsd and tpm-tools in a guest."""
    HOME = "/root/"

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.start()

    def start(self):
        self.host.guest_ok(self.name, "chown tss /dev/tpm0; setsid tcsd -f >>/tmp/tcsd.log 2>&1 & i=0; "
                                      "until nc -w 1 127.0.0.1 30003 </dev/null || [ $i -gt 300 ]; do "
                                      "i=$((i+1)); usleep 100000; done;"
                                      "nc -w 1 127.0.0.1 30003 </dev/null || { cat /tmp/tcsd.log; false; }")

    def stop(self):
        """It keeps the device to itself: others reach the TPM only without it."""
        self.host.guest_ok(self.name, "killall tcsd; while pidof tcsd >/dev/null; do usleep 100000; done")

    def own(self):
        self.host.guest_ok(self.name, "tpm_takeownership -y -z", 120)

    def tool(self, command):
        """(status, output). Where the driver lost patience with a busy machine (layer=tddl), once more."""
        for _ in range(5):
            status, out = self.host.guest(self.name, command, 60)
            if status == 0 or "layer=tddl" not in out:
                break
        return status, out

    def seal(self, text, name, *pcrs):
        status, out = self.tool("echo '%s' >/tmp/plain; rm -f %s%s; tpm_sealdata -z -i /tmp/plain -o %s%s%s" %
                                (text, self.HOME, name, self.HOME, name, "".join(" -p %d" % n for n in pcrs)))
        check(status == 0, "sealed as %r%s" % (name, "" if status == 0 else ": " + out))

    def unseal(self, name):
        """(status, text)"""
        return self.tool("tpm_unsealdata -z -i %s%s" % (self.HOME, name))

    def files(self, *names):
        return self.host.fetch(self.name, "/var/lib/tpm/system.data", *(self.HOME + name for name in names))
