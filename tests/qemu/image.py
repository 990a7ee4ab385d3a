#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds what a guest of QEMU boots: vmlinuz and guest.cpio, with a shell on the serial line and TrouSerS."""
import argparse
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from debian_image import Modules, Tree, cache, candidate, find, kernel_package, unpack, which  # noqa: E402

SKIPPED = 77
TSS_ID = 101
TROUSERS = "tcsd tpm_version".split()
# Built into Debian's kernel where they are not among its modules.
MODULES = "tpm_tis ac button".split()


def guest(trees):
    tree = Tree()
    tree.file("/bin/busybox", find(trees["shell"], "busybox", 0o111), 0o755)
    tree.file("/init", os.path.join(HERE, "init"), 0o755)
    for name in TROUSERS:
        tree.program("/usr/bin/" + name, which(name))
    # Loaded by name at run time: libpthread's cancellation needs it.
    tree.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")
    tree.data("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\ntss:x:%d:%d::/:/bin/false\n" % (TSS_ID, TSS_ID))
    tree.data("/etc/group", b"root:x:0:\ntss:x:%d:\n" % TSS_ID)
    tree.data("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")
    tree.data("/etc/hosts", b"127.0.0.1 localhost\n")
    tree.data("/etc/tcsd.conf", b"port = 30003\nsystem_ps_file = /var/lib/tpm/system.data\n", 0o640, (0, TSS_ID))
    tree.folder("/var/lib/tpm", 0o700, (TSS_ID, TSS_ID))
    for folder in "/proc /sys /dev /run /tmp /root /var/log".split():
        tree.folder(folder)
    tree.modules(Modules(trees["kernel"]), MODULES)
    return tree


def build(out):
    if not shutil.which("apt-cache") or not candidate("linux-image-amd64"):
        print("SKIPPED: apt has no package linux-image-amd64 here")
        return SKIPPED
    kernel = kernel_package()
    with cache():
        trees = {role: unpack(role, name, candidate(name)) for role, name in
                 {"kernel": kernel, "shell": "busybox-static"}.items()}
    os.makedirs(out, exist_ok=True)
    boot = os.path.join(trees["kernel"], "boot")
    name, = (n for n in os.listdir(boot) if n.startswith("vmlinuz-"))
    # As it is: SeaBIOS starts it, and measures what it starts.
    shutil.copy(os.path.join(boot, name), os.path.join(out, "vmlinuz"))
    guest(trees).write(os.path.join(out, "guest.cpio"))
    print("%s, guest.cpio: %.1f MiB" % (kernel, os.path.getsize(os.path.join(out, "guest.cpio")) / 2**20))
    return 0


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", required=True, help="the directory of the image")
    sys.exit(build(p.parse_args().out))
