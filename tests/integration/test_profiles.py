# SPDX-License-Identifier: Apache-2.0
"""Limits of an instance: by name or from a file, shown, kept over restarts, and what the guest meets."""
import json
import os
import struct

from rig import Rig, check
from tpm12 import Socket, Tpm, TpmError

PC_CLIENT = {"key_slots": 20, "owner_evict_slots": 10, "auth_sessions": 16, "transport_sessions": 16, "daa_sessions": 2,
             "counters": 8, "saved_contexts": 128, "family_rows": 16, "delegate_rows": 4, "nv_bytes": 28672,
             "maintenance": False}
PROPERTIES = {"key_slots": 0x110, "auth_sessions": 0x10D, "transport_sessions": 0x10E, "counters": 0x10F,
              "saved_contexts": 0x113, "family_rows": 0x114, "delegate_rows": 0x117, "daa_sessions": 0x119}
CAP_PROPERTY, CAP_ORD, RESOURCES = 5, 1, 0x15


def write(rig, name, text):
    with open(rig.path(name), "w") as f:
        f.write(text if isinstance(text, str) else json.dumps(text))
    return rig.path(name)


def shown(rig, name):
    one = rig.ctl_json("instance", "show", name)["instances"][0]
    return one["profile"], one["limits"]


def refused(rig, text, *words, name="p.json"):
    """The file is refused with these words, exit 2, and nothing is there afterwards."""
    r = rig.ctl("instance", "create", "never", "--profile", write(rig, name, text), "--credential-out",
                rig.path("never.cred"), ok=False)
    missing = [w for w in words if w not in r.stderr]
    check(r.returncode == 2 and not missing, "%s is refused%s" % (
        str(text)[:60], "" if not missing else "; missing %s in %d: %s" % (missing, r.returncode, r.stderr)))
    check(rig.ctl("instance", "show", "never", ok=False).returncode == 3 and not os.path.exists(rig.path("never.cred")),
          "and nothing was created")


def files_that_are_wrong(rig):
    refused(rig, {"key_slots": 49}, "key_slots", "49", "3 to 48")
    refused(rig, {"key_slots": 0}, "key_slots", "0", "3 to 48")
    refused(rig, {"nv_bytes": -1}, "nv_bytes", "-1", "1 to 65536")
    refused(rig, {"nv_bytes": 2 ** 40}, "nv_bytes", str(2 ** 40), "1 to 65536")
    refused(rig, {"nv_bytes": 65536 + 2 ** 32}, "nv_bytes")
    refused(rig, {"keyslots": 4}, "keyslots")
    refused(rig, {"key_slots": "20"}, "key_slots", '"20"', "whole number")
    refused(rig, {"key_slots": 2.5}, "key_slots", "2.5", "whole number")
    refused(rig, {"key_slots": True}, "key_slots", "true", "3 to 48")
    refused(rig, {"key_slots": None}, "key_slots", "null")
    refused(rig, {"maintenance": 1}, "maintenance", "true or false")
    refused(rig, {"key_slots": 5, "owner_evict_slots": 5}, "owner_evict_slots is 5", "at most 3")
    refused(rig, {"key_slots": 5}, "owner_evict_slots is 10", "at most 3")
    refused(rig, {"name": 7, "counters": 2}, "name is 7", "string")
    refused(rig, {"name": "two words", "counters": 2}, "two words")
    refused(rig, {"name": "x" * 33, "counters": 2}, "xxx")
    refused(rig, {"counters": 2}, "pc-client", "built in", name="pc-client.json")
    refused(rig, {}, "no limit")
    refused(rig, [1], "one object")
    refused(rig, "", "line")
    refused(rig, '{"counters": 2,\n "counters": 3}', "counters", "line 2")
    refused(rig, '{"counters": 2} x', "line 1")
    refused(rig, " " * 70000, "64 KiB")
    refused(rig, {"a%d" % n: n for n in range(1, 40)}, "a17")
    for profile, word in (("mainframe", "pc-client, large"), (rig.path("none.json"), "none.json"), ("/", "/")):
        r = rig.ctl("instance", "create", "never", "--profile", profile, ok=False)
        check(r.returncode == 2 and word in r.stderr, "--profile %s: %s" % (profile, r.stderr.strip()))


def capability(tpm, area, sub):
    rc, _, out = tpm.capability(area, struct.pack(">I", sub))
    check(rc == 0, "TPM_GetCapability(%d, 0x%x)" % (area, sub))
    return out[4:]


def number(tpm, sub):
    return struct.unpack(">I", capability(tpm, CAP_PROPERTY, sub))[0]


def guest_sees(rig, name, limits):
    shim = rig.start_shim(name)
    tpm = Tpm(Socket(rig.path(name + ".tpm")))
    for key, sub in PROPERTIES.items():
        check(number(tpm, sub) == limits[key], "%s: %s is %d for the guest" % (name, key, limits[key]))
    told = capability(tpm, CAP_ORD, 0x2F) != b"\0"
    check(told == limits["maintenance"], "%s: maintenance is %s" % (name, "there" if told else "not there"))
    open_sessions = 0
    try:
        while open_sessions < 100:
            tpm.oiap()
            open_sessions += 1
    except TpmError as e:
        check(e.rc == RESOURCES, "the session that is one too many: %s" % e)
    check(open_sessions == limits["auth_sessions"], "%s: %d sessions and no more" % (name, open_sessions))
    shim.stop()


with Rig() as rig:
    rig.init()
    rig.start_server()
    files_that_are_wrong(rig)
    small = {"name": "kiosk", "key_slots": 4, "owner_evict_slots": 1, "auth_sessions": 3, "transport_sessions": 2,
             "daa_sessions": 1, "counters": 2, "saved_contexts": 5, "family_rows": 2, "delegate_rows": 1,
             "nv_bytes": 2048, "maintenance": True}
    rig.create("standard")
    rig.create("large", "--profile", "large")
    rig.create("small", "--profile", write(rig, "any.json", small))
    rig.create("named", "--profile", write(rig, "few-sessions.json", {"auth_sessions": 2}))
    check(shown(rig, "standard") == ("pc-client", PC_CLIENT), "without --profile: pc-client")
    large = shown(rig, "large")
    check(large[0] == "large" and large[1]["nv_bytes"] == 65536 and large[1]["key_slots"] == 48, "large is large")
    limits = {k: v for k, v in small.items() if k != "name"}
    check(shown(rig, "small") == ("kiosk", limits), "a file's limits, under its name")
    check(shown(rig, "named") == ("few-sessions", dict(PC_CLIENT, auth_sessions=2)),
          "a file without a name: its own; what it does not say is pc-client's")
    text = rig.ctl("instance", "show", "small").stdout
    check("profile      kiosk" in text and "auth_sessions      3" in text and "maintenance        true" in text,
          "show says it for people")
    guest_sees(rig, "small", limits)
    guest_sees(rig, "named", dict(PC_CLIENT, auth_sessions=2))
    guest_sees(rig, "large", large[1])
    rig.server.stop()
    rig.start_server()
    check(shown(rig, "small") == ("kiosk", limits), "the limits outlive the server")
    check(rig.ctl_json("check")["check"]["ok"], "the store is whole")
print("profiles: all seen to hold")
