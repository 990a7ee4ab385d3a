# SPDX-License-Identifier: Apache-2.0
"""What a person can get wrong: each has its exit code and a text that names the thing and says what to do."""
import json
import os
import socket
import sqlite3
import subprocess

from rig import Rig, check, free_port, program, run


def says(argv, code, *words, env=None):
    """argv ends with this code; every word is in what it says; nothing but JSON or results on stdout."""
    r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                       env=dict(os.environ, **(env or {})))
    text = r.stderr + r.stdout
    missing = [w for w in words if w not in text]
    check(r.returncode == code and not missing,
          "%s -> %d%s" % (" ".join(os.path.basename(a) for a in argv[:6]), code, "" if r.returncode == code and not
                          missing else "; got %d, missing %s in:\n%s" % (r.returncode, missing, text)))
    return r


def server(rig, *argv, data=None, keyslot=None):
    return [program("vtpm-server"), "--data-dir", data or rig.data, "--runtime-dir", rig.path("run2"), "--keyslot",
            keyslot or "keyfile:" + rig.keyfile, "--admin", "unix:" + rig.path("admin2.sock"), "--allow-root", *argv]


def init_errors(rig):
    exe = program("vtpm-server")
    r = run([exe, "init", "--data-dir", rig.data, "--keyslot", "keyfile:" + rig.keyfile, "--allow-root"])
    lines = r.stdout.splitlines()
    groups = lines[0].split("-")
    check(len(lines) == 1 and len(groups) == 8 and all(len(g) == 8 for g in groups),
          "init prints one line on stdout: the recovery key, 8 groups of 8")
    check(os.stat(rig.data).st_mode & 0o777 == 0o700, "the data directory is 0700")
    check(os.stat(rig.keyfile).st_mode & 0o777 == 0o600, "the key file is 0600")
    before = open(rig.data + "/vtpm.db", "rb").read()
    says([exe, "init", "--data-dir", rig.data, "--keyslot", "keyfile:" + rig.keyfile, "--allow-root"], 4, rig.data)
    check(open(rig.data + "/vtpm.db", "rb").read() == before, "an existing store is untouched")
    says([exe, "init", "--data-dir", rig.path("new"), "--allow-root"], 2, "--keyslot")
    says([exe, "init", "--data-dir", rig.path("a/b/c"), "--keyslot", "keyfile:" + rig.keyfile, "--allow-root"],
         3, "a/b", "mkdir")
    says([exe, "init", "--data-dir", rig.path("new"), "--keyslot", "nonsense:x", "--allow-root"], 2, "nonsense")
    with open(rig.path("short"), "w") as f:
        f.write("seven77\n")
    os.chmod(rig.path("short"), 0o600)
    r = says([exe, "init", "--data-dir", rig.path("new"), "--keyslot", "passphrase-file:" + rig.path("short"),
              "--allow-root"], 2, "short", "8")
    check(not os.path.exists(rig.path("new/vtpm.db")), "a failed init leaves no store")


def start_errors(rig):
    says(server(rig, data=rig.path("nothing")), 3, "nothing", "init")
    says(server(rig, "--frobnicate"), 2, "--frobnicate")
    os.chmod(rig.keyfile, 0o644)
    says(server(rig), 8, rig.keyfile, "chmod 600")
    os.chmod(rig.keyfile, 0o600)
    with open(rig.path("wrong"), "wb") as f:
        f.write(os.urandom(32))
    os.chmod(rig.path("wrong"), 0o600)
    says(server(rig, keyslot="keyfile:" + rig.path("wrong")), 8, "slot")
    says(server(rig, keyslot="keyfile:" + rig.path("absent")), 8, "absent")
    with open(rig.path("size"), "wb") as f:
        f.write(b"x" * 31)
    os.chmod(rig.path("size"), 0o600)
    says(server(rig, keyslot="keyfile:" + rig.path("size")), 8, "size", "32")
    says(server(rig, "--listen", "carrier-pigeon:x"), 2, "carrier-pigeon")
    says(server(rig, "--listen", "tcp:127.0.0.1:99999"), 2, "99999")
    says(server(rig, "--listen", "unix:" + "x" * 200), 2, "unix:")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        says(server(rig, "--listen", "tcp:127.0.0.1:%d" % busy.getsockname()[1]), 4, str(busy.getsockname()[1]), "in use")
    conf = rig.path("server.conf")
    with open(conf, "w") as f:
        f.write("[server]\ndata-dir = %s\ncolour = red\n" % rig.data)
    says([program("vtpm-server"), "--config", conf, "--check-config"], 2, conf + ":3", "colour")
    says([program("vtpm-server"), "--config", rig.path("no.conf"), "--check-config"], 2, "no.conf")
    with open(conf, "w") as f:
        f.write("[server]\nallow-root = yes\ndata-dir = %s\nkeyslot = keyfile:%s\n" % (rig.data, rig.keyfile))
    says([program("vtpm-server"), "--config", conf, "--check-config"], 0)
    for name in "vtpm-server", "vtpm-shim", "vtpmctl":
        says([program(name), "--help"], 0, "usage")
        says([program(name), "--version"], 0, name)


