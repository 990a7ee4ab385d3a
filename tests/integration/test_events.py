# SPDX-License-Identifier: Apache-2.0
"""Logs as JSON, the events of acts and refusals, their chain, and `vtpm-server check` of a store at rest."""
import json
import os
import re
import pwd
import shutil
import sqlite3
import subprocess

from rig import Rig, check, free_port, program, wait_until


def events(rig):
    return rig.ctl_json("events")["events"]


def kinds(rig):
    return [e["kind"] for e in events(rig)]


def wait_kind(rig, kind, count=1):
    wait_until(lambda: kinds(rig).count(kind) >= count, "%d events %s" % (count, kind))
    return [e for e in events(rig) if e["kind"] == kind]


# Its own word, at a process's end, about a thread that ended meanwhile.
LEAK_SANITIZER = re.compile(r"==\d+==Unable to get registers from thread \d+\.$")


def log_objects(rig):
    """Every line is one object with the members that are always there."""
    out = []
    for line in rig.server.text().splitlines():
        if LEAK_SANITIZER.match(line):
            continue
        entry = json.loads(line)
        for key in "time", "level", "subject", "text":
            check_quiet(isinstance(entry.get(key), str), "%s in %s" % (key, line))
        out.append(entry)
    return out


def check_quiet(condition, text):
    if not condition:
        raise AssertionError(text)


def acts(rig, uuid):
    """What guests and administrators do becomes events, with who did it."""
    shim = rig.start_shim("one")
    tpm = rig.tpm("one")
    tpm.pcr(0)
    attach = wait_kind(rig, "attach")[0]
    check(attach["uuid"] == uuid and attach["peer"].startswith("unix:pid="), "attach: %s" % attach["text"])
    on = wait_kind(rig, "power-on")[0]
    check(on["peer"] == attach["peer"], "power-on names the channel's peer")
    shutil.copy(rig.path("one.cred"), rig.path("again.cred"))
    again = rig.start_shim("again")
    rig.tpm("again").pcr(0)
    taken = wait_kind(rig, "take-over")[0]
    check(attach["peer"] in taken["text"], "take-over: %s" % taken["text"])
    rig.ctl("instance", "suspend", "one")
    rig.ctl("instance", "power-cycle", "one")
    for kind in "suspend", "power-off":
        check(wait_kind(rig, kind)[0]["peer"].endswith("uid=%d" % os.getuid()), "%s names who asked" % kind)
    shim.stop()
    again.stop()


def attach_storm(rig):
    """A guest's shim that comes again and again cannot push the other events out."""
    before = len([k for k in kinds(rig) if k in ("attach", "take-over")])
    for _ in range(12):
        shim = rig.start_shim("one")
        rig.tpm("one").pcr(0)
        shim.stop()
    after = len([k for k in kinds(rig) if k in ("attach", "take-over")])
    check(after - before <= 6, "12 attaches in a row: %d events" % (after - before))


def refused_administrators(rig):
    if os.geteuid():
        print("not tried: another account needs root")
        return
    nobody = pwd.getpwnam("nobody")
    os.chmod(rig.path("admin.sock"), 0o666)

    def demote():
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)

    shutil.copy(program("vtpmctl"), rig.path("vtpmctl"))
    for _ in range(30):
        r = subprocess.run([rig.path("vtpmctl"), "--admin", rig.admin, "instance", "list"], capture_output=True,
                           preexec_fn=demote, cwd="/")
        check_quiet(r.returncode == 7, "exit 7, not %d: %s" % (r.returncode, r.stderr))
    found = wait_kind(rig, "admin-refused", 10)
    check(len(found) == 10, "30 refused administrators: 10 events")
    check("uid=%d" % nobody.pw_uid in found[0]["peer"], "with who it was: %s" % found[0]["peer"])
    lines = [e for e in log_objects(rig) if "may not administer" in e["text"]]
    check(0 < len(lines) <= 10, "and %d lines in the log" % len(lines))


def refused_channels(rig, port):
    """Before authentication there are no events; the log is held to a few lines and counts."""
    before = len(events(rig))
    for _ in range(20):
        subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-tls1_2", "-cipher",
                        "ECDHE-PSK-CHACHA20-POLY1305", "-psk_identity", "nobody\",\"x\":\"y", "-psk", "00" * 32],
                       input=b"", capture_output=True, timeout=30)
    check(len(events(rig)) == before, "20 unknown identities: no event")
    lines = [e for e in log_objects(rig) if e["text"].startswith("refused") and "unknown" in e["text"]]
    check(0 < len(lines) <= 6, "%d lines in the log" % len(lines))
    check(lines[0]["identity"] == 'nobody","x":"y' and "x" not in lines[0], "a hostile identity is one value")


def examine(rig, exit_code, keyfile=None):
    r = subprocess.run([program("vtpm-server"), "check", "--data-dir", rig.data, "--keyslot",
                        "keyfile:" + (keyfile or rig.keyfile), "--allow-root"], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=60)
    check(r.returncode == exit_code, "vtpm-server check: exit %d: %s" % (r.returncode, (r.stdout + r.stderr).strip()))
    return r


def change_file(rig, statement):
    with sqlite3.connect(os.path.join(rig.data, "vtpm.db")) as db:
        db.create_function("flip", 1, lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:])
        db.execute(statement)
    db.close()


def at_rest(rig):
    examine(rig, 4)
    check(rig.server.stop() == 0, "stopped")
    log_objects(rig)
    examine(rig, 0)
    with open(rig.path("other"), "wb") as f:
        f.write(os.urandom(32))
    os.chmod(rig.path("other"), 0o600)
    examine(rig, 8, rig.path("other"))
    shutil.copytree(rig.data, rig.path("good"))
    for name, change in {
            "a record's bytes": "UPDATE record SET data = flip(data)",
            "an older epoch": "UPDATE instance SET epoch = epoch - 1",
            "an event": "UPDATE event SET peer = 'somebody else' WHERE id = 3",
            "a missing event": "DELETE FROM event WHERE id = 4",
            "a missing row": "DELETE FROM credential"}.items():
        shutil.rmtree(rig.data)
        shutil.copytree(rig.path("good"), rig.data)
        change_file(rig, change)
        r = examine(rig, 9)
        check("DAMAGED" in r.stdout, "found: " + name)
    shutil.rmtree(rig.data)
    shutil.copytree(rig.path("good"), rig.data)
    examine(rig, 0)


with Rig() as rig:
    rig.init()
    port = free_port()
    rig.start_server("--log-format", "json", "--listen", "tcp:127.0.0.1:%d" % port)
    check(json.loads(rig.server.ready_line)["text"].startswith("vtpm-server: ready ("), "the ready line is an object too")
    uuid = rig.create("one")
    acts(rig, uuid)
    attach_storm(rig)
    refused_administrators(rig)
    if shutil.which("openssl"):
        refused_channels(rig, port)
    r = rig.ctl("events", "--verify")
    check("the chain of events is whole" in r.stdout, "the chain verifies")
    at_rest(rig)
    rig.start_server()
    rig.start_shim("one")
    rig.tpm("one").pcr(0)
print("events: all seen to hold")
