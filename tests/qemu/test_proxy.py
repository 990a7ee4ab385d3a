# SPDX-License-Identifier: Apache-2.0
"""vtpm-shim --frontend proxy on the kernel's own tpm_vtpm_proxy, in an emulated machine (proxy_init has the steps)."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import emulated  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
UDEVADM = "/usr/bin/udevadm"

if not os.path.exists(UDEVADM):
    emulated.skip("udev is not installed")
m = emulated.Machine(os.path.join(HERE, "proxy_init"), ["tpm_vtpm_proxy"])
m.ours("vtpm-server", "vtpm-engine", "vtpm-shim", "vtpmctl")
m.tree.program("/usr/bin/tpmcmd", os.environ.get("VTPM_TPMCMD", os.path.join(ROOT, "build/release/tests/qemu/tpmcmd")))
m.tree.program(UDEVADM, UDEVADM)
m.tree.link("/lib/systemd/systemd-udevd", UDEVADM)
m.tree.file("/lib/udev/rules.d/70-vtpm-proxy.rules", os.path.join(ROOT, "deploy/udev/70-vtpm-proxy.rules"))
emulated.judge(m.run(limit=90), least=39)
print("proxy: all seen to hold")