def with_server(rig):
    rig.start_server()
    says(server(rig), 4, "lock")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(rig.path("admin.sock"))
        s.sendall(b"\xff\xff\xff\xff")
        while s.recv(4096):
            pass
        check(True, "an admin frame of 4 GiB ends its connection")
    ctl = [program("vtpmctl"), "--admin", rig.admin]
    r = run(ctl + ["instance", "create", "guest", "--credential-out", rig.path("guest.cred")])
    check(len(r.stdout) == 37, "create prints the uuid and a newline, nothing else")
    check(os.stat(rig.path("guest.cred")).st_mode & 0o777 == 0o600, "the credential file is 0600")
    text = open(rig.path("guest.cred")).read().splitlines()
    check(text[0] == "uuid=" + r.stdout.strip() and len(text) == 2 and text[1].startswith("key=") and
          len(text[1]) == 68, "the credential file has its two lines")
    says(ctl + ["instance", "create", "guest"], 5, "exists")
    says(ctl + ["instance", "create", "other", "--credential-out", rig.path("guest.cred")], 5, "guest.cred")
    says(ctl + ["instance", "show", "other"], 3, "other")
    says(ctl + ["instance", "create", "no good name"], 2, "no good name")
    says(ctl + ["instance", "create", "x", "--uuid", "12"], 2, "12")
    says(ctl + ["instance", "create", "x", "--profile", "mainframe"], 2, "pc-client")
    says(ctl + ["instance", "paint", "guest"], 2, "paint")
    says(ctl + ["instance", "create"], 2, "NAME")
    says(ctl + ["instance", "list", "--yes"], 2, "--yes")
    says(ctl + ["credential", "rotate", "guest"], 2, "--credential-out")
    says(ctl + ["keyslot", "remove", "77"], 3, "77")
    says(ctl + ["keyslot", "remove", "seven"], 2, "seven")
    says(ctl + ["keyslot", "test", "0"], 0)
    with open(rig.path("phrase"), "w") as f:
        f.write("correct horse battery\n")
    os.chmod(rig.path("phrase"), 0o600)
    says(ctl + ["keyslot", "add", "passphrase-file:" + rig.path("phrase")], 0)
    says([program("vtpmctl"), "--admin", "unix:" + rig.path("nobody.sock"), "status"], 6, "nobody.sock", "VTPM_ADMIN")
    says([program("vtpmctl"), "status"], 6, "other.sock", env={"VTPM_ADMIN": "unix:" + rig.path("other.sock")})
    r = says(ctl + ["--json", "instance", "show", "nobody"], 3)
    check(json.loads(r.stdout)["error"]["code"] == 3, "--json: errors are objects too")
    for verb in (["instance", "list"], ["status"], ["check"], ["events"], ["keyslot", "list"]):
        check(isinstance(json.loads(run(ctl + ["--json"] + verb).stdout), dict), "--json %s: one object" % " ".join(verb))
    if os.getuid() == 0:
        os.chmod(rig.path("admin.sock"), 0o666)
        r = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] + ctl + ["status"],
                           capture_output=True, text=True)
        check(r.returncode == 7, "a stranger on the admin socket: exit 7, got %d %s" % (r.returncode, r.stderr))


def shim_errors(rig):
    exe = program("vtpm-shim")
    tpm = "socket:unix:" + rig.path("guest.tpm")
    cred = rig.path("guest.cred")
    says([exe, "--upstream", rig.listen, "--frontend", tpm], 2, "--credential")
    says([exe, "--credential", cred, "--frontend", tpm], 2, "--upstream")
    says([exe, "--upstream", rig.listen, "--credential", cred], 2, "--frontend")
    says([exe, "--upstream", "pigeon:1", "--credential", cred, "--frontend", tpm], 2, "pigeon")
    says([exe, "--upstream", rig.listen, "--credential", cred, "--frontend", "teapot"], 2, "teapot")
    says([exe, "--upstream", rig.listen, "--credential", rig.path("none.cred"), "--frontend", tpm], 3, "none.cred")
    with open(rig.path("bad.cred"), "w") as f:
        f.write("uuid=5b1c2f0e-7c1d-4b8a-9f2e-3d4c5b6a7988\nkey=12\n")
    os.chmod(rig.path("bad.cred"), 0o600)
    says([exe, "--upstream", rig.listen, "--credential", rig.path("bad.cred"), "--frontend", tpm], 2, "bad.cred", "2")
    os.chmod(rig.path("bad.cred"), 0o644)
    says([exe, "--upstream", rig.listen, "--credential", rig.path("bad.cred"), "--frontend", tpm], 7, "chmod 600")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        says([exe, "--upstream", rig.listen, "--credential", cred, "--frontend", "socket:tcp:127.0.0.1:%d" % port], 4,
             str(port), "in use")
    says([exe, "--upstream", rig.listen, "--credential", cred, "--frontend", tpm, "--startup", "maybe"], 2, "maybe")


def recovery(rig):
    """The recovery key opens the store when the key file is gone."""
    rig.server.stop()
    key = rig.recovery_line
    with open(rig.path("recovery"), "w") as f:
        f.write(key)
    os.chmod(rig.path("recovery"), 0o600)
    os.rename(rig.keyfile, rig.keyfile + ".lost")
    keyslot = rig.keyfile
    r = subprocess.Popen(server(rig, keyslot="recovery-file:" + rig.path("recovery")), stderr=subprocess.PIPE, text=True)
    text = ""
    for line in r.stderr:
        text += line
        if "vtpm-server: ready" in line:
            break
    r.terminate()
    check(r.wait(20) == 0 and "recovery" in text, "the recovery key opens the store, and the log says so")
    os.rename(keyslot + ".lost", keyslot)


def damaged(rig):
    db = sqlite3.connect(rig.data + "/vtpm.db")
    table = db.execute("select name from sqlite_master where type='table' and name like 'instance%'").fetchone()[0]
    db.execute("update %s set name='impostor'" % table)
    db.commit()
    db.close()
    says(server(rig), 9, "altered")


with Rig() as rig:
    init_errors(rig)
    start_errors(rig)
    # A second store, whose recovery key is known, for the rest.
    rig.data, rig.keyfile = rig.path("data2"), rig.path("key2")
    rig.recovery_line = rig.init()
    with_server(rig)
    shim_errors(rig)
    recovery(rig)
    damaged(rig)
print("messages: all seen to hold")
