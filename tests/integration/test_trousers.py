# SPDX-License-Identifier: Apache-2.0
"""A real client: TrouSerS' tcsd over its TCP device, with Debian's tpm-tools."""
import os

from rig import Rig, check, free_port
from tcsd import Tcsd, need_trousers
from tpm12 import Socket, Tpm

need_trousers()


def device(rig, name, *create):
    port = free_port()
    rig.create(name, *create)
    rig.start_shim(name, "socket:tcp:127.0.0.1:%d" % port)
    return Tcsd(rig, name, port), port


def owned(rig):
    tcsd, port = device(rig, "guest")
    home = tcsd.dir

    tcsd.ok("tpm_version", want="TPM Vendor ID:       VTPM")
    tcsd.ok("tpm_version", want="Spec Level:          2")
    tcsd.ok("tpm_selftest")
    tcsd.refused("tpm_createek")
    tcsd.ok("tpm_takeownership", "-y", "-z")
    tcsd.refused("tpm_takeownership", "-y", "-z")
    tcsd.ok("tpm_getpubek", "-z", want="Public Endorsement Key")

    # NV: by the owner's authority, and by the area's own.
    tcsd.ok("tpm_nvdefine", "-i", "0x1001", "-s", "32", "-p", "OWNERREAD|OWNERWRITE", "-y")
    tcsd.ok("tpm_nvwrite", "-i", "0x1001", "-d", "kept by the owner", "-z")
    out = os.path.join(home, "nv1")
    tcsd.ok("tpm_nvread", "-i", "0x1001", "-s", "17", "-f", out, "-z")
    check(open(out, "rb").read() == b"kept by the owner", "NV area of the owner reads back")
    tcsd.ok("tpm_nvdefine", "-i", "0x1002", "-s", "16", "-p", "AUTHREAD|AUTHWRITE", "-y", "--pwda=area")
    tcsd.ok("tpm_nvwrite", "-i", "0x1002", "-d", "by its own auth", "--password=area")
    out = os.path.join(home, "nv2")
    tcsd.ok("tpm_nvread", "-i", "0x1002", "-s", "15", "-f", out, "--password=area")
    check(open(out, "rb").read() == b"by its own auth", "NV area with its own authorisation reads back")
    tcsd.refused("tpm_nvread", "-i", "0x1002", "-s", "15", "-f", out, "--password=wrong")
    tcsd.ok("tpm_nvinfo", want="0x00001002")
    tcsd.ok("tpm_nvrelease", "-i", "0x1002", "-y")
    tcsd.refused("tpm_nvread", "-i", "0x1002", "-s", "15", "-f", out, "--password=area")

    # Seal and unseal.
    secret = os.path.join(home, "secret")
    with open(secret, "w") as f:
        f.write("nobody must read this\n")
    tcsd.ok("tpm_sealdata", "-z", "-i", secret, "-o", secret + ".plain")
    tcsd.ok("tpm_sealdata", "-z", "-p", "10", "-p", "11", "-i", secret, "-o", secret + ".pcr")
    for kind in "plain", "pcr":
        tcsd.ok("tpm_unsealdata", "-z", "-i", secret + "." + kind, want="nobody must read this")

    # No tool extends a PCR: tcsd lets go of the TPM, another client extends.
    tcsd.stop()
    Tpm(Socket(("127.0.0.1", port))).extend(10, b"\x11" * 20)
    tcsd.start()
    tcsd.ok("tpm_unsealdata", "-z", "-i", secret + ".plain", want="nobody must read this")
    tcsd.refused("tpm_unsealdata", "-z", "-i", secret + ".pcr")

    tcsd.ok("tpm_clear", "-z")
    tcsd.stop()


def without_ek(rig):
    tcsd, _ = device(rig, "bare", "--no-ek")
    tcsd.refused("tpm_getpubek", "-z")
    tcsd.ok("tpm_createek")
    tcsd.refused("tpm_createek")
    tcsd.ok("tpm_takeownership", "-y", "-z")
    tcsd.ok("tpm_getpubek", "-z", want="Public Endorsement Key")
    row = rig.ctl_json("instance", "show", "bare")["instances"][0]
    check(len(row["ek_sha256"]) == 64, "the inventory has the EK that the guest made")
    tcsd.stop()


with Rig() as rig:
    rig.init()
    rig.start_server()
    owned(rig)
    without_ek(rig)
print("trousers: all seen to hold")
