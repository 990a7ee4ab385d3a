# SPDX-License-Identifier: Apache-2.0
"""vtpm-xl against an xl and a vtpmctl that write down how they were called: what is measured, armed, undone, and when."""
import hashlib
import json
import os
import shutil
import subprocess
import tempfile

from rig import check

HERE = os.path.dirname(os.path.abspath(__file__))
VTPM_XL = os.path.join(HERE, "../../deploy/xen/vtpm-xl")
A, B = "c9f5b5a0-7d2c-4c33-9a22-00000000000a", "c9f5b5a0-7d2c-4c33-9a22-00000000000b"

# Both fakes: a line of JSON per call into $CALLS; $FAIL_XL and $FAIL_CTL name a word whose presence makes them fail.
FAKE = r'''#!/usr/bin/env python3
import hashlib, json, os, sys
args, me = sys.argv[1:], os.path.basename(sys.argv[0])
call = {"who": me, "args": args, "admin": os.environ.get("VTPM_ADMIN", "")}
if "--file" in args:
    call["sha1"] = hashlib.sha1(open(args[args.index("--file") + 1], "rb").read()).hexdigest()
with open(os.environ["CALLS"], "a") as f:
    f.write(json.dumps(call) + "\n")
'''
FAKE_CTL = FAKE + r'''
word, _, code = os.environ.get("FAIL_CTL", "").partition("=")
if word and set(word.split()) <= set(args):
    print("vtpmctl: told to fail", file=sys.stderr)
    sys.exit(int(code))
print("a line that is not for our standard output")
'''
# As xl reads it: a later setting wins, arguments come after the file, an absent uuid is left out.
FAKE_XL = FAKE + r'''
word, _, code = os.environ.get("FAIL_XL", "").partition("=")
if word and word in args and "-n" not in args:
    sys.exit(int(code))
if "-n" in args:
    if word == "-n":
        sys.exit(int(code))
    config = {}
    exec(open(args[args.index("-f") + 1]).read(), {}, config)
    for arg in args:
        if "=" in arg:
            exec(arg, {}, config)
    vtpms = []
    for i, text in enumerate(config.get("vtpm", [])):
        parts = dict(part.strip().split("=", 1) for part in text.split(","))
        vtpms.append({"backend_domname": parts["backend"], "devid": i, **({"uuid": parts["uuid"]} if "uuid" in parts else {})})
    cmdline = config.get("cmdline") or " ".join(
        (["root=" + config["root"]] if "root" in config else []) + ([config["extra"]] if "extra" in config else []))
    b_info = {"max_memkb": 65536, "sched_params": {}, "claim_mode": "True", "type.pv": {}}
    b_info.update({k: config[k] for k in ("kernel", "ramdisk", "bootloader") if k in config})
    if cmdline:
        b_info["cmdline"] = cmdline
    out = {"c_info": {"type": "pv", "name": config["name"]}, "b_info": b_info, "on_reboot": config.get("on_reboot", "restart")}
    if vtpms:
        out["vtpms"] = vtpms
    print(os.environ.get("DRY_RUN") or json.dumps(out, indent=4, ensure_ascii=False))
elif args[0] == "vtpm-list":
    print("Idx  BE   Uuid                                 handle state evt-ch ring-ref BE-path")
    for i, uuid in enumerate(os.environ.get("LIVE", "").split()):
        print("%d    0    %s %d      4     9      8        /local/domain/0/backend/vtpm/7/%d" % (i, uuid, i, i))
elif args[0] == "domid":
    print(7)
'''


