# SPDX-License-Identifier: Apache-2.0
"""A guest behind a stub domain, as deploy/xen lays the pair out: the server in dom0 with vchan, and vtpm-stubdom."""
from host import CREDENTIALS, LISTEN, Host

UUID = "5d0b5f6e-0c55-4f34-8a43-0123456789ab"
STUBDOM = '''name="%(name)s"
type="pv"
uuid="%(uuid)s"
kernel="%(kernel)s"
%(ramdisk)s
memory=%(memory)d
maxmem=%(memory)d
vcpus=1
driver_domain=1
on_poweroff="destroy"
on_reboot="destroy"
on_crash="%(on_crash)s"
%(more)s
'''


class Pair(Host):
    def begin(self):
        """A store, a server with vchan, an instance that the stub domain alone may attach; its uuid."""
        self.init_store()
        self.start_server(LISTEN, "vchan")
        web = self.create_instance("web")
        self.ctl("binding", "add", "web", "--peer", "backend:uuid:" + UUID)
        return web

    def credential(self, uuid):
        return "%s/%s.cred" % (CREDENTIALS, uuid)

    def write_stubdom(self, kernel, ramdisk, memory=8, more="", on_crash="destroy"):
        path = "/etc/xen/web-vtpm.cfg"
        self.write(path, STUBDOM % {"name": "web-vtpm", "uuid": UUID, "kernel": kernel, "memory": memory, "more": more,
                                    "on_crash": on_crash, "ramdisk": ramdisk and 'ramdisk="%s"' % ramdisk})
        return path

    def create_guest(self, uuid):
        self.create("web", more='vtpm=["backend=web-vtpm,uuid=%s"]' % uuid)

    def reboot(self):
        before = self.domid("web")
        self.ok("xl reboot web", 60)
        self.wait("a new domain after the reboot", "d=$(xl domid web) && [ $d -gt %d ]" % before, 60)
        self.wait_guest("web")

    def console_text(self):
        return self.run("cat /var/log/xen/guest-web-vtpm.log")[1]