class Host:
    """A directory with the fakes, files to start, and a configuration."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="vtpm test xl-")
        os.mkdir(self.path("bin"))
        for name, text in (("xl", FAKE_XL), ("vtpmctl", FAKE_CTL)):
            with open(self.path("bin/" + name), "w") as f:
                f.write(text)
            os.chmod(self.path("bin/" + name), 0o755)
        self.kernel = self.write("a kernel's \"file\" é", b"\x7fELF kernel")
        self.ramdisk = self.write("ram  disk", b"ramdisk\n")
        os.mkdir(self.path("tmp"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def config(self, **changes):
        """A configuration file in a place with blanks; None leaves a setting out."""
        settings = {"name": "guest one", "kernel": self.kernel, "ramdisk": self.ramdisk, "root": "/dev/xvda1 ro",
                    "extra": "quiet a=\"b\" c=\\d 'e'\t*", "on_reboot": "destroy", "vtpm": ["backend=0,uuid=" + A]}
        settings.update(changes)
        return self.write("guest's conf.cfg", "".join("%s = %r\n" % kv for kv in settings.items() if kv[1] is not None).encode())

    def run(self, *args, code=0, says=(), **env):
        if os.path.exists(self.path("calls")):
            os.unlink(self.path("calls"))
        r = subprocess.run([SHELL, VTPM_XL, *args] if SHELL else [VTPM_XL, *args], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=60, cwd=self.dir,
                           env={"PATH": self.path("bin") + ":" + os.environ["PATH"], "CALLS": self.path("calls"),
                                "TMPDIR": self.path("tmp"), **env})
        missing = [word for word in says if word not in r.stderr]
        if r.returncode != code or missing:
            raise AssertionError("vtpm-xl %s: exit %d, not %d; missing %s in:\n%s" % (args, r.returncode, code, missing, r.stderr))
        if r.stdout and args[0] != "--help":
            raise AssertionError("standard output is the caller's: %r" % r.stdout)
        left = os.listdir(self.path("tmp"))
        if left:
            raise AssertionError("left behind: %s" % left)
        self.said = r.stderr
        if not os.path.exists(self.path("calls")):
            return []
        return [json.loads(line) for line in open(self.path("calls"))]


def acts(calls, cancels=True):
    """What has an effect, in short; a file by what was in it."""
    out = []
    for call in calls:
        args = call["args"]
        if args[0] in ("domid", "vtpm-list") or "-n" in args or args[:2] == ["instance", "show"]:
            continue
        if args[:2] == ["instance", "suspend"] and args[3:] == ["--cancel"] and not cancels:
            continue
        if "--file" in args:
            args = [call["sha1"] if i and args[i - 1] == "--file" else a for i, a in enumerate(args)]
        out.append([call["who"]] + args)
    return out


def started(calls):
    """acts, without the resumes that each start takes back."""
    return acts(calls, cancels=False)


def sha1(data):
    return hashlib.sha1(data).hexdigest()


def measured(host, uuid, cmdline, ramdisk=True, pcrs=("8", "9", "9")):
    rows = [(pcrs[0], cmdline, "cmdline"), (pcrs[1], b"\x7fELF kernel", "kernel")] + (
        [(pcrs[2], b"ramdisk\n", "ramdisk")] if ramdisk else [])
    return [["vtpmctl", "instance", "measure", uuid, "--clear", "--once"]] + [
        ["vtpmctl", "instance", "measure", uuid, "--once", "--pcr", pcr, "--file", sha1(data), "--label", label]
        for pcr, data, label in rows]


LINE = b"root=/dev/xvda1 ro quiet a=\"b\" c=\\d 'e'\t*"


def test_create__names_with_blanks__are_measured_and_started_as_xl_reads_them(host):
    cfg = host.config()
    check(started(host.run("create", cfg)) == measured(host, A, LINE) + [["xl", "create", "-f", cfg]],
          "create: command line, kernel, ramdisk, then xl, every name whole")
    cfg = host.config(vtpm=["backend=0,uuid=" + A, "backend=driver domain,uuid=" + B])
    check(started(host.run("create", cfg)) == measured(host, A, LINE) + measured(host, B, LINE) + [["xl", "create", "-f", cfg]],
          "two vTPMs: both, before xl")
    cfg = host.config(ramdisk=None, extra=None, root=None)
    check(started(host.run("create", cfg)) == measured(host, A, b"", ramdisk=False) + [["xl", "create", "-f", cfg]],
          "no ramdisk: not measured; no command line: as an empty one")
    line = "trailing blank \n"
    cfg = host.config(cmdline=line)
    check(started(host.run("create", cfg))[:-1] == measured(host, A, line.encode()), "cmdline=: to the last byte")


def test_create__arguments__reach_xl_and_the_measurement(host):
    cfg = host.config()
    args = ["-p", "extra=\"x y  z\"", "memory=64"]
    calls = host.run("--pcr-cmdline", "12", "--pcr-kernel", "4", "--pcr-ramdisk", "5", "create", cfg, *args)
    check(started(calls) == measured(host, A, b"root=/dev/xvda1 ro x y  z", pcrs=("12", "4", "5")) + [["xl", "create", "-f", cfg] + args],
          "arguments of xl change what is measured, too, and are passed on as they were")
    check(started(host.run("--no-measure", "create", cfg)) == [["xl", "create", "-f", cfg]], "--no-measure: only started")
    check({c["admin"] for c in host.run("--admin", "unix:/a b", "create", cfg)} == {"unix:/a b"}, "--admin reaches vtpmctl")
    host.run("create", host.config(on_reboot=None), says=("on_reboot",))
    check(True, "a guest that xl itself would start again: said")


def test_create__armed_resume__is_taken_back(host):
    cfg = host.config(vtpm=["backend=0,uuid=" + A, "backend=0,uuid=" + B])
    cancels = [["vtpmctl", "instance", "suspend", u, "--cancel"] for u in (A, B)]
    check(acts(host.run("--no-measure", "create", cfg, says=("took back",))) == cancels + [["xl", "create", "-f", cfg]],
          "a domain that is created goes on with no saved one's PCRs")
    calls = host.run("--no-measure", "create", cfg, FAIL_CTL="--cancel=4")
    check(acts(calls) == cancels + [["xl", "create", "-f", cfg]] and "told to fail" not in host.said, "none was allowed: nothing is said")
    check(acts(host.run("create", cfg, code=7, says=("told to fail",), FAIL_CTL="--cancel=7")) == cancels[:1], "it cannot be: not started")


def test_create__what_cannot_be_told__is_refused_before_anything_is_done(host):
    for text, code, says, changes in (
            ("no vtpm", 2, ("vtpm = [", "uuid="), {"vtpm": None}),
            ("a vtpm without a uuid", 2, ("uuid=UUID", "vtpmctl instance create"), {"vtpm": ["backend=0"]}),
            ("one of two without a uuid", 2, ("uuid=UUID",), {"vtpm": ["backend=0,uuid=" + A, "backend=0"]}),
            ("a uuid of zeros", 2, ("uuid=UUID",), {"vtpm": ["backend=0,uuid=00000000-0000-0000-0000-000000000000"]}),
            ("one uuid twice", 2, (A,), {"vtpm": ["backend=0,uuid=" + A] * 2}),
            ("a boot loader", 2, ("pygrub", "--no-measure"), {"bootloader": "pygrub"}),
            ("no kernel", 2, ("kernel=", "--no-measure"), {"kernel": None}),
            ("a kernel that is not there", 3, ("/no/such kernel",), {"kernel": "/no/such kernel"}),
            ("a ramdisk that is not there", 3, ("/no/such",), {"ramdisk": "/no/such"}),
            ("a name that ends in a newline", 2, ("control",), {"kernel": host.kernel + "\n"})):
        check(started(host.run("create", host.config(**changes), code=code, says=says)) == [], text)
    check(started(host.run("create", host.path("absent.cfg"), code=3, says=("absent.cfg",))) == [], "no configuration file")
    cfg = host.config()
    check(started(host.run("create", cfg, code=2, says=(cfg,), FAIL_XL="-n=1")) == [], "a configuration that xl refuses")
    for text in ("Usage: xl create", "{", '{"a": tr ue}', '{"b_info": {"kernel": "\\u00e9"}}', "{} {}", '{"a": "b', '{"a": [1, 2}'):
        check(started(host.run("create", cfg, code=1, says=("not understood",), DRY_RUN=text)) == [], "xl printed %r" % text)


def test_create__failures__leave_nothing_queued(host):
    cfg = host.config(vtpm=["backend=0,uuid=" + A, "backend=0,uuid=" + B])
    clear = [["vtpmctl", "instance", "measure", u, "--clear", "--once"] for u in (A, B)]
    calls = started(host.run("create", cfg, code=1, says=("xl create failed (exit status 5)",), FAIL_XL="create=5"))
    check(calls[-2:] == clear and calls[-3] == ["xl", "create", "-f", cfg], "xl create fails: what was queued is dropped")
    calls = started(host.run("create", cfg, code=6, FAIL_CTL="9=6"))
    check(calls[-1] == clear[0] and len(calls) == 4, "vtpmctl fails: its exit status, and what it had queued is dropped")
    check(started(host.run("create", cfg, code=3, says=("--uuid " + B,), FAIL_CTL=B + " show=3")) == [],
          "an instance that does not exist: how to make it, before the other is touched")


def test_save__running_domain__is_armed_by_what_it_has_now(host):
    cfg, out = host.config(), host.path("check point")
    arm = [["vtpmctl", "instance", "suspend", u] for u in (A, B)]
    check(acts(host.run("save", cfg, out, "-D", LIVE=A + " " + B)) == arm + [["xl", "save", "-D", "guest one", out]],
          "save: each vTPM of the domain, attached ones too, then xl")
    check(acts(host.run("save", cfg, out, code=4, says=("guest one",))) == [], "a domain without a vTPM")
    check(acts(host.run("save", cfg, out, code=3, says=("guest one",), LIVE=A, FAIL_XL="domid=1")) == [], "no such domain")
    for option in ("-c", "-p", "-Dc"):
        check(acts(host.run("save", cfg, out, option, code=2, says=(option,), LIVE=A)) == [], "save %s would copy a TPM" % option)
    check(acts(host.run("save", cfg, out, "other", code=2, LIVE=A)) == [], "save: one operand too many")


def test_save__failures__disarm(host):
    cfg, out = host.config(), host.path("check point")
    arm, disarm = ["vtpmctl", "instance", "suspend", A], ["vtpmctl", "instance", "suspend", A, "--cancel"]
    cycle = ["vtpmctl", "instance", "power-cycle", A]
    save = ["xl", "save", "guest one", out]
    check(acts(host.run("save", cfg, out, code=1, says=("xl save failed (exit status 9)", "no resume"), LIVE=A, FAIL_XL="save=9"))
          == [arm, save, disarm], "xl save fails: disarmed")
    check(acts(host.run("save", cfg, out, code=1, says=("not restored",), LIVE=A, FAIL_XL="save=9", FAIL_CTL="--cancel=4"))
          == [arm, save, disarm, cycle], "the resume was used by a reboot: the TPM starts anew")
    calls = acts(host.run("save", cfg, out, code=1, says=("vtpmctl instance suspend %s --cancel" % A,), LIVE=A,
                          FAIL_XL="save=9", FAIL_CTL="--cancel=6"))
    check(calls == [arm, save, disarm], "it cannot be disarmed: what to type")
    calls = acts(host.run("save", cfg, out, code=7, LIVE=A + " " + B, FAIL_CTL="suspend " + B + "=7"))
    check(calls == [arm, ["vtpmctl", "instance", "suspend", B], disarm], "the second cannot be armed: the first is disarmed, nothing saved")


def test_restore__checks_first_and_says_what_is_left(host):
    cfg, file = host.config(), host.write("check point", b"saved")
    calls = host.run("restore", cfg, file, "-p")
    check(acts(calls) == [["xl", "restore", "-p", cfg, file]], "restore: xl's options first, then its operands")
    check(["instance", "show", A] in [c["args"] for c in calls], "the server is asked for the instance before")
    check(acts(host.run("restore", cfg, file, code=6, FAIL_CTL="show=6")) == [], "no server: nothing is restored")
    check(acts(host.run("restore", cfg, host.path("absent"), code=3, says=("absent",))) == [], "no checkpoint")
    host.run("restore", cfg, file, code=1, says=("vtpmctl instance suspend %s --cancel" % A,), FAIL_XL="restore=1")
    check(True, "xl restore fails: how to end the resume")


def test_usage__mistakes__exit_2(host):
    for args, says in ((["--frobnicate"], "--frobnicate"), ([], "create, save or restore"), (["destroy", "x"], "destroy"),
                       (["create"], "configuration"), (["save", "x"], "checkpoint"), (["--pcr-kernel"], "--pcr-kernel"),
                       (["--pcr-kernel", "16", "create", "x"], "'16'"), (["--pcr-cmdline", "x", "create", "x"], "'x'")):
        check(host.run(*args, code=2, says=(says,)) == [], "vtpm-xl %s: 2" % " ".join(args))
    host.run("--help")


for SHELL in ("", "busybox"):
    if SHELL and not shutil.which(SHELL):
        print("SKIPPED in part: busybox is not installed: not tried with its sh and awk, which a small dom0 has")
        continue
    print("---- as", SHELL or "sh")
    host = Host()
    for applet in ("sh", "awk") if SHELL else ():
        host.write("bin/" + applet, ("#!/bin/sh\nexec %s %s \"$@\"\n" % (shutil.which(SHELL), applet)).encode())
        os.chmod(host.path("bin/" + applet), 0o755)
    SHELL = SHELL and host.path("bin/sh")
    try:
        for name, test in sorted(globals().items()):
            if name.startswith("test_"):
                test(host)
    finally:
        shutil.rmtree(host.dir)
print("vtpm-xl: all seen to hold")
